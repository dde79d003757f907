"""python -m harness check: has pytest run the checks against a server, shows each verdict as it
comes, and writes the reports.
"""

import contextlib
import datetime
import glob
import os
import platform
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.arguments import positive, seconds
from harness.driving.messages import msg
from harness.driving.server import DESIGNS, command_of
from harness.output import put_all, written_first
from harness.verdicts import catalogue, formats, language, plugin, pool, rubric
from harness.verdicts.catalogue import known, must_be_known
from harness.verdicts.formats import terminal
from harness.verdicts.language import LANGUAGES, say
from harness.verdicts.model import DEADLINE, FAILED, Report, UsageError
from harness.verdicts.temporary import TemporaryFolder

CHECKS = Path(plugin.__file__).parents[1] / "checks"
WORKERS = min(
    1 + 2 * (os.cpu_count() or 1), 5
)  # checks at once: most of them wait most of the time; each more delays the first verdict


def must_be_writable(folder, files):
    """Makes the folder of records, and tries where put() will write: a report is not to be lost at
    the end. Raises UsageError.
    """
    path = folder
    try:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        for path in files:
            place = written_first(path)
            with open(place, "a"):
                pass
            if place != path:
                os.unlink(place)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def forget(path):
    """Removes a file of an earlier run, if it can be removed."""
    if written_first(path) != path:
        with contextlib.suppress(OSError):
            os.unlink(path)


def command_from(options):
    """(command line, design) of the server under check. Raises UsageError."""
    command = list(options.server)
    if len(command) == 1 and command[0] in DESIGNS:
        return command_of(command[0]), options.design or command[0]
    if options.folder and not os.path.isdir(options.folder):
        raise UsageError(msg("{folder}: no such folder", folder=options.folder))
    if os.sep in command[0]:
        command[0] = os.path.abspath(os.path.join(options.folder or "", command[0]))
    return command, options.design


@contextlib.contextmanager
def ends_by_signals():
    """Ctrl-C, and what else tells a program to end, ends the run, and nothing of it is left
    running: what was learnt is kept.
    """

    def stop(*_):
        for number in told:
            signal.signal(number, signal.SIG_IGN)  # once is enough: the report is still to come
        before.clear()
        pool.end_descendants()
        raise KeyboardInterrupt

    pool.adopt()
    told = [
        signal.SIGINT,
        *(number for number in pool.LAST_SIGNALS if signal.getsignal(number) != signal.SIG_IGN),
    ]
    before = {number: signal.signal(number, stop) for number in told}
    try:
        yield
    finally:
        pool.end_descendants()
        for number, handler in before.items():
            signal.signal(number, handler)


class Broken:
    """A plugin that keeps why a file of checks could not be read, in `why`."""

    def __init__(self):
        self.why = []

    def pytest_collectreport(self, report):
        if report.failed:
            self.why.append(
                msg(
                    "{nodeid} could not be read: {longreprtext}",
                    nodeid=report.nodeid,
                    longreprtext=report.longreprtext,
                )
            )


def report_of(options, design, seed, folder):
    """The Report of a run that is about to begin."""
    return Report(
        list(options.server),
        design,
        options.lab,
        seed,
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        msg(
            "{cpu_count} cores, {system} {release}, Python {python_version}",
            cpu_count=os.cpu_count(),
            system=platform.system(),
            release=platform.release(),
            python_version=platform.python_version(),
        ),
        str(folder or ""),
        options.student,
        track=options.asked.track if options.asked else "",
    )


