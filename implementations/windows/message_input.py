"""The field where the user types messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.events import Key, Paste
from textual.message import Message
from textual.widgets import Input


class MessageInput(Input):
    """An Input that completes names with Tab, and reports pasted lines instead of sending them."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("tab", "complete", show=False)]

    @dataclass
    class Pasted(Message):
        """The user pasted several lines."""

        lines: list[str]  # without empty ones

    def __init__(
        self,
        accept: Callable[[str], bool],
        find_names: Callable[[str], list[str]],
        **options: Any,
    ) -> None:
        """Create the field.

        Args:
            accept: takes a line; returns whether it was accepted, so that the field is cleared.
            find_names: returns the names that begin with a text, the best first.
            options: as for every widget.
        """
        placeholder = "Type a message; /help lists the commands"
        super().__init__(placeholder=placeholder, compact=True, select_on_focus=False, **options)
        self._accept, self._find_names = accept, find_names
        # While one Tab follows another: the text around the name, the names, the last result
        self._before = self._after = ""
        self._names: deque[str] = deque()
        self._completed: tuple[str, int] | None = None

    async def _on_key(self, event: Key) -> None:
        """Handle Enter in the order of the keys. A binding would run after later letters."""
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            if self._accept(self.value):
                self.value = ""

    def _on_paste(self, event: Paste) -> None:
        lines = [line for line in event.text.splitlines() if line]
        if len(lines) > 1:
            event.stop()
            event.prevent_default()
            self.post_message(self.Pasted(lines))

    def action_complete(self) -> None:
        """Replace the word before the cursor by a name; the next Tab tries the next name.

        In an empty field, move the focus to the next widget.
        """
        if (self.value, self.cursor_position) != self._completed:
            typed = self.value[: self.cursor_position]
            start = typed.rfind(" ") + 1
            self._before, word = typed[:start], typed[start:]
            self._after = self.value[self.cursor_position :]
            self._names = deque(self._find_names(word) if word else ())
        if not self._names:
            if not self.value:
                self.screen.focus_next()
            return
        # At the beginning of a message, the name is an address
        completed = self._before + self._names[0] + (" " if self._before else ": ")
        self._names.rotate(-1)
        self.value, self.cursor_position = completed + self._after, len(completed)
        self._completed = self.value, self.cursor_position
