"""JUnit XML, as Jenkins, GitLab and GitHub's actions read it: a suite for each stage, a case for
each check.

A check that could not be judged is an error, which is neither success nor failure; so is one
that was not run because another did not pass. If no check could be run, the one case is a
failure, with the reason.
"""

from xml.etree import ElementTree

from harness.verdicts.formats.graders import the_server
from harness.verdicts.formats.render import cleaned, in_words
from harness.verdicts.language import say
from harness.verdicts.model import FAILED, PASSED
from harness.verdicts.plugin import STAGES


def junit(report):
    """The Report as JUnit XML."""
    report = cleaned(report)
    root = ElementTree.Element("testsuites", name="grupo", time=f"{report.seconds:.3f}")
    for stage in STAGES:
        if here := [verdict for verdict in report.verdicts if verdict.stage == stage]:
            suite(root, report, stage, here)
    if report.refused:
        suite(root, report, "start", [])
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def suite(root, report, stage, verdicts):
    """The suite of one stage; without verdicts it says that the server was refused."""
    failures = sum(verdict.verdict == FAILED for verdict in verdicts)
    skipped = sum(not verdict.binds for verdict in verdicts)
    errors = sum(verdict.verdict != PASSED and verdict.binds for verdict in verdicts) - failures
    made = ElementTree.SubElement(
        root,
        "testsuite",
        name=stage,
        tests=str(len(verdicts) or 1),
        failures=str(failures if verdicts else 1),
        skipped=str(skipped),
        errors=str(errors),
        time=f"{sum(verdict.seconds for verdict in verdicts):.3f}",
        timestamp=report.started.removesuffix("Z"),
    )
    properties = ElementTree.SubElement(made, "properties")
    ElementTree.SubElement(properties, "property", name="seed", value=report.seed)
    for verdict in verdicts:
        case(made, stage, verdict)
    if not verdicts:
        refused = ElementTree.SubElement(
            made, "testcase", name=the_server(), classname=f"grupo.{stage}.server", time="0.000"
        )
        ElementTree.SubElement(
            refused, "failure", message=report.refused.partition("\n")[0], type="refused"
        ).text = report.refused


def case(made, stage, verdict):
    """The case of one check."""
    one = ElementTree.SubElement(
        made,
        "testcase",
        name=verdict.title,
        classname=f"grupo.{stage}.{verdict.check}",
        time=f"{verdict.seconds:.3f}",
    )
    if verdict.verdict == FAILED:
        what = (verdict.failure and verdict.failure.cause) or verdict.title
        ElementTree.SubElement(
            one,
            "failure",
            message=what,
            type=verdict.failure.sentence if verdict.failure else verdict.check,
        ).text = in_words(verdict)
    elif not verdict.binds:
        ElementTree.SubElement(one, "skipped", message=verdict.why)
    elif verdict.verdict != PASSED:  # no kind of success: a grade is not to rest on it
        ElementTree.SubElement(
            one,
            "error",
            message=f"{say(verdict.verdict)}: {verdict.why}",
            type=verdict.verdict.replace(" ", "-"),
        )
