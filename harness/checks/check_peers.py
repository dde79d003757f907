"""Harmful peers: whatever one client does or does not do, the other clients are not affected."""

import contextlib
import itertools
import re
import signal
import statistics
import threading
import time

from conftest import OPEN

from harness.checks.lines import hears, hears_the_end, history, refused, same_lines
from harness.checks.scenarios import NARROW, fill, no_traceback, rounds
from harness.driving import deadlines, processes
from harness.driving.client import taken
from harness.driving.deadlines import wait_until
from harness.driving.history import normalized
from harness.driving.messages import both, msg
from harness.driving.processes import kernel_holds
from harness.driving.record import CheckFailed, same
from harness.driving.timing import EARLY, TICK, Pause, as_they_come
from harness.verdicts.pace import SLOW_SAY
from harness.verdicts.plugin import STARVED, Inconclusive, NotRun, check

LINE = 400  # bytes of the longest text
MB = 1 << 20


@check(points=2, lab=5, rules="6-15 9.2-9")
def check_a_reset_in_a_broadcast(server, enter):
    """Connections that break during a broadcast affect no other client: the others receive every
    message, and OUT for each broken connection."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    victims = []
    for number in range(12):  # for two of them something waits
        victims.append(enter(running, f"victim{number}", **(NARROW if number < 2 else {})))
        ana.fence(), ben.fence()  # a JOIN may be slow, and they are not to be silent meanwhile
    said = 2000
    ana.send(*(f"SAY {count} ".ljust(100, ".") for count in range(said)))
    for number, victim in enumerate(victims):
        ana.expect(rf"MSG \d+ \S+ ana {100 * number} \.+")  # the server is in the middle of it
        victim.reset()
    for number in range(6):
        victims.append(enter(running, f"more{number}"))
        ana.fence(), ben.fence()
    short = 3000
    running.send_signal(signal.SIGSTOP)
    # all of this is there at once: more than a server reads in a turn, and then connections that
    # are broken
    try:
        ana.send(*(f"SAY {said + count}" for count in range(short)))
        for victim in victims[-6:]:
            victim.reset()
    finally:
        running.send_signal(signal.SIGCONT)
    victims.append(enter(running, "last"))
    victims[-1].fence()
    victims[-1].reset()  # while nothing is said
    for client in (ana, ben):
        while sum(line.startswith("OUT ") for line in client.lines) < len(victims):
            client.expect(r"OUT \d+ \S+ \S+")
        client.fence()
        same(
            sorted(line.split(" ")[3] for line in client.lines if line.startswith("OUT ")),
            sorted(victim.name for victim in victims),
        )
        same(
            [line.split(" ")[4] for line in client.lines if line.startswith("MSG ")],
            [str(count) for count in range(said + short)],
        )
    no_traceback(running)


@check(points=2, lab=5, rules="3-6 9.2-9")
def check_half_a_line_holds_up_nobody(server, connect, enter):
    """Strangers and members that have sent half a line delay no other client, and may complete the
    line later."""
    running = server(*OPEN)
    ana, ben, slow = (enter(running, name) for name in ("ana", "ben", "slow"))
    halves = [connect(running, "half") for _ in range(10)]
    for client in halves:
        client.send_bytes(b"PING ha")
    slow.send_bytes(b"SAY to be con")
    taken(slow)
    rounds(ana, ben, count=20)
    slow.send_bytes(b"tinued\n")
    same(normalized(slow.fence())[-1:], ["MSG n TIME slow to be continued"])
    for client in halves:
        client.send_bytes(b"lf\n")
        client.expect("PONG half")


@check(points=3, lab=5, rules="9.2-9 9.8-4")
def check_a_reader_who_stops_holds_up_nobody(server, enter):
    """While one member reads nothing, all the others still receive every message."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    enter(running, "stuck", **NARROW)
    rounds(
        ana, ben, count=50, lines=10, size=LINE, sentence="a-reader-who-stops-holds-up-nobody"
    )  # 200 kB: more than the kernel buffers for stuck


