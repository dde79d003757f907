"""Random dialogues: what they contain, and that one which goes wrong is found, shrunk and shown."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from harness.driving import deadlines
from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT, NotStarted
from harness.model import fuzz as fuzzing
from harness.model.fuzz import NAMES, Found, Fuzz, Tally, simpler
from harness.model.generate import LENGTHS, Author
from harness.model.lines import Difference
from harness.model.play import Act
from harness.teaching import fuzz as teaching

GREETS = """
import os, socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", 0))
print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
while True:
    sock, _ = listener.accept()
    threading.Thread(target=lambda sock=sock: serve(sock), daemon=True).start()
"""
# Servers that are wrong altogether: how they serve a client.
WRONG = {
    "silent": "def serve(sock):\n    sock.sendall(b'HELLO grupo/1 g\\n')\n    time.sleep(1000)\n",
    "dies": "def serve(sock):\n    sock.sendall(b'HELLO grupo/1 g\\n')\n    sock.recv(1)\n    os._exit(3)\n",
    "floods": "def serve(sock):\n    while True:\n        sock.sendall(b'MSG 1 now ana hi\\n' * 1000)\n",
    "http": "def serve(sock):\n    sock.recv(1)\n    sock.sendall(b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n')\n    sock.close()\n",
    "endless": "def serve(sock):\n    sock.sendall(b'HELLO ')\n    while True:\n        sock.sendall(b'x' * 4096)\n",
}


def fuzz(*words, cwd=ROOT, timeout=170):
    """`harness fuzz` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "harness", "fuzz", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def acts(dialogue):
    return [*dialogue.opening, *dialogue.acts]


def test_the_same_seed_gives_the_same_dialogues():
    one, other = (Author(random.Random("7")) for _ in range(2))
    assert [acts(one.dialogue()) for _ in range(50)] == [acts(other.dialogue()) for _ in range(50)]


def test_lab_0_asks_only_for_what_it_needs():
    author = Author(random.Random("1"), lab=0)
    for _ in range(300):
        for act in acts(author.dialogue()):
            assert act.who not in ("owner", "server")
            assert not re.search("^(JOIN|SAY|NAME|WHO|HISTORY|LEAVE)", act.text, re.MULTILINE)


def test_who_joined_before_is_a_member_where_nobody_new_is_admitted():
    author = Author(random.Random("1"))
    author.admit = "none"
    openings = [author.dialogue().opening for _ in range(20)]
    for opening in openings:
        half = len(opening) // 2
        assert opening[half] == Act("server", "restart", "admit=none")
        assert opening[:half] == opening[half + 1 :]
    assert any(len(opening) > 1 for opening in openings)


def test_limits_that_a_server_refuses_are_not_tried_again():
    tried = []

    def start(flags, record):
        tried.append(flags)
        problem = NotStarted("", "")
        problem.status = 2
        if "--max-strangers" in flags or "--max-here" in flags:
            raise problem
        return SimpleNamespace(record=record)

    fuzz = Fuzz(start, "1", 0.0)
    stages = [fuzz.stage("all") for _ in range(30)]
    assert all(stages)
    assert sum("--max-strangers" in flags for flags in tried) == 1
    assert sum("--max-here" in flags for flags in tried) == 1
    assert sum("--reject-after" in flags for flags in tried) > 20


def test_each_worker_has_a_seed_of_its_own(monkeypatch, tmp_path):
    class Played:
        """Reports its seed, and plays nothing."""

        def __init__(self, start, seed, until, **_):
            self.tally, self.shortest = Tally(), None
            self.tally.seed = seed

        def run(self):
            return None

    monkeypatch.setattr(teaching, "Fuzz", Played)
    options = SimpleNamespace(folder=None, lab=8, workers=3, minutes=0.001)
    run = teaching.Run(["none"], options, "7", tmp_path)
    run.run()
    seeds = {number: tally.seed for number, tally in run.tallies.items()}
    assert seeds == {number: f"7/{number}" for number in range(4)}


def test_every_card_of_a_deck_comes_before_any_comes_again():
    author = Author(random.Random("2"))
    assert sorted(author.draw("lengths", LENGTHS) for _ in LENGTHS) == sorted(LENGTHS)


