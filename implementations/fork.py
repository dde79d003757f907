"""fork: each client has a process that waits for his bytes, and a pipe takes his requests to the one process that has the Room.

Nothing is shared, so nothing is locked: the hub reads the pipes one after the other, and that is the order that everyone hears.
A child owns one Session and the reading side of one socket, and checks its client's password itself. The hub owns all the
rest: the Room, the files, and the writing side of every socket that it accepted.
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
from .common.readers import Readers
from .common.base_server import TICK, BaseServer, clock, run
from .common.trace import traced
from .common.wire import Lines, messages


class Server(BaseServer):
    def __init__(self, options, listener, room, folder):
        super().__init__(options, listener, room, folder)
        self.children = {}                      # pid: the hub's ends of its pipes
        self.fork = traced("fork", fork, lambda life, client: client.address)

        listener.setblocking(False)
        self.readers = Readers()
        self.readers.add_source(listener, self.accept)
        self.readers.add_source(self.outboxes)
        self.readers.resume_reading(self.owner)

    def serve(self):
        """Turn for ever: see whose pipe is ready, read it, decide, then write to everyone once."""
        while self.is_serving():
            self.readers.wait(0 if self.deliveries else TICK)
            self.read_ready()
            if self.is_tick_due():
                self.deliver(self.tick())
                self.readers.resume_reading(self.owner)          # who was left alone if another job had his terminal
            self.flush()
        for pid in self.children:               # none outlives the hub, not even a stopped one
            os.kill(pid, signal.SIGKILL)
        for pid, ends in self.children.items():
            reap(pid, *ends)

    # -- Reading ---------------------------------------------------------------------------------------------------------------

    def accept(self):
        """Who came together is forked together: all that the hub writes between two forks stays behind as a copy for the first."""
        newcomers, forked = [], []
        for accepted in self.acceptor.accept_batch():
            if client := self.new_client(accepted, len(newcomers)):
                newcomers.append(client)
        for client in newcomers:
            try:
                client.source, client.down, client.pid = self.fork(self.read_from, client)
            except OSError:                     # no more processes or descriptors: the newcomer is closed, the rest chat on
                refuse_connection(client.sock)
            else:
                forked.append(client)
        for client in forked:
            client.lines = Lines()
            client.read_pipe = traced("pipe.read", partial(os.read, client.source), client.address)
            client.write_pipe = traced("pipe.write", partial(os.write, client.down), client.address)
            self.children[client.pid] = client.source, client.down
            self.readers.resume_reading(client)
            self.deliver(self.room.connected(client))

    # -- in the child

    def read_from(self, client, up, down):
        """A child's whole life: wait for bytes, hand on the requests, wait for the answer if there is one."""
        close_all_but(client.sock.fileno(), up, down)       # a pipe or socket ends only when its last copy is closed
        trace.act_as(client.address)
        read_pipe, write_pipe = traced("pipe.read", partial(os.read, down), "hub"), traced("pipe.write", partial(os.write, up), "hub")
        either = select.poll()
        either.register(client.sock, select.POLLIN)
        either.register(down, 0)                            # it hangs up when the hub is gone
        wait = traced("wait", either.poll)
        while wait()[-1][0] != down:                        # (what was registered last stands last)
            try:
                data = client.recv(self.read_size)
            except BlockingIOError:
                continue
            except OSError:
                data = b""                      # a reset: an end like any other
            if not data:
                return
            if not client.over:
                plain = client.session.are_messages(data)       # by far the most: they go up as they came
                self.hand_up(write_pipe, data if plain else encode_requests(client.session.receive(data)))
            while client.session.awaiting_reply and not client.over:
                words = read_pipe(4096).decode().split("\n")
                client.over = "over" in words or words == [""]
                if not client.over:
                    self.hand_up(write_pipe, encode_requests(client.answer(words[0])))     # here a password is checked

    def hand_up(self, write_pipe, data):
        """Between Session and Room: a pipe."""
        while data:
            data = data[write_pipe(data):]

    # -- in the hub

    def read_ready(self):
        """Reads whose pipe is ready, until the turn has enough to tell. What they all ask goes to the Room at one stroke."""
        batch, asked = [], 0
        for client in self.readers.next_ready():
            requests = self.read_owner(client) if client is self.owner else self.read_pipe(client)
            batch.append((client, requests))
            asked += len(requests)
            if asked >= self.batch_limit:
                break
        self.handle(batch)

    def read_pipe(self, client):
        data = client.read_pipe(self.read_size)
        if not data:
            self.drop(client)
        return messages(data) if client.lines.are_messages(data) else decode_requests(client.lines.feed(data))

    def read_owner(self, owner):
        """The owner has no child: the hub reads him itself."""
        if owner.session.awaiting_reply:
            self.readers.pause_reading(owner)     # what he types stays in the terminal until his order is carried out
            return []
        if owner.session.unparsed:
            return owner.session.requests()     # lines that came together with that order
        try:
            data = owner.recv(self.read_size)
        except BlockingIOError:                 # another job has his terminal
            self.readers.pause_reading(owner)
            return []
        if not data:                            # the end of his input is no order
            owner.eof = True
            self.readers.pause_reading(owner)
        return owner.session.receive(data)

    def handle(self, batch):
        self.deliver(self.room.handle(batch, *clock()))

    # -- Telling ---------------------------------------------------------------------------------------------------------------

    def flush(self):
        """One send to each. Whose request is thereby finished is read again."""
        deliveries, self.deliveries = self.deliveries, []
        finished = self.outboxes.flush(deliveries, monotonic())
        self.readers.pause_all(self.outboxes.backpressure)
        self.room.requests_finished(finished, monotonic())
        for client in finished:
            if client is self.owner:
                client.session.awaiting_reply = False
                self.readers.resume_reading(client, resumed=bool(client.session.unparsed))
            else:
                self.check(client, "over" if client.over else "done")

    def check(self, client, what):
        """To his Session alone: what to check (a slow thing, which his own child does), or that his request is done."""
        if not client.eof:
            try:
                client.write_pipe(f"{what}\n".encode())
            except BrokenPipeError:             # killed: its pipe up will end
                pass

    def save(self, text):
        """So is the member file: a child of its own writes it."""
        def write(_, up, down):
            close_all_but(self.folder.lock, self.folder.transcript.fd, up)
            trace.act_as("save")
            os.write(up, traced("save", self.folder.save_members)(text).encode())

        def saved():
            why = os.read(up, 4096).decode()
            self.readers.remove_source(up)
            status = reap(pid, *self.children.pop(pid))
            self.deliver(self.room.saved(why or ("" if status == 0 else "its writer was killed"), *clock()))
        try:
            up, down, pid = fork(write, None)
        except OSError as error:
            self.deliver(self.room.saved(error.strerror, *clock()))
        else:
            self.children[pid] = up, down
            self.readers.add_source(up, saved)

    # -- Going -----------------------------------------------------------------------------------------------------------------

    def drop(self, client):
        """His child is gone: the one end for quit, crash, reset and eviction."""
        self.readers.pause_reading(client)
        client.eof = True
        if reap(client.pid, *self.children.pop(client.pid)) != 0:
            self.outboxes.disconnect(client.outbox)      # it did not end by itself: the client sees a bare end
        self.handle([(client, [("quit", "")])])
        self.deliver([("close", client, None)])


