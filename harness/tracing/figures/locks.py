"""Locks: which lock costs most, what it guards, which lanes wait for which; and deadlocks."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Patch

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, RED, SKY
from harness.tracing.traces import Interval, Run

MOST_LANES = 10  # that wait for a lock or hold it longest; the others are not drawn
LAST = 0.05  # seconds of lanes in a portrait
HELD = {"facecolor": "#d6efe6", "edgecolor": GREEN, "hatch": "////"}
# kind: (colour, height, fill), in a portrait
SHADES = {
    "lock.hold": (GREEN, 0.8, "none"),
    "lock.wait": (ORANGE, 0.5, ORANGE),
    "pipe.write": (SKY, 0.5, SKY),
    "send": (BLUE, 0.4, BLUE),
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
    question: str = "Which lock, what does it guard, and which lanes wait for which?",
    guess: str | float | None = None,
) -> base.Figure:
    """Draws a row for each lock of each run: how long each lane waited for it and held it.

    On the right it shows which lane held the lock while others waited.

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
    counts = [max(len(set(one.wait) | set(one.hold)), 2) for _, _, one in boards]
    heights = [0.34 * min(count, MOST_LANES + 1) + 1.9 for count in counts]
    figure, top = base.sheet(1.1 + sum(heights) + 0.4, question, f"{words}.")
    height, rows, facts = figure.get_size_inches()[1], [], {}
    place = height - top - 0.1
    for (run, name, one), tall in zip(boards, heights, strict=True):
        low, deep = (place - tall + 0.75) / height, (tall - 1.6) / height
        place -= tall
        lanes = lanes_shown(run, one)
        panel = figure.add_axes([0.14, low, 0.36, deep])
        draw_times(panel, lanes, one)
        guards = run.locks.get(name)
        title = f"{run.title}: lock `{name}` " + (f"guards {guards}" if guards else "")
        style = {"fontsize": 11.5, "fontweight": "bold", "transform": panel.transAxes}
        panel.text(-0.33, 1.16, title.strip(), **style)
        mark(panel, lanes, one, guess)
        draw_pairs(figure.add_axes([0.63, low, 0.35, deep]), lanes, one)
        for lane in lanes:
            waited, held = round(one.wait[lane] * 1e3, 3), round(one.hold[lane] * 1e3, 3)
            rows.append([run.title, name, lane, waited, held])
        facts[run.title, name] = {
            "wait": sum(one.wait.values()),
            "hold": sum(one.hold.values()),
            "count": one.count,
            "pairs": dict(one.pairs),
        }
    handles = [
        Patch(color=ORANGE, label="waits for the lock"),
        Patch(**HELD, label="holds the lock"),
    ]
    style = {"loc": "lower left", "bbox_to_anchor": (0.01, 0.0), "ncols": 2}
    figure.legend(handles=handles, frameon=False, fontsize=9, **style)
    caption = (
        "For each lock: how long each lane waited for it, and held it, over the whole run; on the "
        "right, which lane held it while another waited. To take a free lock needs some "
        f"microseconds, too, and counts as waiting.{base.traced(runs)}"
    )
    table = base.Table(["server", "lock", "lane", "waited ms", "held ms"], rows)
    return base.Figure(figure, caption, f"Lock board. {words}.", table, facts)


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
    return (
        f"{run.title}, lock `{name}`: taken {one.count:,} times, "
        f"held {base.ms(sum(one.hold.values()))}, waited for {base.ms(sum(one.wait.values()))}"
        + (f", longest by {most}" if most else "")
    )


def lanes_shown(run: Run, one: Board) -> list[str]:
    """Returns the names of the lanes that are drawn, in the run's order."""
    lanes = [lane.name for lane in run.lanes if lane.name in one.wait or lane.name in one.hold]
    longest = sorted(lanes, key=lambda lane: -one.wait[lane] - one.hold[lane])[:MOST_LANES]
    return [lane for lane in lanes if lane in longest]


