"""Why a thread waits, in words, from what Linux shows of it in /proc. Pure.

/proc/PID/task/TID/syscall shows the system call and its arguments; where that is not permitted,
`wchan` shows the kernel function in which the thread sleeps.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

# System calls by their numbers: x86-64, and AArch64 (where some do not exist)
CALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441),
    "accept": (43, 202),
    "accept4": (288, 242),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "connect": (42, 203),
    "futex": (202, 98),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "flock": (73, 32),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "pause": (34, None),
    "rt_sigsuspend": (130, 133),
    "rt_sigtimedwait": (128, 137),
}
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
NAME_OF = {} if COLUMN is None else {numbers[COLUMN]: name for name, numbers in CALLS.items()}
# One name for the variants of a call: the name that programs use
USUAL_NAME = {
    "ppoll": "poll",
    "pselect6": "select",
    "epoll_wait": "epoll",
    "epoll_pwait": "epoll",
    "epoll_pwait2": "epoll",
    "accept4": "accept",
    "recvfrom": "recv",
    "recvmsg": "recv",
    "sendto": "send",
    "sendmsg": "send",
    "nanosleep": "sleep",
    "clock_nanosleep": "sleep",
    "wait4": "wait",
    "waitid": "wait",
    "fdatasync": "fsync",
    "rt_sigsuspend": "sigsuspend",
    "rt_sigtimedwait": "sigwait",
}
WITH_DESCRIPTOR = {"read", "write", "recv", "send", "accept", "epoll", "connect", "flock", "fsync"}
# Beginnings of the names of kernel functions, and the call that sleeps there
CHANNELS = {
    "epoll_wait": "epoll",
    "ep_poll": "epoll",
    "poll": "poll",
    "sys_poll": "poll",
    "select": "select",
    "futex": "futex",
    "inet_csk_accept": "accept",
    "sk_wait_data": "recv",
    "unix_stream_read": "recv",
    "unix_stream_data_wait": "recv",
    "sk_stream_wait_memory": "send",
    "pipe_read": "read",
    "anon_pipe_read": "read",
    "pipe_write": "write",
    "anon_pipe_write": "write",
    "hrtimer_nanosleep": "sleep",
    "nanosleep": "sleep",
    "wait_woken": "recv or send",
    "sigtimedwait": "sigwait",
    "wait": "wait",
}
PURPOSES = {  # of calls that say it by themselves
    "accept": "for a new client",
    "connect": "for the other side",
    "recv": "for a client's bytes",
    "send": "until a client reads",
    "futex": "for a lock or work",
    "wait": "for a child's end",
    "fsync": "for the disk",
    "flock": "for the lock of a file",
    "pause": "for a signal",
    "sigsuspend": "for a signal",
    "sigwait": "for a signal",
}
KINDS = {"pipe": "a pipe", "socket": "a socket"}
# The purposes of threads that name themselves for what they do, as those of our servers do
PURPOSE_OF_NAME = {
    "accept": "for a new client",
    "console": "for the owner's orders",
    "reader": "for a client's bytes",
}
READING = {"poll", "select", "recv", "read", "accept"}  # what such threads wait in for that


@dataclass(frozen=True)
class Call:
    """A system call that has not returned."""

    name: str  # as programs call it
    arguments: tuple[int, ...]

    @classmethod
    def parse(cls, line: str) -> Call | None:
        """Return the call in a line of /proc/PID/task/TID/syscall; None if there is none."""
        words = line.split()
        if len(words) < 7 or not words[0].isdecimal() or int(words[0]) not in NAME_OF:
            return None  # "running", "-1 ...", not permitted, or a call that has no words here
        name = NAME_OF[int(words[0])]
        return cls(USUAL_NAME.get(name, name), tuple(int(word, 16) for word in words[1:7]))

    @property
    def descriptor(self) -> int | None:
        """The descriptor that the call is about; None if it is about none, or many."""
        return self.arguments[0] if self.name in WITH_DESCRIPTOR else None


@dataclass(frozen=True)
class Wait:
    """What Linux shows of a thread that waits."""

    call: Call | None  # the system call; None if that is not known
    file: str = ""  # what the call's descriptor is: "pipe:[4711]", "/dev/pts/3"
    watched: int = 0  # how many descriptors its epoll watches
    channel: str = ""  # the kernel function in which it sleeps; "" if that is not known


def describe_wait(wait: Wait, name: str) -> str:
    """Return in words why a thread with this name waits."""
    call = wait.call.name if wait.call else call_of_channel(wait.channel)
    if call == "sleep":
        return "sleeps"
    if not call:
        return f"waits in the kernel ({wait.channel})" if wait.channel else "waits"
    if purpose := purpose_of(wait, call, name):
        return f"waits in {call}: {purpose}"
    return f"waits in {call}"


def call_of_channel(channel: str) -> str:
    """Return the call that sleeps in a kernel function; "" if that is not known."""
    for function, call in CHANNELS.items():
        if channel.startswith((function, f"do_{function}", f"__{function}", f"x64_{function}")):
            return call
    return ""


def purpose_of(wait: Wait, call: str, name: str) -> str:
    """Return what a thread waits for in this call; "" if that is not known."""
    role, _, member = name.partition(" ")
    is_pipe = wait.file.startswith("pipe:") and wait.call and wait.call.descriptor != 0
    if call in READING and role in PURPOSE_OF_NAME and not is_pipe:
        is_reader = role == "reader" and member
        return f"for {member}'s bytes" if is_reader else PURPOSE_OF_NAME[role]
    if call == "read" and wait.call and wait.call.descriptor == 0:
        return "for the owner's orders"
    if call in ("read", "write"):
        kind = KINDS.get(wait.file.partition(":")[0], "")
        start = "for bytes from" if call == "read" else "until there is room in"
        return f"{start} {kind}" if kind else ""
    if call == "epoll" and wait.watched:
        return on_descriptors(wait.watched)
    if call == "poll" and wait.call:
        return on_descriptors(wait.call.arguments[1])
    return PURPOSES.get(call, "")


def on_descriptors(count: int) -> str:
    """Return a number of descriptors in words."""
    return "on one descriptor" if count == 1 else f"on {count:,} descriptors"
