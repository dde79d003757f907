"""What must hold of any conversation, judged from its record alone: pure functions over entries, each silent or raising Unmet.

Its evidence is the shortest slice that shows it: only the entries without which it could not be seen. What became of a client's last
requests if its connection broke is not known: they may have been delivered or not, and neither is held against the server.
"""
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from harness.driving.messages import Message, joined, msg
from harness.driving.record import Entry, Unmet

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
SEQ, NAME, TOKEN = r"[1-9]\d{0,15}", r"[^\W_][\w.\-\u0300-\u036f]{0,31}", r"[!-~]{1,64}"
EVENT = re.compile(rf"(MSG|IN|OUT|RENAMED|LEFT|BANNED|GROUP) ({SEQ}) {TIME} (.+)")
EVENTS = {"MSG": rf"{NAME} .+", "IN": NAME, "OUT": NAME, "LEFT": NAME, "BANNED": NAME, "RENAMED": f"{NAME} {NAME}", "GROUP": r"\S(.*\S)?"}
# Every line that a server may send.
LINE = re.compile("|".join([
    r"HELLO grupo/1 \S(.*\S)?", "PENDING", rf"WELCOME {SEQ} {NAME}", "REJECTED refused", rf"MEMBER {NAME} (here|away)", "END WHO",
    rf"END HISTORY {SEQ}", rf"P[IO]NG {TOKEN}", r"ERR [a-z0-9-]+ .+", r"BYE [a-z]+",
    *(rf"{verb} {SEQ} {TIME} {rest}" for verb, rest in EVENTS.items())]))
MOST_LINE = 512
# An event, or an ERR, as far as its parts matter to a reader: anything may stand for the time.
EVENT_LINE = re.compile(r"(MSG|IN|OUT|RENAMED|LEFT|BANNED|GROUP) (\d+) (\S+) (.+)")
ERR_LINE = re.compile(r"ERR ([a-z0-9-]+)( .*)?")
OWN_ENDS = {"shuts", "resets", "closes"}


def normalized(lines):
    """Event lines with `n` and `TIME` for their number and time, ERR lines without their words; other lines as they are."""
    return [line if isinstance(line, Message) else ERR_LINE.sub(r"ERR \1", EVENT_LINE.sub(r"\1 n TIME \4", line)) for line in lines]


def seqs(lines):
    """The numbers of the events among these lines."""
    return [int(match[2]) for line in lines if (match := EVENT_LINE.fullmatch(line))]


class Said(NamedTuple):
    """A line and where in the record it stands."""
    place: int
    line: str


class Event(NamedTuple):
    place: int
    seq: int
    verb: str
    rest: str
    line: str


class Answer:
    """What came of one HISTORY: the events up to `newest`, and where it was asked and complete (None: never)."""

    def __init__(self, asked, since):
        self.asked, self.since, self.events, self.newest, self.ended = asked, since, [], None, None
        self.lent = []              # those of its events that could as well have been live


class Side:
    """One connection: what its client sent and heard, in order."""

    def __init__(self, who):
        self.who = who
        self.sent, self.heard = [], []          # Said
        self.live, self.answers = [], []        # Events that came by themselves; Answers
        self.welcome = self.bye = None          # Said
        self.since = self.name = None           # as WELCOME said
        self.torn = self.over = self.own_end = None     # places: the end cut a line; the server's end; the client's own
        self.connected = -1                     # place
        self.names = set()                      # all names that its member may have, folded

    @property
    def ended(self):
        """The place where the connection was over for either side; None: it still is open."""
        return min((place for place in (self.bye and self.bye.place, self.over, self.own_end) if place is not None),
                   default=None)

    @property
    def asked_to_end(self):
        return self.own_end is not None or any(said.line in ("QUIT", "LEAVE") for said in self.sent)

    @cached_property
    def was_refused(self):
        """Something other than a name."""
        return any(said.line.startswith("ERR ") and not said.line.startswith("ERR name-taken ") for said in self.heard)

    @cached_property
    def own_messages(self):
        """What came live of what was said under any of its names."""
        return [event for event in self.live if event.verb == "MSG" and fold(event.rest.partition(" ")[0]) in self.names]

    def sends(self, verb):
        return [said for said in self.sent if said.line.partition(" ")[0] == verb]


