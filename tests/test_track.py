"""The track "build": each stage's solution passes what the stage asks, a learner's own file goes
from stage to stage, and random dialogues keep to what an unfinished server knows.
"""

import io
import json
import random
import subprocess
import sys
import zipfile

import pytest
from conftest import need

from harness.driving.server import ROOT
from harness.model.generate import GOOD, Author
from harness.teaching import kit, track
from harness.verdicts.catalogue import catalogue
from harness.verdicts.model import PASSED, UsageError

SOLUTIONS = ROOT / "tests" / "build"
STAGES = track.numbers()
SIDE_BY_SIDE = 4  # the last of the stages with a file of its own


def run(*words, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def judged(folder, stage, found, *words):
    """{check: its verdict}, and the run itself."""
    done = run("lab", folder, "--stage", stage, "--json", found, "--deadline", 6, *words)
    assert found.exists(), done.stdout + done.stderr
    report = json.loads(found.read_text())
    return {one["check"]: one["verdict"] for one in report["verdicts"]}, report, done


@pytest.mark.long
@pytest.mark.parametrize("number", STAGES)
def test_a_solution_passes_its_stage(number, tmp_path):
    stage = track.read(number)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / stage.name).write_bytes((SOLUTIONS / f"{number}.py").read_bytes())
    asked, only = set(track.asked(stage).checks), []
    if number > SIDE_BY_SIDE:  # it has passed the others as the file of stage 2, and is longer now
        asked = {*stage.checks, "any-dialogue"}
        only = ["--only", *asked]
    found, report, done = judged(folder, number, tmp_path / "found.json", "--repeat", 1, *only)
    assert {check.partition("[")[0] for check in found} == asked
    assert set(found.values()) == {PASSED}, done.stdout
    assert (report["track"], report["lab"], done.returncode) == ("build", number, 0)
    assert f"Stage {number}: " in done.stdout


IN_C = [number for number in STAGES if (SOLUTIONS / f"{number}.c").exists()]


@pytest.mark.long
@pytest.mark.parametrize("number", IN_C)
def test_a_solution_in_c_passes_its_stage(number, tmp_path):
    need("cc")
    stage = track.read(number, "c")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / stage.name).write_bytes((SOLUTIONS / f"{number}.c").read_bytes())
    found, _, done = judged(folder, number, tmp_path / "found.json", "--repeat", 1)
    assert {check.partition("[")[0] for check in found} == set(track.asked(stage).checks)
    assert set(found.values()) == {PASSED}, done.stdout
    assert "warning" not in done.stderr


@pytest.mark.parametrize("number", range(SIDE_BY_SIDE + 1))
def test_a_solution_is_short(number):
    assert len((SOLUTIONS / f"{number}.py").read_text().splitlines()) < 300


@pytest.mark.parametrize("number", STAGES)
def test_a_stage_asks_known_checks_each_for_the_first_time(number):
    known = {check.id for check in catalogue()}
    stage = track.read(number)
    before = {check for earlier in range(number) for check in track.read(earlier).checks}
    assert set(stage.checks) <= known and len(set(stage.checks)) == len(stage.checks)
    assert not before & set(stage.checks) and set(stage.rests) <= before
    assert set(stage.requests) <= {*GOOD, "QUIT", "LEAVE"}


def test_a_learner_keeps_their_file_from_stage_to_stage(tmp_path):
    folder = tmp_path / "mine"
    assert "is empty" in run("starter", "--track", "build", 0, folder).stdout
    (folder / "server.py").write_text("mine\n")
    done = run("starter", "--track", "build", 1, folder)
    assert done.returncode == 0 and "Your server.py is kept as it is" in done.stdout
    assert (folder / "server.py").read_text() == "mine\n"
    assert "STAGE  ?= 1#" in (folder / "Makefile").read_text()
    assert "Stage 1" in (folder / "README.md").read_text()


def test_the_three_files_stand_side_by_side(tmp_path):
    """Stages 3 and 4 begin with a copy of the learner's server, and leave what is there alone."""
    (tmp_path / "server.py").write_text("mine\n")
    for number, name in (3, "threads.py"), (4, "processes.py"):
        done = run("starter", "--track", "build", number, tmp_path)
        assert f"Your {name} is a copy of your server.py" in done.stdout
        assert (tmp_path / name).read_text() == "mine\n"
        (tmp_path / name).write_text("changed\n")
        assert "is kept as it is" in run("starter", "--track", "build", number, tmp_path).stdout
        assert (tmp_path / name).read_text() == "changed\n"


