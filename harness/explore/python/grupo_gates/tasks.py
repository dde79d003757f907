"""Threads and processes: their begin, their end, waiting for that; and sleep."""

import _thread
import functools
import os
import threading
import time

from . import gates
from .calls import Call, milliseconds, wrap

PlainThread = {name: getattr(threading.Thread, name) for name in ("start", "join")}


def put_in() -> None:
    """Puts the gates in."""
    threading.Thread.start, threading.Thread.join = start, join
    _thread.start_new_thread = _thread.start_new = StartNewThread(_thread.start_new_thread, None)
    os.fork = Fork(os.fork, None)
    wrap(os, ["waitpid"], lambda pid, options: waits_for(pid, options), amount=pid_of)
    wrap(os, ["wait4"], lambda pid, options: waits_for(pid, options), amount=pid_of)
    wrap(os, ["wait3"], lambda options: waits_for(-1, options), amount=pid_of)
    wrap(os, ["wait"], lambda: waits_for(-1, 0), amount=pid_of)
    wrap(os, ["waitid"], lambda kind, pid, options: waits_for(pid, options), amount=lambda _: None)
    wrap(time, ["sleep"], lambda seconds: ("sleep", "", milliseconds(seconds)))
    if hasattr(threading, "_shutdown"):  # the first thread waits there for the others
        threading._shutdown = Call(threading._shutdown, waits_for_threads, whole=True)


def waits_for(pid, options):
    """Describes waitpid: a call that returns at once is not shown."""
    if options & os.WNOHANG:
        return None
    return "join", str(pid) if pid > 0 else "any child", None


def waits_for_threads():
    """Describes the end of the first thread: it waits for those that are no daemons."""
    others = [one for one in threading.enumerate() if one is not threading.current_thread()]
    return None if all(one.daemon for one in others) else ("join", "all threads", None)


def pid_of(result) -> int:
    """Returns the "n" of waitpid's end."""
    return result[0]


# -- Threads ---------------------------------------------------------------------------------------


def start(thread) -> None:
    """threading.Thread.start, with events: here, and where the new thread runs and ends."""
    if gates.idle() or thread.ident is not None:
        return PlainThread["start"](thread)
    gates.event("I.thread", thread.name)
    run, is_own = thread.run, "run" in vars(thread)

    def restore():
        if is_own:
            thread.run = run
        else:
            del thread.run

    def shown():
        restore()
        gates.me.thread = thread
        live(thread.name, run)

    thread.run = shown
    try:
        PlainThread["start"](thread)
    except BaseException:
        if vars(thread).get("run") is shown and thread.ident is None:
            restore()
        raise


def live(name, run, *arguments, **options) -> None:
    """Runs a thread between its first event and its last."""
    gates.event("I.begin", name)
    try:
        run(*arguments, **options)
    finally:
        gates.event("I.end", name)


def join(thread, timeout=None) -> None:
    """threading.Thread.join, with events."""
    if gates.idle() or thread.ident is None or thread is threading.current_thread():
        return PlainThread["join"](thread, timeout)
    about = str(thread.native_id)
    gates.event("B.join", about, milliseconds(timeout))
    n = -1
    try:
        PlainThread["join"](thread, timeout)
        n = -1 if thread.is_alive() else 0
    finally:
        gates.event("E.join", about, n)


class StartNewThread(Call):
    """_thread.start_new_thread, with events."""

    def __call__(self, run, arguments, options=None):
        if gates.idle() or not callable(run):
            return self.function(run, arguments, options or {})
        name = f"thread-{next(gates.threads)}"
        gates.event("I.thread", name)

        @functools.wraps(run, updated=())
        def shown(*arguments, **options):
            gates.me.name = name
            live(name, run, *arguments, **options)

        return self.function(shown, arguments, options or {})


# -- Processes -------------------------------------------------------------------------------------


class Fork(Call):
    """os.fork, with events: in the parent, and the first one of the child."""

    def __call__(self):
        gates.event("B.fork")
        child = -1
        try:
            child = self.function()
        finally:
            if child:
                gates.event("E.fork", "", child)
        if not child:
            gates.event("I.begin", gates.actor())
        return child
