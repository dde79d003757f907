"""What kind of program a command line starts, and how a library is loaded into it."""

import os
import re
import shutil
import struct
import sys
from pathlib import Path

from harness.driving.messages import Message, msg

# Programs that may well start Python; to others the variables mean nothing.
STARTERS = re.compile(
    r"(ba|da|z|fi)?sh|env|make|uv|poetry|pipenv|nice|timeout|stdbuf|setsid|coverage"
)
PYTHON = re.compile(r"(python|pypy)[\d.]*t?")
ELF = b"\x7fELF"
CLASS_64 = 2  # the fifth byte of an ELF file


def program_of(command: list[str]) -> str | None:
    """Return the path of the file that is run, None if there is none."""
    return shutil.which(command[0]) or (command[0] if os.path.isfile(command[0]) else None)


def head_of(path: str | None) -> bytes:
    """Return the first 4 KiB of a file; nothing, if it cannot be read."""
    try:
        with open(path or "", "rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def interpreter_of(path: str | None) -> str:
    """Return what follows `#!` in a script's first line, else ''."""
    first = head_of(path).split(b"\n")[0].decode("utf-8", "replace")
    return first[2:].strip() if first.startswith("#!") else ""


def loader_of(path: str | None) -> str | None:
    """Return the loader that a native program asks for.

    That is '' if it is static, None if it is no native program of 64 bits (a script, say).
    """
    head = head_of(path)
    if path is None or head[:4] != ELF or head[4] != CLASS_64:
        return None
    (start,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    for place in range(start, start + size * count, size):
        if place + 56 <= len(head) and struct.unpack_from("<I", head, place)[0] == 3:  # PT_INTERP
            (offset,) = struct.unpack_from("<Q", head, place + 8)
            (length,) = struct.unpack_from("<Q", head, place + 32)
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(length).rstrip(b"\0").decode("utf-8", "replace")
    return ""


def why_not_loaded(command: list[str]) -> Message | None:
    """Return why a library of ours is not loaded into this program, None if it is.

    It is loaded into what has the same loader as we: not into static programs, nor other C
    libraries'.
    """
    path = program_of(command)
    head, loader = head_of(path), loader_of(path)
    if loader == "":
        return msg("the program is static")
    if head[:4] == ELF and head[4] != CLASS_64:
        return msg("the program is for processors of 32 bits")
    if loader is not None and loader != loader_of(sys.executable):
        return msg("the program has a loader of its own, {loader}", loader=loader)
    return None


def preloading(library: Path) -> dict[str, str]:
    """Return the variables that have a program load this library before all others."""
    return {
        "LD_PRELOAD": joined(str(library), os.environ.get("LD_PRELOAD")),
        # else a program built with -fsanitize=address refuses to start because something was loaded
        # before its library
        "ASAN_OPTIONS": joined("verify_asan_link_order=0", os.environ.get("ASAN_OPTIONS")),
    }


def joined(first: str, more: str | None) -> str:
    """Return the value of a variable that is a list, with `first` before what it had."""
    return f"{first}:{more}" if more else first


def is_python(command: list[str]) -> bool:
    """Return whether the command runs Python, or may well do so."""
    name = os.path.basename(command[0])
    return bool(
        PYTHON.fullmatch(name)
        or STARTERS.fullmatch(name)
        or re.search(r"python|pypy|sh\b|env", interpreter_of(program_of(command)))
    )


def options_of_python(command: list[str]) -> list[str]:
    """Return Python's own options: of python -u -m x, ['-u'].

    They are those before the script or the module, if the program is Python itself.
    """
    found: list[str] = []
    if PYTHON.fullmatch(os.path.basename(command[0])):
        for arg in command[1:]:
            if not arg.startswith("-") or arg[1:2] in ("m", "c"):
                break
            found.append(arg)
            if arg.endswith(("W", "X")):
                break
    return found


def ignored_environment(command: list[str]) -> str:
    """Return the option by which Python ignores what our variables say, such as I; '' if none."""
    flags = "".join(arg for arg in options_of_python(command) if not arg.startswith("--"))
    return next(iter(sorted(set("IES") & set(flags))), "")