class History:
    """The entries of a record, told apart by connection."""

    def __init__(self, entries):
        self.entries = list(entries)
        self.sides = {}
        pieces = defaultdict(str)
        self.server_told = None                 # where somebody began to end the server
        for place, (_, who, what, text) in enumerate(self.entries):
            if who in ("server", "owner"):
                if what in ("signal", "exits") or what == "types" and text.strip() in ("close", "delete"):
                    self.server_told = place if self.server_told is None else self.server_told
                continue
            side = self.sides.setdefault(who, Side(who))
            if what == "connects":
                side.connected = place
            elif what == "sends":
                *lines, pieces[who] = (pieces[who] + text).split("\n")
                side.sent += [Said(place, line.removesuffix("\r")) for line in lines]
            elif what == "hears":
                side.heard.append(Said(place, text))
            elif what == "torn":
                side.torn = place
            elif what in ("ended", "reset"):
                side.over = place
            elif what in OWN_ENDS and side.own_end is None:
                side.own_end = place
        for side in self.sides.values():
            self.read(side)

    def read(self, side):
        """Tells answers to HISTORY from what came by itself: by the number in END HISTORY, and by which would be the next of either."""
        ends = [int(said.line[12:]) for said in side.heard if re.fullmatch(rf"END HISTORY {SEQ}", said.line)]
        asked = [Answer(said.place, int(said.line[8:])) for said in side.sends("HISTORY") if re.fullmatch(r"HISTORY \d{1,16}", said.line)]
        for answer, newest in zip(asked, ends):
            answer.newest = newest
        side.answers = list(asked)
        next_live = None
        for said in side.heard:
            verb = said.line.partition(" ")[0]
            if match := EVENT.fullmatch(said.line):
                event = Event(said.place, int(match[2]), match[1], match[3], said.line)
                if asked and asked[0].asked < said.place and self.is_answer(event, asked[0], next_live):
                    asked[0].events.append(event)
                else:
                    side.live.append(event)
                    next_live = event.seq + 1
            elif verb == "WELCOME" and side.welcome is None and re.fullmatch(rf"WELCOME {SEQ} {NAME}", said.line):
                side.welcome = said
                side.since, side.name = int(said.line.split(" ")[1]), said.line.split(" ")[2]
                next_live = side.since + 1
                side.names.add(fold(side.name))
            elif verb == "END" and asked and re.fullmatch(rf"END HISTORY {SEQ}", said.line):
                answer = asked.pop(0)
                answer.ended = said.place
                if lent := self.lent(side, answer):
                    side.live = [event for event in side.live if event not in lent]
                    answer.events += lent
                    answer.lent = lent
                    next_live = lent[0].seq
            elif verb == "BYE" and side.bye is None:
                side.bye = said
        side.names |= {fold(said.line.split(" ")[1]) for verb in ("JOIN", "NAME") for said in side.sends(verb) if said.line.count(" ")}

    @staticmethod
    def is_answer(event, answer, next_live):
        """Whether it belongs to the answer under way. One that may as well be live is taken for live, until END HISTORY."""
        return event.seq != next_live and (answer.newest is None or event.seq <= answer.newest)

    @staticmethod
    def lent(side, answer):
        """What the answer still lacks at its end, if all of it came meanwhile and was taken for live. Then it is yet to come live."""
        following = answer.events[-1].seq + 1 if answer.events else answer.since + 1
        lacks = [event for event in side.live if event.place > answer.asked and following <= event.seq <= answer.newest]
        return lacks if lacks and [event.seq for event in lacks] == list(range(following, answer.newest + 1)) else []

    def entry(self, said):
        """The entry of one line, even if it went out together with others."""
        entry = self.entries[said.place]
        return Entry(entry.at, entry.who, entry.what, said.line + "\n") if entry.what == "sends" else entry

    def slice(self, *found):
        """These lines (Said, Event, or places; None is left out), in the order of the record, each once."""
        found = {(one, None) if isinstance(one, int) else (one.place, one.line): one for one in found if one is not None}
        return [self.entries[one] if isinstance(one, int) else self.entry(one) for _, one in sorted(found.items(), key=lambda item: item[0][0])]

    @cached_property
    def events(self):
        """All that was heard, as (Side, Event), in the order of the record."""
        found = [(side, event) for side in self.sides.values()
                 for event in [*side.live, *(event for answer in side.answers for event in answer.events)]]
        return sorted(found, key=lambda pair: pair[1].place)

    def gone_before(self, side):
        """A connection that was over before this one began: the kernel may give its descriptor's number to the new one."""
        return next((other for other in self.sides.values()
                     if other.ended is not None and other.ended < side.connected), None)

    def source(self, event):
        """The line by which a client asked for this event, if it can be told."""
        verb, argument = {"MSG": ("SAY", event.rest.partition(" ")[2]), "IN": ("JOIN", event.rest), "LEFT": ("LEAVE", ""),
                          "RENAMED": ("NAME", event.rest.partition(" ")[2])}.get(event.verb, (None, None))
        for side in self.sides.values():
            for said in side.sends(verb) if verb and fold(event.rest.split(" ")[0]) in side.names else ():
                if said.place < event.place and (said.line.split(" ")[1] == argument if verb == "JOIN" else said.line.partition(" ")[2] == argument):
                    return said
        return None


