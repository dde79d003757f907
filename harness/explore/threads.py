"""What the kernel says of the threads of some processes: does any of them run, or will it soon?

The files in /proc stay open between two looks, since a controller looks after each step.
"""

import contextlib
import os
import platform
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RESTING = b"STtZXI"  # of the states in /proc/PID/stat: neither running nor waiting for a disk
MOST = 512  # bytes of such a file that are read; what is needed comes in the first
# The numbers of nanosleep and clock_nanosleep, as in /proc/PID/syscall.
SLEEPS = {"x86_64": (b"35", b"230"), "aarch64": (b"101", b"115")}.get(platform.machine(), ())
CREDENTIALS = struct.Struct("3i")  # of SO_PEERCRED: pid, uid, gid
NAP = 0.05  # seconds: a thread that sleeps for longer is at rest


@dataclass
class Thread:
    """One thread: its open /proc/PID/task/TID/stat and syscall (or -1), and since when it sleeps in
    the same call.
    """

    stat: int
    syscall: int
    call: bytes = b""
    since: float = 0.0

    def close(self) -> None:
        """Close the files."""
        for file in self.stat, self.syscall:
            if file >= 0:
                os.close(file)

    def runs(self) -> bool:
        """Return whether it runs, could run, or sleeps for a moment. Raises OSError at its end."""
        state = os.pread(self.stat, MOST, 0).rpartition(b") ")[2][:1]
        return state not in RESTING or (state == b"S" and self.naps())

    def naps(self) -> bool:
        """Return whether it sleeps, and has not done so for long."""
        if self.syscall < 0:
            return False
        call = os.pread(self.syscall, MOST, 0)
        if call.partition(b" ")[0] not in SLEEPS:
            self.call = b""
            return False
        if call != self.call:
            self.call, self.since = call, time.monotonic()
        return time.monotonic() - self.since < NAP


class Threads:
    """The threads of some processes."""

    def __init__(self) -> None:
        self.processes: dict[int, tuple[int, bytes]] = {}  # (descriptor, number of threads)
        self.threads: dict[int, dict[int, Thread]] = {}  # of each process, by their ids

    def close(self) -> None:
        """Close all files."""
        for process in list(self.threads):
            self.forget(process)

    def any_runs(self, processes: Iterable[int], but: set[int]) -> bool:
        """Return whether any thread of these processes runs, or soon will, but for some threads."""
        return any(self.runs(process, but) for process in processes)

    def runs(self, process: int, but: set[int]) -> bool:
        """Return whether any thread of one process runs, or soon will."""
        try:
            self.look(process)
        except OSError:  # it has ended
            self.forget(process)
            return False
        for number, thread in self.threads[process].items():
            try:
                if thread.runs() and number not in but:
                    return True
            except OSError:  # the thread has ended, and another one may have come in its place
                self.processes[process] = self.processes[process][0], b""
                return self.runs(process, but)
        return False

    def look(self, process: int) -> None:
        """Find out which threads a process has, if their number has changed. Raises OSError."""
        if process not in self.processes:
            self.processes[process] = os.open(f"/proc/{process}/stat", os.O_RDONLY), b""
            self.threads[process] = {}
        file, known = self.processes[process]
        count = os.pread(file, MOST, 0).rpartition(b") ")[2].split()[17]
        if count == known:
            return
        names = set(map(int, os.listdir(f"/proc/{process}/task")))
        threads = self.threads[process]
        for thread in threads.keys() - names:
            threads.pop(thread).close()
        for thread in names - threads.keys():
            with contextlib.suppress(OSError):
                place = f"/proc/{process}/task/{thread}"
                stat = os.open(f"{place}/stat", os.O_RDONLY)
                threads[thread] = Thread(stat, -1)
                threads[thread].syscall = os.open(f"{place}/syscall", os.O_RDONLY)
        self.processes[process] = file, count

    def outside(
        self, connection: socket.socket, process: int, thread: int, known: dict[int, int]
    ) -> tuple[int, int]:
        """Return our ids of the process and the thread that report on this connection.

        They give those that they have in their own pid namespace. `known` keeps what was found.
        """
        if thread not in known:
            data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
            peer = CREDENTIALS.unpack(data)[0]
            known[thread] = thread
            if own_ids(peer, peer)[-1:] == [process]:
                known[process] = peer
                with contextlib.suppress(OSError):
                    for name in map(int, os.listdir(f"/proc/{peer}/task")):
                        known[own_ids(peer, name)[-1]] = name
        return known.get(process, process), known[thread]

    def forget(self, process: int) -> None:
        """Close the files of one process."""
        file, _ = self.processes.pop(process, (-1, b""))
        if file >= 0:
            os.close(file)
        for thread in self.threads.pop(process, {}).values():
            thread.close()


def own_ids(process: int, thread: int) -> list[int]:
    """Return the ids of a thread in all pid namespaces that it has one in, ours first."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/task/{thread}/status") as file:
        for line in file:
            if line.startswith("NSpid:"):
                return list(map(int, line.split()[1:]))
    return [thread]


def children_of(process: int) -> set[int]:
    """Return the processes that this one's threads have made, and that live."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for place in Path(f"/proc/{process}/task").iterdir():
            found |= set(map(int, (place / "children").read_text().split()))
    return found
