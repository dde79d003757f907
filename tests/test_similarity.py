"""Which submissions have code in common that others have not: copies are found in both languages,
and what everyone has in common is none.
"""

import os
import subprocess
import sys
import textwrap

import pytest
from test_formats import HOSTILE, elements

from harness.driving.server import ROOT
from harness.grading import similarity
from harness.grading.model import Class, End, Grade, Student
from harness.teaching import starter

pytestmark = pytest.mark.long

WIRE = "implementations/common/wire.py"
# Four ways to write Lines.feed; that of eva is ben's with other names, texts and comments.
FEEDS = {
    "ana": """
        self.rest += data
        lines = []
        while b"\\n" in self.rest:
            line, self.rest = self.rest.split(b"\\n", 1)
            if self.skipping:
                self.skipping = False
                continue
            lines.append(decode(line))
        return lines
    """,
    "ben": """
        result = []
        for byte in data:
            if byte == 10:
                if self.skipping:
                    self.skipping = False
                else:
                    result.append(decode(self.rest))
                self.rest = b""
            elif not self.skipping:
                self.rest += bytes([byte])
        return result
    """,
    "eva": """
        out = []   # mine
        for b in data:
            # is it <b>a newline</b>?
            if b == 10:
                if self.skipping:
                    self.skipping = False
                else:
                    out.append(decode(self.rest))
                self.rest = b''
            elif not self.skipping:
                self.rest += bytes([b])
        return out
    """,
    "gil": """
        start = 0
        found = []
        while (end := data.find(b"\\n", start)) >= 0:
            found += [decode(self.rest + data[start:end])]
            self.rest, start = b"", end + 1
        self.rest += data[start:]
        return found
    """,
}
TELLS = {
    "ana": "{ leave_room(); for (Client *c = clients; c; c = c->next) { if (c->state != HERE)"
    " continue; send_bytes(c, line, strlen(line)); } enter_room(); /* } */ }",
    "ben": "\n{\n  Client *one = clients;\n  size_t n = strlen(line);\n  while (one != NULL) {\n"
    '    if (one->state == HERE) { send_bytes(one, line, n); puts("}"); }\n'
    "    one = one->next;\n  }\n}",
    "eva": " { Client *peer = clients; // mine }\n size_t len = strlen(line); while (peer != NULL) {"
    ' if (peer->state == HERE) { send_bytes(peer, line, len); puts("sent }"); } peer = peer->next; } }',
}


def class_of(lab, sources, **partners):
    """A class in which these logins handed in these files; the same bytes are one submission."""
    digests = {login: str(hash(tuple(files.items()))) for login, files in sources.items()}
    return Class(
        lab,
        "a lab",
        [Student(login, partners=partners.get(login, [])) for login in sources],
        [Grade(login, End.GRADED, 1.0, submission=digests[login]) for login in sources],
        sources={digests[login]: files for login, files in sources.items()},
    )


def wire(feed, cut=None):
    """The files of lab 0 with these bodies."""
    begun = starter.read(0)
    text = begun.files()[WIRE].read_text()
    for function, body in ("Lines.feed", feed), ("Lines.cut", cut or begun.empty[1].body):
        body = textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)
        text = starter.with_body(text, function, body, "python")
    return {WIRE: text.encode()}


def server(tell):
    """The server.c of lab 3 with this body of tell(), braces and all."""
    begun = starter.read(3, "c")
    text = begun.files()["server.c"].read_text()
    start, end = starter.span(text, "tell", "c")
    lines = text.split("\n")
    return {"server.c": "\n".join([*lines[: start - 1], tell, *lines[end + 1 :]]).encode()}


def pairs(found):
    return [
        (*sorted(side.students[0].login for side in (one.left, one.right)), round(one.share, 1))
        for one in found.pairs
    ]


def test_a_copy_with_other_names_is_found_and_other_solutions_are_not():
    found = similarity.compared(class_of(0, {who: wire(feed) for who, feed in FEEDS.items()}))
    assert pairs(found) == [("ben", "eva", 1.0)]
    common = "".join(text for text, is_common in found.pairs[0].parts[1] if is_common)
    assert "out.append(decode(self.rest))" in common and "helper of feed" not in common


