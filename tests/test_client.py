"""Tests of the member's client: its core, its file, and the whole client with the three servers.

The core is tested with tables, and with random examples against the real Room. It needs no network:
between core and Room, the test plays the network, an unreliable one.
"""

import json
import os
import re
import resource
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace

import pexpect
import psutil
import pytest
from conftest import end_terminal, lacks, need
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.driving.client import WireClient
from harness.driving.deadlines import wait_until
from harness.driving.server import DESIGNS, ROOT, Server
from implementations.client import conversation, resequencer, user_input
from implementations.client.__main__ import read_password
from implementations.client.arguments import check_address
from implementations.client.connection import Connection, alternate_families
from implementations.client.connection_state import State
from implementations.client.console import item_line
from implementations.client.conversation import Conversation
from implementations.client.errors import GroupsFileError
from implementations.client.groups import GroupsFile, Membership
from implementations.client.items import Event, MemberStatus, Note
from implementations.client.lenient_lines import LenientLines
from implementations.client.server_lines import (
    Bye,
    Err,
    Hello,
    HistoryEnd,
    Ping,
    Welcome,
    WhoEnd,
    parse,
)
from implementations.client.user_input import UserInput
from implementations.common import deliveries as sent
from implementations.common import wire
from implementations.common.client_state import Client
from implementations.common.requests import PasswordOk, Quit
from implementations.common.room import Room, Rules
from implementations.common.session import NEW_MEMBER, Session

TIME = "2026-11-22T13:21:28.123Z"
PASSWORD = "secret of ana"


# -- The core, with tables ------------------------------------------------------------------------


class Core(Conversation):
    """A Conversation with a keyboard."""

    def __init__(self, name="ana", password=PASSWORD, last_seen=None, jitter=lambda: 0, **options):
        super().__init__(name, password, last_seen, jitter=jitter, **options)
        self.user_input = UserInput(self)

    def types(self, line, now=0):
        self.user_input.enter(line, now)


def member(*lines, last=None, **options):
    """Return a Core that received `WELCOME 10 ana`, and then these lines."""
    core = Core(last_seen=last, jitter=lambda: 0.5, **options)
    core.connection_started(0)
    hear(core, "HELLO grupo/1 os-lab", "PENDING", "WELCOME 10 ana")
    core.take_items(), said(core)
    hear(core, *lines)
    return core


def settled(*lines, **options):
    """Return a Core with a complete history up to event 11, its own IN, and then these lines."""
    core = member(f"IN 11 {TIME} ana", "END HISTORY 11", last=10, **options)
    core.take_items(), said(core)
    hear(core, *lines)
    return core


