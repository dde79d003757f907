"""What the operating system shows of a program that knows nothing of us: its processes, threads, descriptors, sockets, CPU, memory.

Every figure is of a family: a process and all its descendants. Who ends while we look is not counted; who belongs to others cannot be seen.
"""
import contextlib
import fcntl
import os
import re
import stat
import sys
import termios
import time
from typing import NamedTuple

import psutil

from harness.driving.messages import msg

PF_EXITING = 4                          # of the kernel's flags of a process
GONE = psutil.Error, OSError            # it ended while we looked, or is not ours to see


class Holdings(NamedTuple):
    """What must be back to the base line when clients have gone."""
    processes: int                      # zombies, too
    threads: int
    descriptors: int


def family(pid):
    """The process and all its descendants, as psutil processes."""
    try:
        main = psutil.Process(pid)
        return [main, *main.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def session(sid):
    """The living (not zombie) processes of a session, whoever their parents are."""
    found = []
    for pid in pids(sid):
        with contextlib.suppress(*GONE):
            if (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def pids(sid):
    """Those of a session, zombies too. As cheap as can be: it is asked again and again."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == sid:
                found.append(pid)
    return found


def ending(pid):
    """Whether it has begun to end, or has ended: its descriptors are closed before anybody can wait for it."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:       # (a program's name may be any bytes)
            state, *fields = file.read().rpartition(") ")[2].split()
            return state in "ZX" or bool(int(fields[5]) & PF_EXITING)
    except OSError:
        return True


def file_at_0(process):
    """The path of the regular file that this process has open as descriptor 0 and only reads, or None."""
    with contextlib.suppress(*GONE):
        path = f"/proc/{process.pid}/fd/0"
        with open(f"/proc/{process.pid}/fdinfo/0", encoding="ascii") as file:
            flags = int(re.search(r"^flags:\s+([0-7]+)", file.read(), re.MULTILINE)[1], 8)
        if stat.S_ISREG(os.stat(path).st_mode) and flags & os.O_ACCMODE == os.O_RDONLY:
            return os.readlink(path)
    return None


def reached_by(processes, signum):
    """Those of these processes that a signal reaches: they neither ignore nor block it."""
    found = []
    for process in processes:
        with contextlib.suppress(*GONE), open(f"/proc/{process.pid}/status") as file:
            masks = dict(re.findall(r"^(SigBlk|SigIgn):\s+(\w+)$", file.read(), re.M))
            if not any(int(mask, 16) >> (signum - 1) & 1 for mask in masks.values()):
                found.append(process)
    return found


def holdings(processes):
    threads = descriptors = 0
    for process in processes:
        with contextlib.suppress(*GONE):
            threads += process.num_threads()
            descriptors += process.num_fds()
    return Holdings(len(processes), threads, descriptors)


KINDS = {"processes": msg("processes"), "threads": msg("threads"), "descriptors": msg("descriptors")}


def grown(before, after, slack=0):
    """What there is more of than before, as texts: empty if by no kind there are more than `slack` more."""
    return [msg("{kind}: {old} before, {new} now", kind=KINDS[kind], old=old, new=new) for kind, old, new in zip(Holdings._fields, before, after) if new > old + slack]


def zombies(processes):
    """Those that ended, and that their parent did not wait for."""
    found = []
    for process in processes:
        with contextlib.suppress(*GONE):
            if process.status() == psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def sockets(processes, status):
    """{(own address, other address): how many of these processes hold it}, of the TCP sockets in this state (psutil.CONN_...)."""
    holders = {}
    for process in processes:
        with contextlib.suppress(*GONE):
            for end in {(one.laddr, one.raddr) for one in process.net_connections("tcp") if one.status == status}:
                holders[end] = holders.get(end, 0) + 1
    return holders


def listening(processes):
    """The addresses at which they listen, as `listening on` writes them."""
    return sorted(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for (host, port), _ in sockets(processes, psutil.CONN_LISTEN))


def cpu(processes):
    """CPU seconds so far; of the first, those of its ended and reaped children too."""
    total = 0.0
    for place, process in enumerate(processes):
        with contextlib.suppress(*GONE):
            times = process.cpu_times()
            total += times.user + times.system + (0 if place else times.children_user + times.children_system)
    return total


def memory(processes):
    """Bytes: what each has for itself and its part of what they share; what is in memory, where the kernel does not tell that."""
    total = 0
    for process in processes:
        with contextlib.suppress(*GONE):
            try:
                with open(f"/proc/{process.pid}/smaps_rollup") as file:
                    total += 1024 * int(re.search(r"^Pss: +(\d+) kB", file.read(), re.M)[1])
            except (OSError, TypeError):
                total += process.memory_info().rss
    return total


def stacks(processes):
    """Stacks of threads, ended ones that nobody joined or detached included: mappings of 64 kB or more right behind a guard page."""
    found = 0
    for process in processes:
        with contextlib.suppress(*GONE), open(f"/proc/{process.pid}/maps", errors="replace") as file:
            guard = None
            for start, end, mode, name in re.findall(r"^(\w+)-(\w+) (\S+) \S+ \S+ \d+ *(.*)$", file.read(), re.M):
                found += mode.startswith("rw") and guard == start and not name and int(end, 16) - int(start, 16) >= 1 << 16
                guard = end if mode.startswith("---") and not name and int(end, 16) - int(start, 16) <= 1 << 16 else None
    return found


def turns(processes):
    """{thread: (seconds on a CPU, seconds of waiting for a CPU, whether it is doing one of the two now)} so far."""
    found = {}
    for process in processes:
        with contextlib.suppress(*GONE):
            for thread in os.listdir(f"/proc/{process.pid}/task"):
                with contextlib.suppress(*GONE), open(f"/proc/{process.pid}/task/{thread}/schedstat") as times, \
                        open(f"/proc/{process.pid}/task/{thread}/stat", errors="replace") as state:
                    found[thread] = *(int(field) / 1e9 for field in times.read().split()[:2]), ") R " in state.read()
    return found


def starved(turns, seconds, cores):
    """Whether, of such turns(), one waited for a CPU for longer than so many seconds while others than this family had most of all cores.

    A family that keeps its own threads waiting has most of the cores itself.
    """
    waited = max((waited for _, waited, _ in turns.values()), default=0)
    return waited > seconds and sum(ran for ran, _, _ in turns.values()) < waited * cores / 4


def shares(looks, seconds):
    """Of several turns(), the first and the last so many seconds apart: {thread: the share of his own time in which it ran, not slept}.

    Time in which a thread wants a CPU and another has it is not its own: so a busy machine neither hides one that spins, nor
    accuses one that sleeps. A wait is counted when it is over; who wants a CPU whenever one looks has not slept at all.
    """
    found, nothing = {}, (0, 0, False)
    for thread, (ran, waited, _) in looks[-1].items():
        ran, waited = ran - looks[0].get(thread, nothing)[0], waited - looks[0].get(thread, nothing)[1]
        never_slept = all(look.get(thread, nothing)[2] for look in looks)
        found[thread] = 1.0 if never_slept and ran > 0.01 else ran / max(seconds - waited, ran, 0.1)
    return found


def busy(find, seconds=0.4):
    """How many cores the family that find() finds would use now, had it as many as it wants."""
    looks, start = [turns(find())], time.monotonic()
    for _ in range(4):                  # longer, while somebody is at it
        time.sleep(seconds)             # no wait for anything: it is what is measured
        looks.append(turns(find()))
        if not any(wants for _, _, wants in looks[-1].values()):
            break
    return sum(shares(looks, time.monotonic() - start).values())


# -- What the kernel still holds: bytes that were sent and not yet read


def waiting_in_pipe(pipe):
    """Bytes in this pipe that nobody has read yet; 0 if the kernel does not say."""
    try:
        return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def unread(local, remote):
    """Bytes that lie in the kernel, on this machine, for the connection between these two ports; 0 if it cannot be seen."""
    return queues(local, remote)[1]


def queues(local, remote):
    """(sent and not acknowledged, received and not read): bytes in the kernel, on this machine, of the
    socket at port `local` whose peer is at port `remote`; zeros if it cannot be seen."""
    try:
        with open("/proc/net/tcp") as table:
            for line in table:
                fields = line.split()
                if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{remote:04X}"):
                    sent, _, received = fields[4].partition(":")
                    return int(sent, 16), int(received, 16)
    except OSError:
        pass
    return 0, 0


def kernel_holds(client):
    """Bytes that the kernel has taken from the server for this client, and that the client has not read."""
    try:
        (_, mine, *_), (_, theirs, *_) = client.socket.getsockname(), client.socket.getpeername()
    except OSError:
        return 0
    return queues(theirs, mine)[0] + queues(mine, theirs)[1]
