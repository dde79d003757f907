"""A server that is held at its gates while a player thinks, and what a page shows of it then."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.driving.messages import shortened
from harness.driving.record import Entry, Record
from harness.driving.server import NotStarted
from harness.explore.controller import Actor, Controller
from harness.explore.play.known import Known
from harness.explore.program import Start
from harness.explore.runs import PATIENCE, Runner
from harness.explore.schedules import Point, Step, stops
from harness.model.group import Rules
from harness.model.play import Play
from harness.verdicts.formats.render import cleaned

MOST_LINES, MOST_LETTERS = 200, 400  # of what was sent and heard, that a page shows
# While a player thinks, the time-outs of a server go on. Ours and many others take longer ones;
# another server is given up when it was held for so long.
LONG = 3600
THINKS = 15.0
TIMES = {"join_within": LONG, "ping_after": LONG, "idle_after": LONG}


class Seat(Runner):
    """Runs a server whose time-outs do not end while a player thinks, and shows where it is.

    first       where the record of this schedule begins
    hurries     whether the server does not take longer time-outs
    """

    first = 0
    hurries = False
    since = 0.0  # when the clients were made ready

    def __init__(self, start: Start, folder: Path, known: Known):
        super().__init__(start, folder)
        self.known = known

    def started(self, folder: Path) -> Play:
        """As of Runner, with longer time-outs if the server takes them."""
        flags = ["--admit", "all", "--reject-after", "0.05", "--slow-after", str(LONG)]
        for name, seconds in TIMES.items():
            flags += ["--" + name.replace("_", "-"), str(seconds)]
        assert self.start is not None
        try:
            server = self.start(self.controller.path.parent, folder, flags, Record())
            rules = Rules("all", reject_after=0.05, **TIMES)
            return Play(server, rules, PATIENCE)
        except NotStarted as problem:
            if problem.status != 2:
                raise
        self.hurries = True
        return super().started(folder)

    def prepared(self) -> Play:
        """As of Runner."""
        play = super().prepared()
        self.first, self.since = len(play.record.entries), time.monotonic()
        return play

    def was_held_long(self) -> bool:
        """Return whether the server was held for so long that its time-outs may have ended."""
        return self.hurries and time.monotonic() - self.since > THINKS

    # -- What a page shows

    def at_gates(self) -> dict[str, Any]:
        """Return what a page shows where the server is held at its gates."""
        play, controller = self.play, self.controller
        assert play
        for label, who in play.current.items():
            if play.is_open(label):
                play.reads_what_came(who)
        living = [one for one in controller.living() if one.held or controller.is_named(one)]
        living.sort(key=lambda one: (not controller.is_named(one), one.name, one.born))
        return {
            **self.path_of(self.points),
            "status": "at gates",
            "choices": [self.known.row(step) for step in self.next],
            "actors": [actor_of(self.controller, one, self.known) for one in living],
            "heard": heard(self.entries()),
        }

    def path_of(self, points: Sequence[Point]) -> dict[str, Any]:
        """Return the path of these points, its steps, and the number of the state after it."""
        return {
            "path": [point.step.actor for point in points],
            "steps": [
                [*self.known.row(point.step), stopped]
                for point, stopped in zip(points, stops(points), strict=True)
            ],
            "state": self.known.states_of(points)[-1] if points else 0,
        }

    def entries(self) -> list[Entry]:
        """Return what was sent and heard in this schedule."""
        play = self.play
        return play.record.entries[self.first :] if play else []

    def is_alive(self) -> bool:
        """Return whether the server runs."""
        play = self.play
        return play is not None and play.server.process.poll() is None


def actor_of(controller: Controller, one: Actor, known: Known) -> dict[str, Any]:
    """Return where an actor is, the locks that it holds, and the one it waits for."""
    other = controller.waits_for(one)
    event = one.event
    step = Step(one.name, event["e"], event["o"], "", str(event.get("at", "")))
    return {
        "step": known.row(step),
        "held": one.held,
        "holder": other.name if other else "",
        "holds": [name for (_, name), lock in controller.locks.items() if one in lock.holders],
    }


def heard(entries: Sequence[Entry]) -> list[list[str]]:
    """Return what was sent and heard, as a page shows it: a name, a deed, the text."""
    return [
        [one.who, one.what, cleaned(shortened(one.text.removesuffix("\n"), MOST_LETTERS))]
        for one in entries[-MOST_LINES:]
    ]
