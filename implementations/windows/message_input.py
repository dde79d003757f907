"""The field where the user types messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.events import Key, Paste
from textual.message import Message
from textual.widgets import Input

MAX_RECALLED = 500  # lines


class MessageInput(Input):
    """An Input that completes names and commands with Tab, and recalls earlier lines with Up.

    It reports pasted lines instead of sending them.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", show=False),
        Binding("up,ctrl+p", "recall(-1)", show=False),
        Binding("down,ctrl+n", "recall(1)", show=False),
        # As in a shell; Textual deletes to the right with the last one
        Binding("alt+b", "cursor_left_word", show=False),
        Binding("alt+f", "cursor_right_word", show=False),
        Binding("alt+d", "delete_right_word", show=False),
        Binding("alt+backspace", "delete_left_word", show=False),
    ]

    @dataclass
    class Pasted(Message):
        """The user pasted several lines."""

        lines: list[str]  # without empty ones

    def __init__(
        self,
        accept: Callable[[str], bool],
        find_names: Callable[[str], list[str]],
        commands: Sequence[str],
        **options: Any,
    ) -> None:
        """Create the field.

        Args:
            accept: takes a line; returns whether it was accepted, so that the field is cleared.
            find_names: returns the names that begin with a text, the best first.
            commands: those that Tab completes.
            options: as for every widget.
        """
        placeholder = "Type a message; F1 shows all keys and commands"
        super().__init__(placeholder=placeholder, compact=True, select_on_focus=False, **options)
        self._accept, self._find_names, self._commands = accept, find_names, commands
        self._said: deque[str] = deque(maxlen=MAX_RECALLED)  # accepted lines, the oldest first
        self._recalled = 0  # lines back from the present one
        self._draft = ""  # the present line, while an earlier one is recalled
        # While one Tab follows another: the text around the word, its completions, the last result
        self._before = self._after = ""
        self._completions: deque[str] = deque()
        self._completed: tuple[str, int] | None = None

    async def _on_key(self, event: Key) -> None:
        """Handle Enter in the order of the keys. A binding would run after later letters."""
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            line = self.value
            if self._accept(line):
                self.value = ""
                self._recalled = 0
                if not self._said or self._said[-1] != line:
                    self._said.append(line)

    def _on_paste(self, event: Paste) -> None:
        lines = [line for line in event.text.splitlines() if line]
        if len(lines) > 1:
            event.stop()
            event.prevent_default()
            self.post_message(self.Pasted(lines))

    def action_recall(self, step: int) -> None:
        """Show an earlier line, or a later one, and at the end the line that was being typed."""
        wanted = self._recalled - step
        if not 0 <= wanted <= len(self._said):
            return
        if self._recalled == 0:
            self._draft = self.value
        self._recalled = wanted
        self.value = self._said[-wanted] if wanted else self._draft
        self.cursor_position = len(self.value)

    def insert_name(self, name: str) -> None:
        """Insert a name at the cursor; at the beginning of a message it is an address."""
        before = self.value[: self.cursor_position]
        space = "" if not before or before.endswith((" ", "@")) else " "
        self.insert_text_at_cursor(f"{space}{name}{' ' if before else ': '}")
        self.focus()

    def action_complete(self) -> None:
        """Replace the word before the cursor by a name or command; the next Tab tries the next.

        In an empty field, move the focus to the next widget.
        """
        if (self.value, self.cursor_position) != self._completed:
            typed = self.value[: self.cursor_position]
            start = typed.rfind(" ") + 1
            self._before, word = typed[:start], typed[start:]
            self._after = self.value[self.cursor_position :]
            self._completions = deque(self._find(word, is_first=not start) if word else ())
        if not self._completions:
            if not self.value:
                self.screen.focus_next()
            return
        completed = self._before + self._completions[0]
        self._completions.rotate(-1)
        self.value, self.cursor_position = completed + self._after, len(completed)
        self._completed = self.value, self.cursor_position

    def _find(self, word: str, *, is_first: bool) -> list[str]:
        """Return what the word may become, the best first, with what follows it."""
        if is_first and word.startswith("/"):
            return [f"{command} " for command in self._commands if command.startswith(word)]
        if word.startswith("@"):
            return [f"@{name} " for name in self._find_names(word[1:])]
        # At the beginning of a message, the name is an address
        return [name + (": " if is_first else " ") for name in self._find_names(word)]
