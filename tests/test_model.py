"""The model of the protocol agrees with the page, and objects to each line that is wrong.

The records of the page's dialogues are what it is tried on: as they are, and with one line lost,
doubled, changed, or out of place.
"""

import re

import pytest
from test_protocol_dialogues import DIALOGUES, Play

from harness.driving.record import Entry, Record
from harness.driving.server import Server
from harness.model import history
from harness.model.explain import Explanation
from harness.model.group import Group, Rules, framed
from harness.model.lines import Difference
from harness.model.search import Unclear
from harness.model.steps import StepReader


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """records(dialogue) -> the entries of one performance of it."""
    known = {}

    def entries(dialogue):
        if str(dialogue) not in known:
            record, folder = Record(), tmp_path_factory.mktemp("group")
            server = Server("nonblocking", directory=folder, args=dialogue.args, record=record)
            with Play(dialogue, server) as play:
                play.run()
            known[str(dialogue)] = record.entries
        return known[str(dialogue)]

    return entries


def judged(entries):
    """Raises Difference if the model does not allow what was heard up to the first restart."""
    ends = [n for n, one in enumerate(entries) if one[1:3] == ("server", "signal")]
    entries = entries[: ends[0] if ends else None]
    rules, title = history.started_with(entries)
    step = StepReader().step(entries, {}, settled=False)
    step.blind |= set(step.sent)
    Explanation(Group(rules, title)).explain(step)


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_it_allows_what_the_page_shows(dialogue, records):
    judged(records(dialogue))


def test_lines_are_cut_as_section_3_says():
    assert framed(b"a\nb\r\n\n\r\nc") == ([b"a", b"b"], b"c")
    assert framed(b"x" * 511 + b"\n") == ([b"x" * 511], b"")
    assert framed(b"x" * 511) == ([], b"x" * 511)
    assert framed(b"PING 1\n" + b"x" * 512) == ([b"PING 1", None], b"")
    assert framed(b"x" * 511 + b"\r\nPING 1\n") == ([None], b"")


@pytest.mark.parametrize("came", ["HELLO grupo/1 g", "BYE full"])
def test_a_stranger_that_closed_may_take_room_until_the_server_notices(came):
    entries = [
        Entry(0.1, "ana", "connects", ""),
        Entry(0.2, "ana", "hears", "HELLO grupo/1 g"),
        Entry(0.3, "ana", "closes", ""),
        Entry(0.4, "ben", "connects", ""),
        Entry(0.5, "ben", "hears", came),
    ]
    if came == "BYE full":
        entries.append(Entry(0.6, "ben", "ended", ""))
    known = Explanation(Group(Rules("all", max_strangers=1), "g"))
    known.explain(StepReader().step(entries, {}, loose=["ana"]))


def test_a_takeover_before_a_message_comes_first():
    sign = "2026-01-01T00:00:00.000Z"
    joins = [("connects", ""), ("hears", "HELLO grupo/1 g"), ("sends", "JOIN {} x\n")]
    comes = [("hears", "PENDING"), ("hears", "WELCOME {} {}"), ("hears", "IN {} {} {}")]
    here = []
    for place, who in enumerate(("ana", "ben"), 1):
        for what, text in [*joins, *comes]:
            values = [place + 1, sign, who] if text.startswith("IN") else [place, who]
            text = text.format(*values[-text.count("{}") :])
            here.append(Entry(place + len(here) / 100, who, what, text))
    here.append(Entry(2.5, "ana", "hears", f"IN 3 {sign} ben"))
    then = [
        *(Entry(3.1, "ben#2", what, text.format("ben")) for what, text in joins),
        Entry(3.2, "ben#2", "hears", "PENDING"),
        Entry(3.3, "ben#2", "hears", "WELCOME 3 ben"),
        Entry(3.4, "ana", "sends", "SAY hi\n"),
        *(Entry(3.5, who, "hears", f"MSG 4 {sign} ana hi") for who in ("ana", "ben#2")),
        Entry(3.6, "ben", "resets", ""),  # it has read nothing more
    ]
    known, reader = Explanation(Group(Rules("all"), "g")), StepReader()
    known.explain(reader.step(here, {}))
    known.explain(reader.step(then, {}))


