"""python -m harness compare: runs each workload on all three servers, checks it, and draws it.

Each server runs each workload three times, the designs in turn: a single run on a busy machine says
more about the machine than about the server. The result is text, numbers as JSON, or one HTML page
that needs no network.
"""

import argparse
import html as markup
import itertools
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from harness import output
from harness.driving.messages import template
from harness.driving.record import CheckFailed
from harness.driving.server import DESIGNS
from harness.tracing import figures, films, perfetto, runs
from harness.tracing.figures import base
from harness.tracing.figures.base import ms
from harness.tracing.traces import Run
from harness.tracing.workloads import ABOUT, NAMES
from harness.verdicts import language
from harness.verdicts.formats import player
from harness.verdicts.language import say

# The figures of a workload, besides its swimlanes and its numbers.
MORE = {
    "calm": ["journeys"],
    "everyone-at-once": ["deliveries", "lock_board"],
    "one-expensive-request": ["deliveries"],
    "a-member-who-stops-reading": ["fill", "deliveries"],
    "password-storm": ["loop_turns"],
    "half-a-line": [],
    "mass-arrival-and-departure": ["loop_turns", "lock_board"],
}
STYLE = """
:root { color-scheme: light dark; --ground: Canvas }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto;
  padding: 0 1rem; color: CanvasText; background: Canvas }
h2 { margin-top: 3rem; border-top: 2px solid; padding-top: .5rem }
figcaption { max-width: 70rem; font-size: .9rem; opacity: .85 }
table { border-collapse: collapse; font-size: .92rem }
th, td { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #999 }
th:first-child, td:first-child { text-align: left }
.bad { color: #d55e00; font-weight: bold }
details { margin: .3rem 0 1.5rem }
.scroll { overflow-x: auto; max-height: 30rem }
"""
MOST_ROWS = 200  # of a figure's table that the page shows
ROUNDS = 3  # runs of each workload on each server
WORKLOADS = template("{count} workload"), template("{count} workloads")
NOISE = 0.10  # of the processors: if other programs had more, a difference says little
TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds: the step of the clock that counts processor time


class Failed:
    """A server that did not start, or refused the members. `why`: the reason."""

    def __init__(self, design: str, why: str):
        self.design = self.title = design
        self.why = why


