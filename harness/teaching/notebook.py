"""Building blocks of the notebooks: servers that end with their cell, guesses, checks of exercises.

The notebook's kernel never forks. Each server is a process in its own session. It ends with its
`with` block, or at the latest when the kernel ends.
"""

import atexit
import contextlib
import functools
import html
import json
import linecache
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from harness.driving.client import WireClient
from harness.driving.deadlines import DEADLINE
from harness.driving.messages import msg
from harness.driving.record import CheckFailed
from harness.driving.server import DESIGNS, ROOT, Server, command_of
from harness.explore.command import violation_lines
from harness.explore.exploration import Alone, Exploration, Explored
from harness.explore.forced import force_command, orders_of_command
from harness.explore.program import Program
from harness.explore.report import schedule_text
from harness.explore.workloads import TABLE
from harness.teaching import exhibits
from harness.tracing import traces
from harness.verdicts.language import say

# In the environment: no learner is there to guess and to solve, so take the usual guesses.
USUAL = "GRUPO_USUAL_GUESSES"
folders = []  # of all servers so far, until the kernel ends: traces are read after their server


def folder():
    """Create a folder for temporary files, which is removed when the kernel ends.

    Its path is short enough for a Unix socket inside it.
    """
    folders.append(tempfile.TemporaryDirectory(prefix="grupo-"))
    return Path(folders[-1].name)


