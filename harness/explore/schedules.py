"""Schedules: in which order actors took their steps; and when two orders come to the same.

A schedule is a small text file that can be read, and replayed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

HEAD = "grupo schedule 1"
SHARED = "shared-", "flock:", "fcntl:"  # how names of locks begin that several processes share


class Wrong(ValueError):
    """A file that holds no schedule; the text says where."""


class Step(NamedTuple):
    """A step that an actor can take: `event` is what it reported last, about `what`, in `process`;
    `at` is the place in its source, as FILE:LINE, if it is known.
    """

    actor: str
    event: str
    what: str
    process: str
    at: str = ""

    @property
    def touches(self) -> tuple[str, ...]:
        """What another step must touch to be in its way: the memory of the process, and what the
        call into the kernel is about, if it begins with one.
        """
        memory, kind = f"memory of {self.process}", self.event[2:]
        if self.event[:2] != "B.":
            return (memory,)
        if kind in ("send", "keep", "save"):  # which socket or file is not known for certain
            return memory, kind
        if kind in ("read", "write"):
            return memory, "something that processes may share"
        if self.what.startswith(SHARED):
            return memory, f"{kind[:4]} {self.what}"
        if kind.startswith("pipe."):
            return memory, "pipe"
        return memory, f"{kind[:4]} {self.what} of {self.process}"


class Point(NamedTuple):
    """A choice: the steps that could be taken, and which of them was."""

    enabled: tuple[Step, ...]
    chosen: int

    @property
    def step(self) -> Step:
        """The step that was taken."""
        return self.enabled[self.chosen]


def stops(points: Iterable[Point]) -> Iterator[bool]:
    """Yield for each choice whether an actor had to stop there although it could go on."""
    last = ""
    for point in points:
        yield point.step.actor != last and last in [step.actor for step in point.enabled]
        last = point.step.actor


def preemptions(points: Iterable[Point]) -> int:
    """Return how often an actor had to stop although it could go on."""
    return sum(stops(points))


@dataclass
class Order:
    """What matters of an order of steps: which step came before which other one in its way.

    Two orders with one `mark` differ only in steps that are independent, so they lead to the same
    state (Mazurkiewicz 1977; CHESS prunes in this way: Musuvathi and Qadeer, MSR-TR-2007-12).
    """

    last: dict[str, int] = field(default_factory=dict)  # by actor and by what steps touch
    sum: int = 0

    def after(self, step: Step) -> "Order":
        """Return the order after one more step."""
        names = f"actor {step.actor}", *step.touches
        before = [self.last.get(name, 0) for name in names]
        digest = blake2b(repr((step[:3], before)).encode(), digest_size=8).digest()
        mark = int.from_bytes(digest, "big")
        return Order({**self.last, **dict.fromkeys(names, mark)}, (self.sum + mark) % (1 << 64))


@dataclass(frozen=True)
class Schedule:
    """The choices of one run of a workload with so many members: the actors' names in order.

    It shows what it shows when one server is taken through it at most so many `times`.
    """

    workload: str
    members: int
    actors: tuple[str, ...]
    notes: tuple[str, ...] = ()  # for readers: where each actor was
    times: int = 1

    def text(self) -> str:
        """Return it as the text of a file."""
        notes = self.notes or ("",) * len(self.actors)
        width = max(map(len, self.actors), default=0)
        lines = [f"{actor:{width}}  {note}".rstrip() for actor, note in zip(self.actors, notes)]
        times = f" {self.times}" if self.times > 1 else ""
        return "\n".join([HEAD, f"{self.workload} {self.members}{times}", *lines, ""])


def parse(text: str) -> Schedule:
    """Return the schedule in the text of a file. Raises Wrong."""
    lines = text.splitlines()
    if not lines or lines[0] != HEAD:
        raise Wrong(f"line 1: a schedule begins with {HEAD!r}")
    words = lines[1].split() if len(lines) > 1 else []
    numbers = [int(word) for word in words[1:] if word.isdecimal() and len(word) < 4]
    if len(words) not in (2, 3) or len(numbers) < len(words) - 1 or not all(numbers):
        raise Wrong("line 2: WORKLOAD MEMBERS [TIMES] expected")
    found = []
    for number, line in enumerate(lines[2:], 3):
        if not line.split():
            raise Wrong(f"line {number}: the name of an actor expected")
        found.append(line.split(maxsplit=1))
    notes = tuple(parts[1] if len(parts) > 1 else "" for parts in found)
    return Schedule(words[0], numbers[0], tuple(parts[0] for parts in found), notes, *numbers[1:])
