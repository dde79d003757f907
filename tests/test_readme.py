"""README and the pages about using Grupo are run: they show what happens, except for times, ports
and addresses.

tests/test_guide.py runs the text after `$` in a block of kind `console`. Here are the dialogues
that a reader types by hand, and the commands that take long or open a window: they must exist, and
take the flags that a page gives them.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import need

import requirements
from harness.driving.client import WireClient
from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT, Server
from lab_guide.site.pages import PAGES as USING

ROOT = Path(ROOT)
PAGES = [*USING, "grading.md"]
GUIDE = ROOT / "lab_guide"
README = ROOT / "README.md"
FILES = [
    README,
    ROOT / "CONTRIBUTING.md",
    *(GUIDE / language / page for language in (".", "pt-BR") for page in PAGES),
]
WHOLE = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")
SENT = re.compile(r"(JOIN|SAY|QUIT)\b.*")
ORDER = re.compile(r"(accept|members)\b.*")


def plain(text):
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)


def dialogues(language="."):
    """The blocks of the page about the servers that begin with a command, as lists of lines,
    without comments.
    """
    page = (GUIDE / language / "using-the-servers.md").read_text(encoding="utf-8")
    return [
        re.sub(r" +# .*", "", block).strip().split("\n")
        for block in re.findall(r"```text\n(\$ .*?)```", page, re.S)
    ]


def the_block(command):
    [block] = [block for block in dialogues() if command in block[0] or command in block[1]]
    return block


def test_nc_is_a_client(tmp_path):
    need("nc")
    start, first_line = the_block("--group os-lab")[1:]
    command = [sys.executable, *start.removeprefix("$ python ").split()]
    with Server(command, directory=tmp_path / "grupo") as server:
        assert plain(server.stdout[0]) == plain(first_line)

        typed = the_block("$ nc 127.0.0.1 7000")
        shell = subprocess.Popen(
            typed[0].removeprefix("$ ").replace("7000", str(server.port)),
            shell=True,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=1,
        )
        for line in typed[1:]:
            if SENT.fullmatch(line):
                shell.stdin.write(line + "\n")
            else:
                assert plain(shell.stdout.readline().rstrip("\n")) == plain(line)
        shell.stdin.close()
        assert shell.wait(20) == 0 and shell.stdout.read() == ""

        command, *expected = the_block("$ printf")
        command = command.removeprefix("$ ").replace("7000", str(server.port))
        heard = subprocess.run(
            command, shell=True, text=True, capture_output=True, timeout=20
        ).stdout
        assert plain(heard).splitlines() == [plain(line) for line in expected]


def test_the_owners_console(tmp_path):
    lines = the_block("--dir ./grupo2")
    with Server(
        [sys.executable, *lines[0].removeprefix("$ python ").split()[:2]],
        directory=tmp_path / "grupo",
    ) as server:
        with WireClient(server.address) as ana:
            ana.send("JOIN ana secret-of-ana")
            shown = 1
            for line in lines[1:]:
                if ORDER.fullmatch(line):
                    server.type(line)
                else:
                    wait_until(
                        lambda: len(server.stdout) >= shown, what=f"the console's line {line!r}"
                    )
                    assert plain(server.stdout[shown - 1]) == plain(line)
                    shown += 1


def test_the_dialogues_are_the_same_in_portuguese():
    assert dialogues("pt-BR") == dialogues()


@pytest.mark.parametrize(
    "module", sorted(set(re.findall(r"python -m (implementations(?:\.\w+)+|harness)\b", WHOLE)))
)
def test_a_module_that_a_page_runs_is_there(module):
    assert (
        subprocess.run(
            [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, timeout=60
        ).returncode
        == 0
    )


@pytest.mark.long
@pytest.mark.parametrize("line", sorted(set(re.findall(r"python -m harness (\w[^#`\n]*)", WHOLE))))
def test_a_command_of_the_harness_takes_what_a_page_gives_it(line):
    command, *more = line.partition(" -- ")[0].split()
    about = subprocess.run(
        [sys.executable, "-m", "harness", command, *more[:1] * (command == "trace"), "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert about.returncode == 0
    assert all(re.search(rf"{flag}\b", about.stdout) for flag in more if flag.startswith("--"))


def test_make_has_the_targets_that_a_page_names():
    targets = set(re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.M)[1].split())
    named = set(re.findall(r"(?:^|`)make (?:[A-Z]+=\S+ )?([a-z-]+)", WHOLE, re.M))
    groups = requirements.groups((ROOT / "requirements.txt").read_text())
    installs = {f"install-{group}" for group in (*groups, "cluster")}
    assert {"demo", "test"} <= named <= targets | installs | {"run", "check"}


# -- README itself ---------------------------------------------------------------------------------


def test_readme_is_short():
    assert README.read_text().count("\n") <= 150


def test_readme_shows_a_verdict_of_lab_0():
    lab = (GUIDE / "lab0.md").read_text().split("\n")
    [block] = re.findall(
        r"<!-- a part of lab_guide/lab0.md -->\n```text\n(.*?)\n```", README.read_text(), re.S
    )
    lines = block.split("\n")
    assert any(lab[start : start + len(lines)] == lines for start in range(len(lab)))


def anchors(path):
    """What can stand behind # in a link to a page, as GitHub and the site have it."""
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    }


@pytest.mark.parametrize("path", [README, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    found = LINK.findall(path.read_text(encoding="utf-8"))
    assert len(found) > 5
    for target, anchor in found:
        to = path.parent / target if target else path
        assert to.exists(), target
        assert not anchor or anchor in anchors(to), f"{target}#{anchor}"
