"""Wording that the console and the windows share."""

from datetime import datetime

from ..common import wire


def local_time(time: str) -> datetime:
    """Return a time of the wire in the local time zone; 1970 if no calendar has that time."""
    try:
        return datetime.fromisoformat(time).astimezone()
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0)


def explain(error: Exception) -> str:
    """Return one line for the user about an exception: an OSError without its number."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return wire.harmless(text)
