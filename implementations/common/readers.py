"""Whose bytes an event loop waits for. They are watched apart from all else, so that a crowded room is left alone at one stroke."""
import selectors
from collections import deque


class Readers:
    def __init__(self, loop):
        self.loop = loop                                # the selector that the server waits on
        self.selector = selectors.DefaultSelector()     # its descriptor is readable when one of the watched is
        self.ready = deque()                            # clients seen to be readable and not yet read
        self.again = []                                 # clients of whom more has been read than handled
        self.resting = False
        loop.register(self.selector, selectors.EVENT_READ)

    def watch(self, client, again=False):
        """From now on his `source` is watched, unless it is at its end. `again`: some of his lines have been read already."""
        if not client.is_watched and not client.at_end:
            client.is_watched = True
            self.selector.register(client.source, selectors.EVENT_READ, client)
        if again:
            self.again.append(client)

    def leave_alone(self, client):
        """What he sends stays in the kernel."""
        if client.is_watched:
            client.is_watched = False
            self.selector.unregister(client.source)

    def rest(self, crowded):
        """In a crowded room nobody is read, so that those who lag and read can catch up."""
        if crowded and not self.resting:
            self.loop.unregister(self.selector)
        elif self.resting and not crowded:
            self.loop.register(self.selector, selectors.EVENT_READ)
        self.resting = crowded

    def in_a_hurry(self):
        """Whether somebody waits to be read whom the next turn can read."""
        return bool(self.ready or self.again) and not self.resting

    def take(self):
        """Those who are ready, each once and in turn; who is not taken now stays first in line."""
        if not self.ready and not self.resting:         # a new round: everyone's turn comes before anyone's next
            self.ready.extend(dict.fromkeys(self.again + [key.data for key, _ in self.selector.select(0)]))
            self.again.clear()
        while self.ready and not self.resting:
            client = self.ready.popleft()
            if client.is_watched:
                yield client
