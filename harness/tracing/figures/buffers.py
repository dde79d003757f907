"""Pipes and sockets fill up: where bytes wait for a client that does not read, and what follows."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY
from harness.tracing.traces import Run

PIPE = 65536  # bytes that a pipe holds (Linux)
MOST_PIPES = 7  # that are drawn, the fullest first
MERGE = 0.002  # seconds; two stretches of backpressure this close are one

Way = tuple[str, str]  # (from, to): names of lanes
Level = tuple[float, int]  # (time, bytes in a pipe)


class Sample(NamedTuple):
    """The bytes that wait for a member, in three places, at one time."""

    at: float
    receive: int  # the receive buffer of the member's socket
    send: int  # the send buffer of the server's socket
    memory: int  # the server's memory

    @property
    def all(self) -> int:
        return self.receive + self.send + self.memory


def pipes(run: Run) -> dict[Way, list[Level]]:
    """Returns the level of each pipe over time: what was written to it less what was read."""
    hub = next((lane.keys[0] for lane in run.lanes if lane.keys[0][2] == "hub"), None)
    changes = defaultdict(list)
    for one in run.of("pipe.write", "pipe.read"):
        if one.end is None or not one.amount or hub is None:
            continue
        by_hub = one.lane == hub
        child = one.about if by_hub else one.lane[2]
        name = f"child of {run.names.get(child, child)}"
        is_write = one.kind == "pipe.write"
        way = ("the hub", name) if is_write == by_hub else (name, "the hub")
        change = (one.begin, one.amount) if is_write else (one.end, -one.amount)
        changes[way].append(change)
    levels = {}
    for way, steps in changes.items():
        level, line = 0, []
        for at, change in sorted(steps):
            level = max(0, level + change)
            line.append((at, level))
        levels[way] = line
    return levels


def backlog(run: Run) -> list[Sample]:
    """Returns the bytes that wait for the watched member; [] if no member was watched.

    The bytes in the server's memory are those that another member has received in the meantime,
    less those that the watched member has read and those in the kernel's buffers.
    """
    if not run.samples:
        return []
    start, who = run.samples[0][:2]
    others = [side for side in run.history.connections.values() if side.welcome and side.who != who]
    other = max(others, key=lambda side: len(side.live), default=None)
    mine = run.history.connections.get(who)
    if other is None or mine is None or mine.welcome is None:
        return []

    def received(events) -> list[tuple[float, int]]:
        timed = ((run.entries[event.place].at, event.line) for event in events)
        return [
            (at, len(line.encode("utf-8", "surrogateescape")) + 1)
            for at, line in timed
            if at >= start
        ]

    outs = [event.seq for event in other.live if event.verb == "OUT" and event.rest == mine.name]
    out = min(outs, default=float("inf"))  # after it the member gets nothing more
    due = received(event for event in other.live if event.seq < out)
    times, sums = [at for at, _ in due], [0]
    for _, count in due:
        sums.append(sums[-1] + count)
    read = received(mine.live)
    samples = []
    for at, _, receive, send in run.samples:
        left = sums[bisect_right(times, at)] - sum(count for when, count in read if when <= at)
        samples.append(Sample(at, receive, send, max(0, left - receive - send)))
    return samples


@base.drawn
def fill(runs: Run | Sequence[Run], question: str | None = None, guess: Any = None) -> base.Figure:
    """Draws the bytes that wait for a member that does not read, in three places, for each run.

    Below, it draws how full the pipes of a run with pipes were.

    guess   KiB that the server keeps for that member, one number or {design: number}

    Raises ValueError if no run has a watched member or a pipe.
    """
    runs = base.several(runs)
    backlogs = [(run, samples) for run in runs if (samples := backlog(run))]
    levels = [(run, found) for run in runs if (found := pipes(run))]
    if not backlogs and not levels:
        raise ValueError(
            "nobody was watched in these runs (the kernel's buffers are sampled on Linux only), "
            "and no pipe is in their traces"
        )
    words, facts = [], {}
    for run, samples in backlogs:
        facts[run.title] = facts_of(run, samples)
        words.append(words_on(run, facts[run.title]))
    for run, found in levels:
        way, most = fullest(found)
        facts[run.title, "pipes"] = most
        words.append(
            f"{run.title}: no pipe ever held more than {base.size(most)} "
            f"({way[0]} to {way[1]}) of {PIPE:,} bytes"
        )
    answer = f"{'; '.join(words)}."
    title = "How full are the pipes?"
    if backlogs:
        title = "One member does not read: when do the others notice?"
    count = len(backlogs) + len(levels)
    figure, top = base.sheet(1.2 + 2.5 * count + 0.9, question or title, answer)
    height, rows = figure.get_size_inches()[1], []
    tall = (height - top - 0.6) / count
    most = max((sample.all for _, samples in backlogs for sample in samples), default=1024) / 1024
    places = iter(range(count - 1, -1, -1))

    def panel_for(run: Run, more: str = "") -> Axes:
        low = 0.95 + next(places) * tall
        panel = figure.add_axes([0.075, low / height, 0.905, (tall - 0.85) / height])
        panel.set_xlim(0, (run.span[1] - run.span[0]) * 1e3)
        panel.set_title(base.heading(run) + more, fontsize=11.5, fontweight="bold", pad=5)
        return panel

    for run, samples in backlogs:
        panel = panel_for(run)
        rows += draw_backlog(panel, run, samples, most, base.guess_for(guess, run))
    for run, found in levels:
        panel = panel_for(run, ": its pipes")
        rows += draw_pipes(panel, run, found)
    panel.set_xlabel("milliseconds since the workload began")
    if backlogs:
        legend(figure)
    caption = (
        "Bytes on their way to the member that stopped reading, stacked: first the receive buffer "
        "of the member's socket fills (on top), then the send buffer of the server's socket, then "
        "the server's memory (at the bottom: the limits are about that). The buffers are the "
        "kernel's own figures (/proc/net/tcp), sampled; the memory is computed from what another "
        "member had received. A pipe holds what was written to it less what was read."
        f"{base.traced(runs)}"
    )
    head = ["server", "what", "at ms", "memory or pipe", "send buffer", "receive buffer"]
    return base.Figure(
        figure, caption, f"How buffers fill. {answer}", base.Table(head, rows), facts
    )


def facts_of(run: Run, samples: list[Sample]) -> dict[str, float]:
    """Returns the most bytes that waited, in all and in memory, and how long others were held."""
    return {
        "peak": max(sample.all for sample in samples),
        "memory": max(sample.memory for sample in samples),
        "held": sum(end - begin for begin, end in backpressure(run)),
    }


def words_on(run: Run, facts: dict[str, float]) -> str:
    """Returns facts_of() in words."""
    who = run.samples[0][1]
    held = "nobody else was held up"
    if facts["held"]:
        held = f"the others were held up for {base.ms(facts['held'])}"
    gone = f", then {who} was disconnected" if run.history.connections[who].over is not None else ""
    return (
        f"{run.title}: up to {base.size(facts['peak'])} waited for {who}, "
        f"{base.size(facts['memory'])} of it in the server's memory; {held}{gone}"
    )


def fullest(levels: dict[Way, list[Level]]) -> tuple[Way, int]:
    """Returns the pipe that was fullest, and its most bytes."""
    most = {way: max(level for _, level in line) for way, line in levels.items()}
    way = max(most, key=most.get)
    return way, most[way]


def draw_backlog(
    panel: Axes, run: Run, samples: list[Sample], most: float, guess: Any
) -> list[list]:
    """Draws what waits for a member. Returns the table's rows. `most`: KiB in any panel."""
    x = [(sample.at - run.span[0]) * 1e3 for sample in samples]
    layers = zip(*((one.memory, one.send, one.receive) for one in samples), strict=True)
    layers = [[count / 1024 for count in layer] for layer in layers]
    colours = (ORANGE, BLUE, SKY)
    stacks = panel.stackplot(x, *layers, colors=colours, linewidth=0, step="post")
    stacks[0].set_hatch("....")
    stacks[0].set_edgecolor("white")
    draw_backpressure(panel, run)
    limit = flag(run, "--outbox")
    if limit:
        text = "limit: a member with more in its outbox that does not read is disconnected"
        draw_limit(panel, limit, text, "-")
        text = "half of it: from here on talkers wait, if this member was reading until now"
        draw_limit(panel, limit / 2, text, ":")
    if run.history.connections[run.samples[0][1]].over is not None:
        panel.axvline(x[-1], color=BLACK, linewidth=1.5)
        style = {"fontsize": 9, "fontweight": "bold", "va": "top"}
        panel.text(x[-1], 0.9, " disconnected", transform=panel.get_xaxis_transform(), **style)
    if isinstance(guess, (int, float)):
        panel.axhline(guess, color=RED, linestyle="--", linewidth=1.4)
        style = {"color": RED, "fontsize": 9, "va": "bottom"}
        text = f"your guess: {guess:g} KiB"
        panel.text(0.002, guess, text, transform=panel.get_yaxis_transform(), **style)
    panel.set_ylim(0, max(most, (limit or 0) / 1024) * 1.35)
    panel.set_ylabel("KiB that wait")
    return [
        [run.title, "backlog", round(at, 2), one.memory, one.send, one.receive]
        for at, one in zip(x, samples, strict=True)
    ]


