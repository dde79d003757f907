"""The demo: one conversation, played by real clients on real terminals, on each of the three servers; then one table.

Each scene types, waits for what must be shown, and fails if it is not. Nobody sleeps here: every wait is for a line, an end or
an answer. Every program has a terminal, and so a session, of its own: whatever happens, that whole session is ended.
"""
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
from dataclasses import dataclass
from pathlib import Path

import pexpect
import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.driving.client import WireClient
from harness.driving.server import DESIGNS, command_of, session_of
from harness.driving.terminals import TerminalClient
from harness.driving.deadlines import wait_until

WAIT = 10.0                         # seconds for anything that must happen
MEMBERS, MESSAGES = 10, 500         # of the measurement
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BEGIN, END = "<!-- demo table -->", "<!-- end -->"

ANA_SAYS = ("who has begun the lab?", "my server stops when one client does not read", "only when many talk, so I looked at send",
            "one blocking send, and all wait for it", "now it works")
CARLA_SAYS = ("I have", "mine lost a line when two talked at once", "there was no lock around the room",
              "around the sockets I need none", "mine works, too")

screen = Console(highlight=False)   # colours only on a terminal, and not with NO_COLOR


class Failed(AssertionError):
    """What must happen did not; the text says what."""


TROUBLE = (AssertionError, OSError, psutil.Error, pexpect.ExceptionPexpect)     # what makes a scene fail: the wire's, too


# -- What is shown -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def uninterrupted():
    """Ctrl-C, and what else asks the demo to end, takes effect at the end of this block."""
    came = []
    handlers = {number: signal.getsignal(number) for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN}
    for number in handlers:
        signal.signal(number, lambda *_: came.append(True))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            raise KeyboardInterrupt


def show(who, mark, text):
    """One line of the conversation: `>` was typed, `|` was shown, `$` was started."""
    style = {">": "bold", "|": "dim", "$": "cyan"}[mark]
    screen.print(Text.assemble((f"{who:>9} {mark} ", "cyan"), (text, style)), soft_wrap=True)


# -- The play ----------------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What the table shows of one design. None: it did not come to that."""
    design: str
    passed: int = 0
    scenes: int = 0
    processes: int = None
    threads: int = None
    descriptors: int = None
    memory: float = None        # MB
    memory_kind: str = ""       # PSS or RSS
    median: float = None        # milliseconds
    p99: float = None


