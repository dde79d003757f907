"""Which schedules to try: all with at most so many preemptions, the simplest first; each once of
those that come to the same. Pure: it knows runs only by their points.
"""

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.explore.schedules import Order, Point, Step

LATER = 4  # how many steps later another choice may be for a preemption less
LAST = 1 << 30  # the weight of what is tried after all else


@dataclass
class Tree:
    """The schedules within a bound. A prefix is the actors' names up to a choice; from there on
    each actor goes on as long as it can. Actors that are `alike` do the same: of those that have
    not begun yet, only the first one may begin.
    """

    bound: int
    alike: tuple[str, ...] = ()
    waiting: list[tuple[int, int, tuple[str, ...]]] = field(
        default_factory=lambda: [(0, 0, ())]
    )  # a heap of (weight, length, prefix)
    reached: dict[tuple[int, str], int] = field(default_factory=dict)  # with how few preemptions
    tried: int = 0

    def next(self) -> tuple[str, ...] | None:
        """Return the next prefix to try, or None."""
        return heapq.heappop(self.waiting)[2] if self.waiting else None

    def again(self, prefix: tuple[str, ...]) -> None:
        """Try a prefix once more, after all others."""
        heapq.heappush(self.waiting, (LAST, len(prefix), prefix))

    def add(self, prefix: Sequence[str], points: Sequence[Point]) -> None:
        """Note what a run of this prefix showed: what else could have been chosen after it."""
        self.tried += 1
        order, count, last = Order(), 0, ""
        begun: set[str] = set()
        for place, point in enumerate(points):
            names = [step.actor for step in point.enabled]
            new = [name for name in self.alike if name in names and name not in begun]
            begun.add(point.step.actor)
            if place >= len(prefix):
                for number, step in enumerate(point.enabled):
                    costs = count + (last in names and step.actor != last)
                    is_other = (
                        number != point.chosen and costs <= self.bound and step.actor not in new[1:]
                    )
                    if is_other and self.is_new(order.after(step), step, costs):
                        chosen = (one.step.actor for one in points[:place])
                        entry = costs * LATER + place, place, (*chosen, step.actor)
                        heapq.heappush(self.waiting, entry)
            count += last in names and point.step.actor != last
            last = point.step.actor
            order = order.after(point.step)
            self.is_new(order, point.step, count)

    def is_new(self, order: Order, step: Step, costs: int) -> bool:
        """Return whether no equivalent prefix was reached with as few preemptions."""
        key = order.sum, step.actor
        if self.reached.get(key, self.bound + 1) <= costs:
            return False
        self.reached[key] = costs
        return True


class Prefix:
    """Chooses the actors of a prefix, one after the other; then each goes on as long as it can."""

    def __init__(self, prefix: tuple[str, ...]):
        self.prefix = prefix

    def __call__(self, place: int, names: list[str], last: str) -> int | None:
        """Return which of these actors goes on; None if the one that should cannot."""
        if place < len(self.prefix):
            wanted = self.prefix[place]
            return names.index(wanted) if wanted in names else None
        return names.index(last) if last in names else 0


class Priorities:
    """Chooses by random priorities that change at a few random places (PCT: Burckhardt, Kothari,
    Musuvathi, Nagarakatte, ASPLOS 2010). With n actors and k steps, one run finds a bug of depth
    `depth` with a probability of at least 1 / (n k^(depth - 1)).
    """

    def __init__(self, rng: random.Random, steps: int, depth: int):
        self.rng, self.priorities = rng, dict[str, float]()
        self.changes = {rng.randrange(max(steps, 1)): -number for number in range(1, depth)}

    def __call__(self, place: int, names: list[str], last: str) -> int:
        """Return which of these actors goes on."""
        for name in names:
            self.priorities.setdefault(name, self.rng.random())
        best = max(names, key=lambda name: self.priorities[name])
        if place in self.changes:
            self.priorities[best] = self.changes[place]
            best = max(names, key=lambda name: self.priorities[name])
        return names.index(best)


def chance(runs: int, actors: int, steps: int, depth: int) -> float:
    """Return the least probability that so many runs by Priorities find a bug of this depth."""
    one = 1 / (max(actors, 1) * max(steps, 1) ** (depth - 1))
    return 1 - math.pow(1 - one, runs)
