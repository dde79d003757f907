"""python -m harness starter: a lab's starting folder, cut from a server that passes every check, so
that it cannot drift from it.

A manifest, lab_guide/starters/LAB-LANGUAGE.toml, names the functions to empty and their text
instead: the folder runs from the first minute, fails exactly the checks that the manifest names,
and passes again with the functions put back.
"""

import ast
import re
import sys
import textwrap
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from harness.driving.messages import msg
from harness.driving.server import ROOT
from harness.teaching.imports import needed
from harness.verdicts import language
from harness.verdicts.language import say
from harness.verdicts.model import UsageError

LANGUAGES = "python", "c"
MANIFESTS = ROOT / "lab_guide" / "starters"
COMPILE = (
    "-std=gnu11",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-o",
    "server",
    "server.c",
    "-pthread",
    "-lcrypt",
    "-lm",
)
RUN = {
    "python": "$(call quoted,$(PYTHON)) -m implementations.$(DESIGN)",
    "c": f"$(CC) {' '.join(COMPILE)} && ./server",
}  # in a Makefile


@dataclass
class Emptied:
    """A function that the learner is to write."""

    file: str  # in the starting folder
    function: str  # NAME, or CLASS.NAME
    body: str  # its text at the start


@dataclass
class Starter:
    lab: int
    language: str
    title: str
    designs: (
        list  # the servers that it is about, the first of which is checked if nobody says which
    )
    fails: list  # checks, by the id that `--only` takes
    empty: list  # of Emptied
    may_fail: list = field(default_factory=list)  # likewise, of which it is chance
    source: str = ""  # C: the file that becomes server.c

    def files(self):
        """{where in the folder: where in ours}."""
        if self.language == "c":
            return {"server.c": ROOT / self.source}
        servers = tuple(f"implementations.{design}" for design in self.designs)
        return {str(path.relative_to(ROOT)): path for path in needed(servers)}


def read(lab, language="python"):
    """The Starter of a lab. Raises UsageError."""
    path = MANIFESTS / f"{lab}-{language}.toml"
    if lab == 7:
        raise UsageError(
            msg("lab 7 has no starting folder: `python -m harness hunt deal DIR` deals its servers")
        )
    if not path.exists():  # in a student's kit
        raise UsageError(
            msg("this folder of Grupo has no lab {lab} in {language}", lab=lab, language=language)
        )
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return Starter(lab, language, **{**found, "empty": [Emptied(**one) for one in found["empty"]]})


# -- One function in a text ----------------------------------------------------------------------


def span(text, function, written_in):
    """(start, end) of a function's body in `text`, in lines: all but its signature and docstring.
    Raises LookupError.
    """
    return (c_span if written_in == "c" else python_span)(text, function)


def python_span(text, function):
    nodes = ast.parse(text).body
    *classes, name = function.split(".")
    for part in classes:
        nodes = next(
            (node.body for node in nodes if isinstance(node, ast.ClassDef) and node.name == part),
            [],
        )
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            statements = (
                node.body[1:]
                if ast.get_docstring(node) is not None and len(node.body) > 1
                else node.body
            )
            return (
                node.body[0].end_lineno if statements is not node.body else body_begins(text, node),
                node.end_lineno,
            )
    raise LookupError(function)


def body_begins(text, node):
    """The line after the signature: comments that stand before the first statement are part of the
    body.
    """
    lines = text.split("\n")
    line = node.body[0].lineno - 1
    while lines[line - 1].lstrip().startswith("#"):
        line -= 1
    return line


def c_span(text, function):
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if re.match(rf"\w.*\b{re.escape(function)}\(", line) and not line.rstrip().endswith(";"):
            start = lines.index("{", number) + 1
            return start, lines.index("}", start)
    raise LookupError(function)


def body_of(text, function, language):
    start, end = span(text, function, language)
    return "\n".join(text.split("\n")[start:end])


def with_body(text, function, body, language):
    """`text` with another body in this function."""
    start, end = span(text, function, language)
    lines = text.split("\n")
    return "\n".join([*lines[:start], *body.split("\n"), *lines[end:]])


