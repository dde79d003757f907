"""The door: connections come in here, whatever the machine has run out of. The newcomer is closed, the rest chat on, nothing spins."""
import os
import resource
import socket
import time

from .trace import traced

RESERVED_DESCRIPTORS = 8                 # descriptors kept for the server's own files
ACCEPT_BATCH = 32                # newcomers in one turn of a loop: they are let in together, and the others are not kept waiting


class Acceptor:
    def __init__(self, listener, options):
        self.listener, self.sndbuf = listener, options.sndbuf
        self.descriptor_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_DESCRIPTORS
        self.spare = open_spare()                       # given up for a moment when there is no other; -1: it is lost
        self.accept_connection = traced("accept", listener.accept)

    def accept_batch(self):
        """Who stands at the door of a loop, which does not wait for anyone: see accept()."""
        for _ in range(ACCEPT_BATCH):
            arrival = self.accept()
            if not arrival:
                return
            yield arrival

    def accept(self):
        """A new (socket, address as text), or None: nobody was there, or he had to be sent away."""
        try:
            sock, address = self.accept_connection()
        except (BlockingIOError, ConnectionAbortedError, TimeoutError):
            return None
        except OSError:                                 # EMFILE and its like: give up the spare descriptor for a moment
            self.refuse_one()
            return None
        if sock.fileno() >= self.descriptor_limit:                  # descriptors are given lowest first: nearly all are taken
            refuse_connection(sock)
            return None
        self.reopen_spare()
        sock.setblocking(False)                         # whoever reads waits for readiness first; nobody waits to write
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.sndbuf)
        return sock, address_text(address)

    def refuse_one(self):
        if self.spare >= 0:
            os.close(self.spare)
        try:
            sock, _ = self.listener.accept()
            refuse_connection(sock)
        except OSError:
            time.sleep(0.01)                            # not even so: at least do not spin
        finally:
            self.spare = -1
            self.reopen_spare()

    def reopen_spare(self):
        """Opens the spare descriptor again, if it was given up, or lost to another thread."""
        if self.spare < 0:
            self.spare = open_spare()


def open_spare():
    """A descriptor that stands for nothing; -1 if there is none left."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def refuse_connection(sock):
    """Closes a connection that there is no room for. (Closed with his input unread, he may see a reset instead of the BYE.)"""
    try:
        sock.send(b"BYE full\n", socket.MSG_DONTWAIT)
    except OSError:
        pass
    sock.close()


def address_text(address):
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
