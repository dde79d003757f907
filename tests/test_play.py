"""The page on which a player is the scheduler of a real server: its address, and in Chromium."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from harness.__main__ import main
from harness.driving.server import ROOT
from harness.explore.play import recorded
from harness.explore.play.known import Known
from harness.explore.play.page import recorded_page
from harness.explore.runs import Run
from harness.explore.schedules import Point, Step
from harness.teaching import exhibits
from harness.verdicts import language
from harness.verdicts.formats.scripted import in_script
from tests.conftest import browser

MARKUP = "<img src=x onerror=document.title='taken'>"


# -- What is known


def run_of(*names, shared=False):
    """A run in which each of these takes one step, in a process of its own unless it is shared."""
    steps = [Step(name, "E.recv", "7-9", "p" if shared else name) for name in sorted(names)]
    points, left = [], steps
    for name in names:
        chosen = [step.actor for step in left].index(name)
        points.append(Point(tuple(left), chosen))
        left = [step for step in left if step.actor != name]
    return Run(points)


def last_states(known):
    return [row["run"]["states"][-1] for row in known.log if "run" in row]


def test_orders_that_come_to_the_same_reach_one_state_and_others_do_not():
    known = Known()
    for order in (("a", "b"), ("b", "a"), ("a", "b")):
        known.add(run_of(*order), [])
    assert last_states(known) == [2, 2], "the third is known"
    together = Known()
    for order in (("a", "b"), ("b", "a")):
        together.add(run_of(*order, shared=True), [])
    assert last_states(together) == [2, 4]


def test_the_log_only_grows_and_has_each_step_once():
    known = Known()
    known.add(run_of("a", "b"), [])
    rows = len(known.log)
    known.add(run_of("b", "a"), ["it broke"])
    new = known.since(rows)
    assert [kind for row in known.log for kind in row].count("step") == 2
    assert new[-1]["run"]["end"] == ["it broke"] and known.since(0)[:rows] == known.log[:rows]


def test_nothing_in_the_data_of_a_page_ends_its_element():
    text = "</script><!--<script>&"
    made = str(in_script({"a": text}))
    assert not re.search("[<>&]", made) and json.loads(made)["a"] == text


# -- Over HTTP


@contextlib.contextmanager
def playing(*words, cwd=ROOT):
    """The command, and the address of its page. It ends when it is asked to, and leaves nothing."""
    command = [sys.executable, "-m", "harness", "play", *map(str, words)]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            lines = [process.stdout.readline() for _ in range(2)]
            assert lines[1].startswith("http://127.0.0.1:"), lines + [process.stderr.read()]
            yield process, lines[1].strip()
        finally:
            family = (
                psutil.Process(process.pid).children(recursive=True)
                if process.poll() is None
                else []
            )
            process.send_signal(signal.SIGINT)
            _, err = process.communicate()
    assert process.returncode == 0 and not err, err
    assert not [one for one in family if one.is_running() and one.status() != "zombie"]


def asked(address, body=None, **headers):
    """(status, text) of a request; with a body, of what the page itself sends."""
    if body is not None:
        headers.setdefault("Origin", address[: address.index("/", 8)])
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, data=body, headers=headers)
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wish(here, path, row=0):
    return {"here": here, "path": path, "to_end": False, "guess": "", "row": row}


def state_of(address):
    """What the page shows once the server is held at its gates, or is at its end."""
    version = -1
    while True:
        data = json.loads(asked(f"{address}state?version={version}&row=0")[1])
        if data["view"]["status"] != "starts" and not data["busy"]:
            return data
        version = data["version"]


@pytest.fixture(scope="module")
def address():
    """Of a page of the reference."""
    with playing("--preemptions", 0, "pthread") as (_, address):
        yield address


def test_the_page_is_for_those_alone_that_know_its_address(address):
    before = state_of(address)["view"]["path"]
    here = address[: address.index("/", 8)]
    evil = {"Host": "evil.example"}
    assert asked(address)[0] == 200
    for refused in (
        asked(here + "/"),
        asked(here + "/guess/"),
        asked(address, **evil),
        asked(address + "state?version=-1&row=0", **evil),
        asked(address + "go", wish([], ["ana"]), Origin="http://evil.example"),
        asked(address + "go", wish([], ["ana"]), Origin="null"),
    ):
        assert refused[0] == 403, refused
    for body, status in (
        (b"", 413),
        (b"[" * 5000, 400),
        (b"[]", 400),
        (wish([], [7]), 400),
        (wish([], "ana"), 400),
        (wish([], [], row=-1), 400),
    ):
        assert asked(address + "go", body)[0] == status, body
    assert asked(address + "go", b"x", **{"Content-Length": str(2 << 20)})[0] == 413
    assert asked(address + "nothing")[0] == 404
    assert state_of(address)["view"]["path"] == before, "nothing of this was a choice"


def test_steps_back_another_way_and_a_choice_from_an_old_page(address):
    status, text = asked(address + "go", wish(state_of(address)["view"]["path"], ["ana"]))
    assert status == 200 and json.loads(text)["view"]["path"] == ["ana"]
    status, text = asked(address + "go", wish([], ["ben"]))
    assert status == 409 and json.loads(text)["view"]["path"] == ["ana"]
    status, text = asked(address + "go", wish(["ana"], ["ben", "ana"]))
    view = json.loads(text)["view"]
    assert status == 200 and view["path"] == ["ben", "ana"]
    assert [entry[:2] for entry in view["heard"][:2]] == [["ana", "sends"], ["ben", "sends"]]
    status, text = asked(address + "go", wish(view["path"], ["ben", "nobody"]))
    view = json.loads(text)["view"]
    assert view["path"] == ["ben"] and view["other"] == "nobody"
    assert asked(address + "schedule")[1].split()[:5] == [
        "grupo",
        "schedule",
        "1",
        "one-name",
        "2",
    ]


def server_of(command):
    """The server that is held at its gates for the player: the one of whose clients most is known."""
    return [
        one
        for one in psutil.Process(command.pid).children(recursive=True)
        if "implementations.pthread" in one.cmdline()
    ]


def test_a_server_that_dies_in_the_middle_is_said_and_another_one_goes_on():
    with playing("--preemptions", 0, "pthread") as (command, address):
        state_of(address)
        asked(address + "go", wish([], ["ana"]))
        for server in server_of(command):
            with contextlib.suppress(psutil.Error):
                server.kill()
        data = state_of(address)
        while data["view"]["status"] != "over":
            data = json.loads(asked(f"{address}state?version={data['version']}&row=0")[1])
        assert "the server runs" in data["view"]["end"][0] and "SIGKILL" in data["view"]["end"][1]
        status, text = asked(address + "go", wish(data["view"]["path"], ["ben"]))
        assert status == 200 and json.loads(text)["view"]["path"] == ["ben"]


def test_it_ends_in_order_while_its_servers_start():
    with playing("--workload", "one-join", "--preemptions", 0, "fork"):
        pass  # playing() looks at what it leaves and says


@pytest.mark.parametrize(
    "words, status, says",
    [
        (["--port", 70000, "pthread"], 2, "--port"),
        (["--members", 9, "pthread"], 2, "--members"),
        ([], 2, "name the server"),
        (["--", "/bin/true"], 3, "cannot be explored"),
    ],
)
def test_a_misuse_is_one_line(words, status, says, capsys):
    ended = main(["play", *map(str, words)])
    said = "".join(capsys.readouterr())
    assert ended == status and says in said and said.count("\n") == 1, said


# -- Recorded orders


PAGES = {"en": ROOT / "lab_guide/races.html", "pt-BR": ROOT / "lab_guide/pt-BR/races.html"}


def races_in(page):
    """The recorded races in a page."""
    text = page.read_text(encoding="utf-8")
    data = text.partition("<script type=application/json id=data>")[2].partition("</script>")[0]
    return {race["name"]: race for race in json.loads(data)["races"]}


@pytest.mark.parametrize("spoken", PAGES)
def test_the_page_of_the_races_is_as_it_would_be_made_now(spoken, monkeypatch):
    """But for the orders, which are executed again below."""
    page = PAGES[spoken].read_text(encoding="utf-8")
    recorded_races = races_in(PAGES[spoken])
    assert len(page.encode()) < 1_000_000 and "http://" not in page.replace("http://www.w3.org", "")
    monkeypatch.setattr(language, "in_use", spoken)
    for name, race in recorded.RACES.items():
        for one in (name, f"{name}-fixed"):
            assert recorded_races[one]["about"] == language.say(race.about)
            assert recorded_races[one]["code"] == recorded.code_of(
                ROOT / "lab_guide/races/classics.py", name.replace("-", "_")
            )
            ends = [row["run"].get("end") for row in recorded_races[one]["rows"] if "run" in row]
            assert len(ends) == recorded_races[one]["orders"]
            assert any(ends) == (one == name), "the fix, and nothing else, makes it impossible"
    made = recorded_page([])
    for file in ("play.js", "play.css"):
        text = (ROOT / "harness/explore/play" / file).read_text()
        assert text in made and text in page, "run: python -m lab_guide.site.orders"


@pytest.mark.long
@pytest.mark.parametrize("name", ["torn-line", "lost-wake-up"])
def test_each_order_of_a_race_is_executed_and_comes_out_the_same(name):
    again = json.loads(json.dumps(recorded.record(name, False, ROOT)))
    assert again["rows"] == races_in(PAGES["en"])[name]["rows"]


# -- In a browser


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        yield running
        running.close()


def opened(chromium, address, width=1280, height=900, scheme="light"):
    """A new page of this address. What it logs as an error fails the test, by its list `wrong`."""
    page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page.wrong.append(line.text))
    page.goto(address)
    return page


READY = "#choices button[aria-disabled=false], #now:has(#choices:empty) #back[aria-disabled=false]"


def after(page, act):
    """Do something, and wait until the page shows what came of it."""
    before = page.inner_text("#status")
    act()
    page.wait_for_function(
        "([before, ready]) => document.querySelector('#status').textContent !== before"
        " && document.querySelector(ready)",
        arg=[before, READY],
    )


def accessible(page):
    """What axe-core complains of."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page)
    return found.generate_report() if found.violations_count else ""


