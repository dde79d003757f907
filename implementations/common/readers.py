"""What an event loop waits for, and which client it reads next: each in its turn.

While there is backpressure, it reads from no client but the owner. Of the strangers it reads only a
few in one turn: hundreds of them, all flooding, cost the members little.
"""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from .requests import count
from .trace import traced

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

    from .connection import Connection
    from .requests import Request


STRANGERS = 16  # that are read in one turn at most, also of clients whose conversation is over


class Readers:
    """The clients of an event loop that are to be read, and its other sources."""

    def __init__(self, pause_after: Callable[[Connection, list[Request]], float]) -> None:
        """pause_after(client, requests): for how many seconds not to read it, after these."""
        self.pause_after = pause_after
        self.rationed: dict[Connection, tuple[float, bool]] = {}  # until when; see resume_reading()
        self.sources = selectors.DefaultSelector()  # what is served during backpressure, too
        self.all = selectors.DefaultSelector()  # and the clients: one system call waits for all
        self.select_all = traced("wait", self.all.select)
        self.select_sources = traced("wait", self.sources.select, "crowded")
        self.ready: deque[Connection] = deque()  # members readable in this round, not read yet
        self.strangers: dict[Connection, None] = {}  # readable, in the order in which they came
        self.resumed: list[Connection] = []  # have lines that were read and not handled yet
        self.owner: Connection | None = None  # it is ready: its orders wait for nobody
        self.paused = False
        self.strangers_left = STRANGERS  # in this turn

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
        if client in self.rationed:  # not yet
            until, had_lines = self.rationed[client]
            self.rationed[client] = until, has_lines or had_lines
            return
        if not client.is_watched and not client.eof:
            client.is_watched = True
            for selector in self.selectors_of(client):
                selector.register(client.source, selectors.EVENT_READ, client)
        if has_lines and client.is_owner:
            self.owner = client
        elif has_lines:
            self.resumed.append(client)

    def pause_reading(self, client: Connection) -> None:
        """Leaves in the kernel what the client sends."""
        if client.is_watched:
            client.is_watched = False
            for selector in self.selectors_of(client):
                selector.unregister(client.source)

    def ration(self, client: Connection, until: float) -> None:
        """Leaves in the kernel what the client sends, until that time."""
        self.pause_reading(client)
        self.rationed[client] = until, False

    def end_rations(self, now: float) -> None:
        """Goes on with the clients whose time has come."""
        for client, (until, has_lines) in list(self.rationed.items()):
            if now >= until:
                del self.rationed[client]
                self.resume_reading(client, has_lines)

    def selectors_of(self, client: Connection) -> list[selectors.BaseSelector]:
        """Returns the selectors that wait for a client."""
        return [self.sources, self.all] if client.is_owner else [self.all]

    def pause_all(self, backpressure: bool) -> None:
        """While there is backpressure, reads from no client but the owner: slow ones catch up."""
        self.paused = backpressure

    def wait(self, seconds: float) -> None:
        """Waits until something is readable, but no longer than that.

        Calls what add_source() was given. When the last round is over, starts the next one.
        """
        if self.rationed:
            now = monotonic()
            self.end_rations(now)
            seconds = min([seconds, *(until - now for until, _ in self.rationed.values())])
        in_line = self.ready or self.strangers or self.resumed
        has_ready = self.owner or (in_line and not self.paused)
        readable = []
        select = self.select_sources if self.paused else self.select_all
        for key, _ in select(0 if has_ready else seconds):
            if callable(key.data):
                key.data()
            elif key.data and key.data.is_owner:
                self.owner = key.data
            elif key.data:
                readable.append(key.data)
        if not self.ready and not self.paused:  # so everyone's turn comes before anyone's second
            for client in dict.fromkeys(self.resumed + readable):
                if client.is_stranger:
                    self.strangers[client] = None
                else:
                    self.ready.append(client)
            self.resumed.clear()

    def read_ready(
        self, read_from: Callable[[Connection], list[Request]], limit: int
    ) -> list[tuple[Connection, list[Request]]]:
        """Reads from the clients that are ready, until there are `limit` requests.

        Returns (client, its requests) of each. Those not read stay first in line.
        """
        batch, size = [], 0
        self.strangers_left = STRANGERS
        while size < limit and (client := self.next_client()):
            if client.is_watched:
                requests = read_from(client)
                batch.append((client, requests))
                size += count(requests)
                if pause := self.pause_after(client, requests):
                    self.ration(client, monotonic() + pause)
        return batch

    def next_client(self) -> Connection | None:
        """Returns the client to read next; None if there is none.

        First the owner, then STRANGERS strangers, so that a flood of neither strangers nor members
        keeps the others out, then the members. A client is in line once, until it has been read.
        """
        if self.owner:
            owner, self.owner = self.owner, None
            return owner
        if self.paused:
            return None
        if self.strangers and self.strangers_left:
            self.strangers_left -= 1
            stranger = next(iter(self.strangers))
            del self.strangers[stranger]
            return stranger
        return self.ready.popleft() if self.ready else None

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
