"""Many clients at once: whatever they do at the same moment, all receive the same events, whole,
once, in one order.
"""

import contextlib
import signal
import time

import pytest
from conftest import OPEN

from harness.driving import deadlines
from harness.driving.crowd import SMALL_MSS, Crowd, Script
from harness.driving.messages import msg
from harness.driving.record import CheckFailed
from harness.model import history
from harness.verdicts import causes
from harness.verdicts.plugin import Inconclusive, check

LONG = 400  # bytes of the longest text
BACKLOG = 48  # connections at once that a server must have room for before it accepts them
NAMES = 12  # names that all ask for, one after the other
SIP = 64  # bytes that a slow reader reads while others read all there is
NARROW = {
    "rcvbuf": 4096,
    "mss": SMALL_MSS,
}  # a connection that holds little, so that the server's sends do not always fit


@pytest.fixture
def gather(judge, connect):
    """gather(running) -> a Crowd, to use with `with`. The lines that it received are judged at its
    end.
    """

    def gather(running):
        crowd = Judged(running.address, judge.record)
        connect(running).close()  # so that the deadline fits this machine and this server
        crowd.running = running
        return crowd

    return gather


class Judged(Crowd):
    def __exit__(self, kind, problem, _):
        """Judges the lines that were received, after a last fence or after a failure: they may show
        the cause.
        """
        try:
            if kind is None:
                self.fence()
            if kind is None or issubclass(kind, (CheckFailed, OSError)):
                history.judge(self.record.entries)
            if isinstance(problem, CheckFailed):
                causes.look(problem, self.record, self.running)  # while the server still runs
        except CheckFailed as problem:
            causes.look(problem, self.record, self.running)
            raise
        finally:
            self.close()


def lines(name, count, rng, size=0):
    """Returns `count` different messages of one client, each filled with one letter, so that a
    mixture of two lines shows.
    """
    mark = f"{rng.randrange(10**6):06}"
    return [
        f"SAY {name} says {number} {mark}" + f" {name[0] * (size - 30)}" * bool(size)
        for number in range(1, count + 1)
    ]


def names(count):
    return [f"{chr(ord('a') + number % 26)}{number}" for number in range(count)]


@check(points=3, lab=3, rules="6-12 9.2-1 9.2-3 9.4-1")
def check_one_order(hunt, gather, rng):
    """When all members send at once, each one receives every message, once and in the same
    order."""
    for running in hunt(*OPEN):
        with gather(running) as crowd:
            crowd.enter(names(5))
            crowd.play(
                {
                    name: Script(lines(name, 60, rng), turn=rng.choice([2, 4, 8]))
                    for name in names(5)
                }
            )


@check(points=2, lab=3, rules="6-15 9.2-3")
def check_nothing_lost(hunt, gather, rng):
    """The members who remain receive the last messages of a member that disconnects, and the
    messages that others send meanwhile."""
    for running in hunt(*OPEN):
        with gather(running) as crowd:
            stay, *go = names(5)
            crowd.enter([stay, *go])
            crowd.play(
                {
                    stay: Script(lines(stay, 20, rng), turn=2),
                    **{
                        name: Script(
                            lines(name, 12, rng), turn=12, then=rng.choice(["quits", "shuts"])
                        )
                        for name in go
                    },
                }
            )
            outs(crowd, [stay], go)


def outs(crowd, stay, go):
    """Waits until the members that stay have received OUT of the members that went. Raises
    CheckFailed.
    """

    def missing():
        return [
            (name, who)
            for name in stay
            for who in go
            if not any(
                line.startswith("OUT ") and line.endswith(f" {who}") for line in crowd[name].lines
            )
        ]

    with contextlib.suppress(CheckFailed):  # reported below
        crowd.until(lambda: not missing() or any(crowd[name].ended for name in stay))
    for name, who in missing():
        raise CheckFailed(
            msg("OUT of {who}, received by {name}", who=who, name=name),
            msg(
                "the connection of {who} has ended, and {name} received no OUT", who=who, name=name
            ),
            "ghost",
        )


