"""The bug hunt: the deal is blind, a fix is checked, and the score is kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.driving.server import ROOT
from harness.explore.exploration import replay, schedule_in
from harness.explore.program import Program
from harness.teaching import exhibits, hunt
from harness.verdicts.language import say

pytestmark = pytest.mark.long
SCHEDULED = [exhibit for exhibit in exhibits.all_exhibits() if exhibit.schedule]


@pytest.fixture
def hunting(tmp_path):
    """hunting(action, ...) runs `python -m harness hunt` with a score of its own."""

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "harness", "hunt", *map(str, words)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")},
        )

    run.score = lambda: json.loads((tmp_path / "data/grupo/hunt.json").read_text())
    return run


def only(monkeypatch, tmp_path, name):
    """A hunt in this process, of which the cards hold nothing but this exhibit."""
    exhibit = exhibits.read(exhibits.EXHIBITS / f"{name}.toml")
    monkeypatch.setattr(exhibits, "all_exhibits", lambda: [exhibit])
    monkeypatch.setattr(hunt, "score_file", lambda: tmp_path / "score.json")
    return exhibit


def play(action, folder, capsys):
    status = hunt.main(
        type("Options", (), {"action": action, "folder": str(folder), "design": None, "seed": "1"})
    )
    return status, capsys.readouterr().out


def test_what_is_dealt_does_not_say_what_it_is(hunting, tmp_path):
    done = hunting("deal", tmp_path / "mine", "--design", "nonblocking", "--seed", "3")
    assert done.returncode == 0, done.stderr
    [name] = hunting.score()
    exhibit = exhibits.read(exhibits.EXHIBITS / f"{name}.toml")
    texts = {
        path: path.read_text()
        for path in (tmp_path / "mine").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert (
        not any(name in text for text in [*texts.values(), done.stdout])
        and exhibit.symptom in done.stdout
    )
    assert (
        "expected:" in texts[tmp_path / "mine/failing-run.txt"]
        and "cause" not in texts[tmp_path / "mine/failing-run.txt"]
    )
    assert exhibit.new in texts[tmp_path / "mine" / exhibit.file]
    assert (
        not any(name in line for line in hunting("score").stdout.splitlines())
        and "0 of" in hunting("score").stdout
    )


def test_the_score_of_two_hunters(hunting, tmp_path):
    for seed in "1", "2":
        assert hunting("deal", tmp_path / seed, "--seed", seed).returncode == 0
    assert len(hunting.score()) == 2 and all(
        one["solved"] is None for one in hunting.score().values()
    )


@pytest.mark.soak
def test_a_repair_counts_and_what_breaks_something_else_does_not(monkeypatch, tmp_path, capsys):
    exhibit = only(monkeypatch, tmp_path, "sequence-with-gaps")
    folder = tmp_path / "mine"
    assert play("deal", folder, capsys)[0] == 0
    status, said = play("check", folder, capsys)
    assert status == 1 and f"Not yet: the check {exhibit.check} does not pass" in said

    place = folder / exhibit.file
    right = Path(ROOT, exhibit.file).read_text()
    broken = right.replace(
        "if key in self.here else 'away'}", "if key in self.here else 'gone'}", 1
    )
    assert exhibit.file.endswith("room.py") and broken != right
    place.write_text(broken)
    status, said = play("check", folder, capsys)
    broken_check = "who"
    assert status == 1 and "Not yet" in said and f"no longer do: {broken_check}" in said

    place.write_text(right)
    status, said = play("check", folder, capsys)
    assert status == 0 and f"Fixed, at try 3. It was `{exhibit.name}`" in said
    assert f" {exhibit.name} " in play("score", folder, capsys)[1]


@pytest.mark.parametrize("exhibit", SCHEDULED, ids=lambda exhibit: exhibit.name)
def test_its_schedule_shows_the_bug_each_time_and_nothing_in_ours(exhibit, tmp_path):
    exhibits.build(exhibit, tmp_path / "tree")
    schedule, workload = schedule_in(exhibit.schedule)
    for number in range(2):
        start = Program(exhibit.command, str(tmp_path / "tree")).start
        run = replay(start, tmp_path / f"bad{number}", workload, schedule)
        assert run.violation and not run.diverged
    run = replay(Program(exhibit.command, str(ROOT)).start, tmp_path / "good", workload, schedule)
    assert not run.violation


def test_a_repair_must_hold_in_every_order(monkeypatch, tmp_path):
    [exhibit] = [one for one in SCHEDULED if one.name == "lock-released-between-check-and-use"]
    monkeypatch.setattr(hunt, "SECONDS", 5.0)
    exhibits.build(exhibit, tmp_path / "tree")
    why, _ = hunt.explored(exhibit, tmp_path / "tree")
    assert "still breaks" in say(why)
    why, tried = hunt.explored(exhibit, ROOT)
    assert not why and "schedules of 2 clients" in say(tried)


def test_races_and_deadlocks_have_schedules():
    assert len(SCHEDULED) >= 10


def told(done, *words):
    assert (
        done.returncode == 2 and done.stderr.startswith("hunt: ") and done.stderr.count("\n") == 1
    ), done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_bad_input(hunting, tmp_path):
    told(hunting("check", tmp_path), "was not dealt by `hunt deal`")
    told(hunting("check", tmp_path / "nowhere"), "was not dealt by `hunt deal`")
    (tmp_path / ".hunt").write_text("x")
    told(hunting("check", tmp_path), "names no bug of this version")
    told(hunting("deal", tmp_path), "is there already")
    assert hunting("deal", tmp_path / "mine", "--seed", "1").returncode == 0
    (tmp_path / "mine/implementations/common/acceptor.py").write_text("def (")
    told(hunting("check", tmp_path / "mine"), "acceptor.py, line 1")
    (tmp_path / "data/grupo/hunt.json").write_text("{")
    told(hunting("score"), "hunt.json", "move it away")


def test_where_the_home_folder_is_not_known_one_line_says_so(homeless):
    told(homeless(sys.executable, "-m", "harness", "hunt", "score"), "home folder is not known")


@pytest.mark.parametrize(
    "damage",
    [
        "[]",
        "null",
        '{"x": 1}',
        '{"x": {}}',
        '{"x": {"dealt": "a", "tries": 0, "solved": null}}',
        '{"x": {"dealt": 1e300, "tries": 0, "solved": null}}',
    ],
)
def test_a_score_that_is_none(hunting, tmp_path, damage):
    (tmp_path / "data/grupo").mkdir(parents=True)
    (tmp_path / "data/grupo/hunt.json").write_text(damage)
    told(hunting("score"), "hunt.json", "move it away")
