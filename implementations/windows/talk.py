"""A conversation on the screen: lines of which only those in sight are drawn, however many there are.

Nothing here is a widget for each message: a line is a tuple, and where its rows begin is a number in a list.
"""
import re
import zlib
from bisect import bisect_right
from datetime import date, datetime
from typing import NamedTuple

from rich.cells import cell_len, get_character_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..common.wire import harmless

MOST_LINES = 200_000        # kept; of more, the oldest tenth is let go
MARGIN = len("12:34 ")
COLOURS = "#e5a950", "#6cb6eb", "#9bd17b", "#e58fb1", "#b59df0", "#63cfc0", "#e8825f", "#c9c36a"


class Line(NamedTuple):
    kind: str                       # said, note, day or new (the unread mark)
    text: str
    who: str = ""                   # said: by whom
    time: datetime | None = None    # here, not on the wire
    own: bool = False


def cut(text, width):
    """The rows of `text`, each at most `width` cells wide, cut at spaces where there are some."""
    rows = []
    while len(text) > width if text.isascii() else cell_len(text) > width:
        end = fitting(text, width)
        space = text.rfind(" ", 1, end + 1)
        end = space if space > 0 else end
        rows.append(text[:end])
        text = text[end:].removeprefix(" ")
    return rows + [text]


def fitting(text, width):
    """How many characters of `text` have room in `width` cells; at least one."""
    if text.isascii():
        return width
    cells = 0
    for place, character in enumerate(text):
        cells += get_character_cell_size(character)
        if cells > width:
            return max(place, 1)
    return len(text)


