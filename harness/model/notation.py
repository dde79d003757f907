r"""The notation of dialogues: lab_guide/protocol.md, section 2.

`dialogue` shows a dialogue that was played and went wrong, as a block that can be pasted into a
page or a test. `steps`, `data` and `pattern` read a block, for a program that plays it.

What others sent never reaches a terminal raw: a byte of a character that is not printable is \xff.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from harness.driving.messages import Message, msg
from harness.driving.record import Entry
from harness.driving.server import ANSWERED
from harness.model.lines import Difference
from harness.model.steps import ASKS, EVENT, TIME, UNASKED

# Words in capitals stand for what varies.
VARYING = {
    "TIME": TIME,
    "ADDRESS": r"(?:[0-9.]+|\[[0-9a-f:]+\]):\d+",
    "TOKEN": r"(?P<TOKEN>[!-~]{1,64})",
    "WORDS": r".+",
}
STEP = re.compile(r"([a-z0-9]+)(>\*\d+|>\||>\+|>x|<\*|[<>|])(?: (.*))?")
REST = "..."  # alone in the last line: what comes after is not shown
FORMS = re.compile(rf"\\x([0-9a-f]{{2}})|\{{(.)\*(\d+)\}}|\b({'|'.join(VARYING)})\b")
RUN = re.compile(r"(.)\1{15,}")

FENCE = re.compile(rb"PING (f\d+)\n")  # what the harness sends only to wait
SIGNALS = {"SIGTERM": "restart", "SIGINT": "SIGINT", "SIGHUP": "SIGHUP", "SIGKILL": "killed"}
MEMBERS = "owner", "types", "members\n"
CLOSES = {"resets": "reset", "closes": "close"}
LONG_RUN = 8  # lines; of a longer run, a block shows less
END = "the end of the connection"
UNKNOWN = "an answer", "another line first"
DEEDS = {">", ">+", ">|", ">x"}


# -- Reading a block


class Step(NamedTuple):
    """A line of a block. `what` is one of > >+ >| >x < <* | and ... for the last line `...`.

    A line that is sent several times is as many steps.
    """

    number: int
    who: str
    what: str
    text: str


def steps(lines: Iterable[str], first: int = 1) -> Iterator[Step]:
    """Yield the steps of a block without its fences; `first` is the number of its first line.

    Raises ValueError for a line that is not in the notation.
    """
    for number, line in enumerate(lines, first):
        found = STEP.fullmatch(line)
        if found:
            what, _, times = found[2].partition("*") if found[2][0] == ">" else (found[2], "", "")
            yield from [Step(number, found[1], what, found[3] or "")] * int(times or 1)
        elif line == REST:
            yield Step(number, "", REST, "")
        else:
            raise ValueError(f"line {number} is not in the notation of section 2: {line!r}")


def flags(options: str) -> list[str]:
    """Return the flags that the words after `dialogue` stand for."""
    return [
        part
        for option in options.split()
        for part in ("--" + option.replace("=", " ", 1)).split(" ")
    ]


def with_flags(args: Sequence[str], options: str) -> list[str]:
    """Return a server's flags with these words of a block in place of their earlier values."""
    new = flags(options)
    values = dict(zip(args[::2], args[1::2], strict=True))
    values |= zip(new[::2], new[1::2], strict=True)
    return [part for pair in values.items() for part in pair]


def changed(before: str, after: str) -> str:
    """Return the flags whose values differ in two command lines, as words of a block."""
    words = list(zip(before.split(" "), after.split(" "), strict=False))
    return "".join(
        f" {flag.removeprefix('--')}={new}"
        for (flag, _), (old, new) in pairwise(words)
        if old != new and flag.startswith("--")
    )


def parts(shown: str) -> Iterator[bytes | str]:
    """Yield what a line consists of: bytes, and words in capitals."""
    end = 0
    for found in FORMS.finditer(shown):
        yield shown[end : found.start()].encode()
        if found[1]:
            yield bytes([int(found[1], 16)])
        elif found[2]:
            yield found[2].encode() * int(found[3])
        else:
            yield found[4]
        end = found.end()
    yield shown[end:].encode()


