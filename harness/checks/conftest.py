"""What the checks share. Each check has servers of its own, started in a folder of its own, and one
record of all that happens.

server(*args)            starts the server under check with these arguments more; ended after the
check, and must live till then
terminal(*args)          the same, and the owner sits at a terminal
connect(server, name)    a WireClient that is connected; enter(server, name): a member that has read
its own IN
ask(server, name)        a client that has asked to join; the owner has seen the request (without
--admit all)
accepted(server, name)   a client that has asked, and that the owner has accepted
hunt(*args)              a server again and again, first undisturbed, then disturbed in several
ways, until one run fails
rng                      chances that depend on the seed and the check alone
pace                     how long a start, a JOIN and a SAY take here; pace.after(0.5) is a limit
flag's value with room for JOINs
"""

import contextlib
import os
import random
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import pexpect
import pytest

from harness.driving import deadlines, processes
from harness.driving.client import CutOff, WireClient
from harness.driving.messages import both, msg
from harness.driving.record import CheckFailed, same
from harness.driving.server import LISTENING, NotStarted, Server, launched, plain_environment
from harness.driving.terminals import TerminalClient
from harness.verdicts.disturb import disturbances
from harness.verdicts.pace import Pace
from harness.verdicts.plugin import STARVED, Inconclusive, NotRun, id_of

OPEN = ("--admit", "all")  # new members join without the owner
PATIENCE = 4  # times the deadline that a server which gets no CPU has for its start
MOST_DEADLINE = 60  # seconds, on a machine where connecting takes long


class Checked(Server):
    """A server under check."""

    most_processes = 500  # more than any check has clients, thrice
    # a check sets it before it tells the server to end by other means than stop() and kill()
    told_to_end = False
    trace = None  # the folder into which it traces itself
    pace = Pace()  # how fast it is when nothing else is asked of it
    dead = None  # once it is ended: whether it was dead already
    starved = (
        False  # likewise: whether others had the CPUs for so long that it could not be in time
    )

    def died(self):
        """Whether it ended though nobody asked it to."""
        if self.dead is not None:
            return self.dead
        if processes.ending(self.pid):  # its sockets are closed already, and it is about to be
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        return (
            self.process.poll() is not None
            and self._stopped is None
            and self._killed is None
            and not self.told_to_end
        )

    def end(self):
        """By force. In what order it ends is for checks of their own."""
        self.dead = self.died()
        self.starved = lacks_cpu(self.family())
        super().end()

    def _wait_listening(self, deadline):
        """A server that gets no CPU is given more time; one that used as much as any start may take
        has had its chance.
        """
        for attempt in range(PATIENCE):
            try:
                return super()._wait_listening(deadline)
            except NotStarted as problem:
                family = self.family()
                used, starved = processes.cpu(family), lacks_cpu(family)
                if problem.status is None and used > deadline / 2:
                    problem.proven = True
                elif problem.status is None and starved and attempt + 1 < PATIENCE:
                    continue
                self.end()
                if problem.status is None and starved and not problem.proven:
                    raise Inconclusive(STARVED) from None
                raise

    def close(self):
        """Tells it to end, as restart() does. With which status is for checks of their own."""
        if not self._closed:
            if self.process.poll() is None:
                self.stop()
            self.end()

    def __exit__(self, kind, *_):
        self.end()
        if kind is None:
            self.must_have_lived()

    def must_have_lived(self):
        """After its end: raises CheckFailed if it had not to be ended."""
        if self.died() or self.excessive():
            raise CheckFailed(
                msg("the server to continue to run"),
                msg("it did everything that was asked, and then it ended"),
            )


class CheckedTerminal(TerminalClient):
    """A server under check whose owner sits at a terminal; to the judge it is like any other."""

    starved, stderr = False, ()
    sight = address = None  # as Server has them; the address is known when it listens
    trace = None

    @property
    def closed(self):
        """Whether nothing of it is left."""
        return self.child.closed

    def died(self):
        return False  # its end is what such checks are about

    def excessive(self):
        return None

    def close(self):
        self.starved = self.starved or lacks_cpu(processes.family(self.pid))
        super().close()


