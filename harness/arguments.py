"""Converters for the arguments of several commands. What they raise becomes argparse's one line and exit status 2."""
import argparse


def seconds(text):
    """A number of seconds, above 0 and up to 600."""
    try:
        if 0 < float(text) <= 600:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0 and up to 600")


def positive(text):
    """A whole number, at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)
