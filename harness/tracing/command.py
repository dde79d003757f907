"""python -m harness trace: shows a run in the Perfetto UI, or measures the cost of tracing here."""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.driving.crowd import Crowd, Script
from harness.driving.server import DESIGNS, Server
from harness.output import put
from harness.tracing import perfetto, runs, traces
from harness.verdicts import language
from harness.verdicts.formats import player
from harness.verdicts.language import say

WAYS = "off", "mem", "write"
# The load: members that all talk, messages of each, and lines of each that are on their way.
PEOPLE, SAYS, TURN = 10, 500, 4
CALLS = 200_000  # calls of a trace point that is off, to time one
MOST_OFF, LEAST_MEM = 0.02, 0.75  # what must hold: the cost of `off`, the rate that `mem` leaves


def arguments(parser: argparse.ArgumentParser):
    """Adds the arguments of `harness trace` to a parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, about in (
        ("perfetto", "write runs as a file that opens in the Perfetto UI"),
        ("player", "write runs as a page that plays them on one clock"),
        ("view", "serve the Perfetto UI, with these runs in it, from this machine"),
    ):
        action = actions.add_parser(
            name, help=about, allow_abbrev=False, description=f"{about.capitalize()}."
        )
        action.add_argument(
            "runs",
            nargs="+",
            metavar="RUN",
            help="a run's folder, as `compare --runs` keeps it, or a folder that --trace wrote",
        )
        if name == "perfetto":
            action.add_argument("--to", metavar="FILE", help="(default: RUN/perfetto.json)")
        elif name == "player":
            action.add_argument("--to", metavar="FILE", help="(default: RUN/player.html)")
            action.add_argument("--lang", choices=language.LANGUAGES, help="of the page")
        else:
            action.add_argument("--port", type=int, default=0, help="(default: any free port)")
            action.add_argument("--no-browser", action="store_true", help="open no browser")
    action = actions.add_parser(
        "cost",
        help="measure the cost of tracing on this machine",
        allow_abbrev=False,
        description="Run each server without a trace, with a trace in memory, and with a trace "
        "that is written at once, in turn. The exit status is 1 if tracing costs more than it "
        "should.",
    )
    action.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    action.add_argument("--json", metavar="FILE", help="write the figures to FILE")


def main(options: argparse.Namespace) -> int:
    """Runs `harness trace`, and returns its exit status.

    0; 1 if tracing costs more than it should (cost); 2 if a run cannot be read.
    """
    if options.action == "cost":
        return cost(options.rounds, options.json)
    try:
        loaded = [traces.load(folder) for folder in options.runs]
        if options.action == "perfetto":
            to = options.to or Path(options.runs[0], "perfetto.json")
            perfetto.write(loaded, to)
            print(f"{to}: opens in the Perfetto UI; `python -m harness trace view` serves one")
        elif options.action == "player":
            language.choose(options.lang)
            to = options.to or Path(options.runs[0], "player.html")
            put(to, player_of(loaded))
            print(say("{file}: opens in a browser, without a network", file=to))
        else:
            perfetto.view(loaded, options.port, not options.no_browser)
    except OSError as error:
        reason = f": {error.strerror}" if error.filename else ""
        print(f"trace: {error.filename or error}{reason}", file=sys.stderr)
        return 2
    for run in loaded:
        for what in run.missing:
            print(f"{run.title}: {what}", file=sys.stderr)
    return 0


def player_of(loaded: list[traces.Run]) -> str:
    """Returns a page that plays these runs."""
    from harness.tracing import films  # draws with what figures need

    return player.page(", ".join(run.title for run in loaded), list(map(films.film, loaded)))


# -- The cost -------------------------------------------------------------------------------------


def cost(rounds: int, path: str | None) -> int:
    """Measures each design with tracing off, mem and write, in turn, and prints the result.

    rounds      how often
    path        a file for the figures, as JSON; or None

    Returns the exit status: 1 if tracing costs more than it should.
    """
    off = point_off()
    print(
        f"{rounds} rounds; in each, every server runs {WAYS[0]}, {WAYS[1]} and {WAYS[2]}, one "
        f"after the other.\n{PEOPLE} members, all talk, {PEOPLE * SAYS:,} messages, up to {TURN} "
        "of each on the way.",
        flush=True,
    )
    rates, events = measure_all(rounds)
    designs = {
        design: cost_of({way: rates[design, way] for way in WAYS}, events[design], off)
        for design in DESIGNS
    }
    if path:
        data = {"schema": 1, "point_off": off, "designs": designs}
        put(path, json.dumps(data, indent=1))
    print(
        f"{'':<12} {'messages/s off':>15} {'mem':>6} {'write':>6} {'points a message':>17} "
        f"{'cost of off':>15}"
    )
    for design, its in designs.items():
        print(
            f"{design:<12} {its['off']:>15,.0f} {its['mem']:>6.2f} {its['write']:>6.2f} "
            f"{its['points']:>17.2f} {its['off_cost']:>14.2%}"
        )
    print(
        "messages/s: per second of processor time that the server used, so neither the clients nor "
        "other programs count; medians.\n"
        "mem, write: the part of that rate that is left with tracing; the median of the rounds' "
        "ratios.\n"
        "Off, there is no trace point: traced() and lock() return what they were given. What is "
        f"left of a point is at most a call by another name: {off * 1e9:.0f} ns here.\n"
        "That, times points a message, times messages a second, is the cost of off: a computed "
        "bound, since there is no server without the points to compare with."
    )
    wrong = [text for design, its in designs.items() if (text := too_much(design, its))]
    print(
        f"off costs under {MOST_OFF:.0%}, mem under {1 - LEAST_MEM:.0%}: "
        + (f"not here: {'; '.join(wrong)}" if wrong else "so it is here")
    )
    return 1 if wrong else 0


def measure_all(rounds: int) -> tuple[dict[tuple[str, str], list[float]], dict[str, int]]:
    """Returns ({(design, way): rate of each round}, {design: events that were traced})."""
    rates = {(design, way): [] for design in DESIGNS for way in WAYS}
    events = {}
    with tempfile.TemporaryDirectory(prefix="grupo-cost-") as home:
        for number in range(rounds):
            first = number % len(WAYS)  # so that no way is always first
            for design in DESIGNS:
                for way in WAYS[first:] + WAYS[:first]:
                    rate, count = measure(design, way, Path(home, f"{number}-{design}-{way}"))
                    rates[design, way].append(rate)
                    if way == "mem":
                        events.setdefault(design, count)
    return rates, events


def cost_of(rates: dict[str, list[float]], events: int, off: float) -> dict[str, Any]:
    """Returns the figures of one design.

    rates       {way: messages per second of processor time, in each round}
    events      events in a trace
    off         seconds of a trace point that is off
    """
    rate = statistics.median(rates["off"])
    points = events / 2 / (PEOPLE * SAYS)
    shares = {
        way: statistics.median(on / none for on, none in zip(rates[way], rates["off"], strict=True))
        for way in ("mem", "write")
    }
    return {"off": rate, **shares, "points": points, "off_cost": points * off * rate}


def too_much(design: str, its: dict[str, Any]) -> str:
    """Returns what tracing costs a design, if that is too much; else ""."""
    if its["mem"] <= LEAST_MEM:
        return f"{design} mem {1 - its['mem']:.0%}"
    return f"{design} off {its['off_cost']:.1%}" if its["off_cost"] >= MOST_OFF else ""


def point_off() -> float:
    """Returns the seconds that a trace point takes when tracing is off.

    That is one attribute and one call more than without the point.
    """
    from implementations.common.trace import traced

    class Owner:
        pass

    owner, function = Owner(), len
    owner.call = traced("send", function)
    assert owner.call is function
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(CALLS):
            owner.call("")
        middle = time.perf_counter()
        for _ in range(CALLS):
            function("")
        times.append((middle - began - (time.perf_counter() - middle)) / CALLS)
    return max(0.0, statistics.median(times))


def measure(design: str, way: str, folder: Path) -> tuple[float, int]:
    """Runs the load on a design once, in the new folder `folder`.

    Returns (messages per second of the server's processor time, events that were traced).
    """
    folder.mkdir()
    names = runs.write_members(folder / "group", PEOPLE)
    args = ["--admit", "all", "--hashes", "2"]
    if way != "off":
        args += ["--trace", folder / "trace", "--trace-sink", way]
    with (
        Server(design, directory=folder / "group", args=args) as server,
        Crowd(server.address, server.record) as crowd,
    ):
        crowd.enter(names)
        before = processor(server)
        scripts = {
            name: Script([f"SAY message {number} of {name}" for number in range(SAYS)], turn=TURN)
            for name in names
        }
        crowd.play(scripts)
        rate = PEOPLE * SAYS / (processor(server) - before)
        crowd.close()
    files = (folder / "trace").glob("*.jsonl")
    return rate, sum(file.read_bytes().count(b"\n") for file in files)


def processor(server: Server) -> float:
    """Returns the seconds of processor time that the server's threads have used.

    Exact where the kernel has /proc/PID/task/TID/schedstat; elsewhere to a tick of its clock.
    """
    try:
        return (
            sum(
                int(file.read_text().split()[0])
                for process in server.family()
                for file in Path(f"/proc/{process.pid}/task").glob("*/schedstat")
            )
            / 1e9
        )
    except OSError:
        return server.cpu()