@pytest.mark.long
@pytest.mark.parametrize(
    "number, lock, check",
    [
        pytest.param(3, "with self.lock:", "one-order", id="no lock"),
        pytest.param(4, "os.waitpid(client.pid, 0)", "no-zombies", id="no wait for a child"),
    ],
)
def test_a_stage_finds_what_it_is_about(number, lock, check, tmp_path):
    stage, text = track.read(number), (SOLUTIONS / f"{number}.py").read_text()
    assert lock in text
    (tmp_path / stage.name).write_text(text.replace(lock, "if True:" if ":" in lock else "pass"))
    found, _, done = judged(tmp_path, number, tmp_path / "found.json", "--only", check)
    assert found == {check: "failed"}, done.stdout


@pytest.mark.parametrize("number, check", [(3, "a-thread-each"), (4, "a-process-each")])
def test_a_copy_of_the_loop_is_not_the_next_stage(number, check, tmp_path):
    stage = track.read(number)
    (tmp_path / stage.name).write_bytes((SOLUTIONS / "2.py").read_bytes())
    found, _, done = judged(tmp_path, number, tmp_path / "found.json", "--only", check)
    assert found == {check: "failed"}, done.stdout


def test_a_learner_keeps_their_language(tmp_path):
    folder = tmp_path / "mine"
    assert run("starter", "--track", "build", 0, folder, "--language", "c").returncode == 0
    assert "Your server.c is kept" in run("starter", "--track", "build", 1, folder).stdout
    assert not (folder / "server.py").exists()


def test_a_later_stage_needs_a_file_of_the_learners(tmp_path):
    done = run("starter", "--track", "build", 2, tmp_path / "new")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "has no server.py" in done.stderr and not (tmp_path / "new").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work\n")
    done = run("starter", "--track", "build", 0, tmp_path)
    assert done.returncode == 2 and "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_stage_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="has no stage 9"):
        track.read(9)


def test_an_empty_file_fails_at_the_start_and_says_so(tmp_path):
    run("starter", "--track", "build", 0, tmp_path / "mine")
    found, _, done = judged(tmp_path / "mine", 0, tmp_path / "found.json")
    assert found == {"starts": "failed", "greets": "not run"}
    assert "begin with `starts`: make check ONLY=starts" in done.stdout
    assert "make check STAGE=0 FILE=server SEED=" in done.stdout


def test_a_missing_or_broken_file_is_one_line(tmp_path):
    for text, words in (None, "server.py is missing"), ("def\n", "server.py, line 1"):
        if text is not None:
            (tmp_path / "server.py").write_text(text)
        found, report, done = judged(tmp_path, 0, tmp_path / "found.json")
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
        assert (found, report["score"], report["most"]) == ({}, 0, 4)


def test_one_file_of_c_is_compiled_under_its_own_name(tmp_path):
    need("cc")
    run("starter", "--track", "build", 0, tmp_path / "mine", "--language", "c")
    (tmp_path / "mine/server.c").rename(tmp_path / "mine/threads.c")
    (tmp_path / "mine/threads.c").write_text("int main(void) { return 0; }\n")
    done = run("lab", tmp_path / "mine", "--stage", 0, "--file", "threads", "--only", "starts")
    assert done.returncode == 1 and "starts" in done.stdout
    assert (tmp_path / "mine/threads").exists() and not (tmp_path / "mine/server").exists()


def test_dialogues_keep_to_the_requests_that_a_server_knows():
    author = Author(random.Random("1"), requests=("PING", "PONG", "QUIT", "JOIN", "SAY"))
    said, joins = set(), set()
    for _ in range(300):
        dialogue = author.dialogue()
        assert {act.who for act in dialogue.opening} <= set(author.people)
        for act in dialogue.acts:
            assert act.who not in ("owner", "server") and act.what not in ("closes", "resets")
            if act.what == "sends":
                said |= {line.partition(" ")[0] for line in act.text.split("\n")}
                joins |= {line for line in act.text.split("\n") if line.startswith("JOIN ")}
    assert {"SAY", "PING", "QUIT", "say"} <= said
    assert not said & {"WHO", "NAME", "HISTORY", "LEAVE"}
    assert not any(line.endswith("secret-of-ana") for line in joins)


@pytest.mark.long
def test_a_students_kit_has_no_solution():
    with zipfile.ZipFile(io.BytesIO(kit.kit(2, "python"))) as packed:
        names = packed.namelist()
        texts = [packed.read(name).decode(errors="replace") for name in names]
    assert names and not [name for name in names if "tests/" in name]
    telling = "def close_all_but_mine(self, mine):", "def tell_who_went(self):"
    assert not [line for line in telling if any(line in text for text in texts)]
    for line in telling:  # they are lines of solutions
        assert any(line in path.read_text() for path in SOLUTIONS.glob("*.py"))
