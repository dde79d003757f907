"""Processes: what the operating system shows of the server. The server releases all that a client
used when it disconnects, and idle clients cost nothing.
"""

import contextlib
import re
import signal
import time

import psutil
from conftest import OPEN

from harness.checks.lines import hears, hears_the_end
from harness.checks.scenarios import ends_in_time, rests, rounds
from harness.driving import processes
from harness.driving.client import Silence
from harness.driving.deadlines import none_left, wait_until
from harness.driving.delayed_exit import DelayedExit
from harness.driving.messages import joined, msg
from harness.driving.record import CheckFailed, same
from harness.verdicts.plugin import check

LEAKS = 7  # more of anything than before is a leak, when every kind of end was made 16 times
MEMBERS = ("ana", "ben", "eva", "leo")


def come_and_go(running, connect):
    """40 clients who end in every way there is, some of them members."""
    clients = [
        connect(running, MEMBERS[number] if number < len(MEMBERS) else "stranger")
        for number in range(40)
    ]
    for number, client in enumerate(clients):
        client.greeted()
        if number < len(MEMBERS):
            client.join(client.name, f"secret-of-{client.name}")
    for number, client in enumerate(clients):
        if number % 5 == 0:
            client.send("QUIT")
        elif number % 5 == 1:
            client.half_close()
        elif number % 5 == 2:
            client.send_bytes(b"JOIN hal")
            client.close()
        elif number % 5 == 3:
            client.reset()
        else:
            client.close()
    for number, client in enumerate(clients):
        if number % 5 < 2:
            client.rest()
            client.close()


def held(running):
    """Its holdings, but for zombies, which have a check of their own."""
    family = running.family()
    return processes.holdings(set(family).difference(processes.zombies(family)))


def settled(running):
    """What it holds, when that no longer changes."""
    seen = []
    while len(seen) < 5 or (len(set(seen[-5:])) > 1 and len(seen) < 100):
        seen.append(held(running))
        time.sleep(0.02)
    return seen[-1]


@check(points=3, lab=3, rules="14-4")
def check_all_is_given_back(server, connect):
    """After clients have connected and disconnected, in whatever way, the server has as many
    descriptors, threads and processes as before."""
    running = server(*OPEN)
    come_and_go(running, connect)  # what is made once, on first use, belongs to the base line
    before, stacks = settled(running), processes.stacks(running.family())
    for _ in range(2):
        come_and_go(running, connect)
    kind = lambda: [
        name for name, old, new in zip(before._fields, before, held(running)) if new > old + LEAKS
    ]
    try:
        none_left(
            lambda: processes.grown(before, held(running), LEAKS),
            msg("as many as before 80 clients connected and disconnected"),
        )
    except CheckFailed as problem:
        waiting = len(processes.sockets(running.family(), psutil.CONN_CLOSE_WAIT))
        if waiting > LEAKS:
            problem.actual = joined(
                problem.actual,
                msg(
                    "{count} sockets are in CLOSE_WAIT: the client has closed, and the server has "
                    "not",
                    count=waiting,
                ),
            )
        raise CheckFailed(
            problem.expected, problem.actual, f"{(kind() or ['descriptors'])[0]}-stay"
        ) from None
    more = processes.stacks(running.family()) - stacks
    if more > 40:
        raise CheckFailed(
            msg(
                "no more thread stacks in memory than before 80 clients connected and disconnected"
            ),
            msg("{more} more, although the threads have ended", more=more),
            "stacks-stay",
        )


def dead(running):
    return [
        msg("process {pid} has ended, and its parent has not waited for it", pid=process.pid)
        for process in processes.zombies(running.family())
    ]


@check(points=2, lab=4, rules="14-5")
def check_no_zombies(server, connect):
    """When a client has disconnected, no process that served it remains as a zombie."""
    running = server(*OPEN)
    for number in range(10):
        client = connect(running, f"client{number}")
        client.greeted()
        client.send("QUIT")
        client.rest()
        client.close()
    none_left(lambda: dead(running), msg("no zombie"))


@check(points=2, lab=4, rules="14-5")
def check_no_zombies_after_a_burst(server, connect):
    """When many clients disconnect at the same moment, no zombie remains either."""
    running = server(*OPEN)
    clients = [connect(running, "client") for _ in range(20)]
    for client in clients:
        client.greeted()
        client.fence()
    children = [process for process in running.family()[1:]]
    running.send_signal(signal.SIGSTOP)  # so that all its children end before it can see the first
    try:
        for client in clients:
            client.close()
        with contextlib.suppress(CheckFailed):  # some may have more to do than to serve a client
            wait_until(lambda: len(processes.zombies(children)) == len(children), 1)
    finally:
        running.send_signal(signal.SIGCONT)
    none_left(lambda: dead(running), msg("no zombie"))


