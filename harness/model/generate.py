"""Makes dialogues by chance. Each is a few short scenes, and a scene aims at one kind of rule.

Equal chances for all requests find little: most bugs sit at a limit, behind a value that another
client used before, or in what happens while a request is under way. So scenes prefer these.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from harness.model.play import Act, Dialogue

PEOPLE = "ana", "ben", "eve", "carl", "dora"
Acts = list[Act]
# What a silent client does again and again, in quiet_dialogue().
WAYS = "nothing", "nothing", "sometimes", "pongs", "\n", "x", "PING 1\n", "HOLA\n"


def sends(who: str, *lines: str, more: bool = False) -> Act:
    """A client sends these lines in one piece."""
    return Act(who, "sends", "".join(f"{utf8(line)}\n" for line in lines), more)


def utf8(text: str) -> str:
    """Return the UTF-8 bytes of a text, each as the Latin-1 character of its number."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def join(who: str, name: str = "", password: str = "") -> str:
    """A JOIN; by default as this person with the right password."""
    name = name or who
    return f"JOIN {name} {password or f'secret-of-{name.lower()}'}"


class Author:
    """Writes dialogues with the requests of a lab. `admit` is the server's --admit."""

    def __init__(self, rng: random.Random, lab: int = 8, admit: str = "all") -> None:
        self.rng, self.lab, self.admit = rng, lab, admit

    def quiet_dialogue(self) -> Dialogue:
        """Return a dialogue in which time passes, for a server with small limits.

        Each client keeps to one way of being silent, or nearly so.
        """
        self.people = PEOPLE
        members = list(self.rng.sample(PEOPLE, 3))
        opening = [act for who in members for act in self.enters(who)]
        if self.admit == "ask" and self.chance(0.7):
            opening.append(sends("fay", join("fay")))
        ways = {who: self.rng.choice(WAYS) for who in (*members, "fay", "stranger")}
        acts: Acts = [Act("stranger", "sends", "PING 1\n")]
        for _ in range(self.rng.choice((3, 6, 9))):
            for who, way in ways.items():
                acts += [replace(act, more=True) for act in self.tick(who, way)]
            acts.append(Act("server", "waits", self.rng.choice(("0.4", "0.4", "0.9"))))
        return Dialogue(opening, [*acts, Act("server", "waits", "1.5")])

    def tick(self, who: str, way: str) -> Acts:
        """Return what a client does now that is silent in this way."""
        if way == "sometimes":
            way = self.rng.choice(("nothing", "nothing", "PING 1\n", "pongs"))
        if way == "nothing":
            return []
        return [Act(who, "pongs") if way == "pongs" else Act(who, "sends", way)]

    def dialogue(self) -> Dialogue:
        """Return a new dialogue."""
        self.people = PEOPLE[: self.rng.choice((2, 3, 3, 3, 5))]
        opening = [] if self.lab == 0 else self.opening()
        acts: Acts = []
        for _ in range(self.rng.choice((1, 2, 2, 3, 4))):
            scenes, weights = zip(*self.scenes(), strict=True)
            [scene] = self.rng.choices(scenes, weights)
            acts += scene()
        return Dialogue(opening, acts)

    def scenes(self) -> list[tuple[Callable[[], Acts], float]]:
        """Return the scenes of this lab, each with its weight."""
        if self.lab == 0:
            return [(self.noise, 3), (self.many, 2), (self.going, 2), (self.pieces, 2)]
        scenes: list[tuple[Callable[[], Acts], float]] = [
            (self.noise, 4),
            (self.many, 3),
            (self.going, 3),
            (self.pieces, 2),
            (self.talk, 2),
            (self.naming, 5),
            (self.arriving, 4),
            (self.ordering, 4),
            (self.ending, 0.4),
            (self.deleting, 0.15),
            (self.failing, 0.5),
            (self.long_history, 0.3),
        ]
        if self.lab >= 2:
            scenes += [(self.at_once, 4), (self.meanwhile, 6)]
        return scenes

    # -- Who and what

    def one(self) -> str:
        return self.rng.choice(self.people)

    def chance(self, part: float) -> bool:
        return self.rng.random() < part

    def opening(self) -> Acts:
        """Some are members, and here, before the first scene."""
        acts: Acts = []
        for who in self.people[: self.rng.choice((0, 1, 2, 2, 2, 3))]:
            acts += self.enters(who)
        return acts

    def enters(self, who: str) -> Acts:
        """A person joins, and the owner accepts if need be."""
        accepts = [Act("owner", "types", f"accept {who}")] if self.admit == "ask" else []
        return [sends(who, join(who)), *accepts]

    def name(self) -> str:
        """A name that is or was in use, in any case; or a new one, or one at a limit."""
        name = self.one()
        return self.rng.choice(
            (
                name,
                name,
                name,
                name.upper(),
                name.capitalize(),
                f"{name}-2",
                f"{name}.x",
                f"{name}_y",
                f"{name}-2".upper(),
                self.long_name(32),
                self.long_name(31),
                "João",
                "joão",
            )
        )

    def long_name(self, length: int) -> str:
        """A name of this length that no other dialogue has."""
        return "".join(self.rng.choices("qwxyz0123456789", k=length))

    def wrong_name(self) -> str:
        return self.rng.choice(
            (
                self.long_name(33),
                "-a",
                ".a",
                "_a",
                "a/b",
                "a:b",
                "a,b",
                "?",
                "a\x00b",
                "\ue000",
                "a\xb7",
            )
        )

    def request(self) -> str:
        """One request, well-formed or nearly so."""
        return self.rng.choice((self.good, self.good, self.bad))()

    def good(self) -> str:
        """A request that may succeed."""
        text = self.rng.choice(
            (
                "hi",
                " two  spaces ",
                "x" * 400,
                "olá",
                "é" * 200,
                "a" * 399,
                "\u2028",
                "e\u0301 \U0001f600",
            )
        )
        token = self.rng.choice(("1", "!~", "t" * 64, "t" * 63))
        if self.lab == 0:
            return self.rng.choice((f"PING {token}", f"PONG {token}", f"PING {token}"))
        since = self.rng.choice(("0", "1", "2", "3", "5", "999", "0" * 16, "9" * 16, "0001"))
        return self.rng.choice(
            (
                f"SAY {text}",
                f"SAY {text}",
                f"NAME {self.name()}",
                "WHO",
                f"HISTORY {since}",
                f"PING {token}",
                f"PONG {token}",
                join(self.one()),
                join(self.one(), self.name(), "x" * 128),
                "WHO",
            )
        )

    def bad(self) -> str:
        """A request that gets an ERR, mostly because of one character."""
        lab_0 = (
            "HOLA",
            "ping 1",
            "PINGPONG",
            " PING 1",
            "PING",
            "PING ",
            "PING  1",
            "PING a b",
            "PING " + "t" * 65,
            "PING \xe1",
            "QUIT now",
            "QUIT ",
            "PONG",
            "PONG ",
            "a\tb",
            "\x7f",
            "\u202e",
            "\ufdd0",
            "\U0001fffe",
            "\udcff",
            "PING \udcc0\udc80",
            "\udced\udca0\udc80",
            "PING 1\r",
            "x" * 511,
            "\x85",
            "\udce9",
            "\x1b[2J",
        )
        if self.lab == 0:
            return self.rng.choice(lab_0)
        members = (
            "SAY",
            "SAY ",
            "SAY " + "a" * 401,
            "SAY " + "é" * 200 + "a",
            "say hi",
            "SAYhi",
            "WHO ",
            "WHO x",
            "LEAVE ",
            "LEAVE now",
            "HISTORY",
            "HISTORY ",
            "HISTORY -1",
            "HISTORY +1",
            "HISTORY 1.0",
            "HISTORY 1 ",
            "HISTORY 1 2",
            "HISTORY " + "1" * 17,
            "HISTORY \u0661",
            "HISTORY 0x1",
            "NAME",
            "NAME ",
            "NAME  a",
            "NAME a b",
            "NAME a ",
            f"NAME {self.wrong_name()}",
            "JOIN",
            "JOIN ",
            "JOIN a",
            "JOIN a ",
            "JOIN  a b",
            "JOIN a " + "p" * 129,
            f"JOIN {self.wrong_name()} x",
            "SAY a\x85b",
            "SAY a\tb",
            "NAME \udcff",
            "SAY \u2066",
            "SAY " + "\U0001f600" * 101,
        )
        return self.rng.choice(self.rng.choice((lab_0, members, members)))

    # -- Scenes

    def noise(self) -> Acts:
        """Requests one by one, good and bad."""
        who = self.one()
        return [sends(who, self.request()) for _ in range(self.rng.choice((1, 2, 3, 5)))]

    def many(self) -> Acts:
        """Several requests in one piece."""
        who, lines = self.one(), [self.request() for _ in range(self.rng.choice((2, 2, 3, 6, 12)))]
        if self.chance(0.2):
            lines.insert(
                self.rng.randrange(len(lines) + 1),
                self.rng.choice(("", "\r", "QUIT", "x" * 512, "y" * 600)),
            )
        return [sends(who, *lines), *self.tail(who)]

    def tail(self, who: str) -> Acts:
        """The client may go."""
        what = self.rng.choice(("", "", "", "shuts", "resets", "closes"))
        return [Act(who, what)] if what else []

    def going(self) -> Acts:
        """A client ends its connection, also with requests under way; perhaps it comes again."""
        who, acts = self.one(), Acts()
        if self.chance(0.5):
            acts.append(
                sends(
                    who,
                    *(self.request() for _ in range(self.rng.choice((1, 2)))),
                    more=self.chance(0.5),
                )
            )
        if self.chance(0.2):
            acts.append(Act(who, "piece", utf8(self.good())[: self.rng.randrange(1, 9)]))
        last = self.rng.choice(("QUIT", "LEAVE", "shuts", "resets", "closes"))
        if self.lab == 0 and last == "LEAVE":
            last = "QUIT"
        acts.append(sends(who, last, *self.after()) if last.isupper() else Act(who, last))
        if self.lab and self.chance(0.6):
            acts += self.enters(who) if self.chance(0.5) else [sends(who, join(who), self.good())]
        return acts

    def after(self) -> list[str]:
        """What a client sends after its last request: nobody reads it."""
        return [self.good()] if self.chance(0.3) else []

    def pieces(self) -> Acts:
        """A line in pieces, with others' requests in between; at a limit, too."""
        who, other = self.one(), self.one()
        line = utf8(
            self.rng.choice(
                (self.good(), self.good(), self.bad(), "x" * self.rng.choice((510, 511, 512, 513)))
            )
        )
        line += self.rng.choice(("\n", "\r\n", "\n"))
        cut = self.rng.choice(
            (1, len(line) - 1, len(line) - 2, self.rng.randrange(1, len(line)), 511, 512, 510)
        )
        cut = max(1, min(cut, len(line) - 1))
        between = [sends(other, self.request())] if other != who and self.chance(0.6) else []
        if between and self.chance(0.3):
            between = [Act(other, "piece", utf8(self.good())[:3]), *between]
        return [Act(who, "piece", line[:cut]), *between, Act(who, "sends", line[cut:])]

    def talk(self) -> Acts:
        """Members talk, and one reads again what was said."""
        acts = [sends(self.one(), f"SAY {number}") for number in range(self.rng.choice((1, 2, 4)))]
        return [*acts, sends(self.one(), f"HISTORY {self.rng.choice((0, 0, 1, 3, 4))}", "WHO")]

    def naming(self) -> Acts:
        """A member takes a name; then others use the old one and the new one."""
        who, other, name = self.one(), self.one(), self.name()
        acts: Acts = [sends(who, f"NAME {name}")]
        for _ in range(self.rng.choice((1, 2))):
            old = self.rng.choice((who, name, who.upper()))
            acts.append(
                self.rng.choice(
                    (
                        sends(other, join(other, old, f"secret-of-{who}")),
                        sends(other, f"NAME {old}"),
                        sends(who, f"NAME {old}"),
                        sends(who, f"NAME {who}"),
                        Act(
                            "owner",
                            "types",
                            f"{self.rng.choice(('ban', 'unban', 'accept', 'ban'))} {old}",
                        ),
                        sends(other, "WHO"),
                        Act("server", self.rng.choice(("restart", "killed")))
                        if self.chance(0.15)
                        else sends(who, "WHO"),
                        sends(who, "LEAVE"),
                        sends(who, "SAY renamed", "WHO"),
                    )
                )
            )
        if self.chance(0.4):
            acts += [Act(who, "resets"), sends(who, join(who, name, f"secret-of-{who}"), "WHO")]
        return acts

    def arriving(self) -> Acts:
        """JOINs: right, wrong, again, as another, for a name that others hold."""
        who, name, acts = self.one(), self.name(), Acts()
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            own = f"secret-of-{name.lower()}"
            password = self.rng.choice(
                (own, own, own, f"{own} ", own[:-1], "x", "p" * 128, "ç" * 64)
            )
            label = self.rng.choice((who, who, f"{who}2"))
            acts.append(sends(label, join(who, name, password), *self.after()))
        if self.admit == "ask":
            acts.append(
                Act(
                    "owner",
                    "types",
                    f"{self.rng.choice(('accept', 'accept', 'reject', 'ban'))} {name}",
                )
            )
        return acts

    def order(self) -> str:
        """A line of the owner's."""
        name = self.name()
        word = self.rng.choice(("accept", "reject", "ban", "unban", "ban", "unban"))
        return self.rng.choice(
            (
                f"{word} {name}",
                f"{word} {name}",
                f"{word} {name}",
                f"{word} {self.one()}",
                "members",
                f"rename {self.rng.choice(('os-lab', 'a b', 'g' * 64, 'g' * 65, ' a', 'a ', '', 'João', 'é' * 32))}",
                f"{word}",
                f"{word} ",
                f"{word}  {name}",
                f"{word} {name} x",
                "help",
                "help me",
                "Members",
                "dance",
                "x" * 511,
                "x" * 512,
                f"rename {'g' * 64}",
                "a\tb",
                "rename \u202e",
                "\udcff",
            )
        )

    def ordering(self) -> Acts:
        """The owner types orders, some twice; clients see what came of it."""
        acts: Acts = []
        for _ in range(self.rng.choice((1, 2, 3))):
            order = Act("owner", "types", utf8(self.order()))
            acts += [order] * self.rng.choice((1, 1, 1, 2))
            if self.chance(0.4):
                acts.append(sends(self.one(), self.request()))
        return acts

    def ending(self) -> Acts:
        """The server ends, in order or not, right after something happened; and starts again."""
        what = self.rng.choice(("restart", "killed", "close"))
        end = Act("owner", "types", "close") if what == "close" else Act("server", what)
        before = self.rng.choice((self.naming, self.going, self.ordering, self.talk))()
        who = self.one()
        return [*before, end, sends(who, join(who), "HISTORY 0", "WHO")]

    def deleting(self) -> Acts:
        """`delete`, with consent or without."""
        consent = self.rng.choice(("grupo", "grupo", "no", "members", "GRUPO", "grupo "))
        return [Act("owner", "types", "delete"), Act("owner", "types", consent)]

    def failing(self) -> Acts:
        """Ten ERRs before WELCOME."""
        who = self.one()
        errors = [self.bad() for _ in range(self.rng.choice((8, 9, 10, 11)))]
        return [sends(f"{who}2", *errors), sends(f"{who}2", "PING 1")]

    def long_history(self) -> Acts:
        """A HISTORY of several buffers, while others talk."""
        who, other = self.one(), self.one()
        size = self.rng.choice((100, 900))
        return [
            sends(who, *("SAY " + "h" * 400 for _ in range(size))),
            sends(who, "HISTORY 0", "WHO", "PING 1", more=True),
            *(sends(other, f"SAY {number}", more=True) for number in range(3)),
            sends(other, "HISTORY 1", "SAY last"),
        ]

    def at_once(self) -> Acts:
        """Several clients act while the server stands still: it finds all of it at the same time."""
        acts = [self.deed() for _ in range(self.rng.choice((2, 2, 3, 4)))]
        return [Act("server", "stops"), *acts, Act("server", "goes")]

    def deed(self) -> Act:
        """What a client or the owner may do at any time."""
        who = self.one()
        return self.rng.choice(
            (
                sends(who, self.good()),
                sends(who, self.good(), self.good()),
                sends(who, f"NAME {self.name()}"),
                sends(who, join(self.one())),
                sends(f"{who}2", join(who)),
                sends(who, self.rng.choice(("QUIT", "LEAVE"))),
                Act(who, self.rng.choice(("shuts", "resets", "closes"))),
                Act(
                    "owner",
                    "types",
                    utf8(f"{self.rng.choice(('ban', 'unban', 'accept', 'reject'))} {self.one()}"),
                ),
            )
        )

    def meanwhile(self) -> Acts:
        """A JOIN is under way, and something happens to its name, or to its client."""
        who, other = self.rng.sample(self.people, 2)
        name = self.rng.choice((who, who, who, other, self.name()))
        first = [*self.enters(who), Act(who, "closes")] if self.chance(0.4) else []
        password = self.rng.choice((f"secret-of-{name.lower()}", f"secret-of-{name.lower()}", "x"))
        knock = sends(
            f"{who}2",
            join(who, name, password),
            *([self.request()] if self.chance(0.3) else []),
            more=True,
        )
        deed = self.rng.choice(
            (
                Act("owner", "types", utf8(f"ban {name}")),
                sends(other, f"NAME {name}"),
                sends(other, f"NAME {name.upper()}"),
                sends(who, "LEAVE"),
                sends(who, f"NAME {self.name()}"),
                sends(who, f"NAME {name.upper()}"),
                sends(other, join(other, name, password)),
                sends(f"{other}2", join(other, name, "another")),
                Act("owner", "types", utf8(f"unban {name}")),
                Act("owner", "types", utf8(f"accept {name}")),
                Act("owner", "types", utf8(f"reject {name}")),
                Act(f"{who}2", self.rng.choice(("shuts", "resets", "closes"))),
                sends(f"{who}2", self.good(), self.good()),
                sends(other, "WHO", self.good()),
            )
        )
        ordered = [
            Act("owner", "types", utf8(f"{self.rng.choice(('accept', 'reject', 'ban'))} {name}"))
        ]
        return [
            *first,
            knock,
            Act(f"{who}2", "awaits", more=True),
            deed,
            *(ordered if self.admit == "ask" else []),
        ]

