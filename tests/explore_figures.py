"""The figures of the explorer: how surely and how soon it finds each kind of race, whether what it
finds replays, how much it explores completely, and false alarms on servers that are right.

    python -m tests.explore_figures [--times 20] [--replays 100] [--runs 20] [--only PART ...]

The full run takes hours on an idle machine; the defaults are small.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from harness.arguments import positive
from harness.driving import deadlines
from harness.driving.server import ROOT
from harness.explore.exploration import (
    CONFIRMATIONS,
    Exploration,
    Explored,
    Workers,
    replay,
    schedule_in,
)
from harness.explore.program import Program, program
from harness.explore.workloads import TABLE
from harness.output import put
from harness.teaching import exhibits
from harness.teaching.soak import stranger
from tests.test_explore import LOST_WAKE_UP, LOST_WAKE_UP_IN_C, in_c, ours_but

CORES = os.cpu_count() or 1
WORKLOADS = {one.name: one for one in TABLE}
PARTS = "races", "complete", "alarms"
# In C: the lock is given up between "is the name free?" and "take it".
RENAMES = '    if (keep(line, "", "RENAMED",'
CHECK_THEN_ACT = ((RENAMES, f"    leave_room();\n    enter_room();\n{RENAMES}"),)
# Each kind of race: (an exhibit, or how to build it; the workload that shows it).
RACES = {
    "check-then-act, C": (lambda folder: in_c(folder, *CHECK_THEN_ACT), "one-name"),
    "check-then-act": ("lock-released-between-check-and-use", "one-name"),
    "ban during a check": ("stale-member-after-hash", "leave-and-takeover"),
    "deliver outside": ("delivery-outside-the-lock", "crossing-names"),
    "two locks": ("deadlock-two-locks", "say-and-leave"),
    "lock per client": ("lock-per-client", "one-name"),
    "lost wake-up": (lambda folder: ours_but(folder, LOST_WAKE_UP), "say"),
    "lost wake-up, C": (lambda folder: in_c(folder, *LOST_WAKE_UP_IN_C), "say"),
    "hub's late decision": ("name-taken-in-the-next-turn", "one-name"),
}
RIGHT = "pthread", "fork", "threads", "processes"


def built(how: object, folder: Path) -> Program:
    """Return a server with a race, built in a folder."""
    if callable(how):
        return explorable(list(map(str, how(folder))), ROOT)
    [exhibit] = [one for one in exhibits.all_exhibits() if one.name == how]
    exhibits.build(exhibit, folder / "tree")
    return explorable(exhibit.command, folder / "tree")


def right(name: str, folder: Path) -> Program:
    """Return a server that is right."""
    if name in ("pthread", "fork"):
        return explorable([sys.executable, "-m", f"implementations.{name}"], ROOT)
    return explorable(stranger(name, folder), ROOT)


def explorable(command: list[str], cwd: Path) -> Program:
    """Return how to explore a command."""
    found = program(command, str(cwd))
    assert isinstance(found, Program), found
    return found


def explored(target: Program, workload: str, clients: int, preemptions: int, seconds: float):
    """Explore a workload; return (what was tried, seconds until the first violation or the end)."""
    search = Exploration(Explored.nothing(WORKLOADS[workload], clients, preemptions))
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="grupo-") as place,
        Workers(target.start, Path(place), CORES) as team,
    ):
        found = search.explore(team, began + seconds)
        return found, time.monotonic() - began


def races(options: argparse.Namespace) -> list[dict]:
    """How often each race is found, after how long, and how often its first schedule replays."""
    rows = []
    for name, (how, workload) in RACES.items():
        with tempfile.TemporaryDirectory(prefix="grupo-") as place:
            target, took, schedule = built(how, Path(place)), [], None
            for _ in range(options.times):
                found, seconds = explored(target, workload, 2, 2, options.seconds)
                if found.replays == CONFIRMATIONS:
                    took.append(seconds)
                    schedule = schedule or found.schedule
            replays = 0
            if schedule:
                file = Path(place, "schedule")
                file.write_text(schedule.text())
                schedule, played = schedule_in(file)
                replays = sum(
                    replay(target.start, Path(place, f"r{n}"), played, schedule).violation
                    is not None
                    for n in range(options.replays)
                )
        row = {
            "race": name,
            "workload": workload,
            "found": f"{len(took)} of {options.times}",
            "median s": round(statistics.median(took), 1) if took else None,
            "most s": round(max(took), 1) if took else None,
            "replays": f"{replays} of {options.replays}",
        }
        show(rows, row)
    return rows


def complete(options: argparse.Namespace) -> list[dict]:
    """How long it takes to try every order of 3 members with at most 2 preemptions."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="grupo-") as place:
        for name in ("pthread", "fork", "threads"):
            for workload in options.workload or WORKLOADS:
                found, seconds = explored(right(name, Path(place)), workload, 3, 2, options.seconds)
                row = {
                    "server": name,
                    "workload": workload,
                    "schedules": found.tree.tried,
                    "complete": found.complete,
                    "s": round(seconds, 1),
                }
                show(rows, row)
    return rows


def alarms(options: argparse.Namespace) -> list[dict]:
    """Violations on servers that are right."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="grupo-") as place:
        for name in RIGHT:
            for workload in options.workload or WORKLOADS:
                target, tried, violations, unsure = right(name, Path(place)), 0, 0, 0
                for _ in range(options.runs):
                    found, _ = explored(target, workload, 2, 2, options.seconds)
                    tried += found.tree.tried
                    violations += bool(found.replays)
                    unsure += bool(found.run and not found.replays)
                row = {
                    "server": name,
                    "workload": workload,
                    "runs": options.runs,
                    "schedules": tried,
                    "false alarms": violations,
                    "not repeated": unsure,
                }
                show(rows, row)
    return rows


def show(rows: list[dict], row: dict) -> None:
    """Print a row, and add it to the others."""
    rows.append(row)
    print("  ".join(f"{head}: {value}" for head, value in row.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=positive, default=1, help="explorations of each race")
    parser.add_argument("--replays", type=positive, default=2, help="of each schedule found")
    parser.add_argument("--runs", type=positive, default=1, help="of each server that is right")
    parser.add_argument("--seconds", type=positive, default=30, help="for each exploration")
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="only these")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="only these parts")
    parser.add_argument("--json", metavar="FILE", help="put the figures into FILE")
    options = parser.parse_args()
    deadlines.DEADLINE = 10
    found = {part: globals()[part](options) for part in options.only}
    if options.json:
        put(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
