"""The parts of both windows: plain text, forms, screens to leave, dialogs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, HorizontalGroup, Vertical
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Button, Footer, Input, Static
from textual.widgets._footer import FooterKey

from ..client.errors import InputError
from ..common.wire import harmless
from .message_log import MessageLog

T = TypeVar("T")
Part = str | tuple[str, str]  # a text; or a text and its style


def plain_content(*parts: Part) -> Content:
    """Return texts as the content of a widget: without markup or control characters but LF."""
    pairs = ((part, "") if isinstance(part, str) else part for part in parts)
    return Content.assemble(*((harmless_lines(text), style) for text, style in pairs))


def harmless_lines(text: str) -> str:
    """Return a text of several lines with its control characters made visible, except LF."""
    return "\n".join(map(harmless, text.split("\n")))


class PlainText(Static):
    """A text that other people may have written. Without a text it takes no space."""

    DEFAULT_CSS = "PlainText.-empty { display: none; }"

    def __init__(self, *parts: Part, **options: Any) -> None:
        """Create a widget that displays `parts`; the options are those of every widget."""
        super().__init__(markup=False, **options)
        self._parts: tuple[Part, ...] | None = None
        self.set_text(*parts)

    def set_text(self, *parts: Part) -> None:
        """Display `parts`. If they have not changed this is cheap, so call it at any time."""
        if parts != self._parts:
            self._parts, content = parts, plain_content(*parts)
            self.update(content)
            self.set_class(not content, "-empty")


def rows_that_fit(
    parts: Iterable[T], width: int, gap: int, width_of: Callable[[T], int]
) -> list[list[T]]:
    """Return `parts` in rows of at most `width` cells, with `gap` cells between two parts."""
    rows: list[list[T]] = []
    used = 0
    for part in parts:
        used += gap + width_of(part)
        if not rows or used > width:
            rows.append([])
            used = width_of(part)
        rows[-1].append(part)
    return rows


class KeyBar(Footer):
    """The keys of a screen, on as many rows as they need: none of them is cut."""

    DEFAULT_CSS = """
    KeyBar { layout: vertical; height: auto; }
    KeyBar HorizontalGroup { height: 1; }
    """

    def compose(self) -> ComposeResult:
        """Create the keys, row by row."""
        keys = [key for key in super().compose() if isinstance(key, FooterKey)]
        for row in rows_that_fit(keys, self.app.size.width, 0, width_of_key):
            yield HorizontalGroup(*row)

    def on_resize(self) -> None:
        """Use the new width."""
        self.call_after_refresh(self.recompose)


def width_of_key(key: FooterKey) -> int:
    """Return the width of a key and its description, in cells."""
    return cell_len(f" {key.key_display}  {key.description} ") - (not key.description)


class FormScreen(Screen[None]):
    """Fields in a box, a button, and below it an error."""

    DEFAULT_CSS = """
    FormScreen { align: center middle; }
    FormScreen #box {
        width: 72; max-width: 100%; height: auto; max-height: 100%; padding: 1 3;
        border: round $edge;
    }
    FormScreen #title { text-style: bold; margin-bottom: 1; }
    FormScreen .field { height: 1; margin-bottom: 1; }
    FormScreen .field > PlainText { width: 14; }
    FormScreen .field > Input, FormScreen .field > Select { width: 1fr; }
    FormScreen #error { color: $error; text-style: bold; margin-top: 1; }
    FormScreen.-low #box { border: none; padding: 0; }
    FormScreen.-low .field, FormScreen.-low #title { margin: 0; }
    """

    def show_error(self, text: str) -> None:
        """Display an error; "" for none."""
        error = self.query_one("#error", PlainText)
        error.set_text(text)
        if text:
            self.call_after_refresh(error.scroll_visible, animate=False)

    def on_resize(self) -> None:
        """Keep the field with the focus visible."""
        if self.focused:
            self.call_after_refresh(self.focused.scroll_visible, animate=False)


class LeavableScreen(Screen[str]):
    """A screen that a program may leave at any time, even if a dialog is above it.

    Its result is a line for the user that says why it was left; "" if there is nothing to say.
    """

    @property
    def is_whole(self) -> bool:
        """Whether all widgets of the screen exist. While it closes, some of them do not."""
        return self.is_attached and self.display

    def leave(self, reason: str) -> None:
        """Close the dialogs above this screen, and the screen itself."""
        if self in self.app.screen_stack:
            self.close_dialogs()
            self.dismiss(reason)

    def close_dialogs(self) -> None:
        """Close the dialogs above this screen."""
        while self in self.app.screen_stack and self.app.screen is not self:
            self.app.pop_screen()


class LogScreen(LeavableScreen):
    """A screen with a MessageLog that keys scroll wherever the focus is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "scroll_log(-1)", show=False, priority=True),
        Binding("pagedown", "scroll_log(1)", show=False, priority=True),
        Binding("ctrl+home", "scroll_log(-1000000)", show=False, priority=True),
        Binding("ctrl+end", "scroll_log(1000000)", show=False, priority=True),
    ]

    @property
    def message_log(self) -> MessageLog:
        """The log."""
        return self.query_one("#messages", MessageLog)

    def action_scroll_log(self, pages: int) -> None:
        """Scroll the log down by so many pages; up if negative."""
        self.message_log.scroll_pages(pages)


