"""lab_guide/protocol.md is true: its dialogues happen with each of the three servers, and its
grammar describes them.

The notation of the dialogues is explained in section 2 of that page. A dialogue is run from top to
bottom, one step after the other; nothing waits but for the next line, and at the end a fence shows
that nothing more was on its way.
"""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.driving.client import WireClient
from harness.driving.server import DESIGNS, Server
from harness.verdicts.command import known
from harness.verdicts.sentences import CAUSES

PAGE = Path(__file__).parent.parent / "lab_guide" / "protocol.md"
MAX_LINE = 512

CLIENT_VERBS = ["JOIN", "SAY", "NAME", "WHO", "HISTORY", "LEAVE", "QUIT", "PING", "PONG"]
EVENTS = ["MSG", "IN", "OUT", "RENAMED", "LEFT", "BANNED", "GROUP"]
SERVER_VERBS = [
    "HELLO",
    "PENDING",
    "WELCOME",
    "REJECTED",
    "MEMBER",
    "END",
    "PONG",
    "PING",
    "ERR",
    "BYE",
] + EVENTS
ERR_CODES = [
    "too-long",
    "bad-utf8",
    "bad-text",
    "unknown",
    "not-joined",
    "already-joined",
    "bad-arguments",
    "bad-name",
    "name-taken",
    "not-saved",
]
BYE_CODES = [
    "quit",
    "left",
    "banned",
    "closed",
    "deleted",
    "replaced",
    "refused",
    "slow",
    "idle",
    "timeout",
    "protocol",
    "full",
]
ORDERS = ["accept", "reject", "ban", "unban", "rename", "members", "close", "delete", "help"]
FLAGS = [
    "host",
    "port",
    "group",
    "dir",
    "admit",
    "join-within",
    "ping-after",
    "idle-after",
    "slow-after",
    "outbox",
    "sndbuf",
    "reject-after",
    "hashes",
    "max-here",
    "max-strangers",
]

# What no dialogue can show from outside: a disk that is full, and a client too slow to read it.
NOT_SHOWN = {"not-saved", "slow"}


# -- The page --------------------------------------------------------------------------------------


class Dialogue:
    """A fenced block whose info string is `dialogue`, then flags as name=value."""

    def __init__(self, number, heading, options, lines):
        self.number, self.heading, self.lines = (
            number,
            heading,
            lines,
        )  # number: of its first line in the page
        self.args = [
            part
            for option in options.split()
            for part in ("--" + option.replace("=", " ", 1)).split(" ")
        ]

    def __str__(self):
        return f"{self.heading}-line-{self.number}"

    def steps(self):
        """(number of the line in the page, actor, what, text); `what` is one of > < <* >| |"""
        for number, line in enumerate(self.lines, self.number):
            found = re.fullmatch(r"([a-z0-9]+)(>\||<\*|[<>|])(?: (.*))?", line)
            assert found, f"protocol.md:{number}: not in the notation of section 2: {line!r}"
            yield number, found[1], found[2], found[3] or ""


def read_page():
    """The dialogues and the grammar of the page."""
    dialogues, grammar, heading, block = [], [], "", None
    for number, line in enumerate(PAGE.read_text(encoding="utf-8").split("\n"), 1):
        if block is None and line.startswith("#"):
            heading = re.sub(
                "[^a-z0-9.]+", "-", line.strip("# ").lower().replace(". ", " ").replace("'", "")
            )
        elif block is None and line.startswith("```"):
            language, _, options = line[3:].partition(" ")
            block = []
            if language == "dialogue":
                dialogues.append(Dialogue(number + 1, heading, options, block))
            elif language == "abnf":
                grammar = block
        elif line == "```":
            block = None
        elif block is not None:
            block.append(line)
    return dialogues, "\n".join(grammar)


DIALOGUES, GRAMMAR = read_page()


def section(number):
    """The text of one section of the page."""
    return re.search(
        rf"\n## {number}\. .*?(?=\n## |\Z)", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )[0]


def expand(text):
    """{a*400} stands for 400 times the letter a."""
    return re.sub(r"\{(.)\*(\d+)\}", lambda found: found[1] * int(found[2]), text)


def sent(text, token=""):
    """The bytes of a line shown with > : \\xff is one byte."""
    data = expand(text).replace("TOKEN", token).encode()
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), data)


