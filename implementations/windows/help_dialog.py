"""The keys and commands of the member's window, in a box above the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from .widgets import PlainText

KEYS = (
    ("Enter", "send the message"),
    ("Tab", "complete a command, a name or @name"),
    ("Up, Down", "recall the lines that you sent"),
    ("Page Up, Page Down", "scroll"),
    ("Ctrl+Home, Ctrl+End", "go to the oldest, to the newest line"),
    ("Ctrl+A, Ctrl+E", "go to the start, to the end of the line"),
    ("Ctrl+U, Ctrl+K, Ctrl+W", "delete to the start, to the end, a word"),
    ("F1; ? and Enter", "show these keys and commands"),
    ("F2", "change your name"),
    ("F5", "reconnect"),
    ("F6, F7", "show your groups, the next open group"),
    ("F8", "disconnect, and stay a member"),
    ("F9", "leave the group"),
    ("Escape", "cancel a question or waiting lines"),
    ("Ctrl+Q", "quit"),
    ("a click on a name", "insert it into the message"),
)
COMMANDS = (
    ("/me TEXT", "say that you do something"),
    ("/name NEW, /nick NEW", "change your name"),
    ("/who", "list the members, and which of them are here"),
    ("/groups", "show your groups"),
    ("/reconnect", "reconnect"),
    ("/quit", "disconnect, and stay a member"),
    ("/leave", "leave the group; you will no longer be a member"),
    ("/help", "these keys and commands"),
    ("//x", "send /x"),
)


class HelpDialog(ModalScreen[None]):
    """All keys and commands. Escape, Enter, F1 or ? closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,f1,question_mark,q", "dismiss", "Close")
    ]
    DEFAULT_CSS = """
    HelpDialog { align: center middle; }
    HelpDialog VerticalScroll {
        width: 76; max-width: 100%; height: auto; max-height: 100%; padding: 0 2;
        background: $panel; border: round $edge;
    }
    HelpDialog.-low VerticalScroll { border: none; padding: 0; }
    """

    def compose(self) -> ComposeResult:
        """Create the text."""
        with VerticalScroll():
            yield PlainText(("Commands", "bold"), "\n" + table(COMMANDS))
            yield PlainText(("\nKeys", "bold"), "\n" + table(KEYS))
            yield PlainText("\nEscape closes this box.")


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Return rows of two columns as lines."""
    width = max(cell_len(first) for first, _ in rows) + 2
    return "\n".join(first + " " * (width - cell_len(first)) + second for first, second in rows)