class Dialog(ModalScreen[str | None]):
    """A question in a box above a screen. The result is None if the user cancels."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]
    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > Vertical {
        width: 60; max-width: 100%; height: auto; max-height: 100%; padding: 1 2;
        background: $panel; border: round $edge;
    }
    Dialog PlainText { margin-bottom: 1; }
    Dialog Horizontal { height: 1; align-horizontal: center; margin-top: 1; }
    Dialog Button { margin: 0 1; }
    Dialog.-low > Vertical { border: none; padding: 0; height: 100%; }
    Dialog.-low PlainText, Dialog.-low Horizontal, Dialog.-low Button { margin: 0; }
    Dialog.-low Horizontal { dock: bottom; }
    Dialog.-narrow Button { min-width: 0; margin: 0; }
    """

    def __init__(self, question: str, confirm: str, cancel: str = "Cancel") -> None:
        """Prepare a dialog with the labels of its two buttons."""
        super().__init__()
        self.question, self.confirm_label, self.cancel_label = question, confirm, cancel

    def compose(self) -> ComposeResult:
        """Create the question, the field if there is one, and the buttons."""
        with Vertical():
            yield PlainText(self.question)
            yield from self.compose_field()
            with Horizontal():
                yield Button(self.confirm_label, variant="primary", compact=True, id="confirm")
                yield Button(self.cancel_label, compact=True, id="cancel")

    def compose_field(self) -> ComposeResult:
        """Create the widgets between the question and the buttons."""
        yield from ()

    def answer(self) -> str:
        """Return the result if the user confirms."""
        return ""

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Close the dialog."""
        if event.button.id == "confirm":
            self.confirm()
        else:
            self.dismiss(None)

    def confirm(self) -> None:
        """Close the dialog with its result."""
        self.dismiss(self.answer())

    def key_left(self) -> None:
        """Move the focus to the left."""
        self.focus_previous()

    def key_right(self) -> None:
        """Move the focus to the right."""
        self.focus_next()


class TextDialog(Dialog):
    """Asks for a text. The result is the text. One that is not valid stays in the field."""

    DEFAULT_CSS = "TextDialog #error { color: $text-error; margin-bottom: 0; }"

    def __init__(
        self,
        question: str,
        confirm: str,
        text: str = "",
        check: Callable[[str], str] = lambda text: "",
        error: str = "",
    ) -> None:
        """Prepare a dialog.

        Args:
            question: the question.
            confirm: the label of the button that confirms.
            text: what the field displays at first.
            check: returns what is wrong with a text; "" if nothing is.
            error: what is wrong with `text`.
        """
        super().__init__(question, confirm)
        self._text, self._check, self._error = text, check, error

    def compose_field(self) -> ComposeResult:
        """Create the field for the text, and below it an error."""
        yield Input(harmless_lines(self._text), compact=True)  # it may be a server's text
        yield PlainText(self._error, id="error")

    def on_mount(self) -> None:
        """Let the user type at once."""
        self.query_one(Input).focus()

    def answer(self) -> str:
        """Return the text."""
        return self.query_one(Input).value

    def on_input_submitted(self) -> None:
        """Confirm with Enter."""
        self.confirm()

    def confirm(self) -> None:
        """Close the dialog, unless the text is not valid."""
        if error := self._check(self.answer().strip()):
            self.query_one("#error", PlainText).set_text(error)
            self.query_one(Input).focus()
        else:
            super().confirm()


def error_of(check: Callable[[str], object]) -> Callable[[str], str]:
    """Return a function that returns the words of the InputError that `check` raises, or ""."""

    def find_error(text: str) -> str:
        try:
            check(text)
        except InputError as error:
            return str(error)
        return ""

    return find_error


class ConfirmDialog(Dialog):
    """Asks for yes or no. The result is "" for yes, None for no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss('')", "Yes"),
        Binding("n", "dismiss(None)", "No"),
    ]

    def __init__(self, question: str, confirm: str, cancel: str = "Cancel") -> None:
        """Prepare a dialog with keys for its two buttons."""
        super().__init__(question, f"{confirm} (y)", f"{cancel} (n)")

    def on_mount(self) -> None:
        """Give the focus to no: one Enter too many must not confirm."""
        self.query_one("#cancel").focus()
