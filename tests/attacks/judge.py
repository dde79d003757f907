"""Runs commands in a cell as the judge does, and says what became of each.

The harness starts it as it starts a judge: within tier A's outer wall, or as root with the group
and the folder of a slot of tier B. The task is JSON on the standard input; the answer goes to the
descriptor of the last argument.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.driving import cells, terminals
from harness.grading import cell, uid
from harness.verdicts import pool


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
        "left": left(process.program),
        "status": process.wait(),
        "out": out.decode(errors="replace"),
        "err": err.decode(errors="replace")[-2000:],
    }


def on_terminal(launch, seconds):
    """The same of a program on a terminal."""
    with terminals.TerminalClient("attacker", launch.argv, launch=launch, deadline=seconds) as one:
        one.ends(0)
    return {"out": "\n".join(one.lines), "left": left(one.started), "status": 0}


def left(program):
    """How many processes of a program that was ended there are, by the cell's own mark on them."""
    if isinstance(program, uid.UidProgram):
        return len(uid.alive(uid.pids_of(user=program.user)))
    return sum(space_of(pid) == program.namespace for pid in uid.alive(psutil.pids()))


def space_of(pid):
    try:
        return cell.namespace_of(pid)
    except OSError:
        return None


def main():
    task = json.load(sys.stdin)
    _, *slot, last = sys.argv[1:]
    result = int(last)
    os.set_inheritable(result, False)
    pool.adopt()
    one = uid.UidCell(slot[0], int(slot[1])) if slot else cell.Bubblewrap()
    top = Path(tempfile.gettempdir())
    answers = []
    for command in task["commands"]:
        copy = Path(tempfile.mkdtemp()) / "copy"
        shutil.copytree(Path(__file__).parent, copy)
        facts = task["facts"]
        if slot:  # in tier A our ids mean nothing outside our own namespace
            facts |= {"judge": os.getpid(), "parent": os.getppid()}
        (copy / "facts.json").write_text(json.dumps(facts))
        one.strays = []
        began = time.monotonic()
        launch = one.started(
            command["command"],
            cwd=copy,
            env={"PATH": cell.PATH, "TERM": "dumb", "HOME": "/tmp", "TMPDIR": "/tmp"},
            writable=[copy.parent],
            terminal=command["terminal"],
        )
        answer = (on_terminal if command["terminal"] else run)(launch, command["seconds"])
        answer["seconds"] = time.monotonic() - began
        answer["strays"] = one.strays
        answer["homes"] = [path.name for path in top.glob("home-*")]
        answers.append(answer)
    with open(result, "w") as file:
        json.dump(answers, file)


main()
