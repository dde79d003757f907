"""Swimlanes on one workload: what each actor of a server does when, and which clients wait."""

import random
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, PINK, RED, SKY
from harness.tracing.traces import LATE, Delivery, Interval, Lane, Run, awake

# kind: (colour, height, words). A later one is drawn above an earlier one.
BARS = {
    "awake": (GREY, 0.30, "runs its own code, or wants to"),
    "lock.wait": (ORANGE, 0.62, "waits for the lock"),
    "pipe": (SKY, 0.44, "reads or writes a pipe"),
    "crowded": ("#f5d48a", 0.74, "backpressure: nobody is read"),
    "send": (BLUE, 0.56, "sends to clients"),
    "disk": (BLACK, 0.40, "writes to disk"),
    "fork": (PINK, 0.50, "forks a child"),
    "hash": (RED, 0.62, "hashes a password: long, and pure processor"),
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
# Written on bars that are long enough.
ON_BAR = {"hash": "hash", "lock.wait": "waits", "crowded": "backpressure"}
LONG = 0.085  # of the panel: a bar of this length has room for a text
QUESTIONS = {
    "calm": "Calm talk: what does each server do, and when?",
    "everyone-at-once": "Everyone talks at once: where does the work pile up?",
    "one-expensive-request": "One request is expensive: who else has to wait?",
    "a-member-who-stops-reading": "One member stops reading: who else has to wait?",
    "password-storm": "Strangers guess passwords: who else has to wait?",
    "half-a-line": "One client sends half a line: who else has to wait?",
    "mass-arrival-and-departure": "Sixteen come and go at once: who else has to wait?",
}
MOST_LIKE = 3  # lanes of one group, such as strangers, that are drawn
MOST_DOTS = 4000
LANE = 0.30  # inches

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
    """Draws a panel for each run: its lanes over time, and beside it the latency of each delivery.

    guess   the title of the run whose members wait most, or a number of late deliveries, or
            {design: number}
    window  (begin, end) in seconds since the workload began; without it, the whole workload
    """
    runs = base.several(runs)
    spans = [shown_span(run, window) for run in runs]
    length = max(end - begin for begin, end in spans)
    lanes = [lanes_shown(run, *span) for run, span in zip(runs, spans, strict=True)]
    facts = {run.title: latency(run) for run in runs}
    answer = answer_for(runs, facts, guess)
    heights = [LANE * (max(len(shown), 1) + 1.2) + 0.52 for shown, _ in lanes]
    height = 0.95 + sum(heights) + 1.4
    title = QUESTIONS.get(runs[0].workload, "What does each server do, and who waits for it?")
    figure, top = base.sheet(height, question or title, answer)
    place, rows = height - top - 0.25, []
    for run, span, (shown, left_out), tall in zip(runs, spans, lanes, heights, strict=True):
        low = (place - tall + 0.2) / height
        panel = figure.add_axes([0.125, low, 0.615, (tall - 0.52) / height])
        strip = figure.add_axes([0.77, low, 0.21, (tall - 0.52) / height])
        panel.set_title(base.heading(run), fontsize=12, fontweight="bold", pad=5)
        style = {"transform": panel.transAxes, "ha": "right", "va": "bottom", "color": "#444444"}
        panel.text(1, 1.0, base.card(run), fontsize=9, **style)
        lane_panel = LanePanel(panel, run, span, length)
        rows += lane_panel.draw(shown, left_out)
        latency_strip(strip, run, facts[run.title], words_on_guess(guess, run))
        panel.set_xlim(0, length * 1e3)
        is_last = run is runs[-1]
        panel.tick_params(labelbottom=is_last)
        strip.tick_params(labelbottom=is_last)
        if is_last:
            panel.set_xlabel("milliseconds since the workload began")
            strip.set_xlabel("from SAY to its receipt, ms (log)")
        place -= tall
    legend(figure, runs, height)
    names = base.listed([run.title for run in runs])
    counts = {run.title: len(shown) for run, (shown, _) in zip(runs, lanes, strict=True)}
    return base.Figure(
        figure,
        caption_of(runs),
        f"Swimlanes of {names} on the workload {runs[0].workload or 'of these runs'}. {answer}",
        base.Table(
            ["server", "lane", *(words for _, _, words in BARS.values()), "holds the lock"], rows
        ),
        {**facts, "lanes": counts},
    )


def shown_span(run: Run, window: Span | None) -> Span:
    """Returns the (begin, end) of a run that is drawn."""
    return (run.span[0] + window[0], run.span[0] + window[1]) if window else run.span


def caption_of(runs: list[Run]) -> str:
    """Returns the caption."""
    about = runs[0].about.get("says", "").split("\n")[0] or "A workload."
    return (
        f"{about} Time runs to the right. All panels have the same scale, and servers and clients "
        "have one clock (CLOCK_MONOTONIC). A triangle is a piece that a client sent; the hatched "
        "band shows how long it was unread. Bars shorter than "
        f"{base.LEAST:.2%} of the width are drawn that wide. Each dot is one message that one "
        f"member received; right of the dotted line it is late (over {LATE * 1e3:.0f} ms)."
        f"{base.traced(runs)}"
    )


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
        return "What clients heard is not known here."
    share = {run.title: facts[run.title]["late"] / facts[run.title]["deliveries"] for run in known}
    longest = {run.title: facts[run.title]["longest"] for run in known}
    if any(share.values()):
        order = sorted(known, key=lambda run: -share[run.title])
        worst = order[0]
        late = "; ".join(
            f"{run.title} {facts[run.title]['late']} of {facts[run.title]['deliveries']}"
            for run in order
        )
        slowest = base.listed([f"{base.ms(longest[run.title])} ({run.title})" for run in order])
        text = f"Late (over {LATE * 1e3:.0f} ms): {late}. The slowest took {slowest}."
    else:
        worst = max(known, key=lambda run: longest[run.title])
        text = (
            f"Nobody waits long: no ordinary message took more than {LATE * 1e3:.0f} ms; the "
            f"slowest took {base.ms(longest[worst.title])} ({worst.title})."
        )
    if isinstance(guess, str):
        right = guess in (worst.title, worst.design)
        text += f" You guessed {guess}: {'right' if right else f'it was {worst.title}'}."
    return text


def words_on_guess(guess: Any, run: Run) -> str | None:
    """Returns the words on a run's panel about the guess."""
    guess = base.guess_for(guess, run)
    if isinstance(guess, str):
        return "your guess: here they wait most" if guess in (run.title, run.design) else None
    return None if guess is None else f"your guess: {guess} late"


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
    return shown, [f"and {count} more: each {group}" for group, count in left.items()]


class LanePanel:
    """The panel of one run: its lanes from `begin` to `end`. `length`: seconds of the time axis."""

    def __init__(self, panel: Axes, run: Run, span: Span, length: float):
        self.panel, self.run, self.length = panel, run, length
        self.begin, self.end = span

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
            text = "what happened inside is not known: there is no trace"
            style = {"ha": "center", "color": "#444444", "style": "italic"}
            panel.text(0.5, 0.3, text, transform=panel.transAxes, **style)
        if left_out:
            panel.text(
                0.004,
                bottom + 0.1,
                "; ".join(left_out),
                transform=panel.get_yaxis_transform(),
                fontsize=8.5,
                style="italic",
                color="#444444",
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
                zorder=30,
            )
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
        least = self.length * base.LEAST
        wide = [
            ((since - self.begin) * 1e3, max(until - since, least) * 1e3) for since, until in spans
        ]
        self.panel.broken_barh(wide, (y, tall), **style)

    def lane(self, lane: Lane, y: float) -> list:
        """Draws one lane. Returns its row of the table."""
        run, panel = self.run, self.panel
        mine = [one for key in lane.keys for one in run.intervals_of[key]]
        times = [event.at for key in lane.keys for event in run.events_of[key]]
        last = self.end if any(one.end is None for one in mine) else 0
        for since, until in self.within([(min(times), max(max(times), last))]):
            x = [(since - self.begin) * 1e3, (until - self.begin) * 1e3]
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
            for span in spans if kind in ON_BAR else ():
                self.text_on_bar(kind, span, y)
        holds = self.within(
            [(one.begin, run.end_of(one)) for one in mine if one.kind == "lock.hold"]
        )
        if holds:
            style = {"facecolor": "none", "edgecolor": GREEN, "linewidth": 1.3, "zorder": 2.5}
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
        """Writes a bar's duration on it, if it is long enough."""
        since, until = span
        if until - since > LONG * self.length:
            self.panel.text(
                ((since + until) / 2 - self.begin) * 1e3,
                y - 0.03,
                f"{ON_BAR[kind]} {base.ms(until - since)}",
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if kind == "hash" else "black",
                zorder=20,
                clip_on=True,
            )

    def unread(self, heights: dict):
        """Draws how long bytes were unread. `heights`: {key of a lane: its y}."""
        spans_at = {}
        for key, sent, read, _ in self.run.wakes():
            if key in heights:
                spans_at.setdefault(heights[key], []).append((sent, read))
        style = {"facecolor": "#f6dcea", "edgecolor": PINK, "hatch": "//////", "linewidth": 0.0}
        for y, spans in spans_at.items():
            self.bars(union(self.within(spans)), y - 0.44, 0.22, **style, zorder=2)

    def sends(self):
        """Draws a triangle for each piece that a client sent; a larger one if it is special."""
        marks = {False: [], True: []}
        for entry in self.run.entries:
            if entry.what == "sends" and self.begin <= entry.at <= self.end:
                marks[entry.who in self.run.groups].append((entry.at - self.begin) * 1e3)
        special = {"markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.5}
        for is_special, shade, style in (False, BLACK, {"markersize": 4}), (True, RED, special):
            x = marks[is_special]
            y = [1] * len(x)
            self.panel.plot(x, y, "v", color=shade, linestyle="none", clip_on=False, **style)

    def labels(self, lanes: list[Lane]):
        """Writes the lanes' names; those of special clients in red, with a `!`."""
        panel, groups = self.panel, self.run.groups
        names = [lane.name + (" !" if lane.member in groups else "") for lane in lanes]
        ticks = [1, *(-number for number in range(len(lanes)))]
        panel.set_yticks(ticks, ["clients send", *names], fontsize=9)
        for label, lane in zip(panel.get_yticklabels()[1:], lanes, strict=True):
            if lane.member in groups:
                label.set_color(RED)
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
    timed = [one for one in ordinary(run) if one.latency is not None and one.latency > 0]
    timed = timed[:MOST_DOTS]
    chance = random.Random(0)
    alpha = 0.5 if len(timed) < 800 else 0.2
    for late, marker, shade, width in (False, "o", GREY, 3), (True, "^", RED, 4.5):
        values = [one.latency * 1e3 for one in timed if (one.latency > LATE) == late]
        y = [chance.uniform(0.06, 0.94) for _ in values]
        style = {"linestyle": "none", "markeredgewidth": 0, "alpha": alpha, "markersize": width}
        strip.plot(values, y, marker, color=shade, **style)
    strip.axvline(LATE * 1e3, color="#777777", linestyle=":", linewidth=1)
    strip.set_xscale("log")
    strip.set_xlim(0.05, 2000)
    strip.set_xticks([0.1, 1, 10, 100, 1000], ["0.1", "1", "10", "100", "1000"])
    strip.set_ylim(0, 1)
    strip.set_yticks([])
    strip.spines["left"].set_visible(False)
    words = "no deliveries are known"
    if fact["deliveries"]:
        words = f"{fact['late']} of {fact['deliveries']} late; median {base.ms(fact['median'])}"
    strip.set_title(
        words + (f"\n{guess}" if guess else ""),
        fontsize=9.5,
        color=RED if fact["late"] else BLACK,
        fontweight="bold" if fact["late"] else "normal",
        pad=5,
    )


def legend(figure: base.Drawing, runs: list[Run], height: float):
    """Draws the legend: only what is in the panels. `height`: inches of the drawing."""
    used = {
        KIND[one.kind]
        for run in runs
        for one in run.intervals
        if one.kind in KIND
        and one.begin < run.span[1]
        and (one.end is None or one.end > run.span[0])
    }
    used |= {"crowded"} & {one.about for run in runs for one in run.of("wait")}
    items = [Line2D([], [], color=PALE, linewidth=3, label="waits for work: costs nothing")]
    for kind, (shade, _, words) in BARS.items():
        if kind in used or kind == "awake":
            items.append(Patch(facecolor=shade, label=words))
    if any(run.locks for run in runs):
        frame = {"facecolor": "none", "edgecolor": GREEN, "linewidth": 1.5}
        items.append(Patch(label="holds the lock (frame)", **frame))
    hatched = {"facecolor": "#f6dcea", "edgecolor": PINK, "hatch": "//////", "linewidth": 0}
    items.append(Patch(label="bytes have arrived, and are not read yet", **hatched))
    triangle = {"marker": "v", "linestyle": "none"}
    items.append(Line2D([], [], color=BLACK, markersize=5, label="a client sends", **triangle))
    if special := sorted({group for run in runs for group in run.groups.values()}):
        label = f"a client that {special[0]}"
        items.append(Line2D([], [], color=RED, markersize=7, label=label, **triangle))
    figure.legend(
        handles=items,
        loc="lower left",
        bbox_to_anchor=(0.01, 0.04 / height),
        ncols=4,
        frameon=False,
        fontsize=8.5,
        handlelength=1.8,
        columnspacing=1.4,
    )
