"""Traces what happens inside a server: a begin and an end around all that can wait or take long.

Each event is a line of JSON, in a file for each process, DIR/PID.jsonl, which begins with a header:

    {"t": ns on CLOCK_MONOTONIC, "p": process, "th": thread, "a": actor, "e": "B.recv",
     "o": what it is about, "n": how much, "at": the place in the source, if there are gates}

An actor is the name of a thread (`loop`, `hub`, `accept`, `write`, ...), or the address of the
client that a thread or process serves. No event holds a message or a password.

When tracing is off, it costs nothing: traced() and lock() return what they were given. If DIR holds
a socket named `gates`, its owner is shown each event first, and the thread waits until it may go
on: so a schedule can be forced from outside. The owner can also stop time: what ran into a time-out
is begun again.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import Any, ParamSpec, TypeVar

from .private_files import open_folder

P = ParamSpec("P")
R = TypeVar("R")
Event = tuple[int, tuple[int, int, str], str, str, int | None]

# What events are about: o is a client's address, a lock's name, or the events that are stored or
# sent, as first-last; n is bytes, or clients.
KINDS = {
    "wait": "for something to be ready",
    "recv": "from a client",
    "send": "to clients",
    "lock.wait": "for a lock",
    "lock.hold": "of a lock",
    "pipe.write": "to the hub, or to a child",
    "pipe.read": "from the other side",
    "accept": "a connection",
    "fork": "a child",
    "hash": "a password is hashed",
    "keep": "events are written to the transcript",
    "save": "the member file is written",
}
# Written at once, which survives kill -9, or kept in memory until the end, which disturbs least.
SINKS = "write", "mem"
MAX_BYTES, MAX_EVENTS = 64 << 20, 500_000  # of one process; later events are not traced

TIMED_OUT = -1  # the "n" of what ended by its time-out; a selector's is 0
AGAIN = b"a"  # the answer of a gate that stops time

MAX_SOCKET_NAME = 100  # bytes; systems have 104 to 108, with a zero byte at the end

# The actor of each design's first thread.
MAIN = {"nonblocking": "loop", "pthread": "accept", "fork": "hub"}

design = sink = ""
folder = ""  # empty while tracing is off
gated = False
# Imported only when tracing starts: with it each forked child would cost 0.5 MB more.
threading: Any = None
local: Any = None  # .me: the ids and the actor of this thread; .gate: its connection to the gates
descriptor: int | None = None  # of this process's file
events: list[Event] = []  # not written yet
size = 0  # bytes written


def start(of_design: str, to: str, by: str = "write") -> None:
    """Starts tracing into the folder `to`, which is made if necessary, by one of SINKS.

    Raises OSError, or StartupError if somebody else can write to it.
    """
    global design, folder, sink, gated, threading, local
    import threading

    local = threading.local()
    os.close(open_folder(to))
    design, folder, sink = of_design, os.path.abspath(to), by
    gated = os.path.exists(os.path.join(to, "gates"))
    os.register_at_fork(after_in_child=begin_child)
    atexit.register(end)
    set_actor(MAIN.get(design, design))
    file()


def set_actor(actor: str) -> None:
    """Names the thread that calls this."""
    if folder:
        threading.current_thread().name = actor
        local.__dict__.clear()


def begin_child() -> None:
    """Forgets, in a forked child, what its parent is still to write."""
    global descriptor, size
    descriptor, size = None, 0
    events.clear()
    local.__dict__.clear()


def traced(
    kind: str, function: Callable[P, R], about: str | Callable[..., str] = ""
) -> Callable[P, R]:
    """Returns `function` with an event before and after it.

    about: the "o" of the events, or a function that makes it of the arguments.
    """
    if not folder:
        return function

    begins, ends = f"B.{kind}", f"E.{kind}"

    def between(*arguments: P.args, **more: P.kwargs) -> R:
        what = about(*arguments, **more) if callable(about) else about
        record(begins, what)
        while True:
            try:
                result = function(*arguments, **more)
            except TimeoutError:
                if not record(ends, what, TIMED_OUT):
                    raise
            except BaseException:
                record(ends, what)
                raise
            else:
                if not record(ends, what, amount_of(result)):
                    return result

    return between


def amount_of(result: object) -> int | None:
    """Returns the "n" of what a function returned: a length or a number."""
    if isinstance(result, (bytes, list)):
        return len(result)
    if result is False:  # of a condition
        return TIMED_OUT
    return result if type(result) is int else None


def lock(name: str, guards: str, of: Any = None) -> Any:
    """Returns a new lock, or the lock `of`, with its events traced.

    guards: what the lock guards. A figure of waiting threads shows it.
    """
    from threading import Lock

    the_lock = of or Lock()
    if not folder:
        return the_lock
    record("I.lock", f"{name}: {guards}")
    return TracedLock(name, the_lock)


class TracedLock:
    """A lock with events around waiting for it and holding it."""

    def __init__(self, name: str, of: Any) -> None:
        self.name, self.lock = name, of

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As of threading.Lock."""
        if not blocking:  # threading.Condition asks in this way whether it is held
            return bool(self.lock.acquire(False))
        record("B.lock.wait", self.name)
        self.lock.acquire(True, timeout)
        record("E.lock.wait", self.name)
        record("B.lock.hold", self.name)
        return True

    def release(self) -> None:
        """As of threading.Lock."""
        now = monotonic_ns()
        self.lock.release()  # first: nobody has to wait until this event is written
        record("E.lock.hold", self.name, now=now)

    def locked(self) -> bool:
        """As of threading.Lock: on Python 3.14 threading.Condition wants it."""
        return bool(self.lock.locked())

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


