"""False alarms: all checks against servers that are right, again and again, while both cores are
busy with something else.

The servers are our three, and those in tests/strangers, which others wrote from
lab_guide/protocol.md alone (and processes.c, which is epoll.c made over, with processes).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from harness.arguments import positive
from harness.driving.server import DESIGNS, ROOT
from harness.teaching.exhibits import busy_cores, checked

# The designs of those that are of one.
PROMISES = {
    **{design: design for design in DESIGNS},
    "epoll": "nonblocking",
    "threads": "pthread",
    "processes": "fork",
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


def judged(name, command, folder):
    """The verdicts of all checks, those of its design included."""
    return checked(command, folder, *(["--design", PROMISES[name]] if name in PROMISES else []))


def wrong(verdicts):
    """Of one run, what did not pass although it binds this server, as texts."""
    return [
        f"{verdict.check}: {verdict.verdict}: "
        f"{verdict.failure.sentence if verdict.failure else verdict.why}"
        for verdict in verdicts.values()
        if verdict.is_amiss
    ]


def arguments(parser):
    """Adds what `harness soak` takes."""
    parser.add_argument(
        "--times",
        type=positive,
        default=30,
        metavar="N",
        help="runs on each of ours, a third of it on each stranger's (default: %(default)s)",
    )


def main(options):
    """Exit status 1 if a check failed on a server that is right."""
    alarms = 0
    with tempfile.TemporaryDirectory(prefix="grupo-soak-") as folder, busy_cores():
        for name in [*DESIGNS, *strangers()]:
            ours = name in DESIGNS
            times, found = options.times if ours else -(-options.times // 3), []
            try:
                command = [name] if ours else stranger(name, folder)
            except Missing as missing:
                screen.print(f"{name}: {missing} is not installed")
                continue
            for _ in range(times):
                found += wrong(judged(name, command, ROOT))
            alarms += len(found)
            screen.print(
                f"{name}{'' if ours else ' (a stranger)'}: {len(found)} false alarms in {times} "
                f"runs of all checks",
                *found,
                sep="\n  ",
            )
    return 1 if alarms else 0
