"""The students of a class, from roster.csv, and what lateness costs.

roster.csv may be what a school's system exports: any of HEADERS is understood, in any order, with
commas, semicolons or tabs, with or without a byte order mark. Columns that nobody knows are kept.
"""

import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path

from harness.driving.messages import Message, msg
from harness.driving.text_files import EncodingError, read_text
from harness.grading.model import Student
from harness.verdicts.model import UsageError

# What a column is called, in English and in Portuguese, and by Canvas, Moodle, Gradescope and
# GitHub. Compared by folded(), without blanks and signs.
HEADERS = {
    "login": "login, username, user, sis login id, login id, net id, usuario, nome de usuario",
    "name": "name, student, full name, student name, nome, aluno, nome completo, estudante",
    "first": "first name, given name, primeiro nome",
    "last": "last name, surname, family name, sobrenome",
    "sis_id": "sis id, sis user id, student id, sid, id number, matricula, numero de identificacao",
    "email": "email, e-mail address, email address, mail, endereco de email",
    "section": "section, sections, turma, secao",
    "moodle_id": "moodle id, identifier, participant, identificador, participante",
    "github": "github, github login, github username",
    "language": "language, linguagem",
    "extension": "extension, extended until, prorrogacao, extensao",
    "partners": "partners, partner, group members, parceiros, parceiro, dupla",
    "canvas_id": "id, canvas id",
    "submitted": "submitted, handed in, entregue",
}
LANGUAGES = {"python": "python", "py": "python", "c": "c"}
UNITS = {
    "min": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}


def folded(text: str) -> str:
    """`text` for comparing names: no accents, no case, and only letters and digits."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


COLUMNS = {folded(name): column for column, names in HEADERS.items() for name in names.split(",")}


def read_roster(path: str | Path) -> list[Student]:
    """The students of a roster.csv, in its order. Raises UsageError, with the file and the line."""
    try:
        text = read_text(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except EncodingError as error:
        raise UsageError(msg("{path}: {why}", path=path, why=error.args[0])) from None
    try:
        return students_in(text)
    except UsageError as error:
        raise UsageError(msg("{path}: {why}", path=path, why=error.args[0])) from None


def students_in(text: str) -> list[Student]:
    """The students of a roster's text. Raises UsageError."""
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: dict[str, Student] = {}
    lines: dict[str, int] = {}
    try:
        header = next(rows, [])
        columns = columns_of(header)
        for row in rows:
            student = None
            if any(cell.strip() for cell in row):
                student = in_line(rows.line_num, columns, header, row)
            if student is None:
                continue
            key = unicodedata.normalize("NFC", student.login).casefold()
            if key in found:
                raise UsageError(
                    msg(
                        "line {line} has the login {login}, which line {first} has, too",
                        line=rows.line_num,
                        login=student.login,
                        first=lines[key],
                    )
                )
            found[key], lines[key] = student, rows.line_num
    except csv.Error as error:
        raise UsageError(msg("line {line}: {why}", line=rows.line_num, why=str(error))) from None
    if not found:
        raise UsageError(msg("no student is in it"))
    students = list(found.values())
    must_be_partners(students)
    return students


def columns_of(header: list[str]) -> list[str]:
    """What each column is; '' of one that is only kept. Raises UsageError."""
    columns = [COLUMNS.get(folded(name), "") for name in header]
    if "login" not in columns:
        raise UsageError(
            msg(
                "the first line must name the columns, and none of them is `login`: {line}",
                line=", ".join(header)[:200],
            )
        )
    for column in HEADERS:
        if columns.count(column) > 1:
            raise UsageError(msg("two columns are `{column}`", column=column))
    return columns


def in_line(line: int, columns: list[str], header: list[str], row: list[str]) -> Student | None:
    """The Student of a row; None of Canvas's row of points, and of its test student. Raises
    UsageError.
    """
    if len(row) > len(columns) and any(cell.strip() for cell in row[len(columns) :]):
        raise UsageError(msg("line {line} has more cells than the first line", line=line))
    cells = [unicodedata.normalize("NFC", cell.strip()) for cell in row]
    cell = dict(zip(columns, cells))
    name = cell.get("name", "") or f"{cell.get('first', '')} {cell.get('last', '')}".strip()
    if not cell.get("login"):
        if name in ("Points Possible", "Student, Test", "Test Student"):
            return None
        raise UsageError(msg("line {line} has no login", line=line))
    if re.search(r"[\x00-\x1f\x7f/]", cell["login"]) or cell["login"] in (".", ".."):
        raise UsageError(
            msg("line {line}: {login} cannot be a login", line=line, login=repr(cell["login"]))
        )
    try:
        return Student(
            login=cell["login"],
            name=name,
            **{name: cell.get(name, "") for name in ("sis_id", "email", "section", "github")},
            moodle_id="".join(re.findall(r"\d+", cell.get("moodle_id", ""))),
            language=language_of(cell.get("language", "")),
            extension=extension_of(cell.get("extension", "")),
            partners=re.split(r"[\s,;+]+", cell["partners"]) if cell.get("partners") else [],
            more={
                column or title: value
                for column, title, value in zip(columns, header, cells)
                if column in ("", "canvas_id", "submitted") and value
            },
        )
    except UsageError as error:
        raise UsageError(msg("line {line}: {why}", line=line, why=error.args[0])) from None


