"""python -m harness talk: a client for lines that you type, where `nc` is missing.

Unlike `nc`, it shows what a terminal would obey, such as the bytes of an escape sequence, instead
of obeying it, and says where the server sent no line end.
"""

import argparse
import os
import select
import socket
import sys
import threading
from collections.abc import Iterator

from rich.console import Console

from harness.driving.messages import msg
from harness.driving.server import as_text
from harness.verdicts import language
from harness.verdicts.formats.render import clean
from harness.verdicts.language import LANGUAGES, say

AT_ONCE = 65536  # bytes of one read
PAUSE = 0.3  # seconds without a byte after which the beginning of a line is shown
LONGEST = 4096  # bytes of a line that are kept until its end comes
CONNECTING = 10  # seconds
screen = Console(highlight=False, markup=False, soft_wrap=True)


def address(text: str) -> tuple[str, int]:
    """Return (host, port) of HOST:PORT. Raises argparse.ArgumentTypeError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        example = "127.0.0.1:7000"
        raise argparse.ArgumentTypeError(f"{clean(text)} is not an address like {example}")
    return host, int(port)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `harness talk` takes."""
    parser.add_argument(
        "address", type=address, metavar="HOST:PORT", help="as the server's first line shows it"
    )
    parser.add_argument("--lang", choices=LANGUAGES, help="of what is shown beside the lines")


def main(options: argparse.Namespace) -> int:
    """Return the exit status: 0 when the server has closed the connection, 2 if there is none."""
    language.choose(options.lang)
    try:
        connection = socket.create_connection(options.address, CONNECTING)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        host, port = options.address
        why = getattr(error, "strerror", None) or str(error)
        print(f"talk: {clean(host)}:{port}: {clean(why)}", file=sys.stderr)
        return 2
    with connection:
        connection.settimeout(None)
        threading.Thread(target=send, args=(connection,), daemon=True).start()
        try:
            for line in heard(connection):
                screen.print(line)
            ending = msg("(the server closed the connection)")
        except ConnectionError:
            ending = msg("(the connection was reset)")
    print(say(ending), file=sys.stderr)
    return 0


def send(connection: socket.socket) -> None:
    """Send what is typed, as it is; at the end of the input, end the sending direction."""
    try:
        while data := os.read(0, AT_ONCE):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:  # the server has closed the connection, which the other thread sees
        pass


def heard(connection: socket.socket) -> Iterator[str]:
    """Yield each line from the server, in a form that is safe to show.

    A line that does not end is shown after a pause, in parts. Raises ConnectionError.
    """
    rest = b""
    while True:
        is_quiet = not select.select([connection], [], [], PAUSE if rest else None)[0]
        data = b"" if is_quiet else connection.recv(AT_ONCE)
        *lines, rest = (rest + data).split(b"\n")
        yield from (clean(as_text(line)) for line in lines)
        if rest and (is_quiet or not data or len(rest) > LONGEST):
            yield say("{line} (no line end)", line=clean(as_text(rest)))
            rest = b""
        if not (is_quiet or data):
            return
