"""Tier A: a cell of namespaces, made by bubblewrap.

There are two walls. The judge of one submission runs within the outer one: a network, processes and
a temporary folder of its own, and of the machine's files only the system, Python and the harness,
all read-only. Root gives the judge a user id of its own first. Each program under check runs within
an inner wall: no harness, a file system made of named parts, a system-call filter, and only those
files of the judge that it is to have.

Both walls have the same network, so the judge's sockets and /proc/net/tcp are as anywhere. The
judge's user namespace is the parent of the program's, so the kernel lets the judge look at the
program, signal it and limit it; the program cannot even name the judge.

When a program ends, what it left behind goes on until the judge ends its cell: a check counts it.
The end of the judge ends all, as it is the outer wall's main program (--die-with-parent). The judge
ends with its supervisor: see supervisor.end_with().
"""

import contextlib
import fcntl
import functools
import json
import os
import re
import select
import shutil
import signal
import sys
import tempfile
import termios
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from harness.driving import cells
from harness.driving.compiled import NotCompiled
from harness.driving.messages import msg
from harness.driving.processes import GONE, is_zombie
from harness.driving.server import ROOT
from harness.explore.native import gates_library
from harness.explore.threads import children_of
from harness.grading import seccomp, supervisor, uid
from harness.verdicts.disturb import compiled_shim

MEGABYTE = 1 << 20
SIZE = 512 * MEGABYTE  # of the judge's temporary folder, and all submitted or written in it
TEMPORARY, SHARED = 64 * MEGABYTE, 16 * MEGABYTE  # of a program's /tmp and /dev/shm
# Threads and processes of one program. A server that forks on is found at 500 (Checked).
MOST_PROCESSES = uid.MOST_PROCESSES
MOST_DESCRIPTORS = uid.MOST_DESCRIPTORS  # of each process
MOST_FILE = 64 * MEGABYTE  # a sparse file may be longer than all memory, and a check reads it
MEMORY = 1024 * MEGABYTE  # of one program, all its processes together
MEMORY_OF_JUDGE = 2048 * MEGABYTE  # of all its processes: what programs write may fill it
MOST_FILES = 20_000  # of one program in its own folders, and of all of them in the judge's
OWN = "/tmp", "/dev/shm"  # a program's own folders
PAGE = os.sysconf("SC_PAGE_SIZE")
NS_GET_PARENT = 0xB702  # of linux/nsfs.h
LIMITS = "--core=0", "--memlock=65536", "--msgqueue=0"
LOOKS = 0.0003  # seconds between two looks for the program of a cell that is being made
MADE_WITHIN = 20.0  # seconds in which a cell is made, on the busiest machine

SYSTEM = "bin", "sbin", "lib", "lib32", "lib64", "libx32"  # beside /usr; often links to it
PATH = "/usr/local/bin:/usr/bin:/bin"
ACCOUNT = "student:x:1000:1000::/tmp:/bin/sh\n"
HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
USER, HOST = 1000, "host"
WITHOUT = shutil.ignore_patterns("certs", "private")  # many files, for hosts that it cannot reach


def is_here() -> bool:
    """Return whether bubblewrap is installed. Whether it works, probe.py tries."""
    return shutil.which("bwrap") is not None


# -- What can be seen in a cell --------------------------------------------------------------------


def folders_to(path: Path) -> list[str]:
    """Return the arguments that make the folders above a path; all may pass through them."""
    above = [folder for folder in reversed(path.parents) if folder != Path("/")]
    return [word for folder in above for word in ("--perms", "0755", "--dir", str(folder))]


def shown(path: Path, how: str = "--ro-bind") -> list[str]:
    """Return the arguments that show a file or folder at its own place."""
    return [*folders_to(path), how, str(path), str(path)]


def of_system() -> list[str]:
    """Return the arguments that show the system's programs and libraries, and no settings."""
    words = shown(Path("/usr"))
    for name in SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            words += shown(path)
    return words


def of_python() -> list[str]:
    """Return the arguments that show this Python, and the packages of its environment.

    The environment's folder may lie in the project, and holds compiled parts of the harness: so it
    is shown in parts.
    """
    venv, words = Path(sys.prefix), []
    for root in homes_of_python():
        words += shown(root)
    if any(ROOT.is_relative_to(root) for root in ("/usr", *homes_of_python())):
        words += ["--tmpfs", str(ROOT)]  # it covers the harness
    if sys.prefix == sys.base_prefix:
        return words
    for part in sorted(venv.iterdir()):
        if part.name in ("lib64",) and part.is_symlink():
            words += [*folders_to(part), "--symlink", os.readlink(part), str(part)]
        elif part.name in ("bin", "lib", "lib64", "pyvenv.cfg"):
            words += shown(part)
    return words


