"""What the notebooks are made of: servers that end with their cell, guesses that stand before the pictures, checks of exercises.

Nothing is forked in the kernel: each server is a process in a session of its own, which ends with its `with`, at the latest with the kernel.
"""
import atexit
import contextlib
import html
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.driving.client import WireClient
from harness.driving.record import Unmet
from harness.driving.server import DESIGNS, ROOT, Server, command_of
from harness.driving.deadlines import DEADLINE
from harness.teaching import exhibits
from harness.tracing import traces
from harness.tracing.gates import Gates

USUAL = "GRUPO_USUAL_GUESSES"       # in the environment: nobody is there to guess and to solve, so take what is often guessed
folders = []                        # of all servers so far, kept until the kernel ends: traces are read after their server's end


def folder():
    """A new folder for temporary files, gone when the kernel ends. Its path is short enough for a socket in it."""
    folders.append(tempfile.TemporaryDirectory(prefix="grupo-"))
    return Path(folders[-1].name)


def bound(command):
    """The command, so that the kernel's end, however it comes, is its end, too. (Linux only: elsewhere kill -9 of the kernel leaves it.)"""
    return [*(["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []), *map(str, command)]


class Classroom(Server):
    """A server, with --admit all, and its clients. Use it with `with`.

    `what`: one of the three designs, or the name of an exhibit (lab_guide/exhibits). `trace`: whether it writes one, to `self.trace`.
    Further arguments go to the server. Raises NotStarted, and exhibits.Broken if there is nothing of that name.
    """

    def __init__(self, what, *args, trace=False, into=None):
        self.clients = []
        place = into or folder()
        self.runs_as, where = what, ROOT
        if what not in DESIGNS:
            where = place / "tree"
            self.runs_as = exhibit_named(what, where).design
        self.trace = place / "trace"
        super().__init__(bound(command_of(self.runs_as)), directory=place / "group", cwd=where,
                         args=["--admit", "all", *(["--trace", self.trace] if trace else []), *args])
        self.name = what
        running.add(self)

    def enter(self, *names, **options):
        """Members who are here and have heard of each other: a WireClient, or a list of them. Options as WireClient has them."""
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
        """A client who has said nothing yet."""
        self.clients.append(WireClient(self.address, **options))
        return self.clients[-1]

    def run(self):
        """What happened inside, as figures take it: a traces.Run of its trace."""
        about = {"design": self.runs_as, "title": self.name, "began": self.record.began,
                 "members": {client.name: "%s:%d" % client.socket.getsockname()[:2] for client in self.clients if client.socket.fileno() >= 0}}
        (self.trace.parent / "run.json").write_text(json.dumps(about), encoding="utf-8")
        return traces.load(self.trace.parent)

    def close(self):
        self.hang_up()
        running.discard(self)
        if self.name in DESIGNS:
            super().close()
        else:
            super().end()               # an exhibit need not end as it should

    def end(self):
        self.hang_up()
        running.discard(self)
        super().end()

    def hang_up(self):
        while self.clients:
            self.clients.pop().close()


class Listeners:
    """Many members of one server. Nobody looks at what they hear: it is taken from time to time, and forgotten."""

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
        """These as well, a hundred at once; the password is secret-of-NAME. All are here when this returns. Raises Unmet, or OSError."""
        for start in range(0, len(names), 100):
            asking = [self.ask(name) for name in names[start:start + 100]]
            for sock in asking:
                heard = b""
                while b"WELCOME " not in heard:
                    data = sock.recv(4096)
                    if not data:
                        raise Unmet("each to be welcomed", f"one heard {heard} and the end")
                    heard += data
                sock.setblocking(False)
            self.listen()

    def ask(self, name):
        sock = socket.create_connection(self.server.address, timeout=DEADLINE)
        self.sockets.append(sock)
        sock.sendall(f"JOIN {name} secret-of-{name}\n".encode())
        return sock

    def listen(self):
        """Takes what there is to hear."""
        for sock in self.sockets:
            with contextlib.suppress(BlockingIOError):
                sock.recv(1 << 20)


running = set()                     # the servers of this kernel


@atexit.register
def end_all():
    for server in list(running):
        server.end()


def serve(what, *args, **options):
    """A Classroom, for `with serve("pthread") as server:`."""
    return Classroom(what, *args, **options)


def exhibit_named(name, tree):
    """Builds an exhibit's servers in the new folder `tree`. Raises exhibits.Broken."""
    found = next((one for one in exhibits.all_exhibits() if one.name == name), None)
    if found is None:
        raise exhibits.Broken(f"{name}: there is no such design, and no such exhibit")
    exhibits.build(found, tree)
    return found


def run(*command, cwd=ROOT, seconds=60):
    """What a command prints, errors included. One that does not end is ended, with all that it started."""
    process = subprocess.Popen(bound(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                               cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=seconds)
    except BaseException as why:
        end_group(process)
        out, _ = process.communicate()
        if not isinstance(why, subprocess.TimeoutExpired):
            raise
        out += f"\n(it did not end in {seconds:g} s, and was ended)"
    return out


def program(code, *arguments, seconds=60):
    """What a Python program prints, run as a process of its own."""
    return run(sys.executable, "-c", code, *arguments, seconds=seconds)


def under(schedule, *command, tell=None):
    """(what a program prints that takes --trace, a gates.Forced), with its gates opened in the order of the schedule. Raises gates.Wrong.

    tell: as Gates takes it.
    """
    place, started = str(folder()), []
    with Gates(place, tell) as gates:
        try:
            forced = gates.force(schedule, lambda: started.append(subprocess.Popen(
                bound([*command, "--trace", place]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace",
                cwd=ROOT, start_new_session=True)))
        except BaseException:
            for process in started:
                end_group(process)
            raise
    return started[0].communicate()[0], forced


@contextlib.contextmanager
def meanwhile(code, *arguments):
    """A Python program that runs, as a process of its own, from when it has printed its first line (.first) to the end of the `with`."""
    process = subprocess.Popen(bound([sys.executable, "-c", code, *arguments]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, cwd=ROOT, start_new_session=True)
    try:
        process.first = process.stdout.readline().decode(errors="replace").strip()
        yield process
    finally:
        end_group(process)
        process.communicate()


def end_group(process):
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass


# -- Guesses ---------------------------------------------------------------------------------------------------------------------


class Guess:
    """What the learner expects. `value` is None until he has put something in place of the three dots."""

    def __init__(self, value, usual):
        self.usual = value is ... and bool(os.environ.get(USUAL))
        text = isinstance(usual, str)
        self.value = usual if self.usual else value if isinstance(value, str if text else (int, float)) else None
        self.why = ("No guess yet: put yours in place of the three dots" if value is ... else
                    f"{value!r} is no guess here: put {f'a text such as {usual!r}' if text else 'a number'} in its place")

    def __repr__(self):
        if self.value is None:
            return f"{self.why}, and run this cell again."
        return f"{'A usual guess' if self.usual else 'Your guess'}: {self.value}"


def predict(guess, usual):
    """A Guess, to stand before a picture. `usual`: what many guess; it is taken where nobody is there to guess."""
    return Guess(guess, usual)


def reveal(guess, draw):
    """What draw(what was guessed) returns, if something was."""
    if guess.value is None:
        return Notice("First your guess: put it in place of the three dots above. Then there is a picture here.")
    return draw(guess.value)


class Notice:
    def __init__(self, text, good=None):
        self.text, self.good = text, good

    def __repr__(self):
        return {True: "✔ ", False: "✘ ", None: ""}[self.good] + self.text

    def _repr_html_(self):
        edge = {True: "#009E73", False: "#D55E00", None: "#888"}[self.good]
        return f'<p style="border-left: .4em solid {edge}; padding: .4em .8em; white-space: pre-wrap">{html.escape(repr(self))}</p>'


# -- Exercises -------------------------------------------------------------------------------------------------------------------


def check(holds, why):
    """Tells whether an exercise is done. `why`: what is amiss. Where nobody is there to solve it, raises AssertionError."""
    if not holds and os.environ.get(USUAL):
        raise AssertionError(why)
    return Notice("That is right.", True) if holds else Notice(why, False)
