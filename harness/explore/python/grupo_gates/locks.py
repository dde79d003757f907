"""Locks, conditions, semaphores and queues: who waits, who holds, who wakes whom.

Only locks that the program makes itself are shown, or that the library makes for it in SHARED.
Other parts of the library have locks of their own, which are as they were.
"""

import _multiprocessing
import _queue
import _thread
import itertools
import queue
import sys
import threading
import time

from . import gates
from .calls import milliseconds

# Where the library makes locks for programs to share.
SHARED = ("threading.py", "queue.py", "multiprocessing/", "concurrent/")
PlainLock, PlainRLock, PlainCondition = threading.Lock, threading.RLock, threading.Condition
IS_STARTED = threading.Thread.__init__.__code__  # it makes an Event for the thread that starts it

numbers = {kind: itertools.count(1) for kind in ("lock", "cond", "queue", "shared-lock", "sem")}


def put_in():
    """Puts the gates in."""
    threading.Lock = _thread.allocate_lock = _thread.allocate = Lock
    threading.RLock = _thread.RLock = RLock
    threading.Condition = Condition
    queue.SimpleQueue = _queue.SimpleQueue = SimpleQueue
    _multiprocessing.SemLock = SemLock


def new_id(kind):
    """Returns the next id of a kind."""
    return f"{kind}-{next(numbers[kind])}"


def is_shown(frame):
    """Whether a lock that this frame makes is shown."""
    filename = frame.f_code.co_filename
    label = gates.label_of(filename)
    if label is None or filename.startswith("<frozen"):
        return False
    inside = gates.library_name(filename)
    if inside == "threading.py":
        outer = frame.f_back  # of Event.__init__
        return IS_STARTED not in (frame.f_code, outer and outer.f_code)
    return not inside or inside.startswith(SHARED)


def acquire(lock, take, blocking, timeout):
    """Takes a lock by take(), with its events. Returns whether it was taken."""
    if not blocking or timeout == 0:
        if not (taken := take()):
            gates.event("E.lock.wait", lock.gate, -1)
        return taken and hold(lock)
    gates.event("B.lock.wait", lock.gate)
    taken = False
    try:
        taken = take()
    finally:
        if taken:
            hold(lock, waited=True)
        else:
            gates.event("E.lock.wait", lock.gate, -1)
    return taken


def hold(lock, waited=False):
    """Shows that a lock was taken. An exception of a signal's handler gives it up again."""
    interrupt = None
    for kind, n in (("E.lock.wait", 1), ("B.lock.hold", None))[not waited :]:
        try:
            lock.shown = gates.event(kind, lock.gate, n)
        except BaseException as error:
            lock.shown, interrupt = True, error
    if interrupt:
        lock.release()
        raise interrupt
    return True


def let_go(lock, release):
    """Gives a lock up by release(), with its event."""
    shown, lock.shown = lock.shown, False
    now = time.monotonic_ns()  # before another can have it: so the holds do not overlap
    try:
        release()
    except BaseException:
        lock.shown = shown
        raise
    if shown:
        gates.event("E.lock.hold", lock.gate, now=now)


class Lock:
    """threading.Lock, with events. For a maker that is_shown() leaves out, a plain one."""

    def __new__(cls):
        if not is_shown(sys._getframe(1)):
            return PlainLock()
        self = super().__new__(cls)
        self.lock, self.gate, self.shown = PlainLock(), new_id("lock"), False
        return self

    def acquire(self, blocking=True, timeout=-1):
        """As of threading.Lock."""
        if gates.idle():
            return self.lock.acquire(blocking, timeout)
        return acquire(self, lambda: self.lock.acquire(blocking, timeout), blocking, timeout)

    def release(self):
        """As of threading.Lock."""
        let_go(self, self.lock.release)

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()

    # -- for threading.Condition: a wait gives the lock up, and takes it again, without events

    def _is_owned(self):
        return self.lock.locked()

    def _release_save(self):
        shown, self.shown = self.shown, False
        self.lock.release()
        return shown

    def _acquire_restore(self, shown):
        self.lock.acquire()
        self.shown = shown

    def __getattr__(self, name):
        if name == "lock":  # of an object that is not made yet
            raise AttributeError(name)
        return getattr(self.lock, name)

    def __repr__(self):
        return repr(self.lock)

    acquire_lock, release_lock = acquire, release


