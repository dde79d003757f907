"""JUnit XML, as Jenkins, GitLab and GitHub's actions read it: a suite for each stage, a case for
each check.

A check that could not be judged is an error, which is neither success nor failure; so is one
that was not run because another did not pass. If no check could be run, the one case is a
failure, with the reason.
"""

from xml.etree import ElementTree

from harness.verdicts.formats.graders import the_server
from harness.verdicts.formats.render import cleaned, headline, in_words
from harness.verdicts.language import say
from harness.verdicts.model import FAILED, PASSED
from harness.verdicts.plugin import STAGES


def junit(report):
    """The Report as JUnit XML."""
    report = cleaned(report)
    root = ElementTree.Element("testsuites", name="grupo", time=f"{report.seconds:.3f}")
    add_suites(root, report)
    return as_text(root)


class ClassSuites:
    """The Reports of a class as one JUnit XML, in which each suite bears its student's login."""

    def __init__(self):
        self.root = ElementTree.Element("testsuites", name="grupo")
        self.seconds = 0

    def add(self, report):
        """Adds a Report."""
        report = cleaned(report)
        self.seconds += report.seconds
        add_suites(self.root, report, report.student)

    def as_text(self):
        """The JUnit XML."""
        self.root.set("time", f"{self.seconds:.3f}")
        return as_text(self.root)


def as_text(root):
    """The whole as the text of a file."""
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def add_suites(root, report, whose=""):
    """The suites of one Report. Where it has no verdict, one says that there is no grade, or why
    the server was refused: an empty file would be taken for a success.
    """
    for stage in STAGES:
        if here := [verdict for verdict in report.verdicts if verdict.stage == stage]:
            suite(root, report, stage, here, whose)
    if report.refused:
        suite(root, report, "start", [], whose)
    elif report.look or not report.verdicts:
        suite(root, report, "grade", [], whose)


def suite(root, report, stage, verdicts, whose):
    """The suite of one stage; without verdicts it says why there are none."""
    failures = sum(verdict.verdict == FAILED for verdict in verdicts)
    skipped = sum(not verdict.binds for verdict in verdicts)
    errors = sum(verdict.verdict != PASSED and verdict.binds for verdict in verdicts) - failures
    if not verdicts:
        failures, errors = int(bool(report.refused)), int(not report.refused)
    made = ElementTree.SubElement(
        root,
        "testsuite",
        name=f"{whose}: {stage}" if whose else stage,
        tests=str(len(verdicts) or 1),
        failures=str(failures),
        skipped=str(skipped),
        errors=str(errors),
        time=f"{sum(verdict.seconds for verdict in verdicts):.3f}",
        timestamp=report.started.removesuffix("Z"),
    )
    properties = ElementTree.SubElement(made, "properties")
    ElementTree.SubElement(properties, "property", name="seed", value=report.seed)
    where = f"grupo.{whose}.{stage}" if whose else f"grupo.{stage}"
    for verdict in verdicts:
        case(made, where, verdict)
    if not verdicts:
        one = ElementTree.SubElement(
            made, "testcase", name=the_server(), classname=f"{where}.server", time="0.000"
        )
        why, kind = report.refused or headline(report), "failure" if report.refused else "error"
        ElementTree.SubElement(
            one, kind, message=why.partition("\n")[0], type="refused" if report.refused else "look"
        ).text = why


def case(made, where, verdict):
    """The case of one check."""
    one = ElementTree.SubElement(
        made,
        "testcase",
        name=verdict.title,
        classname=f"{where}.{verdict.check}",
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
