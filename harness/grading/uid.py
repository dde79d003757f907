"""Tier B: a cell for root in a container that allows no namespaces.

Each thread of a check starts its programs under a user id of its own, and all programs of a
submission share a group id. A program may read the system's programs, read and write its own
folders, and listen at its port. File permissions and Landlock see to that. seccomp takes away
dangerous system calls, and other sockets than TCP. The judge stays root, counts and kills by user
id, and is out of reach.

What this tier does not stop:

- read the command lines of the machine's processes (none of ours holds a secret);
- see that a file exists and when it is used (stat, inotify), where its folder is open to all;
- connect to a service's UNIX socket that is a file which all may write to;
- listen at a port that the kernel gives out; connect to its own port, if that was chosen for it;
- fill the kernel's buffers, or the disk, for a moment: the warden (warden.py) ends it then;
- use the CPU, until the total limit of a submission.

So one submission at a time runs on a machine.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pwd
import random
import resource
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.driving import cells, processes
from harness.driving.messages import msg
from harness.grading import landlock, seccomp
from harness.verdicts.temporary import remove

IDS = range(61000, 61184)  # no distribution's accounts, and below those that systemd gives out
KILLERS = 60816  # the first of as many user ids, which nothing else has either: see kill_user()
MOST_TOLD, MOST_LINE = 100, 500  # of the processes that were killed, and of a line: characters
LOCKS = Path("/run/grupo-cells")  # only root can make it there

ENDS_WITHIN = 60.0  # seconds: a thousand processes do not end at once on a busy machine

MEGABYTE = 1 << 20
MOST_DEPTH = 100  # of folders in folders
FOLDER = os.O_RDONLY | os.O_DIRECTORY
MOST_PROCESSES, MOST_DESCRIPTORS = 1024, 4096  # of one program, with its threads; of a process
LIMITS = {
    resource.RLIMIT_NPROC: MOST_PROCESSES,  # counted by user, and each program is one of its own
    resource.RLIMIT_NOFILE: MOST_DESCRIPTORS,
    resource.RLIMIT_FSIZE: 64 * MEGABYTE,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 65536,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_RTPRIO: 0,
    resource.RLIMIT_NICE: 0,
}

SYSTEM = [Path("/", name) for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "proc")]
SETTINGS = """
    alternatives ca-certificates.conf gai.conf host.conf hosts ld.so.cache ld.so.conf ld.so.conf.d
    locale.alias localtime mime.types nsswitch.conf os-release protocols services ssl timezone
    java-* python3*
"""
DEVICES = [Path("/dev", name) for name in ("null", "zero", "full", "random", "urandom", "tty")]
SHARED_MEMORY = Path("/dev/shm")  # of multiprocessing.Lock, for one
CPUS = Path("/sys/devices/system/cpu")


class Locked:
    """A number of IDS that no other run on this machine has, until close().

    The file that locks it is not empty while processes may have the number. So a run that was
    killed is known by its file, and the next one to get the number ends what is left.
    """

    def __init__(self, kind: str, end_all: Callable[[int], bool]):
        """`kind` is "user" or "group": each has a row of locks of its own. `end_all(number)` ends
        all processes that have it. Raises CellError.
        """
        with contextlib.suppress(FileExistsError):
            LOCKS.mkdir(mode=0o700)
        for self.number in random.sample(IDS, len(IDS)):
            self._lock = os.open(LOCKS / f"{kind}-{self.number}", os.O_CREAT | os.O_RDWR, 0o600)
            if self._take(end_all):
                os.write(self._lock, b"in use")
                return
            os.close(self._lock)
        raise cells.CellError(msg("no user id is free for a submission"))

    def _take(self, end_all: Callable[[int], bool]) -> bool:
        """Return whether the number is ours now, and free."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        is_left_over = os.fstat(self._lock).st_size > 0
        return not is_account(self.number) and not (is_left_over and not end_all(self.number))

    def close(self) -> None:
        """Give the number back; no process has it any more."""
        os.ftruncate(self._lock, 0)
        os.close(self._lock)


