"""The predictions and the exercise of notebook 05."""

from types import SimpleNamespace

from harness.driving.messages import msg
from harness.teaching.notebook import Question, Wrong, exercise, exhibit_named, folder
from harness.tracing import runs

BAD = "password-hash-in-the-loop"
FOUR = ("nonblocking", "pthread", "fork", BAD)
WAITS_MOST = Question(usual="fork", among=FOUR)
LAST_COPY = Question(usual=2000, most=1e7)  # microseconds


def run_four(workload):
    """Play a workload on the three servers, and on the one that hashes in its loop."""
    tree = folder() / "tree"
    exhibit_named(BAD, tree)
    return [*runs.run_all(workload), runs.run("nonblocking", workload, cwd=tree, title=BAD)]


def interval(kind, begin, end):
    return SimpleNamespace(kind=kind, begin=begin, end=end, about="")


# Two of its waits for the lock begin after the talk has begun, and end: 2 s and 0.5 s.
SMALL = SimpleNamespace(
    span=(10.0, 20.0),
    title="a small run",
    intervals=[
        interval("lock.wait", 1.0, 5.0),
        interval("lock.wait", 9.0, 11.0),
        interval("lock.wait", 11.0, 13.0),
        interval("lock.hold", 13.0, 17.0),
        interval("lock.wait", 14.0, 14.5),
        interval("lock.wait", 19.0, None),
    ],
)


@exercise
def check_seconds(seconds_in):
    """`seconds_in(run, kind)` sums what begins in the talk and ends."""
    found = seconds_in(SMALL, "lock.wait")
    if not isinstance(found, (int, float)):
        raise Wrong(msg("`seconds_in` must return a number, not {found}.", found=repr(found)))
    hints = {
        8.5: msg("You count what began before the talk, too: look at `run.span[0]`."),
        4.5: msg("An interval that began before the talk is not part of it, though it ends there."),
        6.5: msg("You count all kinds of intervals."),
        2: msg("You count the intervals. Add up how long each of them lasted."),
        2500: msg("This is in milliseconds, but `.begin` and `.end` are in seconds."),
    }
    for value, hint in hints.items():
        if abs(found - value) < 1e-9:
            raise Wrong(hint)
    if abs(found - 2.5) > 1e-9:
        raise Wrong(
            msg(
                "In a small run the talk has two waits for the lock that end, of 2 and 0.5 "
                "seconds. That is 2.5 seconds, but you find {found}.",
                found=repr(found),
            )
        )
    if abs(seconds_in(SMALL, "lock.hold") - 4) > 1e-9 or seconds_in(SMALL, "hash") != 0:
        raise Wrong(msg("For a kind other than `lock.wait` you do not find what is in the run."))
