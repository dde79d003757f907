"""Threads as in a textbook: socketserver, one thread for each client, sendall under one lock."""

import contextlib
import socket
import socketserver
import threading

from .talk import Talk

lock = threading.Lock()  # guards `here`, the numbers of events, and every send
here: set["Client"] = set()


class Client(Talk, socketserver.StreamRequestHandler):
    """One connection, in a thread of its own."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Serve the client up to the end of its connection."""
        self.tell_one(b"HELLO grupo/1 bench\n")
        with contextlib.suppress(OSError):
            for line in self.rfile:
                with lock:
                    self.obey(line[:-1])
        with lock:
            self.leave()

    def tell_one(self, data: bytes) -> None:
        """Send bytes to this client alone."""
        self.request.sendall(data)

    def tell_all(self, data: bytes) -> None:
        """Send an event to all members."""
        for client in list(here):
            try:
                client.request.sendall(data)
            except OSError:
                here.discard(client)

    def come(self) -> None:
        """Make this client a member that is here."""
        here.add(self)

    def go(self) -> None:
        """End the connection."""
        here.discard(self)
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


class Server(socketserver.ThreadingTCPServer):
    """A server with a long backlog; its threads do not outlive the program."""

    daemon_threads = True
    request_queue_size = 1024


if __name__ == "__main__":
    threading.stack_size(256 * 1024)
    with Server(("127.0.0.1", 0), Client) as server:
        print(f"listening on 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
