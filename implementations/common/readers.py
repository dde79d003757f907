"""What an event loop waits for, and which client it reads next: each in its turn.

While there is backpressure, it reads from no client.
"""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from .requests import count
from .trace import traced

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

    from .connection import Connection
    from .requests import Request


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

    def read_ready(
        self, read_from: Callable[[Connection], list[Request]], limit: int
    ) -> list[tuple[Connection, list[Request]]]:
        """Reads from the clients that are ready, until there are `limit` requests.

        Returns (client, its requests) of each. Those not read stay first in line.
        """
        batch, size = [], 0
        while self.ready and not self.paused and size < limit:
            client = self.ready.popleft()
            if client.is_watched:
                requests = read_from(client)
                batch.append((client, requests))
                size += count(requests)
        return batch

    def receive(self, client: Connection, size: int) -> list[Request]:
        """Returns the client's next requests, by one recv, which does not wait: it is readable.

        At its end, client.eof becomes true.
        """
        session = client.session
        if session.awaiting_reply and not client.over:
            self.pause_reading(client)  # its data stays in the kernel until the reply
            return []
        if session.unparsed and not client.over:
            return session.next_requests()  # lines that came together with that request
        try:
            data = client.recv(size)
        except BlockingIOError:  # nothing after all; or another job has the owner's terminal
            if client.is_owner:
                self.pause_reading(client)
            return []
        except OSError:
            data = b""  # a reset: an end like any other
        if not data:
            client.eof = True
            self.pause_reading(client)
        return [] if client.over else session.receive(data)
