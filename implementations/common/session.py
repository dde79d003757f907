"""A Session turns one client's bytes into requests that the Room may trust. It is private to that client, and pure.

A request is (verb, argument). Those that have an answer of their own are finished before the next is read: the Session
waits until answer("done"). What the Room alone can know (who is a member, which names are taken) is not asked here.
"""
from collections import deque

from . import wire
from .passwords import DUMMY_HASH, hash_password, verify_password

# What a client may send, and the request that the Room gets of it. JOIN becomes `knock`: see answer().
REQUESTS = {"SAY": "say", "NAME": "name", "WHO": "who", "HISTORY": "history", "LEAVE": "leave", "QUIT": "quit",
            "PING": "ping", "PONG": "pong", "JOIN": "knock"}


class RequestQueue:
    """Lines wait here until the request before them is finished."""

    def __init__(self):
        self.lines = wire.Lines()
        self.unparsed = deque()
        self.awaiting_reply = False        # the last request is not finished

    def receive(self, data):
        """The requests that may be handled now, in order, after these bytes came. Never raises."""
        self.unparsed.extend(self.lines.feed(data))
        return self.requests()

    def requests(self):
        """Those that may be handled now, of the lines that are here."""
        requests = []
        while self.unparsed and not self.awaiting_reply:
            if request := self.parse(self.unparsed.popleft()):
                requests.append(request)
                self.awaiting_reply = request[0] != "say"          # a message has no answer: everyone hears it, its sender too
        return requests

    def answer(self, word):
        """What the Room had to say to this Session alone: `done`. Then come the next requests."""
        self.awaiting_reply = False
        return self.requests()


class Session(RequestQueue):
    """The Session of a client on the wire."""

    def __init__(self):
        super().__init__()
        self.name = self.password = None        # of the JOIN under way; the password goes no further than this

    def are_messages(self, data):
        """Whether these bytes are nothing but whole messages, which may be handled now: see wire.messages()."""
        return not self.awaiting_reply and not self.unparsed and self.lines.are_messages(data)

    def receive(self, data):
        if self.are_messages(data):
            return wire.messages(data)
        self.unparsed.extend(filter(None, self.lines.feed(data)))     # a flood of empty lines is to cost next to nothing
        return self.requests()

    def parse(self, line):
        """One line as a request; ("err", "CODE VERB") if its own text is reason enough to refuse it."""
        verb, _, rest = line.partition(" ")
        if verb == "SAY":
            if 0 < len(rest) <= wire.MAX_TEXT and (rest.isascii() or wire.size(rest) <= wire.MAX_TEXT):
                return "say", rest
        elif isinstance(line, wire.Fault):
            return "err", line
        elif verb not in REQUESTS:
            return "err", "unknown"
        elif verb == "JOIN":
            name, _, password = rest.partition(" ")
            if name and 0 < wire.size(password) <= wire.MAX_PASSWORD:
                return self.named(verb, name, password)
        elif verb == "NAME":
            if rest and " " not in rest:
                return self.named(verb, rest)
        elif verb == "HISTORY":
            if wire.SEQ.fullmatch(rest):
                return "history", rest
        elif verb in ("PING", "PONG"):
            if wire.TOKEN.fullmatch(rest):
                return REQUESTS[verb], rest
        elif line == verb:                      # WHO, LEAVE, QUIT stand alone
            return REQUESTS[verb], ""
        return "err", f"bad-arguments {verb}"

    def named(self, verb, text, password=None):
        name = wire.clean_name(text)
        if name is None:
            return "err", f"bad-name {verb}"
        self.name, self.password = name, password
        return REQUESTS[verb], name

    def answer(self, word):
        """The Room's answer: `done`; or, to a knock, what the password is to be checked against, when it is its turn.

        That takes tens of milliseconds, and is the one slow call of a Session: whoever makes it sees to it that nobody waits.
        """
        if word == "done":
            return super().answer(word)
        password, self.password = self.password, None
        if word == "new":
            phc = hash_password(password)
            return [("enter", f"{self.name} {phc}")] if phc else [("refuse", "")]
        known = verify_password(password, DUMMY_HASH if word == "dummy" else word)
        return [("enter", self.name)] if known and word != "dummy" else [("refuse", "")]


# The owner's orders, and whether they take a name, a group's name, or nothing.
ORDERS = {"accept": "NAME", "reject": "NAME", "ban": "NAME", "unban": "NAME", "rename": "GROUP",
          "members": "", "close": "", "delete": "", "help": ""}


class OwnerSession(RequestQueue):
    """The Session of the owner, whose lines are orders. Trusted, but just as likely to mistype."""

    def __init__(self):
        super().__init__()
        self.consenting = False     # the last order was `delete`: the next line is the consent

    def parse(self, line):
        """One line as an order; ("wrong", why) if it is none; None if empty."""
        if self.consenting:
            self.consenting = False
            return "consent", line
        if isinstance(line, wire.Fault):
            return "wrong", "the line is too long" if line == "too-long" else "the line is not plain text"
        if not line:
            return None
        order, _, rest = line.partition(" ")
        if order not in ORDERS:
            return "wrong", "no such order: type help"
        if ORDERS[order] == "":
            if line != order:
                return "wrong", f"{order} stands alone"
            self.consenting = order == "delete"
            return order, ""
        if ORDERS[order] == "GROUP":
            return (order, rest) if wire.is_group(rest) else ("wrong", f"the group's name has 1 to {wire.MAX_GROUP} bytes and no space at either end")
        name = wire.clean_name(rest)
        return (order, name) if name else ("wrong", f"{order} NAME: a name has no spaces and begins with a letter or digit")
