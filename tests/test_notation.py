"""A dialogue that the harness found is printed so that it happens again: harness/model/notation.py.

Dialogues are played with the model, printed in the notation of lab_guide/protocol.md, section 2,
and the printed block is played by the page's own player, with a new server.
"""

import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.driving.record import Entry, Record
from harness.driving.server import DESIGNS, ROOT, Server
from harness.model import notation, play
from harness.model.fuzz import QUIET
from harness.model.generate import Author
from harness.model.group import Rules
from harness.model.lines import Difference
from harness.model.play import Act
from harness.teaching import exhibits
from tests.test_protocol_dialogues import Dialogue, Play

GUIDE = ROOT / "lab_guide"
NOTHING = Difference("", "", [], "")
TRIES = 8  # of a dialogue in which several act at once: the server chooses their order


def says(who, *lines, more=False):
    return Act(who, "sends", "".join(line + "\n" for line in lines), more)


def joins(who, name="", more=False):
    return says(who, f"JOIN {name or who} secret-of-{name or who}", more=more)


def types(line):
    return Act("owner", "types", line)


STOPS, GOES = Act("server", "stops"), Act("server", "goes")
ANA, BEN = joins("ana"), joins("ben")
WRITTEN = {
    "a-message": [ANA, BEN, says("ana", "SAY hi")],
    "spaces": [ANA, says("ana", "SAY  two  spaces ", " PING 1", "PING 1 ", "SAY  ", "")],
    "an-empty-line": [ANA, says("ana", ""), says("ana", "\r"), says("ana", "PING 1\r")],
    "forms-by-chance": [
        ANA,
        says("ana", r"SAY \x41 {a*20} TIME TOKEN", "SAY TIME", "SAY {{*20}", r"SAY \x5c"),
        says("ana", "PING TOKEN", "NAME WORDS", "SAY ADDRESS", "WHO"),
        says("ben", "JOIN TIME TOKEN"),
    ],
    "long-texts": [ANA, says("ana", "SAY " + "a" * 400, "SAY " + "\xc3\xa9" * 200, "x" * 600)],
    "control-characters": [ANA, says("ana", "SAY \x1b[2J", "SAY a\tb", "SAY \x07", "\xff", "\x00")],
    "unseen-characters": [ANA, says("ana", "SAY \xc2\xa0", "SAY \xe2\x80\xa8 \xee\x80\x80")],
    "pieces": [Act("ana", "piece", "PI"), says("ben", "PING 1"), says("ana", "NG 1")],
    "half-a-character": [ANA, Act("ana", "piece", "SAY \xc3"), says("ana", "\xa9")],
    "half-a-line-at-the-end": [ANA, BEN, says("ben", "SAY hi"), Act("ana", "piece", "SAY ")],
    "a-line-and-a-half": [ANA, Act("ana", "piece", "SAY one\nSAY t"), says("ana", "wo")],
    "who": [ANA, BEN, joins("eve"), Act("ben", "resets"), says("ana", "WHO", "WHO")],
    "history": [ANA, BEN, says("ana", "SAY 1", "SAY 2"), says("ben", "HISTORY 0", "HISTORY 9")],
    "resets": [ANA, Act("ana", "resets"), BEN, says("ben", "WHO")],
    "closes": [ANA, says("ana", "NAME eve"), Act("ana", "closes"), BEN, Act("ben", "closes"), ANA],
    "shuts": [ANA, says("ana", "SAY hi", more=True), Act("ana", "shuts"), ANA],
    "quits": [ANA, says("ana", "SAY a", "QUIT", "SAY b"), ANA],
    "takeover": [ANA, joins("ana2", "ana"), says("ana2", "WHO"), Act("ana2", "closes"), ANA],
    "ten-errors": [says("ana", *["HOLA"] * 10)],
    "orders": [ANA, types("members"), types("help"), types("dance"), types("ban ana"), BEN],
    "lists-and-consent": [ANA, BEN, types("delete"), types("members"), types("members")],
    "delete": [ANA, types("delete"), types("grupo"), says("ana", "PING 1")],
    "close": [ANA, types("close"), ANA, says("ana", "HISTORY 0")],
    "restart": [ANA, BEN, Act("server", "restart"), ANA, says("ana", "WHO")],
    "killed": [ANA, Act("server", "killed"), ANA, Act("ana", "piece", "SAY"), says("ana", " x")],
    "at-once": [ANA, STOPS, says("ana", "SAY 1"), says("ana", "SAY 2"), GOES],
    "new-while-it-stands": [ANA, STOPS, says("ben", "PING 1"), Act("ana", "resets"), GOES],
    "orders-at-once": [STOPS, types("help"), types("members"), types("rename x"), GOES, ANA],
    "signals": [ANA, Act("server", "SIGINT"), ANA, Act("server", "SIGHUP"), ANA],
    "another-admission": [ANA, Act("server", "restart", "admit=none"), ANA, BEN],
    "a-member-that-does-not-read": [
        ANA,
        Act("ben", "narrow"),
        BEN,
        Act("ben", "sleeps"),
        says("ana", *["SAY " + "s" * 400] * 100),
        types("rename x"),
        Act("ben", "wakes"),
        says("ben", "WHO"),
    ],
    "insists": [
        *(ANA, BEN, Act("ana", "piece", "SAY good"), joins("ana2", "ana")),
        *(Act("ana", "insists", "bye\nSAY more\n"), says("ben", "WHO"), ANA),
    ],
    "a-join-under-way": [
        joins("ana", more=True),
        Act("ana", "awaits", more=True),
        says("ben", "PING 1"),
        says("ana", "WHO"),
    ],
}
ASKED = {
    "asks": [ANA, BEN, types("accept ana"), types("reject ben"), says("ana", "WHO")],
    "leaves-while-asking": [ANA, Act("ana", "closes"), BEN, types("accept ben"), types("members")],
    "restart-while-asking": [ANA, types("delete"), Act("server", "restart"), BEN],
}
TIMED = {
    "silence": [ANA, Act("server", "waits", "1.2"), Act("ana", "pongs"), says("ana", "PING 1")],
    "two-silences": [
        ANA,
        BEN,
        Act("server", "waits", "1.2"),
        Act("ben", "pongs"),
        Act("ana", "pongs"),
    ],
}
CASES = [
    *(("all", acts, (), name) for name, acts in WRITTEN.items()),
    *(("ask", acts, (), name) for name, acts in ASKED.items()),
    *(("all", acts, QUIET, name) for name, acts in TIMED.items()),
]


