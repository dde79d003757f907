"""How a program gets its gates: our servers have their own, others get them from outside."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.driving.messages import Message, msg
from harness.driving.processes import dies_with_us
from harness.driving.record import Record
from harness.driving.server import Server

START_WITHIN = 60.0  # seconds until a server under control must listen


@dataclass(frozen=True)
class Program:
    """A server's command line, run in `cwd`. With `traced` it takes --trace, and then has gates."""

    command: list[str]
    cwd: str
    env: dict[str, str] = field(default_factory=dict)
    traced: bool = True
    inherits: bool = True

    def start(self, gates: Path, folder: Path, flags: Sequence[str], record: Record) -> Server:
        """Start it with its gates in this folder. Raises NotStarted or OSError."""
        return Server(
            self.command,
            directory=folder,
            args=(*flags, *(("--trace", str(gates)) if self.traced else ())),
            cwd=self.cwd,
            env={**self.env, "GRUPO_GATES": str(gates)},
            record=record,
            inherits=self.inherits,
            deadline=START_WITHIN,
            preexec=dies_with_us(),
        )


def has_own_gates(command: Sequence[str], cwd: str) -> bool:
    """Return whether this command runs a server of ours, or a lab's copy of one."""
    named = any(word.startswith("implementations.") for word in command)
    return named and Path(cwd, "implementations", "common", "trace.py").is_file()


def program(command: Sequence[str], cwd: str, *, inherits: bool = True) -> Program | Message:
    """Return how to run this command under control, or why it cannot be explored."""
    if has_own_gates(command, cwd):
        return Program(list(command), cwd, inherits=inherits)
    if shutil.which(command[0], path=os.environ.get("PATH")) is None:
        return msg("{command}: there is no such program", command=command[0])
    return msg("{command} has no gates", command=command[0])
