"""Plays a dialogue with a server, act by act, and has each step explained by the model.

An Act is one thing that a client, the owner or the machine does. After an act the harness waits
until all that was sent must have been handled: a fence in each client, `members` on the console.
An act with `more` is not waited for, so that the next one happens at the same time.
"""

import contextlib
import copy
import re
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import psutil

from harness.driving import deadlines
from harness.driving.client import CutOff, Silence, WireClient, taken
from harness.driving.crowd import SMALL_MSS
from harness.driving.messages import msg
from harness.driving.record import CheckFailed
from harness.driving.server import Server, end_of, tail
from harness.model import notation
from harness.model.explain import Explanation
from harness.model.group import MOST_LINE, Connection, Group, Rules, Standing, fold, framed
from harness.model.lines import Difference
from harness.model.search import Unclear
from harness.model.steps import StepReader

FLOOD = 1 << 14  # lines in one answer; the longest that a dialogue asks for has some thousands
GROUP = "grupo"  # the name of a group whose server was started without --group
NARROW = {"rcvbuf": 2048, "mss": SMALL_MSS}  # a connection that holds about 30 kB
WIDE = 1 << 18  # bytes of the receive buffer of one that reads again
# While a client reads nothing, in seconds: within which the others are answered, and after which
# a server may have disconnected it (--slow-after is 10, section 9.8).
ANSWERED_WITHIN, MAY_BE_SLOW_AFTER = 6.0, 8.0
AFTER_SILENCE = 0.05  # seconds for what should have come together with an answer that did not
# How a server is ended; it starts again afterwards.
ENDS = {
    "restart": signal.SIGTERM,
    "SIGINT": signal.SIGINT,
    "SIGHUP": signal.SIGHUP,
    "killed": signal.SIGKILL,
}


@dataclass(frozen=True)
class Act:
    """`who` does `what`; `more`: the next act happens at the same time.

    A client: sends (Latin-1 bytes), piece (likewise, and waits until the server has read them),
    shuts, resets, closes, awaits (reads up to PENDING), pongs (answers a PING), narrow (connects
    with small buffers), sleeps (reads nothing from now on), wakes, insists (sends, even if the
    server has ended the connection). owner: types.
    server: one of ENDS (and starts again, with another --admit if `text` says so), stops and goes
    (SIGSTOP, SIGCONT), waits (seconds).
    """

    who: str
    what: str
    text: str = ""
    more: bool = False


@dataclass
class Dialogue:
    """`acts` to play, after an `opening` in which members join."""

    opening: list[Act]
    acts: list[Act]


