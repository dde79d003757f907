"""python -m harness trace: what is done with traces beside drawing them. `cost` measures what tracing itself costs, on this machine."""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from harness.driving.crowd import Crowd, Script
from harness.driving.server import DESIGNS, Server
from harness.tracing import perfetto, runs, traces

WAYS = "off", "mem", "write"
PEOPLE, SAYS, TURN = (
    10,
    500,
    4,
)  # of the load: so many talk, each says so much, with so many lines on the way
CALLS = 200_000  # of a point that is off, to time one


def arguments(parser):
    """Adds what `harness trace` takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, about in (
        ("perfetto", "write runs as a file that opens in the Perfetto UI"),
        ("view", "serve the Perfetto UI, with these runs in it, from this machine"),
    ):
        action = actions.add_parser(
            name, help=about, allow_abbrev=False, description=f"{about.capitalize()}."
        )
        action.add_argument(
            "runs",
            nargs="+",
            metavar="RUN",
            help="a run's folder, as `compare --runs` keeps them, or what --trace wrote",
        )
        if name == "perfetto":
            action.add_argument("--to", metavar="FILE", help="(default: RUN/perfetto.json)")
        else:
            action.add_argument("--port", type=int, default=0, help="(default: a free one)")
            action.add_argument("--no-browser", action="store_true", help="open none: only serve")
    action = actions.add_parser(
        "cost",
        help="measure what tracing costs, on this machine",
        allow_abbrev=False,
        description="Each server without a trace, with one in memory, and with one written at once, in turn. The exit status is 1 if it costs more than it should.",
    )
    action.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    action.add_argument("--json", metavar="FILE", help="put the figures into FILE")


def main(options):
    """0; 1 if the figures that must hold do not (cost); 2 for a run that cannot be read."""
    if options.action == "cost":
        return cost(options.rounds, options.json)
    try:
        found = [traces.load(folder) for folder in options.runs]
        if options.action == "perfetto":
            to = options.to or Path(options.runs[0], "perfetto.json")
            perfetto.write(found, to)
            print(f"{to}: opens in the Perfetto UI; `python -m harness trace view` serves one")
        else:
            perfetto.view(found, options.port, not options.no_browser)
    except OSError as error:
        print(
            f"trace: {error.filename or error}" + (f": {error.strerror}" if error.filename else ""),
            file=sys.stderr,
        )
        return 2
    for run in found:
        for what in run.missing:
            print(f"{run.title}: {what}", file=sys.stderr)
    return 0


# -- What it costs --------------------------------------------------------------------------------------------------------------------


def cost(rounds, path):
    """Off, mem and write in turn on each design, `rounds` times. Prints messages a second, and what of it is left when tracing is on."""
    off = point_off()
    print(
        f"{rounds} rounds; in each, every server runs {WAYS[0]}, {WAYS[1]} and {WAYS[2]}, one after the other. {PEOPLE} members, all talk, {PEOPLE * SAYS:,} messages, up to {TURN} of each on the way.",
        flush=True,
    )
    rates = {(design, way): [] for design in DESIGNS for way in WAYS}
    events = {}
    with tempfile.TemporaryDirectory(prefix="grupo-cost-") as home:
        for number in range(rounds):
            for design in DESIGNS:
                for way in WAYS[number % 3 :] + WAYS[: number % 3]:  # nobody is always first
                    folder = Path(home, f"{number}-{design}-{way}")
                    rate, count = measure(design, way, folder)
                    rates[design, way].append(rate)
                    events.setdefault(design, count) if way == "mem" else None
    found = {}
    print(
        f"{'':<12} {'messages/s off':>15} {'mem':>6} {'write':>6} {'points a message':>17} {'what off costs':>15}"
    )
    for design in DESIGNS:
        medians = {way: statistics.median(rates[design, way]) for way in WAYS}
        share = {
            way: statistics.median(
                on / without for on, without in zip(rates[design, way], rates[design, "off"])
            )
            for way in WAYS[1:]
        }
        points = events[design] / 2 / (PEOPLE * SAYS)
        lost = points * off * medians["off"]
        found[design] = {
            "off": medians["off"],
            "mem": share["mem"],
            "write": share["write"],
            "points": points,
            "off_cost": lost,
        }
        print(
            f"{design:<12} {medians['off']:>15,.0f} {share['mem']:>6.2f} {share['write']:>6.2f} {points:>17.2f} {lost:>14.2%}"
        )
    print(
        f"messages/s: of the processor time that the server used, so that neither the clients nor other programs count; medians.\n"
        f"mem, write: the part of it that is left with tracing; the median of the rounds' ratios.\n"
        f"Off there is no trace point: traced() and lock() hand back what they were given. What is left of one is at most a call by another name: {off * 1e9:.0f} ns here.\n"
        f"That, times points a message, times messages a second, is what off costs: a computed bound, since a server without the points is not at hand."
    )
    good = all(one["off_cost"] < 0.02 and one["mem"] > 0.75 for one in found.values())
    print(
        "off costs under 2 %, mem under 25 %: "
        + (
            "so it is here"
            if good
            else "not so here: "
            + "; ".join(
                f"{design} {'mem ' + format(1 - one['mem'], '.0%') if one['mem'] <= 0.75 else 'off ' + format(one['off_cost'], '.1%')}"
                for design, one in found.items()
                if one["mem"] <= 0.75 or one["off_cost"] >= 0.02
            )
        )
    )
    if path:
        Path(path).write_text(
            json.dumps({"schema": 1, "point_off": off, "designs": found}, indent=1),
            encoding="utf-8",
        )
    return 0 if good else 1


def point_off():
    """Seconds that what is left of a trace point takes when tracing is off: one attribute and one call more than none at all."""
    from implementations.common.trace import traced

    class Owner:
        pass

    owner, function = Owner(), len
    owner.call = traced("send", function)
    assert owner.call is function
    best = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(CALLS):
            owner.call("")
        middle = time.perf_counter()
        for _ in range(CALLS):
            function("")
        best.append((middle - began - (time.perf_counter() - middle)) / CALLS)
    return max(0.0, statistics.median(best))


def measure(design, way, folder):
    """(messages for a second of the server's processor time, how many events were traced)."""
    folder.mkdir()
    names = runs.write_members(folder / "group", PEOPLE)
    args = ["--admit", "all", "--hashes", "2"] + (
        [] if way == "off" else ["--trace", folder / "trace", "--trace-sink", way]
    )
    with (
        Server(design, directory=folder / "group", args=args) as server,
        Crowd(server.address, server.record) as crowd,
    ):
        crowd.enter(names)
        before = processor(server)
        crowd.play(
            {
                name: Script(
                    [f"SAY message {number} of {name}" for number in range(SAYS)], turn=TURN
                )
                for name in names
            }
        )
        rate = PEOPLE * SAYS / (processor(server) - before)
        crowd.close()
    count = (
        sum(file.read_bytes().count(b"\n") for file in (folder / "trace").glob("*.jsonl"))
        if way != "off"
        else 0
    )
    return rate, count


def processor(server):
    """Seconds of processor time that its threads have used: exact where the kernel tells, else as exact as its clock ticks."""
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
