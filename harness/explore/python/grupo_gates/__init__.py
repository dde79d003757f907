"""Gates in a Python program that knows nothing of them: each event is shown to a controller first.

gates.py    the connection to the controller, and what an event says
calls.py    functions and methods with an event before and after them
locks.py    locks, conditions, semaphores, queues
tasks.py    threads, processes, sleep
files.py    sockets, pipes, files, and waiting for them
lines.py    each line of the program's own files, where that is asked for
"""

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
    # The interpreter empties these modules when it ends, and calls what is wrapped after that. It
    # leaves alone what it does not find.
    for name in [name for name in sys.modules if name.partition(".")[0] == __name__]:
        del sys.modules[name]