@check(points=2, lab=5, rules="8-9 9.8-5 10-13")
def check_a_reader_who_stops_costs_little(server, enter):
    """A member that reads nothing is disconnected before its messages fill the server's memory."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    stuck = enter(running, "stuck", **NARROW)
    before, said = processes.memory(running.family()), 0
    gone = lambda: any(re.fullmatch(r"OUT \d+ \S+ stuck", line) for line in ana.lines[-300:])
    while not gone() and said < 8 * MB:
        rounds(ana, lines=128, count=1, size=LINE)
        said += 128 * LINE
    if not gone():
        grown = processes.memory(running.family()) - before
        if grown < 4 * MB:  # it buffers little for stuck, and may disconnect it after --slow-after
            wait_until(
                lambda: (ana.fence(), gone())[1],
                max(30, deadlines.DEADLINE),
                msg("OUT of a member that reads nothing"),
            )
        else:
            raise CheckFailed(
                msg("OUT of a member that reads nothing, when about 1 MB is buffered for it"),
                msg(
                    "after {said:.0f} MB of messages the member is still here, and the "
                    "server's memory has grown by {grown:.1f} MB",
                    said=said / MB,
                    grown=grown / MB,
                ),
            )
    rounds(ana, enter(running, "ben"))
    stuck.close()


@check(points=2, lab=5, rules="9.2-8")
def check_a_slow_reader_gets_all(server, enter, rng):
    """A member that reads late receives every line, whole, like all the others."""
    running = server(*OPEN)
    ana, slow = enter(running, "ana"), enter(running, "slow", **NARROW)
    ana.fence()
    texts = [
        f"{number} {rng.choice('abcdefgh') * rng.randrange(200, LINE - 10)}"
        for number in range(300)
    ]
    ana.send(*(f"SAY {text}" for text in texts))
    taken(ana)
    said = [f"MSG n TIME ana {text}" for text in texts]
    same_lines(normalized([slow.line() or "the end of the connection" for _ in texts]), said)
    same_lines(normalized(ana.fence()), said)
    same(slow.fence(), [])


# Mostly PONGs, which are work and have no answer: with an answer to each line it would be the
# reading that has to keep pace, and a server that waits for that serves the others meanwhile. Now
# and then a PING shows that the flood is served.
PONGS = (b"PING x\n" + b"PONG x\n" * 1023) * 8
MESSAGES = f"SAY {'x' * LINE}\n".encode() * 10


class Meanwhile(threading.Thread):
    """Does something to a client's socket until the `with` block ends."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.socket, self.over = client.socket, threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


class Flood(Meanwhile):
    """Sends `data` so many `times` every so many seconds, if the server reads it as fast, and reads
    all answers, until the `with` block ends.
    """

    def __init__(self, client, data, times=64, every=0.001):
        super().__init__(client)
        self.data, self.times, self.every = data, times, every
        self.answered = []  # when answers came
        self.socket.setblocking(False)
        line = data.splitlines()[-1].decode()
        client.record.add(client.who, "sends", f"{line}\n... without end")

    def run(self):
        data, sent = self.data, 0
        try:
            while not self.over.wait(self.every):
                with contextlib.suppress(BlockingIOError):
                    for _ in range(self.times):  # so that a fast server gets its answers read, too
                        sent = (sent + self.socket.send(data[sent:])) % len(data)
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        if not self.socket.recv(1 << 20):
                            return
                        self.answered.append(time.monotonic())
        except OSError:
            pass  # the server may disconnect this client

    def was_served(self, seconds):
        """Returns whether answers came throughout the last `seconds`: then neither the server nor
        the check lacked a CPU.
        """
        now = time.monotonic()
        moments = [
            now - seconds,
            *(moment for moment in self.answered if moment > now - seconds),
            now,
        ]
        return max(after - before for before, after in itertools.pairwise(moments)) < seconds / 4


