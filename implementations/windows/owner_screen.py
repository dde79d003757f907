"""The screen of a running server: its people, its messages, its processes."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button

from ..common import wire
from ..common.wire import harmless
from .log_lines import LineKind, LogLine
from .message_log import MessageLog
from .movements import Movement, Movements
from .owner_console import OwnerConsole, Person, Status, note
from .owner_input import OwnerInput
from .owner_voice import endpoint_text
from .people_list import PeopleList
from .process_panel import ProcessPanel, RateMeter
from .server_process import ServerProcess, describe_end
from .start_screen import DESIGNS
from .widgets import ConfirmDialog, KeyBar, LogScreen, PlainText, TextDialog

REFRESH_INTERVAL = 0.1  # seconds between two updates of the screen
MEMBERS_INTERVAL = 3.0  # seconds between two orders `members`
HELLO_TIMEOUT = 5.0  # seconds
MAX_ERRORS = 1_000  # lines of stderr that are kept for the server's end
# Actions that need a server that listens
ORDERS = {
    *("answer_request", "accept_all", "speak", "ban", "unban"),
    *("rename", "close_group", "delete_group"),
}
CONSOLE_TIMEOUT = 1.0  # seconds after which a message that a member has is on the console, too
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to reach a server that listens everywhere


class OwnerScreen(LogScreen):
    """Starts a server and controls it by its console.

    It is left when the owner ends the server, or when the server does not begin to listen. A server
    that ends by itself leaves its evidence on the screen, and Enter starts it again.

    Attributes:
        console: the server's console.
        server: the server's process.
        end: how the server ended by itself, as a sentence; "" while it runs.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "answer_request('accept')", "Accept"),
        Binding("A", "accept_all", "Accept all"),
        Binding("r", "answer_request('reject')", "Reject"),
        Binding("s", "speak", "Speak"),
        Binding("b", "ban", "Ban"),
        Binding("u", "unban", "Unban"),
        Binding("n", "rename", "Rename"),
        Binding("z", "fill_screen", "Processes"),
        # Wherever the focus is: Enter has no other use on this screen
        Binding("enter", "start_again", "Start again", priority=True),
        Binding("escape", "back", "Back"),
        Binding("c", "close_group", "Close"),
        Binding("d", "delete_group", "Delete"),
    ]
    CSS = """
    OwnerScreen #title { height: 1; padding: 0 1; background: $primary; color: $text; }
    OwnerScreen #request { height: 1; background: $warning; color: black; padding: 0 1; }
    OwnerScreen #request PlainText {
        width: auto; max-width: 70%; height: 1; text-style: bold; color: black; margin-right: 2;
    }
    OwnerScreen #request Button { min-width: 10; margin-right: 1; }
    OwnerScreen.-narrow #request PlainText { width: 1fr; max-width: 100%; margin-right: 0; }
    OwnerScreen.-narrow #request { height: auto; max-height: 3; }
    OwnerScreen.-narrow #request PlainText { height: auto; }
    OwnerScreen.-narrow #request Button, OwnerScreen.-ended #request Button { display: none; }
    OwnerScreen.-ended #request PlainText { max-width: 100%; }
    OwnerScreen #main { height: 1fr; layout: horizontal; }
    OwnerScreen #people {
        width: 24; height: 1fr; max-height: 100%; border: none; border-right: solid $edge;
        background: $surface; padding: 0;
    }
    OwnerScreen #talk { width: 1fr; layout: vertical; }
    OwnerScreen #conversation { width: 1fr; height: 1fr; }
    OwnerScreen #processes { height: 45%; border-top: solid $edge; }
    OwnerScreen.-wide #people { width: 28; }
    OwnerScreen.-wide #talk { layout: horizontal; }
    OwnerScreen.-wide #processes {
        width: 40vw; min-width: 46; height: 1fr; border-top: none; border-left: solid $edge;
    }
    OwnerScreen.-narrow #people, OwnerScreen.-low #people, OwnerScreen.-filled #people,
    OwnerScreen.-filled #conversation, OwnerScreen.-narrow #tree { display: none; }
    OwnerScreen.-narrow #processes { height: auto; }
    OwnerScreen.-low #processes { display: none; }
    OwnerScreen.-filled #processes {
        display: block; width: 1fr; height: 1fr; border: none;
    }
    OwnerScreen.-filled #tree { display: block; }
    OwnerScreen.-low KeyBar { display: none; }
    """

    def __init__(self, command: Sequence[str], design: str, group: str) -> None:
        """Prepare a screen.

        Args:
            command: the server's command line.
            design: the server's design or program, for the title.
            group: the name that a new group gets; an old group keeps its own.
        """
        super().__init__()
        self.command, self.design, self.group = command, design, group
        self.console = OwnerConsole()
        self.server = ServerProcess(self._receive, self._receive_error, self._server_ended)
        self._new_lines: list[LogLine] = []  # not displayed yet
        self.end = ""
        self._console_is_silent = False  # it prints no messages
        self._movements = Movements()
        self._errors: deque[str] = deque(maxlen=MAX_ERRORS)  # the lines of stderr
        self._impossible: set[str] = set()  # actions that the footer does not show
        self._rate = RateMeter()
        self._knows_group = False  # `group` comes from the server

    def compose(self) -> ComposeResult:
        """Create the parts of the screen."""
        yield PlainText(id="title")
        with Horizontal(id="request"):
            yield PlainText(id="asker")
            yield Button("Accept (a)", id="accept", variant="success", compact=True)
            yield Button("Reject (r)", id="reject", variant="error", compact=True)
        with Vertical(id="main"):
            yield PeopleList(id="people")
            with Vertical(id="talk"):
                with Vertical(id="conversation"):
                    yield MessageLog(id="messages")
                    yield OwnerInput(id="say")
                yield ProcessPanel(lambda: self.server.pid, id="processes")
        yield KeyBar()

    def on_mount(self) -> None:
        """Start the server, and the updates of the screen."""
        self.query_one("#request").display = False
        for button in self.query(Button):
            button.can_focus = False  # the keys a and r do the same; others are for the list
        self.query_one(PeopleList).focus()
        self.set_interval(REFRESH_INTERVAL, self.refresh_screen)
        self.set_interval(MEMBERS_INTERVAL, self.refresh_members)
        if self.design not in DESIGNS:
            self._new_lines.append(note(f"starts {shlex.join(self.command)}", datetime.now()))
        self.run_worker(self._start_server())
        self.run_worker(self._learn_group())
        self.refresh_screen()

    async def _start_server(self) -> None:
        try:
            await self.server.start(self.command)
        except OSError as error:
            self.leave(f"{self.command[0]}: {error.strerror}")

    # -- Output of the server ------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        self._new_lines += self.console.receive(data, datetime.now())
        self._send_orders()

    def _receive_error(self, line: str) -> None:
        self._errors.append(line)
        self._new_lines.append(note(line, datetime.now()))

    def _server_ended(self, return_code: int) -> None:
        if self.console.final_order == "delete":
            self.leave(f"{self.group} was deleted.")
        elif self.console.final_order == "close":
            closed = f"{self.group} was closed. Its files are kept: press Start to open it again."
            self.leave(closed)
        else:
            self.end = f"The server ended {describe_end(return_code)}."
            if self.console.endpoint:
                if self.is_whole:  # else the window ends, and the server with it
                    self._show_end()
            else:  # what it complains of is probably in the form
                self.leave("\n".join([self.end, *self._errors]))

    def _show_end(self) -> None:
        """Display how the server ended, and all that it wrote to stderr, below everything else."""
        self.close_dialogs()
        self.query_one(OwnerInput).stop()
        now = datetime.now()
        self.refresh_screen()
        errors = [harmless(line) for line in self._errors]
        last = [line.text for line in self.message_log.lines[-len(errors) :]]
        if not errors:
            self._new_lines.append(note(f"{self.end} It wrote nothing to stderr.", now))
        elif last == errors:  # they are on the screen, and nothing is below them
            self._new_lines.append(note(self.end, now))
        else:
            self._new_lines.append(note(f"{self.end} It had written this to stderr:", now))
            self._new_lines += [LogLine(LineKind.PLAIN, line, time=now) for line in errors]
        self.refresh_screen()
        self.message_log.jump_to_end()

    def action_start_again(self) -> None:
        """Start the server that has ended, with the same command."""
        self.console, self._rate, self._knows_group = OwnerConsole(), RateMeter(), False
        self._errors.clear()
        self.end = ""
        self._new_lines.append(note("started again", datetime.now()))
        self.run_worker(self._start_server())

    def action_back(self) -> None:
        """Return from the processes, or from the input, to the screen; from there to the form."""
        if self.has_class("-filled"):
            self.action_fill_screen()
        elif self.query_one(OwnerInput).has_class("-open"):
            self.query_one(OwnerInput).close()
        else:
            self.leave(self.end)

    async def _learn_group(self) -> None:
        """Keep `group` correct: an old group has its own name, and the owner may change it."""
        while True:
            if self.console.endpoint and not self._knows_group and not self.end:
                await self._ask_group(*self.console.endpoint)
            await asyncio.sleep(2 * REFRESH_INTERVAL)

    async def _ask_group(self, host: str, port: int) -> None:
        """Read the group's name in HELLO, as a client does. If that fails, it is tried again."""
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK.get(host, host), port)
            with contextlib.closing(writer):
                line = await asyncio.wait_for(reader.readline(), HELLO_TIMEOUT)
                writer.write(b"QUIT\n")
        except (OSError, OverflowError, ValueError):
            return
        text = line.decode(errors="backslashreplace").rstrip("\r\n")
        before, _, group = text.partition(f"HELLO {wire.VERSION} ")
        if group and not before:
            self.group, self._knows_group = group, True

    # -- Display -------------------------------------------------------------------------------

    def refresh_screen(self) -> None:
        """Display all changes."""
        if not self.is_whole:
            return
        lines, self._new_lines = self._new_lines, []
        self._show_lines(lines)
        self._admit_owner()
        self.query_one(PeopleList).show_people(self.console.people.values())
        self._show_title()
        self._show_request()
        self._show_keys()
        self._rate.add(self.console.message_count)
        # A server need not print messages
        rate = self._rate.per_second if self.console.message_count else None
        self.query_one(ProcessPanel).show_totals(rate)

    def _show_lines(self, lines: Iterable[LogLine]) -> None:
        """Add lines to the log, with the comings and goings in a row folded into one line."""
        log, added = self.message_log, []
        for line in lines:
            if not isinstance(line, Movement):
                added.append(line)
                continue
            before = self._movements.line
            last = added[-1] if added else log.lines[-1] if log.lines else None
            is_last = before is not None and last is before
            if not (is_last and self._movements.takes(line)):
                self._movements.start()
                added.append(self._movements.add(line))
            elif added:
                added[-1] = self._movements.add(line)
            else:
                log.replace_last(self._movements.add(line))
        if added:
            log.add(added)

    def _admit_owner(self) -> None:
        """Accept the owner's own request to join, which comes from their own address."""
        own = self.query_one(OwnerInput).address
        for asker in self.console.askers:
            if asker.address == own:
                self.order(f"accept {asker.name}")

    def _show_title(self) -> None:
        address = "ended" if self.end else "starting ..."
        if self.console.endpoint and not self.end:
            address = endpoint_text(*self.console.endpoint)
        here = sum(person.status is Status.HERE for person in self.console.people.values())
        title = f"  {self.design}  {address}" + ("" if self.end else f"  {here} here")
        self.query_one("#title", PlainText).set_text((self.group, "bold"), title)

    def _show_keys(self) -> None:
        """Have the footer show only what can be done now."""
        impossible = self._impossible_actions()
        if impossible != self._impossible:
            self._impossible = impossible
            self.refresh_bindings()

    def _impossible_actions(self) -> set[str]:
        if self.end:
            return ORDERS
        impossible = {"start_again"}
        is_open = self.is_whole and self.query_one(OwnerInput).has_class("-open")
        if not (self.has_class("-filled") or is_open):
            impossible.add("back")
        if not self.console.endpoint:
            return impossible | ORDERS
        statuses = {person.status for person in self.console.people.values()}
        if not self.console.askers:
            impossible.add("answer_request")
        if len(self.console.askers) < 2:
            impossible.add("accept_all")
        if Status.BANNED not in statuses:
            impossible.add("unban")
        return impossible

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether something can be done now; Textual calls this."""
        return action not in self._impossible_actions()

    def _show_request(self) -> None:
        askers = self.console.askers
        self.query_one("#request").display = bool(askers or self.end)
        self.set_class(bool(self.end), "-ended")
        if self.end:
            text = f"{self.end} Enter starts it again."
            self.query_one("#asker", PlainText).set_text(text)
        elif askers:
            asker = self._asker() or askers[0]
            others = f" (and {len(askers) - 1} more)" if len(askers) > 1 else ""
            text = f"{asker.name} asks to join from {asker.address}{others}"
            self.query_one("#asker", PlainText).set_text(text)

    def action_fill_screen(self) -> None:
        """Let the processes fill the screen, or not any more."""
        self.toggle_class("-filled")
        panel = self.query_one(ProcessPanel)
        (panel.process_tree if self.has_class("-filled") else self.query_one(PeopleList)).focus()

    def action_scroll_log(self, pages: int) -> None:
        """Scroll the log, or the tree that hides it."""
        is_filled = self.has_class("-filled")
        log = self.query_one(ProcessPanel).process_tree if is_filled else self.message_log
        log.scroll_pages(pages)

    # -- Orders --------------------------------------------------------------------------------

    def order(self, text: str, consent: str | None = None) -> None:
        """Give an order at the console; `consent` is the group's name, for `delete`."""
        self.console.order(text, consent)
        self._send_orders()

    def refresh_members(self) -> None:
        """Request the list of members."""
        if self.console.endpoint and not self.console.final_order and not self.end:
            self.console.refresh_members()
            self._send_orders()

    def _send_orders(self) -> None:
        if self.console.outgoing:
            self.server.write(bytes(self.console.outgoing))
            self.console.outgoing.clear()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Accept or reject a request with the mouse."""
        self.action_answer_request(event.button.id or "")

    def action_answer_request(self, verb: str) -> None:
        """Accept or reject the chosen person, or the first one that asks."""
        if asker := self._asker():
            self.order(f"{verb} {asker.name}")
            self.refresh_screen()  # the next key is about the next person

    def _asker(self) -> Person | None:
        """Return the chosen person, or the first one that asks."""
        askers = self.console.askers
        chosen = self.query_one(PeopleList).chosen(Status.ASKS)
        return chosen if chosen in askers else next(iter(askers), None)

    def action_accept_all(self) -> None:
        """Accept everyone that asks."""
        for asker in self.console.askers:
            self.order(f"accept {asker.name}")

    def action_ban(self) -> None:
        """Ask for a name and a confirmation, and ban that person."""
        person = self.query_one(PeopleList).chosen(Status.HERE, Status.AWAY, Status.ASKS)

        def named(name: str | None) -> None:
            name = (name or "").strip()
            if name:
                question = f"Ban {name}? They are disconnected, and the name is kept out."
                self.app.push_screen(ConfirmDialog(question, "Ban"), confirmed(name))

        def confirmed(name: str) -> Callable[[str | None], None]:
            return lambda answer: None if answer is None else self.order(f"ban {name}")

        question = "Ban a person: disconnect and keep out"
        self.app.push_screen(TextDialog(question, "Ban", person.name if person else ""), named)

    def action_unban(self) -> None:
        """Ask for a name, and let that person ask again."""
        person = self.query_one(PeopleList).chosen(Status.BANNED)
        question = "Unban a person: they may ask to join again"
        self._order_with_text("unban", question, person.name if person else "")

    def action_rename(self) -> None:
        """Ask for another name for the group."""
        self._order_with_text("rename", "New name for the group", self.group)

    def _order_with_text(self, verb: str, question: str, text: str) -> None:
        """Ask for the argument of an order, then give the order."""

        def answered(answer: str | None) -> None:
            if answer and answer.strip():
                self.order(f"{verb} {answer.strip()}")
                if verb == "rename":
                    self.run_worker(self._forget_group())

        self.app.push_screen(TextDialog(question, verb.capitalize(), text), answered)

    async def _forget_group(self) -> None:
        """Ask for the group's name again, once the console has answered."""
        while self.console.orders and self.server.pid:
            await asyncio.sleep(REFRESH_INTERVAL)
        self._knows_group = False

    # -- Speaking ------------------------------------------------------------------------------

    def action_speak(self) -> None:
        """Let the owner type messages, as a member of the group."""
        if self.console.endpoint:
            host, port = self.console.endpoint
            self.remove_class("-filled")
            self.query_one(OwnerInput).speak(LOOPBACK.get(host, host), port)

    def on_owner_input_noted(self, message: OwnerInput.Noted) -> None:
        """Display words for the owner."""
        self._new_lines.append(note(message.text, datetime.now()))

    def on_owner_input_heard(self, message: OwnerInput.Heard) -> None:
        """Display a message of the group, if the console has not printed it a moment later."""
        event, now = message.event, datetime.now()

        def show() -> None:
            if self.console.message_count:
                return
            if not self._console_is_silent:
                self._console_is_silent = True
                text = "This server's console prints no messages; these come to you as a member."
                self._new_lines.append(note(text, now))
            self._new_lines.append(LogLine(LineKind.MESSAGE, event.text, event.name, now))

        if not self.console.message_count:
            self.set_timer(CONSOLE_TIMEOUT, show)

    def action_close_group(self) -> None:
        """Close the group, after a confirmation."""

        def answered(answer: str | None) -> None:
            if answer is not None:
                self.order("close")

        question = f"Close {self.group}? The server ends, and the group's files are kept."
        self.app.push_screen(ConfirmDialog(question, "Close"), answered)

    def action_delete_group(self) -> None:
        """Delete the group, if the user types its name."""

        def answered(answer: str | None) -> None:
            if answer is not None:
                self.order("delete", consent=answer)

        question = f"Delete {self.group} and all its files?\nType the group's name to confirm"
        self.app.push_screen(TextDialog(question, "Delete"), answered)
