"""The member's client: python -m implementations.client join | groups | leave."""

import argparse
import getpass
import os
import sys
import warnings
from collections.abc import Sequence
from random import random

from ..common import wire
from ..common.encoding import foreign_encoding, without_mark
from ..common.output import complete_output
from .arguments import (
    add_groups_option,
    argument_type,
    check_address,
    check_name,
    check_password,
    resolve,
)
from .console import STDIN, STDOUT, Console
from .conversation import Conversation
from .display import explain
from .errors import ClientError, InputError
from .groups import GroupsFile, Membership


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options in `argv`; None means the command line. Exits if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m implementations.client",
        allow_abbrev=False,
        description="A client for group members, in a terminal or in a script. "
        "It prints one line per event.",
    )
    groups = argparse.ArgumentParser(add_help=False)
    add_groups_option(groups)
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument(
        "address",
        type=argument_type(check_address),
        metavar="HOST:PORT",
        help="address of the server, for example 127.0.0.1:7000 or [::1]:7000",
    )
    server.add_argument(
        "--password-file",
        metavar="FILE",
        help="file with the password in its first line (default: ask for the password)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, parents, text in (
        ("join", [server, groups], "join a group, or reconnect to it, and chat"),
        ("groups", [groups], "list the groups that you belong to"),
        ("leave", [server, groups], "leave a group; you will no longer be a member"),
    ):
        command = commands.add_parser(name, parents=parents, allow_abbrev=False, help=text)
        if name == "join":
            help_of_name = "your name in the group"
            command.add_argument(
                "name", type=argument_type(check_name), metavar="NAME", help=help_of_name
            )
    return parser.parse_args(argv)


def read_password(path: str | None) -> str:
    """Return the first line of a file, or ask on the terminal, without echo, if `path` is None.

    Raises InputError if it is not valid or there is no terminal, and OSError.
    """
    if path is not None:
        password = first_line(path)
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", getpass.GetPassWarning)
                password = getpass.getpass("password: ")
        except (getpass.GetPassWarning, EOFError):
            message = "no terminal to ask for the password: use --password-file FILE"
            raise InputError(message) from None
    return check_password(password)


def first_line(path: str) -> str:
    """Return the first line of a UTF-8 file, without its line end. Raises InputError, OSError."""
    with open(path, "rb") as file:
        line = file.readline(wire.MAX_LINE)
    if encoding := foreign_encoding(line):
        raise InputError(f"{path}: the text is {encoding}: save it as UTF-8")
    try:
        return without_mark(line).removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise InputError(f"{path}: the first line is not UTF-8: save it as UTF-8") from None


def join(options: argparse.Namespace) -> int:
    """Run the command `join`; return the exit status. Raises ClientError, OSError."""
    groups_file = GroupsFile(options.groups)
    known = groups_file.find(options.address, options.name)
    conversation = run_console(
        options, groups_file, options.name, last_seen=known.last if known else None
    )
    return conversation.exit_status


def leave(options: argparse.Namespace) -> int:
    """Run the command `leave`; return the exit status. Raises ClientError, OSError."""
    groups_file = GroupsFile(options.groups)
    membership = only_membership(groups_file, options.address)
    conversation = run_console(
        options, groups_file, membership.name, last_seen=membership.last, leave_only=True
    )
    if conversation.bye_code == "left":
        groups_file.remove(membership)
        return conversation.exit_status
    return conversation.exit_status or 1


def only_membership(groups_file: GroupsFile, address: str) -> Membership:
    """Return the one entry with this server address. Raises InputError if there is not just one."""
    known = [membership for membership in groups_file.read() if membership.address == address]
    if not known:
        raise InputError(f"no name is saved for {address}: join with your name and type /leave")
    if len(known) > 1:
        names = ", ".join(membership.name for membership in known)
        raise InputError(f"{address} has several names ({names}): join with one and type /leave")
    return known[0]


def run_console(
    options: argparse.Namespace,
    groups_file: GroupsFile,
    name: str,
    *,
    last_seen: int | None,
    leave_only: bool = False,
) -> Conversation:
    """Run a conversation on the console to its end; return it. Raises ClientError, OSError."""
    infos = resolve(options.address)
    conversation = Conversation(
        name,
        read_password(options.password_file),
        last_seen,
        jitter=random,
        is_script=not os.isatty(STDIN),
        leave_only=leave_only,
    )
    console = Console
    if can_edit_lines() and not leave_only:
        from .line_editor import EditingConsole  # scripts need not wait for its library

        console = EditingConsole
    console(options.address, infos, conversation, groups_file).run()
    return conversation


def can_edit_lines() -> bool:
    """Return whether the user types on a terminal that can move its cursor."""
    is_terminal = os.isatty(STDIN) and os.isatty(STDOUT)
    return is_terminal and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def list_groups(options: argparse.Namespace) -> int:
    """Run the command `groups`; return the exit status. Raises ClientError, OSError."""
    for known in GroupsFile(options.groups).read():
        line = f"{known.name} in {known.group} at {known.address}, read up to event {known.last}"
        print(wire.harmless(line))
    return 0


COMMANDS = {"join": join, "groups": list_groups, "leave": leave}


@complete_output()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the client; return the exit status."""
    options = parse_arguments(argv)
    try:
        return COMMANDS[options.command](options)
    except KeyboardInterrupt:  # while the user types the password
        print(file=sys.stderr)
    except (ClientError, OSError) as error:
        if not isinstance(error, BrokenPipeError):  # then nobody reads the output any more
            print(f"-- {explain(error)}", file=sys.stderr)
        # The interpreter flushes stdout at exit, which must not fail a second time
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1


if __name__ == "__main__":
    sys.exit(main())
