"""The labs' starting folders: each runs, fails exactly the checks that its manifest names, and
passes with the solution put back.

And what `make check` says of a folder that was moved, half-filled, broken, saved with Windows line
ends, or has no compiler.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import need

from harness.driving.server import ROOT
from harness.teaching import starter
from harness.verdicts import plugin
from harness.verdicts.command import known
from harness.verdicts.model import FAILED, INCONCLUSIVE, NOT_RUN, PASSED

pytestmark = pytest.mark.long
# A whole check of each, and of each design, takes ten minutes: `make soak` does that. Else a few,
# one of each design at least, are asked for what the
# other checks need (lab0.md fills in lab 0's).
WHOLE = bool(os.environ.get("GRUPO_SOAK"))
NEEDED = sorted({check for checks in plugin.STAGES.values() for check in checks})
# It judges everything that the lab asks for: it may find what a folder lacks, in every lab.
ANY = "any-dialogue"
ALL = [
    starter.read(int(path.stem[0]), path.stem[2:])
    for path in sorted(starter.MANIFESTS.glob("*-*.toml"))
]
CHOSEN = {"python": (1, 3, 4, 6), "c": (3,)}
EACH = [
    pytest.param(begun, design, id=f"{begun.lab}-{begun.language}-{design}")
    for begun in ALL
    if WHOLE or begun.lab in CHOSEN[begun.language]
    for design in (begun.designs if WHOLE else begun.designs[:1])
]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "mine"


def make(folder, *words, path=None):
    """`make` in a starting folder, as a learner types it."""
    env = {**os.environ, "PATH": path or os.environ["PATH"]}
    for name in "MAKEFLAGS", "MAKELEVEL":  # these tests may themselves be run by make
        env.pop(name, None)
    return subprocess.run(
        ["make", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
        env=env,
    )


def verdicts(folder, begun, design, tmp_path, *only):
    """{check: the verdicts of all its forms}, and the run itself."""
    found = tmp_path / "found.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "harness",
            "lab",
            folder,
            "--lab",
            str(begun.lab),
            "--design",
            design,
            "--deadline",
            "6",
            "--workers",
            "4",
            "--json",
            found,
            *(["--only", *only] if only else []),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert found.exists(), done.stdout + done.stderr
    by_check = {}
    for verdict in json.loads(found.read_text())["verdicts"]:
        if verdict["binds"] or verdict["verdict"] != NOT_RUN:
            by_check.setdefault(verdict["check"].partition("[")[0], set()).add(verdict["verdict"])
    return by_check, done


# A block of a page's third hint: the body of a function, below a line that names it.
HINT = re.compile(r"^`([\w.]+)` [^\n]*:\n\n```(\w+)[^\n]*\n(.*?)^```$", re.M | re.S)


def third_hint(begun, folder="."):
    """{function: its body} in the third hint of the lab's page. `folder`: that of the page."""
    page = Path(ROOT, "lab_guide", folder, f"lab{begun.lab}.md").read_text()
    hint = re.findall(r"<details.*?</details>", page, re.S)[2]
    return {
        function: body.removesuffix("\n")
        for function, language, body in HINT.findall(hint)
        if language == begun.language
    }


def paste(begun, folder, hint):
    """Does what the third hint says: puts each body in the place of what is in the folder."""
    for one in begun.empty:
        place = Path(folder, one.file)
        text = place.read_text(encoding="utf-8")
        place.write_text(
            starter.with_body(text, one.function, hint[one.function], begun.language),
            encoding="utf-8",
        )


