"""Forced schedules: the same text, the same outcome, each time, in threads and in processes; and
what a lock makes impossible is said.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.driving.server import ROOT
from harness.explore import forced
from harness.explore.controller import Controller
from harness.explore.forced import Wrong, occurs
from harness.explore.schedules import Point, Step
from harness.teaching.notebook import exhibit_named
from implementations.common import trace
from tests.conftest import OPEN

pytestmark = pytest.mark.long

TIMES = int(os.environ.get("GRUPO_SOAK", 4))  # of each schedule
LOST = "ana:read ben:read ana:write ben:write"
RIGHT = "ana:read ana:write ben:read ben:write"


@pytest.fixture
def design():
    """Each test here names its own."""


@pytest.fixture
def folder(tmp_path):
    """A folder for a trace, with a path for which a socket's name has no room."""
    return str(tmp_path / ("a-long-name-" * 10))


@pytest.fixture
def gates(folder):
    """A controller at the gates in that folder."""
    controller = Controller(Path(folder))
    yield controller
    controller.close()


def command(kind, *more):
    return [sys.executable, "-m", "lab_guide.races.counter", kind, *more]


def count(kind, schedule, *more):
    """What two workers counted to under a schedule, and what became of that."""
    out, found = forced.force_command(command(kind, *more), ROOT, schedule)
    return int(re.search(r"counted to (\d+)", out)[1]), found


@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize(
    "schedule, outcome", [(LOST, 1), (RIGHT, 2), ("ben:read ana:read ana:write ben:write", 1)]
)
def test_a_schedule_has_one_outcome(kind, schedule, outcome):
    for _ in range(TIMES):
        counted, found = count(kind, schedule)
        assert (counted, found.stuck) == (outcome, None)


@pytest.mark.parametrize(("kind", "lock"), [("threads", "number"), ("processes", "flock:number")])
def test_with_a_lock_the_lost_update_is_stopped_and_no_order_has_it(kind, lock):
    counted, found = count(kind, LOST, "--lock")
    assert counted == 2 and found.done == [("ana", "read")]
    assert found.stuck == (
        f"stuck at step 2, ben:read: ben waits for the lock {lock!r}, which ana holds; "
        "ana is held before B.write until ben has taken it"
    )
    orders = forced.orders_of_command(command(kind, "--lock"), ROOT, ["ana", "ben"], found.steps)
    assert orders.impossible and orders.tried >= 2
    assert all("counted to 2" in printed for printed in orders.printed)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_without_a_lock_some_order_has_the_lost_update(kind):
    orders = forced.orders_of_command(command(kind), ROOT, ["ana", "ben"], forced.parse(LOST))
    assert orders.points and not orders.impossible and "Another order" in str(orders)
    every = forced.orders_of_command(command(kind), ROOT, ["ana", "ben"])
    assert every.all and any("counted to 1" in printed for printed in every.printed)


def test_with_a_lock_what_it_allows_stays_possible():
    counted, found = count("threads", RIGHT, "--lock")
    assert (counted, found.stuck, found.done) == (2, None, forced.parse(RIGHT))


def taken(*steps):
    """A run of these steps: ("ana", "E.recv"), ..."""
    return [Point((Step(actor, event, "", ""),), 0) for actor, event in steps]


RECV_A, RECV_B, KEEP_A, KEEP_B = (
    ("ana", "E.recv"),
    ("ben", "E.recv"),
    ("ana", "B.keep"),
    ("ben", "B.keep"),
)
LOCK_A, LOCK_B, WRITER = ("ana", "B.lock.wait"), ("ben", "B.lock.wait"), ("write", "E.wait")


@pytest.mark.parametrize(
    ("steps", "is_it"),
    [
        ([RECV_A, RECV_B, KEEP_A, KEEP_B], True),
        ([WRITER, RECV_A, WRITER, LOCK_A, RECV_B, LOCK_B, KEEP_A, KEEP_B], True),
        ([RECV_A, KEEP_A, RECV_B, KEEP_B], False),
        ([RECV_B, RECV_A, KEEP_A, KEEP_B], False),
        ([RECV_A, RECV_B, KEEP_A], False),
        ([RECV_A, RECV_B, LOCK_A, LOCK_B, KEEP_A, KEEP_B], False),  # a step is not whole
    ],
)
def test_whether_a_run_has_the_steps_of_a_schedule(steps, is_it):
    assert occurs(forced.parse(LOST), taken(*steps)) == is_it


def test_the_events_are_those_of_the_trace():
    assert set(trace.KINDS) <= set(forced.KINDS)


# -- Real servers ----------------------------------------------------------------------------------


def names(*clients):
    return {"%s:%d" % client.socket.getsockname()[:2]: client.name for client in clients}


