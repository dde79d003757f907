"""Runs a workload on a server: real processes, real clients, one script.

The result is a traces.Run, which figures are drawn from.

    run = runs.run("pthread", "password-storm")         its folder is run.folder
    three = runs.run_all("calm")                        one for each of the three designs

A workload is a function of a Stage (harness/tracing/workloads.py).
"""

import atexit
import json
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.driving import history, processes
from harness.driving.crowd import Crowd, Script
from harness.driving.record import CheckFailed, Record
from harness.driving.server import DESIGNS, Server
from harness.tracing import traces
from harness.tracing.workloads import (
    ENTERS,
    FLAGS,
    MAY_BE_DISCONNECTED,
    MEMBERS,
    PACE,
    WORKLOADS,
)

SAMPLE = 0.004  # seconds between two looks at the kernel's buffers
MOST_JOINING = 200  # clients that join at once: a server accepts no more unknown ones

Plan = list[tuple[float, Callable[[], object]]]  # (seconds from the start, what to call)


class Stage:
    """What a workload plays on: the server, and a crowd of members that are connected.

    groups      {name: what it does} of clients that are no ordinary members
    addresses   {name: address}
    samples     what watch() saw
    card        what weigh() measured
    span        [begin, end] of the workload, in seconds since the record began
    """

    def __init__(self, server: Server, crowd: Crowd, members: Sequence[str] = MEMBERS):
        self.server, self.crowd, self.members = server, crowd, members
        self.groups: dict[str, str] = {}
        self.addresses: dict[str, str] = {}
        self.samples: list[list] = []
        self.card: dict[str, Any] = {}
        self.span: list[float | None] = [None, None]
        self.over = threading.Event()
        self.watcher: threading.Thread | None = None

    def enter(self, names: Sequence[str], group: str | None = None, **options):
        """Connects these members and has them join. Returns when all have received WELCOME.

        group       what these clients do, if they are no ordinary members
        options     as Crowd.connect() takes them
        """
        self.connect(names, group, **options)
        self.crowd.play({name: Script([f"JOIN {name} secret-of-{name}"]) for name in names})

    def connect(self, names: Sequence[str], group: str | None = None, **options):
        """Connects these clients. Parameters as in enter()."""
        self.crowd.connect(names, **options)
        for name in names:
            host, port = self.crowd[name].socket.getsockname()[:2]
            self.addresses[self.crowd[name].who] = f"{host}:{port}"
            if group:
                self.groups[self.crowd[name].who] = group

    def says(self, name: str, text: str):
        """Sends SAY for a member."""
        self.sends(name, f"SAY {text}\n".encode())

    def sends(self, name: str, data: bytes):
        """Sends bytes for a member, as they are."""
        person = self.crowd[name]
        person.out += data
        person.send()

    def talk(
        self,
        count: int,
        pace: float = PACE,
        members: Sequence[str] | None = None,
        begin: float = 0,
        also: Iterable = (),
    ) -> Plan:
        """Returns a plan in which the members send `count` messages, one after the other.

        pace        seconds between two messages
        begin       seconds before the first message
        also        further entries of the plan
        """
        members = members or self.members

        def say(number: int):
            self.says(members[number % len(members)], f"message {number + 1}")

        messages = [(begin + n * pace, lambda n=n: say(n)) for n in range(count)]
        return sorted([*messages, *also], key=lambda entry: entry[0])

    def keep_time(self, plan: Plan):
        """Calls each function of a plan at its time, and serves all sockets meanwhile."""
        began = time.monotonic()
        for at, act in plan:
            while (left := began + at - time.monotonic()) > 0:
                self.crowd.serve(left)
            act()

    def watch(self, name: str):
        """Samples the kernel's buffers between the server and this member until the run ends.

        Works on Linux only: on other systems there are no samples.
        """
        person = self.crowd[name]
        ours, theirs = person.socket.getsockname()[1], self.server.port

        def look():
            while person.socket.fileno() >= 0 and not self.over.wait(SAMPLE):
                queues = {
                    one.ends: (one.sent, one.received)
                    for one in processes.tcp_queues((ours, theirs), (theirs, ours))
                    if one.is_established
                }
                if (ours, theirs) not in queues or (theirs, ours) not in queues:
                    return  # the server has disconnected this member
                received, unsent = queues[ours, theirs][1], queues[theirs, ours][0]
                self.samples.append([self.crowd.record.clock(), person.who, received, unsent])

        self.watcher = threading.Thread(target=look, daemon=True)
        self.watcher.start()

    def unwatch(self):
        """Ends what watch() began."""
        self.over.set()
        if self.watcher:
            self.watcher.join()

    def weigh(self, cpu: float = 0.0):
        """Measures what the server uses now, and its processor time beyond `cpu` seconds."""
        family = self.server.family()
        count, threads, descriptors = processes.holdings(family)
        self.card = {
            "processes": count,
            "threads": threads,
            "descriptors": descriptors,
            "memory": processes.memory(family),
            "cpu": round(self.server.cpu() - cpu, 4),
            "clients": sum(not person.ended for person in self.crowd),
        }


