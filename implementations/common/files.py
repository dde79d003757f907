"""A group's folder: `transcript` (all events, in order), `members`, `lock` (one server at a time).

The transcript holds the event lines exactly as they are sent: so a HISTORY is a range of this file,
and a line that ends in LF is an event that happened. The member file is replaced as a whole, never
changed in place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator

from . import wire
from .errors import StartupError
from .private_files import open_file, open_folder
from .stderr import warn

LOCK_WITHIN = 1.0  # seconds; the last writing of a server that was killed may hold the lock so long
# What fsync of a folder says where a file system has no such thing (shared folders of VirtualBox,
# some CIFS).
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
MOST_MEMBERS = 1 << 30  # bytes of a member file; with millions of members it has fewer


class Folder:
    """The folder of one group, locked for this server."""

    def __init__(self, path: str) -> None:
        """Makes the folder if necessary, locks it, and completes a delete that was interrupted.

        Raises StartupError, OSError.
        """
        self.path = path
        self.fd = open_folder(path)
        self.lock = self.take_lock()
        if "deleted" in os.listdir(self.fd):
            self.complete_delete()
        self.remove("members.new")  # of a writing that was interrupted
        fd = self.open("transcript", os.O_RDWR | os.O_CREAT)
        self.transcript = Transcript(self.file("transcript"), fd)
        if not self.sync():
            warn(
                f"{path}: its file system cannot fsync a folder, so a power failure may undo the"
                " last changes of the members, or a new group; kill -9 undoes nothing"
            )

    def file(self, name: str) -> str:
        """Returns the path of a file in the folder."""
        return os.path.join(self.path, name)

    def open(self, name: str, flags: int) -> int:
        """Opens a file in the folder, as open_file() does. Raises StartupError, OSError."""
        return open_file(self.fd, self.file(name), flags)

    def replace(self, old: str, new: str) -> None:
        """Gives a file the name of another, which it replaces. Raises OSError."""
        os.replace(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Removes a file from the folder, if it is there. Raises OSError."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            error.filename = self.file(name)
            raise

    def holds_events(self) -> bool:
        """Whether there is a transcript that is not empty."""
        try:
            return os.stat("transcript", dir_fd=self.fd, follow_symlinks=False).st_size > 0
        except FileNotFoundError:
            return False

    def sync(self) -> bool:
        """Makes it durable which files are in the folder. Slow.

        Returns whether the file system has that. Raises OSError.
        """
        try:
            os.fsync(self.fd)
        except OSError as error:
            if error.errno not in NO_FOLDER_SYNC:
                raise
            return False
        return True

    def take_lock(self) -> int:
        """Returns the descriptor that holds the lock. Raises StartupError if a server has it."""
        lock = self.open("lock", os.O_RDWR | os.O_CREAT)
        deadline = time.monotonic() + LOCK_WITHIN
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StartupError(
                        f"{self.path}: another server holds this folder; end it, or choose"
                        " another --dir"
                    ) from None
                time.sleep(0.02)

    def members(self) -> str:
        """Returns the text of the member file, "" if there is none yet. Raises StartupError."""
        try:
            members = self.open("members", os.O_RDONLY)
            with open(members, encoding="utf-8", newline="\n") as file:
                if os.fstat(members).st_size > MOST_MEMBERS:
                    raise StartupError(
                        f"{self.file('members')}: larger than any member file; put back a copy,"
                        " or move it away"
                    )
                return file.read()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise StartupError(
                f"{self.file('members')}: not UTF-8 text; put back a copy, or move it away"
            ) from None

    def save_members(self, text: str) -> str:
        """Replaces the member file. Returns "", or why it could not be replaced.

        Slow (fsync), so no client may wait for it. The transcript goes to the disk first: so the
        member file never holds an event that the transcript lacks.
        """
        try:
            os.fsync(self.transcript.fd)
            self.remove("members.new")  # of a writing that failed
            new = self.open("members.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with open(new, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(new)
            self.replace("members.new", "members")
            self.sync()
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def erase(self) -> None:
        """Removes the transcript and the member file. Raises OSError if nothing was removed.

        The first step decides: if a kill interrupts the others, the next start completes them.
        """
        try:
            self.replace("transcript", "deleted")
        except FileNotFoundError:  # somebody else has removed it
            pass
        try:
            self.complete_delete()
        except OSError:
            pass

    def complete_delete(self) -> None:
        """Does what follows the first step of erase(). Raises OSError.

        If there are events again, the owner has put back a copy of the group, and that stays.
        """
        if not self.holds_events():
            self.remove("members")
        self.remove("deleted")


class Transcript:
    """The event lines. They are written, but not fsynced, before anyone receives them.

    So they survive kill -9, but perhaps not a power failure.
    """

    def __init__(self, path: str, fd: int) -> None:
        """path: for messages; fd: the descriptor of the file, open for both ways."""
        self.path, self.fd = path, fd
        self.size = os.fstat(fd).st_size  # what counts: a torn write can be behind it

    def lines(self) -> Iterator[str]:
        """Yields every stored line without LF. Cuts off a torn last one. Raises StartupError."""
        number, lines = 0, wire.Lines()
        with open(self.fd, "rb", closefd=False) as file:
            while block := file.read(1 << 20):
                for line in lines.feed(block):
                    number += 1
                    if isinstance(line, wire.Fault):
                        raise self.not_an_event(number, f" ({line})")
                    yield line
        if lines.rest:
            self.cut_tail(lines.rest, number + 1)

    def cut_tail(self, tail: bytes, seq: int) -> None:
        """Removes a last line without LF that begins like event `seq`: nobody has received it.

        Raises StartupError if it is anything else: then the file is damaged.
        """
        verbs = wire.EVENTS if seq > 1 else ("GROUP",)
        heads = [f"{verb} {seq} ".encode() for verb in verbs]
        if not any(head.startswith(tail) or tail.startswith(head) for head in heads):
            raise self.not_an_event(seq)
        self.size -= len(tail)
        os.ftruncate(self.fd, self.size)

    def not_an_event(self, number: int, why: str = "") -> StartupError:
        """Returns the error about a damaged line."""
        return StartupError(
            f"{self.path}: line {number} is not an event{why}; put back a copy, or move it away"
        )

    def append(self, data: bytes) -> None:
        """Writes whole lines, all or nothing. Raises OSError (disk full, file too large, ...)."""
        written = os.pwrite(self.fd, data, self.size)
        while written < len(data):  # the disk is nearly full
            try:
                written += os.pwrite(self.fd, data[written:], self.size + written)
            except OSError:
                os.ftruncate(self.fd, self.size)  # now: a whole line must never follow a torn one
                raise
        self.size += written

    def offset_after(self, seq: int) -> int:
        """Returns the offset behind event `seq`, by a binary search: lines are in order."""
        low, high = 0, self.size  # both at the beginning of a line
        while low < high:
            start = self.line_start((low + high) // 2)
            line = os.pread(self.fd, wire.MAX_LINE, start)
            if int(line.split(b" ", 2)[1]) > seq:
                high = start
            else:
                low = start + line.index(b"\n") + 1
        return low

    def line_start(self, offset: int) -> int:
        """Returns where the line begins that holds the byte at `offset`."""
        before = max(0, offset - wire.MAX_LINE)
        return before + os.pread(self.fd, offset - before, before).rfind(b"\n") + 1