class Play:
    """One conversation on one server. Its scenes are the methods in SCENES, in that order; the docstring is the title."""

    def __init__(self, design, folder):
        self.design, self.folder = design, folder
        self.result = Result(design, scenes=len(SCENES))
        self.terminals = []
        self.shows = {}             # of each terminal, which lines are printed
        self.wires = []

    def run(self):
        """All scenes, up to the first that fails. Every process has ended when this returns or raises."""
        screen.print(Text(f"\n== {self.design} ".ljust(79, "="), "bold"))
        try:
            for number, scene in enumerate(SCENES, 1):
                try:
                    scene(self)
                except TROUBLE as failure:
                    verdict("failed", number, scene, failure)
                    self.tell_last_lines()
                    screen.print(f"{'not run':>9}: what comes after it")
                    break
                self.result.passed += 1
                verdict("passed", number, scene)
        finally:
            self.close()
        return self.result

    def tell_last_lines(self):
        screen.print("          The last lines that each saw:")
        for one in [one for one in self.terminals if not one.done] or self.terminals:
            while one.read():
                pass
            for line in one.lines[-5:] or ["(nothing)"]:
                screen.print(Text(f"{one.who:>9} | {line}"), soft_wrap=True)
        for client in self.wires:
            screen.print(Text(f"{client.name:>9} | {client.lines[-1] if client.lines else '(nothing)'}"), soft_wrap=True)

    def close(self):
        """Ends everything; trouble with one is no reason to leave the others."""
        with uninterrupted(), contextlib.ExitStack() as all_of_them:
            for one in self.terminals + self.wires:
                all_of_them.callback(one.close)

    # -- Whom it starts

    def opens(self, who, command, shows=".*"):
        """`shows`: which lines of this terminal the demo prints as they come."""
        def told(mark, line):
            if mark == ">" or re.fullmatch(self.shows[one], line):
                show(who, mark, line)

        with uninterrupted():               # else a process could have started that close() does not know of
            one = TerminalClient(who, command, told=told, deadline=WAIT, dimensions=(24, 80))
            self.shows[one] = shows
            self.terminals.append(one)
        return one

    def starts_server(self, *args):
        """The owner starts the server, and sits at its console."""
        command = [*command_of(self.design), *args]
        show("owner", "$", "python " + shlex.join(command[1:]))
        self.owner = self.opens("owner", [*command, "--port", "0", "--dir", str(self.folder / "group"), "--reject-after", "0.3"])
        self.place = self.owner.sees(r"listening on (\S+:\d+)")[0][1]

    def orders(self, order, *shown):
        """The owner types an order, which is obeyed; his console shows these lines, too."""
        self.owner.types(order)
        answer, *_ = self.owner.sees("ok|error: .*", *shown)
        if answer[0] != "ok":
            raise Failed(f"the order {order!r} was answered {answer[0]!r}")

    def comes(self, who, name=None):
        """A member starts his client; what it says itself (`-- ...`) is printed."""
        name = name or who
        password = self.folder / f"{who}.password"
        password.touch(0o600)
        password.write_text(f"secret-of-{who}\n")
        command = ["-m", "implementations.client", "join", self.place, name]
        show(name, "$", "python " + shlex.join(command))
        # Each start has a groups file of its own, as on a new machine: so it shows all that was said before.
        files = ["--password-file", str(password), "--groups", str(self.folder / f"{who}-{len(self.terminals)}.groups")]
        client = self.opens(name, [sys.executable, *command, *files], shows="-- .*")
        client.sees("-- asked to join .*")
        return client

    # -- The scenes

    def first_member(self):
        """carla asks, becomes a member, and goes"""
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

    def second_member(self):
        """ana asks, the owner accepts; she sees what was said before"""
        self.ana = self.comes("ana")
        self.owner.sees(r"ana asks to join from \S+")
        self.orders("accept ana", r"\* ana came")
        self.ana.sees(event(r"\* ana came"))
        shown = [line[len("13:21 "):] for line in events(self.ana)]
        if shown != ["* the group is OS lab", "* carla came", "<carla> see you later", "* carla went", "* ana came"]:
            raise Failed(f"ana saw {shown}")

    def rejected(self):
        """ben asks, and the owner rejects"""
        ben = self.comes("ben")
        self.owner.sees(r"ben asks to join from \S+")
        self.orders("reject ben")
        ben.sees("-- not let in: .*")
        ben.ends(1)

    def comes_back(self):
        """carla comes back, nobody is asked, and she looks who is here"""
        before = self.owner.seen
        self.carla = self.comes("carla")
        self.owner.sees(r"\* carla came")
        if any(" asks to join " in line for line in self.owner.lines[before:]):
            raise Failed("the owner was asked about a member")
        self.ana.sees(event(r"\* carla came"))
        self.carla.types("/who")
        self.carla.sees("-- ana here", "-- carla here")

    def both_talk(self):
        """ana and carla talk at once: both see every line, in one order"""
        said = [f"<ana> {text}" for text in ANA_SAYS] + [f"<carla> {text}" for text in CARLA_SAYS]
        before = {one: len(one.lines) for one in (self.owner, self.ana, self.carla)}
        for ana_says, carla_says in zip(ANA_SAYS, CARLA_SAYS):
            self.ana.types(ana_says)
            self.carla.types(carla_says)
        self.owner.sees(*map(re.escape, said))
        for one in self.ana, self.carla:
            one.sees(*(event(re.escape(line)) for line in said))
        heard = {one: [line[line.index("<"):] for line in one.lines[before[one]:] if "> " in line] for one in before}
        for one in self.ana, self.carla:
            if sorted(heard[one]) != sorted(said):
                raise Failed(f"{one.who} saw {len(heard[one])} lines, and {len(said)} were said")
            if heard[one] != heard[self.owner]:
                raise Failed(f"{one.who} saw another order than the owner: {heard[one]}")

    def new_name(self):
        """ana takes another name, and both see it"""
        self.ana.types("/name anita")
        for one in self.ana, self.carla:
            one.sees(event(r"\* ana is now anita"))
        self.owner.sees("# ana is now anita")
        self.ana.types("it is me")
        self.carla.sees(event("<anita> it is me"))
        self.owner.sees("<anita> it is me")

    def banned(self):
        """carla is banned: she hears it, is out, and cannot come back"""
        self.orders("ban carla", "# carla is banned")
        for one in self.ana, self.carla:
            one.sees(event(r"\* carla was banned"))
        self.carla.sees("-- the owner banned you")
        self.carla.ends(1)
        before = self.owner.seen
        again = self.comes("carla")
        again.sees("-- not let in: .*")
        again.ends(1)
        self.orders("members", "member anita here", "member carla banned")
        if any(" asks to join " in line for line in self.owner.lines[before:]):
            raise Failed("the owner was asked about somebody who is banned")

    def closed(self):
        """the owner renames the group, and closes it"""
        self.orders("rename OS lab, Tuesday", "# the group is now OS lab, Tuesday")
        self.ana.sees(event(r"\* the group is OS lab, Tuesday"))
        self.orders("close")
        self.owner.ends(0)
        self.ana.sees("-- the server was closed.*")
        self.ana.types("/quit")
        self.ana.ends(0)
        self.heard = events(self.ana)

    def started_again(self):
        """a new start: who comes back sees all that was heard before"""
        self.starts_server()
        self.ana = self.comes("ana", "anita")
        self.ana.sees("-- in OS lab, Tuesday as anita.*", event(r"\* the group is OS lab, Tuesday"), event(r"\* anita came"))
        self.owner.sees(r"\* anita came")
        expected = [*self.heard, events(self.ana)[-1]]
        for number, (line, before) in enumerate(zip(events(self.ana), expected), 1):
            if line != before:
                raise Failed(f"event {number} is now {line!r}, and was {before!r}")
        if len(events(self.ana)) != len(expected):
            raise Failed(f"{len(self.heard)} events were heard before, and {len(events(self.ana)) - 1} are there now")

    def deleted(self):
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

    def measured(self):
        # The title is made below, from the numbers.
        self.starts_server("--admit", "all")
        self.shows[self.owner] = "(?![<*]).*"         # not 500 messages, nor who comes and goes
        host, _, port = self.place.rpartition(":")
        for number in range(MEMBERS):
            client = WireClient((host.strip("[]"), int(port)))
            self.wires.append(client)
            client.join(f"m{number}", f"secret-{number}")
        latencies = []
        for number in range(MESSAGES):
            talker, text = self.wires[number % MEMBERS], f"message {number}"
            echo = rf"MSG \d+ \S+ {talker.name} {text}"
            began = time.perf_counter()
            talker.send(f"SAY {text}")
            talker.expect(echo)
            latencies.append(1000 * (time.perf_counter() - began))
            for client in self.wires:
                if client is not talker:
                    client.expect(echo)
            while self.owner.read():            # somebody does look at the console
                pass
        measure(self.owner.pid, latencies, self.result)
        heard = {tuple(line for line in client.lines if line.startswith("MSG ")) for client in self.wires}
        if [len(messages) for messages in heard] != [MESSAGES]:
            raise Failed(f"they heard {len(heard)} different conversations of {sorted(map(len, heard))} messages")
        for client in self.wires:
            client.send("QUIT")
            client.expect("BYE quit")
        self.orders("close")
        self.owner.ends(0)

    measured.__doc__ = f"{MEMBERS} members hear {MESSAGES} messages, measured on the wire"

    def all_gone(self):
        """nothing is left running, and nobody saw a traceback"""
        left = lambda: [process for one in self.terminals for process in one.living()]
        try:
            wait_until(lambda: not left(), 2)
        except AssertionError:
            raise Failed("still running: " + ", ".join(f"{name_of(process)} ({process.pid})" for process in left())) from None
        for one in self.terminals:
            if any(line.startswith("Traceback") for line in one.lines):
                raise Failed(f"{one.who} saw a traceback: {one.lines[-1]}")


