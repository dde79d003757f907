"""What checks of several stages do: have members talk in rounds, see that the server rests, and that it shows no traceback."""
import time

from harness.driving import processes, deadlines
from harness.driving.crowd import SMALL_MSS
from harness.driving.history import normalized
from harness.driving.record import Unmet, same

NARROW = {"rcvbuf": 2048, "mss": SMALL_MSS}     # a connection that holds some 30 kB, and then a send to it no longer fits
SPINS = 0.25                # cores that an idle server may use: one that spins uses a whole one


def rounds(talker, *others, count=10, lines=1, size=0, sentence=None):
    """So many times: one talks, and all have heard it before the next round."""
    for number in range(count):
        texts = [f"round {number}, line {line}".ljust(size, ".") for line in range(lines)]
        talker.send(*(f"SAY {text}" for text in texts))
        for client in (talker, *others):
            try:
                came = client.fence()
            except Unmet as problem:    # that nothing came has its cause in what the check is about
                problem.sentence = sentence or problem.sentence
                raise
            heard = [line for line in normalized(came) if line.startswith(f"MSG n TIME {talker.name} ")]
            same(heard, [f"MSG n TIME {talker.name} {text}" for text in texts], sentence)


def rests(running, sentence=None):
    """Raises Unmet if the server does not come to rest."""
    for _ in range(4):                  # something may be left to be done first
        share = processes.busy(lambda: processes.family(running.pid))
        if share < SPINS:
            return
    raise Unmet("a server that rests while nobody says anything", f"it uses {share:.0%} of a core, again and again", sentence, proven=True)


def no_traceback(running):
    if any("Traceback (most recent call last)" in line for line in running.stderr):
        raise Unmet("no traceback on stderr, whatever clients do", "\n".join(running.stderr[-40:]), "traceback")


def fill(talker, *others):
    """Says 200 kB: more than the kernel takes for a NARROW member that reads nothing, and less than --outbox. The others read it."""
    rounds(talker, *others, count=4, lines=125, size=400)


def ends_in_time(running, began, sentence="waits-for-a-reader"):
    """Waits for the end of the server, which was told at `began` (time.monotonic()); returns the status. Raises Unmet.

    The 2 s that protocol.md promises are an idle machine's, so more are granted here.
    """
    status = running.wait()
    took = time.monotonic() - began
    if took > 2 + deadlines.DEADLINE / 4:
        raise Unmet("the server to end within 2 s, though a member reads nothing", f"it took {took:.1f} s", sentence)
    return status
