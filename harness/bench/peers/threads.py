"""The textbook's threads: socketserver, one thread a client, and sendall to each member under one lock."""

import socket
import socketserver
import threading

from .talk import Talk

lock = threading.Lock()  # guards `here`, the numbers of events, and every send
here = set()


class Client(Talk, socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        self.tell_one(b"HELLO grupo/1 bench\n")
        try:
            for line in self.rfile:
                with lock:
                    self.obey(line[:-1])
        except OSError:
            pass
        with lock:
            self.leave()

    def tell_one(self, data):
        self.request.sendall(data)

    def tell_all(self, data):
        for client in list(here):
            try:
                client.request.sendall(data)
            except OSError:
                here.discard(client)

    def come(self):
        here.add(self)

    def go(self):
        here.discard(self)
        try:
            self.request.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 1024


if __name__ == "__main__":
    threading.stack_size(256 * 1024)
    with Server(("127.0.0.1", 0), Client) as server:
        print("listening on 127.0.0.1:%d" % server.server_address[1], flush=True)
        server.serve_forever()
