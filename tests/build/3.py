"""A group-chat server, stage 3: a thread serves each client, and a lock guards what they share."""

import argparse
import contextlib
import datetime
import re
import socket
import threading

MAX_LINE, MAX_TEXT, MAX_PASSWORD = 512, 400, 128  # bytes; a line with its LF
MAX_ERRORS = 10  # of a client that is no member
VERBS = ("PING", "PONG", "QUIT", "JOIN", "SAY")
# What no line may contain: control characters, and those that change the direction of writing.
NOT_TEXT = re.compile("[\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef]")
TOKEN = re.compile("[!-~]{1,64}")
NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class RefusedError(Exception):
    """A request that is not done. Its argument is the code of its ERR."""


class Client:
    def __init__(self, sock):
        self.sock = sock
        self.rest = b""  # the beginning of a line whose end has not come yet
        self.name = None  # of a member
        self.errors = 0
        self.over = False  # it was sent BYE

    def lines(self, data):
        """Returns the lines that these bytes complete, without their LF."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) >= MAX_LINE:  # too long, wherever its LF will be
            lines.append(self.rest)
            self.rest = b""
        return lines

    def send(self, line):
        with contextlib.suppress(OSError):  # it has gone: its own thread sees that, too
            self.sock.sendall(f"{line}\n".encode())


def request_of(line):
    """Returns (verb, the text after it or None) of a line in bytes. Raises RefusedError."""
    if len(line) >= MAX_LINE:
        raise RefusedError("too-long")
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise RefusedError("bad-utf8") from None
    if NOT_TEXT.search(text) or any(ord(one) & 0xFFFE == 0xFFFE for one in text):
        raise RefusedError("bad-text")
    verb, space, rest = text.partition(" ")
    if verb not in VERBS:
        raise RefusedError("unknown")
    return verb, rest if space else None


def now():
    """Returns the time as events have it, such as 2026-11-22T13:21:28.123Z."""
    time = datetime.datetime.now(datetime.UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Room:
    """What all clients share: the members that are here, and the number of the newest event."""

    def __init__(self):
        self.here = {}  # {name in lower case: Client}
        self.seq = 1  # event 1 is the group's name

    def event(self, verb, *fields):
        """Sends an event to everyone who is here."""
        self.seq += 1
        line = " ".join((verb, str(self.seq), now(), *fields))
        for client in self.here.values():
            client.send(line)

    def handle(self, client, line):
        """Answers one line of a client."""
        if line in (b"", b"\r"):
            return
        try:
            self.answer(client, *request_of(line))
        except RefusedError as why:
            code = why.args[0]
            client.send(f"ERR {code} this request was not done")
            client.errors += not client.name
            if code == "too-long" or (client.errors == MAX_ERRORS and not client.name):
                self.bye(client, "protocol")

    def answer(self, client, verb, rest):
        """Does a request. Raises RefusedError."""
        if verb == "SAY" and not client.name:
            raise RefusedError("not-joined")
        if verb == "JOIN" and client.name:
            raise RefusedError("already-joined")
        if verb in ("PING", "PONG") and not TOKEN.fullmatch(rest or ""):
            raise RefusedError("bad-arguments")
        if verb == "SAY" and not 1 <= len((rest or "").encode()) <= MAX_TEXT:
            raise RefusedError("bad-arguments")
        if verb == "QUIT" and rest is not None:
            raise RefusedError("bad-arguments")
        if verb == "PING":
            client.send(f"PONG {rest}")
        elif verb == "SAY":
            self.event("MSG", client.name, rest)
        elif verb == "JOIN":
            self.join(client, *(rest or "").partition(" ")[::2])
        elif verb == "QUIT":
            self.bye(client, "quit")

    def join(self, client, name, password):
        """Makes a client a member. Raises RefusedError."""
        if not name or not 1 <= len(password.encode()) <= MAX_PASSWORD:
            raise RefusedError("bad-arguments")
        if not NAME.fullmatch(name):
            raise RefusedError("bad-name")
        client.send("PENDING")
        if name.lower() in self.here:
            client.send("REJECTED refused")
            return
        client.send(f"WELCOME {self.seq} {name}")
        client.name = name
        self.here[name.lower()] = client
        self.event("IN", name)

    def bye(self, client, code):
        """Ends a conversation; the client may still read what was sent to it before."""
        client.send(f"BYE {code}")
        client.over = True
        self.leave(client)

    def leave(self, client):
        """Takes a client out of the room, if it is there, and tells the others."""
        if client.name and self.here.get(client.name.lower()) is client:
            del self.here[client.name.lower()]
            self.event("OUT", client.name)


class Server:
    def __init__(self, listener, group):
        self.listener, self.group = listener, group
        self.lock = threading.Lock()  # guards the room, and the order of what clients receive
        self.room = Room()

    def serve(self):
        while True:
            sock, _ = self.listener.accept()
            threading.Thread(target=self.converse, args=(Client(sock),), daemon=True).start()

    def converse(self, client):
        """Serves one client up to its end, in a thread of its own."""
        client.send(f"HELLO grupo/1 {self.group}")
        while not client.over:
            data = self.receive(client)
            for line in client.lines(data):
                with self.lock:
                    if not client.over:
                        self.room.handle(client, line)
            if not data and not client.over:
                with self.lock:
                    self.room.bye(client, "quit")
        with contextlib.suppress(OSError):
            client.sock.shutdown(socket.SHUT_WR)
        while self.receive(client):
            pass  # a close with unread bytes would reset the connection
        client.sock.close()

    def receive(self, client):
        """Waits for bytes; b"" is the end, however it came."""
        try:
            return client.sock.recv(65536)
        except OSError:
            return b""


def arguments():
    """The flags that every server accepts (protocol.md, section 12)."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7000)
    parser.add_argument("--group", default="grupo")
    parser.add_argument("--dir", default="grupo")
    parser.add_argument("--admit", choices=("ask", "all", "none"), default="ask")
    return parser.parse_args()


def main():
    options = arguments()
    listener = socket.create_server((options.host, options.port), backlog=128)
    print("listening on {}:{}".format(*listener.getsockname()), flush=True)
    Server(listener, options.group).serve()


main()
