"""A server as a child of the owner's window: started by its command line, led by its console, and ended with the window."""
import asyncio
import contextlib
import ctypes
import os
import signal
import sys

STANDARD_SIGNALS = signal.SIGTERM, signal.SIGKILL
CLOSE_WITHIN = 3            # seconds from one way of ending it to the next, harder one
PR_SET_PDEATHSIG = 1
CHUNK = 1 << 16


def command_of(design):
    return [sys.executable, "-m", f"implementations.{design}"]


def end_with_parent():
    """In the child, before it is the server: Linux sends SIGTERM when the window is gone, however it went."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """Its output is read at once, always: what is done with it may wait, the server may not."""

    def __init__(self, on_output, on_complaint, on_end):
        """Called in the event loop: on_output(bytes), on_complaint(line of stderr), on_end(status)."""
        self.on_output, self.on_complaint, self.on_end = on_output, on_complaint, on_end
        self.process = None
        self.ended = None

    @property
    def pid(self):
        return self.process.pid if self.process and self.process.returncode is None else None

    async def start(self, command):
        """Raises OSError if there is no such command."""
        self.process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True, preexec_fn=end_with_parent)
        self.ended = asyncio.create_task(self.follow())

    async def follow(self):
        out, err = asyncio.create_task(self.read_output()), asyncio.create_task(self.read_complaints())
        status = await self.process.wait()
        with contextlib.suppress(asyncio.TimeoutError):         # a process that it left may hold its output open
            await asyncio.wait_for(asyncio.gather(out, err), 0.5)
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)         # a child that it left goes with it
        self.on_end(status)

    async def read_output(self):
        while data := await self.process.stdout.read(CHUNK):
            self.on_output(data)

    async def read_complaints(self):
        rest = b""
        while data := await self.process.stderr.read(CHUNK):
            *lines, rest = (rest + data)[-CHUNK:].split(b"\n")
            for line in lines:
                self.on_complaint(line.decode(errors="backslashreplace"))
        if rest:
            self.on_complaint(rest.decode(errors="backslashreplace"))

    def write(self, data):
        if self.pid and not self.process.stdin.is_closing():
            self.process.stdin.write(data)

    async def end(self):
        """Ends it: `close` at its console, then SIGTERM, then SIGKILL. When this returns, nothing of it is left."""
        if not self.ended:
            return
        self.write(b"close\n")
        for number in STANDARD_SIGNALS:
            done, _ = await asyncio.wait([self.ended], timeout=CLOSE_WITHIN)
            if done:
                return
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, number)
        await asyncio.wait([self.ended], timeout=CLOSE_WITHIN)
