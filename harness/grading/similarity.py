"""Which submissions have code in common that others have not: pairs to read, never a grade.

Only the functions that the lab empties are compared. Of each, copydetect makes fingerprints: all
pieces of `PIECE` signs, in which names and texts do not count, nor blanks and comments. (Winnowing:
Schleimer, Wilkerson, Aiken, 2003, https://theory.stanford.edu/~aiken/publications/papers/sigmod03.pdf)
What everyone has in common is left out: pieces of the starting folder, of the reference, and those
that more than half of the submissions have.
"""

import io
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from harness.driving.messages import Message, msg
from harness.grading.model import Class, Student, folder_of
from harness.teaching import starter
from harness.teaching.starter import Starter
from harness.verdicts.formats.page import rendered
from harness.verdicts.formats.render import clean

PIECE = 20  # signs, in which each name is one: one to three statements
LEAST = 40  # signs that two must have in common, to be a pair
LEAST_SHARE = 0.5  # of what remains of both
COMMON = 5  # submissions; fewer that have the same piece are never everyone
LONGEST = 64_000  # characters of a function
PAIRS = 40  # that are shown
LEXERS = {"python": "python", "c": "c"}


@dataclass
class Code:
    """What is compared of one submission."""

    digest: str
    students: list[Student]
    language: str
    text: str = ""
    prints: Any = None  # copydetect's CodeFingerprint, without what everyone has in common
    why_not: Message | str = ""

    @property
    def size(self) -> int:
        """How many signs remain to be compared."""
        return int(self.prints.token_coverage)


@dataclass
class Pair:
    """Two submissions with code in common."""

    left: Code
    right: Code
    share: float  # 0 to 1, of what remains of both
    parts: tuple[list[tuple[str, bool]], ...]  # of each: (text, whether the other has it, too)


@dataclass
class Similarity:
    """What was found in a class."""

    pairs: list[Pair] = field(default_factory=list)
    more: int = 0  # pairs that are not shown
    same: list[list[Student]] = field(default_factory=list)  # handed in the same bytes
    reference: list[Student] = field(default_factory=list)  # the reference, but for blanks
    apart: list[Code] = field(default_factory=list)  # could not be compared


def page(cls: Class) -> str:
    """similarity.html. Raises ModuleNotFoundError if copydetect is not installed."""
    found = compared(cls)
    return rendered(
        Path(__file__).with_name("similarity.html"),
        cls=cls,
        found=found,
        clean=clean,
        folder_of=folder_of,
        least=round(100 * LEAST_SHARE),
    )


def compared(cls: Class) -> Similarity:
    """What is alike among the submissions of a class, whose texts are in cls.sources."""
    found = Similarity()
    by_digest: dict[str, list[Student]] = {}
    for student, grade in zip(cls.students, cls.grades, strict=True):
        if grade.submission in cls.sources:
            by_digest.setdefault(grade.submission, []).append(student)
    for written_in in starter.LANGUAGES:
        codes = [
            Code(digest, students, written_in)
            for digest, students in by_digest.items()
            if language_of(cls.sources[digest]) == written_in
        ]
        if codes:
            compare(found, codes, starter.read(cls.lab, written_in), cls.sources)
    found.pairs.sort(key=lambda pair: (-pair.share, pair.left.digest, pair.right.digest))
    found.more = max(0, len(found.pairs) - PAIRS)
    del found.pairs[PAIRS:]
    return found


def language_of(files: dict[str, bytes]) -> str:
    """The language of a submission."""
    return "c" if "server.c" in files else "python"


def compare(
    found: Similarity, codes: list[Code], begun: Starter, sources: dict[str, dict[str, bytes]]
) -> None:
    """Adds to `found` what is alike among submissions in one language."""
    reference = functions(begun, lambda name: begun.files()[name].read_text(encoding="utf-8"))
    template = {one.function: textwrap.dedent(one.body) for one in begun.empty}
    known = [
        {name: words(text, begun.language) for name, text in texts.items()}
        for texts in (reference, template)
    ]
    for code in codes:
        try:
            own = functions(begun, lambda name, code=code: text_of(sources[code.digest][name]))
        except LookupError as error:
            code.why_not = msg("there is no {name} in it", name=str(error.args[0]))
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            code.why_not = msg("it cannot be read: {why}", why=str(error)[:200])
        if code.why_not:
            found.apart.append(code)
            continue
        bare = {name: words(text, begun.language) for name, text in own.items()}
        if bare == known[0]:
            found.reference += code.students
        elif len(code.students) > 1 and bare != known[1] and not are_partners(code.students):
            found.same.append(code.students)
        new = [name for name in own if bare[name] not in (known[0][name], known[1][name])]
        code.text = "\n\n".join(own[name] for name in new)
    codes = [code for code in codes if code.text]
    leave_out_what_all_have(codes, [*reference.values(), *template.values()], begun.language)
    found.pairs += pairs_of(codes)


def text_of(data: bytes) -> str:
    """The text of a file that a student handed in."""
    return data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")