@check(points=2, lab=5, rules="9.2-9")
def check_a_flooder(server, connect, enter):
    """A client that sends without pause does not keep the server from serving the others."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    flooder = connect(running, "flooder")
    with Flood(flooder, PONGS) as flood:
        try:
            rounds(ana, ben, count=20)
        except CheckFailed as problem:  # which of the two it strikes first is chance
            raise CheckFailed(
                msg(
                    "ana and ben to be answered and to receive every message, while a "
                    "third client sends without pause"
                ),
                problem.actual,
                problem.sentence,
                problem.evidence,
                proven=flood.was_served(deadlines.DEADLINE),
            ) from None
    flooder.reset()
    rounds(ana, ben, count=1)


SLOW, SIP = 80_000, 2_000  # bytes that a slow reader reads in a second, and at once
WAITS = 0.25  # seconds; a shorter wait does not count
HELD_UP = 7.0  # seconds for which a talker and a slow reader try to hold up the others
PATIENCE = 4.5  # seconds; what protocol.md permits at most, and something for a busy machine


class SlowReader(Meanwhile):
    """Reads a little, again and again, until the `with` block ends or the server disconnects it."""

    def run(self):
        with contextlib.suppress(OSError):  # disconnected
            while not self.over.wait(SIP / SLOW) and self.socket.recv(SIP):
                pass


@check(points=1, lab=5, rules="9.8-3")
def check_a_slow_reader_holds_up_nobody_for_long(server, enter):
    """While one member sends much and another one reads slowly, the others wait for a short time
    only."""
    running = server(*OPEN)
    ben = enter(running, "ben")
    eve, slow = enter(running, "eve"), enter(running, "slow", rcvbuf=4096)
    waits, began = [], time.monotonic()
    with Flood(eve, MESSAGES, times=1, every=0.004), SlowReader(slow):
        while time.monotonic() < began + HELD_UP:
            asked = time.monotonic()
            with contextlib.suppress(CheckFailed):  # no answer is a long wait, too
                ben.fence()
            waits.append(time.monotonic() - asked)
    held = sum(wait for wait in waits if wait > WAITS)
    if held > PATIENCE:
        raise CheckFailed(
            msg(
                "ben to wait for a slow reader for {patience:g} s at most, in {all:g} s",
                patience=PATIENCE,
                all=HELD_UP,
            ),
            msg("it waited for {held:.1f} s", held=held),
        )


@check(points=2, lab=6, rules="9.2-9")
def check_guessing_passwords(server, connect, enter, rng):
    """While the server checks the passwords of many strangers, the members can still talk: only the
    client that gave a password waits for its check."""
    running = server(*OPEN)
    checks, before, meanwhile = (
        [],
        [],
        [],
    )  # seconds: to check one password; for ten answers to a member, without and with guesses
    for name in ("ana", "ben", "eva"):
        began = time.monotonic()
        member = enter(running, name)
        checks.append(time.monotonic() - began)
    for _ in range(3):
        guessers = [connect(running, "guesser") for _ in range(8)]
        for guesser in guessers:
            guesser.greeted()
        before.append(ten_answers(member))
        for guesser in guessers:
            guesser.send(f"JOIN ana guess-{rng.randrange(10**6)}")
        meanwhile.append(ten_answers(member))
        for guesser in guessers:
            guesser.reset()
    one, quiet, taken = map(statistics.median, (checks, before, meanwhile))
    if taken > 1.5 * one + 4 * quiet + 0.1:
        raise CheckFailed(
            msg(
                "ten PINGs of a member to be answered at once, while the server checks "
                "the wrong passwords of eight strangers"
            ),
            msg(
                "it took {taken:.2f} s; without the strangers {quiet:.3f} s. One JOIN "
                "takes about {one:.2f} s",
                taken=taken,
                quiet=quiet,
                one=one,
            ),
        )


STRANGERS = 6  # that give a password, so that the work is enough to be measured
CHEAP = 0.03  # seconds of CPU; less for all of them is too little to measure


@check(points=1, lab=6, rules="9.5-11 9.5-21")
def check_the_same_work_under_none(server, connect, enter):
    """Under --admit none, a JOIN with an unknown name costs the server as much as one with a
    member's name and a wrong password, and gets the same answer."""
    running = server(*OPEN)
    enter(running, "ana").close()
    running.restart(args=("--admit", "none"))
    strangers = [connect(running, f"eve{number}") for number in range(STRANGERS)]
    for stranger in strangers:
        stranger.greeted()
    member = work(running, {stranger: "ana" for stranger in strangers})
    unknown = work(running, {stranger: stranger.name for stranger in strangers})
    if member < CHEAP:
        raise NotRun(
            msg("the server checks a password with too little work to measure"), binds=False
        )
    if unknown < member / 3:
        raise CheckFailed(
            msg(
                "as much work for {count} JOINs with unknown names as for {count} with a member's "
                "name: {member:.2f} s of CPU",
                count=STRANGERS,
                member=member,
            ),
            msg("{unknown:.2f} s of CPU", unknown=unknown),
            proven=True,
        )


def work(running, names):
    """Returns how many seconds of CPU the server uses to reject each of these clients, which all
    JOIN with these names and a wrong password.
    """
    before = running.cpu()
    for client, name in names.items():
        client.send(f"JOIN {name} guess")
    for client in names:
        hears(client, "PENDING", "REJECTED refused")
    return running.cpu() - before


def ten_answers(client):
    """Returns how many seconds ten answers to this client take."""
    began = time.monotonic()
    for _ in range(10):
        client.fence()
    return time.monotonic() - began


