"""The member's side of grupo/1: a state machine without input or output.

Its input is bytes and the time; its output is bytes to send and items to display. Nothing here
opens a socket, waits, prints or reads a clock. One Conversation lasts for many connections. The
program that drives it (console.py, or a window) does this until `state` is OVER:

    wants_connection(now)           if True, call connection_started(now) and connect
    receive(data, now)              bytes arrived
    connection_lost(reason, now)    the connection ended, or could not be made
    tick(now)                       some time has passed; call it a few times a second
    outgoing                        bytes to send; remove sent bytes from the front
    take_items()                    items to display, in order
    is_connected                    if False, close the connection

`now` is a time in seconds that never decreases, as time.monotonic() returns it.

Every event passes _deliver() once, in the order of its number (see resequencer.py). There
`last_seen` grows, and the member's own messages are confirmed.
"""

from __future__ import annotations

from collections.abc import Callable

from ..common import wire
from .connection_state import (
    CONNECTED,
    JOIN_TIMEOUT,
    PROBE_AFTER,
    ConnectionProgress,
    State,
)
from .items import Event, Item, MemberStatus, Note, Refusal
from .reconnect import RECONNECT_AFTER, Backoff, ending_after
from .requests import Request, UnconfirmedRequests
from .resequencer import Resequencer
from .server_lines import (
    Bye,
    Err,
    Hello,
    HistoryEnd,
    Pending,
    Ping,
    Rejected,
    Welcome,
    WhoEnd,
    parse,
)

FIRST_HISTORY = 100  # events that a client without a past shows
MAX_OUTGOING = 64 * 1024  # bytes; a server that does not read gets no further PONG or message
BYE_TIMEOUT = 2  # seconds from QUIT, or from one's own LEFT or BANNED, to BYE
# Seconds from the end of a script to the confirmation of its messages, or between two
# confirmations while the script waits for them
CONFIRM_TIMEOUT = 30