VARYING = {
    "TIME": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "ADDRESS": r"(?:[0-9.]+|\[[0-9a-f:]+\]):\d+",
    "TOKEN": r"(?P<TOKEN>[!-~]{1,64})",
    "WORDS": r".+",
}
LONGEST = {
    "TIME": "2026-11-22T13:21:28.123Z",
    "ADDRESS": "127.0.0.1:50412",
    "TOKEN": "t" * 64,
    "WORDS": "words",
}
SHORTHAND = re.compile(r"\b(%s)\b" % "|".join(VARYING))


def pattern(shown):
    """A regular expression for a line shown with < ."""
    parts = SHORTHAND.split(expand(shown))
    return re.compile(
        "".join(VARYING[part] if part in VARYING else re.escape(part) for part in parts)
    )


def example(shown):
    """A line as it might really stand on the wire."""
    return SHORTHAND.sub(lambda found: LONGEST[found[1]], expand(shown))


# -- The dialogues happen --------------------------------------------------------------------------


class Play(ExitStack):
    """One dialogue with one server. Leaving it ends the server and all clients."""

    def __init__(self, dialogue, server):
        super().__init__()
        self.server = self.enter_context(server)
        self.clients = {}
        self.token = ""
        self.answer = []  # lines of the console's last answer that were not shown yet
        self.steps = list(dialogue.steps())

    def run(self):
        while self.steps:
            number, who, what, text = self.steps[0]
            act = {"owner": self.owner, "server": self.process}.get(who, self.client)
            try:
                act(who, what, text)
            except (AssertionError, OSError) as error:
                raise AssertionError(f"protocol.md:{number}: {who}{what} {text}\n{error}") from None
        assert not self.answer, f"the console also said {self.answer}"
        for who, client in self.clients.items():
            surplus = client.fence()
            assert not surplus, f"at the end {who} also got {surplus}"

    def take(self, *whats):
        """The texts of the steps from here on that are of this kind and of the same speaker."""
        _, who, what, text = self.steps.pop(0)
        texts = [text]
        while what in whats and self.steps and self.steps[0][1:3] == (who, what):
            texts.append(self.steps.pop(0)[3])
        return texts

    def compare(self, texts, lines):
        """Each text shown fits one of the lines, and none is left over: in this order if there is
        but one.
        """
        lines = list(lines)
        for text in texts:
            found = next((line for line in lines if pattern(text).fullmatch(line)), None)
            assert found is not None, f"came instead: {lines}"
            lines.remove(found)
            self.token = pattern(text).fullmatch(found).groupdict().get("TOKEN", self.token)

    def client(self, who, what, text):
        if who not in self.clients:
            self.clients[who] = self.enter_context(
                WireClient(self.server.address, name=who, pong=False, record=self.server.record)
            )
            if what == ">" or what == ">|":
                hello = self.clients[who].line()
                assert re.fullmatch(r"HELLO grupo/1 .+", hello), f"came instead of HELLO: {hello!r}"
        client = self.clients[who]
        texts = self.take("<*")
        if what == ">":
            client.send_bytes(sent(text, self.token) + b"\n")
        elif what == ">|":
            client.send_bytes(sent(text, self.token))
            client.half_close()
        elif what == "|":
            line = client.line()
            assert line == "", f"came instead of the end: {line!r}"
            self.clients.pop(who).close()
        else:
            self.compare(texts, [client.line() for _ in texts])

    def owner(self, who, what, text):
        texts = self.take("<*")
        if what == ">":
            assert not self.answer, f"the console also said {self.answer}"
            self.answer = self.server.order(text)
        elif text == "...":
            del self.answer[:-1]
        elif self.answer:
            lines, self.answer = self.answer[: len(texts)], self.answer[len(texts) :]
            self.compare(texts, lines)
        else:
            self.server.expect(pattern(text).pattern)

    def process(self, who, what, text):
        self.take()
        if text in ("restart", "killed"):
            if text == "killed":
                self.server.kill()
            self.server = self.enter_context(self.server.restart())
        else:
            assert text.startswith("exits ")
            assert self.server.wait() == int(text.removeprefix("exits "))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_dialogue_happens(dialogue, design, tmp_path):
    with Play(dialogue, Server(design, directory=tmp_path / "group", args=dialogue.args)) as play:
        play.run()


# -- The page agrees with itself -------------------------------------------------------------------


