"""Swimlanes on one workload: what each actor of a server does when, and which clients wait."""

import random
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.driving.messages import template
from harness.tracing.figures import base, buffers
from harness.tracing.figures.base import ALARM, DARK, GREY, GROUND, HOLD_LOCK, INK, PALE
from harness.tracing.traces import LATE, Delivery, Interval, Lane, Run, awake
from harness.verdicts.language import say

# kind: (colour, height, words). A later one is drawn above an earlier one.
BARS = {
    "awake": (GREY, 0.30, template("runs its own code, or wants to")),
    "lock.wait": (base.WAIT_LOCK, 0.62, template("waits for the lock")),
    "pipe": (base.PIPE, 0.44, template("reads or writes a pipe")),
    "crowded": (base.HELD_UP, 0.74, template("backpressure: nobody is read")),
    "send": (base.SEND, 0.56, template("sends to clients")),
    "disk": (base.DISK, 0.40, template("writes to disk")),
    "fork": (base.FORK, 0.50, template("forks a child")),
    "hash": (base.HASH, 0.62, template("hashes a password: long, and pure processor")),
}
# kind of an interval: kind of its bar
KIND = {
    "lock.wait": "lock.wait",
    "pipe.write": "pipe",
    "pipe.read": "pipe",
    "send": "send",
    "keep": "disk",
    "save": "disk",
    "fork": "fork",
    "hash": "hash",
}
# Written on bars that are long enough: (words, colour).
ON_BAR = {
    "hash": (template("hash"), "#fffffe"),
    "lock.wait": (template("waits"), DARK),
    "crowded": (template("backpressure"), DARK),
}
LETTER = 0.066  # inches of a letter on a bar
QUESTIONS = {
    "calm": template("Calm talk: what does each server do, and when?"),
    "everyone-at-once": template("Everyone talks at once: where does the work pile up?"),
    "one-expensive-request": template("One request is expensive: who else has to wait?"),
    "a-member-who-stops-reading": template("One member stops reading: who else has to wait?"),
    "password-storm": template("Strangers guess passwords: who else has to wait?"),
    "half-a-line": template("One client sends half a line: who else has to wait?"),
    "mass-arrival-and-departure": template("Sixteen come and go at once: who else has to wait?"),
}
QUESTION = template("What does each server do, and who waits for it?")
GROUPS = {
    "joins: a password is hashed": template("a client that joins: a password is hashed"),
    "stops reading": template("a client that stops reading"),
    "guesses passwords": template("a client that guesses passwords"),
    "sends half a line": template("a client that sends half a line"),
    "comes and goes": template("a client that comes and goes"),
}
MOST_LIKE = 3  # lanes of one group, such as strangers, that are drawn
LANE = 0.30  # inches
# Seconds that are shown: of a run without special clients; around what the title asks; at most.
CALM, AROUND, MOST = 0.06, 0.015, 0.25
UNREAD = {"facecolor": "none", "edgecolor": GREY, "hatch": "//////", "linewidth": 0.0}
LEAST_LATENCY = 5e-5  # seconds: the left end of the strips, where faster deliveries are drawn

Span = tuple[float, float]


def ordinary(run: Run) -> list[Delivery]:
    """Returns the deliveries to members that do nothing special in the workload."""
    return [
        one for one in run.deliveries if one.listener not in run.groups and one.verdict != "lost"
    ]