@check(points=2, lab=3, rules="9.2-1 9.2-8")
def check_whole_lines(hunt, gather, rng):
    """Long lines from several members at once stay whole, also for a member that reads slowly."""
    for running in hunt(*OPEN):
        with gather(running) as crowd:
            slow, *others = names(4)
            crowd.enter([slow], read_size=SIP, **NARROW)
            crowd.enter(others, **NARROW)
            crowd.play(
                {
                    slow: Script(["PING a", "PING b", "WHO"] * 20, turn=3),
                    **{name: Script(lines(name, 100, rng, LONG), turn=25) for name in others},
                }
            )


@check(points=3, lab=3, rules="3-10 6-14 6-15 9.1-8 9.2-1 9.2-3")
def check_coming_and_going(hunt, gather, rng):
    """Members join and disconnect in every way while others send. The members who remain receive
    every event."""
    for running in hunt(*OPEN):
        with gather(running) as crowd:
            everyone = names(8)
            stay, go, come = everyone[:2], everyone[2:6], everyone[6:]
            passers = [f"passer{number}" for number in range(10)]
            crowd.enter(stay + go)
            crowd.connect(come + passers)
            ways = rng.sample(["resets", "resets", "closes", rng.choice(["quits", "shuts"])], 4)
            crowd.play(
                {
                    **{name: Script(lines(name, 30, rng), turn=2) for name in stay},
                    **{
                        name: Script(lines(name, 3, rng), turn=rng.choice([1, 3]), then=way)
                        for name, way in zip(go, ways)
                    },
                    **{
                        name: Script(["PING hello"], then=rng.choice(["shuts", "resets", "closes"]))
                        for name in passers
                    },
                    **{
                        name: Script(
                            [f"JOIN {name} secret-of-{name}", *lines(name, 3, rng)], turn=2
                        )
                        for name in come
                    },
                }
            )
            outs(crowd, stay, go)


@check(points=2, lab=3, rules="6-1")
def check_connects_at_once(hunt, gather):
    """Many clients that connect at the same moment all receive HELLO, each once."""
    for running in hunt(*OPEN, part=3 / 5):
        with gather(running) as crowd:
            many = [f"client{number}" for number in range(1, BACKLOG + 1)]
            running.process.send_signal(
                signal.SIGSTOP
            )  # so that all of them wait at once, however fast each one is
            crowd.connect(many)
            running.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(CheckFailed):  # reported below
                crowd.until(
                    lambda: all(one.lines or one.ended or one.retransmitted() for one in crowd)
                )
            if late := [
                one.who for one in crowd if one.retransmitted()
            ]:  # nothing but SYN was sent yet
                raise CheckFailed(
                    msg("room for {backlog} connections that wait for accept", backlog=BACKLOG),
                    msg(
                        "{count} of {backlog} found no room and had to retry a second "
                        "later; the first was {late}",
                        count=len(late),
                        backlog=BACKLOG,
                        late=late[0],
                    ),
                    "backlog",
                )
            if deaf := [one.who for one in crowd if not one.lines]:
                raise CheckFailed(
                    msg("HELLO for each client that connects"),
                    msg("these received nothing: {join}", join=", ".join(deaf)),
                )
            crowd.play({name: Script([f"PING of-{name}"]) for name in many})


@check(points=3, lab=3, rules="3-10 4-4 6-16 9.1-1 9.1-5 9.4-1")
def check_cross_traffic(hunt, gather, rng):
    """Every request is answered when all members send messages, change their names and ask for
    lists and history at once."""
    for running in hunt(*OPEN):
        with gather(running) as crowd:
            people = names(5)
            crowd.enter(people)
            running.type_bytes(b"rename one\nmembers\nrename two\nmembers\nrename three\n")
            crowd.play(
                {
                    name: Script(mixed(name, people, rng), turn=rng.choice([1, 3, 6]))
                    for name in people
                }
            )


