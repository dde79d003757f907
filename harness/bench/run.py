"""The processes of the bench: a server on one core, the load generator on another.

Both end with their `with` block, whatever happens in it.
"""

import contextlib
import importlib.util
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from argon2 import PasswordHasher

from harness.driving import processes
from harness.driving.compiled import compiled
from harness.driving.processes import session as session_of
from harness.driving.server import DESIGNS, ROOT

HERE = Path(__file__).parent
LIMIT = 120.0  # seconds that one order to the generator may take
START = 60.0  # seconds until a server listens: it may have a million events to read
STAMP = "2026-11-22T13:21:28.123Z"
NGIRCD = """[Global]
Name = irc.bench
Info = bench
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = bench
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxPenaltyTime = 0
PingTimeout = 600
[Options]
DNS = no
Ident = no
PAM = no
"""


class Failed(Exception):
    """A server could not be measured; the text says why."""


# -- Cores ----------------------------------------------------------------------------------------


def cores() -> tuple[int, int]:
    """Return the server's core and the generator's; the same one twice if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def pinned(core: int) -> Callable[[], None]:
    """Return a function that pins the process that calls it to this core."""
    return lambda: os.sched_setaffinity(0, {core})


# -- The servers that are measured ----------------------------------------------------------------

Command = Callable[[Path, int], list[str]]  # of a folder and the number of members


def write_group(folder: Path, members: int, messages: int = 0) -> None:
    """Write the files of a group with so many members and messages into a new folder.

    All members share one hash of the password `bench`. Its cost is low, and a server reads the cost
    from the hash, so joining is quick.
    """
    phc = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("bench")
    folder.mkdir(mode=0o700)
    with open(folder / "transcript", "w", opener=private) as file:
        file.write(f"GROUP 1 {STAMP} bench\n")
        file.writelines(f"MSG {seq} {STAMP} m00000 {'x' * 60}\n" for seq in range(2, messages + 2))
    with open(folder / "members", "w", opener=private) as file:
        file.write(f"# grupo 1 seq {messages + 1}\n")
        file.writelines(f"m{number:05}:member:{phc}\n" for number in range(members))


def private(path: str, flags: int) -> int:
    """Open a file for its owner alone; an opener for open()."""
    return os.open(path, flags, 0o600)


def of_ours(design: str) -> Command:
    """Return the command line of one of our servers, with room for the members."""

    def command(folder: Path, members: int) -> list[str]:
        line = [sys.executable, "-m", f"implementations.{design}", "--port", "0"]
        line += ["--dir", str(folder / "group")]
        if members > 1000:
            line += ["--max-here", str(members), "--hashes", "64", "--join-within", "120"]
        return line

    return command


def of_python(*module: str) -> Command:
    """Return the command line of a Python module with its arguments."""
    return lambda folder, members: [sys.executable, "-m", *module]


def of_c(way: str) -> Command:
    """Return the command line of peers/epoll.c, which gathers or sends each event by itself."""
    return lambda folder, members: [str(compiled(HERE / "peers" / "epoll.c")), way]


def ngircd(folder: Path, members: int) -> list[str]:
    """Write a configuration for ngircd, and return its command line."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    folder.chmod(0o755)  # ngircd gives up the rights of root, and must still read its files
    (folder / "ngircd.conf").write_text(NGIRCD.format(port=port))
    return [find_ngircd(), "-n", "-f", str(folder / "ngircd.conf")]


def find_ngircd() -> str | None:
    """Return the path of ngircd, or None."""
    return shutil.which("ngircd") or shutil.which("ngircd", path="/usr/sbin:/usr/local/sbin")


PEERS = "harness.bench.peers."
# By name: what the server is, and its command line.
SERVERS: dict[str, tuple[str, Command]] = {
    "c-gather": ("C, epoll, a turn's output gathered: the limit", of_c("gather")),
    **{design: (f"Grupo, {design}", of_ours(design)) for design in DESIGNS},
    "c-each": ("C, epoll, one send per delivery", of_c("each")),
    "ngircd": ("ngircd (C), flood control off", ngircd),
    "uvloop-gather": ("uvloop Protocol, gathered", of_python(PEERS + "gathered")),
    "uvloop": ("asyncio streams on uvloop", of_python(PEERS + "streams", "--uvloop")),
    "asyncio": ("asyncio streams, write per message", of_python(PEERS + "streams")),
    "threads": ("socketserver threads under a lock", of_python(PEERS + "threads")),
}
LIMIT_SERVER = "c-gather"


