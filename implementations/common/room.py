"""The Room decides what a request causes, has it stored, applies it, and returns deliveries.

All clients share it, and it is pure: requests and the time come in as arguments; `append` and
`erase`, its access to the files, are passed to it. It consists of the Group (what a restart
restores), Joining (JOIN to WELCOME), the MemberFile (when it is written) and the OwnerOrders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import lookalikes, requests, wire
from .client_state import ASKING, HERE, OVER, STRANGER, Client, refusal
from .deliveries import Delivery, Done, End, Events, HistoryRange, Line, Note, Welcome
from .group import Group
from .joining import Joining
from .member_file import MemberFile
from .orders import OwnerOrders
from .requests import Request, Say
from .storage import format_events

MAX_ERRORS = 10  # of one connection, before WELCOME
ERROR_TEXTS = {
    "too-long": f"a line has at most {wire.MAX_LINE} bytes",
    "bad-utf8": "a line is UTF-8",
    "bad-text": "control characters are not allowed in a line",
    "unknown": "no such verb",
    "not-joined": "JOIN first, or wait to be let in",
    "already-joined": "you have asked already",
    "bad-arguments": "not what this verb takes",
    "bad-name": "a name is 1 to 32 common letters of one script, digits, or . _ -",
    "name-taken": "somebody has that name, or one that looks like it",
    "not-saved": "the server could not write it down",
}
Batch = Iterable[tuple[Client, list[Request]]]  # requests, with the client that each list is of


@dataclass
class Rules:
    """How this group is run. Times are in seconds; the command line explains each."""

    admit: str = "ask"
    join_within: float = 20
    ping_after: float = 60
    idle_after: float = 90
    reject_after: float = 1
    hashes: int = 1
    max_here: int = 1024
    max_strangers: int = 256


class Room:
    """The group while the server runs: its stored state, and the clients that are connected."""

    def __init__(
        self,
        rules: Rules,
        append: Callable[[bytes], None],
        erase: Callable[[], None] = lambda: None,
    ) -> None:
        """append: writes to the transcript, whole or not at all (OSError).

        erase: removes the group's files (OSError).
        """
        self.rules, self.append, self.erase = rules, append, erase
        self.group = Group()
        self.joining = Joining(self)
        self.member_file = MemberFile(self)
        self.orders = OwnerOrders(self)
        # Ends with the process: nobody is here when a server starts.
        self.open = True
        self.owner: Client | None = None
        self.clients: dict[Client, None] = {}  # every connection that is not over, in order
        self.strangers: dict[Client, None] = {}  # those that are not HERE
        self.here: dict[str, Client] = {}  # key: the member's client
        self.unsaid: list[tuple[Client, list[str]]] = []  # messages that are not written yet
        self.pending_outs: list[str] = []  # names whose OUT could not be written yet
        self.last_write_error: tuple[str, str] | None = None  # so that the owner reads it once
        self.ticked_at = 0.0
        self.next_timeout_check = 0.0  # of the clients that are HERE
        # Of the turn.
        self.now, self.time = 0.0, ""  # the same moment, for the Room and for the wire
        self.deliveries: list[Delivery] = []
        self.at_once = self.handlers_at_once()
        self.perhaps_later = self.handlers_perhaps_later()

    def handlers_at_once(self) -> dict[type[Request], Callable[[Client, Any], None]]:
        """Returns the handlers of the requests that are finished when they have been handled."""
        return {
            requests.Malformed: self.malformed,
            requests.Rename: self.rename,
            requests.Who: self.who,
            requests.History: self.history,
            requests.Leave: self.leave,
            requests.Quit: self.quit,
            requests.Ping: self.ping,
            requests.Pong: self.pong,
            requests.Reject: self.orders.reject,
            requests.Ban: self.orders.ban,
            requests.RenameGroup: self.orders.rename_group,
            requests.ListMembers: self.orders.list_members,
            requests.Close: self.orders.close,
            requests.Delete: self.orders.delete,
            requests.Help: self.orders.help,
            requests.BadOrder: self.orders.bad_order,
        }

    def handlers_perhaps_later(self) -> dict[type[Request], Callable[[Client, Any], bool]]:
        """Returns the handlers that tell whether the request is finished, or answered later."""
        return {
            requests.Join: self.joining.join_requested,
            requests.PasswordOk: self.joining.password_ok,
            requests.PasswordRefused: self.joining.password_refused,
            requests.Accept: self.orders.accept,
            requests.Unban: self.orders.unban,
            requests.ConfirmDelete: self.orders.confirm_delete,
        }

    def create_group(self, name: str, now: float, time: str) -> None:
        """Writes the first event of a new group. Raises OSError if it cannot be written."""
        self.now, self.time = now, time
        self.append(format_events("GROUP", 1, time, [name]).encode())
        self.group.seq, self.group.name = 1, name

    # -- A turn: requests in, deliveries out ---------------------------------------------------

    def handle(self, batch: Batch, now: float, time: str) -> list[Delivery]:
        """Handles each client's requests in order. Returns the deliveries that they cause.

        now: seconds on a clock that never jumps. time: the same moment as the wire writes it.
        Never raises.
        """
        self.process(batch, now, time)
        self.commit_messages()
        return self.take_deliveries()

    def process(self, batch: Batch, now: float, time: str) -> None:
        """Like handle(), but the last messages wait for commit_messages()."""
        self.now, self.time = now, time
        for client, its_requests in batch:
            for request in its_requests:
                if client.state is OVER:
                    break
                client.last_heard_at = now
                if type(request) is not Say:
                    client.request_open = True
                    self.commit_messages()
                    self.dispatch(client, request)
                elif client.state is HERE:
                    self.unsaid.append((client, request.texts))
                else:
                    self.refuse_messages(client, request)

    def dispatch(self, client: Client, request: Request) -> None:
        """Handles one request that is no message, and tells when it is finished."""
        kind = type(request)
        if code := refusal(client.state, kind):
            self.send_error(client, code)
        elif kind in self.at_once:
            self.at_once[kind](client, request)
        elif not self.perhaps_later[kind](client, request):
            return
        self.emit(Done(client))

    def requests_finished(self, clients: Iterable[Client], now: float) -> None:
        """The answers to these clients' last requests are sent: silence counts again."""
        for client in clients:
            client.request_open, client.last_heard_at = False, now

    def commit_messages(self) -> None:
        """Writes all messages that wait, from whichever client, by one write and one delivery."""
        if self.unsaid:
            unsaid, self.unsaid = self.unsaid, []
            messages = [f"{client.name} {text}" for client, texts in unsaid for text in texts]
            if not self.commit("MSG", messages):
                for client, texts in unsaid:
                    for _ in texts:
                        self.send_error(client, "not-saved")

    def take_deliveries(self) -> list[Delivery]:
        """Returns what was decided since the last call."""
        deliveries, self.deliveries = self.deliveries, []
        return deliveries

    # -- Events --------------------------------------------------------------------------------

    def commit(self, verb: str, rests: list[str], welcoming: Client | None = None) -> bool:
        """Writes events of one kind, applies them, and delivers them, in this order.

        rests: what follows the time in each event. welcoming: the client that is to receive them,
        too. Returns False, and nothing happens, if they cannot be written. An OUT that could not be
        written before comes first.
        """
        return self.commit_pending_outs() and self.write_events(verb, rests, welcoming)

    def commit_pending_outs(self) -> bool:
        """Writes the OUT events that could not be written before; returns whether none is left."""
        if self.pending_outs and not self.write_events("OUT", self.pending_outs):
            return False
        self.pending_outs = []
        return True

    def write_events(self, verb: str, rests: list[str], welcoming: Client | None = None) -> bool:
        """See commit()."""
        data = format_events(verb, self.group.seq + 1, self.time, rests).encode()
        try:
            self.append(data)
        except OSError as error:
            self.report_write_error("transcript", error.strerror or str(error))
            return False
        self.last_write_error = None
        if welcoming:
            self.emit(Welcome(welcoming, f"WELCOME {self.group.seq} {welcoming.name}"))
        self.group.seq += len(rests)
        if verb != "MSG":
            for rest in rests:
                self.group.apply(verb, rest)
        self.emit(Events(data))
        return True

    # -- What is sent --------------------------------------------------------------------------

    def emit(self, delivery: Delivery) -> None:
        """Adds a delivery to those of this turn."""
        self.deliveries.append(delivery)

    def send(self, client: Client, text: str) -> None:
        """Sends a line to one client."""
        self.emit(Line(client, text))

    def send_error(self, client: Client, code: str) -> None:
        """Sends ERR. Before WELCOME the tenth ends the connection; too-long always does."""
        self.send(client, f"ERR {code} {ERROR_TEXTS[code]}")
        if not client.name:
            client.errors += 1
        if code == "too-long" or client.errors == MAX_ERRORS:
            self.end_connection(client, "protocol")

    def refuse_messages(self, client: Client, request: Say) -> None:
        """Answers each message of a client that is not HERE."""
        for _ in request.texts:
            if client.state is not OVER:
                self.send_error(client, "not-joined")

    def notify_owner(self, text: str) -> None:
        """Sends the owner a line that answers no order."""
        if self.owner:
            self.emit(Note(self.owner, text))

    def report_write_error(self, what: str, why: str) -> None:
        """Tells the owner of an error in writing, once for each time that it appears."""
        if (what, why) != self.last_write_error:
            self.last_write_error = what, why
            self.notify_owner(f"# {what} not saved: {why}")

    # -- Connections ---------------------------------------------------------------------------

    def is_full(self) -> bool:
        """Whether there is no place for another stranger."""
        return not self.open or len(self.strangers) >= self.rules.max_strangers

    def connected(self, client: Client) -> list[Delivery]:
        """A connection was accepted. Returns deliveries."""
        self.clients[client] = self.strangers[client] = None
        self.send(client, f"HELLO {wire.VERSION} {self.group.name}")
        return self.take_deliveries()

    def end_connection(self, client: Client, code: str, announce: bool = True) -> None:
        """Sends BYE. If a member was here, the others receive OUT; not without `announce`."""
        self.send(client, f"BYE {code}")
        self.emit(End(client))
        client.state = OVER
        self.clients.pop(client, None)
        self.strangers.pop(client, None)
        self.joining.connection_ended(client)
        if client.name and self.here.get(wire.fold(client.name)) is client:
            del self.here[wire.fold(client.name)]
            if announce and self.open and not self.commit("OUT", [client.name]):
                self.pending_outs.append(client.name)

    def shut_down(self, code: str) -> None:
        """Ends every connection. This makes no event."""
        self.open = False
        for client in list(self.clients):
            self.end_connection(client, code)

    def stop(self, now: float) -> list[Delivery]:
        """Does what the order `close` does, on SIGTERM or a similar signal. Returns deliveries."""
        if self.open:
            self.now = now
            self.commit_messages()
            self.shut_down("closed")
        return self.take_deliveries()

    # -- A client's requests -------------------------------------------------------------------

    def malformed(self, client: Client, request: requests.Malformed) -> None:
        """Answers a line that the Session refused. The client's state is the first reason."""
        kind = requests.CODES.get(request.verb)
        code = refusal(client.state, kind) if kind else ""
        self.send_error(client, code or request.code)

    def rename(self, client: Client, request: requests.Rename) -> None:
        """NAME: the member has another name from now on."""
        old, new = wire.fold(client.name), wire.fold(request.name)
        if new != old and not lookalikes.has_usual_letters(request.name):
            return self.send_error(client, "bad-name")
        taken = new in self.group.members or new in self.joining.join_requests
        is_alike = self.joining.looks_like_another(request.name, own=old)
        # In ASCII, the same name in another case does not look like more names than before.
        if (new != old and taken) or (is_alike and (new != old or not new.isascii())):
            return self.send_error(client, "name-taken")
        if not self.commit("RENAMED", [f"{client.name} {request.name}"]):
            return self.send_error(client, "not-saved")
        del self.here[old]
        self.here[new], client.name = client, request.name
        self.member_file.dirty = True

    def who(self, client: Client, _: requests.Who) -> None:
        """WHO: all members, here or away."""
        lines = [
            f"MEMBER {member.name} {'here' if key in self.here else 'away'}"
            for key, member in self.group.members.items()
            if member.standing == "member"
        ]
        self.send(client, "\n".join([*lines, "END WHO"]))

    def history(self, client: Client, request: requests.History) -> None:
        """HISTORY: the events after a number, up to the newest."""
        newest = self.group.seq
        if request.since < newest:
            self.emit(HistoryRange(client, request.since, newest))
        self.send(client, f"END HISTORY {newest}")

    def leave(self, client: Client, _: requests.Leave) -> None:
        """LEAVE: the client is no member any more."""
        if not self.commit("LEFT", [client.name]):
            return self.send_error(client, "not-saved")
        self.end_connection(client, "left", announce=False)
        self.member_file.dirty = True

    def quit(self, client: Client, _: requests.Quit) -> None:
        """QUIT, or the end of the connection."""
        self.end_connection(client, "quit")

    def ping(self, client: Client, request: requests.Ping) -> None:
        """PING: the client knows from the answer that all before it has been handled."""
        self.send(client, f"PONG {request.token}")

    def pong(self, client: Client, _: requests.Pong) -> None:
        """PONG: that it came is enough."""

    # -- The member file -----------------------------------------------------------------------

    def saved(self, why: str, now: float, time: str) -> list[Delivery]:
        """The member file is written: `why` is "", or why it is not. Returns deliveries."""
        self.now, self.time = now, time
        self.commit_messages()
        self.member_file.saved(why)
        return self.take_deliveries()

    # -- Time ----------------------------------------------------------------------------------

    def join_deadline(self, client: Client) -> float:
        """Returns when a stranger has had its --join-within seconds."""
        return client.stranger_since + self.rules.join_within

    def tick(self, now: float, time: str, is_reading: bool = True) -> list[Delivery]:
        """Does what time alone causes. To be called a few times a second. Returns deliveries.

        is_reading: False while the server reads from no client, which is no silence of theirs.
        """
        if not is_reading:
            for client in self.clients:
                client.last_heard_at = min(now, client.last_heard_at + now - self.ticked_at)
        self.now = self.ticked_at = now
        self.time = time
        self.commit_messages()
        if now >= self.next_timeout_check:
            # A second more or less does not matter to a silent member: look at them less often.
            self.next_timeout_check = now + min(1, self.rules.ping_after / 10)
            self.check_timeouts(self.clients)
        else:
            self.check_timeouts(self.strangers)
        self.commit_pending_outs()
        self.member_file.save_if_due(now)
        return self.take_deliveries()

    def check_timeouts(self, clients: Iterable[Client]) -> None:
        """Sends the rejections that are due, PING to the silent, and BYE when the time is over."""
        now = self.now
        for client in list(clients):
            if client.join and client.join.reject_at is not None and now >= client.join.reject_at:
                self.joining.reject_now(client)
            elif client.state is HERE or client.state is ASKING:
                self.check_silence(client, now - client.last_heard_at)
            elif client.state is STRANGER and now >= self.join_deadline(client):
                self.end_connection(client, "timeout")

    def check_silence(self, client: Client, silence: float) -> None:
        """Sends PING after --ping-after seconds of silence, BYE after --idle-after."""
        if client.request_open or silence < self.rules.ping_after:
            return
        if silence >= self.rules.idle_after:
            self.end_connection(client, "idle")
        elif client.pinged_at < client.last_heard_at:
            client.pinged_at = self.now
            self.send(client, "PING x")
