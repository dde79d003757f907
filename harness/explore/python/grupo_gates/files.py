"""Sockets, pipes and files: what is read and written, and waiting until something is ready."""

import _socket
import builtins
import contextlib
import fcntl
import io
import os
import select
import selectors
import socket
import stat
import sys
import weakref

from . import gates
from .calls import Call, around, milliseconds, when_imported, wrap, wrap_methods

plain_open, plain_makefile = io.open, socket.socket.makefile
peers = weakref.WeakKeyDictionary()  # a socket: its kind and peer, as of about_socket()
# What the program got from the one that started it: what it reads is its owner's.
console = {gates.identity_of(fd): name for fd, name in ((2, "stderr"), (1, "stdout"), (0, "stdin"))}
pairs = {}  # a socket pair's inode: that of its first end
WRITES = {"client": "send", "pipe": "pipe.write", "keep": "keep"}
RECEIVING = "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"


def put_in() -> None:
    """Puts the gates in."""
    put_in_sockets()
    put_in_descriptors()
    put_in_waits()
    builtins.open = io.open = Open(plain_open, None)
    if sys.stdin and sys.stdin is sys.__stdin__:
        sys.stdin = sys.__stdin__ = standard_input(sys.stdin)
    when_imported("multiprocessing.connection", put_in_connections)


# -- Sockets ---------------------------------------------------------------------------------------


def put_in_sockets() -> None:
    """Of a class: so it holds for sockets that were made before, and for subclasses."""
    wrap_methods(socket.socket, ["accept"], lambda sock: ("accept", "listener", None), amount=none)
    wrap_methods(socket.socket, RECEIVING, lambda sock, *_, **__: receiving(sock))
    wrap_methods(socket.socket, ["send", "sendmsg"], lambda sock, *_, **__: sending(sock))
    socket.socket.sendall = sendall
    socket.socket.makefile = makefile
    socket.socketpair = SocketPair(socket.socketpair, None)


def none(_) -> None:
    """The "n" of what has none."""
    return None


def about_socket(sock):
    """Returns ("client", address) of a stream socket with a peer, ("pipe", id) of a local one, and
    None of any other.
    """
    if sock.family == socket.AF_UNIX:
        found = os.fstat(sock.fileno()).st_ino
        is_pipe = sock.type in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        return ("pipe", f"pipe:[{pairs.get(found, found)}]") if is_pipe else None
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        return None
    host, port, *more = sock.getpeername()
    if more:
        host = f"[{host}]"
    return "client", f"{host}:{port}"


def kind_and_peer(sock):
    """Returns about_socket() of a socket, also when its peer has gone."""
    with contextlib.suppress(KeyError, TypeError):  # a subclass may have no hash
        return peers[sock]
    try:
        found = about_socket(sock)
    except OSError:
        return None  # not connected
    with contextlib.suppress(TypeError):
        peers[sock] = found
    return found


def receiving(sock):
    """Describes a call that receives. A thread that does so serves this client."""
    kind, about = kind_and_peer(sock)
    if kind == "client":
        seen = weakref.ref(sock)
        gates.serve(about, lambda: (now := seen()) is not None and now.fileno() >= 0)
        return "recv", about, None
    return "pipe.read", about, None


def sending(sock):
    """Describes a call that sends."""
    kind, about = kind_and_peer(sock)
    return WRITES[kind], about, None


def sendall(sock, data, *flags):
    """socket.sendall, with events: the "n" of the end is what was sent."""
    if gates.idle() or not kind_and_peer(sock):
        return _socket.socket.sendall(sock, data, *flags)
    size = memoryview(data).nbytes
    return around(
        *sending(sock), _socket.socket.sendall, (sock, data, *flags), {}, amount=lambda _: size
    )


class SocketPair(Call):
    """socket.socketpair: its two ends are one pipe."""

    def __call__(self, *arguments, **options):
        ends = self.function(*arguments, **options)
        inodes = [os.fstat(end.fileno()).st_ino for end in ends]
        pairs.update(dict.fromkeys(inodes, inodes[0]))
        return ends


def makefile(sock, mode="r", buffering=None, *, encoding=None, errors=None, newline=None):
    """socket.makefile: what is written is shown where it leaves the buffer."""
    is_plain = "w" not in mode or buffering == 0 or not set(mode) <= set("rwb")
    if is_plain or gates.idle() or not kind_and_peer(sock):
        return plain_makefile(
            sock, mode, buffering, encoding=encoding, errors=errors, newline=newline
        )
    raw = plain_makefile(sock, "".join(c for c in mode if c in "rw") + "b", 0)
    size = buffering if buffering and buffering > 1 else io.DEFAULT_BUFFER_SIZE
    buffer = Pair(raw, raw, size) if "r" in mode else Writer(raw, size)
    kind, about, _ = sending(sock)
    buffer.gate, buffer.size = (kind, about), size
    if "b" in mode:
        return buffer
    text = io.TextIOWrapper(buffer, encoding, errors, newline)
    text.mode = mode
    return text