def regex_of(grammar):
    """ABNF (RFC 5234, and RFC 7405's %s) as {rule: regular expression}. Enough of it for a grammar
    that does not recur.
    """
    core = {
        "SP": " ",
        "CR": "\r",
        "LF": "\n",
        "ALPHA": "[A-Za-z]",
        "DIGIT": "[0-9]",
        "VCHAR": "[!-~]",
    }
    text = re.sub(r"[ \t]*;.*", "", grammar)
    text = re.sub(r"\n[ \t]+", " ", text)
    rules = dict(
        re.fullmatch(r"([a-z-]+)\s*=\s*(.+)", line).groups()
        for line in text.split("\n")
        if line.strip()
    )
    scanner = re.compile(
        r'\s*(?:(%s"[^"]*"|"[^"]*")|%x([0-9A-F]+)(?:-([0-9A-F]+))?|(\d*\*\d*|\d+)(?=[A-Za-z(%"])'
        r"|([A-Za-z][A-Za-z0-9-]*)|([()\[\]/]))"
    )
    made = {}

    def rule(name):
        if name in core:
            return core[name]
        if name not in made:
            assert name in rules, f"the grammar has no rule {name}"
            made[name] = f"(?:{alternatives(tokens(rules[name]), '')})"
        return made[name]

    def tokens(body):
        found, position = [], 0
        while position < len(body.rstrip()):
            token = scanner.match(body, position)
            assert token, f"not ABNF: {body[position:]!r}"
            found.append(token.groups())
            position = token.end()
        return found

    def alternatives(tokens, closing):
        out = ""
        while tokens:
            string, low, high, repeat, name, sign = tokens.pop(0)
            if sign and sign == closing:
                return out
            if sign == "/":
                out += "|"
                continue
            times = ""
            if repeat:
                least, star, most = repeat.partition("*")
                times = "{%s,%s}" % (least or 0, most) if star else "{%s}" % least
                string, low, high, _, name, sign = tokens.pop(0)
            if string:
                piece = re.escape(string[string.index('"') + 1 : -1])
                assert string.startswith("%s") or not re.search("[A-Za-z]", string), (
                    f"case does not count in {string}"
                )
            elif low:
                piece = f"[{re.escape(chr(int(low, 16)))}-{re.escape(chr(int(high or low, 16)))}]"
            elif name:
                piece = rule(name)
            elif sign == "(":
                piece = f"(?:{alternatives(tokens, ')')})"
            else:
                assert sign == "[", f"unexpected {sign}"
                piece = f"(?:{alternatives(tokens, ']')})?"
            out += f"(?:{piece}){times}" if times else piece
        assert not closing, f"{closing} is missing"
        return out

    return {name: re.compile(rule(name)) for name in rules}


RULES = regex_of(GRAMMAR)


def shown(*signs):
    """(number, text) of the lines that clients send or get in the dialogues."""
    return [
        (number, text)
        for dialogue in DIALOGUES
        for number, who, what, text in dialogue.steps()
        if what in signs and who not in ("owner", "server")
    ]


def test_every_server_line_shown_is_in_the_grammar_and_fits():
    for number, text in shown("<", "<*"):
        line = example(text) + "\n"
        assert RULES["server-line"].fullmatch(line), (
            f"protocol.md:{number}: not in the grammar: {text}"
        )
        assert len(line.encode()) <= MAX_LINE, f"protocol.md:{number}: {len(line.encode())} bytes"


def test_every_client_line_shown_is_in_the_grammar_exactly_if_it_gets_no_err_for_its_form():
    form = {"too-long", "bad-utf8", "bad-text", "unknown", "bad-arguments", "bad-name"}
    for dialogue in DIALOGUES:
        steps = list(dialogue.steps())
        for (number, who, what, text), after in zip(steps, steps[1:] + [(0, "", "", "")]):
            if what != ">" or who == "owner":
                continue
            answer = after[3].split(" ")
            refused = after[1] == who and answer[0] == "ERR" and answer[1] in form
            # ERR not-joined and the like come first, whatever the form: then the grammar says
            # nothing of it.
            if after[1] == who and answer[0] == "ERR" and not refused:
                continue
            data = sent(text, "t") + b"\n"
            try:
                good = RULES["client-line"].fullmatch(data.decode()) and len(data) <= MAX_LINE
            except UnicodeDecodeError:
                good = False
            assert bool(good) != refused, (
                f"protocol.md:{number}: {text} is {'in' if good else 'not in'} the grammar"
            )


