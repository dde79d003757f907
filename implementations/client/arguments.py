"""Checks the user's input: an address, a name, a password."""

import argparse
import socket
from collections.abc import Callable, Sequence

from ..common import wire
from .errors import InputError

MAX_PORT = 65535

# An entry of the result of socket.getaddrinfo: family, type, protocol, canonical name, address
AddressInfo = tuple[
    socket.AddressFamily,
    socket.SocketKind,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
]


def check_address(text: str) -> str:
    """Return HOST:PORT in the form in which it is saved: in lower case, the port without zeros.

    An IPv6 address must be in brackets. The zone after its % is the name of a network interface,
    which keeps its case. Raises InputError.
    """
    host, _, port = text.rpartition(":")
    host, percent, zone = host.partition("%")
    host = host.lower() + percent + zone
    is_bracketed = host.startswith("[") and host.endswith("]")
    has_host = bool(host[1:-1]) if is_bracketed else bool(host) and ":" not in host
    if not has_host or not is_port(port) or int(port) == 0:
        example = "127.0.0.1:7000 or [::1]:7000"
        raise InputError(f"{wire.harmless(text)} is not an address like {example}")
    return f"{host}:{int(port)}"


def is_port(text: str) -> bool:
    """Return whether `text` is a number from 0 to 65535."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_PORT


def check_name(text: str) -> str:
    """Return a member's name as the server will display it. Raises InputError."""
    clean = wire.clean_name(text)
    if clean is None:
        raise InputError(f"{wire.harmless(text)}: a name is 1 to 32 letters, digits, or . _ -")
    return clean


def check_password(text: str) -> str:
    """Return a password unchanged. Raises InputError, which does not contain it."""
    if not (wire.is_permitted(text) and wire.is_text(text, wire.MAX_PASSWORD)):
        raise InputError(f"a password has 1 to {wire.MAX_PASSWORD} bytes of plain UTF-8 text")
    return text


def argument_type(check: Callable[[str], str]) -> Callable[[str], str]:
    """Return a check_...() function in the form that argparse takes as `type`."""

    def convert(text: str) -> str:
        try:
            return check(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def add_groups_option(parser: argparse.ArgumentParser) -> None:
    """Add --groups, which the client and the member's window have in common."""
    parser.add_argument(
        "--groups",
        metavar="FILE",
        help="file that remembers the groups you belong to (default: grupo/groups in the folder "
        "for your data, on Linux ~/.local/share)",
    )


def resolve(address: str) -> Sequence[AddressInfo]:
    """Return the socket addresses of HOST:PORT. This may take seconds.

    Raises InputError if there is no such host, and OSError.
    """
    host, _, port = address.rpartition(":")
    try:
        return socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise InputError(f"{address}: {reason}") from None