def data(shown: str, token: str = "") -> bytes:
    """Return the bytes of a line shown with `>`, without LF; `token` is what TOKEN stands for."""
    return b"".join(
        part if isinstance(part, bytes) else (token if part == "TOKEN" else part).encode()
        for part in parts(shown)
    )


def pattern(shown: str) -> re.Pattern[str]:
    """Return a regular expression for a line shown with `<`; a TOKEN is its group TOKEN."""
    made, literal = "", b""
    for part in (*parts(shown), ""):
        if isinstance(part, bytes):
            literal += part
        else:
            made += re.escape(literal.decode("utf-8", "surrogateescape")) + VARYING.get(part, "")
            literal = b""
    return re.compile(made)


# -- Showing a line


def escaped(text: str) -> str:
    """Return a text so that it stands for itself alone, and no terminal obeys it."""
    made, end = "", 0
    for run in RUN.finditer(text):
        if run[1].isprintable():
            made += literal(text[end : run.start()]) + f"{{{run[1]}*{len(run[0])}}}"
            end = run.end()
    made += literal(text[end:])
    # A space at either end of a line would not be seen.
    made = re.sub(r"^ ", r"\\x20", made)
    return re.sub(r" $", r"\\x20", made)


def literal(text: str) -> str:
    """Return a text with \\xff for bytes that are not printable, or that are a form by chance."""
    forms = {found.start() for found in FORMS.finditer(text)}
    return "".join(
        sign
        if sign.isprintable() and place not in forms
        else "".join(f"\\x{byte:02x}" for byte in sign.encode("utf-8", "surrogateescape"))
        for place, sign in enumerate(text)
    )


def sent(line: bytes, token: str) -> str:
    """Return a line that was sent; `token` is the last that its client received."""
    text = line.decode("utf-8", "surrogateescape")
    return "PONG TOKEN" if token and text == f"PONG {token}" else escaped(text)


def received(line: str) -> str:
    """Return a line that a client received, with words in capitals for what varies."""
    if found := re.fullmatch(rf"([A-Z]+ \d+) (?:{TIME}|TIME) (.*)", line, re.DOTALL):
        return f"{found[1]} TIME {escaped(found[2])}"
    if found := re.fullmatch(r"(ERR [a-z0-9-]+) .+", line, re.DOTALL):
        return f"{found[1]} WORDS"
    return "PING TOKEN" if re.fullmatch(r"PING [!-~]{1,64}", line) else escaped(line)


def printed(line: str) -> str:
    """Return a line of the console, with words in capitals for what varies."""
    if line.startswith("error: "):
        return "error: WORDS"
    if found := re.fullmatch(rf"(.* from) (?:{VARYING['ADDRESS']}|ADDRESS|)", line, re.DOTALL):
        return f"{escaped(found[1])} ADDRESS"
    return escaped(line)


# -- What was wrong, in words


def expected(wrong: Difference) -> Message:
    """Return what the page allows."""
    allowed: str | list[str] = wrong.allowed or msg("nothing")
    if wrong.who == "server":
        return msg(
            "the server to do what section {section} of protocol.md requires: {allowed}",
            section=wrong.section,
            allowed=allowed,
        )
    return msg(
        "{who} to receive what section {section} of protocol.md allows: {allowed}",
        who=named(wrong),
        section=wrong.section,
        allowed=allowed,
    )


def named(wrong: Difference) -> str:
    """Return whom it is about."""
    return msg("the owner") if wrong.who == "owner" else wrong.who


def actual(wrong: Difference) -> Message:
    """Return what came in its place."""
    came = wrong.came or msg("nothing")
    if wrong.who == "server":
        return msg("the server did this: {came}", came=came)
    if wrong.early:
        return msg("{who} received it too early: {came}", who=named(wrong), came=came)
    return msg("{who} received: {came}", who=named(wrong), came=came)


# -- Showing a dialogue


class Shown(NamedTuple):
    """A line of the block. `who`: a connection, owner or server; `text` as it was received, or as
    the block shows what was sent.
    """

    who: str
    what: str
    text: str = ""

    def __str__(self) -> str:
        text = self.text
        if self.what in ("<", "<*") and text != REST:
            text = printed(text) if self.who == "owner" else received(text)
        return f"{self.who.partition('#')[0]}{self.what} {text}".rstrip(" ")


