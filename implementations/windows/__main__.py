"""Both windows in one terminal: an owner and two members, side by side in tmux, for a lesson.

Usage: python -m implementations.windows [options of the owner's window] [-- COMMAND ...]
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile

from ..common.errors import StartupError
from ..common.output import complete_output
from ..common.private_files import open_folder
from .owner import parse_arguments

MEMBERS = "ana", "ben"
MAX_TMUX_FOLDER = 64  # bytes; tmux makes /tmux-UID/grupo-PID in it, and the limit is 107
TMUX_OPTIONS = (
    ("-g", "mouse", "on"),
    ("-g", "status", "off"),
    ("-g", "focus-events", "on"),
    ("-s", "escape-time", "10"),
    ("-g", "destroy-unattached", "on"),  # when the terminal is closed, the lesson is over, too
)


def window_commands(options: list[str], address: str, theme: str) -> list[str]:
    """Return the shell commands of the three windows, the owner's first.

    Args:
        options: the options of the owner's window.
        address: the server's HOST:PORT.
        theme: the colors of the members' windows.
    """
    commands = [["owner", *options]]
    # Each member has a groups file of their own, as on a machine of their own
    for name in MEMBERS:
        groups = os.path.join(folder(), name)
        commands.append(["member", address, name, "--groups", groups, "--theme", theme])
    return [
        shlex.join([sys.executable, "-m", f"implementations.windows.{window}", *arguments])
        for window, *arguments in commands
    ]


def folder() -> str:
    """Return the path of the folder of the groups files. Its name is known to all users."""
    return os.path.join(tempfile.gettempdir(), f"grupo-windows-{os.getuid()}")


def tmux_arguments(owner: str, first: str, second: str) -> list[str]:
    """Return the arguments of tmux that start these three commands in one terminal."""
    arguments = ["-L", f"grupo-{os.getpid()}", "-f", os.devnull]
    # When the owner's window ends, the lesson is over, so the session ends too
    arguments += ["new-session", f"{owner}; tmux kill-session", ";"]
    for option in TMUX_OPTIONS:
        arguments += ["set", *option, ";"]
    arguments += ["split-window", "-h", first, ";", "split-window", "-v", second, ";"]
    return [*arguments, "select-pane", "-t", "0"]


@complete_output()
def main() -> int:
    """Replace this process by tmux; without tmux, print instructions, and return 1."""
    options = parse_arguments()
    try:
        os.close(open_folder(folder()))
    except (StartupError, OSError) as error:
        print(f"grupo: {error}", file=sys.stderr)
        return 1
    commands = window_commands(sys.argv[1:], f"{options.host}:{options.port}", options.theme)
    if not shutil.which("tmux"):
        print("tmux is not installed. Open three terminals and run one command in each:")
        print(*(f"    {command}" for command in commands), sep="\n")
        return 1
    os.environ.pop("TMUX", None)  # this terminal may itself be in tmux
    if len(os.environ.get("TMUX_TMPDIR", "")) > MAX_TMUX_FOLDER:
        del os.environ["TMUX_TMPDIR"]  # then tmux uses /tmp
    os.execvp("tmux", ["tmux", *tmux_arguments(*commands)])


if __name__ == "__main__":
    sys.exit(main())
