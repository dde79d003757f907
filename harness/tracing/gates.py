"""Gates: the order in which the threads and processes of a real server take their steps, forced from outside.

A server that runs with --trace DIR, and finds a socket DIR/gates, shows each event there before it goes on (implementations/common/trace.py). So a
schedule can be written down, `ana:read ben:read ana:write ben:write`, and comes true every time, in threads and in processes
alike: no step is let go before the one that stands before it is done. Where a lock makes a step impossible, that is said, and why.
"""

import ctypes
import functools
import json
import os
import selectors
import signal
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, field
from typing import Callable

from harness.driving import deadlines
from harness.driving.client import WireClient
from harness.driving.record import Unmet
from harness.driving.server import Server, tail
from implementations.common.trace import KINDS

# Words for events. What a server is about to write, it decided by what it read before; once it is written, it goes on from there.
WORDS = {"read": ("B.read", "B.keep"), "write": ("B.write", "E.keep")}
WAITS = (
    "B.lock.wait",
    "B.pipe.read",
)  # after these an actor waits for another: for who holds the lock, or for who writes the pipe
QUIET = 1.0  # seconds without a step after which tell() says what the gates wait for,
TELL_AGAIN = 5.0  # and after which it says so again
CERTAIN = 0.5  # seconds in which nobody in a circle moves: a lock that its holder may take twice is taken sooner
TICK = 0.05  # seconds between two looks
PR_SET_PDEATHSIG = 1


class Wrong(ValueError):
    """A schedule that cannot be read; the text says where."""


@dataclass
class Actor:
    """A thread, or a process, seen through its connection."""

    name: str
    connection: socket.socket
    last: dict = field(default_factory=dict)  # the event it showed last
    held: bool = False  # and was not yet told to go on from
    gone: bool = False  # it has ended
    since: float = (
        0.0  # seconds on the monotonic clock: when it last showed an event, or was let go
    )


@dataclass
class Forced:
    """What became of a schedule. `done`: steps that were taken, in order; `stuck`: why the next one could not be, or None;
    `possible`: False if it is certain that this program never takes that step then; `seen`: all events, as they were shown;
    `deadlock`: whether that is because the program is deadlocked; `after`: what went wrong once all gates were open, or None;
    `stderr`: the last lines that the server wrote there."""

    steps: list
    done: list
    stuck: str | None
    possible: bool
    seen: list
    deadlock: bool = False
    after: str | None = None
    stderr: list = field(default_factory=list)

    def __str__(self):
        return self.stuck or f"all {len(self.steps)} steps were taken, in this order"


def parse(schedule):
    """[(actor, event)] of `ana:read ben:read ...`. An event is `read`, `write`, or as the trace has it: `lock.wait`, `E.lock.wait`."""
    steps = [tuple(word.partition(":")[::2]) for word in schedule.split()]
    for actor, event in steps:
        if not actor or not event:
            raise Wrong(f"{schedule!r}: a step is ACTOR:EVENT, such as ana:read")
        if event.removeprefix("B.").removeprefix("E.") not in (*WORDS, *KINDS):
            raise Wrong(
                f"{actor}:{event}: there is no such event; there are {', '.join([*WORDS, *KINDS])}"
            )
    if not steps:
        raise Wrong("a schedule has at least one step")
    return steps


def is_meant(word, event):
    return event in WORDS.get(word, (word, f"B.{word}"))


def is_idle(actor):
    """Whether he waits for his client, and for nobody else."""
    return not actor.held and actor.last["e"] in ("B.recv", "B.wait")


