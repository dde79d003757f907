"""The pytest plugin that makes tests into checks: which are run and when, what their outcome is
called, what people read about it.

A check is an ordinary test in harness/checks/check_STAGE.py, named check_..., under @check(...).
pytest finds it and its fixtures; it runs in a process of its own (pool.py), where a Judge says what
became of it. What the Judge found comes back through a pipe. Its points and title, and whether it
is hidden, are the main process's own.

Servers are in sessions of their own, and what they leave behind becomes a child of the process that
ran the check, or, should that have been killed, of the main one: each ends all its descendants
after each check, and when it ends itself.
"""

import os
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from harness.driving import cells, deadlines
from harness.driving.messages import (
    Message,
    joined,
    listed,
    msg,
    of_text,
    packed,
    template,
    unpacked,
)
from harness.driving.record import CheckFailed, Record
from harness.driving.server import NotStarted, Server, clipped, end_of, tail
from harness.verdicts import causes, locks, sanitizers, sentences, slices
from harness.verdicts.model import (
    FAILED,
    FAULT,
    INCONCLUSIVE,
    NOT_RUN,
    PASSED,
    Failure,
    Verdict,
    failure_from,
)
from harness.verdicts.pace import Pace, measure
from harness.verdicts.pool import Job, Pool, end_descendants

# The stages in order, and the checks without which a stage cannot be judged (nor those of them that
# come later in the list).
STAGES = {
    template("start"): (),
    template("framing"): ("starts", "greets", "takes-requests", "answers-ping"),
    template("membership"): ("greets", "takes-requests", "answers-ping"),
    template("conversation"): ("a-new-member-comes-in",),
    template("dialogues"): ("starts", "greets", "takes-requests", "answers-ping"),
    template("owner"): ("a-new-member-comes-in",),
    template("files"): ("a-new-member-comes-in",),
    template("crowd"): ("everyone-hears-everything",),
    template("peers"): ("everyone-hears-everything",),
    template("schedules"): ("everyone-hears-everything",),
    template("processes"): ("a-new-member-comes-in",),
    template("faults"): ("everyone-hears-everything",),
}
MEASURE = "(pace)"  # the job that times the server, which is no check
TRACE = "(trace)"  # likewise: the one that tries whether it takes --trace, if that is asked for
AT_ONCE = {
    "starts",
    "greets",
    "takes-requests",
    "answers-ping",
}  # these need no pace: so the first verdicts come soon
GRACE = 20  # seconds more than its limit before a check that does not end is killed
MOST_ENTRY = 2000  # characters of an entry that are shown; the record has them all
MOST_TEXT = 100_000  # characters of a failure's text, likewise
STARVED = msg(
    "other programs used this machine's CPUs while the server needed one: run it "
    "again when the machine is less busy"
)
TRACED = msg(
    "This run was traced. Writing a trace slows the server, so a race may appear more or less "
    "often than without it."
)
# What a failure says if processes left the server's session, and outlived it.
STRAYS = template("these are still running:\n{lines}")
TICK = 0.1  # seconds between two beats of the pulse


@dataclass
class Check:
    points: float
    lab: int
    design: str
    rules: str


def check(points=1, lab=1, design=None, rules=""):
    """Makes a test a check: its points, the first lab that needs it, the design that alone it binds
    (None: all), and the ids of the requirements in protocol.md that it checks, as "7-4 7-5".

    Its docstring is its title: one sentence that says what holds.
    """

    def mark(function):
        function.check = Check(points, lab, design, rules)
        return function

    return mark


class NotRun(Exception):
    """The text says why. `binds`: the check is asked of this server, and its points are part of the
    most.
    """

    def __init__(self, why, binds):
        super().__init__(why)
        self.binds = binds


class Inconclusive(Exception):
    """The run is neither passed nor failed; the text says why. `again`: another try may tell."""

    def __init__(self, why, again=True):
        super().__init__(why)
        self.again = again


class OutOfTime(Exception):
    """The check took longer than it may; that is never the server's failure."""


def id_of(nodeid):
    """check_framing.py::check_a_line_in_pieces[tab] is a-line-in-pieces[tab]."""
    return nodeid.partition("::check_")[2].replace("_", "-").replace("/", "-")


def stage_of(item):
    return item.path.stem.removeprefix("check_")


def title_of(item):
    return Message(of_text(" ".join((item.function.__doc__ or id_of(item.nodeid)).split())), {})


