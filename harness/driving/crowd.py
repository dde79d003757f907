"""A crowd: hundreds of clients in one thread, on one selector, in one record with one clock.

A Script says what a client does. The client sends it in turns: some lines and a PING in one piece.
The PONG starts the next turn, so no more than one turn is on its way. Nothing here waits for a time
to pass, only for what the server owes: at most deadlines.DEADLINE for each step.
"""

import contextlib
import itertools
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.driving import deadlines, processes
from harness.driving.messages import Message, joined, msg
from harness.driving.record import CheckFailed, Entry, Record

READ_SIZE = 65536  # bytes that a client reads at once
SMALL_MSS = 536  # bytes: small segments keep the server's send buffer for the client small, too
TCP_INFO_RETRANSMITTED = 100  # where struct tcp_info has tcpi_total_retrans

_tokens = itertools.count(1)


@dataclass
class Script:
    """What one client sends: `lines` without LF, `turn` of them at once; then what `then` says.

    stays    send a last fence, and go on listening
    quits    send QUIT, and read up to the end of the connection
    shuts    close the sending side at once, and read up to the end of the connection
    resets, closes    at once, without reading the rest
    """

    lines: list[str]
    turn: int = 4
    then: str = "stays"


class Person:
    """One client of a crowd. `who` is its name in the record, `lines` all that it heard.

    `awaited` is the line that starts its next turn, "" for the end of the connection, or None.
    """

    def __init__(self, crowd: "Crowd", name: str, sock: socket.socket, read_size: int):
        self.crowd, self.name, self.socket, self.read_size = crowd, name, sock, read_size
        self.who = crowd.record.name(name)
        self.lines: list[str] = []
        self.rest = b""  # received, without the end of its line
        self.out = b""  # to send
        self.turns: list[list[str]] = []
        self.then = "stays"
        self.awaited: str | None = None
        self.ended = self.was_reset = False

    def __repr__(self) -> str:
        return f"<{self.who} waits for {self.awaited!r}, last heard {self.lines[-3:]}>"

    # -- Sending

    def prepare(self, script: Script) -> None:
        """Cut a script into turns, so that only the sending is left to do."""
        lines, self.then = list(script.lines), script.then
        self.turns = [
            lines[start : start + script.turn] for start in range(0, len(lines), script.turn)
        ]
        if self.then == "stays" and not self.turns:
            self.turns = [[]]
        if self.then == "quits":
            self.turns = self.turns or [[]]
            self.turns[-1] = [*self.turns[-1], "QUIT"]
        self.next_turn()

    def next_turn(self) -> None:
        """Queue the lines of the next turn, with its fence if the client can read its PONG."""
        lines, self.awaited = (self.turns.pop(0) if self.turns else []), None
        if self.turns or self.then == "stays":
            token = f"fence-{next(_tokens)}"
            lines, self.awaited = [*lines, f"PING {token}"], f"PONG {token}"
        elif self.then in ("quits", "shuts"):
            self.awaited = ""
        self.out += "".join(line + "\n" for line in lines).encode()

    def send(self) -> None:
        """Send as much as the socket takes now."""
        if self.out and not self.ended:
            # The clock is read before the send. If the kernel runs another process in between, the
            # record must not show the line later than the moment at which the server answered it.
            at = self.crowd.record.clock()
            try:
                sent = self.socket.send(self.out)
            except BlockingIOError:
                sent = 0
            except OSError:  # the lines that came before are still due
                self.out = b""
                return self.crowd.watch(self)
            if sent:
                self.crowd.record.add(self.who, "sends", self.out[:sent], at)
                self.out = self.out[sent:]
        self.crowd.watch(self)
        if not self.out and not self.turns and self.then in ("shuts", "resets", "closes"):
            deed, self.then = self.then, "stays"
            getattr(self, deed)()

    def shuts(self) -> None:
        """Close the sending side."""
        self.crowd.record.add(self.who, "shuts")
        with contextlib.suppress(OSError):  # the server may have closed the connection first
            self.socket.shutdown(socket.SHUT_WR)

    def resets(self) -> None:
        """Close the connection with a TCP reset."""
        self.crowd.record.add(self.who, "resets")
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_gone()

    def closes(self) -> None:
        """Close the connection."""
        self.crowd.record.add(self.who, "closes")
        self.is_gone()

    # -- Receiving

    def receive(self) -> None:
        """Read once, and handle each line that is complete."""
        try:
            chunk = self.socket.recv(self.read_size)
        except BlockingIOError:
            return
        except OSError:
            chunk, self.was_reset = b"", True
        if not chunk:
            if self.rest:
                self.crowd.record.add(self.who, "torn", self.rest)
            self.crowd.record.add(self.who, "reset" if self.was_reset else "ended")
            return self.is_gone()
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        for line in lines:
            self.hear(line.decode("utf-8", "surrogateescape"))

    def hear(self, line: str) -> None:
        """Keep a line, answer it if it is a PING, and start the next turn if it was awaited."""
        self.lines.append(line)
        self.crowd.record.add(self.who, "hears", line)
        if line.startswith("PING "):
            self.out += f"PONG{line[4:]}\n".encode()
            self.send()
        if line == self.awaited or len(self.lines) == 1:
            self.crowd.progress = time.monotonic()
        if line == self.awaited:
            self.awaited = None
            if self.turns:
                self.next_turn()
                self.send()

    def is_gone(self) -> None:
        """Close the socket: the connection has ended."""
        self.crowd.progress = time.monotonic()
        self.ended, self.awaited, self.out, self.turns = True, None, b"", []
        self.crowd.unwatch(self)
        self.socket.close()

    def retransmitted(self) -> int:
        """Return how often this end sent something again; on one machine, the server was full."""
        if self.ended:
            return 0
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return struct.unpack_from("I", info, TCP_INFO_RETRANSMITTED)[0]

    def unread(self) -> int:
        """Return how many bytes of this client the server has not read; 0 if that is unknown."""
        return 0 if self.ended else processes.unread_of(self.socket)

    @property
    def is_done(self) -> bool:
        """Whether everything is sent and answered, or the connection has ended."""
        return self.ended or (self.awaited is None and not self.out and not self.turns)


