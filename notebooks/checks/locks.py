"""The prediction, the exercise and the forced schedules of notebook 03."""

import sys
from itertools import permutations

from harness.driving.messages import msg
from harness.explore.controller import Controller
from harness.explore.forced import force
from harness.teaching.notebook import (
    Question,
    Wrong,
    exercise,
    folder,
    in_every_order,
    serve,
    under,
)

WRONG_ORDERS = Question(usual=1, most=6)

COUNTER = sys.executable, "-m", "lab_guide.races.counter", "threads"
STEPS = {"A": ["ana:read", "ana:write"], "B": ["ben:read", "ben:write"]}
THREE = sorted(f"{name}:{step}" for name in ("ana", "ben", "carla") for step in ("read", "write"))


def count(schedule, *options):
    """Open the gates of the counter in this order. Return (what the threads counted to, what
    happened to the schedule).
    """
    out, forced = under(schedule, *COUNTER, *options)
    return int(out.split()[-1]), forced


def all_six(*options):
    """Try each of the six orders of two reads and two writes. Return what figures.interleavings
    draws.
    """
    found = []
    for order in sorted(set(permutations("AABB"))):
        left = {name: iter(steps) for name, steps in STEPS.items()}
        counted, forced = count(" ".join(next(left[name]) for name in order), *options)
        found.append(
            {
                "schedule": forced.steps,
                "outcome": "impossible" if forced.stuck else f"counted to {counted}",
                "good": counted == 2,
                "possible": not forced.stuck,
                "done": len(forced.done),
            }
        )
    return found


def every_order(*options):
    """Try every order of all the counter's steps. Return (how many, all that was printed)."""
    orders = in_every_order(["ana", "ben"], *COUNTER, *options)
    return orders.tried, sorted({line.strip() for line in orders.printed})


def forced_on(which, schedule, names, act):
    """Start a server, let members enter, call act(*members), and force the schedule of Ana and Ben.

    Return (what the last member has heard, what happened to the schedule, the trace).
    """
    place = folder()
    with (
        Controller(place / "trace") as gates,
        serve(which, trace=True, into=place) as server,
    ):
        members = server.enter(*names)
        actors = {"%s:%d" % one.socket.getsockname()[:2]: one.name for one in members[:2]}
        forced = force(gates, schedule, lambda: act(*members), actors)
        if not forced.deadlock:
            for member in members:
                member.fence()
        return members[-1].lines, forced, server.run()


def both_want_zoe(which):
    """Ana and Ben ask for the same name, and both read before one writes. Return (the RENAMED
    lines that Carla hears, what happened to the schedule).
    """
    lines, forced, _ = forced_on(
        which,
        "ana:read ben:read ana:write ben:write",
        ["ana", "ben", "carla"],
        lambda ana, ben, carla: (ana.send("NAME zoe"), ben.send("NAME zoe")),
    )
    return [line for line in lines if line.startswith("RENAMED")], forced


def deadlocked(which):
    """Ana and Ben each take their first lock, and then ask for their second. Return (what happened
    to the schedule, the trace).
    """
    _, forced, trace = forced_on(
        which,
        "ana:E.lock.wait ben:E.lock.wait ana:lock.wait ben:lock.wait ben:E.lock.wait",
        ["ana", "ben"],
        lambda ana, ben: (ana.send("SAY one"), ben.send("PING two")),
    )
    return forced, trace


@exercise
def check_three(to_1, to_2):
    """Two schedules, with which three threads count to 1 and to 2."""
    for schedule, wanted in (to_1, 1), (to_2, 2):
        steps = schedule.split() if isinstance(schedule, str) else []
        if sorted(steps) != THREE:
            raise Wrong(
                msg(
                    "{schedule} must be a text with six steps: one read and one write for each of "
                    "ana, ben and carla.",
                    schedule=repr(schedule),
                )
            )
        for name in "ana", "ben", "carla":
            if steps.index(f"{name}:write") < steps.index(f"{name}:read"):
                raise Wrong(
                    msg(
                        "`{schedule}`: {name} cannot write before it has read.",
                        schedule=schedule,
                        name=name,
                    )
                )
        counted, forced = count(schedule, "ana", "ben", "carla")
        if forced.stuck:
            raise Wrong(msg("`{schedule}`: {why}.", schedule=schedule, why=forced.stuck))
        if counted != wanted:
            raise Wrong(
                msg(
                    "With `{schedule}` they count to {counted}, not to {wanted}.",
                    schedule=schedule,
                    counted=counted,
                    wanted=wanted,
                )
            )
