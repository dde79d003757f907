"""python -m harness compare: one workload after the other, each on all three servers, checked, drawn, and put on one page that needs nothing else."""

import html as markup
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from harness.tracing.workloads import NAMES
from harness.driving.record import Unmet
from harness.driving.server import DESIGNS
from harness.tracing import figures, perfetto, runs
from harness.tracing.figures import base
from harness.tracing.figures.base import ms
from harness.tracing.traces import LATE

# What is drawn of a workload, beside the swimlanes and the numbers.
MORE = {
    "calm": ["journeys"],
    "everyone-at-once": ["deliveries", "lock_board"],
    "one-expensive-request": ["deliveries"],
    "a-member-who-stops-reading": ["fill", "deliveries"],
    "password-storm": ["loop_turns"],
    "half-a-line": [],
    "mass-arrival-and-departure": ["loop_turns", "lock_board"],
}
STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem; color: #111; background: #fff }
h2 { margin-top: 3rem; border-top: 2px solid #111; padding-top: .5rem } figure { margin: 1.5rem 0 } figcaption { color: #333; max-width: 70rem; font-size: .9rem }
img { max-width: 100%; height: auto } table { border-collapse: collapse; font-size: .92rem } th, td { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #bbb }
th:first-child, td:first-child { text-align: left } .bad { color: #a03000; font-weight: bold } details { margin: .3rem 0 1.5rem } .scroll { overflow-x: auto; max-height: 30rem }"""
MOST_ROWS = 200  # of a figure's table that the page shows


def compare(workloads, folder, say=lambda text: None):
    """{workload: [Run or Unmet]} of the designs, kept below `folder`."""
    found = {}
    for workload in workloads:
        found[workload] = []
        for design in DESIGNS:
            say(f"{workload}: {design}")
            try:
                found[workload].append(runs.run(design, workload, Path(folder, workload, design)))
            except (Unmet, OSError) as problem:
                found[workload].append(Failed(design, str(problem)))
    return found


class Failed:
    """A server that did not start, or let nobody in."""

    def __init__(self, design, why):
        self.design = self.title = design
        self.why = why


def numbers(run):
    """What is measured of a run: seconds, bytes, counts. {"design", "failed": why} of one that failed."""
    if isinstance(run, Failed):
        return {"design": run.design, "failed": run.why}
    heard = [
        one.latency
        for one in run.deliveries
        if one.latency is not None and one.listener not in run.groups
    ]
    ranked = sorted(heard)
    verdicts = Counter(one.verdict for one in run.deliveries if one.listener not in run.groups)
    return {
        "design": run.design,
        "verdict": run.about.get("verdict", ""),
        "missing": run.missing,
        "seconds": round(run.span[1] - run.span[0], 4),
        "deliveries": len(heard),
        **{
            name.replace(" ", "_"): verdicts[name]
            for name in ("late", "out of order", "twice", "lost")
        },
        "median": statistics.median(ranked) if ranked else None,
        "p99": ranked[int(len(ranked) * 0.99)] if ranked else None,
        "longest": ranked[-1] if ranked else None,
        **{
            name: run.card.get(name)
            for name in ("processes", "threads", "descriptors", "memory", "cpu", "clients")
        },
        "events": len(run.events),
        "sink": run.sink,
    }


ROWS = [
    (
        "all that must hold, held",
        lambda one: "yes" if not one["verdict"] else f"NO: {one['verdict']}",
    ),
    ("deliveries to ordinary members", lambda one: f"{one['deliveries']:,}"),
    (f"late (over {LATE * 1e3:.0f} ms)", lambda one: f"{one['late']:,}"),
    (
        "lost, twice, out of order",
        lambda one: f"{one['lost']}, {one['twice']}, {one['out_of_order']}",
    ),
    ("from SAY to hearing it: median", lambda one: ms(one["median"])),
    ("p99", lambda one: ms(one["p99"])),
    ("longest", lambda one: ms(one["longest"])),
    ("took", lambda one: ms(one["seconds"])),
    ("processes, threads", lambda one: f"{one['processes']}, {one['threads']}"),
    ("descriptors", lambda one: f"{one['descriptors']}"),
    ("memory (shared pages once)", lambda one: base.size(one["memory"] or 0)),
    ("processor", lambda one: ms(one["cpu"])),
    ("trace", lambda one: f"{one['events']:,} events, sink {one['sink']}"),
]


def table(found):
    """[[title, a cell for each design], ...], the first row being the designs."""
    all_numbers = [numbers(run) for run in found]
    return [
        ["", *(one["design"] for one in all_numbers)],
        *(
            [title, *("failed" if "failed" in one else show(one) for one in all_numbers)]
            for title, show in ROWS
        ),
    ]


def about():
    return (
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d %H:%M')}. "
        "Each server is a process of its own, each client a socket of its own; all are traced, which costs time (python -m harness trace cost measures how much)."
    )


def text(workload, found):
    rows = table(found)
    widths = [max(len(str(row[place])) for row in rows) for place in range(len(rows[0]))]
    lines = [f"{workload}: {says(workload)}"]
    lines += [
        "  "
        + "  ".join(
            f"{cell:{'<' if not place else '>'}{width}}"
            for place, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *(f"  {note}" for note in remarks(found))])


def says(workload):
    return (runs.WORKLOADS[workload].__doc__ or "").strip().split("\n")[0]


def remarks(found):
    return [f"{run.title}: FAILED: {run.why}" for run in found if isinstance(run, Failed)] + [
        f"{run.title}: {what}"
        for run in found
        if not isinstance(run, Failed)
        for what in run.missing
    ]


def drawings(workload, found):
    """The figures of a workload, and sentences on those that could not be drawn."""
    good, made, notes = [run for run in found if not isinstance(run, Failed)], [], []
    for name in ["swimlanes", *MORE[workload]] if good else []:
        try:
            made.append(getattr(figures, name)(good))
        except ValueError as why:
            notes.append(f"{name.replace('_', ' ')} not drawn: {why}")
    return made, notes


def page(found, extra=()):
    """One HTML page, pictures included."""
    parts = [
        f"<!DOCTYPE html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Grupo: the three compared</title><style>{STYLE}</style>\n"
        "<h1>One chat server, written three times: what the same workload does to each</h1>\n"
        f"<p>{markup.escape(about())}</p>\n<p>{' · '.join(f'<a href=#{workload}>{workload}</a>' for workload in found)}</p>"
    ]
    parts += [html_of(one) for one in extra]
    with ProcessPoolExecutor(
        min(len(found), os.cpu_count() or 1)
    ) as pool:  # drawing takes longer than running
        parts += pool.map(section, found, found.values())
    return "\n".join(parts) + "\n</html>\n"


def section(workload, these):
    """The part of the page that is about one workload."""
    made, notes = drawings(workload, these)
    parts = [
        f"<h2 id={workload}>{workload}</h2>\n<p>{markup.escape(says(workload))}</p>",
        html_of(made[0]) if made else "",
    ]
    head, *rows = table(these)
    parts.append(
        "<table><thead><tr>"
        + "".join(f"<th scope=col>{markup.escape(cell)}</th>" for cell in head)
        + "</tr></thead><tbody>"
        + "".join(
            f"<tr><th scope=row>{markup.escape(first)}</th>"
            + "".join(
                f"<td{' class=bad' * cell.startswith(('NO', 'failed'))}>{markup.escape(cell)}</td>"
                for cell in rest
            )
            + "</tr>"
            for first, *rest in rows
        )
        + "</tbody></table>"
    )
    parts += [html_of(one) for one in made[1:]]
    if missing := [*remarks(these), *notes]:
        parts.append(
            "<p>What is missing:</p><ul>"
            + "".join(f"<li>{markup.escape(note)}</li>" for note in missing)
            + "</ul>"
        )
    return "\n".join(parts)


def html_of(figure):
    data = figure.table()
    cut = base.Table(data.head, data.rows[:MOST_ROWS])
    more = (
        f"<p>and {len(data.rows) - MOST_ROWS:,} rows more</p>" if len(data.rows) > MOST_ROWS else ""
    )
    return f"{figure._repr_html_()}<details><summary>the data of this picture</summary><div class=scroll>{cut._repr_html_()}{more}</div></details>"


def arguments(parser):
    """Adds what `harness compare` takes."""
    parser.add_argument(
        "--workload",
        dest="workloads",
        action="append",
        choices=NAMES,
        metavar="NAME",
        help=f"only this; may be given again: {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="put pictures and numbers into one page that needs no network",
    )
    parser.add_argument("--json", metavar="FILE", help="put the numbers into FILE")
    parser.add_argument(
        "--perfetto",
        metavar="FILE",
        help="put all traces into FILE, which opens in the Perfetto UI",
    )
    parser.add_argument("--runs", metavar="DIR", help="keep the runs there: DIR/WORKLOAD/DESIGN")


def main(options):
    """0 if all that must hold held in all of them, 1 if not, 2 if a file cannot be written."""
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
            found = compare(
                workloads, folder, lambda what: print(what, file=sys.stderr, flush=True)
            )
        except OSError as error:
            print(f"compare: {error.filename or folder}: {error.strerror}", file=sys.stderr)
            return 2
        good = True
        for workload, these in found.items():
            print(text(workload, these), end="\n\n")
            good = good and all(
                not isinstance(run, Failed) and not run.about["verdict"] for run in these
            )
        if options.json:
            Path(options.json).write_text(
                json.dumps(
                    {
                        "schema": 1,
                        "about": about(),
                        "workloads": {
                            workload: [numbers(run) for run in these]
                            for workload, these in found.items()
                        },
                    },
                    indent=1,
                ),
                encoding="utf-8",
            )
        if options.html:
            extra = []
            if not options.workloads:
                print("cost of scale", file=sys.stderr, flush=True)
                extra = [
                    figures.scale(
                        [row for design in DESIGNS for row in runs.scale(design, (4, 16, 64))]
                    )
                ]
            Path(options.html).write_text(page(found, extra), encoding="utf-8")
        if options.perfetto:
            perfetto.write(
                [run for these in found.values() for run in these if not isinstance(run, Failed)],
                options.perfetto,
            )
    print(
        f"{base.plural(len(workloads), 'workload')} on each of three servers in {time.monotonic() - began:.0f} s"
        + (f"; the pictures are in {options.html}" if options.html else "; --html FILE draws them")
    )
    return 0 if good else 1