def are_partners(students: list[Student]) -> bool:
    """Whether one submission is theirs together."""
    logins = {student.login for student in students}
    return all(logins <= {student.login, *student.partners} for student in students)


# -- The functions that the lab empties ----------------------------------------------------------


def functions(begun: Starter, file_named: Callable[[str], str]) -> dict[str, str]:
    """The bodies of these functions, by name. Raises LookupError, SyntaxError, ValueError."""
    found = {}
    for one in begun.empty:
        text = file_named(one.file)
        body = (
            c_body(text, one.function)
            if begun.language == "c"
            else starter.body_of(text, one.function, "python")
        )
        if len(body) > LONGEST:
            raise ValueError(msg("{name} is too long", name=one.function))
        found[one.function] = textwrap.dedent(body).strip("\n")
    return found


def c_body(text: str, function: str) -> str:
    """What is between the braces of a function in C, wherever they stand. Raises LookupError."""
    tokens = [(at, value) for at, value in code_tokens(text, "c") if value.strip()]
    for place, (_, value) in enumerate(tokens):
        if value != function:
            continue
        end = closing(tokens, place + 1, "(", ")")
        if end and end + 1 < len(tokens) and tokens[end + 1][1] == "{":
            last = closing(tokens, end + 1, "{", "}")
            if last:
                return text[tokens[end + 1][0] + 1 : tokens[last][0]]
    raise LookupError(function)


def closing(tokens: list[tuple[int, str]], place: int, opens: str, closes: str) -> int:
    """The place of the token that closes what the token at `place` opens; 0 if none does."""
    depth = 0
    for number in range(place, len(tokens)):
        depth += {opens: 1, closes: -1}.get(tokens[number][1], 0)
        if not depth:
            return number if tokens[number][1] == closes else 0
    return 0


def code_tokens(text: str, written_in: str) -> Iterator[tuple[int, str]]:
    """The words and signs of a program, (place, text), without comments."""
    from pygments import lexers, token  # slow to load

    for at, kind, value in lexers.get_lexer_by_name(LEXERS[written_in]).get_tokens_unprocessed(
        text
    ):
        if kind not in token.Comment or kind in token.Comment.Preproc:
            yield at, value


def words(text: str, written_in: str) -> list[str]:
    """The same without blanks."""
    return [word for _, value in code_tokens(text, written_in) for word in value.split()]


# -- Fingerprints --------------------------------------------------------------------------------


def fingerprint(text: str, written_in: str) -> Any:
    """copydetect's fingerprint of a text. All its pieces count: a function has few."""
    from copydetect import CodeFingerprint  # slow to load: it brings matplotlib

    return CodeFingerprint("", PIECE, 1, language=LEXERS[written_in], fp=io.StringIO(text))


def leave_out_what_all_have(codes: list[Code], known: Iterable[str], written_in: str) -> None:
    """Gives each Code its fingerprint, without the pieces of `known` texts, and those that more
    than half have.
    """
    from copydetect.utils import get_token_coverage

    for code in codes:
        code.prints = fingerprint(code.text, written_in)
    counts = Counter(piece for code in codes for piece in code.prints.hashes)
    most = max(COMMON - 1, len(codes) / 2)
    common = {piece for piece, count in counts.items() if count > most}
    for text in known:
        common |= fingerprint(text, written_in).hashes
    for code in codes:
        one = code.prints
        one.hashes = one.hashes - common
        one.hash_idx = {piece: one.hash_idx[piece] for piece in one.hashes}
        one.token_coverage = get_token_coverage(one.hash_idx, one.k, len(one.filtered_code))


def pairs_of(codes: list[Code]) -> Iterator[Pair]:
    """The pairs that have enough in common, except partners."""
    from copydetect import compare_files

    having: dict[int, list[int]] = {}
    for number, code in enumerate(codes):
        for piece in code.prints.hashes:
            having.setdefault(piece, []).append(number)
    for left, right in sorted(
        {pair for those in having.values() for pair in combinations(those, 2)}
    ):
        one, other = codes[left], codes[right]
        if are_partners([*one.students, *other.students]):
            continue
        overlap, _, slices = compare_files(one.prints, other.prints)
        share = 2 * float(overlap) / (one.size + other.size)
        if overlap >= LEAST and share >= LEAST_SHARE:
            parts = tuple(
                marked(code.text, places) for code, places in zip((one, other), slices, strict=True)
            )
            yield Pair(one, other, min(1.0, share), parts)


def marked(text: str, places: Any) -> list[tuple[str, bool]]:
    """A text in parts: (text, whether it is in one of these places, [starts, ends]). The blanks at
    the beginning of a line are in none.
    """
    parts, at = [], 0
    for start, end in sorted(zip(*places.astype(int).tolist(), strict=True)):
        start, end = max(start, at), min(end, len(text))
        if start < end:
            parts += [(text[at:start], False)]
            pieces = re.split(r"(\n\s*)", text[start:end])
            parts += [(piece, not number % 2) for number, piece in enumerate(pieces)]
            at = end
    return [(clean(part), is_common) for part, is_common in [*parts, (text[at:], False)] if part]
