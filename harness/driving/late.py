"""Delays the end of a process of the server as its parent sees it.

So a parent that looks too early, and only once, is found out for certain. A process that is traced
(ptrace(2)) and ends becomes a zombie at once: its descriptors are closed. But its parent's wait finds
nothing before the tracer has let it go. Only Linux has this, and only where a process may trace its
descendants.
"""
import contextlib
import ctypes
import os
import threading
import time

PTRACE_CONT, PTRACE_SEIZE = 7, 0x4206
HELD = 0.5                  # seconds that an end is kept from a parent that does not wait for it
LOOKS = 0.001               # seconds between two looks
LOOK = os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT


class LateEnd(threading.Thread):
    """Traces `pid`, and keeps its end from `parent` for HELD seconds, or until `parent` waits for a child.

    `allowed`: whether this machine lets us trace it. Use it with `with`; at the end it is let go,
    whatever became of it.
    """

    def __init__(self, pid: int, parent: int):
        super().__init__(daemon=True)
        self.pid, self.parent = pid, parent
        self.allowed = False
        self.tried, self.over = threading.Event(), threading.Event()

    def __enter__(self):
        self.start()
        self.tried.wait()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def run(self):
        """One thread for all of it: the kernel takes orders from the tracing thread alone, and frees
        what that thread traces when it ends."""
        ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        ptrace.restype = ctypes.c_long
        self.allowed = ptrace(PTRACE_SEIZE, self.pid, None, None) == 0
        self.tried.set()
        with contextlib.suppress(ChildProcessError):
            while self.allowed:
                found = os.waitid(os.P_PID, self.pid, LOOK)
                if found is None:
                    if self.over.wait(LOOKS):
                        return
                elif found.si_code in (os.CLD_TRAPPED, os.CLD_STOPPED):     # a signal came: hand it on
                    _, status = os.waitpid(self.pid, os.WNOHANG)
                    signum = os.WSTOPSIG(status) if os.WIFSTOPPED(status) else None
                    ptrace(PTRACE_CONT, self.pid, None, signum)
                else:
                    self.keep_waiting()
                    os.waitpid(self.pid, os.WNOHANG)
                    return

    def keep_waiting(self):
        end = time.monotonic() + HELD
        while time.monotonic() < end and not self.over.is_set() and not waits_for_a_child(self.parent):
            time.sleep(LOOKS)


def waits_for_a_child(pid: int) -> bool:
    """Whether this process waits in the kernel for one of its children to end."""
    try:
        with open(f"/proc/{pid}/wchan") as file:
            return file.read() == "do_wait"
    except OSError:
        return False
