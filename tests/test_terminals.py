"""A terminal client sees lines in whatever order they come, types, presses keys, and tells how its
program ended.
"""

import sys

import pytest

from harness.driving import deadlines
from harness.driving.deadlines import wait_until
from harness.driving.record import CheckFailed
from harness.driving.terminals import TerminalClient

PROGRAM = """
import sys
print("one\\ntwo", flush=True)
for line in sys.stdin:
    print("> " + line.strip(), "x" * 300, flush=True)
print("no more", flush=True)
sys.exit(3)
"""


@pytest.fixture
def terminal():
    with TerminalClient("ana", [sys.executable, "-c", PROGRAM], program="client") as terminal:
        yield terminal
    assert not terminal.living()


def test_lines_are_seen_in_any_order_whole_and_nothing_is_echoed(terminal):
    assert [match[0] for match in terminal.sees("two", "o(.)e")] == ["two", "one"]
    terminal.types("hé", "there")
    assert [match[1] for match in terminal.sees("> (there) x{300}", "> (h.) x{300}")] == [
        "there",
        "hé",
    ]
    terminal.presses("d")
    terminal.ends(3)
    assert terminal.lines == ["one", "two", "> hé " + "x" * 300, "> there " + "x" * 300, "no more"]
    assert [(entry.who, entry.what) for entry in terminal.record.entries][3:6] == [
        ("ana", "types"),
        ("ana", "types"),
        ("client", "shows"),
    ]


def test_what_never_comes_is_told_with_what_came(terminal, monkeypatch):
    monkeypatch.setattr(deadlines, "DEADLINE", 0.3)
    terminal.sees("one")
    with pytest.raises(
        CheckFailed,
        match="a line like `three` on ana's terminal; it did not come in time\nthe terminal showed "
        "only:\ntwo",
    ):
        terminal.sees("three")
    with pytest.raises(CheckFailed, match="it kept running"):
        terminal.ends(0)


def test_what_never_comes_because_the_program_ended(terminal):
    terminal.sees("two")
    terminal.presses("d")
    with pytest.raises(CheckFailed, match="the program ended\nthe terminal showed only:\nno more"):
        terminal.sees("three")


def test_what_was_shown_before_the_end_is_seen_after_it(terminal):
    terminal.presses("d")
    wait_until(terminal.has_ended)
    terminal.sees("one")  # all came at one stroke, and the end with it
    terminal.sees("two")
    terminal.sees("no more")
    terminal.ends(3)


def test_an_end_by_a_signal_is_told(terminal):
    terminal.sees("two")
    terminal.presses("\\")
    with pytest.raises(CheckFailed, match="it was ended by signal 3") as unmet:
        terminal.ends(0)
    assert unmet.value.sentence == "no-handler"
