"""The states of a connection, what a client may ask for in each, and what the Room knows of it.

Pure. The states are those of lab_guide/protocol.md, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from . import requests
from .requests import Request


class State(Enum):
    """Where a connection is in its life."""

    STRANGER = "stranger"  # accepted, and not here yet
    CHECKED = "checked"  # its JOIN waits until the password has been checked
    ASKING = "asking"  # the owner considers its JOIN
    HERE = "here"  # a member that receives the events
    OVER = "over"  # its BYE is decided: no request of it is handled any more
    OWNER = "owner"  # the console: its requests are orders


# The members under short names: Python 3.11 takes 150 ns to look up State.HERE, and each request of
# a client is checked.
STRANGER, CHECKED, ASKING, HERE, OVER, OWNER = State

# Malformed is permitted everywhere: its handler reports what is wrong with the line.
ANYTIME = {requests.Ping, requests.Pong, requests.Quit, requests.Malformed}
MEMBERS_ONLY = {
    requests.Say,
    requests.Rename,
    requests.Who,
    requests.History,
    requests.Leave,
}
ORDERS = {
    requests.Accept,
    requests.Reject,
    requests.Ban,
    requests.Unban,
    requests.RenameGroup,
    requests.ListMembers,
    requests.Close,
    requests.Delete,
    requests.ConfirmDelete,
    requests.Help,
    requests.BadOrder,
}
PERMITTED: dict[State, set[type[Request]]] = {
    STRANGER: ANYTIME | {requests.Join},
    # The client itself is not read meanwhile: these two come from its Session.
    CHECKED: ANYTIME | {requests.PasswordOk, requests.PasswordRefused},
    ASKING: ANYTIME,
    HERE: ANYTIME | MEMBERS_ONLY,
    OVER: set(),
    OWNER: ORDERS,
}


def refusal(state: State, kind: type[Request]) -> str:
    """Returns the ERR code for a request of this kind in this state; "" if it is permitted."""
    if kind in PERMITTED[state]:
        return ""
    return "already-joined" if kind is requests.Join else "not-joined"


@dataclass(slots=True)
class PendingJoin:
    """A JOIN between its PENDING and its WELCOME or REJECTED."""

    name: str  # in its display form
    key: str  # the folded name
    since: float  # when it came
    checked_against: str = ""  # while its password is being checked: against what
    new_hash: str = ""  # of a new member
    reject_at: float | None = None  # when to send the REJECTED that has been decided


class Client:
    """What the Room knows of one connection. Equal only to itself. Times are in seconds."""

    def __init__(self, address: str, now: float) -> None:
        self.address = address
        self.state = STRANGER
        self.name = ""  # the member's, from WELCOME on
        self.join: PendingJoin | None = None  # while CHECKED or ASKING
        self.stranger_since = now  # later by the time that its rejected JOINs have taken
        self.errors = self.rejections = 0  # before WELCOME
        self.last_heard_at = now
        self.pinged_at = now - 1
        self.request_open = False  # its last request is not finished

    @property
    def over(self) -> bool:
        """Whether its BYE is decided."""
        return self.state is OVER
