"""Judges one submission, in a process of its own: run(Job) -> Outcome.

The process of run()'s caller is the supervisor. The judge proper is `python -P -m
harness.grading.judge`, which reads the Job from its stdin, and writes the Outcome to a descriptor
that it alone has. It unpacks the submission, and does what `make check` does there. Whatever the
submission does, run() returns.
"""

import argparse
import base64
import contextlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from harness.driving import cells, compiled
from harness.driving.messages import Message, msg, packed, unpacked
from harness.driving.processes import dies_with_us
from harness.driving.server import ROOT
from harness.grading import cell, supervisor, uid, warden
from harness.verdicts.temporary import TemporaryFolder

TOTAL = 900.0  # seconds for one submission
MOST_FILES, MOST_BYTES = 5_000, 64 << 20  # of a submission, unpacked
ENDS = "judged", "refused", "fault"


@dataclass
class Job:
    """What to judge, and how."""

    lab: int
    language: str  # "python" or "c"
    design: str  # "": the lab's first
    folder: bytes  # tar.gz of the whole folder: the submission over a fresh starting folder
    points: Mapping[str, float] | None = None  # {check: points in place of its own}
    hidden: list[str] = field(default_factory=list)  # checks
    breaks_nothing: float = 0.0  # points; and the checks that may fail nevertheless
    may_break: list[str] = field(default_factory=list)
    seed: str = ""  # "": a new one
    deadline: float | None = None  # seconds that a server may take for anything
    workers: int = 0  # checks at once; 0: as many as `check` does
    tier: str = "A"
    total: float = TOTAL  # seconds for all of it
    lang: str = "en"
    student: str = ""
    only: list[str] = field(default_factory=list)  # checks; none: all of the lab
    repeat: int = 0  # as `check --repeat`; 0: its default

    def as_json(self) -> bytes:
        """This as JSON."""
        folder = base64.b64encode(self.folder).decode()
        return json.dumps({**asdict(self), "folder": folder}).encode()


def job_from(data: bytes) -> Job:
    """The Job of which as_json() made `data`."""
    found = json.loads(data)
    return Job(**{**found, "folder": base64.b64decode(found["folder"])})


@dataclass
class Outcome:
    """What became of a submission.

    end     "judged": the report has the verdicts; it may be that some are inconclusive.
            "refused": it does not build, or cannot be started; `why` says it, the report has 0
            points. "fault": no grade can be given; `why` says it.
    report  as `check --json` has it, or None
    """

    end: str
    report: dict[str, Any] | None = None
    why: Message | str | None = None
    html: str = ""  # the report as a page for the student
    log: str = ""  # what the judge wrote, its beginning and its end
    tier: str = "none"
    seconds: float = 0.0

    def as_json(self) -> bytes:
        """This as JSON."""
        return json.dumps({**vars(self), "why": packed(self.why)}).encode()


def outcome_from(data: bytes) -> Outcome:
    """The Outcome of which as_json() made `data`. Raises ValueError or TypeError if it is none."""
    found = json.loads(data)
    outcome = Outcome(**{**found, "why": unpacked(found["why"])})
    if outcome.end not in ENDS:
        raise ValueError(outcome.end)
    return outcome


# -- In the supervisor ---------------------------------------------------------------------------


def run(job: Job) -> Outcome:
    """Judge one submission; return when nothing of it runs any more.

    Call it from a thread that lasts until then. It raises nothing because of what a submission
    does; cells.CellError if the tier cannot be had here, or OSError.
    """
    argv = [sys.executable, "-P", "-m", "harness.grading.judge"]
    with CELLS[job.tier](argv, environment()) as start:
        return outcome_of(supervisor.supervise(start, job.as_json(), total=job.total), job)


@contextlib.contextmanager
def unconfined(argv: list[str], env: dict[str, str]) -> Iterator[supervisor.Start]:
    """Give the start of a judge without a cell: for practice."""
    yield supervisor.Start(argv, env, preexec=dies_with_us())


@contextlib.contextmanager
def confined(argv: list[str], env: dict[str, str]) -> Iterator[supervisor.Start]:
    """Give the start of a judge of tier B: root's, with a folder for the submission, and a warden.

    Raises cells.CellError.
    """
    if os.getuid():
        raise cells.CellError(msg("only root can give a submission a user id of its own"))
    with TemporaryFolder() as place:
        place.path.chmod(0o711)
        with warden.Slot(place.path) as slot:
            copy_programs(slot.folder)
            yield supervisor.Start(
                [*argv, str(slot.folder), str(slot.group)],
                {**env, "TMPDIR": str(slot.folder)},
                preexec=dies_with_us(),
                look=Reasons(slot),
            )


class Reasons:
    """Tells in the log why the warden ended programs."""

    def __init__(self, slot: warden.Slot):
        self.slot, self.told = slot, 0

    def __call__(self, _: int, log: supervisor.Log) -> None:
        """Look whether there are more reasons."""
        for reason in self.slot.reasons()[self.told :]:
            self.told += 1
            log.add(f"A program was ended: {reason}\n".encode())


def copy_programs(folder: Path) -> None:
    """Put what the harness compiles for checks where a judge in this folder looks for it."""
    place = compiled.folder_in(folder)
    for program in cell.compiled_programs():
        shutil.copy2(program, place)


CELLS = {"A": cell.wall, "B": confined, "none": unconfined}


