"""Runs a program in a cell as the judge does, and says what became of it.

`python -P tests/attacks/judge.py MARKER`: the task is JSON on the standard input, and so is the
answer on the standard output. MARKER only stands in the command line, where others may read it.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.driving import cells, terminals
from harness.grading import warden
from harness.verdicts import pool


@contextlib.contextmanager
def cell_of(tier, folder):
    """The cell, the submission's folder in it, and a function that says what was too much."""
    if tier == "B":
        with warden.Slot(folder) as slot:
            yield slot.cell, slot.folder / "copy", slot.reasons
    else:
        raise NotImplementedError(tier)


def run(launch, seconds):
    """What a program did, as far as it ended in time."""
    process = cells.Process(
        launch, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        count = len(process.program.processes())
        process.program.end()
        out, err = process.communicate()
    else:
        count = len(process.program.processes())
        process.program.end()
    return {
        "processes": count,
        "left": len(alike(process.program)),
        "status": process.wait(),
        "out": out.decode(errors="replace"),
        "err": err.decode(errors="replace")[-2000:],
    }


def on_terminal(launch, seconds):
    """The same of a program on a terminal."""
    with terminals.TerminalClient("attacker", launch.argv, launch=launch, deadline=seconds) as one:
        one.ends(0)
    return {"out": "\n".join(one.lines), "left": len(alike(one.started)), "status": 0}


def alike(program):
    """The processes of a program that was ended, by the cell's own mark on them."""
    return warden.uid.alive(warden.uid.pids_of(user=program.user.number))


def main():
    task = json.load(sys.stdin)
    pool.adopt()
    folder = Path(task["folder"])
    with cell_of(task["tier"], folder) as (cell, copy, reasons):
        shutil.copytree(task["files"], copy)
        facts = {**task["facts"], "judge": os.getpid(), "parent": os.getppid()}
        (copy / "facts.json").write_text(json.dumps(facts))
        began = time.monotonic()
        launch = cell.started(
            task["command"],
            cwd=copy,
            env={"PATH": os.environ["PATH"], "TERM": "dumb"},
            writable=[copy],
            terminal=task["terminal"],
        )
        answer = (on_terminal if task["terminal"] else run)(launch, task["seconds"])
        answer |= {
            "seconds": time.monotonic() - began,
            "strays": cell.strays,
            "reasons": [str(reason) for reason in reasons()],
            "homes": [path.name for path in copy.parent.glob("home-*")],
        }
    print(json.dumps(answer))


main()
