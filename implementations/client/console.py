"""The plain console: puts a Conversation on a socket, stdin and stdout, be they a terminal's or a script's.

One event, one line. One thread turns for ever: see who is ready, let the Conversation think, send, print, remember.
"""
import errno
import os
import selectors
import signal
import socket
import sys
from datetime import date, datetime
from random import random
from time import monotonic

from ..common import wire
from .conversation import Conversation, Lines
from .groups import Group, Trouble

TICK = 0.25         # seconds; how late a pause or a time-out may end
KEEP_AFTER = 3      # seconds between two changes of the groups file; after kill -9 so much is shown again
STDIN = 0

# No name has a space, so no text can pass for another form, or for the client's own words.
FORMS = {"MSG": "{time} <{who}> {text}", "IN": "{time} * {who} came", "OUT": "{time} * {who} went",
         "LEFT": "{time} * {who} left for good", "BANNED": "{time} * {who} was banned",
         "RENAMED": "{time} * {who} is now {text}", "GROUP": "{time} * the group is {text}",
         "member": "-- {who} {text}", "note": "-- {text}"}


class Console:
    def __init__(self, place, addresses, name, password, last, groups, leaving=False):
        """place: HOST:PORT as kept in `groups`, a Groups; addresses: what getaddrinfo said of it; the rest: see Conversation."""
        self.place, self.addresses, self.groups = place, addresses, groups
        self.is_terminal = os.isatty(STDIN)
        self.conversation = Conversation(name, password, last, chance=random, patient=not self.is_terminal, leaving=leaving)
        self.untried = []               # addresses, while connecting
        self.sock, self.is_open = None, False
        self.typing, self.typed = not leaving, Lines()      # whether stdin goes on; what came of it
        self.today = date.today()       # of what was printed last
        self.kept, self.keep_at, self.complained = None, 0, False
        self.signals, self.signal = os.pipe()
        self.interrupted = False

    def run(self):
        """Until the conversation is over; returns the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os.write(self.signal, b"!"))
        conversation = self.conversation
        if conversation.leaving:
            conversation.finish(monotonic())
        while conversation.state != "over":
            if conversation.wants_connection(monotonic()):
                self.connect()
            with selectors.SelectSelector() as ready:           # (the others do not take a regular file as stdin)
                for source, events, act in self.sources():
                    ready.register(source, events, act)
                for key, _ in ready.select(TICK):
                    key.data()
            conversation.tick(monotonic())
            self.send()
            self.show()
            self.keep()                 # after showing: what is kept as seen was seen
        self.hang_up()
        if conversation.why:
            print(f"-- {conversation.why}", file=sys.stderr if conversation.status else sys.stdout, flush=True)
        return conversation.status

    def sources(self):
        """What is worth waking up for, now: (descriptor, events, what to do)."""
        yield self.signals, selectors.EVENT_READ, self.interrupt
        if self.sock:
            wants_to_write = not self.is_open or self.conversation.outgoing
            yield self.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if wants_to_write else 0), self.read_server
        if self.typing and not self.conversation.is_busy:
            yield STDIN, selectors.EVENT_READ, self.read_user

    # -- The user ----------------------------------------------------------------------------------------------------------

    def interrupt(self):
        """Ctrl-C ends it with QUIT; the second one does not wait for the answer."""
        os.read(self.signals, 1)
        if self.interrupted:
            self.conversation.over(0, "")
        self.interrupted = True
        self.conversation.quit(monotonic())

    def read_user(self):
        try:
            data = os.read(STDIN, 4096)
        except OSError:                 # his terminal is gone
            data = b""
        for line in self.typed.feed(data or b"\n"):         # a script's last line may lack its end
            self.conversation.typed(line, monotonic())
        if not data:
            self.typing = False
            self.conversation.type_quit("", monotonic())

    # -- The server --------------------------------------------------------------------------------------------------------

    def connect(self):
        self.conversation.connecting(monotonic())
        self.untried = list(self.addresses)
        self.try_next("no address")

    def try_next(self, why):
        self.hang_up()
        while self.untried and not self.sock:
            family, kind, protocol, _, address = self.untried.pop(0)
            try:
                self.sock = socket.socket(family, kind, protocol)
                self.sock.setblocking(False)
                error = self.sock.connect_ex(address)
            except OSError as trouble:                      # this machine may lack IPv6
                error = trouble.errno
            if error not in (0, errno.EINPROGRESS):
                why = os.strerror(error)
                self.hang_up()
        if not self.sock:
            self.conversation.lost(why, monotonic())

    def read_server(self):
        if not self.is_open:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.is_open = error == 0
            return None if self.is_open else self.try_next(os.strerror(error))
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:                             # it was ready for writing
            return None
        except OSError:                                     # a reset
            data = b""
        if data:
            self.conversation.receive(data, monotonic())
        else:
            self.conversation.lost("", monotonic())

    def send(self):
        if self.sock and not self.conversation.is_connected:
            self.hang_up()
        elif self.is_open and self.conversation.outgoing:
            try:
                del self.conversation.outgoing[:self.sock.send(self.conversation.outgoing)]
            except OSError:             # not now; or never again, and then reading says so, after the server's last words
                pass

    def hang_up(self):
        if self.sock:
            self.sock.close()
        self.sock, self.is_open = None, False

    # -- What is shown, and what is kept -----------------------------------------------------------------------------------

    def show(self):
        for shown in self.conversation.take():
            time = ""
            if shown.time:
                moment = local_time(shown.time)
                if moment.date() != self.today:
                    self.today = moment.date()
                    print(f"-- {self.today}")
                time = f"{moment:%H:%M}"
            print(FORMS[shown.kind].format(who=shown.who, text=shown.text, time=time))
        sys.stdout.flush()

    def keep(self):
        """In the groups file: at WELCOME, then every few seconds if there is something new, and at the end."""
        conversation, is_over = self.conversation, self.conversation.state == "over"
        if not conversation.was_in:
            return
        group = Group(self.place, conversation.name, conversation.group, conversation.last)
        try:
            if is_over and conversation.code in ("left", "deleted"):
                self.groups.forget(self.kept or group)
            elif group != self.kept and (is_over or monotonic() >= self.keep_at):
                self.keep_at = monotonic() + KEEP_AFTER
                self.groups.keep(group, formerly=self.kept)
                self.kept = group
        except (Trouble, OSError) as trouble:
            if not self.complained:
                print(f"-- not kept: {explain(trouble)}", file=sys.stderr, flush=True)
            self.complained = True


def local_time(time):
    """A time of the wire here; 1970 if it is one that no calendar has."""
    try:
        return datetime.fromisoformat(time).astimezone()
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0)


def explain(trouble):
    """One line for the user: an OSError without its number, but with its file."""
    if isinstance(trouble, OSError) and trouble.strerror:
        trouble = f"{trouble.filename}: {trouble.strerror}" if trouble.filename else trouble.strerror
    return wire.harmless(str(trouble))