@pytest.mark.parametrize("pages", [".", "pt-BR"])
@pytest.mark.parametrize("begun", ALL, ids=lambda begun: f"{begun.lab}-{begun.language}")
def test_the_third_hint_pasted_is_the_solution(begun, pages, folder, tmp_path):
    """The solution passes the lab's checks, as the test below shows."""
    starter.write(begun, folder)
    hint = third_hint(begun, pages)
    assert list(hint) == [one.function for one in begun.empty]
    paste(begun, folder, hint)
    starter.write(begun, tmp_path / "solved")
    starter.put_back(begun, tmp_path / "solved")
    for place in begun.files():
        lines, wanted = (
            [line for line in Path(home, place).read_text().split("\n") if line.strip()]
            for home in (folder, tmp_path / "solved")
        )
        assert lines == wanted, place


@pytest.mark.parametrize("begun, design", EACH)
def test_it_fails_exactly_what_it_is_to_fail_and_passes_with_the_solution(
    begun, design, folder, tmp_path
):
    starter.write(begun, folder)
    asked = [] if WHOLE else [*NEEDED, *begun.fails, *begun.may_fail]
    found, _ = verdicts(folder, begun, design, tmp_path, *asked)
    found.pop(ANY, None)
    failed = {check for check, kinds in found.items() if kinds != {PASSED}}
    assert set(begun.fails) <= failed <= set(begun.fails) | set(begun.may_fail), failed
    # On a busy machine a thread that spins looks like a thread that is kept waiting.
    assert all(found[check] & {FAILED, INCONCLUSIVE} for check in failed)

    paste(begun, folder, third_hint(begun))
    found, done = verdicts(folder, begun, design, tmp_path, *begun.fails, *begun.may_fail)
    assert all(kinds == {PASSED} for kinds in found.values()), done.stdout


@pytest.mark.parametrize("language", starter.LANGUAGES)
def test_lab_5_passes_its_checks_with_the_third_hint_pasted(language, folder, tmp_path):
    """EACH asks this of the labs that it chooses; lab 5's hint once did not fit its folder."""
    begun = starter.read(5, language)
    starter.write(begun, folder)
    paste(begun, folder, third_hint(begun))
    asked = [*begun.fails, *begun.may_fail]
    found, done = verdicts(folder, begun, begun.designs[0], tmp_path, *asked)
    assert set(asked) <= set(found)
    assert all(kinds == {PASSED} for kinds in found.values()), done.stdout


@pytest.mark.parametrize("begun", ALL, ids=lambda begun: f"{begun.lab}-{begun.language}")
def test_its_checks_are_of_this_lab_and_its_functions_are_named_in_its_page(begun, folder):
    """In words: what a folder fails is asked in this lab for the first time. A race may break what
    an earlier lab asked, too."""
    assert {known()[check] for check in begun.fails} == {begun.lab}
    assert all(known()[check] <= begun.lab for check in begun.may_fail)
    starter.write(begun, folder)
    assert all(one.function in (folder / "README.md").read_text() for one in begun.empty)
    page = Path(ROOT, "lab_guide", f"lab{begun.lab}.md").read_text()
    assert all(one.function.rpartition(".")[2] in page for one in begun.empty)


DAMAGED = ROOT / "lab_guide/lab1/damaged_members.py"


