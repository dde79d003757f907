"""A run, read back: what the server wrote of itself with --trace, and what its clients saw, on one clock.

A run is a folder: run.json (the design, the workload, who had which address, what it cost), record.jsonl (what the clients sent and heard),
trace/PID.jsonl (what happened inside). Any of them may be missing, cut off or damaged: what can be read is read, and `missing` says what not.
"""

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from harness.driving import history
from harness.driving.record import Entry

IDLE = {
    "wait",
    "recv",
    "accept",
    "pipe.read",
    "lock.wait",
}  # who is in one of these uses no processor
HELPERS = {
    "console",
    "worker",
    "save",
    "save_members",
    "accept",
}  # lanes that say little if nothing but waiting is in them
MAIN = {"loop", "hub", "accept"}


class Event(NamedTuple):
    """One line of a trace. `at`: seconds since the record began. `phase`: B, E or I. `about`, `amount`: as trace.KINDS says, "" and None if nothing."""

    at: float
    process: int
    thread: int
    actor: str
    phase: str
    kind: str
    about: str
    amount: int | None


class Interval(NamedTuple):
    """From a B to its E. `end` is None if there was none: it was still in there when the trace ends, or killed in there."""

    begin: float
    end: float | None
    lane: tuple
    kind: str
    about: str
    amount: int | None


class Lane(NamedTuple):
    """A thread or a process while it was one actor, or several short-lived ones that did the same. `keys`: their (process, thread, actor);
    `name`: for people, as `thread of ana`."""

    keys: tuple
    name: str
    member: str | None


class Delivery(NamedTuple):
    """One message as one member heard it. `latency`: seconds from its SAY; None if that is not known. `heard`: None if it was lost.
    `verdict`: in order, late (beyond LATE), out of order, twice, lost."""

    seq: int
    sender: str
    text: str
    said: float | None
    listener: str
    heard: float | None
    latency: float | None
    verdict: str


LATE = 0.010  # seconds; a person notices ten times that, a figure shows this well


class Run:
    """What load() read. `events` in the order of time; `missing`: sentences on what could not be read; `about`: run.json."""

    def __init__(self, folder, about, entries, headers, events, missing):
        self.folder, self.about, self.entries, self.headers, self.events, self.missing = (
            folder,
            about,
            entries,
            headers,
            events,
            missing,
        )
        self.design = about.get("design") or (
            headers[0].get("design", "a server") if headers else "a server"
        )
        self.title = about.get("title") or self.design
        self.workload = about.get("workload", "")
        self.members = about.get("members", {})  # name: address
        self.groups = about.get(
            "groups", {}
        )  # name: what he is in this workload, such as `stranger`
        self.card = about.get("card", {})  # processes, threads, descriptors, memory (bytes)
        self.samples = about.get(
            "samples", []
        )  # [at, whose, bytes in his receive buffer, bytes in the server's send buffer]
        self.sink = headers[0].get("sink", "unknown") if headers else None
        self.names = {address: name for name, address in self.members.items()}
        self.locks = dict(
            event.about.split(": ", 1)
            for event in events
            if event.kind == "lock" and ": " in event.about
        )  # name: what it guards
        self.intervals = intervals_of(events)
        self.events_of, self.intervals_of = (
            defaultdict(list),
            defaultdict(list),
        )  # by (process, thread, actor)
        for event in events:
            self.events_of[event.process, event.thread, event.actor].append(event)
        for interval in self.intervals:
            self.intervals_of[interval.lane].append(interval)
        self.history = history.History(entries)
        self.lanes = lanes_of(self)
        self.deliveries = deliveries_of(self)
        first, last = about.get("span", (None, None))
        times = [event.at for event in events] + [entry.at for entry in entries]
        self.span = (
            first if first is not None else min(times, default=0.0),
            last if last is not None else max(times, default=0.0),
        )  # seconds: the workload itself

    def __repr__(self):
        return (
            f"<Run of {self.title}: {self.workload or 'no workload named'}, {len(self.events)} events, {len(self.entries)} entries of the record"
            f"{'; ' + '; '.join(self.missing) if self.missing else ''}>"
        )

    @property
    def source(self):
        """How it was traced, for a caption."""
        return f"{len(self.events):,} events, sink {self.sink}" if self.headers else "no trace"

    def of(self, *kinds):
        """The intervals of these kinds, in the order in which they began."""
        return [interval for interval in self.intervals if interval.kind in kinds]

    def open(self):
        """The intervals that never ended: a deadlock, a kill, or simply the end of the trace."""
        return [interval for interval in self.intervals if interval.end is None]

    def lane(self, key):
        return next((lane for lane in self.lanes if key in lane.keys), None) or Lane(
            (key,), name_of(self, key[2]), self.names.get(key[2])
        )

    def end_of(self, interval):
        """When it ended; for one that never did, the end of all."""
        return interval.end if interval.end is not None else max(self.span[1], self.events[-1].at)

    def says(self):
        """[(at, who, text)] of every SAY, in order."""
        return sorted(
            (self.history.entries[said.place].at, side.who, said.line[4:])
            for side in self.history.sides.values()
            for said in side.sends("SAY")
        )

    def wakes(self):
        """[(lane key, sent at, read at, who)]: for each piece that a client sent, until when the server had not read it."""
        readings = defaultdict(list)
        for interval in self.of("recv"):
            if interval.end is not None:
                readings[interval.about].append(interval)
        found = []
        for name, address in self.members.items():
            mine = readings[address]
            ends = [interval.end for interval in mine]
            for entry in self.entries:
                if entry.who == name and entry.what == "sends":
                    place = bisect_left(ends, entry.at)
                    if place < len(mine):
                        found.append((mine[place].lane, entry.at, ends[place], name))
        return found


