"""grade --check-setup: it finds a grading that gives points for nothing, or takes them for nothing."""

import argparse
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.driving.server import ROOT
from harness.grading import check_setup
from harness.grading.command import terms_of
from harness.grading.judge import Outcome
from harness.verdicts.model import FAILED, INCONCLUSIVE, PASSED
from harness.verdicts.rubric import Rubric

pytestmark = pytest.mark.long


@pytest.fixture
def terms():
    names = ["rubric", "late", "due", "scheduler", "jobs", "require_tier"]
    options = argparse.Namespace(
        **dict.fromkeys(names), lab=0, sandbox="none", deadline=5.0, seed=""
    )
    return terms_of(options)


class Told:
    """An engine whose outcomes are said beforehand: verdict(job, names of the checks) of each."""

    room = 1

    def __init__(self, verdict):
        self.verdict, self.ran = verdict, []

    def run(self, jobs):
        for name, job in jobs:
            self.ran.append(job)
            found = self.verdict(job)
            if isinstance(found, Outcome):
                yield name, found
                continue
            verdicts = [{"check": check, "verdict": word, "points": 2} for check, word in found]
            score = sum(one["points"] for one in verdicts if one["verdict"] == PASSED)
            graded = all(one["verdict"] in (PASSED, FAILED) for one in verdicts)
            report = {
                "verdicts": verdicts,
                "score": score,
                "most": 2 * len(verdicts),
                "graded": graded,
            }
            yield name, Outcome("judged", report)


def as_it_should_be(job):
    """The reference is judged whole, all others by some checks."""
    return [(check, FAILED) for check in job.only] or [("starts", PASSED), ("greets", PASSED)]


def test_all_is_right(terms, capsys):
    engine = Told(as_it_should_be)
    assert check_setup.run(terms, engine) == 0
    shown = capsys.readouterr().out
    assert "Wrong: 0. Not judged: 0." in shown and "iterative-server" in shown
    # The starting folder and the reference in two languages, and each exhibit of the lab once.
    assert len(engine.ran) == 4 + 12 and len({job.folder for job in engine.ran}) == 16


@pytest.mark.parametrize(
    "verdict, status, words",
    [
        (lambda job: [(one, PASSED) for one in job.only or ["starts"]], 1, "no check failed"),
        (lambda job: [(one, FAILED) for one in job.only or ["starts"]], 1, "failed: starts"),
        (lambda job: [(one, INCONCLUSIVE) for one in job.only or ["starts"]], 3, "Wrong: 0."),
        (lambda job: Outcome("fault", why="a fault of ours"), 3, "a fault of ours"),
        (lambda job: Outcome("refused", why="it does not build"), 1, "it does not build"),
    ],
    ids=["all pass", "the reference fails", "inconclusive", "a fault", "it does not build"],
)
def test_what_is_not_right_is_shown(terms, capsys, verdict, status, words):
    engine = Told(verdict)
    assert check_setup.run(terms, engine) == status
    assert words in capsys.readouterr().out


def test_a_race_may_escape_once(terms):
    seen = []

    def verdict(job):
        first = job.folder not in seen
        seen.append(job.folder)
        return [(one, PASSED if first and len(job.only) == 1 else FAILED) for one in job.only] or [
            ("starts", PASSED)
        ]

    assert check_setup.run(terms, Told(verdict)) == 0


def test_a_rubric_that_gives_a_bug_no_points_is_wrong(terms, capsys):
    zero = replace(terms, rubric=Rubric(points={"greets": 0}))
    assert check_setup.run(zero, Told(as_it_should_be)) == 1
    assert "the rubric gives this check no points" in capsys.readouterr().out
    whole = replace(terms, rubric=Rubric(points={"greets": 0}, breaks_nothing=10))
    assert check_setup.run(whole, Told(as_it_should_be)) == 0


def test_it_is_bounded_in_time(terms, capsys):
    engine = Told(as_it_should_be)
    assert check_setup.run(terms, engine, minutes=0) == 3 and not engine.ran
    assert "not tried" in capsys.readouterr().out


def test_the_grading_of_lab_0_is_right():
    command = ["grade", "--check-setup", "--lab", "0", "--deadline", "5", "--sandbox", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_needs_submissions_or_this_flag():
    done = subprocess.run(
        [sys.executable, "-m", "harness", "grade", "--lab", "0", "--sandbox", "none"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
