"""The lines of a message log, and the rows that they take on the screen. Pure.

There is no widget for each message. A line is a small object, and the number of its first row is an
entry of a list, so the position of any row is found by bisection, however many lines there are.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from rich.cells import cell_len, get_character_cell_size

from ..common.wire import harmless

URL_MARKS = re.compile(r"[/?&#=._-]+")  # a URL may be broken after them
TIME_WIDTH = len("12:34 ")  # cells
MIN_WIDTH_FOR_TIME = 30  # cells; a narrower log has no margin for the time


class LineKind(Enum):
    """How a line is displayed."""

    MESSAGE = "message"
    NOTE = "note"
    PLAIN = "plain"  # the text alone, for example a row of a tree
    DATE = "date"  # a rule above the lines of another day
    UNREAD_MARK = "unread mark"  # a rule above the lines that the user has not seen


RULES = LineKind.DATE, LineKind.UNREAD_MARK


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log."""

    kind: LineKind
    text: str
    author: str = ""  # MESSAGE: its author's name
    time: datetime | None = None  # in the local time zone
    is_own: bool = False  # MESSAGE: the user wrote it
    is_action: bool = False  # MESSAGE: it says what its author does (/me)


def wrap(text: str, width: int) -> list[str]:
    """Return `text` as rows of at most `width` cells, broken at spaces where possible."""
    rows = []
    while len(text) > width if text.isascii() else cell_len(text) > width:
        end = characters_that_fit(text, width)
        space = text.rfind(" ", 1, end + 1)
        end = space if space > 0 else end_in_word(text, end)
        rows.append(text[:end])
        text = text[end:].removeprefix(" ")
    return [*rows, text]


def end_in_word(text: str, most: int) -> int:
    """Return where to break a long word, of which `most` characters fit: a URL after a mark."""
    marks = [found.end() for found in URL_MARKS.finditer(text, most // 2, most)]
    return marks[-1] if marks else most


def characters_that_fit(text: str, width: int) -> int:
    """Return how many characters of `text` fit into `width` cells; at least one."""
    if text.isascii():
        return width
    cells = 0
    for index, character in enumerate(text):
        cells += get_character_cell_size(character)
        if cells > width:
            return max(index, 1)
    return len(text)


class WrappedLines:
    """Lines and the rows that they take at one width.

    Attributes:
        lines: the lines; change them only with the methods.
        width: of a row, in cells; 0 until set_width() is called.
    """

    def __init__(self, wraps: bool = True) -> None:
        """Start empty. Without `wraps`, each line is one row, however long, and has no margin."""
        self.lines: list[LogLine] = []
        self.width = 0
        self._wraps = wraps
        # The first row of each line, and of the next line. They count from the first line that
        # there ever was, so dropping the oldest lines changes none of them
        self._starts = [0]

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return self._starts[-1] - self._starts[0]

    @property
    def margin(self) -> int:
        """Cells on the left of the text, for the time."""
        return TIME_WIDTH if self._wraps and self.width >= MIN_WIDTH_FOR_TIME else 0

    def first_row(self, index: int) -> int:
        """Return the first row of the line at `index`."""
        return self._starts[min(index, len(self.lines))] - self._starts[0]

    def line_at(self, row: int) -> int:
        """Return the index of the line that the row belongs to."""
        index = bisect_right(self._starts, row + self._starts[0]) - 1
        return max(0, min(index, len(self.lines) - 1))

    def append(self, line: LogLine) -> None:
        """Add a line, with its control characters made visible."""
        if not (line.text.isprintable() and line.author.isprintable()):
            line = replace(line, text=harmless(line.text), author=harmless(line.author))
        self.lines.append(line)
        self._starts.append(self._starts[-1] + self._height(line))

    def clear(self) -> None:
        """Remove all lines."""
        self.lines, self._starts = [], [0]

    def replace_last(self, line: LogLine) -> None:
        """Replace the last line."""
        del self.lines[-1], self._starts[-1]
        self.append(line)

    def remove(self, index: int) -> None:
        """Remove the line at `index`."""
        del self.lines[index]
        self._measure()

    def drop_oldest(self, count: int) -> int:
        """Remove the first `count` lines; return how many rows they took."""
        rows = self._starts[count] - self._starts[0]
        del self.lines[:count], self._starts[:count]
        return rows

    def set_width(self, width: int) -> None:
        """Wrap all lines for another width, in cells."""
        self.width = width
        self._measure()

    def rows_of(self, line: LogLine) -> list[str]:
        """Return the rows of a line, without the margin."""
        if line.kind in RULES or not self._wraps:
            return [line.text]
        said = " " if line.is_action else ": "
        prefixes = {LineKind.MESSAGE: line.author + said, LineKind.NOTE: "- "}
        text = prefixes.get(line.kind, "") + line.text
        return wrap(text, max(1, self.width - self.margin))

    def _measure(self) -> None:
        self._starts = [0]
        row, add = 0, self._starts.append
        for line in self.lines:
            row += self._height(line)
            add(row)

    def _height(self, line: LogLine) -> int:
        """Return how many rows a line takes. Most lines take one, which is quick to see."""
        length = len(line.author) + 2 + len(line.text) + self.margin
        if length <= self.width and line.text.isascii() and line.author.isascii():
            return 1
        return len(self.rows_of(line))
