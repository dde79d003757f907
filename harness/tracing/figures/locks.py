"""Locks: which lock costs most, what it guards, which lanes wait for which; and deadlocks."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Patch

from harness.tracing.figures import base
from harness.tracing.figures.base import (
    ALARM,
    DARK,
    GREY,
    GROUND,
    GUESS,
    HOLD_LOCK,
    PALE,
    WAIT_LOCK,
)
from harness.tracing.traces import Interval, Run
from harness.verdicts.language import say

MOST_LANES = 10  # that wait for a lock or hold it longest; the others are not drawn
LAST = 0.05  # seconds of lanes in a portrait
HELD = {"facecolor": "none", "edgecolor": HOLD_LOCK, "hatch": "////"}
# kind: (colour, height, fill), in a portrait
SHADES = {
    "lock.hold": (HOLD_LOCK, 0.8, "none"),
    "lock.wait": (WAIT_LOCK, 0.5, WAIT_LOCK),
    "pipe.write": (base.PIPE, 0.5, base.PIPE),
    "send": (base.SEND, 0.4, base.SEND),
}


class Board(NamedTuple):
    """One lock of one run. Times are seconds, lanes are names.

    wait, hold  {lane: how long it waited for the lock, held it}
    count       how often the lock was taken
    pairs       {(waiter, holder): how long}
    """

    wait: dict[str, float]
    hold: dict[str, float]
    count: int
    pairs: dict[tuple[str, str], float]


Boards = list[tuple[Run, str, Board]]


@base.drawn
def lock_board(
    runs: Run | Sequence[Run],
    question: str | None = None,
    guess: str | float | None = None,
) -> base.Figure:
    """Draws a row for each lock of each run: how long each lane waited for it and held it.

    Beside it, it shows which lane held the lock while others waited.

    guess   the name of the lane that waited longest, such as "writer", or the milliseconds that
            all lanes waited

    Raises ValueError if no run has a lock.
    """
    runs = base.several(runs)
    boards = [(run, name, board(run, name)) for run in runs for name in locks_of(run)]
    if not boards:
        missing = "".join(f"; {what}" for run in runs for what in run.missing)
        raise ValueError(f"there is no lock in {base.listed([run.title for run in runs])}{missing}")
    words = "; ".join(words_on(*entry) for entry in boards)
    asked = question or say("Which lock, what does it guard, and which lanes wait for which?")
    sheet, rows, facts = base.Sheet(asked, f"{words}."), [], {}
    narrow = base.is_narrow()
    for run, name, one in boards:
        lanes = lanes_shown(run, one)
        tall = 0.34 * max(len(lanes), 2) + 0.2
        sheet.write(title_of(run, name), 10.5 if narrow else 11.5, 10.5, fontweight="bold")
        sheet.space(0.35)
        if narrow:
            panel = sheet.panel(tall, 1.2)
            sheet.space(0.9)
            grid = sheet.panel(tall, 1.2)
        else:
            panel, grid = sheet.panels(tall, (1.7, 6.4), (8.2, 12.8))
        draw_times(panel, lanes, one)
        mark(panel, lanes, one, guess)
        draw_pairs(grid, lanes, one)
        sheet.space(0.95)
        for lane in lanes:
            waited, held = round(one.wait[lane] * 1e3, 3), round(one.hold[lane] * 1e3, 3)
            rows.append([run.title, name, lane, waited, held])
        facts[run.title, name] = {
            "wait": sum(one.wait.values()),
            "hold": sum(one.hold.values()),
            "count": one.count,
            "pairs": dict(one.pairs),
        }
    waits = Patch(color=WAIT_LOCK, label=say("waits for the lock"))
    sheet.legend([waits, Patch(**HELD, label=say("holds the lock"))], 2)
    caption = say(
        "For each lock: how long each lane waited for it, and held it, over the whole run, and "
        "which lane held it while another waited. To take a free lock needs some microseconds, "
        "too, and counts as waiting."
    )
    head = [say("server"), say("lock"), say("lane"), say("waited ms"), say("held ms")]
    alt, table = say("Lock board.") + f" {words}.", base.Table(head, rows)
    return base.Figure(sheet.finish(), caption + base.traced(runs), alt, table, facts)


def title_of(run: Run, name: str) -> str:
    """Returns the title of a lock's row."""
    if guards := run.locks.get(name):
        return say(
            "{server}: lock `{lock}` guards {what}", server=run.title, lock=name, what=guards
        )
    return say("{server}: lock `{lock}`", server=run.title, lock=name)


