"""A group-chat server, stage 5: its members and its events are on disk, and survive any end."""

import argparse
import contextlib
import datetime
import fcntl
import hashlib
import hmac
import os
import re
import selectors
import signal
import socket
import sys
import time

MAX_LINE, MAX_TEXT, MAX_PASSWORD = 512, 400, 128  # bytes; a line with its LF
MAX_ERRORS = 10  # of a client that is no member
MAX_NOES, REJECT_AFTER = 3, 1  # REJECTED on one connection; seconds from a JOIN to its REJECTED
FOR_MEMBERS = ("SAY", "NAME", "WHO", "HISTORY", "LEAVE")
VERBS = ("PING", "PONG", "QUIT", "JOIN", *FOR_MEMBERS)
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
        self.outbox = bytearray()  # what the kernel has not accepted yet
        self.member = None  # a Member, once it has joined
        self.errors = self.noes = 0
        self.todo = []  # its lines that are not handled yet
        self.rejected_at = None  # when it hears the answer to its JOIN, if that is no
        self.over = False  # it was sent BYE
        self.eof = False  # it sends nothing more

    def lines(self, data):
        """Returns the lines that these bytes complete, without their LF."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) >= MAX_LINE:  # too long, wherever its LF will be
            lines.append(self.rest)
            self.rest = b""
        return lines

    def send(self, line):
        self.outbox += f"{line}\n".encode()


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


class Member:
    def __init__(self, name, secret):
        self.name, self.secret = name, secret  # as it was written; the hash of the password

    def knows(self, password):
        return hmac.compare_digest(self.secret, secret_of(password, self.secret[:32]))


def secret_of(password, salt):
    """Returns the salt and the hash of a password, in hexadecimal. This takes some 50 ms."""
    hashed = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1)
    return salt + hashed.hex()


class Journal:
    """The group's only file: each event, and before its IN the secret of each new member."""

    def __init__(self, folder):
        os.makedirs(folder, 0o700, exist_ok=True)
        self.file = os.open(f"{folder}/journal", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as long as this process lives

    def lines(self):
        """Returns all lines; a torn one at the end, left by a kill, is cut off."""
        with open(self.file, "rb", closefd=False) as file:
            data = file.read()
        self.size = data.rfind(b"\n") + 1
        os.ftruncate(self.file, self.size)
        return data[: self.size].decode().split("\n")[:-1]

    def write(self, text):
        """Writes whole lines, or nothing. Raises RefusedError."""
        data = text.encode()
        try:
            if os.write(self.file, data) == len(data):
                self.size += len(data)
                return
        except OSError:
            pass
        os.ftruncate(self.file, self.size)
        raise RefusedError("not-saved")


class Room:
    """The part that all clients share: the members, those who are here, and the events."""

    def __init__(self, journal, group, admits):
        self.journal, self.admits = journal, admits  # whether it admits new members
        self.here = {}  # {name in lower case: Client}
        self.members = {}  # {name in lower case: Member}
        self.events = []  # event n is at n - 1
        self.gone = []  # names whose OUT could not be written yet
        for line in journal.lines():
            self.replay(line)
        if not self.events:
            self.save("GROUP", group)
        self.group = self.events[0].split(" ", 3)[3]

    def replay(self, line):
        """Does to the members what this line of the journal did to them."""
        verb, *fields = line.split(" ")
        if verb == "+":
            self.members[fields[0].lower()] = Member(*fields)
            return
        self.events.append(line)
        if verb == "LEFT":
            del self.members[fields[2].lower()]
        elif verb == "RENAMED":
            member = self.members.pop(fields[2].lower())
            member.name = fields[3]
            self.members[member.name.lower()] = member

    def save(self, verb, *fields, before=""):
        """Writes an event, and returns its line. Nobody may hear it earlier. Raises RefusedError."""
        if verb != "OUT":
            self.tell_who_went()
        line = " ".join((verb, str(len(self.events) + 1), now(), *fields))
        self.journal.write(f"{before}{line}\n")
        for one in (before + line).split("\n"):
            self.replay(one)
        return line

    def deliver(self, line):
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
            client.errors += not client.member
            if code == "too-long" or (client.errors == MAX_ERRORS and not client.member):
                self.bye(client, "protocol")

    def answer(self, client, verb, rest):
        """Does a request. Raises RefusedError."""
        if verb in FOR_MEMBERS and not client.member:
            raise RefusedError("not-joined")
        if verb == "JOIN" and client.member:
            raise RefusedError("already-joined")
        check_arguments(verb, rest)
        if verb == "PING":
            client.send(f"PONG {rest}")
        elif verb == "SAY":
            self.deliver(self.save("MSG", client.member.name, rest))
        elif verb == "JOIN":
            self.join(client, *rest.partition(" ")[::2])
        elif verb == "NAME":
            self.rename(client, rest)
        elif verb == "WHO":
            for key, member in self.members.items():
                client.send(f"MEMBER {member.name} {'here' if key in self.here else 'away'}")
            client.send("END WHO")
        elif verb == "HISTORY":
            for line in self.events[int(rest) :]:
                client.send(line)
            client.send(f"END HISTORY {len(self.events)}")
        elif verb == "LEAVE":
            self.deliver(self.save("LEFT", client.member.name))
            del self.here[client.member.name.lower()]
            self.bye(client, "left")
        elif verb == "QUIT":
            self.bye(client, "quit")

    def join(self, client, name, password):
        """Admits a client as a member, or sees to it that it is rejected later."""
        client.send("PENDING")
        key, before = name.lower(), ""
        member = self.members.get(key)
        if member is None:
            secret = secret_of(password, os.urandom(16).hex())
            before = f"+ {name} {secret}\n"
        if not (member.knows(password) if member else self.admits):
            client.rejected_at = time.monotonic() + REJECT_AFTER
            return
        old = self.here.get(key)
        line = None if old else self.save("IN", member.name if member else name, before=before)
        client.member = self.members[key]
        self.here[key] = client
        if old:
            self.bye(old, "replaced")
        client.send(f"WELCOME {len(self.events) - (line is not None)} {client.member.name}")
        if line:
            self.deliver(line)

    def reject(self, client):
        client.rejected_at = None
        client.send("REJECTED refused")
        client.noes += 1
        if client.noes == MAX_NOES:
            self.bye(client, "refused")

    def rename(self, client, name):
        old = client.member.name
        if name.lower() in self.members and name.lower() != old.lower():
            raise RefusedError("name-taken")
        line = self.save("RENAMED", old, name)
        self.here[name.lower()] = self.here.pop(old.lower())
        self.deliver(line)

    def bye(self, client, code):
        """Ends a conversation; the client may still read what was sent to it before."""
        client.send(f"BYE {code}")
        client.over = True
        self.leave(client)

    def leave(self, client):
        """Takes a client out of the room, if it is there, and tells the others."""
        key = client.member.name.lower() if client.member else ""
        if self.here.get(key) is client:
            del self.here[key]
            self.gone.append(client.member.name)
            with contextlib.suppress(RefusedError):  # later, then, and before any other event
                self.tell_who_went()

    def tell_who_went(self):
        """Writes and sends each OUT that is due. Raises RefusedError."""
        while self.gone:
            self.deliver(self.save("OUT", self.gone[0]))
            del self.gone[0]


def check_arguments(verb, rest):
    """Raises RefusedError if this is not what may follow the verb."""
    name, _, password = (rest or "").partition(" ")
    good = {
        "PING": TOKEN.fullmatch(rest or ""),
        "PONG": TOKEN.fullmatch(rest or ""),
        "SAY": 1 <= len((rest or "").encode()) <= MAX_TEXT,
        "JOIN": name and 1 <= len(password.encode()) <= MAX_PASSWORD,
        "NAME": rest and " " not in rest,
        "HISTORY": re.fullmatch("[0-9]{1,16}", rest or ""),
    }
    if not good.get(verb, rest is None):
        raise RefusedError("bad-arguments")
    if verb in ("JOIN", "NAME") and not NAME.fullmatch(name):
        raise RefusedError("bad-name")


class Server:
    def __init__(self, listener, room):
        self.listener, self.room = listener, room
        self.selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ)
        self.clients = set()
        self.signals, ours = socket.socketpair()  # so that a signal wakes the loop
        ours.setblocking(False)
        signal.set_wakeup_fd(ours.detach())
        for number in signal.SIGTERM, signal.SIGINT:
            signal.signal(number, lambda *_: None)
        self.selector.register(self.signals, selectors.EVENT_READ)

    def serve(self):
        while True:
            for key, events in self.selector.select(self.patience()):
                if key.fileobj is self.signals:
                    self.close()
                    return
                if key.data is None:
                    self.accept()
                elif events & selectors.EVENT_READ:
                    self.read_from(key.data)
            for client in list(self.clients):
                if client.rejected_at and client.rejected_at <= time.monotonic():
                    self.room.reject(client)
                    self.go_on(client)
            for client in list(self.clients):
                self.write_to(client)

    def patience(self):
        """Returns the seconds until the next REJECTED is due; None if there is none."""
        due = [client.rejected_at for client in self.clients if client.rejected_at]
        return max(0, min(due) - time.monotonic()) if due else None

    def accept(self):
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return  # this client has gone already
        sock.setblocking(False)
        client = Client(sock)
        client.send(f"HELLO grupo/1 {self.room.group}")
        self.selector.register(sock, selectors.EVENT_READ, client)
        self.clients.add(client)

    def read_from(self, client):
        try:
            data = client.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self.drop(client)
            return
        client.todo += client.lines(data)
        client.eof = not data
        self.go_on(client)

    def go_on(self, client):
        """Handles the lines of a client, up to one whose answer must wait."""
        while client.todo and not client.over and not client.rejected_at:
            self.room.handle(client, client.todo.pop(0))
        if client.eof and not client.over and not client.rejected_at:
            self.room.bye(client, "quit")

    def write_to(self, client):
        """Sends what the kernel accepts now, and asks the selector about the rest."""
        try:
            if client.outbox:
                del client.outbox[: client.sock.send(client.outbox)]
            if client.over and not client.outbox:
                client.sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            client.outbox.clear()  # the connection is broken: the next recv says so
        if client.eof and client.over and not client.outbox:
            self.drop(client)
            return
        reading = 0 if client.eof or client.rejected_at else selectors.EVENT_READ
        writing = selectors.EVENT_WRITE if client.outbox else 0
        self.watch(client, reading | writing)

    def watch(self, client, events):
        """Has the selector look at a client for these events, or not at all."""
        watched = client.sock in self.selector.get_map()
        if watched and events:
            self.selector.modify(client.sock, events, client)
        elif events:
            self.selector.register(client.sock, events, client)
        elif watched:
            self.selector.unregister(client.sock)

    def drop(self, client):
        """Forgets a client whose connection has ended."""
        self.room.leave(client)
        self.clients.remove(client)
        self.watch(client, 0)
        client.sock.close()

    def close(self):
        """Says goodbye to all clients; the group is on disk."""
        for client in self.clients:
            client.send("BYE closed")
            client.sock.settimeout(0.1)
            with contextlib.suppress(OSError):
                client.sock.sendall(client.outbox)
                client.sock.shutdown(socket.SHUT_WR)


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
    try:
        room = Room(Journal(options.dir), options.group, options.admit == "all")
        listener = socket.create_server((options.host, options.port), backlog=128)
    except OSError as why:
        sys.exit(f"{options.dir}, port {options.port}: {why.strerror}")
    server = Server(listener, room)
    print("listening on {}:{}".format(*listener.getsockname()), flush=True)
    server.serve()


main()
