"""The wire, grupo/1: how bytes become lines, and what a line may hold.

Pure: nothing here opens a file, waits or reads a clock. The rules are those of
lab_guide/protocol.md.
"""

import re
import unicodedata
from datetime import UTC, datetime
from functools import lru_cache

from precis_i18n import get_profile

VERSION = "grupo/1"
EVENTS = "GROUP", "MSG", "IN", "OUT", "RENAMED", "LEFT", "BANNED"
MAX_LINE = 512  # bytes, with the LF; also the smallest PIPE_BUF that POSIX allows
MAX_NAME, MAX_NAME_BYTES = 32, 64
MAX_TEXT, MAX_GROUP, MAX_PASSWORD, MAX_TOKEN = 400, 64, 128, 64  # bytes

# RFC 9839 ("Unicode Assignables") excludes the noncharacters. Here TAB, CR, LF and the
# bidirectional controls are excluded, too.
NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    chr(plane * 0x10000 + last) for plane in range(17) for last in (0xFFFE, 0xFFFF)
)
FORBIDDEN = re.compile(
    f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069{NONCHARACTERS}]"
)
ESCAPED = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of wrong bytes
PLAIN = bytes(range(0x20, 0x7F)) + b"\n"  # bytes that are permitted in any order
MESSAGES = re.compile(rb"(?:SAY [ -~]{1,%d}\n)+" % MAX_TEXT)

ASCII_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TOKEN = re.compile(f"[!-~]{{1,{MAX_TOKEN}}}")
SEQ = re.compile("[0-9]{1,16}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


class Fault(str):
    """The ERR code of a line that is not valid text: too-long, bad-utf8 or bad-text."""


class Lines:
    """Splits a stream of bytes into lines: the same lines, however the network splits it."""

    def __init__(self) -> None:
        self.rest = b""  # the beginning of a line whose LF has not arrived
        self.skipping = False  # inside a line that is too long, up to its LF

    def feed(self, data: bytes) -> list[str]:
        """Returns the lines that `data` completes, without line ends; a Fault for a bad one."""
        whole, newline, rest = (self.rest + data if self.rest else data).rpartition(b"\n")
        lines = self.cut(whole) if newline else []
        if len(rest) >= MAX_LINE and not self.skipping:  # too long, wherever its LF will be
            lines.append(Fault("too-long"))
            self.skipping = True
        self.rest = b"" if self.skipping else rest
        return lines

    def are_messages(self, data: bytes) -> bool:
        """Whether `data`, if it arrives now, is nothing but whole messages in ASCII."""
        return not self.rest and not self.skipping and MESSAGES.fullmatch(data) is not None

    def messages(self, data: bytes) -> list[str]:
        """Returns the texts in `data`, if are_messages(data); else [].

        Most of a server's input is such data: it need not go through feed(), and is split at once.
        """
        return data[4:-1].decode("ascii").split("\nSAY ") if self.are_messages(data) else []

    def cut(self, whole: bytes) -> list[str]:
        """Returns the lines of `whole`, which lacks only its last LF; see feed()."""
        if self.skipping:
            self.skipping = False
            _, newline, whole = whole.partition(b"\n")
            if not newline:
                return []
        if len(whole) < MAX_LINE or max(map(len, whole.split(b"\n"))) < MAX_LINE:
            plain = whole.replace(b"\r\n", b"\n").removesuffix(b"\r")
            if not plain.translate(None, PLAIN):  # the common case: one check of the whole chunk
                return plain.decode("ascii").split("\n")
        return [decode(line) for line in whole.split(b"\n")]


def decode(line: bytes) -> str:
    """Returns one line, without its LF, as text, or the Fault that tells what is wrong with it."""
    if len(line) >= MAX_LINE:
        return Fault("too-long")
    # Without an exception: a flood of bad lines would cost ten times as much.
    text = line.removesuffix(b"\r").decode(errors="surrogateescape")
    if is_permitted(text):
        return text
    return Fault("bad-utf8" if ESCAPED.search(text) else "bad-text")


def is_permitted(text: str) -> bool:
    """Whether every character of `text` may appear on the wire.

    Printable text may, and str.isprintable() is 20 times faster than the pattern.
    """
    return text.isprintable() or not FORBIDDEN.search(text)


def size(text: str) -> int:
    """Returns the length of `text` in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def is_text(text: str, most: int = MAX_TEXT) -> bool:
    """Whether `text` is 1 to `most` bytes of permitted characters."""
    return 0 < len(text) <= most and is_permitted(text) and size(text) <= most


def is_group(text: str) -> bool:
    """Whether `text` can be the name of a group."""
    return is_text(text, MAX_GROUP) and text == text.strip(" ")


def clean_name(text: str) -> str | None:
    """Returns `text` as a member's name in its display form, or None if it is not a name.

    ASCII is used unchanged. Other text goes through PRECIS UsernameCasePreserved (RFC 8265), and
    holds letters (with their marks) and digits of one script only: so nobody can imitate `ana`
    with a Cyrillic a.
    """
    if not text.isascii():
        if len(text) > 4 * MAX_NAME:  # no character of NFC has more than four parts
            return None  # at once: PRECIS takes long for a long text
        try:
            text = PRESERVED.enforce(text)
            FOLDED.enforce(text)
        except UnicodeEncodeError:
            return None
        if not all(unicodedata.category(c)[0] in "LM" or c.isdecimal() or c in "._-" for c in text):
            return None
        if not text[0].isalnum() or len({script(c) for c in text} - {"Zyyy", "Zinh"}) > 1:
            return None
    elif not ASCII_NAME.fullmatch(text):
        return None
    return text if len(text) <= MAX_NAME and size(text) <= MAX_NAME_BYTES else None


@lru_cache(maxsize=4096)  # a window folds all names whenever it sorts them
def fold(name: str) -> str:
    """Returns the key of a name: names that differ only in case have the same key.

    A client can get names that our servers do not accept: other servers may accept more.
    """
    try:
        return name.lower() if name.isascii() else str(FOLDED.enforce(name))
    except UnicodeEncodeError:
        return name.lower()


def script(char: str) -> str:
    """Returns the script of a character in four letters, such as Latn; Zyyy and Zinh fit any."""
    # Imported late: few names need it, and the import takes a third of the start-up time.
    from fontTools import unicodedata as scripts

    return str(scripts.script(char))


PRESERVED, FOLDED = get_profile("UsernameCasePreserved"), get_profile("UsernameCaseMapped")


def stamp(seconds: float) -> str:
    """Returns a time in seconds since 1970 as the wire writes it: 2026-11-22T13:21:28.123Z."""
    return stamp_of(int(seconds * 1000))


@lru_cache(maxsize=1)  # a busy server asks many times in one millisecond
def stamp_of(milliseconds: int) -> str:
    """Returns a time in milliseconds since 1970 as the wire writes it."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def harmless(text: str) -> str:
    """Returns `text` with visible escapes for what a terminal might obey: ESC becomes \\x1b."""
    return FORBIDDEN.sub(
        lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text
    )
