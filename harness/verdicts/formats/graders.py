"""What grading systems read, each in its own words. Sources: their documentation and code, as named
at each function.

Points that are no whole numbers are rounded down where a system takes only those.

A Report is graded, refused, or neither (Report.is_graded):

refused     The server does not build or start. That is a grade: 0 of all points, with the reason.
not graded  A check was inconclusive, there was a harness fault, or the run was stopped. No form may
hold a number that a system
            takes for the grade, nor a part of it. Each function says what its system knows for
            that. The exit status of `check` is not 0 then.
"""

import csv
import io
import json
import os
import re

from harness.verdicts.catalogue import catalogue
from harness.verdicts.formats.render import as_json, cleaned, headline, in_words, verdict_in_words
from harness.verdicts.language import say
from harness.verdicts.model import PASSED
from harness.verdicts.plugin import STAGES

MOST_BYTES = 900_000  # of PrairieLearn's results.json; it takes 1 MB
LONGEST, SHORTEST = (
    64_000,
    100,
)  # characters of a test's output, if the whole would be larger: half as many until it fits


def own_json(report):
    """All of it, in our own words (schema grupo/check/1), for programs. It tells hidden checks,
    too: it is not for students.

    `graded` is false if the score is no grade.
    """
    return as_json(cleaned(report, tell_hidden=True).as_dict())


def name_of(verdict):
    """What a check is called in a list of tests: its stage, title and id."""
    return f"{say(verdict.stage)}: {verdict.title}" + (
        "" if verdict.hidden else f" [{verdict.check}]"
    )


def the_server():
    """The one entry for all checks if none could be run."""
    return say("The server starts, so that it can be checked.")


def gradescope(report):
    """results.json, https://gradescope-autograders.readthedocs.io/en/latest/specs/

    Not graded: no score at all. Gradescope asks for one on top, or on each test; without it the
    submission has none, and the instructor sees why. If only some tests had one, their sum would
    be taken for the total. A test that was not judged has no status either.
    """
    report = cleaned(report)
    is_graded, tests = report.is_graded, []
    for verdict in report.verdicts:
        score = {"score": verdict.score} if is_graded else {}
        status = (
            {}
            if verdict.is_unjudged
            else {"status": "passed" if verdict.verdict == PASSED else "failed"}
        )
        tests.append(
            {
                "name": name_of(verdict),
                "name_format": "text",
                **score,
                "max_score": verdict.points if verdict.binds else 0,
                **status,
                "output": verdict_in_words(verdict),
                "output_format": "text",
                "visibility": "after_published" if verdict.hidden else "visible",
            }
        )
    if report.refused:
        tests = [
            {
                "name": the_server(),
                "name_format": "text",
                "score": 0,
                "max_score": report.most,
                "status": "failed",
                "output": report.refused,
                "output_format": "text",
                "visibility": "visible",
            }
        ]
    score = {"score": report.score} if is_graded else {}
    return as_json(
        {
            **score,
            "execution_time": round(report.seconds),
            "output": about(report),
            "output_format": "text",
            "visibility": "visible",
            "stdout_visibility": "hidden",
            "tests": tests,
        }
    )


def about(report):
    """The run in a few lines: its headline, why it was refused, notes."""
    return "\n".join(
        [headline(report), *([report.refused] if report.refused else []), *report.notes]
    )


def classroom50(report):
    """result.json, schema classroom50/result/v1: https://github.com/foundation50/classroom50/wiki

    What names the submission comes from the environment of the job.

    Not graded: 0 of 0, on each test and in all. The schema asks for whole numbers, and 0 of 0 is
    what its runner itself writes for a submission that nothing graded. Give the exit status of
    `check` back as the autograder's: after another than 0 the runner reports an error of the
    infrastructure, and publishes no result.
    """
    report = cleaned(report)
    named = {
        key: os.environ.get(variable, "")
        for key, variable in (
            ("classroom", "CLASSROOM"),
            ("assignment", "ASSIGNMENT"),
            ("submission", "SUBMISSION_TAG"),
            ("commit", "COMMIT_URL"),
            ("release", "RELEASE_URL"),
            ("review", "REVIEW_URL"),
        )
    }
    counts = int(report.is_graded)
    tests = [
        {
            "test-name": name_of(verdict),
            "passed": verdict.verdict == PASSED,
            "score": counts * int(verdict.score),
            "max-score": counts * int(verdict.points),
            "message": quoted(verdict_in_words(verdict)),
        }
        for verdict in report.verdicts
        if verdict.binds
    ]
    if report.refused:
        tests = [
            {
                "test-name": the_server(),
                "passed": False,
                "score": 0,
                "max-score": int(report.most),
                "message": quoted(report.refused),
            }
        ]
    return as_json(
        {
            "schema": "classroom50/result/v1",
            **named,
            "datetime": report.started,
            "score": sum(test["score"] for test in tests),
            "max-score": sum(test["max-score"] for test in tests),
            "tests": tests,
        }
    )


