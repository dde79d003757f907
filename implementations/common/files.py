"""A group's folder: `transcript` (what happened, in order, for ever), `members` (who may come in), `lock` (one server).

The transcript is the event lines exactly as sent, so a HISTORY is a range of this file, and a line that ends in LF is an
event that happened. The member file is replaced whole, never touched where it stands.
"""
import fcntl
import os
import time

from . import wire

TAKEN_WITHIN = 1.0      # seconds: how long the last writing of a server that was killed may still hold the lock


class Trouble(Exception):
    """The folder cannot be used; the text is one line for the owner: what, where, what to do."""


class Folder:
    def __init__(self, path):
        """Makes the folder if need be, takes its lock, finishes a delete that was cut. Raises Trouble, OSError."""
        self.path = path
        os.makedirs(path, mode=0o700, exist_ok=True)
        self.lock = self.take_lock()
        if os.path.exists(self.file("deleted")):
            self.erase()
        remove(self.file("members.new"))                # a writing that was cut
        self.transcript = Transcript(self.file("transcript"))

    def file(self, name):
        return os.path.join(self.path, name)

    def take_lock(self):
        lock = os.open(self.file("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + TAKEN_WITHIN
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Trouble(f"{self.path}: another server holds this folder; end it, or choose another --dir") from None
                time.sleep(0.02)

    def members(self):
        """The text of the member file, '' if there is none yet."""
        try:
            with open(self.file("members"), encoding="utf-8", newline="\n") as file:
                return file.read()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise Trouble(f"{self.file('members')}: not UTF-8 text; put back a copy, or move it away") from None

    def save_members(self, text):
        """Replaces the member file; '' or why it could not be. Slow (fsync): never called where the Room waits.

        The transcript goes to the disk first: the member file never knows of an event that the transcript lacks.
        """
        try:
            os.fsync(self.transcript.fd)
            with open(self.file("members.new"), "w", encoding="utf-8", newline="\n", opener=private) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(self.file("members.new"), self.file("members"))
            folder = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            return error.strerror
        return ""

    def erase(self):
        """Removes all that was said and all members. The first step decides; a start does the rest if a kill cut it."""
        if os.path.exists(self.file("transcript")):
            os.replace(self.file("transcript"), self.file("deleted"))
        try:
            remove(self.file("members"))
            remove(self.file("deleted"))
        except OSError:
            pass                        # it is decided: the next start does the rest


class Transcript:
    """Event lines, written (not fsynced) before anyone hears them: that survives kill -9, not a power cut."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self.fd).st_size           # what counts: a torn write may lie behind it

    def lines(self):
        """Every kept line, a str without its LF. Cuts a torn last line off the file. Raises Trouble."""
        number, lines = 0, wire.Lines()
        with open(self.fd, "rb", closefd=False) as file:
            while block := file.read(1 << 20):
                for number, line in enumerate(lines.feed(block), number + 1):
                    if isinstance(line, wire.Fault):
                        raise Trouble(f"{self.path}: line {number} is not an event ({line}); put back a copy, or move it away")
                    yield line
        if lines.rest:
            self.cut_tail(lines.rest, number + 1)

    def cut_tail(self, tail, seq):
        """A line without its LF was never told to anyone, if it is the beginning of event `seq`; else it is damage."""
        verbs = wire.EVENTS if seq > 1 else ("GROUP",)
        heads = [f"{verb} {seq} ".encode() for verb in verbs]
        if not any(head.startswith(tail) or tail.startswith(head) for head in heads):
            raise Trouble(f"{self.path}: line {seq} is not an event; put back a copy, or move it away")
        self.size -= len(tail)
        os.ftruncate(self.fd, self.size)

    def append(self, data):
        """Writes whole lines, all or nothing. Raises OSError (disk full, file too large, ...)."""
        written = os.pwrite(self.fd, data, self.size)
        while written < len(data):                      # short: the disk is nearly full
            try:
                written += os.pwrite(self.fd, data[written:], self.size + written)
            except OSError:
                os.ftruncate(self.fd, self.size)        # at once, so that no torn line is ever followed by a whole one
                raise
        self.size += written

    def after(self, seq):
        """The offset behind event `seq`: found by halving, since lines are in order and need no index."""
        low, high = 0, self.size                        # both stand at the beginning of a line
        while low < high:
            start = self.line_start((low + high) // 2)
            line = os.pread(self.fd, wire.MAX_LINE, start)
            if int(line.split(b" ", 2)[1]) > seq:
                high = start
            else:
                low = start + line.index(b"\n") + 1
        return low

    def line_start(self, offset):
        """Where the line that holds the byte at `offset` begins."""
        before = max(0, offset - wire.MAX_LINE)
        return before + os.pread(self.fd, offset - before, before).rfind(b"\n") + 1


def private(path, flags):
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
