"""Tier A, and the judge of one submission: what a program in a cell can see and do, and that checks
see from outside what they see without a cell."""

import functools
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import time

import psutil
import pytest

from harness.driving.server import ROOT
from harness.grading import cell, judge, supervisor
from harness.teaching import starter
from harness.verdicts.model import SubmissionError
from tests.conftest import lacks, need

# What each test runs in the place of a judge begins so.
PRELUDE = """
    import contextlib, json, os, resource, signal, socket, subprocess, sys, tempfile, time
    from pathlib import Path
    import psutil
    from harness.driving import cells, processes
    from harness.driving import deadlines; deadlines.DEADLINE = 2
    from harness.driving.server import CLOSED, Server
    from harness.driving.terminals import TerminalClient
    from harness.grading import cell
    from harness.verdicts.disturb import compiled_shim
    from harness.driving.programs import preloading
    def tell(value): os.write(int(sys.argv[1]), json.dumps(value).encode())
    def until(true, seconds=20):
        end = time.monotonic() + seconds
        while not true() and time.monotonic() < end: time.sleep(0.01)
        return bool(true())
    cells.use(cell.Bubblewrap())
    folder = Path(tempfile.mkdtemp())
    SERVER = [sys.executable, "-c"]
    def server(code, name="group", **more):
        return Server([*SERVER, code], directory=folder / name, cwd=folder, inherits=False, **more)
"""
LISTENS = (
    "import socket; listener = socket.create_server(('127.0.0.1', 0));"
    " print('listening on 127.0.0.1:%d' % listener.getsockname()[1], flush=True)"
)


@pytest.fixture(autouse=True)
def bubblewrap():
    need("bwrap")
    if why := why_none():
        lacks(f"bubblewrap does not work here ({why})")


@functools.cache
def why_none():
    return "" if "ok" in within("tell('ok')", must=False) else "no cell could be made"


def within(code, must=True):
    """What `code` tells, run by a Python within the outer wall."""
    whole = textwrap.dedent(PRELUDE) + textwrap.dedent(code)
    with cell.wall([sys.executable, "-P", "-c", whole], judge.environment()) as start:
        found = supervisor.supervise(start, b"", total=60)
    if not must:
        return found.result.decode()
    assert found.result, found.log.text()
    return json.loads(found.result)


def archive(folder):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as made:
        made.add(folder, arcname=".")
    return data.getvalue()


def submission(place, lab=0, language="python", solved=True, code=""):
    """The archive of a lab's folder; `code` is put before the server begins."""
    begun = starter.read(lab, language)
    starter.write(begun, place)
    if solved:
        starter.put_back(begun, place)
    if code:
        server = place / f"implementations/{begun.designs[0]}.py"
        text = server.read_text(encoding="utf-8")
        server.write_text(text.replace("\nif __name__", f"\n{code}\nif __name__", 1))
    return archive(place)


def judged(data, lab=0, language="python", tier="A", **more):
    return judge.run(judge.Job(lab, language, "", data, tier=tier, **more))


# -- What a program sees ---------------------------------------------------------------------------

LOOK_AROUND = """
import json, os, resource, socket, sys
def may(path):
    try:
        open(path, "w").close()
        return True
    except OSError:
        return False
import argon2, psutil
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "top": sorted(os.listdir("/")), "project": sorted(os.listdir(ROOT)), "tmp": os.listdir("/tmp"),
    "env": sorted(os.environ), "uid": os.getuid(), "host": socket.gethostname(),
    "processes": len(psutil.pids()), "pid1": open("/proc/1/cmdline").read(),
    "capabilities": status["CapBnd"], "filter": status["Seccomp"].strip(),
    "home": os.path.exists("/etc/shadow"),
    "may": [path for path in ("/x", "/usr/x", "/dev/x", "/etc/x", "/proc/sys/x") if may(path)],
    "tmpfs": os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_bsize,
    "nproc": resource.getrlimit(resource.RLIMIT_NPROC),
    "userns": open("/proc/sys/user/max_user_namespaces").read().strip(),
}))
"""


