"""The first screen of the member's window: the user's groups, and a form to join one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, OptionList
from textual.widgets.option_list import Option

from ..client.arguments import check_address, check_name, check_password
from ..client.display import explain
from ..client.errors import ClientError, InputError
from ..client.groups import GroupsFile, Membership
from .chat_screen import ChatScreen
from .help_dialog import HelpDialog
from .message_log import unread_words
from .widgets import FormScreen, PlainText, plain_content

CHECKS = {"address": check_address, "name": check_name, "password": check_password}


class JoinScreen(FormScreen):
    """A form for address, name and password. A choice in the list of groups fills it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Keys"),
        Binding("question_mark", "help", show=False),
    ]
    CSS = """
    JoinScreen OptionList { height: auto; max-height: 8; margin-bottom: 1; }
    JoinScreen .field { margin: 1 0 0 0; }
    JoinScreen .error { color: $text-error; text-style: bold; margin: 0; }
    JoinScreen Button { margin-top: 1; }
    JoinScreen #title { margin-bottom: 0; }
    JoinScreen.-low .field, JoinScreen.-low .error, JoinScreen.-low Button { margin: 0; }
    """

    @dataclass
    class Chosen(Message):
        """The user wants to see a group that is open, or is to see this list."""

        chat: Screen[Any]

    def __init__(self, address: str, member_name: str, groups_file: GroupsFile) -> None:
        """Prepare a form with this address and this name, each of which may be ""."""
        super().__init__()
        self.address, self.member_name, self.groups_file = address, member_name, groups_file
        self._known: list[Membership] = []
        self.chats: list[ChatScreen] = []  # the groups that are open in this window

    def compose(self) -> ComposeResult:
        """Create the list and the fields."""
        with VerticalScroll(id="box", can_focus=False):
            yield PlainText("Grupo: join a group", id="title")
            yield OptionList(id="groups", markup=False, compact=True)
            for label, field in (
                ("Address", "address"),
                ("Your name", "name"),
                ("Password", "password"),
            ):
                with Horizontal(classes="field"):
                    yield PlainText(label)
                    yield Input(id=field, password=field == "password", compact=True)
                yield PlainText(id=f"{field}-error", classes="error")
            yield Button("Join", id="join", variant="primary", compact=True)
            yield PlainText(id="error")
        yield Footer()

    def on_mount(self) -> None:
        """Fill the form."""
        self.set_interval(1, self._refresh_groups)
        self.fill(self.address or "127.0.0.1:7000", self.member_name)

    def on_screen_resume(self) -> None:
        """Read the groups file again whenever this screen is on top."""
        try:
            self._known = self.groups_file.read()
        except (ClientError, OSError) as error:
            self._known = []
            self.show_error(explain(error))
        self._show_groups()

    def _show_groups(self) -> None:
        def label(known: Membership) -> Option:
            words = f"  as {known.name}, at {known.address}"
            if chat := self.open_chat(known.address, known.name):
                news = unread_words(*chat.message_log.unseen) if chat.is_whole else ""
                words += f"  open{', ' + news if news else ''}"
            return Option(plain_content((known.group, "bold"), words))

        groups = self.query_one(OptionList)
        groups.set_options(map(label, self._known))
        groups.display = bool(self._known)

    def open_chat(self, address: str, name: str) -> ChatScreen | None:
        """Return the screen of a group that is open in this window; None if it is not."""
        key = Membership(address, name, "", 0).key
        keys = (Membership(chat.address, chat.conversation.name, "", 0).key for chat in self.chats)
        return next((chat for chat, one in zip(self.chats, keys) if one == key), None)

    def news_except(self, present: ChatScreen) -> str:
        """Return what is unread in the other groups that are open; "" if there are none."""
        others = [chat for chat in self.chats if chat is not present and chat.is_whole]
        return ", ".join(
            f"{chat.conversation.group or chat.address} {unread_words(*chat.message_log.unseen)}"
            for chat in others
        ).strip()

    def _refresh_groups(self) -> None:
        """Update the news of the groups that are open, and keep the choice."""
        groups = self.query_one(OptionList)
        if self.chats and self.is_current:
            chosen = groups.highlighted
            self._show_groups()
            groups.highlighted = chosen

    def action_help(self) -> None:
        """Show all keys and commands."""
        self.app.push_screen(HelpDialog())

    def fill(self, address: str, name: str, password: str = "") -> None:
        """Fill the form, and give the focus to the first field that is empty."""
        self.field("address").value, self.field("name").value = address, name
        self.field("password").value = password
        first_empty = "password" if address and name else "name" if address else "address"
        self.field(first_empty).focus()

    def field(self, name: str) -> Input:
        """Return a field: address, name or password."""
        return self.query_one(f"#{name}", Input)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Fill the form with a group from the list."""
        known = self._known[event.option_index]
        if chat := self.open_chat(known.address, known.name):
            self.post_message(self.Chosen(chat))
            return
        self.fill(known.address, known.name)

    def on_button_pressed(self) -> None:
        """Join with the button."""
        self.join()

    def on_input_submitted(self) -> None:
        """Go to the first empty field with Enter; join if there is none."""
        for field in self.query(Input):
            if not field.value:
                field.focus()
                return
        self.join()

    def join(self) -> None:
        """Join in another screen, or display an error of a field."""
        values = {}
        for name, check in CHECKS.items():
            text = self.field(name).value
            try:
                values[name] = check(text if name == "password" else text.strip())
            except InputError as error:
                self.show_field_error(name, str(error))
                return
        self.show_field_error("", "")
        self.open_group(**values)

    def open_group(self, address: str, name: str, password: str) -> None:
        """Show a group in another screen, and afterwards why that was left."""

        if chat := self.open_chat(address, name):
            self.post_message(self.Chosen(chat))
            return

        def left(reason: str | None) -> None:
            self.chats.remove(screen)
            self.post_message(self.Chosen(self))
            # What was typed is kept only if it has to be corrected
            self.fill(address, name, password if screen.wrong_field else "")
            self.show_field_error(screen.wrong_field, reason or "")

        self.field("password").value = ""
        key = Membership(address, name, "", 0).key
        last_seen = next((known.last for known in self._known if known.key == key), None)
        screen = ChatScreen(address, name, password, last_seen, self.groups_file)
        screen.news_of_others = partial(self.news_except, screen)
        self.chats.append(screen)
        self.app.push_screen(screen, left)

    def show_field_error(self, name: str, text: str) -> None:
        """Display an error below a field, and give it the focus; "" is the form itself."""
        for field in CHECKS:
            self.query_one(f"#{field}-error", PlainText).set_text(text if field == name else "")
        self.show_error("" if name else text)
        if name:
            self.field(name).focus()
