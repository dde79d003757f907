"""The figures of a quick look: how many lines a second each server delivers, and what the others notice of one client's doings.

The load comes from one Python process on the same machine, so it takes its share of the cores. A run counts only if every
member got every line, and all got the same bytes in the same order.
"""
import asyncio
import multiprocessing
import os
import platform
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

from harness.driving.client import WireClient
from harness.driving.server import DESIGNS, Server

MEMBERS, LINE = 100, 80         # bytes of a MSG line, about
SECONDS, RUNS = 2.0, 5
PROBES = 10                     # members in the tests of patience
PATIENCE = 5.0                  # seconds of each of them
STORM = 6                       # strangers who guess passwords
EVENTS = 1_000_000
IDLE, IDLE_SECONDS = 1000, 60.0


class Talker:
    """A member who counts and checks what he hears, and says the next line when he hears his last."""

    def __init__(self, sock, name, line):
        self.sock, self.line, self.mine = sock, line, f" {name} ".encode()
        self.lines = self.check = 0
        self.tail = b""
        self.said_at = None
        self.latencies = []

    def say(self):
        self.said_at = time.perf_counter()
        self.sock.send(self.line)

    def hear(self):
        """Reads once; whether that held the echo of his own line."""
        data = self.sock.recv(1 << 18)
        if not data:
            sys.exit("bench-quick: a member was put out")
        self.lines += data.count(b"\n")
        self.check = zlib.crc32(data, self.check)
        if self.said_at is None or self.mine not in self.tail + data:
            self.tail = data[-2 * LINE:]
            return False
        self.latencies.append(time.perf_counter() - self.said_at)
        self.said_at, self.tail = None, b""
        return True


def talk(talkers, speaking, seconds):
    """A closed loop: the first `speaking` of them talk for so long. Returns (lines delivered a second, latencies in seconds)."""
    selector = selectors.DefaultSelector()
    for talker in talkers:
        talker.lines = talker.check = 0
        talker.latencies = []
        selector.register(talker.sock, selectors.EVENT_READ, talker)
    start = time.perf_counter()
    for talker in talkers[:speaking]:
        talker.say()
    said = speaking
    while (now := time.perf_counter()) < start + seconds + 10:
        for key, _ in selector.select(1):
            if key.data.hear() and now < start + seconds:
                key.data.say()
                said += 1
        if now >= start + seconds and all(talker.lines == said for talker in talkers):
            break
    took = time.perf_counter() - start
    selector.close()
    if {(talker.lines, talker.check) for talker in talkers} != {(said, talkers[0].check)}:
        sys.exit("bench-quick: lines were lost, or not all heard the same in the same order")
    return said * len(talkers) / took, [latency for talker in talkers for latency in talker.latencies]


