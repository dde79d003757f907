"""The bench counts right: a server that loses, doubles or swaps a line, for one member or for all,
is caught, and the complaint says how.

No test here looks at how fast anything is.
"""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import threading

import pytest
from conftest import lacks, need

from harness.bench import cell_of, run
from harness.bench.run import HERE, ROOT, SERVERS, Failed, Load, Running, missing
from harness.driving.compiled import NotCompiled, compiled

N, TALKERS, ON_THE_WAY = 5, 3, 4
TALK = f"talk {TALKERS} {ON_THE_WAY} 0.2 0"


@pytest.fixture(autouse=True)
def compiler():
    need("cc")


class Broken:
    """A server that does right until the `at`th message, and then does `fault` to it, for member
    `victim` or for all.
    """

    def __init__(self, fault=None, victim=None, at=5):
        self.fault, self.victim, self.at = fault, victim, at
        self.seq, self.messages = 1, 0
        self.here, self.held = {}, {}  # by name: writers, and lines that are to come after the next

    def tell_all(self, event):
        self.seq += 1
        line = event.replace(b"SEQ", b"%d" % self.seq, 1)
        for name, writer in self.here.items():
            wrong = self.messages == self.at and self.victim in (None, int(name[1:]))
            writer.write(self.spoilt(name, line) if wrong else line + self.held.pop(name, b""))

    def spoilt(self, name, line):
        if self.fault == "swap":
            self.held[name] = line
        if self.fault == "close":
            self.here[name].close()
        return {"double": 2 * line, "garble": line.replace(b"xxx", b"xyx", 1), None: line}.get(
            self.fault, b""
        )

    async def serve(self, reader, writer):
        writer.write(b"HELLO grupo/1 bench\n")
        with contextlib.suppress(ConnectionError):
            async for line in reader:
                verb, _, rest = line.rstrip(b"\n").partition(b" ")
                if verb == b"JOIN":
                    name = rest.split()[0]
                    writer.write(b"PENDING\nWELCOME %d %s\n" % (self.seq, name))
                    self.here[name] = writer
                    self.tell_all(b"IN SEQ T %s\n" % name)
                elif verb == b"PING":
                    writer.write(b"PING an-own-line\nPONG %s\n" % rest)
                elif verb == b"SAY":
                    self.messages += 1
                    if (self.fault, self.messages) != ("lose-unsent", self.at):
                        self.tell_all(b"MSG SEQ T %s %s\n" % (name, rest))

    def __enter__(self):
        started = threading.Event()

        async def main():
            self.stopped = asyncio.Event()
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            self.port, self.loop = server.sockets[0].getsockname()[1], asyncio.get_running_loop()
            started.set()
            await self.stopped.wait()

        self.thread = threading.Thread(target=lambda: asyncio.run(main()))
        self.thread.start()
        started.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join()


def test_every_line_is_counted_on_every_member():
    with Broken() as server, Load(server.port, "grupo") as load:
        assert load.order(f"join {N}")["joined"] == N
        for _ in range(2):
            before = server.messages
            found = load.order(TALK)
            assert found["said"] == server.messages - before >= TALKERS * ON_THE_WAY
            assert found["deliveries"] == N * found["said"]
            assert 0 < found["p50"] <= found["p99"] <= found["max"]


def test_an_open_loop_says_as_many_as_it_was_told():
    with Broken() as server, Load(server.port, "grupo") as load:
        load.order(f"join {N}")
        assert load.order("talk 2 1 0.5 200")["said"] in (100, 101)


@pytest.mark.parametrize(
    "fault, victim, complaint",
    [
        ("lose", 0, "heard"),
        ("lose", N - 1, "heard"),
        ("lose", None, "out of its order|where .* was the next"),
        ("double", 0, "heard"),
        ("double", N - 1, "heard"),
        ("double", None, "where .* was the next"),
        ("swap", 0, "heard"),
        ("swap", N - 1, "heard"),
        ("swap", None, "where .* was the next"),
        ("garble", N - 1, "not all heard the same"),
        ("close", 1, "was disconnected"),
        ("lose-unsent", None, "lost"),
    ],
)
def test_what_a_server_does_wrong_is_caught(fault, victim, complaint):
    with Broken(fault, victim) as server, Load(server.port, "grupo") as load:
        load.order(f"join {N}")
        with pytest.raises(Failed, match=complaint):
            load.order(TALK)


