"""Several clients read at once, with the time at which each line came: for checks of deadlines and timers.

A timer that fires too early is certain evidence: measure from before the client's own send to after the receive.
One that fires late may be the machine's fault, so `Pause` says for how long nothing moved.
"""
import selectors
import time
from collections.abc import Callable, Iterable, Iterator

from harness.driving.client import Silence, WireClient

EARLY = 0.05            # seconds: a coarse clock and a rounded number may make a timer look so much too early
TICK = 0.05             # seconds between two ticks

Moment = tuple[float, WireClient | None, str]


def as_they_come(clients: Iterable[WireClient], until: Callable[[], bool], tick: float = TICK) -> Iterator[Moment]:
    """Yield (time, client, line) for each line as it comes, and (time, None, "") at each tick, until `until()` is true.

    The line is "" once, at the end of a connection. A client's own lines that were read before are not yielded again.
    """
    with selectors.DefaultSelector() as selector:
        fresh = list(clients)
        for client in fresh:
            selector.register(client.socket, selectors.EVENT_READ, client)
        next_tick = time.monotonic()
        while not until():
            if (now := time.monotonic()) >= next_tick:
                next_tick = now + tick
                yield now, None, ""
            ready = [key.data for key, _ in selector.select(max(0, next_tick - time.monotonic()))]
            for client in [*fresh, *ready]:         # a line may have been received, and not read, before
                for line in lines_now(client):
                    yield time.monotonic(), client, line
                    if not line:
                        selector.unregister(client.socket)
            fresh = []


def lines_now(client: WireClient) -> Iterator[str]:
    """The whole lines of this client that are here now, and "" if its connection has ended."""
    try:
        while line := client.line(0.001):
            yield line
        yield ""
    except Silence:
        return


class Pause:
    """How long nothing moved, at most: neither this process nor the server, which is asked again and again for a PONG."""

    def __init__(self, client: WireClient):
        self.client = client
        self.longest = 0.0                          # seconds
        self.ticked_at = self.asked_at = None

    def tick(self, now: float) -> None:
        """At each tick: ask again, if the last question was answered."""
        self.longest = max(self.longest, now - (self.ticked_at or now))
        self.ticked_at = now
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            self.client.send("PING pause")
        else:
            self.longest = max(self.longest, now - self.asked_at)

    def hears(self, client: WireClient, line: str) -> None:
        """For each line of any client."""
        if client is self.client and line == "PONG pause" and self.asked_at is not None:
            self.longest = max(self.longest, time.monotonic() - self.asked_at)
            self.asked_at = None
