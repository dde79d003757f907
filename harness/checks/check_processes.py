"""Processes: what the operating system shows of the server. All that a client cost is given back when it goes, and who waits costs nothing."""
import contextlib
import re
import signal
import time

import psutil

from conftest import OPEN
from harness import detectors, wire
from harness.doings import rests
from harness.record import Unmet, same
from harness.verdicts.plugin import check

LEAKS = 7                   # more of anything than before is a leak, when every kind of end was made 16 times
MEMBERS = ("ana", "ben", "eva", "leo")


def come_and_go(running, connect):
    """40 clients who end in every way there is, some of them members."""
    clients = [connect(running, MEMBERS[number] if number < len(MEMBERS) else "stranger") for number in range(40)]
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
    return detectors.holdings(set(family).difference(detectors.zombies(family)))


def settled(running):
    """What it holds, when that no longer changes."""
    seen = []
    while len(seen) < 5 or len(set(seen[-5:])) > 1 and len(seen) < 100:
        seen.append(held(running))
        time.sleep(0.02)
    return seen[-1]


@check(points=3, lab=3)
def check_all_is_given_back(server, connect):
    """After clients have come and gone, however they went, the server has as many descriptors, threads and processes as before."""
    running = server(*OPEN)
    come_and_go(running, connect)       # what is made once, on first use, belongs to the base line
    before, stacks = settled(running), detectors.stacks(running.family())
    for _ in range(2):
        come_and_go(running, connect)
    kind = lambda: [name for name, old, new in zip(before._fields, before, held(running)) if new > old + LEAKS]
    try:
        wire.none_left(lambda: detectors.grown(before, held(running), LEAKS), "as many as before 80 clients came and went")
    except Unmet as problem:
        waiting = len(detectors.sockets(running.family(), psutil.CONN_CLOSE_WAIT))
        if waiting > LEAKS:
            problem.came += f"\n{waiting} sockets are in CLOSE_WAIT: the client has closed, and the server has not"
        raise Unmet(problem.expected, problem.came, f"{(kind() or ['descriptors'])[0]}-stay") from None
    more = detectors.stacks(running.family()) - stacks
    if more > 40:
        raise Unmet("no more stacks of threads in memory than before 80 clients came and went",
                    f"{more} more, though the threads have ended", "stacks-stay")


def dead(running):
    return [f"process {process.pid} has ended, and its parent has not waited for it" for process in detectors.zombies(running.family())]


@check(points=2, lab=4)
def check_no_zombies(server, connect):
    """When a client has gone, no zombie is left of a process that served him."""
    running = server(*OPEN)
    for number in range(10):
        client = connect(running, f"client{number}")
        client.greeted()
        client.send("QUIT")
        client.rest()
        client.close()
    wire.none_left(lambda: dead(running), "no zombie")


@check(points=2, lab=4)
def check_no_zombies_after_a_burst(server, connect):
    """When many clients go at the same moment, no zombie is left either."""
    running = server(*OPEN)
    clients = [connect(running, "client") for _ in range(20)]
    for client in clients:
        client.greeted()
        client.fence()
    children = [process for process in running.family()[1:]]
    running.send_signal(signal.SIGSTOP)             # so that all its children end before it can see the first
    try:
        for client in clients:
            client.close()
        with contextlib.suppress(Unmet):            # some may have more to do than to serve a client
            wire.wait_until(lambda: len(detectors.zombies(children)) == len(children), 1)
    finally:
        running.send_signal(signal.SIGCONT)
    wire.none_left(lambda: dead(running), "no zombie")


@check(points=2, lab=2)
def check_idle_costs_nothing(server, connect, enter):
    """While members and strangers say nothing, the server rests."""
    running = server(*OPEN)
    ana, *_ = [enter(running, name) for name in MEMBERS], [connect(running, "stranger").fence() for _ in range(10)]
    ana[0].send("SAY something")
    for client in ana:
        client.fence()
    rests(running)


@check(points=2, lab=2)
def check_nothing_spins_after_the_end(server, connect, enter):
    """After clients have ended, in whatever way, the server rests."""
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


@check(points=2, lab=2)
def check_quit_ends_the_connection(server, enter):
    """After BYE the connection really ends, though others who came later are still there."""
    running = server(*OPEN)
    ana, ben, *_ = (enter(running, name) for name in MEMBERS)
    ana.send("QUIT")
    ben.half_close()
    for client in (ana, ben):
        client.expect("BYE quit")
        try:
            same(client.rest(), [])
        except wire.Silence:
            raise Unmet(f"the end of {client.who}'s connection, after BYE quit", "it stays open") from None


