"""What must hold of any conversation: good records pass, each way to be bad is found and named, and
any conversation of a correct server passes.
"""

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.driving import history
from harness.driving.record import CheckFailed, Entry

TIME = "2026-11-22T13:21:28.123Z"


def record(text):
    """Entries from lines such as `ana> SAY hi` (sends), `ana< PENDING` (hears), `ana! resets`. {4}
    stands for `4 TIME`.
    """
    entries = []
    for number, line in enumerate(filter(None, map(str.strip, text.split("\n")))):
        who, sign, rest = (
            line.partition("> ")
            if "> " in line.split("<")[0]
            else line.partition("< ")
            if "< " in line
            else line.partition("! ")
        )
        for seq in range(30):
            rest = rest.replace("{%d}" % seq, f"{seq} {TIME}")
        what = {"> ": "sends", "< ": "hears"}.get(sign) or rest.split(" ")[0]
        entries.append(
            Entry(
                number / 1000,
                who,
                what,
                rest.replace(" / ", "\n") + "\n"
                if what == "sends"
                else rest
                if what == "hears"
                else rest.partition(" ")[2],
            )
        )
    return entries


START = """
    ana! connects
    ana< HELLO grupo/1 g
    ana> JOIN ana secret
    ana< PENDING
    ana< WELCOME 1 ana
    ana< IN {2} ana
    ben! connects
    ben< HELLO grupo/1 g
    ben> JOIN ben secret
    ben< PENDING
    ben< WELCOME 2 ben
    ben< IN {3} ben
    ana< IN {3} ben
"""
GOOD = {
    "a talk": "ana> SAY hi / PING x\nana< MSG {4} ana hi\nben< MSG {4} ana hi\nana< PONG x\nben> "
    "PING y\nben< PONG y",
    "the same said twice": "ana> SAY hi / SAY hi\nana< MSG {4} ana hi\nana< MSG {5} ana hi\nben< "
    "MSG {4} ana hi\nben< MSG {5} ana hi",
    "a reset: the last line before it may be heard or not": "ben> SAY hi / SAY more\nben! resets\nana< "
    "MSG {4} ben hi\nana< OUT {5} ben",
    "a history": "ana> HISTORY 0\nana< GROUP {1} g\nana< IN {2} ana\nana< IN {3} ben\nana< END "
    "HISTORY 3",
    "a history with live events in it": "ana> HISTORY 0\nben> SAY a\nben< MSG {4} ben a\nana< "
    "GROUP {1} g\nana< IN {2} ana\nana< MSG {4} ben a\n"
    "ana< IN {3} ben\nana< END HISTORY 3",
    "live before, then the same as answer": "ben> SAY a / SAY b\nana> HISTORY 3\nana< MSG {4} ben "
    "a\nana< MSG {5} ben b\nana< MSG {4} ben a\n"
    "ana< END HISTORY 4\nben< MSG {4} ben a\nben< MSG {5} ben b",
    "the answer first, then live": "ben> SAY a / SAY b\nana> HISTORY 3\nana< MSG {4} ben a\nana< "
    "END HISTORY 4\nana< MSG {4} ben a\nana< MSG {5} ben b\n"
    "ben< MSG {4} ben a\nben< MSG {5} ben b",
    "a history beyond the end": "ana> HISTORY 99\nana< END HISTORY 3",
    "half a history, then the end": "ana> HISTORY 0\nana< GROUP {1} g\nana! resets",
    "another name": "ben> NAME eva / SAY hi\nana< RENAMED {4} ben eva\nana< MSG {5} eva hi\nben< "
    "RENAMED {4} ben eva\nben< MSG {5} eva hi",
    "a name that has become free": "ana> NAME zoe\nana< RENAMED {4} ana zoe\nben< RENAMED {4} ana "
    "zoe\nben> NAME ana\nana< RENAMED {5} ben ana\n"
    "ben< RENAMED {5} ben ana\nana> NAME Zoe\nana< RENAMED {6} zoe Zoe\nben< RENAMED {6} zoe Zoe",
    "the name of one that left": "ben> LEAVE\nben< LEFT {4} ben\nben< BYE left\nben! ended\nana< "
    "LEFT {4} ben\nana> NAME ben\nana< RENAMED {5} ana ben",
    "a name that is taken": "ben> NAME ana / PING x\nben< ERR name-taken no\nben< PONG x",
    "a member goes, and comes again": "ben> QUIT\nben< BYE quit\nben! ended\nana< OUT {4} ben\nben#2! "
    "connects\nben#2< HELLO grupo/1 g\nben#2> JOIN ben secret\n"
    "ben#2< PENDING\nben#2< WELCOME 4 ben\nben#2< IN {5} ben\nana< IN {5} ben",
    "a takeover": "ben#2! connects\nben#2< HELLO grupo/1 g\nben#2> JOIN ben secret\nben#2< "
    "PENDING\nben#2< WELCOME 3 ben\nben< BYE replaced\nben! ended\n"
    "ana> SAY hi\nana< MSG {4} ana hi\nben#2< MSG {4} ana hi",
    "a member leaves for good": "ben> LEAVE\nben< LEFT {4} ben\nben< BYE left\nben! ended\nana< LEFT {4} "
    "ben",
    "who": "ana> WHO\nana< MEMBER ana here\nana< MEMBER ben here\nana< END WHO",
    "the same token again": "ana> PING x\nana< PONG x\nben> SAY hi\nben< MSG {4} ben hi\nana> PING "
    "x\nana< MSG {4} ben hi\nana< PONG x",
    "a stranger hears nothing": "eve! connects\neve< HELLO grupo/1 g\neve> PING x\neve< PONG "
    "x\neve> SAY hi\neve< ERR not-joined no",
    "two names, though str.casefold() makes them one": "ana> NAME weiß\nana< RENAMED {4} ana weiß\nben< "
    "RENAMED {4} ana weiß\nben> NAME weiss\nben< RENAMED {5} ben weiss\nana< RENAMED {5} ben weiss",
    "the server is closed": "server! signal SIGTERM\nana< BYE closed\nana! ended\nben! torn "
    "MS\nben! reset",
}
BAD = {  # what happened: (which sentence, after START, how many entries show it)
    "a line is cut": ("torn", "ana> SAY hi\nana< MSG {4} ana hi\nben< MSG 4 2026-11", 1),
    "two lines are mixed": ("torn", "ana> SAY hi\nben< MSG {4} anMSG {5} ana hi", 1),
    "the last line is cut": ("torn", "ben> QUIT\nben! torn BYE q\nben! ended", 2),
    "the end comes inside a line": ("put-out", "ben! torn MSG 4 20\nben! ended", 2),
    "no HELLO": ("not-greeted", "eve! connects\neve> PING x\neve< PONG x", 1),
    "two HELLOs": ("greeted-twice", "ben< HELLO grupo/1 g", 2),
    "another's PONG": ("answer-of-another", "ana> PING x\nben< PONG x", 2),
    "a PONG twice": ("answer-of-another", "ana> PING x\nana< PONG x\nana< PONG x", 2),
    "PONGs swapped": ("answer-of-another", "ana> PING x\nana> PING y\nana< PONG y\nana< PONG x", 2),
    "END WHO without WHO": ("answer-of-another", "ana< END WHO", 1),
    "an event before WELCOME": (
        "before-welcome",
        "eve! connects\neve< HELLO grupo/1 g\nana> SAY hi\neve< MSG {4} ana hi",
        1,
    ),
    "an event after BYE": (
        "after-bye",
        "ben> QUIT\nben< BYE quit\nana> SAY hi\nana< OUT {4} ben\nana< MSG {5} ana hi\nben< OUT "
        "{4} ben",
        2,
    ),
    "an event after LEFT": (
        "after-the-end",
        "ben> LEAVE\nana> SAY hi\nben< LEFT {4} ben\nben< MSG {5} ana hi",
        2,
    ),
    "one's own OUT": ("ones-own-out", "ben< OUT {4} ben", 1),
    "not one's own IN": (
        "not-ones-own-in",
        "eve! connects\neve< HELLO grupo/1 g\neve> JOIN eve s\neve< PENDING\neve< WELCOME 3 "
        "eve\nana> SAY hi\n"
        "eve< MSG {4} ana hi",
        2,
    ),
    "an old event": ("event-twice", "ana> SAY hi\nana< MSG {4} ana hi\nana< IN {3} ben", 2),
    "events of before WELCOME": ("before-welcome", "ben< IN {2} ana", 2),
    "two events, one number": (
        "one-number-twice",
        "ana> SAY hi\nben> SAY ho\nana< MSG {4} ana hi\nben< MSG {4} ben ho",
        2,
    ),
    "a text is changed": ("invented", "ana> SAY hi\nana< MSG {4} ana hi\nben< MSG {4} ana Hi", 1),
    "an event is missing": (
        "event-lost",
        "ana> SAY a / SAY b\nana< MSG {4} ana a\nana< MSG {5} ana b\nben< MSG {5} ana b",
        3,
    ),
    "nobody heard it": ("event-lost", "ana> SAY a / SAY b\nana< MSG {5} ana b", 2),
    "a swap": (
        "order-differs",
        "ana> SAY a / SAY b\nana< MSG {4} ana a\nana< MSG {5} ana b\nben< MSG {5} ana b\nben< MSG "
        "{4} ana a",
        4,
    ),
    "an event twice": (
        "event-twice",
        "ana> SAY a\nana< MSG {4} ana a\nben< MSG {4} ana a\nben< MSG {4} ana a",
        2,
    ),
    "a message nobody said": ("invented", "ana< MSG {4} ana hi\nben< MSG {4} ana hi", 1),
    "under another's name": ("invented", "ana> SAY hi\nana< MSG {4} ben hi", 2),
    "said once, heard twice": (
        "said-twice",
        "ana> SAY hi\nana< MSG {4} ana hi\nana< MSG {5} ana hi",
        3,
    ),
    "said once, under a number for each": (
        "two-numbers",
        "ana> SAY hi\nana< MSG {4} ana hi\nben< MSG {5} ana hi",
        3,
    ),
    "a hole in a history": (
        "history-differs",
        "ana> HISTORY 0\nana< GROUP {1} g\nana< IN {3} ben\nana< END HISTORY 3",
        3,
    ),
    "a history too short": (
        "history-differs",
        "ana> HISTORY 0\nana< GROUP {1} g\nana< END HISTORY 3",
        3,
    ),
    "a live event that a history counts as its own": (
        "history-differs",
        "ben> SAY a / SAY b\nben< MSG {4} ben a\nben< MSG {5} ben b\nana> HISTORY 0\n"
        "ana< GROUP {1} g\nana< IN {2} ana\nana< IN {3} ben\nana< MSG {4} ben a\n"
        "ana< END HISTORY 4\nana< MSG {5} ben b",
        3,
    ),
    "a history of yesterday": (
        "history-stale",
        "ana> HISTORY 0\nana< GROUP {1} g\nana< IN {2} ana\nana< END HISTORY 2",
        3,
    ),
    "a history with other text": (
        "one-number-twice",
        "ana> HISTORY 0\nana< GROUP {1} g\nana< IN {2} ana\nana< IN {3} ben\nana< END HISTORY 3\n"
        "ben> HISTORY 0\nben< GROUP {1} h\nben< IN {2} ana\nben< IN {3} ben\nben< END HISTORY 3",
        2,
    ),
    "a PONG too early": (
        "late",
        "ana> SAY hi\nana< MSG {4} ana hi\nben> PING x\nben< PONG x\nben< MSG {4} ana hi",
        4,
    ),
    "never heard": ("event-lost", "ana> SAY hi\nana< MSG {4} ana hi\nben> PING x\nben< PONG x", 3),
    "one's own words are lost": ("said-lost", "ana> SAY hi / PING x\nana< PONG x", 3),
    "last words are lost": ("said-lost", "ana> SAY hi / QUIT\nana< BYE quit", 2),
    "one's own words come late": (
        "late",
        "ana> SAY hi / PING x\nana< PONG x\nana< MSG {4} ana hi",
        4,
    ),
    "a ghost speaks": (
        "acts-while-away",
        "ben> SAY hi\nben! resets\nana< OUT {4} ben\nana< MSG {5} ben hi",
        2,
    ),
    "a name that another has": (
        "two-with-one-name",
        "ben> NAME ana\nana< RENAMED {4} ben ana\nben< RENAMED {4} ben ana",
        2,
    ),
    "a name that another took": (
        "two-with-one-name",
        "ana> NAME zoe\nben> NAME Zoe\nana< RENAMED {4} ana zoe\nben< RENAMED {4} ana zoe\n"
        "ana< RENAMED {5} ben Zoe\nben< RENAMED {5} ben Zoe",
        2,
    ),
    "the name of one that is away": (
        "two-with-one-name",
        "ben! resets\nana> NAME ben\nana< OUT {4} ben\nana< RENAMED {5} ana ben",
        2,
    ),
    "in twice": (
        "came-twice",
        "ben! resets\nben#2! connects\nben#2< HELLO grupo/1 g\nben#2> JOIN ben secret\nben#2< "
        "PENDING\nben#2< WELCOME 3 ben\n"
        "ben#2< IN {4} ben",
        2,
    ),
    "disconnected": ("put-out", "ben! ended", 2),
    "disconnected as too slow": ("put-out", "ben< BYE slow\nben! ended", 2),
}


