"""Figures show what is in the runs: so many lanes, so many late deliveries, these locks; and each
says it in words, and as a table.
"""

import copy
import itertools
import re
import statistics
from types import SimpleNamespace

import matplotlib.pyplot
import numpy
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text

from harness.tracing import figures, runs
from harness.tracing.figures import base, buffers, costs, locks, loops, small, verdicts
from harness.tracing.figures.swimlanes import BARS
from harness.tracing.traces import LATE
from harness.verdicts import language
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
    assert html.startswith("<figure ") and html.endswith("</figcaption></figure>")
    assert html.count('role="img" aria-label=') == 2, "one for wide and one for narrow screens"
    assert html.count("<text") > 10, "texts that can be selected"
    assert '<a download="figure.png" href="data:image/png;base64,' in html, "a link to full size"
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids)), "no id is in both drawings"
    assert not re.search(r"(fill|stroke): ?#(000000|ffffff)\b", html), "it follows the page"
    assert figure.svg() == figure.svg() and figure.png()[:4] == b"\x89PNG"
    text = words(figure)
    for word in says:
        assert word in text or word in figure.caption, (
            f"{word!r} is not in {text!r} {figure.caption!r}"
        )


def lines(panel, label):
    """(x, y) of all points that are drawn with this label on a panel."""
    found = [line for line in panel.lines if line.get_label() == label]
    return [point for line in found for point in zip(*line.get_data(), strict=True)]


def overlapping(figure):
    """Pairs of texts that are drawn over each other, or over the edge of the drawing."""
    figure.figure.canvas.draw()
    whole = figure.figure.bbox
    found = list(figure.figure.texts)
    for panel in figure.figure.axes:
        found += [
            *panel.texts,
            panel._left_title,
            panel.title,
            panel.xaxis.label,
            panel.yaxis.label,
        ]
        low, high = sorted(panel.get_ylim())
        if panel.axison:
            ticks = [tick for tick in panel.yaxis.get_major_ticks() if tick.label1.get_visible()]
            found += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    texts = [
        (text.get_text(), text.get_window_extent()) for text in found if text.get_text().strip()
    ]
    pairs = [
        (one, other)
        for (one, box), (other, box_) in itertools.combinations(texts, 2)
        if box.shrunk(0.9, 0.7).overlaps(box_.shrunk(0.9, 0.7))
    ]
    return pairs + [text for text, box in texts if box.x1 > whole.x1 + 3 or box.x0 < -3]


def test_one_colour_has_one_meaning():
    meanings = [base.ALARM, base.GUESS, base.WAIT_LOCK, base.HOLD_LOCK, base.PIPE, base.SEND]
    meanings += [base.HASH, base.FORK, base.HELD_UP, base.RECV, base.ACCEPT, base.OUTBOX]
    assert len({colour.lower() for colour in meanings}) == len(meanings)
    states = [shade for shade, *_ in BARS.values()]
    states += [shade for shade, *_ in loops.CAUSES.values()]
    assert not {base.ALARM, base.GUESS} & set(states), "no state looks like an alarm or a guess"
    alarms = {name: shade for name, (_, shade, *_) in verdicts.LOOKS.items()}
    assert {shade for name, shade in alarms.items() if name != "in order"} == {base.ALARM}


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
    for one in figure, figure.narrow():
        panels, strips = one.figure.axes[::2], one.figure.axes[1::2]
        for run, panel, strip in zip(three, panels, strips, strict=True):
            fact = one.facts[run.title]
            late, good = lines(strip, "late"), lines(strip, "in time")
            assert (len(late), len(late) + len(good)) == (fact["late"], fact["deliveries"])
            assert f"{fact['late']} of {fact['deliveries']} late" in strip.get_title(loc="left")
            begin, end = panel.get_xlim()
            hashed = next(one for one in run.of("hash") if one.begin > run.span[0])
            assert begin < (hashed.begin - run.span[0]) * 1e3 < end, "what the title asks is shown"


