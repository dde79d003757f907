"""Python runs this at its start, because this folder is on PYTHONPATH. It puts gates into programs.

GRUPO_GATES names a folder. If a socket `gates` is in it, every step of this program that another
thread or process can notice is shown to the owner of that socket, and waits for permission
(grupo_gates/). Else nothing happens. A sitecustomize that Python would run without this one runs
after it.
"""

import importlib.machinery
import importlib.util
import os
import stat
import sys


def show_in_maps():
    """Maps this file into memory: so /proc/PID/maps shows the harness that it was loaded."""
    import mmap

    with open(__file__, "rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def controller():
    """Returns the path of the controller's socket; None without one."""
    folder = os.environ.get("GRUPO_GATES")
    path = folder and os.path.join(os.path.abspath(folder), "gates")
    try:
        return path if path and stat.S_ISSOCK(os.stat(path).st_mode) else None
    except OSError:
        return None


if path := controller():
    seen = show_in_maps()
    import grupo_gates

    grupo_gates.start(path)
sys.path[:] = [
    folder
    for folder in sys.path
    if os.path.realpath(folder or ".") != os.path.dirname(os.path.realpath(__file__))
]
if other := importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path):
    kept = sys.modules["sitecustomize"]  # its mapping must live on
    sys.modules["sitecustomize"] = importlib.util.module_from_spec(other)
    other.loader.exec_module(sys.modules["sitecustomize"])
