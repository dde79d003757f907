"""C programs of the harness: compiled when they are first needed, and kept by the hash of their source and of how it is compiled."""
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness.driving.messages import msg
from harness.driving.server import ROOT


class NotCompiled(Exception):
    """It could not be compiled; the text says why."""


def compiled(source, *flags):
    """The path of the program made of `source`, a path; makes it if need be. Raises NotCompiled."""
    digest = hashlib.sha256(source.read_bytes() + " ".join(flags).encode()).hexdigest()[:16]
    folder = ROOT / ".venv" if (ROOT / ".venv").is_dir() and os.access(ROOT / ".venv", os.W_OK) else Path(tempfile.gettempdir())
    folder /= f"grupo-compiled-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise NotCompiled(msg("{folder} belongs to somebody else", folder=folder))
    program = folder / f"{source.stem}-{digest}"
    if not program.exists():
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if not compiler:
            raise NotCompiled(msg("no C compiler found. On Debian or Ubuntu: apt install gcc libc6-dev"))
        making = program.with_suffix(f".{os.getpid()}")
        made = subprocess.run([compiler, "-O2", "-Wall", *flags, "-o", str(making), str(source)], capture_output=True, text=True, errors="replace")
        if made.returncode:
            raise NotCompiled(msg("{compiler} could not compile {source}:\n{stderr}", compiler=compiler, source=source, stderr=made.stderr))
        making.replace(program)         # at once: another process may want it now
    return program
