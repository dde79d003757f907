"""Forces an order of steps that somebody wrote down, and says whether any order has these steps.

A schedule such as `ana:read ben:read ana:write ben:write` names an actor and an event for each
step. A step is all that its actor does from that event up to its own next step, or until it waits;
the next step begins only then. Actors that the schedule does not name go on whenever they can. If a
step cannot be taken, every order of the program's steps is tried within a bound, to learn whether
another one has them.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.driving.client import WireClient
from harness.driving.messages import msg
from harness.driving.processes import dies_with_us
from harness.driving.record import CheckFailed
from harness.driving.server import Server, tail
from harness.explore.controller import Actor, Controller, Ended, Restless
from harness.explore.exploration import Exploration, Explored, Workers
from harness.explore.program import Program
from harness.explore.runs import ARRIVES, REST, Chooser, NotExplored, Run, Runner
from harness.explore.schedules import Point
from harness.explore.workloads import Workload

# Words for events: a server reads a request, and writes what it has decided.
WORDS = {"read": ("B.read", "E.recv"), "write": ("B.write", "B.keep")}
# Events of our servers' traces, and of programs that get their gates from outside.
KINDS = (
    *("wait", "recv", "send", "lock.wait", "lock.hold", "pipe.write", "pipe.read", "accept"),
    *("fork", "hash", "keep", "save", "cond.wait", "queue.get", "sem.wait", "join"),
)
BOUNDS = {"command": 2, "server": 1}  # preemptions of the orders that are tried
SECONDS = 120.0  # for trying them
QUIET = 4.0  # seconds after which a wait before the schedule is said
TELL_AGAIN = 5.0  # seconds until it is said again
CERTAIN = 0.5  # seconds that a circle lasts while the gates are open: then it is a deadlock

ScriptStep = tuple[str, str]  # (actor, event)


class Wrong(ValueError):
    """A schedule that cannot be parsed; the text says where."""


@dataclass
class Orders:
    """How many orders of a program's steps were tried, with at most so many preemptions (`bound`).
    `all`: every one of these. `points`: of one that has the steps of the schedule, if there is any.
    `printed`: what a command printed in each.
    """

    tried: int
    bound: int
    all: bool
    points: list[Point] | None = None
    printed: list[str] = field(default_factory=list)

    @property
    def impossible(self) -> bool:
        """Whether no order has these steps."""
        return self.all and self.points is None

    def __str__(self) -> str:
        if self.points is not None:
            names = " ".join(point.step.actor for point in self.points)
            return f"Another order has these steps: {names}"
        if self.all:
            plural = "s" * (self.bound > 1)
            return (
                f"Impossible in all {self.tried} orders, with at most {self.bound} "
                f"preemption{plural}."
            )
        return f"Impossible in the {self.tried} orders that were tried; these are not all."


@dataclass
class Forced:
    """The outcome of a schedule.

    steps       the schedule
    done        the steps that were taken, in order
    stuck       why the next step was not taken, or None
    deadlock    whether the program is deadlocked
    gone        whether the actor of the next step has ended, or was never seen
    after       what failed after all gates were opened, or None
    stderr      the last lines that the server wrote there
    """

    steps: list[ScriptStep]
    done: list[ScriptStep]
    stuck: str | None
    deadlock: bool = False
    gone: bool = False
    after: str | None = None
    stderr: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return self.stuck or f"all {len(self.steps)} steps were taken, in this order"


def parse(schedule: str) -> list[ScriptStep]:
    """Return the (actor, event) steps of `ana:read ben:read ...`. Raises Wrong.

    An event is `read`, `write`, or a name from the trace, such as `lock.wait` or `E.lock.wait`.
    """
    steps: list[ScriptStep] = []
    for step in schedule.split():
        actor, _, event = step.partition(":")
        if not actor or not event:
            raise Wrong(f"{schedule!r}: a step is ACTOR:EVENT, such as ana:read")
        if event.removeprefix("B.").removeprefix("E.") not in (*WORDS, *KINDS):
            names = ", ".join([*WORDS, *KINDS])
            raise Wrong(f"{actor}:{event}: there is no such event; there are {names}")
        steps.append((actor, event))
    if not steps:
        raise Wrong("a schedule has at least one step")
    return steps


def is_meant(word: str, event: str) -> bool:
    """Return whether a step's `word` means this event of the trace."""
    return event in WORDS.get(word, (word, f"B.{word}"))


