"""A record of one run, on one clock: each line sent, heard, typed and written, and by which client.

Checks judge a record, and reports show it.
"""

import json
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from harness.driving.messages import joined, msg, template


class Entry(NamedTuple):
    """One thing that happened.

    `at`: seconds since the record began. `who`: a client's name, `owner` or `server`. `what`: one
    of WHATS. `text`: the bytes or the line that it is about, or "".
    """

    at: float
    who: str
    what: str
    text: str


# A client: connects, sends (a piece of bytes, with its LFs), hears (a line without its LF), torn
# (the end of the connection cut a line), ended (end of file was read), reset (by the server),
# shuts (closes its sending side), resets, closes. The owner: types (an order). The server: starts,
# shows (a line on stdout), warns (a line on stderr), signal, exits; stops and goes (all of its
# processes, by SIGSTOP and SIGCONT); waits (nobody sends anything for so many seconds). A random
# dialogue also says that a client is narrow: the buffers of its connection are small.
DEEDS = {
    template("connects"),
    template("sends"),
    template("shuts"),
    template("resets"),
    template("closes"),
    template("narrow"),
    template("types"),
    template("starts"),
    template("signal"),
    template("stops"),
    template("goes"),
    template("waits"),
}
SEEN = {
    "hears",
    template("torn"),
    template("ended"),
    template("reset"),
    template("shows"),
    template("warns"),
    template("exits"),
}
WHATS = DEEDS | SEEN


class Record:
    """Entries in the order in which the harness saw them. Any thread may add some.

    `clients` is each WireClient of this run. `addresses` maps a client's own address, HOST:PORT,
    to its name in this record.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.entries: list[Entry] = []
        self.names: dict[str, int] = {}  # how many connections asked for each name
        self.clients: list[Any] = []
        self.addresses: dict[str, str] = {}
        self.lock = threading.Lock()  # guards `entries` and `names`

    def clock(self) -> float:
        """Return the seconds since the record began."""
        return time.monotonic() - self.began

    def name(self, wanted: str) -> str:
        """Return a name that no other connection of this record has: ana, then ana#2."""
        wanted = wanted or "client"
        with self.lock:
            self.names[wanted] = count = self.names.get(wanted, 0) + 1
        return wanted if count == 1 else f"{wanted}#{count}"

    def connected(self, who: str, sock: socket.socket) -> None:
        """Note the address of this client's end of the connection, by which a server names it."""
        host, port, *_ = sock.getsockname()
        self.addresses[f"[{host}]:{port}" if ":" in host else f"{host}:{port}"] = who

    def add(self, who: str, what: str, text: str | bytes = "", at: float | None = None) -> None:
        """Add an entry. `at`: seconds since the record began, by default now.

        Bytes that are not UTF-8 become surrogates, which save() writes and load() reads back.
        """
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        with self.lock:
            self.entries.append(Entry(self.clock() if at is None else at, who, what, text))

    def save(self, path: str | Path) -> None:
        """Write all entries, each as one line: a JSON array of its four values. Raises OSError."""
        with self.lock, open(path, "w", encoding="ascii") as file:
            file.writelines(
                json.dumps([round(entry.at, 6), *entry[1:]]) + "\n" for entry in self.entries
            )


def load(path: str | Path) -> list[Entry]:
    """Return the entries that save() wrote. Raises OSError or ValueError."""
    with open(path, encoding="ascii") as file:
        return [Entry(*json.loads(line)) for line in file]


class CheckFailed(AssertionError):
    """A condition that must hold does not.

    `expected` and `actual` say so in full, for people. `sentence` is the id of the sentence in the
    catalogue that explains it, or None. `evidence` holds the entries of the record that show it.
    `proven` means that no busy machine could have caused it; evidence always proves. `who` is the
    name of the client that it is about. `silent` are the seconds without a byte, if silence is the
    whole problem. `order` is the order of steps that shows it, as in the verdict's Failure.
    """

    def __init__(
        self,
        expected: str,
        actual: str,
        sentence: str | None = None,
        evidence: Iterable[Entry] = (),
        proven: bool = False,
        who: str | None = None,
        silent: float | None = None,
        order: Iterable[list[Any]] = (),
    ):
        super().__init__(f"expected {expected}; {actual}")
        self.expected, self.actual, self.sentence = expected, actual, sentence
        self.evidence = list(evidence)
        self.proven = proven or bool(self.evidence)
        self.who, self.silent = who, silent
        self.order = list(order)


def same(
    actual: Any, expected: Any, sentence: str | None = None, evidence: Iterable[Entry] = ()
) -> None:
    """Raise CheckFailed, with a mark below the first difference, if the two values are not equal.

    Each value is a text or a list of lines.
    """
    if actual != expected:
        raise CheckFailed(shown(expected), difference(actual, expected), sentence, evidence)


def shown(value: Any) -> str:
    """Return a text, or a list of lines, as one text."""
    if isinstance(value, list):
        return joined(value) if value else msg("(nothing)")
    return value if isinstance(value, str) else str(value)


def difference(actual: Any, expected: Any) -> str:
    """Return what came, with a mark below the first character that differs from `expected`.

    Each value is a text or a list of lines.
    """
    actual, wanted = (
        value if isinstance(value, list) else str(value).split("\n") for value in (actual, expected)
    )
    lines = []
    for number in range(max(len(actual), len(wanted))):
        here = actual[number] if number < len(actual) else None
        there = wanted[number] if number < len(wanted) else None
        if here is not None:
            lines.append(here)
        if here == there:
            continue
        if here is None:
            lines.append(msg("^ nothing more came"))
        elif there is None:
            lines.append(msg("^ no more was expected"))
        else:
            pairs = enumerate(zip(here, there, strict=False))
            place = next((i for i, (a, b) in pairs if a != b), min(len(here), len(there)))
            lines.append(" " * place + "^")
        lines += actual[number + 1 :]
        break
    return joined(lines)