def is_about(interval, seq):
    """Whether a `keep`, or a `send` to all, has this event in it: its o is first-last."""
    first, dash, last = interval.about.partition("-")
    return bool(dash) and first.isdigit() and last.isdigit() and int(first) <= seq <= int(last)


# -- Reading ----------------------------------------------------------------------------------------------------------------------


def load(folder):
    """The Run in a folder, or in a folder that holds trace files alone. Raises FileNotFoundError if it holds neither trace nor record."""
    folder = Path(folder)
    missing, about, entries = [], {}, []
    if (folder / "run.json").is_file():
        try:
            about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            about = about if isinstance(about, dict) else {}
        except ValueError:
            missing.append("run.json cannot be read: who had which address is not known")
    else:
        missing.append("there is no run.json: who had which address is not known")
    record = folder / "record.jsonl"
    if record.is_file():
        lines, bad = json_lines(record)
        entries = [Entry(float(line[0]), *map(str, line[1:])) for line in lines if is_entry(line)]
        if bad or len(entries) < len(lines):
            missing.append(f"{bad + len(lines) - len(entries)} lines of the record cannot be read")
    else:
        missing.append("there is no record: what clients sent and heard is not shown")
    files = sorted((folder / "trace" if (folder / "trace").is_dir() else folder).glob("*.jsonl"))
    files = [file for file in files if file != record]
    if not files and not entries:
        raise FileNotFoundError(f"{folder}: holds neither a trace nor a record")
    headers, events = read_trace(files, about, missing)
    return Run(folder, about, entries, headers, events, missing)


def is_entry(line):
    return isinstance(line, list) and len(line) == 4 and isinstance(line[0], (int, float))


def json_lines(path):
    """(what can be read of a file of JSON lines, how many lines cannot). A line without an end counts as one that cannot."""
    *lines, rest = path.read_bytes().split(b"\n")
    good, bad = [], bool(rest)
    for line in lines:
        try:
            good.append(json.loads(line))
        except ValueError:
            bad += 1
    return good, int(bad)


