"""Steps: what clients and the owner sent in one stretch of time, and what came back. StepReader
reads them from a record.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

from harness.driving.record import Entry
from harness.driving.server import ANSWERED
from harness.model.group import MOST_LINE, framed

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
EVENT = re.compile(rf"(MSG|IN|OUT|RENAMED|LEFT|BANNED|GROUP) ([1-9]\d{{0,15}}) {TIME} (.+)", re.S)
END_HISTORY = re.compile(r"END HISTORY ([0-9]{1,16})")
ASKS = re.compile(r"\S+ asks to join from \S+")
UNASKED = re.compile(r"\* .*|<\S+> .*|# .*")
LOST = {"resets", "closes"}


class EventLine(NamedTuple):
    """An event as a client heard it."""

    seq: int
    verb: str
    rest: str


@lru_cache(1 << 14)  # each client hears the same
def event_of(line: str | None) -> EventLine | None:
    """Return the event that this line is; None if it is something else."""
    found = EVENT.fullmatch(line or "")
    return EventLine(int(found[2]), found[1], found[3]) if found else None


@dataclass(frozen=True, slots=True)
class Heard:
    """A line that a client heard, or None for the end of its connection; `at` in seconds."""

    at: float
    line: str | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A thing that a client did: `what` is connects, line, eof or lost (it closed or reset)."""

    at: float
    what: str
    line: bytes | None = b""


@dataclass(frozen=True, slots=True)
class Order:
    """A line of the owner's, and the lines of its answer; None if none came."""

    at: float
    line: bytes | None
    answers: tuple[str, ...] | None
    answered_at: float = 0.0


@dataclass
class Step:
    """What was sent and seen. `blind` are clients that read no further; `settled` says that the
    harness waited until everything sent must have been handled, except by `loose` clients, which
    closed their connection: the server may notice that later. `asks` are the console's lines
    `NAME asks to join from ADDRESS`. `ended` says how the server ended: closed, deleted, killed.
    """

    sent: dict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    heard: dict[str, list[Heard]] = field(default_factory=lambda: defaultdict(list))
    orders: list[Order] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    blind: set[str] = field(default_factory=set)
    loose: set[str] = field(default_factory=set)
    settled: bool = True
    ended: str | None = None

    def with_left(self, left: Mapping[str, list[Sent]]) -> "Step":
        """Return this step after one that left something of what clients had sent."""
        sent, gone = dict(self.sent), set[str]()
        for who, earlier in left.items():
            sent[who] = [*earlier, *sent.get(who, [])]
            if any(one.what == "lost" for one in earlier):
                gone.add(who)
        return replace(self, sent=sent, blind=self.blind | gone, loose=self.loose | gone)

    @cached_property
    def events(self) -> dict[int, tuple[str, str, float]]:
        """Each event that was heard, by its number: (verb, rest, when it was heard first)."""
        found: dict[int, tuple[str, str, float]] = {}
        for lines in self.heard.values():
            for heard in lines:
                if event := event_of(heard.line):
                    first = min(heard.at, found[event.seq][2]) if event.seq in found else heard.at
                    found[event.seq] = event.verb, event.rest, first
        return found

    @cached_property
    def ends_of_history(self) -> dict[int, list[str]]:
        """Which clients heard END HISTORY with each number."""
        found: dict[int, list[str]] = defaultdict(list)
        for who, lines in self.heard.items():
            for heard in lines:
                if match := END_HISTORY.fullmatch(heard.line or ""):
                    found[int(match[1])].append(who)
        return found

    @cached_property
    def lost_at(self) -> dict[str, float]:
        """When each client closed or reset its connection."""
        return {
            who: one.at for who, sent in self.sent.items() for one in sent if one.what == "lost"
        }

    @cached_property
    def asks_who(self) -> bool:
        """Whether any client sent WHO."""
        return any(one.line == b"WHO" for sent in self.sent.values() for one in sent)


class StepReader:
    """Turns the entries of one record, in pieces, into Steps."""

    def __init__(self) -> None:
        self.unfinished: dict[str, bytes] = {}  # what clients sent after their last line
        self.lines: list[str] = []  # of an answer that is not complete

    def step(
        self,
        entries: Iterable[Entry],
        addresses: dict[str, str],
        settled: bool = True,
        loose: Iterable[str] = (),
    ) -> Step:
        """Return the Step that these entries, the next of the record, make.

        `addresses` maps a client's name in the record to its own address, as a server writes it.
        """
        step = Step(addresses=addresses, settled=settled, loose=set(loose))
        for entry in entries:
            if entry.who == "server":
                self.server(step, entry)
            elif entry.who == "owner":
                for line in entry.text.encode("utf-8", "surrogateescape").split(b"\n")[:-1]:
                    whole = line.removesuffix(b"\r") if len(line) < MOST_LINE else None
                    step.orders.append(Order(entry.at, whole, None))
            else:
                self.client(step, entry)
        return step

    def server(self, step: Step, entry: Entry) -> None:
        """Note a line of the console, or a signal."""
        if entry.what == "signal" and entry.text in ("SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"):
            step.ended = "killed" if entry.text == "SIGKILL" else "closed"
        if entry.what != "shows":
            return
        waiting = next((n for n, order in enumerate(step.orders) if order.answers is None), None)
        if ASKS.fullmatch(entry.text):
            step.asks.append(entry.text)
        elif ANSWERED.fullmatch(entry.text) and waiting is not None:
            order = step.orders[waiting]
            answers = (*self.lines, entry.text)
            step.orders[waiting] = Order(order.at, order.line, answers, entry.at)
            self.lines = []
        elif (
            not UNASKED.fullmatch(entry.text)
            or (waiting is not None and step.orders[waiting].line == b"help")
        ) and not entry.text.startswith("listening on "):
            self.lines.append(entry.text)

    def client(self, step: Step, entry: Entry) -> None:
        """Note what a client did or heard."""
        who, at = entry.who, entry.at
        if entry.what == "connects":
            step.sent[who].append(Sent(at, "connects"))
        elif entry.what == "sends":
            data = entry.text.encode("utf-8", "surrogateescape")
            lines, rest = framed(self.unfinished.get(who, b"") + data)
            self.unfinished[who] = rest
            step.sent[who] += [Sent(at, "line", line) for line in lines]
        elif entry.what == "shuts":
            step.sent[who].append(Sent(at, "eof"))
        elif entry.what in LOST:
            step.sent[who].append(Sent(at, "lost"))
            step.blind.add(who)
        elif entry.what == "hears":
            step.heard[who].append(Heard(at, entry.text))
        elif entry.what == "torn" and step.ended != "killed":
            step.heard[who].append(Heard(at, f"{entry.text} (and no LF)"))
        elif entry.what in ("ended", "reset") and step.ended == "killed":
            step.blind.add(who)  # what else was handled, nobody has heard
        elif entry.what in ("ended", "reset"):
            step.heard[who].append(Heard(at, None))
