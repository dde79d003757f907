"""How fast the server under check is on this machine: measured once, at the start, so that no check
assumes it.
"""

import contextlib
import signal
import time
from dataclasses import dataclass

from harness.driving.client import WireClient
from harness.driving.messages import msg

RUNS = 40  # rounds of start, JOIN and SAY for which a check has time, beside BUDGET
BUDGET = 60.0  # seconds of a check on a server that costs nothing
MOST_JOINS = 15  # JOINs that may wait for each other when a check waits for one of them
LONGEST_END = 4.0  # seconds after which the end of the server is not waited for
SLOW_JOIN, SLOW_SAY = (
    0.5,
    0.02,
)  # seconds from which on a check that runs out of time has the server's pace as its reason


@dataclass(frozen=True)
class Pace:
    """Seconds that each step took when nothing else was asked of the server: its start, a JOIN up
    to WELCOME, a SAY up to one's own MSG, its end by SIGTERM.
    """

    start: float = 0.1
    join: float = 0.05
    say: float = 0.001
    end: float = 0.1

    def after(self, seconds: float) -> float:
        """A value for a limit flag (`--ping-after`, `--join-within`, ...) that leaves room for a
        few JOINs beside `seconds`.
        """
        return round(seconds + 3 * self.join, 1)

    def deadline(self, seconds: float) -> float:
        """Seconds that an answer may take, where `seconds` are enough for a server whose JOIN takes
        no time.
        """
        return seconds + MOST_JOINS * self.join

    @property
    def budget(self) -> float:
        """Seconds after which a check begins no new round."""
        return BUDGET + RUNS * (self.start + self.join + self.say)

    @property
    def limit(self) -> float:
        """Seconds after which a check is over in any case."""
        return 2 * self.budget

    @property
    def slowness(self) -> str:
        """What makes checks long, in a few words; '' if nothing does."""
        if self.join >= SLOW_JOIN:
            return msg("each JOIN takes {seconds:.1f} s here", seconds=self.join)
        return (
            msg("each message takes {milliseconds:.0f} ms here", milliseconds=1000 * self.say)
            if self.say >= SLOW_SAY
            else ""
        )


def measure(start, patience: float) -> Pace:
    """Starts a server with start(), which lets everyone in, and times each step; a step that does
    not come keeps its default.

    A JOIN that was answered by PENDING may take three times `patience` seconds, all else
    `patience`.
    """
    took = {}
    began = time.monotonic()
    with contextlib.suppress(AssertionError, OSError), start() as server:
        took["start"] = time.monotonic() - began
        with WireClient(server.address, name="pace") as client:
            client.greeted()
            began = time.monotonic()
            client.send("JOIN pace secret-of-pace")
            if client.line(patience) != "PENDING":
                return Pace(**took)  # a server that is not finished may not know JOIN
            client.expect(r"WELCOME \d+ pace", 3 * patience)
            took["join"] = time.monotonic() - began
            began = time.monotonic()
            client.send("SAY pace")
            client.expect(r"MSG \d+ \S+ pace pace", patience)
            took["say"] = time.monotonic() - began
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            client.expect("BYE closed", LONGEST_END)
            client.close()
            server.wait(LONGEST_END)
            took["end"] = time.monotonic() - began
    return Pace(**took)
