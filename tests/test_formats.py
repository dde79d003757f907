"""Every form of a report: each fits its schema, and none obeys or loses what a hostile server
wrote.
"""

import csv
import io
import json
import os
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
from conftest import browser
from hypothesis import given
from hypothesis import strategies as st

from harness.driving.record import Entry, difference
from harness.verdicts import catalogue
from harness.verdicts.formats import FORMATS, render, terminal
from harness.verdicts.formats.page import lanes_of, page, swimlanes
from harness.verdicts.locks import Span
from harness.verdicts.model import Failure, Report, Verdict, verdict_from
from harness.verdicts.plugin import STAGES

SCHEMAS = Path(__file__).parent / "schemas"
HOSTILE = "\x1b[2J\x1b]0;t\x07 ]]> <script>alert(1)</script> </pre> & \" ' \x00\x0b\udcff\ud800\ufffe\r\n::error::x\n=cmd|' /C calc'!A1\n# [x](y) ![z](w)\n\u202e"


def report(text="all is well", hidden=False, student="ana"):
    """One of each kind of verdict, and `text` wherever a server's or a user's text may stand."""
    failure = Failure(
        "silent",
        [f"ana sends {text}"],
        f"expected {text}",
        f"came {text}",
        "It did not answer.",
        "protocol.md#5",
        "run 2",
        f"replay {text}",
        [
            Entry(0.1, "ana", "sends", text),
            Entry(0.2, "ben", "hears", text),
            Entry(0.3, "server", "warns", text),
            Entry(0.4, "owner", "types", text),
        ],
        locks=[
            Span(0.25, text, "holds", text, 0.001),
            Span(0.26, text, "waits", text, None),
            Span(0.27, "", "more", "", 0.5, 3),
        ],
        order=[["ana", f"B.keep {text}", text, False], [text, "E.recv", "", True]],
    )
    stages = list(STAGES)
    verdicts = [
        Verdict("greets", stages[1], "Everyone is greeted.", "passed", 2, seconds=0.25),
        Verdict(
            "answers-ping",
            stages[1],
            "A PING is answered.",
            "failed",
            1.5,
            failure=failure,
            hidden=hidden,
        ),
        Verdict("who", stages[2], "A list of members.", "inconclusive", 1, why=text),
        Verdict("ban", stages[3], "A ban.", "harness fault", 1, why=text),
        Verdict("limits", stages[4], "A limit.", "not run", 1, binds=False, why=text),
        Verdict("order", stages[5], "One order.", "not run", 3, why=text),
    ]
    return Report(
        ["./server", text],
        None,
        3,
        "abc",
        "2026-11-22T13:21:28Z",
        "2 cores",
        "/tmp/x",
        student=student,
        seconds=3.25,
        notes=[text],
        verdicts=verdicts,
    )


def graded(text="all is well", **options):
    """The same without what could not be judged."""
    found = report(text, **options)
    found.verdicts = [verdict for verdict in found.verdicts if not verdict.is_unjudged]
    return found


def stopped(text="all is well", **options):
    """One that was ended before its time: what it learnt is right, and not all."""
    found = graded(text, **options)
    found.complete = False
    return found


def refused(text="all is well", student="ana"):
    """One of a server that cannot be checked at all."""
    return Report(
        ["./server"],
        None,
        0,
        "abc",
        "2026-11-22T13:21:28Z",
        "2 cores",
        "",
        student=student,
        refused=f"server.c does not compile: {text}",
        possible=19,
    )


KINDS = {
    "graded": graded,
    "not graded": report,
    "stopped": stopped,
    "refused": refused,
    "nothing": lambda text="", student="": Report(
        ["x"],
        None,
        3,
        "abc",
        "2026-11-22T13:21:28Z",
        "2 cores",
        "",
        student=student,
        complete=False,
        notes=[text],
    ),
}


def fits(name, text):
    import jsonschema  # here: it takes seconds, and each worker imports this file

    jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text())).validate(
        json.loads(text)
    )


