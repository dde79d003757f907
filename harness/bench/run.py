"""Processes of the bench: a server on one core, the load generator on another. Whatever happens, both are ended."""
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
from pathlib import Path

import psutil
from argon2 import PasswordHasher

from harness.driving.compiled import compiled
from harness.driving.server import DESIGNS, ROOT, session_of

HERE = Path(__file__).parent
LIMIT = 120.0                       # seconds that one order to the generator may take
START = 60.0                        # seconds until a server listens: it may have a million events to read
STAMP = "2026-11-22T13:21:28.123Z"


class Failed(Exception):
    """It could not be measured; the text says why."""


# -- Cores -----------------------------------------------------------------------------------------------------------------------


def cores():
    """(the server's core, the generator's); the same twice if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def pinned(core):
    return lambda: os.sched_setaffinity(0, {core})


# -- The servers that are measured -----------------------------------------------------------------------------------------------


def write_group(folder, members, messages=0):
    """A group of so many members, with one cheap hash (its cost is read from it, so joining is quick), and so many messages."""
    phc = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("bench")
    folder.mkdir(mode=0o700)
    with open(folder / "transcript", "w", opener=private) as file:
        file.write(f"GROUP 1 {STAMP} bench\n")
        file.writelines(f"MSG {seq} {STAMP} m00000 {'x' * 60}\n" for seq in range(2, messages + 2))
    with open(folder / "members", "w", opener=private) as file:
        file.write(f"# grupo 1 seq {messages + 1}\n")
        file.writelines(f"m{number:05}:member:{phc}\n" for number in range(members))


def private(path, flags):
    return os.open(path, flags, 0o600)


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


def of_ours(design):
    def command(folder, members):
        return [sys.executable, "-m", f"implementations.{design}", "--port", "0", "--dir", str(folder / "group"),
                *(["--max-here", str(members), "--hashes", "64", "--join-within", "120"] if members > 1000 else [])]
    return command


def of_python(*module):
    return lambda folder, members: [sys.executable, "-m", *module]


def of_c(way):
    return lambda folder, members: [str(compiled(HERE / "peers" / "epoll.c")), way]


def ngircd(folder, members):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    folder.chmod(0o755)                 # started by root it becomes nobody
    (folder / "ngircd.conf").write_text(NGIRCD.format(port=port))
    return [find_ngircd(), "-n", "-f", str(folder / "ngircd.conf")]


def find_ngircd():
    return shutil.which("ngircd") or shutil.which("ngircd", path="/usr/sbin:/usr/local/sbin")


PEERS = "harness.bench.peers."
# Each server's name: what it is, its command line in `folder` for so many members.
SERVERS = {
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


def missing(name):
    """Why this server cannot be measured here, or ''."""
    if name == "ngircd" and not find_ngircd():
        return "not installed (apt install ngircd)"
    if name.startswith("uvloop") and not importlib.util.find_spec("uvloop"):
        return "not installed (pip install uvloop)"
    return ""


class Running:
    """One server, pinned, with a folder of its own. Use it with `with`."""

    def __init__(self, name, folder, members, messages=0, pin=True):
        folder.mkdir()
        if name in DESIGNS:
            write_group(folder / "group", members, messages)
        self.dialect = "irc" if name == "ngircd" else "grupo"
        command = SERVERS[name][1](folder, members)
        self.out = folder / "out"       # a file: the owner is shown all, as by default, and nobody takes time to read it
        with open(self.out, "wb") as out, open(folder / "err", "wb") as err:
            started = time.perf_counter()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT,
                                            start_new_session=True, preexec_fn=pinned(cores()[0]) if pin else None)
        try:
            while not (port := self.port_of(command)):
                if self.process.poll() is not None or time.perf_counter() > started + START:
                    raise Failed(f"{name} does not listen: {(folder / 'err').read_text(errors='replace')[-500:]}")
                time.sleep(0.002)
        except BaseException:
            self.end()
            raise
        self.port, self.started_in = port, time.perf_counter() - started

    def port_of(self, command):
        """The port on which it listens, None if it does not yet."""
        if self.dialect == "grupo":
            found = re.match(rb"listening on \S+:(\d+)\n", self.out.read_bytes())
            return found and int(found[1])
        port = int(re.search(r"Ports = (\d+)", Path(command[-1]).read_text())[1])
        with socket.socket() as probe:
            return port if probe.connect_ex(("127.0.0.1", port)) == 0 else None

    def family(self):
        main = psutil.Process(self.process.pid)
        return [main, *main.children(recursive=True)]

    def cpu(self):
        """CPU seconds of all its processes so far."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self.family()))

    def memory(self):
        """Bytes of all its processes, each shared page divided among those who share it (PSS)."""
        return sum(1024 * int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{process.pid}/smaps_rollup").read_text(), re.M)[1])
                   for process in self.family())

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        while found := session_of(self.process.pid):        # killing races with forking: look again until nobody is left
            for process in found:
                process.kill()
            self.process.poll()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Load:
    """The load generator, talking to one port. Use it with `with`."""

    def __init__(self, port, dialect):
        self.process = subprocess.Popen([str(compiled(HERE / "load.c")), str(port), dialect], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, preexec_fn=pinned(cores()[1]))

    def order(self, text, limit=LIMIT):
        """What the generator found out. Raises Failed, and then it has ended."""
        try:
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass                        # it ended before: what it said of that is read next
        if not select.select([self.process.stdout], [], [], limit)[0]:
            raise Failed(f"`{text}` took more than {limit:g} s")
        answer = self.process.stdout.readline()
        if not answer:
            raise Failed(f"the load generator ended at `{text}` with status {self.process.wait()}")
        found = json.loads(answer)
        if "error" in found:
            raise Failed(found["error"])
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
