"""Gates in a Python program that knows nothing of them: each event is shown to a controller first.

gates.py    the connection to the controller, and what an event says
calls.py    functions and methods with an event before and after them
locks.py    locks, conditions, semaphores, queues
tasks.py    threads, processes, sleep
files.py    sockets, pipes, files, and waiting for them
lines.py    each line of the program's own files, where that is asked for
"""

import os
import stat


def start(folder):
    """Puts the gates in, if a socket `gates` is in `folder`."""
    path = os.path.join(os.path.abspath(folder), "gates")
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    from . import files, gates, lines, locks, tasks

    gates.path = path
    for part in locks, tasks, files:
        part.put_in()
    if os.environ.get("GRUPO_GATES_LINES") == "1":
        lines.put_in()