def options(admit, limits):
    return ["--admit", admit, *(str(part) for flag, _, value in limits for part in (flag, value))]


def played(acts, admit, limits, folder):
    """The record of these acts; the model judges it."""
    limits = limits or (("--reject-after", "reject_after", 0.1),)
    args = options(admit, limits)
    with Server("nonblocking", directory=folder, args=args, record=Record()) as server:
        one = play.Play(server, Rules(admit, **{name: value for _, name, value in limits}))
        try:
            one.play(acts)
            return list(one.record.entries), args
        finally:
            one.close()


def replayed(block, folder, server="nonblocking", **options):
    """Play a printed block with a new server; raise AssertionError if it does not happen."""
    first, *lines, last = block.split("\n")
    assert first.startswith("```dialogue") and last == "```"
    assert "".join(lines).isprintable()
    dialogue = Dialogue(1, "printed", first.removeprefix("```dialogue").strip(), lines)
    with Play(dialogue, Server(server, directory=folder, args=dialogue.args, **options)) as one:
        one.run()


def happens_again(acts, admit, limits, folder):
    """The printed form of these acts happens with a new server."""
    entries, args = played(acts, admit, limits, folder / "model")
    block = notation.dialogue(entries, args, NOTHING)
    at_once = any(act.more or act.what == "stops" for act in acts)
    for left in reversed(range(TRIES if at_once else 1)):
        try:
            return replayed(block, folder / f"page-{left}")
        except AssertionError as problem:
            if not left:
                raise AssertionError(f"{problem}\n{block}") from None


@pytest.mark.long
@pytest.mark.parametrize("admit, acts, limits, name", CASES, ids=[case[3] for case in CASES])
def test_a_written_dialogue_happens_again(admit, acts, limits, name, tmp_path):
    happens_again(acts, admit, limits, tmp_path)


def chance_decides(acts):
    """Whether it depends on chance what the server reads first: acts of several clients reach it
    at once, or while it is stopped.
    """
    stopped, acting = False, set()
    for act in acts:
        if act.who == "server":
            stopped, acting = act.what == "stops" or (stopped and act.what != "goes"), set()
        elif stopped:
            acting.add(act.who)
            if len(acting) > 1:
                return True
    return sum(act.more for act in acts) > 2


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40))
def test_a_random_dialogue_happens_again(seed, tmp_path):
    author = Author(random.Random(seed))
    author.admit = ("all", "ask")[seed % 2]
    dialogue = author.dialogue()
    while chance_decides(dialogue.acts):
        dialogue = author.dialogue()
    # At the end, a REJECTED may still be on its way.
    acts = [*dialogue.opening, *dialogue.acts, Act("server", "waits", "0.3")]
    happens_again(acts, author.admit, (), tmp_path)


# -- What came in place of what must come


def wrong_places(entries):
    return [
        place
        for place, one in enumerate(entries)
        if one.what == "hears" and not one.text.startswith(("HELLO", "PONG f"))
    ]