def occurs(steps: Sequence[ScriptStep], points: Iterable[Point]) -> bool:
    """Return whether a run takes the steps of a schedule, one after the other."""
    done = 0
    for point in points:
        name, event = point.step.actor, point.step.event
        begun = name in [who for who, _ in steps[:done]]
        words = [word for who, word in steps[done:] if who == name]
        if not words or (done and name == steps[done - 1][0] and not is_meant(words[0], event)):
            continue  # it has no step to come, or goes on with the present one
        if name == steps[done][0] and is_meant(words[0], event):
            done += 1
        elif begun or is_meant(words[0], event):
            return False  # its last step was not whole, or the next one comes before its turn
    return done == len(steps)


# -- One schedule


class Script:
    """Takes the steps of a schedule on a program whose gates are closed."""

    def __init__(self, controller: Controller, steps: list[ScriptStep]):
        self.controller, self.steps = controller, steps
        self.done = 0
        self.deadlock = self.gone = False

    def take(self) -> str | None:
        """Take the steps; return why one could not be taken, or None."""
        self.controller.stops = self.is_next
        try:
            while self.done < len(self.steps):
                if why := self.begin() or self.go_on():
                    return self.stuck(why)
                self.done += 1
        except Restless:
            return self.stuck(f"the program does not come to rest within {REST:g} s: it spins")
        finally:
            self.controller.stops = lambda actor: False
        return None

    def begin(self) -> str | None:
        """Bring the actor of the next step to its event; return why that cannot be, or None."""
        name, word = self.steps[self.done]
        while True:
            self.settle()
            if why := self.why_deadlocked():
                return why
            actor = self.actor(name)
            if actor is None or not actor.held:
                return self.where(name)
            if is_meant(word, actor.event["e"]):
                return None
            if not self.controller.may_go(actor):
                return self.where(name)
            self.controller.let_go(actor)

    def go_on(self) -> str | None:
        """Have it do all of its step; return why it cannot, or None."""
        name, _ = self.steps[self.done]
        word = next((word for who, word in self.steps[self.done + 1 :] if who == name), None)
        is_first = True
        while True:
            actor = self.actor(name)
            if actor is None and word:
                return self.where(name)
            if actor is None or not actor.held:  # it has ended, or waits for its client
                return None
            if word and not is_first and is_meant(word, actor.event["e"]):
                return None
            if not self.controller.may_go(actor):
                # To ask for a lock is a step of its own; to stop there in the middle is none.
                return self.why_deadlocked() or (None if is_first else self.where(name))
            self.controller.let_go(actor)
            is_first = False
            self.settle()

    def settle(self) -> None:
        """Wait until all is at rest, and nobody can go on but those whose steps are to come."""
        controller, left = self.controller, {name for name, _ in self.steps[self.done :]}
        while True:
            settled(controller)
            free = [actor for actor in controller.enabled() if actor.name not in left]
            if not free:
                return
            controller.let_go(free[0])

    def is_next(self, actor: Actor) -> bool:
        """Return whether an actor is where one of its steps that are to come may begin."""
        words = (word for name, word in self.steps[self.done :] if name == actor.name)
        return any(is_meant(word, actor.event["e"]) for word in words)

    def actor(self, name: str) -> Actor | None:
        """Return the actor of this name, if it lives."""
        return next((one for one in self.controller.living() if one.name == name), None)

    # -- Why a step is not taken

    def why_deadlocked(self) -> str | None:
        """Return why the program is deadlocked, or None."""
        why = circle_text(self.controller)
        self.deadlock = why is not None
        return why

    def where(self, name: str) -> str:
        """Return where an actor is, or for which others it waits and where these are."""
        actor = self.actor(name)
        if actor is None:
            gone = self.controller.ended.get(name)
            self.gone = True
            if gone is None:
                return f"{name} was never seen"
            return f"{name} has ended, and was last seen at {gone.place}"
        reasons = []
        while (other := self.controller.waits_for(actor)) is not None:
            reasons.append(wait_text(actor, other, self.controller))
            actor = other
        if actor.held:
            until = f" until {name} has taken it" if reasons else ""
            return "; ".join([*reasons, f"{actor.name} is held before {actor.event['e']}{until}"])
        return "; ".join([*reasons, f"{actor.name} was last seen at {actor.place}"])

    def stuck(self, why: str) -> str:
        """Return a sentence that names the next step, and why it is not taken."""
        name, word = self.steps[self.done]
        return f"stuck at step {self.done + 1}, {name}:{word}: {why}"


