"""Runs jobs, each a submission to judge, on this machine or on a cluster.

A job is a process of its own (judge.run), so nothing that a submission does ends the engine. An
engine takes the next job when it has room for it: the driver holds only those that run.
"""

import contextlib
import functools
import os
import queue
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import psutil

from harness.driving.cells import CellError
from harness.driving.messages import Message, msg
from harness.grading import judge, probe
from harness.grading.judge import Job, Outcome
from harness.verdicts.model import UsageError

MOST_LOST = 10  # workers that a job may lose, one after the other, before it is given up
PATIENCE = 60  # seconds for a scheduler to answer, and for its first worker
LAST_WORDS = 5  # seconds for a judge to end what it started, when the run is stopped


class Engine(Protocol):
    """Where jobs run. `room`: how many at once."""

    room: int

    def run(self, jobs: Iterator[tuple[str, Job]]) -> Iterator[tuple[str, Outcome]]:
        """Runs all of them; yields (name, Outcome) as they end. Raises UsageError."""
        ...

    def alone(self, job: Job) -> Outcome:
        """Runs one while no other runs."""
        ...

    def close(self) -> None:
        """Ends what runs."""
        ...


def outcome_of(job: Job) -> Outcome:
    """Judges one. What this machine lacks just now is a fault, after which it is tried again."""
    try:
        return judge.run(job)
    except (CellError, OSError) as error:
        return Outcome("fault", why=str(error), tier=job.tier)


class Embedded:
    """Threads of this process, each of which waits for one job at a time.

    If there are as many cores, each job has cores of its own: one that measures time is not slowed
    by the others.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.lock = threading.Lock()
        self.is_stopped = False

    def run(self, jobs: Iterator[tuple[str, Job]]) -> Iterator[tuple[str, Outcome]]:
        """As of Engine."""
        ended: queue.SimpleQueue[tuple[str, Outcome] | BaseException | None] = queue.SimpleQueue()
        cores = sorted(os.sched_getaffinity(0))
        for number in range(self.room):
            own = cores[number :: self.room]
            threading.Thread(target=self.work, args=(jobs, own, ended), daemon=True).start()
        working = self.room
        while working:
            one = ended.get()
            if one is None:
                working -= 1
            elif isinstance(one, BaseException):
                raise one
            else:
                yield one

    def work(self, jobs: Iterator[tuple[str, Job]], cores: list[int], ended: Any) -> None:
        """The life of a thread: one job after the other, on these cores."""
        try:
            if cores:
                os.sched_setaffinity(0, cores)  # of this thread, and of the processes it starts
            while not self.is_stopped:
                with self.lock:
                    one = next(jobs, None)
                if one is None:
                    break
                name, job = one
                ended.put((name, outcome_of(job)))
            ended.put(None)
        except BaseException as error:
            ended.put(error)

    def alone(self, job: Job) -> Outcome:
        """As of Engine."""
        return outcome_of(job)

    def close(self) -> None:
        """As of Engine."""
        self.is_stopped = True
        children = psutil.Process().children()
        for child in children:  # each judge ends what it started
            with contextlib.suppress(psutil.Error):
                child.terminate()
        _, left = psutil.wait_procs(children, LAST_WORDS)
        for child in left:
            with contextlib.suppress(psutil.Error):
                child.kill()


# -- A cluster -------------------------------------------------------------------------------------


def on_worker(job: Job, checks: str, deadline: float) -> Outcome:
    """What a worker does: judges the job, if its harness is the driver's. Raises UsageError."""
    from harness.grading.intake import starters
    from harness.grading.results import checks_digest

    if checks_digest(starters(job.lab), deadline) != checks:
        raise UsageError(msg("a worker of the cluster has another version of Grupo"))
    if why := lacking_here(job.tier):
        raise UsageError(
            msg(
                "a worker of the cluster cannot judge in tier {tier}: {why}", tier=job.tier, why=why
            )
        )
    return outcome_of(job)


@functools.cache
def lacking_here(tier: str) -> Message | None:
    """Why this machine cannot judge in this tier; None if it can."""
    return None if tier == probe.NONE else probe.why_not(tier)


class Cluster:
    """The workers of a Dask scheduler: on other machines, of Slurm or Kubernetes, or on this one.

    A job whose worker is lost runs again on another. Each result is taken from the cluster at once
    and its future is dropped, so that neither side fills its memory.
    """

    def __init__(self, address: str, checks: str, deadline: float) -> None:
        try:
            import distributed
        except ModuleNotFoundError:
            raise UsageError(msg("--scheduler needs Dask: make install-cluster")) from None
        self.checks, self.deadline = checks, deadline
        self.address, self.distributed = address, distributed
        try:
            self.client = distributed.Client(
                address, timeout=PATIENCE, set_as_default=False, name="grupo"
            )
            self.client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            why = str(error) or msg("no worker has joined it")
            raise UsageError(
                msg("the scheduler {address}: {why}", address=address, why=why)
            ) from None

    @property
    def room(self) -> int:
        """As of Engine: one job for each thread of the workers."""
        return max(1, sum(self.client.nthreads().values()))

    def submit(self, job: Job) -> Any:
        """The future of a job."""
        return self.client.submit(on_worker, job, self.checks, self.deadline, pure=False)

    def run(self, jobs: Iterator[tuple[str, Job]]) -> Iterator[tuple[str, Outcome]]:
        """As of Engine. One job more than there is room for waits at the scheduler."""
        running: dict[str, tuple[str, Job, int]] = {}
        done = self.distributed.as_completed(loop=self.client.loop)

        def start(name: str, job: Job, lost: int = 0) -> None:
            future = self.submit(job)
            running[future.key] = name, job, lost
            done.add(future)

        for name, job in jobs:
            start(name, job)
            while len(running) > self.room:
                yield from self.next(done, running, start)
        while running:
            yield from self.next(done, running, start)

    def next(self, done: Any, running: dict[str, Any], start: Any) -> Iterator[tuple[str, Outcome]]:
        """The next that ends; nothing if it was lost, and runs again."""
        future = next(done)
        name, job, lost = running.pop(future.key)
        outcome = self.result_of(future)
        future.release()
        if outcome is not None:
            yield name, outcome
        elif lost < MOST_LOST:
            start(name, job, lost + 1)
        else:
            yield name, Outcome("fault", why=msg("it lost {count} workers", count=lost), log="")

    def result_of(self, future: Any) -> Outcome | None:
        """The outcome of a future that has ended; None if its workers were lost."""
        if future.status == "cancelled":
            raise UsageError(
                msg(
                    "the scheduler {address} is lost. What was graded is kept: start again",
                    address=self.address,
                )
            )
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, (UsageError, ModuleNotFoundError)):
            raise UsageError(
                error.args[0]
                if isinstance(error, UsageError)
                else msg("a worker of the cluster cannot import Grupo: {why}", why=str(error))
            )
        if isinstance(error, self.distributed.scheduler.KilledWorker):
            return None
        raise error

    def alone(self, job: Job) -> Outcome:
        """As of Engine."""
        return next(self.run(iter([("", job)])))[1]

    def close(self) -> None:
        """As of Engine."""
        self.client.close(timeout=LAST_WORDS)
