"""Watches the processes of one submission that runs without namespaces, and ends them.

`python -P -m harness.grading.warden GROUP FOLDER` is a process of root's, beside the judge. It
ends all processes of the group id GROUP when its standard input ends: so they end with the judge,
by whatever that ended. It ends them, too, if they use too much memory or disk. It writes what it
did to REASONS in the folder's closed part, a line of JSON each.

Limits of the kernel do not do this. RLIMIT_AS breaks Java, Node.js and the sanitizers, a control
group needs rights that a container does not have, and a quota needs a file system that has one.
"""

import contextlib
import json
import os
import select
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.driving import cells
from harness.driving.messages import Message, msg
from harness.driving.processes import as_owner
from harness.driving.server import ROOT
from harness.grading import cell, uid

REASONS = "reasons"
READY = b"."
UNWATCHED = msg("the process that watches the submission's programs has ended")
TICK = 0.1  # seconds between two looks at the memory
DISK_TICKS = 5  # so many of these between two looks at the disk
RESERVE = 0.05  # of the machine's memory, and of the disk: if less is free, the submission ends
BLOCK = 512  # bytes: the unit of st_blocks


@dataclass(frozen=True)
class Excess:
    """Why the warden ended a submission's processes. `what`: memory, disk, files or machine."""

    what: str
    found: int
    most: int

    def text(self) -> Message:
        """Return it in words."""
        found, most = (round(size / uid.MEGABYTE) for size in (self.found, self.most))
        if self.what == "memory":
            return msg(
                "it used {found} MB of memory; {most} MB are allowed", found=found, most=most
            )
        if self.what == "disk":
            return msg(
                "it wrote {found} MB to files; {most} MB are allowed", found=found, most=most
            )
        if self.what == "files":
            return msg(
                "it made {found} files; {most} are allowed", found=self.found, most=self.most
            )
        return msg("this machine had only {found} MB of memory or disk left", found=found)


def memory_of(pids: Sequence[int]) -> int:
    """Return the bytes of memory of the processes; if that is much, without counting pages twice
    that they share.
    """
    if (resident := cell.memory(pids, "statm")) <= cell.MEMORY:
        return resident
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), as_owner(pid):
            total += cell.memory([pid], "smaps_rollup")
    return total


def used_by(folders: Iterable[Path]) -> tuple[int, int]:
    """Return the bytes and the number of the files in the folders that a submission made."""
    size = count = 0
    for folder in folders:
        for _, names, files, place in os.fwalk(folder, follow_symlinks=False):
            for name in [*names, *files]:
                with contextlib.suppress(OSError):
                    about = os.stat(name, dir_fd=place, follow_symlinks=False)
                    if about.st_uid in uid.IDS:
                        size += about.st_blocks * BLOCK
                        count += 1
    return size, count


def removed_but_open(pids: Iterable[int]) -> int:
    """Return the bytes of the files that the processes have open and that have no name."""
    sizes = {}
    for pid in pids:
        with contextlib.suppress(OSError), as_owner(pid):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    about = os.stat(f"/proc/{pid}/fd/{name}")
                    if stat.S_ISREG(about.st_mode) and about.st_nlink == 0:
                        sizes[about.st_dev, about.st_ino] = about.st_blocks * BLOCK
    return sum(sizes.values())


def free_memory() -> tuple[int, int]:
    """Return the bytes of memory that are free on this machine, and all of it."""
    with open("/proc/meminfo") as file:
        rows = dict(line.split(":") for line in file)
    return tuple(int(rows[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))


class Warden:
    """What the process does."""

    def __init__(self, group: int, folder: Path):
        self.group, self.folder = group, folder
        # A machine that has little from the beginning may have half of that.
        free, total = free_memory()
        self.memory_reserve = min(RESERVE * total, free / 2)
        disk = os.statvfs(folder)
        self.disk_reserve = min(RESERVE * disk.f_blocks, disk.f_bavail / 2) * disk.f_frsize

    def run(self) -> None:
        """Watch until standard input ends; then end all."""
        os.write(1, READY)
        tick = 0
        while not select.select([0], [], [], TICK)[0]:
            tick += 1
            pids = uid.alive(uid.pids_of(group=self.group))
            if pids and (excess := self.excess(pids, with_disk=tick % DISK_TICKS == 0)):
                self.note(excess)  # first, as the judge may look for it as soon as they end
                uid.end_group(self.group)
        uid.end_group(self.group)
        shutil.rmtree(self.folder, ignore_errors=True)

    def excess(self, pids: list[int], *, with_disk: bool) -> Excess | None:
        """Return what these processes use too much of, if anything."""
        if (size := memory_of(pids)) > cell.MEMORY:
            return Excess("memory", size, cell.MEMORY)
        if (free := free_memory()[0]) < self.memory_reserve:
            return Excess("machine", free, round(self.memory_reserve))
        if not with_disk:
            return None
        size, count = used_by([self.folder, uid.SHARED_MEMORY])
        size += removed_but_open(pids)
        if size > cell.SIZE:
            return Excess("disk", size, cell.SIZE)
        if count > cell.MOST_FILES:
            return Excess("files", count, cell.MOST_FILES)
        disk = os.statvfs(self.folder)
        if (free := disk.f_bavail * disk.f_frsize) < self.disk_reserve:
            return Excess("machine", free, round(self.disk_reserve))
        return None

    def note(self, excess: Excess) -> None:
        """Keep a reason for the judge."""
        with open(closed_part(self.folder) / REASONS, "a") as file:
            file.write(json.dumps(asdict(excess)) + "\n")


def closed_part(folder: Path) -> Path:
    """Return the part of a submission's folder that is root's alone."""
    return folder / "closed"


class Slot:
    """A submission's group id and folder, and its warden. Use it with `with`, or close() it.

    `folder` is the place of all that the submission may write. `cell` starts its programs; another
    process makes one by UidCell(slot.folder, slot.group).
    """

    def __init__(self, parent: Path | None = None):
        """Make the folder in `parent`, by default that of temporary files. Every user must be able
        to pass through it. Raises CellError.
        """
        self._lock = uid.Locked("group", uid.end_group)
        self.group = self._lock.number
        self.folder = Path(tempfile.mkdtemp(prefix="grupo-cell-", dir=parent))
        self.folder.chmod(0o711)
        closed_part(self.folder).mkdir(mode=0o700)
        self.cell = uid.UidCell(self.folder, self.group)
        # Started as a program, not forked: it must hold none of our descriptors and no memory.
        self._warden = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.grading.warden", str(self.group), self.folder],
            cwd="/",
            env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        if self._warden.stdout.read(1) != READY:
            raise cells.CellError(UNWATCHED)

    def __enter__(self) -> "Slot":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reasons(self) -> list[Message]:
        """Return why the warden ended processes so far, in words."""
        path = closed_part(self.folder) / REASONS
        lines = path.read_text().splitlines() if path.exists() else []
        return [Excess(**json.loads(line)).text() for line in lines]

    def close(self) -> None:
        """End all processes of the submission. Raises CellError if some are left, or if they were
        not watched all the time.
        """
        self._warden.communicate()
        are_ended = uid.end_group(self.group)
        shutil.rmtree(self.folder, ignore_errors=True)
        if not are_ended:
            raise cells.CellError(msg("the program's processes could not be killed"))
        self._lock.close()
        if self._warden.returncode:
            raise cells.CellError(UNWATCHED)


if __name__ == "__main__":
    Warden(int(sys.argv[1]), Path(sys.argv[2])).run()
