"""Rules that hold for every conversation, each checked from the record alone.

Each rule is a pure function over entries: it returns None, or raises CheckFailed. The evidence of
an CheckFailed is the shortest slice of the record that shows the problem.

The record cannot show what became of a client's last requests when its connection broke. The
server may have delivered them or not, and the rules accept both.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from harness.driving.messages import Message, joined, msg
from harness.driving.record import CheckFailed, Entry

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
SEQ, NAME, TOKEN = r"[1-9]\d{0,15}", r"[^\W_][\w.\-\u0300-\u036f]{0,31}", r"[!-~]{1,64}"
EVENT = re.compile(rf"(MSG|IN|OUT|RENAMED|LEFT|BANNED|GROUP) ({SEQ}) {TIME} (.+)")
EVENTS = {
    "MSG": rf"{NAME} .+",
    "IN": NAME,
    "OUT": NAME,
    "LEFT": NAME,
    "BANNED": NAME,
    "RENAMED": f"{NAME} {NAME}",
    "GROUP": r"\S(.*\S)?",
}
# Every line that a server may send.
SERVER_LINE = re.compile(
    "|".join(
        [
            r"HELLO grupo/1 \S(.*\S)?",
            "PENDING",
            rf"WELCOME {SEQ} {NAME}",
            "REJECTED refused",
            rf"MEMBER {NAME} (here|away)",
            "END WHO",
            rf"END HISTORY {SEQ}",
            rf"P[IO]NG {TOKEN}",
            r"ERR [a-z0-9-]+ .+",
            r"BYE [a-z]+",
            *(rf"{verb} {SEQ} {TIME} {rest}" for verb, rest in EVENTS.items()),
        ]
    )
)
MOST_LINE = 512  # bytes of a line, its LF included
# The parts of an event or an ERR that a check compares. Any word may be in the place of the time.
EVENT_LINE = re.compile(r"(MSG|IN|OUT|RENAMED|LEFT|BANNED|GROUP) (\d+) (\S+) (.+)")
ERR_LINE = re.compile(r"ERR ([a-z0-9-]+)( .*)?")
OWN_ENDS = {"shuts", "resets", "closes"}


def normalized(lines: Iterable[str]) -> list[str]:
    """Return the lines without the parts that differ from run to run.

    An event gets `n` and `TIME` for its number and time, and an ERR loses its text after the code.
    Other lines, and every Message, stay as they are.
    """
    return [
        line
        if isinstance(line, Message)
        else ERR_LINE.sub(r"ERR \1", EVENT_LINE.sub(r"\1 n TIME \4", line))
        for line in lines
    ]


def seqs(lines: Iterable[str]) -> list[int]:
    """Return the numbers of the events among these lines, in their order."""
    return [int(match[2]) for line in lines if (match := EVENT_LINE.fullmatch(line))]


class Line(NamedTuple):
    """A line that a client sent or heard. `place` is the index of its entry in the record."""

    place: int
    line: str


class Event(NamedTuple):
    """An event that a client heard: `line`, at index `place` of the record, and its parts."""

    place: int
    seq: int
    verb: str
    rest: str
    line: str


class Answer:
    """The answer to one HISTORY: its events, up to the number `newest` of its END HISTORY.

    `asked` and `ended` are the places of the request and of END HISTORY. `newest` and `ended` are
    None while the answer is incomplete.
    """

    def __init__(self, asked: int, since: int):
        self.asked, self.since = asked, since
        self.events: list[Event] = []
        self.newest: int | None = None
        self.ended: int | None = None
        self.ambiguous: list[Event] = []  # those of its events that may as well have been live


class ConnectionHistory:
    """What the client of one connection sent and heard, in order. `who` is its name in the record.

    `torn`, `over` and `own_end` are places in the record, or None: the end of the connection cut a
    line; the server ended the connection; the client did.
    """

    def __init__(self, who: str):
        self.who = who
        self.sent: list[Line] = []
        self.heard: list[Line] = []
        self.live: list[Event] = []  # all events except those that answer a HISTORY
        self.answers: list[Answer] = []
        self.welcome: Line | None = None
        self.bye: Line | None = None
        self.since: int | None = None  # from WELCOME, as is `name`
        self.name: str | None = None
        self.torn: int | None = None
        self.over: int | None = None
        self.own_end: int | None = None
        self.connected = -1  # place
        self.names: set[str] = set()  # folded: each name that its member may have had

    @property
    def ended(self) -> int | None:
        """The place at which either end finished the connection. None: it is still open."""
        places = (self.bye and self.bye.place, self.over, self.own_end)
        return min((place for place in places if place is not None), default=None)

    @property
    def asked_to_end(self) -> bool:
        """Whether the client closed the connection itself, or sent QUIT or LEAVE."""
        return self.own_end is not None or any(
            request.line in ("QUIT", "LEAVE") for request in self.sent
        )

    @cached_property
    def was_refused(self) -> bool:
        """Whether the server answered a request with an ERR other than `name-taken`."""
        return any(
            reply.line.startswith("ERR ") and not reply.line.startswith("ERR name-taken ")
            for reply in self.heard
        )

    @cached_property
    def own_messages(self) -> list[Event]:
        """The live messages whose sender has one of this member's names."""
        return [
            event
            for event in self.live
            if event.verb == "MSG" and fold(event.rest.partition(" ")[0]) in self.names
        ]

    def sends(self, verb: str) -> list[Line]:
        """Return the requests with this verb that the client sent."""
        return [request for request in self.sent if request.line.partition(" ")[0] == verb]


