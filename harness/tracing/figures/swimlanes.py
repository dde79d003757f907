"""Three swimlanes on one workload: who does what when, and who has to wait for it."""

import random
import statistics

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, PINK, RED, SKY
from harness.tracing.traces import LATE, awake

# kind: (colour, height, words). What is drawn later lies above.
BARS = {
    "awake": (GREY, 0.30, "runs its own code, or wants to"),
    "lock.wait": (ORANGE, 0.62, "waits for the lock"),
    "pipe": (SKY, 0.44, "reads or writes a pipe"),
    "crowded": ("#f5d48a", 0.74, "the room is crowded: nobody is read"),
    "send": (BLUE, 0.56, "sends to clients"),
    "disk": (BLACK, 0.40, "writes to disk"),
    "fork": (PINK, 0.50, "forks a child"),
    "hash": (RED, 0.62, "hashes a password: long, and pure processor"),
}
KIND = {
    "lock.wait": "lock.wait",
    "pipe.write": "pipe",
    "pipe.read": "pipe",
    "send": "send",
    "keep": "disk",
    "save": "disk",
    "fork": "fork",
    "hash": "hash",
}
SAID = {
    "hash": "hash",
    "lock.wait": "waits",
    "crowded": "crowded",
}  # written on bars that are long enough
MOST_LIKE = 3  # lanes of one group, such as strangers, that are drawn
MOST_DOTS = 4000
LANE = 0.30  # inches


def ordinary(run):
    """The deliveries to those of whom the workload asks nothing special."""
    return [
        one for one in run.deliveries if one.listener not in run.groups and one.verdict != "lost"
    ]


@base.drawn
def swimlanes(runs, question=None, guess=None, window=None):
    """A panel for each run: its lanes over time, and every delivery's latency beside it.

    guess   the title of the run whose members wait most, or a number of late deliveries, or {design: number}
    window  (begin, end) in seconds from the workload's beginning; without it, the whole workload
    """
    runs = base.several(runs)
    spans = [
        (
            run.span[0] + (window[0] if window else 0),
            run.span[0] + window[1] if window else run.span[1],
        )
        for run in runs
    ]
    length = max(end - begin for begin, end in spans)
    shown = [lanes_shown(run, begin, end) for run, (begin, end) in zip(runs, spans)]
    facts = {run.title: latency(run) for run in runs}
    answer = answered(runs, facts, guess)
    heights = [LANE * (max(len(lanes), 1) + 1.2) + 0.52 for lanes, _ in shown]
    height = 0.95 + sum(heights) + 1.4
    figure, top = base.sheet(height, question or asked(runs), answer)
    place, table = height - top - 0.25, []
    for number, (run, (begin, end), (lanes, more), tall) in enumerate(
        zip(runs, spans, shown, heights)
    ):
        low = place - tall + 0.2
        panel = figure.add_axes([0.125, low / height, 0.615, (tall - 0.52) / height])
        strip = figure.add_axes([0.77, low / height, 0.21, (tall - 0.52) / height])
        panel.set_title(base.heading(run), fontsize=12, fontweight="bold", pad=5)
        panel.text(
            1,
            1.0,
            base.card(run),
            transform=panel.transAxes,
            ha="right",
            va="bottom",
            fontsize=9,
            color="#444444",
        )
        table += lane_rows(panel, run, lanes, more, begin, end, length)
        latency_strip(strip, run, facts[run.title], told_guess(guess, run))
        panel.set_xlim(0, length * 1e3)
        last = number == len(runs) - 1
        panel.tick_params(labelbottom=last)
        strip.tick_params(labelbottom=last)
        if last:
            panel.set_xlabel("milliseconds since the workload began")
            strip.set_xlabel("from SAY to hearing it, ms (log)")
        place -= tall
    legend(figure, runs, height)
    caption = (
        f"{about(runs)} Time runs to the right, the same scale in all panels, one clock (CLOCK_MONOTONIC) for servers and clients. A triangle is a piece that a client sent; "
        f"the hatched band is how long it lay unread. Bars shorter than {base.LEAST:.2%} of the width are drawn that wide. "
        f"Each dot is one message heard by one member; right of the dotted line it is late (over {LATE * 1e3:.0f} ms).{base.traced(runs)}"
    )
    alt = f"Swimlanes of {base.listed([run.title for run in runs])} on the workload {runs[0].workload or 'of these runs'}. {answer}"
    return base.Figure(
        figure,
        caption,
        alt,
        base.Table(
            ["server", "lane", *(words for _, _, words in BARS.values()), "holds the lock"], table
        ),
        {
            **{title: fact for title, fact in facts.items()},
            "lanes": {run.title: len(lanes) for run, (lanes, _) in zip(runs, shown)},
        },
    )