@pytest.mark.parametrize("what", GOOD)
def test_a_good_record_passes(what):
    history.judge(record(START + GOOD[what]))


@pytest.mark.parametrize("what", BAD)
def test_a_bad_record_is_found(what):
    sentence, more, size = BAD[what]
    entries = record(START + more)
    with pytest.raises(CheckFailed) as found:
        history.judge(entries)
    assert found.value.sentence == sentence, str(found.value)
    evidence = found.value.evidence
    assert len(evidence) == size, evidence
    assert evidence == sorted(evidence, key=lambda entry: entry.at)


def test_evidence_shows_a_line_by_itself_though_others_went_out_with_it():
    with pytest.raises(CheckFailed) as found:
        history.judge(
            record(START + "ana> SAY a / SAY b / PING x\nana< MSG {4} ana a\nana< PONG x")
        )
    assert [entry.text for entry in found.value.evidence if entry.what == "sends"] == [
        "SAY b\n",
        "PING x\n",
    ]


def test_an_empty_record_is_good():
    history.judge([])


# -- Any conversation ------------------------------------------------------------------------------


class Model:
    """A tiny correct server and its clients: chance decides which one acts, and when each
    hears what is buffered for it.
    """

    def __init__(self, rng):
        self.rng, self.entries, self.kept = rng, [], [f"GROUP 1 {TIME} g"]
        self.boxes, self.here, self.number, self.tokens = {}, {}, 0, 0

    def add(self, who, what, text=""):
        self.entries.append(Entry(len(self.entries) / 1000, who, what, text))

    def event(self, verb, rest):
        self.kept.append(f"{verb} {len(self.kept) + 1} {TIME} {rest}")
        for who in self.here:
            self.boxes[who].append(self.kept[-1])

    def come(self):
        self.number += 1
        who = f"m{self.number}"
        self.add(who, "connects")
        self.boxes[who] = ["HELLO grupo/1 g", "PENDING", f"WELCOME {len(self.kept)} {who}"]
        self.add(who, "sends", f"JOIN {who} s\n")
        self.here[who] = who
        self.event("IN", who)

    def act(self, who):
        verb = self.rng.choice(
            ["SAY", "SAY", "SAY", "PING", "HISTORY", "WHO", "NAME", "QUIT", "resets"]
        )
        self.tokens += 1
        box, rest = (
            self.boxes[who],
            {
                "SAY": f" words {self.tokens}",
                "PING": f" t{self.tokens}",
                "NAME": f" n{self.tokens}",
                "HISTORY": f" {self.rng.randrange(len(self.kept) + 2)}",
            }.get(verb, ""),
        )
        if verb == "resets":
            self.add(who, "resets")
            del self.boxes[who]
        else:
            self.add(who, "sends", f"{verb}{rest}\n")
        if verb == "SAY":
            self.event("MSG", f"{self.here[who]}{rest}")
        elif verb == "PING":
            box.append(f"PONG{rest}")
        elif verb == "WHO":
            box += [*(f"MEMBER {name} here" for name in self.here.values()), "END WHO"]
        elif verb == "NAME":
            self.event("RENAMED", f"{self.here[who]}{rest}")
            self.here[who] = rest[1:]
        elif verb == "HISTORY":
            box += [*self.kept[int(rest) :], f"END HISTORY {len(self.kept)}"]
        else:
            name = self.here.pop(who)
            if verb == "QUIT":
                box += ["BYE quit", None]
            self.event("OUT", name)

    def hear(self, who, count):
        for line in self.boxes[who][:count]:
            self.add(who, "ended" if line is None else "hears", line or "")
        del self.boxes[who][:count]

    def run(self, steps):
        for _ in range(steps):
            chance = self.rng.random()
            if chance < 0.1 or not self.here:
                self.come()
            elif chance < 0.5:
                self.act(self.rng.choice(list(self.here)))
            else:
                self.hear(self.rng.choice(list(self.boxes)), self.rng.randrange(1, 6))
        for who in list(self.boxes):
            self.hear(who, len(self.boxes[who]))
        for who in list(self.here):  # a last fence for those who stayed
            self.add(who, "sends", f"PING last-{who}\n")
            self.boxes[who].append(f"PONG last-{who}")
        for who in list(self.boxes):
            self.hear(who, len(self.boxes[who]))
        return self.entries


