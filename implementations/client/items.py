"""The items that a Conversation hands out for display. They are pure data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..common import wire

DESCRIPTIONS = {
    "IN": "{name} came",
    "OUT": "{name} went",
    "LEFT": "{name} left the group",
    "BANNED": "{name} was banned",
    "RENAMED": "{name} is now {text}",
    "GROUP": "the group is {text}",
}


@dataclass(frozen=True)
class Event:
    """One event of the group, as the server sent it (protocol.md, section 7)."""

    verb: str  # MSG, IN, OUT, ...; or one that this client does not know
    seq: int  # the event's number
    time: str = ""  # when it happened, as on the wire
    name: str = ""  # the member that caused it; "" for GROUP
    text: str = ""  # MSG: the message. RENAMED: the new name. GROUP: the group's name

    def describe(self) -> str:
        """Return the event as a sentence without its time; the text alone if it is a message."""
        return DESCRIPTIONS.get(self.verb, "{text}").format(name=self.name, text=self.text)

    def harmless(self) -> Event:
        """Return a copy that contains no character that a terminal obeys."""
        return replace(self, name=wire.harmless(self.name), text=wire.harmless(self.text))


@dataclass(frozen=True)
class MemberStatus:
    """One line of the answer to WHO."""

    name: str
    status: str  # "here" or "away"

    def harmless(self) -> MemberStatus:
        """Return a copy that contains no character that a terminal obeys."""
        return MemberStatus(wire.harmless(self.name), wire.harmless(self.status))


@dataclass(frozen=True)
class Note:
    """Words of the client itself, for its user."""

    text: str

    def harmless(self) -> Note:
        """Return a copy that contains no character that a terminal obeys."""
        return Note(wire.harmless(self.text))


@dataclass(frozen=True)
class Refusal(Note):
    """A request that the server refused, in words and in its parts."""

    verb: str  # SAY, NAME, ...
    argument: str
    reason: str  # in the server's words

    def harmless(self) -> Refusal:
        """Return a copy that contains no character that a terminal obeys."""
        reason = wire.harmless(self.reason)
        return Refusal(wire.harmless(self.text), self.verb, self.argument, reason)


Item = Event | MemberStatus | Note
