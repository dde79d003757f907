"""`python -m lab_guide.races.force` says what it waits for, names a deadlock, shows the server's
stderr, and leaves no server behind.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from harness.driving import deadlines
from harness.driving.server import ROOT

HANDLE = """
        with self.lock:
            if batch[0][0] is not self.owner:  # the owner's orders wait for nobody
                self.line.wait_in_turn()
"""
IF_NAME = "if any(type(one).__name__ == 'Rename' for _, requests in batch for one in requests)"
# seconds: less than half of what it took when a deadlock was not seen, on a busy machine too
SOON = 40


@pytest.fixture
def design():
    """Each test here names its own."""


def mutant(folder, handle):
    """A folder with servers in which pthread.py's hand_over() begins otherwise."""
    shutil.copytree(
        ROOT / "implementations",
        folder / "implementations",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    place = folder / "implementations" / "pthread.py"
    text = place.read_text(encoding="utf-8")
    assert text.count(HANDLE) == 1
    place.write_text(text.replace(HANDLE, handle), encoding="utf-8")
    return folder


def force(*words, seconds=90):
    """(exit status, stdout, stderr, seconds) of the command."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "lab_guide.races.force", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    return done.returncode, done.stdout, done.stderr, time.monotonic() - began


def test_the_holder_that_takes_the_lock_again_is_named(tmp_path):
    folder = mutant(
        tmp_path / "tree", f"\n        {IF_NAME}:\n            self.lock.acquire()" + HANDLE
    )
    status, out, err, seconds = force(folder, "ana:read ana:write")
    assert re.search(
        r"(ana|ben) waits for the lock 'room', which it holds itself: the holder takes the lock "
        r"again; a deadlock",
        out,
    ), out + err
    assert "The program is deadlocked" in out and "Impossible" not in out and status == 1
    assert seconds < SOON


def test_a_deadlock_before_the_schedule_is_named_at_once(tmp_path):
    status, out, err, seconds = force(
        mutant(tmp_path / "tree", "\n        self.lock.acquire()" + HANDLE)
    )
    assert (
        "ana waits for the lock 'room', which it holds itself: the holder takes the lock again"
        in err
    ), out + err
    assert "try 2" not in err and status == 1
    assert seconds < SOON


def test_a_thread_that_ended_with_the_lock_is_named(tmp_path):
    handle = (
        f"\n        {IF_NAME}:\n            self.lock.acquire()\n            raise RuntimeError('a "
        f"bug of my own')" + HANDLE
    )
    status, out, err, seconds = force(mutant(tmp_path / "tree", handle), "ana:E.lock.wait ben:read")
    assert "ben waits for the lock 'room', which ana held when it ended; a deadlock" in out, (
        out + err
    )
    assert "RuntimeError: a bug of my own" in err and status == 1


@pytest.mark.long
def test_what_the_server_wrote_to_stderr_is_shown_when_a_step_is_not_taken(tmp_path):
    status, out, err, seconds = force(
        mutant(
            tmp_path / "tree",
            f"\n        {IF_NAME}:\n            raise RuntimeError('a bug of my own')" + HANDLE,
        )
    )
    assert re.search(
        "stuck at step 1, ana:read: ana has ended, and was last seen at E.recv", out
    ), out + err
    assert "RuntimeError: a bug of my own" in err
    assert seconds < SOON


@pytest.mark.long
def test_a_server_that_lets_nobody_in_is_told_with_its_stderr(tmp_path):
    status, out, err, seconds = force(
        mutant(tmp_path / "tree", "\n        raise RuntimeError('a bug of my own')" + HANDLE)
    )
    assert (
        status == 1
        and "try 1 of 3: the server did not get that far" in err
        and "RuntimeError: a bug of my own" in err
    )


# -- Its end ---------------------------------------------------------------------------------------


def server_of(process):
    """The server that it started, once it serves somebody; and the lines that `process` wrote to
    stderr up to then.
    """
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "waiting for ana to be let in" in line:
            break
    found = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "implementations.pthread" in child.cmdline()
    ]
    assert len(found) == 1, lines
    return found[0], lines


def ends(process):
    try:
        process.wait(deadlines.DEADLINE)
    except psutil.TimeoutExpired:
        process.kill()
        return False
    return True


@pytest.fixture
def waits(tmp_path):
    """It waits for a server that lets nobody in: a function (the words before its command line) ->
    Popen.
    """
    folder = mutant(tmp_path / "tree", "\n        threading.Event().wait()" + HANDLE)
    started = []

    def waits(*before):
        command = [sys.executable, "-m", "lab_guide.races.force", str(folder)]
        started.append(
            subprocess.Popen(
                [*before, *command],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield waits
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()


def test_it_says_what_it_waits_for(waits):
    _, lines = server_of(waits())
    assert lines[-1] == "force: waiting for ana to be let in\n"


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_when_it_is_ended_so_is_its_server(waits, number):
    process = waits()
    server, _ = server_of(process)
    process.send_signal(number)
    assert ends(server), f"the server lived on after {number.name}"
    out, _ = process.communicate(timeout=deadlines.DEADLINE)
    assert (process.returncode, out) == (-9 if number == signal.SIGKILL else 128 + number, "")


def test_when_its_parent_is_killed_it_ends_its_server(waits):
    parent = waits("sh", "-c", '"$@"; true', "sh")
    server, _ = server_of(parent)
    parent.kill()
    assert ends(server), "the server lived on"
    assert parent.stdout.read() == "", "it waited until its schedule was given up"
