"""The line in which the owner speaks to the group, and the connection that it uses for this."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from textual.message import Message
from textual.widgets import Input

from ..client.arguments import resolve
from ..client.connection import TICK
from ..client.display import explain
from ..client.errors import ClientError
from ..client.items import Event, Note
from ..common import wire
from .owner_voice import MemberDialog, OwnerVoice, endpoint_text
from .people_list import PeopleList

OWNER_NAME = "owner"  # proposed for the owner as a member


class OwnerInput(Input):
    """An input for messages. It is hidden until the owner wants to speak."""

    DEFAULT_CSS = """
    OwnerInput { display: none; }
    OwnerInput.-open { display: block; }
    """

    @dataclass
    class Heard(Message):
        """The owner, as a member, received a message of the group."""

        event: Event

    @dataclass
    class Noted(Message):
        """There is something to tell the owner."""

        text: str

    def __init__(self, **options: Any) -> None:
        """Create a hidden input; the options are those of every widget."""
        placeholder = "Say to everyone. Esc closes this line"
        super().__init__(placeholder=placeholder, compact=True, **options)
        self.voice: OwnerVoice | None = None
        self._credentials = OWNER_NAME, ""  # name and password, for the next voice

    @property
    def address(self) -> str:
        """The address from which the owner asks to join; "" if they do not."""
        return self.voice.address if self.voice else ""

    def on_mount(self) -> None:
        """Begin to take the connection's turns."""
        self.set_interval(TICK, self.take_turn)

    def on_unmount(self) -> None:
        """Quit as a member."""
        if self.voice:
            self.voice.close()

    def speak(self, host: str, port: int) -> None:
        """Let the owner type; first ask for a name and a password, as for every member.

        Args:
            host: where to reach the server.
            port: its port.
        """

        def answered(answer: str | None) -> None:
            if answer:
                name, _, password = answer.partition(" ")
                self._credentials = name, password
                self.run_worker(self._join(endpoint_text(host, port)))

        if self.voice:
            self.open()
        else:
            self.app.push_screen(MemberDialog(*self._credentials), answered)

    async def _join(self, address: str) -> None:
        try:
            infos = await asyncio.to_thread(resolve, address)
        except (ClientError, OSError) as error:
            self.post_message(self.Noted(f"you cannot speak: {explain(error)}"))
            return
        self.stop()
        self.voice = OwnerVoice(infos, *self._credentials)
        self.open()

    def open(self) -> None:
        """Show the input, and give it the focus."""
        self.add_class("-open")
        self.focus()

    def close(self) -> None:
        """Hide the input. The owner remains in the group."""
        self.remove_class("-open")
        self.screen.query_one(PeopleList).focus()

    def stop(self) -> None:
        """Quit as a member, and hide the input."""
        if self.voice:
            self.voice.close()
            self.voice = None
            self.close()

    def take_turn(self) -> None:
        """Do what the connection can do, and report what came of it."""
        if not self.voice:
            return
        self.voice.turn()
        for item in self.voice.take_items():
            if isinstance(item, Note):
                self.post_message(self.Noted(item.text))
            else:
                self.post_message(self.Heard(item))
        if failure := self.voice.failure:
            self.post_message(self.Noted(f"you cannot speak: {failure}"))
            self.stop()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Send the text. One that cannot be sent stays."""
        event.stop()
        text = self.value
        if not text.strip() or not self.voice:
            return
        if wire.is_text(text):
            self.clear()
            self.voice.say(text)
        else:
            limit = f"at most {wire.MAX_TEXT} bytes, without control characters"
            self.post_message(self.Noted(f"not sent: a message has {limit}"))
