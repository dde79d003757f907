"""The orders of steps that are known of one workload, as a page draws them: a log of rows that only
grows, so that a page asks for what is new.

A row is {"step": [actor, event, what, source]}, {"point": [steps that could be taken]}, or {"run":
its points, which step was chosen at each, the state after each}. Steps, points and states are
numbers. Two orders that come to the same reach one state (schedules.Order); the first state is 0.
"""

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from harness.explore.runs import Run
from harness.explore.schedules import Order, Point, Step

NUMBERS = re.compile(r"\d+-\d+")  # of events: each schedule on one server has others


class Known:
    """Which orders are known. Any thread may add some.

    source      makes a line of source of an event's place
    """

    def __init__(self, source: Callable[[str], str] = str):
        self.source = source
        self.log: list[dict[str, Any]] = []
        self.numbers: dict[str, dict[str, int]] = {}  # of each kind of row but runs
        self.states: dict[int, int] = {Order().sum: 0}
        self.paths: set[tuple[str, ...]] = set()
        self.lock = threading.RLock()  # guards all of these

    def add(self, run: Run, end: Sequence[str], views: Sequence[Any] = ()) -> None:
        """Add a run, unless its order is known. `end`: what it broke, in lines. `views`: what a
        recorded page shows at each point, and at the end.
        """
        path = tuple(point.step.actor for point in run.points)
        with self.lock:
            if path in self.paths or run.diverged or run.unclear:
                return
            self.paths.add(path)
            row: dict[str, Any] = {
                "points": [self.point(point) for point in run.points],
                "chosen": [point.chosen for point in run.points],
                "states": self.states_of(run.points),
            }
            if end:
                row["end"] = list(end)
            if views:
                row["views"] = [self.number("view", view) for view in views]
                row["next"] = self.next_of(run.points)
            self.log.append({"run": row})

    def number(self, kind: str, value: Any) -> int:
        """Return the number of a value of the log, which gets a row if it is new."""
        known = self.numbers.setdefault(kind, {})
        if (key := repr(value)) not in known:
            known[key] = len(known)
            self.log.append({kind: value})
        return known[key]

    def step(self, step: Step) -> int:
        """Return the number of a step."""
        return self.number("step", self.row(step))

    def row(self, step: Step) -> list[str]:
        """Return a step as a page shows it."""
        return [step.actor, step.event, plain(step).what, self.source(step.at)]

    def point(self, point: Point) -> int:
        """Return the number of the steps that could be taken at a point."""
        return self.number("point", [self.step(step) for step in point.enabled])

    def states_of(self, points: Sequence[Point]) -> list[int]:
        """Return the number of the state after each of these points."""
        order, found = Order(), []
        with self.lock:
            for point in points:
                order = order.after(plain(point.step))
                found.append(self.states.setdefault(order.sum, len(self.states)))
        return found

    def next_of(self, points: Sequence[Point]) -> list[list[int]]:
        """Return for each of these points the number of the state after each step that can be
        taken. Some of them no run may have reached.
        """
        order, found = Order(), []
        for point in points:
            marks = [order.after(plain(step)).sum for step in point.enabled]
            found.append([self.states.setdefault(mark, len(self.states)) for mark in marks])
            order = order.after(plain(point.step))
        return found

    def since(self, row: int) -> list[dict[str, Any]]:
        """Return the log from this row on."""
        with self.lock:
            return self.log[row:]


def plain(step: Step) -> Step:
    """Return a step without what differs from one schedule on a server to the next."""
    return step._replace(what="") if NUMBERS.fullmatch(step.what) else step