def dialogue(entries: Sequence[Entry], options: Sequence[str], wrong: Difference) -> str:
    """Return the block of a dialogue that went wrong; `options` are the server's flags.

    It ends with what the page requires, and so it is a test that a correct server passes.
    """
    shown = list(_Reader(wrong).lines(entries))
    ended = [*corrected(shown, wrong)]
    given = zip(options[::2], options[1::2], strict=True)
    words = " ".join(f"{flag.removeprefix('--')}={value}" for flag, value in given)
    block = folded(list(marked(ended)))
    return "\n".join([f"```dialogue {words}".rstrip(), *block, "```"])


def folded(lines: Sequence[Shown]) -> Iterator[str]:
    """Yield the lines of a block; of long runs of what one client sends or hears, less."""
    for (who, what, text), same in groupby(lines, key=run_of):
        run = list(map(str, same))
        if len(run) <= LONG_RUN or who in ("", "owner", "server"):
            yield from run
        elif what == ">":
            yield f"{who}>*{len(run)} {text}"
        else:
            # The line after `...` is the first of its kind: it has no twin before it.
            new = [place for place, line in enumerate(run) if line not in run[:place]][-1]
            yield from (f"{who}< {REST}", *run[new:]) if new else run


def run_of(line: Shown) -> tuple[str, str, str]:
    """Return what the lines of a run have in common."""
    shown = str(line)
    mark = line.what if line.what in ("<", ">") else shown
    text = shown.partition("> ")[2] if line.what == ">" else ""
    return line.who.partition("#")[0], mark, text


def marked(lines: Sequence[Shown]) -> Iterator[Shown]:
    """Mark the lists, whose lines come in any order, with `<*`."""
    for place, line in enumerate(lines):
        near = lines[max(0, place - 1) : place + 2]
        listed = [one for one in near if one.who == line.who and is_listed(one)]
        yield line._replace(what="<*") if is_listed(line) and len(listed) > 1 else line


def is_listed(line: Shown) -> bool:
    """Return whether this is a line of a list of members."""
    verb = "member " if line.who == "owner" else "MEMBER "
    return line.what == "<" and line.text.startswith(verb)


def is_list(wrong: Difference) -> bool:
    """Return whether it is the answer to `members` that is wrong."""
    return wrong.who == "owner" and any(
        one.startswith("member ") for one in (wrong.came, *wrong.allowed)
    )


