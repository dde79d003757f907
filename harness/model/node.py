"""How far a step is explained: a Node is a state of the group, and what of the step is used up.

`Node.after` lets one more thing happen, if it fits what was seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.model.group import (
    Connection,
    End,
    Event,
    Group,
    Members,
    Out,
    Outcome,
    Range,
    Standing,
)
from harness.model.lines import answers_fit, is_line, same_but_address
from harness.model.steps import Heard, Sent, Step, event_of

LATE = float("inf")
EARLY = 0.01  # seconds that two clocks of one machine may differ
UNASKED_BYES = ("banned", "replaced", "closed", "deleted", "idle", "slow")


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that the server may do next, with its Outcomes. `uses` is what of the step it uses:
    a client's next Sent ("sent"), all that it sent ("lost"), the owner's next order ("order"), or
    nothing. `safe`: to do it now is never wrong.
    """

    outcomes: list[Outcome]
    uses: str = ""
    who: str = ""
    at: float = 0.0
    safe: bool = False


@dataclass
class Misfit(Exception):
    """An Outcome does not fit: `who` must have heard `expected`, and heard `came`. Without
    `expected`, it only happened at another time.
    """

    section: str = ""
    who: str = ""
    expected: Out | str = ""
    came: str | None = None
    early: bool = False


