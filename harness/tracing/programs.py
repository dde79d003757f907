"""Programs that take --trace, run in a chosen order of their steps."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from harness.driving.server import ROOT
from harness.tracing.gates import Forced, Gates


def bound(command: Sequence[object]) -> list[str]:
    """Return the command, changed so that its process ends whenever its starter ends.

    On systems other than Linux, the process survives a kill -9 of the starter.
    """
    return [
        *(["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []),
        *map(str, command),
    ]


def end_group(process: subprocess.Popen) -> None:
    """Kill a process and all others in its group."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass


def under(
    schedule: str, *command: object, tell: Callable[[str], None] | None = None
) -> tuple[str, Forced]:
    """Run a program that takes --trace, with its gates opened in the order of the schedule.

    Return (what the program prints, how far the schedule came). `tell`: the same as for Gates.
    Raise gates.Wrong if the schedule cannot be read.
    """
    started: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory(prefix="grupo-") as place:
        with Gates(place, tell) as gates:
            try:
                forced = gates.force(
                    schedule,
                    lambda: started.append(
                        subprocess.Popen(
                            bound([*command, "--trace", place]),
                            stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE,
                            text=True,
                            errors="replace",
                            cwd=ROOT,
                            start_new_session=True,
                        )
                    ),
                )
            except BaseException:
                for process in started:
                    end_group(process)
                raise
        return started[0].communicate()[0], forced  # now that all gates are open
