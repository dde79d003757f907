"""Jobs in processes of their own: their order, what one needs of another, and what becomes of one
that is killed.
"""

import os
import signal
import time

import pytest

from harness.driving.client import CutOff
from harness.driving.deadlines import wait_until
from harness.driving.messages import unpacked
from harness.verdicts import plugin, pool
from harness.verdicts.pace import Pace
from harness.verdicts.plugin import Result, Run
from harness.verdicts.pool import Job, Pool


def run(jobs, workers=3, limit=60.0, skip=lambda job: None, again=lambda job, result: None):
    """[(name, result)] in the order in which they came."""
    came = []

    def finished(job, result):
        came.append((job.name, result))
        return again(job, result)

    Pool(workers, lambda: limit, skip, finished).run(jobs)
    return came


def test_results_come_back_whole():
    """Also one that is larger than a pipe, and one that is not ASCII."""
    big = {"text": "é\udcff" * 300_000}
    assert dict(run([Job("a", lambda: big), Job("b", lambda: {"pid": os.getpid()})]))["a"] == big


def test_each_has_a_process_of_its_own():
    found = dict(
        run([Job(name, lambda: {"pid": os.getpid(), "session": os.getsid(0)}) for name in "abc"])
    )
    assert len({os.getpid(), *(one["pid"] for one in found.values())}) == 4
    assert all(one["pid"] == one["session"] for one in found.values())


def test_a_job_waits_for_those_it_needs():
    order = [
        name
        for name, _ in run(
            [
                Job("last", dict, needs=("first", "second")),
                Job("second", dict, needs=("first",)),
                Job("first", dict),
            ]
        )
    ]
    assert order == ["first", "second", "last"]


def test_what_is_skipped_is_not_run(tmp_path):
    skip = lambda job: {"skipped": True} if job.name == "a" else None
    came = dict(
        run([Job("a", lambda: (tmp_path / "ran").touch()), Job("b", dict, needs=("a",))], skip=skip)
    )
    assert came == {"a": {"skipped": True}, "b": {}} and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "end",
    [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(0), lambda: 1 / 0],
    ids=["killed", "exits", "raises"],
)
def test_one_that_is_killed_has_no_result_and_the_others_go_on(end):
    came = dict(
        run([Job("a", end), Job("b", lambda: {"done": True}), Job("c", dict, needs=("a",))])
    )
    assert came == {"a": None, "b": {"done": True}, "c": {}}


def test_one_that_does_not_end_is_killed_though_it_was_stopped():
    assert run([Job("a", lambda: os.kill(os.getpid(), signal.SIGSTOP))], limit=0.5) == [("a", None)]


def test_what_a_killed_one_had_started_ends_with_it(tmp_path):
    def leaves_a_daemon():
        if os.fork() == 0:
            os.setsid()
            (tmp_path / "daemon").write_text(str(os.getpid()))
            time.sleep(600)
        wait_until(lambda: (tmp_path / "daemon").exists() and (tmp_path / "daemon").read_text())
        os.kill(os.getpid(), signal.SIGKILL)

    pool.adopt()
    assert run([Job("a", leaves_a_daemon)]) == [("a", None)]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "daemon").read_text()), 0)


def test_one_that_is_alone_shares_the_machine_with_no_other(tmp_path):
    def work(name):
        (tmp_path / name).touch()
        others = sorted(path.name for path in tmp_path.iterdir())
        time.sleep(0.05)  # so that others would be there meanwhile
        others += sorted(path.name for path in tmp_path.iterdir())
        (tmp_path / name).unlink()
        return {"saw": sorted(set(others) - {name})}

    jobs = [Job(name, lambda name=name: work(name), alone=name == "c") for name in "abcde"]
    assert dict(run(jobs))["c"] == {"saw": []}


# what is called at a fork cannot be taken back, so it calls these functions, once
HOOKS: list = []


@pytest.fixture(scope="module")
def at_fork():
    """at_fork(place, act): has act() called once, inside the next fork, before it or after it in
    the parent.
    """

    def act(place):
        if HOOKS and HOOKS[0][0] == place:
            HOOKS.pop()[1]()

    os.register_at_fork(before=lambda: act("before"), after_in_parent=lambda: act("after"))
    return lambda place, function: HOOKS.append((place, function))


@pytest.mark.parametrize("place", ["before", "after"])
def test_ctrl_c_in_the_middle_of_a_fork_is_not_lost(at_fork, place):
    """Python drops what a handler raises inside fork(): the run would go on, as if nobody had typed
    it.
    """

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        at_fork(
            place, lambda: signal.raise_signal(signal.SIGINT)
        )  # to this thread: others of this process are none of the check's
        with pytest.raises(KeyboardInterrupt):
            run([Job("a", dict), Job("b", dict, needs=("a",))])
    finally:
        signal.signal(signal.SIGINT, before)
        pool.end_descendants()
    assert HOOKS == []


