"""The cost of scale: latency, memory, processes and threads against the number of clients."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, RED

# field of a row: (title, how to show its value, factor)
PANELS = {
    "latency": ("latency, median, ms", lambda value: base.ms(value / 1e3), 1e3),
    "memory": ("memory, MB", lambda value: f"{value:.0f} MB", 1e-6),
    "processes": ("processes", lambda value: f"{value:.0f}", 1),
    "threads": ("threads, of all processes", lambda value: f"{value:.0f}", 1),
}
CAPTION = (
    "Each point is a server of its own with so many members who are here; then one of them says "
    "some messages, and the latency is from SAY to its own echo. Memory counts shared pages once "
    "(PSS). All clients are one program, which reads every echo and needs time for it: compare "
    "latencies of one number of clients. Both axes are logarithmic."
)

Row = dict[str, Any]


@base.drawn
def scale(
    rows: Sequence[Row],
    question: str = "What does one more client cost?",
    guess: dict[str, float] | None = None,
) -> base.Figure:
    """Draws four panels against the number of clients, with a line for each design.

    rows    as runs.scale() returns them; a value may be None
    guess   {design: megabytes at the largest number of clients}

    Raises ValueError if there is no row.
    """
    if not rows:
        raise ValueError("there is nothing to draw")

    def number_of(design: str) -> str:
        return base.DESIGNS.get(design, (design,))[0]

    designs = sorted({row["design"] for row in rows}, key=number_of)
    rows_of = {
        design: sorted(
            (row for row in rows if row["design"] == design), key=lambda row: row["clients"]
        )
        for design in designs
    }
    words = "; ".join(words_on(design, mine) for design, mine in rows_of.items())
    figure, top = base.sheet(5.4, question, f"{words}.")
    for number, field in enumerate(PANELS):
        place = [0.045 + 0.242 * number, 0.12, 0.135, 0.80 - top / 5.4]
        panel = figure.add_axes(place)
        draw(panel, field, rows_of)
        if field == "memory" and guess:
            mark(panel, guess, rows_of)
    data = []
    for row in rows:
        cells = [
            None if row.get(field) is None else round(row[field] * factor, 3)
            for field, (_, _, factor) in PANELS.items()
        ]
        data.append([row["design"], row["clients"], *cells])
    head = ["server", "clients", "latency ms", "memory MB", "processes", "threads"]
    alt = f"Cost against the number of clients. {words}."
    return base.Figure(figure, CAPTION, alt, base.Table(head, data), {"designs": designs})


def words_on(design: str, rows: Sequence[Row]) -> str:
    """Returns what a further client costs a design, in words. `rows`: sorted by clients."""
    first, last = rows[0], rows[-1]
    more = last["clients"] - first["clients"]
    processes = base.plural(last["processes"] or 0, "process")
    if not (more and first.get("memory") and last.get("memory")):
        return f"{design}: {processes} for {last['clients']:,}"
    each = base.size((last["memory"] - first["memory"]) / more)
    threads = base.plural(last["threads"], "thread")
    return (
        f"{design}: {each} for each further client, {processes} and {threads} "
        f"for {last['clients']:,}"
    )


def draw(panel: Axes, field: str, rows_of: dict[str, list[Row]]):
    """Draws one panel. `rows_of`: {design: its rows}."""
    title, show, factor = PANELS[field]
    ends = []
    for design, rows in rows_of.items():
        _, _, shade, marker = base.DESIGNS.get(design, ("", "", BLACK, "x"))
        points = [
            (row["clients"], row[field] * factor) for row in rows if row.get(field) is not None
        ]
        if points:
            style = {"marker": marker, "color": shade, "linewidth": 2, "markersize": 6}
            panel.plot(*zip(*points, strict=True), **style)
            ends.append((points[-1][1], design, shade, points[-1]))
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.patch.set_alpha(0)
    panel.yaxis.set_major_formatter("{x:g}")
    counts = sorted({row["clients"] for rows in rows_of.values() for row in rows})
    panel.set_xticks(counts, [f"{count:,}" for count in counts], fontsize=8.5)
    panel.minorticks_off()
    panel.set_title(title, fontsize=11, fontweight="bold", pad=6)
    panel.set_xlabel("clients (log)")
    if field in ("processes", "threads"):
        panel.set_ylim(0.7, panel.get_ylim()[1] * 1.3)
    low, high = panel.get_ylim()
    step, at = math.log(high / low) * 0.075, -1e9
    for value, design, shade, (x, y) in sorted(ends):
        at = max(math.log(max(value, 1e-9)), at + step)  # labels must not overlap
        style = {"fontsize": 8.5, "color": shade, "va": "center", "annotation_clip": False}
        panel.annotate(f"{design} {show(value)}", (x, y), (x * 1.12, math.exp(at)), **style)


def mark(panel: Axes, guess: dict[str, float], rows_of: dict[str, list[Row]]):
    """Marks the guess on the panel about memory."""
    most = max(row["clients"] for rows in rows_of.values() for row in rows)
    star = {"marker": "*", "markersize": 15, "markeredgecolor": "black", "linestyle": "none"}
    for design, value in guess.items():
        if design in rows_of:
            panel.plot([most], [value], color=RED, zorder=9, **star)
            style = {"fontsize": 8, "color": RED, "ha": "right", "va": "center"}
            text = f"your guess\n{value:g} MB"
            panel.annotate(text, (most, value), (most * 0.8, value), **style)
