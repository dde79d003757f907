"""The owner as a member of the group: a connection like any client's, to speak to everyone.

The console has no order to speak, so this works with every server.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from time import monotonic

from textual.app import ComposeResult
from textual.widgets import Input

from ..client.arguments import AddressInfo, check_name, check_password
from ..client.connection_state import State
from ..client.conversation import Conversation
from ..client.errors import InputError
from ..client.items import Event, Note
from ..client.loop_connection import LoopConnection
from .widgets import Dialog, PlainText


class OwnerVoice:
    """One member's connection; it connects again by itself, as a client does."""

    def __init__(self, infos: Sequence[AddressInfo], name: str, password: str) -> None:
        """Begin to join. Create it while an event loop runs, and call turn() every TICK.

        Args:
            infos: addresses of the server; see resolve().
            name: of the member that the owner is, or becomes.
            password: the member's password.
        """
        self._conversation = Conversation(name, password, jitter=random.random)
        self._connection = LoopConnection(infos, self._conversation, lambda: None)
        self._was_here = False  # when take_items() was last called

    @property
    def failure(self) -> str:
        """Why the owner cannot speak any more; "" while they can, or may soon."""
        is_over = self._conversation.state is State.OVER
        return (self._conversation.reason or "the connection has ended") if is_over else ""

    @property
    def address(self) -> str:
        """The address of this side, as the console shows it in a request to join; "" for none."""
        sock = self._connection.sock
        return endpoint_text(*sock.getsockname()[:2]) if sock else ""

    def say(self, text: str) -> None:
        """Send a message, now or as soon as the owner is in the group."""
        self._conversation.request("SAY", text)
        self.turn()

    def turn(self) -> None:
        """Do everything that can be done without waiting."""
        self._connection.turn()

    def take_items(self) -> list[Event | Note]:
        """Return the messages since the owner joined, and what went wrong, since the last call."""
        was_here, self._was_here = self._was_here, self._conversation.was_here
        joined = self._conversation.progress.welcome_seq
        return [
            item
            for item in self._conversation.take_items()
            if (isinstance(item, Note) and was_here)
            or (isinstance(item, Event) and item.verb == "MSG" and item.seq > joined)
        ]

    def close(self) -> None:
        """Quit."""
        self._conversation.quit(monotonic())
        self._connection.flush()
        self._connection.close()


class MemberDialog(Dialog):
    """Asks for the name and the password of a member. The result is both, with a space between."""

    def __init__(self, name: str, password: str) -> None:
        """Prepare a dialog that is filled with a name and a password."""
        super().__init__("Speak in the group as a member. The password is yours to choose.", "Join")
        self._member, self._password = name, password

    def compose_field(self) -> ComposeResult:
        """Create the two fields, and room for an error."""
        yield Input(self._member, placeholder="name", compact=True, id="name")
        yield Input(
            self._password, placeholder="password", password=True, compact=True, id="password"
        )
        yield PlainText(id="error")

    def on_mount(self) -> None:
        """Let the user type the password at once."""
        self.query_one("#password").focus()

    def answer(self) -> str:
        """Return the name and the password."""
        return f"{self.query_one('#name', Input).value} {self.query_one('#password', Input).value}"

    def on_input_submitted(self) -> None:
        """Confirm with Enter."""
        self.confirm()

    def confirm(self) -> None:
        """Close the dialog, or display what is wrong with a field."""
        name, _, password = self.answer().partition(" ")
        try:
            check_name(name)
            check_password(password)
        except InputError as error:
            self.query_one("#error", PlainText).set_text(str(error))
        else:
            self.dismiss(self.answer())


def endpoint_text(host: str, port: int) -> str:
    """Return an address as the protocol writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
