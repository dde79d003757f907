"""Deliveries: what the Room decides is to be sent to its clients, or to be done for it. Pure.

The servers carry them out in the order in which the Room returns them.
"""

from __future__ import annotations

from dataclasses import dataclass

from .client_state import Client


@dataclass(slots=True)
class Delivery:
    """The base class of all deliveries."""


@dataclass(slots=True)
class ToClient(Delivery):
    """The base class of the deliveries that change what one client is still to be sent."""

    client: Client


@dataclass(slots=True)
class Line(ToClient):
    """One or more lines for one client alone; `text` lacks the last LF."""

    text: str


@dataclass(slots=True)
class Note(ToClient):
    """A line for the owner that is not an answer to an order."""

    text: str


@dataclass(slots=True)
class Events(Delivery):
    """Event lines for every member who is here."""

    data: bytes


@dataclass(slots=True)
class Welcome(ToClient):
    """The WELCOME of a client. The client receives all later events."""

    text: str


@dataclass(slots=True)
class HistoryRange(ToClient):
    """The events after number `since` up to number `until`, from the transcript file."""

    since: int
    until: int


@dataclass(slots=True)
class End(ToClient):
    """The BYE was the last line for this client; its connection is to be closed."""


@dataclass(slots=True)
class Done(ToClient):
    """The client's request is finished when all that was delivered so far has been sent."""


@dataclass(slots=True)
class ReaderDone(ToClient):
    """No thread or process reads from this client any more. (From the servers, not the Room.)"""


@dataclass(slots=True)
class CheckPassword(Delivery):
    """The client's Session is to check its password: see Session.check_password()."""

    client: Client
    against: str


@dataclass(slots=True)
class SaveMembers(Delivery):
    """The member file is to be replaced by this text; Room.saved() takes the result."""

    text: str