class Talk(ScrollView, can_focus=True):
    ALLOW_SELECT = False
    COMPONENT_CLASSES = {"talk--time", "talk--note", "talk--rule", "talk--new", "talk--me"}
    DEFAULT_CSS = """
    Talk { height: 1fr; overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; background: $surface;
           scrollbar-background: $surface; scrollbar-color: #606060; }
    Talk > .talk--time { color: #8f8f8f; }
    Talk > .talk--note { color: #a8a8a8; text-style: italic; }
    Talk > .talk--rule { color: #8f8f8f; }
    Talk > .talk--new { color: #ff7a7a; text-style: bold; }
    Talk > .talk--me { background: #ffd75f; color: black; text-style: bold; }
    """

    def __init__(self, prose=True, **options):
        """prose: lines are wrapped and have a margin for the time; else each is a row as it stands, like those of a tree."""
        super().__init__(**options)
        self.prose = prose
        self.lines = []
        self.starts = [0]           # the first row of each line, and of the one to come, counted from a line that may be gone
        self.drawn_width = 0        # for which self.starts holds
        self.day = None             # of the last line with a time
        self.follows = True         # the newest is in sight, and what comes will be
        self.mark = None            # place of the unread mark in self.lines
        self.unread = 0             # lines below it
        self.is_watched = True      # the terminal has the user's eye
        self.was_seen = True        # all below the mark was in sight
        self.me = None              # finds the user's own names in a text

    # -- What is put in ----------------------------------------------------------------------------------------------------

    def call_me(self, names):
        """The user's names, which are shown in bright colours wherever they are said."""
        names = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        self.me = re.compile(rf"(?<![\w.-])({names})(?![\w-])", re.IGNORECASE) if names else None
        self.refresh()

    def add(self, lines, unread=True):
        """Adds Lines. `unread`: whether they are news, which the mark stands above if nobody looks."""
        for line in lines:
            if line.time and line.time.date() != self.day:
                self.day = line.time.date()
                self.put(Line("day", long_date(self.day)))
            if unread and line.kind == "said" and not line.own:
                self.mark_unread()
            self.put(line)
        if len(self.lines) > MOST_LINES:
            self.let_go(MOST_LINES // 10)
        follows = self.follows
        self.virtual_size = Size(self.drawn_width, self.rows)
        if follows:
            self.to_end()
        self.refresh()

    def replace(self, lines):
        """All lines by others, and one goes on looking at the same place."""
        self.lines, self.starts = [], [0]
        for line in lines:
            self.put(line)
        self.virtual_size = Size(self.drawn_width, self.rows)
        self.refresh()

    def put(self, line):
        if not (line.text.isprintable() and line.who.isprintable()):
            line = line._replace(text=harmless(line.text), who=harmless(line.who))
        self.lines.append(line)
        self.starts.append(self.starts[-1] + self.height_of(line))

    def mark_unread(self):
        seen = self.follows and self.is_watched
        if not seen and (self.mark is None or self.was_seen):
            self.set_mark()
        if self.mark is not None:
            self.unread += 1

    def set_mark(self):
        """What comes now is news, even if somebody looks."""
        self.unmark()
        self.mark, self.unread, self.was_seen = len(self.lines), 0, False
        self.put(Line("new", "new"))

    def unmark(self):
        """All is read: the mark goes."""
        if self.mark is not None:
            del self.lines[self.mark]
            self.mark, self.unread, self.was_seen = None, 0, True
            self.measure()

    def let_go(self, count):
        gone = self.starts[count] - self.starts[0]
        del self.lines[:count], self.starts[:count]
        self.mark = self.mark - count if self.mark is not None and self.mark >= count else None
        if not self.follows:
            self.scroll_to(y=max(0, self.scroll_y - gone), animate=False, force=True, immediate=True)

    # -- Where one looks ---------------------------------------------------------------------------------------------------

    def to_end(self):
        self.scroll_end(animate=False, immediate=True, x_axis=False)

    def watch_scroll_y(self, old, new):
        super().watch_scroll_y(old, new)
        self.follows = new >= self.max_scroll_y
        self.look(self.is_watched)

    def look(self, is_watched):
        """Whether the user has this terminal before him; then all in sight is seen."""
        self.is_watched = is_watched
        if is_watched and self.follows:
            self.was_seen = True

    @property
    def below(self):
        """Lines that are below what is in sight."""
        last_row = self.scroll_offset.y + self.size.height
        return 0 if self.follows else max(0, len(self.lines) - self.line_at(last_row - 1) - 1)

    # -- What is drawn -----------------------------------------------------------------------------------------------------

    def on_resize(self):
        width = self.scrollable_content_region.width        # the scrollbar is always there, so that nothing is cut anew for it
        follows, top = self.follows, self.line_at(self.scroll_offset.y)
        if width != self.drawn_width:
            self.drawn_width = width
            self.measure()
        if follows and self.prose:
            self.to_end()
        elif self.prose:
            self.scroll_to(y=self.first_row(top), animate=False, force=True, immediate=True)

    def measure(self):
        """Every line anew: the width has changed, or one has gone."""
        self.starts = [0]
        row, add = 0, self.starts.append
        for line in self.lines:
            row += self.height_of(line)
            add(row)
        self.virtual_size = Size(self.drawn_width, row)
        self.refresh()

    @property
    def rows(self):
        return self.starts[-1] - self.starts[0]

    def first_row(self, place):
        return self.starts[min(place, len(self.lines))] - self.starts[0]

    def line_at(self, row):
        return max(0, min(bisect_right(self.starts, row + self.starts[0]) - 1, len(self.lines) - 1))

    @property
    def margin(self):
        return MARGIN if self.prose and self.drawn_width >= 30 else 0

    def height_of(self, line):
        """How many rows it has: most often it is plain to see that it is one."""
        is_one = line.text.isascii() and len(line.who) + len(line.text) + 2 + self.margin <= self.drawn_width and line.who.isascii()
        return 1 if is_one else len(self.rows_of(line))

    def rows_of(self, line):
        if line.kind in ("day", "new") or not self.prose:
            return [line.text]
        width = max(1, self.drawn_width - self.margin)
        return cut(f"{line.who}: {line.text}" if line.kind == "said" else f"- {line.text}", width)

    def render_line(self, y):
        row, width = self.scroll_offset.y + y, self.size.width
        if row >= self.rows:
            return Strip.blank(width, self.rich_style)
        place = self.line_at(row)
        line = self.lines[place]
        segments = list(self.segments(line, row - self.first_row(place)))
        return Strip(Segment.apply_style(segments, self.rich_style)).adjust_cell_length(width, self.rich_style)

    def segments(self, line, number):
        style = self.get_component_rich_style
        if line.kind in ("day", "new"):
            yield Segment(f" {line.text} ".center(self.drawn_width, "─"), style("talk--new" if line.kind == "new" else "talk--rule", partial=True))
            return
        text = self.rows_of(line)[number]
        if self.margin:
            time = f"{line.time:%H:%M} " if line.time and number == 0 else " " * MARGIN
            yield Segment(time, style("talk--time", partial=True))
        if line.kind == "note":
            yield Segment(text, style("talk--note", partial=True))
            return
        if number == 0 and line.who:
            name, text = text[:len(line.who) + 1], text[len(line.who) + 1:]
            yield Segment(name, Style(color=colour_of(line.who), bold=True, underline=line.own))
        at = 0
        for found in self.me.finditer(text) if self.me and not line.own else ():
            yield Segment(text[at:found.start()])
            yield Segment(found[0], style("talk--me"))
            at = found.end()
        yield Segment(text[at:])


def colour_of(name):
    """The same for the same name, today and tomorrow."""
    return COLOURS[zlib.crc32(name.casefold().encode(errors="replace")) % len(COLOURS)]


def long_date(day):
    words = f"{day:%A}, {day.day} {day:%B %Y}"
    return f"today, {words}" if day == date.today() else words