def planted(name, folder):
    """The words that play an exhibit."""
    [exhibit] = [one for one in exhibits.all_exhibits() if one.name == name]
    exhibits.build(exhibit, folder)
    return "--in", folder, "--", sys.executable, "-m", f"implementations.{exhibit.design}"


@pytest.mark.long
@pytest.mark.parametrize("width, scheme", [(1280, "light"), (390, "dark")])
def test_a_bad_order_is_found_by_clicks_and_shown_as_the_shortest(
    width, scheme, tmp_path, chromium
):
    with playing("--preemptions", 1, *planted("no-lock", tmp_path)) as (_, address):
        page = opened(chromium, address, width, scheme=scheme)
        page.wait_for_selector(READY)
        page.fill("#guess", MARKUP)
        for name in ("ana", "ben", "ben"):
            after(page, page.get_by_role("button", name=re.compile(rf"^\d {name} ")).first.click)
        after(page, page.locator("#finish").click)
        assert page.inner_text("#status") == "It broke." and "expected" in page.inner_text("#end")
        assert f"guess: {MARKUP}" in page.inner_text("#steps")
        page.wait_for_function("() => document.querySelector('#verdict').className === 'bad'")
        after(page, page.locator("#shortest").click)
        assert page.inner_text("#choices .planned b") == "ana"
        while page.locator("#choices button").count():
            after(page, lambda: page.keyboard.press("ArrowRight"))
        assert page.inner_text("#status") == "It broke."
        after(page, lambda: page.keyboard.press("Home"))
        assert page.inner_text("#status").startswith("Step 1.")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.title() != "taken" and page.wrong == [] and accessible(page) == ""


