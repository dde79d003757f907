"""The demo: real clients on real terminals play one conversation on each of the three servers.

A table compares the servers at the end. Each scene types, waits for the lines that must come, and
fails if one does not. No wait is a fixed sleep: each is for a line, an end or an answer. Every
program has a terminal of its own, and so a session, which is killed as a whole at the end.
"""

import argparse
import contextlib
import os
import platform
import re
import shlex
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pexpect
import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.driving.client import WireClient
from harness.driving.deadlines import wait_until
from harness.driving.processes import session as session_of
from harness.driving.server import DESIGNS, command_of
from harness.driving.terminals import TerminalClient
from harness.output import put

WAIT = 10.0  # seconds for anything that must happen
MEMBERS, MESSAGES = 10, 500  # of the measurement
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BEGIN, END = "<!-- demo table -->", "<!-- end -->"

ANA_SAYS = (
    "who has begun the lab?",
    "my server stops when one client does not read",
    "only when many talk, so I looked at send",
    "one blocking send, and all wait for it",
    "now it works",
)
CARLA_SAYS = (
    "I have",
    "mine lost a line when two talked at once",
    "there was no lock around the room",
    "around the sockets I need none",
    "mine works, too",
)

screen = Console(highlight=False)  # colours only on a terminal, and not with NO_COLOR


class Failed(AssertionError):
    """A scene failed; the text says why."""


# The exceptions that make a scene fail; those of harness.driving are AssertionErrors.
TROUBLE = AssertionError, OSError, psutil.Error, pexpect.ExceptionPexpect


