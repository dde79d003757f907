"""Runs are read back as far as they can be read, and what is missing is said. The traces here are
written by hand: each shows one thing.
"""

import json
import sys

import pytest

from harness.driving.server import DESIGNS
from harness.tracing import runs, traces

STAMP = "2026-01-01T00:00:00.000Z"


class Written:
    """A run's folder, written by hand. Times are milliseconds since the record began, which was at
    1000 s.
    """

    def __init__(self, folder, design="pthread", members=("ana", "ben"), pid=10, **about):
        self.folder, self.addresses = (
            folder,
            {name: f"127.0.0.1:{5000 + number}" for number, name in enumerate(members)},
        )
        (folder / "trace").mkdir(parents=True, exist_ok=True)
        self.about = {
            "schema": 1,
            "design": design,
            "title": design,
            "workload": "calm",
            "pid": pid,
            "began": 1000.0,
            "members": self.addresses,
            "span": [0.0, 0.1],
            **about,
        }
        self.entries = []

    def process(self, pid, *events, ppid=1, design="pthread", tail="", schema=1):
        """A trace file. An event is (ms, thread, actor, "B.kind", about, amount)."""
        lines = [
            {
                "schema": schema,
                "design": design,
                "pid": pid,
                "ppid": ppid,
                "mono": pid,
                "sink": "write",
            }
        ]
        lines += [
            {
                "t": int(1000e9 + at * 1e6),
                "p": pid,
                "th": thread,
                "a": self.addresses.get(actor, actor),
                "e": kind,
                "o": self.addresses.get(about, about),
                **({"n": more[0]} if more else {}),
            }
            for at, thread, actor, kind, about, *more in events
        ]
        (self.folder / "trace" / f"{pid}.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines) + tail
        )
        return self

    def client(self, at, who, what, text=""):
        self.entries.append([at / 1e3, who, what, text])
        return self

    def talk(self):
        """Both come in; ana says one thing, and both hear it: ben 20 ms later."""
        for name, s in ("ana", 1), ("ben", 2):
            self.client(1, name, "connects").client(2, name, "sends", f"JOIN {name} secret\n")
            for line in "HELLO grupo/1 g", "PENDING", f"WELCOME {s} {name}":
                self.client(3, name, "hears", line)
        self.client(3, "ana", "hears", f"IN 2 {STAMP} ana").client(
            4, "ana", "hears", f"IN 3 {STAMP} ben"
        ).client(4, "ben", "hears", f"IN 3 {STAMP} ben")
        self.client(10, "ana", "sends", "SAY one\n").client(
            11, "ana", "hears", f"MSG 4 {STAMP} ana one"
        ).client(30, "ben", "hears", f"MSG 4 {STAMP} ana one")
        return self

    def load(self):
        (self.folder / "run.json").write_text(json.dumps(self.about))
        if self.entries:
            (self.folder / "record.jsonl").write_text(
                "".join(
                    json.dumps(entry) + "\n"
                    for entry in sorted(self.entries, key=lambda entry: entry[0])
                )
            )
        return traces.load(self.folder)


@pytest.fixture
def written(tmp_path):
    return lambda **about: Written(tmp_path / "run", **about)


READS = (5, 1, "ana", "B.recv", "ana"), (10.5, 1, "ana", "E.recv", "ana", 8)


def test_deliveries_have_a_latency_and_a_verdict(written):
    run = written().talk().process(10, *READS).load()
    assert [(one.listener, one.verdict, round(one.latency * 1e3)) for one in run.deliveries] == [
        ("ana", "in order", 1),
        ("ben", "late", 20),
    ]
    assert run.missing == []


def test_lost_twice_and_out_of_order_are_told_apart(written):
    run = written().talk()
    run.client(40, "ana", "sends", "SAY two\nSAY three\nSAY four\n")
    for seq, text in (5, "two"), (6, "three"), (7, "four"):
        run.client(41, "ana", "hears", f"MSG {seq} {STAMP} ana {text}")
    for at, seq, text in (42, 6, "three"), (43, 5, "two"), (44, 6, "three"), (45, 8, "five"):
        run.client(at, "ben", "hears", f"MSG {seq} {STAMP} ana {text}")
    verdicts = {(one.seq, one.verdict) for one in run.load().deliveries if one.listener == "ben"}
    assert verdicts >= {(5, "out of order"), (6, "in order"), (6, "twice"), (7, "lost")}


def test_how_long_bytes_lay_unread(written):
    ((key, sent, read, who),) = [
        wake for wake in written().talk().process(10, *READS).load().wakes() if wake[1] > 0.005
    ]
    assert (who, round((read - sent) * 1e3, 3), key[0]) == ("ana", 0.5, 10)


def test_a_line_that_a_kill_cut_off(written):
    run = written().talk().process(10, *READS, tail='{"t": 10000123, "p": 10, "th"').load()
    assert len(run.events) == 2 and "1 line of the trace is cut off or damaged" in run.missing


