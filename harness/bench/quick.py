"""A quick benchmark: lines delivered a second, and what the others notice of one difficult client.

The load comes from one Python process on the same machine, so it takes its share of the cores. A
run counts only if every member got every line, and all got the same bytes in the same order.
"""

import argparse
import asyncio
import multiprocessing
import os
import platform
import select
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

from harness.driving.client import WireClient
from harness.driving.server import DESIGNS, Server

MEMBERS, LINE = 100, 80  # bytes of a MSG line, about
SECONDS, RUNS = 2.0, 5
PROBES = 10  # members in the tests of patience
PATIENCE = 5.0  # seconds of each of these tests
STORM = 6  # clients that guess passwords, or connect, without a pause
SLOW, SIP = 60_000, 2_000  # bytes a second that a slow reader reads, and at once
BUDGET_SPENT = 5.0  # seconds after which the others have waited enough for a slow reader
EVENTS = 1_000_000
IDLE, IDLE_SECONDS = 1000, 60.0


class Talker:
    """A member that counts and checks the lines that it hears.

    `lines` is their number and `check` a checksum of their bytes. `latencies` holds the seconds
    from each of its own messages to its echo.
    """

    def __init__(self, sock: socket.socket, name: str, line: bytes):
        self.sock, self.line, self.own_mark = sock, line, f" {name} ".encode()
        self.lines = self.check = 0
        self.tail = b""
        self.sent_at: float | None = None
        self.latencies: list[float] = []

    def say(self) -> None:
        """Send one message."""
        self.sent_at = time.perf_counter()
        self.sock.send(self.line)

    def hear(self) -> bool:
        """Read once; return whether the echo of its own message was in it."""
        data = self.sock.recv(1 << 18)
        if not data:
            sys.exit("bench-quick: the server disconnected a member")
        self.lines += data.count(b"\n")
        self.check = zlib.crc32(data, self.check)
        if self.sent_at is None or self.own_mark not in self.tail + data:
            self.tail = data[-2 * LINE :]
            return False
        self.latencies.append(time.perf_counter() - self.sent_at)
        self.sent_at, self.tail = None, b""
        return True


def talk(talkers: Sequence[Talker], speaking: int, seconds: float) -> tuple[float, list[float]]:
    """Let the first `speaking` members talk for so long, each after its own echo.

    Returns the lines delivered a second, and all latencies in seconds. Ends the program if a line
    is lost, or if two members heard different bytes.
    """
    selector = selectors.DefaultSelector()
    for talker in talkers:
        talker.lines = talker.check = 0
        talker.latencies = []
        selector.register(talker.sock, selectors.EVENT_READ, talker)
    start = time.perf_counter()
    for talker in talkers[:speaking]:
        talker.say()
    sent = speaking
    while (now := time.perf_counter()) < start + seconds + 10:
        for key, _ in selector.select(1):
            if key.data.hear() and now < start + seconds:
                key.data.say()
                sent += 1
        if now >= start + seconds and all(talker.lines == sent for talker in talkers):
            break
    took = time.perf_counter() - start
    selector.close()
    if {(talker.lines, talker.check) for talker in talkers} != {(sent, talkers[0].check)}:
        sys.exit("bench-quick: lines were lost, or two members heard different lines")
    return sent * len(talkers) / took, [
        latency for talker in talkers for latency in talker.latencies
    ]


