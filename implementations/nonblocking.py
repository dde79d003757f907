"""Non-blocking: one thread serves everyone, and never waits for any one of them.

It asks the kernel who is ready, reads only from those, and hands their requests to the Room by a plain call. Nothing is shared,
so nothing is locked; but whatever takes long here takes long for all. Only passwords and the member file do: a worker
takes those, and hands the outcome back through a descriptor that the loop watches like any other.
"""
import os
import selectors
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from .common.shell import TICK, Shell, clock, run


class Server(Shell):
    def __init__(self, options, listener, room, folder):
        super().__init__(options, listener, room, folder)
        self.deliveries = []                    # of this turn, until flush()
        self.told = 0                           # bytes of events among them
        self.ready = deque()                    # clients whose bytes wait to be read
        self.worker = ThreadPoolExecutor(options.hashes + 1)
        self.outcomes = deque()                 # of the worker: the one thing that it shares with the loop
        self.wake, self.waker = os.pipe()

        listener.setblocking(False)
        self.readers = selectors.DefaultSelector()      # whoever may be read; apart, so that all can be left alone at once
        self.selector = selectors.DefaultSelector()
        for source, act in (listener, self.accept), (self.wake, self.collect), (self.readers, None), (self.outboxes, None):
            self.selector.register(source, selectors.EVENT_READ, act)
        self.watch(self.owner)

    def serve(self):
        """Turn for ever: see who is ready, read from them, decide, then write to everyone once."""
        while self.is_serving():
            for key, _ in self.selector.select(0 if self.ready or self.deliveries else TICK):
                if key.data:
                    key.data()
            self.read_ready()
            self.deliver(self.tick())
            self.flush()
        self.worker.shutdown()

    # -- Reading ---------------------------------------------------------------------------------------------------------------

    def accept(self):
        arrival = self.door.accept()
        client = arrival and self.newcomer(arrival)
        if client:
            self.watch(client)
            self.deliver(self.room.arrive(client))

    def read_ready(self):
        """Reads whoever is ready, until the turn has enough to tell. A crowded room is left alone."""
        if not self.ready and not self.outboxes.crowded:
            self.ready.extend(key.data for key, _ in self.readers.select(0))
        while self.ready and self.told < self.share:
            client = self.ready.popleft()
            if client.is_watched:
                self.read_from(client)

    def read_from(self, client):
        """One recv, which does not wait: the kernel said that there is something."""
        if client.session.waiting and not client.over:
            return self.leave_alone(client)     # what he sends stays in the kernel until his request is finished
        try:
            data = client.sock.recv(self.gulp)
        except BlockingIOError:
            return None
        except OSError:
            data = b""                          # a reset: an end like any other
        if not data:
            self.drop(client)
        elif not client.over:
            self.handle(client, client.session.receive(data))

    def handle(self, client, requests):
        """Between Session and Room: nothing but a call."""
        self.deliver(self.room.handle([(client, verb, argument) for verb, argument in requests], *clock()))

    # -- Telling ---------------------------------------------------------------------------------------------------------------

    def deliver(self, deliveries):
        for delivery in deliveries:
            kind, client, value = delivery
            if kind == "check":
                self.check(client, value)
            elif kind == "save":
                self.save(value)
            else:
                self.deliveries.append(delivery)
                if kind == "event":
                    self.told += len(value)

    def flush(self):
        """One send to each. Whose request is thereby finished is read again."""
        deliveries, self.deliveries, self.told = self.deliveries, [], 0
        for client in self.outboxes.flush(deliveries, monotonic()):
            self.watch(client)
            if not client.over:
                self.handle(client, client.session.answer("done"))

    def check(self, client, what):
        """Passwords are slow: the worker checks them."""
        self.work(client.session.answer, what, lambda requests: self.handle(client, requests))

    def save(self, text):
        """So is the member file."""
        self.work(self.folder.save_members, text, lambda why: self.handle(None, [("saved", why)]))

    def work(self, task, argument, then):
        def done(future):                       # in the worker's thread
            self.outcomes.append((then, future.result()))
            os.write(self.waker, b"!")
        self.worker.submit(task, argument).add_done_callback(done)

    def collect(self):
        os.read(self.wake, 4096)
        while self.outcomes:
            then, outcome = self.outcomes.popleft()
            then(outcome)

    # -- Going -----------------------------------------------------------------------------------------------------------------

    def drop(self, client):
        """He is gone, or wants to be: the one end for quit, crash, reset and eviction."""
        self.leave_alone(client)
        client.at_end = True
        if client is not self.owner:            # the end of the owner's input is no order
            self.handle(client, [("quit", "")])
            self.deliver([("close", client, None)])

    def watch(self, client):
        if not client.is_watched and not client.at_end:
            client.is_watched = True
            self.readers.register(client.sock, selectors.EVENT_READ, client)

    def leave_alone(self, client):
        if client.is_watched:
            client.is_watched = False
            self.readers.unregister(client.sock)


if __name__ == "__main__":
    run("nonblocking", Server)
