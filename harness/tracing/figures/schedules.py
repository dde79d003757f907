"""Interleavings: the orders in which threads can take their steps, and which of them go wrong."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY

# (colour of an actor's box, colour of its text)
SHADES = [(BLUE, "white"), (ORANGE, "black"), (GREEN, "white"), (PINK, "black"), (SKY, "black")]
COLUMNS = 6
CAPTION = (
    "Each panel is one order of the same steps, the first on top; each was forced and really "
    "executed. A framed one goes wrong; a crossed-out one cannot happen: dashed steps were never "
    "reached."
)

Tried = dict[str, Any]


@base.drawn
def interleavings(
    tried: Sequence[Tried], question: str | None = None, guess: int | None = None
) -> base.Figure:
    """Draws a small panel for each schedule, the first step on top.

    tried   for each schedule {"schedule": [("ana", "read"), ...], "outcome": "2 counted",
            "good": True, "possible": True}; of an impossible one "schedule" is the requested
            order, "outcome" the reason, and "done" (optional) how many of its steps were taken
    guess   how many of them go wrong

    Raises ValueError if there is no schedule.
    """
    if not tried:
        raise ValueError("there is no schedule to draw")
    actors = list(dict.fromkeys(actor for one in tried for actor, _ in one["schedule"]))
    possible = [one for one in tried if is_possible(one)]
    bad = sum(not one["good"] for one in possible)
    impossible = len(tried) - len(possible)
    never = f"; {impossible} of the {len(tried)} it can never take" if impossible else ""
    answer = (
        f"{bad or 'None'} of the {len(possible)} orders that this program can take "
        f"{'goes' if bad == 1 else 'go'} wrong{never}."
    )
    if guess is not None:
        answer += f" You guessed {guess}{': right.' if guess == bad else f'; it is {bad}.'}"
    wide = min(COLUMNS, len(tried))
    deep = -(-len(tried) // wide)
    steps = max(len(one["schedule"]) for one in tried)
    tall = 0.46 * steps + 1.25
    width = max(8.0, min(base.WIDTH, 2.1 * wide + 0.6))
    title = question or f"{base.plural(len(tried), 'order')}, each really tried: which go wrong?"
    figure, top = base.sheet(0.95 + deep * tall + 0.3, title, answer, width=width)
    height, rows = figure.get_size_inches()[1], []
    for number, one in enumerate(tried):
        row, column = divmod(number, wide)
        low = 1 - (top + 0.12 + (row + 1) * tall - 0.30) / height
        size = 0.955 / wide - 0.018, (tall - 1.1) / height
        panel = figure.add_axes([0.035 + column * 0.955 / wide, low, *size])
        draw_steps(panel, one, actors)
        draw_outcome(panel, one, len(actors), steps)
        panel.set_xticks(range(len(actors)), actors, fontsize=9)
        panel.set_yticks([])
        schedule = " ".join(f"{actor}:{step}" for actor, step in one["schedule"])
        rows.append([schedule, one["outcome"], verdict(one)])
    return base.Figure(
        figure,
        CAPTION,
        f"{base.plural(len(tried), 'schedule')} of {base.listed(actors)}. {answer}",
        base.Table(["schedule", "outcome", "verdict"], rows),
        {"tried": len(tried), "wrong": bad, "impossible": impossible},
    )


def is_possible(one: Tried) -> bool:
    """Whether the program can take the steps in this order."""
    return one.get("possible", True)


def verdict(one: Tried) -> str:
    """Returns the title of a schedule's panel."""
    if not is_possible(one):
        return "IMPOSSIBLE"
    return "correct" if one["good"] else "WRONG"


def draw_steps(panel: Axes, one: Tried, actors: list[str]):
    """Draws a box for each step, in the column of its actor. A step not taken is dashed."""
    done = len(one["schedule"]) if is_possible(one) else one.get("done", 0)
    before = None
    for place, (actor, step) in enumerate(one["schedule"]):
        x, y = actors.index(actor), -place
        shade, ink = SHADES[x % len(SHADES)]
        taken = {"facecolor": shade, "edgecolor": shade, "linestyle": "-"}
        missed = {"facecolor": "white", "edgecolor": GREY, "linestyle": "--"}
        box = {"boxstyle": "round,pad=0,rounding_size=0.08", "linewidth": 1.2, "zorder": 3}
        box |= taken if place < done else missed
        panel.add_patch(FancyBboxPatch((x - 0.40, y - 0.32), 0.80, 0.64, **box))
        style = {"ha": "center", "va": "center", "fontsize": 9.5, "fontweight": "bold"}
        panel.text(x, y, step, color=ink if place < done else GREY, zorder=4, **style)
        if before is not None:
            ends = [before, x], [y + 1 - 0.32, y + 0.32]
            panel.plot(*ends, color="#888888", linewidth=1.3, zorder=2)
        before = x


def draw_outcome(panel: Axes, one: Tried, count: int, steps: int):
    """Draws the verdict and the outcome above a panel, and its frame or cross.

    count, steps    the number of actors, and of the steps of the longest schedule
    """
    can, word = is_possible(one), verdict(one)
    shade = BLACK if word == "correct" else RED if can else GREY
    style = {"fontsize": 11, "fontweight": "bold", "pad": 31, "loc": "center"}
    panel.set_title(word, color=shade, **style)
    panel.set_xlim(-0.62, count - 0.38)
    panel.set_ylim(-steps + 0.45, 0.55)
    y, columns, size, shade = (1.03, 30, 9, BLACK) if can else (1.02, 32, 8, "#444444")
    text = "\n".join(base.wrapped(one["outcome"], columns)[:2])
    style = {"transform": panel.transAxes, "ha": "center", "va": "bottom"}
    panel.text(0.5, y, text, fontsize=size, color=shade, **style)
    base.no_frame(panel)
    if not can:
        for ends in [-steps + 0.5, 0.5], [0.5, -steps + 0.5]:
            cross = {"color": GREY, "linewidth": 2.2, "zorder": 6, "alpha": 0.8}
            panel.plot([-0.55, count - 0.45], ends, **cross)
    elif not one["good"]:
        for side in panel.spines.values():
            side.set_visible(True)
            side.set_color(RED)
            side.set_linewidth(2.5)
