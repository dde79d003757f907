"""What the three servers share: how a server starts, what it consists of, and when it ends."""

from __future__ import annotations

import argparse
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from time import monotonic
from typing import NoReturn, cast

from . import options, trace, wire
from .acceptor import Acceptor, address_text, refuse_connection
from .connection import ClientConnection, Connection, OwnerConnection
from .console import STDOUT, OwnerOutbox, open_standard_descriptors
from .deliveries import CheckPassword, Delivery, SaveMembers
from .errors import DamagedError, GrupoError, StartupError
from .files import Folder
from .outboxes import Outboxes
from .passwords import release_hash_memory
from .requests import PasswordOk, Request
from .room import Room, Rules
from .stderr import warn
from .storage import members_text
from .thread_name import name_thread
from .trace import traced
from .wire import MAX_LINE

TICK = 0.1  # seconds between two looks at the clock
DONE = "done"  # a reply: the client's request is finished. Others: see BaseServer.resume()
DISCARD_SIZE = 64 * 1024  # bytes to read at once from a client whose conversation is over
CLOSING = 1.2  # seconds that the clients have, after `close`, to read what is queued for them


class BaseServer:
    """The part of a server that is the same in all three designs.

    A design adds how it reads, and the part between Session and Room.
    """

    def __init__(
        self, options: argparse.Namespace, listener: socket.socket, room: Room, folder: Folder
    ) -> None:
        now = monotonic()
        self.room, self.folder, self.acceptor = room, folder, Acceptor(listener, options)
        self.owner = room.owner = OwnerConnection(now)
        self.outboxes = Outboxes(
            folder.transcript,
            cast(OwnerOutbox, self.owner.outbox),
            options.outbox,
            options.slow_after,
            options.sndbuf,
        )
        # Bytes of events that one turn may add to an outbox; the number of requests that are sure
        # to fit; and the bytes to read at once, since as events they are up to 20 times as many.
        self.turn_budget: int = options.outbox // 4
        self.batch_limit = self.turn_budget // MAX_LINE
        self.read_size = max(MAX_LINE, self.turn_budget // 20)
        self.deliveries: list[Delivery] = []  # of this turn, until flush()
        self.stopped = False
        self.next_tick = self.closes_at = now

    # -- What each design does in its own way --------------------------------------------------

    def serve(self) -> None:
        """Serves until the room is closed."""
        raise NotImplementedError

    def check_password(self, client: ClientConnection, against: str) -> None:
        """Has the client's Session check its password, without making anyone else wait."""
        raise NotImplementedError

    def save_members(self, text: str) -> None:
        """Has the member file replaced, without making anyone wait; Room.saved() follows."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what would outlive the server, when it has served."""

    # -- What they share -----------------------------------------------------------------------

    def new_client(self, accepted: tuple[socket.socket, str]) -> ClientConnection | None:
        """Returns a new connection as a client; None if it was refused, since the room is full."""
        sock, address = accepted
        if self.room.is_full():
            refuse_connection(sock)
            return None
        return ClientConnection(sock, address, monotonic())

    def size_to_read(self, client: Connection) -> int:
        """Returns how many bytes to read from a client at once: few, if it may not say much."""
        if client.over:
            return DISCARD_SIZE
        return self.read_size if client.name and not self.outboxes.rationing else MAX_LINE

    def resume(self, client: ClientConnection, reply: str) -> list[Request]:
        """Returns the client's next requests, now that there is a reply to the one before.

        reply: DONE, or what Session.check_password() takes: that is slow. Runs in the client's own
        thread or process, which has the client's name from here on; a later NAME does not change
        it. The name is the Session's: that of the Room is not to be read here.
        """
        if reply == DONE:
            return client.session.request_done()
        outcome = client.check_password(reply)
        if isinstance(outcome[0], PasswordOk):
            name_thread(f"reader {client.session.name}")
        return outcome

    def deliver(self, deliveries: Iterable[Delivery]) -> None:
        """Takes what the Room decided. Most of it waits for flush(); slow work starts at once."""
        work: list[CheckPassword | SaveMembers] = []
        for delivery in deliveries:
            if isinstance(delivery, (CheckPassword, SaveMembers)):
                work.append(delivery)
            else:
                self.deliveries.append(delivery)
        for task in work:  # last: what follows from it comes after all that is decided already
            if isinstance(task, CheckPassword):
                self.check_password(cast(ClientConnection, task.client), task.against)
            else:
                self.save_members(task.text)

    def stop(self) -> None:
        """Does at the next tick what the order `close` does."""
        self.stopped = True

    def is_tick_due(self) -> bool:
        """Whether it is time for tick()."""
        return monotonic() >= self.next_tick

    def tick(self) -> list[Delivery]:
        """Returns the deliveries that time alone causes."""
        now, time = clock()
        self.next_tick = now + TICK
        if self.stopped:
            return self.room.stop(now)
        return self.room.tick(now, time, not self.outboxes.backpressure)

    def is_serving(self) -> bool:
        """Whether the room is open, or a client may still read its BYE, for CLOSING seconds."""
        if self.room.open:
            self.closes_at = monotonic() + CLOSING
            return True
        is_busy = self.outboxes.is_busy() or self.room.member_file.is_being_saved()
        return monotonic() < self.closes_at and is_busy


MakeServer = Callable[[argparse.Namespace, socket.socket, Room, Folder], BaseServer]


def run(design: str, make_server: MakeServer, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs a server until it ends.

    Never returns: exits with 0 after an orderly end, with 1 and one line on stderr if the server
    cannot start.
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
    except GrupoError as error:
        sys.exit(f"grupo: {error}")
    except OSError as error:
        sys.exit(f"grupo: {error.filename or chosen.dir}: {error.strerror}")
    server = make_server(chosen, listener, room, folder)
    stop_on_signals(server)
    lines = [f"listening on {address_text(listener.getsockname())}"]
    if room.group.name != chosen.group:
        lines.append(f"# the group is {room.group.name}")  # --group names only a new one
    print_first_lines(lines)
    gc.collect()
    gc.freeze()  # no later collection looks at what exists now, and no forked child copies it
    server.serve()
    server.close()
    sys.exit(0)


def print_first_lines(lines: Iterable[str]) -> None:
    """Writes lines to stdout at once, as UTF-8. Exits with 1 and a line on stderr if that fails."""
    why = "cannot write to standard output"
    if sys.__stdout__ is None:  # descriptor 1 was closed; it is /dev/null by now
        sys.exit(f"grupo: {why}: it is closed; give it a file, a pipe, or /dev/null")
    try:
        # Not by sys.stdout: that would keep the lines, and try again when Python ends.
        with open(STDOUT, "w", encoding="utf-8", closefd=False) as stdout:
            print(*lines, sep="\n", file=stdout)
    except OSError as error:
        sys.exit(f"grupo: {why}: {error.strerror}")


def stop_on_signals(server: BaseServer) -> None:
    """Makes SIGTERM, SIGINT and SIGHUP stop the server."""
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        number = getattr(signal, name)
        # nohup ignores SIGHUP, and that is to stay so.
        if name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: server.stop())


def raise_descriptor_limit() -> None:
    """Allows this process as many descriptors as the system permits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # macOS names a hard limit that it does not grant
        pass


def use_batch_scheduling() -> None:
    """Asks Linux not to interrupt a running thread for one that wakes up (sched(7)).

    So more requests come together before everyone receives them.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (OSError, AttributeError):
        pass  # not permitted here; another system


def start_room(options: argparse.Namespace, folder: Folder) -> Room:
    """Returns the Room as its files describe it, or a new one. Raises StartupError, OSError."""
    rules = Rules(**{field.name: getattr(options, field.name) for field in fields(Rules)})
    append = traced("keep", folder.transcript.append, trace.sequence)
    room = Room(rules, append, folder.erase)
    group = room.group
    try:
        group.restore(folder.members(), folder.transcript.lines())
    except DamagedError as damage:
        advice = "put back a copy, or move the folder away"
        raise StartupError(f"{folder.path}: {damage}; {advice}") from None
    if group.seq == 0:
        room.create_group(options.group, *clock())
        if why := folder.save_members(members_text(group.seq, group.members)):
            raise StartupError(f"{folder.file('members')}: {why}")
    return room


def listen(host: str, port: int) -> socket.socket:
    """Returns the listening socket. Warns if other machines can reach it. Raises StartupError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address, family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no such host"
        reason = why.partition(" (")[0]
        raise StartupError(f"cannot listen on {host} port {port}: {reason}") from None
    if not is_loopback(listener.getsockname()[0]):
        warn(f"{host} can be reached from other machines, and passwords travel in clear")
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    return host.startswith("127.") or host == "::1"


def clock() -> tuple[float, str]:
    """Returns the time as the Room takes it: monotonic seconds, and as the wire writes it."""
    return monotonic(), wire.stamp(time.time())
