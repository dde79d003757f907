"""What checks of several stages do: have members talk in rounds, see that the server rests, and that it shows no traceback."""
from harness import detectors
from harness.lines import told
from harness.record import Unmet, same

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
            heard = [line for line in told(came) if line.startswith(f"MSG n TIME {talker.name} ")]
            same(heard, [f"MSG n TIME {talker.name} {text}" for text in texts], sentence)


def rests(running, sentence=None):
    """Raises Unmet if the server does not come to rest."""
    for _ in range(4):                  # something may be left to be done first
        share = detectors.busy(lambda: detectors.family(running.pid))
        if share < SPINS:
            return
    raise Unmet("a server that rests while nobody says anything", f"it uses {share:.0%} of a core, again and again", sentence, proven=True)


def no_traceback(running):
    if any("Traceback (most recent call last)" in line for line in running.stderr):
        raise Unmet("no traceback on stderr, whatever clients do", "\n".join(running.stderr[-40:]), "traceback")