@base.drawn
def swimlanes(
    runs: Run | Sequence[Run],
    question: str | None = None,
    guess: Any = None,
    window: Span | None = None,
) -> base.Figure:
    """Draws a panel for each run: its lanes over time, and the latency of each delivery.

    guess   the title of the run whose members wait most, or a number of late deliveries, or
            {design: number}
    window  (begin, end) in seconds since the workload began; without it, what the workload is
            about
    """
    runs = base.several(runs)
    window = window or focus(runs)
    spans = [(run.span[0] + window[0], run.span[0] + window[1]) for run in runs]
    lanes = [lanes_shown(run, *span) for run, span in zip(runs, spans, strict=True)]
    facts = {run.title: latency(run) for run in runs}
    answer = answer_for(runs, facts, guess)
    sheet = base.Sheet(question or say(QUESTIONS.get(runs[0].workload, QUESTION)), answer)
    narrow, rows, strips = base.is_narrow(), [], []
    left = margin(runs, lanes)
    right = sheet.width - 0.15 if narrow else 9.6
    for run, span, (shown, left_out) in zip(runs, spans, lanes, strict=True):
        is_last = run is runs[-1]
        tall = LANE * (max(len(shown), 1) + 1.2)
        told = words_on_guess(guess, run)
        sheet.space(0.62 if narrow else 0.52 if told else 0.36)
        beside = [] if narrow else [(10.0, sheet.width - 0.2)]
        panel, *strip = sheet.panels(tall, (left, right), *beside)
        base.head(panel, base.heading(run), base.card(run), at=(1.2 - left) / (right - left))
        rows += LanePanel(panel, run, span, right - left).draw(shown, left_out)
        panel.set_xlim(window[0] * 1e3, window[1] * 1e3)
        if narrow:
            sheet.space(1.02 if told else 0.85)
            strip = sheet.panels(0.6, (0.2, right))
            sheet.space(0.3)
        latency_strip(strip[0], run, facts[run.title], told)
        strips.append(strip[0])
        panel.tick_params(labelbottom=is_last or narrow)
        strip[0].tick_params(labelbottom=is_last or narrow)
        if is_last or narrow:
            panel.set_xlabel(say("milliseconds since the workload began"), fontsize=9)
        if is_last:
            strip[0].set_xlabel(say("from SAY to its receipt, ms (log)"), fontsize=9)
    same_scale(strips, facts)
    sheet.space(0.6 if not narrow else 0.3)
    sheet.legend(legend(runs, spans), 4)
    names = base.listed([run.title for run in runs])
    counts = {run.title: len(shown) for run, (shown, _) in zip(runs, lanes, strict=True)}
    words = [say(words) for _, _, words in BARS.values()]
    workload = runs[0].workload or say("of these runs")
    alt = say("Swimlanes of {names} on the workload {workload}.", names=names, workload=workload)
    return base.Figure(
        sheet.finish(),
        caption_of(runs, window),
        f"{alt} {answer}",
        base.Table([say("server"), say("lane"), *words, say("holds the lock")], rows),
        {**facts, "lanes": counts, "window": window},
    )


def focus(runs: Sequence[Run]) -> Span:
    """Returns the (begin, end) that shows what the title asks, in seconds since the beginning.

    That is where a special client acts or the server holds the others up; without these, the first
    part of the run.
    """
    begins, ends = [], []
    longest = max(run.span[1] - run.span[0] for run in runs)
    for run in runs:
        held = [one for one in run.of("wait") if one.about == "crowded" and one.begin > run.span[0]]
        acts = [] if held else [entry.at for entry in run.entries if is_special(run, entry)]
        hashes = [one for one in run.of("hash") if run.span[0] <= one.begin <= run.span[1]]
        about = held or hashes
        starts = acts[:1] + [one.begin for one in about]
        stops = acts + [run.end_of(one) for one in about]
        if starts:
            begins.append(min(starts) - run.span[0])
            most = longest if held else MOST
            ends.append(min(max(stops) - run.span[0], begins[-1] + most))
    if not begins:
        return 0.0, min(longest, CALM)
    return max(0.0, min(begins) - AROUND), min(longest, max(ends) + AROUND)


def is_special(run: Run, entry: Any) -> bool:
    """Whether in this entry of the record a special client sends something."""
    return entry.who in run.groups and entry.what == "sends" and entry.at >= run.span[0]


