"""Locks: which costs most, what it guards, who waited for whom; and the portrait of a deadlock."""

import math
from collections import defaultdict

from matplotlib.patches import FancyArrowPatch, Patch

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, RED, SKY

MOST_LANES = 10  # with most to do with the lock; what the others do is not drawn
LAST = 0.05  # seconds of lanes in a portrait


@base.drawn
def lock_board(runs, question="Which lock, guarding what, and who waited for whom?", guess=None):
    """A row for each lock of each run that has one: how long each lane waited for it and held it, and who held it while others waited.

    guess   the name of the lane that waited longest, such as "writer", or the milliseconds waited in all
    Raises ValueError if no run has a lock.
    """
    runs = base.several(runs)
    names = {
        run.title: dict.fromkeys(
            [*run.locks, *(one.about for one in run.of("lock.wait", "lock.hold"))]
        )
        for run in runs
    }
    boards = [(run, name, board(run, name)) for run in runs for name in names[run.title]]
    if not boards:
        raise ValueError(
            f"there is no lock in {base.listed([run.title for run in runs])}"
            + "".join(f"; {what}" for run in runs for what in run.missing)
        )
    words = []
    for run, name, (wait, hold, count, pairs) in boards:
        most = max(wait, key=wait.get, default=None)
        words.append(
            f"{run.title}, lock `{name}`: taken {count:,} times, held {base.ms(sum(hold.values()))}, waited for {base.ms(sum(wait.values()))}"
            + (f", longest by {most}" if most else "")
        )
    sizes = [max(len(set(wait) | set(hold)), 2) for _, _, (wait, hold, *_) in boards]
    rows_tall = [0.34 * min(count, MOST_LANES + 1) + 1.9 for count in sizes]
    figure, top = base.sheet(1.1 + sum(rows_tall) + 0.4, question, "; ".join(words) + ".")
    height, table, facts = figure.get_size_inches()[1], [], {}
    place = height - top - 0.1
    for (run, name, (wait, hold, count, pairs)), tall in zip(boards, rows_tall):
        low, deep = (place - tall + 0.75) / height, (tall - 1.6) / height
        place -= tall
        lanes = [lane.name for lane in run.lanes if lane.name in wait or lane.name in hold]
        kept = sorted(lanes, key=lambda one: -wait[one] - hold[one])[:MOST_LANES]
        lanes = [one for one in lanes if one in kept]
        panel = figure.add_axes([0.14, low, 0.36, deep])
        for number, lane in enumerate(lanes):
            panel.barh(-number + 0.17, wait[lane] * 1e3, 0.34, color=ORANGE)
            panel.barh(
                -number - 0.17,
                hold[lane] * 1e3,
                0.34,
                facecolor="#d6efe6",
                edgecolor=GREEN,
                hatch="////",
                linewidth=1,
            )
            panel.text(
                wait[lane] * 1e3, -number + 0.17, f" {base.ms(wait[lane])}", va="center", fontsize=8
            )
        panel.set_yticks([-number for number in range(len(lanes))], lanes)
        panel.tick_params(axis="y", length=0)
        panel.set_xlabel("milliseconds in all")
        panel.text(
            -0.33,
            1.16,
            f"{run.title}: lock `{name}` guards {run.locks.get(name, 'what, is not said')}",
            fontsize=11.5,
            fontweight="bold",
            transform=panel.transAxes,
        )
        panel.set_title("how long each waited, and held it", fontsize=10, pad=6)
        panel.margins(x=0.15)
        if isinstance(guess, (int, float)):
            panel.text(
                1,
                0.02,
                f"your guess: {guess:g} ms waited in all; it was {base.ms(sum(wait.values()))}",
                transform=panel.transAxes,
                ha="right",
                color=RED,
            )
        elif guess in lanes:
            panel.get_yticklabels()[lanes.index(guess)].set(color=RED, fontweight="bold")
            panel.text(
                1, 0.02, f"your guess: {guess}", transform=panel.transAxes, ha="right", color=RED
            )
        grid = figure.add_axes([0.63, low, 0.35, deep])
        waiters, holders = (
            [one for one in lanes if any(pair[place] == one for pair in pairs)] for place in (0, 1)
        )
        peak = max(pairs.values(), default=0)
        for y, waiter in enumerate(waiters):
            for x, holder in enumerate(holders):
                value = pairs.get((waiter, holder), 0)
                if value:
                    part = value / peak
                    grid.barh(-y, 0.94, 0.9, left=x - 0.47, color=ORANGE, alpha=0.15 + 0.85 * part)
                    grid.text(
                        x,
                        -y,
                        f"{value * 1e3:.1f}" if value >= 5e-5 else "<0.1",
                        ha="center",
                        va="center",
                        fontsize=8.5,
                    )
        grid.set_xticks(
            range(len(holders)),
            [one.replace("thread of ", "") for one in holders],
            fontsize=8.5,
            rotation=30,
            ha="right",
            rotation_mode="anchor",
        )
        grid.set_yticks([-y for y in range(len(waiters))], waiters, fontsize=8.5)
        grid.tick_params(length=0)
        grid.set_title(
            "who waited (row) while who held it (column), ms"
            if pairs
            else "nobody waited while another held it",
            fontsize=10,
            pad=6,
        )
        if holders:
            grid.set_xlim(-0.6, len(holders) - 0.4)
            grid.set_ylim(-len(waiters) + 0.4, 0.6)
        for side in grid.spines.values():
            side.set_visible(False)
        for lane in [*lanes]:
            table.append(
                [run.title, name, lane, round(wait[lane] * 1e3, 3), round(hold[lane] * 1e3, 3)]
            )
        facts[run.title, name] = {
            "wait": sum(wait.values()),
            "hold": sum(hold.values()),
            "count": count,
            "pairs": dict(pairs),
        }
    figure.legend(
        handles=[
            Patch(color=ORANGE, label="waits for the lock"),
            Patch(facecolor="#d6efe6", edgecolor=GREEN, hatch="////", label="holds the lock"),
        ],
        loc="lower left",
        bbox_to_anchor=(0.01, 0.0),
        ncols=2,
        frameon=False,
        fontsize=9,
    )
    caption = (
        "For each lock: how long each thread waited for it, and held it, over the whole run; right, who held it while the other waited. To ask for a lock that is free "
        f"takes some microseconds, too, and counts as waiting.{base.traced(runs)}"
    )
    return base.Figure(
        figure,
        caption,
        f"Lock board. {'; '.join(words)}.",
        base.Table(["server", "lock", "lane", "waited ms", "held ms"], table),
        facts,
    )


