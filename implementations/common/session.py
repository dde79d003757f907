"""A Session turns one client's bytes into requests that the Room can trust. Private to it, pure.

A request that has an answer of its own is finished before the next one is handled: the Session
waits until request_done(). It does not know who is a member, or which names are taken: only the
Room knows that.
"""

from collections import deque

from . import requests, wire
from .encoding import foreign_encoding, without_mark
from .passwords import DUMMY_HASH, hash_password, verify_password
from .requests import Request, Say

# What Session.check_password() checks a password against, apart from a member's hash.
NEW_MEMBER = "new"  # nothing: a hash is to be made of it
NOBODY = "dummy"  # a hash that nobody has: takes as long, and is always refused


class RequestQueue:
    """The lines of one client, which wait here until the request before them is finished."""

    def __init__(self) -> None:
        self.lines = wire.Lines()
        self.unparsed: deque[str] = deque()  # lines
        self.awaiting_reply = False  # the last request is not finished

    def parse(self, line: str) -> Request | None:
        """Returns one line, a str or a Fault, as a request; None if it is none. Never raises."""
        raise NotImplementedError

    def receive(self, data: bytes) -> list[Request]:
        """Returns the requests that can be handled now that these bytes have come."""
        self.unparsed.extend(self.lines.feed(data))
        return self.next_requests()

    def next_requests(self) -> list[Request]:
        """Returns the requests that can be handled now, of the lines that have come."""
        ready: list[Request] = []
        while self.unparsed and not self.awaiting_reply:
            if request := self.parse(self.unparsed.popleft()):
                ready.append(request)
                # A message has no answer: everyone receives it, its sender, too.
                self.awaiting_reply = type(request) is not Say
        return ready

    def request_done(self) -> list[Request]:
        """The last request is finished. Returns the requests that can be handled now."""
        self.awaiting_reply = False
        return self.next_requests()


class Session(RequestQueue):
    """The Session of a client on the wire."""

    def __init__(self) -> None:
        super().__init__()
        self.name = ""  # in the last JOIN
        self.password = ""  # of the JOIN that is under way; it is passed on to nobody

    def receive(self, data: bytes) -> list[Request]:
        """Returns the requests that can be handled now that these bytes have come."""
        can_handle = not self.awaiting_reply and not self.unparsed
        if can_handle and (texts := self.lines.messages(data)):
            return [Say(texts)]
        # Empty lines are dropped here, so that a flood of them costs almost nothing.
        self.unparsed.extend(filter(None, self.lines.feed(data)))
        return self.next_requests()

    def receive_encoded(self, data: bytes) -> bytes:
        """Does what receive() does, and returns the requests as requests.encode() writes them."""
        # Most data is plain messages, and their encoding is the data itself.
        if not self.awaiting_reply and not self.unparsed and self.lines.are_messages(data):
            return data
        return requests.encode(self.receive(data))

    def parse(self, line: str) -> Request:
        """Returns one line as a request; Malformed if its text alone is reason to refuse it."""
        verb, _, rest = line.partition(" ")
        if verb == "SAY":
            short = len(rest) <= wire.MAX_TEXT
            if rest and short and (rest.isascii() or wire.size(rest) <= wire.MAX_TEXT):
                return Say([rest])
        elif isinstance(line, wire.Fault):
            return requests.Malformed(line)
        elif verb not in VERBS:
            return requests.Malformed("unknown")
        elif verb == "JOIN":
            return self.parse_join(rest)
        elif verb == "NAME":
            if rest and " " not in rest:
                name = wire.clean_name(rest)
                return requests.Rename(name) if name else requests.Malformed("bad-name", verb)
        elif verb == "HISTORY":
            if wire.SEQ.fullmatch(rest):
                return requests.History(int(rest))
        elif verb in ("PING", "PONG"):
            if wire.TOKEN.fullmatch(rest):
                return requests.Ping(rest) if verb == "PING" else requests.Pong(rest)
        elif line == verb:
            return WITHOUT_ARGUMENT[verb]()
        return requests.Malformed("bad-arguments", verb)

    def parse_join(self, rest: str) -> Request:
        """Returns what follows JOIN as a request, and keeps the password for check_password()."""
        text, _, password = rest.partition(" ")
        if not text or not 0 < wire.size(password) <= wire.MAX_PASSWORD:
            return requests.Malformed("bad-arguments", "JOIN")
        name = wire.clean_name(text)
        if name is None:
            return requests.Malformed("bad-name", "JOIN")
        self.name, self.password = name, password
        return requests.Join(name)

    def check_password(self, against: str) -> list[Request]:
        """Checks the password of the JOIN against a hash, NEW_MEMBER or NOBODY; returns the result.

        Takes tens of milliseconds. It is the one slow call of a Session: each server makes it
        where no other client has to wait.
        """
        password, self.password = self.password, ""
        if against == NEW_MEMBER:
            phc = hash_password(password)
            return [requests.PasswordOk(phc) if phc else requests.PasswordRefused()]
        is_right = verify_password(password, DUMMY_HASH if against == NOBODY else against)
        is_member = is_right and against != NOBODY
        return [requests.PasswordOk() if is_member else requests.PasswordRefused()]


