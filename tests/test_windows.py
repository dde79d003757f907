"""Tests of the windows without a terminal: their parts, and their reports of failures."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.events import AppBlur, AppFocus, Paste
from textual.widgets import Input, OptionList
from textual.widgets._footer import FooterKey

from harness.driving.client import WireClient
from harness.driving.deadlines import DEADLINE, wait_until
from harness.driving.server import Server
from implementations.client.connection_state import State
from implementations.client.groups import GroupsFile
from implementations.client.items import Event, MemberStatus
from implementations.common.wire import FORBIDDEN
from implementations.windows import (
    chat_screen,
    log_lines,
    message_log,
    process_panel,
    processes,
    roster,
)
from implementations.windows.app import WindowApp
from implementations.windows.chat_screen import ChatScreen
from implementations.windows.log_lines import LineKind, LogLine
from implementations.windows.member import MemberApp
from implementations.windows.message_log import MessageLog
from implementations.windows.movements import Movement, Movements
from implementations.windows.owner import OwnerApp, parse_arguments
from implementations.windows.owner_console import OwnerConsole, Person, Status
from implementations.windows.owner_input import OwnerInput
from implementations.windows.owner_screen import OwnerScreen
from implementations.windows.people_list import PeopleList
from implementations.windows.process_panel import ProcessPanel
from implementations.windows.processes import Process, Snapshot, Thread
from implementations.windows.roster import Roster, sort_key
from implementations.windows.server_process import describe_end, program_of
from implementations.windows.waits import Call, Wait, describe_wait
from implementations.windows.widgets import Dialog, KeyBar, PlainText, rows_that_fit

NOW = datetime(2026, 11, 22, 13, 21)


# -- Parts ----------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"])), st.integers(2, 60))
def test_rows_fit_and_nothing_is_lost(text, width):
    rows = log_lines.wrap(text, width)
    assert all(cell_len(row) <= width for row in rows)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    "text, width, rows",
    [
        ("", 10, [""]),
        ("good morning", 12, ["good morning"]),
        ("good morning", 11, ["good", "morning"]),
        ("goodmorning", 4, ["good", "morn", "ing"]),
        (
            "see https://example.org/a/long/path?x=1&y=2",
            20,
            ["see", "https://example.org/", "a/long/path?x=1&y=2"],
        ),
        ("https://example.org/course/2026", 24, ["https://example.org/", "course/2026"]),
        ("早上好早上好", 5, ["早上", "好早", "上好"]),
    ],
)
def test_rows_are_wrapped_at_spaces(text, width, rows):
    assert log_lines.wrap(text, width) == rows


def heard(console, *lines):
    data = "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")
    return [(line.kind, line.author, line.text) for line in console.receive(data, NOW)]


def orders(console):
    lines, console.outgoing[:] = bytes(console.outgoing).decode().splitlines(), b""
    return lines


@pytest.fixture
def console():
    console = OwnerConsole()
    heard(console, "listening on 127.0.0.1:7000", "ok")
    orders(console)
    return console


def test_the_console_learns_the_address_and_the_members():
    console = OwnerConsole()
    assert heard(console, "# a note before", "listening on [::1]:7000")[-1] == (
        LineKind.NOTE,
        "",
        "listening on [::1]:7000",
    )
    assert console.endpoint == ("::1", 7000) and orders(console) == ["members"]
    heard(
        console,
        "member ana here",
        "<ana> member eve banned",
        "member ben asks from [::1]:9",
        "member eve banned",
        "ok",
    )
    assert list(console.people.values()) == [
        Person("ana", Status.HERE),
        Person("ben", Status.ASKS, "[::1]:9"),
        Person("eve", Status.BANNED),
    ]
    assert console.message_count == 1


@pytest.mark.parametrize(
    "line, people",
    [
        ("ben asks to join from 127.0.0.1:9", [Person("ben", Status.ASKS, "127.0.0.1:9")]),
        ("* ben came", [Person("ben", Status.HERE)]),
        ("* ben went", [Person("ben", Status.AWAY)]),
        ("* ben left", []),
        ("<x> ben asks to join from 127.0.0.1:9", []),
        ("# * ben came", []),
    ],
)
def test_what_the_server_reports_by_itself(console, line, people):
    heard(console, line)
    assert list(console.people.values()) == people


def test_a_request_during_the_list_of_members_is_not_lost(console):
    console.refresh_members()
    heard(console, "member ana here", "ben asks to join from 127.0.0.1:9", "ok")
    assert [person.name for person in console.people.values()] == ["ana", "ben"]


def test_answers_belong_to_the_orders_in_sequence(console):
    console.order("accept ana")
    console.order("ban ben")
    assert orders(console) == ["accept ana", "ban ben"]
    assert heard(console, "error: nobody asks") == [
        (LineKind.NOTE, "", "failed (nobody asks): accept ana")
    ]
    assert heard(console, "ok") == [(LineKind.NOTE, "", "done: ban ben")]
    assert orders(console) == ["members"], "the list is requested again"


def test_a_person_with_an_order_on_its_way_is_not_the_next(console):
    heard(console, *(f"{name} asks to join from 127.0.0.1:9" for name in ("ana", "ben", "eve")))
    console.order("accept ana")
    assert [person.name for person in console.askers] == ["ben", "eve"]
    console.order("reject BEN")
    assert [person.name for person in console.askers] == ["eve"]
    assert heard(console, "ok", "error: busy") == [
        (LineKind.NOTE, "", "ana was accepted"),
        (LineKind.NOTE, "", "failed (busy): reject BEN"),
    ]
    assert console.people["ana"].status is Status.HERE
    assert [person.name for person in console.askers] == ["ben", "eve"]


def test_an_answer_that_comes_late_does_not_undo_an_event(console):
    heard(console, "ana asks to join from 127.0.0.1:9")
    console.order("accept ana")
    heard(console, "* ana came", "* ana went", "ok")
    assert console.people["ana"].status is Status.AWAY


def moved(*movements):
    line = Movements()
    for name, verb in movements:
        line.add(Movement(LineKind.NOTE, f"{name} {verb}!", time=NOW, name=name, verb=verb))
    return line.line.text


@pytest.mark.parametrize(
    "movements, text",
    [
        ([("ana", "came")], "ana came!"),
        ([("ana", "asks"), ("ana", "came"), ("ana", "accepted")], "ana came"),
        ([("ana", "came"), ("ben", "came")], "ana and ben came"),
        ([(name, "came") for name in "abc"], "a, b and c came"),
        ([(name, "came") for name in "abcd"], "a, b and 2 others came"),
        ([("ana", "went"), ("ana", "came")], "ana went and came back"),
        (
            [("ana", "came"), ("ben", "went"), ("eve", "asks")],
            "ana came; ben went; eve asks to join",
        ),
        ([("a", "rejected"), ("b", "rejected")], "a and b were rejected"),
    ],
)
def test_movements_are_folded(movements, text):
    assert moved(*movements) == text


def test_movements_of_another_minute_begin_another_line():
    line = Movements()
    first = Movement(LineKind.NOTE, "ana came", time=NOW, name="ana", verb="came")
    line.add(first)
    assert line.takes(first)
    assert not line.takes(replace(first, time=NOW + timedelta(seconds=61)))


def test_names_are_sorted_with_numbers_by_value():
    names = ["turma10", "Turma2", "turma1b", "9", "10", "ana", "turma02", "x" * 40]
    assert sorted(names, key=sort_key) == [
        "9",
        "10",
        "ana",
        "turma1b",
        "Turma2",
        "turma02",
        "turma10",
        "x" * 40,
    ]


def test_consent_is_sent_only_after_its_prompt(console):
    console.order("delete", consent="os-lab")
    assert orders(console) == ["delete"]
    heard(console, "<eve> type the group's name to delete it")
    assert orders(console) == []
    heard(console, "type the group's name to delete it")
    assert orders(console) == ["os-lab"]
    heard(console, "ok")
    assert console.final_order == "delete"


def test_dropped_lines_count_as_messages(console):
    heard(console, "<ana> one", "# 41 lines not shown")
    assert console.message_count == 42


def test_a_tree_of_processes_and_threads():
    snapshot = Snapshot(
        (
            Process(
                10,
                1,
                (Thread(10, "loop", "waits in epoll"), Thread(11, "worker", "waits in futex")),
                9,
                5_000_000,
                1.5,
            ),
            Process(12, 10, (Thread(12, "child", "runs"),), 3, 2_000_000, 0.5),
            Process(13, 12, (Thread(13, "grandchild", "sleeps"),), 1, 1_000_000, 0.0),
        ),
        0.0,
    )
    assert [row.text for row in processes.tree_rows(snapshot)] == [
        "loop, process 10  9 fd  5.0 MB",
        "├ waits in epoll  loop, thread 10",
        "├ waits in futex  worker, thread 11",
        "└ runs  child, process 12  3 fd  2.0 MB",
        "  └ sleeps  grandchild, process 13  1 fd  1.0 MB",
    ]
    assert (snapshot.threads, snapshot.descriptors, snapshot.memory) == (4, 13, 8_000_000)


def call(name, *arguments):
    return Call(name, (*arguments, *[0] * (6 - len(arguments))))


@pytest.mark.parametrize(
    "wait, name, words",
    [
        (Wait(call("poll", 1, 1)), "reader ana", "waits in poll: for ana's bytes"),
        (Wait(call("recv", 5)), "reader", "waits in recv: for a client's bytes"),
        (Wait(call("recv", 5)), "server", "waits in recv: for a client's bytes"),
        (Wait(call("poll", 1, 3)), "server", "waits in poll: on 3 descriptors"),
        (Wait(call("poll", 1, 1)), "accept", "waits in poll: for a new client"),
        (Wait(call("accept", 3)), "server", "waits in accept: for a new client"),
        (Wait(call("epoll", 4), "", 1), "loop", "waits in epoll: on one descriptor"),
        (Wait(call("read", 0), "pipe:[7]"), "server", "waits in read: for the owner's orders"),
        (Wait(call("read", 6), "pipe:[7]"), "reader ana", "waits in read: for bytes from a pipe"),
        (Wait(call("write", 6), "pipe:[7]"), "x", "waits in write: until there is room in a pipe"),
        (Wait(call("send", 6)), "reader ana", "waits in send: until a client reads"),
        (Wait(call("futex", 1)), "reader ana", "waits in futex: for a lock or work"),
        (Wait(call("sleep")), "server", "sleeps"),
        (Wait(call("sigwait")), "server", "waits in sigwait: for a signal"),
        (Wait(None, channel="do_sys_poll"), "reader ana", "waits in poll: for ana's bytes"),
        (Wait(None, channel="futex_wait_queue"), "x", "waits in futex: for a lock or work"),
        (Wait(None, channel="wait_woken"), "x", "waits in recv or send"),
        (Wait(None, channel="odd_function"), "x", "waits in the kernel (odd_function)"),
        (Wait(None), "x", "waits"),
    ],
)
def test_why_a_thread_waits(wait, name, words):
    assert describe_wait(wait, name) == words


def test_a_system_call_that_is_not_known_has_no_words():
    assert Call.parse("999 0x1 0x0 0x0 0x0 0x0 0x0 0x7ff 0x7ff\n") is None
    assert Call.parse("running\n") is Call.parse("-1 0x7ff 0x7ff\n") is Call.parse("") is None


NAMES = {  # of the first thread, the others, and the child processes
    "nonblocking": ["loop", "worker", "worker"],
    "pthread": ["accept", "writer", "member file", "console", "reader", "reader joão", "reader b"],
    "fork": ["hub", "reader", "reader joão", "reader b"],
}


@pytest.mark.parametrize("design", NAMES)
def test_our_servers_name_their_threads_and_processes_for_what_they_do(design, tmp_path):
    with (
        Server(design, directory=tmp_path / "grupo", args=("--admit", "all")) as server,
        WireClient(server.address) as joao,
        WireClient(server.address) as ben,
        WireClient(server.address) as stranger,
    ):
        joao.join("joão", "secret")
        ben.join("b" * 32, "secret")
        stranger.send("JOIN joão guessed")  # a wrong password gives nobody a member's name
        stranger.expect("REJECTED refused")
        expected = sorted(name.replace("reader b", "reader " + "b" * 8) for name in NAMES[design])

        def names():
            snapshot = processes.take_snapshot(server.pid)
            return sorted(
                thread.name for process in snapshot.processes for thread in process.threads
            )

        wait_until(lambda: names() == expected, what=f"{names()} to be {expected}")


@pytest.mark.parametrize("design", ["pthread", "fork"])
def test_a_reader_is_seen_to_wait_for_its_members_bytes(design, tmp_path):
    with (
        Server(design, directory=tmp_path / "grupo", args=("--admit", "all")) as server,
        WireClient(server.address) as ana,
    ):
        ana.join("ana", "secret")
        wait_until(
            lambda: any(
                row.text[2:].startswith("waits in poll: for ana's bytes  reader ana, ")
                for row in processes.tree_rows(processes.take_snapshot(server.pid))
            ),
            what="a thread that waits for ana",
        )


def test_a_zombie_is_seen():
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        wait_until(
            lambda: (
                processes.ZOMBIE
                in [
                    thread.state
                    for process in processes.take_snapshot(os.getpid()).processes
                    for thread in process.threads
                ]
            ),
            what="a zombie",
        )
    finally:
        child.wait()


def test_a_snapshot_of_this_process():
    asleep = threading.Event()
    thread = threading.Thread(target=asleep.wait, daemon=True)
    thread.start()
    snapshot = processes.take_snapshot(os.getpid())
    assert snapshot.processes[0].pid == os.getpid()
    assert snapshot.descriptors > 2 and snapshot.memory > 1_000_000
    assert thread.native_id in [each.tid for each in snapshot.processes[0].threads]
    asleep.set()
    assert processes.take_snapshot(2**30).processes == ()


def test_names_that_a_server_distinguishes_are_two_people(console):
    console.refresh_members()
    heard(console, "member weiss here", "member weiß away", "member João here", "ok")
    assert [person.name for person in console.people.values()] == ["weiss", "weiß", "João"]
    heard(console, "* weiß left", "* JOÃO came")
    assert [person.name for person in console.people.values()] == ["weiss", "JOÃO"]


def test_the_roster_follows_the_members_and_completes_their_names():
    roster = Roster("ana")
    for item in (
        MemberStatus("ana", "here"),
        MemberStatus("bea", "away"),
        Event("IN", 1, name="ben"),
        Event("MSG", 2, name="bea", text="hi"),
        Event("OUT", 3, name="ben"),
        Event("IN", 4, name="Bob"),
        Event("RENAMED", 5, name="bea", text="beatriz"),
        Event("IN", 6, name="eve"),
        Event("BANNED", 7, name="eve"),
    ):
        roster.follow(item)
    assert roster.sorted_names() == ["ana", "Bob", "beatriz", "ben"] and roster.here == 2
    assert roster.completions("B") == ["beatriz", "ben", "Bob"]
    assert roster.completions("an") == roster.completions("e") == []


# -- The conversation on the screen ---------------------------------------------------------------


def test_what_the_roster_keeps_of_a_malicious_server_is_bounded(monkeypatch):
    monkeypatch.setattr(roster, "MAX_MEMBERS", 3)
    members = Roster("ana")
    members.follow(MemberStatus("ж" * 33, "here"))
    for n in range(9):
        members.follow(MemberStatus(f"member{n}", "here"))
        members.follow(Event("IN", n, name=f"in{n}"))
        members.follow(Event("OUT", n, name=f"out{n}"))
        members.follow(Event("RENAMED", n, name=f"old{n}", text=f"new{n}"))
    assert list(members.status) == ["member0", "in0", "out0"]
    members.follow(Event("IN", 9, name="out0"))
    assert members.status["out0"] == "here" and members.here == 3


class Stage(WindowApp):
    def compose(self):
        yield MessageLog()


def on_stage(act, size=(80, 24)):
    async def play():
        app = Stage()
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await act(app, app.query_one(MessageLog), pilot)

    asyncio.run(play())


def rows_shown(widget):
    return [
        "".join(segment.text for segment in widget.render_line(y)).rstrip()
        for y in range(widget.size.height)
    ]


def lines(count, start=0, text="number"):
    return [
        LogLine(LineKind.MESSAGE, f"{text} {number}", "ana", NOW)
        for number in range(start, start + count)
    ]


def test_of_100_000_messages_only_the_visible_ones_are_wrapped(monkeypatch):
    async def act(app, widget, pilot):
        widget.add(lines(100_000))
        await pilot.pause()
        assert "number 99999" in rows_shown(widget)[-1]
        wraps = []
        monkeypatch.setattr(
            log_lines,
            "wrap",
            lambda text, width, wrap=log_lines.wrap: wraps.append(text) or wrap(text, width),
        )
        for _ in range(10):  # a page each, and a message in between
            widget.scroll_relative(y=-1000, animate=False, force=True, immediate=True)
            widget.add(lines(1, 100_000))
            await pilot.pause()
        assert 0 < len(wraps) < 10 * 5 * 24 and len(widget.children) == 0
        assert "number 8" in rows_shown(widget)[0]

    on_stage(act)


def test_the_oldest_lines_are_dropped(monkeypatch):
    monkeypatch.setattr(message_log, "MAX_LINES", 1000)

    async def act(app, widget, pilot):
        for start in range(0, 5000, 100):
            widget.add(lines(100, start))
        await pilot.pause()
        assert len(widget.lines) <= 1000 and "number 4999" in rows_shown(widget)[-1]

    on_stage(act)


def test_new_lines_do_not_move_older_ones_and_get_an_unread_mark():
    async def act(app, widget, pilot):
        widget.add(lines(100))
        await pilot.pause()
        widget.scroll_relative(y=-50, animate=False, force=True, immediate=True)
        await pilot.pause()
        before = rows_shown(widget)
        widget.add(lines(5, 100))
        await pilot.pause()
        assert rows_shown(widget) == before and widget.lines_below > 5
        assert widget.lines[widget.mark_index + 1].text == "number 100"
        widget.jump_to_end()
        await pilot.pause()
        assert any("─ 5 new ─" in row for row in rows_shown(widget))
        widget.clear_mark()
        assert widget.mark_index is None and not any(
            line.kind is LineKind.UNREAD_MARK for line in widget.lines
        )
        widget.set_watched(False)  # another terminal has the focus
        widget.add(lines(1, 105))
        assert widget.lines[widget.mark_index + 1].text == "number 105"

    on_stage(act)


def test_a_new_width_keeps_the_same_line_at_the_top():
    async def act(app, widget, pilot):
        widget.add(
            lines(300, text="a text of several words, longer than a narrow terminal is wide,")
        )
        await pilot.pause()
        widget.scroll_to(y=widget.wrapped.first_row(150), animate=False, force=True, immediate=True)
        await pilot.pause()
        for width, height in ((20, 5), (120, 40)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            top = widget.wrapped.line_at(widget.scroll_offset.y)
            assert top == 150 and widget.wrapped.row_count == sum(
                len(widget.wrapped.rows_of(line)) for line in widget.lines
            )
        widget.jump_to_end()
        await pilot.resize_terminal(20, 5)
        await pilot.pause()
        assert widget.scroll_offset.y == widget.max_scroll_y

    on_stage(act)


HOSTILE = "A\x1b]0;pwn\x07B\x1b[2J\x9b31m\u202eE\x08[/b] [@click=app.quit]x[/] [red]"


def test_control_characters_and_markup_are_harmless():
    async def act(app, widget, pilot):
        widget.add(
            [
                LogLine(LineKind.MESSAGE, HOSTILE, HOSTILE, NOW),
                LogLine(LineKind.NOTE, HOSTILE, time=NOW),
            ]
        )
        await pilot.pause()
        shown = "\n".join(rows_shown(widget))
        assert not FORBIDDEN.search(
            shown.replace("\n", "")
        ) and "[/b] [@click=app.quit]x[/] [red]" in shown.replace("\n      ", " ")
        box = PlainText(HOSTILE, (HOSTILE, "bold"))
        await app.mount(box)
        box.set_text(HOSTILE)
        await pilot.pause()
        assert not FORBIDDEN.search(str(box.content)) and "[/b]" in str(box.content)

    on_stage(act)


# -- The member's window --------------------------------------------------------------------------


async def until(pilot, condition, what):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, (
            f"this did not happen: {what}; the screen is\n{seen(pilot.app)}"
        )
        await asyncio.sleep(0.02)


def seen(app):
    """Return the text on the screen."""
    return "\n".join(
        "".join(segment.text for segment in strip)
        for strip in app.screen._compositor.render_strips()
    )


async def shows(pilot, *texts):
    await until(pilot, lambda: all(text in seen(pilot.app) for text in texts), texts)


def as_member(act, place, tmp_path, name="ana", size=(80, 24)):
    async def play():
        app = MemberApp(place, name, tmp_path / "groups")
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await act(pilot, app)

    asyncio.run(play())


@pytest.fixture
def open_server(tmp_path):
    with Server(
        "nonblocking",
        directory=tmp_path / "grupo",
        args=("--admit", "all", "--reject-after", "0.05"),
        group="os-lab",
    ) as server:
        yield server


def place_of(server):
    return "{}:{}".format(*server.address)


async def comes_in(pilot, password="secret"):
    await pilot.press(*password, "enter")
    await until(
        pilot,
        lambda: (
            isinstance(pilot.app.screen, ChatScreen)
            and pilot.app.screen.conversation.progress.caught_up
        ),
        "in",
    )


def row_of(app, text):
    """The row of the message log, from its top, that shows this text."""
    log = app.screen.query_one(MessageLog)
    [row] = [number for number, row in enumerate(rows_shown(log)) if text in row]
    return row


@contextlib.contextmanager
def stopped(server):
    """A server that does nothing meanwhile, like one that is stuck."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_the_password_is_not_shown(open_server, tmp_path):
    async def act(pilot, app):
        await pilot.press(*"hunter2")
        assert app.screen.query_one(
            "#password", Input
        ).value == "hunter2" and "hunter2" not in seen(app)

    as_member(act, place_of(open_server), tmp_path)