def members(server: Server, count: int) -> tuple[list[Talker], list[WireClient]]:
    """Join so many members, and return them once they have heard all events so far."""
    clients = []
    for number in range(count):
        clients.append(WireClient(server.address))
        clients[-1].send(f"JOIN m{number:04} secret-{number}")
        if number % 100 == 99 or number == count - 1:  # a hundred hashes at a time
            for client in clients[number // 100 * 100 :]:
                client.expect(r"WELCOME .*")
            for client in clients:  # a member that is silent for too long is disconnected
                client.fence()
    server.pause_reading()  # else a thread of this process reads the console, and slows the load
    text = "x" * (LINE - len("MSG 1234567 2026-11-22T13:21:28.123Z m0000 \n"))
    talkers = [
        Talker(client.socket, f"m{number:04}", f"SAY {text}\n".encode())
        for number, client in enumerate(clients)
    ]
    return talkers, clients


def throughput(folder: Path) -> None:
    """Print the lines a second of each server and of a bare asyncio server.

    10 of the 100 members talk, and then all of them.
    """
    rates = {}
    with PlainServer() as plain:
        talkers = plain.members(MEMBERS)
        for speaking in (10, MEMBERS):
            runs = [talk(talkers, speaking, SECONDS)[0] for _ in range(RUNS)]
            rates["asyncio, bare", speaking] = runs
    for design in DESIGNS:
        with Server(design, directory=folder / design, args=["--admit", "all"]) as server:
            talkers, clients = members(server, MEMBERS)
            for speaking in (10, MEMBERS):
                runs = [talk(talkers, speaking, SECONDS)[0] for _ in range(RUNS)]
                rates[design, speaking] = runs
            close(clients)
    print(
        f"\nLines delivered a second: {MEMBERS} members, {LINE}-byte lines, each talker waits "
        f"for its own echo; median of {RUNS} runs of {SECONDS:g} s (least, most)"
    )
    for (name, speaking), runs in rates.items():
        median, spread = statistics.median(runs), f"({min(runs):,.0f}, {max(runs):,.0f})"
        print(f"  {name:14} {speaking:4} talk  {median:10,.0f}  {spread}")


class PlainServer:
    """A server to compare with: asyncio streams, a write for each delivery, no members or files.

    Use it with `with`; it runs in a process of its own.
    """

    def __enter__(self) -> "PlainServer":
        ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(
            target=plain_server, args=(theirs,), daemon=True
        )
        self.process.start()
        self.port = ours.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.join()

    def members(self, count: int) -> list[Talker]:
        """Connect so many clients; each hears every line from then on."""
        text = "x" * (LINE - len("m0000 \n"))
        talkers = []
        for number in range(count):
            sock = socket.create_connection(("127.0.0.1", self.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.recv(1)  # the server sends one byte once it has added the client
            talkers.append(Talker(sock, f"m{number:04}", f" m{number:04} {text}\n".encode()))
        return talkers


def plain_server(pipe: Connection) -> None:
    """Serve as PlainServer, and send the port through the pipe."""

    async def serve() -> None:
        writers = set()

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            writer.write(b"!")
            while line := await reader.readline():
                for each in writers:
                    each.write(line)

        server = await asyncio.start_server(client, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


# -- What the others notice -----------------------------------------------------------------------


def stopped_reader(server: Server, stop: Event) -> None:
    """Play a member that never reads, while the others talk."""
    with WireClient(server.address, rcvbuf=4096) as client:
        client.join("stopped", "secret")
        stop.wait()


def password_storm(server: Server, stop: Event) -> None:
    """Play clients that guess a member's password without a pause."""

    def guess(number: int) -> None:
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


def flood_and_slow_reader(server: Server, stop: Event) -> None:
    """Play two members of one person: one floods, the other reads slowly, and joins again."""

    def read_slowly() -> None:
        while not stop.is_set():
            with WireClient(server.address, rcvbuf=4096) as client:
                client.join("slow", "secret")
                while not stop.wait(SIP / SLOW) and client.socket.recv(SIP):
                    pass

    thread = threading.Thread(target=read_slowly)
    thread.start()
    with WireClient(server.address) as client:
        client.join("flooder", "secret")
        flood(client.socket, stop)
    thread.join()


def flood(sock: socket.socket, stop: Event) -> None:
    """Send messages as fast as the server reads them, and read whatever comes."""
    data, sent = f"SAY {'x' * LINE}\n".encode() * 512, 0
    sock.setblocking(False)
    while not stop.is_set():
        readable, writable, _ = select.select([sock], [sock], [], 0.1)
        if readable and not sock.recv(1 << 20):
            return  # the server disconnected it
        if writable:
            sent = (sent + sock.send(data[sent:])) % len(data)


def connection_storm(server: Server, stop: Event) -> None:
    """Play strangers that connect and close without a word, without a pause."""

    def knock() -> None:
        while not stop.is_set():
            socket.create_connection(server.address).close()

    threads = [threading.Thread(target=knock) for _ in range(STORM)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def long_history(server: Server, stop: Event) -> None:
    """Play a member that reads a million events repeatedly."""
    with WireClient(server.address) as client:
        client.join("reader", "secret")
        while not stop.is_set():
            client.send("HISTORY 0")
            tail = b""
            while b"END HISTORY" not in tail and not stop.is_set():
                tail = tail[-64:] + client.socket.recv(1 << 20)


def patience(
    folder: Path,
    title: str,
    deed: Callable[[Server, Event], None],
    events: int = 0,
    after: float = 0.0,
) -> None:
    """Print p50 and p99 of the members' own echoes, before and while another process runs `deed`.

    `events`: the events in the transcript at the start. `after`: seconds of the deed after which
    the echoes count.
    """
    print(
        f"\n{title}: {PROBES} members, {PROBES} talk, {PATIENCE:g} s; "
        "milliseconds from a line to its own echo"
    )
    for design in DESIGNS:
        directory = folder / f"{design}-{deed.__name__}"
        if events:
            write_transcript(directory, events)
        args = ["--admit", "all"]
        with Server(design, directory=directory, args=args, deadline=120) as server:
            talkers, clients = members(server, PROBES)
            _, calm = talk(talkers, PROBES, PATIENCE / 2)
            stop = multiprocessing.get_context("fork").Event()
            other = multiprocessing.get_context("fork").Process(target=deed, args=(server, stop))
            other.start()
            if after:
                talk_past_events(talkers, after)
            busy = talk_past_events(talkers, PATIENCE)
            stop.set()
            other.join(10)
            if other.exitcode is None:
                other.kill()
                other.join()
            print(
                f"  {design:14} calm p50 {at(calm, 50):6.2f} p99 {at(calm, 99):6.2f}"
                f"   meanwhile p50 {at(busy, 50):6.2f} p99 {at(busy, 99):6.2f}"
                f"   most {max(busy) * 1000:8.2f}   ({len(busy)} samples)"
            )
            close(clients)


def talk_past_events(talkers: Sequence[Talker], seconds: float) -> list[float]:
    """Let all members talk for so many seconds; return the latencies in seconds.

    Other members come and go meanwhile, so the lines are not counted.
    """
    selector = selectors.DefaultSelector()
    for talker in talkers:
        talker.latencies = []
        selector.register(talker.sock, selectors.EVENT_READ, talker)
        talker.say()
    start = time.perf_counter()
    while any(talker.sent_at for talker in talkers):
        for key, _ in selector.select(1):
            if key.data.hear() and time.perf_counter() < start + seconds:
                key.data.say()
    selector.close()
    return [latency for talker in talkers for latency in talker.latencies]


def write_transcript(directory: Path, events: int) -> None:
    """Write the files of a group with so many events into a new folder."""
    directory.mkdir(mode=0o700)
    stamp = "2026-11-22T13:21:28.123Z"
    with open(directory / "transcript", "w") as file:
        file.write(f"GROUP 1 {stamp} grupo\n")
        file.writelines(
            f"MSG {seq} {stamp} somebody {'x' * (LINE - 45)}\n" for seq in range(2, events + 1)
        )
    (directory / "members").write_text("# grupo 1 seq 1\n")


def at(latencies: Sequence[float], percent: int) -> float:
    """Return this percentile of latencies in seconds, as milliseconds."""
    return sorted(latencies)[min(len(latencies) - 1, len(latencies) * percent // 100)] * 1000


def idle(folder: Path) -> None:
    """Print the CPU that each server uses while many members only answer PINGs."""
    print(
        f"\n{IDLE} idle members that answer PINGs: "
        f"CPU of all the server's processes over {IDLE_SECONDS:g} s"
    )
    for design in DESIGNS:
        with Server(design, directory=folder / f"{design}-idle", args=["--admit", "all"]) as server:
            _, clients = members(server, IDLE)
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


def close(clients: Iterable[WireClient]) -> None:
    """Close these connections."""
    for client in clients:
        client.close()


def arguments(_: argparse.ArgumentParser) -> None:
    """Add the arguments of `harness bench-quick`: there are none."""


def main(_: argparse.Namespace) -> None:
    """Run all quick benchmarks, and print their results."""
    system = f"{platform.machine()}, Linux {platform.release()}"
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {system}")
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        throughput(folder)
        patience(folder, "A member that stops reading", stopped_reader)
        patience(folder, "A password storm", password_storm)
        patience(
            folder,
            f"A flood and a slow reader, after {BUDGET_SPENT:g} s",
            flood_and_slow_reader,
            after=BUDGET_SPENT,
        )
        patience(folder, "A connection storm", connection_storm)
        patience(folder, f"HISTORY of {EVENTS:,} events", long_history, events=EVENTS)
        idle(folder)