class History:
    """A record, split by connection: `connections` maps a client's name to its ConnectionHistory.

    `stop_began` is the place where a signal or an order began to stop the server, or None.
    """

    def __init__(self, entries: Iterable[Entry]):
        self.entries = list(entries)
        self.connections: dict[str, ConnectionHistory] = {}
        self.stop_began: int | None = None
        unfinished: defaultdict[str, str] = defaultdict(str)
        for place, (_, who, what, text) in enumerate(self.entries):
            if who in ("server", "owner"):
                stops = what in ("signal", "exits") or (
                    what == "types" and text.strip() in ("close", "delete")
                )
                if stops and self.stop_began is None:
                    self.stop_began = place
                continue
            connection = self.connections.setdefault(who, ConnectionHistory(who))
            if what == "connects":
                connection.connected = place
            elif what == "sends":
                *lines, unfinished[who] = (unfinished[who] + text).split("\n")
                connection.sent += [Line(place, line.removesuffix("\r")) for line in lines]
            elif what == "hears":
                connection.heard.append(Line(place, text))
            elif what == "torn":
                connection.torn = place
            elif what in ("ended", "reset"):
                connection.over = place
            elif what in OWN_ENDS and connection.own_end is None:
                connection.own_end = place
        for connection in self.connections.values():
            self.read(connection)

    def read(self, connection: ConnectionHistory) -> None:
        """Sort what the client heard into live events, answers to HISTORY, WELCOME and BYE.

        Two numbers decide whether an event is live or part of an answer: the number in the
        answer's END HISTORY, and the number that is due next in each of the two.
        """
        under_way = answers_due(connection)
        connection.answers = list(under_way)
        next_live = None
        for reply in connection.heard:
            verb = reply.line.partition(" ")[0]
            if match := EVENT.fullmatch(reply.line):
                event = Event(reply.place, int(match[2]), match[1], match[3], reply.line)
                answer = under_way[0] if under_way else None
                if (
                    answer
                    and answer.asked < reply.place
                    and self.is_answer(event, answer, next_live)
                ):
                    answer.events.append(event)
                else:
                    connection.live.append(event)
                    next_live = event.seq + 1
            elif (
                verb == "WELCOME"
                and connection.welcome is None
                and re.fullmatch(rf"WELCOME {SEQ} {NAME}", reply.line)
            ):
                _, since, connection.name = reply.line.split(" ")
                connection.welcome, connection.since = reply, int(since)
                next_live = connection.since + 1
                connection.names.add(fold(connection.name))
            elif verb == "END" and under_way and re.fullmatch(rf"END HISTORY {SEQ}", reply.line):
                answer = under_way.pop(0)
                answer.ended = reply.place
                if claimed := self.claim(connection, answer):
                    next_live = claimed[0].seq
            elif verb == "BYE" and connection.bye is None:
                connection.bye = reply
        connection.names |= names_asked(connection)

    @staticmethod
    def is_answer(event: Event, answer: Answer, next_live: int | None) -> bool:
        """Return whether the event belongs to the answer under way.

        An event that may be either counts as live until END HISTORY decides.
        """
        return event.seq != next_live and (answer.newest is None or event.seq <= answer.newest)

    @staticmethod
    def claim(connection: ConnectionHistory, answer: Answer) -> list[Event]:
        """Move to a complete answer the events that it lacks, if all of them counted as live.

        Those events must then come again as live ones. Returns them; [] if nothing moves.
        """
        first = answer.events[-1].seq + 1 if answer.events else answer.since + 1
        lacking = [
            event
            for event in connection.live
            if event.place > answer.asked and first <= event.seq <= answer.newest
        ]
        if [event.seq for event in lacking] != list(range(first, answer.newest + 1)):
            return []
        if lacking:
            connection.live = [event for event in connection.live if event not in lacking]
            answer.events += lacking
            answer.ambiguous = lacking
        return lacking

    def entry(self, line: Line | Event) -> Entry:
        """Return the entry of one line alone, even if the client sent it together with others."""
        entry = self.entries[line.place]
        if entry.what != "sends":
            return entry
        return Entry(entry.at, entry.who, entry.what, line.line + "\n")

    def slice(self, *parts: Line | Event | int | None) -> list[Entry]:
        """Return the entries of these parts, each once, in the order of the record.

        An int is a place and gives the whole entry there. None is left out.
        """
        chosen = {
            (part, None) if isinstance(part, int) else (part.place, part.line): part
            for part in parts
            if part is not None
        }
        return [
            self.entries[part] if isinstance(part, int) else self.entry(part)
            for _, part in sorted(chosen.items(), key=lambda item: item[0][0])
        ]

    @cached_property
    def events(self) -> list[tuple[ConnectionHistory, Event]]:
        """Every event that a client heard, live or in an answer, in the order of the record."""
        heard = [
            (connection, event)
            for connection in self.connections.values()
            for event in [
                *connection.live,
                *(event for answer in connection.answers for event in answer.events),
            ]
        ]
        return sorted(heard, key=lambda pair: pair[1].place)

    @cached_property
    def first_heard(self) -> list[tuple[int, Event]]:
        """Each event once, as it was heard first: (number, event), in the order of the numbers."""
        first: dict[int, Event] = {}
        for _, event in self.events:
            first.setdefault(event.seq, event)
        return sorted(first.items())

    def gone_before(self, connection: ConnectionHistory) -> ConnectionHistory | None:
        """Return a connection that ended before this one began, or None.

        The kernel may have given its descriptor's number to the new connection.
        """
        return next(
            (
                other
                for other in self.connections.values()
                if other.ended is not None and other.ended < connection.connected
            ),
            None,
        )

    def is_anothers(self, connection: ConnectionHistory, reply: Line) -> bool:
        """Return whether this line can only have been meant for a connection that ended before.

        Nothing that the client had sent asked for it. The client may have connected before the
        other one ended: the server accepts it, and its descriptor gets a number, later.
        """
        verb = reply.line.partition(" ")[0]
        if reply.line in ("BYE quit", "BYE left"):
            own_end = connection.own_end is not None and connection.own_end < reply.place
            return not own_end and not self.has_asked(connection, reply, "QUIT", "LEAVE")
        if event := EVENT.fullmatch(reply.line):
            was_before = connection.since is not None and int(event[2]) <= connection.since
            asked = not was_before and self.has_asked(connection, reply, "JOIN")
        elif verb in ("PENDING", "WELCOME", "REJECTED", "PONG"):
            asked = self.has_asked(connection, reply, ANSWERS[verb])
        else:
            return False
        return not asked and any(
            other.ended is not None and other.ended < reply.place
            for other in self.connections.values()
            if other is not connection
        )

    @staticmethod
    def has_asked(connection: ConnectionHistory, reply: Line, *verbs: str) -> bool:
        """Return whether the client had sent a request with one of these verbs before the reply."""
        return any(
            request.place < reply.place for verb in verbs for request in connection.sends(verb)
        )

    def source(self, event: Event) -> Line | None:
        """Return the request that caused this event; None if the record does not show it."""
        verb, argument = {
            "MSG": ("SAY", event.rest.partition(" ")[2]),
            "IN": ("JOIN", event.rest),
            "LEFT": ("LEAVE", ""),
            "RENAMED": ("NAME", event.rest.partition(" ")[2]),
        }.get(event.verb, (None, None))
        if verb is None:
            return None
        for connection in self.connections.values():
            if fold(event.rest.split(" ")[0]) not in connection.names:
                continue
            for request in connection.sends(verb):
                if request.place >= event.place:
                    continue
                rest = request.line.partition(" ")[2]
                if (request.line.split(" ")[1] if verb == "JOIN" else rest) == argument:
                    return request
        return None