class RLock:
    """threading.RLock, with events: only where it is taken first, and where it is given up."""

    def __new__(cls):
        if not is_shown(sys._getframe(1)):
            return PlainRLock()
        self = super().__new__(cls)
        self.lock, self.gate, self.shown, self.depth = PlainRLock(), new_id("lock"), False, 0
        return self

    def acquire(self, blocking=True, timeout=-1):
        """As of threading.RLock."""
        if gates.idle() or self.lock._is_owned():
            taken = self.lock.acquire(blocking, timeout)
            self.depth += taken
            return taken
        return acquire(self, lambda: self.take(blocking, timeout), blocking, timeout)

    def take(self, blocking, timeout):
        """Takes the lock, and notes that it is taken once."""
        taken = self.lock.acquire(blocking, timeout)
        if taken:
            self.depth = 1
        return taken

    def release(self):
        """As of threading.RLock."""
        if not self.lock._is_owned():
            self.lock.release()  # which says what is wrong
        self.depth -= 1
        if self.depth:
            self.lock.release()
        else:
            let_go(self, self.lock.release)

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()

    def _release_save(self):
        saved = self.depth, self.shown, self.lock
        self.depth, self.shown = 0, False
        return *saved[:2], self.lock._release_save()

    def _acquire_restore(self, saved):
        depth, shown, state = saved
        self.lock._acquire_restore(state)
        self.depth, self.shown = depth, shown

    def __getattr__(self, name):
        if name == "lock":
            raise AttributeError(name)
        return getattr(self.lock, name)

    def __repr__(self):
        return repr(self.lock)


class Condition(PlainCondition):
    """threading.Condition, with events. Its waits give the lock up without events of the lock."""

    def __init__(self, lock=None):
        shown = is_shown(sys._getframe(1))
        if lock is None:
            lock = RLock() if shown else PlainRLock()
        super().__init__(lock)
        self.gate = new_id("cond") if shown else None

    def is_shown_now(self):
        """Whether a call has events; a call without the lock has none: it is an error."""
        return self.gate and not gates.idle() and self._is_owned()

    def wait(self, timeout=None):
        """As of threading.Condition."""
        if not self.is_shown_now():
            return super().wait(timeout)
        lock = getattr(self._lock, "gate", "")
        limited = None if timeout is None else 1
        gates.event("B.cond.wait", self.gate, limited, more=f', "l": "{gates.plain(lock)}"')
        woken = False
        try:
            woken = super().wait(timeout)
            return woken
        finally:
            n = 1 if woken else -1
            gates.event("E.cond.wait", self.gate, n, more=f', "l": "{gates.plain(lock)}"')

    def notify(self, n=1):
        """As of threading.Condition."""
        if self.is_shown_now():
            gates.event("I.cond.wake", self.gate, n)
        super().notify(n)

    def notify_all(self):
        """As of threading.Condition."""
        if self.is_shown_now():
            gates.event("I.cond.wake", self.gate, 0)
        with gates.Quiet():  # it calls notify()
            super().notify_all()


class SimpleQueue(_queue.SimpleQueue):
    """queue.SimpleQueue, with events."""

    def __init__(self):
        self.gate = new_id("queue")

    def put(self, item, block=True, timeout=None):
        """As of queue.SimpleQueue."""
        gates.event("I.queue.put", self.gate)
        super().put(item)

    def put_nowait(self, item):
        """As of queue.SimpleQueue."""
        self.put(item)

    def get(self, block=True, timeout=None):
        """As of queue.SimpleQueue."""
        gates.event("B.queue.get", self.gate, milliseconds(timeout) if block else 0)
        n = -1
        try:
            item = super().get(block, timeout)
            n = 1
            return item
        finally:
            gates.event("E.queue.get", self.gate, n)

    def get_nowait(self):
        """As of queue.SimpleQueue."""
        return self.get(False)


class SemLock(_multiprocessing.SemLock):
    """What the locks and semaphores of multiprocessing are made of, with events."""

    gate = ""
    shown = False

    def __init__(self, kind, value, maxvalue, name, unlink):
        is_lock = maxvalue == 1
        self.gate = self.name or new_id("shared-lock" if is_lock else "sem")

    @classmethod
    def _rebuild(cls, *arguments):
        self = super()._rebuild(*arguments)
        self.gate = self.name
        return self

    def acquire(self, block=True, timeout=None):
        """As of multiprocessing.Lock."""
        take = lambda: super(SemLock, self).acquire(block, timeout)
        if gates.idle() or (self.kind == 0 and self._is_mine()):  # a recursive one, taken again
            return take()
        if self.maxvalue == 1:
            return acquire(self, take, block, timeout)
        gates.event("B.sem.wait", self.gate, milliseconds(timeout) if block else 0)
        taken = False
        try:
            taken = take()
            return taken
        finally:
            gates.event("E.sem.wait", self.gate, 1 if taken else -1)

    def release(self):
        """As of multiprocessing.Lock."""
        if self.maxvalue > 1:
            gates.event("I.sem.post", self.gate)
            super().release()
        elif self.kind == 0 and self._count() > 1:
            super().release()
        else:
            # Another process, or a thread with a lock that is not recursive, may have taken it.
            self.shown = self.shown or self.kind != 0
            let_go(self, super().release)

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()
