"""Accepts connections, even when the machine has run out of something.

Then the new connection is refused, the others continue, and nothing spins.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import socket
import time
from collections.abc import Iterator
from typing import Any

from .trace import traced

RESERVED_DESCRIPTORS = 8  # for the server's own files
ACCEPT_BATCH = 8  # connections in one turn of a loop: together, but the others need not wait long
PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")  # an interface's; Linux also allows bytes of any kind


class Acceptor:
    """The listening socket."""

    def __init__(self, listener: socket.socket, options: argparse.Namespace) -> None:
        self.listener = listener
        self.sndbuf: int = options.sndbuf  # bytes of the kernel's send buffer
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.descriptor_limit = limit - RESERVED_DESCRIPTORS
        self.spare = open_spare()  # given up for a moment when no other is left; -1: we have none
        self.accept_connection = traced("accept", listener.accept)

    def accept_batch(self) -> Iterator[tuple[socket.socket, str]]:
        """Yields the connections that wait. The listener is non-blocking, for an event loop."""
        for _ in range(ACCEPT_BATCH):
            accepted = self.accept()
            if not accepted:
                return
            yield accepted

    def accept(self) -> tuple[socket.socket, str] | None:
        """Returns a new (socket, address as text); None if there was none, or it was refused."""
        try:
            sock, address = self.accept_connection()
        except (BlockingIOError, ConnectionAbortedError, TimeoutError):
            return None
        except OSError:  # such as EMFILE
            self.refuse_one()
            return None
        if sock.fileno() >= self.descriptor_limit:  # the lowest free one: so nearly all are in use
            refuse_connection(sock)
            return None
        self.reopen_spare()
        sock.setblocking(False)  # a reader waits for readiness first; a sender never waits
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.sndbuf)
        return sock, address_text(address)

    def refuse_one(self) -> None:
        """No descriptor is left: accepts one connection with the spare one, to close it."""
        if self.spare >= 0:
            os.close(self.spare)
        try:
            sock, _ = self.listener.accept()
            refuse_connection(sock)
        except OSError:
            time.sleep(0.01)  # seconds: the connection waits, but at least we do not spin
        finally:
            self.spare = -1
            self.reopen_spare()

    def reopen_spare(self) -> None:
        """Opens the spare descriptor again, if it was given up, or lost to another thread."""
        if self.spare < 0:
            self.spare = open_spare()


def open_spare() -> int:
    """Returns a descriptor that is used for nothing; -1 if none is left."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def refuse_connection(sock: socket.socket) -> None:
    """Says BYE full to a new connection, and closes it.

    If the client had sent something, it may see a reset instead of the BYE.
    """
    try:
        sock.send(b"BYE full\n", socket.MSG_DONTWAIT)
    except OSError:
        pass
    sock.close()


def address_text(address: tuple[Any, ...]) -> str:
    """Returns a socket address as HOST:PORT, or [HOST]:PORT for IPv6.

    Nobody can connect to a link-local address without its zone, so that is shown, too:
    [fe80::1%eth0]:7000 (RFC 4007, section 11).
    """
    host, port, *more = address
    if len(more) == 2 and more[1]:  # flow and zone
        host += f"%{zone_text(more[1])}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def zone_text(zone: int) -> str:
    """Returns the name of a network interface; its number if it has no name, or an odd one."""
    try:
        name = socket.if_indextoname(zone)
    except OSError:  # it is gone
        name = ""
    return name if PLAIN_NAME.fullmatch(name) else str(zone)
