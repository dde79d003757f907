"""Building blocks of the notebooks: servers that end with their cell, guesses, checks of exercises.

The notebook's kernel never forks. Each server is a process in its own session. It ends with its
`with` block, or at the latest when the kernel ends.
"""

import atexit
import contextlib
import html
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.driving.client import WireClient
from harness.driving.deadlines import DEADLINE
from harness.driving.record import CheckFailed
from harness.driving.server import DESIGNS, ROOT, Server, command_of
from harness.teaching import exhibits
from harness.tracing import traces
from harness.tracing.programs import bound, end_group
from harness.tracing.programs import under as under  # for notebooks and pages

# In the environment: no learner is there to guess and to solve, so take the usual guesses.
USUAL = "GRUPO_USUAL_GUESSES"
folders = []  # of all servers so far, until the kernel ends: traces are read after their server


def folder():
    """Create a folder for temporary files, which is removed when the kernel ends.

    Its path is short enough for a Unix socket inside it.
    """
    folders.append(tempfile.TemporaryDirectory(prefix="grupo-"))
    return Path(folders[-1].name)


class Classroom(Server):
    """A server that admits every new member (--admit all), and its clients. Use it with `with`.

    `what`: one of the three designs, or the name of an exhibit (lab_guide/exhibits).
    `trace`: whether the server writes a trace, to `self.trace`.
    Further arguments go to the server's command line.
    Raise NotStarted, or exhibits.Broken if there is no design or exhibit of that name.
    """

    def __init__(self, what, *args, trace=False, into=None):
        self.clients = []
        place = into or folder()
        self.runs_as, where = what, ROOT
        if what not in DESIGNS:
            where = place / "tree"
            self.runs_as = exhibit_named(what, where).design
        self.trace = place / "trace"
        super().__init__(
            bound(command_of(self.runs_as)),
            directory=place / "group",
            cwd=where,
            args=["--admit", "all", *(["--trace", self.trace] if trace else []), *args],
        )
        self.name = what
        running.add(self)

    def enter(self, *names, **options):
        """Let members join, and wait until each has received the news that the others joined.

        Return a WireClient for one name, a list of them for several. Options are WireClient's.
        """
        entered = []
        for name in names:
            entered.append(self.connect(**options))
            entered[-1].name = name
            entered[-1].send(f"JOIN {name} secret-of-{name}")
        for client in entered:
            client.welcomed()
        for client in entered:
            client.fence()
        return entered if len(names) > 1 else entered[0]

    def connect(self, **options):
        """Connect a client that has sent nothing yet."""
        self.clients.append(WireClient(self.address, **options))
        return self.clients[-1]

    def run(self):
        """Return what happened inside the server, for figures: a traces.Run of its trace."""
        about = {
            "design": self.runs_as,
            "title": self.name,
            "began": self.record.began,
            "members": {
                client.name: "%s:%d" % client.socket.getsockname()[:2]
                for client in self.clients
                if client.socket.fileno() >= 0
            },
        }
        (self.trace.parent / "run.json").write_text(json.dumps(about), encoding="utf-8")
        return traces.load(self.trace.parent)

    def close(self):
        self.hang_up()
        running.discard(self)
        if self.name in DESIGNS:
            super().close()
        else:
            super().end()  # an exhibit may fail to end correctly

    def end(self):
        self.hang_up()
        running.discard(self)
        super().end()

    def hang_up(self):
        """Close the connections of all clients."""
        while self.clients:
            self.clients.pop().close()


class Listeners:
    """Many members of one server. What they receive is read from time to time and discarded."""

    def __init__(self, server):
        self.server, self.sockets = server, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sock in self.sockets:
            sock.close()

    def __len__(self):
        return len(self.sockets)

    def enter(self, names):
        """Let these members join too, a hundred at a time, with the passwords secret-of-NAME.

        All of them are connected and welcomed on return. Raise CheckFailed or OSError.
        """
        for start in range(0, len(names), 100):
            asking = [self.ask(name) for name in names[start : start + 100]]
            for sock in asking:
                heard = b""
                while b"WELCOME " not in heard:
                    data = sock.recv(4096)
                    if not data:
                        raise CheckFailed(
                            "WELCOME for each member",
                            f"{heard}, and then the end of the connection",
                        )
                    heard += data
                sock.setblocking(False)
            self.listen()

    def ask(self, name):
        """Connect and send the JOIN; return the socket."""
        sock = socket.create_connection(self.server.address, timeout=DEADLINE)
        self.sockets.append(sock)
        sock.sendall(f"JOIN {name} secret-of-{name}\n".encode())
        return sock

    def listen(self):
        """Read and discard what has arrived."""
        for sock in self.sockets:
            with contextlib.suppress(BlockingIOError):
                sock.recv(1 << 20)