TEXTS = (
    st.sampled_from([HOSTILE, "", "=1+1"])
    | st.text(st.characters(exclude_categories=()))
    | st.text("\x00\x1b\r\n\t<>&:=\"'\ud800")
)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_each_form_fits_its_schema_whatever_the_server_wrote(kind, text):
    found = KINDS[kind](text, student=text)
    fits("check", FORMATS["json"](found))
    for name in "gradescope", "classroom50", "prairielearn":
        fits(name, FORMATS[name](found))
    feedback, scores = FORMATS["autolab"](found).splitlines()
    fits("autolab-feedback", feedback)
    fits("autolab-scores", scores)


@pytest.fixture(scope="module")
def junit_schema():
    return xmlschema.XMLSchema(str(SCHEMAS / "junit.xsd"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["all is well", HOSTILE, "\x00", "]]>", "\ud800"])
def test_junit_fits_its_schema(text, kind, junit_schema):
    junit_schema.validate(FORMATS["junit"](KINDS[kind](text)))


# Controls, format characters, surrogates, private use, noncharacters, odd spaces, fillers,
# variation selectors.
OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    "\u2800\u3000\u3164\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001fffe\U0001ffff\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_no_form_holds_what_a_reader_might_obey(kind, text):
    for name, form in FORMATS.items():
        written = form(KINDS[kind](text, student=text))
        written.encode()  # no lone surrogate
        told = (
            json.loads(written) if name not in ("junit", "html", "canvas", "autolab") else written
        )
        for part in texts_in(told):
            assert not OBEYED.search(part), name


def texts_in(found):
    """All texts in what JSON held."""
    if isinstance(found, dict):
        found = [*found, *found.values()]
    return (
        [found]
        if isinstance(found, str)
        else [text for part in found for text in texts_in(part)]
        if isinstance(found, list)
        else []
    )


@pytest.mark.parametrize(
    "text, as_shown",
    [
        ("a\x1b[2J", "a<U+001B>[2J"),
        ("a\u202eb", "a<U+202E>b"),
        ("a\xa0", "a<U+00A0>"),
        ("\u200ba", "<U+200B>a"),
        ("\ufeffa", "<U+FEFF>a"),
        ("\ue000", "<U+E000>"),
        ("\U0010fffd", "<U+10FFFD>"),
        ("\ud800", "<U+D800>"),
        ("\udcff", "<byte FF>"),
        ("\udc80\udc7f", "<byte 80><U+DC7F>"),
        ("\ufffe", "<U+FFFE>"),
        ("a\tb\r", "a<U+0009>b<U+000D>"),
        ("\x85\x9b", "<U+0085><U+009B>"),
        ("\u2028", "<U+2028>"),
        ("\U000e0041", "<U+E0041>"),
        ("\u3164", "<U+3164>"),
        ("\ufe0f", "<U+FE0F>"),
        ("ol\xe1 \u2603 \U0001f600 n\u0303 \u4e2d", "ol\xe1 \u2603 \U0001f600 n\u0303 \u4e2d"),
        ("a" + "\u0301" * 6, "a" + "\u0301" * 4 + "<U+0301><U+0301>"),
        ("a\nb", "a\nb"),
        ("a b ", "a b "),
    ],
)
def test_what_cannot_be_seen_is_shown_by_its_number(text, as_shown):
    assert render.clean(text) == as_shown


def test_the_mark_below_a_difference_stays_below_it():
    came = difference("ab\x00\x00d", "ab\x00\x00c")
    shown = render.clean(came).split("\n")
    assert shown[1] == " " * shown[0].index("d") + "^"
    assert render.clean("a\x00\n ^ nothing more came") == "a<U+0000>\n ^ nothing more came"
    assert render.clean("   ^ as a server wrote it") == "   ^ as a server wrote it"


def test_html_has_only_our_elements_and_loads_nothing():
    plain, hostile = (elements(FORMATS["html"](report(text))) for text in ("all is well", HOSTILE))
    assert plain == hostile
    assert not {"script", "img", "iframe", "link", "object", "a[http]"} & {
        name for name, _ in plain
    }
    assert all(
        not value.startswith(("http", "//", "javascript"))
        for _, attributes in plain
        for _, value in attributes
    )


def elements(text):
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append(
        (tag, [(key, value or "") for key, value in attributes])
    )
    parser.feed(text)
    return found


def several(count, wrong=None, sentence="silent", replay="make check LAB=0 SEED=abc ONLY=CHECK"):
    """A Report in which the last `count` checks of the catalogue's beginning failed, the hardest
    first, and two passed.
    """
    checks = [check for check in catalogue.catalogue() if check.lab == 0][: count + 2]
    entries = [
        Entry(0.1, "ana", "sends", "SAY a\n"),
        Entry(0.2, "ben", "hears", "MSG 2 T ana b"),
        Entry(0.3, "server", "exits", "status 1"),
    ]
    verdicts = [
        Verdict(
            check.id,
            check.stage,
            check.title,
            "failed",
            check.points,
            failure=Failure(
                sentence,
                ["ana says a."],
                "MSG 2 T ana a",
                "MSG 2 T ana b\n            ^",
                "A cause.",
                "protocol.md#5",
                "",
                replay.replace("CHECK", check.id),
                entries,
                wrong,
            ),
        )
        for check in reversed(checks[2:])
    ]
    verdicts += [
        Verdict(check.id, check.stage, check.title, "passed", check.points) for check in checks[:2]
    ]
    return Report(
        ["./server"],
        None,
        0,
        "abc",
        "2026-11-22T13:21:28Z",
        "2 cores",
        "/tmp/x",
        student="Ana Souza",
        seconds=3.25,
        verdicts=verdicts,
    )


def test_html_opens_with_whose_it_is_and_what_failed_linked_and_the_passed_are_folded():
    found = several(9)
    written = FORMATS["html"](found)
    head, body = written.split("</header>")
    assert "<b>Ana Souza</b>" in head and f"<h1>{found.score:g} of {found.most:g} points" in head
    links = re.findall(r"<a href='#(f\d+)'><code>([a-z0-9-]+)</code></a>", head)
    assert (
        [name for _, name in links][0]
        == render.first_to_fix(found).check
        == min((v.check for v in found.of("failed")), key=catalogue.place)
    )
    assert {name for _, name in links} == {verdict.check for verdict in found.of("failed")}
    assert head.index("<details><summary>3 more failed") > head.index(links[5][1])
    assert [
        (anchor, name)
        for anchor, name in re.findall(
            r"<section class=failure id=(f\d+)>.*?<code>([a-z0-9-]+)</code>", body, re.DOTALL
        )
    ] == links
    assert re.search(r"<details><summary>2 passed</summary>.*starts.*greets", body, re.DOTALL)
    assert body.index("<section class=failure") < body.index("2 passed")


@pytest.mark.parametrize("wrong, marked", [(None, 0), (1, 1), (0, 1), (2, 1), (3, 1)])
def test_the_first_wrong_event_is_marked_in_the_drawing_in_the_table_and_in_words(wrong, marked):
    found = several(1, wrong)
    written = FORMATS["html"](found)
    drawing, table = written[written.index("<div class=diagram") :].split("<tbody>")[:2]
    assert (
        drawing.count("<li class=wrong>")
        == drawing.count("the first wrong one")
        == table.count("<tr class=wrong>")
        == marked
    )
    rows = re.findall(r"<li[^>]*>.*?(?=<li|</ol>)", drawing, re.S)
    assert len(rows) == 3 + (wrong == 3) and ["wrong" in row for row in rows] == [
        place == wrong for place in range(len(rows))
    ]
    assert (
        "SAY a" in rows[0]
        and "MSG 2 T ana b" in rows[1]
        and ("arrow to right" in rows[0])
        and ("arrow from right" in rows[1])
        and "own" in rows[2]
    )
    lines = render.events(found.of("failed")[0].failure)
    assert [line.endswith("<-- the first wrong one") for line in lines] == [
        place == wrong for place in range(len(lines))
    ]
    assert lines[:2] == [
        "0.100 ana sends SAY a" + "   <-- the first wrong one" * (wrong == 0),
        "0.200 ben receives MSG 2 T ana b" + "   <-- the first wrong one" * (wrong == 1),
    ]
    assert lines[3:] == (["nothing more came   <-- the first wrong one"] if wrong == 3 else [])
    for name in "gradescope", "prairielearn", "junit":
        assert ("the first wrong one" in FORMATS[name](found)) is bool(marked)


def test_in_words_only_the_events_around_the_wrong_one_are_told():
    entries = [Entry(number / 10, "ana", "hears", f"line {number}") for number in range(40)]
    failure = replace(several(1).of("failed")[0].failure, slice=entries, wrong=20)
    assert [line.split(" ")[4] for line in render.events(failure)] == [
        str(number) for number in range(15, 23)
    ]
    assert (
        len(render.events(replace(failure, wrong=None))) <= 8
        and render.events(replace(failure, slice=[], wrong=None)) == []
    )


def test_the_terminal_names_each_check_and_says_with_which_to_begin():
    found = several(4)
    with terminal.screen.capture() as shown:
        for verdict in found.verdicts:
            terminal.show(verdict)
        terminal.summary(found)
        terminal.progress(found)
        terminal.advise(found)
    text = shown.get()
    for verdict in found.verdicts:
        assert f" {verdict.verdict}  {verdict.stage}: {verdict.check}  {verdict.title}" in text
    first = min((verdict.check for verdict in found.of("failed")), key=catalogue.place)
    assert text.endswith(f"\n4 failed; begin with `{first}`: make check ONLY={first}\n")


def test_it_begins_with_a_failure_of_what_every_check_begins_with():
    found = several(4)
    first, *_, last = sorted(found.of("failed"), key=lambda verdict: catalogue.place(verdict.check))
    assert render.first_to_fix(found) is first
    last.failure.sentence = "never-listens"
    assert render.first_to_fix(found) is last
    last.hidden = True
    assert render.first_to_fix(found) is first
    for verdict in found.verdicts:
        verdict.hidden = True
    assert render.first_to_fix(found) is None and render.advice(found) == ""


def test_the_command_to_begin_with_is_the_whole_one_where_there_is_no_makefile():
    found = several(2, replay="python -m harness check --seed abc --only CHECK -- ./server")
    first = render.first_to_fix(found).check
    assert (
        render.advice(found)
        == f"2 failed; begin with `{first}`: python -m harness check --seed abc --only {first} -- "
        f"./server"
    )
    found.verdicts = found.verdicts[:1]
    assert render.advice(found) == ""  # the only check that was run says it itself
    assert (
        render.to_try(replace(several(1).of("failed")[0], check="x[a]")) == "make check ONLY='x[a]'"
    )


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width, height", [(1280, 800), (390, 844)])
def test_html_in_a_browser(width, height, scheme, tmp_path):
    """No sideways scroll, at most one screen to the first failure, the scheme of the system, and
    dark text on white paper.
    """
    from playwright.sync_api import sync_playwright

    found = several(12, wrong=1)
    long = Entry(0.4, "a-client-with-a-rather-long-name", "hears", "x" * 3000)
    for verdict in found.of("failed")[:3]:
        verdict.failure.slice += [
            long,
            *(Entry(0.5, f"m{number}", "hears", "OUT 3 T x") for number in range(9)),
        ]
        verdict.failure.actual, verdict.failure.replay = "y" * 3000, "make check ONLY=" + "z" * 300
    (tmp_path / "page.html").write_text(FORMATS["html"](found))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        shown = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        shown.goto(f"file://{tmp_path}/page.html")
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert (
            shown.evaluate("document.querySelector('section.failure').getBoundingClientRect().top")
            < height
        )
        brightness = "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"
        assert (shown.evaluate(brightness) > 128) is (scheme == "light")
        shown.click("header a >> nth=3")
        assert (
            shown.evaluate("Math.abs(document.querySelector('#f4').getBoundingClientRect().top)")
            < height
        )
        shown.emulate_media(media="print", color_scheme=scheme)
        assert shown.evaluate(brightness) == 255
        chromium.close()


def test_html_tells_a_failure_whole():
    text = "x" * 5000
    assert FORMATS["html"](report(text)).count(text) >= 5


def test_no_cell_of_canvas_is_a_formula():
    for student in "=1+1", "+1", "-1", "@x", HOSTILE:
        for row in csv.reader(io.StringIO(FORMATS["canvas"](report(student=student)))):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)


