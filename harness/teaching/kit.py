"""python -m harness kit: all that a student needs for one lab, in one archive.

A kit is a small Grupo: the harness's commands for students, the lab's pages in both languages, the
starting folder, and what sets up the environment. Its `implementations` are those of the starting
folder, so the functions that the student writes are empty in them, too. There are no exhibits, no
exam, no pages for teachers. The same kit has the same bytes.
"""

import argparse
import functools
import io
import posixpath
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from string import Template

from harness.driving.server import ROOT
from harness.output import put
from harness.teaching import starter
from harness.teaching.imports import imported, needed
from harness.verdicts import language
from harness.verdicts.language import say
from harness.verdicts.model import UsageError

# The commands of a kit; the checks are found by pytest.
COMMANDS = (
    "harness.__main__",
    "harness.explore.command",
    "harness.explore.play.command",
    "harness.sources",
    "harness.teaching.fuzz",
    "harness.teaching.lab",
    "harness.teaching.predict",
    "harness.teaching.starter",
    "harness.teaching.talk",
    "harness.teaching.watch",
    "harness.verdicts.command",
)
# Folders of the harness that are whole in a kit: the checks, and what is not imported by name.
WHOLE = "harness/checks", "harness/driving", "harness/explore", "harness/verdicts"
SET_UP = "LICENSE", "requirements.lock", "requirements.py", "setup.mk"
GROUPS = "servers", "core"  # of requirements.txt: those that setup.mk installs
EXHIBITS = "lab_guide/exhibits/"
PLACES = "", "pt-BR/"  # of the pages, in lab_guide
# Pages that a kit may have besides its lab's, if one of its pages links to them.
PAGES = "checking-a-server.md", "explore.md", "index.md", "model.md", "protocol.md"
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(<?([^)\s>]+)>?\)")
HINT = re.compile(r"^<details.*?^</details>\n", re.M | re.S)
LAST_HINT = 3  # it quotes the solution
# In the starting folder's Makefile. Each line ends in #, as there: Windows line endings do no harm.
HERE = "$(CURDIR)/.."
OUR_PYTHON = "$(GRUPO)/.venv/bin/python"
READY = """\
.PHONY: ready #
check predict: ready #
ready:; @$(MAKE) -s --no-print-directory -C $(call quoted,$(GRUPO)) .venv/ready #
"""
WHEN = 1980, 1, 1, 0, 0, 0  # of each file in the archive


def kit(lab: int, written_in: str) -> bytes:
    """Return the archive for a lab in this language, as .zip. Its README is in the language in use.

    Raises UsageError if the lab has no starting folder.
    """
    begun = starter.read(lab, written_in)
    name = f"lab{lab}" + ("-c" if written_in == "c" else "")
    pages = pages_of(lab)
    modules = [page.removesuffix(".py").replace("/", ".") for page in pages if page[-3:] == ".py"]
    files = {
        **sources([*COMMANDS, *modules]),
        **{path: (ROOT / path).read_bytes() for path in SET_UP},
        **{path: text.encode() for path, text in pages.items()},
        **starting_files(begun),
        **starting_folder(begun, name),
        **manifest(begun),
        **cover(begun, name),
        str(language.CATALOGUE.relative_to(ROOT)): translations(),
    }
    files["requirements.txt"] = requirements(files)
    return archive({f"grupo-{name}/{path}": data for path, data in files.items()})


def archive(files: dict[str, bytes]) -> bytes:
    """Return these files as .zip; the same files are the same bytes. What begins with #! is a
    program.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for path, data in sorted(files.items()):
            entry = zipfile.ZipInfo(path, WHEN)
            mode = 0o100755 if data.startswith(b"#!") else 0o100644
            entry.create_system, entry.external_attr = 3, mode << 16  # of Unix
            packed.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


# -- Code ------------------------------------------------------------------------------------------


def sources(modules: Iterable[str], whole_too: Iterable[str] = ()) -> dict[str, bytes]:
    """Return the files of the harness that these modules need, and all of WHOLE and `whole_too`."""
    whole = [
        path
        for folder in (*WHOLE, *whole_too)
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    names = [name_of(path) for path in whole if path.suffix == ".py"]
    found = {*whole, *needed((*modules, *names))}
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in sorted(found)}


@functools.cache
def translations() -> bytes:
    """Return the catalogue without the symptoms of the exhibits."""
    from babel.messages.pofile import write_po

    catalogue = language.read()
    for message in list(catalogue):
        if any(place.startswith(EXHIBITS) for place, _ in message.locations):
            catalogue.delete(message.id)
    made = io.BytesIO()
    write_po(made, catalogue, width=150)
    return made.getvalue()


def name_of(path: Path) -> str:
    """Return the dotted name of a module's file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def starting_files(begun: starter.Starter) -> dict[str, bytes]:
    """Return the sources of the starting folder where Grupo has them, with the lab's functions
    emptied: so the kit can write a new starting folder.
    """
    texts = starter.contents(begun)
    return {
        str(ours.relative_to(ROOT)): texts[place].encode() for place, ours in begun.files().items()
    }


