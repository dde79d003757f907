"""A server as the operating system shows it: processes, threads, and where each thread waits.

A snapshot reads /proc, most of it through psutil. With a thousand threads this takes a while, so
take snapshots outside the event loop.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

UNREADABLE = psutil.Error, OSError  # the process has ended, or belongs to another user


@dataclass(frozen=True)
class Thread:
    """One thread of a process."""

    tid: int  # the kernel's number; that of the first thread is the pid
    wait_channel: str  # the kernel function in which it sleeps; "runs"; "" if that is not known


@dataclass(frozen=True)
class Process:
    """One process."""

    pid: int
    parent: int  # its pid
    name: str
    threads: tuple[Thread, ...]
    descriptors: int  # how many are open
    memory: int  # bytes: PSS, its own memory and its part of shared memory
    cpu_seconds: float  # CPU time that it has used so far


@dataclass(frozen=True)
class Snapshot:
    """A process and its descendants at one moment."""

    processes: tuple[Process, ...]  # the server first; a child after its parent
    time: float  # seconds, of time.monotonic()

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
    with process.oneshot():
        cpu = process.cpu_times()
        return Process(
            process.pid,
            process.ppid(),
            process.name(),
            tuple(
                Thread(thread.id, read_wait_channel(process.pid, thread.id))
                for thread in process.threads()
            ),
            process.num_fds(),
            read_memory(process),
            cpu.user + cpu.system,
        )


def read_wait_channel(pid: int, tid: int) -> str:
    """Return the wait channel of a thread, as in Thread; psutil does not read this."""
    try:
        with open(f"/proc/{pid}/task/{tid}/stat") as file:
            if file.read().rpartition(") ")[2].startswith("R"):
                return "runs"
        with open(f"/proc/{pid}/task/{tid}/wchan") as file:
            return file.read().strip("0\n")
    except OSError:
        return ""


def read_memory(process: psutil.Process) -> int:
    """Return the PSS of a process in bytes, or its RSS where the system does not permit that."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


# Beginnings of the names of kernel functions, and the meaning of a wait in them
WAITS = {
    "epoll_wait": "waits in epoll",
    "ep_poll": "waits in epoll",
    "poll": "waits in poll",
    "sys_poll": "waits in poll",
    "select": "waits in select",
    "futex": "waits for a lock",
    "inet_csk_accept": "waits in accept",
    "wait_woken": "waits in recv",
    "sk_wait_data": "waits in recv",
    "unix_stream": "waits in recv",
    "pipe_read": "waits to read a pipe",
    "anon_pipe_read": "waits to read a pipe",
    "hrtimer_nanosleep": "sleeps",
    "wait": "waits for a child",
}


def describe_wait(wait_channel: str) -> str:
    """Return the meaning of a wait channel in words; the channel itself if it is not known."""
    for function, words in WAITS.items():
        if wait_channel.startswith((function, f"do_{function}", f"__{function}")):
            return words
    return wait_channel


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
    """Yield the rows of a process and its descendants.

    Args:
        process: the process.
        children: all processes by the pid of their parent.
        branch: the text before the first row.
        indent: the text before the other rows.
    """
    memory = f"{process.memory / 1e6:.1f} MB"
    text = f"{branch}process {process.pid}  {process.descriptors} fd  {memory}"
    threads = process.threads
    if len(threads) == 1:  # it gets no row of its own
        text += f"  {describe_wait(threads[0].wait_channel)}"
        threads = ()
    yield TreeRow(text, is_process=True)
    nested: list[Thread | Process] = [*threads, *children.get(process.pid, [])]
    for index, node in enumerate(nested):
        is_last = index == len(nested) - 1
        mark = indent + ("└ " if is_last else "├ ")
        if isinstance(node, Thread):
            wait = describe_wait(node.wait_channel)
            yield TreeRow(f"{mark}thread {node.tid}  {wait}", is_process=False)
        else:
            deeper = indent + ("  " if is_last else "│ ")
            yield from process_rows(node, children, mark, deeper)
