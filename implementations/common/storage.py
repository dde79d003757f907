"""The stored form of a group: the events of the transcript, and the text of the member file.

Pure, like the Room. An event is the line that the wire sends. The member file begins with
`# grupo 1 seq N`; then follows one line name:standing:hash for each member. It holds the members
as they were when event N was the last one.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from . import wire
from .errors import DamagedError

HEAD = "# grupo 1 seq "


@dataclass(slots=True)
class Member:
    """A line of the member file."""

    name: str
    standing: str  # member or banned
    phc: str  # the hash of the password, as a PHC string; empty for a banned name


def read_members(text: str) -> tuple[int, dict[str, Member]]:
    """Parses a member file. Returns (seq, {key: Member}). Raises DamagedError."""
    first, *lines = text.split("\n")
    seq = first.removeprefix(HEAD)
    if not first.startswith(HEAD) or not wire.SEQ.fullmatch(seq) or lines[-1:] != [""]:
        raise DamagedError(
            "members: its first line is not `# grupo 1 seq N`, or its last line is cut"
        )
    members: dict[str, Member] = {}
    for number, line in enumerate(lines[:-1], 2):
        name, _, rest = line.partition(":")
        standing, _, phc = rest.partition(":")
        key = wire.fold(name) if wire.clean_name(name) == name else None
        is_member = standing == "member" and phc.startswith("$argon2id$")
        if key is None or key in members or not (is_member or (standing, phc) == ("banned", "")):
            raise DamagedError(
                f"members: line {number} is not name:standing:hash, or its name is there twice"
            )
        members[key] = Member(name, standing, phc)
    return int(seq), members


def members_text(seq: int, members: Mapping[str, Member]) -> str:
    """Returns the text of a member file, which read_members() parses."""
    lines = [f"{member.name}:{member.standing}:{member.phc}\n" for member in members.values()]
    return f"{HEAD}{seq}\n" + "".join(lines)


def format_events(verb: str, first: int, time: str, rests: Iterable[str]) -> str:
    """Returns events with the same verb as lines, numbered from `first`; `rests`: what follows."""
    return "".join([f"{verb} {seq} {time} {rest}\n" for seq, rest in enumerate(rests, first)])


def parse_event(line: str) -> tuple[str, int, str, str]:
    """Parses a stored line without LF. Returns (verb, seq, time, rest). Raises DamagedError."""
    found = EVENT.fullmatch(line)
    if not found or not EVENTS[found[1]](found[4]):
        raise DamagedError(f"transcript: not an event: {line[:60]!r}")
    return found[1], int(found[2]), found[3], found[4]


def is_name(text: str) -> bool:
    """Whether `text` is a member's name in its display form."""
    return wire.clean_name(text) == text


def is_rename(rest: str) -> bool:
    """Whether `rest` is an old name and a new name."""
    return rest.count(" ") == 1 and all(map(is_name, rest.split(" ")))


# What follows the time in each event.
EVENTS: dict[str, Callable[[str], bool]] = {
    "MSG": lambda rest: rest.find(" ") > 0,
    "IN": is_name,
    "OUT": is_name,
    "LEFT": is_name,
    "BANNED": is_name,
    "GROUP": wire.is_group,
    "RENAMED": is_rename,
}
EVENT = re.compile(
    f"({'|'.join(EVENTS)}) ({wire.SEQ.pattern}) ({wire.TIME.pattern}) (.*)", re.ASCII | re.DOTALL
)