def homes_of_python() -> list[Path]:
    """Return the folders with the interpreter and its library, but for those in /usr."""
    found = {Path(sys.base_prefix), Path(sys.base_exec_prefix)}
    program = Path(sys.executable)
    while program.is_symlink():
        program = program.parent / os.readlink(program)
        found.add(Path(os.path.normpath(program)).parent.parent)
    elsewhere = [
        path
        for path in found
        if not path.is_relative_to("/usr") and not path.is_relative_to(sys.prefix)
    ]
    return sorted(path for path in elsewhere if path != Path("/"))


# -- The outer wall: around the judge --------------------------------------------------------------


@contextlib.contextmanager
def wall(argv: Sequence[str], env: Mapping[str, str]) -> Iterator[supervisor.Start]:
    """Give the start of a judge within the outer wall. Root gives it a free user id.

    Raises cells.CellError.
    """
    if not is_here():
        raise cells.CellError(msg("bubblewrap is not installed (Debian, Ubuntu: bubblewrap)"))
    with contextlib.ExitStack() as closing:
        files: list[IO[bytes]] = []
        line: list[str] = [tool("prlimit"), *LIMITS]
        owner = os.getuid()
        if owner == 0:
            owner = closing.enter_context(
                contextlib.closing(uid.Locked("user", uid.end_user))
            ).number
            files.append(as_file(arguments_of_root()))
            line += [tool("bwrap"), "--args", str(files[-1].fileno()), "--"]
            line += [tool("setpriv"), f"--reuid={owner}", f"--regid={owner}", "--clear-groups"]
        told, tells = os.pipe()
        status = closing.enter_context(os.fdopen(told, "rb", buffering=0))
        files.append(os.fdopen(tells, "wb", buffering=0))
        words = ["--json-status-fd", str(files[-1].fileno())]
        files.append(as_file(words + arguments_of_judge(owner, env, files)))
        for file in files:
            closing.enter_context(file)
        line += [tool("bwrap"), "--args", str(files[-1].fileno()), "--", *argv]
        numbers = [file.fileno() for file in files]
        yield supervisor.Start(line, pass_fds=numbers, look=Watch(status))


