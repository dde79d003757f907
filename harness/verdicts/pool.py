"""Runs jobs, each in a process of its own, at most so many at once; what a job returns comes back
through a pipe.

A job that is killed, by whatever it dealt with, takes nothing with it but its own result. Nothing
that another program can write is read back: the pipe is open in the two processes at its ends
alone.
"""

import contextlib
import ctypes
import gc
import json
import os
import select
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from harness.driving.processes import is_zombie

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
LAST_SIGNALS = signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT  # beside SIGINT
MOST_STRAYS = 40  # processes that end_descendants() names


@dataclass
class Job:
    """`run()` is called in the process; what it returns must be JSON. Needed jobs are finished
    before it starts.
    """

    name: str
    run: Callable[[], dict]
    needs: tuple[str, ...] = ()
    alone: bool = False  # nothing else runs meanwhile


@dataclass
class Running:
    job: Job
    pid: int
    pipe: int
    life: int  # a descriptor that is readable when the process has ended
    began: float = field(default_factory=time.monotonic)
    heard: bytes = b""


class Pool:
    """`limit()`: seconds after which a job is killed. `skip(job)`: a result that makes its run
    needless, or None.

    `finished(job, result)` is called with each result, None of a job that was killed; it may return
    a Job to be run again.
    """

    def __init__(
        self,
        workers: int,
        limit: Callable[[], float],
        skip: Callable[[Job], dict | None],
        finished: Callable[[Job, dict | None], Job | None],
    ):
        self.workers, self.limit, self.skip, self.finished = workers, limit, skip, finished
        self.waiting: list[Job] = []
        self.running: dict[int, Running] = {}  # by pid
        self.selector = selectors.DefaultSelector()

    def run(self, jobs: list[Job]) -> None:
        """Runs all of them, in this order as far as their needs allow."""
        self.waiting = list(jobs)
        gc.freeze()  # what is there now is shared with every child as long as nobody touches it
        while self.waiting or self.running:
            while job := self.next():
                self.waiting.remove(job)
                if result := self.skip(job):
                    self.finished(job, result)
                else:
                    self.start(job)
            if not self.running:
                continue
            for one in {
                key.data.pid: key.data for key, _ in self.selector.select(self.time_left())
            }.values():
                self.hear(one)
            for one in list(self.running.values()):
                if time.monotonic() > one.began + self.limit():
                    self.kill(one)

    def next(self) -> Job | None:
        """The first job that may start now, if any."""
        busy = list(self.running.values())
        if len(busy) >= self.workers or any(one.job.alone for one in busy):
            return None
        unfinished = {job.name for job in self.waiting} | {one.job.name for one in busy}
        for job in self.waiting:
            if not unfinished & set(job.needs):
                return job if not (job.alone and busy) else None
        return None

    def start(self, job: Job) -> None:
        """No signal comes between the fork and the note of it: what a handler raises inside fork()
        is lost.
        """
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *LAST_SIGNALS))
            pipe, end = os.pipe()
            pid = os.fork()
            if pid == 0:
                live(job, end, mask)
            os.close(end)
            os.set_blocking(pipe, False)
            self.running[pid] = one = Running(job, pid, pipe, os.pidfd_open(pid))
            for descriptor in one.pipe, one.life:
                self.selector.register(descriptor, selectors.EVENT_READ, one)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def time_left(self) -> float:
        """Seconds until the first of those that run is at its limit."""
        return (
            max(
                0.0,
                min(one.began for one in self.running.values()) + self.limit() - time.monotonic(),
            )
            + 0.01
        )

    def hear(self, one: Running) -> None:
        """Takes what it wrote; if it has ended (a process that it forked may still hold its pipe),
        that is its result.
        """
        has_ended = bool(select.select([one.life], [], [], 0)[0])
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(one.pipe, 1 << 16):
                one.heard += chunk
        if not has_ended:
            return
        self.end(one)
        try:
            result = json.loads(one.heard)
        except ValueError:  # it was killed before it could tell
            result = None
            end_descendants(
                of=lambda child: child.pid not in self.running
            )  # what it had started is ours now
        if again := self.finished(
            one.job, result
        ):  # at once if others need it, else when all others are done
            is_needed = any(again.name in job.needs for job in self.waiting)
            self.waiting.insert(0 if is_needed else len(self.waiting), again)

    def kill(self, one: Running) -> None:
        with contextlib.suppress(psutil.Error):
            end_tree(psutil.Process(one.pid))

    def end(self, one: Running) -> None:
        for descriptor in one.pipe, one.life:
            self.selector.unregister(descriptor)
            os.close(descriptor)
        del self.running[one.pid]
        os.waitpid(one.pid, 0)


def live(job: Job, pipe: int, mask: set[int]) -> None:
    """A job's whole life, in its own process and session: Ctrl-C reaches the main process alone,
    and that ends all.

    `mask`: the signals that are blocked in it, once its own handlers are there.
    """
    status = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        adopt()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number in LAST_SIGNALS:
            signal.signal(number, give_up)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in 0, 1, 2:  # only the main process talks to the user
            os.dup2(nothing, descriptor)
        os.close(nothing)
        result = json.dumps(job.run()).encode()
        while result:
            result = result[os.write(pipe, result) :]
        status = 0
    finally:
        os._exit(status)  # not sys.exit: nothing of the main process's is to be cleaned up here


def hide() -> None:
    """No other process of this user may look into this one, its descriptors or its environment
    (root still may).
    """
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0)


def adopt() -> None:
    """What a server leaves behind becomes a child of this process, so that it can be ended."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def give_up(*_) -> None:
    """Leaves nothing running when the main process has ended, or asks all to end."""
    end_descendants()
    os._exit(1)


def descendants(of: Callable[[psutil.Process], bool] | None) -> list[psutil.Process]:
    """The processes that descend from those children of this one of which `of` is true (None: of
    all).
    """
    if of is None:
        return psutil.Process().children(recursive=True)
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, OSError):
            found += [child, *child.children(recursive=True)] if of(child) else []
    return found


def end_descendants(of: Callable[[psutil.Process], bool] | None = None) -> list[str]:
    """Ends every process that descends from this one, or only descendants(of), and reaps those that
    became ours.

    Returns what they were, as texts.
    """
    found: dict[int, str] = {}
    end = time.monotonic() + 10
    while (children := descendants(of)) and time.monotonic() < end:
        for child in children:
            with contextlib.suppress(psutil.Error, OSError):
                if not is_zombie(child):
                    if len(found) < MOST_STRAYS:
                        found[child.pid] = (
                            f"pid {child.pid}: {' '.join(child.cmdline()) or child.name()}"
                        )
                    end_one(child)
        for child in children:
            with contextlib.suppress(ChildProcessError):  # not ours yet: its parent is still ending
                os.waitpid(child.pid, os.WNOHANG)
        time.sleep(0.005)
    return list(found.values())


def end_tree(process: psutil.Process) -> None:
    """Kills a child of this process, and all that descends from it now; what it had started becomes
    ours.
    """
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error, OSError):
            end_one(one)


def end_one(process: psutil.Process) -> None:
    """By SIGKILL; its whole group at once, so that a fork without end cannot outrun it."""
    if (group := os.getpgid(process.pid)) != os.getpgid(0):
        os.killpg(group, signal.SIGKILL)
    os.kill(process.pid, signal.SIGKILL)
