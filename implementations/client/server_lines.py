"""The lines that a server sends, as types. Pure; protocol.md, section 6, describes the lines."""

from dataclasses import dataclass

from ..common import wire
from .items import Event, MemberStatus


@dataclass(frozen=True)
class Hello:
    """HELLO: the first line of a connection."""

    version: str
    group: str


@dataclass(frozen=True)
class Pending:
    """PENDING: the server received JOIN and will decide."""


@dataclass(frozen=True)
class Rejected:
    """REJECTED: the answer to JOIN is no."""


@dataclass(frozen=True)
class Welcome:
    """WELCOME: the answer to JOIN is yes."""

    seq: int  # the number of the newest event at that moment
    name: str  # the member's name, as the server writes it


@dataclass(frozen=True)
class WhoEnd:
    """END WHO: the end of a list of members."""


@dataclass(frozen=True)
class HistoryEnd:
    """END HISTORY: the end of the answer to HISTORY."""

    newest: int  # the history reached up to this event


@dataclass(frozen=True)
class Ping:
    """PING: the client should answer PONG with the same token."""

    token: str


@dataclass(frozen=True)
class Err:
    """ERR: the server does not carry out a request."""

    code: str
    reason: str  # for the user


@dataclass(frozen=True)
class Bye:
    """BYE: the last line of a connection."""

    code: str


ServerLine = (
    Hello
    | Pending
    | Rejected
    | Welcome
    | MemberStatus
    | WhoEnd
    | HistoryEnd
    | Ping
    | Err
    | Bye
    | Event
)


def parse(line: str) -> ServerLine | None:
    """Return the meaning of a line without its LF; None if a client should ignore it.

    A client ignores PONG, malformed lines, and verbs that it does not know. But a line with a
    number and a time is an event even if its verb is unknown: it takes its place in the order.
    """
    verb, _, rest = line.partition(" ")
    first, _, others = rest.partition(" ")
    match verb:
        case "HELLO":
            return Hello(first, others)
        case "PENDING":
            return Pending()
        case "REJECTED":
            return Rejected()
        case "WELCOME":
            return Welcome(int(first), others) if wire.SEQ.fullmatch(first) else None
        case "MEMBER":
            return MemberStatus(first, others)
        case "END":
            return _parse_end(first, others)
        case "PING":
            return Ping(rest) if wire.TOKEN.fullmatch(rest) else None
        case "PONG":
            return None
        case "ERR":
            return Err(first, others or first)
        case "BYE":
            return Bye(rest or "without a code")
    return _parse_event(verb, rest)


def _parse_end(verb: str, seq: str) -> WhoEnd | HistoryEnd | None:
    if verb == "WHO":
        return WhoEnd()
    if verb == "HISTORY" and wire.SEQ.fullmatch(seq):
        return HistoryEnd(int(seq))
    return None


def _parse_event(verb: str, rest: str) -> Event | None:
    seq, _, rest = rest.partition(" ")
    time, _, rest = rest.partition(" ")
    name, _, text = ("", "", rest) if verb == "GROUP" else rest.partition(" ")
    if wire.SEQ.fullmatch(seq) and wire.TIME.fullmatch(time):
        return Event(verb, int(seq), time, name, text)
    return None