def arguments_of_root() -> list[str]:
    """Return bwrap's arguments for root: what the judge may see becomes open to every user.

    The folders that lead there may be root's own, such as /root.
    """
    return [
        *("--die-with-parent", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
        *of_harness(),
        *("--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev", "--dir", "/tmp"),
    ]


def arguments_of_judge(owner: int, env: Mapping[str, str], files: list[IO[bytes]]) -> list[str]:
    """Return bwrap's arguments for the judge's own wall; `files` gets what they name."""
    words = [
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-net"),
        *("--unshare-cgroup-try", "--die-with-parent", "--proc", "/proc", "--dev", "/dev"),
        *("--size", str(SHARED), "--tmpfs", "/dev/shm", "--size", str(SIZE), "--tmpfs", "/tmp"),
        *of_harness(),
        "--clearenv",
    ]
    for name, value in {**env, "HOME": "/tmp", "TMPDIR": "/tmp"}.items():
        words += ["--setenv", name, value]
    folder = Path("/tmp", f"grupo-compiled-{owner}")
    words += ["--perms", "0700", "--dir", str(folder)]
    for program in compiled_programs():
        files.append(open(program, "rb"))
        words += ["--perms", "0755", "--file", str(files[-1].fileno()), str(folder / program.name)]
    return [*words, "--remount-ro", "/", "--chdir", "/tmp"]


def of_harness() -> list[str]:
    """Return the arguments that show what the judge needs to see of the machine."""
    venv = Path(os.path.realpath(sys.prefix))  # in ROOT there may be only a link to it
    more = [] if venv.is_relative_to(ROOT) else shown(venv)
    return [*of_system(), *shown(Path("/etc")), *of_python(), *shown(ROOT), *more]


@functools.cache
def compiled_programs() -> list[Path]:
    """Return what the harness compiles for checks, so that no judge has to do it again."""
    found = []
    for make in compiled_shim, gates_library:
        with contextlib.suppress(NotCompiled, OSError):
            found.append(Path(make()))
    return found


class Watch:
    """Sees from outside to it that no program takes the machine's memory, in whatever form.

    It counts by pid namespace: those of the programs are the children of the judge's.
    """

    def __init__(self, status: IO[bytes]):
        """`status` is what bwrap tells of the judge's wall."""
        self.status = status
        os.set_blocking(status.fileno(), False)
        self.judge, self.told = 0, b""
        self.own = ""  # the judge's pid namespace
        self.known: dict[int, str] = {}  # of each process its namespace, '' if it is none of these

    def __call__(self, pid: int, log: supervisor.Log) -> None:
        """Look once, and end the programs that have too much."""
        if not self.judge:
            self.told += self.status.read() or b""
            if b"\n" not in self.told:
                return
            self.judge = int(json.loads(self.told.partition(b"\n")[0])["child-pid"])
            with contextlib.suppress(OSError):  # it has ended already
                self.own = namespace_of(self.judge)
        if not self.own:
            return
        if self.excesses():
            # The kernel gives a process's id again, perhaps to the judge of another submission. So
            # nothing ends because of what was true at an earlier look.
            self.known = {}
            for members, why in self.excesses():
                end_members(members, log, why)

    def excesses(self) -> list[tuple[list[int], str]]:
        """Return the processes that have too much, and of what."""
        found = []
        programs = self.programs()
        if too_large(own := programs.pop(self.own, []), MEMORY_OF_JUDGE):
            most = MEMORY_OF_JUDGE >> 20
            found.append((own, f"The judge had more than {most} MB of memory"))
        full = files_in(self.judge, "/tmp") > MOST_FILES  # any of them may have written these
        for members in programs.values():
            if full or any(files_in(members[0], path) > MOST_FILES for path in OWN):
                found.append((members, f"A program had more than {MOST_FILES} files"))
            elif too_large(members, MEMORY):
                most = MEMORY >> 20
                found.append((members, f"A program had more than {most} MB of memory"))
        return found

    def programs(self) -> dict[str, list[int]]:
        """Return the processes of the judge and of each program, by their pid namespaces."""
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self.known = {pid: space for pid, space in self.known.items() if pid in pids}
        for pid in pids - self.known.keys():
            self.known[pid] = ""
            with contextlib.suppress(OSError):
                space = namespace_of(pid)
                if space == self.own or parent_namespace(pid) == self.own:
                    self.known[pid] = space
        found: dict[str, list[int]] = {}
        for pid, space in self.known.items():
            if space:
                found.setdefault(space, []).append(pid)
        return found


def parent_namespace(pid: int) -> str:
    """Return the name of the pid namespace above a process's own; '' if we are in that one."""
    with open(f"/proc/{pid}/ns/pid", "rb") as space:
        try:
            parent = fcntl.ioctl(space, NS_GET_PARENT)
        except OSError:  # above ours
            return ""
    try:
        return f"pid:[{os.fstat(parent).st_ino}]"
    finally:
        os.close(parent)


def too_large(pids: Sequence[int], most: int) -> bool:
    """Return whether these processes have more memory than so many bytes."""
    return memory(pids, "statm") > most and memory(pids, "smaps_rollup") > most


def memory(pids: Iterable[int], source: str) -> int:
    """Return the bytes of memory of these processes.

    By "statm", what each has (RSS), which is read fast; by "smaps_rollup", with each shared page
    divided among those that have it (PSS).
    """
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{source}") as file:
            text = file.read()
            if source == "statm":
                total += int(text.split()[1]) * PAGE
            elif share := re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE):
                total += int(share[1]) << 10
    return total


def files_in(pid: int, folder: str) -> int:
    """Return how many files the file system of this folder has, as a process sees it."""
    with contextlib.suppress(OSError):
        about = os.statvfs(f"/proc/{pid}/root{folder}")
        return about.f_files - about.f_ffree
    return 0


def end_members(pids: Iterable[int], log: supervisor.Log, why: str) -> None:
    """Kill these processes, and say why in the log."""
    log.add(f"{why}, and was ended.\n".encode())
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


# -- The inner wall: around a program --------------------------------------------------------------


