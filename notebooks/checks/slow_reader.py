"""The chat, the predictions and the exercise of notebook 06."""

import itertools
from typing import NamedTuple

from harness.driving.messages import msg
from harness.driving.record import CheckFailed
from harness.teaching.notebook import Question, Wrong, exercise, serve

LINES = 800
HEARD = Question(usual=LINES, most=LINES)  # lines that Ben receives
KEPT = Question(usual=50, most=1e6)  # KiB that the server keeps

SMALL = {"rcvbuf": 2048, "mss": 536}  # small buffers, so that they are full soon


class Chat(NamedTuple):
    """What Ben heard while the slow member read nothing. Times are seconds since Ana began.

    times       when Ben received each of Ana's lines
    out         when Ben heard that the slow member was disconnected, or None
    size        the bytes of the lines that Ben received
    stuck       whether Ana or Ben heard nothing for 8 seconds
    """

    times: list[float]
    out: float | None
    size: int
    stuck: bool


def chat(which, *flags, lines=LINES):
    """Ana says so many lines to Ben and to a member that reads nothing. Return a Chat.

    After every 20 lines, Ana and Ben wait until they have received everything so far.
    """
    stuck = False
    with serve(which, *flags) as server:
        ana, ben = server.enter("ana", "ben")
        server.enter("slow", **SMALL)  # joins, and reads nothing from here on
        first = len(ben.record.entries)
        try:
            for start in range(0, lines, 20):
                numbers = range(start, min(start + 20, lines))
                ana.send(*(f"SAY line {number} ".ljust(404, ".") for number in numbers))
                for member in ana, ben:
                    member.send("PING done")
                    member.expect("PONG done", deadline=8)
        except CheckFailed:
            stuck = True
        entries = ben.record.entries[first:]
    heard = [entry for entry in entries if entry.what == "hears"]
    began = entries[0].at
    said = [entry for entry in heard if entry.text.startswith("MSG ")]
    outs = [entry.at - began for entry in heard if entry.text.startswith("OUT ")]
    size = sum(len(entry.text.encode()) + 1 for entry in said)
    return Chat([entry.at - began for entry in said], next(iter(outs), None), size, stuck)


def longest_pause(times):
    """Return the longest time in which Ben heard nothing, in seconds."""
    return max(later - at for at, later in itertools.pairwise(times))


@exercise
def check_outbox(outbox):
    """The smallest power of two with which the slow member stays connected."""
    if not isinstance(outbox, int) or isinstance(outbox, bool):
        raise Wrong(
            msg("`outbox` must be a whole number of bytes, not {value}.", value=repr(outbox))
        )
    if outbox < 1 or outbox & (outbox - 1):
        raise Wrong(msg("{size} is not a power of two.", size=outbox))
    if not 16384 <= outbox <= 1 << 30:
        raise Wrong(msg("{size} bytes are far from what one member needs here.", size=outbox))
    if chat("nonblocking", "--outbox", str(outbox)).out is not None:
        raise Wrong(msg("With {size} the slow member is disconnected.", size=outbox))
    if chat("nonblocking", "--outbox", str(outbox // 2)).out is None:
        raise Wrong(
            msg("The slow member stays with {size}, but also with half of that.", size=outbox)
        )
