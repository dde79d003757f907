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
        self.requested_after = last  # the argument of the latest HISTORY request
        self.highest = last  # the highest event number that arrived
        self.held: dict[int, Event] = {}  # live events, by number, that older ones must precede
        self.history_complete = False  # from now on, each event that arrives is the next one

    def add(self, event: Event) -> list[Event]:
        """Take an event from either source; return the events that this releases, in order."""
        if event.seq <= self.released:
            return []
        self.highest = max(self.highest, event.seq)
        if self.history_complete or event.seq == self.released + 1:
            events = [event]
            while events[-1].seq + 1 in self.held:
                events.append(self.held.pop(events[-1].seq + 1))
            self.released = events[-1].seq
            return events
        if len(self.held) < MAX_HELD:
            self.held[event.seq] = event
        return []

    def end_of_history(self, newest: int) -> list[Event]:
        """Take the end of a history that reaches up to `newest`; return the events it releases.

        If `history_complete` is still False afterwards, some live events did not fit into `held`.
        Then request HISTORY again, from `requested_after`.
        """
        # A correct server leaves nothing here: its history contained these events
        events = [self.held.pop(seq) for seq in sorted(self.held) if seq <= newest]
        self.released = max(self.released, newest)
        if self.highest > self.released > self.requested_after:
            self.requested_after = self.released
            return events
        self.history_complete = True
        self.released = max(self.released, self.highest)
        # Only a faulty server leaves events here: another request did not bring the missing ones
        return events + [self.held.pop(seq) for seq in sorted(self.held)]
