"""Tier B: what a program may do, and that the judge gives away nothing of its own. For root."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from conftest import lacks, need

from harness.driving import cells, processes
from harness.driving.server import ROOT, NotStarted, Server, is_at
from harness.grading import uid, warden

PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable


@pytest.fixture
def slot():
    if os.getuid():
        lacks("root")
    with warden.Slot() as found:
        yield found


@pytest.fixture
def start(slot):
    """start(script, **options) starts a Python script in a cell."""
    copy = slot.folder / "copy"
    copy.mkdir()
    started = []

    def start(script, **options):
        options = {"cwd": copy, "env": {"PATH": os.environ["PATH"]}, **options}
        launch = slot.cell.started([PYTHON, "-c", script], **options)
        started.append(
            cells.Process(launch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.program.end()
        process.wait()


def test_it_gives_back_what_it_took(slot, start):
    """Its home, its files in shared memory, and its user id."""
    process = start(
        "open('/dev/shm/grupo-left', 'w'); open('left', 'w'); print('done', flush=True)"
    )
    assert process.communicate()[0] == "done\n"
    home = process.program.folder
    assert home.exists() and Path("/dev/shm/grupo-left").exists()
    process.program.end()
    assert not home.exists() and not Path("/dev/shm/grupo-left").exists()
    assert (slot.folder / "copy/left").exists(), "what is in its own folder stays"


def test_two_programs_of_a_check_are_told_apart(start):
    """Both have the same user; each has its processes, and the end of one is not the other's."""
    script = "import os, time; os.fork(); print('on', flush=True); time.sleep(600)"
    one, other = start(script), start(script)
    for process in one, other:
        process.stdout.readline(), process.stdout.readline()
    assert {len(process.program.processes()) for process in (one, other)} == {2}
    one.program.end()
    assert [len(process.program.processes()) for process in (one, other)] == [0, 2]


