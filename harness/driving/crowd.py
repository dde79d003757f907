"""A crowd: hundreds of clients in one thread, on one selector. They begin at one stroke, and one clock tells who heard what, when.

What a client does is data: a Script. He says it in turns: some lines and a PING in one piece; the PONG begins the next turn, so that
no more than a turn is ever on the way. Nothing here waits for a time to pass, only for what the server owes: deadlines.DEADLINE for each.
"""
import itertools
import selectors
import socket
import struct
import time
from dataclasses import dataclass

from harness.driving import deadlines, processes
from harness.driving.messages import joined, msg
from harness.driving.record import Unmet

GULP = 65536                # bytes that a client reads at once
SMALL_MSS = 536             # a client who asks for such segments keeps the server's send buffer for him small, too
TCP_INFO_RETRANSMITTED = 100    # where struct tcp_info has tcpi_total_retrans

_tokens = itertools.count(1)


@dataclass
class Script:
    """What one client sends: `lines`, without LF, `turn` of them at once, and what he does `then`:

    stays    a last fence, and goes on listening       quits   QUIT, and reads to the end
    shuts    ends sending at once, reads to the end    resets, closes    at once, without reading what is due to him
    """
    lines: list
    turn: int = 4
    then: str = "stays"


class Person:
    """One of the crowd. `who` is his name in the record, `lines` all that he heard, PINGs included."""

    def __init__(self, crowd, name, sock, gulp):
        self.crowd, self.name, self.socket, self.gulp = crowd, name, sock, gulp
        self.who = crowd.record.name(name)
        self.lines, self.rest = [], b""
        self.out, self.turns, self.then = b"", [], "stays"
        self.awaited = None                 # the line that begins his next turn; "" stands for the end
        self.ended = self.was_reset = False

    def __repr__(self):
        return f"<{self.who} waits for {self.awaited!r}, last heard {self.lines[-3:]}>"

    # -- speaking

    def prepare(self, script):
        """Cuts a script into turns: all but the sending is done before the barrier."""
        lines, self.then = list(script.lines), script.then
        self.turns = [lines[start:start + script.turn] for start in range(0, len(lines), script.turn)]
        if self.then == "stays" and not self.turns:
            self.turns = [[]]
        if self.then == "quits":
            self.turns = (self.turns or [[]])[:-1] + [[*(self.turns or [[]])[-1], "QUIT"]]
        self.next_turn()

    def next_turn(self):
        lines, self.awaited = (self.turns.pop(0) if self.turns else []), None
        if self.turns or self.then == "stays":
            token = f"fence-{next(_tokens)}"
            lines, self.awaited = [*lines, f"PING {token}"], f"PONG {token}"
        elif self.then in ("quits", "shuts"):
            self.awaited = ""
        self.out += "".join(line + "\n" for line in lines).encode()

    def send(self):
        """As much as the socket takes now."""
        if self.out and not self.ended:
            at = self.crowd.record.clock()      # before: who is kept from running after it would seem to have sent later than he was heard
            try:
                sent = self.socket.send(self.out)
            except BlockingIOError:
                sent = 0
            except OSError:                 # what is left to read is still worth reading
                self.out = b""
                return self.crowd.watch(self)
            if sent:
                self.crowd.record.add(self.who, "sends", self.out[:sent], at)
                self.out = self.out[sent:]
        self.crowd.watch(self)
        if not self.out and not self.turns and self.then in ("shuts", "resets", "closes"):
            deed, self.then = self.then, "stays"
            getattr(self, deed)()

    def shuts(self):
        self.crowd.record.add(self.who, "shuts")
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass                            # the server was faster

    def resets(self):
        self.crowd.record.add(self.who, "resets")
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_gone()

    def closes(self):
        self.crowd.record.add(self.who, "closes")
        self.is_gone()

    # -- hearing

    def receive(self):
        try:
            chunk = self.socket.recv(self.gulp)
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

    def hear(self, line):
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

    def is_gone(self):
        self.crowd.progress = time.monotonic()
        self.ended, self.awaited, self.out, self.turns = True, None, b"", []
        self.crowd.unwatch(self)
        self.socket.close()

    def retransmitted(self):
        """How often this side of the connection had to send something again. (On one machine: because the server's side was full.)"""
        if self.ended:
            return 0
        return struct.unpack_from("I", self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), TCP_INFO_RETRANSMITTED)[0]

    def unread(self):
        """Bytes that the server has not taken of what this client sent, as far as the kernel shows it."""
        if self.ended:
            return 0
        (_, mine, *_), (_, theirs, *_) = self.socket.getsockname(), self.socket.getpeername()
        return processes.unread(theirs, mine)

    @property
    def is_done(self):
        """Everything is sent, and nothing of it awaits its answer."""
        return self.ended or self.awaited is None and not self.out and not self.turns


