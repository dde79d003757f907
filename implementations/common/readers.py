"""What an event loop waits for, and who is read next: everyone in turn, and nobody while the room is crowded."""
import selectors
from collections import deque

from .trace import traced


class Readers:
    def __init__(self):
        self.others = selectors.DefaultSelector()       # what a loop looks after in a crowded room, too
        self.all = selectors.DefaultSelector()          # that, and the clients: so that a turn asks the kernel once
        self.select_all = traced("wait", self.all.select)
        self.select_sources = traced("wait", self.others.select, "crowded")
        self.ready = deque()                            # clients seen to be readable and not yet read
        self.resumed = []                                 # clients of whom more has been read than handled
        self.paused = False

    def add_source(self, source, act=None):
        """When `source` is readable, wait() returns, and has called act()."""
        for selector in self.others, self.all:
            selector.register(source, selectors.EVENT_READ, act)

    def remove_source(self, source):
        for selector in self.others, self.all:
            selector.unregister(source)

    def resume_reading(self, client, resumed=False):
        """From now on his `source` is watched, unless it is at its end. `again`: some of his lines have been read already."""
        if not client.is_watched and not client.eof:
            client.is_watched = True
            self.all.register(client.source, selectors.EVENT_READ, client)
        if resumed:
            self.resumed.append(client)

    def pause_reading(self, client):
        """What he sends stays in the kernel."""
        if client.is_watched:
            client.is_watched = False
            self.all.unregister(client.source)

    def pause_all(self, backpressure):
        """In a crowded room nobody is read, so that those who lag and read can catch up."""
        self.paused = backpressure

    def wait(self, seconds):
        """Waits until something is ready, though no longer than that; calls what attend() was told, and lines up the clients."""
        in_a_hurry = (self.ready or self.resumed) and not self.paused
        readable = []
        for key, _ in (self.select_sources if self.paused else self.select_all)(0 if in_a_hurry else seconds):
            if callable(key.data):
                key.data()
            elif key.data:
                readable.append(key.data)
        if not self.ready and not self.paused:         # a new round: everyone's turn comes before anyone's next
            self.ready.extend(dict.fromkeys(self.resumed + readable))
            self.resumed.clear()

    def next_ready(self):
        """Those who are ready, each once and in turn; who is not taken now stays first in line."""
        while self.ready and not self.paused:
            client = self.ready.popleft()
            if client.is_watched:
                yield client
