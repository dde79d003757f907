"""Tables for gradebooks: grades.csv for people, and the tables that Canvas and Moodle exported,
filled in.

In these two a row keeps what the system needs to know it again, and only the points are ours.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.driving.messages import Message, msg
from harness.grading.model import Class, End, Grade, Student, by_login
from harness.grading.roster import folded
from harness.grading.sheets import Sheet, number, read_sheet, spoken, written
from harness.verdicts import language
from harness.verdicts.formats.graders import cell
from harness.verdicts.language import say
from harness.verdicts.model import UsageError

COLUMNS = (
    *("login", "name", "section", "end", "raw", "late", "adjusted", "final", "possible", "tier"),
    "why",
)
KEPT = "EX", "N/A"  # in Canvas: excused, and not assigned to this student
ASSIGNMENT = re.compile(r"(.*) \((\d+)\)", re.DOTALL)  # a column of Canvas: its title and id
# What Moodle calls its columns, in English and in Portuguese.
IDENTIFIER = "identifier, identificador"
GRADE = "grade, nota, avaliacao"
MAXIMUM = "maximum grade, nota maxima"
CHANGEABLE = "grade can be changed, nota pode ser alterada"
COMMENTS = "feedback comments, comentarios de feedback, comentarios"
MOST_NAMED = 5  # in a line


def grades(cls: Class) -> str:
    """grades.csv: final = raw - late + adjusted, never below 0. It begins with a byte order mark,
    so that Excel reads it as UTF-8; in Portuguese it has the semicolons and decimal commas that
    Excel reads there.
    """
    rows = []
    for student, grade in zip(cls.students, cls.grades, strict=True):
        values = grade.raw, grade.deducted, grade.adjusted, grade.final, possible(cls)
        points = [spoken(value) for value in values]
        texts = [cell(text) for text in (student.login, student.name, student.section)]
        rows.append([*texts, say(grade.end), *points, grade.tier, cell(why(grade))])
    delimiter = "," if language.in_use == "en" else ";"
    return written([COLUMNS, *rows], delimiter, is_marked=True)


def possible(cls: Class) -> float:
    """All points that the class can have: of the checks, and by hand."""
    return cls.possible + sum(cls.rubric.by_hand.values())


def why(grade: Grade, hidden: Iterable[str] = ()) -> str:
    """All that there is to say of a grade, in a line; for students, without the hidden checks."""
    first = [] if grade.end is End.GRADED and not grade.why else [grade.why or say(grade.end)]
    texts = [*first, *grade.notes, *grade.reasons]
    return "; ".join(say(for_students(text, hidden)) for text in texts)


def for_students(text: Message | str, hidden: Iterable[str]) -> Message | str:
    """A text that a student may read: one that names a hidden check is replaced."""
    for check in hidden:
        if re.search(rf"(?<![\w-]){re.escape(check)}(?![\w-])", text):
            return msg("this is about a hidden check")
    return text


# -- Canvas --------------------------------------------------------------------------------------


def canvas(cls: Class, gradebook: str | Path | None, assignment: str) -> tuple[str, list[Message]]:
    """A table for Canvas's import, and what to know of it. Raises UsageError.

    https://github.com/instructure/canvas-lms: lib/gradebook_importer.rb. A row is known by its ID,
    and a column by the id in brackets behind the title; columns that are not in the table stay as
    they are. A blank cell is no grade; if Canvas had one, its import asks before it takes it away.

    gradebook: the table that Canvas exported. Without it rows are known by SIS id and login only,
    and the assignment is a new one.
    """
    if gradebook is None:
        return new_canvas(cls), []
    sheet = read_sheet(gradebook)
    places = {name: sheet.column(name) for name in ("Student", "ID", "SIS Login ID", "Section")}
    if None in (places["ID"], places["Section"]):
        raise UsageError(
            msg(
                "{path}: this is no gradebook that Canvas exported: it has no column {name}",
                path=gradebook,
                name="ID" if places["ID"] is None else "Section",
            )
        )
    column = assignment_column(sheet, assignment, cls.lab)
    kept = range(max(place for place in places.values() if place is not None) + 1)
    known = Rows(cls, {"canvas_id": sheet.column("ID"), "sis_id": sheet.column("SIS User ID")})
    known.places |= {"login": sheet.column("SIS Login ID")}
    rows, notes = [], []
    for row in sheet.rows:
        value = row[column]
        if "Points Possible" in row[0]:
            notes += differing(value, possible(cls), sheet.header[column])
        elif (grade := known.grade_of(row)) and value.strip().upper() not in KEPT:
            value = number(grade.final)
        rows.append([*(cell(row[place]) for place in kept), value])
    header = [*sheet.header[: kept.stop], sheet.header[column]]
    text = written([header, *rows], sheet.delimiter, sheet.is_marked)
    return text, [*notes, *known.missing(gradebook)]


def new_canvas(cls: Class) -> str:
    """A table for Canvas without one from it."""
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", f"Grupo lab {cls.lab}"]
    rows = [
        [
            cell(student.called),
            student.more.get("canvas_id", ""),
            *(cell(text) for text in (student.sis_id, student.login, student.section)),
            number(grade.final),
        ]
        for student, grade in zip(cls.students, cls.grades, strict=True)
    ]
    most = ["    Points Possible", "", "", "", "", number(possible(cls))]
    return written([header, most, *rows])


def assignment_column(sheet: Sheet, assignment: str, lab: int) -> int:
    """The column of an assignment: by its title or id, else the only one whose title has the lab's
    number. Raises UsageError.
    """
    titles = {
        place: found
        for place, name in enumerate(sheet.header)
        if (found := ASSIGNMENT.fullmatch(name))
    }
    if assignment:
        chosen = [
            place
            for place, found in titles.items()
            if assignment in (found[0], found[2]) or folded(assignment) == folded(found[1])
        ]
    else:
        called = re.compile(rf"\b(?:lab|laborat[oó]rio)\s*0*{lab}\b", re.IGNORECASE)
        chosen = [place for place, found in titles.items() if called.search(found[1])]
    if len(chosen) != 1:
        names = ", ".join(f"`{found[1]}`" for found in titles.values())
        about = f"`{assignment}`" if assignment else f"`lab {lab}`"
        raise UsageError(
            msg(
                "{path}: {count} assignments are called {name}, so name one of: {names}",
                path=sheet.path,
                count=len(chosen),
                name=about,
                names=names or "-",
            )
        )
    return chosen[0]


def differing(value: str, most: float, where: str) -> list[Message]:
    """A line, if a system gives another number of points for an assignment."""
    try:
        theirs = float(value.replace(",", "."))
    except ValueError:
        return []
    if theirs == most:
        return []
    return [
        msg(
            "{column} has {theirs:g} points in the gradebook, and {ours:g} here",
            column=where,
            theirs=theirs,
            ours=most,
        )
    ]


# -- Moodle --------------------------------------------------------------------------------------


@dataclass
class Worksheet:
    """A grading worksheet, filled in."""

    text: str
    ids: dict[str, str]  # {login: number of the participant}
    notes: list[Message]


def moodle(cls: Class, worksheet: str | Path) -> Worksheet:
    """Moodle's grading worksheet with our points in it. Raises UsageError.

    https://github.com/moodle/moodle: mod/assign/feedback/offline. A row is known by its identifier,
    `Participant 123`; a blank grade, and one above the maximum, is passed over. The column of the
    last change must come back as it was. Comments that are there already stay.
    """
    sheet = read_sheet(worksheet)
    identifier, grade_at = sheet.column(IDENTIFIER), sheet.column(GRADE)
    if identifier is None or grade_at is None:
        raise UsageError(
            msg(
                "{path}: this is no grading worksheet of Moodle: it has no column {name}",
                path=worksheet,
                name="Identifier" if identifier is None else "Grade",
            )
        )
    known = Rows(
        cls,
        {
            "moodle_id": identifier,
            "sis_id": sheet.column("ID number, numero de identificacao"),
            "email": sheet.column("email address, email, endereco de email"),
            "login": sheet.column("username, nome de usuario, identificacao de usuario"),
        },
    )
    ids, notes = {}, []
    for row in sheet.rows:
        if grade := known.grade_of(row):
            ids[grade.login] = digits(row[identifier])
            notes += filled(sheet, row, grade_at, grade, cls.rubric.hidden)
    for row in sheet.rows:
        for place, text in enumerate(row):
            row[place] = cell(text) if place != grade_at else text
    return Worksheet(sheet.as_text(), ids, [*notes, *known.missing(worksheet)])


def filled(
    sheet: Sheet, row: list[str], grade_at: int, grade: Grade, hidden: Iterable[str]
) -> list[Message]:
    """Fill in a row of the worksheet; return what to know of it. Students read the comments."""
    notes = []
    at = {"most": sheet.column(MAXIMUM), "free": sheet.column(CHANGEABLE)}
    if at["free"] is not None and row[at["free"]].strip().casefold() in ("no", "não", "nao"):
        return [msg("{login} is locked in Moodle, and stays as it is", login=grade.login)]
    row[grade_at] = number(grade.final)
    comments = sheet.column(COMMENTS)
    if comments is not None and not row[comments].strip() and (text := why(grade, hidden)):
        row[comments] = html.escape(cell(text))
    try:
        most = float(row[at["most"]].replace(",", ".")) if at["most"] is not None else None
    except ValueError:
        most = None
    if most is not None and grade.final is not None and grade.final > most:
        notes.append(
            msg(
                "{login} has {points:g} points, and Moodle takes at most {most:g}",
                login=grade.login,
                points=grade.final,
                most=most,
            )
        )
    return notes


# -- The student of a row ----------------------------------------------------------------------


# What names a student, and what else the same column may hold: a login may be an e-mail address.
KINDS = {
    "canvas_id": ("canvas_id",),
    "moodle_id": ("moodle_id",),
    "sis_id": ("sis_id",),
    "login": ("login", "email"),
    "email": ("email", "login"),
}


class Rows:
    """Finds the grade that a row of a system's table is about, by ids, login and e-mail; a name
    alone is not enough.
    """

    def __init__(self, cls: Class, places: Mapping[str, int | None]) -> None:
        """places: {what names a student: the column that holds it}, the most certain first."""
        self.cls, self.places = cls, dict(places)
        self.grades = by_login(cls.grades)
        self.known = {kind: named_by(kind, cls.students) for kind in KINDS}
        self.found: set[str] = set()

    def grade_of(self, row: list[str]) -> Grade | None:
        """The grade of the student whose row it is."""
        for kind, place in self.places.items():
            if place is None:
                continue
            text = digits(row[place]) if kind == "moodle_id" else row[place].strip().casefold()
            for names in KINDS[kind]:
                if text and (student := self.known[names].get(text)):
                    self.found.add(student.login)
                    return self.grades[student.login]
        return None

    def missing(self, path: str | Path) -> list[Message]:
        """A line about the students that have no row."""
        lacking = [one.login for one in self.cls.students if one.login not in self.found]
        if not lacking:
            return []
        return [
            msg(
                "{path} has no row for these students: {names}", path=path, names=shortened(lacking)
            )
        ]


def named_by(kind: str, students: list[Student]) -> dict[str, Student]:
    """{what names a student: the student}, without what names several."""
    keys = Counter(key_of(kind, student) for student in students)
    return {
        key: student for student in students if (key := key_of(kind, student)) and keys[key] == 1
    }


def key_of(kind: str, student: Student) -> str:
    """What names a student in a system's table, without case."""
    text = student.more.get(kind, "") if kind == "canvas_id" else getattr(student, kind)
    return text.strip().casefold()


def digits(text: str) -> str:
    """The number in `Participant 123`."""
    return "".join(re.findall(r"\d", text))


def shortened(names: Iterable[str]) -> str:
    """The first names of a list, and `...` for the rest."""
    names = list(names)
    return ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