# -- What is shown --------------------------------------------------------------------------------


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C, and the other signals that end the demo, to the end of this block."""
    received = []
    handlers = {
        number: signal.getsignal(number)
        for number in ENDINGS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    for number in handlers:
        signal.signal(number, lambda *_: received.append(True))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            raise KeyboardInterrupt


def show(who: str, mark: str, text: str) -> None:
    """Print one line of the conversation: `>` typed, `|` shown on a terminal, `$` a command."""
    style = {">": "bold", "|": "dim", "$": "cyan"}[mark]
    screen.print(Text.assemble((f"{who:>9} {mark} ", "cyan"), (text, style)), soft_wrap=True)


# -- The play -------------------------------------------------------------------------------------


@dataclass
class Result:
    """The figures of one design in the table; None if the demo failed before it measured them."""

    design: str
    passed: int = 0
    scenes: int = 0
    processes: int | None = None
    threads: int | None = None
    descriptors: int | None = None
    memory: float | None = None  # MB
    memory_kind: str = ""  # PSS or RSS
    median: float | None = None  # milliseconds
    p99: float | None = None


class Play:
    """One conversation on one server.

    Its scenes are the methods in SCENES, in that order. The docstring of a scene is its title.
    """

    def __init__(self, design: str, folder: Path):
        self.design, self.folder = design, folder
        self.result = Result(design, scenes=len(SCENES))
        self.terminals: list[TerminalClient] = []
        self.shows: dict[TerminalClient, str] = {}  # a pattern: the lines that are printed
        self.wires: list[WireClient] = []

    def run(self) -> Result:
        """Play all scenes, up to the first that fails, and end every process."""
        screen.print(Text(f"\n== {self.design} ".ljust(79, "="), "bold"))
        try:
            for number, scene in enumerate(SCENES, 1):
                try:
                    scene(self)
                except TROUBLE as failure:
                    verdict("failed", number, scene, failure)
                    self.show_last_lines()
                    screen.print(f"{'not run':>9}: the steps after it")
                    break
                self.result.passed += 1
                verdict("passed", number, scene)
        finally:
            self.close()
        return self.result

    def show_last_lines(self) -> None:
        """Print the last lines of each terminal that was in use, and of each client."""
        screen.print("          The last lines that each saw:")
        for terminal in [each for each in self.terminals if not each.done] or self.terminals:
            while terminal.read():
                pass
            for line in terminal.lines[-5:] or ["(nothing)"]:
                screen.print(Text(f"{terminal.who:>9} | {line}"), soft_wrap=True)
        for client in self.wires:
            screen.print(
                Text(f"{client.name:>9} | {client.lines[-1] if client.lines else '(nothing)'}"),
                soft_wrap=True,
            )

    def close(self) -> None:
        """End every program and connection, even if one of them raises an error."""
        with uninterrupted(), contextlib.ExitStack() as endings:
            for each in [*self.terminals, *self.wires]:
                endings.callback(each.close)

    # -- The programs that it starts

    def opens(self, who: str, command: Sequence[str], shows: str = ".*") -> TerminalClient:
        """Start a program on a new terminal, and print its lines that match `shows`."""

        def on_line(mark: str, line: str) -> None:
            if mark == ">" or re.fullmatch(self.shows[terminal], line):
                show(who, mark, line)

        with uninterrupted():  # else a process could have started that close() does not know of
            terminal = TerminalClient(
                who,
                command,
                on_line=on_line,
                deadline=WAIT,
                dimensions=(24, 80),
                env={**os.environ, "TERM": "dumb"},  # no prompt among the lines of the client
            )
            self.shows[terminal] = shows
            self.terminals.append(terminal)
        return terminal

    def starts_server(self, *args: str) -> None:
        """Start the server on the owner's terminal, and wait until it listens."""
        command = [*command_of(self.design), *args]
        show("owner", "$", "python " + shlex.join(command[1:]))
        self.owner = self.opens(
            "owner",
            [*command, "--port", "0", "--dir", str(self.folder / "group"), "--reject-after", "0.3"],
        )
        self.place = self.owner.sees(r"listening on (\S+:\d+)")[0][1]

    def orders(self, order: str, *shown: str) -> None:
        """Type an order on the owner's console; it must be obeyed, and show these lines, too."""
        self.owner.types(order)
        answer, *_ = self.owner.sees("ok|error: .*", *shown)
        if answer[0] != "ok":
            raise Failed(f"the order {order!r} was answered {answer[0]!r}")

    def comes(self, who: str, name: str | None = None) -> TerminalClient:
        """Start a member's client, and print its own lines (`-- ...`)."""
        name = name or who
        password = self.folder / f"{who}.password"
        password.touch(0o600)
        password.write_text(f"secret-of-{who}\n")
        command = ["-m", "implementations.client", "join", self.place, name]
        show(name, "$", "python " + shlex.join(command))
        # Each start has a groups file of its own, as on a new machine. So it shows all messages.
        files = [
            "--password-file",
            str(password),
            "--groups",
            str(self.folder / f"{who}-{len(self.terminals)}.groups"),
        ]
        client = self.opens(name, [sys.executable, *command, *files], shows="-- .*")
        client.sees("-- asked to join .*")
        return client

    def living(self) -> list[psutil.Process]:
        """Return every process that still runs on one of its terminals."""
        return [process for terminal in self.terminals for process in terminal.living()]

    # -- The scenes

    def first_member(self) -> None:
        """carla asks to join, becomes a member, and goes"""
        self.starts_server("--group", "OS lab")
        carla = self.comes("carla")
        self.owner.sees(r"carla asks to join from \S+")
        self.orders("accept carla", r"\* carla came")
        carla.sees("-- in OS lab as carla.*", event(r"\* carla came"))
        carla.types("see you later")
        carla.sees(event("<carla> see you later"))
        carla.types("/quit")
        self.owner.sees("<carla> see you later", r"\* carla went")
        carla.ends(0)

    def second_member(self) -> None:
        """ana joins, the owner accepts, and ana sees the earlier events"""
        self.ana = self.comes("ana")
        self.owner.sees(r"ana asks to join from \S+")
        self.orders("accept ana", r"\* ana came")
        self.ana.sees(event(r"\* ana came"))
        shown = [line[len("13:21 ") :] for line in events(self.ana)]
        if shown != [
            "* the group is OS lab",
            "* carla came",
            "<carla> see you later",
            "* carla went",
            "* ana came",
        ]:
            raise Failed(f"ana saw {shown}")

    def rejected(self) -> None:
        """ben asks to join, and the owner rejects"""
        ben = self.comes("ben")
        self.owner.sees(r"ben asks to join from \S+")
        self.orders("reject ben")
        ben.sees("-- rejected: .*")
        ben.ends(1)

    def comes_back(self) -> None:
        """carla comes back without a new request, and lists the members"""
        before = self.owner.seen
        self.carla = self.comes("carla")
        self.owner.sees(r"\* carla came")
        if any(" asks to join " in line for line in self.owner.lines[before:]):
            raise Failed("the owner was asked about a member")
        self.ana.sees(event(r"\* carla came"))
        self.carla.types("/who")
        self.carla.sees("-- ana here", "-- carla here")

    def both_talk(self) -> None:
        """ana and carla talk at once: both see every line, in one order"""
        said = [f"<ana> {text}" for text in ANA_SAYS] + [f"<carla> {text}" for text in CARLA_SAYS]
        before = {one: len(one.lines) for one in (self.owner, self.ana, self.carla)}
        for ana_says, carla_says in zip(ANA_SAYS, CARLA_SAYS, strict=True):
            self.ana.types(ana_says)
            self.carla.types(carla_says)
        self.owner.sees(*map(re.escape, said))
        for one in self.ana, self.carla:
            one.sees(*(event(re.escape(line)) for line in said))
        heard = {
            one: [line[line.index("<") :] for line in one.lines[before[one] :] if "> " in line]
            for one in before
        }
        for one in self.ana, self.carla:
            if sorted(heard[one]) != sorted(said):
                raise Failed(f"{one.who} saw {len(heard[one])} lines, and {len(said)} were sent")
            if heard[one] != heard[self.owner]:
                raise Failed(f"{one.who} saw another order than the owner: {heard[one]}")

    def new_name(self) -> None:
        """ana takes another name, and both see it"""
        self.ana.types("/name anita")
        for one in self.ana, self.carla:
            one.sees(event(r"\* ana is now anita"))
        self.owner.sees("# ana is now anita")
        self.ana.types("it is me")
        self.carla.sees(event("<anita> it is me"))
        self.owner.sees("<anita> it is me")

    def banned(self) -> None:
        """carla is banned, hears it, is disconnected, and cannot come back"""
        self.orders("ban carla", "# carla is banned")
        for one in self.ana, self.carla:
            one.sees(event(r"\* carla was banned"))
        self.carla.sees("-- the owner banned you")
        self.carla.ends(1)
        before = self.owner.seen
        again = self.comes("carla")
        again.sees("-- rejected: .*")
        again.ends(1)
        self.orders("members", "member anita here", "member carla banned")
        if any(" asks to join " in line for line in self.owner.lines[before:]):
            raise Failed("the owner was asked about a banned member")

    def closed(self) -> None:
        """the owner renames the group, and closes it"""
        self.orders("rename OS lab, Tuesday", "# the group is now OS lab, Tuesday")
        self.ana.sees(event(r"\* the group is OS lab, Tuesday"))
        self.orders("close")
        self.owner.ends(0)
        self.ana.sees("-- the server was closed.*")
        self.ana.types("/quit")
        self.ana.ends(0)
        self.heard = events(self.ana)

    def started_again(self) -> None:
        """after a restart, a member that comes back sees every event"""
        self.starts_server()
        self.ana = self.comes("ana", "anita")
        self.ana.sees(
            "-- in OS lab, Tuesday as anita.*",
            event(r"\* the group is OS lab, Tuesday"),
            event(r"\* anita came"),
        )
        self.owner.sees(r"\* anita came")
        expected = [*self.heard, events(self.ana)[-1]]
        for number, (line, before) in enumerate(zip(events(self.ana), expected, strict=False), 1):
            if line != before:
                raise Failed(f"event {number} is now {line!r}, and was {before!r}")
        if len(events(self.ana)) != len(expected):
            raise Failed(f"{len(expected)} events were expected, and {len(events(self.ana))} came")

    def deleted(self) -> None:
        """the owner deletes the group, with consent; no file keeps anything"""
        group = self.folder / "group"
        question = "type the group's name to delete it"
        self.owner.types("delete")
        self.owner.sees(question)
        self.owner.types("yes")
        self.owner.sees("error: not deleted")
        self.owner.types("delete")
        self.owner.sees(question)
        self.orders("OS lab, Tuesday")
        self.ana.sees("-- the owner deleted the group")
        self.ana.ends(1)
        self.owner.ends(0)
        if left := [path.name for path in group.iterdir() if path.stat().st_size]:
            raise Failed(f"there is still something in {', '.join(left)}")

    def measured(self) -> None:
        # Its title is below: it contains numbers.
        self.starts_server("--admit", "all")
        self.shows[self.owner] = (
            "(?![<*]).*"  # neither 500 messages, nor the members that come and go
        )
        host, _, port = self.place.rpartition(":")
        for number in range(MEMBERS):
            client = WireClient((host.strip("[]"), int(port)))
            self.wires.append(client)
            client.join(f"m{number}", f"secret-{number}")
        latencies = [self.exchange(number) for number in range(MESSAGES)]
        measure(self.owner.pid, latencies, self.result)
        heard = {
            tuple(line for line in client.lines if line.startswith("MSG ")) for client in self.wires
        }
        if [len(messages) for messages in heard] != [MESSAGES]:
            counts = sorted(map(len, heard))
            raise Failed(f"they heard {len(heard)} different conversations of {counts} messages")
        for client in self.wires:
            client.send("QUIT")
            client.expect("BYE quit")
        self.orders("close")
        self.owner.ends(0)

    def exchange(self, number: int) -> float:
        """Send one message, and let all hear it; return its sender's latency in milliseconds."""
        talker, text = self.wires[number % MEMBERS], f"message {number}"
        echo = rf"MSG \d+ \S+ {talker.name} {text}"
        start = time.perf_counter()
        talker.send(f"SAY {text}")
        talker.expect(echo)
        latency = 1000 * (time.perf_counter() - start)
        for client in self.wires:
            if client is not talker:
                client.expect(echo)
        while self.owner.read():  # an owner reads the console, too
            pass
        return latency

    measured.__doc__ = f"{MEMBERS} members hear {MESSAGES} messages, measured on the wire"

    def all_gone(self) -> None:
        """nothing is left running, and nobody saw a traceback"""
        try:
            wait_until(lambda: not self.living(), 2)
        except AssertionError:
            left = ", ".join(f"{name_of(process)} ({process.pid})" for process in self.living())
            raise Failed(f"still running: {left}") from None
        for one in self.terminals:
            if any(line.startswith("Traceback") for line in one.lines):
                raise Failed(f"{one.who} saw a traceback: {one.lines[-1]}")


