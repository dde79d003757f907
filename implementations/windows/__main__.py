"""make windows: an owner and two members side by side, in one terminal through tmux, for a lesson."""
import os
import shlex
import shutil
import sys
import tempfile

from .owner import parse

MEMBERS = "ana", "ben"


def main():
    options = parse()
    owner = shlex.join([sys.executable, "-m", "implementations.windows.owner", *sys.argv[1:]])
    place = f"{options.host}:{options.port}"
    # Each member has a groups file of his own, as he would on a machine of his own
    folder = os.path.join(tempfile.gettempdir(), f"grupo-windows-{os.getuid()}")
    members = [shlex.join([sys.executable, "-m", "implementations.windows.member", place, name, "--groups", os.path.join(folder, name)])
               for name in MEMBERS]
    if not shutil.which("tmux"):
        print("tmux is not installed, so open three terminals, and type one of these lines in each:", owner, *members, sep="\n    ")
        return 1
    os.environ.pop("TMUX", None)        # a lesson may begin inside another tmux
    tmux = ["tmux", "-L", f"grupo-{os.getpid()}", "-f", os.devnull]
    begin = ["set", "-g", "mouse", "on", ";", "set", "-g", "status", "off", ";", "set", "-g", "focus-events", "on", ";", "set", "-s", "escape-time", "10"]
    # When the owner goes, the lesson is over: the last pane to end takes the session with it
    panes = ["new-session", f"{owner}; tmux kill-session", ";", *begin, ";", "split-window", "-h", members[0], ";",
             "split-window", "-v", members[1], ";", "select-pane", "-t", "0"]
    os.execvp("tmux", [*tmux, *panes])


if __name__ == "__main__":
    sys.exit(main())
