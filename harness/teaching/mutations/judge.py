"""What becomes of one mutant: whether it compiles, and which check catches it.

A mutant may do anything, such as kill(-1, SIGKILL). So each runs in PID and mount namespaces of its
own, and with it the checks.
"""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from harness.driving.messages import msg
from harness.driving.server import ROOT
from harness.teaching.exhibits import SOON
from harness.teaching.mutations.population import Mutant
from harness.teaching.soak import tool
from harness.verdicts.model import UsageError

CHECK_WITHIN, BUILD_WITHIN = 600, 60  # seconds; a check that takes longer is a fault
LARGEST = 256 << 20  # bytes of a file that a mutant may write
LONGEST = 4000  # characters that are kept of what a check or the fuzz said
# A line of `harness check`: the verdict, the stage and the name of the check.
VERDICT = re.compile(
    r" *(passed|failed|inconclusive|not run|harness fault)  ([\w ]+: [\w\[\].-]+)  "
)
UNCLEAR = "inconclusive", "harness fault"
# Stages in which a check depends on time: on a busy machine, one failure is no certainty.
TIMED = "crowd", "peers", "processes", "faults"
TRIES = 3  # runs of such a check alone, of which one must fail
REPLAY = re.compile(" *again:  ")  # the last line that explains a failure
# What becomes of a mutant.
STILLBORN, ALIKE, CHECK, FUZZ = "stillborn", "equivalent", "caught by check", "caught by fuzz"
SURVIVED, FAULT = "survived", "not judged"


class Stillborn(Exception):
    """A mutant does not compile, or cannot be imported."""


class NotJudged(Exception):
    """The check or the fuzz itself did not end as it should; the text is what it said last."""


class Stopped(Exception):
    """The run was interrupted."""


class Alike(Exception):
    """A mutant compiles to the same program as the original."""