def answers_due(connection: ConnectionHistory) -> list[Answer]:
    """Return an Answer for each HISTORY of this client, with `newest` where END HISTORY came."""
    answers = [
        Answer(request.place, int(request.line[8:]))
        for request in connection.sends("HISTORY")
        if re.fullmatch(r"HISTORY \d{1,16}", request.line)
    ]
    ends = [
        int(reply.line[12:])
        for reply in connection.heard
        if re.fullmatch(rf"END HISTORY {SEQ}", reply.line)
    ]
    for answer, newest in zip(answers, ends, strict=False):
        answer.newest = newest
    return answers


def names_asked(connection: ConnectionHistory) -> set[str]:
    """Return the names, folded, that this client asked for by JOIN and NAME."""
    return {
        fold(request.line.split(" ")[1])
        for verb in ("JOIN", "NAME")
        for request in connection.sends(verb)
        if request.line.count(" ")
    }


def fold(name: str) -> str:
    """Return the form in which two names are compared: their case does not count.

    protocol.md, 9.5, asks for lower case. str.casefold() would make one name of `weiß` and `weiss`.
    """
    return name.lower()


def history_of(entries: "Iterable[Entry] | History") -> History:
    """Return the History of these entries; a History is returned as it is."""
    return entries if isinstance(entries, History) else History(entries)


def heard_wrong(
    history: History,
    connection: ConnectionHistory,
    expected: str,
    reply: Line | Event,
    sentence: str,
    *evidence: Line | Event | None,
) -> CheckFailed:
    """Return the CheckFailed of a client that heard `reply` where `expected` holds.

    `sentence` is an id of the catalogue. The slice holds `evidence` and `reply`.
    """
    return CheckFailed(
        expected,
        msg("{who} received\n{line}", who=connection.who, line=reply.line),
        sentence,
        history.slice(*evidence, reply),
    )


# -- Lines ----------------------------------------------------------------------------------------


def lines_are_whole(entries: "Iterable[Entry] | History") -> None:
    """Check that each line is one that a server may send: none is torn, and no two are mixed."""
    history = history_of(entries)
    for connection in history.connections.values():
        for reply in connection.heard:
            if reply.line and (
                not SERVER_LINE.fullmatch(reply.line)
                or len(reply.line.encode("utf-8", "surrogateescape")) >= MOST_LINE
            ):
                expected = msg("whole lines, each as the protocol defines it")
                raise heard_wrong(history, connection, expected, reply, "torn")
        if connection.torn is not None and history.stop_began is None:
            raise CheckFailed(
                msg("whole lines up to the end"),
                msg(
                    "{who}'s connection ended inside a line:\n{text}",
                    who=connection.who,
                    text=history.entries[connection.torn].text,
                ),
                "torn" if connection.asked_to_end else "put-out",
                history.slice(connection.torn, connection.over),
            )


def each_is_greeted_once(entries: "Iterable[Entry] | History") -> None:
    """Check that HELLO is the first line that each client hears, and comes only once.

    A client may hear `BYE full` in its place.
    """
    history = history_of(entries)
    for connection in history.connections.values():
        for number, reply in enumerate(reply for reply in connection.heard if reply.line):
            is_hello = reply.line.startswith("HELLO ")
            if is_hello == (number == 0) or (number, reply.line) == (0, "BYE full"):
                continue
            reused = history.is_anothers(connection, reply)
            first = "descriptor-reused" if reused else "not-greeted"
            raise CheckFailed(
                msg("HELLO once for {who}, as the first line", who=connection.who),
                msg(
                    "line {number} that {who} received is\n{line}",
                    number=number + 1,
                    who=connection.who,
                    line=reply.line,
                ),
                "greeted-twice" if number else first,
                history.slice(connection.heard[0], reply),
            )


