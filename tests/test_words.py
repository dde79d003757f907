"""The words of the project: each clause has a subject, a client is "it", and no word is archaic.

The rules hold for prose: comments, docstrings and messages, and Markdown outside blocks of code.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = re.compile(r"pt[-_]BR|\.po$|^tests/told/|/static/iframe-worker|^tests/test_words\.py$")

WORD = r"(?<![-_/\w])(?:{})(?![-_/\w]|\.\w)"  # a part of an id, a name or a path is no word
START = r"(?:^|[\0\n]|[.:;!?]\s+|\()[\s\"'*_|>#-]*"  # the start of a clause
AFTER = "of|to|for|by|from|and|or|that|is|than|with|as|if|when|but|on|in|at|are|all|not"
OLD = r"mend(?:s|ed|ing)?|anew|for\s+ever|comes?\s+true|came\s+true|who(?:m)?ever|put\s+out|told"
RULES = {
    "a clause without a subject": re.compile(
        rf"(?:(?:{START}|,\s+|\b(?:{AFTER})\s+){WORD.format('whom?')}"
        rf"|(?:{START}|\b(?:and|or|if|when|but|than|not)\s+){WORD.format('whose')})"
        r"(?!\s+may\s+join\b)(?![^.!;\0\n]*\?)",  # "Who may join" is a label
        re.I,
    ),
    "a pronoun with a gender": re.compile(
        WORD.format("he|him|his|himself|she|her|hers|herself"), re.I
    ),
    "an archaic word": re.compile(WORD.format(rf"{OLD}|stands(?!\s+(?:in\s+)?for\b)"), re.I),
}

# Most files have none of these, and need no closer look.
HINT = re.compile(
    r"\b(?:he|him|his|himself|she|hers?|herself|who\w*|mend\w*|anew|told|stands"
    r"|for\s+ever|c[oa]mes?\s+true|put\s+out)\b",
    re.I,
)

QUOTED = (
    r"[bBfFrRuU]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''"
    r"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
)
HASHES, SLASHES, DASHES = (
    re.compile(rf"(?P<literal>{QUOTED})|(?P<comment>{comment})", re.S)
    for comment in (r"#[^\n]*", r"/\*.*?\*/|//[^\n]*", r"--[^\n]*")
)
MARKUP = re.compile(
    r"^[ \t]*(?P<fence>```+|~~~+).*?^[ \t]*(?P=fence)|(?P<ticks>`+)[^`]+?(?P=ticks)"
    r"|(?P<tag></?\w[^<>]*>)",
    re.S | re.M,
)
KINDS = {
    **dict.fromkeys([".py", ".toml", "Makefile"], HASHES),
    **dict.fromkeys([".c", ".h", ".js", ".mjs"], SLASHES),
    ".lua": DASHES,
    **dict.fromkeys([".md", ".yml", ".yaml"], MARKUP),
}
CODE_IN_TEXT = re.compile(r"`[^`]+`|\{[^{}]*\}")
MARKS = re.compile(r"^\w{0,2}(?:\"\"\"|'''|\"|')|(?:\"\"\"|'''|\"|')$")
COMMENT_MARKS = re.compile(r"^(?:/\*+|//+|--+|#+)|\*/$|(?<=\n)[ \t]*\*")
CONTINUES = re.compile(r"(?<=[^\s|\0])[ ]*\n(?=[ \t]*[^\s|#>*\d\0-])")


def filled(sign):
    """A replacement of a match by a sign, as long as the match."""
    return lambda found: sign * len(found[0])


def prose(text, kind):
    """The prose of a text, each character at its place. Code is NUL, and a paragraph one line.

    kind: a key of KINDS, the file's suffix or its name.
    """
    if KINDS[kind] is MARKUP:
        signs = {"fence": "\0", "ticks": "`", "tag": " "}
        view = MARKUP.sub(lambda found: signs[found.lastgroup] * len(found[0]), text)
        return CONTINUES.sub(filled(" "), view)
    parts, end = [], 0
    for found in KINDS[kind].finditer(text):
        literal = found["literal"]
        if literal and not is_prose(literal, kind):
            continue
        # Literals in a row are one text, and so are comments in a row.
        gap = text[end : found.start()]
        joined = parts and not gap.strip() and gap.count("\n") <= 1
        parts.append((" " if joined else "\0") * len(gap))
        part = (MARKS if literal else COMMENT_MARKS).sub(filled(" "), found[0])
        parts.append(CODE_IN_TEXT.sub(filled("`"), part).replace("\\n", "\n "))
        end = found.end()
    return CONTINUES.sub(filled(" "), "".join(parts))


def is_prose(literal, kind):
    """Whether a literal is several words. One word is a key or an id; TOML has code in '''."""
    if kind == ".toml":
        return not literal.startswith("'") and " " in literal
    return kind in (".py", "Makefile") and " " in literal.strip("\"'bBfFrRuU \n")


def complaints(text, kind):
    """(line, rule, the words around it) for each word that breaks a rule."""
    if not HINT.search(text):
        return
    view = prose(text, kind)
    for rule, pattern in RULES.items():
        for found in pattern.finditer(view):
            if re.search(r"\w+$", found[0])[0].isupper():  # WHO is a request
                continue
            around = view[max(0, found.start() - 40) : found.end() + 40]
            yield (
                text[: found.end()].count("\n") + 1,
                rule,
                " ".join(around.replace("\0", " ").split()),
            )


@pytest.mark.parametrize(
    "kind, text",
    [
        (".md", "Some text.\nWho goes does not wait."),
        (".md", "- a list\n- whose queue is full is dropped"),
        (".py", 'def leave():\n    """Who goes does not wait."""\n'),
        (".py", "x = 1  # for who does not read\n"),
        (".py", 'print("the answer to " "whom it may be")'),
        (".py", "# a client, who\n# reads\n"),
        (".c", "int i; /* it waits: who\n * takes most keeps reading */"),
        (".toml", 'title = "A client keeps his name"'),
        (".mjs", "send(line); // she reads"),
        (".lua", "-- her name"),
        (".yml", "# mend it"),
        ("Makefile", "run: # start it anew"),
        (".md", "It waits for\never."),
        (".md", "Whoever reads is put out, and told so: the clock stands still."),
    ],
)
def test_a_bad_word_is_found(kind, text):
    assert list(complaints(text, kind))


@pytest.mark.parametrize(
    "kind, text",
    [
        (".md", "A client that leaves does not wait. Who reads? Ask the members who are here."),
        (".md", "The answer to WHO lists the members. `who` is an id, and so is `for whom`."),
        (
            ".md",
            "```console\n$ for who in ana ben; do true; done\n```\nNew names\nwhose passwords are new.",
        ),
        (
            ".md",
            "Read who-is-of-one-moment, tests/told/NAME.txt, or told.py. `...` stands for any line.",
        ),
        (".md", "| `--admit` | who may join |"),
        (".py", 'for who in left:\n    told(his["she"], "he", "who", f"a {her} b")\n'),
        (".c", "who = her; /* a thread that waits */"),
        (".toml", "old = '''for who in her'''"),
        (".lua", "local who = told"),
    ],
)
def test_a_good_text_passes(kind, text):
    assert not list(complaints(text, kind))


def test_all_prose_keeps_to_the_words():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    bad = []
    for name in listed:
        path = ROOT / name
        kind = path.suffix or path.name
        if kind in KINDS and not SKIPPED.search(name) and path.exists():
            text = path.read_text(encoding="utf-8")
            bad += [f"{name}:{line}: {rule}: {near}" for line, rule, near in complaints(text, kind)]
    assert not bad, "\n".join([f"{len(bad)} in all", *bad])
