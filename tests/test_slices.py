"""Which entries of a record a failure shows, and which of them is marked as the first wrong one: by
what the check's own helpers say of a scripted server.
"""

import re
import socket
import threading

import pytest

from harness.checks import lines
from harness.driving import deadlines
from harness.driving.client import WireClient
from harness.driving.record import CheckFailed, Entry, Record, same
from harness.verdicts import sentences
from harness.verdicts.slices import shown


class Scripted:
    """A server of one client that says these lines at once, and more for each line that it hears;
    at the end it closes, unless it goes on.
    """

    def __init__(self, first, answers=(), goes_on=False):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = self.listening.getsockname()
        self.first, self.answers, self.goes_on = first, list(answers), goes_on
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        connection, _ = self.listening.accept()
        with connection, connection.makefile("rb") as heard:
            connection.sendall(self.first.encode())
            for answer in self.answers:
                if not (line := heard.readline()):
                    return
                connection.sendall(
                    answer.replace("TOKEN", line.decode().split(" ")[-1].strip()).encode()
                )
            if self.goes_on:
                self.over.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)
        self.listening.close()


def failure(script, play):
    """(slice, place of the first wrong one) of the CheckFailed that play(client) raises, and the
    CheckFailed.
    """
    record = Record()
    with script, WireClient(script.address, name="ana", record=record) as ana:
        with pytest.raises(CheckFailed) as raised:
            play(ana)
    problem = raised.value
    return *shown(record.entries, problem.expected, problem.actual, problem.evidence), problem


def deeds(found):
    return [(entry.what, entry.text) for entry in found]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(deadlines, "DEADLINE", 0.3)


HELLO = "HELLO grupo/1 x\n"


def test_a_wrong_line_among_right_ones():
    found, wrong, _ = failure(
        Scripted(HELLO + "PONG a\nPONG x\nPONG c\n", goes_on=True),
        lambda ana: (
            ana.greeted(),
            ana.send("PING a"),
            ana.send("PING b"),
            lines.hears(ana, "PONG a", "PONG b", "PONG c"),
        ),
    )
    assert deeds(found)[wrong] == ("hears", "PONG x")
    assert ("sends", "PING a\nPING b\n") in deeds(found)[:wrong] and deeds(found)[wrong + 1 :] == [
        ("hears", "PONG c")
    ]


def test_of_equal_lines_the_one_at_the_right_place():
    """The first three are right, and the fifth is as the third: only what comes before it tells
    them apart.
    """
    found, wrong, _ = failure(
        Scripted(HELLO + "PONG a\nPONG b\nPONG a\nPONG c\nPONG c\n", goes_on=True),
        lambda ana: (
            ana.greeted(),
            lines.hears(ana, "PONG a", "PONG b", "PONG a", "PONG c", "PONG d"),
        ),
    )
    assert wrong is not None and [
        text for what, text in deeds(found)[: wrong + 1] if what == "hears"
    ][-2:] == ["PONG c", "PONG c"]


def test_one_line_too_many():
    found, wrong, _ = failure(
        Scripted(HELLO, ["PONG a\nPONG a\nPONG TOKEN\n"]),
        lambda ana: (
            ana.greeted(),
            ana.send("PING a"),
            same(ana.expect("PONG a") and ["PONG a", ana.line()], ["PONG a"]),
        ),
    )
    assert deeds(found)[wrong] == ("hears", "PONG a") and wrong == len(found) - 1


def test_an_answer_that_is_another():
    found, wrong, _ = failure(
        Scripted(HELLO, ["ERR bad-name no\n", "PONG TOKEN\n"]),
        lambda ana: (ana.greeted(), lines.refused(ana, "SAY", "bad-arguments")),
    )
    assert deeds(found)[wrong] == ("hears", "ERR bad-name no") and (
        "sends",
        "SAY\nPING " + found[-1].text[5:] + "\n",
    ) in deeds(found)


def test_an_answer_too_many_behind_the_right_one():
    found, wrong, _ = failure(
        Scripted(HELLO, ["ERR bad-arguments no\nERR unknown no\n", "PONG TOKEN\n"]),
        lambda ana: (ana.greeted(), lines.refused(ana, "SAY", "bad-arguments")),
    )
    assert deeds(found)[wrong] == ("hears", "ERR unknown no")