def fold(name):
    return name.casefold()


def history_of(entries):
    return entries if isinstance(entries, History) else History(entries)


# -- Lines ---------------------------------------------------------------------------------------------------------------------------


def lines_are_whole(entries):
    """Every line that came is one that a server sends: none is torn, none mixed of two."""
    history = history_of(entries)
    for side in history.sides.values():
        for said in side.heard:
            if said.line and (not LINE.fullmatch(said.line) or len(said.line.encode("utf-8", "surrogateescape")) >= MOST_LINE):
                raise Unmet(msg("whole lines, each as the protocol has it"), msg("{who} heard\n{line}", who=side.who, line=said.line), "torn", history.slice(said))
        if side.torn is not None and history.server_told is None:
            raise Unmet(msg("whole lines up to the end"), msg("{who}'s connection ended inside a line:\n{text}", who=side.who, text=history.entries[side.torn].text),
                        "torn" if side.asked_to_end else "put-out", history.slice(side.torn, side.over))


def each_is_greeted_once(entries):
    """The first line that anyone hears is HELLO, and no later one is."""
    history = history_of(entries)
    for side in history.sides.values():
        for number, said in enumerate(said for said in side.heard if said.line):
            if said.line.startswith("HELLO ") != (number == 0) and (number, said.line) != (0, "BYE full"):
                anothers = history.gone_before(side) or said.line in ("BYE quit", "BYE left") and not side.asked_to_end
                sentence = "greeted-twice" if number else "descriptor-reused" if anothers else "not-greeted"
                raise Unmet(msg("HELLO once for {who}, as the first line", who=side.who), msg("line {number} that {who} heard is\n{line}", number=number + 1, who=side.who, line=said.line),
                            sentence, history.slice(side.heard[0], said))


# What a line answers.
ANSWERS = {"PENDING": "JOIN", "WELCOME": "JOIN", "REJECTED": "JOIN", "END WHO": "WHO", "END HISTORY": "HISTORY", "PONG": "PING"}


