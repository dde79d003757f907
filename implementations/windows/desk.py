"""The owner's side of a server's console, pure: lines go in, orders come out; it knows who is a member and who asks.

It takes any server that keeps to lab_guide/protocol.md, so nothing is believed of unasked lines but what binds: who asks. For
the rest, who drives it orders `members` from time to time.
"""
import re
from collections import deque
from typing import NamedTuple

from ..client.conversation import Lines
from ..common import wire
from .talk import Line

LISTENING = re.compile(r"listening on (\[[^]]+\]|[^\s:]+):(\d{1,5})")
ASKS = re.compile(r"(\S+) asks to join from (\S+)")
MEMBER = re.compile(r"member (\S+) (here|away|banned|asks)(?: from (\S+))?")
EVENT = re.compile(r"\* (\S+) (came|went|left)")
SAID = re.compile(r"<(\S+)> (.*)", re.S)
DROPPED = re.compile(r"# (\d{1,15}) lines not shown")
CONSENT = "type the group's name to delete it"


class Person(NamedTuple):
    name: str
    standing: str       # asks, here, away or banned
    address: str = ""   # of who asks


class Desk:
    def __init__(self):
        self.address = None         # (host, port) where the server listens; None until it does
        self.people = {}            # folded name: Person
        self.said = 0               # messages, those included of which only the number was told
        self.outgoing = bytearray()
        self.orders = deque()       # (order, consent or None, whether it is to be heard of) that are not answered
        self.listed = None          # what `members` has answered so far
        self.lines = Lines()
        self.over = None            # the order that ended the server: close or delete

    @property
    def askers(self):
        return [person for person in self.people.values() if person.standing == "asks"]

    def order(self, text, consent=None, quiet=False):
        """`consent`: the line to be given when it is asked for. `quiet`: the answer is not shown."""
        self.orders.append((text, consent, quiet))
        self.outgoing += text.encode() + b"\n"

    def ask_members(self):
        if not any(text == "members" for text, _, _ in self.orders):
            self.order("members", quiet=True)

    def hear(self, data, time):
        """Takes what the server printed; returns what is to be shown of it, as Lines."""
        shown = []
        for line in self.lines.feed(data):
            if isinstance(line, wire.Fault):
                line = "(a line that was too long)"
            shown += self.line(line, time) or ()
        return shown

    def line(self, line, time):
        if self.address is None:
            if found := LISTENING.fullmatch(line):
                self.address = found[1].strip("[]"), int(found[2])
                self.ask_members()
                return [Line("note", line, time=time)]
        elif found := SAID.fullmatch(line):
            self.said += 1
            return [Line("said", found[2], found[1], time)]
        elif found := EVENT.fullmatch(line):
            self.moved(found[1], {"came": "here", "went": "away", "left": None}[found[2]])
            return [Line("note", line[2:], time=time)]
        elif found := ASKS.fullmatch(line):
            self.moved(found[1], "asks", found[2])
            return [Line("note", line, time=time)]
        elif found := DROPPED.fullmatch(line):
            self.said += int(found[1])
        elif self.orders:
            return self.answer(line, time)
        return [Line("note", line.removeprefix("# "), time=time)] if line else ()

    def moved(self, name, standing, address=""):
        for people in self.people, self.listed:
            if people is not None and standing is None:
                people.pop(name.casefold(), None)
            elif people is not None:
                people[name.casefold()] = Person(name, standing, address)

    def answer(self, line, time):
        """A line of the answer to the first order, or one that nobody asked for."""
        order, consent, quiet = self.orders[0]
        if line == CONSENT and consent is not None:
            self.outgoing += consent.encode() + b"\n"
        elif line == "ok" or line.startswith("error: "):
            self.orders.popleft()
            return self.answered(order, line, quiet, time)
        elif order == "members" and (found := MEMBER.fullmatch(line)):
            self.listed = {} if self.listed is None else self.listed
            self.listed[found[1].casefold()] = Person(found[1], found[2], found[3] or "")
        else:
            return [Line("note", line.removeprefix("# "), time=time)]
        return ()

    def answered(self, order, line, quiet, time):
        if order == "members":
            if line == "ok":
                self.people = self.listed or {}
            self.listed = None
        elif line == "ok" and order in ("close", "delete"):
            self.over = order
        else:
            self.ask_members()
        if line == "ok":
            return () if quiet else [Line("note", f"done: {order}", time=time)]
        return [Line("note", f"not done ({line.removeprefix('error: ')}): {order}", time=time)]
