"""pthread: each client has a thread that waits for its bytes; a lock lets one into the Room.

The threads share the Room and the deliveries of the turn. self.lock guards both, so the order of
the deliveries is the order in which everyone receives the events. Under the lock an event is
written to the transcript, but nothing slower happens: each client's own thread checks its password,
a thread of its own writes the member file, and one writer thread does all the sending.
"""

import os
import selectors
import sys
import threading
from queue import SimpleQueue
from time import monotonic, sleep

from .common import trace
from .common.acceptor import refuse_connection
from .common.base_server import DONE, TICK, BaseServer, clock, run
from .common.deliveries import ReaderDone
from .common.requests import Quit, event_bytes
from .common.thread_name import name_thread
from .common.trace import traced
from .common.waiting_line import WaitingLine

STACK = 256 * 1024  # bytes of a thread's stack; the usual 8 MiB are not needed
FOREVER = 1e6  # seconds; a timeout lets recv wait while the descriptor is non-blocking for sends
ACCEPT_PAUSE = 0.001  # seconds for each new client: a storm of them leaves the others time
STRANGER_PAUSE = 0.0005  # seconds for each read from a stranger, one at a time: as above
SWITCH = 0.1  # seconds that a thread may run while others want to; with 5 ms, 1,000 threads thrash


class Server(BaseServer):
    """The threads."""

    def __init__(self, options, listener, room, folder):
        super().__init__(options, listener, room, folder)
        guards = "the Room, the deliveries, and the order in which everyone receives them"
        self.lock = trace.lock("room", guards)
        self.room = room  # guarded by self.lock
        self.deliveries = []  # guarded by self.lock; of this turn, until flush()
        self.turn_bytes = 0  # guarded by self.lock; the most that these and the messages can have
        self.writer_awake = True  # guarded by self.lock; the writer works, or has been woken
        self.backpressure = False  # guarded by self.lock
        self.serving = True  # written under self.lock; serve() may see it late
        self.line = WaitingLine(self.lock, self.is_crowded)  # of clients' threads
        self.strangers = threading.Lock()  # held by the one stranger that pauses
        self.texts = SimpleQueue()  # for the member file
        self.owner.replies = SimpleQueue()

        listener.settimeout(TICK)
        self.wakeup_read, self.wakeup_write = os.pipe()
        self.selector = selectors.DefaultSelector()  # the writer's, like self.outboxes
        for source in self.wakeup_read, self.outboxes:
            self.selector.register(source, selectors.EVENT_READ)
        self.select = traced("wait", self.selector.select)
        sys.setswitchinterval(SWITCH)

    def serve(self):
        """Accepts connections. Other threads do all the rest."""
        name_thread("accept")
        threading.stack_size(STACK)
        self.start("write", self.write)
        self.start("save_members", self.write_member_file)
        self.start(self.owner.address, self.read_from, self.owner)
        while self.serving:
            self.accept()
            if self.is_tick_due():
                with self.lock:
                    self.deliver(self.tick())

    # -- Reading -------------------------------------------------------------------------------

    def accept(self):
        """Lets new clients in."""
        accepted = self.acceptor.accept()
        if accepted:
            sleep(ACCEPT_PAUSE)
        with self.lock:
            client = accepted and self.new_client(accepted)
            if client:
                client.replies = SimpleQueue()
                client.sock.settimeout(FOREVER)
                try:
                    self.start(client.address, self.read_from, client)
                except RuntimeError:  # no more threads: this client is refused, the rest continue
                    return refuse_connection(client.sock)
                self.deliver(self.room.connected(client))

    def read_from(self, client):
        """Runs in the client's thread: waits for bytes, hands over requests, waits for replies."""
        name_thread("console" if client is self.owner else "reader")
        while True:
            if client.is_stranger and not client.over:
                with self.strangers:
                    sleep(STRANGER_PAUSE)
            try:
                data = client.recv(self.size_to_read(client))
            except BlockingIOError:  # another job has the owner's terminal
                sleep(TICK)
                continue
            except OSError:
                data = b""  # a reset: an end like any other
            if not data:
                return self.drop(client)
            if not client.over:
                requests = client.session.receive(data)
                self.hand_over([(client, requests)])
                if pause := self.outboxes.pause_after(client, requests):
                    sleep(pause)
            while client.session.awaiting_reply and not client.over:
                reply = client.replies.get()
                self.hand_over([(client, self.resume(client, reply))])

    def hand_over(self, batch):
        """From Session to Room: a lock."""
        with self.lock:
            if batch[0][0] is not self.owner:  # the owner's orders wait for nobody
                self.line.wait_in_turn()
            self.turn_bytes += sum([event_bytes(requests) for _, requests in batch])
            self.room.process(batch, *clock())
            self.deliver(self.room.take_deliveries())

    # -- Writing -------------------------------------------------------------------------------

    def flush(self):
        """Sends once to each client. Goes on with those whose request is finished by that."""
        with self.lock:
            self.room.commit_messages()  # of many readers, by one write
            self.deliver(self.room.take_deliveries())
            deliveries, self.deliveries, self.turn_bytes = self.deliveries, [], 0
        finished = self.outboxes.flush(deliveries, monotonic())
        with self.lock:
            self.room.requests_finished(finished, monotonic())
            self.backpressure = self.outboxes.backpressure
            self.writer_awake = self.has_output()
            self.serving = self.writer_awake or self.is_serving()
            self.line.wake_first()
        for client in finished:
            client.replies.put(DONE)

    def check_password(self, client, against):
        """Has the client's own thread check its password."""
        client.replies.put(against)

    def save_members(self, text):
        """Has the thread of the member file write it."""
        self.texts.put(text)

    # -- The end of a connection ---------------------------------------------------------------

    def drop(self, client):
        """Cleans up after a client: the one way for QUIT, crash, reset and disconnection."""
        if client is not self.owner:  # the end of the owner's input is no order
            with self.lock:  # not hand_over(): a client that leaves waits for nothing
                self.deliver(self.room.handle([(client, [Quit()])], *clock()))
                self.deliver([ReaderDone(client)])

    # -- The other threads ---------------------------------------------------------------------

    def start(self, name, task, *arguments):
        """Starts a thread. Raises RuntimeError if the system permits no more."""
        threading.Thread(target=task, args=arguments, name=name, daemon=True).start()

    def is_crowded(self):
        """Whether clients wait: during backpressure, and while the turn is full."""
        return self.backpressure or self.turn_bytes > self.turn_budget

    def write(self):
        """Runs in the writer's thread: sleeps until there is output, and flushes it."""
        name_thread("writer")
        while True:
            if not self.writer_awake:
                for key, _ in self.select(TICK):
                    if key.fileobj == self.wakeup_read:
                        os.read(self.wakeup_read, 4096)
            self.flush()

    def deliver(self, deliveries):
        """Takes what the Room decided, and wakes the writer. Caller holds self.lock.

        A writer that is awake needs no wake-up: it looks again before it sleeps.
        """
        super().deliver(deliveries)
        if not self.writer_awake and self.has_output():
            self.writer_awake = True
            os.write(self.wakeup_write, b"!")

    def has_output(self):
        """Whether there is anything for flush() to send. Caller holds self.lock."""
        return bool(self.deliveries or self.room.unsaid)

    def write_member_file(self):
        """Runs in the thread of the member file."""
        name_thread("member file")
        save = traced("save", self.folder.save_members)
        while True:
            why = save(self.texts.get())
            with self.lock:
                self.deliver(self.room.saved(why, *clock()))


if __name__ == "__main__":
    run("pthread", Server)
