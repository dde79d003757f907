"""Pipes and sockets fill up: where bytes wait for a client that does not read, and what follows."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from harness.driving.messages import template
from harness.tracing.figures import base
from harness.tracing.figures.base import ALARM, DARK, GREY, HELD_UP, INK, OUTBOX, PALE
from harness.tracing.traces import Run
from harness.verdicts.language import say

PIPE = 65536  # bytes that a pipe holds (Linux)
MERGE = 0.002  # seconds; two stretches of backpressure this close are one
# Upwards, then downwards from zero: (words, style).
LAYERS = {
    "memory": (
        template("up: in the server's memory, the outbox"),
        {"facecolor": OUTBOX, "edgecolor": base.GROUND, "hatch": "....", "linewidth": 0},
    ),
    "send": (
        template("down: in the send buffer of the server's socket"),
        {"facecolor": GREY, "linewidth": 0},
    ),
    "receive": (
        template("down: in the receive buffer of the member's socket"),
        {"facecolor": PALE, "linewidth": 0},
    ),
}

Way = tuple[str, str]  # (from, to): names of lanes
Level = tuple[float, int]  # (time, bytes in a pipe)


class Sample(NamedTuple):
    """The bytes that wait for a member, in three places, at one time."""

    at: float
    receive: int  # the receive buffer of the member's socket
    send: int  # the send buffer of the server's socket
    memory: int  # the server's memory

    @property
    def kernel(self) -> int:
        return self.receive + self.send


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
    gone = gone_at(run)
    samples = []
    for at, _, receive, send in run.samples:
        if samples and gone is not None and at > gone:
            break  # nothing waits for a member that was disconnected
        left = sums[bisect_right(times, at)] - sum(count for when, count in read if when <= at)
        samples.append(Sample(at, receive, send, max(0, left - receive - send)))
    return samples


def gone_at(run: Run) -> float | None:
    """Returns when the others learnt that the watched member is gone; None if it never went."""
    who = run.samples[0][1]
    mine = run.history.connections[who].name
    outs = [
        run.entries[event.place].at
        for side in run.history.connections.values()
        if side.who != who
        for event in side.live
        if event.verb == "OUT" and event.rest == mine and run.entries[event.place].at > run.span[0]
    ]
    return min(outs, default=None)


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
            say(
                "{server}: no pipe ever held more than {most} ({from_} to {to}) of {limit} bytes",
                server=run.title,
                most=base.size(most),
                from_=base.lane_name(way[0]),
                to=base.lane_name(way[1]),
                limit=base.local(f"{PIPE:,}"),
            )
        )
    answer = f"{'; '.join(words)}."
    title = say("How full are the pipes?")
    if backlogs:
        title = say("One member does not read: when do the others notice?")
    sheet, rows = base.Sheet(question or title, answer), []
    left = 0.62 if base.is_narrow() else 0.95
    length = max(run.span[1] - run.span[0] for run in runs) * 1e3
    tops = [fact["memory"] / 1024 for fact in facts.values() if isinstance(fact, dict)]
    tops += [(flag(run, "--outbox") or 0) / 1024 for run, _ in backlogs]
    low = max((one.kernel for _, samples in backlogs for one in samples), default=0) / 1024
    for run, samples in backlogs:
        sheet.space(0.42)
        panel = sheet.panel(1.9, left)
        base.head(panel, base.heading(run))
        panel.set_xlim(0, length)
        panel.set_ylim(-low * 1.1 - 1, max(tops) * 1.7)
        rows += draw_backlog(panel, run, samples, base.guess_for(guess, run))
        sheet.space(0.22)
    for run, found in levels:
        sheet.space(0.42)
        panel = sheet.panel(1.6, left)
        base.head(panel, base.heading(run) + say(": its pipes"))
        panel.set_xlim(0, length)
        rows += draw_pipes(panel, run, found)
        sheet.space(0.22)
    panel.set_xlabel(say("milliseconds since the workload began"), fontsize=9)
    sheet.space(0.35)
    if backlogs:
        sheet.legend(legend(), 4)
    caption = say(
        "Bytes on their way to the member that stopped reading. First the kernel's two buffers "
        "fill (down from zero), then the server's memory (up from zero: the limits are about "
        "that). The buffers are the kernel's own figures (/proc/net/tcp), sampled; the memory is "
        "computed from what another member had received. A pipe holds what was written to it less "
        "what was read."
    )
    head = [say("server"), say("what"), say("at ms"), say("memory or pipe")]
    head += [say("send buffer"), say("receive buffer")]
    alt = say("How buffers fill.") + f" {answer}"
    table = base.Table(head, rows)
    return base.Figure(sheet.finish(), caption + base.traced(runs), alt, table, facts)


def facts_of(run: Run, samples: list[Sample]) -> dict[str, float]:
    """Returns the most bytes in memory and in the kernel, and how long others were held up."""
    return {
        "memory": max(sample.memory for sample in samples),
        "kernel": max(sample.kernel for sample in samples),
        "held": sum(end - begin for begin, end in backpressure(run)),
    }


def words_on(run: Run, facts: dict[str, float]) -> str:
    """Returns facts_of() in words."""
    who = run.samples[0][1]
    text = say(
        "{server}: at most {memory} for {who} in the server's memory and {kernel} in the kernel",
        server=run.title,
        memory=base.size(facts["memory"]),
        who=who,
        kernel=base.size(facts["kernel"]),
    )
    if facts["held"]:
        text += ", " + say("the others were held up for {held}", held=base.ms(facts["held"]))
    else:
        text += ", " + say("nobody else was held up")
    gone = run.history.connections[who].over is not None
    return text + (", " + say("then {who} was disconnected", who=who) if gone else "")


def fullest(levels: dict[Way, list[Level]]) -> tuple[Way, int]:
    """Returns the pipe that was fullest, and its most bytes."""
    most = {way: max(level for _, level in line) for way, line in levels.items()}
    way = max(most, key=most.get)
    return way, most[way]


def draw_backlog(panel: Axes, run: Run, samples: list[Sample], guess: Any) -> list[list]:
    """Draws what waits for a member. Returns the table's rows."""
    x = [(sample.at - run.span[0]) * 1e3 for sample in samples]
    gone = gone_at(run)
    last = x[-1] if gone is None else max(x[-1], (gone - run.span[0]) * 1e3)
    ends = [*x, max(last, x[-1] + 1)]  # the last sample needs a width, too

    def layer(name: str, values: list[float], under: list[float]):
        heights = [[*part, part[-1]] for part in (values, under)]
        _, style = LAYERS[name]
        panel.fill_between(ends, *heights, step="post", label=name, **style)

    memory = [one.memory / 1024 for one in samples]
    sent = [-one.send / 1024 for one in samples]
    both = [-one.kernel / 1024 for one in samples]
    layer("memory", memory, [0.0] * len(x))
    layer("send", sent, [0.0] * len(x))
    layer("receive", both, sent)
    panel.axhline(0, color=INK, linewidth=0.8)
    draw_backpressure(panel, run)
    limit = flag(run, "--outbox")
    if limit:
        draw_limit(panel, limit, say("more in the outbox, and unread: disconnected"), "-")
        draw_limit(panel, limit / 2, say("half of it: from here on talkers wait"), ":")
    if run.history.connections[run.samples[0][1]].over is not None:
        panel.axvline(ends[-1], color=INK, linewidth=1.5)
        style = {"fontsize": 9, "fontweight": "bold", "va": "bottom"}
        text = " " + say("disconnected")
        panel.text(ends[-1], 0.02, text, transform=panel.get_xaxis_transform(), **style)
    if base.is_number(guess):
        base.mark_guess(panel, guess, say("your guess: {guess} KiB", guess=base.plain(guess)))
    panel.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    panel.set_ylabel(say("KiB that wait"))
    return [
        [run.title, "backlog", round(at, 2), one.memory, one.send, one.receive]
        for at, one in zip(x, samples, strict=True)
    ]


