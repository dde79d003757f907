"""The owner's console: orders come in on stdin, and stdout is one more outbox.

stdin may be a terminal, a pipe, a file, /dev/null, closed, or the terminal of a background job.
Its end is no order. An owner who does not read loses lines, and learns how many; the server never
waits for the owner.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import stat
from typing import TYPE_CHECKING, cast

from .outbox import Outbox

if TYPE_CHECKING:
    from .connection import Connection

STDIN, STDOUT = 0, 1
EVENT_LIMIT = 64 * 1024  # bytes that may be queued before another event is dropped, ...
NOTE_LIMIT, REPLY_LIMIT = 2 * EVENT_LIMIT, 16 * EVENT_LIMIT  # ... a note, a line of an answer
# The owner's line for each event. Names begin with a letter or digit: nobody can imitate these.
FORMS = {
    b"IN": b"* %s came\n",
    b"OUT": b"* %s went\n",
    b"LEFT": b"* %s left\n",
    b"BANNED": b"# %s is banned\n",
    b"RENAMED": b"# %s is now %s\n",
    b"GROUP": b"# the group is now %s\n",
}


def line_for_owner(event: bytes) -> bytes:
    """Returns an event line, without its LF, as the line that the owner reads."""
    verb, _, _, rest = event.split(b" ", 3)
    if verb == b"MSG":  # most events are messages
        return b"<" + rest.replace(b" ", b"> ", 1) + b"\n"
    return FORMS[verb] % (tuple(rest.split(b" ")) if verb == b"RENAMED" else rest)


class Stdin:
    """stdin, with a socket's recv."""

    def __init__(self) -> None:
        for name in ("SIGTTIN", "SIGTTOU"):  # a background job is not to be stopped by its terminal
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        self.descriptor = STDIN
        kind = os.fstat(STDIN).st_mode
        if stat.S_ISREG(kind) or (stat.S_ISCHR(kind) and not os.isatty(STDIN)):
            # A file is always readable, but epoll refuses to watch one. A pipe at its end is always
            # readable, too.
            self.descriptor, end = os.pipe()
            os.close(end)

    def fileno(self) -> int:
        """Returns the descriptor to wait for."""
        return self.descriptor

    def recv(self, size: int) -> bytes:
        """Returns what the owner typed, at most `size` bytes; b"" at the end.

        Raises BlockingIOError while another job has the terminal.
        """
        try:
            return os.read(STDIN, size)
        except OSError as error:
            # Do not ask whether another job has the terminal: we may have got it back since.
            if error.errno == errno.EIO and is_our_terminal():
                raise BlockingIOError from None
            return b""


def is_our_terminal() -> bool:
    """Whether stdin is a terminal that still exists."""
    try:
        os.tcgetpgrp(STDIN)
    except OSError:
        return False
    return True


class Stdout:
    """stdout, with a socket's send, which never waits.

    O_NONBLOCK belongs to an open file description, which the shell shares: so pipes and terminals
    are opened a second time. Where that is refused, a send writes no more than POSIX promises that
    a writable pipe takes.
    """

    def __init__(self) -> None:
        self.descriptor, self.shared = STDOUT, not stat.S_ISREG(os.fstat(STDOUT).st_mode)
        if self.shared:
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                self.descriptor = os.open(f"/proc/self/fd/{STDOUT}", flags)
                self.shared = False
            except OSError:
                pass

    def fileno(self) -> int:
        """Returns the descriptor to wait for."""
        return self.descriptor

    def send(self, data: bytes) -> int:
        """Writes a part of `data`. Returns how many bytes; raises BlockingIOError if none."""
        if self.shared:
            if not select.select([], [STDOUT], [], 0)[1]:
                raise BlockingIOError
            data = data[: select.PIPE_BUF]
        return os.write(self.descriptor, data)

    def shutdown(self, how: int) -> None:
        """Does nothing: there is no other side."""


class OwnerOutbox(Outbox):
    """What the owner is still to be shown.

    Nobody waits for the owner, and the owner is never disconnected: lines are dropped instead.
    """

    def __init__(self, client: Connection, now: float) -> None:
        stdout = Stdout()
        super().__init__(client, cast(socket.socket, stdout), now)
        self.send = stdout.send
        self.receives_events = True
        self.dropped = 0  # lines

    def report_dropped(self) -> bool:
        """Tells how many lines were dropped, as soon as there is room; returns whether it did."""
        if not self.dropped or self.queued_bytes > EVENT_LIMIT // 2:
            return False
        super().put(b"# %d lines not shown\n" % self.dropped)
        self.dropped = 0
        return True

    def put(self, data: bytes) -> None:
        """Queues lines of an answer, or drops them."""
        self.put_within(data, REPLY_LIMIT)

    def put_note(self, data: bytes) -> None:
        """Queues a note, or drops it."""
        self.put_within(data, NOTE_LIMIT)

    def put_within(self, data: bytes, limit: int) -> None:
        """Queues lines unless more than `limit` bytes would be queued then."""
        if self.queued_bytes + len(data) > limit:
            self.dropped += data.count(b"\n")
        else:
            super().put(data)

    def put_events(self, data: bytes) -> None:
        """Queues events in the owner's form, or drops them."""
        if self.dropped or self.queued_bytes + len(data) > EVENT_LIMIT:
            self.dropped += data.count(b"\n")
        elif data:
            super().put(b"".join([line_for_owner(event) for event in data.splitlines()]))

    def finish_when_sent(self) -> None:
        """An order is finished at once: the next need not wait until the answer has been read."""
        self.reply_bytes = 0

    def needs_backpressure(self, limit: int, now: float) -> bool:
        """Nobody waits for the owner."""
        return False

    def is_too_slow(self, limit: int, slow_after: float, now: float) -> bool:
        """The owner is never disconnected."""
        return False

    def is_full(self, limit: int) -> bool:
        """Lines are dropped before that."""
        return False


def open_standard_descriptors() -> None:
    """Opens /dev/null for a closed stdin, stdout or stderr; else a socket would get its number."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