def test_canvas_header():
    rows = list(csv.reader(io.StringIO(FORMATS["canvas"](graded()))))
    assert (
        rows[0][0] == "Student"
        and rows[0][1] == "ID"
        and "Section" in rows[0][3]
        and rows[1][0].strip() == "Points Possible"
    )
    assert rows[2][2] == "ana" and rows[2][4] == "2"


def test_in_markdown_nothing_of_the_server_is_markup():
    for test in json.loads(FORMATS["classroom50"](report(HOSTILE)))["tests"]:
        assert all(line.startswith("    ") for line in test["message"].split("\n"))


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"json"}))
def test_of_a_hidden_check_only_its_points_are_told(name):
    written = FORMATS[name](report("a secret text", hidden=True))
    assert (
        "A PING is answered" not in written
        and "answers-ping" not in written
        and "a secret text was" not in written
    )
    assert "did not answer" not in written


def test_json_tells_the_instructor_hidden_checks():
    assert "A PING is answered" in FORMATS["json"](report(hidden=True))


def test_only_passed_scores_and_what_does_not_bind_is_no_part_of_the_most():
    found = report()
    assert (found.score, found.most) == (2, 2 + 1.5 + 1 + 1 + 3)
    root = ElementTree.fromstring(FORMATS["junit"](found))
    assert [
        len(root.findall(f".//{kind}")) for kind in ("testcase", "failure", "error", "skipped")
    ] == [6, 1, 3, 1]
    found = graded()
    assert (found.score, found.most) == (2, 2 + 1.5 + 3)
    assert json.loads(FORMATS["gradescope"](found))["score"] == 2
    assert json.loads(FORMATS["prairielearn"](found))["score"] == pytest.approx(2 / 6.5)
    assert (
        json.loads(FORMATS["classroom50"](found))["score"] == 2
        and json.loads(FORMATS["classroom50"](found))["max-score"] == 2 + 1 + 3
    )
    assert json.loads(FORMATS["autolab"](found).splitlines()[1]) == {
        "scores": {"framing": 2, "dialogues": 0, "owner": 0},
        "scoreboard": [2],
    }
    assert cell_of(found) == "2" and json.loads(FORMATS["json"](found))["graded"] is True


