"""python -m harness.grading.cost: what tier A costs on this machine.

It starts an empty program many times, as a plain process and in a cell, in turn, and prints the
medians. Then it judges a solution with some checks, in turn without and with the tier, and prints
the medians of what each check took.
"""

import io
import json
import os
import statistics
import sys
import tarfile
import tempfile
import time

from harness.driving import cells
from harness.grading import cell, judge, supervisor
from harness.teaching import starter

STARTS, ROUNDS = 30, 5
LAB = 3
# Checks of some seconds that start a server once, and one that starts it often.
CHECKS = ["everyone-hears-everything", "much-at-once", "connects-at-once"]


def starts(cell_: cells.Cell) -> float:
    """Return the seconds from the start of an empty program to its end."""
    folder = tempfile.mkdtemp()
    began = time.perf_counter()
    launch = cell_.started(["/bin/true"], cwd=folder, env={"PATH": cell.PATH})
    if cells.Process(launch).wait() != 0:
        raise cells.CellError("/bin/true")
    return time.perf_counter() - began


def measure_starts() -> dict[str, float]:
    """Return the medians of many starts, in milliseconds. Within the outer wall only."""
    kinds = {"plain": cells.DIRECT, "cell": cell.Bubblewrap()}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(STARTS):
        for name, one in kinds.items():
            found[name].append(1000 * starts(one))
    return {name: round(statistics.median(times), 1) for name, times in found.items()}


def solution() -> bytes:
    """Return the archive of a solution of LAB."""
    with tempfile.TemporaryDirectory() as place:
        begun = starter.read(LAB)
        starter.write(begun, f"{place}/lab")
        starter.put_back(begun, f"{place}/lab")
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            archive.add(f"{place}/lab", arcname=".")
        return data.getvalue()


def measure_checks() -> dict[str, dict[str, float]]:
    """Return the median seconds of each check, by the tier."""
    archive, found = solution(), {}
    for _ in range(ROUNDS):
        for tier in "none", "A":
            job = judge.Job(
                LAB, "python", "", archive, tier=tier, only=CHECKS, workers=1, seed="same"
            )
            for verdict in judge.run(job).report["verdicts"]:
                times = found.setdefault(tier, {}).setdefault(verdict["check"], [])
                times.append(verdict["seconds"])
    return {
        tier: {check: round(statistics.median(times), 2) for check, times in checks.items()}
        for tier, checks in found.items()
    }


def main() -> None:
    """Measure, and print; with a descriptor as argument: what is measured within the wall."""
    if len(sys.argv) > 1:
        os.write(int(sys.argv[1]), json.dumps(measure_starts()).encode())
        return
    argv = [sys.executable, "-P", "-m", "harness.grading.cost"]
    with cell.wall(argv, judge.environment()) as start:
        found = supervisor.supervise(start, b"", total=60)
    print("start, ms:", found.result.decode() or found.log.text())
    for tier, checks in measure_checks().items():
        print(f"checks, s, tier {tier}:", checks)


if __name__ == "__main__":
    main()
