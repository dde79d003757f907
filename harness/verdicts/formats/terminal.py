"""A Report in the terminal: one line for each verdict as it comes, the explanation of each failure
below it, and a summary.
"""

import os
import secrets

from rich.console import Console
from rich.text import Text

from harness.driving.messages import template
from harness.verdicts.formats.render import (
    advice,
    cleaned,
    headline,
    labelled,
    numbered,
    place_of,
)
from harness.verdicts.language import say
from harness.verdicts.model import PASSED, VERDICTS

screen = Console(highlight=False, markup=False, soft_wrap=True)
STYLES = {
    "passed": "bold green",
    "failed": "bold red",
    "inconclusive": "bold yellow",
    "not run": "dim",
    "harness fault": "bold magenta",
}
# Of the summary: how many verdicts of each kind.
COUNTS = {
    "passed": template("{count} passed"),
    "failed": template("{count} failed"),
    "inconclusive": template("{count} inconclusive"),
    "not run": template("{count} not run"),
    "harness fault": template("{count} harness fault"),
}
LABEL = 10  # columns of `expected:`


def begin():
    """In GitHub's actions a line may be a command to the runner: what a server wrote is to be none.
    Returns what ends that.
    """
    token = secrets.token_hex(16)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(f"::stop-commands::{token}", flush=True)
        return lambda: print(f"::{token}::", flush=True)
    return lambda: None


def indented(text, by):
    return text.replace("\n", "\n" + " " * by)


def show(verdict, predictions=()):
    """One verdict, as it comes, and below it those of the learner's predictions that are about
    it.
    """
    guesses = [cleaned(one) for one in predictions if one.is_about(verdict)]
    verdict = cleaned(verdict)
    word = say(verdict.verdict).rjust(max(len(say(word)) for word in VERDICTS))
    name = "" if verdict.hidden else f"{verdict.check}  "
    line = Text.assemble(
        (word, STYLES[verdict.verdict]), f"  {say(verdict.stage)}: ", (name, "bold"), verdict.title
    )
    if verdict.why:
        line.append(f" ({verdict.why})", "dim")
    screen.print(line)
    if verdict.failure:
        tell(verdict.failure)
    for one in guesses:
        row(say("guess:"), f"{one.question}\n{one.answer}")


def tell(failure):
    """A failure: what was done, expected, and came; why, and what to do next."""
    for number, step in numbered(failure.steps):
        screen.print(f"      {number:>3} {indented(step, 10)}")
    for label, text in labelled(failure):
        row(label, text)


def row(label, text):
    """A label, and a text beside it."""
    screen.print(Text.assemble((f"      {label:{LABEL}}", "bold"), indented(text, 6 + LABEL)))


def summary(report):
    """The end of the run: how many of each kind, the points, and where the records are."""
    report = cleaned(report)
    screen.print()
    if report.refused:
        screen.print(Text.assemble((headline(report), "bold red"), " ", report.refused))
        return
    counts = ", ".join(
        say(COUNTS[word], count=len(found)) for word in VERDICTS if (found := report.of(word))
    )
    if report.complete:
        whole = say(
            "{score:g} of {most:g} points in {seconds:.0f} s. Seed {seed}.",
            score=report.score,
            most=report.most,
            seconds=report.seconds,
            seed=report.seed,
        )
    else:
        whole = say(
            "{score:g} of {most:g} points in {seconds:.0f} s (stopped). Seed {seed}.",
            score=report.score,
            most=report.most,
            seconds=report.seconds,
            seed=report.seed,
        )
    where = (
        [" ", say("The records of this run: {folder}", folder=report.folder)]
        if report.folder
        else []
    )
    screen.print(Text.assemble((counts or say("no check was run"), "bold"), "; ", whole, *where))
    if report.verdicts and not report.is_graded:
        screen.print(say("This is not a grade: not everything could be judged."))
    for note in report.notes:
        screen.print(note)


def progress(report):
    """How far a learner is in the lab, or in the stage."""
    earlier = say("Earlier stages") if report.track else say("Earlier labs")
    for what, chosen in (
        (earlier, lambda lab: lab < report.lab),
        (say(place_of(report)), lambda lab: lab == report.lab),
    ):
        found = [verdict for verdict in report.verdicts if chosen(verdict.lab)]
        if found:
            passed = sum(verdict.verdict == PASSED for verdict in found)
            screen.print(
                f"{what}: "
                + say("{passed} of {count} checks passed", passed=passed, count=len(found))
            )


def advise(report):
    """The last words: with which failure to begin, and how to run it alone."""
    if words := advice(cleaned(report)):
        screen.print()
        screen.print(words, style="bold")
