"""What lets a program in C be explored: a library that is loaded into it (gates.c), and what cannot
be explored with it. access.c is for programs that are compiled for it: they report each access to
shared memory.
"""

import contextlib
import functools
import mmap
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

from harness.driving import cells
from harness.driving.compiled import NotCompiled, compiled
from harness.driving.messages import Message, msg, template
from harness.driving.programs import (
    ELF,
    PYTHON,
    STARTERS,
    head_of,
    ignored_environment,
    interpreter_of,
    program_of,
    why_not_loaded,
)
from harness.driving.server import inherited_environment

HERE = Path(__file__).parent
SHARED = "-shared", "-fPIC", "-pthread", "-fexceptions"
LIBRARIES = "-ldl", "-lrt"
OWN_SCHEDULER = template(
    "{program} is a {runtime} program: its runtime has threads and locks of its own, which the C "
    "library does not see"
)
# What is in the files of programs that have a scheduler, or locks, of their own.
RUNTIMES = {
    b"\xff Go buildinf:": "Go",
    b"NODE_OPTIONS": "Node.js",
    b"libjli.so": "Java",
    b"JNI_CreateJavaVM": "Java",
    b"hostfxr": ".NET",
    b"/rustc/": "Rust",
}
INTERPRETERS = re.compile(
    r"(node|nodejs|deno|bun|java|dotnet|ruby|perl|php|lua|luajit|tclsh|erl|escript|beam\.smp|julia"
    r"|Rscript|guile|racket|scala|kotlin|mono)[\d.-]*"
)
AT = re.compile(r"(.+)\+0x([0-9a-f]+)")
CAPABILITIES = "security.capability"  # an attribute of a file that gives its process rights


def gates_library() -> Path:
    """Return the path of the library that reports what a program does; compile it if need be.

    Raises NotCompiled.
    """
    return compiled(HERE / "gates.c", *SHARED, *LIBRARIES)


def access_object() -> Path:
    """Return the path of what a program compiled with -fsanitize=thread is linked to.

    Such a program is linked without that flag: cc -pthread part.o ... ACCESS_OBJECT. Raises
    NotCompiled.
    """
    return compiled(HERE / "access.c", "-c", "-fPIC")


# -- What cannot be explored


def why_not(command: list[str], cwd: str | Path = ".") -> Message | None:
    """Return why the program of this command line, run in `cwd`, cannot be explored.

    None: it may be tried. So may a shell, and what else starts programs: what it starts loads the
    library, too.
    """
    if os.path.dirname(command[0]):
        command = [os.path.join(cwd, command[0]), *command[1:]]
    path = program_of(command)
    if path is None:
        return msg("{command}: there is no such program", command=command[0])
    if not os.access(path, os.X_OK):
        return msg("{program} may not be executed", program=path)
    if PYTHON.fullmatch(os.path.basename(path)):  # it needs no library
        return why_not_python(command)
    if interpreter_of(path):
        return why_not_script(path)
    return why_not_native(command, path)


def why_not_script(path: str) -> Message | None:
    """Return why a script cannot be explored: it is for an interpreter other than Python."""
    words = interpreter_of(path).split()
    names = [os.path.basename(word) for word in words if not word.startswith("-")] or [""]
    name = names[1] if names[0] == "env" and len(names) > 1 else names[0]
    if PYTHON.fullmatch(name) or STARTERS.fullmatch(name):
        return None
    return msg(
        "{program} is a script for {interpreter}: only native programs and Python can be explored",
        program=path,
        interpreter=name,
    )


def why_not_python(command: list[str]) -> Message | None:
    """Return why a Python cannot be explored: an option by which it ignores our variables."""
    if flag := ignored_environment(command):
        return msg("python -{flag} ignores the environment, and so the gates", flag=flag)
    return None


def why_not_native(command: list[str], path: str) -> Message | None:
    """Return why a native program cannot be explored."""
    name = os.path.basename(os.path.realpath(path))
    if runtime := runtime_of(path):
        return msg(OWN_SCHEDULER, program=path, runtime=runtime)
    if INTERPRETERS.fullmatch(os.path.basename(path)) or INTERPRETERS.fullmatch(name):
        return msg(
            "{program} is an interpreter: only native programs and Python can be explored",
            program=path,
        )
    if has_more_rights(path):
        return msg(
            "{program} runs with rights of its own (setuid), so nothing is loaded into it",
            program=path,
        )
    if why := why_not_loaded(command):
        return why
    try:
        gates_library()
    except (NotCompiled, OSError) as error:
        first = str(error).split("\n")[0]
        return msg(
            "the library that reports the program's steps could not be made: {why}", why=first
        )
    return None


def runtime_of(path: str) -> str | None:
    """Return which runtime a native program has, if it is one that schedules its own threads."""
    if head_of(path)[:4] != ELF:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        return next((name for sign, name in RUNTIMES.items() if data.find(sign) >= 0), None)


def has_more_rights(path: str) -> bool:
    """Return whether a program gets rights that we do not have: then the loader loads nothing."""
    about = os.stat(path)
    has_capabilities = False
    with contextlib.suppress(OSError):  # a file system without attributes
        has_capabilities = bool(os.geteuid() and os.getxattr(path, CAPABILITIES))
    return (
        has_capabilities
        or bool(about.st_mode & stat.S_ISUID and about.st_uid != os.getuid())
        or bool(about.st_mode & stat.S_ISGID and about.st_gid != os.getgid())
    )


# -- Places in the source


def source_of(at: str, program: Path) -> str | None:
    """Return the source line of an event's "at", such as `server.c:120`.

    `program` is the file that was run. None: it was compiled without -g, addr2line is missing, or
    the place is in a library that is not beside the program.
    """
    if not (found := AT.fullmatch(at)):
        return None
    module, offset = found[1], int(found[2], 16)
    file = program if module == program.resolve().name else program.resolve().parent / module
    if not file.is_file():
        return None
    return line_at(file, file.stat().st_mtime_ns, offset)


@functools.cache
def line_at(file: Path, changed: int, offset: int) -> str | None:
    """Return the source line of the call that returns to this offset of a file.

    `changed`: when the file was, so that a new one is looked at again.
    """
    if not (tool := shutil.which("addr2line")):
        return None
    # The call comes before the place to which it returns, which may be the next line's.
    command = [tool, "-e", str(file), hex(offset - 1)]
    # The file is a program of others: to read it may be as dangerous as to run it.
    launch = cells.current().started(
        command, cwd=file.parent, env=inherited_environment(), readable=[file]
    )
    process = cells.Process(launch, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    told, _ = process.communicate()
    place = told.decode(errors="replace").split(" (")[0].strip()
    path, _, line = place.rpartition(":")
    return f"{os.path.basename(path)}:{line}" if line.isdecimal() and int(line) > 0 else None
