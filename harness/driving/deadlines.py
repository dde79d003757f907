"""How long the harness waits: DEADLINE, which each run sets once, and waits for a condition."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from harness.driving.messages import joined, msg
from harness.driving.record import CheckFailed

DEADLINE = 20.0  # seconds: a correct server needs less for anything, even on a busy machine

Answer = TypeVar("Answer")


def wait_until(
    condition: Callable[[], Answer], deadline: float | None = None, what: str = "the condition"
) -> Answer:
    """Call `condition` until it returns a true value, and return that value.

    `deadline` is in seconds, by default DEADLINE. Raises CheckFailed after it, with `what` as
    expected.
    """
    seconds = DEADLINE if deadline is None else deadline
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise CheckFailed(
                what, msg("it did not happen within {seconds:.3g} s", seconds=seconds)
            )
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def none_left(
    find: Callable[[], list[Any]],
    expected: str,
    sentence: str | None = None,
    deadline: float | None = None,
) -> None:
    """Call find() until it returns an empty list.

    Raises CheckFailed after `deadline` seconds (by default DEADLINE), with what find() still
    returns.
    """

    def none() -> bool:
        nonlocal left
        left = find()
        return not left

    left: list[Any] = []
    try:
        wait_until(none, deadline)
    except CheckFailed:
        raise CheckFailed(expected, joined(left), sentence) from None
