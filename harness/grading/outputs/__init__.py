"""A graded class in every form that teachers and their systems read.

Each file is made of the Class, and of the table that the system exported, alone: the same grades
give the same bytes. A grade that needs a look is blank in every table, never 0.

The tables for gradebooks (grades.csv, Canvas, Moodle) hold the final points. The files for systems
with an autograder of their own (Gradescope, Classroom 50, Autolab, PrairieLearn) hold what the
checks gave, and say the rest in words: these systems know lateness and points by hand themselves.
All that a student may see hides the hidden checks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.driving.messages import Message, msg
from harness.grading import similarity
from harness.grading.model import Class, End, folder_of
from harness.grading.outputs import gradebooks, students
from harness.grading.outputs.page import Found, class_page
from harness.output import put_all
from harness.verdicts.formats.junit import ClassSuites
from harness.verdicts.model import UsageError

# Files that all classes have, and those that somebody asks for.
ALWAYS = "grades", "html"
CHOICES = (
    *("canvas", "moodle", "junit", "similarity"),
    *("gradescope", "classroom50", "autolab", "prairielearn"),
)


@dataclass
class Tables:
    """What a school's system exported, and what is to be filled in."""

    gradebook: str | Path | None = None  # Canvas
    assignment: str = ""  # its title there; '': the one that is called by the lab's number
    worksheet: str | Path | None = None  # Moodle


def write(
    cls: Class, folder: str | Path, formats: Iterable[str] = (), tables: Tables | None = None
) -> list[Message]:
    """Write `grades.csv`, `class.html`, each student's `LOGIN/report.html`, and the `formats`, some
    of CHOICES, into a folder. Return what a teacher should know of them, one line each.

    Raises UsageError if a table is not what the system exports, and ModuleNotFoundError if what
    compares submissions is not installed, before anything is written; output.NotWrittenError when
    all other files are written.
    """
    folder, tables = Path(folder), tables or Tables()
    asked = [*ALWAYS, *formats]
    filled = filled_in(cls, asked, tables)
    folder.mkdir(parents=True, exist_ok=True)
    found, suites, pages = Found(), ClassSuites(), []
    for student, grade in zip(cls.students, cls.grades, strict=True):
        report = students.report_of(cls, grade, folder)
        found.add(grade.login, report)
        if "junit" in asked:
            suites.add(report)
        if grade.end is not End.NOTHING:
            pages.append(student)
            put_all(students.files_of(folder / folder_of(grade.login), report, asked))
    logins = [student.login for student in pages]
    files: dict[str, Callable[[], str | bytes]] = {
        "grades.csv": lambda: gradebooks.grades(cls),
        "class.html": lambda: class_page(cls, found, logins, "similarity" in asked),
    }
    if "similarity" in asked:
        files["similarity.html"] = lambda: similarity.page(cls)
    if filled.canvas:
        files["canvas.csv"] = lambda: filled.canvas
    if sheet := filled.moodle:
        files["moodle.csv"] = lambda: sheet.text
        files["feedback.zip"] = lambda: students.feedback(folder, pages, sheet.ids)
    if "junit" in asked:
        files["junit.xml"] = suites.as_text
    put_all((str(folder / name), make) for name, make in files.items())
    return [*uncounted(cls), *filled.notes]


@dataclass
class Filled:
    """The tables that are filled in, and what to know of them."""

    canvas: str = ""
    moodle: gradebooks.Worksheet | None = None
    notes: list[Message] = field(default_factory=list)


def filled_in(cls: Class, asked: list[str], tables: Tables) -> Filled:
    """The tables of Canvas and Moodle, if they are asked for. Raises UsageError, and
    ModuleNotFoundError if what compares submissions is not installed.
    """
    filled = Filled()
    if "similarity" in asked:
        import copydetect  # noqa: F401 - slow to load; before anything is written
    if "canvas" in asked:
        filled.canvas, filled.notes = gradebooks.canvas(cls, tables.gradebook, tables.assignment)
    if "moodle" in asked:
        if tables.worksheet is None:
            raise UsageError(msg("for Moodle, name the grading worksheet that Moodle exported"))
        filled.moodle = gradebooks.moodle(cls, tables.worksheet)
        filled.notes += filled.moodle.notes
    return filled


def uncounted(cls: Class) -> list[Message]:
    """A line for each adjustment that cannot count, because there is no grade that it changes."""
    return [
        msg(
            "{login} needs a look, so {points:+g} points in adjust.csv are not counted: a row "
            "such as =50 gives a grade",
            login=grade.login,
            points=grade.adjusted,
        )
        for grade in cls.ended(End.LOOK)
        if grade.final is None and grade.adjusted != sum(grade.by_hand.values())
    ]