def cell_of(found):
    return list(csv.reader(io.StringIO(FORMATS["canvas"](found))))[2][4]


@pytest.mark.parametrize("kind", ["not graded", "stopped", "nothing"])
def test_what_could_not_be_judged_is_no_0(kind):
    """Nor a part of the points: no form holds a number that a grading system takes for the grade."""
    found = KINDS[kind]()
    assert not found.is_graded and json.loads(FORMATS["json"](found))["graded"] is False
    written = json.loads(FORMATS["gradescope"](found))
    assert "score" not in written and not any("score" in test for test in written["tests"])
    written = json.loads(FORMATS["prairielearn"](found))
    assert (
        written["gradable"] is False
        and "score" not in written
        and written["format_errors"][0].startswith("No grade: ")
    )
    assert not any("points" in test for test in written["tests"])
    written = json.loads(FORMATS["classroom50"](found))
    assert (written["score"], written["max-score"]) == (0, 0) and all(
        (test["score"], test["max-score"]) == (0, 0) for test in written["tests"]
    )
    scores = json.loads(FORMATS["autolab"](found).splitlines()[1])
    assert "scoreboard" not in scores and (
        kind == "not graded" or set(scores["scores"].values()) == {None}
    )
    assert cell_of(found) == ""
    assert FORMATS["html"](found).count("No grade: ") == 1


