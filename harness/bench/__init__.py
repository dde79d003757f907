"""The bench: Grupo's three servers and others like them under the same load, side by side.

Two figures can be compared only if they come from the same minute. So the servers take turns (A B C
A B C), and each figure is shown as a ratio to a C server that does the least work possible. Only
lines that a server delivered correctly count.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from harness.bench import report
from harness.bench.run import HERE, LIMIT_SERVER, SERVERS, Failed, Load, Running, cores, missing
from harness.driving.compiled import NotCompiled, compiled
from harness.output import put_all

# Members . talkers among them . messages that each talker has under way.
CELLS = ("10.10.1", "100.10.1", "100.10.16", "100.100.1", "1000.1000.1")
PASSES, SECONDS = 3, 1.0
CALM = 100, 10, 500  # members, talkers, messages a second in all: the open loop
VISITORS = 8  # at once
IDLE = 10_000  # members
HISTORY = 1_000_000  # events
TOO_SLOW = 5  # a server that takes so many times SECONDS for a cell is not measured there again

Cell = tuple[int, int, int]


class Bench:
    """One run of the bench. `found` and `failed` hold its results.

    `found` maps (server, cell or other title) to the results of the passes, in order. `failed` maps
    such a key to the reason why it could not be measured.
    """

    def __init__(
        self,
        names: Sequence[str],
        cells: Sequence[Cell],
        passes: int,
        seconds: float,
        folder: Path,
    ):
        self.names, self.cells, self.folder = names, cells, folder
        self.passes, self.seconds = passes, seconds
        self.runs = 0
        self.found: defaultdict[tuple[str, Hashable], list[Any]] = defaultdict(list)
        self.failed: dict[tuple[str, Hashable], str] = {}

    def running(self, name: str, members: int, messages: int = 0, pin: bool = True) -> Running:
        """Start a server with so many known members, in a new folder. Raises Failed."""
        self.runs += 1
        return Running(name, self.folder / str(self.runs), members, messages, pin)

    def progress(self, text: str) -> None:
        """Show on stderr what is being measured; on a terminal, in place of the last text."""
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif text:
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def attempt(self, key: tuple[str, Hashable]) -> Iterator[None]:
        """Note a failure of the block under `key`, and continue after it."""
        try:
            yield
        except (Failed, NotCompiled) as why:
            self.failed[key] = str(why)

    def run(self) -> None:
        """Measure every cell on every server, in so many passes."""
        for number in range(self.passes):
            for members in sorted({cell[0] for cell in self.cells}):
                for name in self.names:
                    cells = [
                        cell
                        for cell in self.cells
                        if cell[0] == members and not self.is_hopeless(name, cell)
                    ]
                    self.progress(f"pass {number + 1} of {self.passes}, {members} members, {name}")
                    if cells:
                        with self.attempt((name, members)):
                            self.session(name, members, cells)

    def is_hopeless(self, name: str, cell: Cell) -> bool:
        """Return whether the server failed in this cell, or was too slow to be measured again."""
        return (name, cell) in self.failed or any(
            run["seconds"] > TOO_SLOW * self.seconds for run in self.found[name, cell]
        )

    def session(self, name: str, members: int, cells: Sequence[Cell]) -> None:
        """Start one server, and measure on it everything that needs so many members."""
        with self.running(name, members) as server:
            self.found[name, "start"].append(server.started_in)
            if members == self.cells[0][0]:
                at_once = min(VISITORS, members)
                with self.attempt((name, "visits")), Load(server.port, server.dialect) as load:
                    visits = load.order(f"visit {at_once} {self.seconds / 2}")
                    self.found[name, "visits"].append(visits)
            with Load(server.port, server.dialect) as load:
                load.order("join 1")
                before = server.memory()
                if members > 1:
                    joined = load.order(f"join {members - 1}")
                    self.found[name, ("join", members)].append(joined["joined"] / joined["seconds"])
                    self.found[name, ("memory", members)].append(
                        (server.memory() - before) / (members - 1)
                    )
                for cell in cells:
                    with self.attempt((name, cell)):
                        order = f"talk {cell[1]} {cell[2]} {self.seconds} 0"
                        self.talk(name, cell, server, load, order)
                if members == CALM[0]:
                    with self.attempt((name, "calm")):
                        order = f"talk {CALM[1]} 1 {self.seconds} {CALM[2]}"
                        self.talk(name, "calm", server, load, order)

    def talk(self, name: str, key: Hashable, server: Running, load: Load, order: str) -> None:
        """Give the generator an order to talk, and keep its result with the CPU of all sides."""
        start, others, before = time.perf_counter(), busy(), server.cpu()
        result = load.order(order)
        used = server.cpu() - before
        others = busy() - others - used - result["cpu"]
        result["others_cpu"] = others / (time.perf_counter() - start)
        result["server_cpu"] = used / result["seconds"]
        result["load_cpu"] = result.pop("cpu") / result["seconds"]
        self.found[name, key].append(result)
        # The limit server is the first in each pass, so its last result is of the same pass.
        if limit := self.found[LIMIT_SERVER, key]:
            result["ratio"] = result["rate"] / limit[-1]["rate"]

    def idle(self) -> None:
        """Measure very many idle members on one server; at the end, all hear a few messages.

        The server is not pinned to a core. On one core, the worker that checks passwords would run
        so seldom that the members need minutes to join.
        """
        self.progress(f"{IDLE} idle members")
        with (
            self.attempt(("nonblocking", "idle")),
            self.running("nonblocking", IDLE, pin=False) as server,
        ):
            before = server.memory()
            with Load(server.port, server.dialect) as load:
                result = load.order(f"join {IDLE}")
                result["memory"] = (server.memory() - before) / IDLE
                result["talk"] = load.order("talk 10 1 1 0")
                self.found["nonblocking", "idle"].append(result)

    def history(self) -> None:
        """Measure how fast one member reads a long HISTORY."""
        self.progress(f"HISTORY of {HISTORY:,} events")
        with (
            self.attempt(("nonblocking", "history")),
            self.running("nonblocking", 1, HISTORY) as server,
            Load(server.port, server.dialect) as load,
        ):
            load.order("join 1")
            transcript = self.folder / str(self.runs) / "group" / "transcript"
            before = server.cpu()
            result = load.order(f"history {transcript} {2 * self.seconds}")
            result["server_cpu"] = (server.cpu() - before) / result["seconds"]
            self.found["nonblocking", "history"].append(result)

    def values(self, name: str, key: Hashable, field: str | None = None) -> list[Any]:
        """Return the results of the passes, in order; with `field`, that field of each."""
        runs = self.found.get((name, key), ())
        return [run[field] for run in runs if field in run] if field else list(runs)

    def median(self, name: str, key: Hashable, field: str | None = None) -> float | None:
        """Return the median of values(); None if there are none."""
        values = self.values(name, key, field)
        return statistics.median(values) if values else None


def busy() -> float:
    """Return the seconds that the bench's cores have worked so far, for any program."""
    each = psutil.cpu_times(percpu=True)
    return sum(sum(each[core]) - each[core].idle - each[core].iowait for core in set(cores()))


