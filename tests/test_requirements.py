"""Each rule of lab_guide/protocol.md has an id, and a check or a reason why it has none; each check
names the rules that it checks.
"""

import re
from collections import Counter

from harness.verdicts.catalogue import catalogue
from lab_guide.site import requirements
from lab_guide.site.requirements import ANCHOR, PAGE, PROTOCOL, UNCHECKED

TEXT = PROTOCOL.read_text(encoding="utf-8")
BLOCKS = list(requirements.blocks(TEXT))
RULES = requirements.requirements(TEXT)
NAMED = {rule for check in catalogue() for rule in check.rules}
STATES = re.compile(
    r"(?:^|[.:;|] |\*\*)(?:The|A|Every|Each) server (?!MAY|that|cannot|decides the)"
)
# Tables whose rows are no rules, by their first line: advice, and what binds our servers only.
ADVICE = "| where | what happens", "| file | what |"
# Paragraphs that describe our servers, or lead to the rules.
INFORMATION = (
    "While `crowded` is true, the server applies",
    "The server reads every client one request at a time (section 9.1)",
    "A server that cannot set `SO_SNDBUF`",
    "**Runtime traps.** A server inherits",
)


def test_an_id_is_its_section_and_a_number_in_it():
    assert {
        id_: count for id_, count in Counter(rule.id for rule in RULES).items() if count > 1
    } == {}
    assert len(RULES) == len(ANCHOR.findall(TEXT))  # none in a block of code
    for block in BLOCKS:
        for id_ in ANCHOR.findall(block.text):
            assert id_.rpartition("-")[0] == block.section, id_


def test_each_must_has_an_id():
    """Section 2 says what the word means."""
    musts = [block for block in BLOCKS if "MUST" in block.text and block.section != "2"]
    assert len(musts) > 5
    for block in musts:
        ids = ANCHOR.findall(block.text)
        said = " ".join(rule.text for rule in RULES if rule.id in ids)
        assert block.text.count("MUST") == said.count("MUST"), block.text


def test_each_plain_statement_of_what_a_server_does_has_an_id():
    for block in BLOCKS:
        if 3 <= float(block.section or 0) < 14 and STATES.search(block.text):
            is_information = block.text.startswith(INFORMATION) or "ur servers" in block.text
            assert is_information or ANCHOR.search(block.text), block.text


def test_each_row_of_a_table_of_rules_has_an_id():
    table = ""
    for block, after in zip(BLOCKS, [*BLOCKS[1:], BLOCKS[0]]):
        if not block.text.startswith("|"):
            table = ""
        elif after.text.startswith("|--"):
            table = block.text
        elif 3 <= float(block.section or 0) < 14 and not block.text.startswith("|--"):
            is_free = table.startswith(ADVICE) or block.text.endswith("| no |")
            assert is_free or ANCHOR.search(block.text), block.text


def test_each_rule_has_a_check_or_a_reason():
    assert sorted(rule.id for rule in RULES) == sorted([*NAMED, *UNCHECKED])


def test_each_check_names_a_rule():
    assert [check.id for check in catalogue() if not check.rules] == []
    for check in catalogue():
        assert len(set(check.rules)) == len(check.rules), check.id


def test_the_page_about_them_is_current():
    """`python -m lab_guide.site.requirements` writes it."""
    assert PAGE.read_text(encoding="utf-8") == requirements.draw(TEXT)
