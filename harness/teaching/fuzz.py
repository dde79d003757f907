"""python -m harness fuzz: play random dialogues with a server, as long as you like.

Each worker is a process that plays dialogues with servers of its own. The model of the protocol
judges every line. The first dialogue that goes wrong is shortened and confirmed, and ends the run.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path

from rich.console import Console

from harness.arguments import workers
from harness.driving import deadlines
from harness.driving.messages import Message, msg
from harness.driving.record import Record
from harness.driving.server import NotStarted, Server
from harness.model import notation
from harness.model.fuzz import LAB_OF_TIMERS, Found, Fuzz, Tally
from harness.model.generate import LABS
from harness.verdicts import language
from harness.verdicts.command import command_from, ends_by_signals
from harness.verdicts.formats.render import cleaned
from harness.verdicts.language import LANGUAGES, say
from harness.verdicts.model import DEADLINE, UsageError
from harness.verdicts.temporary import TemporaryFolder

TICK = 0.5  # seconds between two reports of a worker
screen = Console(highlight=False, markup=False, soft_wrap=True)


def minutes(text: str) -> float:
    """Return a number of minutes above 0. Raises argparse.ArgumentTypeError."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 10_000:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is not a number of minutes above 0")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `harness fuzz` takes."""
    parser.add_argument(
        "server",
        nargs="+",
        metavar="COMMAND",
        help="after `--`: the server's command line; or one of ours: nonblocking, pthread, fork",
    )
    parser.add_argument(
        "--minutes",
        type=minutes,
        default=1.0,
        metavar="M",
        help="how long to play (default: %(default)g)",
    )
    parser.add_argument("--seed", help="play the same dialogues as an earlier run with this seed")
    parser.add_argument(
        "--lab",
        type=int,
        choices=LABS,
        default=max(LABS),
        help="play only what labs up to this one ask for",
    )
    workers(parser, "play dialogues")
    parser.add_argument(
        "--in", dest="folder", metavar="DIR", help="run the server there (default: here)"
    )
    parser.add_argument("--lang", choices=LANGUAGES, help="of what is shown")
    parser.set_defaults(design=None)


def main(options: argparse.Namespace) -> int:
    """Exit status 1 if a dialogue went wrong, 3 if none could be judged, else 0; 2 for misuse."""
    language.choose(options.lang)
    seed = options.seed or secrets.token_hex(4)
    try:
        command, _ = command_from(options)
        with TemporaryFolder() as folder:
            run = Run(command, options, seed, folder.path)
            try:
                with ends_by_signals():
                    run.run()
            except KeyboardInterrupt:
                screen.print(say(msg("stopped")))
    except UsageError as why:
        print(f"fuzz: {say(why.args[0])}", file=sys.stderr)
        return 2
    again = f"python -m harness fuzz --seed {seed} --workers {options.workers} -- "
    lines = [
        *run.tried(seed),
        *(found_lines(run.found) if run.found else []),
        msg("again:    {command}", command=again + shlex.join(options.server)),
    ]
    screen.print(*map(cleaned, lines), sep="\n")
    if run.found and run.found.times:
        return 1
    return 0 if run.dialogues else 3


class Starter:
    """Starts servers of one command, each in a folder of its own."""

    def __init__(self, command: list[str], cwd: str | None, folder: Path):
        self.command, self.cwd, self.folder = command, cwd, folder
        self.numbers = itertools.count()

    def __call__(self, flags: tuple[str, ...], record: Record) -> Server:
        """Start one. Raises NotStarted or OSError."""
        return Server(
            self.command,
            directory=self.folder / f"{os.getpid()}-{next(self.numbers)}",
            args=flags,
            cwd=self.cwd or os.getcwd(),
            record=record,
            inherits=False,
            deadline=4 * DEADLINE,
        )


class Run:
    """Some workers, until the time is over or one of them has found something."""

    def __init__(
        self, command: list[str], options: argparse.Namespace, seed: str, folder: Path
    ) -> None:
        self.starter = Starter(command, options.folder, folder)
        self.seed, self.lab, self.workers = seed, options.lab, options.workers
        self.began = time.monotonic()
        self.until = self.began + 60 * options.minutes
        self.tallies: dict[int, Tally] = {}
        self.shortest: dict[int, Found | None] = {}  # of each worker

    def run(self) -> None:
        """Start the workers, and hear what they found. Raises UsageError."""
        context = multiprocessing.get_context("fork")
        pipes: dict[Connection, int] = {}
        for number in range(self.workers + (1 if self.lab >= LAB_OF_TIMERS else 0)):
            ours, theirs = context.Pipe(duplex=False)
            # One more worker plays the dialogues in which time passes: it waits most of the time.
            quiet = number == self.workers
            process = context.Process(
                target=self.work, args=(number, theirs, [*pipes, ours], quiet), daemon=True
            )
            process.start()
            theirs.close()
            pipes[ours] = number
        with screen.status("") as status:
            while pipes and not (self.found and self.found.times):
                for pipe in wait(list(pipes), TICK):
                    self.hear(pipe, pipes)  # type: ignore[arg-type]
                status.update(say(self.progress()))

    def hear(self, pipe: Connection, pipes: dict[Connection, int]) -> None:
        """Take one report of a worker. Raises UsageError if its server cannot be started."""
        try:
            tally, found = pipe.recv()
        except EOFError:
            del pipes[pipe]
            return
        if isinstance(found, str):
            raise UsageError(found)
        self.tallies[pipes[pipe]] = tally
        self.shortest[pipes[pipe]] = found

    def work(self, number: int, pipe: Connection, of_main: list[Connection], quiet: bool) -> None:
        """Play dialogues, and report, in a process of its own, which ends with the main process.

        of_main: the main process's ends of the pipes, which this process inherited.
        """
        for end in of_main:
            end.close()  # else no worker would see that the main process has ended
        # The main process ends this one. A handler is not inherited by the servers: none of them
        # finds SIGHUP ignored.
        for signum in (signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, lambda *_: None)
        deadlines.DEADLINE = DEADLINE
        sent = 0.0

        def tell(fuzz: Fuzz, found: Found | str | None) -> None:
            try:
                pipe.send((fuzz.tally, found))
            except OSError:  # the main process has ended
                sys.exit()

        def report(fuzz: Fuzz) -> None:
            nonlocal sent
            if time.monotonic() > sent + TICK:
                sent = time.monotonic()
                tell(fuzz, fuzz.shortest)

        fuzz = Fuzz(
            self.starter,
            f"{self.seed}/{number}",
            self.until,
            lab=self.lab,
            quiet=quiet,
            report=report,
        )
        try:
            tell(fuzz, None)
            tell(fuzz, fuzz.run())
        except (NotStarted, OSError) as problem:
            tell(fuzz, str(problem))

    @property
    def found(self) -> Found | None:
        """The dialogue that went wrong: confirmed if there is such a one, else the shortest."""
        found = [one for one in self.shortest.values() if one]
        return min(found, key=lambda one: (-one.times, len(one.acts)), default=None)

    @property
    def dialogues(self) -> int:
        """How many dialogues were played."""
        return sum(tally.dialogues for tally in self.tallies.values())

    def progress(self) -> Message:
        """Return what was tried so far, and what time is left."""
        left = max(0, round(self.until - time.monotonic()))
        if self.found:
            return msg(
                "a dialogue went wrong; shortening it: {count} actions",
                count=len(self.found.acts),
            )
        return msg(
            "{count} dialogues played; {minutes}:{seconds:02d} left",
            count=self.dialogues,
            minutes=left // 60,
            seconds=left % 60,
        )

    def tried(self, seed: str) -> Iterable[Message]:
        """Yield lines on what was tried."""
        tallies = self.tallies.values()
        yield msg(
            "{count} dialogues of {acts} actions in {seconds:.0f} s. Seed {seed}.",
            count=self.dialogues,
            acts=sum(tally.acts for tally in tallies),
            seconds=time.monotonic() - self.began,
            seed=seed,
        )
        if unclear := sum(tally.unclear for tally in tallies):
            yield msg("{count} dialogues could not be judged.", count=unclear)
        if unconfirmed := sum(tally.unconfirmed for tally in tallies):
            yield msg(
                "{count} dialogues went wrong, and there was no time to try them again.",
                count=unconfirmed,
            )
        for tally in tallies:
            for lost in tally.lost:
                yield msg(
                    "Seen once, but not again on a new server: {difference}", difference=str(lost)
                )


def found_lines(found: Found) -> list[Message]:
    """Return the lines that report a dialogue that went wrong."""
    wrong = found.difference
    count = len(found.acts)
    return [
        msg("expected: {expected}", expected=notation.expected(wrong)),
        msg("actual:   {actual}", actual=notation.actual(wrong)),
        msg("The shortest dialogue that shows it ends with what must come:"),
        msg("{dialogue}", dialogue=found.dialogue),
        msg(
            "It has {count} actions, and went wrong on {times} new servers.",
            count=count,
            times=found.times,
        )
        if found.times
        else msg("It has {count} actions. It was not tried on another new server.", count=count),
    ]