def damaged(folder):
    return subprocess.run(
        [sys.executable, str(DAMAGED)], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_lab_1_damaged_member_files(folder):
    """They are named at the start, and all rejected with the solution."""
    begun = starter.read(1)
    starter.write(begun, folder)
    done = damaged(folder)
    assert (done.returncode, done.stderr) == (1, ""), done.stderr
    starter.put_back(begun, folder)
    done = damaged(folder)
    assert done.returncode == 0 and re.fullmatch(r"(\d+) of \1 .* rejected\n", done.stdout)


@pytest.mark.parametrize(
    "old, new",
    [
        ("not first.startswith(HEAD) or ", ""),
        (" or not wire.SEQ.fullmatch(seq)", ""),
        (' or lines[-1:] != [""]', ""),
        ("if wire.clean_name(name) == name else None", ""),
        ("or key in members ", ""),
        (' and phc.startswith("$argon2id$")', ""),
        (' or (standing, phc) == ("banned", "")', ' or standing == "banned"'),
        ('standing == "member" and ', ""),
    ],
)
def test_lab_1_each_check_of_a_member_file_is_missed(folder, old, new):
    """A read_members() without one of its checks accepts at least one damaged file."""
    begun = starter.read(1)
    starter.write(begun, folder)
    starter.put_back(begun, folder)
    place = folder / "implementations/common/storage.py"
    text = place.read_text()
    assert old in text
    place.write_text(text.replace(old, new))
    assert damaged(folder).returncode == 1


def test_every_lab_has_one_in_both_languages():
    assert {(begun.lab, begun.language) for begun in ALL} == {
        (lab, language) for lab in range(9) if lab != 7 for language in starter.LANGUAGES
    }


# -- make check, from the first minute on ----------------------------------------------------------


def begin(folder, lab=0, language="python"):
    starter.write(starter.read(lab, language), folder)
    return folder


def test_make_check_judges_one_check(folder):
    done = make(begin(folder), "check", "ONLY=greets")
    assert done.returncode == 0 and "Lab 0: 1 of 1 checks passed" in done.stdout, (
        done.stdout + done.stderr
    )
    done = make(folder, "check", "ONLY=empty-lines-are-ignored", "SEED=7")
    assert (
        "again:    make check LAB=0 SEED=7 ONLY=empty-lines-are-ignored" in done.stdout
        and "Lab 0: 0 of 1 checks passed" in done.stdout
    )
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("language", starter.LANGUAGES)
def test_the_checks_of_another_lab(folder, language):
    need("cc")
    done = make(begin(folder, 4, language), "check", "LAB=2", "ONLY=quit-ends-the-connection")
    assert done.returncode == 0 and "Lab 2: 1 of 1 checks passed" in done.stdout, (
        done.stdout + done.stderr
    )


def test_make_report_writes_a_page(folder):
    done = make(begin(folder), "report", "ONLY=greets")
    assert (
        done.returncode == 0
        and done.stdout.endswith("report.html\n")
        and make(folder, "report", "ONLY=a-line-in-pieces").returncode == 2
    )
    assert "<html" in (folder / "report.html").read_text()


def test_windows_line_ends_do_no_harm(folder):
    begin(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    done = make(folder, "check", "ONLY=greets")
    assert done.returncode == 0 and "Lab 0: 1 of 1 checks passed" in done.stdout, (
        done.stdout + done.stderr
    )


def test_in_c_with_windows_line_ends(folder):
    need("cc")
    begin(folder, language="c")
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    done = make(folder, "check", "ONLY=greets")
    assert done.returncode == 0 and "Lab 0: 1 of 1 checks passed" in done.stdout, (
        done.stdout + done.stderr
    )


def test_a_folder_may_move(folder, tmp_path):
    begin(folder).rename(tmp_path / "it moved; to here")
    done = make(tmp_path / "it moved; to here", "check", "ONLY=greets")
    assert done.returncode == 0, done.stdout + done.stderr


def test_that_grupo_has_moved_is_said(folder):
    done = make(begin(folder), "check", "GRUPO=/nowhere")
    assert (
        done.returncode == 2
        and done.stdout == "Grupo is not at /nowhere. Say where it is: make check GRUPO=FOLDER\n"
    )


def broken(folder, done, *words, status=2):
    """One line, no traceback, and nothing was judged. (make ends with 2 whenever what it runs
    fails.)
    """
    told = [line for line in done.stderr.splitlines() if line.startswith("lab: ")]
    assert (
        done.returncode == status and len(told) == 1 and all(word in told[0] for word in words)
    ), done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "passed" not in done.stdout


HEAD = "    def feed(self, data: bytes) -> list[str]:"  # of the function that lab 0 empties


def test_a_syntax_error_is_named_by_its_line(folder):
    place = begin(folder) / "implementations/common/wire.py"
    place.write_text(place.read_text().replace(HEAD, HEAD.removesuffix(":")))
    number = place.read_text().split("\n").index(HEAD.removesuffix(":")) + 1
    broken(folder, make(folder, "check"), f"wire.py, line {number}: expected ':'", "Fix that line")


def test_a_body_that_is_not_written_yet(folder):
    place = begin(folder) / "implementations/common/wire.py"
    text = starter.with_body(place.read_text(), "Lines.feed", "        # later", "python")
    place.write_text(re.sub(rf'({re.escape(HEAD)}\n) *""".*?"""\n', r"\1", text, flags=re.S))
    broken(folder, make(folder, "check"), "wire.py, line", "expected an indented block")


def test_a_function_that_is_gone(folder):
    place = begin(folder) / "implementations/common/wire.py"
    place.write_text(place.read_text().replace("def feed(", "def feeds("))
    broken(
        folder,
        make(folder, "check"),
        "implementations/common/wire.py",
        "Lines.feed",
        "with the same name",
    )


def test_a_file_that_is_gone(folder):
    (begin(folder) / "implementations/common/acceptor.py").unlink()
    broken(
        folder, make(folder, "check"), "implementations/common/acceptor.py is missing", "starter 0"
    )


def test_what_is_no_text(folder):
    (begin(folder) / "implementations/common/acceptor.py").write_bytes(b"\xff\xfe\x00x")
    broken(folder, make(folder, "check"), "implementations/common/acceptor.py")


def test_no_starting_folder_at_all(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "harness", "lab", tmp_path, "--lab", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    broken(tmp_path, done, "is missing", "starter 0", status=1)


def test_a_server_that_ends_at_once_is_judged_with_its_last_words(folder):
    place = begin(folder) / "implementations/common/wire.py"
    place.write_text(place.read_text().replace('VERSION = "grupo/1"', "VERSION = grupo"))
    done = make(folder, "check", "ONLY=starts")
    assert done.returncode == 2 and "NameError: name 'grupo' is not defined" in done.stdout


def test_c_that_does_not_compile(folder):
    need("cc")
    place = begin(folder, language="c") / "server.c"
    place.write_text(place.read_text().replace("c->in_len = 0;", "c->in_len = 0", 1))
    broken(folder, make(folder, "check"), "server.c does not compile", "the first error")


def test_no_compiler(folder, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in "make", "sh", "test", "env":
        (tools / tool).symlink_to(shutil.which(tool))
    broken(
        folder,
        make(begin(folder, language="c"), "check", path=str(tools)),
        "no C compiler",
        "apt install gcc",
    )


def test_no_folder_is_overwritten(folder):
    begin(folder)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "starter", "0", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 2
        and done.stderr == f"starter: {folder} is there already, and not empty: name a new folder\n"
    )


def test_lab_7_is_dealt_by_hunt(folder):
    done = subprocess.run(
        [sys.executable, "-m", "harness", "starter", "7", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "python -m harness hunt" in done.stderr and not folder.exists()


@pytest.mark.parametrize(
    "text, function, language, body",
    [
        (
            'class A:\n    def f(self):\n        """Doc."""\n        # why\n        return 1\n\n   '
            " def g(self): pass\n",
            "A.f",
            "python",
            "        # why\n        return 1",
        ),
        (
            "def f():\n    # why\n    return (1,\n            2)\n",
            "f",
            "python",
            "    # why\n    return (1,\n            2)",
        ),
        (
            "static int g(void);\n\nstatic int g(void)\n{\n    return 1;\n}\n",
            "g",
            "c",
            "    return 1;",
        ),
    ],
)
def test_a_body_is_found_and_replaced(text, function, language, body):
    assert starter.body_of(text, function, language) == body
    other = body[: len(body) - len(body.lstrip())] + "x"
    changed = starter.with_body(text, function, other, language)
    assert (
        starter.body_of(changed, function, language) == other
        and starter.with_body(changed, function, body, language) == text
    )
    with pytest.raises(LookupError):
        starter.span(text, "h", language)


@pytest.mark.parametrize("name", ["b`touch PWNED`", 'q"x', "d$HOME", "it's; here"])
def test_a_folders_name_is_no_program(tmp_path, name):
    done = make(begin(tmp_path / name), "check", "ONLY=greets")
    assert done.returncode == 0 and "Lab 0: 1 of 1 checks passed" in done.stdout, (
        done.stdout + done.stderr
    )
    assert not Path(ROOT, "PWNED").exists()


def test_what_a_learner_wrote_reaches_no_terminal_raw(folder):
    need("cc")
    place = begin(folder) / "implementations/nonblocking.py"
    place.write_text("x = = \x1b]0;PWN\x07\n")
    done = make(folder, "check")
    broken(folder, done, "line 1")
    (begin(folder.with_name("c"), language="c") / "server.c").write_bytes(
        b'int main(void) { retrun "\x1b]0;PWN caf\xe9"; }\n'
    )
    also = make(folder.with_name("c"), "check")
    assert "does not compile" in also.stderr and "\x1b" not in done.stderr + also.stderr


def test_the_line_that_is_shown_is_the_learners_own(folder):
    place = begin(folder) / "implementations/nonblocking.py"
    lines = place.read_text().split("\n")
    lines[29] = "f() = 3"
    place.write_text("\n".join(lines))
    broken(folder, make(folder, "check"), "line 30", "(f() = 3)")


@pytest.mark.parametrize(
    "text", ["-" * 200_000 + "1", "x=1" + "+1" * 100_000, "x=1\0", "y" * 3_000_000]
)
def test_a_file_that_no_parser_likes(folder, text):
    (begin(folder) / "implementations/common/acceptor.py").write_text(text)
    broken(folder, make(folder, "check"), "acceptor.py")


# -- A folder whose server cannot be run has a result all the same ---------------------------------

FORMS = ("json", "junit", "html", "gradescope", "classroom50", "autolab", "prairielearn", "canvas")


def spoil_syntax(folder):
    with open(folder / "implementations/common/wire.py", "a", encoding="utf-8") as file:
        file.write("def (\n")


def spoil_missing(folder):
    (folder / "implementations/common/wire.py").unlink()


def spoil_all(folder):
    shutil.rmtree(folder / "implementations")


@pytest.mark.parametrize(
    "spoil, word",
    [
        (spoil_syntax, "wire.py, line"),
        (spoil_missing, "wire.py is missing"),
        (spoil_all, "is missing"),
    ],
)
def test_a_server_that_cannot_be_run_gets_no_points_and_the_reason_in_every_form(
    folder, tmp_path, spoil, word
):
    """And not last week's grade."""
    spoil(begin(folder))
    for form in FORMS:
        (tmp_path / form).write_text("last week's grade")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "harness",
            "lab",
            folder,
            "--lab",
            "0",
            "--student",
            "ana",
            *(part for form in FORMS for part in (f"--{form}", tmp_path / form)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.startswith("lab: ") and word in done.stderr, (
        done.stdout + done.stderr
    )
    found = json.loads((tmp_path / "json").read_text())
    assert (
        found["score"] == 0 and found["most"] > 0 and found["graded"] and word in found["refused"]
    )
    for form in FORMS:
        text = (tmp_path / form).read_text()
        assert "last week" not in text and (form == "canvas" or word in text), form
    assert (tmp_path / "canvas").read_text().endswith("ana,,ana,,0\n")


def test_what_is_not_the_student_s_fault_leaves_no_result(folder, tmp_path):
    """Here no compiler is installed: there is nothing to grade, and no grade."""
    begin(folder, language="c")
    (tmp_path / "found.json").write_text("last week's grade")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "harness",
            "lab",
            folder,
            "--lab",
            "0",
            "--json",
            tmp_path / "found.json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert (
        done.returncode == 2
        and "compiler" in done.stderr
        and not (tmp_path / "found.json").exists()
    ), done.stderr
