"""The notebooks' small pictures: one question each, the answer in words, and the guess on it."""

import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from harness.driving.messages import template
from harness.tracing.figures import base
from harness.tracing.figures.base import ALARM, GREY, GUESS, GUESS_LINE, INK, PALE, Figure, Table
from harness.tracing.traces import LATE
from harness.verdicts.language import say

WIDTH = 9.5  # inches
ABOVE = {"xytext": (0, 3), "textcoords": "offset points"}  # of an annotation: 3 points above
STRIPES = GREY, PALE  # two neighbours
YOUR_GUESS = template("your guess: {guess}")

Dots = Sequence[tuple[float, float]]  # (second, latency in seconds)
Span = tuple[float, float]


def left_of(narrow: float, wide: float) -> float:
    """Returns the left margin of a panel, inches."""
    return narrow if base.is_narrow() else wide


def guessed(guess: float) -> str:
    """Returns the words on a guess."""
    return say(YOUR_GUESS, guess=base.plain(guess))


@base.drawn
def cuts(pieces: Sequence[bytes], guess: int, asked: int) -> Figure:
    """Draws where recv cut the stream.

    pieces  what recv returned, one after the other
    guess   how many of them end with a line
    asked   the argument of recv
    """
    whole = sum(piece.endswith(b"\n") for piece in pieces)
    answer = say("{count} of {all} pieces end with a line", count=whole, all=len(pieces))
    answer += f" ({guessed(guess)})."
    asked_text = say("Does a piece that recv({size}) returns end where a line ends?", size=asked)
    sheet = base.Sheet(asked_text, answer, width=WIDTH)
    sheet.space(0.1)
    panel = sheet.panel(1.3, left_of(0.85, 0.95))
    lines = b"".join(pieces).split(b"\n")[:-1]
    strip(panel, 1, [line + b"\n" for line in lines])
    strip(panel, 0, pieces)
    at = 0
    for piece in pieces:
        at += len(piece)
        if not piece.endswith(b"\n"):
            style = {"marker": "x", "color": ALARM, "markersize": 5, "linestyle": "none"}
            panel.plot([at], [-0.45], label="cut", **style)
    names = [say("{count} lines", count=len(lines)), say("{count} pieces", count=len(pieces))]
    panel.set_yticks([1, 0], names, fontsize=9)
    panel.set_ylim(-0.75, 1.5)
    panel.set_xlabel(say("bytes, in the order of their arrival; x: cut within a line"), fontsize=9)
    sheet.space(0.5)
    caption = say(
        "Above, what the server sent, line by line; below, the same bytes as recv returned them. "
        "TCP keeps the bytes and their order, but not the lines."
    )
    rows = [[count, len(piece), piece.endswith(b"\n")] for count, piece in enumerate(pieces, 1)]
    return Figure(
        sheet.finish(),
        caption,
        say("Two strips over the same {count} bytes.", count=at) + f" {answer}",
        Table([say("piece"), say("bytes"), say("ends with a line")], rows),
        {"whole": whole, "pieces": len(pieces)},
    )


def strip(panel: Axes, y: float, parts: Sequence[bytes]):
    """Draws parts of a stream side by side, in two shades in turn."""
    start = 0
    for count, part in enumerate(parts):
        style = {"color": STRIPES[count % 2], "edgecolor": base.GROUND, "linewidth": 0.5}
        panel.barh(y, len(part), left=start, height=0.6, **style)
        start += len(part)


