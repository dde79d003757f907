"""Delivery verdicts over time: each message to each member a dot, and how high they are piled is how much was delivered."""

from collections import Counter, defaultdict

from matplotlib.lines import Line2D

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, ORANGE, PINK, RED

# verdict: (colour, marker, size). The rare ones are large, and drawn last.
LOOKS = {
    "in order": (BLUE, "o", 4),
    "late": (ORANGE, "^", 6),
    "out of order": (PINK, "D", 9),
    "twice": (RED, "P", 10),
    "lost": (BLACK, "X", 11),
}
BINS = 100


@base.drawn
def deliveries(
    runs, question="Lost, twice, out of order, late: what was delivered, and when?", guess=None
):
    """A panel for each run. A dot stands where its message was said (where it was heard, if that is not known).

    guess   how many deliveries went wrong (late ones count), one number or {design: number}
    """
    runs = base.several(runs)
    counts = {run.title: Counter(one.verdict for one in run.deliveries) for run in runs}
    words = []
    for run in runs:
        found, total = counts[run.title], sum(counts[run.title].values())
        bad = [
            f"{found[verdict]} {verdict}"
            for verdict in ("lost", "twice", "out of order", "late")
            if found[verdict]
        ]
        words.append(
            f"{run.title}: {base.listed(bad) if bad else 'all in order'} of {total}"
            if total
            else f"{run.title}: no delivery is known"
        )
    figure, top = base.sheet(1.2 + 1.55 * len(runs) + 1.0, question, "; ".join(words) + ".")
    height = figure.get_size_inches()[1]
    length = max(run.span[1] - run.span[0] for run in runs) or 1e-9
    tall, rows = (height - top - 0.95) / len(runs), []
    for number, run in enumerate(runs):
        panel = figure.add_axes(
            [0.06, (0.85 + (len(runs) - 1 - number) * tall) / height, 0.925, (tall - 0.5) / height]
        )
        piles, dots = defaultdict(int), defaultdict(list)
        for one in sorted(run.deliveries, key=lambda one: list(LOOKS).index(one.verdict)):
            at = one.said if one.said is not None else one.heard
            if at is None:
                continue
            place = int((at - run.span[0]) / length * BINS)
            piles[place] += 1
            dots[one.verdict].append(((place + 0.5) / BINS * length * 1e3, piles[place]))
        most = max(piles.values(), default=1)
        for verdict, (shade, marker, big) in LOOKS.items():
            if dots[verdict]:
                crowd = min(1.0, 45 / most) if verdict in ("in order", "late") else 1
                panel.plot(
                    *zip(*dots[verdict]),
                    marker,
                    color=shade,
                    markersize=max(2.0, big * crowd),
                    linestyle="none",
                    markeredgewidth=0,
                    zorder=2 + list(LOOKS).index(verdict),
                    clip_on=False,
                )
        panel.set_xlim(0, length * 1e3)
        panel.set_ylim(0, most * 1.08 + 1)
        panel.set_ylabel("deliveries", fontsize=9)
        panel.set_title(base.heading(run), fontsize=11.5, fontweight="bold", pad=4)
        value, wrong = (
            base.told(guess, run),
            sum(counts[run.title].values()) - counts[run.title]["in order"],
        )
        panel.text(
            1,
            1.02,
            words[number].partition(": ")[2]
            + (
                f"   (your guess: {value} not in order{', right' if value == wrong else ''})"
                if value is not None
                else ""
            ),
            transform=panel.transAxes,
            ha="right",
            va="bottom",
            fontsize=10,
            fontweight="bold",
            color=RED if wrong else BLACK,
        )
        panel.tick_params(labelbottom=number == len(runs) - 1)
        rows.append([run.title, *(counts[run.title][verdict] for verdict in LOOKS)])
    panel.set_xlabel("milliseconds since the workload began, when it was said")
    figure.legend(
        handles=[
            Line2D(
                [],
                [],
                color=shade,
                marker=marker,
                markersize=min(big, 9),
                linestyle="none",
                label=f"{verdict}{' (over 10 ms)' if verdict == 'late' else ''}",
            )
            for verdict, (shade, marker, big) in LOOKS.items()
        ],
        loc="lower left",
        bbox_to_anchor=(0.01, 0.0),
        ncols=5,
        frameon=False,
        fontsize=9.5,
    )
    caption = (
        f"Each mark is one message to one member, in one of {BINS} columns of time. Out of order: after one with a higher number; lost: not heard, though a later one was."
        f"{base.traced(runs)}"
    )
    return base.Figure(
        figure,
        caption,
        f"Verdicts on deliveries over time. {'; '.join(words)}.",
        base.Table(["server", *LOOKS], rows),
        {title: {verdict: found[verdict] for verdict in LOOKS} for title, found in counts.items()},
    )
