"""Random dialogues: whatever clients and the owner say, in whatever order, the answers are those
that the protocol allows.
"""

import tempfile
import threading
import time
from pathlib import Path

from harness.driving import deadlines
from harness.driving.messages import msg
from harness.driving.record import CheckFailed
from harness.driving.server import NotStarted
from harness.model.fuzz import LAB_OF_TIMERS, Fuzz
from harness.verdicts.pace import SLOW_JOIN
from harness.verdicts.plugin import Inconclusive, NotRun, check

SECONDS = 10.0  # in which new dialogues begin
QUIET_SECONDS = 2.0  # likewise, of those in which time passes; each of them takes several seconds
PATIENCE = 2.0  # seconds without an answer after which a dialogue is looked at more closely


@check(points=2, lab=0)
def check_any_dialogue(judge, start, pace, tmp_path):
    """In random dialogues, every line that clients and the owner receive is one that the protocol
    allows.
    """

    def begin(flags, record):
        folder = Path(tempfile.mkdtemp(dir=tmp_path), "group")
        try:
            return start(*flags, directory=folder, record=record, traced=False)
        except NotRun as why:  # it does not take a limit
            problem = NotStarted(str(why), "")
            problem.status = 2
            raise problem from None

    seed, lab, began = judge.settings["seed"], judge.settings["lab"], time.monotonic()
    patience = min(deadlines.DEADLINE, pace.deadline(PATIENCE))
    runs = [Fuzz(begin, seed, began + SECONDS, lab=lab, patience=patience)]
    if lab >= LAB_OF_TIMERS and pace.join < SLOW_JOIN:
        until = began + QUIET_SECONDS
        runs.append(Fuzz(begin, seed, until, lab=lab, patience=patience, quiet=True))
    found, problems = [], []

    def play(fuzz):
        try:
            if one := fuzz.run():
                found.append(one)
                for other in runs:
                    other.stopped = True
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=play, args=(fuzz,), daemon=True) for fuzz in runs[1:]]
    for thread in threads:
        thread.start()
    play(runs[0])
    for thread in threads:
        thread.join()
    if found:
        judge.record.entries[:] = found[0].entries
        raise failed(found[0])
    for problem in problems:
        raise problem
    dialogues = sum(fuzz.tally.dialogues for fuzz in runs)
    if not dialogues:
        raise Inconclusive(msg("no dialogue could be judged in {seconds:.0f} s", seconds=SECONDS))
    judge.notes.append(
        msg(
            "{count} dialogues of {acts} acts, seed {seed}",
            count=dialogues,
            acts=sum(fuzz.tally.acts for fuzz in runs),
            seed=seed,
        )
    )


def failed(found):
    """The failure of a dialogue that went wrong."""
    wrong = found.difference
    return CheckFailed(
        msg(
            "{who} to receive what section {section} of protocol.md allows: {allowed}",
            who=wrong.who,
            section=wrong.section,
            allowed=wrong.allowed or msg("nothing"),
        ),
        msg(
            "{who} received: {came}\nThe shortest dialogue found, with the line that must come:\n"
            "{dialogue}",
            who=wrong.who,
            came=wrong.came or msg("nothing"),
            dialogue=found.dialogue,
        ),
        "any-dialogue",
        proven=bool(wrong.came),
        who=wrong.who,
    )
