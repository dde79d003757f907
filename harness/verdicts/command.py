"""python -m harness check: has pytest run the checks against a server, shows each verdict as it comes, and writes the reports."""
import ast
import contextlib
import datetime
import difflib
import json
import math
import os
import platform
import secrets
import shlex
import signal
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import pytest

from harness import language
from harness.language import say
from harness.server import DESIGNS, command_of
from harness.verdicts import formats, plugin
from harness.verdicts.formats import terminal
from harness.verdicts.model import DEADLINE, FAULT, INCONCLUSIVE, Misuse, Report, verdict_from

CHECKS = Path(plugin.__file__).parents[1] / "checks"
WORKERS = min(1 + 2 * (os.cpu_count() or 1), 5)     # checks at once: most of them wait most of the time; each more delays the first verdict


def known():
    """{check: the first lab that needs it}, of all checks, without what stands in brackets where one is done in several ways; they are read, not imported."""
    return {node.name.removeprefix("check_").replace("_", "-"): lab_of(node) for path in sorted(CHECKS.glob("check_*.py"))
            for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")}


def lab_of(node):
    """The lab in its @check(..., lab=N)."""
    return next((word.value.value for mark in node.decorator_list if isinstance(mark, ast.Call) for word in mark.keywords if word.arg == "lab"), 1)


def must_be_known(names, what, choices):
    """Raises Misuse at the first that is none of them, with those that are close."""
    for name in names:
        if name not in choices:
            close = difflib.get_close_matches(name, choices, cutoff=0.7)
            raise Misuse(f"there is no {what} {name}" + (f" (close: {', '.join(close)})" if close else ""))


def read_rubric(path):
    """({check: points}, {hidden checks}) of an instructor's rubric.toml. Raises Misuse."""
    if path is None:
        return {}, set()
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        must_be_known(found, "setting", ("points", "hidden"))
        points, hidden = found.get("points", {}), found.get("hidden", [])
        if not isinstance(points, dict):
            raise Misuse("points is a table: a check and its points in each line")
        if not isinstance(hidden, list) or not all(isinstance(check, str) for check in hidden):
            raise Misuse("hidden is a list of checks")
        for names in points, hidden:
            for stage in set(names) & set(plugin.STAGES):
                raise Misuse(f"{stage} is a stage, and points and hidden go by check")
            must_be_known(names, "check", known())
        for check, value in points.items():
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise Misuse(f"points of {check}: {value!r} is no number, 0 or more")
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeError, Misuse) as error:
        raise Misuse(f"{path}: {error}") from None
    return points, set(hidden)


