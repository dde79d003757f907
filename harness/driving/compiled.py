"""Compiles the harness's C programs on first use, and keeps them by a hash of source and flags."""

import contextlib
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from harness.driving import cells
from harness.driving.messages import msg
from harness.driving.server import ROOT

SEPARATORS = re.compile(r"[\s:]")  # of the libraries in LD_PRELOAD


class NotCompiled(Exception):
    """A program could not be compiled; the text says why."""


def find_compiler() -> str | None:
    """Return the path of a C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compiled(source: Path, *flags: str) -> Path:
    """Return the path of the program made from a C source; compile it if it is not there yet.

    `flags` go to the compiler. Raises NotCompiled.
    """
    digest = hashlib.sha256(source.read_bytes() + " ".join(flags).encode()).hexdigest()[:16]
    program = folder_of_programs() / f"{source.stem}-{digest}"
    if not is_own(program, stat.S_IFREG):
        compiler = find_compiler()
        if compiler is None:
            raise NotCompiled(
                msg("no C compiler found. On Debian or Ubuntu: apt install gcc libc6-dev")
            )
        unfinished = program.with_suffix(f".{os.getpid()}")
        run = subprocess.run(
            [compiler, "-O2", "-Wall", *flags, "-o", str(unfinished), str(source)],
            capture_output=True,
            text=True,
            errors="replace",
        )
        if run.returncode:
            raise NotCompiled(
                msg(
                    "{compiler} could not compile {source}:\n{stderr}",
                    compiler=compiler,
                    source=source,
                    stderr=run.stderr,
                )
            )
        unfinished.replace(program)  # atomic: another process may start the program now
    return program


def folder_of_programs() -> Path:
    """Return the folder of compiled programs, for this user alone to write. Raises NotCompiled.

    It is in .venv, or in the temporary folder where .venv cannot be written, its file system keeps
    no permissions, or its path cannot stand in LD_PRELOAD.
    """
    venv, temporary = ROOT / ".venv", Path(tempfile.gettempdir())
    may_be_there = venv.is_dir() and not SEPARATORS.search(str(venv))
    if may_be_there and os.access(venv, os.W_OK) and cells.current() is cells.DIRECT:
        with contextlib.suppress(NotCompiled):
            return folder_in(venv)
    return folder_in(temporary)  # for a cell: it sees nothing else that can be written


def folder_in(parent: Path) -> Path:
    """Return the folder of compiled programs in this one; make it if need be. Raises
    NotCompiled.
    """
    folder = parent / f"grupo-compiled-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    can_others_write = folder.lstat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if is_own(folder, stat.S_IFDIR) and not can_others_write:
        return folder
    raise NotCompiled(
        msg("{folder} is not a folder that only you can write to; remove it", folder=folder)
    )


def is_own(path: Path, kind: int) -> bool:
    """Return whether there is a file of this kind, of this user, and not behind a link."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_IFMT(found.st_mode) == kind and found.st_uid == os.getuid()