class Bubblewrap:
    """Starts programs within the inner wall. Only for a judge within the outer one."""

    tier = "A"

    def __init__(self) -> None:
        """Prepare what all starts have in common. Raises CellError."""
        self.strays: list[str] = []
        self.environment = {
            **{"PATH": PATH, "HOME": "/tmp", "LANG": "C.UTF-8", "TERM": "xterm"},
            **{"USER": "student", "LOGNAME": "student"},
        }
        try:
            self.filter = seccomp.program()
        except seccomp.NoFilter as why:
            raise cells.CellError(*why.args) from None
        self.base = [
            *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts"),
            *("--unshare-cgroup-try", "--disable-userns", "--cap-drop", "ALL"),
            *("--uid", str(USER), "--gid", str(USER), "--hostname", HOST, "--clearenv"),
            *("--proc", "/proc", "--dev", "/dev"),
            *("--size", str(SHARED), "--tmpfs", "/dev/shm"),
            *("--size", str(TEMPORARY), "--tmpfs", "/tmp"),
            *of_system(),
            *of_settings(),
            *of_python(),
        ]

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
        """Return what starts `argv`: see cells.Cell. Raises OSError if there is no such command."""
        must_be_there(argv[0], cwd, env)
        words = list(self.base)
        for path in map(Path, readable):
            words += shown(path) if may_be_shown(path) else []
        for path in map(Path, [cwd, *writable]):
            words += shown(path, "--bind") if is_judges(path) else []
        words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(cwd)]
        told, tells = os.pipe()
        status, end = os.fdopen(told, "rb", buffering=0), os.fdopen(tells, "wb", buffering=0)
        code = as_file(self.filter)
        words += ["--json-status-fd", str(end.fileno()), "--seccomp", str(code.fileno())]
        args = as_file(words)
        files = [args, code, end]
        line = [tool("bwrap"), "--args", str(args.fileno()), "--"]
        numbers = tuple(file.fileno() for file in files)

        def find(starter: int) -> Caged:
            for file in files:
                file.close()
            return found(status, self)

        return cells.Launch(
            [*line, *chain(argv, env, terminal, closed)],
            {},
            "/",
            find,
            numbers,
            functools.partial(leave_terminal, numbers) if terminal else None,
        )


def of_settings() -> list[str]:
    """Return the arguments for /etc: what programs need of it, with one account and one host.

    It is one folder, since each thing that bwrap shows costs a start some time.
    """
    folder = Path(tempfile.mkdtemp(prefix="etc-"))
    folder.chmod(0o755)
    for path in uid.settings():
        copy = folder / path.name
        with contextlib.suppress(OSError):  # not open to all, or a link to nothing
            if path.is_dir():
                shutil.copytree(path, copy, symlinks=True, ignore=WITHOUT)
            else:
                shutil.copy2(path, copy)
    for name, text in ("passwd", ACCOUNT), ("group", "student:x:1000:\n"), ("hosts", HOSTS):
        (folder / name).write_text(text)
    return ["--ro-bind", str(folder), "/etc"]


def is_judges(path: Path) -> bool:
    """Return whether a path is within the judge's temporary folder: a program may get that."""
    top = Path(tempfile.gettempdir())
    return path != top and Path(os.path.realpath(path)).is_relative_to(top)


def may_be_shown(path: Path) -> bool:
    """Return whether a program may see a file or folder that the harness has it load."""
    return is_judges(path) or (path != ROOT and path.is_relative_to(ROOT / "harness"))


def must_be_there(program: str, cwd: str | Path, env: Mapping[str, str]) -> None:
    """Raise the OSError of a command that does not exist, as exec() in `cwd` would."""
    if os.sep in program:
        program = os.path.join(cwd, program)
    if shutil.which(program, path=env.get("PATH", PATH)) is None:
        error = PermissionError if os.path.exists(program) else FileNotFoundError
        number = 13 if os.path.exists(program) else 2
        raise error(number, os.strerror(number), program)


def chain(argv: Sequence[str], env: Mapping[str, str], terminal: bool, closed: bool) -> list[str]:
    """Return the programs that follow bwrap in the same process, up to the one under check.

    Each does what has to be done within the cell: a session of its own, in which nothing of bwrap
    gets the terminal's signals; the number of processes, which is counted per user namespace; the
    environment, in which there may be a library that no other program is to load.
    """
    line = [tool("setsid"), *(["--ctty"] if terminal else [])]
    line += [tool("prlimit"), f"--nproc={MOST_PROCESSES}", f"--fsize={MOST_FILE}"]
    variables = seccomp.environment(env).items()
    line += [tool("env"), "-i", *(f"{name}={value}" for name, value in variables)]
    if closed:
        line += ["/bin/sh", "-c", 'exec "$@" <&-', "sh"]
    return [*line, *argv]


@functools.cache
def tool(name: str) -> str:
    """Return the path of a program of the system. Raises CellError."""
    if (path := shutil.which(name, path=f"{PATH}:/usr/sbin:/sbin")) is None:
        raise cells.CellError(msg("there is no program {name} on this machine", name=name))
    return path


