"""The owner's window: python -m implementations.windows.owner [-- COMMAND ...].

It starts a server as anyone would, by its command line, and leads it by its console: so it opens any server that keeps to the protocol.
"""
import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from datetime import datetime

from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Footer, Input, OptionList, Select
from textual.widgets.option_list import Option

from ..common import wire
from . import system
from .child import Child, command_of
from .desk import Desk
from .parts import Form, Question, Room, Window, Words, YesNo, words
from .talk import Line, Talk

SHOW = 0.1                  # seconds between two times that news are shown
LOOK = 1.0                  # seconds between two looks at the processes, ...
PART = 10                   # ... or this many times what a look takes, if that is longer
ASK_MEMBERS = 3.0           # seconds
DESIGNS = {"nonblocking": "nonblocking: one thread, whoever is ready", "pthread": "pthread: a thread for each client, and a lock",
           "fork": "fork: a process for each client, and a pipe"}
ADMIT = {"ask": "ask me about everyone who is new", "all": "let everyone in", "none": "only who is a member already"}
STANDINGS = {"asks": ("? ", "bold yellow"), "here": ("● ", "green"), "away": ("○ ", ""), "banned": ("× ", "red")}


class Plan(Form):
    """Which server, and how: what its command line will say."""

    def __init__(self, options):
        super().__init__()
        self.options = options

    def compose(self):
        chosen = self.options
        with VerticalScroll(id="box", can_focus=False):
            yield Words("Grupo: open a group", id="title")
            with Horizontal(classes="field"):
                yield Words("Server")
                if chosen.command:
                    yield Words(" ".join(chosen.command), id="command")
                else:
                    yield Select([(said, name) for name, said in DESIGNS.items()], value=chosen.design, allow_blank=False, compact=True, id="design")
            for label, field in ("Group", "group"), ("Address", "host"), ("Port", "port"), ("Folder", "dir"):
                with Horizontal(classes="field"):
                    yield Words(label)
                    yield Input(str(getattr(chosen, field)), compact=True, id=field)
            with Horizontal(classes="field"):
                yield Words("Who may in")
                yield Select([(said, name) for name, said in ADMIT.items()], value=chosen.admit, allow_blank=False, compact=True, id="admit")
            yield Button("Start", id="start", variant="primary", compact=True)
            yield Words(id="trouble")
        yield Footer()

    def on_mount(self):
        self.query_one("#start").focus()

    def on_input_submitted(self):
        self.start()

    def on_button_pressed(self):
        self.start()

    def start(self):
        value = {field.id: field.value for field in (*self.query(Input), *self.query(Select))}
        group, port = value["group"].strip(), value["port"].strip()
        if not wire.is_group(group) or group.startswith("-"):       # (a flag, to the server's command line)
            return self.say(f"a group's name has 1 to {wire.MAX_GROUP} bytes of plain text, and no - at its beginning")
        if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
            return self.say("a port is a number from 0 to 65535; 0 takes a free one")
        self.say("")
        command = self.options.command or command_of(value["design"])
        flags = ["--host", value["host"].strip(), "--port", port, "--group", group, "--dir", value["dir"], "--admit", value["admit"]]
        title = os.path.basename(command[0]) if self.options.command else value["design"]
        self.app.push_screen(Lead([*command, *flags], title, group), self.came_back)

    def came_back(self, why):
        self.say(why)
        self.query_one("#start").focus()