def language_of(text: str) -> str:
    """A cell of the column language. Raises UsageError."""
    if text and text.lower() not in LANGUAGES:
        raise UsageError(msg("the language is python or c, and not {text}", text=text))
    return LANGUAGES.get(text.lower(), "")


def extension_of(text: str) -> float | datetime | None:
    """A cell of the column extension: days, or a time. Raises UsageError."""
    if not text:
        return None
    if re.fullmatch(r"\d+([.,]\d+)?", text):
        return float(text.replace(",", "."))
    return read_time(text)


def must_be_partners(students: list[Student]) -> None:
    """Makes partners mutual, and logins as the roster spells them. Raises UsageError."""
    known = {student.login.casefold(): student for student in students}
    groups = {student.login: {student.login} for student in students}
    for student in students:
        for name in student.partners:
            if name.casefold() not in known:
                raise UsageError(
                    msg(
                        "{partner}, a partner of {login}, is not in it",
                        partner=name,
                        login=student.login,
                    )
                )
            together = groups[student.login] | groups[known[name.casefold()].login]
            for login in together:
                groups[login] = together
    for student in students:
        student.partners = sorted(groups[student.login] - {student.login})


def read_time(text: str) -> datetime:
    """A time, such as 2026-11-30, 2026-11-30T18:00 or 2026-11-30 18:00+01:00, in this machine's
    zone unless it names one. A day alone is its end. Raises UsageError.
    """
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            text += "T23:59:59"
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(
            msg("{text} is no time: write it as 2026-11-30 18:00", text=text)
        ) from None


# -- Too late -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LateRule:
    """What lateness costs: `amount` for each unit that has begun, after `grace`, at most `cap`.

    Amounts are points, or, if `is_percent`, percents of the points that the checks give.
    """

    text: str
    amount: float
    is_percent: bool
    unit: timedelta
    grace: timedelta = timedelta()
    cap: float = float("inf")
    is_cap_percent: bool = False

    def deduction(self, late: timedelta, possible: float) -> float:
        """The points that this lateness costs."""
        if late <= self.grace:
            return 0.0
        units = ceil(late / self.unit)
        part = possible / 100
        cost = units * self.amount * (part if self.is_percent else 1)
        return min(cost, self.cap * (part if self.is_cap_percent else 1), possible)


AMOUNT = r"(\d+(?:\.\d+)?) ?(%|points?|)"
UNIT = r"(min|hour|day|week)"
RATE = re.compile(rf"{AMOUNT} ?(?:/|per) ?{UNIT}")
GRACE = re.compile(rf"grace (\d+(?:\.\d+)?) ?{UNIT}(?:utes?)?s?")
CAP = re.compile(rf"(?:cap|at most) {AMOUNT}")


def read_late(text: str) -> LateRule:
    """A rule such as `10%/day`, `2 points per hour, grace 15 min, cap 50%`. Raises UsageError."""
    rate, *others = [part.strip() for part in " ".join(text.lower().split()).split(",")]
    found = RATE.fullmatch(rate)
    values: dict[str, object] = {}
    for other in others:
        if (grace := GRACE.fullmatch(other)) and "grace" not in values:
            values["grace"] = float(grace[1]) * UNITS[grace[2]]
        elif (cap := CAP.fullmatch(other)) and "cap" not in values:
            values |= {"cap": float(cap[1]), "is_cap_percent": cap[2] == "%"}
        else:
            found = None
    if not found:
        raise UsageError(
            msg(
                "--late {text} is no rule: write it as 10%/day, or as 2 points/hour, grace 15 min, "
                "cap 50%",
                text=text,
            )
        )
    amount, percent, unit = found.groups()
    return LateRule(text, float(amount), percent == "%", UNITS[unit], **values)


def due_of(student: Student, due: datetime) -> datetime:
    """When this student's work is due, with the extension."""
    if isinstance(student.extension, datetime):
        return max(due, student.extension)
    return due + timedelta(days=student.extension or 0)


def lateness(submitted: datetime, due: datetime) -> timedelta:
    """How much later than due; 0 of what was in time."""
    return max(timedelta(), submitted - due)


def late_reason(late: timedelta, deducted: float, rule: LateRule) -> Message:
    """Why points were deducted, for the teacher and the student."""
    days, rest = divmod(round(late.total_seconds()), 86400)
    hours, rest = divmod(rest, 3600)
    return msg(
        "handed in {days} d {hours} h {minutes} min late: {deducted:g} points ({rule})",
        days=days,
        hours=hours,
        minutes=rest // 60,
        deducted=deducted,
        rule=rule.text,
    )