def is_account(number: int) -> bool:
    """Return whether a user of this machine has this id."""
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


# -- Processes by their ids ------------------------------------------------------------------------


def pids_of(*, user: int | None = None, group: int | None = None) -> list[int]:
    """Return the processes with this effective user or group id, zombies included.

    A program that may not change its ids cannot leave this set.
    """
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                owner = os.stat(f"/proc/{name}")
                if owner.st_uid == user or owner.st_gid == group:
                    found.append(int(name))
    return found


def users_of(group: int) -> set[int]:
    """Return the user ids of the processes with this group id."""
    found = set()
    for pid in pids_of(group=group):
        with contextlib.suppress(OSError):
            found.add(os.stat(f"/proc/{pid}").st_uid)
    return found & set(IDS)


@dataclass(frozen=True)
class Killed:
    """A process that was killed."""

    pid: int
    session: int
    line: str  # its command line

    def __str__(self) -> str:
        return f"pid {self.pid}: {self.line}"


def kill_user(user: int) -> list[Killed]:
    """Kill all processes of a user of IDS; return what they were.

    Each of the two signals reaches all of them at once, and a process with a signal cannot fork:
    none escapes, however fast it forks, and none is overlooked. Another process sends them under
    that user's id. They cannot kill it, as its real and its saved user are others; nor can that of
    another user of IDS, as each has its own. Only one for the same user runs at a time.
    """
    if user not in IDS:
        raise ValueError(user)
    told, tells = os.pipe()
    with open(LOCKS / f"killer-{user}", "w") as lock, open(told, "rb") as pipe:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (child := os.fork()) == 0:
            try:
                os.write(tells, json.dumps([*map(vars, killed_as(user))]).encode())
            finally:
                os._exit(0)
        os.close(tells)
        text = pipe.read()
        os.waitpid(child, 0)
    return [Killed(**one) for one in json.loads(text or b"[]")]


def killed_as(user: int) -> list[Killed]:
    """Become this user for good, and kill all its other processes; return what they were."""
    own = KILLERS + IDS.index(user)
    os.setgroups([])
    os.setresgid(own, own, own)
    os.setresuid(own, user, own)
    if os.getresuid() != (own, user, own):  # never by the rights of root
        raise PermissionError
    try:
        os.kill(-1, signal.SIGSTOP)
        found = [one for one in seen(pids_of(user=user)) if one.pid != os.getpid()]
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:  # there is none
        return []
    return found[:MOST_TOLD]


def seen(pids: Iterable[int]) -> Iterator[Killed]:
    """Yield what is known of those of the processes that run."""
    for pid in alive(pids):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", errors="replace") as file:
            line = file.read(MOST_LINE).replace("\0", " ").strip()
            yield Killed(pid, os.getsid(pid), line)


def alive(pids: Iterable[int]) -> list[int]:
    """Return those of the processes that are no zombies."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", errors="replace") as file:
            state, *fields = file.read().rpartition(") ")[2].split()
            if state not in "ZX" or int(fields[16]) > 1:  # its other threads still run
                found.append(pid)
    return found


def end_user(user: int, within: float = ENDS_WITHIN) -> bool:
    """Kill all processes of a user; return whether none is left after so many seconds."""
    kill_user(user)
    return are_gone(user, within)


def are_gone(user: int, within: float = ENDS_WITHIN) -> bool:
    """Return whether the processes of a user, which were killed, end within so many seconds."""
    end = time.monotonic() + within
    while alive(pids_of(user=user)):
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def end_group(group: int) -> bool:
    """Kill all processes with a group id of IDS; return whether none is left."""
    return all([end_user(user) for user in users_of(group)])


def reap(pids: Iterable[int]) -> None:
    """Wait for those of the processes that have ended and become ours."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):  # its parent is another process
            os.waitpid(pid, os.WNOHANG)


# -- The cell --------------------------------------------------------------------------------------


