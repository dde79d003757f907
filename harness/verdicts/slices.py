"""The few entries of a record that show a failure, and which of them is the first wrong one. Pure
functions.

A check says what came in words; which entry of the record that was is found again by its text.
Where that is not certain, no entry is marked.
"""

import re
from collections.abc import Sequence

from harness.driving.history import normalized
from harness.driving.record import DEEDS, Entry
from harness.verdicts.sentences import whole

MOST_SLICE = 40  # entries that are shown if it is not known which is wrong
BEFORE, AFTER = 6, 3  # entries that are shown beside the first wrong one
LOOKED_AT = 20_000  # entries of a record, the last ones, among which the wrong one is looked for
TEXTS = {"hears", "torn", "shows", "warns"}
ENDS = {"ended", "reset"}
POINTER = re.compile(r" *\^( \w[\w ]*)?")
INSTEAD = re.compile(r"(\S+) received(?: [^:]+)?: (.+)")  # what the model says
RECEIVED = re.compile(r"(\S+) (?:.* )?received(?: only)?:?")
GOES_ON = "and the connection stays open"


def shown(
    entries: Sequence[Entry], expected: str, came: str, evidence: Sequence[Entry] = ()
) -> tuple[list[Entry], int | None]:
    """(the entries that show a failure, the place among them of the first wrong one).

    entries: of this run. evidence: those that a check names itself, and then no others are shown.
    The place is None if it is not known, and the number of entries if what is wrong is that nothing
    more came.
    """
    if evidence:
        lines = came.split("\n")
        places = [
            place
            for place, entry in enumerate(evidence)
            if (entry.what in TEXTS and entry.text in lines)
            or (entry.what in ENDS and len(evidence) == 1)
        ]
        return list(evidence), max(places, default=None)
    entries = in_one_piece(entries[-LOOKED_AT:])
    wrong = first_wrong(entries, expected, came)
    if wrong is None or wrong == len(entries):
        found = since_last_deed(entries, wrong)
        return found, None if wrong is None else len(found)
    before = [
        place
        for place in range(wrong)
        if (entries[place].who == entries[wrong].who and entries[place].what in TEXTS)
        or is_telling(entries[place])
    ]
    if deeds := [
        place for place in before if entries[place].what in DEEDS
    ]:  # what it came of, however long ago
        before = sorted({*before[-BEFORE:], deeds[-1]})
    after = [
        place
        for place in range(wrong + 1, len(entries))
        if entries[place].who == entries[wrong].who or entries[place].what in ("warns", "exits")
    ]
    places = [*before[-BEFORE - 1 :], wrong, *after[:AFTER]]
    return [entries[place] for place in places], places.index(wrong)


def in_one_piece(entries: Sequence[Entry]) -> list[Entry]:
    """The entries without those that only close; what a client sends in a row is one."""
    found: list[list[Entry]] = []
    for entry in entries:
        if entry.what == "sends" and found and found[-1][0][1:3] == entry[1:3]:
            found[-1].append(entry)
        elif entry.what != "closes":
            found.append([entry])
    return [
        pieces[0]
        if len(pieces) == 1
        else pieces[0]._replace(text=whole("".join(piece.text for piece in pieces)))
        for pieces in found
    ]


def is_telling(entry: Entry) -> bool:
    """Whether this deed is the check's own, and no fence, and no answer to a PING."""
    return entry.what in DEEDS and not (
        entry.what == "sends" and re.fullmatch(r"(PING fence-|PONG )\S+\n", entry.text)
    )


def since_last_deed(entries: Sequence[Entry], wrong: int | None) -> list[Entry]:
    """From the last deed of a client or the owner on: what came of it, or, if nothing did, what
    came last.
    """
    last = max((place for place, entry in enumerate(entries) if is_telling(entry)), default=0)
    found = list(entries[last : last + MOST_SLICE])
    if wrong is not None:
        found = list(entries[max(0, min(last, len(entries) - BEFORE)) :])[-MOST_SLICE:]
    return found


