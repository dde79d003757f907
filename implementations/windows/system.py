"""What the operating system shows of a server: its processes and threads as a tree, their descriptors, memory, and what each waits in.

A look reads /proc (through psutil) and may take a while where there are a thousand threads: take it outside the event loop.
"""
import contextlib
import re
import time
from typing import NamedTuple

import psutil

GONE = psutil.Error, OSError            # it ended while we looked, or is not ours to see


class Thread(NamedTuple):
    number: int         # as the kernel counts: the first one has its process's
    waits: str          # the kernel's function in which it sleeps; "runs"; "" if the kernel does not tell


class Process(NamedTuple):
    pid: int
    parent: int
    name: str
    threads: tuple      # of Thread
    descriptors: int
    memory: int         # bytes: its own, and its part of what it shares
    seconds: float      # of a CPU so far


class Look(NamedTuple):
    processes: tuple    # the server first; a child after its parent
    time: float

    @property
    def threads(self):
        return sum(len(process.threads) for process in self.processes)

    @property
    def descriptors(self):
        return sum(process.descriptors for process in self.processes)

    @property
    def memory(self):
        return sum(process.memory for process in self.processes)

    @property
    def seconds(self):
        return sum(process.seconds for process in self.processes)


def look(pid):
    """At the process and all its descendants."""
    found = []
    with contextlib.suppress(*GONE):
        main = psutil.Process(pid)
        for process in [main, *main.children(recursive=True)]:
            with contextlib.suppress(*GONE):
                found.append(look_at(process))
    return Look(tuple(found), time.monotonic())


def look_at(process):
    with process.oneshot():
        times = process.cpu_times()
        return Process(process.pid, process.ppid(), process.name(), tuple(threads_of(process)), process.num_fds(), memory_of(process),
                       times.user + times.system)


def threads_of(process):
    for thread in process.threads():
        yield Thread(thread.id, waits_of(process.pid, thread.id))


def waits_of(pid, number):
    try:
        with open(f"/proc/{pid}/task/{number}/stat") as file:
            if file.read().rpartition(") ")[2].startswith("R"):
                return "runs"
        with open(f"/proc/{pid}/task/{number}/wchan") as file:
            return file.read().strip("0\n")
    except OSError:
        return ""


def memory_of(process):
    try:
        with open(f"/proc/{process.pid}/smaps_rollup") as file:
            return 1024 * int(re.search(r"^Pss: +(\d+) kB", file.read(), re.M)[1])
    except (OSError, TypeError):
        return process.memory_info().rss


# In plain words, what a thread does that sleeps in this function of the kernel.
WAITS = {"epoll_wait": "waits in epoll", "ep_poll": "waits in epoll", "poll": "waits in poll", "sys_poll": "waits in poll",
         "select": "waits in select", "futex": "waits for a lock", "inet_csk_accept": "waits in accept", "wait_woken": "waits in recv",
         "sk_wait_data": "waits in recv", "unix_stream": "waits in recv", "pipe_read": "waits to read a pipe",
         "anon_pipe_read": "waits to read a pipe", "hrtimer_nanosleep": "sleeps", "wait": "waits for a child"}


def in_words(waits):
    return next((said for start, said in WAITS.items() if waits.startswith((start, f"do_{start}", f"__{start}"))), waits)


def tree(seen):
    """The rows of a Look: (the row, whether it stands for a process)."""
    children = {}
    for process in seen.processes:
        children.setdefault(process.parent, []).append(process)
    rows = []

    def branch(process, before, first, below):
        alone = f"  {in_words(process.threads[0].waits)}" if len(process.threads) == 1 else ""
        rows.append((f"{before}{first}process {process.pid}  {process.descriptors} fd  {process.memory / 1e6:.1f} MB{alone}", True))
        below = before + below
        threads, kin = () if alone else process.threads, children.get(process.pid, [])
        for place, thread in enumerate(threads, 1):
            last = place == len(threads) and not kin
            rows.append((f"{below}{'└ ' if last else '├ '}thread {thread.number}  {in_words(thread.waits)}", False))
        for place, child in enumerate(kin, 1):
            last = place == len(kin)
            branch(child, below, "└ " if last else "├ ", "  " if last else "│ ")

    if seen.processes:
        branch(seen.processes[0], "", "", "")
    return rows
