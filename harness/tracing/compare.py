"""python -m harness compare: runs each workload on all three servers, checks it, and draws it.

The result is text, numbers as JSON, or one HTML page that needs no network.
"""

import argparse
import html as markup
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from harness import output
from harness.driving.record import CheckFailed
from harness.driving.server import DESIGNS
from harness.tracing import figures, perfetto, runs
from harness.tracing.figures import base
from harness.tracing.figures.base import ms
from harness.tracing.traces import LATE, Run
from harness.tracing.workloads import NAMES

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
body { font: 16px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto;
  padding: 0 1rem; color: #111; background: #fff }
h2 { margin-top: 3rem; border-top: 2px solid #111; padding-top: .5rem }
figure { margin: 1.5rem 0 }
figcaption { color: #333; max-width: 70rem; font-size: .9rem }
img { max-width: 100%; height: auto }
table { border-collapse: collapse; font-size: .92rem }
th, td { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #bbb }
th:first-child, td:first-child { text-align: left }
.bad { color: #a03000; font-weight: bold }
details { margin: .3rem 0 1.5rem }
.scroll { overflow-x: auto; max-height: 30rem }
"""
MOST_ROWS = 200  # of a figure's table that the page shows


class Failed:
    """A server that did not start, or refused the members. `why`: the reason."""

    def __init__(self, design: str, why: str):
        self.design = self.title = design
        self.why = why


Results = list[Run | Failed]  # of one workload, one for each design


def compare(
    workloads: Sequence[str],
    folder: str | Path,
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Results]:
    """Runs each workload on each design, and keeps the runs in FOLDER/WORKLOAD/DESIGN.

    say         called with a line before each run

    Returns {workload: one Run or Failed for each design}.
    """
    results: dict[str, Results] = {}
    for workload in workloads:
        results[workload] = []
        for design in DESIGNS:
            say(f"{workload}: {design}")
            try:
                run = runs.run(design, workload, Path(folder, workload, design))
            except (CheckFailed, OSError) as error:
                run = Failed(design, str(error))
            results[workload].append(run)
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


# (title, a function from numbers() to a cell)
ROWS: list[tuple[str, Callable[[dict], str]]] = [
    ("all rules held", lambda of: "yes" if not of["verdict"] else f"NO: {of['verdict']}"),
    ("deliveries to ordinary members", lambda of: f"{of['deliveries']:,}"),
    (f"late (over {LATE * 1e3:.0f} ms)", lambda of: f"{of['late']:,}"),
    ("lost, twice, out of order", lambda of: f"{of['lost']}, {of['twice']}, {of['out_of_order']}"),
    ("from SAY to receipt: median", lambda of: ms(of["median"])),
    ("p99", lambda of: ms(of["p99"])),
    ("longest", lambda of: ms(of["longest"])),
    ("took", lambda of: ms(of["seconds"])),
    ("processes, threads", lambda of: f"{of['processes']}, {of['threads']}"),
    ("descriptors", lambda of: f"{of['descriptors']}"),
    ("memory (shared pages once)", lambda of: base.size(of["memory"] or 0)),
    ("processor", lambda of: ms(of["cpu"])),
    ("trace", lambda of: f"{of['events']:,} events, sink {of['sink']}"),
]


def table(results: Results) -> list[list[str]]:
    """Returns the rows of a table: a title and a cell for each design. The first names them."""
    measured = [numbers(run) for run in results]
    rows = [["", *(one["design"] for one in measured)]]
    for title, show in ROWS:
        rows.append([title, *("failed" if "failed" in one else show(one) for one in measured)])
    return rows


def about() -> str:
    """Returns a paragraph on this machine and on how the runs were made."""
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    return (
        f"{machine}, {time.strftime('%Y-%m-%d %H:%M')}. Each server is a process of its own, and "
        "each client a socket of its own. All are traced, which costs time (python -m harness "
        "trace cost measures how much)."
    )


def text(workload: str, results: Results) -> str:
    """Returns a workload's table and remarks as text."""
    rows = table(results)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{workload}: {says(workload)}"]
    for row in rows:
        title, *cells = (
            f"{cell:{'>' if place else '<'}{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  " + "  ".join([title, *cells]).rstrip())
    return "\n".join([*lines, *(f"  {note}" for note in remarks(results))])


def says(workload: str) -> str:
    """Returns a workload's caption."""
    return (runs.WORKLOADS[workload].__doc__ or "").strip().split("\n")[0]


def remarks(results: Results) -> list[str]:
    """Returns sentences on servers that failed, and on what is missing in the other runs."""
    failed = [f"{run.title}: FAILED: {run.why}" for run in results if isinstance(run, Failed)]
    good = [run for run in results if not isinstance(run, Failed)]
    return failed + [f"{run.title}: {what}" for run in good for what in run.missing]


def drawings(workload: str, results: Results) -> tuple[list[base.Figure], list[str]]:
    """Returns (the figures of a workload, sentences on those that could not be drawn)."""
    good = [run for run in results if not isinstance(run, Failed)]
    made, notes = [], []
    for name in ["swimlanes", *MORE[workload]] if good else []:
        try:
            made.append(getattr(figures, name)(good))
        except ValueError as error:
            notes.append(f"{name.replace('_', ' ')} not drawn: {error}")
    return made, notes


# -- The page -------------------------------------------------------------------------------------


def page(results: dict[str, Results], extra: Sequence[base.Figure] = ()) -> str:
    """Returns one HTML page of all workloads, pictures included. `extra`: further figures."""
    links = " · ".join(f"<a href=#{workload}>{workload}</a>" for workload in results)
    parts = [
        "<!DOCTYPE html>\n<html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>Grupo: the three compared</title><style>{STYLE}</style>\n"
        "<h1>One chat server, written three times: what the same workload does to each</h1>\n"
        f"<p>{markup.escape(about())}</p>\n<p>{links}</p>"
    ]
    parts += [html_of(figure) for figure in extra]
    # Drawing takes longer than running.
    with ProcessPoolExecutor(min(len(results), os.cpu_count() or 1)) as pool:
        parts += pool.map(section, results, results.values())
    return "\n".join(parts) + "\n</html>\n"


def section(workload: str, results: Results) -> str:
    """Returns the part of the page that is about one workload."""
    made, notes = drawings(workload, results)
    parts = [f"<h2 id={workload}>{workload}</h2>\n<p>{markup.escape(says(workload))}</p>"]
    parts += [html_of(figure) for figure in made[:1]]
    parts.append(html_table(table(results)))
    parts += [html_of(figure) for figure in made[1:]]
    if missing := [*remarks(results), *notes]:
        items = "".join(f"<li>{markup.escape(note)}</li>" for note in missing)
        parts.append(f"<p>What is missing:</p><ul>{items}</ul>")
    return "\n".join(parts)


def html_table(rows: list[list[str]]) -> str:
    """Returns the rows of table() as HTML."""
    head, *body = rows
    lines = []
    for first, *cells in body:
        line = f"<tr><th scope=row>{markup.escape(first)}</th>"
        for cell in cells:
            bad = " class=bad" if cell.startswith(("NO", "failed")) else ""
            line += f"<td{bad}>{markup.escape(cell)}</td>"
        lines.append(line + "</tr>")
    heads = "".join(f"<th scope=col>{markup.escape(cell)}</th>" for cell in head)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def html_of(figure: base.Figure) -> str:
    """Returns a figure and its data as HTML."""
    data = figure.table()
    cut = base.Table(data.head, data.rows[:MOST_ROWS])
    left = len(data.rows) - MOST_ROWS
    more = f"<p>and {left:,} more rows</p>" if left > 0 else ""
    return (
        f"{figure._repr_html_()}<details><summary>the data of this picture</summary>"
        f"<div class=scroll>{cut._repr_html_()}{more}</div></details>"
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
    parser.add_argument("--runs", metavar="DIR", help="keep the runs in DIR/WORKLOAD/DESIGN")


def main(options: argparse.Namespace) -> int:
    """Runs `harness compare`, and returns its exit status.

    0 if all rules held in all runs, 1 if not, 2 if a file cannot be written.
    """
    workloads = options.workloads or list(runs.WORKLOADS)
    try:
        for path in filter(None, (options.html, options.perfetto, options.json)):
            open(path, "a").close()
    except OSError as error:
        print(f"compare: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="grupo-compare-") as temporary:
        folder = options.runs or temporary
        try:
            results = compare(workloads, folder, progress)
        except OSError as error:
            print(f"compare: {error.filename or folder}: {error.strerror}", file=sys.stderr)
            return 2
        try:
            write_files(options, results)
        finally:
            for workload, these in results.items():
                print(text(workload, these), end="\n\n")
    seconds = time.monotonic() - began
    pictures = f"the pictures are in {options.html}" if options.html else "--html FILE draws them"
    count = base.plural(len(workloads), "workload")
    print(f"{count} on each of three servers in {seconds:.0f} s; {pictures}")
    good = all(
        not isinstance(run, Failed) and not run.about["verdict"]
        for these in results.values()
        for run in these
    )
    return 0 if good else 1


def write_files(options: argparse.Namespace, results: dict[str, Results]):
    """Writes the files that the command line names. Raises OSError."""

    def as_json() -> str:
        measured = {
            workload: [numbers(run) for run in these] for workload, these in results.items()
        }
        data = {"schema": 1, "about": about(), "workloads": measured}
        return json.dumps(data, indent=1)

    def as_page() -> str:
        extra = []
        if not options.workloads:
            progress("cost of scale")
            rows = [row for design in DESIGNS for row in runs.scale(design, (4, 16, 64))]
            extra = [figures.scale(rows)]
        return page(results, extra)

    def as_traces() -> bytes:
        all_runs = [run for these in results.values() for run in these]
        return perfetto.as_json([run for run in all_runs if not isinstance(run, Failed)])

    files = (
        (options.json, as_json),
        (options.html, as_page),
        (options.perfetto, as_traces),
    )
    output.put_all((path, make) for path, make in files if path)


def progress(line: str):
    """Prints a line of progress."""
    print(line, file=sys.stderr, flush=True)
