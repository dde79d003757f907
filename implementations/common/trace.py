"""What happens inside a server, and when: a begin and an end around everything that may wait or take long.

Each event is a line of JSON; each process has a file of its own, DIR/PID.jsonl, with a header. Off, nothing of this is there: traced() and
lock() hand back what they were given. Where DIR holds a socket named `gates`, whoever listens there is shown each event
first, and the thread goes on when it is told to: so a schedule is forced from outside. Written of nobody: what he said, or his password.

    {"t": ns on CLOCK_MONOTONIC, "p": process, "th": thread, "a": actor, "e": "B.recv", "o": what about, "n": how much}

An actor is the name of a thread: `loop`, `hub`, `accept`, `write`, ..., or the address of the client that it, or its process, is there for.
"""
import atexit
import json
import os
import platform
import socket
import time
from time import monotonic_ns

# What events are about: o is a client's address, a lock's name, or the events kept and sent, as first-last; n is bytes, or clients.
KINDS = {"wait": "for something to be ready", "recv": "from a client", "send": "to clients", "lock.wait": "for a lock", "lock.hold": "of a lock",
         "pipe.write": "to the hub, or to a child", "pipe.read": "from the other side", "accept": "a connection", "fork": "a child",
         "hash": "a password is hashed", "keep": "events are written to the transcript", "save": "the member file is written"}
SINKS = "write", "mem"      # at once, which survives kill -9; or kept in memory until the end, which disturbs least
MOST_BYTES, MOST_EVENTS = 64 << 20, 500_000     # of one process; what comes after is not traced

MAIN = {"nonblocking": "loop", "pthread": "accept", "fork": "hub"}       # what the first thread of each is there for

design = folder = sink = None       # folder: None while tracing is off
gated = False
threading = None                    # imported at the start only: that it is there would cost each forked child 0.5 MB
local = None                        # .me: this thread's ids and actor; .gate: its connection to who holds the gates
descriptor, events, size = None, [], 0      # this process's file; what is not written yet; bytes written


def start(of_design, to, by="write"):
    """From here on events go to the folder `to`, which is made if need be. Raises OSError."""
    global design, folder, sink, gated, threading, local
    import threading
    local = threading.local()
    os.makedirs(to, mode=0o700, exist_ok=True)
    design, folder, sink, gated = of_design, os.path.abspath(to), by, os.path.exists(os.path.join(to, "gates"))
    os.register_at_fork(after_in_child=begin_child)
    atexit.register(end)
    act_as(MAIN.get(design, design))
    file()


def act_as(actor):
    """Names the thread that calls this."""
    if folder is None:
        return
    threading.current_thread().name = actor
    local.__dict__.clear()


def begin_child():
    """What the parent has not written is not the child's to write, too."""
    global descriptor, size
    descriptor, size = None, 0
    events.clear()
    local.__dict__.clear()


def traced(kind, function, about=""):
    """`function` with an event before and after it. `about`: what o says, or a function that makes it of the arguments."""
    if folder is None:
        return function

    begins, ends, awaiting_owner = f"B.{kind}", f"E.{kind}", callable(about)

    def between(*arguments):
        what = about(*arguments) if awaiting_owner else about
        emit(begins, what)
        result = None
        try:
            result = function(*arguments)
            return result
        finally:
            emit(ends, what, len(result) if isinstance(result, (bytes, list)) else result if type(result) is int else None)
    return between


def lock(name, guards, of=None):
    """A lock (or `of`, one of another kind), which must be named, and so must be what it guards: a picture of who waits is to say for what."""
    from threading import Lock
    of = of or Lock()
    if folder is None:
        return of
    emit("I.lock", f"{name}: {guards}")
    return TracedLock(name, of)


class TracedLock:
    def __init__(self, name, of):
        self.name, self.lock = name, of

    def acquire(self, blocking=True, timeout=-1):
        if not blocking:                # threading.Condition asks so whether it is held
            return self.lock.acquire(False)
        emit("B.lock.wait", self.name)
        self.lock.acquire(True, timeout)
        emit("E.lock.wait", self.name)
        emit("B.lock.hold", self.name)
        return True

    def release(self):
        now = monotonic_ns()
        self.lock.release()                 # first, so that to write this down makes nobody wait
        emit("E.lock.hold", self.name, now=now)

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()


def emit(event, about="", amount=None, now=None):
    global size
    now = now or monotonic_ns()
    try:
        me = local.me
    except AttributeError:
        me = local.me = os.getpid(), threading.get_native_id(), threading.current_thread().name
    if sink == "mem" and not gated:
        if len(events) < MOST_EVENTS:
            events.append((now, me, event, about, amount))
        return
    line = line_of(now, me, event, about, amount)
    if size < MOST_BYTES:
        size += os.write(file(), line)
        if size >= MOST_BYTES:
            os.write(file(), line_of(now, me, "I.full", "", None))
    if gated:
        pass_gate(line)


def line_of(now, me, event, about, amount):
    more = "" if amount is None else f', "n": {amount}'
    return f'{{"t": {now}, "p": {me[0]}, "th": {me[1]}, "a": "{me[2]}", "e": "{event}", "o": "{about}"{more}}}\n'.encode()


def file():
    """The descriptor of this process's file, with its header. (Opened late: a child first closes all that it inherited.)"""
    global descriptor
    if descriptor is None:
        descriptor = os.open(os.path.join(folder, f"{os.getpid()}.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        header = {"schema": 1, "design": design, "pid": os.getpid(), "ppid": os.getppid(), "clock": "CLOCK_MONOTONIC",
                  "mono": monotonic_ns(), "real": time.time_ns(), "py": platform.python_version(), "sink": sink}
        os.write(descriptor, (json.dumps(header) + "\n").encode())
    return descriptor


def end():
    """Writes what is in memory. Called at the end of every process; not after kill -9."""
    if events:
        kept = b"".join([line_of(*event) for event in events])
        if len(events) == MOST_EVENTS:
            kept += line_of(monotonic_ns(), events[-1][1], "I.full", "", None)     # (who ends may have traced nothing himself)
        events.clear()
        while kept:
            kept = kept[os.write(file(), kept):]


def pass_gate(line):
    """Shows the event to who holds the gates, and waits until it may go on. If he is gone, all gates are open."""
    try:
        if not hasattr(local, "gate"):
            local.gate = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            local.gate.connect(os.path.join(folder, "gates"))
        local.gate.send(line)
        local.gate.recv(1)
    except OSError:
        pass


def sequence(data):
    """first-last of the sequence numbers of whole event lines: what keep and send are about."""
    last = data.rfind(b"\n", 0, len(data) - 1) + 1
    return f"{data.split(b' ', 2)[1].decode()}-{data[last:].split(b' ', 2)[1].decode()}"