def board(run, name):
    """({lane: waited}, {lane: held}, times taken, {(waiter, holder): seconds})."""
    wait, hold, pairs, count = defaultdict(float), defaultdict(float), defaultdict(float), 0
    holds = [one for one in run.of("lock.hold") if one.about == name]
    first = 0
    for one in holds:
        hold[run.lane(one.lane).name] += run.end_of(one) - one.begin
        count += 1
    for one in [one for one in run.of("lock.wait") if one.about == name]:
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
    return wait, hold, count, pairs


# -- Deadlock ------------------------------------------------------------------------------------------------------------------------


def waiting_for(run):
    """[(waiter, what, holder or None)] of those who still wait when the trace ends: for a lock, or in a pipe. Names of lanes."""
    open_ones = run.open()
    holders = {one.about: run.lane(one.lane).name for one in open_ones if one.kind == "lock.hold"}
    found = [
        (run.lane(one.lane).name, one.about, holders.get(one.about))
        for one in open_ones
        if one.kind == "lock.wait"
    ]
    names = {lane.name: lane for lane in run.lanes}
    for one in open_ones:
        if one.kind == "pipe.write":
            other = next(
                (
                    name
                    for name in names
                    if name
                    in (one.about, f"the {one.about}", f"child of {run.names.get(one.about)}")
                ),
                None,
            )
            found.append((run.lane(one.lane).name, f"pipe to {other or one.about}", other))
    return found


