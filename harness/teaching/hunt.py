"""python -m harness hunt: a bug hunt. Deals a server with one unnamed bug, checks the fix, and
keeps score on this machine.

A fix counts when the check that failed passes in many runs, when no order of steps that is
tried breaks the server (if the exhibit has a schedule), and when all the other checks still pass.
"""

import hashlib
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import platformdirs
from rich.table import Table

from harness.driving.messages import msg
from harness.driving.server import DESIGNS
from harness.explore.exploration import Exploration, Explored, Workers, replay, schedule_in
from harness.explore.program import Program
from harness.explore.runs import NotExplored
from harness.teaching import exhibits, starter
from harness.teaching.exhibits import Broken, screen
from harness.teaching.lab import inspect_python
from harness.teaching.starter import Starter
from harness.verdicts import language
from harness.verdicts.formats.render import clean, cleaned, deed, labelled, numbered
from harness.verdicts.formats.terminal import indented
from harness.verdicts.language import say
from harness.verdicts.model import FAILED, PASSED, UsageError

MARK = ".hunt"  # the file in a dealt folder that says what was dealt, to us alone
SURE = 20  # runs of the check that failed, of a race
PREEMPTIONS, SECONDS = 2, 30.0  # of the orders of steps that are tried
TRIES = 5  # a race may hide in one run


# -- The score: {exhibit: {"dealt": seconds since 1970, "tries": n, "solved": seconds or None}} --


def score_file():
    """Where the score is kept. Raises UsageError."""
    try:
        return Path(platformdirs.user_data_dir("grupo"), "hunt.json")
    except RuntimeError:  # no HOME, and no home folder in the password database
        raise UsageError(
            msg("your home folder is not known, and the score is kept there: set HOME")
        ) from None


def read_score():
    try:
        score = json.loads(score_file().read_text(encoding="utf-8"))
        if not isinstance(score, dict) or not all(
            isinstance(one, dict)
            and is_day(one["dealt"])
            and type(one["tries"]) is int
            and (one["solved"] is None or is_day(one["solved"]))
            for one in score.values()
        ):
            raise ValueError("a score?")
        return score
    except FileNotFoundError:
        return {}
    except KeyError as error:
        raise UsageError(
            msg(
                "cannot read {score_file} (it lacks {error}): move it away, and the "
                "score starts from zero",
                score_file=score_file(),
                error=error,
            )
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(
            msg(
                "cannot read {score_file} ({error}): move it away, and the score starts from zero",
                score_file=score_file(),
                error=error,
            )
        ) from None


def is_day(seconds):
    return type(seconds) is int and 0 <= seconds < 1 << 33


def write_score(score):
    try:
        score_file().parent.mkdir(parents=True, exist_ok=True)
        new = score_file().with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(score, indent=1) + "\n", encoding="utf-8")
        new.replace(score_file())
    except OSError as error:
        raise UsageError(f"{score_file()}: {error.strerror}") from None


def entry(score, exhibit):
    """What the score says of an exhibit; from now on it says something."""
    return score.setdefault(exhibit.name, {"dealt": int(time.time()), "tries": 0, "solved": None})


# -- Deal ----------------------------------------------------------------------------------------


def mark_of(exhibit):
    return hashlib.sha256(exhibit.name.encode()).hexdigest()


def as_starter(exhibit):
    return Starter(7, "python", "bug hunt", [exhibit.design], [exhibit.check], [])


def choose(score, design, seed):
    """One that is not solved yet; of those that are, if all are."""
    found = [exhibit for exhibit in exhibits.all_exhibits() if design in (None, exhibit.design)]
    unsolved = [exhibit for exhibit in found if not score.get(exhibit.name, {}).get("solved")]
    return random.Random(seed).choice(unsolved or found)


def deal(options):
    score = read_score()
    write_score(score)  # fails before the work if the score cannot be written
    exhibit = choose(score, options.design, options.seed)
    folder = Path(options.folder).resolve()
    starter.write(as_starter(exhibit), folder, "hunt", {"symptom": say(exhibit.symptom)})
    exhibits.plant(exhibit, folder)
    (folder / MARK).write_text(mark_of(exhibit) + "\n")
    for attempt in range(TRIES):
        verdicts = exhibits.judge(exhibit, folder, [exhibit.check], seed=str(attempt))
        if failed := next(
            (verdict for verdict in verdicts.values() if verdict.verdict == FAILED), None
        ):
            break
    else:
        raise UsageError(
            msg(
                "{folder}: its bug did not show in {tries} runs: this machine is too busy, so "
                "deal another into a new folder",
                folder=folder,
                tries=TRIES,
            )
        )
    write_run(folder, failed)
    score = read_score()
    entry(score, exhibit)
    write_score(score)
    screen.print(say(exhibit.symptom), markup=False)
    screen.print(
        say(
            "The server is in {folder}, and failing-run.txt there shows a run that "
            "failed. Find the bug, fix it, and run `make check` there.",
            folder=options.folder,
        ),
        markup=False,
    )
    return 0


