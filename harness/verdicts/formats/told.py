"""What every form shares: text that nothing obeys, a failure in words, and what a student may see of a hidden check."""
import json
from dataclasses import fields, is_dataclass, replace

from harness.record import Entry
from harness.verdicts.model import FAILED, PASSED
from implementations.common.wire import harmless


def clean(text):
    """What a server wrote may hold anything: control characters and lone surrogates become visible, line ends stay."""
    return "\n".join(map(harmless, text.split("\n")))


def cleaned(thing, tell_hidden=False):
    """A copy of a Report, or of any part of it, in which every text is clean and, without `tell_hidden`, no hidden check is told."""
    if isinstance(thing, str):
        return clean(thing)
    if isinstance(thing, list):
        return [cleaned(part, tell_hidden) for part in thing]
    if isinstance(thing, Entry):
        return Entry(*(cleaned(part) for part in thing))
    if is_dataclass(thing):
        if getattr(thing, "hidden", False) and not tell_hidden:
            thing = replace(thing, check="hidden", title="a hidden check", why="", failure=None, record="")
        return replace(thing, **{field.name: cleaned(getattr(thing, field.name), tell_hidden) for field in fields(thing)})
    return thing


def in_words(verdict):
    """All that there is to say of a verdict, as lines of text."""
    failure = verdict.failure
    if failure is None:
        return verdict.why
    parts = [*(f"{number}. {step}" for number, step in enumerate(failure.steps, 1)), f"expected: {failure.expected}", f"but: {failure.came}",
             failure.run and f"when: {failure.run}", failure.cause and f"cause: {failure.cause}", f"read: lab_guide/{failure.page}",
             f"again: {failure.replay}"]
    return "\n".join(filter(None, parts))


def verdict_in_words(verdict):
    """The same, and before it the verdict itself."""
    return "\n".join(filter(None, [verdict.verdict, in_words(verdict)]))


def headline(report):
    """The whole run in a line."""
    return (f"{report.score:g} of {report.most:g} points; {len(report.of(PASSED))} checks passed, {len(report.of(FAILED))} failed. "
            f"Seed {report.seed}.{'' if report.complete else ' The run was stopped.'}")


def as_json(value):
    return json.dumps(value, indent=1) + "\n"