class Node:
    """A state of the search: the group, and how much of the step is explained."""

    def __init__(self, group: Group, step: Step):
        self.group = group
        self.step = step
        self.sent = {who: 0 for who in step.sent}
        self.heard: dict[str, tuple[list[Heard], int]] = {
            who: (lines, 0) for who, lines in step.heard.items()
        }
        self.orders = 0
        self.asks = tuple(step.asks)
        self.clock = 0.0
        # When members sent what is handled after the newest event: the next one comes later.
        self.floor = 0.0
        # Lists of WHO that were not true yet: (the list, events that came before END WHO).
        self.due: dict[str, tuple[frozenset[str], int]] = {}
        self.lists: list[tuple[float, frozenset[str]]] = []  # earlier lists: (until when, list)
        self.cut: frozenset[str] = frozenset()  # clients with an answer that a BYE cut short
        self.explained = 0

    def copy(self) -> "Node":
        """Return a copy that can be taken further on its own."""
        new = object.__new__(Node)
        new.__dict__ = self.__dict__ | {
            "sent": dict(self.sent),
            "heard": dict(self.heard),
            "due": dict(self.due),
            "lists": list(self.lists),
        }
        return new

    def connection(self, who: str) -> Connection | None:
        """Return the state of a connection; None if it is not open yet."""
        return self.group.connections.get(who)

    def is_over(self, who: str) -> bool:
        """Return whether the server has ended this connection, now or in an earlier step."""
        one = self.connection(who)
        if one is None:
            return self.step.sent[who][0].what != "connects"
        return one.standing is Standing.OVER

    def next_sent(self, who: str) -> Sent | None:
        """Return what a client sent that is not handled yet."""
        place, sent = self.sent.get(who, 0), self.step.sent.get(who, ())
        return sent[place] if place < len(sent) else None

    def next_heard(self, who: str) -> Heard | None:
        """Return what a client heard that is not explained yet."""
        lines, place = self.heard.get(who, ((), 0))
        return lines[place] if place < len(lines) else None

    def is_done(self) -> bool:
        """Return whether all that was seen is explained, and all that must be is handled."""
        if any(place < len(lines) for lines, place in self.heard.values()):
            return False
        if self.orders < len(self.step.orders) or self.asks or self.due:
            return False
        if self.step.ended and self.group.ended is None:
            return False
        return not self.step.settled or not any(self.owed())

    def owed(self) -> Iterator[str]:
        """Yield each client whose requests were sent, and must have been handled by now."""
        for who, place in self.sent.items():
            is_left = place < len(self.step.sent[who]) and not self.is_over(who)
            if is_left and who not in self.step.loose:
                yield who

    def left(self) -> dict[str, list[Sent]]:
        """Return what clients sent that the server may still handle."""
        return {
            who: self.step.sent[who][place:]
            for who, place in self.sent.items()
            if place < len(self.step.sent[who]) and not self.is_over(who)
        }

    def mark(self) -> tuple[object, ...]:
        """Return what two nodes share from which the same can be reached."""
        return (
            tuple(self.sent.values()),
            tuple(
                (who, len(lines) - place, id(lines[place]) if place < len(lines) else 0)
                for who, (lines, place) in self.heard.items()
            ),
            self.orders,
            self.asks,
            frozenset(self.due.items()),
            self.group.mark(),
        )

    # -- One more thing happens

    def after(self, move: Move, outcome: Outcome) -> "Node":
        """Return the node after this outcome. Raises Misfit if it does not fit what was seen."""
        clock = self.time_of(move, outcome)
        new = self.copy()
        new.group = outcome.group
        new.take_ask(outcome)
        if move.uses == "order":
            new.take_answers(outcome, clock)
        elif move.uses == "sent":
            new.sent[move.who] = self.sent.get(move.who, 0) + 1
        elif move.uses == "lost":
            new.sent[move.who] = len(self.step.sent[move.who])
        one = self.connection(move.who)
        placed = False  # a member received a line that shows where among the events it was
        # The client that asked comes first: if nothing fits, its own answer says most.
        for who in sorted(outcome.to, key=lambda who: who != move.who):
            for out in outcome.to[who]:
                if new.take(who, out, outcome, clock) and one:
                    placed |= one.standing is Standing.HERE
        new.keep_time(self, move, outcome, clock, placed)
        new.explained += bool(move.uses)
        if new.due:
            new.check_lists(outcome)
        return new

    def time_of(self, move: Move, outcome: Outcome) -> float:
        """Return the earliest time at which this outcome can have happened. Raises Misfit."""
        # What was sent after somebody heard an event is handled after that event.
        event = self.step.events.get(self.group.seq + 1)
        if event and event[2] < move.at:
            raise Misfit
        # What a client heard before it sent this was on its way before, too.
        waiting = self.next_heard(move.who) if move.uses == "sent" else None
        if waiting and waiting.at < move.at:
            raise Misfit(outcome.section, move.who, "another line first", waiting.line)
        # What touches one connection alone has no other place in the common order.
        if is_local(self.group, outcome):
            return move.at
        happens = outcome.group.seq > self.group.seq
        return max(self.clock, move.at, self.floor if happens else 0.0)

    def keep_time(
        self, before: "Node", move: Move, outcome: Outcome, clock: float, placed: bool
    ) -> None:
        """Note what this outcome says about the time of what comes next."""
        local = is_local(before.group, outcome)
        if not local:
            self.clock = clock
        if outcome.group.seq > before.group.seq:
            self.floor = 0.0
        elif local and placed:
            self.floor = max(self.floor, move.at)
        old, new = before.group, outcome.group
        if self.step.asks_who and (new.members is not old.members or new.here is not old.here):
            self.lists.append((clock, old.list_of_members().lines))

    # -- Whether it fits what was seen. These change the node, and raise Misfit.

    def take_ask(self, outcome: Outcome) -> None:
        """Take the line that announces a request to join."""
        if outcome.asks is None:
            return
        for place, one in enumerate(self.asks):
            if same_but_address(one, outcome.asks):
                self.asks = self.asks[:place] + self.asks[place + 1 :]
                return
        raise Misfit(outcome.section, "owner", outcome.asks)

    def take_answers(self, outcome: Outcome, clock: float) -> None:
        """Take the answer of the owner's next order."""
        order = self.step.orders[self.orders]
        if order.answers and order.answered_at < clock:
            raise Misfit
        if not answers_fit(order.answers, outcome.answers):
            came = None if order.answers is None else " | ".join(order.answers)
            raise Misfit(outcome.section, "owner", " | ".join(outcome.answers or ()), came)
        self.orders += 1

    def take(self, who: str, out: Out, outcome: Outcome, clock: float) -> bool:
        """Take what a client must have heard next; return whether it did, for blind clients and
        cut answers may end before.
        """
        lines, place = self.heard.get(who, ([], 0))
        self.explained += 1
        if place >= len(lines):
            if who in self.step.blind or (who in self.cut and not isinstance(out, End)):
                return False
            raise Misfit(outcome.section, who, out)
        item = lines[place]
        if isinstance(out, Members | Range):
            fits, early = self.take_several(who, out, clock), False
        else:
            fits = is_line(out, item.line)
            if fits and item.at < clock:
                raise Misfit
            early = item.at < outcome.not_before - EARLY and not isinstance(out, End | Event)
            self.heard[who] = lines, place + 1
        if fits and not early:
            return True
        if who in self.cut and not isinstance(out, End):
            self.heard[who] = lines, place
            return False
        raise Misfit(outcome.section, who, out, item.line, early=fits and early)

    def take_several(self, who: str, out: Members | Range, clock: float) -> bool:
        """Take an answer of several lines out of those heard; live events between them stay.
        Return whether it fits.
        """
        lines, place = self.heard[who]
        if lines[place].at < clock:
            return False
        newest = out.newest if isinstance(out, Range) else 0
        end = "END WHO" if isinstance(out, Members) else f"END HISTORY {newest}"
        expected = iter(range(out.since + 1, newest + 1)) if isinstance(out, Range) else iter(())
        listed: list[str] = []
        live: list[Heard] = []
        for number in range(place, len(lines)):
            line = lines[number].line
            event = event_of(line)
            if line == end:
                rest = lines[number + 1 :]
                if isinstance(out, Range):
                    return self.take_events_again(who, live + rest, list(expected))
                self.heard[who] = live + rest, 0
                return self.list_fits(who, out, listed, live, clock)
            if line is None or line.startswith("BYE "):
                # A BYE that the client did not ask for may cut the answer short (8).
                self.cut |= {who}
                self.heard[who] = live + lines[number:], 0
                return line is None or line[4:] in UNASKED_BYES
            if event and isinstance(out, Range) and event.seq <= newest:
                known = self.group.unheard.get(event.seq, event[1:])
                if next(expected, None) != event.seq or known != event[1:]:
                    return False
            elif event or line.startswith("PING "):
                live.append(lines[number])
            elif isinstance(out, Members) and line.startswith("MEMBER "):
                listed.append(line)
            else:
                return False
        self.cut |= {who}
        self.heard[who] = live, 0
        return who in self.step.blind

    def take_events_again(self, who: str, lines: list[Heard], missing: list[int]) -> bool:
        """The live events that an answer to HISTORY lacks were a part of it: they must come again,
        live, behind it. Return whether they do.
        """
        again = [event_of(one.line) for one in lines[: len(missing)]]
        self.heard[who] = lines[len(missing) :], 0
        return [one.seq if one else 0 for one in again] == missing

    def list_fits(
        self, who: str, out: Members, listed: list[str], live: list[Heard], clock: float
    ) -> bool:
        """Return whether a list of WHO is true now, was lately, or may become so (6)."""
        came = frozenset(listed)
        if len(came) < len(listed):
            return False
        if came == out.lines or came in [one for until, one in self.lists if until >= clock]:
            return True
        if live:
            self.due[who] = came, len(live)
        return bool(live)

    def check_lists(self, outcome: Outcome) -> None:
        """A list of WHO must be true at one moment between the request and END WHO (6)."""
        now = self.group.list_of_members().lines
        for who, (listed, events) in list(self.due.items()):
            if listed == now:
                del self.due[who]
            elif any(isinstance(out, Event) for out in outcome.to.get(who, ())):
                if events == 1:
                    came = " | ".join(sorted(listed))
                    raise Misfit(outcome.section, who, Members(now), came)
                self.due[who] = listed, events - 1


def is_local(group: Group, outcome: Outcome) -> bool:
    """Return whether this changes nothing but one connection."""
    new: Any = outcome.group
    shared = ("members", "here", "holds", "bans")
    return (
        new.seq == group.seq
        and new.ended is group.ended
        and all(getattr(new, name) is getattr(group, name) for name in shared)
        and outcome.asks is None
        and outcome.answers is None
    )