def read_trace(files, about, missing):
    """(headers, events) of one server's processes. What belongs to another server is left out, and said."""
    if not files:
        missing.append("there is no trace: what happened inside the server is not shown")
        return [], []
    found, cut = {}, 0
    for file in files:
        lines, bad = json_lines(file)
        cut += bad
        header = lines[0] if lines and isinstance(lines[0], dict) and "schema" in lines[0] else None
        if header is None or not isinstance(header.get("pid"), int):
            missing.append(f"trace/{file.name} has no header, and is left out")
        elif header["schema"] != 1:
            missing.append(
                f"trace/{file.name} is of schema {header['schema']}, which is not known here"
            )
        else:
            found[header["pid"]] = header, [line for line in lines[1:] if is_event(line)]
            cut += len(lines) - 1 - len(found[header["pid"]][1])
    roots = [pid for pid, (header, _) in found.items() if header.get("ppid") not in found]
    if len(roots) > 1:
        mine = (
            about.get("pid")
            if about.get("pid") in roots
            else max(roots, key=lambda pid: found[pid][0].get("mono", 0))
        )
        family = {mine}
        while (
            more := {pid for pid, (header, _) in found.items() if header.get("ppid") in family}
            - family
        ):
            family |= more
        missing.append(
            f"trace/ holds {len(roots)} servers; shown is {found[mine][0].get('design')}, process {mine}, alone"
        )
        found = {pid: found[pid] for pid in family}
    if cut:
        missing.append(
            f"{cut} line{'s' * (cut != 1)} of the trace {'are' if cut != 1 else 'is'} cut off or damaged"
        )
    began = about.get("began")
    lines = sorted(
        (line for _, lines in found.values() for line in lines), key=lambda line: line["t"]
    )
    if began is None and lines:
        began = lines[0]["t"] / 1e9
    events = [
        Event(
            line["t"] / 1e9 - began,
            line["p"],
            line["th"],
            line["a"],
            *line["e"].split(".", 1),
            line.get("o", ""),
            line.get("n"),
        )
        for line in lines
    ]
    if any(event.kind == "full" for event in events):
        missing.append("the trace is full: its end is not there")
    headers = sorted(
        (header for header, _ in found.values()), key=lambda header: header.get("mono", 0)
    )
    return headers, events


def is_event(line):
    return (
        isinstance(line, dict)
        and all(isinstance(line.get(key), int) for key in ("t", "p", "th"))
        and all(isinstance(line.get(key), str) for key in ("a", "e"))
        and line["e"][:2] in ("B.", "E.", "I.")
        and isinstance(line.get("o", ""), str)
    )


# -- What follows from it -----------------------------------------------------------------------------------------------------------


def intervals_of(events):
    """Each B with the next E of its thread, kind and object; those without an E have the end None. An E without a B is passed over."""
    started, found = defaultdict(list), []
    for event in events:
        key = event.process, event.thread, event.kind, event.about
        if event.phase == "B":
            started[key].append(event)
        elif event.phase == "E" and started[key]:
            begin = started[key].pop()
            found.append(
                Interval(
                    begin.at,
                    event.at,
                    (event.process, event.thread, begin.actor),
                    event.kind,
                    event.about,
                    event.amount,
                )
            )
    for left in started.values():
        found += [
            Interval(
                event.at,
                None,
                (event.process, event.thread, event.actor),
                event.kind,
                event.about,
                None,
            )
            for event in left
        ]
    return sorted(found, key=lambda interval: interval.begin)


def name_of(run, actor):
    member = run.names.get(actor)
    if member is None:
        return {
            "loop": "the loop",
            "hub": "the hub",
            "write": "writer",
            "save_members": "saver",
            "save": "saver",
        }.get(actor, actor)
    return f"{'child' if run.design == 'fork' else 'thread'} of {member}"


