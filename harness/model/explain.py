"""Is there an order of these requests that explains what was heard? A search over the model.

A Step is what was sent and seen in one stretch of time. `explain` looks for an order in which the
server may have handled the requests, so that every client heard exactly what the model allows. The
numbers of the events give most of that order, so a long record is read nearly straight through;
the search goes back only where the page leaves a choice, or where requests cross.

The order of handling agrees with the clock: nothing is heard before it was asked for.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from harness.model.group import (
    OK,
    End,
    Err,
    Event,
    Group,
    Line,
    Members,
    Out,
    Outcome,
    Ping,
    Range,
    Standing,
    fold,
)

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
EVENT = re.compile(rf"(MSG|IN|OUT|RENAMED|LEFT|BANNED|GROUP) ([1-9]\d{{0,15}}) {TIME} (.+)", re.S)
LATE = float("inf")
SLACK = 1.2  # seconds by which a timer may be late: servers look at some of them once a second
EARLY = 0.01  # seconds that two clocks of one machine may differ
MOST_MOVES = 2_000  # beyond what one straight reading needs: then the search is given up
UNASKED_BYES = ("banned", "replaced", "closed", "deleted", "idle", "slow")


class Unclear(Exception):
    """The search was given up: neither an explanation was found nor its absence shown."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A line that a client heard, or None for the end of its connection; `at` in seconds."""

    at: float
    line: str | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A thing that a client did: `what` is connects, line, eof or lost (it closed or reset)."""

    at: float
    what: str
    line: bytes | None = b""


@dataclass(frozen=True, slots=True)
class Order:
    """A line of the owner's, and the lines of its answer; None if none came."""

    at: float
    line: bytes | None
    answers: tuple[str, ...] | None
    answered_at: float = 0.0


@dataclass
class Step:
    """What was sent and seen. `blind` are clients that read no further; `settled` says that the
    harness waited until everything sent must have been handled, except by `loose` clients, which
    closed their connection: the server may notice that later. `asks` are the console's lines
    `NAME asks to join from ADDRESS`. `ended` says how the server ended: closed, deleted, killed.
    """

    sent: dict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    heard: dict[str, list[Heard]] = field(default_factory=lambda: defaultdict(list))
    orders: list[Order] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    blind: set[str] = field(default_factory=set)
    loose: set[str] = field(default_factory=set)
    settled: bool = True
    ended: str | None = None


@dataclass
class Difference(Exception):
    """What came is not what the page allows.

    `section` of the page, `who` it is about, `allowed` lines, and what `came` in their place: ""
    if nothing did. `kind` is the same for the same mistake.
    """

    section: str
    who: str
    allowed: list[str]
    came: str
    early: bool = False

    def __str__(self) -> str:
        allowed = " or ".join(self.allowed) or "nothing"
        return f"{self.who}: {allowed} (section {self.section}), but {self.came or 'nothing'} came"

    @property
    def kind(self) -> tuple[str, str, str]:
        """Return what a smaller example must share with this one."""
        first = self.allowed[0] if self.allowed else ""
        return self.section, form(first), form(self.came) + (" early" if self.early else "")


def form(line: str) -> str:
    """Return a line's verb, and the code of an ERR or a BYE."""
    words = line.split(" ")
    return " ".join(words[: 2 if words[0] in ("ERR", "BYE", "END") else 1])


@dataclass(frozen=True, slots=True)
class _Miss:
    """Why an Outcome does not fit: `who` must have heard `expected`, and heard `came`."""

    section: str
    who: str
    expected: Out | str
    came: str | None
    early: bool = False


class _Node:
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

    def copy(self) -> "_Node":
        new = object.__new__(_Node)
        new.__dict__ = self.__dict__ | {
            "sent": dict(self.sent),
            "heard": dict(self.heard),
            "due": dict(self.due),
            "lists": list(self.lists),
        }
        return new

    def next_sent(self, who: str) -> Sent | None:
        place, sent = self.sent.get(who, 0), self.step.sent.get(who, ())
        return sent[place] if place < len(sent) else None

    def next_heard(self, who: str) -> Heard | None:
        lines, place = self.heard.get(who, ((), 0))
        return lines[place] if place < len(lines) else None

    def is_done(self) -> bool:
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
            if place < len(self.step.sent[who]):
                one = self.group.connections.get(who)
                if who not in self.step.loose and not (one and one.standing is Standing.OVER):
                    yield who

    def left(self) -> dict[str, list[Sent]]:
        """Return what clients sent that the server may still handle."""
        return {
            who: self.step.sent[who][place:]
            for who, place in self.sent.items()
            if place < len(self.step.sent[who])
            and getattr(self.group.connections.get(who), "standing", None) is not Standing.OVER
        }

    def mark(self) -> tuple[object, ...]:
        """Return what two nodes share from which the same can be reached."""
        heard = tuple((who, id(lines), place) for who, (lines, place) in self.heard.items())
        group = self.group
        return (
            tuple(self.sent.values()),
            heard,
            self.orders,
            self.asks,
            group.seq,
            tuple(sorted(group.members.items(), key=lambda item: item[0])),
            tuple(group.holds.items()),
            tuple(sorted(group.bans)),
            tuple(group.connections.values()),
        )


