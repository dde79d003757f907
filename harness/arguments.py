"""Converters for the arguments of several commands.

argparse reports their ArgumentTypeError in one line, and ends with exit status 2.
"""

import argparse
import os


def seconds(text: str) -> float:
    """Return a number of seconds, above 0 and up to 600. Raises argparse.ArgumentTypeError."""
    try:
        if 0 < float(text) <= 600:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0 and up to 600")


def positive(text: str) -> int:
    """Return a whole number, at least 1. Raises argparse.ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def workers(parser: argparse.ArgumentParser, do: str) -> None:
    """Add --workers: how many processes `do` something at the same time."""
    parser.add_argument(
        "--workers",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help=f"processes that {do} (default: one for each core)",
    )
