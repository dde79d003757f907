"""What the operating system shows of a program: its processes, threads, descriptors, memory, CPU.

Most figures are of a family: a process and all its descendants. A process that ends during a look
is not counted. A process of another user cannot be seen.
"""

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import re
import resource
import signal
import socket
import stat
import sys
import termios
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import psutil

from harness.driving.messages import Message, msg

if TYPE_CHECKING:
    from harness.driving.client import WireClient

ESTABLISHED = "01"  # of the states in /proc/net/tcp
PF_EXITING = 4  # one of the kernel's flags of a process
PR_SET_PDEATHSIG = 1  # of prctl(2)
LIBC = ctypes.CDLL(None)
GONE = psutil.Error, OSError  # the process has ended, or belongs to another user


@contextlib.contextmanager
def as_owner(pid: int) -> Iterator[None]:
    """Look at a process of another user as that user, in this thread. Raises OSError.

    Root of a container lacks the capability (CAP_SYS_PTRACE) to look into the processes of others:
    the targets of their descriptors, their mappings. Their own user may look, and so may a thread
    whose user for files is that one (setfsuid(2), proc(5)).
    """
    owner = os.stat(f"/proc/{pid}")
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    LIBC.setfsgid(owner.st_gid)
    LIBC.setfsuid(owner.st_uid)
    try:
        yield
    finally:
        LIBC.setfsuid(0)
        LIBC.setfsgid(0)


def limit(pid: int, kind: int, *values: tuple[int, int]) -> tuple[int, int]:
    """Return a limit (soft, hard) of a process, such as resource.RLIMIT_NOFILE; set it to `values`,
    if there are any. Raises OSError.

    Root of a container may not do it as root (CAP_SYS_RESOURCE), so its own user does it then.
    """
    try:
        return resource.prlimit(pid, kind, *values)
    except PermissionError:
        if os.geteuid() != 0:
            raise
        owner = os.stat(f"/proc/{pid}")
        told, tells = os.pipe()
        if (child := os.fork()) == 0:
            try:
                os.setgroups([])
                os.setresgid(*[owner.st_gid] * 3)
                os.setresuid(*[owner.st_uid] * 3)
                os.write(tells, json.dumps(resource.prlimit(pid, kind, *values)).encode())
            finally:
                os._exit(0)
        os.close(tells)
        with open(told, "rb") as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        if not text:
            raise
        soft, hard = json.loads(text)
        return soft, hard


class Holdings(NamedTuple):
    """What a family holds, and must give back once its clients have gone."""

    processes: int  # zombies included
    threads: int
    descriptors: int


