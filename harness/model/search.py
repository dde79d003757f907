"""Is there an order of these requests that explains what was heard? A search over the model.

The numbers of the events give most of that order, so a long record is read nearly straight
through; the search goes back only where the page leaves a choice, or where requests cross. The
order of handling agrees with the clock: nothing is heard before it was asked for.
"""

from collections.abc import Iterator

from harness.model.group import Event, Group, Line, Members, Outcome, Rules, Standing, fold
from harness.model.lines import Difference, words_of
from harness.model.node import LATE, Misfit, Move, Node, is_local
from harness.model.steps import Step

MOST_MOVES = 2_000  # beyond what one straight reading needs: then the search is given up


class Unclear(Exception):
    """The search was given up: neither an explanation was found nor its absence shown."""


class Search:
    """The search for the orders that explain one step, from one state of the group."""

    def __init__(self, group: Group, step: Step):
        self.step = step
        self.start = self.best = Node(group, step)
        size = sum(map(len, step.sent.values())) + sum(map(len, step.heard.values()))
        self.moves_left = MOST_MOVES + 4 * size

    def run(self) -> Iterator[Node]:
        """Yield the nodes that explain the whole step, the likeliest first. Raises Unclear."""
        seen: dict[object, tuple[float, float]] = {}  # and the earliest that it was reached
        stack: list[Iterator[Node]] = [iter([self.start])]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                continue
            node = self.straight_on(node)
            if node.is_done():  # what else could happen unseen may still happen in the next step
                yield node
                continue
            if node.explained > self.best.explained:
                self.best = node
            mark = node.mark()
            clock, floor = seen.get(mark, (LATE, LATE))
            if node.clock < clock or node.floor < floor:
                seen[mark] = node.clock, node.floor
                stack.append(self.children(node))

    def straight_on(self, node: Node) -> Node:
        """Return the node after all that is safe."""
        while not node.is_done():
            for move in self.moves(node):
                if move.safe:
                    try:
                        node = node.after(move, move.outcomes[0])
                        break
                    except Misfit:
                        pass
            else:
                break
        return node

    def children(self, node: Node) -> Iterator[Node]:
        """Yield what may follow: first what was seen first, for that is the likeliest."""
        for move in sorted(self.moves(node), key=lambda move: self.seen_at(node, move)):
            for outcome in move.outcomes:
                self.moves_left -= 1
                if self.moves_left < 0:
                    raise Unclear(str(self.difference()))
                try:
                    yield node.after(move, outcome)
                except Misfit:
                    pass

    def seen_at(self, node: Node, move: Move) -> tuple[float, int]:
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

    def moves(self, node: Node) -> Iterator[Move]:
        """Yield what the server may do next, the likeliest first."""
        group, step = node.group, self.step
        expected = step.events.get(group.seq + 1)
        # The number in END HISTORY says when a HISTORY was handled: it cannot wait.
        first = [who for who in step.ends_of_history.get(group.seq, ()) if who in group.connections]
        first += self.sources(node, *expected[:2]) if expected else []
        done = set(first)
        for who in first:
            yield from self.moves_of(node, who)
        if node.orders < len(step.orders):
            order = step.orders[node.orders]
            yield Move(group.order(order.line), "order", "owner", order.at)
        for who in list(node.sent):
            if who not in done:
                yield from self.moves_of(node, who)
        for who in group.connections:
            if who not in done and who not in node.sent:
                yield from self.moves_of(node, who)
        if step.ended == "killed" and group.ended is None:
            yield Move([group.killed()])
        if step.ended == "closed" and group.ended is None:
            yield Move([group.ends("closed")])

    def sources(self, node: Node, verb: str, rest: str) -> list[str]:
        """Return the clients that may have caused this event."""
        key = fold(rest.split(" ")[0])
        if verb == "IN":
            return [
                who
                for who, one in node.group.connections.items()
                if one.key == key and one.standing in (Standing.CHECKED, Standing.ASKING)
            ]
        return [node.group.here[key]] if key in node.group.here else []

    def moves_of(self, node: Node, who: str) -> Iterator[Move]:
        """Yield what the server may do next with this client."""
        group, sent, one = node.group, node.next_sent(who), node.connection(who)
        if one is None:
            if sent and sent.what == "connects":
                outcomes = group.connects(who, self.step.addresses.get(who, ""), sent.at)
                yield Move(outcomes, "sent", who, sent.at, self.is_safe(node, who, outcomes))
            return
        if one.standing is Standing.OVER:
            return
        if one.standing is Standing.CHECKED:
            yield Move(group.checked(who), who=who)
        elif sent and sent.what == "line":
            outcomes = group.request(who, sent.line, sent.at)
            yield Move(outcomes, "sent", who, sent.at, self.is_safe(node, who, outcomes))
        elif sent and sent.what == "eof":
            yield Move(group.eof(who), "sent", who, sent.at)
        if sent and who in self.step.lost_at:  # the server notices it, and the rest is lost
            outcomes = group.lost(who)
            safe = sent.what == "lost" and one.standing is Standing.STRANGER
            safe = safe and not changes_room(group, outcomes[0])
            yield Move(outcomes, "lost", who, self.step.lost_at[who], safe)
        if one.standing is Standing.REFUSED:
            yield Move(group.rejects(who), who=who)
        heard = node.next_heard(who)
        if heard and heard.line and heard.line.startswith(("PING ", "BYE idle", "BYE timeout")):
            yield Move(group.times_out(who), who=who)

    def is_safe(self, node: Node, who: str, outcomes: list[Outcome]) -> bool:
        """Return whether this may happen as soon as it fits: it answers one client alone, and that
        client's own lines show when; or it is a message, which has its number.
        """
        if len(outcomes) != 1 or changes_room(node.group, outcomes[0]):
            return False
        outs = [out for to in outcomes[0].to.values() for out in to]
        if is_local(node.group, outcomes[0]):  # but what comes of a JOIN depends on what others do
            return not any(isinstance(out, Members) or out == Line("PENDING") for out in outs)
        # What nobody heard of may be lost with the connection of the client that sent it.
        certain = who not in self.step.lost_at or any(map(node.next_heard, outcomes[0].to))
        sent, order = node.next_sent(who), self.step.orders[node.orders : node.orders + 1]
        if sent and order and order[0].answered_at < sent.at:
            return False  # the owner had an answer before this was sent
        # What somebody heard before this was sent has happened before.
        if sent and any(one and one.at < sent.at for one in map(node.next_heard, node.heard)):
            return False
        return certain and bool(outs) and isinstance(outs[0], Event) and outs[0].verb == "MSG"

    # -- What does not fit

    def difference(self) -> Difference:
        """Return what does not fit where most was explained."""
        misfits: list[Misfit] = []
        for move in self.moves(self.best):
            for outcome in move.outcomes:
                try:
                    self.best.after(move, outcome)
                except Misfit as misfit:
                    misfits += [misfit] if misfit.expected else []
        return difference(self.best, misfits)


def changes_room(group: Group, outcome: Outcome) -> bool:
    """Return whether there is room for more or fewer strangers afterwards, and that may matter."""
    few = group.rules.max_strangers < Rules.max_strangers
    return few and outcome.group.strangers() != group.strangers()


def difference(node: Node, misfits: list[Misfit]) -> Difference:
    """Return the Difference of the node that explains most."""
    unexplained = {
        who: lines[place] for who, (lines, place) in node.heard.items() if place < len(lines)
    }
    if about := [one for one in misfits if one.who in unexplained] or misfits:
        who, came = about[0].who, about[0].came
        same = [one for one in about if one.who == who and one.came == came]
        allowed = list(dict.fromkeys(words_of(one.expected) for one in same))
        early = any(one.early for one in same)
        return Difference(same[0].section, who, allowed, came or "", early)
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
