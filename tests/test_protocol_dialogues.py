"""lab_guide/protocol.md is true: its dialogues happen with each of the three servers, and its
grammar describes them.

The notation of the dialogues is explained in section 2 of that page. A dialogue is run from top to
bottom, one step after the other; nothing waits but for the next line, and at the end a fence shows
that nothing more was on its way.
"""

import re
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from harness.driving import deadlines
from harness.driving.client import CutOff, WireClient, taken
from harness.driving.server import DESIGNS, LISTENING, UNASKED, Server
from harness.model import notation
from harness.model.notation import REST
from harness.model.play import NARROW
from harness.verdicts.command import known
from harness.verdicts.sentences import CAUSES
from lab_guide.site.requirements import ANCHOR

PAGE = Path(__file__).parent.parent / "lab_guide" / "protocol.md"
TEXT = ANCHOR.sub("", PAGE.read_text(encoding="utf-8"))  # the ids of rules are not in their words
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
        self.args = notation.flags(options)

    def __str__(self):
        return f"{self.heading}-line-{self.number}"

    def steps(self):
        """(number of the line in the page, actor, what, text) of each line."""
        return notation.steps(self.lines, self.number)


def read_page():
    """The dialogues and the grammar of the page."""
    dialogues, grammar, heading, block = [], [], "", None
    for number, line in enumerate(TEXT.split("\n"), 1):
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
    return re.search(rf"\n## {number}\. .*?(?=\n## |\Z)", TEXT, re.DOTALL)[0]


LONGEST = {
    "TIME": "2026-11-22T13:21:28.123Z",
    "ADDRESS": "127.0.0.1:50412",
    "TOKEN": "t" * 64,
    "WORDS": "words",
}


def example(shown):
    """A line as it might really stand on the wire."""
    parts = notation.parts(shown)
    return "".join(part.decode() if isinstance(part, bytes) else LONGEST[part] for part in parts)


# -- The dialogues happen --------------------------------------------------------------------------


QUESTION = "type the group's name to delete it"
SENDS = (">", ">+", ">|")