def answers_are_ones_own(entries):
    """No client gets an answer to what it did not ask, and PONGs come in the order of their PINGs."""
    history = history_of(entries)
    asked_by = {said.line[5:]: (side.who, said) for side in history.sides.values() for said in side.sends("PING")}
    for side in history.sides.values():
        asked = {verb: side.sends(verb) for verb in set(ANSWERS.values())}
        had = Counter()
        for said in side.heard:
            verb, _, rest = said.line.partition(" ")
            if verb == "END":
                verb = " ".join(said.line.split(" ")[:2])
            if verb not in ANSWERS:
                continue
            of_verb, number = asked[ANSWERS[verb]], had[verb]
            if verb == "PONG":                  # one that came to nothing (an ERR) may be passed over
                while number < len(of_verb) and of_verb[number].line[5:] != rest:
                    number += 1
            had[verb] = number + 1
            if number >= len(of_verb) or of_verb[number].place > said.place:
                who, ping = asked_by.get(rest, (None, None)) if verb == "PONG" else (None, None)
                before = [old for old in side.heard if old.line == said.line and old.place < said.place and verb == "PONG"][:1]
                whose = ([msg("that was answered before")] if before else [] if who is None else
                         [msg("after the answer to a later PING")] if who == side.who else [msg("that is the answer to {who}", who=who)])
                before = before or [ping]
                raise Unmet(msg("for {who} the answers to what {who2} asked, each once and in that order", who=side.who, who2=side.who),
                            msg("{who} heard\n{lines}", who=side.who, lines=[said.line, *whose]), "answer-of-another", history.slice(*before, said))


# -- Events --------------------------------------------------------------------------------------------------------------------------


def only_members_hear(entries):
    """No client hears events before WELCOME; its own IN is the first. After BYE comes nothing, after its own LEFT or BANNED only BYE."""
    history = history_of(entries)
    replaced = any(side.bye and side.bye.line == "BYE replaced" for side in history.sides.values())
    for side in history.sides.values():
        def problem(expected, came, sentence, *slice):
            return Unmet(expected, msg("{who} heard\n{line}", who=side.who, line=came.line), sentence, history.slice(*slice, came))

        for event in side.live:
            if side.welcome is None or event.place < side.welcome.place:
                own = event.verb == "IN" and fold(event.rest) in side.names
                raise problem(msg("nothing of the group for {who} before WELCOME", who=side.who), event, "in-before-welcome" if own else "before-welcome")
        if side.bye and (after := [said for said in side.heard if said.place > side.bye.place and said.line]):
            raise problem(msg("nothing for {who} after {line}", who=side.who, line=side.bye.line), after[0], "after-bye", side.bye)
        if side.live and not replaced and (side.live[0].verb, fold(side.live[0].rest)) != ("IN", fold(side.name)):
            raise problem(msg("{who}'s own IN as the first event after {line}", who=side.who, line=side.welcome.line), side.live[0], "not-ones-own-in", side.welcome)
        name, gone = side.name, None
        for event in side.live:
            if gone:
                raise problem(msg("no event for {who} after {line}", who=side.who, line=gone.line), event, "after-the-end", gone)
            if event.verb == "RENAMED" and fold(event.rest.split(" ")[0]) == fold(name):
                name = event.rest.split(" ")[1]
            elif event.verb in ("LEFT", "BANNED") and fold(event.rest) == fold(name):
                gone = event
            elif event.verb == "OUT" and fold(event.rest) == fold(name):
                raise problem(msg("no OUT of {name} for {who}, who is {name2} and is here", name=name, who=side.who, name2=name), event, "ones-own-out")


def one_event_has_one_number(entries):
    """Two events never bear the same number: whoever hears event N, by itself or in a HISTORY, hears the same line."""
    history = history_of(entries)
    first = {}
    for side, event in history.events:
        other, known = first.setdefault(event.seq, (side, event))
        if known.line != event.line:
            raise Unmet(msg("one event {seq}, the same line for all", seq=event.seq),
                        msg("{who} heard\n{line}\nand {who2} heard\n{line2}", who=other.who, line=known.line, who2=side.who, line2=event.line), "one-number-twice", history.slice(known, event))