@check(points=1, lab=5, rules="3-10 9.2-9")
def check_noise(server, connect, enter, rng):
    """The server answers random bytes by lines of the protocol or by the end of the connection, and
    other clients are not affected."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    words = [
        b"JOIN",
        b"SAY",
        b"NAME",
        b"WHO",
        b"HISTORY",
        b"LEAVE",
        b"PING",
        b"PONG",
        b" ",
        b"\n",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\x1b[2J",
        "ñ".encode(),
        b"7",
    ]
    for number in range(8):
        noisy = connect(running, "noisy")
        noisy.greeted()
        start = len(noisy.lines)
        try:
            noisy.send_bytes(
                rng.randbytes(3000) if number % 2 else b"".join(rng.choices(words, k=300))
            )
            noisy.half_close()
        except OSError:
            pass  # the server has disconnected it
        noisy.rest()
        strange = [
            line
            for line in noisy.lines[start:]
            if not re.match(
                r"(ERR|BYE|PENDING|REJECTED|WELCOME|IN|OUT|PONG|MSG|MEMBER|END|RENAMED|LEFT|PING)\b",
                line,
            )
        ]
        if strange:
            raise CheckFailed(
                msg("only lines of the protocol, such as ERR and BYE, whatever was sent"),
                "\n".join(strange),
            )
    ana.fence(), ben.fence()
    rounds(ana, ben, count=3)
    no_traceback(running)


@check(points=2, lab=5, rules="7-2 9.2-9")
def check_a_wrong_line_releases_all(server, connect, enter):
    """After a request that fails in any way, even if its client breaks the connection right after
    it, the others are still served."""
    running = server(*OPEN)
    ana, ben, mal = (enter(running, name) for name in ("ana", "ben", "mal"))
    wrong = [
        (b"NO-SUCH-VERB", "unknown"),
        (b"SAY", "bad-arguments"),
        (b"SAY \xff", "bad-utf8"),
        (b"SAY \t", "bad-text"),
        (b"NAME ana", "name-taken"),
        (b"NAME -", "bad-name"),
        (b"HISTORY x", "bad-arguments"),
        (b"WHO is there", "bad-arguments"),
        (b"JOIN mal x", "already-joined"),
    ]
    for line, code in wrong:
        refused(mal, line, code)
        rounds(ana, ben, count=1)
        mal.fence()
    for line, _ in wrong:
        stranger = connect(running, "stranger")
        stranger.greeted()
        stranger.send_bytes(line + b"\n")
        stranger.reset()
    mal.send_bytes(b"".join(line + b"\n" for line, _ in wrong))
    mal.reset()
    for client in (ana, ben):
        client.expect(r"OUT \d+ \S+ mal")
    connect(running, "guesser").send("JOIN ana guess")
    connect(running, "late").send_bytes(b"x" * 2000)
    rounds(ana, ben, count=5)
    same(bool(history(ana)[0]), True)
    no_traceback(running)


@check(points=1, lab=5, rules="4-5 8-15 10-12")
def check_closes_after_bye(server, connect, enter, tmp_path):
    """After BYE the server closes the connection, although the client keeps it open and still
    sends. It also closes the connection of a client that does not read its BYE."""
    eve = connect(server(), "eve")
    eve.greeted()
    eve.send("QUIT")
    hears_the_end(eve, "BYE quit")
    is_closed(eve, DISCARDS, msg("the end of the connection, although eve sends on after BYE quit"))
    with_flags = {"directory": tmp_path / "slow"}
    try:
        running, slow_after = server(*OPEN, "--slow-after", "1", **with_flags), 1
    except NotRun:  # then it behaves as with the default
        running, slow_after = server(*OPEN, **with_flags), 10
    ana, stuck = enter(running, "ana"), enter(running, "stuck", **NARROW)
    fill(ana)  # stuck reads nothing
    stuck.send("QUIT")
    is_closed(
        stuck,
        slow_after + DISCARDS,
        msg("the end of the connection of stuck, which has sent QUIT and does not read"),
    )


DISCARDS = 1  # seconds after BYE for which a server discards what a client sends


def is_closed(client, within, expected):
    """Raises CheckFailed if the server still takes what this client sends after `within` seconds,
    and as long as anything may take.
    """

    def refuses():
        try:
            return not client.socket.send(b"\n")
        except OSError:
            return True

    client.record.add(client.who, "sends", "\n... without end")
    wait_until(refuses, within + deadlines.DEADLINE, expected)


MOST_UNREAD = 6  # seconds that an answer waits for its reader: far less than --slow-after


@check(points=1, lab=5, rules="2-2 6-9 8-10 9.8-7 10-14 10-16 10-17 10-25")
def check_the_silent_are_dropped(server, enter, pace):
    """A silent member receives one PING, and is disconnected if it does not answer. A member that
    answers stays connected, and a silence begins when the last answer has been read."""
    ping_after, idle_after = pace.after(0.5), pace.after(1.5)
    running = server(*OPEN, "--ping-after", str(ping_after), "--idle-after", str(idle_after))
    ana = enter(running, "ana")
    asked_at = time.monotonic()
    size = fill(ana, part=4)  # more than a kernel holds for a NARROW member
    late = enter(running, "late", pong=False, **NARROW)
    late.send("HISTORY 0")
    silent = enter(running, "silent", pong=False)
    wait_until(
        lambda: any(line.startswith("OUT ") for line in ana.fence()),
        what=msg("OUT of a member that does not answer PING"),
    )
    came = silent.rest()
    if not any(line.startswith("PING ") for line in came):
        raise CheckFailed(
            msg("a PING, before the silent member is disconnected"),
            "\n".join(came) or msg("nothing"),
        )
    if not silent.was_reset:
        same(came[-1:], ["BYE idle"])
    reads_at = time.monotonic()
    if reads_at - asked_at < MOST_UNREAD and kernel_holds(late) < size:  # else it may be too late
        late.expect(r"END HISTORY \d+")
        line, after = late.line(), time.monotonic() - reads_at
        if not line.startswith("PING ") or after < ping_after - EARLY:
            raise CheckFailed(
                msg(
                    "PING for {who} no sooner than {least:g} s after it begins to read its answer",
                    who=late.who,
                    least=ping_after,
                ),
                msg(
                    "after {after:.2f} s {who} received {line}",
                    after=after,
                    who=late.who,
                    line=line,
                ),
                "silence-after-an-answer",
                proven=True,
            )
    ana.fence()


NO_LIFE = {
    msg("empty lines"): (b"\n", b"\r\n"),
    msg("single bytes"): (b"P",),
}  # sent again and again, this is silence all the same
SIGNS_OF_LIFE = {
    msg("with PONG"): lambda ping: "PONG " + ping[5:],
    msg("with a wrong line"): lambda ping: "no such verb",
    msg("while it asks"): lambda ping: "PONG " + ping[5:],
}


@check(points=2, lab=5, rules="2-1 2-2 6-9 8-10 8-17 9.8-7 10-14 10-16 10-17 10-25")
def check_what_counts_as_life(server, enter, ask, pace):
    """Any complete line ends a silence, also from a client that asks to join. Single bytes, empty
    lines and the others' messages do not."""
    ping_after = pace.after(0.4)
    idle_after, join_within = round(2.5 * ping_after, 1), pace.after(0.8)
    running = server(
        "--ping-after",
        str(ping_after),
        "--idle-after",
        str(idle_after),
        "--join-within",
        str(join_within),
    )
    clients = {}
    for name, role in (
        ("ben", "talks"),
        ("lia", "with PONG"),
        ("leo", "with a wrong line"),
        ("eva", "empty lines"),
        ("bob", "single bytes"),
        ("ida", "while it asks"),
        ("tom", "silent while it asks"),
    ):
        clients[role] = ask(running, name, pong=role == "talks")
        if "asks" not in role:
            same(running.order(f"accept {name}"), ["ok"])
            clients[role].welcomed()
        for (
            client
        ) in clients.values():  # a JOIN may be slow, and the others are not to be silent meanwhile
            client.fence()
    heard_at, pings, ended = {}, dict.fromkeys(clients, 0), {}
    for role, client in clients.items():
        heard_at[role] = time.monotonic()  # before its last complete line is sent
        client.fence()
    roles, pause, began = (
        {client: role for role, client in clients.items()},
        Pause(clients["talks"]),
        time.monotonic(),
    )
    silent = [*NO_LIFE, "silent while it asks"]
    over = lambda: (
        time.monotonic()
        > began
        + idle_after
        + (deadlines.DEADLINE if len(ended.keys() & set(silent)) < len(silent) else ping_after)
    )
    for number, (now, client, line) in enumerate(as_they_come(clients.values(), over)):
        if client is None:
            pause.tick(now)
            clients["talks"].send(f"SAY {number}")
            for role, pieces in NO_LIFE.items():
                if role not in ended and (
                    role != "single bytes" or number < 400
                ):  # more would be too long
                    with contextlib.suppress(ConnectionError):
                        clients[role].send_bytes(pieces[number % len(pieces)])
            continue
        pause.hears(client, line)
        role = roles[client]
        if line.startswith("PING "):
            pings[role] += 1
            not_before(now - heard_at[role], ping_after, msg("PING"), client)
            if role in silent and pings[role] > 1:
                raise CheckFailed(
                    msg("one PING per silence"),
                    msg(
                        "{who} received a second one, without a complete line in between",
                        who=client.who,
                    ),
                    "one-ping",
                    proven=True,
                )
            if role in SIGNS_OF_LIFE:
                heard_at[role] = time.monotonic()
                client.send(SIGNS_OF_LIFE[role](line))
        elif line.startswith("BYE ") or not line:  # noqa: SIM102 (a branch of its own)
            if role not in ended:
                ended[role] = line
                after = now - heard_at[role]
                if (
                    line == "BYE timeout"
                ):  # its JOIN was finished: it is a member, or the owner considers it
                    raise CheckFailed(
                        msg(
                            "no BYE timeout for {who}, which is a member or asks to join",
                            who=client.who,
                        ),
                        line,
                        "asker-timed-out",
                        proven=True,
                    )
                if role not in silent:
                    answered(client, role, line, pause, (idle_after - ping_after) / 4)
                elif line == "BYE idle":
                    not_before(after, idle_after, msg("BYE idle"), client)
                elif not client.was_reset:
                    same(line or "the end of the connection", "BYE idle")
    for role in silent:
        if role not in ended:
            raise CheckFailed(
                msg("BYE idle after {idle_after:g} s of silence", idle_after=idle_after),
                msg(
                    "{who}, which sends {role} and no complete line, is still connected",
                    who=clients[role].who,
                    role=role,
                )
                if role in NO_LIFE
                else msg(
                    "{who}, which asks to join and is silent, is still connected",
                    who=clients[role].who,
                ),
                "no-life",
            )
        if not pings[role] and pause.longest < (idle_after - ping_after) / 4:
            raise CheckFailed(
                msg("a PING for {who}, before BYE idle", who=clients[role].who),
                msg("none came"),
                "the-silent-are-dropped",
            )
    same(
        sorted(
            line.split()[1]
            for line in running.order("members")
            if line.endswith(" here") or " asks from " in line
        ),
        ["ben", "ida", "leo", "lia"],
    )


