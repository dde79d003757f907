"""A real server that a player takes through its schedules, one step at a time.

The server is held at its gates until the player chooses. To go back is to give the schedule up and
to take another server through the beginning: what is left of it is played to its end meanwhile,
and becomes one more order that is known.
"""

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

from harness.driving.messages import msg
from harness.driving.record import CheckFailed
from harness.explore.exploration import Explored
from harness.explore.play.known import Known
from harness.explore.play.seat import Seat, heard
from harness.explore.report import violation_lines
from harness.explore.runs import NotExplored, Run
from harness.explore.schedules import Schedule
from harness.model.lines import Difference
from harness.model.search import Unclear
from harness.verdicts.formats.render import cleaned

LOOKS = 0.25  # seconds between two looks whether the server is still there
# What getting a server ready raises if it cannot be played, or has died.
DIES = NotExplored, Difference, Unclear, CheckFailed, OSError
ANSWERS = 30.0  # seconds within which a choice has been carried out


class Stale(Exception):
    """A choice that was made for a place where the schedule no longer is: in another tab, say."""


class Game:
    """One schedule after the other of a server, as the player chooses.

    There are two servers, so that one is ready when the player goes back: it is taken along the
    path while the other one goes on to its end. A path is the names of those that took the steps so
    far. `view` is what a page shows. Each change raises `version`, and wakes those that wait.
    """

    def __init__(self, seats: Sequence[Seat], explored: Explored, known: Known):
        self.seats, self.explored, self.known = seats, explored, known
        self.changed = threading.Condition()  # guards all below
        self.version = 0
        self.view: dict[str, Any] = {"status": "starts", "path": [], "state": 0}
        self.wanted: tuple[str, ...] = ()  # the path that the player wants
        self.to_end = False  # then each goes on as long as it can, to the end
        self.is_asked = True  # the last choice is not carried out yet
        self.turn = 0  # of which seat it is
        self.is_closing = False
        self.guesses: dict[tuple[str, ...], str] = {}
        self.why = ""  # nothing more is explored beside the player

    # -- What the player asks

    def go(self, here: Sequence[str], path: Sequence[str], to_end: bool, guess: str) -> None:
        """Take the server along this path, from `here`, where the player saw it stand.

        Raises Stale if it does not stand there.
        """
        with self.changed:
            if self.is_asked or list(here) != self.view["path"]:
                raise Stale
            self.wanted, self.to_end, self.is_asked = tuple(path), to_end, True
            if guess:
                self.guesses[self.wanted] = guess
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self.is_asked or self.is_closing, ANSWERS)

    def wait(self, version: int, seconds: float) -> None:
        """Wait for something newer than this version, for so long."""
        with self.changed:
            self.changed.wait_for(lambda: self.version != version or self.is_closing, seconds)

    def state(self, row: int) -> dict[str, Any]:
        """Return what a page shows, and the log of what is known from this row on."""
        with self.changed:
            path = self.view["path"]
            guesses = [self.guesses.get(tuple(path[: n + 1]), "") for n in range(len(path))]
            view = {**self.view, "guesses": guesses}
            return {
                "version": self.version,
                "view": view,
                "busy": self.is_asked,
                "log": self.known.since(row),
                "rows": row,
                "progress": self.progress(),
            }

    def progress(self) -> dict[str, Any]:
        """Return how much was tried beside the player."""
        explored = self.explored
        whole = explored.complete and not (explored.diverged or explored.unclear)
        return {
            "text": self.why or cleaned(explored.tried),
            "whole": whole,
            "impossible": cleaned(
                msg(
                    "Impossible in all {count} orders of {clients} clients with at most {bound} "
                    "preemptions.",
                    count=explored.tree.tried,
                    clients=explored.clients,
                    bound=explored.bound,
                )
            ),
        }

    def schedule(self) -> str:
        """Return the steps so far as the text of a file, for `explore --replay`."""
        with self.changed:
            steps = self.view.get("steps", [])
            names = tuple(self.view["path"])
        notes = tuple(" ".join(str(part) for part in step[1:4] if part) for step in steps)
        return Schedule(self.explored.workload.name, self.explored.clients, names, notes).text()

    def close(self) -> None:
        """Let the schedule go on to its end, and no other begin."""
        with self.changed:
            self.is_closing = True
            self.changed.notify_all()

    # -- The thread of each seat

    def play(self, number: int) -> None:
        """Take a server through a schedule whenever it is its turn, until close()."""
        seat = self.seats[number]
        try:
            while not self.is_closing:
                with contextlib.suppress(*DIES):  # it comes again in its turn
                    seat.ready()
                with self.changed:
                    self.changed.wait_for(
                        lambda: (self.turn == number and self.is_asked) or self.is_closing
                    )
                if not self.is_closing:
                    self.one_schedule(seat)
        finally:
            seat.close()

    def one_schedule(self, seat: Seat) -> None:
        """Take a server through a schedule as the player says."""
        turn = Turn(self, seat)
        workload, clients = self.explored.workload, self.explored.clients
        try:
            if seat.was_held_long() or not seat.is_alive():
                seat.stop()
            run = seat.run(workload, clients, turn, self.explored.regular)
        except (NotExplored, OSError) as why:
            seat.stop()
            text = why.args[0] if isinstance(why, NotExplored) else str(why)
            if not turn.is_given_up:
                self.show({"status": "failed", "path": [], "state": 0, "end": [cleaned(text)]})
            return
        lines = cleaned(violation_lines(run.violation)) if run.violation else []
        if not seat.was_held_long():
            self.add(run, lines)
        if not turn.is_given_up:
            entries = run.violation.entries if run.violation else seat.entries()
            ends = {"status": "over", "end": lines, "unclear": run.unclear, "heard": heard(entries)}
            self.pass_on()
            self.show({**seat.path_of(run.points), **ends})

    def pass_on(self) -> None:
        """Let the other server be taken along the path that the player wants next."""
        with self.changed:
            self.turn = 1 - self.turn
            self.changed.notify_all()

    def add(self, run: Run, lines: Sequence[str]) -> None:
        """Add a run to what is known."""
        self.known.add(run, lines)
        self.tell()

    def tell(self) -> None:
        """Wake the pages: there is something new."""
        with self.changed:
            self.version += 1
            self.changed.notify_all()

    def show(self, view: dict[str, Any]) -> None:
        """Show this: what the player asked for is carried out."""
        with self.changed:
            self.view = view
            self.wanted, self.to_end, self.is_asked = tuple(view["path"]), False, False
            self.tell()


