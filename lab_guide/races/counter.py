"""The smallest race: each worker reads a number, and writes it back plus one.

The workers are threads that share a variable, or processes that share a file. Between the read and
the write of one worker, another worker may read and write, too. So with two workers the number ends
at 2, or at 1: a lost update. A lock makes the second result impossible.

Run the program as often as you like: the right result comes nearly every time. To see the wrong
result, force the schedule `ana:read ben:read ana:write ben:write` (force.py beside this file).

    python -m lab_guide.races.counter threads|processes [--lock] [--trace DIR] [NAME...]
"""

import argparse
import fcntl
import os
import tempfile
import threading
from contextlib import nullcontext

from implementations.common import trace
from implementations.common.trace import traced

GUARDS = "the number, from the read to the write"


class Variable:
    """A number that threads share."""

    def __init__(self):
        self.value = 0  # guarded by the lock "number" if there is one

    def read(self) -> int:
        return self.value

    def write(self, value: int):
        self.value = value


class File:
    """A number in a file, which processes share."""

    def __init__(self):
        self.file = tempfile.TemporaryFile(buffering=0)
        self.write(0)

    def read(self) -> int:
        return int(os.pread(self.file.fileno(), 20, 0))

    def write(self, value: int):
        os.pwrite(self.file.fileno(), b"%20d" % value, 0)


class FileLock:
    """A lock that processes share: an flock on the file `path`.

    Each process opens the file itself, because an flock belongs to one open file description
    (flock(2)), and a child inherits its parent's.
    """

    def __init__(self, path: str):
        self.path = path

    def acquire(self, *_):
        self.file = open(self.path)
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def release(self):
        self.file.close()

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()


def work(name: str, number, lock):
    """Adds one to `number` (a Variable or a File), with `lock` held.

    `name` is the worker's name in the trace.
    """
    trace.set_actor(name)
    with lock:
        value = traced("read", number.read)()
        traced("write", number.write)(value + 1)


def with_threads(names: list[str], locked: bool) -> int:
    """Runs one thread per name, with a lock if `locked`. Returns the number at the end."""
    number = Variable()
    lock = trace.lock("number", GUARDS) if locked else nullcontext()
    threads = [threading.Thread(target=work, args=(name, number, lock)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return number.read()


def with_processes(names: list[str], locked: bool) -> int:
    """Runs one process per name, with a lock if `locked`. Returns the number at the end."""
    number, children = File(), []
    with tempfile.NamedTemporaryFile() as file:
        lock = trace.lock("flock:number", GUARDS, FileLock(file.name)) if locked else nullcontext()
        for name in names:
            pid = os.fork()
            if pid == 0:
                work(name, number, lock)
                trace.end()
                os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
    return number.read()


def main():
    parser = argparse.ArgumentParser(
        prog="python -m lab_guide.races.counter", description="Workers count; updates may be lost."
    )
    parser.add_argument("kind", choices=("threads", "processes"))
    parser.add_argument(
        "names",
        nargs="*",
        default=["ana", "ben"],
        metavar="NAME",
        help="the workers (default: ana ben)",
    )
    parser.add_argument(
        "--lock", action="store_true", help="the fix: hold a lock from the read to the write"
    )
    parser.add_argument(
        "--trace",
        metavar="DIR",
        help="record each event in DIR; if DIR/gates is a socket, wait at each "
        "event until it allows the next step",
    )
    options = parser.parse_args()
    if options.trace:
        trace.start(options.kind, options.trace)
    count = {"threads": with_threads, "processes": with_processes}[options.kind]
    print(f"{len(options.names)} workers counted to {count(options.names, options.lock)}")


if __name__ == "__main__":
    main()
