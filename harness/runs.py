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

from harness import checkers, detectors, traces
from harness.crowd import Crowd, Script
from harness.record import Record, Unmet
from harness.server import DESIGNS, Server

ESTABLISHED = "01"          # of the states in /proc/net/tcp
MEMBERS = ("ana", "beto", "carla", "dario", "eva")
PACE = 0.006                # seconds between two messages where one talks after the other
SAMPLE = 0.004              # seconds between two looks at the kernel's buffers
TITLES = {"nonblocking": "one loop", "pthread": "a thread each, one lock", "fork": "a process each, pipes"}


class Stage:
    """What a workload plays on: the server, and a crowd of members who are here."""

    def __init__(self, server, crowd, members=MEMBERS):
        self.server, self.crowd, self.members = server, crowd, members
        self.groups = {}                        # name: what he is, if he is no ordinary member
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
            self.addresses[self.crowd[name].who] = "%s:%d" % self.crowd[name].socket.getsockname()[:2]
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
        plan = [(begin + number * pace, lambda number=number: self.says(members[number % len(members)], f"message {number + 1}")) for number in range(count)]
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
                    return                      # the server has given him up
                self.samples.append([self.crowd.record.clock(), person.who, queues[ours, theirs][1], queues[theirs, ours][0]])
        self.over = threading.Event()
        self.watcher = threading.Thread(target=look, daemon=True)
        self.watcher.start()

    def unwatch(self):
        if hasattr(self, "over"):
            self.over.set()
            self.watcher.join()

    def weigh(self):
        """What the server is at this moment."""
        family = self.server.family()
        processes, threads, descriptors = detectors.holdings(family)
        self.card = {"processes": processes, "threads": threads, "descriptors": descriptors, "memory": detectors.memory(family),
                     "cpu": self.server.cpu(), "clients": sum(not person.ended for person in self.crowd)}


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


# -- The workloads -------------------------------------------------------------------------------------------------------------------


def calm(stage):
    """One talks after the other, nobody is in a hurry."""
    stage.keep_time(stage.talk(20))


def everyone_at_once(stage):
    """All of them say 20 messages, at one stroke."""
    stage.crowd.play({name: Script([f"SAY {name} {number}" for number in range(1, 21)], turn=20) for name in stage.members})


def one_expensive_request(stage):
    """In the middle of a calm talk, zoe joins: to hash her new password takes a processor some 30 ms."""
    def join():
        stage.connect(["zoe"], "joins: a password is hashed")
        stage.crowd["zoe"].prepare(Script(["JOIN zoe secret-of-zoe"]))
        stage.crowd["zoe"].send()
    stage.keep_time(stage.talk(24, also=[(0.03, join)]))
    stage.crowd.until(lambda: stage.crowd["zoe"].is_done)


def a_member_who_stops_reading(stage):
    """Eva reads no more, and the others talk on, with long lines."""
    eva, others = stage.crowd["eva"], [name for name in stage.members if name != "eva"]
    stage.groups["eva"] = "reads no more"
    stage.watch("eva")
    stage.crowd.unwatch(eva)
    stage.keep_time([(number * 0.003, lambda number=number: stage.says(others[number % len(others)], f"message {number} " + "x" * 380))
                     for number in range(300)])
    stage.crowd.play({name: Script([]) for name in others})
    stage.crowd.play({"eva": Script([])})                       # at the end she reads what there is: all, or her own end


def password_storm(stage):
    """Six strangers guess passwords without pause, and the members talk calmly."""
    strangers = [f"stranger-{number}" for number in range(1, 7)]
    stage.connect(strangers, "guesses passwords")

    def guess():
        for name in strangers:
            stage.crowd[name].prepare(Script([f"JOIN ana wrong-{number}" for number in range(2)], turn=2, then="shuts"))
            stage.crowd[name].send()
    stage.keep_time(stage.talk(50, pace=0.01, also=[(0.03, guess)]))
    stage.crowd.until(lambda: all(stage.crowd[name].is_done for name in strangers))


def half_a_line(stage):
    """Beto sends half a line, and the rest of it much later."""
    stage.groups["beto"] = "sends half a line"
    others = [name for name in stage.members if name != "beto"]
    stage.keep_time(stage.talk(24, members=others, also=[(0.02, lambda: stage.sends("beto", b"SAY half a li")), (0.12, lambda: stage.sends("beto", b"ne\n"))]))


def mass_arrival_and_departure(stage):
    """While the members talk, 16 newcomers arrive at one stroke, and go as soon as they are in."""
    crowd = [f"guest-{number}" for number in range(1, 17)]

    def arrive():
        stage.connect(crowd, "comes and goes")
        for name in crowd:
            stage.crowd[name].prepare(Script([f"JOIN {name} secret-of-{name}"], then="quits"))
            stage.crowd[name].send()
    stage.keep_time(stage.talk(60, pace=0.01, also=[(0.03, arrive)]))
    stage.crowd.until(lambda: all(stage.crowd[name].is_done for name in crowd))


WORKLOADS = {"calm": calm, "everyone-at-once": everyone_at_once, "one-expensive-request": one_expensive_request,
             "a-member-who-stops-reading": a_member_who_stops_reading, "password-storm": password_storm, "half-a-line": half_a_line,
             "mass-arrival-and-departure": mass_arrival_and_departure}
# What a workload asks of the server beside the usual; a server that knows no such flag does without.
FLAGS = {"a-member-who-stops-reading": ("--outbox", "32768", "--sndbuf", "8192", "--slow-after", "0.5"),
         "password-storm": ("--reject-after", "0.05")}
