"""Explores the workload beside the player, so that the tree of known orders grows."""

from dataclasses import replace
from typing import Any

from harness.explore.exploration import Exploration, Workers
from harness.explore.play.game import Game
from harness.explore.report import violation_lines
from harness.explore.runs import NotExplored, Run
from harness.verdicts.formats.render import cleaned

MOST_KNOWN = 1_000  # schedules that are tried


class Beside(Exploration):
    """Explores the same workload beside the player, and goes on when something breaks."""

    game: Game

    def note(self, choose: Any, run: Run) -> None:
        """As of Exploration."""
        lines = violation_lines(run.violation) if run.violation else []
        self.game.add(run, cleaned(lines))
        super().note(choose, replace(run, violation=None))

    def find_regular(self, workers: Any) -> None:
        """As of Exploration; what breaks is tried again later."""
        super().find_regular(workers)
        self.explored.run = None

    def has_more(self) -> bool:
        """As of Exploration."""
        return (
            super().has_more()
            and self.explored.tree.tried < MOST_KNOWN
            and not self.game.is_closing
        )

    def job(self) -> Any:
        """As of Exploration."""
        return super().job() if self.has_more() else None

    def go_on(self, workers: Workers) -> None:
        """Explore until there is no more, or the game ends."""
        try:
            self.explore(workers, float("inf"))
        except NotExplored as why:
            self.game.why = cleaned(why.args[0])
        self.game.tell()
