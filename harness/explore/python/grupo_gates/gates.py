"""The connection of each thread to the controller, and what an event says.

An event is one packet, a JSON object; the answer is one byte, and the thread goes on. When the
controller has gone, all gates are open: every wrapper then calls what it wraps, and nothing else.
"""

import _socket
import errno
import fcntl
import functools
import itertools
import operator
import os
import resource
import sys
import threading
import time
import weakref

HERE = os.path.dirname(os.path.abspath(__file__))
START = os.getcwd()  # names of files are shown as seen from here
LIBRARY = os.path.dirname(os.path.realpath(threading.__file__)) + os.sep
# A thread that runs this code holds locks of the interpreter or of logging, on which others could
# wait unseen. So it passes no gate there.
SILENT = ("importlib/", "logging/")
PLAIN = "plain"  # the label of the files of the library, and of packages
HIGH = 4096  # descriptors up to this are tried for a connection: a program's own are low
NEEDED = "send", "permission"
# The answer of a controller that stops time: what ended by its time-out begins again.
AGAIN = b"a"

MAX_SOCKET_NAME = 107  # bytes in the name of a socket (Linux)

# These are called when the interpreter ends, and other modules are empty.
fstat, is_finalizing = os.fstat, sys.is_finalizing

open_file, close_file = os.open, os.close  # as they are before a gate is put in

path = ""  # of the controller's socket
opened = False  # whether the controller has gone
on_serve = None  # called in a thread that begins to serve a client
connections = weakref.WeakSet()  # of this process; a forked child closes its copies
threads = itertools.count(1)  # those without a name
children = itertools.count(1)


class Me(threading.local):
    """What this thread knows of itself.

    busy        it is in an event, or in a call that is reported as a whole
    thread      its threading.Thread, if it began in one
    name        its name, if it has no threading.Thread
    client      that it serves: (address, a function: whether its socket is still open)
    serves_many it has several clients: it has no client's name
    """

    busy = False
    thread = None
    name = None
    client = None
    serves_many = False
    connection = None


me = Me()
me.name = "main"
me.serves_many = True  # the first thread accepts clients, or serves all of them


class Connection:
    """A connection to the controller, on a high descriptor.

    A program may close descriptors that are not its own, and then give their numbers to its own
    files. So each use begins with is_ours().
    """

    def __init__(self, sock):
        sock.setblocking(True)  # whatever the program's default is
        self.socket, self.identity = sock, identity_of(sock.fileno())
        self.process = os.getpid()
        connections.add(self)

    def is_ours(self) -> bool:
        """Whether the descriptor is still this connection."""
        return self.identity == identity_of(self.socket.fileno())

    def __del__(self):
        self.socket.close() if self.is_ours() else self.socket.detach()


def is_connected() -> bool:
    """Whether this thread has a connection: of its own process, not of the one that forked it."""
    found = me.connection
    return found and found.process == os.getpid() and found.is_ours()


def connect() -> Connection:
    """Returns a new connection. Raises OSError if the controller has gone."""
    low = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        low.setblocking(True)  # whatever the program's default is
        connect_to_controller(low)
        return Connection(_socket.socket(fileno=high_copy(low.fileno())))
    finally:
        low.close()


