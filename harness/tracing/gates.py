"""Gates: force the order in which the threads and processes of a real server take their steps.

A server that runs with --trace DIR, and finds a socket DIR/gates, reports each event there and
waits for permission to go on (implementations/common/trace.py). So a schedule can be written down,
`ana:read ben:read ana:write ben:write`, and it happens every time, in threads and in processes
alike: a step begins only after the step before it is done. If a lock makes a step impossible, the
result says so, and gives the reason.
"""

import contextlib
import json
import os
import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.driving import deadlines
from harness.driving.client import WireClient
from harness.driving.processes import dies_with_us
from harness.driving.record import CheckFailed
from harness.driving.server import Server, tail
from implementations.common.trace import KINDS, short_name

# Words for events. A server decides what to write by what it read before. Once that is written, the
# server goes on from there.
WORDS = {"read": ("B.read", "B.keep"), "write": ("B.write", "E.keep")}
# After these an actor waits for another: the holder of the lock, or the writer of the pipe.
WAITS = ("B.lock.wait", "B.pipe.read")
QUIET = 1.0  # seconds without a step after which tell() says what the gates wait for
TELL_AGAIN = 5.0  # seconds until it says so again
# Seconds without a move in a circle. If a lock may be taken twice, its holder gets it sooner.
CERTAIN = 0.5
TICK = 0.05  # seconds between two looks

Step = tuple[str, str]  # (actor, event)


class Wrong(ValueError):
    """A schedule that cannot be parsed; the text says where."""


@dataclass
class Actor:
    """A thread or a process, seen through its connection to the gates.

    last        the event that it reported last; {} before the first
    held        whether it still waits there for permission
    gone        whether it has ended
    since       when it last reported an event, or got permission (monotonic clock, seconds)
    """

    name: str
    connection: socket.socket
    last: dict[str, Any] = field(default_factory=dict)
    held: bool = False
    gone: bool = False
    since: float = 0.0


@dataclass
class Forced:
    """The outcome of a schedule.

    steps       the schedule
    done        the steps that were taken, in order
    stuck       why the next step was not taken, or None
    possible    False if it is certain that this program never takes that step there
    seen        all events, in the order in which they were reported
    deadlock    whether the program is deadlocked
    after       what failed after all gates were opened, or None
    stderr      the last lines that the server wrote there
    """

    steps: list[Step]
    done: list[Step]
    stuck: str | None
    possible: bool
    seen: list[dict[str, Any]]
    deadlock: bool = False
    after: str | None = None
    stderr: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return self.stuck or f"all {len(self.steps)} steps were taken, in this order"


def parse(schedule: str) -> list[Step]:
    """Returns the (actor, event) steps of `ana:read ben:read ...`. Raises Wrong.

    An event is `read`, `write`, or a name from the trace, such as `lock.wait` or `E.lock.wait`.
    """
    steps = [tuple(word.partition(":")[::2]) for word in schedule.split()]
    for actor, event in steps:
        if not actor or not event:
            raise Wrong(f"{schedule!r}: a step is ACTOR:EVENT, such as ana:read")
        if event.removeprefix("B.").removeprefix("E.") not in (*WORDS, *KINDS):
            names = ", ".join([*WORDS, *KINDS])
            raise Wrong(f"{actor}:{event}: there is no such event; there are {names}")
    if not steps:
        raise Wrong("a schedule has at least one step")
    return steps


def is_meant(word: str, event: str) -> bool:
    """Whether a step's `word` means this event of the trace."""
    return event in WORDS.get(word, (word, f"B.{word}"))


def is_idle(actor: Actor) -> bool:
    """Whether an actor waits for its client, and for nothing else."""
    return not actor.held and actor.last["e"] in ("B.recv", "B.wait")