def asked(runs):
    return {
        "calm": "Calm talk: what does each server do, and when?",
        "everyone-at-once": "Everyone talks at once: where does the work pile up?",
        "one-expensive-request": "One request is expensive: who else has to wait?",
        "a-member-who-stops-reading": "One member stops reading: who else has to wait?",
        "password-storm": "Strangers guess passwords: who else has to wait?",
        "half-a-line": "One client sends half a line: who else has to wait?",
        "mass-arrival-and-departure": "Sixteen come and go at once: who else has to wait?",
    }.get(runs[0].workload, "Who does what, and who waits for it?")


def about(runs):
    return runs[0].about.get("says", "").split("\n")[0] or "A workload."


def latency(run):
    found = [one.latency for one in ordinary(run) if one.latency is not None]
    return {
        "deliveries": len(found),
        "late": sum(value > LATE for value in found),
        "median": statistics.median(found) if found else None,
        "longest": max(found, default=None),
        "lost": sum(
            one.verdict == "lost" for one in run.deliveries if one.listener not in run.groups
        ),
    }


def answered(runs, facts, guess):
    known = [run for run in runs if facts[run.title]["deliveries"]]
    if not known:
        return "What clients heard is not known here."
    late = {run.title: facts[run.title]["late"] for run in known}
    if not any(late.values()):
        worst = max(known, key=lambda run: facts[run.title]["longest"])
        text = f"Nobody, for long: no ordinary message took more than {LATE * 1e3:.0f} ms; the slowest took {base.ms(facts[worst.title]['longest'])} ({worst.title})."
    else:
        order = sorted(known, key=lambda run: -late[run.title] / facts[run.title]["deliveries"])
        worst = order[0]
        text = "Late (over {:.0f} ms): {}. The slowest took {}.".format(
            LATE * 1e3,
            "; ".join(
                f"{run.title} {late[run.title]} of {facts[run.title]['deliveries']}"
                for run in order
            ),
            base.listed([f"{base.ms(facts[run.title]['longest'])} ({run.title})" for run in order]),
        )
    if isinstance(guess, str):
        right = guess in (worst.title, worst.design)
        text += f" You guessed {guess}: {'right' if right else f'it was {worst.title}'}."
    return text


def told_guess(guess, run):
    guess = base.told(guess, run)
    if isinstance(guess, str):
        return "your guess: here they wait most" if guess in (run.title, run.design) else None
    return None if guess is None else f"your guess: {guess} late"


def lanes_shown(run, begin, end):
    """(the lanes that are drawn, [(after how many of them, a sentence on those that are not)])."""
    busy = {
        interval.lane
        for interval in run.intervals
        if interval.begin < end
        and (interval.end is None or interval.end > begin)
        and interval.kind in KIND
        and interval.kind != "pipe.read"
    }
    lanes, counts, left = [], {}, {}
    for lane in run.lanes:
        group = run.groups.get(lane.member)
        if (
            lane.member is None
            and lane.keys[0][2] not in ("loop", "hub")
            and not busy & set(lane.keys)
        ):
            continue
        counts[group] = counts.get(group, 0) + 1
        if group and counts[group] > MOST_LIKE:
            left[group] = left.get(group, 0) + 1
            continue
        lanes.append(lane)
    return lanes, [f"and {count} more: each {group}" for group, count in left.items()]


