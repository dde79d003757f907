"""Delivery verdicts over time: a dot for each message to each member, at the time of its SAY."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.driving.messages import template
from harness.tracing.figures import base
from harness.tracing.figures.base import ALARM, GREY
from harness.tracing.traces import LATE, Run
from harness.verdicts.language import say

# verdict: (words, colour, marker, size). The rare ones are large, and drawn last.
LOOKS = {
    "in order": (template("in order"), GREY, "o", 4),
    "late": (template("late"), ALARM, "^", 6),
    "out of order": (template("out of order"), ALARM, "D", 9),
    "twice": (template("twice"), ALARM, "P", 10),
    "lost": (template("lost"), ALARM, "X", 11),
}
BINS = 100
QUESTION = template("Lost, twice, out of order, late: what was delivered, and when?")


@base.drawn
def deliveries(
    runs: Run | Sequence[Run], question: str | None = None, guess: Any = None
) -> base.Figure:
    """Draws a panel for each run. A dot is at the time when its message was sent.

    If that time is not known, the dot is at the time of its receipt.

    guess   how many deliveries went wrong (late ones count), one number or {design: number}
    """
    runs = base.several(runs)
    counts = {run.title: Counter(one.verdict for one in run.deliveries) for run in runs}
    words = {title: words_on(count) for title, count in counts.items()}
    answer = "; ".join(f"{title}: {text}" for title, text in words.items())
    sheet, rows = base.Sheet(question or say(QUESTION), f"{answer}."), []
    length = max(run.span[1] - run.span[0] for run in runs) or 1e-9
    for run in runs:
        count = counts[run.title]
        value, wrong = base.guess_for(guess, run), count.total() - count["in order"]
        sheet.space(0.62 if base.is_narrow() else 0.42)
        panel = sheet.panel(1.1, 0.7 if base.is_narrow() else 0.85)
        draw_dots(panel, run, length)
        base.head(panel, base.heading(run), words[run.title], wrong > 0)
        if value is not None:
            text = say("your guess: {guess} not in order", guess=value)
            text += say(", right") if value == wrong else ""
            style = {"color": base.GUESS, "fontsize": 9, "ha": "right", "va": "top"}
            panel.text(1, 0.98, text, transform=panel.transAxes, zorder=20, **style)
        panel.tick_params(labelbottom=run is runs[-1])
        rows.append([run.title, *(count[verdict] for verdict in LOOKS)])
    panel.set_xlabel(say("milliseconds from the start of the workload to the SAY"), fontsize=9)
    sheet.space(0.6)
    sheet.legend(legend(), 5)
    caption = say(
        "Each mark is one message to one member, in one of {bins} columns of time. Late: over "
        "{late} ms. Out of order: received after one with a higher number. Lost: not received, "
        "though a later one was.",
        bins=BINS,
        late=f"{LATE * 1e3:.0f}",
    )
    facts = {
        title: {verdict: count[verdict] for verdict in LOOKS} for title, count in counts.items()
    }
    alt = say("Verdicts on deliveries over time.") + f" {answer}."
    table = base.Table([say("server"), *(say(words) for words, *_ in LOOKS.values())], rows)
    return base.Figure(sheet.finish(), caption + base.traced(runs), alt, table, facts)


def words_on(count: Counter) -> str:
    """Returns the verdicts of one run in words."""
    if not count:
        return say("no delivery is known")
    bad = [
        f"{count[verdict]} {say(LOOKS[verdict][0])}"
        for verdict in ("lost", "twice", "out of order", "late")
        if count[verdict]
    ]
    verdicts = base.listed(bad) if bad else say("all in order")
    return say("{verdicts} of {count}", verdicts=verdicts, count=count.total())


def draw_dots(panel: Axes, run: Run, length: float):
    """Draws the dots of one run. `length`: seconds of the time axis."""
    order = list(LOOKS)
    piles, dots = defaultdict(int), defaultdict(list)
    for one in sorted(run.deliveries, key=lambda one: order.index(one.verdict)):
        at = one.said if one.said is not None else one.heard
        if at is None:
            continue
        column = int((at - run.span[0]) / length * BINS)
        piles[column] += 1
        dots[one.verdict].append(((column + 0.5) / BINS * length * 1e3, piles[column]))
    most = max(piles.values(), default=1)
    for verdict, (_, shade, marker, big) in LOOKS.items():
        if dots[verdict]:
            if big_pile := len(dots[verdict]) > base.MANY:
                shade = ALARM if shade == ALARM else base.MIDDLE
            shrink = min(1.0, 45 / most) if verdict in ("in order", "late") else 1
            panel.plot(
                *zip(*dots[verdict], strict=True),
                marker,
                color=shade,
                markersize=max(2.0, big * shrink),
                linestyle="none",
                markeredgewidth=0,
                label=verdict,
                rasterized=big_pile,
                zorder=2 + order.index(verdict),
                clip_on=False,
            )
    panel.set_xlim(0, length * 1e3)
    panel.set_ylim(0, most * 1.08 + 1)
    panel.set_ylabel(say("deliveries"), fontsize=9)


def legend() -> list[Line2D]:
    """Returns the handles of the legend."""
    handles = []
    for words, shade, marker, big in LOOKS.values():
        style = {"marker": marker, "markersize": min(big, 9), "linestyle": "none"}
        handles.append(Line2D([], [], color=shade, label=say(words), **style))
    return handles