def locks_of(run: Run) -> list[str]:
    """Returns the names of a run's locks."""
    taken = (one.about for one in run.of("lock.wait", "lock.hold"))
    return list(dict.fromkeys([*run.locks, *taken]))


def board(run: Run, name: str) -> Board:
    """Measures the lock `name` of a run."""
    wait, hold, pairs = defaultdict(float), defaultdict(float), defaultdict(float)
    holds = [one for one in run.of("lock.hold") if one.about == name]
    for held in holds:
        hold[run.lane(held.lane).name] += run.end_of(held) - held.begin
    first = 0  # holds before this one ended before the wait began
    for one in run.of("lock.wait"):
        if one.about != name:
            continue
        waiter, until = run.lane(one.lane).name, run.end_of(one)
        wait[waiter] += until - one.begin
        while first < len(holds) and run.end_of(holds[first]) <= one.begin:
            first += 1
        for held in holds[first:]:
            if held.begin >= until:
                break
            both = min(until, run.end_of(held)) - max(one.begin, held.begin)
            if both > 0 and held.lane != one.lane:
                pairs[waiter, run.lane(held.lane).name] += both
    return Board(wait, hold, len(holds), pairs)


def words_on(run: Run, name: str, one: Board) -> str:
    """Returns a lock's times in words."""
    most = max(one.wait, key=one.wait.get, default=None)
    text = say(
        "{server}, lock `{lock}`: taken {count} times, held {held}, waited for {waited}",
        server=run.title,
        lock=name,
        count=base.local(f"{one.count:,}"),
        held=base.ms(sum(one.hold.values())),
        waited=base.ms(sum(one.wait.values())),
    )
    return text + (", " + say("longest by {lane}", lane=base.lane_name(most)) if most else "")


def lanes_shown(run: Run, one: Board) -> list[str]:
    """Returns the names of the lanes that are drawn, in the run's order."""
    lanes = [lane.name for lane in run.lanes if lane.name in one.wait or lane.name in one.hold]
    longest = sorted(lanes, key=lambda lane: -one.wait[lane] - one.hold[lane])[:MOST_LANES]
    return [lane for lane in lanes if lane in longest]


def draw_times(panel: Axes, lanes: list[str], one: Board):
    """Draws how long each lane waited for a lock and held it."""
    for number, lane in enumerate(lanes):
        panel.barh(-number + 0.17, one.wait[lane] * 1e3, 0.34, color=WAIT_LOCK)
        panel.barh(-number - 0.17, one.hold[lane] * 1e3, 0.34, linewidth=1, **HELD)
        text = f" {base.ms(one.wait[lane])}"
        panel.text(one.wait[lane] * 1e3, -number + 0.17, text, va="center", fontsize=8)
    names = [base.lane_name(lane) for lane in lanes]
    panel.set_yticks([-number for number in range(len(lanes))], names, fontsize=9)
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel(say("milliseconds in all"), fontsize=9)
    panel.set_title(say("how long each waited, and held it"), fontsize=10, pad=6)
    panel.margins(x=0.15)


def mark(panel: Axes, lanes: list[str], one: Board, guess: str | float | None):
    """Marks the guess."""
    if base.is_number(guess):
        waited = base.ms(sum(one.wait.values()))
        text = say(
            "your guess: {guess} ms waited in all; it was {waited}",
            guess=base.plain(guess),
            waited=waited,
        )
    elif guess in lanes:
        panel.get_yticklabels()[lanes.index(guess)].set(color=GUESS, fontweight="bold")
        text = say("your guess: {guess}", guess=base.lane_name(guess))
    else:
        return
    panel.text(
        1, 1.02, text, transform=panel.transAxes, ha="right", color=GUESS, fontsize=8.5, va="top"
    )


