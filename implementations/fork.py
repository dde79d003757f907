"""fork: each client has a process that waits for its bytes; a pipe takes its requests to the hub.

Nothing is shared, so nothing is locked: the hub is the one process that has the Room. It reads the
pipes one after the other, and that is the order in which everyone receives the events. A child has
one Session and the reading side of one socket, and checks its client's password. The hub has all
the rest: the Room, the files, and the writing side of every socket that it accepted.
"""

import gc
import os
import resource
import select
import signal
import sys
from functools import partial
from time import monotonic

from .common import trace
from .common.acceptor import refuse_connection
from .common.base_server import TICK, BaseServer, clock, run
from .common.deliveries import ReaderDone
from .common.readers import Readers
from .common.requests import Quit, Say, count, decode, encode
from .common.trace import traced
from .common.wire import Lines

# What the hub writes to a child, as lines: one of these, or what to check the password against.
DONE, OVER = "done", "over"


class Server(BaseServer):
    """The hub, and its children."""

    def __init__(self, options, listener, room, folder):
        super().__init__(options, listener, room, folder)
        self.children = {}  # pid: the hub's ends of its pipes
        self.fork = traced("fork", fork, lambda life, client: client.address)

        listener.setblocking(False)
        self.readers = Readers()
        self.readers.add_source(listener, self.accept)
        self.readers.add_source(self.outboxes)
        self.readers.resume_reading(self.owner)

    def serve(self):
        """Runs turns: wait until pipes are readable, read, decide, then write to all once."""
        while self.is_serving():
            self.readers.wait(0 if self.deliveries else TICK)
            self.read_ready()
            if self.is_tick_due():
                self.deliver(self.tick())
                self.readers.resume_reading(self.owner)  # another job may have had the terminal
            self.flush()
        for pid in self.children:  # none outlives the hub, not even a stopped one
            os.kill(pid, signal.SIGKILL)
        for pid, ends in self.children.items():
            reap(pid, *ends)

    # -- Reading -------------------------------------------------------------------------------

    def accept(self):
        """Lets new clients in. All forks come first.

        What the hub changes between two forks has to be copied for the first child.
        """
        new_clients, forked = [], []
        for accepted in self.acceptor.accept_batch():
            if client := self.new_client(accepted, len(new_clients)):
                new_clients.append(client)
        for client in new_clients:
            try:
                client.source, client.down, client.pid = self.fork(self.read_from, client)
            except OSError:  # no more processes or descriptors: it is refused, the rest continue
                refuse_connection(client.sock)
            else:
                forked.append(client)
        for client in forked:
            client.lines = Lines()
            read, write = partial(os.read, client.source), partial(os.write, client.down)
            client.read_pipe = traced("pipe.read", read, client.address)
            client.write_pipe = traced("pipe.write", write, client.address)
            self.children[client.pid] = client.source, client.down
            self.readers.resume_reading(client)
            self.deliver(self.room.connected(client))

    # -- in the child

    def read_from(self, client, up, down):
        """Runs in the child: wait for bytes, pass on requests, wait for each reply."""
        close_all_but(client.sock.fileno(), up, down)  # a pipe ends when its last copy is closed
        trace.set_actor(client.address)
        read_pipe = traced("pipe.read", partial(os.read, down), "hub")
        write_pipe = traced("pipe.write", partial(os.write, up), "hub")
        either = select.poll()
        either.register(client.sock, select.POLLIN)
        either.register(down, 0)  # hangs up when the hub is gone
        wait = traced("wait", either.poll)
        over = False  # the hub said so: what the client sends is discarded
        while wait()[-1][0] != down:  # what was registered last is last in the result
            try:
                data = client.recv(self.read_size)
            except BlockingIOError:
                continue
            except OSError:
                data = b""  # a reset: an end like any other
            if not data:
                return
            if not over:
                # Most data is plain messages, which go up as they came.
                plain = client.session.lines.are_messages(data)
                self.hand_up(write_pipe, data if plain else encode(client.session.receive(data)))
            while client.session.awaiting_reply and not over:
                words = read_pipe(4096).decode().split("\n")
                if OVER in words or words == [""]:
                    over = True
                elif words[0] == DONE:
                    self.hand_up(write_pipe, encode(client.session.request_done()))
                else:
                    self.hand_up(write_pipe, encode(client.check_password(words[0])))

    def hand_up(self, write_pipe, data):
        """From Session to Room: a pipe."""
        while data:
            data = data[write_pipe(data) :]

    # -- in the hub

    def read_ready(self):
        """Reads from pipes that are ready, until the turn is full, and handles the requests."""
        batch, size = [], 0
        for client in self.readers.next_ready():
            requests = self.read_owner(client) if client is self.owner else self.read_pipe(client)
            batch.append((client, requests))
            size += count(requests)
            if size >= self.batch_limit:
                break
        self.handle(batch)

    def read_pipe(self, client):
        """Returns the requests that the client's child has written."""
        data = client.read_pipe(self.read_size)
        if not data:
            self.drop(client)
        if texts := client.lines.messages(data):
            return [Say(texts)]
        return decode(client.lines.feed(data))

    def read_owner(self, owner):
        """Returns the owner's next orders. The owner has no child: the hub reads them itself."""
        if owner.session.awaiting_reply:
            self.readers.pause_reading(owner)  # its data stays in the kernel until the reply
            return []
        if owner.session.unparsed:
            return owner.session.next_requests()  # lines that came together with that order
        try:
            data = owner.recv(self.read_size)
        except BlockingIOError:  # another job has the terminal
            self.readers.pause_reading(owner)
            return []
        if not data:  # the end of the owner's input is no order
            owner.eof = True
            self.readers.pause_reading(owner)
        return owner.session.receive(data)

    def handle(self, batch):
        """Handles the requests of a turn."""
        self.deliver(self.room.handle(batch, *clock()))

    # -- Writing -------------------------------------------------------------------------------

    def flush(self):
        """Sends once to each client. Reads again from those whose request is finished by that."""
        deliveries, self.deliveries = self.deliveries, []
        finished = self.outboxes.flush(deliveries, monotonic())
        self.readers.pause_all(self.outboxes.backpressure)
        self.room.requests_finished(finished, monotonic())
        for client in finished:
            if client is self.owner:
                client.session.awaiting_reply = False
                self.readers.resume_reading(client, has_lines=bool(client.session.unparsed))
            else:
                self.reply(client, OVER if client.over else DONE)

    def reply(self, client, word):
        """Writes a line to the client's child."""
        if not client.eof:
            try:
                client.write_pipe(f"{word}\n".encode())
            except BrokenPipeError:  # the child was killed: its pipe to the hub will end
                pass

    def check_password(self, client, against):
        """Has the client's own child check its password."""
        self.reply(client, against)

    def save_members(self, text):
        """Has a child of its own write the member file."""

        def write(_, up, down):
            """Runs in the child."""
            close_all_but(self.folder.lock, self.folder.transcript.fd, up)
            trace.set_actor("save")
            os.write(up, traced("save", self.folder.save_members)(text).encode())

        def saved():
            """Uses the result, when the child has written it or has ended."""
            why = os.read(up, 4096).decode()
            self.readers.remove_source(up)
            status = reap(pid, *self.children.pop(pid))
            if status != 0:
                why = why or "its writer was killed"
            self.deliver(self.room.saved(why, *clock()))

        try:
            up, down, pid = fork(write, None)
        except OSError as error:
            self.deliver(self.room.saved(error.strerror, *clock()))
        else:
            self.children[pid] = up, down
            self.readers.add_source(up, saved)

    # -- The end of a connection ---------------------------------------------------------------

    def drop(self, client):
        """Cleans up after a client: the one way for QUIT, crash, reset and disconnection."""
        self.readers.pause_reading(client)
        client.eof = True
        if reap(client.pid, *self.children.pop(client.pid)) != 0:
            self.outboxes.disconnect(client.outbox)  # its child was killed: there is no BYE
        self.handle([(client, [Quit()])])
        self.deliver([ReaderDone(client)])