running = set()  # the servers of this kernel that have not ended


@atexit.register
def end_all():
    """End all servers when the kernel ends."""
    for server in list(running):
        server.end()


def serve(what, *args, **options):
    """Return a Classroom, for `with serve("pthread") as server:`."""
    return Classroom(what, *args, **options)


def exhibit_named(name, tree):
    """Build an exhibit's servers in the new folder `tree`. Raise exhibits.Broken."""
    found = next((one for one in exhibits.all_exhibits() if one.name == name), None)
    if found is None:
        raise exhibits.Broken(f"{name}: there is no design or exhibit of that name")
    exhibits.build(found, tree)
    return found


def run(*command, cwd=ROOT, seconds=60):
    """Run a command and return what it prints, errors included.

    Kill it after `seconds`, with every process in its group.
    """
    process = subprocess.Popen(
        bound(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=seconds)
    except BaseException as why:
        end_group(process)
        out, _ = process.communicate()
        if not isinstance(why, subprocess.TimeoutExpired):
            raise
        out += f"\n(it did not end within {seconds:g} s and was killed)"
    return out


def program(code, *arguments, seconds=60):
    """Run a Python program as a process of its own and return what it prints."""
    return run(sys.executable, "-c", code, *arguments, seconds=seconds)


@contextlib.contextmanager
def meanwhile(code, *arguments):
    """Run a Python program as a process of its own until the end of the `with` block.

    The block starts when the program has printed its first line, which is `.first`.
    """
    process = subprocess.Popen(
        bound([sys.executable, "-c", code, *arguments]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        process.first = process.stdout.readline().decode(errors="replace").strip()
        yield process
    finally:
        end_group(process)
        process.communicate()


# -- Guesses -------------------------------------------------------------------------------------


class Guess:
    """What the learner expects. `value` is None while there are only three dots."""

    def __init__(self, value, usual):
        self.usual = value is ... and bool(os.environ.get(USUAL))
        text = isinstance(usual, str)
        self.value = (
            usual
            if self.usual
            else value
            if isinstance(value, str if text else (int, float))
            else None
        )
        self.why = (
            "No guess yet: put yours in place of the three dots"
            if value is ...
            else f"{value!r} does not fit here: put "
            f"{f'a text such as {usual!r}' if text else 'a number'} in its place"
        )

    def __repr__(self):
        if self.value is None:
            return f"{self.why}, and run this cell again."
        return f"{'A usual guess' if self.usual else 'Your guess'}: {self.value}"


def predict(guess, usual):
    """Return a Guess, for a picture below it. `usual`: a common guess, taken if USUAL is set."""
    return Guess(guess, usual)


def reveal(guess, draw):
    """Return draw(the guessed value), or a Notice if there is no guess yet."""
    if guess.value is None:
        return Notice(
            "Guess first: put your guess in place of the three dots above. Then the picture "
            "appears here."
        )
    return draw(guess.value)


class Notice:
    """A text with a coloured edge: green if `good` is true, red if false, grey if None."""

    def __init__(self, text, good=None):
        self.text, self.good = text, good

    def __repr__(self):
        return {True: "✔ ", False: "✘ ", None: ""}[self.good] + self.text

    def _repr_html_(self):
        edge = {True: "#009E73", False: "#D55E00", None: "#888"}[self.good]
        style = f"border-left: .4em solid {edge}; padding: .4em .8em; white-space: pre-wrap"
        return f'<p style="{style}">{html.escape(repr(self))}</p>'


# -- Exercises -----------------------------------------------------------------------------------


def check(holds, why):
    """Return a Notice that says whether an exercise is solved. `why`: what is wrong if it is not.

    If USUAL is set, raise AssertionError instead of returning that it is not solved.
    """
    if not holds and os.environ.get(USUAL):
        raise AssertionError(why)
    return Notice("That is right.", True) if holds else Notice(why, False)