def hear(core, *lines, now=0):
    core.receive("".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape"), now)


def reconnect(core, *lines):
    core.connection_started(core.retry_at)
    hear(core, "HELLO grupo/1 os-lab", "PENDING", *lines, now=core.retry_at)


def said(core):
    """Return the lines that the core sent since the last call."""
    lines, core.outgoing[:] = bytes(core.outgoing).decode().splitlines(), b""
    return lines


def shown(core):
    return [item_line(item).strip() for item in core.take_items()]


def msg(seq, name, text):
    return f"MSG {seq} {TIME} {name} {text}"


@pytest.mark.parametrize(
    "line, parsed",
    [
        ("HELLO grupo/1 the lab", Hello("grupo/1", "the lab")),
        ("WELCOME 350 Ana", Welcome(350, "Ana")),
        ("WELCOME x Ana", None),
        ("MEMBER ana away", MemberStatus("ana", "away")),
        ("END WHO", WhoEnd()),
        ("END HISTORY 7", HistoryEnd(7)),
        ("END", None),
        ("PING k3", Ping("k3")),
        ("PING two words", None),
        ("PONG k3", None),
        ("ERR not-saved disk full", Err("not-saved", "disk full")),
        ("ERR unknown", Err("unknown", "unknown")),
        ("BYE", Bye("without a code")),
        (msg(7, "ana", " hi "), Event("MSG", 7, TIME, "ana", " hi ")),
        (f"GROUP 7 {TIME} the lab", Event("GROUP", 7, TIME, "", "the lab")),
        (f"TOPIC 7 {TIME} ana exam", Event("TOPIC", 7, TIME, "ana", "exam")),
        ("TOPIC 7 yesterday ana exam", None),
        (" ", None),
    ],
)
def test_lines_of_a_server(line, parsed):
    assert parse(line) == parsed


def test_it_sends_join_only_to_a_grupo_1_server():
    core = Core()
    assert core.wants_connection(0)
    core.connection_started(0)
    assert (core.state, said(core)) == (State.CONNECTING, [])
    hear(core, "HELLO grupo/1 os-lab")
    assert said(core) == [f"JOIN ana {PASSWORD}"]
    hear(core, "PENDING")
    assert core.state is State.ASKING
    hear(core, "WELCOME 350 Ana")
    assert (core.state, core.name, core.group) == (State.HERE, "Ana", "os-lab")
    assert said(core) == ["HISTORY 250"]


@pytest.mark.parametrize("last, asks", [(None, 0), (3, 3), (10, 10), (0, 0)])
def test_it_requests_the_last_100_events_or_what_it_has_not_seen(last, asks):
    core = Core(last_seen=last)
    core.connection_started(0)
    hear(core, "HELLO grupo/1 os-lab", "PENDING", "WELCOME 10 ana")
    assert said(core)[1:] == [f"HISTORY {asks}"]


def test_a_last_seq_above_welcomes_means_that_the_group_was_created_again():
    core = Core(last_seen=500)
    core.connection_started(0)
    hear(core, "HELLO grupo/1 os-lab", "PENDING", "WELCOME 110 ana")
    assert said(core)[1:] == ["HISTORY 10"]
    assert "-- the group was created again: its earlier messages are gone" in shown(core)


# Lines of a server before WELCOME; the state, the exit status and a part of the reason then.
@pytest.mark.parametrize(
    "lines, state, status, why",
    [
        (["REJECTED refused"], State.OVER, 1, "password is wrong"),
        (["ERR bad-name a name is 1 to 32 letters"], State.OVER, 1, "a name is 1 to 32 letters"),
        (["ERR not-saved no room"], State.DISCONNECTED, 0, "could not save"),
        (["BYE refused"], State.OVER, 1, "refused"),
        (["PING x", "BYE timeout"], State.DISCONNECTED, 0, "took too long"),
        (
            ["END HISTORY 7", "MEMBER eve here", "PONG x", msg(1, "eve", "boo"), "NEWVERB 7", ""],
            State.ASKING,
            0,
            "",
        ),
    ],
)
def test_before_welcome(lines, state, status, why):
    core = Core()
    core.connection_started(0)
    hear(core, "HELLO grupo/1 os-lab", "PENDING", *lines)
    assert (core.state, core.exit_status) == (state, status)
    assert why in core.reason
    assert "boo" not in str(core.take_items())


@pytest.mark.parametrize(
    "first",
    [
        "SSH-2.0-OpenSSH_9.2",
        "HTTP/1.1 400 Bad Request",
        "HELLO grupo/2 x",
        "HELLO",
        "WELCOME 1 ana",
        msg(1, "eve", "boo"),
        "x" * 600,
        "\x00\x01\udcff",
        "PING x",
    ],
)
def test_a_server_of_another_protocol_gets_no_password(first):
    core = Core()
    core.connection_started(0)
    hear(core, first)
    assert (core.state, core.exit_status, said(core)) == (State.OVER, 1, [])
    assert core.reason.isprintable()


def test_a_server_that_is_full_is_tried_again():
    core = Core(jitter=lambda: 0.5)
    core.connection_started(0)
    hear(core, "BYE full")
    assert (core.state, core.retry_at, shown(core)) == (
        State.DISCONNECTED,
        1,
        ["-- the server is full; reconnecting"],
    )


@pytest.mark.parametrize(
    "code, comes_back, status",
    [
        ("slow", True, 0),
        ("idle", True, 0),
        ("timeout", True, 0),
        ("full", True, 0),
        ("closed", True, 0),
        ("", True, 0),
        ("quit", False, 0),
        ("left", False, 0),
        ("banned", False, 1),
        ("deleted", False, 1),
        ("replaced", False, 1),
        ("refused", False, 1),
        ("protocol", False, 1),
        ("what-is-this", False, 1),
        ("slow indeed", False, 1),
    ],
)
def test_after_which_bye_it_reconnects(code, comes_back, status):
    core = settled()
    if code:
        hear(core, f"BYE {code}", msg(12, "ben", "nothing counts after BYE"))
    core.connection_lost("", 0)
    assert core.state == (State.DISCONNECTED if comes_back else State.OVER)
    assert core.exit_status == status
    assert not any("nothing counts" in line for line in shown(core))
    assert not core.is_connected


@pytest.mark.parametrize("event, code", [("LEFT", "left"), ("BANNED", "banned")])
def test_it_does_not_reconnect_after_its_own_leaving_without_a_bye(event, code):
    core = settled(f"{event} 12 {TIME} ana")
    core.connection_lost("", 0)
    assert (core.state, core.bye_code) == (State.OVER, code)


def test_it_waits_longer_after_each_failure_and_displays_that_once():
    core, pauses, now = settled(), [], 0
    core.connection_lost("", now)
    for _ in range(7):
        pauses.append(core.retry_at - now)
        assert not core.wants_connection(core.retry_at - 0.001)
        now = core.retry_at
        assert core.wants_connection(now)
        core.connection_started(now)
        core.connection_lost("Connection refused", now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert shown(core) == [
        "-- the connection ended; reconnecting",
        "-- Connection refused; reconnecting",
    ]
    reconnect(core, "WELCOME 20 ana", "END HISTORY 20")
    core.connection_lost("", now)
    assert core.retry_at - now == 1


def test_silence_leads_to_ping_and_then_to_an_end():
    core = settled()
    core.tick(59)
    assert said(core) == []
    core.tick(60), core.tick(61)
    assert said(core) == ["PING alive"]
    core.tick(90)
    assert core.state is State.DISCONNECTED
    core = Core()
    core.connection_started(0)
    core.tick(20)
    assert (core.state, core.exit_status) == (State.OVER, 1)


def test_ping_is_answered_but_pongs_are_limited():
    core = settled("PING k3", "PING two words", "PING \x1b", "PING " + "t" * 65)
    assert said(core) == ["PONG k3"]
    for _ in range(2000):
        hear(core, "PING " + "t" * 64)
    assert len(core.outgoing) < conversation.MAX_OUTGOING + 70


# Lines of the user, lines that are sent, lines that are displayed.
@pytest.mark.parametrize(
    "line, sends, displays",
    [
        ("hi there", ["SAY hi there"], []),
        (" two  spaces ", ["SAY  two  spaces "], []),
        ("a\tb", ["SAY a b"], []),
        ("//x", ["SAY /x"], []),
        ("//", ["SAY /"], []),
        ("", [], []),
        ("ã" * 200, ["SAY " + "ã" * 200], []),
        ("ã" * 200 + "x", [], ["-- not sent: 401 bytes; the limit is 400"]),
        ("a\x1b[2Jb", [], ["-- not sent: it contains a character that messages must not contain"]),
        ("a\u202eb", [], ["-- not sent: it contains a character that messages must not contain"]),
        ("a\udcffb", [], ["-- not sent: it contains a character that messages must not contain"]),
        ("/name anna", ["NAME anna"], []),
        ("/name  João ", ["NAME João"], []),
        ("/name", [], ["-- /name NEW: a name is 1 to 32 letters, digits, or . _ -"]),
        ("/name two words", [], ["-- /name NEW: a name is 1 to 32 letters, digits, or . _ -"]),
        ("/name \udcff", [], ["-- /name NEW: a name is 1 to 32 letters, digits, or . _ -"]),
        ("/who", ["WHO"], []),
        ("/quit", ["QUIT"], []),
        ("/help", [], ["-- " + line for line in user_input.HELP]),
        ("/dance\x1b", [], ["-- unknown command: /dance\\x1b; /help lists the commands"]),
        ("/ who", [], ["-- unknown command: /; /help lists the commands"]),
    ],
)
def test_what_is_typed(line, sends, displays):
    core = settled()
    core.types(line, 0)
    assert (said(core), shown(core)) == (sends, displays)


def test_a_line_that_is_too_long_is_reported():
    core = settled()
    for line in LenientLines().feed(b"x" * 5000 + b"\nhi\n"):
        core.types(line, 0)
    assert (said(core), shown(core)) == (["SAY hi"], ["-- not sent: longer than 400 bytes"])


@pytest.mark.parametrize(
    "consent, sends",
    [("yes", ["LEAVE"]), (" yes ", ["LEAVE"]), ("no", []), ("", []), ("/leave", [])],
)
def test_leaving_needs_consent(consent, sends):
    core = settled()
    core.types("/leave", 0)
    core.types(consent, 0)
    assert said(core) == sends
    core.types("yes", 0)
    assert said(core) == ["SAY yes"]


# A line of the server, and the displayed line.
@pytest.mark.parametrize(
    "line, shows",
    [
        (msg(12, "ben", "hi  there "), "<ben> hi  there"),
        (f"IN 12 {TIME} ben", "* ben came"),
        (f"OUT 12 {TIME} ben", "* ben went"),
        (f"LEFT 12 {TIME} ben", "* ben left the group"),
        (f"BANNED 12 {TIME} ben", "* ben was banned"),
        (f"RENAMED 12 {TIME} ben benjamin", "* ben is now benjamin"),
        (f"GROUP 12 {TIME} the lab", "* the group is the lab"),
        ("MEMBER ben away", "-- ben away"),
        (msg(12, "eve", "\x1b[2J\x07\x9b1m\u202ex"), "<eve> \\x1b[2J\\x07\\x9b1m\\u202ex"),
        (msg(12, "e\x1bve", "x"), "<e\\x1bve> x"),
        (msg(12, "eve", "\udcff"), "<eve> \\udcff"),
        (f"GROUP 12 {TIME} \x1b]0;pwn\x07", "* the group is \\x1b]0;pwn\\x07"),
        ("MEMBER \x1b[2J here", "-- \\x1b[2J here"),
        ("ERR not-saved \x1b[2J", None),
        ("NOISE", None),
        ("NOISE 12", None),
        ("MSG x y z", None),
        ("MSG 12 yesterday ben hi", None),
        (f"MSG 99999999999999999 {TIME} ben hi", None),
        ("END", None),
        ("END HISTORY", None),
        ("WELCOME 99 eve", None),
        (" ", None),
    ],
)
def test_what_is_shown(line, shows):
    assert shown(settled(line)) == ([shows] if shows else [])


def test_an_event_of_an_unknown_verb_fills_its_place():
    core = settled(f"TOPIC 12 {TIME} ana the exam", msg(13, "ben", "hi"))
    assert shown(core) == ["<ben> hi"]
    assert core.last_seen == 13


def test_events_that_a_server_skips_are_reported():
    core = settled(
        msg(14, "ben", "hi"), msg(13, "ben", "late"), msg(14, "ben", "again"), msg(15, "ben", "ho")
    )
    assert shown(core) == ["-- the server skipped the events 12 to 13", "<ben> hi", "<ben> ho"]


def test_an_err_answers_the_first_unanswered_request():
    core = settled()
    for line in ("one", "two", "/name ben", "three"):
        core.types(line, 0)
    hear(
        core,
        msg(12, "ana", "one"),
        "ERR not-saved disk full",
        "ERR name-taken somebody has it",
        msg(13, "ana", "three"),
    )
    assert shown(core) == [
        "<ana> one",
        "-- failed (disk full): SAY two",
        "-- failed (somebody has it): NAME ben",
        "<ana> three",
    ]
    assert not len(core.requests)


def test_only_a_rename_after_welcome_changes_ones_own_name():
    core = member(
        f"RENAMED 5 {TIME} ana eve",
        f"IN 11 {TIME} ana",
        "END HISTORY 11",
        f"RENAMED 12 {TIME} ana anna",
        last=4,
    )
    assert core.name == "anna"
    hear(core, f"RENAMED 13 {TIME} anna \x1b")  # an invalid name is not used for reconnecting
    assert core.name == "anna"
    core.connection_lost("", 0)
    reconnect(core)
    assert said(core) == [f"JOIN anna {PASSWORD}"]


def test_what_is_typed_early_waits_until_history_has_ended():
    core = Core()
    core.types("early", 0)
    core.connection_started(0)
    core.types("/who", 0)
    hear(core, "HELLO grupo/1 os-lab", "PENDING", "WELCOME 2 ana")
    core.types("late", 0)
    # Another member with this name said `early` before
    hear(core, f"GROUP 1 {TIME} os-lab", msg(2, "ana", "early"), f"IN 3 {TIME} ana")
    assert said(core) == [f"JOIN ana {PASSWORD}", "HISTORY 0"]
    hear(core, "END HISTORY 3")
    assert said(core) == ["SAY early", "WHO", "SAY late"]


# Unconfirmed at the end of a connection; own messages in the next history; messages sent again.
@pytest.mark.parametrize(
    "unconfirmed, history, again",
    [
        ("a b c", "", "a b c"),
        ("a b c", "a", "b c"),
        ("a b c", "a b c", ""),
        ("a b c", "b", "a c"),
        ("a b a", "a", "b a"),
        ("a a a", "a a", "a"),
        ("a", "x a a", ""),
        ("", "a", ""),
    ],
)
def test_it_sends_again_exactly_what_the_history_lacks(unconfirmed, history, again):
    core = settled()
    for text in unconfirmed.split():
        core.types(text, 0)
    core.connection_lost("", 0)
    core.types("z", 0)
    lines = [msg(seq, "ana", text) for seq, text in enumerate(history.split(), 12)] + [
        msg(50, "ben", "c")
    ]
    reconnect(core, "WELCOME 50 ana", *lines)
    said(core)
    hear(core, f"END HISTORY {51}")
    assert said(core) == [f"SAY {text}" for text in [*again.split(), "z"]]


def test_after_a_disconnect_requests_other_than_messages_are_not_repeated():
    core = settled()
    core.types("/name anna", 0)
    core.connection_lost("", 0)
    assert "-- the connection ended; it is not known whether your name is now anna" in shown(core)
    reconnect(core, "WELCOME 12 ana", "END HISTORY 12")
    assert said(core) == [f"JOIN ana {PASSWORD}", "HISTORY 11"]


def test_it_does_not_reconnect_if_it_was_leaving():
    core = settled()
    core.types("/leave", 0)
    core.types("yes", 0)
    core.connection_lost("", 0)
    assert (core.state, core.exit_status, core.reason) == (
        State.OVER,
        1,
        "the connection ended; it is not known whether you left",
    )


def test_a_script_ends_when_all_is_confirmed():
    core = Core(is_script=True)
    core.types("hi", 0)
    core.types("/quit", 0)
    core.types("too late", 0)
    core.connection_started(0)
    hear(
        core,
        "HELLO grupo/1 os-lab",
        "PENDING",
        "WELCOME 0 ana",
        f"IN 1 {TIME} ana",
        "END HISTORY 1",
    )
    assert said(core)[2:] == ["SAY hi"]
    hear(core, msg(2, "ana", "hi"))
    assert said(core) == ["QUIT"]
    hear(core, "BYE quit")
    assert (core.state, core.exit_status) == (State.OVER, 0)


def test_a_script_gives_up_after_30_seconds():
    core = Core(is_script=True)
    core.types("hi", 0)
    core.quit_when_confirmed(0)
    core.connection_started(0)
    hear(core, "HELLO grupo/1 os-lab", "PENDING", now=29)
    core.tick(29)
    assert core.state is State.ASKING
    core.tick(30)
    assert (core.state, core.exit_status, core.reason) == (State.OVER, 1, "gave up after 30 s")
    assert "-- not confirmed: 1 of your messages" in shown(core)


@pytest.mark.parametrize("last_words", ["BYE quit", "BYE closed", None])
def test_quit_is_the_end_in_every_case(last_words):
    core = settled()
    core.quit(0)
    assert said(core) == ["QUIT"]
    if last_words:
        hear(core, last_words)
    else:
        core.tick(2)
    assert (core.state, core.exit_status) == (State.OVER, 0)


def test_the_command_leave_joins_and_displays_nothing():
    core = Core(leave_only=True)
    core.connection_started(0)
    hear(
        core,
        "HELLO grupo/1 os-lab",
        "PENDING",
        "WELCOME 10 ana",
        f"IN 11 {TIME} ana",
        msg(12, "ben", "hi"),
    )
    assert said(core) == [f"JOIN ana {PASSWORD}", "LEAVE"]
    assert [type(item) for item in core.take_items()] == [Note]
    hear(core, f"LEFT 13 {TIME} ana", "BYE left")
    assert (core.state, core.exit_status, core.bye_code) == (State.OVER, 0, "left")


# -- The core, with random examples ---------------------------------------------------------------

DIALOGUE = (
    "".join(
        line + "\n"
        for line in [
            "HELLO grupo/1 João's lab",
            "PENDING",
            "WELCOME 3 ana",
            f"GROUP 1 {TIME} João's lab",
            msg(5, "ben", "live, früh"),
            "PING x",
            f"IN 2 {TIME} ben\r",
            "",
            msg(3, "ben", "\x1b[2J"),
            f"IN 4 {TIME} ana",
            "END HISTORY 4",
            "MEMBER ben here",
            "END WHO",
            msg(6, "b", "x" * 400),
            "ERR unknown no such verb",
            "x" * 511,
            "UNKNOWN",
            "BYE closed",
            msg(7, "ben", "no more"),
        ]
    ).encode()
    + b"\xff\xfe torn"
)


@given(st.lists(st.integers(0, len(DIALOGUE)), max_size=30))
def test_the_cuts_of_the_network_do_not_matter(cuts):
    def play(cuts):
        core = Core()
        core.connection_started(0)
        for start, end in zip([0, *cuts], [*cuts, len(DIALOGUE)], strict=False):
            core.receive(DIALOGUE[start:end], 0)
        return core.take_items(), said(core), core.state, core.reason, core.last_seen

    assert play(sorted(cuts)) == play([])
    assert play([])[2:] == (State.DISCONNECTED, "the server was closed", 6)


@given(
    st.lists(
        st.binary(max_size=700) | st.sampled_from(DIALOGUE.splitlines(keepends=True)), max_size=40
    )
)
def test_noise_of_any_kind_raises_nothing_and_is_made_harmless(chunks):
    core = Core()
    core.connection_started(0)
    for chunk in chunks:
        core.receive(chunk, 0)
    for item in core.take_items():
        assert not wire.FORBIDDEN.search(item_line(item))
    assert not wire.FORBIDDEN.search(core.reason)


@given(
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(1, 40),
    st.randoms(use_true_random=False),
)
def test_live_events_between_those_of_history_come_out_in_order(last, missed, live, room, chance):
    welcomed = last + missed
    newest = welcomed + chance.randint(
        0, live
    )  # H: some of the live ones are part of the answer as well
    answer = [Event("MSG", seq) for seq in range(last + 1, newest + 1)]
    alive = [Event("MSG", seq) for seq in range(welcomed + 1, welcomed + live + 1)]
    ordered, out = resequencer.Resequencer(last), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resequencer, "MAX_HELD", room)
        while not ordered.history_complete:
            while answer or (alive and chance.random() < 0.5):
                source = chance.choice([each for each in (answer, alive) if each])
                out += ordered.add(source.pop(0))
            heard = max(newest, welcomed + live - len(alive))
            if ordered.overflowed:
                again = range(ordered.request_again() + 1, heard + 1)
                answer, newest = [Event("MSG", seq) for seq in again], heard
            else:
                out += ordered.complete(newest)
        for event in alive:
            out += ordered.add(event)
    assert [event.seq for event in out] == list(range(last + 1, max(newest, welcomed + live) + 1))


class Path:
    """One connection to the RealRoom: the bytes and lines that are on their way, up and down."""

    def __init__(self):
        self.client, self.session = Client("somewhere", 0), Session()
        self.up, self.down = bytearray(), deque()  # down: (kind, line)
        self.hears = self.ended = False

    def next_line(self, chance):
        """Return a line for the client. A live line may overtake a history that is on its way."""
        live = next((number for number, (kind, _) in enumerate(self.down) if kind == "event"), None)
        if live is not None and self.down[0][0] == "history" and chance.random() < 0.3:
            line = self.down[live][1]
            del self.down[live]
            return line
        return self.down.popleft()[1]


class RealRoom:
    """The servers' own Room and Sessions. This test is their network and their disk."""

    def __init__(self):
        self.events, self.members = [], ""
        self.start()

    def start(self):
        self.links = {}
        self.room = Room(
            Rules(admit="all"), lambda data: self.events.extend(data.decode().splitlines())
        )
        if self.events:
            self.room.group.restore(self.members, self.events)
        else:
            self.room.create_group("os-lab", 0, TIME)
        self.ben = self.connect()
        self.receive(self.ben, b"JOIN ben secret of ben\n")

    def connect(self):
        link = Path()
        self.links[link.client] = link
        self.deliver(self.room.connected(link.client))
        return link

    def receive(self, link, data):
        self.handle(link.client, link.session.receive(data))

    def handle(self, client, requests):
        self.deliver(self.room.handle([(client, requests)], 0, TIME))

    def deliver(self, deliveries):
        then = []
        for delivery in deliveries:
            match delivery:
                case sent.Events(data):
                    for each in self.links.values():
                        each.down.extend(
                            ("event", line) for line in data.splitlines(keepends=True) if each.hears
                        )
                case sent.Line(client, text) | sent.Welcome(client, text):
                    link = self.links[client]
                    link.hears = link.hears or isinstance(delivery, sent.Welcome)
                    link.down.append(("answer", text.encode() + b"\n"))
                case sent.HistoryRange(client, since, until):
                    self.links[client].down.extend(
                        ("history", line.encode() + b"\n") for line in self.events[since:until]
                    )
                case sent.End(client):
                    self.links[client].hears, self.links[client].ended = False, True
                case sent.CheckPassword(client, against):
                    # The password is right; to hash it would take too long here
                    then.append(
                        (
                            client,
                            [
                                PasswordOk(
                                    f"$argon2id$of-{client.join.name}" * (against == NEW_MEMBER)
                                )
                            ],
                        )
                    )
                case sent.Done(client):
                    then.append((client, None))
                case sent.SaveMembers(text):
                    self.members = text
                    then.append((None, None))
        for client, requests in then:
            if client is None:
                self.deliver(self.room.saved("", 0, TIME))
            else:
                self.handle(
                    client,
                    self.links[client].session.request_done() if requests is None else requests,
                )


class Network:
    """The network between a core and the RealRoom. It delays bytes and breaks connections.

    The server notices a break later than the client.
    """

    def __init__(self, chance):
        self.chance, self.group, self.now = chance, RealRoom(), 0
        self.core = Core(jitter=chance.random)
        self.link = self.broken = None
        self.seen = []
        self.wait()
        self.down(len(self.link.down))  # HELLO: there is a server, so the client will reconnect

    def wait(self):
        self.now += 60
        if self.core.wants_connection(self.now):
            self.core.connection_started(self.now)
            self.link = self.group.connect()

    def up(self, most):
        self.link.up += self.core.outgoing
        self.core.outgoing.clear()
        self.arrive(self.link, most)

    def arrive(self, link, most):
        data, link.up[:most] = bytes(link.up[:most]), b""
        if not link.ended:
            self.group.receive(link, data)

    def down(self, most):
        self.core.receive(b"".join(self.link.next_line(self.chance) for _ in range(most)), self.now)
        self.look()

    def look(self):
        self.seen += [item for item in self.core.take_items() if isinstance(item, Event)]

    def snap(self):
        """Break the connection; the client notices at once."""
        if self.link.down:  # the break is within a line
            line = self.link.next_line(self.chance)
            self.core.receive(line[: self.chance.randint(0, len(line) - 1)], self.now)
        self.core.connection_lost("", self.now)
        self.link, self.broken = None, self.link

    def notice(self):
        """Let the server notice the break, perhaps after the client has reconnected.

        It still receives a part of the bytes on their way.
        """
        self.arrive(self.broken, self.chance.randint(0, len(self.broken.up)))
        if not self.broken.ended:
            self.group.handle(self.broken.client, [Quit()])
        self.broken = None

    def crash(self):
        """Kill the server with -9 and start it again; its files are still there."""
        self.group.start()
        self.core.connection_lost("", self.now)
        self.link = self.broken = None

    def heal(self):
        for _ in range(3):  # enough for the end of a broken connection and a new one
            self.wait()
            while self.core.is_connected and (self.core.outgoing or self.link.up or self.link.down):
                self.up(1 << 20)
                self.down(len(self.link.down))


STEPS = [
    "say",
    "say",
    "ben",
    "ben",
    "up",
    "up",
    "up",
    "down",
    "down",
    "down",
    "snap",
    "notice",
    "crash",
    "wait",
    "wait",
]


@given(st.randoms(use_true_random=False), st.lists(st.sampled_from(STEPS), max_size=60))
@settings(max_examples=300)
def test_over_any_disconnects_each_message_is_sent_and_displayed_once_in_order(chance, steps):
    network, typed = Network(chance), []
    for step in steps:
        if step == "say":
            typed.append(chance.choice("ab"))
            network.core.types(typed[-1], network.now)
        elif step == "ben":
            network.group.receive(network.group.ben, b"SAY a\n")
        elif step == "wait":
            network.wait()
        elif step == "crash":
            network.crash()
        elif step == "notice" and network.broken:
            network.notice()
        elif network.link and step == "up":
            network.up(chance.randint(0, 100))
        elif network.link and step == "down":
            network.down(chance.randint(0, len(network.link.down)))
        elif network.link and step == "snap":
            network.snap()
    network.heal()

    core, kept = network.core, network.group.events
    assert core.progress.caught_up and not len(core.requests)
    assert [
        line.split(" ", 4)[4] for line in kept if line.startswith("MSG ") and " ana " in line
    ] == typed
    assert [event.seq for event in network.seen] == list(range(1, len(kept) + 1))
    assert [
        event.text for event in network.seen if (event.verb, event.name) == ("MSG", "ana")
    ] == typed


# -- The groups file ------------------------------------------------------------------------------

ANA = Membership("127.0.0.1:7000", "ana", "os-lab", 41)


def test_memberships_are_saved_replaced_and_removed(tmp_path):
    groups = GroupsFile(tmp_path / "new" / "groups")
    assert groups.read() == []
    groups.save(ANA)
    ben = replace(ANA, name="ben", group="João \x1b\udcff")
    groups.save(ben)
    groups.save(replace(ANA, last=50))
    assert sorted(groups.read()) == [replace(ANA, last=50), ben]
    groups.save(replace(ANA, name="Anna"), formerly=ANA)
    assert sorted(groups.read()) == [replace(ANA, name="Anna"), ben]
    groups.save(replace(ANA, name="ANNA"))
    groups.remove(ben)
    groups.remove(ben)
    assert groups.read() == [replace(ANA, name="ANNA")]
    assert os.stat(groups.path).st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path / "new")) == ["groups", "groups.lock"]


