"""Shows a schedule: a column for each actor, and time runs down."""

from collections.abc import Callable
from typing import Any

from harness.driving.messages import Message, msg
from harness.explore.runs import Run, Violation
from harness.explore.schedules import Point, preemptions, stops
from harness.model import notation


def schedule_text(run: Run, source: Callable[[str], str] = str) -> Message:
    """Return a run's schedule in lines. `source` makes a line of source of an event's place."""
    return msg(
        "{steps} steps; preemptions (>): {count}\n{lines}",
        steps=len(run.points),
        count=preemptions(run.points),
        lines="\n".join(lanes(run.points, source)),
    )


def rows(points: list[Point], source: Callable[[str], str] = str) -> list[list[Any]]:
    """Return for each step who takes it, what it is, its place in the source, and whether another
    one had to stop for it.
    """
    return [
        [
            point.step.actor,
            f"{point.step.event} {point.step.what}".rstrip(),
            source(point.step.at),
            stopped,
        ]
        for point, stopped in zip(points, stops(points), strict=True)
    ]


def lanes(points: list[Point], source: Callable[[str], str] = str) -> list[str]:
    """Return a line for each step, below its actor's name; > marks where an actor had to stop."""
    names = list(dict.fromkeys(point.step.actor for point in points))
    width = max(map(len, names), default=0) + 2
    found = ["  " + "".join(f"{name:{width}}" for name in names).rstrip()]
    for actor, words, place, stopped in rows(points, source):
        indent = " " * (names.index(actor) * width)
        found.append(f"{'>' if stopped else ' '} {indent}{words} {place}".rstrip())
    return found


def violation_lines(violation: Violation) -> list[Message]:
    """Return what broke, in lines."""
    if violation.difference is None:
        return [msg("a deadlock:"), *(msg("  {why}", why=why) for why in violation.circle)]
    return [
        msg("expected: {expected}", expected=notation.expected(violation.difference)),
        msg("actual:   {actual}", actual=notation.actual(violation.difference)),
    ]
