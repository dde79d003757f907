"""Six classic races, each as small as it can be, and each again with its fix.

Ana and ben are two threads, or two processes. Each step is an event of the trace, so that a
controller can try every order: races.html beside this folder shows all of them as trees. A race
returns what went wrong, or "". The exit status is 1 if something did.

    python -m lab_guide.races.classics RACE [--fixed] [--trace DIR]
"""

import argparse
import os
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from implementations.common import trace
from implementations.common.trace import traced


class Memory:
    """What the two share. Each read and each write of a value is a step."""

    def __init__(self, **values: Any):
        self.values = values
        self.read = traced("read", self.values.get, lambda name: name)
        self.write = traced("write", self.set, lambda name, value: f"{name} = {value}")

    def set(self, name: str, value: Any):
        self.values[name] = value


def lock(name: str) -> Any:
    """Returns a lock with events around it."""
    return trace.lock(name, "as the race says")


def together(ana: Callable[[], None], ben: Callable[[], None]):
    """Runs two functions as two threads, and waits for both."""

    def runs(name: str, act: Callable[[], None]):
        trace.set_actor(name)
        act()

    threads = [threading.Thread(target=runs, args=pair) for pair in (("ana", ana), ("ben", ben))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def lost_update(fixed: bool) -> str:
    """Both add one to a number. Fixed: under a lock."""
    memory = Memory(number=0)
    guard = lock("number") if fixed else nullcontext()

    def count():
        with guard:
            value = memory.read("number")
            memory.write("number", value + 1)

    together(count, count)
    number = memory.values["number"]
    return "" if number == 2 else str(number)


def check_then_act(fixed: bool) -> str:
    """Both want the name zoe. Each access is under the lock. Fixed: both accesses together."""
    memory, room, taken = Memory(owner=None), lock("room"), []

    def take(me: str):
        with room:
            is_free = memory.read("owner") is None
            if fixed and is_free:
                memory.write("owner", me)
        if not is_free:
            return
        if not fixed:
            with room:
                memory.write("owner", me)
        taken.append(me)

    together(lambda: take("ana"), lambda: take("ben"))
    return "" if len(taken) == 1 else " and ".join(taken)


def two_locks(fixed: bool) -> str:
    """Both need two locks. Fixed: both take them in the same order."""
    memory, room, names = Memory(), lock("room"), lock("names")

    def ana():
        with room:
            with names:
                memory.write("said by ana", 1)

    def ben():
        with names:
            with room:
                memory.write("left by ben", 1)

    together(ana, ana if fixed else ben)
    return ""


def lost_wake_up(fixed: bool) -> str:
    """Ben sleeps until ana has something to read. Fixed: to look and to sleep is one step."""
    memory, bell = Memory(ready=False, asleep=False), threading.Event()
    guard = lock("bell") if fixed else nullcontext()

    def ana():
        with guard:
            memory.write("ready", True)
            if memory.read("asleep"):
                bell.set()

    def ben():
        with guard:
            if memory.read("ready"):
                return
            memory.write("asleep", True)
        bell.wait()

    together(ana, ben)
    return ""


def torn_line(fixed: bool) -> str:
    """Two processes write a line each into one pipe, in two pieces. Fixed: in one piece."""
    reading, writing = os.pipe()
    write = traced("pipe.write", os.write, lambda _, data: "all")
    children = []
    for name in "ana", "ben":
        pid = os.fork()
        if pid == 0:
            trace.set_actor(name)
            line = f"{name}: hello\n".encode()
            for piece in [line] if fixed else [line[:5], line[5:]]:
                write(writing, piece)
            os._exit(0)
        children.append(pid)
    os.close(writing)
    for pid in children:
        os.waitpid(pid, 0)
    lines = os.read(reading, 4096).decode().splitlines()
    whole = sorted(lines) == ["ana: hello", "ben: hello"]
    return "" if whole else " | ".join(lines)


def lock_for_each_client(fixed: bool) -> str:
    """Both send with the next number. Each holds a lock, but its own. Fixed: both hold one."""
    memory, numbers = Memory(last=0), []
    locks = [lock("room")] * 2 if fixed else [lock("lock of ana"), lock("lock of ben")]

    def send(number: int):
        with locks[number]:
            mine = memory.read("last") + 1
            memory.write("last", mine)
            numbers.append(mine)

    together(lambda: send(0), lambda: send(1))
    return "" if sorted(numbers) == [1, 2] else str(numbers[0])


RACES = {
    "lost-update": lost_update,
    "check-then-act": check_then_act,
    "two-locks": two_locks,
    "lost-wake-up": lost_wake_up,
    "torn-line": torn_line,
    "lock-for-each-client": lock_for_each_client,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab_guide.races.classics", description="A race, as small as it can be."
    )
    parser.add_argument("race", choices=RACES)
    parser.add_argument("--fixed", action="store_true", help="with the fix")
    parser.add_argument(
        "--trace",
        metavar="DIR",
        help="record each event in DIR; if DIR/gates is a socket, wait at each event until it "
        "allows the next step",
    )
    options = parser.parse_args()
    if options.trace:
        trace.start(options.race, options.trace)
    wrong = RACES[options.race](options.fixed)
    print(f"wrong: {wrong}" if wrong else "right")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
