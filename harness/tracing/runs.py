"""A workload, run on a server: real processes, real clients, one script. What comes of it is a run, which figures are drawn from.

    run = runs.run("pthread", "password-storm")         a traces.Run; its folder is run.folder
    three = runs.run_all("calm")                        one for each of the three designs, one after the other

A workload is a function of a Stage: it says who does what when. It runs alike on any server that speaks grupo/1.
"""

import atexit
import json
import platform
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

from harness.driving import history, processes
from harness.driving.crowd import Crowd, Script
from harness.driving.record import Record, Unmet
from harness.driving.server import DESIGNS, Server
from harness.tracing import traces
from harness.tracing.workloads import ENTERS, FLAGS, MAY_BE_PUT_OUT, MEMBERS, PACE, WORKLOADS

ESTABLISHED = "01"  # of the states in /proc/net/tcp
SAMPLE = 0.004  # seconds between two looks at the kernel's buffers


class Stage:
    """What a workload plays on: the server, and a crowd of members who are here."""

    def __init__(self, server, crowd, members=MEMBERS):
        self.server, self.crowd, self.members = server, crowd, members
        self.groups = {}  # name: what he is, if he is no ordinary member
        self.addresses = {}
        self.samples = []
        self.card = {}

    def enter(self, names, group=None, **options):
        """They connect, join, and have heard what there was to hear."""
        self.connect(names, group, **options)
        self.crowd.play({name: Script([f"JOIN {name} secret-of-{name}"]) for name in names})

    def connect(self, names, group=None, **options):
        self.crowd.connect(names, **options)
        for name in names:
            self.addresses[self.crowd[name].who] = (
                "%s:%d" % self.crowd[name].socket.getsockname()[:2]
            )
            if group:
                self.groups[self.crowd[name].who] = group

    def says(self, name, text):
        self.sends(name, f"SAY {text}\n".encode())

    def sends(self, name, data):
        person = self.crowd[name]
        person.out += data
        person.send()

    def talk(self, count, pace=PACE, members=None, begin=0, also=()):
        """[(seconds, what to call)]: the members say `count` messages in turn, one every `pace` seconds; `also`: further such pairs."""
        members = members or self.members
        plan = [
            (
                begin + number * pace,
                lambda number=number: self.says(
                    members[number % len(members)], f"message {number + 1}"
                ),
            )
            for number in range(count)
        ]
        return sorted([*plan, *also], key=lambda pair: pair[0])

    def keep_time(self, plan):
        """Does each at its moment, seconds from now, and serves all sockets meanwhile."""
        began = time.monotonic()
        for at, act in plan:
            while (left := began + at - time.monotonic()) > 0:
                self.crowd.serve(left)
            act()

    def watch(self, name):
        """From here on looks at the kernel's buffers on the way from the server to him, until the run ends. Linux only: elsewhere sees nothing."""
        person = self.crowd[name]
        ours, theirs = person.socket.getsockname()[1], self.server.port

        def look():
            while person.socket.fileno() >= 0 and not self.over.wait(SAMPLE):
                queues = dict(socket_queues((ours, theirs), (theirs, ours)))
                if (ours, theirs) not in queues or (theirs, ours) not in queues:
                    return  # the server has given him up
                self.samples.append(
                    [
                        self.crowd.record.clock(),
                        person.who,
                        queues[ours, theirs][1],
                        queues[theirs, ours][0],
                    ]
                )

        self.over = threading.Event()
        self.watcher = threading.Thread(target=look, daemon=True)
        self.watcher.start()

    def unwatch(self):
        if hasattr(self, "over"):
            self.over.set()
            self.watcher.join()

    def weigh(self, cpu=0.0):
        """What the server is at this moment, and the processor time that it used beyond `cpu` seconds."""
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


def socket_queues(*pairs):
    """((port, other port), (bytes not yet acknowledged, bytes not yet read)) of TCP connections on this machine that neither side has ended, as the kernel tells."""
    try:
        with open("/proc/net/tcp") as file:
            lines = file.read().splitlines()[1:]
    except OSError:
        return
    wanted = {f"{one:04X}:{other:04X}": (one, other) for one, other in pairs}
    for line in lines:
        fields = line.split()
        pair = wanted.get(f"{fields[1][-4:]}:{fields[2][-4:]}")
        if pair and fields[3] == ESTABLISHED:
            sends, receives = fields[4].split(":")
            yield pair, (int(sends, 16), int(receives, 16))


# -- Running -------------------------------------------------------------------------------------------------------------------------


