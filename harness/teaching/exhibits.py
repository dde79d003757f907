"""The exhibits: our servers with one bug each, and the check that must catch it. They measure the
checks.

An exhibit is a file lab_guide/exhibits/NAME.toml: in `file`, the text `old`, which occurs there
exactly once, becomes `new`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.arguments import positive
from harness.driving.messages import template
from harness.driving.server import DESIGNS, ROOT
from harness.driving.text_files import EncodingError, read_text
from harness.output import put
from harness.verdicts import language
from harness.verdicts.command import known
from harness.verdicts.language import LANGUAGES, say
from harness.verdicts.model import FAILED, verdict_from

EXHIBITS = ROOT / "lab_guide" / "exhibits"
SOON = 5  # seconds of --deadline: many an exhibit is found out by what does not come
screen = Console(highlight=False, soft_wrap=True)


class Broken(Exception):
    """An exhibit is not as it should be; the text says which, and why."""


@dataclass
class Exhibit:
    name: str
    bug: int  # its number among the bugs that students make; 0: none of those
    design: str  # the server that is run
    file: str  # where the bug is
    old: str
    new: str
    symptom: str  # what is visible from outside
    check: str  # the check that must catch it
    sentence: (
        str | list
        # the explanation that the check must give: an id of the catalogue; for a race, a list of
        # possible ids
    )

    @property
    def schedule(self) -> Path | None:
        """The file with the order of steps that shows it each time (harness explore --replay)."""
        file = EXHIBITS / f"{self.name}.schedule"
        return file if file.exists() else None

    @property
    def sentences(self):
        return [self.sentence] if isinstance(self.sentence, str) else self.sentence

    @property
    def command(self):
        return [sys.executable, "-m", f"implementations.{self.design}"]


def read(path):
    """One exhibit. Raises Broken."""
    try:
        exhibit = Exhibit(path.stem, **tomllib.loads(read_text(path)))
    except (tomllib.TOMLDecodeError, EncodingError, TypeError) as error:
        raise Broken(f"{path.name}: {error}") from None
    if exhibit.design not in DESIGNS:
        raise Broken(f"{path.name}: design {exhibit.design!r} is none of {', '.join(DESIGNS)}")
    return exhibit


def all_exhibits():
    """All of them, by name. Raises Broken."""
    return [read(path) for path in sorted(EXHIBITS.glob("*.toml"))]


def build(exhibit, folder):
    """Makes a copy of the servers with the bug in it, in `folder`, which must not exist. Raises
    Broken.
    """
    shutil.copytree(
        ROOT / "implementations",
        Path(folder, "implementations"),
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    plant(exhibit, folder)


def plant(exhibit, folder):
    """Puts the bug into the servers in `folder`. Raises Broken."""
    place = Path(folder, exhibit.file)
    text = place.read_text(encoding="utf-8") if place.is_file() else ""
    if text.count(exhibit.old) != 1:
        raise Broken(
            f"{exhibit.name}.toml: its old text occurs {text.count(exhibit.old)} times in "
            f"{exhibit.file}, not once"
        )
    place.write_text(text.replace(exhibit.old, exhibit.new), encoding="utf-8")


def judge(exhibit, folder, checks=(), seed=""):
    """Runs these checks (none: all) against the exhibit, built in `folder`. Returns {check:
    Verdict}. Raises Broken.
    """
    options = [
        "--design",
        exhibit.design,
        "--deadline",
        str(SOON),
        *(["--seed", seed] if seed else []),
        *(["--only", *checks] if checks else []),
    ]
    return checked(exhibit.command, folder, *options)


def checked(command, folder, *options, show=False):
    """The verdicts of `harness check` on this command, run in `folder`, as {check: Verdict}. Raises
    Broken.

    show: on the screen, too, as they come.
    """
    with tempfile.TemporaryDirectory() as records:
        found = Path(records, "found.json")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "harness",
                "check",
                "--in",
                folder,
                "--records",
                records,
                "--json",
                found,
                *options,
                "--",
                *command,
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=None if show else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        verdicts = (
            {one["check"]: verdict_from(one) for one in json.loads(found.read_text())["verdicts"]}
            if found.exists()
            else {}
        )
    if done.returncode not in (0, 1, 3) or not verdicts:
        raise Broken(
            f"{' '.join(command)}: the check itself ended with status {done.returncode}: "
            f"{done.stderr[-2000:]}"
        )
    return verdicts


def catches(exhibit, verdicts):
    """Whether its check failed, and said the sentence that it must say."""
    found = [
        verdict for check, verdict in verdicts.items() if check.partition("[")[0] == exhibit.check
    ]
    return any(
        verdict.verdict == FAILED and verdict.failure.sentence in exhibit.sentences
        for verdict in found
    )


@contextmanager
def busy_cores():
    """Keeps as many processes busy as there are cores."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def run(exhibits, times, every_check):
    """[{name, check, caught, runs, by}]: how often the named check caught it, and, with
    `every_check`, which checks did in one run of all.
    """
    results = []
    for exhibit in exhibits:
        with tempfile.TemporaryDirectory(prefix="grupo-exhibit-") as folder:
            build(exhibit, Path(folder, "tree"))
            caught = sum(
                catches(exhibit, judge(exhibit, Path(folder, "tree"), [exhibit.check]))
                for _ in range(times)
            )
            by = (
                [
                    verdict.check
                    for verdict in judge(exhibit, Path(folder, "tree")).values()
                    if verdict.verdict == FAILED
                ]
                if every_check
                else []
            )
        results.append(
            {
                "name": exhibit.name,
                "bug": exhibit.bug,
                "design": exhibit.design,
                "check": exhibit.check,
                "sentences": exhibit.sentences,
                "caught": caught,
                "runs": times,
                "by": sorted(by),
            }
        )
        found = results[-1]
        screen.print(
            f"{found['caught']:>3} of {times}  {exhibit.name} ({exhibit.design}): {exhibit.check}",
            markup=False,
        )
        if by:
            screen.print(
                f"           failed in a run of all: {', '.join(found['by'])}", markup=False
            )
    return results


