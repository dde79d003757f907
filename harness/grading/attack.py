"""Tries to leave its cell: the probe (probe.py) runs it in each tier before that tier is used.

`python attack.py FACTS`: FACTS is JSON that says where the judge's things are. The first line on
the standard output is JSON, too: the names of the tries that succeeded, and the port at which this
program then listens. A child that left its session listens there as well. Nothing is harmed that
is not the probe's own.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

FACTS = json.loads(sys.argv[1])
CLONE_NEWUSER = 0x10000000


def read_the_harness() -> object:
    """Read a file of the harness's."""
    return Path(FACTS["harness"]).read_bytes()


def read_another_s_file() -> object:
    """Read a file that is open to all, as a submission beside this one may be."""
    return Path(FACTS["file"]).read_bytes()


def read_the_passwords() -> object:
    """Read the machine's passwords."""
    return Path("/etc/shadow").read_bytes()


def read_an_environment() -> object:
    """Read the environment of the judge, or of what started it."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if FACTS["secret"].encode() in Path(f"/proc/{pid}/environ").read_bytes():
                return pid
        except OSError:
            pass
    raise PermissionError


def write_a_result() -> object:
    """Write into a folder that is open to all, as a folder of results may be."""
    return Path(FACTS["folder"], "result").write_text("forged")


def kill_a_process() -> object:
    """Kill a process that the submission did not start."""
    return os.kill(FACTS["process"], signal.SIGKILL) or True


def connect_to_the_machine() -> object:
    """Connect to a service of the machine."""
    return socket.create_connection(("127.0.0.1", FACTS["port"]), 1)


def send_a_datagram() -> object:
    """Send a datagram; the probe knows whether it came."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"attack", ("127.0.0.1", FACTS["datagrams"]))
    raise PermissionError


def connect_to_an_abstract_socket() -> object:
    """Connect to a UNIX socket that is no file."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect("\0" + FACTS["secret"]) or True


def make_a_namespace() -> object:
    """Become root in a user namespace, and so reach parts of the kernel that users cannot."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER):
        raise PermissionError
    return True


TRIES: list[Callable[[], object]] = [
    read_the_harness,
    read_another_s_file,
    read_the_passwords,
    read_an_environment,
    write_a_result,
    kill_a_process,
    connect_to_the_machine,
    send_a_datagram,
    connect_to_an_abstract_socket,
    make_a_namespace,
]


def succeeds(attempt: Callable[[], object]) -> bool:
    """Return whether a try succeeds."""
    try:
        attempt()
    except OSError:
        return False
    return True


def main() -> None:
    """Try it all; then serve, with a child that left."""
    got = [attempt.__name__ for attempt in TRIES if succeeds(attempt)]
    listener = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork():
            os._exit(0)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        time.sleep(600)
    os.wait()
    print(json.dumps({"got": got, "port": listener.getsockname()[1]}), flush=True)
    connection, _ = listener.accept()
    connection.sendall(connection.recv(100))
    time.sleep(600)


if __name__ == "__main__":
    main()