class _Reader:
    """Reads a record, and leaves out what the harness sends only to wait: fences, `members`."""

    def __init__(self, wrong: Difference):
        self.wrong = wrong
        self.fences: set[tuple[str, str]] = set()  # (client, answer) that are due
        self.heard: set[tuple[str, str]] = set()
        self.greeted: set[str] = set()
        self.over: set[str] = set()
        self.late: set[str] = set()  # they send more although their connection has ended
        self.last_sent: dict[str, int] = {}  # the place of the last that each client sent
        self.tokens: dict[str, str] = {}
        self.orders: list[tuple[bytes, bool]] = []  # not answered yet: (line, whether it is shown)
        self.answer: list[str] = []  # lines of an answer that is not complete
        self.consents = False  # the owner's next line answers delete's question
        self.commands: list[str] = []  # with which the server is started, in turn
        self.starts = 0
        self.signalled = False

    def lines(self, entries: Iterable[Entry]) -> Iterator[Shown]:
        """Yield the lines of the block."""
        entries = list(entries)
        self.heard = {(one.who, one.text) for one in entries if one.what == "hears"}
        self.commands = [one.text for one in entries if one[1:3] == ("server", "starts")]
        self.last_sent = {
            one.who: place for place, one in enumerate(entries) if one.what == "sends"
        }
        lists = [place for place, one in enumerate(entries) if one[1:] == MEMBERS]
        last = lists[-1] if lists and is_list(self.wrong) else -1
        for place, entry in enumerate(entries):
            if entry.who == "owner":
                yield from self.owner(entry, place == last)
            elif entry.who == "server":
                yield from self.server(entry)
            elif entry.who not in self.over:
                yield from self.client(
                    *entry[1:], sends_more=place < self.last_sent.get(entry.who, 0)
                )
        for line, is_shown in self.orders:
            if not is_shown:  # the harness's own `members` got no answer
                yield Shown("owner", ">", sent(line, ""))

    def client(self, who: str, what: str, text: str, *, sends_more: bool) -> Iterator[Shown]:
        if what == "sends":
            yield from self.sends(who, text.encode("utf-8", "surrogateescape"))
            if who in self.late and not sends_more:
                yield self.ends(who, "ended")
        elif what == "hears":
            yield from self.hears(who, text)
        elif what == "torn":
            yield Shown(who, "<", f"{text} (and no LF)")
        elif what == "shuts":
            yield Shown(who, ">|")
        elif what == "narrow":
            yield Shown(who, ">x", what)
        elif sends_more and what in ("ended", "reset"):
            self.late.add(who)
        elif what in ("ended", "reset", *CLOSES):
            yield self.ends(who, what)

    def ends(self, who: str, what: str) -> Shown:
        """The end of a client's connection."""
        self.over.add(who)
        return Shown(who, ">x", CLOSES[what]) if what in CLOSES else Shown(who, "|")

    def sends(self, who: str, data: bytes) -> Iterator[Shown]:
        if found := FENCE.fullmatch(data):
            answer = f"PONG {found[1].decode()}"
            if not self.matters(who, answer):
                self.fences.add((who, answer))
                return
        *lines, rest = data.split(b"\n")
        for line in lines:
            yield Shown(who, ">", sent(line, self.tokens.get(who, "")))
        if rest:
            yield Shown(who, ">+", sent(rest, ""))

    def matters(self, who: str, answer: str) -> bool:
        """Return whether a fence is part of what went wrong: its answer is what must come, or
        something else came in place of all answers that were due.
        """
        wrong = self.wrong
        if answer in wrong.allowed:
            return True
        is_line = bool(wrong.allowed) and wrong.came not in ("", END)
        is_pong = wrong.came.startswith("PONG f")
        return who == wrong.who and is_line and not is_pong and (who, answer) not in self.heard

    def hears(self, who: str, line: str) -> Iterator[Shown]:
        is_first = who not in self.greeted
        self.greeted.add(who)
        if line.startswith("PING "):
            self.tokens[who] = line[5:]
        if (who, line) in self.fences and (self.wrong.who, self.wrong.came) != (who, line):
            self.fences.remove((who, line))
        elif not (is_first and line.startswith("HELLO grupo/1 ")):
            yield Shown(who, "<", line)

    def owner(self, entry: Entry, is_wrong: bool) -> Iterator[Shown]:
        for line in entry.text.encode("utf-8", "surrogateescape").split(b"\n")[:-1]:
            is_shown = line != b"members" or self.consents or is_wrong
            if line.removesuffix(b"\r") or self.consents:  # else it gets no answer
                self.orders.append((line, is_shown))
            self.consents = line.removesuffix(b"\r") == b"delete" and not self.consents
            if is_shown:
                yield Shown("owner", ">", sent(line, ""))

    def server(self, entry: Entry) -> Iterator[Shown]:
        what, text = entry.what, entry.text
        if what == "shows":
            yield from self.shows(text)
        elif what == "signal" and text in SIGNALS:
            self.signalled = True
            yield Shown("server", "|", SIGNALS[text] + self.flags())
        elif what == "exits" and not self.signalled:
            yield Shown("server", "|", "exits 0")
        elif what == "starts":
            if self.starts and not self.signalled:
                yield Shown("server", "|", "starts" + self.flags())
            self.starts, self.signalled, self.consents = self.starts + 1, False, False
            self.orders.clear()
        elif what in ("stops", "goes"):
            yield Shown("server", "|", what)
        elif what == "waits":
            yield Shown("server", "|", f"waits {text}")

    def flags(self) -> str:
        """Return the flags that differ at the next start, as words of a block."""
        both = self.commands[max(0, self.starts - 1) : self.starts + 1]
        return changed(*both) if len(both) == 2 else ""

    def shows(self, line: str) -> Iterator[Shown]:
        """A line of the console."""
        if ASKS.fullmatch(line):
            yield Shown("owner", "<", line)
        elif self.orders and not UNASKED.fullmatch(line):
            self.answer.append(line)
            if ANSWERED.fullmatch(line):
                order, is_shown = self.orders.pop(0)
                lines = [REST, line] if order == b"help" else self.answer
                if is_shown:
                    yield from (Shown("owner", "<", one) for one in lines)
                self.answer = []