def conversation(seed, steps=60):
    return Model(random.Random(seed)).run(steps)


many = settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@many
@given(st.integers(0, 10**9), st.integers(0, 120))
def test_any_conversation_of_a_correct_server_passes(seed, steps):
    history.judge(conversation(seed, steps))


def heard_of(entries, *verbs):
    """Places of such lines, heard by those who stayed: what became of the others is not known."""
    stayed = {entry.who for entry in entries if entry.text.startswith("PING last-")}
    return [
        place
        for place, entry in enumerate(entries)
        if entry.what == "hears" and entry.who in stayed and entry.text.split(" ")[0] in verbs
    ]


def drop(entries, rng):
    """One MSG is not heard by one who goes on listening."""
    del entries[rng.choice(heard_of(entries, "MSG"))]


def double(entries, rng):
    place = rng.choice(heard_of(entries, "MSG", "IN", "OUT", "PONG"))
    entries.insert(place, entries[place])


def number(entry):
    return int(entry.text.split(" ")[1])


def swap(entries, rng):
    """Two live MSGs that one client heard one after the other. (One of an answer to HISTORY may
    well change places with a live one.)
    """
    since = {entry.who: number(entry) for entry in entries if entry.text.startswith("WELCOME ")}
    heard = [
        place
        for place in heard_of(entries, "MSG")
        if number(entries[place]) > since[entries[place].who]
    ]
    counts = Counter((entries[place].who, entries[place].text) for place in heard)
    live = [place for place in heard if counts[entries[place].who, entries[place].text] == 1]
    pairs = [
        (one, other)
        for one in live
        for other in live
        if one < other and entries[one].who == entries[other].who
    ]
    one, other = rng.choice(pairs)
    entries[one], entries[other] = (
        entries[other]._replace(at=entries[one].at),
        entries[one]._replace(at=entries[other].at),
    )