@base.drawn
def latencies(
    runs: dict[str, tuple[Dots, Span]], guess: float, question: str, caption: str
) -> Figure:
    """Draws a row for each run: a dash for each line that somebody said, as long as the wait.

    runs    {name: ([(second, latency in seconds)], (begin, end) of its storm in seconds)}
    guess   the worst latency during the storm, in ms

    What is counted is the storm: the lines that waited during at least a part of it.
    """
    facts = {name: in_storm(dots, storm) for name, (dots, storm) in runs.items()}
    words = [
        say(
            "{server}: median {median}, worst {worst}",
            server=name,
            median=base.ms(fact["median"]),
            worst=base.ms(fact["worst"]),
        )
        for name, fact in facts.items()
    ]
    answer = say(
        "During the storm: {words}. You guessed {guess} ms for the worst.",
        words="; ".join(words),
        guess=base.plain(guess),
    )
    sheet = base.Sheet(question, answer, width=WIDTH)
    end = max(at + latency for dots, _ in runs.values() for at, latency in dots)
    longest = max(latency for dots, _ in runs.values() for _, latency in dots) * 1e3
    for name, (dots, storm) in runs.items():
        fact = facts[name]
        sheet.space(0.68 if base.is_narrow() else 0.36)
        panel = sheet.panel(0.95, left_of(0.6, 0.75))
        for late, shade in (False, GREY), (True, ALARM):
            mine = [one for one in dots if (one[1] > LATE) == late]
            ends = [[at, at + latency] for at, latency in mine]
            heights = [1e3 * latency for _, latency in mine]
            left, right = [one[0] for one in ends], [one[1] for one in ends]
            panel.hlines(heights, left, right, color=shade, linewidth=2.2, zorder=4)
            marker = "^" if late else "o"
            style = {"linestyle": "none", "markersize": 3, "color": shade, "zorder": 5}
            panel.plot(left, heights, marker, label="late" if late else "in time", **style)
        panel.axvspan(*storm, zorder=0, **base.SHADE)
        panel.axhline(LATE * 1e3, color=ALARM, linestyle=":", linewidth=1)
        panel.set_xlim(0, end * 1.01)
        panel.set_yscale("log")
        panel.set_ylim(0.1, max(longest * 2, 50))
        panel.yaxis.set_major_formatter(lambda value, _: base.local(f"{value:g}"))
        panel.minorticks_off()
        panel.set_ylabel(say("ms (log)"), fontsize=9)
        text = say(
            "in the storm: median {median}, worst {worst}, {late} of {all} lines late",
            median=base.ms(fact["median"]),
            worst=base.ms(fact["worst"]),
            late=fact["late"],
            all=fact["lines"],
        )
        base.head(panel, name, text, fact["late"] > fact["lines"] / 2)
        if name == list(runs)[-1]:
            base.mark_guess(panel, guess, guessed(guess))
        panel.tick_params(labelbottom=name == list(runs)[-1])
    panel.set_xlabel(say("seconds; grey: the storm"), fontsize=9)
    sheet.space(0.5)
    rows = [[name, at, 1000 * latency] for name, (dots, _) in runs.items() for at, latency in dots]
    table = Table([say("server"), say("second"), say("ms")], rows)
    return Figure(sheet.finish(), caption, f"{question} {answer}", table, facts)


