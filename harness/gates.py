"""Gates: the order in which the threads and processes of a real server take their steps, forced from outside.

A server that runs with --trace DIR, and finds a socket DIR/gates, shows each event there before it goes on (implementations/common/trace.py). So a
schedule can be written down, `ana:read beto:read ana:write beto:write`, and comes true every time, in threads and in processes
alike: no step is let go before the one that stands before it is done. Where a lock makes a step impossible, that is said, and why.
"""
import json
import os
import selectors
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, field

from harness import wire
from harness.server import Server
from implementations.common.trace import KINDS

# Words for events. What a server is about to write, it decided by what it read before; once it is written, it goes on from there.
WORDS = {"read": ("B.read", "B.keep"), "write": ("B.write", "E.keep")}
WAITS = "B.lock.wait", "B.pipe.read"    # after these an actor waits for another: for who holds the lock, or for who writes the pipe


class Wrong(ValueError):
    """A schedule that cannot be read; the text says where."""


@dataclass
class Actor:
    """A thread, or a process, seen through its connection."""
    name: str
    connection: socket.socket
    last: dict = field(default_factory=dict)    # the event it showed last
    held: bool = False                          # and was not yet told to go on from


@dataclass
class Forced:
    """What became of a schedule. `done`: steps that were taken, in order; `stuck`: why the next one could not be, or None;
    `possible`: False if it is certain that this program never takes that step then; `seen`: all events, as they were shown."""
    steps: list
    done: list
    stuck: str | None
    possible: bool
    seen: list

    def __str__(self):
        return self.stuck or f"all {len(self.steps)} steps were taken, in this order"


