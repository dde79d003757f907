"""python -m harness lab: what `make check` does in a lab's starting folder: the checks that grade
it, and before them what would keep it from running.

A folder may be moved, half-filled, broken or saved with other line ends: for each, one line says
what is wrong, where, and what to do.
"""

import ast
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from harness.driving import cells
from harness.driving.compiled import find_compiler
from harness.driving.messages import msg
from harness.driving.server import DESIGNS, inherited_environment
from harness.teaching import predict, starter, track
from harness.verdicts import command, sanitizers
from harness.verdicts.formats.render import clean
from harness.verdicts.language import say
from harness.verdicts.model import SubmissionError, UsageError

MOST = 1 << 20  # bytes of a file that is looked at, and of the compiler's messages
PATIENCE = 60  # seconds for the compiler
# What each process of a compiler may use: seconds of CPU, bytes of memory, bytes of a file; no
# core.
LIMITS = {
    resource.RLIMIT_CPU: 60,
    resource.RLIMIT_AS: 4 << 30,
    resource.RLIMIT_FSIZE: 256 << 20,
    resource.RLIMIT_CORE: 0,
}
# Where a compiler looks for the system's headers, as its -v says.
SEARCHED = re.compile(r"^#include <\.\.\.> .*?\n(.*?)^\S", re.MULTILINE | re.DOTALL)


def inspect_python(begun, folder):
    """Raises SubmissionError at the first thing that keeps the server from running."""
    for place in begun.files():
        path = folder / place
        if not path.is_file():
            raise SubmissionError(
                msg(
                    "{place} is missing in {folder}: take it from a new starting folder (python "
                    "-m harness starter {lab} NEW_FOLDER)",
                    place=place,
                    folder=folder,
                    lab=begun.lab,
                )
            )
        must_be_inside(place, folder)
        if path.stat().st_size > MOST:
            raise SubmissionError(
                msg(
                    "{place} is larger than any program one writes: take it from a new starting "
                    "folder",
                    place=place,
                )
            )
        try:
            data = path.read_bytes()
            tree = ast.parse(data)  # bytes: the file itself may name its encoding
        except SyntaxError as error:
            why = str(error.msg)  # the second is Python 3.14's
            if not error.lineno or "codec can't decode" in why or why.startswith("Non-UTF-8"):
                raise SubmissionError(
                    msg("{place}: {msg}. Save it as UTF-8 text", place=place, msg=error.msg)
                ) from None
            shown = data.decode(errors="replace").split("\n")[(error.lineno or 1) - 1 :][:1]
            raise SubmissionError(
                msg(
                    "{place}, line {line}: {error} ({text}). Fix that line",
                    place=place,
                    line=error.lineno or 1,
                    error=error.msg,
                    text="".join(shown).strip()[:200],
                )
            ) from None
        except (ValueError, MemoryError, RecursionError) as error:
            raise SubmissionError(
                msg(
                    "{place}: {error}. Save it as UTF-8 text",
                    place=place,
                    error=str(error) or msg("it nests too deep"),
                )
            ) from None
        for one in begun.empty:
            if one.file == place and one.function not in names(tree):
                raise SubmissionError(
                    msg(
                        "{place} has no {function} any more, and the code that calls "
                        "it fails: write it again, with the same name",
                        place=place,
                        function=one.function,
                    )
                )


def names(tree):
    """The functions and methods of a module, as NAME and CLASS.NAME."""
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return found | {
        f"{kind.name}.{node.name}"
        for kind in tree.body
        if isinstance(kind, ast.ClassDef)
        for node in kind.body
        if isinstance(node, ast.FunctionDef)
    }


def must_be_inside(place, folder):
    """Raises SubmissionError if this file, or a folder above it, is a link that leads out of the
    folder.
    """
    if not (folder / place).resolve().is_relative_to(folder.resolve()):
        raise SubmissionError(
            msg(
                "{place} is a link that leads out of {folder}: put a copy of the file there "
                "instead",
                place=place,
                folder=folder,
            )
        )


