"""The folder of results: what is known of each student, so that a run that was killed goes on.

    results/LOGIN/grade.json    how the student ended, and all verdicts; written last
    results/LOGIN/report.html   the page for the student
    results/LOGIN/log.txt       what the harness and the compiler printed
    results/.submissions/       what was judged, by its digest

Each file is written whole, and then renamed. A grade holds for the digests that stand in it: of the
submission, the checks and the rubric, and the tier.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from harness.driving.messages import Message, listed, msg
from harness.driving.server import ROOT
from harness.grading.model import End, Grade, folder_of, grade_from
from harness.output import put
from harness.teaching.starter import Starter
from harness.verdicts.model import PASSED, UsageError
from harness.verdicts.rubric import Rubric

# The modules that decide a verdict. Whatever else changes, grades stay.
JUDGE = (
    "harness/checks",
    "harness/driving",
    "harness/explore",
    "harness/model",
    "harness/tracing",
    "harness/verdicts",
    "harness/grading",
    "harness/teaching/imports.py",
    "harness/teaching/lab.py",
    "harness/teaching/starter.py",
)
# Of these, what only brings in, keeps and writes out.
NO_JUDGE = ("harness/verdicts/formats/", "harness/grading/outputs/")
NO_JUDGE_IN_GRADING = {
    "adjust",
    "archives",
    "autograder",
    "check_setup",
    "clones",
    "command",
    "downloads",
    "engine",
    "intake",
} | {"model", "package", "progress", "results", "roster", "rubric", "run", "sheets", "similarity"}
MOST_CHANGES = 12  # verdicts that are named of one student whose grade changed


class Key(NamedTuple):
    """What a grade depends on."""

    submission: str
    checks: str
    rubric: str
    tier: str


def key_of(grade: Grade) -> Key:
    """What this grade was given for."""
    return Key(grade.submission, grade.checks, grade.rubric, grade.tier)


def checks_digest(begun: Iterable[Starter], deadline: float) -> str:
    """The digest of all that decides a verdict but the submission, its rubric and the tier."""
    digest = hashlib.sha256(repr([(one.lab, one.designs) for one in begun]).encode())
    digest.update(f"{deadline:g}".encode())
    for place in JUDGE:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            name = str(file.relative_to(ROOT))
            if file.parent.name == "grading" and file.stem in NO_JUDGE_IN_GRADING:
                continue
            if not name.startswith(NO_JUDGE):
                digest.update(name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def rubric_digest(rubric: Rubric) -> str:
    """The digest of what the checks are worth, and which are hidden."""
    values = [
        sorted(rubric.points.items()),
        sorted(rubric.hidden),
        rubric.breaks_nothing,
        sorted(rubric.may_break),
    ]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


class Results:
    """A folder of results, locked for this process. Raises UsageError if it cannot be, or if
    another grader works in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.submissions = folder / ".submissions"
        try:
            self.submissions.mkdir(parents=True, exist_ok=True)
            self.lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.chmod(folder, 0o700)  # others' grades, and hidden checks
        except OSError as error:
            raise UsageError(f"{error.filename or folder}: {error.strerror}") from None
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self.lock)
            raise UsageError(msg("another run grades into {folder}", folder=folder)) from None
        for left in (*folder.glob("*/*.part"), *self.submissions.glob("*.part")):
            left.unlink(missing_ok=True)  # of a run that was killed

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.lock)

    def place(self, login: str) -> Path:
        """The folder of a student."""
        return self.folder / folder_of(login)

    def grade(self, login: str, with_report: bool = False) -> Grade | None:
        """What is known of this student; None if nothing whole is there."""
        try:
            found = grade_from(json.loads((self.place(login) / "grade.json").read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if not with_report:
            found.report = None  # those of a large class would fill the memory
        return found

    def all(self) -> Iterator[Grade]:
        """All grades in the folder, without their reports."""
        for path in sorted(self.folder.glob("*/grade.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                found = grade_from(json.loads(path.read_bytes()))
                found.report = None
                yield found

    def commit(self, grade: Grade, html: str | None = None, log: str | None = None) -> None:
        """Keeps a grade, and its page and log. Raises UsageError if the folder cannot hold them."""
        place = self.place(grade.login)
        try:
            place.mkdir(exist_ok=True)
            for name, text in ("report.html", html), ("log.txt", log):
                if text is not None:
                    put(place / name, text)
            put(place / "grade.json", json.dumps(grade.as_dict(), indent=1) + "\n")
        except OSError as error:
            raise UsageError(f"{error.filename or place}: {error.strerror}") from None

    def copy(self, grade: Grade, of: str) -> None:
        """Keeps a grade that was given to another student for the same submission."""
        other = self.place(of)
        texts = [
            (other / name).read_text(encoding="utf-8") if (other / name).exists() else None
            for name in ("report.html", "log.txt")
        ]
        self.commit(grade, *texts)

    def keep(self, digest: str, data: bytes) -> None:
        """Keeps what is judged."""
        path = self.submissions / f"{digest}.tar.gz"
        if not path.exists():
            try:
                put(path, data)
            except OSError as error:
                raise UsageError(f"{error.filename}: {error.strerror}") from None

    def kept(self, digest: str) -> bytes:
        """What keep() got."""
        return (self.submissions / f"{digest}.tar.gz").read_bytes()

    def forget_all_but(self, digests: set[str]) -> None:
        """Removes the submissions that no grade is about."""
        for path in self.submissions.glob("*.tar.gz"):
            if path.name.removesuffix(".tar.gz") not in digests:
                path.unlink(missing_ok=True)


# -- What changed ----------------------------------------------------------------------------------


def changes(before: Grade, after: Grade) -> list[Message]:
    """What is another than before, first why it may be: lines for the teacher; [] if nothing is."""
    verdicts = changed_verdicts(before, after)
    if (before.end, before.points, before.possible) == (
        after.end,
        after.points,
        after.possible,
    ) and not verdicts:
        return []
    reasons = [
        reason
        for reason, is_so in (
            (msg("another submission"), before.submission != after.submission),
            (msg("other checks"), before.checks != after.checks),
            (msg("another rubric"), before.rubric != after.rubric),
            (msg("another tier"), before.tier != after.tier),
        )
        if is_so
    ] or [msg("judged again")]
    first = msg(
        "{login}: {before} -> {after} ({why})",
        login=after.login,
        before=in_short(before),
        after=in_short(after),
        why=listed(reasons),
    )
    return [first, *verdicts]


def in_short(grade: Grade) -> Message | str:
    """How it ended, in a few words."""
    if grade.end == End.GRADED:
        return msg("{points:g} of {possible:g}", points=grade.points, possible=grade.possible)
    return Message(grade.end.value, {})


def changed_verdicts(before: Grade, after: Grade) -> list[Message]:
    """A line for each check whose verdict is another than before, with the cause of a failure."""
    old, new = verdicts_of(before), verdicts_of(after)
    lines = []
    for check in [check for check in new if check in old and old[check][0] != new[check][0]]:
        (was, _), (now, why) = old[check], new[check]
        words = {"check": check, "before": Message(was, {}), "after": Message(now, {})}
        lines.append(
            msg("  {check}: {before} -> {after}: {why}", why=why, **words)
            if why
            else msg("  {check}: {before} -> {after}", **words)
        )
    if len(lines) > MOST_CHANGES:
        more = len(lines) - MOST_CHANGES
        lines[MOST_CHANGES:] = [msg("  ... and {count} more", count=more)]
    return lines


def verdicts_of(grade: Grade) -> dict[str, tuple[str, str]]:
    """{check: (its verdict, why it is no other)}."""
    report = grade.report or {}
    return {
        one["check"]: (
            one["verdict"],
            ""
            if one["verdict"] == PASSED
            else one["failure"]["cause"]
            if one["failure"]
            else one["why"],
        )
        for one in report.get("verdicts", ())
    }