def lane_rows(panel, run, lanes, more, begin, end, length):
    """Draws the lanes; returns the table's rows, in milliseconds."""
    least, rows = length * base.LEAST, []
    wide = lambda since, until: ((since - begin) * 1e3, max(until - since, least) * 1e3)
    within = lambda spans: [
        (max(since, begin), min(until, end))
        for since, until in spans
        if until > begin and since < end
    ]
    heights = {}
    for number, lane in enumerate(lanes):
        y = -number
        mine = [interval for key in lane.keys for interval in run.intervals_of[key]]
        times = [event.at for key in lane.keys for event in run.events_of[key]]
        alive = within(
            [(min(times), max(max(times), end if any(one.end is None for one in mine) else 0))]
        )
        for since, until in alive:
            panel.plot(
                [(since - begin) * 1e3, (until - begin) * 1e3],
                [y, y],
                color=PALE,
                linewidth=2,
                solid_capstyle="butt",
                zorder=1,
            )
        total = {}
        bars = {"awake": within(awake(run, lane))}
        for interval in mine:
            if (
                kind := "crowded"
                if (interval.kind, interval.about) == ("wait", "crowded")
                else KIND.get(interval.kind)
            ):
                if (
                    interval.kind == "pipe.read"
                    and run.design == "fork"
                    and interval.lane[2] not in ("hub",)
                ):
                    continue  # a child that waits for its answer waits
                bars.setdefault(kind, []).extend(within([(interval.begin, run.end_of(interval))]))
        holds = within([(one.begin, run.end_of(one)) for one in mine if one.kind == "lock.hold"])
        for level, (kind, (shade, tall, _)) in enumerate(BARS.items()):
            spans = bars.get(kind, [])
            total[kind] = sum(until - since for since, until in spans) * 1e3
            if spans:
                panel.broken_barh(
                    [wide(*span) for span in spans],
                    (y - tall / 2, tall),
                    facecolor=shade,
                    linewidth=0,
                    zorder=3 + level,
                )
            for since, until in spans if kind in SAID else ():
                if until - since > 0.085 * length:
                    panel.text(
                        ((since + until) / 2 - begin) * 1e3,
                        y - 0.03,
                        f"{SAID[kind]} {base.ms(until - since)}",
                        ha="center",
                        va="center",
                        fontsize=7.5,
                        color="white" if kind == "hash" else "black",
                        zorder=20,
                        clip_on=True,
                    )
        if holds:
            panel.broken_barh(
                [wide(*span) for span in holds],
                (y - 0.44, 0.88),
                facecolor="none",
                edgecolor=GREEN,
                linewidth=1.3,
                zorder=2.5,
            )
        rows.append(
            [
                run.title,
                lane.name,
                *(round(total[kind], 3) for kind in BARS),
                round(sum(until - since for since, until in holds) * 1e3, 3),
            ]
        )
        heights.update(dict.fromkeys(lane.keys, y))
    unread = {}
    for key, sent, read, _ in run.wakes():
        if key in heights:
            unread.setdefault(heights[key], []).append((sent, read))
    for y, spans in unread.items():
        panel.broken_barh(
            [wide(*span) for span in union(within(spans))],
            (y - 0.44, 0.22),
            facecolor="#f6dcea",
            edgecolor=PINK,
            hatch="//////",
            linewidth=0.0,
            zorder=2,
        )
    marks = {False: [], True: []}
    for entry in run.entries:
        if entry.what == "sends" and begin <= entry.at <= end:
            marks[entry.who in run.groups].append((entry.at - begin) * 1e3)
    panel.plot(
        marks[False],
        [1] * len(marks[False]),
        "v",
        color=BLACK,
        markersize=4,
        linestyle="none",
        clip_on=False,
    )
    panel.plot(
        marks[True],
        [1] * len(marks[True]),
        "v",
        color=RED,
        markersize=7,
        linestyle="none",
        clip_on=False,
        markeredgecolor="white",
        markeredgewidth=0.5,
    )
    names = [lane.name + (" !" if lane.member in run.groups else "") for lane in lanes]
    panel.set_yticks(
        [1, *(-number for number in range(len(lanes)))], ["clients send", *names], fontsize=9
    )
    for label, lane in zip(panel.get_yticklabels()[1:], lanes):
        if lane.member in run.groups:
            label.set_color(RED)
            label.set_fontweight("bold")
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    bottom = -max(len(lanes), 1) + 0.3
    if not lanes:
        panel.text(
            0.5,
            0.3,
            "what happened inside is not known: there is no trace",
            transform=panel.transAxes,
            ha="center",
            color="#444444",
            style="italic",
        )
    if more:
        panel.text(
            0.004,
            bottom + 0.1,
            "; ".join(more),
            transform=panel.get_yaxis_transform(),
            fontsize=8.5,
            style="italic",
            color="#444444",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            zorder=30,
        )
    panel.set_ylim(bottom - 0.25, 1.5)
    return rows


