"""What every form shares: text that nothing obeys, a failure in words, and what a student may see
of a hidden check.
"""

import itertools
import json
import re
import shlex
import unicodedata
from dataclasses import fields, is_dataclass, replace

from harness.driving.messages import Message, msg, template
from harness.driving.record import Entry
from harness.verdicts.catalogue import place
from harness.verdicts.causes import SETUP
from harness.verdicts.language import say
from harness.verdicts.locks import Span
from harness.verdicts.model import FAILED, PASSED

# Categories of characters that nobody sees, or that do something: controls, format characters
# (bidi, zero width), lone surrogates,
# private use, unassigned (with the noncharacters), and separators of lines and paragraphs.
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Letters and marks that have no shape of their own: joiners, fillers, variation selectors, the
# blank of Braille.
BLANK = {
    0x034F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    *range(0x180B, 0x1810),
    0x2800,
    0x3164,
    0xFFA0,
    *range(0xFE00, 0xFE10),
    *range(0xE0100, 0xE01F0),
}
MOST_MARKS = 4  # combining marks on one letter; more of them are drawn over the lines around
MARKS = re.compile(
    rf"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{{{MOST_MARKS}}})"
    r"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+)"
)
POINTER = re.compile(
    r"( *)\^( \w[\w ]*)?"
)  # what record.difference() puts below the first character that differs


class Shown(dict):
    """For str.translate(): each character that nobody sees becomes <U+XXXX>, and a byte that is no
    UTF-8 <byte XX>.
    """

    def __missing__(self, code):
        kind = unicodedata.category(chr(code))
        hidden = kind in HIDDEN or code in BLANK or (kind == "Zs" and code != ord(" "))
        self[code] = (
            code
            if not hidden
            else f"<byte {code - 0xDC00:02X}>"
            if 0xDC80 <= code <= 0xDCFF
            else f"<U+{code:04X}>"
        )
        return self[code]


SHOWN = Shown()


def clean(text: str) -> str:
    """`text` with nothing in it that is hidden, or that a terminal, a page or a reader obeys; line
    ends stay.

    A server may have written anything. Bytes that are no UTF-8 appear in it as surrogates
    (record.Record.add).
    """
    raw = text.split("\n")
    lines = [
        MARKS.sub(
            lambda found: found[1] + "".join(f"<U+{ord(mark):04X}>" for mark in found[2]),
            line.translate(SHOWN),
        )
        for line in raw
    ]
    for number, line in enumerate(raw):
        if number and (
            found := POINTER.fullmatch(line)
        ):  # it points at a character of the line above, which is wider now
            lines[number] = " " * len(clean(raw[number - 1][: len(found[1])])) + lines[
                number
            ].lstrip(" ")
    return "\n".join(lines)


def cleaned(thing, tell_hidden=False):
    """A copy of a Report, or of any part of it, in which every text is clean and, without
    `tell_hidden`, hidden checks are replaced by a placeholder and our own texts are in the
    student's language.
    """
    if isinstance(thing, Message):
        thing = thing.map(clean)
        return thing if tell_hidden else say(thing)
    if isinstance(thing, str):
        return clean(thing)
    if isinstance(thing, list):
        return [cleaned(part, tell_hidden) for part in thing]
    if isinstance(thing, (Entry, Span)):
        return type(thing)(*(cleaned(part, tell_hidden) for part in thing))
    if is_dataclass(thing):
        if getattr(thing, "hidden", False) and not tell_hidden:
            thing = replace(
                thing, check="hidden", title=msg("a hidden check"), why="", failure=None, record=""
            )
        return replace(
            thing,
            **{
                field.name: cleaned(getattr(thing, field.name), tell_hidden)
                for field in fields(thing)
            },
        )
    return thing


def numbered(steps):
    """[(number, step)]; a line that replaces steps between two others has none ('')."""
    count = itertools.count(1)
    return [
        ("" if step.startswith("... ") else f"{next(count)}.", step.replace("\n", "\n    "))
        for step in steps
    ]


def in_words(verdict):
    """All that there is to say of a verdict, as lines of text."""
    failure = verdict.failure
    if failure is None:
        return verdict.why
    parts = [
        *(f"{number} {step}".lstrip() for number, step in numbered(failure.steps)),
        *(f"{label} {text}" for label, text in labelled(failure)),
    ]
    return "\n".join(parts)


def labelled(failure):
    """[(label, text)] of all that is said of a failure after what was done."""
    found = [
        (say("expected:"), failure.expected),
        (say("but:"), failure.actual),
        (say("seen:"), "\n".join(events(failure))),
        (say("when:"), failure.run),
        (say("cause:"), failure.cause),
        (say("read:"), f"lab_guide/{failure.page}"),
        (say("again:"), failure.replay),
    ]
    return [(label, text) for label, text in found if text]


SHOWN_AS = {"hears": template("receives")}  # kinds of entries that people read under another word


def deed(what):
    """What an entry of the record says that was done, in the reader's language."""
    return say(SHOWN_AS.get(what, what))


BEFORE, AFTER = 5, 2  # events that are shown in words beside the first wrong one
LONG_EVENT = 120  # characters of an event in words


