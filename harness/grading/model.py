"""What grading a class knows: its students, and how each of them ended. All outputs are made of a
Class.

`as_dict()` and `..._from()` are to and from JSON. Times are aware datetimes, in JSON ISO 8601.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from harness.driving.messages import Message, packed, template, unpacked
from harness.verdicts.rubric import Rubric

SCHEMA = "grupo/grade/1"


class End(StrEnum):
    """How a student can end. Texts for people, translated by say()."""

    GRADED = template("graded")
    NOT_BUILT = template("does not build")  # 0 points, and why
    NOTHING = template("nothing handed in")
    LOOK = template("needs a look")  # no points, and why: a person decides


@dataclass
class Student:
    """A row of the roster. Only `login` must be there; '' stands for what is not known."""

    login: str
    name: str = ""
    sis_id: str = ""
    email: str = ""
    section: str = ""
    moodle_id: str = ""
    github: str = ""
    language: str = ""  # "python" or "c"; '': whichever was handed in
    extension: float | datetime | None = None  # days after the due time, or until when
    partners: list[str] = field(default_factory=list)  # logins: one submission counts for all
    more: dict[str, str] = field(default_factory=dict)  # other columns, as they are in the file

    @property
    def called(self) -> str:
        """The name for people."""
        return self.name or self.login

    def as_dict(self) -> dict[str, Any]:
        """This as JSON."""
        return {**asdict(self), "extension": in_json(self.extension)}


@dataclass
class Grade:
    """How one student ended."""

    login: str
    end: End
    points: float | None = None  # of the checks; None: no grade yet
    possible: float = 0.0  # all points that the checks give
    why: Message | str = ""  # unless it was graded; also what was odd about the submission
    report: dict[str, Any] | None = None  # what `--json` of `harness lab` has
    tier: str = ""  # "A", "B" or "none": the last is practice, never a grade
    submission: str = ""  # digest of what was judged
    checks: str = ""  # digest of the harness that judged
    rubric: str = ""  # digest of the points and hidden checks
    attempts: int = 0  # how often it was judged until this came out
    seconds: float = 0.0
    submitted: datetime | None = None
    late: float = 0.0  # days after the due time and the extension
    deducted: float = 0.0  # points, for lateness
    adjusted: float = 0.0  # points, by adjust.csv; may be negative
    decided: float | None = None  # by adjust.csv: what a person gives in place of `points`
    by_hand: dict[str, float] = field(default_factory=dict)  # of `adjusted`: {rubric's column: it}
    reasons: list[Message | str] = field(default_factory=list)  # of what was deducted, adjusted
    notes: list[Message | str] = field(default_factory=list)  # findings about what was handed in

    @property
    def raw(self) -> float | None:
        """The points that count before lateness and adjustments; None: there is no grade.

        Without a cell (tier "none") the checks give no grade, and only a person can.
        """
        if self.decided is not None:
            return self.decided
        return None if self.tier == "none" else self.points

    @property
    def final(self) -> float | None:
        """What goes into the gradebook; None leaves the cell blank.

        Raw points, less those for lateness, plus the adjustments, rounded to hundredths (halves
        up). Never below 0; there is no upper limit, so that extra points are possible.
        """
        if self.raw is None:
            return None
        return rounded(max(0.0, self.raw - self.deducted + self.adjusted))

    def as_dict(self) -> dict[str, Any]:
        """This as JSON; `final` is for other readers."""
        return {
            "schema": SCHEMA,
            **{name: in_json(value) for name, value in vars(self).items()},
            "final": self.final,
        }


@dataclass
class Class:
    """A class that was graded: `grades[i]` is that of `students[i]`, in the roster's order."""

    lab: int
    title: str  # of the lab
    students: list[Student]
    grades: list[Grade]
    rubric: Rubric = field(default_factory=Rubric)
    tier: str = "none"
    unmatched: list[str] = field(default_factory=list)  # submissions that are nobody's, by name
    due: datetime | None = None
    late: str = ""  # the rule of --late
    graded: datetime | None = None  # when the last submission was judged
    sources: dict[str, dict[str, bytes]] = field(default_factory=dict)  # {digest: {file: text}}

    def grade_of(self, login: str) -> Grade | None:
        """The Grade of this student."""
        return next((grade for grade in self.grades if grade.login == login), None)

    def ended(self, *ends: End) -> list[Grade]:
        """The grades that ended so."""
        return [grade for grade in self.grades if grade.end in ends]

    @property
    def possible(self) -> float:
        """All points that the checks give: the most of any grade."""
        return max((grade.possible for grade in self.grades), default=0.0)


def folder_of(login: str) -> str:
    """The name of a student's folder: the login, with %XX for what no folder's name should have."""
    name = re.sub(r"[^\w.@+-]", lambda found: quote(found[0], safe=""), login)
    return f"%2E{name[1:]}" if name.startswith(".") else name


def rounded(points: float) -> float:
    """Points to hundredths, halves up: the same on every machine, whatever the order of sums was.

    First to millionths: 0.1 + 0.2 and 0.3 are the same.
    """
    exact = Decimal(repr(points)).quantize(Decimal("0.000001"), ROUND_HALF_UP)
    return float(exact.quantize(Decimal("0.01"), ROUND_HALF_UP))


def in_json(value: Any) -> Any:
    """A field's value as JSON: of a Message its id and values, of a time ISO 8601."""
    return value.isoformat() if isinstance(value, datetime) else packed(value)


def time_from(text: str | None) -> datetime | None:
    """The time that in_json() wrote."""
    return None if text is None else datetime.fromisoformat(text)


def student_from(found: dict[str, Any]) -> Student:
    """The Student of which as_dict() made `found`."""
    extension = found["extension"]
    return Student(
        **{
            **found,
            "extension": time_from(extension) if isinstance(extension, str) else extension,
        }
    )


def grade_from(found: dict[str, Any]) -> Grade:
    """The Grade of which as_dict() made `found`. Raises KeyError, TypeError or ValueError if it is
    none.
    """
    known = {name: found[name] for name in Grade.__dataclass_fields__}
    texts = {name: unpacked(known[name]) for name in ("why", "reasons", "notes")}
    return Grade(
        **{
            **known,
            **texts,
            "end": End(known["end"]),
            "submitted": time_from(known["submitted"]),
        }
    )


def by_login(grades: Iterable[Grade]) -> dict[str, Grade]:
    """The grades by their student's login."""
    return {grade.login: grade for grade in grades}
