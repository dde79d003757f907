"""The cost of scale: latency, memory, processes and threads against the number of clients."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from harness.driving.messages import template
from harness.tracing.figures import base
from harness.tracing.figures.base import GUESS, INK
from harness.verdicts.language import say

# field of a row: (title, how to show its value, factor)
PANELS = {
    "latency": (template("latency, median, ms"), lambda value: base.ms(value / 1e3), 1e3),
    "memory": (template("memory, MB"), lambda value: f"{value:.0f} MB", 1e-6),
    "processes": (template("processes"), lambda value: f"{value:.0f}", 1),
    "threads": (template("threads, of all processes"), lambda value: f"{value:.0f}", 1),
}
QUESTION = template("What does one more client cost?")

Row = dict[str, Any]


@base.drawn
def scale(
    rows: Sequence[Row],
    question: str | None = None,
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
    sheet = base.Sheet(question or say(QUESTION), f"{words}.")
    fields, across = list(PANELS), 1 if base.is_narrow() else 4
    wide, beside = sheet.width / across, 1.7 if base.is_narrow() else 1.45
    for first in range(0, len(fields), across):
        sheet.space(0.4)
        spans = [(wide * n + 0.62, wide * (n + 1) - beside) for n in range(across)]
        mine = fields[first : first + across]
        for field, panel in zip(
            mine, sheet.panels(2.1 if across == 1 else 3.1, *spans), strict=True
        ):
            draw(panel, field, rows_of, guess if field == "memory" else None)
        sheet.space(0.45)
    data = []
    for row in rows:
        cells = [
            None if row.get(field) is None else round(row[field] * factor, 3)
            for field, (_, _, factor) in PANELS.items()
        ]
        data.append([row["design"], row["clients"], *cells])
    head = [say("server"), say("clients"), say("latency ms"), say("memory, MB")]
    head += [say("processes"), say("threads, of all processes")]
    alt = say("Cost against the number of clients.") + f" {words}."
    table = base.Table(head, data)
    return base.Figure(sheet.finish(), caption_of(rows), alt, table, {"designs": designs})


def caption_of(rows: Sequence[Row]) -> str:
    """Returns the caption."""
    counts = base.listed(
        [base.local(f"{count:,}") for count in sorted({r["clients"] for r in rows})]
    )
    return say(
        "Each point is a new server on which {counts} members are connected. One of them sends a "
        "few messages, one after the other; the latency is the median from its SAY to its own "
        "echo. One program plays all clients and reads every copy, and that takes time, too: "
        "compare the latencies only at the same number of clients. Memory is that of all processes "
        "of a server; pages that they share count once (PSS). Both axes are logarithmic: equal "
        "distances are equal factors.",
        counts=counts,
    )


def words_on(design: str, rows: Sequence[Row]) -> str:
    """Returns what a further client costs a design, in words. `rows`: sorted by clients."""
    first, last = rows[0], rows[-1]
    more = last["clients"] - first["clients"]
    values = {
        "server": design,
        "processes": base.counted(last["processes"] or 0, base.PROCESSES),
        "count": base.local(f"{last['clients']:,}"),
    }
    if not (more and first.get("memory") and last.get("memory")):
        return say("{server}: {processes} for {count}", **values)
    each = base.size((last["memory"] - first["memory"]) / more)
    return say(
        "{server}: {each} for each further client, {processes} and {threads} for {count}",
        each=each,
        threads=base.counted(last["threads"], base.THREADS),
        **values,
    )


def draw(panel: Axes, field: str, rows_of: dict[str, list[Row]], guess: dict[str, float] | None):
    """Draws one panel. `rows_of`: {design: its rows}."""
    title, show, factor = PANELS[field]
    ends: list[tuple[float, str, str]] = []  # (its value, its text, its colour)
    for design, rows in rows_of.items():
        _, _, marker, line = base.DESIGNS.get(design, ("", "", "x", "-."))
        points = [
            (row["clients"], row[field] * factor) for row in rows if row.get(field) is not None
        ]
        if points:
            style = {"marker": marker, "color": INK, "linewidth": 1.6, "markersize": 6}
            panel.plot(*zip(*points, strict=True), linestyle=line, label=design, **style)
            ends.append((points[-1][1], f"{design} {show(points[-1][1])}", INK))
    panel.set_xscale("log")
    panel.set_yscale("log")
    counts = sorted({row["clients"] for rows in rows_of.values() for row in rows})
    panel.set_xticks(counts, [base.local(f"{count:,}") for count in counts], fontsize=8.5)
    panel.minorticks_off()
    panel.set_title(say(title), fontsize=11, fontweight="bold", pad=6)
    panel.set_xlabel(say("clients (log)"), fontsize=9)
    low, high = panel.get_ylim()
    panel.set_ylim(min(low, 0.7 if field in ("processes", "threads") else low), high * 1.3)
    for design, value in (guess or {}).items():
        if design in rows_of:
            inside = min(max(value, panel.get_ylim()[0]), panel.get_ylim()[1])
            panel.plot([counts[-1]], [inside], "D", color=GUESS, markersize=8, zorder=9)
            arrow = "" if inside == value else " ↑" if value > inside else " ↓"
            text = say("your guess {guess} MB", guess=base.plain(value)) + arrow
            ends.append((inside, text, GUESS))
    panel.yaxis.set_major_formatter(lambda value, _: base.local(f"{value:g}"))
    label(panel, ends)


def label(panel: Axes, ends: list[tuple[float, str, str]]):
    """Writes a text at the right of each line's end, none of them over another or the title."""
    low, high = (math.log(limit) for limit in panel.get_ylim())
    step = 0.095 if base.is_narrow() else 0.065  # of the panel's height
    places, at = [], -1.0
    for value, text, shade in sorted(ends):
        at = max((math.log(max(value, 1e-9)) - low) / (high - low), at + step)
        places.append([at, text, shade])
    over = max(0.0, at - 0.96)
    for place, text, shade in places:
        style = {"fontsize": 8.5, "color": shade, "va": "center", "clip_on": False}
        panel.text(1.03, place - over, text, transform=panel.transAxes, **style)