def draw_times(panel: Axes, lanes: list[str], one: Board):
    """Draws how long each lane waited for a lock and held it."""
    for number, lane in enumerate(lanes):
        panel.barh(-number + 0.17, one.wait[lane] * 1e3, 0.34, color=ORANGE)
        panel.barh(-number - 0.17, one.hold[lane] * 1e3, 0.34, linewidth=1, **HELD)
        text = f" {base.ms(one.wait[lane])}"
        panel.text(one.wait[lane] * 1e3, -number + 0.17, text, va="center", fontsize=8)
    panel.set_yticks([-number for number in range(len(lanes))], lanes)
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel("milliseconds in all")
    panel.set_title("how long each waited, and held it", fontsize=10, pad=6)
    panel.margins(x=0.15)


def mark(panel: Axes, lanes: list[str], one: Board, guess: str | float | None):
    """Marks the guess."""
    if isinstance(guess, (int, float)):
        waited = base.ms(sum(one.wait.values()))
        text = f"your guess: {guess:g} ms waited in all; it was {waited}"
    elif guess in lanes:
        panel.get_yticklabels()[lanes.index(guess)].set(color=RED, fontweight="bold")
        text = f"your guess: {guess}"
    else:
        return
    panel.text(1, 0.02, text, transform=panel.transAxes, ha="right", color=RED)


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
                grid.barh(-y, 0.94, 0.9, left=x - 0.47, color=ORANGE, alpha=alpha)
                text = f"{value * 1e3:.1f}" if value >= 5e-5 else "<0.1"
                grid.text(x, -y, text, ha="center", va="center", fontsize=8.5)
    names = [holder.replace("thread of ", "") for holder in holders]
    turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    grid.set_xticks(range(len(holders)), names, fontsize=8.5, **turned)
    grid.set_yticks([-y for y in range(len(waiters))], waiters, fontsize=8.5)
    title = "no lane waited while another held it"
    if one.pairs:
        title = "the waiting lane (row), the holding lane (column), ms"
    grid.set_title(title, fontsize=10, pad=6)
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
    question: str = "Which lane holds what, and which lane wants it?",
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
    names = list(dict.fromkeys(lanes))
    height = 6.2
    figure, top = base.sheet(height, question, answer)
    graph = figure.add_axes([0.02, 0.05, 0.36, 0.93 - top / height])
    draw_graph(graph, run, waits, names, guess)
    panel = figure.add_axes([0.52, 0.17, 0.46, 0.80 - top / height])
    rows = LastSteps(panel, run).draw(names)
    handles = [
        Patch(facecolor="none", edgecolor=GREEN, linewidth=2, label="holds (frame)"),
        Patch(color=ORANGE, label="waits for a lock"),
        Patch(color=SKY, label="writes to a pipe"),
    ]
    style = {"loc": "lower right", "bbox_to_anchor": (0.99, 0.0), "ncols": 3}
    figure.legend(handles=handles, frameon=False, fontsize=9, **style)
    caption = (
        "Left: an arrow goes from a lane that waits to the lane that holds the lock; a ring of "
        "arrows is a deadlock. Right: the last steps of each lane; a step without an end in the "
        f"trace never ends.{base.traced([run])}"
    )
    table = base.Table(["lane", "does", "what", "from ms", "to ms"], rows)
    alt = f"Portrait of a stuck program. {answer}"
    return base.Figure(figure, caption, alt, table, {"ring": ring, "waits": waits})


def answer_for(waits: Sequence[Wait], ring: list[str]) -> str:
    """Returns in words which lane waits for which."""
    if ring:
        wants = "; ".join(
            f"{waiter} wants `{what}`, which {holder} holds"
            for waiter, what, holder in waits
            if waiter in ring
        )
        return f"Deadlock: {wants}. None of them will ever go on."
    wants = "; ".join(
        f"{waiter} waits for {what}, "
        + (f"which {holder} holds" if holder else "and its holder is not known")
        for waiter, what, holder in waits
    )
    return f"No ring: {wants}."


