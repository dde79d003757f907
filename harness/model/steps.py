"""Reads a record as Steps: what each client and the owner sent, and what came back."""

import re
from collections.abc import Iterable

from harness.driving.record import Entry
from harness.driving.server import ANSWERED
from harness.model.explain import Heard, Order, Sent, Step
from harness.model.group import MOST_LINE, framed

ASKS = re.compile(r"\S+ asks to join from \S+")
UNASKED = re.compile(r"\* .*|<\S+> .*|# .*")
LOST = {"resets", "closes"}


class StepReader:
    """Turns the entries of one record, in pieces, into Steps."""

    def __init__(self) -> None:
        self.unfinished: dict[str, bytes] = {}  # what clients sent after their last line
        self.lines: list[str] = []  # of an answer that is not complete

    def step(
        self,
        entries: Iterable[Entry],
        addresses: dict[str, str],
        settled: bool = True,
        loose: Iterable[str] = (),
    ) -> Step:
        """Return the Step that these entries, the next of the record, make.

        `addresses` maps a client's name in the record to its own address, as a server writes it.
        """
        step = Step(addresses=addresses, settled=settled, loose=set(loose))
        for entry in entries:
            if entry.who == "server":
                self.server(step, entry)
            elif entry.who == "owner":
                for line in entry.text.encode("utf-8", "surrogateescape").split(b"\n")[:-1]:
                    whole = line.removesuffix(b"\r") if len(line) < MOST_LINE else None
                    step.orders.append(Order(entry.at, whole, None))
            else:
                self.client(step, entry)
        return step

    def server(self, step: Step, entry: Entry) -> None:
        """Note a line of the console, or a signal."""
        if entry.what == "signal" and entry.text in ("SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"):
            step.ended = "killed" if entry.text == "SIGKILL" else "closed"
        if entry.what != "shows":
            return
        waiting = next((n for n, order in enumerate(step.orders) if order.answers is None), None)
        if ASKS.fullmatch(entry.text):
            step.asks.append(entry.text)
        elif ANSWERED.fullmatch(entry.text) and waiting is not None:
            order = step.orders[waiting]
            answers = (*self.lines, entry.text)
            step.orders[waiting] = Order(order.at, order.line, answers, entry.at)
            self.lines = []
        elif (
            not UNASKED.fullmatch(entry.text)
            or (waiting is not None and step.orders[waiting].line == b"help")
        ) and not entry.text.startswith("listening on "):
            self.lines.append(entry.text)

    def client(self, step: Step, entry: Entry) -> None:
        """Note what a client did or heard."""
        who, at = entry.who, entry.at
        if entry.what == "connects":
            step.sent[who].append(Sent(at, "connects"))
        elif entry.what == "sends":
            data = entry.text.encode("utf-8", "surrogateescape")
            lines, rest = framed(self.unfinished.get(who, b"") + data)
            self.unfinished[who] = rest
            step.sent[who] += [Sent(at, "line", line) for line in lines]
        elif entry.what == "shuts":
            step.sent[who].append(Sent(at, "eof"))
        elif entry.what in LOST:
            step.sent[who].append(Sent(at, "lost"))
            step.blind.add(who)
        elif entry.what == "hears":
            step.heard[who].append(Heard(at, entry.text))
        elif entry.what == "torn" and step.ended != "killed":
            step.heard[who].append(Heard(at, f"{entry.text} (and no LF)"))
        elif entry.what in ("ended", "reset"):
            step.heard[who].append(Heard(at, None))
