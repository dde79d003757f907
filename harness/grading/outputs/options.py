"""What `harness grade` takes for its outputs, and what becomes of it: read before anything is
judged, so that a wrong line is known at once, and used when all grades are there.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from harness.driving.messages import Message
from harness.grading import adjust
from harness.grading.model import Class, End, Grade, Student
from harness.grading.outputs import CHOICES, Tables, filled_in, write
from harness.verdicts.rubric import Rubric

ADJUST = "adjust.csv"  # in the folder of results, unless --adjust names another


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what says which files are written, and from what."""
    parser.add_argument(
        "--adjust",
        metavar="FILE",
        help="adjust.csv: login, points, reason: points that you give by hand, such as 18, -2, or "
        f"=50 in place of those of the checks (default: {ADJUST} in the folder of results, if it "
        "is there)",
    )
    parser.add_argument(
        "--canvas",
        metavar="GRADEBOOK",
        help="the gradebook that Canvas exported: canvas.csv is to be imported there",
    )
    parser.add_argument(
        "--assignment",
        default="",
        metavar="TITLE",
        help="of the column in Canvas (default: the one that is called lab N)",
    )
    parser.add_argument(
        "--moodle",
        metavar="WORKSHEET",
        help="the grading worksheet that Moodle exported: moodle.csv and feedback.zip are to be "
        "uploaded there",
    )
    parser.add_argument(
        "--write",
        nargs="+",
        action="extend",
        default=[],
        choices=[choice for choice in CHOICES if choice != "moodle"],
        help="beside grades.csv, class.html and the students' pages: the class as JUnit XML; "
        "similarity.html; a file for each student; canvas.csv without a gradebook",
    )


@dataclass
class Wanted:
    """What is to be written of a class."""

    folder: Path
    formats: list[str]
    tables: Tables
    adjustments: list[adjust.Adjustment]

    def write(self, cls: Class) -> list[Message]:
        """Adjust the grades of the class, and write all files. Return what a teacher should know.

        Raises as outputs.write().
        """
        adjust.apply(cls, self.adjustments)
        return write(cls, self.folder, self.formats, self.tables)


def read(options: argparse.Namespace, lab: int, students: list[Student], rubric: Rubric) -> Wanted:
    """What the options ask for. Raises UsageError if a file that they name is not what it should
    be, and ModuleNotFoundError if something is not installed.
    """
    folder = Path(options.out)
    path = Path(options.adjust) if options.adjust else folder / ADJUST
    given = options.adjust or path.exists()
    adjustments = adjust.read(path, students, rubric) if given else []
    formats = [
        *dict.fromkeys(options.write),
        *(["moodle"] if options.moodle else []),
        *(["canvas"] if options.canvas and "canvas" not in options.write else []),
    ]
    tables = Tables(options.canvas, options.assignment, options.moodle)
    not_yet = [Grade(student.login, End.LOOK) for student in students]
    filled_in(Class(lab, "", students, not_yet, rubric), formats, tables)
    return Wanted(folder, formats, tables, adjustments)
