"""Landlock: what a process and all that it starts may still do with files, ports and signals.

Any process may give up rights by Landlock (linux/landlock.h, landlock(7)), also in a container
without namespaces. The Python packages for it lack the ports and the scopes, or import more than
the three system calls that are needed. The calls are made between fork and exec, where as little
as possible may happen.

A right that this kernel's Landlock does not know yet is not limited.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
PATH_BENEATH, NET_PORT = 1, 2  # LANDLOCK_RULE_...
BIND_TCP, CONNECT_TCP = 1, 2
ABSTRACT_SOCKETS, SIGNALS = 1, 2  # LANDLOCK_SCOPE_...
PR_SET_NO_NEW_PRIVS = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FIRST_RIGHTS = (1 << 13) - 1  # of ABI 1
LATER_RIGHTS = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}  # by the ABI that brought them
PORTS_ABI, SCOPES_ABI = 4, 6

READ = EXECUTE | READ_FILE | READ_DIR
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
# A device's file would need a capability, but nothing of a submission's makes one.
WRITE = READ | FIRST_RIGHTS & ~(MAKE_CHAR | MAKE_BLOCK) | REFER | TRUNCATE
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV


@dataclass(frozen=True)
class Rules:
    """What stays allowed. A path that does not exist allows nothing."""

    read: Sequence[Path] = ()  # and execute
    write: Sequence[Path] = ()
    devices: Sequence[Path] = ()
    bind: Sequence[int] = ()  # TCP ports; 0: any that the kernel chooses
    connect: Sequence[int] = ()


def _syscall() -> Callable[..., int]:
    """Return the function that makes a system call, with its arguments as they are."""
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return function


def abi() -> int:
    """Return the version of this kernel's Landlock; 0 if there is none, or it is switched off."""
    return max(0, _syscall()(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION))


def rights(version: int) -> int:
    """Return all rights to files that this version of Landlock can limit."""
    later = [right for since, right in LATER_RIGHTS.items() if since <= version]
    return FIRST_RIGHTS | sum(later) if version else 0


class Limiter:
    """Limits the process that calls it to the rules, for good.

    Make it before a fork, and call it in the child. There it opens the paths, makes system calls,
    and needs nothing else.
    """

    def __init__(self, rules: Rules):
        self.call, self.abi = _syscall(), abi()
        self.prctl = ctypes.CDLL(None, use_errno=True).prctl
        self.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
        self.handled = rights(self.abi)
        ports = BIND_TCP | CONNECT_TCP if self.abi >= PORTS_ABI else 0
        scopes = ABSTRACT_SOCKETS | SIGNALS if self.abi >= SCOPES_ABI else 0
        self.attributes = struct.pack("=QQQ", self.handled, ports, scopes)
        self.paths = [
            *self.allowed(rules.read, READ),
            *self.allowed(rules.write, WRITE),
            *self.allowed(rules.devices, DEVICE),
        ]
        self.ports = [
            struct.pack("=QQ", right, port)
            for right, of_right in ((BIND_TCP, rules.bind), (CONNECT_TCP, rules.connect))
            for port in (of_right if ports else ())
        ]

    def allowed(self, paths: Iterable[Path], wanted: int) -> list[tuple[bytes, int]]:
        """Return each path, and what it allows."""
        return [(os.fsencode(path), wanted & self.handled) for path in paths]

    def __call__(self) -> None:
        """Limit this process. Raises OSError. Does nothing on a kernel without Landlock."""
        if not self.abi:
            return
        size = ctypes.c_size_t(len(self.attributes))
        rules = self.must(CREATE_RULESET, self.attributes, size, 0)
        for path, allowed in self.paths:
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                allowed &= OF_FILES  # the kernel refuses a rule that allows a file more
            # struct landlock_path_beneath_attr is packed
            self.must(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", allowed, place), 0)
            os.close(place)
        for port in self.ports:
            self.must(ADD_RULE, rules, NET_PORT, port, 0)
        if self.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        self.must(RESTRICT_SELF, rules, 0)
        os.close(rules)

    def must(self, *arguments: object) -> int:
        """Make this system call. Raises OSError."""
        result = self.call(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
