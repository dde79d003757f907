"""Records all orders of the classic races, for a page that needs no server.

Each order is executed: a race is a program that takes --trace, and ends with status 1 if it went
wrong (lab_guide/races/classics.py). A page has them all, each as it is and with its fix.
"""

import ast
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.driving.messages import Message, msg, template
from harness.explore.exploration import Exploration, Explored
from harness.explore.forced import Commands
from harness.explore.play.known import Known
from harness.explore.play.seat import actor_of
from harness.explore.runs import Chooser, Run
from harness.explore.workloads import Workload

NAMES = "ana", "ben"
BOUND = 9  # preemptions: more than any of the races has steps
MODULE = "lab_guide.races.classics"


@dataclass(frozen=True)
class Race:
    """A classic race. `wrong`: the words for its wrong end, of which {what} is what it printed."""

    title: Message
    about: Message
    wrong: str = ""


RACES = {
    "lost-update": Race(
        msg("Lost update"),
        msg("Ana and Ben both add one to a number. The fix: read and write under one lock."),
        template("The number is {what}: an update is lost."),
    ),
    "check-then-act": Race(
        msg("Check, then act"),
        msg(
            "Ana and Ben both want the name zoe. Each access is under the lock. The fix: check and "
            "take the name without giving the lock back."
        ),
        template("Two have the name: {what}."),
    ),
    "two-locks": Race(
        msg("Two locks"),
        msg("Ana and Ben both need two locks. The fix: both take them in the same order."),
    ),
    "lost-wake-up": Race(
        msg("Lost wake-up"),
        msg(
            "Ben sleeps until ana has something to read. The fix: look and go to sleep under a "
            "lock."
        ),
    ),
    "torn-line": Race(
        msg("A torn line on a pipe"),
        msg(
            "Two processes write a line each into one pipe, in two pieces. The fix: write a line "
            "in one piece, of at most PIPE_BUF bytes."
        ),
        template("The reader gets: {what}"),
    ),
    "lock-for-each-client": Race(
        msg("A lock for each client"),
        msg(
            "Ana and Ben both send with the next number. Each holds a lock, but its own. The fix: "
            "one lock for the number."
        ),
        template("Two messages have the number {what}."),
    ),
}


class Recorder(Commands):
    """Runs a race under a controller, and notes what a page shows at each point, and at the end."""

    def __init__(self, command: Sequence[str], cwd: Path, folder: Path, race: Race):
        super().__init__(command, cwd, folder, NAMES)
        self.race, self.known = race, Known()
        self.views: list[dict[str, Any]] = []
        self.stuck: list[Message] = []

    def view(self) -> dict[str, Any]:
        """Return what a page shows now."""
        controller = self.controller
        living = [one for one in controller.living() if controller.is_named(one)]
        living.sort(key=lambda one: one.name)
        return {"actors": [actor_of(controller, one, self.known) for one in living]}

    def once(self, choose: Chooser, regular: frozenset[str] | None) -> Run:
        """As of Commands; the run is known from then on."""
        self.views, self.stuck = [], []

        def look(place: int, names: list[str], last: str) -> int | None:
            self.views.append(self.view())
            return choose(place, names, last)

        run = super().once(look, regular)
        ends, wrong = list(self.stuck), self.printed[-1].strip().partition("wrong: ")[2]
        if wrong and not ends:
            ends = [Message(self.race.wrong, {"what": wrong})]
        self.known.add(run, ends, [*self.views, {"actors": self.last}])
        return run

    def at_rest(self, process: subprocess.Popen[str]) -> None:
        """As of Commands; note why nobody can go on."""
        self.last = self.view()["actors"] if process.poll() is None else []
        if process.poll() is None:
            circle = self.controller.circle()
            nobody = msg("Nobody can go on, and nobody will wake them.")
            self.stuck = [msg("a deadlock:"), *self.reasons(circle)] if circle else [nobody]
        super().at_rest(process)


def record(name: str, is_fixed: bool, cwd: Path) -> dict[str, Any]:
    """Execute all orders of a race, and return them as a page has them. Raises NotExplored."""
    race = RACES[name]
    command = [sys.executable, "-m", MODULE, name, *["--fixed"] * is_fixed]
    explored = Explored.nothing(Workload(name, race.title, ()), len(NAMES), BOUND)
    explored.regular = frozenset()  # its main thread is no choice
    with tempfile.TemporaryDirectory(prefix="grupo-") as folder:
        recorder = Recorder(command, cwd, Path(folder), race)
        workers: Any = recorder  # it has what Exploration needs of them
        try:
            Exploration(explored).explore(workers, float("inf"))
        finally:
            recorder.close()
    assert explored.complete, "not all orders were tried"
    return {
        "name": f"{name}-fixed" if is_fixed else name,
        "title": msg("{race}, fixed", race=race.title) if is_fixed else race.title,
        "about": race.about,
        "rows": recorder.known.log,
        "orders": explored.tree.tried,
        "code": code_of(cwd / (MODULE.replace(".", "/") + ".py"), name.replace("-", "_")),
    }


def code_of(file: Path, function: str) -> list[list[Any]]:
    """Return the lines of a function, as [its file and number, text]."""
    text = file.read_text(encoding="utf-8")
    [found] = [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    lines = list(enumerate(text.split("\n"), 1))[found.lineno - 1 : found.end_lineno]
    return [[f"{file.name}:{number}", line] for number, line in lines]