# -- Running --------------------------------------------------------------------------------------


def run(
    design: str | list,
    workload: str | Callable[[Stage], object] = "calm",
    folder: str | Path | None = None,
    *,
    members: Sequence[str] = MEMBERS,
    sink: str = "write",
    trace: bool | None = None,
    flags: Sequence[str] = (),
    cwd: str | Path | None = None,
    title: str | None = None,
) -> traces.Run:
    """Runs a workload on a server, and returns the Run.

    design      one of DESIGNS, or the command line of a server (a list)
    workload    a name of WORKLOADS, or a function of a Stage
    folder      keeps the run, in place of an earlier one; without it, a temporary folder that is
                removed when this program ends
    members     the members that join before the workload begins
    sink        `write` or `mem`, as in implementations/common/trace.py
    trace       whether the server has --trace; by default, only the three designs have it
    flags       further flags for the server
    cwd         the folder in which its command runs (an exhibit's folder)
    title       its name on figures

    run.about["verdict"] is "" if all rules held (harness/driving/history.py). Otherwise it says
    which rule did not hold, or why the workload did not come to its end. Raises CheckFailed if the
    server does not start, or refuses the members; OSError if its command cannot be run.
    """
    folder = prepared(folder)
    if isinstance(workload, str):
        act, name = WORKLOADS[workload], workload
    else:
        act, name = workload, workload.__name__.replace("_", "-")
    ours = isinstance(design, str)
    args = ["--admit", "all", *(FLAGS.get(name, ()) if ours else ()), *flags]
    if ours if trace is None else trace:
        args += ["--trace", folder / "trace", "--trace-sink", sink]
    record, stage = Record(), None
    with tempfile.TemporaryDirectory(prefix="grupo-", dir=folder) as home:
        options = {"directory": Path(home, "group"), "args": args, "cwd": cwd}
        try:
            with (
                Server(design, record=record, **options) as server,
                Crowd(server.address, record) as crowd,
            ):
                stage = Stage(server, crowd, members)
                verdict = play(stage, act, name)
        except AssertionError as error:  # CheckFailed, or what the server left behind
            if stage is None or stage.span[0] is None:
                raise
            verdict = "; ".join(str(error).splitlines()[:3])
    about = {
        "schema": 1,
        "design": design if ours else "a server",
        "title": title or (design if ours else " ".join(map(str, design))),
        "workload": name,
        "says": (act.__doc__ or "").strip(),
        "pid": server.pid,
        "began": record.began,
        "span": stage.span,
        "members": stage.addresses,
        "groups": stage.groups,
        "card": stage.card,
        "samples": stage.samples,
        "verdict": verdict,
        "flags": [str(flag) for flag in args if flag != folder / "trace"],
        "versions": {"python": platform.python_version(), "system": platform.platform()},
    }
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    record.save(folder / "record.jsonl")
    return traces.load(folder)