def family(pid: int) -> list[psutil.Process]:
    """Return the process and all its descendants; [] if it is gone."""
    try:
        main = psutil.Process(pid)
        return [main, *main.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def session(sid: int) -> list[psutil.Process]:
    """Return the processes of a session that are no zombies, whatever their parents are."""
    living = []
    for pid in pids(sid):
        with contextlib.suppress(*GONE):
            if not is_zombie(process := psutil.Process(pid)):
                living.append(process)
    return living


def is_zombie(process: psutil.Process) -> bool:
    """Return whether a process has ended, and its parent has not waited for it yet.

    A process whose first thread has ended looks like one as long as its other threads run.
    """
    return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1


def pids(sid: int) -> list[int]:
    """Return the ids of the processes of a session, zombies included.

    The harness calls this many times a second, so it makes no psutil.Process.
    """
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == sid:
                found.append(pid)
    return found


def ending(pid: int) -> bool:
    """Return whether a process has begun to end, or has ended.

    The kernel closes its descriptors before a parent can wait for it.
    """
    try:
        # The name of the program is in this file, and may be any bytes.
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            state, *fields = file.read().rpartition(") ")[2].split()
            return state in "ZX" or bool(int(fields[5]) & PF_EXITING)
    except OSError:
        return True


def shares_network(pid: int) -> bool:
    """Return whether a process is in our network; True, too, if it cannot be seen."""
    with contextlib.suppress(OSError), as_owner(pid):
        theirs = os.readlink(f"/proc/{pid}/ns/net")
        return theirs == os.readlink("/proc/self/ns/net")
    return True


def file_at_0(process: psutil.Process) -> str | None:
    """Return the path of the regular file that a process has at descriptor 0 for reading only.

    None if there is no such file.
    """
    with contextlib.suppress(*GONE), as_owner(process.pid):
        path = f"/proc/{process.pid}/fd/0"
        with open(f"/proc/{process.pid}/fdinfo/0", encoding="ascii") as file:
            flags = int(re.search(r"^flags:\s+([0-7]+)", file.read(), re.MULTILINE)[1], 8)
        if stat.S_ISREG(os.stat(path).st_mode) and flags & os.O_ACCMODE == os.O_RDONLY:
            return os.readlink(path)
    return None


def reached_by(processes: Iterable[psutil.Process], signum: int) -> list[psutil.Process]:
    """Return those of the processes that neither ignore nor block this signal."""
    reached = []
    for process in processes:
        with contextlib.suppress(*GONE), open(f"/proc/{process.pid}/status") as file:
            masks = dict(re.findall(r"^(SigBlk|SigIgn):\s+(\w+)$", file.read(), re.MULTILINE))
            if not any(int(mask, 16) >> (signum - 1) & 1 for mask in masks.values()):
                reached.append(process)
    return reached


def holdings(processes: Sequence[psutil.Process]) -> Holdings:
    """Return what these processes hold together."""
    threads = descriptors = 0
    for process in processes:
        with contextlib.suppress(*GONE):
            threads += process.num_threads()
            descriptors += process.num_fds()
    return Holdings(len(processes), threads, descriptors)


KINDS = {
    "processes": msg("processes"),
    "threads": msg("threads"),
    "descriptors": msg("descriptors"),
}


def grown(before: Sequence[int], after: Sequence[int], slack: int = 0) -> list[Message]:
    """Return a text for each kind of which there are more than `slack` more than before.

    `before` and `after` are two Holdings, or as many of their first fields.
    """
    return [
        msg("{kind}: {old} before, {new} now", kind=KINDS[kind], old=old, new=new)
        for kind, old, new in zip(Holdings._fields, before, after, strict=False)
        if new > old + slack
    ]


def zombies(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those of the processes that have ended without a parent's wait for them."""
    found = []
    for process in processes:
        with contextlib.suppress(*GONE):
            if is_zombie(process):
                found.append(process)
    return found


Address = tuple[str, int]


def sockets(processes: Iterable[psutil.Process], status: str) -> dict[tuple[Address, Address], int]:
    """Return the TCP sockets in this state (psutil.CONN_...), and how many processes hold each.

    A socket is a pair: its own address and the other end's.
    """
    holders: dict[tuple[Address, Address], int] = {}
    for process in processes:
        with contextlib.suppress(*GONE), as_owner(process.pid):
            ends = {
                (connection.laddr, connection.raddr)
                for connection in process.net_connections("tcp")
                if connection.status == status
            }
            for end in ends:
                holders[end] = holders.get(end, 0) + 1
    return holders


def listening(processes: Iterable[psutil.Process]) -> list[str]:
    """Return the addresses at which the processes listen, in the form of `listening on`."""
    return sorted(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for (host, port), _ in sockets(processes, psutil.CONN_LISTEN)
    )


def cpu(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU seconds that the processes have used so far.

    For the first process, those of its children that ended and were waited for count, too.
    """
    total = 0.0
    for place, process in enumerate(processes):
        with contextlib.suppress(*GONE):
            times = process.cpu_times()
            total += times.user + times.system
            if place == 0:
                total += times.children_user + times.children_system
    return total


def memory(processes: Iterable[psutil.Process]) -> int:
    """Return the bytes of memory of the processes, each shared page divided among them (PSS).

    Where the kernel does not say that, the resident set (RSS) counts.
    """
    total = 0
    for process in processes:
        with contextlib.suppress(*GONE), as_owner(process.pid):
            try:
                total += process.memory_full_info().pss
            except (psutil.AccessDenied, AttributeError):
                total += process.memory_info().rss
    return total


MAPPING = re.compile(r"^(\w+)-(\w+) (\S+) \S+ \S+ \d+ *(.*)$", re.MULTILINE)
LEAST_STACK, MOST_GUARD = 1 << 16, 1 << 16  # bytes
MOST_STACKS = 1 << 32  # bytes in one mapping; a larger one is no stacks, but what a sanitizer keeps
GUARD_BIT = 1 << 58  # of an entry of /proc/PID/pagemap, since Linux 6.15


def stacks(processes: Iterable[psutil.Process]) -> int:
    """Return how many stacks of threads the processes have mapped.

    Threads that ended count, if none joined or detached them. A stack is LEAST_STACK of memory or
    more directly after a guard. That is a mapping of its own, which nobody may read, or pages
    marked as one inside of the stack's mapping: with glibc 2.42 and newer, and Linux 6.13. Then
    neighbours can be one mapping. Of Linux 6.13 and 6.14 those marks cannot be seen.
    """
    count = 0
    for process in processes:
        with (
            contextlib.suppress(*GONE),
            as_owner(process.pid),
            open(f"/proc/{process.pid}/maps", errors="replace") as maps,
        ):
            guard_end = None
            for from_, to, mode, name in MAPPING.findall(maps.read()):
                start, end = int(from_, 16), int(to, 16)
                if mode.startswith("rw") and not name and end - start >= LEAST_STACK:
                    after_guard = guard_end == start
                    count += 1 if after_guard else stacks_inside(process.pid, start, end)
                is_guard = mode.startswith("---") and not name and end - start <= MOST_GUARD
                guard_end = end if is_guard else None
    return count


def stacks_inside(pid: int, start: int, end: int) -> int:
    """Return how many stacks begin with pages marked as a guard, in this mapping of a process."""
    if end - start > MOST_STACKS:
        return 0
    size = mmap.PAGESIZE
    with contextlib.suppress(OSError), open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pages:
        entries = array("Q", os.pread(pages.fileno(), (end - start) // size * 8, start // size * 8))
        return guarded(entries, LEAST_STACK // size)
    return 0


def guarded(entries: Iterable[int], least: int) -> int:
    """Return how often pages marked as a guard come before `least` others or more."""
    count, since_guard = 0, None
    for entry in entries:
        if entry & GUARD_BIT:
            since_guard = 0
        elif since_guard is not None:
            since_guard += 1
            count += since_guard == least
    return count


Turns = dict[str, tuple[float, float, bool]]


def turns(processes: Iterable[psutil.Process]) -> Turns:
    """Return what each thread has got of the CPUs so far, by the thread's id.

    The values are the seconds on a CPU, the seconds of waiting for one, and whether the thread
    does one of the two now.
    """
    found: Turns = {}
    for process in processes:
        with contextlib.suppress(*GONE):
            for thread in os.listdir(f"/proc/{process.pid}/task"):
                with (
                    contextlib.suppress(*GONE),
                    open(f"/proc/{process.pid}/task/{thread}/schedstat") as times,
                    open(f"/proc/{process.pid}/task/{thread}/stat", errors="replace") as state,
                ):
                    ran, waited = (int(field) / 1e9 for field in times.read().split()[:2])
                    found[thread] = ran, waited, ") R " in state.read()
    return found


def starved(turns: Turns, seconds: float, cores: int) -> bool:
    """Return whether programs outside this family kept one of its threads from a CPU.

    That is so if the thread waited for more than so many seconds while the family used little of
    the cores. A family that keeps its own threads waiting has most of the cores itself.
    """
    waited = max((waited for _, waited, _ in turns.values()), default=0)
    return waited > seconds and sum(ran for ran, _, _ in turns.values()) < waited * cores / 4


def shares(looks: Sequence[Turns], seconds: float) -> dict[str, float]:
    """Return the share of its own time in which each thread ran and did not sleep.

    `looks` are several results of turns(), the first and the last so many seconds apart.

    Time in which a thread waits for a CPU is not its own. So a busy machine neither hides a thread
    that spins nor accuses one that sleeps. The kernel counts a wait only when it is over. So a
    thread that runs or waits at every look counts as one that did not sleep at all.
    """
    found, nothing = {}, (0, 0, False)
    for thread, (ran, waited, _) in looks[-1].items():
        ran_before, waited_before, _ = looks[0].get(thread, nothing)
        ran, waited = ran - ran_before, waited - waited_before
        never_slept = all(look.get(thread, nothing)[2] for look in looks)
        if never_slept and ran > 0.01:
            found[thread] = 1.0
        else:
            found[thread] = ran / max(seconds - waited, ran, 0.1)
    return found


def busy(find: Callable[[], list[psutil.Process]], seconds: float = 0.4) -> float:
    """Return how many cores the processes that find() returns would use, if they had them.

    It measures for `seconds`, and up to four times as long while a thread wants to run.
    """
    looks, start = [turns(find())], time.monotonic()
    for _ in range(4):
        time.sleep(seconds)  # not a wait for something: the time in which it measures
        looks.append(turns(find()))
        if not any(wants for _, _, wants in looks[-1].values()):
            break
    return sum(shares(looks, time.monotonic() - start).values())


# -- Bytes in the kernel: sent and not yet read --------------------------------------------------


def waiting_in_pipe(pipe: int) -> int:
    """Return the bytes in this pipe that no process has read; 0 if the kernel does not say."""
    try:
        return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def unread(local: int, remote: int) -> int:
    """Return the bytes that the socket at port `local` has received and not read.

    Its peer is at port `remote`, on this machine. 0 if the kernel does not show it.
    """
    return queues(local, remote)[1]


def unread_of(sock: socket.socket) -> int:
    """Return the bytes that a client's socket has sent and the server has not read.

    0 if the connection is over, or the kernel does not show it.
    """
    try:
        (_, mine, *_), (_, theirs, *_) = sock.getsockname(), sock.getpeername()
    except OSError:
        return 0
    return unread(theirs, mine)


def queues(local: int, remote: int) -> tuple[int, int]:
    """Return (bytes sent and not acknowledged, bytes received and not read) of a socket.

    It is at port `local` of this machine, and its peer at port `remote`. Zeros if the kernel does
    not show it.
    """
    return next(((one.sent, one.received) for one in tcp_queues((local, remote))), (0, 0))


class TcpQueues(NamedTuple):
    """What the kernel holds for one TCP socket of this machine."""

    ends: tuple[int, int]  # its port, and its peer's
    is_established: bool
    sent: int  # bytes sent and not acknowledged
    received: int  # bytes received and not read


def tcp_queues(*wanted: tuple[int, int]) -> Iterator[TcpQueues]:
    """Yield the queues of the IPv4 sockets with these ends (port, peer's port), from /proc/net/tcp.

    A socket that has gone is left out; all are, if the kernel has no such file.
    """
    by_text = {f"{local:04X}:{remote:04X}": (local, remote) for local, remote in wanted}
    with contextlib.suppress(OSError), open("/proc/net/tcp") as table:
        for fields in map(str.split, table):
            ends = by_text.get(f"{fields[1][-4:]}:{fields[2][-4:]}")
            if ends:
                sent, _, received = fields[4].partition(":")
                yield TcpQueues(ends, fields[3] == ESTABLISHED, int(sent, 16), int(received, 16))


def kernel_holds(client: "WireClient") -> int:
    """Return the bytes that the kernel took from the server and this client has not read."""
    try:
        (_, mine, *_), (_, theirs, *_) = client.socket.getsockname(), client.socket.getpeername()
    except OSError:
        return 0
    return queues(theirs, mine)[0] + queues(mine, theirs)[1]


def dies_with_us() -> Callable[[], None]:
    """Return a function for preexec: it has the new process killed when its starter ends.

    That is when the thread that starts the process ends, also by kill -9. Linux only: on other
    systems the function does nothing.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def ask() -> None:
        if prctl:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return ask
