"""How far a run is: a line that changes on a terminal, else a line for each submission."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from harness.grading.model import End, Grade
from harness.grading.results import in_short
from harness.verdicts.formats.render import clean
from harness.verdicts.language import say

REMEMBERED = 3600  # seconds from which the time left is estimated: a submission takes a minute


class Shown:
    """A context in which a run's progress is shown on stdout."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.running, self.looks = total, 0, 0, 0
        self.began = time.monotonic()
        console = Console(highlight=False, markup=False)
        self.bar = (
            Progress(
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(compact=True),
                console=console,
                speed_estimate_period=REMEMBERED,
                transient=True,
            )
            if total and sys.stdout.isatty()
            else None
        )
        self.task = self.bar.add_task("", total=total) if self.bar else None

    def __enter__(self) -> "Shown":
        if self.bar:
            self.bar.start()
            self.show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self.bar:
            self.bar.stop()

    def line(self, text: str) -> None:
        """A line of its own, above what changes."""
        if self.bar:
            self.bar.console.print(clean(text), markup=False, highlight=False, soft_wrap=True)
        else:
            print(clean(text), flush=True)

    def started(self) -> None:
        """One more is being judged."""
        self.running += 1
        self.show()

    def ended(self, names: list[str], grade: Grade, is_settled: bool) -> None:
        """One less is; if it is settled, these students have their grade."""
        self.running -= 1
        self.done += is_settled
        self.looks += is_settled and grade.end == End.LOOK
        if is_settled and not self.bar:
            self.line(self.as_line(names, grade))
        self.show()

    def as_line(self, names: list[str], grade: Grade) -> str:
        """How a submission ended, for a log."""
        words = {
            "done": self.done,
            "total": self.total,
            "names": ", ".join(names),
            "end": in_short(grade),
        }
        if grade.end == End.GRADED:
            return say("{done} of {total}  {names}: {end}", **words)
        return say("{done} of {total}  {names}: {end}: {why}", why=grade.why, **words)

    def show(self) -> None:
        """Brings the line on the terminal up to date."""
        if self.bar is None:
            return
        text = say(
            "{done} of {total} done, {running} running, {looks} need a look; time left",
            done=self.done,
            total=self.total,
            running=self.running,
            looks=self.looks,
        )
        self.bar.update(self.task, completed=self.done, description=escape(text))
