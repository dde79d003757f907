"""The parts that all figures share: one look, one palette, one order of the designs.

A figure has a question as its title, and the answer in words. The same data gives the same picture.
Each figure has two drawings: a wide one, and a narrow one for small screens.
"""

import base64
import functools
import hashlib
import html
import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

from harness.driving.messages import template
from harness.tracing.traces import Run
from harness.tracing.workloads import ABOUT
from harness.verdicts import language
from harness.verdicts.language import say

# One colour has one meaning, in all figures. No colour is needed alone: each comes with a height,
# a hatch, a marker or a word of its own. The designs have no colour, but a number, a marker and a
# style of line. What is ink or grey here follows the colour of the page's text (see on_page()).
INK, GREY, PALE, GROUND = "#000000", "#5a5a5a", "#d4d4d4", "#ffffff"
MANY = 600  # dots: from here on they are one image in the SVG, which would be large else
MIDDLE = "#808080"  # of an image, which cannot follow the page
DARK = "#010101"  # text on a bright bar, in dark mode, too
SHADE = {"color": GREY, "alpha": 0.12, "linewidth": 0}  # a background
ALARM = "#D55E00"  # late, lost, over a limit, wrong
GUESS = "#B0479A"  # what the learner expects
WAIT_LOCK, HOLD_LOCK, PIPE, SEND = "#E69F00", "#009E73", "#56B4E9", "#0072B2"
HASH, FORK, HELD_UP = "#7A4B00", "#DDCC77", "#F0E442"
RECV, ACCEPT, OUTBOX = "#999933", "#332288", "#44AA99"
DISK = INK
# design: (number, words, marker, style of its line)
DESIGNS = {
    "nonblocking": ("1", template("one loop"), "o", "-"),
    "pthread": ("2", template("a thread each, one lock"), "s", "--"),
    "fork": ("3", template("a process each, pipes"), "^", ":"),
}
LOOK = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.8,
    "svg.hashsalt": "grupo",
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.titlelocation": "left",
}
WIDE, NARROW = 13.0, 4.4  # inches
SWITCH = 640  # pixels of the page's column: below this the narrow drawing is shown
LEAST = 0.003  # of a panel's width: a narrower bar would be invisible
DPI = 110
GUESS_LINE = {"color": GUESS, "linestyle": "--", "linewidth": 1.4}

width_now: ContextVar[float] = ContextVar("width of what is being drawn, inches", default=WIDE)


def is_narrow() -> bool:
    """Whether a narrow drawing is being made."""
    return width_now.get() == NARROW


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
        self.again: Callable[[], Figure] | None = None  # draws it narrow

    def __repr__(self) -> str:
        return f"<Figure: {self.alt}>"

    def table(self) -> Table:
        """Returns the data that is drawn."""
        return self.data

    def narrow(self) -> "Figure":
        """Returns the same for a small screen, its panels one below the other."""
        return self.again() if self.again else self

    def png(self, dpi: int = DPI) -> bytes:
        """Returns the drawing as PNG on white; the same bytes for the same data."""
        file = io.BytesIO()
        with matplotlib.rc_context(LOOK):
            style = {"facecolor": "white", "metadata": {"Software": None}}
            self.figure.savefig(file, format="png", dpi=dpi, **style)
        return file.getvalue()

    def svg(self) -> str:
        """Returns the drawing as SVG, its texts as text, on no ground."""
        file = io.StringIO()
        with matplotlib.rc_context(LOOK):
            self.figure.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()

    def save(self, path: str):
        """Writes the drawing to a file; the end of its name says in which format."""
        with matplotlib.rc_context(LOOK):
            self.figure.savefig(path, dpi=DPI, facecolor="white")

    def _repr_html_(self) -> str:
        image = base64.b64encode(self.png()).decode()
        both = [
            on_page(one.svg(), self.alt, name)
            for one, name in ((self, "wide"), (self.narrow(), "narrow"))
        ]
        full = html.escape(say("full size"))
        return (
            f'<figure class="grupo-figure" style="container-type: inline-size"><style>{STYLE}'
            f"</style>{''.join(both)}<figcaption>{html.escape(self.caption)} "
            f'<a download="figure.png" href="data:image/png;base64,{image}">{full}</a>'
            "</figcaption></figure>"
        )