@dataclass
class UidProgram:
    """A program that runs under the user id of its check."""

    pid: int
    cell: "UidCell"
    user: int
    folder: Path  # its HOME and TMPDIR
    is_over: bool = False

    def others(self) -> set[int]:
        """Return the pids of the other programs that run under this user id."""
        programs = self.cell.programs
        return {
            one.pid
            for one in programs
            if one.user == self.user and not one.is_over and one is not self
        }

    def pids(self) -> list[int]:
        """Return the ids of all its processes, zombies included.

        A process that is surely another program's is none of them. A process that left its session,
        and has lost its parent, may be any program's: then it is this one's.
        """
        if self.is_over:
            return []
        found, others = pids_of(user=self.user), self.others()
        return [pid for pid in found if not (others and belongs_to(others, pid))]

    def processes(self) -> list[psutil.Process]:
        """Return all its processes that are no zombies, whatever their parents are."""
        living = []
        for pid in alive(self.pids()):
            with contextlib.suppress(*processes.GONE):
                living.append(psutil.Process(pid))
        return living

    def status(self, code: int) -> int:
        """Return the status itself: nothing is between the program and us."""
        return code

    def end(self) -> None:
        """Kill all its processes, and remove its temporary files. Raises CellError."""
        if self.is_over:
            return
        self.cell.strays += strays(self.kill(), self.pid)
        reap(pid for pid in self.pids() if pid != self.pid)  # its starter waits for that one
        self.is_over = True
        remove(self.folder)
        if not self.others():
            remove_shared_memory(user=self.user)

    def kill(self) -> list[Killed]:
        """Kill all its processes; return what they were. Raises CellError if some are left."""
        end, found = time.monotonic() + ENDS_WITHIN, []
        if not self.others():
            found = kill_user(self.user)
            are_gone(self.user)
        while left := [*seen(self.pids())]:
            if time.monotonic() > end:
                raise cells.CellError(msg("the program's processes could not be killed"))
            found += left
            for one in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
        return found


def belongs_to(programs: set[int], pid: int) -> bool:
    """Return whether a process is one of the programs, in its session, or descends from it."""
    with contextlib.suppress(*processes.GONE):
        above = {one.pid for one in psutil.Process(pid).parents()}
        return bool(programs & {pid, os.getsid(pid), *above})
    return False


def strays(found: Iterable[Killed], session: int) -> list[str]:
    """Return what those of the processes are that left their session, as texts."""
    return [*dict.fromkeys(str(one) for one in found if one.session != session)]


def remove_shared_memory(*, user: int | None = None, group: int | None = None) -> None:
    """Remove what a user or a group left in /dev/shm, where others could read it."""
    with contextlib.suppress(OSError), os.scandir(SHARED_MEMORY) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                about = entry.stat(follow_symlinks=False)
                if about.st_uid != user and about.st_gid != group:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    remove(Path(entry.path))
                else:
                    os.unlink(entry.path)


