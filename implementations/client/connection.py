"""A Conversation on a non-blocking socket. The program that drives it does the waiting.

A turn of that program is: call connect_if_due(); wait until the socket is readable or writable, as
wants_read and wants_write say, and then call on_ready(); call flush(); display the items that
conversation.take_items() returns.
"""

import errno
import os
import socket
from collections.abc import Sequence
from time import monotonic

from .arguments import AddressInfo
from .conversation import Conversation

TICK = 0.25  # seconds between two turns at most; a pause or a time-out may end this much late
READ_SIZE = 65536  # bytes


class Connection:
    """The socket of a conversation. It never blocks and raises nothing.

    Attributes:
        conversation: the core that it serves.
        sock: the socket; None if there is none.
    """

    def __init__(self, infos: Sequence[AddressInfo], conversation: Conversation) -> None:
        """Prepare connections to the first address in `infos` that answers; see resolve()."""
        self.conversation = conversation
        self.sock: socket.socket | None = None
        self._infos = list(infos)
        self._untried: list[AddressInfo] = []  # while connecting
        self._is_open = False  # the socket is connected

    @property
    def wants_read(self) -> bool:
        """Whether to call on_ready() when the socket is readable."""
        return self.sock is not None

    @property
    def wants_write(self) -> bool:
        """Whether to call on_ready() when the socket is writable."""
        return self.sock is not None and (not self._is_open or bool(self.conversation.outgoing))

    def connect_if_due(self) -> None:
        """Start an attempt to connect, if the conversation wants one now."""
        if self.conversation.wants_connection(monotonic()):
            self.conversation.connection_started(monotonic())
            self._untried = list(self._infos)
            self._try_next("no address")

    def _try_next(self, reason: str) -> None:
        """Try the addresses that are left; `reason` says why the last one failed."""
        self.close()
        while self._untried and not self.sock:
            family, kind, protocol, _, address = self._untried.pop(0)
            try:
                self.sock = socket.socket(family, kind, protocol)
                self.sock.setblocking(False)
                code = self.sock.connect_ex(address)
            except OSError as error:  # this machine may lack IPv6
                code = error.errno or errno.EINVAL
            if code not in (0, errno.EINPROGRESS):
                reason = os.strerror(code)
                self.close()
        if not self.sock:
            self.conversation.connection_lost(reason, monotonic())

    def on_ready(self) -> None:
        """Finish connecting, or read. Call this when the socket is readable or writable."""
        if self.sock is None:
            return
        if not self._is_open:
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._is_open = code == 0
            if code:
                self._try_next(os.strerror(code))
            return
        try:
            data = self.sock.recv(READ_SIZE)
        except BlockingIOError:  # only writable
            return
        except OSError:  # a reset
            data = b""
        if data:
            self.conversation.receive(data, monotonic())
        else:
            self.conversation.connection_lost("", monotonic())

    def flush(self) -> None:
        """Handle time-outs, then send as many bytes as the socket takes."""
        self.conversation.tick(monotonic())
        outgoing = self.conversation.outgoing
        if self.sock and not self.conversation.is_connected:
            self.close()
        elif self.sock and self._is_open and outgoing:
            try:
                del outgoing[: self.sock.send(outgoing)]
            except OSError:
                # Full, or broken. If broken, reading reports it, after the server's last lines
                pass

    def close(self) -> None:
        """Close the socket, if there is one."""
        if self.sock:
            self.sock.close()
        self.sock, self._is_open = None, False
