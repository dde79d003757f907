"""What a hostile program tries in order to raise its own mark, or to spoil another's: none of it
changes a verdict.

Each is one that worked before. What only another user or a sandbox can stop is said in
lab_guide/instructor.md.
"""

import importlib.util
import json
import marshal
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from test_check_hostile import mild

from harness.driving.server import ROOT

pytestmark = pytest.mark.long


def check(folder, script, *only, cwd=ROOT, tree=ROOT, **popen):
    """({check: verdict}, exit status, what was shown) of a check of this Python script; the folder
    holds all that is written.
    """
    folder.mkdir(exist_ok=True)
    server = folder / "server.py"
    server.write_text(textwrap.dedent(script))
    popen.setdefault("env", {**os.environ, "PYTHONPATH": str(tree)})
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "harness",
            "check",
            "--records",
            folder / "run",
            "--json",
            folder / "found.json",
            "--deadline",
            "5",
            *(["--only", *only] if only else []),
            "--",
            sys.executable,
            server,
        ],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        **popen,
    )
    assert (folder / "found.json").exists(), done.stdout + done.stderr
    found = json.loads((folder / "found.json").read_text())
    return (
        {verdict["check"]: verdict for verdict in found["verdicts"]},
        done.returncode,
        done.stdout + done.stderr,
    )


@pytest.mark.parametrize(
    "name, more",
    [
        ("verdicts/model", "FAILED = PASSED"),
        ("checks/conftest", "from harness.verdicts import plugin; plugin.FAILED = 'passed'"),
    ],
)
def test_bytecode_that_was_planted_in_the_tree_is_not_run(name, more, tmp_path):
    """With the time and the size of the source, as Python would believe it."""
    tree = tmp_path / "tree"
    for folder in "harness", "implementations", "lab_guide":
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    source = tree / f"harness/{name}.py"
    was = source.stat()
    code = compile(source.read_text() + f"\nprint('that code ran')\n{more}\n", str(source), "exec")
    place = Path(importlib.util.cache_from_source(str(source)))
    place.parent.mkdir()
    place.write_bytes(
        importlib.util.MAGIC_NUMBER
        + (0).to_bytes(4, "little")
        + int(was.st_mtime).to_bytes(4, "little")
        + (was.st_size & 0xFFFFFFFF).to_bytes(4, "little")
        + marshal.dumps(code)
    )
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, 'harness/{name}'.rpartition('/')[0]); import "
            f"{Path(name).name}",
        ],
        cwd=tree,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tree)},
    )
    assert loaded.stdout == "that code ran\n", (
        loaded.stderr + "the bytecode is none that Python believes, so this test tries nothing"
    )
    found, status, shown = check(tmp_path / "one", "pass", "starts", cwd=tree, tree=tree)
    assert (found["starts"]["verdict"], status) == ("failed", 1) and "that code ran" not in shown