class Lead(Room):
    """The server at work."""

    BINDINGS = [
        Binding("a", "answer('accept')", "Accept"), Binding("r", "answer('reject')", "Reject"),
        Binding("b", "name_order('ban')", "Ban"), Binding("u", "name_order('unban')", "Unban"),
        Binding("n", "rename", "Rename"), Binding("c", "close", "Close"), Binding("d", "delete", "Delete"),
        Binding("pageup", "scroll(-1)", show=False, priority=True), Binding("pagedown", "scroll(1)", show=False, priority=True),
        Binding("ctrl+home", "scroll(-1000000)", show=False, priority=True), Binding("ctrl+end", "scroll(1000000)", show=False, priority=True),
    ]
    CSS = """
    Lead #title { height: 1; padding: 0 1; background: $primary; color: $text; }
    Lead #asks { height: 1; background: $warning; color: black; padding: 0 1; }
    Lead #asks Words { width: auto; max-width: 70%; height: 1; text-style: bold; color: black; margin-right: 2; }
    Lead #asks Button { min-width: 10; margin-right: 1; }
    Lead #main { height: 1fr; layout: grid; grid-size: 2 2; grid-columns: 24 1fr; grid-rows: 1fr 9; }
    Lead #people { row-span: 2; height: 1fr; max-height: 100%; border: none; border-right: solid $primary; background: $surface; padding: 0; }
    Lead #system { border-top: solid $primary; background: $surface; }
    Lead #figures { height: 2; color: $text; text-style: bold; padding: 0 1; }
    Lead #tree { height: 1fr; padding: 0 1; }
    Lead #tree > .talk--note { text-style: none; }
    Lead.-wide #main { grid-size: 3 1; grid-columns: 22 1fr 46; grid-rows: 1fr; }
    Lead.-wide #people { row-span: 1; }
    Lead.-wide #system { border-top: none; border-left: solid $primary; }
    Lead.-narrow #main, Lead.-low #main { layout: vertical; }
    Lead.-narrow #people, Lead.-narrow #system, Lead.-low #people, Lead.-low #system, Lead.-low Footer { display: none; }
    """

    def __init__(self, command, title, group):
        super().__init__()
        self.command, self.title_words, self.group = command, title, group
        self.desk = Desk()
        self.child = Child(self.heard, self.complained, self.ended)
        self.news = []                  # Lines to be shown
        self.complaints = deque(maxlen=5)
        self.seen = system.Look((), time.monotonic())
        self.people = None              # as they are listed
        self.rates = deque([(time.monotonic(), 0)], maxlen=31)      # (time, messages so far), of the last 3 seconds
        self.cpu = 0.0                  # cores
        self.is_greeted = False         # the group's name is the server's own word

    def compose(self):
        yield Words(id="title")
        with Horizontal(id="asks"):
            yield Words(id="asker")
            yield Button("Accept (a)", id="accept", variant="success", compact=True)
            yield Button("Reject (r)", id="reject", variant="error", compact=True)
        with Vertical(id="main"):
            yield OptionList(id="people", markup=False, compact=True)
            yield Talk(id="talk")
            with Vertical(id="system"):
                yield Words(" ", id="figures")
                yield Talk(id="tree", prose=False)
        yield Footer()

    def on_mount(self):
        self.talk, self.family = self.query_one("#talk", Talk), self.query_one("#tree", Talk)
        self.query_one("#asks").display = False
        for button in self.query(Button):
            button.can_focus = False    # a and r do it; the keys stay with the list
        self.query_one("#people").focus()
        self.set_interval(SHOW, self.show)
        self.set_interval(ASK_MEMBERS, self.ask_members)
        self.run_worker(self.start())
        self.run_worker(self.watch())
        self.run_worker(self.learn_name())
        self.show()

    async def start(self):
        self.app.child = self.child
        try:
            await self.child.start(self.command)
        except OSError as error:
            self.go(f"{self.command[0]}: {error.strerror}")

    # -- What the server says --------------------------------------------------------------------------------------------------

    def heard(self, data):
        self.news += self.desk.hear(data, datetime.now())
        self.send()

    def complained(self, line):
        self.complaints.append(line)
        self.news.append(Line("note", line, time=datetime.now()))

    def ended(self, status):
        last_words = self.complaints[-1] if self.complaints else ""
        if self.desk.over == "delete":
            why = f"{self.group} is deleted."
        elif self.desk.over == "close" or status == 0:
            why = f"{self.group} is closed, and kept. Start opens it again."
        else:
            how = f"with status {status}" if status >= 0 else f"by signal {-status}"
            why = f"The server ended {how}. {last_words}"
        self.go(why)

    async def learn_name(self):
        """The group's name may be another than the one that --group would give a new group."""
        while True:
            if self.desk.address and not self.is_greeted:
                await self.greet()
            await asyncio.sleep(2 * SHOW)

    async def greet(self):
        """Hears the name as any client would."""
        host, port = self.desk.address
        try:
            reader, writer = await asyncio.open_connection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
            with contextlib.closing(writer):
                line = await asyncio.wait_for(reader.readline(), 5)
                writer.write(b"QUIT\n")
        except (OSError, OverflowError, asyncio.TimeoutError, ValueError):
            return                      # it is asked again
        hello, _, group = line.decode(errors="backslashreplace").rstrip("\r\n").partition(f"HELLO {wire.VERSION} ")
        if group and not hello:
            self.group, self.is_greeted = group, True

    # -- What is shown -----------------------------------------------------------------------------------------------------------

    def show(self):
        if not self.is_attached:
            return
        news, self.news = self.news, []
        if news:
            self.talk.add(news)
        self.rates.append((time.monotonic(), self.desk.said))
        self.show_people()
        host, port = self.desk.address or ("starting ...", None)
        where = host if port is None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        here = sum(person.standing == "here" for person in self.desk.people.values())
        self.query_one("#title", Words).say((self.group, "bold"), f"  {self.title_words}  {where}  {here} here")
        askers = self.desk.askers
        self.query_one("#asks").display = bool(askers)
        if askers:
            more = f" (and {len(askers) - 1} more)" if len(askers) > 1 else ""
            asker = self.chosen("asks") or askers[0]
            self.query_one("#asker", Words).say(f"{asker.name} asks to join from {asker.address}{more}")
        self.show_figures()

    def show_people(self):
        order = {standing: place for place, standing in enumerate(STANDINGS)}
        people = sorted(self.desk.people.values(), key=lambda person: (order[person.standing], person.name.casefold()))
        if people == self.people:
            return
        listed = self.query_one("#people", OptionList)
        chosen = self.people[listed.highlighted].name if self.people and listed.highlighted is not None else None
        self.people = people
        listed.set_options(Option(words(STANDINGS[person.standing], person.name, (f" {person.standing}", "dim"))) for person in people)
        listed.highlighted = next((place for place, person in enumerate(people) if person.name == chosen), 0 if people else None)

    def show_figures(self):
        seen = self.seen
        (start, before), (end, now) = self.rates[0], self.rates[-1]
        rate = (now - before) / (end - start) if end > start else 0
        talk = f"{rate:,.0f} messages a second" if self.desk.said else ""      # a server need not tell of them
        processes, threads = plural(len(seen.processes), "process", "processes"), plural(seen.threads, "thread", "threads")
        self.query_one("#figures", Words).say(f"{processes}  {threads}  {seen.descriptors:,} descriptors (fd)\n"
                                              f"{seen.memory / 1e6:.1f} MB  {self.cpu:.0%} CPU  {talk}")

    async def watch(self):
        """Looks at the server's processes, never so often that the looks themselves are much of what one sees."""
        while True:
            if self.child.pid:
                before, start = self.seen, time.monotonic()
                seen = await asyncio.to_thread(system.look, self.child.pid)
                took = time.monotonic() - start
                if before.processes and seen.time > before.time:
                    self.cpu = max(0, seen.seconds - before.seconds) / (seen.time - before.time)
                self.seen = seen
                rows = [Line("said" if is_process else "note", row) for row, is_process in system.tree(seen)]
                if rows != self.family.lines:
                    self.family.replace(rows)
            else:
                took = 0
            await asyncio.sleep(max(LOOK, PART * took))

    # -- Orders --------------------------------------------------------------------------------------------------------------------

    def send(self):
        if self.desk.outgoing:
            self.child.write(bytes(self.desk.outgoing))
            self.desk.outgoing.clear()

    def ask_members(self):
        if self.desk.address and not self.desk.over:
            self.desk.ask_members()
            self.send()

    def order(self, text, **how):
        self.desk.order(text, **how)
        self.send()

    def chosen(self, *standings):
        """Who is marked in the list, if he has one of these standings."""
        place = self.query_one("#people", OptionList).highlighted
        person = self.people[place] if self.people and place is not None else None
        return person if person and person.standing in standings else None

    def action_answer(self, answer):
        askers = self.desk.askers
        if askers:
            self.order(f"{answer} {(self.chosen('asks') or askers[0]).name}")

    def on_button_pressed(self, event):
        self.action_answer(event.button.id)

    def action_name_order(self, verb):
        person = self.chosen("banned") if verb == "unban" else self.chosen("here", "away", "asks")

        def answer(name):
            if name and name.strip():
                self.order(f"{verb} {name.strip()}")
        self.app.push_screen(Question("Ban whom? He is thrown out and kept out" if verb == "ban" else "Whom may ask again?", verb.capitalize(),
                                      person.name if person else ""), answer)

    def action_rename(self):
        def answer(group):
            if group and group.strip():
                self.order(f"rename {group.strip()}")
                self.run_worker(self.renamed())
        self.app.push_screen(Question("Another name for the group", "Rename", self.group), answer)

    async def renamed(self):
        while self.desk.orders and self.child.pid:
            await asyncio.sleep(SHOW)
        self.is_greeted = False

    def action_close(self):
        def answer(yes):
            if yes:
                self.order("close")
        self.app.push_screen(YesNo(f"Close {self.group}? The server ends, and the group is kept.", "Close", "Stay"), answer)

    def action_delete(self):
        def answer(consent):
            if consent is not None:
                self.order("delete", consent=consent)
        self.app.push_screen(Question(f"Delete {self.group} for good?\nType the group's name to consent", "Delete", ""), answer)

    def action_scroll(self, pages):
        self.talk.scroll_relative(y=pages * max(1, self.talk.size.height - 1), animate=False, force=True, immediate=True)


