"""What the bench found, as text and as one HTML page that needs nothing else. Both are made of the same tables."""

import html as markup
import io
import statistics
from dataclasses import dataclass

from harness.bench.run import DESIGNS, LIMIT_SERVER, SERVERS

FULL = 0.95  # of a core: who uses so much is at the limit
NOISE = 0.15  # of a core: if others use so much, the figures mean little

# Told apart by colour (Okabe and Ito's, for every kind of sight), by marker and by line; ours are thick.
LOOKS = {
    "c-gather": ("#000000", "*", "-"),
    "nonblocking": ("#0072B2", "o", "-"),
    "pthread": ("#D55E00", "s", "-"),
    "fork": ("#009E73", "^", "-"),
    "c-each": ("#000000", "x", ":"),
    "ngircd": ("#CC79A7", "D", "--"),
    "uvloop-gather": ("#E69F00", "P", "-."),
    "uvloop": ("#E69F00", "v", ":"),
    "asyncio": ("#56B4E9", "d", ":"),
    "threads": ("#777777", "1", ":"),
}


@dataclass
class Table:
    title: str
    note: str
    head: list
    rows: list


def tables(bench):
    """All there is to show."""
    found = [ratios(bench), *(cell_table(bench, cell, title_of(cell)) for cell in bench.cells)]
    if any(bench.values(name, "calm") for name in bench.names):
        found.append(
            cell_table(
                bench,
                "calm",
                "At a stated rate: 100 members, 10 of them say 500 messages a second in all",
            )
        )
    return found + [others(bench), specials(bench)]


def title_of(cell):
    members, talkers, on_the_way = cell
    return f"{members:,} members, {talkers:,} talk, each has {on_the_way} on the way"


def name_of(cell):
    return ".".join(map(str, cell))


def number(value, form):
    return "-" if value is None else format(value, form)


def ratios(bench):
    rows = []
    for name in bench.names:
        rows.append([SERVERS[name][0]])
        for cell in bench.cells:
            ratio = number(bench.median(name, cell, "ratio"), ".2f")
            rows[-1].append("failed" if (name, cell) in bench.failed else ratio)
    return Table(
        "Deliveries a second, as a ratio to the C server that gathers",
        "Columns: members . of them talk . messages each has on the way. Medians of ratios within a pass.",
        ["server", *map(name_of, bench.cells)],
        rows,
    )


def cell_table(bench, key, title):
    rows = []
    for name in bench.names:
        rates = bench.values(name, key, "rate")
        if not rates:
            continue
        spread = f"{min(rates):,.0f} .. {max(rates):,.0f}" if len(rates) > 1 else "once"
        server, load = (bench.median(name, key, field) for field in ("server_cpu", "load_cpu"))
        rows.append(
            [
                SERVERS[name][0],
                f"{bench.median(name, key, 'rate'):,.0f}",
                spread,
                number(bench.median(name, key, "ratio"), ".2f"),
                *(
                    number(bench.median(name, key, field) * 1000, ".2f")
                    for field in ("p50", "p99", "max")
                ),
                f"{server:.0%}",
                f"{load:.0%}" + ("*" if load > FULL else ""),
            ]
        )
    return Table(
        title,
        "Milliseconds from a message to its own echo. CPU in per cent of a core; * the generator is at its end.",
        [
            "server",
            "deliveries/s",
            "spread",
            "ratio",
            "p50 ms",
            "p99 ms",
            "max ms",
            "CPU server",
            "load",
        ],
        rows,
    )


def others(bench):
    """Starting, coming and going, memory: one row for each server."""
    most = bench.cells[-1][0]
    rows = []
    for name in bench.names:
        limit, visits = (bench.median(one, "visits", "rate") for one in (LIMIT_SERVER, name))
        memory, started = bench.median(name, ("memory", most)), bench.median(name, "start")
        rows.append(
            [
                SERVERS[name][0],
                number(started and started * 1000, ".0f"),
                number(visits, ",.0f"),
                number(visits / limit if visits and limit else None, ".2f"),
                number(bench.median(name, ("join", most)), ",.0f"),
                number(memory and memory / 1024, ",.1f"),
            ]
        )
    return Table(
        "Starting, coming and going, being there",
        "A visit: connect, join, say one line, hear it, quit. All are known members, and their hashes are cheap.\n"
        f"Joins and memory (PSS of all processes) with {most:,} members; memory is for each one beyond the first.",
        ["server", "start ms", "visits/s", "ratio", "joins/s", "KiB a member"],
        rows,
    )


def specials(bench):
    rows = []
    for run in bench.values("nonblocking", "idle"):
        rows.append(
            [
                f"{run['joined']:,} idle members",
                f"{run['memory'] / 1024:.1f} KiB each; all came in {run['seconds']:.1f} s; "
                f"then each heard {run['talk']['said']} messages",
            ]
        )
    for run in bench.values("nonblocking", "history"):
        size = run["bytes"] / run["readings"] / 1e6
        rows.append(
            [
                "HISTORY to one reader",
                f"{run['rate'] / 1e9:.2f} GB/s: {size:.0f} MB, {run['readings']} times, compared with the file; "
                f"CPU server {run['server_cpu']:.0%}, load {run['cpu'] / run['seconds']:.0%}",
            ]
        )
    return Table("nonblocking, by itself", "", ["what", "found"], rows)