def events(failure):
    """The few events around the first wrong one, in order, as lines: seconds, name, action; a mark
    follows the wrong one.

    Between them, of a traced server, which thread or process held which lock.
    """
    wrong = failure.wrong
    last = len(failure.slice) - 1 if wrong is None else wrong + AFTER
    first = max(0, (last if wrong is None else wrong) - BEFORE)
    lines = []
    for where, one in timeline(failure):
        if isinstance(one, Span):
            lines += (
                [f"{one.at:.3f}   {lock_line(one)}"]
                if first < where <= last + 1 or where == first == 0
                else []
            )
            continue
        if not first <= where <= last:
            continue
        line = (
            f"{one.at:.3f} {named(one.who)} {deed(one.what)} "
            f"{brief(in_a_line(one.text, ' / '), LONG_EVENT)}".rstrip()
            if one
            else say("nothing more came")
        )
        lines.append(line + "   " + say("<-- the first wrong one") if where == wrong else line)
    return lines


def timeline(failure):
    """[(place, Entry or Span)] of a failure by time: the Spans have the place of the Entry behind
    them. The last is None: nothing more came.
    """
    entries = failure.slice
    found = [(sum(entry.at <= span.at for entry in entries), 0, span) for span in failure.locks]
    found += [(place, 1, entry) for place, entry in enumerate(entries)]
    if failure.wrong == len(entries):
        found.append((len(entries), 1, None))
    return [(place, one) for place, _, one in sorted(found, key=lambda one: one[:2])]


def lock_line(span):
    """A line: which thread or process held a lock, or waited for it, and for how long."""
    actor, lock = span.who, span.lock
    took = "" if span.seconds is None else f"{1000 * span.seconds:.3g}"
    if span.more:
        return (
            say(
                "... {count} more like this, {milliseconds} ms in total",
                count=span.more,
                milliseconds=took,
            )
            if span.seconds
            else say("... {count} more like this", count=span.more)
        )
    if span.what == "holds":
        return (
            say(
                "{actor} holds the lock `{lock}` for {milliseconds} ms",
                actor=actor,
                lock=lock,
                milliseconds=took,
            )
            if took
            else say("{actor} holds the lock `{lock}` until the trace ends", actor=actor, lock=lock)
        )
    return (
        say(
            "{actor} waits {milliseconds} ms for the lock `{lock}`",
            actor=actor,
            lock=lock,
            milliseconds=took,
        )
        if took
        else say("{actor} waits for the lock `{lock}` until the trace ends", actor=actor, lock=lock)
    )


def in_a_line(text, between):
    """Several lines as one: `between` replaces the line ends, except the last; of an empty line the
    LF is named.
    """
    return text.removesuffix("\n").replace("\n", between) or "LF" * bool(text)


def brief(text, width):
    """The beginning of a text that is too long for its place; the table of the page and the record
    have all of it.
    """
    return text if len(text) <= width else f"{text[:width]}..."


def named(who):
    """The server and the owner in the student's language; clients have names."""
    return {"server": say("server"), "owner": say("owner")}.get(who, who)


def first_to_fix(report):
    """The failed Verdict to begin with: one that fails at what every check begins with, else the
    first of the catalogue. None if there is none to show.
    """
    failed = [verdict for verdict in report.of(FAILED) if verdict.failure and not verdict.hidden]
    return min(
        failed,
        key=lambda verdict: (verdict.failure.sentence not in SETUP, place(verdict.check)),
        default=None,
    )


def to_try(verdict):
    """The shortest command that runs a failed check alone."""
    replay = verdict.failure.replay
    return (
        f"make check ONLY={shlex.quote(verdict.check)}"
        if replay.startswith("make check ")
        else replay
    )


def advice(report):
    """How many failed, with which to begin, and how to run it; '' if there is none to show, or only
    one check was run.
    """
    verdict = first_to_fix(report)
    if verdict is None or len(report.verdicts) == 1:
        return ""
    count, check, again = len(report.of(FAILED)), verdict.check, to_try(verdict)
    return say(
        "{count} failed; begin with `{check}`: {again}", count=count, check=check, again=again
    )


def verdict_in_words(verdict):
    """The same, and before it the verdict itself."""
    return "\n".join(filter(None, [say(verdict.verdict), in_words(verdict)]))


def place_of(report):
    """Which lab it is about, or which stage."""
    return msg("Stage {lab}", lab=report.lab) if report.track else msg("Lab {lab}", lab=report.lab)


def headline(report):
    """The whole run in a line."""
    if report.look:
        return say("The checks give no grade: {why}", why=report.look)
    if report.refused:
        return say("0 of {most:g} points: no check could be run.", most=report.most)
    counts = {
        "passed": len(report.of(PASSED)),
        "failed": len(report.of(FAILED)),
        "seed": report.seed,
    }
    if not report.is_graded:
        whole = say(
            "No grade: not everything could be judged. {passed} checks passed, {failed} failed. "
            "Seed {seed}.",
            **counts,
        )
    else:
        whole = say(
            "{score:g} of {most:g} points; {passed} checks passed, {failed} failed. Seed {seed}.",
            score=report.score,
            most=report.most,
            **counts,
        )
    return whole if report.complete else whole + " " + say("The run was stopped.")


def as_json(value):
    return json.dumps(value, indent=1) + "\n"
