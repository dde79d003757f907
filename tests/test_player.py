"""The player: what it is made of, and how it plays in Chromium."""

import json
import subprocess
import sys

import pytest
from conftest import browser

from harness.driving.server import ROOT
from harness.tracing import films, runs, traces
from harness.verdicts.formats import player

MARKUP = "<img src=x onerror=document.title='taken'>"
HEADER = {"schema": 1, "design": "pthread", "clock": "CLOCK_MONOTONIC", "sink": "write", "pid": 7}


def folder_of(folder, lines, entries, **about):
    """A run: lines of its one trace file, as (seconds, thread, actor, event, about); a record."""
    (folder / "trace").mkdir(parents=True)
    events = [
        {"t": round(at * 1e9), "p": 7, "th": thread, "a": actor, "e": event, "o": what}
        for at, thread, actor, event, what in lines
    ]
    text = "".join(json.dumps(one) + "\n" for one in [HEADER, *events])
    (folder / "trace" / "7.jsonl").write_text(text)
    (folder / "record.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries))
    about = {"design": "pthread", "pid": 7, "began": 0.0, "span": [0.0, 1.0], "verdict": ""} | about
    (folder / "run.json").write_text(json.dumps(about))
    return folder


# Two threads: one holds the lock, the other one waits for it.
LOCKED = [
    (0.1, 1, "1.1.1.1:1", "B.lock.wait", "room"),
    (0.1, 1, "1.1.1.1:1", "E.lock.wait", "room"),
    (0.1, 1, "1.1.1.1:1", "B.lock.hold", "room"),
    (0.2, 2, "1.1.1.1:2", "B.lock.wait", "room"),
    (0.3, 1, "1.1.1.1:1", "B.keep", "5-5"),
    (0.5, 1, "1.1.1.1:1", "E.keep", "5-5"),
    (0.6, 1, "1.1.1.1:1", "E.lock.hold", "room"),
    (0.6, 2, "1.1.1.1:2", "E.lock.wait", "room"),
    (0.6, 2, "1.1.1.1:2", "B.lock.hold", "room"),
]
SAID = [
    [0.05, "ana", "sends", "SAY hello\n"],
    [0.61, "ben", "hears", f"MSG 5 2026-01-01T00:00:00.000Z ana {MARKUP}"],
]
PEOPLE = {"ana": "1.1.1.1:1", "ben": "1.1.1.1:2"}


def test_a_film_has_each_bar_inside_the_one_around_it(tmp_path):
    film = films.film(traces.load(folder_of(tmp_path / "run", LOCKED, SAID, members=PEOPLE)))
    assert film["lanes"][: film["clients"]] == ["ana", "ben"] and film["length"] == 1_000_000
    lanes, begins, ends, kinds, about = film["bars"]
    rows = [
        (film["lanes"][lane], begin, end, film["kinds"][kind], film["about"][what])
        for lane, begin, end, kind, what in zip(lanes, begins, ends, kinds, about, strict=True)
    ]
    assert ("thread of ben", 200_000, 600_000, "lock.wait", "room") in rows
    assert ("thread of ben", 600_000, -1, "lock.hold", "room") in rows, "the trace has no end of it"
    assert begins == sorted(begins) and film["lines"][0][:3] == [0, 50_000, "sends"]


def test_a_trace_that_is_cut_short_is_played_as_far_as_it_goes(tmp_path):
    folder = folder_of(tmp_path / "run", LOCKED, SAID, members=PEOPLE)
    trace = folder / "trace" / "7.jsonl"
    trace.write_bytes(trace.read_bytes()[:-150])
    film = films.film(traces.load(folder))
    assert len(film["missing"]) == 1 and "cut off" in film["missing"][0]
    assert film["bars"][2] == [100_000, 600_000, -1, 500_000]


def test_the_record_of_a_check_is_a_film_too(tmp_path):
    (tmp_path / "a-check.record").write_text("".join(json.dumps(one) + "\n" for one in SAID))
    to = tmp_path / "a page.html"
    done = subprocess.run(
        [sys.executable, "-m", "harness", "trace", "player", tmp_path / "a-check.record"]
        + ["--to", to, "--lang", "pt-BR"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and str(to) in done.stdout, done.stderr
    page = to.read_text()
    assert "<html lang=pt-BR>" in page and "a-check" in page and MARKUP not in page
    assert "http" not in page.replace("http-equiv", ""), "it needs no network"


def shown(playwright, path, width, scheme="light"):
    """A browser, and a new page of it with this file. Its `wrong` lists what it logs as errors."""
    chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
    page = chromium.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page.wrong.append(line.text))
    page.goto(f"file://{path}")
    page.wait_for_selector(".player table")
    return page


@pytest.mark.long
@pytest.mark.parametrize("width, scheme", [(1280, "light"), (390, "dark")])
def test_it_plays_steps_and_jumps_in_a_browser(width, scheme, tmp_path):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    locked = traces.load(folder_of(tmp_path / "run", LOCKED, SAID, members=PEOPLE, title=MARKUP))
    real = runs.run("fork", "calm", tmp_path / "real")
    path = tmp_path / "page.html"
    path.write_text(player.page("Two runs", [films.film(locked), films.film(real)]))
    with sync_playwright() as playwright:
        page = shown(playwright, path, width, scheme)
        clock = "document.querySelector('.player p').textContent"
        begins = page.evaluate(clock)
        page.get_by_role("button", name="Longest wait").click()
        said = page.locator(".player p[aria-live]")
        assert "thread of ben waits for the lock room: 400.000 ms" in said.inner_text()
        moment = page.locator(".moment > div").first
        assert "waits for the lock room (thread of ana holds it)" in moment.inner_text()
        page.get_by_role("button", name="Step").click()
        after = page.evaluate(clock)
        page.get_by_role("button", name="Back").click()
        assert page.evaluate(clock) != after and page.evaluate(clock) != begins
        page.locator(".player select").select_option("1")
        page.keyboard.press("Home")
        page.get_by_role("button", name="Play").click()
        page.wait_for_function(
            "() => document.querySelector('.player button').textContent[0] === '▶'"
        )
        assert page.evaluate(clock).startswith("1000.000 ms"), "it ends with the longest run"
        assert MARKUP in moment.inner_text() and "receives MSG 5" in moment.inner_text()
        assert "last event number: " in page.locator(".moment > div").last.inner_text()
        page.get_by_role("button", name="First wrong line").click()
        assert said.inner_text() == "No line of these runs is wrong."
        page.get_by_role("button", name="Slowest message").click()
        assert "ms from SAY to receipt" in said.inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page)
        assert not found.violations_count, found.generate_report()
        assert page.wrong == [] and page.title() == "Grupo: Two runs"