def members(server, count):
    """That many members who are here, on sockets that have nothing unread."""
    clients = []
    for number in range(count):
        clients.append(WireClient(server.address))
        clients[-1].send(f"JOIN m{number:04} secret-{number}")
        if number % 100 == 99 or number == count - 1:           # a hundred hashes at a time
            for client in clients[number // 100 * 100:]:
                client.expect(r"WELCOME .*")
    for client in clients:
        client.fence()                                          # he has heard of everyone's coming
    server.pause_reading()          # else a thread of this process reads the console, at the generator's expense
    text = "x" * (LINE - len("MSG 1234567 2026-11-22T13:21:28.123Z m0000 \n"))
    return [Talker(client.socket, f"m{number:04}", f"SAY {text}\n".encode()) for number, client in enumerate(clients)], clients


def throughput(folder):
    """Lines a second, with 10 and 100 of the 100 members talking, for each server and for a bare asyncio server."""
    rates = {}
    with PlainServer() as plain:
        talkers = plain.members(MEMBERS)
        for speaking in (10, MEMBERS):
            rates["asyncio, bare", speaking] = [talk(talkers, speaking, SECONDS)[0] for _ in range(RUNS)]
    for design in DESIGNS:
        with Server(design, directory=folder / design, args=["--admit", "all"]) as server:
            talkers, clients = members(server, MEMBERS)
            for speaking in (10, MEMBERS):
                rates[design, speaking] = [talk(talkers, speaking, SECONDS)[0] for _ in range(RUNS)]
            close(clients)
    print(f"\nLines delivered a second: {MEMBERS} members, {LINE}-byte lines, each talker waits for his echo; "
          f"median of {RUNS} runs of {SECONDS:g} s (least, most)")
    for (name, speaking), values in rates.items():
        print(f"  {name:14} {speaking:4} talk  {statistics.median(values):10,.0f}  ({min(values):,.0f}, {max(values):,.0f})")


class PlainServer:
    """For comparison: asyncio streams, one write for each delivery, no members, no files."""

    def __enter__(self):
        ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=plain_server, args=(theirs,), daemon=True)
        self.process.start()
        self.port = ours.recv()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.join()

    def members(self, count):
        text = "x" * (LINE - len("m0000 \n"))
        talkers = []
        for number in range(count):
            sock = socket.create_connection(("127.0.0.1", self.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.recv(1)                # it knows us: from now on we hear everything
            talkers.append(Talker(sock, f"m{number:04}", f" m{number:04} {text}\n".encode()))
        return talkers


def plain_server(pipe):
    async def serve():
        writers = set()

        async def client(reader, writer):
            writers.add(writer)
            writer.write(b"!")
            while line := await reader.readline():
                for each in writers:
                    each.write(line)
        server = await asyncio.start_server(client, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()
    asyncio.run(serve())


# -- What the others notice ------------------------------------------------------------------------------------------------------


def stopped_reader(server, stop):
    """A member who never reads, while the others talk."""
    with WireClient(server.address, rcvbuf=4096) as client:
        client.join("stopped", "secret")
        stop.wait()


def password_storm(server, stop):
    """Strangers who guess a member's password without pause."""
    def guess(number):
        while not stop.is_set():
            with WireClient(server.address) as client:
                for _ in range(3):
                    client.send(f"JOIN m0000 guess-{number}")
                    client.expect("REJECTED refused")
    threads = [threading.Thread(target=guess, args=(number,)) for number in range(STORM)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def long_history(server, stop):
    """A member who reads a million events again and again."""
    with WireClient(server.address) as client:
        client.join("reader", "secret")
        while not stop.is_set():
            client.send("HISTORY 0")
            tail = b""
            while b"END HISTORY" not in tail and not stop.is_set():
                tail = tail[-64:] + client.socket.recv(1 << 20)


def patience(folder, title, deed, args=(), events=0):
    """p50 and p99 of a member's own echo while somebody else does `deed` in another process."""
    print(f"\n{title}: {PROBES} members, {PROBES} talk, {PATIENCE:g} s; milliseconds from a line to its own echo")
    for design in DESIGNS:
        directory = folder / f"{design}-{deed.__name__}"
        if events:
            write_transcript(directory, events)
        with Server(design, directory=directory, args=["--admit", "all", *args], deadline=120) as server:
            talkers, clients = members(server, PROBES)
            _, calm = talk(talkers, PROBES, PATIENCE / 2)
            stop = multiprocessing.get_context("fork").Event()
            other = multiprocessing.get_context("fork").Process(target=deed, args=(server, stop))
            other.start()
            _, busy = talk_past_events(talkers)
            stop.set()
            other.join(10)
            if other.exitcode is None:
                other.kill()
                other.join()
            print(f"  {design:14} calm p50 {at(calm, 50):6.2f} p99 {at(calm, 99):6.2f}   meanwhile p50 {at(busy, 50):6.2f} "
                  f"p99 {at(busy, 99):6.2f}   most {max(busy) * 1000:8.2f}   ({len(busy)} samples)")
            close(clients)


def talk_past_events(talkers):
    """Like talk(), but others come and go, so that lines are not counted."""
    selector = selectors.DefaultSelector()
    for talker in talkers:
        talker.latencies = []
        selector.register(talker.sock, selectors.EVENT_READ, talker)
        talker.say()
    start = time.perf_counter()
    while any(talker.said_at for talker in talkers):
        for key, _ in selector.select(1):
            if key.data.hear() and time.perf_counter() < start + PATIENCE:
                key.data.say()
    selector.close()
    return None, [latency for talker in talkers for latency in talker.latencies]


def write_transcript(directory, events):
    directory.mkdir(mode=0o700)
    with open(directory / "transcript", "w") as file:
        stamp = "2026-11-22T13:21:28.123Z"
        file.write(f"GROUP 1 {stamp} grupo\n")
        file.writelines(f"MSG {seq} {stamp} somebody {'x' * (LINE - 45)}\n" for seq in range(2, events + 1))
    (directory / "members").write_text("# grupo 1 seq 1\n")


def at(latencies, percent):
    return sorted(latencies)[min(len(latencies) - 1, len(latencies) * percent // 100)] * 1000


def idle(folder):
    print(f"\n{IDLE} idle members who answer PINGs: CPU of all the server's processes over {IDLE_SECONDS:g} s")
    for design in DESIGNS:
        with Server(design, directory=folder / f"{design}-idle",
                    args=["--admit", "all"]) as server:
            talkers, clients = members(server, IDLE)
            selector = selectors.DefaultSelector()
            for client in clients:
                selector.register(client.socket, selectors.EVENT_READ, client.socket)
            before, start = server.cpu(), time.perf_counter()
            while (now := time.perf_counter()) < start + IDLE_SECONDS:
                for key, _ in selector.select(1):
                    if b"PING" in key.data.recv(4096):
                        key.data.send(b"PONG x\n")
            print(f"  {design:14} {(server.cpu() - before) / (now - start):7.2%} of a core")
            close(clients)


def close(clients):
    for client in clients:
        client.close()


def arguments(_):
    """`harness bench-quick` takes none."""


def main(_):
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}")
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        throughput(folder)
        patience(folder, "A member who stops reading", stopped_reader)
        patience(folder, "A password storm", password_storm)
        patience(folder, f"HISTORY of {EVENTS:,} events", long_history, events=EVENTS)
        idle(folder)
