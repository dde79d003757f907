"""A server as the operating system shows it: processes, threads, and why each thread waits.

A snapshot reads /proc, most of it through psutil. With a thousand threads this takes a while, so
take snapshots outside the event loop.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from .waits import Call, Wait, describe_wait

UNREADABLE = psutil.Error, OSError  # the process has ended, or belongs to another user
STOPPED = "stopped by a signal"
ZOMBIE = "zombie: has ended, and nobody waited for it"
STATES = {"R": "runs", "T": STOPPED, "t": STOPPED, "Z": ZOMBIE}  # proc_pid_stat(5)


@dataclass(frozen=True)
class Thread:
    """One thread of a process."""

    tid: int  # the kernel's number; that of the first thread is the pid
    name: str  # what the thread calls itself, or else its program; at most 15 bytes
    state: str  # what it does or waits for, in words


@dataclass(frozen=True)
class Process:
    """One process."""

    pid: int
    parent: int  # its pid
    threads: tuple[Thread, ...]  # the first one has the name of the process
    descriptors: int  # how many are open
    memory: int  # bytes: PSS, its own memory and its part of shared memory
    cpu_seconds: float  # CPU time that it has used so far


@dataclass(frozen=True)
class Snapshot:
    """A process and its descendants at one moment."""

    processes: tuple[Process, ...]  # the server first; a child after its parent
    time: float  # seconds, of time.monotonic()

    @property
    def has_ended(self) -> bool:
        """Whether the server is a zombie, or not there any more."""
        threads = self.processes[0].threads if self.processes else ()
        return not threads or threads[0].state == ZOMBIE

    @property
    def threads(self) -> int:
        """The number of threads."""
        return sum(len(process.threads) for process in self.processes)

    @property
    def descriptors(self) -> int:
        """The number of open descriptors."""
        return sum(process.descriptors for process in self.processes)

    @property
    def memory(self) -> int:
        """The memory in bytes (PSS)."""
        return sum(process.memory for process in self.processes)

    @property
    def cpu_seconds(self) -> float:
        """The CPU time used so far, in seconds."""
        return sum(process.cpu_seconds for process in self.processes)


def take_snapshot(pid: int) -> Snapshot:
    """Return the process `pid` and its descendants; no processes if there is no such process."""
    found = []
    with contextlib.suppress(*UNREADABLE):
        server = psutil.Process(pid)
        for process in [server, *server.children(recursive=True)]:
            with contextlib.suppress(*UNREADABLE):
                found.append(read_process(process))
    return Snapshot(tuple(found), time.monotonic())


def read_process(process: psutil.Process) -> Process:
    """Read the data of one process. Raises psutil.Error, OSError."""
    pid = process.pid
    with process.oneshot():
        cpu = process.cpu_times()
        if process.status() == psutil.STATUS_ZOMBIE:  # all that is left of it is its status
            threads: tuple[Thread, ...] = (Thread(pid, process.name(), ZOMBIE),)
            return Process(pid, process.ppid(), threads, 0, 0, cpu.user + cpu.system)
        return Process(
            pid,
            process.ppid(),
            tuple(read_thread(pid, thread.id) for thread in process.threads()),
            process.num_fds(),
            read_memory(process),
            cpu.user + cpu.system,
        )


def read_memory(process: psutil.Process) -> int:
    """Return the PSS of a process in bytes, or its RSS where the system does not permit that."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def read_thread(pid: int, tid: int) -> Thread:
    """Return one thread of a process; psutil reads none of this."""
    folder = f"/proc/{pid}/task/{tid}/"
    name = read_text(folder + "comm").removesuffix("\n")
    letter = read_text(folder + "stat").rpartition(") ")[2][:1]
    if letter in STATES:
        return Thread(tid, name, STATES[letter])
    call = Call.parse(read_text(folder + "syscall"))
    watched = file = ""
    if call and call.descriptor is not None:
        with contextlib.suppress(OSError):
            file = os.readlink(f"/proc/{pid}/fd/{call.descriptor}")
        if call.name == "epoll":
            watched = read_text(f"/proc/{pid}/fdinfo/{call.descriptor}")
    wait = Wait(call, file, watched.count("tfd:"), read_text(folder + "wchan").strip("0\n"))
    return Thread(tid, name, describe_wait(wait, name))


def read_text(path: str) -> str:
    """Return the text of a file in /proc; "" if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as file:
            return file.read()
    except OSError:
        return ""


@dataclass(frozen=True)
class TreeRow:
    """One row of the tree of processes and threads."""

    text: str
    is_process: bool


def tree_rows(snapshot: Snapshot) -> list[TreeRow]:
    """Return the processes and threads of a snapshot as the rows of a tree."""
    children: dict[int, list[Process]] = {}
    for process in snapshot.processes:
        children.setdefault(process.parent, []).append(process)
    if not snapshot.processes:
        return []
    return list(process_rows(snapshot.processes[0], children, "", ""))


def process_rows(
    process: Process, children: dict[int, list[Process]], branch: str, indent: str
) -> Iterator[TreeRow]:
    """Yield the rows of a process and its descendants. The state comes first: a row may be cut.

    Args:
        process: the process.
        children: all processes by the pid of their parent.
        branch: the text before the first row.
        indent: the text before the other rows.
    """
    threads = process.threads
    name = threads[0].name if threads else "?"
    text = f"{name}, process {process.pid}  {process.descriptors} fd  {process.memory / 1e6:.1f} MB"
    if len(threads) == 1:  # it gets no row of its own
        text = f"{threads[0].state}  {text}"
        threads = ()
    yield TreeRow(branch + text, is_process=True)
    nested: list[Thread | Process] = [*threads, *children.get(process.pid, [])]
    for index, node in enumerate(nested):
        is_last = index == len(nested) - 1
        mark = indent + ("└ " if is_last else "├ ")
        if isinstance(node, Thread):
            text = f"{mark}{node.state}  {node.name}, thread {node.tid}"
            yield TreeRow(text, is_process=False)
        else:
            deeper = indent + ("  " if is_last else "│ ")
            yield from process_rows(node, children, mark, deeper)