def bound(command):
    """Return the command, changed so that its process ends whenever the kernel ends.

    On systems other than Linux, the process survives a kill -9 of the kernel.
    """
    return [
        *(["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []),
        *map(str, command),
    ]


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


def under(schedule, *command):
    """Run a program that takes --trace, with its gates opened in the order of the schedule.

    Return (what the program prints, a forced.Forced). Raise forced.Wrong if the schedule cannot be
    read.
    """
    return force_command(bound(command), ROOT, schedule)


def in_every_order(names, *command):
    """Run a program that takes --trace once for each order of its steps.

    `names`: its threads or processes, as in its trace. Return a forced.Orders.
    """
    return orders_of_command(bound(command), ROOT, names)


def explore(which, workload, preemptions=1, seconds=120):
    """Try every order of a server's steps while two clients play a workload, with at most so many
    preemptions. Return in lines what was tried, and the first order that breaks it.

    `which`: a design or an exhibit, as for Classroom. `workload`: a name of explore --list.
    """
    place, design, where = folder(), which, ROOT
    if which not in DESIGNS:
        where = place / "tree"
        design = exhibit_named(which, where).design
    program = Program(bound(command_of(design)), str(where))
    [played] = [one for one in TABLE if one.name == workload]
    search = Exploration(Explored.nothing(played, 2, preemptions))
    with Alone(program.start, place) as alone:  # not in processes of our own: they would be forked
        found = search.explore(alone, time.monotonic() + seconds)
    shown = [found.tried]
    if found.violation:
        shown += [*violation_lines(found.violation), schedule_text(found.run, program.source)]
    else:
        shown.append(msg("no violation"))
    return "\n".join(map(say, shown))


@contextlib.contextmanager
def meanwhile(code, *arguments):
    """Run a Python program as a process of its own until the end of the `with` block.

    The block starts when the program has printed its first line, which is `.first`. `.last_line()`
    is the last line on its stderr so far.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            bound([sys.executable, "-c", code, *arguments]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            start_new_session=True,
        )

        def last_line():
            size = os.fstat(errors.fileno()).st_size
            end = os.pread(errors.fileno(), 4096, max(0, size - 4096))
            return "".join(end.decode(errors="replace").splitlines()[-1:])

        process.last_line = last_line
        try:
            process.first = process.stdout.readline().decode(errors="replace").strip()
            yield process
        finally:
            end_group(process)
            process.communicate()


def end_group(process):
    """Kill a process and all others in its group."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass


# -- Guesses -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """What a learner predicts: a number from `least` to `most`, or one of the texts of `among`.

    `usual` is a common guess. It is taken if USUAL is set.
    """

    usual: float | str
    least: float = 0
    most: float = math.inf
    among: tuple[str, ...] = ()

    def objection(self, value):
        """Return a Message that says why this value is no answer, or None."""
        if value is ...:
            return msg(
                "No guess yet: put yours in place of the three dots, and run this cell again."
            )
        if self.among:
            fits = isinstance(value, str) and value in self.among
            wanted = msg("one of {names}", names=", ".join(f'"{name}"' for name in self.among))
        else:
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            fits = number and math.isfinite(value) and self.least <= value <= self.most
            wanted = msg("a number of at least {least:g}", least=self.least)
            if self.most < math.inf:
                wanted = msg(
                    "a number from {least:g} to {most:g}", least=self.least, most=self.most
                )
        if fits:
            return None
        return msg(
            "{value} is no answer here: put {wanted} in its place, and run this cell again.",
            value=repr(value),
            wanted=wanted,
        )


class Guess:
    """What the learner expects. `value` is None until it is an answer; then the guess is `made`."""

    def __init__(self, value, question):
        self.is_usual = value is ... and bool(os.environ.get(USUAL))
        given = question.usual if self.is_usual else value
        self.why = question.objection(given)
        self.value = given if self.why is None else None

    @property
    def made(self):
        """Whether there is an answer: only then does a cell compute what the answer is about."""
        return self.why is None

    def __repr__(self):
        if self.why:
            return say(self.why)
        if self.is_usual:
            return say("A usual guess: {value}", value=self.value)
        return say("Your guess: {value}", value=self.value)


def predict(guess, question):
    """Return a learner's Guess at a Question, for a picture below it."""
    return Guess(guess, question)


def reveal(guess, draw):
    """Return draw(the guessed value), or a Notice if there is no guess yet."""
    if not guess.made:
        return Notice(
            say(
                "Guess first: put your guess in place of the three dots above. Then the picture "
                "appears here."
            )
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
        raise AssertionError(str(why))
    return Notice(say("That is right."), True) if holds else Notice(say(why), False)


class Wrong(Exception):
    """An answer that is wrong. Its only argument is a Message that says why."""


def exercise(judge):
    """Decorate a function that judges a learner's answer: it raises Wrong, or CheckFailed of a
    server. The function then returns check()'s Notice, and never a traceback, whatever the
    answer's own code raises.
    """

    @functools.wraps(judge)
    def judged(*answer):
        why = None
        try:
            judge(*answer)
        except Wrong as wrong:
            why = wrong.args[0]
        except KeyboardInterrupt:
            why = msg("The check was interrupted before the answer had ended.")
        except (Exception, SystemExit) as error:
            why = raised(error)
        return check(why is None, why)

    return judged


def raised(error):
    """Return a Message: what an answer raised, and in which of its lines."""
    text = type(error).__name__ + (f": {error}" if str(error) else "")
    text = " ".join(text.split())
    learners = [
        (number, frame.f_code.co_filename)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") == "__main__"
    ]
    if not learners:
        return msg("The check ended with {error}.", error=text)
    number, file = learners[-1]
    return msg(
        "Line {number} of your cell, `{line}`, raises {error}.",
        number=number,
        line=linecache.getline(file, number).strip(),
        error=text,
    )


def code_of(path):
    """Return the program in a learner's file. Raise Wrong if it is not there, or no Python."""
    try:
        code = Path(path).read_text(encoding="utf-8")
        compile(code, str(path), "exec")
    except FileNotFoundError:
        raise Wrong(
            msg("There is no file {path} yet: run the cell that writes it.", path=path)
        ) from None
    except SyntaxError as error:
        raise Wrong(
            msg(
                "Line {number} of {path} is no Python: {error}.",
                number=error.lineno,
                path=path,
                error=error.msg,
            )
        ) from None
    return code