def a_history_ends_at_the_newest(entries):
    """END HISTORY names an event that has happened: its line is in the answer."""
    history = history_of(entries)
    first = {}
    for side in history.sides.values():
        for said in side.heard:
            if match := EVENT.fullmatch(said.line):
                first[int(match[2])] = min(said.place, first.get(int(match[2]), said.place))
    for side in history.sides.values():
        for answer in side.answers:
            if answer.ended is not None and answer.newest > answer.since and first.get(answer.newest, answer.ended) >= answer.ended:
                end = Said(answer.ended, history.entries[answer.ended].text)
                raise Unmet(msg("the number of the newest event in {line}", line=end.line), msg("event {newest} had not come to anybody then", newest=answer.newest),
                            "end-of-history", history.slice(answer.asked, end))


def events_come_in_order(entries):
    """After WELCOME s come s+1, s+2, s+3 and so on: none missing, none twice, none before its time."""
    history = history_of(entries)
    for side in history.sides.values():
        if side.welcome is None:
            continue
        expected, heard = side.since + 1, {}
        for event in side.live:
            if event.seq == expected:
                heard[event.seq] = event
                expected += 1
                continue
            if event.seq < expected:
                before = heard.get(event.seq)
                twice = "history-out-of-turn" if is_of_an_answer(side, event) else "event-twice"
                raise Unmet(msg("event {expected} for {who}, and none a second time", expected=expected, who=side.who) if before else
                            msg("for {who} only the events after {since}, the number in WELCOME", who=side.who, since=side.since),
                            msg("{who} heard\n{lines}", who=side.who, lines=[event.line, *([msg("after"), before.line] if before else [])]),
                            twice if before else "before-welcome", history.slice(before or side.welcome, event))
            if counted := counted_by(side, expected):
                line = next(said for said in side.heard if said.place == counted.ended)
                once = next(one for one in counted.lent if one.seq == expected)
                raise Unmet(msg("event {expected} in the answer that {line} ends, and again live", expected=expected, line=line.line),
                            msg("{who} heard it once, and then\n{line}", who=side.who, line=event.line),
                            "history-differs", history.slice(once, line, event))
            late = next((other for other in side.live if other.seq == expected and other.place > event.place), None)
            if late:
                raise Unmet(msg("event {expected} before event {seq}, for {who} as for all", expected=expected, seq=event.seq, who=side.who), msg("{who} heard\n{line}\n{line2}", who=side.who, line=event.line, line2=late.line),
                            "order-differs", history.slice(event, late, *in_order(history, side, expected, event.seq)))
            raise lost(history, side, expected, heard.get(expected - 1), event)


def is_of_an_answer(side, event):
    """Whether this event came while an answer to HISTORY was under way to which its number belongs."""
    return any(answer.asked < event.place and (answer.ended is None or event.place < answer.ended)
               and answer.since < event.seq and (answer.newest is None or event.seq <= answer.newest)
               for answer in side.answers)


def counted_by(side, seq):
    """The Answer that counts this event as its own, though the event could as well have been live."""
    return next((answer for answer in side.answers
                 if seq in [event.seq for event in answer.lent]), None)


def in_order(history, side, one, other):
    """How somebody else heard both of these events in their order, if anybody did."""
    for another in history.sides.values():
        found = {event.seq: event for event in another.live}
        if another is not side and one in found and other in found and found[one].place < found[other].place:
            return found[one], found[other]
    return ()


def lost(history, side, seq, before, after):
    """Unmet: this event never came to `side`, though what is to come after it did."""
    whose, event = next(((another, event) for another, event in history.events if event.seq == seq), (None, None))
    came = [msg("{who} heard", who=side.who), *([before.line] if before else []), after.line]
    if event:
        came += [msg("between them {who} heard", who=whose.who) if before else msg("before it {who} heard", who=whose.who), event.line]
    else:
        came.append(msg("and nobody heard it"))
    return Unmet(msg("event {seq} for {who}, too", seq=seq, who=side.who), joined(came), "event-lost",
                 history.slice(*([history.source(event), event] if event else [before]), after))


