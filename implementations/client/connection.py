"""A Conversation on non-blocking sockets. The program that drives it does the waiting.

A turn of that program is: call connect_if_due(); wait for the sockets of waits_for(), and call
on_ready() for each that is ready; call flush(); display the items that conversation.take_items()
returns.
"""

import errno
import os
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic

from .arguments import AddressInfo
from .conversation import Conversation

TICK = 0.25  # seconds between two turns at most; a pause or a time-out may end this much late
NEXT_ADDRESS_AFTER = 0.25  # seconds, as RFC 8305 recommends; the next turn tries the address
READ_SIZE = 65536  # bytes


class Connection:
    """The socket of a conversation. It never blocks and raises nothing.

    A server may have several addresses, and some may be silent. So the client connects as RFC 8305
    ("Happy Eyeballs") says: an address that has not answered soon does not keep the next one
    waiting, and the first that answers is used. asyncio's version of this does not fit: the console
    has no asyncio loop, because stdin may be a regular file.

    Attributes:
        conversation: the core that it serves.
        sock: the socket that is connected; None if there is none.
    """

    def __init__(self, infos: Sequence[AddressInfo], conversation: Conversation) -> None:
        """Prepare connections to the first address in `infos` that answers; see resolve()."""
        self.conversation = conversation
        self.sock: socket.socket | None = None
        self._infos = alternate_families(infos)
        self._untried: deque[AddressInfo] = deque()
        self._attempts: dict[socket.socket, AddressInfo] = {}  # being connected
        self._next_attempt_at = 0.0
        self._failure = ""  # of the last attempt
        self._unproven: AddressInfo | None = None  # the address of `sock`, until a server answers

    def waits_for(self) -> Iterator[tuple[socket.socket, int]]:
        """Yield each socket to wait for, and the selector events to wait for."""
        for sock in self._attempts:
            yield sock, EVENT_WRITE
        if self.sock:
            yield self.sock, EVENT_READ | (EVENT_WRITE if self.conversation.outgoing else 0)

    def connect_if_due(self) -> None:
        """Start an attempt to connect, if the conversation wants one or an address is silent."""
        now = monotonic()
        if self.conversation.wants_connection(now):
            self.conversation.connection_started(now)
            self.close()
            self._untried.extend(self._infos)
            self._failure = "no address"
            self._try_next()
        elif self._attempts and self._untried and now >= self._next_attempt_at:
            self._try_next()

    def _try_next(self) -> None:
        """Try the next address, and the ones after it if it fails at once."""
        while self._untried:
            info = self._untried.popleft()
            try:
                sock = start_connecting(info)
            except OSError as error:  # this machine may lack IPv6
                self._failure = os.strerror(error.errno or errno.EINVAL)
                continue
            self._attempts[sock] = info
            self._next_attempt_at = monotonic() + NEXT_ADDRESS_AFTER
            return
        if not self._attempts:
            self.conversation.connection_lost(self._failure, monotonic())

    def on_ready(self, sock: socket.socket) -> None:
        """Finish connecting, or read. Call this when a socket of waits_for() is ready."""
        if sock is self.sock:
            self._read(sock)
        elif info := self._attempts.pop(sock, None):  # None: another address was quicker
            if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._close_socket(sock)
                self._failure = os.strerror(code)
                self._try_next()
            else:
                self._close_attempts()
                self.sock, self._unproven = sock, info

    def _read(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(READ_SIZE)
        except BlockingIOError:  # only writable
            return
        except OSError:  # a reset
            data = b""
        if not data:
            self.conversation.connection_lost("", monotonic())
            return
        self.conversation.receive(data, monotonic())
        if self._unproven and self.conversation.progress.got_hello:
            # The next connection begins with the address that worked
            self._infos.remove(self._unproven)
            self._infos.insert(0, self._unproven)
            self._unproven = None

    def flush(self) -> None:
        """Handle time-outs, then send as many bytes as the socket takes."""
        self.conversation.tick(monotonic())
        outgoing = self.conversation.outgoing
        if not self.conversation.is_connected:
            self.close()
        elif self.sock and outgoing:
            try:
                del outgoing[: self.sock.send(outgoing)]
            except OSError:
                # Full, or broken. If broken, reading reports it, after the server's last lines
                pass

    def close(self) -> None:
        """Close all sockets."""
        self._close_attempts()
        if self.sock:
            self._close_socket(self.sock)
        self.sock = self._unproven = None

    def _close_attempts(self) -> None:
        self._untried.clear()
        while self._attempts:
            self._close_socket(self._attempts.popitem()[0])

    def _close_socket(self, sock: socket.socket) -> None:
        sock.close()


def alternate_families(infos: Iterable[AddressInfo]) -> list[AddressInfo]:
    """Return the addresses in turns of IPv6 and IPv4, the family of the first one first.

    So a network that loses all packets of one family costs one delay (RFC 8305, section 4).
    """
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    return [info for turn in zip_longest(*families.values()) for info in turn if info]


def start_connecting(info: AddressInfo) -> socket.socket:
    """Return a non-blocking socket that begins to connect. Raises OSError if it fails at once."""
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(code, os.strerror(code))
    return sock
