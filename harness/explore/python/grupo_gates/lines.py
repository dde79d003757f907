"""A gate before each line of the program's own files, in threads that serve a client.

Two steps without a lock between them have no other gate: `if name not in names: names.add(name)`.
"""

import sys

from . import gates

TOOL = 4  # an id of sys.monitoring that no debugger, profiler or coverage has


def put_in() -> None:
    """Puts the gates in."""
    if hasattr(sys, "monitoring"):
        monitor()
    else:
        gates.on_serve = trace_this_thread


def is_own(code) -> bool:
    """Whether a code object is of a file of the program's own."""
    label = gates.label_of(code.co_filename)
    return label not in (None, gates.PLAIN) and not label.startswith("<")


def show(code, line) -> None:
    """Shows that a line is about to run, if this thread serves a client."""
    if gates.me.client:
        gates.event("I.line", at=f"{gates.label_of(code.co_filename)}:{line}")


def monitor() -> None:
    """From Python 3.12 on: for all threads at once."""
    events, disable = sys.monitoring.events, sys.monitoring.DISABLE

    def before(code, line):
        if gates.opened or gates.is_finalizing() or not is_own(code):
            return disable
        show(code, line)

    sys.monitoring.use_tool_id(TOOL, "grupo")
    sys.monitoring.register_callback(TOOL, events.LINE, before)
    sys.monitoring.set_events(TOOL, events.LINE)


def trace_this_thread() -> None:
    """Before Python 3.12: this thread is traced from here on, and the calls that it is in."""
    sys.settrace(trace)
    frame = sys._getframe()
    while frame:
        if is_own(frame.f_code):
            frame.f_trace = trace
        frame = frame.f_back


def trace(frame, event, _):
    """As of sys.settrace."""
    if gates.opened or gates.is_finalizing() or not is_own(frame.f_code):
        return None
    if event == "line":
        show(frame.f_code, frame.f_lineno)
    return trace