def test_other_modules_are_imported_as_ever(tmp_path):
    """Their bytecode saves time, and they are not the harness's."""
    (tmp_path / "other.py").write_text("")
    script = (
        f"from harness import sources; import sys; sys.path.append({str(tmp_path)!r}); from "
        f"harness.verdicts import model; import json, other; "
        "print(*(type(one.__loader__).__name__ for one in (model, json, other)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "FromSource SourceFileLoader SourceFileLoader\n", done.stderr


def test_a_verdict_that_the_server_writes_counts_for_nothing(tmp_path):
    """It writes one into every folder that may hold the run's, and kills the process that checks
    it.
    """
    forged = json.dumps(
        {
            "check": "greets",
            "stage": "framing",
            "title": "x",
            "verdict": "passed",
            "points": 200,
            "lab": 0,
            "binds": True,
            "hidden": False,
            "seconds": 1,
            "runs": 1,
            "why": "",
            "failure": None,
            "record": "greets.record",
        }
    )
    talk = (
        f"[open(os.path.join({str(tmp_path / 'one' / 'run')!r}, name), 'w').write({forged!r}) for "
        f"name in ('greets.json', 'greets.record')]; "
        "os.kill(os.getppid(), signal.SIGKILL)"
    )
    found, status, shown = check(
        tmp_path / "one", mild(talk=talk), "starts", "greets", "answers-ping"
    )
    assert found["starts"]["verdict"] == "passed" and found["answers-ping"]["verdict"] in (
        "harness fault",
        "not run",
    )
    assert (
        sum(verdict["points"] for verdict in found.values() if verdict["verdict"] == "passed") <= 4
        and status == 3
    ), shown


def test_a_killed_check_delays_no_other(tmp_path):
    """Every stage needs the one whose process is killed: they are not run, at once."""
    found, status, shown = check(
        tmp_path / "one", mild(talk="os.kill(os.getppid(), signal.SIGKILL)")
    )
    kinds = {
        verdict["verdict"]
        for name, verdict in found.items()
        if name not in ("starts", "greets", "takes-requests", "answers-ping")
    }
    assert kinds == {"not run"} and status == 3, shown


def test_the_environment_tells_nothing(tmp_path):
    """Neither which check runs, nor a token; and the folder's name does not tell it either."""
    dump = f"open({str(tmp_path / 'seen')!r}, 'a').write(repr((dict(os.environ), sys.argv)))"
    _, _, shown = check(
        tmp_path / "one",
        mild(before=dump),
        "starts",
        "greets",
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "GITHUB_TOKEN": "t0ken",
            "PYTEST_ADDOPTS": "-q",
            "PYTEST_DEBUG": "1",
        },
    )
    assert "[hook]" not in shown, "what pytest shows of itself"
    seen = (tmp_path / "seen").read_text()
    assert "PATH" in seen and not any(
        word in seen for word in ("PYTEST", "t0ken", "GITHUB", "check_", "greets", "starts")
    )


@pytest.mark.parametrize(
    "name", ["pytest", "json", "conftest", "sitecustomize", "psutil", "argparse"]
)
def test_a_module_in_the_current_folder_shadows_none(tmp_path, name):
    """`python -m harness` from a folder of a student's: here a module of this name says that
    everything passed.
    """
    planted = tmp_path / "here"
    planted.mkdir()
    (planted / f"{name}.py").write_text("import os\nos.write(1, b'all passed\\n')\nos._exit(0)\n")
    found, status, shown = check(tmp_path / "one", "pass", "starts", cwd=planted)
    assert (found["starts"]["verdict"], status) == ("failed", 1) and "all passed" not in shown


LOOKS = """
import ctypes, os, sys
from harness.verdicts import pool
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    ctypes.CDLL(None).prctl(pool.PR_SET_DUMPABLE, 1)        # as a process is that was another's from its beginning
def looks():
    if os.fork() == 0:
        for what in "cwd", "environ", "fd", "mem":
            path = f"/proc/{os.getppid()}/{what}"
            try:
                os.readlink(path) if what == "cwd" else os.listdir(path) if what == "fd" else os.open(path, os.O_RDONLY)
                print("open", end=" ", flush=True)
            except OSError:
                print("closed", end=" ", flush=True)
        os._exit(0)
    os.wait()
looks()
pool.hide()
looks()
"""


def test_the_check_s_own_process_is_closed_to_others_of_its_user():
    """Its working folder (where a right server may lie), its environment, its memory and its
    descriptors, one of which takes the verdict.
    """
    done = subprocess.run([sys.executable, "-c", LOOKS], cwd=ROOT, capture_output=True, text=True)
    first, second = done.stdout.split()[:4], done.stdout.split()[4:]
    assert "open" in first and second == ["closed"] * 4, done.stdout + done.stderr


def test_results_of_an_earlier_run_are_gone_whatever_happens(tmp_path):
    """The harness gets a missing path or a wrong option: last week's grade does not stay."""
    nonsense = [
        [*words, "--", "/bin/false"]
        for words in (
            ["--rubric", tmp_path / "none"],
            ["--only", "no-such-check"],
            ["--in", tmp_path / "nowhere"],
            ["--html", tmp_path / "nowhere" / "page.html"],
        )
    ]
    for words in [], *nonsense:
        (tmp_path / "old.json").write_text('{"score": 100}')
        done = subprocess.run(
            [sys.executable, "-m", "harness", "check", "--json", tmp_path / "old.json", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 2 and not list(tmp_path.iterdir()), done.stdout + done.stderr
