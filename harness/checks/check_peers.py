"""Peers who do harm: whatever one client does or does not do, the others notice nothing of it."""
import contextlib
import itertools
import re
import signal
import statistics
import threading
import time

from conftest import OPEN
from harness import detectors, wire
from harness.crowd import SMALL_MSS
from harness.doings import no_traceback, rounds
from harness.lines import history, refused, same_lines, taken, told
from harness.record import Unmet, same
from harness.verdicts.plugin import check

NARROW = {"rcvbuf": 2048, "mss": SMALL_MSS}     # a connection that holds some 30 kB, and then a send to it no longer fits
LINE = 400                                      # bytes of the longest text
MB = 1 << 20


@check(points=2, lab=5)
def check_a_reset_in_a_broadcast(server, enter):
    """Those whose connections break in the middle of what is said to all harm nobody; the others hear it all, and each one's OUT."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    victims = [enter(running, f"victim{number}", **(NARROW if number < 2 else {})) for number in range(12)]     # for two of them something waits
    said = 2000
    ana.send(*(f"SAY {count} ".ljust(100, ".") for count in range(said)))
    for number, victim in enumerate(victims):
        ana.expect(rf"MSG \d+ \S+ ana {100 * number} \.+")         # the server is in the middle of it
        victim.reset()
    victims += [enter(running, f"more{number}") for number in range(6)]
    short = 3000
    running.send_signal(signal.SIGSTOP)
    try:                                # all of this is there at once: more than a server reads in a turn, and then connections that are broken
        ana.send(*(f"SAY {said + count}" for count in range(short)))
        for victim in victims[-6:]:
            victim.reset()
    finally:
        running.send_signal(signal.SIGCONT)
    victims.append(enter(running, "last"))
    victims[-1].fence()
    victims[-1].reset()                 # while nothing is said
    for client in (ana, ben):
        while sum(line.startswith("OUT ") for line in client.lines) < len(victims):
            client.expect(r"OUT \d+ \S+ \S+")
        client.fence()
        same(sorted(line.split(" ")[3] for line in client.lines if line.startswith("OUT ")), sorted(victim.name for victim in victims))
        same([line.split(" ")[4] for line in client.lines if line.startswith("MSG ")], [str(count) for count in range(said + short)])
    no_traceback(running)


@check(points=2, lab=5)
def check_half_a_line_holds_up_nobody(server, connect, enter):
    """Strangers and members who have sent half a line hold up nobody, and may end it later."""
    running = server(*OPEN)
    ana, ben, slow = (enter(running, name) for name in ("ana", "ben", "slow"))
    halves = [connect(running, "half") for _ in range(10)]
    for client in halves:
        client.send_bytes(b"PING ha")
    slow.send_bytes(b"SAY to be con")
    taken(slow)
    rounds(ana, ben, count=20)
    slow.send_bytes(b"tinued\n")
    same(told(slow.fence())[-1:], ["MSG n TIME slow to be continued"])
    for client in halves:
        client.send_bytes(b"lf\n")
        client.expect("PONG half")


@check(points=3, lab=5)
def check_a_reader_who_stops_holds_up_nobody(server, enter):
    """While one member reads nothing, what the others say goes on being heard by all others."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    enter(running, "stuck", **NARROW)
    rounds(ana, ben, count=50, lines=10, size=LINE, sentence="a-reader-who-stops-holds-up-nobody")    # 200 kB: more than the kernel takes for him


