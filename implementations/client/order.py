"""Events come from HISTORY and live, mixed; they leave here each once, in order of seq. Pure.

Live ones wait until the older ones are there. An event is anything with a `seq`.
"""
MOST_EARLY = 10_000         # live events held while a history is on its way


class Order:
    """Of one connection: begins at WELCOME, when HISTORY is asked from `last`."""

    def __init__(self, last):
        self.last = last            # all up to here have left
        self.asked = last           # HISTORY was asked from here
        self.newest = last          # the highest seq that came
        self.early = {}             # seq: event, live, while older ones are still to come
        self.is_complete = False    # the history has ended: what comes now is next

    def take(self, event):
        """The events that may leave now that this one came."""
        if event.seq <= self.last:
            return []
        self.newest = max(self.newest, event.seq)
        if self.is_complete or event.seq == self.last + 1:
            events = [event]
            while events[-1].seq + 1 in self.early:
                events.append(self.early.pop(events[-1].seq + 1))
            self.last = events[-1].seq
            return events
        if len(self.early) < MOST_EARLY:
            self.early[event.seq] = event
        return []

    def end_of_history(self, newest):
        """The events that may leave, since no more will come of those up to `newest`.

        If is_complete is still False, live ones came that there was no room to hold: ask HISTORY again, from `asked`.
        """
        events = [self.early.pop(seq) for seq in sorted(self.early) if seq <= newest]       # a right server left none here
        self.last = max(self.last, newest)
        if self.newest > self.last > self.asked:
            self.asked = self.last
            return events
        self.is_complete = True
        self.last = max(self.last, self.newest)
        return events + [self.early.pop(seq) for seq in sorted(self.early)]     # a wrong one: asking again did not help