@pytest.mark.parametrize(
    "place, name, said",
    [
        ("nowhere", "ana", "nowhere is not an address like 127.0.0.1:7000"),
        ("127.0.0.1:7000", "a b", "a name is 1 to 32 letters"),
        ("127.0.0.1:0", "ana", "is not an address like"),
        ("no.such.host.invalid:7000", "ana", "no.such.host.invalid:7000: "),
    ],
)
def test_why_a_group_cannot_be_joined_is_displayed(place, name, said, tmp_path):
    async def act(pilot, app):
        (
            app.screen.query_one("#address", Input).value,
            app.screen.query_one("#name", Input).value,
        ) = place, name
        app.screen.query_one("#password", Input).focus()
        await pilot.press(*"secret", "enter")
        await shows(pilot, said)
        assert app.screen.query_one("#address", Input).value == place

    as_member(act, "", tmp_path)


def test_a_silent_address_does_not_hide_the_next(open_server, tmp_path, monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()):  # the kernel's queue is full now
            addresses = listener.getsockname(), open_server.address
            infos = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", where) for where in addresses]
            monkeypatch.setattr(chat_screen, "resolve", lambda address: infos)

            async def act(pilot, app):
                await comes_in(pilot)
                await pilot.press(*"hello", "enter")
                await shows(pilot, "ana: hello")

            as_member(act, "localhost:7000", tmp_path)