class Crowd:
    """The clients of one server: crowd["ana"] is a Person. Use it with `with`, or close() it.

    `progress` is the time.monotonic() at which a client last got the line that it waited for.
    """

    def __init__(self, address: tuple[str, int], record: Record):
        self.address, self.record = address, record
        self.first = len(record.entries)  # where its own entries begin
        self.people: dict[str, Person] = {}
        self.selector = selectors.DefaultSelector()
        self.progress = time.monotonic()

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> Person:
        return self.people[name]

    def __iter__(self) -> Iterator[Person]:
        return iter(self.people.values())

    @property
    def entries(self) -> list[Entry]:
        """The entries of the record since this crowd was made."""
        return self.record.entries[self.first :]

    # -- Connecting

    def connect(
        self,
        names: Iterable[str],
        *,
        rcvbuf: int | None = None,
        mss: int | None = None,
        read_size: int = READ_SIZE,
    ) -> None:
        """Connect a client for each name, all at once, and wait for nothing.

        `rcvbuf` is the size of each receive buffer and `mss` that of the segments, in bytes. Small
        ones make the server's own buffer for a client fill soon. `read_size`: bytes that a client
        reads at once. Raises OSError if the server refuses.
        """
        names = list(names)
        for name in names:
            sock = socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET)
            if rcvbuf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            if mss:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self.people[name] = Person(self, name, sock, read_size)
        for name in names:  # a loop of its own, so that the connects follow each other closely
            person = self.people[name]
            self.record.add(person.who, "connects")
            person.socket.connect_ex(self.address)
            self.record.connected(person.who, person.socket)
            self.watch(person)

    def enter(self, names: Iterable[str], **options: Any) -> None:
        """Connect and join a client for each name; each has then heard all events so far.

        `options` are those of connect(). Raises CheckFailed or OSError.
        """
        names = list(names)
        self.connect(names, **options)
        self.play({name: Script([f"JOIN {name} secret-of-{name}"]) for name in names})

    # -- Playing

    def play(self, scripts: Mapping[str, Script]) -> None:
        """Run the script of each name, all at once, until all are done.

        The first pieces go out one after the other, and nothing is read before the last is out.
        Raises CheckFailed if no client makes progress for deadlines.DEADLINE.
        """
        people = [self.people[name] for name in scripts]
        self.start(scripts)
        self.until(lambda: all(person.is_done for person in people), people)

    def start(self, scripts: Mapping[str, Script]) -> None:
        """Send the first piece of each script, as play() does; until() must follow."""
        for name, script in scripts.items():
            self.people[name].prepare(script)
        for name in scripts:
            self.people[name].send()

    def fence(self) -> None:
        """Wait until each client that is still connected has heard all events so far."""
        self.play({name: Script([]) for name, person in self.people.items() if not person.ended})

    def until(
        self,
        condition: Callable[[], Any],
        people: Iterable[Person] | None = None,
        what: str | None = None,
    ) -> None:
        """Serve all sockets until the condition is true.

        Raises CheckFailed if no client makes progress for deadlines.DEADLINE. It is about `people`
        (by default all), and `what` is what it says was expected.
        """
        self.progress = time.monotonic()
        while not condition():
            self.serve(0.05)
            if time.monotonic() > self.progress + deadlines.DEADLINE:
                raise self.stuck(people or self.people.values(), what)

    def serve(self, seconds: float) -> None:
        """Send and read once where that is possible; wait at most so many seconds for it."""
        for key, events in self.selector.select(seconds):
            if events & selectors.EVENT_WRITE:
                key.data.send()
            if events & selectors.EVENT_READ:
                key.data.receive()

    def stuck(self, people: Iterable[Person], what: str | None) -> CheckFailed:
        """Return the CheckFailed of a crowd without progress.

        Its `unread` maps a client that heard nothing after HELLO to the bytes that the server has
        not read of it.
        """
        waiting = [person for person in people if not person.is_done]
        lines = [
            msg(
                "{who} waits for {awaited}; the last line it received: {line}",
                who=person.who,
                awaited=awaited_by(person),
                line=person.lines[-1] if person.lines else msg("nothing"),
            )
            for person in waiting
        ]
        problem = CheckFailed(
            what or msg("an answer to every request of every client"),
            joined(
                msg(
                    "for {seconds:.0f} s no client received what it waits for",
                    seconds=deadlines.DEADLINE,
                ),
                lines,
            ),
            "stuck" if waiting else None,
        )
        problem.unread = {
            person.who: count
            for person in waiting
            if len(person.lines) < 2 and (count := person.unread())
        }
        return problem

    # -- The selector

    def watch(self, person: Person) -> None:
        """Watch for what this client can do: read, and write if it has bytes to send."""
        if person.ended:
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if person.out else 0)
        key = self.selector.get_map().get(person.socket)
        if key is None:
            self.selector.register(person.socket, events, person)
        elif key.events != events:
            self.selector.modify(person.socket, events, person)

    def unwatch(self, person: Person) -> None:
        """Stop watching this client's socket."""
        if person.socket.fileno() >= 0 and self.selector.get_map().get(person.socket):
            self.selector.unregister(person.socket)

    def close(self) -> None:
        """Close each connection that is still open."""
        for person in self.people.values():
            if not person.ended:
                self.record.add(person.who, "closes")
                self.unwatch(person)
                person.socket.close()
        self.selector.close()


def awaited_by(person: Person) -> Message | str:
    """Return what this client waits for, in words."""
    if person.awaited is None:
        return msg("the server to read")
    return person.awaited or msg("the end of its connection")