@dataclass(frozen=True, slots=True)
class _Move:
    """One thing that the server may do next, with its Outcomes. `uses` is what of the step it uses:
    a client's next Sent, the owner's next order, or nothing. `safe`: to do it now is never wrong.
    """

    outcomes: list[Outcome]
    uses: str = ""  # "sent", "order" or ""
    who: str = ""
    at: float = 0.0
    safe: bool = False


class Explanation:
    """What is known of one server: the `group` as it must be, what clients have sent that may not
    be handled yet, and the events as they were heard.
    """

    def __init__(self, group: Group):
        self.group = group
        self.left: dict[str, list[Sent]] = {}
        self.events: dict[int, str] = {}
        self.refused: dict[str, float] = {}  # since when a REJECTED is known to be due

    def copy(self) -> "Explanation":
        """Return a copy that can be taken further on its own."""
        new = Explanation(self.group)
        new.left, new.events, new.refused = dict(self.left), dict(self.events), dict(self.refused)
        return new

    def explain(self, step: Step) -> None:
        """Explain a step, and go on from there. Raises Difference or Unclear."""
        self.note_events(step)
        for who, sent in self.left.items():
            step.sent[who] = [*sent, *step.sent.get(who, [])]
            if any(one.what == "lost" for one in sent):
                step.blind.add(who)
                step.loose.add(who)
        search = _Search(self.group, step)
        node = search.run()
        if node is None:
            raise search.difference()
        self.group, self.left = node.group.without_the_ended(), node.left()

    def overdue(self, since: float, now: float) -> None:
        """Check that each timer has run out that must have, at the latest.

        Everything sent before `since` was handled then, and nothing was sent since, except by
        clients whose later lines say so. Raises Difference.
        """
        rules = self.group.rules
        for who, one in self.group.connections.items():
            if who in self.left:
                continue
            if one.standing is Standing.REFUSED:
                refused_at = self.refused.setdefault(who, now)
                if now - refused_at - SLACK > rules.reject_after:
                    raise Difference("9.5", who, ["REJECTED refused"], "")
            quiet = now - max(one.heard_at, since) - SLACK
            if one.standing is Standing.STRANGER and not one.joined_at:
                if now - one.since - SLACK > rules.join_within:
                    raise Difference("8", who, ["BYE timeout"], "")
            elif one.standing in (Standing.HERE, Standing.ASKING) and not one.lenient:
                if quiet > rules.idle_after:
                    raise Difference("8", who, ["BYE idle"], "")
                if quiet > rules.ping_after and not one.pinged:
                    raise Difference("8", who, ["PING TOKEN"], "")

    def starts_again(self) -> None:
        """Note that the server was started again."""
        if self.group.ended == "deleted":
            self.events = {}
        self.group, self.left = self.group.starts_again(), {}

    def note_events(self, step: Step) -> None:
        """Check that all heard the same under each number (9.2), and remember it."""
        for who, lines in step.heard.items():
            for heard in lines:
                if heard.line and (match := EVENT.fullmatch(heard.line)):
                    known = self.events.setdefault(int(match[2]), heard.line)
                    if known != heard.line:
                        raise Difference("9.2", who, [known], heard.line)