@pytest.mark.long
def test_on_the_reference_it_is_impossible_in_all_orders(chromium):
    with playing("--preemptions", 0, "--lang", "pt-BR", "pthread") as (_, address):
        page = opened(chromium, address)
        page.wait_for_selector("#verdict.good")
        assert re.match(r"Impossível em todas as \d+ ordens de 2", page.inner_text("#verdict"))
        assert page.get_attribute("html", "lang") == "pt-BR" and page.wrong == []
        other = opened(chromium, address)
        other.wait_for_selector(READY)
        after(other, lambda: other.keyboard.press("2"))
        page.wait_for_function("() => document.querySelector('#status').textContent.includes('2')")
        assert page.inner_text("#steps tbody") == other.inner_text("#steps tbody") != ""
        # The place of the deepest state, in pixels of the drawing
        x, y = page.evaluate("[...places.values()].reduce((a, b) => (b[1] > a[1] ? b : a))")
        after(page, lambda: page.locator("#tree svg").click(position={"x": x, "y": y + 3}))
        assert page.locator("#steps tbody tr").count() > 5, "a place of the tree was clicked"


@pytest.mark.long
def test_what_a_server_writes_is_no_markup(tmp_path, chromium):
    """The name of its lock, and an answer to a client."""
    shutil.copytree(ROOT / "implementations", tmp_path / "implementations")
    for file, old, new in (
        ("pthread.py", '"room"', f'"{MARKUP}"'),
        ("common/room.py", "somebody has that name", MARKUP),
    ):
        place = Path(tmp_path, "implementations", file)
        text = place.read_text()
        assert old in text
        place.write_text(text.replace(old, new))
    words = "--in", tmp_path, "--", sys.executable, "-m", "implementations.pthread"
    with playing("--preemptions", 0, *words) as (_, address):
        page = opened(chromium, address)
        page.wait_for_selector(READY)
        for key in "12":
            after(page, lambda: page.keyboard.press(key))
        assert MARKUP in page.inner_text("#choices") and MARKUP in page.inner_text("#actors")
        after(page, lambda: page.keyboard.press("End"))
        assert MARKUP in page.inner_text("#heard") + page.inner_text("#end")
        assert page.title() != "taken" and page.wrong == []


