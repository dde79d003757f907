"""python -m harness grade --check-setup: tries the grading of a lab before students do.

The starting folder must get no points for what it lacks, and the reference all points. Each exhibit
of the lab, a server with one bug, must get less than all points: its check must fail, and must have
points. An exhibit is judged by its check alone, so that all of them take minutes.
"""

import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.driving.messages import Message, msg, template
from harness.driving.server import ROOT
from harness.driving.text_files import read_text
from harness.grading.engine import Engine
from harness.grading.intake import packed
from harness.grading.judge import Job, Outcome
from harness.grading.run import LIMIT, Terms
from harness.teaching import exhibits, starter
from harness.verdicts.catalogue import catalogue, known
from harness.verdicts.formats.render import clean
from harness.verdicts.language import say
from harness.verdicts.model import FAILED, PASSED

TRIES = 3  # of an exhibit whose check passed: a race may escape once
MINUTES = 30  # for all of it, after which the rest is not tried
WIDE = 130  # characters of the table, if it goes to a file


class Is(StrEnum):
    """How a trial ended. Texts for people, translated by say()."""

    RIGHT = template("right")
    WRONG = template("wrong")
    UNCLEAR = template("could not be judged")
    LEFT_OUT = template("not tried: no time left")


@dataclass
class Trial:
    """A server whose result is known beforehand."""

    name: Message | str
    language: str
    design: str
    files: Mapping[str, bytes]  # the submission
    only: list[str]  # checks; none: all of the lab
    wanted: Message
    is_right: Any  # (report) -> bool
    tries: int = 1
    points: float | None = None
    most: float = 0
    ended: Is = Is.LEFT_OUT
    why: Message | str = ""


def trials(terms: Terms) -> Iterator[Trial]:
    """All trials of a lab, those that say most first."""
    for begun in terms.begun:
        texts = {place: text.encode() for place, text in starter.contents(begun).items()}
        yield Trial(
            msg("starting folder"),
            begun.language,
            begun.designs[0],
            texts,
            begun.fails,
            msg("0 points for what it lacks"),
            lambda report: not score_of(report),
        )
        yield Trial(
            msg("reference"),
            begun.language,
            begun.designs[0],
            {place: ours.read_bytes() for place, ours in begun.files().items()},
            [],
            msg("all points"),
            lambda report: report["score"] == report["most"],
        )
    for exhibit in exhibits.all_exhibits():
        if known()[exhibit.check] == terms.lab:
            yield trial_of(exhibit, terms)


def trial_of(exhibit: exhibits.Exhibit, terms: Terms) -> Trial:
    """The Trial of an exhibit."""
    begun = replace(terms.starter("python"), designs=[exhibit.design], empty=[])
    files = {place: text.encode() for place, text in starter.contents(begun).items()}
    text = read_text(ROOT / exhibit.file)
    files[exhibit.file] = text.replace(exhibit.old, exhibit.new).encode()
    return Trial(
        exhibit.name,
        "python",
        exhibit.design,
        files,
        [exhibit.check],
        msg("less than all points, by {check}", check=exhibit.check),
        lambda report: any(one["verdict"] == FAILED for one in report["verdicts"]),
        TRIES,
    )


def score_of(report: dict[str, Any]) -> float:
    """The points of the checks that passed."""
    passed = [one for one in report["verdicts"] if one["verdict"] == PASSED]
    return sum(one["points"] for one in passed)