def cycle_in(waits):
    """[lane, lane, ...] that wait for each other in a ring, or []."""
    after = {waiter: holder for waiter, _, holder in waits if holder}
    for start in after:
        path = [start]
        while after.get(path[-1]) and after[path[-1]] not in path:
            path.append(after[path[-1]])
        if after.get(path[-1]) in path:
            return path[path.index(after[path[-1]]) :]
    return []


@base.drawn
def deadlock(run, question="Who holds what, and who wants it?", guess=None):
    """The portrait of a run that got stuck: who waits for whom, and the last steps of each.  guess: the name of a lane in the ring.

    Drawn of what began and never ended. Raises ValueError if nobody waits for a lock or in a pipe at the end.
    """
    waits = waiting_for(run)
    if not waits:
        raise ValueError(
            f"{run.title}: at the end nobody waits for a lock, nor in writing to a pipe"
            + "".join(f"; {what}" for what in run.missing)
        )
    ring = cycle_in(waits)
    answer = (
        f"Deadlock: {'; '.join(f'{waiter} wants `{what}`, which {holder} holds' for waiter, what, holder in waits if waiter in ring)}. None of them will ever go on."
        if ring
        else f"No ring: {'; '.join(f'{waiter} waits for {what}, ' + (f'which {holder} holds' if holder else 'and nobody is known to hold it') for waiter, what, holder in waits)}."
    )
    names = list(
        dict.fromkeys([name for waiter, _, holder in waits for name in (waiter, holder) if name])
    )
    figure, top = base.sheet(6.2, question, answer)
    graph = figure.add_axes([0.02, 0.05, 0.36, 0.93 - top / 6.2])
    angles = {
        name: math.pi / 2 - 2 * math.pi * number / len(names) for number, name in enumerate(names)
    }
    spots = {name: (math.cos(angle), math.sin(angle)) for name, angle in angles.items()}
    if len(names) == 2:
        spots = {names[0]: (-0.0, 0.85), names[1]: (0.0, -0.85)}
    for waiter, what, holder in waits:
        x, y = spots[waiter]
        stuck = waiter in ring and holder in ring
        if holder:
            to_x, to_y = spots[holder]
            graph.add_patch(
                FancyArrowPatch(
                    (x, y),
                    (to_x, to_y),
                    connectionstyle="arc3,rad=-0.45",
                    arrowstyle="-|>",
                    mutation_scale=22,
                    shrinkA=30,
                    shrinkB=34,
                    linewidth=3 if stuck else 1.5,
                    color=RED if stuck else GREY,
                    linestyle="-" if stuck else "--",
                )
            )
            bend = 0.42 if len(names) == 2 else 0.2
            middle = (
                (x + to_x) / 2 - (y - to_y) * -bend * 0.5 * 1.2,
                (y + to_y) / 2 + (x - to_x) * -bend * 0.5 * 1.2,
            )
            graph.text(
                *middle,
                f"wants\n`{what}`",
                ha="center",
                va="center",
                fontsize=10,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
    for name, (x, y) in spots.items():
        held = [
            one.about
            for one in run.open()
            if one.kind == "lock.hold" and run.lane(one.lane).name == name
        ]
        text = (
            name
            + (f"\nholds `{', '.join(held)}`" if held else "")
            + ("\n(your guess)" if guess == name else "")
        )
        graph.text(
            x,
            y,
            text,
            ha="center",
            va="center",
            fontsize=11,
            fontweight="bold" if name in ring else "normal",
            bbox={
                "boxstyle": "round,pad=0.5",
                "facecolor": "#fdeee4" if name in ring else "white",
                "edgecolor": RED if name in ring else GREY,
                "linewidth": 2,
            },
        )
    graph.set_xlim(-1.7, 1.7)
    graph.set_ylim(-1.45, 1.45)
    graph.axis("off")
    last = max(
        event.at for event in run.events if event.kind in ("lock.wait", "lock.hold", "pipe.write")
    )
    begin, end = last - LAST, last + LAST * 0.25
    first_near = min(
        (one.begin for one in run.of("lock.hold", "lock.wait", "pipe.write") if one.begin > begin),
        default=begin,
    )
    begin = max(begin, first_near - (last - first_near) * 0.15 - 1e-5)
    end = last + max((last - begin) * 0.3, 1e-5)
    panel = figure.add_axes([0.52, 0.17, 0.46, 0.80 - top / 6.2])
    shades = {
        "lock.hold": (GREEN, 0.8, "none"),
        "lock.wait": (ORANGE, 0.5, ORANGE),
        "pipe.write": (SKY, 0.5, SKY),
        "send": (BLUE, 0.4, BLUE),
    }
    rows = []
    for number, name in enumerate(names):
        panel.plot([0, (end - begin) * 1e3], [-number, -number], color=PALE, linewidth=2, zorder=1)
        for lane in (lane for lane in run.lanes if lane.name == name):
            for key in lane.keys:
                for one in run.intervals_of[key]:
                    until = one.end if one.end is not None else end
                    if one.kind in shades and until > begin and one.begin < end:
                        shade, tall, fill = shades[one.kind]
                        since = max(one.begin, begin)
                        depth = sum(
                            other.kind == one.kind == "lock.hold"
                            and other.begin < one.begin < run.end_of(other)
                            for other in run.intervals_of[key]
                        )
                        tall -= 0.16 * depth
                        panel.broken_barh(
                            [((since - begin) * 1e3, (until - since) * 1e3)],
                            (-number - tall / 2, tall),
                            facecolor=fill,
                            edgecolor=shade,
                            linewidth=1.8,
                            zorder=3 if fill == "none" else 2,
                        )
                        inside = one.kind != "lock.hold"
                        panel.text(
                            (since - begin) * 1e3,
                            -number + (0 if inside else tall / 2 + 0.06),
                            f" {'wants ' * (one.end is None and inside)}{one.about}",
                            fontsize=9,
                            color=BLACK if inside else shade,
                            va="center",
                            zorder=6,
                            clip_on=True,
                        )
                        if one.end is None:
                            panel.annotate(
                                "",
                                ((end - begin) * 1e3 * 1.03, -number),
                                ((end - begin) * 1e3 * 0.985, -number),
                                arrowprops={"arrowstyle": "-|>", "color": RED, "linewidth": 2},
                                annotation_clip=False,
                            )
                        rows.append(
                            [
                                name,
                                one.kind,
                                one.about,
                                round((one.begin - begin) * 1e3, 4),
                                "never" if one.end is None else round((one.end - begin) * 1e3, 4),
                            ]
                        )
    panel.set_yticks([-number for number in range(len(names))], names)
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(-len(names) + 0.3, 0.7)
    panel.set_xlim(0, (end - begin) * 1e3)
    panel.set_xlabel("milliseconds; the red arrows never end")
    panel.set_title("The last steps", fontsize=11.5, fontweight="bold")
    figure.legend(
        handles=[
            Patch(facecolor="none", edgecolor=GREEN, linewidth=2, label="holds (frame)"),
            Patch(color=ORANGE, label="waits for a lock"),
            Patch(color=SKY, label="writes to a pipe"),
        ],
        loc="lower right",
        bbox_to_anchor=(0.99, 0.0),
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    caption = f"Left: an arrow goes from who waits to who holds what he wants; a ring of arrows is a deadlock. Right: what each did last; what has no end in the trace goes on for ever.{base.traced([run])}"
    return base.Figure(
        figure,
        caption,
        f"Portrait of a stuck program. {answer}",
        base.Table(["who", "does", "what", "from ms", "to ms"], rows),
        {"ring": ring, "waits": waits},
    )
