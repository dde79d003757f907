"""What a program writes is bytes, and its standard input is what the harness gave it: no server is
wrong for either.
"""

import json
import shutil
import subprocess
import sys
import textwrap

import psutil
import pytest
from conftest import need

from harness.driving import processes
from harness.driving.record import CheckFailed
from harness.driving.server import CLOSED, ROOT, Server, start_refused
from harness.verdicts.formats import FORMATS

LATIN = "n\xe3o \xe9 v\xe1lido".encode("iso-8859-1")
# Right servers: ours, started by a program that does something first.
OURS = [sys.executable, "-m", "implementations.pthread"]
FIRST = "import os, sys\n{first}\nos.chdir({root!r})\nos.execv(sys.executable, [sys.executable, '-m', 'implementations.pthread', *sys.argv[1:]])\n"
WRONG = f"""
if {{"--no-such-flag", "some", "x", "65536", "-1", "nan", "inf"}} & {{word.rpartition("=")[2] for word in sys.argv[1:]}}:
    os.write(2, {LATIN!r} + b"\\n")
    sys.exit(2)
"""


def program(tmp_path, first):
    path = tmp_path / "server.py"
    path.write_text(FIRST.format(first=textwrap.dedent(first), root=str(ROOT)))
    return [sys.executable, str(path)]


def check(tmp_path, command, *only):
    """(exit status, {check: its verdict}, what was shown)"""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "harness",
            "check",
            "--json",
            tmp_path / "found.json",
            "--records",
            tmp_path / "records",
            "--deadline",
            "5",
            "--only",
            *only,
            "--",
            *command,
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    found = json.loads((tmp_path / "found.json").read_text())["verdicts"]
    return (
        done.returncode,
        {verdict["check"]: verdict for verdict in found},
        done.stdout.decode() + done.stderr.decode(),
    )


def test_a_refusal_in_another_encoding_is_a_refusal(tmp_path):
    command = program(tmp_path, WRONG)
    status, _, err = start_refused(command, directory=tmp_path / "group", args=["--no-such-flag"])
    assert status == 2 and err.encode("utf-8", "surrogateescape") == LATIN + b"\n"
    status, found, shown = check(tmp_path, command, "wrong-arguments-end-with-2")
    assert status == 0 and found["wrong-arguments-end-with-2"]["verdict"] == "passed", shown


def test_one_that_does_not_refuse_is_told_with_what_it_wrote(tmp_path):
    command = program(tmp_path, f"os.write(2, {LATIN!r} + b'\\n')")
    with pytest.raises(CheckFailed) as problem:
        start_refused(command, directory=tmp_path / "group", deadline=2)
    assert LATIN in problem.value.actual.encode("utf-8", "surrogateescape")


def test_whatever_a_server_writes_every_format_can_tell(tmp_path):
    path = tmp_path / "server.py"
    path.write_text(
        f"import os\nos.write(1, {LATIN!r} + b'\\n')\nos.write(2, {LATIN!r} + b'\\n')\n"
    )
    outputs = [part for name in FORMATS for part in (f"--{name}", str(tmp_path / name))]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "harness",
            "check",
            *outputs,
            "--records",
            tmp_path / "records",
            "--only",
            "starts",
            "--",
            sys.executable,
            path,
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert done.returncode == 1, done.stderr.decode()
    for name in FORMATS:
        (tmp_path / name).read_text(encoding="utf-8")
    failure = json.loads((tmp_path / "json").read_text())["verdicts"][0]["failure"]
    assert "v\\udce1lido" in failure["actual"]


def test_a_process_may_have_any_bytes_as_its_name(tmp_path):
    odd = tmp_path.joinpath("odd-\udce3")
    shutil.copy(shutil.which("sleep"), odd)
    with subprocess.Popen([odd, "60"]) as process:
        try:
            one = psutil.Process(process.pid)
            assert not processes.ending(process.pid)
            assert (
                processes.turns([one]) and processes.stacks([one]) == 0 and processes.memory([one])
            )
        finally:
            process.kill()


# -- Descriptor 0 ----------------------------------------------------------------------------------


def test_a_closed_input_stands_in_the_steps(tmp_path):
    with Server("pthread", directory=tmp_path / "group", stdin=CLOSED) as running:
        assert running.input_file is None
        assert next(
            entry.text for entry in running.record.entries if entry.what == "starts"
        ).endswith(" (stdin: closed)")


def test_a_runtime_that_opens_descriptor_0_itself_is_not_asked(tmp_path):
    (tmp_path / "modules").write_bytes(b"\x00\xff not an order\n" * 100)
    command = program(
        tmp_path,
        f"os.open({str(tmp_path / 'modules')!r}, os.O_RDONLY) == 0 and os.set_inheritable(0, True)",
    )
    status, found, shown = check(tmp_path, command, "without-a-terminal")
    closed, devnull = found["without-a-terminal[closed]"], found["without-a-terminal[devnull]"]
    assert devnull["verdict"] == "passed" and status == 0, shown
    assert (closed["verdict"], closed["binds"]) == ("not run", False)
    assert "stdin" in closed["why"] or (
        "standard input" in closed["why"] and str(tmp_path / "modules") in closed["why"]
    )


def test_a_file_of_the_group_is_the_servers_own(tmp_path):
    (tmp_path / "group").mkdir()
    (tmp_path / "group/notes").write_text("close\n")
    command = program(
        tmp_path,
        f"os.open({str(tmp_path / 'group/notes')!r}, os.O_RDONLY) == 0 and os.set_inheritable(0, "
        f"True)",
    )
    with Server(command, directory=tmp_path / "group", stdin=CLOSED) as running:
        assert running.input_file is None
        running.wait()


JAVA = """
import java.io.*;
import java.net.*;
public class Main {
    public static void main(String[] arguments) throws Exception {
        ServerSocket listener = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
        System.out.println("listening on 127.0.0.1:" + listener.getLocalPort());
        BufferedReader orders = new BufferedReader(new InputStreamReader(System.in, "ISO-8859-1"));
        for (String line; (line = orders.readLine()) != null;)
            System.out.println("error: no such order " + line);
        listener.accept();
    }
}
"""


@pytest.mark.long
def test_the_jvm_is_one(tmp_path):
    need("java")
    (tmp_path / "Main.java").write_text(JAVA)
    _, found, shown = check(
        tmp_path, ["java", "-Xshare:auto", str(tmp_path / "Main.java")], "without-a-terminal"
    )
    closed = found["without-a-terminal[closed]"]
    assert (closed["verdict"], closed["binds"]) == ("not run", False) and "lib/modules" in closed[
        "why"
    ], shown
