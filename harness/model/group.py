"""The group as lab_guide/protocol.md describes it: what a correct server may do next. Pure.

A Group is one state, and is never changed. Each thing that may happen (a request, an order, the
end of a password check, the end of a connection, a timer) is a method that returns the permitted
Outcomes: the next Group, and what each client and the console must receive. Where the page leaves
a choice, there are several. Each Outcome names the section of the page that permits it.

A time is in seconds on one clock. It is the moment when the harness sent or saw something, so it
is only a bound: a server that is early can be wrong, a server that is late is another's business.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

# -- Section 3: framing and grammar

MOST_LINE = 512  # bytes, its LF included
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
# A name that a server may accept beyond these, or refuse (9.5).
BEYOND = "\xa0-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U0001fffd\U00020000-\U0003fffd"
FOREIGN_NAME = re.compile(rf"[A-Za-z0-9{BEYOND}][A-Za-z0-9._\-{BEYOND}]{{0,31}}")
NO_TEXT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
    + "]"
)
TOKEN = re.compile(r"[!-~]{1,64}")
SINCE = re.compile(r"[0-9]{1,16}")
MOST_TEXT, MOST_PASSWORD, MOST_NAME, MOST_GROUP = 400, 128, 64, 64  # bytes
ASKING_AT_ONCE, REFUSALS, ERRORS = 32, 3, 10  # section 10


def framed(data: bytes) -> tuple[list[bytes | None], bytes]:
    """Split what a client sent into lines without LF and CR, and the unfinished rest.

    None is a line that is too long; what follows it is not read. Empty lines are left out.
    """
    *lines, rest = data.split(b"\n")
    found: list[bytes | None] = []
    for line in lines:
        if len(line) >= MOST_LINE:
            return [*found, None], b""
        if line := line.removesuffix(b"\r"):
            found.append(line)
    return ([*found, None], b"") if len(rest) >= MOST_LINE else (found, rest)


def text_of(line: bytes) -> "str | Refused":
    """Decode a line, or say why it has no text (section 7, codes 2 and 3)."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return Refused("bad-utf8")
    return Refused("bad-text") if NO_TEXT.search(text) else text


def fold(name: str) -> str:
    """Return the form in which names are compared (9.5)."""
    return unicodedata.normalize("NFC", name).lower()


def may_accept(name: str) -> bool:
    """Return whether a server may accept this name (9.5)."""
    letters = all(
        unicodedata.category(sign)[0] in "LM"
        or sign.isdecimal()
        or unicodedata.category(sign) == "Cn"
        or sign in "._-"
        for sign in name
    )
    return bool(FOREIGN_NAME.fullmatch(name)) and len(name.encode()) <= MOST_NAME and letters


def must_accept(name: str) -> bool:
    """Return whether every server accepts this name (9.5)."""
    return bool(NAME.fullmatch(name))


def without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a copy of the mapping without this key."""
    return {other: value for other, value in mapping.items() if other != key}


def is_group_name(text: str) -> bool:
    """Return whether this is a valid name of a group."""
    return 0 < len(text.encode()) <= MOST_GROUP and text.strip(" ") == text


@dataclass(frozen=True)
class Refused:
    """A request that gets an ERR with this code (section 7)."""

    code: str


# -- Section 7: the arguments of each verb

BARE = {"WHO", "LEAVE", "QUIT"}
ARGUMENTS: dict[str, Callable[[str], Any]] = {
    "SAY": lambda text: 0 < len(text.encode()) <= MOST_TEXT,
    "NAME": lambda name: name and " " not in name,
    "HISTORY": SINCE.fullmatch,
    "PING": TOKEN.fullmatch,
    "PONG": TOKEN.fullmatch,
}
VERBS = {"JOIN", *BARE, *ARGUMENTS}


def arguments_fit(verb: str, space: str, rest: str) -> bool:
    """Return whether what follows this verb is well-formed (7, code 7)."""
    return not space if verb in BARE else bool(ARGUMENTS[verb](rest))


# -- What clients and the console receive


@dataclass(frozen=True, slots=True)
class Line:
    """This line exactly."""

    text: str


@dataclass(frozen=True, slots=True)
class Err:
    """`ERR code`, and any words."""

    code: str


@dataclass(frozen=True, slots=True)
class Event:
    """The event with this number; its time may be any, but is the same for all."""

    seq: int
    verb: str
    rest: str


@dataclass(frozen=True, slots=True)
class Members:
    """MEMBER lines in any order, then END WHO. Live events may stand between them."""

    lines: frozenset[str]


@dataclass(frozen=True, slots=True)
class Range:
    """The events after `since` up to `newest`, then END HISTORY; live events may stand between."""

    since: int
    newest: int


@dataclass(frozen=True, slots=True)
class Ping:
    """`PING token`, with any token."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of the connection."""


