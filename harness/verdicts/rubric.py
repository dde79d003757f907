"""An instructor's rubric.toml: what each check is worth, which checks are hidden, and what else is
graded.

    hidden = ["cross-traffic"]  # checks that count, and that students do not see
    others = 0                  # points of each check that [points] does not name

    [points]
    one-order = 12

    [breaks-nothing]            # points for breaking nothing: no check with 0 points fails
    points = 10
    except = ["a-burst"]        # but these may

    [by-hand]                   # columns that a person fills in, and the most points of each
    write-up = 20
"""

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.driving.messages import Message, msg
from harness.driving.text_files import EncodingError, read_text
from harness.verdicts.catalogue import known, must_be_known, possible
from harness.verdicts.model import (
    FAILED,
    INCONCLUSIVE,
    NOT_RUN,
    PASSED,
    Report,
    UsageError,
    Verdict,
)
from harness.verdicts.plugin import STAGES

BREAKS_NOTHING = "breaks-nothing"  # what is as a check in a Report, and is none of the catalogue
SETTINGS = "points", "hidden", "others", BREAKS_NOTHING, "by-hand"
MOST_NAMED = 5  # broken checks that are named in a line


@dataclass
class Rubric:
    """What is graded, and with how many points."""

    points: dict[str, float] = field(default_factory=dict)  # {check: points instead of its own}
    hidden: set[str] = field(default_factory=set)  # checks
    by_hand: dict[str, float] = field(default_factory=dict)  # {column: its most points}
    breaks_nothing: float = 0  # points, if no check with 0 points fails
    may_break: set[str] = field(default_factory=set)  # checks of which that is not asked

    def possible(self, lab: int, design: str | None, asked: set[str] | None = None) -> float:
        """All points that a run of the checks up to this lab can give; or of those in `asked`."""
        return possible(lab, design, self.points, asked) + self.breaks_nothing

    def count_broken(self, report: Report) -> Verdict | None:
        """Add to the report of a whole run whether the server broke what it does not get points
        for; return that verdict. None if the rubric gives no points for it.

        Nobody gets these points for a starting folder as it is: one check with points must pass.
        """
        if not self.breaks_nothing:
            return None
        kept = [
            verdict
            for verdict in report.verdicts
            if verdict.binds and not verdict.points and name_of(verdict) not in self.may_break
        ]
        broken = [verdict for verdict in kept if verdict.verdict == FAILED]
        word: str = PASSED
        why: Message | str = ""
        if broken:
            word, why = FAILED, msg("broken: {checks}", checks=in_a_line(broken))
        elif not report.complete or any(not verdict.is_judged for verdict in kept):
            word, why = INCONCLUSIVE, msg("not all checks could be judged")
        elif not any(verdict.score for verdict in report.verdicts):
            word, why = NOT_RUN, msg("it counts when a check with points passes")
        title = msg("Everything that worked in the starting folder still works.")
        found = Verdict(
            BREAKS_NOTHING, next(iter(STAGES)), title, word, self.breaks_nothing, report.lab
        )
        found.why = why
        report.verdicts.append(found)
        return found


def name_of(verdict: Verdict) -> str:
    """The check's id, without the variant in brackets."""
    return verdict.check.partition("[")[0]


def in_a_line(verdicts: list[Verdict]) -> str | Message:
    """The checks' ids. A hidden one is only counted."""
    names = [verdict.check for verdict in verdicts if not verdict.hidden]
    line = ", ".join(names[:MOST_NAMED])
    if more := len(verdicts) - len(names[:MOST_NAMED]):
        return msg("{line} and {count} more", line=line, count=more) if line else str(more)
    return line


# -- From a file -----------------------------------------------------------------------------------


def read(path: str | Path | None) -> Rubric:
    """Return the Rubric of a file; of None, the checks' own points. Raises UsageError."""
    if path is None:
        return Rubric()
    try:
        return rubric_from(tomllib.loads(read_text(path)))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, EncodingError, UsageError) as error:
        raise UsageError(msg("{path}: {why}", path=path, why=error.args[0])) from None


def rubric_from(found: dict[str, Any]) -> Rubric:
    """The Rubric of what a file holds. Raises UsageError at the first thing that is wrong."""
    must_be_known(found, "setting", SETTINGS)
    points, hidden = found.get("points", {}), found.get("hidden", [])
    if not isinstance(points, dict):
        raise UsageError(msg("points is a table: a check and its points in each line"))
    must_be_checks(hidden, "hidden")
    must_be_by_check(points)
    must_be_numbers(points)
    others = {"others": found["others"]} if "others" in found else {}
    must_be_numbers(others)
    whole = found.get(BREAKS_NOTHING, {})
    if not isinstance(whole, dict):
        raise UsageError(msg("breaks-nothing is a table: points, and a list of checks, except"))
    must_be_known(whole, "setting", ("points", "except"))
    must_be_checks(whole.get("except", []), "except")
    must_be_numbers({BREAKS_NOTHING: whole.get("points", 0)})
    by_hand = found.get("by-hand", {})
    if not isinstance(by_hand, dict):
        raise UsageError(msg("by-hand is a table: a column and its points in each line"))
    must_be_numbers(by_hand)
    return Rubric(
        {**{check: others["others"] for check in known() if others}, **points},
        set(hidden),
        by_hand,
        whole.get("points", 0),
        set(whole.get("except", [])),
    )


def must_be_checks(found: Any, setting: str) -> None:
    """Raises UsageError if this is no list of checks."""
    if not isinstance(found, list) or not all(isinstance(check, str) for check in found):
        raise UsageError(msg("{setting} is a list of checks", setting=setting))
    must_be_by_check(found)


def must_be_by_check(names: Iterable[str]) -> None:
    """Raises UsageError at the first name that is no check."""
    for stage in [name for name in names if name in STAGES]:
        raise UsageError(msg("{stage} is a stage, and points and hidden go by check", stage=stage))
    must_be_known(names, "check", known())


def must_be_numbers(points: dict[str, Any]) -> None:
    """Raises UsageError at the first that is no number of points."""
    for name, value in points.items():
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise UsageError(
                msg("points of {check}: {value!r} is no number, 0 or more", check=name, value=value)
            )