def test_a_program_sees_the_system_and_its_own_folder_and_nothing_else():
    found = within(
        f"""
        secret = Path(tempfile.mkdtemp(), "secret")
        secret.write_text("x")
        code = "ROOT = {str(ROOT)!r}\\n" + {LOOK_AROUND!r}
        launch = cells.current().started([sys.executable, "-c", code], cwd=folder,
            env=cells.current().environment, writable=["/", "/tmp", secret.parent.parent])
        process = cells.Process(launch, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate()
        tell([json.loads(out or "{{}}"), err.decode(), folder.name])
        """
    )
    seen, err, own = found
    assert not err
    assert seen["project"] in ([], [".venv"]), "the harness"
    assert seen["uid"] == 1000 and seen["host"] == "host" and seen["filter"] == "2"
    assert int(seen["capabilities"], 16) == 0
    assert not {"home", "root", "var", "srv"} & set(seen["top"]) or "/root" in sys.base_prefix
    assert [name for name in seen["tmp"] if name.startswith("tmp")] == [own]
    assert set(seen["env"]) <= {"PATH", "HOME", "LANG", "TERM", "USER", "LOGNAME", "ASAN_OPTIONS"}
    assert seen["processes"] == 2 and "harness" not in seen["pid1"]
    assert seen["may"] == [] and not seen["home"]
    assert seen["tmpfs"] <= cell.TEMPORARY + 4096 and seen["nproc"][1] == cell.MOST_PROCESSES


def test_a_command_that_is_missing_is_told_as_without_a_cell():
    assert (
        within(
            """
        try: server("", command=1)
        except TypeError: pass
        try: Server(["/nowhere/server"], directory=folder / "group", cwd=folder)
        except FileNotFoundError as problem: tell(problem.filename)
        """
        )
        == "/nowhere/server"
    )


# -- What checks see of it -------------------------------------------------------------------------


def test_what_is_done_before_the_start_has_its_effect_on_the_program():
    code = (
        "import os, resource, signal, sys; mask = os.umask(0); " + LISTENS + "; print(mask,"
        "resource.getrlimit(resource.RLIMIT_NOFILE), signal.getsignal(signal.SIGHUP) is"
        " signal.SIG_IGN, len(os.sched_getaffinity(0)), os.getsid(0) == os.getpid() == os.getpgrp(),"
        " signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True);"
        " sys.stdin.read()"
    )
    assert within(
        f"""
        def before():
            os.umask(0o27); resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            signal.signal(signal.SIGHUP, signal.SIG_IGN); os.sched_setaffinity(0, {{0}})
        with server({code!r}, preexec=before) as running:
            until(lambda: len(running.stdout) > 1)
            tell([running.stdout[1], os.getsid(running.pid) == running.pid,
                Path(f"/proc/{{running.pid}}/exe").readlink().name[:6]])
            running.end()
        """
    ) == [f"{0o27} (64, 64) True 1 True True", True, "python"]


def test_closed_stdin_a_library_and_all_signals_reach_the_program():
    code = (
        "import os, signal, sys, time\n"
        "try: os.fstat(0); state = 'open'\n"
        "except OSError: state = 'closed'\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('usr1', flush=True))\n"
        + LISTENS
        + "\nprint(state, flush=True)\nwhile True: time.sleep(0.01)"
    )
    assert within(
        f"""
        env = preloading(Path(compiled_shim()))
        running = server({code!r}, stdin=CLOSED, env=env)
        until(lambda: len(running.stdout) > 1)
        loaded = os.path.realpath(compiled_shim()) in Path(f"/proc/{{running.pid}}/maps").read_text()
        os.killpg(running.pid, signal.SIGUSR1)
        until(lambda: "usr1" in running.stdout)
        running.send_signal(signal.SIGSTOP)
        stopped = until(lambda: psutil.Process(running.pid).status() == "stopped")
        running.send_signal(signal.SIGCONT)
        _, hard = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (0, hard))
        running.send_signal(signal.SIGTERM)
        tell([running.stdout[1:], loaded, stopped, running.wait()])
        running.end()
        """
    ) == [["closed", "usr1"], True, True, -signal.SIGTERM]


ORPHANS = (
    "import os, time\n"
    "if os.fork() == 0: time.sleep(1000)\n"
    "if os.fork() == 0: os.setsid(); os.fork(); time.sleep(1000)\n" + LISTENS + "\ntime.sleep(1000)"
)