def draw_backpressure(panel: Axes, run: Run):
    """Draws when the server read nobody, at the top of a panel."""
    length = run.span[1] - run.span[0]
    for begin, end in backpressure(run):
        since, until = (begin - run.span[0]) * 1e3, (end - run.span[0]) * 1e3
        panel.axvspan(since, until, ymin=0.9, color=HELD_UP, linewidth=0)
        if end - begin > (0.3 if base.is_narrow() else 0.1) * length:
            style = {"color": DARK, "fontsize": 8.5, "fontweight": "bold"}
            style |= {"ha": "center", "va": "center", "transform": panel.get_xaxis_transform()}
            panel.text((since + until) / 2, 0.95, say("nobody is read"), **style)


def draw_limit(panel: Axes, limit: float, text: str, line: str):
    """Draws a limit in bytes, with a text."""
    panel.axhline(limit / 1024, color=ALARM, linestyle=line, linewidth=1)
    box = {"facecolor": base.GROUND, "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
    text = f"{text} ({base.size(limit)})"
    base.at_right(panel, limit / 1024, text, fontsize=8, color=ALARM, bbox=box)


def draw_pipes(panel: Axes, run: Run, levels: dict[Way, list[Level]]) -> list[list]:
    """Draws how full each pipe was, the fullest one with its name. Returns the table's rows."""
    rows = []
    way, most = fullest(levels)
    for one, line in levels.items():
        inside = [(at, level) for at, level in line if run.span[0] <= at <= run.span[1]]
        if not inside:
            continue
        x = [(at - run.span[0]) * 1e3 for at, _ in inside]
        y = [max(level, 0.7) for _, level in inside]
        style = {"linewidth": 1.8, "alpha": 1.0} if one == way else {"linewidth": 0.7, "alpha": 0.5}
        panel.step(x, y, where="post", color=base.PIPE, **style)
        for at, (_, level) in zip(x, inside, strict=True):
            rows.append([run.title, f"{one[0]} to {one[1]}", round(at, 3), level, "", ""])
    at = next(at for at, level in levels[way] if level == most)
    text = say(
        "{from_} to {to}: {most}",
        from_=base.lane_name(way[0]),
        to=base.lane_name(way[1]),
        most=base.size(most),
    )
    panel.set_yscale("log")
    panel.set_ylim(0.7, PIPE * 8)
    x = (at - run.span[0]) * 1e3
    is_late = x > 0.5 * panel.get_xlim()[1]
    style = {"fontsize": 8.5, "va": "bottom", "ha": "right" if is_late else "left"}
    panel.annotate(text, (x, most), (0, 1), textcoords="offset points", **style)
    panel.axhline(PIPE, color=ALARM, linewidth=1)
    text = say("a pipe is full: {limit} bytes", limit=base.local(f"{PIPE:,}"))
    base.at_right(panel, PIPE, text, fontsize=8, color=ALARM)
    panel.set_ylabel(say("bytes (log)"))
    panel.minorticks_off()
    return rows


def legend() -> list[Patch]:
    """Returns the handles of the legend of the backlogs."""
    handles = [Patch(label=say(words), **style) for words, style in LAYERS.values()]
    return [*handles, Patch(color=HELD_UP, label=say("backpressure: nobody is read"))]


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
