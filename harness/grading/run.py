"""One run over a class: what is to be judged, what becomes of it, and what is kept of it.

Each outcome is kept as soon as it is there, so a run that is killed loses only what was being
judged. What could not be judged is tried again when all others are done, alone, twice. After that a
person has to look at it.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil

from harness.driving.messages import Message, msg
from harness.grading.engine import Engine
from harness.grading.intake import Work
from harness.grading.judge import Job, Outcome
from harness.grading.model import End, Grade, Student
from harness.grading.progress import Shown
from harness.grading.results import Key, Results, changes, key_of
from harness.grading.roster import LateRule, due_of, late_reason, lateness
from harness.teaching.starter import Starter
from harness.verdicts.language import say
from harness.verdicts.rubric import Rubric

ATTEMPTS = 3  # the first, and two alone
LIMIT = 90  # deadlines that judging one submission may take in all
MOST_NAMED = 4  # checks that are named in a line


@dataclass
class Terms:
    """What is the same for all submissions of a run."""

    lab: int
    begun: list[Starter]  # by language
    rubric: Rubric
    rubric_digest: str
    checks: str  # the digest
    tier: str
    deadline: float
    seed: str
    workers: int
    lang: str
    due: datetime | None
    late: LateRule | None
    only: list[str] = field(default_factory=list)  # checks; none: all of the lab

    def key(self, work: Work) -> Key:
        """What a grade for this work depends on."""
        return Key(work.digest, self.checks, self.rubric_digest, self.tier)

    def starter(self, language: str) -> Starter:
        """The lab's Starter in this language."""
        return next(one for one in self.begun if one.language == language)

    def possible(self, language: str) -> float:
        """All points of the checks."""
        begun = self.starter(language) if language else self.begun[0]
        return self.rubric.possible(self.lab, begun.designs[0])


@dataclass
class Task:
    """A submission to judge, and those whose it is."""

    work: Work
    students: list[Student] = field(default_factory=list)
    attempts: int = 0
    is_settled: bool = False
    before: dict[str, Grade] = field(default_factory=dict)  # {login: what was known}, for a retry