class Gates:
    """Holds the gates of each program that starts with --trace `directory` from here on.

    directory   the folder for the socket; it is made if necessary
    tell        tell(text) is called from another thread while no step is taken: what the gates
                wait for

    Use it in a `with` block: at its end all gates open. Raises OSError if the socket cannot be
    made: on a system without /proc, if the folder's path is longer than a socket's name may be.
    """

    def __init__(self, directory: str, tell: Callable[[str], None] | None = None):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.path = os.path.join(directory, "gates")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with short_name(directory, "gates") as name:
            self.listener.bind(name)
        self.listener.listen(1024)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.tell = tell
        self.changed = threading.Condition()  # guards all below
        self.actors: dict[socket.socket, Actor] = {}  # by connection
        self.names: dict[str, str] = {}  # address: its name in the schedule
        self.steps: list[Step] = []
        self.done = 0  # the number of steps that were permitted
        self.moving: Actor | None = None  # got permission last, and has reported nothing since
        self.holders: dict[str, Actor] = {}  # by lock
        self.ended: dict[str, Actor] = {}  # by name: the actor of that name that ended last
        self.seen: list[dict[str, Any]] = []
        self.closed = False
        self.tell_at: float | None = None  # when tell() last reported the present wait
        self.waits_since: tuple[Any, float] = (None, 0.0)  # what the gates wait for, since when
        self.about = ""  # what the gates wait for outside force(), for tell()
        self.on_deadlock: Callable[[], object] | None = None  # called once, at a deadlock
        self.deadlock: str | None = None  # the reason for that call
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def __enter__(self) -> "Gates":
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Opens all gates."""
        with self.changed:
            self.closed = True
        self.thread.join()
        for sock in self.listener, *self.actors:
            sock.close()
        self.selector.close()
        os.unlink(self.path)

    def force(
        self,
        schedule: str,
        go: Callable[[], object] = lambda: None,
        names: dict[str, str] | None = None,
        deadline: float | None = None,
    ) -> Forced:
        """Forces `schedule` on the work that go() starts. Raises Wrong.

        go          called when all of `names` wait for their clients
        names       {address, as in the trace: name in the schedule}
        deadline    seconds without a step after which force() gives up
        """
        steps, seconds = parse(schedule), deadlines.DEADLINE if deadline is None else deadline
        with self.changed:
            self.names, self.seen = dict(names or {}), []
            self.ended.clear()
            self.about = "all to wait for their clients"
            self.changed.wait_for(self.are_all_idle, seconds)
            for actor in self.actors.values():
                actor.name = self.name_of(actor)
            self.steps, self.done, self.moving = steps, 0, None
        go()
        with self.changed:
            why, possible, deadlock = self.take_steps(seconds)
            taken = steps[: self.done]
            self.steps, self.done, self.moving, self.about = [], 0, None, ""
            for actor in self.actors.values():
                self.let_go(actor)
        return Forced(steps, taken, why, possible, list(self.seen), deadlock)

    def are_all_idle(self) -> bool:
        """Whether all actors that force() names wait for their clients."""
        actors = [actor for actor in self.actors.values() if actor.last]
        return set(self.names) <= {actor.last["a"] for actor in actors if is_idle(actor)}

    def take_steps(self, seconds: float) -> tuple[str | None, bool, bool]:
        """Waits for the steps of the schedule. Returns (stuck, possible, deadlock) as in Forced."""
        end = time.monotonic() + seconds
        reached, why, possible, deadlock = 0, None, True, False
        while (self.done < len(self.steps) or self.moving) and not why:
            if self.done > reached:
                reached, end = self.done, time.monotonic() + seconds
            why, deadlock = self.why_never()
            possible, why = not why, why or self.why_no_more()
            if not why and not self.changed.wait(TICK) and time.monotonic() > end:
                why = self.why_not_yet(seconds)
        return why, possible, deadlock

    # -- The thread at the gates -------------------------------------------------------------------

    def serve(self):
        """Receives events and gives permissions until close()."""
        while True:
            ready = self.selector.select(TICK)
            with self.changed:
                if self.closed:
                    return
                for key, _ in ready:
                    if key.fileobj is self.listener:
                        connection, _ = self.listener.accept()
                        self.actors[connection] = Actor("", connection)
                        self.selector.register(connection, selectors.EVENT_READ)
                    else:
                        self.hear(self.actors[key.fileobj])
                self.move()
                if ready:
                    self.changed.notify_all()
                text = self.what_to_tell()
                on_deadlock = None
                if self.on_deadlock and (why := self.any_deadlock()):
                    on_deadlock, self.on_deadlock, self.deadlock = self.on_deadlock, None, why
            # Called without the lock: they may take long, and may use these gates.
            if text:
                self.tell(text)
            if on_deadlock:
                on_deadlock()

    def what_to_tell(self) -> str | None:
        """Returns the text for tell(), if it is time for one."""
        now, waits_for = time.monotonic(), (self.done, len(self.steps), self.about)
        if waits_for != self.waits_since[0]:
            self.waits_since = waits_for, now
            self.tell_at = None
        is_waiting = self.done < len(self.steps) or self.about
        if not self.tell or not is_waiting or now - self.waits_since[1] < QUIET:
            return None
        if self.tell_at is not None and now - self.tell_at < TELL_AGAIN:
            return None
        self.tell_at = now
        return self.waiting()

    def waiting(self) -> str:
        """Returns one line: what the gates wait for, and where the actors that matter are."""
        if self.steps:
            name, word = self.steps[self.done]
            return f"waiting for step {self.done + 1}, {name}:{word}: {self.where(name)}"
        stuck = [
            self.where_is(actor)
            for actor in self.actors.values()
            if not actor.held and actor.last.get("e") == "B.lock.wait"
        ]
        return "; ".join([f"waiting for {self.about}", *stuck])

    def where(self, name: str) -> str:
        """Returns where the actor of this name is."""
        actors = (actor for actor in self.actors.values() if actor.name == name and actor.last)
        actor = next(actors, self.ended.get(name))
        return self.where_is(actor) if actor else f"{name} was never seen"

    def where_is(self, actor: Actor) -> str:
        """Returns where an actor is, or for which others it waits and where these are."""
        chain, reasons, is_circle = self.chain(actor)
        if is_circle:
            return "; ".join(reasons)
        last = chain[-1]
        how = "was last seen at"
        if last.gone:
            how = "has ended, and was last seen at"
        elif last.held:
            how = "is held before"
        place = f"{last.name} {how} {last.last['e']} {last.last['o']}".rstrip()
        return "; ".join([*reasons, place])

    def hear(self, actor: Actor):
        """Takes the event that an actor reports, or its end."""
        try:
            line = actor.connection.recv(4096)
        except OSError:
            line = b""
        if self.moving is actor:
            self.moving = None
        actor.since = time.monotonic()
        try:
            last = json.loads(line) if line else None
        except ValueError:  # no event, but bytes that the program wrote there
            last = None
        if not isinstance(last, dict) or not {"e", "o"} <= last.keys():
            actor.held, actor.gone = False, True
            self.ended[actor.name] = actor
            self.selector.unregister(actor.connection)
            actor.connection.close()
            del self.actors[actor.connection]
            return
        actor.last, actor.held = last, True
        actor.name = self.name_of(actor)
        self.seen.append(actor.last)
        event, about = actor.last["e"], actor.last["o"]
        if event == "E.lock.wait":
            self.holders[about] = actor
        elif event == "E.lock.hold" and self.holders.get(about) is actor:
            del self.holders[about]

    def name_of(self, actor: Actor) -> str:
        """Returns an actor's name in the schedule, or its address."""
        address = actor.last.get("a", "")
        return self.names.get(address, address)

    def move(self):
        """Permits all that the schedule does not name, and the next step if its actor is there."""
        for actor in list(self.actors.values()):
            if actor.held and not self.is_scheduled(actor):
                self.let_go(actor)
        if self.moving and self.waits_for(self.moving):
            self.moving = None  # it has taken its step, and is blocked
        while self.moving is None and self.done < len(self.steps):
            name, word = self.steps[self.done]
            mine = (actor for actor in self.actors.values() if actor.held and actor.name == name)
            actor = next((actor for actor in mine if is_meant(word, actor.last["e"])), None)
            if actor is None:
                return
            self.done += 1
            self.let_go(actor)
            self.moving = None if self.waits_for(actor) else actor

    def is_scheduled(self, actor: Actor) -> bool:
        """Whether an actor must wait for its turn: before its next step, or before a lock.

        Before a lock too, because it could take the lock that the actor of the next step needs.
        """
        word = next((word for name, word in self.steps[self.done :] if name == actor.name), None)
        if word is None:
            return False
        is_its_turn = self.steps[self.done][0] == actor.name and self.moving is None
        event = actor.last["e"]
        return is_meant(word, event) or (event == "B.lock.wait" and not is_its_turn)

    def let_go(self, actor: Actor):
        """Gives an actor permission to go on, if it waits for that."""
        if actor.held:
            actor.held, actor.since = False, time.monotonic()
            with contextlib.suppress(OSError):  # it has ended: hear() will see that
                actor.connection.send(b"!")

    # -- Why a step is not taken -------------------------------------------------------------------

    def waits_for(self, actor: Actor) -> Actor | None:
        """Returns the actor for which this one waits, if that is certain; None if it may go on."""
        event, about = actor.last.get("e"), actor.last.get("o")
        if actor.held or event not in WAITS:
            return None
        if event == "B.lock.wait":
            return self.holders.get(about)
        return next((other for other in self.actors.values() if other.name == about), None)

    def chain(self, actor: Actor) -> tuple[list[Actor], list[str], bool]:
        """Follows the actors that wait for each other, from this one on.

        Returns (actors, a reason for each wait, whether the last one waits for one of them).
        """
        chain, reasons = [actor], []
        while True:
            last = chain[-1]
            other = None if last.held or last.gone else self.waits_for(last)
            if other is None:
                return chain, reasons, False
            lock = f"{last.name} waits for the lock {last.last['o']!r}, which"
            if other is last:
                reasons.append(f"{lock} it holds itself: the holder takes the lock again")
            elif last.last["e"] == "B.lock.wait":
                verb = "held when it ended" if other.gone else "holds"
                reasons.append(f"{lock} {other.name} {verb}")
            else:
                reasons.append(f"{last.name} waits for {other.name}")
            if other in chain:
                return chain, reasons, True
            chain.append(other)

    def deadlocked(self, actor: Actor) -> str | None:
        """Returns why an actor is deadlocked, or None.

        It is in a circle, or waits for a lock that a thread held when it ended.
        """
        chain, reasons, is_circle = self.chain(actor)
        last = chain[-1]
        if is_circle:
            circle = chain[chain.index(self.waits_for(last)) :]
            if time.monotonic() - max(other.since for other in circle) < CERTAIN:
                return None
            kind = "a deadlock" if len(circle) == 1 else "a circle: a deadlock"
            return "; ".join([*reasons, kind])
        # The lock of a process that ends is free; that of a thread is not.
        if last.gone and len(chain) > 1 and last.last.get("p") == chain[-2].last.get("p"):
            return "; ".join([*reasons, "a deadlock"])
        return None

    def any_deadlock(self) -> str | None:
        """Returns why one of the actors is deadlocked, or None."""
        return next(filter(None, map(self.deadlocked, list(self.actors.values()))), None)

    def why_never(self) -> tuple[str | None, bool]:
        """Returns (why the next step can never be taken, or None; whether that is a deadlock)."""
        if self.moving or self.done == len(self.steps):
            return None, False
        name, _ = self.steps[self.done]
        actor = next((actor for actor in self.actors.values() if actor.name == name), None)
        if actor is None:
            return None, False
        chain, reasons, _ = self.chain(actor)
        last, deadlock = chain[-1], self.deadlocked(actor)
        if deadlock:
            why = deadlock
        elif last.held:
            held = f"{last.name} is held before {last.last['e']} until {name} has taken it"
            why = "; ".join([*reasons, held])
        else:
            return None, False
        return self.stuck(f"{why}. In this program that step is impossible here"), bool(deadlock)

    def why_no_more(self) -> str | None:
        """Returns a sentence if the actor of the next step has ended, else None."""
        if self.done == len(self.steps):
            return None
        name, _ = self.steps[self.done]
        if name not in self.ended or any(actor.name == name for actor in self.actors.values()):
            return None
        return self.stuck(self.where(name))

    def why_not_yet(self, seconds: float) -> str:
        """Returns a sentence on a step that was not taken in so many seconds."""
        name, _ = self.steps[min(self.done, len(self.steps) - 1)]
        return self.stuck(f"not reached in {seconds:g} s; {self.where(name)}")

    def stuck(self, why: str) -> str:
        """Returns a sentence that names the next step, and why it is not taken."""
        place = min(self.done, len(self.steps) - 1)
        name, word = self.steps[place]
        return f"stuck at step {place + 1}, {name}:{word}: {why}"


