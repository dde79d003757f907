"""The servers, the predictions and the exercises of notebook 09."""

from harness.driving import history
from harness.driving.messages import msg
from harness.driving.record import CheckFailed, Entry
from harness.teaching import exhibits
from harness.teaching.notebook import Question, Wrong, exercise, exhibit_named, folder
from harness.verdicts.formats import render
from harness.verdicts.language import say

FRAMING = (
    "greets",
    "answers-ping",
    "a-line-in-pieces",
    "lines-in-one-segment",
    "a-character-in-pieces",
    "a-carriage-return-is-dropped",
    "empty-lines-are-ignored",
    "long-lines",
    "too-long",
    "unknown-verbs",
    "an-unfinished-line-is-dropped",
)
FAILED = Question(usual=1, most=len(FRAMING))  # checks that fail

TIME = "2026-11-22T13:21:28.123Z"
# Ana joins the group, and is its only member.
RECORD = (
    Entry(0.0, "ana", "connects", ""),
    Entry(0.1, "ana", "hears", "HELLO grupo/1 lab"),
    Entry(0.2, "ana", "sends", "JOIN ana secret\n"),
    Entry(0.3, "ana", "hears", "PENDING"),
    Entry(0.4, "ana", "hears", "WELCOME 1 ana"),
    Entry(0.5, "ana", "hears", f"IN 2 {TIME} ana"),
)


def judged(name, checks):
    """Run these checks on an exhibit. Return {check: Verdict}, in the order of the checks."""
    place = folder() / "server"
    found = exhibits.judge(exhibit_named(name, place), place, checks, seed="1")
    return {check: found[check] for check in checks}


def explained(verdict):
    """Return a verdict in words, without where to read and how to repeat it."""
    return render.in_words(render.cleaned(verdict)).partition(say("read:"))[0]


def mystery():
    """Return the verdict on the server of the last exercise."""
    [verdict] = judged("who-before-welcome", ["nothing-before-welcome"]).values()
    return verdict


@exercise
def check_order(lines):
    """Ana says hi and there, and hears these two lines: only their order is wrong."""
    if not isinstance(lines, (list, tuple)) or not all(isinstance(line, str) for line in lines):
        raise Wrong(msg("`ana_hears` must be a list of texts."))
    said = Entry(0.6, "ana", "sends", "SAY hi\nSAY there\n")
    heard = [Entry(0.7, "ana", "hears", line) for line in lines]
    try:
        history.judge([*RECORD, said, *heard])
    except CheckFailed as problem:
        if problem.sentence != "order-differs":
            raise Wrong(
                msg("The checkers find something else: {rule}.", rule=problem.sentence)
            ) from None
        return
    raise Wrong(msg("The checkers find nothing wrong."))


@exercise
def check_bug(letter):
    """The bug of the mystery server."""
    if letter not in ("a", "b", "c", "d"):
        raise Wrong(msg("Write one of the letters a, b, c and d, in quotes."))
    if letter != "b":
        raise Wrong(
            msg("Look at which client asked, whether it had been welcomed, and what it received.")
        )
