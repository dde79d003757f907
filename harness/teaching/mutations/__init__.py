"""Mutations of a source: small changes, made systematically, each a mistake that somebody could
make.

python.py finds them in the syntax tree of a source, c.py in its tokens; both are pure.
population.py makes mutants of the project's sources, and judge.py judges one.
"""

import difflib
import hashlib
from collections import Counter
from itertools import takewhile
from pathlib import Path

from harness.teaching.mutations import c, python
from harness.teaching.mutations.edit import KINDS, Edit


def edits(name: str, text: str) -> dict[str, Edit]:
    """Return {id: mutation} of a source, by place. The file's name tells the language.

    An id is made of what the mutation changes, not of its line: it survives edits elsewhere.
    """
    found = (c if name.endswith(".c") else python).edits(text)
    known: dict[str, Edit] = {}
    seen: set[tuple[int, int, str]] = set()
    alike: Counter[str] = Counter()
    for edit in sorted(found, key=lambda edit: (edit.start, edit.end, KINDS.index(edit.kind))):
        change = change_of(edit, text)
        if change in seen or not any(change[1:]):
            continue
        seen.add(change)
        digest = digest_of(edit, text)
        alike[digest] += 1
        number = f"-{alike[digest]}" if alike[digest] > 1 else ""
        known[f"{Path(name).name}:{edit.kind}:{digest}{number}"] = edit
    return known


def change_of(edit: Edit, text: str) -> tuple[int, int, str]:
    """Return what differs in the end: where, how many characters go, and what comes."""
    old, new = text[edit.start : edit.end], edit.new
    same = shared(old, new)
    old, new = old[same:], new[same:]
    after = shared(old[::-1], new[::-1])
    return edit.start + same, len(old) - after, new[: len(new) - after]


def shared(first: str, second: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second)))


def digest_of(edit: Edit, text: str) -> str:
    """Return 8 hexadecimal digits of the function, and of the lines before and after the edit."""
    first = text.rfind("\n", 0, edit.start) + 1
    last = text.find("\n", edit.end)
    rest = text[edit.end : last if last >= 0 else len(text)]
    before = text[first : edit.end] + rest
    after = text[first : edit.start] + edit.new + rest
    content = "\0".join([edit.where, edit.kind, before.strip(), after.strip()])
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def diff(name: str, text: str, edit: Edit) -> str:
    """Return a unified diff of the mutation."""
    lines = difflib.unified_diff(
        text.splitlines(), edit.apply(text).splitlines(), name, name, n=2, lineterm=""
    )
    return "\n".join(lines)
