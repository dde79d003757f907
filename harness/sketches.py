"""The notebooks' small pictures: one question each, the answer in words, the guess on the drawing, the same as a table for who does not see it."""
import base64
import html
import io
import statistics

from matplotlib.figure import Figure

# Okabe and Ito's colours, which everyone can tell apart; never colour alone.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#5a5a5a"
OF_DESIGN = {"nonblocking": BLUE, "pthread": ORANGE, "fork": GREEN}
MARKS = {"nonblocking": "o", "pthread": "s", "fork": "^"}
DPI = 100


class Picture:
    """A drawing with its caption and alternative text; `rows` is what it shows, a dict for each."""

    def __init__(self, figure, caption, alt, rows=()):
        self.figure, self.caption, self.alt, self.rows = figure, caption, alt, list(rows)

    def __repr__(self):
        return f"{self.alt}\n{self.caption}"

    def png(self):
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
        return file.getvalue()

    def _repr_mimebundle_(self, **_):
        source = f"data:image/png;base64,{base64.b64encode(self.png()).decode()}"
        return {"text/plain": repr(self), "text/html": f'<figure style="margin: 0"><img alt="{html.escape(self.alt)}" src="{source}" style="max-width: 100%">'
                                                       f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"}


def canvas(question, rows=1, height=3.2, width=9.5, **options):
    """(figure, axes): the question is the title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, 1, **options)
    figure.suptitle(question, x=0.01, ha="left", fontweight="bold", fontsize=11)
    for axis in axes if rows > 1 else [axes]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def mark(axis, guess, upright=False):
    """The guess, as a dashed line across the axis."""
    line = axis.axvline if upright else axis.axhline
    line(guess.value, color="black", linestyle="--", linewidth=1)
    spot = (guess.value, 1) if upright else (1, guess.value)
    axis.annotate(guess.label, spot, xycoords=axis.get_xaxis_transform() if upright else axis.get_yaxis_transform(), xytext=(3, -3) if upright else (-3, 3),
                  textcoords="offset points", ha="left" if upright else "right", va="top" if upright else "bottom", fontsize=9)


def cuts(pieces, guess, asked):
    """Where recv cut the stream: pieces are what it gave, one after the other; asked is the most it was asked for. guess: how many end with a line."""
    whole = sum(piece.endswith(b"\n") for piece in pieces)
    figure, axis = canvas(f"Does a piece that recv({asked}) gives end where a line ends?", height=2.4)
    lines = b"".join(pieces).split(b"\n")[:-1]
    for y, parts, names in (1, [line + b"\n" for line in lines], (BLUE, "#8ec5e8")), (0, pieces, (GREY, "#bbbbbb")):
        start = 0
        for number, part in enumerate(parts):
            axis.barh(y, len(part), left=start, height=0.6, color=names[number % 2], edgecolor="white", linewidth=0.5)
            start += len(part)
    at = 0
    for piece in pieces:
        at += len(piece)
        if not piece.endswith(b"\n"):
            axis.plot([at], [-0.45], marker="x", color=RED, markersize=5, linestyle="none")
    axis.set_yticks([1, 0], [f"{len(lines)} lines", f"{len(pieces)} pieces"])
    axis.set_ylim(-0.75, 1.5)
    axis.set_xlabel("bytes, in the order in which they came; × : cut within a line")
    answer = f"{whole} of {len(pieces)} pieces end with a line ({guess.label})"
    axis.set_title(answer, loc="left", fontsize=10)
    return Picture(figure, "Above what the server sent, line by line; below the same bytes as recv gave them. TCP keeps the bytes and their order, and knows no lines.",
                   f"Two strips over the same {at} bytes: {answer}. The others are cut within a line.",
                   [{"piece": number, "bytes": len(piece), "ends with a line": piece.endswith(b"\n")} for number, piece in enumerate(pieces, 1)])


def latencies(runs, guess, question, caption, storm=None):
    """A row of dots for each run: {name: [(second, latency in seconds)]}. guess: of the worst, in ms. storm: (from, to) in seconds."""
    figure, axes = canvas(question, rows=len(runs), height=1.1 + 1.35 * len(runs), sharex=True, sharey=True)
    worst = {name: 1000 * max(latency for _, latency in dots) for name, dots in runs.items()}
    for number, (axis, (name, dots)) in enumerate(zip(axes, runs.items())):
        axis.plot([at for at, _ in dots], [1000 * latency for _, latency in dots], linestyle="none", markersize=3,
                  marker=MARKS.get(name, "x"), color=OF_DESIGN.get(name, RED))
        axis.set_yscale("log")
        axis.set_ylabel("ms")
        if storm:
            axis.axvspan(*storm, color="#eeeeee", zorder=0)
        middle = 1000 * statistics.median(latency for _, latency in dots)
        axis.set_title(f"{name}: median {middle:.2g} ms, worst {worst[name]:.3g} ms", loc="left", fontsize=10)
        mark(axis, guess) if number == 0 else axis.axhline(guess.value, color="black", linestyle="--", linewidth=1)
    axes[-1].set_xlabel("seconds")
    return Picture(figure, caption, f"{question} Worst latencies: " + ", ".join(f"{name} {value:.3g} ms" for name, value in worst.items()) + f"; {guess.label} ms.",
                   [{"server": name, "second": at, "ms": 1000 * latency} for name, dots in runs.items() for at, latency in dots])


def heard(runs, guess, question, caption):
    """A step line for each run: how many lines somebody has heard by when: {name: ([seconds], second of an OUT, or None)}. guess: how many in the last run."""
    figure, axes = canvas(question, rows=len(runs), height=1.1 + 1.35 * len(runs), sharex=True, sharey=True)
    told = [f"{name}: {len(times)} lines" for name, (times, _) in runs.items()]
    end = max(times[-1] for times, _ in runs.values())
    for axis, text, (name, (times, out)) in zip(axes, told, runs.items()):
        color = OF_DESIGN.get(name, RED)
        axis.step([0, *times], range(len(times) + 1), where="post", color=color, linewidth=2)
        axis.plot(times[-1:], [len(times)], marker=MARKS.get(name, "X"), color=color)
        if times[-1] < end / 2:
            axis.plot([times[-1], end], [len(times)] * 2, color=color, linestyle=":", linewidth=1)
            axis.annotate("nothing more", (end / 2, len(times)), xytext=(0, 4), textcoords="offset points", color=color, fontsize=9)
        axis.set_title(text, loc="left", fontsize=10)
        axis.set_ylabel("lines heard")
        if out is not None:
            axis.axvline(out, color=GREY, linestyle=":")
            axis.annotate("the slow one is put out ", (out, 0.1), xycoords=axis.get_xaxis_transform(), fontsize=9, ha="right")
    mark(axes[-1], guess)
    axes[-1].set_xlabel("seconds")
    return Picture(figure, caption, f"{question} " + "; ".join(told) + f"; {guess.label}.",
                   [{"server": name, "lines": len(times), "last at": times[-1]} for name, (times, _) in runs.items()])


def growth(points, guess, question, caption, of="fork"):
    """Lines over the number of members, one panel for each quantity: {design: [{"members": n, quantity: value, ...}]}.
    guess: the first quantity of `of` at the most members."""
    quantities = [key for key in next(iter(points.values()))[0] if key != "members"]
    figure, axes = canvas(question, rows=len(quantities), height=1 + 1.75 * len(quantities), sharex=True)
    for number, (axis, quantity) in enumerate(zip(axes, quantities)):
        for design, rows in points.items():
            xs, ys = [row["members"] for row in rows], [row[quantity] for row in rows]
            axis.plot(xs, ys, marker=MARKS[design], color=OF_DESIGN[design], linewidth=1.5, markersize=5)
            axis.annotate(f" {design} {ys[-1]:,.3g}", (xs[-1], ys[-1]), fontsize=9, va="center")
        axis.set_xscale("log"), axis.set_yscale("log")
        axis.set_title(quantity, loc="left", fontsize=10)
        axis.set_xticks(xs, [f"{x:,}" for x in xs], minor=False)
        axis.set_xticks([], minor=True)
        axis.set_xlim(xs[0] * 0.9, xs[-1] * 2.2)
        if number == 0:
            mark(axis, guess)
    axes[-1].set_xlabel("members who are here")
    last = {design: rows[-1] for design, rows in points.items()}
    return Picture(figure, caption, f"{question} With {xs[-1]:,} members: " + "; ".join(
        f"{design} " + ", ".join(f"{quantity} {row[quantity]:,.3g}" for quantity in quantities) for design, row in last.items()) + f"; {guess.label} for {of}.",
        [{"server": design, **row} for design, rows in points.items() for row in rows])


def board(verdicts, guess, question, caption):
    """A row for each check: whether it failed. verdicts: {check: Verdict}; guess: how many fail."""
    failed = [check for check, verdict in verdicts.items() if verdict.verdict == "failed"]
    figure, axis = canvas(question, height=1 + 0.28 * len(verdicts))
    for y, (check, verdict) in enumerate(reversed(verdicts.items())):
        bad = verdict.verdict == "failed"
        axis.plot([0], [y], marker="X" if bad else "o", color=RED if bad else BLUE, markersize=8)
        axis.annotate(f"{verdict.verdict}: {verdict.title}", (0, y), xytext=(10, 0), textcoords="offset points", va="center", fontsize=9, fontweight="bold" if bad else "normal")
    axis.set_xlim(-0.02, 1)
    axis.set_yticks(range(len(verdicts)), list(reversed(verdicts)))
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    answer = f"{len(failed)} of {len(verdicts)} fail ({guess.label})"
    axis.set_title(answer, loc="left", fontsize=10)
    return Picture(figure, caption, f"{question} {answer}: {', '.join(failed)}.", [{"check": check, "verdict": verdict.verdict} for check, verdict in verdicts.items()])