def test_a_check_that_could_not_be_judged_is_told_as_such():
    found = report()
    tests = {
        test["name"].rpartition("[")[2][:-1]: test
        for test in json.loads(FORMATS["gradescope"](found))["tests"]
    }
    assert [
        tests[check].get("status") for check in ("greets", "answers-ping", "who", "ban", "order")
    ] == ["passed", "failed", None, None, "failed"]
    root = ElementTree.fromstring(FORMATS["junit"](found))
    assert [error.get("type") for error in root.iter("error")] == [
        "inconclusive",
        "harness-fault",
        "not-run",
    ]
    assert json.loads(FORMATS["autolab"](found).splitlines()[1])["scores"] == {
        stage: score for stage, score in ((list(STAGES)[1], 2), (list(STAGES)[4], 0))
    }
    descriptions = [
        test["description"] for test in json.loads(FORMATS["prairielearn"](found))["tests"]
    ]
    assert descriptions == [
        "passed",
        "failed",
        "inconclusive",
        "harness fault",
        "not run",
        "not run",
    ]


def test_a_server_that_cannot_be_checked_has_0_of_all_points_and_the_reason_in_every_form():
    found = refused("line 3")
    assert found.is_graded and (found.score, found.most) == (0, 19)
    written = json.loads(FORMATS["gradescope"](found))
    assert written["score"] == 0 and [
        (test["score"], test["max_score"]) for test in written["tests"]
    ] == [(0, 19)]
    written = json.loads(FORMATS["prairielearn"](found))
    assert written["gradable"] and written["score"] == 0
    written = json.loads(FORMATS["classroom50"](found))
    assert (written["score"], written["max-score"], written["tests"][0]["passed"]) == (0, 19, False)
    assert json.loads(FORMATS["autolab"](found).splitlines()[1]) == {
        "scores": {"start": 0, "framing": 0, "dialogues": 0},
        "scoreboard": [0],
    }
    assert cell_of(found) == "0" and ",19\n" in FORMATS["canvas"](found)
    root = ElementTree.fromstring(FORMATS["junit"](found))
    assert [suite.get("failures") for suite in root] == ["1"] and root.find(
        ".//failure"
    ).text == found.refused
    for name in set(FORMATS) - {"canvas"}:
        assert "server.c does not compile: line 3" in FORMATS[name](found), name
    with terminal.screen.capture() as shown:
        terminal.summary(found)
    assert "0 of 19 points" in shown.get() and "server.c does not compile: line 3" in shown.get()