@pytest.mark.long
@pytest.mark.parametrize("number", range(0, 16, 3))
@pytest.mark.parametrize("what", ["changed", "missing", "surplus"])
def test_a_dialogue_that_went_wrong_passes_with_a_right_server(what, number, tmp_path):
    acts = [ANA, BEN, says("ana", "SAY hi"), says("ben", "WHO", "HISTORY 2")]
    entries, args = played(acts, "all", (), tmp_path / "model")
    places = wrong_places(entries)
    place = places[number % len(places)]
    one = entries[place]
    if what == "changed":
        entries[place] = one._replace(text="HOLA")
        wrong = Difference("9.2", one.who, [one.text], "HOLA")
    elif what == "missing":
        later = next(
            (n for n in range(place + 1, len(entries)) if entries[n][1:3] == one[1:3]), None
        )
        wrong = Difference("9.2", one.who, [one.text], entries[later].text if later else "")
        del entries[place]
    else:
        entries.insert(place, one._replace(text="HOLA"))
        wrong = Difference("9.2", one.who, [], "HOLA")
    if what != "surplus":  # the server ends the run at the first wrong line
        last = max(n for n, each in enumerate(entries[:place]) if each.what == "sends")
        after = [n for n, each in enumerate(entries) if n > last and each.what == "sends"]
        entries = entries[: after[0]] if after and after[0] > place else entries
    block = notation.dialogue(entries, args, wrong)
    assert "HOLA" not in block
    try:
        replayed(block, tmp_path / "page")
    except AssertionError as problem:
        raise AssertionError(f"{problem}\n{block}") from None


def shown(wrong, *entries):
    """Return the lines of the block of these entries, each without its time."""
    entries = [Entry(float(at), *entry) for at, entry in enumerate(entries)]
    return notation.dialogue(entries, ("--admit", "all"), wrong).split("\n")[1:-1]


JOINED = [
    ("ana", "hears", "HELLO grupo/1 grupo"),
    ("ana", "sends", "WHO\n"),
    ("ana", "sends", "PING f1\n"),
    ("ana", "hears", "MEMBER ana here"),
    ("ana", "hears", "END WHO"),
    ("ana", "hears", "PONG f1"),
]


GLUED = [
    ("ana", "hears", "HELLO grupo/1 grupo"),
    ("ana", "sends", "PING 1\n"),
    ("ana", "sends", "PING f1\n"),
    ("ana", "hears", "ERR unknown PING 1 PING f1"),
]


@pytest.mark.parametrize(
    "wrong, lines",
    [
        (NOTHING, ["ana> WHO", "ana< MEMBER ana here", "ana< END WHO"]),
        (
            Difference(
                "6", "ana", ["MEMBER ana here, MEMBER ben away, END WHO"], "MEMBER ana here"
            ),
            [
                "ana> WHO",
                *("ana<* MEMBER ana here", "ana<* MEMBER ben away", "ana< END WHO", "..."),
            ],
        ),
        (
            Difference("9.4", "ana", ["PONG f1"], ""),
            [
                *("ana> WHO", "ana> PING f1", "ana< MEMBER ana here", "ana< END WHO"),
                *("ana< PONG f1", "ana< PONG f1", "..."),
            ],
        ),
        (
            Difference("6", "ana", ["MSG 4 TIME ben TIME"], "PONG f1"),
            [
                *("ana> WHO", "ana< MEMBER ana here", "ana< END WHO"),
                *(r"ana< MSG 4 TIME ben \x54IME", "..."),
            ],
        ),
        (
            Difference("6", "ana", ["PONG 1"], "ERR unknown PING 1 PING f1"),
            ["ana> PING 1", "ana> PING f1", "ana< PONG 1", "..."],
        ),
        (
            Difference("8", "ana", ["the end of the connection"], ""),
            ["ana> WHO", "ana< MEMBER ana here", "ana< END WHO", "ana|", "..."],
        ),
        (
            Difference("9.3", "ana", ["the events after 1, END HISTORY 2"], "MEMBER ana here"),
            ["ana> WHO", "ana< ...", "ana< END HISTORY 2", "..."],
        ),
        (
            Difference("12", "server", ["the server runs"], "it ended"),
            ["ana> WHO", "ana< MEMBER ana here", "ana< END WHO", "server| runs", "..."],
        ),
    ],
)
def test_the_block_ends_with_what_must_come(wrong, lines):
    assert shown(wrong, *(JOINED if "PONG 1" not in wrong.allowed else GLUED)) == lines


