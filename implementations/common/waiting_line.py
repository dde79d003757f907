"""A line of threads: under one lock, they go on in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from .trace import traced


class WaitingLine:
    """Threads that wait until a condition is over. All methods are called with the lock held."""

    def __init__(self, lock: threading.Lock, is_crowded: Callable[[], bool]) -> None:
        """is_crowded: whether the first in line must wait; it may change while `lock` is held."""
        self.lock, self.is_crowded = lock, is_crowded
        self.waiting: deque[threading.Condition] = deque()  # one for each thread: it wakes alone
        self.wait = traced("wait", threading.Condition.wait, "crowded")

    def wait_in_turn(self) -> None:
        """Lets this thread wait, behind all that wait already, until nothing is crowded."""
        if self.waiting or self.is_crowded():
            mine = threading.Condition(self.lock)
            self.waiting.append(mine)
            while self.waiting[0] is not mine or self.is_crowded():
                self.wait(mine)
            self.waiting.popleft()
            self.wake_first()

    def wake_first(self) -> None:
        """Has the first in line look again whether it must wait; the next one follows it."""
        if self.waiting:
            self.waiting[0].notify()
