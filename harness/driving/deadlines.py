"""How long the harness waits: DEADLINE, which a run sets once, and waits for a condition."""
import time

from harness.driving.messages import joined, msg
from harness.driving.record import Unmet

DEADLINE = 20.0     # seconds a correct server may take for anything, on a busy machine


def wait_until(condition, deadline=None, what="the condition"):
    """Call `condition` until it returns something true, and return that. Raises Unmet after `deadline` seconds."""
    seconds = DEADLINE if deadline is None else deadline
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Unmet(what, msg("it did not happen within {seconds:.3g} s", seconds=seconds))
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def none_left(find, expected, sentence=None, deadline=None):
    """Call find() until it finds nothing more. Raises Unmet with what it still finds, a list, after `deadline` seconds."""
    def none():
        nonlocal found
        found = find()
        return not found

    found = []
    try:
        wait_until(none, deadline)
    except Unmet:
        raise Unmet(expected, joined(found), sentence) from None
