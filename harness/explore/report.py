"""Shows a schedule: a column for each actor, and time runs down."""

from collections.abc import Callable

from harness.driving.messages import Message, msg
from harness.explore.runs import Run
from harness.explore.schedules import Point, preemptions, stops


def schedule_text(run: Run, source: Callable[[str], str] = str) -> Message:
    """Return a run's schedule in lines. `source` makes a line of source of an event's place."""
    return msg(
        "{steps} steps; preemptions (>): {count}\n{lines}",
        steps=len(run.points),
        count=preemptions(run.points),
        lines="\n".join(lanes(run.points, source)),
    )


def lanes(points: list[Point], source: Callable[[str], str] = str) -> list[str]:
    """Return a line for each step, below its actor's name; > marks where an actor had to stop."""
    names = list(dict.fromkeys(point.step.actor for point in points))
    width = max(map(len, names), default=0) + 2
    found = ["  " + "".join(f"{name:{width}}" for name in names).rstrip()]
    for point, stopped in zip(points, stops(points), strict=True):
        step = point.step
        place = " " * (names.index(step.actor) * width)
        words = [word for word in (step.event, step.what, source(step.at)) if word]
        found.append(f"{'>' if stopped else ' '} {place}{' '.join(words)}")
    return found