def must_be_writable(folder, files):
    """Makes the folder of records; what is found out is not to be lost because a file cannot be written. Raises Misuse."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / "settings", *files):
            open(path, "a").close()
    except OSError as error:
        raise Misuse(f"{error.filename}: {error.strerror}") from None


def command_from(options):
    """(command line, design) of the server under check. Raises Misuse."""
    command = list(options.server)
    if len(command) == 1 and command[0] in DESIGNS:
        return command_of(command[0]), options.design or command[0]
    if options.folder and not os.path.isdir(options.folder):
        raise Misuse(f"{options.folder}: no such folder")
    if os.sep in command[0]:
        command[0] = os.path.abspath(os.path.join(options.folder or "", command[0]))
    return command, options.design


@contextlib.contextmanager
def ends_by_signals():
    """Ctrl-C, and what else tells a program to end, ends the run, and nothing of it is left running: what was learnt is kept."""
    def stop(*_):
        for number in told:
            signal.signal(number, signal.SIG_IGN)           # once is enough: what was learnt is yet to be told
        before.clear()
        plugin.end_descendants()
        raise KeyboardInterrupt

    plugin.adopt()
    told = [signal.SIGINT, *(number for number in plugin.LAST_SIGNALS if signal.getsignal(number) != signal.SIG_IGN)]
    before = {number: signal.signal(number, stop) for number in told}
    try:
        yield
    finally:
        plugin.end_descendants()
        for number, handler in before.items():
            signal.signal(number, handler)


def run(options):
    """Runs the checks; returns the Report. Each verdict is shown as it comes. Raises Misuse."""
    command, design = command_from(options)
    points, hidden = read_rubric(options.rubric)
    must_be_known([check.partition("[")[0] for check in options.only or ()], "check", known())
    seed = options.seed or secrets.token_hex(4)
    folder = Path(options.records or tempfile.mkdtemp(prefix="grupo-check-"))
    must_be_writable(folder, [path for _, path in options.outputs])
    replay = ["python", "-m", "harness", "check", *(["--in", options.folder] if options.folder else []), "--seed", seed,
              *(["--design", design] if design else []), "--repeat", str(options.repeat),
              *(["--deadline", f"{options.deadline:g}"] if options.deadline != DEADLINE else []), "--only", "CHECK", "--", *options.server]
    settings = {"command": command, "cwd": os.path.abspath(options.folder or ""), "design": design, "lab": options.lab, "seed": seed,
                "repeat": options.repeat, "only": options.only, "points": points, "hidden": sorted(hidden), "folder": str(folder), "deadline": options.deadline,
                "replay": options.replay.format(seed=seed) if options.replay else shlex.join(replay)}
    file = folder / "settings"
    file.write_text(json.dumps(settings))
    report = Report(list(options.server), design, options.lab, seed, f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
                    f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}", str(folder), options.student)
    began = time.monotonic()
    for verdict in folder.glob("*.json"):
        if verdict.with_suffix(".record").exists():         # of an earlier run
            verdict.unlink()

    broken = []             # why a file of checks could not be read

    class Shows:
        """What the process that the user looks at does with each verdict."""

        def pytest_configure(self, config):
            config.on_verdict = self.show

        def pytest_collectreport(self, report):
            if report.failed:
                broken.append(f"{report.nodeid} could not be read: {report.longreprtext}")

        def show(self, verdict):
            report.verdicts.append(verdict)
            terminal.show(verdict)

    workers = WORKERS if options.workers is None else options.workers
    for name in "PYTEST_ADDOPTS", "PYTEST_PLUGINS":         # meant for other runs of pytest
        os.environ.pop(name, None)
    many = ["-n", str(workers), "--maxschedchunk", "1"] if workers > 1 and (options.workers or not options.only) else ["-p", "no:xdist"]
    shows = Shows()
    with ends_by_signals():
        status = pytest.main([str(CHECKS), "-c", str(CHECKS / "pytest.ini"), "--check-settings", str(file), *many], plugins=[shows])
    if status == pytest.ExitCode.NO_TESTS_COLLECTED and options.only:
        raise Misuse(f"there is no check {' or '.join(options.only)}")
    learnt = {verdict.check for verdict in report.verdicts}
    for path in folder.glob("*.json"):
        if path.stem not in learnt and path.with_suffix(".record").exists():        # judged, but the end came before it was shown
            shows.show(verdict_from(json.loads(path.read_text())))
    report.seconds = round(time.monotonic() - began, 1)
    report.complete = status in (0, 1)
    report.notes += broken
    stages = list(plugin.STAGES)
    report.verdicts.sort(key=lambda verdict: stages.index(verdict.stage))
    if status not in (0, 1, 2):
        report.notes.append(f"pytest ended with status {int(status)}")
    return report


def main(options):
    """Exit status: 0 all that was run passed, 1 something failed, 2 misuse, 3 a harness fault or an inconclusive check, 130 stopped."""
    language.choose(options.lang)
    end = terminal.begin()
    try:
        report = run(options)
        terminal.summary(report)
        if options.replay:              # a learner's folder
            terminal.progress(report)
        for name, path in options.outputs:
            Path(path).write_text(formats.FORMATS[name](report), encoding="utf-8")
    except Misuse as why:
        print(f"check: {say(str(why))}", file=sys.stderr)
        return 2
    finally:
        end()
    if not report.complete:
        return 3 if report.notes else 130
    if report.of(FAULT) or report.of(INCONCLUSIVE):
        return 3
    return 1 if any(verdict.is_amiss for verdict in report.verdicts) else 0
