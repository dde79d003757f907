"""class.html: a graded class on one page that needs nothing else, for its teachers. It names hidden
checks, and links each student's own page, which does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from urllib.parse import quote

from harness.grading.model import Class, End, Grade, Student, folder_of
from harness.grading.outputs.gradebooks import possible, why
from harness.grading.sheets import spoken
from harness.verdicts.catalogue import place
from harness.verdicts.formats.page import rendered
from harness.verdicts.formats.render import clean
from harness.verdicts.language import say
from harness.verdicts.model import FAILED, PASSED, Report

BINS = 10  # of the distribution
SHARED = 2  # students that make a failure a shared one
NAMED = 12  # students that are named at once; the others are folded
SIGNS = {End.GRADED: "\u2713", End.NOT_BUILT: "\u2717", End.NOTHING: "\u2013", End.LOOK: "?"}


@dataclass
class Tally:
    """How a check went in the class."""

    check: str
    title: str
    points: float
    is_hidden: bool
    passed: int = 0
    asked: int = 0

    @property
    def rate(self) -> float:
        """The share of students that pass it, in percent."""
        return 100 * self.passed / self.asked if self.asked else 0


@dataclass
class Shared:
    """Students that fail the same check for the same cause."""

    check: str
    cause: str
    logins: list[str] = field(default_factory=list)


@dataclass
class Found:
    """What all students' verdicts have in common. It keeps no report: those of a large class would
    fill the memory.
    """

    tallies: dict[str, Tally] = field(default_factory=dict)
    shared: dict[tuple[str, str], Shared] = field(default_factory=dict)

    def add(self, login: str, report: Report) -> None:
        """Add what the checks found of one student."""
        for verdict in report.verdicts:
            if not verdict.binds:
                continue
            tally = self.tallies.setdefault(
                verdict.check,
                Tally(
                    clean(verdict.check),
                    clean(say(verdict.title)),
                    verdict.points,
                    verdict.hidden,
                ),
            )
            tally.asked += 1
            tally.passed += verdict.verdict == PASSED
            if verdict.verdict == FAILED:
                sentence = verdict.failure.sentence if verdict.failure else ""
                cause = verdict.failure.cause if verdict.failure else verdict.why
                key = verdict.check, sentence or say(cause)
                shared = Shared(clean(verdict.check), clean(say(cause)))
                self.shared.setdefault(key, shared).logins.append(login)

    def checks(self) -> tuple[list[Tally], list[Tally]]:
        """The checks that have points, and the others that somebody did not pass: in each, the
        hardest first.
        """
        tallies = sorted(
            self.tallies.values(), key=lambda one: (one.rate, place(one.check), one.check)
        )
        failed = [one for one in tallies if not one.points and one.passed < one.asked]
        return [one for one in tallies if one.points], failed

    def groups(self) -> list[Shared]:
        """The failures that students share, the most frequent first."""
        groups = [one for one in self.shared.values() if len(one.logins) >= SHARED]
        return sorted(groups, key=lambda one: (-len(one.logins), place(one.check), one.cause))


@dataclass
class Row:
    """One student as the page shows it."""

    student: Student
    grade: Grade
    href: str  # of their own page; '' if there is none
    why: str

    @property
    def sign(self) -> str:
        """A sign for how they ended."""
        return SIGNS[self.grade.end]

    @property
    def name(self) -> str:
        """The name, as nothing obeys it."""
        return clean(self.student.called)


def class_page(
    cls: Class, found: Found, pages: Iterable[str], with_similarity: bool = False
) -> str:
    """The page. `pages`: the logins of those who have a page of their own. with_similarity: there
    is a similarity.html beside it.
    """
    pages = set(pages)
    rows = [
        Row(
            student,
            grade,
            f"{quote(folder_of(student.login))}/report.html" if student.login in pages else "",
            clean(why(grade)),
        )
        for student, grade in zip(cls.students, cls.grades, strict=True)
    ]
    finals = sorted(grade.final for grade in cls.grades if grade.final is not None)
    checks, pointless = found.checks()
    ended = {end: [row for row in rows if row.grade.end is end] for end in End}
    return rendered(
        Path(__file__).with_name("class.html"),
        cls=cls,
        rows=rows,
        by_login={row.student.login: row for row in rows},
        ended=ended,
        End=End,
        looks=[row for row in ended[End.LOOK] if row.grade.final is None],
        odd=[row for row in ended[End.GRADED] if row.grade.notes],
        practice=cls.tier == "none",
        unmatched=[clean(name) for name in cls.unmatched],
        open_columns=open_columns(cls),
        bins=bins(finals, possible(cls)),
        finals=finals,
        summary={
            "mean": spoken(mean(finals)),
            "median": spoken(median(finals)),
            "least": spoken(finals[0]),
            "most": spoken(finals[-1]),
        }
        if finals
        else {},
        possible=possible(cls),
        checks=checks,
        pointless=pointless,
        groups=found.groups(),
        with_similarity=with_similarity,
        named=NAMED,
        number=spoken,
        clean=clean,
    )


def open_columns(cls: Class) -> list[tuple[str, int, int]]:
    """The rubric's columns by hand that are not yet filled in for all: [(column, how many are,
    how many there should be)].
    """
    there = cls.ended(End.GRADED, End.NOT_BUILT, End.LOOK)
    counts = [
        (column, sum(column in grade.by_hand for grade in there), len(there))
        for column in cls.rubric.by_hand
    ]
    return [(column, filled, whole) for column, filled, whole in counts if filled < whole]


def bins(finals: list[float], most: float) -> list[tuple[str, int, float]]:
    """The distribution of points: [(from - to, how many, percent of the highest)]. The last bin has
    all that is above.
    """
    width = most / BINS
    if not finals or not width:
        return []
    counts = [0] * BINS
    for points in finals:
        counts[min(int(points / width), BINS - 1)] += 1
    edges = [spoken(place * width) for place in range(BINS + 1)]
    return [
        (f"{low} \u2013 {high}", count, 100 * count / max(counts))
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
