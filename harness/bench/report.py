"""The results of the bench, from one set of tables: as text, and as one HTML page by itself."""

import html as markup
import io
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.bench.run import DESIGNS, LIMIT_SERVER, SERVERS

if TYPE_CHECKING:
    from harness.bench import Bench, Cell

FULL = 0.95  # of a core: a program that uses so much is at its limit
NOISE = 0.15  # of a core: if other programs use so much, the figures mean little

# Colour, marker and line of each server. Any one of the three tells them apart; the colours are
# those of Okabe and Ito, for readers with any colour vision. Our lines are thick.
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
    """One table of the report. The first cell of a row is its title."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


def tables(bench: "Bench") -> list[Table]:
    """Return all tables of the report; a table may have no rows."""
    shown = [ratios(bench), *(cell_table(bench, cell, title_of(cell)) for cell in bench.cells)]
    if any(bench.values(name, "calm") for name in bench.names):
        title = "At a stated rate: 100 members, 10 of them send 500 messages a second in all"
        shown.append(cell_table(bench, "calm", title))
    return [*shown, other_costs(bench), specials(bench)]


def title_of(cell: "Cell") -> str:
    """Return a cell in words."""
    members, talkers, under_way = cell
    return f"{members:,} members, {talkers:,} talk, each with {under_way} under way"


def name_of(cell: "Cell") -> str:
    """Return a cell as in `--cell`: 100.10.16."""
    return ".".join(map(str, cell))


def number(value: float | None, form: str) -> str:
    """Return a number in this format, or "-" for None."""
    return "-" if value is None else format(value, form)


def ratios(bench: "Bench") -> Table:
    """Return the main table: each server's deliveries in each cell, as a ratio to the limit."""
    rows = []
    for name in bench.names:
        rows.append([SERVERS[name][0]])
        for cell in bench.cells:
            ratio = number(bench.median(name, cell, "ratio"), ".2f")
            rows[-1].append("failed" if (name, cell) in bench.failed else ratio)
    return Table(
        "Deliveries a second, as a ratio to the C server that gathers",
        "Columns: members . talkers among them . messages that each has under way. "
        "Medians of the ratios within a pass.",
        ["server", *map(name_of, bench.cells)],
        rows,
    )


def cell_table(bench: "Bench", key: Hashable, title: str) -> Table:
    """Return the table of one cell: rates, latencies and CPU of each server."""
    rows = []
    for name in bench.names:
        rates = bench.values(name, key, "rate")
        if not rates:
            continue
        spread = f"{min(rates):,.0f} .. {max(rates):,.0f}" if len(rates) > 1 else "once"
        server, load = (bench.median(name, key, field) for field in ("server_cpu", "load_cpu"))
        latencies = (bench.median(name, key, field) * 1000 for field in ("p50", "p99", "max"))
        rows.append(
            [
                SERVERS[name][0],
                f"{bench.median(name, key, 'rate'):,.0f}",
                spread,
                number(bench.median(name, key, "ratio"), ".2f"),
                *(number(latency, ".2f") for latency in latencies),
                f"{server:.0%}",
                f"{load:.0%}" + ("*" if load > FULL else ""),
            ]
        )
    head = "server, deliveries/s, spread, ratio, p50 ms, p99 ms, max ms, CPU server, load"
    return Table(
        title,
        "Milliseconds from a message to its own echo. CPU in per cent of a core; "
        "* the load generator is at its limit.",
        head.split(", "),
        rows,
    )


def other_costs(bench: "Bench") -> Table:
    """Return the table of starts, visits, joins and memory, with one row for each server."""
    most = bench.cells[-1][0]
    rows = []
    for name in bench.names:
        limit = bench.median(LIMIT_SERVER, "visits", "rate")
        visits = bench.median(name, "visits", "rate")
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
        "Starts, visits, joins and memory",
        "A visit: connect, join, send one line, hear it, quit. "
        "All are known members, and their hashes are cheap.\n"
        f"Joins and memory (PSS of all processes) with {most:,} members; "
        "memory is for each member after the first.",
        ["server", "start ms", "visits/s", "ratio", "joins/s", "KiB a member"],
        rows,
    )


def specials(bench: "Bench") -> Table:
    """Return the table of what only nonblocking is measured for: idle members and HISTORY."""
    rows = []
    for run in bench.values("nonblocking", "idle"):
        rows.append(
            [
                f"{run['joined']:,} idle members",
                f"{run['memory'] / 1024:.1f} KiB each; all joined in {run['seconds']:.1f} s; "
                f"then each heard {run['talk']['said']} messages",
            ]
        )
    for run in bench.values("nonblocking", "history"):
        size = run["bytes"] / run["readings"] / 1e6
        rows.append(
            [
                "HISTORY to one reader",
                f"{run['rate'] / 1e9:.2f} GB/s: {size:.0f} MB, {run['readings']} times, "
                f"compared with the file; CPU server {run['server_cpu']:.0%}, "
                f"load {run['cpu'] / run['seconds']:.0%}",
            ]
        )
    return Table("nonblocking alone", "", ["load", "result"], rows)


