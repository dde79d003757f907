"""python -m harness explore: try every order in which a server's threads or processes can take
their steps, within stated bounds.
"""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.arguments import positive, seconds, workers
from harness.driving import deadlines
from harness.driving.messages import Message, msg
from harness.explore import exploration, schedules
from harness.explore.exploration import Exploration, Explored, Workers, replay
from harness.explore.program import Program, program
from harness.explore.report import schedule_text, violation_lines
from harness.explore.runs import NotExplored
from harness.explore.workloads import PEOPLE, TABLE, Workload
from harness.output import put_all
from harness.verdicts import language
from harness.verdicts.command import command_from, ends_by_signals
from harness.verdicts.formats.render import cleaned
from harness.verdicts.language import LANGUAGES, say
from harness.verdicts.model import DEADLINE, UsageError
from harness.verdicts.temporary import TemporaryFolder

screen = Console(highlight=False, markup=False, soft_wrap=True)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `harness explore` takes."""
    of_server(parser)
    parser.add_argument(
        "--workload",
        action="append",
        choices=[one.name for one in TABLE],
        help="what clients do at the same time; repeat it for several (default: all)",
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=60.0,
        metavar="S",
        help="for each workload; what is left of it goes to random schedules (default: 60)",
    )
    workers(parser, "try schedules")
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="write the schedule that breaks the server there; of several workloads, each into a "
        "file of its own, with its name before FILE's suffix",
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try the schedule in this file")
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="go on from this file, and write there what is left",
    )
    parser.add_argument("--list", action="store_true", help="list the workloads")


def of_server(parser: argparse.ArgumentParser) -> None:
    """Add which server is taken through schedules, of how many clients, and the bound."""
    parser.add_argument(
        "server",
        nargs="*",
        metavar="COMMAND",
        help="after `--`: the server's command line; or one of ours: pthread, fork",
    )
    parser.add_argument(
        "--members",
        type=positive,
        default=2,
        metavar="N",
        help=f"clients at the same time, at most {len(PEOPLE)} (default: %(default)s)",
    )
    parser.add_argument(
        "--preemptions",
        type=int,
        default=2,
        metavar="P",
        help="how often an actor stops although it could go on (default: %(default)s)",
    )
    parser.add_argument(
        "--in", dest="folder", metavar="DIR", help="run the server there (default: here)"
    )
    parser.add_argument("--lang", choices=LANGUAGES, help="of what is shown")
    parser.set_defaults(design=None)


def main(options: argparse.Namespace) -> int:
    """Exit status 1 if a schedule broke the server, 3 if it could not be explored, 2 for misuse."""
    language.choose(options.lang)
    if options.list:
        show_workloads()
        return 0
    deadlines.DEADLINE = DEADLINE
    try:
        check_files(options)
        target = target_of(options)
        with TemporaryFolder() as folder, ends_by_signals():
            if options.replay:
                return replayed(target, options, folder.path)
            with Workers(target.start, folder.path, options.workers) as team:
                found = [explored(target, team, options, one) for one in chosen(options)]
                return max(found)
    except UsageError as why:
        print(f"explore: {say(why.args[0])}", file=sys.stderr)
        return 2
    except NotExplored as why:
        screen.print(cleaned(msg("cannot be explored: {why}", why=why.args[0])))
        return 3
    except KeyboardInterrupt:
        screen.print(say(msg("stopped")))
        return 130


def check_files(options: argparse.Namespace) -> None:
    """Check the files that are to be written: before the work, not after it. Raises UsageError."""
    if options.resume and len(options.workload or ()) != 1:
        raise UsageError(msg("--resume goes with one --workload"))
    for file in filter(None, (options.save, options.resume)):
        if file.is_dir() or not file.absolute().parent.is_dir():
            raise UsageError(msg("{file}: no file can be written there", file=file))


def target_of(options: argparse.Namespace) -> Program:
    """Return the program to explore. Raises UsageError or NotExplored."""
    if not 1 <= options.members <= len(PEOPLE):
        raise UsageError(msg("--members is a number from 1 to {most}", most=len(PEOPLE)))
    if not 0 <= options.preemptions <= 9:
        raise UsageError(msg("--preemptions is a number from 0 to 9"))
    if not options.server:
        raise UsageError(msg("name the server: its command line, after `--`"))
    command, _ = command_from(options)
    found = program(command, options.folder or os.getcwd())
    if isinstance(found, Message):
        raise NotExplored(found)
    return found


def chosen(options: argparse.Namespace) -> list[Workload]:
    """Return the workloads to explore."""
    return [one for one in TABLE if one.name in (options.workload or [w.name for w in TABLE])]


def show_workloads() -> None:
    """List the workloads."""
    table = Table.grid(padding=(0, 2))
    for one in TABLE:
        lines = "; ".join(f"{who} {line}" for who, line in one.sends)
        table.add_row(one.name, say(one.title), lines)
    screen.print(table)


def explored(
    target: Program, team: Workers, options: argparse.Namespace, workload: Workload
) -> int:
    """Explore one workload and report it; return the exit status."""
    so_far = Explored.nothing(workload, options.members, options.preemptions)
    if options.resume:
        try:
            so_far.tree = exploration.load(options.resume, so_far) or so_far.tree
        except (OSError, schedules.Wrong) as why:
            raise UsageError(msg("{file}: {why}", file=options.resume, why=why)) from None
    with screen.status("") as status:
        one = Exploration(
            so_far, beyond=True, report=lambda explored: status.update(say(progress(explored)))
        )
        found = one.explore(team, time.monotonic() + options.seconds)
    file = file_of(options, workload)
    screen.print(*map(cleaned, report(found, target, options, file)), sep="\n")
    files = [(options.resume, lambda: exploration.text(found))] if options.resume else []
    if (schedule := found.schedule) and file:
        files.append((file, schedule.text))
    put_all(files)
    return 1 if found.replays else 3 if found.run else 0


def file_of(options: argparse.Namespace, workload: Workload) -> Path | None:
    """Return where the schedule that breaks the server is to be saved."""
    file: Path | None = options.save
    is_stream = file and file.exists() and not file.is_file()
    if file is None or is_stream or len(chosen(options)) == 1:
        return file
    return file.with_name(f"{file.stem}-{workload.name}{file.suffix}")


def progress(so_far: Explored) -> Message:
    """Return what was tried so far."""
    return msg(
        "{workload}: {count} schedules tried, {waiting} to try",
        workload=so_far.workload.name,
        count=so_far.tree.tried + so_far.random,
        waiting=len(so_far.tree.waiting),
    )


def report(
    found: Explored, target: Program, options: argparse.Namespace, file: Path | None
) -> list[Message]:
    """Return the lines that report what was tried, and what broke. `file`: of its schedule."""
    head = msg("{workload}: {tried}", workload=found.workload.name, tried=found.tried)
    if not found.run or not found.violation:
        lines = [msg("{head}: no violation, {seconds:.0f} s", head=head, seconds=found.seconds)]
        if found.unclear:
            lines.append(msg("{count} schedules could not be judged", count=found.unclear))
        if found.diverged:
            lines.append(
                msg(
                    "{count} schedules could not be repeated: something in them depends on the "
                    "clock",
                    count=found.diverged,
                )
            )
        return lines
    lines = [head, *violation_lines(found.violation), schedule_text(found.run, target.source)]
    again = shlex.join(options.server)
    if found.times > 1:
        lines.append(
            msg("It breaks a new server that is taken {times} times through it.", times=found.times)
        )
    if not found.replays:
        lines.append(msg("It did not happen again: it is no evidence."))
    elif file:
        lines.append(
            msg(
                "again:    python -m harness explore --replay {file} -- {command}",
                file=shlex.join([str(file), *(["--in", options.folder] if options.folder else [])]),
                command=again,
            )
        )
    else:
        lines.append(msg("With --save FILE the schedule can be replayed."))
    return lines


def replayed(target: Program, options: argparse.Namespace, folder: Path) -> int:
    """Try the schedule of a file; return the exit status. Raises UsageError or NotExplored."""
    try:
        schedule, workload = exploration.schedule_in(options.replay)
    except (OSError, schedules.Wrong) as why:
        raise UsageError(msg("{file}: {why}", file=options.replay, why=why)) from None
    run = replay(target.start, folder, workload, schedule)
    lines = [schedule_text(run, target.source)]
    if run.diverged:
        lines.append(msg("The program took another way: an actor of the schedule could not go on."))
    lines += violation_lines(run.violation) if run.violation else [msg("no violation")]
    screen.print(*map(cleaned, lines), sep="\n")
    return 1 if run.violation else 0
