"""adjust.csv: points that a person gives. It is read on every run, and never written.

    login,points,reason
    ana,18,write-up
    ben,-2,"regrade: the race is still there, see line 40"
    eva,=50,looked at it: the process that was left is a part of the test

`18` adds points, `-2` deducts them, and `=50` replaces the points of the checks: it also gives a
grade to a student who needs a look. If the reason is the name of a by-hand column of the rubric,
the row fills in that column.
"""

import math
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from harness.driving.messages import Message, msg
from harness.grading.model import Class, Grade, Student, rounded
from harness.grading.roster import folded
from harness.grading.sheets import Sheet, read_sheet, wrong
from harness.verdicts.catalogue import close_to
from harness.verdicts.model import UsageError
from harness.verdicts.rubric import Rubric

LOGIN = "login, username, nome de usuario, usuario"
POINTS = "points, pontos"
REASON = "reason, motivo, razao, justificativa"
NUMBER = re.compile(r"(=?)\s*([+\u2212-]?\d{1,4}(?:[.,]\d{1,4})?)")
ADDED = "{reason}: {points:+g}"  # templates of the reasons that are kept with a grade
DECIDED = "{reason}: ={points:g}"


@dataclass
class Adjustment:
    """A row of adjust.csv."""

    login: str
    points: float
    reason: str
    decides: bool = False  # it replaces the points of the checks
    column: str = ""  # of the rubric, filled in by hand

    def as_message(self) -> Message:
        """It as a reason of a Grade."""
        template = DECIDED if self.decides else ADDED
        return Message(template, {"reason": self.reason, "points": self.points})


def read(path: str | Path, students: list[Student], rubric: Rubric) -> list[Adjustment]:
    """The rows of an adjust.csv for these students. Raises UsageError at the first that is wrong,
    with its line.
    """
    sheet = read_sheet(path)
    places = [sheet.column(names) for names in (LOGIN, POINTS, REASON)]
    lacking = [
        name
        for name, place in zip(("login", "points", "reason"), places, strict=True)
        if place is None
    ]
    if lacking:
        raise UsageError(
            msg(
                "{path}: the first line must be login,points,reason; it has no {column}",
                path=path,
                column=lacking[0],
            )
        )
    logins = {key_of(student.login): student.login for student in students}
    columns = {folded(name): name for name in rubric.by_hand}
    found: list[Adjustment] = []
    for line, row in zip(sheet.lines, sheet.rows, strict=True):
        login, points, reason = (row[place].strip() for place in places if place is not None)
        one = Adjustment(login_of(sheet, line, login, logins), *points_of(sheet, line, points))
        one.reason, one.column = reason or one.reason, columns.get(folded(reason), "")
        must_fit(sheet, line, one, found, rubric)
        found.append(one)
    return found


def key_of(login: str) -> str:
    """What equal logins have in common."""
    return unicodedata.normalize("NFC", login).casefold()


def login_of(sheet: Sheet, line: int, login: str, logins: dict[str, str]) -> str:
    """The student's login as the roster spells it. Raises UsageError."""
    if not login:
        raise wrong(sheet, line, msg("it has no login"))
    if found := logins.get(key_of(login)):
        return found
    if close := close_to(login, logins.values()):
        raise wrong(
            sheet,
            line,
            msg(
                "no student has the login {login} (close: {names})",
                login=login,
                names=", ".join(close),
            ),
        )
    raise wrong(sheet, line, msg("no student has the login {login}", login=login))


def points_of(sheet: Sheet, line: int, text: str) -> tuple[float, str, bool]:
    """(points, no reason, whether they replace those of the checks). Raises
    UsageError.
    """
    if not (found := NUMBER.fullmatch(text)):
        raise wrong(
            sheet, line, msg("points are a number such as 18, -2 or =50, not `{text}`", text=text)
        )
    points = float(found[2].replace(",", ".").replace("\u2212", "-"))
    return points, msg("by hand"), bool(found[1])


def must_fit(
    sheet: Sheet, line: int, one: Adjustment, before: list[Adjustment], rubric: Rubric
) -> None:
    """Raises UsageError if a column has too many points, or a value is given twice."""
    if one.column:
        most = rubric.by_hand[one.column]
        if one.decides or not 0 <= one.points <= most:
            raise wrong(
                sheet,
                line,
                msg("{column} has 0 to {most:g} points", column=one.column, most=most),
            )
    elif one.decides and one.points < 0:
        raise wrong(sheet, line, msg("a grade is not below 0"))
    for other in before:
        same = one.column == other.column if one.column else one.decides and other.decides
        if same and one.login == other.login:
            raise wrong(
                sheet, line, msg("{login} has {reason} twice", login=one.login, reason=one.reason)
            )


def apply(cls: Class, adjustments: list[Adjustment]) -> None:
    """Set what these give to the grades of the class, in place of what any gave before."""
    by_login: dict[str, list[Adjustment]] = {}
    for one in adjustments:
        by_login.setdefault(one.login, []).append(one)
    for grade in cls.grades:
        set_adjusted(grade, by_login.get(grade.login, []))


def set_adjusted(grade: Grade, mine: list[Adjustment]) -> None:
    """Set one grade's adjustments."""
    adds = [one.points for one in mine if not one.decides]
    grade.adjusted = rounded(math.fsum(adds))
    grade.decided = next((one.points for one in mine if one.decides), None)
    grade.by_hand = {one.column: one.points for one in mine if one.column}
    earlier = [
        reason
        for reason in grade.reasons
        if getattr(reason, "template", "") not in (ADDED, DECIDED)
    ]
    grade.reasons = [*earlier, *(one.as_message() for one in mine)]