def parse(schedule):
    """[(actor, event)] of `ana:read beto:read ...`. An event is `read`, `write`, or as the trace has it: `lock.wait`, `E.lock.wait`."""
    steps = [tuple(word.partition(":")[::2]) for word in schedule.split()]
    for actor, event in steps:
        if not actor or not event:
            raise Wrong(f"{schedule!r}: a step is ACTOR:EVENT, such as ana:read")
        if event.removeprefix("B.").removeprefix("E.") not in (*WORDS, *KINDS):
            raise Wrong(f"{actor}:{event}: there is no such event; there are {', '.join([*WORDS, *KINDS])}")
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

    Raises OSError if the socket cannot be made: the path of `directory` must be shorter than 100 bytes.
    """

    def __init__(self, directory):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.path = os.path.join(directory, "gates")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(1024)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.changed = threading.Condition()    # guards all below
        self.actors = {}                        # connection: Actor
        self.names = {}                         # address: the name that the schedule has for it
        self.steps, self.done = [], 0           # the schedule; so many of its steps were let go
        self.moving = None                      # the actor that was let go last, and has not been heard of since
        self.holders = {}                       # lock: the actor that has it
        self.seen = []
        self.closed = False
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
        steps, seconds = parse(schedule), wire.DEADLINE if deadline is None else deadline
        with self.changed:
            self.names, self.seen = dict(names or {}), []
            self.changed.wait_for(lambda: set(self.names) <= {actor.last["a"] for actor in self.actors.values() if actor.last and is_idle(actor)}, seconds)
            for actor in self.actors.values():
                actor.name = self.name_of(actor)
            self.steps, self.done, self.moving = steps, 0, None
        go()
        with self.changed:
            end = time.monotonic() + seconds
            reached, why, possible = 0, None, True
            while (self.done < len(self.steps) or self.moving) and not why:
                if self.done > reached:
                    reached, end = self.done, time.monotonic() + seconds
                why = self.why_never()
                possible = not why
                if not why and not self.changed.wait(max(0, end - time.monotonic())):
                    why = self.why_not_yet(seconds)
            steps, done = self.steps, self.steps[:self.done]
            self.steps, self.done, self.moving = [], 0, None
            for actor in self.actors.values():
                self.let_go(actor)
        return Forced(steps, done, why, possible, list(self.seen))

    # -- The thread that sits at the gates ---------------------------------------------------------------------------------------

    def serve(self):
        while True:
            ready = self.selector.select(0.05)
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

    def hear(self, actor):
        """He shows an event, or is gone."""
        try:
            line = actor.connection.recv(4096)
        except OSError:
            line = b""
        if self.moving is actor:
            self.moving = None
        try:
            last = json.loads(line) if line else None
        except ValueError:              # no event, but bytes that the program wrote there
            last = None
        if not isinstance(last, dict) or not {"e", "o"} <= last.keys():
            actor.held = False
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
            self.moving = None              # he has taken his step, and stands still
        while self.moving is None and self.done < len(self.steps):
            name, word = self.steps[self.done]
            actor = next((actor for actor in self.actors.values()
                          if actor.held and actor.name == name and is_meant(word, actor.last["e"])), None)
            if actor is None:
                return
            self.done += 1
            self.let_go(actor)
            self.moving = None if self.waits_for(actor) else actor

    def is_scheduled(self, actor):
        """Whether he is to wait for his turn: before a step, and before a lock, which he might else take from under whose turn it is."""
        word = next((word for name, word in self.steps[self.done:] if name == actor.name), None)
        is_his_turn = word and self.steps[self.done][0] == actor.name and self.moving is None
        return word and (is_meant(word, actor.last["e"]) or actor.last["e"] == "B.lock.wait" and not is_his_turn)

    def let_go(self, actor):
        if actor.held:
            actor.held = False
            try:
                actor.connection.send(b"!")
            except OSError:
                pass                    # gone: its end will be heard

    # -- Why a step is not taken ---------------------------------------------------------------------------------------------------

    def waits_for(self, actor):
        """The actor without whom this one does not go on, if that is certain; None if it may."""
        event, about = actor.last.get("e"), actor.last.get("o")
        if actor.held or event not in WAITS:
            return None
        if event == "B.lock.wait":
            return self.holders.get(about)
        return next((other for other in self.actors.values() if other.name == about), None)

    def why_never(self):
        """One sentence if the next step can never be taken, else None."""
        if self.moving or self.done == len(self.steps):
            return None
        name, word = self.steps[self.done]
        chain, reasons = [], []
        actor = next((actor for actor in self.actors.values() if actor.name == name), None)
        while actor and actor not in chain:
            chain.append(actor)
            if actor.held:
                reasons.append(f"{actor.name} is held before {actor.last['e']} until {name} has taken it")
                break
            other = self.waits_for(actor)
            if other is None:
                return None
            about = f"the lock {actor.last['o']!r}, which {other.name} holds" if actor.last["e"] == "B.lock.wait" else other.name
            reasons.append(f"{actor.name} waits for {about}")
            actor = other
        if not reasons:
            return None
        if actor and not actor.held:
            reasons.append("a circle: a deadlock")
        return f"stuck at step {self.done + 1}, {name}:{word}: {'; '.join(reasons)}. In this program that step is impossible here"

    def why_not_yet(self, seconds):
        name, word = self.steps[self.done] if self.done < len(self.steps) else self.steps[-1]
        last = next((actor.last for actor in self.actors.values() if actor.name == name and actor.last), None)
        where = f"{name} was last seen at {last['e']} {last['o']}".rstrip() if last else f"{name} was never seen"
        return f"stuck at step {min(self.done, len(self.steps) - 1) + 1}, {name}:{word}: not reached in {seconds:g} s; {where}"


def force_on(command, folder, schedule, sends, listener=None, deadline=None):
    """Forces `schedule` on a server, `command` in `folder`. Returns (Forced, the lines that `listener` heard). Raises Wrong, Unmet, OSError.

    sends: {member: the line that sets his steps going}; listener: one more member, or None, who only hears. deadline: as force() takes it.
    """
    with tempfile.TemporaryDirectory(prefix="grupo-") as place, Gates(trace := os.path.join(place, "trace")) as gates:
        server = Server(command, directory=os.path.join(place, "group"), args=["--admit", "all", "--trace", trace], cwd=folder)
        clients = {}
        try:
            for name in [*sends, *([listener] if listener else [])]:
                clients[name] = wire.WireClient(server.address, name=name)
                clients[name].join(name, f"secret-of-{name}")
                clients[name].fence()
            names = {"%s:%d" % clients[name].socket.getsockname()[:2]: name for name in sends}
            forced = gates.force(schedule, lambda: [clients[name].send(line) for name, line in sends.items()], names, deadline)
            if listener:                # else the server may stand still for ever
                for client in clients.values():
                    client.fence()
        finally:
            for client in clients.values():
                client.close()
            server.end()
    return forced, clients[listener].lines if listener else []