def serving(running, client):
    """The child processes that hold this client's connection, as psutil processes."""
    port = client.socket.getsockname()[1]
    return [
        child
        for child in running.family()[1:]
        if any(
            other.port == port for _, other in processes.sockets([child], psutil.CONN_ESTABLISHED)
        )
    ]


def child_of(running, client):
    """The one process that serves this client. Raises CheckFailed if there is none, or more than
    one for long.
    """
    client.fence()
    with contextlib.suppress(
        CheckFailed
    ):  # one forked meanwhile may not have closed what it inherited
        wait_until(lambda: len(serving(running, client)) == 1)
    if len(found := serving(running, client)) != 1:
        raise CheckFailed(
            msg("one child process that holds the connection of {who}", who=client.who),
            msg("{count} child processes hold it", count=len(found)),
            "children-hold-connections" if found else "a-process-each",
        )
    return found[0]


@check(points=1, lab=4, design="fork", rules="14-5")
def check_a_late_end_is_waited_for(judge, server, connect, enter):
    """A child that exits a moment after its pipes are closed leaves no zombie, whatever ended it:
    QUIT, an end of file, a reset, a kill, a ban, a takeover or a line too long."""
    running = server(*OPEN)
    enter(running, "ana")
    for way in ("quit", "shuts", "resets", "killed", "banned", "replaced", "too-long"):
        is_member = way in ("resets", "killed", "banned", "replaced")
        client = (enter if is_member else connect)(running, way)
        child = child_of(running, client)
        with DelayedExit(child.pid, running.pid) as late:
            ends_by(way, running, connect, client, child)
            with contextlib.suppress(CheckFailed):
                wait_until(lambda: not late.is_alive())
        if not late.allowed and not judge.notes:
            judge.notes.append(
                msg(
                    "ends of children not delayed (this machine does not allow "
                    "ptrace), so this check finds fewer zombies"
                )
            )
        try:
            none_left(
                lambda: dead(running),
                msg("no zombie, although the parent looked the first time before the child ended"),
            )
        except CheckFailed as problem:
            problem.actual = joined(
                problem.actual, msg("the client of that child ended so: {way}", way=WAYS[way])
            )
            raise


WAYS = {
    "quit": msg("it sent QUIT"),
    "shuts": msg("it ended its sending direction"),
    "killed": msg("its child was killed"),
    "resets": msg("it reset the connection"),
    "banned": msg("the owner banned it"),
    "replaced": msg("the same member joined on another connection"),
    "too-long": msg("it sent a line that is too long"),
}


def ends_by(way, running, connect, client, child):
    """Brings about the end of this client's conversation, and its child's."""
    if way == "quit":
        client.send("QUIT")
    elif way == "shuts":
        client.half_close()
    elif way == "resets":
        return client.reset()
    elif way == "killed":
        running.record.add("server", "signal", msg("SIGKILL (the child of {who})", who=client.who))
        child.kill()
    elif way == "banned":
        same(running.order(f"ban {client.name}"), ["ok"])
    elif way == "replaced":
        connect(running, "again").join(client.name, f"secret-of-{client.name}")
    else:
        client.send_bytes(b"x" * 600)
    client.rest()
    client.close()


@check(points=3, lab=4, design="fork", rules="6-23 8-1")
def check_a_killed_child_says_no_goodbye(server, connect, enter):
    """When a child is killed, its client receives no BYE, because it did not ask for one. The
    others receive OUT and continue, the client can join again, also the second time, and the
    server later ends with status 0."""
    running = server(*OPEN)
    ana, leo = enter(running, "ana"), enter(running, "leo")
    for name in ("ben", "eve", "ben"):
        client = (connect if name == "eve" else enter)(running, name)
        child = child_of(running, client)
        running.record.add("server", "signal", msg("SIGKILL (the child of {who})", who=client.who))
        child.kill()
        start, served = len(client.lines), False
        with contextlib.suppress(CheckFailed, ConnectionError):
            client.fence()
            served = True  # another process has taken the client over: so be it
        if not served and not client.ended:
            raise CheckFailed(
                msg(
                    "the end of {who}'s connection, after the child that served it was killed",
                    who=client.who,
                ),
                msg("the connection stays open, and no process answers"),
                "ghost",
            )
        if farewell := [line for line in client.lines[start:] if line.startswith("BYE ")]:
            raise CheckFailed(
                msg(
                    "no BYE for {who}, because its child was killed: only the end of "
                    "the connection",
                    who=client.who,
                ),
                msg("{who} received\n{farewell}", who=client.who, farewell=farewell[0]),
            )
        if name == "ben" and not served:
            ana.expect(r"OUT \d+ \S+ ben")
        rounds(ana, leo, count=2)
    connect(running, "again").join("ben", "secret-of-ben")
    for name in ("mal", "tom"):  # killed while it checks a password, if the child does that
        client = connect(running, name)
        child = child_of(running, client)
        client.send(f"JOIN {name} secret-of-{name}")
        hears(client, "PENDING")
        child.kill()
        running.record.add("server", "signal", msg("SIGKILL (the child of {who})", who=client.who))
        with contextlib.suppress(CheckFailed, ConnectionError):
            client.fence()
            client.send("QUIT")  # another process has taken the client over: so be it
        client.rest()
        try:
            enter(running, name)  # the name is free again, or it is this member's
        except CheckFailed as problem:
            problem.sentence = "killed-while-it-checked"
            raise
    ana.fence()
    none_left(lambda: dead(running), msg("no zombie of a child that was killed"))
    same(f"status {running.stop()}", "status 0", "status-of-the-end")


