"""JUnit XML, as Jenkins, GitLab and GitHub's actions read it: a suite for each stage, a case for each check."""
from xml.etree import ElementTree

from harness.language import say
from harness.verdicts.formats.told import cleaned, in_words
from harness.verdicts.model import FAILED, PASSED
from harness.verdicts.plugin import STAGES


def junit(report):
    report = cleaned(report)
    root = ElementTree.Element("testsuites", name="grupo", time=f"{report.seconds:.3f}")
    for stage in STAGES:
        here = [verdict for verdict in report.verdicts if verdict.stage == stage]
        if not here:
            continue
        failures = sum(verdict.verdict == FAILED for verdict in here)
        skipped = sum(not verdict.binds for verdict in here)
        suite = ElementTree.SubElement(root, "testsuite", name=stage, tests=str(len(here)), failures=str(failures), skipped=str(skipped),
                                       errors=str(sum(verdict.verdict != PASSED and verdict.binds for verdict in here) - failures),
                                       time=f"{sum(verdict.seconds for verdict in here):.3f}", timestamp=report.started.removesuffix("Z"))
        properties = ElementTree.SubElement(suite, "properties")
        ElementTree.SubElement(properties, "property", name="seed", value=report.seed)
        for verdict in here:
            case = ElementTree.SubElement(suite, "testcase", name=verdict.title, classname=f"grupo.{stage}.{verdict.check}", time=f"{verdict.seconds:.3f}")
            if verdict.verdict == FAILED:
                what = verdict.failure and verdict.failure.cause or verdict.title
                ElementTree.SubElement(case, "failure", message=what, type=verdict.failure.sentence if verdict.failure else "hidden").text = in_words(verdict)
            elif not verdict.binds:
                ElementTree.SubElement(case, "skipped", message=verdict.why)
            elif verdict.verdict != PASSED:     # no kind of success: a grade is not to rest on it
                ElementTree.SubElement(case, "error", message=f"{say(verdict.verdict)}: {verdict.why}", type=verdict.verdict.replace(" ", "-"))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