def list_all(exhibits):
    table = Table(box=None)
    for head in ("exhibit", "design", "bug", "symptom", "check"):
        table.add_column(head)
    for exhibit in exhibits:
        table.add_row(
            exhibit.name, exhibit.design, str(exhibit.bug or "-"), exhibit.symptom, exhibit.check
        )
    screen.print(table)


def page(exhibits):
    """The page of the guide that lists them, by lab and symptom, as Markdown, in the language in
    use.
    """
    labs, up = known(), "" if language.in_use == "en" else "../"
    texts = [say(INTRODUCTION)]
    heads = [say("symptom"), say("server"), say("bug"), say("check that catches it")]
    for lab in sorted({labs[exhibit.check] for exhibit in exhibits}):
        texts += ["## " + say("Lab {lab}", lab=lab) + "\n\n", row(heads), row(["---"] * len(heads))]
        texts += sorted(
            row(
                [
                    re.sub(r"<\w+>", r"`\g<0>`", say(exhibit.symptom).replace("|", "\\|")),
                    exhibit.design,
                    ", ".join(
                        f"[{title}]({up}exhibits/{exhibit.name}.{suffix})"
                        for title, suffix in [
                            (exhibit.name, "toml"),
                            *([(say("schedule"), "schedule")] if exhibit.schedule else []),
                        ]
                    ),
                    f"`{exhibit.check}`",
                ]
            )
            for exhibit in exhibits
            if labs[exhibit.check] == lab
        )
        texts.append("\n")
    return "".join(texts).rstrip("\n") + "\n"


def row(cells):
    return f"| {' | '.join(cells)} |\n"


INTRODUCTION = template("""# Bugs, by symptom

Each exhibit is one of our servers with one bug, a mistake that students make. In one file, an old
text that occurs there once becomes a new one.

Exhibits measure the checks: each names the check that must catch it. They are also there to learn
from. Read the symptom. Say what the cause might be and how you would find out. Only then open the
bug. To get one without its name, run `python -m harness hunt deal FOLDER` ([lab 7](lab7.md)).

A race or a deadlock has a schedule, an order of steps that shows the bug each time
([Every order of steps](explore.md)). Replay it with
`python -m harness explore --replay lab_guide/exhibits/NAME.schedule --in FOLDER -- COMMAND`.

A bug belongs to the first lab that asks for its check.
`python -m harness exhibits --page FILE` writes this page.

""")


def arguments(parser):
    """Adds what `harness exhibits` takes."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--list", action="store_true", help="only show them: symptom and check")
    parser.add_argument(
        "--page", metavar="FILE", help="only write the guide's page about them into FILE"
    )
    parser.add_argument(
        "--lang", choices=LANGUAGES, default="en", help="of that page (default: %(default)s)"
    )
    parser.add_argument(
        "--times",
        type=positive,
        default=20,
        metavar="N",
        help="runs of each (default: %(default)s)",
    )
    parser.add_argument(
        "--busy",
        action="store_true",
        help="keep as many processes busy as there are cores meanwhile",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="also run all checks against each, once: half a minute each",
    )
    parser.add_argument("--json", metavar="FILE", help="put what was found into FILE")


def main(options):
    """Exit status 0 if each exhibit was caught in 19 of 20 runs or more, 1 if one was not, 2 if one
    is broken.
    """
    try:
        exhibits = all_exhibits()
        if unknown := set(options.names) - {exhibit.name for exhibit in exhibits}:
            raise Broken(f"{min(unknown)}: there is no such exhibit; --list shows them")
        if options.json:  # before hours of work, not after them
            open(options.json, "a").close()
        chosen = [
            exhibit for exhibit in exhibits if not options.names or exhibit.name in options.names
        ]
        if options.list:
            list_all(chosen)
            return 0
        if options.page:
            language.use(options.lang)
            put(options.page, page(chosen))
            return 0
        with busy_cores() if options.busy else nullcontext():
            results = run(chosen, options.times, options.all)
        if options.json:
            put(options.json, json.dumps(results, indent=1) + "\n")
    except Broken as why:
        print(f"exhibits: {why}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"exhibits: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    escaped = [found for found in results if found["caught"] < 0.95 * found["runs"]]
    screen.print(
        f"{len(results) - len(escaped)} of {len(results)} exhibits are caught by the check they "
        f"name"
        + (
            f"; not often enough: {', '.join(found['name'] for found in escaped)}"
            if escaped
            else ""
        ),
        markup=False,
    )
    return 1 if escaped else 0
