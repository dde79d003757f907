"""The owner's side of a server's console: it reads the output and gives orders. Pure.

It works with every server that follows lab_guide/protocol.md, section 11. A server need not report
every event, so call refresh_members() from time to time.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from ..client.lenient_lines import LenientLines
from ..common import wire
from .log_lines import LineKind, LogLine
from .movements import VERBS, Movement

LISTENING = re.compile(r"listening on (\[[^]]+\]|[^\s:]+):(\d{1,5})")
JOIN_REQUEST = re.compile(r"(\S+) asks to join from (\S+)")
MEMBER = re.compile(r"member (\S+) (here|away|banned|asks)(?: from (\S+))?")
EVENT = re.compile(r"\* (\S+) (came|went|left)")
MESSAGE = re.compile(r"<(\S+)> (.*)", re.DOTALL)
DROPPED = re.compile(r"# (\d{1,15}) lines not shown")
CONSENT_PROMPT = "type the group's name to delete it"


class Status(Enum):
    """The status of a person in the group. The values are the words of the console."""

    ASKS = "asks"
    HERE = "here"
    AWAY = "away"
    BANNED = "banned"


# The status after an order about a person; None: not in the group
AFTER_ORDER = {
    "accept": Status.HERE,
    "reject": None,
    "ban": Status.BANNED,
    "unban": None,
}
AFTER_EVENT = {"came": Status.HERE, "went": Status.AWAY, "left": None}


@dataclass(frozen=True)
class Person:
    """A member, a banned person, or a person that asks to join."""

    name: str
    status: Status
    address: str = ""  # ASKS: where the request is from


@dataclass(frozen=True)
class Order:
    """An order that the console has not answered yet."""

    text: str
    consent: str | None = None  # the line to send if the console asks for the group's name
    is_quiet: bool = False  # do not display the answer `ok`

    @property
    def name(self) -> str:
        """The person that the order is about; "" if it is about nobody."""
        verb, _, name = self.text.partition(" ")
        return name if verb in AFTER_ORDER else ""


class OwnerConsole:
    """The knowledge of the owner's window about one server, from its console.

    Attributes:
        endpoint: host and port on which the server listens; None until it does.
        people: Person by case-folded name.
        message_count: messages so far, also those of which the console reported only a number.
        outgoing: bytes for the server's stdin; clear it when they were sent.
        orders: orders without an answer, the oldest first.
        final_order: the order that ended the server, "close" or "delete"; "" before.
    """

    def __init__(self) -> None:
        """Start before the server's first line."""
        self.endpoint: tuple[str, int] | None = None
        self.people: dict[str, Person] = {}
        self.message_count = 0
        self.outgoing = bytearray()
        self.orders: deque[Order] = deque()
        self.final_order = ""
        self._listed: dict[str, Person] | None = None  # the answer to `members` so far
        self._lines = LenientLines()

    @property
    def askers(self) -> list[Person]:
        """The people that ask to join, and about whom no order is on its way; the oldest first."""
        ordered = {wire.fold(order.name) for order in self.orders}
        return [
            person
            for key, person in self.people.items()
            if person.status is Status.ASKS and key not in ordered
        ]

    def order(self, text: str, consent: str | None = None, is_quiet: bool = False) -> None:
        """Give an order; see Order for the arguments."""
        self.orders.append(Order(text, consent, is_quiet))
        self.outgoing += text.encode() + b"\n"

    def refresh_members(self) -> None:
        """Request the list of members, unless such a request is on its way."""
        if not any(order.text == "members" for order in self.orders):
            self.order("members", is_quiet=True)

    def receive(self, data: bytes, time: datetime) -> list[LogLine]:
        """Take output of the server, with the present time; return the lines to display."""
        displayed: list[LogLine] = []
        for line in self._lines.feed(data):
            if isinstance(line, wire.Fault):
                line = "(a line that was too long)"
            displayed += self._handle_line(line, time)
        return displayed

    def _handle_line(self, line: str, time: datetime) -> Iterable[LogLine]:
        """Take a line. Text of members never matches a form other than MESSAGE."""
        if self.endpoint is None:
            if found := LISTENING.fullmatch(line):
                self.endpoint = found[1].strip("[]"), int(found[2])
                self.refresh_members()
                return [note(line, time)]
        elif found := MESSAGE.fullmatch(line):
            self.message_count += 1
            return [LogLine(LineKind.MESSAGE, found[2], found[1], time)]
        elif found := EVENT.fullmatch(line):
            self._set_status(found[1], AFTER_EVENT[found[2]])
            return [movement(found[1], found[2], line.removeprefix("* "), time)]
        elif found := JOIN_REQUEST.fullmatch(line):
            self._set_status(found[1], Status.ASKS, found[2])
            return [movement(found[1], "asks", line, time)]
        elif found := DROPPED.fullmatch(line):
            self.message_count += int(found[1])
        elif self.orders:
            return self._handle_answer(line, time)
        return [note(line.removeprefix("# "), time)] if line else []

    def _set_status(self, name: str, status: Status | None, address: str = "") -> None:
        """Take over a change, also in a list that is on its way, which may be older."""
        for people in (self.people, self._listed):
            if people is not None and status is None:
                people.pop(wire.fold(name), None)
            elif people is not None and status is not None:
                people[wire.fold(name)] = Person(name, status, address)

    def _handle_answer(self, line: str, time: datetime) -> Iterable[LogLine]:
        """Take a line of the answer to the oldest order, or a line of another kind."""
        order = self.orders[0]
        if line == CONSENT_PROMPT and order.consent is not None:
            self.outgoing += order.consent.encode() + b"\n"
        elif line == "ok" or line.startswith("error: "):
            self.orders.popleft()
            return self._finish_order(order, line, time)
        elif order.text == "members" and (found := MEMBER.fullmatch(line)):
            self._listed = {} if self._listed is None else self._listed
            person = Person(found[1], Status(found[2]), found[3] or "")
            self._listed[wire.fold(person.name)] = person
        else:
            return [note(line.removeprefix("# "), time)]
        return []

    def _finish_order(self, order: Order, answer: str, time: datetime) -> Iterable[LogLine]:
        is_ok = answer == "ok"
        if order.text == "members":
            if is_ok:
                self.people = self._listed or {}
            self._listed = None
        elif is_ok and order.text in ("close", "delete"):
            self.final_order = order.text
        else:
            self.refresh_members()
        if is_ok:
            return self._order_done(order, time)
        return [note(f"failed ({answer.removeprefix('error: ')}): {order.text}", time)]

    def _order_done(self, order: Order, time: datetime) -> Iterable[LogLine]:
        """Take over what an order has changed, before the next list of members shows it."""
        verb, _, name = order.text.partition(" ")
        person = self.people.get(wire.fold(name))
        is_asking = bool(person and person.status is Status.ASKS)
        # After an accepted person came, they may have gone again before the answer came
        if verb in AFTER_ORDER and (is_asking or verb in ("ban", "unban")):
            self._set_status(person.name if person else name, AFTER_ORDER[verb])
        if order.is_quiet:
            return []
        if verb in ("accept", "reject"):
            past = f"{verb}ed"
            return [movement(name, past, f"{name} {VERBS[past][0]}", time)]
        return [note(f"done: {order.text}", time)]


def movement(name: str, verb: str, text: str, time: datetime) -> Movement:
    """Return a line about a request, coming or going; `verb` is one of movements.VERBS."""
    return Movement(LineKind.NOTE, text, time=time, name=name, verb=verb)


def note(text: str, time: datetime | None = None) -> LogLine:
    """Return a line for the log that is not a message."""
    return LogLine(LineKind.NOTE, text, time=time)