def test_in_c_the_braces_may_stand_anywhere():
    found = similarity.compared(class_of(3, {who: server(tell) for who, tell in TELLS.items()}))
    assert pairs(found) == [("ben", "eva", 1.0)] and not found.apart


def test_the_reference_and_the_starting_folder_are_no_pair():
    begun = starter.read(0)
    text = begun.files()[WIRE].read_text()
    empty = text
    for one in begun.empty:
        empty = starter.emptied_text(empty, one, "python")
    sources = {
        "ana": {WIRE: text.encode()},
        "ben": {WIRE: text.replace("whole, newline", "whole , newline").encode()},
        "eva": {WIRE: empty.encode()},
        "gil": {WIRE: empty.replace("# Lab 0", "#Lab 0").encode()},
        "leo": {WIRE: empty.encode()},
    }
    found = similarity.compared(class_of(0, sources))
    assert not found.pairs and not found.same
    assert [student.login for student in found.reference] == ["ana", "ben"]


def test_what_more_than_half_of_the_class_wrote_is_no_pair():
    sources = {f"s{number}": wire(FEEDS["ben"] + f"    # {number}\n") for number in range(6)}
    assert pairs(similarity.compared(class_of(0, sources))) == []


def test_the_same_bytes_are_named_but_not_of_partners():
    sources = {"ana": wire(FEEDS["ana"]), "ben": wire(FEEDS["ana"]), "eva": wire(FEEDS["eva"])}
    found = similarity.compared(class_of(0, sources))
    assert [[one.login for one in students] for students in found.same] == [["ana", "ben"]]
    together = class_of(0, sources, ana=["ben"], ben=["ana"])
    assert not similarity.compared(together).same
    sources = {"ben": wire(FEEDS["ben"]), "eva": wire(FEEDS["eva"])}
    assert pairs(similarity.compared(class_of(0, sources, ben=["eva"], eva=["ben"]))) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"def feed(:",
        b"\xff\xfe\x00",
        b"class Lines:\n    def feed(self, data): return 1\n",
        b"(" * 100_000,
        b"x = " + b"-" * 200_000 + b"1",
        b"class Lines:\n  def feed(self, d):\n    '''a'''\n    x = '" + b"y" * 70_000 + b"'\n"
        b"  def cut(self, w):\n    '''a'''\n    return 1\n",
    ],
    ids=range(7),
)
def test_what_cannot_be_read_is_named_and_stops_nothing(data):
    sources = {"bad": {WIRE: data}, "ben": wire(FEEDS["ben"]), "eva": wire(FEEDS["eva"])}
    found = similarity.compared(class_of(0, sources))
    assert [code.students[0].login for code in found.apart] == ["bad"]
    assert pairs(found) == [("ben", "eva", 1.0)]


@pytest.mark.parametrize("text", ["", "tell(", "tell() {", "void tell(a) { (", "/* tell() {} */"])
def test_c_that_is_cut_off_has_no_body(text):
    with pytest.raises(LookupError):
        similarity.c_body(text, "tell")


def test_the_page_escapes_what_students_wrote_and_explains_the_value():
    sources = {who: wire(feed) for who, feed in FEEDS.items()}
    sources["zoe"] = {WIRE: b"class Lines: pass"}
    cls = class_of(0, sources)
    cls.students[1].name = HOSTILE
    page = similarity.page(cls)
    assert "&lt;b&gt;a newline&lt;/b&gt;" in page and "<b>a newline" not in page
    assert "80 % means" in page and "there is no Lines.feed in it" in page
    assert not {"script", "img"} & {tag for tag, _ in elements(page)}
    assert "No two submissions share 50 %" in similarity.page(Class(0, "a lab", [], []))


def test_the_same_class_gives_the_same_page():
    """copydetect's fingerprints are hashes, which are others in each process."""
    program = "import test_similarity as t; print(t.similarity.page(t.whole()))"
    pages = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT / "tests",
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(pages) == 1


def whole():
    cls = class_of(0, {who: wire(feed) for who, feed in FEEDS.items()})
    names = dict(zip(cls.sources, "abcd", strict=True))
    cls.sources = {names[digest]: files for digest, files in cls.sources.items()}
    for grade in cls.grades:
        grade.submission = names[grade.submission]
    return cls
