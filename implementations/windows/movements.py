"""The comings and goings of members, folded into one line while nothing else happens. Pure.

When thirty students join, the log has one line about them and not ninety.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from .log_lines import LineKind, LogLine

MAX_AGE = timedelta(minutes=1)  # later movements begin a new line, so its time is not misleading
MAX_NAMES = 3  # that are written out, for each verb
# What happened: how one line says it of one name, and of several
VERBS = {
    "asks": ("asks to join", "ask to join"),
    "accepted": ("was accepted", "were accepted"),
    "rejected": ("was rejected", "were rejected"),
    "came": ("came", "came"),
    "returned": ("went and came back", "went and came back"),
    "went": ("went", "went"),
    "left": ("left the group", "left the group"),
}


@dataclass(frozen=True, slots=True)
class Movement(LogLine):
    """A line about one member's request, coming or going."""

    name: str = ""
    verb: str = ""  # one of VERBS


class Movements:
    """The movements in the last line of a log.

    Attributes:
        line: the line; None before the first movement.
    """

    def __init__(self) -> None:
        """Start without movements."""
        self.line: LogLine | None = None
        self._verbs: dict[str, str] = {}  # the last one of each name

    def takes(self, movement: Movement) -> bool:
        """Return whether the movement belongs to the present line, if that is still the last."""
        began = self.line.time if self.line else None
        return bool(began and movement.time and movement.time - began < MAX_AGE)

    def start(self) -> None:
        """Begin another line."""
        self.line, self._verbs = None, {}

    def add(self, movement: Movement) -> LogLine:
        """Add a movement; return the line with it."""
        name, verb = movement.name, movement.verb
        before = self._verbs.pop(name, "")
        if verb == "accepted" and before == "came":
            verb = "came"  # the answer to the order may come after the event
        elif verb == "came" and before in ("went", "returned"):
            verb = "returned"
        self._verbs[name] = verb
        time = self.line.time if self.line else movement.time
        text = movement.text if len(self._verbs) == 1 else summary(self._verbs)
        if len(self._verbs) == 1 and verb != movement.verb:
            text = summary(self._verbs)
        self.line = LogLine(LineKind.NOTE, text, time=time)
        return self.line


def summary(verbs: dict[str, str]) -> str:
    """Return in words what happened to each name: "ana, ben and 28 others came"."""
    names: dict[str, list[str]] = {}
    for name, verb in verbs.items():
        names.setdefault(verb, []).append(name)
    return "; ".join(
        f"{listed(those)} {VERBS[verb][len(those) > 1]}" for verb, those in names.items()
    )


def listed(names: Sequence[str]) -> str:
    """Return names in words: all of them if they are few, else the first ones and a number."""
    if len(names) > MAX_NAMES:
        names = [*names[: MAX_NAMES - 1], f"{len(names) - MAX_NAMES + 1} others"]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
