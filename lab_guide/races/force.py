"""You are the scheduler: this command forces an order of steps on a program, and prints the result.

The program is the counter (counter.py), with or without its lock. Or it is the pthread server of a
folder: the members ana and ben both ask for the name zoe, and carla listens.

    python -m lab_guide.races.force threads|processes [SCHEDULE] [--lock]
    python -m lab_guide.races.force FOLDER [SCHEDULE]

The exit status is 0 if the schedule is impossible in that program, which is the purpose of a lock.
It is 1 if all steps were taken in this order, or if the program is deadlocked. While the command
waits for a step, it writes the reason to stderr.
"""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from harness.driving.record import CheckFailed
from harness.output import run
from harness.tracing.gates import Forced, Wrong, force_on
from harness.tracing.programs import under

LOST = "ana:read ben:read ana:write ben:write"
TRIES = 3  # a server without a lock may crash before the schedule begins
TICK = 0.2  # seconds between two checks that the parent still exists


def tell(text: str):
    """Prints one line of progress on stderr."""
    print(f"force: {text}", file=sys.stderr, flush=True)


def stop_with_parent():
    """Ends this program on SIGTERM, SIGINT, SIGHUP, and when its parent ends.

    The program then leaves its `with` blocks, and that ends the server that it started. A signal
    that was ignored at the start stays ignored.
    """

    def stop(number, _):
        for other in handled:  # a second signal must not interrupt the cleanup
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    def watch(parent):
        while os.getppid() == parent:
            time.sleep(TICK)
        os.kill(os.getpid(), signal.SIGTERM)

    handled = [
        number
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    ]
    for number in handled:
        signal.signal(number, stop)
    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


def count(kind: str, schedule: str, *options: str) -> tuple[str, Forced]:
    """Forces `schedule` on the counter. `kind`: threads or processes; `options`: further arguments.

    Returns what the counter printed, and the outcome of the schedule. Raises Wrong if the schedule
    cannot be parsed.
    """
    out, forced = under(
        schedule, sys.executable, "-m", "lab_guide.races.counter", kind, *options, tell=tell
    )
    return out.strip(), forced


def both_want_zoe(folder: str, schedule: str) -> tuple[str, Forced]:
    """Forces `schedule` on the pthread server of `folder`, while ana and ben both send NAME zoe.

    Returns the RENAMED events that carla received, and the outcome of the schedule. Raises Wrong if
    the schedule cannot be parsed; CheckFailed or OSError if the server fails before the schedule.
    """
    forced, lines = force_on(
        [sys.executable, "-m", "implementations.pthread"],
        folder,
        schedule,
        {"ana": "NAME zoe", "ben": "NAME zoe"},
        "carla",
        tell=tell,
    )
    events = [line.split(" ") for line in lines if line.startswith("RENAMED")]
    received = [" ".join(words[:2] + words[3:]) for words in events]  # without the time
    return "carla hears " + ", ".join(received or ["nothing"]), forced


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab_guide.races.force",
        description="Forces an order of steps on a program, and prints the result.",
    )
    parser.add_argument(
        "what",
        metavar="threads|processes|FOLDER",
        help="the counter, or the folder of a lab: its pthread server is run",
    )
    parser.add_argument(
        "schedule", nargs="?", default=LOST, metavar="SCHEDULE", help="default: %(default)s"
    )
    parser.add_argument("--lock", action="store_true", help="run the counter with its lock")
    options = parser.parse_intermixed_args()
    stop_with_parent()
    for number in range(1, TRIES + 1):
        try:
            if options.what in ("threads", "processes"):
                result, forced = count(options.what, options.schedule, *["--lock"] * options.lock)
            elif Path(options.what, "implementations", "pthread.py").is_file():
                result, forced = both_want_zoe(options.what, options.schedule)
            else:
                sys.exit(
                    f"force: {options.what} has no implementations/pthread.py: "
                    "name a lab's folder, or `threads`, or `processes`"
                )
            break
        except Wrong as error:
            sys.exit(f"force: {error}")
        except (CheckFailed, OSError) as error:
            notes = getattr(error, "__notes__", [])
            result = "\n".join([f"the server did not get that far: {error}", *notes])
            if getattr(error, "proven", False) or number == TRIES:
                sys.exit(f"force: {result}")
            tell(f"try {number} of {TRIES}: {result}")
    return show(result, forced)


def show(result: str, forced: Forced) -> int:
    """Prints the program's result and the outcome of the schedule. Returns the exit status."""
    print(result)
    print(forced)
    if forced.deadlock:
        print(
            "The program is deadlocked. That is a bug of its own: "
            "it does not show that the lock works."
        )
    elif not forced.possible:
        print("The lock says no.")
    if forced.after:
        print(f"Afterwards, with all gates open: {forced.after}")
    if forced.stderr and (forced.stuck or forced.after):
        print("\n".join(["The server's last lines on stderr:", *forced.stderr]), file=sys.stderr)
    return 1 if forced.possible or forced.deadlock else 0


if __name__ == "__main__":
    run(main)