def caption_of(runs: list[Run], window: Span) -> str:
    """Returns the caption."""
    about = base.about(runs[0])
    longest = max(run.span[1] - run.span[0] for run in runs)
    part = say(
        "The lanes show {begin} to {end} of {whole} ms; the numbers and the dots are of the whole "
        "run.",
        begin=round(window[0] * 1e3),
        end=round(window[1] * 1e3),
        whole=round(longest * 1e3),
    )
    text = say(
        "Time runs to the right. All panels have the same scale, and servers and clients have one "
        "clock (CLOCK_MONOTONIC). A triangle is a piece that a client sent; the hatched band shows "
        "how long it was unread. Bars shorter than {least} of the width are drawn that wide. Each "
        "dot is one message that one member received; right of the dotted line it is late (over "
        "{late} ms).",
        least=base.local(f"{base.LEAST:.2%}"),
        late=f"{LATE * 1e3:.0f}",
    )
    return f"{about} {part} {text}{base.traced(runs)}".strip()


def latency(run: Run) -> dict[str, Any]:
    """Returns counts of a run's ordinary deliveries, and their latencies in seconds."""
    latencies = [one.latency for one in ordinary(run) if one.latency is not None]
    to_members = [one for one in run.deliveries if one.listener not in run.groups]
    return {
        "deliveries": len(latencies),
        "late": sum(value > LATE for value in latencies),
        "median": statistics.median(latencies) if latencies else None,
        "longest": max(latencies, default=None),
        "lost": sum(one.verdict == "lost" for one in to_members),
    }


def answer_for(runs: list[Run], facts: dict[str, dict], guess: Any) -> str:
    """Returns the answer in words: how many deliveries were late, on which server."""
    known = [run for run in runs if facts[run.title]["deliveries"]]
    if not known:
        return say("What clients heard is not known here.")
    share = {run.title: facts[run.title]["late"] / facts[run.title]["deliveries"] for run in known}
    longest = {run.title: facts[run.title]["longest"] for run in known}
    late = f"{LATE * 1e3:.0f}"
    if any(share.values()):
        order = sorted(known, key=lambda run: -share[run.title])
        worst = order[0]
        parts = [
            say(
                "{server} {late} of {all}",
                server=run.title,
                late=facts[run.title]["late"],
                all=facts[run.title]["deliveries"],
            )
            for run in order
        ]
        slowest = base.listed([f"{base.ms(longest[run.title])} ({run.title})" for run in order])
        text = say(
            "Late (over {limit} ms): {late}. The slowest took {slowest}.",
            limit=late,
            late="; ".join(parts),
            slowest=slowest,
        )
    else:
        worst = max(known, key=lambda run: longest[run.title])
        text = say(
            "Nobody waits long: no ordinary message took more than {limit} ms; the slowest took "
            "{took} ({server}).",
            limit=late,
            took=base.ms(longest[worst.title]),
            server=worst.title,
        )
    if isinstance(guess, str):
        right = guess in (worst.title, worst.design)
        text += " " + (
            say("You guessed {guess}: right.", guess=guess)
            if right
            else say("You guessed {guess}: it was {answer}.", guess=guess, answer=worst.title)
        )
    return text


def words_on_guess(guess: Any, run: Run) -> str | None:
    """Returns the words on a run's panel about the guess."""
    guess = base.guess_for(guess, run)
    if isinstance(guess, str):
        mine = guess in (run.title, run.design)
        return say("your guess: here they wait most") if mine else None
    return None if guess is None else say("your guess: {guess} late", guess=guess)


def lanes_shown(run: Run, begin: float, end: float) -> tuple[list[Lane], list[str]]:
    """Returns (the lanes that are drawn, sentences on those that are left out)."""
    busy = {
        one.lane
        for one in run.intervals
        if one.begin < end
        and (one.end is None or one.end > begin)
        and one.kind in KIND
        and one.kind != "pipe.read"
    }
    shown, counts, left = [], {}, {}
    for lane in run.lanes:
        group = run.groups.get(lane.member)
        is_main = lane.keys[0][2] in ("loop", "hub")
        if lane.member is None and not is_main and not busy & set(lane.keys):
            continue
        counts[group] = counts.get(group, 0) + 1
        if group and counts[group] > MOST_LIKE:
            left[group] = left.get(group, 0) + 1
        else:
            shown.append(lane)
    return shown, [
        say("and {count} more: {who}", count=count, who=group_name(group))
        for group, count in left.items()
    ]