def build_c(folder, name="server", sanitizer=None):
    """Compiles server.c to `server`, or the file of another `name`, with one of SANITIZERS if that
    is asked for. Prints the compiler's messages on stderr. Raises SubmissionError, or UsageError if
    the fault is not the student's.
    """
    source = f"{name}.c"
    if not (folder / source).is_file():
        raise SubmissionError(
            msg(
                "{source} is missing in {folder}: take it from a new starting folder",
                source=source,
                folder=folder,
            )
        )
    must_be_inside(source, folder)
    compiler = find_compiler()
    if compiler is None:
        raise UsageError(
            msg(
                "no C compiler found: install one (Debian, Ubuntu: apt install gcc "
                "libc6-dev libcrypt-dev), or take the lab in Python"
            )
        )
    with tempfile.TemporaryDirectory(prefix="grupo-compile-") as scratch:
        program, needs = Path(scratch, "server"), Path(scratch, "needs")
        words = {"server": str(program), "server.c": source}
        arguments = [words.get(word, word) for word in starter.COMPILE]
        if sanitizer:
            sanitizers.fix_addresses()
            must_run_with(sanitizer, compiler, scratch)
            arguments += sanitizers.flags(sanitizer)
        status, told = run_compiler(
            [compiler, *arguments, "-MD", "-MF", str(needs)], folder, scratch
        )
        print(clean(told), end="", file=sys.stderr)
        if status is None:
            raise SubmissionError(
                msg(
                    "{source}: the compiler did not end within {patience} s. What does it include?",
                    source=source,
                    patience=PATIENCE,
                )
            )
        if status:
            why = first_error(told) or msg("the compiler ended with status {status}", status=status)
            raise SubmissionError(
                msg(
                    "{source} does not compile: {why}. Fix the first error, and compile again",
                    source=source,
                    why=why,
                )
            )
        must_include_nothing_from_outside(compiler, needs, folder, scratch)
        try:
            new = folder / f".{name}.new"
            new.unlink(
                missing_ok=True
            )  # a link, there or at `server`, is replaced, and its target stays
            shutil.copy2(program, new)
            new.replace(folder / name)
        except OSError as error:
            raise UsageError(f"{folder / name}: {error.strerror}") from None


def first_error(told: str) -> str:
    """Return the first line in which a compiler, or the linker, says what is wrong; "" if none."""
    signs = "err", "undefined", "cannot find"
    lines = (line for line in told.splitlines() if any(sign in line for sign in signs))
    return clean(next(lines, ""))[:300]


def must_run_with(sanitizer, compiler, scratch):
    """Raises UsageError if this machine cannot compile or run programs with this sanitizer."""
    source, program = Path(scratch, "try.c"), Path(scratch, "try")
    source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
    status, told = run_compiler(
        [compiler, *sanitizers.flags(sanitizer), "-o", str(program), str(source)], scratch, scratch
    )
    if status == 0:
        tried = subprocess.run(
            [program], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
        status, told = tried.returncode, tried.stderr
    if status != 0:
        raise UsageError(
            msg(
                "programs with the {kind} sanitizer do not compile or do not run on this machine: "
                "{why}",
                kind=sanitizer,
                why=clean(told.strip().partition("\n")[0])[:300],
            )
        )


def run_compiler(command, folder, scratch, **env):
    """(status, messages) of a compiler run in `folder`; status None if it had to be ended after
    PATIENCE.

    It runs in a session of its own under LIMITS, or in the cell in force, and all of it is ended
    together. Its temporary files go to `scratch`.
    """

    def limit():
        for kind, most in LIMITS.items():
            hard = resource.getrlimit(kind)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))

    with open(Path(scratch, "messages"), "w+b") as messages:
        process = cells.Process(
            cells.current().started(
                command,
                cwd=folder,
                env={**inherited_environment(), "TMPDIR": scratch, **env},
                writable=[scratch],
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            preexec=limit,
        )
        try:
            status = process.wait(PATIENCE)
        except BaseException as why:
            process.program.end()  # driver, compiler, assembler, linker
            process.wait()
            if not isinstance(why, subprocess.TimeoutExpired):
                raise
            status = None
        messages.seek(0)
        return status, messages.read(MOST).decode(errors="replace")


def must_include_nothing_from_outside(compiler, needs, folder, scratch):
    """Raises SubmissionError if server.c includes a file that is neither in the folder nor one of
    the system's.

    needs: the file that the compiler's -MD wrote: what it read, as a rule of make.
    """
    _, told = run_compiler(
        [compiler, "-E", "-Wp,-v", "-xc", "/dev/null", "-o", "/dev/null"],
        folder,
        scratch,
        LC_ALL="C",
    )
    found = SEARCHED.search(told)
    if not found:
        return  # a compiler that does not say where its own files are
    allowed = [
        folder.resolve(),
        *(Path(line.split(" (")[0].strip()).resolve() for line in found[1].splitlines()),
    ]
    rule = os.fsdecode(needs.read_bytes()).partition(":")[2].replace("\\\n", " ")
    for word in re.split(r"(?<!\\)\s+", rule.strip()):
        path = re.sub(r"\\([ #])", r"\1", word).replace("$$", "$")
        if not any((folder / path).resolve().is_relative_to(place) for place in allowed):
            raise SubmissionError(
                msg(
                    "server.c includes {path}, which is not in {folder}: put a copy of it there",
                    path=path,
                    folder=folder,
                )
            )


def arguments(parser):
    """Adds what `harness lab` takes."""
    parser.add_argument("folder", metavar="DIR", help="what `starter` wrote")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--lab", type=int, metavar="N", choices=range(9), help="only what is asked up to lab N"
    )
    which.add_argument(
        "--stage",
        type=int,
        metavar="N",
        choices=range(8),
        help="only what the track `build` asks up to stage N",
    )
    parser.add_argument(
        "--file",
        choices=track.DESIGNS,
        help="of a stage: which of your files (default: the stage's)",
    )
    parser.add_argument(
        "--design", choices=DESIGNS, help="which of the folder's servers (default: the lab's first)"
    )
    parser.add_argument(
        "--sanitizer",
        choices=sanitizers.SANITIZERS,
        help="in C: compile with it, and show its first report as the cause of a failure",
    )
    command.judging(parser)