def test_names_that_a_server_distinguishes_have_entries_of_their_own(tmp_path):
    groups = GroupsFile(tmp_path / "groups")
    weiss, other = replace(ANA, name="weiss"), replace(ANA, name="weiß")
    groups.save(weiss)
    groups.save(other)
    assert groups.read() == [weiss, other] and groups.find(ANA.address, "WEISS") == weiss
    strange = replace(ANA, name="another server's\u200b")
    groups.save(strange)
    groups.remove(strange)
    assert groups.read() == [weiss, other]


KEEPER = """
import sys
from implementations.client.groups import GroupsFile, Membership
groups = GroupsFile(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    groups.save(Membership(f"{sys.argv[2]}:{number % 20 + 1}", "ana", "grupo", number))
"""


@pytest.mark.parametrize("name", ["groups.new", "groups.lock"])
def test_a_link_in_place_of_its_other_files_is_not_followed(tmp_path, name):
    other = tmp_path / "other"
    other.write_text("keep this")
    (tmp_path / name).symlink_to(other)
    with pytest.raises(OSError):
        GroupsFile(tmp_path / "groups").save(Membership("127.0.0.1:1", "ana", "lab", 1))
    assert other.read_text() == "keep this" and not (tmp_path / "groups").exists()


def test_clients_that_save_at_the_same_time_lose_nothing(tmp_path):
    path = tmp_path / "groups"
    keepers = [
        subprocess.Popen(
            [sys.executable, "-c", KEEPER, path, host],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for host in ("one", "two", "three")
    ]
    for keeper in keepers:
        assert keeper.stdout.readline() == b"ready\n"
    for keeper in keepers:
        keeper.stdin.write(b"go\n")
        keeper.stdin.flush()
    for keeper in keepers:
        keeper.communicate(timeout=60)
        assert keeper.returncode == 0
    assert sorted(GroupsFile(path).read()) == sorted(
        Membership(f"{host}:{port + 1}", "ana", "grupo", port + 20)
        for host in ("one", "two", "three")
        for port in range(20)
    )


GOOD = json.dumps(asdict(ANA))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "7",
        "null",
        "[]",
        "{}",
        '"x"',
        GOOD[:-1],
        GOOD + GOOD,
        "[" * 100_000,
        GOOD.replace("41", "-1"),
        GOOD.replace("41", "true"),
        GOOD.replace("41", '"41"'),
        GOOD.replace('"ana"', "null"),
        GOOD.replace('"last"', '"lost"'),
        "\udcff\udcfe",
        "\0",
    ],
)
def test_a_damaged_groups_file_is_named_and_not_overwritten(tmp_path, line):
    path = tmp_path / "groups"
    path.write_text(f"{GOOD}\n{line}\n", encoding="utf-8", errors="surrogateescape")
    before = path.read_bytes()
    for act in (
        GroupsFile(path).read,
        lambda: GroupsFile(path).save(ANA),
        lambda: GroupsFile(path).remove(ANA),
    ):
        with pytest.raises(
            GroupsFileError, match=re.escape(f"{path}: line 2 is not a valid entry")
        ):
            act()
    assert path.read_bytes() == before