Out = Line | Err | Event | Members | Range | Ping | End
OK, ERROR = "ok", "error: WORDS"
ABOUT_NAMES = "accept", "reject", "ban", "unban"


# -- The state


class Standing(Enum):
    """The states of a connection in section 4. REFUSED: the owner rejected it, and its REJECTED is
    not due yet.
    """

    STRANGER = "stranger"
    CHECKED = "checked"
    ASKING = "asking"
    REFUSED = "refused"
    HERE = "here"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Member:
    """A member: its name as written, and its password. `number` tells it from a later namesake."""

    name: str
    password: str
    number: int


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection. `name` and `password` are those of its JOIN, and `key` its folded name.

    `found`: what the name stood for, in turn, during the password check. `prompt`: that check
    began at once, since no other was under way. `heard_at`: when its last line was sent.
    `joined_at`: likewise its JOIN. `pinged`: the server sent PING since its last line. `lenient`:
    its silence may have begun at WELCOME. `was_asking`: at its end.
    """

    standing: Standing
    since: float
    heard_at: float
    address: str = ""
    name: str = ""
    password: str = ""
    key: str = ""
    joined_at: float = 0.0
    found: tuple[object, ...] = ()
    prompt: bool = True
    errors: int = 0
    refusals: int = 0
    pinged: bool = False
    lenient: bool = False
    was_asking: bool = False


@dataclass(frozen=True)
class Rules:
    """The flags with which the server was started (sections 10 and 12)."""

    admit: str = "ask"
    join_within: float = 20
    ping_after: float = 60
    idle_after: float = 90
    reject_after: float = 1
    max_here: int = 1024
    max_strangers: int = 256


@dataclass(frozen=True)
class Outcome:
    """What may happen: the next group, and what each client and the console receive.

    `answers` are the lines that answer an order, and `asks` the line that announces a request to
    join. `not_before` is the earliest time at which this may be seen.
    """

    group: "Group"
    section: str
    to: Mapping[str, tuple[Out, ...]] = field(default_factory=dict)
    answers: tuple[str, ...] | None = None
    asks: str | None = None
    not_before: float = 0.0


@dataclass(frozen=True)
class Group:
    """The whole state. `members` and `bans` are by folded name, and so are `here` (the connection
    of a member) and `holds` (the connection whose JOIN holds a new name).
    """

    rules: Rules
    title: str
    seq: int = 1
    members: Mapping[str, Member] = field(default_factory=dict)
    bans: Mapping[str, str] = field(default_factory=dict)
    connections: Mapping[str, Connection] = field(default_factory=dict)
    here: Mapping[str, str] = field(default_factory=dict)
    holds: Mapping[str, str] = field(default_factory=dict)
    births: int = 0  # how many members there ever were
    unheard: Mapping[int, tuple[str, str]] = field(default_factory=dict)  # events nobody received
    consent: bool = False  # the console's next line is the consent to `delete`
    ended: str | None = None  # "closed" or "deleted"

    # -- Small steps

    def mark(self) -> object:
        """Return what two equal groups share; it can be hashed."""
        maps = (self.members, self.bans, self.connections, self.here, self.holds, self.unheard)
        contents = tuple(frozenset(one.items()) for one in maps)
        return self.seq, self.title, self.consent, self.ended, contents

    def with_connection(self, who: str, **changes: Any) -> "Group":
        """Return this group with one connection changed."""
        changed = replace(self.connections[who], **changes)
        return replace(self, connections={**self.connections, who: changed})

    def event(self, verb: str, rest: str) -> "tuple[Group, dict[str, tuple[Out, ...]]]":
        """Return the group after an event, and the event for all members here (9.2)."""
        event = Event(self.seq + 1, verb, rest)
        group = replace(self, seq=event.seq)
        if not self.here:
            group = replace(group, unheard={**self.unheard, event.seq: (verb, rest)})
        return group, {who: (event,) for who in self.here.values()}

    def with_member(self, one: Connection) -> "Group":
        """Return this group with a new member: the name with which this connection asked."""
        member = Member(one.name, one.password, self.births + 1)
        members = {**self.members, one.key: member}
        return replace(self, members=members, births=member.number)

    def over(self, who: str) -> "Group":
        """Return this group after a connection's end: it holds nothing, and is not here."""
        one = self.connections[who]
        key = one.key
        was_asking = one.standing is Standing.ASKING
        ended = {"password": one.password if was_asking else "", "was_asking": was_asking}
        group = self.with_connection(who, standing=Standing.OVER, **ended)
        if self.here.get(key) == who:
            group = replace(group, here=without(self.here, key))
        if self.holds.get(key) == who:
            group = replace(group, holds=without(self.holds, key))
        return group

    def without_the_ended(self) -> "Group":
        """Return this group without the connections that are over."""
        left = {
            who: one for who, one in self.connections.items() if one.standing is not Standing.OVER
        }
        return replace(self, connections=left)

    def standing_of(self, key: str) -> object:
        """Return what a name stands for: a Member, `banned`, `held`, or `new`."""
        if key in self.members:
            return self.members[key].number
        return "banned" if key in self.bans else "held" if key in self.holds else "new"

    def noted(self) -> "Group":
        """Return this group after its names changed: each password check has noticed (9.5)."""
        connections = self.connections
        for who, one in self.connections.items():
            if one.standing is Standing.CHECKED:
                now = "new" if self.holds.get(one.key) == who else self.standing_of(one.key)
                if one.found[-1] != now:
                    changed = replace(one, found=(*one.found, now))
                    connections = {**connections, who: changed}
        return self if connections is self.connections else replace(self, connections=connections)

    def is_held(self, key: str) -> bool:
        """Return whether a member, a ban or a request holds this name (9.5)."""
        return key in self.members or key in self.bans or key in self.holds

    def strangers(self) -> int:
        """Return how many connections are before their WELCOME."""
        return sum(
            one.standing not in (Standing.HERE, Standing.OVER) for one in self.connections.values()
        )

    def asking(self) -> dict[str, str]:
        """Return the asking clients, by folded name."""
        return {
            one.key: who for who, one in self.connections.items() if one.standing is Standing.ASKING
        }

    # -- Sections 4 and 9.7: connections

    def connects(self, who: str, address: str, at: float) -> list[Outcome]:
        """Return what a new connection may receive first."""
        stranger = Connection(Standing.STRANGER, at, at, address)
        group = replace(self, connections={**self.connections, who: stranger})
        if self.strangers() >= self.rules.max_strangers:
            full = (Line("BYE full"), End())
            return [Outcome(group.over(who), "9.7", {who: full})]
        return [Outcome(group, "4", {who: (Line(f"HELLO grupo/1 {self.title}"),)})]

    def ends_with(
        self, who: str, section: str, *last: Out, not_before: float = 0.0
    ) -> list[Outcome]:
        """Return the end of a connection: its last lines, and OUT for the others."""
        group, to = self.over(who), dict[str, tuple[Out, ...]]()
        if self.connections[who].standing is Standing.HERE:
            group, to = group.event("OUT", self.members[self.connections[who].key].name)
        to = {**to, who: (*last, End())}
        return [Outcome(group.noted(), section, to, not_before=not_before)]

    def eof(self, who: str) -> list[Outcome]:
        """Return what follows a client's end of file, after all its requests (5, 8)."""
        return self.ends_with(who, "5", Line("BYE quit"))

    def lost(self, who: str) -> list[Outcome]:
        """Return what follows when the server notices that a connection broke (6)."""
        return self.ends_with(who, "6")

    def times_out(self, who: str) -> list[Outcome]:
        """Return what a timer may do to this connection now (8)."""
        one, rules = self.connections[who], self.rules
        found: list[Outcome] = []
        if one.standing in (Standing.HERE, Standing.ASKING, Standing.REFUSED):
            if not one.pinged:
                group = self.with_connection(who, pinged=True)
                due = one.heard_at + rules.ping_after
                found.append(Outcome(group, "8", {who: (Ping(),)}, not_before=due))
            due = one.heard_at + rules.idle_after
            found += self.ends_with(who, "8", Line("BYE idle"), not_before=due)
        if one.standing is Standing.STRANGER:
            due = one.since + rules.join_within
            found += self.ends_with(who, "8", Line("BYE timeout"), not_before=due)
        return found

    # -- Sections 5 and 7: requests

    def request(self, who: str, line: bytes | None, at: float) -> "list[Outcome]":
        """Return what may answer one line, sent at `at`. None is a line that is too long."""
        if line is None:
            return self.ends_with(who, "7", Err("too-long"), Line("BYE protocol"))
        group = self.with_connection(who, heard_at=at, pinged=False, lenient=False)
        standing = self.connections[who].standing
        text = text_of(line)
        if isinstance(text, Refused):
            return group.refuses(who, text.code)
        verb, space, rest = text.partition(" ")
        if verb not in VERBS:
            return group.refuses(who, "unknown")
        if verb == "JOIN":
            if standing is not Standing.STRANGER:
                return group.refuses(who, "already-joined")
            return group.join(who, rest, at)
        if standing is not Standing.HERE and verb not in ("QUIT", "PING", "PONG"):
            return group.refuses(who, "not-joined")
        if not arguments_fit(verb, space, rest):
            return group.refuses(who, "bad-arguments")
        answer: Callable[[str, str], list[Outcome]] = getattr(group, verb.lower())
        return answer(who, rest)

    def refuses(self, who: str, code: str) -> "list[Outcome]":
        """ERR; and the end after the tenth before WELCOME (7)."""
        one = self.connections[who]
        if one.standing is Standing.HERE:
            return [Outcome(self, "7", {who: (Err(code),)})]
        if one.errors + 1 == ERRORS:
            return self.ends_with(who, "7", Err(code), Line("BYE protocol"))
        group = self.with_connection(who, errors=one.errors + 1)
        return [Outcome(group, "7", {who: (Err(code),)})]

    def ping(self, who: str, token: str) -> "list[Outcome]":
        """PONG (9.4)."""
        return [Outcome(self, "9.4", {who: (Line(f"PONG {token}"),)})]

    def pong(self, who: str, token: str) -> "list[Outcome]":
        """No answer (5)."""
        return [Outcome(self, "5")]

    def quit(self, who: str, rest: str) -> "list[Outcome]":
        """BYE, and OUT for the others (5)."""
        return self.ends_with(who, "5", Line("BYE quit"))

    def say(self, who: str, text: str) -> "list[Outcome]":
        """MSG for all (9.2)."""
        name = self.members[self.connections[who].key].name
        group, to = self.event("MSG", f"{name} {text}")
        return [Outcome(group, "9.2", to)]

    def who(self, who: str, rest: str) -> "list[Outcome]":
        """The members, without the banned (6)."""
        return [Outcome(self, "6", {who: (self.list_of_members(),)})]

    def list_of_members(self) -> Members:
        """Return what WHO must show now."""
        return Members(
            frozenset(
                f"MEMBER {one.name} {'here' if key in self.here else 'away'}"
                for key, one in self.members.items()
            )
        )

    def history(self, who: str, since: str) -> "list[Outcome]":
        """The events after `since`, up to the newest (9.3)."""
        return [Outcome(self, "9.3", {who: (Range(int(since), self.seq),)})]

    def leave(self, who: str, rest: str) -> "list[Outcome]":
        """LEFT for all, the member too, then BYE left; the name is free (5)."""
        key = self.connections[who].key
        group, to = self.event("LEFT", self.members[key].name)
        group = replace(group.over(who), members=without(self.members, key))
        to[who] = (*to[who], Line("BYE left"), End())
        return [Outcome(group.noted(), "5", to)]

    def name(self, who: str, new: str) -> "list[Outcome]":
        """RENAMED for all; never a name that is held (9.5)."""
        refused = [] if must_accept(new) else self.refuses(who, "bad-name")
        if not may_accept(new):
            return refused
        key, wanted = self.connections[who].key, fold(new)
        if wanted != key and self.is_held(wanted):
            return [*refused, *self.refuses(who, "name-taken")]
        group, to = self.event("RENAMED", f"{self.members[key].name} {new}")
        member = replace(self.members[key], name=new)
        group = replace(
            group.with_connection(who, key=wanted),
            members={**without(self.members, key), wanted: member},
            here={**without(self.here, key), wanted: who},
        )
        return [*refused, Outcome(group.noted(), "9.5", to)]

    # -- Section 9.5: JOIN

    def join(self, who: str, rest: str, at: float) -> "list[Outcome]":
        """PENDING; the password check begins, at once or when its turn comes."""
        name, _, password = rest.partition(" ")
        if not name or not 0 < len(password.encode()) <= MOST_PASSWORD:
            return self.refuses(who, "bad-arguments")
        refused = [] if must_accept(name) else self.refuses(who, "bad-name")
        if not may_accept(name):
            return refused
        key = fold(name)
        prompt = all(one.standing is not Standing.CHECKED for one in self.connections.values())
        group = self.with_connection(
            who,
            standing=Standing.CHECKED,
            name=name,
            password=password,
            key=key,
            joined_at=at,
            found=(self.standing_of(key),),
            prompt=prompt,
        )
        begun = [group]
        if self.rules.admit != "none" and not self.is_held(key):
            holding = replace(group, holds={**group.holds, key: who}).noted()
            begun = [holding] if prompt else [holding, group]
        pending = {who: (Line("PENDING"),)}
        return [*refused, *(Outcome(one, "6", pending) for one in begun)]

    def checked(self, who: str) -> "list[Outcome]":
        """The end of a password check (9.5, the table of who may join)."""
        one, now = self.connections[who], self.connections[who].found[-1]
        changed = len(one.found) > 1
        # A check that began before the change must notice it; one that waited need not.
        began_before = one.prompt and one.found[0] not in ("banned", "held")
        found: list[Outcome] = []
        if not (changed and began_before):
            if isinstance(now, int) and self.members[one.key].password == one.password:
                found += self.welcomes(who, "9.5")
            if now == "new" and self.rules.admit == "all":
                found += self.welcomes(who, "9.5")
            if now == "new" and self.rules.admit == "ask":
                found += self.asks(who)
        certain = bool(found) and not changed
        return (
            found if certain and not self.may_be_one_too_many(who) else [*found, *self.rejects(who)]
        )

    def may_be_one_too_many(self, who: str) -> bool:
        """Return whether 32 names are being considered, if those being checked count too (9.5)."""
        if self.rules.admit != "ask" or self.connections[who].found[-1] != "new":
            return False
        others = sum(
            one.standing in (Standing.ASKING, Standing.CHECKED, Standing.REFUSED)
            for other, one in self.connections.items()
            if other != who
        )
        return others >= ASKING_AT_ONCE

    def asks(self, who: str) -> "list[Outcome]":
        """The owner is asked, unless 32 names wait already (9.5)."""
        if len(self.asking()) >= ASKING_AT_ONCE:
            return []
        one = self.connections[who]
        group = self.with_connection(who, standing=Standing.ASKING)
        group = replace(group, holds={**group.holds, one.key: who}).noted()
        return [Outcome(group, "9.5", asks=f"{one.name} asks to join from {one.address}")]

    def rejects(self, who: str) -> "list[Outcome]":
        """REJECTED, no sooner than it may come; and the end after the third (9.5)."""
        one = self.connections[who]
        due = one.joined_at + self.rules.reject_after
        rejected = Line("REJECTED refused")
        if one.refusals + 1 == REFUSALS:
            last = (rejected, Line("BYE refused"))
            return self.ends_with(who, "9.5", *last, not_before=due)
        group = self.over(who).with_connection(
            who,
            standing=Standing.STRANGER,
            since=one.since + self.rules.reject_after,  # this time does not count, at least (8)
            refusals=one.refusals + 1,
            key="",
            found=(),
        )
        return [Outcome(group.noted(), "9.5", {who: (rejected,)}, not_before=due)]

    def welcomes(
        self, who: str, section: str, answers: tuple[str, ...] | None = None
    ) -> "list[Outcome]":
        """WELCOME and IN (6); a takeover (9.6); or no room (9.7)."""
        one, group, to = self.connections[who], self, dict[str, tuple[Out, ...]]()
        if one.key not in self.members:
            group = self.with_member(one)
        if self.holds.get(one.key) == who:
            group = replace(group, holds=without(self.holds, one.key))
        name = group.members[one.key].name
        welcome = Line(f"WELCOME {self.seq} {name}")
        old = self.here.get(one.key)
        if old is None and len(self.here) >= self.rules.max_here:
            to[who] = (Line("BYE full"), End())
            return [Outcome(group.over(who).noted(), "9.7", to, answers)]
        if old is not None:
            group = group.over(old)
            to[old] = (Line("BYE replaced"), End())
        group = group.with_connection(
            who, standing=Standing.HERE, found=(), lenient=one.standing is Standing.ASKING
        )
        group = replace(group, here={**group.here, one.key: who})
        if old is None:
            group, event = group.event("IN", name)
            to |= event
        to[who] = (welcome, *to.get(who, ()))
        return [Outcome(group.noted(), "9.6" if old else section, to, answers)]

    # -- Section 11: the console

    def order(self, line: bytes | None) -> "list[Outcome]":
        """Return what may answer one line of the owner's. None is a line that is too long."""
        text = Refused("too-long") if line is None else text_of(line)
        if self.consent:
            return self.consents(text)
        if isinstance(text, Refused):
            return [self.says(ERROR)]
        word, space, rest = text.partition(" ")
        if word in ("members", "close", "delete", "help") and not space:
            return [getattr(self, "list_all" if word == "members" else word)()]
        if word in ABOUT_NAMES and may_accept(rest):
            error = [] if must_accept(rest) else [self.says(ERROR)]
            done: list[Outcome] = getattr(self, word)(rest, fold(rest))
            return [*done, *error]
        if word == "rename" and is_group_name(rest):
            group, to = self.event("GROUP", rest)
            return [Outcome(replace(group, title=rest), "11", to, (OK,))]
        return [self.says(ERROR)]

    def says(self, *answers: str) -> Outcome:
        """An answer that changes nothing."""
        return Outcome(self, "11", answers=answers)

    def accept(self, name: str, key: str) -> "list[Outcome]":
        """`accept NAME`."""
        if who := self.asking().get(key):
            return self.welcomes(who, "11", (OK,))
        return [self.says(ERROR), *self.admits_one_that_ended(key)]

    def admits_one_that_ended(self, key: str) -> "list[Outcome]":
        """A connection may end while its admission is saved: then the name is a member, away."""
        return [
            Outcome(self.with_member(one).noted(), "11", answers=(OK,))
            for one in self.connections.values()
            if one.was_asking and one.key == key and not self.is_held(key)
        ]

    def rejects_asking(self, who: str) -> "list[Group]":
        """The name of a client that was rejected may be held until its REJECTED is due."""
        holding = self.with_connection(who, standing=Standing.REFUSED)
        freed = replace(holding, holds=without(self.holds, self.connections[who].key))
        return [holding, freed.noted()]

    def reject(self, name: str, key: str) -> "list[Outcome]":
        """`reject NAME`."""
        who = self.asking().get(key)
        if not who:
            return [self.says(ERROR)]
        return [Outcome(group, "11", answers=(OK,)) for group in self.rejects_asking(who)]

    def ban(self, name: str, key: str) -> "list[Outcome]":
        """`ban NAME`."""
        if key in self.bans:
            return [self.says(ERROR)]
        asking = self.asking().get(key)
        spelled = {name, self.connections[asking].name} if asking else {name}
        if member := self.members.get(key):
            spelled = {member.name}
        return [self.banned(key, written, asking) for written in sorted(spelled)]

    def banned(self, key: str, written: str, asking: str | None) -> Outcome:
        """BANNED, in this spelling, of a member, an asking client, or anybody."""
        group, to = self.event("BANNED", written)
        if here := self.here.get(key):
            group = group.over(here)
            to[here] = (*to[here], Line("BYE banned"), End())
        group = replace(group, members=without(self.members, key), bans={**self.bans, key: written})
        if asking:
            group = group.rejects_asking(asking)[1]
        return Outcome(group.noted(), "11", to, (OK,))

    def unban(self, name: str, key: str) -> "list[Outcome]":
        """`unban NAME`."""
        if key not in self.bans:
            return [self.says(ERROR)]
        group = replace(self, bans=without(self.bans, key))
        return [Outcome(group.noted(), "11", answers=(OK,))]

    def list_all(self) -> Outcome:
        """`members`."""
        asking = self.asking()
        return self.says(
            *(
                f"member {one.name} {'here' if key in self.here else 'away'}"
                for key, one in self.members.items()
            ),
            *(f"member {name} banned" for name in self.bans.values()),
            *(
                f"member {self.connections[who].name} asks from {self.connections[who].address}"
                for who in asking.values()
            ),
            OK,
        )

    def help(self) -> Outcome:
        """`help`."""
        return self.says("# WORDS", OK)

    def delete(self) -> Outcome:
        """`delete` asks for consent."""
        question = "type the group's name to delete it"
        return Outcome(replace(self, consent=True), "11", answers=(question,))

    def consents(self, text: str | Refused) -> "list[Outcome]":
        """The line after `delete`."""
        group = replace(self, consent=False)
        if text == self.title:
            return [group.ends("deleted", (OK,))]
        return [group.says("error: not deleted")]

    def close(self) -> Outcome:
        """`close`."""
        return self.ends("closed", (OK,))

    # -- Sections 8 and 12: the end of the server

    def ends(self, how: str, answers: tuple[str, ...] | None = None) -> Outcome:
        """BYE to all, and no OUT; `how` is `closed` or `deleted`."""
        bye = (Line(f"BYE {how}"), End())
        to = {
            who: bye for who, one in self.connections.items() if one.standing is not Standing.OVER
        }
        over = {who: replace(one, standing=Standing.OVER) for who, one in self.connections.items()}
        return Outcome(replace(self, ended=how, here={}, connections=over), "8", to, answers)

    def killed(self) -> Outcome:
        """Every connection ends without a BYE (8)."""
        outcome = self.ends("killed")
        return replace(outcome, section="9.2", to=dict.fromkeys(outcome.to, (End(),)))

    def starts_again(self, admit: str) -> "Group":
        """Return the group after a start with this --admit: nobody is here; nothing else has
        changed (6).
        """
        rules = replace(self.rules, admit=admit)
        if self.ended == "deleted":
            return Group(rules, self.title)
        return replace(
            self, rules=rules, connections={}, here={}, holds={}, consent=False, ended=None
        )