def main(options):
    """Exit status as of `check`; 1 also if the folder's server cannot be built or started, which is
    a result with 0 points.
    """
    command.begin(options)
    try:
        if options.stage is None:
            build(options, choose(options))
        else:
            build_stage(options, choose_stage(options))
        stage = options.stage
        options.predictions = predict.predictions(
            options.folder, options.lab if stage is None else None, stage
        )
    except UsageError as why:
        print(f"lab: {clean(say(why.args[0]))}", file=sys.stderr)
        return refused(options, why.args[0]) if isinstance(why, SubmissionError) else 2
    return command.check(options)


def choose(options, language=None):
    """Sets what a report on options.folder needs, whether or not its server can be run. Returns the
    Starter. Raises UsageError.

    language: of the folder; by default what its files say.
    """
    options.folder = folder = Path(options.folder).resolve()
    language = language or ("c" if (folder / "server.c").exists() else "python")
    begun = starter.read(options.lab, language)
    # LAB=3 may be asked in the folder of another lab
    begun = replace(begun, designs=[options.design or begun.designs[0]])
    options.design, options.server = begun.designs[0], [f"lab {begun.lab}"]
    options.replay = (
        f"make check LAB={begun.lab} SEED={{seed}}{' TRACE=1' if options.trace else ''}"
        f"{f' SANITIZE={options.sanitizer}' if options.sanitizer else ''} ONLY=CHECK"
    )
    return begun


def build(options, begun):
    """Builds the server of options.folder, if that is to be done, and sets options.server, its
    command line. Raises SubmissionError, or UsageError if the fault is not the student's.
    """
    folder = options.folder
    if begun.language == "c":
        build_c(folder, sanitizer=options.sanitizer)
        options.server = [str(folder / "server")]
        return
    must_have_no_sanitizer(options)
    if (
        not (folder / f"implementations/{options.design}.py").exists()
        and (folder / "implementations").exists()
    ):
        raise SubmissionError(
            msg(
                "this folder has no implementations/{designs}.py: choose another "
                "DESIGN, or another LAB",
                designs=options.design,
            )
        )
    inspect_python(begun, folder)
    options.server = [sys.executable, "-m", f"implementations.{options.design}"]


def must_have_no_sanitizer(options):
    """Raises UsageError if a server in Python is to be checked with a sanitizer."""
    if options.sanitizer:
        raise UsageError(msg("SANITIZE is for servers in C: this one is in Python"))


def choose_stage(options):
    """As choose(), for a stage of the track."""
    options.folder = folder = Path(options.folder).resolve()
    language = track.language_in(folder) or "python"
    stage = track.read(options.stage, language, options.file or "")
    options.lab, options.asked = stage.lab, track.asked(stage)
    options.design, options.server = stage.designs[0], [f"stage {stage.lab}"]
    options.replay = (
        f"make check STAGE={stage.lab} FILE={stage.file} SEED={{seed}}"
        f"{' TRACE=1' if options.trace else ''}"
        f"{f' SANITIZE={options.sanitizer}' if options.sanitizer else ''} ONLY=CHECK"
    )
    return stage


def build_stage(options, stage):
    """As build(), for a stage of the track."""
    folder = options.folder
    if not (folder / stage.name).is_file():
        raise SubmissionError(
            msg(
                "{name} is missing in {folder}: begin stage {stage} there (python -m harness "
                "starter --track build {stage} {folder})",
                name=stage.name,
                folder=folder,
                stage=stage.lab,
            )
        )
    if stage.language == "c":
        build_c(folder, stage.file, options.sanitizer)
        options.server = [str(folder / stage.file)]
        return
    must_have_no_sanitizer(options)
    inspect_python(stage, folder)
    options.server = [sys.executable, str(folder / stage.name)]


def refused(options, why):
    """Writes the results of a folder whose server cannot be run. Returns the exit status."""
    try:
        return command.refuse(options, why)
    except UsageError as misuse:
        print(f"lab: {clean(say(misuse.args[0]))}", file=sys.stderr)
        return 2