# The verb of the request that each line answers.
ANSWERS = dict(
    pair.split("=")
    for pair in (
        "PENDING=JOIN",
        "WELCOME=JOIN",
        "REJECTED=JOIN",
        "END WHO=WHO",
        "END HISTORY=HISTORY",
        "PONG=PING",
    )
)


def answers_are_ones_own(entries: "Iterable[Entry] | History") -> None:
    """Check that each client gets only answers to its own requests, and PONGs in PING order."""
    history = history_of(entries)
    pings = {
        request.line[5:]: (connection.who, request)
        for connection in history.connections.values()
        for request in connection.sends("PING")
    }
    for connection in history.connections.values():
        requests = {verb: connection.sends(verb) for verb in set(ANSWERS.values())}
        answered = Counter()
        for reply in connection.heard:
            verb, _, rest = reply.line.partition(" ")
            if verb == "END":
                verb = " ".join(reply.line.split(" ")[:2])
            if verb not in ANSWERS:
                continue
            asked, number = requests[ANSWERS[verb]], answered[verb]
            if verb == "PONG":  # a PING that got an ERR has no PONG
                while number < len(asked) and asked[number].line[5:] != rest:
                    number += 1
            answered[verb] = number + 1
            if number >= len(asked) or asked[number].place > reply.place:
                ping = pings.get(rest) if verb == "PONG" else None
                raise wrong_answer(history, connection, reply, ping)


def wrong_answer(
    history: History, connection: ConnectionHistory, reply: Line, ping: tuple[str, Line] | None
) -> CheckFailed:
    """Return the CheckFailed of an answer that this client did not ask for.

    `ping` is the PING that a PONG answers, with the name of the client that sent it.
    """
    asker, request = ping or (None, None)
    earlier = [
        old
        for old in connection.heard
        if old.line == reply.line and old.place < reply.place and old.line.startswith("PONG ")
    ][:1]
    if earlier:
        notes = [msg("which was answered before")]
    elif asker is None:
        notes = []
    elif asker == connection.who:
        notes = [msg("after the answer to a later PING")]
    else:
        notes = [msg("which is the answer to {who}", who=asker)]
    return CheckFailed(
        msg("each answer to {who}'s own requests, once and in their order", who=connection.who),
        msg("{who} received\n{lines}", who=connection.who, lines=[reply.line, *notes]),
        "answer-of-another",
        history.slice(*(earlier or [request]), reply),
    )


# -- Events ---------------------------------------------------------------------------------------


def only_members_hear(entries: "Iterable[Entry] | History") -> None:
    """Check that a client hears events only while it is a member.

    None comes before its WELCOME, and its own IN is the first. Nothing comes after its BYE, and
    only BYE after its own LEFT or BANNED.
    """
    history = history_of(entries)
    connections = history.connections.values()
    replaced = any(other.bye and other.bye.line == "BYE replaced" for other in connections)
    for connection in connections:
        who, welcome, bye = connection.who, connection.welcome, connection.bye
        for event in connection.live:
            if welcome is None or event.place < welcome.place:
                is_own = event.verb == "IN" and fold(event.rest) in connection.names
                expected = msg("no event for {who} before WELCOME", who=who)
                sentence = "in-before-welcome" if is_own else "before-welcome"
                if history.is_anothers(connection, event) and is_alone(history, connection, event):
                    sentence = "descriptor-reused"
                raise heard_wrong(history, connection, expected, event, sentence)
        for reply in connection.heard if bye else ():
            if reply.place > bye.place and reply.line:
                expected = msg("nothing for {who} after {line}", who=who, line=bye.line)
                is_anothers = history.is_anothers(connection, bye)
                sentence = "descriptor-reused" if is_anothers else "after-bye"
                raise heard_wrong(history, connection, expected, reply, sentence, bye)
        if connection.live and not replaced:
            first = connection.live[0]
            if (first.verb, fold(first.rest)) != ("IN", fold(connection.name)):
                expected = msg(
                    "{who}'s own IN as the first event after {line}", who=who, line=welcome.line
                )
                raise heard_wrong(history, connection, expected, first, "not-ones-own-in", welcome)
        own_end_is_the_last(history, connection)


def is_alone(history: History, connection: ConnectionHistory, event: Event) -> bool:
    """Return whether others who were greeted and not yet welcomed exist, and none heard the event.

    A server that sends its events to every connection reaches them all.
    """
    bystanders = [
        other
        for other in history.connections.values()
        if other is not connection
        and other.heard
        and other.heard[0].place < event.place
        and not (other.welcome and other.welcome.place < event.place)
        and not (other.ended and other.ended < event.place)
    ]
    heard = {reply.line for other in bystanders for reply in other.heard}
    return bool(bystanders) and event.line not in heard


def own_end_is_the_last(history: History, connection: ConnectionHistory) -> None:
    """Check that no event follows the member's own LEFT or BANNED, and that its own OUT is none."""
    name, end = connection.name, None
    for event in connection.live:
        if end:
            expected = msg("no event for {who} after {line}", who=connection.who, line=end.line)
            raise heard_wrong(history, connection, expected, event, "after-the-end", end)
        if event.verb == "RENAMED" and fold(event.rest.split(" ")[0]) == fold(name):
            name = event.rest.split(" ")[1]
        elif event.verb in ("LEFT", "BANNED") and fold(event.rest) == fold(name):
            end = event
        elif event.verb == "OUT" and fold(event.rest) == fold(name):
            expected = msg("no OUT of {name} for {who} itself", name=name, who=connection.who)
            raise heard_wrong(history, connection, expected, event, "ones-own-out")


