"""The bench: Grupo's three servers and others like them under the same load, side by side.

A figure means something only beside another of the same minute: so the servers take turns (A B C A B C), and each is shown
as a ratio to a C server that does the least there is to do. What a server has not delivered right is not counted at all.
"""
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

from harness.bench import report
from harness.bench.run import Failed, HERE, LIMIT_SERVER, Load, Running, SERVERS, cores, missing
from harness.driving.compiled import NotCompiled, compiled

CELLS = ("10.10.1", "100.10.1", "100.10.16", "100.100.1", "1000.1000.1")    # members, of them talk, messages on their way each
PASSES, SECONDS = 3, 1.0
CALM = 100, 10, 500                 # members, of them talk, messages a second between them: the open loop
VISITORS = 8                        # at once
IDLE = 10_000
HISTORY = 1_000_000                 # events
TOO_SLOW = 5                        # who takes so many times SECONDS for a cell is not asked again


class Bench:
    def __init__(self, names, cells, passes, seconds, folder):
        self.names, self.cells, self.passes, self.seconds, self.folder = names, cells, passes, seconds, folder
        self.runs = 0
        self.found = defaultdict(list)      # (server, cell or other title): what each pass found
        self.failed = {}                    # the same key: why it could not be measured

    def running(self, name, members, messages=0, pin=True):
        self.runs += 1
        return Running(name, self.folder / str(self.runs), members, messages, pin)

    def progress(self, text):
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif text:
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def attempt(self, key):
        """What fails is shown as failed, and the bench goes on."""
        try:
            yield
        except (Failed, NotCompiled) as why:
            self.failed[key] = str(why)

    def run(self):
        for number in range(self.passes):
            for members in sorted({cell[0] for cell in self.cells}):
                for name in self.names:
                    cells = [cell for cell in self.cells if cell[0] == members and not self.is_hopeless(name, cell)]
                    self.progress(f"pass {number + 1} of {self.passes}, {members} members, {name}")
                    if cells:
                        with self.attempt((name, members)):
                            self.session(name, members, cells)

    def is_hopeless(self, name, cell):
        return (name, cell) in self.failed or any(run["seconds"] > TOO_SLOW * self.seconds for run in self.found[name, cell])

    def session(self, name, members, cells):
        """One server with so many members: all that is to be measured with them."""
        with self.running(name, members) as server:
            self.found[name, "start"].append(server.started_in)
            if members == self.cells[0][0]:
                with self.attempt((name, "visits")), Load(server.port, server.dialect) as load:
                    self.found[name, "visits"].append(load.order(f"visit {min(VISITORS, members)} {self.seconds / 2}"))
            with Load(server.port, server.dialect) as load:
                load.order("join 1")
                before = server.memory()
                if members > 1:
                    joined = load.order(f"join {members - 1}")
                    self.found[name, ("join", members)].append(joined["joined"] / joined["seconds"])
                    self.found[name, ("memory", members)].append((server.memory() - before) / (members - 1))
                for cell in cells:
                    with self.attempt((name, cell)):
                        self.talk(name, cell, server, load, f"talk {cell[1]} {cell[2]} {self.seconds} 0")
                if members == CALM[0]:
                    with self.attempt((name, "calm")):
                        self.talk(name, "calm", server, load, f"talk {CALM[1]} 1 {self.seconds} {CALM[2]}")

    def talk(self, name, key, server, load, order):
        start, others, before = time.perf_counter(), busy(), server.cpu()
        found = load.order(order)
        used = server.cpu() - before
        found["others_cpu"] = (busy() - others - used - found["cpu"]) / (time.perf_counter() - start)
        found["server_cpu"] = used / found["seconds"]
        found["load_cpu"] = found.pop("cpu") / found["seconds"]
        self.found[name, key].append(found)
        if limit := self.found[LIMIT_SERVER, key]:
            found["ratio"] = found["rate"] / limit[-1]["rate"]      # of the same pass: that server is the first in each

    def idle(self):
        """Very many members who do nothing, on the server made for that; at the end all hear a few messages.

        It has both cores: else the worker who checks passwords seldom gets its turn, and to come in takes minutes.
        """
        self.progress(f"{IDLE} idle members")
        with self.attempt(("nonblocking", "idle")), self.running("nonblocking", IDLE, pin=False) as server:
            before = server.memory()
            with Load(server.port, server.dialect) as load:
                found = load.order(f"join {IDLE}")
                found["memory"] = (server.memory() - before) / IDLE
                found["talk"] = load.order("talk 10 1 1 0")
                self.found["nonblocking", "idle"].append(found)

    def history(self):
        self.progress(f"HISTORY of {HISTORY:,} events")
        with self.attempt(("nonblocking", "history")), self.running("nonblocking", 1, HISTORY) as server:
            with Load(server.port, server.dialect) as load:
                load.order("join 1")
                transcript = self.folder / str(self.runs) / "group" / "transcript"
                before = server.cpu()
                found = load.order(f"history {transcript} {2 * self.seconds}")
                found["server_cpu"] = (server.cpu() - before) / found["seconds"]
                self.found["nonblocking", "history"].append(found)

    def values(self, name, key, field=None):
        """What the passes found, in order."""
        runs = self.found.get((name, key), ())
        return [run[field] for run in runs if field in run] if field else list(runs)

    def median(self, name, key, field=None):
        values = self.values(name, key, field)
        return statistics.median(values) if values else None