def run(terms: Terms, engine: Engine, minutes: float = MINUTES) -> int:
    """Try all, show them in a table. Return the exit status: 0 all is right, 1 something is wrong,
    3 something could not be judged. Raises UsageError.
    """
    found = list(trials(terms))
    ends = time.monotonic() + 60 * minutes
    todo = dict(enumerate(found))
    for attempt in range(TRIES):
        jobs = ((str(number), job_of(one, terms)) for number, one in todo.items())
        for name, outcome in engine.run(while_time(jobs, ends)):
            judge(todo[int(name)], outcome, terms)
        todo = {number: one for number, one in todo.items() if may_try(one, attempt + 1)}
    screen = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    screen.print(table(found, terms))
    for one in found:
        if one.why:
            screen.print(clean(f"{called(one)}: {say(one.why)}"), markup=False, soft_wrap=True)
    bad = [one for one in found if one.ended is Is.WRONG]
    unclear = [one for one in found if one.ended in (Is.UNCLEAR, Is.LEFT_OUT)]
    counts = {"count": len(found), "bad": len(bad), "unclear": len(unclear)}
    told = say("Tried: {count}. Wrong: {bad}. Not judged: {unclear}.", **counts)
    screen.print(told, markup=False)
    return 1 if bad else 3 if unclear else 0


def while_time(jobs: Iterator[tuple[str, Job]], ends: float) -> Iterator[tuple[str, Job]]:
    """The jobs, until the time is up."""
    while time.monotonic() < ends and (one := next(jobs, None)):
        yield one


def may_try(one: Trial, attempts: int) -> bool:
    """Whether another attempt may end otherwise."""
    return one.ended is Is.UNCLEAR or (one.ended is Is.WRONG and attempts < one.tries)


def job_of(one: Trial, terms: Terms) -> Job:
    """What the judge gets."""
    return Job(
        lab=terms.lab,
        language=one.language,
        design=one.design,
        folder=packed(one.files),
        points=terms.rubric.points,
        hidden=sorted(terms.rubric.hidden),
        breaks_nothing=terms.rubric.breaks_nothing,
        may_break=sorted(terms.rubric.may_break),
        seed=secrets.token_hex(4),
        deadline=terms.deadline,
        workers=terms.workers,
        tier=terms.tier,
        total=LIMIT * terms.deadline,
        lang=terms.lang,
        only=one.only,
    )


def judge(one: Trial, outcome: Outcome, terms: Terms) -> None:
    """Decide how a trial ended."""
    report = outcome.report
    if outcome.end == "refused":
        one.ended, one.why = Is.WRONG, outcome.why or ""
    elif outcome.end == "fault" or not report:
        one.ended, one.why = Is.UNCLEAR, outcome.why or ""
    else:
        one.points, one.most = report["score"], report["most"]
        one.ended = Is.RIGHT if one.is_right(report) else Is.WRONG
        one.why = "" if one.ended is Is.RIGHT else told_of(report)
        if one.ended is Is.WRONG and not report["graded"]:
            one.ended = Is.UNCLEAR
        if one.tries > 1 and not counts(one.only[0], terms):
            one.ended, one.why = Is.WRONG, msg("the rubric gives this check no points")


def counts(check: str, terms: Terms) -> bool:
    """Whether a server that fails only this check gets less than all points."""
    own = next(one.points for one in catalogue() if one.id == check)
    rubric = terms.rubric
    whole = rubric.breaks_nothing and check not in rubric.may_break
    return bool(rubric.points.get(check, own) or whole)


def told_of(report: dict[str, Any]) -> Message | str:
    """Which checks failed, or that none did."""
    names = [one["check"] for one in report["verdicts"] if one["verdict"] == FAILED]
    return msg("failed: {checks}", checks=", ".join(names)) if names else msg("no check failed")


def table(found: list[Trial], terms: Terms) -> Table:
    """All trials as a table for a terminal."""
    made = Table(title=say("Lab {lab}: the grading, tried", lab=terms.lab), title_justify="left")
    headings = msg("server"), msg("design"), msg("points"), msg("expected"), msg("result")
    for heading in headings:
        made.add_column(say(heading), overflow="fold")
    for one in found:
        points = "" if one.points is None else f"{one.points:g} / {one.most:g}"
        made.add_row(called(one), one.design, points, say(one.wanted), say(one.ended.value))
    return made


def called(one: Trial) -> str:
    """What a trial is called in the table."""
    return f"{say(one.name)} ({one.language})" if isinstance(one.name, Message) else one.name
