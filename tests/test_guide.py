"""The lab guide is run: the text after `$` in a page is typed, and the text below it must come.

A page is run in a home of its own, where ~/grupo is the project. Blocks are ```console; those with
a title, `terminal 2`, are typed in a terminal of that name. Its last command goes on running. In a page
of the track `build`, the reader has written the solution of the stage where its part Check begins.
`...` stands for anything. Times, ports, seeds and the like may differ. Blocks in Python or C bear
the file that they are from as their title, and are in it word for word.
"""

import ast
import doctest
import functools
import os
import re
import shlex
import shutil
import socket
import string
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import need

from harness.__main__ import parse
from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT
from harness.grading import rubric as grading_rubric
from harness.teaching import starter, track
from harness.verdicts import language
from harness.verdicts.command import CHECKS
from harness.verdicts.model import VERDICTS

GUIDE = Path(ROOT, "lab_guide")
PAGES = sorted(
    path
    for folder in (".", "build", "pt-BR", "pt-BR/build")
    for path in GUIDE.joinpath(folder).glob("*.md")
    if path.name != "protocol.md"  # that one has its own test
)
BLOCK = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```", re.M | re.S)
SAME = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TRIES = 3  # of a check that a busy machine leaves inconclusive, as a reader would run it again
DIFFERS = [
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"\b[0-9a-f]{8}\b", "SEED"),
    (r"/tmp/grupo-check-\w+", "RECORDS"),
    (r"\b(in|em) \d+ s\b", r"\1 N s"),
    (r"/\S*/(check_\w+?)\d*/group", r"FOLDER/\1"),
    (r"make: \*\*\* \[.*", "make: ***"),
    (r"\bpid \d+", "pid N"),
]
SOLUTIONS = Path(ROOT, "tests", "build")  # of the track `build`


@dataclass
class Block:
    language: str
    title: str
    text: str
    line: int

    @property
    def typed(self):
        """[(command, the lines that must come)]."""
        found = []
        for line in self.text.split("\n"):
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found:
                found[-1][1].append(line)
        return [(command, "\n".join(lines).strip("\n")) for command, lines in found]


def blocks(page):
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        title = re.search(r'title="([^"]*)"', found[3])
        yield Block(
            found[2],
            title[1] if title else "",
            textwrap.dedent(found[4]),
            text.count("\n", 0, found.start()) + 1,
        )


def is_portuguese(page):
    return page.is_relative_to(GUIDE / "pt-BR")


def in_portuguese_page(page):
    """Where the Portuguese page for an English one is."""
    return GUIDE / "pt-BR" / page.relative_to(GUIDE)


def plain(text):
    for pattern, word in DIFFERS:
        text = re.sub(pattern, word, text)
    return text.replace(str(ROOT), "~/grupo").replace(sys.executable, "python").strip("\n")


class Reader:
    """A home of its own, and the terminals in it."""

    def __init__(self, home, language):
        (home / "grupo").symlink_to(ROOT)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])
        self.home, self.places, self.running, self.heard = home, {}, {}, {}
        self.env = {
            **os.environ,
            "HOME": str(home),
            "PORT": self.port,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "150",
            "DEADLINE": "5",
            "LANG": language,
            "XDG_DATA_HOME": str(home / ".data"),
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        for name in "LANGUAGE", "LC_ALL", "LC_MESSAGES", "MAKEFLAGS", "MAKELEVEL", "GITHUB_ACTIONS":
            self.env.pop(name, None)

    def type(self, terminal, command, expected):
        """Types a command, and complains if what comes is not as expected."""
        script = command.replace("7000", self.port)
        place = self.places.setdefault(terminal, self.home / "grupo")
        if terminal:  # it goes on running
            self.stop(terminal)
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=place,
                env=self.env,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.running[terminal], self.heard[terminal] = process, []
            if command.startswith("cd "):
                self.move(terminal, script)
            threading.Thread(
                target=lambda: self.heard[terminal].extend(process.stdout), daemon=True
            ).start()
            wait_until(
                lambda: self.fits(expected, "".join(self.heard[terminal])),
                60,
                f"{expected!r} from `{command}`; it was {self.heard[terminal]!r}",
            )
            return
        for _ in range(TRIES):
            done = self.run(terminal, script)
            if self.fits(expected, done.stdout) or "inconclusive" not in done.stdout:
                break
        assert self.fits(expected, done.stdout), (
            f"`{command}` shows\n{done.stdout}\nand not\n{expected}"
        )

    def run(self, terminal, script):
        """Runs a command to its end. The terminal is then where the command left it."""
        where = self.home / ".where"
        done = subprocess.run(
            ["bash", "-c", f"{script}\nstatus=$?; pwd > {where}; exit $status"],
            cwd=self.places[terminal],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        self.places[terminal] = where.read_text().strip()
        return done

    def move(self, terminal, script):
        target = subprocess.run(
            ["bash", "-c", f"{script.partition('&&')[0].partition(';')[0]} && pwd"],
            cwd=self.places[terminal],
            env=self.env,
            capture_output=True,
            text=True,
        ).stdout.strip()
        self.places[terminal] = target or self.places[terminal]

    def fits(self, expected, shown):
        return SAME.check_output(
            plain(expected) + "\n",
            plain(shown.replace(self.port, "7000").replace(str(self.home), "~")) + "\n",
            FLAGS,
        )

    def stop(self, terminal):
        if process := self.running.pop(terminal, None):
            try:
                os.killpg(process.pid, 15)
            except ProcessLookupError:
                pass
            process.wait(20)


RUN = [path for path in PAGES if not is_portuguese(path) or os.environ.get("GRUPO_SOAK")]


def writes(reader, number):
    """A reader of the track has written their file of this stage."""
    stage = track.read(number)
    folder = reader.home / "chat"
    folder.mkdir(exist_ok=True)
    shutil.copy(SOLUTIONS / f"{number}.py", folder / stage.name)


def work_of(page):
    """[(line, stage)]: from which lines on a reader of this page has written which stage."""
    found = re.fullmatch(r"stage(\d)", page.stem)
    if not found:
        return []
    number, text = int(found[1]), page.read_text(encoding="utf-8")
    check = text.count("\n", 0, re.search(r"^## (Check|Verifique)$", text, re.M).start())
    return [(check, number), *((0, earlier) for earlier in reversed(range(number)))]


@pytest.mark.long
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(GUIDE)))
def test_what_a_page_shows_is_what_comes(page, tmp_path):
    for tool in "make", "nc", "cc", "pgrep", "top":
        need(tool)
    reader = Reader(tmp_path, "pt_BR.UTF-8" if is_portuguese(page) else "C.UTF-8")
    todo = work_of(page)
    try:
        for block in blocks(page):
            while todo and block.line > todo[-1][0]:
                writes(reader, todo.pop()[1])
            if block.language == "console":
                for command, expected in block.typed:
                    try:
                        reader.type(block.title, command, expected)
                    except AssertionError as problem:
                        pytest.fail(f"{page.name}, block at line {block.line}: {problem}")
    finally:
        for terminal in list(reader.running):
            reader.stop(terminal)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(GUIDE)))
def test_code_in_a_page_stands_in_its_file(page):
    for block in blocks(page):
        where = f"{page.name}, line {block.line}"
        assert block.language in ("console", "python", "c", "toml", "yaml", "text", "dialogue"), (
            f"{where}: what is a block in {block.language}?"
        )
        if block.language in ("python", "c", "toml") and not (
            block.language == "toml" and not block.title
        ):
            whole = textwrap.dedent(Path(ROOT, block.title).read_text(encoding="utf-8"))
            lines = [line.strip() for line in whole.split("\n")]
            wanted = [line.strip() for line in block.text.strip("\n").split("\n")]
            assert any(
                lines[start : start + len(wanted)] == wanted for start in range(len(lines))
            ), f"{where}: not in {block.title}"


def calls_our_workflow(found):
    """Whether a workflow calls one of ours, with inputs that it takes, and all that it needs."""
    [job] = found.get("jobs", {}).values()
    name = job.get("uses", "").partition("/.github/")[2].partition("@")[0]
    ours = yaml.safe_load(Path(ROOT, ".github", name).read_text(encoding="utf-8"))
    inputs = ours[True]["workflow_call"]["inputs"]  # to YAML 1.1, `on` is true
    needed = {key for key, about in inputs.items() if about.get("required")}
    return needed <= set(job["with"]) <= set(inputs)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(GUIDE)))
def test_yaml_in_a_page_calls_the_harness_rightly(page):
    def texts(value):
        if isinstance(value, (dict, list)):
            return [
                text
                for part in (value.values() if isinstance(value, dict) else value)
                for text in texts(part)
            ]
        return [value] if isinstance(value, str) else []

    for block in blocks(page):
        if block.language == "yaml":
            found = yaml.safe_load(block.text)
            commands = [text for text in texts(found) if "-m harness" in text]
            assert commands or calls_our_workflow(found), f"{page.name}, line {block.line}"
            for command in commands:
                parse(shlex.split(command.partition("-m harness")[2]))


def test_the_points_that_instructors_are_told_are_those_of_the_checks():
    """What all checks up to a lab give, and of that what its starting folders lack."""
    found = [
        (
            node.name.removeprefix("check_").replace("_", "-"),
            {
                call.func.id if isinstance(call.func, ast.Name) else "forms": call
                for call in node.decorator_list
            },
        )
        for path in CHECKS.glob("check_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
    ]
    about = {
        name: {word.arg: word.value.value for word in made["check"].keywords}
        | {"forms": len(made["forms"].args[1].elts) if "forms" in made else 1}
        for name, made in found
    }
    points = {name: one["points"] * one["forms"] for name, one in about.items()}
    rows = re.findall(
        r"^\| (\d) \| (\w+) \| (\d+) \| (\d+) \| (\d+|-) \|$",
        Path(GUIDE, "instructor.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert len(rows) == 8
    for lab, design, most, *lacks in rows:
        assert int(most) == sum(
            points[name]
            for name, one in about.items()
            if one["lab"] <= int(lab) and one.get("design") in (None, design)
        )
        for written_in, told in zip(starter.LANGUAGES, lacks, strict=True):
            if (starter.MANIFESTS / f"{lab}-{written_in}.toml").is_file():
                begun = starter.read(int(lab), written_in)
                assert (begun.designs[0], sum(points[check] for check in begun.fails)) == (
                    design,
                    int(told),
                )
            else:
                assert told == "-"


def test_the_weights_that_instructors_are_told_are_those_of_the_suggested_rubric():
    page = Path(GUIDE, "instructor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.+) \| (.+) \| (\d+) % \|$", page, re.M)
    assert [int(lab) for lab, *_ in rows] == list(range(9))
    for lab, weigh, hide, share in rows:
        said = grading_rubric.weights(int(lab))
        assert re.findall("`([a-z-]+)`", weigh) == said.weigh, lab
        assert re.findall("`([a-z-]+)`", hide) == said.hide, lab
        assert int(share) == said.share, lab
    parts = re.findall(r"^- (\d+) for (.+)$", page, re.M)
    assert [int(points) for points, _ in parts] == list(said.parts.values())
    assert sum(said.parts.values()) == sum(int(share) for *_, share in rows) == 100


def test_each_lab_has_its_page_in_both_languages_with_the_same_commands():
    for lab in range(9):
        english, portuguese = (Path(folder, f"lab{lab}.md") for folder in (GUIDE, GUIDE / "pt-BR"))
        commands = [
            [
                (block.title, command)
                for block in blocks(page)
                if block.language == "console"
                for command, _ in block.typed
            ]
            for page in (english, portuguese)
        ]
        assert commands[0] == commands[1] and len(commands[0]) > 2, english.name
        code = [
            [block.text for block in blocks(page) if block.language in ("python", "c")]
            for page in (english, portuguese)
        ]
        assert code[0] == code[1]


# Of what a line of output is put together, if it is.
KIND = f"(?:{'|'.join(VERDICTS)})"
PARTS = [
    rf"({KIND})  (\w+): [a-z0-9-]+  (.*)",
    r"(expected:|but:|seen:|when:|cause:|read:|again:) +(.*)",
    r"\d+\. (.*)",
    rf"(\d+ {KIND}.*); (.* points in .*)",
    r"(.* points in .* Seed \w+\.) (The records .*)",
    rf"(\d+ {KIND}), (\d+ {KIND}.*)",
    r"(Earlier labs|Lab \d|Earlier stages|Stage \d): (.*)",
    r"Lab \d, (.*): .*",
    r"(bug) +(dealt) +(tries) +(fixed)",
    r"(\(bug .*hidden\)).*",
]


def in_portuguese(line):
    """What a reader of Portuguese is shown for this line of output."""
    line = line.strip()
    for found in filter(None, (re.fullmatch(pattern, line) for pattern in PARTS)):
        for place in range(len(found.groups()), 0, -1):
            start, end = found.span(place)
            line = line[:start] + in_portuguese(found[place]) + line[end:]
        return line
    return translated(line, forms()) or line


@functools.cache
def forms():
    """[(a pattern of a line of output, its translation)] of all texts, each line of them by itself,
    the most telling first. What is drawn in a picture is no output.
    """
    found = []
    for message in language.read():
        if all(path.startswith("harness/tracing/figures/") for path, _ in message.locations):
            continue
        lines = zip(message.id.split("\n"), message.string.split("\n")) if message.id else ()
        found += [
            (line, told)
            for line, told in lines
            if re.search(r"[^\W\d_]", re.sub("{.*?}", "", line))
        ]
    telling = [
        form
        for form in found
        if not language.holes(form[0])
        or set(re.findall(r"[^\W\d_]+", re.sub("{.*?}", "", form[0])))
        - {"and", "of", "or", "received"}
    ]
    telling.sort(key=lambda form: -len(re.sub("{.*?}", "", form[0])))
    return [(pattern_of(line), re.sub(r"{(\w+).*?}", r"{\1}", told)) for line, told in telling]


def pattern_of(line):
    """What an instance of this template looks like: a value that is in it twice is the same
    there.
    """
    pattern, seen = "", set()
    for literal, name, *_ in string.Formatter().parse(line):
        pattern += re.escape(literal)
        if name:
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>.*?)"
            seen.add(name)
    return re.compile(pattern)


def translated(line, forms):
    """A line that is an instance of one of these forms, in Portuguese, with what it holds
    translated likewise; None if it is none.
    """
    for pattern, told in forms:
        if found := pattern.fullmatch(line):
            parts = {
                name: part if name == "who" else translated(part, forms) or part
                for name, part in found.groupdict().items()
            }
            return told.format(**parts)
    return None


def is_the_same(english, portuguese):
    """Whether this is the same output in Portuguese. Where a page leaves out a part of a sentence,
    the other is taken at its word.
    """
    lines, others = english.split("\n"), portuguese.split("\n")
    if len(lines) == len(others):
        in_part = ["..." in line and line.strip() != "..." for line in lines]
        others = [line if part else other for part, line, other in zip(in_part, lines, others)]
        lines = [line if part else in_portuguese(line) for part, line in zip(in_part, lines)]
    else:
        lines = map(in_portuguese, lines)
    return SAME.check_output(plain("\n".join(others)) + "\n", plain("\n".join(lines)) + "\n", FLAGS)


@pytest.mark.parametrize(
    "page",
    [path for path in PAGES if not is_portuguese(path) and in_portuguese_page(path).exists()],
    ids=lambda page: page.name,
)
def test_a_portuguese_page_shows_the_same_output_in_portuguese(page):
    """So it need not be run as well: `make soak` does."""
    language.use("pt-BR")
    try:
        for block, other in zip(blocks(page), blocks(in_portuguese_page(page)), strict=True):
            if block.language == "console":
                for (command, shown), (_, other_shown) in zip(
                    block.typed, other.typed, strict=True
                ):
                    assert is_the_same(shown, other_shown), (
                        f"{other.line}: {command}\n{other_shown}"
                    )
    finally:
        language.use("en")


SECTIONS = {
    "": (
        "Goals",
        "Predict",
        "Run",
        "Investigate",
        "Make",
        "Check",
        "Hints",
        "Common bugs",
        "Stretch",
        "Write-up",
    ),
    "pt-BR": (
        "Objetivos",
        "Preveja",
        "Execute",
        "Investigue",
        "Faça",
        "Verifique",
        "Dicas",
        "Erros comuns",
        "Para ir além",
        "Relatório",
    ),
}


@pytest.mark.parametrize("folder", SECTIONS)
def test_each_lab_has_every_part(folder):
    for lab in range(9):
        text = Path(GUIDE, folder, f"lab{lab}.md").read_text(encoding="utf-8")
        assert tuple(re.findall(r"^## (.+)$", text, re.M)) == SECTIONS[folder], f"lab{lab}.md"
        assert text.count("<details") == 3 and "CS2023" in text


PARTS_OF_A_STAGE = {
    "": (
        "What you build",
        "What the standard library offers",
        "Predict",
        "Build",
        "Check",
        "What to see",
        "Questions",
    ),
    "pt-BR": (
        "O que você constrói",
        "O que a biblioteca padrão oferece",
        "Preveja",
        "Construa",
        "Verifique",
        "O que observar",
        "Perguntas",
    ),
}


@pytest.mark.parametrize("folder", PARTS_OF_A_STAGE)
def test_each_stage_has_every_part(folder):
    for number in track.numbers():
        text = Path(GUIDE, folder, "build", f"stage{number}.md").read_text(encoding="utf-8")
        assert tuple(re.findall(r"^## (.+)$", text, re.M)) == PARTS_OF_A_STAGE[folder], number
        assert "build/examples/" in text and f"starter --track build {number} ~/chat" in text


def test_each_stage_has_the_same_commands_in_both_languages():
    for number in track.numbers():
        pages = [Path(GUIDE, folder, "build", f"stage{number}.md") for folder in PARTS_OF_A_STAGE]
        typed = [
            [(block.title, command) for block in blocks(page) for command, _ in block.typed]
            for page in pages
        ]
        assert typed[0] == typed[1] and len(typed[0]) > 5, number