# -- A malicious server: what it can make the client compute, keep and wait for is bounded ----------


def flood(core, line, count=100_000):
    """Send lines to a core, as a network does: many in one piece."""
    for start in range(0, count, 1000):
        core.receive("".join(f"{line(n)}\n" for n in range(start, start + 1000)).encode(), 0)


def test_ends_of_history_after_far_events_cost_one_request_and_one_sort(monkeypatch):
    monkeypatch.setattr(resequencer, "MAX_HELD", 100)
    core = member(last=0)
    flood(core, lambda n: msg(10**15 + 2 * n, "eve", "far"), 1000)
    hear(core, "END HISTORY 1")
    assert said(core) == ["HISTORY 0"], "events that did not fit are requested again, once"
    flood(core, lambda n: f"END HISTORY {n + 2}")
    assert said(core) == [] and core.progress.caught_up
    assert [line for line in shown(core) if "far" in line][-1].endswith("<eve> far")
    assert core.last_seen == 10**15 + 198


def test_a_second_history_that_does_not_fit_ends_the_connection_and_loses_nothing(monkeypatch):
    monkeypatch.setattr(resequencer, "MAX_HELD", 2)
    core = member(last=8)
    for released in (8, 9):
        hear(core, *(msg(seq, "ben", str(seq)) for seq in (20, 21, 22)))
        hear(core, msg(released + 1, "ben", "old"), f"END HISTORY {released + 1}")
    assert said(core) == ["HISTORY 9"]
    assert (core.state, core.last_seen) == (State.DISCONNECTED, 10)
    assert shown(core)[-1] == "-- too many new events arrived during the history; reconnecting"
    assert core.retry_at >= 1, "a server cannot have this repeated at once"
    reconnect(core, "WELCOME 22 ana")
    assert said(core)[-1] == "HISTORY 10"


