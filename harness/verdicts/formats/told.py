"""What every form shares: text that nothing obeys, a failure in words, and what a student may see of a hidden check."""
import json
from dataclasses import fields, is_dataclass, replace

from harness.language import say
from harness.record import Entry
from harness.verdicts.model import FAILED, PASSED
from implementations.common.wire import harmless


def clean(text):
    """What a server wrote may hold anything: control characters and lone surrogates become visible, line ends stay."""
    return "\n".join(map(harmless, text.split("\n")))


SAID = {"title", "expected", "came", "cause", "run", "why", "steps", "notes", "machine"}        # fields whose texts are ours


def cleaned(thing, tell_hidden=False):
    """A copy of a Report, or of any part of it, in which every text is clean and, without `tell_hidden`, no hidden check is told
    and what is ours is in the student's language."""
    if isinstance(thing, str):
        return clean(thing)
    if isinstance(thing, list):
        return [cleaned(part, tell_hidden) for part in thing]
    if isinstance(thing, Entry):
        return Entry(*(cleaned(part) for part in thing))
    if is_dataclass(thing):
        if getattr(thing, "hidden", False) and not tell_hidden:
            thing = replace(thing, check="hidden", title=say("a hidden check"), why="", failure=None, record="")
        return replace(thing, **{name: said(value) if name in SAID and not tell_hidden else value for name, value in (
            (field.name, cleaned(getattr(thing, field.name), tell_hidden)) for field in fields(thing))})
    return thing


def said(thing):
    return list(map(say, thing)) if isinstance(thing, list) else say(thing)


def in_words(verdict):
    """All that there is to say of a verdict, as lines of text."""
    failure = verdict.failure
    if failure is None:
        return verdict.why
    parts = [*(f"{number}. {step}" for number, step in enumerate(failure.steps, 1)),
             *(f"{label} {text}" for label, text in labelled(failure))]
    return "\n".join(parts)


def labelled(failure):
    """[(label, text)] of all that is said of a failure after what was done."""
    found = [(say("expected:"), failure.expected), (say("but:"), failure.came), (say("when:"), failure.run), (say("cause:"), failure.cause),
             (say("read:"), f"lab_guide/{failure.page}"), (say("again:"), failure.replay)]
    return [(label, text) for label, text in found if text]


def verdict_in_words(verdict):
    """The same, and before it the verdict itself."""
    return "\n".join(filter(None, [say(verdict.verdict), in_words(verdict)]))


def headline(report):
    """The whole run in a line."""
    whole = say(f"{report.score:g} of {report.most:g} points; {len(report.of(PASSED))} checks passed, {len(report.of(FAILED))} failed. "
                f"Seed {report.seed}.")
    return whole if report.complete else f"{whole} {say('The run was stopped.')}"


def as_json(value):
    return json.dumps(value, indent=1) + "\n"