class _Search:
    def __init__(self, group: Group, step: Step):
        self.step = step
        self.events, self.first_heard = events_of(step)
        self.ends = ends_of(step)
        self.lost_at = {
            who: one.at for who, sent in step.sent.items() for one in sent if one.what == "lost"
        }
        self.has_lists = any(
            one.line == b"WHO" for sent in step.sent.values() for one in sent
        )  # else no earlier list of members is looked at
        self.start = _Node(group, step)
        self.best = self.start.copy()
        self.misses: list[_Miss] = []
        size = sum(map(len, step.sent.values())) + sum(map(len, step.heard.values()))
        self.left = MOST_MOVES + 4 * size

    def run(self) -> _Node | None:
        """Return the first node found that explains the whole step, or None."""
        seen: dict[object, tuple[float, float]] = {}  # and the earliest that it was reached
        stack: list[Iterator[_Node]] = [iter([self.start])]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                continue
            children = self.advance(node)
            if node.is_done():
                return node
            if len(stack) > 1 or children is not None:
                mark = node.mark()
                clock, floor = seen.get(mark, (LATE, LATE))
                if clock <= node.clock and floor <= node.floor:
                    continue
                seen[mark] = node.clock, node.floor
            if children is not None:
                stack.append(children)
        return None

    def advance(self, node: _Node) -> Iterator[_Node] | None:
        """Do all that is safe, in place. Then return the choices, or None if there is none."""
        while not node.is_done():
            self.misses = []
            for move in self.moves(node):
                if move.safe and self.apply(node, move, move.outcomes[0]):
                    break
            else:
                break
        if node.is_done():
            return None
        self.keep(node)
        return self.children(node)

    def keep(self, node: _Node) -> None:
        """Remember the node that explains most."""
        if node.explained > self.best.explained:
            self.best = node.copy()

    def difference(self) -> Difference:
        """Return what does not fit where most was explained."""
        misses: list[_Miss] = []
        for move in self.moves(self.best):
            for outcome in move.outcomes:
                self.misses = []
                if not self.apply(self.best.copy(), move, outcome):
                    misses += self.misses
        return difference(self.best, misses)

    def children(self, node: _Node) -> Iterator[_Node]:
        """Yield what may follow: first what was seen first, for that is the likeliest."""
        for move in sorted(self.moves(node), key=lambda move: self.seen_at(node, move)):
            for outcome in move.outcomes:
                self.left -= 1
                if self.left < 0:
                    raise Unclear(str(self.difference()))
                child = node.copy()
                if self.apply(child, move, outcome):
                    yield child

    def seen_at(self, node: _Node, move: _Move) -> tuple[float, int]:
        """Return when the effect of a move was seen first, as far as is known.

        What nobody saw comes last. It stays open as long as possible, for a later step may tell.
        """
        if move.uses == "order":
            return self.step.orders[node.orders].answered_at, 0
        heard = [node.next_heard(who) for outcome in move.outcomes for who in outcome.to]
        if seen := [one.at for one in heard if one]:
            return min(seen), 0
        sent = node.next_sent(move.who)
        is_last = sent is not None and sent.what == "lost"
        return LATE, (0 if is_last else 2) if move.uses == "lost" else 1

    # -- What may be next

    def moves(self, node: _Node) -> Iterator[_Move]:
        """Yield what the server may do next, the likeliest first."""
        group = node.group
        expected = self.events.get(group.seq + 1)
        # The number in END HISTORY says when a HISTORY was handled: it cannot wait.
        first = [who for who in self.ends.get(group.seq, ()) if who in group.connections]
        first += self.sources(node, *expected) if expected else []
        done = set(first)
        for who in first:
            yield from self.moves_of(node, who)
        yield from self.orders(node)
        for who in list(node.sent):
            if who not in done:
                yield from self.moves_of(node, who)
        for who, one in group.connections.items():
            if one.standing is not Standing.OVER and who not in done and who not in node.sent:
                yield from self.moves_of(node, who)
        if self.step.ended == "killed" and group.ended is None:
            yield _Move([group.killed()])
        if self.step.ended == "closed" and group.ended is None:
            yield _Move([group.ends("closed")])

    def sources(self, node: _Node, verb: str, rest: str) -> list[str]:
        """Return the clients that may have caused this event."""
        key = fold(rest.split(" ")[0])
        if verb == "IN":
            return [
                who
                for who, one in node.group.connections.items()
                if one.key == key and one.standing in (Standing.CHECKED, Standing.ASKING)
            ]
        return [node.group.here[key]] if key in node.group.here else []

    def moves_of(self, node: _Node, who: str) -> Iterator[_Move]:
        """Yield what the server may do next with this client."""
        group, sent = node.group, node.next_sent(who)
        one = group.connections.get(who)
        if one is None:
            if sent and sent.what == "connects":
                outcomes = group.connects(who, self.step.addresses.get(who, ""), sent.at)
                yield _Move(outcomes, "sent", who, sent.at, is_safe(group, outcomes))
            return
        if one.standing is Standing.OVER:
            return
        if one.standing is Standing.CHECKED:
            yield _Move(group.checked(who), who=who)
        elif sent and sent.what == "line":
            outcomes = group.request(who, sent.line, sent.at)
            yield _Move(outcomes, "sent", who, sent.at, is_safe(group, outcomes))
        elif sent and sent.what == "eof":
            yield _Move(group.eof(who), "sent", who, sent.at)
        if sent and who in self.lost_at:  # the server notices it, and the rest is lost
            outcomes = group.lost(who)
            safe = sent.what == "lost" and one.standing is Standing.STRANGER
            yield _Move(outcomes, "lost", who, self.lost_at[who], safe)
        if one.standing is Standing.REFUSED:
            yield _Move(group.rejects(who), who=who)
        heard = node.next_heard(who)
        if heard and heard.line and heard.line.startswith(("PING ", "BYE idle", "BYE timeout")):
            yield _Move(group.times_out(who), who=who)

    def orders(self, node: _Node) -> Iterator[_Move]:
        if node.orders < len(self.step.orders):
            order = self.step.orders[node.orders]
            yield _Move(node.group.order(order.line), "order", "owner", order.at)

    # -- Whether it fits

    def apply(self, node: _Node, move: _Move, outcome: Outcome) -> bool:
        """Let the outcome happen in this node if it fits what was seen; else note the miss."""
        # What was sent after somebody heard an event is handled after that event.
        if self.first_heard.get(node.group.seq + 1, LATE) < move.at:
            return False
        # What a client heard before it sent this was on its way before, too.
        waiting = node.next_heard(move.who) if move.uses == "sent" else None
        if waiting and waiting.at < move.at:
            self.miss(outcome, move.who, "another line first", waiting.line)
            return False
        # What touches one connection alone has no other place in the common order.
        local = is_local(node.group, outcome)
        happens = outcome.group.seq > node.group.seq
        clock = move.at if local else max(node.clock, move.at, node.floor if happens else 0.0)
        asks = node.asks
        if outcome.asks is not None:
            place = next(
                (n for n, one in enumerate(asks) if same_but_address(one, outcome.asks)), -1
            )
            if place < 0:
                self.miss(outcome, "owner", outcome.asks, None)
                return False
            asks = asks[:place] + asks[place + 1 :]
        if move.uses == "order":
            order = self.step.orders[node.orders]
            if order.answers and order.answered_at < clock:
                return False
            if not answers_fit(order.answers, outcome.answers):
                came = None if order.answers is None else " | ".join(order.answers)
                self.miss(outcome, "owner", " | ".join(outcome.answers or ()), came)
                return False
        heard, cut, due, explained = {}, node.cut, node.due, 0
        one = node.group.connections.get(move.who)
        answered = False  # a member received a line that shows where among the events it was
        # The client that asked comes first: if nothing fits, its own answer says most.
        for who in sorted(outcome.to, key=lambda who: who != move.who):
            outs = outcome.to[who]
            lines, place = node.heard.get(who, ([], 0))
            for out in outs:
                fitted = self.fit(node, who, out, lines, place, outcome, clock)
                if fitted is None:
                    if who in cut and not isinstance(out, End):
                        continue
                    return False
                answered |= one is not None and one.standing is Standing.HERE and place < len(lines)
                lines, place, pending, was_cut = fitted
                explained += 1
                if pending is not None:
                    due = {**due, who: pending}
                if was_cut:
                    cut = cut | {who}
            heard[who] = lines, place
        changed = outcome.group.members is not node.group.members or (
            outcome.group.here is not node.group.here
        )
        if changed and self.has_lists:
            node.lists.append((clock, node.group.list_of_members().lines))
        node.heard.update(heard)
        node.cut, node.asks, node.group = cut, asks, outcome.group
        if not local:
            node.clock = clock
        if happens:
            node.floor = 0.0
        elif local and answered:
            node.floor = max(node.floor, move.at)
        node.due = dict(due)
        node.explained += explained + bool(move.uses)
        if move.uses == "order":
            node.orders += 1
        elif move.uses == "sent":
            node.sent[move.who] = node.sent.get(move.who, 0) + 1
        elif move.uses == "lost":
            node.sent[move.who] = len(self.step.sent[move.who])
        return not node.due or self.lists_fit(node, outcome)

    def fit(
        self,
        node: _Node,
        who: str,
        out: Out,
        lines: list[Heard],
        place: int,
        outcome: Outcome,
        clock: float,
    ) -> tuple[list[Heard], int, tuple[frozenset[str], int] | None, bool] | None:
        """Return what is left of a client's lines after `out`; None if `out` is not next."""
        if place >= len(lines):
            if who in self.step.blind:
                return lines, place, None, False
            self.miss(outcome, who, out, None)
            return None
        if isinstance(out, Members | Range):
            found = self.take(node, who, out, lines, place, clock)
            if found is None:
                self.miss(outcome, who, out, lines[place].line)
            return found
        item = lines[place]
        if not is_line(out, item.line) or item.at < clock:
            self.miss(outcome, who, out, item.line)
            return None
        if item.at < outcome.not_before - EARLY and not isinstance(out, End | Event):
            self.miss(outcome, who, out, item.line, early=True)
            return None
        return lines, place + 1, None, False

    def take(
        self,
        node: _Node,
        who: str,
        out: Members | Range,
        lines: list[Heard],
        place: int,
        at: float,
    ) -> tuple[list[Heard], int, tuple[frozenset[str], int] | None, bool] | None:
        """Take an answer of several lines out of those heard; live events between them stay."""
        newest = out.newest if isinstance(out, Range) else 0
        if lines[place].at < at:
            return None
        end = "END WHO" if isinstance(out, Members) else f"END HISTORY {newest}"
        expected = iter(range(out.since + 1, newest + 1)) if isinstance(out, Range) else iter(())
        listed: list[str] = []
        live: list[Heard] = []
        for number in range(place, len(lines)):
            line = lines[number].line
            event = EVENT.fullmatch(line) if line else None
            if line == end:
                rest = live + lines[number + 1 :]
                if isinstance(out, Range):
                    missing = list(expected)
                    # The live events that it lacks were the answer: they must come again, live.
                    again = [EVENT.fullmatch(one.line or "") for one in rest[: len(missing)]]
                    if [int(one[2]) if one else 0 for one in again] != missing:
                        return None
                    return rest[len(missing) :], 0, None, False
                came, whole = frozenset(listed), len(set(listed)) == len(listed)
                earlier = [one for until, one in node.lists if until >= at]
                if whole and (came == out.lines or came in earlier):
                    return rest, 0, None, False
                return (rest, 0, (came, len(live)), False) if whole and live else None
            if line is None or line.startswith("BYE "):
                # A BYE that the client did not ask for may cut the answer short (8).
                cut = line is None or line[4:] in UNASKED_BYES
                return (live + lines[number:], 0, None, True) if cut else None
            if event and isinstance(out, Range) and int(event[2]) <= newest:
                number_of = int(event[2])
                known = node.group.unheard.get(number_of, (event[1], event[3]))
                if next(expected, None) != number_of or known != (event[1], event[3]):
                    return None
            elif event or line.startswith("PING "):
                live.append(lines[number])
            elif isinstance(out, Members) and line.startswith("MEMBER "):
                listed.append(line)
            else:
                return None
        return (live, 0, None, True) if who in self.step.blind else None

    def lists_fit(self, node: _Node, outcome: Outcome) -> bool:
        """A list of WHO must be true at one moment between the request and END WHO (6)."""
        now = node.group.list_of_members().lines
        for who, (listed, events) in list(node.due.items()):
            if listed == now:
                del node.due[who]
                continue
            heard = any(isinstance(out, Event) for out in outcome.to.get(who, ()))
            if heard:
                if events == 1:
                    self.miss(outcome, who, Members(now), " | ".join(sorted(listed)))
                    return False
                node.due[who] = listed, events - 1
        return True

    def miss(
        self, outcome: Outcome, who: str, expected: Out | str, came: str | None, early: bool = False
    ) -> None:
        self.misses.append(_Miss(outcome.section, who, expected, came, early))