def one_event_has_one_number(entries: "Iterable[Entry] | History") -> None:
    """Check that event N is the same line for every client, live or in an answer to HISTORY."""
    history = history_of(entries)
    first: dict[int, tuple[ConnectionHistory, Event]] = {}
    for connection, event in history.events:
        other, known = first.setdefault(event.seq, (connection, event))
        if known.line != event.line:
            raise CheckFailed(
                msg("one event {seq}, the same line for all", seq=event.seq),
                msg(
                    "{who} received\n{line}\nand {who2} received\n{line2}",
                    who=other.who,
                    line=known.line,
                    who2=connection.who,
                    line2=event.line,
                ),
                "one-number-twice",
                history.slice(known, event),
            )


def a_history_ends_at_the_newest(entries: "Iterable[Entry] | History") -> None:
    """Check that END HISTORY names an event that has happened: its line is in the answer."""
    history = history_of(entries)
    first: dict[int, int] = {}  # number of an event: the place where a client heard it first
    for connection in history.connections.values():
        for reply in connection.heard:
            if match := EVENT.fullmatch(reply.line):
                first[int(match[2])] = min(reply.place, first.get(int(match[2]), reply.place))
    for connection in history.connections.values():
        for answer in connection.answers:
            if (
                answer.ended is not None
                and answer.newest > answer.since
                and first.get(answer.newest, answer.ended) >= answer.ended
            ):
                end = Line(answer.ended, history.entries[answer.ended].text)
                raise CheckFailed(
                    msg("the number of the newest event in {line}", line=end.line),
                    msg("no client had received event {newest} by then", newest=answer.newest),
                    "end-of-history",
                    history.slice(answer.asked, end),
                )


def events_come_in_order(entries: "Iterable[Entry] | History") -> None:
    """Check that s+1, s+2, s+3 and so on follow WELCOME s: none missing, repeated or early."""
    history = history_of(entries)
    for connection in history.connections.values():
        if connection.welcome is None:
            continue
        expected, heard = connection.since + 1, {}
        for event in connection.live:
            if event.seq < expected:
                raise event_again(history, connection, expected, heard.get(event.seq), event)
            if event.seq > expected:
                raise event_skipped(history, connection, expected, heard, event)
            heard[event.seq] = event
            expected += 1


def event_again(
    history: History,
    connection: ConnectionHistory,
    expected: int,
    before: Event | None,
    event: Event,
) -> CheckFailed:
    """Return the CheckFailed of an event with a number that is past.

    `before` is the same event as it came first; None if it came before WELCOME.
    """
    who = connection.who
    if before is None:
        due = msg(
            "for {who} only events after {since}, the number in WELCOME",
            who=who,
            since=connection.since,
        )
        lines, sentence = [event.line], "before-welcome"
    else:
        due = msg("event {expected} for {who}, and no event twice", expected=expected, who=who)
        lines = [event.line, msg("after"), before.line]
        in_answer = is_of_an_answer(connection, event)
        sentence = "history-out-of-turn" if in_answer else "event-twice"
    return CheckFailed(
        due,
        msg("{who} received\n{lines}", who=who, lines=lines),
        sentence,
        history.slice(before or connection.welcome, event),
    )


def event_skipped(
    history: History,
    connection: ConnectionHistory,
    expected: int,
    heard: dict[int, Event],
    event: Event,
) -> CheckFailed:
    """Return the CheckFailed of an event that came before the event `expected`, or in its place.

    `heard` maps the number of each live event so far to the event.
    """
    who = connection.who
    if answer := claimed_by(connection, expected):
        end = next(reply for reply in connection.heard if reply.place == answer.ended)
        once = next(other for other in answer.ambiguous if other.seq == expected)
        return CheckFailed(
            msg(
                "event {expected} in the answer that {line} ends, and again live",
                expected=expected,
                line=end.line,
            ),
            msg("{who} received it once, and then\n{line}", who=who, line=event.line),
            "history-differs",
            history.slice(once, end, event),
        )
    for late in connection.live:
        if late.seq == expected and late.place > event.place:
            return CheckFailed(
                msg(
                    "event {expected} before event {seq}, for {who} as for every client",
                    expected=expected,
                    seq=event.seq,
                    who=who,
                ),
                msg("{who} received\n{line}\n{line2}", who=who, line=event.line, line2=late.line),
                "order-differs",
                history.slice(event, late, *in_order(history, connection, expected, event.seq)),
            )
    return lost(history, connection, expected, heard.get(expected - 1), event)


def is_of_an_answer(connection: ConnectionHistory, event: Event) -> bool:
    """Return whether the event came during an answer to HISTORY that includes its number."""
    return any(
        answer.asked < event.place
        and (answer.ended is None or event.place < answer.ended)
        and answer.since < event.seq
        and (answer.newest is None or event.seq <= answer.newest)
        for answer in connection.answers
    )


def claimed_by(connection: ConnectionHistory, seq: int) -> Answer | None:
    """Return the Answer that counts event `seq` as its own, though it may have been live."""
    for answer in connection.answers:
        if any(event.seq == seq for event in answer.ambiguous):
            return answer
    return None


def in_order(
    history: History, connection: ConnectionHistory, first: int, second: int
) -> Sequence[Event]:
    """Return these two events as another client heard them in their order; () if none did."""
    for other in history.connections.values():
        live = {event.seq: event for event in other.live}
        if (
            other is not connection
            and first in live
            and second in live
            and live[first].place < live[second].place
        ):
            return live[first], live[second]
    return ()