def test_no_server_and_a_wrong_password_are_reported(open_server, tmp_path):
    async def nobody(pilot, app):
        await pilot.press(*"secret", "enter")
        await shows(pilot, "no Grupo server answers: Connection refused")

    as_member(nobody, f"127.0.0.1:{free_port()}", tmp_path)

    with WireClient(open_server.address) as ana:
        ana.join("ana", "the right one")

    async def wrong(pilot, app):
        await pilot.press(*"wrong", "enter")
        await shows(pilot, "rejected: the password is wrong")
        assert app.screen.query_one("#password", Input).value == "wrong"  # to be corrected

    as_member(wrong, place_of(open_server), tmp_path)


@pytest.mark.long
def test_a_saved_group_fills_the_form_and_missed_messages_are_below_the_mark(open_server, tmp_path):
    async def first(pilot, app):
        await comes_in(pilot)
        await pilot.press(*"here I was", "enter")
        await shows(pilot, "ana: here I was")

    as_member(first, place_of(open_server), tmp_path)
    [group] = GroupsFile(tmp_path / "groups").read()
    assert (group.address, group.name, group.group) == (place_of(open_server), "ana", "os-lab")
    with WireClient(open_server.address) as ben:
        ben.join("ben", "secret")
        ben.send("SAY you missed this")
        ben.fence()

    async def again(pilot, app):
        await shows(pilot, "os-lab  as ana, at")
        app.screen.query_one(OptionList).focus()
        await pilot.press("down", "enter")
        assert app.screen.query_one("#name", Input).value == "ana"
        await comes_in(pilot)
        await shows(pilot, "ana: here I was", "─ 1 new ─", "ben: you missed this")
        said = seen(app)
        assert said.index("here I was") < said.index("─ 1 new ─") < said.index("you missed this")
        await pilot.press(*"thanks", "enter")
        await until(
            pilot, lambda: "─ 1 new ─" not in seen(app), "the mark gone, because everything is read"
        )

    as_member(again, place_of(open_server), tmp_path, name="")


