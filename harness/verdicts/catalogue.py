"""All checks, read from the sources without running them: their ids, labs, points and titles, in
the order of the stages.
"""

import ast
import difflib
import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.driving.messages import msg
from harness.verdicts.language import say
from harness.verdicts.model import UsageError
from harness.verdicts.plugin import STAGES

CHECKS = Path(__file__).parents[1] / "checks"
CLOSE = 3  # names that are suggested for one that is misspelt


@dataclass(frozen=True)
class Listed:
    """A check as its source declares it.

    `variants`: what may stand in brackets behind its id. `rules`: the ids of the requirements in
    protocol.md that it checks.
    """

    id: str
    stage: str
    title: str
    points: float
    lab: int
    design: str | None
    variants: tuple[str, ...]
    rules: tuple[str, ...]

    def is_asked(self, lab: int, design: str | None) -> bool:
        """Whether a server of this design is asked for it up to this lab."""
        return self.lab <= lab and self.design in (None, design)


@functools.cache
def catalogue() -> tuple[Listed, ...]:
    """All checks, the smallest first: by stage, and in each stage as in its file."""
    return tuple(
        listed(node, stage)
        for stage in STAGES
        for node in ast.parse((CHECKS / f"check_{stage}.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
    )


def listed(node: ast.FunctionDef, stage: str) -> Listed:
    """The check that this function is."""
    name = node.name.removeprefix("check_").replace("_", "-")
    marks = [mark for mark in node.decorator_list if isinstance(mark, ast.Call)]
    said = {word.arg: word.value for mark in marks for word in mark.keywords}
    value = lambda word, otherwise: said[word].value if word in said else otherwise
    variants = tuple(one.value for one in said["ids"].elts) if "ids" in said else ()
    title = " ".join((ast.get_docstring(node) or name).split())
    return Listed(
        name,
        stage,
        title,
        value("points", 1),
        value("lab", 1),
        value("design", None),
        variants,
        tuple(value("rules", "").split()),
    )


def place(check: str) -> int:
    """Returns the place of a check in the catalogue; an unknown check comes last."""
    return places().get(check.partition("[")[0], len(catalogue()))


@functools.cache
def places() -> dict[str, int]:
    return {check.id: number for number, check in enumerate(catalogue())}


def possible(
    lab: int, design: str | None, points: dict[str, float], asked: set[str] | None = None
) -> float:
    """All points that a lab asks of a server of this design, or those of the checks in `asked`.
    `points`: {check: what a rubric gives it instead of its own}.
    """
    return sum(
        points.get(check.id, check.points) * max(1, len(check.variants))
        for check in catalogue()
        if (check.is_asked(lab, design) if asked is None else check.id in asked)
    )


def known() -> dict[str, int]:
    """{check: the first lab that needs it}, of all checks, without the part in brackets where one
    is done in several ways.
    """
    return {check.id: check.lab for check in catalogue()}


def must_be_known(names: Iterable[str], what: str, choices: Iterable[str]) -> None:
    """Raises UsageError at the first that is none of them, with those that are close."""
    for name in names:
        if name not in choices:
            close = close_to(name, choices)
            no_such = (
                msg("there is no check {name}", name=name)
                if what == "check"
                else msg("there is no setting {name}", name=name)
            )
            if close:
                raise UsageError(
                    msg("{no_such} (close: {names})", no_such=no_such, names=", ".join(close))
                )
            raise UsageError(
                msg("{no_such}; `check --list` shows them all", no_such=no_such)
                if what == "check"
                else no_such
            )


def close_to(name: str, choices: Iterable[str]) -> list[str]:
    """Names that may be meant by one that is none of them: those that contain it, and those that
    look like it.
    """
    choices = list(choices)
    parts = [choice for choice in choices if len(name) > 2 and name.lower() in choice]
    alike = difflib.get_close_matches(name.lower().replace("_", "-"), choices, n=CLOSE, cutoff=0.7)
    return list(dict.fromkeys(alike + parts))[:CLOSE]


def as_lines(lab: int, design: str | None) -> list[str]:
    """The checks that are asked up to this lab, as lines for a terminal, by stage: id, lab, points,
    title.
    """
    asked = [check for check in catalogue() if check.is_asked(lab, design)]
    width = max(len(check.id) for check in catalogue())
    lines = []
    for stage, checks in itertools.groupby(asked, lambda check: check.stage):
        lines += [*([""] if lines else []), say(stage)]
        for check in checks:
            lab = say("lab {lab}", lab=check.lab)
            points = (
                say("{points:g} points", points=check.points)
                if check.points != 1
                else say("1 point")
            )
            lines.append(f"  {check.id:{width}}  {lab}  {points:>9}  {say(check.title)}")
    return lines