@pytest.mark.parametrize(
    "line",
    [
        lambda n: f"PING {n}",
        lambda n: f"END HISTORY {n}",
        lambda n: msg(10**14 * n, "eve", "far"),
        lambda n: "WELCOME 10 ana",
        lambda n: "HELLO grupo/1 os-lab",
        lambda n: "PENDING",
        lambda n: "ERR not-saved no",
        lambda n: f"RENAMED {n + 12} {TIME} {'ab'[n % 2]} {'ba'[n % 2]}",
        lambda n: "",
    ],
)
@pytest.mark.parametrize("begin", [lambda: member(last=5), settled], ids=["history", "settled"])
def test_no_flood_of_lines_makes_what_is_queued_grow(begin, line):
    core = begin()
    for n in range(10):
        if not core.user_input.should_pause:
            core.types(f"message {n}")
    flood(core, line, 20_000)
    assert len(core.outgoing) <= conversation.MAX_OUTGOING + wire.MAX_LINE
    assert len(core.requests) <= 10 and len(core.progress.resequencer.held) <= resequencer.MAX_HELD
    assert bytes(core.outgoing).count(b"HISTORY") <= 1 + (begin is not settled)


def test_a_server_that_refuses_all_and_reads_nothing_stops_the_users_input():
    core = settled()
    while not core.user_input.should_pause:
        core.types("x" * 400)
        hear(core, "ERR not-saved no")
    assert conversation.MAX_OUTGOING <= len(core.outgoing) < conversation.MAX_OUTGOING + 512


def test_a_line_without_an_end_is_the_end():
    core = settled()
    for _ in range(10):
        core.receive(b"M" * 65536, 0)
    assert core.state is State.OVER and len(core.progress.lines.rest) < wire.MAX_LINE


def test_bytes_that_are_no_answer_do_not_extend_the_time_for_one():
    core = Core()
    core.connection_started(0)
    for now in range(1, 20):
        core.receive(b"H", now), core.tick(now)
    assert core.state is State.CONNECTING
    core.tick(20)
    assert core.state is State.OVER
    assert core.reason == "no Grupo server answers: no answer within 20 s"


def test_no_event_of_a_server_delays_the_end_after_quit():
    core = settled()
    core.types("/quit", now=0)
    for now in (0.5, 1, 1.5, 2):
        hear(core, f"LEFT {12 + 2 * now:.0f} {TIME} ana", "PING x", now=now)
        assert core.state is State.HERE
        core.tick(now)
    assert (core.state, core.bye_code) == (State.OVER, "left")


def test_after_ones_own_leaving_the_client_waits_two_seconds_for_bye():
    core = settled(f"LEFT 12 {TIME} ana")
    core.tick(1), hear(core, "PING x", now=1)
    assert core.state is State.HERE
    core.tick(2)
    assert (core.state, core.bye_code, core.exit_status) == (State.OVER, "left", 0)


def test_a_script_gives_up_when_nothing_is_confirmed():
    core = settled(is_script=True)
    for n in range(100):
        core.types(f"message {n}")
    core.tick(0), core.tick(29)
    hear(core, msg(12, "ana", "message 0"), now=29)
    core.types("one more", now=29)
    core.tick(29), hear(core, "PING x", now=58), core.tick(58)
    assert core.state is State.HERE
    core.tick(59)
    assert (core.state, core.reason) == (State.OVER, "gave up after 30 s")


# -- Several addresses of one server (RFC 8305) ---------------------------------------------------


