"""The notebooks' small pictures: one question each, the answer in words, and the guess on it."""

import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

from harness.tracing.figures import base
from harness.tracing.figures.base import (
    BLACK,
    BLUE,
    DESIGNS,
    GREY,
    ORANGE,
    PALE,
    RED,
    SKY,
    Figure,
    Table,
)

WIDTH = 9.5  # inches
MOST_TITLE = 90  # characters of a check's title
ABOVE = {"xytext": (0, 3), "textcoords": "offset points"}  # of an annotation: 3 points above
DASHED = {"color": BLACK, "linestyle": "--", "linewidth": 1}


def look(name: str) -> tuple[str, str]:
    """Returns the (colour, marker) of a design; those of an exhibit for another server."""
    return DESIGNS[name][2:] if name in DESIGNS else (ORANGE, "X")


def canvas(
    question: str, rows: int = 1, columns: int = 1, height: float = 3.2, **options
) -> tuple[Drawing, Any]:
    """Returns (drawing, axes), with the question as title.

    height      inches
    options     as matplotlib's subplots() takes them
    """
    drawing = Drawing(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.subplots(rows, columns, **options)
    drawing.suptitle(question, x=0.01, ha="left", fontweight="bold", fontsize=13)
    return drawing, axes


def mark(axis: Axes, guess: float):
    """Marks the guess as a dashed line across the axis."""
    axis.axhline(guess, **DASHED)
    style = {"ha": "right", "va": "bottom", "fontsize": 9, **ABOVE}
    place = {"xy": (1, guess), "xycoords": axis.get_yaxis_transform()}
    axis.annotate(f"your guess: {guess:g} ", **place, **style)


@base.drawn
def cuts(pieces: Sequence[bytes], guess: int, asked: int) -> Figure:
    """Draws where recv cut the stream.

    pieces  what recv returned, one after the other
    guess   how many of them end with a line
    asked   the argument of recv
    """
    whole = sum(piece.endswith(b"\n") for piece in pieces)
    title = f"Does a piece that recv({asked}) returns end where a line ends?"
    drawing, axis = canvas(title, height=2.4)
    lines = b"".join(pieces).split(b"\n")[:-1]
    strip(axis, 1, [line + b"\n" for line in lines], (BLUE, SKY))
    strip(axis, 0, pieces, (GREY, PALE))
    at = 0
    for piece in pieces:
        at += len(piece)
        if not piece.endswith(b"\n"):
            axis.plot([at], [-0.45], marker="x", color=RED, markersize=5, linestyle="none")
    axis.set_yticks([1, 0], [f"{len(lines)} lines", f"{len(pieces)} pieces"])
    axis.set_ylim(-0.75, 1.5)
    axis.set_xlabel("bytes, in the order of their arrival; x: cut within a line")
    answer = f"{whole} of {len(pieces)} pieces end with a line (your guess: {guess:g})"
    axis.set_title(answer, fontsize=10)
    caption = (
        "Above, what the server sent, line by line; below, the same bytes as recv returned them. "
        "TCP keeps the bytes and their order, but not the lines."
    )
    rows = [[count, len(piece), piece.endswith(b"\n")] for count, piece in enumerate(pieces, 1)]
    return Figure(
        drawing,
        caption,
        f"Two strips over the same {at} bytes: {answer}. The others are cut within a line.",
        Table(["piece", "bytes", "ends with a line"], rows),
        {"whole": whole, "pieces": len(pieces)},
    )


def strip(axis: Axes, y: float, parts: Sequence[bytes], colours: tuple[str, str]):
    """Draws parts of a stream side by side, in two colours in turn."""
    start = 0
    for count, part in enumerate(parts):
        style = {"color": colours[count % 2], "edgecolor": "white", "linewidth": 0.5}
        axis.barh(y, len(part), left=start, height=0.6, **style)
        start += len(part)


@base.drawn
def latencies(
    runs: dict[str, Sequence[tuple[float, float]]],
    guess: float,
    question: str,
    caption: str,
    storm: tuple[float, float] | None = None,
) -> Figure:
    """Draws a row of dots for each run.

    runs    {name: [(second, latency in seconds)]}
    guess   the worst latency, in ms
    storm   (from, to) in seconds: it gets a grey background
    """
    height = 1.1 + 1.35 * len(runs)
    drawing, axes = canvas(question, rows=len(runs), height=height, sharex=True, sharey=True)
    worst = {name: 1000 * max(latency for _, latency in dots) for name, dots in runs.items()}
    for axis, (name, dots) in zip(axes, runs.items(), strict=True):
        colour, marker = look(name)
        x, y = [at for at, _ in dots], [1000 * latency for _, latency in dots]
        axis.plot(x, y, linestyle="none", markersize=3, color=colour, marker=marker)
        axis.set_yscale("log")
        axis.set_ylabel("ms")
        if storm:
            axis.axvspan(*storm, color="#eeeeee", zorder=0)
        middle = statistics.median(y)
        axis.set_title(f"{name}: median {middle:.2g} ms, worst {worst[name]:.3g} ms", fontsize=10)
        if axis is axes[0]:
            mark(axis, guess)
        else:
            axis.axhline(guess, **DASHED)
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
def heard(
    runs: dict[str, tuple[Sequence[float], float | None]],
    guess: float,
    question: str,
    caption: str,
) -> Figure:
    """Draws a step line for each run: how many lines a member has received at which time.

    runs    {name: ([seconds], second of an OUT, or None)}
    guess   how many lines in the last run
    """
    height = 1.1 + 1.35 * len(runs)
    drawing, axes = canvas(question, rows=len(runs), height=height, sharex=True, sharey=True)
    words = {name: f"{name}: {len(times)} lines" for name, (times, _) in runs.items()}
    end = max(times[-1] for times, _ in runs.values())
    for axis, (name, (times, out)) in zip(axes, runs.items(), strict=True):
        colour, marker = look(name)
        count, last = len(times), times[-1]
        axis.step([0, *times], range(count + 1), where="post", color=colour, linewidth=2)
        axis.plot([last], [count], marker=marker, color=colour)
        if last < end / 2:
            axis.plot([last, end], [count] * 2, color=colour, linestyle=":", linewidth=1)
            style = {"color": colour, "fontsize": 9, **ABOVE}
            axis.annotate("nothing more", (end / 2, count), **style)
        axis.set_title(words[name], fontsize=10)
        axis.set_ylabel("lines heard")
        if out is not None:
            axis.axvline(out, color=GREY, linestyle=":")
            style = {"xycoords": axis.get_xaxis_transform(), "fontsize": 9, "ha": "right"}
            axis.annotate("the slow member is disconnected ", (out, 0.1), **style)
    mark(axes[-1], guess)
    axes[-1].set_xlabel("seconds")
    rows = [[name, len(times), times[-1]] for name, (times, _) in runs.items()]
    return Figure(
        drawing,
        caption,
        f"{question} {'; '.join(words.values())}; your guess: {guess:g}.",
        Table(["server", "lines", "last at, s"], rows),
        {name: len(times) for name, (times, _) in runs.items()},
    )


@base.drawn
def board(verdicts: dict[str, Any], guess: int, question: str, caption: str) -> Figure:
    """Draws a row for each check: whether it failed.

    verdicts    {check: Verdict}
    guess       how many fail
    """
    failed = [check for check, verdict in verdicts.items() if verdict.verdict == "failed"]
    drawing, axis = canvas(question, height=1 + 0.28 * len(verdicts))
    for y, verdict in enumerate(reversed(verdicts.values())):
        bad = verdict.verdict == "failed"
        axis.plot([0], [y], marker="X" if bad else "o", color=RED if bad else BLUE, markersize=8)
        title = verdict.title
        if len(title) >= MOST_TITLE:
            title = title[:MOST_TITLE] + " ..."
        style = {"xytext": (10, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
        style["fontweight"] = "bold" if bad else "normal"
        axis.annotate(f"{verdict.verdict}: {title}", (0, y), **style)
    axis.set_xlim(-0.02, 1)
    axis.set_yticks(range(len(verdicts)), list(reversed(verdicts)))
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    answer = f"{len(failed)} of {len(verdicts)} fail (your guess: {guess:g})"
    axis.set_title(answer, fontsize=10)
    rows = [[check, verdict.verdict] for check, verdict in verdicts.items()]
    alt = f"{question} {answer}: {', '.join(failed)}."
    return Figure(drawing, caption, alt, Table(["check", "verdict"], rows), {"failed": failed})


@base.drawn
def torn(found: dict[int, tuple[int, int]], guess: float, of: int, limit: int) -> Figure:
    """Draws how many lines were torn in one pipe.

    found   {bytes of a line: (lines, torn lines)}
    guess   how many of those with `of` bytes were torn
    limit   PIPE_BUF
    """
    drawing, axis = canvas("Several processes write to one pipe: which lines are torn?", height=3.4)
    places = range(len(found))
    shares = [100 * broken / lines for lines, broken in found.values()]
    short = [length <= limit for length in found]
    colours, hatches = [ORANGE, BLUE], ["//", ""]
    style = {"hatch": [hatches[one] for one in short], "edgecolor": "white"}
    axis.bar(places, shares, color=[colours[one] for one in short], **style)
    for place, share, (lines, broken) in zip(places, shares, found.values(), strict=True):
        style = {"ha": "center", "fontsize": 9, **ABOVE}
        axis.annotate(f"{broken} of {lines}", (place, share), **style)
    edge = sum(short) - 0.5
    axis.axvline(edge, color=GREY, linestyle=":")
    style = {"xycoords": axis.get_xaxis_transform(), "va": "top", "fontsize": 9}
    text = f"up to PIPE_BUF, {limit:,} bytes: never "
    axis.annotate(text, (edge, 0.97), ha="right", **style)
    axis.annotate(" longer: it may happen", (edge, 0.97), **style)
    here, share = list(found).index(of), 100 * guess / found[of][0]
    axis.plot([here - 0.4, here + 0.4], [share] * 2, color=BLACK, linestyle="--")
    axis.annotate(f" your guess: {guess:g}", (here + 0.4, share), fontsize=9, va="center")
    axis.set_xticks(places, [f"{length:,}" for length in found])
    axis.set_xlabel("bytes of a line")
    axis.set_ylabel("% of the lines torn")
    axis.set_ylim(0, max(max(shares) * 1.35, 10))
    axis.set_yticks([tick for tick in axis.get_yticks() if tick <= 100])
    words = ", ".join(
        f"{broken} of {lines} with {length:,} bytes" for length, (lines, broken) in found.items()
    )
    caption = (
        "Four processes write their lines to one pipe, as fast as they can; one process reads. A "
        "line of at most PIPE_BUF bytes is never torn. A longer one may be: how often depends on "
        "the kernel, on the sizes, and on luck."
    )
    return Figure(
        drawing,
        caption,
        f"Torn lines: {words}; your guess: {guess:g} of those with {of:,} bytes.",
        Table(["bytes of a line", "lines", "torn"], [[key, *pair] for key, pair in found.items()]),
        {length: broken for length, (_, broken) in found.items()},
    )


@base.drawn
def bars(held: dict[str, dict[str, int]], guess: float, question: str) -> Figure:
    """Draws a panel for each quantity, with a bar for each design.

    held    {design: {quantity: number}}
    guess   the first quantity of the last design
    """
    quantities = list(next(iter(held.values())))
    drawing, axes = canvas(question, columns=len(quantities), height=2.6)
    for axis, quantity in zip(axes, quantities, strict=True):
        is_first = axis is axes[0]
        for place, (design, numbers) in enumerate(held.items()):
            axis.barh(-place, numbers[quantity], color=look(design)[0], height=0.6)
            axis.annotate(f" {numbers[quantity]}", (numbers[quantity], -place), va="center")
        labels = list(held) if is_first else [""] * len(held)
        axis.set_yticks([-place for place in range(len(held))], labels)
        most = max(numbers[quantity] for numbers in held.values())
        axis.set_xlim(0, 1.2 * max(most, guess if is_first else 0))
        axis.set_title(quantity, fontsize=10)
    last = 1 - len(held)
    axes[0].plot([guess] * 2, [last - 0.4, last + 0.4], color=BLACK, linestyle="--")
    style = {"ha": "center", "va": "bottom", "fontsize": 9}
    axes[0].annotate(f"your guess: {guess:g}", (guess, last + 0.42), **style)
    words = []
    for design, numbers in held.items():
        counts = (f"{number} {name.partition(',')[0]}" for name, number in numbers.items())
        words.append(f"{design}: {', '.join(counts)}")
    rows = [[design, *numbers.values()] for design, numbers in held.items()]
    return Figure(
        drawing,
        "As the operating system shows them, after the last member has come in.",
        f"{question} {'; '.join(words)}; your guess: {guess:g} in {list(held)[-1]}.",
        Table(["server", *quantities], rows),
        held,
    )
