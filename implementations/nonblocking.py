"""Non-blocking: one thread serves everyone, and never waits for any client.

It asks the kernel which clients are readable, reads only from those, and passes their requests to
the Room by a plain call. Nothing is shared, so nothing is locked; but a slow step delays all
clients. There are two: checking a password and writing the member file. Worker threads do them, and
return the outcome through a descriptor that the loop watches like any other.
"""

import os
import sys
import threading
from queue import SimpleQueue
from time import monotonic

from .common.base_server import TICK, BaseServer, clock, run
from .common.deliveries import ReaderDone
from .common.readers import Readers
from .common.requests import Quit, count
from .common.trace import traced
from .common.wire import MAX_LINE

# Seconds that a worker waits for Python's lock while the loop sends to thousands; the default, 5 ms
# at each step, is too long for a check of a password.
SWITCH = 0.0005


class Server(BaseServer):
    """The event loop."""

    def __init__(self, options, listener, room, folder):
        super().__init__(options, listener, room, folder)
        # To and from the workers: all that they share with the loop.
        self.tasks, self.outcomes = SimpleQueue(), SimpleQueue()
        self.wakeup_read, self.wakeup_write = os.pipe()
        for _ in range(options.hashes + 1):  # a thread for each hash, and one for the member file
            threading.Thread(target=self.work, name="worker", daemon=True).start()
        sys.setswitchinterval(SWITCH)

        listener.setblocking(False)
        self.readers = Readers()
        self.readers.add_source(listener, self.accept)
        self.readers.add_source(self.wakeup_read, self.collect)
        self.readers.add_source(self.outboxes)
        self.readers.resume_reading(self.owner)

    def serve(self):
        """Runs turns: wait until clients are readable, read, decide, then write to all once."""
        while self.is_serving():
            self.readers.wait(0 if self.deliveries else TICK)
            self.read_ready()
            if self.is_tick_due():
                self.deliver(self.tick())
                self.readers.resume_reading(self.owner)  # another job may have had the terminal
            self.flush()

    # -- Reading -------------------------------------------------------------------------------

    def accept(self):
        """Lets new clients in."""
        for client in filter(None, map(self.new_client, self.acceptor.accept_batch())):
            self.readers.resume_reading(client)
            self.deliver(self.room.connected(client))

    def read_ready(self):
        """Reads from clients that are ready, until the turn is full, and handles their requests."""
        batch, size = [], 0
        for client in self.readers.next_ready():
            requests = self.read_from(client)
            batch.append((client, requests))
            size += count(requests)
            if size >= self.batch_limit:
                break
        self.handle(batch)

    def read_from(self, client):
        """Returns the client's next requests. One recv, which does not wait: it is readable."""
        session = client.session
        if session.awaiting_reply and not client.over:
            self.readers.pause_reading(client)  # its data stays in the kernel until the reply
            return []
        if session.unparsed and not client.over:
            return session.next_requests()  # lines that came together with that request
        try:
            data = client.recv(self.read_size if client.name else MAX_LINE)
        except BlockingIOError:  # nothing after all; or another job has the owner's terminal
            if client is self.owner:
                self.readers.pause_reading(client)
            return []
        except OSError:
            data = b""  # a reset: an end like any other
        if not data:
            self.drop(client)
        return [] if client.over else session.receive(data)

    def handle(self, batch):
        """From Session to Room: nothing but a call."""
        self.deliver(self.room.handle(batch, *clock()))

    # -- Writing -------------------------------------------------------------------------------

    def flush(self):
        """Sends once to each client. Reads again from those whose request is finished by that."""
        deliveries, self.deliveries = self.deliveries, []
        finished = self.outboxes.flush(deliveries, monotonic())
        self.readers.pause_all(self.outboxes.backpressure)
        self.room.requests_finished(finished, monotonic())
        for client in finished:
            client.session.awaiting_reply = False
            self.readers.resume_reading(client, has_lines=bool(client.session.unparsed))

    def check_password(self, client, against):
        """Has a worker check a password. Meanwhile only that worker uses the client's Session."""
        self.tasks.put(
            (client.check_password, against, lambda requests: self.handle([(client, requests)]))
        )

    def save_members(self, text):
        """Has a worker write the member file."""
        save = traced("save", self.folder.save_members)
        self.tasks.put((save, text, lambda why: self.deliver(self.room.saved(why, *clock()))))

    def work(self):
        """Runs in each worker thread: does tasks, one after the other."""
        while True:
            task, argument, then = self.tasks.get()
            self.outcomes.put((then, task(argument)))
            os.write(self.wakeup_write, b"!")

    def collect(self):
        """Uses the outcomes in the loop's thread: there is one for each byte in the pipe."""
        for _ in os.read(self.wakeup_read, 4096):
            then, outcome = self.outcomes.get()
            then(outcome)

    # -- The end of a connection ---------------------------------------------------------------

    def drop(self, client):
        """Cleans up after a client: the one way for QUIT, crash, reset and disconnection."""
        self.readers.pause_reading(client)
        client.eof = True
        if client is not self.owner:  # the end of the owner's input is no order
            self.handle([(client, [Quit()])])
            self.deliver([ReaderDone(client)])


if __name__ == "__main__":
    run("nonblocking", Server)