def record(event: str, about: str = "", amount: int | None = None, now: int | None = None) -> bool:
    """Traces an event of this thread. `now`: when it was, if not now. Returns whether what timed
    out must begin again.
    """
    global size
    now = now or monotonic_ns()
    try:
        me = local.me
    except AttributeError:
        actor = threading.current_thread().name
        me = local.me = os.getpid(), threading.get_native_id(), actor
    if sink == "mem" and not gated:
        if len(events) < MAX_EVENTS:
            events.append((now, me, event, about, amount))
        return False
    line = line_of(now, me, event, about, amount, source() if gated else "")
    if size < MAX_BYTES:
        size += os.write(file(), line)
        if size >= MAX_BYTES:
            os.write(file(), line_of(now, me, "I.full", "", None))
    return gated and pass_gate(line) == AGAIN


def source() -> str:
    """Returns the place in the program where this thread is, as FILE:LINE."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename in (__file__, threading.__file__):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def line_of(
    now: int,
    me: tuple[int, int, str],
    event: str,
    about: str,
    amount: int | None,
    at: str = "",
) -> bytes:
    """Returns an event as a line of JSON. `at`: the place in the source, if it is known."""
    more = "" if amount is None else f', "n": {amount}'
    if at:
        more += f', "at": {json.dumps(at)}'
    thread = f'"p": {me[0]}, "th": {me[1]}, "a": "{me[2]}"'
    return f'{{"t": {now}, {thread}, "e": "{event}", "o": "{about}"{more}}}\n'.encode()


def file() -> int:
    """Returns the descriptor of this process's file, which has its header by then.

    It is opened late, since a child first closes all that it inherited.
    """
    global descriptor
    if descriptor is None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(os.path.join(folder, f"{os.getpid()}.jsonl"), flags, 0o600)
        header = {
            "schema": 1,
            "design": design,
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "clock": "CLOCK_MONOTONIC",
            "mono": monotonic_ns(),
            "real": time.time_ns(),
            "py": sys.version.split()[0],
            "sink": sink,
        }
        os.write(descriptor, (json.dumps(header) + "\n").encode())
    return descriptor


def end() -> None:
    """Writes what is in memory. Called at the end of every process; not after kill -9."""
    if events:
        kept = b"".join([line_of(*event) for event in events])
        if len(events) == MAX_EVENTS:
            me = events[-1][1]  # the thread that ends need not have traced anything itself
            kept += line_of(monotonic_ns(), me, "I.full", "", None)
        events.clear()
        while kept:
            kept = kept[os.write(file(), kept) :]


def pass_gate(line: bytes) -> bytes:
    """Shows the event to the owner of the gates, and waits for its answer. If the owner is gone,
    all gates are open.
    """
    try:
        if not hasattr(local, "gate"):
            local.gate = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with short_name(folder, "gates") as name:
                local.gate.connect(name)
        local.gate.send(line)
        return bytes(local.gate.recv(1))
    except OSError:
        return b""


@contextlib.contextmanager
def short_name(directory: str, name: str) -> Iterator[str]:
    """Gives a path to `name` in a directory that fits into a socket's name.

    If it is longer than MAX_SOCKET_NAME, it goes by way of a descriptor of the directory, in /proc
    of Linux. Raises OSError.
    """
    path = os.path.join(directory, name)
    if len(os.fsencode(path)) <= MAX_SOCKET_NAME:
        yield path
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def sequence(data: bytes) -> str:
    """Returns first-last of the sequence numbers of event lines: the "o" of keep and send."""
    last = data.rfind(b"\n", 0, len(data) - 1) + 1
    return f"{data.split(b' ', 2)[1].decode()}-{data[last:].split(b' ', 2)[1].decode()}"