def lost(
    history: History,
    connection: ConnectionHistory,
    seq: int,
    before: Event | None,
    after: Event,
) -> CheckFailed:
    """Return the CheckFailed of event `seq`, which this client never heard.

    `before` and `after` are the events that it heard around it.
    """
    who = connection.who
    lines = [msg("{who} received", who=who), *([before.line] if before else []), after.line]
    for other, event in history.events:
        if event.seq == seq:
            other_heard = (
                msg("between them {who} received", who=other.who)
                if before
                else msg("before it {who} received", who=other.who)
            )
            lines += [other_heard, event.line]
            evidence = [history.source(event), event]
            break
    else:
        lines.append(msg("and no client received it"))
        evidence = [before]
    return CheckFailed(
        msg("event {seq} for {who}, too", seq=seq, who=who),
        joined(lines),
        "event-lost",
        history.slice(*evidence, after),
    )


def what_was_said_is_heard(entries: "Iterable[Entry] | History") -> None:
    """Check that a PONG comes after each event that the server handled before its PING.

    The client's own messages before that PING count, too. The same holds for BYE quit.
    """
    history = history_of(entries)
    firsts: list[Event] = []  # each is newer than all that any client had heard before
    for _, event in history.events:
        if not firsts or event.seq > firsts[-1].seq:
            firsts.append(event)
    for connection in history.connections.values():
        if connection.welcome is None:
            continue
        # newest[n]: the newest event after the first n live ones
        live_seqs = (event.seq for event in connection.live)
        newest = [connection.since, *accumulate(live_seqs, max)]
        for answer, ping in fences(connection):
            if answer.place < connection.welcome.place:
                continue
            if ping:
                count = bisect_left(connection.live, answer.place, key=lambda event: event.place)
                newer = bisect_right(firsts, newest[count], key=lambda event: event.seq)
                if newer < len(firsts) and firsts[newer].place < ping.place:
                    missing = next(
                        (event for _, event in history.events if event.seq == newest[count] + 1),
                        firsts[newer],
                    )
                    raise missing_at_fence(history, connection, missing, ping, answer)
            if request := unheard(connection, ping or answer, answer):
                raise own_message_missing(history, connection, request, ping, answer)


def missing_at_fence(
    history: History, connection: ConnectionHistory, missing: Event, ping: Line, pong: Line
) -> CheckFailed:
    """Return the CheckFailed of an event that happened before `ping` and did not come before
    `pong`.
    """
    who = connection.who
    late = next((event for event in connection.live if event.seq == missing.seq), None)
    return CheckFailed(
        msg(
            "event {seq} for {who} before {line}, because it had happened before {line2}",
            seq=missing.seq,
            who=who,
            line=pong.line,
            line2=ping.line,
        ),
        msg(
            "{who} received {line} first, and then\n{late}", who=who, line=pong.line, late=late.line
        )
        if late
        else msg(
            "{who} received {line} and never\n{missing}",
            who=who,
            line=pong.line,
            missing=missing.line,
        ),
        "late" if late else "event-lost",
        history.slice(missing, ping, pong, late),
    )


def own_message_missing(
    history: History, connection: ConnectionHistory, say: Line, ping: Line | None, answer: Line
) -> CheckFailed:
    """Return the CheckFailed of a message that did not come back to its sender before `answer`.

    `answer` is the PONG of `ping`, or BYE quit if that is None.
    """
    who, text, line = connection.who, say.line[4:], answer.line
    heard = [
        (other, event)
        for other, event in history.events
        if event.verb == "MSG" and event.rest.partition(" ")[2] == text
    ]
    late = next((event for other, event in heard if other is connection), None)
    if late:
        actual = msg(
            "{who} received {line} first, and then\n{late}", who=who, line=line, late=late.line
        )
    elif heard:
        actual = msg(
            "{who} received {line}; only other clients received the message, such as {other}",
            who=who,
            line=line,
            other=heard[0][0].who,
        )
    else:
        actual = msg("{who} received {line}; no client received the message", who=who, line=line)
    return CheckFailed(
        msg("{who}'s own message `{text}` before {line}", who=who, text=text, line=line),
        actual,
        "late" if late else "said-lost",
        history.slice(say, heard[0][1] if heard else None, ping, answer, late),
    )


def fences(connection: ConnectionHistory) -> list[tuple[Line, Line | None]]:
    """Return (PONG, its PING) for each fence of this client, in order; then (BYE quit, None).

    A client may use a token again, so each PONG goes to the next PING with its token.
    """
    pings, pairs = connection.sends("PING"), []
    for reply in connection.heard:
        if reply.line.startswith("PONG "):
            while pings and pings[0].line[5:] != reply.line[5:]:
                pings.pop(0)  # it has no PONG
            if pings:
                pairs.append((reply, pings.pop(0)))
    if connection.bye and connection.bye.line == "BYE quit":
        pairs.append((connection.bye, None))
    return pairs


def unheard(connection: ConnectionHistory, ping: Line, answer: Line) -> Line | None:
    """Return the first message that this client sent before `ping` and heard after `answer`.

    None if there is no such message, or if the server refused one of the client's requests:
    the record does not show which of them an ERR belongs to.
    """
    if connection.was_refused:
        return None
    heard = Counter(
        event.rest.partition(" ")[2]
        for event in connection.own_messages
        if event.place < answer.place
    )
    joins = connection.sends("JOIN")
    for request in connection.sent:
        if request == ping or request.place > ping.place or request.line in ("QUIT", "LEAVE"):
            return None
        if (
            request.line.startswith("SAY ")
            and joins
            and was_sent_before(connection, joins[0], request)
        ):
            heard[request.line[4:]] -= 1
            if heard[request.line[4:]] < 0:
                return request
    return None