def draw_backpressure(panel: Axes, run: Run):
    """Draws when the server read nobody, at the top of a panel."""
    length = run.span[1] - run.span[0]
    for begin, end in backpressure(run):
        since, until = (begin - run.span[0]) * 1e3, (end - run.span[0]) * 1e3
        panel.axvspan(since, until, ymin=0.93, color=RED, linewidth=0)
        if end - begin > 0.05 * length:
            style = {"color": "white", "fontsize": 8.5, "fontweight": "bold"}
            style |= {"ha": "center", "va": "center", "transform": panel.get_xaxis_transform()}
            panel.text((since + until) / 2, 0.965, "nobody is read", **style)


def draw_limit(panel: Axes, limit: float, text: str, line: str):
    """Draws a limit in bytes, with a text."""
    panel.axhline(limit / 1024, color=RED, linestyle=line, linewidth=1)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
    text = f"{text} ({base.size(limit)})"
    base.at_right(panel, limit / 1024, text, fontsize=8, color=RED, bbox=box)


def draw_pipes(panel: Axes, run: Run, levels: dict[Way, list[Level]]) -> list[list]:
    """Draws how full pipes were. Returns the table's rows."""
    rows = []
    fullest_first = sorted(levels.items(), key=lambda pair: -max(level for _, level in pair[1]))
    shades = cycle([BLUE, RED, GREEN, ORANGE, PINK, SKY, BLACK])
    for shade, (way, line) in zip(shades, fullest_first[:MOST_PIPES], strict=False):
        inside = [(at, level) for at, level in line if run.span[0] <= at <= run.span[1]]
        if not inside:
            continue
        name = f"{way[0]} to {way[1]}"
        x = [(at - run.span[0]) * 1e3 for at, _ in inside]
        y = [max(level, 0.7) for _, level in inside]
        label = f"{name}: at most {base.size(max(level for _, level in inside))}"
        panel.step(x, y, where="post", color=shade, linewidth=1.2, label=label)
        for at, (_, level) in zip(x, inside, strict=True):
            rows.append([run.title, name, round(at, 3), level, "", ""])
    panel.axhline(PIPE, color=RED, linewidth=1)
    text = f"a pipe is full: {PIPE:,} bytes; its writer waits"
    base.at_right(panel, PIPE, text, fontsize=8, color=RED)
    panel.set_yscale("log")
    panel.set_ylim(0.7, PIPE * 4)
    panel.set_ylabel("bytes in a pipe (log)")
    panel.legend(loc="upper left", fontsize=7.5, ncols=3, frameon=False)
    return rows


def legend(figure: base.Drawing):
    """Draws the legend of the backlogs."""
    memory = "in the server's memory: the outbox (the limits are about this)"
    handles = [
        Patch(color=SKY, label="in the member's receive buffer"),
        Patch(color=BLUE, label="in the server's send buffer"),
        Patch(facecolor=ORANGE, edgecolor="white", hatch="....", label=memory),
        Patch(color=RED, label="backpressure: nobody is read"),
    ]
    style = {"loc": "lower left", "bbox_to_anchor": (0.01, 0.0), "ncols": 4}
    figure.legend(handles=handles, frameon=False, fontsize=9, **style)


def flag(run: Run, name: str) -> int | None:
    """Returns the number that a run's server got with the flag `name`, or None."""
    flags = run.about.get("flags", [])
    return int(flags[flags.index(name) + 1]) if name in flags[:-1] else None


def backpressure(run: Run) -> list[tuple[float, float]]:
    """Returns the (begin, end) in which the server read nobody, because an outbox was too full."""
    spans = [(one.begin, run.end_of(one)) for one in run.of("wait") if one.about == "crowded"]
    return joined(spans)


def joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the spans, with those joined that overlap or are less than MERGE apart."""
    found = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1] + MERGE:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found