def connect_to_controller(low):
    """Connects a socket. A path that does not fit into a socket's name goes by way of its folder's
    descriptor. Raises OSError.
    """
    if len(os.fsencode(path)) <= MAX_SOCKET_NAME:
        low.connect(path)
        return
    folder = open_file(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        low.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    finally:
        close_file(folder)


def high_copy(descriptor) -> int:
    """Returns a copy of a descriptor with a number that programs seldom use."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = HIGH if limit == resource.RLIM_INFINITY else min(limit, HIGH)
    for lowest in (limit * 3 // 4, 3):
        try:
            return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.EINVAL):
                raise
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def identity_of(descriptor) -> tuple[int, int] | None:
    """Returns what no other open file has; None if the descriptor is closed."""
    try:
        found = fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


# -- Events ----------------------------------------------------------------------------------------


def idle() -> bool:
    """Whether an event would not be shown now."""
    return opened or me.busy or is_finalizing()


def quietly(function, *arguments, **options):
    """Calls a function, and shows nothing of what it does: it is reported as a whole."""
    before = me.busy
    try:
        me.busy = True
        return function(*arguments, **options)
    finally:  # without a call: so no signal's handler can raise an exception before it
        me.busy = before


def event(kind, about="", n=None, *, at=None, now=None, more="") -> bytes | None:
    """Shows an event, and waits for permission to go on. Returns the answer; None if the event was
    not shown.

    now     when it was, if not now
    at      "file:line", if not where the program's own code is
    more    further fields, as JSON that begins with a comma
    """
    if idle():
        return None
    at = place() if at is None else at
    if at is None:
        return None
    more += "" if n is None else f', "n": {n}'
    more += f', "at": "{plain(at)}"' if at else ""
    text = (
        f'{{"t": {now or time.monotonic_ns()}, "p": {os.getpid()}, '
        f'"th": {threading.get_native_id()}, "a": "{plain(actor())}", "e": "{kind}", '
        f'"o": "{plain(about)}"{more}}}\n'
    )
    return quietly(pass_gate, text.encode())


def plain(text) -> str:
    """Returns a text that needs no escapes in JSON."""
    return "".join([c if " " <= c <= "~" and c not in '"\\' else "?" for c in str(text)[:200]])


def pass_gate(packet) -> bytes | None:
    """Shows the packet, and returns the byte that comes as the answer.

    A signal's handler may raise an exception meanwhile. It is raised when the thread may go on:
    else the byte would be taken for the permission of the next event.
    """
    global opened
    interrupt, done = None, []
    while len(done) < len(NEEDED):
        try:
            if not done and not is_connected():
                me.connection = connect()
            steps = (
                functools.partial(me.connection.socket.send, packet, _socket.MSG_NOSIGNAL),
                functools.partial(me.connection.socket.recv, 1),
            )
            # In one call: no handler runs between a step and the note that it is done.
            done.extend(map(operator.call, steps[len(done) :]))
        except BaseException as error:
            if not isinstance(error, OSError) or error.errno is None:
                interrupt = error
                continue
            # The program may be out of descriptors for a while.
            opened = error.errno not in (errno.EMFILE, errno.ENFILE)
            break
    else:
        opened = not done[1]
    if interrupt:
        raise interrupt
    return done[1] if len(done) > 1 else None


def begin_child() -> None:
    """In a forked child: forgets the parent's connections, and gives its only thread a name."""
    global threads, children
    number = next(children)
    for connection in list(connections):
        connection.__del__()
    connections.clear()
    me.__dict__.clear()
    me.name = f"child-{number}"
    threads, children = itertools.count(1), itertools.count(1)


os.register_at_fork(after_in_child=begin_child, after_in_parent=lambda: next(children))


# -- The actor, and its place ----------------------------------------------------------------------


def actor() -> str:
    """Returns the name of this thread: its client's address, or its own."""
    if me.client:
        return me.client[0]
    if me.thread:
        return me.thread.name
    if me.name is None:
        me.name = f"thread-{next(threads)}"
    return me.name


def serve(address, is_open) -> None:
    """This thread receives from a client. While it has one at a time, that is its name."""
    if me.serves_many or (me.client and me.client[0] == address):
        return
    if me.client and me.client[1]():
        me.client, me.serves_many = None, True
        return
    me.client = address, is_open
    if on_serve:
        on_serve()


def place() -> str | None:
    """Returns "file:line" of the innermost frame in the program's own files; "" if there is none,
    and None where no event may be shown.
    """
    frame = sys._getframe(1)
    while frame:
        label = label_of(frame.f_code.co_filename)
        if label is None:
            return None
        if label != PLAIN:
            return f"{label}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


@functools.cache
def label_of(filename) -> str | None:
    """Returns how a file of the program's own is shown; PLAIN for others, None for SILENT ones."""
    if filename.startswith("<frozen importlib"):
        return None
    if filename.startswith("<"):
        return filename if filename in ("<string>", "<stdin>") else PLAIN
    full = os.path.join(START, filename)
    if inside := library_name(full):
        return None if inside.startswith(SILENT) else PLAIN
    if full.startswith(HERE) or {"site-packages", "dist-packages"} & set(full.split(os.sep)):
        return PLAIN
    near = os.path.relpath(full, START)
    return os.path.basename(full) if near.startswith("..") else near


@functools.cache
def library_name(filename) -> str:
    """Returns the name of a file within the standard library; "" if it is not of it."""
    full = os.path.realpath(filename)
    inside = full.removeprefix(LIBRARY)
    return (
        "" if inside == full or inside.startswith(("site-packages/", "dist-packages/")) else inside
    )