def not_before(after, least, what, client):
    """Raises CheckFailed if a timer fired early. `after`: seconds from before the client's last
    complete line was sent to after this was received.
    """
    if after < least - EARLY:
        raise CheckFailed(
            msg(
                "{what} no sooner than {least:g} s after the last complete line of {who}",
                what=what,
                least=least,
                who=client.who,
            ),
            msg("it came after {after:.2f} s", after=after),
            "too-early",
            proven=True,
        )


def answered(client, role, line, pause, most):
    """A client that answers each PING was disconnected. Raises CheckFailed; Inconclusive if nothing
    moved for so long that it may have been too late.
    """
    if pause.longest > most:
        raise Inconclusive(STARVED)
    raise CheckFailed(
        msg("{who}, which answers each PING {role}, to stay connected", who=client.who, role=role),
        line or msg("the end of its connection"),
        "what-counts-as-life",
    )


@check(points=1, lab=6, rules="8-11 8-18 8-19 10-14 10-15 10-26")
def check_strangers_have_no_long_stay(server, connect, pace, tmp_path):
    """A stranger that does not become a member in time receives BYE timeout, not too soon, whatever
    it sends meanwhile."""
    join_within = pace.after(1)
    flags = *OPEN, "--join-within", str(join_within)
    running = server(*flags)
    busy = server(*flags, directory=tmp_path / "busy")  # where nothing comes but PINGs
    sending = {
        msg("PING"): b"PING x\n",
        msg("wrong lines"): b"no such verb\n",
        msg("single bytes"): b"P",
        msg("nothing"): b"",
    }
    connected_at, clients, ended, late = {}, {}, {}, {}
    for role in sending:
        connected_at[role] = time.monotonic()
        clients[role] = connect(busy if role == "PING" else running, "eve", pong=False)
    roles, began, wrong_at = (
        {client: role for role, client in clients.items()},
        time.monotonic(),
        [],
    )
    over = lambda: (
        len(ended) == len(clients) or time.monotonic() > began + deadlines.DEADLINE + join_within
    )
    others_at = began
    # PINGs so often that no poll of the server runs out of time, but not more of anything than this
    # server can take.
    for now, client, line in as_they_come(clients.values(), over, max(0.01, 8 * pace.say)):
        if client is None:
            roles_now = sending if now >= others_at else ["PING"]
            others_at = now + max(TICK, 8 * pace.say) if now >= others_at else others_at
            for role in roles_now:
                data = sending[role]
                if role == "wrong lines":
                    if len(wrong_at) == 8 or (wrong_at and now - wrong_at[-1] < 0.4 * join_within):
                        continue  # the tenth ERR would be the end
                    wrong_at.append(now)
                if role not in ended:
                    with contextlib.suppress(ConnectionError):
                        clients[role].send_bytes(data)
        elif (line.startswith("BYE ") or not line) and roles[client] not in ended:
            ended[roles[client]] = line
            if line == "BYE timeout":
                after = now - connected_at[roles[client]]
                late[roles[client]] = after - join_within
                if after < join_within - EARLY:
                    raise CheckFailed(
                        msg(
                            "BYE timeout no sooner than {join_within:g} s after a stranger "
                            "connects",
                            join_within=join_within,
                        ),
                        msg("it came after {after:.2f} s", after=after),
                        "too-early",
                        proven=True,
                    )
            elif not client.was_reset:
                same(line or "the end of the connection", "BYE timeout")
    for role in sending:
        if role not in ended:
            raise CheckFailed(
                msg(
                    "BYE timeout, {join_within:g} s after it connected, for a stranger "
                    "that sends {role}",
                    join_within=join_within,
                    role=role,
                ),
                msg("it did not come"),
            )
        if (
            late.get(role, 0) - min(late.values(), default=0) > join_within
        ):  # a busy machine would be late for all of them
            raise CheckFailed(
                msg(
                    "BYE timeout, {join_within:g} s after it connected, for a stranger "
                    "that sends {role}",
                    join_within=join_within,
                    role=role,
                ),
                msg("it came {late:.1f} s too late", late=late[role]),
            )
    soon = connect(server(*OPEN, "--join-within", "0", directory=tmp_path / "zero"), "soon")
    soon.rest()
    if not soon.was_reset:
        same(soon.lines[-1:], ["BYE timeout"], "zero-is-a-limit")