@pytest.mark.parametrize(
    "verb, line",
    re.findall(
        r"^\| `([A-Z]+)[^`]*`(?: or `away`)? \| `([^`]+)` \|", section(5) + section(6), re.MULTILINE
    ),
)
def test_examples_in_the_tables_of_verbs_are_in_the_grammar(verb, line):
    assert line.startswith(verb)
    assert RULES["client-line"].fullmatch(line + "\n") or RULES["server-line"].fullmatch(
        line + "\n"
    )


def test_the_longest_line_is_512_bytes():
    line = f"MSG {'9' * 16} {LONGEST['TIME']} {'ã' * 32} {'x' * 400}\n"
    assert RULES["server-line"].fullmatch(line)
    assert len(line.encode()) == MAX_LINE


@pytest.mark.parametrize(
    "text, permitted",
    [
        ("a", True),
        (" ", True),
        ("ã", True),
        ("\u2028", True),
        ("\ue000", True),
        ("\U0010fffd", True),
        ("\t", False),
        ("\x1b", False),
        ("\x7f", False),
        ("\x9b", False),
        ("\u202e", False),
        ("\u2066", False),
        ("\ufdd0", False),
        ("\ufffe", False),
        ("\U0001ffff", False),
        ("\U0010fffe", False),
    ],
)
def test_text_is_what_the_page_says_in_words(text, permitted):
    assert bool(RULES["text"].fullmatch(text)) == permitted


def row(first):
    """The table rows whose first cells hold this in code."""
    return [
        line
        for line in PAGE.read_text(encoding="utf-8").split("\n")
        if line.startswith("|")
        and re.search(rf"`{re.escape(first)}[ `]", "|".join(line.split("|")[:3]))
    ]


@pytest.mark.parametrize(
    "word",
    CLIENT_VERBS + SERVER_VERBS + ERR_CODES + BYE_CODES + ORDERS + ["--" + flag for flag in FLAGS],
)
def test_every_word_has_its_row_in_a_table(word):
    assert row(word)


def test_the_grammar_has_all_codes_and_no_others():
    assert (
        re.findall(r'%s"([a-z0-9-]+)"', re.search(r"\nerr-code(.*?)\nbye ", GRAMMAR, re.DOTALL)[1])
        == ERR_CODES
    )
    assert (
        re.findall(r'%s"([a-z0-9-]+)"', re.search(r"\nbye-code(.*)", GRAMMAR, re.DOTALL)[1])
        == BYE_CODES
    )


def test_the_table_of_err_has_the_codes_in_the_order_of_the_checks():
    assert re.findall(r"^\| \d+ \| `([a-z0-9-]+)`", section(7), re.MULTILINE) == ERR_CODES


def labs_with(number):
    """The first lab with this section in its row of the table of labs: alone, in a range, or as a part
    of one.
    """
    for lab, sections in re.findall(r"^\| (\d) \| (.+) \|$", section(14), re.MULTILINE):
        for first, last in re.findall(r"(?<![\w.])(\d+(?:\.\d)?)(?: to (\d+(?:\.\d)?))?", sections):
            if (
                [int(part) for part in first.split(".")]
                <= number
                <= [int(part) for part in (last or first).split(".")]
            ):
                return int(lab)
    raise AssertionError(f"the table of labs lacks section {number}")


@pytest.mark.parametrize("check, lab", known().items())
def test_the_table_of_labs_has_the_section_of_each_check(check, lab):
    page, _, anchor = CAUSES.get(check, ("", "protocol.md#1-on-one-page"))[1].partition("#")
    digits = anchor.partition("-")[0]
    if page == "protocol.md" and digits not in ("1", "2", "14"):
        assert (
            labs_with(
                [9, int(digits[1])] if digits[0] == "9" and len(digits) > 1 else [int(digits)]
            )
            <= lab
        )


def test_the_dialogues_show_every_verb_code_and_order():
    from_server = {text.split(" ")[0] for _, text in shown("<", "<*")}
    codes = {" ".join(text.split(" ")[:2]) for _, text in shown("<", "<*")}
    from_client = {text.split(" ")[0] for _, text in shown(">")}
    orders = {
        text.split(" ")[0]
        for dialogue in DIALOGUES
        for _, who, what, text in dialogue.steps()
        if who == "owner" and what == ">"
    }
    assert set(SERVER_VERBS) <= from_server
    assert set(CLIENT_VERBS) <= from_client
    assert {code for code in ERR_CODES if f"ERR {code}" not in codes} <= NOT_SHOWN
    assert {code for code in BYE_CODES if f"BYE {code}" not in codes} <= NOT_SHOWN
    assert set(ORDERS) <= orders
