"""What `make demo` promises: every step passes on all three servers and nothing stays; a broken
server fails a step of its own.
"""

import os
import re
import shutil
import subprocess
import sys

import pexpect
import psutil
import pytest
from conftest import end_terminal

from harness.demo import BEGIN, END
from harness.driving.deadlines import wait_until
from harness.driving.server import DESIGNS, ROOT

DEMO = ["-m", "harness", "demo"]
LONG = 240  # seconds that a demo may take on a machine that is busy with other tests


@pytest.fixture
def place(tmp_path):
    """Where a demo has its temporary files: by its name in their command lines, all processes of
    the demo are known.
    """
    path = tmp_path / "temporary"
    path.mkdir()
    yield path
    for process in running(path):
        process.kill()


def running(place):
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(place) in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            pass  # ended meanwhile
    return found


def environment(place, **more):
    return {**os.environ, "TMPDIR": str(place), "TERM": "xterm", **more}


def demo(place, *args, **more):
    return subprocess.run(
        [sys.executable, *DEMO, *map(str, args)],
        cwd=ROOT,
        env=environment(place, **more),
        timeout=LONG,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_nothing_left(place):
    assert not running(place)
    assert not list(place.iterdir())


@pytest.mark.long
def test_every_step_passes_and_the_table_goes_where_it_is_wanted(place, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\n{END}\nbehind\n")
    ended = demo(place, "--markdown", readme)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert len(re.findall(r"^ +passed: 12\. ", ended.stdout, re.M)) == 3
    assert "failed" not in ended.stdout
    for design in DESIGNS:
        assert re.search(rf"^== {design} =", ended.stdout, re.M)
    assert re.search(r"nonblocking\W+pthread\W+fork", ended.stdout)
    assert re.search(r"steps passed" + r"\W+12 of 12" * 3, ended.stdout)
    assert re.search(r"processes\W+1\W+1\W+11\b", ended.stdout)
    assert "\x1b" not in ended.stdout, "colours go to terminals only"
    assert max(map(len, ended.stdout.splitlines())) <= 80
    before, table, behind = re.fullmatch(
        rf"(.*{BEGIN}\n)(.*)({END}.*)", readme.read_text(), re.S
    ).groups()
    assert (before, behind) == (f"before\n{BEGIN}\n", f"{END}\nbehind\n")
    assert table.startswith(
        "|  | nonblocking | pthread | fork |\n| --- | ---: | ---: | ---: |\n| steps passed | 12 of "
        "12 |"
    )
    assert_nothing_left(place)


def test_a_broken_server_is_told_by_the_step_that_it_fails(place, tmp_path):
    shutil.copytree(ROOT / "implementations", tmp_path / "tree" / "implementations")
    file = tmp_path / "tree" / "implementations" / "common" / "files.py"
    text, line = file.read_text(), '        self.remove("deleted")\n'
    assert text.count(line) == 1
    file.write_text(text.replace(line, "        pass\n"))
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\nof before\n{END}\n")
    ended = demo(place, "fork", "--markdown", readme, GRUPO_TREE=str(tmp_path / "tree"))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert re.search(
        r"^ +failed: 10\. the owner deletes the group, .*: there is still something in deleted$",
        ended.stdout,
        re.M,
    )
    assert re.search(
        r"The last lines that each saw:\n(.*\n)* +anita \| -- the owner deleted the group",
        ended.stdout,
    )
    assert re.search(r"steps passed\W+9 of 12", ended.stdout)
    assert "failed: fork" in ended.stdout.splitlines()[-1]
    assert readme.read_text() == f"{BEGIN}\nof before\n{END}\n", (
        "the table of a failed demo is not put there"
    )
    assert_nothing_left(place)


@pytest.mark.parametrize("when", ["listening on", ": 5[.] ", "--admit all"])
def test_ctrl_c_ends_it_with_nothing_left(place, when):
    terminal = pexpect.spawn(
        sys.executable,
        [*DEMO, "pthread"],
        cwd=ROOT,
        env=environment(place, NO_COLOR="1"),
        timeout=LONG,
        encoding="utf-8",
        dimensions=(24, 80),
    )
    try:
        terminal.expect(when)
        terminal.sendintr()
        terminal.expect("\nstopped\r\n")
        terminal.expect(pexpect.EOF)
        wait_until(lambda: not terminal.isalive())
        assert terminal.exitstatus == 130
        assert_nothing_left(place)
    finally:
        end_terminal(terminal)


def test_nothing_is_left_when_the_demo_is_killed(place):
    """Its terminals hang up, and all that sat at them ends."""
    with subprocess.Popen(
        [sys.executable, *DEMO, "fork"],
        cwd=ROOT,
        env=environment(place),
        text=True,
        stdout=subprocess.PIPE,
    ) as process:
        for line in process.stdout:
            if line.lstrip().startswith("passed: 4"):
                break
        assert running(place)
        process.kill()
    wait_until(lambda: not running(place))


@pytest.mark.parametrize(
    "content, says",
    [
        ("no such lines\n", "has no line"),
        (f"{END}\n{BEGIN}\n", "has no line"),
        (None, "No such file"),
    ],
)
def test_a_file_without_a_place_for_the_table_is_refused_at_once(place, tmp_path, content, says):
    if content is not None:
        (tmp_path / "README.md").write_text(content)
    ended = demo(place, "--markdown", tmp_path / "README.md")
    assert ended.returncode == 2 and ended.stdout == ""
    assert says in ended.stderr and ended.stderr.count("\n") == 1


def test_an_unknown_design_is_refused(place):
    ended = demo(place, "threads")
    assert ended.returncode == 2 and "threads is none of nonblocking, pthread, fork" in ended.stderr
