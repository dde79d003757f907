"""Loop iterations: how long each turn of an event loop took, and whether it made everyone wait."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.driving.messages import template
from harness.tracing.figures import base
from harness.tracing.figures.base import ALARM, GREY
from harness.tracing.traces import Run
from harness.verdicts.language import say

BUDGET = 0.010  # seconds that a turn may take, before a person notices
# What took most of a turn: (colour, marker, words)
CAUSES = {
    "send": (base.SEND, "o", template("sending")),
    "keep": (base.DISK, "s", template("writing to disk")),
    "hash": (base.HASH, "^", template("hashing a password")),
    "fork": (base.FORK, "D", template("forking")),
    "pipe.read": (base.PIPE, "v", template("reading pipes")),
    "recv": (base.RECV, "P", template("reading sockets")),
    "accept": (base.ACCEPT, "X", template("accepting")),
    None: (GREY, "h", template("Python code")),
}
QUESTION = template("Is the loop healthy? Each turn of it, and how long it took")
LEAST = 5e-3  # ms: the lower end of the axis


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
    runs: Run | Sequence[Run], question: str | None = None, guess: Any = None
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
    sheet, rows = base.Sheet(question or say(QUESTION), f"{answer}."), []
    length = max(run.span[1] - run.span[0] for run, _ in found)
    longest = max(turn.took for _, mine in found for turn in mine)
    for run, mine in found:
        sheet.space(0.45)
        panel = sheet.panel(1.75, 0.7 if base.is_narrow() else 0.95)
        base.head(panel, base.heading(run))
        draw(panel, run, mine, longest, base.guess_for(guess, run))
        panel.set_xlim(0, length * 1e3)
        sheet.space(0.2)
        for turn in mine:
            at, took = round((turn.at - run.span[0]) * 1e3, 3), round(turn.took * 1e3, 4)
            rows.append([run.title, at, took, turn.ready, say(CAUSES[turn.cause][2])])
    panel.set_xlabel(say("milliseconds since the workload began"), fontsize=9)
    sheet.space(0.35)
    used = {turn.cause for _, mine in found for turn in mine}
    sheet.legend(legend(used), 8, say("what took most of the turn"))
    caption = say(
        "Each mark is a turn: from when the loop learnt which clients are ready until it asked "
        "again. It is larger if more clients were ready. While a turn lasts, nobody else is "
        "served. The dotted line is a budget of {budget} ms.",
        budget=f"{BUDGET * 1e3:.0f}",
    )
    facts = {
        run.title: {
            "turns": len(mine),
            "longest": max(turn.took for turn in mine),
            "over": sum(turn.took > BUDGET for turn in mine),
        }
        for run, mine in found
    }
    head = [say("server"), say("at ms"), say("took ms"), say("ready"), say("mostly")]
    alt = say("Turns of an event loop.") + f" {answer}."
    caption += base.traced([run for run, _ in found])
    return base.Figure(sheet.finish(), caption, alt, base.Table(head, rows), facts)


def words_on(mine: list[Turn]) -> str:
    """Returns the turns of one run in words."""
    longest = max(mine, key=lambda turn: turn.took)
    over = sum(turn.took > BUDGET for turn in mine)
    return say(
        "{turns}, longest {longest} ({cause}), {over} over {budget} ms, up to {ready} ready at "
        "once",
        turns=base.counted(len(mine), base.TURNS),
        longest=base.ms(longest.took),
        cause=say(CAUSES[longest.cause][2]),
        over=over or say("none"),
        budget=f"{BUDGET * 1e3:.0f}",
        ready=max(turn.ready for turn in mine),
    )


def draw(panel: Axes, run: Run, mine: list[Turn], longest: float, guess: Any):
    """Draws the turns of one run. `longest`: seconds of the longest turn of all runs."""
    panel.set_yscale("log")
    panel.set_ylim(LEAST, max(longest * 2e3, BUDGET * 4e3))
    for cause, (shade, marker, _) in CAUSES.items():
        these = [turn for turn in mine if turn.cause == cause]
        if these:
            x = [(turn.at - run.span[0]) * 1e3 for turn in these]
            y = [max(turn.took * 1e3, LEAST) for turn in these]
            areas = [14 + 12 * min(turn.ready, 12) for turn in these]
            panel.vlines(x, LEAST, y, color=shade, linewidth=1.2, alpha=0.55)
            panel.scatter(x, y, areas, marker=marker, color=shade, zorder=4, linewidths=0)
    budget = BUDGET * 1e3
    panel.axhline(budget, color=ALARM, linestyle=":", linewidth=1.5)
    text = say("budget: {budget} ms", budget=f"{budget:.0f}")
    box = {"facecolor": base.GROUND, "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
    style = {"color": ALARM, "va": "bottom", "fontsize": 8.5, "bbox": box, "zorder": 6}
    panel.text(0.003, budget * 1.15, text, transform=panel.get_yaxis_transform(), **style)
    if base.is_number(guess):
        text = say("your guess for the longest: {guess} ms", guess=base.plain(guess))
        base.mark_guess(panel, guess, text)
    panel.yaxis.set_major_formatter(lambda value, _: base.local(f"{value:g}"))
    panel.minorticks_off()
    panel.set_ylabel(say("a turn took, ms (log)"), fontsize=9)


def legend(used: set[str | None]) -> list[Line2D]:
    """Returns the handles of the legend: only the causes that are used."""
    return [
        Line2D([], [], color=shade, marker=marker, linestyle="none", label=say(text))
        for cause, (shade, marker, text) in CAUSES.items()
        if cause in used
    ]