def remarks(bench: "Bench", absent: Mapping[str, str]) -> list[str]:
    """Return a line for a noisy machine, each absent server, and each failure."""
    others = [
        value
        for name, key in bench.found
        if isinstance(key, tuple) and key in bench.cells
        for value in bench.values(name, key, "others_cpu")
    ]
    noise = statistics.median(others) if others else 0
    lines = []
    if noise > NOISE:
        lines.append(
            f"NOISY: other programs used {noise:.0%} of a core meanwhile; "
            "measure again on a quiet machine"
        )
    lines += [f"{SERVERS[name][0]}: {why}" for name, why in absent.items()]
    for (name, key), why in bench.failed.items():
        where = name_of(key) if isinstance(key, tuple) else key
        lines.append(f"{SERVERS[name][0]}, {where}: FAILED: {why}")
    return lines


def text(bench: "Bench", about: str, absent: Mapping[str, str]) -> str:
    """Return the report as text. `about` describes the machine; `absent` maps server to reason."""
    lines = [about, f"{bench.passes} passes, {bench.seconds:g} s for each figure; medians"]
    for table in tables(bench):
        if table.rows:
            lines += ["", table.title, *filter(None, [table.note])]
            lines += in_columns([table.head, *table.rows])
    return "\n".join([*lines, "", *remarks(bench, absent)]).rstrip()


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines: numbers to the right, titles and sentences to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    sentences = len(widths) == 2
    lines = []
    for row in rows:
        cells = [
            f"{cell:{'<' if i == 0 or sentences else '>'}{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


# -- HTML -----------------------------------------------------------------------------------------

STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto;
padding: 0 1rem; color: #111; background: #fff }
table { border-collapse: collapse }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #bbb }
th:first-child, td:first-child { text-align: left } .ours { font-weight: bold }
svg { max-width: 100%; height: auto } .scroll { overflow-x: auto }"""


def html(bench: "Bench", about: str, absent: Mapping[str, str]) -> str:
    """Return the report as an HTML page. The arguments are those of text()."""
    ours = {SERVERS[design][0] for design in DESIGNS}
    parts = [
        "<!DOCTYPE html>\n<html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>Grupo: the bench</title><style>{STYLE}</style>\n"
        f"<h1>The bench</h1>\n<p>{markup.escape(about)}.<br>"
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
                    f"<tr{' class=ours' * (first in ours)}>"
                    f"<th scope=row>{markup.escape(first)}"
                    + "".join(f"<td>{markup.escape(cell)}" for cell in rest)
                )
            parts.append("</table></div>")
    if notes := remarks(bench, absent):
        items = "".join(f"<li>{markup.escape(note)}" for note in notes)
        parts.append(f"<h2>Remarks</h2><ul>{items}</ul>")
    return "\n".join(parts) + "\n</html>\n"


def figure(bench: "Bench") -> str:
    """Return a figure of the cells in which all members talk; "" if none was measured.

    It shows ratio, p50 and p99 against the number of members, as SVG in HTML.
    """
    cells = [cell for cell in bench.cells if cell[0] == cell[1] and cell[2] == 1]
    if not cells:
        return ""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "grupo", "font.size": 11})
    drawing, panels = pyplot.subplots(1, 3, figsize=(15, 6), layout="constrained")
    ratio = "deliveries a second, ratio to C gathered (up is better)"
    draw(panels[0], bench, cells, "ratio", 1, ratio)
    draw(panels[1], bench, cells, "p50", 1000, "p50, ms (down is better)")
    draw(panels[2], bench, cells, "p99", 1000, "p99, ms (down is better)")
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=4, handlelength=4)
    out = io.StringIO()
    drawing.savefig(out, format="svg")
    pyplot.close(drawing)
    words = markup.escape(in_words(bench, cells), quote=True)
    svg = out.getvalue().partition("<svg ")[2]
    return (
        f'<figure><svg role=img aria-label="{words}" {svg}<figcaption>'
        "All members talk, each with one message under way; both axes are logarithmic. "
        "All figures are in the tables below.</figcaption></figure>"
    )


def draw(
    panel: Any, bench: "Bench", cells: Sequence["Cell"], field: str, scale: float, label: str
) -> None:
    """Draw one panel of the figure: `field`, times `scale`, of each server."""
    for name in bench.names:
        measured = [cell for cell in cells if bench.values(name, cell, field)]
        colour, marker, line = LOOKS[name]
        if measured:
            panel.plot(
                [cell[0] for cell in measured],
                [bench.median(name, cell, field) * scale for cell in measured],
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
        xlabel="members; all talk, one message each under way",
        ylabel=label,
    )
    panel.set_xticks([cell[0] for cell in cells], [f"{cell[0]:,}" for cell in cells], minor=False)
    panel.minorticks_off()
    panel.grid(True, color="#ddd")


def in_words(bench: "Bench", cells: Sequence["Cell"]) -> str:
    """Return the figure in words, for readers that cannot see it."""
    parts = []
    for name in bench.names:
        ratios_at = [
            f"{bench.median(name, cell, 'ratio'):.2f} at {cell[0]} members"
            for cell in cells
            if bench.values(name, cell, "ratio")
        ]
        if ratios_at:
            parts.append(f"{SERVERS[name][0]}: {', '.join(ratios_at)}")
    return (
        "Three line charts against the number of members: throughput as a ratio to the C server "
        f"that gathers, p50 and p99. Ratios: {'; '.join(parts)}."
    )
