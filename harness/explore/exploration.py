"""Explores one workload on all cores: every schedule within the bound, then random ones."""

import contextlib
import json
import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from harness.driving.messages import Message, msg
from harness.explore.program import Start
from harness.explore.runs import NotExplored, Run, Runner, Violation
from harness.explore.schedules import Schedule, Wrong, parse
from harness.explore.search import Entry, Prefix, Priorities, Tree, chance
from harness.explore.workloads import PEOPLE, TABLE, Workload

DEPTH = 3  # of the bugs that random schedules look for, with a stated probability
CONFIRMATIONS = 2  # replays on new servers, each of which must break
TRIES = 3  # of a prefix that a run did not repeat, since something depended on the clock
FIRST_RUNS = 2  # of the simplest schedule, to see who works in each
TICK = 0.2  # seconds between two reports


@dataclass
class Explored:
    """What was tried of one workload with so many clients and at most so many preemptions.

    `complete`: all schedules within the bound were tried, but for `diverged` ones that no run
    repeated, since something depended on the clock. `random` further ones were drawn. `violation`
    is the first thing that broke, with the points of its `run`.
    """

    workload: Workload
    clients: int
    bound: int
    tree: Tree
    random: int = 0
    unclear: int = 0
    steps: int = 0  # of the longest schedule
    actors: int = 0
    regular: frozenset[str] | None = None  # the program's own actors that work in each schedule
    diverged: int = 0
    run: Run | None = None
    replays: int = 0
    times: int = 1  # that a new server must be taken through the schedule
    seconds: float = 0.0

    @classmethod
    def nothing(cls, workload: Workload, clients: int, bound: int) -> "Explored":
        """Return what is known before the first schedule."""
        return cls(workload, clients, bound, Tree(bound, workload.alike(clients)))

    @property
    def complete(self) -> bool:
        """Whether all schedules within the bound were tried."""
        return not self.tree.waiting and self.tree.tried > 0 and not self.run

    @property
    def violation(self) -> Violation | None:
        """What broke, if anything did."""
        return self.run.violation if self.run else None

    @property
    def schedule(self) -> Schedule | None:
        """The schedule that broke the server."""
        if not self.run:
            return None
        steps = [point.step for point in self.run.points]
        notes = [" ".join([step.event, step.what, step.at]).strip() for step in steps]
        names = tuple(step.actor for step in steps)
        return Schedule(self.workload.name, self.clients, names, tuple(notes), self.times)

    @property
    def tried(self) -> Message:
        """How much was tried, in words."""
        count, bound = self.tree.tried + self.random, self.bound
        if self.complete and not self.random:
            return msg(
                "{count} schedules of {clients} clients with at most {bound} preemptions, all "
                "explored",
                count=count,
                clients=self.clients,
                bound=bound,
            )
        if self.complete:
            return msg(
                "all {all} schedules of {clients} clients with at most {bound} preemptions, and "
                "{random} random ones: each bug of depth {depth} is found with a probability of "
                "at least {chance:.1%}",
                all=self.tree.tried,
                clients=self.clients,
                bound=bound,
                random=self.random,
                depth=DEPTH,
                chance=min(0.999, chance(self.random, self.actors, self.steps, DEPTH)),
            )
        return msg(
            "{count} schedules of {clients} clients with at most {bound} preemptions; not all",
            count=count,
            clients=self.clients,
            bound=bound,
        )


