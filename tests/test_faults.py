"""What goes wrong, made to go wrong: each fault is one test, against each of the three servers.

Outcome and order are asserted, never milliseconds: "the others finish 50 fenced rounds while one
is stuck". GRUPO_SOAK=100 repeats what is random so often; GRUPO_SEED=n replays it.
"""

import contextlib
import itertools
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pexpect
import psutil
import pytest
from conftest import OPEN, end_terminal, lacks, need

from harness.driving import deadlines
from harness.driving.client import WireClient
from harness.driving.deadlines import wait_until
from harness.driving.processes import session as session_of
from harness.driving.server import CLOSED, ROOT, Server, command_of, start_refused
from harness.driving.terminals import TerminalClient
from implementations.common import wire
from implementations.pthread import STRANGER_PAUSE

SOAK = int(os.environ.get("GRUPO_SOAK", 10))
SEED = int(os.environ.get("GRUPO_SEED", random.randrange(10**6)))
EVENT = re.compile(r"(MSG|IN|OUT|RENAMED|LEFT|BANNED|GROUP) (\d+) (\S+) (.+)")


def normalized(lines):
    return [EVENT.sub(r"\1 \4", line) for line in lines]


def rounds(talker, listener, count, size=0):
    """Fenced rounds: the talker speaks, both have heard it before the next round begins."""
    for n in range(count):
        talker.send(f"SAY round {n} {'x' * size}")
        for client in (talker, listener):
            assert any(f"round {n} " in line for line in client.fence()), (
                f"{client} did not hear round {n}"
            )


def cpu_over(running, seconds=1.5):
    """CPU seconds the server's processes use over a while. (This is a measurement: what passes here
    is its length.)
    """
    before, end = running.cpu(), time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end)
    return running.cpu() - before


def history(client, since=0):
    client.fence()
    client.send(f"HISTORY {since}")
    client.expect(r"END HISTORY \d+")
    end = int(client.lines[-1].split(" ")[2])
    start = len(client.lines) - 1
    while start and EVENT.fullmatch(client.lines[start - 1]):
        start -= 1
    return [line for line in client.lines[start:-1] if int(EVENT.fullmatch(line)[2]) <= end]


@contextlib.contextmanager
def in_background(*bodies):
    """Run each body(stop) in a thread meanwhile; their exceptions are raised at the end."""
    stop, problems = threading.Event(), []

    def run(body):
        try:
            body(stop)
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    try:
        yield stop
    finally:
        stop.set()
        for thread in threads:
            thread.join(2 * deadlines.DEADLINE)
    assert not problems, problems


# -- Bytes and lines, however the network cuts them ------------------------------------------------


def test_bytes_one_at_a_time(server, connect):
    running = server(*OPEN)
    client, other = connect(running), connect(running)
    client.greeted()
    for byte in "JOIN ana secret\nSAY añ😀b\r\nPING x\n".encode():
        client.send_bytes(bytes([byte]))
        other.fence()  # the server has had its turn: the bytes do not meet in the kernel
    client.expect(r"IN .*")
    assert normalized([client.line(), client.line()]) == ["MSG ana añ😀b", "PONG x"]


def test_many_lines_in_one_segment(server, enter):
    ana = enter(server(*OPEN), "ana")
    ana.send_bytes(b"".join(b"SAY %d\n" % n for n in range(2000)))
    assert normalized(ana.fence()) == [f"MSG ana {n}" for n in range(2000)]


def test_a_line_cut_at_every_place(server, enter):
    running = server(*OPEN)
    ana, other = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    data = "SAY añ😀b\nSAY c\r\n".encode()
    for cut in range(1, len(data)):
        ana.send_bytes(data[:cut])
        other.fence()  # likewise
        ana.send_bytes(data[cut:])
        assert normalized(ana.fence()) == ["MSG ana añ😀b", "MSG ana c"], f"cut behind byte {cut}"


def test_lines_around_the_sizes_of_buffers(server, enter):
    ana = enter(server(*OPEN), "ana")
    for size in (4095, 4096, 4097, 8192, 16384, 65535, 65536, 65537, 131072):
        lines, left = [], size
        while left:
            take = min(left, 406) if left - min(left, 406) not in range(1, 7) else left - 7
            lines.append("SAY " + "x" * (take - 5))
            left -= take
        data = "".join(line + "\n" for line in lines).encode()
        assert len(data) == size
        ana.send_bytes(data)
        assert len(ana.fence()) == len(lines), f"{size} bytes at once"


def test_a_megabyte_without_a_newline(server, enter, connect):
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    flood = connect(running)
    flood.greeted()
    try:
        flood.send_bytes(b"x" * (1 << 20))
    except ConnectionError:
        pass  # the server need not read it all
    assert [line.split(" ")[:2] for line in flood.rest()] == [
        ["ERR", "too-long"],
        ["BYE", "protocol"],
    ]
    rounds(ana, ben, 10)


