"""What happened in one run, on one clock: who sent, heard, typed and wrote what. Checks judge it, reports tell it."""
import json
import threading
import time
from typing import NamedTuple

from harness.driving.messages import joined, msg, template


class Entry(NamedTuple):
    """`at`: seconds since the record began. `who`: a client's name, `owner` or `server`. `what`: one of WHATS. `text`: of that."""
    at: float
    who: str
    what: str
    text: str


# A client's: connects, sends (a piece as it went out, with its LFs), hears (a line without its LF), torn (a last line that
# the end cut off), ended (end of file was read), reset (by the server), and his own: shuts (no more will be sent), resets, closes.
# The owner's: types (an order). The server's: starts, shows (a line on stdout), warns (a line on stderr), signal, exits.
DEEDS = {template("connects"), template("sends"), template("shuts"), template("resets"), template("closes"), template("types"),
         template("starts"), template("signal")}
SEEN = {template("hears"), template("torn"), template("ended"), template("reset"), template("shows"), template("warns"), template("exits")}
WHATS = DEEDS | SEEN


class Record:
    """Entries in the order in which they were seen. Any thread may add."""

    def __init__(self):
        self.began = time.monotonic()
        self.entries = []
        self.names = {}                     # how often a name was given out
        self.clients = []                   # each wire.WireClient that was connected in this run
        self.addresses = {}                 # {a client's own address, as HOST:PORT: its name in this record}
        self.lock = threading.Lock()        # guards the two above

    def clock(self):
        """Seconds since it began: the `at` of an entry that would be added now."""
        return time.monotonic() - self.began

    def name(self, wanted):
        """A name that no other connection of this record has: ana, then ana#2."""
        wanted = wanted or "client"
        with self.lock:
            self.names[wanted] = count = self.names.get(wanted, 0) + 1
        return wanted if count == 1 else f"{wanted}#{count}"

    def connected(self, who, sock):
        """Notes the address of this client's own end, by which a server knows it. `sock`: its socket."""
        host, port, *_ = sock.getsockname()
        self.addresses[f"[{host}]:{port}" if ":" in host else f"{host}:{port}"] = who

    def add(self, who, what, text="", at=None):
        """Bytes that are not UTF-8 become surrogates, which save() writes and load() reads back. `at`: when it was, if not now."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        with self.lock:
            self.entries.append(Entry(self.clock() if at is None else at, who, what, text))

    def save(self, path):
        """Writes all entries, a JSON array in each line: [at, who, what, text]."""
        with self.lock, open(path, "w", encoding="ascii") as file:
            file.writelines(json.dumps([round(entry.at, 6), *entry[1:]]) + "\n" for entry in self.entries)


def load(path):
    """The entries that save() wrote."""
    with open(path, encoding="ascii") as file:
        return [Entry(*json.loads(line)) for line in file]


class Unmet(AssertionError):
    """Something that must hold does not. `expected` and `came`: for people, in full; `sentence`: the id of the sentence in the
    catalogue that explains it, if that is known; `evidence`: the entries of the record that show it. `proven`: it is certain
    however busy the machine is, which evidence always is. `who`: the client that it is about, by its name in the record;
    `silent`: the seconds for which nothing came, if that is the whole problem."""

    def __init__(self, expected, came, sentence=None, evidence=(), proven=False, who=None, silent=None):
        super().__init__(f"expected {expected}; {came}")
        self.who, self.silent = who, silent
        self.expected, self.came, self.sentence, self.evidence, self.proven = expected, came, sentence, list(evidence), proven or bool(evidence)


def same(came, expected, sentence=None, evidence=()):
    """Raises Unmet, with the first difference marked, if two values are not equal: texts, or lists of lines."""
    if came != expected:
        raise Unmet(shown(expected), difference(came, expected), sentence, evidence)


def shown(value):
    """A text, or a list of lines, as one text."""
    return (joined(value) if value else msg("(nothing)")) if isinstance(value, list) else value if isinstance(value, str) else str(value)


def difference(came, expected):
    """What came, and under its first line that differs a mark below the first character that does."""
    here, there = (value if isinstance(value, list) else str(value).split("\n") for value in (came, expected))
    found = []
    for number in range(max(len(here), len(there))):
        one, other = (side[number] if number < len(side) else None for side in (here, there))
        if one is not None:
            found.append(one)
        if one != other:
            if one is None:
                found.append(msg("^ nothing more came"))
            elif other is None:
                found.append(msg("^ no more was expected"))
            else:
                place = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
                found.append(" " * place + "^")
            found += here[number + 1:]
            break
    return joined(found)
