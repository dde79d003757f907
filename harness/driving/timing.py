"""Reads several clients at once, with the time of each line: for checks of deadlines and timers.

A timer that fires too early is certain evidence. Measure it from before the client's own send to
after the receive. One that fires late may be the machine's fault, so `Pause` measures for how long
nothing moved.
"""

import selectors
import time
from collections.abc import Callable, Iterable, Iterator

from harness.driving.client import Silence, WireClient

EARLY = 0.05  # seconds by which a coarse clock and rounding may make a timer look early
TICK = 0.05  # seconds between two ticks

Moment = tuple[float, WireClient | None, str]


def as_they_come(
    clients: Iterable[WireClient], until: Callable[[], bool], tick: float = TICK
) -> Iterator[Moment]:
    """Yield (time, client, line) for each line, until `until()` is true.

    The line is "" once, at the end of a connection. Each `tick` seconds, yield (time, None, "").
    Times are those of time.monotonic(). Lines that a client read before do not come again.
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
            # At first, a client may have received lines that it has not read.
            for client in [*fresh, *ready]:
                for line in lines_now(client):
                    yield time.monotonic(), client, line
                    if not line:
                        selector.unregister(client.socket)
            fresh = []


def lines_now(client: WireClient) -> Iterator[str]:
    """Yield the whole lines that this client has now, and "" if its connection has ended."""
    try:
        while line := client.line(0.001):
            yield line
        yield ""
    except Silence:
        return


class Pause:
    """Measures the longest time for which this process or the server did not move.

    `longest` is in seconds. `client` sends a PING to the server whenever the last one is answered.
    """

    def __init__(self, client: WireClient):
        self.client = client
        self.longest = 0.0
        self.ticked_at: float | None = None
        self.asked_at: float | None = None

    def tick(self, now: float) -> None:
        """Handle one tick at the time `now`: send the next PING, if the last one was answered."""
        self.longest = max(self.longest, now - (self.ticked_at or now))
        self.ticked_at = now
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            self.client.send("PING pause")
        else:
            self.longest = max(self.longest, now - self.asked_at)

    def hears(self, client: WireClient, line: str) -> None:
        """Handle a line that any of the clients heard."""
        if client is self.client and line == "PONG pause" and self.asked_at is not None:
            self.longest = max(self.longest, time.monotonic() - self.asked_at)
            self.asked_at = None
