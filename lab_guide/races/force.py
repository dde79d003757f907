"""You are the scheduler: forces an order of steps on a program, and says what came of it.

On the counter (counter.py), with or without its lock; or on the pthread server of a folder, while ana and beto, who are in it, both ask
for the name zoe, and carla listens.

    python -m lab_guide.races.force threads|processes [SCHEDULE] [--lock]
    python -m lab_guide.races.force FOLDER [SCHEDULE]

The exit status is 0 if the schedule is impossible in that program, which is what a lock is there for; 1 if it came true,
or if the program is deadlocked. What it waits for meanwhile is written to stderr.
"""
import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from harness.driving.record import Unmet
from harness.teaching.notebook import under
from harness.tracing.gates import Wrong, force_on

LOST = "ana:read beto:read ana:write beto:write"
TRIES = 3                   # a server without a lock may fall over before the schedule begins
TICK = 0.2                  # seconds between two looks at whether the parent still lives


def tell(text):
    print(f"force: {text}", file=sys.stderr, flush=True)


def ends_in_order():
    """SIGTERM, SIGINT, SIGHUP and the end of the parent end this program, and that ends the server that it started."""
    def stop(number, _):
        for other in told:
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    def watch(parent):
        while os.getppid() == parent:
            time.sleep(TICK)
        os.kill(os.getpid(), signal.SIGTERM)

    told = [number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    for number in told:
        signal.signal(number, stop)
    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


def count(kind, schedule, *options):
    """(what the counter prints, Forced)."""
    out, forced = under(schedule, sys.executable, "-m", "lab_guide.races.counter", kind, *options, tell=tell)
    return out.strip(), forced


def both_want_zoe(folder, schedule):
    """(what carla heard of it, Forced). Raises Unmet, OSError."""
    forced, lines = force_on([sys.executable, "-m", "implementations.pthread"], folder, schedule, {"ana": "NAME zoe", "beto": "NAME zoe"}, "carla",
                             tell=tell)
    heard = [" ".join(word for at, word in enumerate(line.split(" ")) if at != 2) for line in lines if line.startswith("RENAMED")]
    return "carla hears " + ", ".join(heard or ["nothing"]), forced


def main():
    parser = argparse.ArgumentParser(prog="python -m lab_guide.races.force", description="Forces an order of steps on a program, and says what came of it.")
    parser.add_argument("what", metavar="threads|processes|FOLDER", help="the counter, or the folder of a lab, whose pthread server is run")
    parser.add_argument("schedule", nargs="?", default=LOST, metavar="SCHEDULE", help="default: %(default)s")
    parser.add_argument("--lock", action="store_true", help="the counter with its lock")
    options = parser.parse_intermixed_args()
    ends_in_order()
    for number in range(1, TRIES + 1):
        try:
            if options.what in ("threads", "processes"):
                told, forced = count(options.what, options.schedule, *["--lock"] * options.lock)
            elif Path(options.what, "implementations", "pthread.py").is_file():
                told, forced = both_want_zoe(options.what, options.schedule)
            else:
                sys.exit(f"force: {options.what} has no implementations/pthread.py: name a lab's folder, or `threads`, or `processes`")
            break
        except Wrong as why:
            sys.exit(f"force: {why}")
        except (Unmet, OSError) as why:
            told = "\n".join([f"the server did not get that far: {why}", *getattr(why, "__notes__", [])])
            if getattr(why, "proven", False) or number == TRIES:
                sys.exit(f"force: {told}")
            tell(f"try {number} of {TRIES}: {told}")
    return show(told, forced)


def show(told, forced):
    """Prints what came of it; returns the exit status."""
    print(told)
    print(forced)
    if forced.deadlock:
        print("The program stands still for ever: that is a bug of its own, and no lock that says no.")
    elif not forced.possible:
        print("The lock says no.")
    if forced.after:
        print(f"Afterwards, with all gates open: {forced.after}")
    if forced.stderr and (forced.stuck or forced.after):
        print("\n".join(["The server's last lines on stderr:", *forced.stderr]), file=sys.stderr)
    return 1 if forced.possible or forced.deadlock else 0


if __name__ == "__main__":
    sys.exit(main())
