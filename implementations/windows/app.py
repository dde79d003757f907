"""The application that both windows are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from typing import ClassVar

from textual.binding import Binding, BindingType

from .ordered_keys import OrderedKeysApp
from .themes import THEMES

# From so many columns, or rows, a screen has this class
WIDTH_CLASSES = [(0, "-narrow"), (56, "-middle"), (110, "-wide")]
HEIGHT_CLASSES = [(0, "-low"), (12, "-high")]
EXIT_TIMEOUT = 10.0  # seconds; longer than a server takes to end


class WindowApp(OrderedKeysApp):
    """An application that ends in order, also after a signal.

    Its screens have a class for their size: -narrow, -middle or -wide, and -low or -high.
    """

    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = WIDTH_CLASSES
    VERTICAL_BREAKPOINTS = HEIGHT_CLASSES
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", priority=True),
        Binding("f4", "next_theme", "Theme", show=False),
    ]

    CSS = """
    Input, Select > SelectCurrent { background: $field; }
    Input:focus, Select:focus > SelectCurrent { background-tint: $field 0%; }
    SelectCurrent .arrow { color: $quiet; }
    Button:focus {
        background: $warning !important; color: black !important; background-tint: $warning 0%;
    }
    """

    def __init__(self, theme: str = "dark") -> None:
        """Prepare the application; with NO_COLOR in the environment, without colors or greys.

        theme: one of THEMES.
        """
        super().__init__(ansi_color=bool(os.environ.get("NO_COLOR")))
        for each in THEMES.values():
            self.register_theme(each)
        self.theme = theme

    def action_next_theme(self) -> None:
        """Change to the next theme."""
        names = list(THEMES)
        self.theme = names[(names.index(self.theme) + 1) % len(names)]

    def on_mount(self) -> None:
        """End after a signal as after the key for it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            # Not in the main thread, signals are the business of whatever runs the application
            with contextlib.suppress(RuntimeError, ValueError):
                loop.add_signal_handler(number, self.exit_in_time)

    def get_css_variables(self) -> dict[str, str]:
        """Return the variables of the style sheets; without colors, mark choices by underlines."""
        variables = super().get_css_variables()
        if self.no_color:
            variables["button-focus-text-style"] = "bold reverse"
            variables["block-cursor-text-style"] = "bold underline"
            variables["block-cursor-blurred-text-style"] = "underline"
        return variables

    def exit_in_time(self) -> None:
        """End the application, if need be without restoring the terminal, which may be gone."""
        timer = threading.Timer(EXIT_TIMEOUT, os._exit, (1,))
        timer.daemon = True
        timer.start()
        self.exit()