@dataclass
class Exploration:
    """One workload, and what was tried of it. `beyond`: go on with random schedules when all within
    the bound were tried. `report` is called now and then.
    """

    explored: Explored
    beyond: bool = False
    seed: int = 0
    report: Callable[[Explored], object] = lambda explored: None

    def __post_init__(self) -> None:
        self.tries: dict[tuple[str, ...], int] = {}  # of prefixes that another run did not repeat

    def explore(self, workers: "Workers | Alone", until: float) -> Explored:
        """Explore until this time.monotonic(), or until something breaks; return what was tried.

        It can be called again, to go on. Raises NotExplored.
        """
        explored, began = self.explored, time.monotonic()
        if explored.regular is None:
            self.find_regular(workers)
        while not explored.run:
            job = self.job if time.monotonic() < until else lambda: None
            for choose, run in workers.runs(self.of, job, explored.regular):
                self.note(choose, run)
            self.report(explored)
            if not workers.busy and (time.monotonic() > until or not self.has_more()):
                break
        if explored.run and not explored.replays:
            explored.replays = self.confirmed(workers)
        explored.seconds += time.monotonic() - began
        return explored

    @property
    def of(self) -> tuple[Workload, int]:
        """The workload, and how many clients."""
        return self.explored.workload, self.explored.clients

    def find_regular(self, workers: "Workers | Alone") -> None:
        """Find out which of the program's own actors work in each schedule."""
        todo = [Prefix(())] * FIRST_RUNS
        seen: list[set[str]] = []
        while len(seen) < FIRST_RUNS and not self.explored.run:
            for _, run in workers.runs(self.of, lambda: todo.pop() if todo else None, None):
                seen.append({step.actor for point in run.points for step in point.enabled})
                if run.violation:
                    self.explored.run = run
        self.explored.regular = frozenset(set.intersection(*seen))

    def has_more(self) -> bool:
        """Return whether there is anything left to try."""
        return bool(self.explored.tree.waiting) or (self.beyond and self.explored.actors > 1)

    def job(self) -> Any:
        """Return a chooser for the next schedule; None if there is none now."""
        explored = self.explored
        if explored.tree.waiting:
            return Prefix(explored.tree.next() or ())
        if self.beyond and explored.complete and explored.actors > 1:
            rng = random.Random(f"{self.seed} {explored.random}")
            return Priorities(rng, explored.steps, DEPTH)
        return None

    def note(self, choose: Any, run: Run) -> None:
        """Take the outcome of one schedule."""
        explored = self.explored
        explored.unclear += run.unclear
        if run.violation and not explored.run:
            explored.run = run
        if run.diverged and isinstance(choose, Prefix):
            tries = self.tries[choose.prefix] = self.tries.get(choose.prefix, 0) + 1
            if tries < TRIES:
                explored.tree.again(choose.prefix)
            else:
                explored.diverged += 1
            return
        explored.steps = max(explored.steps, len(run.points))
        names = {step.actor for point in run.points for step in point.enabled}
        explored.actors = max(explored.actors, len(names))
        if isinstance(choose, Prefix):
            explored.tree.add(choose.prefix, run.points)
        else:
            explored.random += 1

    def confirmed(self, workers: "Workers | Alone") -> int:
        """Return how often the schedule breaks new servers.

        If it does not, another schedule before it may matter, as for a server that dies after so
        many requests. Then a new server is taken through it as often as the first one had been
        through any, and more.
        """
        explored = self.explored
        assert explored.run
        for times in {1: None, explored.run.number * 2: None}:
            explored.times = times
            runs = [self.replayed(workers, number) for number in range(CONFIRMATIONS)]
            if count := sum(bool(run.violation) for run in runs):
                explored.times = max(run.number for run in runs if run.violation)
                return count
        explored.times = 1
        return 0

    def replayed(self, workers: "Workers | Alone", number: int) -> Run:
        """Try the schedule that broke the server on a new one."""
        assert self.explored.schedule
        folder = workers.folder / f"{self.explored.workload.name}-{self.explored.times}-{number}"
        return replay(workers.start, folder, self.explored.workload, self.explored.schedule)


