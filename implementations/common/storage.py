"""What is kept of a group, as text: the events of the transcript, and the member file. Pure, like the Room that they are kept for.

An event is the line that the wire sends. The member file is `# grupo 1 seq N`, then a line name:standing:hash for each: the
members as they were when event N was the last.
"""
import re
from dataclasses import dataclass

from . import wire


class DamagedError(Exception):
    """The kept events or members contradict themselves; the text says where."""


@dataclass
class Member:
    name: str
    standing: str       # member or banned
    phc: str            # the hash of his password; empty for the banned


def read_members(text):
    """The text of a member file as (seq, {key: Member}). Raises Damaged."""
    first, *lines = text.split("\n")
    if not first.startswith("# grupo 1 seq ") or not wire.SEQ.fullmatch(first[14:]) or lines[-1:] != [""]:
        raise DamagedError("members: its first line is not `# grupo 1 seq N`, or its last line is cut")
    members = {}
    for number, line in enumerate(lines[:-1], 2):
        name, _, rest = line.partition(":")
        standing, _, phc = rest.partition(":")
        key = wire.fold(name) if wire.clean_name(name) == name else None
        if key is None or key in members or \
                not (standing == "member" and phc.startswith("$argon2id$") or (standing, phc) == ("banned", "")):
            raise DamagedError(f"members: line {number} is not name:standing:hash, or its name stands twice")
        members[key] = Member(name, standing, phc)
    return int(first[14:]), members


def members_text(seq, members):
    """What read_members reads."""
    lines = [f"{member.name}:{member.standing}:{member.phc}\n" for member in members.values()]
    return f"# grupo 1 seq {seq}\n" + "".join(lines)


def parse_event(line):
    """A kept line, a str without its LF, as (verb, seq, time, rest). Raises Damaged."""
    found = EVENT.fullmatch(line)
    if not found or not EVENTS[found[1]](found[4]):
        raise DamagedError(f"transcript: not an event: {line[:60]!r}")
    return found[1], int(found[2]), found[3], found[4]


def is_name(text):
    return wire.clean_name(text) == text


# What follows the time in each event.
EVENTS = {"MSG": lambda rest: rest.find(" ") > 0, "IN": is_name, "OUT": is_name, "LEFT": is_name, "BANNED": is_name,
          "GROUP": wire.is_group, "RENAMED": lambda rest: rest.count(" ") == 1 and all(map(is_name, rest.split(" ")))}
EVENT = re.compile(f"({'|'.join(EVENTS)}) ({wire.SEQ.pattern}) ({wire.TIME.pattern}) (.*)", re.ASCII | re.DOTALL)
