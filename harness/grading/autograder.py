"""Grades one submission for a system that runs a grader of its own: Gradescope, Autolab,
PrairieLearn, Classroom 50.

python -P -m harness.grading.autograder SUBMISSION --lab N --format FORMAT --out FILE

FILE is there whatever happens. At first it says that nothing is graded yet, so that it holds no
grade if this process is killed. Only what ran in a sandbox gets points.
"""

import argparse
import secrets
import sys
import tarfile
import time
import traceback
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from harness.arguments import positive
from harness.driving.messages import Message, msg
from harness.driving.text_files import EncodingError
from harness.grading import judge, probe
from harness.grading.archives import entries_of_archive, entries_of_folder, files_of
from harness.grading.downloads import Found, Handed, entry_of
from harness.grading.engine import outcome_of
from harness.grading.intake import Work, starters, work_of
from harness.grading.outputs.students import FILES, PRACTICE
from harness.grading.run import ATTEMPTS, unjudged
from harness.output import put
from harness.teaching import starter
from harness.verdicts import language, rubric
from harness.verdicts.formats import FORMATS
from harness.verdicts.language import say
from harness.verdicts.model import DEADLINE, Report, UsageError, report_from

SYSTEMS = tuple(name for name in FILES if name != "report")
ARCHIVES = {".zip": zipfile.is_zipfile, ".tar": tarfile.is_tarfile}  # whatever its name is
RESERVE = 30  # seconds of all the time, for what is not judging
LEAST = 30.0  # seconds that another attempt may need


def unfinished(lab: int, why: Message | str) -> Report:
    """A Report without a grade, and why there is none."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Report([], None, lab, "", now, "", "", look=why)


def not_ended(lab: int) -> Report:
    """A Report for a submission whose grading does not end."""
    why = msg("the grading did not end: it takes too long, or was stopped. Ask your teacher")
    return unfinished(lab, why)


def reader_of(path: Path) -> Callable[[datetime | None], Found]:
    """What reads the files of a folder, of an archive, or one file."""

    def read(_: datetime | None) -> Found:
        if path.is_dir():
            entries = entries_of_folder(path)
        elif kind := next((kind for kind, is_one in ARCHIVES.items() if is_one(path)), None):
            entries = entries_of_archive(f"{path.name}{kind}", path.read_bytes())
        else:
            entries = [entry_of(path)]
        return *files_of(entries), None

    return read


def graded(options: argparse.Namespace) -> Report:
    """Judge the submission; return what was found. Raises UsageError."""
    ends = time.monotonic() + 60 * options.minutes - RESERVE
    begun, points = starters(options.lab), rubric.read(options.rubric)
    kept: dict[str, bytes] = {}
    handed = Handed(options.submission.name, [], reader_of(options.submission))
    work = work_of(handed, None, options.language, begun, kept.__setitem__)
    if work.is_empty or work.refused:
        return unjudgeable(options.lab, work, points.possible(options.lab, begun[0].designs[0]))
    one = next(one for one in begun if one.language == work.language)
    found = probe.choose(options.sandbox)
    for _ in range(ATTEMPTS):
        job = judge.Job(
            lab=options.lab,
            language=one.language,
            design=one.designs[0],
            folder=kept[work.digest],
            points=points.points,
            hidden=sorted(points.hidden),
            breaks_nothing=points.breaks_nothing,
            may_break=sorted(points.may_break),
            seed=secrets.token_hex(4),
            deadline=options.deadline,
            tier=found.tier,
            total=ends - time.monotonic(),
            lang=language.in_use,
        )
        report = report_of(options.lab, outcome := outcome_of(job))
        if report.is_graded or ends - time.monotonic() < max(LEAST, outcome.seconds):
            break
    if found.tier == probe.NONE:
        print(found.text(), file=sys.stderr)
        report.look = PRACTICE
    report.notes += work.notes
    return report


def unjudgeable(lab: int, work: Work, possible: float) -> Report:
    """The Report of a submission that holds nothing to judge."""
    if work.refused:
        return unfinished(lab, work.refused)
    report = unfinished(lab, "")
    report.refused, report.possible = msg("{name} is empty", name=work.handed), possible
    return report


def report_of(lab: int, outcome: judge.Outcome) -> Report:
    """The Report of an outcome."""
    if not outcome.report:
        return unfinished(lab, outcome.why or "")
    report = report_from(outcome.report)
    report.folder = ""
    if outcome.end == "fault":
        report.look = outcome.why or msg("it could not be judged")
    elif outcome.end == "judged" and not report.is_graded:
        report.look = unjudged(outcome.report)
    return report


def arguments() -> argparse.ArgumentParser:
    """What this program takes."""
    parser = argparse.ArgumentParser(prog="python -P -m harness.grading.autograder")
    parser.add_argument("submission", type=Path, metavar="SUBMISSION")
    parser.add_argument("--lab", type=int, required=True, choices=range(9), metavar="N")
    parser.add_argument("--format", required=True, choices=SYSTEMS)
    parser.add_argument("--out", required=True, metavar="FILE")
    parser.add_argument("--html", metavar="FILE", help="a page for the student, too")
    parser.add_argument("--rubric", metavar="FILE")
    parser.add_argument("--language", choices=("", *starter.LANGUAGES), default="")
    parser.add_argument("--deadline", type=float, default=float(DEADLINE), metavar="S")
    parser.add_argument("--minutes", type=positive, default=10, help="for all of it")
    parser.add_argument("--sandbox", choices=probe.OF_SANDBOX, default="auto")
    parser.add_argument("--lang", choices=language.LANGUAGES)
    return parser


def main() -> int:
    """Exit status 0: it is in the file whether there is a grade. 2: misuse."""
    options = arguments().parse_args()
    language.choose(options.lang)
    make = FORMATS[options.format]
    put(options.out, make(not_ended(options.lab)))
    try:
        report = graded(options)
    except (UsageError, EncodingError) as why:
        report = unfinished(options.lab, why.args[0])
    except Exception as problem:
        traceback.print_exc()
        why = msg("the grader has a fault: {why}", why=f"{type(problem).__name__}: {problem}")
        report = unfinished(options.lab, why)
    if options.html:
        put(options.html, FORMATS["html"](report))
    put(options.out, make(report))
    if report.look:
        print(say("not graded: {why}", why=report.look), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
