"""The server's warnings, on stderr."""

import os


def warn(text: str) -> None:
    """Writes a warning for the owner as one line. If stderr takes none, it is lost: no error."""
    try:
        os.write(2, f"grupo: warning: {text}\n".encode(errors="backslashreplace"))
    except OSError:
        pass
