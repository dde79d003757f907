"""A run, read back: what the server traced with --trace, and what its clients saw, on one clock.

A run is a folder with up to three parts:

    run.json            the design, the workload, each member's address, what the run cost
    record.jsonl        what the clients sent and received
    trace/PID.jsonl     what happened inside each process of the server

Any of them may be missing, cut off or damaged. load() reads what it can read, and Run.missing says
what is not there.
"""

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from harness.driving import history
from harness.driving.record import Entry

# An actor inside one of these uses no processor.
IDLE = {"wait", "recv", "accept", "pipe.read", "lock.wait"}
# Lanes of these actors say little if they contain nothing but waiting.
HELPERS = {"console", "worker", "save", "save_members", "accept"}
MAIN = {"loop", "hub", "accept"}
# How figures call an actor that is no client.
ACTOR_NAMES = {
    "loop": "the loop",
    "hub": "the hub",
    "write": "writer",
    "save_members": "saver",
    "save": "saver",
}
LATE = 0.010  # seconds; a person notices ten times that, and a figure shows this well

Key = tuple[int, int, str]  # (process, thread, actor)


class Event(NamedTuple):
    """One line of a trace.

    at          seconds since the record began
    phase       B (begin), E (end) or I (instant)
    about       as trace.KINDS says; "" if the event has none
    amount      bytes or clients, as trace.KINDS says; None if the event has none
    """

    at: float
    process: int
    thread: int
    actor: str
    phase: str
    kind: str
    about: str
    amount: int | None


class Interval(NamedTuple):
    """The time from a B event to its E event, in seconds since the record began.

    `end` is None if the trace has no E event: the trace ended, or the process was killed, before.
    """

    begin: float
    end: float | None
    lane: Key
    kind: str
    about: str
    amount: int | None


class Lane(NamedTuple):
    """A thread or a process while it was one actor, or several short-lived ones that did the same.

    keys        their (process, thread, actor)
    name        for people, such as `thread of ana`
    member      the member that it serves, or None
    """

    keys: tuple[Key, ...]
    name: str
    member: str | None


class Delivery(NamedTuple):
    """One message as one member received it. Times are seconds since the record began.

    said        when it was sent; None if that is not known
    heard       when it was received; None if it was lost
    latency     seconds from SAY to its receipt; None if that is not known
    verdict     in order, late (more than LATE), out of order, twice, lost
    """

    seq: int
    sender: str
    text: str
    said: float | None
    listener: str
    heard: float | None
    latency: float | None
    verdict: str