def first_wrong(entries: Sequence[Entry], expected: str, came: str) -> int | None:
    """The place of the entry that `came` tells of as the first wrong one; len(entries) if something
    is missing at the end.
    """
    lines = came.split("\n")
    if any(
        re.match(r"The server (ended with status|was ended by signal) ", line) for line in lines
    ):
        exits = last_of(entries, lambda entry: entry.what == "exits")
        return first_of(entries, lambda entry: entry.what in ENDS) if exits is None else exits
    pointer = next(
        (place for place, line in enumerate(lines) if place and POINTER.fullmatch(line)), None
    )
    if pointer is not None or POINTER.fullmatch(lines[0]):
        if pointer is None or lines[pointer].endswith("^ nothing more came"):
            return len(entries)
        return where(entries, lines[:pointer])
    if lines[-1] == GOES_ON or re.match(
        r"\S+ (waited |received nothing more for )|for \S+ s no client received what it waits for",
        lines[0],
    ):
        return len(entries)
    who = lines[0].partition(" ")[0]
    if re.match(
        r"\S+ (saw the end of the connection|was disconnected)|the server reset the connection",
        lines[0],
    ):
        return last_of(
            entries, lambda entry: entry.what in ENDS and (entry.who == who or who == "the")
        )
    if re.fullmatch(r"\S+ received nothing before the next PONG", lines[0]):
        return last_of(
            entries,
            lambda entry: (
                entry.who == who and entry.what == "hears" and entry.text.startswith("PONG ")
            ),
        )
    if found := INSTEAD.fullmatch(lines[0]):
        who = found[1] if any(entry.who == found[1] for entry in entries) else None
        return where(entries, [found[2]], who)
    if len(lines) > 1 and RECEIVED.fullmatch(lines[0]):
        wrong = next(
            (place for place, line in enumerate(lines[1:], 1) if not is_asked_for(line, expected)),
            1,
        )
        return where(entries, lines[1 : wrong + 1], who)
    return None


def is_asked_for(line: str, expected: str) -> bool:
    """Whether `expected` names this line, or the code of this ERR."""
    verb, _, rest = line.partition(" ")
    return line in expected or (verb == "ERR" and f"ERR {rest.partition(' ')[0]} " in expected)


def where(entries: Sequence[Entry], lines: list[str], who: str | None = None) -> int | None:
    """The entry that is the last of these lines, which came one after the other; the best match,
    and of several the last.
    """
    if lines[-1] == "the end of the connection":
        return last_of(entries, lambda entry: entry.what in ENDS)
    best, found = 0, None
    for place in (
        place
        for place in range(len(entries) - 1, -1, -1)
        if is_line(entries[place], lines[-1], who)
    ):
        matched = run_length(entries, place, lines)
        if matched > best:
            best, found = matched, place
        if best == len(lines):
            break
    return found


def run_length(entries: Sequence[Entry], place: int, lines: list[str]) -> int:
    """How many of the last `lines` are those that this client heard up to this place."""
    heard = (
        entry
        for entry in reversed(entries[max(0, place - 4 * len(lines) - 50) : place + 1])
        if entry.who == entries[place].who and entry.what in TEXTS
    )
    count = 0
    for entry, line in zip(heard, reversed(lines)):
        if not is_line(entry, line, None):
            break
        count += 1
    return count


def is_line(entry: Entry, line: str, who: str | None) -> bool:
    return (
        entry.what in TEXTS
        and who in (None, entry.who)
        and (entry.text == line or normalized([entry.text])[0] == line)
    )


def first_of(entries: Sequence[Entry], holds) -> int | None:
    return next((place for place, entry in enumerate(entries) if holds(entry)), None)


def last_of(entries: Sequence[Entry], holds) -> int | None:
    return next((place for place in range(len(entries) - 1, -1, -1) if holds(entries[place])), None)
