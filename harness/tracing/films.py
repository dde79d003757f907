"""Makes films of runs, for the player (harness/verdicts/formats/player.py)."""

from collections.abc import Callable
from typing import Any

from harness.driving.messages import shortened
from harness.tracing.figures import base
from harness.tracing.traces import Key, Run
from harness.verdicts.formats.render import cleaned
from harness.verdicts.language import say

Micro = Callable[[float | None], int | None]  # microseconds of the film

MOST_LETTERS = 80  # of a line that a client sent or heard
MOST_LANES = 40  # of clients, and of the server
WRONG = "twice", "out of order", "lost"


class Numbers(dict[str, int]):
    """Numbers texts: {text: its number}."""

    def of(self, text: str) -> int:
        """Returns the number of a text."""
        return self.setdefault(text, len(self))


def film(run: Run) -> dict[str, Any]:
    """Returns the film of a run, from the begin of its workload."""
    begin = run.span[0]

    def micro(at: float | None) -> int | None:
        return None if at is None else round((at - begin) * 1e6)

    people = list(dict.fromkeys(entry.who for entry in run.entries if entry.who != "server"))
    left_out = max(0, len(people) - MOST_LANES) + max(0, len(run.lanes) - MOST_LANES)
    people, workers = people[:MOST_LANES], run.lanes[:MOST_LANES]
    lanes = {who: number for number, who in enumerate(people)}
    servers = {key: len(people) + n for n, lane in enumerate(workers) for key in lane.keys}
    messages = [
        [one.seq, micro(one.said), micro(one.heard), lanes[one.sender], lanes[one.listener]]
        for one in run.deliveries
        if one.sender in lanes and one.listener in lanes and one.listener not in run.groups
    ]
    return {
        "title": base.heading(run),
        "length": max(1, micro(run.span[1])),
        "clients": len(people),
        "lanes": [*map(cleaned, people), *(base.lane_name(cleaned(one.name)) for one in workers)],
        **bars_of(run, servers, micro),
        "lines": [
            [lanes[one.who], micro(one.at), one.what, line(one.text)]
            for one in run.entries
            if one.who in lanes and one.at >= begin
        ],
        "messages": messages,
        "samples": [
            [micro(at), lanes[who], received, unsent]
            for at, who, received, unsent in run.samples
            if who in lanes and at >= begin
        ],
        "wrong": first_wrong(run, lanes, micro),
        "missing": [*map(cleaned, run.missing), *lanes_left_out(left_out)],
    }


def line(text: str) -> str:
    """Returns a line for the table."""
    return cleaned(shortened(text.rstrip("\n"), MOST_LETTERS))


def first_wrong(run: Run, lanes: dict[str, int], micro: Micro) -> list[Any] | None:
    """Returns [at, lane, why] of the first message that came wrong, or None."""
    wrong = [one for one in run.deliveries if one.verdict in WRONG and one.listener in lanes]
    times = [(micro(one.heard if one.heard is not None else one.said) or 0, one) for one in wrong]
    if not times:
        why = cleaned(run.about.get("verdict", ""))
        return [micro(run.span[1]), 0, why] if why else None
    at, one = min(times, key=lambda pair: pair[0])
    why = say(
        "message {number} to {who}: {verdict}",
        number=one.seq,
        who=one.listener,
        verdict=say(one.verdict),
    )
    return [at, lanes[one.listener], cleaned(why)]


def bars_of(run: Run, lanes: dict[Key, int], micro: Micro) -> dict[str, Any]:
    """Returns the bars of a film, and the texts that they number."""
    kinds, about = Numbers(), Numbers()
    bars: list[list[int | None]] = [[], [], [], [], []]
    for one in run.intervals:
        if one.lane in lanes and (one.end is None or one.end >= run.span[0]):
            kind = "crowded" if (one.kind, one.about) == ("wait", "crowded") else one.kind
            who = cleaned(run.names.get(one.about, one.about))
            end = -1 if one.end is None else micro(one.end)
            row = lanes[one.lane], micro(one.begin), end, kinds.of(kind), about.of(who)
            for column, value in zip(bars, row, strict=True):
                column.append(value)
    return {"bars": bars, "kinds": list(kinds), "about": list(about)}


def lanes_left_out(count: int) -> list[str]:
    """Returns a sentence on lanes that are not in the film, if there are any."""
    return [say("{count} more lanes are not shown", count=count)] if count else []
