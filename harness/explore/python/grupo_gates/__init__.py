"""Gates in a Python program that knows nothing of them: each event is shown to a controller first.

gates.py    the connection to the controller, and what an event says
calls.py    functions and methods with an event before and after them
locks.py    locks, conditions, semaphores, queues
tasks.py    threads, processes, sleep
files.py    sockets, pipes, files, and waiting for them
lines.py    each line of the program's own files, where that is asked for
"""

import builtins
import os
import sys


def start(path):
    """Puts the gates in. `path` is the controller's socket."""
    from . import files, gates, lines, locks, tasks

    gates.path = path
    for part in locks, tasks, files:
        part.put_in()
    if os.environ.get("GRUPO_GATES_LINES") == "1":
        lines.put_in()
    outlive_the_interpreter()


def outlive_the_interpreter():
    """At its end the interpreter empties all modules that it finds, built-in names last. Objects
    that are finalized after that still use what is wrapped.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == __name__]:
        for builtin, value in vars(builtins).items():
            vars(sys.modules[name]).setdefault(builtin, value)
        del sys.modules[name]