def in_storm(dots: Dots, storm: Span) -> dict[str, float]:
    """Returns the median and the worst latency in seconds of the lines that waited in the storm.

    Also how many there were, and how many of them were late.
    """
    begin, end = storm
    mine = [latency for at, latency in dots if at + latency > begin and at < end]
    return {
        "median": statistics.median(mine) if mine else 0.0,
        "worst": max(mine, default=0.0),
        "lines": len(mine),
        "late": sum(latency > LATE for latency in mine),
    }


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
    words = {
        name: say("{server}: {count} lines", server=name, count=len(times))
        for name, (times, _) in runs.items()
    }
    answer = f"{'; '.join(words.values())}; {guessed(guess)}."
    sheet = base.Sheet(question, answer, width=WIDTH)
    end = max((times[-1] for times, _ in runs.values() if times), default=1.0)
    most = max(len(times) for times, _ in runs.values())
    last_name = list(runs)[-1]
    for name, (times, out) in runs.items():
        sheet.space(0.36)
        panel = sheet.panel(0.95, left_of(0.65, 0.75))
        count, last = len(times), times[-1] if times else 0.0
        panel.step([0, *times], range(count + 1), where="post", color=INK, linewidth=2)
        panel.plot([last], [count], marker="o", color=INK)
        if last < end / 2:
            panel.plot([last, end], [count] * 2, color=ALARM, linestyle=":", linewidth=1.4)
            style = {"color": ALARM, "fontsize": 9, **ABOVE}
            panel.annotate(say("nothing more"), (end / 2, count), **style)
        panel.set_xlim(0, end * 1.02)
        panel.set_ylim(0, most * 1.15)
        base.head(panel, words[name])
        panel.set_ylabel(say("lines heard"), fontsize=9)
        if out is not None:
            panel.axvline(out, color=GREY, linestyle=":")
            is_late = out > end / 2  # the line is low at the left, and high at the right
            style = {"xycoords": panel.get_xaxis_transform(), "fontsize": 9}
            style |= {"ha": "right" if is_late else "left"}
            text = " " + say("the slow member is disconnected") + " "
            panel.annotate(text, (out, 0.85 if is_late else 0.1), **style)
        if name == last_name:
            base.mark_guess(panel, guess, guessed(guess))
        panel.tick_params(labelbottom=name == last_name)
    panel.set_xlabel(say("seconds"), fontsize=9)
    sheet.space(0.5)
    rows = [[name, len(times), times[-1] if times else ""] for name, (times, _) in runs.items()]
    return Figure(
        sheet.finish(),
        caption,
        f"{question} {answer}",
        Table([say("server"), say("lines"), say("last at, s")], rows),
        {name: len(times) for name, (times, _) in runs.items()},
    )


def board(verdicts: dict[str, Any], guess: int, question: str, caption: str) -> Figure:
    """Returns a table with a row for each check: whether it failed. The failed ones are bold.

    verdicts    {check: Verdict}
    guess       how many fail
    """
    failed = [check for check, verdict in verdicts.items() if verdict.verdict == "failed"]
    answer = say("{count} of {all} fail", count=len(failed), all=len(verdicts))
    rows = [[check, say(one.verdict), say(one.title)] for check, one in verdicts.items()]
    marked = [number for number, check in enumerate(verdicts) if check in failed]
    table = Table([say("check"), say("verdict"), say("what must hold")], rows)
    answer = f"{answer} ({guessed(guess)})"
    return base.TableFigure(question, answer, caption, table, {"failed": failed}, marked)


@base.drawn
def torn(found: dict[int, tuple[int, int]], guess: float, of: int, limit: int) -> Figure:
    """Draws how many lines were torn in one pipe.

    found   {bytes of a line: (lines, torn lines)}
    guess   how many of those with `of` bytes were torn
    limit   PIPE_BUF
    """
    words = "; ".join(
        say(
            "{count} of {all} with {size} bytes",
            count=broken,
            all=lines,
            size=base.local(f"{length:,}"),
        )
        for length, (lines, broken) in found.items()
    )
    answer = say("Torn: {counts}", counts=words) + f"; {guessed(guess)}."
    question = say("Several processes write to one pipe: which lines are torn?")
    sheet = base.Sheet(question, answer, width=WIDTH)
    sheet.space(0.1)
    panel = sheet.panel(2.3, left_of(0.6, 0.75))
    places = list(range(len(found)))
    counts = [broken for _, broken in found.values()]
    panel.bar(places, counts, color=ALARM, width=0.7)
    for place, (lines, broken) in zip(places, found.values(), strict=True):
        style = {"ha": "center", "fontsize": 8.5, **ABOVE}
        text = say("{count} of {all}", count=broken, all=lines)
        panel.annotate(text, (place, broken), **style)
    panel.set_ylim(0, max([*counts, 10]) * 1.45)
    edge = sum(length <= limit for length in found) - 0.5
    panel.axvline(edge, color=GREY, linestyle=":")
    style = {"xycoords": panel.get_xaxis_transform(), "va": "top", "fontsize": 8.5}
    size = base.local(f"{limit:,}")
    text = say("up to PIPE_BUF,\n{limit} bytes: never", limit=size)
    panel.annotate(f"{text} ", (edge, 0.99), ha="right", **style)
    panel.annotate(" " + say("longer:\n it may happen"), (edge, 0.99), **style)
    here, top = list(found).index(of), panel.get_ylim()[1]
    at = min(guess, top * 0.8)
    panel.plot([here - 0.42, here + 0.42], [at] * 2, zorder=9, **GUESS_LINE)
    text = guessed(guess) + (" ↑" if at < guess else "")
    style = {"color": GUESS, "fontsize": 8.5, "ha": "right", "va": "center"}
    panel.annotate(f"{text} ", (here - 0.42, at), **style)
    panel.set_xticks(places, [base.local(f"{length:,}") for length in found], fontsize=9)
    panel.set_xlabel(say("bytes of a line"), fontsize=9)
    panel.set_ylabel(say("torn lines"), fontsize=9)
    panel.yaxis.get_major_locator().set_params(integer=True)
    sheet.space(0.5)
    caption = say(
        "Four processes write their lines to one pipe, as fast as they can; one process reads. A "
        "line of at most PIPE_BUF bytes is never torn. A longer one may be: how often depends on "
        "the kernel, on the sizes, and on luck."
    )
    return Figure(
        sheet.finish(),
        caption,
        answer,
        Table(
            [say("bytes of a line"), say("lines"), say("torn")],
            [[key, *pair] for key, pair in found.items()],
        ),
        {length: broken for length, (_, broken) in found.items()},
    )


