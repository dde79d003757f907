"""Reads text files that people write with an editor of their own."""

import codecs
import os
from pathlib import Path

from harness.driving.messages import Message, msg

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16: its mark begins with that of UTF-16
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class EncodingError(ValueError):
    """A file is not UTF-8 text. Its argument is a Message that names the encoding, if possible."""

    def __init__(self, why: Message) -> None:
        super().__init__(why)


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a UTF-8 file, without a byte order mark. Raises OSError, EncodingError."""
    data = Path(path).read_bytes()
    unmarked = "UTF-16" if b"\0" in data[:2] else ""  # half of an ASCII character is zero
    marked = (name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark))
    if encoding := next(marked, unmarked):
        raise EncodingError(msg("the text is {encoding}: save it as UTF-8", encoding=encoding))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"0x{error.object[error.start]:02x}"
        raise EncodingError(
            msg("line {line} is not UTF-8 (byte {byte}): save it as UTF-8", line=line, byte=byte)
        ) from None
