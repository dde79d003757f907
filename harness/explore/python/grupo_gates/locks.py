"""Locks, conditions, semaphores and queues: waiting, holding, waking.

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

# By name: they are called when the interpreter ends, and other modules are empty.
from functools import partial
from operator import call
from threading import get_ident
from time import monotonic_ns

from . import gates
from .calls import around, milliseconds

# Where the library makes locks for programs to share.
SHARED = ("threading.py", "queue.py", "multiprocessing/", "concurrent/")
PlainLock, PlainRLock, PlainCondition = threading.Lock, threading.RLock, threading.Condition
IS_STARTED = threading.Thread.__init__.__code__  # it makes an Event for the thread that starts it

numbers = {kind: itertools.count(1) for kind in ("lock", "cond", "queue", "shared-lock", "sem")}


def put_in() -> None:
    """Puts the gates in."""
    threading.Lock = _thread.allocate_lock = _thread.allocate = Lock
    threading.RLock = _thread.RLock = RLock
    threading.Condition = Condition
    queue.SimpleQueue = _queue.SimpleQueue = SimpleQueue
    _multiprocessing.SemLock = SemLock


def new_id(kind) -> str:
    """Returns the next id of a kind."""
    return f"{kind}-{next(numbers[kind])}"


def is_shown(frame) -> bool:
    """Whether a lock that this frame makes is shown."""
    filename = frame.f_code.co_filename
    label = gates.label_of(filename)
    if label is None or filename.startswith("<frozen"):
        return False
    inside = gates.library_name(filename)
    if inside == "threading.py":  # of what it makes, only its Events and the like are for others
        outer = frame.f_back
        is_own = IS_STARTED in (frame.f_code, outer and outer.f_code)
        return frame.f_code.co_name == "__init__" and not is_own
    return not inside or inside.startswith(SHARED)


def take(lock, plain, taken, blocking, bounded) -> None:
    """Takes a lock by plain(), with the events of that. Adds to the list `taken` what plain()
    returned: in the same step, so it is there whatever a signal's handler raises then.
    """
    waits = blocking and not bounded
    if waits:
        gates.event("B.lock.wait", lock.gate)
    try:
        taken.extend(map(call, [plain]))
    finally:
        if not any(taken):
            gates.event("E.lock.wait", lock.gate, -1)
    if taken[0]:
        if waits:
            gates.event("E.lock.wait", lock.gate, 1)
        show_hold(lock)


def show_hold(lock) -> None:
    """Shows that this thread has a lock, and notes that: also if a signal's handler raises an
    exception there.
    """
    lock.show(True)
    lock.show(gates.event("B.lock.hold", lock.gate) is not None)


class BaseLock:
    """What Lock and RLock share: like theirs, __enter__ either has the lock or raises an exception
    of a signal's handler, and __exit__ gives it up in any case.
    """

    def __new__(cls):
        if not is_shown(sys._getframe(1)):
            return cls.plain()
        self = super().__new__(cls)
        self.lock, self.gate, self.shown = cls.plain(), new_id("lock"), cls.not_shown()
        return self

    def acquire(self, blocking=True, timeout=-1):
        """As of threading.Lock."""
        plain, taken = partial(self.lock.acquire, blocking, timeout), []
        try:
            if gates.idle() or self.is_taken_again():
                taken.extend(map(call, [plain]))
            else:
                take(self, plain, taken, blocking, timeout == 0)
            return taken[0]
        except BaseException:
            if taken and taken[0]:
                try:
                    if not self.is_shown_hold():
                        show_hold(self)
                finally:
                    self.release()
            raise

    __enter__ = acquire_lock = acquire

    def _at_fork_reinit(self):
        self.lock._at_fork_reinit()
        self.shown = self.not_shown()

    def __getattr__(self, name):
        if name == "lock":  # of an object that is not made yet
            raise AttributeError(name)
        return getattr(self.lock, name)

    def __repr__(self):
        return repr(self.lock)

    def __reduce_ex__(self, protocol):
        return self.lock.__reduce_ex__(protocol)  # which says that it cannot


class Lock(BaseLock):
    """threading.Lock, with events. For a maker that is_shown() leaves out, a plain one."""

    plain = PlainLock
    not_shown = bool  # .shown: whether the present hold was shown

    def is_taken_again(self) -> bool:
        """Whether the thread has it already, and need not wait."""
        return False

    def show(self, shown) -> None:
        """Notes whether the present hold was shown. The holder calls this."""
        self.shown = shown

    def is_shown_hold(self) -> bool:
        """Whether it was shown that this thread has the lock."""
        return self.shown

    def release(self, *_):
        """As of threading.Lock."""
        now, shown = None, self.shown
        try:
            now = monotonic_ns()  # before another can have it: so the holds do not overlap
        finally:
            self.shown = False
            try:
                self.lock.release()
            finally:
                if shown:
                    gates.event("E.lock.hold", self.gate, now=now)

    __exit__ = release_lock = release

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


class RLock(BaseLock):
    """threading.RLock, with events: only where it is taken first, and where it is given up."""

    plain = PlainRLock
    not_shown = set  # .shown: the threads that were shown to hold it, and have not given it up

    def is_taken_again(self):
        """Whether the thread has it already, and need not wait."""
        return self.lock._is_owned()

    def show(self, shown):
        """Notes whether the present hold was shown. The holder calls this."""
        (self.shown.add if shown else self.shown.discard)(get_ident())

    def is_shown_hold(self):
        """Whether it was shown that this thread has the lock."""
        return get_ident() in self.shown

    def release(self, *_):
        """As of threading.RLock."""
        now = None
        try:
            now = monotonic_ns()
        finally:
            try:
                self.lock.release()
            finally:
                thread = get_ident()  # others may have it by now: it looks for itself alone
                if thread in self.shown and not self.lock._is_owned():
                    self.shown.discard(thread)
                    gates.event("E.lock.hold", self.gate, now=now)

    __exit__ = release_lock = release

    def _release_save(self):
        thread = get_ident()
        shown = thread in self.shown
        self.shown.discard(thread)
        return shown, self.lock._release_save()

    def _acquire_restore(self, saved):
        shown, state = saved
        self.lock._acquire_restore(state)
        self.show(shown)


def one(_) -> int:
    """The "n" of a queue's item."""
    return 1


