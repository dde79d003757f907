"""The command line: what every server takes, ours and a student's, and the limits."""
import argparse
import math
import os

from . import trace, wire


def parse(argv, design):
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(
        prog=f"python -m implementations.{design}", allow_abbrev=False,
        description=f"A group-chat server ({design}). The owner types orders on stdin: try `help`.")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=number(int, 0, 65535), default=7000, help="0 takes a free one (default: %(default)s)")
    add("--group", type=group, default="grupo", help="name of a new group (default: %(default)s)")
    add("--dir", default="./grupo", help="folder of the group's files (default: %(default)s)")
    add("--admit", choices=("ask", "all", "none"), default="ask", help="what happens to who is no member (default: %(default)s)")
    add("--trace", metavar="DIR", help="write what happens inside, and when, to a file for each process in DIR")
    add("--trace-sink", choices=trace.SINKS, default="write", help="each event at once, or all at the end, which disturbs less (default: %(default)s)")
    limits = parser.add_argument_group("limits, in seconds and bytes")
    add = limits.add_argument
    add("--join-within", type=number(float), default=20, help="time to become a member who is here (default: %(default)s)")
    add("--ping-after", type=number(float), default=60, help="silence before PING (default: %(default)s)")
    add("--idle-after", type=number(float), default=90, help="silence before BYE idle (default: %(default)s)")
    add("--slow-after", type=number(float), default=10, help="taking nothing before he is dropped (default: %(default)s)")
    add("--outbox", type=number(int, 4096), default=1 << 20, help="bytes that may wait for one member (default: %(default)s)")
    add("--sndbuf", type=number(int, 1024, 1 << 30), default=65536, help="the kernel's send buffer of a client, 8 times that during a long history (default: %(default)s)")
    add("--reject-after", type=number(float), default=1, help="least time from JOIN to REJECTED (default: %(default)s)")
    add("--hashes", type=number(int, 1), default=2 if cores > 2 else 1, help="passwords checked at once (default: %(default)s)")
    add("--max-here", type=number(int, 1), default=1024, help="members here (default: %(default)s)")
    add("--max-strangers", type=number(int, 1), default=256, help="connections before WELCOME (default: %(default)s)")
    return parser.parse_args(argv)


def number(kind, least=0, most=math.inf):
    """A converter for a flag's value: a finite number of this kind (int or float), from `least` to `most`.

    It raises what argparse turns into exit status 2. A NaN is in no range, and "inf" is no number of seconds.
    """
    def convert(text):
        value = kind(text)
        if not least <= value <= most or value == math.inf:
            wanted = f"at least {least}" if most == math.inf else f"between {least} and {most}"
            raise argparse.ArgumentTypeError(f"{text} is not a number {wanted}")
        return value
    convert.__name__ = kind.__name__
    return convert


def group(text):
    if not wire.is_group(text):
        raise argparse.ArgumentTypeError(f"1 to {wire.MAX_GROUP} bytes of plain text, no space at either end")
    return text