class Crowd:
    """The clients of one server. crowd["ana"] is the Person. Use it with `with`."""

    def __init__(self, address, record):
        self.address, self.record = address, record
        self.first = len(record.entries)        # where its own entries begin
        self.people = {}
        self.selector = selectors.DefaultSelector()
        self.progress = time.monotonic()        # when one of them last got what he waited for

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getitem__(self, name):
        return self.people[name]

    def __iter__(self):
        return iter(self.people.values())

    @property
    def entries(self):
        """What the record holds since this crowd came together."""
        return self.record.entries[self.first:]

    # -- coming

    def connect(self, names, *, rcvbuf=None, mss=None, gulp=GULP):
        """Connects all of them at once, and waits for nothing. `rcvbuf`, `mss`: small ones make the server's own buffer for him fill
        soon; `gulp`: he reads so many bytes at once. Raises OSError if the server refuses."""
        for name in names:
            sock = socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET)
            if rcvbuf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            if mss:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self.people[name] = Person(self, name, sock, gulp)
        for name in names:                      # nothing between one and the next
            one = self.people[name]
            self.record.add(one.who, "connects")
            one.socket.connect_ex(self.address)
            self.record.connected(one.who, one.socket)
            self.watch(one)

    def enter(self, names, **options):
        """Connects them, and all are members, who have heard what there was to hear."""
        self.connect(names, **options)
        self.play({name: Script([f"JOIN {name} secret-of-{name}"]) for name in names})

    # -- doing

    def play(self, scripts):
        """All begin at one stroke: their first pieces go out one after the other, and nothing is read before the last is out.
        Ends when all are done. Raises Unmet if nobody gets anywhere for deadlines.DEADLINE."""
        people = [self.people[name] for name in scripts]
        self.start(scripts)
        self.until(lambda: all(one.is_done for one in people), people)

    def start(self, scripts):
        """The beginning of play() alone: until() is to follow."""
        for name, script in scripts.items():
            self.people[name].prepare(script)
        for name in scripts:
            self.people[name].send()

    def fence(self):
        """Each who is left has heard whatever had happened before."""
        self.play({name: Script([]) for name, one in self.people.items() if not one.ended})

    def until(self, condition, people=None, what=None):
        """Serves all sockets until the condition is true. Raises Unmet, and `people` are those of whom it tells."""
        self.progress = time.monotonic()
        while not condition():
            self.serve(0.05)
            if time.monotonic() > self.progress + deadlines.DEADLINE:
                raise self.stuck(people or self.people.values(), what)

    def serve(self, seconds):
        """Sends and reads what can be, once; waits for that, though no longer."""
        for key, events in self.selector.select(seconds):
            if events & selectors.EVENT_WRITE:
                key.data.send()
            if events & selectors.EVENT_READ:
                key.data.receive()

    def stuck(self, people, what):
        waiting = [one for one in people if not one.is_done]
        problem = Unmet(what or msg("everyone's requests to be answered"), joined(
            msg("no client got what it waited for in {seconds:.0f} s", seconds=deadlines.DEADLINE),
            [msg("{who} waits for {awaited}; it last heard: {line}", who=one.who, awaited=awaited_by(one),
                 line=one.lines[-1] if one.lines else msg("nothing")) for one in waiting]), "stuck" if waiting else None)
        problem.unread = {one.who: count for one in waiting if len(one.lines) < 2 and (count := one.unread())}     # nothing of it was ever read
        return problem

    # -- the selector

    def watch(self, one):
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if one.out else 0)
        key = self.selector.get_map().get(one.socket) if not one.ended else None
        if one.ended:
            return
        if key is None:
            self.selector.register(one.socket, events, one)
        elif key.events != events:
            self.selector.modify(one.socket, events, one)

    def unwatch(self, one):
        if one.socket.fileno() >= 0 and self.selector.get_map().get(one.socket):
            self.selector.unregister(one.socket)

    def close(self):
        for one in self.people.values():
            if not one.ended:
                self.record.add(one.who, "closes")
                self.unwatch(one)
                one.socket.close()
        self.selector.close()


def awaited_by(one):
    """What this Person waits for."""
    if one.awaited is None:
        return msg("the server to read")
    return one.awaited or msg("the end of its connection")