def what_was_said_is_heard(entries):
    """PONG comes after every event handled before its PING, whoever caused it, and after what its own client had said. So does BYE quit."""
    history = history_of(entries)
    firsts = []                                 # Events, each newer than all that anybody had heard before
    for _, event in history.events:
        if not firsts or event.seq > firsts[-1].seq:
            firsts.append(event)
    for side in history.sides.values():
        if side.welcome is None:
            continue
        newest = [side.since, *accumulate((event.seq for event in side.live), max)]        # [n]: of the first n that came live
        for answer, ping in fences(side):
            if answer.place < side.welcome.place:
                continue
            have = newest[bisect_left(side.live, answer.place, key=lambda event: event.place)]
            if ping:
                newer = bisect_right(firsts, have, key=lambda event: event.seq)
                if newer < len(firsts) and firsts[newer].place < ping.place:
                    missing = next((event for _, event in history.events if event.seq == have + 1), firsts[newer])
                    late = next((event for event in side.live if event.seq == missing.seq), None)
                    raise Unmet(msg("event {seq} for {who} before {line}, since it had happened before {line2}", seq=missing.seq, who=side.who, line=answer.line, line2=ping.line),
                                msg("{who} heard {line} first, and then\n{late}", who=side.who, line=answer.line, late=late.line) if late else
                                msg("{who} heard {line} and never\n{missing}", who=side.who, line=answer.line, missing=missing.line),
                                "late" if late else "event-lost", history.slice(missing, ping, answer, late))
            if said := unheard(side, ping or answer, answer):
                text = said.line[4:]
                heard = [(other, event) for other, event in history.events if event.verb == "MSG" and event.rest.partition(" ")[2] == text]
                late = next((event for other, event in heard if other is side), None)
                whose, other = heard[0] if heard else (None, None)
                raise Unmet(msg("`{text}` for {who}, who said it, before {line}", text=text, who=side.who, line=answer.line),
                            msg("{who} heard {line} first, and then\n{late}", who=side.who, line=answer.line, late=late.line) if late else
                            msg("{who} heard {line}; only others heard it, such as {whose}", who=side.who, line=answer.line, whose=whose.who) if heard else
                            msg("{who} heard {line}; nobody ever heard it", who=side.who, line=answer.line),
                            "late" if late else "said-lost", history.slice(said, other, ping, answer, late))


def fences(side):
    """(answer, PING) of each fence of this client, in order: a token may be used again. And (BYE quit, None)."""
    pings, found = side.sends("PING"), []
    for said in side.heard:
        if said.line.startswith("PONG "):
            while pings and pings[0].line[5:] != said.line[5:]:
                pings.pop(0)                    # it came to nothing
            if pings:
                found.append((said, pings.pop(0)))
    return found + ([(side.bye, None)] if side.bye and side.bye.line == "BYE quit" else [])


def unheard(side, ping, answer):
    """The first message that this client sent before `ping` and did not hear before `answer`. One that was refused anything is passed over."""
    if side.was_refused:
        return None
    heard = Counter(event.rest.partition(" ")[2] for event in side.own_messages if event.place < answer.place)
    joins = side.sends("JOIN")
    for said in side.sent:
        if said == ping or said.place > ping.place:
            return None
        if said.line in ("QUIT", "LEAVE"):
            return None
        if said.line.startswith("SAY ") and joins and is_before(side, joins[0], said):
            heard[said.line[4:]] -= 1
            if heard[said.line[4:]] < 0:
                return said
    return None


def is_before(side, one, other):
    return side.sent.index(one) < side.sent.index(other) if one.place == other.place else one.place < other.place


