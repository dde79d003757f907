"""What both windows are made of: words that are never markup, questions, and an application that ends in order."""
import asyncio
import os
import signal
import threading

from textual.app import App
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Button, Input, Static

from ..common.wire import harmless

LAST_WORDS = 10             # seconds: longer than a server takes to end


def words(*parts):
    """Strings and (string, style) pairs as what a widget shows: no control characters but our own LF, and no markup."""
    return Content.assemble(*((clean(part), "") if isinstance(part, str) else (clean(part[0]), part[1]) for part in parts))


def clean(text):
    return "\n".join(map(harmless, text.split("\n")))


class Words(Static):
    """A Static to which others' text may be given. Nothing is shown of one without text."""

    DEFAULT_CSS = "Words.-silent { display: none; }"

    def __init__(self, *parts, **options):
        super().__init__(markup=False, **options)
        self.parts = None               # as they are shown
        self.say(*parts)

    def say(self, *parts):
        if parts != self.parts:         # it is asked many times a second, and to draw costs
            self.parts, said = parts, words(*parts)
            self.update(said)
            self.set_class(not said, "-silent")


class Form(Screen):
    """Fields in a box, a button, and below it what was wrong."""

    DEFAULT_CSS = """
    Form { align: center middle; }
    Form #box { width: 72; max-width: 100%; height: auto; max-height: 100%; padding: 1 3; border: round $primary; }
    Form #title { text-style: bold; margin-bottom: 1; }
    Form .field { height: 1; margin-bottom: 1; }
    Form .field > Words { width: 12; }
    Form .field > Input, Form .field > Select { width: 1fr; }
    Form #trouble { color: $error; text-style: bold; margin-top: 1; }
    Form.-low #box { border: none; padding: 0; }
    Form.-low .field, Form.-low #title { margin: 0; }
    """

    def say(self, text):
        trouble = self.query_one("#trouble", Words)
        trouble.say(text)
        if text:
            self.call_after_refresh(trouble.scroll_visible, animate=False)

    def on_resize(self):
        if self.focused:
            self.call_after_refresh(self.focused.scroll_visible, animate=False)


class Room(Screen):
    """A screen that one goes out of, whatever question stands above it."""

    def go(self, why):
        if self in self.app.screen_stack:
            while self.app.screen is not self:
                self.app.pop_screen()
            self.dismiss(why)


class Question(ModalScreen):
    """A box over the window; Escape is no. Its answer is None for no."""

    BINDINGS = [Binding("escape", "dismiss(None)", "No")]
    DEFAULT_CSS = """
    Question { align: center middle; }
    Question > Vertical { width: 60; max-width: 100%; height: auto; max-height: 100%; padding: 1 2; background: $panel; border: round $primary; }
    Question Words { margin-bottom: 1; }
    Question Horizontal { height: 1; align-horizontal: center; margin-top: 1; }
    Question Button { margin: 0 1; }
    Question.-low > Vertical { border: none; padding: 0; height: 100%; }
    Question.-low Words, Question.-low Horizontal, Question.-low Button { margin: 0; }
    Question.-low Horizontal { dock: bottom; }
    Question.-narrow Button { min-width: 0; margin: 0; }
    """

    def __init__(self, question, yes, value=None, no="Cancel"):
        """`value`: what is asked for a text, and what stands there at first; without it, it is asked yes or no."""
        super().__init__()
        self.question, self.yes, self.no, self.value = question, yes, no, value

    def compose(self):
        with Vertical():
            yield Words(self.question)
            if self.value is not None:
                yield Input(clean(self.value), compact=True)     # a server's word, perhaps
            with Horizontal():
                yield Button(self.yes, variant="primary", compact=True, id="yes")
                yield Button(self.no, compact=True, id="no")

    def on_mount(self):
        self.query_one(Input if self.value is not None else "#no").focus()      # a consent is not given by one Enter too many

    def on_input_submitted(self, event):
        self.answer()

    def on_button_pressed(self, event):
        if event.button.id == "yes":
            self.answer()
        else:
            self.dismiss(None)

    def answer(self):
        self.dismiss(True if self.value is None else self.query_one(Input).value)

    def key_left(self):
        self.focus_previous()

    def key_right(self):
        self.focus_next()


class YesNo(Question):
    """The same, with keys for yes and no."""

    BINDINGS = [Binding("y", "dismiss(True)", "Yes"), Binding("n", "dismiss(None)", "No")]

    def __init__(self, question, yes, no):
        super().__init__(question, f"{yes} (y)", None, f"{no} (n)")


class Window(App):
    """An application that a signal ends as its user does, and that says how large it is: `-narrow`, `-wide`, `-low`."""

    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (56, "-middle"), (110, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (12, "-high")]
    BINDINGS = [Binding("ctrl+q", "quit", "Quit", priority=True)]

    def __init__(self):
        super().__init__(ansi_color=bool(os.environ.get("NO_COLOR")))       # then no colour at all, not even grey

    def on_mount(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            try:
                asyncio.get_running_loop().add_signal_handler(number, self.leave)
            except (RuntimeError, ValueError):
                pass                    # not the main thread: somebody else sees to signals

    def get_css_variables(self):
        """Without colour, what is chosen in a list is still to be seen."""
        plain = {"block-cursor-text-style": "bold underline", "block-cursor-blurred-text-style": "underline"} if self.no_color else {}
        return {**super().get_css_variables(), **plain}

    def leave(self):
        """Ends the window, whatever it is doing; if its terminal is gone and takes no last words, without them."""
        end = threading.Timer(LAST_WORDS, os._exit, (1,))
        end.daemon = True
        end.start()
        self.exit()