@check(points=1, lab=6, rules="8-11 8-20 8-21 9.5-18 10-14 10-15 10-19")
def check_a_join_stops_the_clock(server, connect, accepted, pace):
    """The time from a JOIN to its verdict does not count for --join-within. After REJECTED the
    clock continues from where it stopped."""
    join_within = pace.after(1.1)
    reject_after = round(join_within + 0.3, 1)
    running = server("--join-within", str(join_within), "--reject-after", str(reject_after))
    same(running.order("ban eve"), ["ok"])
    ana, clients = accepted(running, "ana"), {}
    before, spent, asked_at, no_at, ended = (
        {},
        {},
        {},
        {},
        {},
    )  # of each name: when, in seconds; how it ended
    for name in "eve", "ida", "leo":
        before[name] = time.monotonic()
        clients[name] = connect(running, name, pong=False)
        clients[name].greeted()
    for name in "ida", "leo":
        asked_at[name] = time.monotonic()
        clients[name].send(f"JOIN {name} secret")
        clients[name].expect("PENDING")
        spent[name] = time.monotonic() - before[name]
        running.expect(rf"{name} asks to join from .*")
    same(running.order("reject ida"), ["ok"])  # held back, until it is due
    pause, began = Pause(ana), time.monotonic()
    over = lambda: (
        len(ended) == len(clients)
        or time.monotonic() > began + deadlines.DEADLINE + 3 * join_within
    )
    for now, client, line in as_they_come([ana, *clients.values()], over):
        if client is None:
            pause.tick(now)
            if "eve" not in asked_at and now - before["eve"] > join_within / 2:
                asked_at["eve"] = time.monotonic()
                with contextlib.suppress(ConnectionError):
                    clients["eve"].send("JOIN eve secret")
            if (
                "leo" not in no_at
                and "leo" not in ended
                and now - asked_at["leo"] > join_within + 0.1
            ):
                no_at["leo"] = time.monotonic()  # the owner considered for longer than that
                same(running.order("reject leo"), ["ok"], "asker-timed-out")
            continue
        pause.hears(client, line)
        name = client.name
        if line == "PENDING":
            spent[name] = now - before[name]
        elif line == "REJECTED refused":
            if (after := now - asked_at[name]) < reject_after - EARLY:
                raise CheckFailed(
                    msg(
                        "REJECTED no sooner than {reject_after:g} s after the JOIN of {who}",
                        reject_after=reject_after,
                        who=client.who,
                    ),
                    msg("it came after {after:.2f} s", after=after),
                    "rejected-too-soon",
                    proven=True,
                )
            no_at[name] = max(no_at.get(name, 0), asked_at[name] + reject_after)
        elif client is not ana and name not in ended and (line.startswith("BYE ") or not line):
            ended[name] = line
            if name not in spent:
                raise Inconclusive(STARVED)  # its JOIN came too late
            if "REJECTED refused" not in client.lines:
                raise CheckFailed(
                    msg("no BYE for {who} before the answer to its JOIN", who=client.who),
                    line or msg("the end of the connection"),
                    "asker-timed-out",
                    proven=line == "BYE timeout",
                )
            same(line or "the end of the connection", "BYE timeout")
            counted = spent[name] + now - no_at[name]
            if counted < join_within - EARLY:
                raise CheckFailed(
                    msg(
                        "BYE timeout no sooner than {join_within:g} s after {who} "
                        "connected, not counting the time of its JOIN",
                        join_within=join_within,
                        who=client.who,
                    ),
                    msg("it came after {counted:.2f} s", counted=counted),
                    "too-early",
                    proven=True,
                )
            if counted - join_within > join_within / 4 + 2 * pause.longest:
                raise CheckFailed(
                    msg(
                        "BYE timeout {join_within:.1f} s after REJECTED, because {who} "
                        "had used {spent:.1f} of its {join_within2:g} s before its JOIN",
                        join_within=join_within - spent[name],
                        who=client.who,
                        spent=spent[name],
                        join_within2=join_within,
                    ),
                    msg("it came {now:.1f} s after REJECTED", now=now - no_at[name]),
                )
    for name in clients:
        if name not in ended:
            raise CheckFailed(
                msg("BYE timeout for {who}, after REJECTED", who=clients[name].who),
                msg("it did not come"),
            )