class Run:
    """What load() read.

    about           run.json
    entries         the record
    headers         the header of each trace file
    events          all events of the trace, in the order of time
    missing         sentences on what could not be read
    members         {name: address}
    groups          {name: what this client does, such as `guesses passwords`}: no ordinary members
    card            what the server used: processes, threads, descriptors, memory (bytes)
    samples         [at, watched member, bytes in its receive buffer, bytes in the send buffer]
    locks           {name: what it guards}
    intervals       Intervals in the order in which they began
    events_of, intervals_of     the same by Key
    lanes, deliveries           Lanes and Deliveries
    span            (begin, end) of the workload, in seconds since the record began
    """

    def __init__(
        self,
        folder: Path,
        about: dict[str, Any],
        entries: list[Entry],
        headers: list[dict[str, Any]],
        events: list[Event],
        missing: list[str],
    ):
        self.folder, self.about, self.entries = folder, about, entries
        self.headers, self.events, self.missing = headers, events, missing
        header = headers[0] if headers else {}
        self.design = about.get("design") or header.get("design", "a server")
        self.title = about.get("title") or self.design
        self.workload = about.get("workload", "")
        self.members = about.get("members", {})
        self.groups = about.get("groups", {})
        self.card = about.get("card", {})
        self.samples = about.get("samples", [])
        self.sink = header.get("sink", "unknown") if headers else None
        self.names = {address: name for name, address in self.members.items()}
        self.locks = dict(
            event.about.split(": ", 1)
            for event in events
            if event.kind == "lock" and ": " in event.about
        )
        self.intervals = intervals_of(events)
        self.events_of, self.intervals_of = defaultdict(list), defaultdict(list)
        for event in events:
            self.events_of[event.process, event.thread, event.actor].append(event)
        for interval in self.intervals:
            self.intervals_of[interval.lane].append(interval)
        self.history = history.History(entries)
        self.lanes = lanes_of(self)
        self.deliveries = deliveries_of(self)
        self.span = self.workload_span()

    def __repr__(self) -> str:
        return (
            f"<Run of {self.title}: {self.workload or 'no workload named'}, "
            f"{len(self.events)} events, {len(self.entries)} entries of the record"
            f"{'; ' + '; '.join(self.missing) if self.missing else ''}>"
        )

    def workload_span(self) -> tuple[float, float]:
        """Returns when the workload began and ended; without run.json, the whole run."""
        first, last = self.about.get("span", (None, None))
        times = [event.at for event in self.events] + [entry.at for entry in self.entries]
        return (
            min(times, default=0.0) if first is None else first,
            max(times, default=0.0) if last is None else last,
        )

    @property
    def source(self) -> str:
        """How the run was traced, for a caption."""
        return f"{len(self.events):,} events, sink {self.sink}" if self.headers else "no trace"

    def of(self, *kinds: str) -> list[Interval]:
        """Returns the intervals of these kinds, in the order in which they began."""
        return [interval for interval in self.intervals if interval.kind in kinds]

    def open(self) -> list[Interval]:
        """Returns the intervals that never ended: a deadlock, a kill, or the end of the trace."""
        return [interval for interval in self.intervals if interval.end is None]

    def lane(self, key: Key) -> Lane:
        """Returns the Lane of a (process, thread, actor), also of one that is not in `lanes`."""
        return next((lane for lane in self.lanes if key in lane.keys), None) or Lane(
            (key,), name_of(self, key[2]), self.names.get(key[2])
        )

    def end_of(self, interval: Interval) -> float:
        """Returns when an interval ended; the end of the run for one that never ended."""
        return interval.end if interval.end is not None else max(self.span[1], self.events[-1].at)

    def says(self) -> list[tuple[float, str, str]]:
        """Returns (time, sender, text) of every SAY, in the order of time."""
        return sorted(
            (self.history.entries[said.place].at, side.who, said.line[4:])
            for side in self.history.connections.values()
            for said in side.sends("SAY")
        )

    def wakes(self) -> list[tuple[Key, float, float, str]]:
        """Returns (reader, sent, read, sender) for each piece that a client sent.

        `reader` is the Key of the lane that read the piece, `sent` and `read` are times.
        """
        readings = defaultdict(list)
        for interval in self.of("recv"):
            if interval.end is not None:
                readings[interval.about].append(interval)
        wakes = []
        for name, address in self.members.items():
            mine = readings[address]
            ends = [interval.end for interval in mine]
            for entry in self.entries:
                if entry.who == name and entry.what == "sends":
                    place = bisect_left(ends, entry.at)
                    if place < len(mine):
                        wakes.append((mine[place].lane, entry.at, ends[place], name))
        return wakes


def is_about(interval: Interval, seq: int) -> bool:
    """Whether event `seq` is in a `keep`, or in a `send` to all: `about` is FIRST-LAST there."""
    first, dash, last = interval.about.partition("-")
    return bool(dash) and first.isdigit() and last.isdigit() and int(first) <= seq <= int(last)


# -- Reading --------------------------------------------------------------------------------------


def load(folder: str | Path) -> Run:
    """Reads the Run in `folder`, which may also be a folder of trace files alone, or a check's
    record, with the trace beside it.

    Raises FileNotFoundError if it holds neither a trace nor a record.
    """
    folder, missing = Path(folder), list[str]()
    if folder.is_file():
        record, folder = folder, folder.with_suffix(".trace")
        about = {"title": record.stem}
    else:
        record, about = folder / "record.jsonl", read_about(folder / "run.json", missing)
    entries = read_record(record, missing)
    files = sorted((folder / "trace" if (folder / "trace").is_dir() else folder).glob("*.jsonl"))
    files = [file for file in files if file != record]
    if not files and not entries:
        raise FileNotFoundError(f"{folder}: holds neither a trace nor a record")
    headers, events = read_trace(files, about, missing)
    return Run(folder, about, entries, headers, events, missing)


def read_about(path: Path, missing: list[str]) -> dict[str, Any]:
    """Reads run.json; {} if that is impossible, with a sentence in `missing`."""
    if not path.is_file():
        missing.append("there is no run.json: the members' addresses are not known")
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        missing.append("run.json cannot be read: the members' addresses are not known")
        return {}
    return about if isinstance(about, dict) else {}


def read_record(path: Path, missing: list[str]) -> list[Entry]:
    """Reads record.jsonl, as far as that is possible; `missing` gets a sentence on the rest."""
    if not path.is_file():
        missing.append("there is no record: what clients sent and heard is not shown")
        return []
    lines, bad = json_lines(path)
    entries = [Entry(float(line[0]), *map(str, line[1:])) for line in lines if is_entry(line)]
    if bad or len(entries) < len(lines):
        missing.append(f"{bad + len(lines) - len(entries)} lines of the record cannot be read")
    return entries


def is_entry(line: object) -> bool:
    """Whether a JSON value is an entry of a record."""
    return isinstance(line, list) and len(line) == 4 and isinstance(line[0], (int, float))