@base.drawn
def bars(
    held: dict[str, dict[str, int]], guess: float, question: str, caption: str | None = None
) -> Figure:
    """Draws a panel for each quantity, with a bar for each design.

    held    {design: {quantity: number}}
    guess   the first quantity of the last design
    caption without it: that the operating system shows the numbers
    """
    quantities = list(next(iter(held.values())))
    words = []
    for design, numbers in held.items():
        counts = (f"{name.partition(',')[0]} {number}" for name, number in numbers.items())
        words.append(f"{design}: {', '.join(counts)}")
    answer = f"{'; '.join(words)}; {guessed(guess)}."
    sheet = base.Sheet(question, answer, width=WIDTH)
    across = 1 if base.is_narrow() else len(quantities)
    wide = (sheet.width - 1.0) / across
    panels: list[Axes] = []
    for _ in range(0, len(quantities), across):
        sheet.space(0.4)
        spans = [(1.05 + wide * n, 1.05 + wide * (n + 1) - 0.3) for n in range(across)]
        panels += sheet.panels(0.42 * len(held), *spans)
        sheet.space(0.3)
    last = 1 - len(held)
    for panel, quantity in zip(panels, quantities, strict=True):
        most = max(numbers[quantity] for numbers in held.values())
        for place, numbers in enumerate(held.values()):
            panel.barh(-place, numbers[quantity], color=GREY, height=0.6)
            panel.annotate(f" {numbers[quantity]}", (numbers[quantity], -place), va="center")
        is_left = across == 1 or panel is panels[0]
        labels = list(held) if is_left else [""] * len(held)
        panel.set_yticks([-place for place in range(len(held))], labels, fontsize=9)
        panel.set_xlim(0, 1.25 * max(most, 1))
        panel.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        panel.set_title(quantity, fontsize=10)
    at = min(guess, panels[0].get_xlim()[1])
    panels[0].plot([at] * 2, [last - 0.4, last + 0.4], zorder=9, **GUESS_LINE)
    arrow = " →" if at < guess else ""
    style = {"ha": "right" if arrow else "center", "va": "bottom", "fontsize": 9, "color": GUESS}
    panels[0].annotate(guessed(guess) + arrow, (at, last + 0.42), **style)
    rows = [[design, *numbers.values()] for design, numbers in held.items()]
    return Figure(
        sheet.finish(),
        caption or say("As the operating system shows them, after the last member has come in."),
        f"{question} {answer}",
        Table([say("server"), *quantities], rows),
        held,
    )