def test_who_is_late_is_marked(written):
    figure = figures.swimlanes([written().talk().process(10, *READS).load()], guess=1)
    assert figure.facts["pthread"]["late"] == 1 and figure.facts["pthread"]["deliveries"] == 2
    assert len(lines(figure.figure.axes[1], "late")) == 1
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
    figure = figures.swimlanes(run.load())
    assert not overlapping(figure) and not overlapping(figure.narrow()), "no name is cut"
    is_whole(
        figure,
        "and 4 more: a client that guesses passwords",
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
        "The way of one message",
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


def test_three_journeys_of_the_same_message(three):
    """Text and picture name one sender; a wild guess takes no room from the data."""
    figure = figures.journeys(three, guess=1e6)
    assert len({fact["sender"] for fact in figure.facts.values()}) == 1
    longest = max(fact["total"] for fact in figure.facts.values()) * 1e6
    for one in figure, figure.narrow():
        for run, panel in zip(three, one.figure.axes, strict=True):
            assert max(panel.get_ylim()) < 2 * longest
            ends = [text.xy[1] for text in panel.texts if getattr(text, "arrow_patch", None)]
            assert max(ends) == pytest.approx(one.facts[run.title]["total"] * 1e6)
        assert "your guess: 1,000,000 µs (↓)" in words(one)
        assert not overlapping(one)


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
    drawn = {verdict: len(lines(figure.figure.axes[0], verdict)) for verdict in verdicts.LOOKS}
    assert drawn == figure.facts["pthread"]


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
    panel = figure.figure.axes[0]
    drawn = {to_hex(bar.get_facecolor(), keep_alpha=True): 0.0 for bar in panel.patches}
    for bar in panel.patches:
        drawn[to_hex(bar.get_facecolor(), keep_alpha=True)] += bar.get_width()
    waits, holds = drawn[f"{base.WAIT_LOCK.lower()}ff"], drawn["#00000000"]
    assert (waits, holds) == (pytest.approx(5.0), pytest.approx(7.0))


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
    for fact, panel in zip(figure.facts.values(), figure.figure.axes, strict=True):
        marks = [group for group in panel.collections if isinstance(group, PathCollection)]
        tall = [y for group in marks for _, y in group.get_offsets()]
        assert len(tall) == fact["turns"]
        assert sum(y > loops.BUDGET * 1e3 for y in tall) == fact["over"]
        assert max(tall) == pytest.approx(fact["longest"] * 1e3)
        assert panel.get_ylim()[0] < 2 < panel.get_ylim()[1], "the guess is on the panel"
    assert not overlapping(figure), "the guess is not struck through"
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
    assert 8192 < fact["memory"] <= 32768 + 16384 and fact["kernel"] > 0 and fact["held"] > 0
    longer, gone = copy.copy(unread), buffers.gone_at(unread)
    longer.samples = [*unread.samples, (gone + 0.01, *unread.samples[-1][1:])]
    assert all(one.at <= gone for one in buffers.backlog(longer)), "nothing waits for it then"
    panel = figure.figure.axes[0]
    layers = {layer.get_label(): layer.get_paths()[0].vertices for layer in panel.collections}
    top = layers["memory"][:, 1].max()
    assert top == pytest.approx(fact["memory"] / 1024), "the headline's number is what is drawn"
    at_top = layers["memory"][layers["memory"][:, 1] == top][:, 0]
    assert at_top.max() > at_top.min(), "the highest step has a width"
    assert -layers["receive"][:, 1].min() == pytest.approx(fact["kernel"] / 1024)
    limits = {line.get_ydata()[0] for line in panel.lines if line.get_color() == base.ALARM}
    assert limits == {16, 32}, "the limits are measured from zero, as the memory is"
    is_whole(
        figure,
        "eva was disconnected",
        "your guess: 20 KiB",
        "a pipe is full: 65,536 bytes",
        "nobody is read",
    )
    assert 0 < figure.facts["fork", "pipes"] <= buffers.PIPE
    wild = figures.fill(unread, guess=500)
    for one in wild, wild.narrow():
        assert "your guess: 500 KiB (↑)" in words(one)
        assert not [pair for pair in overlapping(one) if "your guess" in "".join(pair)]


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
        "never ends",
    )
    for one in figure, figure.narrow():
        assert not overlapping(one), "no label is over another one"


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
    figure = figures.scale(rows, guess={design: 50})
    is_whole(figure, "your guess 50 MB", "memory, MB", design)
    for panel, field in zip(figure.figure.axes, costs.PANELS, strict=True):
        _, show, factor = costs.PANELS[field]
        drawn = lines(panel, design)[-1][1]
        assert drawn == pytest.approx(rows[-1][field] * factor)
        assert f"{design} {show(drawn)}" in [text.get_text() for text in panel.texts]
    guesses = {
        to_hex(line.get_color())
        for line in figure.figure.axes[1].lines
        if len(line.get_xdata()) == 1
    }
    assert guesses == {base.GUESS.lower()}
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.scale([])


def test_labels_of_the_cost_of_scale_keep_apart():
    rows = [
        {
            "design": design,
            "clients": clients,
            "latency": 0.03,
            "memory": 1e7 * clients,
            "processes": 1,
            "threads": clients + 1,
        }
        for design in base.DESIGNS
        for clients in (10, 1000)
    ]
    figure = figures.scale(rows, guess={"fork": 1e5})
    for one in figure, figure.narrow():
        assert not overlapping(one)


# -- The notebooks' small pictures -----------------------------------------------------------------


