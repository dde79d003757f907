"""Every form of a report: each fits its schema, and none obeys or loses what a hostile server wrote."""
import csv
import io
import json
import os
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from harness.record import Entry
from harness.verdicts.formats import FORMATS, terminal
from harness.verdicts.model import Failure, Report, Verdict, verdict_from
from harness.verdicts.plugin import STAGES

SCHEMAS = Path(__file__).parent / "schemas"
HOSTILE = "\x1b[2J\x1b]0;t\x07 ]]> <script>alert(1)</script> </pre> & \" ' \x00\x0b\udcff\ud800\ufffe\r\n::error::x\n=cmd|' /C calc'!A1\n# [x](y) ![z](w)\n\u202e"


def report(text="all is well", hidden=False, student="ana"):
    """One of each kind of verdict, and `text` wherever a server's or a user's text may stand."""
    failure = Failure("silent", [f"ana sends {text}"], f"expected {text}", f"came {text}", "It did not answer.", "protocol.md#5", "run 2", f"replay {text}",
                      [Entry(0.1, "ana", "sends", text), Entry(0.2, "ben", "hears", text), Entry(0.3, "server", "warns", text), Entry(0.4, "owner", "types", text)])
    stages = list(STAGES)
    verdicts = [Verdict("greets", stages[1], "Everyone is greeted.", "passed", 2, seconds=0.25),
                Verdict("answers-ping", stages[1], "A PING is answered.", "failed", 1.5, failure=failure, hidden=hidden),
                Verdict("who", stages[2], "Who is here.", "inconclusive", 1, why=text), Verdict("ban", stages[3], "A ban.", "harness fault", 1, why=text),
                Verdict("limits", stages[4], "A limit.", "not run", 1, binds=False, why=text), Verdict("order", stages[5], "One order.", "not run", 3, why=text)]
    return Report(["./server", text], None, 3, "abc", "2026-11-22T13:21:28Z", "2 cores", "/tmp/x", student=student, seconds=3.25, notes=[text], verdicts=verdicts)


def fits(name, text):
    import jsonschema           # here: it takes seconds, and each worker imports this file
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text())).validate(json.loads(text))


TEXTS = st.sampled_from([HOSTILE, "", "=1+1"]) | st.text(st.characters(exclude_categories=())) | st.text("\x00\x1b\r\n\t<>&:=\"'\ud800")


@given(TEXTS)
def test_each_form_fits_its_schema_whatever_the_server_wrote(text):
    found = report(text, student=text)
    fits("check", FORMATS["json"](found))
    for name in "gradescope", "classroom50", "prairielearn":
        fits(name, FORMATS[name](found))
    feedback, scores = FORMATS["autolab"](found).splitlines()
    fits("autolab-feedback", feedback)
    fits("autolab-scores", scores)


@pytest.fixture(scope="module")
def junit_schema():
    return xmlschema.XMLSchema(str(SCHEMAS / "junit.xsd"))


@pytest.mark.parametrize("text", ["all is well", HOSTILE, "\x00", "]]>", "\ud800"])
def test_junit_fits_its_schema(text, junit_schema):
    junit_schema.validate(FORMATS["junit"](report(text)))


@given(TEXTS)
def test_no_form_holds_what_a_reader_might_obey(text):
    for name, render in FORMATS.items():
        written = render(report(text, student=text))
        written.encode()                                                            # no lone surrogate
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", written), name


def test_html_has_only_our_elements_and_loads_nothing():
    plain, hostile = (elements(FORMATS["html"](report(text))) for text in ("all is well", HOSTILE))
    assert plain == hostile
    assert not {"script", "img", "iframe", "link", "object", "a[http]"} & {name for name, _ in plain}
    assert all(not value.startswith(("http", "//", "javascript")) for _, attributes in plain for _, value in attributes)


def elements(text):
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, [(key, value or "") for key, value in attributes]))
    parser.feed(text)
    return found


def test_html_tells_a_failure_whole():
    text = "x" * 5000
    assert FORMATS["html"](report(text)).count(text) >= 5


def test_no_cell_of_canvas_is_a_formula():
    for student in "=1+1", "+1", "-1", "@x", "\t=1", HOSTILE:
        for row in csv.reader(io.StringIO(FORMATS["canvas"](report(student=student)))):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)


def test_canvas_header():
    rows = list(csv.reader(io.StringIO(FORMATS["canvas"](report()))))
    assert rows[0][0] == "Student" and rows[0][1] == "ID" and "Section" in rows[0][3] and rows[1][0].strip() == "Points Possible"
    assert rows[2][2] == "ana" and rows[2][4] == "2"


def test_in_markdown_nothing_of_the_server_is_markup():
    for test in json.loads(FORMATS["classroom50"](report(HOSTILE)))["tests"]:
        assert all(line.startswith("    ") for line in test["message"].split("\n"))


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"json"}))
def test_of_a_hidden_check_only_its_points_are_told(name):
    written = FORMATS[name](report("a secret text", hidden=True))
    assert "A PING is answered" not in written and "answers-ping" not in written and "a secret text was" not in written
    assert "did not answer" not in written


def test_json_tells_the_instructor_hidden_checks():
    assert "A PING is answered" in FORMATS["json"](report(hidden=True))


def test_only_passed_scores_and_what_does_not_bind_is_no_part_of_the_most():
    found = report()
    assert (found.score, found.most) == (2, 2 + 1.5 + 1 + 1 + 3)
    assert json.loads(FORMATS["gradescope"](found))["score"] == 2
    assert json.loads(FORMATS["prairielearn"](found))["score"] == pytest.approx(2 / 8.5)
    root = ElementTree.fromstring(FORMATS["junit"](found))
    assert [len(root.findall(f".//{kind}")) for kind in ("testcase", "failure", "error", "skipped")] == [6, 1, 3, 1]


def test_a_verdict_reads_back_from_its_json():
    for verdict in report().verdicts:
        assert verdict_from(json.loads(json.dumps(asdict(verdict)))) == verdict


@given(TEXTS)
def test_the_terminal_obeys_nothing(text):
    with terminal.screen.capture() as shown:
        for verdict in report(text).verdicts:
            terminal.show(verdict)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown.get())


def test_in_github_actions_no_line_is_a_command(monkeypatch, capsys):
    monkeypatch.setitem(os.environ, "GITHUB_ACTIONS", "true")
    end = terminal.begin()
    end()
    first, last = capsys.readouterr().out.splitlines()
    token = first.removeprefix("::stop-commands::")
    assert len(token) == 32 and last == f"::{token}::"
