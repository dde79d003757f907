"""Figures show what is in the runs: so many lanes, so many late deliveries, these locks; and each
says it in words, and as a table.
"""

import itertools

import matplotlib.pyplot
import pytest
from matplotlib.text import Text

from harness.tracing import figures, runs
from harness.tracing.figures import buffers, locks
from tests.test_traces import READS, STAMP, Written

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("test_figures"),
]  # one worker makes once what they all look at


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """One expensive request, on each of the three."""
    return runs.run_all("one-expensive-request", tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def unread(tmp_path_factory):
    """A member who stops reading, on fork."""
    return runs.run("fork", "a-member-who-stops-reading", tmp_path_factory.mktemp("unread"))


@pytest.fixture
def written(tmp_path):
    return lambda name="run", **about: Written(tmp_path / name, **about)


def words(figure):
    """All that is written on a figure, and in its legends."""
    figure.figure.canvas.draw()
    return " ".join(
        " ".join(text.get_text().split())
        for text in figure.figure.findobj(Text)
        if text.get_text() and text.get_visible()
    )


def is_whole(figure, *says):
    """It has a caption, a text in its place, a table; it is the same when drawn again; and it says
    these words.
    """
    assert len(figure.alt) > 30 and len(figure.caption) > 60 and figure.table().rows
    assert all(len(row) == len(figure.table().head) for row in figure.table().rows)
    html = figure._repr_html_()
    assert (
        html.startswith("<figure><img alt=")
        and html.endswith("</figcaption></figure>")
        and "data:image/png;base64," in html
    )
    assert figure.png() == figure.png() and figure.png()[:4] == b"\x89PNG"
    text = words(figure)
    for word in says:
        assert word in text or word in figure.caption, (
            f"{word!r} is not in {text!r} {figure.caption!r}"
        )


def test_three_swimlanes(three):
    figure = figures.swimlanes(three)
    is_whole(
        figure,
        "1 one loop (nonblocking)",
        "2 a thread each, one lock (pthread)",
        "3 a process each, pipes (fork)",
        "thread of zoe !",
        "child of zoe !",
        "sink write",
        "who else has to wait?",
    )
    lanes = {
        run.title: [row[1] for row in figure.table().rows if row[0] == run.title] for run in three
    }
    members = [*runs.MEMBERS, "zoe"]
    assert lanes["nonblocking"][0] == "the loop" and "worker" in lanes["nonblocking"]
    assert [lane for lane in lanes["pthread"] if " of " in lane] == [
        f"thread of {name}" for name in members
    ]
    assert [lane for lane in lanes["fork"] if " of " in lane] == [
        f"child of {name}" for name in members
    ]
    assert {title: len(these) for title, these in lanes.items()} == figure.facts["lanes"]
    for run in three:
        assert figure.facts[run.title]["deliveries"] == 24 * 5
    hashed = {
        row[0]: row
        for row in figure.table().rows
        if row[figure.table().head.index("hashes a password: long, and pure processor")] > 1
    }
    assert {title: row[1] for title, row in hashed.items()} == {
        "nonblocking": "worker",
        "pthread": "thread of zoe",
        "fork": "child of zoe",
    }, "the lanes that hash"
    held = figure.table().head.index("holds the lock")
    assert {row[0] for row in figure.table().rows if row[held]} == {"pthread"}


def test_who_is_late_is_marked(written):
    figure = figures.swimlanes([written().talk().process(10, *READS).load()], guess=1)
    assert figure.facts["pthread"]["late"] == 1 and figure.facts["pthread"]["deliveries"] == 2
    is_whole(
        figure,
        "1 of 2 late",
        "your guess: 1 late",
        "Late (over 10 ms): pthread 1 of 2",
        "thread of ana",
    )


def test_a_guess_of_who_waits_most(written):
    run = written().talk().process(10, *READS).load()
    assert "You guessed fork: it was pthread" in words(figures.swimlanes(run, guess="fork"))
    assert "You guessed pthread: right" in words(figures.swimlanes(run, guess="pthread"))


def test_strangers_alike_are_not_all_drawn(written):
    names = [f"stranger-{number}" for number in range(1, 8)]
    run = written(members=names, groups=dict.fromkeys(names, "guesses passwords"))
    run.process(
        10,
        *[
            (number, number, name, kind, name)
            for number, name in enumerate(names, 1)
            for kind in ("B.hash", "E.hash")
        ],
    )
    is_whole(
        figures.swimlanes(run.load()),
        "and 4 more: each guesses passwords",
        "stranger-3",
        "What clients heard is not known here",
    )


def test_clients_alone_are_drawn(written):
    """A stranger's server, which writes no trace."""
    run = written(design="a server", title="theirs").talk().load()
    is_whole(figures.deliveries(run), "theirs")
    assert (
        "there is no trace" in words(figures.swimlanes(run))
        and "Missing: theirs: there is no trace" in figures.swimlanes(run).caption
    )
    journey = figures.journeys(run)
    is_whole(journey, "the server", "ben", "the inside of the server is not known")
    assert journey.facts["theirs"]["hops"] == []
    with pytest.raises(ValueError, match="no lock in theirs; there is no trace"):
        figures.lock_board(run)
    with pytest.raises(ValueError, match="none of these runs has a loop"):
        figures.loop_turns(run)


def test_one_message_three_journeys(three):
    figure = figures.journeys(three, text="message 3", guess={"fork": 900})
    is_whole(
        figure,
        "three journeys",
        "your guess: 900 µs",
        "thread of carla",
        "child of carla",
        "writer",
        "the hub",
        "all members hear it",
    )
    hops = {title: fact["hops"] for title, fact in figure.facts.items()}
    assert hops == {
        "nonblocking": ["socket"],
        "pthread": ["socket", "memory"],
        "fork": ["socket", "pipe"],
    }
    for run in three:
        heard = {row[1] for row in figure.table().rows if row[0] == run.title and row[2] == "hears"}
        assert (
            heard == set(runs.MEMBERS)
            and figure.facts[run.title]["total"] >= figure.facts[run.title]["sent"] > 0
        )
    for name in runs.MEMBERS:
        assert words(figure).split().count(name) >= 3, "each who hears it, in each of the three"
    with pytest.raises(ValueError, match="nobody heard"):
        figures.journeys(three, text="never said")


def test_the_journey_of_what_was_kept_and_sent_elsewhere(written):
    """Which lock, which thread: a trace by hand, with the writer keeping what ana's thread took in."""
    run = (
        written()
        .talk()
        .process(
            10,
            *READS,
            (10.6, 1, "ana", "B.lock.wait", "room"),
            (10.7, 1, "ana", "E.lock.wait", "room"),
            (10.7, 1, "ana", "B.lock.hold", "room"),
            (10.8, 1, "ana", "E.lock.hold", "room"),
            (10.85, 2, "write", "B.keep", "4-4"),
            (10.9, 2, "write", "E.keep", "4-4"),
            (10.91, 2, "write", "B.send", "4-4"),
            (12, 2, "write", "E.send", "4-4"),
        )
        .load()
    )
    rows = [row[1:] for row in figures.journeys(run).table().rows]
    assert (
        ["thread of ana", "lock.hold", 700.0, 800.0] in rows
        and ["writer", "keep", 850.0, 900.0] in rows
        and ["writer", "send", 910.0, 2000.0] in rows
    )


def test_verdicts_on_deliveries(written):
    run = written().talk().client(40, "ana", "sends", "SAY two\nSAY three\n")
    for who, seqs in ("ana", (5, 6)), ("ben", (6, 6, 5)):
        for place, seq in enumerate(seqs):
            run.client(
                41 + place, who, "hears", f"MSG {seq} {STAMP} ana {['two', 'three'][seq - 5]}"
            )
    run.client(50, "ana", "sends", "SAY four\nSAY five\n").client(
        51, "ana", "hears", f"MSG 7 {STAMP} ana four"
    ).client(52, "ana", "hears", f"MSG 8 {STAMP} ana five").client(
        52, "ben", "hears", f"MSG 8 {STAMP} ana five"
    )
    figure = figures.deliveries(run.load(), guess=4)
    assert figure.facts["pthread"] == {
        "in order": 7,
        "late": 1,
        "out of order": 1,
        "twice": 1,
        "lost": 1,
    }
    is_whole(
        figure, "1 lost, 1 twice, 1 out of order and 1 late", "your guess: 4 not in order, right"
    )


def test_the_lock_board(written):
    run = written().process(
        10,
        (0, 1, "accept", "I.lock", "room: the list of members"),
        (1, 2, "ana", "B.lock.hold", "room"),
        (2, 3, "ben", "B.lock.wait", "room"),
        (7, 2, "ana", "E.lock.hold", "room"),
        (7, 3, "ben", "E.lock.wait", "room"),
        (7, 3, "ben", "B.lock.hold", "room"),
        (8, 3, "ben", "E.lock.hold", "room"),
        (8, 1, "accept", "B.accept", ""),
    )
    figure = figures.lock_board(run.load(), guess="thread of ben")
    is_whole(
        figure,
        "lock `room` guards the list of members",
        "thread of ben",
        "5.0 ms",
        "your guess: thread of ben",
    )
    fact = figure.facts["pthread", "room"]
    assert (
        fact["count"] == 2
        and fact["wait"] == pytest.approx(0.005)
        and fact["hold"] == pytest.approx(0.007)
    )
    assert {pair: round(value * 1e3, 3) for pair, value in fact["pairs"].items()} == {
        ("thread of ben", "thread of ana"): 5.0
    }


def test_the_lock_board_of_a_real_run(three):
    figure = figures.lock_board(three)
    assert (
        list(figure.facts) == [("pthread", "room")]
        and figure.facts["pthread", "room"]["count"] > 10
    )
    is_whole(figure, "the order in which everyone receives them", "writer")


def test_turns_of_a_loop(three, written):
    figure = figures.loop_turns(three, guess=2)
    assert list(figure.facts) == ["nonblocking", "fork"], "pthread has no loop"
    assert all(fact["turns"] >= 3 and fact["longest"] > 0 for fact in figure.facts.values())
    is_whole(figure, "your guess for the longest: 2 ms", "budget: 10 ms")
    run = (
        written(design="nonblocking")
        .process(
            10,
            (1, 1, "loop", "B.wait", ""),
            (2, 1, "loop", "E.wait", "", 3),
            (2.1, 1, "loop", "B.hash", "ana"),
            (41, 1, "loop", "E.hash", "ana"),
            (42, 1, "loop", "B.wait", ""),
            design="nonblocking",
        )
        .load()
    )
    assert figures.loop_turns(run).table().rows == [
        ["nonblocking", 2.0, 40.0, 3, "hashing a password"]
    ]


def test_where_bytes_wait(unread):
    figure = figures.fill(unread, guess=20)
    fact = figure.facts["fork"]
    assert (
        8192 < fact["memory"] <= 32768 + 16384
        and fact["memory"] < fact["peak"]
        and fact["held"] > 0
    )
    is_whole(
        figure,
        "eva was disconnected",
        "your guess: 20 KiB",
        "a pipe is full: 65,536 bytes",
        "nobody is read",
    )
    assert 0 < figure.facts["fork", "pipes"] <= buffers.PIPE


def test_how_full_pipes_are(written):
    run = written(design="fork").process(
        10,
        (3, 1, "hub", "B.pipe.read", "ana"),
        (4, 1, "hub", "E.pipe.read", "ana", 30),
        design="fork",
    )
    run.process(
        11,
        (1, 2, "ana", "B.pipe.write", "hub"),
        (2, 2, "ana", "E.pipe.write", "hub", 50),
        ppid=10,
        design="fork",
    )
    assert {
        way: [level for _, level in line] for way, line in buffers.pipes(run.load()).items()
    } == {("child of ana", "the hub"): [50, 20]}
    with pytest.raises(ValueError, match="nobody was watched"):
        figures.fill(Written(run.folder.parent / "other").talk().load())


def deadlocked(run):
    for thread, mine, other, at in (1, "left", "right", 1), (2, "right", "left", 1.2):
        yield from [
            (at, thread, run[thread - 1], "B.lock.wait", mine),
            (at + 0.1, thread, run[thread - 1], "E.lock.wait", mine),
            (at + 0.1, thread, run[thread - 1], "B.lock.hold", mine),
            (at + 0.5, thread, run[thread - 1], "B.lock.wait", other),
        ]


def test_the_portrait_of_a_deadlock(written):
    run = written().process(10, *deadlocked(("ana", "ben"))).load()
    figure = figures.deadlock(run, guess="thread of ben")
    assert set(figure.facts["ring"]) == {"thread of ana", "thread of ben"}
    is_whole(
        figure,
        "Deadlock",
        "thread of ana wants `right`, which thread of ben holds",
        "(your guess)",
        "never end",
    )


def test_who_only_waits_is_no_deadlock(written):
    run = (
        written()
        .process(
            10,
            (1, 1, "ana", "B.lock.hold", "room"),
            (2, 2, "ben", "B.lock.wait", "room"),
            (3, 1, "ana", "B.recv", "ana"),
        )
        .load()
    )
    figure = figures.deadlock(run)
    assert figure.facts["ring"] == [] and locks.waiting_for(run) == [
        ("thread of ben", "room", "thread of ana")
    ]
    is_whole(figure, "No ring", "thread of ben waits for room, which thread of ana holds")
    with pytest.raises(ValueError, match="nobody waits"):
        figures.deadlock(written("calm").process(10, *READS).load())


def orders(locked):
    for order in sorted(set(itertools.permutations("aabb"))):
        count, schedule = {"a": 0, "b": 0}, []
        for one in order:
            schedule.append(({"a": "ana", "b": "ben"}[one], ("read", "write")[count[one]]))
            count[one] += 1
        good = "".join(order) in ("aabb", "bbaa")
        yield {
            "schedule": schedule,
            "outcome": "counted to 2"
            if good
            else "stuck: ana holds the lock"
            if locked
            else "counted to 1",
            "good": good,
            "possible": good or not locked,
            "done": 1,
        }


@pytest.mark.parametrize(
    "locked, answer",
    [
        (False, "4 of the 6 orders that this program can take go wrong. You guessed 4: right."),
        (
            True,
            "None of the 2 orders that this program can take go wrong; 4 of the 6 it can never "
            "take.",
        ),
    ],
)
def test_interleavings(locked, answer):
    figure = figures.interleavings(list(orders(locked)), guess=None if locked else 4)
    is_whole(figure, answer)
    verdicts = [row[2] for row in figure.table().rows]
    assert (
        verdicts.count("correct") == 2 and verdicts.count("IMPOSSIBLE" if locked else "WRONG") == 4
    )
    assert (
        words(figure).count("IMPOSSIBLE") == (4 if locked else 0) and len(figure.figure.axes) == 6
    )
    with pytest.raises(ValueError, match="no schedule"):
        figures.interleavings([])


def test_the_cost_of_scale(design):
    rows = runs.scale(design, (3, 9), says=3)
    assert [row["clients"] for row in rows] == [3, 9]
    grows = {row["clients"]: (row["processes"], row["threads"]) for row in rows}
    more = grows[9][0] - grows[3][0], grows[9][1] - grows[3][1]
    assert more == {"nonblocking": (0, 0), "pthread": (0, 6), "fork": (6, 6)}[design]
    is_whole(figures.scale(rows, guess={design: 50}), "your guess 50 MB", "memory, MB", design)
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.scale([])


def test_no_figure_touches_the_settings_of_the_program(three):
    before = dict(matplotlib.rcParams)
    figures.swimlanes(three)
    assert dict(matplotlib.rcParams) == before and not matplotlib.pyplot.get_fignums(), (
        "nothing is left open"
    )


def test_texts_of_others_are_no_markup(written):
    run = written(title="<script>").talk().load()
    html = figures.deliveries(run)._repr_html_() + figures.deliveries(run).table()._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_no_run_is_an_error():
    for draw in (
        figures.swimlanes,
        figures.journeys,
        figures.deliveries,
        figures.lock_board,
        figures.loop_turns,
        figures.fill,
    ):
        with pytest.raises(ValueError, match="no run"):
            draw([])
