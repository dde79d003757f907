"""Which schedules to try: all with at most so many preemptions, the simplest first; as few as
possible of those that come to the same. Pure: it knows runs only by their points.

Orders that come to the same have the same mark (schedules.Order), as in CHESS (Musuvathi, Qadeer,
MSR-TR-2007-12). One is pruned only if an equivalent one got there with so few preemptions that
whatever may follow stays within the bound. Sleep sets (Godefroid, LNCS 1032) prune without regard
to that, so with a bound they lose orders (Coons, Musuvathi, McKinley, OOPSLA 2013): on the toy
programs of tests/test_explore.py with a bound of 2, one outcome of 20. For each outcome that is
reached, this search needs about as many runs there as sleep sets do, and a third of plain
depth-first search.
"""

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.explore.schedules import Order, Point

LATER = 12  # how many steps later another choice may be for a preemption less
LAST = 1 << 30  # the weight of what is tried after all else
NONE = -1  # the mark of a prefix that is tried in any case


class Entry(NamedTuple):
    """A prefix to try: the actors' names up to a choice, with so many preemptions (`costs`). `mark`
    is that of their order.
    """

    weight: int  # the least is tried first
    length: int
    prefix: tuple[str, ...]
    mark: int
    costs: int


@dataclass
class Tree:
    """The schedules within a bound. After a prefix each actor goes on as long as it can. Actors
    that are `alike` do the same: of those that have not begun yet, only the first one may begin.

    reached     with how few preemptions, by the mark of an order and the actor of its last step
    least       the same by the mark alone, whichever actor took the last step: one that then cannot
                go on counts as a preemption less, since no actor has to stop for the next one
    waiting     a heap
    """

    bound: int
    alike: tuple[str, ...] = ()
    waiting: list[Entry] = field(default_factory=lambda: [Entry(0, 0, (), NONE, 0)])
    reached: dict[tuple[int, str], int] = field(default_factory=dict)
    least: dict[int, int] = field(default_factory=dict)
    tried: int = 0

    def next(self) -> tuple[str, ...] | None:
        """Return the next prefix to try, or None."""
        while self.waiting:
            entry = heapq.heappop(self.waiting)
            if not self.is_covered(entry):  # by what was found since it was noted
                return entry.prefix
        return None

    def is_covered(self, entry: Entry) -> bool:
        """Return whether an equivalent prefix was reached with fewer preemptions.

        That is enough if another actor took its last step: to go on as this prefix does may need
        one preemption more then.
        """
        return self.least.get(entry.mark, entry.costs) < entry.costs

    def again(self, prefix: tuple[str, ...]) -> None:
        """Try a prefix once more, after all others."""
        heapq.heappush(self.waiting, Entry(LAST, len(prefix), prefix, NONE, 0))

    def add(self, prefix: Sequence[str], points: Sequence[Point]) -> None:
        """Note what a run of this prefix showed: what else could have been chosen after it."""
        self.tried += 1
        order, count, last = Order(), 0, ""
        begun: set[str] = set()
        for place, point in enumerate(points):
            names = [step.actor for step in point.enabled]
            if last not in names:
                self.least[order.sum] = min(count - 1, self.least.get(order.sum, count))
            new = [name for name in self.alike if name in names and name not in begun]
            for number, step in enumerate(point.enabled):
                costs = count + (last in names and step.actor != last)
                if number == point.chosen:
                    self.note(order.after(step).sum, step.actor, costs)
                elif place >= len(prefix) and costs <= self.bound and step.actor not in new[1:]:
                    chosen = (one.step.actor for one in points[:place])
                    self.push((*chosen, step.actor), order.after(step).sum, costs)
            count += last in names and point.step.actor != last
            last = point.step.actor
            begun.add(last)
            order = order.after(point.step)

    def push(self, prefix: tuple[str, ...], mark: int, costs: int) -> None:
        """Try this prefix later, unless an equivalent one was reached with as few preemptions."""
        place = len(prefix) - 1
        entry = Entry(costs * LATER + place, place, prefix, mark, costs)
        is_new = self.reached.get((mark, prefix[-1]), self.bound + 1) > costs
        if is_new and not self.is_covered(entry):
            heapq.heappush(self.waiting, entry)
            self.note(mark, prefix[-1], costs)

    def note(self, mark: int, actor: str, costs: int) -> None:
        """Note that an order was reached with so few preemptions, and by which actor's step."""
        key = mark, actor
        self.reached[key] = min(costs, self.reached.get(key, costs))
        self.least[mark] = min(costs, self.least.get(mark, costs))


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