@contextmanager
def silent_address(host="127.0.0.2", port=0):
    """Yield an address that answers no attempt to connect: the kernel's queue for it is full."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind((host, port))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()[:2]):
            yield listener.getsockname()


def info_of(address):
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", address)


def drive(connection, until, what):
    """Take turns, as the console does, until a condition holds."""

    def turn():
        connection.connect_if_due()
        waits = list(connection.waits_for())
        ready = select.select(
            [sock for sock, events in waits if events & selectors.EVENT_READ],
            [sock for sock, events in waits if events & selectors.EVENT_WRITE],
            [],
            0.02,
        )
        for sock in {*ready[0], *ready[1]}:
            connection.on_ready(sock)
        connection.flush()
        return until()

    wait_until(turn, what=what)


def test_a_silent_address_does_not_hide_the_next_and_a_reconnect_begins_with_what_worked():
    answers = [b"HELLO grupo/1 lab\nPENDING\nWELCOME 0 ana\nEND HISTORY 0\n"] * 2
    with silent_address() as silent, stranger(*answers) as place:
        works = ("127.0.0.1", int(place.rpartition(":")[2]))
        core = Core()
        connection = Connection([info_of(silent), info_of(works)], core)
        with closing(connection):
            drive(connection, lambda: core.progress.caught_up, "the history")
            assert connection.sock.getpeername() == works
            assert [sock for sock, _ in connection.waits_for()] == [connection.sock]
            drive(connection, lambda: core.state is State.DISCONNECTED, "the end")
            core.retry_at = 0
            connection.connect_if_due()
            [(sock, _)] = connection.waits_for()
            drive(connection, lambda: core.progress.caught_up, "the history")
            assert connection.sock is sock, "the first attempt went to the address that worked"
            core.end(0, "")
            connection.flush()
            assert not list(connection.waits_for())


def test_addresses_that_fail_are_passed_over_at_once_and_the_last_failure_is_reported():
    with socket.socket() as closed, stranger(b"HELLO grupo/1 lab\nBYE deleted\n") as place:
        closed.bind(("127.0.0.1", 0))
        refused = info_of(closed.getsockname())
        impossible = (socket.AF_INET, 12345, 0, "", ("127.0.0.1", 1))
        works = info_of(("127.0.0.1", int(place.rpartition(":")[2])))
        core = Core()
        with closing(Connection([refused, impossible, refused, works], core)) as connection:
            drive(connection, lambda: core.state is State.OVER, "the end")
        assert core.bye_code == "deleted"
        core = Core()
        with closing(Connection([impossible, refused], core)) as connection:
            drive(connection, lambda: core.state is State.OVER, "the end")
        assert core.reason == "no Grupo server answers: Connection refused"


def test_an_address_at_which_no_server_answered_does_not_become_the_first():
    core = Core()
    core._found_server = True  # in an earlier connection
    with silent_address() as silent, stranger(b"", b"HELLO grupo/1 lab\nPENDING\n") as place:
        closes = ("127.0.0.1", int(place.rpartition(":")[2]))
        with closing(Connection([info_of(silent), info_of(closes)], core)) as connection:
            drive(connection, lambda: core.state is State.DISCONNECTED, "the end without HELLO")
            core.retry_at = 0
            connection.connect_if_due()
            [(first, _)] = connection.waits_for()
            drive(connection, lambda: core.state is State.ASKING, "PENDING")
            assert connection.sock is not first


def test_the_families_of_addresses_take_turns():
    six, four = socket.AF_INET6, socket.AF_INET
    infos = [(family, 0, 0, "", n) for n, family in enumerate([six, six, six, four, four])]
    assert [info[4] for info in alternate_families(infos)] == [0, 3, 1, 4, 2]


@pytest.fixture
def with_hosts(tmp_path):
    """with_hosts(lines, *command, **options) runs a command whose /etc/hosts has these lines."""

    def run(lines, *command, **options):
        (tmp_path / "hosts").write_text(lines)
        mount = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
        return subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", tmp_path / "hosts"]
            + list(command),
            cwd=ROOT,
            capture_output=True,
            timeout=60,
            **options,
        )

    need("unshare")
    if (tried := run("", "true")).returncode:
        lacks(f"this machine does not give a process another /etc/hosts: {tried.stderr.decode()}")
    return run


def test_the_client_connects_though_the_first_address_of_a_name_is_silent(
    with_hosts, folder, tmp_path
):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        lacks(f"this machine has no ::1: {error}")
    options = {"directory": tmp_path / "group", "args": ["--admit", "all"]}
    with Server("nonblocking", **options) as server, silent_address("::1", server.address[1]):
        done = with_hosts(
            "::1 far.test\n127.0.0.1 far.test\n",
            *folder.command("join", f"far.test:{server.address[1]}", "ana"),
            input=b"hi\n",
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b" <ana> hi\n")


# -- End to end -----------------------------------------------------------------------------------


class Folder:
    """The files of one user: the groups file and a password file. Starts the client with them."""

    def __init__(self, path):
        self.groups, self.password_file = path / "groups", path / "password"
        self.password_file.write_text(PASSWORD + "\n")

    def command(self, *words, asks=False):
        command = [
            sys.executable,
            "-m",
            "implementations.client",
            *words,
            "--groups",
            str(self.groups),
        ]
        return (
            command
            if asks or words[0] == "groups"
            else [*command, "--password-file", str(self.password_file)]
        )

    def run(self, *words, typed="", encoding="utf-8", **options):
        """Run the client as a script does; return exit status, lines of stdout, stderr."""
        done = subprocess.run(
            self.command(*words, **options),
            cwd=ROOT,
            input=typed.encode(encoding),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()

    @contextmanager
    def terminal(self, *words, echo=False, **options):
        """Run the client on a terminal that cannot edit lines; without echo, only it prints."""
        command = self.command(*words, **options)
        child = pexpect.spawn(
            command[0],
            command[1:],
            cwd=str(ROOT),
            encoding="utf-8",
            timeout=20,
            echo=echo,
            env={**os.environ, "TERM": "dumb"},
            dimensions=(50, 500),
        )
        child.delaybeforesend = None
        child.printed = []
        child.logfile_read = Log(child.printed)
        try:
            yield child
        finally:
            end_terminal(child)

    def kept(self):
        return [(group.name, group.group, group.last) for group in GroupsFile(self.groups).read()]


class Log(list):
    """A file for the log of pexpect."""

    def __init__(self, printed):
        self.write, self.flush = printed.append, lambda: None


def place(server):
    return "{}:{}".format(*server.address)


def ends(child, status, last_words):
    child.expect_exact(last_words)
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == status, child.before


def clock(lines):
    """Return lines without their times."""
    return [
        re.sub(r"^\d\d:\d\d ", "", line)
        for line in lines
        if not re.fullmatch(r"-- \d{4}-\d\d-\d\d", line)
    ]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture(params=DESIGNS)
def start(request, tmp_path):
    """start(*flags): a server of each design in turn."""
    with ExitStack() as stack:
        yield lambda *flags, **changes: stack.enter_context(
            Server(
                request.param,
                directory=tmp_path / "group",
                args=["--reject-after", "0.1", *flags],
                **changes,
            )
        )


def test_a_member_is_accepted_talks_and_leaves(start, folder):
    server = start("--admit", "ask")
    with folder.terminal("join", place(server), "ana", asks=True, echo=True) as ana:
        ana.expect_exact("password: ")
        ana.sendline(PASSWORD)
        ana.expect_exact("-- asked to join grupo as ana; waiting for the answer")
        server.expect("ana asks to join from .*")
        assert PASSWORD not in " ".join(psutil.Process(ana.pid).cmdline())
        server.order("accept ana")
        ana.expect_exact("-- in grupo as ana")
        ana.expect_exact("* ana came")
        ana.sendline("hi")
        ana.expect(r"\d\d:\d\d <ana> hi\r\n")
        with WireClient(server.address) as ben:
            ben.greeted()
            ben.send("JOIN ben secret")
            server.expect("ben asks to join from .*")
            server.order("accept ben")
            ben.welcomed()
            ana.expect_exact("* ben came")
            ben.send(
                "SAY \x1b[2J\x1b]0;pwn\x07", "SAY \x9b31m", "SAY \u202eslive", "SAY quite harmless"
            )
            ana.expect_exact("<ben> quite harmless")
            ana.sendline("//me\tsays")
            ben.expect("MSG .* ana /me says")
            ana.sendline("/name anna")
            ana.expect_exact("* ana is now anna")
            ana.sendline("/name ben")
            ana.expect(r"-- failed \(.*\): NAME ben\r\n")
            server.order("rename os-lab")
            ana.expect_exact("* the group is os-lab")
            ana.sendline("/who")
            ana.expect(r"(-- (anna|ben) here\r\n){2}")
        ana.expect_exact("* ben went")
        assert folder.kept()[0][:1] in [("ana",), ("anna",)]
        ana.sendline("/leave")
        ana.expect_exact("-- you will no longer be a member; type yes to leave")
        ana.sendline("yes")
        ana.expect_exact("* anna left the group")
        ends(ana, 0, "-- you are no longer a member")
        printed = "".join(ana.printed)
        assert PASSWORD not in printed
        assert all(
            character.isprintable() or character in "\r\n\t" for character in printed
        )  # the TAB that was typed is echoed
    assert folder.kept() == []
    assert server.order("members") == ["member ben away", "ok"]


def test_a_rejected_client_ends_with_a_reason(start, folder):
    server = start("--admit", "ask")
    with folder.terminal("join", place(server), "ana") as ana:
        server.expect("ana asks to join from .*")
        server.order("reject ana")
        ends(ana, 1, "-- rejected: the password is wrong, or the owner declined")
    with folder.terminal("join", place(server), "ana") as ana:  # a client that waits may quit
        server.expect("ana asks to join from .*")
        ana.expect_exact("waiting for the answer")
        ana.sendcontrol("c")
        ana.expect(pexpect.EOF)
        ana.wait()
        assert ana.exitstatus == 0
    assert folder.kept() == []


@pytest.mark.long
def test_banned_replaced_and_deleted_are_the_end(start, folder):
    server = start("--admit", "all")
    with folder.terminal("join", place(server), "ana") as ana:
        ana.expect_exact("* ana came")
        with WireClient(server.address) as other:
            other.join("ana", PASSWORD)
            ends(ana, 1, "-- you connected from another client")
    with folder.terminal("join", place(server), "ben") as ben:
        ben.expect_exact("* ben came")
        server.order("ban ben")
        ben.expect_exact("* ben was banned")
        ends(ben, 1, "-- the owner banned you")
    assert folder.run("join", place(server), "ben") == (
        1,
        ["-- asked to join grupo as ben; waiting for the answer"],
        "-- rejected: the password is wrong, or the owner declined\n",
    )
    assert [name for name, _, _ in folder.kept()] == ["ana", "ben"]
    with folder.terminal("join", place(server), "ana") as ana:
        ana.expect_exact("* ben was banned")
        server.order("delete")
        server.order("grupo")
        ends(ana, 1, "-- the owner deleted the group")
    server.wait()
    assert [name for name, _, _ in folder.kept()] == ["ben"]


@pytest.mark.parametrize("key", ["c", "d"])
def test_control_c_and_control_d_quit(start, folder, key):
    server = start("--admit", "all")
    with folder.terminal("join", place(server), "ana") as ana:
        ana.expect_exact("* ana came")
        ana.sendline("hi")
        ana.expect_exact("<ana> hi")
        ana.sendcontrol(key)
        ana.expect(pexpect.EOF)
        ana.wait()
        assert ana.exitstatus == 0
    server.expect(r"\* ana went")
    assert folder.kept() == [("ana", "grupo", 3)]


@pytest.mark.long
def test_a_script_starts_with_the_last_100_events_and_continues_there(start, folder):
    server = start("--admit", "all")
    with WireClient(server.address) as ben:
        ben.join("ben", "secret")
        ben.send(*(f"SAY number {number}" for number in range(150)))
        ben.expect(".* number 149")
        status, lines, _ = folder.run(
            "join", place(server), "ana", typed="/who\nhi\n//slash\nthe last lacks its end"
        )
        assert status == 0
        lines = clock(line for line in lines if not line.startswith("-- ") or "here" in line)
        assert lines == [
            *(f"<ben> number {number}" for number in range(50, 150)),
            "* ana came",
            *sorted(["-- ben here", "-- ana here"], key=lines.index),
            "<ana> hi",
            "<ana> /slash",
            "<ana> the last lacks its end",
        ]
        ben.expect("OUT .* ana")
        ben.send("SAY meanwhile")
        ben.fence()
        status, lines, _ = folder.run(
            "join", place(server), "ana", typed="x" * 401 + "\n/leave\nno\n/quit\nnot said"
        )
        assert status == 0
        assert clock(lines)[-3:] == ["* ana went", "<ben> meanwhile", "* ana came"]
        assert (
            "-- not sent: 401 bytes; the limit is 400" in lines and "-- you did not leave" in lines
        )
    assert folder.run("groups") == (
        0,
        [f"ana in grupo at {place(server)}, read up to event 159"],
        "",
    )
    assert folder.run("leave", place(server))[0] == 0
    assert folder.run("groups") == (0, [], "")
    assert server.order("members")[-2:] == ["member ben away", "ok"]
    status, _, error = folder.run("leave", place(server))
    assert (status, error.count("\n")) == (1, 1)


@pytest.mark.long
def test_it_reconnects_after_a_restart_and_catches_up(start, folder):
    server = start("--admit", "all")
    with folder.terminal("join", place(server), "ana") as ana:
        ana.expect_exact("* ana came")
        with WireClient(server.address) as ben:
            ben.join("ben", "secret")
            ben.send("SAY before")
            ana.expect_exact("<ben> before")
            port = server.port
            assert server.stop() == 0
        ana.expect_exact("-- the server was closed; reconnecting")
        ana.sendline("typed while away")
        ana.expect_exact("-- this message will be sent when you are in the group")
        server.close()
        server = start("--admit", "all", port=port)
        with WireClient(server.address) as ben:
            ben.join("ben", "secret")
            ben.send("SAY after")
            ana.expect_exact("-- reconnected to grupo")
            ana.expect_exact("<ana> typed while away")  # perhaps before ben reconnected
            ben.send("SAY done")
            ana.expect_exact("<ben> done")
        ana.sendline("/quit")
        ana.expect(pexpect.EOF)
        ana.wait()
        assert ana.exitstatus == 0
        events = [
            line
            for line in clock("".join(ana.printed).split("\r\n"))
            if line and not line.startswith("--")
        ]
        assert len(events) == len(set(events)) + 2  # both came twice; a close causes no OUT
        assert (
            events.index("<ben> before") < events.index("<ben> after") < events.index("<ben> done")
        )


@pytest.mark.long
def test_kill_9_of_the_server_loses_and_doubles_nothing(start, folder):
    server = start("--admit", "all")
    texts = [f"line {number}" for number in range(600)]
    script = "".join(text + "\n" for text in texts).encode()
    with subprocess.Popen(
        folder.command("join", place(server), "ana"),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as ana:
        typing = threading.Thread(target=lambda: (ana.stdin.write(script), ana.stdin.close()))
        with WireClient(server.address) as ben:
            ben.join("ben", "secret")
            typing.start()
            ben.expect("MSG .* line 40")
            server.kill()
        server.orphans_gone()
        port = server.port
        server.close()
        server = start("--admit", "all", port=port)
        printed = ana.stdout.read().decode().splitlines()
        typing.join()
        assert ana.wait() == 0
    assert [
        line.removeprefix("<ana> ") for line in clock(printed) if line.startswith("<ana> ")
    ] == texts
    with WireClient(server.address) as ben:
        ben.join("ben", "secret")
        ben.send("HISTORY 0")
        ben.expect("END HISTORY .*")
        assert [line.split(" ", 4)[4] for line in ben.lines if line.startswith("MSG ")] == texts


def test_after_kill_9_of_the_client_no_event_is_missed(tmp_path, folder):
    with ExitStack() as stack:
        server = stack.enter_context(
            Server("nonblocking", directory=tmp_path / "group", args=["--admit", "all"])
        )
        ben = stack.enter_context(WireClient(server.address))
        ben.join("ben", "secret")
        with folder.terminal("join", place(server), "ana") as ana:
            ana.expect_exact("* ana came")
            ben.send("SAY one", "SAY two")
            ana.expect_exact("<ben> two")
            ana.kill(signal.SIGKILL)
            ana.expect(pexpect.EOF)
        ben.expect("OUT .* ana")
        ben.send("SAY three")
        ben.fence()
        status, lines, _ = folder.run("join", place(server), "ana")
        before = clock("".join(ana.printed).splitlines())
        events = [
            "* the group is grupo",
            "* ben came",
            "* ana came",
            "<ben> one",
            "<ben> two",
            "* ana went",
            "<ben> three",
            "* ana came",
        ]
        again = [line for line in clock(lines) if not line.startswith("-- ")]
        assert status == 0
        assert again == events[-len(again) :] and len(again) >= 3
        assert [line for line in before if not line.startswith("-- ")] == events[:5]


# -- Mistakes and other servers: one clear line, no traceback -------------------------------------


@contextmanager
def stranger(*answers):
    """Listen on a free port; send each answer to one connection and end it. Yields HOST:PORT."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for answer in answers:
                sock, _ = listener.accept()
                with sock, suppress(OSError):
                    sock.sendall(answer)
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65536):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "answer, error",
    [
        (b"", "-- no Grupo server answers: the connection ended\n"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "-- the server at this address does not speak grupo/1\n"),
        (b"A" * 3_000_000, "-- the server at this address does not speak grupo/1\n"),
        (
            b"HELLO grupo/\x1b[2J x\n",
            "-- the server speaks grupo/\\x1b[2J; this client speaks grupo/1\n",
        ),
        (b"HELLO grupo/1 x\nBYE \x1b]0;pwn\x07\n", "-- the server said BYE \\x1b]0;pwn\\x07\n"),
    ],
)
def test_servers_of_another_protocol(folder, answer, error):
    with stranger(answer) as address:
        status, lines, stderr = folder.run("join", address, "ana")
        assert (status, lines, stderr) == (1, [], error)