def play(stage: Stage, act: Callable[[Stage], object], name: str) -> str:
    """Has the members join, and plays the workload `act`, which is called `name`.

    Returns what judged() returns. stage.span is set, also if an exception ends the workload.
    """
    crowd, special = stage.crowd, ENTERS.get(name, {})
    stage.enter([member for member in stage.members if member not in special])
    for member, options in special.items():
        stage.enter([member], **options)
    before, began = stage.server.cpu(), crowd.record.clock()
    stage.span = [began, None]
    try:
        act(stage)
        crowd.play({member: Script([]) for member in stage.members if not crowd[member].ended})
    finally:
        stage.span = [began, crowd.record.clock()]
        stage.unwatch()
        stage.weigh(before)
    return judged(crowd.record, name, began)


def prepared(folder: str | Path | None) -> Path:
    """Returns the folder of a run, without an earlier trace; a temporary one for None."""
    if folder is None:
        folder = tempfile.mkdtemp(prefix="grupo-run-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("trace/*.jsonl"):
        old.unlink()
    return folder


def run_all(
    workload: str | Callable[[Stage], object] = "calm",
    folder: str | Path | None = None,
    designs: Iterable[str] = DESIGNS,
    **options,
) -> list[traces.Run]:
    """Runs a workload on each design, one after the other, and keeps the runs in FOLDER/DESIGN.

    Parameters and exceptions as in run().
    """
    return [
        run(design, workload, None if folder is None else Path(folder, design), **options)
        for design in designs
    ]


def scale(
    design: str, counts: Sequence[int] = (10, 50, 200), *, says: int = 15
) -> list[dict[str, Any]]:
    """Measures a design with several numbers of clients, each on a new server.

    counts      the numbers of members, which are all connected
    says        messages that the first of them sends, one at a time

    Returns rows for figures.scale(): {"design", "clients", "latency" (median seconds from SAY to
    its echo), "memory" (bytes), "processes", "threads"}.
    """
    return [scale_row(design, count, says) for count in counts]


def scale_row(design: str, count: int, says: int) -> dict[str, Any]:
    """As scale(), for one number of clients."""
    with tempfile.TemporaryDirectory(prefix="grupo-") as home:
        group = Path(home, "group")
        names = write_members(group, count)
        with (
            Server(design, directory=group, args=["--admit", "all", "--hashes", "2"]) as server,
            Crowd(server.address, server.record) as crowd,
        ):
            for start in range(0, count, MOST_JOINING):
                crowd.enter(names[start : start + MOST_JOINING])
            stage, took = Stage(server, crowd, names), []
            for number in range(says):
                began = time.monotonic()
                crowd.play({names[0]: Script([f"SAY message {number}"])})
                took.append(time.monotonic() - began)
            stage.weigh()
            card = {field: stage.card[field] for field in ("memory", "processes", "threads")}
    return {"design": design, "clients": count, "latency": statistics.median(took), **card}


def write_members(folder: Path, count: int) -> list[str]:
    """Writes the files of a group with `count` members into the new folder `folder`.

    The files are as the three servers keep them. The password hashes take almost no time to check.
    Returns the members' names; the password of NAME is `secret-of-NAME`.
    """
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    names = [f"m{number:04}" for number in range(count)]
    members = [f"{name}:member:{hasher.hash(f'secret-of-{name}')}\n" for name in names]
    texts = {
        "transcript": "GROUP 1 2026-01-01T00:00:00.000Z grupo\n",
        "members": "# grupo 1 seq 1\n" + "".join(members),
    }
    folder.mkdir(mode=0o700)
    for file, text in texts.items():
        (folder / file).touch(0o600)
        (folder / file).write_text(text, encoding="utf-8")
    return names


def judged(record: Record, workload: str, began: float) -> str:
    """Returns the first rule that did not hold (harness/driving/history.py); "" if all held.

    Members that the server may disconnect are judged only by what was before `began`, the time at
    which the workload began.
    """
    free = MAY_BE_DISCONNECTED.get(workload, ())
    try:
        history.judge(
            [entry for entry in record.entries if entry.who not in free or entry.at < began]
        )
    except CheckFailed as error:
        return "; ".join(str(error).splitlines()[:2])
    return ""
