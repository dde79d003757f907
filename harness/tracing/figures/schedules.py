"""Interleavings: the orders in which threads can take their steps, and which of them go wrong."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from harness.tracing.figures import base
from harness.tracing.figures.base import ALARM, DARK, GREY, GROUND, INK
from harness.verdicts.language import say

# The colours of each actor's boxes: its column tells it apart, its shade helps.
SHADES = ["#8c8c8c", "#cfcfcf", "#adadad", "#e4e4e4"]
COLUMNS = 6

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
    answer = answer_for(len(tried), len(possible), bad, guess)
    wide = min(2 if base.is_narrow() else COLUMNS, len(tried))
    deep = -(-len(tried) // wide)
    steps = max(len(one["schedule"]) for one in tried)
    tall = 0.46 * steps
    width = max(8.0, min(base.WIDE, 2.1 * wide + 0.6))
    count = base.counted(len(tried), base.ORDERS)
    title = question or say("{orders}, each really tried: which go wrong?", orders=count)
    sheet, rows = base.Sheet(title, answer, width=width), []
    each = (sheet.width - 0.3) / wide
    for row in range(deep):
        sheet.space(0.85)
        spans = [(0.2 + each * column, 0.2 + each * (column + 1) - 0.2) for column in range(wide)]
        mine = tried[row * wide : (row + 1) * wide]
        for one, panel in zip(mine, sheet.panels(tall, *spans[: len(mine)]), strict=True):
            draw_steps(panel, one, actors)
            draw_outcome(panel, one, len(actors), steps, each)
            panel.set_xticks(range(len(actors)), actors, fontsize=9)
            panel.set_yticks([])
            schedule = " ".join(f"{actor}:{step}" for actor, step in one["schedule"])
            rows.append([schedule, one["outcome"], verdict(one)])
        sheet.space(0.25)
    caption = say(
        "Each panel is one order of the same steps, the first on top; each was forced and really "
        "executed. A framed one goes wrong; a crossed-out one cannot happen: dashed steps were "
        "never reached."
    )
    alt = say("{orders} of the steps of {actors}.", orders=count, actors=base.listed(actors))
    return base.Figure(
        sheet.finish(),
        caption,
        f"{alt} {answer}",
        base.Table([say("schedule"), say("outcome"), say("verdict")], rows),
        {"tried": len(tried), "wrong": bad, "impossible": impossible},
    )


def answer_for(tried: int, possible: int, bad: int, guess: int | None) -> str:
    """Returns the answer in words: how many orders go wrong, and how many are impossible."""
    text = (
        say("1 of the {count} orders that this program can take goes wrong", count=possible)
        if bad == 1
        else say(
            "{bad} of the {count} orders that this program can take go wrong",
            bad=bad or say("None"),
            count=possible,
        )
    )
    if tried > possible:
        impossible = tried - possible
        text += "; " + say("{count} of the {all} it can never take", count=impossible, all=tried)
    text += "."
    if guess is not None:
        text += " " + (
            say("You guessed {guess}: right.", guess=guess)
            if guess == bad
            else say("You guessed {guess}: it is {answer}.", guess=guess, answer=bad)
        )
    return text


def is_possible(one: Tried) -> bool:
    """Whether the program can take the steps in this order."""
    return one.get("possible", True)


def verdict(one: Tried) -> str:
    """Returns the title of a schedule's panel."""
    if not is_possible(one):
        return say("IMPOSSIBLE")
    return say("correct") if one["good"] else say("WRONG")


def draw_steps(panel: Axes, one: Tried, actors: list[str]):
    """Draws a box for each step, in the column of its actor. A step not taken is dashed."""
    done = len(one["schedule"]) if is_possible(one) else one.get("done", 0)
    before = None
    for place, (actor, step) in enumerate(one["schedule"]):
        x, y = actors.index(actor), -place
        shade = SHADES[x % len(SHADES)]
        taken = {"facecolor": shade, "edgecolor": shade, "linestyle": "-"}
        missed = {"facecolor": GROUND, "edgecolor": GREY, "linestyle": "--"}
        box = {"boxstyle": "round,pad=0,rounding_size=0.08", "linewidth": 1.2, "zorder": 3}
        box |= taken if place < done else missed
        panel.add_patch(FancyBboxPatch((x - 0.40, y - 0.32), 0.80, 0.64, **box))
        style = {"ha": "center", "va": "center", "fontsize": 9.5, "fontweight": "bold"}
        panel.text(x, y, step, color=DARK if place < done else GREY, zorder=4, **style)
        if before is not None:
            ends = [before, x], [y + 1 - 0.32, y + 0.32]
            panel.plot(*ends, color=GREY, linewidth=1.3, zorder=2)
        before = x


def draw_outcome(panel: Axes, one: Tried, count: int, steps: int, wide: float):
    """Draws the verdict and the outcome above a panel, and its frame or cross.

    count, steps    the number of actors, and of the steps of the longest schedule
    wide            inches of the panel
    """
    can, word = is_possible(one), verdict(one)
    shade = INK if can and one["good"] else ALARM if can else GREY
    style = {"fontsize": 11, "fontweight": "bold", "pad": 31, "loc": "center"}
    panel.set_title(word, color=shade, **style)
    panel.set_xlim(-0.62, count - 0.38)
    panel.set_ylim(-steps + 0.45, 0.55)
    y, size, shade = (1.03, 9, INK) if can else (1.02, 8, GREY)
    text = "\n".join(base.wrapped(one["outcome"], int(wide * 130 / size))[:2])
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
            side.set_color(ALARM)
            side.set_linewidth(2.5)
