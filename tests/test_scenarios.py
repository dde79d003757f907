"""What the checks of several stages do, tried on small servers that are wrong in one way."""

import shutil
import sys
import time

import pytest

from harness.checks import scenarios
from harness.driving.record import CheckFailed
from harness.driving.server import ROOT, Server
from harness.teaching import exhibits
from harness.verdicts import pace
from harness.verdicts.pace import Pace

ENDS = """
import signal, sys, time
def end(*_):
    time.sleep(SECONDS)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("listening on 127.0.0.1:1", flush=True)
while True:
    signal.pause()
"""

# It does what is asked of a server whose pace is measured, and ends after SIGTERM.
TALKS = """
import os, signal, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
sock = listener.accept()[0]
lines = sock.makefile("r")
say = lambda line: sock.sendall((line + "\\n").encode())
signal.signal(signal.SIGTERM, lambda *_: say("BYE closed"))
say("HELLO grupo/1 grupo")
lines.readline()
say("PENDING"), say("WELCOME 1 pace"), say("IN 2 T pace")
lines.readline()
say("MSG 3 T pace pace")
lines.readline()
"""


def server(folder, seconds):
    """A server that takes so long to end."""
    script = ENDS.replace("SECONDS", str(seconds))
    return Server([sys.executable, "-c", script], directory=folder / "group")


def ends(running, of=Pace(end=0.1)):
    running.pace, began = of, time.monotonic()
    running.send_signal(15)
    return scenarios.ends_in_time(running, began)


@pytest.mark.long
def test_an_end_that_takes_long_is_in_time_only_where_any_end_takes_long(tmp_path):
    with server(tmp_path, 3.3) as running, pytest.raises(CheckFailed, match="it took 3"):
        ends(running)
    with server(tmp_path, 3.3) as running:
        assert ends(running, Pace(end=0.5)) == 0


def test_time_without_a_cpu_is_granted(tmp_path, monkeypatch):
    """A thread of the server wanted a CPU for 2 s, and another program had it."""
    looks = iter([{"1": (0, 1.0, True)}, {"1": (0, 3.0, True)}])
    last = {"1": (0, 3.0, True)}
    monkeypatch.setattr(scenarios.processes, "turns", lambda family: next(looks, last))
    with server(tmp_path, 3.3) as running:
        assert ends(running) == 0


@pytest.mark.parametrize("end", ["os._exit(1)", "1 / 0"])
def test_what_an_end_costs_is_measured_whatever_else_is_wrong_with_it(end, tmp_path):
    """Its status and its traceback are for checks of their own: the pace is not lost with them."""
    command = [sys.executable, "-c", f"{TALKS}\n{end}"]
    found = pace.measure(lambda: Server(command, directory=tmp_path / "group"), 10)
    assert 0 < found.end < pace.LONGEST_END and found.end != Pace.end
    assert found.say != Pace.say


# 50 ms under the lock, at each turn: slow, and correct.
SLOW = dict(
    file="implementations/pthread.py",
    old="            self.room.process(batch, *clock())\n",
    new="            sleep(0.05)\n            self.room.process(batch, *clock())\n",
)


@pytest.mark.long
@pytest.mark.parametrize("bug", ["", "slow-after-not-applied"])
def test_a_slow_server_is_judged_by_what_it_does_with_a_member_that_reads_nothing(bug, tmp_path):
    shutil.copytree(ROOT / "implementations", tmp_path / "tree" / "implementations")
    check = "who-takes-nothing-is-disconnected"
    slow = exhibits.Exhibit("slow", 0, "pthread", symptom="", check=check, sentence="", **SLOW)
    exhibits.plant(slow, tmp_path / "tree")
    for one in exhibits.all_exhibits():
        if one.name == bug:
            exhibits.plant(one, tmp_path / "tree")
    verdict = exhibits.judge(slow, tmp_path / "tree", [check])[check]
    assert verdict.verdict == ("failed" if bug else "passed"), verdict
    assert bug or "each message takes" in verdict.why