GREEDY = b"PING " + 64 * b"x" + b"\n"
MOST_REQUESTS = 100  # that a server may handle before it looks at its clock again


def still_here(judge, running, enter, pace):
    """Those that read nothing have gone after --slow-after 1, and not sooner. Returns the names of
    those that may yet go, since the kernel took bytes for them until now.
    """
    ana, idle, rest = enter(running, "ana"), [enter(running, "stuck", **NARROW)], b""
    is_slow = pace.say >= SLOW_SAY
    # its requests that were read before would be handled for long, and more would be taken for it
    if is_slow:
        judge.notes.append(
            msg("without a member that also sends all the time: {slowness}", slowness=pace.slowness)
        )
    else:
        idle.append(enter(running, "greedy", pong=False, **NARROW))
    ana.fence()
    taken_at = {}  # of each that reads nothing: (bytes that the kernel took for it, since when)
    began = time.monotonic()
    size = fill(ana, part=0.5 if is_slow else 1)
    if not is_slow:
        rest = size // len(GREEDY) * GREEDY
        idle[1].record.add(idle[1].who, "sends", f"{GREEDY.decode()}... without end")
    went = (re.fullmatch(r"OUT \d+ \S+ (\S+)", line) for line in ana.lines)
    gone = {match[1]: time.monotonic() - began for match in went if match}  # meanwhile
    over = lambda: (
        len(gone) == len(idle)
        or time.monotonic() > began + deadlines.DEADLINE + MOST_REQUESTS * pace.say
    )
    for now, client, line in as_they_come([ana], over):
        if client is None:
            ana.send("PING x")
            rest = sent_on(idle[-1], rest)
            for one in idle:
                held = kernel_holds(one)
                if held != taken_at.get(one.name, (None,))[0]:
                    taken_at[one.name] = held, now
        elif match := re.fullmatch(r"OUT \d+ \S+ (\S+)", line):
            gone[match[1]] = now - began
            if gone[match[1]] < 1 - EARLY:
                raise CheckFailed(
                    msg(
                        "no OUT of {match}, for which {size} kB wait, within 1 s",
                        match=match[1],
                        size=size // 1000,
                    ),
                    msg("it came after {gone:.2f} s", gone=gone[match[1]]),
                    "too-early",
                    proven=True,
                )
    still = time.monotonic() - 1 - deadlines.DEADLINE / 2
    slow = [one.name for one in idle if one.name not in gone and taken_at[one.name][1] > still]
    same(sorted([*gone, *slow]), sorted(one.name for one in idle))
    return slow