def settled(controller: Controller) -> None:
    """Wait until all is at rest, which it also is if the program has ended. Raises Restless."""
    try:
        controller.settle(REST)
    except Ended:
        pass


def wait_text(actor: Actor, other: Actor, controller: Controller) -> str:
    """Return that an actor waits for a lock that another one holds."""
    lock = f"{actor.name} waits for the lock {actor.event['o']!r}, which"
    if actor is other:
        return f"{lock} it holds itself: the holder takes the lock again"
    if other not in controller.living():
        return f"{lock} {other.name} held when it ended"
    return f"{lock} {other.name} holds"


def circle_text(controller: Controller) -> str | None:
    """Return why some actors wait for each other without end; None if none do."""
    circle = controller.circle()
    if not circle:
        return None
    reasons = []
    for actor in circle:
        if (other := controller.waits_for(actor)) is not None:
            reasons.append(wait_text(actor, other, controller))
    is_circle = len(circle) > 1 and circle[-1] in controller.living()
    return "; ".join([*reasons, "a circle: a deadlock" if is_circle else "a deadlock"])


def force(
    controller: Controller,
    schedule: str,
    go: Callable[[], object],
    names: dict[str, str] | None = None,
) -> Forced:
    """Force a schedule on the work that go() starts. Raises Wrong.

    go          starts the work; a process that it returns belongs to the program
    names       {address, as in the trace: name in the schedule}
    """
    steps = parse(schedule)
    controller.names = dict(names or {})
    with controller.closed():
        why, script = None, Script(controller, steps)
        try:
            if controller.actors:
                controller.rest(REST)
            controller.time_passes = False
            started = go()
            if isinstance(started, subprocess.Popen):
                controller.roots.add(started.pid)
            arrive(controller, {name for name, _ in steps})
            why = script.take()
        except Restless:
            why = script.stuck(f"the program does not come to rest within {REST:g} s: it spins")
        except Ended:
            why = script.stuck("the program has ended")
        finally:
            controller.time_passes = True
    return Forced(steps, steps[: script.done], why, script.deadlock, script.gone)


def arrive(controller: Controller, names: set[str]) -> None:
    """Wait until what was sent has reached these actors: the network may take a moment."""
    end = time.monotonic() + ARRIVES
    while True:
        settled(controller)
        here = {actor.name: actor.held for actor in controller.living()}
        if any(here.values()) and all(here.get(name, True) for name in names):
            return
        if not controller.hear(max(0.0, end - time.monotonic())):
            return


# -- Every order


class Search(Exploration):
    """Looks for a run that has the steps of a schedule."""

    steps: Sequence[ScriptStep] = ()
    points: list[Point] | None = None

    def note(self, choose: Any, run: Run) -> None:
        """As of Exploration; a run that has the steps is the last."""
        super().note(choose, run)
        self.explored.run = None  # what breaks rules is not what is looked for
        if self.steps and not run.diverged and occurs(self.steps, run.points):
            self.points, self.explored.run = run.points, run

    def confirmed(self, workers: Any) -> int:
        """Not replayed: that it was seen once shows that it is possible."""
        return 1