class Owner(Window):
    TITLE = "Grupo: owner"
    BINDINGS = [Binding("q", "quit", "Quit")]

    def __init__(self, options):
        super().__init__()
        self.options = options
        self.child = None               # the server that runs, or the last one that did

    def on_mount(self):
        self.push_screen(Plan(self.options))

    def action_quit(self):
        """A server ends with its window, and who is in it hears why: so this is asked."""
        if isinstance(self.screen, Question):
            return
        if self.child and self.child.pid:
            self.push_screen(YesNo("The server ends with this window. The group is kept.", "Close and quit", "Stay"), lambda yes: yes and self.exit())
        else:
            self.exit()

    async def on_unmount(self):
        if self.child:
            await self.child.end()


def plural(count, one, many):
    return f"{count:,} {one if count == 1 else many}"


def parse(argv=None):
    parser = argparse.ArgumentParser(prog="python -m implementations.windows.owner", allow_abbrev=False, description="The owner's window.",
                                     usage="%(prog)s [flags] [-- COMMAND ...]",
                                     epilog="After -- stands the command of another server, which takes the same five flags.")
    add = parser.add_argument
    add("--design", choices=DESIGNS, default="pthread", help="which of our servers (default: %(default)s)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", default=7000, type=int, help="0 takes a free one (default: %(default)s)")
    add("--group", default="grupo", help="name of a new group (default: %(default)s)")
    add("--dir", default="./grupo", help="folder of the group's files (default: %(default)s)")
    add("--admit", choices=ADMIT, default="ask", help="what happens to who is no member (default: %(default)s)")
    argv = sys.argv[1:] if argv is None else argv
    flags, command = (argv[:argv.index("--")], argv[argv.index("--") + 1:]) if "--" in argv else (argv, [])
    options = parser.parse_args(flags)
    options.command = command
    return options


def main():
    Owner(parse()).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
