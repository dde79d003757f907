"""The locks held between the events of a failing run, read from the server's own trace."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from test_check_hostile import MILD

from harness.driving.messages import msg
from harness.driving.record import Entry
from harness.driving.server import ROOT
from harness.teaching import exhibits
from harness.verdicts import language, locks
from harness.verdicts.formats.page import picture
from harness.verdicts.formats.render import events
from harness.verdicts.locks import Span
from harness.verdicts.model import Failure, verdict_from

NAMES = {"127.0.0.1:4000": "ana"}
ANA, BEN = msg("the thread of {who}", who="ana"), msg("the thread `{name}`", name="127.0.0.1:4001")


def trace(folder, *events, name="7"):
    """Writes a trace: (ms, actor, event, lock), each actor in a thread of its own."""
    lines = [
        {"t": int(at * 1e6), "p": 7, "th": 10 + len(actor), "a": actor, "e": event, "o": lock}
        for at, actor, event, lock in events
    ]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read(folder, began=0.0):
    """What is read of it, with times to a ms."""
    return [
        one._replace(at=round(one.at, 3), seconds=one.seconds and round(one.seconds, 3))
        for one in locks.read(folder, began, NAMES)
    ]


def test_each_begin_belongs_to_the_next_end_of_its_thread_and_lock(tmp_path):
    trace(
        tmp_path,
        (1, "127.0.0.1:4000", "B.lock.hold", "room"),
        (2, "accept", "B.lock.wait", "room"),
        (3, "127.0.0.1:4000", "B.lock.hold", "names"),
        (5, "127.0.0.1:4000", "E.lock.hold", "room"),
        (6, "accept", "E.lock.wait", "room"),
        (7, "accept", "B.recv", "room"),
    )
    assert read(tmp_path, 0.001) == [
        Span(0.0, ANA, "holds", "room", 0.004),
        Span(0.001, "the thread `accept`", "waits", "room", 0.004),
        Span(0.002, ANA, "holds", "names", None),
    ]


def test_what_a_program_may_write_there_does_no_harm(tmp_path):
    good = {"t": 1, "p": 7, "th": 7, "a": "127.0.0.1:4000", "e": "B.lock.hold", "o": "room"}
    bad = [{**good, key: wrong} for key in good for wrong in (None, [1], True, {})]
    text = "\n".join(map(json.dumps, [*bad, good, 7, "B.lock.hold"]))
    (tmp_path / "1.jsonl").write_bytes(text.encode() + b"\nlock.\xff\n" + b"[" * 10_000 + b"lock.")
    (tmp_path / "2.jsonl").symlink_to(tmp_path / "1.jsonl")
    os.mkfifo(tmp_path / "3.jsonl")
    (tmp_path / "4.jsonl").mkdir()
    assert read(tmp_path) == [Span(0.0, "the process of ana", "holds", "room", None)]
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert read(link) == [] and read(tmp_path / "none") == []


def entries(*times):
    return [Entry(at, "ana", "hears", f"line {at}") for at in times]


def held(at, seconds=0.001, who=ANA, what="holds", lock="room"):
    return Span(at, who, what, lock, seconds)


def test_between_two_events_the_longest_are_shown_and_the_rest_is_counted():
    many = [held(1 + n / 100, n / 1000) for n in range(1, 11)]
    shown = locks.between(many, entries(1, 2), None)
    assert shown[:-1] == many[-locks.MOST_SHOWN :]
    assert (shown[-1].what, shown[-1].more) == ("more", 6)
    assert locks.between(many[:5], entries(1, 2), None) == many[:5]


def test_before_the_first_event_only_what_went_on_then_and_behind_the_last_only_if_nothing_came():
    found = [held(0.1), held(0.2, 2), held(0.3, None), held(1.5), held(3)]
    assert locks.between(found, entries(1, 2), 1) == found[1:4]
    assert locks.between(found, entries(1, 2), 2) == found[1:]
    assert locks.between(found, [], None) == []


def test_a_short_wait_is_not_shown_and_a_deadlock_comes_first():
    quick = [held(1.1 + n / 100, 0.5) for n in range(9)]
    short = held(1.05, 0.0001, what="waits")
    circle = [
        held(1.3, None, ANA, "holds", "room"),
        held(1.3, None, BEN, "holds", "names"),
        held(1.4, None, ANA, "waits", "names"),
        held(1.4, None, BEN, "waits", "room"),
    ]
    other = held(1.35, None, "the thread `accept`", "waits", "room")
    shown = locks.between([short, *quick, other, *circle], entries(1), 1)
    assert [one for one in shown if one.what != "more"] == circle


def failure(spans, wrong=1):
    return Failure("silent", [], "x", "y", "z", "p", "", "r", entries(0, 0.5), wrong, spans)


SPANS = [
    held(0.1, 0.0042),
    held(0.2, None, BEN, "waits", "room"),
    Span(0.3, "", "more", "", 0.5, 9),
]


def test_the_terminal_and_the_page_show_them_between_the_events():
    lines = events(failure(SPANS))
    assert [line.split(" ", 1)[1].strip() for line in lines] == [
        "ana receives line 0",
        "the thread of ana holds the lock `room` for 4.2 ms",
        f"{BEN} waits for the lock `room` until the trace ends",
        "... 9 more like this, 500 ms in total",
        "ana receives line 0.5   <-- the first wrong one",
    ]
    drawing, table = picture(failure(SPANS)).split("<table>")
    for part in drawing, table:
        places = [part.index(text) for text in ("line 0<", "4.2 ms", "9 more", "line 0.5<")]
        assert places == sorted(places)
    assert "slows the server" in drawing and "slows the server" not in picture(failure([]))


def test_in_portuguese_too():
    language.use("pt-BR")
    try:
        assert "a thread de ana segura a trava `room` por 4.2 ms" in events(failure(SPANS))[1]
    finally:
        language.use("en")


# -- The whole command -----------------------------------------------------------------------------


def check(folder, command, *more):
    """(report, what was shown) of a check with --trace."""
    line = [sys.executable, "-m", "harness", "check", "--trace", "--deadline", "5"]
    line += ["--records", folder / "run", "--json", folder / "found.json"]
    done = subprocess.run(
        [*line, *more, "--", *command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (folder / "found.json").exists(), done.stdout + done.stderr
    return json.loads((folder / "found.json").read_text()), done.stdout


@pytest.mark.long
def test_a_lock_that_is_not_released_is_shown_and_the_records_keep_the_trace(tmp_path):
    chosen = {one.name: one for one in exhibits.all_exhibits()}["lock-not-released-on-error"]
    exhibits.build(chosen, tmp_path / "tree")
    more = ["--in", tmp_path / "tree", "--only", chosen.check, "--html", tmp_path / "page.html"]
    report, shown = check(tmp_path, chosen.command, *more)
    verdict = verdict_from(report["verdicts"][0])
    keeps = next(one for one in verdict.failure.locks if one.seconds is None)
    assert (keeps.what, keeps.lock) == ("holds", "room") and keeps.who.startswith("the thread of ")
    line = f"{keeps.who} holds the lock `room` until the trace ends"
    assert line in shown and line in (tmp_path / "page.html").read_text()
    assert "Writing a trace slows the server" in report["notes"][0]
    assert "--trace" in verdict.failure.replay
    kept = list((tmp_path / "run" / f"{chosen.check}.trace").glob("*.jsonl"))
    assert kept and b"B.lock.hold" in kept[0].read_bytes()


REFUSES = MILD.replace("BEFORE", "if '--trace' in sys.argv: sys.exit(2)")
IGNORES = MILD.replace("BEFORE", "pass")


@pytest.mark.long
@pytest.mark.parametrize(
    "script, why", [(REFUSES, "does not start with"), (IGNORES, "writes no file")], ids=("2", "0")
)
def test_a_server_that_does_not_trace_itself_is_judged_without_and_a_line_says_so(
    script, why, tmp_path
):
    path = tmp_path / "server.py"
    path.write_text(textwrap.dedent(script.replace("TALK", "pass").replace("AFTER", "pass")))
    report, shown = check(tmp_path, [sys.executable, path], "--only", "starts", "greets")
    assert [verdict["verdict"] for verdict in report["verdicts"]] == ["passed", "passed"]
    assert why in report["notes"][0] and report["notes"][0] in shown
    assert not list((tmp_path / "run").glob("*.trace"))


@pytest.mark.long
@pytest.mark.parametrize("design", ["pthread", "fork"])
def test_where_files_and_descriptors_are_taken_away_nothing_is_traced(design, tmp_path):
    names = ("a-full-disk", "a-full-disk-for-a-newcomer", "out-of-descriptors-again")
    report, _ = check(tmp_path, [design], "--only", *names)
    assert {verdict["verdict"] for verdict in report["verdicts"]} <= {"passed", "inconclusive"}
