"""What a server writes down of itself with --trace: whole lines, pairs, one file for each process,
nothing of what was said.
"""

import json
import subprocess
import sys
from collections import Counter

import pytest

from harness.driving.server import ROOT
from implementations.common import trace
from tests.conftest import OPEN

ACTORS = {
    "nonblocking": {"loop", "worker"},
    "pthread": {"accept", "write", "save_members", "console"},
    "fork": {"hub", "save"},
}


def read(folder):
    """{file name: (its header, its events)}; every line of it is whole."""
    files = {
        path.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in folder.glob("*.jsonl")
    }
    return {name: (lines[0], lines[1:]) for name, lines in files.items()}


def talk(running, enter):
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.send("SAY a word that nobody writes down")
    ben.expect(r"MSG .*")
    ben.send("NAME zoe")
    ana.expect(r"RENAMED .*"), ana.fence(), ben.fence()
    return ["%s:%d" % client.socket.getsockname()[:2] for client in (ana, ben)]


@pytest.mark.parametrize("sink", trace.SINKS)
def test_what_a_conversation_leaves(server, enter, connect, design, sink, tmp_path):
    running = server(*OPEN, "--trace", tmp_path / "trace", "--trace-sink", sink)
    addresses = talk(running, enter)
    connect.hang_up()
    running.close()
    files = read(tmp_path / "trace")
    assert {header["design"] for header, _ in files.values()} == {design}
    assert {header["sink"] for header, _ in files.values()} == {sink}
    assert all(
        name == f"{header['pid']}.jsonl" and all(event["p"] == header["pid"] for event in events)
        for name, (header, events) in files.items()
    )
    assert (len(files) > 2) == (design == "fork"), "a file for each process"
    events = sorted(
        (event for _, events in files.values() for event in events), key=lambda event: event["t"]
    )
    own = {event["a"] for event in events} - set(addresses)
    assert own == ACTORS[design]
    assert {event["a"] for event in events} >= set(addresses) or design == "nonblocking"
    kinds = {event["e"].partition(".")[2] for event in events if event["e"][0] != "I"}
    expected = {"wait", "recv", "send", "accept", "hash", "keep", "save"}
    expected |= {
        "pthread": {"lock.wait", "lock.hold"},
        "fork": {"fork", "pipe.read", "pipe.write"},
    }.get(design, set())
    assert kinds == expected and kinds <= set(trace.KINDS)
    kept = [event["o"] for event in events if event["e"] == "B.keep"]
    assert kept == [f"{seq}-{seq}" for seq in range(1, len(kept) + 1)], "each event once, in order"
    raw = b"".join(path.read_bytes() for path in (tmp_path / "trace").iterdir())
    for secret in (b"word that nobody", b"secret-of", b"argon2"):
        assert secret not in raw


def test_pairs_are_pairs(server, enter, connect, design, tmp_path):
    """In each thread what began last ends first; what is open at the end is what it waits in."""
    running = server(*OPEN, "--trace", tmp_path / "trace")
    talk(running, enter)
    connect.hang_up()
    running.close()
    for _, events in read(tmp_path / "trace").values():
        by_thread = {}
        for event in sorted(events, key=lambda event: event["t"]):
            stack = by_thread.setdefault(event["th"], [])
            phase, _, kind = event["e"].partition(".")
            if phase == "B":
                stack.append(kind)
            elif phase == "E":
                assert stack.pop() == kind
        assert all(
            kinds in ([], ["wait"], ["recv"], ["accept"], ["lock.wait"])
            for kinds in by_thread.values()
        ), by_thread


def test_what_was_written_at_once_survives_a_kill(server, enter, design, tmp_path):
    running = server(*OPEN, "--trace", tmp_path / "trace")
    talk(running, enter)
    running.kill()
    events = [event for _, events in read(tmp_path / "trace").values() for event in events]
    assert Counter(event["e"] for event in events)["E.keep"] == 5


def test_a_child_does_not_write_what_its_parent_has_in_memory(tmp_path):
    code = f"""
import os
from implementations.common import trace
trace.start("test", {str(tmp_path)!r}, "mem")
trace.record("I.parent")
pid = os.fork()
if pid == 0:
    trace.record("I.child")
    trace.end()
    os._exit(0)
os.waitpid(pid, 0)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert sorted([event["e"] for event in events] for _, events in read(tmp_path).values()) == [
        ["I.child"],
        ["I.parent"],
    ]


@pytest.mark.parametrize("sink", trace.SINKS)
def test_a_trace_has_an_end(sink, tmp_path):
    code = f"""
from implementations.common import trace
trace.MAX_BYTES, trace.MAX_EVENTS = 5000, 50
trace.start("test", {str(tmp_path)!r}, {sink!r})
for _ in range(1000):
    trace.record("I.again")
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    ((_, events),) = read(tmp_path).values()
    assert 40 < len(events) < 70 and events[-1]["e"] == "I.full", "what is missing is said"


def test_off_nothing_of_it_is_there():
    assert trace.traced("recv", len) is len
    assert type(trace.lock("room", "all")).__module__ == "_thread"


def test_a_folder_that_cannot_be_made_is_one_line(design, tmp_path):
    (tmp_path / "file").touch()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            f"implementations.{design}",
            "--port",
            "0",
            "--dir",
            tmp_path / "grupo",
            "--trace",
            tmp_path / "file",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and str(
        tmp_path / "file"
    ) in done.stderr
