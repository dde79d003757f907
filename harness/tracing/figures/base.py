"""The parts that all figures share: one look, one palette, one order of the designs.

A figure has a question as its title, and the answer in words. The same data gives the same picture.
"""

import base64
import functools
import html
import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

from harness.tracing.traces import Run

# The palette of Okabe and Ito, which people with any kind of colour vision can tell apart. No
# colour is needed alone: each comes with a height, a hatch, a marker or a word of its own.
BLACK, ORANGE, SKY, GREEN, BLUE = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2"
RED, PINK, GREY, PALE = "#D55E00", "#CC79A7", "#5a5a5a", "#d4d4d4"
# design: (number, words, colour, marker)
DESIGNS = {
    "nonblocking": ("1", "one loop", BLUE, "o"),
    "pthread": ("2", "a thread each, one lock", RED, "s"),
    "fork": ("3", "a process each, pipes", GREEN, "^"),
}
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
LEAST = 0.0016  # of a panel's width: a narrower bar would be invisible
DPI = 110


class Table(NamedTuple):
    """The data of a figure. `head`: texts; `rows`: lists of as many texts or numbers."""

    head: list[str]
    rows: list[list]

    def _repr_html_(self) -> str:
        def cell(value: object) -> str:
            return html.escape(f"{value:,.3g}" if isinstance(value, float) else str(value))

        heads = "".join(f"<th scope=col>{cell(value)}</th>" for value in self.head)
        rows = "".join(
            "<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


class Figure:
    """A drawing, with a text and a table for readers who cannot see it.

    figure      matplotlib's
    caption     text below the drawing
    alt         its content in words
    data        its Table
    facts       the numbers in its answer, by name
    """

    def __init__(
        self,
        figure: Drawing,
        caption: str,
        alt: str,
        table: Table,
        facts: dict[Any, Any] | None = None,
    ):
        self.figure, self.caption, self.alt, self.facts = figure, caption, alt, facts or {}
        self.data = table

    def __repr__(self) -> str:
        return f"<Figure: {self.alt}>"

    def table(self) -> Table:
        """Returns the data that is drawn."""
        return self.data

    def png(self, dpi: int = DPI) -> bytes:
        """Returns the drawing as PNG; the same bytes for the same data."""
        file = io.BytesIO()
        with matplotlib.rc_context(LOOK):
            self.figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
        return file.getvalue()

    def save(self, path: str):
        """Writes the drawing to a file; the end of its name says in which format."""
        with matplotlib.rc_context(LOOK):
            self.figure.savefig(path, dpi=DPI)

    def _repr_html_(self) -> str:
        image = base64.b64encode(self.png()).decode()
        return (
            f'<figure><img alt="{html.escape(self.alt, quote=True)}" style="max-width: 100%" '
            f'src="data:image/png;base64,{image}">'
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )


def drawn(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorates a figure's function: it draws with this look, and leaves the program's settings."""

    @functools.wraps(function)
    def draw(*arguments, **options) -> Figure:
        settings = {**matplotlib.rcParamsDefault, **LOOK}
        settings["backend"] = matplotlib.rcParams["backend"]
        with matplotlib.rc_context(settings):
            return function(*arguments, **options)

    return draw


def sheet(
    height: float, question: str, answer: str = "", width: float = WIDTH
) -> tuple[Drawing, float]:
    """Returns an empty drawing with a title and the answer below it.

    height, width   inches

    The second result is the height of title and answer, in inches.
    """
    figure = Drawing(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.text(0.012, 1 - 0.16 / height, question, fontsize=16, fontweight="bold", va="top")
    lines = wrapped(answer, int(width * 11.5))
    figure.text(0.012, 1 - 0.50 / height, "\n".join(lines), fontsize=11, va="top", color="#222222")
    return figure, 0.62 + 0.2 * len(lines)


def wrapped(text: str, width: int) -> list[str]:
    """Returns the lines of a text, at most `width` characters long."""
    return textwrap.wrap(text, width)


def at_right(panel: Axes, y: float, text: str, **style):
    """Writes a text at the right edge of a panel, just above the value `y`."""
    style = {"ha": "right", "va": "bottom", "transform": panel.get_yaxis_transform(), **style}
    panel.text(0.998, y, text, **style)


def no_frame(panel: Axes):
    """Hides the frame and the ticks of a panel."""
    panel.tick_params(length=0)
    for side in panel.spines.values():
        side.set_visible(False)


def several(runs: Run | Sequence[Run]) -> list[Run]:
    """Returns a run, or several, as a list. Raises ValueError if there is none."""
    runs = list(runs) if isinstance(runs, (list, tuple)) else [runs]
    if not runs:
        raise ValueError("there is no run to draw")
    return runs


def heading(run: Run) -> str:
    """Returns the title of a run's panel, such as `2  a thread each, one lock (pthread)`."""
    if run.design in DESIGNS:
        number, words, *_ = DESIGNS[run.design]
        return f"{number}  {words} ({run.title})"
    return run.title


def ms(seconds: float | None) -> str:
    """Returns a duration for people; "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def size(count: float) -> str:
    """Returns a number of bytes for people."""
    if count >= 1e6:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 1024:.0f} KiB" if count >= 1024 else f"{count:.0f} bytes"


def plural(count: int, word: str) -> str:
    """Returns a number and a word, such as `2 processes`."""
    return f"{count:,} {word}{'' if count == 1 else 'es' if word.endswith('s') else 's'}"


def listed(words: Sequence[object]) -> str:
    """Returns a list for a sentence, such as `a, b and c`; `none` if it is empty."""
    words = [str(word) for word in words]
    if len(words) < 2:
        return words[0] if words else "none"
    return f"{', '.join(words[:-1])} and {words[-1]}"


def traced(runs: Sequence[Run]) -> str:
    """Returns, for a caption, how the runs were traced, and what is missing."""
    parts = [f"{run.title}: {run.source}" for run in runs]
    gone = [f"{run.title}: {what}" for run in runs for what in run.missing]
    return f" Traced: {'; '.join(parts)}." + (f" Missing: {'; '.join(gone)}." if gone else "")


def guess_for(guess: Any, run: Run) -> Any:
    """Returns the guess for a run. `guess`: one for all runs, or {title or design: its own}."""
    return guess.get(run.title, guess.get(run.design)) if isinstance(guess, dict) else guess


def card(run: Run) -> str:
    """Returns what a run used, in words; "" if that is not known."""
    if "processes" not in run.card:
        return ""
    parts = [
        plural(run.card["processes"], "process"),
        plural(run.card["threads"], "thread"),
        f"{run.card['memory'] / 1e6:.0f} MB",
        plural(run.card["descriptors"], "descriptor"),
    ]
    return " · ".join(parts)