def draw_pairs(grid: Axes, lanes: list[str], one: Board):
    """Draws which lane held a lock while which other waited."""
    waiters = [lane for lane in lanes if any(waiter == lane for waiter, _ in one.pairs)]
    holders = [lane for lane in lanes if any(holder == lane for _, holder in one.pairs)]
    peak = max(one.pairs.values(), default=0)
    for y, waiter in enumerate(waiters):
        for x, holder in enumerate(holders):
            value = one.pairs.get((waiter, holder), 0)
            if value:
                alpha = 0.15 + 0.85 * value / peak
                grid.barh(-y, 0.94, 0.9, left=x - 0.47, color=WAIT_LOCK, alpha=alpha)
                text = base.local(f"{value * 1e3:.1f}" if value >= 5e-5 else "<0.1")
                ink = DARK if alpha > 0.6 else base.INK
                grid.text(x, -y, text, ha="center", va="center", fontsize=8.5, color=ink)
    names = [base.lane_name(holder.replace("thread of ", "")) for holder in holders]
    turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    grid.set_xticks(range(len(holders)), names, fontsize=8.5, **turned)
    rows = [base.lane_name(waiter) for waiter in waiters]
    grid.set_yticks([-y for y in range(len(waiters))], rows, fontsize=8.5)
    title = say("no lane waited while another held it")
    if one.pairs:
        title = say("the waiting lane (row), the holding lane (column), ms")
    grid.set_title(title, fontsize=10 if not base.is_narrow() else 8.5, pad=6)
    if holders:
        grid.set_xlim(-0.6, len(holders) - 0.4)
        grid.set_ylim(-len(waiters) + 0.4, 0.6)
    base.no_frame(grid)


# -- Deadlock -------------------------------------------------------------------------------------

Wait = tuple[str, str, str | None]  # (waiter, what it waits for, its holder if that is known)


def waiting_for(run: Run) -> list[Wait]:
    """Returns the lanes that still wait when the trace ends: for a lock, or to write to a pipe.

    Waiters and holders are names of lanes.
    """
    unended = run.open()
    holders = {one.about: run.lane(one.lane).name for one in unended if one.kind == "lock.hold"}
    waits: list[Wait] = [
        (run.lane(one.lane).name, one.about, holders.get(one.about))
        for one in unended
        if one.kind == "lock.wait"
    ]
    names = [lane.name for lane in run.lanes]
    for one in unended:
        if one.kind == "pipe.write":
            ends = one.about, f"the {one.about}", f"child of {run.names.get(one.about)}"
            other = next((name for name in names if name in ends), None)
            waits.append((run.lane(one.lane).name, f"pipe to {other or one.about}", other))
    return waits


def cycle_in(waits: Sequence[Wait]) -> list[str]:
    """Returns the lanes of a ring in which each waits for the next; [] if there is none."""
    after = {waiter: holder for waiter, _, holder in waits if holder}
    for start in after:
        path = [start]
        while after.get(path[-1]) and after[path[-1]] not in path:
            path.append(after[path[-1]])
        if after.get(path[-1]) in path:
            return path[path.index(after[path[-1]]) :]
    return []


@base.drawn
def deadlock(
    run: Run,
    question: str | None = None,
    guess: str | None = None,
) -> base.Figure:
    """Draws a run that got stuck: which lane waits for which, and the last steps of each.

    guess   the name of a lane in the ring

    It is drawn from the intervals that began and never ended. Raises ValueError if, at the end, no
    lane waits for a lock or to write to a pipe.
    """
    waits = waiting_for(run)
    if not waits:
        missing = "".join(f"; {what}" for what in run.missing)
        raise ValueError(
            f"{run.title}: at the end nobody waits for a lock, or to write to a pipe{missing}"
        )
    ring = cycle_in(waits)
    answer = answer_for(waits, ring)
    lanes = (lane for waiter, _, holder in waits for lane in (waiter, holder) if lane)
    names = sorted(dict.fromkeys(lanes), key=lambda name: name not in ring)
    sheet = base.Sheet(question or say("Which lane holds what, and which lane wants it?"), answer)
    steps = max(2.2, 0.72 * len(names) + 0.3)
    if base.is_narrow():
        graph = sheet.panel(3.4, 0.1, 0.1)
        sheet.space(0.45)
        panel = sheet.panel(steps, 1.2, 0.25)
    else:
        sheet.space(0.35)
        tall = max(steps, 3.6)
        graph, panel = sheet.panels(tall, (0.1, 5.2), (6.9, 12.7))
    draw_graph(graph, run, waits, names, guess)
    rows = LastSteps(panel, run).draw(names)
    sheet.space(0.6)
    kinds = {row[1] for row in rows}
    handles = [Patch(facecolor="none", edgecolor=HOLD_LOCK, linewidth=2, label=say("holds a lock"))]
    handles.append(Patch(color=WAIT_LOCK, label=say("waits for a lock")))
    if "pipe.write" in kinds:
        handles.append(Patch(color=base.PIPE, label=say("writes to a pipe")))
    sheet.legend(handles, 3)
    caption = say(
        "An arrow goes from a lane that waits to the lane that holds the lock; a ring of thick "
        "arrows is a deadlock. The last steps of each lane: a step with an arrow at its right end "
        "never ends."
    )
    head = [say("lane"), say("does"), say("what"), say("from ms"), say("to ms")]
    alt = say("Portrait of a stuck program.") + f" {answer}"
    facts = {"ring": ring, "waits": waits}
    caption += base.traced([run])
    return base.Figure(sheet.finish(), caption, alt, base.Table(head, rows), facts)