def test_the_output_of_a_hostile_server_is_made_harmless(folder):
    answer = "".join(
        line + "\n"
        for line in [
            "HELLO grupo/1 \x1b[2J",
            "PENDING",
            "WELCOME 1 an\x1b[2Ja",
            "MSG 1 0000-99-99T99:99:99.999Z \x9b31m \x1b]0;pwn\x07",
            "MEMBER \x1b[2J \x1b[2J",
            "IN 2 9999-12-31T23:59:59.999Z \u202eeve",
            "END HISTORY 9999999999999999",
            "BYE banned",
        ]
    ).encode()
    with stranger(answer) as address, folder.terminal("join", address, "ana") as ana:
        ends(ana, 1, "-- the owner banned you")
        assert "\\x1b]0;pwn\\x07" in "".join(ana.printed)
        assert all(
            character.isprintable() or character in "\r\n" for character in "".join(ana.printed)
        )


@pytest.mark.parametrize(
    "words, status",
    [
        ([], 2),
        (["dance"], 2),
        (["join", "nowhere", "ana"], 2),
        (["join", "::1:7000", "ana"], 2),
        (["join", "127.0.0.1:0", "ana"], 2),
        (["join", "127.0.0.1:1", "two words"], 2),
        (["join", "127.0.0.1:1", "ana"], 1),
        (["join", "no such host:1", "ana"], 1),
        (["leave", "127.0.0.1:1"], 1),
    ],
)
def test_mistakes_in_the_arguments(folder, words, status):
    found, lines, error = folder.run(*(words or ["groups", "x"]))
    assert (found, lines) == (status, [])
    assert len(error.splitlines()) == 1 or (status == 2 and error.startswith("usage: "))


