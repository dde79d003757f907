"""Plays a workload under the controller, schedule after schedule, and has the model judge each."""

import contextlib
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.driving.client import CutOff
from harness.driving.messages import Message, msg
from harness.driving.record import CheckFailed, Entry, Record
from harness.driving.server import NotStarted
from harness.explore.controller import Actor, Controller, Ended, Restless
from harness.explore.program import Start
from harness.explore.schedules import Point, Step
from harness.explore.workloads import Workload
from harness.model.group import Rules, Standing
from harness.model.lines import Difference
from harness.model.play import Act, Play
from harness.model.search import Unclear

MOST_STEPS = 4_000  # of one schedule; a program that takes more of them spins
REST = 6.0  # seconds within which everything must come to rest
ARRIVES = 1.0  # seconds within which what was sent reaches a server that is at rest
PATIENCE = 3.0  # seconds without an answer after which it counts as missing
ENDS = 0.5  # seconds within which a process that has closed its input ends
ON_ONE_SERVER = 300  # schedules; then a new server is started

# Which of these actors goes on, at the point of this number; None: the one that should cannot.
Chooser = Callable[[int, list[str], str], int | None]


class NotExplored(Exception):
    """The program cannot be explored; the text says why."""


@dataclass
class Violation:
    """What a schedule broke: a `circle` of actors that wait for each other, or a `difference` from
    what the page allows. `entries` of the record: what was sent and seen in this schedule.
    """

    difference: Difference | None
    circle: list[Message] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


@dataclass
class Run:
    """One schedule that was tried: its points, and what it broke, if anything.

    `number`: how many its server had seen then, with this one. `diverged`: an actor of the prefix
    could not go on, so that it was another schedule. `unclear`: the model did not judge it.
    """

    points: list[Point]
    number: int = 1
    violation: Violation | None = None
    diverged: bool = False
    unclear: bool = False


