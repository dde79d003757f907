"""The pytest plugin that makes tests into checks: which are run and when, what their outcome is called, what is told of it.

A check is an ordinary test in harness/checks/check_STAGE.py, named check_..., under @check(...). Each is judged in the process
that ran it and written to the run's folder before the next begins, so that whatever happens later, that much is known.

Servers are in sessions of their own, and what they leave behind becomes a child of the process that ran the check, or, should
that have been killed, of the main one: each ends all its descendants after each check, and when it ends itself.
"""
import contextlib
import ctypes
import json
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pytest

from harness import wire
from harness.record import DEEDS, Record, Unmet
from harness.server import clipped, end_of, tail
from harness.verdicts import causes, sentences
from harness.verdicts.model import FAILED, FAULT, INCONCLUSIVE, NOT_RUN, PASSED, Failure, Verdict, verdict_from

# The stages in order, and the checks without which a stage cannot be judged (nor those of them that come later in the list).
STAGES = {"start": (), "framing": ("starts", "greets", "takes-requests", "answers-ping"), "membership": ("greets", "takes-requests", "answers-ping"), "conversation": ("a-new-member-comes-in",),
          "owner": ("a-new-member-comes-in",), "files": ("a-new-member-comes-in",), "crowd": ("everyone-hears-everything",),
          "peers": ("everyone-hears-everything",), "processes": ("a-new-member-comes-in",), "faults": ("everyone-hears-everything",)}
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LAST_SIGNALS = signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT       # beside SIGINT
MOST_SLICE = 40             # entries of a record that a failure shows, if the check names none
MOST_ENTRY = 2000           # characters of an entry that are shown; the record has them all
MOST_TEXT = 100_000         # characters of a failure's text, likewise
STARVED = "other programs had this machine's CPUs while the server wanted one: run it again when less is going on"
TICK = 0.1                  # seconds between two beats of the pulse


@dataclass
class Check:
    points: float
    lab: int
    design: str


def check(points=1, lab=1, design=None):
    """Makes a test a check: its points, the first lab that needs it, and the design that alone it binds (None: all).

    Its docstring is its title: one sentence that says what holds.
    """
    def mark(function):
        function.check = Check(points, lab, design)
        return function
    return mark


class NotRun(Exception):
    """The text says why. `binds`: the check is asked of this server, and its points are part of the most."""

    def __init__(self, why, binds):
        super().__init__(why)
        self.binds = binds


class Inconclusive(Exception):
    """The run can neither be passed nor failed; the text says why."""


def id_of(nodeid):
    """check_framing.py::check_a_line_in_pieces[tab] is a-line-in-pieces[tab]."""
    return nodeid.partition("::check_")[2].replace("_", "-").replace("/", "-")


def stage_of(item):
    return item.path.stem.removeprefix("check_")


