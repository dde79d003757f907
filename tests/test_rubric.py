"""The suggested rubric of each lab, and what a rubric asks of a run beside its checks."""

import os
import subprocess
import sys

import pytest

from harness.driving.messages import Message
from harness.driving.server import ROOT
from harness.grading import rubric as suggestions
from harness.teaching import starter
from harness.verdicts import catalogue, language, rubric
from harness.verdicts.model import (
    FAILED,
    INCONCLUSIVE,
    NOT_RUN,
    PASSED,
    Report,
    Verdict,
)

LABS = [(lab, language) for lab in (0, 1, 2, 3, 4, 5, 6, 8) for language in starter.LANGUAGES]


@pytest.mark.parametrize("lab, written_in", LABS)
@pytest.mark.parametrize("spoken", language.LANGUAGES)
def test_a_suggested_rubric_is_read_back_and_gives_points_for_what_the_folder_lacks(
    lab, written_in, spoken, tmp_path, monkeypatch
):
    monkeypatch.setattr(language, "in_use", spoken)
    path = tmp_path / "rubric.toml"
    path.write_text(suggestions.suggested(lab, written_in), encoding="utf-8")
    found, begun, said = rubric.read(path), starter.read(lab, written_in), suggestions.weights(lab)
    assert {check for check, points in found.points.items() if points} == set(begun.fails)
    assert set(found.points) == set(catalogue.known())
    assert found.possible(lab, begun.designs[0]) == 70 and found.breaks_nothing == 10
    assert found.by_hand == {"predictions": 10, "write-up": 20}
    assert found.hidden == set(said.hide) & set(begun.fails)
    assert found.may_break == set(begun.may_fail)
    most = max(points for check, points in found.points.items())
    assert not said.weigh or most in {found.points[check] for check in said.weigh}


def test_the_command_writes_a_rubric_and_refuses_lab_7_in_one_line(tmp_path):
    def rubric_of(*words):
        return subprocess.run(
            [sys.executable, "-m", "harness", "rubric", *words],
            cwd=ROOT,
            env={**os.environ, "LANGUAGE": "", "LC_ALL": "en_US.UTF-8"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    done = rubric_of("0", "--language", "c", "--out", str(tmp_path / "lab0.toml"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "lab0.toml").read_text() == suggestions.suggested(0, "c")
    done = rubric_of("7")
    assert done.returncode == 2 and done.stderr.startswith("rubric: lab 7 has no rubric")
    assert done.stderr.count("\n") == 1 and not done.stdout


def verdict(check, word, points, **options):
    return Verdict(check, "start", check, word, points, **options)


@pytest.mark.parametrize(
    "verdicts, expected, why",
    [
        ([("a", PASSED, 5), ("b", PASSED, 0)], PASSED, ""),
        ([("a", FAILED, 5), ("c", PASSED, 5), ("b", PASSED, 0)], PASSED, ""),
        ([("a", FAILED, 5), ("b", PASSED, 0)], NOT_RUN, "it counts when a check"),
        ([("a", PASSED, 5), ("b", FAILED, 0), ("d", FAILED, 0)], FAILED, "broken: b, d"),
        ([("a", PASSED, 5), ("b", INCONCLUSIVE, 0)], INCONCLUSIVE, "not all checks"),
        ([("a", PASSED, 5), ("b", NOT_RUN, 0)], INCONCLUSIVE, "not all checks"),
        ([("a", PASSED, 5), ("chance[x]", FAILED, 0)], PASSED, ""),
    ],
)
def test_breaking_nothing_has_points_of_its_own(verdicts, expected, why):
    graded = rubric.Rubric(breaks_nothing=10, may_break={"chance"})
    report = Report(["x"], None, 3, "s", "", "", "", verdicts=[verdict(*one) for one in verdicts])
    found = graded.count_broken(report)
    assert report.verdicts[-1] is found and found.verdict == expected
    assert found.why.startswith(why) and isinstance(found.title, Message)
    assert found.score == (10 if expected == PASSED else 0)
    if expected == INCONCLUSIVE:
        assert not report.is_graded


def test_a_hidden_check_that_is_broken_is_counted_and_not_named():
    graded = rubric.Rubric(breaks_nothing=10)
    report = Report(["x"], None, 3, "s", "", "", "")
    report.verdicts = [verdict("secret", FAILED, 0, hidden=True), verdict("a", FAILED, 0)]
    assert graded.count_broken(report).why == "broken: a and 1 more"
    report.verdicts = [verdict("secret", FAILED, 0, hidden=True)]
    assert graded.count_broken(report).why == "broken: 1"
    report.verdicts = [verdict(f"c{number}", FAILED, 0) for number in range(9)]
    assert graded.count_broken(report).why == "broken: c0, c1, c2, c3, c4 and 4 more"


def test_without_a_table_for_it_nothing_is_added():
    report = Report(["x"], None, 3, "s", "", "", "", verdicts=[verdict("a", PASSED, 1)])
    assert rubric.Rubric().count_broken(report) is None and len(report.verdicts) == 1


@pytest.mark.long
@pytest.mark.parametrize("solved", [False, True])
def test_a_suggested_rubric_gives_all_points_of_its_checks_or_none(solved, tmp_path):
    path, cell = tmp_path / "rubric.toml", tmp_path / "canvas.csv"
    path.write_text(suggestions.suggested(0, "python"))
    starter.write(starter.read(0), tmp_path / "lab")
    if solved:
        starter.put_back(starter.read(0), tmp_path / "lab")
    command = [sys.executable, "-m", "harness", "lab", tmp_path / "lab", "--lab", "0"]
    command += ["--deadline", "3"]
    done = subprocess.run(
        [*command, "--rubric", path, "--canvas", cell],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == (0 if solved else 1)
    assert (
        "breaks-nothing  Everything that worked in the starting folder still works." in done.stdout
    )
    whole = "70" if solved else "0"
    assert [line.rpartition(",")[2] for line in cell.read_text().splitlines()[1:]] == ["70", whole]