class UidCell:
    """Starts the programs of one submission, each under a user id of its own."""

    tier = "B"

    def __init__(self, folder: str | Path, group: int):
        """`folder` is the submission's own, in which the judge makes its folders; `group` is the
        group id that all its processes have.
        """
        self.folder, self.group = Path(folder).resolve(), group
        self.environment: Mapping[str, str] | None = None
        self.strays: list[str] = []
        self.programs: list[UidProgram] = []  # of this process
        self._own, self._process, self._lock = threading.local(), 0, threading.Lock()

    def user(self) -> int:
        """Return the user id of the programs that this thread starts. Raises CellError.

        Each check is a process, and its locks of user ids end with it. Its threads start and end
        programs at the same time: by their ids, one never ends what another one is about to start.
        """
        with self._lock:
            if self._process != os.getpid():
                self._own, self._process, self.programs = threading.local(), os.getpid(), []
        if not hasattr(self._own, "user"):
            self._own.user = Locked("user", end_user).number
        found: int = self._own.user
        return found

    def started(
        self,
        argv: Sequence[str],
        *,
        cwd: str | Path,
        env: Mapping[str, str],
        readable: Iterable[str | Path] = (),
        writable: Iterable[str | Path] = (),
        terminal: bool = False,
        closed: bool = False,
    ) -> cells.Launch:
        """Return what starts `argv`: see cells.Cell. Raises CellError, or OSError."""
        user, cwd = self.user(), cells.there(cwd)
        home = Path(tempfile.mkdtemp(prefix="home-", dir=self.folder))
        own = [home, *(path for path in map(cells.there, writable) if path != cwd)]
        for path in own:
            self.hand_over(path, user)
        self.share(cwd)
        readable = [*map(Path, readable)]
        for path in readable:
            self.show(path)
        env = self.with_copies(env, readable)
        rules = landlock.Rules(
            read=[*SYSTEM, *settings(), CPUS, *interpreters(), *readable],
            write=[*own, cwd, SHARED_MEMORY],
            devices=DEVICES,
            bind=[port := port_of(argv)],
            connect=[port] if port else [],
        )
        return cells.Launch(
            list(argv),
            seccomp.environment({**env, "HOME": str(home), "TMPDIR": str(home)}),
            str(cwd),
            lambda pid: self.found(pid, home),
            preexec=Confinement(rules, user, self.group, closed),
        )

    def found(self, pid: int, home: Path) -> UidProgram:
        """Return the program that was started as this process."""
        self.programs.append(UidProgram(pid, self, self.user(), home))
        return self.programs[-1]

    def hand_over(self, path: Path, user: int) -> None:
        """Give a folder of ours, and all in it, to a user. Raises CellError."""
        with self.opened(path) as top:
            for name, folder in tree(top):
                if is_own(os.stat(name, dir_fd=folder, follow_symlinks=False)):
                    os.chown(name, user, self.group, dir_fd=folder, follow_symlinks=False)

    def share(self, path: Path) -> None:
        """Let all programs of the submission use a folder and all in it. Raises CellError."""
        with self.opened(path) as top:
            for name, folder in tree(top):
                about = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not is_own(about) or stat.S_ISLNK(about.st_mode):
                    continue
                os.chown(name, -1, self.group, dir_fd=folder, follow_symlinks=False)
                mode = stat.S_IMODE(about.st_mode)
                as_owner = (mode & stat.S_IRWXU) >> 3
                if mode & as_owner != as_owner:
                    os.chmod(name, mode | as_owner, dir_fd=folder)

    def show(self, path: Path) -> None:
        """Let all read what is ours in the submission's folder, and use a socket in it."""
        if not path.resolve().is_relative_to(self.folder):
            return
        with self.opened(path if path.is_dir() else path.parent) as top:
            for name, folder in tree(top):
                about = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if about.st_uid or not is_own(about) or stat.S_ISLNK(about.st_mode):
                    continue
                more = 0o055 if stat.S_ISDIR(about.st_mode) else 0o044
                if stat.S_ISSOCK(about.st_mode):
                    more = 0o066
                os.chmod(name, stat.S_IMODE(about.st_mode) | more, dir_fd=folder)

    def with_copies(self, env: Mapping[str, str], paths: list[Path]) -> dict[str, str]:
        """Return this environment with copies in place of those of the paths that only root can
        come to, such as libraries in root's own project. The copies stand in `paths`, too.
        """
        found = dict(env)
        for place, path in enumerate(paths):
            if is_open(path):
                continue
            copy = self.folder / f"copy-{hashlib.sha256(os.fsencode(path)).hexdigest()}" / path.name
            if not copy.exists():
                copy.parent.mkdir(mode=0o755, exist_ok=True)
                (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
                self.show(copy)
            paths[place] = copy
            for name in cells.LOADED:
                parts = found.get(name, "").split(":")
                if str(path) in parts:
                    parts[parts.index(str(path))] = str(copy)
                    found[name] = ":".join(parts)
        return found

    @contextlib.contextmanager
    def opened(self, path: Path) -> Iterator[int]:
        """Open a folder in the submission's own, through folders that are no links; let its user
        come there from above. Raises CellError.
        """
        place = os.open(self.folder, FOLDER)
        try:
            for part in path.resolve().relative_to(self.folder).parts:
                let_pass(place)
                below = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=place)
                os.close(place)
                place = below
            yield place
        except ValueError:
            raise cells.CellError(
                msg("{path} is not in the submission's own folder", path=path)
            ) from None
        finally:
            os.close(place)


