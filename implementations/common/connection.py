"""One connected client as a server sees it: its socket, its Session, its Outbox."""

from __future__ import annotations

import socket
from collections.abc import Callable

from .client_state import OWNER, Client
from .console import OwnerOutbox, Stdin
from .outbox import Outbox
from .requests import Request
from .session import OwnerSession, RequestQueue, Session
from .trace import traced


class Connection(Client):
    """A client, or the owner; the Room knows only the Client in it."""

    session: RequestQueue
    outbox: Outbox
    recv: Callable[[int], bytes]  # reads from it
    source: socket.socket | Stdin | int  # is readable when there is something to read
    is_watched = False  # the server waits for `source`
    eof = False  # nothing more will come from it
    is_owner = False

    @property
    def is_stranger(self) -> bool:
        """Whether it is not the owner, not a member yet, or not any more."""
        return self.over or not (self.name or self.is_owner)


class ClientConnection(Connection):
    """A client on the wire."""

    session: Session

    def __init__(self, sock: socket.socket, address: str, now: float) -> None:
        super().__init__(address, now)
        self.sock = self.source = sock
        self.session = Session()
        self.outbox = Outbox(self, sock, now)
        self.recv = traced("recv", sock.recv, address)
        # Slow: see Session.check_password().
        self.check_password: Callable[[str], list[Request]] = traced(
            "hash", self.session.check_password, address
        )


class OwnerConnection(Connection):
    """The owner at the console."""

    session: OwnerSession
    is_owner = True

    def __init__(self, now: float) -> None:
        super().__init__("console", now)
        self.state = OWNER
        self.source = stdin = Stdin()
        self.session = OwnerSession()
        self.outbox = OwnerOutbox(self, now)
        self.recv = traced("recv", stdin.recv, self.address)
