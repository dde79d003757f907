"""What a program prints that is no server at work: its help, a client's lines.

A letter that the terminal lacks is escaped. If stdout can take no more, the program ends quietly.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from .console import STDOUT, open_standard_descriptors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDERR = 2


class Output(io.FileIO):
    """Stdout or stderr, unbuffered. Its errors name it, as those of a file do."""

    def write(self, data: ReadableBuffer) -> int:
        """As of io.FileIO. Raises OSError."""
        try:
            return super().write(data)
        except OSError as error:
            error.filename = "stdout" if self.fileno() == STDOUT else "stderr"
            raise


def usable(stream: TextIO | None, descriptor: int) -> TextIO:
    """Returns a stream for this descriptor, which escapes the letters that it cannot encode.

    It has a buffer, also with PYTHONUNBUFFERED: so a part that could not be written is not lost
    where argparse ignores the error, but fails again at the end.
    """
    encoding, line_buffering = "utf-8", True
    if isinstance(stream, io.TextIOWrapper):
        encoding, line_buffering = stream.encoding, stream.line_buffering or stream.write_through
    raw = Output(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=line_buffering
    )


@contextlib.contextmanager
def complete_output() -> Iterator[None]:
    """Ends the program with status 1 if what is printed in this block cannot be written.

    If nobody reads it any more (`| head`), nothing is said; of a full disk, one line on stderr is.
    """
    open_standard_descriptors()
    sys.stdout, sys.stderr = usable(sys.stdout, STDOUT), usable(sys.stderr, STDERR)
    try:
        yield
    finally:
        lost = flush(sys.stdout)
        if lost and not isinstance(lost, BrokenPipeError):
            with contextlib.suppress(OSError):
                print(f"{lost.filename}: {lost.strerror}", file=sys.stderr)
        if flush(sys.stderr) or lost:
            sys.exit(1)


def flush(stream: TextIO) -> OSError | None:
    """Writes what is left; if that fails, throws it away, and returns the error."""
    try:
        stream.flush()
    except OSError as error:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())  # Python flushes the stream once more at its end
        os.close(nothing)
        return error
    return None
