"""The mutations of a source in C, found in its tokens, with no more grammar than statements need.

What does not compile in the end is stillborn. Preprocessor lines, declarations without a value and
words on stderr are left alone.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.teaching.mutations.edit import (
    CONDITION_NEGATED,
    ERROR_BRANCH_DROPPED,
    LOCK_DROPPED,
    LONGEST,
    MOVED_OUT_OF_LOCK,
    OFF_BY_ONE,
    STATEMENT_DROPPED,
    STATEMENTS_SWAPPED,
    WRONG_CONSTANT,
    Edit,
    next_number,
)

TOKEN = re.compile(
    r"""(?P<skip>/\*.*?\*/|//[^\n]*|^[ \t]*\#(?:[^\n\\]|\\.)*|\s+)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>\d[\w.]*(?:(?<=[eE])[+-]\d+)?)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<mark><<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|.)""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
PAIRS = {"(": ")", "[": "]", "{": "}"}
ENDS = set(PAIRS.values())
EDGES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
JUMPS = {"return", "break", "continue", "goto"}
LOCKS = re.compile(r"(^|_)(un)?lock$|^flock$|^(enter|leave)_room$|^sem_(wait|post)$")
FOR_PEOPLE = {"perror", "fprintf", "fputs", "fputc"}  # to stderr
WORD = re.compile(r'"[A-Za-z]+(-[a-z]+)*"')
QUALIFIERS = {"static", "const", "struct", "enum", "union", "unsigned", "signed", "long", "typedef"}
# What a condition can begin after, and end before.
BOUNDS = {"=", "return", ",", "?", ":", ";", "&&", "||", "+=", "-=", "|=", "&="}


@dataclass
class Token:
    text: str
    kind: str
    start: int
    end: int
    partner: int = -1  # the index of the bracket that belongs to this one


@dataclass
class Statement:
    """A statement: the indices of its first token, and of the one behind its last."""

    kind: str  # its keyword; "simple", "declaration", "block" or "label"
    first: int
    last: int
    header: tuple[int, int] = (0, 0)  # of the tokens between its parentheses
    inner: list["Statement"] = field(default_factory=list)
    has_else: bool = False


def edits(text: str) -> list[Edit]:
    """Return all mutations of a source."""
    return list(Program(text).edits())


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a source, without comments and preprocessor lines, brackets paired."""
    tokens = [
        Token(match[0], str(match.lastgroup), match.start(), match.end())
        for match in TOKEN.finditer(text)
        if match.lastgroup != "skip"
    ]
    opened: list[int] = []
    for place, token in enumerate(tokens):
        if token.text in PAIRS:
            opened.append(place)
        elif token.text in ENDS:
            token.partner = opened.pop()
            tokens[token.partner].partner = place
    return tokens


class Program:
    """A source, and what is known of it."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens = text, tokens_of(text)

    def edits(self) -> Iterator[Edit]:
        """Yield all mutations."""
        place = outside = 0
        while place < len(self.tokens):
            token = self.tokens[place]
            if token.text == "{" and (name := self.function_before(place)):
                yield from self.named_constants(outside, place)
                for edit in self.of_block(self.block(place)):
                    yield Edit(edit.kind, edit.start, edit.end, edit.new, name)
                place = outside = token.partner + 1
            else:
                place += 1
        yield from self.named_constants(outside, place)

    def function_before(self, place: int) -> str:
        """Return the function whose body begins with this bracket, "" if there is none."""
        if not place or self.tokens[place - 1].text != ")":
            return ""
        name = self.tokens[self.tokens[place - 1].partner - 1]
        return name.text if name.kind == "word" else ""

    def edit(self, kind: str, first: int, last: int, new: str) -> Edit:
        """Return the edit that replaces the tokens from `first` up to `last`."""
        return Edit(kind, self.tokens[first].start, self.tokens[last - 1].end, new)

    def between(self, first: int, last: int) -> str:
        """Return the text of the tokens from `first` up to `last`."""
        return self.text[self.tokens[first].start : self.tokens[last - 1].end]

    def lines(self, first: int, last: int) -> int:
        return self.between(first, last).count("\n") + 1

    # -- Statements --------------------------------------------------------------------------------

    def block(self, place: int) -> Statement:
        """Parse the block that begins with this bracket."""
        end = self.tokens[place].partner
        inner, at = [], place + 1
        while at < end:
            inner.append(self.statement(at))
            at = inner[-1].last
        return Statement("block", place, end + 1, inner=inner)

    def statement(self, place: int) -> Statement:
        """Parse the statement that begins here."""
        word = self.tokens[place].text
        if word == "{":
            return self.block(place)
        if word in ("if", "while", "for", "switch"):
            closing = self.tokens[place + 1].partner
            body = self.statement(closing + 1)
            found = Statement(word, place, body.last, (place + 2, closing), [body])
            if word == "if" and self.tokens[body.last].text == "else":
                other = self.statement(body.last + 1)
                found.inner.append(other)
                found.last, found.has_else = other.last, True
            return found
        if word == "do":
            body = self.statement(place + 1)
            closing = self.tokens[body.last + 1].partner
            return Statement(word, place, closing + 2, (body.last + 2, closing), [body])
        end = place
        is_case = word in ("case", "default")
        if not is_case and self.tokens[place + 1].text == ":":
            return Statement("label", place, place + 2)
        while self.tokens[end].text != (":" if is_case else ";"):
            end = max(end, self.tokens[end].partner) + 1
        kind = "label" if is_case else "simple"
        if kind == "simple" and self.is_declaration(place):
            kind = "declaration"
        return Statement(kind, place, end + 1)

    def is_declaration(self, place: int) -> bool:
        """Whether a simple statement begins like `type name` or `type *name`."""
        first, second = self.tokens[place : place + 2]
        if first.text in QUALIFIERS:
            return True
        if first.kind != "word" or first.text in JUMPS:
            return False
        return second.kind == "word" or (
            second.text == "*" and self.tokens[place + 2].kind in ("word", "mark")
        )

    def is_jump(self, one: Statement) -> bool:
        """Whether a statement, or the last one of a block, leaves its loop or its function."""
        if one.kind == "block":
            return bool(one.inner) and self.is_jump(one.inner[-1])
        return one.kind == "simple" and self.tokens[one.first].text in JUMPS | {"die"}

    def is_guard(self, one: Statement) -> bool:
        """Whether a statement leaves early, or goes on, and does no more."""
        return one.kind == "if" and not one.has_else and self.is_jump(one.inner[0])

    def is_lock(self, one: Statement) -> bool:
        """Whether a statement takes a lock or gives it back, and does no more."""
        return one.kind == "simple" and bool(LOCKS.search(self.tokens[one.first].text))

    def of_block(self, block: Statement) -> Iterator[Edit]:
        """Yield the mutations of a block, inner blocks too."""
        for one in block.inner:
            yield from self.of_statement(one)
        for first, second in itertools.pairwise(block.inner):
            if self.lines(first.first, second.last) <= LONGEST:
                yield from self.swap(first, second)

    def of_statement(self, one: Statement) -> Iterator[Edit]:
        """Yield the mutations of a statement, and of those in it."""
        if one.kind == "block":
            yield from self.of_block(one)
            return
        if self.tokens[one.first].text in FOR_PEOPLE or one.kind == "label":
            return
        yield from self.drop(one)
        first, last = one.header if one.inner else (one.first, one.last)
        yield from self.negations(one, first, last)
        yield from self.constants(one, first, last)
        for inner in one.inner:
            yield from self.of_statement(inner)

    def drop(self, one: Statement) -> Iterator[Edit]:
        """Yield the absence of a statement, or of an `if` that leaves early."""
        if one.kind == "simple" and one.last - one.first > 1:
            kind = LOCK_DROPPED if self.is_lock(one) else STATEMENT_DROPPED
            yield self.edit(kind, one.first, one.last, ";")
        elif self.is_guard(one) and self.lines(one.first, one.last) <= LONGEST:
            yield self.edit(ERROR_BRANCH_DROPPED, one.first, one.last, ";")

    def swap(self, first: Statement, second: Statement) -> Iterator[Edit]:
        """Yield two neighbours in the other order."""
        pair = first, second
        if any(one.kind in ("declaration", "label") or self.is_jump(one) for one in pair):
            return
        if all(self.is_lock(one) for one in pair) or self.commute(first, second):
            return
        is_at_lock = any(self.is_lock(one) for one in pair)
        between = self.text[self.tokens[first.last - 1].end : self.tokens[second.first].start]
        new = (
            self.between(second.first, second.last)
            + between
            + self.between(first.first, first.last)
        )
        kind = MOVED_OUT_OF_LOCK if is_at_lock else STATEMENTS_SWAPPED
        yield self.edit(kind, first.first, second.last, new)

    def commute(self, first: Statement, second: Statement) -> bool:
        """Whether two statements are plain assignments with no name in common."""
        used = []
        for one in first, second:
            tokens = self.tokens[one.first : one.last]
            if one.kind != "simple" or any(token.text == "(" for token in tokens):
                return False
            # Of c->box.start, what differs from c->box.end is the last name.
            ends = [
                token.text
                for token, after in itertools.pairwise(tokens)
                if token.kind == "word" and after.text not in ("->", ".", "[")
            ]
            used.append(set(ends))
        return not used[0] & used[1]

    # -- Expressions -------------------------------------------------------------------------------

    def negations(self, one: Statement, first: int, last: int) -> Iterator[Edit]:
        """Yield each condition, and each part of one, turned into its opposite."""
        if one.kind in ("if", "while", "do"):
            yield self.negated(first, last)
        start = first
        for place in range(first, last):
            text = self.tokens[place].text
            if text in PAIRS or text in ENDS or text in BOUNDS:
                is_part = text in ("&&", "||", "?") or self.tokens[start - 1].text in ("&&", "||")
                if is_part and start < place and text not in PAIRS:
                    yield self.negated(start, place)
                if text in BOUNDS or text in ("(", "{"):
                    start = place + 1
                elif text in ENDS:  # a part goes on behind its brackets
                    start = self.part_start(place)
        if self.tokens[start - 1].text in ("&&", "||") and start < last:
            yield self.negated(start, last)

    def part_start(self, place: int) -> int:
        """Return where the part of a condition begins that this closing bracket belongs to."""
        at = self.tokens[place].partner
        while self.tokens[at - 1].text not in BOUNDS | set(PAIRS):
            at = self.tokens[at - 1].partner if self.tokens[at - 1].text in ENDS else at - 1
        return at

    def negated(self, first: int, last: int) -> Edit:
        text = self.between(first, last)
        return self.edit(CONDITION_NEGATED, first, last, f"!({text})")

    def constants(self, one: Statement, first: int, last: int) -> Iterator[Edit]:
        """Yield limits that are missed by one, and constants that are wrong."""
        place = first
        while place < last:
            token = self.tokens[place]
            if token.text == "[" and one.kind == "declaration":
                place = token.partner  # the size of an array: more is harmless
                continue
            if token.text in EDGES:
                yield self.edit(OFF_BY_ONE, place, place + 1, EDGES[token.text])
            elif token.kind == "number":
                yield from self.number(place)
            elif token.text in ("true", "false"):
                other = "false" if token.text == "true" else "true"
                yield self.edit(WRONG_CONSTANT, place, place + 1, other)
            elif WORD.fullmatch(token.text):
                yield self.edit(WRONG_CONSTANT, place, place + 1, token.text[:-1] + 'x"')
            place += 1

    def number(self, place: int, is_named: bool = False) -> Iterator[Edit]:
        """Yield a number that is wrong: by one, or by half."""
        text = self.tokens[place].text
        is_whole = not re.search(r"\.|\d[eE]", text) or text.startswith("0x")
        if is_whole:
            yield self.edit(OFF_BY_ONE, place, place + 1, next_number(text))
        if is_named or not is_whole:
            yield self.edit(WRONG_CONSTANT, place, place + 1, f"(2 * {text})")

    def named_constants(self, first: int, last: int) -> Iterator[Edit]:
        """Yield the constants outside of functions, as of `enum { LINE = 512 }`, that are wrong."""
        for place in range(first + 1, last):
            if self.tokens[place].kind == "number" and self.tokens[place - 1].text == "=":
                yield from self.number(place, is_named=True)
