"""A server as a child process: its command line starts it, its console controls it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

END_TIMEOUT = 3.0  # seconds for each way to end the server, before the next, harder one
PIPE_TIMEOUT = 0.5  # seconds to read the rest of the output after the server's end
INTERPRETERS = re.compile(r"(python|node|java|ruby|perl|lua|php|bash|sh)[\d.]*")
READ_SIZE = 1 << 16  # bytes
SHELL_SIGNAL = 128  # a shell's status for a program that signal N ended is 128 + N
PR_SET_PDEATHSIG = 1  # prctl(2)


def command_of(design: str) -> list[str]:
    """Return the command of one of the three servers: nonblocking, pthread or fork."""
    return [sys.executable, "-m", f"implementations.{design}"]


def program_of(command: Sequence[str]) -> str:
    """Return the name of the program that a command runs: "server.py" of "python3 server.py"."""
    name = os.path.basename(command[0])
    if INTERPRETERS.fullmatch(name) and "-c" not in command:
        programs = (word for word in command[1:] if not word.startswith("-"))
        name = os.path.basename(next(programs, name))
    return name


def end_with_parent() -> None:
    """Ask Linux to send SIGTERM when the parent ends, even if it was killed.

    Runs in the child before the server's program starts.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def describe_end(return_code: int) -> str:
    """Return in words how a process ended: its status, or the signal that ended it."""
    if return_code < 0:
        return f"by signal {-return_code}{name_of_signal(-return_code)}"
    if return_code > SHELL_SIGNAL and (name := name_of_signal(return_code - SHELL_SIGNAL)):
        return f"with status {return_code}, as a shell reports signal{name}"
    return f"with status {return_code}"


def name_of_signal(number: int) -> str:
    """Return the name of a signal in parentheses, after a space; "" if it has none."""
    with contextlib.suppress(ValueError):
        return f" ({signal.Signals(number).name})"
    return ""


class ServerProcess:
    """One server. Its output is always read at once, so the server never waits for the window."""

    def __init__(
        self,
        on_output: Callable[[bytes], None],
        on_error_line: Callable[[str], None],
        on_end: Callable[[int], None],
    ) -> None:
        """Prepare a process. The event loop calls the three functions.

        Args:
            on_output: takes bytes of stdout.
            on_error_line: takes a line of stderr.
            on_end: takes the return code: an exit status, or minus a signal's number.
        """
        self._on_output, self._on_error_line, self._on_end = on_output, on_error_line, on_end
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None if the server does not run."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    async def start(self, command: Sequence[str]) -> None:
        """Start the server, also after its end. Raises OSError if that is not possible."""
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the window's terminal is not for the server
            preexec_fn=end_with_parent,
        )
        self._ended = asyncio.create_task(self._follow(self._process))

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        output = asyncio.create_task(self._read_output(process.stdout))
        errors = asyncio.create_task(self._read_errors(process.stderr))
        return_code = await process.wait()
        with contextlib.suppress(TimeoutError):  # a process that it left may hold the pipes open
            await asyncio.wait_for(asyncio.gather(output, errors), PIPE_TIMEOUT)
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # children that it left
        self._on_end(return_code)

    async def _read_output(self, pipe: asyncio.StreamReader | None) -> None:
        while pipe and (data := await pipe.read(READ_SIZE)):
            self._on_output(data)

    async def _read_errors(self, pipe: asyncio.StreamReader | None) -> None:
        rest = b""
        while pipe and (data := await pipe.read(READ_SIZE)):
            *lines, rest = (rest + data)[-READ_SIZE:].split(b"\n")
            for line in lines:
                self._on_error_line(line.decode(errors="backslashreplace"))
        if rest:
            self._on_error_line(rest.decode(errors="backslashreplace"))

    def write(self, data: bytes) -> None:
        """Send bytes to stdin, if the server runs."""
        stdin = self._process.stdin if self._process else None
        if self.pid and stdin and not stdin.is_closing():
            stdin.write(data)

    def signal_group(self, number: int) -> None:
        """Send a signal to the server and its child processes, if there are any left."""
        if self._process:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, number)

    async def end(self) -> None:
        """End the server: `close` at its console, then SIGTERM, then SIGKILL.

        When this returns, none of its processes is left.
        """
        if not self._ended:
            return
        self.write(b"close\n")
        for number in (signal.SIGTERM, signal.SIGKILL):
            done, _ = await asyncio.wait([self._ended], timeout=END_TIMEOUT)
            if done:
                return
            self.signal_group(number)
        await asyncio.wait([self._ended], timeout=END_TIMEOUT)
