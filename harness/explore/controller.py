"""Decides who goes on: holds each thread and process of a server at its gates, and lets one at a
time take its next step.

A program at the gates reports each event, and waits for permission (implementations/common/trace.py
is our servers' side). Between two events of an actor lies a step. Nothing is scripted: after each
step the controller waits until everything is at rest. Then each actor is held at a gate, waits for
a lock that another one holds, or sleeps in the kernel; those that are held and may go on are
`enabled`, and the caller chooses one of them.
"""

import contextlib
import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.explore.schedules import SHARED
from harness.explore.threads import Threads, children_of

LOOK_AGAIN = 0.0003  # seconds between two looks at what still runs
# The kinds of event that can end by a time-out, and what their "n" is then.
TIME_OUTS = {"wait": 0, "accept": -1, "cond.wait": -1, "queue.get": -1, "sem.wait": -1}
# Where another actor may go on instead: where one begins to work on what came, or has given up a
# lock, and before it calls the kernel, but for those calls that wait for something to come.
INPUT = "accept", "recv", "wait", "pipe.read", "queue.get", "cond.wait", "sem.wait", "join"
GO_ON, AGAIN = b"!", b"a"  # the answers of a gate; what ran into a time-out begins again
A_TIME_OUT = 0.005  # seconds that a wait lasts at least, if it really waited


class Restless(Exception):
    """The program did not come to rest: it spins, or computes for longer than is waited for."""


class Ended(Exception):
    """All actors of the program are gone."""


@dataclass(eq=False)
class Actor:
    """A thread or a process, seen through its connection to the gates.

    `name` is the client's that it serves, or its own. `event` is the last that it reported, and it
    is `held` there until it may go on. `born` is its number in the order of first events.
    """

    connection: socket.socket
    born: int
    name: str = ""
    event: dict[str, Any] = field(default_factory=dict)
    held: bool = False
    gone_at: float = 0.0  # when it got permission, on the program's clock
    outside: dict[int, int] = field(default_factory=dict)  # its ids in a cell: what they are here

    @property
    def kind(self) -> str:
        """The event's name without B., E. or I."""
        return str(self.event["e"])[2:]

    @property
    def place(self) -> str:
        """Where it is, as the trace writes it."""
        return f"{self.event['e']} {self.event['o']}".rstrip()


@dataclass
class Lock:
    """A lock, and its holders: one actor, or several that share it."""

    holders: set[Actor] = field(default_factory=set)
    shared: bool = False

    def admits(self, shared: bool) -> bool:
        """Return whether one more actor would get the lock at once."""
        return not self.holders or (self.shared and shared)