def is_line(out: Out, line: str | None) -> bool:
    """Return whether this line is what `out` describes; None is the end of the connection."""
    if line is None or isinstance(out, End):
        return line is None and isinstance(out, End)
    match out:
        case Line(text):
            return line == text
        case Event(seq, verb, rest):
            found = EVENT.fullmatch(line)
            return found is not None and (found[1], int(found[2]), found[3]) == (verb, seq, rest)
        case Err(code):
            return line.startswith(f"ERR {code} ") and len(line) > len(code) + 5
        case Ping():
            return re.fullmatch(r"PING [!-~]{1,64}", line) is not None
    return False


def answers_fit(came: tuple[str, ...] | None, allowed: tuple[str, ...] | None) -> bool:
    """Return whether the console's answer is an allowed one; its lines may be in any order."""
    if came is None or allowed is None:
        return came is allowed
    if allowed[0] == "# WORDS":
        return came[-1] == OK and all(line.startswith("# ") for line in came[:-1])
    last = (
        came[-1].startswith("error: ") if allowed[-1] == "error: WORDS" else came[-1] == allowed[-1]
    )
    lines = sorted(came[:-1]), sorted(allowed[:-1])
    return last and len(came) == len(allowed) and all(map(same_but_address, *lines))


def same_but_address(came: str, allowed: str) -> bool:
    """Return whether two console lines are the same; the model may not know an address."""
    return came == allowed or (allowed.endswith(" from ") and came.startswith(allowed))


