"""Loop iterations: how long each turn of an event loop took, and whether it made everyone wait."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY
from harness.tracing.traces import Run

BUDGET = 0.010  # seconds that a turn may take, before a person notices
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
QUESTION = "Is the loop healthy? Each turn of it, and how long it took"


class Turn(NamedTuple):
    """One turn of a loop, from the end of a wait to the beginning of the next one.

    at          when it began
    took        seconds
    ready       how many sources were ready
    cause       what took most of it, a key of CAUSES; None if that is nothing that is traced
    """

    at: float
    took: float
    ready: int
    cause: str | None


def turns(run: Run) -> list[Turn]:
    """Returns the turns of a run's loop or hub; [] if it has neither."""
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
                found.append(Turn(since, took, ready, cause_of(cause, spent, took)))
        elif event.phase == "B":
            open_at[event.kind, event.about] = event.at
        elif event.phase == "E" and (event.kind, event.about) in open_at:
            took = event.at - open_at.pop((event.kind, event.about))
            spent[event.kind] = spent.get(event.kind, 0) + took
    return found


def cause_of(kind: str | None, spent: dict[str, float], took: float) -> str | None:
    """Returns `kind` if it took more than half of a turn, else None."""
    return kind if kind and spent[kind] > took / 2 and kind in CAUSES else None


@base.drawn
def loop_turns(
    runs: Run | Sequence[Run], question: str = QUESTION, guess: Any = None
) -> base.Figure:
    """Draws a panel for each run that has a loop (nonblocking) or a hub (fork).

    guess   the longest turn in milliseconds, one number or {design: number}

    Raises ValueError if no run has one.
    """
    found = []
    for run in base.several(runs):
        mine = [turn for turn in turns(run) if run.span[0] <= turn.at <= run.span[1]]
        if mine:
            found.append((run, mine))
    if not found:
        raise ValueError("none of these runs has a loop in its trace")
    words = [words_on(mine) for _, mine in found]
    answer = "; ".join(f"{run.title}: {text}" for (run, _), text in zip(found, words, strict=True))
    figure, top = base.sheet(1.3 + 2.3 * len(found) + 0.7, question, f"{answer}.")
    height, rows = figure.get_size_inches()[1], []
    tall = (height - top - 0.85) / len(found)
    length = max(run.span[1] - run.span[0] for run, _ in found)
    for number, (run, mine) in enumerate(found):
        low = 0.85 + (len(found) - 1 - number) * tall
        panel = figure.add_axes([0.075, low / height, 0.905, (tall - 0.5) / height])
        draw(panel, run, mine, base.guess_for(guess, run))
        panel.set_xlim(0, length * 1e3)
        panel.tick_params(labelbottom=number == len(found) - 1)
        style = {"transform": panel.transAxes, "ha": "right", "va": "bottom", "fontsize": 9.5}
        panel.text(1, 1.02, words[number], **style)
        for turn in mine:
            at, took = round((turn.at - run.span[0]) * 1e3, 3), round(turn.took * 1e3, 4)
            rows.append([run.title, at, took, turn.ready, CAUSES[turn.cause][2]])
    panel.set_xlabel("milliseconds since the workload began")
    legend(figure, {turn.cause for _, mine in found for turn in mine})
    caption = (
        "Each mark is a turn: from when the loop learnt who is ready until it asked again; it is "
        "larger if more were ready. A turn is time in which nobody else is served."
        f"{base.traced([run for run, _ in found])}"
    )
    facts = {
        run.title: {"turns": len(mine), "longest": max(turn.took for turn in mine)}
        for run, mine in found
    }
    table = base.Table(["server", "at ms", "took ms", "ready", "mostly"], rows)
    return base.Figure(figure, caption, f"Turns of an event loop. {answer}.", table, facts)


def words_on(mine: list[Turn]) -> str:
    """Returns the turns of one run in words."""
    longest = max(mine, key=lambda turn: turn.took)
    over = sum(turn.took > BUDGET for turn in mine)
    return (
        f"{base.plural(len(mine), 'turn')}, longest {base.ms(longest.took)} "
        f"({CAUSES[longest.cause][2]}), {over or 'none'} over {BUDGET * 1e3:.0f} ms, "
        f"up to {max(turn.ready for turn in mine)} ready at once"
    )


def draw(panel: Axes, run: Run, mine: list[Turn], guess: Any):
    """Draws the turns of one run."""
    for cause, (shade, marker, _) in CAUSES.items():
        these = [turn for turn in mine if turn.cause == cause]
        if these:
            x = [(turn.at - run.span[0]) * 1e3 for turn in these]
            y = [max(turn.took * 1e3, 1e-3) for turn in these]
            areas = [14 + 12 * min(turn.ready, 12) for turn in these]
            panel.vlines(x, 1e-3, y, color=shade, linewidth=1.2, alpha=0.55)
            panel.scatter(x, y, areas, marker=marker, color=shade, zorder=4, linewidths=0)
    budget = BUDGET * 1e3
    panel.axhline(budget, color=RED, linestyle=":", linewidth=1.5)
    text = f"budget: {budget:.0f} ms, in which everybody else waits"
    style = {"color": RED, "va": "bottom", "transform": panel.get_yaxis_transform()}
    panel.text(0.003, budget * 1.1, text, fontsize=8.5, **style)
    if isinstance(guess, (int, float)):
        panel.axhline(guess, color=RED, linestyle="--", linewidth=1.4)
        text = f"your guess for the longest: {guess:g} ms"
        base.at_right(panel, guess * 1.1, text, color=RED, fontsize=9)
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_ylim(5e-3, max(max(turn.took for turn in mine) * 2e3, budget * 3))
    panel.set_ylabel("a turn took, ms (log)")
    panel.set_title(base.heading(run), fontsize=11.5, fontweight="bold", pad=5)


def legend(figure: base.Drawing, used: set[str | None]):
    """Draws the legend: only the causes that are used."""
    handles = [
        Line2D([], [], color=shade, marker=marker, linestyle="none", label=text)
        for cause, (shade, marker, text) in CAUSES.items()
        if cause in used
    ]
    figure.legend(
        handles=handles,
        title="what took most of the turn",
        loc="lower left",
        bbox_to_anchor=(0.01, 0.0),
        ncols=8,
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        alignment="left",
    )
