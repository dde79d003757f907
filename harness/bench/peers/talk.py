"""The part that the Python peers share: a group without files or limits.

Each peer has its own way to send the bytes to the members.
"""

import itertools
import time

SEQ = itertools.count(1)


def stamp() -> bytes:
    """Return the time now, as events carry it."""
    now = time.time()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)).encode()
    return b"%s.%03dZ" % (seconds, now % 1 * 1000)


class Talk:
    """One client. Each peer adds `tell_one(bytes)`, `tell_all(bytes)`, `come()` and `go()`."""

    name: bytes | None = None
    tail = b""

    def receive(self, data: bytes) -> None:
        """Handle a piece of the client's bytes; keep a line without its end."""
        *lines, self.tail = (self.tail + data).split(b"\n")
        for line in lines:
            self.obey(line)

    def obey(self, line: bytes) -> None:
        """Handle one request."""
        verb, _, rest = line.partition(b" ")
        if verb == b"SAY":
            self.tell_all(b"MSG %d %s %s %s\n" % (next(SEQ), stamp(), self.name, rest))
        elif verb == b"PING":
            self.tell_one(b"PONG %s\n" % rest)
        elif verb == b"JOIN":
            self.name = rest.partition(b" ")[0]
            seq = next(SEQ)
            self.tell_one(b"PENDING\nWELCOME %d %s\n" % (seq - 1, self.name))
            self.come()
            self.tell_all(b"IN %d %s %s\n" % (seq, stamp(), self.name))
        elif verb == b"QUIT":
            self.tell_one(b"BYE quit\n")
            self.leave()

    def leave(self) -> None:
        """End the client's stay, once, after QUIT or end of file."""
        if self.name:
            name, self.name = self.name, None
            self.go()
            self.tell_all(b"OUT %d %s %s\n" % (next(SEQ), stamp(), name))
