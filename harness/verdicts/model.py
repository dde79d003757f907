"""What a run of the checks found. Everything that is shown, printed or handed to a grading system
is made of a Report.
"""

from dataclasses import asdict, dataclass, field, fields

from harness.driving.messages import described, restored, template
from harness.driving.record import Entry
from harness.verdicts.locks import Span

DEADLINE = (
    10  # seconds that a server may take for anything, on a machine that has nothing else to do
)
PASSED, FAILED, INCONCLUSIVE, NOT_RUN, FAULT = VERDICTS = (
    template("passed"),
    template("failed"),
    template("inconclusive"),
    template("not run"),
    template("harness fault"),
)


class UsageError(Exception):
    """The user's arguments, files or folder cannot be used; the text is one line that says why."""


class SubmissionError(UsageError):
    """The program under check does not build, or lacks a file: it is graded with no points, and the
    text says why.
    """


@dataclass
class Failure:
    """Why a check failed, for the one who wrote the server. All texts are whole; what the server
    wrote may hold anything.
    """

    sentence: str  # id in the catalogue
    steps: list  # what was done, in order: texts
    expected: str
    actual: str
    cause: str  # the likely cause, a sentence or two
    page: str  # where in the lab guide to read
    # which run it was, and how the server was disturbed in it; '' if there was but one, undisturbed
    run: str
    replay: str  # the command that does it again
    slice: list  # the Entries of the record that show it
    # the place in `slice` of the first wrong Entry; its length: something is missing after the last
    wrong: int = None
    locks: list = field(
        default_factory=list
    )  # the locks.Spans between the Entries, if the server was traced
    # of a schedule that shows it: for each step [who takes it, what it is, its place in the source,
    # whether the one before had to stop for it]
    order: list = field(default_factory=list)


@dataclass
class Verdict:
    """What became of one check."""

    check: str  # its id
    stage: str
    title: str
    verdict: str  # one of VERDICTS
    points: float
    lab: int = 0  # the first that needs it
    binds: bool = (
        True  # False: this server was not asked for it, and its points are no part of the most
    )
    hidden: bool = False  # students see neither its title nor why it failed
    seconds: float = 0.0
    runs: int = 1
    # one line, if it neither passed nor failed; of one that passed, what it had to do without
    why: str = ""
    failure: Failure = None
    record: str = ""  # the file that holds all that happened

    @property
    def score(self):
        return self.points if self.verdict == PASSED else 0

    @property
    def is_amiss(self):
        """Whether it did not pass, though this server was asked for it."""
        return self.binds and self.verdict != PASSED

    @property
    def is_unjudged(self):
        """Whether this run could not tell: no points, but no 0 either."""
        return self.binds and self.verdict in (INCONCLUSIVE, FAULT)

    @property
    def is_judged(self):
        """Whether there is evidence for its score: it passed, failed, or is not asked of this
        server.
        """
        return not self.binds or self.verdict in (PASSED, FAILED)


@dataclass
class Asked:
    """What a stage of a track asks of a server, instead of all that is asked up to a lab."""

    track: str
    checks: dict[str, int]  # {check: the first stage that asks for it}
    requests: list[str]  # that random dialogues may make; none: all
    workloads: list[str]  # that are explored; none: all


@dataclass
class Prediction:
    """What a learner answered before anything ran."""

    question: str
    answer: str
    check: str = ""  # the one whose verdict shows what came, if there is one

    def is_about(self, verdict):
        """Whether this verdict shows what came."""
        was_run = verdict.verdict in (PASSED, FAILED)
        return was_run and bool(self.check) and self.check == verdict.check.partition("[")[0]


@dataclass
class Report:
    command: list  # of the server
    design: str
    lab: int
    seed: str
    started: str  # UTC, 2026-11-22T13:21:28Z
    machine: str
    folder: str  # where the records are
    student: str = ""  # the student that it is about, if known
    seconds: float = 0.0
    complete: bool = True  # False: it was stopped
    notes: list = field(default_factory=list)
    verdicts: list = field(default_factory=list)
    predictions: list = field(default_factory=list)  # of Prediction
    # why no check could be run: the server does not build or start, or lacks a file. 0 points
    refused: str = ""
    possible: float = 0  # all points that the lab asks for, if it was refused
    look: str = ""  # why a person must look at it before there is a grade
    track: str = ""  # of which `lab` is a stage; '' if it is a lab
    pace: dict = field(
        default_factory=dict
    )  # {"start", "join", "say"}: seconds that each took, measured before the checks

    @property
    def score(self):
        return sum(verdict.score for verdict in self.verdicts)

    @property
    def most(self):
        return (
            self.possible
            if self.refused
            else sum(verdict.points for verdict in self.verdicts if verdict.binds)
        )

    @property
    def is_graded(self):
        """Whether its score may become a grade: all that was asked was judged. Else no form may
        hold a 0.
        """
        return not self.look and (
            bool(self.refused)
            or (
                self.complete
                and bool(self.verdicts)
                and not any(verdict.is_unjudged for verdict in self.verdicts)
            )
        )

    def of(self, word):
        """The verdicts of this kind."""
        return [verdict for verdict in self.verdicts if verdict.verdict == word]

    def as_dict(self):
        return {
            "schema": "grupo/check/1",
            "score": self.score,
            "most": self.most,
            "graded": self.is_graded,
            **described(asdict(self)),
        }


FIELDS = {one.name for one in fields(Report)}


def failure_from(found):
    """The Failure of which asdict() made `found`, though JSON lay between; None of None."""
    if found is None:
        return None
    found = restored(found)
    return Failure(
        **{
            **found,
            "slice": [Entry(*entry) for entry in found["slice"]],
            "locks": [Span(*span) for span in found["locks"]],
        }
    )


def report_from(found):
    """The Report of which as_dict() made `found`, though JSON lay between."""
    found = restored({name: found[name] for name in found if name in FIELDS or name == "messages"})
    predictions = [Prediction(**restored(one)) for one in found.get("predictions", ())]
    verdicts = [verdict_from(one) for one in found["verdicts"]]
    return Report(**{**found, "verdicts": verdicts, "predictions": predictions})


def verdict_from(found):
    """The Verdict of which asdict() made `found`, though JSON lay between."""
    found = restored(found)
    return Verdict(**{**found, "failure": failure_from(found["failure"])})
