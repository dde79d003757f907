"""Names threads and processes for the operating system, for what each of them does.

`ps -L`, `top -H`, gdb and the owner's window show these names.
"""

from __future__ import annotations

import ctypes

PR_SET_NAME = 15  # prctl(2)
MAX_NAME = 15  # bytes

prctl = getattr(ctypes.CDLL(None), "prctl", None)  # other systems than Linux do not have it


def name_thread(name: str) -> None:
    """Names the thread that calls this; the first thread's name is also that of its process.

    Linux keeps MAX_NAME bytes of a name: a longer one is cut between two characters.
    """
    if prctl:
        prctl(PR_SET_NAME, name.encode()[:MAX_NAME].decode(errors="ignore").encode(), 0, 0, 0)
