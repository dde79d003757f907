"""fork: each client has a process that waits for its bytes; a pipe takes its requests to the hub.

Nothing is shared, so nothing is locked: the hub is the one process that has the Room. It reads the
pipes one after the other, and that is the order in which everyone receives the events. A child has
one Session and the reading side of one socket, and checks its client's password. The hub has all
the rest: the Room, the files, and the writing side of every socket that it accepted.
"""

import os
from time import monotonic

from .common.acceptor import refuse_connection
from .common.base_server import DONE, TICK, BaseServer, clock, run
from .common.children import OVER, Child
from .common.deliveries import ReaderDone
from .common.readers import Readers
from .common.requests import Decoder, Quit, encode
from .common.thread_name import name_thread
from .common.trace import traced


class Server(BaseServer):
    """The hub, and its children."""

    def __init__(self, options, listener, room, folder):
        super().__init__(options, listener, room, folder)
        self.children = set()
        self.fork = traced("fork", Child, lambda name, *_: name)

        listener.setblocking(False)
        self.readers = Readers(self.outboxes.pause_after)
        self.readers.add_source(listener, self.accept)
        self.readers.add_source(self.outboxes)
        self.readers.resume_reading(self.owner)

    def serve(self):
        """Runs turns: wait until clients are readable, read, decide, then write to all once."""
        name_thread("hub")
        while self.is_serving():
            self.readers.wait(0 if self.deliveries else TICK)
            self.handle(self.readers.read_ready(self.read_pipe, self.batch_limit))
            if self.is_tick_due():
                self.deliver(self.tick())
                self.readers.resume_reading(self.owner)  # another job may have had the terminal
            self.flush()

    # -- Reading -------------------------------------------------------------------------------

    def accept(self):
        """Lets new clients in."""
        accepted = self.acceptor.accept()  # only one: a fork takes long, and the others wait
        if client := accepted and self.new_client(accepted):
            try:
                client.child = self.fork(client.address, self.read_from, client)
            except OSError:  # no more processes or descriptors: it is refused, the rest continue
                return refuse_connection(client.sock)
            client.source, client.decoder = client.child.up, Decoder()
            self.children.add(client.child)
            self.readers.resume_reading(client)
            self.deliver(self.room.connected(client))

    def read_from(self, client, hub):
        """Runs in the client's process: waits for bytes, hands over requests, waits for replies."""
        name_thread("reader")
        hub.keep_only(client.address, client.sock.fileno())
        over = False  # the hub said so: what the client sends is discarded
        while hub.is_readable(client.sock):
            try:
                data = client.recv(self.read_size)
            except BlockingIOError:  # nothing after all
                continue
            except OSError:
                data = b""  # a reset: an end like any other
            if not data:
                return
            if not over:
                self.hand_over(hub, client.session.receive_encoded(data))
            while client.session.awaiting_reply and not over:
                reply = hub.read_reply()
                over = reply == OVER
                if not over:
                    self.hand_over(hub, encode(self.resume(client, reply)))

    def hand_over(self, hub, requests):
        """From Session to Room: a pipe."""
        hub.write(requests)

    # -- Writing -------------------------------------------------------------------------------

    def flush(self):
        """Sends once to each client. Goes on with those whose request is finished by that."""
        deliveries, self.deliveries = self.deliveries, []
        finished = self.outboxes.flush(deliveries, monotonic())
        self.readers.pause_all(self.outboxes.backpressure)
        self.room.requests_finished(finished, monotonic())
        for client in finished:
            if client is self.owner:
                client.session.awaiting_reply = False
                self.readers.resume_reading(client, has_lines=bool(client.session.unparsed))
            elif not client.eof:
                client.child.reply(OVER if client.over else DONE)

    def check_password(self, client, against):
        """Has the client's own process check its password."""
        if not client.eof:
            client.child.reply(against)

    def save_members(self, text):
        """Has a process of its own write the member file."""

        def write(hub):
            name_thread("member file")
            folder = self.folder
            hub.keep_only("save", folder.fd, folder.lock, folder.transcript.fd)
            hub.write(traced("save", folder.save_members)(text).encode())

        def saved():
            why = os.read(child.up, 4096).decode()
            self.readers.remove_source(child.up)
            self.children.remove(child)
            if child.reap() != 0:
                why = why or "its writer was killed"
            self.deliver(self.room.saved(why, *clock()))

        try:
            child = Child("save", write)
        except OSError as error:
            self.deliver(self.room.saved(error.strerror, *clock()))
        else:
            self.children.add(child)
            self.readers.add_source(child.up, saved)

    # -- The end of a connection ---------------------------------------------------------------

    def drop(self, client):
        """Cleans up after a client: the one way for QUIT, crash, reset and disconnection."""
        self.readers.pause_reading(client)
        client.eof = True
        self.children.remove(client.child)
        if client.child.reap() != 0:
            self.outboxes.disconnect(client.outbox)  # its child was killed: there is no BYE
        self.handle([(client, [Quit()])])
        self.deliver([ReaderDone(client)])

    # -- The hub's side of the pipes -----------------------------------------------------------

    def read_pipe(self, client):
        """Returns the requests that the client's child has written. The owner has no child."""
        if client is self.owner:
            return self.readers.receive(client, self.size_to_read(client))
        data = client.child.read(self.size_to_read(client))
        if not data:
            self.drop(client)
        return client.decoder.receive(data)

    def handle(self, batch):
        """Has the Room handle the requests of a turn."""
        self.deliver(self.room.handle(batch, *clock()))

    def close(self):
        """Ends the children that are left: none outlives the hub, not even a stopped one."""
        for child in self.children:
            child.kill()


if __name__ == "__main__":
    run("fork", Server)