def answer_for(waits: Sequence[Wait], ring: list[str]) -> str:
    """Returns in words which lane waits for which."""
    if ring:
        wants = "; ".join(
            say(
                "{waiter} wants `{what}`, which {holder} holds",
                waiter=base.lane_name(waiter),
                what=what,
                holder=base.lane_name(holder),
            )
            for waiter, what, holder in waits
            if waiter in ring and holder
        )
        return say("Deadlock: {wants}. None of them will ever go on.", wants=wants)
    wants = "; ".join(
        say(
            "{waiter} waits for {what}, which {holder} holds",
            waiter=base.lane_name(waiter),
            what=what,
            holder=base.lane_name(holder),
        )
        if holder
        else say(
            "{waiter} waits for {what}, and its holder is not known",
            waiter=base.lane_name(waiter),
            what=what,
        )
        for waiter, what, holder in waits
    )
    return say("No ring: {wants}.", wants=wants)


def draw_graph(graph: Axes, run: Run, waits: Sequence[Wait], names: list[str], guess: str | None):
    """Draws a box for each lane, and an arrow from each one that waits to the holder.

    The lanes of a ring are on top, and those that only wait are in a row below.
    """
    ring = cycle_in(waits)
    spots = spots_of(names, ring)
    for waiter, what, holder in waits:
        if holder:
            is_stuck = waiter in ring and holder in ring
            draw_arrow(graph, spots[waiter], spots[holder], what, is_stuck)
    for name, (x, y) in spots.items():
        held = [
            one.about
            for one in run.open()
            if one.kind == "lock.hold" and run.lane(one.lane).name == name
        ]
        text = base.lane_name(name)
        text += "\n" + say("holds `{what}`", what=", ".join(held)) if held else ""
        text += "\n" + say("(your guess)") if guess == name else ""
        box = {
            "boxstyle": "round,pad=0.4",
            "facecolor": GROUND,
            "edgecolor": GUESS if guess == name else ALARM if name in ring else GREY,
            "linewidth": 2,
        }
        size = 9 if base.is_narrow() else 10.5
        style = {"ha": "center", "va": "center", "fontsize": size, "bbox": box, "zorder": 5}
        graph.text(x, y, text, fontweight="bold" if name in ring else "normal", **style)
    graph.set_xlim(-1.7, 1.7)
    graph.set_ylim(-1.45, 1.45)
    graph.axis("off")


def spots_of(names: list[str], ring: list[str]) -> dict[str, tuple[float, float]]:
    """Returns {lane: (x, y)}: a ring of two or more on top, the other lanes in rows below it."""
    spots = {}
    main = [name for name in names if name in ring] or names[:1]
    others = [name for name in names if name not in main]
    if len(main) < 3:
        for number, name in enumerate(main):
            spots[name] = (0.0 if len(main) == 1 else 2.1 * number - 1.05), 0.8
    else:
        step = 2 * math.pi / len(main)
        for number, name in enumerate(main):
            angle = math.pi / 2 - step * number
            spots[name] = 1.15 * math.cos(angle), 0.45 + 0.85 * math.sin(angle)
    for number, name in enumerate(others):
        row, column = divmod(number, 3)
        count = min(3, len(others) - 3 * row)
        spots[name] = 2.3 * (column + 0.5) / count - 1.15, -0.75 - 0.55 * row
    return spots


def draw_arrow(
    graph: Axes, begin: tuple[float, float], end: tuple[float, float], what: str, is_stuck: bool
):
    """Draws the arrow from a waiter to a holder, and on it what the waiter wants."""
    (x, y), (to_x, to_y) = begin, end
    bow = -0.4 if is_stuck else 0.0
    arrow = {"arrowstyle": "-|>", "mutation_scale": 20, "shrinkA": 26, "shrinkB": 30}
    arrow |= {"linewidth": 3, "color": ALARM} if is_stuck else {"linewidth": 1.5, "color": GREY}
    arrow |= {"linestyle": "-" if is_stuck else "--", "connectionstyle": f"arc3,rad={bow}"}
    graph.add_patch(FancyArrowPatch(begin, end, zorder=2, **arrow))
    bend = -bow * 0.5
    part = 0.5 if is_stuck else 0.3  # of the way: several may go to one holder
    middle = x + (to_x - x) * part - (to_y - y) * bend, y + (to_y - y) * part + (to_x - x) * bend
    box = {"facecolor": GROUND, "edgecolor": "none", "pad": 1}
    style = {"ha": "center", "va": "center", "fontsize": 8.5, "bbox": box, "zorder": 4}
    graph.text(*middle, say("wants `{what}`", what=what), **style)