def draw_graph(graph: Axes, run: Run, waits: Sequence[Wait], names: list[str], guess: str | None):
    """Draws a box for each lane, and an arrow from each one that waits to the holder."""
    ring = cycle_in(waits)
    step = 2 * math.pi / len(names)
    spots = {
        name: (math.cos(math.pi / 2 - step * number), math.sin(math.pi / 2 - step * number))
        for number, name in enumerate(names)
    }
    if len(names) == 2:
        spots = {names[0]: (0.0, 0.85), names[1]: (0.0, -0.85)}
    for waiter, what, holder in waits:
        if holder:
            is_stuck = waiter in ring and holder in ring
            draw_arrow(graph, spots[waiter], spots[holder], what, is_stuck, len(names) == 2)
    for name, (x, y) in spots.items():
        held = [
            one.about
            for one in run.open()
            if one.kind == "lock.hold" and run.lane(one.lane).name == name
        ]
        text = name + (f"\nholds `{', '.join(held)}`" if held else "")
        text += "\n(your guess)" if guess == name else ""
        box = {
            "boxstyle": "round,pad=0.5",
            "facecolor": "#fdeee4" if name in ring else "white",
            "edgecolor": RED if name in ring else GREY,
            "linewidth": 2,
        }
        style = {"ha": "center", "va": "center", "fontsize": 11, "bbox": box}
        graph.text(x, y, text, fontweight="bold" if name in ring else "normal", **style)
    graph.set_xlim(-1.7, 1.7)
    graph.set_ylim(-1.45, 1.45)
    graph.axis("off")


def draw_arrow(
    graph: Axes,
    begin: tuple[float, float],
    end: tuple[float, float],
    what: str,
    is_stuck: bool,
    is_pair: bool,
):
    """Draws the arrow from a waiter to a holder. `is_pair`: there are only two lanes."""
    (x, y), (to_x, to_y) = begin, end
    arrow = {"arrowstyle": "-|>", "mutation_scale": 22, "shrinkA": 30, "shrinkB": 34}
    arrow |= {"linewidth": 3, "color": RED} if is_stuck else {"linewidth": 1.5, "color": GREY}
    arrow |= {"linestyle": "-" if is_stuck else "--", "connectionstyle": "arc3,rad=-0.45"}
    graph.add_patch(FancyArrowPatch(begin, end, **arrow))
    bend = (0.42 if is_pair else 0.2) * 0.6
    middle = (x + to_x) / 2 + (y - to_y) * bend, (y + to_y) / 2 - (x - to_x) * bend
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    style = {"ha": "center", "va": "center", "fontsize": 10, "bbox": box}
    graph.text(*middle, f"wants\n`{what}`", **style)


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
                        ended = "never" if one.end is None else round(self.ms(one.end), 4)
                        began = round(self.ms(one.begin), 4)
                        rows.append([name, one.kind, one.about, began, ended])
        panel.set_yticks([-number for number in range(len(names))], names)
        panel.tick_params(axis="y", length=0)
        panel.set_ylim(-len(names) + 0.3, 0.7)
        panel.set_xlim(0, end)
        panel.set_xlabel("milliseconds; the red arrows never end")
        panel.set_title("The last steps", fontsize=11.5, fontweight="bold")
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
        wants = "wants " if one.end is None and not is_hold else ""
        style = {"fontsize": 9, "va": "center", "zorder": 6, "clip_on": True}
        style["color"] = shade if is_hold else BLACK
        self.panel.text(since, y + (tall / 2 + 0.06) * is_hold, f" {wants}{one.about}", **style)
        if one.end is None:
            arrow = {"arrowstyle": "-|>", "color": RED, "linewidth": 2}
            ends = (end * 1.03, y), (end * 0.985, y)
            self.panel.annotate("", *ends, arrowprops=arrow, annotation_clip=False)