def quoted(text):
    """As a block of code in Markdown, where nothing is a link, a picture or a heading; as plain
    text no worse.
    """
    return "\n".join("    " + line for line in text.split("\n"))


def autolab(report):
    """The two last lines on stdout, https://docs.autolabproject.com/lab/ and
    /features/formatted-feedback/

    Each stage is a problem. Not graded: a stage that could not be judged has no score, and a
    problem without one is not graded ("not all problems need to be autograded"); the scoreboard
    is left out. If no stage could be judged, each has null: of an empty list of scores Autolab
    makes a 0 for every problem (AssessmentAutogradeCore.saveAutograde), and null stays empty.
    """
    report = cleaned(report)
    stages = [
        stage for stage in STAGES if any(verdict.stage == stage for verdict in report.verdicts)
    ]
    words = {"_presentation": "semantic", "stages": stages}
    scores = {}
    for stage in stages:
        here = [verdict for verdict in report.verdicts if verdict.stage == stage and verdict.binds]
        words[stage] = {}
        for verdict in here:
            title = (
                verdict.title
                if verdict.title not in words[stage]
                else f"{verdict.title} ({len(words[stage]) + 1})"
            )
            hint = (
                verdict.failure.cause
                if verdict.failure
                else ""
                if verdict.verdict == PASSED
                else verdict_in_words(verdict)
            )
            words[stage][title] = {
                "passed": verdict.verdict == PASSED,
                **({"hint": hint} if hint else {}),
            }
        if report.is_graded or (report.complete and all(verdict.is_judged for verdict in here)):
            scores[stage] = sum(verdict.score for verdict in here)
    scores = scores or dict.fromkeys(stages or STAGES)
    if report.refused:
        words = {
            "_presentation": "semantic",
            "stages": ["start"],
            "start": {the_server(): {"passed": False, "hint": report.refused}},
        }
        scores = {
            check.stage: 0 for check in catalogue() if check.is_asked(report.lab, report.design)
        }
    board = {"scoreboard": [report.score]} if report.is_graded else {}
    return f"{json.dumps(words)}\n{json.dumps({'scores': scores, **board})}\n"


def prairielearn(report):
    """results.json, https://prairielearn.readthedocs.io/en/latest/externalGrading/

    Not graded: `gradable` is false, so that no points are given or lost and no attempt is used
    up; then there is no score, and, as either all tests have points or none, none has. The file
    must stay below 1 MB: a large one is shortened.
    """
    report = cleaned(report)
    is_graded, tests = report.is_graded, []
    for verdict in report.verdicts:
        points = (
            {"points": verdict.score, "max_points": verdict.points if verdict.binds else 0}
            if is_graded
            else {}
        )
        tests.append(
            {
                "name": name_of(verdict),
                "description": say(verdict.verdict),
                **points,
                "message": verdict.failure.cause if verdict.failure else verdict.why,
                "output": in_words(verdict),
            }
        )
    if report.refused:
        tests = [
            {
                "name": the_server(),
                "points": 0,
                "max_points": report.most,
                "message": report.refused,
            }
        ]
    grade = {"gradable": True, "score": report.score / report.most if report.most else 0}
    if not is_graded:
        grade = {"gradable": False, "format_errors": [headline(report)]}
    written = {
        **grade,
        "message": headline(report),
        "output": about(report).partition("\n")[2],
        "tests": tests,
    }
    most = LONGEST
    while len(text := as_json(written)) > MOST_BYTES and most > SHORTEST:
        most //= 2
        for part in (written, *tests):
            part.update(
                {
                    name: f"{part[name][:most]} ..."
                    for name in ("output", "message")
                    if len(part.get(name, "")) > most
                }
            )
    return text


def canvas(report):
    """Two lines for the gradebook's import: https://community.canvaslms.com/docs/DOC-12864 ; the
    student is --student, by login.

    Not graded: the cell is empty. That is no score for Canvas; if there was one, its import asks
    before it takes it away.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["Student", "ID", "SIS Login ID", "Section", f"Grupo lab {report.lab}"])
    writer.writerow(["    Points Possible", "", "", "", f"{report.most:g}"])
    writer.writerow(
        [
            cell(report.student),
            "",
            cell(report.student),
            "",
            f"{report.score:g}" if report.is_graded else "",
        ]
    )
    return out.getvalue()


# Where a spreadsheet takes what follows for a formula: at the beginning of a cell, and after what
# another country's spreadsheet takes for the end of one.
FORMULA = re.compile(r"(^|[,;|])(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20]\s*\S)")


def cell(text):
    """A text for a table, in one line: no spreadsheet takes it, or a part of it, for a formula."""
    return FORMULA.sub(r"\1\2'", cleaned(text.replace("\n", " / ")))