def test_noise_is_answered_by_err_or_bye(server, enter, connect):
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    chance = random.Random(SEED)
    words = [
        b"JOIN",
        b"SAY",
        b"NAME",
        b"WHO",
        b"HISTORY",
        b"LEAVE",
        b"PING",
        b"PONG",
        b" ",
        b"\n",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\x1b[2J",
        "ñ".encode(),
        b"ana",
        b"7",
    ]
    for _ in range(30):
        noisy = connect(running)
        noisy.greeted()
        data = chance.choice((chance.randbytes(2000), b"".join(chance.choices(words, k=200))))
        try:
            noisy.send_bytes(data)
            noisy.half_close()
        except OSError:
            pass
        heard = noisy.rest()
        assert all(
            re.match(
                r"(ERR|BYE|PENDING|REJECTED|WELCOME|IN|PONG|MSG|MEMBER|END|RENAMED|LEFT|PING)\b",
                line,
            )
            for line in heard
        ), f"seed {SEED}: {heard}"
        assert heard[-1].startswith("BYE ") or noisy.was_reset, f"seed {SEED}: {heard}"
    rounds(ana, ben, 3)


def test_control_characters_and_escapes_reach_nobody(server, enter, connect):
    running = server()
    stranger = connect(running)
    for evil in ("\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "\x08\x08", "\x0e", "\u202e", "\0"):
        stranger = connect(running)
        for line in (f"JOIN e{evil}ve secret", f"JOIN eve se{evil}cret", f"SAY {evil}", f"{evil}"):
            stranger.send(line)
            assert stranger.expect(r"ERR (\S+) .+")[1] == "bad-text"
        assert all(line.isprintable() for line in stranger.lines)
    assert running.order("members") == ["ok"]
    assert all(line.isprintable() for line in running.stdout + running.stderr)


def test_half_a_line_then_silence_holds_up_nobody(server, enter, connect):
    running = server(*OPEN)
    ana, ben, slow = (enter(running, name) for name in ("ana", "ben", "slow"))
    halves = [connect(running) for _ in range(10)]
    for client in halves:
        client.send_bytes(b"JOIN half se")
    slow.send_bytes(b"SAY to be con")
    rounds(ana, ben, 50)
    slow.send_bytes(b"tinued\n")
    assert normalized(slow.fence())[-1] == "MSG slow to be continued"
    halves[0].send_bytes(b"cret\n")
    halves[0].welcomed()


# -- Ends of connections ---------------------------------------------------------------------------


def test_a_reset_in_the_middle_of_a_broadcast(server, enter):
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    for n in range(5):
        victim = enter(running, f"victim{n}")
        ana.send(*[f"SAY {n}-{k} " + "x" * 300 for k in range(100)])
        victim.send("SAY last words")
        victim.reset()
        ana.send(*[f"SAY {n}-{k} " + "x" * 300 for k in range(100, 200)])
        for client in (ana, ben):
            client.expect(rf"OUT \d+ \S+ victim{n}")
    ana.fence(), ben.fence()
    for client in (ana, ben):
        heard = [
            line.split(" ")[2]
            for line in normalized(client.lines)
            if re.match(r"MSG ana \d-", line)
        ]
        assert heard == [f"{n}-{k}" for n in range(5) for k in range(200)]


@pytest.mark.parametrize(
    "sent, answers",
    [
        (
            "WHO\nHISTORY 2\nPING x\nSAY incompl",
            ["MEMBER ana here", "END WHO", "MSG ana one", "END HISTORY 3", "PONG x"],
        ),
        ("SAY two\nSAY three\n", ["MSG ana two", "MSG ana three"]),
    ],
    ids=["answered", "messages"],
)
def test_half_close_what_was_complete_is_answered(server, connect, sent, answers):
    running = server(*OPEN)
    client = connect(running)
    client.send_bytes(b"JOIN ana secret\nSAY one\n" + sent.encode())
    client.half_close()
    assert normalized(client.rest()) == [
        "HELLO grupo/1 grupo",
        "PENDING",
        "WELCOME 1 ana",
        "IN ana",
        "MSG ana one",
        *answers,
        "BYE quit",
    ]
    running.expect(r"\* ana went")


def test_after_clients_have_gone_all_is_as_before(server, enter, connect):
    running = server(*OPEN)
    for name in ("ana", "ben"):  # what is made once, on first use, belongs to the base line
        enter(running, name).close()
        running.expect(rf"\* {name} went")
    base = wait_until(lambda: (now := running.holdings())[0] == len(running.family()) and now)
    for how in ("close", "reset", "half_close"):
        clients = [connect(running) for _ in range(20)]
        clients[0].join("ana", "secret-of-ana")
        clients[1].greeted()
        clients[1].send("JOIN ana wrong")
        clients[2].send("JOIN ben secret-of-ben")  # gone while its password is checked
        clients[3].send_bytes(b"x" * 400)
        for client in clients:
            getattr(client, how)()
    wait_until(
        lambda: running.holdings() <= base and len(running.family()) == base[0],
        what=f"(processes, threads, descriptors) back to {base}",
    )
    assert all(process.status() != psutil.STATUS_ZOMBIE for process in running.family())


@pytest.mark.long
def test_nothing_spins(server, enter, connect):
    running = server(*OPEN, "--sndbuf", "4096", "--outbox", "1048576", "--slow-after", "60")
    ana, stuck = enter(running, "ana"), enter(running, "stuck", rcvbuf=4096)
    connect(running).send_bytes(b"half a line")
    half = enter(running, "half")
    half.send_bytes(b"PING x\n")
    running.process.stdin.close()
    for _ in range(5):
        ana.send(*["SAY " + "x" * 400] * 50)
        ana.fence()
    too_long = connect(running)
    too_long.send_bytes(b"x" * 4000)  # no newline: the trap that ngircd fell into
    too_long.rest()
    enter(running, "reset").reset()
    ana.expect(r"OUT \d+ \S+ reset")
    assert cpu_over(running) < 0.75, "an idle server uses the CPU"
    stuck.close()


# -- Members who do not read -----------------------------------------------------------------------

SMALL = ("--sndbuf", "4096", "--outbox", "65536")


@pytest.mark.long
def test_a_member_who_stops_reading_is_dropped_and_holds_up_nobody(server, enter):
    running = server(*OPEN, *SMALL)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    stuck = enter(running, "stuck", rcvbuf=4096)
    for n in range(50):
        ana.send(
            *[f"SAY {n} " + "x" * 380] * 8
        )  # 50 * 8 * 430 bytes: more than its outbox and its socket hold
        ana.fence(), ben.fence()
    for client in (ana, ben):
        if not any(line.startswith("OUT ") for line in client.lines):
            client.expect(r"OUT \d+ \S+ stuck")
        assert sum(line.startswith("MSG ") for line in client.lines) == 400
    running.expect(r"\* stuck went")
    assert [line for line in stuck.rest() if line.startswith("BYE")] in (
        [],
        ["BYE slow"],
    )  # mostly a bare end
    back = enter(running, "stuck")  # and it may come back
    back.fence()


def test_a_member_who_takes_nothing_is_dropped_though_little_waits(server, enter):
    running = server(*OPEN, "--sndbuf", "4096", "--slow-after", "1")
    ana = enter(running, "ana")
    enter(running, "stuck", rcvbuf=4096)
    ana.send(*["SAY " + "x" * 380] * 120)  # some 50 KB, far from --outbox
    ana.expect(r"OUT \d+ \S+ stuck")


@pytest.mark.long
def test_who_sends_and_never_reads_is_dropped_too(server, enter):
    running = server(*OPEN, *SMALL, "--slow-after", "1")
    ana, ben, deaf = (
        enter(running, "ana"),
        enter(running, "ben"),
        enter(running, "deaf", rcvbuf=4096),
    )
    deaf.socket.settimeout(0.2)
    with contextlib.suppress(OSError):
        for _ in range(3000):
            deaf.socket.sendall(b"HISTORY 0\nWHO\nPING " + b"x" * 60 + b"\n")
    ana.expect(r"OUT \d+ \S+ deaf")
    rounds(ana, ben, 5)


@pytest.mark.long
def test_one_who_reads_slowly_but_steadily_is_never_dropped(server, enter):
    running = server(*OPEN, *SMALL, "--slow-after", "2")
    steady = enter(running, "steady", rcvbuf=16384)
    talkers = [enter(running, f"t{n}") for n in range(2)]
    count = 1200  # each: together ten times what its outbox and its socket hold
    pace = 512 * 1024  # bytes a second, eight times what is promised: cores may be busy

    def talk(talker):
        def body(stop):
            for k in range(0, count, 20):
                talker.send(*[f"SAY {n} " + "x" * 380 for n in range(k, k + 20)])
                talker.fence()

        return body

    with in_background(*map(talk, talkers)):
        heard, messages, start = bytearray(), 0, time.monotonic()
        while messages < 2 * count or not heard.endswith(b"\n"):
            time.sleep(0.004)  # this is no wait for the server: it is the client's pace
            passed = time.monotonic() - start
            assert passed < 4 * deadlines.DEADLINE, f"only {messages} messages came"
            # A client that was held up reads on faster, to keep its pace.
            due = int(pace * passed) - len(heard)
            chunk = steady.socket.recv(max(due, 1))
            assert chunk, f"dropped after {messages} of {2 * count} messages, {heard[-80:]!r}"
            messages += (heard[-3:] + chunk).count(b"MSG ")
            heard += chunk
    lines = heard.decode().splitlines()
    for name in ("t0", "t1"):
        assert [
            line.split(" ")[2] for line in normalized(lines) if line.startswith(f"MSG {name} ")
        ] == [str(n) for n in range(count)]
    assert "* steady went" not in running.stdout


STOPPED_CLIENT = """
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.connect(("127.0.0.1", int(sys.argv[1]))); s.sendall(b"JOIN frozen secret-of-frozen\\n")
for line in s.makefile("rb"):
    print(line.decode().split(" ")[0], flush=True)
"""


@pytest.mark.long
def test_a_client_stopped_by_sigstop(server, enter):
    running = server(*OPEN, *SMALL)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    frozen = subprocess.Popen(
        [sys.executable, "-c", STOPPED_CLIENT, str(running.port)], stdout=subprocess.PIPE, text=True
    )
    try:
        while frozen.stdout.readline() != "IN\n":
            assert frozen.poll() is None
        frozen.send_signal(signal.SIGSTOP)
        for n in range(50):
            ana.send(*[f"SAY {n} " + "x" * 380] * 8)
            ana.fence(), ben.fence()
        running.expect(r"\* frozen went")
        frozen.send_signal(signal.SIGCONT)
        frozen.stdout.read()  # to its end: the server has closed
        assert frozen.wait(deadlines.DEADLINE) == 0
    finally:
        frozen.kill()
        frozen.wait()
        frozen.stdout.close()


@pytest.mark.long
def test_history_of_many_events_while_others_talk(server, connect, enter):
    events = 200_000
    running = server(
        *OPEN, "--slow-after", "100"
    )  # it reads nothing while the others talk, however long that takes
    newest = int(enter(running, "ana").lines[-1].split(" ")[1])
    connect.hang_up()
    running.expect(r"\* ana went")
    running.close()
    newest += 1
    with open(running.directory / "transcript", "a") as transcript:
        transcript.writelines(
            f"MSG {seq} 2026-11-22T13:21:28.123Z ana message {seq}\n"
            for seq in range(newest + 1, events + 1)
        )
    running.restart(deadline=60)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence(), ben.fence()
    before = sum(process.memory_info().rss for process in running.family())
    ben.send("HISTORY 0")  # 14 MB, read slowly
    ben.line()  # it is under way
    for n in range(50):
        ana.send(f"SAY round {n}")
        assert any(f"round {n}" in line for line in ana.fence())
    grown = sum(process.memory_info().rss for process in running.family()) - before
    ben.expect(r"END HISTORY (\d+)")
    ben.fence()
    lines = [EVENT.fullmatch(line) for line in ben.lines]
    seqs = [int(line[2]) for line in lines if line]
    assert [seq for seq in seqs if seq <= events] == list(range(1, events + 1))
    assert [line[4] for line in lines if line and "round" in line[4]] == [
        f"ana round {n}" for n in range(50)
    ]
    assert grown < 8 << 20, f"the server took {grown >> 20} MB for it"


# -- Crowds ----------------------------------------------------------------------------------------


@pytest.mark.long
def test_200_connects_and_joins_at_one_instant(server, connect):
    running = server(*OPEN, "--hashes", "2")
    together, clients, problems = threading.Barrier(8), [], []

    def arrive(part):
        try:
            together.wait(10)
            for n in range(part, 200, 8):
                client = connect(running, name=f"m{n}")
                client.send(f"JOIN m{n} secret-{n}")
                clients.append(client)
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=arrive, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and len(clients) == 200
    came = lambda: (
        sum(line.endswith(" came") for line in running.stdout) == 200
    )  # 200 hashes take their time on a busy machine
    wait_until(came, 120, "the coming of all 200")
    for client in clients:
        client.greeted()
        client.welcomed()
    clients[0].send("WHO")
    assert (
        sum(re.fullmatch(r"MEMBER m\d+ here", line) is not None for line in clients[0].fence())
        == 200
    )


@pytest.mark.long
def test_a_storm_of_passwords_holds_up_nobody(server, enter, connect):
    running = server("--admit", "all", "--reject-after", "0")
    ana, ben = enter(running, "ana"), enter(running, "ben")
    refused = []

    def guess(stop):
        while not stop.is_set():
            with WireClient(running.address) as eve:
                eve.greeted()
                eve.send(*["JOIN ana guess"] * 3)
                heard = eve.rest()
                assert heard == ["PENDING", "REJECTED refused"] * 3 + ["BYE refused"], (
                    heard
                )  # nobody is turned away for it
                refused.append(1)

    with in_background(*[guess] * 6):
        while len(refused) < 8:
            rounds(ana, ben, 20)


@pytest.mark.parametrize("design", ["pthread"])  # the others' loops read a few in each turn
def test_strangers_that_flood_are_read_one_at_a_time_with_pauses(server, connect):
    clients = [connect(running := server(*OPEN)), connect(running)]
    for client in clients:
        client.greeted()
    size, start = 256 * 1024, time.monotonic()
    with in_background(*(lambda _, c=c: (c.send_bytes(b"\n" * size), c.fence()) for c in clients)):
        pass
    pauses = len(clients) * size / wire.MAX_LINE * STRANGER_PAUSE
    assert time.monotonic() - start >= pauses  # never less, however fast the machine


@pytest.mark.long
@pytest.mark.parametrize("admit", ["ask", "all"])
def test_two_strangers_ask_under_one_name(server, connect, admit):
    running = server("--admit", admit, "--reject-after", "0.05", "--hashes", "2")
    for n in range(8):
        pair = [connect(running), connect(running)]
        for client, name in zip(pair, (f"new{n}", f"NEW{n}")):
            client.greeted()
            client.name = name
        for client, password in zip(pair, "xy"):
            client.send(f"JOIN {client.name} {password}")
        if admit == "ask":
            name = running.expect(rf"(?i:(new{n})) asks to join from .+")[1]
            [loser] = [client for client in pair if client.name != name]
            loser.expect("REJECTED refused")
            assert running.order(f"accept {name}") == ["ok"]
            pair.remove(loser)
            pair[0].welcomed()
        else:
            ends = sorted(client.expect(r"(WELCOME|REJECTED) .*")[1] for client in pair)
            assert ends == ["REJECTED", "WELCOME"]
    assert sum(line.startswith("member ") for line in running.order("members")) == 8


@pytest.mark.long
def test_takeover_while_the_old_connection_still_sends(server, enter, connect):
    running = server(*OPEN)
    ben = enter(running, "ben")
    ana = enter(running, "ana")
    for turn in range(5):

        def flood(stop, old=ana):
            with contextlib.suppress(ConnectionError, AssertionError):
                while True:
                    old.send(*[f"SAY old{turn}"] * 10)
                    old.fence()

        with in_background(flood):
            ben.expect(rf"MSG \d+ \S+ ana old{turn}")
            new = connect(running)
            s = new.join("ana", "secret-of-ana")
        assert ana.lines[-1] == "BYE replaced" or ana.was_reset
        new.send("SAY mine")
        assert normalized(new.fence()) == ["MSG ana mine"], (
            "after WELCOME s come the events after s; the old one's end with it"
        )
        events = history(new, 0)
        assert [event for event in events if f"old{turn}" in event] == [
            line for line in events if f"old{turn}" in line and int(line.split(" ")[1]) <= s
        ]
        ana = new
    assert "ana went" not in "\n".join(running.stdout)


# -- The machine runs out --------------------------------------------------------------------------


def is_let_in(stranger):
    """Whether a newcomer may stay; if not, all it heard was a plain close or BYE full."""
    try:
        stranger.fence()
        return True
    except (AssertionError, ConnectionError):
        assert stranger.lines in ([], ["BYE full"]), f"for want of room it heard {stranger.lines}"
        return False


@pytest.mark.long
def test_out_of_descriptors(server, enter, connect):
    running = server(*OPEN, preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    ana, ben = enter(running, "ana"), enter(running, "ben")
    greeted, turned_away = [], 0
    for _ in range(100):
        stranger = connect(running)
        if is_let_in(stranger):
            greeted.append(stranger)
        else:
            turned_away += 1
            if turned_away == 10:
                break
    assert turned_away == 10, "64 descriptors were enough for 100 clients"
    rounds(ana, ben, 10)
    assert cpu_over(running) < 0.75, "the server spins when it is out of descriptors"
    for stranger in greeted:
        stranger.close()
    wait_until(lambda: is_let_in(connect(running)), what="room again")
    enter(running, "eva").fence()
    rounds(ana, ben, 3)


LIMITED = """
import importlib, os, resource, sys
design, uid, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
module = importlib.import_module("implementations." + design)
import _ctypes, encodings.idna; importlib.import_module("implementations.common.options").parse([], design)     # all that Python loads late
resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
os.setgid(uid); os.setuid(uid)                  # root would be exempt
module.run(design, module.Server, sys.argv[4:])
"""


@pytest.mark.long
def test_out_of_processes_and_threads(server, enter, connect, design):
    if os.getuid() != 0:
        lacks("needs a user of its own, thus root")
    folder, uid = Path(tempfile.mkdtemp(prefix="grupo-")), 60000 + os.getpid() % 4000
    os.chown(folder, uid, uid)
    try:
        running = server(
            *OPEN,
            command=[sys.executable, "-c", LIMITED, design, uid, 14],
            directory=folder / "grupo",
        )
        ana, ben = enter(running, "ana"), enter(running, "ben")
        greeted, turned_away = [], 0
        for _ in range(40):
            stranger = connect(running)
            if is_let_in(stranger):
                greeted.append(stranger)
            else:
                turned_away += 1
        assert turned_away >= 20 or design == "nonblocking", (
            "14 processes or threads were enough for 42 clients"
        )
        rounds(ana, ben, 10)
        assert cpu_over(running) < 0.75, "the server spins when it is out of processes"
        for stranger in greeted:
            stranger.close()
        wait_until(lambda: is_let_in(connect(running)), what="room again")
        wait_until(lambda: len(running.order("members")) == 3)
        enter(running, "eva").fence()
        rounds(ana, ben, 3)
        running.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def disk(running, size):
    """From now on no file of the server's may grow beyond `size`: to it that is a full disk. None:
    there is space again.
    """
    limit = resource.RLIM_INFINITY if size is None else size
    for process in running.family():
        with contextlib.suppress(ProcessLookupError):  # such as fork's writer of the member file
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


@pytest.mark.parametrize("room", [None, 25], ids=["nothing-fits", "part-of-a-line-fits"])
def test_disk_full(server, enter, connect, room):
    running = server("--reject-after", "0.05")
    people = {}
    for name in ("ana", "ben", "eva"):
        people[name] = connect(running, name=name)
        people[name].greeted()
        people[name].send(f"JOIN {name} secret-of-{name}")
        running.expect(rf"{name} asks .*")
        assert running.order("accept " + name) == ["ok"]
        people[name].expect(r"IN .*")
    asking = connect(running)
    asking.greeted()
    asking.send("JOIN zoe secret")
    asking.expect("PENDING")
    running.expect(r"zoe asks .*")
    assert running.order("ban mallory") == ["ok"]
    ana, ben, eva = people.values()
    for client in people.values():
        client.fence()
    transcript = running.directory / "transcript"
    kept = transcript.read_bytes()
    disk(running, 0 if room is None else len(kept) + room)

    for line in ("SAY lost", "SAY lost, too", "NAME lost", "LEAVE"):
        ana.send(line)
        ana.expect(r"ERR not-saved .+")
    for order in ("accept zoe", "ban lost", "ban ben", "unban mallory", "rename lost"):
        if order == "unban mallory" and room is not None:
            continue  # it makes no event, and its file may fit
        answer = running.order(order)
        assert len(answer) == 1 and answer[0].startswith("error: "), f"{order}: {answer}"
    eva.close()  # its OUT is announced once it can be written
    ben.send("WHO")
    ben.expect("MEMBER ben here")
    ben.expect("END WHO")
    assert transcript.read_bytes() == kept, "something stays of what was refused"
    assert ben.fence() == [] and asking.fence() == [], "somebody heard what was refused"
    assert history(ben) == kept.decode().splitlines()
    wait_until(lambda: "member eva away" in running.order("members"))
    back = connect(running)
    back.greeted()
    back.send("JOIN eva secret-of-eva")
    back.expect(r"ERR not-saved .+")

    disk(running, None)
    ben.expect(r"OUT \d+ \S+ eva")
    assert running.order("accept zoe") == ["ok"]
    asking.expect(r"IN \d+ \S+ zoe")
    back.send("JOIN eva secret-of-eva")  # that request was over: it may ask again
    back.expect(r"IN \d+ \S+ eva")
    ana.send("SAY saved", "NAME anita")
    assert normalized(ana.fence()) == [
        "OUT eva",
        "IN zoe",
        "IN eva",
        "MSG ana saved",
        "RENAMED ana anita",
    ]
    assert running.order("ban ben") == ["ok"]
    events = history(ana)
    whole = transcript.read_text()
    assert whole.splitlines() == events and whole.endswith("\n")
    assert [int(EVENT.fullmatch(event)[2]) for event in events] == list(range(1, len(events) + 1))
    connect.hang_up()
    running.restart(args=("--admit", "none", "--reject-after", "0.05"))
    enter(running, "anita", "secret-of-ana")
    assert sorted(running.order("members")) == [
        "member anita here",
        "member ben banned",
        "member eva away",
        "member mallory banned",
        "member zoe away",
        "ok",
    ]


def test_disk_full_for_who_would_be_new(server, enter, connect):
    running = server(*OPEN)
    ana, new = enter(running, "ana"), connect(running)
    new.greeted()
    disk(running, 0)
    new.send("JOIN ben secret-1")
    new.expect(r"ERR not-saved .+")
    disk(running, None)
    assert "ben" not in " ".join(running.order("members")), "what was not saved has not happened"
    new.send("JOIN ben secret-2")  # it is new still
    new.welcomed()
    assert normalized(ana.fence()) == ["IN ben"]


# -- Kills -----------------------------------------------------------------------------------------


def parse_files(directory):
    """Both files, checked line by line: (transcript's lines, members' entries)."""
    whole = (directory / "transcript").read_bytes()
    events = whole[: whole.rfind(b"\n") + 1].decode().splitlines()
    for seq, event in enumerate(events, 1):
        match = EVENT.fullmatch(event)
        assert match and int(match[2]) == seq, f"the transcript's line {seq} is {event!r}"
    first, *lines = (directory / "members").read_text().split("\n")
    assert re.fullmatch(r"# grupo 1 seq \d+", first) and lines[-1] == ""
    entries = [line.split(":") for line in lines[:-1]]
    assert all(len(entry) == 3 and entry[1] in ("member", "banned") for entry in entries)
    return events, entries


@pytest.mark.long
def test_kill_9_at_random_moments(server, connect):
    """A client that saw WELCOME is a member, and one that saw its LEFT is none. What came back to its
    sender is in the history.
    """
    chance = random.Random(SEED)
    running = server(*OPEN, "--hashes", "2")
    members = {}  # name: password, of those who are certainly members
    gone = []  # those who certainly left
    said = set()  # texts that came back to their sender
    for turn in range(SOAK):
        threads, moment = [], threading.Event()
        watched = "membership" if turn % 2 else "message"
        # confirmations of that kind until the kill; at the second one somebody has left for certain
        left = [20 if turn == 1 else chance.randrange(1, 20 if turn % 2 else 150)]

        def confirmed(kind):
            left[0] -= kind == watched
            if left[0] <= 0:
                moment.set()

        def talk(name):
            with (
                contextlib.suppress(OSError, AssertionError),
                WireClient(running.address, name=name) as client,
            ):
                client.join(name, "secret")
                members[name] = "secret"
                for n in range(10**6):
                    text = f"{turn}/{name}/{n}"
                    client.send("SAY " + text)
                    client.expect(rf"MSG \d+ \S+ \S+ {text}")
                    said.add(text)
                    confirmed("message")

        def come_and_go(label):
            for n in range(10**6):
                name, password = f"{label}{turn}-{n}", f"pw-{turn}-{n}"
                with (
                    contextlib.suppress(OSError, AssertionError),
                    WireClient(running.address, name=name) as client,
                ):
                    client.join(name, password)
                    members[name] = password
                    confirmed("membership")
                    if n % 3 == 1:  # another name: until it is confirmed, either may be right
                        client.send(f"NAME {name}x")
                        members.pop(name)
                        client.expect(rf"RENAMED \d+ \S+ {name} {name}x")
                        members[name + "x"] = password
                    elif n % 3 == 2:
                        client.send("LEAVE")
                        members.pop(name)
                        client.expect(rf"LEFT \d+ \S+ {name}")
                        gone.append(name)
                    confirmed("membership")
                    continue
                return

        for body, argument in ((talk, "t0"), (talk, "t1"), (come_and_go, "a"), (come_and_go, "b")):
            threads.append(threading.Thread(target=body, args=(argument,)))
            threads[-1].start()
        moment.wait(deadlines.DEADLINE)
        running.kill()
        for thread in threads:
            thread.join()
        running.orphans_gone()
        note = f"GRUPO_SEED={SEED}, kill {turn + 1}"
        parse_files(running.directory)
        running.restart()
        listed = {
            line.split(" ")[1] for line in running.order("members") if line.startswith("member ")
        }
        assert set(members) <= listed, (
            f"{note}: {sorted(set(members) - listed)[:5]} were members and are not"
        )
        assert not set(gone) & listed, (
            f"{note}: {sorted(set(gone) & listed)[:5]} had left and are members"
        )
        recent = [name for name in members if name[1:].startswith(f"{turn}-")][-9:] + chance.sample(
            sorted(members), 1
        )
        for name in recent:
            with WireClient(running.address, name=name) as client:
                client.join(name, members[name])  # its password, too, is what it was
                if name is recent[-1]:
                    texts = {
                        event.split(" ", 4)[4]
                        for event in history(client)
                        if event.startswith("MSG ")
                    }
                    assert said <= texts, f"{note}: lost {sorted(said - texts)[:5]}"
    assert said and members and (gone or SOAK == 1)


def test_kill_9_leaves_no_orphan_and_a_new_server_starts_at_once(server, enter, connect):
    running = server(*OPEN)
    ana = enter(running, "ana")
    crowd = [connect(running) for _ in range(10)]
    for client in crowd[:5]:
        client.greeted()
        client.send("JOIN ana wrong")  # some of them hash, or wait for their turn
    again = None
    try:
        running.kill()
        again = Server(
            running.design, directory=running.directory, args=OPEN, port=running.port
        )  # while orphans may still live
        client = WireClient(again.address)
        client.join("ana", "secret-of-ana")
        client.close()
        running.orphans_gone()
        again.close()
    finally:
        if again:
            again.end()
    assert not any(line.startswith(("OUT", "BYE")) for line in ana.rest())


def child_of_next_client(running, act):
    """The process that a fork server makes for the client that `act` connects."""
    before = {process.pid for process in running.family()}
    act()
    [child] = wait_until(
        lambda: [process for process in running.family() if process.pid not in before]
    )
    return child


@pytest.mark.parametrize("design", ["fork"], indirect=True)
def test_kill_9_of_a_child(server, enter, connect):
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    victims = []
    child = child_of_next_client(running, lambda: victims.append(connect(running)))
    victims[0].join("eva", "secret")
    victims[0].fence()
    child.kill()
    for client in (ana, ben):
        client.expect(r"OUT \d+ \S+ eva")
    assert victims[0].rest() in ([], ["BYE quit"])
    rounds(ana, ben, 10)
    connect(running).join("eva", "secret")


@pytest.mark.parametrize("design", ["fork"], indirect=True)
def test_kill_9_of_a_child_while_it_hashes_gives_back_its_turn(server, connect):
    running = server(*OPEN, "--hashes", "1")
    killed = 0
    for n in itertools.count():
        victims = []
        child = child_of_next_client(running, lambda: victims.append(connect(running)))
        victims[0].greeted()
        victims[0].send(f"JOIN victim{n} secret")
        victims[0].expect("PENDING")
        child.kill()
        victims[0].rest()
        connect(running).join(f"next{n}", "secret")  # else it would wait forever
        if f"member victim{n} away" in running.order("members"):
            continue  # it was ready before
        connect(running).join(f"victim{n}", "another")  # the name is free
        killed += 1
        if killed == 8:
            break
    assert not any(process.status() == psutil.STATUS_ZOMBIE for process in running.family())


# -- Ends in the middle of traffic -----------------------------------------------------------------


@contextlib.contextmanager
def in_a_terminal(design, directory, *args, shell=None, **options):
    """The server with a terminal (pexpect) as its owner: stdin and stdout. `shell` types its
    command line at a shell instead.
    """
    options = {
        "cwd": str(ROOT),
        "encoding": "utf-8",
        "timeout": deadlines.DEADLINE,
        "echo": False,
        **options,
    }
    command = [*command_of(design), "--port", "0", "--dir", str(directory), *args]
    if shell:
        need("bash")
        terminal = pexpect.spawn(
            "bash", ["--norc", "--noprofile", "-i"], env={**os.environ, "PS1": "$ "}, **options
        )
        terminal.sendline(shell.format(" ".join(command)))
    else:
        terminal = pexpect.spawn(command[0], command[1:], **options)
    terminal.delaybeforesend = None
    try:
        terminal.expect(r"listening on 127\.0\.0\.1:(\d+)\r?\n")
        terminal.address = ("127.0.0.1", int(terminal.match[1]))
        yield terminal
    finally:
        left = session_of(terminal.pid)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        end_terminal(terminal)


def traffic(clients):
    """Each talks and reads until the server ends it; then its last line tells how."""

    def body(client):
        def talk(stop):
            with contextlib.suppress(ConnectionError, AssertionError):
                while True:
                    client.send(*["SAY " + "x" * 300] * 20)
                    client.fence()
            client.rest()

        return talk

    return [body(client) for client in clients]


@pytest.mark.long
def test_sigterm_in_the_middle_of_traffic(server, enter):
    running = server(*OPEN)
    clients = [enter(running, f"m{n}") for n in range(6)]
    with in_background(*traffic(clients)):
        wait_until(
            lambda: (
                running.stdout.count(running.stdout[-1]) > 100
                or sum(line.startswith("<") for line in running.stdout) > 200
            )
        )
        assert running.stop() == 0
    assert [client.lines[-1] for client in clients] == ["BYE closed"] * 6


@pytest.mark.long
def test_ctrl_c_in_a_terminal_in_the_middle_of_traffic(design, tmp_path):
    with in_a_terminal(design, tmp_path / "grupo", *OPEN) as terminal:
        clients = []
        for n in range(4):
            clients.append(WireClient(terminal.address))
            clients[-1].join(f"m{n}", "secret")
        with in_background(*traffic(clients)):
            terminal.expect("<m0> x+\r\n")
            terminal.sendintr()
            shown = terminal.read()
        terminal.close()
        assert terminal.exitstatus == 0, shown[-2000:]
        assert "Traceback" not in shown
        assert [client.lines[-1] for client in clients] == ["BYE closed"] * 4
        assert session_of(terminal.pid) == []
        for client in clients:
            client.close()


# -- Files -----------------------------------------------------------------------------------------


@pytest.fixture
def used(server, connect, enter):
    """A server that has ended, with a group of some history."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    ana.send(*[f"SAY {n} ñ" for n in range(20)])
    enter(running, "ben").send("NAME eva")
    running.expect(r"# .*eva.*")
    running.order("ban mallory")
    connect.hang_up()
    running.close()
    return running


def damages():
    noise = random.Random(SEED).randbytes(3000)
    return {
        "transcript-noise": ("transcript", lambda data: noise),
        "transcript-noise-in-the-middle": (
            "transcript",
            lambda data: data[:300] + noise[:40] + data[340:],
        ),
        "transcript-zeros": ("transcript", lambda data: bytes(len(data))),
        "transcript-a-line-is-missing": (
            "transcript",
            lambda data: b"".join(line for n, line in enumerate(data.splitlines(True)) if n != 7),
        ),
        "transcript-a-line-twice": (
            "transcript",
            lambda data: b"".join(
                line * (1 + (n == 7)) for n, line in enumerate(data.splitlines(True))
            ),
        ),
        "transcript-begins-late": ("transcript", lambda data: data[data.index(b"\n") + 1 :]),
        "transcript-emptied": ("transcript", lambda data: b""),
        "members-noise": ("members", lambda data: noise),
        "members-zeros": ("members", lambda data: bytes(len(data))),
        "members-cut": ("members", lambda data: data[:-30]),
        "members-emptied": ("members", lambda data: b""),
        "members-without-first-line": ("members", lambda data: data[data.index(b"\n") + 1 :]),
        "members-a-field-is-missing": ("members", lambda data: data.replace(b":member:", b":", 1)),
        "members-a-name-twice": ("members", lambda data: data + data.splitlines(True)[1]),
        "members-ahead-of-the-transcript": (
            "members",
            lambda data: data.replace(b" seq ", b" seq 9", 1),
        ),
    }


@pytest.mark.long
def test_a_damaged_file_is_named_and_not_overwritten(used, design):
    for kind, (name, spoil) in damages().items():
        path = used.directory / name
        good = path.read_bytes()
        path.write_bytes(spoil(good))
        before = {file.name: file.read_bytes() for file in used.directory.iterdir()}
        status, out, err = start_refused(design, directory=used.directory)
        assert (status, out) == (1, ""), f"{kind}: status {status}, {out!r} {err!r}"
        assert err.count("\n") == 1 and "Traceback" not in err, f"{kind}: {err}"
        assert name in err, f"{kind}: the line does not name the file: {err}"
        assert {file.name: file.read_bytes() for file in used.directory.iterdir()} == before, (
            f"{kind}: something was overwritten"
        )
        path.write_bytes(good)
    used.restart()


def test_noise_in_the_lock_file_harms_nothing(used, enter):
    (used.directory / "lock").write_bytes(os.urandom(100))
    used.restart()
    enter(used, "ana")


@pytest.mark.long
def test_a_torn_tail_is_cut_at_start(used, enter):
    path = used.directory / "transcript"
    whole = path.read_bytes()
    newest = whole.count(b"\n")
    torn = f"MSG {newest + 1} 2026-11-22T13:21:28.123Z ana añ😀".encode()
    for cut in (1, 5, 9, 30, len(torn) - 2, len(torn)):  # also within a character
        path.write_bytes(whole + torn[:cut])
        used.restart()
        with WireClient(used.address) as ana:
            assert ana.join("ana", "secret-of-ana") == newest, f"torn behind byte {cut}"
        wait_until(lambda: "* ana went" in used.stdout)
        used.close()
        assert path.read_bytes()[: len(whole)] == whole
        assert re.fullmatch(rb"IN \d+ \S+ ana\nOUT \d+ \S+ ana\n", path.read_bytes()[len(whole) :])


def test_an_unwritable_directory(design, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "link").symlink_to("nowhere")
    for directory in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "link"):
        status, out, err = start_refused(design, directory=directory)
        assert (status, out) == (1, "") and err.count("\n") == 1 and "Traceback" not in err
        assert str(directory) in err and "exists" not in err


def test_a_copy_put_back_after_a_delete_that_was_cut_stays(used, connect):
    copy = (used.directory / "transcript").read_bytes()
    (used.directory / "transcript").rename(used.directory / "deleted")  # and then a kill
    (used.directory / "transcript").write_bytes(copy)
    used.restart()
    client = connect(used)
    client.join("ana", "secret-of-ana")
    assert history(client)[: copy.count(b"\n")] == copy.decode().splitlines()
    assert not (used.directory / "deleted").exists()


KILLED_AT = """
import os, runpy, signal, sys
design, call, name = sys.argv[1:4]
real = getattr(os, call)
def cut(*paths, **options):
    if paths[-1] == name:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*paths, **options)
setattr(os, call, cut)
sys.argv[:4] = [design]
runpy.run_module("implementations." + design, run_name="__main__")
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "call, name", [("replace", "deleted"), ("unlink", "members"), ("unlink", "deleted")]
)
def test_a_delete_that_a_kill_cut_is_finished_or_did_not_happen(
    server, enter, connect, design, call, name
):
    running = server(*OPEN, group="os lab")
    ana = enter(running, "ana")
    ana.send("SAY before")
    ana.fence()
    connect.hang_up()
    running.restart(
        command=[sys.executable, "-c", KILLED_AT, design, call, name]
    )  # kill -9 before this step of the deletion
    running.order("delete")
    running.type("os lab")
    running.process.wait(deadlines.DEADLINE)
    assert running.process.returncode == -signal.SIGKILL, (
        "the deletion has no such step: this test looks at nothing"
    )
    running.kill()
    running.restart(command=design, group="new")
    client = connect(running)
    if client.greeted() == "os lab":
        assert call == "replace", "the transcript was put away, and the group is there"
        client.join("ana", "secret-of-ana")
        assert "MSG ana before" in normalized(history(client))
    else:
        assert client.group == "new" and running.order("members") == ["ok"]
        assert {path.name for path in running.directory.iterdir()} == {
            "transcript",
            "members",
            "lock",
        }, "something of the old group stays"
        assert len((running.directory / "transcript").read_text().splitlines()) == 1


# -- The owner's terminal --------------------------------------------------------------------------


def test_an_owner_who_does_not_read_delays_nobody(server, enter):
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    running.pause_reading()
    for n in range(50):
        ana.send(*[f"SAY {n}-{k} " + "x" * 390 for k in range(20)])  # 400 KB in all
        ana.fence(), ben.fence()
    running.go_on_reading()
    running.expect(r"# \d+ lines not shown")
    assert running.order("members")[-1] == "ok"
    shown = sum(line.startswith("<ana> ") for line in running.stdout)
    hidden = sum(
        int(match[1])
        for line in running.stdout
        if (match := re.fullmatch(r"# (\d+) lines not shown", line))
    )
    assert shown + hidden == 1000 and shown < 700, (shown, hidden)
    assert all(
        re.fullmatch(r"<ana> \d+-\d+ x{390}", line)
        for line in running.stdout
        if line.startswith("<")
    ), "a line is torn"


def test_an_owner_who_stopped_his_terminal_delays_nobody(design, tmp_path):
    with in_a_terminal(design, tmp_path / "grupo", *OPEN) as terminal:
        ana = WireClient(terminal.address)
        ana.join("ana", "secret")
        for n in range(50):
            ana.send(*[f"SAY {n}-{k} " + "x" * 380 for k in range(8)])
            ana.fence()
        terminal.expect(r"# \d+ lines not shown\r\n")  # the owner reads again
        terminal.sendline("close")
        terminal.expect("ok\r\n")
        assert ana.rest()[-1] == "BYE closed"
        terminal.read()
        terminal.close()
        assert terminal.exitstatus == 0
        ana.close()


def chat_is_alive(address):
    with WireClient(address) as client:
        client.join("ana", "secret")
        client.send("SAY alive")
        assert normalized(client.fence())[-1] == "MSG ana alive"


def test_stdin_is_a_pipe(server):
    running = server(*OPEN)
    chat_is_alive(running.address)
    assert running.order("ban eve") == ["ok"]


def test_stdin_is_a_file_of_orders(server, tmp_path):
    (tmp_path / "orders").write_text(
        "ban eve\nmembers\nrename from a file"
    )  # the last line has no end
    with open(tmp_path / "orders") as orders:
        running = server(*OPEN, stdin=orders)
    wait_until(
        lambda: (
            running.stdout[1:4] == ["# eve is banned", "ok", "member eve banned"]
            or "member eve banned" in running.stdout
        )
    )
    chat_is_alive(running.address)
    assert cpu_over(running, 0.5) < 0.4


def test_stdin_is_dev_null(server):
    running = server(*OPEN, stdin=subprocess.DEVNULL)
    chat_is_alive(running.address)
    assert cpu_over(running, 0.5) < 0.4


def test_stdin_is_closed(server):
    running = server(*OPEN, stdin=CLOSED)
    chat_is_alive(running.address)
    assert cpu_over(running, 0.5) < 0.4


def test_stdin_is_a_terminal(design, tmp_path):
    with in_a_terminal(design, tmp_path / "grupo", *OPEN) as terminal:
        chat_is_alive(terminal.address)
        terminal.sendline("members")
        terminal.expect("member ana (here|away)\r\nok\r\n")
        terminal.sendeof()  # the end of input is no order
        chat_is_alive(terminal.address)
        terminal.sendintr()
        terminal.read()
        terminal.close()
        assert terminal.exitstatus == 0


def is_stopped(process):
    with contextlib.suppress(psutil.NoSuchProcess):  # a child that ended meanwhile
        return process.status() == psutil.STATUS_STOPPED


def test_a_background_job_is_not_stopped_for_its_terminal(design, tmp_path):
    with in_a_terminal(design, tmp_path / "grupo", *OPEN, shell="stty tostop; {} &") as terminal:
        chat_is_alive(terminal.address)
        terminal.sendline("echo typed-at-the-shell")
        terminal.expect("typed-at-the-shell\r\n")
        chat_is_alive(terminal.address)
        servers = [process for process in session_of(terminal.pid) if process.pid != terminal.pid]
        assert servers and not any(map(is_stopped, servers))
        terminal.sendline("fg")
        wait_until(
            lambda: os.tcgetpgrp(terminal.child_fd) not in (terminal.pid, 0),
            what="the server in the foreground",
        )
        terminal.sendline("members")  # brought to the foreground, it reads its orders
        terminal.expect("member ana (here|away)\r\nok\r\n")
        terminal.sendline("close")
        terminal.expect("ok\r\n")
        wait_until(
            lambda: os.tcgetpgrp(terminal.child_fd) == terminal.pid,
            what="the shell in the foreground",
        )
        terminal.sendline("echo status=$?")
        terminal.expect("status=0\r\n")


GIVEN_BACK = """
import os, signal
from implementations.common.console import Stdin
shell = os.fork()
if shell == 0:
    signal.pause()
os.setpgid(shell, shell)
keyboard, read = Stdin(), os.read
os.tcsetpgrp(0, shell)
def read_and_be_given_the_terminal(*arguments):
    try:
        return read(*arguments)
    finally:
        os.tcsetpgrp(0, os.getpgrp())
os.read = read_and_be_given_the_terminal
for _ in range(2):
    try:
        print(keyboard.recv(100), flush=True)
    except BlockingIOError:
        print("later", flush=True)
os.kill(shell, signal.SIGKILL)
"""


def test_who_is_given_the_terminal_in_the_moment_of_a_refusal_reads_on():
    with TerminalClient("owner", [sys.executable, "-c", GIVEN_BACK]) as terminal:
        terminal.sees("later")
        terminal.types("members")
        terminal.sees(re.escape("b'members\\n'"))
        terminal.ends(0)