class Gates:
    """Holds the gates of whoever is started with --trace `directory` from here on. Use it with `with`: at the end all are open.

    tell(text): called from another thread while nothing happens, with what is waited for.
    Raises OSError if the socket cannot be made: the path of `directory` must be shorter than 100 bytes.
    """

    def __init__(self, directory: str, tell: Callable[[str], None] | None = None):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.path = os.path.join(directory, "gates")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(1024)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.changed = threading.Condition()  # guards all below
        self.actors = {}  # connection: Actor
        self.names = {}  # address: the name that the schedule has for it
        self.steps, self.done = [], 0  # the schedule; so many of its steps were let go
        self.moving = None  # the actor that was let go last, and has not been heard of since
        self.holders = {}  # lock: the actor that has it
        self.ended = {}  # name: the actor of that name that ended last
        self.seen = []
        self.closed = False
        self.tell, self.told_at = tell, None  # when it was last called for what is waited for now
        self.waits_since = None, 0.0  # what is waited for, and since when
        self.about = ""  # what is waited for outside force(), for tell()
        self.on_deadlock = None  # called once, when the program is deadlocked,
        self.deadlock = None  # and why it does
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def __enter__(self):
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

    def force(self, schedule, go=lambda: None, names=None, deadline=None):
        """Forces `schedule` on what go() sets going, and returns a Forced. Raises Wrong.

        names: {address, as the trace has it: name in the schedule}; go() is called when all of these wait for their clients.
        deadline: seconds without a step, after which we wait no longer.
        """
        steps, seconds = parse(schedule), deadlines.DEADLINE if deadline is None else deadline
        with self.changed:
            self.names, self.seen = dict(names or {}), []
            self.ended.clear()
            self.about = "all to wait for their clients"
            self.changed.wait_for(
                lambda: (
                    set(self.names)
                    <= {
                        actor.last["a"]
                        for actor in self.actors.values()
                        if actor.last and is_idle(actor)
                    }
                ),
                seconds,
            )
            for actor in self.actors.values():
                actor.name = self.name_of(actor)
            self.steps, self.done, self.moving = steps, 0, None
        go()
        with self.changed:
            end = time.monotonic() + seconds
            reached, why, possible, deadlock = 0, None, True, False
            while (self.done < len(self.steps) or self.moving) and not why:
                if self.done > reached:
                    reached, end = self.done, time.monotonic() + seconds
                why, deadlock = self.why_never()
                possible, why = not why, why or self.why_no_more()
                if not why and not self.changed.wait(TICK) and time.monotonic() > end:
                    why = self.why_not_yet(seconds)
            steps, done = self.steps, self.steps[: self.done]
            self.steps, self.done, self.moving, self.about = [], 0, None, ""
            for actor in self.actors.values():
                self.let_go(actor)
        return Forced(steps, done, why, possible, list(self.seen), deadlock)

    # -- The thread that sits at the gates ---------------------------------------------------------------------------------------

    def serve(self):
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
                stuck = (
                    self.on_deadlock if self.on_deadlock and (why := self.stands_still()) else None
                )
                if stuck:
                    self.deadlock, self.on_deadlock = why, None
            if text:
                self.tell(text)
            if stuck:
                stuck()

    def what_to_tell(self):
        """What tell() is to say now, if anything."""
        now, waits_for = time.monotonic(), (self.done, len(self.steps), self.about)
        if waits_for != self.waits_since[0]:
            self.waits_since = waits_for, now
            self.told_at = None
        waiting = self.done < len(self.steps) or self.about
        if (
            not self.tell
            or not waiting
            or now - self.waits_since[1] < QUIET
            or self.told_at
            and now - self.told_at < TELL_AGAIN
        ):
            return None
        self.told_at = now
        return self.waiting()

    def waiting(self):
        """What is waited for, and where those stand who matter: a line."""
        if self.steps:
            name, word = self.steps[self.done]
            return f"waiting for step {self.done + 1}, {name}:{word}: {self.where(name)}"
        stuck = [
            self.where_is(actor)
            for actor in self.actors.values()
            if not actor.held and actor.last.get("e") == "B.lock.wait"
        ]
        return "; ".join([f"waiting for {self.about}", *stuck])

    def where(self, name):
        actor = next(
            (actor for actor in self.actors.values() if actor.name == name and actor.last),
            self.ended.get(name),
        )
        return self.where_is(actor) if actor else f"{name} was never seen"

    def where_is(self, actor):
        chain, reasons, is_circle = self.chain(actor)
        if is_circle:
            return "; ".join(reasons)
        last = chain[-1]
        how = (
            "has ended, and was last seen at"
            if last.gone
            else "is held before"
            if last.held
            else "was last seen at"
        )
        return "; ".join(
            [*reasons, f"{last.name} {how} {last.last['e']} {last.last['o']}".rstrip()]
        )

    def hear(self, actor):
        """He shows an event, or is gone."""
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

    def name_of(self, actor):
        address = actor.last.get("a", "")
        return self.names.get(address, address)

    def move(self):
        """Lets go whoever may go: all that the schedule does not name, and who is to take its next step."""
        for actor in list(self.actors.values()):
            if actor.held and not self.is_scheduled(actor):
                self.let_go(actor)
        if self.moving and self.waits_for(self.moving):
            self.moving = None  # he has taken his step, and stands still
        while self.moving is None and self.done < len(self.steps):
            name, word = self.steps[self.done]
            actor = next(
                (
                    actor
                    for actor in self.actors.values()
                    if actor.held and actor.name == name and is_meant(word, actor.last["e"])
                ),
                None,
            )
            if actor is None:
                return
            self.done += 1
            self.let_go(actor)
            self.moving = None if self.waits_for(actor) else actor

    def is_scheduled(self, actor):
        """Whether he is to wait for his turn: before a step, and before a lock, which he might else take from under whose turn it is."""
        word = next((word for name, word in self.steps[self.done :] if name == actor.name), None)
        is_his_turn = word and self.steps[self.done][0] == actor.name and self.moving is None
        return word and (
            is_meant(word, actor.last["e"]) or actor.last["e"] == "B.lock.wait" and not is_his_turn
        )

    def let_go(self, actor):
        if actor.held:
            actor.held, actor.since = False, time.monotonic()
            try:
                actor.connection.send(b"!")
            except OSError:
                pass  # gone: its end will be heard

    # -- Why a step is not taken ---------------------------------------------------------------------------------------------------

    def waits_for(self, actor):
        """The actor without whom this one does not go on, if that is certain; None if it may."""
        event, about = actor.last.get("e"), actor.last.get("o")
        if actor.held or event not in WAITS:
            return None
        if event == "B.lock.wait":
            return self.holders.get(about)
        return next((other for other in self.actors.values() if other.name == about), None)

    def chain(self, actor):
        """(actors, reasons, whether the last of them waits for one of them): for whom this one waits, for whom that one does, and so on."""
        chain, reasons = [actor], []
        while True:
            last = chain[-1]
            other = None if last.held or last.gone else self.waits_for(last)
            if other is None:
                return chain, reasons, False
            if other is last:
                reasons.append(
                    f"{last.name} waits for the lock {last.last['o']!r}, which it holds itself: the holder takes the lock again"
                )
            elif last.last["e"] == "B.lock.wait":
                reasons.append(
                    f"{last.name} waits for the lock {last.last['o']!r}, which {other.name} {'held when it ended' if other.gone else 'holds'}"
                )
            else:
                reasons.append(f"{last.name} waits for {other.name}")
            if other in chain:
                return chain, reasons, True
            chain.append(other)

    def deadlocked(self, actor):
        """Why this one is deadlocked, or None: in a circle, or behind a thread that ended with a lock."""
        chain, reasons, is_circle = self.chain(actor)
        last = chain[-1]
        if is_circle:
            circle = chain[chain.index(self.waits_for(last)) :]
            if time.monotonic() - max(other.since for other in circle) < CERTAIN:
                return None
            return "; ".join(
                [*reasons, "a deadlock" if len(circle) == 1 else "a circle: a deadlock"]
            )
        if (
            last.gone and len(chain) > 1 and last.last.get("p") == chain[-2].last.get("p")
        ):  # the lock of a process that ends is free
            return "; ".join([*reasons, "a deadlock"])
        return None

    def stands_still(self):
        """Why one of them is deadlocked, or None."""
        return next(filter(None, map(self.deadlocked, list(self.actors.values()))), None)

    def why_never(self):
        """(one sentence if the next step can never be taken, else None; whether that is a deadlock)."""
        if self.moving or self.done == len(self.steps):
            return None, False
        name, word = self.steps[self.done]
        actor = next((actor for actor in self.actors.values() if actor.name == name), None)
        if actor is None:
            return None, False
        chain, reasons, _ = self.chain(actor)
        deadlock = self.deadlocked(actor)
        if deadlock:
            why = deadlock
        elif chain[-1].held:
            why = "; ".join(
                [
                    *reasons,
                    f"{chain[-1].name} is held before {chain[-1].last['e']} until {name} has taken it",
                ]
            )
        else:
            return None, False
        return (
            f"stuck at step {self.done + 1}, {name}:{word}: {why}. In this program that step is impossible here",
            bool(deadlock),
        )

    def why_no_more(self):
        """One sentence if whoever is to take the next step has ended, else None."""
        if self.done == len(self.steps):
            return None
        name, word = self.steps[self.done]
        if name not in self.ended or any(actor.name == name for actor in self.actors.values()):
            return None
        return f"stuck at step {self.done + 1}, {name}:{word}: {self.where(name)}"

    def why_not_yet(self, seconds):
        name, word = self.steps[self.done] if self.done < len(self.steps) else self.steps[-1]
        return f"stuck at step {min(self.done, len(self.steps) - 1) + 1}, {name}:{word}: not reached in {seconds:g} s; {self.where(name)}"


