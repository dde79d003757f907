"""What one student is shown, and what systems with an autograder read of one student: made by
harness/verdicts/formats of a Report.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from harness.driving.messages import Message, msg
from harness.grading.model import Class, End, Grade, Student, folder_of, rounded
from harness.grading.outputs.gradebooks import for_students
from harness.verdicts import formats
from harness.verdicts.model import Report, report_from

# {format: (name of the file in the student's folder, how it is made)}
FILES = {
    "report": ("report.html", formats.FORMATS["html"]),
    "gradescope": ("gradescope.json", formats.FORMATS["gradescope"]),
    "classroom50": ("classroom50.json", formats.FORMATS["classroom50"]),
    "autolab": ("autolab.txt", formats.FORMATS["autolab"]),
    "prairielearn": ("prairielearn.json", formats.FORMATS["prairielearn"]),
}
PRACTICE = msg("the program was not confined, so this is practice")
LOOKED_AT = msg("A person will look at it, and give the grade.")
NEVER = datetime(1980, 1, 1, tzinfo=UTC)  # where nothing says when; the first day of a zip archive


def report_of(cls: Class, grade: Grade, folder: Path) -> Report:
    """The Report of a grade, for the student: what the checks found, else why they found nothing;
    and in its notes how the final points come of theirs.

    folder: of the results. grade.json there has the report of a grade that holds none itself.
    """
    hidden = cls.rubric.hidden
    why = for_students(grade.why or Message(grade.end.value, {}), hidden)
    if found := grade.report or kept_report(folder / folder_of(grade.login) / "grade.json"):
        report = report_from(found)
    else:
        when = grade.submitted or cls.graded or NEVER
        started = f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        report = Report([], None, cls.lab, "", started, "", "")
    report.student, report.folder = grade.login, ""
    if grade.end in (End.NOT_BUILT, End.NOTHING):
        report.refused, report.possible = report.refused or why, grade.possible or cls.possible
    if grade.end is End.LOOK or (grade.tier == "none" and grade.end is not End.NOTHING):
        report.notes = [*report.notes, *([report.refused] if report.refused else [])]
        report.refused = ""
        report.look = why if grade.end is End.LOOK else PRACTICE
    waits = [LOOKED_AT] if grade.end is End.LOOK and grade.final is None else []
    more = [for_students(text, hidden) for text in (*grade.notes, *grade.reasons)]
    report.notes = [*report.notes, *waits, *more, *sum_of(grade)]
    return report


def kept_report(path: Path) -> dict[str, Any] | None:
    """The report in a grade.json."""
    try:
        return json.loads(path.read_bytes())["report"]
    except (OSError, ValueError, KeyError):
        return None


def files_of(
    place: Path, report: Report, asked: list[str]
) -> Iterator[tuple[str, Callable[[], str]]]:
    """The files of one student: their page, and what is asked for, each as (path, maker)."""
    place.mkdir(parents=True, exist_ok=True)
    for kind, (name, make) in FILES.items():
        if kind == "report" or kind in asked:
            yield str(place / name), partial(make, report)


def sum_of(grade: Grade) -> list[Message]:
    """How the final points come of those of the checks, unless they are the same."""
    if grade.final is None or not (grade.deducted or grade.adjusted or grade.decided is not None):
        return []
    return [
        msg(
            "Final: {final:g} points = {raw:g} - {late:g} for lateness {adjusted:+g} by hand.",
            final=grade.final,
            raw=rounded(grade.raw),
            late=rounded(grade.deducted),
            adjusted=grade.adjusted,
        )
    ]


def feedback(folder: Path, students: Iterable[Student], ids: Mapping[str, str]) -> bytes:
    """feedback.zip, as Moodle takes it under "Upload multiple feedback files in a zip": a folder
    NAME_IDENTIFIER_assignsubmission_file_ for each student that the worksheet names, with the page
    that is in the folder of the results.

    https://github.com/moodle/moodle: mod/assign/feedback/file/importziplib.php splits the name of a
    folder at `_`, and reads the identifier from the second part.
    """
    out = io.BytesIO()
    name, _ = FILES["report"]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for student in students:
            if student.login not in ids:
                continue
            place = f"{name_in_zip(student)}_{ids[student.login]}_assignsubmission_file_"
            entry = zipfile.ZipInfo(f"{place}/{name}", NEVER.timetuple()[:6])
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, (folder / folder_of(student.login) / name).read_bytes())
    return out.getvalue()


def name_in_zip(student: Student) -> str:
    """The student's name as a part of a file's name, on every system, without `_`."""
    name = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|_]+', " ", formats.render.clean(student.called))
    return name.strip(" .~")[:80] or "student"