def name_of(run: Run, lane: Lane) -> str:
    """Returns the name at a lane; that of a special client ends with a `!`."""
    return base.lane_name(lane.name) + " !" * (lane.member in run.groups)


def margin(runs: list[Run], lanes: Sequence[tuple[list[Lane], list[str]]]) -> float:
    """Returns the inches left of the panels, which the longest name of a lane needs."""
    names = [
        name_of(run, lane) for run, (shown, _) in zip(runs, lanes, strict=True) for lane in shown
    ]
    longest = max(map(len, names), default=0)
    if base.is_narrow():
        return max(1.2, 0.2 + longest * 0.07)
    return max(1.62, 0.2 + longest * 0.08)


def group_name(group: str) -> str:
    """Returns what the clients of a group do, in words."""
    return say(GROUPS[group]) if group in GROUPS else say("a client that {does}", does=group)


class LanePanel:
    """The panel of one run, `wide` inches: its lanes in the span that is shown.

    x is in milliseconds of the run.
    """

    def __init__(self, panel: Axes, run: Run, span: Span, wide: float):
        self.panel, self.run, self.wide = panel, run, wide
        self.begin, self.end = span
        self.length = self.end - self.begin
        self.small = 8 if base.is_narrow() else 9

    def x(self, at: float) -> float:
        """The place of a time on the panel."""
        return (at - self.run.span[0]) * 1e3

    def draw(self, lanes: list[Lane], left_out: list[str]) -> list[list]:
        """Draws the panel. Returns the table's rows, in milliseconds."""
        rows, heights = [], {}
        for number, lane in enumerate(lanes):
            rows.append(self.lane(lane, -number))
            heights.update(dict.fromkeys(lane.keys, -number))
        self.unread(heights)
        self.sends()
        self.labels(lanes)
        panel = self.panel
        bottom = -max(len(lanes), 1) + 0.3
        if not lanes:
            text = say("what happened inside is not known: there is no trace")
            style = {"ha": "center", "color": GREY, "style": "italic", "wrap": True}
            panel.text(0.5, 0.3, text, transform=panel.transAxes, **style)
        if left_out:
            style = {"fontsize": self.small - 0.7, "style": "italic", "color": GREY, "va": "center"}
            style["bbox"] = {"facecolor": GROUND, "edgecolor": "none", "pad": 0.5}
            place = panel.get_yaxis_transform()
            text = "; ".join(left_out)
            panel.text(0.004, bottom + 0.1, text, transform=place, zorder=30, **style)
        panel.set_ylim(bottom - 0.25, 1.5)
        return rows

    def within(self, spans: Sequence[Span]) -> list[Span]:
        """Returns the parts of the spans that are drawn."""
        return [
            (max(since, self.begin), min(until, self.end))
            for since, until in spans
            if until > self.begin and since < self.end
        ]

    def bars(self, spans: Sequence[Span], y: float, tall: float, **style):
        """Draws spans as bars, none of them too narrow to see."""
        least = self.length * base.LEAST * (2 if base.is_narrow() else 1)
        drawn = union([(since, max(until, since + least)) for since, until in spans])
        wide = [(self.x(since), (until - since) * 1e3) for since, until in drawn]
        self.panel.broken_barh(wide, (y, tall), **style)

    def lane(self, lane: Lane, y: float) -> list:
        """Draws one lane. Returns its row of the table."""
        run, panel = self.run, self.panel
        mine = [one for key in lane.keys for one in run.intervals_of[key]]
        times = [event.at for key in lane.keys for event in run.events_of[key]]
        last = self.end if any(one.end is None for one in mine) else 0
        for since, until in self.within([(min(times), max(max(times), last))]):
            x = [self.x(since), self.x(until)]
            panel.plot(x, [y, y], color=PALE, linewidth=2, solid_capstyle="butt", zorder=1)
        spans_of = {"awake": self.within(awake(run, lane))}
        for one in mine:
            if kind := self.bar_of(one):
                spans = self.within([(one.begin, run.end_of(one))])
                spans_of.setdefault(kind, []).extend(spans)
        total = {}
        for level, (kind, (shade, tall, _)) in enumerate(BARS.items()):
            spans = spans_of.get(kind, [])
            total[kind] = sum(until - since for since, until in spans) * 1e3
            style = {"facecolor": shade, "linewidth": 0, "zorder": 3 + level}
            if spans:
                self.bars(spans, y - tall / 2, tall, **style)
            if kind == "crowded":  # to look again whether there is room is still the same wait
                spans = buffers.joined(spans)
            for span in spans if kind in ON_BAR else ():
                self.text_on_bar(kind, span, y)
        holds = self.within(
            [(one.begin, run.end_of(one)) for one in mine if one.kind == "lock.hold"]
        )
        if holds:
            style = {"facecolor": "none", "edgecolor": HOLD_LOCK, "linewidth": 1.3, "zorder": 2.5}
            self.bars(holds, y - 0.44, 0.88, **style)
        held = round(sum(until - since for since, until in holds) * 1e3, 3)
        return [run.title, lane.name, *(round(total[kind], 3) for kind in BARS), held]

    def bar_of(self, one: Interval) -> str | None:
        """Returns the kind of an interval's bar, or None if it has none."""
        if (one.kind, one.about) == ("wait", "crowded"):
            return "crowded"
        # A child that reads its pipe waits for an answer.
        if one.kind == "pipe.read" and self.run.design == "fork" and one.lane[2] != "hub":
            return None
        return KIND.get(one.kind)

    def text_on_bar(self, kind: str, span: Span, y: float):
        """Writes what a bar is and how long, if it is long enough."""
        since, until = span
        words, colour = ON_BAR[kind]
        text = f"{say(words)} {base.ms(until - since)}"
        if (until - since) / self.length * self.wide > LETTER * len(text):
            style = {"ha": "center", "va": "center", "fontsize": 7.5, "color": colour}
            middle = self.x((since + until) / 2)
            self.panel.text(middle, y - 0.03, text, zorder=20, clip_on=True, **style)

    def unread(self, heights: dict):
        """Draws how long bytes were unread. `heights`: {key of a lane: its y}."""
        spans_at = {}
        for key, sent, read, _ in self.run.wakes():
            if key in heights:
                spans_at.setdefault(heights[key], []).append((sent, read))
        for y, spans in spans_at.items():
            self.bars(union(self.within(spans)), y - 0.44, 0.22, **UNREAD, zorder=2)

    def sends(self):
        """Draws a triangle for each piece that a client sent; a larger one if it is special."""
        marks = {False: [], True: []}
        for entry in self.run.entries:
            if entry.what == "sends" and self.begin <= entry.at <= self.end:
                marks[entry.who in self.run.groups].append(self.x(entry.at))
        special = {"markersize": 8, "markerfacecolor": GROUND, "markeredgewidth": 1.4}
        for is_special, style in (False, {"markersize": 4}), (True, special):
            x = marks[is_special]
            y = [1] * len(x)
            self.panel.plot(x, y, "v", color=INK, linestyle="none", clip_on=False, **style)

    def labels(self, lanes: list[Lane]):
        """Writes the lanes' names; those of special clients bold, with a `!`."""
        panel, groups = self.panel, self.run.groups
        names = [name_of(self.run, lane) for lane in lanes]
        ticks = [1, *(-number for number in range(len(lanes)))]
        panel.set_yticks(ticks, [say("clients send"), *names], fontsize=self.small)
        for label, lane in zip(panel.get_yticklabels()[1:], lanes, strict=True):
            if lane.member in groups:
                label.set_fontweight("bold")
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)