SCENES = (
    Play.first_member,
    Play.second_member,
    Play.rejected,
    Play.comes_back,
    Play.both_talk,
    Play.new_name,
    Play.banned,
    Play.closed,
    Play.started_again,
    Play.deleted,
    Play.measured,
    Play.all_gone,
)


def event(pattern: str) -> str:
    """Return a pattern for the line that a member's client shows for an event."""
    return r"\d\d:\d\d " + pattern


def events(client: TerminalClient) -> list[str]:
    """Return the lines that a member's client has shown for events."""
    return [line for line in client.lines if re.fullmatch(event(".*"), line)]


def name_of(process: psutil.Process) -> str:
    """Return the command line of a process."""
    try:
        return shlex.join(["python", *process.cmdline()[1:]])
    except psutil.Error:
        return "a process"


def verdict(
    word: str, number: int, scene: Callable[[Play], None], why: BaseException | None = None
) -> None:
    """Print the line of one scene. The colour only repeats the word."""
    text = Text.assemble(
        (f"{word:>9}", "bold green" if word == "passed" else "bold red"),
        f": {number}. {scene.__doc__}",
    )
    screen.print(text if why is None else text + Text(f": {why}", "red"), soft_wrap=True)


# -- The figures ----------------------------------------------------------------------------------


