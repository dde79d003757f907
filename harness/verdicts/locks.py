"""Which thread or process held which lock, and for how long: read from what a server under check
wrote with `--trace DIR`.

Of each line, a JSON object, only the begin and the end of waiting for a lock and of holding it are
read, as in

    {"t": ns of CLOCK_MONOTONIC, "p": 7, "th": 9, "a": actor, "e": "B.lock.hold", "o": lock}

where p is the process and th the thread. A program under check may write anything there, so no
verdict depends on it: it is shown, no more. A line that cannot be read is passed over, no link is
followed, and of a long file the end is read.
"""

import itertools
import json
import os
import stat
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from harness.driving.messages import msg
from harness.driving.record import Entry

MOST_BYTES = 64 << 20  # that are read of a file
KINDS = {"lock.hold": "holds", "lock.wait": "waits"}
MOST_SHOWN = 4  # spans between two events of a failure; the others are counted
SHORT_WAIT = 0.001  # seconds; a wait that was shorter is not shown


class Span(NamedTuple):
    """A thread held a lock, or waited for it (`what`), from `at` on, on the clock of the record.

    `seconds` is None if the trace shows no end of it. `who`: a thread or a process, in words. Where
    `more` is not 0, it replaces so many more spans, which took `seconds` together.
    """

    at: float
    who: str
    what: str
    lock: str
    seconds: float | None
    more: int = 0


def read(folder: str | os.PathLike, began: float, names: Mapping[str, str]) -> list[Span]:
    """All spans of the traces in this folder, by their begin.

    `began`: when the record began (time.monotonic()); `names`: {a client's address: its name}.
    """
    found: list[Span] = []
    if os.path.islink(folder):
        return found
    for path in sorted(Path(folder).glob("*.jsonl")):
        found += spans(events(path), began, names)
    return sorted(found, key=lambda span: span.at)


def of_server(server) -> list[Span]:
    """The spans of a server.Server that was started with --trace, by us or by its own command line;
    [] of another.
    """
    command = getattr(server, "command", [])
    named = (to for word, to in itertools.pairwise(command) if word == "--trace")
    folder = getattr(server, "trace", None) or next(named, None)
    return read(folder, server.record.began, server.record.addresses) if folder else []


def events(path: Path) -> list[dict]:
    """The events about locks in this file, in its order."""
    found = []
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return []
            file.seek(max(0, os.fstat(descriptor).st_size - MOST_BYTES))
            for line in file.read(MOST_BYTES).split(b"\n"):
                if b"lock." in line:
                    with suppress(ValueError, RecursionError):
                        found.append(json.loads(line))
    return [event for event in found if is_event(event)]


def is_event(event: object) -> bool:
    """Whether this is the begin or the end of a span."""
    return (
        isinstance(event, dict)
        and all(type(event.get(key)) is int for key in ("t", "p", "th"))
        and all(isinstance(event.get(key), str) for key in ("a", "e", "o"))
        and event["e"][:2] in ("B.", "E.")
        and event["e"][2:] in KINDS
    )


def spans(found: Sequence[dict], began: float, names: Mapping[str, str]) -> list[Span]:
    """Each begin with the next end of its thread, its kind and its lock."""
    begun: dict[tuple, list[dict]] = {}
    made = []
    for event in found:
        key = event["p"], event["th"], event["e"][2:], event["o"]
        if event["e"].startswith("B."):
            begun.setdefault(key, []).append(event)
        elif begun.get(key):
            first = begun[key].pop()
            made.append(span(first, (event["t"] - first["t"]) / 1e9, began, names))
    made += [span(event, None, began, names) for left in begun.values() for event in left]
    return made


def span(event: dict, seconds: float | None, began: float, names: Mapping[str, str]) -> Span:
    """The Span that begins with this event."""
    what = KINDS[event["e"][2:]]
    return Span(event["t"] / 1e9 - began, acting(event, names), what, event["o"], seconds)


def acting(event: dict, names: Mapping[str, str]) -> str:
    """Names the actor: a client's thread or process by the client, another by its own name."""
    name = event["a"]
    if (who := names.get(name)) is None:
        return msg("the thread `{name}`", name=name)
    if event["p"] == event["th"]:
        return msg("the process of {who}", who=who)
    return msg("the thread of {who}", who=who)


def between(found: Sequence[Span], entries: Sequence[Entry], wrong: int | None) -> list[Span]:
    """What is to be shown between these events, by time: of each pause the spans that tell most.

    Before the first event, only what went on when it happened. After the last, all that began, if
    nothing more came (`wrong`, the place of the first wrong event, is behind the last): else none.
    """
    shown = []
    holders = {one.who for one in found if one.what == "holds" and one.seconds is None}
    for place in range(len(entries) + (wrong == len(entries)) if entries else 0):
        after = entries[place - 1].at if place else float("-inf")
        before = entries[place].at if place < len(entries) else float("inf")
        there = [one for one in found if after <= one.at < before and is_telling(one)]
        if not place:
            there = [one for one in there if one.seconds is None or one.at + one.seconds >= before]
        most = sorted(there, key=lambda one: order_of_telling(one, holders))
        kept = set(map(id, most if len(most) == MOST_SHOWN + 1 else most[:MOST_SHOWN]))
        shown += [one for one in there if id(one) in kept]
        if rest := [one for one in there if id(one) not in kept]:
            took = sum(one.seconds or 0 for one in rest)
            shown.append(Span(there[-1].at, "", "more", "", took, len(rest)))
    return sorted(shown, key=lambda one: one.at)


def order_of_telling(one: Span, holders: Set[str]) -> tuple:
    """Sorts what tells most to the front: a lock that is not released, a wait of its holder for
    another one, any other wait without an end; then what took longest.
    """
    if one.seconds is None:
        return 0, one.what == "waits", one.who not in holders
    return 1, -one.seconds


def is_telling(one: Span) -> bool:
    """Whether it is worth a line: a lock was held, or a thread waited for one for long."""
    return one.what == "holds" or one.seconds is None or one.seconds >= SHORT_WAIT
