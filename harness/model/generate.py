"""Makes dialogues by chance. Each is a few short scenes, and a scene aims at one kind of rule.

Equal chances for all requests find little. Most bugs sit at a limit, behind a value that another
client used before, or in what happens while a request is under way. So scenes prefer these, and
draw their variants from shuffled decks: each rare one comes soon.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, TypeVar

from harness.model.play import Act, Dialogue

LABS = range(9)
LAB_OF_SLOW_READERS = 5
FEW_STRANGERS = 3  # --max-strangers of a server that has room for few
PEOPLE = "ana", "ben", "eve", "carl", "dora"
Acts = list[Act]
Card = TypeVar("Card")

# -- What may be said: one less than a limit, exactly that, and one more

GOOD = "PING", "PONG", "SAY", "SAY", "NAME", "WHO", "WHO", "HISTORY", "HISTORY", "JOIN"
TOKENS = "1", "!~", "t" * 63, "t" * 64
TEXTS = (
    *("hi", " two  spaces ", " ", "PING 1", "x" * 399, "x" * 400, "é" * 200, "\U0001f600" * 100),
    *("olá", "\u2028", "e\u0301", "\ue000\U0010fffd", "\xa0"),
)
SINCES = "0", "1", "2", "3", "5", "999", "0" * 16, "9" * 16, "0001"
# Requests of every lab that get an ERR, mostly because of one character. \udcff is the byte 0xff.
WRONG = (
    *("HOLA", "ping 1", "Ping 1", "PINGPONG", " PING 1", "PING", "PING ", "PING  1", "PING a b"),
    *("PING " + "t" * 65, "PING \xe1", "QUIT now", "QUIT ", "PONG", "PONG ", "x" * 511, "quit"),
    *("a\tb", "\x7f", "\x85", "\x1b[2J", "\u202e", "\ufdd0", "\U0001fffe", "PING \x00", "PING\t1"),
    *("\udcff", "PING \udcc0\udc80", "\udced\udca0\udc80", "\udce9", "\udcf5\udc80\udc80\udc80"),
    *("a\rb", "PING 1\r\r", "PING 1 "),
)
WRONG_NAMES = "-a", ".a", "_a", "a/b", "a:b", "a,b", "?", "\ue000", "a\xb7", "a\U00040000", "q" * 33
# Requests that a member may get wrong.
WRONG_FOR_MEMBERS = (
    *("SAY", "SAY ", "say hi", "SAYhi", "SAY " + "a" * 401, "SAY " + "é" * 200 + "a"),
    *("SAY a\x85b", "SAY a\tb", "SAY \u2066", "SAY " + "\U0001f600" * 101, "SAY " + "a" * 507),
    *("WHO ", "WHO x", "who", "LEAVE ", "LEAVE now", "NAME", "NAME ", "NAME  a", "NAME a b"),
    *("NAME a ", "NAME \udcff", "HISTORY", "HISTORY ", "HISTORY -1", "HISTORY +1", "HISTORY 1.0"),
    *("HISTORY 1 ", "HISTORY 1 2", "HISTORY " + "1" * 17, "HISTORY \u0661", "HISTORY 0x1"),
    *("HISTORY  1", "JOIN", "JOIN ", "JOIN a", "JOIN a ", "JOIN  a b", "JOIN a " + "p" * 129),
    *("JOIN a p" + "ç" * 64, "NAME " + "é" * 33, "NAME " + "中" * 22),  # few characters, many bytes
    *(f"NAME {name}" for name in WRONG_NAMES),
    *(f"JOIN {name} x" for name in WRONG_NAMES),
)
# Lines at the limit of 512 bytes, and where they are cut: the LF may come apart.
LENGTHS = list(
    product(
        ("x" * 510, "x" * 511, "x" * 512, "x" * 600, "PING " + "t" * 64, "SAY " + "s" * 400),
        ("\n", "\r\n"),
        (1, 5, -1, -2, 510, 511, 512),
    )
)
ORDERS = (
    *("accept {}", "reject {}", "ban {}", "unban {}", "ban {}", "unban {}", "accept {}"),
    *("members", "help", "rename os-lab", "rename a  b", "rename " + "g" * 64, "rename João"),
    *(
        "rename " + "é" * 32,
        "rename g" + "é" * 32,
        "rename " + "g" * 65,
        "rename  a",
        "rename a ",
        "rename ",
        "rename",
    ),
    *("accept", "accept ", "ban", "ban ", "ban  {}", "ban {} x", "ban {} ", "unban {} x", "reject"),
    *("members x", "members ", "help me", "close now", "delete it", "Members", "dance", "ban -a"),
    *(
        "x" * 511,
        "x" * 512,
        "rename a\tb",
        "rename \u202e",
        "\udcff",
        "ban \udcff",
        "ban " + "q" * 33,
    ),
)
LASTS = "QUIT", "LEAVE", "shuts", "resets", "closes"
# What a silent client does again and again.
WAYS = "nothing", "nothing", "sometimes", "pongs", "\n", "x", "PING 1\n", "HOLA\n"


def utf8(text: str) -> str:
    """Return the UTF-8 bytes of a text, each as the Latin-1 character of its number."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def sends(who: str, *lines: str, more: bool = False) -> Act:
    """A client sends these lines in one piece."""
    return Act(who, "sends", "".join(f"{utf8(line)}\n" for line in lines), more)


