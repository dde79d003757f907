"""Pipes and sockets fill up: where bytes wait for who does not read, and when that reaches others."""

from bisect import bisect_right
from collections import defaultdict

from matplotlib.patches import Patch

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY

PIPE = 65536  # bytes that a pipe holds (Linux)


def pipes(run):
    """{(from, to): [(at, bytes in the pipe)]}: what was written less what was read, by names of lanes."""
    hub = next((lane.keys[0] for lane in run.lanes if lane.keys[0][2] == "hub"), None)
    changes = defaultdict(list)
    for one in run.of("pipe.write", "pipe.read"):
        if one.end is None or not one.amount or hub is None:
            continue
        child, here = (one.about, "the hub") if one.lane == hub else (one.lane[2], None)
        name = run.names.get(child, child)
        up = (one.kind == "pipe.write") == (here is None)
        changes[(f"child of {name}", "the hub") if up else ("the hub", f"child of {name}")].append(
            (
                one.begin if one.kind == "pipe.write" else one.end,
                one.amount if one.kind == "pipe.write" else -one.amount,
            )
        )
    found = {}
    for way, steps in changes.items():
        level, line = 0, []
        for at, change in sorted(steps):
            level = max(0, level + change)
            line.append((at, level))
        found[way] = line
    return found


def backlog(run):
    """[(at, in his receive buffer, in the server's send buffer, in the server's memory)], bytes that wait for the member who is watched.
    The last is what others have heard meanwhile less what the kernel holds for him."""
    if not run.samples:
        return []
    who = run.samples[0][1]
    other = max(
        (side for side in run.history.sides.values() if side.welcome and side.who != who),
        key=lambda side: len(side.live),
        default=None,
    )
    mine = run.history.sides.get(who)
    if other is None or mine is None or mine.welcome is None:
        return []
    start = run.samples[0][0]
    size = lambda event: len(event.line.encode("utf-8", "surrogateescape")) + 1
    out = next(
        (event.seq for event in other.live if event.verb == "OUT" and event.rest == mine.name),
        float("inf"),
    )  # after it nothing is due to him
    heard = [
        (run.entries[event.place].at, size(event))
        for event in other.live
        if run.entries[event.place].at >= start and event.seq < out
    ]
    times, total, sums = [at for at, _ in heard], 0, [0]
    for _, count in heard:
        total += count
        sums.append(total)
    read = [
        (run.entries[event.place].at, size(event))
        for event in mine.live
        if run.entries[event.place].at >= start
    ]
    found = []
    for at, _, received, unsent in run.samples:
        due = sums[bisect_right(times, at)] - sum(count for when, count in read if when <= at)
        found.append((at, received, unsent, max(0, due - received - unsent)))
    return found