def remarks(bench, absent):
    busy = [
        value
        for name, key in bench.found
        if isinstance(key, tuple) and key in bench.cells
        for value in bench.values(name, key, "others_cpu")
    ]
    noise = statistics.median(busy) if busy else 0
    warning = f"NOISY: other programs used {noise:.0%} of a core meanwhile; measure again on a quiet machine"
    return (
        [warning] * (noise > NOISE)
        + [f"{SERVERS[name][0]}: {why}" for name, why in absent.items()]
        + [
            f"{SERVERS[name][0]}, {name_of(key) if isinstance(key, tuple) else key}: FAILED: {why}"
            for (name, key), why in bench.failed.items()
        ]
    )


def text(bench, about, absent):
    lines = [about, f"{bench.passes} passes, {bench.seconds:g} s for each figure; medians"]
    for table in tables(bench):
        if table.rows:
            widths = [
                max(len(row[i]) for row in [table.head, *table.rows])
                for i in range(len(table.head))
            ]
            last = len(widths) == 2
            lines += ["", table.title, *filter(None, [table.note])]
            for row in [table.head, *table.rows]:
                cells = [
                    f"{cell:{'<' if i == 0 or last else '>'}{width}}"
                    for i, (cell, width) in enumerate(zip(row, widths))
                ]
                lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join([*lines, "", *remarks(bench, absent)]).rstrip()


# -- HTML ------------------------------------------------------------------------------------------------------------------------

STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto;
padding: 0 1rem; color: #111; background: #fff }
table { border-collapse: collapse } th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #bbb }
th:first-child, td:first-child { text-align: left } .ours { font-weight: bold }
svg { max-width: 100%; height: auto } .scroll { overflow-x: auto }"""


def html(bench, about, absent):
    ours = {SERVERS[design][0] for design in DESIGNS}
    parts = [
        "<!DOCTYPE html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Grupo: the bench</title><style>{STYLE}</style>\n<h1>The bench</h1>\n<p>{markup.escape(about)}.<br>"
        f"{bench.passes} passes, {bench.seconds:g} s for each figure; medians.",
        figure(bench),
    ]
    for table in tables(bench):
        if table.rows:
            parts.append(
                f"<h2>{markup.escape(table.title)}</h2>\n<p>{markup.escape(table.note)}</p>\n"
                "<div class=scroll><table><thead><tr>"
                + "".join(f"<th scope=col>{markup.escape(cell)}" for cell in table.head)
                + "</thead><tbody>"
            )
            for first, *rest in table.rows:
                parts.append(
                    f"<tr{' class=ours' * (first in ours)}><th scope=row>{markup.escape(first)}"
                    + "".join(f"<td>{markup.escape(cell)}" for cell in rest)
                )
            parts.append("</table></div>")
    if notes := remarks(bench, absent):
        parts.append(
            "<h2>Remarks</h2><ul>"
            + "".join(f"<li>{markup.escape(note)}" for note in notes)
            + "</ul>"
        )
    return "\n".join(parts) + "\n</html>\n"


def figure(bench):
    """Ratio, p50 and p99 against the number of members, where all members talk; '' if no such cell was measured."""
    cells = [cell for cell in bench.cells if cell[0] == cell[1] and cell[2] == 1]
    if not cells:
        return ""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "grupo", "font.size": 11})
    drawing, panels = pyplot.subplots(1, 3, figsize=(15, 6), layout="constrained")
    for panel, field, scale, label in zip(
        panels,
        ("ratio", "p50", "p99"),
        (1, 1000, 1000),
        (
            "deliveries a second, ratio to C gathered (up is better)",
            "p50, ms (down is better)",
            "p99, ms (down is better)",
        ),
    ):
        for name in bench.names:
            points = [
                (cell[0], bench.median(name, cell, field) * scale)
                for cell in cells
                if bench.values(name, cell, field)
            ]
            colour, marker, line = LOOKS[name]
            if points:
                panel.plot(
                    *zip(*points),
                    color=colour,
                    marker=marker,
                    linestyle=line,
                    linewidth=2.5 if name in DESIGNS else 1.2,
                    markersize=8,
                    label=SERVERS[name][0],
                )
        panel.set(
            xscale="log",
            yscale="log",
            xlabel="members; all talk, one message each on the way",
            ylabel=label,
        )
        panel.set_xticks(
            [cell[0] for cell in cells], [f"{cell[0]:,}" for cell in cells], minor=False
        )
        panel.minorticks_off()
        panel.grid(True, color="#ddd")
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=4, handlelength=4)
    out = io.StringIO()
    drawing.savefig(out, format="svg")
    pyplot.close(drawing)
    words = markup.escape(in_words(bench, cells), quote=True)
    svg = out.getvalue().partition("<svg ")[2]
    return (
        f'<figure><svg role=img aria-label="{words}" {svg}<figcaption>All members talk, each has one message on the way; '
        "both axes logarithmic. All figures are in the tables below.</figcaption></figure>"
    )


def in_words(bench, cells):
    """The figure for those who do not see it."""
    parts = []
    for name in bench.names:
        said = [
            f"{bench.median(name, cell, 'ratio'):.2f} at {cell[0]} members"
            for cell in cells
            if bench.values(name, cell, "ratio")
        ]
        if said:
            parts.append(f"{SERVERS[name][0]}: {', '.join(said)}")
    return (
        "Three line charts against the number of members: throughput as a ratio to the C server that gathers, p50 and p99. "
        f"Ratios: {'; '.join(parts)}."
    )