def run(
    design,
    workload="calm",
    folder=None,
    *,
    members=MEMBERS,
    sink="write",
    trace=None,
    flags=(),
    cwd=None,
    title=None,
):
    """Runs a workload on a server, and returns the traces.Run.

    design      one of DESIGNS, or the command line of a server (a list)
    workload    a name of WORKLOADS, or a function of a Stage
    folder      where the run is kept, in the place of one that was there; without it, a temporary folder that goes at the end of this program
    sink        `write` or `mem`, as implementations/common/trace.py has them;  trace: whether it takes --trace, as ours do, and others do not
    flags       further ones for the server;  cwd: where its command is run (an exhibit's folder);  title: its name on figures

    run.about["verdict"] is "" if all that must hold did (harness/driving/history.py), else what did not, or why the workload did not come to its end.
    Raises Unmet if the server does not start, or lets nobody in; OSError if it cannot be started.
    """
    if folder is None:
        folder = tempfile.mkdtemp(prefix="grupo-run-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("trace/*.jsonl"):  # of a run that was here before
        old.unlink()
    act, name = (
        (WORKLOADS[workload], workload)
        if isinstance(workload, str)
        else (workload, workload.__name__.replace("_", "-"))
    )
    ours = isinstance(design, str)
    record = Record()
    args = ["--admit", "all", *(FLAGS.get(name, ()) if ours else ()), *flags]
    if ours if trace is None else trace:
        args += ["--trace", folder / "trace", "--trace-sink", sink]
    with tempfile.TemporaryDirectory(prefix="grupo-", dir=folder) as home:
        began = ended = None
        try:
            with (
                Server(
                    design, directory=Path(home, "group"), args=args, record=record, cwd=cwd
                ) as server,
                Crowd(server.address, record) as crowd,
            ):
                stage = Stage(server, crowd, members)
                special = ENTERS.get(name, {})
                stage.enter([one for one in members if one not in special])
                for one, options in special.items():
                    stage.enter([one], **options)
                before, began = server.cpu(), record.clock()
                try:
                    act(stage)
                    crowd.play({one: Script([]) for one in members if not crowd[one].ended})
                finally:
                    ended = record.clock()
                    stage.unwatch()
                    stage.weigh(before)
                verdict = judged(record, name, began)
        except AssertionError as trouble:  # Unmet, or what the server left behind
            if began is None:
                raise
            verdict = "; ".join(str(trouble).splitlines()[:3])
    about = {
        "schema": 1,
        "design": design if ours else "a server",
        "title": title or (design if ours else " ".join(map(str, design))),
        "workload": name,
        "says": (act.__doc__ or "").strip(),
        "pid": server.pid,
        "began": record.began,
        "span": [began, ended],
        "members": stage.addresses,
        "groups": stage.groups,
        "card": stage.card,
        "samples": stage.samples,
        "verdict": verdict,
        "flags": [str(flag) for flag in args if str(flag) != str(folder / "trace")],
        "versions": {"python": platform.python_version(), "system": platform.platform()},
    }
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    record.save(folder / "record.jsonl")
    return traces.load(folder)


def run_all(workload="calm", folder=None, designs=DESIGNS, **options):
    """[Run] of each design, one after the other, in folder/DESIGN. As run()."""
    return [
        run(design, workload, None if folder is None else Path(folder, design), **options)
        for design in designs
    ]


def scale(design, counts=(10, 50, 200), *, says=15):
    """Rows for figures.scale(): a new server for each number of clients, who are all here; the first says `says` messages, one at a time.

    [{"design", "clients", "latency" (median seconds from SAY to its echo), "memory" (bytes), "processes", "threads"}]
    """
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="grupo-") as home:
            names = write_members(Path(home, "group"), count)
            with (
                Server(
                    design, directory=Path(home, "group"), args=["--admit", "all", "--hashes", "2"]
                ) as server,
                Crowd(server.address, server.record) as crowd,
            ):
                for start in range(
                    0, count, 200
                ):  # no more strangers at once than a server lets in
                    crowd.enter(names[start : start + 200])
                stage, took = Stage(server, crowd, names), []
                for number in range(says):
                    began = time.monotonic()
                    crowd.play({names[0]: Script([f"SAY message {number}"])})
                    took.append(time.monotonic() - began)
                stage.weigh()
                rows.append(
                    {
                        "design": design,
                        "clients": count,
                        "latency": statistics.median(took),
                        **{
                            field: stage.card[field] for field in ("memory", "processes", "threads")
                        },
                    }
                )
    return rows


def write_members(folder, count):
    """A group of so many members, as the three servers keep it, with hashes that cost next to nothing to check. Returns their names."""
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    names = [f"m{number:04}" for number in range(count)]
    stamp = "2026-01-01T00:00:00.000Z"
    folder.mkdir(mode=0o700)
    for file, text in (
        ("transcript", f"GROUP 1 {stamp} grupo\n"),
        (
            "members",
            "# grupo 1 seq 1\n"
            + "".join(f"{name}:member:{hasher.hash(f'secret-of-{name}')}\n" for name in names),
        ),
    ):
        (folder / file).touch(0o600)
        (folder / file).write_text(text, encoding="utf-8")
    return names


def judged(record, workload, began):
    """What harness/driving/history.py says of it: "" if nothing. Of whom nothing is promised, only what was before `began` is judged."""
    free = MAY_BE_PUT_OUT.get(workload, ())
    try:
        history.judge(
            [entry for entry in record.entries if entry.who not in free or entry.at < began]
        )
    except Unmet as unmet:
        return "; ".join(str(unmet).splitlines()[:2])
    return ""