def dies_with_us() -> Callable[[], object]:
    """For preexec: the new process is killed when the thread that starts it ends, kill -9 included. (Linux only; elsewhere nothing.)"""
    try:
        return functools.partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, signal.SIGKILL)
    except AttributeError:
        return lambda: None


def force_on(command, folder, schedule, sends, listener=None, deadline=None, tell=None):
    """Forces `schedule` on a server, `command` in `folder`. Returns (Forced, the lines that `listener` heard). Raises Wrong, Unmet, OSError.

    sends: {member: the line that sets its steps going}; listener: one more member, or None, who only hears. deadline: as force() takes it;
    tell: as Gates takes it. What is raised has the server's stderr as a note.
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
        clients, forced = {}, None
        gates.on_deadlock = (
            server.process.kill
        )  # before and after the schedule: whoever waits for the server hears its end
        try:
            for name in [*sends, *([listener] if listener else [])]:
                gates.about = f"{name} to be let in"
                clients[name] = WireClient(server.address, name=name)
                gates.names["%s:%d" % clients[name].socket.getsockname()[:2]] = name
                clients[name].join(name, f"secret-of-{name}")
                clients[name].fence()
            names = {address: name for address, name in gates.names.items() if name in sends}
            with gates.changed:
                gates.on_deadlock = None  # force() finds it itself, and says at which step
            forced = gates.force(
                schedule,
                lambda: [clients[name].send(line) for name, line in sends.items()],
                names,
                deadline,
            )
            if listener and not forced.deadlock:  # else the server may be deadlocked
                gates.on_deadlock = server.process.kill
                for name, client in clients.items():
                    gates.about = f"an answer to {name}"
                    client.fence()
        except (Unmet, OSError) as problem:
            why = gates.deadlock or str(problem)
            if forced is None:
                server.end()
                found = (
                    Unmet("the members to be let in", why, "stuck", proven=True)
                    if gates.deadlock
                    else problem
                )
                found.add_note(
                    "\n".join(
                        ["The server's last lines on stderr:", *(tail(server.stderr) or ["(none)"])]
                    )
                )
                raise found from None
            forced.after = why
        finally:
            for client in clients.values():
                client.close()
            server.end()
        forced.stderr = tail(server.stderr)
    return forced, clients[listener].lines if listener else []