ORDERS = [
    ("owner", "types", "members\n"),
    ("server", "shows", "member ana asks from 127.0.0.1:50412"),
    ("server", "shows", "ok"),
    ("owner", "types", "help\n"),
    ("server", "shows", "* ana came"),
    ("server", "shows", "# accept NAME"),
    ("server", "shows", "ok"),
    ("owner", "types", "dance\x1b\n"),
    ("server", "shows", "ana asks to join from [::1]:7"),
    ("server", "shows", "error: no \x1b such order"),
]


@pytest.mark.parametrize(
    "wrong, lines",
    [
        (
            NOTHING,
            [
                *("owner> help", "owner< ...", "owner< ok", r"owner> dance\x1b"),
                *("owner< ana asks to join from ADDRESS", "owner< error: WORDS"),
            ],
        ),
        (
            Difference(
                "11", "owner", ["member ana here | ok"], "member ana asks from 127.0.0.1:50412 | ok"
            ),
            ["owner> members", "owner< member ana here", "owner< ok", "..."],
        ),
        (
            Difference("11", "owner", ["ok"], "error: no \x1b such order"),
            [
                *("owner> help", "owner< ...", "owner< ok", r"owner> dance\x1b"),
                *("owner< ana asks to join from ADDRESS", "owner< ok", "..."),
            ],
        ),
    ],
)
def test_the_owners_orders_and_their_answers(wrong, lines):
    assert shown(wrong, *ORDERS) == lines


# -- A line


TEXTS = st.text() | st.lists(
    st.sampled_from(["TIME", "WORDS", "TOKEN", "\\x41", "{a*20}", "a" * 20, " ", "\x1b", "\udcff"])
).map("".join)


@given(TEXTS.filter(lambda text: "\n" not in text))
@example("\x9b\u202e\u2066\xa0\u2028\udced")
@example("é" * 17 + "TIME" + "\x85" * 17)
def test_a_text_stands_for_itself_and_no_terminal_obeys_it(text):
    data = text.encode("utf-8", "surrogateescape" if not has_lone(text) else "surrogatepass")
    text = data.decode("utf-8", "surrogateescape")
    shown = notation.escaped(text)
    assert shown.isprintable() and shown == shown.strip(" ")
    assert notation.data(shown) == data
    assert notation.pattern(shown).fullmatch(text)


def has_lone(text):
    """Whether it has a surrogate that stands for no byte."""
    return any("\ud800" <= sign <= "\udfff" and not "\udc80" <= sign <= "\udcff" for sign in text)


@pytest.mark.parametrize(
    "line, shown",
    [
        ("MSG 4 2026-11-22T13:21:28.123Z ana hi ", r"MSG 4 TIME ana hi\x20"),
        ("ERR unknown there is \x1b[2J no such verb", "ERR unknown WORDS"),
        ("ERR unknown", "ERR unknown"),
        ("PING abc", "PING TOKEN"),
        ("PING a b", "PING a b"),
        ("MSG x\x00", r"MSG x\x00"),
        ("", ""),
    ],
)
def test_what_varies_has_a_word_in_capitals(line, shown):
    assert notation.received(line) == shown
    assert notation.pattern(shown).fullmatch(line)


def test_a_pong_stands_for_the_clients_own_token():
    assert shown(
        NOTHING,
        ("ana", "hears", "PING one"),
        ("ben", "hears", "PING two"),
        ("ana", "sends", "PONG one\nPONG two\n"),
    ) == ["ana< PING TOKEN", "ben< PING TOKEN", "ana> PONG TOKEN", "ana> PONG two"]


def test_a_line_in_another_notation_is_named():
    assert [step.what for step in notation.steps(["ana>+ a", "ana>x reset", "ana<* b", "..."])] == [
        *(">+", ">x", "<*", "..."),
    ]
    with pytest.raises(ValueError, match="line 8 "):
        list(notation.steps(["ana> a", "Ana> a"], first=7))


# -- The example of the guide


def example_of(page):
    """The dialogue that a page shows."""
    text = (GUIDE / page / "model.md").read_text(encoding="utf-8")
    return re.search(r"^```dialogue.*?^```$", text, re.M | re.S)[0]


def test_both_languages_show_the_same_dialogue():
    assert example_of(".") == example_of("pt-BR")


@pytest.mark.parametrize("design", DESIGNS)
def test_our_servers_answer_the_example_of_the_guide(design, tmp_path):
    replayed(example_of("."), tmp_path / "group", design)


def test_the_server_with_the_bug_does_not(tmp_path):
    exhibit = exhibits.read(exhibits.EXHIBITS / "old-name-not-removed.toml")
    exhibits.build(exhibit, tmp_path / "servers")
    with pytest.raises(AssertionError, match=r"BANNED 4 TIME ANA|BYE banned"):
        replayed(example_of("."), tmp_path / "group", exhibit.command, cwd=tmp_path / "servers")
