"""The notebooks' small pictures: one question each, the answer in words, and the guess on the drawing."""

import statistics

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

from harness.tracing.figures import base
from harness.tracing.figures.base import (
    BLACK,
    BLUE,
    DESIGNS,
    Figure,
    GREY,
    ORANGE,
    PALE,
    RED,
    SKY,
    Table,
)

WIDTH = 9.5  # inches


def look(name):
    """(colour, marker) of a design; of another server, those of an exhibit."""
    return DESIGNS[name][2:] if name in DESIGNS else (ORANGE, "X")


def canvas(question, rows=1, height=3.2, **options):
    """(drawing, axes): the question is the title."""
    drawing = Drawing(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.subplots(rows, 1, **options)
    drawing.suptitle(question, x=0.01, ha="left", fontweight="bold", fontsize=13)
    return drawing, axes


def mark(axis, guess):
    """The guess, as a dashed line across the axis."""
    axis.axhline(guess, color=BLACK, linestyle="--", linewidth=1)
    axis.annotate(
        f"your guess: {guess:g} ",
        (1, guess),
        xycoords=axis.get_yaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=9,
    )


@base.drawn
def cuts(pieces, guess, asked):
    """Where recv cut the stream. pieces: what it gave, one after the other; asked: the most it was asked for; guess: how many end with a line."""
    whole = sum(piece.endswith(b"\n") for piece in pieces)
    drawing, axis = canvas(
        f"Does a piece that recv({asked}) gives end where a line ends?", height=2.4
    )
    lines = b"".join(pieces).split(b"\n")[:-1]
    for y, parts, names in (
        (1, [line + b"\n" for line in lines], (BLUE, SKY)),
        (0, pieces, (GREY, PALE)),
    ):
        start = 0
        for count, part in enumerate(parts):
            axis.barh(
                y,
                len(part),
                left=start,
                height=0.6,
                color=names[count % 2],
                edgecolor="white",
                linewidth=0.5,
            )
            start += len(part)
    at = 0
    for piece in pieces:
        at += len(piece)
        if not piece.endswith(b"\n"):
            axis.plot([at], [-0.45], marker="x", color=RED, markersize=5, linestyle="none")
    axis.set_yticks([1, 0], [f"{len(lines)} lines", f"{len(pieces)} pieces"])
    axis.set_ylim(-0.75, 1.5)
    axis.set_xlabel("bytes, in the order in which they came; × : cut within a line")
    answer = f"{whole} of {len(pieces)} pieces end with a line (your guess: {guess:g})"
    axis.set_title(answer, fontsize=10)
    caption = (
        "Above what the server sent, line by line; below the same bytes as recv gave them. TCP keeps the bytes and their order, "
        "and knows no lines."
    )
    rows = [[count, len(piece), piece.endswith(b"\n")] for count, piece in enumerate(pieces, 1)]
    return Figure(
        drawing,
        caption,
        f"Two strips over the same {at} bytes: {answer}. The others are cut within a line.",
        Table(["piece", "bytes", "ends with a line"], rows),
        {"whole": whole, "pieces": len(pieces)},
    )


@base.drawn
def latencies(runs, guess, question, caption, storm=None):
    """A row of dots for each run: {name: [(second, latency in seconds)]}. guess: of the worst, in ms. storm: (from, to) in seconds."""
    drawing, axes = canvas(
        question, rows=len(runs), height=1.1 + 1.35 * len(runs), sharex=True, sharey=True
    )
    worst = {name: 1000 * max(latency for _, latency in dots) for name, dots in runs.items()}
    for place, (axis, (name, dots)) in enumerate(zip(axes, runs.items())):
        axis.plot(
            [at for at, _ in dots],
            [1000 * latency for _, latency in dots],
            linestyle="none",
            markersize=3,
            color=look(name)[0],
            marker=look(name)[1],
        )
        axis.set_yscale("log")
        axis.set_ylabel("ms")
        if storm:
            axis.axvspan(*storm, color="#eeeeee", zorder=0)
        middle = 1000 * statistics.median(latency for _, latency in dots)
        axis.set_title(f"{name}: median {middle:.2g} ms, worst {worst[name]:.3g} ms", fontsize=10)
        mark(axis, guess) if place == 0 else axis.axhline(
            guess, color=BLACK, linestyle="--", linewidth=1
        )
    axes[-1].set_xlabel("seconds")
    words = ", ".join(f"{name} {value:.3g} ms" for name, value in worst.items())
    rows = [[name, at, 1000 * latency] for name, dots in runs.items() for at, latency in dots]
    return Figure(
        drawing,
        caption,
        f"{question} Worst latencies: {words}; your guess: {guess:g} ms.",
        Table(["server", "second", "ms"], rows),
        {"worst": worst},
    )


@base.drawn
def heard(runs, guess, question, caption):
    """A step line for each run: how many lines somebody has heard by when.

    runs    {name: ([seconds], second of an OUT, or None)};  guess: how many lines in the last run
    """
    drawing, axes = canvas(
        question, rows=len(runs), height=1.1 + 1.35 * len(runs), sharex=True, sharey=True
    )
    told = [f"{name}: {len(times)} lines" for name, (times, _) in runs.items()]
    end = max(times[-1] for times, _ in runs.values())
    for axis, text, (name, (times, out)) in zip(axes, told, runs.items()):
        color, marker = look(name)
        axis.step([0, *times], range(len(times) + 1), where="post", color=color, linewidth=2)
        axis.plot(times[-1:], [len(times)], marker=marker, color=color)
        if times[-1] < end / 2:
            axis.plot([times[-1], end], [len(times)] * 2, color=color, linestyle=":", linewidth=1)
            axis.annotate(
                "nothing more",
                (end / 2, len(times)),
                xytext=(0, 4),
                textcoords="offset points",
                color=color,
                fontsize=9,
            )
        axis.set_title(text, fontsize=10)
        axis.set_ylabel("lines heard")
        if out is not None:
            axis.axvline(out, color=GREY, linestyle=":")
            axis.annotate(
                "the slow one is put out ",
                (out, 0.1),
                xycoords=axis.get_xaxis_transform(),
                fontsize=9,
                ha="right",
            )
    mark(axes[-1], guess)
    axes[-1].set_xlabel("seconds")
    return Figure(
        drawing,
        caption,
        f"{question} " + "; ".join(told) + f"; your guess: {guess:g}.",
        Table(
            ["server", "lines", "last at, s"],
            [[name, len(times), times[-1]] for name, (times, _) in runs.items()],
        ),
        {name: len(times) for name, (times, _) in runs.items()},
    )


@base.drawn
def board(verdicts, guess, question, caption):
    """A row for each check: whether it failed. verdicts: {check: Verdict}; guess: how many fail."""
    failed = [check for check, verdict in verdicts.items() if verdict.verdict == "failed"]
    drawing, axis = canvas(question, height=1 + 0.28 * len(verdicts))
    for y, (check, verdict) in enumerate(reversed(verdicts.items())):
        bad = verdict.verdict == "failed"
        axis.plot([0], [y], marker="X" if bad else "o", color=RED if bad else BLUE, markersize=8)
        title = verdict.title if len(verdict.title) < 90 else verdict.title[:90] + " ..."
        axis.annotate(
            f"{verdict.verdict}: {title}",
            (0, y),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold" if bad else "normal",
        )
    axis.set_xlim(-0.02, 1)
    axis.set_yticks(range(len(verdicts)), list(reversed(verdicts)))
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    answer = f"{len(failed)} of {len(verdicts)} fail (your guess: {guess:g})"
    axis.set_title(answer, fontsize=10)
    return Figure(
        drawing,
        caption,
        f"{question} {answer}: {', '.join(failed)}.",
        Table(
            ["check", "verdict"], [[check, verdict.verdict] for check, verdict in verdicts.items()]
        ),
        {"failed": failed},
    )


@base.drawn
def torn(found, guess, of, limit):
    """How many lines came torn through one pipe: {bytes of a line: (lines, torn)}. guess: of those of `of` bytes; limit: PIPE_BUF."""
    drawing, axis = canvas("Several write to one pipe: which lines come torn?", height=3.4)
    places = range(len(found))
    shares = [100 * broken / lines for lines, broken in found.values()]
    short = [length <= limit for length in found]
    axis.bar(
        places,
        shares,
        color=[BLUE if one else ORANGE for one in short],
        hatch=["" if one else "//" for one in short],
        edgecolor="white",
    )
    for place, share, (lines, broken) in zip(places, shares, found.values()):
        axis.annotate(
            f"{broken} of {lines}",
            (place, share),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    edge = sum(short) - 0.5
    axis.axvline(edge, color=GREY, linestyle=":")
    axis.annotate(
        f"up to PIPE_BUF, {limit:,} bytes: never ",
        (edge, 0.97),
        xycoords=axis.get_xaxis_transform(),
        ha="right",
        va="top",
        fontsize=9,
    )
    axis.annotate(
        " longer: it may happen",
        (edge, 0.97),
        xycoords=axis.get_xaxis_transform(),
        va="top",
        fontsize=9,
    )
    here = list(found).index(of)
    axis.plot(
        [here - 0.4, here + 0.4], [100 * guess / found[of][0]] * 2, color=BLACK, linestyle="--"
    )
    axis.annotate(
        f" your guess: {guess:g}", (here + 0.4, 100 * guess / found[of][0]), fontsize=9, va="center"
    )
    axis.set_xticks(places, [f"{length:,}" for length in found])
    axis.set_xlabel("bytes of a line")
    axis.set_ylabel("% of the lines torn")
    axis.set_ylim(0, max(max(shares) * 1.35, 10))
    axis.set_yticks([tick for tick in axis.get_yticks() if tick <= 100])
    words = ", ".join(
        f"{broken} of {lines} with {length:,} bytes" for length, (lines, broken) in found.items()
    )
    caption = (
        "Four processes write their lines to one pipe, as fast as they can; one reads. What PIPE_BUF allows is never torn; what is longer may "
        "be, or not: how often depends on the kernel, on the sizes, and on luck."
    )
    rows = [[length, *numbers] for length, numbers in found.items()]
    return Figure(
        drawing,
        caption,
        f"Torn lines: {words}; your guess: {guess:g} of those with {of:,} bytes.",
        Table(["bytes of a line", "lines", "torn"], rows),
        {length: broken for length, (_, broken) in found.items()},
    )


@base.drawn
def bars(held, guess, question):
    """A panel for each quantity, a bar for each design: {design: {quantity: number}}. guess: the first quantity of the last design."""
    quantities = list(next(iter(held.values())))
    drawing = Drawing(figsize=(WIDTH, 2.6), layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.subplots(1, len(quantities))
    drawing.suptitle(question, x=0.01, ha="left", fontweight="bold", fontsize=13)
    for axis, quantity in zip(axes, quantities):
        for place, (design, numbers) in enumerate(held.items()):
            axis.barh(-place, numbers[quantity], color=look(design)[0], height=0.6)
            axis.annotate(f" {numbers[quantity]}", (numbers[quantity], -place), va="center")
        axis.set_yticks(
            [-place for place in range(len(held))],
            list(held) if axis is axes[0] else [""] * len(held),
        )
        axis.set_xlim(
            0,
            1.2
            * max(
                max(numbers[quantity] for numbers in held.values()), guess if axis is axes[0] else 0
            ),
        )
        axis.set_title(quantity, fontsize=10)
    last = 1 - len(held)
    axes[0].plot([guess] * 2, [last - 0.4, last + 0.4], color=BLACK, linestyle="--")
    axes[0].annotate(
        f"your guess: {guess:g}", (guess, last + 0.42), ha="center", va="bottom", fontsize=9
    )
    told = [
        f"{design}: "
        + ", ".join(
            f"{number} {quantity.partition(',')[0]}" for quantity, number in numbers.items()
        )
        for design, numbers in held.items()
    ]
    return Figure(
        drawing,
        "As the operating system shows them, after the last member has come in.",
        f"{question} {'; '.join(told)}; your guess: {guess:g} in {list(held)[-1]}.",
        Table(
            ["server", *quantities],
            [[design, *numbers.values()] for design, numbers in held.items()],
        ),
        held,
    )
