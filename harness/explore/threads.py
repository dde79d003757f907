"""What the kernel says of the threads of some processes: does any of them run?

The files in /proc stay open between two looks, since a controller looks after each step.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

RESTING = b"STtZXI"  # of the states in /proc/PID/stat: neither running nor waiting for a disk
MOST = 512  # bytes of such a file that are read; what is needed comes in the first


class Threads:
    """The threads of processes, each with its open /proc/PID/task/TID/stat."""

    def __init__(self) -> None:
        self.processes: dict[int, tuple[int, bytes]] = {}  # (descriptor, number of threads)
        self.threads: dict[int, dict[int, int]] = {}  # of each process: descriptors by thread

    def close(self) -> None:
        """Close all files."""
        for process in list(self.threads):
            self.forget(process)

    def any_runs(self, processes: Iterable[int], but: set[int]) -> bool:
        """Return whether any thread of these processes runs, or could, but for some threads."""
        return any(self.runs(process, but) for process in processes)

    def runs(self, process: int, but: set[int]) -> bool:
        """Return whether any thread of one process runs."""
        try:
            self.look(process)
        except OSError:  # it has ended
            self.forget(process)
            return False
        for thread, file in list(self.threads[process].items()):
            if thread not in but:
                with contextlib.suppress(OSError):  # the thread has ended
                    state = os.pread(file, MOST, 0).rpartition(b") ")[2][:1]
                    if state not in RESTING:
                        return True
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
        files = self.threads[process]
        for thread in files.keys() - names:
            os.close(files.pop(thread))
        for thread in names - files.keys():
            with contextlib.suppress(OSError):
                files[thread] = os.open(f"/proc/{process}/task/{thread}/stat", os.O_RDONLY)
        self.processes[process] = file, count

    def forget(self, process: int) -> None:
        """Close the files of one process."""
        file, _ = self.processes.pop(process, (-1, b""))
        for one in (file, *self.threads.pop(process, {}).values()):
            if one >= 0:
                os.close(one)


def children_of(process: int) -> set[int]:
    """Return the processes that this one's threads have made, and that live."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for place in Path(f"/proc/{process}/task").iterdir():
            found |= set(map(int, (place / "children").read_text().split()))
    return found
