"""Puts events from two sources, HISTORY and live, into one order without gaps or repeats. Pure.

A live event that arrives before the older events of a history is held until those are complete.
"""

from .items import Event

MAX_HELD = 10_000  # live events held during one history


class Resequencer:
    """The event order of one connection. It starts at WELCOME, when HISTORY is requested."""

    def __init__(self, last: int) -> None:
        """Start after event number `last`, the newest one that was released before."""
        self.released = last  # events up to this number were released
        self.held: dict[int, Event] = {}  # live events, by number, that older ones must precede
        self.overflowed = False  # a live event did not fit into `held` since HISTORY was requested
        self.history_complete = False  # from now on, each event that arrives is the next one

    def add(self, event: Event) -> list[Event]:
        """Take an event from either source; return the events that this releases, in order."""
        if event.seq <= self.released:
            return []
        if self.history_complete or event.seq == self.released + 1:
            events = [event]
            while events[-1].seq + 1 in self.held:
                events.append(self.held.pop(events[-1].seq + 1))
            self.released = events[-1].seq
            return events
        if len(self.held) < MAX_HELD:
            self.held[event.seq] = event
        else:
            self.overflowed = True
        return []

    def request_again(self) -> int:
        """Take note that HISTORY is requested again; return the event to request it after."""
        self.overflowed = False
        return self.released

    def complete(self, newest: int) -> list[Event]:
        """Take the end of a history that reaches up to `newest`; return the events it releases.

        A correct server leaves no event here, unless some overflowed: the history contained all
        that precede them.
        """
        self.history_complete = True
        events = [self.held[seq] for seq in sorted(self.held)]
        self.held.clear()
        self.released = max([self.released, newest] + [event.seq for event in events[-1:]])
        return events