def test_a_damaged_groups_file_is_reported_and_not_changed(open_server, tmp_path):
    (tmp_path / "groups").write_text('{"address": "damaged by hand\n')

    async def act(pilot, app):
        await shows(pilot, "line 1 is not a valid entry")
        await comes_in(pilot)
        await shows(pilot, "not saved: ")

    as_member(act, place_of(open_server), tmp_path)
    assert (tmp_path / "groups").read_text() == '{"address": "damaged by hand\n'


def test_tab_completes_names_the_latest_speaker_first(open_server, tmp_path):
    async def act(pilot, app):
        await comes_in(pilot)
        with WireClient(open_server.address) as ben, WireClient(open_server.address) as bea:
            for client, name in (ben, "ben"), (bea, "bea"):
                client.join(name, "secret")
            ben.send("SAY hello, Ana and anatole")
            await shows(pilot, "ben: hello, Ana", "● bea", "● ben")
            field = app.screen.query_one("#input", Input)
            for keys, value in (
                (("b", "tab"), "ben: "),
                (("tab",), "bea: "),
                (("tab",), "ben: "),
                (("h", "i", "space", "B", "E", "A", "tab"), "ben: hi bea "),
                (("x", "tab"), "ben: hi bea x"),
            ):
                await pilot.press(*keys)
                assert field.value == value
            widget = app.screen.query_one(MessageLog)
            [line] = [line for line in widget.lines if line.author == "ben"]
            assert [found[0] for found in widget.own_names.finditer(line.text)] == ["Ana"]

    as_member(act, place_of(open_server), tmp_path)


@pytest.mark.long
def test_the_usual_keys_edit_recall_and_complete(open_server, tmp_path):
    async def act(pilot, app):
        await comes_in(pilot)
        with WireClient(open_server.address) as ben:
            ben.join("ben", "secret")
            ben.send("SAY hello", "SAY /me waves")
            await shows(pilot, "ben: hello", "ben waves", "● ben")
            field = app.screen.query_one("#input", Input)
            await pilot.press("ctrl+d", "ctrl+l", "ctrl+n", "ctrl+r", "ctrl+g", "escape")
            await pilot.press(*"one", "enter", *"two", "enter", *"draft")
            for keys, value in (
                (("up",), "two"),
                (("up", "up"), "one"),
                (("down",), "two"),
                (("down", "down"), "draft"),
                (("ctrl+u", *"hi @b", "tab"), "hi @ben "),
                (("ctrl+u", *"/rec", "tab"), "/reconnect "),
                (("ctrl+u", *"one two", "alt+b", "x"), "one xtwo"),
            ):
                await pilot.press(*keys)
                assert field.value == value
            await pilot.press("ctrl+k", "ctrl+u", *"/me smiles", "enter", *"/nick anna", "enter")
            await shows(pilot, "ana smiles", "ana is now anna")
            assert any(line.endswith(" ana /me smiles") for line in ben.fence())
            await pilot.click(MessageLog, offset=(7, row_of(app, "ben: hello")))
            assert field.value == "ben: "
            await pilot.click("#people", offset=(5, 1))
            assert field.value == "ben: ben " and app.focused is field
            app.screen.query_one("#people").focus()
            await pilot.press("x")
            assert field.value == "ben: ben x" and app.focused is field
            await pilot.press("f1")
            await shows(pilot, "/nick NEW", "F1; ?")
            await pilot.press("escape", "ctrl+u", *"?", "enter")
            await shows(pilot, "/nick NEW")

    as_member(act, place_of(open_server), tmp_path)


def test_escape_never_ends_the_window(open_server, tmp_path):
    async def act(pilot, app):
        await pilot.press("escape", *"secret", "escape", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen), "the group")
        await pilot.press("escape", "escape")
        assert app.is_running and app._exit is False

    as_member(act, place_of(open_server), tmp_path)


@pytest.mark.long
def test_the_mark_stands_at_the_first_missed_line_after_every_return(open_server, tmp_path):
    async def act(pilot, app):
        await comes_in(pilot)
        with WireClient(open_server.address) as ben:
            ben.join("ben", "secret")
            await shows(pilot, "● ben")
            for number in range(2):
                await pilot.press("f8")
                await shows(pilot, "Disconnected: you quit")
                ben.send(f"SAY first {number}", f"SAY and you, ana? {number}")
                ben.fence()
                await pilot.press("f5")
                await shows(pilot, f"and you, ana? {number}", "─ 2 new, 1 for you ─")
                rows = [row[6:] for row in rows_shown(app.screen.query_one(MessageLog))]
                mark = next(at for at, row in enumerate(rows) if "2 new" in row)
                assert rows[mark + 1].startswith(f"ben: first {number}")
                assert sum("new" in row for row in rows) == 1
            await pilot.press("f8")
            await shows(pilot, "Disconnected: you quit")
            await pilot.press("f5")
            await until(pilot, lambda: app.screen.conversation.state is State.HERE, "back")
            await shows(pilot, "in, 2 here")
            rows = rows_shown(app.screen.query_one(MessageLog))
            assert not any("new" in row for row in rows[-2:]), "a mark for nothing but our coming"

    as_member(act, place_of(open_server), tmp_path)