def starting_folder(begun: starter.Starter, name: str) -> dict[str, bytes]:
    """Return the student's folder. It finds the harness in the folder above it."""
    words = {
        "title": say(begun.title),
        "grupo": "..",
        "place": HERE,
        "python": OUR_PYTHON,
        "ready": READY,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, name)
        starter.write(begun, folder, more=words)
        return {
            str(path.relative_to(scratch)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def manifest(begun: starter.Starter) -> dict[str, bytes]:
    """Return what `harness lab` and `harness starter` read of this lab."""
    names = [f"{begun.lab}-{begun.language}.toml", f"{begun.lab}.toml", "Makefile.lab"]
    names += [f"README.md.{begun.language}", f"README.md.{begun.language}.pt-BR"]
    paths = [starter.MANIFESTS / name for name in names]
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in paths}


def cover(begun: starter.Starter, name: str) -> dict[str, bytes]:
    """Return the kit's own README and Makefile."""
    words = {"lab": begun.lab, "title": say(begun.title), "folder": name}
    return {
        place: Template(starter.template_of(place, "kit").read_text(encoding="utf-8"))
        .substitute(words)
        .encode()
        for place in ("README.md", "Makefile")
    }


def requirements(paths: Iterable[str]) -> bytes:
    """Return our requirements.txt without the packages that none of these files imports."""
    used = {
        name.partition(".")[0]
        for path in paths
        if path.endswith(".py") and (ROOT / path).is_file()
        for name in imported(ROOT / path)
    }
    packages = {
        plain_name(package)
        for module, those in packages_distributions().items()
        if module in used
        for package in those
    }
    kept, group = [], ""
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"# (\w+): ", line):
            group = heading[1]
        is_package = re.match(r"[\w.-]+==", line)
        if group in GROUPS and (not is_package or plain_name(line.partition("==")[0]) in packages):
            kept.append(line)
    return ("\n".join(kept) + "\n").encode()


def plain_name(package: str) -> str:
    """Return a package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", package).lower()


# -- Pages -----------------------------------------------------------------------------------------


def pages_of(lab: int) -> dict[str, str]:
    """Return {path: text} of the lab's pages in both languages, and what they link to.

    A link to what is not in the kit becomes plain text.
    """
    todo = [f"lab_guide/{place}{name}.md" for name in (f"lab{lab}", "index") for place in PLACES]
    found: dict[str, str] = {}
    while todo:
        path = todo.pop()
        if path not in found:
            found[path] = (ROOT / path).read_text(encoding="utf-8")
            todo += [one for one in targets(path, found[path]) if may_be_in(one, lab)]
    return {
        path: student_page(path, text, set(found)) if path.endswith(".md") else text
        for path, text in found.items()
    }


def targets(path: str, text: str) -> Iterator[str]:
    """Yield the paths in Grupo's folder that a page links to."""
    if path.endswith(".md"):
        for _, link in LINK.findall(text):
            yield resolved(path, link)


def resolved(path: str, link: str) -> str:
    """Return the path in Grupo's folder that this link of a page leads to."""
    place = link.partition("#")[0]
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), place)) if place else path


def may_be_in(path: str, lab: int) -> bool:
    """Whether a kit for this lab may have this file."""
    folder, _, name = path.removeprefix("lab_guide/").rpartition("/")
    is_page = folder in ("", "pt-BR") and name in (*PAGES, f"lab{lab}.md")
    return path.startswith("lab_guide/") and (is_page or folder in ("races", "wireshark"))


def student_page(path: str, text: str, there: set[str]) -> str:
    """Return a page without the hint that quotes the solution, and with the links that lead
    somewhere.
    """
    if re.search(r"lab\d\.md$", path):
        last = list(HINT.finditer(text))[LAST_HINT - 1]
        text = text[: last.start()] + text[last.end() :]

    def link(found: re.Match[str]) -> str:
        leads = ":" in found[2] or resolved(path, found[2]) in there
        return found[0] if leads else found[1]

    return LINK.sub(link, text)


# -- The command -----------------------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `harness kit` takes."""
    parser.add_argument("lab", type=int, metavar="LAB", choices=range(9), help="0 to 8")
    parser.add_argument(
        "--out", dest="archive", required=True, metavar="FILE", help="such as kit.zip"
    )
    parser.add_argument(
        "--language",
        choices=starter.LANGUAGES,
        default="python",
        help="of the starting folder (default: %(default)s)",
    )
    parser.add_argument(
        "--lang",
        choices=language.LANGUAGES,
        help="of the README; the pages are in both (default: the locale's, else en)",
    )


def main(options: argparse.Namespace) -> int:
    """Write the kit. Return the exit status: 0, or 2 for a lab without a starting folder."""
    language.choose(options.lang)
    try:
        put(options.archive, kit(options.lab, options.language))
    except UsageError as why:
        print(f"kit: {say(why.args[0])}", file=sys.stderr)
        return 2
    print(
        say(
            "{path}: lab {lab}, without solutions",
            path=options.archive,
            lab=options.lab,
        )
    )
    return 0
