"""The command line: python -m implementations.client join HOST:PORT NAME | groups | leave HOST:PORT."""
import argparse
import getpass
import os
import sys
import warnings

from ..common import wire
from ..common.console import open_standard_descriptors
from .connection import check_name, check_password, check_place, explain, resolve
from .console import Console
from .groups import GROUPS, Groups, Trouble


def parse(argv):
    parser = argparse.ArgumentParser(prog="python -m implementations.client", allow_abbrev=False,
                                     description="A member's client: one event a line, in a terminal or in a script.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--groups", metavar="FILE", default=GROUPS,
                        help="where the groups you belong to are kept (default: %(default)s)")
    talks = argparse.ArgumentParser(add_help=False)
    talks.add_argument("place", type=argument(check_place), metavar="HOST:PORT", help="127.0.0.1:7000 or [::1]:7000")
    talks.add_argument("--password-file", metavar="FILE", help="its first line is the password (default: you are asked for it)")
    commands = parser.add_subparsers(dest="command", required=True)
    join = commands.add_parser("join", parents=[talks, shared], allow_abbrev=False, help="come in, and talk")
    join.add_argument("name", type=argument(check_name), metavar="NAME")
    commands.add_parser("groups", parents=[shared], allow_abbrev=False, help="list the groups you belong to")
    commands.add_parser("leave", parents=[talks, shared], allow_abbrev=False, help="leave a group for good")
    return parser.parse_args(argv)


def argument(check):
    """What argparse takes for a type."""
    def convert(text):
        try:
            return check(text)
        except Trouble as trouble:
            raise argparse.ArgumentTypeError(str(trouble)) from None
    return convert


def read_password(path):
    """From the file's first line, or from a terminal, which does not show it. Raises Trouble, OSError."""
    if path is not None:
        with open(path, "rb") as file:
            line = file.readline(wire.MAX_LINE)
        password = line.removesuffix(b"\n").removesuffix(b"\r").decode(errors="surrogateescape")
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", getpass.GetPassWarning)
                password = getpass.getpass("password: ")
        except (getpass.GetPassWarning, EOFError):
            raise Trouble("no terminal to ask for the password: use --password-file FILE") from None
    return check_password(password)


def talk(options):
    """`join` and `leave`. Returns the exit status; raises Trouble, OSError."""
    groups, leaving = Groups(options.groups), options.command == "leave"
    known = [group for group in groups.read() if group.address == options.place]
    if leaving and len(known) != 1:
        raise Trouble(f"{len(known)} names are kept for {options.place}: join with the one that is to leave, and type /leave")
    name = known[0].name if leaving else options.name
    last = next((group.last for group in known if group.name.casefold() == name.casefold()), None)
    addresses, password = resolve(options.place), read_password(options.password_file)
    console = Console(options.place, addresses, name, password, last, groups, leaving)
    status = console.run()
    if leaving and console.conversation.code == "left":
        groups.forget(known[0])
    elif leaving:
        return status or 1
    return status


def list_groups(options):
    for group in Groups(options.groups).read():
        print(wire.harmless(f"{group.name} in {group.group} at {group.address}, seen up to {group.last}"))
    return 0


def main(argv=None):
    open_standard_descriptors()
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")       # a terminal that cannot show a letter is no reason to stop
    options = parse(argv)
    try:
        return list_groups(options) if options.command == "groups" else talk(options)
    except KeyboardInterrupt:           # at the password
        print(file=sys.stderr)
    except (Trouble, OSError) as trouble:
        if not isinstance(trouble, BrokenPipeError):        # nobody reads us any more
            print(f"-- {explain(trouble)}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)        # the interpreter's last flush may not fail again
    return 1


if __name__ == "__main__":
    sys.exit(main())