def test_prairielearn_takes_no_more_than_a_megabyte():
    found = graded("x" * 90_000)
    found.verdicts *= 40
    written = FORMATS["prairielearn"](found)
    assert len(written) < 1_000_000 and json.loads(written)["score"] == found.score / found.most
    fits("prairielearn", written)


def test_a_verdict_reads_back_from_its_json():
    for verdict in report().verdicts:
        assert verdict_from(json.loads(json.dumps(asdict(verdict)))) == verdict


@given(TEXTS)
def test_the_terminal_obeys_nothing(text):
    with terminal.screen.capture() as shown:
        for verdict in report(text).verdicts:
            terminal.show(verdict)
    assert not OBEYED.search(shown.get())


def test_in_github_actions_no_line_is_a_command(monkeypatch, capsys):
    monkeypatch.setitem(os.environ, "GITHUB_ACTIONS", "true")
    end = terminal.begin()
    end()
    first, last = capsys.readouterr().out.splitlines()
    token = first.removeprefix("::stop-commands::")
    assert len(token) == 32 and last == f"::{token}::"


def test_an_order_of_steps_is_drawn_in_lanes_with_where_one_had_to_stop():
    order = [
        ["ana", "E.recv ana", "server.py:9", False],
        ["ana", "B.lock.wait room", "server.py:12", False],
        ["ben", "E.recv ben", "server.py:9", True],
        ["ana", "B.keep 4-4", "", False],
    ]
    lanes = lanes_of(order)
    assert [name for name, _ in lanes["names"]] == ["ana", "ben"]
    across, top = dict(lanes["names"]), [y for _, y, _, _ in lanes["steps"]]
    assert [x for x, *_ in lanes["steps"]] == [across[who] for who, *_ in order]
    assert top == sorted(set(top)), "time runs down"
    assert [x for x, _, _ in lanes["runs"]] == [across["ana"], across["ben"], across["ana"]]
    assert [x for x, _ in lanes["stops"]] == [across["ana"]] and len(lanes["switches"]) == 2
    baselines = sorted([y for _, y, *_ in lanes["steps"]] + [y + 4 for _, y in lanes["stops"]])
    assert min(b - a for a, b in pairwise(baselines)) > 12, "texts lie over each other"
    drawn = swimlanes(order * 200)
    assert "<svg" in drawn and "server.py:12" in drawn and "500 further steps" in drawn


def test_a_page_without_an_order_of_steps_has_no_lanes():
    found = report()
    assert "<svg" in page(found)
    for verdict in found.verdicts:
        if verdict.failure:
            verdict.failure.order = []
    assert "<svg" not in page(found)
