"""Temporary folders of a check. One that a killed run left behind is removed by the next run.

While its run goes on, a folder is locked, and has a file MARK in it. The end of the process, by
whatever, ends the lock, and leaves the file. So a folder that has the file, and no lock, is left
over. A folder without the file holds records that the user may want to read. It is left over after
KEPT seconds.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PREFIX, MARK = "grupo-check-", "running"
KEPT = 7 * 24 * 3600  # seconds


class TemporaryFolder:
    """A new folder, which close() removes, unless keep() was called. Raises OSError."""

    def __init__(self):
        remove_left_over()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # without locks here, it is never taken for left over
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            (self.path / MARK).touch()
        self.is_kept = False

    def __enter__(self) -> "TemporaryFolder":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def keep(self) -> None:
        """Leave the folder to the user."""
        self.is_kept = True
        with contextlib.suppress(OSError):
            os.unlink(self.path / MARK)

    def close(self) -> None:
        """Remove the folder, if it is not to be kept."""
        if not self.is_kept:
            remove(self.path)
        os.close(self.lock)


def remove(path: Path) -> None:
    """Remove a folder, and say nothing of what cannot be removed. No link is followed.

    A program under check may have made folders in it that are too deep for a function that calls
    itself, and too deep for a path.
    """
    try:
        shutil.rmtree(path, ignore_errors=True)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", str(path)], stderr=subprocess.DEVNULL)


def remove_left_over() -> None:
    """Remove this user's folders of runs that were killed, and those that were kept long enough.

    No link is followed, and nothing is said of what cannot be removed.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if is_left_over(folder):
                    remove(path)
            finally:
                os.close(folder)


def is_left_over(folder: int) -> bool:
    """Whether the folder with this descriptor is ours, and no longer of use. Raises OSError."""
    about = os.fstat(folder)
    if about.st_uid != os.getuid():
        return False
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if its run goes on
    return MARK in os.listdir(folder) or time.time() > about.st_mtime + KEPT
