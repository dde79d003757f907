"""The client's Connection in an asyncio event loop, which does the waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..client.arguments import AddressInfo
from ..client.connection import Connection
from ..client.connection_state import State
from ..client.conversation import Conversation


class ServerConnection(Connection):
    """A Connection that takes its turns by itself while the event loop runs."""

    def __init__(
        self,
        infos: Sequence[AddressInfo],
        conversation: Conversation,
        on_turn: Callable[[], None],
    ) -> None:
        """Prepare a connection. Create it while an event loop runs, and call turn() every TICK.

        Args:
            infos: addresses of the server; see resolve().
            conversation: the core.
            on_turn: called after each turn, to display changes.
        """
        super().__init__(infos, conversation)
        self._on_turn = on_turn
        self._loop = asyncio.get_running_loop()
        self._watches_write = False  # the loop waits until the socket is writable

    def turn(self) -> None:
        """Do everything that can be done now without waiting."""
        if self.conversation.state is not State.OVER:
            self.connect_if_due()
        self.flush()
        self._watch_write()
        self._on_turn()

    def _try_next(self, reason: str) -> None:
        super()._try_next(reason)
        if self.sock:
            self._loop.add_reader(self.sock, self._woken)

    def _watch_write(self) -> None:
        if self.sock and self.wants_write != self._watches_write:
            self._watches_write = self.wants_write
            if self._watches_write:
                self._loop.add_writer(self.sock, self._woken)
            else:
                self._loop.remove_writer(self.sock)

    def _woken(self) -> None:
        self.on_ready()
        self.turn()

    def close(self) -> None:
        """Close the socket, if there is one, after the loop has forgotten it."""
        if self.sock:
            self._loop.remove_reader(self.sock)
            self._loop.remove_writer(self.sock)
        self._watches_write = False
        super().close()