def measure(sid: int, latencies: Sequence[float], result: Result) -> None:
    """Measure the processes of the session `sid` now, and put the figures into `result`."""
    family = session_of(sid)
    result.processes = len(family)
    result.threads = sum(process.num_threads() for process in family)
    result.descriptors = sum(process.num_fds() for process in family)
    full = [process.memory_full_info() for process in family]
    result.memory_kind = "PSS" if all(hasattr(memory, "pss") for memory in full) else "RSS"
    result.memory = sum(getattr(memory, result.memory_kind.lower()) for memory in full) / 1e6
    result.median = statistics.median(latencies)
    result.p99 = sorted(latencies)[len(latencies) * 99 // 100]


def rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    """Yield the table's rows: a title, then a cell for each design."""
    kind = next((result.memory_kind for result in results if result.memory_kind), "PSS")
    yield "steps passed", *(f"{result.passed} of {result.scenes}" for result in results)
    for title, field, form in (
        ("processes", "processes", "{}"),
        ("threads", "threads", "{}"),
        ("descriptors", "descriptors", "{}"),
        (f"memory ({kind}), MB", "memory", "{:.1f}"),
        ("latency, median, ms", "median", "{:.2f}"),
        ("latency, p99, ms", "p99", "{:.2f}"),
    ):
        values = [getattr(result, field) for result in results]
        yield title, *("-" if value is None else form.format(value) for value in values)


def caption(results: Sequence[Result]) -> str:
    """Return the text below the table: what was measured, and on which machine."""
    kind = next((result.memory_kind for result in results if result.memory_kind), "PSS")
    how = (
        "a page that n processes share counts 1/n in each"
        if kind == "PSS"
        else "a page that processes share counts in each"
    )
    return (
        f"{MEMBERS} members are connected to each server. Processes, threads, descriptors, memory: "
        f"of the server's whole tree, after the last message; {kind}: {how}. Latency: from SAY to "
        f"one's own echo on the wire, {MESSAGES} messages, one at a time, client and server on one "
        "machine. "
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}."
    )


