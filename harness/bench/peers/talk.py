"""What the Python peers share: a group without members, files or limits. How the bytes get to the members is theirs."""

import itertools
import time

SEQ = itertools.count(1)


def stamp():
    now = time.time()
    return b"%s.%03dZ" % (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)).encode(),
        now % 1 * 1000,
    )


class Talk:
    """One client. `tell_one(bytes)`, `tell_all(bytes)`, `come()` and `go()` are the peer's own."""

    name = None
    tail = b""

    def receive(self, data):
        *lines, self.tail = (self.tail + data).split(b"\n")
        for line in lines:
            self.obey(line)

    def obey(self, line):
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

    def leave(self):
        """The one end, for QUIT and for end of file."""
        if self.name:
            name, self.name = self.name, None
            self.go()
            self.tell_all(b"OUT %d %s %s\n" % (next(SEQ), stamp(), name))
