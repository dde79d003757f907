"""False alarms: all checks against servers that are right, again and again, on idle cores and while
all cores are busy with something else.

The servers are our three; those in tests/strangers, which others wrote from lab_guide/protocol.md
alone (and processes.c, which is epoll.c made over, with processes); and two of ours made slow.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from harness.arguments import positive
from harness.driving.server import DESIGNS, ROOT
from harness.teaching.exhibits import Exhibit, build, busy_cores, checked, plant
from harness.verdicts.model import FAILED, FAULT

# The designs of those that are of one.
PROMISES = {
    **{design: design for design in DESIGNS},
    "epoll": "nonblocking",
    "threads": "pthread",
    "processes": "fork",
}
# Ours made slow, and still right: the design, and where a pause comes first [(file, line)].
PASSWORDS = "implementations/common/passwords.py"
SLOW = {
    "slow-hash": (
        "pthread",
        4.4,
        [
            (PASSWORDS, "    try:\n        return HASHER.hash("),
            (PASSWORDS, "    try:\n        return HASHER.verify("),
        ],
    ),
    "slow-under-the-lock": (
        "pthread",
        0.05,
        [("implementations/pthread.py", "            self.room.process(batch, *clock())")],
    ),
}
STRANGERS = ROOT / "tests" / "strangers"
WARNINGS = "-Wall", "-Wextra", "-Werror"
# A checked server lives for seconds: the JVM's best compiler, its threads for garbage collection
# and its figures for other tools would cost more than they gain.
JVM = "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-Xmx256m"
SUFFIXES = ".c", ".go", ".java", ".mjs", ".py"
screen = Console(highlight=False, markup=False, soft_wrap=True)


class Missing(Exception):
    """A tool that this server needs is not installed; the text is its name."""


def tool(name):
    if not (path := shutil.which(name)):
        raise Missing(name)
    return path


def stranger(name, folder):
    """The command line of a stranger's server, built in `folder` if need be. Raises Missing."""
    [source] = STRANGERS.glob(f"{name}.*")
    if source.suffix == ".c":
        program = Path(folder, name)
        subprocess.run(
            [tool("cc"), "-O2", *WARNINGS, "-pthread", "-o", program, source, "-lcrypt", "-lm"],
            check=True,
        )
        return [str(program)]
    if source.suffix == ".go":
        program = Path(folder, name)
        subprocess.run(
            [tool("go"), "build", "-o", program, source],
            check=True,
            env={**os.environ, "GO111MODULE": "off", "GOFLAGS": ""},  # it needs no module
        )
        return [str(program)]
    if source.suffix == ".java":
        # javac warns of the package with signals, unless it ignores its list of packages.
        subprocess.run([tool("javac"), "-XDignore.symbol.file", "-d", folder, source], check=True)
        return [tool("java"), *JVM, "-cp", str(folder), name]
    return [tool("node") if source.suffix == ".mjs" else sys.executable, str(source)]


def strangers():
    """Their names."""
    return sorted(path.stem for path in STRANGERS.iterdir() if path.suffix in SUFFIXES)


def slow(name, folder):
    """The command line of one of ours made slow, built in `folder`, and the folder to run it in."""
    design, pause, places = SLOW[name]
    tree = Path(folder, name)
    for number, (file, line) in enumerate(places):
        indent = line[: len(line) - len(line.lstrip())]
        text = f"{indent}__import__('time').sleep({pause})\n{line}"
        one = Exhibit(name, 0, design, file, line, text, "", "", "")
        (plant if number else build)(one, tree)
    return one.command, tree


def judged(name, command, where):
    """The verdicts of all checks, those of its design included."""
    design = SLOW[name][0] if name in SLOW else PROMISES.get(name)
    return checked(command, where, *(["--design", design] if design else []))


def wrong(verdicts):
    """Of one run, the Verdicts that did not pass although they bind this server."""
    return [verdict for verdict in verdicts.values() if verdict.is_amiss]


def told(verdict):
    """Such a Verdict in a line."""
    why = verdict.failure.sentence if verdict.failure else verdict.why
    return f"{verdict.check}: {verdict.verdict}: {why}"


def everyone():
    """The names of all these servers."""
    return [*DESIGNS, *strangers(), *SLOW]


def known(name):
    """This name, if it is one of theirs. Raises argparse.ArgumentTypeError."""
    if name not in everyone():
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(everyone())}")
    return name


def arguments(parser):
    """Adds what `harness soak` takes."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        type=known,
        help=f"only these: {', '.join(everyone())}",
    )
    parser.add_argument(
        "--times",
        type=positive,
        default=20,
        metavar="N",
        help="runs on each, every other one on busy cores (default: %(default)s)",
    )


def main(options):
    """Exit status 1 if a check failed on a server that is right."""
    alarms = 0
    with tempfile.TemporaryDirectory(prefix="grupo-soak-") as folder:
        for name in options.names or everyone():
            where = ROOT
            try:
                if name in SLOW:
                    command, where = slow(name, folder)
                else:
                    command = [name] if name in DESIGNS else stranger(name, folder)
            except Missing as missing:
                screen.print(f"{name}: {missing} is not installed")
                continue
            found = []
            for number in range(options.times):
                with busy_cores() if number % 2 else nullcontext():
                    found += wrong(judged(name, command, where))
            failed = [one for one in found if one.verdict in (FAILED, FAULT)]
            alarms += len(failed)
            screen.print(
                f"{name}: {len(failed)} false alarms in {options.times} runs of all checks; "
                f"{len(found) - len(failed)} verdicts inconclusive or not run",
                *map(told, found),
                sep="\n  ",
            )
    return 1 if alarms else 0