class Runner:
    """A server under a controller, and its clients.

    `start` is None where something else than a server is run. `has_owner`: it takes orders.
    """

    def __init__(self, start: Start | None, folder: Path, has_owner: bool = True):
        self.start, self.folder, self.has_owner = start, folder, has_owner
        self.controller = Controller(folder / "gates")
        self.play: Play | None = None
        self.number = self.servers = 0
        self.on_server = 0  # schedules that the present server has seen
        self.rows: list[tuple[str, str]] = []  # of the workload: a name, and the line that it sends
        self.regular: frozenset[str] | None = None
        self.points: list[Point] = []  # of the schedule under way, for a chooser that looks at it
        self.next: tuple[Step, ...] = ()  # those that can be taken now

    def close(self) -> None:
        """End the clients, the server and the gates."""
        self.stop()
        self.controller.close()

    def stop(self) -> None:
        """End the clients and the server."""
        if self.play:
            self.play.close()
            self.play.server.end()
        self.play, self.on_server = None, 0

    def run(
        self,
        workload: Workload,
        clients: int,
        choose: Chooser,
        regular: frozenset[str] | None = None,
    ) -> Run:
        """Try one schedule of a workload with so many clients. Raises NotExplored.

        `regular` are the program's own actors that work in each schedule. Others, such as one that
        saves something once a second, go on at once when they can: they are no choice.
        """
        self.rows, self.regular = workload.rows(clients), regular
        self.number += 1
        if self.on_server == ON_ONE_SERVER:
            self.stop()
        run, first = Run([]), 0
        try:
            play = self.ready()
            self.on_server += 1
            run.number, first = self.on_server, len(play.record.entries)
            at_rest = self.explored(play, run, choose)
            if at_rest and not run.violation:
                play.settle_at_rest()
            elif not run.violation:  # a time-out may be what all wait for
                play.settle(Act("server", "goes"))
        except Unclear:
            run.unclear = True
        except Difference as difference:
            run.violation = Violation(difference)
        except CheckFailed as problem:
            run.violation = Violation(self.difference(problem))
        if run.violation or run.unclear:
            if run.violation and self.play:
                run.violation.entries = self.play.record.entries[first:]
            self.stop()
        return run

    def difference(self, problem: CheckFailed) -> Difference:
        """Return what is wrong if the server does not do what it must: perhaps it has died."""
        assert self.play
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.play.server.process.wait(ENDS)
        try:
            self.play.must_live()
        except Difference as died:
            return died
        return Difference("12", "server", [problem.expected], problem.actual)

    # -- Before

    def ready(self) -> Play:
        """Return the play, ready for a schedule; start a new server if need be.

        Raises NotExplored; Difference, Unclear or CheckFailed if an old server has died.
        """
        if self.play:
            try:
                return self.prepared()
            except (Difference, Unclear, CheckFailed):
                if self.play.server.process.poll() is not None:
                    raise  # it has died
                self.stop()
        try:
            return self.prepared()
        except NotStarted as problem:
            raise NotExplored(msg("it does not start: {why}", why=problem)) from None
        except (Difference, Unclear, CheckFailed) as problem:
            self.stop()
            raise NotExplored(
                msg("it goes wrong before any schedule begins: {why}", why=problem)
            ) from None

    def prepared(self) -> Play:
        """Return the play, in which each client of the workload is what it must be."""
        if self.play is None:
            self.servers += 1
            folder = self.folder / f"group{self.servers}"
            self.play = self.started(folder)
        play = self.play
        acts: list[Act] = []
        for who, line in self.rows:
            if who != "owner":
                acts += self.becomes(play, who, stranger=line.startswith("JOIN"))
        # The connections close first, so that the server can notice all of them in the meantime.
        acts.sort(key=lambda act: act.what != "closes")
        if acts:
            play.play([*acts[:-1], replace(acts[-1], more=False)])
        if not self.controller.actors:
            raise NotExplored(msg("it never came to a gate"))
        addresses = {who: address for address, who in play.record.addresses.items()}
        self.controller.names = {
            addresses[play.current[who]]: who for who, _ in self.rows if who != "owner"
        } | {"console": "owner"}
        return play

    def started(self, folder: Path) -> Play:
        """Start a server, and play with it. Raises NotStarted or OSError."""
        assert self.start is not None
        gates, admit = self.controller.path.parent, ("--admit", "all")
        try:
            server = self.start(gates, folder, (*admit, "--reject-after", "0.05"), Record())
            return Play(server, Rules("all", reject_after=0.05), PATIENCE, self.has_owner)
        except NotStarted as problem:
            if problem.status != 2:
                raise
        server = self.start(gates, folder, admit, Record())
        return Play(server, Rules("all"), PATIENCE, self.has_owner)

    def becomes(self, play: Play, who: str, stranger: bool) -> list[Act]:
        """Return what makes this client a stranger, or a member that is here."""
        one = play.group.connections.get(play.current.get(who, ""))
        standing = one.standing if one and play.is_open(who) else None
        if standing is (Standing.STRANGER if stranger else Standing.HERE):
            return []
        text = "PING here\n" if stranger else f"JOIN {who}{self.number} secret\n"
        closes = (
            [Act(who, "closes", more=True)] if standing not in (None, Standing.STRANGER) else []
        )
        return [*closes, Act(who, "sends", text, more=True)]

    def line(self, play: Play, who: str, line: str) -> str:
        """Return a line of the workload with its names."""
        names = {
            label: play.group.members[one.key].name
            for label, connection in play.current.items()
            if (one := play.group.connections.get(connection)) and one.key in play.group.members
        }
        return line.format_map({**names, "k": self.number, "who": who})

    # -- Under control

    def explored(self, play: Play, run: Run, choose: Chooser) -> bool:
        """Send what the workload sends, and let the actors go on as `choose` says. Return whether
        all work is done then.
        """
        rows = [(who, self.line(play, who, line)) for who, line in self.rows]
        controller = self.controller
        with controller.closed():
            try:
                controller.rest(REST)
                for who, line in rows:
                    with contextlib.suppress(CutOff):
                        kind = "types" if who == "owner" else "sends"
                        play.act(Act(who, kind, line + "\n" * (who != "owner"), more=True))
                self.wait_for_all()
                self.steps(run, choose)
                if circle := controller.circle():
                    run.violation = Violation(None, self.reasons(circle))
                return not self.is_work_left()
            except Restless:
                raise NotExplored(
                    msg("it does not come to rest within {seconds:.0f} s: it spins", seconds=REST)
                ) from None
            except Ended:
                return False  # what the clients heard says whether that was right

    def wait_for_all(self) -> None:
        """Wait until all that was sent has reached the actors: the network may take a moment."""
        controller, end = self.controller, time.monotonic() + ARRIVES
        while True:
            controller.settle(REST)
            held = {actor.name for actor in controller.actors.values() if actor.held}
            here = {actor.name for actor in controller.actors.values()}
            if held and all(who in held or who not in here for who, _ in self.rows):
                return
            if not controller.hear(max(0.0, end - time.monotonic())):
                return

    def steps(self, run: Run, choose: Chooser) -> None:
        """Let one actor after the other take a step, until none can. Raises Restless, Ended."""
        controller, last = self.controller, ""
        self.points = run.points
        while len(run.points) < MOST_STEPS:
            controller.settle(REST)
            enabled = controller.enabled()
            if not enabled:
                return
            labels = self.labels(enabled)
            if irregular := [
                actor
                for actor, label in zip(enabled, labels, strict=True)
                if not (self.controller.is_named(actor) or self.is_regular(label))
            ]:
                controller.let_go(irregular[0])
                continue
            self.next = tuple(map(self.step, enabled, labels))
            number = choose(len(run.points), labels, last)
            if number is None:
                run.diverged, number = True, labels.index(last) if last in labels else 0
            run.points.append(Point(self.next, number))
            last = labels[number]
            controller.let_go(enabled[number])
        raise Restless

    def is_regular(self, label: str) -> bool:
        """Return whether an actor of the program's own is a choice."""
        return self.regular is None or label in self.regular

    def is_work_left(self) -> bool:
        """Return whether an actor of a client does anything but wait for it."""
        return any(
            self.controller.is_named(actor) and actor.kind not in ("recv", "wait", "accept")
            for actor in self.controller.actors.values()
        )

    def labels(self, actors: list[Actor]) -> list[str]:
        """Return a name for each of these actors that no other one has."""
        found: list[str] = []
        for actor in actors:
            name = "-".join(actor.name.split()) or "nameless"
            count = sum(one == name or one.startswith(f"{name}#") for one in found)
            found.append(f"{name}#{count + 1}" if count else name)
        return found

    def step(self, actor: Actor, label: str) -> Step:
        """Return the step that this actor can take."""
        event = actor.event
        born = [one for one in self.controller.actors.values() if one.event.get("p") == event["p"]]
        process = min(born, key=lambda one: one.born).name if born else ""
        return Step(label, event["e"], event["o"], process, str(event.get("at", "")))

    def reasons(self, circle: list[Actor]) -> list[Message]:
        """Return why each of these actors waits for the next one."""
        others = [*circle[1:], circle[0]]
        return [
            msg(
                "{who} waits for {what!r}, which {other} holds",
                who=one.name,
                what=one.event["o"],
                other=other.name,
            )
            for one, other in zip(circle, others, strict=True)
        ]
