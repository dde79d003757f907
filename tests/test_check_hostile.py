"""Servers that break everything: each check of them ends in a clear verdict, in bounded time, and
leaves nothing running.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid

import psutil
import pytest
from conftest import need

from harness.driving.deadlines import none_left, wait_until
from harness.driving.server import ROOT

pytestmark = pytest.mark.long
LONGEST = 300  # seconds that a check of one of these may take on a busy machine

# A server that does what the first checks ask; each of the hostile ones is made of it by a line
# that goes wrong.
MILD = """
    import os, signal, socket, sys, threading, time
    signal.signal(signal.SIGALRM, signal.SIG_DFL); signal.alarm(120)       # whatever happens to the check, this one ends
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    BEFORE
    print(f"listening on 127.0.0.1:{port}", flush=True)
    def talk(sock):
        try:
            sock.sendall(f"HELLO grupo/1 {sys.argv[sys.argv.index('--group') + 1] if '--group' in sys.argv else 'grupo'}\\n".encode())
            for line in sock.makefile("r", errors="replace"):
                if line.startswith("PING "):
                    TALK
                    sock.sendall(line.replace("PING", "PONG").encode())
        except OSError:
            pass
    def life():
        while True:
            threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=life, daemon=True).start()
    AFTER
    while True:
        signal.pause()
