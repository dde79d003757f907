"""The plain console: puts a Conversation on a socket, stdin and stdout, be they a terminal's or a script's.

One event, one line. One thread turns for ever: see who is ready, let the Conversation think, send, print, remember.
"""
import os
import selectors
import signal
import sys
from datetime import date
from random import random
from time import monotonic

from .connection import TICK, Connection, local_time
from .conversation import Conversation, Lines

STDIN = 0

# No name has a space, so no text can pass for another form, or for the client's own words.
FORMS = {"MSG": "{time} <{who}> {text}", "IN": "{time} * {who} came", "OUT": "{time} * {who} went",
         "LEFT": "{time} * {who} left for good", "BANNED": "{time} * {who} was banned",
         "RENAMED": "{time} * {who} is now {text}", "GROUP": "{time} * the group is {text}",
         "member": "-- {who} {text}", "note": "-- {text}"}


class Console:
    def __init__(self, place, addresses, name, password, last, groups, leaving=False):
        """place, addresses, groups: see Connection; the rest: see Conversation."""
        self.is_terminal = os.isatty(STDIN)
        self.conversation = Conversation(name, password, last, chance=random, patient=not self.is_terminal, leaving=leaving)
        self.connection = Connection(place, addresses, self.conversation, groups)
        self.typing, self.typed = not leaving, Lines()      # whether stdin goes on; what came of it
        self.today = date.today()       # of what was printed last
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
            self.connection.connect()
            with selectors.SelectSelector() as ready:           # (the others do not take a regular file as stdin)
                for source, events, act in self.sources():
                    ready.register(source, events, act)
                for key, _ in ready.select(TICK):
                    key.data()
            self.connection.turn()
            self.show()
            if trouble := self.connection.keep():           # after showing: what is kept as seen was seen
                print(f"-- {trouble}", file=sys.stderr, flush=True)
        self.connection.hang_up()
        if conversation.why:
            print(f"-- {conversation.why}", file=sys.stderr if conversation.status else sys.stdout, flush=True)
        return conversation.status

    def sources(self):
        """What is worth waking up for, now: (descriptor, events, what to do)."""
        yield self.signals, selectors.EVENT_READ, self.interrupt
        reads, writes = self.connection.wanted()
        if reads:
            yield self.connection.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if writes else 0), self.connection.ready
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

    # -- What is shown -------------------------------------------------------------------------------------------------------

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
