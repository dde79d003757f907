"""Lists the requirements of protocol.md and their checks: python -m lab_guide.site.requirements.

A requirement is one rule of protocol.md that can be tested. An empty anchor with its id is before
its sentence, or in its row of a table: <a id="9.2-3"></a>. An id is its section and a number in
that section. It is stable: a new rule gets the next free number, wherever it is in the section.

Each check names the requirements that it checks, in @check(..., rules="9.2-3"). UNCHECKED has the
others, with the reasons. An exhibit is a bug that a check must catch.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.output import put, run
from harness.teaching.exhibits import all_exhibits
from harness.verdicts.catalogue import catalogue

GUIDE = Path(__file__).parents[1]
PROTOCOL = GUIDE / "protocol.md"
PAGE = GUIDE / "requirements.md"
ANCHOR = re.compile(r'<a id="(\d+(?:\.\d+)?-\d+)"></a>')
CLIENT = "It binds the client. The checks play the clients, and see only servers."
UNCHECKED = {
    "8-16": CLIENT,
    "9.1-3": CLIENT,
    "15-1": CLIENT,
    "16-1": CLIENT,
    "10-21": "A server need not have the flag, and the kernel may give another size than it asks.",
    "13-1": "It describes our servers. A student's server is free in its files (13-2 to 13-5).",
}


@dataclass(frozen=True)
class Block:
    """A paragraph, an item of a list or a row of a table, in this section of the page."""

    section: str
    heading: str
    text: str


@dataclass(frozen=True)
class Requirement:
    """One rule. `heading`: of its section. `text`: its sentence or row, as Markdown."""

    id: str
    heading: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """Yields the blocks of a page of Markdown, without its code. Each is one line."""
    section = heading = ""
    lines: list[str] = []
    page = re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)
    for line in [*page.split("\n"), ""]:
        title = re.match(r"#+ (?:(\d+(?:\.\d+)?)\.? )?(.*)", line)
        if title or not line or line.startswith("|") or re.match(r" *(-|\d+\.) ", line):
            if lines:
                yield Block(section, heading, " ".join(lines))
            lines = []
        if title:
            section, heading = title[1] or "", line.lstrip("# ")
        elif line:
            lines.append(re.sub(r"^ *(?:(?:-|\d+\.) )?", "", line))


def sentence(text: str) -> str:
    """Returns the first sentence of a text; of a row of a table that begins with it, all cells."""
    if text.startswith("| "):
        cells = re.split(r"(?<!\\)\|", text.strip("| "))
        return " · ".join(cell.strip() for cell in cells if cell.strip())
    text = text.partition(" |")[0]
    end = re.search(r"(?<!\.)[.;]\)*(?= [A-Z0-9`*(]|$)|:(?= [A-Z0-9(]|$)", text)
    return (text[: end.end()] if end else text).removesuffix(" and ").rstrip(" ,:;")


def requirements(page: str) -> list[Requirement]:
    """Returns the requirements of the page in their order."""
    found = []
    for block in blocks(page):
        before, *parts = ANCHOR.split(block.text.replace("**", ""))
        for number, (id_, text) in enumerate(zip(parts[::2], parts[1::2])):
            is_row = number == 0 and before == "| "
            found.append(Requirement(id_, block.heading, sentence("| " * is_row + text)))
    return found


INTRODUCTION = """# Requirements, and what checks them

Each row is one rule of [protocol.md](protocol.md), with the id that it has there. Section 1 of that
page is a summary, so its rules are those of the other sections.

A check fails a server that breaks the rule. An exhibit is one of our servers with one bug, and the
check before it must catch that bug ([Bugs, by symptom](exhibits.md)). Where nothing checks a rule,
the row says why.
"""


def draw(page: str) -> str:
    """Returns the page of the guide that lists the requirements, as Markdown."""
    parts, heading, checked = [INTRODUCTION], "", checks_of()
    for rule in requirements(page):
        if rule.heading != heading:
            heading = rule.heading
            parts.append(f"\n## {heading}\n\n{row('id', 'rule', 'checks, each with its exhibits')}")
            parts.append(row("---", "---", "---"))
        link = f'<a id="{rule.id}"></a>[{rule.id}](protocol.md#{rule.id})'
        parts.append(row(link, rule.text, checked.get(rule.id) or UNCHECKED.get(rule.id, "")))
    return "".join(parts)


def checks_of() -> dict[str, str]:
    """Returns the checks of each requirement, each with its exhibits, as Markdown."""
    bugs: dict[str, list[str]] = {}
    for exhibit in all_exhibits():
        link = f"[{exhibit.name}](exhibits/{exhibit.name}.toml)"
        bugs.setdefault(exhibit.check, []).append(link)
    checks: dict[str, list[str]] = {}
    for check in catalogue():
        text = f"`{check.id}`" + (f": {', '.join(bugs[check.id])}" if check.id in bugs else "")
        for rule in check.rules:
            checks.setdefault(rule, []).append(text)
    return {rule: "<br>".join(texts) for rule, texts in checks.items()}


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    put(file, draw(PROTOCOL.read_text(encoding="utf-8")))
    print(file)


if __name__ == "__main__":
    run(main)