def schedule_in(file: Path) -> tuple[Schedule, Workload]:
    """Return the schedule in a file, and its workload. Raises Wrong or OSError."""
    try:
        schedule = parse(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise Wrong("it is no text") from None
    workload = next((one for one in TABLE if one.name == schedule.workload), None)
    if workload is None:
        raise Wrong(f"there is no workload {schedule.workload!r}")
    if schedule.members > len(PEOPLE):
        raise Wrong(f"a workload has at most {len(PEOPLE)} members")
    return schedule, workload


def replay(start: Start, folder: Path, workload: Workload, schedule: Schedule) -> Run:
    """Take a new server through a schedule, as often as it says or until something breaks; return
    the last run. Raises NotExplored.
    """
    runner = Runner(start, folder)
    regular = frozenset(schedule.actors) or None
    try:
        for _ in range(schedule.times):
            run = runner.run(workload, schedule.members, Prefix(schedule.actors), regular)
            if run.violation:
                break
        return run
    finally:
        runner.close()


Job = tuple[Workload, int]  # what is to be tried: a workload with so many clients


class Alone:
    """Tries schedules in this process."""

    busy = False

    def __init__(self, start: Start, folder: Path, has_owner: bool = True):
        self.start, self.folder = start, folder
        self.runner = Runner(start, folder / "alone", has_owner)

    def __enter__(self) -> "Alone":
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()

    def runs(
        self, of: Job, job: Callable[[], Any], regular: frozenset[str] | None
    ) -> list[tuple[Any, Run]]:
        """As of Workers."""
        choose = job()
        return [] if choose is None else [(choose, self.runner.run(*of, choose, regular))]


class Workers:
    """Processes that try schedules, each with a server of its own."""

    def __init__(self, start: Start, folder: Path, count: int):
        self.start, self.folder = start, folder
        context = multiprocessing.get_context("fork")
        self.busy: dict[Connection, Any] = {}
        self.idle: list[Connection] = []
        self.processes = []
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=work,
                args=(theirs, [*self.idle, ours], start, folder / f"worker{number}"),
                daemon=True,
            )
            process.start()
            theirs.close()
            self.processes.append(process)
            self.idle.append(ours)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in [*self.idle, *self.busy]:
            with contextlib.suppress(OSError):
                pipe.send(None)
            pipe.close()
        for process in self.processes:
            process.join(5)
            process.kill()
            process.join()

    def runs(
        self, of: Job, job: Callable[[], Any], regular: frozenset[str] | None
    ) -> list[tuple[Any, Run]]:
        """Give idle workers something to do; wait a little, and return what has been done.

        Raises NotExplored.
        """
        while self.idle and (choose := job()) is not None:
            pipe = self.idle.pop()
            pipe.send((*of, choose, regular))
            self.busy[pipe] = choose
        done: list[tuple[Any, Run]] = []
        for pipe in [pipe for pipe in wait(list(self.busy), TICK) if isinstance(pipe, Connection)]:
            try:
                run = pipe.recv()
            except EOFError:
                raise NotExplored(msg("the harness's own worker has ended")) from None
            if isinstance(run, NotExplored):
                raise run
            done.append((self.busy.pop(pipe), run))
            self.idle.append(pipe)
        return done


def work(pipe: Connection, of_main: list[Connection], start: Start, folder: Path) -> None:
    """Try schedules, in a process of its own, until there are no more or the main process ends.

    of_main: the main process's ends of the pipes, which this process inherited.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends this one
    for end in of_main:
        end.close()  # else no worker would see that the main process has ended
    runner = Runner(start, folder)
    try:
        while (job := pipe.recv()) is not None:
            try:
                pipe.send(runner.run(*job))
            except NotExplored as why:
                pipe.send(why)
    except (EOFError, OSError):
        pass  # the main process has ended
    finally:
        runner.close()


# -- An exploration that goes on later


def text(explored: Explored) -> str:
    """Return what was tried as the text of a file, so that it can go on."""
    tree = explored.tree
    state = {
        "workload": explored.workload.name,
        "clients": explored.clients,
        "bound": tree.bound,
        "tried": tree.tried,
        "waiting": tree.waiting,
        "reached": [[*key, costs] for key, costs in tree.reached.items()],
        "least": list(tree.least.items()),
    }
    return json.dumps(state)


def load(path: Path, of: Explored) -> Tree | None:
    """Return the tree in a file that text() made for this workload; None if there is no such file.

    Raises Wrong if it holds something else, or OSError.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        named = state["workload"], state["clients"], state["bound"]
        if named != (of.workload.name, of.clients, of.bound):
            raise Wrong("it is of another workload, or has other numbers")
        waiting = [
            Entry(weight, length, tuple(prefix), mark, costs)
            for weight, length, prefix, mark, costs in state["waiting"]
        ]
        reached = {(mark, actor): costs for mark, actor, costs in state["reached"]}
        alike = of.workload.alike(of.clients)
        return Tree(of.bound, alike, waiting, reached, dict(state["least"]), state["tried"])
    except FileNotFoundError:
        return None
    except Wrong:
        raise
    except (ValueError, KeyError, TypeError):
        raise Wrong("it is no exploration that was saved") from None