@check(points=2, lab=5)
def check_a_reader_who_stops_costs_little(server, enter):
    """A member who reads nothing while much is said is put out before it fills the server's memory."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    stuck = enter(running, "stuck", **NARROW)
    before, said = detectors.memory(running.family()), 0
    gone = lambda: any(re.fullmatch(r"OUT \d+ \S+ stuck", line) for line in ana.lines[-300:])
    while not gone() and said < 8 * MB:
        rounds(ana, lines=128, count=1, size=LINE)
        said += 128 * LINE
    if not gone():
        grown = detectors.memory(running.family()) - before
        if grown < 4 * MB:              # it keeps little for him: he may be put out for not reading, by the clock
            wire.wait_until(lambda: (ana.fence(), gone())[1], max(30, wire.DEADLINE), "OUT of a member who reads nothing")
        else:
            raise Unmet("OUT of a member who reads nothing, when some 1 MB waits for him in the server",
                        f"{said / MB:.0f} MB were said, he is still here, and the server's memory has grown by {grown / MB:.1f} MB")
    rounds(ana, enter(running, "ben"))
    stuck.close()


@check(points=2, lab=5)
def check_a_slow_reader_gets_all(server, enter, rng):
    """A member who reads late gets every line, whole, as everybody else did."""
    running = server(*OPEN)
    ana, slow = enter(running, "ana"), enter(running, "slow", **NARROW)
    ana.fence()
    texts = [f"{number} {rng.choice('abcdefgh') * rng.randrange(200, LINE - 10)}" for number in range(300)]
    ana.send(*(f"SAY {text}" for text in texts))
    taken(ana)
    said = [f"MSG n TIME ana {text}" for text in texts]
    same_lines(told([slow.line() or "the end of the connection" for _ in texts]), said)
    same_lines(told(ana.fence()), said)
    same(slow.fence(), [])


class Flood(threading.Thread):
    """Sends as fast as the server takes it, and reads all answers, until it is told to stop.

    Mostly PONGs, which are work and have no answer: with an answer to each line it would be the reading that has to keep pace, and a
    server that waits for that serves the others meanwhile. Now and then a PING shows that the flood is served.
    """

    def __init__(self, client):
        super().__init__(daemon=True)
        self.socket, self.over = client.socket, threading.Event()
        self.answered = []              # when answers came
        self.socket.setblocking(False)
        client.record.add(client.who, "sends", "PONG x\n... without end")

    def run(self):
        data = (b"PING x\n" + b"PONG x\n" * 1023) * 8
        sent = 0
        try:
            while not self.over.wait(0.001):
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):             # not for ever: a fast server is to be rid of its answers, too
                        sent = (sent + self.socket.send(data[sent:])) % len(data)
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        if not self.socket.recv(1 << 20):
                            return
                        self.answered.append(time.monotonic())
        except OSError:
            pass                        # the server may put him out

    def was_served(self, seconds):
        """Whether it was answered again and again in the last so many seconds: then neither server nor check lacked a CPU."""
        now = time.monotonic()
        moments = [now - seconds, *(moment for moment in self.answered if moment > now - seconds), now]
        return max(after - before for before, after in itertools.pairwise(moments)) < seconds / 4

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


@check(points=2, lab=5)
def check_a_flooder(server, connect, enter):
    """One who sends without pause, and never too little, does not keep the server from serving the others."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    flooder = connect(running, "flooder")
    with Flood(flooder) as flood:
        try:
            rounds(ana, ben, count=20)
        except Unmet as problem:            # which of the two it strikes first is chance
            raise Unmet("ana and ben to be answered, and to hear every message, while a third sends without pause", problem.came,
                        problem.sentence, problem.evidence, proven=flood.was_served(wire.DEADLINE)) from None
    flooder.reset()
    rounds(ana, ben, count=1)


@check(points=2, lab=6)
def check_guessing_passwords(server, connect, enter, rng):
    """While the passwords of many strangers are checked, the members talk on: for a password waits only who gave it."""
    running = server(*OPEN)
    checks, before, meanwhile = [], [], []      # seconds: to check one password; for ten answers to a member, without and with guesses
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
            guesser.send(f"JOIN ana guess-{rng.randrange(10 ** 6)}")
        meanwhile.append(ten_answers(member))
        for guesser in guessers:
            guesser.reset()
    one, quiet, taken = map(statistics.median, (checks, before, meanwhile))
    if taken > 1.5 * one + 4 * quiet + 0.1:
        raise Unmet("ten PINGs of a member to be answered at once, while eight strangers have given wrong passwords",
                    f"it took {taken:.2f} s; without the strangers {quiet:.3f} s. To come in takes a member about {one:.2f} s")