def environment() -> dict[str, str]:
    """The environment of a judge: nothing of ours but where its programs are."""
    kept = "PATH", "HOME", "TMPDIR", "TZ", "SYSTEMROOT"
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def outcome_of(found: supervisor.Supervised, job: Job) -> Outcome:
    """The Outcome of a judge's life."""
    try:
        outcome = outcome_from(found.result)
    except (ValueError, TypeError):
        outcome = Outcome("fault", why=why_none(found, job))
    outcome.log, outcome.tier = found.log.text(), job.tier
    outcome.seconds = round(found.seconds, 1)
    return outcome


def why_none(found: supervisor.Supervised, job: Job) -> Message:
    """Why a judge gave no result."""
    if found.late:
        return msg("it was not judged within {seconds:.0f} s", seconds=job.total)
    return msg("the judge ended with status {status} and gave no result", status=found.code)


# -- In the judge --------------------------------------------------------------------------------


def judged(job: Job) -> Outcome:
    """Judge a submission, in this process and those that it starts."""
    # Only here: the supervisor needs none of it.
    from harness.teaching import lab
    from harness.verdicts import command
    from harness.verdicts.formats import FORMATS
    from harness.verdicts.model import SubmissionError, UsageError

    place, records = (Path(tempfile.mkdtemp()) for _ in range(2))
    options = options_of(job, place)
    command.begin(options)
    graded = rubric_of(job)
    end, why = "judged", None
    try:
        unpack(job.folder, place)
        lab.begin(options, job.language)
        report = command.run(options, records, graded)
    except SubmissionError as problem:
        end, why = "refused", problem.args[0]
        report = command.refusal(options, why, graded)
    except UsageError as problem:  # the machine lacks something
        return Outcome("fault", why=problem.args[0])
    report.folder = ""
    for verdict in report.verdicts:
        verdict.record = ""  # it ends with this process
    if end == "judged" and (why := not_whole(report)):
        end = "fault"
    return Outcome(end, json.loads(FORMATS["json"](report)), why, FORMATS["html"](report))


def rubric_of(job: Job) -> Any:
    """The Rubric of the job."""
    from harness.verdicts.rubric import Rubric

    return Rubric(
        dict(job.points or {}),
        set(job.hidden),
        breaks_nothing=job.breaks_nothing,
        may_break=set(job.may_break),
    )


def options_of(job: Job, place: Path) -> argparse.Namespace:
    """The options of `harness lab` that do this job in this folder."""
    from harness.teaching import lab

    parser = argparse.ArgumentParser()
    lab.arguments(parser)
    asked = {
        "--design": job.design,
        "--seed": job.seed,
        "--deadline": job.deadline,
        "--workers": job.workers,
        "--repeat": job.repeat,
        "--student": job.student,
    }
    given = [f"{name}={value}" for name, value in asked.items() if value]
    only = [f"--only={check}" for check in job.only]
    line = [f"--lab={job.lab}", f"--lang={job.lang}", *given, *only, "--", str(place)]
    return parser.parse_args(line)


def not_whole(report: Any) -> Message | str | None:
    """Why a report is no grade, though nothing in it is inconclusive; None if it may be one."""
    from harness.verdicts.model import FAULT
    from harness.verdicts.plugin import STRAYS

    if not report.complete:
        return report.notes[-1] if report.notes else msg("the checks were stopped")
    if faults := report.of(FAULT):
        return faults[0].why
    left = [
        verdict.check
        for verdict in report.verdicts
        if verdict.failure and getattr(verdict.failure.actual, "template", "") == STRAYS
    ]
    if left:
        return msg(
            "the server left processes behind that had to be killed, in {count} checks",
            count=len(left),
        )
    return None


def unpack(data: bytes, place: Path) -> None:
    """Unpack a submission: regular files and folders, nothing else. Raises SubmissionError."""
    from harness.verdicts.model import SubmissionError

    count = size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                count, size = count + 1, size + member.size
                is_plain = member.isreg() or member.isdir()
                if not is_plain or path.is_absolute() or ".." in path.parts:
                    raise SubmissionError(
                        msg("{name} is no plain file within the folder", name=member.name)
                    )
                if count > MOST_FILES or size > MOST_BYTES:
                    raise SubmissionError(
                        msg(
                            "the submission has more than {files} files or {megabytes} MB",
                            files=MOST_FILES,
                            megabytes=MOST_BYTES >> 20,
                        )
                    )
                if member.isdir():
                    (place / path).mkdir(parents=True, exist_ok=True)
                    continue
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_bytes(archive.extractfile(member).read())
                (place / path).chmod(0o755 if member.mode & 0o100 else 0o644)
    except (tarfile.TarError, OSError, EOFError) as problem:
        raise SubmissionError(
            msg("the submission cannot be unpacked: {why}", why=problem)
        ) from None


def main() -> None:
    """The judge: a Job on stdin, the Outcome to the descriptor of the last argument.

    In tier B, the submission's folder and group id come before it.
    """
    *slot, last = sys.argv[1:]
    result = int(last)
    os.set_inheritable(result, False)
    supervisor.end_with(result)
    job = job_from(sys.stdin.buffer.read())
    for name in "PYTHONPATH", "PYTHONDONTWRITEBYTECODE":  # not for the programs under check
        os.environ.pop(name, None)
    try:
        if job.tier != "none":
            cells.use(uid.UidCell(slot[0], int(slot[1])) if slot else cell.Bubblewrap())
        outcome = judged(job)
    except Exception as problem:
        traceback.print_exc()
        outcome = Outcome("fault", why=f"{type(problem).__name__}: {problem}")
    supervisor.give(result, outcome.as_json())


if __name__ == "__main__":
    main()
