"""What an event loop waits for, and which client it reads next: each in its turn.

While there is backpressure, it reads from no client.
"""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .trace import traced

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

    from .connection import Connection


class Readers:
    """The clients of an event loop that are to be read, and its other sources."""

    def __init__(self) -> None:
        self.sources = selectors.DefaultSelector()  # what is served during backpressure, too
        self.all = selectors.DefaultSelector()  # and the clients: one system call waits for all
        self.select_all = traced("wait", self.all.select)
        self.select_sources = traced("wait", self.sources.select, "crowded")
        self.ready: deque[Connection] = deque()  # readable in this round, and not read yet
        self.resumed: list[Connection] = []  # have lines that were read and not handled yet
        self.paused = False

    def add_source(
        self, source: FileDescriptorLike, act: Callable[[], object] | None = None
    ) -> None:
        """Makes wait() return, after a call of act(), when `source` is readable."""
        for selector in self.sources, self.all:
            selector.register(source, selectors.EVENT_READ, act)

    def remove_source(self, source: FileDescriptorLike) -> None:
        """Undoes add_source()."""
        for selector in self.sources, self.all:
            selector.unregister(source)

    def resume_reading(self, client: Connection, has_lines: bool = False) -> None:
        """Waits for the client from now on, unless nothing more can come from it.

        has_lines: some of its lines have been read already, and it is ready for the next round.
        """
        if not client.is_watched and not client.eof:
            client.is_watched = True
            self.all.register(client.source, selectors.EVENT_READ, client)
        if has_lines:
            self.resumed.append(client)

    def pause_reading(self, client: Connection) -> None:
        """Leaves in the kernel what the client sends."""
        if client.is_watched:
            client.is_watched = False
            self.all.unregister(client.source)

    def pause_all(self, backpressure: bool) -> None:
        """Reads from no client while there is backpressure, so that slow readers catch up."""
        self.paused = backpressure

    def wait(self, seconds: float) -> None:
        """Waits until something is readable, but no longer than that.

        Calls what add_source() was given. When the last round is over, starts the next one.
        """
        has_ready = (self.ready or self.resumed) and not self.paused
        readable = []
        select = self.select_sources if self.paused else self.select_all
        for key, _ in select(0 if has_ready else seconds):
            if callable(key.data):
                key.data()
            elif key.data:
                readable.append(key.data)
        if not self.ready and not self.paused:  # so everyone's turn comes before anyone's second
            self.ready.extend(dict.fromkeys(self.resumed + readable))
            self.resumed.clear()

    def next_ready(self) -> Iterator[Connection]:
        """Yields the clients that are ready, each once; those not used stay first in line."""
        while self.ready and not self.paused:
            client = self.ready.popleft()
            if client.is_watched:
                yield client