def success(taken) -> int:
    """The "n" of a semaphore's wait."""
    return 1 if taken else -1


class Condition(PlainCondition):
    """threading.Condition, with events. Its waits give the lock up without events of the lock."""

    def __init__(self, lock=None):
        shown = is_shown(sys._getframe(1))
        if lock is None:
            lock = RLock() if shown else PlainRLock()
        super().__init__(lock)
        self.gate = new_id("cond") if shown else None

    def is_shown_now(self) -> bool:
        """Whether a call has events; a call without the lock has none: it is an error."""
        return self.gate and not gates.idle() and self._is_owned()

    def wait(self, timeout=None):
        """As of threading.Condition."""
        if not self.is_shown_now():
            return super().wait(timeout)
        more = f', "l": "{gates.plain(getattr(self._lock, "gate", ""))}"'
        gates.event("B.cond.wait", self.gate, None if timeout is None else 1, more=more)
        while True:
            try:
                woken = PlainCondition.wait(self, timeout)
                if woken:
                    self.take_again()
            except BaseException:
                gates.event("E.cond.wait", self.gate, -1, more=more)
                raise
            n = 1 if woken else -1
            if gates.event("E.cond.wait", self.gate, n, more=more) != gates.AGAIN:
                return woken

    def take_again(self) -> None:
        """Gives the lock up, and waits for it as all others do, after it was woken: so another can
        come first, which without that is a matter of luck.
        """
        lock = self._lock
        if not isinstance(lock, BaseLock):
            return
        saved = lock._release_save()
        try:
            gates.event("B.lock.wait", lock.gate)
        finally:
            lock._acquire_restore(saved)
        gates.event("E.lock.wait", lock.gate, 1)

    def notify(self, n=1):
        """As of threading.Condition."""
        if self.is_shown_now():
            gates.event("I.cond.wake", self.gate, n)
        PlainCondition.notify(self, n)

    def notify_all(self):
        """As of threading.Condition."""
        if self.is_shown_now():
            gates.event("I.cond.wake", self.gate, 0)
        gates.quietly(super().notify_all)  # it calls notify()


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
        n = milliseconds(timeout) if block else 0
        get = super().get
        return around("queue.get", self.gate, n, get, (block, timeout), {}, amount=one)

    def get_nowait(self):
        """As of queue.SimpleQueue."""
        return self.get(False)


class SemLock(_multiprocessing.SemLock):
    """What the locks and semaphores of multiprocessing are made of, with events."""

    gate = ""

    def __init__(self, kind, value, maxvalue, name, unlink):
        is_lock = maxvalue == 1
        self.gate = self.name or new_id("shared-lock" if is_lock else "sem")

    def show(self, shown):
        """Whether a hold was shown matters for no process but this one."""

    @classmethod
    def _rebuild(cls, *arguments):
        self = super()._rebuild(*arguments)
        self.gate = self.name
        return self

    def acquire(self, block=True, timeout=None):
        """As of multiprocessing.Lock."""
        plain, taken = partial(super().acquire, block, timeout), []
        if gates.idle() or (self.kind == 0 and self._is_mine()):  # a recursive one, taken again
            return plain()
        if self.maxvalue == 1:
            take(self, plain, taken, block, timeout == 0)
            return taken[0]
        n = milliseconds(timeout) if block else 0
        return around("sem.wait", self.gate, n, plain, (), {}, amount=success)

    def release(self):
        """As of multiprocessing.Lock."""
        if self.maxvalue > 1:
            gates.event("I.sem.post", self.gate)
            super().release()
        elif self.kind == 0 and self._count() > 1:
            super().release()
        else:
            # Another process may have taken it: so shown or not, it is given up.
            now = monotonic_ns()
            super().release()
            gates.event("E.lock.hold", self.gate, now=now)

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()