class Turn:
    """Chooses who goes on as the player does. When the player has given the schedule up, each actor
    goes on as long as it can.
    """

    def __init__(self, game: Game, seat: Seat):
        self.game, self.seat, self.is_given_up = game, seat, False

    def __call__(self, place: int, names: list[str], last: str) -> int:
        """Return which of these actors goes on."""
        path = tuple(point.step.actor for point in self.seat.points)
        wanted = None if self.is_given_up else self.wanted(path, names)
        return names.index(wanted or (last if last in names else names[0]))

    def wanted(self, path: tuple[str, ...], names: list[str]) -> str | None:
        """Return who goes on after this path; None: each as long as it can."""
        game = self.game
        while not game.is_closing:
            if game.to_end and path[: len(game.wanted)] == game.wanted:
                return None
            if game.wanted[: len(path)] != path:
                break
            if len(game.wanted) > len(path):
                if (who := game.wanted[len(path)]) in names:
                    return who
                game.show({**self.seat.at_gates(), "other": who})  # the program took another way
            elif game.is_asked:
                game.show(self.seat.at_gates())
            self.wait()
            if not self.seat.is_alive():
                return None  # the end of the schedule says why
            if not game.is_asked:
                break
        self.is_given_up = True
        game.pass_on()
        return None

    def wait(self) -> None:
        """Wait for the player, as long as the server can stand there."""
        game = self.game
        with game.changed:
            while not (game.is_asked or game.is_closing or self.seat.was_held_long()):
                game.changed.wait(LOOKS)
                if not self.seat.is_alive():
                    break
