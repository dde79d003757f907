"""The cost of scale: latency, memory, processes and threads against the number of clients."""

import math

from harness.tracing.figures import base
from harness.tracing.figures.base import RED

# field of a row: (title, how to show its value, factor)
PANELS = {
    "latency": ("latency, median, ms", lambda value: base.ms(value / 1e3), 1e3),
    "memory": ("memory, MB", lambda value: f"{value:.0f} MB", 1e-6),
    "processes": ("processes", lambda value: f"{value:.0f}", 1),
    "threads": ("threads, of all processes", lambda value: f"{value:.0f}", 1),
}


@base.drawn
def scale(rows, question="What does one more client cost?", guess=None):
    """Four panels against the number of clients, a line for each design.

    rows    [{"design", "clients", "latency" (seconds), "memory" (bytes), "processes", "threads"}], as runs.scale() gives them; a value may be None
    guess   {design: megabytes at the largest number of clients}
    Raises ValueError if there is no row.
    """
    if not rows:
        raise ValueError("there is nothing to draw")
    designs = sorted(
        {row["design"] for row in rows}, key=lambda design: base.DESIGNS.get(design, (design,))[0]
    )
    most = max(row["clients"] for row in rows)
    words = []
    for design in designs:
        mine = sorted(
            (row for row in rows if row["design"] == design), key=lambda row: row["clients"]
        )
        first, last = mine[0], mine[-1]
        more = last["clients"] - first["clients"]
        words.append(
            f"{design}: {base.size((last['memory'] - first['memory']) / more)} for each further client, {base.plural(last['processes'], 'process')} and {base.plural(last['threads'], 'thread')} for {last['clients']:,}"
            if more and first.get("memory") and last.get("memory")
            else f"{design}: {base.plural(last['processes'] or 0, 'process')} for {last['clients']:,}"
        )
    figure, top = base.sheet(5.4, question, "; ".join(words) + ".")
    for number, (field, (title, show, factor)) in enumerate(PANELS.items()):
        panel = figure.add_axes([0.045 + 0.242 * number, 0.12, 0.135, 0.80 - top / 5.4])
        ends = []
        for design in designs:
            _, _, shade, marker = base.DESIGNS.get(design, ("", "", "#000000", "x"))
            mine = sorted(
                (row["clients"], row[field] * factor)
                for row in rows
                if row["design"] == design and row.get(field) is not None
            )
            if mine:
                panel.plot(*zip(*mine), marker=marker, color=shade, linewidth=2, markersize=6)
                ends.append([mine[-1][1], design, shade, mine[-1]])
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.patch.set_alpha(0)
        panel.yaxis.set_major_formatter("{x:g}")
        counts = sorted({row["clients"] for row in rows})
        panel.set_xticks(counts, [f"{count:,}" for count in counts], fontsize=8.5)
        panel.minorticks_off()
        panel.set_title(title, fontsize=11, fontweight="bold", pad=6)
        panel.set_xlabel("clients (log)")
        low, high = panel.get_ylim()
        if field in ("processes", "threads"):
            panel.set_ylim(0.7, high * 1.3)
            low, high = panel.get_ylim()
        step, at = math.log(high / low) * 0.075, -1e9
        for value, design, shade, (x, y) in sorted(ends):
            at = max(math.log(max(value, 1e-9)), at + step)
            panel.annotate(
                f"{design} {show(value)}",
                (x, y),
                (x * 1.12, math.exp(at)),
                fontsize=8.5,
                color=shade,
                va="center",
                annotation_clip=False,
            )
        if field == "memory" and guess:
            for design, value in guess.items():
                if design in designs:
                    panel.plot(
                        [most],
                        [value],
                        marker="*",
                        markersize=15,
                        color=RED,
                        markeredgecolor="black",
                        linestyle="none",
                        zorder=9,
                    )
                    panel.annotate(
                        f"your guess\n{value:g} MB",
                        (most, value),
                        (most * 0.8, value),
                        fontsize=8,
                        color=RED,
                        ha="right",
                        va="center",
                    )
    caption = "Each point is a server of its own with so many members who are here; then one of them says some messages, and the latency is from SAY to its own echo. Memory counts shared pages once (PSS). All clients are one program, which reads every echo and needs time for it: compare latencies of one number of clients. Both axes are logarithmic."
    table = base.Table(
        ["server", "clients", "latency ms", "memory MB", "processes", "threads"],
        [
            [
                row["design"],
                row["clients"],
                *(
                    None if row.get(field) is None else round(row[field] * factor, 3)
                    for field, (_, _, factor) in PANELS.items()
                ),
            ]
            for row in rows
        ],
    )
    return base.Figure(
        figure,
        caption,
        f"Cost against the number of clients. {'; '.join(words)}.",
        table,
        {"designs": designs},
    )
