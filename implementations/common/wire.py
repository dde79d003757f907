"""The wire, grupo/1: how bytes become lines, and what a line may hold.

Pure: nothing here opens, waits or reads a clock. The rules are those of lab_guide/protocol.md.
"""
import re
import unicodedata
from datetime import datetime, timezone
from functools import lru_cache

from precis_i18n import get_profile

VERSION = "grupo/1"
EVENTS = "GROUP", "MSG", "IN", "OUT", "RENAMED", "LEFT", "BANNED"
MAX_LINE = 512                      # with its LF; also the least PIPE_BUF that POSIX allows
MAX_NAME, MAX_NAME_BYTES = 32, 64
MAX_TEXT, MAX_GROUP, MAX_PASSWORD, MAX_TOKEN = 400, 64, 128, 64     # bytes

# What RFC 9839 ("Unicode Assignables") leaves out, with TAB, CR and LF, and the bidi controls, left out as well.
NONCHARACTERS = "\ufdd0-\ufdef" + "".join(chr(plane * 0x10000 + last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
FORBIDDEN = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069{NONCHARACTERS}]")
PLAIN = bytes(range(0x20, 0x7F)) + b"\n"     # in which nothing is forbidden
MESSAGES = re.compile(rb"(?:SAY [ -~]{1,%d}\n)+" % MAX_TEXT)

ASCII_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TOKEN = re.compile(f"[!-~]{{1,{MAX_TOKEN}}}")
SEQ = re.compile("[0-9]{1,16}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


class Fault(str):
    """The ERR code of a line that cannot be taken as text: too-long, bad-utf8 or bad-text."""


class Lines:
    """Cuts a stream of bytes into lines, the same lines wherever the network cut it."""

    def __init__(self):
        self.rest = b""             # the beginning of a line whose end has not come
        self.skipping = False       # within a line that is too long, up to its LF

    def feed(self, data):
        """The lines that `data` completes, each a str without its line end, or a Fault in its place."""
        whole, newline, rest = (self.rest + data if self.rest else data).rpartition(b"\n")
        lines = self.cut(whole) if newline else []
        if len(rest) >= MAX_LINE and not self.skipping:     # its LF, wherever it is, comes too late
            lines.append(Fault("too-long"))
            self.skipping = True
        self.rest = b"" if self.skipping else rest
        return lines

    def are_messages(self, data):
        """Whether `data`, if it comes now, is nothing but whole messages in ASCII: then messages() is all there is to do."""
        return not self.rest and not self.skipping and MESSAGES.fullmatch(data)

    def cut(self, whole):
        if self.skipping:
            self.skipping = False
            _, newline, whole = whole.partition(b"\n")
            if not newline:
                return []
        if len(whole) < MAX_LINE or max(map(len, whole.split(b"\n"))) < MAX_LINE:
            plain = whole.replace(b"\r\n", b"\n").removesuffix(b"\r")
            if not plain.translate(None, PLAIN):            # the common case: one look at the whole chunk
                return plain.decode("ascii").split("\n")
        return [decode(line) for line in whole.split(b"\n")]


def messages(data):
    """The requests in `data` of which are_messages() is true: by far the most, so they are taken apart at one stroke."""
    return [("say", text) for text in data[4:-1].decode("ascii").split("\nSAY ")]


def decode(line):
    """One line, without its LF, as text, or as the Fault that is to be told."""
    if len(line) >= MAX_LINE:
        return Fault("too-long")
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return Fault("bad-utf8")
    return text if is_permitted(text) else Fault("bad-text")


def is_permitted(text):
    """Whether all of `text` may stand on the wire. (Printable text may, and Python knows that 20 times faster.)"""
    return text.isprintable() or not FORBIDDEN.search(text)


def size(text):
    """Bytes of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def is_text(text, most=MAX_TEXT):
    """Whether `text` is 1 to `most` bytes of permitted characters."""
    return 0 < len(text) <= most and is_permitted(text) and size(text) <= most


def is_group(text):
    return is_text(text, MAX_GROUP) and text == text.strip(" ")


def clean_name(text):
    """`text` as a name to be shown, or None if it is none.

    ASCII is taken as it stands. Everything else goes through PRECIS UsernameCasePreserved (RFC 8265), and may
    hold letters (with their marks) and digits of one script only, so that nobody writes `ana` with a Cyrillic a.
    """
    if not text.isascii():
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


def fold(name):
    """The key under which a clean name is kept: names that differ only in case are one name."""
    return name.lower() if name.isascii() else FOLDED.enforce(name)


def script(char):
    """The script that a character belongs to, as four letters: Latn, Cyrl, ...; Zyyy and Zinh go with any."""
    from fontTools.unicodedata import script    # not sooner: few names need it, and it is a third of a start
    return script(char)


PRESERVED, FOLDED = get_profile("UsernameCasePreserved"), get_profile("UsernameCaseMapped")


def stamp(seconds):
    """Seconds since 1970 as the wire writes a time: 2026-11-22T13:21:28.123Z."""
    return stamp_of(int(seconds * 1000))


@lru_cache(maxsize=1)           # a busy server asks many times in one millisecond
def stamp_of(milliseconds):
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def harmless(text):
    """`text` with every character that a terminal might obey made visible: ESC becomes \\x1b."""
    return FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
