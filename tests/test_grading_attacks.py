"""The red team: what hostile submissions try, and what each tier stops.

tests/attacks/ has the programs. They run in the real cells, started as the judge starts a
submission (tests/attacks/judge.py). A tier that this machine does not offer is not tried.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import psutil
import pytest
from conftest import lacks

from harness.driving.server import ROOT
from harness.grading import cell, judge, supervisor, uid

pytestmark = pytest.mark.long

ATTACKS = Path(__file__).parent / "attacks"
TIERS = "A", "B"
# The interpreter of a submission: one that every user can run.
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable

# What a tier does not stop, and says so (harness/grading/uid.py).
NOT_STOPPED = {
    "A": set(),
    "B": {
        "read-the-judge-s-command-line",
        "see-that-a-file-of-the-project-exists",
        "socket-file-of-the-host",
        "watch-the-project",
    },
}
# What succeeds and reaches nobody: this tier has a network of its own.
HARMLESS = {
    "A": {"send-a-datagram", "listen-at-a-port-of-its-choice", "share-the-port-of-another"},
    "B": set(),
}
HONEST = {"honest-listen", "honest-files", "honest-shared-memory"}


class Target:
    """What a submission would like to reach: the judge's files, other programs, other sockets."""

    def __init__(self, folder, tier):
        folder.chmod(0o711)
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
            "own-tmp": self.tier == "A",
            "judge": os.getpid(),
            "parent": os.getppid(),
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

    def attacked(self, *commands, total=120.0):
        """Have the judge run these commands of tests/attacks in the tier's cell, one after the
        other; return what it says, and its log.
        """
        commands = [
            command if isinstance(command, dict) else {"command": command} for command in commands
        ]
        commands = [{"seconds": 30.0, "terminal": False, **command} for command in commands]
        argv = [sys.executable, "-P", str(ATTACKS / "judge.py"), self.secret]
        env = {**judge.environment(), "GRUPO_SECRET": self.secret}
        with judge.CELLS[self.tier](argv, env) as start:
            task = {"commands": commands, "facts": self.facts()}
            found = supervisor.supervise(start, json.dumps(task).encode(), total=total)
        return json.loads(found.result or "null"), found.log.text()

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
    if request.param == "A" and not cell.is_here():
        lacks("bubblewrap, for tier A")
    return request.param


@contextlib.contextmanager
def targets(tier):
    """A Target in a folder to which all users have a way: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="grupo-attacked-") as folder:
        found = Target(Path(folder), tier)
        try:
            yield found
        finally:
            found.close()


@pytest.fixture
def target(tier):
    with targets(tier) as found:
        yield found


SHORT = {
    name: {"command": [PYTHON, "programs.py", name], **options}
    for name, options in {
        "daemons": {"seconds": 1.5},
        "stop_all": {"seconds": 1},
        "type_into_the_terminal": {"terminal": True},
        "again_in_a_clean_environment": {},
        "another_program": {},
        "unreadable": {"seconds": 0.5},
        "one_big_file": {},
        "send_signals_by_files": {},
        "deep_folders": {},
    }.items()
}


@pytest.fixture(scope="module")
def answers(tier):
    """tests/attacks/tries.py and the short programs, all by one judge."""
    with targets(tier) as target:
        found, log = target.attacked([PYTHON, "tries.py"], *SHORT.values())
        harm = target.harm()
    assert found, log
    assert found[0]["status"] == 0, found[0]
    return {"tries": json.loads(found[0]["out"]), "harm": harm, **dict(zip(SHORT, found[1:]))}


def test_each_try_is_stopped(answers, tier):
    tries = answers["tries"]
    assert len(tries) > 80
    got = {name: answer["got"] for name, answer in tries.items() if "got" in answer}
    assert not [name for name, answer in tries.items() if "broken" in answer], tries
    assert set(got) == NOT_STOPPED[tier] | HARMLESS[tier] | HONEST, tries


def test_nothing_outside_was_harmed(answers, tier):
    """Neither files, nor other programs, nor services: no signal and no byte came there."""
    assert answers["harm"] == (["a connection to AF_UNIX"] if tier == "B" else [])


def test_daemons_are_found_and_ended(answers):
    answer = answers["daemons"]
    assert (answer["status"], answer["left"], answer["homes"]) == (0, 0, [])
    assert len(answer["strays"]) == 3, answer


def test_its_ancestors_run_on(answers):
    """Neither SIGSTOP nor SIGKILL reaches them."""
    assert answers["stop_all"]["left"] == 0


def test_nothing_is_typed_into_the_terminal(answers):
    lines = answers["type_into_the_terminal"]["out"].split("\n")
    assert lines == ["stopped 1", "stopped 1", "stopped 1", "terminal True", "stopped 1"]


def test_another_program_has_no_more_rights(answers, tier):
    number = {"A": 2, "B": 13}[tier]
    again = answers["again_in_a_clean_environment"]["out"]
    assert again.splitlines() == [f"stopped {number}"] * 2
    assert answers["another_program"]["out"] == "1 False\n"


def test_a_program_that_cannot_be_read_is_counted_and_ended(answers):
    answer = answers["unreadable"]
    assert (answer["processes"], answer["left"]) == (1, 0)


def test_one_big_file_is_not_made(answers):
    answer = answers["one_big_file"]
    assert answer["status"] == 1, answer
    assert "No space left" in answer["err"] or "File too large" in answer["err"], answer


def test_folders_that_are_too_deep_stop_nobody(answers):
    """Neither the judge, which goes on, nor the end of the submission's folder."""
    assert answers["deep_folders"]["left"] == 0


def program(target, name, seconds):
    """Run one of tests/attacks/programs.py: (what became of it, the judge's log)."""
    command = {"command": [PYTHON, "programs.py", name], "seconds": seconds}
    (answer,), log = target.attacked(command)
    return answer, log


@pytest.mark.parametrize("name", ["fork_bomb", "fork_bomb_of_sessions", "relay"])
def test_forks_without_end_are_ended(target, name):
    answer, _ = program(target, name, 2)
    assert answer["left"] == 0 and answer["processes"] <= uid.MOST_PROCESSES, answer
    assert name != "relay" or answer["strays"], answer


TOO_MUCH = {
    "memory": "MB of memory",
    "memory_of_many": "MB of memory",
    "shared_memory": "",
    "disk": "",
    "disk_without_names": "",
    "many_files": "files",
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_takes_too_much_is_ended(target, name):
    answer, log = program(target, name, 40)
    assert answer["status"] not in (0, None) and answer["left"] == 0, (answer, log)
    if target.tier == "B" or TOO_MUCH[name]:
        assert answer["status"] == -9 and (TOO_MUCH[name] or "MB to files") in log, (answer, log)
    else:
        assert "No space left" in answer["err"], (answer, log)


def test_it_ends_with_the_judge(target):
    """The judge is killed after its time: nothing of the submission goes on."""
    command = {"command": [PYTHON, "programs.py", "daemons_and_stay"], "seconds": 600}
    found, log = target.attacked(command, total=3)
    assert found is None and not running(target), log


def running(target):
    """The processes that have the target's secret in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if target.secret in process.environ().values():
                found.append(process)
        except (psutil.Error, OSError):
            pass
    return found
