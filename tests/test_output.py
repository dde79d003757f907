"""What the commands print, wherever it goes: to a terminal that lacks letters, into a closed pipe, or
to a full disk. And the files that they promise, which come first.
"""

import contextlib
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import psutil
import pytest

from harness import output
from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT
from harness.verdicts import temporary

FULL, CLOSED = "stdout: No space left on device\n", ""
ENTRY = {"address": "127.0.0.1:7000", "name": "ana", "group": "sala é", "last": 5}
# Each prints letters that ASCII lacks, if it can: (its command line, its status at a full disk, and
# at a closed pipe).
COMMANDS = {
    "harness": (["harness", "check", "--list", "--lang", "pt-BR"], 2, 141),
    "help": (["harness", "starter", "--help"], 2, 141),
    "race": (["lab_guide.races.torn", "10"], 2, 141),
    "client": (["implementations.client", "groups", "--groups", "GROUPS"], 1, 1),
    "windows": (["implementations.windows", "--dir", "é"], 1, 1),
    "server": (["implementations.fork", "--help"], 1, 1),
}


def command_line(name, tmp_path):
    """The command line, with a groups file that has an entry."""
    groups = tmp_path / "groups-é"
    groups.write_text(json.dumps(ENTRY) + "\n")
    words = [word.replace("GROUPS", str(groups)) for word in COMMANDS[name][0]]
    return [sys.executable, "-m", *words]


def environment(**more):
    """As a user's: what of Python's settings this test runs with is left out, and so is tmux."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PATH": "/nonexistent", "COLUMNS": "200", **more}


@contextlib.contextmanager
def closed_pipe():
    """A descriptor of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def run(words, stdout=subprocess.PIPE, **env):
    """(exit status, stdout, stderr) of a program."""
    ended = subprocess.run(
        words,
        cwd=ROOT,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    return ended.returncode, ended.stdout, ended.stderr.decode()


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_whose_output_goes_nowhere_says_so_in_a_line_at_most(name, tmp_path):
    words, (_, full, closed) = command_line(name, tmp_path), COMMANDS[name]
    for buffered in {}, {"PYTHONUNBUFFERED": "1"}:
        with open("/dev/full", "wb") as nowhere:
            status, _, said = run(words, nowhere, **buffered)
            assert (status, said.removeprefix("-- ")) == (full, FULL)
    with closed_pipe() as nobody:
        assert run(words, nobody) == (closed, None, CLOSED)


@pytest.mark.long
@pytest.mark.parametrize("name", ["harness", "client", "windows"])
def test_letters_that_the_terminal_lacks_are_escaped(name, tmp_path):
    words = command_line(name, tmp_path)
    status = 1 if name == "windows" else 0  # here it finds no tmux, and says what to type
    there = run(words, PYTHONIOENCODING="utf-8")
    assert there[0] == status and not there[1].isascii() and not there[2]
    for env in (
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ):
        status, shown, said = run(words, **env)
        assert (status, said) == (there[0], "") and b"\\x" in shown.replace(b"\\udcc3", b"\\x")
        assert shown.isascii() and len(shown.splitlines()) == len(there[1].splitlines())


def test_on_a_terminal_too():
    shown, status = pexpect.run(
        f"{sys.executable} -m harness check --list --lang pt-BR",
        cwd=str(ROOT),
        env=environment(PYTHONIOENCODING="ascii"),
        withexitstatus=True,
    )
    assert status == 0 and shown.isascii() and b"in\\xedcio" in shown


def check(*options, **popen):
    """A check of a server, which is started."""
    popen.setdefault("env", os.environ)
    server = [sys.executable, "-m", "implementations.nonblocking"]
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "check", *map(str, options), "--", *server],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )


