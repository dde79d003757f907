"""The encoding of a text that a person keeps in a file, by its first bytes. Pure.

Some editors begin a UTF-8 file with a byte order mark, which is not part of the text, and some save
text as UTF-16.
"""

import codecs

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16: its mark begins with that of UTF-16
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def without_mark(data: bytes) -> bytes:
    """Returns the beginning of a text without the byte order mark of UTF-8."""
    return data.removeprefix(codecs.BOM_UTF8)


def foreign_encoding(data: bytes) -> str:
    """Returns the encoding of a text, by its beginning, if it is UTF-16 or UTF-32; else ""."""
    unmarked = "UTF-16" if b"\0" in data[:2] else ""  # half of an ASCII character is zero
    marked = (name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark))
    return next(marked, unmarked)