def run(options, folder, graded=None):
    """Runs the checks; returns the Report. Each verdict is shown as it comes. Raises UsageError.

    folder: of the records. graded: the Rubric, by default that of options.rubric.
    """
    command, design = command_from(options)
    graded = graded or rubric.read(options.rubric)
    must_be_known([check.partition("[")[0] for check in options.only or ()], "check", known())
    must_be_writable(
        options.records and Path(options.records), [path for _, path in options.outputs]
    )
    seed = options.seed or secrets.token_hex(4)
    for old in (*folder.glob("*.record"), *folder.glob("*.traceback")):
        forget(old)
    for old in folder.glob("*.trace"):
        shutil.rmtree(old, ignore_errors=True)
    replay = [
        "python",
        "-m",
        "harness",
        "check",
        *(["--in", options.folder] if options.folder else []),
        "--seed",
        seed,
        *(["--design", design] if design else []),
        "--repeat",
        str(options.repeat),
        *(["--deadline", f"{options.deadline:g}"] if options.deadline != DEADLINE else []),
        *(["--trace"] if options.trace else []),
        "--only",
        "CHECK",
        "--",
        *options.server,
    ]
    report = report_of(options, design, seed, folder)
    report.predictions = options.predictions
    began = time.monotonic()

    def show(verdict):
        report.verdicts.append(verdict)
        terminal.show(verdict, report.predictions)

    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]  # meant for other runs of pytest
    os.environ.pop("PYTHONUNBUFFERED", None)  # a server is to flush by itself
    pool.hide()
    broken = Broken()
    with TemporaryFolder() as scratch, ends_by_signals():
        checks = plugin.Run(
            {
                "command": command,
                "cwd": os.path.abspath(options.folder or ""),
                "design": design,
                "lab": options.lab,
                "seed": seed,
                "repeat": options.repeat,
                "only": options.only,
                "asked": options.asked,
                "points": graded.points,
                "hidden": graded.hidden,
                "folder": str(folder),
                "scratch": str(scratch.path),
                "deadline": options.deadline,
                "trace": options.trace,
                "sanitizer": options.sanitizer,
                "workers": options.workers or WORKERS,
                "replay": options.replay.format(seed=seed)
                if options.replay
                else shlex.join(replay),
            },
            show,
        )
        status = pytest.main(
            [str(CHECKS), "-c", str(CHECKS / "pytest.ini")], plugins=[checks, broken]
        )
    if status == pytest.ExitCode.NO_TESTS_COLLECTED and options.only:
        raise UsageError(msg("there is no check {name}", name=", ".join(options.only)))
    report.seconds = round(time.monotonic() - began, 1)
    report.complete = status in (0, 1)
    report.notes += checks.notes + broken.why
    if options.sanitizer:
        report.notes.append(
            msg(
                "With the {kind} sanitizer the server is slower and needs more memory: a check of "
                "time or memory that failed without a report of it says little.",
                kind=options.sanitizer,
            )
        )
    report.pace = {step: round(took, 4) for step, took in asdict(checks.pace).items()}
    if report.complete and checks.pace.slowness:
        report.notes.append(checks.pace.slowness)
    report.verdicts.sort(key=lambda verdict: catalogue.place(verdict.check))
    if not options.only and (verdict := graded.count_broken(report)):
        terminal.show(verdict)
    if status not in (0, 1, 2):
        report.notes.append(msg("pytest ended with status {int}", int=int(status)))
    return report


def status_of(report):
    """The exit status: 130 stopped, else 1 something failed, else 3 something could not be judged,
    else 0.
    """
    if not report.complete:
        return 3 if report.notes else 130
    if report.of(FAILED):
        return 1
    return 3 if any(verdict.is_amiss for verdict in report.verdicts) else 0


def tidy(report):
    """Of a folder of records that nobody asked for, leaves those of the checks that did not pass;
    if all passed, nothing.
    """
    folder, kept = Path(report.folder), set()
    for verdict in report.verdicts:
        if verdict.is_amiss:
            kept |= {path.name for path in folder.glob(f"{glob.escape(verdict.check)}.*")}
        else:
            verdict.record = ""
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not kept:
        folder.rmdir()
        report.folder = ""


def refusal(options, why, graded):
    """The Report of a program that cannot be run: no points of all that this Rubric gives, and
    why.
    """
    report = report_of(options, options.design, options.seed or "", "")
    asked = options.asked and set(options.asked.checks)
    report.refused, report.possible = why, graded.possible(options.lab, options.design, asked)
    return report


def refuse(options, why):
    """Gives a result, in every form that was asked for, of a program that cannot be run: no points,
    and why. Returns the exit status.
    """
    report = refusal(options, why, rubric.read(options.rubric))
    must_be_writable(None, [path for _, path in options.outputs])
    write(report, options.outputs)
    return 1


def write(report, outputs):
    """The report in each form, into its file. Raises UsageError, when all others are written."""
    try:
        put_all((path, lambda name=name: formats.FORMATS[name](report)) for name, path in outputs)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None


def tell(options, report):
    """The report on the screen."""
    terminal.summary(report)
    if options.replay:  # a learner's folder
        terminal.progress(report)
    terminal.advise(report)


