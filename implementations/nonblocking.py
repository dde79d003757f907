"""Non-blocking: one thread serves everyone, and never waits for any one of them.

It asks the kernel who is ready, reads only from those, and hands their requests to the Room by a plain call. Nothing is shared,
so nothing is locked; but whatever takes long here takes long for all. Only passwords and the member file do: worker
threads take those, and hand the outcome back through a descriptor that the loop watches like any other.
"""
import os
import sys
import threading
from queue import SimpleQueue
from time import monotonic

from .common.readers import Readers
from .common.base_server import TICK, BaseServer, clock, run
from .common.trace import traced
from .common.wire import MAX_LINE

SWITCH = 0.0005             # seconds that a worker waits for Python while the loop tells thousands: else 5 ms at every step


class Server(BaseServer):
    def __init__(self, options, listener, room, folder):
        super().__init__(options, listener, room, folder)
        self.tasks, self.outcomes = SimpleQueue(), SimpleQueue()    # to and from the workers: all that they share with the loop
        self.wakeup_read, self.wakeup_write = os.pipe()
        for _ in range(options.hashes + 1):     # threads: a hash each, and the member file
            threading.Thread(target=self.work, name="worker", daemon=True).start()
        sys.setswitchinterval(SWITCH)

        listener.setblocking(False)
        self.readers = Readers()
        self.readers.add_source(listener, self.accept)
        self.readers.add_source(self.wakeup_read, self.collect)
        self.readers.add_source(self.outboxes)
        self.readers.resume_reading(self.owner)

    def serve(self):
        """Turn for ever: see who is ready, read from them, decide, then write to everyone once."""
        while self.is_serving():
            self.readers.wait(0 if self.deliveries else TICK)
            self.read_ready()
            if self.is_tick_due():
                self.deliver(self.tick())
                self.readers.resume_reading(self.owner)          # who was left alone if another job had his terminal
            self.flush()

    # -- Reading ---------------------------------------------------------------------------------------------------------------

    def accept(self):
        for client in filter(None, map(self.new_client, self.acceptor.accept_batch())):
            self.readers.resume_reading(client)
            self.deliver(self.room.connected(client))

    def read_ready(self):
        """Reads whoever is ready, until the turn has enough to tell. What they all ask goes to the Room at one stroke."""
        batch, asked = [], 0
        for client in self.readers.next_ready():
            requests = self.read_from(client)
            batch.append((client, requests))
            asked += len(requests)
            if asked >= self.batch_limit:
                break
        self.handle(batch)

    def read_from(self, client):
        """His next requests, by one recv, which does not wait: the kernel said that there is something."""
        if client.session.awaiting_reply and not client.over:
            self.readers.pause_reading(client)    # what he sends stays in the kernel until his request is finished
            return []
        if client.session.unparsed and not client.over:
            return client.session.requests()    # lines that came together with that request
        try:
            data = client.recv(self.read_size if client.name else MAX_LINE)
        except BlockingIOError:                 # nothing, after all; or another job has the owner's terminal
            if client is self.owner:
                self.readers.pause_reading(client)
            return []
        except OSError:
            data = b""                          # a reset: an end like any other
        if not data:
            self.drop(client)
        return [] if client.over else client.session.receive(data)

    def handle(self, batch):
        """Between Session and Room: nothing but a call."""
        self.deliver(self.room.handle(batch, *clock()))

    # -- Telling ---------------------------------------------------------------------------------------------------------------

    def flush(self):
        """One send to each. Whose request is thereby finished is read again."""
        deliveries, self.deliveries = self.deliveries, []
        finished = self.outboxes.flush(deliveries, monotonic())
        self.readers.pause_all(self.outboxes.backpressure)
        self.room.requests_finished(finished, monotonic())
        for client in finished:
            client.session.awaiting_reply = False
            self.readers.resume_reading(client, resumed=bool(client.session.unparsed))

    def check(self, client, what):
        """Passwords are slow: a worker checks them. A Session that waits is the worker's until its outcome is collected."""
        self.tasks.put((client.answer, what, lambda requests: self.handle([(client, requests)])))

    def save(self, text):
        """So is the member file."""
        self.tasks.put((traced("save", self.folder.save_members), text, lambda why: self.deliver(self.room.saved(why, *clock()))))

    def work(self):
        """The life of a worker's thread."""
        while True:
            task, argument, then = self.tasks.get()
            self.outcomes.put((then, task(argument)))
            os.write(self.wakeup_write, b"!")

    def collect(self):
        """One outcome for each byte: what is to happen then happens in the loop."""
        for _ in os.read(self.wakeup_read, 4096):
            then, outcome = self.outcomes.get()
            then(outcome)

    # -- Going -----------------------------------------------------------------------------------------------------------------

    def drop(self, client):
        """He is gone, or wants to be: the one end for quit, crash, reset and eviction."""
        self.readers.pause_reading(client)
        client.eof = True
        if client is not self.owner:            # the end of the owner's input is no order
            self.handle([(client, [("quit", "")])])
            self.deliver([("close", client, None)])


if __name__ == "__main__":
    run("nonblocking", Server)
