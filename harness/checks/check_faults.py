"""Faults: signals, a kill, a missing owner, no more descriptors. The server ends in order, or
continues to serve.
"""

import contextlib
import fcntl
import itertools
import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import time

import pytest
from conftest import OPEN

from harness.checks.lines import answers, hears, hears_the_end, history, refused, same_lines
from harness.checks.scenarios import NARROW, ends_in_time, fill, rests, rounds
from harness.driving.client import Silence, WireClient
from harness.driving.deadlines import none_left, wait_until
from harness.driving.history import normalized, seqs
from harness.driving.messages import msg
from harness.driving.processes import as_owner
from harness.driving.record import CheckFailed, same
from harness.driving.server import CLOSED, end_of
from harness.verdicts.plugin import Inconclusive, NotRun, check


@pytest.fixture
def everyone(ask, connect):
    """everyone(running) -> clients of each kind: two members, a client that asks to join, a
    stranger.
    """

    def everyone(running):
        members = [ask(running, name) for name in ("ana", "ben")]
        for member in members:
            same(running.order(f"accept {member.name}"), ["ok"])
            member.welcomed()
        others = [ask(running, "eve"), connect(running, "stranger")]
        others[1].greeted()
        return [*members, *others]

    return everyone


def no_farewell(running):
    """The id of the sentence on a connection that ended without a BYE: a signal to all processes
    may have ended the one that serves it.
    """
    return "ctrl-c-reached-the-children" if running.reached else "no-farewell"


def ends_in_order(running, clients, signum, group=False):
    """Sends this signal: every client must receive BYE closed, and the server and all its processes
    must end, with status 0.
    """
    began = time.monotonic()
    running.send_signal(signum, group)
    farewells = {}
    for client in clients:
        try:
            client.rest()
        except Silence:
            pass  # reported below
        farewells[client.who] = normalized(client.lines[-1:])
        client.close()
    status = ends_in_time(running, began)
    name = signal.Signals(signum).name
    if status != 0:
        raise CheckFailed(
            msg("the server to end with status 0 after {name}", name=name),
            msg("it {end}", end=end_of(status)),
            "no-handler" if status == -signum else "exit-status",
        )
    for who, last in farewells.items():
        if last != ["BYE closed"]:
            raise CheckFailed(
                msg("BYE closed as the last line of every connection"),
                msg("the last line that {who} received was {last}", who=who, last=last[0]),
                no_farewell(running),
            )
    none_left(
        lambda: [
            msg("process {pid} is still running", pid=process.pid) for process in running.living()
        ],
        msg("all the server's processes to end with it"),
        "leftovers",
    )


@check(points=2, lab=2, rules="8-5 12-10")
def check_sigterm_ends_in_order(server, everyone):
    """SIGTERM ends the server in order: every client, member or stranger, receives BYE closed, and
    the status is 0. No process remains."""
    running = server()
    ends_in_order(running, everyone(running), signal.SIGTERM)


@check(points=1, lab=2, rules="12-10")
def check_sigint_ends_in_order(server, everyone):
    """Ctrl-C, which reaches all the server's processes at once, ends it in the same order as
    SIGTERM."""
    running = server()
    ends_in_order(running, everyone(running), signal.SIGINT, group=True)


@check(points=1, lab=2, rules="12-10")
def check_sighup_ends_in_order(server, everyone):
    """SIGHUP, which a closing terminal sends to all the server's processes, ends it in the same
    order as SIGTERM."""
    running = server()
    ends_in_order(running, everyone(running), signal.SIGHUP, group=True)


ENDING = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
CANNOT_KNOW = re.compile(
    r"node|nodejs|deno|bun"
)  # runtimes that forget at their start which signals were ignored


