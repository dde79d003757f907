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
from .common.door import send_away
from .common.shell import TICK, Shell, clock, run
from .common.trace import traced
from .common.wire import MAX_LINE, MAX_TEXT, size

STACK = 256 * 1024          # bytes of a thread's stack: the usual 8 MiB are not needed
FOREVER = 1e6               # seconds: with a timeout recv waits, but the descriptor stays non-blocking for the writer
SWITCH = 0.1                # seconds that a thread may run while others want to: else each of a thousand asks for that every 5 ms


class Server(Shell):
    def __init__(self, options, listener, room, folder):
        super().__init__(options, listener, room, folder)
        self.lock = trace.lock("room", guards="the Room, what is to be told, and the order in which everyone hears it")
        self.room = room                        # guarded by self.lock
        self.deliveries = []                    # guarded by self.lock: of this turn, until flush()
        self.told = 0                           # guarded by self.lock: bytes that they, and what was said, have at most
        self.woken = True                       # guarded by self.lock: the writer is at work, or was told to be
        self.crowded = False                    # guarded by self.lock
        self.serving = True                     # written under self.lock; serve() may see it late
        self.may_talk = threading.Condition(self.lock)
        self.texts = SimpleQueue()              # for the member file
        self.owner.answers = SimpleQueue()

        listener.settimeout(TICK)
        self.wake, self.waker = os.pipe()
        self.selector = selectors.DefaultSelector()     # the writer's, like self.outboxes
        for source in self.wake, self.outboxes:
            self.selector.register(source, selectors.EVENT_READ)
        self.select = traced("wait", self.selector.select)
        self.may_talk.wait = traced("wait", self.may_talk.wait, "crowded")
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
        arrival = self.door.accept()
        with self.lock:
            client = arrival and self.newcomer(arrival)
            if client:
                client.answers = SimpleQueue()
                client.sock.settimeout(FOREVER)
                try:
                    self.start(self.read_from, client)
                except RuntimeError:            # no more threads: the newcomer is closed, the rest chat on
                    return send_away(client.sock)
                self.deliver(self.room.arrive(client))

    def read_from(self, client):
        """A thread's whole life: wait for bytes, hand on the requests, wait for the answer if there is one."""
        while True:
            try:
                data = client.recv(self.gulp if client.name else MAX_LINE)
            except BlockingIOError:             # the owner's terminal belongs to another job
                sleep(TICK)
                continue
            except OSError:
                data = b""                      # a reset: an end like any other
            if not data:
                return self.drop(client)
            if not client.over:
                self.handle([(client, client.session.receive(data))])
            while client.session.waiting and not client.over:
                word = client.answers.get()
                self.handle([(client, client.answer(word))])        # here a password is checked, outside the lock

    def handle(self, batch):
        """Between Session and Room: a lock. While the room is crowded, nobody talks."""
        with self.lock:
            while self.crowded or self.told > self.share:
                self.may_talk.wait()
            self.told += sum([size(argument) + MAX_LINE - MAX_TEXT for _, requests in batch for _, argument in requests])
            self.room.hear(batch, *clock())
            self.deliver(self.room.take())

    # -- Telling ---------------------------------------------------------------------------------------------------------------

    def deliver(self, deliveries):
        """Caller holds self.lock. Who finds the writer at work leaves it in peace: it looks again before it sleeps."""
        super().deliver(deliveries)
        if not self.woken and self.has_news():
            self.woken = True
            os.write(self.waker, b"!")

    def has_news(self):
        """Caller holds self.lock. Whether there is anything for flush() to tell."""
        return bool(self.deliveries or self.room.said)

    def write(self):
        """The writer's life."""
        while True:
            if not self.woken:
                for key, _ in self.select(TICK):
                    if key.fileobj == self.wake:
                        os.read(self.wake, 4096)
            self.flush()

    def flush(self):
        """One send to each. Whose request is thereby finished is read again."""
        with self.lock:
            self.room.settle()                  # what many readers said is kept by one write
            self.deliver(self.room.take())
            deliveries, self.deliveries, self.told = self.deliveries, [], 0
        finished = self.outboxes.flush(deliveries, monotonic())
        with self.lock:
            self.room.finished(finished, monotonic())
            self.crowded = self.outboxes.crowded
            self.woken = self.has_news()
            self.serving = self.woken or self.is_serving()
            self.may_talk.notify_all()
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
