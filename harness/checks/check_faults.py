"""Faults: signals, a kill, an owner who is not there, no more descriptors. The server ends in order, or goes on."""
import os
import resource
import selectors
import signal
import subprocess
import sys

import pytest

from conftest import OPEN
from harness import wire
from harness.detectors import session
from harness.doings import rests, rounds
from harness.lines import hears_the_end, told
from harness.record import Unmet, same
from harness.server import CLOSED, end_of
from harness.verdicts.plugin import NotRun, check
from harness.wire import WireClient


def no_farewell(running):
    """The id of the sentence on a connection that ended without a BYE: a signal to all processes may have ended the one that serves it."""
    return "ctrl-c-reached-the-children" if running.reached else "no-farewell"


def ends_in_order(running, members, strangers, signum, group=False):
    """After this signal everybody hears BYE closed, and the server ends with status 0, all its processes with it."""
    running.send_signal(signum, group)
    farewells = {}
    for client in (*members, *strangers):
        try:
            client.rest()
        except wire.Silence:
            pass                        # that it goes on is said below
        farewells[client.who] = told(client.lines[-1:])
        client.close()
    status = running.wait()
    name = signal.Signals(signum).name
    if status != 0:
        raise Unmet(f"the server to end with status 0 after {name}", f"it {end_of(status)}", "no-handler" if status == -signum else "exit-status")
    for who, last in farewells.items():
        if last != ["BYE closed"]:
            raise Unmet("BYE closed as the last line of everybody's connection", f"the last line of {who} was {last[0]}",
                        no_farewell(running))
    wire.none_left(lambda: [f"process {process.pid} lives on" for process in session(running.pid)], "all the server's processes to end with it",
                   "leftovers")


@check(points=2, lab=2)
def check_sigterm_ends_in_order(server, connect, enter):
    """SIGTERM ends the server in order: BYE closed to all, members and strangers, and status 0, with no process left."""
    running = server(*OPEN)
    ends_in_order(running, [enter(running, "ana"), enter(running, "ben")], [connect(running, "eve")], signal.SIGTERM)


@check(points=1, lab=2)
def check_sigint_ends_in_order(server, connect, enter):
    """Ctrl-C, which reaches all the server's processes at once, ends it in the same order."""
    running = server(*OPEN)
    ends_in_order(running, [enter(running, "ana"), enter(running, "ben")], [connect(running, "eve")], signal.SIGINT, group=True)


@check(points=1, lab=2)
def check_ctrl_c_at_the_terminal(terminal, connect, enter):
    """Ctrl-C, typed at the owner's terminal, ends the server in order: BYE closed to all, and status 0, with no process left."""
    console = terminal(*OPEN)
    clients = [enter(console, "ana"), enter(console, "ben"), connect(console, "eve")]
    for client in clients:
        client.fence()
    console.presses("c")
    for client in clients:
        hears_the_end(client, "BYE closed", sentence=no_farewell(console))
        client.close()
    console.ends(0)
    wire.none_left(lambda: [f"process {process.pid} lives on" for process in console.living()], "all the server's processes to end with it", "leftovers")


@check(points=2, lab=4)
def check_killed_leaves_no_orphans(server, connect, enter):
    """When the main process is killed, no other lives on, and a new server can start at once on the same directory."""
    running = server(*OPEN)
    for name in ("ana", "ben"):
        enter(running, name)
    eve = connect(running, "eve")
    eve.greeted()
    running.kill()
    wire.none_left(lambda: [f"process {process.pid} lives on" for process in session(running.pid)], "no process of the server, when its main process was killed")
    running.restart()
    rounds(enter(running, "ana"), enter(running, "ben"), count=1)