def is_own(about: os.stat_result) -> bool:
    """Return whether a file is a submission's, and nowhere else: root's may have another name."""
    return about.st_uid in IDS or stat.S_ISDIR(about.st_mode) or about.st_nlink == 1


def is_open(path: Path) -> bool:
    """Return whether every user of the machine can come to a path, and read it."""
    return bool(path.stat().st_mode & stat.S_IROTH) and all(
        folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents
    )


def let_pass(folder: int) -> None:
    """Let all users pass through a folder of ours, without a look at what is in it."""
    about = os.fstat(folder)
    if about.st_uid == 0:
        os.fchmod(folder, stat.S_IMODE(about.st_mode) | stat.S_IXGRP | stat.S_IXOTH)


def tree(top: int, depth: int = 0) -> Iterator[tuple[str, int]]:
    """Yield an open folder and all in it, each as a name and the descriptor of the folder with it.

    No link is followed, not even one that another program puts there meanwhile. Raises CellError
    if folders are deeper in it than MOST_DEPTH.
    """
    if depth == 0:
        yield ".", top
    if depth > MOST_DEPTH:
        raise cells.CellError(msg("the submission made folders that are too deep"))
    with os.scandir(top) as entries:
        for entry in entries:
            yield entry.name, top
            with contextlib.suppress(OSError):  # it is no folder, or gone
                if entry.is_dir(follow_symlinks=False):
                    below = os.open(entry.name, FOLDER | os.O_NOFOLLOW, dir_fd=top)
                    try:
                        yield from tree(below, depth + 1)
                    finally:
                        os.close(below)


@functools.cache
def settings() -> list[Path]:
    """Return the files of /etc that programs need, and that say nothing of the users."""
    return [path for pattern in SETTINGS.split() for path in Path("/etc").glob(pattern)]


def interpreters() -> list[Path]:
    """Return where this Python and its packages are."""
    return [Path(sys.base_prefix), Path(sys.prefix)]


def port_of(argv: Sequence[str]) -> int:
    """Return the port of a server's command line; 0: any."""
    words = list(argv)
    with contextlib.suppress(ValueError, IndexError):
        port = int(words[words.index("--port") + 1])
        return port if port in range(1 << 16) else 0  # the server is to refuse any other
    return 0


class Confinement:
    """Gives up, between fork and exec, all that the program must not have."""

    def __init__(self, rules: landlock.Rules, user: int, group: int, closed: bool):
        """`closed`: the program's descriptor 0 is closed. Raises CellError."""
        self.user, self.group, self.closed = user, group, closed
        self.limit = landlock.Limiter(rules)
        may_connect = self.limit.abi >= landlock.PORTS_ABI
        try:
            code = seccomp.program(tcp_only=True, may_connect=may_connect)
        except seccomp.NoFilter as why:
            raise cells.CellError(*why.args) from None
        self.filter = seccomp.Loader(code)

    def __call__(self) -> None:
        """Do it. Raises OSError; then the program does not start."""
        for descriptor in 0, 1, 2:
            self.give(descriptor)
        for kind, most in LIMITS.items():
            soft, hard = resource.getrlimit(kind)
            hard = most if hard == resource.RLIM_INFINITY else min(hard, most)
            soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
            resource.setrlimit(kind, (soft, hard))
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # if the machine is out of memory, this one ends first
        self.limit()  # root may still open what the rules name
        os.setgroups([])
        os.setresgid(self.group, self.group, self.group)
        os.setresuid(self.user, self.user, self.user)
        if self.closed:
            os.close(0)
        self.filter()

    def give(self, descriptor: int) -> None:
        """Let the program open /dev/stdin and its like: a pipe or a terminal becomes its own."""
        with contextlib.suppress(OSError):
            is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
            if is_pipe or os.isatty(descriptor):
                os.fchown(descriptor, self.user, self.group)
