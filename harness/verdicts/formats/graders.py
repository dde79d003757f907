"""What grading systems read, each in its own words. Sources: their documentation, as named at each function.

Points that are no whole numbers are rounded down where a system takes only those.
"""
import csv
import io
import json
import os

from harness.language import say
from harness.verdicts.formats.told import as_json, cleaned, headline, in_words, verdict_in_words
from harness.verdicts.model import PASSED
from harness.verdicts.plugin import STAGES


def own_json(report):
    """All of it, in our own words (schema grupo/check/1), for programs. It tells hidden checks, too: it is not for students."""
    return as_json(cleaned(report, tell_hidden=True).as_dict())


def gradescope(report):
    """results.json, https://gradescope-autograders.readthedocs.io/en/latest/specs/"""
    report = cleaned(report)
    tests = [{"name": f"{say(verdict.stage)}: {verdict.title}", "name_format": "text", "score": verdict.score,
              "max_score": verdict.points if verdict.binds else 0, "status": "passed" if verdict.verdict == PASSED else "failed",
              "output": verdict_in_words(verdict), "output_format": "text",
              "visibility": "after_published" if verdict.hidden else "visible"} for verdict in report.verdicts]
    return as_json({"score": report.score, "execution_time": round(report.seconds), "output": "\n".join([headline(report), *report.notes]),
                    "output_format": "text", "visibility": "visible", "stdout_visibility": "hidden", "tests": tests})


def classroom50(report):
    """result.json, schema classroom50/result/v1: https://github.com/foundation50/classroom50/wiki

    What names the submission comes from the environment of the job.
    """
    report = cleaned(report)
    named = {key: os.environ.get(variable, "") for key, variable in (
        ("classroom", "CLASSROOM"), ("assignment", "ASSIGNMENT"), ("submission", "SUBMISSION_TAG"), ("commit", "COMMIT_URL"),
        ("release", "RELEASE_URL"), ("review", "REVIEW_URL"))}
    tests = [{"test-name": f"{say(verdict.stage)}: {verdict.title}", "passed": verdict.verdict == PASSED, "score": int(verdict.score),
              "max-score": int(verdict.points), "message": quoted(verdict_in_words(verdict))}
             for verdict in report.verdicts if verdict.binds]
    return as_json({"schema": "classroom50/result/v1", **named, "datetime": report.started, "score": sum(test["score"] for test in tests),
                    "max-score": sum(test["max-score"] for test in tests), "tests": tests})


def quoted(text):
    """As a block of code in Markdown, where nothing is a link, a picture or a heading; as plain text no worse."""
    return "\n".join("    " + line for line in text.split("\n"))


def autolab(report):
    """The two last lines on stdout, https://docs.autolabproject.com/lab/ and /features/formatted-feedback/"""
    report = cleaned(report)
    stages = [stage for stage in STAGES if any(verdict.stage == stage for verdict in report.verdicts)]
    words = {"_presentation": "semantic", "stages": stages}
    scores = {}
    for stage in stages:
        here = [verdict for verdict in report.verdicts if verdict.stage == stage and verdict.binds]
        words[stage] = {}
        for verdict in here:
            title = verdict.title if verdict.title not in words[stage] else f"{verdict.title} ({len(words[stage]) + 1})"
            words[stage][title] = {"passed": verdict.verdict == PASSED, **({"hint": verdict.failure.cause} if verdict.failure else {})}
        scores[stage] = sum(verdict.score for verdict in here)
    return f"{json.dumps(words)}\n{json.dumps({'scores': scores, 'scoreboard': [report.score]})}\n"


def prairielearn(report):
    """results.json, https://prairielearn.readthedocs.io/en/latest/externalGrading/"""
    report = cleaned(report)
    tests = [{"name": f"{say(verdict.stage)}: {verdict.title}", "description": say(verdict.verdict), "points": verdict.score,
              "max_points": verdict.points if verdict.binds else 0, "message": (verdict.failure.cause if verdict.failure else verdict.why),
              "output": in_words(verdict)} for verdict in report.verdicts]
    return as_json({"gradable": True, "score": report.score / report.most if report.most else 0, "message": headline(report),
                    "output": "\n".join(report.notes), "tests": tests})


def canvas(report):
    """Two lines for the gradebook's import: https://community.canvaslms.com/docs/DOC-12864 ; the student is --student, by login."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["Student", "ID", "SIS Login ID", "Section", f"Grupo lab {report.lab}"])
    writer.writerow(["    Points Possible", "", "", "", f"{report.most:g}"])
    writer.writerow([cell(report.student), "", cell(report.student), "", f"{report.score:g}"])
    return out.getvalue()


def cell(text):
    """No spreadsheet takes it for a formula."""
    text = cleaned(text)
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t") else text
