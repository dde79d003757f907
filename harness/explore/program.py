"""How a program gets its gates: our servers have their own, others get them from outside."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.driving.compiled import NotCompiled
from harness.driving.messages import Message
from harness.driving.processes import dies_with_us
from harness.driving.programs import PYTHON, interpreter_of, preloading, program_of
from harness.driving.record import Record
from harness.driving.server import Server
from harness.explore import native

PYTHON_GATES = Path(__file__).parent / "python"  # Python runs the sitecustomize in it
START_WITHIN = 8.0  # seconds until a server under control must listen


# Starts a server with its gates in a folder, and its group in another one, with these flags.
Start = Callable[[Path, Path, Sequence[str], Record], Server]


@dataclass(frozen=True)
class Program:
    """A server's command line, run in `cwd`. With `traced` it takes --trace, and then has gates."""

    command: list[str]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    traced: bool = True

    def flags(self, gates: Path) -> list[str]:
        """Return the flags with which it has its gates in this folder."""
        return ["--trace", str(gates)] if self.traced else []

    def environment(self, gates: Path) -> dict[str, str]:
        """Return what its environment must have for that."""
        return {**self.env, "GRUPO_GATES": str(gates)}

    def source(self, at: str) -> str:
        """Return the place in the source of an event's "at"."""
        return native.source_of(at, Path(self.command[0])) or at

    def start(self, gates: Path, folder: Path, flags: Sequence[str], record: Record) -> Server:
        """Start it with its gates in this folder. Raises NotStarted or OSError."""
        return Server(
            self.command,
            directory=folder,
            args=(*flags, *self.flags(gates)),
            cwd=self.cwd,
            env=self.environment(gates),
            record=record,
            inherits=False,
            deadline=START_WITHIN,
            preexec=dies_with_us(),
        )


def has_own_gates(command: Sequence[str], cwd: str) -> bool:
    """Return whether this command runs a server of ours, or a lab's copy of one."""
    named = any(word.startswith("implementations.") for word in command)
    return named and Path(cwd, "implementations", "common", "trace.py").is_file()


def program(command: Sequence[str], cwd: str) -> Program | Message:
    """Return how to run this command under control, or why it cannot be explored."""
    if has_own_gates(command, cwd):
        return Program(list(command), cwd)
    if why := native.why_not(list(command), cwd):
        return why
    if runs_python(command):
        path = os.pathsep.join(filter(None, [str(PYTHON_GATES), os.environ.get("PYTHONPATH")]))
        return Program(list(command), cwd, {"PYTHONPATH": path}, traced=False)
    try:
        return Program(list(command), cwd, preloading(native.gates_library()), traced=False)
    except NotCompiled as problem:
        lacking: Message = problem.args[0]
        return lacking


def runs_python(command: Sequence[str]) -> bool:
    """Return whether this command runs Python, by its name or by a script's first line."""
    path = program_of(list(command)) or command[0]
    return bool(
        PYTHON.fullmatch(os.path.basename(command[0])) or re.search("python", interpreter_of(path))
    )