WHAT_TO_SEE = {
    "nonblocking": "nonblocking serves all clients from one thread; "
    "its other threads only check passwords and write the member file.",
    "pthread": "pthread has a thread for each member, because each waits in a recv of its own; "
    "a few more accept, write, save, and read the owner's orders.",
    "fork": "fork has a process for each member and one, the hub, that holds the room: "
    f"{MEMBERS + 1} for {MEMBERS} members. A line passes through two of them and a pipe between. "
    "Each process has descriptors of its own: the member's socket once more, and its ends of two "
    "pipes.",
}


def table(results: Sequence[Result]) -> Table:
    """Return the table for a terminal."""
    box = Table(title="The three side by side", title_style="bold", title_justify="left")
    box.add_column("")
    for result in results:
        box.add_column(result.design, justify="right")
    for row in rows(results):
        box.add_row(*row)
    return box


def markdown(results: Sequence[Result]) -> str:
    """Return the table and its caption as Markdown, for README.md."""
    lines = [
        ("", *(result.design for result in results)),
        ("---", *("---:" for _ in results)),
        *rows(results),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{caption(results)}\n"


def put_into(path: str, results: Sequence[Result] | None = None) -> None:
    """Put the table between the two marked lines of a file.

    Without `results`, only check that the lines are there. Raises Trouble.
    """
    place = rf"(?ms)^({BEGIN}\n).*?^({END})$"
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a device may have no end
            raise Trouble(f"{path}: is not a regular file")
        text = Path(path).read_text(encoding="utf-8")
        if not re.search(place, text):
            raise Trouble(f"{path}: has no line {BEGIN} with a line {END} after it")
        if results:
            table = markdown(results)
            put(path, re.sub(place, lambda found: found[1] + table + found[2], text, count=1))
    except OSError as error:
        raise Trouble(f"{path}: {error.strerror}") from None
    except UnicodeError:
        raise Trouble(f"{path}: is not UTF-8") from None


class Trouble(Exception):
    """The user's file cannot be used; the text says why in one line."""


# -- The command ----------------------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `harness demo`."""
    parser.add_argument(
        "designs", nargs="*", metavar="DESIGN", help=f"play only on these: {', '.join(DESIGNS)}"
    )
    parser.add_argument(
        "--markdown",
        metavar="FILE",
        help="also write the table into FILE (README.md), between the lines "
        "`<!-- demo table -->` and `<!-- end -->`, if all steps passed",
    )


def main(options: argparse.Namespace) -> int:
    """Play the demo. Exit status: 0 if all scenes passed on all servers, 2 for a misuse, else 1."""
    if unknown := set(options.designs) - set(DESIGNS):
        print(f"demo: {min(unknown)} is none of {', '.join(DESIGNS)}", file=sys.stderr)
        return 2
    try:
        if options.markdown:
            put_into(options.markdown)
        began = time.monotonic()
        results = play(list(dict.fromkeys(options.designs or DESIGNS)))  # each once
        failed = [result.design for result in results if result.passed < result.scenes]
        try:
            if options.markdown and not failed:
                put_into(options.markdown, results)
        finally:
            show_results(results, failed, time.monotonic() - began)
    except Trouble as trouble:
        print(f"demo: {trouble}", file=sys.stderr)
        return 2
    return 1 if failed else 0


def play(designs: Sequence[str]) -> list[Result]:
    """Play the whole demo, and print its scenes; return the result of each design."""
    for number in ENDINGS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores it on purpose
            signal.signal(number, signal.default_int_handler)  # end as on Ctrl-C
    screen.print(
        f"One conversation on each of: {', '.join(designs)}.\n"
        "$ was started, > was typed, | was shown. The owner's terminal is the server's."
    )
    results = []
    with tempfile.TemporaryDirectory(prefix="grupo-demo-") as folder:
        for design in designs:
            place = Path(folder, design)
            place.mkdir()
            results.append(Play(design, place).run())
    return results


def show_results(results: Sequence[Result], failed: Sequence[str], seconds: float) -> None:
    """Print the table, what to see in it, and the designs on which the demo failed."""
    designs = [result.design for result in results]
    screen.print()
    screen.print(table(results))
    screen.print(caption(results), *("\n" + WHAT_TO_SEE[design] for design in designs), sep="\n")
    text, style = (
        (f"failed: {', '.join(failed)}", "bold red")
        if failed
        else ("all steps passed", "bold green")
    )
    screen.print(Text.assemble("\n", (text, style), f" in {seconds:.0f} s"))