class Run:
    """Judges what is missing or has changed, and keeps it in `results`.

    shown: where a teacher reads how far it is, and what is odd.
    """

    def __init__(self, terms: Terms, results: Results, shown: Shown) -> None:
        self.terms, self.results, self.shown = terms, results, shown
        self.tasks: dict[str, Task] = {}  # by digest
        self.again: list[str] = []  # digests

    def plan(
        self, students: list[Student], works: dict[str, Work], again: bool, is_open: bool
    ) -> None:
        """Decides what is to be judged; keeps the grades of the others.

        students: of the class, to be judged. again: judge also what is known (--regrade).
        is_open: some submissions are nobody's, so that nobody gets a 0 for having handed in none.
        """
        known = {} if again else {key_of(grade): grade.login for grade in self.results.all()}
        for student in students:
            work = works.get(student.login)
            before = self.results.grade(student.login, with_report=True)
            if work is None or not work.digest:
                if grade := self.without_judge(student, work, before, is_open):
                    self.keep(grade, before)
                continue
            key = self.terms.key(work)
            if before and not again and key_of(before) == key:
                grade = before
            elif key in known:
                grade = self.results.grade(known[key], with_report=True)
            else:
                grade = None
            if grade is not None:
                self.keep(self.of_student(grade, student, work), before, known.get(key))
            if grade is None or self.may_be_tried_again(grade):
                task = self.tasks.setdefault(work.digest, Task(work))
                task.students.append(student)
                task.attempts = grade.attempts if grade else 0

    def may_be_tried_again(self, grade: Grade) -> bool:
        """Whether this is what a run left that was stopped before it tried again."""
        return grade.end == End.LOOK and 0 < grade.attempts < ATTEMPTS

    def without_judge(
        self, student: Student, work: Work | None, before: Grade | None, is_open: bool
    ) -> Grade | None:
        """The Grade of a student without a folder to judge; None to leave what is there."""
        if work is None and before is not None and before.end != End.NOTHING:
            self.shown.line(
                say(
                    "{login}: no submission now. The grade of the earlier one stays",
                    login=student.login,
                )
            )
            return None
        has = {one.language for one in self.terms.begun}
        terms = self.terms
        grade = Grade(
            student.login,
            End.NOTHING,
            possible=terms.possible(student.language if student.language in has else ""),
            checks=terms.checks,
            rubric=terms.rubric_digest,
            tier=terms.tier,
        )
        if work is None:
            until = due_of(student, terms.due) if terms.due else None
            if is_open:
                grade.why = msg("no submission, but some are nobody's")
            elif until and until > datetime.now(until.tzinfo):
                grade.why = msg(
                    "no submission yet: it is due on {due}", due=f"{until:%Y-%m-%d %H:%M}"
                )
            else:
                grade.why, grade.points = msg("no submission"), 0.0
            return grade
        if work.is_empty:
            grade.end, grade.points = End.NOT_BUILT, 0.0
            grade.why = msg("{name} is empty", name=work.handed)
        else:
            grade.end = End.LOOK
            grade.why = msg("{name}: {why}", name=work.handed, why=work.refused)
        return self.of_student(grade, student, work)

    # -- Judging --

    def judge(self, engine: Engine) -> None:
        """Judges all that plan() found to be missing, first at once, and then again what could not
        be judged.
        """
        first = [digest for digest, task in self.tasks.items() if not task.attempts]
        self.again = [digest for digest, task in self.tasks.items() if task.attempts]
        for digest, outcome in engine.run(self.jobs(first)):
            self.ended(digest, outcome)
        while self.again:
            digest = self.again.pop(0)
            self.shown.started()
            self.ended(digest, engine.alone(self.job(self.tasks[digest])))

    def jobs(self, digests: list[str]) -> Iterator[tuple[str, Job]]:
        """The jobs of these, made when the engine has room for them."""
        for digest in digests:
            self.shown.started()
            yield digest, self.job(self.tasks[digest])

    def job(self, task: Task) -> Job:
        """What the judge gets."""
        terms, begun = self.terms, self.terms.starter(task.work.language)
        return Job(
            lab=terms.lab,
            language=begun.language,
            design=begun.designs[0],
            folder=self.results.kept(task.work.digest),
            points=terms.rubric.points,
            hidden=sorted(terms.rubric.hidden),
            breaks_nothing=terms.rubric.breaks_nothing,
            may_break=sorted(terms.rubric.may_break),
            seed=terms.seed or secrets.token_hex(4),
            deadline=terms.deadline,
            workers=terms.workers,
            tier=terms.tier,
            total=LIMIT * terms.deadline,
            lang=terms.lang,
            student="",
            only=self.terms.only,
        )

    def ended(self, digest: str, outcome: Outcome) -> None:
        """Keeps an outcome for all whose submission it is."""
        task = self.tasks[digest]
        task.attempts += 1
        grade = self.grade_of(task, outcome)
        is_last = task.attempts >= ATTEMPTS or outcome.seconds >= LIMIT * self.terms.deadline
        if grade.end == End.LOOK and is_last:
            grade.attempts = task.attempts = ATTEMPTS
        is_settled = task.is_settled = not self.may_be_tried_again(grade)
        for student in task.students:
            before = task.before.pop(student.login, None)
            before = before or self.results.grade(student.login, with_report=True)
            own = self.of_student(grade, student, task.work)
            self.results.commit(own, outcome.html, outcome.log)
            if is_settled:
                self.tell_changes(before, own)
            elif before:
                task.before[student.login] = before
        if not is_settled:
            self.again.append(digest)
        self.shown.ended([student.login for student in task.students], grade, is_settled)

    def grade_of(self, task: Task, outcome: Outcome) -> Grade:
        """The Grade of an outcome, without its student."""
        key = self.terms.key(task.work)
        grade = Grade(
            "",
            End.LOOK,
            possible=self.terms.possible(task.work.language),
            why=outcome.why or "",
            report=outcome.report,
            tier=outcome.tier or key.tier,
            submission=key.submission,
            checks=key.checks,
            rubric=key.rubric,
            attempts=task.attempts,
            seconds=round(outcome.seconds, 1),
        )
        if outcome.end == "refused":
            grade.end, grade.points = End.NOT_BUILT, 0.0
        elif outcome.end == "judged" and outcome.report["graded"]:
            grade.end, grade.points = End.GRADED, outcome.report["score"]
            grade.possible = outcome.report["most"]
        elif outcome.end == "judged":
            grade.why = unjudged(outcome.report)
        return grade

    # -- What belongs to one student --

    def of_student(self, grade: Grade, student: Student, work: Work) -> Grade:
        """The same grade for this student: when it was handed in, what lateness costs."""
        own = replace(
            grade, login=student.login, submitted=work.submitted, notes=list(work.notes), reasons=[]
        )
        if own.report:
            own.report = {**own.report, "student": student.login}
        own.late = own.deducted = 0.0
        if work.is_marked_late and work.submitted is None:
            own.notes.append(msg("it is marked as late, and nothing says how late"))
        rule, due = self.terms.late, self.terms.due
        if due and work.submitted:
            late = lateness(work.submitted, due_of(student, due))
            own.late = ceil(late.total_seconds() / 864) / 100  # hundredths of a day
            if late and rule:
                own.deducted = rule.deduction(late, own.possible)
                own.reasons.append(late_reason(late, own.deducted, rule))
        elif due and rule:
            own.notes.append(msg("nothing says when it was handed in: it counts as in time"))
        return own

    def keep(self, grade: Grade, before: Grade | None, of: str | None = None) -> None:
        """Keeps a grade for which nothing was judged now, if it is another than before."""
        if before == grade:
            return
        if of is None or of == grade.login:
            self.results.commit(grade)
        else:
            self.results.copy(grade, of)
        self.tell_changes(before, grade)

    def tell_changes(self, before: Grade | None, grade: Grade) -> None:
        """Tells the teacher what is another than before."""
        for line in changes(before, grade) if before else []:
            self.shown.line(say(line))


def unjudged(report: dict) -> Message:
    """Why a report is no grade."""
    checks = [
        one["check"]
        for one in report["verdicts"]
        if one["binds"] and one["verdict"] in ("inconclusive", "harness fault")
    ]
    if not checks:
        return msg("the run of the checks was stopped")
    names = ", ".join(checks[:MOST_NAMED])
    if len(checks) <= MOST_NAMED:
        return msg("could not be judged: {names}", names=names)
    more = len(checks) - MOST_NAMED
    return msg("could not be judged: {names} and {more} more", names=names, more=more)