# -- What must come, in place of what came


def corrected(lines: list[Shown], wrong: Difference) -> Iterator[Shown]:
    """Yield the lines up to the wrong one, and what the page requires in its place."""
    place = place_of_wrong(lines, wrong)
    if not wrong.allowed:
        yield from without(lines, place, wrong)
        return
    must = list(required(wrong, lines))
    last = last_deed(lines)
    gone = set()  # others whose further lines are wrong, too
    for number, line in enumerate(lines[:place]):
        is_end = line.what == "|" and wrong.who == "server"
        if number > last and line.who != wrong.who and (is_end or differs(line, must)):
            gone.add(line.who)
        if number <= last or line.who not in gone:
            yield line
    yield from must
    yield Shown("", REST)


def last_deed(lines: Sequence[Shown]) -> int:
    """Return the place of the last thing that somebody did; what follows is the answer to it."""
    return max((place for place, line in enumerate(lines) if line.what in DEEDS), default=0)


def differs(line: Shown, must: list[Shown]) -> bool:
    """Return whether a line has the number of the required event, or a later one, and another
    event: what came to others is wrong in the same way.
    """
    here = EVENT.fullmatch(line.text)
    there = re.match(r"[A-Z]+ (\d+) TIME ", received(must[0].text)) if must else None
    if not (line.what == "<" and here and there):
        return False
    return int(here[2]) >= int(there[1]) and received(line.text) != received(must[0].text)


def place_of_wrong(lines: list[Shown], wrong: Difference) -> int:
    """Return the place of the first wrong line; the number of lines if none came."""
    own = [place for place, line in enumerate(lines) if line.who == wrong.who]
    if wrong.came in ("", END):
        # An end may have come in place of a line.
        is_end = bool(own) and lines[own[-1]].what == "|" and wrong.who != "server"
        return own[-1] if is_end and END not in wrong.allowed else len(lines)
    if re.match("MEMBER |member ", wrong.came):
        place = len(lines)
        for number in reversed(own):  # the first line of the last list
            if is_listed(lines[number]):
                place = number
            elif place < len(lines) and not EVENT.fullmatch(lines[number].text):
                break
        return place
    came = wrong.came.split(" | ") if wrong.who == "owner" else [wrong.came]
    for place in reversed(own):
        if [line.text for line in lines[place : place + len(came)]] == came:
            return place
    return len(lines)


def without(lines: list[Shown], place: int, wrong: Difference) -> Iterator[Shown]:
    """Yield the lines without a surplus one; others may have received it, too."""
    counts: dict[str, int] = defaultdict(int)
    surplus = lines[place] if place < len(lines) else None
    most = lines[:place].count(surplus) if surplus else 0
    last = last_deed(lines)
    for number, line in enumerate(lines):
        if surplus and (line.what, line.text) == surplus[1:]:
            counts[line.who] += 1
            if counts[line.who] > most and (number == place or number > last):
                continue
        yield line


def required(wrong: Difference, lines: Iterable[Shown]) -> Iterator[Shown]:
    """Yield the lines that must come; of those that may, the first."""
    first, who = wrong.allowed[0], wrong.who
    if who == "server":
        if first != "exits 0":
            yield Shown(who, "|", "runs")
    elif isinstance(first, Message) or first in UNKNOWN:
        pass  # the harness could not do its part, or anything may come
    elif first == END:
        yield Shown(who, "|")
    elif found := re.fullmatch(r"the events after (\d+), (END HISTORY (\d+))", first):
        known = {int(one[2]): line for line in lines if (one := EVENT.fullmatch(line.text))}
        numbers = range(int(found[1]) + 1, int(found[3]) + 1)
        for number in numbers:
            if number not in known:
                yield Shown(who, "<", REST)
                break
            yield known[number]._replace(who=who)
        yield Shown(who, "<", found[2])
    elif who == "owner":
        yield from (
            Shown(who, "<", REST if line == "# WORDS" else line) for line in first.split(" | ")
        )
    else:
        whole = first.split(", ") if first.endswith("END WHO") else [first]
        yield from (Shown(who, "<", line) for line in whole)
