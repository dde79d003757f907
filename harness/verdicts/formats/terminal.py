"""A Report in the terminal: one line for each verdict as it comes, what a failure needs told below it, and a summary."""
import os
import secrets

from rich.console import Console
from rich.text import Text

from harness.verdicts.formats.told import cleaned
from harness.verdicts.model import PASSED, VERDICTS

screen = Console(highlight=False, markup=False, soft_wrap=True)
STYLES = {"passed": "bold green", "failed": "bold red", "inconclusive": "bold yellow", "not run": "dim", "harness fault": "bold magenta"}
WIDTH = max(map(len, VERDICTS))


def begin():
    """In GitHub's actions a line may be a command to the runner: what a server wrote is to be none. Returns what ends that."""
    token = secrets.token_hex(16)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(f"::stop-commands::{token}", flush=True)
        return lambda: print(f"::{token}::", flush=True)
    return lambda: None


def indented(text, by):
    return text.replace("\n", "\n" + " " * by)


def show(verdict):
    """One verdict, as it comes."""
    verdict = cleaned(verdict)
    line = Text.assemble((f"{verdict.verdict:>{WIDTH}}", STYLES[verdict.verdict]), f"  {verdict.stage}: {verdict.title}")
    if verdict.why:
        line.append(f" ({verdict.why})", "dim")
    screen.print(line)
    if verdict.failure:
        tell(verdict.failure)


def tell(failure):
    """A failure: what was done, expected, and came; why, and what to do next."""
    for number, step in enumerate(failure.steps, 1):
        screen.print(f"      {number:>2}. {indented(step, 10)}")
    screen.print(Text.assemble(("      expected: ", "bold"), indented(failure.expected, 16)))
    screen.print(Text.assemble(("      but:      ", "bold"), indented(failure.came, 16)))
    if failure.run:
        screen.print(Text.assemble(("      when:     ", "bold"), failure.run))
    if failure.cause:
        screen.print(Text.assemble(("      cause:    ", "bold"), failure.cause))
    screen.print(Text.assemble(("      read:     ", "bold"), f"lab_guide/{failure.page}"))
    screen.print(Text.assemble(("      again:    ", "bold"), failure.replay))


def summary(report):
    """The end of the run."""
    counts = ", ".join(f"{len(found)} {word}" for word in VERDICTS if (found := report.of(word)))
    screen.print()
    screen.print(Text.assemble((counts or "no check was run", "bold"), f"; {report.score:g} of {report.most:g} points in {report.seconds:.0f} s"
                               f"{'' if report.complete else ' (stopped)'}. Seed {report.seed}. All that happened: {report.folder}"))
    for note in report.notes:
        screen.print(note)


def progress(report):
    """How far a learner is in his lab."""
    for what, chosen in ("Earlier labs", lambda lab: lab < report.lab), (f"Lab {report.lab}", lambda lab: lab == report.lab):
        found = [verdict for verdict in report.verdicts if chosen(verdict.lab)]
        if found:
            screen.print(f"{what}: {sum(verdict.verdict == PASSED for verdict in found)} of {len(found)} checks passed")