def machine() -> str:
    """Return in one line the processor, the system, and the cores that the bench uses."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    server, load = cores()
    where = (
        f"server on core {server}, load on core {load}"
        if server != load
        else "server and load share ONE core: the figures are not comparable"
    )
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {system}; {where}"


def cell_of(text: str) -> Cell:
    """Return "100.10.16" as (100, 10, 16). Raises ValueError."""
    members, talkers, under_way = map(int, text.split("."))
    if not (1 <= talkers <= members <= 10_000 and 1 <= under_way <= 1024):
        raise ValueError(text)
    return members, talkers, under_way


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `harness bench`."""
    parser.add_argument(
        "--quick", action="store_true", help="one pass, at most 100 members: about a minute"
    )
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="write tables and a figure to FILE; print the tables only with --text",
    )
    parser.add_argument("--text", action="store_true", help="print the tables (the default)")
    parser.add_argument("--json", metavar="FILE", help="write the figures of each run to FILE")
    parser.add_argument(
        "--cell",
        dest="cells",
        nargs="+",
        metavar="N.S.W",
        help="measure only these: N members, S of them talk, each with W messages under way",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="measure only these servers, and the C server of which the ratios are made",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="seconds for each figure (default: %(default)s)",
    )


def misuse(options: argparse.Namespace) -> str | None:
    """Return in one line what is wrong with the options, or None."""
    for text in options.cells or ():
        try:
            cell_of(text)
        except ValueError:
            return f"--cell {text} is not N.S.W, with N up to 10000, S from 1 to N, W up to 1024"
    if unknown := set(options.only or ()) - set(SERVERS):
        return f"--only {min(unknown)} is none of {', '.join(SERVERS)}"
    return None


def main(options: argparse.Namespace) -> int:
    """Run the bench. Exit status 1 if something failed, 2 for a misuse, else 0."""
    if problem := misuse(options):
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    default = CELLS[:-1] if options.quick else CELLS
    cells = sorted({cell_of(text) for text in options.cells or default})
    only = options.only or SERVERS
    wanted = [name for name in SERVERS if name in only or name == LIMIT_SERVER]
    absent = {name: why for name in wanted if (why := missing(name))}
    try:
        compiled(HERE / "load.c")
    except (Failed, NotCompiled) as why:
        print(f"bench: {why}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="grupo-bench-") as folder:
        present = [name for name in wanted if name not in absent]
        passes = 1 if options.quick else PASSES
        bench = Bench(present, cells, passes, options.seconds, Path(folder))
        bench.run()
        if not options.quick and "nonblocking" in bench.names and not options.cells:
            bench.idle()
            bench.history()
        bench.progress("")
    write(bench, options, absent)
    return 1 if bench.failed else 0


def write(bench: Bench, options: argparse.Namespace, absent: dict[str, str]) -> None:
    """Write the results to the files that the options name, and print them. Raises OSError."""
    about = machine()
    try:
        write_files(bench, options, about, absent)
    finally:
        if options.text or not options.html:
            print(report.text(bench, about, absent))


def write_files(
    bench: Bench, options: argparse.Namespace, about: str, absent: dict[str, str]
) -> None:
    """Write the results to the files that the options name. Raises OSError."""

    def as_page() -> str:
        return report.html(bench, about, absent)

    def as_json() -> str:
        data = {
            "machine": about,
            "absent": absent,
            "found": [
                {"server": name, "what": key, "runs": runs}
                for (name, key), runs in bench.found.items()
                if runs
            ],
            "failed": [
                {"server": name, "what": key, "why": why}
                for (name, key), why in bench.failed.items()
            ],
        }
        return json.dumps(data, indent=1)

    files = (options.html, as_page), (options.json, as_json)
    put_all((path, make) for path, make in files if path)
    if options.html:
        print(f"written: {options.html}", file=sys.stderr)
