"""What a newcomer needs in the first hour: a client for lines where `nc` is missing, and checks
that run again at each save.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading

import pexpect
import psutil
import pytest
from conftest import end_terminal

from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT, Server
from harness.teaching import starter

WAIT = 60  # seconds


def talk(address, **options):
    """`harness talk` with this address, as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "talk", address, "--lang", "en"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@contextlib.contextmanager
def serves(serve):
    """A server for one client, by this function; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            client, _ = listener.accept()
            with client:
                serve(client)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_talk_sends_what_is_typed_and_shows_the_answers(tmp_path):
    with Server("nonblocking", directory=tmp_path / "group", args=("--admit", "all")) as server:
        out, err = talk(f"127.0.0.1:{server.port}").communicate("PING one\nPING two\n", WAIT)
    assert out.splitlines() == ["HELLO grupo/1 grupo", "PONG one", "PONG two", "BYE quit"]
    assert err == "(the server closed the connection)\n"


def test_talk_shows_no_byte_that_a_terminal_obeys():
    with serves(lambda client: client.sendall(b"HELLO \x1b]0;x\x07 \xff\r\nol\xc3\xa1\n")) as at:
        out, _ = talk(at).communicate(timeout=WAIT)
    assert out == "HELLO <U+001B>]0;x<U+0007> <byte FF><U+000D>\nolá\n"


def test_talk_shows_a_line_that_does_not_end_before_the_server_goes_on():
    def serve(client):
        client.sendall(b"PENDIN")
        assert client.recv(100) == b"PING 1\n"
        client.sendall(b"G\n")

    with serves(serve) as at:
        process = talk(at)
        assert process.stdout.readline() == "PENDIN (no line end)\n"
        assert process.communicate("PING 1\n", WAIT)[0] == "G\n"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:0", ":7000", "127.0.0.1:70000"])
def test_talk_says_what_is_no_address(address):
    process = talk(address)
    _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 2
    assert err.splitlines()[-1].endswith(f"{address} is not an address like 127.0.0.1:7000")


def test_talk_says_in_one_line_that_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = talk(f"127.0.0.1:{port}")
    _, err = process.communicate(timeout=WAIT)
    assert (process.returncode, err) == (2, f"talk: 127.0.0.1:{port}: Connection refused\n")


@pytest.fixture
def watch(tmp_path):
    """`make watch` in a starting folder, for one check."""
    starter.write(starter.read(0), tmp_path / "lab0")
    env = {**os.environ, "LC_ALL": "C", "TMPDIR": str(tmp_path)}
    for name in "MAKEFLAGS", "MAKELEVEL":  # these tests may themselves be run by make
        env.pop(name, None)
    terminal = pexpect.spawn(
        "make",
        ["watch", "ONLY=answers-ping"],
        cwd=str(tmp_path / "lab0"),
        env=env,
        encoding="utf-8",
        timeout=WAIT,
    )
    yield terminal
    end_terminal(terminal)


@pytest.mark.long
def test_watch_checks_again_at_each_save_and_ends_with_ctrl_c(watch, tmp_path):
    place = tmp_path / "lab0" / "implementations" / "common" / "wire.py"
    text = place.read_text()
    watch.expect("passed.*answers-ping")
    watch.expect("Save a file, and the checks run again")
    place.write_text(text.replace("def feed(", "def feed(("))
    watch.expect("implementations/common/wire.py saved")
    watch.expect("implementations/common/wire.py, line .* Fix that line")
    watch.expect("Save a file, and the checks run again")
    place.write_text(text)
    watch.expect("wire.py saved")
    # another save while that check may still be under way
    place.write_text(text + "\n")
    watch.expect("passed.*answers-ping")
    watch.expect("Save a file, and the checks run again")
    running = psutil.Process(watch.pid).children(recursive=True)
    watch.sendintr()
    watch.expect(pexpect.EOF)
    assert "Traceback" not in watch.before
    wait_until(lambda: not any(one.is_running() for one in running), WAIT, "all of it to end")
    assert not list(tmp_path.glob("grupo-check-*"))


def test_watch_says_that_there_is_no_such_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "harness", "watch", tmp_path / "none", "--lab", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"watch: {tmp_path / 'none'}: no such folder\n"