class LastSteps:
    """The panel with the last steps of a run that got stuck. Times on it are milliseconds."""

    def __init__(self, panel: Axes, run: Run):
        self.panel, self.run = panel, run
        kinds = ("lock.wait", "lock.hold", "pipe.write")
        last = max(event.at for event in run.events if event.kind in kinds)
        begin = last - LAST
        near = [one.begin for one in run.of(*kinds) if one.begin > begin]
        first = min(near, default=begin)
        self.begin = max(begin, first - (last - first) * 0.15 - 1e-5)
        self.end = last + max((last - self.begin) * 0.3, 1e-5)

    def ms(self, at: float) -> float:
        """The place of a time on the panel."""
        return (at - self.begin) * 1e3

    def draw(self, names: list[str]) -> list[list]:
        """Draws the lanes of these names. Returns the table's rows."""
        panel, rows, end = self.panel, [], self.ms(self.end)
        for number, name in enumerate(names):
            panel.plot([0, end], [-number, -number], color=PALE, linewidth=2, zorder=1)
            keys = [key for lane in self.run.lanes if lane.name == name for key in lane.keys]
            for key in keys:
                for one in self.run.intervals_of[key]:
                    until = one.end if one.end is not None else self.end
                    if one.kind in SHADES and until > self.begin and one.begin < self.end:
                        self.bar(one, -number)
                        ended = say("never") if one.end is None else round(self.ms(one.end), 4)
                        began = round(self.ms(one.begin), 4)
                        rows.append([name, one.kind, one.about, began, ended])
        shown = [base.lane_name(name) for name in names]
        panel.set_yticks([-number for number in range(len(names))], shown, fontsize=9)
        panel.tick_params(axis="y", length=0)
        panel.set_ylim(-len(names) + 0.3, 0.7)
        panel.set_xlim(0, end)
        panel.locator_params(axis="x", nbins=5)
        panel.set_xlabel(say("milliseconds"), fontsize=9)
        panel.set_title(say("The last steps"), fontsize=11, fontweight="bold")
        return rows

    def bar(self, one: Interval, y: float):
        """Draws one interval, with an arrow if it never ends."""
        shade, tall, fill = SHADES[one.kind]
        is_hold = one.kind == "lock.hold"
        if is_hold:  # the frame of a lock that was taken inside another is smaller
            holds = [other for other in self.run.intervals_of[one.lane] if other.kind == one.kind]
            tall -= 0.16 * sum(other.begin < one.begin < self.run.end_of(other) for other in holds)
        since = self.ms(max(one.begin, self.begin))
        end = self.ms(self.end)
        until = end if one.end is None else self.ms(one.end)
        style = {"facecolor": fill, "edgecolor": shade, "linewidth": 1.8}
        place = (y - tall / 2, tall)
        self.panel.broken_barh([(since, until - since)], place, zorder=3 if is_hold else 2, **style)
        if until - since < 0.25 * end:  # no room: the frame and the colour say it
            return
        text = say("holds {what}", what=one.about) if is_hold else one.about
        if one.end is None and not is_hold:
            text = say("wants {what}", what=one.about)
        style = {"fontsize": 8, "va": "center", "zorder": 6, "clip_on": True}
        style["color"] = base.INK if is_hold else DARK
        # Two frames of one lane: the text of the inner one is on the right.
        inner = is_hold and tall < SHADES["lock.hold"][1] - 0.01
        x, side = (until, "right") if inner else (since, "left")
        self.panel.text(x, y + (tall / 2 + 0.07) * is_hold, f" {text} ", ha=side, **style)
        if one.end is None:
            arrow = {"arrowstyle": "-|>", "color": ALARM, "linewidth": 2}
            ends = (end * 1.03, y), (end * 0.985, y)
            self.panel.annotate("", *ends, arrowprops=arrow, annotation_clip=False)