def types(line: str) -> Act:
    """The owner types a line."""
    return Act("owner", "types", utf8(line))


def join(who: str, name: str = "", password: str = "") -> str:
    """A JOIN; by default under this person's own name, with the right password."""
    name = name or who
    return f"JOIN {name} {password or f'secret-of-{name.lower()}'}"


class Author:
    """Writes dialogues with the requests of a lab. `admit` is the server's --admit.

    `requests`: the only ones that a server knows which is not finished. Its owner gives no orders,
    and nobody joins with a name that is in use.
    """

    def __init__(self, rng: random.Random, lab: int = 8, requests: tuple[str, ...] = ()):
        self.rng, self.lab, self.admit, self.only = rng, lab, "all", requests
        self.people: tuple[str, ...] = PEOPLE
        self.used: list[str] = []  # names that came in this dialogue
        self.decks: dict[str, list[Any]] = {}

    def dialogue(self) -> Dialogue:
        """Return a new dialogue."""
        self.people, self.used = PEOPLE[: self.rng.choice((2, 3, 3, 3, 5))], []
        acts: Acts = []
        for _ in range(self.rng.choice((1, 2, 2, 3, 4))):
            acts += self.draw(f"scenes {self.admit}", self.scenes())()
        if self.only:  # without an order nobody knows when a server has noticed another end
            acts = [
                replace(act, what="shuts") if act.what in ("closes", "resets") else act
                for act in acts
            ]
        return Dialogue(self.opening() if self.lab else [], acts)

    def scenes(self) -> list[Callable[[], Acts]]:
        """Return the scenes of this lab, each as often as its weight."""
        scenes = [*[self.requests] * 6, *[self.lengths] * 4, *[self.going] * 4, *[self.pieces] * 3]
        if self.only:
            return scenes
        if self.lab >= 1:
            scenes += [*[self.naming] * 6, *[self.arriving] * 5, *[self.ordering] * 6]
            scenes += [*[self.ending] * 4, *[self.failing] * 2, *[self.long_history] * 2]
            scenes += [*[self.filling] * 2, *[self.insisting] * 3, self.deleting]
        if self.lab >= 1 and self.admit == "ask":
            scenes += [self.asked] * 8
        if self.lab >= 2:
            scenes += [self.crowding] if self.admit == "ask" else []
            scenes += [*[self.at_once] * 4, *[self.meanwhile] * 8, *[self.breaking] * 2]
        if self.lab >= LAB_OF_SLOW_READERS:
            scenes += [self.sleeping] * 2
        return scenes

    # -- Chance

    def draw(self, deck: str, cards: Sequence[Card]) -> Card:
        """Return the next card of a shuffled deck. Each comes once before any comes again."""
        if not self.decks.get(deck):
            self.decks[deck] = self.rng.sample(list(cards), len(cards))
        card: Card = self.decks[deck].pop()
        return card

    def one(self) -> str:
        """Return one of the people."""
        return self.rng.choice(self.people)

    def chance(self, part: float) -> bool:
        """Return True in this part of the cases."""
        return self.rng.random() < part

    # -- People, names and requests

    def opening(self) -> Acts:
        """Some are members, and here, before the first scene.

        Where nobody new is admitted, the server admits them first, and then starts again.
        """
        here = self.people[: self.draw("here", (0, 1, 2, 2, 2, 2, 3))]
        enter = [act for who in here for act in self.enters(who)]
        if self.admit == "none":
            return [*enter, Act("server", "restart", "admit=none"), *enter]
        return enter

    def enters(self, label: str, name: str = "") -> Acts:
        """A person joins, and the owner accepts if need be."""
        name = name or label
        accepts = [types(f"accept {name}")] if self.admit == "ask" else []
        return [sends(label, join(name)), *accepts]

    def name(self) -> str:
        """Return a name that is or was in use, in any case; or a new one, or one at a limit."""
        if self.used and self.chance(0.4):
            return self.rng.choice((str, str.upper, str.lower))(self.rng.choice(self.used))
        self.used.append(self.new_name())
        return self.used[-1]

    def new_name(self) -> str:
        """Return a name in one of several forms."""
        who = self.one()
        forms = ("{}", "{}", "{}", "{}-2", "{}.x", "{}_Y", "João", "JOÃO", "long", "upper", "upper")
        form = self.draw("names", forms)
        if form == "long":
            return "".join(self.rng.choices("qwxyz0123456789", k=self.rng.choice((31, 32))))
        return who.upper() if form == "upper" else form.format(who)

    def good(self) -> str:
        """Return a request that may succeed."""
        kind = self.draw("good", self.known(GOOD, "JOIN") if self.lab else GOOD[:2])
        if kind in ("PING", "PONG"):
            return f"{kind} {self.draw('tokens', TOKENS)}"
        if kind == "SAY":
            return f"SAY {self.draw('texts', TEXTS)}"
        if kind == "HISTORY":
            return f"HISTORY {self.draw('sinces', SINCES)}"
        return {"NAME": f"NAME {self.name()}", "JOIN": join(self.one())}.get(kind, kind)

    def request(self) -> str:
        """Return a request, well-formed or nearly so."""
        if self.chance(0.6):
            return self.good()
        return self.draw("wrong", WRONG + self.known(WRONG_FOR_MEMBERS) if self.lab else WRONG)

    def known(self, requests: tuple[str, ...], *but: str) -> tuple[str, ...]:
        """Return these without the verbs that a server lacks which is not finished, and `but`."""
        lacks = {*GOOD, "LEAVE"} - set(self.only) | set(but) if self.only else set()
        return tuple(one for one in requests if one.partition(" ")[0] not in lacks)

    # -- Scenes for every lab

    def requests(self) -> Acts:
        """Requests one by one, or many in one piece; then the client may go."""
        who = self.one()
        sizes = self.draw("sizes", ((1, 1, 1), (2,), (3, 1), (12,), (25,)))
        acts = [sends(who, *(self.request() for _ in range(size))) for size in sizes]
        last = self.draw("then", ("", "", "", "shuts", "resets", "closes", "QUIT"))
        if last == "QUIT":  # with something behind it that nobody reads
            return [*acts, sends(who, self.request(), "", last, self.good())]
        return [*acts, Act(who, last)] if last else acts

    def lengths(self) -> Acts:
        """Lines at the limit of their length, cut somewhere."""
        acts: Acts = []
        for who in self.rng.sample(self.people, 2):
            cards = [one for one in LENGTHS if self.lab or not one[0].startswith("SAY")]
            line, end, cut = self.draw("lengths", cards)
            line = utf8(line) + end
            cut = max(1, min(cut if cut > 0 else len(line) + cut, len(line) - 1))
            acts += [Act(who, "piece", line[:cut]), Act(who, "sends", f"{line[cut:]}PING 1\n")]
        return acts

    def pieces(self) -> Acts:
        """A line in pieces, and others' requests or halves of lines in between."""
        who, other = self.rng.sample(self.people, 2)
        line = utf8(self.request()) + self.draw("ends", ("\n", "\r\n"))
        cuts = sorted({self.rng.randrange(1, len(line)) for _ in range(self.rng.choice((1, 2, 4)))})
        parts = [line[start:end] for start, end in zip([0, *cuts], [*cuts, len(line)], strict=True)]
        half = utf8(self.good())
        between = self.draw("between", ("", "request", "half", "half", "goes"))
        acts = [Act(who, "piece", part) for part in parts[:-1]]
        if between == "request":
            acts.append(sends(other, self.request()))
        elif between == "half":
            acts += [Act(other, "piece", half[:3]), Act(other, "sends", f"{half[3:]}\n")]
        elif between == "goes":
            acts.append(Act(other, self.rng.choice(("resets", "closes", "shuts"))))
        return [*acts, Act(who, "sends", parts[-1])]

    def going(self) -> Acts:
        """A client ends its connection, with requests or half a line before; it may come back."""
        last, before, after = self.draw("going", list(product(LASTS, range(4), range(3))))
        if not self.lab or self.only:
            last, after = ("QUIT" if last == "LEAVE" else last), 0
        who, acts = self.one(), Acts()
        if before == 1:
            acts.append(sends(who, self.request(), self.request(), more=True))
        elif before == 2:
            acts.append(Act(who, "piece", utf8(self.good())[: self.rng.randrange(1, 9)]))
        elif before == 3 and self.lab and not self.only:
            acts.append(sends(who, join(who), self.good(), more=True))
        acts.append(sends(who, last, self.good()) if last.isupper() else Act(who, last))
        if after == 1:
            acts += self.enters(who)
        elif after == 2:
            acts.append(sends(who, join(who), "WHO"))
        return acts

    # -- Scenes about names, the owner, and the end of the server

    def naming(self) -> Acts:
        """A member takes a name; then people use the old one and the new one."""
        who, other = self.rng.sample(self.people, 2)
        name = self.name()
        uses = {
            "opens": lambda old: sends(other, join(other, old, f"secret-of-{who}")),
            "takes": lambda old: sends(other, f"NAME {old}", "WHO"),
            "again": lambda old: sends(who, f"NAME {old}", "WHO"),
            "bans": lambda old: types(f"ban {old}"),
            "unbans": lambda old: types(f"unban {old}"),
            "leaves": lambda old: sends(who, "LEAVE"),
            "talks": lambda old: sends(who, "SAY renamed", "WHO"),
            "goes": lambda old: Act(who, "resets"),
            "restart": lambda old: Act("server", "restart"),
            "killed": lambda old: Act("server", "killed"),
        }
        acts: Acts = [sends(who, f"NAME {name}")]
        for _ in range(self.rng.choice((1, 2, 3))):
            use = self.draw("uses", [*uses, *list(uses)[:8] * 2])
            acts.append(uses[use](self.draw("old", (who, name, who.upper(), name.upper()))))
        return [*acts, sends(f"{who}2", join(who, name, f"secret-of-{who}"), "WHO", "HISTORY 0")]

    def arriving(self) -> Acts:
        """JOINs: right, wrong, again, as another, for a name that others hold."""
        who, name, acts = self.one(), self.name(), Acts()
        own = f"secret-of-{name.lower()}"
        passwords = ("", "", "", " ", "short", "x", "p" * 128, "ç" * 64, "case")
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            kind = self.draw("passwords", passwords)
            password = {"": own, " ": f"{own} ", "short": own[:-1], "case": own.upper()}.get(
                kind, kind
            )
            label = self.draw("labels", (who, f"{who}2", f"{who}2"))
            acts.append(
                sends(label, join(who, name, password), *(["WHO"] if self.chance(0.3) else []))
            )
        if self.admit == "ask":
            acts.append(types(f"{self.draw('says', ('accept', 'accept', 'reject', 'ban'))} {name}"))
        return acts

    def asked(self) -> Acts:
        """A client asks to join with a new name; then two things happen that concern this name,
        one after the other or at the same time.
        """
        who, other = self.rng.sample(self.people, 2)
        joiner, name = f"{who}2", "".join(self.rng.choices("qwxyz", k=8))
        deeds = {
            **{word: types(f"{word} {name}") for word in ("accept", "reject", "ban", "unban")},
            **{way: Act(joiner, way) for way in ("resets", "closes", "shuts")},
            "BAN": types(f"ban {name.upper()}"),
            "quits": sends(joiner, "QUIT"),
            "again": sends(joiner, join(joiner, name), "SAY hi"),
            "takes": sends(other, f"NAME {name.upper()}"),
            "other": sends(f"{other}2", join(other, name, "x"), "PING 1"),
            "restart": Act("server", "restart"),
        }
        two = self.draw("asked", list(product(deeds, deeds)))
        acts = [deeds[one] for one in two]
        if self.lab >= 2 and "restart" not in two and self.chance(0.4):
            acts = [Act("server", "stops"), *acts, Act("server", "goes")]
        return [
            *self.enters(other),
            sends(joiner, join(joiner, name)),
            *acts,
            sends(other, "WHO"),
            sends(joiner, join(joiner, name), "WHO"),
        ]

    def order(self) -> Act:
        """A line of the owner's."""
        return types(self.draw("orders", ORDERS).format(self.draw("of", (self.one(), self.name()))))

    def ordering(self) -> Acts:
        """The owner types orders, some twice; clients see what came of it."""
        acts: Acts = []
        for _ in range(self.rng.choice((2, 3, 4))):
            acts += [self.order()] * self.draw("twice", (1, 1, 2))
            if self.chance(0.4):
                acts.append(sends(self.one(), self.request(), "WHO"))
        return acts

    def ending(self) -> Acts:
        """The server ends, in order or not, right after something happened; and starts again."""
        before = self.naming, self.arriving, self.going, self.ordering, self.requests
        ways = "restart", "killed", "close", "SIGINT", "SIGHUP"
        what, scene = self.draw("ending", list(product(ways, before)))
        end = types("close") if what == "close" else Act("server", what)
        who = self.one()
        return [*scene(), end, *self.enters(who), sends(who, "HISTORY 0", "WHO", "SAY again")]

    def insisting(self) -> Acts:
        """The server ends a connection, perhaps inside a line, and its client sends more."""
        who, other = self.rng.sample(self.people, 2)
        half = "SAY goodbye"
        ends = {
            "replaced": self.enters(f"{who}2", who),
            "banned": [types(f"ban {who}")],
            "quit": [sends(who, "QUIT")],
            "left": [sends(who, "LEAVE")],
            "protocol": [sends(who, "x" * 600)],
        }
        end, is_cut = self.draw("insisting", list(product(ends, (True, False))))
        is_cut = is_cut and end in ("replaced", "banned")
        first = self.draw("insists", ("SAY more", "NAME mallory", "WHO", "LEAVE", "PING 1"))
        return [
            *self.enters(who),
            *self.enters(other),
            *([Act(who, "piece", half)] if is_cut else []),
            *ends[end],
            Act(who, "insists", "\n" if is_cut else f"{first}\nSAY again\n"),
            sends(other, "WHO", "HISTORY 0"),
        ]

    def deleting(self) -> Acts:
        """`delete`, with consent or without."""
        consents = "grupo", "no", "members", "GRUPO", "grupo ", "", "x" * 600
        who = self.one()
        return [
            types("delete"),
            types(self.draw("consents", consents)),
            sends(who, join(who), "WHO"),
        ]

    def failing(self) -> Acts:
        """About ten ERRs before WELCOME, or three REJECTED; after WELCOME they do not count."""
        who = self.one()
        errors = [self.draw("wrong", WRONG) for _ in range(self.draw("errors", (8, 9, 10, 11)))]
        kind = self.draw("failing", ("strangers", "members", "guesses", "rejects"))
        if kind == "rejects" and self.admit == "ask":
            asks = sends(f"{who}2", join(f"{who}2", f"{who}.asks"))
            waits = Act("server", "waits", "0.3")  # for REJECTED
            one = [asks, types(f"reject {who}.asks"), waits]
            return [*one * 3, sends(f"{who}2", "PING 1")]
        if kind == "guesses":
            guesses = [sends(f"{who}2", join(who, who, f"guess-{n}"), "PING 1") for n in range(3)]
            return [*self.enters(who), *guesses]
        if kind == "members":
            return [sends(who, *errors[:5]), *self.enters(who), sends(who, *errors, "PING 1")]
        return [
            sends(f"{who}2", *errors[:4]),
            sends(f"{who}2", *errors[4:]),
            sends(f"{who}2", "PING 1"),
        ]

    def long_history(self) -> Acts:
        """A HISTORY of several buffers, while others talk."""
        who, other = self.rng.sample(self.people, 2)
        size = self.draw("history", (100, 900))
        return [
            sends(who, *("SAY " + "h" * 400 for _ in range(size))),
            sends(who, "HISTORY 0", "WHO", "PING 1", more=True),
            *(sends(other, f"SAY {number}", more=True) for number in range(3)),
            sends(other, "HISTORY 1", "SAY last"),
        ]

    def sleeping(self) -> Acts:
        """A member reads nothing while others talk, more than its connection holds, but far less
        than --outbox; then it reads again, or goes.
        """
        who, other = self.rng.sample(self.people, 2)
        stuck = f"{who}3"
        talk = sends(other, *("SAY " + "s" * 400 for _ in range(120)))
        deeds = types(f"ban {who}"), types("rename asleep"), sends(who, join(who)), self.deed()
        meanwhile = [talk] * 4 + [self.draw("asleep", deeds)]
        end = self.draw("awake", ("wakes", "wakes", "resets", "closes"))
        return [
            *self.enters(other),
            Act(stuck, "narrow"),
            sends(stuck, join(who)),
            *([types(f"accept {who}")] if self.admit == "ask" else []),
            Act(stuck, "sleeps"),
            *self.rng.sample(meanwhile, len(meanwhile)),
            Act(stuck, end),
            sends(other, "SAY last", "WHO"),
        ]

    def filling(self) -> Acts:
        """As many strangers as there is room for, and one more; then one goes or joins, or does
        not, and others come.
        """
        who = self.one()
        strangers = [f"{who}{n}" for n in range(2, 3 + self.draw("strangers", (2, 3, 3, 4)))]
        deeds = {
            "nothing": [],
            "joins": self.enters(strangers[0]),
            "quits": [sends(strangers[0], "QUIT")],
            "errs": [sends(strangers[0], *["HOLA"] * 10)],
            "shuts": [Act(strangers[0], "shuts")],
            "closes": [Act(strangers[0], "closes")],
            "guesses": [*self.enters(who), sends(strangers[0], join(who, who, "a guess"))],
        }
        return [
            *(sends(one, "PING 1") for one in strangers),
            *deeds[self.draw("filling", list(deeds))],
            sends(strangers[-1], "PING 2"),
            sends(f"{who}9", self.request()),
        ]

    def crowding(self) -> Acts:
        """More than 32 names ask to join."""
        crowd = [
            sends(f"{self.people[0]}{n}x", f"JOIN {self.people[0]}-{n} x", more=True)
            for n in range(33)
        ]
        return [
            *crowd,
            types("members"),
            types(f"reject {self.people[0]}-3"),
            *self.enters(self.one()),
        ]

    # -- Scenes in which things happen at the same time

    def deed(self) -> Act:
        """What a client or the owner may do at any time."""
        who = self.one()
        kinds = ("good", "two", "NAME", "JOIN", "JOIN2", *LASTS, "order", "order", "good", "NAME")
        kind = self.draw("deeds", kinds)
        if kind == "order":
            return types(f"{self.draw('words', ('ban', 'unban', 'accept', 'reject'))} {self.one()}")
        lines = {
            "good": [self.good()],
            "two": [self.good(), self.good()],
            "NAME": [f"NAME {self.name()}"],
            "JOIN": [join(self.one())],
            "JOIN2": [join(who), self.good()],
        }.get(kind, [kind])
        return (
            Act(who, kind)
            if kind.islower() and kind in LASTS
            else sends(f"{who}2" if kind == "JOIN2" else who, *lines)
        )

    def at_once(self) -> Acts:
        """Several act while the server is stopped: it finds all of it at the same time."""
        acts = [self.deed() for _ in range(self.rng.choice((2, 2, 3, 4)))]
        return [Act("server", "stops"), *acts, Act("server", "goes")]

    def breaking(self) -> Acts:
        """Connections end at the same time as an event is sent to them."""
        people = self.rng.sample(PEOPLE, 4)
        who, *others = people
        ways = self.draw("breaking", list(product(("resets", "closes", "shuts"), range(1, 4))))
        ends = [Act(one, ways[0]) for one in others[: ways[1]]]
        says = sends(who, *["SAY hi"] * self.draw("hi", (1, 3)))
        event = self.draw("event", (says, says, types("rename at once"), sends(who, "LEAVE")))
        return [
            *(act for one in people for act in self.enters(one)),
            Act("server", "stops"),
            *self.rng.sample([*ends, event], len(ends) + 1),
            Act("server", "goes"),
            sends(who, "WHO"),
        ]

    def meanwhile(self) -> Acts:
        """A JOIN is under way, and something happens to its name, or to its client."""
        who, other = self.rng.sample(self.people, 2)
        joiner = f"{who}2"
        deeds = {
            "ban": lambda name: types(f"ban {name}"),
            "unban": lambda name: types(f"unban {name}"),
            "accept": lambda name: types(f"accept {name}"),
            "reject": lambda name: types(f"reject {name}"),
            "takes": lambda name: sends(other, f"NAME {name}", "WHO"),
            "TAKES": lambda name: sends(other, f"NAME {name.upper()}"),
            "leaves": lambda name: sends(who, "LEAVE"),
            "renames": lambda name: sends(who, f"NAME {self.name()}"),
            "RENAMES": lambda name: sends(who, f"NAME {name.upper()}"),
            "joins": lambda name: sends(other, join(other, name)),
            "guesses": lambda name: sends(f"{other}2", join(other, name, "another")),
            "shuts": lambda name: Act(joiner, "shuts"),
            "resets": lambda name: Act(joiner, "resets"),
            "closes": lambda name: Act(joiner, "closes"),
            "says": lambda name: sends(joiner, self.request(), self.request()),
            "others": lambda name: sends(other, "WHO", self.good()),
        }
        deed, state = self.draw("meanwhile", list(product(deeds, ("new", "away", "as it is"))))
        name = who if state != "as it is" else self.draw("whose", (who, other, self.name()))
        first = [*self.enters(who), Act(who, "closes")] if state == "away" else []
        if deed in ("leaves", "renames", "RENAMES"):
            first, name = self.enters(who), who
        password = self.draw("knock", ("", "", "", "x"))
        knock = sends(
            joiner, join(who, name, password), *([self.good()] if self.chance(0.2) else [])
        )
        acts = [
            *first,
            replace(knock, more=True),
            Act(joiner, "awaits", more=True),
            deeds[deed](name),
        ]
        if self.admit == "ask":
            acts.append(types(f"{self.draw('says', ('accept', 'accept', 'reject', 'ban'))} {name}"))
        return [*acts, sends(other, "WHO")]

    # -- Dialogues in which time passes

    def quiet_dialogue(self) -> Dialogue:
        """Return a dialogue in which time passes, for a server with small limits.

        Each client keeps to one way of being silent, or nearly so.
        """
        self.people = PEOPLE
        members = list(self.rng.sample(PEOPLE, 3))
        opening = [act for who in members for act in self.enters(who)]
        if self.admit == "ask":
            opening.append(sends("fay", join("fay")))
        ways = {who: self.draw("ways", WAYS) for who in (*members, "fay", "stranger")}
        acts: Acts = [sends("stranger", "PING 1")]
        # The time of a JOIN does not count for --join-within.
        acts += [sends("guesser", join("guesser", members[0], "a guess"))] * self.draw(
            "guesses", (0, 1, 1)
        )
        for _ in range(self.draw("ticks", (3, 6, 9))):
            for who, way in ways.items():
                acts += [replace(act, more=True) for act in self.tick(who, way)]
            acts.append(Act("server", "waits", self.draw("waits", ("0.4", "0.4", "0.9"))))
        return Dialogue(opening, [*acts, Act("server", "waits", "1.5")])

    def tick(self, who: str, way: str) -> Acts:
        """Return what a client does now that is silent in this way."""
        if way == "sometimes":
            way = self.draw("sometimes", ("nothing", "nothing", "PING 1\n", "pongs"))
        if way == "nothing":
            return []
        return [Act(who, "pongs") if way == "pongs" else Act(who, "sends", way)]