@check(points=2, lab=5, rules="8-6 9.8-2 12-10")
def check_the_end_waits_for_no_reader(server, enter, tmp_path):
    """A member that reads nothing delays neither the end of the server nor the others' BYE, in
    whichever way the server is ended."""
    orders = (b"close\n", "closed"), (b"delete\nos lab\n", "deleted")
    for way, code in *orders, *((signum, "closed") for signum in ENDING):
        running = server(
            *OPEN,
            group="os lab",
            directory=tmp_path / (code if isinstance(way, bytes) else way.name),
        )
        ana, _ = enter(running, "ana"), enter(running, "stuck", **NARROW)
        fill(ana)  # stuck reads nothing
        began, running.told_to_end = time.monotonic(), True
        if isinstance(way, bytes):
            running.type_bytes(way)
        else:
            running.send_signal(way, group=way != signal.SIGTERM)
        hears_the_end(ana, f"BYE {code}", sentence=no_farewell(running))
        same(f"status {ends_in_time(running, began)}", "status 0", "exit-status")


@check(points=1, lab=2, rules="12-10")
def check_sighup_that_was_ignored(server, enter):
    """A server that was started with SIGHUP ignored, as nohup does, continues to run when its
    terminal is closed."""
    running = server(*OPEN, preexec=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    with as_owner(running.pid):
        program = os.path.basename(os.readlink(f"/proc/{running.pid}/exe"))
    if CANNOT_KNOW.fullmatch(program):
        raise NotRun(
            msg(
                "{program} cannot know that SIGHUP was ignored when it was started", program=program
            ),
            binds=False,
        )
    ana, ben = enter(running, "ana"), enter(running, "ben")
    running.send_signal(signal.SIGHUP, group=True)
    end = time.monotonic() + (
        0 if ignores(running, signal.SIGHUP) else 1
    )  # one that catches it may look at that later
    while True:
        try:
            rounds(ana, ben, count=1)
        except CheckFailed as problem:
            problem.sentence = "sighup-that-was-ignored"
            raise
        if time.monotonic() > end:
            break
        time.sleep(0.05)


def ignores(running, signum):
    """Whether the kernel throws this signal away, for each of the server's processes."""
    masks = []
    for process in running.family():
        with open(f"/proc/{process.pid}/status") as status:
            masks.append(int(re.search(r"^SigIgn:\s*(\w+)", status.read(), re.M)[1], 16))
    return all(mask & 1 << signum - 1 for mask in masks)


@check(points=1, lab=2, rules="12-10")
def check_ctrl_c_at_the_terminal(terminal, connect, enter):
    """Ctrl-C, typed at the owner's terminal, ends the server in order: every client receives BYE
    closed, and the status is 0. No process remains."""
    console = terminal(*OPEN)
    clients = [enter(console, "ana"), enter(console, "ben"), connect(console, "eve")]
    for client in clients:
        client.fence()
    console.presses("c")
    for client in clients:
        hears_the_end(client, "BYE closed", sentence=no_farewell(console))
        client.close()
    console.ends(0)
    none_left(
        lambda: [
            msg("process {pid} is still running", pid=process.pid) for process in console.living()
        ],
        msg("all the server's processes to end with it"),
        "leftovers",
    )


@check(points=2, lab=4, rules="12-14 12-15")
def check_killed_leaves_no_orphans(server, connect, enter):
    """When the main process is killed, no other process of the server remains, and a new server can
    start at once in the same directory."""
    running = server(*OPEN)
    for name in ("ana", "ben"):
        enter(running, name)
    eve = connect(running, "eve")
    eve.greeted()
    running.kill()
    none_left(
        lambda: [
            msg("process {pid} is still running", pid=process.pid) for process in running.living()
        ],
        msg("no process of the server after its main process was killed"),
    )
    running.restart()
    rounds(enter(running, "ana"), enter(running, "ben"), count=1)


@check(points=2, lab=4, rules="12-13")
def check_signals_are_survived(server, connect, enter):
    """SIGCHLD, SIGWINCH, and a stop and continue neither end the server nor make a read, a write or
    an accept fail."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    running.record.add(
        "server",
        "signal",
        msg("SIGCHLD, SIGWINCH, SIGSTOP and SIGCONT, each twenty times, sent to all its processes"),
    )
    for number in range(20):
        ana.send(f"SAY {number}")
        for signum in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGSTOP, signal.SIGCONT):
            os.killpg(running.pid, signum)
        same(normalized(ana.fence()), [f"MSG n TIME ana {number}"])
        if number % 4 == 0:
            connect(running, "newcomer").greeted()
    same(normalized(ben.fence())[-20:], [f"MSG n TIME ana {number}" for number in range(20)])


@check(points=1, lab=2, rules="11-30")
@pytest.mark.parametrize("stdin", [CLOSED, subprocess.DEVNULL], ids=["closed", "devnull"])
def check_without_a_terminal(server, enter, stdin):
    """Without an owner at its standard input, the server serves and stays idle: it does not read
    that input again and again."""
    running = server(*OPEN, stdin=stdin)
    if running.input_file:
        raise NotRun(
            msg(
                "standard input was closed, and the server's runtime opened "
                "{input_file} as descriptor 0 before the server's own code ran",
                input_file=running.input_file,
            ),
            binds=False,
        )
    rounds(enter(running, "ana"), enter(running, "ben"), count=2)
    rests(running)


# Starts instead of the server: the reader of its output reads the first line, and ends.
READER_GOES = """import os, signal, sys
end, start = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        os.close(start)
        with open(end, "rb", 0) as output:
            os.write(1, output.readline())
    os._exit(0)
os.wait()
os.dup2(start, 1)
os.close(end), os.close(start)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@check(points=1, lab=2, rules="11-32")
def check_the_owner_is_gone(judge, server, enter):
    """When no process reads its standard output any more, the server continues to serve, and uses
    no CPU while idle."""
    running = server(
        *OPEN, command=[sys.executable, "-ISc", READER_GOES, *judge.settings["command"]]
    )
    ana, ben = enter(running, "ana"), enter(running, "ben")
    running.type("members")
    rounds(ana, ben, count=5)
    rests(running)
    enter(running, "eva").fence()


# Started at a terminal instead of the server, which it starts as a background job.
IN_THE_BACKGROUND = """import os, signal, sys
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])
os.waitpid(child, 0)
"""


@check(points=1, lab=2, rules="11-31")
def check_in_the_background(judge, terminal, enter):
    """In the background of its terminal, the server continues to serve, takes no orders, and uses
    no CPU while idle."""
    command, judge.settings["command"] = (
        judge.settings["command"],
        [sys.executable, "-ISc", IN_THE_BACKGROUND, *judge.settings["command"]],
    )
    try:
        console = terminal(*OPEN)
    finally:
        judge.settings["command"] = command
    ana = enter(console, "ana")
    console.types("ban nobody")
    rounds(ana, enter(console, "ben"), count=3)
    rests(console)
    same([line for line in normalized(ana.fence()) if line.startswith("BANNED ")], [])


@check(points=2, lab=2, rules="11-24 11-32 11-33")
def check_the_owner_does_not_read(server, enter):
    """An owner that does not read the server's output delays no client, and later receives each
    answer whole. Of the events, 64 KiB are buffered, and the others are counted."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    banned = [f"b{number}".ljust(32, "x") for number in range(60)]
    running.type_bytes("".join(f"ban {name}\n" for name in banned).encode())
    wait_until(
        lambda: running.stdout.count("ok") == len(banned), what=msg("ok for each of 60 bans")
    )
    running.pause_reading()
    before, asked = (
        len(running.stdout),
        40,
    )  # 112 kB: more than a pipe holds, and less than twice that
    running.type_bytes(b"members\n" * asked)
    rounds(ana, ben, count=3)
    running.go_on_reading()
    answers_of = lambda: [
        line for line in running.stdout[before:] if not line.startswith(("* ", "# ", "<"))
    ]
    with contextlib.suppress(CheckFailed):
        wait_until(lambda: answers_of().count("ok") >= asked)
    listed = [*(f"member {name} banned" for name in banned), "member ana here", "member ben here"]
    came = answers_of()
    for _ in range(asked):
        answer, came = came[: len(listed) + 1], came[len(listed) + 1 :]
        same([*sorted(answer[:-1]), *answer[-1:]], [*sorted(listed), "ok"], "an-answer-is-torn")
    before = len(running.stdout)
    running.pause_reading()
    said = 80 * 12  # 380 kB: three times what the pipe and the server may hold for the owner
    rounds(ana, ben, count=80, lines=12, size=400, sentence="the-owner-does-not-read")
    running.go_on_reading()
    same(running.order("members")[-1], "ok")
    same(running.order("members")[-1], "ok")
    events_are_dropped(running, running.stdout[before:], said)


BACKLOG = 1 << 16  # bytes of events that are buffered for the owner


def events_are_dropped(running, lines, said):
    """Of `said` messages, a console that shows messages shows as many as may have been buffered,
    and the number of the others. Raises CheckFailed.
    """
    shown = [len(line) + 1 for line in lines if "x" * 400 in line]
    if not shown:
        return  # a server need not show events
    pipe = fcntl.fcntl(running.process.stdout, fcntl.F_GETPIPE_SZ)
    # One read of the pipe may have ended after the harness paused; pages are not filled whole.
    least, most = 0.85 * (pipe + BACKLOG), 2 * pipe + 1.1 * BACKLOG
    if not least < sum(shown) < most:
        raise CheckFailed(
            msg("64 KiB of events to be buffered for an owner that does not read, and no more"),
            msg(
                "of {said} messages the console showed {shown}, {bytes} bytes; a pipe holds {pipe}",
                said=said,
                shown=len(shown),
                bytes=sum(shown),
                pipe=pipe,
            ),
            "backlog-of-the-owner",
            proven=True,
        )
    counted = [found[1] for line in lines if (found := re.fullmatch(r"# (\d+) lines .*", line))]
    same(
        f"{sum(map(int, counted))} lines not shown",
        f"{said - len(shown)} lines not shown",
        "backlog-of-the-owner",
    )


def let_in(strangers, seconds):
    """Returns the clients that receive HELLO, once nothing has happened to any of them for
    `seconds`.
    """
    greeted, waiting = [], selectors.DefaultSelector()
    for stranger in strangers:
        waiting.register(stranger.socket, selectors.EVENT_READ, stranger)
    while waiting.get_map() and (ready := waiting.select(seconds)):
        for key, _ in ready:
            waiting.unregister(key.fileobj)
            try:
                first = key.data.line()
            except CheckFailed:
                first = ""
            if first.startswith("HELLO "):
                greeted.append(key.data)
            elif first not in ("", "BYE full"):
                raise CheckFailed(
                    msg(
                        "HELLO, BYE full, or the end of the connection, for a client "
                        "for which no descriptor is left"
                    ),
                    first,
                )
    return greeted


FREE, TAKEN = (
    40,
    1040,
    # descriptors below the first are the server's to take; from there up to the second something
    # else
    # has them all
)
# Started instead of the server, it takes them, and then becomes the server.
TAKES = f"""import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
null = os.open(os.devnull, os.O_RDONLY)
for descriptor in range({FREE}, {TAKEN}):
    os.dup2(null, descriptor)
os.close(null)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@check(points=1, lab=8, rules="9.7-3 14-1")
def check_beyond_descriptor_1024(judge, server, connect, enter):
    """When only descriptors of 1024 and more are left, the server serves new clients or turns them
    away. The other clients are not affected."""
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < TAKEN + 2 * FREE:
        raise NotRun(msg("this machine does not allow a program so many descriptors"), binds=False)
    running = server(
        *OPEN, traced=False, command=[sys.executable, "-ISc", TAKES, *judge.settings["command"]]
    )
    ana, ben = enter(running, "ana"), enter(running, "ben")
    newcomers = [connect(running, "newcomer") for _ in range(FREE)]
    for newcomer in let_in(newcomers, 1):
        newcomer.fence()
    rounds(ana, ben, count=3)


@check(points=2, lab=8, rules="9.7-3 14-1")
def check_out_of_descriptors(judge, server, enter):
    """When no descriptor is left, the server turns newcomers away or lets them wait, stays idle,
    and serves the others. Later it accepts newcomers again."""
    running = server(
        *OPEN, traced=False, preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    )
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
    let_in_again(
        running,
        msg(
            "newcomers to be accepted again after all {count} clients that "
            "found room have disconnected",
            count=len(greeted),
        ),
    )
    rounds(ana, enter(running, "eva"), count=2)


def let_in_again(running, what):
    def again():
        with WireClient(running.address) as newcomer:
            return let_in([newcomer], 1)

    wait_until(again, what=what)


@check(points=2, lab=8, rules="9.7-3 14-1")
def check_out_of_descriptors_again(server, connect, enter):
    """When no descriptor is left for the second and third time, the server does the same as the
    first time."""
    running = server(*OPEN, traced=False)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    turns_away = False  # or it lets newcomers wait
    for time_ in 1, 2, 3:
        with limited(running.pid, resource.RLIMIT_NOFILE, lambda: lowest_free(running.pid)):
            newcomers = [connect(running, f"newcomer-{time_}") for _ in range(4)]
            let_in(newcomers, 0.5)
            rounds(ana, ben, count=5)
            rests(running, "spins-when-full")
            turns_away = turns_away or any(
                newcomer.ended or "BYE full" in newcomer.lines for newcomer in newcomers
            )
            for newcomer in newcomers:
                if (
                    turns_away and newcomer.group is None
                ):  # else it was greeted: a descriptor had become free
                    try:
                        newcomer.rest()
                    except Silence:
                        raise CheckFailed(
                            msg(
                                "a plain close or BYE full for each newcomer without a "
                                "descriptor, as before"
                            ),
                            msg(
                                "no answer, at time {time_} of 3 that no descriptor is left",
                                time_=time_,
                            ),
                        ) from None
                newcomer.close()
        let_in_again(
            running,
            msg(
                "newcomers to be accepted again when there are descriptors "
                "again, at time {time_} of 3",
                time_=time_,
            ),
        )
        rounds(ana, ben, count=2)
    enter(running, "eva").fence()


@contextlib.contextmanager
def limited(pid, what, find):
    """This process has this limit, find(), in here."""
    soft, hard = resource.prlimit(pid, what)
    try:
        resource.prlimit(pid, what, (find(), hard))
    except PermissionError:
        raise Inconclusive(
            msg("this machine does not allow a limit on what the server may have")
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, what, (soft, hard))


def lowest_free(pid):
    """The lowest descriptor that this process has not: with that as the limit, the next call that
    wants one fails.
    """
    taken = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    return next(number for number in itertools.count() if number not in taken)


# -- The disk is full: no file of the server may grow


@contextlib.contextmanager
def full_disk(running, room=None):
    """No file of the server can be written in here, as if its disk were full; but `room` bytes fit
    into its largest file, and more into others.

    What it writes to pipes and sockets goes through.
    """
    most = (
        0
        if room is None
        else room
        + max(path.stat().st_size for path in running.directory.rglob("*") if path.is_file())
    )
    with contextlib.ExitStack() as limits:
        for process in running.family():
            limits.enter_context(limited(process.pid, resource.RLIMIT_FSIZE, lambda: most))
        running.record.add(
            "server",
            "signal",
            msg("a full disk: a write beyond {most} bytes of a file fails with EFBIG", most=most),
        )
        try:
            yield
        except CheckFailed:
            if running.died() and any(
                "SIGXFSZ" in line for line in (end_of(running.process.poll()), *running.stderr)
            ):
                raise NotRun(
                    msg(
                        "the server's runtime ends at SIGXFSZ, and this check cannot "
                        "simulate a full disk without that signal"
                    ),
                    binds=False,
                ) from None
            raise
    running.record.add("server", "signal", msg("free space on its disk again"))


def ignore_sigxfsz():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


@check(points=2, lab=1, rules="7-2 7-13 9.2-6 9.2-7 11-10 11-12")
def check_a_full_disk(server, ask, accepted, connect):
    """When an event cannot be written, the server answers not-saved or `error:`, sends the event to
    no member, and continues to serve, also the second time."""
    running = server(traced=False, preexec=ignore_sigxfsz)
    ana, ben = accepted(running, "ana"), accepted(running, "ben")
    for newcomer, group in ("eva", "first"), ("leo", "second"):
        gone, asks = accepted(running, f"{newcomer}-goes"), ask(running, newcomer)
        before = [client.fence() for client in (gone, ana, ben)] and history(ana)
        with full_disk(running):
            for line in "SAY lost", "NAME lost", "LEAVE", "SAY lost, too":
                refused(ana, line, "not-saved")
            for order in (
                f"accept {newcomer}",
                f"ban {newcomer}",
                "ban ben",
                "ban nobody",
                f"rename {group} lost",
            ):
                answer = running.order(order)
                if len(answer) != 1 or not answer[0].startswith("error: "):
                    raise CheckFailed(
                        msg(
                            "`error: why` as the answer to `{order}`, because it cannot be saved",
                            order=order,
                        ),
                        "\n".join(answer),
                    )
            gone.close()
            wait_until(
                lambda: f"member {gone.name} away" in running.order("members"),
                what=msg("{name} to be away", name=gone.name),
            )
            back = connect(running, gone.name)
            back.greeted()
            back.send(f"JOIN {gone.name} secret-of-{gone.name}")
            hears(back, "PENDING", "ERR not-saved")
            for client in ana, ben, asks:
                same(normalized(client.fence()), [], "told-and-not-saved")
            listed = [
                line
                for line in answers(ana, "WHO")
                if line.startswith(("MEMBER ana ", "MEMBER lost "))
            ]
            same(listed, ["MEMBER ana here"], "told-and-not-saved")
            if history(ana) != before:
                raise CheckFailed(
                    msg("in HISTORY the same events as before"),
                    msg("it has other events"),
                    "told-and-not-saved",
                )
        came = normalized(answers(ana, "SAY saved"))
        wrong = any(line.startswith("MSG ") and line != "MSG n TIME ana saved" for line in came)
        same(
            came,
            [f"OUT n TIME {gone.name}", "MSG n TIME ana saved"],
            "told-and-not-saved" if wrong else "not-saved-for-good",
        )
        same(running.order(f"accept {newcomer}"), ["ok"])
        asks.welcomed()
        back.send(f"JOIN {gone.name} secret-of-{gone.name}")
        back.welcomed()
        same(running.order(f"rename {group}"), ["ok"])
        same(
            normalized(ben.fence()),
            [
                f"OUT n TIME {gone.name}",
                "MSG n TIME ana saved",
                f"IN n TIME {newcomer}",
                f"IN n TIME {gone.name}",
                f"GROUP n TIME {group}",
            ],
        )
        ana.fence()
    answers(ana, *["SAY " + "x" * 400] * 20)  # so that the file of events is the largest
    for room in 1, 25, 200:  # the beginning of a line fits
        with full_disk(running, room):
            came = normalized(answers(ana, "SAY " + "y" * 300))
        if came != ["ERR not-saved"]:  # or all of it does, in another file
            same(came, ["MSG n TIME ana " + "y" * 300])
        same(
            normalized(answers(ana, f"SAY {room}")),
            [f"MSG n TIME ana {room}"],
            "not-saved-for-good",
        )
    events, _ = history(ana)
    same(
        list(map(str, seqs(events))),
        [str(number) for number in range(1, len(events) + 1)],
        "told-and-not-saved",
    )
    running.restart()
    ana = connect(running, "ana")
    ana.join("ana", "secret-of-ana")
    same_lines(history(ana)[0][:-1], events, "told-and-not-saved")
    same(
        sorted(running.order("members")),
        sorted(
            [
                "member ana here",
                *(f"member {name} away" for name in ("ben", "eva", "leo", "eva-goes", "leo-goes")),
                "ok",
            ]
        ),
    )


@check(points=1, lab=1, rules="7-13 9.2-6")
def check_a_full_disk_for_a_newcomer(server, enter, connect):
    """A client whose new membership cannot be written receives not-saved, is not a member, and may
    try again, also the second time."""
    running = server(*OPEN, traced=False, preexec=ignore_sigxfsz)
    ana = enter(running, "ana")
    answers(ana, *["SAY " + "x" * 400] * 20)  # so that the file of events is the largest
    for name, room in ("ben", None), ("eva", 5), ("leo", None):
        new = connect(running, name)
        new.greeted()
        ana.fence()
        with full_disk(running, room):
            new.send(f"JOIN {name} first secret")
            new.expect("PENDING")
            came = normalized([new.line()])
            if room and came[0].startswith("WELCOME "):
                continue  # its files are others
            same(came, ["ERR not-saved"])
            same(normalized(ana.fence()), [], "told-and-not-saved")
        same([line for line in running.order("members") if name in line], [], "told-and-not-saved")
        new.send(f"JOIN {name} second secret")
        new.welcomed()
        new.fence()  # until then its JOIN may still be under way
        same(normalized(ana.fence()), [f"IN n TIME {name}"])
        rounds(ana, new, count=2)