WITHOUT_ARGUMENT: dict[str, type[Request]] = {
    "WHO": requests.Who,
    "LEAVE": requests.Leave,
    "QUIT": requests.Quit,
}
VERBS = {"SAY", "JOIN", "NAME", "HISTORY", "PING", "PONG", *WITHOUT_ARGUMENT}


class OwnerSession(RequestQueue):
    """The Session of the owner. Its lines are orders. An owner is trusted, but can mistype."""

    def __init__(self) -> None:
        super().__init__()
        self.confirming = False  # the last order was `delete`: the next line confirms it
        self.nothing_read = True
        self.encoding = ""  # of the input, if it is not UTF-8 and says so

    def receive(self, data: bytes) -> list[Request]:
        """Returns the requests that can be handled now that these bytes have come."""
        if self.nothing_read:  # orders may come from a file
            self.nothing_read = False
            self.encoding = foreign_encoding(data)
            data = without_mark(data)
        return super().receive(data)

    def parse(self, line: str) -> Request | None:
        """Returns one line as an order; BadOrder if it is none; None if it is empty."""
        if self.confirming:
            self.confirming = False
            return requests.ConfirmDelete(line)
        if isinstance(line, wire.Fault):
            if self.encoding:
                return requests.BadOrder(f"the orders are {self.encoding}: save them as UTF-8")
            is_long = line == "too-long"
            return requests.BadOrder(f"the line is {'too long' if is_long else 'not plain text'}")
        if not line:
            return None
        order, _, rest = line.partition(" ")
        if order in ORDERS_ALONE:
            if line != order:
                return requests.BadOrder(f"{order} takes no argument")
            self.confirming = order == "delete"
            return ORDERS_ALONE[order]()
        if order == "rename":
            if wire.is_group(rest):
                return requests.RenameGroup(rest)
            limit = f"1 to {wire.MAX_GROUP} bytes and no space at either end"
            return requests.BadOrder(f"the group's name has {limit}")
        if order not in ORDERS_WITH_NAME:
            return requests.BadOrder("no such order: type help")
        name = wire.clean_name(rest)
        if name is None:
            rule = "a name has no spaces and begins with a letter or digit"
            return requests.BadOrder(f"{order} NAME: {rule}")
        return ORDERS_WITH_NAME[order](name)


ORDERS_ALONE: dict[str, type[Request]] = {
    "members": requests.ListMembers,
    "close": requests.Close,
    "delete": requests.Delete,
    "help": requests.Help,
}
ORDERS_WITH_NAME: dict[str, type[requests.OrderAboutName]] = {
    "accept": requests.Accept,
    "reject": requests.Reject,
    "ban": requests.Ban,
    "unban": requests.Unban,
}
