"""A scrolling list of messages, of which only the visible rows are drawn."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..common import wire
from .log_lines import RULES, TIME_WIDTH, LineKind, LogLine, WrappedLines
from .themes import AUTHORS

MAX_LINES = 200_000  # above this, the oldest tenth is dropped


class MessageLog(ScrollView, can_focus=True):
    """Messages and notes, the newest at the bottom.

    While the last row is visible, the log follows: new lines scroll it. Otherwise it stays where
    the user reads. A mark precedes the first message that the user has not seen.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "message-log--time",
        "message-log--note",
        "message-log--rule",
        "message-log--unread",
        "message-log--own-name",
        *(f"message-log--author-{number}" for number in range(AUTHORS)),
    }
    DEFAULT_CSS = """
    MessageLog {
        height: 1fr; overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1;
        background: $surface; scrollbar-background: $surface; scrollbar-color: $scrollbar;
    }
    MessageLog > .message-log--time { color: $quiet; }
    MessageLog > .message-log--note { color: $quiet; text-style: italic; }
    MessageLog > .message-log--rule { color: $quiet; }
    MessageLog > .message-log--unread { color: $unread; text-style: bold; }
    MessageLog > .message-log--own-name {
        background: $own-name-background; color: black; text-style: bold;
    }
    """ + "\n".join(
        f"MessageLog > .message-log--author-{number} {{ color: $author-{number}; }}"
        for number in range(AUTHORS)
    )

    @dataclass
    class NameClicked(Message):
        """The user clicked on the author of a message."""

        name: str

    def __init__(self, wraps: bool = True, **options: Any) -> None:
        """Create an empty log.

        Args:
            wraps: whether long lines are wrapped, beside a margin for the time. If not, each line
                is a row as it is, for example a row of a tree.
            options: as for every widget.
        """
        super().__init__(**options)
        self.wrapped = WrappedLines(wraps)
        self.mark_index: int | None = None  # of the unread mark among the lines
        self.own_names: re.Pattern[str] | None = None  # finds the user's names in a message
        self._wraps = wraps
        self._date: date | None = None  # of the last line with a time
        self._follows = True  # the last row is visible, and new lines scroll the log
        self._is_watched = True  # the terminal has the focus
        self._mark_was_seen = True  # all lines below the mark were visible
        self.unread = self.mentions = 0  # messages below the mark; those that name the user

    @property
    def lines(self) -> Sequence[LogLine]:
        """The lines, the oldest first."""
        return self.wrapped.lines

    # -- Lines ---------------------------------------------------------------------------------

    def highlight_names(self, names: Iterable[str]) -> None:
        """Highlight these names, the user's own, in the messages of others."""
        longest_first = sorted(names, key=len, reverse=True)
        pattern = "|".join(map(re.escape, longest_first))
        self.own_names = (
            re.compile(rf"(?<![\w.-])({pattern})(?![\w-])", re.IGNORECASE) if pattern else None
        )
        self.refresh()

    def add(self, lines: Iterable[LogLine], is_news: bool = True, is_missed: bool = False) -> None:
        """Add lines. With `is_news`, messages that the user cannot see now get the unread mark.

        With `is_missed`, the mark is there already, and they count even if the user sees them.
        """
        for line in lines:
            if line.time and line.time.date() != self._date:
                self._date = line.time.date()
                self.wrapped.append(LogLine(LineKind.DATE, long_date(self._date)))
            if is_news and line.kind is LineKind.MESSAGE and not line.is_own:
                self._count(line, is_missed)
            self.wrapped.append(line)
        if len(self.lines) > MAX_LINES:
            self._drop_oldest(MAX_LINES // 10)
        follows = self._follows
        self._update_size()
        if follows:
            self.jump_to_end()

    def replace_last(self, line: LogLine) -> None:
        """Replace the last line."""
        self.wrapped.replace_last(line)
        follows = self._follows
        self._update_size()
        if follows:
            self.jump_to_end()

    def replace_all(self, lines: Iterable[LogLine]) -> None:
        """Replace all lines, and stay at the same row."""
        self.wrapped.clear()
        for line in lines:
            self.wrapped.append(line)
        self._update_size()

    def _drop_oldest(self, count: int) -> None:
        rows = self.wrapped.drop_oldest(count)
        if self.mark_index is not None:
            self.mark_index = self.mark_index - count if self.mark_index >= count else None
        if not self._follows:
            self._jump_to(max(0, int(self.scroll_y) - rows))

    def _update_size(self) -> None:
        self.virtual_size = Size(self.wrapped.width, self.wrapped.row_count)
        self.refresh()

    # -- The unread mark -----------------------------------------------------------------------

    def mentions_user(self, line: LogLine) -> bool:
        """Return whether another member's message has one of the user's names in it."""
        is_others = line.kind is LineKind.MESSAGE and not line.is_own
        return bool(is_others and self.own_names and self.own_names.search(line.text))

    def _count(self, line: LogLine, is_missed: bool) -> None:
        """Count a message below the mark, unless the user sees it."""
        if self._follows and self._is_watched and not is_missed:
            return
        if not is_missed and (self.mark_index is None or self._mark_was_seen):
            self.start_unread()
        if self.mark_index is not None:
            self.unread += 1
            self.mentions += self.mentions_user(line)
            text = unread_words(self.unread, self.mentions)
            self.wrapped.lines[self.mark_index] = LogLine(LineKind.UNREAD_MARK, text)

    @property
    def unseen(self) -> tuple[int, int]:
        """The messages that the user has not seen yet, and how many of them name the user."""
        return (0, 0) if self._mark_was_seen else (self.unread, self.mentions)

    def start_unread(self) -> None:
        """Put the unread mark below the last line, even if the user is watching."""
        self.clear_mark()
        self.mark_index, self._mark_was_seen = len(self.lines), False
        self.unread = self.mentions = 0
        self.wrapped.append(LogLine(LineKind.UNREAD_MARK, "new"))

    def clear_mark(self) -> None:
        """Remove the unread mark: the user has read everything."""
        if self.mark_index is not None:
            self.wrapped.remove(self.mark_index)
            self.mark_index, self._mark_was_seen = None, True
            self._update_size()

    def set_watched(self, is_watched: bool) -> None:
        """Take note whether the terminal has the focus. If so, the user sees the visible lines."""
        self._is_watched = is_watched
        if is_watched and self._follows:
            self._mark_was_seen = True

    # -- Scrolling -----------------------------------------------------------------------------

    @property
    def lines_below(self) -> int:
        """The number of lines below the visible ones."""
        last_row = self.scroll_offset.y + self.size.height
        if self._follows:
            return 0
        return max(0, len(self.lines) - self.wrapped.line_at(last_row - 1) - 1)

    def jump_to_end(self) -> None:
        """Scroll to the newest line."""
        self.scroll_end(animate=False, immediate=True, x_axis=False)

    def scroll_pages(self, pages: int) -> None:
        """Scroll down by so many pages; up if negative."""
        rows = pages * max(1, self.size.height - 1)
        self.scroll_relative(y=rows, animate=False, force=True, immediate=True)

    def _jump_to(self, row: int) -> None:
        self.scroll_to(y=row, animate=False, force=True, immediate=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow the end, or stop following it, when the log is scrolled."""
        super().watch_scroll_y(old_value, new_value)
        self._follows = new_value >= self.max_scroll_y
        self.set_watched(self._is_watched)

    def on_resize(self) -> None:
        """Wrap the lines for the new width, and keep the same line at the top."""
        # The scrollbar is always there, so a new line never changes the width
        width = self.scrollable_content_region.width
        follows, top = self._follows, self.wrapped.line_at(self.scroll_offset.y)
        if width != self.wrapped.width:
            self.wrapped.set_width(width)
            self._update_size()
        if follows and self._wraps:
            self.jump_to_end()
        elif self._wraps:
            self._jump_to(self.wrapped.first_row(top))

    def on_click(self, event: Click) -> None:
        """Report a click on an author's name."""
        row = self.scroll_offset.y + event.y
        if row >= self.wrapped.row_count:
            return
        index = self.wrapped.line_at(row)
        line = self.lines[index]
        column = event.x - self.wrapped.margin
        if row == self.wrapped.first_row(index) and 0 <= column < cell_len(line.author):
            self.post_message(self.NameClicked(line.author))

    # -- Drawing -------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Return the row at `y`, counted from the top of the widget; Textual calls this."""
        row, width = self.scroll_offset.y + y, self.size.width
        if row >= self.wrapped.row_count:
            return Strip.blank(width, self.rich_style)
        index = self.wrapped.line_at(row)
        segments = list(self._segments(self.lines[index], row - self.wrapped.first_row(index)))
        strip = Strip(Segment.apply_style(segments, self.rich_style))
        return strip.adjust_cell_length(width, self.rich_style)

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"message-log--{part}", partial=True)

    def _segments(self, line: LogLine, number: int) -> Iterator[Segment]:
        """Yield the parts of one row of a line."""
        if line.kind in RULES:
            style = self._style("unread" if line.kind is LineKind.UNREAD_MARK else "rule")
            yield Segment(f" {line.text} ".center(self.wrapped.width, "─"), style)
            return
        text = self.wrapped.rows_of(line)[number]
        if self.wrapped.margin:
            time = f"{line.time:%H:%M} " if line.time and number == 0 else " " * TIME_WIDTH
            yield Segment(time, self._style("time"))
        if line.kind is LineKind.NOTE:
            yield Segment(text, self._style("note"))
            return
        if number == 0 and line.author:
            end = len(line.author) + 1
            color = self._style(f"author-{author_number(line.author)}")
            yield Segment(text[:end], color + Style(bold=True, underline=line.is_own))
            text = text[end:]
        yield from self._highlighted(text, line.is_own)

    def _highlighted(self, text: str, is_own: bool) -> Iterator[Segment]:
        """Yield a text with the user's names highlighted, unless the user wrote it."""
        end = 0
        for found in self.own_names.finditer(text) if self.own_names and not is_own else ():
            yield Segment(text[end : found.start()])
            yield Segment(found[0], self._style("own-name"))
            end = found.end()
        yield Segment(text[end:])


def author_number(name: str) -> int:
    """Return the number of a name's color, which never changes."""
    return zlib.crc32(wire.fold(name).encode(errors="replace")) % AUTHORS


def unread_words(unread: int, mentions: int) -> str:
    """Return how many messages are new, for example "12 new, 1 for you"; "" for none."""
    if not unread:
        return ""
    return f"{unread:,} new" + (f", {mentions:,} for you" if mentions else "")


def long_date(day: date) -> str:
    """Return a date in words, for example "Sunday, 22 November 2026"."""
    words = f"{day:%A}, {day.day} {day:%B %Y}"
    return f"today, {words}" if day == date.today() else words
