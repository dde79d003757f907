"""The Group: what its stored events make of it. A restart restores exactly this. Pure."""

from collections.abc import Iterable

from . import wire
from .errors import DamagedError
from .storage import Member, parse_event, read_members


class Group:
    """A group's name, its members, and the number of its last event."""

    def __init__(self) -> None:
        self.seq = 0  # of the last event
        self.name = ""
        self.members: dict[str, Member] = {}  # by key; banned names, too

    def restore(self, members: str, events: Iterable[str]) -> None:
        """Makes the state that it had when the last of these events was applied.

        members: the text of the member file, "" if there is none; it holds the members as of some
        event. events: all stored lines, in order. Raises DamagedError.
        """
        saved, self.members = read_members(members) if members else (0, {})
        for line in events:
            verb, seq, _, rest = parse_event(line)
            if seq != self.seq + 1:
                raise DamagedError(
                    f"transcript: event {self.seq + 1} is missing before {line[:60]!r}"
                )
            if (verb == "GROUP") < (seq == 1):
                raise DamagedError("transcript: event 1 is not a GROUP")
            if seq > saved or verb == "GROUP":  # the member file holds the effect of the others
                self.apply(verb, rest)
            self.seq = seq
        if saved > self.seq:
            raise DamagedError(
                f"members: written at event {saved}, but the transcript ends at {self.seq}"
            )

    def apply(self, verb: str, rest: str) -> None:
        """Applies the lasting effect of an event. Raises DamagedError if it cannot have happened.

        IN, OUT and MSG have no lasting effect: nobody is here when a server starts.
        """
        if verb == "GROUP":
            self.name = rest
        elif verb == "BANNED":
            self.members[wire.fold(rest)] = Member(rest, "banned", "")
        elif verb == "LEFT":
            self.members.pop(wire.fold(rest), None)
        elif verb == "RENAMED":
            old, new = rest.split(" ")
            member = self.members.pop(wire.fold(old), None)
            if member is None:
                raise DamagedError(f"members: lacks {old}, renamed to {new} in the transcript")
            self.members[wire.fold(new)] = Member(new, "member", member.phc)
        elif verb == "IN" and wire.fold(rest) not in self.members:
            raise DamagedError(f"members: lacks {rest}, but the transcript has its IN")
