"""How a program under check is started: as a plain process, or in a cell that keeps it apart from
the machine.

A Cell turns a command line into a Launch, which may be a chain of programs that ends in the one
under check. Once it runs, the Launch gives the Program: its own pid, all its processes, its exit
status, its end. All that starts a program of others (a server, a compiler on its source) asks
current() how.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from harness.driving import processes

ENDS_WITHIN = 5.0  # seconds in which killed processes are gone
LOADED = "LD_PRELOAD", "PYTHONPATH"  # variables with paths of what a program loads


class CellError(Exception):
    """The cell could not be made; the text says why. That is never the program's fault."""


class Program(Protocol):
    """A program that was started, seen from outside its cell."""

    pid: int  # its own, which is also the id of its session and group

    def pids(self) -> list[int]:
        """Return the ids of all its processes, zombies included."""

    def processes(self) -> list[psutil.Process]:
        """Return all its processes that are no zombies, whatever their parents are."""

    def status(self, code: int) -> int:
        """Return its status as subprocess has it, of the status of what started it."""

    def end(self) -> None:
        """Kill all its processes, within ENDS_WITHIN seconds."""


@dataclass(frozen=True)
class Launch:
    """What starts a program. `preexec` runs in the new process before all else.

    `popen` are further arguments of subprocess.Popen. `find(starter)` returns the Program, given
    the pid of the process that was started; it may raise CellError.
    """

    argv: list[str]
    env: Mapping[str, str]
    cwd: str
    find: Callable[[int], Program]
    pass_fds: tuple[int, ...] = ()
    preexec: Callable[[], None] | None = None
    popen: Mapping[str, Any] = field(default_factory=dict)


class Cell(Protocol):
    """A way to start programs."""

    # The whole environment of a server; None: a part of ours (server.plain_environment).
    environment: Mapping[str, str] | None
    # What escaped from a program's session and was killed with the cell, as texts.
    strays: list[str]

    def started(
        self,
        argv: Sequence[str],
        *,
        cwd: str | Path,
        env: Mapping[str, str],
        readable: Iterable[str | Path] = (),
        writable: Iterable[str | Path] = (),
        terminal: bool = False,
        closed: bool = False,
    ) -> Launch:
        """Return what starts `argv` in `cwd`, where it may write, with this environment.

        It sees the system's programs, `cwd`, and the files and folders `readable` and `writable`.
        `terminal`: it is started on a terminal, which is to be its own. `closed`: its descriptor 0
        is closed. Raises OSError if there is no such command.
        """


@dataclass
class _Session:
    """A plain process, the leader of a session of its own."""

    pid: int

    def pids(self) -> list[int]:
        return processes.pids(self.pid)

    def processes(self) -> list[psutil.Process]:
        return processes.session(self.pid)

    def status(self, code: int) -> int:
        return code

    def end(self) -> None:
        end = time.monotonic() + ENDS_WITHIN
        # A process may fork while it is killed, so look again until none is left.
        while (left := self.processes()) and time.monotonic() < end:
            end_group(self.pid)
            for process in left:  # those that left the group
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.01)


class Direct:
    """No cell: the program is a process like any other of this user."""

    environment = None

    def __init__(self) -> None:
        self.strays: list[str] = []

    def started(
        self,
        argv: Sequence[str],
        *,
        cwd: str | Path,
        env: Mapping[str, str],
        readable: Iterable[str | Path] = (),
        writable: Iterable[str | Path] = (),
        terminal: bool = False,
        closed: bool = False,
    ) -> Launch:
        """Return what starts the command itself; all files are open to it that are open to us."""
        return Launch(list(argv), env, str(cwd), _Session, preexec=_close_stdin if closed else None)


def _close_stdin() -> None:
    os.close(0)


DIRECT = Direct()
_current: Cell = DIRECT


def current() -> Cell:
    """Return the cell in which this process starts programs of others."""
    return _current


def use(cell: Cell) -> None:
    """Start programs in this cell, in this process and those that it forks from now on."""
    global _current
    _current = cell


class Process(subprocess.Popen[bytes]):
    """A program under check as a subprocess: signals and statuses are the program's own, not those
    of what is between it and us.
    """

    def __init__(
        self, launch: Launch, *, preexec: Callable[[], None] | None = None, **popen: Any
    ) -> None:
        """Start it in a session of its own. `preexec` comes after the launch's. Raises CellError,
        or OSError if there is no such command.
        """
        super().__init__(
            launch.argv,
            env=launch.env,
            cwd=launch.cwd,
            pass_fds=launch.pass_fds,
            preexec_fn=chained(launch.preexec, preexec),
            start_new_session=True,
            **launch.popen,
            **popen,
        )
        try:
            self.program = launch.find(self.pid)
        except CellError as problem:
            super().kill()
            _, told = self.communicate()
            raise CellError(f"{problem} {(told or b'').decode(errors='replace')}".strip()) from None

    def poll(self) -> int | None:
        """Return the program's status, None while it runs."""
        code = super().poll()
        return None if code is None else self.program.status(code)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the program's end, and return its status. Raises subprocess.TimeoutExpired."""
        code = super().wait(timeout)
        return self.program.status(code) if hasattr(self, "program") else code

    def send_signal(self, sig: int) -> None:
        """Send the program a signal, if it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.program.pid, sig)


def chained(*steps: Callable[[], None] | None) -> Callable[[], None] | None:
    """Return a function that does these steps in order; None if there is none."""
    real = [step for step in steps if step]

    def run() -> None:
        for step in real:
            step()

    return run if real else None


def end_group(pid: int) -> None:
    """Kill a process group in one call: a program that forks without end cannot outrun it."""
    with contextlib.suppress(OSError):  # no process of it is left
        os.killpg(pid, signal.SIGKILL)


def loaded(env: Mapping[str, str]) -> list[Path]:
    """Return the files and folders that these variables have a program load."""
    found = [Path(path) for name in LOADED for path in env.get(name, "").split(":") if path]
    return [path for path in found if path.exists()]


def there(path: str | Path) -> Path:
    """Return the path, or the first folder above it that exists."""
    found = Path(os.path.abspath(path))
    while not found.exists():
        found = found.parent
    return found