def test_a_simpler_dialogue_is_shorter_or_in_one_piece():
    found = list(
        simpler(
            [
                Act("ana", "piece", "PI"),
                Act("ana", "sends", "NG 1\nPING 2\n"),
                Act("ben", "sends", "WHO\n", more=True),
            ]
        )
    )
    assert [Act("ana", "sends", "PING 1\nPING 2\n")] == found[0][:1]
    assert any(one[1].text == "PING 2\n" for one in found[1:] if len(one) == 3)
    assert all(not act.more for act in found[-1])


def test_what_there_is_no_time_to_confirm_is_no_verdict(monkeypatch):
    wrong = Difference("5", "ana", ["PONG 1"], "PONG 2")
    one = Fuzz(None, "1", until=0.0)
    monkeypatch.setattr(one, "fails", lambda acts, *_: Found(acts, wrong, [], ()))
    asked, stage = [Act("ana", "sends", "PING 1\n")], SimpleNamespace(acts=[])
    assert one.followed_up(stage, asked, wrong).times == 2
    monkeypatch.setattr(fuzzing, "SHRINKING", -1000.0)
    assert one.followed_up(stage, asked, wrong) is None
    assert one.tally.unconfirmed == 1 and not one.tally.lost


def test_names_of_a_dialogue_are_told_from_other_words():
    assert NAMES.sub(lambda name: name[0] + "7", "JOIN ana secret-of-ana\nSAY banana ANA-2") == (
        "JOIN ana7 secret-of-ana7\nSAY banana ANA7-2"
    )


@pytest.mark.long
def test_a_bug_is_found_and_shrunk(tmp_path):
    """A text may have 399 bytes."""
    old, new = "MAX_PASSWORD, MAX_TOKEN = 400", "MAX_PASSWORD, MAX_TOKEN = 399"
    shutil.copytree(ROOT / "implementations", tmp_path / "implementations")
    place = tmp_path / "implementations" / "common" / "wire.py"
    assert place.read_text().count(old) == 1
    place.write_text(place.read_text().replace(old, new))
    command = [sys.executable, "-m", "implementations.nonblocking"]
    done = fuzz("--minutes", 2, "--seed", "1", "--in", tmp_path, "--lang", "en", "--", *command)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ERR bad-arguments" in done.stdout and "```dialogue" in done.stdout
    block = done.stdout.partition("```dialogue")[2].partition("```")[0]
    assert len(re.findall(r"^\w+>", block, re.MULTILINE)) <= 8, block


@pytest.mark.long
@pytest.mark.parametrize("how", WRONG)
def test_a_server_that_is_wrong_altogether_ends_in_a_verdict(how, tmp_path):
    script = tmp_path / "server.py"
    head, _, rest = GREETS.partition("listener")
    script.write_text(head + WRONG[how] + "listener" + rest)
    done = fuzz("--minutes", 0.2, "--workers", 1, "--lang", "en", "--", sys.executable, script)
    assert done.returncode in (1, 3), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not leftovers(script)


def leftovers(script):
    """The processes that still run this script."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(script) in path.read_text().split("\0"):
                found.append(path.parent.name)
        except OSError:
            pass
    return found


def test_a_command_that_cannot_start_is_named_in_one_line(tmp_path):
    done = fuzz("--minutes", 0.1, "--", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and str(tmp_path / "none") in done.stderr


@pytest.mark.long
def test_ctrl_c_ends_it_and_says_what_was_tried(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "fuzz", "--minutes", "9", "--lang", "en", "nonblocking"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        process.wait(8)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "stopped" in out and "dialogues of" in out and "Traceback" not in err, out + err
    assert not list(tmp_path.glob("grupo-check-*"))


@pytest.mark.long
def test_its_workers_and_servers_end_with_it_even_if_it_is_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "fuzz", "--minutes", "9", "nonblocking"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    main, all_of_it = psutil.Process(process.pid), []

    def serves():
        all_of_it[:] = main.children(recursive=True)
        return any("--port" in one.cmdline() for one in all_of_it if one.is_running())

    try:
        wait_until(serves, 60, "a server that the fuzz has started")
    finally:
        process.kill()
        process.wait()
    _, living = psutil.wait_procs(all_of_it, 4 * deadlines.DEADLINE)
    for one in living:
        one.kill()
    assert not living
