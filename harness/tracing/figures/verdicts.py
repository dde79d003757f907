"""Delivery verdicts over time: a dot for each message to each member, at the time of its SAY."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, ORANGE, PINK, RED
from harness.tracing.traces import Run

# verdict: (colour, marker, size). The rare ones are large, and drawn last.
LOOKS = {
    "in order": (BLUE, "o", 4),
    "late": (ORANGE, "^", 6),
    "out of order": (PINK, "D", 9),
    "twice": (RED, "P", 10),
    "lost": (BLACK, "X", 11),
}
BINS = 100
QUESTION = "Lost, twice, out of order, late: what was delivered, and when?"


@base.drawn
def deliveries(
    runs: Run | Sequence[Run], question: str = QUESTION, guess: Any = None
) -> base.Figure:
    """Draws a panel for each run. A dot is at the time when its message was sent.

    If that time is not known, the dot is at the time of its receipt.

    guess   how many deliveries went wrong (late ones count), one number or {design: number}
    """
    runs = base.several(runs)
    counts = {run.title: Counter(one.verdict for one in run.deliveries) for run in runs}
    words = {title: words_on(count) for title, count in counts.items()}
    answer = "; ".join(f"{title}: {text}" for title, text in words.items())
    figure, top = base.sheet(1.2 + 1.55 * len(runs) + 1.0, question, f"{answer}.")
    height = figure.get_size_inches()[1]
    length = max(run.span[1] - run.span[0] for run in runs) or 1e-9
    tall, rows = (height - top - 0.95) / len(runs), []
    for number, run in enumerate(runs):
        low = 0.85 + (len(runs) - 1 - number) * tall
        panel = figure.add_axes([0.06, low / height, 0.925, (tall - 0.5) / height])
        draw_dots(panel, run, length)
        panel.set_title(base.heading(run), fontsize=11.5, fontweight="bold", pad=4)
        count = counts[run.title]
        value, wrong = base.guess_for(guess, run), count.total() - count["in order"]
        text = words[run.title]
        if value is not None:
            right = ", right" if value == wrong else ""
            text += f"   (your guess: {value} not in order{right})"
        style = {"ha": "right", "va": "bottom", "fontsize": 10, "fontweight": "bold"}
        style["color"] = RED if wrong else BLACK
        panel.text(1, 1.02, text, transform=panel.transAxes, **style)
        panel.tick_params(labelbottom=number == len(runs) - 1)
        rows.append([run.title, *(count[verdict] for verdict in LOOKS)])
    panel.set_xlabel("milliseconds from the start of the workload to the SAY")
    legend(figure)
    caption = (
        f"Each mark is one message to one member, in one of {BINS} columns of time. Out of order: "
        "received after one with a higher number. Lost: not received, though a later one was."
        f"{base.traced(runs)}"
    )
    facts = {
        title: {verdict: count[verdict] for verdict in LOOKS} for title, count in counts.items()
    }
    alt = f"Verdicts on deliveries over time. {answer}."
    return base.Figure(figure, caption, alt, base.Table(["server", *LOOKS], rows), facts)


def words_on(count: Counter) -> str:
    """Returns the verdicts of one run in words."""
    if not count:
        return "no delivery is known"
    bad = [
        f"{count[verdict]} {verdict}"
        for verdict in ("lost", "twice", "out of order", "late")
        if count[verdict]
    ]
    return f"{base.listed(bad) if bad else 'all in order'} of {count.total()}"


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
    for verdict, (shade, marker, big) in LOOKS.items():
        if dots[verdict]:
            shrink = min(1.0, 45 / most) if verdict in ("in order", "late") else 1
            panel.plot(
                *zip(*dots[verdict], strict=True),
                marker,
                color=shade,
                markersize=max(2.0, big * shrink),
                linestyle="none",
                markeredgewidth=0,
                zorder=2 + order.index(verdict),
                clip_on=False,
            )
    panel.set_xlim(0, length * 1e3)
    panel.set_ylim(0, most * 1.08 + 1)
    panel.set_ylabel("deliveries", fontsize=9)


def legend(figure: base.Drawing):
    """Draws the legend."""
    handles = []
    for verdict, (shade, marker, big) in LOOKS.items():
        label = f"{verdict} (over 10 ms)" if verdict == "late" else verdict
        style = {"marker": marker, "markersize": min(big, 9), "linestyle": "none"}
        handles.append(Line2D([], [], color=shade, label=label, **style))
    place = {"loc": "lower left", "bbox_to_anchor": (0.01, 0.0)}
    figure.legend(handles=handles, **place, ncols=5, frameon=False, fontsize=9.5)