def test_a_mention_rings_the_bell_and_is_in_the_title(open_server, tmp_path, monkeypatch):
    rings, titles = [], []
    monkeypatch.setattr(MemberApp, "bell", lambda app: rings.append(1))
    monkeypatch.setattr(MemberApp, "write_to_terminal", lambda app, text: titles.append(text))

    async def act(pilot, app):
        await comes_in(pilot)
        with WireClient(open_server.address) as ben:
            ben.join("ben", "secret")
            app.post_message(AppBlur())
            ben.send("SAY nothing")
            await until(pilot, lambda: "\x1b]2;1 new - os-lab\x1b\\" in titles, "a title")
            assert not rings
            ben.send("SAY Ana, look", "SAY ana!")
            await until(
                pilot, lambda: "\x1b]2;3 new, 2 for you - os-lab\x1b\\" in titles, "a title"
            )
            assert rings == [1]
            app.post_message(AppFocus())
            await until(pilot, lambda: titles[-1] == "\x1b]2;os-lab\x1b\\", "the title of a reader")

    as_member(act, place_of(open_server), tmp_path)
    assert titles[0] == "\x1b[22;2t" and titles[-1] == "\x1b[23;2t"


def test_what_a_stalled_server_owes_is_seen(open_server, tmp_path):
    async def act(pilot, app):
        await comes_in(pilot)
        await until(pilot, lambda: not app.screen.conversation.requests.sent, "silence")
        with stopped(open_server):
            await pilot.press(*"hello?", "enter")
            await shows(pilot, "ana: hello?", "no answer for 1 s")
            await shows(pilot, "no answer for 2 s")
            pending = app.screen.query_one("#pending")
            assert str(pending.content) == "ana: hello?" and not any(
                line.author for line in app.screen.query_one(MessageLog).lines
            )
        await until(pilot, lambda: not pending.display, "confirmed")
        assert "no answer" not in seen(app) and "ana: hello?" in seen(app)

    as_member(act, place_of(open_server), tmp_path)


def test_the_bytes_of_a_long_message_are_counted(open_server, tmp_path):
    async def act(pilot, app):
        await comes_in(pilot)
        field = app.screen.query_one("#input", Input)
        for text, size in (("ä" * 175, 350), ("x" * 401, 401)):
            field.value = text
            await shows(pilot, f"{size} of 400 bytes")
        field.value = "x" * 349
        await until(pilot, lambda: "400 bytes" not in seen(app), "no counter")

    as_member(act, place_of(open_server), tmp_path)


@pytest.mark.long
def test_dialogs_keep_what_was_typed_and_say_what_is_wrong(open_server, tmp_path):
    async def act(pilot, app):
        await pilot.press("shift+tab", *"a/b", "tab", *"secret", "enter")
        await shows(pilot, "a name is 1 to 32 letters")
        form = app.screen
        assert form.field("password").value == "secret" and app.focused is form.field("name")
        await pilot.press("ctrl+u", *"ana", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen), "the group")
        await until(pilot, lambda: app.screen.conversation.progress.caught_up, "in")
        with WireClient(open_server.address) as ben:
            ben.join("ben", "secret")
            await pilot.press("f2", "ctrl+u", *"b/n", "enter")
            await shows(pilot, "Your new name", "a name is 1 to 32")
            assert app.focused.value == "b/n"
            await pilot.press("ctrl+u", *"ben", "enter")
            await until(
                pilot, lambda: str(app.screen.query("#error").last().content).strip(), "a refusal"
            )
            assert app.focused.value == "ben"
            await pilot.press("ctrl+u", *"anna", "enter")
            await shows(pilot, "ana is now anna")

    as_member(act, place_of(open_server), tmp_path)


@pytest.mark.long
def test_several_groups_in_one_window(open_server, tmp_path):
    async def act(pilot, app):
        await comes_in(pilot)
        first = app.screen
        await pilot.press(*"a draft", "f6")
        await shows(pilot, "join a group", "os-lab  as ana", "open")
        form = app.screen
        form.fill(place_of(second_server), "ana")
        await comes_in(pilot)
        await shows(pilot, "net-lab  ana", "F7: os-lab")
        second = app.screen
        assert second is not first
        with WireClient(open_server.address) as ben:
            ben.join("ben", "secret")
            ben.send("SAY for all", "SAY for ana")
            await shows(pilot, "F7: os-lab 2 new, 1 for you")
        await pilot.press("f7")
        await shows(pilot, "─ 2 new, 1 for you ─", "ben: for ana", "a draft")
        assert app.screen is first and app.focused.value == "a draft"
        await pilot.press(*" sent", "enter")
        await shows(pilot, "ana: a draft sent")
        await pilot.press("f6")
        await until(pilot, lambda: app.screen is form, "the list")
        groups = form.query_one(OptionList)
        groups.focus()
        groups.highlighted = [known.group for known in form._known].index("net-lab")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is second, "without a password")
        second_server.order("ban ana")
        await shows(pilot, "the owner banned you")
        await pilot.press("f6")
        await until(pilot, lambda: app.screen is form and form.chats == [first], "the list")
        await pilot.press("escape")

    with Server(
        "nonblocking", directory=tmp_path / "two", args=("--admit", "all"), group="net-lab"
    ) as second_server:
        as_member(act, place_of(open_server), tmp_path)


@pytest.mark.long
def test_a_line_that_is_not_sent_stays_in_the_field(open_server, tmp_path):
    async def act(pilot, app):
        await comes_in(pilot)
        field = app.screen.query_one("#input", Input)
        for text, why in (
            ("ä" * 201, "not sent: 402 bytes; the limit is 400"),
            ("a\u202eb", "not sent: it contains a character"),
        ):
            field.value = text
            await pilot.press("enter")
            await shows(pilot, why)
            assert field.value == text
        field.value = "//x is a command"
        await pilot.press("enter")
        await shows(pilot, "ana: /x is a command")
        open_server.kill()
        await shows(pilot, "Disconnected: ", "Retrying in")
        await pilot.press(*"said meanwhile", "enter")
        await shows(pilot, "this message will be sent when you are in the group")
        open_server.restart(port=open_server.address[1])
        await pilot.press("f5")
        await shows(pilot, "ana: said meanwhile")
        await pilot.press("f8")
        await shows(pilot, "Disconnected: you quit")
        field.value = "nobody reads this"
        await pilot.press("enter")
        await shows(pilot, "not sent: you are not connected; /reconnect")
        assert field.value == "nobody reads this"

    as_member(act, place_of(open_server), tmp_path)


@pytest.mark.long
def test_a_paste_of_10_000_lines_is_sent_whole_after_a_confirmation(open_server, tmp_path):
    async def act(pilot, app):
        await comes_in(pilot)
        pasted = "\n".join(
            ["/quit is a text here", "x" * 401, "", *(f"line {number}" for number in range(9_998))]
        )
        app.screen.query_one("#input").post_message(Paste(pasted))
        await shows(
            pilot, "You pasted 10,000 lines. Each will be a message. 1 of", "cannot be sent"
        )
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen), "the question gone")
        assert not app.screen.to_send
        app.screen.query_one("#input").post_message(Paste("\n".join(pasted.split("\n")[:2000])))
        await shows(pilot, "You pasted 1,999 lines")
        chat = app.screen_stack[-2]
        await pilot.press("y")
        await until(
            pilot,
            lambda: chat.message_log.lines[-1].text == "line 1996",
            "the last line confirmed",
        )
        said = [
            line.text
            for line in app.screen.query_one(MessageLog).lines
            if line.kind is LineKind.MESSAGE
        ]
        assert said == ["/quit is a text here", *(f"line {number}" for number in range(1997))]

    as_member(act, place_of(open_server), tmp_path)