def json_lines(path: Path) -> tuple[list[Any], int]:
    """Returns the values in a file of JSON lines, and how many lines cannot be read.

    A last line without its newline counts as one that cannot be read.
    """
    *lines, rest = path.read_bytes().split(b"\n")
    values, bad = [], int(bool(rest))
    for line in lines:
        try:
            values.append(json.loads(line))
        except ValueError:
            bad += 1
    return values, bad


def read_trace(
    files: list[Path], about: dict[str, Any], missing: list[str]
) -> tuple[list[dict[str, Any]], list[Event]]:
    """Returns (headers, events) of one server's processes.

    Leaves out what belongs to another server, and says so in `missing`.
    """
    if not files:
        missing.append("there is no trace: what happened inside the server is not shown")
        return [], []
    traces, cut = read_files(files, missing)
    traces = one_server(traces, about.get("pid"), missing)
    if cut:
        missing.append(
            f"{cut} line{'s' * (cut != 1)} of the trace {'are' if cut != 1 else 'is'} "
            "cut off or damaged"
        )
    lines = sorted((line for _, own in traces.values() for line in own), key=lambda line: line["t"])
    began = about.get("began")
    if began is None and lines:
        began = lines[0]["t"] / 1e9
    events = [event_of(line, began) for line in lines]
    if any(event.kind == "full" for event in events):
        missing.append("the trace is full: its end is not there")
    headers = [header for header, _ in traces.values()]
    return sorted(headers, key=lambda header: header.get("mono", 0)), events


def read_files(files: list[Path], missing: list[str]) -> tuple[dict[int, tuple], int]:
    """Returns {pid: (header, lines)} of trace files, and how many lines cannot be read."""
    traces, cut = {}, 0
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
            good = [line for line in lines[1:] if is_event(line)]
            traces[header["pid"]] = header, good
            cut += len(lines) - 1 - len(good)
    return traces, cut


def one_server(traces: dict[int, tuple], pid: int | None, missing: list[str]) -> dict[int, tuple]:
    """Returns the traces of one server: that of process `pid`, or the one that began last."""
    roots = [pid for pid, (header, _) in traces.items() if header.get("ppid") not in traces]
    if len(roots) <= 1:
        return traces
    root = pid if pid in roots else max(roots, key=lambda pid: traces[pid][0].get("mono", 0))
    family = {root}
    while (
        more := {pid for pid, (header, _) in traces.items() if header.get("ppid") in family}
        - family
    ):
        family |= more
    missing.append(
        f"trace/ holds {len(roots)} servers; shown is {traces[root][0].get('design')}, "
        f"process {root}, alone"
    )
    return {pid: traces[pid] for pid in family}


def is_event(line: object) -> bool:
    """Whether a JSON value is an event of a trace."""
    return (
        isinstance(line, dict)
        and all(isinstance(line.get(key), int) for key in ("t", "p", "th"))
        and all(isinstance(line.get(key), str) for key in ("a", "e"))
        and line["e"][:2] in ("B.", "E.", "I.")
        and isinstance(line.get("o", ""), str)
    )


def event_of(line: dict[str, Any], began: float) -> Event:
    """Returns the Event of a trace's line. `began`: seconds, when the record began."""
    phase, kind = line["e"].split(".", 1)
    at = line["t"] / 1e9 - began
    about, amount = line.get("o", ""), line.get("n")
    return Event(at, line["p"], line["th"], line["a"], phase, kind, about, amount)


# -- What follows from it -------------------------------------------------------------------------


def intervals_of(events: list[Event]) -> list[Interval]:
    """Joins each B event with the next E event of its thread, kind and object.

    The end of a B event without an E event is None. Passes over an E event without a B event.
    """
    started, intervals = defaultdict(list), []
    for event in events:
        key = event.process, event.thread, event.kind, event.about
        if event.phase == "B":
            started[key].append(event)
        elif event.phase == "E" and started[key]:
            intervals.append(interval_of(started[key].pop(), event.at, event.amount))
    intervals += [interval_of(begin, None, None) for left in started.values() for begin in left]
    return sorted(intervals, key=lambda interval: interval.begin)


def interval_of(begin: Event, end: float | None, amount: int | None) -> Interval:
    """Returns the Interval that begins with the event `begin`."""
    lane = begin.process, begin.thread, begin.actor
    return Interval(begin.at, end, lane, begin.kind, begin.about, amount)


def name_of(run: Run, actor: str) -> str:
    """Returns an actor's name for people, such as `thread of ana`."""
    member = run.names.get(actor)
    if member is None:
        return ACTOR_NAMES.get(actor, actor)
    return f"{'child' if run.design == 'fork' else 'thread'} of {member}"


