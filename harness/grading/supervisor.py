"""Runs one judge: gives it its job, waits for its result, and ends it and all that it started.

The judge and the programs that it runs can neither stop nor outlive this: it is a process of
another pid namespace, or of another user, and nothing of theirs is needed for the end.
"""

import contextlib
import dataclasses
import fcntl
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

import psutil

MOST_RESULT = 64 << 20  # bytes
LOG_ENDS = 32 << 10  # bytes: so much of a log's beginning and of its end is kept
LOOK = 0.1  # seconds between two looks at the memory
ENDS_WITHIN = 10.0  # seconds in which killed processes are gone


@dataclasses.dataclass
class Log:
    """The beginning and the end of what a process wrote."""

    head: bytes = b""
    tail: bytes = b""
    size: int = 0

    def add(self, chunk: bytes) -> None:
        """Take what came."""
        self.size += len(chunk)
        room = LOG_ENDS - len(self.head)
        self.head += chunk[:room]
        self.tail = (self.tail + chunk[max(room, 0) :])[-LOG_ENDS:]

    def text(self) -> str:
        """Return it, with a line in place of what was left out."""
        left_out = self.size - len(self.head) - len(self.tail)
        middle = f"\n({left_out} bytes left out)\n".encode() if left_out else b""
        return (self.head + middle + self.tail).decode("utf-8", "backslashreplace")


@dataclasses.dataclass
class Supervised:
    """What became of a judge."""

    result: bytes  # b"": it gave none
    log: Log
    late: bool = False  # it was ended after its time
    seconds: float = 0.0
    code: int | None = None  # its return code, as subprocess has it


@dataclasses.dataclass
class Start:
    """How to start a judge. The number of the descriptor for its result is appended to `argv`.

    look(pid, log) is called again and again while it runs.
    """

    argv: list[str]
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    pass_fds: Sequence[int] = ()
    preexec: Callable[[], None] | None = None
    look: Callable[[int, Log], None] = lambda pid, log: None


def supervise(start: Start, job: bytes, *, total: float) -> Supervised:
    """Run a judge for at most `total` seconds. It gets `job` on its stdin.

    What it writes on stdout and stderr is the log. The calling thread must not end before: with
    it, the judge would.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as closing:
        given = closing.enter_context(os.fdopen(os.memfd_create("job"), "w+b", buffering=0))
        given.write(job)
        given.seek(0)
        mine, theirs = os.pipe()
        closing.callback(os.close, mine)
        try:
            process = subprocess.Popen(
                [*start.argv, str(theirs)],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=start.env,
                pass_fds=(*start.pass_fds, theirs),
                preexec_fn=start.preexec,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        closing.callback(process.stdout.close)
        found = Supervised(b"", Log())
        try:
            for _ in hear(mine, process.stdout.fileno(), found, began + total):
                start.look(process.pid, found.log)
            start.look(process.pid, found.log)  # a last time: at what ended just now
        finally:
            end_all(process)
        found.code = process.returncode
        found.seconds = time.monotonic() - began
        return found


def end_with(result: int) -> None:
    """In a judge: be killed as soon as the supervisor has ended, which alone reads the result.

    PR_SET_PDEATHSIG does not do it: between the two there may be processes of another user, whose
    end may send no signal.
    """
    fcntl.fcntl(result, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(result, fcntl.F_SETFL, os.O_ASYNC)  # SIGIO, which ends the process
    poll = select.poll()
    poll.register(result, 0)
    if poll.poll(0):  # it has ended before
        os.kill(os.getpid(), signal.SIGKILL)


def give(result: int, data: bytes) -> None:
    """In a judge: write the result."""
    fcntl.fcntl(result, fcntl.F_SETFL, 0)  # else the supervisor's read would send a SIGIO, too
    while data:
        data = data[os.write(result, data) :]
    os.close(result)


def hear(result: int, log: int, found: Supervised, end: float) -> Iterator[None]:
    """Take what comes through both pipes, until the result's is closed or it is too late."""
    pieces: list[bytes] = []
    next_look, size = 0.0, 0
    with selectors.DefaultSelector() as selector:
        for pipe in result, log:
            os.set_blocking(pipe, False)
            selector.register(pipe, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(max(0.0, min(LOOK, end - time.monotonic()))):
                chunk = os.read(key.fd, 1 << 16)
                if key.fd == log:
                    found.log.add(chunk)
                    if not chunk:
                        selector.unregister(log)
                elif not chunk or size > MOST_RESULT:
                    found.result = b"" if chunk else b"".join(pieces)
                    return
                else:
                    pieces.append(chunk)
                    size += len(chunk)
            now = time.monotonic()
            if now > end:
                found.late = True
                return
            if now > next_look:
                next_look = now + LOOK
                yield


def end_all(process: "subprocess.Popen[bytes]") -> None:
    """Kill a judge and all that descends from it, and wait for its end."""
    end = time.monotonic() + ENDS_WITHIN
    while time.monotonic() < end:
        left = descendants(process.pid)
        for one in left:
            with contextlib.suppress(psutil.Error, OSError):
                os.kill(one, signal.SIGKILL)
        if process.poll() is None:
            process.kill()
        elif not left:
            break
        time.sleep(0.005)
    process.wait()


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes that descend from this one."""
    with contextlib.suppress(psutil.Error):
        return [one.pid for one in psutil.Process(pid).children(recursive=True)]
    return []