def test_the_chat_works_in_20_columns_and_5_rows(open_server, tmp_path):
    async def act(pilot, app):
        await shows(pilot, "Password")
        await comes_in(pilot)
        await pilot.press(*"hello", "enter")
        await shows(pilot, "ana: hello")
        await pilot.press("f9")
        await shows(pilot, "Leave os-lab", "Stay")
        await pilot.press("n")
        await pilot.resize_terminal(80, 24)
        await shows(pilot, "● ana", "f8 Disconnect")

    as_member(act, place_of(open_server), tmp_path, size=(20, 5))


def test_a_faulty_server_is_reported_in_words(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            sock, _ = listener.accept()
            with sock:
                sock.sendall(b"HELLO grupo/1 \x1b]0;pwn\x07[/b]\n")
                sock.recv(100)
                sock.sendall(
                    b"PENDING\nWELCOME 1 ana\nEND HISTORY 1\nMEMBER \x1b[31m[/b] here\n"
                    b"MSG 2 2026-11-22T13:21:28.123Z e\x1bve [/b]\x1b[2J\x9b1m\nBYE \x1b[2J\n"
                )
                sock.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()

        async def act(pilot, app):
            await pilot.press(*"secret", "enter")
            await shows(
                pilot,
                r"\x1b]0;pwn\x07[/b]",
                r"e\x1bve: [/b]\x1b[2J\udc9b1m",
                r"the server said BYE \x1b[2J",
            )
            assert not FORBIDDEN.search(seen(app).replace("\n", ""))

        as_member(act, f"127.0.0.1:{listener.getsockname()[1]}", tmp_path)
        thread.join()


FLOODS = {
    "members": lambda n: f"MEMBER имя{n} here",
    "names": lambda n: f"RENAMED {n + 2} 2026-11-22T13:21:28.123Z {own(n)} {own(n + 1)}",
    "wide": lambda n: f"MSG {n + 2} 2026-11-22T13:21:28.123Z eve {'早' * 130}",
}


def own(number):
    return f"own{number}" if number else "ana"


@pytest.mark.long
@pytest.mark.parametrize("flood", FLOODS)
def test_the_window_obeys_its_keys_while_a_malicious_server_floods_it(flood, tmp_path):
    sent = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            sock, _ = listener.accept()
            with sock, contextlib.suppress(OSError):
                sock.sendall(b"HELLO grupo/1 os-lab\n")
                sock.recv(100)
                sock.sendall(b"PENDING\nWELCOME 1 ana\nEND HISTORY 1\n")
                while True:
                    lines = range(len(sent) * 500, (len(sent) + 1) * 500)
                    sock.sendall("".join(FLOODS[flood](n) + "\n" for n in lines).encode())
                    sent.append(500)

        thread = threading.Thread(target=serve)
        thread.start()

        async def act(pilot, app):
            await pilot.press(*"secret", "enter")
            await until(pilot, lambda: len(sent) > 10, "a flood of 5,000 lines")
            assert len(app.screen.roster.own_names) <= roster.MAX_OWN_NAMES
            assert app.screen.query_one("#people", OptionList).option_count <= 301
            await pilot.press("f6")
            await shows(pilot, "join a group")

        as_member(act, f"127.0.0.1:{listener.getsockname()[1]}", tmp_path)
        thread.join()


# -- The owner's window ---------------------------------------------------------------------------


def as_owner(act, tmp_path, *arguments, size=(80, 24)):
    async def play():
        app = OwnerApp(
            parse_arguments(
                ["--port", "0", "--dir", str(tmp_path / "grupo"), "--group", "os-lab", *arguments]
            )
        )
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await act(pilot, app)
        if app.server:
            assert app.server.pid is None, "the server outlived its window"

    asyncio.run(play())


async def listens(pilot):
    await pilot.press("enter")
    await until(
        pilot,
        lambda: isinstance(pilot.app.screen, OwnerScreen) and pilot.app.screen.console.endpoint,
        "a server that listens",
    )
    return pilot.app.screen


@pytest.mark.long
@pytest.mark.parametrize(
    "field, value, said",
    [
        ("port", "70000", "a port is a number from 0 to 65535"),
        ("group", " ", "a group's name has 1 to 64 bytes"),
        ("host", "192.0.2.1", "192.0.2.1 port 0: Cannot assign"),
        ("dir", "/dev/null/x", "grupo: /dev/null/x"),
    ],
)
def test_why_a_server_does_not_start_is_displayed(field, value, said, tmp_path):
    async def act(pilot, app):
        app.screen.query_one(f"#{field}", Input).value = value
        await pilot.press("enter")
        await shows(pilot, said)
        assert app.screen.query_one(f"#{field}", Input).value == value

    as_owner(act, tmp_path)


def test_after_a_port_in_use_another_port_works(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        async def act(pilot, app):
            await pilot.press("enter")
            await shows(pilot, "status 1.", "Address already")
            app.screen.query_one("#port", Input).value = "0"
            await listens(pilot)

        as_owner(act, tmp_path, "--port", str(listener.getsockname()[1]))


def test_a_command_that_does_not_exist_is_reported(tmp_path):
    async def act(pilot, app):
        await pilot.press("enter")
        await shows(pilot, "no-such-server: No such file or directory")

    as_owner(act, tmp_path, "--", str(tmp_path / "no-such-server"))


def test_rows_that_fit():
    assert rows_that_fit(["aa", "bb", "cc"], 5, 1, len) == [["aa", "bb"], ["cc"]]
    assert rows_that_fit(["too long", "b"], 5, 1, len) == [["too long"], ["b"]]
    assert rows_that_fit([], 5, 1, len) == []


SIZES = [(80, 24), (120, 40), (200, 50)]
LESSON_SIZES = [(40, 24), (60, 40)]  # of the window in `make windows` at 80x24 and 120x40


def test_figures_and_keys_are_never_cut(tmp_path):
    figures = " MB  ", " CPU  ", " messages/s", "1 process", "6 threads", "descriptors (fd)"

    async def act(pilot, app):
        screen = await listens(pilot)
        with WireClient(screen.console.endpoint) as ana, WireClient(screen.console.endpoint) as ben:
            ana.send("JOIN ana secret")
            await shows(pilot, "ana asks to join")
            await pilot.press("a")
            ana.expect("WELCOME 1 ana")
            ana.send("SAY hello")
            await shows(pilot, "ana: hello")
            ben.send("JOIN ben secret")
            for size in SIZES + LESSON_SIZES:
                await pilot.resize_terminal(*size)
                await shows(pilot, *figures, " a Accept ", " ^q Quit ")
                bar = screen.query_one(KeyBar).region
                assert (bar.width, bar.bottom) == size
                for key in screen.query(FooterKey):
                    assert key.region.right <= size[0] and key.region.bottom <= size[1]

    as_owner(act, tmp_path)


@pytest.mark.long
def test_the_processes_fill_the_screen_and_scroll(tmp_path, monkeypatch):
    def many_threads(pid):
        threads = tuple(Thread(tid, "server", f"waits, {tid}") for tid in range(500))
        return Snapshot((Process(pid, 1, threads, 9, 1_000_000, 0.0),), 0.0)

    monkeypatch.setattr(process_panel, "take_snapshot", many_threads)

    async def act(pilot, app):
        screen = await listens(pilot)
        panel = screen.query_one(ProcessPanel)
        for size in [(200, 50), (80, 24), (40, 24)]:
            await pilot.resize_terminal(*size)
            await shows(pilot, "listening on", " ^q Quit ")
            if size == (200, 50):
                assert panel.region.width == 80, "two fifths"
            await pilot.press("z")
            await shows(pilot, "waits, 0  server, thread 0")
            bar = screen.query_one(KeyBar)
            assert panel.size == (size[0], size[1] - 1 - bar.size.height)
            await pilot.press("pagedown", "down")
            await shows(pilot, f"waits, {panel.process_tree.size.height}  server")
            assert "listening on" not in seen(app)
            await pilot.press("ctrl+home", "escape")
        await shows(pilot, "listening on")
        await pilot.press("z", "z")
        await shows(pilot, "listening on")

    as_owner(act, tmp_path)


@pytest.mark.long
def test_a_click_accepts_the_chosen_person(tmp_path):
    async def act(pilot, app):
        screen = await listens(pilot)
        clients = [WireClient(screen.console.endpoint) for _ in range(3)]
        for client, name in zip(clients, ("ana", "ben", "eve"), strict=False):
            client.send(f"JOIN {name} secret")
        await shows(pilot, "? ana", "? ben", "? eve", "(and 2 more)")
        await pilot.press("home", "down")
        await shows(pilot, "ben asks to join")
        await pilot.click("#accept")
        await shows(pilot, "● ben", "? ana", "? eve")
        await pilot.press("home")
        await pilot.click("#reject")
        await until(
            pilot,
            lambda: (
                [person.name for person in screen.query_one(PeopleList).people] == ["eve", "ben"]
            ),
            "ana gone",
        )
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, Dialog), "a question")
        assert app.screen.query_one(Input).value == "eve", "the chosen person"
        await pilot.press("enter")
        await shows(pilot, "Ban eve?", "Cancel (n)")
        await pilot.press("enter")  # one Enter too many bans nobody
        await until(pilot, lambda: app.screen is screen, "the question answered")
        await pilot.press("b", "enter", "y")
        await shows(pilot, "\N{MULTIPLICATION SIGN} eve banned")
        await pilot.press("end", "u", "enter")
        await until(
            pilot,
            lambda: "eve" not in [person.name for person in screen.console.people.values()],
            "eve unbanned",
        )
        for client in clients:
            client.close()

    as_owner(act, tmp_path)


