"""A git clone of a student's repository: its files at the last commit before the due time.

The repository may be the student's own work: no command here runs hooks, filters, helpers or
fetches that its configuration names, and no file is checked out.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from harness.driving.messages import Message, msg
from harness.grading.archives import Entry, RefusedError, files_of
from harness.verdicts.model import UsageError

LIMIT = 60  # seconds for each command
ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ALLOW_PROTOCOL": "none",  # a partial clone would fetch what it lacks, by any command
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}


def is_clone(folder: Path) -> bool:
    """Whether this folder is a git clone."""
    place = folder / ".git"
    return place.is_dir() and not place.is_symlink() and (place / "HEAD").is_file()


def command(folder: Path, *words: str) -> list[str]:
    """The command line of git for this clone. Raises UsageError."""
    git = shutil.which("git")
    if git is None:
        raise UsageError(msg("git is not installed, and {folder} is a git clone", folder=folder))
    quiet = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    return [git, f"--git-dir={folder / '.git'}", *quiet, *words]


def told(folder: Path, *words: str) -> bytes:
    """What a command of git prints. Raises RefusedError."""
    try:
        done = subprocess.run(
            command(folder, *words),
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        raise RefusedError(msg("git takes too long to read it")) from None
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise RefusedError(msg("git cannot read it: {why}", why=why[:300]))
    return done.stdout


def files_of_clone(
    folder: Path, due: datetime | None
) -> tuple[dict[str, bytes], list[Message], datetime | None]:
    """(files, notes, time) of the last commit until `due`; of the last of all if none is so early.

    Raises RefusedError.
    """
    one = ("log", "-1", "--format=%H %cI")
    until = [f"--until={due.isoformat()}"] if due else []
    found = told(folder, *one, *until, "HEAD") or told(folder, *one, "HEAD")
    commit, _, time = found.decode().strip().partition(" ")
    later = told(folder, "rev-list", "--count", f"{commit}..HEAD").decode().strip()
    with entries_of_commit(folder, commit) as entries:
        files, notes = files_of(entries)
    notes.append(
        msg("taken from the commit {commit} of {time}", commit=commit[:12], time=time)
        if later == "0"
        else msg(
            "taken from the commit {commit} of {time}; commits after it: {later}",
            commit=commit[:12],
            time=time,
            later=later,
        )
    )
    return files, notes, datetime.fromisoformat(time)


@contextmanager
def entries_of_commit(folder: Path, commit: str) -> Iterator[list[Entry]]:
    """The entries of a commit; one process of git reads all of their blobs."""
    kinds = {"100644": "file", "100755": "file", "100664": "file", "120000": "link"}
    with subprocess.Popen(
        command(folder, "cat-file", "--batch"),
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as reader:

        def read(blob: str, most: int) -> bytes:
            reader.stdin.write(blob.encode() + b"\n")
            reader.stdin.flush()
            header = reader.stdout.readline().split()
            if len(header) != 3:
                raise RefusedError(msg("git cannot read it: {why}", why=f"no object {blob}"))
            return reader.stdout.read(int(header[2]) + 1)[:-1][:most]

        entries = []
        for line in told(folder, "ls-tree", "-r", "-l", "-z", commit).split(b"\0"):
            about, _, path = line.partition(b"\t")
            if path:
                mode, _, blob, size = about.decode().split()
                entries.append(
                    Entry(
                        path.decode(errors="backslashreplace"),
                        kinds.get(mode, "device"),
                        int(size) if size.isdigit() else 0,  # "-", "BAD"
                        lambda most, blob=blob: read(blob, most),
                    )
                )
        yield entries
        reader.stdin.close()
