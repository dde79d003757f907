"""The command line that every server takes, ours and a student's, and the limits."""

import argparse
import math
import os
from collections.abc import Callable, Sequence

from . import trace, wire
from .output import complete_output


def parse(argv: Sequence[str] | None, design: str) -> argparse.Namespace:
    """Returns the options; argv: without the command, None for this process's. Exits with 2."""
    parser = argparse.ArgumentParser(
        prog=f"python -m implementations.{design}",
        allow_abbrev=False,
        description=f"A group-chat server ({design}). The owner types orders on stdin: try `help`.",
    )
    add_general(parser)
    add_limits(parser.add_argument_group("limits, in seconds and bytes"))
    with complete_output():  # of --help
        return parser.parse_args(argv)


def add_general(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the address, the files, and the admission of members."""

    def add(flag: str, text: str, **more: object) -> None:
        default = " (default: %(default)s)" if "default" in more else ""
        parser.add_argument(flag, help=text + default, **more)  # type: ignore[arg-type]

    add("--host", "address to listen on", default="127.0.0.1")
    add("--port", "0 takes a free one", type=number(int, 0, 65535), default=7000)
    add("--group", "name of a new group", type=group, default="grupo")
    add("--dir", "folder of the group's files", default="./grupo")
    answers = ("ask", "all", "none")
    add("--admit", "how a new member is admitted", choices=answers, default="ask")
    add(
        "--trace",
        "write what happens inside, and when, to a file per process in DIR",
        metavar="DIR",
    )
    moment = "write each event at once, or all at the end, which disturbs less"
    add("--trace-sink", moment, choices=trace.SINKS, default="write")


def add_limits(limits: argparse._ArgumentGroup) -> None:
    """Adds the limits of section 10 of lab_guide/protocol.md."""

    def add(flag: str, kind: Callable[[str], float], default: float, text: str) -> None:
        limits.add_argument(flag, type=kind, default=default, help=f"{text} (default: %(default)s)")

    seconds, amount = number(float), number(int, 1)
    add("--join-within", seconds, 20, "from connection to WELCOME, waiting for the server excluded")
    add("--ping-after", seconds, 60, "silence before PING")
    add("--idle-after", seconds, 90, "silence before BYE idle")
    add("--slow-after", seconds, 10, "without reading before a client is disconnected")
    add("--outbox", number(int, 4096), 1 << 20, "bytes that can wait for one client")
    more = "of a client; 8 times that during a long history"
    add("--sndbuf", number(int, 1024, 1 << 30), 65536, f"the kernel's send buffer {more}")
    add("--reject-after", seconds, 1, "least time from JOIN to REJECTED")
    hashes = 2 if (os.cpu_count() or 1) > 2 else 1
    add("--hashes", amount, hashes, "passwords that are checked at once")
    add("--max-here", amount, 1024, "members that are here")
    add("--max-strangers", amount, 256, "connections before WELCOME")


def number(
    kind: type[int] | type[float], least: float = 0, most: float = math.inf
) -> Callable[[str], float]:
    """Returns a converter for a flag: a finite int or float from `least` to `most`.

    It raises what argparse turns into exit status 2; NaN is in no range.
    """

    def convert(text: str) -> float:
        value = kind(text)
        if not least <= value <= most or value == math.inf:
            wanted = f"at least {least}" if most == math.inf else f"between {least} and {most}"
            raise argparse.ArgumentTypeError(f"{text} is not a number {wanted}")
        return value

    convert.__name__ = kind.__name__
    return convert


def group(text: str) -> str:
    """Returns `text`, if it can be a group's name. Raises what argparse turns into status 2."""
    if not wire.is_group(text):
        rule = f"1 to {wire.MAX_GROUP} bytes of plain text, no space at either end"
        raise argparse.ArgumentTypeError(rule)
    return text