def is_local(group: Group, outcome: Outcome) -> bool:
    """Return whether this changes nothing but one connection."""
    new = outcome.group
    return (
        new.seq == group.seq
        and new.members is group.members
        and new.here is group.here
        and new.holds is group.holds
        and new.bans is group.bans
        and new.ended is group.ended
        and outcome.asks is None
        and outcome.answers is None
    )


def is_safe(group: Group, outcomes: list[Outcome]) -> bool:
    """Return whether this may happen as soon as it fits: it answers one client alone, and that
    client's own lines show when; or it is a message, which has its number.
    """
    if len(outcomes) != 1:
        return False
    outs = [out for to in outcomes[0].to.values() for out in to]
    if is_local(group, outcomes[0]):  # but what comes of a JOIN depends on what others do
        return not any(isinstance(out, Members) or out == Line("PENDING") for out in outs)
    return bool(outs) and isinstance(outs[0], Event) and outs[0].verb == "MSG"


def events_of(step: Step) -> tuple[dict[int, tuple[str, str]], dict[int, float]]:
    """Return the events that were heard in a step, (verb, rest), and when each was heard first."""
    events: dict[int, tuple[str, str]] = {}
    first: dict[int, float] = {}
    for lines in step.heard.values():
        for heard in lines:
            if heard.line and (match := EVENT.fullmatch(heard.line)):
                number = int(match[2])
                events[number] = match[1], match[3]
                first[number] = min(heard.at, first.get(number, LATE))
    return events, first