@check(points=1, lab=4, design="fork", rules="9.2-9 12-10")
def check_a_stopped_child_holds_up_nobody(server, enter):
    """While a child is stopped, the other members can still talk. SIGTERM then ends the server in
    time, with status 0, and no process remains."""
    running = server(*OPEN)
    ana, ben, eva = (enter(running, name) for name in ("ana", "ben", "eva"))
    child = child_of(running, ben)
    running.record.add("server", "signal", msg("SIGSTOP (the child of ben)"))
    child.suspend()
    rounds(ana, eva, count=3, lines=50, size=400)
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    for client in (ana, eva):
        hears_the_end(client, "BYE closed", sentence="no-farewell")
    try:
        same(f"status {ends_in_time(running, began)}", "status 0", "status-of-the-end")
        none_left(
            lambda: [
                msg("process {pid} is still running", pid=process.pid)
                for process in running.living()
            ],
            msg("all the server's processes to end with it"),
        )
    except CheckFailed as problem:
        if problem.sentence != "status-of-the-end":
            problem.sentence = "a-stopped-child-holds-up-nobody"
        raise


@check(points=2, lab=2, rules="14-3")
def check_idle_costs_nothing(server, connect, enter):
    """While members and strangers send nothing, the server uses no CPU."""
    running = server(*OPEN)
    ana, *_ = (
        [enter(running, name) for name in MEMBERS],
        [connect(running, "stranger").fence() for _ in range(10)],
    )
    ana[0].send("SAY something")
    for client in ana:
        client.fence()
    rests(running)


@check(points=2, lab=2, rules="14-3")
def check_nothing_spins_after_the_end(server, connect, enter):
    """After clients have disconnected, in whatever way, the server uses no CPU."""
    running = server(*OPEN)
    ana, ben, eva, _ = (enter(running, name) for name in MEMBERS)
    half = [connect(running, "half") for _ in range(3)]
    for client in half:
        client.greeted()
    half[0].send_bytes(b"no end")
    half[1].send_bytes(b"x" * 2000)
    for client in (ana, *half):
        client.half_close()
    ben.reset()
    eva.close()
    rests(running)


@check(points=2, lab=2, rules="4-5 6-11")
def check_quit_ends_the_connection(server, enter):
    """After BYE the server closes the connection, even if clients that connected later are still
    there."""
    running = server(*OPEN)
    ana, ben, *_ = (enter(running, name) for name in MEMBERS)
    ana.send("QUIT")
    ben.half_close()
    for client in (ana, ben):
        client.expect("BYE quit")
        try:
            same(client.rest(), [])
        except Silence:
            raise CheckFailed(
                msg("the end of {who}'s connection, after BYE quit", who=client.who),
                msg("it stays open"),
            ) from None


@check(points=1, lab=4, rules="6-1 14-4")
def check_no_more_processes_than_clients(server, connect):
    """Twelve clients receive HELLO once each, cost at most two processes each, and leave none
    behind."""
    running = server(*OPEN)
    connect(running, "first").close()
    before = settled(running).processes
    clients = [connect(running, "client") for _ in range(12)]
    for client in clients:
        client.greeted()
        same(client.fence(), [])
        same(len(client.lines), 2)
    many = lambda most: [
        f"{now} processes; {before} before"
        for now in [len(running.family())]
        if now > before + most
    ]
    none_left(
        lambda: many(2 * len(clients)),
        msg("at most two more processes for each of 12 clients"),
        "forks-on",
    )
    for client in clients:
        client.send("QUIT")
        client.rest()
        client.close()
    none_left(
        lambda: many(2),
        msg("as many processes as before, after the clients have disconnected"),
        "processes-stay",
    )