class TableFigure(Figure):
    """A question with its answer as a table: nothing is drawn. `marked`: rows that are bold."""

    def __init__(
        self,
        question: str,
        answer: str,
        caption: str,
        table: Table,
        facts: dict[Any, Any],
        marked: Sequence[int] = (),
    ):
        super().__init__(Drawing(), caption, f"{question} {answer}.", table, facts)
        self.question, self.answer, self.marked = question, answer, set(marked)

    def _repr_html_(self) -> str:
        heads = "".join(f"<th scope=col>{html.escape(word)}</th>" for word in self.data.head)
        rows = ""
        for number, row in enumerate(self.data.rows):
            style = f' style="font-weight: bold; color: {ALARM}"' * (number in self.marked)
            cells = "".join(
                f'<td style="text-align: left">{html.escape(str(cell))}</td>' for cell in row
            )
            rows += f"<tr{style}>{cells}</tr>"
        return (
            f'<figure class="grupo-figure" aria-label="{html.escape(self.alt, quote=True)}">'
            f"<p><b>{html.escape(self.question)}</b><br>"
            f'{html.escape(self.answer)}</p><div style="overflow-x: auto"><table><thead>'
            f"<tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )


STYLE = (
    ".grupo-figure { margin: 1rem 0 } .grupo-figure a { color: inherit } "
    ".grupo-figure svg { display: block; width: 100%; height: auto } "
    ".grupo-figure svg.narrow { display: none } "
    f"@container (max-width: {SWITCH}px) {{ .grupo-figure svg.wide {{ display: none }} "
    ".grupo-figure svg.narrow { display: block } }"
)
# Colours that follow the page, in light mode and in dark mode.
FOLLOWS = {
    INK: "currentColor",
    GREY: "color-mix(in srgb, currentColor 68%, transparent)",
    PALE: "color-mix(in srgb, currentColor 20%, transparent)",
    GROUND: "var(--jp-layout-color0, var(--md-default-bg-color, var(--ground, Canvas)))",
}


def on_page(svg: str, alt: str, name: str) -> str:
    """Returns an SVG as a part of an HTML page, in the class `name`.

    Its neutral colours become those of the page, its ids no other drawing's, and its style its
    own. Black is the colour that SVG takes if none is named.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)  # shorter
    own = f"g{hashlib.sha256((name + svg).encode()).hexdigest()[:8]}-"
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}", svg)
    for colour, follows in FOLLOWS.items():
        svg = re.sub(rf"(fill|stroke): ?{colour}\b", rf"\1: {follows}", svg)
    svg = svg.replace("\n", " ").replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    widest = re.search(r'width="([\d.]+)pt"', head)
    most = float(widest[1]) * 4 / 3 if widest else SWITCH  # CSS pixels
    return (
        f'<svg class="{name}" role="img" aria-label="{html.escape(alt, quote=True)}" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink" {box[0] if box else ""} '
        f'style="max-width: {most:.0f}px; fill: currentColor; stroke-linejoin: round; '
        f'stroke-linecap: butt">{rest.strip()}'
    )


@contextmanager
def drawing(width: float) -> Iterator[None]:
    """Draws with this look and width in its block, and leaves the program's settings."""
    settings = {**matplotlib.rcParamsDefault, **LOOK}
    settings["backend"] = matplotlib.rcParams["backend"]
    before = width_now.set(width)
    try:
        with matplotlib.rc_context(settings):
            yield
    finally:
        width_now.reset(before)


def drawn(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorates a figure's function: it draws with the look of all, wide or narrow."""

    def at(width: float, arguments: tuple, options: dict) -> Figure:
        with drawing(width):
            return function(*arguments, **options)

    @functools.wraps(function)
    def draw(*arguments, **options) -> Figure:
        made = at(WIDE, arguments, options)
        made.again = lambda: at(NARROW, arguments, options)
        return made

    return draw


class Sheet:
    """A drawing whose parts are placed one below the other. All lengths are inches.

    It begins with a question as its title and the answer below it. finish() ends it.
    """

    def __init__(self, question: str, answer: str = "", width: float | None = None):
        self.width = min(width or WIDE, width_now.get())
        self.figure = Drawing(figsize=(self.width, 1))
        FigureCanvasAgg(self.figure)
        self.y = 0.12
        self.placed: list[tuple[Axes, float, float, float, float]] = []
        self.texts: list[tuple[Any, float]] = []
        self.write(question, 12.5 if is_narrow() else 16, 6.9, fontweight="bold")
        self.y += 0.06
        self.write(answer, 9.5 if is_narrow() else 11, 10.8)
        self.y += 0.08

    def write(self, text: str, size: float, per_inch: float, **style):
        """Writes a text over the whole width. `per_inch`: characters at 16 or 11 points."""
        whole = 16 if size > 11 else 11
        lines = wrapped(text, int(self.width * per_inch * whole / size))
        words = self.figure.text(0.12 / self.width, 0, "\n".join(lines), va="top", **style)
        words.set_fontsize(size)
        self.texts.append((words, self.y))
        self.y += len(lines) * size * 1.33 / 72

    def space(self, tall: float):
        """Leaves room."""
        self.y += tall

    def panels(self, tall: float, *spans: tuple[float, float], **options) -> list[Axes]:
        """Adds panels side by side, `tall` high. `spans`: the (left, right) of each."""
        made = []
        for left, right in spans:
            panel = self.figure.add_axes((0, 0, 1, 1), label=f"{len(self.placed)}", **options)
            self.placed.append((panel, left, self.y, right - left, tall))
            made.append(panel)
        self.y += tall
        return made

    def panel(self, tall: float, left: float, right: float = 0.2, **options) -> Axes:
        """Adds one panel. `left`, `right`: its margins."""
        return self.panels(tall, (left, self.width - right), **options)[0]

    def legend(self, handles: Sequence[Any], columns: int, title: str | None = None):
        """Adds a legend with at most so many columns: as many as there is room for."""
        texts = [handle.get_label() for handle in handles]
        while columns > 1 and legend_width(texts, columns) > self.width - 0.2:
            columns -= 1
        style = {"ncols": columns, "frameon": False, "fontsize": 8.5, "title": title}
        style |= {"title_fontsize": 8.5, "alignment": "left", "borderaxespad": 0.0}
        style |= {"handlelength": 1.8, "columnspacing": 1.4, "loc": "upper left"}
        made = self.figure.legend(handles=handles, **style)
        self.texts.append((made, self.y))
        self.y += (-(-len(handles) // columns) + bool(title)) * 0.185 + 0.1

    def finish(self) -> Drawing:
        """Gives the drawing its height and all parts their places. Returns it."""
        height = self.y + 0.08
        self.figure.set_size_inches(self.width, height)
        for panel, left, top, wide, tall in self.placed:
            place = left / self.width, 1 - (top + tall) / height, wide / self.width, tall / height
            panel.set_position(place)
        for part, top in self.texts:
            if hasattr(part, "set_y"):
                part.set_y(1 - top / height)
            else:
                part.set_bbox_to_anchor((0.1 / self.width, 1 - top / height))
        return self.figure


def legend_width(texts: Sequence[str], columns: int) -> float:
    """Returns about how wide a legend with so many columns is, in inches."""
    deep = -(-len(texts) // columns)
    longest = [max(map(len, texts[at : at + deep])) for at in range(0, len(texts), deep)]
    return sum(0.44 + 0.068 * count for count in longest)


def wrapped(text: str, width: int) -> list[str]:
    """Returns the lines of a text, at most `width` characters long."""
    return textwrap.wrap(text, width)


def head(panel: Axes, title: str, words: str = "", alarm: bool = False, at: float = 0.0):
    """Writes a panel's title, and words at its right; in a narrow drawing, the words below it.

    at      where a narrow drawing begins with them, of the panel's width
    """
    style = {"fontsize": 9, "color": ALARM if alarm else INK}
    style["fontweight"] = "bold" if alarm else "normal"
    if is_narrow():
        lines = wrapped(words, 54)
        size = min(10.5, 10.5 * 36 / len(title))
        above = {"fontsize": size, "fontweight": "bold", "pad": 5 + 12 * len(lines)}
        panel.set_title(title, x=at, ha="left", **above)
        panel.text(at, 1.0, "\n".join(lines), transform=panel.transAxes, va="bottom", **style)
        return
    panel.set_title(title, fontsize=11.5, fontweight="bold", pad=5)
    panel.text(1, 1.0, f"{words}", transform=panel.transAxes, ha="right", va="bottom", **style)


def mark_guess(panel: Axes, value: float, text: str):
    """Marks the guess as a line across the panel, in the colour of the guess.

    A guess that would stretch the axis is an arrow at its end: the data keep their room. The limits
    of the axis must be set already. Below a panel whose axis runs down there must be room.
    """
    low, high = sorted(panel.get_ylim())
    inside = low <= value <= high
    is_down = panel.yaxis_inverted()
    style = {"color": GUESS, "fontsize": 9, "ha": "right", "zorder": 12}
    style |= {"annotation_clip": False, "textcoords": "offset points"}
    across = panel.get_yaxis_transform()
    box = {"facecolor": GROUND, "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
    if inside:
        panel.axhline(value, zorder=11, **GUESS_LINE)
        panel.annotate(text, (0.995, value), xycoords=across, xytext=(0, 3), bbox=box, **style)
        return
    at_top = (value > high) != is_down
    text = f"{text} ({'↑' if at_top else '↓'})"
    place, offset = (0.88, 0) if at_top else (0, -3 if is_down else 4)
    style["va"] = "top" if at_top or is_down else "bottom"
    place = (0.995, place)
    panel.annotate(text, place, xycoords="axes fraction", xytext=(0, offset), bbox=box, **style)


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
        return f"{number}  {say(words)} ({run.title})"
    return run.title


def about(run: Run) -> str:
    """Returns what the clients did in a run, in a sentence."""
    if run.workload in ABOUT:
        return say(ABOUT[run.workload])
    return run.about.get("says", "").split("\n")[0]


def lane_name(name: str) -> str:
    """Returns a lane's name in the reader's language."""
    for form in LANES:
        start, _, end = form.partition("{who}")
        if "{who}" in form and name.startswith(start) and name.endswith(end):
            return say(form, who=name.removeprefix(start))
        if name == form:
            return say(form)
    return name


LANES = (
    template("the loop"),
    template("the hub"),
    template("writer"),
    template("saver"),
    template("worker"),
    template("accept"),
    template("thread of {who}"),
    template("child of {who}"),
)


def local(text: str) -> str:
    """Returns a text of digits as the reader's language writes numbers."""
    return text if language.in_use == "en" else text.translate(str.maketrans(".,", ",."))


def plain(number: float) -> str:
    """Returns a guess as people write numbers, such as `200,000`."""
    return local(f"{number:,.10g}")


def ms(seconds: float | None) -> str:
    """Returns a duration for people; "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.1:
        return local(f"{seconds * 1e3:.1f} ms")
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else local(f"{seconds:.2f} s")


def size(count: float) -> str:
    """Returns a number of bytes for people."""
    if count >= 1e6:
        return local(f"{count / 1e6:.1f} MB")
    return (
        f"{count / 1024:.0f} KiB" if count >= 1024 else say("{count} bytes", count=f"{count:.0f}")
    )


# (one, several)
PROCESSES = template("{count} process"), template("{count} processes")
THREADS = template("{count} thread"), template("{count} threads")
DESCRIPTORS = template("{count} descriptor"), template("{count} descriptors")
ORDERS = template("{count} order"), template("{count} orders")
TURNS = template("{count} turn"), template("{count} turns")


def counted(number: int, forms: tuple[str, str]) -> str:
    """Returns a number and a word, such as `2 processes`."""
    return say(forms[number != 1], count=local(f"{number:,}"))


def listed(words: Sequence[object]) -> str:
    """Returns a list for a sentence, such as `a, b and c`; `none` if it is empty."""
    words = [str(word) for word in words]
    if len(words) < 2:
        return words[0] if words else say("none")
    return say("{others} and {last}", others=", ".join(words[:-1]), last=words[-1])


def traced(runs: Sequence[Run]) -> str:
    """Returns, for a caption, how the runs were traced, and what is missing."""
    parts = "; ".join(f"{run.title}: {source(run)}" for run in runs)
    gone = "; ".join(f"{run.title}: {what}" for run in runs for what in run.missing)
    text = " " + say("Traced: {parts}.", parts=parts)
    return text + (" " + say("Missing: {parts}.", parts=gone) if gone else "")


def source(run: Run) -> str:
    """Returns how a run was traced."""
    if not run.headers:
        return say("no trace")
    count = local(f"{len(run.events):,}")
    return say("{count} events, sink {sink}", count=count, sink=run.sink)


def guess_for(guess: Any, run: Run) -> Any:
    """Returns the guess for a run. `guess`: one for all runs, or {title or design: its own}."""
    return guess.get(run.title, guess.get(run.design)) if isinstance(guess, dict) else guess


def is_number(guess: Any) -> bool:
    """Whether a guess is a number."""
    return isinstance(guess, (int, float)) and not isinstance(guess, bool)


def card(run: Run) -> str:
    """Returns what a run used, in words; "" if that is not known."""
    if "processes" not in run.card:
        return ""
    parts = [
        counted(run.card["processes"], PROCESSES),
        counted(run.card["threads"], THREADS),
        f"{run.card['memory'] / 1e6:.0f} MB",
        counted(run.card["descriptors"], DESCRIPTORS),
    ]
    return " · ".join(parts)
