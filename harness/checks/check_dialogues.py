"""Random dialogues: clients and the owner send anything in any order, and each answer must be one
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
from harness.model import notation
from harness.model.fuzz import LAB_OF_TIMERS, Fuzz
from harness.model.generate import LABS
from harness.verdicts.pace import SLOW_JOIN
from harness.verdicts.plugin import Inconclusive, NotRun, check

SECONDS = 10.0  # in which new dialogues begin
QUIET_SECONDS = 2.0  # likewise, of those in which time passes; each of them takes several seconds
PATIENCE = 2.0  # seconds without an answer after which a dialogue is looked at more closely


@check(
    points=2,
    lab=0,
    # Those that harness/model/group.py states and the scenes of harness/model/generate.py aim at.
    rules="2-1 2-2 "
    "3-1 3-2 3-3 3-4 3-5 3-6 3-7 3-8 3-9 3-10 3-11 3-12 "
    "4-1 4-2 4-3 4-4 4-7 "
    "5-1 5-2 5-3 5-4 5-5 5-6 5-7 5-8 5-9 5-10 5-11 5-12 "
    "6-1 6-2 6-3 6-4 6-5 6-6 6-7 6-8 6-9 6-11 6-12 6-13 6-14 6-15 6-16 6-17 6-18 6-19 6-20 "
    "6-23 6-24 6-25 6-26 "
    "7-2 7-3 7-4 7-5 7-6 7-7 7-8 7-9 7-10 7-11 7-12 7-14 7-15 7-16 7-17 7-18 7-19 7-20 7-21 "
    "8-2 8-3 8-4 8-5 8-6 8-7 8-8 8-10 8-11 8-12 8-17 "
    "9.1-1 9.1-2 9.1-4 9.1-5 9.1-6 9.1-7 9.1-8 9.1-9 "
    "9.2-1 9.2-2 9.2-3 9.2-4 9.2-8 "
    "9.3-1 9.3-2 9.3-3 9.3-4 9.3-5 9.3-6 "
    "9.4-1 "
    "9.5-1 9.5-2 9.5-3 9.5-4 9.5-5 9.5-6 9.5-7 9.5-8 9.5-9 9.5-10 9.5-11 9.5-12 9.5-13 9.5-14 "
    "9.5-15 9.5-16 9.5-17 9.5-18 9.5-19 9.5-20 9.5-22 9.5-23 9.5-24 9.5-25 "
    "9.6-1 9.6-2 9.6-3 9.6-4 "
    "10-2 10-3 10-4 10-5 10-6 10-7 10-8 10-10 10-11 10-14 "
    "11-2 11-3 11-4 11-6 11-7 11-8 11-9 11-10 11-11 11-12 11-13 11-14 11-15 11-16 11-17 11-18 "
    "11-19 11-20 11-21 11-25 "
    "13-2 13-6 "
    "16-2",
)
def check_any_dialogue(judge, start, pace, tmp_path):
    """In random dialogues, clients and the owner receive only what the protocol allows."""

    def begin(flags, record):
        folder = Path(tempfile.mkdtemp(dir=tmp_path), "group")
        try:
            return start(*flags, directory=folder, record=record, traced=False)
        except NotRun as why:  # it does not take a limit
            problem = NotStarted(str(why), "")
            problem.status = 2
            raise problem from None

    seed, lab, began = judge.settings["seed"], judge.settings["lab"], time.monotonic()
    asked = judge.settings["asked"]
    requests = tuple(asked.requests) if asked else ()
    lab = max(LABS) if asked else lab
    patience = min(deadlines.DEADLINE, pace.deadline(PATIENCE))
    runs = [Fuzz(begin, seed, began + SECONDS, lab=lab, patience=patience, requests=requests)]
    if not requests and lab >= LAB_OF_TIMERS and pace.join < SLOW_JOIN:
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
    if any(fuzz.tally.unconfirmed for fuzz in runs):
        raise Inconclusive(msg("a dialogue went wrong, and there was no time to try it again"))
    dialogues = sum(fuzz.tally.dialogues for fuzz in runs)
    if not dialogues:
        raise Inconclusive(
            msg("no dialogue could be judged within {seconds:.0f} s", seconds=SECONDS)
        )
    judge.notes.append(
        msg(
            "{count} dialogues of {acts} actions, seed {seed}",
            count=dialogues,
            acts=sum(fuzz.tally.acts for fuzz in runs),
            seed=seed,
        )
    )


def failed(found):
    """The failure of a dialogue that went wrong."""
    wrong = found.difference
    return CheckFailed(
        notation.expected(wrong),
        msg(
            "{actual}\nThe shortest dialogue that shows it ends with what must come:\n{dialogue}",
            actual=notation.actual(wrong),
            dialogue=found.dialogue,
        ),
        "any-dialogue",
        proven=bool(wrong.came),
        who=wrong.who,
    )