def lanes_of(run):
    """The main one first, then those that help it, then those of clients in the order in which these came."""
    order = {address: place for place, address in enumerate(run.members.values())}
    does, first = Counter(), {}
    for event in run.events:
        key = event.process, event.thread, event.actor
        first.setdefault(key, event.at)
        does[key] += event.kind not in IDLE and event.phase != "I"
    keys = [key for key in first if does[key] or key[2] not in HELPERS or key[2] in MAIN]
    keys = [
        key
        for key in keys
        if not (
            key[2] in MAIN
            and not does[key]
            and any(other[:2] == key[:2] and other != key for other in keys)
            and key[2] != "accept"
        )
    ]
    keys.sort(
        key=lambda key: (
            2 if key[2] in order else 0 if key[2] in MAIN else 1,
            order.get(key[2], 0),
            first[key],
        )
    )
    lanes = {}
    for key in keys:
        lanes.setdefault("save" if key[2] == "save" else key, []).append(key)
    return [
        Lane(tuple(same), name_of(run, same[0][2]), run.names.get(same[0][2]))
        for same in lanes.values()
    ]


def deliveries_of(run):
    """Every message that was heard, or should have been, by every member who was here."""
    said, messages = {}, {}
    for at, who, text in reversed(run.says()):
        said.setdefault((who, text), []).append(at)  # the last first
    for side, event in run.history.events:
        if event.verb == "MSG" and event.seq not in messages:
            name, _, text = event.rest.partition(" ")
            messages[event.seq] = name, text
    times = {}
    for seq in sorted(messages):
        name, text = messages[seq]
        who = next(
            (
                side.who
                for side in run.history.sides.values()
                if history.fold(name) in side.names and said.get((side.who, text))
            ),
            None,
        )
        times[seq] = (said[who, text].pop(), who) if who else (None, name)
    found = []
    for side in run.history.sides.values():
        if side.welcome is None:
            continue
        heard, newest = Counter(), side.since
        by_history = {event.seq for answer in side.answers for event in answer.events}
        for event in side.live:
            if event.verb == "MSG":
                at = run.history.entries[event.place].at
                began, sender = times[event.seq]
                latency = at - began if began is not None else None
                heard[event.seq] += 1
                verdict = (
                    "twice"
                    if heard[event.seq] > 1
                    else "out of order"
                    if event.seq < newest
                    else "late"
                    if (latency or 0) > LATE
                    else "in order"
                )
                found.append(
                    Delivery(
                        event.seq,
                        sender,
                        messages[event.seq][1],
                        began,
                        side.who,
                        at,
                        latency,
                        verdict,
                    )
                )
            newest = max(newest, event.seq)
        for seq in messages:
            if side.since < seq < newest and not heard[seq] and seq not in by_history:
                found.append(
                    Delivery(
                        seq,
                        times[seq][1],
                        messages[seq][1],
                        times[seq][0],
                        side.who,
                        None,
                        None,
                        "lost",
                    )
                )
    return sorted(found, key=lambda one: (one.seq, one.listener))


def awake(run, lane):
    """[(begin, end)] in which this lane was neither waiting nor blocked: it ran code of its own, or wanted to. What a helper, or a client's
    thread between lock and hash, waits in is not traced: it counts as waiting."""
    spans = []
    if lane.keys[0][2] in HELPERS - MAIN:
        return spans
    for key in lane.keys:
        depth, since, before = 0, None, None
        for event in run.events_of[key]:
            step = event.phase, event.kind
            if event.phase == "I":
                continue
            if (
                lane.member
                and before == ("E", "lock.hold")
                and step in (("B", "hash"), ("B", "lock.wait"))
            ):
                since = event.at
            if event.kind in IDLE and event.phase == "B":
                if depth == 0 and since is not None and event.at > since:
                    spans.append((since, event.at))
                depth += 1
            elif event.kind in IDLE:
                depth, since = max(0, depth - 1), event.at
            elif since is None:
                since = event.at
            if step == ("E", "lock.hold") and lane.member and depth == 0 and since is not None:
                spans.append((since, event.at))
                since = event.at
            before = step
    return spans
