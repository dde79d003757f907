"""python -m harness lab: what `make check` does in a lab's starting folder: the checks that grade it, and before them what would keep it from running.

A folder may be moved, half-filled, broken or saved with other line ends: for each, one line says what is wrong, where, and what to do.
"""
import ast
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from harness import language, starter
from harness.language import say
from harness.verdicts import command
from harness.verdicts.formats.told import clean
from harness.verdicts.model import Misuse

MOST = 1 << 20              # bytes of a file that is looked at
PATIENCE = 60               # seconds for the compiler


def inspect_python(begun, folder):
    """Raises Misuse at the first thing that keeps the server from running."""
    for place, ours in begun.files().items():
        path = folder / place
        if not path.is_file():
            raise Misuse(f"{place} is missing in {folder}: take it from a new starting folder (python -m harness starter {begun.lab} NEW_FOLDER)")
        if path.stat().st_size > MOST:
            raise Misuse(f"{place} is larger than any program one writes: take it from a new starting folder")
        try:
            text = path.read_bytes().decode()
            tree = ast.parse(text)
        except SyntaxError as error:
            shown = text.split("\n")[(error.lineno or 1) - 1:][:1]
            raise Misuse(f"{place}, line {error.lineno or 1}: {error.msg} ({''.join(shown).strip()[:200]}). Mend that line") from None
        except (ValueError, MemoryError, RecursionError) as error:
            raise Misuse(f"{place}: {error or 'it nests too deep'}. Save it as UTF-8 text") from None
        for one in begun.empty:
            if one.file == place and one.function not in names(tree):
                raise Misuse(f"{place} has no {one.function} any more, and who calls it finds nothing: write it again, with the same name")


def names(tree):
    """The functions and methods of a module, as NAME and CLASS.NAME."""
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return found | {f"{kind.name}.{node.name}" for kind in tree.body if isinstance(kind, ast.ClassDef)
                    for node in kind.body if isinstance(node, ast.FunctionDef)}


def build_c(folder):
    """Compiles server.c. Raises Misuse."""
    if not (folder / "server.c").is_file():
        raise Misuse(f"server.c is missing in {folder}: take it from a new starting folder")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Misuse("no C compiler is here: install one (Debian, Ubuntu: apt install gcc libc6-dev libcrypt-dev), or take the lab in Python")
    try:
        done = subprocess.run([compiler, *starter.COMPILE], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Misuse(f"server.c: the compiler came to no end in {PATIENCE} s. What does it include?") from None
    print(clean(done.stderr.decode(errors="replace")), end="", file=sys.stderr)
    if done.returncode:
        raise Misuse("server.c does not compile: mend the first error that stands above, and compile again")


def main(options):
    """Exit status as of `check`; 2 if the folder cannot be checked."""
    language.choose(options.lang)
    folder = Path(options.folder).resolve()
    try:
        begun = starter.read(options.lab, "c" if (folder / "server.c").exists() else "python")
        begun = replace(begun, designs=[options.design or begun.designs[0]])       # LAB=3 may be asked in the folder of another lab
        if begun.language == "c":
            build_c(folder)
            options.server = [str(folder / "server")]
        else:
            if not (folder / f"implementations/{begun.designs[0]}.py").exists() and (folder / "implementations").exists():
                raise Misuse(f"this folder has no implementations/{begun.designs[0]}.py: choose another DESIGN, or another LAB")
            inspect_python(begun, folder)
            options.server = [sys.executable, "-m", f"implementations.{begun.designs[0]}"]
    except Misuse as why:
        print(f"lab: {clean(say(str(why)))}", file=sys.stderr)
        return 2
    options.design, options.folder = begun.designs[0], folder
    options.replay = f"make check LAB={begun.lab} SEED={{seed}} ONLY=CHECK"
    return command.main(options)