def nothing_is_invented(entries):
    """What comes was asked for: each message was said by the one whose name it bears, as that client said it, and comes no oftener."""
    history = history_of(entries)
    said = defaultdict(list)                    # (name, what) -> Said
    for side in history.sides.values():
        for one in side.sent:
            verb, _, rest = one.line.partition(" ")
            for name in side.names if verb in ("SAY", "NAME", "LEAVE") else [fold(rest.split(" ")[0])] if verb == "JOIN" else ():
                said[name, verb, rest if verb in ("SAY", "NAME") else ""].append(one)
    told, first = Counter(), {}
    began = min((side.since for side in history.sides.values() if side.welcome), default=0)     # what was before is not in the record
    for side, event in history.events:
        name, _, rest = event.rest.partition(" ")
        verb = {"MSG": "SAY", "RENAMED": "NAME", "LEFT": "LEAVE", "IN": "JOIN"}.get(event.verb)
        if verb is None or event.seq <= began:
            continue
        key = fold(name), verb, rest
        sources = [one for one in said.get(key, ()) if one.place < event.place]
        if not sources:
            near = [one for (_, other, text), found in said.items() for one in found if other == verb and text == rest][:1]
            torn = re.search(rf"[A-Z]+ {SEQ} {TIME}", event.rest) or any(
                who == fold(name) and other == verb and text.startswith(rest) for who, other, text in said)
            raise Unmet(msg("only events that somebody caused"), msg("{who} heard\n{line}\nand nobody called {name} had asked for that", who=side.who, line=event.line, name=name),
                        "torn" if torn else "invented", history.slice(*[one for one in near if one.place < event.place], event))
        if (event.seq, key) not in first:
            first[event.seq, key] = event
            told[key] += 1
            if told[key] > len(said[key]):
                others = sorted((one for (seq, other), one in first.items() if other == key and seq != event.seq), key=lambda one: one.place)
                raise Unmet(msg("one event for `{line}`", line=sources[0].line), msg("{who} heard\n{line}\nand there had been\n{line2}", who=side.who, line=event.line, line2=others[0].line),
                            "said-twice", history.slice(sources[0], others[0], event))


def who_acts_is_here(entries):
    """In the order of the events, whoever speaks, goes or takes a name is here, and whoever comes was not."""
    history = history_of(entries)
    if history.server_told is not None:         # when a server starts, nobody is here, and no OUT says so
        return
    known = {}
    for _, event in history.events:
        known.setdefault(event.seq, event)
    here = {}                                   # folded name: (whether it is here, since which event)
    for _, event in sorted(known.items()):
        name = fold(event.rest.split(" ")[0])
        was, since = here.get(name, (None, None))
        if event.verb in ("MSG", "OUT", "LEFT", "RENAMED") and was is False or event.verb == "IN" and was is True:
            twins = two_at_once(history, name, since)
            raise Unmet(msg("after\n{line}\nnothing of {name} before the next IN", line=since.line, name=event.rest.split(" ")[0]) if event.verb != "IN" else
                        msg("after\n{line}\nnothing of {name} before an OUT", line=since.line, name=event.rest.split(" ")[0]),
                        msg("there came\n{line}", line=event.line), "two-with-one-name" if twins else "acts-while-away" if event.verb != "IN" else "came-twice",
                        history.slice(*twins, since, event))
        if event.verb in ("IN", "MSG"):
            here[name] = True, event
        elif event.verb in ("OUT", "LEFT", "BANNED"):
            here[name] = False, event
        elif event.verb == "RENAMED":
            here[name] = False, event
            here[fold(event.rest.split(" ")[1])] = True, event


def two_at_once(history, name, since):
    """The WELCOMEs of two connections that were this member at the same time, before the event `since`; () if there are none."""
    found = [side for side in history.sides.values() if side.welcome and fold(side.name) == name and side.welcome.place < since.place]
    for one in found:
        for other in found:
            if one.welcome.place < other.welcome.place and (one.ended is None or one.ended > other.welcome.place) and not (
                    one.bye and one.bye.line == "BYE replaced"):
                return one.welcome, other.welcome
    return ()