def orders(
    workers: Any, workload: Workload, clients: int, bound: int, steps: Sequence[ScriptStep]
) -> Orders:
    """Try every order of a program's steps, until one has these; all without these. Raises
    NotExplored.

    workers     runs the program, as exploration.Alone does
    """
    search = Search(Explored.nothing(workload, clients, bound))
    search.steps = steps
    explored = search.explore(workers, time.monotonic() + SECONDS)
    return Orders(
        explored.tree.tried, bound, explored.complete and not explored.diverged, search.points
    )


class Commands(Runner):
    """Runs a command that takes --trace, and ends by itself, under a controller."""

    busy = False

    def __init__(self, command: Sequence[str], cwd: str | Path, folder: Path, names: Iterable[str]):
        super().__init__(None, folder)
        self.command, self.cwd = command, cwd
        self.printed: list[str] = []
        self.controller.names = {name: name for name in names}

    def runs(
        self, of: object, job: Callable[[], Any], regular: frozenset[str] | None
    ) -> list[tuple[Any, Run]]:
        """As of exploration.Workers."""
        choose = job()
        return [] if choose is None else [(choose, self.once(choose, regular))]

    def once(self, choose: Chooser, regular: frozenset[str] | None) -> Run:
        """Run the command under one schedule. Raises NotExplored."""
        run, self.regular = Run([]), regular
        with self.controller.closed():
            process = started(self.command, self.cwd, self.controller)
            self.controller.roots, self.controller.time_passes = {process.pid}, False
            try:
                self.steps(run, choose)
            except Ended:
                pass
            except Restless:
                raise NotExplored(msg("it does not come to rest: it spins")) from None
            finally:
                self.at_rest(process)
        printed, _ = process.communicate()
        if regular is not None:  # the first runs only show who works
            self.printed.append(printed)
        return run

    def at_rest(self, process: subprocess.Popen[str]) -> None:
        """Kill a command in which nobody can go on."""
        if process.poll() is None:
            process.kill()


def started(
    command: Sequence[str], cwd: str | Path, controller: Controller
) -> subprocess.Popen[str]:
    """Start a command that has its gates at this controller."""
    return subprocess.Popen(
        [*command, "--trace", str(controller.path.parent)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=dies_with_us(),
    )


def orders_of_command(
    command: Sequence[str],
    cwd: str | Path,
    names: Iterable[str],
    steps: Sequence[ScriptStep] = (),
) -> Orders:
    """Try every order of the steps of a command that takes --trace, until one has these. Raises
    NotExplored.

    names       its actors, as in its trace
    """
    names = list(dict.fromkeys(names))
    with tempfile.TemporaryDirectory(prefix="grupo-") as place:
        commands = Commands(command, cwd, Path(place), names)
        try:
            workload = Workload("steps", msg("a command's steps"), ())
            found = orders(commands, workload, len(names), BOUNDS["command"], steps)
        finally:
            commands.close()
    found.printed = commands.printed
    return found


def force_command(command: Sequence[str], cwd: str | Path, schedule: str) -> tuple[str, Forced]:
    """Force a schedule on a command that takes --trace; return what it prints, and the outcome.

    Raises Wrong.
    """
    parse(schedule)
    processes: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="grupo-") as place:
        with Controller(Path(place, "trace")) as controller:

            def go() -> subprocess.Popen[str]:
                processes.append(started(command, cwd, controller))
                return processes[0]

            forced = force(controller, schedule, go)
            if forced.deadlock:
                processes[0].kill()
        return processes[0].communicate()[0], forced


# -- Schedules on a server


class Entering:
    """What is done before the schedule: it says for what it waits, and sees a deadlock."""

    def __init__(self, controller: Controller, tell: Callable[[str], None] | None):
        self.controller, self.tell = controller, tell
        self.about, self.since, self.told = "", time.monotonic(), 0.0
        self.circle: tuple[str, float] = "", 0.0  # what it is, and since when
        self.server: Server | None = None
        self.deadlock: str | None = None
        controller.watch = self.look

    def waits_for(self, about: str) -> None:
        """Note what is waited for from now on."""
        self.about, self.since, self.told = about, time.monotonic(), 0.0

    def look(self) -> None:
        """Look at the program; called often while the gates are open."""
        now, why = time.monotonic(), circle_text(self.controller) or ""
        if why != self.circle[0]:
            self.circle = why, now
        if why and self.server and not self.deadlock and now - self.circle[1] > CERTAIN:
            self.deadlock = why
            self.server.process.kill()  # clients that wait for it see its end
        is_time = now - self.since > QUIET and now - self.told > TELL_AGAIN
        if self.tell and self.about and is_time:
            self.told = now
            self.tell("; ".join(filter(None, [f"waiting for {self.about}", why])))