# -- Schedules on a server ------------------------------------------------------------------------


def force_on(
    command: list[str],
    folder: str,
    schedule: str,
    sends: dict[str, str],
    listener: str | None = None,
    deadline: float | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[Forced, list[str]]:
    """Forces `schedule` on a server: `command`, run in `folder`.

    sends       {member: the line that starts its steps}
    listener    one more member, which only listens; or None
    deadline    as in Gates.force()
    tell        as in Gates

    Returns (the outcome, the lines that `listener` received). Raises Wrong, CheckFailed, OSError;
    an CheckFailed or OSError has the server's last lines on stderr as a note.
    """
    with (
        tempfile.TemporaryDirectory(prefix="grupo-") as place,
        Gates(trace := os.path.join(place, "trace"), tell) as gates,
    ):
        gates.about = "the server to start"
        server = Server(
            command,
            directory=os.path.join(place, "group"),
            args=["--admit", "all", "--trace", trace],
            cwd=folder,
            preexec=dies_with_us(),
        )
        clients: dict[str, WireClient] = {}
        forced = None
        # Before and after the schedule: clients that wait for the server see its end.
        gates.on_deadlock = server.process.kill
        try:
            for name in [*sends, *([listener] if listener else [])]:
                gates.about = f"{name} to be let in"
                clients[name] = enter(gates, server, name)
            names = {address: name for address, name in gates.names.items() if name in sends}
            with gates.changed:
                gates.on_deadlock = None  # force() sees it, and says at which step

            def go():
                for name, line in sends.items():
                    clients[name].send(line)

            forced = gates.force(schedule, go, names, deadline)
            if listener and not forced.deadlock:  # else the server may be deadlocked
                gates.on_deadlock = server.process.kill
                for name, client in clients.items():
                    gates.about = f"an answer to {name}"
                    client.fence()
        except (CheckFailed, OSError) as error:
            if forced is None:
                server.end()
                raise with_stderr(error, gates.deadlock, server) from None
            forced.after = gates.deadlock or str(error)
        finally:
            for client in clients.values():
                client.close()
            server.end()
        forced.stderr = tail(server.stderr)
    return forced, clients[listener].lines if listener else []


def enter(gates: Gates, server: Server, name: str) -> WireClient:
    """Connects a client, and returns it when it is a member."""
    client = WireClient(server.address, name=name)
    host, port = client.socket.getsockname()[:2]
    gates.names[f"{host}:{port}"] = name
    try:
        client.join(name, f"secret-of-{name}")
        client.fence()
    except BaseException:
        client.close()
        raise
    return client


def with_stderr(error: Exception, deadlock: str | None, server: Server) -> Exception:
    """Returns an exception for members that were not let in, with the server's stderr as a note."""
    if deadlock:
        error = CheckFailed("the members to be let in", deadlock, "stuck", proven=True)
    lines = tail(server.stderr) or ["(none)"]
    error.add_note("\n".join(["The server's last lines on stderr:", *lines]))
    return error