class Conversation:
    """One member in one group, over any number of connections.

    Attributes:
        name: the member's name; the server may change it.
        group: the group's name; "" before the first HELLO.
        last_seen: the number of the newest event seen; None if there was none.
        state: see State.
        retry_at: when the client connects again, if DISCONNECTED.
        reason: why it is DISCONNECTED or OVER, in one line.
        exit_status: of the program, if OVER; 0 if the end was wanted.
        bye_code: the code of the last BYE; "" for an end without one.
        was_here: whether the server has sent WELCOME in any connection.
        outgoing: bytes to send.
        requests: those that the server has not confirmed.
        progress: that of the present connection, or of the last one.
    """

    def __init__(
        self,
        name: str,
        password: str,
        last_seen: int | None = None,
        *,
        jitter: Callable[[], float],
        is_script: bool = False,
        leave_only: bool = False,
        context: int = 0,
    ) -> None:
        """Prepare a conversation; it starts DISCONNECTED and wants a connection at once.

        Args:
            name: the member's name.
            password: the member's password.
            last_seen: the number of the newest event seen before; None if there was none.
            jitter: returns a random number from 0 to 1, for the pauses between attempts.
            is_script: a program types, so quitting waits until all messages are confirmed.
            leave_only: join only in order to leave the group; display nothing of it.
            context: how many events before the first new one are displayed again.
        """
        self.name, self.last_seen = name, last_seen
        self.is_script, self.leave_only = is_script, leave_only
        self.group = ""
        self.state = State.DISCONNECTED
        self.retry_at = 0.0
        self.reason = ""
        self.exit_status = 0
        self.bye_code = ""
        self.was_here = False
        self.outgoing = bytearray()
        self.requests = UnconfirmedRequests()
        self.progress = ConnectionProgress(started_at=0, heard_at=0)
        self._password, self._jitter, self._context = password, jitter, context
        self._backoff = Backoff()
        self._items: list[Item] = []
        self._found_server = False  # a server has answered with HELLO, in any connection
        self._confirm_deadline: float | None = None  # set when the user has typed everything
        self._newest_progress: tuple[Request | None, int | None] = None, None
        self._progress_at = 0.0  # when that changed

    # -- The connection ------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether the connection should stay open."""
        return self.state in CONNECTED

    @property
    def accepts_input(self) -> bool:
        """Whether input from the user still has an effect."""
        return self._confirm_deadline is None and self.state is not State.OVER

    def wants_connection(self, now: float) -> bool:
        """Return whether it is time to connect."""
        return self.state is State.DISCONNECTED and now >= self.retry_at

    def connection_started(self, now: float) -> None:
        """Take note that an attempt to connect begins."""
        self.state = State.CONNECTING
        self.progress = ConnectionProgress(started_at=now, heard_at=now)
        self.outgoing.clear()

    def connection_lost(self, reason: str, now: float) -> None:
        """Take note that the connection ended without a BYE, or could not be made.

        Args:
            reason: why it could not be made; "" if it ended.
            now: the time.
        """
        if self.is_connected and not self._found_server:
            self.end(1, f"no Grupo server answers: {reason or RECONNECT_AFTER['']}")
        elif self.is_connected:
            self._connection_ended("", reason, now)

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the server. They may be anything: this never raises."""
        self.progress.heard_at, self.progress.pinged = now, False
        for line in self.progress.lines.feed(data):
            if self.is_connected and line:  # nothing counts after a BYE
                self._handle_line(line, now)
        self._quit_if_confirmed(now)

    def tick(self, now: float) -> None:
        """Handle time-outs."""
        if self.state is State.OVER:
            return
        is_late = self._confirm_deadline is not None and now >= self._confirm_deadline
        if is_late or self._script_is_stuck(now):
            self.end(1, f"gave up after {CONFIRM_TIMEOUT} s")
        elif self.is_connected and self.progress.expected_bye and now >= self.progress.bye_deadline:
            self._connection_ended("", "", now)
        elif self.is_connected and self.progress.is_dead(now):
            limit = f"no answer within {JOIN_TIMEOUT} s"
            silent = "the server is silent"
            self.connection_lost(silent if self.progress.got_answer else limit, now)
        elif self.is_connected and self.progress.should_ping(now):
            self._ping()

    def ping_if_silent(self, now: float) -> None:
        """Ask whether the server is alive, for a user that types; not more often than needed."""
        is_silent = now - self.progress.heard_at >= PROBE_AFTER and not self.progress.pinged
        if self.state is State.HERE and is_silent:
            self._ping()

    def _ping(self) -> None:
        self.progress.pinged = True
        self._send("PING alive")

    def _script_is_stuck(self, now: float) -> bool:
        """Return whether a script waits for confirmations, and none comes from the server.

        While there is no server, or the owner has not decided, a script waits as long as it takes.
        """
        progress = self.requests.oldest, self.last_seen
        is_waiting = self.is_script and self.requests.is_full and self.state is State.HERE
        if not is_waiting or progress != self._newest_progress:
            self._newest_progress, self._progress_at = progress, now
        return now - self._progress_at >= CONFIRM_TIMEOUT

    def end(self, exit_status: int, reason: str) -> None:
        """End the conversation at once, whatever is unconfirmed.

        Args:
            exit_status: 0 if the user wanted this end.
            reason: one line for the user; "" if there is nothing to say.
        """
        if unconfirmed := self.requests.messages:
            self.note(f"not confirmed: {unconfirmed} of your messages")
        self.state, self.exit_status = State.OVER, exit_status
        self.reason = wire.harmless(reason)
        self.requests.clear()

    def _connection_ended(self, code: str, reason: str, now: float) -> None:
        """End the connection, and the conversation too unless `code` permits to reconnect."""
        progress = self.progress
        progress.caught_up = False
        # A connection may end before the BYE that the client expects
        was_expected = code in RECONNECT_AFTER and progress.expected_bye
        self.bye_code = progress.expected_bye if was_expected else code
        if self.bye_code not in RECONNECT_AFTER:
            ending = ending_after(self.bye_code)
            self.end(ending.exit_status, ending.reason)
            return
        reason = reason or RECONNECT_AFTER[self.bye_code]
        # A client that may have left must not reconnect: its JOIN would ask for a new membership
        if self.leave_only or Request("LEAVE") in self.requests.sent:
            self.end(1, f"{reason}; it is not known whether you left")
            return
        for request in self.requests.keep_messages():
            if request.verb == "NAME":
                self.note(f"{reason}; it is not known whether your name is now {request.argument}")
        if reason != self.reason:
            self.note(f"{reason}; reconnecting")
        self.state, self.reason = State.DISCONNECTED, reason
        self.retry_at = now + self._backoff.next_pause(self._jitter())

    def _send(self, line: str) -> None:
        self.outgoing += line.encode() + b"\n"

    # -- Lines of the server -------------------------------------------------------------------

    def _handle_line(self, line: str, now: float) -> None:
        parsed = None if isinstance(line, wire.Fault) else parse(line)
        is_expected = self.progress.got_hello or isinstance(parsed, Hello | Bye)
        if isinstance(line, wire.Fault) or not is_expected:
            self.end(1, "the server at this address does not speak grupo/1")
            return
        match parsed:
            case Hello(version, group):
                self._on_hello(version, group)
            case Pending():
                self._on_pending()
            case Rejected():
                self.end(1, "rejected: the password is wrong, or the owner declined")
            case Welcome(seq, name) if self.state is not State.HERE:
                self._on_welcome(seq, name)
            case MemberStatus():
                self._display(parsed)
            case WhoEnd():
                self.requests.confirm("WHO")
            case HistoryEnd(newest):
                self._on_history_end(newest, now)
            case Ping(token) if len(self.outgoing) < MAX_OUTGOING:
                self._send(f"PONG {token}")
            case Err(code, reason):
                self._on_err(code, reason, now)
            case Bye(code):
                self._connection_ended(code, "", now)
            case Event() if self.state is State.HERE and not self.leave_only:
                for event in self.progress.resequencer.add(parsed):
                    self._deliver(event)

    def _on_hello(self, version: str, group: str) -> None:
        if version != wire.VERSION:
            self.end(1, f"the server speaks {version}; this client speaks {wire.VERSION}")
        elif not self.progress.got_hello:
            self.progress.got_hello = self._found_server = True
            self.group = group
            # Only a server that speaks grupo/1 gets the password, once in a connection
            self._send(f"JOIN {self.name} {self._password}")

    def _on_pending(self) -> None:
        if self.state is State.CONNECTING:
            self.state, self.progress.got_answer = State.ASKING, True
            if not self.was_here:
                self.note(f"asked to join {self.group} as {self.name}; waiting for the answer")

    def _on_welcome(self, seq: int, name: str) -> None:
        self.state, self.progress.got_answer = State.HERE, True
        self.progress.welcome_seq = seq
        self._set_name(name)
        if self.leave_only:
            self.progress.caught_up = True
            self.request("LEAVE")
            return
        if self.was_here:
            self.note(f"reconnected to {self.group}")
        else:
            self.note(f"in {self.group} as {self.name}; /help lists the commands")
        self.was_here, self.reason = True, ""
        self._request_first_history()

    def _request_first_history(self) -> None:
        """Request the events after `last_seen`, with some before as context."""
        if self.last_seen is not None and self.last_seen > self.progress.welcome_seq:
            self.note("the group was created again: its earlier messages are gone")
            self.last_seen = None
        if self.last_seen is None:
            self.last_seen, self._context = self.progress.welcome_seq, FIRST_HISTORY
        self.last_seen, self._context = max(0, self.last_seen - self._context), 0
        self.progress.resequencer = Resequencer(self.last_seen)
        self._send(f"HISTORY {self.last_seen}")

    def _set_name(self, name: str) -> None:
        """Take a name from the server, if it is valid: the client reconnects with it."""
        # The length first: to clean a long text takes milliseconds
        if len(name) <= wire.MAX_NAME and wire.clean_name(name) == name:
            self.name = name

    def _on_err(self, code: str, reason: str, now: float) -> None:
        """Take an ERR. Answers come in order, so this one is for the oldest request without one."""
        if self.state is not State.HERE and code == "not-saved":
            self._connection_ended("", "the server could not save your membership", now)
        elif self.state is not State.HERE or self.leave_only:
            self.end(1, f"the server refused: {reason}")
        elif not self.progress.caught_up:
            self.note(f"no history: {reason}")
            self._complete_history(0)
        elif self.requests.sent:
            request = self.requests.sent.popleft()
            text = f"failed ({reason}): {request.line()}".rstrip()
            self._display(Refusal(text, request.verb, request.argument, reason))

    # -- Events, each once, in order -----------------------------------------------------------

    def _on_history_end(self, newest: int, now: float) -> None:
        progress = self.progress
        if self.state is not State.HERE or progress.caught_up:
            return
        if not progress.resequencer.overflowed:
            self._complete_history(newest)
        elif not progress.asked_again:
            progress.asked_again = True
            self._send(f"HISTORY {progress.resequencer.request_again()}")
        else:  # the next connection continues where this one stopped
            self._connection_ended("", "too many new events arrived during the history", now)

    def _complete_history(self, newest: int) -> None:
        for event in self.progress.resequencer.complete(newest):
            self._deliver(event)
        self.progress.caught_up = True
        self._backoff.reset()
        # The history has confirmed all messages that arrived; these never reached the server
        for request in self.requests.sent:
            self._send(request.line())
        while self.requests.unsent:
            request = self.requests.unsent.popleft()
            self.request(request.verb, request.argument)

    def _deliver(self, event: Event) -> None:
        expected = (self.last_seen or 0) + 1
        if event.seq > expected:  # a correct server never does this
            self.note(f"the server skipped the events {expected} to {event.seq - 1}")
        self.last_seen = event.seq
        is_own = event.name == self.name
        if event.verb == "MSG" and is_own:
            self.requests.confirm("SAY", event.text)
        # Before WELCOME, this name may have belonged to another member
        if event.seq > self.progress.welcome_seq:
            self._follow(event, is_own)
        if event.verb in wire.EVENTS:
            self._display(event)

    def _follow(self, event: Event, is_own: bool) -> None:
        """Take over the changes that a new event causes for this member."""
        if event.verb == "RENAMED" and is_own:
            self._set_name(event.text)
            self.requests.confirm("NAME")
        elif event.verb in ("LEFT", "BANNED") and is_own:
            self._expect_bye(event.verb.lower(), self.progress.heard_at)
        elif event.verb == "GROUP":
            self.group = event.text

    # -- Requests of the user ------------------------------------------------------------------

    def request(self, verb: str, argument: str = "") -> None:
        """Send a request, now or as soon as the history is complete."""
        request = Request(verb, argument)
        if self.progress.caught_up:
            self.requests.sent.append(request)
            self._send(request.line())
        else:
            self.requests.unsent.append(request)

    def quit(self, now: float) -> None:
        """Quit now. The server handles earlier requests first."""
        if self.state in (State.ASKING, State.HERE):
            if not self.progress.expected_bye:
                self._send("QUIT")
                self._expect_bye("quit", now)
        elif self.state is not State.OVER:
            self.end(0, "")

    def _expect_bye(self, code: str, now: float) -> None:
        """Take note that BYE `code` follows; the connection ends like that even if it does not."""
        if not self.progress.expected_bye:
            self.progress.bye_deadline = now + BYE_TIMEOUT
        self.progress.expected_bye = code

    def quit_after_input(self, now: float) -> None:
        """Quit after the lines that the user has typed. For a script, wait for confirmation."""
        if self.is_script or (self.requests.unsent and self.state is State.HERE):
            self.quit_when_confirmed(now)
        else:
            self.quit(now)

    def quit_when_confirmed(self, now: float) -> None:
        """Quit once the member has been here and everything is confirmed, or after 30 s."""
        if self._confirm_deadline is None:
            self._confirm_deadline = now + CONFIRM_TIMEOUT
        self._quit_if_confirmed(now)

    def _quit_if_confirmed(self, now: float) -> None:
        is_done = self.progress.caught_up and not len(self.requests)
        if self._confirm_deadline is not None and is_done:
            self.quit(now)

    # -- Items to display ----------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Display words of the client itself."""
        self._display(Note(text))

    def _display(self, item: Item) -> None:
        """Queue an item. All items pass here, so nothing that a terminal obeys gets out."""
        self._items.append(item.harmless())

    def take_items(self) -> list[Item]:
        """Return the items to display since the last call, in order."""
        items, self._items = self._items, []
        return items