# -- Descriptors -----------------------------------------------------------------------------------


def put_in_descriptors() -> None:
    """Functions of os that read and write by a descriptor, or change a file by its name."""
    wrap(os, ["read", "readv", "readinto"], lambda fd, *_, **__: read_of(fd))
    wrap(os, ["write", "writev"], lambda fd, *_, **__: write_of(fd))
    wrap(os, ["pwrite", "pwritev"], lambda fd, *_, **__: write_of(fd))
    wrap(os, ["sendfile"], lambda out, *_, **__: write_of(out))
    wrap(os, ["fsync", "fdatasync"], lambda fd: write_of(descriptor_of(fd)), amount=zero)
    wrap(os, ["ftruncate"], lambda fd, length: write_of(fd), amount=zero)
    by_name = lambda name, *_, **__: ("keep", os.path.basename(os.fsdecode(name)), None)
    names = ["rename", "replace", "remove", "unlink", "link", "truncate"]
    wrap(os, names, by_name, amount=zero)
    for name in "flock", "lockf":
        setattr(fcntl, name, Call(getattr(fcntl, name), lock_of_file, amount=none))


def zero(_) -> int:
    """The "n" of what succeeds without a number."""
    return 0


def descriptor_of(file) -> int:
    """Returns a descriptor, of a file or of itself."""
    return file if isinstance(file, int) else file.fileno()


def lock_of_file(file, operation, *_, **__):
    """Describes flock(): when such a lock is given up is not seen, so it is a wait."""
    return None if operation & (fcntl.LOCK_NB | fcntl.LOCK_UN) else ("wait", "", None)


def about_descriptor(fd):
    """Returns ("client", address), ("pipe", id), ("keep", name); None of anything else."""
    found = os.fstat(fd)
    if name := console.get((found.st_dev, found.st_ino)):
        return ("client", "console") if name == "stdin" else None
    if stat.S_ISFIFO(found.st_mode):
        return "pipe", f"pipe:[{found.st_ino}]"
    if stat.S_ISREG(found.st_mode):
        return "keep", name_of(fd)
    # With a default time-out a second socket object would make the descriptor non-blocking.
    if not stat.S_ISSOCK(found.st_mode) or socket.getdefaulttimeout() is not None:
        return None
    sock = _socket.socket(fileno=fd)
    try:
        return about_socket(sock)
    finally:
        sock.detach()


def name_of(fd) -> str:
    """Returns the base name of an open file, where the system tells it."""
    try:
        return os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
    except OSError:
        return ""


def read_of(fd):
    """Describes a read. A regular file's has no events. The owner is a client: its console."""
    kind, about = about_descriptor(fd)
    if kind == "client":
        identity = gates.identity_of(fd)
        gates.serve(about, lambda: gates.identity_of(fd) == identity)
        return "recv", about, None
    return ("pipe.read", about, None) if kind == "pipe" else None


def write_of(fd):
    """Describes a write."""
    kind, about = about_descriptor(fd)
    return (WRITES[kind], about, None) if about != "console" else None


# -- Waiting ---------------------------------------------------------------------------------------


def put_in_waits() -> None:
    """select, poll, epoll, and the selectors that are made of them."""
    wrap(select, ["select"], lambda r, w, x, t=None: ("wait", "", milliseconds(t)), amount=ready)
    for name in "poll", "epoll":
        if hasattr(select, name):
            setattr(select, name, poller(getattr(select, name), name))
    for name in "SelectSelector", "PollSelector", "EpollSelector", "KqueueSelector":
        if hasattr(selectors, name):
            wrap_methods(
                getattr(selectors, name),
                ["select"],
                lambda self, timeout=None: ("wait", "", milliseconds(timeout)),
                whole=True,
            )


def ready(lists) -> int:
    """Returns how many descriptors select() found ready."""
    return sum(map(len, lists))


def poller(make, name):
    """Returns a class like select.poll or select.epoll, which cannot have subclasses."""
    factor = 1 if name == "poll" else 1000  # of the unit of its time-outs, to milliseconds

    class Poller:
        def __init__(self, *arguments, **options):
            self.made = make(*arguments, **options)

        @classmethod
        def fromfd(cls, fd):
            self = cls.__new__(cls)
            self.made = make.fromfd(fd)
            return self

        def poll(self, timeout=None, *more, **options):
            limit = None if timeout is None or timeout < 0 else round(timeout * factor)
            arguments = timeout, *more
            return around("wait", "", limit, self.made.poll, arguments, options)

        def __enter__(self):
            self.made.__enter__()
            return self

        def __exit__(self, *error):
            return self.made.__exit__(*error)

        def __getattr__(self, attribute):
            if attribute == "made":
                raise AttributeError(attribute)
            return getattr(self.made, attribute)

    Poller.__name__ = Poller.__qualname__ = name
    return Poller


# -- File objects ----------------------------------------------------------------------------------


