"""The Connection in an asyncio event loop, which does the waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from selectors import EVENT_READ, EVENT_WRITE

from .arguments import AddressInfo
from .connection import Connection
from .connection_state import State
from .conversation import Conversation


class LoopConnection(Connection):
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
        self._watched: dict[socket.socket, int] = {}  # the selector events that the loop waits for

    def turn(self) -> None:
        """Do everything that can be done now without waiting."""
        if self.conversation.state is not State.OVER:
            self.connect_if_due()
        self.flush()
        self._watch()
        self._on_turn()

    def _watch(self) -> None:
        """Let the loop wait for the same as waits_for()."""
        for sock, events in self.waits_for():
            if self._watched.get(sock) == events:
                continue
            self._watched[sock] = events
            if events & EVENT_READ:
                self._loop.add_reader(sock, self._woken, sock)
            if events & EVENT_WRITE:
                self._loop.add_writer(sock, self._woken, sock)
            else:
                self._loop.remove_writer(sock)

    def _woken(self, sock: socket.socket) -> None:
        self.on_ready(sock)
        self.turn()

    def _close_socket(self, sock: socket.socket) -> None:
        """Close a socket after the loop has forgotten it."""
        if self._watched.pop(sock, 0):
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
        super()._close_socket(sock)
