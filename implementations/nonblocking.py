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
from .common.requests import Quit
from .common.thread_name import name_thread
from .common.trace import traced

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
        self.readers = Readers(self.outboxes.pause_after)
        self.readers.add_source(listener, self.accept)
        self.readers.add_source(self.wakeup_read, self.collect)
        self.readers.add_source(self.outboxes)
        self.readers.resume_reading(self.owner)

    def serve(self):
        """Runs turns: wait until clients are readable, read, decide, then write to all once."""
        name_thread("loop")
        while self.is_serving():
            self.readers.wait(0 if self.deliveries else TICK)
            self.hand_over(self.readers.read_ready(self.read_from, self.batch_limit))
            if self.is_tick_due():
                self.deliver(self.tick())
                self.readers.resume_reading(self.owner)  # another job may have had the terminal
            self.flush()

    # -- Reading -------------------------------------------------------------------------------

    def accept(self):
        """Lets new clients in."""
        for accepted in self.acceptor.accept_batch():
            if client := self.new_client(accepted):
                self.readers.resume_reading(client)
                self.deliver(self.room.connected(client))

    def read_from(self, client):
        """Returns the client's next requests. It is readable, so nothing waits here."""
        requests = self.readers.receive(client, self.size_to_read(client))
        if client.eof:
            self.drop(client)
        return requests

    def hand_over(self, batch):
        """From Session to Room: a call."""
        self.deliver(self.room.handle(batch, *clock()))

    # -- Writing -------------------------------------------------------------------------------

    def flush(self):
        """Sends once to each client. Goes on with those whose request is finished by that."""
        deliveries, self.deliveries = self.deliveries, []
        finished = self.outboxes.flush(deliveries, monotonic())
        self.readers.pause_all(self.outboxes.backpressure)
        self.room.requests_finished(finished, monotonic())
        for client in finished:
            client.session.awaiting_reply = False
            self.readers.resume_reading(client, has_lines=bool(client.session.unparsed))

    def check_password(self, client, against):
        """Has a worker check a password. Meanwhile only that worker uses the client's Session."""

        def then(requests):
            self.hand_over([(client, requests)])

        self.tasks.put((client.check_password, against, then))

    def save_members(self, text):
        """Has a worker write the member file."""

        def then(why):
            self.deliver(self.room.saved(why, *clock()))

        self.tasks.put((traced("save", self.folder.save_members), text, then))

    # -- The end of a connection ---------------------------------------------------------------

    def drop(self, client):
        """Cleans up after a client: the one way for QUIT, crash, reset and disconnection."""
        if client is not self.owner:  # the end of the owner's input is no order
            self.hand_over([(client, [Quit()])])
            self.deliver([ReaderDone(client)])

    # -- The workers ---------------------------------------------------------------------------

    def work(self):
        """Runs in each worker thread: does tasks, one after the other."""
        name_thread("worker")
        while True:
            task, argument, then = self.tasks.get()
            self.outcomes.put((then, task(argument)))
            os.write(self.wakeup_write, b"!")

    def collect(self):
        """Uses the outcomes in the loop's thread: there is one for each byte in the pipe."""
        for _ in os.read(self.wakeup_read, 4096):
            then, outcome = self.outcomes.get()
            then(outcome)


if __name__ == "__main__":
    run("nonblocking", Server)
