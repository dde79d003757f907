"""What checks of several stages do: have members talk in rounds, see that the server rests, and that it shows no traceback."""
import contextlib
import subprocess
import time

from harness.driving import processes, deadlines
from harness.driving.crowd import SMALL_MSS
from harness.driving.history import normalized
from harness.driving.messages import msg
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
    raise Unmet(msg("a server that rests while nobody says anything"), msg("it uses {share:.0%} of a core, again and again", share=share), sentence, proven=True)


def no_traceback(running):
    if any("Traceback (most recent call last)" in line for line in running.stderr):
        raise Unmet(msg("no traceback on stderr, whatever clients do"), "\n".join(running.stderr[-40:]), "traceback")


def fill(talker, *others, part=1.0):
    """Says 200 kB, or this part of it: more than the kernel takes for a NARROW member that reads nothing, and less than --outbox.
    The others read it. Returns how many bytes were said."""
    count = round(4 * part)
    rounds(talker, *others, count=count, lines=125, size=400)
    return count * 125 * 400


PROMISED = 2.0              # seconds that the end of a server may take, by protocol.md, on an idle machine
LOOK = 0.25                 # seconds between two looks at what its threads wait for
ENDS = 5                    # times what an end takes that nobody holds up: granted beside what is promised


def ends_in_time(running, began, sentence="waits-for-a-reader"):
    """Waits for the end of the server, which was told at `began` (time.monotonic()).

    Beside what protocol.md promises, it is granted what an end costs here, and the time that it
    wanted a CPU and got none. Returns the status. Raises Unmet.
    """
    waited = without_cpu(running)
    status = running.wait()
    took = time.monotonic() - began
    if took > PROMISED + ENDS * running.pace.end + waited:
        raise Unmet(msg("the server to end within 2 s, though a member reads nothing"), msg("it took {took:.1f} s", took=took), sentence)
    return status


def without_cpu(running):
    """Seconds, up to the server's end, for which its threads together wanted a CPU and others had it."""
    first, last, end = processes.turns(running.family()), {}, time.monotonic() + deadlines.DEADLINE
    while running.process.poll() is None and time.monotonic() < end:
        last.update(processes.turns(running.family()))
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(LOOK)
    return sum(waited - first.get(thread, (0, 0))[1] for thread, (_, waited, _) in last.items())