def spread(items):
    """Has the checks of the crowd done among those of the stages after the conversation: they
    compute, while most others wait.
    """
    crowd = [item for item in items if stage_of(item) == "crowd"]
    others = [item for item in items if stage_of(item) != "crowd"]
    stages = list(STAGES)
    first = sum(stages.index(stage_of(item)) <= stages.index("conversation") for item in others)
    items[:] = others
    for number, item in enumerate(crowd):
        items.insert(first + number + number * (len(others) - first) // len(crowd), item)


def needs_of(item, chosen):
    """Those of the chosen checks that must have passed before this one."""
    needed = STAGES[stage_of(item)]
    if id_of(item.nodeid) in needed:
        needed = needed[: needed.index(id_of(item.nodeid))]
    return tuple(check for check in needed if check in chosen)


class Pulse(threading.Thread):
    """Beats as long as this process runs at all. `longest`: the most seconds that a beat came late
    (something stopped us; the machine stood still).
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.longest = 0
        self.start()

    def run(self):
        last = time.monotonic()
        while True:
            time.sleep(TICK)  # no wait for anything: it is what is measured
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last - TICK), now


class Run:
    """One run of the checks, in the main process: which are run, in which order, and the Verdict of
    each.

    `settings` says what to check, and how; on_verdict(verdict) is called with each as it comes.
    """

    def __init__(self, settings: dict, on_verdict: Callable[[Verdict], None]):
        self.settings, self.on_verdict = settings, on_verdict
        self.pace = Pace()
        self.verdicts: dict[str, str] = {}  # {check: what became of it}
        self.notes: list[str] = []  # on the whole run

    def pytest_collection_modifyitems(self, items):
        """In the order of the stages, but for the crowd; only those that bind this server."""
        wanted, design, lab = (self.settings[key] for key in ("only", "design", "lab"))
        asked = self.settings["asked"]
        stages = list(STAGES)
        items.sort(key=lambda item: stages.index(stage_of(item)))
        items[:] = [
            item
            for item in items
            if (
                id_of(item.nodeid) in wanted or id_of(item.nodeid).partition("[")[0] in wanted
                if wanted
                else id_of(item.nodeid).partition("[")[0] in asked.checks
                if asked
                else item.function.check.design in (None, design) and item.function.check.lab <= lab
            )
        ]
        spread(items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if session.testsfailed:
            raise session.Interrupted("a file of checks could not be read")
        if session.items:
            self.run(session.items, session.config)
        return True

    def run(self, items, config):
        self.items = {id_of(item.nodeid): item for item in items}
        jobs = [
            Job(
                check,
                lambda item=item: Judge(self.settings, self.pace).judge(item, config),
                (*needs_of(item, self.items), *([] if check in AT_ONCE else [MEASURE])),
            )
            for check, item in self.items.items()
        ]
        if set(self.items) - AT_ONCE:
            place = sum(job.name in AT_ONCE for job in jobs[: len(AT_ONCE)])
            jobs.insert(
                place,
                Job(MEASURE, lambda: asdict(measure(self.measured, self.settings["deadline"]))),
            )
        if self.settings["trace"]:
            for job in jobs:
                job.needs += (TRACE,)
            jobs.insert(0, Job(TRACE, lambda: packed({"why": self.why_not_traced()})))
        Pool(
            self.settings["workers"], lambda: self.pace.limit + GRACE, self.skip, self.finished
        ).run(jobs)

    def measured(self):
        """A server whose pace is measured."""
        folder = tempfile.mkdtemp(dir=self.settings["scratch"])
        args = ("--trace", f"{folder}/trace") if self.settings["trace"] else ()
        return Server(
            self.settings["command"],
            directory=f"{folder}/group",
            args=("--admit", "all", *args),
            cwd=self.settings["cwd"],
            deadline=2 * self.settings["deadline"],
            inherits=False,
        )

    def why_not_traced(self):
        """Why the servers are started without --trace, in a line; '' if they can be traced."""
        try:
            with self.measured() as server:
                server.end()
        except NotStarted:
            return msg("This run was not traced: the server does not start with --trace DIR.")
        trace = Path(server.start["directory"]).with_name("trace")
        return (
            ""
            if any(trace.glob("*.jsonl"))
            else msg(
                "This run was not traced: the server takes --trace DIR, but writes no file *.jsonl "
                "there."
            )
        )

    def skip(self, job):
        """A stage waits for the checks that it needs, and is not run if they did not pass."""
        for needed in job.needs:
            if self.verdicts.get(needed, PASSED) != PASSED:
                return packed(
                    asdict(
                        Result(
                            NOT_RUN,
                            msg("it needs the check `{needed}`, which did not pass", needed=needed),
                        )
                    )
                )
        return None

    def finished(self, job, found):
        """A result, or None if the process that was to give it was killed. Returns a job that is to
        be tried once more.
        """
        if job.name == MEASURE:
            self.pace = Pace(**found) if found else self.pace
            return None
        if job.name == TRACE:
            why = (
                unpacked(found["why"])
                if found
                else msg("This run was not traced: the process that tried --trace DIR was killed.")
            )
            self.settings["trace"] = not why
            self.notes.append(why or TRACED)
            return None
        result = (
            Result(**unpacked(found))
            if found
            else Result(
                FAULT,
                msg(
                    "the process that ran this check was killed, perhaps by the server; run it "
                    "again"
                ),
            )
        )
        if result.verdict == INCONCLUSIVE and result.again and not job.alone:
            return Job(job.name, job.run, job.needs, alone=True)
        verdict = self.verdict(job.name, result)
        self.verdicts[job.name] = verdict.verdict
        self.on_verdict(verdict)
        return None

    def verdict(self, check, result):
        """The Verdict of a check: what its process found, and what the main process knows."""
        item = self.items[check]
        about, name = item.function.check, check.partition("[")[0]
        asked = self.settings["asked"]
        failure = failure_from(result.failure)
        if failure:
            failure.replay = self.settings["replay"].replace("CHECK", check)
        return Verdict(
            check,
            stage_of(item),
            title_of(item),
            result.verdict,
            self.settings["points"].get(name, about.points),
            asked.checks.get(name, self.settings["lab"]) if asked else about.lab,
            binds=result.binds,
            hidden=name in self.settings["hidden"],
            seconds=result.seconds,
            runs=result.runs,
            why=result.why,
            failure=failure,
            record=f"{check}.record",
        )


@dataclass
class Result:
    """What the process of a check found."""

    verdict: str
    why: str = ""
    failure: dict = None
    binds: bool = True
    again: bool = False  # inconclusive, and another try may tell
    runs: int = 1
    seconds: float = 0.0


class Judge:
    """One check, in a process of its own: what its fixtures share, and what became of it."""

    def __init__(self, settings, pace):
        self.settings, self.pace = settings, pace
        self.deadline = pace.deadline(settings["deadline"])
        self.problem = None  # the first exception of the three phases
        self.runs, self.disturbed = 1, ""
        self.notes = []  # what a hunt had to do without
        self.record, self.running = Record(), None
        self.first = 0  # where in the record this run begins
        self.report = None  # the first that a sanitizer wrote

    def judge(self, item, config):
        """Runs it, and returns a Result as a dict."""
        check, began = id_of(item.nodeid), time.monotonic()
        try:
            self.run(item, config)
            self.record.save(Path(self.settings["folder"], f"{check}.record"))
            result = self.result(check)
        except Exception as problem:  # of the Judge's own, or of pytest's
            result = self.fault(check, problem)
        result.runs, result.seconds = self.runs, round(time.monotonic() - began, 3)
        return packed(asdict(result))

    def run(self, item, config):
        self.began, self.pulse = time.monotonic(), Pulse()
        deadlines.DEADLINE = self.deadline
        config.pluginmanager.register(self, "judge")
        with tempfile.TemporaryDirectory(
            dir=self.settings["scratch"], ignore_cleanup_errors=True
        ) as self.scratch:
            if kind := self.settings["sanitizer"]:
                os.environ.update(sanitizers.environment(kind, Path(self.scratch)))
            signal.signal(signal.SIGALRM, self.stop)
            signal.setitimer(signal.ITIMER_REAL, self.pace.limit)
            runtestprotocol(item, nextitem=None, log=False)
            signal.setitimer(signal.ITIMER_REAL, 0)
            strays = cells.current().strays + end_descendants()
            self.keep_trace(Path(self.settings["folder"], f"{id_of(item.nodeid)}.trace"))
            if self.settings["sanitizer"]:
                self.report = sanitizers.first_report(Path(self.scratch))
        if self.report and not isinstance(self.problem, (CheckFailed, NotRun)):
            self.problem = CheckFailed(
                msg("no report of the {kind} sanitizer", kind=self.settings["sanitizer"]),
                msg("it wrote a report"),
            )
        if strays and self.problem is None:
            self.problem = CheckFailed(
                msg("all the server's processes to end with it"),
                msg(STRAYS, lines=strays),
                "leftovers",
            )

    def keep_trace(self, place):
        """Moves what the last server wrote of itself to the records."""
        trace = getattr(self.running, "trace", None)
        if trace and Path(trace).is_dir():
            shutil.rmtree(place, ignore_errors=True)  # of a first try
            self.running.trace = shutil.move(trace, place)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        if call.excinfo is not None and self.problem is None:
            self.problem = call.excinfo.value
            if isinstance(self.problem, CheckFailed) and self.running is not None:
                causes.look(self.problem, self.record, self.running)  # while the server still runs
        return (yield)

    @staticmethod
    def stop(*_):
        raise OutOfTime

    def has_time_for(self, seconds):
        """Whether another round, which takes about so long, may begin."""
        return time.monotonic() + seconds < self.began + self.pace.budget

    def result(self, check):
        """Only what the server did makes a failure; what went wrong with the check itself is a
        fault of the harness.
        """
        problem = self.problem
        if problem is None:
            return Result(PASSED, listed(self.notes, "; ") if self.notes else "")
        if isinstance(problem, NotRun):
            return Result(NOT_RUN, problem.args[0], binds=problem.binds)
        if isinstance(problem, Inconclusive):
            return Result(INCONCLUSIVE, problem.args[0], again=problem.again)
        if isinstance(problem, OutOfTime) and self.pace.slowness:
            return Result(
                INCONCLUSIVE,
                msg("the time for this check ran out: {slowness}", slowness=self.pace.slowness),
            )
        if isinstance(problem, CheckFailed):
            if why := self.not_its_fault(problem):
                return Result(INCONCLUSIVE, why, again=True)
            return Result(FAILED, failure=asdict(self.failure(check, problem)))
        return self.fault(check, problem)

    def fault(self, check, problem):
        """What went wrong with the harness, and where its traceback is."""
        path = Path(self.settings["folder"], f"{check}.traceback")
        path.write_text(
            "".join(traceback.format_exception(problem)),
            encoding="utf-8",
            errors="backslashreplace",
        )
        what = (
            msg("it took more than {seconds:.0f} s", seconds=self.pace.limit)
            if isinstance(problem, OutOfTime)
            else f"{type(problem).__name__}: {problem}"
        )
        return Result(FAULT, msg("{what} ({path})", what=what, path=path))

    def not_its_fault(self, problem):
        """Why what did not come, or came late, may be the machine's fault, in a line; '' if it
        cannot.
        """
        server = self.running
        if (
            self.report
            or getattr(problem, "proven", False)
            or (server is not None and (server.died() or server.excessive()))
        ):
            return ""
        if self.pulse.longest > deadlines.DEADLINE / 4:
            return msg(
                "the check itself was stopped for {seconds:.0f} s, and did not see in "
                "time what came meanwhile: run it again",
                seconds=self.pulse.longest,
            )
        return STARVED if server is not None and server.starved else ""

    def failure(self, check, problem):
        """What there is to say of a failure."""
        server, came = self.running, problem.actual
        sentence, cause, page = causes.find(
            problem, check, self.record.entries[self.first :], server
        )
        if self.report:
            sentence, cause, page = sanitizers.cause_of(self.settings["sanitizer"], self.report)
        if server is not None and server.excessive():
            came = msg("{excess}, so the check ended it", excess=server.excess())
        elif server is not None and server.died():
            came = joined(
                came,
                msg(
                    "The server {end}. Its last lines on stderr:", end=end_of(server.process.poll())
                ),
                tail(server.stderr) or [msg("(none)")],
            )
        shown, wrong = slices.shown(
            self.record.entries[self.first :], problem.expected, came, problem.evidence
        )
        shown = [entry._replace(text=clipped(entry.text, MOST_ENTRY)) for entry in shown]
        return Failure(
            sentence,
            sentences.steps(self.record.entries[self.first :]),
            clipped(problem.expected, MOST_TEXT),
            clipped(came, MOST_TEXT),
            cause,
            page,
            self.disturbed
            and msg("run {runs}, {disturbed}", runs=self.runs, disturbed=self.disturbed),
            "",
            shown,
            wrong,
            locks.between(locks.of_server(server), shown, wrong),
            problem.order,
        )