@dataclass
class Trials:
    """The runs of one workload on one design."""

    design: str
    runs: list[Run | Failed] = field(default_factory=list)

    @property
    def good(self) -> list[Run]:
        """The runs that came to their end."""
        return [run for run in self.runs if not isinstance(run, Failed)]

    @property
    def middle(self) -> Run | Failed:
        """The run that is drawn: of those that came to their end, the middle one by late lines."""
        by_late = sorted(self.good, key=lambda run: (numbers(run)["late"], run.span[1]))
        return by_late[(len(by_late) - 1) // 2] if by_late else self.runs[0]

    def verdicts(self) -> list[str]:
        """Returns, of each run that went wrong, which rule did not hold or why it failed."""
        told = [run.why if isinstance(run, Failed) else run.about["verdict"] for run in self.runs]
        return [why for why in told if why]


Results = list[Trials]  # of one workload, one for each design


class Pace(NamedTuple):
    """What all processors did, in seconds of processor time, since some moment."""

    at: float
    busy: float
    ours: float

    @classmethod
    def now(cls) -> "Pace":
        """Returns what has been used until now, by all programs and by this one."""
        every = psutil.cpu_times()
        mine = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        ours = sum(one.ru_utime + one.ru_stime for one in mine)
        return cls(time.monotonic(), every.user + every.nice + every.system, ours)

    def others(self) -> float:
        """Returns the share of all processors that other programs have had since then."""
        now, cores = Pace.now(), os.cpu_count() or 1
        other = (now.busy - self.busy) - (now.ours - self.ours)
        return min(1.0, max(0.0, other / (cores * max(now.at - self.at, 1e-9))))


def compare(
    workloads: Sequence[str],
    folder: str | Path,
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Results]:
    """Runs each workload ROUNDS times on each design, and keeps FOLDER/WORKLOAD/DESIGN/ROUND.

    say         called with a line before each run

    Returns {workload: Trials of each design}.
    """
    results: dict[str, Results] = {}
    for workload in workloads:
        results[workload] = [Trials(design) for design in DESIGNS]
        for number, trials in itertools.product(range(1, ROUNDS + 1), results[workload]):
            say(f"{workload}: {trials.design}, {number} of {ROUNDS}")
            place = Path(folder, workload, trials.design, str(number))
            try:
                trials.runs.append(runs.run(trials.design, workload, place))
            except (CheckFailed, OSError) as error:
                trials.runs.append(Failed(trials.design, str(error)))
    return results


def numbers(run: Run | Failed) -> dict[str, Any]:
    """Returns the measures of a run: seconds, bytes, counts; {"design", "failed"} of a Failed."""
    if isinstance(run, Failed):
        return {"design": run.design, "failed": run.why}
    ordinary = [one for one in run.deliveries if one.listener not in run.groups]
    latencies = sorted(one.latency for one in ordinary if one.latency is not None)
    verdicts = Counter(one.verdict for one in ordinary)
    wrong = ("late", "out of order", "twice", "lost")
    used = ("processes", "threads", "descriptors", "memory", "cpu", "clients")
    return {
        "design": run.design,
        "verdict": run.about.get("verdict", ""),
        "missing": run.missing,
        "seconds": round(run.span[1] - run.span[0], 4),
        "deliveries": len(latencies),
        **{verdict.replace(" ", "_"): verdicts[verdict] for verdict in wrong},
        "median": statistics.median(latencies) if latencies else None,
        "p99": latencies[int(len(latencies) * 0.99)] if latencies else None,
        "longest": latencies[-1] if latencies else None,
        **{name: run.card.get(name) for name in used},
        "events": len(run.events),
        "sink": run.sink,
    }


def processor(seconds: float) -> str:
    """Returns a processor time, which the kernel counts in ticks."""
    if seconds < TICK:
        return say("under {time}", time=f"{TICK * 1e3:.0f} ms")
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else base.local(f"{seconds:.2f} s")


def whole(number: float) -> str:
    """Returns a count."""
    return base.local(f"{number:,.0f}")


# (title, the field of numbers(), how to show a value of it)
ROWS: list[tuple[str, str, Callable[[Any], str]]] = [
    (template("deliveries to ordinary members"), "deliveries", whole),
    (template("late (over 10 ms)"), "late", whole),
    (template("lost"), "lost", whole),
    (template("twice"), "twice", whole),
    (template("out of order"), "out_of_order", whole),
    (template("from SAY to receipt: median"), "median", ms),
    (template("99 of 100 came within"), "p99", ms),
    (template("longest"), "longest", ms),
    (template("took"), "seconds", ms),
    (template("processes"), "processes", whole),
    (template("threads"), "threads", whole),
    (template("descriptors"), "descriptors", whole),
    (template("memory (shared pages once)"), "memory", base.size),
    (template("processor"), "cpu", processor),
    (template("events in the trace"), "events", whole),
]


def table(results: Results) -> list[list[str]]:
    """Returns the rows of a table: a title and a cell for each design. The first names them.

    A cell is the median of the runs; the least and the most follow if they differ from it.
    """
    rows = [["", *(trials.design for trials in results)]]
    rows.append([say("all rules held"), *(held(trials) for trials in results)])
    for title, name, show in ROWS:
        rows.append([say(title), *(cell(trials, name, show) for trials in results)])
    return rows


def held(trials: Trials) -> str:
    """Returns whether all rules held in all runs."""
    if not trials.good:
        return say("failed")
    verdicts = trials.verdicts()
    return say("NO: {rule}", rule=verdicts[0]) if verdicts else say("yes")


def cell(trials: Trials, name: str, show: Callable[[Any], str]) -> str:
    """Returns the median of a field of numbers(), and its spread."""
    values = values_of(trials, name)
    if not values:
        return say("failed") if not trials.good else "-"
    middle, least, most = (show(one) for one in spread(values))
    return middle if least == middle == most else f"{middle} ({least}–{most})"


def values_of(trials: Trials, name: str) -> list[float]:
    """Returns a field of numbers() of all runs that have it."""
    found = (numbers(run)[name] for run in trials.good)
    return [value for value in found if value is not None]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the (median, least, most)."""
    return statistics.median_low(values), min(values), max(values)


def conclusions(results: Results) -> list[str]:
    """Returns sentences on the differences between the designs that every run supports.

    A design has more late deliveries than another only if each of its runs has more than each of
    the other's.
    """
    late = {
        trials.design: values_of(trials, "late") for trials in results if len(trials.good) == ROUNDS
    }
    found = [
        say(
            "In every run {more} delivered more messages late than {less}: {most} against {least}.",
            more=more,
            less=less,
            most=ranged(late[more]),
            least=ranged(late[less]),
        )
        for more, less in itertools.permutations(late, 2)
        if min(late[more]) > max(late[less])
    ]
    if len(late) < 2 or found:
        return found
    if not any(map(max, late.values())):
        return [say("No message was late in any run.")]
    return [
        say(
            "The runs of one server differ as much as the servers do: these {count} runs do not "
            "tell which one delivers more messages late.",
            count=ROUNDS,
        )
    ]


def ranged(values: Sequence[float]) -> str:
    """Returns the least and the most of some counts."""
    least, most = min(values), max(values)
    return whole(least) if least == most else f"{whole(least)}–{whole(most)}"


def about(others: float) -> str:
    """Returns a paragraph on this machine and on how the runs were made.

    others      the share of the processors that other programs had meanwhile
    """
    text = say(
        "{cores} cores, {system}, Python {python}, {when}. Each server is a process of its own, "
        "and each client a socket of its own. All are traced, which costs time (python -m harness "
        "trace cost measures how much). Each server ran each workload {rounds} times; a number is "
        "the median, and the least and the most are in brackets.",
        cores=os.cpu_count(),
        system=platform.system(),
        python=platform.python_version(),
        when=time.strftime("%Y-%m-%d %H:%M"),
        rounds=ROUNDS,
    )
    return f"{text} {busy(others)}"


def busy(others: float) -> str:
    """Returns a sentence on the share of the processors that other programs had."""
    share = base.local(f"{others:.0%}")
    text = say("Meanwhile other programs had the processors for {share} of the time.", share=share)
    if others > NOISE:
        text += " " + say("So much disturbs: repeat it on a quiet machine before you conclude.")
    return text


def text(workload: str, results: Results) -> str:
    """Returns a workload's table and remarks as text."""
    rows = table(results)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{workload}: {say(ABOUT[workload])}"]
    for row in rows:
        title, *cells = (
            f"{cell:{'>' if place else '<'}{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  " + "  ".join([title, *cells]).rstrip())
    notes = [*conclusions(results), *remarks(results)]
    return "\n".join([*lines, *(f"  {note}" for note in notes)])


def remarks(results: Results) -> list[str]:
    """Returns sentences on servers that failed, and on what is missing in the other runs."""
    every = [run for trials in results for run in trials.runs]
    failed = [
        say("{server}: FAILED: {why}", server=run.title, why=run.why)
        for run in every
        if isinstance(run, Failed)
    ]
    good = [run for run in every if not isinstance(run, Failed)]
    missing = [f"{run.title}: {what}" for run in good for what in run.missing]
    return list(dict.fromkeys(failed + missing))


def drawings(workload: str, results: Results) -> tuple[list[base.Figure], list[str]]:
    """Returns (the figures of a workload, sentences on those that could not be drawn)."""
    good = [trials.middle for trials in results if trials.good]
    made, notes = [], []
    for name in ["swimlanes", *MORE[workload]] if good else []:
        try:
            made.append(getattr(figures, name)(good))
        except ValueError as error:
            notes.append(say("{figure} not drawn: {why}", figure=name, why=str(error)))
    return made, notes


# -- The page -------------------------------------------------------------------------------------


def page(results: dict[str, Results], others: float, extra: Sequence[base.Figure] = ()) -> str:
    """Returns one HTML page of all workloads, pictures included.

    others      the share of the processors that other programs had meanwhile
    extra       further figures
    """
    links = " · ".join(f"<a href=#{workload}>{workload}</a>" for workload in results)
    title = say("One chat server, written three times: what the same workload does to each")
    name = say("The three side by side")
    parts = [
        f"<!DOCTYPE html>\n<html lang={language.in_use}><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>Grupo: {markup.escape(name)}</title>"
        f"<style>{STYLE}</style>\n<h1>{markup.escape(title)}</h1>\n"
        f"<p>{markup.escape(about(others))}</p>\n<p>{links}</p>"
    ]
    parts += [html_of(figure) for figure in extra]
    # Drawing takes longer than running.
    workers = min(len(results), os.cpu_count() or 1)
    spoken = {"initializer": language.use, "initargs": (language.in_use,)}
    with ProcessPoolExecutor(workers, **spoken) as pool:
        parts += pool.map(section, results, results.values())
    return "\n".join([*parts, player.assets()]) + "</html>\n"


def section(workload: str, results: Results) -> str:
    """Returns the part of the page that is about one workload."""
    made, notes = drawings(workload, results)
    parts = [f"<h2 id={workload}>{workload}</h2>\n<p>{markup.escape(say(ABOUT[workload]))}</p>"]
    parts += [f"<p><b>{markup.escape(one)}</b></p>" for one in conclusions(results)]
    if made:
        which = say(
            "The pictures show one run of each server: that with the middle number of late "
            "messages."
        )
        parts.append(f"<p>{markup.escape(which)}</p>")
    parts += [html_of(figure) for figure in made[:1]]
    parts.append(f"<div class=scroll>{html_table(table(results))}</div>")
    parts += [html_of(figure) for figure in made[1:]]
    if good := [trials.middle for trials in results if trials.good]:
        title = say("Play these runs on one clock")
        shown = player.player([films.film(run) for run in good])
        parts.append(f"<details><summary>{title}</summary>{shown}</details>")
    if missing := [*remarks(results), *notes]:
        items = "".join(f"<li>{markup.escape(note)}</li>" for note in missing)
        title = say("What is missing:")
        parts.append(f"<p>{title}</p><ul>{items}</ul>")
    return "\n".join(parts)


def html_table(rows: list[list[str]]) -> str:
    """Returns the rows of table() as HTML."""
    head, *body = rows
    lines = []
    for first, *cells in body:
        line = f"<tr><th scope=row>{markup.escape(first)}</th>"
        for cell in cells:
            is_bad = cell == say("failed") or cell.startswith(say("NO: {rule}", rule=""))
            bad = " class=bad" if is_bad else ""
            line += f"<td{bad}>{markup.escape(cell)}</td>"
        lines.append(line + "</tr>")
    heads = "".join(f"<th scope=col>{markup.escape(cell)}</th>" for cell in head)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def html_of(figure: base.Figure) -> str:
    """Returns a figure and its data as HTML."""
    data = figure.table()
    cut = base.Table(data.head, data.rows[:MOST_ROWS])
    left = len(data.rows) - MOST_ROWS
    more = say("and {count} more rows", count=whole(left)) if left > 0 else ""
    title = say("the data of this picture")
    return (
        f"{figure._repr_html_()}<details><summary>{title}</summary>"
        f"<div class=scroll>{cut._repr_html_()}{more and f'<p>{more}</p>'}</div></details>"
    )


# -- The command ----------------------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser):
    """Adds the arguments of `harness compare` to a parser."""
    parser.add_argument(
        "--workload",
        dest="workloads",
        action="append",
        choices=NAMES,
        metavar="NAME",
        help=f"run only this workload; may be repeated: {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="write pictures and numbers to one page that needs no network",
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers to FILE")
    parser.add_argument(
        "--perfetto",
        metavar="FILE",
        help="write all traces to FILE, which opens in the Perfetto UI",
    )
    parser.add_argument("--runs", metavar="DIR", help="keep the runs in DIR/WORKLOAD/DESIGN/1 to 3")
    parser.add_argument(
        "--lang",
        choices=language.LANGUAGES,
        help="of the texts and the pictures (default: the locale's, else en)",
    )


def main(options: argparse.Namespace) -> int:
    """Runs `harness compare`, and returns its exit status.

    0 if all rules held in all runs, 1 if not, 2 if a file cannot be written.
    """
    language.choose(options.lang)
    workloads = options.workloads or list(runs.WORKLOADS)
    try:
        for path in filter(None, (options.html, options.perfetto, options.json)):
            open(path, "a").close()
    except OSError as error:
        print(f"compare: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    pace = Pace.now()
    with tempfile.TemporaryDirectory(prefix="grupo-compare-") as temporary:
        folder = options.runs or temporary
        try:
            results = compare(workloads, folder, progress)
        except OSError as error:
            print(f"compare: {error.filename or folder}: {error.strerror}", file=sys.stderr)
            return 2
        others = pace.others()
        try:
            write_files(options, results, others)
        finally:
            for workload, these in results.items():
                print(text(workload, these), end="\n\n")
    print(busy(others))
    seconds = f"{time.monotonic() - pace.at:.0f}"
    if options.html:
        pictures = say("the pictures are in {file}", file=options.html)
    else:
        pictures = say("--html FILE draws them")
    count = base.counted(len(workloads), WORKLOADS)
    print(
        say(
            "{workloads} on each of three servers, {rounds} times, in {seconds} s; {pictures}",
            workloads=count,
            rounds=ROUNDS,
            seconds=seconds,
            pictures=pictures,
        )
    )
    good = not any(trials.verdicts() for these in results.values() for trials in these)
    return 0 if good else 1


def write_files(options: argparse.Namespace, results: dict[str, Results], others: float):
    """Writes the files that the command line names. Raises OSError."""

    def as_json() -> str:
        measured = {
            workload: [
                {"design": trials.design, "runs": [numbers(run) for run in trials.runs]}
                for trials in these
            ]
            for workload, these in results.items()
        }
        data = {"schema": 2, "about": about(others), "others": others, "workloads": measured}
        return json.dumps(data, indent=1)

    def as_page() -> str:
        extra = []
        if not options.workloads:
            progress("cost of scale")
            rows = [row for design in DESIGNS for row in runs.scale(design, (4, 16, 64))]
            extra = [figures.scale(rows)]
        return page(results, others, extra)

    def as_traces() -> bytes:
        middle = [trials.middle for these in results.values() for trials in these]
        return perfetto.as_json([run for run in middle if not isinstance(run, Failed)])

    files = (
        (options.json, as_json),
        (options.html, as_page),
        (options.perfetto, as_traces),
    )
    output.put_all((path, make) for path, make in files if path)


def progress(line: str):
    """Prints a line of progress."""
    print(line, file=sys.stderr, flush=True)