ENTERS = {"a-member-who-stops-reading": {"eva": {"rcvbuf": 4096, "mss": 536}}}
MAY_BE_PUT_OUT = {"a-member-who-stops-reading": {"eva"}}        # of whom nothing is promised


# -- Running -------------------------------------------------------------------------------------------------------------------------


def run(design, workload="calm", folder=None, *, members=MEMBERS, sink="write", trace=True, flags=(), cwd=None, title=None):
    """Runs a workload on a server, and returns the traces.Run.

    design      one of DESIGNS, or a command line (a list): then `trace` is False unless you say otherwise
    workload    a name of WORKLOADS, or a function of a Stage
    folder      where the run is kept, in the place of one that was there; without it, a temporary folder that goes at the end of this program
    sink        `write` or `mem`, as implementations/common/trace.py has them; trace=False: none
    flags       further ones for the server;  cwd: where its command is run (an exhibit's folder);  title: its name on figures

    run.about["verdict"] is "" if all that must hold did (harness/checkers.py), else what did not. Raises Unmet if the server does not get
    through the workload, OSError if it cannot be started.
    """
    if folder is None:
        folder = tempfile.mkdtemp(prefix="grupo-run-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("trace/*.jsonl"):                    # of a run that was here before
        old.unlink()
    act, name = (WORKLOADS[workload], workload) if isinstance(workload, str) else (workload, workload.__name__.replace("_", "-"))
    ours = isinstance(design, str)
    record = Record()
    args = ["--admit", "all", *(FLAGS.get(name, ()) if ours else ()), *flags]
    if trace and ours:
        args += ["--trace", folder / "trace", "--trace-sink", sink]
    with tempfile.TemporaryDirectory(prefix="grupo-", dir=folder) as home:
        with Server(design, directory=Path(home, "group"), args=args, record=record, cwd=cwd) as server:
            with Crowd(server.address, record) as crowd:
                stage = Stage(server, crowd, members)
                special = ENTERS.get(name, {})
                stage.enter([one for one in members if one not in special])
                for one, options in special.items():
                    stage.enter([one], **options)
                began = record.clock()
                before = server.cpu()
                try:
                    act(stage)
                    crowd.play({one: Script([]) for one in members if not crowd[one].ended})
                    ended = record.clock()
                    stage.weigh()
                finally:
                    stage.unwatch()
                verdict = judged(record, name, began)
    stage.card["cpu"] = round(stage.card["cpu"] - before, 4)
    about = {"schema": 1, "design": design if ours else "a server", "title": title or (design if ours else " ".join(map(str, design))),
             "workload": name, "says": (act.__doc__ or "").strip(), "pid": server.pid, "began": record.began, "span": [began, ended],
             "members": stage.addresses, "groups": stage.groups, "card": stage.card, "samples": stage.samples, "verdict": verdict,
             "flags": [str(flag) for flag in args if str(flag) != str(folder / "trace")], "versions": {"python": platform.python_version(), "system": platform.platform()}}
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    record.save(folder / "record.jsonl")
    return traces.load(folder)


def run_all(workload="calm", folder=None, designs=DESIGNS, **options):
    """[Run] of each design, one after the other, in folder/DESIGN. As run()."""
    return [run(design, workload, None if folder is None else Path(folder, design), **options) for design in designs]


def scale(design, counts=(10, 50, 200), *, says=15):
    """Rows for figures.scale(): a new server for each number of clients, who are all here; the first says `says` messages, one at a time.

    [{"design", "clients", "latency" (median seconds from SAY to its echo), "memory" (bytes), "processes", "threads"}]
    """
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="grupo-") as home:
            names = write_members(Path(home, "group"), count)
            with Server(design, directory=Path(home, "group"), args=["--admit", "all", "--hashes", "2"]) as server, Crowd(server.address, server.record) as crowd:
                for start in range(0, count, 200):              # no more strangers at once than a server lets in
                    crowd.enter(names[start:start + 200])
                stage, took = Stage(server, crowd, names), []
                for number in range(says):
                    began = time.monotonic()
                    crowd.play({names[0]: Script([f"SAY message {number}"])})
                    took.append(time.monotonic() - began)
                stage.weigh()
                rows.append({"design": design, "clients": count, "latency": statistics.median(took),
                             **{field: stage.card[field] for field in ("memory", "processes", "threads")}})
    return rows


def write_members(folder, count):
    """A group of so many members, as the three servers keep it, with hashes that cost next to nothing to check. Returns their names."""
    from argon2 import PasswordHasher
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    names = [f"m{number:04}" for number in range(count)]
    stamp = "2026-01-01T00:00:00.000Z"
    folder.mkdir(mode=0o700)
    for file, text in (("transcript", f"GROUP 1 {stamp} grupo\n"),
                       ("members", "# grupo 1 seq 1\n" + "".join(f"{name}:member:{hasher.hash(f'secret-of-{name}')}\n" for name in names))):
        (folder / file).touch(0o600)
        (folder / file).write_text(text, encoding="utf-8")
    return names


def judged(record, workload, began):
    """What harness/checkers.py says of it: "" if nothing. Of whom nothing is promised, only what was before `began` is judged."""
    free = MAY_BE_PUT_OUT.get(workload, ())
    try:
        checkers.judge([entry for entry in record.entries if entry.who not in free or entry.at < began])
    except Unmet as unmet:
        return "; ".join(str(unmet).splitlines()[:2])
    return ""