def fork(life, *arguments):
    """Forks a child that runs life(*arguments, up, down) and exits.

    Returns the hub's end of the pipe up to the hub, that of the pipe down, and the child's pid.
    Raises OSError.
    """
    up, up_end = os.pipe()
    try:
        down_end, down = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            close(down_end, down)
            raise
    except OSError:
        close(up, up_end)
        raise
    if pid == 0:
        status = 1
        try:
            # Ctrl-C reaches the whole process group, but the hub decides when a child ends.
            blocked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
            gc.freeze()  # a collection would copy the hub's objects
            life(*arguments, up_end, down_end)
            status = 0
        except BrokenPipeError:  # the hub is gone
            pass
        except Exception:  # os._exit would hide it
            sys.excepthook(*sys.exc_info())
        finally:
            trace.end()
            os._exit(status)  # not sys.exit: nothing of the hub's may be cleaned up here
    close(up_end, down_end)  # important: else the hub would never see the end of the child
    return up, down, pid


def close(*descriptors):
    """Closes descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def close_all_but(*kept):
    """Closes what a child inherited: the listener, its siblings' pipes and sockets, the lock.

    Standard descriptors stay open.
    """
    lowest = 3
    for descriptor in sorted(kept):
        os.closerange(lowest, descriptor)
        lowest = descriptor + 1
    os.closerange(lowest, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def reap(pid, *descriptors):
    """Closes the hub's ends of a child's pipes, waits for its end, and returns its exit status.

    The child does not keep the hub waiting: its own ends of the pipes are closed already.
    """
    for descriptor in descriptors:
        os.close(descriptor)
    return os.waitpid(pid, 0)[1]


if __name__ == "__main__":
    run("fork", Server)