"""
# It goes on when the daemon has left its session: else the check's end might come first, and take
# it along.
DAEMON = "os.fork() and os.wait() or (os.setsid(), os.fork() and os._exit(0), time.sleep(600), os._exit(0))"
FLOOD = "for _ in range(100): os.write(%d, b'%s' * (1 << 19))"


def mild(before="pass", talk="pass", after="pass"):
    return MILD.replace("BEFORE", before).replace("TALK", talk).replace("AFTER", after)


@pytest.fixture
def check(tmp_path):
    """check(script, *only) runs the checks `only` (all: none named) against a server that is this
    Python script, or a command, a list.
    """
    checks = []

    def check(script, *only, wait=True, env={}):
        checks.append(Checked(tmp_path, script, only, env))
        return checks[-1].waited() if wait else checks[-1]

    yield check
    for one in checks:
        if one.process.poll() is None:
            one.process.kill()
        one.nothing_left()


class Checked:
    """A check that runs: `status`, `shown` (its output) and `verdicts` (check: its verdict) when it
    has ended.
    """

    def __init__(self, folder, script, only, env):
        command = script
        if isinstance(script, str):
            path = folder / "server.py"
            path.write_text(textwrap.dedent(script))
            command = [sys.executable, path]
        self.mark, self.folder = f"HOSTILE={uuid.uuid4().hex}", folder
        name, value = self.mark.split("=")
        line = [
            sys.executable,
            "-m",
            "harness",
            "check",
            "--records",
            folder / "run",
            "--json",
            folder / "report.json",
            "--deadline",
            "5",
            *(["--only", *only] if only else []),
            "--",
            *command,
        ]
        self.output = open(folder / "output", "w+b")
        self.process = subprocess.Popen(
            line,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
            env={**os.environ, **env, name: value},
        )

    @property
    def shown(self):
        return (self.folder / "output").read_bytes()

    def waited(self):
        self.status = self.process.wait(LONGEST)
        self.nothing_left()
        path = self.folder / "report.json"
        assert path.exists(), self.shown.decode(errors="replace")
        self.report = json.loads(path.read_text())
        self.verdicts = {verdict["check"]: verdict for verdict in self.report["verdicts"]}
        return self

    def nothing_left(self):
        """All that the check started, in whatever session, has its environment."""
        none_left(self.left, "no process of the check")
        self.output.close()

    def left(self):
        found = []
        for process in psutil.process_iter():
            try:
                with open(f"/proc/{process.pid}/environ", "rb") as file:
                    if self.mark.encode() in file.read():
                        found.append(f"{process.pid} {process.cmdline()}")
            except (OSError, psutil.Error):
                pass  # it has ended, or is somebody else's
        return found

    def failed(self, check, sentence, *words):
        """This check failed, is explained by this sentence, and these words tell what came."""
        verdict = self.verdicts[check]
        assert (verdict["verdict"], verdict["failure"] and verdict["failure"]["sentence"]) == (
            "failed",
            sentence,
        ), verdict
        for word in words:
            assert word in verdict["failure"]["actual"], verdict["failure"]["actual"]
        assert verdict["failure"]["cause"] and verdict["failure"]["page"]
        assert self.status == 1
        assert b"Traceback" not in self.shown and b"\x1b" not in self.shown


def test_a_mild_one_passes_what_it_can(check):
    found = check(mild(), "starts", "greets", "answers-ping")
    assert (
        found.status == 0
        and [verdict["verdict"] for verdict in found.verdicts.values()] == ["passed"] * 3
    )


# -- It does not start -----------------------------------------------------------------------------


def test_no_such_command(check):
    check(["./no-such-server", "--fast"], "starts").failed(
        "starts", "no-such-command", "No such file"
    )


def test_not_executable(check, tmp_path):
    (tmp_path / "source.c").write_text("int main() {}")
    check([tmp_path / "source.c"], "starts").failed(
        "starts", "no-such-command", "Permission denied"
    )


def test_no_program(check, tmp_path):
    (tmp_path / "program").write_bytes(b"\x7fELF, but not really")
    (tmp_path / "program").chmod(0o755)
    check([tmp_path / "program"], "starts").failed("starts", "no-such-command", "Exec format error")


def test_ends_at_once_and_says_why(check):
    check("import sys; sys.exit('no \\x1b[31mway')", "starts").failed(
        "starts", "ends-at-once", "ended with status 1", "way"
    )


def test_ends_at_once_in_silence_and_nothing_else_is_run(check):
    found = check("pass")
    found.failed("starts", "ends-at-once", "ended with status 0")
    assert {verdict["verdict"] for name, verdict in found.verdicts.items() if name != "starts"} == {
        "not run"
    }


def test_never_listens(check):
    check("import time; time.sleep(600)", "starts").failed(
        "starts", "never-listens", "wrote nothing"
    )


def test_listens_and_does_not_say_so(check):
    check(mild(before="time.sleep(600)"), "starts").failed(
        "starts", "unflushed", "listens at 127.0.0.1:"
    )


def test_another_first_line(check):
    check(mild(before="print('Welcome to my server!', flush=True)"), "starts").failed(
        "starts", "first-line", "Welcome to my server!"
    )


def test_a_first_line_without_end(check):
    check(
        "print('listening on 127.0.0.1:80', end='', flush=True); import time; time.sleep(600)",
        "starts",
    ).failed("starts", "first-line", "no end of that line")


def test_rubbish_as_first_line(check):
    check(
        "import os, time; os.write(1, b'\\xff\\xfe\\x1b[2J\\x1b]0;owned\\x07\\n'); time.sleep(600)",
        "starts",
    ).failed("starts", "first-line", "\\x1b[2J")


def test_listens_elsewhere(check):
    check(mild(before="port = 1"), "starts").failed(
        "starts", "listens-elsewhere", "it listens at 127.0.0.1:"
    )


# -- It does not stop ------------------------------------------------------------------------------


@pytest.mark.parametrize("pipe", [1, 2], ids=["stdout", "stderr"])
@pytest.mark.parametrize("bytes", ["x", "x\\n"], ids=["one-line", "short-lines"])
def test_100_mb_before_it_listens(check, pipe, bytes):
    check(
        mild(before=FLOOD % (pipe, bytes) + "; os.write(%d, b'%s' * (1 << 19))" % (pipe, bytes)),
        "starts",
    ).failed("starts", "first-line" if (pipe, bytes) == (1, "x\\n") else "floods")


def test_100_mb_when_it_is_asked(check):
    check(mild(talk=FLOOD % (2, "x\\n")), "answers-ping").failed("answers-ping", "floods")


def test_rubbish_without_end_to_a_client(check):
    check(
        mild(talk="[sock.sendall(b'\\xff\\x1b[2J' * 100000) for _ in range(1000)]"), "answers-ping"
    ).failed("answers-ping", "endless-line")


def test_lines_without_end_to_a_client(check):
    found = check(
        mild(talk="[sock.sendall(b'\\xff\\x1b[2J \\n' * 100000) for _ in range(1000)]"),
        "answers-ping",
    )
    assert found.status == 1 and b"\x1b" not in found.shown


def test_ignores_sigterm_and_sigint(check):
    found = check(
        mild(
            before="signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, "
            "signal.SIG_IGN)"
        ),
        "starts",
        "greets",
    )
    assert found.status == 0, "how it ends is judged by other checks"


DEAF = """
import runpy, signal
set_handler = signal.signal
signal.signal = lambda number, handler: set_handler(
    number, signal.SIG_IGN if number == signal.SIGTERM else handler)