@check(points=1, lab=4)
def check_no_more_processes_than_clients(server, connect):
    """Twelve clients are greeted once each, cost two processes each at most, and leave none behind."""
    running = server(*OPEN)
    connect(running, "first").close()
    before = settled(running).processes
    clients = [connect(running, "client") for _ in range(12)]
    for client in clients:
        client.greeted()
        same(client.fence(), [])
        same(len(client.lines), 2)
    many = lambda most: [f"{now} processes; {before} before" for now in [len(running.family())] if now > before + most]
    wire.none_left(lambda: many(2 * len(clients)), "at most two processes more for each of 12 clients", "forks-on")
    for client in clients:
        client.send("QUIT")
        client.rest()
        client.close()
    wire.none_left(lambda: many(2), "as many processes as before, when the clients have gone", "processes-stay")


@check(points=1, lab=4)
def check_printed_once(server, ask):
    """What the server prints stands on its stdout once, whatever processes it makes and ends."""
    running = server()
    for name in MEMBERS:
        client = ask(running, name)
        same(running.order(f"accept {name}"), ["ok"])
        client.expect(rf"IN \d+ \S+ {name}")
        client.send("QUIT")
        client.rest()
        client.close()
    running.stop()
    running.end()                       # to the end of what it writes
    twice = [line for line in set(running.stdout) if re.fullmatch(r"\* \S+ (came|went|left)", line) and running.stdout.count(line) > 1]
    if twice:
        raise Unmet("each line once", "twice or more:\n" + "\n".join(twice))
    came = [re.sub(r"(listening on|asks to join from) \S+", r"\1 ADDRESS", line) for line in running.stdout if not re.match(r"[*#] |<", line)]
    same(came, ["listening on ADDRESS", *(line for name in MEMBERS for line in (f"{name} asks to join from ADDRESS", "ok"))])


def crowd(running, connect, count=20):
    """(holdings before, holdings with so many clients more)."""
    for _ in range(2):
        connect(running, "first").fence()
    before = settled(running)
    for _ in range(count):
        connect(running, "client").fence()
    return before, settled(running)


@check(points=2, lab=2, design="nonblocking")
def check_one_thread_for_all(server, connect):
    """A non-blocking server has as many threads and processes for 22 clients as for two."""
    before, now = crowd(server(*OPEN), connect)
    if now.threads + now.processes > before.threads + before.processes + 10:
        raise Unmet("no more threads and processes for 22 clients than for two",
                    "\n".join(detectors.grown(before[:2], now[:2])))


@check(points=2, lab=3, design="pthread")
def check_a_thread_each(server, connect):
    """A pthread server has a thread for each client, in one process."""
    before, now = crowd(server(*OPEN), connect)
    if now.threads < 22 or now.processes > before.processes + 10:
        raise Unmet("at least 22 threads for 22 clients, and no more processes than for two",
                    f"processes: {before.processes} for two clients, {now.processes} for 22\nthreads: {before.threads} for two, {now.threads} for 22")


@check(points=2, lab=4, design="fork")
def check_a_process_each(server, connect):
    """A fork server has a process for each client."""
    before, now = crowd(server(*OPEN), connect)
    if now.processes < 22:
        raise Unmet("at least 22 processes for 22 clients", f"{before.processes} for two clients, {now.processes} for 22")


@check(points=2, lab=4, design="fork")
def check_children_hold_only_their_own(server, connect):
    """A child holds the connection of its own client and its own pipes, and closes what it inherited of the others'."""
    running = server(*OPEN)
    clients = [connect(running, f"client{number}") for number in range(12)]
    for client in clients:
        client.fence()
    ports = {client.socket.getsockname()[1]: client.who for client in clients}

    def shared():
        held = detectors.sockets(running.family(), psutil.CONN_ESTABLISHED)
        return [f"{count} processes hold the connection of {ports[other.port]}" for (_, other), count in held.items() if other.port in ports and count > 3]

    wire.none_left(shared, "each connection to be held by the parent and the one child that serves it", "children-hold-connections")

    def many():
        counts = {}
        for child in running.family()[1:]:
            if any(other.port in ports for _, other in detectors.sockets([child], psutil.CONN_ESTABLISHED)):
                counts[child.pid] = child.num_fds()
        return [f"child {pid} has {count} descriptors" for pid, count in counts.items()] if counts and max(counts.values()) > min(counts.values()) + 5 else []

    wire.none_left(many, "as many descriptors in the last child as in the first", "children-hold-pipes")