def encode_requests(requests):
    """Requests as they go up a pipe, where plain messages also go as their client sent them."""
    return "".join([f"{verb} {argument}\n" for verb, argument in requests]).encode()


def decode_requests(lines):
    return [(verb.lower(), argument) for verb, _, argument in [line.partition(" ") for line in lines]]


def fork(life, *arguments):
    """A child that lives life(*arguments, up, down) and ends. Returns the hub's ends of both pipes, and the child's pid."""
    up, up_end = os.pipe()
    try:
        down_end, down = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(down_end), os.close(down)
            raise
    except OSError:
        os.close(up), os.close(up_end)
        raise
    if pid == 0:
        status = 1
        try:
            # Ctrl-C reaches the whole group, but the hub decides who ends.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
            gc.freeze()                                     # what is there now is the hub's: to look at it is to copy it
            life(*arguments, up_end, down_end)
            status = 0
        except BrokenPipeError:                             # the hub is gone
            pass
        except Exception:                                   # os._exit would hide it
            sys.excepthook(*sys.exc_info())
        finally:
            trace.end()
            os._exit(status)                                # not sys.exit: nothing of the hub's is to be cleaned up here
    os.close(up_end), os.close(down_end)                    # important: else the end of the child would never be seen
    return up, down, pid


def close_all_but(*kept):
    """Closes what a child inherited: the listener, its siblings' pipes and sockets, the lock. Standard descriptors stay."""
    lowest = 3
    for descriptor in sorted(kept):
        os.closerange(lowest, descriptor)
        lowest = descriptor + 1
    os.closerange(lowest, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def reap(pid, *descriptors):
    """Its pipe has ended, so the child is about to: no zombie stays. Returns its exit status."""
    for descriptor in descriptors:
        os.close(descriptor)
    return os.waitpid(pid, 0)[1]


if __name__ == "__main__":
    run("fork", Server)
