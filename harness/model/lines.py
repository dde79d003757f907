"""Whether a line that came is one that the model allows, and the Difference if none is."""

import re
from dataclasses import dataclass

from harness.model.group import OK, End, Err, Event, Line, Members, Out, Ping, Range
from harness.model.steps import event_of


@dataclass
class Difference(Exception):
    """What came is not what the page allows.

    `section` of the page, `who` it is about, `allowed` lines, and what `came` in their place: ""
    if nothing did. `kind` is the same for the same mistake.
    """

    section: str
    who: str
    allowed: list[str]
    came: str
    early: bool = False

    def __str__(self) -> str:
        allowed = " or ".join(self.allowed) or "nothing"
        return f"{self.who}: {allowed} (section {self.section}), but {self.came or 'nothing'} came"

    @property
    def kind(self) -> tuple[str, str, str]:
        """Return what a smaller example must share with this one."""
        first = self.allowed[0] if self.allowed else ""
        return self.section, form(first), form(self.came) + (" early" if self.early else "")


def form(line: str) -> str:
    """Return a line's verb, and the code of an ERR or a BYE."""
    words = line.split(" ")
    return " ".join(words[: 2 if words[0] in ("ERR", "BYE", "END") else 1])


def is_line(out: Out, line: str | None) -> bool:
    """Return whether this line is what `out` describes; None is the end of the connection."""
    if line is None or isinstance(out, End):
        return line is None and isinstance(out, End)
    match out:
        case Line(text):
            return line == text
        case Event(seq, verb, rest):
            return event_of(line) == (seq, verb, rest)
        case Err(code):
            return line.startswith(f"ERR {code} ") and len(line) > len(code) + 5
        case Ping():
            return re.fullmatch(r"PING [!-~]{1,64}", line) is not None
    return False


def answers_fit(came: tuple[str, ...] | None, allowed: tuple[str, ...] | None) -> bool:
    """Return whether the console's answer is an allowed one; its lines may be in any order."""
    if came is None or allowed is None:
        return came is allowed
    if allowed[0] == "# WORDS":
        return came[-1] == OK and all(line.startswith("# ") for line in came[:-1])
    last = (
        came[-1].startswith("error: ") if allowed[-1] == "error: WORDS" else came[-1] == allowed[-1]
    )
    lines = sorted(came[:-1]), sorted(allowed[:-1])
    return last and len(came) == len(allowed) and all(map(same_but_address, *lines))


def same_but_address(came: str, allowed: str) -> bool:
    """Return whether two console lines are the same; the model may not know an address."""
    return came == allowed or (allowed.endswith(" from ") and came.startswith(allowed))


def words_of(out: Out | str) -> str:
    """Return what must come, in the notation of the page."""
    match out:
        case str():
            return out
        case Line(text):
            return text
        case Err(code):
            return f"ERR {code} WORDS"
        case Event(seq, verb, rest):
            return f"{verb} {seq} TIME {rest}"
        case Members(lines):
            return ", ".join([*sorted(lines), "END WHO"])
        case Range(since, newest):
            return f"the events after {since}, END HISTORY {newest}"
        case Ping():
            return "PING TOKEN"
    return "the end of the connection"