@check(points=1, lab=4, rules="11-25 14-6")
def check_printed_once(server, ask):
    """Each line that the server prints appears on its stdout once, whatever processes it creates
    and ends."""
    running = server()
    for name in MEMBERS:
        client = ask(running, name)
        same(running.order(f"accept {name}"), ["ok"])
        client.expect(rf"IN \d+ \S+ {name}")
        client.send("QUIT")
        client.rest()
        client.close()
    running.stop()
    running.end()  # to the end of what it writes
    twice = [
        line
        for line in set(running.stdout)
        if re.fullmatch(r"\* \S+ (came|went|left)", line) and running.stdout.count(line) > 1
    ]
    if twice:
        raise CheckFailed(msg("each line once"), msg("twice or more:\n{lines}", lines=twice))
    came = [
        re.sub(r"(listening on|asks to join from) \S+", r"\1 ADDRESS", line)
        for line in running.stdout
        if not re.match(r"[*#] |<", line)
    ]
    same(
        came,
        [
            "listening on ADDRESS",
            *(line for name in MEMBERS for line in (f"{name} asks to join from ADDRESS", "ok")),
        ],
    )


MORE = 20  # clients; their threads or processes are counted
FEWER = 4  # threads of the runtime's own that may have ended meanwhile


def crowd(running, connect):
    """(holdings with two clients, holdings with MORE clients more). A runtime may have many threads
    of its own: what counts is the growth.
    """
    for _ in range(2):
        connect(running, "first").fence()
    before = settled(running)
    for _ in range(MORE):
        connect(running, "client").fence()
    return before, settled(running)


@check(points=2, lab=2, design="nonblocking", rules="14-2")
def check_one_thread_for_all(server, connect):
    """A non-blocking server has as many threads and processes for 22 clients as for two."""
    before, now = crowd(server(*OPEN), connect)
    if now.threads + now.processes > before.threads + before.processes + MORE // 2:
        raise CheckFailed(
            msg("no more threads and processes for 22 clients than for two"),
            joined(processes.grown(before[:2], now[:2])),
        )


@check(points=2, lab=3, design="pthread", rules="14-2")
def check_a_thread_each(server, connect):
    """A pthread server has one more thread for each additional client, in one process."""
    before, now = crowd(server(*OPEN), connect)
    if now.threads - before.threads < MORE - FEWER or now.processes > before.processes + MORE // 2:
        raise CheckFailed(
            msg(
                "for {more} more clients at least {more2} more threads, and no more processes",
                more=MORE,
                more2=MORE - FEWER,
            ),
            joined(
                growth(msg("processes"), before.processes, now.processes),
                growth(msg("threads"), before.threads, now.threads),
            ),
        )


@check(points=2, lab=4, design="fork", rules="14-2")
def check_a_process_each(server, connect):
    """A fork server has one more process for each additional client."""
    before, now = crowd(server(*OPEN), connect)
    if now.processes - before.processes < MORE - FEWER:
        raise CheckFailed(
            msg(
                "for {more} more clients at least {more2} more processes",
                more=MORE,
                more2=MORE - FEWER,
            ),
            growth(msg("processes"), before.processes, now.processes),
        )


def growth(kind, before, now):
    return msg(
        "{kind}: {before} for two clients, {now} for {count}",
        kind=kind,
        before=before,
        now=now,
        count=2 + MORE,
    )


@check(points=2, lab=4, design="fork", rules="14-2")
def check_children_hold_only_their_own(server, connect):
    """A child holds only its own client's connection and its own pipes, and closes what it
    inherited from the others."""
    running = server(*OPEN)
    clients = [connect(running, f"client{number}") for number in range(12)]
    for client in clients:
        client.fence()
    ports = {client.socket.getsockname()[1]: client.who for client in clients}

    def shared():
        held = processes.sockets(running.family(), psutil.CONN_ESTABLISHED)
        return [
            msg(
                "{count} processes hold the connection of {who}", count=count, who=ports[other.port]
            )
            for (_, other), count in held.items()
            if other.port in ports and count > 3
        ]

    none_left(
        shared,
        msg("each connection to be held only by the parent and by the one child that serves it"),
        "children-hold-connections",
    )

    def serving():
        return [
            child
            for child in running.family()[1:]
            if any(
                other.port in ports
                for _, other in processes.sockets([child], psutil.CONN_ESTABLISHED)
            )
        ]

    none_left(
        lambda: processes.listening(serving()),
        msg("no child that serves a client to listen, too"),
        "children-hold-the-listener",
    )

    def many():
        counts = {child.pid: child.num_fds() for child in serving()}
        return (
            [
                msg("child {pid} has {count} descriptors", pid=pid, count=count)
                for pid, count in counts.items()
            ]
            if counts and max(counts.values()) > min(counts.values()) + 5
            else []
        )

    none_left(
        many, msg("as many descriptors in the last child as in the first"), "children-hold-pipes"
    )
