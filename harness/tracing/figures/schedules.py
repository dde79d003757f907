"""Interleavings: the orders in which some threads can take their steps, each really executed, and which of them go wrong."""

from matplotlib.patches import FancyBboxPatch

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY

SHADES = [(BLUE, "white"), (ORANGE, "black"), (GREEN, "white"), (PINK, "black"), (SKY, "black")]
COLUMNS = 6


@base.drawn
def interleavings(tried, question=None, guess=None):
    """A small panel for each schedule, the first step on top.

    tried   [{"schedule": [("ana", "read"), ...], "outcome": "2 counted", "good": True, "possible": True}]; of an impossible one `schedule` is what was asked for,
            and "done" (optional) how many of its steps could be taken; its outcome says why
    guess   how many of them go wrong
    Raises ValueError if there is none.
    """
    if not tried:
        raise ValueError("there is no schedule to draw")
    actors = list(dict.fromkeys(actor for one in tried for actor, _ in one["schedule"]))
    possible = [one for one in tried if one.get("possible", True)]
    bad = sum(not one["good"] for one in possible)
    impossible = len(tried) - len(possible)
    answer = (
        f"{bad or 'None'} of the {len(possible)} orders that this program can take {'goes' if bad == 1 else 'go'} wrong"
        + (f"; {impossible} of the {len(tried)} it can never take." if impossible else ".")
    )
    if guess is not None:
        answer += f" You guessed {guess}{': right.' if guess == bad else f'; it is {bad}.'}"
    wide = min(COLUMNS, len(tried))
    deep = -(-len(tried) // wide)
    steps = max(len(one["schedule"]) for one in tried)
    panel_tall = 0.46 * steps + 1.25
    width = max(8.0, min(base.WIDTH, 2.1 * wide + 0.6))
    figure, top = base.sheet(
        0.95 + deep * panel_tall + 0.3,
        question or f"{base.plural(len(tried), 'order')}, each really tried: which go wrong?",
        answer,
        width=width,
    )
    height, rows = figure.get_size_inches()[1], []
    for number, one in enumerate(tried):
        row, column = divmod(number, wide)
        panel = figure.add_axes(
            [
                0.035 + column * 0.955 / wide,
                1 - (top + 0.12 + (row + 1) * panel_tall - 0.30) / height,
                0.955 / wide - 0.018,
                (panel_tall - 1.1) / height,
            ]
        )
        can, good = one.get("possible", True), one["good"]
        done = len(one["schedule"]) if can else one.get("done", 0)
        places = {}
        for place, (actor, step) in enumerate(one["schedule"]):
            shade, ink = SHADES[actors.index(actor) % len(SHADES)]
            x, y = actors.index(actor), -place
            taken = place < done
            panel.add_patch(
                FancyBboxPatch(
                    (x - 0.40, y - 0.32),
                    0.80,
                    0.64,
                    boxstyle="round,pad=0,rounding_size=0.08",
                    facecolor=shade if taken else "white",
                    edgecolor=shade if taken else GREY,
                    linestyle="-" if taken else "--",
                    linewidth=1.2,
                    zorder=3,
                )
            )
            panel.text(
                x,
                y,
                step,
                ha="center",
                va="center",
                fontsize=9.5,
                color=ink if taken else GREY,
                zorder=4,
                fontweight="bold",
            )
            places[place] = x, y
            if place:
                before = places[place - 1]
                panel.plot(
                    [before[0], x],
                    [before[1] - 0.32, y + 0.32],
                    color="#888888",
                    linewidth=1.3,
                    zorder=2,
                )
        word = "correct" if good and can else "WRONG" if can else "IMPOSSIBLE"
        panel.set_title(
            f"{word}",
            fontsize=11,
            fontweight="bold",
            color=BLACK if word == "correct" else RED if can else GREY,
            pad=31,
            loc="center",
        )
        panel.text(
            0.5,
            1.03,
            "\n".join(base.wrapped(one["outcome"], 30)[:2]) if can else "",
            transform=panel.transAxes,
            ha="center",
            va="bottom",
            fontsize=9,
        )
        panel.set_xlim(-0.62, len(actors) - 0.38)
        panel.set_ylim(-steps + 0.45, 0.55)
        if not can:
            panel.plot(
                [-0.55, len(actors) - 0.45],
                [-steps + 0.5, 0.5],
                color=GREY,
                linewidth=2.2,
                zorder=6,
                alpha=0.8,
            )
            panel.plot(
                [-0.55, len(actors) - 0.45],
                [0.5, -steps + 0.5],
                color=GREY,
                linewidth=2.2,
                zorder=6,
                alpha=0.8,
            )
            panel.text(
                0.5,
                1.02,
                "\n".join(base.wrapped(one["outcome"], 32)[:2]),
                transform=panel.transAxes,
                ha="center",
                va="bottom",
                fontsize=8,
                color="#444444",
            )
        panel.set_xticks(range(len(actors)), actors, fontsize=9)
        panel.set_yticks([])
        panel.tick_params(length=0)
        for side in panel.spines.values():
            side.set_visible(can and not good)
            side.set_color(RED)
            side.set_linewidth(2.5)
        rows.append(
            [" ".join(f"{actor}:{step}" for actor, step in one["schedule"]), one["outcome"], word]
        )
    caption = "Each panel is one order of the same steps, the first on top; each was forced and really executed. A framed one goes wrong; a crossed-out one cannot happen: dashed steps were never reached."
    return base.Figure(
        figure,
        caption,
        f"{base.plural(len(tried), 'schedule')} of {base.listed(actors)}. {answer}",
        base.Table(["schedule", "outcome", "verdict"], rows),
        {"tried": len(tried), "wrong": bad, "impossible": impossible},
    )