def union(spans: Sequence[Span]) -> list[Span]:
    """Returns the same stretches of time, with overlapping ones joined."""
    joined = []
    for since, until in sorted(spans):
        if joined and since <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(until, joined[-1][1])
        else:
            joined.append((since, until))
    return joined


def latency_strip(strip: Axes, run: Run, fact: dict[str, Any], guess: str | None):
    """Draws the latency of each ordinary delivery. `fact`: as latency() returns it."""
    timed = [one for one in ordinary(run) if one.latency is not None]
    chance = random.Random(0)
    alpha = 0.5 if len(timed) < 800 else 0.2
    for late, marker, shade, width in (False, "o", GREY, 3), (True, "^", ALARM, 4.5):
        mine = [one.latency for one in timed if (one.latency > LATE) == late]
        values = [max(value, LEAST_LATENCY) * 1e3 for value in mine]
        y = [chance.uniform(0.06, 0.94) for _ in values]
        style = {"linestyle": "none", "markeredgewidth": 0, "alpha": alpha, "markersize": width}
        if len(timed) > base.MANY:
            style |= {"rasterized": True, "color": ALARM if late else base.MIDDLE}
        name = "late" if late else "in time"
        strip.plot(values, y, marker, label=name, clip_on=False, **{"color": shade, **style})
    strip.axvline(LATE * 1e3, color=GREY, linestyle=":", linewidth=1)
    strip.set_xscale("log")
    strip.set_ylim(0, 1)
    strip.set_yticks([])
    strip.spines["left"].set_visible(False)
    words = say("no deliveries are known")
    if fact["deliveries"]:
        words = say(
            "{late} of {all} late; median {median}",
            late=fact["late"],
            all=fact["deliveries"],
            median=base.ms(fact["median"]),
        )
    weight = "bold" if fact["late"] else "normal"
    shade = ALARM if fact["late"] else INK
    above = 13 if guess else 0
    strip.set_title(words, fontsize=9.5, color=shade, fontweight=weight, pad=5 + above)
    if guess:
        style = {"transform": strip.transAxes, "color": base.GUESS, "fontsize": 9.5}
        strip.text(0, 1.0, guess, va="bottom", **style)


