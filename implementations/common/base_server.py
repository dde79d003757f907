"""What is left of a server when its concurrency is taken away: how it starts, what it holds, when it ends."""
import gc
import os
import resource
import signal
import socket
import sys
import time
from time import monotonic

from . import options, trace, wire
from .console import Stdin, OwnerOutbox, open_standard_descriptors
from .acceptor import Acceptor, address_text, refuse_connection
from .files import Folder, Trouble
from .storage import DamagedError, members_text
from .outboxes import Outbox, Outboxes
from .passwords import release_hash_memory
from .room import Client, Room, Rules
from .session import OwnerSession, Session
from .trace import traced
from .wire import MAX_LINE

TICK = 0.1                  # seconds between two looks at the clock
CLOSING = 1.2               # seconds that the clients have, after `close`, to take what waits for them


class Connection(Client):
    """One client: the Room's part of him, his socket, his Session, his outbox."""

    def __init__(self, sock, address, session, now):
        super().__init__(address, now)
        self.sock = self.source = sock      # where he is written to; what is read for him
        self.session, self.outbox = session, None
        self.recv = traced("recv", sock.recv, address)
        self.check_password = traced("hash", session.answer, address)
        self.is_watched = False             # somebody waits for his bytes
        self.eof = False                 # no more will come

    def answer(self, word):
        """The Session's: his next requests. Slow, unless the word is `done`: a password is checked."""
        return self.session.answer(word) if word == "done" else self.check_password(word)


class BaseServer:
    """The part of a server that is the same in all three."""

    def __init__(self, options, listener, room, folder):
        now = monotonic()
        self.room, self.folder, self.acceptor = room, folder, Acceptor(listener, options)
        self.owner = room.owner = Connection(Stdin(), "console", OwnerSession(), now)
        self.owner.outbox = OwnerOutbox(self.owner, now)
        self.outboxes = Outboxes(folder.transcript, self.owner.outbox, options.outbox, options.slow_after, options.sndbuf)
        self.turn_budget = options.outbox // 4            # bytes of events that one turn may add to an outbox
        self.batch_limit = self.turn_budget // MAX_LINE        # requests that fill it
        self.read_size = max(MAX_LINE, self.turn_budget // 20)     # bytes read at once: as events they are at most twenty times as many
        self.deliveries = []                        # of this turn, until flush()
        self.stopped = False
        self.next_tick = self.closes_at = now

    def new_client(self, arrival, before=0):
        """What the door let in, as a client; None if there is no room for him, with so many `before` him not in the Room yet."""
        sock, address = arrival
        if self.room.is_full(before):
            return refuse_connection(sock)
        client = Connection(sock, address, Session(), monotonic())
        client.outbox = Outbox(client, sock, monotonic())
        return client

    def deliver(self, deliveries):
        """Takes what the Room decided: most of it waits for the turn's flush(), two kinds are work to be begun at once."""
        self.deliveries += [delivery for delivery in deliveries if delivery[0] not in ("check", "save")]
        for kind, client, value in deliveries:
            if kind == "check":
                self.check(client, value)
            elif kind == "save":
                self.save(value)

    def stop(self):
        """What SIGTERM, SIGINT and SIGHUP do: the same as `close`, at the next tick."""
        self.stopped = True

    def is_tick_due(self):
        return monotonic() >= self.next_tick

    def tick(self):
        """The deliveries that time alone causes."""
        now, time = clock()
        self.next_tick = now + TICK
        return self.room.stop(now) if self.stopped else self.room.tick(now, time, not self.outboxes.backpressure)

    def is_serving(self):
        """Until the room is closed, and then until all have taken their BYE, or had the time to."""
        if self.room.open:
            self.closes_at = monotonic() + CLOSING
            return True
        return monotonic() < self.closes_at and (self.outboxes.is_busy() or self.room.saving is not None)


def run(design, make_server, argv=None):
    """A server's whole life: `make_server(chosen, listener, room, folder)` gives the server, whose serve() returns at the end.

    Never returns: exits with 0 after an orderly end, 1 with one line on stderr if the server cannot start.
    """
    chosen = options.parse(argv, design)
    open_standard_descriptors()
    raise_descriptor_limit()
    use_batch_scheduling()
    release_hash_memory()
    try:
        if chosen.trace:
            trace.start(design, chosen.trace, chosen.trace_sink)
        folder = Folder(chosen.dir)
        listener = listen(chosen.host, chosen.port)
        room = start_room(chosen, folder)
    except (Trouble, DamagedError) as trouble:
        sys.exit(f"grupo: {trouble}")
    except OSError as error:
        sys.exit(f"grupo: {error.filename or chosen.dir}: {error.strerror}")
    server = make_server(chosen, listener, room, folder)
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        number = getattr(signal, name)
        if name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN:      # nohup means it
            signal.signal(number, lambda *_: server.stop())
    host, port = listener.getsockname()[:2]
    print(f"listening on {address_text((host, port))}", flush=True)
    if room.group != chosen.group:
        print(f"# the group is {room.group}", flush=True)       # --group names only a new one
    gc.collect()
    gc.freeze()             # what is there now stays: no collection need look at it, no forked child need copy it
    server.serve()
    sys.exit(0)


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):       # macOS names a hard limit that it does not grant
        pass


def use_batch_scheduling():
    """Asks Linux that whoever wakes up lets go on who runs: thus more requests come together before all are told of them."""
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (OSError, AttributeError):
        pass                            # not allowed here; another system


def start_room(options, folder):
    rules = Rules(**{name: getattr(options, name) for name in Rules.__dataclass_fields__})
    room = Room(rules, traced("keep", folder.transcript.append, trace.sequence), folder.erase)
    try:
        room.restore(folder.members(), folder.transcript.lines())
    except DamagedError as damage:
        raise Trouble(f"{folder.path}: {damage}; put back a copy, or move the folder away") from None
    if room.seq == 0:
        room.create_group(options.group, *clock())
        trouble = folder.save_members(members_text(room.seq, room.members))
        if trouble:
            raise Trouble(f"{folder.file('members')}: {trouble}")
    return room


def listen(host, port):
    """The listening socket. Raises Trouble."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address, family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no such host"
        raise Trouble(f"cannot listen on {host} port {port}: {why.partition(' (')[0]}") from None
    if not is_loopback(listener.getsockname()[0]):
        print(f"grupo: warning: {host} can be reached from other machines, and passwords travel in clear", file=sys.stderr, flush=True)
    return listener


def is_loopback(host):
    return host.startswith("127.") or host == "::1"


def clock():
    """Now, as the Room takes it: seconds on a clock that never jumps, and the time of day as the wire writes it."""
    return monotonic(), wire.stamp(time.time())
