"""Requests: what a Session passes on to the Room. Pure.

A request is what remains of a line when its syntax has been checked. Where a pipe separates
Session and Room, encode() and a Decoder translate requests to bytes and back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from .wire import MAX_LINE, MAX_TEXT, Lines, size


@dataclass(slots=True)
class Request:
    """The base class of all requests."""


# -- A client's requests -----------------------------------------------------------------------


@dataclass(slots=True)
class Say(Request):
    """One or more messages in a row. The only request that has no answer of its own."""

    texts: list[str]


@dataclass(slots=True)
class Join(Request):
    """A client asks to become a member who is here. The password stays in the Session."""

    name: str


@dataclass(slots=True)
class PasswordOk(Request):
    """The Session has checked the password; for a new member this is the hash to keep."""

    new_hash: str = ""


@dataclass(slots=True)
class PasswordRefused(Request):
    """The Session has checked the password: it is wrong, or the name is not available."""


@dataclass(slots=True)
class Rename(Request):
    """A member takes another name."""

    name: str


@dataclass(slots=True)
class Who(Request):
    """A member asks for the list of members."""


@dataclass(slots=True)
class History(Request):
    """A member asks for the events after number `since`."""

    since: int


@dataclass(slots=True)
class Leave(Request):
    """A member leaves the group for good."""


@dataclass(slots=True)
class Quit(Request):
    """The client ends the connection, or the connection has ended."""


@dataclass(slots=True)
class Ping(Request):
    """The client asks for a PONG with this token."""

    token: str


@dataclass(slots=True)
class Pong(Request):
    """The client answers a PING."""

    token: str


@dataclass(slots=True)
class Malformed(Request):
    """The Session refuses a line: the ERR code, and the verb if the line has a known one."""

    code: str
    verb: str = ""


# -- The owner's orders ------------------------------------------------------------------------


@dataclass(slots=True)
class OrderAboutName(Request):
    """The base class of the orders that name a member or a client."""

    name: str


@dataclass(slots=True)
class Accept(OrderAboutName):
    """The owner accepts a join request."""


@dataclass(slots=True)
class Reject(OrderAboutName):
    """The owner rejects a join request."""


@dataclass(slots=True)
class Ban(OrderAboutName):
    """The owner bans a name."""


@dataclass(slots=True)
class Unban(OrderAboutName):
    """The owner frees a banned name."""


@dataclass(slots=True)
class RenameGroup(Request):
    """The owner gives the group another name."""

    group: str


@dataclass(slots=True)
class ListMembers(Request):
    """The owner asks for all members, banned names and join requests."""


@dataclass(slots=True)
class Close(Request):
    """The owner ends the server. The group stays."""


@dataclass(slots=True)
class Delete(Request):
    """The owner asks to delete the group. The next line confirms it."""


@dataclass(slots=True)
class ConfirmDelete(Request):
    """The line after `delete`: the group's name, if the owner means it."""

    line: str


@dataclass(slots=True)
class Help(Request):
    """The owner asks for the list of orders."""


@dataclass(slots=True)
class BadOrder(Request):
    """The Session refuses a line of the owner; `why` is for the owner."""

    why: str


# -- How much they are --------------------------------------------------------------------------


def count(requests: Iterable[Request]) -> int:
    """Returns the number of requests, where each message counts."""
    total = 0
    for request in requests:
        total += len(request.texts) if type(request) is Say else 1
    return total


def event_bytes(requests: Iterable[Request]) -> int:
    """Returns how many bytes the events of these requests can have at most."""
    total = 0
    for request in requests:
        if type(request) is Say:
            total += sum(map(size, request.texts)) + len(request.texts) * (MAX_LINE - MAX_TEXT)
        else:
            total += MAX_LINE
    return total


# -- Through a pipe ----------------------------------------------------------------------------

# A line begins with the client's own verb where there is one: so plain messages need no encoding.
CODES: dict[str, type[Request]] = {
    "SAY": Say,
    "JOIN": Join,
    "PASSWORD-OK": PasswordOk,
    "PASSWORD-REFUSED": PasswordRefused,
    "NAME": Rename,
    "WHO": Who,
    "HISTORY": History,
    "LEAVE": Leave,
    "QUIT": Quit,
    "PING": Ping,
    "PONG": Pong,
    "MALFORMED": Malformed,
}
CODE_OF = {kind: code for code, kind in CODES.items()}


def encode(requests: Iterable[Request]) -> bytes:
    """Returns a client's requests as lines, each of them at most wire.MAX_LINE bytes long."""
    lines = []
    for request in requests:
        if isinstance(request, Say):
            lines += [f"SAY {text}\n" for text in request.texts]
        else:
            words = [str(getattr(request, field.name)) for field in fields(request)]
            lines.append(" ".join([CODE_OF[type(request)], *words]) + "\n")
    return "".join(lines).encode()


class Decoder:
    """Turns the bytes that encode() has made back into requests, wherever the pipe cut them."""

    def __init__(self) -> None:
        self.lines = Lines()

    def receive(self, data: bytes) -> list[Request]:
        """Returns the requests that `data` completes."""
        if texts := self.lines.messages(data):
            return [Say(texts)]
        return [decode_line(line) for line in self.lines.feed(data)]


def decode_line(line: str) -> Request:
    """Returns the request of one line. Only a message has spaces inside a field."""
    code, *words = line.split(" ")
    kind = CODES[code]
    if kind is Say:
        return Say([line.removeprefix("SAY ")])
    if kind is History:
        return History(int(words[0]))
    return kind(*words)