class Play(ExitStack):
    """One dialogue with one server. Leaving it ends the server and all clients."""

    def __init__(self, dialogue, server):
        super().__init__()
        self.server = self.enter_context(server)
        self.clients = {}
        self.steps = list(dialogue.steps())
        self.ungreeted = set()  # their HELLO was not read, and is not shown
        self.silent = set()  # that have sent half a line, or shut: they take no fence
        self.tokens = {}  # the last of each client
        self.names = {}  # the member that each client is
        self.stopped = False
        self.has_rest = False  # what comes after the dialogue is not shown
        self.starts()

    def starts(self):
        """A server runs that was asked nothing."""
        self.typed = self.shown = 0
        self.answer = []  # lines of the console's answers that were not shown yet
        self.consents = False

    def run(self):
        while self.steps:
            number, who, what, text = self.steps[0]
            act = {"owner": self.owner, "server": self.process, "": self.rest}
            try:
                act.get(who, self.client)(who, what, text)
            except (AssertionError, OSError) as error:
                raise AssertionError(f"protocol.md:{number}: {who}{what} {text}\n{error}") from None
        if self.has_rest:
            return
        assert not self.answer, f"the console also said {self.answer}"
        for who, client in self.clients.items():
            if who not in self.silent:
                self.greet(who)
                surplus = client.fence()
                assert not surplus, f"at the end {who} also got {surplus}"

    def rest(self, *_):
        """`...`"""
        self.take()
        self.has_rest = True

    def take(self, *whats):
        """The texts of the steps from here on that are of this kind and of the same speaker."""
        _, who, what, text = self.steps.pop(0)
        texts = [text]
        while what in whats and self.steps and self.steps[0][1:3] == (who, what):
            texts.append(self.steps.pop(0)[3])
        return texts

    def compare(self, texts, lines, who=""):
        """Each text shown fits one of the lines, and none is left over: in this order if there is
        but one.
        """
        lines = list(lines)
        for text in texts:
            pattern = notation.pattern(text)
            found = next((line for line in lines if pattern.fullmatch(line)), None)
            assert found is not None, f"came instead: {lines}"
            lines.remove(found)
            self.learn(who, found, **pattern.fullmatch(found).groupdict())

    def learn(self, who, line, TOKEN=None):
        """Note a client's token, and the name of the member that it is."""
        if TOKEN:
            self.tokens[who] = TOKEN
        if welcome := re.fullmatch(r"WELCOME \d+ (\S+)", line):
            self.names[who] = welcome[1]
        renamed = re.fullmatch(r"RENAMED \d+ \S+ (\S+) (\S+)", line)
        if renamed and renamed[1] == self.names.get(who):
            self.names[who] = renamed[2]

    def greet(self, who):
        """Read the HELLO that is not shown."""
        if who in self.ungreeted:
            self.ungreeted.remove(who)
            hello = self.clients[who].line()
            assert re.fullmatch(r"HELLO grupo/1 .+", hello), f"came instead of HELLO: {hello!r}"

    def client(self, who, what, text):
        if who not in self.clients:
            buffers = NARROW if text == "narrow" else {}
            record = self.server.record
            self.clients[who] = self.enter_context(
                WireClient(self.server.address, name=who, pong=False, record=record, **buffers)
            )
            if what in SENDS or buffers:
                self.ungreeted.add(who)
        if text == "narrow":
            self.take()
            return
        if what in ("<", "<*", "|") and text.startswith(("HELLO ", "BYE full")):
            self.ungreeted.discard(who)
        if not (self.stopped or what == ">x"):
            self.greet(who)
        client = self.clients[who]
        texts = self.take("<*", ">")
        token = self.tokens.get(who, "")
        if what == ">":
            self.silent.discard(who)
            self.send(client, b"".join(notation.data(text, token) + b"\n" for text in texts))
        elif what == ">+":  # the server must read this piece alone
            self.silent.add(who)
            taken(client)
            self.send(client, notation.data(text, token))
            taken(client)
        elif what == ">|":
            self.silent.add(who)
            self.send(client, notation.data(text, token))
            with suppress(CutOff):
                client.half_close()
        elif what == ">x":
            self.close(who, text)
        elif what == "|":
            line = client.line()
            assert line == "", f"came instead of the end: {line!r}"
            self.forget(who).close()
        elif text == REST:
            self.skip(who, client)
        else:
            self.compare(texts, [client.line() for _ in texts], who)

    def send(self, client, data):
        """The server may have closed the connection; its BYE is shown later."""
        with suppress(CutOff):
            client.send_bytes(data)

    def skip(self, who, client):
        """Read up to the next line that is shown."""
        after = next(step.text for step in self.steps if step[1:3] == (who, "<"))
        client.expect(notation.pattern(after).pattern)
        self.steps.remove(next(step for step in self.steps if step[1:3] == (who, "<")))

    def close(self, who, how):
        """The client goes, and the server notices."""
        client = self.clients[who]
        host, port = client.socket.getsockname()
        name = re.escape(self.names.get(who, "-"))
        self.forget(who)
        client.reset() if how == "reset" else client.close()
        listed = re.compile(rf"member ({name} here|\S+ asks from {re.escape(host)}:{port})")

        def noticed():
            self.order(b"members")
            lines, self.answer = self.answer[before:], self.answer[:before]
            return not any(listed.fullmatch(line) for line in lines)

        before = len(self.answer)
        if not (self.stopped or self.consents):
            deadlines.wait_until(noticed)

    def forget(self, who):
        """The client's name opens a new connection from now on."""
        for noted in (self.ungreeted, self.silent):
            noted.discard(who)
        for noted in (self.tokens, self.names):
            noted.pop(who, None)
        return self.clients.pop(who)

    def owner(self, who, what, text):
        texts = self.take("<*")
        if what == ">":
            assert not self.answer, f"the console also said {self.answer}"
            self.order(notation.data(text))
        elif text == REST:
            after = next((step.text for step in self.steps if step[1:3] == (who, "<")), "")
            while self.answer and not notation.pattern(after).fullmatch(self.answer[0]):
                del self.answer[0]
        elif self.answer and not re.fullmatch(r"\S+ asks to join from ADDRESS", text):
            lines, self.answer = self.answer[: len(texts)], self.answer[len(texts) :]
            self.compare(texts, lines)
        else:
            self.server.expect(notation.pattern(text).pattern)

    def order(self, line):
        """Type a line, and wait for the answer, if it gets one now."""
        self.server.type_bytes(line + b"\n")
        self.typed += bool(line or self.consents)
        self.consents = line == b"delete" and not self.consents
        if not self.stopped:
            self.answered()

    def answered(self):
        """Wait for the answers of all orders."""
        assert self.server.answers(self.typed), "the console does not answer"
        lines = self.server.stdout[self.shown :]
        self.shown += len(lines)
        unasked = re.compile(rf"{UNASKED.pattern}|{LISTENING.pattern}|# .*")
        self.answer += [line for line in lines if not unasked.fullmatch(line)]

    def process(self, who, what, text):
        self.take()
        deed, _, options = text.partition(" ")
        if deed in ("restart", "killed", "starts", "SIGINT", "SIGHUP"):
            if deed == "killed":
                self.server.kill()
            elif deed.startswith("SIG"):
                assert self.server.stop(signal.Signals[deed], group=True) == 0
            flags = notation.with_flags(self.server.start["args"], options)
            self.server = self.enter_context(self.server.restart(args=flags))
            self.starts()
        elif text in ("stops", "goes"):
            self.stopped = text == "stops"
            for process in self.server.family():
                with suppress(psutil.Error):
                    process.suspend() if self.stopped else process.resume()
            if not self.stopped:
                self.answered()
        elif text.startswith("waits "):
            time.sleep(float(text.removeprefix("waits ")))
        elif text == "runs":
            with WireClient(self.server.address) as client:
                client.greeted()
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
            data = notation.data(text, "t") + b"\n"
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
        for line in TEXT.split("\n")
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
