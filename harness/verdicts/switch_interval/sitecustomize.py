"""Python runs this at its start, because this folder is on PYTHONPATH. It makes races show.

Threads switch as often as possible. With GRUPO_LOCK_DELAYS, a seed, a thread also sleeps a
little, at random, before it takes a lock and after it releases one, so that another thread gets
in between two sections under a lock. A sitecustomize that Python would run without this one runs
after it.
"""

import importlib.machinery
import importlib.util
import os
import sys

CHANCE = 1 / 8  # of a sleep at each place
LONGEST = 0.001  # seconds of one sleep
SHARE = 0.5  # of its life that a thread sleeps at most


def show_in_maps():
    """Maps this file into memory: so /proc/PID/maps shows the harness that it was loaded."""
    import mmap

    with open(__file__, "rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def delay_locks(seed):
    """Replaces threading.Lock and threading.RLock by locks that do the same, and sleep before and
    after.
    """
    import random
    import threading
    from time import monotonic, sleep

    draw = random.Random(seed).random
    thread = threading.local()

    def pause():
        if draw() >= CHANCE:
            return
        now = monotonic()
        mine = thread.__dict__
        if mine.get("slept", 0) <= SHARE * (now - mine.setdefault("born", now)):
            sleep(draw() * LONGEST)
            mine["slept"] = mine.get("slept", 0) + monotonic() - now

    def delayed(make):
        class Lock:
            def __init__(self):
                self._lock = make()

            def acquire(self, *arguments, **options):
                pause()
                return self._lock.acquire(*arguments, **options)

            def release(self):
                self._lock.release()
                pause()

            def __enter__(self):
                return self.acquire()

            def __exit__(self, *_):
                self.release()

            def __getattr__(self, name):
                return getattr(self._lock, name)

            def __repr__(self):
                return repr(self._lock)

        return Lock

    threading.Lock, threading.RLock = delayed(threading.Lock), delayed(threading.RLock)


if os.environ.get("GRUPO_SWITCH_INTERVAL"):
    sys.setswitchinterval(float(os.environ["GRUPO_SWITCH_INTERVAL"]))
    sys.setswitchinterval = lambda seconds: (
        None
    )  # and it stays so, whatever the program thinks best
    seen = show_in_maps()
    if os.environ.get("GRUPO_LOCK_DELAYS"):
        delay_locks(os.environ["GRUPO_LOCK_DELAYS"])
sys.path[:] = [
    folder
    for folder in sys.path
    if os.path.realpath(folder or ".") != os.path.dirname(os.path.realpath(__file__))
]
if other := importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path):
    kept = sys.modules["sitecustomize"]  # its mapping must live on
    sys.modules["sitecustomize"] = importlib.util.module_from_spec(other)
    other.loader.exec_module(sys.modules["sitecustomize"])
