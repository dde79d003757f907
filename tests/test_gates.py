"""Forced schedules: the same text, the same outcome, each time, in threads and in processes; and
what a lock makes impossible is said.
"""

import os
import re
import subprocess
import sys

import pytest

from harness.driving.server import ROOT
from harness.teaching.notebook import exhibit_named
from harness.tracing import gates
from harness.tracing.gates import Gates, Wrong
from tests.conftest import OPEN

TIMES = int(os.environ.get("GRUPO_SOAK", 10))  # of each schedule
LOST = "ana:read ben:read ana:write ben:write"
RIGHT = "ana:read ana:write ben:read ben:write"


@pytest.fixture
def design():
    """Each test here names its own."""


@pytest.fixture
def folder(tmp_path):
    """A folder for a trace, with a path for which a socket's name has no room."""
    return str(tmp_path / ("a-long-name-" * 10))


def count(kind, schedule, folder, *more, deadline=None):
    """What two workers counted to under a schedule, and what became of that."""
    with Gates(folder) as held:
        started = []

        def go():
            started.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "lab_guide.races.counter",
                        kind,
                        "--trace",
                        folder,
                        *more,
                    ],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
            )

        forced = held.force(schedule, go, deadline=deadline)
    out, _ = started[0].communicate()
    return int(re.search(r"counted to (\d+)", out)[1]), forced


@pytest.mark.long
@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize(
    "schedule, outcome", [(LOST, 1), (RIGHT, 2), ("ben:read ana:read ana:write ben:write", 1)]
)
def test_a_schedule_has_one_outcome(kind, schedule, outcome, folder):
    for _ in range(TIMES):
        counted, forced = count(kind, schedule, folder)
        assert (counted, forced.stuck) == (outcome, None)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_with_a_lock_the_lost_update_is_impossible_and_the_gate_says_so(kind, folder):
    for _ in range(TIMES):
        counted, forced = count(kind, LOST, folder, "--lock")
        assert counted == 2 and not forced.possible
        assert forced.stuck == (
            "stuck at step 2, ben:read: ben waits for the lock 'number', which ana holds; "
            "ana is held before B.write until ben has taken it. In this program that step is "
            "impossible here"
        )


def test_with_a_lock_what_it_allows_stays_possible(folder):
    counted, forced = count("threads", RIGHT, folder, "--lock")
    assert (counted, forced.stuck, forced.done) == (2, None, gates.parse(RIGHT))


# -- Real servers ----------------------------------------------------------------------------------


def names(*clients):
    return {"%s:%d" % client.socket.getsockname()[:2]: client.name for client in clients}


def ask_for_one_name(start, enter, folder, schedule=LOST):
    """ana and ben are here, and both ask for the name zoe, under a schedule. Returns (what carla
    heard of it, Forced).
    """
    with Gates(folder) as held:
        running = start(*OPEN, "--trace", folder)
        ana, ben, carla = (enter(running, name) for name in ("ana", "ben", "carla"))
        forced = held.force(
            schedule, lambda: (ana.send("NAME zoe"), ben.send("NAME zoe")), {**names(ana, ben)}
        )
        ana.fence(), ben.fence(), carla.fence()
        heard = [line.split(" ") for line in carla.lines if line.startswith("RENAMED")]
    return [(int(seq), old, new) for _, seq, _, old, new in heard], forced


def test_without_the_lock_two_members_take_one_name(server, enter, folder, tmp_path):
    command = exhibit_named("no-lock", tmp_path / "tree").command
    heard, forced = ask_for_one_name(
        lambda *args: server(*args, command=command, cwd=tmp_path / "tree"), enter, folder
    )
    assert forced.stuck is None, forced
    assert sorted(old for _, old, _ in heard) == ["ana", "ben"], "both have the name zoe"
    assert len({seq for seq, _, _ in heard}) == 1, (
        "and both events one number: the second was decided before the first was applied"
    )


def test_with_the_lock_that_is_impossible(server, enter, folder):
    heard, forced = ask_for_one_name(lambda *args: server(*args, command="pthread"), enter, folder)
    assert not forced.possible and forced.stuck == (
        "stuck at step 2, ben:read: ben waits for the lock 'room', which ana holds; "
        "ana is held before E.keep until ben has taken it. In this program that step is impossible "
        "here"
    )
    assert [old for _, old, _ in heard] == ["ana"]


@pytest.mark.parametrize("first, second", [("ana", "ben"), ("ben", "ana")])
def test_processes_speak_in_the_order_of_the_schedule(server, enter, folder, first, second):
    with Gates(folder) as held:
        running = server(*OPEN, "--trace", folder, command="fork")
        ana, ben = enter(running, "ana"), enter(running, "ben")
        held_back = held.force(
            f"{first}:pipe.write {second}:pipe.write",
            lambda: (ana.send("SAY one"), ben.send("SAY two")),
            names(ana, ben),
        )
        assert held_back.stuck is None, held_back
        ben.fence(), ana.fence()
        said = [line.split(" ")[3] for line in ana.lines if line.startswith("MSG")]
    assert said == [first, second]


def test_two_locks_in_two_orders_are_a_deadlock_that_the_gate_names(
    server, enter, folder, tmp_path
):
    one = exhibit_named("deadlock-two-locks", tmp_path / "tree")
    schedule = "ana:E.lock.wait ben:E.lock.wait ana:lock.wait ben:lock.wait ben:E.lock.wait"
    with Gates(folder) as held:
        running = server(*OPEN, "--trace", folder, command=one.command, cwd=tmp_path / "tree")
        ana, ben = enter(running, "ana"), enter(running, "ben")
        forced = held.force(
            schedule, lambda: (ana.send("SAY one"), ben.send("PING two")), names(ana, ben)
        )
        assert not forced.possible and forced.stuck.count("deadlock") == 1, forced
        for client in ana, ben:
            assert f"{client.name} waits for the lock" in forced.stuck
    running.kill()


# -- What may go wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["", "ana", "ana:", ":read", "ana:read ben"])
def test_a_schedule_that_cannot_be_read(schedule, folder):
    with Gates(folder) as held, pytest.raises(Wrong):
        held.force(schedule)


def test_who_never_comes_is_named(folder):
    _, forced = count("threads", "ana:read zoe:read", folder, deadline=1)
    assert forced.possible and "zoe was never seen" in forced.stuck


def test_when_who_holds_the_gates_is_gone_all_gates_are_open(server, enter, folder):
    with Gates(folder):
        running = server(*OPEN, "--trace", folder, command="pthread")
        ana = enter(running, "ana")
    ana.send("SAY on we go")
    ana.expect(r"MSG .* on we go")


@pytest.mark.parametrize(
    "words, output, status",
    [
        (["threads"], "2 workers counted to 1", 1),
        (["processes", LOST, "--lock"], "The lock says no.", 0),
        ([ROOT], "carla hears RENAMED 5 ana zoe\n", 0),
        (["/nowhere"], "no implementations/pthread.py", 1),
        (["threads", "ana-read"], "a step is ACTOR:EVENT", 1),
    ],
)
def test_a_schedule_is_forced_from_the_command_line(words, output, status):
    done = subprocess.run(
        [sys.executable, "-m", "lab_guide.races.force", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert output in done.stdout + done.stderr and done.returncode == status, (
        done.stdout + done.stderr
    )
