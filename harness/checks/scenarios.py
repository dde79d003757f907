"""What checks of several stages do: let members talk in rounds, and test that the server is idle
and shows no traceback.
"""

import contextlib
import subprocess
import time

from harness.driving import deadlines, processes
from harness.driving.crowd import SMALL_MSS
from harness.driving.history import normalized
from harness.driving.messages import msg
from harness.driving.record import CheckFailed, same

NARROW = {
    "rcvbuf": 2048,
    "mss": SMALL_MSS,
}  # a connection that holds about 30 kB; then a send to it no longer fits
SPINS = 0.25  # cores that an idle server may use: a busy loop uses a whole one


def rounds(talker, *others, count=10, lines=1, size=0, sentence=None):
    """Repeats `count` rounds: `talker` sends `lines` messages, and all read them before the next
    round. Raises CheckFailed.
    """
    for number in range(count):
        texts = [f"round {number}, line {line}".ljust(size, ".") for line in range(lines)]
        talker.send(*(f"SAY {text}" for text in texts))
        for client in (talker, *others):
            try:
                came = client.fence()
            except CheckFailed as problem:  # the subject of the check explains why nothing came
                problem.sentence = sentence or problem.sentence
                raise
            heard = [
                line for line in normalized(came) if line.startswith(f"MSG n TIME {talker.name} ")
            ]
            same(heard, [f"MSG n TIME {talker.name} {text}" for text in texts], sentence)


def rests(running, sentence=None):
    """Raises CheckFailed if the idle server keeps using CPU."""
    for _ in range(4):  # the server may have work left at first
        share = processes.busy(lambda: processes.family(running.pid))
        if share < SPINS:
            return
    raise CheckFailed(
        msg("a server that uses no CPU while clients send nothing"),
        msg("it uses {share:.0%} of a core, again and again", share=share),
        sentence,
        proven=True,
    )


def no_traceback(running):
    if any("Traceback (most recent call last)" in line for line in running.stderr):
        raise CheckFailed(
            msg("no traceback on stderr, whatever clients do"),
            "\n".join(running.stderr[-40:]),
            "traceback",
        )


def fill(talker, *others, part=1.0):
    """Says 200 kB, or this part of it: more than the kernel takes for a NARROW member that reads
    nothing, and less than --outbox. The others read it. Returns how many bytes were said.
    """
    count = round(4 * part)
    rounds(talker, *others, count=count, lines=125, size=400)
    return count * 125 * 400


PROMISED = 2.0  # seconds that the end of a server may take, by protocol.md, on an idle machine
LOOK = 0.25  # seconds between two looks at what its threads wait for
ENDS = 5  # times the duration of an undisturbed end, granted in addition


def ends_in_time(running, began, sentence="waits-for-a-reader"):
    """Waits for the end of the server, which was asked to end at `began` (time.monotonic()).

    Beside what protocol.md promises, it is granted what an end costs here, and the time that it
    wanted a CPU and got none. Returns the status. Raises CheckFailed.
    """
    waited = without_cpu(running)
    status = running.wait()
    took = time.monotonic() - began
    if took > PROMISED + ENDS * running.pace.end + waited:
        raise CheckFailed(
            msg("the server to end within 2 s, even if a member reads nothing"),
            msg("it took {took:.1f} s", took=took),
            sentence,
        )
    return status


def without_cpu(running):
    """Returns for how many seconds, up to the server's end, its threads together waited for a CPU
    that others used.
    """
    first, last, end = processes.turns(running.family()), {}, time.monotonic() + deadlines.DEADLINE
    while running.process.poll() is None and time.monotonic() < end:
        last.update(processes.turns(running.family()))
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(LOOK)
    return sum(waited - first.get(thread, (0, 0))[1] for thread, (_, waited, _) in last.items())