@check(points=2, lab=3, rules="9.5-8")
def check_a_name_for_one(hunt, gather, rng):
    """When several members ask for the same name at the same moment, exactly one of them gets
    it.
    """
    for running in hunt(*OPEN, part=3 / 5):
        with gather(running) as crowd:
            people = names(5)
            crowd.enter(people)
            wanted = [f"wanted{number}-{rng.randrange(10**6)}" for number in range(NAMES)]
            for name in wanted:
                crowd.play({one: Script([f"NAME {name}"]) for one in people})
            renamed = {
                line.split(" ")[4] for line in crowd[people[0]].lines if line.startswith("RENAMED ")
            }
            if missing := [name for name in wanted if name not in renamed]:
                raise CheckFailed(
                    msg(
                        "one of {count} members to get the name {missing}, for which all had asked",
                        count=len(people),
                        missing=missing[0],
                    ),
                    msg("none of them got it"),
                    "name-for-nobody",
                )


def mixed(name, people, rng):
    """Returns requests of every kind in random order; two clients may ask for the same name."""
    said = lines(name, 12, rng)
    asked = [
        f"NAME {name}-{rng.choice('xyz')}",
        f"NAME {name}",
        f"NAME {rng.choice(people)}-x",
        "WHO",
        "WHO",
        "HISTORY 0",
        f"HISTORY {rng.randrange(9)}",
        "PING there",
    ]
    return sorted(said + asked, key=lambda _: rng.random())


@check(points=2, lab=3, rules="9.3-1 9.3-2 9.3-5 9.3-6")
def check_history_meanwhile(hunt, gather, rng):
    """The answer to HISTORY holds every event up to that moment, also while others send, and no
    live event is lost meanwhile."""
    for running in hunt(*OPEN, part=2 / 5):
        with gather(running) as crowd:
            reader, *talkers = names(3)
            crowd.enter([reader], read_size=SIP, **NARROW)
            crowd.enter(talkers)
            crowd.play({name: Script(lines(name, 30, rng, LONG), turn=30) for name in talkers})
            crowd.play(
                {
                    reader: Script([f"HISTORY {since}" for since in (0, 5, 20, 10**6, 0)], turn=2),
                    **{name: Script(lines(name, 30, rng), turn=2) for name in talkers},
                }
            )


@contextlib.contextmanager
def torn_by_a_history(reader):
    """Explains a torn line that this client received by the answer to HISTORY, which is sent in
    pieces.
    """
    try:
        yield
    except CheckFailed as problem:
        if problem.sentence == "torn" and problem.evidence[0].who == reader:
            problem.sentence = "a-long-history-meanwhile"
        raise


@check(points=1, lab=3, rules="9.2-8 9.3-5 9.8-9")
def check_a_long_history_meanwhile(judge, server, gather, rng):
    """A member reads an answer to HISTORY of 1.5 MB slowly while others send. The answer is
    complete, and live events come between its lines, never inside one."""
    running = server(*OPEN)
    reader, first, *others = names(4)
    with torn_by_a_history(reader), gather(running) as crowd:
        crowd.enter([first])
        crowd.play({first: Script(lines(first, 3600, rng, LONG), turn=90)})
        crowd.enter(others)
        crowd.enter([reader], read_size=32 * LONG, rcvbuf=16384, mss=SMALL_MSS)
        crowd.start({reader: Script(["HISTORY 0", "WHO"])})
        heard, end = 0, time.monotonic() + deadlines.DEADLINE
        while not crowd[reader].is_done:
            crowd.play({name: Script(lines(name, 4, rng), turn=2) for name in [first, *others]})
            if len(crowd[reader].lines) > heard:
                heard, end = len(crowd[reader].lines), time.monotonic() + deadlines.DEADLINE
            if time.monotonic() > end:
                raise crowd.stuck([crowd[reader]], None)
            if not judge.has_time_for(0):
                raise Inconclusive(
                    msg(
                        "the time for this check ran out after {heard} lines of the history",
                        heard=heard,
                    ),
                    again=False,
                )


@check(points=2, lab=3, rules="9.2-8 9.8-1")
def check_a_burst(hunt, gather, rng):
    """Several members send bursts larger than any buffer. Every member that keeps reading receives
    them all: the server disconnects none of them and does not block."""
    for running in hunt(*OPEN, part=1 / 5):
        with gather(running) as crowd:
            people = names(4)
            crowd.enter(people, read_size=4 * LONG, **NARROW)
            crowd.play({name: Script(lines(name, 320, rng, LONG), turn=320) for name in people})