def lacks_cpu(family):
    """Whether others had the CPUs for so long that this family could not be in time."""
    return processes.starved(processes.turns(family), deadlines.DEADLINE / 2, os.cpu_count() or 1)


@pytest.fixture
def judge(pytestconfig):
    return pytestconfig.pluginmanager.getplugin("judge")


@pytest.fixture
def rng(request, judge):
    return random.Random(f"{judge.settings['seed']} {id_of(request.node.nodeid)}")


@pytest.fixture
def pace(judge):
    return judge.pace


@pytest.fixture
def tmp_path(judge):
    """A folder whose name tells the server nothing."""
    return Path(tempfile.mkdtemp(dir=judge.scratch))


@pytest.fixture
def start(judge, tmp_path):
    """start(*args, **options) starts a server, which is the caller's to end. Limits that it does
    not take make the check "not run".

    With --trace it traces itself, unless `traced` is False: where a check takes its files or
    descriptors away, it could not.
    """

    def start(*args, traced=True, writable=(), **options):
        trace = (
            tempfile.mkdtemp(dir=judge.scratch) + "/trace"
            if judge.settings["trace"] and traced
            else None
        )
        options = {
            "command": judge.settings["command"],
            "directory": tmp_path / "group",
            "deadline": 2 * judge.settings["deadline"],
            "record": judge.record,
            **options,
        }
        try:
            judge.running = Checked(
                options.pop("command"),
                args=(*args, *(["--trace", trace] if trace else [])),
                cwd=judge.settings["cwd"],
                inherits=False,
                **options,
                writable=[*writable, *([trace] if trace else [])],
            )
        except OSError as error:
            raise CheckFailed(
                msg("the command to start"),
                f"{error.filename}: {error.strerror}",
                "no-such-command",
            ) from None
        except NotStarted as problem:
            limits = [
                arg
                for arg in args
                if arg.startswith("--")
                and arg not in ("--host", "--port", "--group", "--dir", "--admit")
            ]
            if limits and problem.status == 2:
                raise NotRun(
                    msg("the server does not accept {join}", join=" ".join(limits)), binds=False
                ) from None
            raise
        judge.running.trace, judge.running.pace = trace, judge.pace
        return judge.running

    return start


@pytest.fixture
def server(judge, start):
    """server(*args, **options) starts one. At the end of the check each must still live, unless the
    check ended it.
    """
    started = []

    def server(*args, **options):
        started.append(start(*args, **options))
        return started[-1]

    yield server
    for one in started:
        one.end()
    if judge.problem is None:
        for judge.running in started:
            judge.running.must_have_lived()


@pytest.fixture
def terminal(judge, tmp_path):
    """terminal(*args) starts one whose owner sits at a real terminal: a TerminalClient, with
    `address`. Ended after the check, before its clients are.
    """
    with contextlib.ExitStack() as started:

        def terminal(*args):
            trace = (
                tempfile.mkdtemp(dir=judge.scratch) + "/trace" if judge.settings["trace"] else None
            )
            args = (*args, *(["--trace", trace] if trace else []))
            command = [
                *judge.settings["command"],
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--dir",
                str(tmp_path / "group"),
                *args,
            ]
            try:
                console = CheckedTerminal(
                    "owner",
                    command,
                    record=judge.record,
                    launch=launched(
                        command,
                        judge.settings["cwd"],
                        plain_environment(),
                        tmp_path / "group",
                        [trace] if trace else [],
                        terminal=True,
                    ),
                )
            except pexpect.ExceptionPexpect:
                raise CheckFailed(
                    msg("the command to start"),
                    msg("{command}: it cannot be run", command=command[0]),
                    "no-such-command",
                ) from None
            judge.running = started.enter_context(console)
            console.trace = trace
            [match] = console.sees(LISTENING.pattern)
            console.address = match[1], int(match[2])
            return console

        yield terminal


