"""python -m harness rubric: a suggested rubric for a lab, out of 100 points.

The checks that the starting folder fails share the points for checks, by lab_guide/weights.toml;
all others have none, and together the points for breaking nothing. What a person grades is entered
in adjust.csv.
"""

import argparse
import sys
import tomllib
from dataclasses import dataclass

from harness.driving.messages import msg
from harness.driving.server import ROOT
from harness.output import put
from harness.teaching import starter
from harness.verdicts import language
from harness.verdicts.catalogue import catalogue
from harness.verdicts.language import say
from harness.verdicts.model import UsageError
from harness.verdicts.rubric import BREAKS_NOTHING

WEIGHTS = ROOT / "lab_guide" / "weights.toml"
BY_HAND = "predictions", "write-up"  # the parts that a person grades
HEAVY = 2  # times its points is what a check weighs that weighs most


@dataclass
class Weights:
    """What weights.toml says of one lab."""

    parts: dict[str, int]  # {part: its points}
    weigh: list[str]  # checks
    hide: list[str]  # checks
    share: int  # percent of the grade for all labs


def weights(lab: int) -> Weights:
    """The Weights of a lab."""
    found = tomllib.loads(WEIGHTS.read_text(encoding="utf-8"))
    return Weights(found["parts"], **found["lab"][str(lab)])


def shares(begun: starter.Starter, said: Weights) -> dict[str, int]:
    """Whole points for each check that the starting folder fails, together those of `checks`. Each
    variant of a check has the check's points.
    """
    asked = [check for check in catalogue() if check.id in begun.fails]
    variants = {check.id: max(1, len(check.variants)) for check in asked}
    weight = {
        check.id: check.points * variants[check.id] * (HEAVY if check.id in said.weigh else 1)
        for check in asked
    }
    whole = said.parts["checks"]
    ideal = {name: whole * one / sum(weight.values()) for name, one in weight.items()}
    points = {name: max(1, int(ideal[name] / variants[name])) for name in weight}
    while left := whole - sum(points[name] * variants[name] for name in points):
        fitting = [name for name in points if variants[name] <= left]
        least = max(fitting, key=lambda name: ideal[name] - points[name] * variants[name])
        points[least] += 1
    return points


def suggested(lab: int, written_in: str) -> str:
    """The rubric of a lab, as TOML that rubric.read() takes. Raises UsageError."""
    if lab == 7:
        raise UsageError(
            msg("lab 7 has no rubric: its bugs are counted by `python -m harness hunt score`")
        )
    begun, said = starter.read(lab, written_in), weights(lab)
    by_hand = {name: points for name, points in said.parts.items() if name in BY_HAND}
    checks = said.parts["checks"]
    hide = [check for check in said.hide if check in begun.fails]
    title = say(begun.title)
    whole = sum(said.parts.values())
    comment = {
        "head": say("Lab {lab}, {title}: {points} points.", lab=lab, title=title, points=whole),
        "by": say("Written by `{command}`. Change any line.", command=command_of(lab, written_in)),
        "hidden": say("Students do not see these checks. They count like the others."),
        "others": say("Points of each check that is not named: the starting folder passes it."),
        "points": say(
            "{points} points for the checks that the starting folder fails.", points=checks
        ),
        "whole": say("If no check with 0 points fails, and one with points passes."),
        "hand": say("Columns of your own. In adjust.csv a name here is the reason for the points."),
    }
    lines = [
        f"# {comment['head']}",
        f"# {comment['by']}",
        "",
        f"# {comment['hidden']}",
        f"hidden = {quoted(hide)}",
        f"# {comment['others']}",
        "others = 0",
        "",
        f"# {comment['points']}",
        "[points]",
        *(f"{name} = {points}" for name, points in shares(begun, said).items()),
        "",
        f"# {comment['whole']}",
        f"[{BREAKS_NOTHING}]",
        f"points = {said.parts[BREAKS_NOTHING]}",
        *excepted(begun),
        "",
        f"# {comment['hand']}",
        "[by-hand]",
        *(f"{name} = {points}" for name, points in by_hand.items()),
    ]
    return "\n".join(lines) + "\n"


def excepted(begun: starter.Starter) -> list[str]:
    """The checks that a starting folder passes or fails by chance."""
    if not begun.may_fail:
        return []
    by_chance = say("It is chance whether the starting folder passes these.")
    return [f"# {by_chance}", f"except = {quoted(begun.may_fail)}"]


def quoted(names: list[str]) -> str:
    """A list in TOML."""
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def command_of(lab: int, written_in: str) -> str:
    """The command that writes this rubric."""
    more = "" if written_in == "python" else f" --language {written_in}"
    return f"python -m harness rubric {lab}{more}"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `harness rubric` takes."""
    parser.add_argument("lab", type=int, metavar="LAB", choices=range(9), help="0 to 8")
    parser.add_argument(
        "--language", choices=starter.LANGUAGES, default="python", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--out", dest="to", metavar="FILE", help="write it there (default: to stdout)"
    )
    parser.add_argument(
        "--lang",
        choices=language.LANGUAGES,
        help="of its comments (default: the locale's, else en)",
    )


def main(options: argparse.Namespace) -> int:
    """Exit status 0; 2 misuse."""
    language.choose(options.lang)
    try:
        text = suggested(options.lab, options.language)
    except UsageError as why:
        print(f"rubric: {say(why.args[0])}", file=sys.stderr)
        return 2
    if options.to:
        put(options.to, text)
    else:
        print(text, end="")
    return 0