@dataclass
class Judge:
    """Judges mutants, in several threads at once; each is judged in processes of its own."""

    minutes: int  # of fuzzing a mutant that survives the check; 0: none
    namespaces: list[str]  # the command before each command
    stopping: threading.Event = field(default_factory=threading.Event)
    running: set[subprocess.Popen] = field(default_factory=set)

    def stop(self) -> None:
        """End what runs; from now on nothing else starts."""
        self.stopping.set()
        for process in list(self.running):
            end(process)

    def judge(self, mutant: Mutant, earlier: dict | None) -> dict:
        """Return the result of one mutant. earlier: that of the run before, if there was any."""
        began = time.monotonic()
        found = {"outcome": SURVIVED, "by": "", "why": "", "unsure": [], "minutes": 0}
        with tempfile.TemporaryDirectory(
            prefix="grupo-mutant-", ignore_cleanup_errors=True
        ) as folder:
            try:
                command = self.build(mutant, Path(folder))
                if earlier and earlier["outcome"] == SURVIVED:
                    found |= {"unsure": earlier["unsure"]}
                else:
                    found |= self.check(mutant, command, folder)
                if found["outcome"] == SURVIVED and self.minutes:
                    found |= self.fuzz(mutant, command, folder)
            except Stillborn as why:
                found |= {"outcome": STILLBORN, "why": str(why)[-300:]}
            except NotJudged as why:
                found |= {"outcome": FAULT, "why": str(why)}
            except Alike:
                found |= {"outcome": ALIKE, "why": "it compiles to the same program"}
        return {
            "id": mutant.id,
            "kind": mutant.edit.kind,
            "place": mutant.place,
            "design": mutant.design,
            **found,
            "seconds": round(time.monotonic() - began, 1),
            "diff": mutant.diff,
        }

    def build(self, mutant: Mutant, folder: Path) -> list[str]:
        """Make the mutant in a folder; return its command line. Raises Stillborn, Alike."""
        text = mutant.edit.apply(mutant.text)
        if mutant.file.endswith(".c"):
            program = compiled(text, folder)
            if program.read_bytes() == original(mutant.file, mutant.text):
                raise Alike
            return [str(program)]
        shutil.copytree(
            ROOT / "implementations",
            folder / "implementations",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        (folder / mutant.file).write_text(text, encoding="utf-8")
        module = f"implementations.{mutant.design}"
        lines, status = self.run([sys.executable, "-c", f"import {module}"], folder, BUILD_WITHIN)
        if status:
            raise Stillborn("".join(lines[-1:]))
        return [sys.executable, "-m", module]

    def check(self, mutant: Mutant, command: list[str], folder: str) -> dict:
        """Run all checks up to the first that fails, and a second time if that was no certainty."""
        unsure: list[str] = []
        for _ in range(2):
            failed, why, unsure = self.verdicts(mutant, command, folder, unsure)
            if failed and self.is_certain(failed, mutant, command, folder):
                return {"outcome": CHECK, "by": failed, "why": why}
            if not failed and not unsure:
                break
            unsure = [] if failed else unsure
        return {"unsure": [failed] if failed else unsure}

    def is_certain(self, failed: str, mutant: Mutant, command: list[str], folder: str) -> bool:
        """Whether this check did not fail only because the machine was busy."""
        if failed.partition(": ")[0] not in TIMED:
            return True
        again = (self.verdicts(mutant, command, folder, [failed]) for _ in range(TRIES))
        return any(failed for failed, _, _ in again)

    def verdicts(
        self, mutant: Mutant, command: list[str], folder: str, only: list[str]
    ) -> tuple[str, str, list[str]]:
        """Run these checks (none: all). Return the first that failed, why, and the unclear ones.

        A check is named with its stage. Raises NotJudged.
        """
        asked = ["--design", mutant.design, "--deadline", str(SOON), "--seed", mutant.id]
        asked += ["--only", *(name.rpartition(": ")[2] for name in only)] if only else []
        lines, status = self.run(
            harness_command("check", "--lang", "en", "--in", folder, *asked, "--", *command),
            folder,
            CHECK_WITHIN,
            REPLAY.match,
        )
        found = [match.groups() for match in map(VERDICT.match, lines) if match]
        for verdict, name in found:
            if verdict == "failed":
                return name, "".join(lines).rpartition(f": {name}  ")[2][-LONGEST:], []
        if status not in (0, 3) or not found:
            raise NotJudged("".join(lines)[-LONGEST:])
        return "", "", [name for verdict, name in found if verdict in UNCLEAR]

    def fuzz(self, mutant: Mutant, command: list[str], folder: str) -> dict:
        """Play random dialogues against a mutant that the checks did not catch."""
        asked = ["--lang", "en", "--minutes", str(self.minutes), "--seed", mutant.id]
        lines, status = self.run(
            harness_command("fuzz", *asked, "--in", folder, "--", *command),
            folder,
            60 * self.minutes + CHECK_WITHIN,
        )
        if status == 1:
            return {"outcome": FUZZ, "why": "".join(lines)[:LONGEST]}
        if status in (0, 3):
            return {"minutes": self.minutes}
        raise NotJudged("".join(lines)[-LONGEST:])

    def run(
        self,
        command: list[str],
        folder: str | Path,
        seconds: float,
        is_enough: Callable[[str], object] = lambda line: False,
    ) -> tuple[list[str], int | None]:
        """Run a command in namespaces of its own, until it ends, or a line of it is enough.

        Return its lines, and its exit status: None if it was ended. Nothing of it is left.
        """
        lines = []
        process = subprocess.Popen(
            [*self.namespaces, *command],
            cwd=ROOT if "harness" in command else folder,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.running.add(process)
        timer = threading.Timer(seconds, end, [process])
        timer.start()
        try:
            if self.stopping.is_set():
                raise Stopped
            with process.stdout:
                for line in process.stdout:
                    lines.append(line)
                    if is_enough(line):
                        end(process)
                        return lines, None
            status = process.wait()
            if self.stopping.is_set():
                raise Stopped
            return lines, status
        finally:
            timer.cancel()
            end(process)
            self.running.remove(process)


def harness_command(*words: str) -> list[str]:
    return [sys.executable, "-m", "harness", *words]


def end(process: subprocess.Popen) -> None:
    """End a command in its namespaces, and all that it has started."""
    first = []  # the process whose end is that of all others in the namespace
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    psutil.wait_procs(first, timeout=10)


def isolation() -> list[str]:
    """Return the command that runs another one in namespaces of its own. Raises UsageError."""
    limits = ["prlimit", f"--fsize={LARGEST}", "--core=0"]
    namespaces = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    why = ""
    for more in [], ["--user", "--map-current-user"]:  # root needs no user namespace
        try:
            done = subprocess.run(
                [*limits, *namespaces, *more, "true"], capture_output=True, text=True
            )
        except FileNotFoundError as error:
            raise UsageError(msg("{tool} is not installed", tool=error.filename)) from None
        if done.returncode == 0:
            return [*limits, *namespaces, *more]
        why = done.stderr.strip()
    raise UsageError(
        msg(
            "a mutant may signal any process, so each needs a PID namespace of its own, and this "
            "system gives none: {why}",
            why=why,
        )
    )


def compiled(text: str, folder: Path) -> Path:
    """Return the program of a source in C, in this folder. Raises Stillborn, Missing."""
    (folder / "server.c").write_text(text, encoding="utf-8")
    command = [tool("cc"), "-O2", "-w", "-pthread", "-o", "server", "server.c", "-lcrypt", "-lm"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=BUILD_WITHIN
        )
    except subprocess.TimeoutExpired:
        raise Stillborn("the compiler does not end") from None
    if done.returncode:
        raise Stillborn(done.stderr)
    return folder / "server"


@functools.cache
def original(file: str, text: str) -> bytes:
    """Return the program of a stranger's server as it is. Raises Stillborn, Missing."""
    with tempfile.TemporaryDirectory(prefix="grupo-mutant-") as folder:
        return compiled(text, Path(folder)).read_bytes()