def test_what_one_thread_ends_is_never_what_another_one_is_about_to_start(slot, start):
    """Between its fork and find(), a program is not known yet."""
    copy, said = slot.folder / "about", "import time; print('on', flush=True); time.sleep(60)"
    copy.mkdir()
    launch = slot.cell.started([PYTHON, "-c", said], cwd=copy, env={"PATH": os.environ["PATH"]})
    process = subprocess.Popen(
        launch.argv,
        cwd=launch.cwd,
        env=launch.env,
        preexec_fn=launch.preexec,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"on\n"
        meanwhile = threading.Thread(target=lambda: start("pass").program.end())
        meanwhile.start()
        meanwhile.join()
        assert process.poll() is None and not slot.cell.strays
        process.kill()


def test_programs_of_a_submission_share_its_folder(slot, start):
    """Also if another check's process, under another user, made a file there."""
    start("open('log', 'w').write('one')").communicate()
    slot.cell._process = 0  # as in the process of another check
    done = start("import os; print(os.getuid(), open('log').read()); open('log2', 'w')")
    other, text = done.communicate()[0].split()
    users = {path.name: path.stat().st_uid for path in (slot.folder / "copy").iterdir()}
    assert text == "one" and users["log"] != users["log2"] == int(other)


def test_nothing_outside_its_folder_is_given_away(slot, tmp_path):
    """Not through a link, nor by a second name of root's file."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0o600)
    place = Path(slot.folder, "place")
    place.mkdir()
    os.symlink(tmp_path, place / "folder")
    os.symlink(tmp_path / "secret", place / "file")
    try:
        os.link(tmp_path / "secret", place / "name")
    except OSError:
        lacks("one file system for both folders")
    (place / "mine").write_text("")
    slot.cell.hand_over(place, 61000), slot.cell.share(place), slot.cell.show(place)
    about = (tmp_path / "secret").stat()
    assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (0, 0o600)
    assert (tmp_path.stat().st_uid, (place / "mine").stat().st_uid) == (0, 61000)


@pytest.mark.parametrize("path", ["/etc", "folder", "folder/deeper"])
def test_a_folder_that_is_not_in_it_is_refused(slot, path):
    os.symlink("/etc", slot.folder / "folder")
    with pytest.raises((cells.CellError, OSError)):
        slot.cell.hand_over(slot.folder / path, 61000)
    assert Path("/etc").stat().st_uid == 0


def test_what_the_harness_loads_into_it_is_copied_from_a_closed_folder(start, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('loaded', flush=True)")
    done = start("pass", env={"PYTHONPATH": str(tmp_path)}, readable=[tmp_path])
    assert done.communicate()[0] == "loaded\n"


def test_no_command(start, slot):
    launch = slot.cell.started(["./no-such-server"], cwd=slot.folder / "copy", env={})
    with pytest.raises(FileNotFoundError):
        cells.Process(launch)


def test_a_server_listens_at_its_port_and_may_come_back_to_it(slot, start, monkeypatch):
    """As the harness starts it; then at a port that was chosen, to which it may connect, too."""
    (slot.folder / "copy/server.py").write_text(
        "import socket, sys, time\n"
        "port = int(sys.argv[sys.argv.index('--port') + 1])\n"
        "listener = socket.create_server(('127.0.0.1', port))\n"
        "if port: socket.create_connection(('127.0.0.1', port))\n"
        "print('listening on 127.0.0.1:%d' % listener.getsockname()[1], flush=True)\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(cells, "_current", slot.cell)
    options = {
        "directory": slot.folder / "group/grupo",
        "cwd": slot.folder / "copy",
        "inherits": False,
    }
    (slot.folder / "group").mkdir(mode=0o700)
    with Server([PYTHON, "server.py"], **options) as server:
        port = server.port
        server.end()
    with Server([PYTHON, "server.py"], **options, port=port) as server:
        assert server.port == port
        server.end()


@pytest.mark.parametrize("port", ["-1", "65536", "99999999999999999999", "x", ""])
def test_a_port_that_is_none_is_the_server_s_to_refuse(slot, port):
    (slot.folder / "copy").mkdir()
    argv = ["/bin/echo", "--port", port]
    launch = slot.cell.started(argv, cwd=slot.folder / "copy", env={})
    process = cells.Process(launch, stdout=subprocess.PIPE)
    assert process.communicate()[0] == f"--port {port}\n".encode()
    process.program.end()


@pytest.mark.parametrize("host", ["127.0.0.1", "203.0.113.5", "localhost", "::1"])
def test_a_server_cannot_name_another_s_address(slot, monkeypatch, host):
    """Where a right server may listen, here or on a machine outside."""
    (slot.folder / "copy").mkdir(), (slot.folder / "group").mkdir()
    monkeypatch.setattr(cells, "_current", slot.cell)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"{f'[{host}]' if ':' in host else host}:{other.getsockname()[1]}"
        code = f"import time; print('listening on {address}', flush=True); time.sleep(600)"
        with pytest.raises(NotStarted) as caught:
            Server(
                [PYTHON, "-c", code],
                directory=slot.folder / "group/grupo",
                cwd=slot.folder / "copy",
                inherits=False,
            )
    assert caught.value.sentence == "listens-elsewhere"


@pytest.mark.parametrize(
    "named, listening, expected",
    [
        (("127.0.0.1", 7), [("127.0.0.1", 7)], True),
        (("127.0.0.1", 7), [("0.0.0.0", 7)], True),
        (("127.0.0.1", 7), [("::", 7)], True),
        (("127.0.0.1", 7), [("::ffff:127.0.0.1", 7)], True),
        (("0.0.0.0", 7), [("0.0.0.0", 7)], True),
        (("::1", 7), [("::", 7)], True),
        (("127.0.0.1", 7), [("127.0.0.1", 8)], False),
        (("203.0.113.5", 7), [("0.0.0.0", 7)], False),
        (("127.0.0.2", 7), [("127.0.0.1", 7)], False),
        (("example.org", 7), [("0.0.0.0", 7)], False),
        (("127.0.0.1", 7), [], False),
    ],
)
def test_where_it_listens_is_compared_with_what_it_says(named, listening, expected):
    assert is_at(named, listening) is expected


WITHOUT_PTRACE = "-all,+chown,+dac_override,+fowner,+kill,+setgid,+setuid,+setpcap"
LOOK = """
import os, sys
sys.path[:0] = [{tree!r}, {tests!r}]
import psutil
from harness.driving import processes
process = psutil.Process({pid})
print(processes.sockets([process], psutil.CONN_LISTEN))
import resource
soft, hard = processes.limit({pid}, resource.RLIMIT_NOFILE)
assert processes.limit({pid}, resource.RLIMIT_NOFILE, (50, hard)) == (soft, hard)
assert processes.limit({pid}, resource.RLIMIT_NOFILE) == (50, hard)
print(processes.memory([process]) > 0, processes.stacks([process]))
print(open("/proc/self/status").read().count("Uid:\\t0\\t0\\t0\\t0"))
"""


def test_root_without_the_capability_sees_its_sockets_and_mappings(start):
    """As in a container."""
    need("setpriv")
    script = (
        "import socket, threading, time; s = socket.create_server(('127.0.0.1', 0));"
        "threading.Thread(target=time.sleep, args=(600,)).start(); print('on', flush=True)"
    )
    process = start(script)
    process.stdout.readline()
    look = LOOK.format(tree=str(ROOT), tests=str(ROOT / "tests"), pid=process.pid)
    done = subprocess.run(
        ["setpriv", f"--bounding-set={WITHOUT_PTRACE}", sys.executable, "-c", look],
        capture_output=True,
        text=True,
    )
    ports = processes.sockets([psutil.Process(process.pid)], psutil.CONN_LISTEN)
    assert done.stdout.splitlines() == [str(ports), "True 1", "1"], done.stderr


def test_a_warden_that_dies_is_missed():
    """Without it nothing would limit the memory: so the submission's end is an error."""
    if os.getuid():
        lacks("root")
    slot = warden.Slot()
    slot._warden.kill()
    with pytest.raises(cells.CellError, match="watches"):
        slot.close()
    assert not slot.folder.exists()


def test_what_a_killed_run_left_is_ended_before_its_ids_are_used_again(tmp_path):
    if os.getuid():
        lacks("root")
    group = uid.Locked("group", uid.end_group)
    cell = uid.UidCell(tmp_path, group.number)
    tmp_path.chmod(0o711)
    (tmp_path / "copy").mkdir()
    launch = cell.started(["/bin/sleep", "600"], cwd=tmp_path / "copy", env={})
    process = cells.Process(launch)
    os.close(group._lock)  # as the kernel does it when the run is killed
    assert uid.pids_of(group=group.number) == [process.pid]
    assert uid.end_group(group.number) and process.wait() == -9
