"""python -m harness play: a page in the browser on which you are the scheduler of a real server."""

import argparse
import shlex
import sys
import threading

from rich.console import Console

from harness.driving import deadlines
from harness.driving.messages import msg
from harness.explore.command import of_server, target_of
from harness.explore.exploration import Explored, Workers
from harness.explore.play.beside import Beside
from harness.explore.play.game import Game
from harness.explore.play.known import Known
from harness.explore.play.page import live_page
from harness.explore.play.seat import Seat
from harness.explore.play.serving import PageServer
from harness.explore.runs import NotExplored
from harness.explore.workloads import TABLE
from harness.verdicts import language
from harness.verdicts.command import ends_by_signals
from harness.verdicts.formats.render import cleaned
from harness.verdicts.language import say
from harness.verdicts.model import DEADLINE, UsageError
from harness.verdicts.temporary import TemporaryFolder

screen = Console(highlight=False, markup=False, soft_wrap=True)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `harness play` takes."""
    of_server(parser)
    parser.add_argument(
        "--workload",
        choices=[one.name for one in TABLE],
        default=TABLE[0].name,
        help="what clients do at the same time; `explore --list` shows all (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        metavar="PORT",
        help="of 127.0.0.1, on which the page is served (default: a free one)",
    )


def main(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C. Exit status 3 if the server cannot be explored, 2 for misuse."""
    language.choose(options.lang)
    deadlines.DEADLINE = DEADLINE
    [workload] = [one for one in TABLE if one.name == options.workload]
    try:
        if not 0 <= options.port <= 65535:
            raise UsageError(msg("--port is a number from 0 to 65535"))
        target = target_of(options)
        with TemporaryFolder() as folder, ends_by_signals():
            with Workers(target.start, folder.path / "beside", 1) as team:
                explored = Explored.nothing(workload, options.members, options.preemptions)
                known = Known(target.source)
                seats = [Seat(target.start, folder.path / name, known) for name in ("1", "2")]
                serve(options, Game(seats, explored, known), team)
    except UsageError as why:
        print(f"play: {say(why.args[0])}", file=sys.stderr)
        return 2
    except NotExplored as why:
        screen.print(cleaned(msg("cannot be explored: {why}", why=why.args[0])))
        return 3
    except KeyboardInterrupt:
        screen.print(say(msg("stopped")))
    return 0


def serve(options: argparse.Namespace, game: Game, team: Workers) -> None:
    """Serve the page of a game until KeyboardInterrupt. Raises UsageError or NotExplored."""
    beside = Beside(game.explored)
    beside.game = game
    beside.find_regular(team)
    page = live_page(game.explored.workload, shlex.join(options.server))
    try:
        server = PageServer(game, page, options.port)
    except OSError as why:
        raise UsageError(
            msg("port {port}: {why}", port=options.port, why=why.strerror or why)
        ) from None
    threads = [threading.Thread(target=game.play, args=[number]) for number in (0, 1)]
    threads.append(threading.Thread(target=beside.go_on, args=[team]))
    with server:
        for thread in threads:
            thread.start()
        screen.print(say("Open this page in a browser. Ctrl-C ends it."))
        screen.print(server.address)
        try:
            server.serve_forever()
        finally:
            game.close()
            for thread in threads:
                thread.join()
