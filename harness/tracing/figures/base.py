"""What all figures share: a question as title, the answer in words on each panel, one palette, one order; and the same data, the same picture."""

import base64
import functools
import html
import io
import textwrap
from typing import NamedTuple

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

# Okabe and Ito's colours, told apart by every kind of sight, but never needed alone: each also has a height, a hatch, a marker or a word of its own.
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK, GREY, PALE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#5a5a5a",
    "#d4d4d4",
)
DESIGNS = {
    "nonblocking": ("1", "one loop", BLUE, "o"),
    "pthread": ("2", "a thread each, one lock", RED, "s"),
    "fork": ("3", "a process each, pipes", GREEN, "^"),
}  # number, words, colour, marker
LOOK = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.8,
    "svg.hashsalt": "grupo",
    "svg.fonttype": "none",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.titlelocation": "left",
}
WIDTH = 13.0  # inches
LEAST = 0.0016  # of a panel's width: no bar is drawn narrower, or a send would not be seen
DPI = 110


class Table(NamedTuple):
    """The data of a figure. `head`: texts; `rows`: lists of as many texts or numbers."""

    head: list
    rows: list

    def _repr_html_(self):
        cell = lambda value: html.escape(
            f"{value:,.3g}" if isinstance(value, float) else str(value)
        )
        return (
            "<table><thead><tr>"
            + "".join(f"<th scope=col>{cell(value)}</th>" for value in self.head)
            + "</tr></thead><tbody>"
            + "".join(
                "<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>"
                for row in self.rows
            )
            + "</tbody></table>"
        )


class Figure:
    """A drawing with what makes it readable without eyes: a caption, a text in its place (`alt`), and its data as a table().

    `facts`: the numbers that the answer rests on, by name. `figure`: matplotlib's.
    """

    def __init__(self, figure, caption, alt, table, facts=None):
        self.figure, self.caption, self.alt, self.facts = figure, caption, alt, facts or {}
        self.data = table

    def __repr__(self):
        return f"<Figure: {self.alt}>"

    def table(self):
        """The Table of what is drawn."""
        return self.data

    def png(self, dpi=DPI):
        """Bytes. The same for the same data."""
        file = io.BytesIO()
        with matplotlib.rc_context(LOOK):
            self.figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
        return file.getvalue()

    def save(self, path):
        """To a file; its ending says of what kind."""
        with matplotlib.rc_context(LOOK):
            self.figure.savefig(path, dpi=DPI)

    def _repr_html_(self):
        image = base64.b64encode(self.png()).decode()
        return (
            f'<figure><img alt="{html.escape(self.alt, quote=True)}" style="max-width: 100%" src="data:image/png;base64,{image}">'
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )


def drawn(function):
    """A figure's function, with this look and no other: it leaves the program's own settings alone."""

    @functools.wraps(function)
    def draw(*arguments, **options):
        with matplotlib.rc_context(
            {**matplotlib.rcParamsDefault, **LOOK, "backend": matplotlib.rcParams["backend"]}
        ):
            return function(*arguments, **options)

    return draw


def sheet(height, question, answer="", width=WIDTH):
    """An empty drawing, with its title and the answer below; and how many inches these take at the top."""
    figure = Drawing(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.text(0.012, 1 - 0.16 / height, question, fontsize=16, fontweight="bold", va="top")
    lines = wrapped(answer, int(width * 11.5))
    figure.text(0.012, 1 - 0.50 / height, "\n".join(lines), fontsize=11, va="top", color="#222222")
    return figure, 0.62 + 0.2 * len(lines)


def wrapped(text, width):
    return textwrap.wrap(text, width)


def several(runs):
    """A run, or several, as a list. Raises ValueError if there is none."""
    runs = list(runs) if isinstance(runs, (list, tuple)) else [runs]
    if not runs:
        raise ValueError("there is no run to draw")
    return runs


def heading(run):
    """A run's name above its panel: `2  a thread each, one lock (pthread)`."""
    if run.design in DESIGNS:
        number, words, *_ = DESIGNS[run.design]
        return f"{number}  {words} ({run.title})"
    return run.title


def short(run):
    return run.title


def colour(run):
    return DESIGNS[run.design][2] if run.design in DESIGNS else BLACK


def ms(seconds):
    """A duration for people."""
    if seconds is None:
        return "-"
    return (
        f"{seconds * 1e6:.0f} µs"
        if seconds < 1e-3
        else f"{seconds * 1e3:.1f} ms"
        if seconds < 0.1
        else f"{seconds * 1e3:.0f} ms"
        if seconds < 1
        else f"{seconds:.2f} s"
    )


def size(count):
    return (
        f"{count / 1e6:.1f} MB"
        if count >= 1e6
        else f"{count / 1024:.0f} KiB"
        if count >= 1024
        else f"{count:.0f} bytes"
    )


def plural(count, word):
    return f"{count:,} {word}{'' if count == 1 else 'es' if word.endswith('s') else 's'}"


def listed(words):
    words = [str(word) for word in words]
    return (
        words[0]
        if len(words) == 1
        else f"{', '.join(words[:-1])} and {words[-1]}"
        if words
        else "none"
    )


def traced(runs):
    """How the runs were traced, and what is missing, for a caption."""
    parts = [f"{short(run)}: {run.source}" for run in runs]
    gone = [f"{short(run)}: {what}" for run in runs for what in run.missing]
    return f" Traced: {'; '.join(parts)}." + (f" Missing: {'; '.join(gone)}." if gone else "")


def told(guess, run):
    """The guess that is about this run: a guess is one for all, or {design: its own}."""
    return guess.get(run.title, guess.get(run.design)) if isinstance(guess, dict) else guess


def card(run):
    """What it cost, in words."""
    parts = []
    if "processes" in run.card:
        parts = [
            plural(run.card["processes"], "process"),
            plural(run.card["threads"], "thread"),
            f"{run.card['memory'] / 1e6:.0f} MB",
            plural(run.card["descriptors"], "descriptor"),
        ]
    return " · ".join(parts)
