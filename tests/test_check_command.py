"""The check's command: what an instructor's rubric and --only may name, one line for what they may not, and in which order checks are done."""
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.server import ROOT
from harness.verdicts import command, plugin


def misuse(*options):
    """(exit status, stdout, stderr) of a check that must not begin."""
    ended = subprocess.run([sys.executable, "-m", "harness", "check", *options, "--", "/bin/false"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr


def test_all_checks_are_known():
    known = command.known()
    assert len(known) == len(set(known)) > 100 and {"starts", "one-order", "without-a-terminal"} <= set(known)


@pytest.mark.parametrize("text, why", [
    ("[points]\none-odrer = 2", "there is no check one-odrer (close: one-order)"),
    ("hidden = ['sigterm-ends-in-ordre']", "there is no check sigterm-ends-in-ordre (close: sigterm-ends-in-order, sigint-ends-in-order)"),
    ("[points]\nqqqqq = 2", "there is no check qqqqq"),
    ("hidden = ['crowd']", "crowd is a stage, and points and hidden go by check"),
    ("[points]\nfaults = 2", "faults is a stage, and points and hidden go by check"),
    ("[point]\nstarts = 2", "there is no setting point (close: points)"),
    ("[points]\nstarts = -1", "points of starts: -1 is no number, 0 or more"),
    ("[points]\nstarts = 'two'", "points of starts: 'two' is no number, 0 or more"),
    ("[points]\nstarts = true", "points of starts: True is no number, 0 or more"),
    ("[points]\nstarts = nan", "points of starts: nan is no number, 0 or more"),
    ("[points]\nstarts = inf", "points of starts: inf is no number, 0 or more"),
    ("points = 3", "points is a table: a check and its points in each line"),
    ("hidden = 'starts'", "hidden is a list of checks"),
    ("hidden = [1]", "hidden is a list of checks"),
])
def test_a_rubric_that_is_wrong_is_refused_in_one_line(tmp_path, text, why):
    (tmp_path / "rubric.toml").write_text(text)
    with pytest.raises(command.Misuse) as refused:
        command.read_rubric(tmp_path / "rubric.toml")
    assert str(refused.value).removeprefix(f"{tmp_path}/rubric.toml: ").startswith(why) and "\n" not in str(refused.value)


def test_a_rubric_that_is_right(tmp_path):
    (tmp_path / "rubric.toml").write_text('hidden = ["starts"]\n[points]\none-order = 2.5\nwithout-a-terminal = 0\n')
    assert command.read_rubric(tmp_path / "rubric.toml") == ({"one-order": 2.5, "without-a-terminal": 0}, {"starts"})
    assert command.read_rubric(None) == ({}, set())


def test_what_is_misspelt_is_told_on_the_command_line(tmp_path):
    (tmp_path / "rubric.toml").write_text("hidden = ['one-odrer']")
    for options, why in ((["--only", "one-odrer"], "check: there is no check one-odrer (close: one-order)\n"),
                         (["--rubric", tmp_path / "rubric.toml"], f"check: {tmp_path}/rubric.toml: there is no check one-odrer (close: one-order)\n"),
                         (["--rubric", tmp_path / "none"], f"check: {tmp_path}/none: No such file or directory\n")):
        assert misuse(*options) == (2, "", why)


@pytest.mark.parametrize("options, why", [
    (["--json", "/no/such/folder/x"], "/no/such/folder/x: No such file or directory"), (["--html", "/tmp"], "/tmp: Is a directory"),
    (["--records", "/dev/null"], "/dev/null: File exists"), (["--repeat", "0"], "argument --repeat: 0 is no whole number from 1 on"),
    (["--workers", "-1"], "argument --workers: -1 is no whole number from 1 on")])
def test_what_cannot_be_used_is_refused_before_anything_is_run(options, why):
    status, shown, says = misuse(*options)
    assert (status, shown) == (2, "") and says.splitlines()[-1].endswith(why), says


@pytest.mark.parametrize("left_out", [(), ("crowd",), ("owner", "files", "peers", "processes", "faults"), [stage for stage in plugin.STAGES if stage != "crowd"]])
def test_the_crowd_is_spread_over_what_comes_after_the_conversation(left_out):
    before = [SimpleNamespace(path=Path(f"check_{stage}.py"), number=number) for stage in plugin.STAGES if stage not in left_out for number in range(7)]
    after = list(before)
    plugin.spread(after)
    for is_crowd in False, True:
        assert [item for item in after if ("crowd" in item.path.stem) is is_crowd] == [item for item in before if ("crowd" in item.path.stem) is is_crowd]
    if not left_out:
        shape = "".join("C" if "crowd" in item.path.stem else "." for item in after)
        assert shape == 28 * "." + 7 * "C....."