# -- What the run makes of it ----------------------------------------------------------------------


class Stub(Run):
    """A Run whose verdicts are their results, so that no item of pytest is needed."""

    def verdict(self, check, result):
        return result


def outcomes(results, needs):
    """{check: [what was shown]} where results[check] is what its tries give, one after the other."""
    shown = {}
    tries = {check: iter(found) for check, found in results.items()}
    run = Stub({"folder": ""}, lambda verdict: None)
    run.items = results
    first = {check: next(found) for check, found in tries.items()}
    order = []

    def finished(job, found):
        order.append(job.name)
        again = run.finished(job, first[job.name] if not job.alone else next(tries[job.name]))
        if again is None:
            shown[job.name] = run.verdicts[job.name]
        return again

    def skip(job):
        if (result := run.skip(job)) is not None:
            first[job.name] = result
        return result

    Pool(2, lambda: 60.0, skip, finished).run(
        [Job(check, dict, needs.get(check, ())) for check in results]
    )
    return shown, order


def result(verdict, again=False):
    return vars(Result(verdict, "why", again=again))


def test_an_inconclusive_check_that_others_need_is_tried_once_more_before_they_are_given_up():
    shown, order = outcomes(
        {
            "base": [result("inconclusive", again=True), result("passed")],
            "more": [result("passed")],
            "other": [result("passed")],
        },
        {"more": ("base",)},
    )
    assert (
        shown == {"base": "passed", "more": "passed", "other": "passed"}
        and order.count("base") == 2
        and order[-1] == "more"
    )


@pytest.mark.parametrize("second", ["inconclusive", "failed"])
def test_no_more_than_once(second):
    shown, order = outcomes(
        {
            "base": [result("inconclusive", again=True), result(second, again=True)],
            "more": [result("passed")],
        },
        {"more": ("base",)},
    )
    assert shown == {"base": second, "more": "not run"} and order.count("base") == 2


def test_one_for_which_another_try_tells_nothing_is_not_tried_again():
    shown, order = outcomes({"a": [result("inconclusive")]}, {})
    assert shown == {"a": "inconclusive"} and order == ["a"]


def test_a_killed_check_is_a_fault_of_the_harness():
    assert outcomes({"a": [None], "b": [result("passed")]}, {"b": ("a",)})[0] == {
        "a": "harness fault",
        "b": "not run",
    }


# -- Only what the server did is a failure ---------------------------------------------------------


def judged(problem, tmp_path, pace=Pace()):
    judge = plugin.Judge({"deadline": 10, "folder": str(tmp_path), "replay": ""}, pace)
    judge.pulse = type("Pulse", (), {"longest": 0})
    judge.problem = problem
    return judge.result("a-check")


@pytest.mark.parametrize(
    "problem",
    [
        AssertionError("x"),
        OSError("x"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
        KeyError("x"),
        ConnectionResetError("x"),
        RuntimeError("x"),
        plugin.OutOfTime(),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_any_other_exception_is_a_fault_with_its_traceback(problem, tmp_path):
    found = judged(problem, tmp_path)
    assert found.verdict == "harness fault" and (tmp_path / "a-check.traceback").read_text().strip()


def test_a_slow_server_that_runs_out_of_time_is_not_judged(tmp_path):
    found = judged(plugin.OutOfTime(), tmp_path, Pace(join=4.5))
    assert (found.verdict, found.why) == (
        "inconclusive",
        "the time for this check ran out: each JOIN takes 4.5 s here",
    )


def test_a_broken_rule_is_a_failure(tmp_path):
    assert (
        judged(CutOff("the connection to last", "it did not", "cut-off"), tmp_path).verdict
        == "failed"
    )


@pytest.mark.parametrize(
    "pace, budget", [(Pace(), (60, 70)), (Pace(join=4.5), (240, 260)), (Pace(say=0.05), (60, 70))]
)
def test_budgets_grow_with_the_round(pace, budget):
    assert (
        budget[0] <= pace.budget <= budget[1] < pace.limit
        and pace.deadline(10) == 10 + 15 * pace.join
    )


def test_an_exception_of_the_judge_s_own_is_a_fault_with_its_traceback(tmp_path):
    judge = plugin.Judge({"deadline": 10, "folder": str(tmp_path), "replay": ""}, Pace())
    judge.run = lambda item, config: 1 / 0
    found = judge.judge(type("Item", (), {"nodeid": "check_x.py::check_a_check"}), None)
    assert (
        found["verdict"] == "harness fault"
        and "ZeroDivisionError" in unpacked(found["why"])
        and (tmp_path / "a-check.traceback").read_text()
    )