def force_on(
    command: list[str],
    folder: str,
    schedule: str,
    sends: dict[str, str],
    listener: str,
    tell: Callable[[str], None] | None = None,
) -> tuple[Forced, list[str]]:
    """Force a schedule on a server: `command`, run in `folder`, which takes --trace.

    sends       {member: the line that starts its steps}; {k} in it is a number, and empty here
    listener    one more member, which only listens
    tell        is called with what is waited for before the schedule, if that takes long

    Return the outcome, and the lines that `listener` received. Raises Wrong, CheckFailed, OSError;
    a CheckFailed or OSError has the server's last lines on stderr as a note.
    """
    parse(schedule)
    with tempfile.TemporaryDirectory(prefix="grupo-") as place:
        return forced_in(Path(place), command, folder, schedule, sends, listener, tell)


def orders_on(
    command: list[str], folder: str, sends: dict[str, str], steps: Sequence[ScriptStep]
) -> Orders:
    """Try every order of a server's steps, until one has these. Raises NotExplored.

    Parameters as in force_on().
    """
    workload = Workload("steps", msg("a server's steps"), tuple(sends.items()))
    with (
        tempfile.TemporaryDirectory(prefix="grupo-") as place,
        Workers(Program(command, folder).start, Path(place), os.cpu_count() or 1) as team,
    ):
        return orders(team, workload, len(sends), BOUNDS["server"], steps)


def forced_in(
    place: Path,
    command: list[str],
    folder: str,
    schedule: str,
    sends: dict[str, str],
    listener: str,
    tell: Callable[[str], None] | None,
) -> tuple[Forced, list[str]]:
    """As force_on(), with its files in a folder."""
    controller = Controller(place / "trace")
    entering = Entering(controller, tell)
    clients: dict[str, WireClient] = {}
    forced = None
    try:
        entering.waits_for("the server to start")
        server = entering.server = Server(
            command,
            directory=place / "group",
            args=["--admit", "all", "--trace", place / "trace"],
            cwd=folder,
            preexec=dies_with_us(),
        )
        try:
            for name in [*sends, listener]:
                entering.waits_for(f"{name} to be let in")
                clients[name] = enter(controller, server, name)
            entering.waits_for("")

            def go() -> None:
                for name, line in sends.items():
                    clients[name].send(line.format(k=""))

            names = {at: name for at, name in controller.names.items() if name in sends}
            forced = force(controller, schedule, go, names)
            if not forced.deadlock:
                for name, client in clients.items():
                    entering.waits_for(f"an answer to {name}")
                    client.fence()
        except (CheckFailed, OSError) as error:
            if forced is None:
                server.end()
                raise with_stderr(error, entering.deadlock, server) from None
            forced.after = entering.deadlock or str(error)
        finally:
            for client in clients.values():
                client.close()
            server.end()
    finally:
        controller.close()
    forced.stderr = tail(server.stderr)
    return forced, clients[listener].lines


def enter(controller: Controller, server: Server, name: str) -> WireClient:
    """Connect a client, and return it when it is a member."""
    client = WireClient(server.address, name=name)
    controller.names["%s:%d" % client.socket.getsockname()[:2]] = name
    try:
        client.join(name, f"secret-of-{name}")
        client.fence()
    except BaseException:
        client.close()
        raise
    return client


def with_stderr(error: Exception, deadlock: str | None, server: Server) -> Exception:
    """Return an exception for members that were not let in, with the server's stderr as a note."""
    if deadlock:
        error = CheckFailed("the members to be let in", deadlock, "stuck", proven=True)
    lines = tail(server.stderr) or ["(none)"]
    error.add_note("\n".join(["The server's last lines on stderr:", *lines]))
    return error
