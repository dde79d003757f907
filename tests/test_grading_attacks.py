"""The red team: what hostile submissions try, and what each tier stops.

tests/attacks/ has the programs. They run in the real cells, started as the judge starts a
submission (tests/attacks/judge.py). A tier that this machine does not offer is not tried.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest
from conftest import lacks

from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT

ATTACKS = Path(__file__).parent / "attacks"
TIERS = "B"
# The interpreter of a submission: one that every user can run.
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable

# What a tier does not stop, and says so (harness/grading/uid.py).
NOT_STOPPED = {
    "B": {
        "read-the-judge-s-command-line",
        "see-that-a-file-of-the-project-exists",
        "socket-file-of-the-host",
        "watch-the-project",
    },
}
HONEST = {"honest-listen", "honest-files", "honest-shared-memory"}


class Target:
    """What a submission would like to reach: the judge's files, other programs, other sockets."""

    def __init__(self, folder, tier):
        folder.chmod(0o711), folder.parent.chmod(0o711), folder.parent.parent.chmod(0o711)
        self.folder, self.tier, self.secret = folder, tier, uuid.uuid4().hex
        self.closed = self.made("closed", 0o700)
        self.other = self.made("other", 0o755)
        (self.other / "server.py").write_text("theirs = 1\n")
        self.open = self.made("open", 0o777)  # the worst that a teacher can do with the results
        self.cells = self.made("cells", 0o711)
        cache = self.open / "tree/harness/verdicts/__pycache__"
        cache.mkdir(parents=True)
        for place in (cache, *cache.parents[:3]):
            place.chmod(0o777)
        (self.open / "results.json").write_text("{}")
        (self.open / "results.json").chmod(0o666)
        self.tcp, self.unix, self.abstract = (
            socket.create_server(("127.0.0.1", 0)),
            socket.socket(socket.AF_UNIX),
            socket.socket(socket.AF_UNIX),
        )
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0)), self.udp.setblocking(False)
        self.unix.bind(str(folder / "socket")), (folder / "socket").chmod(0o777)
        self.abstract.bind("\0" + self.secret)
        self.datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.datagrams.bind("\0" + self.secret + "-datagram")
        self.sockets = [self.tcp, self.unix, self.abstract]
        for one in self.sockets:
            one.listen(), one.setblocking(False)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.free = free.getsockname()[1]
        self.terminal, self.slave = os.openpty()
        self.decoy = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self.shared = Path("/dev/shm", self.secret)
        self.shared.write_text("ours"), self.shared.chmod(0o600)

    def made(self, name, mode):
        (self.folder / name).mkdir()
        (self.folder / name).chmod(mode)
        return self.folder / name

    def facts(self):
        return {
            "tier": self.tier,
            "tree": str(ROOT),
            "other": str(self.other),
            "open": str(self.open),
            "closed": str(self.closed),
            "secret": self.secret,
            "own-tmp": False,
            "decoy": self.decoy.pid,
            "terminal": os.ttyname(self.slave),
            "key": int(self.secret[:7], 16),
            "shared": str(self.shared),
            "tcp": self.tcp.getsockname()[1],
            "udp": self.udp.getsockname()[1],
            "unix": str(self.folder / "socket"),
            "abstract": self.secret,
            "free": self.free,
        }

    def judge(self, *command, seconds=30.0, terminal=False):
        """Start the judge of this command of tests/attacks, in the tier's cell."""
        task = {
            "tier": self.tier,
            "folder": str(self.cells),
            "files": str(ATTACKS),
            "command": list(command),
            "facts": self.facts(),
            "seconds": seconds,
            "terminal": terminal,
        }
        judge = subprocess.Popen(
            [sys.executable, "-P", ATTACKS / "judge.py", self.secret],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "GRUPO_SECRET": self.secret},
            start_new_session=True,
        )
        judge.stdin.write(json.dumps(task)), judge.stdin.close()
        judge.stdin = None
        return judge

    def attacked(self, *command, **options):
        """The same to its end; return what the judge says."""
        judge = self.judge(*command, **options)
        out, err = judge.communicate()
        assert judge.returncode == 0, err
        return json.loads(out)

    def harm(self):
        """What was harmed, seen from outside."""
        found = []
        if self.decoy.poll() is not None:
            found.append("the decoy")
        if (self.open / "results.json").read_text() != "{}" or sorted(os.listdir(self.open)) != [
            "results.json",
            "tree",
        ]:
            found.append("the results")
        if list((self.open / "tree/harness/verdicts/__pycache__").iterdir()):
            found.append("the tree")
        for one in self.sockets:
            try:
                one.accept()
                found.append(f"a connection to {one.family.name}")
            except BlockingIOError:
                pass
        for one in (self.udp, self.datagrams):
            one.setblocking(False)
            try:
                one.recv(100)
                found.append("a datagram")
            except BlockingIOError:
                pass
        return found

    def close(self):
        for one in (*self.sockets, self.udp, self.datagrams):
            one.close()
        os.close(self.terminal), os.close(self.slave)
        self.decoy.kill(), self.decoy.wait()
        self.shared.unlink(missing_ok=True)


