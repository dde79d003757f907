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
from harness.driving.server import Server
from harness.model import notation, play
from harness.model.explain import Difference
from harness.model.fuzz import QUIET
from harness.model.generate import Author
from harness.model.group import Rules
from harness.model.play import Act
from tests.test_protocol_dialogues import Dialogue, Play

NOTHING = Difference("", "", [], "")
TRIES = 3  # of a dialogue in which several act at once: who comes first is up to the server


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
    "delete": [ANA, types("delete"), types("grupo"), ANA],
    "close": [ANA, types("close"), ANA, says("ana", "HISTORY 0")],
    "restart": [ANA, BEN, Act("server", "restart"), ANA, says("ana", "WHO")],
    "killed": [ANA, Act("server", "killed"), ANA, Act("ana", "piece", "SAY"), says("ana", " x")],
    "at-once": [ANA, STOPS, says("ana", "SAY 1"), says("ana", "SAY 2"), GOES],
    "new-while-it-stands": [ANA, STOPS, says("ben", "PING 1"), Act("ana", "resets"), GOES],
    "orders-at-once": [STOPS, types("help"), types("members"), types("rename x"), GOES, ANA],
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


class Recorded(play.Play):
    """Notes in the record what happens to the server's processes."""

    def machine(self, act):
        if act.what in ("stops", "goes", "waits"):
            self.record.add("server", act.what, act.text)
        super().machine(act)


def options(admit, limits):
    return ["--admit", admit, *(str(part) for flag, _, value in limits for part in (flag, value))]


def played(acts, admit, limits, folder):
    """The record of these acts; the model judges it."""
    limits = limits or (("--reject-after", "reject_after", 0.1),)
    args = options(admit, limits)
    with Server("nonblocking", directory=folder, args=args, record=Record()) as server:
        one = Recorded(server, Rules(admit, **{name: value for _, name, value in limits}))
        try:
            one.play(acts)
            return list(one.record.entries), args
        finally:
            one.close()


def replayed(block, folder):
    """Play a printed block with a new server; raise AssertionError if it does not happen."""
    first, *lines, last = block.split("\n")
    assert first.startswith("```dialogue") and last == "```"
    assert "".join(lines).isprintable()
    dialogue = Dialogue(1, "printed", first.removeprefix("```dialogue").strip(), lines)
    with Play(dialogue, Server("nonblocking", directory=folder, args=dialogue.args)) as one:
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


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40))
def test_a_random_dialogue_happens_again(seed, tmp_path):
    author = Author(random.Random(seed))
    author.admit = ("all", "ask")[seed % 2]
    dialogue = author.dialogue()
    happens_again([*dialogue.opening, *dialogue.acts], author.admit, (), tmp_path)