def test_cuts():
    pieces = [b"one\n", b"tw", b"o\nthree\n", b"four", b"\n"]
    figure = small.cuts(pieces, 4, 8)
    is_whole(figure, "3 of 5 pieces end with a line (your guess: 4)")
    assert len(lines(figure.figure.axes[0], "cut")) == 5 - figure.facts["whole"] == 2


def test_latencies_are_those_of_the_storm():
    """A calm time before and after it makes no server look better."""
    calm = [(at / 10, 0.001) for at in range(10)]
    runs = {
        "nonblocking": ([*calm, (1.1, 0.002), (1.2, 0.02), (1.3, 0.004)], (1.0, 2.0)),
        "password-hash-in-the-loop": ([*calm, (1.0, 0.7), (1.7, 0.9)], (1.0, 2.5)),
    }
    figure = small.latencies(
        runs, 20, "How long does Ana wait?", "Each mark is a line of Ana's. " * 3
    )
    is_whole(
        figure,
        "median 4.0 ms, worst 20.0 ms, 1 of 3 lines late",
        "median 800 ms, worst 900 ms, 2 of 2 lines late",
        "your guess: 20",
    )
    for (name, (_, storm)), panel in zip(runs.items(), figure.figure.axes, strict=True):
        drawn = [y for x, y in lines(panel, "late") + lines(panel, "in time") if x >= storm[0]]
        assert statistics.median(drawn) == pytest.approx(1e3 * figure.facts[name]["median"])
        assert max(drawn) == pytest.approx(1e3 * figure.facts[name]["worst"])
        assert (
            len([y for _, y in lines(panel, "late") if y > LATE * 1e3])
            == figure.facts[name]["late"]
        )


def test_lines_that_are_heard():
    runs = {"fork": ([0.1, 0.2, 1.0], 0.5), "blocking-send-in-the-loop": ([0.1, 0.2], None)}
    figure = small.heard(runs, 800, "How many lines does Ben hear?", "A step for each line. " * 3)
    is_whole(figure, "fork: 3 lines", "nothing more", "your guess: 800 (↑)", "is disconnected")
    for count, panel in zip(figure.facts.values(), figure.figure.axes, strict=True):
        assert panel.lines[0].get_ydata()[-1] == count and panel.get_ylim()[1] < 10
    for out in 0.05, 0.4, 0.95:
        runs["fork"] = [0.1, 0.2, 1.0], out
        figure = small.heard(runs, 8000, "How many lines does Ben hear?", "A step for each line. ")
        assert not overlapping(figure) and not overlapping(figure.narrow()), out


def test_torn_lines():
    figure = small.torn({512: (400, 0), 4097: (400, 7)}, 9, of=4097, limit=4096)
    is_whole(figure, "7 of 400", "your guess: 9", "torn lines")
    panel = figure.figure.axes[0]
    assert [bar.get_height() for bar in panel.patches] == [0, 7], "counts, as the guess is"
    guess = [line for line in panel.lines if line.get_color() == base.GUESS]
    assert guess[0].get_ydata()[0] == 9


def test_bars_have_no_ticks_between_numbers():
    held = {
        which: {"processes": count} for which, count in zip(base.DESIGNS, (1, 1, 11), strict=True)
    }
    figure = small.bars(held, 300, "What does each server use?")
    is_whole(figure, "fork: processes 11", "your guess: 300 →")
    panel = figure.figure.axes[0]
    assert [bar.get_width() for bar in panel.patches] == [1, 1, 11]
    assert panel.get_xlim()[1] < 20, "a wild guess takes no room from the data"
    assert all(float(tick).is_integer() for tick in panel.get_xticks())
    axis = small.bars(held, 1, "?").narrow().figure.axes[0]
    assert all(numpy.isclose(tick, round(tick)) for tick in axis.get_xticks())


def test_a_board_is_a_table():
    title = "a line whose bytes come one by one is one line, however long it takes " * 2
    found = {
        "greets": SimpleNamespace(verdict="passed", title="HELLO comes first"),
        "a-line-in-pieces": SimpleNamespace(verdict="failed", title=title),
    }
    figure = small.board(found, 1, "How many fail?", "Each row is one check.")
    html = figure._repr_html_()
    assert "1 of 2 fail (your guess: 1)" in html and title in html, "no title is cut"
    assert html.count("font-weight: bold") == len(figure.facts["failed"]) == 1


def test_in_portuguese(three):
    """Titles, answers, captions and labels; nothing of ours in English is left."""
    language.use("pt-BR")
    try:
        figure = figures.swimlanes(three)
        text = words(figure) + figure.caption + figure.alt
        journeys = figures.journeys(three)
        for one in journeys, journeys.narrow(), figure, figure.narrow():
            assert not overlapping(one), "longer words have room, too"
    finally:
        language.use("en")
    assert "quem mais precisa esperar?" in text and "processo" in text
    assert not re.search(r"\b(the|waits|sends|median|late|over)\b", text), text


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