@pytest.mark.parametrize(
    "line",
    [
        "[1, 2]",
        '"x"',
        "{}",
        '{"t": "now", "p": 1, "th": 1, "a": "x", "e": "B.recv"}',
        '{"t": 1, "p": 1, "th": 1, "a": "x", "e": "nothing"}',
        "\x00\xff",
    ],
)
def test_lines_that_are_no_events(written, line):
    run = written().talk().process(10, *READS, tail=line + "\n").load()
    assert len(run.events) == 2 and "1 line of the trace is cut off or damaged" in run.missing


def test_two_servers_in_one_folder(written):
    run = (
        written(pid=10)
        .talk()
        .process(10, *READS)
        .process(11, (20, 11, "ben", "B.wait", ""), ppid=10)
        .process(70, (1, 70, "loop", "B.wait", ""), design="nonblocking")
        .load()
    )
    assert {event.process for event in run.events} == {10, 11}, (
        "the server of this run, and its child"
    )
    assert any("2 servers" in what and "process 10" in what for what in run.missing)


def test_files_that_are_no_traces(written):
    run = written().talk().process(10, *READS).process(12, schema=9)
    (run.folder / "trace" / "13.jsonl").write_text('{"t": 1}\n')
    (run.folder / "trace" / "14.jsonl").write_text("")
    run = run.load()
    assert (
        len(run.events) == 2
        and sum("left out" in what for what in run.missing) == 2
        and any("schema 9" in what for what in run.missing)
    )


def test_what_never_ended(written):
    run = (
        written()
        .process(10, (5, 1, "ana", "B.lock.wait", "room"), (6, 1, "ana", "E.recv", "nobody"))
        .load()
    )
    (left,) = run.open()
    assert left.kind == "lock.wait" and left.end is None and run.end_of(left) == 0.1


def test_clients_alone(written):
    """A stranger's server writes no trace."""
    run = written().talk().load()
    assert len(run.deliveries) == 2 and run.lanes == [] and run.source == "no trace"
    assert run.missing == ["there is no trace: what happened inside the server is not shown"]


def test_a_trace_alone(written, tmp_path):
    folder = written().process(10, *READS).folder / "trace"
    run = traces.load(folder)
    assert len(run.events) == 2 and run.events[0].at == 0 and run.design == "pthread"
    assert any("no record" in what for what in run.missing) and any(
        "run.json" in what for what in run.missing
    )


def test_nothing_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither"):
        traces.load(tmp_path)


def test_a_damaged_record_and_run(written):
    run = written().talk()
    run.load()
    (run.folder / "run.json").write_text("{")
    with open(run.folder / "record.jsonl", "a") as file:
        file.write('[1, "ana"]\n[1.0, "an')
    run = traces.load(run.folder)
    assert (
        any("run.json" in what for what in run.missing)
        and "2 lines of the record cannot be read" in run.missing
        and len(run.deliveries) == 2
    )


# -- Real ones -------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("sink", ["write", "mem"])
def test_a_run_tells_of_every_message(design, sink, tmp_path):
    run = runs.run(design, "calm", tmp_path, sink=sink)
    assert run.about["verdict"] == "" and run.missing == [] and run.sink == sink
    assert len(run.deliveries) == 20 * 5 and all(
        one.latency is not None and 0 < one.latency < 5 for one in run.deliveries
    )
    for seq in {one.seq for one in run.deliveries}:
        kept, sent = (
            [one for one in run.of(kind) if traces.is_about(one, seq)] for kind in ("keep", "send")
        )
        assert len(kept) == 1 and len(sent) == 1, f"message {seq}"
        assert all(one.heard >= sent[0].begin for one in run.deliveries if one.seq == seq), (
            "one clock"
        )
    lanes = [lane.name for lane in run.lanes]
    assert lanes[0] == {"nonblocking": "the loop", "pthread": "accept", "fork": "the hub"}[design]
    assert [lane.member for lane in run.lanes if lane.member] == (
        [] if design == "nonblocking" else list(runs.MEMBERS)
    )


def killed(stage):
    """The server is killed in the middle."""
    stage.says("ana", "one")
    stage.crowd.fence()
    stage.server.process.kill()  # not by us, as the record has it
    stage.server.process.wait()
    stage.server.orphans_gone()
    stage.crowd.until(lambda: all(person.ended for person in stage.crowd))


@pytest.mark.parametrize("design", DESIGNS)
def test_a_server_that_is_killed_in_the_middle(design, tmp_path):
    run = runs.run(design, killed, tmp_path)
    assert "the server closed the connection" in run.about["verdict"]
    assert len(run.deliveries) == 5 and run.open(), "what there is, is there"


def test_a_run_takes_the_place_of_the_one_before(tmp_path):
    for _ in range(2):
        run = runs.run("nonblocking", "half-a-line", tmp_path)
    assert run.missing == []


def test_a_server_that_is_not_ours(tmp_path):
    """Clients only; and no flag that only ours have."""
    run = runs.run(
        [sys.executable, "-m", "implementations.nonblocking"],
        "half-a-line",
        tmp_path,
        title="theirs",
    )
    assert (
        run.title == "theirs"
        and not run.headers
        and len(run.deliveries) == 25 * 5
        and run.about["verdict"] == ""
    )