def busy():
    """Seconds that the bench's cores have worked so far, for whomever."""
    each = psutil.cpu_times(percpu=True)
    return sum(sum(each[core]) - each[core].idle - each[core].iowait for core in set(cores()))


def machine():
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    server, load = cores()
    where = f"server on core {server}, load on core {load}" if server != load else "ONE core for server and load: no fair figures"
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}; {where}"


def cell_of(text):
    """"100.10.16" as (100, 10, 16). Raises ValueError."""
    members, talkers, on_the_way = map(int, text.split("."))
    if not (1 <= talkers <= members <= 10_000 and 1 <= on_the_way <= 1024):
        raise ValueError(text)
    return members, talkers, on_the_way


def arguments(parser):
    """Adds what `harness bench` takes."""
    parser.add_argument("--quick", action="store_true", help="one pass, at most 100 members: about a minute")
    parser.add_argument("--html", metavar="FILE", help="put tables and a figure into FILE; printed then only with --text")
    parser.add_argument("--text", action="store_true", help="print the tables (the default)")
    parser.add_argument("--json", metavar="FILE", help="put each run's figures into FILE")
    parser.add_argument("--cell", dest="cells", nargs="+", metavar="N.S.W",
                       help="only these: N members, S of them talk, each has W messages on the way")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these servers, and the C server they are measured by")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure (default: %(default)s)")


def main(options):
    for text in options.cells or ():
        try:
            cell_of(text)
        except ValueError:
            print(f"bench: --cell {text}: N.S.W is wanted, S of 1 to N of at most 10000, W of 1 to 1024", file=sys.stderr)
            return 2
    if unknown := set(options.only or ()) - set(SERVERS):
        print(f"bench: --only {min(unknown)}: there are {', '.join(SERVERS)}", file=sys.stderr)
        return 2
    cells = sorted({cell_of(text) for text in options.cells or (CELLS[:-1] if options.quick else CELLS)})
    wanted = [name for name in SERVERS if not options.only or name in options.only or name == LIMIT_SERVER]
    absent = {name: why for name in wanted if (why := missing(name))}
    try:
        compiled(HERE / "load.c")
    except (Failed, NotCompiled) as why:
        print(f"bench: {why}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="grupo-bench-") as folder:
        present = [name for name in wanted if name not in absent]
        bench = Bench(present, cells, 1 if options.quick else PASSES, options.seconds, Path(folder))
        bench.run()
        if not options.quick and "nonblocking" in bench.names and not options.cells:
            bench.idle()
            bench.history()
        bench.progress("")
    about = machine()
    if options.text or not options.html:
        print(report.text(bench, about, absent))
    if options.html:
        Path(options.html).write_text(report.html(bench, about, absent), encoding="utf-8")
        print(f"written: {options.html}", file=sys.stderr)
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": about, "absent": absent, "found": [
            {"server": key[0], "what": key[1], "runs": runs} for key, runs in bench.found.items() if runs],
            "failed": [{"server": key[0], "what": key[1], "why": why} for key, why in bench.failed.items()]}, indent=1))
    return 1 if bench.failed else 0
