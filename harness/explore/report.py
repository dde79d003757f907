"""Shows a schedule: a column for each actor, and time runs down."""

from harness.driving.messages import Message, msg
from harness.explore.runs import Run
from harness.explore.schedules import Point, preemptions


def schedule_text(run: Run) -> Message:
    """Return a run's schedule in lines."""
    return msg(
        "{steps} steps, {count} preemptions (>):\n{lines}",
        steps=len(run.points),
        count=preemptions(run.points),
        lines="\n".join(lanes(run.points)),
    )


def lanes(points: list[Point]) -> list[str]:
    """Return a line for each step, below its actor's name; > marks where an actor had to stop."""
    names = list(dict.fromkeys(point.step.actor for point in points))
    width = max(map(len, names), default=0) + 2
    found, last = ["  " + "".join(f"{name:{width}}" for name in names).rstrip()], ""
    for point in points:
        step = point.step
        stopped = last in [one.actor for one in point.enabled] and step.actor != last
        place = " " * (names.index(step.actor) * width)
        words = [word for word in (step.event, step.what, step.at) if word]
        found.append(f"{'>' if stopped else ' '} {place}{' '.join(words)}")
        last = step.actor
    return found
