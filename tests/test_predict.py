"""`make predict`: the questions of each lab and stage, the answers that are kept, and where they are
shown beside what came.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.driving.server import ROOT
from harness.teaching import predict, starter, track
from harness.verdicts import language
from harness.verdicts.catalogue import catalogue

LABS = sorted(int(path.stem) for path in starter.MANIFESTS.glob("[0-9].toml"))
PARTS = [pytest.param(lab, None, id=f"lab {lab}") for lab in LABS] + [
    pytest.param(None, stage, id=f"stage {stage}") for stage in track.numbers()
]


def harness(*words, given=""):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words), "--lang", "en"],
        cwd=ROOT,
        input=given,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def folder(tmp_path):
    starter.write(starter.read(0), tmp_path / "lab0")
    return tmp_path / "lab0"


def test_every_lab_with_a_starting_folder_has_questions():
    assert sorted({int(path.stem[0]) for path in starter.MANIFESTS.glob("*-*.toml")}) == LABS
    for lab in LABS:
        assert str(predict.part_of(lab, None).heading) == f"Lab {lab}, {starter.read(lab).title}"


@pytest.mark.parametrize("lab, stage", PARTS)
def test_a_question_is_answered_by_a_check_that_is_asked(lab, stage):
    first = {check.id: check.lab for check in catalogue()}
    asked = {check for check, needs in first.items() if lab is not None and needs <= lab}
    if stage is not None:
        asked = set(track.asked(track.read(stage)).checks)
    questions = predict.part_of(lab, stage).questions
    assert questions and {one["check"] for one in questions if "check" in one} <= asked
    assert len({one["question"] for one in questions}) == len(questions)


@pytest.mark.parametrize("lab, stage", PARTS)
@pytest.mark.parametrize("place", [".", "pt-BR"])
def test_the_questions_are_those_of_the_page(lab, stage, place, monkeypatch):
    monkeypatch.setattr(language, "in_use", "en" if place == "." else place)
    name = f"lab{lab}.md" if stage is None else f"build/stage{stage}.md"
    page = Path(ROOT, "lab_guide", place, name).read_text()
    section = re.search(r"\n## (?:Predict|Preveja)\n(.*?)\n## ", page, re.DOTALL)[1]
    words = set(re.findall(r"\w+", section.lower()))
    for one in predict.part_of(lab, stage).questions:
        asked = language.say(predict.whole(one["question"]))
        assert set(re.findall(r"\w+", asked.lower())) <= words, asked


def test_answers_are_kept_are_final_and_begin_the_write_up(folder):
    done = harness("predict", folder, "--lab", 0, given="PONG one\n\nnothing\x1b[2J\n")
    assert (done.returncode, done.stderr) == (0, "") and "\x1b" not in done.stdout
    kept = json.loads((folder / "predictions.json").read_text())
    assert kept == {
        "lab 0": {
            "PING one<LF>": "PONG one",
            "PING o, then a second later ne<LF>": "nothing<U+001B>[2J",
        }
    }
    text = (folder / "write-up.md").read_text()
    assert "PING one<LF>\n\n- I predicted: PONG one\n- It was:\n- Because:\n" in text
    done = harness("predict", folder, "--lab", 0, given="2\n" * 9)
    assert "1/4  PING one<LF>PING two<LF>" in done.stdout
    again = json.loads((folder / "predictions.json").read_text())["lab 0"]
    assert again["PING one<LF>"] == "PONG one" and len(again) == 6
    assert (folder / "write-up.md").read_text().startswith(text)
    assert "You have answered all questions" in harness("predict", folder, "--lab", 0).stdout


def test_a_verdict_shows_the_answer_beside_what_came(folder, tmp_path):
    harness("predict", folder, "--lab", 0, given="PONG one\n\n\n\n\nin <b>two</b>\n")
    page, found = tmp_path / "page.html", tmp_path / "found.json"
    done = harness(
        *("lab", folder, "--lab", 0, "--only", "answers-ping", "--html", page, "--json", found)
    )
    assert "guess:    PING one<LF>\n                PONG one\n" in done.stdout
    assert json.loads(found.read_text())["predictions"][0]["answer"] == "PONG one"
    text = page.read_text()
    assert "in &lt;b&gt;two&lt;/b&gt;<td>write it into write-up.md" in text
    assert "PONG one<td>✓ passed: <code>answers-ping</code>" in text


@pytest.mark.parametrize("text", ["{", "[]", '{"lab 0": 3}', "[" * 99999])
def test_damaged_answers_are_named_in_one_line(text, folder):
    (folder / "predictions.json").write_text(text)
    for words in ("predict",), ("lab", "--only", "starts"):
        done = harness(words[0], folder, "--lab", 0, *words[1:])
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "predictions.json is damaged" in done.stderr
    assert (folder / "predictions.json").read_text() == text


def test_a_stage_without_questions_is_named(folder):
    done = harness("predict", folder, "--stage", 99)
    assert (done.returncode, done.stdout) == (2, "") and "no stage 99" in done.stderr