@pytest.fixture(scope="module", params=TIERS)
def tier(request):
    if request.param == "B" and os.getuid() != 0:
        lacks("root, for tier B")
    return request.param


@pytest.fixture
def target(tier, tmp_path):
    found = Target(tmp_path, tier)
    yield found
    found.close()


@pytest.fixture(scope="module")
def tried(tier, tmp_path_factory):
    """All of tests/attacks/tries.py, in one run: (answers, what was harmed)."""
    target = Target(tmp_path_factory.mktemp("tried"), tier)
    answer = target.attacked(PYTHON, "tries.py")
    harm = target.harm()
    target.close()
    assert answer["status"] == 0, answer
    return json.loads(answer["out"]), harm


def test_each_try_is_stopped(tried, tier):
    answers, _ = tried
    assert len(answers) > 80
    got = {name: answer["got"] for name, answer in answers.items() if "got" in answer}
    assert not [name for name, answer in answers.items() if "broken" in answer], answers
    assert set(got) == NOT_STOPPED[tier] | HONEST, got


def test_nothing_outside_was_harmed(tried, tier):
    _, harm = tried
    assert harm == (["a connection to AF_UNIX"] if tier == "B" else [])


def program(target, name, **options):
    """Run one of tests/attacks/programs.py."""
    return target.attacked(PYTHON, "programs.py", name, **options)


def test_daemons_are_found_and_ended(target):
    answer = program(target, "daemons")
    assert (answer["status"], answer["left"], answer["homes"]) == (0, 0, [])
    assert len(answer["strays"]) == 3, answer


def test_its_ancestors_run_on(target):
    """Neither SIGSTOP nor SIGKILL reaches them, nor another program."""
    answer = program(target, "stop_all", seconds=2)
    assert answer["left"] == 0 and not target.harm(), answer


def test_nothing_is_typed_into_the_terminal(target):
    answer = program(target, "type_into_the_terminal", terminal=True)
    lines = answer["out"].split("\n")
    assert lines == ["stopped 1", "stopped 1", "stopped 1", "terminal True", "stopped 1"]


@pytest.mark.parametrize("name", ["again_in_a_clean_environment", "another_program"])
def test_another_program_has_no_more_rights(target, name):
    answer = program(target, name)
    expected = {
        "again_in_a_clean_environment": ["stopped 13", "stopped 13"],
        "another_program": ["1 False"],
    }
    assert answer["out"].splitlines() == expected[name], answer


def test_a_program_that_cannot_be_read_is_counted_and_ended(target):
    answer = program(target, "unreadable", seconds=1)
    assert (answer["processes"], answer["left"]) == (1, 0)


@pytest.mark.long
@pytest.mark.parametrize("name", ["fork_bomb", "fork_bomb_of_sessions", "relay"])
def test_forks_without_end_are_ended(target, name):
    answer = program(target, name, seconds=3)
    assert answer["left"] == 0 and answer["processes"] <= 2048, answer
    assert name != "relay" or answer["strays"], answer


@pytest.mark.long
@pytest.mark.parametrize(
    "name, reason",
    [
        ("memory", "MB of memory; 512 MB are allowed"),
        ("memory_of_many", "MB of memory; 512 MB are allowed"),
        ("shared_memory", "MB to files; 256 MB are allowed"),
        ("disk", "MB to files; 256 MB are allowed"),
        ("disk_without_names", "MB to files; 256 MB are allowed"),
        ("many_files", "files; 20000 are allowed"),
    ],
)
def test_what_takes_too_much_is_ended(target, name, reason):
    answer = program(target, name, seconds=30)
    assert answer["status"] == -9 and reason in "".join(answer["reasons"]), answer
    assert answer["seconds"] < 30 and answer["left"] == 0


def test_one_big_file_is_not_made(target):
    answer = program(target, "one_big_file")
    assert answer["status"] == 1 and "File too large" in answer["err"], answer


@pytest.mark.long
def test_it_ends_with_the_judge(target):
    """The judge is killed: nothing of the submission goes on."""
    judge = target.judge(PYTHON, "programs.py", "daemons", seconds=600)
    wait_until(lambda: running(target), 30)
    judge.kill(), judge.wait()
    wait_until(lambda: not running(target), 30)


def running(target):
    """The processes whose working folder is the target's."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(target.cells)):
                found.append(process)
        except (psutil.Error, OSError):
            pass
    return found
