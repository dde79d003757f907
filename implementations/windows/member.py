"""The member's window: python -m implementations.windows.member [HOST:PORT] [NAME].

It uses the core of the client (implementations/client), and its groups file.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from textual.events import ScreenResume, ScreenSuspend
from textual.screen import Screen

from ..client.arguments import add_groups_option, argument_type, check_address, check_name
from ..client.display import explain
from ..client.errors import ClientError
from ..client.groups import GroupsFile
from ..common.output import complete_output
from ..common.wire import harmless
from .app import WindowApp
from .chat_screen import ChatScreen
from .join_screen import JoinScreen
from .themes import add_theme_option

# The title on a stack of the terminal; one that has none ignores these
SAVE_TITLE, RESTORE_TITLE = "\x1b[22;2t", "\x1b[23;2t"


class MemberApp(WindowApp):
    """The application."""

    TITLE = "Grupo"

    def __init__(
        self,
        address: str = "",
        member_name: str = "",
        groups: str | os.PathLike[str] | None = None,
    ) -> None:
        """Prepare the window.

        Args:
            address: HOST:PORT for the form; may be "".
            member_name: the name for the form; may be "".
            groups: path of the groups file; None for the user's own.

        Raises GroupsFileError if the user's own groups file is not known.
        """
        super().__init__()
        self._has_title = False
        self.join_screen = JoinScreen(address, member_name, GroupsFile(groups))

    def on_mount(self) -> None:
        """Show the form."""
        self.push_screen(self.join_screen)

    def bring_to_front(self, screen: Screen[Any]) -> None:
        """Show a screen that is on the stack; the others stay below it, and go on."""
        front = self.screen
        if screen is not front:
            self._screen_stack.remove(screen)
            self._screen_stack.append(screen)
            front.post_message(ScreenSuspend())
            screen.post_message(ScreenResume())

    def on_chat_screen_front_wanted(self, message: ChatScreen.FrontWanted) -> None:
        """Show the list of groups, or the next group that is open."""
        chats = self.join_screen.chats
        if message.is_next and len(chats) > 1:
            place = chats.index(self.screen) if self.screen in chats else -1
            self.bring_to_front(chats[(place + 1) % len(chats)])
        elif not message.is_next:
            self.bring_to_front(self.join_screen)

    def on_join_screen_chosen(self, message: JoinScreen.Chosen) -> None:
        """Show a group that is open."""
        self.bring_to_front(message.chat)

    def on_app_focus(self) -> None:
        """Take note that the user looks at this terminal."""
        self._set_watched(True)

    def on_app_blur(self) -> None:
        """Take note that the user looks at another terminal."""
        self._set_watched(False)

    def on_chat_screen_title_changed(self, message: ChatScreen.TitleChanged) -> None:
        """Set the title of the terminal; on_unmount() gives the old one back."""
        if not self._has_title:
            self.write_to_terminal(SAVE_TITLE)
        self._has_title = True
        self.write_to_terminal(f"\x1b]2;{harmless(message.title)}\x1b\\")

    def write_to_terminal(self, text: str) -> None:
        """Send a control sequence to the terminal, unless a browser is in its place."""
        if self._driver and not self._driver.is_web and not self._driver.is_headless:
            self._driver.write(text)

    def on_unmount(self) -> None:
        """Give the terminal its title back."""
        if self._has_title:
            self.write_to_terminal(RESTORE_TITLE)

    def _set_watched(self, is_watched: bool) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, ChatScreen):
                screen.set_watched(is_watched)


@complete_output()
def main() -> int:
    """Run the window; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m implementations.windows.member",
        allow_abbrev=False,
        description="A window for a member of groups: join a group and chat.",
    )
    parser.add_argument(
        "address",
        nargs="?",
        type=argument_type(check_address),
        metavar="HOST:PORT",
        help="address of a server, for example 127.0.0.1:7000 or [::1]:7000",
    )
    parser.add_argument(
        "name",
        nargs="?",
        type=argument_type(check_name),
        metavar="NAME",
        help="your name in the group",
    )
    add_groups_option(parser)
    add_theme_option(parser)
    options = parser.parse_args()
    try:
        app = MemberApp(options.address or "", options.name or "", options.groups)
    except (ClientError, OSError) as error:
        print(f"-- {explain(error)}", file=sys.stderr)
        return 1
    app.theme = options.theme
    app.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