@pytest.fixture
def connect(judge, server):
    """connect(running, name) -> a WireClient that is closed before the servers are."""
    clients, trips = [], []

    def connect(running, name="", **options):
        if judge.pace.slowness and not judge.has_time_for(judge.pace.join):
            raise Inconclusive(
                msg("the time for this check ran out: {slowness}", slowness=judge.pace.slowness),
                again=False,
            )
        began = time.monotonic()
        try:
            client = WireClient(running.address, name=name, record=judge.record, **options)
        except CutOff as problem:
            if running is judge.running and running.died():
                raise
            where = processes.listening(processes.family(running.pid))
            raise CheckFailed(
                msg(
                    "the server to accept connections at {address}:{address2}, as its "
                    "first line says",
                    address=running.address[0],
                    address2=running.address[1],
                ),
                msg("{came}; it listens at {addresses}", came=problem.actual, addresses=both(where))
                if where
                else msg("{came}; it listens nowhere", came=problem.actual),
                "listens-elsewhere",
            ) from None
        clients.append(client)
        if len(clients) <= 3:  # the slower machine and server, the longer may all else take
            with contextlib.suppress(CheckFailed):  # a trip that was missed measures nothing
                client.greeted()
                trips.append(time.monotonic() - began)
                deadlines.DEADLINE = max(
                    judge.deadline, min(MOST_DEADLINE, 200 * statistics.median(trips))
                )
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def enter(connect):
    """enter(running, name) -> a member who is here and has read its own IN; the password is
    secret-of-NAME.
    """

    def enter(running, name, password=None, **options):
        client = connect(running, name, **options)
        client.join(name, password or f"secret-of-{name}")
        client.expect(rf"IN \d+ \S+ {name}")
        return client

    return enter


@pytest.fixture
def ask(connect):
    """ask(running, name) -> a stranger whose request to join has been shown to the owner; the
    password is secret-of-NAME.
    """

    def ask(running, name, password=None, **options):
        client = connect(running, name, **options)
        client.greeted()
        client.send(f"JOIN {name} {password or f'secret-of-{name}'}")
        client.expect("PENDING")
        running.expect(rf"{re.escape(name)} asks to join from \S+:\d+")
        return client

    return ask


@pytest.fixture
def accepted(ask):
    """accepted(running, name) -> a member that the owner has accepted; it has read its WELCOME, and
    not yet its own IN.
    """

    def accepted(running, name):
        client = ask(running, name)
        same(running.order(f"accept {name}"), ["ok"])
        client.welcomed()
        return client

    return accepted


@pytest.fixture
def hunt(judge, start, rng, tmp_path):
    """for running in hunt(*args): a fresh server each time, first undisturbed, then disturbed, by
    the seed. A failure ends it, and so does the check's time.

    `part`: of the disturbed runs that --repeat asks for, those of a check that costs more or finds
    as much with fewer.
    """

    def hunt(*args, part=1.0, **options):
        wanted, clean, lacking, longest = max(1, round(part * judge.settings["repeat"])), 0, [], 0.0
        for number, disturbance in enumerate(disturbances(rng, judge.settings["command"]), 1):
            if clean and not judge.has_time_for(longest):
                lacking.append(
                    msg(
                        "the time for this check ran out before all {wanted} runs: "
                        "one takes up to {longest:.0f} s",
                        wanted=wanted,
                        longest=longest,
                    )
                )
                break
            began = time.monotonic()
            judge.runs, judge.disturbed, judge.first = (
                number,
                disturbance.words,
                len(judge.record.entries),
            )
            try:
                running = start(
                    *args,
                    directory=Path(tempfile.mkdtemp(dir=tmp_path), "group"),
                    env=disturbance.env,
                    preexec=disturbance.preexec,
                    **options,
                )
            except subprocess.SubprocessError:  # of preexec
                raise Inconclusive(
                    msg(
                        "run {number} should have been {words}, and this machine does not allow it",
                        number=number,
                        words=disturbance.words,
                    )
                ) from None
            with running:
                disturbance.look(running)
                judge.disturbed = disturbance.words
                with disturbance.during(running):
                    yield running
            longest = max(longest, time.monotonic() - began)
            clean += disturbance.disturbs
            lacking += [lacks for lacks in disturbance.lacks if lacks not in lacking]
            if clean >= wanted:
                break
        judge.disturbed = ""
        judge.notes.append(
            msg("1 disturbed run, no failure")
            if clean == 1
            else msg("{clean} disturbed runs, no failure", clean=clean)
        )
        judge.notes += lacking

    return hunt