def a_name_has_one_holder(entries):
    """In the order of the events, nobody takes a name that another member has: OUT does not free it, LEFT and RENAMED do."""
    history = history_of(entries)
    known = {}
    for _, event in history.events:
        known.setdefault(event.seq, event)
    held, before = {}, None                     # folded name: the event by which its holder got it
    for seq, event in sorted(known.items()):
        if before is not None and seq != before + 1:
            return                              # in an event that nobody heard, the name may have become free
        before = seq
        name, _, new = event.rest.partition(" ")
        if event.verb == "RENAMED" and fold(new) != fold(name) and (taken := held.get(fold(new))):
            raise Unmet(msg("after\n{line}\nnobody else called {new}", line=taken.line, new=new),
                        msg("there came\n{line}", line=event.line), "two-with-one-name", history.slice(taken, event))
        if event.verb in ("RENAMED", "LEFT", "BANNED"):
            held.pop(fold(name), None)
        if event.verb in ("RENAMED", "IN"):
            held[fold(new or name)] = event


def history_is_what_was_heard(entries):
    """The answer to HISTORY s is every event from s+1 to the newest at that moment, as it was heard live."""
    history = history_of(entries)
    all_events = history.events
    for side in history.sides.values():
        for answer in side.answers:
            if answer.ended is None:
                continue
            end = Said(answer.ended, history.entries[answer.ended].text)
            ask = next(said for said in side.sends("HISTORY") if said.place == answer.asked and said.line == f"HISTORY {answer.since}")
            expected = answer.since + 1
            for event in answer.events:
                if event.seq != expected:
                    raise Unmet(msg("event {expected} as the next of the answer to {line}", expected=expected, line=ask.line), msg("{who} heard\n{line}", who=side.who, line=event.line), "history-differs",
                                history.slice(ask, *live(all_events, expected), event))
                expected += 1
            if expected != max(answer.newest, answer.since) + 1:
                raise Unmet(msg("event {expected} before {line}", expected=expected, line=end.line), msg("the answer to {line} ended without it", line=ask.line), "history-differs",
                            history.slice(ask, *live(all_events, expected), end))
            later = next((event for _, event in all_events if event.place < answer.asked and event.seq > answer.newest), None)
            if later:
                raise Unmet(msg("an answer up to event {seq} at least, which was heard before {line} was sent", seq=later.seq, line=ask.line), msg("{who} heard\n{line}", who=side.who, line=end.line),
                            "history-stale", history.slice(later, ask, end))


def live(all_events, seq):
    return [event for _, event in all_events if event.seq == seq][:1]


def nobody_is_put_out(entries):
    """The server ends no connection whose client goes on reading and neither asked for it nor gave cause."""
    history = history_of(entries)
    if history.server_told is not None:
        return
    for side in history.sides.values():
        code = side.bye.line[4:] if side.bye else None
        if side.over is not None and not side.asked_to_end and code not in ("replaced", "refused", "banned", "protocol", "deleted", "closed"):
            last = side.heard[-1] if side.heard else None
            raise Unmet(msg("{who} to stay connected", who=side.who), msg("the server ended the connection, and said {line}", line=side.bye.line) if code else
                        msg("the server ended the connection, without a BYE"),
                        "descriptor-reused" if not code and len(side.heard) < 2 and history.gone_before(side) else "put-out",
                        history.slice(last, side.over))


CHECKERS = [lines_are_whole, each_is_greeted_once, answers_are_ones_own, a_history_ends_at_the_newest, only_members_hear, nothing_is_invented,
            one_event_has_one_number, a_name_has_one_holder, events_come_in_order, history_is_what_was_heard, what_was_said_is_heard, who_acts_is_here,
            nobody_is_put_out]


def judge(entries):
    """All of them. Raises Unmet at the first that does not hold; those that tell most come first."""
    history = History(entries)
    for checker in CHECKERS:
        checker(history)
