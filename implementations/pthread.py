"""pthread: each client has a thread that waits for his bytes, and a lock lets one of them at a time into the Room.

The threads share the Room and the list of what is to be told: self.lock guards both, and the order in which that list fills is
the order that everyone hears. Under the lock an event is written to the transcript, but nothing slower: a password is checked by
the thread of the client who gave it, the member file is written by a thread of its own, and one writer thread does all the sending.
"""
import os
import selectors
import sys
import threading
from queue import SimpleQueue
from time import monotonic, sleep

from .common import trace
from .common.acceptor import refuse_connection
from .common.base_server import TICK, BaseServer, clock, run
from .common.trace import traced
from .common.wire import MAX_LINE, MAX_TEXT, size

STACK = 256 * 1024          # bytes of a thread's stack: the usual 8 MiB are not needed
FOREVER = 1e6               # seconds: with a timeout recv waits, but the descriptor stays non-blocking for the writer
SWITCH = 0.1                # seconds that a thread may run while others want to: else each of a thousand asks for that every 5 ms


class Server(BaseServer):
    def __init__(self, options, listener, room, folder):
        super().__init__(options, listener, room, folder)
        self.lock = trace.lock("room", guards="the Room, what is to be told, and the order in which everyone hears it")
        self.room = room                        # guarded by self.lock
        self.deliveries = []                    # guarded by self.lock: of this turn, until flush()
        self.turn_bytes = 0                           # guarded by self.lock: bytes that they, and what was said, have at most
        self.writer_awake = True                       # guarded by self.lock: the writer is at work, or was told to be
        self.backpressure = False                    # guarded by self.lock
        self.serving = True                     # written under self.lock; serve() may see it late
        self.not_full = threading.Condition(self.lock)
        self.texts = SimpleQueue()              # for the member file
        self.owner.answers = SimpleQueue()

        listener.settimeout(TICK)
        self.wakeup_read, self.wakeup_write = os.pipe()
        self.selector = selectors.DefaultSelector()     # the writer's, like self.outboxes
        for source in self.wakeup_read, self.outboxes:
            self.selector.register(source, selectors.EVENT_READ)
        self.select = traced("wait", self.selector.select)
        self.not_full.wait = traced("wait", self.not_full.wait, "crowded")
        sys.setswitchinterval(SWITCH)

    def serve(self):
        """Accept for ever. All the rest is done by other threads."""
        threading.stack_size(STACK)
        for task, *arguments in (self.write,), (self.save_members,), (self.read_from, self.owner):
            self.start(task, *arguments)
        while self.serving:
            self.accept()
            if self.is_tick_due():
                with self.lock:
                    self.deliver(self.tick())

    def start(self, task, *arguments):
        name = arguments[0].address if arguments else task.__name__
        threading.Thread(target=task, args=arguments, name=name, daemon=True).start()

    # -- Reading ---------------------------------------------------------------------------------------------------------------

    def accept(self):
        accepted = self.acceptor.accept()
        with self.lock:
            client = accepted and self.new_client(accepted)
            if client:
                client.answers = SimpleQueue()
                client.sock.settimeout(FOREVER)
                try:
                    self.start(self.read_from, client)
                except RuntimeError:            # no more threads: the newcomer is closed, the rest chat on
                    return refuse_connection(client.sock)
                self.deliver(self.room.connected(client))

    def read_from(self, client):
        """A thread's whole life: wait for bytes, hand on the requests, wait for the answer if there is one."""
        while True:
            try:
                data = client.recv(self.read_size if client.name else MAX_LINE)
            except BlockingIOError:             # the owner's terminal belongs to another job
                sleep(TICK)
                continue
            except OSError:
                data = b""                      # a reset: an end like any other
            if not data:
                return self.drop(client)
            if not client.over:
                self.handle([(client, client.session.receive(data))])
            while client.session.awaiting_reply and not client.over:
                word = client.answers.get()
                self.handle([(client, client.answer(word))])        # here a password is checked, outside the lock

    def handle(self, batch):
        """Between Session and Room: a lock. While the room is crowded, nobody talks."""
        with self.lock:
            while self.backpressure or self.turn_bytes > self.turn_budget:
                self.not_full.wait()
            self.turn_bytes += sum([size(argument) + MAX_LINE - MAX_TEXT for _, requests in batch for _, argument in requests])
            self.room.process(batch, *clock())
            self.deliver(self.room.take_deliveries())

    # -- Telling ---------------------------------------------------------------------------------------------------------------

    def deliver(self, deliveries):
        """Caller holds self.lock. Who finds the writer at work leaves it in peace: it looks again before it sleeps."""
        super().deliver(deliveries)
        if not self.writer_awake and self.has_output():
            self.writer_awake = True
            os.write(self.wakeup_write, b"!")

    def has_output(self):
        """Caller holds self.lock. Whether there is anything for flush() to tell."""
        return bool(self.deliveries or self.room.uncommitted)

    def write(self):
        """The writer's life."""
        while True:
            if not self.writer_awake:
                for key, _ in self.select(TICK):
                    if key.fileobj == self.wakeup_read:
                        os.read(self.wakeup_read, 4096)
            self.flush()

    def flush(self):
        """One send to each. Whose request is thereby finished is read again."""
        with self.lock:
            self.room.commit_messages()                  # what many readers said is kept by one write
            self.deliver(self.room.take_deliveries())
            deliveries, self.deliveries, self.turn_bytes = self.deliveries, [], 0
        finished = self.outboxes.flush(deliveries, monotonic())
        with self.lock:
            self.room.requests_finished(finished, monotonic())
            self.backpressure = self.outboxes.backpressure
            self.writer_awake = self.has_output()
            self.serving = self.writer_awake or self.is_serving()
            self.not_full.notify_all()
        for client in finished:
            self.check(client, "done")

    def check(self, client, what):
        """To his Session alone: what to check (a slow thing, which his own thread does), or that his request is done."""
        client.answers.put(what)

    def save(self, text):
        """So is the member file."""
        self.texts.put(text)

    def save_members(self):
        save = traced("save", self.folder.save_members)
        while True:
            why = save(self.texts.get())
            with self.lock:
                self.deliver(self.room.saved(why, *clock()))

    # -- Going -----------------------------------------------------------------------------------------------------------------

    def drop(self, client):
        """He is gone, or wants to be: the one end for quit, crash, reset and eviction."""
        if client is not self.owner:            # the end of the owner's input is no order
            with self.lock:                     # not handle(): who goes does not wait for a less crowded room
                self.deliver(self.room.handle([(client, [("quit", "")])], *clock()))
                self.deliver([("close", client, None)])


if __name__ == "__main__":
    run("pthread", Server)