def test_a_check_that_nobody_reads_ends_as_after_ctrl_c(tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with closed_pipe() as nobody, check("--lab", 1, stdout=nobody, env=env) as run:
        said = run.stderr.read()
    assert (run.returncode, said) == (141, "") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("stdout, status, words", [("closed", 0, CLOSED), ("full", 2, FULL)])
def test_a_check_that_promised_files_goes_on_without_its_stdout(stdout, status, words, tmp_path):
    found = tmp_path / "found.json"
    with (
        closed_pipe() if stdout == "closed" else open("/dev/full", "wb") as place,
        check("--only", "starts", "greets", "--json", found, stdout=place) as run,
    ):
        said = run.stderr.read()
    verdicts = json.loads(found.read_text())["verdicts"]
    assert (run.returncode, said) == (status, words)
    assert [verdict["verdict"] for verdict in verdicts] == ["passed", "passed"]


def test_a_report_for_which_the_disk_is_full_is_told_of_and_the_others_are_written(tmp_path):
    page = tmp_path / "found.html"
    files = "--json", "/dev/full", "--html", page
    with check("--only", "starts", *files, stdout=subprocess.PIPE) as run:
        shown, said = run.communicate()
    assert (run.returncode, said) == (2, "check: /dev/full: No space left on device\n")
    assert "1 passed" in shown and page.read_text().startswith("<!DOCTYPE html>")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    """Also through a link, and without a leftover."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("before")
    link.symlink_to(file)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as a full disk, with EFBIG
    try:
        for path in file, link:
            with pytest.raises(OSError) as refused:
                output.put(path, "x" * 1001)
            assert refused.value.filename == str(path)
        assert file.read_text() == "before"
        output.put(link, "after \udcff")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.iterdir()) == [file, link] and link.is_symlink()
    assert file.read_text() == "after \\udcff"


@pytest.mark.long
def test_the_demo_writes_its_table_before_it_shows_it(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- demo table -->\n<!-- end -->\n")
    words = [sys.executable, "-m", "harness", "demo", "pthread", "--markdown", str(readme)]
    with closed_pipe() as nobody:
        ended = subprocess.run(words, cwd=ROOT, stdout=nobody, stderr=subprocess.PIPE, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, b"") and "| processes |" in readme.read_text()


# -- Temporary folders -----------------------------------------------------------------------------


@pytest.fixture
def place(monkeypatch, tmp_path):
    """The folder of temporary folders."""
    monkeypatch.setattr(temporary.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_next_check_removes_what_a_killed_one_left(place):
    env = {**os.environ, "TMPDIR": str(place)}
    with check("--lab", 8, stdout=subprocess.DEVNULL, env=env) as run:
        wait_until(lambda: len(list(place.glob("grupo-check-*"))) == 2)
        with temporary.TemporaryFolder():
            left = set(place.iterdir())
        assert len(left) == 3, "those of a run that goes on stay"
        children = psutil.Process(run.pid).children(recursive=True)
        os.kill(run.pid, signal.SIGKILL)
    assert not psutil.wait_procs(children, 20)[1]
    assert list(place.glob("grupo-check-*"))
    with temporary.TemporaryFolder() as ours:
        assert list(place.iterdir()) == [ours.path]
    assert not list(place.iterdir())


def test_only_what_a_run_left_over_is_removed(place, tmp_path_factory):
    def folder(name, mark=True, age=0.0):
        made = place / f"grupo-check-{name}"
        made.mkdir()
        (made / "records").mkdir()
        if mark:
            (made / temporary.MARK).touch()
        os.utime(made, (time.time() - age,) * 2)
        return made

    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / temporary.MARK).touch()
    (place / "grupo-check-link").symlink_to(elsewhere)
    folder("killed"), folder("old", mark=False, age=temporary.KEPT + 60)
    (folder("with-a-link") / "link").symlink_to(elsewhere)
    kept = folder("kept", mark=False, age=temporary.KEPT - 60)
    runs = folder("runs", age=temporary.KEPT + 60)
    (place / "grupo-check-file").touch()
    lock = os.open(runs, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    temporary.remove_left_over()
    os.close(lock)
    names = {path.name for path in place.iterdir()}
    assert names == {f"grupo-check-{name}" for name in ("kept", "runs", "link", "file")}
    assert (kept / "records").is_dir() and (elsewhere / temporary.MARK).exists()


def test_the_folders_of_others_are_left_alone(place, monkeypatch):
    theirs = Path(place, "grupo-check-theirs")
    theirs.mkdir()
    (theirs / temporary.MARK).touch()
    monkeypatch.setattr(temporary.os, "getuid", lambda: theirs.stat().st_uid + 1)
    temporary.remove_left_over()
    assert theirs.is_dir()