@base.drawn
def fill(runs, question=None, guess=None):
    """What waits for a member who does not read, in three places, a panel for each run; and below, how full the pipes of a run with pipes were.

    guess   how many KiB the server keeps for him, one number or {design: number}
    Raises ValueError if no run has a watched member or a pipe.
    """
    runs = base.several(runs)
    panels = [(run, "backlog", found) for run in runs if (found := backlog(run))]
    panels += [(run, "pipes", found) for run in runs if (found := pipes(run))]
    if not panels:
        raise ValueError(
            "nobody was watched in these runs (the kernel's buffers are sampled on Linux only), and no pipe is in their traces"
        )
    words, facts = [], {}
    for run, kind, found in panels:
        if kind == "backlog":
            peak, who = max(sum(sample[1:]) for sample in found), run.samples[0][1]
            memory, gone = max(sample[3] for sample in found), run.history.sides[who].over
            held = crowded(run)
            words.append(
                f"{run.title}: up to {base.size(peak)} waited for {who}, {base.size(memory)} of it in the server's memory; "
                + (
                    f"the others were held up for {base.ms(sum(end - begin for begin, end in held))}"
                    if held
                    else "nobody else was held up"
                )
                + (f", then {who} was put out" if gone is not None else "")
            )
            facts[run.title] = {
                "peak": peak,
                "memory": memory,
                "held": sum(end - begin for begin, end in held),
            }
        else:
            way, line = max(found.items(), key=lambda pair: max(level for _, level in pair[1]))
            most = max(level for _, level in line)
            words.append(
                f"{run.title}: no pipe ever held more than {base.size(most)} ({way[0]} to {way[1]}) of {PIPE:,} bytes"
            )
            facts[run.title, "pipes"] = most
    figure, top = base.sheet(
        1.2 + 2.5 * len(panels) + 0.9,
        question
        or (
            "When does it reach the others that one does not read?"
            if panels[0][1] == "backlog"
            else "How full are the pipes?"
        ),
        "; ".join(words) + ".",
    )
    height, rows = figure.get_size_inches()[1], []
    tall = (height - top - 0.6) / len(panels)
    most = (
        max(
            (
                max(sum(sample[1:]) for sample in found)
                for _, kind, found in panels
                if kind == "backlog"
            ),
            default=1,
        )
        / 1024
    )
    for number, (run, kind, found) in enumerate(panels):
        panel = figure.add_axes(
            [
                0.075,
                (0.95 + (len(panels) - 1 - number) * tall) / height,
                0.905,
                (tall - 0.85) / height,
            ]
        )
        if kind == "backlog":
            x = [(sample[0] - run.span[0]) * 1e3 for sample in found]
            layers = [[sample[place] / 1024 for sample in found] for place in (3, 2, 1)]
            stacks = panel.stackplot(
                x, *layers, colors=(ORANGE, BLUE, SKY), linewidth=0, step="post"
            )
            stacks[0].set_hatch("....")
            stacks[0].set_edgecolor("white")
            for begin, end in crowded(run):
                panel.axvspan(
                    (begin - run.span[0]) * 1e3,
                    (end - run.span[0]) * 1e3,
                    ymin=0.93,
                    color=RED,
                    linewidth=0,
                )
            for begin, end in joined(crowded(run)):
                if (end - begin) > 0.05 * (run.span[1] - run.span[0]):
                    panel.text(
                        ((begin + end) / 2 - run.span[0]) * 1e3,
                        0.965,
                        "nobody is read",
                        color="white",
                        fontsize=8.5,
                        ha="center",
                        va="center",
                        fontweight="bold",
                        transform=panel.get_xaxis_transform(),
                    )
            limit = flag(run, "--outbox")
            for value, text in (
                (limit, "limit: who is so far behind and does not read is put out"),
                (
                    limit and limit / 2,
                    "half of it: from here on talkers wait, if he was reading until now",
                ),
            ):
                if value:
                    panel.axhline(
                        value / 1024,
                        color=RED,
                        linestyle=":" if value != limit else "-",
                        linewidth=1,
                    )
                    panel.text(
                        0.998,
                        value / 1024,
                        f"{text} ({base.size(value)})",
                        fontsize=8,
                        color=RED,
                        ha="right",
                        va="bottom",
                        transform=panel.get_yaxis_transform(),
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
                    )
            over = run.history.sides[run.samples[0][1]].over
            last = found[-1][0]
            if over is not None:
                panel.axvline((last - run.span[0]) * 1e3, color=BLACK, linewidth=1.5)
                panel.text(
                    (last - run.span[0]) * 1e3,
                    0.9,
                    " put out",
                    fontsize=9,
                    fontweight="bold",
                    va="top",
                    transform=panel.get_xaxis_transform(),
                )
            value = base.told(guess, run)
            if isinstance(value, (int, float)):
                panel.axhline(value, color=RED, linestyle="--", linewidth=1.4)
                panel.text(
                    0.002,
                    value,
                    f"your guess: {value:g} KiB",
                    color=RED,
                    fontsize=9,
                    va="bottom",
                    transform=panel.get_yaxis_transform(),
                )
            panel.set_ylim(0, max(most, (limit or 0) / 1024) * 1.35)
            panel.set_ylabel("KiB that wait for him")
            rows += [
                [
                    run.title,
                    "backlog",
                    round(at_ms, 2),
                    *(round(layer[place] * 1024) for layer in layers),
                ]
                for place, at_ms in enumerate(x)
            ]
        else:
            for shade, (way, line) in zip(
                [BLUE, RED, GREEN, ORANGE, PINK, SKY, BLACK] * 9,
                sorted(found.items(), key=lambda pair: -max(level for _, level in pair[1]))[:7],
            ):
                inside = [(at, level) for at, level in line if run.span[0] <= at <= run.span[1]]
                if inside:
                    panel.step(
                        [(at - run.span[0]) * 1e3 for at, _ in inside],
                        [max(level, 0.7) for _, level in inside],
                        where="post",
                        color=shade,
                        linewidth=1.2,
                        label=f"{way[0]} to {way[1]}: at most {base.size(max(level for _, level in inside))}",
                    )
                    rows += [
                        [
                            run.title,
                            f"{way[0]} to {way[1]}",
                            round((at - run.span[0]) * 1e3, 3),
                            level,
                            "",
                            "",
                        ]
                        for at, level in inside
                    ]
            panel.axhline(PIPE, color=RED, linewidth=1)
            panel.text(
                0.998,
                PIPE,
                f"a pipe is full: {PIPE:,} bytes; who writes waits",
                fontsize=8,
                color=RED,
                ha="right",
                va="bottom",
                transform=panel.get_yaxis_transform(),
            )
            panel.set_yscale("log")
            panel.set_ylim(0.7, PIPE * 4)
            panel.set_ylabel("bytes in a pipe (log)")
            panel.legend(loc="upper left", fontsize=7.5, ncols=3, frameon=False)
        panel.set_xlim(0, (run.span[1] - run.span[0]) * 1e3)
        panel.set_title(
            base.heading(run) + (": its pipes" if kind == "pipes" else ""),
            fontsize=11.5,
            fontweight="bold",
            pad=5,
        )
    panel.set_xlabel("milliseconds since the workload began")
    if any(kind == "backlog" for _, kind, _ in panels):
        figure.legend(
            handles=[
                Patch(color=SKY, label="in his kernel's receive buffer"),
                Patch(color=BLUE, label="in the server's kernel's send buffer"),
                Patch(
                    facecolor=ORANGE,
                    edgecolor="white",
                    hatch="....",
                    label="in the server's memory: his outbox (the limits are about this)",
                ),
                Patch(color=RED, label="the room is crowded: nobody is read"),
            ],
            loc="lower left",
            bbox_to_anchor=(0.01, 0.0),
            ncols=4,
            frameon=False,
            fontsize=9,
        )
    caption = (
        "Bytes on their way to the member who reads no more, stacked: first his own kernel's buffer fills (on top), then the server's kernel's for him, then the server's memory (at the bottom: the limits are about that). The buffers are the kernel's own figures (/proc/net/tcp), "
        f"sampled; the memory is what the others had heard less those. What a pipe holds is what was written to it less what was read.{base.traced(runs)}"
    )
    return base.Figure(
        figure,
        caption,
        f"How buffers fill. {'; '.join(words)}.",
        base.Table(
            ["server", "what", "at ms", "memory or pipe", "send buffer", "receive buffer"], rows
        ),
        facts,
    )


def flag(run, name):
    flags = run.about.get("flags", [])
    return int(flags[flags.index(name) + 1]) if name in flags[:-1] else None


def crowded(run):
    """[(begin, end)] in which the loop, the hub or a thread looked at nobody, since one has too much waiting."""
    return joined(
        [(one.begin, run.end_of(one)) for one in run.of("wait") if one.about == "crowded"]
    )


def joined(spans):
    found = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1] + 0.002:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found