@check(points=2, lab=4)
def check_signals_are_survived(server, connect, enter):
    """SIGCHLD, SIGWINCH, and being stopped and continued are no reason to end, nor to fail a read, a write or an accept."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    running.record.add("server", "signal", "SIGCHLD, SIGWINCH, SIGSTOP and SIGCONT, each twenty times, all its processes")
    for number in range(20):
        ana.send(f"SAY {number}")
        for signum in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGSTOP, signal.SIGCONT):
            os.killpg(running.pid, signum)
        same(told(ana.fence()), [f"MSG n TIME ana {number}"])
        if number % 4 == 0:
            connect(running, "newcomer").greeted()
    same(told(ben.fence())[-20:], [f"MSG n TIME ana {number}" for number in range(20)])


@check(points=1, lab=2)
@pytest.mark.parametrize("stdin", [CLOSED, subprocess.DEVNULL], ids=["closed", "devnull"])
def check_without_a_terminal(server, enter, stdin):
    """Without an owner at its standard input the server serves, and does not ask again and again."""
    running = server(*OPEN, stdin=stdin)
    rounds(enter(running, "ana"), enter(running, "ben"), count=2)
    rests(running)


@check(points=2, lab=2)
def check_the_owner_does_not_read(server, enter):
    """An owner who does not read what the server prints holds up nobody."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    running.pause_reading()
    rounds(ana, ben, count=40, lines=12, size=400, sentence="the-owner-does-not-read")      # 190 kB: three times what the pipe takes
    running.go_on_reading()
    same(running.order("members")[-1], "ok")


def let_in(strangers, seconds):
    """Those of these clients who are greeted before nothing more happens to any of them for so long."""
    greeted, waiting = [], selectors.DefaultSelector()
    for stranger in strangers:
        waiting.register(stranger.socket, selectors.EVENT_READ, stranger)
    while waiting.get_map() and (ready := waiting.select(seconds)):
        for key, _ in ready:
            waiting.unregister(key.fileobj)
            try:
                first = key.data.line()
            except Unmet:
                first = ""
            if first.startswith("HELLO "):
                greeted.append(key.data)
            elif first not in ("", "BYE full"):
                raise Unmet("HELLO, or BYE full, or the end, for those for whom there is no descriptor", first)
    return greeted


FREE, TAKEN = 40, 1040      # descriptors below the first are the server's to take; from there up to the second something else has them all
# Started instead of the server, it takes them, and then becomes the server.
TAKES = f"""import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
null = os.open(os.devnull, os.O_RDONLY)
for descriptor in range({FREE}, {TAKEN}):
    os.dup2(null, descriptor)
os.close(null)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@check(points=1, lab=8)
def check_beyond_descriptor_1024(judge, server, connect, enter):
    """Clients whose connections have descriptors of 1024 and more (they are the only ones left) are served, or turned away; nobody else is hurt."""
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < TAKEN + 2 * FREE:
        raise NotRun("this machine does not let a program have so many descriptors", binds=False)
    running = server(*OPEN, command=[sys.executable, "-ISc", TAKES, *judge.settings["command"]])
    ana, ben = enter(running, "ana"), enter(running, "ben")
    newcomers = [connect(running, "newcomer") for _ in range(FREE)]
    for newcomer in let_in(newcomers, 1):
        newcomer.fence()
    rounds(ana, ben, count=3)


@check(points=2, lab=8)
def check_out_of_descriptors(judge, server, enter):
    """When it has no more descriptors the server turns newcomers away or lets them wait, rests, and serves the others; and later lets in again."""
    running = server(*OPEN, preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    ana, ben = enter(running, "ana"), enter(running, "ben")
    running.record.add("crowd", "connects")
    strangers = [WireClient(running.address, name="stranger") for _ in range(90)]
    try:
        greeted = let_in(strangers, 1)
        rounds(ana, ben, count=5)
        rests(running, "spins-when-full")
    finally:
        for stranger in strangers:
            stranger.close()

    def again():
        with WireClient(running.address) as newcomer:
            return let_in([newcomer], 1)

    wire.wait_until(again, what=f"newcomers to be let in again, when all of the {len(greeted)} who found room have gone")
    rounds(ana, enter(running, "eva"), count=2)