def ten_answers(client):
    """Seconds."""
    began = time.monotonic()
    for _ in range(10):
        client.fence()
    return time.monotonic() - began


@check(points=1, lab=5)
def check_noise(server, connect, enter, rng):
    """Random bytes are answered by lines of the protocol or by an end, and harm nobody."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    words = [b"JOIN", b"SAY", b"NAME", b"WHO", b"HISTORY", b"LEAVE", b"PING", b"PONG", b" ", b"\n", b"\r\n", b"\0", b"\xff", b"\x1b[2J", "ñ".encode(), b"7"]
    for number in range(8):
        noisy = connect(running, "noisy")
        noisy.greeted()
        start = len(noisy.lines)
        try:
            noisy.send_bytes(rng.randbytes(3000) if number % 2 else b"".join(rng.choices(words, k=300)))
            noisy.half_close()
        except OSError:
            pass                        # it was put out
        noisy.rest()
        strange = [line for line in noisy.lines[start:] if not re.match(r"(ERR|BYE|PENDING|REJECTED|WELCOME|IN|OUT|PONG|MSG|MEMBER|END|RENAMED|LEFT|PING)\b", line)]
        if strange:
            raise Unmet("ERR, BYE and other lines of the protocol, whatever was sent", "\n".join(strange))
    ana.fence(), ben.fence()
    rounds(ana, ben, count=3)
    no_traceback(running)


@check(points=2, lab=5)
def check_a_wrong_line_releases_all(server, connect, enter):
    """After a request that fails in any way, also of one who breaks the connection right behind it, the others are served on."""
    running = server(*OPEN)
    ana, ben, mal = (enter(running, name) for name in ("ana", "ben", "mal"))
    wrong = [(b"NO-SUCH-VERB", "unknown"), (b"SAY", "bad-arguments"), (b"SAY \xff", "bad-utf8"), (b"SAY \t", "bad-text"), (b"NAME ana", "name-taken"),
             (b"NAME -", "bad-name"), (b"HISTORY x", "bad-arguments"), (b"WHO is there", "bad-arguments"), (b"JOIN mal x", "already-joined")]
    for line, code in wrong:
        refused(mal, line, code)
        rounds(ana, ben, count=1)
        mal.fence()
    for number, (line, _) in enumerate(wrong):
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


@check(points=1, lab=5)
def check_the_silent_are_dropped(server, enter):
    """A member who is silent gets PING, and is put out if he does not answer it; who answers stays."""
    running = server(*OPEN, "--ping-after", "0.5", "--idle-after", "1.5")
    ana, silent = enter(running, "ana"), enter(running, "silent", pong=False)
    wire.wait_until(lambda: any(line.startswith("OUT ") for line in ana.fence()), what="OUT of a member who does not answer PING")
    came = silent.rest()
    if not any(line.startswith("PING ") for line in came):
        raise Unmet("a PING, before he is put out", "\n".join(came) or "nothing")
    if not silent.was_reset:
        same(came[-1:], ["BYE idle"])
    ana.fence()


@check(points=1, lab=6)
def check_strangers_have_no_long_stay(server, connect):
    """A stranger who does not become a member in time gets BYE timeout, though he is not silent."""
    eve = connect(server(*OPEN, "--join-within", "1"), "eve")
    eve.greeted()

    def put_out():
        try:
            eve.fence()
        except (Unmet, ConnectionError):
            return eve.ended or eve.line() == ""

    wire.wait_until(put_out, what="BYE timeout, a second after it connected, to one who only sends PING")
    if not eve.was_reset:
        same(eve.lines[-1], "BYE timeout")
