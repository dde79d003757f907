"""python -m harness package: an autograder for a system that runs one itself.

A package holds what grades one lab: the harness, the lab's starting folders, the rubric, and the
script `grade SUBMISSION RESULT`, which writes RESULT whatever happens. The rest is what the system
asks for. A package holds solutions: it is for the system and its teachers, not for students.
"""

import argparse
import io
import json
import sys
import tarfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from harness.arguments import positive, seconds
from harness.driving.server import ROOT
from harness.grading.autograder import RESERVE, not_ended
from harness.grading.intake import starters, written
from harness.output import put
from harness.teaching import starter
from harness.teaching.kit import SET_UP, archive, requirements, sources
from harness.verdicts import language, rubric
from harness.verdicts.formats import FORMATS
from harness.verdicts.language import say
from harness.verdicts.model import DEADLINE, UsageError

MODULES = (
    "harness.grading.autograder",
    "harness.__main__",
    "harness.sources",
    "harness.teaching.lab",
)
WHOLE = ("harness/grading",)
NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562: of URLs
MOST_SECONDS = 600  # PrairieLearn's limit for a grader
IMAGE = "YOUR-REGISTRY/grupo"  # built by Grupo's Dockerfile

HERE = Path(__file__).parent / "packages"  # the scripts


@dataclass
class Package:
    """What is asked for. `minutes`: for one submission, all in all."""

    system: str
    lab: int
    language: str
    rubric: bytes | None
    deadline: float
    minutes: int

    @property
    def begun(self) -> list[starter.Starter]:
        """The starting folders that it is for."""
        return [one for one in starters(self.lab) if self.language in ("", one.language)]


def parts(package: Package) -> dict[str, bytes]:
    """Return what every package holds: the script `grade`, and Grupo for this lab."""
    options = {
        "--lab": package.lab,
        "--format": package.system,
        "--deadline": f"{package.deadline:g}",
        "--minutes": package.minutes,
        "--language": package.language,
        "--lang": language.in_use,
    }
    lines = [f"{name}={value}\n" for name, value in options.items() if value != ""]
    made = {
        "grade": script("grade"),
        "options": "".join(lines).encode(),
        "seconds": f"{60 * package.minutes - RESERVE // 2}\n".encode(),
        "not-graded": FORMATS[package.system](not_ended(package.lab)).encode(),
        **{f"grupo/{path}": data for path, data in grupo(package).items()},
    }
    return made if package.rubric is None else {**made, "rubric.toml": package.rubric}


def script(name: str) -> bytes:
    """Return a file of HERE."""
    return (HERE / name).read_bytes()


def grupo(package: Package) -> dict[str, bytes]:
    """Return a Grupo that can grade this lab, and no other."""
    names = [path.name for path in starter.MANIFESTS.glob(f"{package.lab}-*.toml")]
    manifests = [starter.MANIFESTS / name for name in names]
    references = [ours for begun in package.begun for ours in begun.files().values()]
    files = sources(MODULES, WHOLE)
    for path in (*manifests, *references, *(ROOT / name for name in SET_UP)):
        files[str(path.relative_to(ROOT))] = path.read_bytes()
    files["requirements.txt"] = requirements(files)
    return files


def gradescope(package: Package) -> dict[str, bytes]:
    """https://gradescope-autograders.readthedocs.io/en/latest/specs/: the archive lies unpacked in
    /autograder/source.
    """
    return {**parts(package), **{name: script(name) for name in ("setup.sh", "run_autograder")}}


def autolab(package: Package) -> dict[str, bytes]:
    """https://docs.autolabproject.com/lab/: two files beside the submission; `make`; the last lines
    of stdout.
    """
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as packed:
        for path, data in sorted(parts(package).items()):
            member = tarfile.TarInfo(f"autograder/{path}")
            member.size, member.mode = len(data), 0o755 if data.startswith(b"#!") else 0o644
            packed.addfile(member, io.BytesIO(data))
    return {
        "autograde-Makefile": script("autograde-Makefile"),
        "autograde.tar": made.getvalue(),
    }


def prairielearn(package: Package) -> dict[str, bytes]:
    """https://docs.prairielearn.com/externalGrading/: the folder of a question; `tests` becomes
    /grade/tests.
    """
    name = f"grupo-lab{package.lab}"
    title = say("Lab {lab}: {title}", lab=package.lab, title=say(package.begun[0].title))
    info = {
        "uuid": str(uuid.uuid5(NAMESPACE, name)),
        "title": title,
        "topic": "Grupo",
        "tags": [],
        "type": "v3",
        "singleVariant": True,
        "gradingMethod": "External",
        "externalGradingOptions": {
            "enabled": True,
            "image": IMAGE,
            "entrypoint": "/grade/tests/run.sh",
            "timeout": min(60 * package.minutes, MOST_SECONDS),
        },
    }
    files = {place.rpartition("/")[2] for one in package.begun[:1] for place in written(one)}
    text = say("Hand in the files that you changed.")
    page = Template(script("question.html").decode())
    question = page.substitute(text=text, files=", ".join(sorted(files)))
    return {
        f"{name}/info.json": (json.dumps(info, indent=2) + "\n").encode(),
        f"{name}/question.html": question.encode(),
        f"{name}/tests/run.sh": script("run.sh"),
        **{f"{name}/tests/{path}": data for path, data in parts(package).items()},
    }


PACKAGES: dict[str, Callable[[Package], dict[str, bytes]]] = {
    "gradescope": gradescope,
    "autolab": autolab,
    "prairielearn": prairielearn,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `harness package` takes."""
    parser.add_argument("system", choices=PACKAGES, metavar="SYSTEM", help=", ".join(PACKAGES))
    parser.add_argument("lab", type=int, metavar="LAB", choices=range(9), help="0 to 8")
    parser.add_argument(
        "--out", dest="archive", required=True, metavar="FILE", help="a zip archive"
    )
    parser.add_argument(
        "--language",
        choices=starter.LANGUAGES,
        default="",
        help="take no other (default: whichever is handed in)",
    )
    parser.add_argument("--rubric", metavar="FILE", help="points of checks, hidden checks")
    parser.add_argument(
        "--deadline",
        type=seconds,
        default=float(DEADLINE),
        metavar="S",
        help="seconds that a server may take for anything (default: %(default)s)",
    )
    parser.add_argument(
        "--minutes",
        type=positive,
        default=10,
        metavar="N",
        help="for one submission, as you set it in the system (default: %(default)s)",
    )
    parser.add_argument(
        "--lang",
        choices=language.LANGUAGES,
        help="of what students read (default: the locale's, else en)",
    )


def main(options: argparse.Namespace) -> int:
    """Write the package. Return the exit status: 0, or 2 for a misuse."""
    language.choose(options.lang)
    try:
        rubric.read(options.rubric)
        data = None
        if options.rubric:
            with open(options.rubric, "rb") as file:
                data = file.read()
        asked = options.system, options.lab, options.language, data
        package = Package(*asked, options.deadline, options.minutes)
        put(options.archive, archive(PACKAGES[options.system](package)))
    except UsageError as why:
        print(f"package: {say(why.args[0])}", file=sys.stderr)
        return 2
    told = say(
        "{path}: lab {lab} for {system}. It holds solutions: give it to no student",
        path=options.archive,
        lab=options.lab,
        system=options.system,
    )
    print(told)
    return 0
