"""python -m harness predict: what `make predict` does in a learner's folder: it asks the questions
of a lab or stage before anything runs, keeps the answers, and begins the write-up with them.

The questions are in lab_guide/starters/LAB.toml, and in the manifest of each stage. A question may
name a check: its verdict then shows the answer beside what came.
"""

import argparse
import datetime
import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from harness.driving.messages import Message, msg, of_text
from harness.output import put
from harness.teaching import starter, track
from harness.verdicts import language
from harness.verdicts.formats.render import clean
from harness.verdicts.language import LANGUAGES, say
from harness.verdicts.model import Prediction, UsageError

FILE, WRITE_UP = "predictions.json", "write-up.md"  # in a learner's folder
MOST = 1 << 20  # bytes of predictions.json
Answers = dict[str, dict[str, str]]  # of each part, by its name: {question in English: answer}
screen = Console(highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Part:
    """A lab or a stage: its name for predictions.json, its heading, and its questions."""

    name: str
    heading: Message
    about: str  # what is said before the questions
    questions: list[dict[str, str]]  # each with `question`, and perhaps `check`


def part_of(lab: int | None, stage: int | None) -> Part:
    """Return the questions of this lab, or else of this stage. Raises UsageError."""
    if stage is not None:
        begun = track.read(stage)
        title = msg("Stage {stage}, {title}", stage=stage, title=whole(begun.title))
        return Part(f"build {stage}", title, "", list(begun.predict))
    path = starter.MANIFESTS / f"{lab}.toml"
    if not path.exists():
        raise UsageError(msg("lab {lab} has no questions here", lab=lab))
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    title = msg("Lab {lab}, {title}", lab=lab, title=whole(found["title"]))
    return Part(f"lab {lab}", title, found.get("about", ""), found["predict"])


def whole(text: str) -> Message:
    """Return a text of a manifest as a Message without values."""
    return Message(of_text(text), {})


def answers_in(folder: Path) -> Answers:
    """Return what was answered in this folder so far. Raises UsageError."""
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found = json.loads(file.read(MOST))
        return {
            str(name): {str(question): str(answer) for question, answer in part.items()}
            for name, part in found.items()
        }
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, AttributeError, RecursionError):
        raise UsageError(
            msg("{path} is damaged: repair or remove it. Your answers are in it", path=path)
        ) from None


def predictions(folder: Path, lab: int | None, stage: int | None) -> list[Prediction]:
    """Return the learner's answers for this lab or stage, for a Report. Raises UsageError."""
    answers = answers_in(folder)
    if not answers:
        return []
    part = part_of(lab, stage)
    given = answers.get(part.name, {})
    return [
        Prediction(whole(one["question"]), given[one["question"]], one.get("check", ""))
        for one in part.questions
        if one["question"] in given
    ]


# -- The command -----------------------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `harness predict` takes."""
    parser.add_argument("folder", metavar="DIR", help="a folder that `starter` wrote")
    of_what = parser.add_mutually_exclusive_group(required=True)
    of_what.add_argument("--lab", type=int, metavar="N", choices=range(9), help="the lab")
    of_what.add_argument("--stage", type=int, metavar="N", help="the stage of the track `build`")
    parser.add_argument(
        "--lang", choices=LANGUAGES, help="of the questions (default: the locale's, else en)"
    )


def main(options: argparse.Namespace) -> int:
    """Ask what has not been answered. Return the exit status: 0, or 2 for misuse."""
    language.choose(options.lang)
    folder = Path(options.folder)
    try:
        if not folder.is_dir():
            raise UsageError(msg("{folder}: no such folder", folder=folder))
        part, answers = part_of(options.lab, options.stage), answers_in(folder)
        given = ask(part, answers.get(part.name, {}))
        if given:
            keep(folder, part, answers, given)
    except OSError as error:
        print(f"predict: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except UsageError as why:
        print(f"predict: {clean(say(why.args[0]))}", file=sys.stderr)
        return 2
    return 0


def ask(part: Part, before: dict[str, str]) -> dict[str, str]:
    """Return the answers to the questions that have none. Ctrl-D or Ctrl-C ends the questions."""
    todo = [one["question"] for one in part.questions if one["question"] not in before]
    if not todo:
        screen.print(say("You have answered all questions. `make check` shows what comes."))
        return {}
    screen.print(say(part.heading), style="bold")
    if part.about:
        screen.print(say(whole(part.about)))
    screen.print(say("Enter alone leaves a question for later; Ctrl-D ends. An answer is final."))
    given: dict[str, str] = {}
    for number, question in enumerate(todo, 1):
        screen.print()
        screen.print(f"{number}/{len(todo)}  {say(whole(question))}")
        try:
            answer = clean(input("> ")).strip()
        except (EOFError, KeyboardInterrupt):
            screen.print()
            break
        if answer:
            given[question] = answer
    return given


def keep(folder: Path, part: Part, answers: Answers, given: dict[str, str]) -> None:
    """Add the new answers to those in the folder, and to the learner's write-up. Raises OSError."""
    kept = {**answers, part.name: {**answers.get(part.name, {}), **given}}
    put(folder / FILE, json.dumps(kept, ensure_ascii=False, indent=2) + "\n")
    with open(folder / WRITE_UP, "a", encoding="utf-8") as file:
        file.write(section(part, given))
    screen.print()
    screen.print(say("Kept. {file} begins with your answers.", file=WRITE_UP))


def section(part: Part, given: dict[str, str]) -> str:
    """Return a section of the write-up: each answer, and room for what came and why."""
    day = f"{datetime.date.today():%Y-%m-%d}"
    lines = ["## " + say("{part}: predictions of {day}", part=part.heading, day=day), ""]
    for question, answer in given.items():
        lines += [
            say(whole(question)),
            "",
            "- " + say("I predicted: {answer}", answer=answer),
            "- " + say("It was:"),
            "- " + say("Because:"),
            "",
        ]
    return "\n".join(lines) + "\n"