def write_run(folder, verdict):
    """The failing run: what was done, what should have come, and what came; not why."""
    verdict = cleaned(verdict)
    failure = verdict.failure
    steps = [f"{number:>3} {step}" for number, step in numbered(failure.steps)]
    told = [
        f"{label:10}{indented(text, 10)}"
        for label, text in labelled(failure)
        if text in (failure.expected, failure.actual, failure.run)
    ]
    shown = [
        f"{entry.at:10.6f} {entry.who} {deed(entry.what)} {entry.text}".rstrip()
        for entry in failure.slice
    ]
    lines = [
        verdict.title,
        "",
        *steps,
        *told,
        "",
        say("The end of the record, in seconds:"),
        *shown,
    ]
    (folder / "failing-run.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


# -- Judge ---------------------------------------------------------------------------------------


def dealt(folder):
    """The exhibit that was dealt into this folder. Raises UsageError."""
    try:
        if not (folder / MARK).is_file():
            raise FileNotFoundError
        with open(folder / MARK, encoding="ascii") as file:
            mark = file.read(100).strip()
    except (OSError, ValueError):
        raise UsageError(
            msg(
                "{folder} was not dealt by `hunt deal`: its file {mark} is missing",
                folder=folder,
                mark=MARK,
            )
        ) from None
    for exhibit in exhibits.all_exhibits():
        if mark_of(exhibit) == mark:
            return exhibit
    raise UsageError(
        msg("{folder} names no bug of this version: deal another", folder=folder / MARK)
    )


def explored(exhibit, folder):
    """Why an order of steps still breaks the server in `folder`, or ''; and what was tried. Raises
    NotExplored.
    """
    schedule, workload = schedule_in(exhibit.schedule)
    start = Program(exhibit.command, str(folder)).start
    with tempfile.TemporaryDirectory(prefix="grupo-hunt-") as place:
        if replay(start, Path(place, "replay"), workload, schedule).violation:
            return msg("the schedule that shows the bug still breaks the server"), None
        with Workers(start, Path(place), os.cpu_count() or 1) as team:
            search = Exploration(Explored.nothing(workload, schedule.members, PREEMPTIONS))
            found = search.explore(team, time.monotonic() + SECONDS)
    if found.replays:
        return msg(
            "another order of steps breaks it: `python -m harness explore --workload {workload}` "
            "shows it",
            workload=workload.name,
        ), None
    return "", found.tried


def check(options):
    folder = Path(options.folder).resolve()
    exhibit = dealt(folder)
    inspect_python(as_starter(exhibit), folder)
    score = read_score()
    one = entry(score, exhibit)
    one["tries"] += 1
    write_score(score)
    if why := judged(exhibit, folder):
        screen.print(say("Not yet: {why}.", why=why), markup=False)
        return 1
    score = read_score()  # read again: another hunt may have written meanwhile
    one = entry(score, exhibit)
    one["solved"] = one["solved"] or int(time.time())
    write_score(score)
    tries, name = one["tries"], exhibit.name
    screen.print(
        say(
            "Fixed, at try {tries}. It was `{name}`: lab_guide/exhibits/{name}.toml has the bug "
            "in one piece.",
            tries=tries,
            name=name,
        ),
        markup=False,
    )
    return 0


def judged(exhibit, folder):
    """Why this is no repair, or ''."""
    options = "--design", exhibit.design
    # Not shown: a verdict tells the cause.
    found = exhibits.checked(
        exhibit.command, folder, *options, "--repeat", str(SURE), "--only", exhibit.check
    )
    if failed := [verdict for verdict in found.values() if verdict.verdict != PASSED]:
        if failed[0].failure:
            write_run(folder, failed[0])
        return msg(
            "the check {check} does not pass: the last run is in failing-run.txt",
            check=exhibit.check,
        )
    screen.print(say("The check {check} passes.", check=exhibit.check), markup=False)
    if exhibit.schedule:
        try:
            why, tried = explored(exhibit, folder)
        except NotExplored as problem:
            return msg("cannot be explored: {why}", why=problem.args[0])
        if why:
            return why
        screen.print(say("No order of steps shows it: {tried}.", tried=tried), markup=False)
    screen.print(say("All the other checks:"), markup=False)
    found = exhibits.checked(exhibit.command, folder, *options, show=True)
    wrong = [verdict.check for verdict in found.values() if verdict.is_amiss]
    if not wrong:
        return ""
    return msg(
        "the check {check} passes now, and these no longer do: {others}",
        check=exhibit.check,
        others=", ".join(wrong),
    )


def show_score(_):
    score = read_score()
    table = Table(box=None)
    for head in (say("bug"), say("dealt"), say("tries"), say("fixed")):
        table.add_column(head)
    day = lambda seconds: time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    for number, (name, one) in enumerate(
        sorted(score.items(), key=lambda item: item[1]["dealt"]), 1
    ):
        shown, when = (
            (name, day(one["solved"]))
            if one["solved"]
            else (say("(bug {number}, still hidden)", number=number), "-")
        )
        table.add_row(shown, day(one["dealt"]), str(one["tries"]), when)
    if score:
        screen.print(table)
    solved, most = sum(bool(one["solved"]) for one in score.values()), len(exhibits.all_exhibits())
    screen.print(say("{solved} of {most} bugs fixed", solved=solved, most=most), markup=False)
    return 0


def arguments(parser):
    """Adds what `harness hunt` takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, about in (
        ("deal", "put one that you have not fixed yet into a new folder, with one run that failed"),
        ("check", "judge a repair: what `make check` does there"),
        ("score", "show which you have fixed"),
    ):
        action = actions.add_parser(
            name, help=about, allow_abbrev=False, description=f"{about.capitalize()}."
        )
        if name != "score":
            action.add_argument("folder", metavar="DIR")
        if name == "deal":
            action.add_argument("--design", choices=DESIGNS, help="only of this design")
            action.add_argument(
                "--seed", help="the same seed deals the same of those that are left"
            )


def main(options):
    """Exit status 0: dealt, fixed, shown; 1: not fixed; 2: it could not be done, and one line says
    why.
    """
    language.choose()
    try:
        return {"deal": deal, "check": check, "score": show_score}[options.action](options)
    except (UsageError, Broken) as why:
        print(f"hunt: {clean(say(why.args[0]))}", file=sys.stderr)
        return 2