def ask_for_one_name(start, enter, gates, schedule=LOST):
    """ana and ben are here, and both ask for the name zoe, under a schedule. Returns (what carla
    heard of it, Forced).
    """
    running = start(*OPEN, "--trace", str(gates.path.parent))
    ana, ben, carla = (enter(running, name) for name in ("ana", "ben", "carla"))
    found = forced.force(
        gates, schedule, lambda: (ana.send("NAME zoe"), ben.send("NAME zoe")), {**names(ana, ben)}
    )
    ana.fence(), ben.fence(), carla.fence()
    heard = [line.split(" ") for line in carla.lines if line.startswith("RENAMED")]
    return [(int(seq), old, new) for _, seq, _, old, new in heard], found


def test_without_the_lock_two_members_take_one_name(server, enter, gates, tmp_path):
    command = exhibit_named("no-lock", tmp_path / "tree").command
    heard, found = ask_for_one_name(
        lambda *args: server(*args, command=command, cwd=tmp_path / "tree"), enter, gates
    )
    assert found.stuck is None, found
    assert sorted(old for _, old, _ in heard) == ["ana", "ben"], "both have the name zoe"
    assert len({seq for seq, _, _ in heard}) == 1, (
        "and both events one number: the second was decided before the first was applied"
    )


def test_one_after_the_other_even_without_the_lock_the_second_goes_another_way(
    server, enter, gates, tmp_path
):
    command = exhibit_named("no-lock", tmp_path / "tree").command
    heard, found = ask_for_one_name(
        lambda *args: server(*args, command=command, cwd=tmp_path / "tree"), enter, gates, RIGHT
    )
    assert [old for _, old, _ in heard] == ["ana"]
    assert found.stuck == "stuck at step 4, ben:write: ben was last seen at B.recv ben"


def test_with_the_lock_that_is_impossible(server, enter, gates):
    heard, found = ask_for_one_name(lambda *args: server(*args, command="pthread"), enter, gates)
    assert found.stuck == (
        "stuck at step 2, ben:read: ben waits for the lock 'room', which ana holds; "
        "ana is held before B.keep until ben has taken it"
    )
    assert [old for _, old, _ in heard] == ["ana"]


@pytest.mark.parametrize("first, second", [("ana", "ben"), ("ben", "ana")])
def test_processes_speak_in_the_order_of_the_schedule(server, enter, gates, first, second):
    running = server(*OPEN, "--trace", str(gates.path.parent), command="fork")
    ana, ben = enter(running, "ana"), enter(running, "ben")
    found = forced.force(
        gates,
        f"{first}:pipe.write {second}:pipe.write",
        lambda: (ana.send("SAY one"), ben.send("SAY two")),
        names(ana, ben),
    )
    assert found.stuck is None, found
    ben.fence(), ana.fence()
    said = [line.split(" ")[3] for line in ana.lines if line.startswith("MSG")]
    assert said == [first, second]


def test_two_locks_in_two_orders_are_a_deadlock_that_is_named(server, enter, gates, tmp_path):
    one = exhibit_named("deadlock-two-locks", tmp_path / "tree")
    schedule = "ana:E.lock.wait ben:E.lock.wait ana:lock.wait ben:lock.wait ben:E.lock.wait"
    where = str(gates.path.parent)
    running = server(*OPEN, "--trace", where, command=one.command, cwd=tmp_path / "tree")
    ana, ben = enter(running, "ana"), enter(running, "ben")
    found = forced.force(
        gates, schedule, lambda: (ana.send("SAY one"), ben.send("PING two")), names(ana, ben)
    )
    assert found.deadlock and found.stuck.count("deadlock") == 1, found
    for client in ana, ben:
        assert f"{client.name} waits for the lock" in found.stuck
    running.kill()


# -- What may go wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["", "ana", "ana:", ":read", "ana:read ben", "ana:nap"])
def test_a_schedule_that_cannot_be_read(schedule):
    with pytest.raises(Wrong):
        forced.parse(schedule)


def test_who_never_comes_is_named():
    _, found = count("threads", "ana:read zoe:read")
    assert found.gone and "zoe was never seen" in found.stuck


def test_when_who_holds_the_gates_is_gone_all_gates_are_open(server, enter, gates):
    running = server(*OPEN, "--trace", str(gates.path.parent), command="pthread")
    ana = enter(running, "ana")
    gates.close()
    ana.send("SAY on we go")
    ana.expect(r"MSG .* on we go")


@pytest.mark.parametrize(
    "words, output, status",
    [
        (["threads"], "2 workers counted to 1", 1),
        (["processes", LOST, "--lock"], "Impossible in all", 0),
        pytest.param(
            [ROOT], "carla hears RENAMED 5 ana zoe\n", 0, marks=pytest.mark.long, id="a folder"
        ),
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
        timeout=300,
    )
    assert output in done.stdout + done.stderr and done.returncode == status, (
        done.stdout + done.stderr
    )