runpy.run_module("implementations.nonblocking", run_name="__main__")
"""


def test_does_not_end_when_it_is_told_to(check):
    check([sys.executable, "-c", DEAF], "sigterm-ends-in-order").failed(
        "sigterm-ends-in-order", "does-not-end", "kept running"
    )


def test_forks_without_end(check):
    check(
        mild(talk="[os.fork() or (signal.alarm(60), time.sleep(60)) for _ in range(20000)]"),
        "answers-ping",
    ).failed("answers-ping", "forks-without-end")


def test_forks_without_end_in_sessions_of_their_own(check):
    check(
        mild(
            after="[os.fork() or (os.setsid(), signal.alarm(60), time.sleep(60)) for _ in "
            "range(1000)]"
        ),
        "greets",
    ).failed("greets", "leftovers")


def test_leaves_daemons(check):
    found = check(mild(before=DAEMON), "starts", "greets")
    found.failed("starts", "leftovers", "server.py")
    assert found.verdicts["greets"]["verdict"] == "not run"


def test_daemons_of_a_client_s_child(check):
    found = check(mild(talk=f"'~' in line and ({DAEMON})"), "greets", "answers-ping")
    found.failed("answers-ping", "leftovers")
    assert found.verdicts["greets"]["verdict"] == "passed"


# -- It dies ---------------------------------------------------------------------------------------


def test_dies_by_a_signal_in_the_middle(check):
    check(
        mild(
            talk="print('\\x1b[2J last words', file=sys.stderr, flush=True); "
            "signal.raise_signal(signal.SIGSEGV)"
        ),
        "answers-ping",
    ).failed("answers-ping", "died", "SIGSEGV", "last words")


def test_dies_when_it_has_answered(check):
    """All that is asked is done, and yet it must not pass."""
    check(
        mild(
            after="time.sleep(0.3); os._exit(0)",
            talk="sock.sendall(line.replace('PING', 'PONG').encode()); os._exit(0)",
        ),
        "answers-ping",
    ).failed("answers-ping", "died", "ended with status 0")


def test_kills_who_checks_it(check):
    """A worker that is killed takes no more with it than its check."""
    found = check(mild(talk="os.kill(os.getppid(), signal.SIGKILL)"))
    verdict = found.verdicts["takes-requests"]
    assert verdict["verdict"] == "harness fault" and "killed" in verdict["why"]
    assert found.verdicts["starts"]["verdict"] == "passed" and found.status == 3


# -- The check itself gets a signal to end ---------------------------------------------------------


def begun(running):
    """Waits until it has shown a first verdict, and is busy with others."""
    wait_until(lambda: b"passed  start" in running.shown, LONGEST)
    wait_until(
        lambda: any(
            b"server.py" in b" ".join(map(str.encode, process.cmdline()))
            for process in descendants(running)
        ),
        LONGEST,
    )


def descendants(running):
    found = []
    for process in psutil.Process(running.process.pid).children(recursive=True):
        try:
            process.cmdline()
            found.append(process)
        except psutil.Error:
            pass
    return found


SLOW = mild(talk="time.sleep(3)")


@pytest.mark.parametrize(
    "signum, group",
    [
        (signal.SIGINT, True),
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),
        (signal.SIGHUP, False),
    ],
    ids=["ctrl-c", "int", "term", "term-to-all", "hang-up"],
)
def test_told_to_end_it_keeps_what_it_learnt(check, signum, group):
    running = check(SLOW, wait=False)
    begun(running)
    (os.killpg if group else os.kill)(running.process.pid, signum)
    running.waited()
    assert running.status == 130
    assert b"(stopped)" in running.shown and b"Traceback" not in running.shown, (
        running.shown.decode(errors="replace")
    )
    assert running.verdicts["starts"]["verdict"] == "passed" and not running.report["complete"]


def test_one_check_alone_is_told_to_end(check):
    running = check(SLOW, "starts", "answers-ping", wait=False)
    begun(running)
    os.killpg(running.process.pid, signal.SIGINT)
    running.waited()
    assert running.status == 130 and list(running.verdicts) == ["starts"]


def test_impatience(check):
    """Ctrl-C again and again."""
    running = check(SLOW, wait=False)
    begun(running)
    while running.process.poll() is None:
        os.killpg(running.process.pid, signal.SIGINT)
        time.sleep(0.05)
    running.waited()
    assert running.status == 130


def test_killed_it_leaves_nothing(check):
    running = check(SLOW, wait=False)
    begun(running)
    running.process.kill()
    running.process.wait()
    running.nothing_left()


# -- The check cannot decide ----------------------------------------------------------------------


def test_a_check_that_stood_still_does_not_tell(check):
    """Somebody stops the check (Ctrl-Z, a machine that is suspended): what it did not see meanwhile
    is nobody's fault.
    """
    stopper = "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(4); os.kill(os.getppid(), signal.SIGCONT); continue"
    found = check(mild(talk=stopper), "answers-ping")
    verdict = found.verdicts["answers-ping"]
    assert (verdict["verdict"], verdict["failure"], found.status) == ("inconclusive", None, 3), (
        verdict
    )
    assert "was stopped for" in verdict["why"] and found.report["score"] == 0


@contextlib.contextmanager
def hogs(count, *prefix):
    """So many processes that compute without end. (Each in a session of its own: Linux first shares
    a CPU out among sessions, and then, in one, looks at the nice values.)
    """
    found = [
        subprocess.Popen(
            [*prefix, sys.executable, "-c", "while True: pass"], start_new_session=True
        )
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for hog in found:
            hog.kill()
            hog.wait()


def test_a_server_that_gets_no_cpu_has_not_failed(check, tmp_path):
    """It is the last to be served on a CPU that others keep busy: it listens late or never, and
    that is not its failure.
    """
    need("taskset"), need("nice")
    cpu = str(min(os.sched_getaffinity(0)))
    (tmp_path / "slow.py").write_text(textwrap.dedent(mild(before="sum(range(10 ** 8))")))
    with hogs(12, "taskset", "-c", cpu):
        found = check(
            ["taskset", "-c", cpu, "nice", "-n", "19", sys.executable, tmp_path / "slow.py"],
            "starts",
        )
    verdict = found.verdicts["starts"]
    assert (verdict["verdict"], found.status) in (("inconclusive", 3), ("passed", 0)), verdict
    assert verdict["verdict"] == "passed" or "CPU" in verdict["why"]


def test_a_server_that_computes_and_never_listens_has_failed_on_a_busy_machine_too(check):
    with hogs(2 * (os.cpu_count() or 1)):
        check("while True: pass", "starts").failed("starts", "never-listens")


def test_a_server_that_is_slow_by_itself_has_failed(check):
    check(
        mild(
            before="[threading.Thread(target=sum, args=(range(10 ** 10),), daemon=True).start() "
            "for _ in range(8)]; sum(range(10 ** 10))"
        ),
        "starts",
    ).failed("starts", "unflushed")


def test_a_hunt_whose_disturbance_is_not_to_be_had_does_not_tell(check, tmp_path):
    """This user may not choose a CPU."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\ndef refused(*_): raise PermissionError\nos.sched_setaffinity = refused\n"
    )
    found = check(
        [sys.executable, "-m", "implementations.nonblocking"],
        "one-order",
        env={"PYTHONPATH": str(tmp_path)},
    )
    verdict = found.verdicts["one-order"]
    assert (
        verdict["verdict"] == "inconclusive"
        and "on one CPU" in verdict["why"]
        and found.status == 3
    ), verdict