def test_an_order_that_was_answered_before_a_message_comes_first():
    sign = "2026-01-01T00:00:00.000Z"
    here = [
        Entry(0.1, "ana", "connects", ""),
        Entry(0.1, "ana", "hears", "HELLO grupo/1 g"),
        Entry(0.1, "ana", "sends", "JOIN ana x\n"),
        Entry(0.2, "ana", "hears", "PENDING"),
        Entry(0.2, "ana", "hears", "WELCOME 1 ana"),
        Entry(0.2, "ana", "hears", f"IN 2 {sign} ana"),
    ]
    then = [
        Entry(0.3, "owner", "types", "reject eve\n"),
        Entry(0.4, "server", "shows", "error: no"),
        Entry(0.5, "ana", "sends", "SAY hi\n"),
        Entry(0.6, "ana", "hears", f"MSG 3 {sign} ana hi"),
    ]
    known, reader = Explanation(Group(Rules("all"), "g")), StepReader()
    known.explain(reader.step(here, {}))
    known.explain(reader.step(then, {}))


@pytest.mark.parametrize("at_once", [True, False])
def test_a_connection_may_end_while_its_admission_is_saved(at_once):
    asks = [
        Entry(0.1, "ana", "connects", ""),
        Entry(0.1, "ana", "hears", "HELLO grupo/1 g"),
        Entry(0.1, "ana", "sends", "JOIN ana x\n"),
        Entry(0.2, "ana", "hears", "PENDING"),
        Entry(0.2, "server", "shows", "ana asks to join from ADDRESS"),
    ]
    goes = [
        Entry(0.3, "ana", "shuts", ""),
        Entry(0.4, "ana", "hears", "BYE quit"),
        Entry(0.4, "ana", "ended", ""),
    ]
    accepted = [
        Entry(0.3, "owner", "types", "accept ana\n"),
        Entry(0.4, "server", "shows", "ok"),
        Entry(0.5, "owner", "types", "members\n"),
        Entry(0.5, "server", "shows", "member ana away"),
        Entry(0.5, "server", "shows", "ok"),
    ]
    known, reader = Explanation(Group(Rules("ask"), "g")), StepReader()
    known.explain(reader.step(asks, {"ana": "ADDRESS"}))
    if at_once:
        known.explain(reader.step([*goes, *accepted], {}))
    else:
        known.explain(reader.step(goes, {}))
        with pytest.raises(Difference):
            known.explain(reader.step(accepted, {}))


def heard_lines(entries):
    """The places of the lines whose loss, change or repetition nothing else can excuse.

    The last line of a client may still be on its way, a PING and the REJECTED of a client that
    asks come when the server likes, and the first HELLO says what the group's name is.
    """
    hello = next(place for place, one in enumerate(entries) if one.text.startswith("HELLO "))
    last = {one.who: place for place, one in enumerate(entries) if one.what == "hears"}
    return [
        place
        for place, one in enumerate(entries)
        if one.what == "hears"
        and place not in (hello, last[one.who])
        and not one.text.startswith(("PING ", "REJECTED"))
    ]


def changed(line):
    """The line with another code, number, name or text."""
    if line.startswith("ERR unknown"):
        return line.replace("unknown", "bad-text")
    if line.startswith("ERR "):
        return re.sub(r"^ERR [a-z-]+", "ERR unknown", line)
    if match := re.match(r"(\w+ )(\d+)(.*)", line):
        return f"{match[1]}{int(match[2]) + 1}{match[3]}"
    return f"{line}x"


MISTAKES = {
    "lost": lambda entries, place: entries[:place] + entries[place + 1 :],
    "twice": lambda entries, place: [*entries[: place + 1], *entries[place:]],
    "changed": lambda entries, place: [
        *entries[:place],
        entries[place]._replace(text=changed(entries[place].text)),
        *entries[place + 1 :],
    ],
}


@pytest.mark.long
@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_it_objects_to_a_wrong_line(dialogue, mistake, records):
    entries = records(dialogue)
    ends = [n for n, one in enumerate(entries) if one[1:3] == ("server", "signal")]
    entries = entries[: ends[0] if ends else None]
    accepted = []
    for place in heard_lines(entries):
        try:
            judged(MISTAKES[mistake](entries, place))
            accepted.append((place, entries[place].who, entries[place].text))
        except (Difference, Unclear):
            pass
    assert not accepted, accepted
