"""The track "build": a server from an empty file, in stages. A learner's folder holds one file,
which grows from stage to stage; stages 3 and 4 begin a second and a third file beside it.

A manifest, lab_guide/build/STAGE.toml, says what a stage asks: the checks that are new with it
(those of all earlier stages are asked, too), the requests that random dialogues may make, and the
workloads whose schedules are explored. Nothing of a server is given.
"""

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from harness.driving.messages import Message, msg
from harness.driving.server import ROOT
from harness.teaching import starter
from harness.verdicts.catalogue import catalogue
from harness.verdicts.language import say
from harness.verdicts.model import Asked, UsageError

MANIFESTS = ROOT / "lab_guide" / "build"
SUFFIXES = {"python": ".py", "c": ".c"}
# What a learner's file promises of its design, by its name.
DESIGNS = {"server": "nonblocking", "threads": "pthread", "processes": "fork"}


@dataclass(frozen=True)
class Stage:
    """One stage, as its manifest says. For `harness lab` it has what a lab's Starter has."""

    lab: int  # its number
    language: str
    title: str
    checks: tuple[str, ...]  # that are new with it
    file: str = "server"  # the learner's file, without its suffix
    begins: str = ""  # the file that a new one is a copy of at first
    rests: tuple[str, ...] = ()  # earlier checks that this stage alone does not ask for
    requests: tuple[str, ...] = ()  # that random dialogues may make; none: all
    workloads: tuple[str, ...] = ()  # that are explored; none: all
    predict: tuple[dict[str, str], ...] = ()  # the questions that `make predict` asks
    empty: tuple[starter.Emptied, ...] = ()  # nothing is given, so nothing is emptied

    @property
    def name(self) -> str:
        """The learner's file, with its suffix."""
        return self.file + SUFFIXES[self.language]

    @property
    def designs(self) -> list[str]:
        """The design that this file promises."""
        return [DESIGNS[self.file]]

    def files(self) -> dict[str, None]:
        """{where in the folder: nothing of ours} of all that the server is made of."""
        return {self.name: None}


def numbers() -> list[int]:
    """The stages that this folder of Grupo has."""
    return sorted(int(path.stem) for path in MANIFESTS.glob("[0-9].toml"))


def read(number: int, language: str = "python", file: str = "") -> Stage:
    """The Stage with this number. `file`: another file of the learner's. Raises UsageError."""
    path = MANIFESTS / f"{number}.toml"
    if not path.exists():
        raise UsageError(msg("the track `build` has no stage {number} here", number=number))
    found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in found.items()
    }
    return Stage(number, language, **{**values, **({"file": file} if file else {})})


def asked(stage: Stage) -> Asked:
    """What `make check` asks of this stage's file: the checks of all stages up to it."""
    designs = {check.id: check.design for check in catalogue()}
    first: dict[str, int] = {}
    for number in (number for number in numbers() if number <= stage.lab):
        for check in read(number).checks:
            if designs[check] in (None, *stage.designs) and check not in stage.rests:
                first.setdefault(check, number)
    return Asked("build", first, list(stage.requests), list(stage.workloads))


def language_in(folder: Path) -> str | None:
    """The language of the files in a learner's folder; None if there is none."""
    return next(
        (
            language
            for language, suffix in SUFFIXES.items()
            if any((folder / f"{name}{suffix}").exists() for name in DESIGNS)
        ),
        None,
    )


# -- A folder --------------------------------------------------------------------------------------


def write(stage: Stage, folder: str | Path) -> Message:
    """Begins this stage in a learner's folder; what they wrote stays as it is. Returns a line about
    their file. Raises UsageError.
    """
    folder = Path(folder)
    try:
        told = begin_file(stage, folder)
        words = {
            "stage": stage.lab,
            "title": say(stage.title),
            "file": stage.file,
            "name": stage.name,
            "run": run_line(stage),
            "grupo": ROOT,
            "place": starter.in_make(ROOT),
            "python": starter.in_make(sys.executable).replace(
                f"{starter.in_make(ROOT)}/", "$(GRUPO)/"
            ),
        }
        for name in "README.md", "Makefile":
            template = starter.template_of(name, "build").read_text(encoding="utf-8")
            (folder / name).write_text(Template(template).substitute(words), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror}") from None
    return told


def begin_file(stage: Stage, folder: Path) -> Message:
    """Makes the stage's file if it is not there: empty at stage 0, later a copy of the learner's
    own. Returns a line about it. Raises UsageError, or OSError.
    """
    place = folder / stage.name
    if place.exists():
        return msg("Your {name} is kept as it is.", name=stage.name)
    if stage.lab == 0:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(
                msg("{folder} is there already, and not empty: name a new folder", folder=folder)
            )
        folder.mkdir(parents=True, exist_ok=True)
        place.touch()
        return msg("Your {name} is empty: write it.", name=stage.name)
    mine = folder / ((stage.begins or stage.file) + SUFFIXES[stage.language])
    if not stage.begins or not mine.exists():
        raise UsageError(
            msg(
                "{folder} has no {name}: stage {stage} goes on with the file that you wrote in the "
                "stages before it, so name the folder of that one",
                folder=folder,
                name=mine.name,
                stage=stage.lab,
            )
        )
    place.write_bytes(mine.read_bytes())
    return msg("Your {name} is a copy of your {mine}.", name=stage.name, mine=mine.name)


def run_line(stage: Stage) -> str:
    """How a Makefile starts the file that its variable FILE names."""
    if stage.language == "python":
        return "$(call quoted,$(PYTHON)) $(FILE).py"
    words = [
        {"server": "$(FILE)", "server.c": "$(FILE).c"}.get(word, word) for word in starter.COMPILE
    ]
    return f"$(CC) {' '.join(words)} && ./$(FILE)"


def start(options: Any) -> int:
    """What `harness starter --track build` does. Returns the exit status."""
    folder = Path(options.folder)
    language = options.language or language_in(folder) or "python"
    try:
        stage = read(options.lab, language)
        told = write(stage, folder)
    except UsageError as why:
        print(f"starter: {say(why.args[0])}", file=sys.stderr)
        return 2
    print(
        say(
            "Stage {stage}, {title}: {folder}. {told}",
            stage=stage.lab,
            title=say(stage.title),
            folder=options.folder,
            told=told,
        )
    )
    print(
        say(
            "Read lab_guide/build/stage{stage}.md; `make check` there shows your progress.",
            stage=stage.lab,
        )
    )
    return 0
