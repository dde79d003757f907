"""The member's side of grupo/1, pure: bytes and `now` go in, bytes to send and things to show come out.

Nothing here opens, waits, prints or reads a clock. One Conversation outlives its connections. Whoever drives it, the
console or a window, does this for as long as `state` is not "over":

    wants_connection(now)       if so, call connecting(now) and connect
    receive(data, now)          bytes came
    lost(why, now)              the connection ended, or could not be made
    typed(line, now)            the user entered a line
    tick(now)                   a few times a second
    outgoing                    bytes to send; remove from its front what was sent
    take()                      what is to be shown, in order
    is_connected                no longer so: close the connection

Every event passes tell() once, in order of seq (see order.py). There `last` grows, and one's own messages are confirmed.
"""
from collections import deque
from typing import NamedTuple

from ..common import wire
from .order import Order

FIRST_SIGHT = 100                       # events that a newcomer is shown
MOST_REQUESTS = 100                     # not confirmed: enough for now
MOST_OUTGOING = 64 * 1024               # a server that asks and does not read gets no further PONG
HELLO_WITHIN, PING_AFTER, DEAD_AFTER = 20, 60, 90       # seconds that we listen to silence
BYE_WITHIN, FINISH_WITHIN = 2, 30       # seconds for the answer to QUIT; for what a script said to be confirmed
LONGEST_PAUSE = 30                      # seconds between two attempts to come back


# How a connection can end ("" is a bare end). After these a client comes back by itself:
COME_BACK = {"slow": "this client was too slow to read", "idle": "the server heard nothing from this client",
             "timeout": "coming in took too long", "full": "the server is full", "closed": "the server was closed",
             "": "the connection ended"}
# After these, and after any that it does not know, never: exit status, why.
STAY_AWAY = {"quit": (0, ""), "left": (0, "you are no longer a member"), "banned": (1, "the owner banned you"),
             "deleted": (1, "the owner deleted the group"), "replaced": (1, "you came in from another client"),
             "refused": (1, "refused"), "protocol": (1, "the server found this client at fault")}

HELP = ("what you type is said to all; //x says /x", "/name NEW: another name for yourself",
        "/who: who is a member, who is here", "/leave: leave the group for good", "/quit: go, and stay a member")


class Shown(NamedTuple):
    """One thing to show. `who` and `text` can be printed on any terminal.

    kind is the verb of an event; `member`, a line of the answer to /who; or `note`, the client's own words (only text).
    """
    kind: str
    text: str
    who: str = ""       # RENAMED: the old name, and text is the new one
    time: str = ""      # of an event, as on the wire
    seq: int = 0


class Lines(wire.Lines):
    """Lines as they come: what may not stand in them is kept, as surrogates if it is no UTF-8. Only too long ones are Faults."""

    def cut(self, whole):
        return [line.removesuffix(b"\r").decode(errors="surrogateescape") if len(line) < wire.MAX_LINE else wire.Fault("too-long")
                for line in whole.split(b"\n")]