class Controller:
    """The gates of each program that starts with them in `directory`, from here on.

    While the gates are open, a thread lets everyone go on at once; inside `with closed():`, each
    actor is held at its next event.

    names       maps a client's address to its name
    roots       processes that belong to the program before they report anything
    ended       by name, the actor of that name that ended last
    stops       where an actor stops besides where another one may go on instead
    watch       called often while the gates are open
    """

    def __init__(self, directory: Path):
        """Make the gates. Raises OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / "gates"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # By way of a descriptor: a folder's path may be longer than a socket's name.
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self.listener.bind(f"/proc/self/fd/{folder}/gates")
        os.close(folder)
        self.listener.listen(1024)
        self.poll = select.epoll()
        self.poll.register(self.listener.fileno(), select.EPOLLIN)
        self.actors: dict[int, Actor] = {}  # by descriptor
        self.locks: dict[tuple[int, str], Lock] = {}  # by process and name
        self.names: dict[str, str] = {}
        self.births = 0
        self.kernel = Threads()
        self.time_passes = True
        self.roots: set[int] = set()
        self.ended: dict[str, Actor] = {}
        self.stops: Callable[[Actor], bool] = lambda actor: False
        self.watch: Callable[[], object] = lambda: None
        self.is_open = True
        self.thread = self.opens()

    def __enter__(self) -> "Controller":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Open all gates."""
        self.is_open = False
        self.thread.join()
        for actor in self.actors.values():
            actor.connection.close()
        self.listener.close()
        self.poll.close()
        self.kernel.close()
        self.path.unlink(missing_ok=True)

    # -- Open gates

    def opens(self) -> threading.Thread:
        """Start the thread that lets everyone go on."""
        thread = threading.Thread(target=self.let_all_go, daemon=True)
        thread.start()
        return thread

    def let_all_go(self) -> None:
        """Let everyone go on, while the gates are open."""
        for actor in list(self.actors.values()):
            self.let_go(actor)
        while self.is_open:
            self.hear(0.01)
            for actor in list(self.actors.values()):
                self.let_go(actor)
            self.watch()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Hold everyone at the gates inside this block."""
        self.is_open = False
        self.thread.join()
        try:
            yield
        finally:
            self.is_open = True
            self.thread = self.opens()

    # -- Events

    def hear(self, seconds: float) -> bool:
        """Wait so long for events, and take all that have come. Return whether there were any."""
        ready = self.poll.poll(seconds)
        for descriptor, _ in ready:
            if descriptor == self.listener.fileno():
                connection, _ = self.listener.accept()
                self.births += 1
                self.actors[connection.fileno()] = Actor(connection, self.births)
                self.poll.register(connection.fileno(), select.EPOLLIN)
            else:
                self.take(self.actors[descriptor])
        return bool(ready)

    def take(self, actor: Actor) -> None:
        """Take the event that an actor reports, or its end."""
        try:
            event = event_of(actor.connection.recv(4096))
        except OSError:
            event = None
        if event is None:
            self.poll.unregister(actor.connection.fileno())
            del self.actors[actor.connection.fileno()]
            actor.connection.close()
            actor.held = False
            self.ended[actor.name] = actor
            return
        event["p"], event["th"] = self.kernel.outside(
            actor.connection, event["p"], event["th"], actor.outside
        )
        actor.event, actor.held = event, True
        actor.name = self.names.get(event["a"], event["a"])
        event["o"] = self.names.get(event["o"], event["o"])
        if actor.kind in ("lock.wait", "lock.hold"):
            self.note_lock(actor, event["o"], event["e"])
        elif actor.kind == "cond.wait" and isinstance(event.get("l"), str):
            # It gives the lock up, and holds it again at the end.
            self.note_lock(actor, event["l"], "E.lock.hold" if event["e"][0] == "B" else "")

    def note_lock(self, actor: Actor, name: str, event: str) -> None:
        """Keep account of the holders of a lock."""
        lock = self.lock(actor, name)
        if event == "E.lock.hold":
            if actor in lock.holders:
                lock.holders.discard(actor)
            else:  # a lock that another one took
                lock.holders.clear()
        elif event != "B.lock.wait" and not (event == "E.lock.wait" and actor.event.get("n") == -1):
            lock.holders.add(actor)

    def lock(self, actor: Actor, name: str) -> Lock:
        """Return the lock of this name that an actor means."""
        process = 0 if name.startswith(SHARED) else actor.event["p"]
        return self.locks.setdefault((process, name), Lock())

    # -- Steps

    def let_go(self, actor: Actor, answer: bytes = GO_ON) -> None:
        """Let an actor go on, if it is held."""
        if actor.held:
            actor.held, actor.gone_at = False, time.monotonic()
            with contextlib.suppress(OSError):  # it has ended: that is heard next
                actor.connection.send(answer)

    def settle(self, seconds: float) -> None:
        """Wait until all is at rest. Raises Restless after so many seconds, and Ended."""
        end = time.monotonic() + seconds
        while True:
            # Twice: one thread may wake another one that was looked at before, and fall asleep.
            # What one reported before it fell asleep is heard before that counts.
            if not self.is_running() and not self.is_running() and not self.hear(0):
                return
            while self.moved() or self.hear(LOOK_AGAIN):
                pass
            if not self.actors and not self.roots:
                raise Ended
            if time.monotonic() > end:
                raise Restless

    def moved(self) -> bool:
        """Let each actor go on that is at no choice. Return whether there was any."""
        moved = False
        for actor in list(self.actors.values()):
            if actor.held and self.has_timed_out(actor) and not self.time_passes:
                self.let_go(actor, AGAIN)
            elif actor.held and not is_choice(actor) and not self.stops(actor):
                self.let_go(actor)
                moved = True
        return moved

    def rest(self, seconds: float) -> None:
        """Let everyone go on until nobody can; then stop time. Raises Restless, Ended."""
        end = time.monotonic() + seconds
        self.time_passes = False
        self.settle(seconds)
        while enabled := self.enabled():
            for actor in enabled:
                self.let_go(actor)
            self.settle(max(0.0, end - time.monotonic()))

    def has_timed_out(self, actor: Actor) -> bool:
        """Return whether an actor's last wait ended because of the time."""
        event = actor.event
        if event["e"][:2] != "E." or event.get("n") != TIME_OUTS.get(actor.kind, ""):
            return False
        return time.monotonic() - actor.gone_at >= A_TIME_OUT

    def is_running(self) -> bool:
        """Return whether any thread of the program runs, by what the kernel says."""
        at_gate = {actor.event["th"] for actor in self.actors.values() if actor.held}
        processes = {actor.event["p"] for actor in self.actors.values() if actor.event}
        processes |= self.roots.union(*map(children_of, self.roots))
        for actor in self.living():
            if actor.event["e"] == "E.fork":  # its child may have reported nothing yet
                processes |= children_of(actor.event["p"])
        return self.kernel.any_runs(processes, at_gate)

    def may_go(self, actor: Actor) -> bool:
        """Return whether an actor that is held is not kept by a lock."""
        if actor.event["e"] != "B.lock.wait":
            return True
        return self.lock(actor, actor.event["o"]).admits(shared=actor.event.get("n") == 1)

    def enabled(self) -> list[Actor]:
        """Return the actors that can take a step, in an order that is the same in each run."""
        found = [actor for actor in self.actors.values() if actor.held and self.may_go(actor)]
        return sorted(found, key=lambda actor: (not self.is_named(actor), actor.name, actor.born))

    def living(self) -> list[Actor]:
        """Return the actors that have reported something, and have not ended."""
        return [actor for actor in self.actors.values() if actor.event]

    def is_named(self, actor: Actor) -> bool:
        """Return whether this actor serves one of the clients of the workload."""
        return actor.name in self.names.values()

    def waits_for(self, actor: Actor) -> Actor | None:
        """Return an actor that holds the lock for which this one waits, if there is one."""
        if not actor.event or actor.event["e"] != "B.lock.wait":
            return None
        return next(iter(self.lock(actor, actor.event["o"]).holders), None)

    def circle(self) -> list[Actor]:
        """Return actors of which each waits for a lock that the next one holds, and the last one
        for one that the first one holds, or that is held by none that lives; [] if there are none.
        """
        for actor in self.living():
            chain = [actor]
            while (other := self.waits_for(chain[-1])) is not None:
                if other in chain:
                    return chain[chain.index(other) :]
                chain.append(other)
                if other not in self.living():  # a lock that died with its holder
                    return chain
        return []


def is_choice(actor: Actor) -> bool:
    """Return whether another actor may go on instead of this one."""
    what = str(actor.event["e"])[:2]
    if actor.kind == "lock.hold":
        return what == "E."
    return what == "I." or (what == "E.") == (actor.kind in INPUT)


def event_of(packet: bytes) -> dict[str, Any] | None:
    """Return the event in what an actor sent; None at its end, or if it is no event."""
    try:
        event = json.loads(packet)
    except ValueError:
        return None
    if not isinstance(event, dict) or not all(
        isinstance(event.get(key), kind)
        for key, kind in (("e", str), ("o", str), ("a", str), ("p", int), ("th", int))
    ):
        return None
    return event if event["e"][:2] in ("B.", "E.", "I.") else None
