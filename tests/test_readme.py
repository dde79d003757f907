"""README's first screens are run: what it shows is what happens, but for times, ports and addresses."""
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import need

from harness.driving.client import WireClient
from harness.driving.server import ROOT, Server
from harness.driving.deadlines import wait_until

README = (Path(ROOT) / "README.md").read_text()
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.S)
SENT = re.compile(r"(JOIN|SAY|QUIT)\b.*")
ORDER = re.compile(r"(accept|members)\b.*")


def plain(text):
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)


def the_block(word):
    [block] = [block for block in CONSOLE if word in block]
    return block.strip().split("\n")


def test_nc_is_a_client(tmp_path):
    need("nc")
    start, first_line = the_block("--group os-lab\nlistening")[1:]
    command = [sys.executable, *start.removeprefix("$ python ").split()]
    with Server(command, directory=tmp_path / "grupo") as server:
        assert plain(server.stdout[0]) == plain(first_line)

        typed = the_block("$ nc 127.0.0.1 7000")
        shell = subprocess.Popen(typed[0].removeprefix("$ ").replace("7000", str(server.port)), shell=True, text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)
        for line in typed[1:]:
            if SENT.fullmatch(line):
                shell.stdin.write(line + "\n")
            else:
                assert plain(shell.stdout.readline().rstrip("\n")) == plain(line)
        shell.stdin.close()
        assert shell.wait(20) == 0 and shell.stdout.read() == ""

        command, *expected = the_block("$ printf")
        command = command.removeprefix("$ ").replace("7000", str(server.port))
        heard = subprocess.run(command, shell=True, text=True, capture_output=True, timeout=20).stdout
        assert plain(heard).splitlines() == [plain(line) for line in expected]


def test_the_owners_console(tmp_path):
    lines = the_block("asks to join")
    with Server([sys.executable, *lines[0].removeprefix("$ python ").split()[:2]], directory=tmp_path / "grupo") as server:
        with WireClient(server.address) as ana:
            ana.send("JOIN ana secret-of-ana")
            shown = 1
            for line in lines[1:]:
                if ORDER.fullmatch(line):
                    server.type(line)
                else:
                    wait_until(lambda: len(server.stdout) >= shown, what=f"the console's line {line!r}")
                    assert plain(server.stdout[shown - 1]) == plain(line)
                    shown += 1


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m (implementations\.\w+|harness)", README))))
def test_what_readme_runs_is_there(module):
    assert subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, timeout=60).returncode == 0
    assert all(Path(ROOT, link).exists() for link in re.findall(r"\]\((\w[\w/.]*)\)", README))


@pytest.mark.parametrize("line", sorted(set(re.findall(r"python -m harness (\w[^#`\n]*)", README))))
def test_a_command_of_the_harness_takes_what_readme_gives_it(line):
    command, *more = line.partition(" -- ")[0].split()
    about = subprocess.run([sys.executable, "-m", "harness", command, *more[:1] * (command == "trace"), "--help"], cwd=ROOT, capture_output=True, text=True)
    assert about.returncode == 0
    assert all(re.search(rf"{flag}\b", about.stdout) for flag in more if flag.startswith("--"))