def test_no_answer_before_the_fence():
    found, wrong, _ = failure(
        Scripted(HELLO, ["", "PONG TOKEN\n"]),
        lambda ana: (ana.greeted(), lines.refused(ana, "SAY", "bad-arguments")),
    )
    assert deeds(found)[wrong][1].startswith("PONG fence-")


@pytest.mark.parametrize(
    "play",
    [
        lambda ana: ana.expect("PONG a"),
        lambda ana: lines.hears(ana, "PONG a"),
        lambda ana: ana.line(),
    ],
)
def test_silence_is_marked_behind_the_last_entry(play):
    found, wrong, _ = failure(
        Scripted(HELLO, [""], goes_on=True),
        lambda ana: (ana.greeted(), ana.send("PING a"), play(ana)),
    )
    assert wrong == len(found) and ("sends", "PING a\n") in deeds(found)


def test_an_end_that_came_too_soon():
    found, wrong, _ = failure(
        Scripted(HELLO, [""]), lambda ana: (ana.greeted(), ana.send("PING a"), ana.expect("PONG a"))
    )
    assert found[wrong].what in ("ended", "reset") and ("sends", "PING a\n") in deeds(found)
    found, wrong, _ = failure(
        Scripted(HELLO, ["PONG a\n"]),
        lambda ana: (ana.greeted(), ana.send("PING a"), lines.hears(ana, "PONG a", "PONG b")),
    )
    assert wrong is not None and (wrong == len(found) or found[wrong].what in ("ended", "reset"))


def test_an_end_that_does_not_come():
    found, wrong, _ = failure(
        Scripted(HELLO, ["BYE quit\n"], goes_on=True),
        lambda ana: (ana.greeted(), ana.send("QUIT"), lines.hears_the_end(ana, "BYE quit")),
    )
    assert wrong == len(found) and deeds(found)[-1] == ("hears", "BYE quit")


def test_many_lines_show_only_the_neighbours():
    numbers = [f"PONG {number}" for number in range(300)]
    script = Scripted(
        HELLO + "\n".join(line if line != "PONG 200" else "PONG x" for line in numbers) + "\n"
    )
    found, wrong, _ = failure(
        script, lambda ana: (ana.greeted(), lines.same_lines(ana.rest(), numbers))
    )
    assert deeds(found)[wrong] == ("hears", "PONG x") and len(found) < 15


def test_of_equal_lines_in_an_excerpt_the_one_with_the_same_line_before_it():
    script = Scripted(HELLO + "PONG a\nPONG x\nPONG b\nPONG x\n")
    found, wrong, _ = failure(
        script,
        lambda ana: (
            ana.greeted(),
            lines.same_lines(ana.rest(), ["PONG a", "PONG x", "PONG b", "PONG c"]),
        ),
    )
    assert [entry.text for entry in found[: wrong + 1]].count("PONG x") == 2


def test_a_fence_is_not_what_was_done():
    entries = [
        Entry(0, "ana", "sends", "SAY a\n"),
        *(Entry(1, f"m{number}", "hears", "MSG 2 T ana a") for number in range(9)),
        Entry(2, "ben", "sends", "PING fence-7\n"),
    ]
    found, wrong = shown(
        entries, "a line like `PONG fence-7` for ben", "ben waited for 1 s, and received nothing"
    )
    assert found == entries and wrong == len(entries)


def test_the_servers_death_is_the_first_wrong_thing():
    entries = [
        Entry(0, "ana", "sends", "PING a\n"),
        Entry(1, "ana", "reset", ""),
        Entry(2, "server", "exits", "139"),
    ]
    came = "ana was disconnected, and received nothing\nThe server was ended by signal 11 (SIGSEGV). Its last lines on stderr:\n(none)"
    found, wrong = shown(entries, "a line like `PONG a` for ana", came)
    assert found[wrong].what == "exits"
    found, wrong = shown(entries[:2], "a line like `PONG a` for ana", came)
    assert found[wrong].what == "reset"


