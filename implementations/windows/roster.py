"""The members of a group, from events and lists; names for Tab. Pure."""

from __future__ import annotations

import re
from collections import deque
from functools import lru_cache

from ..client.items import Event, Item, MemberStatus
from ..common import wire

MAX_SPEAKERS = 50
# A server may name any number of members, and rename the user any number of times
MAX_MEMBERS = 2_000  # less than wire.fold() remembers: to sort them again stays quick
MAX_OWN_NAMES = 20
NUMBER = re.compile(r"([0-9]+)")


@lru_cache(maxsize=2 * MAX_MEMBERS)
def sort_key(name: str) -> tuple[str | int, ...]:
    """Return a key to sort names without case, numbers by their value: turma2 before turma10."""
    parts = NUMBER.split(wire.fold(name))  # texts and numbers in turn, so they can be compared
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


class Roster:
    """The members of the group and the latest speakers.

    Attributes:
        status: "here" or "away" by name, of MAX_MEMBERS at most.
        own_names: the latest names that the user had since the window was opened.
    """

    def __init__(self, name: str) -> None:
        """Start with the user's own name, and no members."""
        self.status: dict[str, str] = {}
        self.own_names = deque([name], maxlen=MAX_OWN_NAMES)
        self._speakers: deque[str] = deque(maxlen=MAX_SPEAKERS)  # the latest first

    @property
    def here(self) -> int:
        """The number of members that are here."""
        return sum(status == "here" for status in self.status.values())

    def follow(self, item: Item) -> None:
        """Take over the changes of an item."""
        if isinstance(item, MemberStatus):
            self._set_status(item.name, item.status)
        elif isinstance(item, Event):
            self._follow_event(item)

    def _set_status(self, name: str, status: str) -> None:
        is_name = len(name) <= wire.MAX_NAME  # to fold a longer text takes milliseconds
        if name in self.status or (is_name and len(self.status) < MAX_MEMBERS):
            self.status[name] = status

    def _follow_event(self, event: Event) -> None:
        name = event.name
        if event.verb == "IN":
            self._set_status(name, "here")
        elif event.verb == "OUT":
            self._set_status(name, "away")
        elif event.verb in ("LEFT", "BANNED"):
            self.status.pop(name, None)
        elif event.verb == "RENAMED":
            self._set_status(event.text, self.status.pop(name, "here"))
            renamed = (event.text if speaker == name else speaker for speaker in self._speakers)
            self._speakers = deque(renamed, maxlen=MAX_SPEAKERS)
        elif event.verb == "MSG":
            if name in self._speakers:
                self._speakers.remove(name)
            self._speakers.appendleft(name)

    def sorted_names(self) -> list[str]:
        """Return the members, those that are here first."""
        return sorted(self.status, key=lambda name: (self.status[name] != "here", sort_key(name)))

    def completions(self, start: str) -> list[str]:
        """Return the other members whose names begin with `start`, the latest speaker first."""
        spoken = [name for name in self._speakers if name in self.status]
        others = sorted(self.status.keys() - spoken, key=sort_key)
        return [
            name
            for name in (*spoken, *others)
            if name not in self.own_names and wire.fold(name).startswith(wire.fold(start))
        ]