def judging(parser):
    """Adds what every command takes that runs the checks."""
    parser.add_argument("--seed", help="the same seed makes the same names, texts and disturbances")
    parser.add_argument(
        "--repeat",
        type=positive,
        default=5,
        metavar="K",
        help="disturbed runs of each hunt for a race, beside one undisturbed (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--deadline",
        type=seconds,
        default=DEADLINE,
        metavar="S",
        help="seconds that a server may take for anything, more where the machine is slow "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        metavar="CHECK",
        help="only these checks, whatever they need; may be given again",
    )
    parser.add_argument(
        "--rubric",
        metavar="FILE",
        help="an instructor's rubric.toml: points of checks, hidden checks",
    )
    parser.add_argument(
        "--records",
        metavar="DIR",
        help="keep there what happened in all checks (default: a new temporary folder, only of "
        "those that did not pass)",
    )
    parser.add_argument(
        "--trace",
        action="store_true",
        help="start the server with `--trace DIR`, if it takes that, as ours do: a failing run "
        "then shows which thread held which lock "
        "between its events, and the records keep the trace. Writing it slows the server, so a "
        "race may appear more or less often",
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="checks at once (default: 5, on one core 3)"
    )
    parser.add_argument(
        "--student", default="", metavar="LOGIN", help="the student in the line for Canvas"
    )
    parser.add_argument(
        "--lang",
        choices=LANGUAGES,
        help="of what is shown, and of the forms for students (default: the locale's, else en)",
    )
    parser.set_defaults(outputs=[], replay=None, asked=None, sanitizer=None, predictions=[])
    # Forms in which `check` writes what it found.
    outputs = {
        "json": "all that was found, as JSON",
        "junit": "JUnit XML",
        "html": "one page that needs nothing else",
        "gradescope": "Gradescope's results.json",
        "classroom50": "Classroom 50's result.json",
        "autolab": "Autolab's last line",
        "prairielearn": "PrairieLearn's results.json",
        "canvas": "a line for Canvas's gradebook, as CSV",
    }
    for name, about in outputs.items():
        parser.add_argument(
            f"--{name}",
            dest="outputs",
            action="append",
            metavar="FILE",
            type=lambda path, name=name: (name, path),
            help=about,
        )


def arguments(parser):
    """Adds what `harness check` takes."""
    parser.add_argument(
        "server",
        nargs="*",
        metavar="COMMAND",
        help=f"after `--`: the server's command line; or one of ours: {', '.join(DESIGNS)}",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="only show the checks, by stage: id, lab, points, title; with --lab and --design "
        "those that are asked",
    )
    parser.add_argument("--design", choices=DESIGNS, help="also check what this design promises")
    parser.add_argument(
        "--lab",
        type=int,
        default=8,
        metavar="N",
        choices=range(9),
        help="only what is asked up to lab N",
    )
    parser.add_argument(
        "--in", dest="folder", metavar="DIR", help="run the server there (default: here)"
    )
    judging(parser)


def take_server(options):
    """`--only starts pthread`: the last word that --only took is the server, if it is one of ours
    and no other is named. Raises UsageError.
    """
    if not options.server and options.only and options.only[-1] in DESIGNS:
        options.server = [options.only.pop()]
    if not options.server or options.only == []:
        lacks = (
            msg("no check is named after --only") if options.server else msg("no server is named")
        )
        raise UsageError(
            msg(
                "{lacks}: write the checks, then `--`, then the server's command line, as in: "
                "check --only starts greets -- ./my_server",
                lacks=lacks,
            )
        )


def main(options):
    """Exit status as of check(); 0 for a list; 2 misuse."""
    if options.list:
        language.choose(options.lang)
        print("\n".join(catalogue.as_lines(options.lab, options.design)))
        return 0
    begin(options)
    try:
        take_server(options)
    except UsageError as why:
        print(f"check: {say(why.args[0])}", file=sys.stderr)
        return 2
    return check(options)


def begin(options):
    """What a command that judges does before all else: from here on, whatever happens, no result of
    an earlier run is taken for this one's.
    """
    language.choose(options.lang)
    for _, path in options.outputs:
        forget(path)


def check(options):
    """Checks options.server after begin(options), and shows and writes what was found. Exit status
    as of status_of(); 2 misuse, 3 also if the harness itself fails.
    """
    end = terminal.begin()
    temporary = None
    try:
        if options.records is None:
            temporary = TemporaryFolder()
        report = run(options, temporary.path if temporary else Path(options.records))
        if temporary:
            with contextlib.suppress(
                OSError
            ):  # a file that cannot be removed is no reason to lose the report
                tidy(report)
            temporary.keep()
        try:
            write(report, options.outputs)
        finally:
            tell(options, report)
    except UsageError as why:
        print(f"check: {say(why.args[0])}", file=sys.stderr)
        return 2
    except Exception:  # of ours: with status 1 it would be taken for the server's failure
        traceback.print_exc()
        return 3
    finally:
        if temporary:
            temporary.close()
        end()
    return status_of(report)
