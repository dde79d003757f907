"""The smallest race: each of some workers reads a number, and writes back one more.

The workers are threads that share a variable, or processes that share a file; between reading and writing, another may do the same. So
with two of them the number ends at 2, or at 1: the lost update. A lock makes one of the two ends impossible. Run it as often as you
like: the right end comes nearly every time. Then force the schedule `ana:read beto:read ana:write beto:write` (harness/tracing/gates.py).

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


GUARDS = "the number, from its reading to its writing"


class Variable:
    """A number that threads share."""

    def __init__(self):
        self.value = 0

    def read(self):
        return self.value

    def write(self, value):
        self.value = value


class File:
    """A number in a file, which processes share."""

    def __init__(self):
        self.file = tempfile.TemporaryFile(buffering=0)
        self.write(0)

    def read(self):
        return int(os.pread(self.file.fileno(), 20, 0))

    def write(self, value):
        os.pwrite(self.file.fileno(), b"%20d" % value, 0)


class FileLock:
    """A lock that processes share: that of a file. Each opens it anew, since a lock belongs to an opening."""

    def __init__(self, path):
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


def work(name, number, lock):
    trace.act_as(name)
    with lock:
        value = traced("read", number.read)()
        traced("write", number.write)(value + 1)


def with_threads(names, locked):
    number = Variable()
    lock = trace.lock("number", GUARDS) if locked else nullcontext()
    threads = [threading.Thread(target=work, args=(name, number, lock)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return number.read()


def with_processes(names, locked):
    number, children = File(), []
    with tempfile.NamedTemporaryFile() as file:
        lock = trace.lock("number", GUARDS, FileLock(file.name)) if locked else nullcontext()
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
    parser = argparse.ArgumentParser(prog="python -m lab_guide.races.counter", description="Workers count; updates may be lost.")
    parser.add_argument("kind", choices=("threads", "processes"))
    parser.add_argument("names", nargs="*", default=["ana", "beto"], metavar="NAME", help="the workers (default: ana beto)")
    parser.add_argument("--lock", action="store_true", help="the repair: a lock from reading to writing")
    parser.add_argument("--trace", metavar="DIR", help="write what happens to DIR; if a socket DIR/gates is there, wait for its leave")
    options = parser.parse_args()
    if options.trace:
        trace.start(options.kind, options.trace)
    count = {"threads": with_threads, "processes": with_processes}[options.kind]
    print(f"{len(options.names)} workers counted to {count(options.names, options.lock)}")


if __name__ == "__main__":
    main()
