"""Delays the end of a server's process, as its parent sees it.

A parent that looks for ended children too early, and only once, then misses this one for certain.
A process that is traced (ptrace(2)) becomes a zombie as soon as it ends, and its descriptors are
closed. But its parent's wait does not return it until the tracer lets it go. Only Linux has this,
and only where a process may trace its descendants.
"""

import contextlib
import ctypes
import os
import threading
import time

PTRACE_CONT, PTRACE_SEIZE = 7, 0x4206
HELD = 0.5  # seconds for which an end is kept from a parent that does not wait for it
POLL = 0.001  # seconds between two looks
LOOK = os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT


class DelayedExit(threading.Thread):
    """Traces `pid`, and keeps its end from `parent` for HELD seconds.

    It lets the process go earlier once `parent` waits for a child, and at the end of its `with`.
    `allowed` says whether this machine allows the tracing.
    """

    def __init__(self, pid: int, parent: int):
        super().__init__(daemon=True)
        self.pid, self.parent = pid, parent
        self.allowed = False
        self.tried, self.over = threading.Event(), threading.Event()

    def __enter__(self) -> "DelayedExit":
        self.start()
        self.tried.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        """Trace the process up to its end.

        One thread does all of it: the kernel accepts requests only from the tracing thread, and
        lets the process go when that thread ends.
        """
        ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        ptrace.restype = ctypes.c_long
        self.allowed = ptrace(PTRACE_SEIZE, self.pid, None, None) == 0
        self.tried.set()
        with contextlib.suppress(ChildProcessError):
            while self.allowed:
                change = os.waitid(os.P_PID, self.pid, LOOK)
                if change is None:
                    if self.over.wait(POLL):
                        return
                elif change.si_code in (os.CLD_TRAPPED, os.CLD_STOPPED):
                    # A signal came, and the tracer must pass it on.
                    _, status = os.waitpid(self.pid, os.WNOHANG)
                    signum = os.WSTOPSIG(status) if os.WIFSTOPPED(status) else None
                    ptrace(PTRACE_CONT, self.pid, None, signum)
                else:
                    self.hold()
                    os.waitpid(self.pid, os.WNOHANG)
                    return

    def hold(self) -> None:
        """Wait until the end may reach the parent."""
        end = time.monotonic() + HELD
        while time.monotonic() < end and not self.over.is_set():
            if waits_for_a_child(self.parent):
                return
            time.sleep(POLL)


def waits_for_a_child(pid: int) -> bool:
    """Return whether this process waits in the kernel for one of its children to end."""
    try:
        with open(f"/proc/{pid}/wchan") as file:
            return file.read() == "do_wait"
    except OSError:
        return False
