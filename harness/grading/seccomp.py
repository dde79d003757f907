"""The seccomp filter of a cell: the system calls that a submission may not make.

A submission is any program in any language, so the filter is a deny-list. It takes away the calls
that reach other processes, the kernel's configuration, new namespaces, objects that outlive a
process, and memory that no process is charged for. A call that a C library can do without ends
with ENOSYS, and the library falls back.

It is made here as classic BPF (linux/filter.h, linux/seccomp.h). libseccomp would do it too, but
its Python bindings need the library of the distribution, and one of them has had no release since
2021. The numbers are those of Linux's asm/unistd_64.h for x86-64, and asm-generic/unistd.h, which
64-bit ARM uses.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import termios
from collections.abc import Mapping

from harness.driving.messages import msg

KILL, ERRNO, ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000  # SECCOMP_RET_...
LOAD, AND, RETURN = 0x20, 0x54, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_RET|K
EQUAL, AT_LEAST, ANY_BIT = 0x15, 0x35, 0x45  # BPF_JMP|JEQ|K, JGE, JSET
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
SECCOMP_MODE_FILTER = 2

X32 = 0x4000_0000  # the bit of the x32 calls, a second table that the list below does not cover
NEWEST = 466  # removexattrat (Linux 6.13): later calls do not exist for a submission
CLONE_NEW = 0x7E02_0000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET
TIOCLINUX, TIOCCONS = 0x541C, 0x541D
MSG_FASTOPEN = 0x2000_0000  # connects without connect(), so Landlock does not see it
SOCK_TYPE_MASK = 0xF  # SOCK_NONBLOCK and SOCK_CLOEXEC are above it

# (x86-64, aarch64); None: the architecture has no such call.
DENIED: dict[str, tuple[int | None, int | None]] = {
    # Other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "perf_event_open": (298, 241),
    # File systems and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    # Parts of the kernel in which faults are often found
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "modify_ldt": (154, None),
    "lookup_dcookie": (212, 18),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Objects that other users see and that outlive their makers: System V IPC, POSIX queues
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # The machine
    "reboot": (169, 142),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "iopl": (172, None),
    "ioperm": (173, None),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "vhangup": (153, 58),
}
ABSENT: dict[str, tuple[int | None, int | None]] = {
    "clone3": (435, 435),  # its flags are in memory, where a filter cannot look
    # A file in memory that is not mapped counts in no process, so a watchdog cannot see it.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
}
WITH_ARGUMENTS = {
    "connect": (42, 203),
    "clone": (56, 220),
    "ioctl": (16, 29),
    "prctl": (157, 167),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
}
# What uname -m says: AUDIT_ARCH_... of linux/audit.h, and the column of the tables.
MACHINES = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}

Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jump if true, if false, k


class NoFilter(Exception):
    """There is no filter for this machine; the text says why."""


def program(
    *, tcp_only: bool = False, may_connect: bool = True, machine: str | None = None
) -> bytes:
    """Return the filter as an array of struct sock_filter, as bwrap's --seccomp reads it.

    With `tcp_only`, for a cell that shares the machine's network, the IPv4 and IPv6 sockets are
    those of plain TCP alone: Landlock limits the ports of these, and of no others. Without
    `may_connect` no socket at all connects, for kernels whose Landlock knows no ports. `machine`
    is what `uname -m` says, by default of this machine. Raises NoFilter.
    """
    machine = machine or platform.machine()
    if machine not in MACHINES or struct.calcsize("P") != 8:
        raise NoFilter(
            msg("a submission's system calls can be limited on x86-64 and 64-bit ARM only")
        )
    architecture, column = MACHINES[machine]
    code = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), returns(KILL)]
    code += [(LOAD, 0, 0, NUMBER)]
    if machine == "x86_64":
        code += [(AT_LEAST, 0, 1, X32), returns(KILL)]
    code += [(AT_LEAST, 0, 1, NEWEST + 1), returns(ERRNO | errno.ENOSYS)]
    for calls, error in (DENIED, errno.EPERM), (ABSENT, errno.ENOSYS):
        for numbers in calls.values():
            if (number := numbers[column]) is not None:
                code += [(EQUAL, 0, 1, number), returns(ERRNO | error)]
    bodies = by_arguments(tcp_only)
    if not may_connect:
        bodies["connect"] = [returns(ERRNO | errno.EACCES)]
    for name, body in bodies.items():
        # The body ends with a return: it has loaded something else over the number of the call.
        code += [(EQUAL, 0, len(body), WITH_ARGUMENTS[name][column]), *body]
    code += [returns(ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return this environment, changed for a program that runs under the filter.

    A program that its author built with AddressSanitizer looks for leaks when it ends. It needs
    ptrace() for that, and fails without it.
    """
    options = [*filter(None, [env.get("ASAN_OPTIONS")]), "detect_leaks=0"]
    return {**env, "ASAN_OPTIONS": ":".join(options)}


