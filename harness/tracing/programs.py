"""Programs that end with their starter."""

import os
import shutil
import subprocess
from collections.abc import Sequence


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
