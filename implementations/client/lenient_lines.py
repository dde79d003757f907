"""Splits bytes of any origin into lines, and keeps text that the protocol does not permit."""

from ..common import wire


class LenientLines(wire.Lines):
    """A line splitter that loses nothing but lines that are too long.

    Invalid UTF-8 becomes surrogates, control characters stay: whatever displays a line makes it
    harmless. A line of wire.MAX_LINE bytes or more becomes a wire.Fault.
    """

    def cut(self, whole: bytes) -> list[str]:
        """Return the lines in `whole`, which are separated by LF."""
        return [
            line.removesuffix(b"\r").decode(errors="surrogateescape")
            if len(line) < wire.MAX_LINE
            else wire.Fault("too-long")
            for line in whole.split(b"\n")
        ]