SCENES = (Play.first_member, Play.second_member, Play.rejected, Play.comes_back, Play.both_talk, Play.new_name, Play.banned,
          Play.closed, Play.started_again, Play.deleted, Play.measured, Play.all_gone)


def event(pattern):
    """The line of a member's client for an event."""
    return r"\d\d:\d\d " + pattern


def events(client):
    return [line for line in client.lines if re.fullmatch(event(".*"), line)]


def name_of(process):
    try:
        return shlex.join(["python", *process.cmdline()[1:]])
    except psutil.Error:
        return "a process"


def verdict(word, number, scene, why=None):
    """One line for each scene; the word says it, the colour only repeats it."""
    text = Text.assemble((f"{word:>9}", "bold green" if word == "passed" else "bold red"), f": {number}. {scene.__doc__}")
    screen.print(text if why is None else text + Text(f": {why}", "red"), soft_wrap=True)


# -- The figures --------------------------------------------------------------------------------------------------------------


def measure(sid, latencies, result):
    """What the processes of the session `sid` hold at this moment."""
    family = session_of(sid)
    result.processes = len(family)
    result.threads = sum(process.num_threads() for process in family)
    result.descriptors = sum(process.num_fds() for process in family)
    full = [process.memory_full_info() for process in family]
    result.memory_kind = "PSS" if all(hasattr(memory, "pss") for memory in full) else "RSS"
    result.memory = sum(getattr(memory, result.memory_kind.lower()) for memory in full) / 1e6
    result.median = statistics.median(latencies)
    result.p99 = sorted(latencies)[len(latencies) * 99 // 100]


def rows(results):
    """The table's rows: a title, then a cell for each design."""
    kind = next((result.memory_kind for result in results if result.memory_kind), "PSS")
    yield "steps passed", *(f"{result.passed} of {result.scenes}" for result in results)
    for title, field, form in (
            ("processes", "processes", "{}"), ("threads", "threads", "{}"), ("descriptors", "descriptors", "{}"),
            (f"memory ({kind}), MB", "memory", "{:.1f}"),
            ("latency, median, ms", "median", "{:.2f}"), ("latency, p99, ms", "p99", "{:.2f}")):
        values = [getattr(result, field) for result in results]
        yield title, *("-" if value is None else form.format(value) for value in values)


def caption(results):
    kind = next((result.memory_kind for result in results if result.memory_kind), "PSS")
    how = "a page that n processes share counts 1/n in each" if kind == "PSS" else "a page that processes share counts in each"
    return (f"{MEMBERS} members are connected to each server. Processes, threads, descriptors, memory: of the server's whole "
            f"tree, after the last message; {kind}: {how}. Latency: from SAY to one's own echo on the wire, {MESSAGES} messages, "
            "one at a time, client and server on one machine. "
            f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}.")


WHAT_TO_SEE = {
    "nonblocking": "nonblocking serves all from one thread; its other threads only check passwords and write the member file.",
    "pthread": "pthread has a thread for each member, because each waits in a recv of its own; a few more accept, write, save, "
               "and read the owner's orders.",
    "fork": f"fork has a process for each member and one, the hub, that holds the room: {MEMBERS + 1} for {MEMBERS} members. "
            "A line passes through two of them and a pipe between. Each process has descriptors of its own: the member's socket "
            "once more, and its ends of two pipes."}


def table(results):
    box = Table(title="The three side by side", title_style="bold", title_justify="left")
    box.add_column("")
    for result in results:
        box.add_column(result.design, justify="right")
    for row in rows(results):
        box.add_row(*row)
    return box


def markdown(results):
    """The table for README.md, with its caption."""
    lines = [("", *(result.design for result in results)), ("---", *("---:" for _ in results)), *rows(results)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{caption(results)}\n"


def put_into(path, results=None):
    """Puts the table between the two lines of a file; without `results`, only sees whether they are there. Raises Trouble."""
    place = rf"(?ms)^({BEGIN}\n).*?^({END})$"
    try:
        text = Path(path).read_text(encoding="utf-8")
        if not re.search(place, text):
            raise Trouble(f"{path}: has no line {BEGIN} with a line {END} after it")
        if results:
            table = markdown(results)
            Path(path).write_text(re.sub(place, lambda found: found[1] + table + found[2], text, count=1), encoding="utf-8")
    except OSError as error:
        raise Trouble(f"{path}: {error.strerror}") from None
    except UnicodeError:
        raise Trouble(f"{path}: is not UTF-8") from None


class Trouble(Exception):
    """The user's file cannot be used; the text is one line that says why."""


# -- The command ---------------------------------------------------------------------------------------------------------------


def arguments(parser):
    """Adds what `harness demo` takes."""
    parser.add_argument("designs", nargs="*", metavar="DESIGN", help=f"play only these: {', '.join(DESIGNS)}")
    parser.add_argument("--markdown", metavar="FILE", help="also put the table into FILE (README.md), between the lines "
                      "`<!-- demo table -->` and `<!-- end -->`, if all steps passed")


def main(options):
    """Exit status 0 if every scene of every design passed, 1 if not, 2 for a misuse."""
    if unknown := set(options.designs) - set(DESIGNS):
        print(f"demo: {min(unknown)} is none of {', '.join(DESIGNS)}", file=sys.stderr)
        return 2
    try:
        if options.markdown:
            put_into(options.markdown)
        results = play(list(dict.fromkeys(options.designs or DESIGNS)))     # each once
        if any(result.passed < result.scenes for result in results):
            return 1
        if options.markdown:
            put_into(options.markdown, results)
    except Trouble as trouble:
        print(f"demo: {trouble}", file=sys.stderr)
        return 2
    return 0


def play(designs):
    """The whole demo, printed; returns the Results."""
    for number in ENDINGS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:          # nohup means it
            signal.signal(number, signal.default_int_handler)       # end as after Ctrl-C
    began = time.monotonic()
    screen.print(f"One conversation on each of: {', '.join(designs)}.\n"
                 "$ was started, > was typed, | was shown. The owner's terminal is the server's.")
    results = []
    with tempfile.TemporaryDirectory(prefix="grupo-demo-") as folder:
        for design in designs:
            place = Path(folder, design)
            place.mkdir()
            results.append(Play(design, place).run())
    screen.print()
    screen.print(table(results))
    screen.print(caption(results), *("\n" + WHAT_TO_SEE[design] for design in designs), sep="\n")
    failed = [result.design for result in results if result.passed < result.scenes]
    text, style = (f"failed: {', '.join(failed)}", "bold red") if failed else ("all steps passed", "bold green")
    screen.print(Text.assemble("\n", (text, style), f" in {time.monotonic() - began:.0f} s"))
    return results
