"""The owner's console: his orders come on stdin, and stdout is one more outbox, which never makes the server wait.

stdin may be a terminal, a pipe, a file, /dev/null, closed, or the terminal of a background job; its end is no order.
An owner who does not read his terminal loses lines, and is told how many.
"""
import errno
import os
import select
import signal
import stat

from .outboxes import Outbox

STDIN, STDOUT = 0, 1
EVENT_LIMIT = 64 * 1024           # bytes that may wait for the owner before another event, ...
NOTE_LIMIT, REPLY_LIMIT = 2 * EVENT_LIMIT, 16 * EVENT_LIMIT      # ... another note, another line of an answer
# The owner's line for each event; names begin with a letter or digit, so nobody can imitate these forms.
FORMS = {b"IN": b"* %s came\n", b"OUT": b"* %s went\n", b"LEFT": b"* %s left\n",
         b"BANNED": b"# %s is banned\n", b"RENAMED": b"# %s is now %s\n", b"GROUP": b"# the group is now %s\n"}


def line_for_owner(event):
    verb, _, _, rest = event.split(b" ", 3)
    if verb == b"MSG":          # by far the most
        return b"<" + rest.replace(b" ", b"> ", 1) + b"\n"
    return FORMS[verb] % (tuple(rest.split(b" ")) if verb == b"RENAMED" else rest)


class Stdin:
    """stdin, with a socket's recv."""

    def __init__(self):
        for name in ("SIGTTIN", "SIGTTOU"):             # a background job is not to be stopped for reading its terminal
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        self.descriptor = STDIN
        kind = os.fstat(STDIN).st_mode
        if stat.S_ISREG(kind) or stat.S_ISCHR(kind) and not os.isatty(STDIN):
            # A file is always ready, but epoll refuses to watch one: a pipe at its end is always ready, too.
            self.descriptor, end = os.pipe()
            os.close(end)

    def fileno(self):
        """What is to be watched for reading."""
        return self.descriptor

    def recv(self, size):
        """Bytes the owner typed; b"" at the end. Raises BlockingIOError while another job has the terminal."""
        try:
            return os.read(STDIN, size)
        except OSError as error:
            # (Not asked: whether another job has it still. It may have been given to us since.)
            if error.errno == errno.EIO and is_our_terminal():
                raise BlockingIOError from None
            return b""


def is_our_terminal():
    """Whether stdin is a terminal, and it is not gone."""
    try:
        os.tcgetpgrp(STDIN)
    except OSError:
        return False
    return True


class Stdout:
    """stdout, with a socket's send; a send never makes the server wait.

    The flag O_NONBLOCK belongs to an opening, which the shell shares: so pipes and terminals are opened anew. Where that
    is refused, no more is written than POSIX promises a writable pipe to take.
    """

    def __init__(self):
        self.descriptor, self.shared = STDOUT, not stat.S_ISREG(os.fstat(STDOUT).st_mode)
        if self.shared:
            try:
                self.descriptor = os.open(f"/proc/self/fd/{STDOUT}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                self.shared = False
            except OSError:
                pass

    def fileno(self):
        return self.descriptor

    def send(self, data):
        if self.shared:
            if not select.select([], [STDOUT], [], 0)[1]:
                raise BlockingIOError
            data = data[:select.PIPE_BUF]
        return os.write(self.descriptor, data)

    def shutdown(self, how):
        pass


class OwnerOutbox(Outbox):
    """What the owner is still to be shown. He is never too slow to stay, and nobody waits for him: lines are dropped."""

    def __init__(self, client, now):
        screen = Stdout()
        super().__init__(client, screen, now)
        self.send = screen.send
        self.receives_events = True
        self.dropped = 0

    def report_dropped(self):
        """Says how many lines were dropped, as soon as there is room; whether it did."""
        if not self.dropped or self.queued_bytes > EVENT_LIMIT // 2:
            return False
        super().put(b"# %d lines not shown\n" % self.dropped)
        self.dropped = 0
        return True

    def put(self, data, limit=REPLY_LIMIT):
        if self.queued_bytes + len(data) > limit:
            self.dropped += data.count(b"\n")
        else:
            super().put(data)

    def put_note(self, data):
        self.put(data, NOTE_LIMIT)

    def put_events(self, data):
        if self.dropped or self.queued_bytes + len(data) > EVENT_LIMIT:
            self.dropped += data.count(b"\n")
        elif data:
            super().put(b"".join([line_for_owner(event) for event in data.splitlines()]))

    def finish_when_sent(self):
        self.reply_bytes = 0         # his next order does not wait until he has read the answer to the last

    def needs_backpressure(self, limit, now):
        return False

    def is_too_slow(self, limit, slow_after, now):
        return False


def open_standard_descriptors():
    """A closed stdin, stdout or stderr would be taken by the next socket: /dev/null takes it instead."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