class Play:
    """One server, the clients of a dialogue, and what is known of the group.

    `clients` holds every connection by its name in the record; `current` the last one of each
    label of the dialogue.
    """

    def __init__(
        self, server: Server, rules: Rules, patience: float | None = None, has_owner: bool = True
    ):
        """Play with this server. An answer counts as missing after `patience` seconds, by default
        deadlines.DEADLINE. `has_owner`: it takes orders; else only fences show what it has done.
        """
        self.has_owner = has_owner
        self.server, self.record, self.patience = server, server.record, patience
        self.known = Explanation(Group(rules, GROUP))
        self.clients: dict[str, WireClient] = {}
        self.current: dict[str, str] = {}
        self.reader = StepReader()
        self.first = len(self.record.entries)  # of the step under way
        self.rest: dict[str, bytes] = {}  # half a line that each has sent
        self.tokens = 0
        self.typed = 0  # lines of the owner's since the server's start
        self.settled = True
        self.again = False  # fences were sent a second time, in the step under way
        self.missing = False  # an answer did not come in time, in the step under way
        self.quiet_since = 0.0  # when all that had been sent had been handled
        self.loose: list[str] = []  # clients that closed unnoticed, in the step under way
        self.asleep: dict[str, float] = {}  # labels of clients that read nothing, and since when
        self.stopped = False  # the server's processes, by SIGSTOP

    @property
    def addresses(self) -> dict[str, str]:
        """Each client's own address, by its name in the record."""
        return {who: address for address, who in self.record.addresses.items()}

    @property
    def group(self) -> Group:
        """The likeliest state of the group."""
        return self.known.group

    def close(self) -> None:
        """Close all clients."""
        for client in self.clients.values():
            client.close()

    # -- Acts

    def play(self, acts: Sequence[Act]) -> None:
        """Do the acts; each step is explained. Raises Difference or Unclear."""
        try:
            for act in acts:
                self.act(act)
                if not (act.more or self.stopped):
                    self.settle(act)
            if self.stopped:
                self.machine(Act("server", "goes"))
            self.wakes(*self.asleep)
            if any(one.who != "server" for one in self.record.entries[self.first :]):
                self.settle(Act("server", "goes"))
        except CheckFailed as problem:
            self.must_live()
            raise Difference(
                "9.1", problem.who or "server", [problem.expected], problem.actual
            ) from problem

    def act(self, act: Act) -> None:
        """Do one act, and wait for nothing."""
        if act.who == "owner":
            self.types(act.text.encode("latin-1"))
        elif act.who == "server":
            self.machine(act)
        elif act.what == "insists":
            self.insists(act)
        elif act.what not in ("sends", "piece", "narrow") and not self.is_open(act.who):
            pass  # there is nothing to end
        else:
            self.client(act, self.connection(act.who, narrow=act.what == "narrow"))

    def insists(self, act: Act) -> None:
        """Send in the last connection of a client, also after its end."""
        who = self.current.get(act.who, "")
        if who and self.clients[who].socket.fileno() >= 0:
            self.sends(who, act.text.encode("latin-1"))

    def client(self, act: Act, who: str) -> None:
        """Do what a client does."""
        client = self.clients[who]
        if act.what in ("sends", "piece"):
            if act.what == "piece" and self.did(who, "sends") and not self.rest.get(who):
                self.fence(act.who)  # half a line would leave no way to wait for the lines before
            self.sends(who, act.text.encode("latin-1"))
            if act.what == "piece":
                taken(client)
        elif act.what == "pongs":
            self.pongs(who)
        elif act.what == "awaits":
            self.reads(who, "PENDING", "ERR ")
        elif act.what == "shuts":
            with contextlib.suppress(CutOff):
                client.half_close()
        elif act.what == "sleeps":
            self.asleep[act.who] = self.record.clock()
        elif act.what == "wakes":
            self.wakes(act.who)
        elif act.what in ("resets", "closes"):
            if act.who not in self.asleep:
                self.reads_what_came(who)
            self.asleep.pop(act.who, None)
            client.reset() if act.what == "resets" else client.close()

    def wakes(self, *labels: str) -> None:
        """Have clients read again. Raises Unclear if it may be too late for that."""
        for label in labels:
            since = self.asleep.pop(label, None)
            if since is not None and self.record.clock() - since > MAY_BE_SLOW_AFTER:
                raise Unclear("a client has read nothing for too long")
            if since is not None:
                sock = self.clients[self.current[label]].socket
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WIDE)

    def pongs(self, who: str) -> None:
        """Answer the server's last PING, if there was one."""
        pings = [line for line in self.clients[who].lines if line.startswith("PING ")]
        if pings:
            self.sends(who, f"PONG{pings[-1][4:]}\n".encode("utf-8", "surrogateescape"))

    def is_open(self, label: str) -> bool:
        """Return whether the connection of this label is open at our end."""
        client = self.clients.get(self.current.get(label, ""))
        return client is not None and not client.ended and client.socket.fileno() >= 0

    def connection(self, label: str, narrow: bool = False) -> str:
        """Return the open connection of this label, or a new one. Raises CutOff."""
        if not self.is_open(label):
            buffers = NARROW if narrow else {}
            client = WireClient(
                self.server.address, name=label, pong=False, record=self.record, **buffers
            )
            self.clients[client.who], self.current[label] = client, client.who
            if narrow:
                self.record.add(client.who, "narrow")
            if not self.stopped:
                self.reads(client.who, "")  # HELLO
        return self.current[label]

    def sends(self, who: str, data: bytes) -> None:
        """Send bytes, if the connection is still open."""
        self.rest[who] = framed(self.rest.get(who, b"") + data)[1]
        with contextlib.suppress(CutOff):
            self.clients[who].send_bytes(data)

    def types(self, line: bytes) -> None:
        """Type a line, and wait for nothing."""
        self.typed += 1
        self.server.type_bytes(line + b"\n")

    def machine(self, act: Act) -> None:
        """Do something to the server's processes, or wait."""
        if act.what in ("stops", "goes", "waits"):
            self.record.add("server", act.what, act.text)
        if act.what == "waits":
            self.waits(float(act.text))
        elif act.what in ("stops", "goes"):
            self.stopped = act.what == "stops"
            for process in self.server.family():
                with contextlib.suppress(psutil.Error):
                    process.suspend() if act.what == "stops" else process.resume()
        elif act.what == "killed":
            self.server.kill()
        else:  # a terminal sends its signals to all processes
            self.server.send_signal(ENDS[act.what], group=act.what != "restart")

    def waits(self, seconds: float) -> None:
        """Read all clients for so long, and send nothing."""
        if self.settled:
            self.quiet_since = self.record.clock()
        self.settled = False
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            listening = [
                self.clients[who]
                for label, who in self.current.items()
                if self.is_open(label) and label not in self.asleep
            ]
            if not listening:
                time.sleep(left)
            for client in listening:
                with contextlib.suppress(Silence):
                    client.line(min(left, 0.02))

    # -- Waiting until all is handled

    def settle(self, act: Act) -> None:
        """Wait until everything that was sent must have been handled, and explain it."""
        if act.what == "waits":
            if self.explain():
                self.known.in_time(self.quiet_since, self.record.clock())
        elif act.what in ENDS or self.after_orders().ended:
            self.end(act)
        elif self.asleep:
            self.others_go_on()
        else:
            self.settled = True
            self.answered()
            for _ in range(2):
                if not self.missing:
                    self.fence()
            if self.has_owner:
                self.until_gone()
                self.lists()
            self.explain()
            self.known.in_time(self.record.clock(), self.record.clock())

    def lists(self) -> None:
        """Have the console list the members, and wait for it."""
        if not (self.missing or self.after_orders().consent):
            self.types(b"members")
            self.answered()

    def others_go_on(self) -> None:
        """While some read nothing, the others and the owner are answered. Raises Difference.

        What it was is explained when all read again.
        """
        for who, *last in self.fence(deadline=ANSWERED_WITHIN):
            raise Difference("9.2", who, last, "")
        if not self.server.answers(self.typed, ANSWERED_WITHIN):
            raise Difference("9.8", "owner", ["ok"], "")

    def settle_at_rest(self) -> None:
        """Explain what was sent while the server is known to be at rest: all has come that will
        come. Raises Difference or Unclear.
        """
        if self.after_orders().ended:
            return self.settle(Act("server", "goes"))
        self.explain_untouched()
        if self.has_owner:
            self.types(b"members")
            self.answered()
        try:
            self.explain_once()
        except Difference:
            self.settle(Act("server", "goes"))  # with a deadline for what may still come

    def explain_untouched(self) -> None:
        """Explain what came, if it can be, before anything more is sent: that might wake a thread
        which has missed its wake-up. Raises Difference if something never comes.
        """
        end = time.monotonic() + (self.patience or deadlines.DEADLINE)
        while True:
            for label, who in self.current.items():
                if self.is_open(label):
                    self.reads_what_came(who)
            try:
                return self.explain_once()
            except Difference as difference:
                if difference.came or len(self.record.entries) == self.first:
                    return  # nothing is missing: a fence may explain it
                if time.monotonic() > end:
                    self.must_live()
                    raise
            time.sleep(AFTER_SILENCE)

    def fence(self, *labels: str, deadline: float | None = None) -> list[tuple[str, ...]]:
        """Send PING in these or all open connections; read each up to its PONG or its end.

        Return those that heard neither before the deadline, with what they waited for.
        """
        waiting: dict[str, tuple[str, ...]] = {}
        for label, who in self.current.items():
            if (labels and label not in labels) or label in self.asleep:
                continue
            if self.is_open(label) and self.did(who, "shuts"):
                waiting[who] = ()
            elif self.is_open(label) and not self.rest.get(who):  # a PING would end half a line
                self.tokens += 1
                waiting[who] = (f"PONG f{self.tokens}",)
                self.sends(who, f"PING f{self.tokens}\n".encode())
        return [
            (who, *last)
            for who, last in waiting.items()
            if not self.reads(who, *last, deadline=deadline)
        ]

    def hears_more(self) -> bool:
        """Read the clients that have sent half a line, and so no fence. Return whether any of them
        heard something more before the deadline.
        """
        unfenced = [
            self.clients[who]
            for label, who in self.current.items()
            if self.is_open(label) and self.rest.get(who)
        ]
        before = len(self.record.entries)
        end = time.monotonic() + (self.patience or deadlines.DEADLINE)
        while unfenced and len(self.record.entries) == before and time.monotonic() < end:
            for client in unfenced:
                with contextlib.suppress(Silence):
                    client.line(0.01)
        return len(self.record.entries) > before

    def asks_again(self) -> bool:
        """Send all fences again, once in a step: something may have happened between the clients'
        fences and `members`. Return whether they were sent.
        """
        if self.again or self.missing or self.after_orders().consent:
            return False
        self.again = True
        self.fence()
        if self.has_owner:
            self.lists()
        return True

    def did(self, who: str, what: str) -> bool:
        """Return whether this client did this in the step under way."""
        return any(one.who == who and one.what == what for one in self.record.entries[self.first :])

    def reads(self, who: str, *last: str, deadline: float | None = None) -> bool:
        """Read a client up to one of these beginnings of a line, or its end.

        Return whether it came. If not, the model says what is missing.
        """
        client = self.clients[who]
        if deadline is None:  # others have had as much time as the first
            deadline = AFTER_SILENCE if self.missing else self.patience
        with contextlib.suppress(Silence):
            for _ in range(FLOOD):
                line = client.line(deadline)
                if not line or line.startswith(last):
                    return True
            raise CheckFailed(
                msg("the server to stop sending"),
                msg("{who} received more than {count} lines at once", who=who, count=FLOOD),
                who=who,
            )
        self.missing = True
        return False

    def reads_what_came(self, who: str) -> None:
        """Read what has come."""
        with contextlib.suppress(Silence):
            for _ in range(FLOOD):
                if not self.clients[who].line(0.0):
                    return

    def until_gone(self) -> None:
        """Wait until the server has noticed each client that went in this step."""
        entries = self.record.entries[self.first :]
        lost = [one.who for one in entries if one.what in ("resets", "closes")]
        # A member that joined again on another connection stays here.
        again = {fold(one.text.split(" ")[-1]) for one in entries if one.text[:8] == "WELCOME "}
        keys = {who: one.key for who, one in self.group.connections.items()}
        listed = {
            who: listed_as(self.group, who) if keys.get(who) not in again else "" for who in lost
        }
        patterns = [re.compile(one, re.IGNORECASE) for one in listed.values() if one]
        self.loose = [who for who, one in listed.items() if not one]
        if not patterns or self.missing:
            return

        def noticed() -> bool:
            start = len(self.server.stdout)
            self.types(b"members")
            self.answered()
            return not any(
                one.fullmatch(line) for one in patterns for line in self.server.stdout[start:]
            )

        with contextlib.suppress(CheckFailed):
            deadlines.wait_until(noticed, self.patience)
        self.fence()

    def answered(self) -> None:
        """Wait for the answer of each order that was typed; the model says what is missing."""
        if not self.server.answers(self.typed, AFTER_SILENCE if self.missing else self.patience):
            self.missing = True

    def after_orders(self) -> Group:
        """Return the likeliest group after the orders of this step."""
        group = self.group
        for entry in self.record.entries[self.first :]:
            if entry[1:3] == ("owner", "types"):
                line = entry.text.encode("utf-8", "surrogateescape").removesuffix(b"\n")
                group = group.order(line if len(line) < MOST_LINE else None)[0].group
        return group

    def end(self, act: Act) -> None:
        """Read all clients up to their end, explain, and start the server again."""
        if self.asleep:  # what they have not read may be lost
            raise Unclear("the server ends while a client reads nothing")
        for label, who in self.current.items():
            if self.is_open(label):
                self.reads(who)
                self.clients[who].close()  # a server may wait for that
        if act.what != "killed":
            status = self.server.wait()
            if status != 0:
                raise Difference("12", "server", ["exits 0"], str(end_of(status)))
        self.again = True  # there is nobody to ask
        self.explain()
        changes = act.text if act.what in ENDS else ""
        flags = notation.with_flags(self.server.start["args"], changes)
        self.server.restart(args=flags)
        self.typed, self.first = 0, len(self.record.entries)
        self.known.starts_again(dict(pairwise(flags)).get("--admit", self.group.rules.admit))
        self.current.clear()

    # -- Explaining

    def must_live(self) -> None:
        """Raise Difference if the server ended without being asked to."""
        status = self.server.process.poll()
        if status is not None and not self.did("server", "signal"):
            came = "\n".join([str(end_of(status)), *tail(self.server.stderr)])
            raise Difference("12", "server", ["the server runs"], came)

    def explain(self) -> bool:
        """Have what was seen since the last time explained. Raises Difference or Unclear.

        After a wait, something may still be on its way: then it is explained with the next step,
        and the result is False.
        """
        while not self.explained():
            if not self.settled:
                return False
        self.settled, self.missing, self.again, self.loose = True, False, False, []
        return True

    def explained(self) -> bool:
        """Try once; return False if more may come. Raises Difference or Unclear."""
        try:
            self.explain_once()
        except Difference:
            if self.settled and not (self.asks_again() or self.hears_more()):
                raise
            return False
        return True

    def explain_once(self) -> None:
        """Explain what was seen since the last time. Raises Difference or Unclear."""
        entries, reader = self.record.entries[self.first :], copy.deepcopy(self.reader)
        self.known.explain(reader.step(entries, self.addresses, self.settled, self.loose))
        self.first, self.reader = self.first + len(entries), reader


def listed_as(group: Group, who: str) -> str:
    """Return a pattern of the console's lines on this connection; "" if there is none."""
    one: Connection | None = group.connections.get(who)
    if one is None or one.standing not in (Standing.HERE, Standing.ASKING):
        return ""
    name = group.members[one.key].name if one.standing is Standing.HERE else one.name
    what = "here" if one.standing is Standing.HERE else f"asks from {re.escape(one.address)}"
    return f"member {re.escape(name)} {what}"