def test_a_last_line_that_one_member_lacks_is_missed():
    with Broken("lose", N - 1, at=TALKERS) as server, Load(server.port, "grupo") as load:
        load.order(f"join {N}")
        with pytest.raises(Failed, match=f"member {N - 1} lacks 1 of {TALKERS} lines"):
            load.order(f"talk {TALKERS} 1 0.000001 0")


def test_a_join_that_not_all_hear_is_caught():
    class Deaf(Broken):
        def tell_all(self, event):
            everyone = self.here
            if self.seq == 3:
                self.here = dict(list(everyone.items())[1:])
            super().tell_all(event)
            self.here = everyone

    with Deaf() as server, Load(server.port, "grupo") as load:
        with pytest.raises(Failed, match="heard event 5 where 4 was the next"):
            load.order(f"join {N}")


@pytest.mark.parametrize(
    "order", ["join 0", "talk 9 1 1 0", "talk 1 0 1 0", "talk 1 1 1000 0", "visit 4 1", "dance"]
)
def test_orders_are_bounded(order):
    with Broken() as server, Load(server.port, "grupo") as load:
        load.order(f"join {N}")
        with pytest.raises(Failed):
            load.order(order)


@pytest.mark.long
@pytest.mark.parametrize("name", SERVERS)
def test_each_server_can_be_driven(name, tmp_path):
    if why := missing(name):
        lacks(f"{name}: {why}")
    with Running(name, tmp_path / "server", 20) as server:
        with Load(server.port, server.dialect) as load:
            assert load.order("visit 2 0.2")["visits"] >= 2
        with Load(server.port, server.dialect) as load:
            load.order("join 1")
            load.order("join 19")
            for order in "talk 20 1 0.2 0", "talk 5 16 0.2 0", "talk 5 1 0.2 100":
                found = load.order(order)
                assert found["deliveries"] == 20 * found["said"] > 0
            assert server.memory() > 0 < server.cpu()
    assert not run.session_of(server.process.pid)


def test_a_history_is_compared_with_the_transcript(tmp_path):
    with (
        Running("nonblocking", tmp_path / "server", 1, messages=20_000) as server,
        Load(server.port, "grupo") as load,
    ):
        load.order("join 1")
        transcript = tmp_path / "server" / "group" / "transcript"
        found = load.order(f"history {transcript} 0.2")
        assert found["bytes"] == found["readings"] * transcript.stat().st_size > 0
        assert load.order("talk 1 1 0.1 0")["said"] > 0
        other = tmp_path / "other"
        other.write_bytes(transcript.read_bytes().replace(b"MSG 9999 ", b"MSG 9998 "))
        with pytest.raises(Failed, match="not all heard the same"):
            load.order(f"history {other} 0.2")


@pytest.mark.long
def test_a_bench_of_one_cell_from_end_to_end(tmp_path):
    page, figures = tmp_path / "bench.html", tmp_path / "bench.json"
    command = [
        sys.executable,
        "-m",
        "harness",
        "bench",
        "--quick",
        "--cell",
        "10.10.1",
        "--only",
        "nonblocking",
        "--text",
        "--html",
        page,
        "--json",
        figures,
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Grupo, nonblocking" in ended.stdout and "10.10.1" in ended.stdout
    assert "<svg role=img aria-label=" in page.read_text()
    assert not re.search(
        r"(src|href)=.?http|@import|<script", page.read_text()
    )  # it needs nothing else
    found = {
        (one["server"], str(one["what"])): one["runs"]
        for one in json.loads(figures.read_text())["found"]
    }
    assert found["nonblocking", "[10, 10, 1]"][0]["said"] > 0
    assert found["c-gather", "[10, 10, 1]"][0]["ratio"] == 1


@pytest.mark.parametrize("wrong", ["10", "10.11.1", "10.0.1", "10.1.0", "ten.1.1"])
def test_a_wrong_cell_is_refused(wrong):
    with pytest.raises(ValueError):
        cell_of(wrong)


def test_without_a_compiler_it_says_so(tmp_path, monkeypatch):
    source = tmp_path / "other.c"
    source.write_text("int main(void) { return 0; }\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotCompiled, match="no C compiler found"):
        compiled(source)


def test_a_program_is_compiled_once():
    assert compiled(HERE / "load.c") == compiled(HERE / "load.c")
