"""The check's command: what an instructor's rubric and --only may name, one line for what they may
not, and in which order checks are done.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.__main__ import parse
from harness.driving.server import ROOT
from harness.verdicts import catalogue, command, plugin, rubric
from harness.verdicts.catalogue import CHECKS
from harness.verdicts.model import Report, Verdict


def misuse(*options, server=("--", "/bin/false")):
    """(exit status, stdout, stderr) of a check that must not begin."""
    ended = subprocess.run(
        [sys.executable, "-m", "harness", "check", *options, *server],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_all_checks_are_known():
    known = command.known()
    assert len(known) == len(set(known)) > 100 and {
        "starts",
        "one-order",
        "without-a-terminal",
    } <= set(known)


@pytest.mark.parametrize(
    "text, why",
    [
        ("[points]\none-odrer = 2", "there is no check one-odrer (close: one-order)"),
        (
            "hidden = ['sigterm-ends-in-ordre']",
            "there is no check sigterm-ends-in-ordre (close: sigterm-ends-in-order, ",
        ),
        ("[points]\nqqqqq = 2", "there is no check qqqqq; `check --list` shows them all"),
        ("[points]\nsegment = 2", "there is no check segment (close: lines-in-one-segment"),
        ("[points]\nOne_Order = 2", "there is no check One_Order (close: one-order"),
        ("hidden = ['crowd']", "crowd is a stage, and points and hidden go by check"),
        ("[points]\nfaults = 2", "faults is a stage, and points and hidden go by check"),
        ("[point]\nstarts = 2", "there is no setting point (close: points)"),
        ("others = -1", "points of others: -1 is no number, 0 or more"),
        ("[by-hand]\nwrite-up = '20'", "points of write-up: '20' is no number, 0 or more"),
        ("by-hand = 30", "by-hand is a table: a column and its points in each line"),
        ("breaks-nothing = 10", "breaks-nothing is a table: points, and a list of checks, except"),
        ("[breaks-nothing]\npoint = 10", "there is no setting point (close: points)"),
        ("[breaks-nothing]\nexcept = 'ban'", "except is a list of checks"),
        (
            "[breaks-nothing]\nexcept = ['one-odrer']",
            "there is no check one-odrer (close: one-order)",
        ),
        ("[points]\nstarts = -1", "points of starts: -1 is no number, 0 or more"),
        ("[points]\nstarts = 'two'", "points of starts: 'two' is no number, 0 or more"),
        ("[points]\nstarts = true", "points of starts: True is no number, 0 or more"),
        ("[points]\nstarts = nan", "points of starts: nan is no number, 0 or more"),
        ("[points]\nstarts = inf", "points of starts: inf is no number, 0 or more"),
        ("points = 3", "points is a table: a check and its points in each line"),
        ("hidden = 'starts'", "hidden is a list of checks"),
        ("hidden = [1]", "hidden is a list of checks"),
    ],
)
def test_a_rubric_that_is_wrong_is_refused_in_one_line(tmp_path, text, why):
    (tmp_path / "rubric.toml").write_text(text)
    with pytest.raises(command.UsageError) as refused:
        rubric.read(tmp_path / "rubric.toml")
    assert str(refused.value).removeprefix(f"{tmp_path}/rubric.toml: ").startswith(
        why
    ) and "\n" not in str(refused.value)


def test_a_rubric_that_is_right(tmp_path):
    (tmp_path / "rubric.toml").write_text(
        'hidden = ["starts"]\n[points]\none-order = 2.5\nwithout-a-terminal = 0\n'
    )
    assert rubric.read(tmp_path / "rubric.toml") == rubric.Rubric(
        {"one-order": 2.5, "without-a-terminal": 0}, {"starts"}
    )
    assert rubric.read(None) == rubric.Rubric()


def test_a_rubric_is_utf_8_with_or_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "rubric.toml"
    text = '# não\r\nhidden = ["starts"]\r\n'
    path.write_text(text, encoding="utf-8-sig", newline="")
    assert rubric.read(path) == rubric.Rubric({}, {"starts"})
    for encoding, why in (
        ("utf-16", "the text is UTF-16: save it as UTF-8"),
        ("utf-16-be", "the text is UTF-16: save it as UTF-8"),
        ("utf-32", "the text is UTF-32: save it as UTF-8"),
        ("latin-1", "line 1 is not UTF-8 (byte 0xe3): save it as UTF-8"),
    ):
        path.write_text(text, encoding=encoding)
        assert misuse("--rubric", path) == (2, "", f"check: {path}: {why}\n")


def test_what_is_misspelt_is_told_on_the_command_line(tmp_path):
    (tmp_path / "rubric.toml").write_text("hidden = ['one-odrer']")
    for options, why in (
        (["--only", "one-odrer"], "check: there is no check one-odrer (close: one-order)\n"),
        (
            ["--rubric", tmp_path / "rubric.toml"],
            f"check: {tmp_path}/rubric.toml: there is no check one-odrer (close: one-order)\n",
        ),
        (["--rubric", tmp_path / "none"], f"check: {tmp_path}/none: No such file or directory\n"),
    ):
        assert misuse(*options) == (2, "", why)


@pytest.mark.parametrize(
    "line, only, server",
    [
        ("--only starts pthread", ["starts"], ["pthread"]),
        ("--only starts greets fork --seed 3", ["starts", "greets"], ["fork"]),
        ("--only starts --only greets pthread", ["starts", "greets"], ["pthread"]),
        ("pthread --only starts --only greets", ["starts", "greets"], ["pthread"]),
        ("--only starts -- ./server --flag", ["starts"], ["./server", "--flag"]),
        ("--only starts pthread -- ./server", ["starts", "pthread"], ["./server"]),
        ("--lab 3 pthread --seed x", None, ["pthread"]),
        ("--seed x -- ./server pthread", None, ["./server", "pthread"]),
    ],
)
def test_which_words_are_checks_and_which_the_server(line, only, server):
    options = parse(["check", *line.split(" ")])
    command.take_server(options)
    assert (options.only, options.server) == (only, server)


@pytest.mark.parametrize(
    "options, why",
    [
        ((), "no server is named"),
        (("--only", "starts"), "no server is named"),
        (("--only", "starts", "./server"), "no server is named"),
        (("--only", "pthread"), "no check is named after --only"),
    ],
)
def test_a_server_that_is_not_named_is_told_in_one_line(options, why):
    status, shown, says = misuse(*options, server=())
    assert (
        (status, shown, says.count("\n")) == (2, "", 1)
        and says.startswith(f"check: {why}: ")
        and "check --only starts greets -- ./my_server" in says
    )


def test_the_list_shows_every_check_by_stage():
    status, shown, says = misuse("--list", "--design", "fork", "--lang", "en", server=())
    heads = [line for line in shown.split("\n") if line and not line.startswith(" ")]
    rows = [
        re.fullmatch(r"  (\S+) +lab (\d) +([\d.]+) points?  (\S.*)", line)
        for line in shown.split("\n")
        if line.startswith(" ")
    ]
    asked = [check for check in catalogue.catalogue() if check.design in (None, "fork")]
    assert (status, says, heads) == (0, "", list(plugin.STAGES)) and all(rows)
    assert [(row[1], int(row[2]), float(row[3]), row[4]) for row in rows] == [
        (check.id, check.lab, check.points, check.title) for check in asked
    ]
    status, shown, _ = misuse("--list", "--lab", "0", "--lang", "en", server=())
    assert status == 0 and "  greets " in shown and " lab 1 " not in shown


def test_the_catalogue_is_what_pytest_collects():
    """Read from the sources, it knows what the decorators say, and how often a check is done."""
    for path in sorted(CHECKS.glob("check_*.py")):
        tree = ast.parse(path.read_text())
        calls = {
            node.name: ast.unparse(
                node.decorator_list[-1]
                if "check(" in ast.unparse(node.decorator_list[-1])
                else node.decorator_list[0]
            )
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
        }
        for name, call in calls.items():
            found = next(
                check
                for check in catalogue.catalogue()
                if check.id == name.removeprefix("check_").replace("_", "-")
            )
            declared = eval(
                call,
                {
                    "check": lambda points=1, lab=1, design=None, rules="": (points, lab, design),
                    "pytest": SimpleNamespace(
                        mark=SimpleNamespace(parametrize=lambda *_, **__: None)
                    ),
                },
            )
            assert (found.points, found.lab, found.design) == declared, name
    assert catalogue.possible(0, None, {}) == sum(
        check.points for check in catalogue.catalogue() if check.lab == 0
    )
    assert (
        catalogue.possible(8, None, {"without-a-terminal": 10})
        - catalogue.possible(8, None, {"without-a-terminal": 0})
        == 20
    )
    assert (
        catalogue.place("starts")
        == 0
        < catalogue.place("greets")
        < catalogue.place("without-a-terminal[closed]")
        < catalogue.place("nothing")
    )


@pytest.mark.parametrize(
    "options, why",
    [
        (["--json", "/no/such/folder/x"], "/no/such/folder/x: No such file or directory"),
        (["--html", "/tmp"], "/tmp: Is a directory"),
        (["--records", "/dev/null"], "/dev/null: File exists"),
        (["--repeat", "0"], "argument --repeat: 0 is not a whole number of at least 1"),
        (["--workers", "-1"], "argument --workers: -1 is not a whole number of at least 1"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_run(options, why):
    status, shown, says = misuse(*options)
    assert (status, shown) == (2, "") and says.splitlines()[-1].endswith(why), says


@pytest.mark.parametrize(
    "left_out",
    [
        (),
        ("crowd",),
        ("owner", "files", "peers", "processes", "faults"),
        [stage for stage in plugin.STAGES if stage != "crowd"],
    ],
)
def test_the_crowd_is_spread_over_what_comes_after_the_conversation(left_out):
    before = [
        SimpleNamespace(path=Path(f"check_{stage}.py"), number=number)
        for stage in plugin.STAGES
        if stage not in left_out
        for number in range(7)
    ]
    after = list(before)
    plugin.spread(after)
    for is_crowd in False, True:
        assert [item for item in after if ("crowd" in item.path.stem) is is_crowd] == [
            item for item in before if ("crowd" in item.path.stem) is is_crowd
        ]
    if not left_out:
        shape = "".join("C" if "crowd" in item.path.stem else "." for item in after)
        assert shape == 28 * "." + 7 * "C......."


def test_of_records_that_nobody_asked_for_only_those_of_what_did_not_pass_stay(tmp_path):
    def records(*words):
        """A folder of records, and the Report of checks that ended so."""
        folder = tmp_path / "-".join(words)
        (folder / "server-1").mkdir(parents=True)
        for name in (
            "settings",
            *(
                f"check-{place}[a].{ending}"
                for place in range(len(words))
                for ending in ("json", "record")
            ),
        ):
            (folder / name).touch()
        verdicts = [
            Verdict(f"check-{place}[a]", "start", "", word, 1, record=f"check-{place}[a].record")
            for place, word in enumerate(words)
        ]
        return folder, Report(["x"], None, 0, "1", "", "", str(folder), verdicts=verdicts)

    folder, report = records("passed", "failed", "harness fault", "inconclusive", "passed")
    command.tidy(report)
    assert sorted(path.name for path in folder.iterdir()) == [
        f"check-{place}[a].{ending}" for place in (1, 2, 3) for ending in ("json", "record")
    ]
    assert [bool(verdict.record) for verdict in report.verdicts] == [
        False,
        True,
        True,
        True,
        False,
    ] and report.folder == str(folder)
    folder, report = records("passed", "passed")
    report.verdicts[1].verdict, report.verdicts[1].binds = "not run", False
    command.tidy(report)
    assert not folder.exists() and report.folder == ""


@pytest.mark.parametrize("check, status, left", [("greets", 0, 0), ("starts", 1, 1)])
def test_a_run_leaves_in_the_temporary_folder_only_what_tells_of_a_failure(
    check, status, left, tmp_path
):
    server = [sys.executable, "-m", "implementations.nonblocking"] if not status else ["/bin/false"]
    ended = subprocess.run(
        [sys.executable, "-m", "harness", "check", "--only", check, "--", *server],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert ended.returncode == status, ended.stdout + ended.stderr
    assert len(list(tmp_path.glob("grupo-check-*"))) == left and (
        "The records of this run: " in ended.stdout
    ) is bool(left)
    (tmp_path / "kept").mkdir()
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "harness",
            "check",
            "--only",
            check,
            "--records",
            tmp_path / "kept",
            "--",
            *server,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (
        tmp_path / "kept" / f"{check}.record"
    ).exists() and f"The records of this run: {tmp_path}/kept" in ended.stdout