@pytest.mark.long
def test_the_page_says_that_the_command_has_ended(chromium):
    with playing("--preemptions", 0, "pthread") as (command, address):
        page = opened(chromium, address)
        page.wait_for_selector(READY)
        os.kill(command.pid, signal.SIGINT)
        page.wait_for_function(
            "() => document.querySelector('#status').textContent.includes('The command has ended')"
        )


@pytest.mark.long
@pytest.mark.parametrize("width, scheme", [(1280, "dark"), (390, "light")])
def test_the_races_open_from_disk(width, scheme, chromium):
    page = opened(chromium, f"file://{PAGES['en']}#two-locks", width, scheme=scheme)
    assert "Ana and Ben both need two locks" in page.inner_text("#about")
    for key in "12":
        page.keyboard.press(key)
    assert "a deadlock" in page.inner_text("#end") and page.locator("#choices button").count() == 0
    page.keyboard.press("ArrowLeft")
    assert page.locator("#code li.at").count() == 2
    for name, race in races_in(PAGES["en"]).items():
        page.get_by_role("link", name=race["title"], exact=True).click()
        page.keyboard.press("s")
        page.keyboard.press("End")
        assert page.locator("#choices button").count() == 0
        is_fixed = name.endswith("-fixed")
        assert page.locator("#end").is_hidden() == is_fixed, name
        assert page.inner_text("#verdict").startswith("Impossible") == is_fixed
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.wrong == [] and accessible(page) == ""