def test_what_outlives_a_killed_server_is_seen_and_then_ended():
    seen, after, strays, gone = within(
        f"""
        running = server({ORPHANS!r})
        until(lambda: len(running.living()) == 4)
        everything = running.living()
        running.kill()
        after = [process.pid in [one.pid for one in everything] for process in running.living()]
        try: running.orphans_gone()
        except AssertionError as problem: seen = problem.sentence
        running.end()
        gone = not any(map(psutil.pid_exists, [one.pid for one in everything]))
        tell([seen, after, len(cells.current().strays), gone])
        """
    )
    assert seen == "orphans" and after == [True] * 3
    assert strays == 2, "those that left the session"
    assert gone


def test_ctrl_c_reaches_the_program_on_its_terminal_and_its_group_only():
    code = (
        "import os, signal, time\n"
        "tty = os.open('/dev/tty', os.O_RDWR)\n"
        "ours = os.tcgetpgrp(tty) == os.getpgrp() and os.isatty(0)\n"
        "if os.fork() == 0:\n    os.setpgid(0, 0); time.sleep(1000)\n"
        "try:\n"
        "    print('listening', ours, os.get_terminal_size().columns, flush=True)\n"
        "    time.sleep(1000)\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)"
    )
    assert within(
        f"""
        env = cells.current().environment
        launch = cells.current().started([*SERVER, {code!r}], cwd=folder, env=env, terminal=True)
        with TerminalClient("owner", SERVER, launch=launch) as console:
            console.sees("listening True 4096")
            before = len(console.living())
            console.presses("c")
            console.ends(0)
            tell([console.lines[-1], before, len(console.living())])
        """
    ) == ["interrupted", 2, 1]


# -- One submission --------------------------------------------------------------------------------


def test_a_solution_is_judged_and_nothing_of_it_is_left(tmp_path):
    outcome = judged(submission(tmp_path / "lab"), only=["starts", "greets"], student="ana")
    assert (outcome.end, outcome.tier, outcome.why) == ("judged", "A", None)
    assert [verdict["verdict"] for verdict in outcome.report["verdicts"]] == ["passed"] * 2
    assert outcome.report["student"] == "ana" and "<html" in outcome.html
    assert not psutil.Process().children(recursive=True)


def test_what_does_not_build_is_refused_with_the_reason(tmp_path):
    wrong = submission(tmp_path / "python", code="def :")
    outcome = judged(wrong)
    assert outcome.end == "refused" and "nonblocking.py, line" in outcome.why
    assert outcome.report["score"] == 0 < outcome.report["most"]
    submission(tmp_path / "c", language="c")
    (tmp_path / "c/server.c").write_text('#include "/etc/shadow"\n')
    outcome = judged(archive(tmp_path / "c"), language="c")
    assert outcome.end == "refused" and "does not compile" in outcome.why


def test_what_is_no_archive_is_refused():
    outcome = judged(b"no archive", language="c")
    assert outcome.end == "refused" and "cannot be unpacked" in outcome.why
    assert outcome.report["most"] > 0


def test_a_judge_that_takes_too_long_is_ended(tmp_path):
    data = submission(tmp_path / "lab", code="while True: pass")
    before = {*psutil.Process().children(recursive=True)}
    outcome = judged(data, only=["starts"], total=3)
    assert (outcome.end, outcome.why) == ("fault", "it was not judged within 3 s")
    assert {*psutil.Process().children(recursive=True)} <= before


def test_a_killed_caller_takes_everything_with_it(tmp_path):
    (tmp_path / "data").write_bytes(submission(tmp_path / "lab", code="while True: pass"))
    caller = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from harness.grading import judge;"
            "judge.run(judge.Job(0, 'python', '', open(sys.argv[1], 'rb').read(), only=['starts']))",
            tmp_path / "data",
        ],
        cwd=ROOT,
    )
    spins = lambda: [
        one
        for one in psutil.Process(caller.pid).children(recursive=True)
        if "implementations.nonblocking" in one.cmdline()[:3]
    ]
    end = time.monotonic() + 60
    while not spins() and time.monotonic() < end:
        time.sleep(0.05)
    left = psutil.Process(caller.pid).children(recursive=True)
    assert left
    caller.kill()
    caller.wait()
    _, alive = psutil.wait_procs(left, timeout=20)
    assert not alive