def tear(entries, rng):
    place = rng.choice(heard_of(entries, "MSG"))
    entries[place] = entries[place]._replace(text=entries[place].text[: rng.randrange(1, 25)])


def change(entries, rng):
    """Another text, of a message of this record. (What was said before the first WELCOME may come
    from a time before it.)
    """
    began = min(
        (number(entry) for entry in entries if entry.text.startswith("WELCOME ")), default=0
    )
    place = rng.choice(
        [place for place in heard_of(entries, "MSG") if number(entries[place]) > began]
    )
    entries[place] = entries[place]._replace(text=entries[place].text + "x")


def invent(entries, rng):
    """A line comes to one who is not concerned."""
    place = rng.choice(heard_of(entries, "HELLO"))
    entries.insert(place + 1, entries[place]._replace(text=f"MSG 1 {TIME} m1 words"))


def mislead(entries, rng):
    """An answer goes to another."""
    place = rng.choice(heard_of(entries, "PONG"))
    others = sorted({entry.who for entry in entries} - {entries[place].who})
    entries[place] = entries[place]._replace(who=rng.choice(others))


@many
@pytest.mark.parametrize("mutation", [drop, double, swap, tear, change, invent, mislead])
@given(seed=st.integers(0, 10**9))
def test_each_mutation_of_a_good_record_is_found(mutation, seed):
    entries = conversation(seed)
    try:
        mutation(entries, random.Random(seed))
    except IndexError:
        return  # there was nothing to spoil
    with pytest.raises(CheckFailed):
        history.judge(entries)