def as_file(content: Sequence[str] | bytes) -> IO[bytes]:
    """Return a file in memory with this content: bytes, or arguments as bwrap reads them."""
    if not isinstance(content, bytes):
        content = b"".join(os.fsencode(word) + b"\0" for word in content)
    file = os.fdopen(os.memfd_create("grupo"), "w+b", buffering=0)
    file.write(content)
    file.seek(0)
    return file


def leave_terminal(needed: Iterable[int]) -> None:
    """Give up the controlling terminal, so that the program can have it; keep these descriptors.

    The kernel sends the leader of a session that does so a SIGHUP.
    """
    for descriptor in needed:
        os.set_inheritable(descriptor, True)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    fcntl.ioctl(0, termios.TIOCNOTTY)
    signal.signal(signal.SIGHUP, before)


# -- A program within ------------------------------------------------------------------------------


def found(status: IO[bytes], cell: Bubblewrap) -> "Caged":
    """Return the program of a cell that is being made, from what bwrap tells of it.

    Raises CellError.
    """
    end, told = time.monotonic() + MADE_WITHIN, b""
    while b"\n" not in told:
        ready, _, _ = select.select([status], [], [], max(0.0, end - time.monotonic()))
        chunk = status.read(4096) if ready else b""
        if not chunk:
            raise cells.CellError(msg("bubblewrap could not make the cell"))
        told += chunk
    first = int(json.loads(told.partition(b"\n")[0])["child-pid"])
    with contextlib.suppress(ProcessLookupError):
        life = os.fdopen(os.pidfd_open(first), "rb", buffering=0)
        while time.monotonic() < end:
            if children := children_of(first):
                with contextlib.suppress(OSError):
                    return Caged(min(children), first, life, namespace_of(first), status, cell)
            if select.select([life], [], [], LOOKS)[0]:
                break
    while chunk := status.read(4096):
        told += chunk
    if b"exit-code" not in told:
        raise cells.CellError(msg("bubblewrap could not make the cell"))
    return Caged(first, 0, None, "", status, cell)  # it has ended already


def namespace_of(pid: int) -> str:
    """Return the name of a process's pid namespace. Raises OSError."""
    return os.readlink(f"/proc/{pid}/ns/pid")


@dataclass
class Caged:
    """A program within the inner wall. `first` is the first process of its pid namespace."""

    pid: int
    first: int
    life: IO[bytes] | None  # readable when `first` has ended; None: it ended before we looked
    namespace: str
    told: IO[bytes]  # what bwrap tells of it: stays open, else the last of that would end bwrap
    cell: Bubblewrap
    is_settled: bool = False

    def is_over(self) -> bool:
        """Return whether no process of it is left."""
        return self.life is None or bool(select.select([self.life], [], [], 0)[0])

    def pids(self) -> list[int]:
        """Return the ids of all its processes, zombies included."""
        members = []
        for pid in psutil.pids() if not self.is_over() else []:
            with contextlib.suppress(OSError):
                if pid != self.first and namespace_of(pid) == self.namespace:
                    members.append(pid)
        return members

    def processes(self) -> list[psutil.Process]:
        """Return all its processes that are no zombies, whatever their parents are."""
        living = []
        for pid in self.pids():
            with contextlib.suppress(*GONE):
                if not is_zombie(process := psutil.Process(pid)):
                    living.append(process)
        return living

    def status(self, code: int) -> int:
        """Return its status, of bwrap's, which is 128 more than the signal that ended it."""
        self.settle()
        with contextlib.suppress(ValueError):
            return -signal.Signals(code - 128)
        return code

    def settle(self) -> None:
        """Wait, after the program's end, until its namespace is over, or has processes left over.

        Until then its first process looks like one that was left over.
        """
        end = 0.0 if self.is_settled else time.monotonic() + cells.ENDS_WITHIN
        self.is_settled = True
        while not self.is_over() and time.monotonic() < end and not self.processes():
            select.select([self.life], [], [], 0.01)

    def end(self) -> None:
        """Kill all its processes: with its first one, the kernel ends the whole namespace."""
        if self.is_over():
            return
        pids = [process.pid for process in self.processes() if process.pid != self.pid]
        self.cell.strays += uid.strays(uid.seen(pids), self.pid)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.life.fileno(), signal.SIGKILL)
        select.select([self.life], [], [], uid.ENDS_WITHIN)
        with contextlib.suppress(ChildProcessError):  # bwrap waits for it, if it still runs
            os.waitpid(self.first, os.WNOHANG)