class Buffered:
    """A buffer over a file, pipe or socket: events where what was written leaves the buffer.

    Not lower: a thread that waits at a gate must not hold the buffer's own lock.
    """

    gate = None  # (kind, about)
    size = io.DEFAULT_BUFFER_SIZE
    pending = 0  # bytes in the buffer

    def leaves(self, size, function, *arguments):
        """Calls what empties the buffer, and writes `size` bytes more."""
        size, self.pending = self.pending + size, 0
        if gates.idle() or not self.gate:
            return function(*arguments)
        amount = lambda _: size
        return around(*self.gate, None, function, arguments, {}, whole=True, amount=amount)

    def write(self, data):
        """As of io.BufferedWriter."""
        size = memoryview(data).nbytes
        if self.pending + size > self.size:
            return self.leaves(size, super().write, data)
        written = gates.quietly(super().write, data)
        self.pending += size
        return written

    def flush(self):
        """As of io.BufferedWriter."""
        return self.leaves(0, super().flush) if self.pending else super().flush()

    def close(self):
        """As of io.BufferedWriter."""
        if not self.closed and self.pending:
            return self.leaves(0, super().close)
        super().close()


class Writer(Buffered, io.BufferedWriter):
    """For writing only."""


class Random(Buffered, io.BufferedRandom):
    """For reading and writing a regular file."""


class Pair(Buffered, io.BufferedRWPair):
    """For reading and writing a socket."""


class Raw(io.FileIO):
    """Without a buffer, or below one for reading a pipe: each read and write is one of a
    descriptor.
    """

    def read(self, size=-1):
        """As of io.FileIO; by way of readinto()."""
        return io.RawIOBase.read(self, -1 if size is None else size)

    def readall(self):
        """As of io.FileIO; by way of readinto()."""
        return io.RawIOBase.readall(self)


wrap_methods(Raw, ["readinto"], lambda raw, *_: read_of(raw.fileno()))
wrap_methods(Raw, ["write"], lambda raw, *_: write_of(raw.fileno()))


class Open(Call):
    """open(): files that are written, and pipes, have events."""

    def __call__(
        self,
        file,
        mode="r",
        buffering=-1,
        encoding=None,
        errors=None,
        newline=None,
        closefd=True,
        opener=None,
    ):
        if is_wrong(mode, buffering, encoding, errors, newline) or not is_shown(file, mode):
            return self.function(file, mode, buffering, encoding, errors, newline, closefd, opener)
        is_unbuffered = buffering == 0 or mode.strip("bt") == "r"
        kind = Raw if is_unbuffered else io.FileIO
        raw = kind(file, "".join(letter for letter in mode if letter in "rwax+"), closefd, opener)
        try:
            return over(raw, mode, buffering, encoding, errors, newline)
        except BaseException:
            raw.close()
            raise


def is_wrong(mode, buffering, encoding, errors, newline) -> bool:
    """Whether open() refuses these arguments: then it is called, to say why."""
    letters = set(mode) if isinstance(mode, str) else {"?"}
    return (
        not letters <= set("rwaxbt+")
        or len(mode) != len(letters)
        or len(letters & set("rwax")) != 1
        or not isinstance(buffering, int)
        or ("b" in mode and ("t" in mode or (encoding, errors, newline) != (None, None, None)))
        or ("b" not in mode and buffering == 0)
    )


def is_shown(file, mode) -> bool:
    """Whether what is opened has events: a pipe, or what is written, by code of the program."""
    if gates.idle() or gates.place() is None:
        return False
    if set(mode) & set("wax+"):
        return True
    try:
        return type(file) is int and stat.S_ISFIFO(os.fstat(file).st_mode)
    except OSError:
        return False


def over(raw, mode, buffering, encoding, errors, newline):
    """Returns what open() makes over a raw file."""
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    if mode.strip("bt") == "r":
        buffer = io.BufferedReader(raw, size)
    else:
        buffer = (Random if "+" in mode else Writer)(raw, size)
        if found := about_descriptor(raw.fileno()):
            buffer.gate, buffer.size = (WRITES[found[0]], found[1]), size
    if "b" in mode:
        return buffer
    by_line = buffering == 1 or (buffering < 0 and raw.isatty())
    text = io.TextIOWrapper(buffer, encoding, errors, newline, by_line)
    text.mode = mode
    return text


def standard_input(old):
    """Returns a sys.stdin whose reads have events."""
    raw = Raw(0, "r", closefd=False)
    raw.name = "<stdin>"
    text = io.TextIOWrapper(
        io.BufferedReader(raw), old.encoding, old.errors, line_buffering=old.line_buffering
    )
    text.mode = "r"
    return text


def put_in_connections(module) -> None:
    """multiprocessing.connection: a message is one read, and one write."""
    shown = [
        (["send", "send_bytes"], write_of, none),
        (["recv"], read_of, none),
        (["recv_bytes", "recv_bytes_into"], read_of, None),
    ]
    for names, describe, amount in shown:
        wrap_methods(
            module.Connection,
            names,
            lambda connection, *_, describe=describe, **__: describe(connection.fileno()),
            whole=True,
            amount=amount,
        )
