"""Loop iterations: how long each turn of an event loop took, and whether one of them made everyone wait."""

from matplotlib.lines import Line2D

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY

BUDGET = 0.010  # seconds that a turn may take, before somebody notices
# What took most of a turn: (colour, marker, words)
CAUSES = {
    "send": (BLUE, "o", "sending"),
    "keep": (BLACK, "s", "writing to disk"),
    "hash": (RED, "^", "hashing a password"),
    "fork": (PINK, "D", "forking"),
    "pipe.read": (SKY, "v", "reading pipes"),
    "recv": (GREEN, "P", "reading sockets"),
    "accept": (ORANGE, "X", "accepting"),
    None: (GREY, "h", "Python code"),
}


def turns(run):
    """[(begin, duration, how many were ready, what took most of it)] of the loop or hub: from each wait's end to the next one's beginning."""
    lane = next((lane for lane in run.lanes if lane.keys[0][2] in ("loop", "hub")), None)
    if lane is None:
        return []
    found, since, ready, spent, open_at = [], None, 0, {}, {}
    for event in run.events_of[lane.keys[0]]:
        if event.kind == "wait":
            if event.phase == "E":
                since, ready, spent = event.at, event.amount or 0, {}
            elif since is not None:
                took = event.at - since
                cause = max(spent, key=spent.get, default=None)
                found.append(
                    (since, took, ready, cause if cause and spent[cause] > took / 2 else None)
                )
        elif event.phase == "B":
            open_at[event.kind, event.about] = event.at
        elif event.phase == "E" and (event.kind, event.about) in open_at:
            spent[event.kind] = (
                spent.get(event.kind, 0) + event.at - open_at.pop((event.kind, event.about))
            )
    return found


@base.drawn
def loop_turns(
    runs, question="Is the loop healthy? Each turn of it, and how long it took", guess=None
):
    """A panel for each run that has a loop (nonblocking) or a hub (fork).  guess: the longest turn in milliseconds, one number or {design: number}.

    Raises ValueError if none has one.
    """
    found = [
        (run, [turn for turn in turns(run) if run.span[0] <= turn[0] <= run.span[1]])
        for run in base.several(runs)
    ]
    found = [(run, mine) for run, mine in found if mine]
    if not found:
        raise ValueError("none of these runs has a loop in its trace")
    words = []
    for run, mine in found:
        longest = max(mine, key=lambda turn: turn[1])
        over = sum(turn[1] > BUDGET for turn in mine)
        words.append(
            f"{run.title}: {base.plural(len(mine), 'turn')}, longest {base.ms(longest[1])}{f' ({CAUSES[longest[3]][2]})' if longest[3] in CAUSES else ''}, "
            f"{over or 'none'} over {BUDGET * 1e3:.0f} ms, up to {max(turn[2] for turn in mine)} ready at once"
        )
    figure, top = base.sheet(1.3 + 2.3 * len(found) + 0.7, question, "; ".join(words) + ".")
    height, rows = figure.get_size_inches()[1], []
    tall = (height - top - 0.85) / len(found)
    for number, (run, mine) in enumerate(found):
        panel = figure.add_axes(
            [
                0.075,
                (0.85 + (len(found) - 1 - number) * tall) / height,
                0.905,
                (tall - 0.5) / height,
            ]
        )
        for cause, (shade, marker, _) in CAUSES.items():
            these = [turn for turn in mine if (turn[3] if turn[3] in CAUSES else None) == cause]
            if these:
                x = [(turn[0] - run.span[0]) * 1e3 for turn in these]
                y = [max(turn[1] * 1e3, 1e-3) for turn in these]
                panel.vlines(x, 1e-3, y, color=shade, linewidth=1.2, alpha=0.55)
                panel.scatter(
                    x,
                    y,
                    [14 + 12 * min(turn[2], 12) for turn in these],
                    marker=marker,
                    color=shade,
                    zorder=4,
                    linewidths=0,
                )
        panel.axhline(BUDGET * 1e3, color=RED, linestyle=":", linewidth=1.5)
        panel.text(
            0.003,
            BUDGET * 1e3 * 1.1,
            f"budget: {BUDGET * 1e3:.0f} ms, in which everybody else waits",
            color=RED,
            fontsize=8.5,
            va="bottom",
            transform=panel.get_yaxis_transform(),
        )
        value = base.told(guess, run)
        if isinstance(value, (int, float)):
            panel.axhline(value, color=RED, linestyle="--", linewidth=1.4)
            panel.text(
                0.997,
                value * 1.1,
                f"your guess for the longest: {value:g} ms",
                color=RED,
                fontsize=9,
                ha="right",
                va="bottom",
                transform=panel.get_yaxis_transform(),
            )
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_xlim(0, max(run.span[1] - run.span[0] for run, _ in found) * 1e3)
        panel.tick_params(labelbottom=number == len(found) - 1)
        panel.set_ylim(5e-3, max(max(turn[1] for turn in mine) * 2e3, BUDGET * 3e3))
        panel.set_ylabel("a turn took, ms (log)")
        panel.set_title(base.heading(run), fontsize=11.5, fontweight="bold", pad=5)
        panel.text(
            1,
            1.02,
            words[number].partition(": ")[2],
            transform=panel.transAxes,
            ha="right",
            va="bottom",
            fontsize=9.5,
        )
        rows += [
            [
                run.title,
                round((at - run.span[0]) * 1e3, 3),
                round(took * 1e3, 4),
                ready,
                CAUSES.get(cause, CAUSES[None])[2],
            ]
            for at, took, ready, cause in mine
        ]
    panel.set_xlabel("milliseconds since the workload began")
    used = {turn[3] if turn[3] in CAUSES else None for _, mine in found for turn in mine}
    figure.legend(
        handles=[
            Line2D([], [], color=shade, marker=marker, linestyle="none", label=text)
            for cause, (shade, marker, text) in CAUSES.items()
            if cause in used
        ],
        title="what took most of the turn",
        loc="lower left",
        bbox_to_anchor=(0.01, 0.0),
        ncols=8,
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        alignment="left",
    )
    caption = (
        f"Each mark is a turn: from when the loop learnt who is ready until it asked again; it is larger if more were ready. A turn is time in which nobody else is served."
        f"{base.traced([run for run, _ in found])}"
    )
    return base.Figure(
        figure,
        caption,
        f"Turns of an event loop. {'; '.join(words)}.",
        base.Table(["server", "at ms", "took ms", "ready", "mostly"], rows),
        {
            run.title: {"turns": len(mine), "longest": max(turn[1] for turn in mine)}
            for run, mine in found
        },
    )