@check(points=1, lab=5, rules="8-9 9.8-1 9.8-5 9.8-6 9.8-8 10-14 10-18 10-20")
def check_who_takes_nothing_is_disconnected(judge, server, enter, pace, tmp_path):
    """A member that reads nothing is disconnected after --slow-after, not sooner, or when more than
    --outbox bytes are buffered for it. A member that reads is not."""
    slow, is_slow = (
        still_here(judge, server(*OPEN, "--slow-after", "1"), enter, pace),
        pace.say >= SLOW_SAY,
    )
    running = server(
        *OPEN, "--slow-after", "1000", "--outbox", "16384", directory=tmp_path / "small"
    )
    ana, ben = enter(running, "ana"), enter(running, "ben", **NARROW)
    if not is_slow:  # else nobody can read as much as protects a member
        keeps_reading(ana, ben)
    enter(running, "stuck", **NARROW)
    said = 0
    while said < 8 * MB and not any(
        re.fullmatch(r"OUT \d+ \S+ stuck", line) for line in ana.lines[-300:]
    ):
        rounds(ana, count=1, lines=100, size=LINE)
        said += 100 * LINE
    if said >= 8 * MB:
        raise CheckFailed(
            msg(
                "OUT of a member that reads nothing, when more than --outbox 16384 "
                "bytes are buffered for it"
            ),
            msg("after {said:.0f} MB of messages it is still here", said=said / MB),
        )
    if slow:
        raise Inconclusive(
            msg(
                "{names} may still be disconnected: {why}",
                names=both(slow),
                why=pace.slowness or msg("the kernel continued to accept bytes"),
            ),
            again=False,
        )


KEEPS_READING = 128 * 1024  # bytes that a client takes in 2 s, if it keeps reading


def keeps_reading(ana, ben, bursts=5, lines=100):
    """ana says more at once than the kernel and --outbox hold for ben, which reads all the time,
    and so must hear it all.
    """
    heard, said, began, last, gap = {ana: 0, ben: 0}, 0, time.monotonic(), None, 0.0
    came_at = []  # when each message came to ben
    over = lambda: (
        min(heard.values()) == bursts * lines
        or ben.ended
        or time.monotonic() > began + deadlines.DEADLINE
    )
    for now, client, line in as_they_come([ana, ben], over):
        if client is None:
            last, gap = now, max(gap, now - (last or now))
            if heard[ana] == said < bursts * lines:
                ana.send(*["SAY " + "x" * LINE] * lines)
                said += lines
        elif line.startswith("MSG "):
            heard[client] += 1
            came_at += [now] * (client is ben)
    if heard[ben] < bursts * lines:
        if gap > 0.5:
            raise Inconclusive(STARVED)  # ben did not read all the time
        over_at = time.monotonic()
        if over_at > began + 2 and sum(at > over_at - 2 for at in came_at) * LINE < KEEPS_READING:
            raise Inconclusive(
                msg("ben received less than 128 KiB in 2 s, so the server need not keep it"),
                again=False,
            )
        raise CheckFailed(
            msg(
                "ben, which keeps reading, to receive all {bursts} messages", bursts=bursts * lines
            ),
            msg("it received {heard}, and then the end of the connection", heard=heard[ben])
            if ben.ended
            else msg("it received {heard}", heard=heard[ben]),
            "put-out",
        )


def sent_on(client, data):
    """Sends of `data` what the kernel takes now; returns the rest."""
    client.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError, ConnectionError):
        while data:
            data = data[client.socket.send(data) :]
    return data