def lanes_of(run: Run) -> list[Lane]:
    """Returns the main lane, then its helpers, then those of clients in the order of arrival."""
    order = {address: place for place, address in enumerate(run.members.values())}
    works, first = Counter(), {}
    for event in run.events:
        key = event.process, event.thread, event.actor
        first.setdefault(key, event.at)
        works[key] += event.kind not in IDLE and event.phase != "I"

    busy = [key for key in first if works[key] or key[2] not in HELPERS - MAIN]

    def is_shown(key: Key) -> bool:
        # A new process is the loop for a moment, before it gets the name of what it is for.
        renamed = any(other[:2] == key[:2] and other != key for other in busy)
        return bool(works[key]) or key[2] not in MAIN - {"accept"} or not renamed

    def rank(key: Key) -> tuple[int, int, float]:
        kind = 2 if key[2] in order else 0 if key[2] in MAIN else 1
        return kind, order.get(key[2], 0), first[key]

    lanes = {}
    for key in sorted(filter(is_shown, busy), key=rank):
        lanes.setdefault("save" if key[2] == "save" else key, []).append(key)
    return [
        Lane(tuple(keys), name_of(run, keys[0][2]), run.names.get(keys[0][2]))
        for keys in lanes.values()
    ]


def deliveries_of(run: Run) -> list[Delivery]:
    """Returns every message that each member received, or should have received."""
    messages = {}
    for _, event in run.history.events:
        if event.verb == "MSG" and event.seq not in messages:
            name, _, text = event.rest.partition(" ")
            messages[event.seq] = name, text
    sent = times_sent(run, messages)
    deliveries = []
    for side in run.history.connections.values():
        if side.welcome is not None:
            deliveries += received_by(run, side, messages, sent)
    return sorted(deliveries, key=lambda one: (one.seq, one.listener))


def times_sent(
    run: Run, messages: dict[int, tuple[str, str]]
) -> dict[int, tuple[float | None, str]]:
    """Returns {seq: (when it was sent, or None; its sender)} of {seq: (name, text)}."""
    unused = {}
    for at, who, text in reversed(run.says()):
        unused.setdefault((who, text), []).append(at)  # the last first
    sent = {}
    for seq in sorted(messages):
        name, text = messages[seq]
        sides = (
            side for side in run.history.connections.values() if history.fold(name) in side.names
        )
        who = next((side.who for side in sides if unused.get((side.who, text))), None)
        sent[seq] = (unused[who, text].pop(), who) if who else (None, name)
    return sent


def received_by(run: Run, side, messages: dict, sent: dict) -> list[Delivery]:
    """Returns the Deliveries to one member, `side`. `messages`, `sent`: as in times_sent()."""
    count, newest, deliveries = Counter(), side.since, []
    by_history = {event.seq for answer in side.answers for event in answer.events}
    for event in side.live:
        if event.verb == "MSG":
            at = run.history.entries[event.place].at
            said, sender = sent[event.seq]
            latency = at - said if said is not None else None
            count[event.seq] += 1
            verdict = (
                "twice"
                if count[event.seq] > 1
                else "out of order"
                if event.seq < newest
                else "late"
                if (latency or 0) > LATE
                else "in order"
            )
            text = messages[event.seq][1]
            deliveries.append(
                Delivery(event.seq, sender, text, said, side.who, at, latency, verdict)
            )
        newest = max(newest, event.seq)
    for seq, (_, text) in messages.items():
        if side.since < seq < newest and not count[seq] and seq not in by_history:
            said, sender = sent[seq]
            deliveries.append(Delivery(seq, sender, text, said, side.who, None, None, "lost"))
    return deliveries


def awake(run: Run, lane: Lane) -> list[tuple[float, float]]:
    """Returns the (begin, end) in which a lane ran its own code, or wanted to: it was not waiting.

    Not everything that a helper waits for is traced, nor what a client's thread waits for between
    lock and hash. That time counts as waiting.
    """
    if lane.keys[0][2] in HELPERS - MAIN:
        return []
    return [span for key in lane.keys for span in awake_spans(run.events_of[key], lane.member)]


def awake_spans(events: list[Event], member: str | None) -> list[tuple[float, float]]:
    """As awake(), for the events of one (process, thread, actor)."""
    spans, depth, since, before = [], 0, None, None
    for event in events:
        step = event.phase, event.kind
        if event.phase == "I":
            continue
        after_lock = before == ("E", "lock.hold") and step in (("B", "hash"), ("B", "lock.wait"))
        if member and after_lock:
            since = event.at
        if event.kind in IDLE and event.phase == "B":
            if depth == 0 and since is not None and event.at > since:
                spans.append((since, event.at))
            depth += 1
        elif event.kind in IDLE:
            depth, since = max(0, depth - 1), event.at
        elif since is None:
            since = event.at
        if step == ("E", "lock.hold") and member and depth == 0 and since is not None:
            spans.append((since, event.at))
            since = event.at
        before = step
    return spans