def was_sent_before(connection: ConnectionHistory, first: Line, second: Line) -> bool:
    """Return whether the client sent the first of these two lines before the second."""
    if first.place == second.place:  # in one piece
        return connection.sent.index(first) < connection.sent.index(second)
    return first.place < second.place


def nothing_is_invented(entries: "Iterable[Entry] | History") -> None:
    """Check that a client asked for each event, under the name in it and with the same text.

    One request causes one event at most.
    """
    history = history_of(entries)
    requests = requests_by_cause(history)
    caused: Counter[Cause] = Counter()
    first: dict[tuple[int, Cause], Event] = {}
    # The record does not show the requests of the events before the first WELCOME.
    recorded_from = min(
        (other.since for other in history.connections.values() if other.welcome), default=0
    )
    for connection, event in history.events:
        name, _, rest = event.rest.partition(" ")
        verb = {"MSG": "SAY", "RENAMED": "NAME", "LEFT": "LEAVE", "IN": "JOIN"}.get(event.verb)
        if verb is None or event.seq <= recorded_from:
            continue
        cause = fold(name), verb, rest
        sources = [request for request in requests.get(cause, ()) if request.place < event.place]
        if not sources:
            raise invented(history, connection, requests, cause, event)
        if (event.seq, cause) in first:
            continue
        first[event.seq, cause] = event
        caused[cause] += 1
        if caused[cause] > len(requests[cause]):
            others = [
                other
                for (seq, other_cause), other in first.items()
                if other_cause == cause and seq != event.seq
            ]
            other = min(others, key=lambda event: event.place)
            raise CheckFailed(
                msg("one event for `{line}`", line=sources[0].line),
                msg(
                    "{who} received\n{line}\nand before it came\n{line2}",
                    who=connection.who,
                    line=event.line,
                    line2=other.line,
                ),
                "said-twice" if has_both(history, event, other) else "two-numbers",
                history.slice(sources[0], other, event),
            )


def has_both(history: History, one: Event, other: Event) -> bool:
    """Return whether a member that was here for both of two events, alike but for their numbers,
    received both. Else it is one event that reached members under different numbers.
    """
    heard: dict[str, set[int]] = defaultdict(set)
    for connection, event in history.events:
        if (event.verb, event.rest) == (one.verb, one.rest):
            heard[connection.who].add(event.seq)
    return any({one.seq, other.seq} <= numbers for numbers in heard.values())


Cause = tuple[str, str, str]  # folded name, verb of the request, what the event repeats of it


def requests_by_cause(history: History) -> dict[Cause, list[Line]]:
    """Return the requests that may cause an event, by the name in that event, verb and text.

    The record does not show which of its names a member had when it sent a request. So the
    request is listed under each of them.
    """
    requests = defaultdict(list)
    for connection in history.connections.values():
        for request in connection.sent:
            verb, _, rest = request.line.partition(" ")
            if verb in ("SAY", "NAME", "LEAVE"):
                names = connection.names
            else:
                names = [fold(rest.split(" ")[0])] if verb == "JOIN" else []
            for name in names:
                requests[name, verb, rest if verb in ("SAY", "NAME") else ""].append(request)
    return requests


def invented(
    history: History,
    connection: ConnectionHistory,
    requests: dict[Cause, list[Line]],
    cause: Cause,
    event: Event,
) -> CheckFailed:
    """Return the CheckFailed of an event that no client asked for.

    The slice holds the same request of another member, if there is one. The text of the event
    shows whether it is torn: another event is in it, or the rest of its text is missing.
    """
    name, verb, rest = cause
    near = [
        request
        for (_, other_verb, text), lines in requests.items()
        for request in lines
        if other_verb == verb and text == rest
    ][:1]
    torn = re.search(rf"[A-Z]+ {SEQ} {TIME}", event.rest) or any(
        other == name and other_verb == verb and text.startswith(rest)
        for other, other_verb, text in requests
    )
    return CheckFailed(
        msg("only events that a client caused"),
        msg(
            "{who} received\n{line}\nand no client named {name} had asked for it",
            who=connection.who,
            line=event.line,
            name=event.rest.partition(" ")[0],
        ),
        "torn" if torn else "invented",
        history.slice(*[request for request in near if request.place < event.place], event),
    )


def who_acts_is_here(entries: "Iterable[Entry] | History") -> None:
    """Check, in the order of the events, that only members who are here act.

    A member that speaks, goes or takes another name is here; a member that comes was not.
    """
    history = history_of(entries)
    if history.stop_began is not None:  # a stopped server sends no OUT, and nobody is here
        return
    here: dict[str, tuple[bool, Event]] = {}  # folded name: whether it is here, and since when
    for _, event in history.first_heard:
        name = fold(event.rest.split(" ")[0])
        was_here, since = here.get(name, (None, None))
        acts = event.verb in ("MSG", "OUT", "LEFT", "RENAMED")
        if (acts and was_here is False) or (event.verb == "IN" and was_here is True):
            raise wrongly_here(history, name, since, event)
        if event.verb in ("IN", "MSG"):
            here[name] = True, event
        elif event.verb in ("OUT", "LEFT", "BANNED"):
            here[name] = False, event
        elif event.verb == "RENAMED":
            here[name] = False, event
            here[fold(event.rest.split(" ")[1])] = True, event


def wrongly_here(history: History, name: str, since: Event, event: Event) -> CheckFailed:
    """Return the CheckFailed of a member that acts while it is away, or comes while it is here.

    `since` is the event since which it has been away, or here.
    """
    shown_name = event.rest.split(" ")[0]
    if event.verb == "IN":
        expected = msg(
            "after\n{line}\nno event of {name} before an OUT", line=since.line, name=shown_name
        )
    else:
        expected = msg(
            "after\n{line}\nno event of {name} before the next IN",
            line=since.line,
            name=shown_name,
        )
    twins = two_at_once(history, name, since)
    alone = "came-twice" if event.verb == "IN" else "acts-while-away"
    return CheckFailed(
        expected,
        msg("then came\n{line}", line=event.line),
        "two-with-one-name" if twins else alone,
        history.slice(*twins, since, event),
    )


