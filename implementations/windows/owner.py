"""The owner's window: python -m implementations.windows.owner [options] [-- COMMAND ...].

It starts a server by its command line and controls it by its console. So it works with every server
that follows the protocol.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from ..common.output import complete_output
from .app import WindowApp
from .owner_screen import OwnerScreen
from .server_process import ServerProcess
from .start_screen import ADMISSIONS, DESIGNS, StartScreen
from .themes import add_theme_option
from .widgets import ConfirmDialog, Dialog


class OwnerApp(WindowApp):
    """The application. A server ends with its window."""

    TITLE = "Grupo: owner"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "quit", "Quit")]

    def __init__(self, options: argparse.Namespace) -> None:
        """Prepare the window; the options are those of parse_arguments()."""
        super().__init__(options.theme)
        self.start_screen = StartScreen(options)
        self.server: ServerProcess | None = None  # the one that runs, or the last one that did

    def on_mount(self) -> None:
        """Show the form."""
        self.push_screen(self.start_screen)

    def on_start_screen_submitted(self, message: StartScreen.Submitted) -> None:
        """Start a server."""
        screen = OwnerScreen(message.command, message.design, message.group)
        self.server = screen.server
        self.push_screen(screen, self.start_screen.show_end)

    async def on_unmount(self) -> None:
        """End the server with the window."""
        if self.server:
            await self.server.end()

    async def action_quit(self) -> None:
        """Quit. While a server runs, ask first, because the members are disconnected."""

        def answered(answer: str | None) -> None:
            if answer is not None:
                self.exit()

        if isinstance(self.screen, Dialog):
            return
        if self.server and self.server.pid:
            question = "The server ends with this window. The group's files are kept."
            self.push_screen(ConfirmDialog(question, "Close and quit"), answered)
        else:
            self.exit()


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options in `argv`; None means the command line. Exits if they are wrong.

    The arguments after -- are in `command`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m implementations.windows.owner",
        allow_abbrev=False,
        usage="%(prog)s [options] [-- COMMAND ...]",
        description="A window for the owner of a group: start a server, admit members, watch it.",
        epilog="After --, give the command of another server. It must take the options --host, "
        "--port, --group, --dir and --admit.",
    )
    add = parser.add_argument
    add("--design", choices=DESIGNS, default="pthread", help="server (default: %(default)s)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add(
        "--port",
        default=7000,
        type=int,
        help="port to listen on; 0 means any free port (default: %(default)s)",
    )
    add("--group", default="grupo", help="name of a new group (default: %(default)s)")
    add("--dir", default="./grupo", help="folder for the group's files (default: %(default)s)")
    add(
        "--admit",
        choices=ADMISSIONS,
        default="ask",
        help="who may join: ask the owner about each new person, everyone, or only members "
        "(default: %(default)s)",
    )
    add_theme_option(parser)
    arguments = list(sys.argv[1:] if argv is None else argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    options.command = arguments[end + 1 :]
    return options


@complete_output()
def main() -> int:
    """Run the window; return the exit status."""
    OwnerApp(parse_arguments()).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
