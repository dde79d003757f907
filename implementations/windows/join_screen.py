"""The first screen of the member's window: the user's groups, and a form to join one."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Footer, Input, OptionList
from textual.widgets.option_list import Option

from ..client.arguments import check_address, check_name, check_password
from ..client.display import explain
from ..client.errors import ClientError, InputError
from ..client.groups import GroupsFile, Membership
from .chat_screen import ChatScreen
from .help_dialog import HelpDialog
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

    def __init__(self, address: str, member_name: str, groups_file: GroupsFile) -> None:
        """Prepare a form with this address and this name, each of which may be ""."""
        super().__init__()
        self.address, self.member_name, self.groups_file = address, member_name, groups_file
        self._known: list[Membership] = []

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
        self.fill(self.address or "127.0.0.1:7000", self.member_name)

    def on_screen_resume(self) -> None:
        """Read the groups file again whenever this screen is on top."""
        try:
            self._known = self.groups_file.read()
        except (ClientError, OSError) as error:
            self._known = []
            self.show_error(explain(error))
        groups = self.query_one(OptionList)
        groups.set_options(
            Option(plain_content((known.group, "bold"), f"  as {known.name}, at {known.address}"))
            for known in self._known
        )
        groups.display = bool(self._known)

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

        def left(reason: str | None) -> None:
            # What was typed is kept only if it has to be corrected
            self.fill(address, name, password if screen.wrong_field else "")
            self.show_field_error(screen.wrong_field, reason or "")

        self.field("password").value = ""
        key = Membership(address, name, "", 0).key
        last_seen = next((known.last for known in self._known if known.key == key), None)
        screen = ChatScreen(address, name, password, last_seen, self.groups_file)
        self.app.push_screen(screen, left)

    def show_field_error(self, name: str, text: str) -> None:
        """Display an error below a field, and give it the focus; "" is the form itself."""
        for field in CHECKS:
            self.query_one(f"#{field}-error", PlainText).set_text(text if field == name else "")
        self.show_error("" if name else text)
        if name:
            self.field(name).focus()