def two_at_once(history: History, name: str, since: Event) -> Sequence[Line]:
    """Return the WELCOMEs of two connections that were this member at once, before `since`.

    () if there are none. `name` is folded.
    """
    welcomed = [
        connection
        for connection in history.connections.values()
        if connection.welcome
        and fold(connection.name) == name
        and connection.welcome.place < since.place
    ]
    for old in welcomed:
        for new in welcomed:
            if (
                old.welcome.place < new.welcome.place
                and (old.ended is None or old.ended > new.welcome.place)
                and not (old.bye and old.bye.line == "BYE replaced")
            ):
                return old.welcome, new.welcome
    return ()


def a_name_has_one_holder(entries: "Iterable[Entry] | History") -> None:
    """Check, in the order of the events, that no member takes a name that another one holds.

    LEFT and RENAMED free a name; OUT does not.
    """
    history = history_of(entries)
    held: dict[str, Event] = {}  # folded name: the event by which its holder got it
    before = None
    for seq, event in history.first_heard:
        if before is not None and seq != before + 1:
            return  # an event that no client heard may have freed the name
        before = seq
        name, _, new = event.rest.partition(" ")
        if event.verb == "RENAMED" and fold(new) != fold(name) and (holder := held.get(fold(new))):
            raise CheckFailed(
                msg("after\n{line}\nno other member named {new}", line=holder.line, new=new),
                msg("then came\n{line}", line=event.line),
                "two-with-one-name",
                history.slice(holder, event),
            )
        if event.verb in ("RENAMED", "LEFT", "BANNED"):
            held.pop(fold(name), None)
        if event.verb in ("RENAMED", "IN"):
            held[fold(new or name)] = event


def history_is_what_was_heard(entries: "Iterable[Entry] | History") -> None:
    """Check that the answer to HISTORY s holds each event from s+1 on, as it was heard live."""
    history = history_of(entries)
    for connection in history.connections.values():
        for answer in connection.answers:
            if answer.ended is None:
                continue
            ask = Line(answer.asked, f"HISTORY {answer.since}")
            end = Line(answer.ended, history.entries[answer.ended].text)
            answer_is_complete(history, connection, answer, ask, end)
            for _, later in history.events:
                if later.place < answer.asked and later.seq > answer.newest:
                    expected = msg(
                        "an answer up to event {seq}, which was received before {line} was sent",
                        seq=later.seq,
                        line=ask.line,
                    )
                    raise heard_wrong(
                        history, connection, expected, end, "history-stale", later, ask
                    )


def answer_is_complete(
    history: History, connection: ConnectionHistory, answer: Answer, ask: Line, end: Line
) -> None:
    """Check that an answer holds each event from `since` + 1 to `newest`, once and in order.

    `ask` is its HISTORY, and `end` its END HISTORY.
    """
    expected = answer.since + 1
    for event in answer.events:
        if event.seq != expected:
            due = msg(
                "event {expected} as the next of the answer to {line}",
                expected=expected,
                line=ask.line,
            )
            known = first_with(history, expected)
            raise heard_wrong(history, connection, due, event, "history-differs", ask, known)
        expected += 1
    if expected != max(answer.newest, answer.since) + 1:
        raise CheckFailed(
            msg("event {expected} before {line}", expected=expected, line=end.line),
            msg("the answer to {line} ended without it", line=ask.line),
            "history-differs",
            history.slice(ask, first_with(history, expected), end),
        )


def first_with(history: History, seq: int) -> Event | None:
    """Return event `seq` as a client heard it first, or None."""
    return next((event for _, event in history.events if event.seq == seq), None)


def nobody_is_put_out(entries: "Iterable[Entry] | History") -> None:
    """Check that the server closes no connection without a request, a reason or a slow client."""
    history = history_of(entries)
    if history.stop_began is not None:
        return
    for connection in history.connections.values():
        code = connection.bye.line[4:] if connection.bye else None
        if connection.over is None or connection.asked_to_end:
            continue
        if code in ("replaced", "refused", "banned", "protocol", "deleted", "closed"):
            continue
        reused = (
            history.is_anothers(connection, connection.bye)
            if code
            else len(connection.heard) < 2 and history.gone_before(connection)
        )
        raise CheckFailed(
            msg("{who} to stay connected", who=connection.who),
            msg("the server closed the connection with {line}", line=connection.bye.line)
            if code
            else msg("the server closed the connection without a BYE"),
            "descriptor-reused" if reused else "put-out",
            history.slice(connection.heard[-1] if connection.heard else None, connection.over),
        )


# The rules in the order in which judge() checks them: the first say most about the cause.
CHECKERS: list[Callable[["Iterable[Entry] | History"], None]] = [
    lines_are_whole,
    each_is_greeted_once,
    answers_are_ones_own,
    a_history_ends_at_the_newest,
    only_members_hear,
    nothing_is_invented,
    one_event_has_one_number,
    a_name_has_one_holder,
    events_come_in_order,
    history_is_what_was_heard,
    what_was_said_is_heard,
    who_acts_is_here,
    nobody_is_put_out,
]


def judge(entries: Iterable[Entry]) -> None:
    """Check all the rules. Raises CheckFailed for the first that does not hold."""
    history = History(entries)
    for checker in CHECKERS:
        checker(history)