def by_arguments(tcp_only: bool) -> dict[str, list[Instruction]]:
    """Return what is asked of the arguments of a call, by its name.

    The arguments that count are 32 bits wide for the kernel, so their lower half is loaded: a bit
    in the upper half must not hide one.
    """
    bodies = {
        "clone": refused_if(ANY_BIT, 0, [CLONE_NEW], errno.EPERM),
        # These type into a terminal, or take its output.
        "ioctl": refused_if(EQUAL, 1, [termios.TIOCSTI, TIOCLINUX, TIOCCONS], errno.EPERM),
        # A process that is not dumpable hides its descriptors from the judge.
        "prctl": refused_if(EQUAL, 0, [PR_SET_DUMPABLE], errno.EPERM),
        "socket": sockets(tcp_only),
        "socketpair": sockets(tcp_only),
    }
    if tcp_only:
        for name, place in ("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3):
            bodies[name] = refused_if(ANY_BIT, place, [MSG_FASTOPEN], errno.EOPNOTSUPP)
    return bodies


def sockets(tcp_only: bool) -> list[Instruction]:
    """Return what is asked of socket(family, type, protocol)."""
    families = [socket.AF_INET, socket.AF_INET6]
    code = [argument(0), (EQUAL, 0, 1, socket.AF_UNIX), returns(ALLOW)]
    code += [*one_of(families, errno.EAFNOSUPPORT)]
    if tcp_only:
        code += [argument(1), (AND, 0, 0, SOCK_TYPE_MASK)]
        code += [*one_of([socket.SOCK_STREAM], errno.EACCES), argument(2)]
        # SOCK_STREAM is Multipath TCP's type and SCTP's, too.
        code += [*one_of([0, socket.IPPROTO_TCP], errno.EPROTONOSUPPORT)]
    return [*code, returns(ALLOW)]


def returns(value: int) -> Instruction:
    """Return the instruction that ends the filter with this value."""
    return RETURN, 0, 0, value


def argument(place: int) -> Instruction:
    """Return the instruction that loads the lower half of an argument (both are little-endian)."""
    return LOAD, 0, 0, ARGUMENTS + 8 * place


def refused_if(test: int, place: int, values: list[int], error: int) -> list[Instruction]:
    """Return code that ends the call with `error` if the test holds for one of the values."""
    code = [argument(place)]
    for value in values:
        code += [(test, 0, 1, value), returns(ERRNO | error)]
    return [*code, returns(ALLOW)]


def one_of(values: list[int], error: int) -> list[Instruction]:
    """Return code that ends the call with `error` if what is loaded is none of the values."""
    code = [(EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [*code, returns(ERRNO | error)]


class Loader:
    """Loads a filter into the process that calls it, and so into all that it starts.

    Make it before a fork: its call in the child allocates nothing and imports nothing.
    """

    def __init__(self, code: bytes):
        """`code` is what program() returns."""
        self.code = ctypes.create_string_buffer(code, len(code))
        count, address = len(code) // 8, ctypes.addressof(self.code)
        self.header = ctypes.create_string_buffer(struct.pack("@HP", count, address))
        self.prctl = ctypes.CDLL(None, use_errno=True).prctl
        self.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]

    def __call__(self) -> None:
        """Load the filter. Raises OSError."""
        header = ctypes.addressof(self.header)
        if self.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or self.prctl(
            PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0
        ):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