def same_scale(strips: Sequence[Axes], facts: dict[str, dict]):
    """Gives the strips one axis, which holds every delivery."""
    most = max([fact["longest"] or 0 for fact in facts.values()] + [0.9])
    for strip in strips:
        strip.set_xlim(LEAST_LATENCY * 1e3, most * 1.2e3)
        strip.set_xticks([0.1, 1, 10, 100, 1000], ["0.1", "1", "10", "100", "1000"], fontsize=9)
        strip.minorticks_off()


def legend(runs: list[Run], spans: Sequence[Span]) -> list[Any]:
    """Returns the handles of the legend: only what is in the panels."""
    shown = [
        one
        for run, (begin, end) in zip(runs, spans, strict=True)
        for one in run.intervals
        if one.begin < end and (one.end is None or one.end > begin)
    ]
    used = {KIND[one.kind] for one in shown if one.kind in KIND}
    used |= {"crowded"} & {one.about for one in shown if one.kind == "wait"}
    items: list[Any] = [
        Line2D([], [], color=PALE, linewidth=3, label=say("waits for work: costs nothing"))
    ]
    for kind, (shade, _, words) in BARS.items():
        if kind in used or kind == "awake":
            items.append(Patch(facecolor=shade, label=say(words)))
    if any(one.kind == "lock.hold" for one in shown):
        frame = {"facecolor": "none", "edgecolor": HOLD_LOCK, "linewidth": 1.5}
        items.append(Patch(label=say("holds the lock (frame)"), **frame))
    items.append(Patch(label=say("bytes have arrived, and are not read yet"), **UNREAD))
    triangle = {"marker": "v", "linestyle": "none", "color": INK}
    items.append(Line2D([], [], markersize=5, label=say("a client sends"), **triangle))
    for group in sorted({group for run in runs for group in run.groups.values()})[:1]:
        style = {"markersize": 8, "markerfacecolor": GROUND, "markeredgewidth": 1.4}
        items.append(Line2D([], [], label=group_name(group), **style, **triangle))
    return items
