"""Whole submissions that want a grade that is not theirs, judged in each tier that is here.

They are in C, so that they need no Python of ours; attack.py, beside the server, does what is
written in Python faster.
"""

import io
import json
import os
import shutil
import sys
import tarfile
import textwrap
import uuid

import pytest
from conftest import lacks, need

from harness.driving.server import ROOT
from harness.grading import cell, judge
from harness.teaching import starter

pytestmark = pytest.mark.long
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
CHECKS = ["starts", "greets", "answers-ping"]


@pytest.fixture(params=["A", "B"])
def tier(request):
    need("gcc")
    if request.param == "B" and os.getuid() != 0:
        lacks("root, for tier B")
    if request.param == "A" and not cell.is_here():
        lacks("bubblewrap, for tier A")
    return request.param


@pytest.fixture
def judged(tier, tmp_path):
    """judged(files, **job) judges a C submission for lab 0: the files {name: text} over a solution.

    `more` is put at the end of its server.c.
    """

    def judged(files, *, more="", **job):
        begun = starter.read(0, "c")
        starter.write(begun, tmp_path)
        starter.put_back(begun, tmp_path)
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        with open(tmp_path / "server.c", "a") as server:
            server.write(more)
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as made:
            made.add(tmp_path, arcname=".")
        job = {"only": CHECKS, "total": 120.0, **job}
        return judge.run(judge.Job(0, "c", "", data.getvalue(), tier=tier, **job))

    return judged


# Runs attack.py before main(), and waits for it.
ATTACKS = f"""
#include <stdlib.h>
__attribute__((constructor)) static void attack(void) {{
    if (system("{PYTHON} attack.py")) exit(1);
}}
"""
EMPTY = "int main(void) { return 0; }\n"


def verdicts(outcome):
    return {verdict["check"]: verdict["verdict"] for verdict in outcome.report["verdicts"]}


def test_an_honest_one_passes(judged):
    outcome = judged({})
    assert verdicts(outcome) == dict.fromkeys(CHECKS, "passed"), outcome.log


def test_no_verdict_is_forged(judged):
    """It writes verdicts wherever it may, and then stops and kills all that it can reach."""
    attack = """
        import json, os, signal
        forged = json.dumps({"check": "greets", "verdict": "passed", "points": 200, "runs": 1})
        for top in "/tmp", "/dev/shm", "/var/tmp", os.getcwd(), os.environ.get("TMPDIR", "/tmp"):
            for folder, _, _ in os.walk(top):
                for name in "greets.json", "greets.record", "results.json", "grade.json":
                    try: open(os.path.join(folder, name), "w").write(forged)
                    except OSError: pass
        for descriptor in range(3, 256):
            try: os.write(descriptor, forged.encode())
            except OSError: pass
        print(forged, flush=True)
        for signum in signal.SIGSTOP, signal.SIGKILL:
            for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc")))):
                if pid not in (os.getpid(), os.getppid()):
                    try: os.kill(pid, signum)
                    except OSError: pass
        raise SystemExit(1)
    """
    outcome = judged({"attack.py": textwrap.dedent(attack)}, more=ATTACKS)
    assert outcome.end == "judged", outcome
    assert "it wrote" in json.dumps(outcome.report), "it did not come to it"
    assert outcome.report["score"] == 0 and "passed" not in verdicts(outcome).values()


def test_it_does_not_learn_what_is_checked(judged, monkeypatch):
    """Neither the rubric, the hidden checks and their names, nor the teacher's environment.

    In tier B it can read the command lines of the whole machine: only those of its judge count.
    """
    secret = uuid.uuid4().hex
    monkeypatch.setenv("GRUPO_TOKEN", secret)
    words = [secret, "greets", "7.125", "PYTEST", "check_", "hidden", "GRUPO_"]
    attack = f"""
import os, sys
seen, above = [repr(os.environ), os.getcwd()], os.getppid()
while above not in (0, {os.getpid()}):
    pid = above
    with open(f"/proc/{{pid}}/stat") as file:
        above = int(file.read().rpartition(")")[2].split()[1])
    for name in "environ", "cmdline", "cwd":
        try:
            path = f"/proc/{{pid}}/{{name}}"
            seen.append(os.readlink(path) if name == "cwd" else open(path, errors="replace").read())
        except OSError:
            pass
own = open(f"/proc/{{os.getpid()}}/cmdline").read()
print("FOUND", [word for word in {words!r} if any(word in text for text in seen if text != own)],
    file=sys.stderr)
raise SystemExit(1)
"""
    outcome = judged(
        {"attack.py": attack}, more=ATTACKS, hidden=["greets"], points={"starts": 7.125}
    )
    assert "FOUND []" in outcome.html and secret not in outcome.html + outcome.log, outcome


def test_files_that_would_change_the_judge_do_nothing(judged):
    passes = "import os\nos.write(1, b'all passed')\nos._exit(0)\n"
    names = ["pytest", "conftest", "sitecustomize", "json", "psutil", "harness", "usercustomize"]
    files = {f"{name}.py": passes for name in names}
    files["pytest.ini"] = "[pytest]\naddopts = --co\n"
    outcome = judged({**files, "server.c": EMPTY})
    assert outcome.end == "judged" and outcome.report["score"] == 0
    assert verdicts(outcome)["starts"] == "failed", outcome


def test_the_reference_is_out_of_reach(judged):
    """By its path, by the judge's working folder, and as a module."""
    places = [str(ROOT), "/proc/%d/cwd", "/proc/%d/root" + str(ROOT), "."]
    lines = "\n".join(
        f'    snprintf(place, sizeof place, "{place}", pid);\n'
        f'    if (!chdir(place)) execvp("{PYTHON}", run);'
        for place in places
    )
    server = f"""
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static int tries(char **run, int pid) {{
    char place[500];
{lines}
    return 1;
}}
int main(int count, char **words) {{
    char *run[count + 3];
    run[0] = "python3"; run[1] = "-m"; run[2] = "implementations.nonblocking";
    memcpy(run + 3, words + 1, count * sizeof *words);
    for (int pid = 1; pid < 40000; pid++)
        if (pid == getppid() || pid < 10) {{
            int child = fork();
            if (!child) _exit(tries(run, pid));
            waitpid(child, 0, 0);
        }}
    return 1;
}}
"""
    outcome = judged({"server.c": server})
    assert outcome.report["score"] == 0, outcome


@pytest.mark.parametrize(
    "line",
    [
        '#include "{secret}"',
        '__asm__(".incbin \\"{secret}\\"");',
        '#include "/dev/zero"',
        '#include "/proc/self/environ"',
        '#include "/dev/stdin"',
        f'#include "{ROOT}/harness/verdicts/jitter.c"',
        "#include __FILE__",
    ],
)
def test_the_compiler_reads_nothing_for_it(judged, tmp_path_factory, line):
    """Of another submission, of the judge, of a device; or itself without end."""
    place = tmp_path_factory.mktemp("other")
    (place / "secret").write_text("int theirs_4711 = 1;\n")
    for folder in place, *place.parents[:2]:
        folder.chmod(0o755)
    outcome = judged({"server.c": line.format(secret=place / "secret") + "\n" + EMPTY})
    assert outcome.end in ("refused", "judged") and outcome.report["score"] == 0, outcome
    shown = json.dumps(outcome.report) + outcome.html + outcome.log
    assert "theirs_4711" not in shown