def union(spans):
    """The same stretches of time, overlapping ones as one."""
    joined = []
    for since, until in sorted(spans):
        if joined and since <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(until, joined[-1][1])
        else:
            joined.append((since, until))
    return joined


def latency_strip(strip, run, fact, guess):
    found = [one for one in ordinary(run) if one.latency is not None and one.latency > 0][
        :MOST_DOTS
    ]
    chance = random.Random(0)
    for late, marker, shade in (False, "o", GREY), (True, "^", RED):
        values = [one.latency * 1e3 for one in found if (one.latency > LATE) == late]
        strip.plot(
            values,
            [chance.uniform(0.06, 0.94) for _ in values],
            marker,
            color=shade,
            markersize=3 if not late else 4.5,
            alpha=0.5 if len(found) < 800 else 0.2,
            linestyle="none",
            markeredgewidth=0,
        )
    strip.axvline(LATE * 1e3, color="#777777", linestyle=":", linewidth=1)
    strip.set_xscale("log")
    strip.set_xlim(0.05, 2000)
    strip.set_xticks([0.1, 1, 10, 100, 1000], ["0.1", "1", "10", "100", "1000"])
    strip.set_ylim(0, 1)
    strip.set_yticks([])
    strip.spines["left"].set_visible(False)
    words = (
        f"{fact['late']} of {fact['deliveries']} late; median {base.ms(fact['median'])}"
        if fact["deliveries"]
        else "no deliveries are known"
    )
    strip.set_title(
        words + (f"\n{guess}" if guess else ""),
        fontsize=9.5,
        color=RED if fact["late"] else BLACK,
        fontweight="bold" if fact["late"] else "normal",
        pad=5,
    )


def legend(figure, runs, height):
    used = {
        KIND[one.kind]
        for run in runs
        for one in run.intervals
        if one.kind in KIND
        and one.begin < run.span[1]
        and (one.end is None or one.end > run.span[0])
    }
    used |= {"crowded"} & {interval.about for run in runs for interval in run.of("wait")}
    items = [
        Line2D([], [], color=PALE, linewidth=3, label="waits for something to do: costs nothing")
    ]
    items += [
        Patch(facecolor=shade, label=words)
        for kind, (shade, _, words) in BARS.items()
        if kind in used or kind == "awake"
    ]
    if any(run.locks for run in runs):
        items.append(
            Patch(facecolor="none", edgecolor=GREEN, linewidth=1.5, label="holds the lock (frame)")
        )
    items += [
        Patch(
            facecolor="#f6dcea",
            edgecolor=PINK,
            hatch="//////",
            linewidth=0,
            label="bytes have come, and are not read yet",
        ),
        Line2D(
            [], [], color=BLACK, marker="v", linestyle="none", markersize=5, label="a client sends"
        ),
    ]
    if special := sorted({group for run in runs for group in run.groups.values()}):
        items.append(
            Line2D(
                [],
                [],
                color=RED,
                marker="v",
                linestyle="none",
                markersize=7,
                label=f"one who {special[0]}",
            )
        )
    figure.legend(
        handles=items,
        loc="lower left",
        bbox_to_anchor=(0.01, 0.04 / height),
        ncols=4,
        frameon=False,
        fontsize=8.5,
        handlelength=1.8,
        columnspacing=1.4,
    )