def emptied_text(text, one, language):
    depth = 4 * (1 + one.function.count("."))
    return with_body(
        text,
        one.function,
        textwrap.indent(textwrap.dedent(one.body).strip("\n"), " " * depth),
        language,
    )


# -- A folder ------------------------------------------------------------------------------------


def contents(starter):
    """{file in the folder: its text at the start} of all that the server is made of."""
    found = {}
    for place, ours in starter.files().items():
        text = ours.read_text(encoding="utf-8")
        for one in starter.empty:
            if one.file == place:
                text = emptied_text(text, one, starter.language)
        found[place] = text
    return found


def write(starter, folder, kind=None, more=None):
    """Writes the starting folder, which must not exist, or be empty. Raises UsageError.

    kind: which README and Makefile it gets (None: by its language); more: words for these.
    """
    folder = Path(folder)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(
                msg("{folder} is there already, and not empty: name a new folder", folder=folder)
            )
        for place, text in contents(starter).items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(text, encoding="utf-8")
        words = {
            "lab": starter.lab,
            "title": starter.title,
            "design": starter.designs[0],
            "run": RUN[starter.language],
            "grupo": ROOT,
            "place": in_make(ROOT),
            "python": in_make(sys.executable).replace(f"{in_make(ROOT)}/", "$(GRUPO)/"),
            "functions": "\n".join(
                "- " + say("`{function}` in `{file}`", function=one.function, file=one.file)
                for one in starter.empty
            ),
            "others": "",
            "ready": "",
            **(more or {}),
        }
        if len(starter.designs) > 1:
            words["others"] = say("Another server design:") + "".join(
                f" `make check DESIGN={design}`" for design in starter.designs[1:]
            )
        for name, form in ("README.md", kind or starter.language), ("Makefile", kind or "lab"):
            template = template_of(name, form).read_text(encoding="utf-8")
            (folder / name).write_text(Template(template).substitute(words), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror}") from None


def template_of(name, form):
    """The template of a README or a Makefile, in the language in use if there is one."""
    template = MANIFESTS / f"{name}.{form}"
    other = template.with_name(f"{template.name}.{language.in_use}")
    return other if other.exists() else template


def in_make(path):
    """A path as a Makefile's variable holds it."""
    return str(path).replace("$", "$$").replace("#", "\\#")


def put_back(starter, folder):
    """Puts the reference's functions in the place of those that were emptied: the solution."""
    for one in starter.empty:
        ours = starter.files()[one.file].read_text(encoding="utf-8")
        place = Path(folder, one.file)
        text = place.read_text(encoding="utf-8")
        place.write_text(
            with_body(
                text, one.function, body_of(ours, one.function, starter.language), starter.language
            ),
            encoding="utf-8",
        )


def arguments(parser):
    """Adds what `harness starter` takes."""
    parser.add_argument(
        "lab", type=int, metavar="LAB", choices=range(9), help="0 to 8; of the track, 0 to 7"
    )
    parser.add_argument(
        "folder", metavar="DIR", help="a new folder; of the track, from stage 1 on, your own"
    )
    parser.add_argument(
        "--track",
        choices=("build",),
        help="not a lab, but a stage of the track in which you build a server from an empty file",
    )
    parser.add_argument(
        "--language",
        choices=LANGUAGES,
        help="(default: python; of the track, the language of your own file)",
    )
    parser.add_argument(
        "--lang",
        choices=language.LANGUAGES,
        help="of the folder's README (default: the locale's, else en)",
    )


def main(options):
    language.choose(options.lang)
    if options.track:
        from harness.teaching import track  # which needs this module

        return track.start(options)
    try:
        starter = read(options.lab, options.language or "python")
        title = say(starter.title)
        write(starter, options.folder, more={"title": title})
    except UsageError as why:
        print(f"starter: {say(why.args[0])}", file=sys.stderr)
        return 2
    print(say("Lab {lab}, {title}: {folder}", lab=starter.lab, title=title, folder=options.folder))
    print(
        say(
            "Begin with its README.md and lab_guide/lab{lab}.md; `make check` there shows "
            "your progress.",
            lab=starter.lab,
        )
    )
    return 0