def ends_of(step: Step) -> dict[int, list[str]]:
    """Return which clients heard END HISTORY with each number."""
    found: dict[int, list[str]] = defaultdict(list)
    for who, lines in step.heard.items():
        for heard in lines:
            if heard.line and heard.line.startswith("END HISTORY "):
                number = heard.line[12:]
                if number.isascii() and number.isdigit() and len(number) <= 16:
                    found[int(number)].append(who)
    return found


def words_of(out: Out | str) -> str:
    """Return what must come, in the notation of the page."""
    match out:
        case str():
            return out
        case Line(text):
            return text
        case Err(code):
            return f"ERR {code} WORDS"
        case Event(seq, verb, rest):
            return f"{verb} {seq} TIME {rest}"
        case Members(lines):
            return ", ".join([*sorted(lines), "END WHO"])
        case Range(since, newest):
            return f"the events after {since}, END HISTORY {newest}"
        case Ping():
            return "PING TOKEN"
    return "the end of the connection"


def difference(node: _Node, misses: Iterable[_Miss]) -> Difference:
    """Return the Difference of the node that explains most."""
    misses = list(misses)
    unexplained = {
        who: lines[place] for who, (lines, place) in node.heard.items() if place < len(lines)
    }
    about = [miss for miss in misses if miss.who in unexplained] or misses
    if about:
        who, came = about[0].who, about[0].came
        same = [miss for miss in about if miss.who == who and miss.came == came]
        allowed = list(dict.fromkeys(words_of(miss.expected) for miss in same))
        return Difference(
            same[0].section, who, allowed, came or "", early=any(miss.early for miss in same)
        )
    if unexplained:
        who, heard = min(unexplained.items(), key=lambda item: item[1].at)
        return Difference("9.2", who, [], heard.line or "the end of the connection")
    if node.asks:
        return Difference("9.5", "owner", [], node.asks[0])
    if node.due:
        who, (listed, _) = next(iter(node.due.items()))
        now = node.group.list_of_members()
        return Difference("6", who, [words_of(now)], ", ".join(sorted(listed)))
    who = next(node.owed(), "")
    return Difference("9.1", who, ["an answer"], "")