def test_without_color_the_chosen_person_is_underlined(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    async def act(pilot, app):
        screen = await listens(pilot)
        with WireClient(screen.console.endpoint) as ana, WireClient(screen.console.endpoint) as ben:
            ana.send("JOIN ana secret")
            ben.send("JOIN ben secret")
            await shows(pilot, "? ana", "? ben")
            await pilot.press("home", "down")
            await shows(pilot, "ben asks to join")
            marked = [
                segment.text
                for strip in app.screen._compositor.render_strips()
                for segment in strip
                if segment.style and segment.style.underline
            ]
            assert any("ben" in text for text in marked) and not any(
                "ana" in text for text in marked
            )

    as_owner(act, tmp_path)


def test_an_old_group_keeps_its_name(tmp_path):
    with Server("fork", directory=tmp_path / "grupo", group="an older name"):
        pass

    async def act(pilot, app):
        await listens(pilot)
        await shows(pilot, "an older name  pthread  127.0.0.1:")

    as_owner(act, tmp_path)


FLOOD = """
import sys
print("listening on 127.0.0.1:9", flush=True)
out, line = sys.stdout.buffer, b"<ana> " + b"x" * 60 + b"\\n"
for _ in range(100):
    out.write(line * 1000)
out.write(b"* ana came\\n")
out.flush()
for order in sys.stdin:
    if order == "members\\n":
        print("member ana here", flush=True)
    print("ok", flush=True)
    if order == "close\\n":
        break
"""


def test_the_window_works_while_the_server_floods_it_with_output(tmp_path):
    async def act(pilot, app):
        screen = await listens(pilot)
        await until(pilot, lambda: screen.console.message_count == 100_000, "all that was printed")
        await shows(pilot, "ana came", "● ana here")
        assert len(screen.query_one("#messages", MessageLog).lines) <= message_log.MAX_LINES

    (tmp_path / "flood.py").write_text(FLOOD)
    as_owner(act, tmp_path, "--", sys.executable, str(tmp_path / "flood.py"))


def test_a_server_that_does_not_close_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("implementations.windows.server_process.END_TIMEOUT", 0.2)
    (tmp_path / "deaf.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('listening on 127.0.0.1:9', flush=True)\nwhile True: time.sleep(1)\n"
    )

    async def act(pilot, app):
        await listens(pilot)

    as_owner(act, tmp_path, "--", sys.executable, str(tmp_path / "deaf.py"))


def test_the_window_of_a_killed_server_stays_and_starts_it_again(tmp_path):
    async def act(pilot, app):
        screen = await listens(pilot)
        await shows(pilot, "member file", "z Processes", "c Close")
        await pilot.press("b")  # a dialog, which ends with the server
        screen.server.signal_group(signal.SIGKILL)
        await shows(
            pilot,
            "The server ended by signal 9 (SIGKILL). Enter starts it again.",
            "wrote nothing to stderr.",
            "pthread  ended",
            "waits in poll: for a new client",
            "listening on",
            " ⏎ Start again ",
            " esc Back ",
        )
        assert app.screen is screen and "c Close" not in seen(app)
        await pilot.press("enter")
        await until(pilot, lambda: screen.console.endpoint, "a server that listens")
        await shows(pilot, "started again", "0 here", "c Close")
        assert "Enter starts" not in seen(app)
        screen.server.signal_group(signal.SIGTERM)
        await shows(pilot, "The server ended with status 0. Enter starts it again.")
        await pilot.press("escape")
        await shows(pilot, "Start", "The server ended with status 0.")

    as_owner(act, tmp_path)


CRASH = r"""
import sys
print("warning: old", file=sys.stderr, flush=True)
print("listening on 127.0.0.1:9", flush=True)
for order in sys.stdin:
    print("ok", flush=True)
    if order == "rename crash\n":
        print("* ana came", flush=True)
        raise ValueError("an evil [/b]\x1b[2J")
"""


def test_all_that_a_crashed_server_wrote_to_stderr_stays_on_the_screen(tmp_path):
    (tmp_path / "crash.py").write_text(CRASH)

    async def act(pilot, app):
        whole = [sys.executable, str(tmp_path / "crash.py")]
        unbroken = lambda: re.sub(r"[\s│]", "", seen(pilot.app))  # long commands are wrapped
        await until(pilot, lambda: "".join(whole) in unbroken(), whole)
        screen = await listens(pilot)
        await shows(pilot, "os-lab  crash.py  127.0.0.1:9")
        screen.order("rename crash")
        await shows(
            pilot,
            "written this to stderr:",
            "warning: old",
            "Traceback (most recent call last):",
            r"ValueError: an evil [/b]\x1b[2J",
            "crash.py  ended",
        )

    as_owner(act, tmp_path, "--", sys.executable, str(tmp_path / "crash.py"), size=(120, 40))


@pytest.mark.parametrize(
    "return_code, words",
    [
        (0, "with status 0"),
        (2, "with status 2"),
        (-11, "by signal 11 (SIGSEGV)"),
        (-99, "by signal 99"),
        (139, "with status 139, as a shell reports signal (SIGSEGV)"),
        (255, "with status 255"),
    ],
)
def test_the_end_of_a_server_in_words(return_code, words):
    assert describe_end(return_code) == words


@pytest.mark.parametrize(
    "command, program",
    [
        (["./server"], "server"),
        (["/opt/bin/server", "x.py"], "server"),
        (["python3", "-u", "lab/server.py", "--debug"], "server.py"),
        (["/usr/bin/python3.11", "-m", "mine.server"], "mine.server"),
        (["java", "-jar", "out/Server.jar"], "Server.jar"),
        (["python3", "-c", "print(1)"], "python3"),
        (["node"], "node"),
    ],
)
def test_the_program_of_a_command(command, program):
    assert program_of(command) == program


def test_the_whole_command_is_shown(tmp_path):
    command = [str(tmp_path / "server"), *(f"--option={number}" for number in range(12))]

    async def act(pilot, app):
        await shows(pilot, "--option=0", "--option=5", "--option=11", "Who may join")

    as_owner(act, tmp_path, "--", *command)


def test_hostile_output_of_a_server_is_harmless(tmp_path):
    (tmp_path / "hostile.py").write_text(
        "import sys\nprint('listening on 127.0.0.1:9', flush=True)\n"
        f"print({HOSTILE!r} + ' asks to join from [/b]', flush=True)\n"
        "print('x\\x1b[2J[/b] asks to join from [/b]', flush=True)\n"
        "print('[/b]\\x1b[31m', file=sys.stderr, flush=True)\nsys.stdin.read()\n"
    )

    async def act(pilot, app):
        await listens(pilot)
        await shows(pilot, r"x\x1b[2J[/b] asks to join from [/b]", r"[/b]\x1b[31m")
        assert not FORBIDDEN.search(seen(app).replace("\n", ""))
        app.server.signal_group(signal.SIGKILL)
        await shows(pilot, "by signal 9 (SIGKILL)", r"[/b]\x1b[31m")
        assert not FORBIDDEN.search(seen(app).replace("\n", ""))

    as_owner(act, tmp_path, "--", sys.executable, str(tmp_path / "hostile.py"))


def class_of(endpoint, count, stack):
    clients = [stack.enter_context(WireClient(endpoint)) for _ in range(count)]
    for number, client in enumerate(clients):
        client.send(f"JOIN turma{number} secret")
    return clients


def people_here(screen):
    return [p.name for p in screen.query_one(PeopleList).people if p.status is Status.HERE]


@pytest.mark.long
def test_a_class_is_accepted_at_once_and_takes_one_line(tmp_path):
    async def act(pilot, app):
        screen = await listens(pilot)
        with contextlib.ExitStack() as stack:
            clients = class_of(screen.console.endpoint, 30, stack)
            await until(pilot, lambda: len(screen.console.askers) == 30, "30 requests")
            await shows(pilot, "and 28 others ask to join", "A Accept all")
            await pilot.press("a", "a", "a")
            assert len(screen.console.askers) == 27, "each key accepts another person"
            await pilot.press("A")
            await until(pilot, lambda: len(people_here(screen)) == 30, "30 members")
            assert people_here(screen) == [f"turma{number}" for number in range(30)]
            await shows(pilot, "and 28 others came")
            assert "others ask" not in seen(app) and "Accept" not in seen(app)
            for client in clients:
                client.expect("WELCOME .*")
            clients[3].send("SAY good morning")
            await shows(pilot, "turma3: good morning")
            clients[7].send("QUIT")
            await shows(pilot, "turma7 went")
            notes = [line.text for line in screen.message_log.lines if line.kind is LineKind.NOTE]
            assert len(notes) == 3, notes  # listening, 30 came, one went

    as_owner(act, tmp_path)


@pytest.mark.long
def test_the_owner_speaks_as_a_member(tmp_path):
    async def act(pilot, app):
        screen = await listens(pilot)
        with WireClient(screen.console.endpoint) as ana:
            ana.send("JOIN ana secret")
            await shows(pilot, "ana asks to join")
            await pilot.press("a")
            ana.expect("WELCOME 1 ana")
            await pilot.press("s", "enter")
            await shows(pilot, "Speak in the group as a member", "a password has")
            await pilot.press(*"hunter2", "enter")
            ana.expect("IN 3 \\S+ owner")
            await until(pilot, lambda: isinstance(app.focused, OwnerInput), "the input")
            assert "hunter2" not in seen(app) and "Accept" not in seen(app)
            await pilot.press(*"abc rq", "enter")  # letters, not keys of the screen
            ana.expect("MSG 4 \\S+ owner abc rq")
            await shows(pilot, "owner: abc rq", "● owner here")
            app.focused.value = "x" * 401
            await pilot.press("enter")
            await shows(pilot, "not sent: a message has at most 400 bytes")
            await pilot.press("escape")
            await shows(pilot, "c Close")
            screen.server.signal_group(signal.SIGKILL)
            await shows(pilot, "by signal 9")
            await pilot.press("enter")
            await until(pilot, lambda: screen.console.endpoint, "a server that listens")
            await pilot.press("s", "enter")  # the name and the password are still there
            await shows(pilot, "● owner here")

    as_owner(act, tmp_path)


@pytest.mark.long
def test_an_owner_who_cannot_speak_is_told_why(tmp_path):
    async def act(pilot, app):
        await listens(pilot)
        await pilot.press("s", *"secret", "enter")
        await shows(pilot, "you cannot speak: rejected: ")
        assert not app.screen.query_one(OwnerInput).has_class("-open")

    as_owner(act, tmp_path, "--admit", "none")


QUIET = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
print("listening on 127.0.0.1:%d" % listener.getsockname()[1], flush=True)

def serve(sock):
    sock.sendall(b"HELLO grupo/1 quiet\\n")
    seq, time = 1, "2026-11-22T13:21:28.123Z"
    for line in sock.makefile(encoding="utf-8"):
        verb, _, rest = line.rstrip("\\n").partition(" ")
        said = {
            "JOIN": f"PENDING\\nWELCOME 1 owner\\nIN 2 {time} owner\\n",
            "HISTORY": "END HISTORY 2\\n",
            "SAY": f"MSG {seq + 2} {time} owner {rest}\\n",
        }.get(verb, "")
        seq += verb == "SAY"
        sock.sendall(said.encode())

def accept():
    while True:
        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

threading.Thread(target=accept, daemon=True).start()
for order in sys.stdin:
    print("ok", flush=True)
    if order == "close\\n":
        break
"""


def test_a_console_that_prints_no_messages_is_said_to_be_so(tmp_path):
    (tmp_path / "quiet.py").write_text(QUIET)

    async def act(pilot, app):
        await listens(pilot)
        await shows(pilot, "no messages on the console")
        await pilot.press("s", *"secret", "enter")
        await until(pilot, lambda: isinstance(app.focused, OwnerInput), "the input")
        await pilot.press(*"hello", "enter")
        await shows(pilot, "This server's console prints no messages", "owner: hello")

    as_owner(act, tmp_path, "--", sys.executable, str(tmp_path / "quiet.py"))


def test_a_long_name_takes_one_row():
    class People(WindowApp):
        def compose(self):
            yield PeopleList()

    async def play():
        app = People()
        async with app.run_test(size=(20, 6)) as pilot:
            people = [Person("x" * 32, Status.HERE), Person("y", Status.HERE)]
            app.query_one(PeopleList).show_people(people)
            await pilot.pause()
            rows = [row.strip() for row in seen(app).splitlines()]
            marked = [row for row in rows if row.startswith("●")]
            assert marked[0].endswith("x…") and marked[1] == "● y here" and len(marked) == 2
            assert rows.index(marked[1]) == rows.index(marked[0]) + 1

    asyncio.run(play())