@pytest.mark.parametrize(
    "content, says",
    [
        (None, "No such file"),
        (b"", "a password has 1 to 128 bytes"),
        (b"\xff\n", "the first line is not UTF-8"),
        ("secret\n".encode("utf-16"), "the text is UTF-16: save it as UTF-8"),
        ("secret\n".encode("utf-16-be"), "the text is UTF-16: save it as UTF-8"),
        (b"x" * 129, "a password has"),
    ],
)
def test_a_password_file_without_a_valid_password(folder, content, says):
    folder.password_file.unlink()
    if content is not None:
        folder.password_file.write_bytes(content)
    status, lines, error = folder.run("join", "127.0.0.1:1", "ana")
    assert (status, lines, error.count("\n")) == (1, [], 1)
    assert says in error


@pytest.mark.parametrize("line_end", [b"", b"\n", b"\r\n"])
def test_a_byte_order_mark_is_not_part_of_the_password(folder, line_end):
    folder.password_file.write_bytes(b"\xef\xbb\xbf" + PASSWORD.encode() + line_end)
    assert read_password(folder.password_file) == PASSWORD


def test_the_encoding_of_a_script_is_utf_8_with_or_without_a_byte_order_mark(tmp_path, folder):
    with Server("nonblocking", directory=tmp_path / "group", args=["--admit", "all"]) as server:
        status, lines, error = folder.run("join", place(server), "ana", typed="\ufeffhi\n")
        assert (status, clock(lines)[-1], error) == (0, "<ana> hi", "")
        done = folder.run("join", place(server), "ana", typed="hi\n", encoding="utf-16")
        assert (done[0], done[2]) == (1, "-- the input is UTF-16: save it as UTF-8\n")


@pytest.mark.parametrize(
    "text, address",
    [
        ("LocalHost:07000", "localhost:7000"),
        ("[FE80::1%Eth0]:7000", "[fe80::1%Eth0]:7000"),
        ("[::1]:7000", "[::1]:7000"),
    ],
)
def test_an_address_is_saved_in_lower_case_but_for_its_zone(text, address):
    assert check_address(text) == address


def test_without_a_terminal_the_password_must_come_from_a_file(folder):
    done = subprocess.run(
        folder.command("join", "127.0.0.1:1", "ana", asks=True),
        cwd=ROOT,
        input=b"secret\n",
        capture_output=True,
        check=False,
        start_new_session=True,
    )
    assert (done.returncode, done.stderr) == (
        1,
        b"-- no terminal to ask for the password: use --password-file FILE\n",
    )


@pytest.mark.parametrize("words", [["--help"], ["join", "--help"], ["groups", "--groups", "none"]])
def test_without_a_home_folder_the_client_works(homeless, words):
    done = homeless(sys.executable, "-m", "implementations.client", *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_groups_file_is_asked_for_where_the_home_folder_is_not_known(homeless):
    done = homeless(sys.executable, "-m", "implementations.client", "groups")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "-- your home folder is not known: name a groups file with --groups FILE, or set HOME\n",
    )


def test_a_damaged_groups_file_ends_the_client_before_it_connects(folder):
    folder.groups.write_text("damaged\n")
    for words in (["join", "127.0.0.1:1", "ana"], ["groups"], ["leave", "127.0.0.1:1"]):
        assert folder.run(*words) == (
            1,
            [],
            f"-- {folder.groups}: line 1 is not a valid entry; repair it, or move the file away\n",
        )
    assert folder.groups.read_text() == "damaged\n"


def test_a_groups_file_that_cannot_be_written_does_not_end_the_chat(tmp_path, folder):
    (tmp_path / "groups.lock").mkdir()
    with Server("nonblocking", directory=tmp_path / "group", args=["--admit", "all"]) as server:
        status, lines, error = folder.run("join", place(server), "ana", typed="hi\n")
    assert status == 0 and clock(lines)[-1] == "<ana> hi"
    assert error.count("\n") == 1 and "groups.lock: Is a directory" in error


def test_a_groups_file_that_is_a_device_or_a_pipe_is_neither_read_nor_replaced(folder):
    os.mkfifo(folder.groups)
    for words in (["join", "127.0.0.1:1", "ana"], ["groups"], ["leave", "127.0.0.1:1"]):
        status, lines, error = folder.run(*words)
        says = f"-- {folder.groups}: not a regular file; name another with --groups\n"
        assert (status, lines, error) == (1, [], says)
    with pytest.raises(GroupsFileError, match="/dev/null: not a regular file"):
        GroupsFile(os.devnull)


OPEN_MANY = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))
while os.open(os.devnull, os.O_RDONLY) < 1100:
    pass
for descriptor in range(3, 1100):
    os.set_inheritable(descriptor, True)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_descriptors_above_1023_can_be_waited_for(tmp_path, folder):
    """Its parent may have opened as many, and not closed them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        lacks("a process can have fewer than 2,048 descriptors here")
    (tmp_path / "script").write_text("hi\n")
    with (
        Server("nonblocking", directory=tmp_path / "group", args=["--admit", "all"]) as server,
        open(tmp_path / "script") as script,
    ):
        done = subprocess.run(
            [sys.executable, "-c", OPEN_MANY, *folder.command("join", place(server), "ana")],
            cwd=ROOT,
            stdin=script,
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert clock(done.stdout.splitlines())[-1] == "<ana> hi"


def test_it_ends_quietly_when_nobody_reads_its_output(tmp_path, folder):
    with Server("nonblocking", directory=tmp_path / "group", args=["--admit", "all"]) as server:
        ana = subprocess.Popen(
            folder.command("join", place(server), "ana"),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        ana.stdout.readline()
        ana.stdout.close()
        with WireClient(server.address) as ben:
            ben.join("ben", "secret")
            ben.send("SAY are you there?")
            wait_until(
                lambda: ana.poll() is not None, what="the end of a client whose output nobody reads"
            )
        assert (ana.returncode, ana.stderr.read()) == (1, b"")
        ana.stdin.close()
        ana.stderr.close()


def test_the_core_is_pure():
    """It has no socket, os, time, select or print, because the windows use it too."""
    standard = {"__future__", "collections.abc", "collections", "dataclasses", "enum", "..common"}
    core = "connection_state conversation items lenient_lines reconnect requests resequencer"
    core += " server_lines user_input"
    for module in core.split():
        source = (ROOT / "implementations" / "client" / f"{module}.py").read_text()
        imports = set(re.findall(r"^(?:from|import) (\S+)", source, re.MULTILINE))
        assert imports <= standard | {f".{name}" for name in core.split()}
        assert "print(" not in source
