"""python -m harness watch: what `make watch` does in a starting folder: `make check` again at each
save of a file.
"""

import argparse
import contextlib
import datetime
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from harness.driving.messages import listed
from harness.teaching import lab
from harness.verdicts import language
from harness.verdicts.formats.render import clean
from harness.verdicts.language import say

TICK = 0.3  # seconds between two looks at the files
SOURCES = {".py", ".c", ".h"}
Saved = dict[str, tuple[int, int]]  # of each source, by its path: when it was saved, and its size
screen = Console(highlight=False, markup=False, soft_wrap=True)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `harness watch` takes: what `harness lab` takes."""
    lab.arguments(parser)


def main(options: argparse.Namespace) -> int:
    """Judge the folder at each save, until Ctrl-C. Return the exit status: 0, or 2 for misuse."""
    language.choose(options.lang)
    folder = Path(options.folder)
    if not folder.is_dir():
        why = say("{folder}: no such folder", folder=clean(str(folder)))
        print(f"watch: {why}", file=sys.stderr)
        return 2
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            changed = judged_until_saved(folder)
            screen.print()
            screen.rule(
                say(
                    "{time}: {files} saved",
                    time=f"{datetime.datetime.now():%H:%M:%S}",
                    files=clean(listed(changed)),
                )
            )
    return 0


def judged_until_saved(folder: Path) -> list[str]:
    """Judge the folder, as this command's arguments say. Return the files that were saved since.

    A run that is under way then is ended: it judges a program that is no longer the student's.
    """
    before = saved(folder)
    check = subprocess.Popen([sys.executable, "-m", "harness", "lab", *sys.argv[2:]])
    try:
        is_under_way = True
        while not (changed := changes(before, folder)):
            time.sleep(TICK)
            if is_under_way and check.poll() is not None:
                is_under_way = False
                screen.print(say("Save a file, and the checks run again. Ctrl-C ends this."))
        return changed
    finally:
        if check.poll() is None:
            check.terminate()  # it ends its servers, and removes its files
            check.wait()


def changes(before: Saved, folder: Path) -> list[str]:
    """Return the sources that differ from `before`, once a program has finished writing them."""
    now = saved(folder)
    while now != before and now != (now := after(folder)):
        pass
    return sorted(path for path in {*before, *now} if before.get(path) != now.get(path))


def after(folder: Path) -> Saved:
    """Return the state of the sources a moment later."""
    time.sleep(TICK)
    return saved(folder)


def saved(folder: Path) -> Saved:
    """Return the state of the sources in this folder."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it has been removed meanwhile
            if path.suffix in SOURCES and path.is_file():
                about = path.stat()
                found[str(path.relative_to(folder))] = about.st_mtime_ns, about.st_size
    return found