def test_a_program_that_leaves_daemons_needs_a_look(tmp_path):
    code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\n    os._exit(0)\n"
    outcome = judged(submission(tmp_path / "lab", code=code), only=["starts"])
    assert outcome.end == "fault" and "left processes behind" in outcome.why
    assert [verdict["verdict"] for verdict in outcome.report["verdicts"]] == ["failed"]


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "dotted", "absolute"])
def test_only_plain_files_are_unpacked(tmp_path, kind):
    names = {"dotted": "../x", "absolute": "/x"}
    member = tarfile.TarInfo(names.get(kind, "server.c"))
    types = {"link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE}
    member.type, member.linkname = types.get(kind, tarfile.REGTYPE), "/etc/passwd"
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as made:
        made.addfile(member, io.BytesIO(b""))
    with pytest.raises(SubmissionError):
        judge.unpack(data.getvalue(), tmp_path / "place")
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob("place/*"))


# -- The supervisor --------------------------------------------------------------------------------


def supervised(code, total=30):
    return supervisor.supervise(supervisor.Start([sys.executable, "-c", code]), b"", total=total)


def test_a_supervisor_keeps_the_ends_of_a_log_and_refuses_a_result_without_end():
    found = supervised("import sys; print('first', 'x' * 10**7, 'last')")
    text = found.log.text()
    assert text.startswith("first") and text.endswith("last\n") and "bytes left out" in text
    assert len(text) < 3 * supervisor.LOG_ENDS and found.result == b""
    found = supervised("import os, sys\nwhile True: os.write(int(sys.argv[1]), b'x' * 65536)")
    assert found.result == b"" and not found.late


def test_a_supervisor_ends_a_judge_that_ignores_signals():
    code = "import signal, time\n" + "".join(
        f"signal.signal({number}, signal.SIG_IGN)\n" for number in (1, 2, 15)
    )
    found = supervised(code + "while True: time.sleep(1)", total=1)
    assert found.late and found.code == -signal.SIGKILL


# -- The same verdicts -----------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", starter.LANGUAGES)
@pytest.mark.parametrize("solved", [True, False], ids=["solution", "start"])
def test_verdicts_are_those_without_a_cell(tmp_path, language, solved):
    """Lab 3's solution has threads and asks for every order. Its start has a race, so that chance
    decides some of its verdicts; lab 2's has none."""
    lab = 3 if solved else 2
    outcome = judged(submission(tmp_path / "lab", lab, language, solved), lab, language)
    failed = {
        verdict["check"].partition("[")[0]
        for verdict in outcome.report["verdicts"]
        if verdict["verdict"] == "failed"
    }
    expected = set() if solved else set(starter.read(lab, language).fails)
    assert (outcome.end, failed - {"any-dialogue"}) == ("judged", expected)


def test_a_namespace_whose_number_came_again_belongs_to_another_submission(monkeypatch):
    """The kernel gives the lowest free number: the judge of one submission may get the number that
    a program of another one had."""
    ours, theirs = {7: ("judge", ""), 8: ("reused", "judge")}, {9: ("reused", "outside")}
    living = dict(ours)
    monkeypatch.setattr(cell.os, "listdir", lambda _: list(map(str, living)))
    monkeypatch.setattr(cell, "namespace_of", lambda pid: living[pid][0])
    monkeypatch.setattr(cell, "parent_namespace", lambda pid: living[pid][1])
    told, tells = os.pipe()
    with os.fdopen(told, "rb", buffering=0) as status:
        os.close(tells)
        watch = cell.Watch(status)
        watch.own = "judge"
        assert watch.programs() == {"judge": [7], "reused": [8]}
        del living[8]
        living.update(theirs)
        assert watch.programs() == {"judge": [7]}


@pytest.mark.long
def test_a_program_that_takes_the_memory_is_ended(tmp_path):
    code = "kept = []\nwhile True: kept.append(b'x' * (1 << 24))\n"
    outcome = judged(submission(tmp_path / "lab", code=code), only=["starts"])
    assert f"more than {cell.MEMORY >> 20} MB" in outcome.log
    assert [verdict["verdict"] for verdict in outcome.report["verdicts"]] == ["failed"]
