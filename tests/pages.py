"""Measures the pages with scripts, in headless Chromium: python -m tests.pages

A step and a step back of a real server, until the new state is on the screen; a tree of 1,000
orders; the frames while a run of 100,000 events plays. The figures depend on the machine: this
prints them, and asserts nothing.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from harness.explore.play.known import Known
from harness.explore.play.page import made
from harness.explore.runs import Run
from harness.explore.search import Prefix, Tree
from harness.verdicts.formats import player
from tests.conftest import browser
from tests.test_explore import play
from tests.test_play import READY, after, opened, playing

ORDERS, EVENTS, LANES = 1_000, 100_000, 20
STEPS, THINKS = 12, 1.0  # seconds that the player looks at each step
FRAMES = 300

WATCH = """(count) => new Promise((done) => {
  const times = [];
  const frame = (now) => (times.push(now) > count ? done(times) : requestAnimationFrame(frame));
  requestAnimationFrame(frame);
})"""


def told(what, seconds):
    """Print the median and the most of some times."""
    print(
        f"{what}: median {statistics.median(seconds) * 1e3:.1f} ms, at most {max(seconds) * 1e3:.0f} ms"
    )


def steps_of_a_server(chromium):
    """Measure steps, and steps back."""
    with playing("pthread") as (_, address):
        page = opened(chromium, address)
        page.wait_for_selector(READY)
        for what, key in (("a step", "ArrowRight"), ("a step back", "ArrowLeft")):
            took = []
            for _ in range(STEPS):
                time.sleep(THINKS)
                began = time.monotonic()
                after(page, lambda: page.keyboard.press(key))
                took.append(time.monotonic() - began)
            told(what, took)


def tree_of_orders(chromium, folder):
    """Measure a page of many orders: its size, and how long it takes to open."""
    program = {name: [("p", "-")] * 6 for name in "abc"}
    tree, known = Tree(9), Known()
    while len(known.paths) < ORDERS:
        prefix = tree.next()
        points, _ = play(program, Prefix(prefix))
        tree.add(prefix, points)
        known.add(Run(points), ["it breaks"] * (len(known.paths) % 9 == 0), [{"actors": []}] * 19)
    progress = {"text": f"{ORDERS} orders", "whole": False, "impossible": ""}
    race = {"name": "x", "title": "x", "about": "x", "rows": known.log, "code": []}
    path = folder / "tree.html"
    path.write_text(made("Many orders", "", "", [race | {"progress": progress}]))
    began = time.monotonic()
    page = opened(chromium, f"file://{path}")
    page.wait_for_selector("#tree path.edge[d^=M]")
    print(f"{ORDERS} orders: {path.stat().st_size / 1e3:.0f} kB, opens in", end=" ")
    print(f"{time.monotonic() - began:.2f} s; at a step:", end=" ")
    began = time.monotonic()
    after(page, lambda: page.keyboard.press("ArrowRight"))
    print(f"{(time.monotonic() - began) * 1e3:.0f} ms")


def frames_of_a_run(chromium, folder):
    """Measure the frames while a long run plays."""
    chance, length = random.Random(0), 60_000_000
    begins = sorted(chance.randrange(length) for _ in range(EVENTS))
    lanes = [chance.randrange(2, LANES) for _ in begins]
    kinds = ["wait", "lock.wait", "send", "keep"]
    film = {
        "title": f"{EVENTS} events",
        "length": length,
        "clients": 2,
        "lanes": [f"lane {number}" for number in range(LANES)],
        "kinds": kinds,
        "about": ["room"],
        "bars": [
            lanes,
            begins,
            [begin + chance.randrange(500) for begin in begins],
            [chance.randrange(len(kinds)) for _ in begins],
            [0] * EVENTS,
        ],
        "lines": [[0, at, "sends", f"SAY {at}"] for at in begins[::20]],
        "messages": [],
        "samples": [],
        "wrong": None,
        "missing": [],
    }
    path = folder / "run.html"
    path.write_text(player.page("A long run", [film]))
    page = opened(chromium, f"file://{path}")
    page.wait_for_selector(".player table")
    page.locator(".player select").select_option("1")
    for view, zoom in ("the whole run", 0), ("a part of it", 8):
        for _ in range(zoom):
            page.get_by_role("button", name="Zoom in").click()
        page.get_by_role("button", name="Play").click()
        times = page.evaluate(WATCH, FRAMES)
        page.get_by_role("button", name="Pause").click()
        gaps = [(b - a) / 1e3 for a, b in zip(times, times[1:], strict=False)]
        told(f"frames of {view}", gaps)


def main():
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        frames_of_a_run(chromium, Path(folder))
        tree_of_orders(chromium, Path(folder))
        steps_of_a_server(chromium)
        chromium.close()


if __name__ == "__main__":
    main()