@pytest.mark.parametrize("words", ["received:", "received it too early:"])
def test_what_the_model_does_not_allow_is_marked(words):
    """Whatever else follows in the verdict, and whatever came later."""
    entries = [
        Entry(0, "ana#8", "sends", "NAME zoe\n"),
        Entry(1, "ben#6", "hears", "RENAMED 2 T ana zoe"),
        Entry(1, "ana#8", "hears", "RENAMED 2 T ana zoe"),
        Entry(2, "owner", "types", "members"),
        Entry(3, "server", "shows", "ok"),
    ]
    came = f"ana#8 {words} RENAMED 2 T ana zoe\nThis order of steps shows it, each time:\n..."
    found, wrong = shown(entries, "ERR name-taken WORDS", came)
    assert found[wrong] is entries[2] and entries[0] in found
    assert shown(entries, "", "ana#8 received: nothing")[1] is None


def test_evidence_is_shown_as_it_is_and_marked_only_if_it_is_told():
    evidence = [
        Entry(0, "ana", "hears", "MSG 2 T ana a"),
        Entry(1, "ben", "hears", "MSG 2 T ana b"),
    ]
    assert shown(
        [], "one event 2", "ana received\nMSG 2 T ana a\nand ben received\nMSG 2 T ana b", evidence
    ) == (evidence, 1)
    assert shown([], "event 3 for ben", "ben never received it", evidence) == (evidence, None)


def test_what_is_told_of_files_and_processes_marks_nothing():
    entries = [Entry(0, "ana", "sends", "SAY a\n"), Entry(1, "ana", "hears", "MSG 2 T ana a")]
    for came in ("transcript: mode 644", "40 threads", "", "pid 7: x", "ana and ben"):
        found, wrong = shown(entries, "mode 600", came)
        assert wrong is None and found == entries


# -- The steps -------------------------------------------------------------------------------------


def test_equal_steps_are_folded():
    entries = (
        [Entry(0, "server", "starts", "./x")]
        + [Entry(1, "server", "signal", "SIGWINCH")] * 45
        + [Entry(2, "ana", "shuts", "")]
    )
    assert sentences.steps(entries) == [
        "The server starts: ./x",
        "The server receives SIGWINCH.",
        "... 43 more like this",
        "The server receives SIGWINCH.",
        "ana ends its sending direction (half-close), and still reads.",
    ]
    assert len(sentences.steps(entries[:4])) == 4  # three of them are no crowd


def test_rounds_of_steps_are_folded_whatever_the_names_and_numbers():
    entries = []
    for number in range(30):
        who = f"m{number}"
        entries += [
            Entry(0, who, "connects", ""),
            Entry(0, who, "sends", f"JOIN {who} secret-{number}\n"),
            Entry(0, who, "resets", ""),
            Entry(0, who, "closes", ""),
        ]
    told = sentences.steps([*entries, Entry(1, "ana", "connects", "")])
    assert (
        told[3] == "... 28 more rounds of these 3 steps"
        and told[0] == "m0 connects."
        and told[4] == "m29 connects."
        and told[-1] == "ana connects."
    )
    assert len(told) == 8


def test_of_many_different_steps_the_last_are_shown():
    entries = [
        Entry(0, *deed, f"the {one}{other} word")
        for one in "abcdefgh"
        for other in "abcdefghij"
        for deed in (("owner", "types"), ("ana", "sends"))
    ]
    told = sentences.steps(entries)
    assert len(told) <= sentences.MOST_STEPS and any(
        re.fullmatch(r"\.\.\. \d+ more steps", step) for step in told
    )
    assert told[-5:] == sentences.steps(entries[-5:])


def test_a_character_that_was_sent_byte_by_byte_is_told_whole():
    record = Record()
    for byte in b"SAY \xc3\xa9\xff\n":
        record.add("ana", "sends", bytes([byte]))
    assert sentences.steps(record.entries) == ["ana sends, in 8 pieces, SAY é\udcff"]
    assert shown(record.entries, "x", "y")[0][0].text == "SAY é\udcff\n"
