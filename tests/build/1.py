"""A group-chat server, stage 1: it finds the lines in what a client sends, and answers each."""

import argparse
import re
import socket

MAX_LINE = 512  # bytes, with the LF
MAX_ERRORS = 10  # of a client that is no member
VERBS = ("PING", "PONG", "QUIT")
# What no line may contain: control characters, and those that change the direction of writing.
NOT_TEXT = re.compile("[\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef]")
TOKEN = re.compile("[!-~]{1,64}")


class RefusedError(Exception):
    """A request that is not done. Its argument is the code of its ERR."""


class Client:
    def __init__(self, sock):
        self.sock = sock
        self.rest = b""  # the beginning of a line whose end has not come yet
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
        self.sock.sendall(f"{line}\n".encode())

    def bye(self, code):
        self.send(f"BYE {code}")
        self.over = True


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


def handle(client, line):
    """Answers one line."""
    if line in (b"", b"\r"):
        return
    try:
        answer(client, *request_of(line))
    except RefusedError as why:
        code = why.args[0]
        client.send(f"ERR {code} this request was not done")
        client.errors += 1
        if code == "too-long" or client.errors == MAX_ERRORS:
            client.bye("protocol")


def answer(client, verb, rest):
    """Does a request. Raises RefusedError."""
    if verb in ("PING", "PONG") and not TOKEN.fullmatch(rest or ""):
        raise RefusedError("bad-arguments")
    if verb == "QUIT" and rest is not None:
        raise RefusedError("bad-arguments")
    if verb == "PING":
        client.send(f"PONG {rest}")
    elif verb == "QUIT":
        client.bye("quit")


def serve(sock, group):
    """Serves one client up to its end."""
    client = Client(sock)
    client.send(f"HELLO grupo/1 {group}")
    while not client.over:
        data = sock.recv(65536)
        for line in client.lines(data):
            if not client.over:
                handle(client, line)
        if not data and not client.over:
            client.bye("quit")
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(65536):
        pass  # a close with unread bytes would reset the connection, and the BYE might be lost


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
    listener = socket.create_server((options.host, options.port))
    print("listening on {}:{}".format(*listener.getsockname()), flush=True)
    while True:
        sock, _ = listener.accept()
        with sock:
            try:
                serve(sock, options.group)
            except OSError:
                pass  # this client has gone; the next one is served


main()