class Conversation:
    def __init__(self, name, password, last=None, *, chance, patient=False, leaving=False, context=0):
        """`last`: the newest event seen before, None if none. `chance()`: a random number from 0 to 1, for the pauses.

        patient: a script types, so /quit waits until all that was said is confirmed.
        leaving: come in only to leave for good; nothing is shown of the group.
        context: so many events before the first new one are shown again.
        """
        self.name, self.password, self.last = name, password, last
        self.chance, self.patient, self.leaving, self.context = chance, patient, leaving, context
        self.group = ""
        self.state = "disconnected"         # then connecting, waiting (to be let in), in, disconnected again ..., over
        self.retry_at = 0                   # when disconnected
        self.why = ""                       # disconnected or over: why
        self.status, self.code = 0, ""      # over: the exit status; the code of the BYE
        self.outgoing = bytearray()
        self.shown = []
        self.unsent = deque()               # (verb, argument) that wait until we are in and have caught up
        self.requests = deque()             # those sent and not answered; of a lost connection, its SAYs
        self.greeted = self.was_in = False  # ever
        self.tries = 0
        self.consenting = False             # the last line was /leave: the next is the consent
        self.finish_by = None               # a script has ended: quit when all is confirmed, or then
        # Of one connection:
        self.lines = Lines()
        self.heard_at, self.pinged = 0, False
        self.said_hello = False             # the server has
        self.parting, self.quit_by = "", 0  # the BYE that we expect; after QUIT, until when
        self.welcomed = 0                   # WELCOME's s: what is above happened while we are in
        self.ready = False                  # in, and caught up
        self.order = None                   # Order of the events

    # -- The connection --------------------------------------------------------------------------------------------------

    @property
    def is_connected(self):
        return self.state in ("connecting", "waiting", "in")

    @property
    def is_busy(self):
        """Whether the user's next lines should wait."""
        return len(self.unsent) + len(self.requests) >= MOST_REQUESTS

    def wants_connection(self, now):
        return self.state == "disconnected" and now >= self.retry_at

    def connecting(self, now):
        self.state, self.heard_at, self.pinged = "connecting", now, False
        self.lines, self.said_hello, self.parting = Lines(), False, ""
        self.outgoing.clear()

    def receive(self, data, now):
        """Takes what the server sent, whatever it is. Never raises."""
        self.heard_at, self.pinged = now, False
        for line in self.lines.feed(data):
            if self.is_connected and line:          # nothing counts after a BYE
                self.hear(line, now)
        self.quit_if_finished(now)

    def lost(self, why, now):
        """The connection ended without BYE, or (`why`) could not be made."""
        if self.is_connected and not self.greeted:
            self.over(1, f"no grupo server answers: {why or COME_BACK['']}")
        elif self.is_connected:
            self.end("", now, why)

    def tick(self, now):
        silence = now - self.heard_at
        if self.finish_by and now >= self.finish_by:
            self.over(1, f"gave up after {FINISH_WITHIN} s")
        elif self.parting == "quit" and now >= self.quit_by:
            self.over(0, "")
        elif self.is_connected and silence >= (HELLO_WITHIN if self.state == "connecting" else DEAD_AFTER):
            self.lost("the server is silent", now)
        elif self.is_connected and silence >= PING_AFTER and not self.pinged:
            self.pinged = True
            self.send("PING", "alive")

    def end(self, code, now, why=""):
        """The connection is over; the conversation too, unless it is one to come back from."""
        self.ready = False
        self.code = self.parting if code in COME_BACK and self.parting else code
        if self.code not in COME_BACK:
            return self.over(*STAY_AWAY.get(self.code, (1, f"the server said BYE {self.code}")))
        why = why or COME_BACK[code]
        if self.leaving or ("LEAVE", "") in self.requests:      # to come back might be to join anew
            return self.over(1, f"{why}; it is not known whether you left")
        for verb, argument in self.requests:
            if verb == "NAME":
                self.note(f"{why}; it is not known whether your name is now {argument}")
        self.requests = deque(request for request in self.requests if request[0] == "SAY")
        pause = min(LONGEST_PAUSE, 2 ** min(self.tries, 5)) * (0.75 + self.chance() / 2)
        self.tries += 1
        if why != self.why:
            self.note(f"{why}; trying to come back")
        self.state, self.why, self.retry_at = "disconnected", why, now + pause

    def over(self, status, why):
        if unconfirmed := sum(verb == "SAY" for verb, _ in [*self.requests, *self.unsent]):
            self.note(f"not confirmed: {unconfirmed} of your messages")
        self.state, self.status, self.why = "over", status, wire.harmless(why)
        self.requests.clear()
        self.unsent.clear()

    def send(self, *words):
        self.outgoing += " ".join(words).encode() + b"\n"

    # -- What the server says ----------------------------------------------------------------------------------------------

    def hear(self, line, now):
        verb, _, rest = line.partition(" ")
        if isinstance(line, wire.Fault) or not self.said_hello and verb not in ("HELLO", "BYE"):
            self.over(1, "what answers there is no grupo/1 server")
        elif verb in HANDLERS:
            HANDLERS[verb](self, rest, now)
        elif self.state == "in":
            self.event(verb, rest)

    def hello(self, rest, now):
        version, _, group = rest.partition(" ")
        if version != wire.VERSION:
            return self.over(1, f"the server speaks {version}, this client {wire.VERSION}")
        if not self.said_hello:         # the password goes to whoever speaks grupo/1, once
            self.said_hello = self.greeted = True
            self.group = group
            self.send("JOIN", self.name, self.password)

    def pending(self, rest, now):
        if self.state == "connecting":
            self.state = "waiting"
            if not self.was_in:
                self.note(f"asked to join {self.group} as {self.name}; waiting to be let in")

    def rejected(self, rest, now):
        self.over(1, "not let in: the password is wrong, or the owner said no")

    def welcome(self, rest, now):
        seq, _, name = rest.partition(" ")
        if self.state == "in" or not wire.SEQ.fullmatch(seq):
            return
        self.state, self.welcomed = "in", int(seq)
        self.called(name)
        if self.leaving:
            self.ready = True
            return self.request("LEAVE")
        self.note(f"back in {self.group}" if self.was_in else f"in {self.group} as {self.name}; /help tells more")
        self.was_in, self.why = True, ""
        if self.last is not None and self.last > self.welcomed:
            self.note("the group began anew: what you saw before is gone")
            self.last = None
        if self.last is None:
            self.last, self.context = self.welcomed, FIRST_SIGHT
        self.last, self.context = max(0, self.last - self.context), 0
        self.order = Order(self.last)
        self.send("HISTORY", str(self.last))

    def called(self, name):
        """The server says that this is our name. It is what we come back with, so nonsense is not taken."""
        if wire.clean_name(name) == name:
            self.name = name

    def member(self, rest, now):
        who, _, where = rest.partition(" ")
        self.show(Shown("member", where, who))

    def end_of_answer(self, rest, now):
        what, _, seq = rest.partition(" ")
        if what == "WHO":
            self.answered("WHO")
        elif what == "HISTORY" and wire.SEQ.fullmatch(seq):
            self.end_of_history(int(seq))

    def ping(self, token, now):
        if wire.TOKEN.fullmatch(token) and len(self.outgoing) < MOST_OUTGOING:
            self.send("PONG", token)

    def err(self, rest, now):
        """Answers come in the order of the requests, so that an ERR is the answer to the first that has none."""
        code, _, words = rest.partition(" ")
        why = words or code
        if self.state != "in" and code == "not-saved":
            self.end("", now, "the server could not write down that you came")
        elif self.state != "in" or self.leaving:
            self.over(1, f"refused: {why}")
        elif not self.ready:
            self.note(f"no history: {why}")
            self.end_of_history(0)
        elif self.requests:
            verb, argument = self.requests.popleft()
            self.note(f"not done ({why}): {verb} {argument}".rstrip())

    def bye(self, code, now):
        self.end(code or "without a code", now)

    # -- Events, each once, in order ---------------------------------------------------------------------------------------

    def event(self, verb, rest):
        """A line with a seq and a time is an event, even if nobody knows its verb yet: it fills its place in the order."""
        seq, _, rest = rest.partition(" ")
        time, _, rest = rest.partition(" ")
        who, _, text = ("", "", rest) if verb == "GROUP" else rest.partition(" ")
        if wire.SEQ.fullmatch(seq) and wire.TIME.fullmatch(time) and not self.leaving:
            for event in self.order.take(Shown(verb, text, who, time, int(seq))):
                self.tell(event)

    def end_of_history(self, newest):
        if self.state != "in" or self.ready:
            return
        for event in self.order.end_of_history(newest):
            self.tell(event)
        if not self.order.is_complete:
            return self.send("HISTORY", str(self.order.asked))
        self.ready, self.tries = True, 0
        for verb, argument in self.requests:    # those that the history confirmed are gone: the server never got these
            self.send(verb, argument)
        while self.unsent:
            self.request(*self.unsent.popleft())

    def tell(self, event):
        if event.seq > self.last + 1:           # never with a right server
            self.note(f"the server left out the events {self.last + 1} to {event.seq - 1}")
        self.last = event.seq
        own = event.who == self.name
        if event.kind == "MSG" and own:
            self.answered("SAY", event.text)
        if event.seq > self.welcomed:           # before, somebody else may have had this name
            if event.kind == "RENAMED" and own:
                self.called(event.text)
                self.answered("NAME")
            elif event.kind in ("LEFT", "BANNED") and own:
                self.parting = event.kind.lower()
            elif event.kind == "GROUP":
                self.group = event.text
        if event.kind in wire.EVENTS:
            self.show(event)

    def answered(self, verb, argument=None):
        """The first such request is confirmed."""
        for request in self.requests:
            if request == (verb, argument) or argument is None and request[0] == verb:
                self.requests.remove(request)
                break

    # -- What the user types -------------------------------------------------------------------------------------------------

    def typed(self, line, now):
        """A line without its LF, or a Fault of Lines. Whatever is wrong with it is said, and then nothing is sent."""
        if self.finish_by or self.state == "over":
            return
        if isinstance(line, wire.Fault):
            return self.note(f"not sent: over {wire.MAX_TEXT} bytes")
        line = line.replace("\t", " ")
        if self.consenting:
            self.consenting = False
            return self.request("LEAVE") if line.strip() == "yes" else self.note("not left")
        command, _, argument = line.partition(" ")
        if not line.startswith("/") or line.startswith("//"):
            self.say(line.removeprefix("/"))
        elif command in COMMANDS:
            COMMANDS[command](self, argument.strip(), now)
        else:
            self.note(f"no such command: {command}; try /help")

    def say(self, text):
        if not wire.is_permitted(text):
            self.note("not sent: there is a character in it that may not stand in a message")
        elif wire.size(text) > wire.MAX_TEXT:
            self.note(f"not sent: {wire.size(text)} bytes, and {wire.MAX_TEXT} are the most")
        elif text:
            self.request("SAY", text)
            if self.state in ("waiting", "disconnected") and not self.patient:
                self.note("this will be said when you are in")

    def request(self, verb, argument=""):
        if self.ready:
            self.requests.append((verb, argument))
            self.send(verb, *filter(None, [argument]))
        else:
            self.unsent.append((verb, argument))

    def rename(self, name, now):
        if wire.clean_name(name) is None:
            self.note("/name NEW: a name is 1 to 32 letters, digits, or . _ -")
        else:
            self.request("NAME", name)

    def who(self, argument, now):
        self.request("WHO")

    def leave(self, argument, now):
        self.consenting = True
        self.note("you will not be a member any more; type yes to leave")

    def type_quit(self, argument, now):
        if self.patient or self.unsent and self.state == "in":      # what was typed before goes before
            self.finish(now)
        else:
            self.quit(now)

    def help(self, argument, now):
        for line in HELP:
            self.note(line)

    def finish(self, now):
        """A script has ended: quit when we have been in and all that was said is confirmed."""
        self.finish_by = self.finish_by or now + FINISH_WITHIN
        self.quit_if_finished(now)

    def quit_if_finished(self, now):
        if self.finish_by and self.ready and not self.requests and not self.unsent:
            self.quit(now)

    def quit(self, now):
        """Go now. What was said already goes before."""
        if self.state in ("waiting", "in"):
            if not self.parting:
                self.send("QUIT")
                self.parting, self.quit_by = "quit", now + BYE_WITHIN
        elif self.state != "over":
            self.over(0, "")

    # -- What is to be shown -------------------------------------------------------------------------------------------------

    def note(self, text):
        self.show(Shown("note", text))

    def show(self, shown):
        """The one way out: nothing that a terminal might obey passes here."""
        self.shown.append(shown._replace(who=wire.harmless(shown.who), text=wire.harmless(shown.text)))

    def take(self):
        shown, self.shown = self.shown, []
        return shown


HANDLERS = {"HELLO": Conversation.hello, "PENDING": Conversation.pending, "REJECTED": Conversation.rejected,
            "WELCOME": Conversation.welcome, "MEMBER": Conversation.member, "END": Conversation.end_of_answer,
            "PING": Conversation.ping, "PONG": lambda *_: None, "ERR": Conversation.err, "BYE": Conversation.bye}
COMMANDS = {"/name": Conversation.rename, "/who": Conversation.who, "/leave": Conversation.leave,
            "/quit": Conversation.type_quit, "/help": Conversation.help}