def missing(name: str) -> str:
    """Return why this server cannot be measured here, or ""."""
    if name == "ngircd" and not find_ngircd():
        return "not installed (apt install ngircd)"
    if name.startswith("uvloop") and not importlib.util.find_spec("uvloop"):
        return "not installed (make install-bench)"
    return ""


class Running:
    """A server that runs on a core of its own. Use it with `with`.

    `port` is where it listens, `dialect` the protocol of the load (`grupo` or `irc`), and
    `started_in` the seconds until it listened.
    """

    def __init__(self, name: str, folder: Path, members: int, messages: int = 0, pin: bool = True):
        """Start the server `name` in a new folder, for so many members and messages.

        `pin=False` lets it use all cores. Raises Failed if it does not listen.
        """
        folder.mkdir()
        if name in DESIGNS:
            write_group(folder / "group", members, messages)
        self.dialect = "irc" if name == "ngircd" else "grupo"
        command = SERVERS[name][1](folder, members)
        # The server writes all its console lines, as by default. They go to a file, so that no
        # program needs CPU to read them.
        self.out = folder / "out"
        with open(self.out, "wb") as out, open(folder / "err", "wb") as err:
            started = time.perf_counter()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=ROOT,
                start_new_session=True,
                preexec_fn=pinned(cores()[0]) if pin else None,
            )
        try:
            while not (port := self.port_of(command)):
                if self.process.poll() is not None or time.perf_counter() > started + START:
                    wrote = (folder / "err").read_text(errors="replace")[-500:]
                    raise Failed(f"{name} does not listen: {wrote}")
                time.sleep(0.002)
        except BaseException:
            self.end()
            raise
        self.port, self.started_in = port, time.perf_counter() - started

    def port_of(self, command: list[str]) -> int | None:
        """Return the port on which it listens, or None if it does not listen yet."""
        if self.dialect == "grupo":
            match = re.match(rb"listening on \S+:(\d+)\n", self.out.read_bytes())
            return int(match[1]) if match else None
        port = int(re.search(r"Ports = (\d+)", Path(command[-1]).read_text())[1])
        with socket.socket() as probe:
            return port if probe.connect_ex(("127.0.0.1", port)) == 0 else None

    def family(self) -> list[psutil.Process]:
        """Return its process and all its descendants."""
        return processes.family(self.process.pid)

    def cpu(self) -> float:
        """Return the CPU seconds of all its living processes so far."""
        used = 0.0
        for process in self.family():
            times = process.cpu_times()
            used += times.user + times.system
        return used

    def memory(self) -> int:
        """Return the bytes of all its processes, each shared page divided among them (PSS)."""
        return processes.memory(self.family())

    def end(self) -> None:
        """Stop the server, and kill what is left of it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        # A process may fork while it is killed, so look again until none is left.
        while left := session_of(self.process.pid):
            for process in left:
                process.kill()
            self.process.poll()
        self.process.wait()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Load:
    """The load generator (load.c) on a core of its own, for one port. Use it with `with`."""

    def __init__(self, port: int, dialect: str):
        self.process = subprocess.Popen(
            [str(compiled(HERE / "load.c")), str(port), dialect],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=pinned(cores()[1]),
        )

    def order(self, text: str, limit: float = LIMIT) -> dict[str, Any]:
        """Give the generator an order, and return its result; load.c lists the orders.

        Raises Failed if the result is an error or takes more than `limit` seconds. The generator
        can then do no more.
        """
        # If the generator has ended, its error is on its stdout and is read next.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], limit)[0]:
            raise Failed(f"`{text}` took more than {limit:g} s")
        answer = self.process.stdout.readline()
        if not answer:
            raise Failed(f"the load generator ended at `{text}` with status {self.process.wait()}")
        result = json.loads(answer)
        if "error" in result:
            raise Failed(result["error"])
        return result

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
