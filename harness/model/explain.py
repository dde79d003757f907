"""What must be true of a server after all that was sent and seen: a chain of explained steps."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from harness.model.group import Group, Standing
from harness.model.lines import Difference
from harness.model.search import Search, Unclear
from harness.model.steps import Sent, Step, event_of

SLACK = 1.2  # seconds by which a timer may be late: servers look at some of them once a second
MOST_LINKS = 80  # of the chain; what was explained before is not called in question


@dataclass(frozen=True)
class State:
    """What may be true of a server: the `group`, what clients have sent that may not be handled
    yet, and since when a REJECTED is known to be due.
    """

    group: Group
    left: Mapping[str, list[Sent]] = field(default_factory=dict)
    refused: Mapping[str, float] = field(default_factory=dict)

    def mark(self) -> object:
        """Return what two equal states share."""
        left = tuple((who, len(sent)) for who, sent in self.left.items())
        return self.group.mark(), left, tuple(self.refused.items())

    def after(self, step: Step) -> Iterator["State"]:
        """Yield each state in which this step may have ended. Raises Difference if there is none,
        or Unclear.
        """
        search = Search(self.group, step.with_left(self.left))
        found = False
        for node in search.run():
            found = True
            yield State(node.group.without_the_ended(), node.left(), self.refused)
        if not found:
            raise search.difference()

    def in_time(self, since: float, now: float) -> Iterator["State"]:
        """Yield this state if each timer has run out that must have. Raises Difference.

        Everything sent before `since` was handled then, and nothing was sent since, except by
        clients whose later lines say so.
        """
        rules, refused = self.group.rules, dict(self.refused)
        for who, one in self.group.connections.items():
            if who in self.left:
                continue
            refused_at = refused.setdefault(who, now) if one.standing is Standing.REFUSED else now
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
        yield State(self.group, self.left, refused)

    def restarted(self, admit: str) -> Iterator["State"]:
        """Yield the state after the server was started again, with this --admit."""
        yield State(self.group.starts_again(admit))


class Link:
    """One link of the chain of states: `follow` yields the states that may come after another one,
    and `state` is the one that holds so far. `tried` are marks of all that were looked at.
    """

    def __init__(self, follow: Callable[[State], Iterator[State]]):
        self.follow = follow
        self.tried: set[object] = set()
        self.states: Iterator[State] | None = None
        self.state: State | None = None

    def kept(self) -> "Link":
        """Return a link that goes on from here, whatever this one tries meanwhile."""
        new = Link(self.follow)
        new.tried, new.state = set(self.tried), self.state
        return new

    def next(self, before: State) -> bool:
        """Go on to the next state after `before` that was not tried yet, if there is one."""
        if self.states is None:
            self.states = self.follow(before)
        for state in self.states:
            if (mark := state.mark()) not in self.tried:
                self.tried.add(mark)
                self.state = state
                return True
        self.states = None
        return False


class Explanation:
    """What is known of one server: a chain of states, each of which explains a step.

    What a client heard rarely leaves a doubt about the state. Where it does, the likeliest is
    taken; if that explains no later step, the next one is.
    """

    def __init__(self, group: Group):
        self.first = State(group)
        self.links: list[Link] = []
        self.events: dict[int, str] = {}  # as they were heard

    @property
    def state(self) -> State:
        """The likeliest state."""
        return self.links[-1].state or self.first if self.links else self.first

    @property
    def group(self) -> Group:
        """The likeliest state of the group."""
        return self.state.group

    def explain(self, step: Step) -> None:
        """Explain a step. Raises Difference or Unclear; then nothing has changed."""
        self.note_events(step)
        self.extend(lambda state: state.after(step))

    def in_time(self, since: float, now: float) -> None:
        """Check that each timer has run out that must have. Raises Difference or Unclear."""
        self.extend(lambda state: state.in_time(since, now))

    def starts_again(self, admit: str) -> None:
        """Note that the server was started again, with this --admit."""
        if self.group.ended == "deleted":
            self.events = {}
        self.extend(lambda state: state.restarted(admit))

    def extend(self, follow: Callable[[State], Iterator[State]]) -> None:
        """Add a link; where no state follows the last one, take another one of those before."""
        kept = [link.kept() for link in self.links]
        differences: list[Difference] = []
        self.links.append(Link(follow))
        place = last = len(self.links) - 1
        try:
            while place <= last:
                before = self.links[place - 1].state if place else None
                try:
                    found = self.links[place].next(before or self.first)
                except Difference as difference:
                    self.links[place].states = None
                    differences.append(difference)
                    found = False
                place += 1 if found else -1
                if place < 0:
                    # The last is of the same step as the first, or of one before.
                    raise differences[0]
        except (Difference, Unclear):
            self.links = kept
            raise
        if len(self.links) > MOST_LINKS:
            self.first = self.links.pop(0).state or self.first

    def note_events(self, step: Step) -> None:
        """Check that all heard the same under each number (9.2), and remember it."""
        for who, lines in step.heard.items():
            for heard in lines:
                if heard.line and (event := event_of(heard.line)):
                    known = self.events.setdefault(event.seq, heard.line)
                    if known != heard.line:
                        raise Difference("9.2", who, [known], heard.line)