def spread(items):
    """Has the checks of the crowd done among those of the stages after the conversation: they compute, while most others wait."""
    crowd = [item for item in items if stage_of(item) == "crowd"]
    others = [item for item in items if stage_of(item) != "crowd"]
    stages = list(STAGES)
    first = sum(stages.index(stage_of(item)) <= stages.index("conversation") for item in others)
    items[:] = others
    for number, item in enumerate(crowd):
        items.insert(first + number + number * (len(others) - first) // len(crowd), item)


def verdict_file(folder, check):
    return Path(folder, f"{check}.json")


def pytest_addoption(parser):
    parser.addoption("--check-settings", help="the file that harness.verdicts.command wrote")


def pytest_configure(config):
    settings = json.loads(Path(config.getoption("--check-settings")).read_text())
    config.pluginmanager.register(Judge(config, settings), "judge")
    adopt()
    os.environ.pop("PYTHONUNBUFFERED", None)    # a server is to flush by itself
    if hasattr(config, "workerinput"):  # one of several processes that run checks: the main one decides when all end
        signal.signal(signal.SIGINT, lambda *_: None)       # not SIG_IGN, which servers would inherit
        for number in LAST_SIGNALS:
            signal.signal(number, give_up)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def adopt():
    """What a server leaves behind becomes a child of this process, so that it can be ended."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def give_up(*_):
    """The main process is gone, or all are told to go: leave nothing running."""
    end_descendants()
    os._exit(1)


class Pulse(threading.Thread):
    """Beats as long as this process runs at all. `longest`: the most seconds that a beat came late (somebody stopped us; the machine stood still)."""

    def __init__(self):
        super().__init__(daemon=True)
        self.longest = 0
        self.start()

    def run(self):
        last = time.monotonic()
        while True:
            time.sleep(TICK)            # no wait for anything: it is what is measured
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last - TICK), now


class Judge:
    def __init__(self, config, settings):
        self.config, self.settings, self.folder = config, settings, Path(settings["folder"])
        self.item = self.record = self.running = None
        self.chosen = set()
        self.pulse = Pulse()

    # -- Which

    def pytest_collection_modifyitems(self, config, items):
        """In the order of the stages, but for the crowd; only those that bind this server."""
        wanted, design, lab = (self.settings[key] for key in ("only", "design", "lab"))
        stages = list(STAGES)
        items.sort(key=lambda item: stages.index(stage_of(item)))
        items[:] = [item for item in items if (id_of(item.nodeid) in wanted or id_of(item.nodeid).partition("[")[0] in wanted if wanted else
                                               item.function.check.design in (None, design) and item.function.check.lab <= lab)]
        self.chosen = {id_of(item.nodeid) for item in items}
        spread(items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        """A stage waits for the checks that it needs, and is not run if they did not pass."""
        for needed in STAGES[stage_of(item)]:
            if needed == id_of(item.nodeid):
                break
            if needed in self.chosen:
                path = verdict_file(self.folder, needed)
                with contextlib.suppress(Unmet):
                    wire.wait_until(path.exists, 300)
                if not path.exists():
                    raise LookupError(f"no verdict of {needed} came")
                if json.loads(path.read_text())["verdict"] != PASSED:
                    raise NotRun(f"it needs `{needed}`, which did not pass", binds=True)

    # -- What came of it

    def pytest_runtest_logstart(self, nodeid):
        self.began = time.monotonic()
        self.problem = None             # the first exception of the three phases
        self.runs, self.disturbed = 1, ""
        self.notes = []                 # what a hunt had to do without
        self.pulse.longest = 0
        self.record, self.running = Record(), None
        self.first = 0                  # where in the record this run begins
        wire.DEADLINE = self.settings["deadline"]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        self.item = item
        if call.excinfo is not None and self.problem is None:
            self.problem = call.excinfo.value
            if isinstance(self.problem, Unmet) and self.running is not None:
                causes.look(self.problem, self.record, self.running)        # while the server still runs
        return (yield)

    def pytest_keyboard_interrupt(self, excinfo):
        """We were told to stop, and ended the servers ourselves: that none of them lives is not to be judged when the check is taken down."""
        self.problem = excinfo.value

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self, nodeid):
        if self.item is not None:       # else a worker judged it
            self.write_verdict()
        if shows := getattr(self.config, "on_verdict", None):      # where the user looks on: not in a worker of xdist
            shows(verdict_from(json.loads(verdict_file(self.folder, id_of(nodeid)).read_text())))

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem):
        """The process that ran this check is gone, and what it had started is ours now."""
        end_descendants(of=lambda child: os.getsid(child.pid) != os.getsid(0))      # not the others that run checks
        check = id_of(crashitem)
        if not verdict_file(self.folder, check).exists():
            verdict_file(self.folder, check).with_suffix(".record").touch()
            self.keep(Verdict(check, Path(crashitem.partition("::")[0]).stem.removeprefix("check_"), check, FAULT,
                              self.points(check, 1), hidden=self.hides(check),
                              why="the process that ran this check was killed, perhaps by the server; run it again"))
        self.pytest_runtest_logfinish(crashitem)

    def write_verdict(self):
        strays = end_descendants()
        item, problem = self.item, self.problem
        check, about = id_of(item.nodeid), item.function.check
        if strays and problem is None:
            problem = Unmet("all the server's processes to end with it", "these lived on:\n" + "\n".join(strays), "leftovers")
        record = self.folder / f"{check}.record"
        self.record.save(record)
        verdict = Verdict(check, stage_of(item), " ".join((item.function.__doc__ or check).split()), PASSED,
                          self.points(check, about.points), about.lab, hidden=self.hides(check),
                          seconds=round(time.monotonic() - self.began, 3), runs=self.runs, record=record.name)
        if isinstance(problem, NotRun):
            verdict.verdict, verdict.why, verdict.binds = NOT_RUN, str(problem), problem.binds
        elif isinstance(problem, Inconclusive):
            verdict.verdict, verdict.why = INCONCLUSIVE, str(problem)
        elif isinstance(problem, (AssertionError, OSError, UnicodeError, pytest.fail.Exception)):
            if why := self.not_its_fault(problem):
                verdict.verdict, verdict.why = INCONCLUSIVE, why
            else:
                verdict.verdict, verdict.failure = FAILED, self.failure(check, problem)
        elif problem is not None:
            verdict.verdict, verdict.why = FAULT, f"{type(problem).__name__}: {problem}"
        else:
            verdict.why = "; ".join(self.notes)
        self.keep(verdict)
        self.item = None

    def points(self, check, otherwise):
        """What the instructor's rubric gives it."""
        return self.settings["points"].get(check.partition("[")[0], otherwise)

    def hides(self, check):
        return check.partition("[")[0] in self.settings["hidden"]

    def keep(self, verdict):
        path = verdict_file(self.folder, verdict.check)
        path.with_suffix(".part").write_text(json.dumps(asdict(verdict)))
        path.with_suffix(".part").replace(path)             # at once: another worker may be waiting for it

    def not_its_fault(self, problem):
        """Why what did not come, or came late, may be the machine's fault, in a line; '' if it cannot."""
        server = self.running
        if getattr(problem, "proven", False) or server is not None and (server.died() or server.excessive()):
            return ""
        if self.pulse.longest > wire.DEADLINE / 4:
            return f"the check itself stood still for {self.pulse.longest:.0f} s, and what came meanwhile was not seen in time: run it again"
        return STARVED if server is not None and server.starved else ""

    def failure(self, check, problem):
        """What there is to say of a failure."""
        if isinstance(problem, pytest.fail.Exception):      # pytest-timeout
            problem = Unmet("an end of the check", "it did not come to an end; the server kept it busy, or let it wait again and again", "endless")
        elif not isinstance(problem, Unmet):
            problem = Unmet("the connection to be as it should", f"{type(problem).__name__}: {problem}")
        server, came = self.running, problem.came
        sentence, cause, page = causes.find(problem, check, self.record.entries[self.first:], server)
        if server is not None and server.excessive():
            came = f"{server.excess()}, and was ended for it"
        elif server is not None and server.died():
            came = "\n".join([came, f"The server {end_of(server.process.poll())}. Its last lines on stderr:", *(tail(server.stderr) or ["(none)"])])
        shown = [entry._replace(text=clipped(entry.text, MOST_ENTRY)) for entry in problem.evidence or last_entries(self.record.entries[self.first:])]
        return Failure(sentence, sentences.steps(self.record.entries[self.first:]), clipped(problem.expected, MOST_TEXT), clipped(came, MOST_TEXT), cause, page,
                       self.disturbed and f"run {self.runs}, {self.disturbed}", self.settings["replay"].replace("CHECK", check), shown)


def last_entries(entries):
    """From the last deed of a client or the owner on: what came of it."""
    last = max((place for place, entry in enumerate(entries) if entry.what in DEEDS and entry.what != "closes"), default=0)
    start = max(0, min(last, len(entries) - MOST_SLICE))
    return [entry for entry in entries[start:] if entry.what != "closes"][:MOST_SLICE]


def descendants(of):
    """The processes that descend from those children of this one of which `of` is true."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, OSError):
            found += [child, *child.children(recursive=True)] if of(child) else []
    return found


def end_descendants(of=None):
    """Ends every process that descends from this one, or only descendants(of), and reaps those that became ours.

    Returns what they were, as texts.
    """
    found = {}
    end = time.monotonic() + 10
    while (children := descendants(of) if of else psutil.Process().children(recursive=True)) and time.monotonic() < end:
        for child in children:
            with contextlib.suppress(psutil.Error, OSError):
                if child.status() != psutil.STATUS_ZOMBIE:
                    if len(found) < MOST_SLICE:
                        found[child.pid] = f"pid {child.pid}: {' '.join(child.cmdline()) or child.name()}"
                    if (group := os.getpgid(child.pid)) != os.getpgid(0):
                        os.killpg(group, signal.SIGKILL)    # a whole group at one stroke: who forks without end cannot outrun it
                    os.kill(child.pid, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ChildProcessError):    # not ours yet: its parent is still ending
                os.waitpid(child.pid, os.WNOHANG)
        time.sleep(0.005)
    return list(found.values())
