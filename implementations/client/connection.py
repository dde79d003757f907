"""A Conversation on a socket and in the groups file. It never waits: whoever drives it, the console or a window, does.

A turn is: connect() if it is wanted, wait until wanted() is ready and then call ready(), turn(), show what take() gives, keep().
"""
import errno
import os
import socket
from datetime import datetime
from time import monotonic

from ..common import wire
from .groups import Group, Trouble

TICK = 0.25         # seconds; how late a pause or a time-out may end
KEEP_AFTER = 3      # seconds between two changes of the groups file; after kill -9 so much is shown again


class Connection:
    def __init__(self, place, addresses, conversation, groups):
        """place: HOST:PORT as kept in `groups`, a Groups; addresses: what getaddrinfo said of it."""
        self.place, self.addresses, self.groups = place, addresses, groups
        self.conversation = conversation
        self.untried = []               # addresses, while connecting
        self.sock, self.is_open = None, False
        self.kept, self.keep_at, self.complained = None, 0, False

    def wanted(self):
        """Whether there is something to read; whether there is something to write."""
        return self.sock is not None, self.sock is not None and (not self.is_open or bool(self.conversation.outgoing))

    def connect(self):
        if self.conversation.wants_connection(monotonic()):
            self.conversation.connecting(monotonic())
            self.untried = list(self.addresses)
            self.try_next("no address")

    def try_next(self, why):
        self.hang_up()
        while self.untried and not self.sock:
            family, kind, protocol, _, address = self.untried.pop(0)
            try:
                self.sock = socket.socket(family, kind, protocol)
                self.sock.setblocking(False)
                error = self.sock.connect_ex(address)
            except OSError as trouble:                      # this machine may lack IPv6
                error = trouble.errno
            if error not in (0, errno.EINPROGRESS):
                why = os.strerror(error)
                self.hang_up()
        if not self.sock:
            self.conversation.lost(why, monotonic())

    def ready(self):
        """The socket is ready for one of the two that are wanted."""
        if not self.is_open:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.is_open = error == 0
            return None if self.is_open else self.try_next(os.strerror(error))
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:                             # it was ready for writing
            return None
        except OSError:                                     # a reset
            data = b""
        if data:
            self.conversation.receive(data, monotonic())
        else:
            self.conversation.lost("", monotonic())

    def turn(self):
        """What time alone causes; then sends what there is to send."""
        self.conversation.tick(monotonic())
        if self.sock and not self.conversation.is_connected:
            self.hang_up()
        elif self.is_open and self.conversation.outgoing:
            try:
                del self.conversation.outgoing[:self.sock.send(self.conversation.outgoing)]
            except OSError:             # not now; or never again, and then reading says so, after the server's last words
                pass

    def hang_up(self):
        if self.sock:
            self.sock.close()
        self.sock, self.is_open = None, False

    def keep(self):
        """In the groups file: at WELCOME, then every few seconds if there is something new, and at the end.

        Returns "", or once, in one line, why it cannot be kept.
        """
        conversation, is_over = self.conversation, self.conversation.state == "over"
        if not conversation.was_in:
            return ""
        group = Group(self.place, conversation.name, conversation.group, conversation.last)
        try:
            if is_over and conversation.code in ("left", "deleted"):
                self.groups.forget(self.kept or group)
            elif group != self.kept and (is_over or monotonic() >= self.keep_at):
                self.keep_at = monotonic() + KEEP_AFTER
                self.groups.keep(group, formerly=self.kept)
                self.kept = group
        except (Trouble, OSError) as trouble:
            first, self.complained = not self.complained, True
            return f"not kept: {explain(trouble)}" if first else ""
        return ""


# -- What a user gives ---------------------------------------------------------------------------------------------------------

def check_place(text):
    """HOST:PORT as it is kept. Raises Trouble."""
    host, colon, port = text.lower().rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or ":" in host and bare == host or not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise Trouble(f"{wire.harmless(text)} is not like 127.0.0.1:7000 or [::1]:7000")
    return f"{host}:{int(port)}"


def check_name(text):
    """A name as it is shown. Raises Trouble."""
    clean = wire.clean_name(text)
    if clean is None:
        raise Trouble(f"{wire.harmless(text)}: a name is 1 to 32 letters, digits, or . _ -")
    return clean


def check_password(text):
    """Raises Trouble, which does not show it."""
    if not (wire.is_permitted(text) and wire.is_text(text, wire.MAX_PASSWORD)):
        raise Trouble(f"a password has 1 to {wire.MAX_PASSWORD} bytes of plain UTF-8 text")
    return text


def resolve(place):
    """getaddrinfo's answers; this may take seconds. Raises OSError, Trouble."""
    host, _, port = place.rpartition(":")
    try:
        return socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise Trouble(f"{place}: {getattr(error, 'strerror', None) or 'not a host'}") from None


# -- What a user is shown ------------------------------------------------------------------------------------------------------

def local_time(time):
    """A time of the wire here; 1970 if it is one that no calendar has."""
    try:
        return datetime.fromisoformat(time).astimezone()
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0)


def explain(trouble):
    """One line for the user: an OSError without its number, but with its file."""
    if isinstance(trouble, OSError) and trouble.strerror:
        trouble = f"{trouble.filename}: {trouble.strerror}" if trouble.filename else trouble.strerror
    return wire.harmless(str(trouble))
