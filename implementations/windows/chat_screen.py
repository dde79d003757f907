"""The screen of one group for a member: waiting to be admitted, in the group, disconnected."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from random import random
from time import monotonic
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Key
from textual.widgets import Footer, OptionList
from textual.widgets.option_list import Option

from ..client.arguments import resolve
from ..client.connection import TICK
from ..client.connection_state import ConnectionProgress, State
from ..client.conversation import Conversation
from ..client.display import explain, local_time
from ..client.errors import ClientError
from ..client.groups import GroupsFile
from ..client.items import Event, Item, MemberStatus
from ..client.membership_saver import MembershipSaver
from ..client.user_input import COMMANDS, UserInput
from ..common import wire
from . import chat_state
from .help_dialog import HelpDialog
from .log_lines import LineKind, LogLine
from .message_input import MessageInput
from .message_log import MessageLog
from .roster import Roster
from .server_connection import ServerConnection
from .widgets import ConfirmDialog, LogScreen, PlainText, TextDialog, plain_content

CONTEXT = 100  # events before the first new one that are displayed again
OFFLINE_COMMANDS = "?", "/help", "/groups", "/reconnect"  # the others need a connection
MAX_SHOWN = 300  # members in the list; a longer list takes long to lay out at each change


class ChatScreen(LogScreen):
    """Displays a Conversation, and passes on the user's input.

    Attributes:
        conversation: the core; a new one after a reconnection by hand.
        to_send: messages that wait until earlier ones are confirmed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        # No letter with Ctrl: in other programs those edit a line, or end a program
        Binding("f1", "help", "Keys", priority=True),
        Binding("question_mark", "help", show=False),
        Binding("f2", "rename", "Rename", priority=True),
        Binding("f5", "reconnect", "Reconnect", priority=True),
        Binding("f6", "show_groups", "Groups", priority=True),
        Binding("f8", "disconnect", "Disconnect", priority=True),
        Binding("f9", "leave_group", "Leave", priority=True),
        Binding("ctrl+l", "redraw", show=False, priority=True),
        Binding("escape", "cancel", "Cancel"),
    ]
    CSS = """
    ChatScreen #title { height: 1; padding: 0 1; background: $primary; color: $text; }
    ChatScreen #waiting { height: 1fr; align: center middle; }
    ChatScreen #waiting PlainText {
        width: auto; max-width: 100%; text-align: center; padding: 1 3; border: round $edge;
    }
    ChatScreen #chat { height: 1fr; }
    ChatScreen #people {
        width: 20; max-height: 100%; height: 1fr; border: none; border-left: solid $edge;
        background: $surface;
    }
    ChatScreen #banner { background: $warning; color: black; padding: 0 1; text-style: bold; }
    ChatScreen #status { height: 1; padding: 0 1; color: $text-muted; }
    ChatScreen #input { height: 1; background: $boost; padding: 0 1; }
    ChatScreen.-wide #people { width: 28; }
    ChatScreen.-narrow #people, ChatScreen.-low Footer { display: none; }
    ChatScreen.-low #title, ChatScreen.-low #status { display: none; }
    ChatScreen.-low #waiting PlainText { border: none; padding: 0; }
    """

    def __init__(
        self,
        address: str,
        member_name: str,
        password: str,
        last_seen: int | None,
        groups_file: GroupsFile,
    ) -> None:
        """Prepare a screen.

        Args:
            address: the server's HOST:PORT.
            member_name: the user's name in the group.
            password: the user's password.
            last_seen: the number of the newest event seen before; None if there was none.
            groups_file: where the client remembers the group.
        """
        super().__init__()
        self.address = address
        self.roster = Roster(member_name)
        self.to_send: deque[str] = deque()
        self._password, self._last_seen = password, last_seen
        self._connection: ServerConnection | None = None  # None until the address is known
        self._old_up_to: int | None = None  # events up to this one are no news; set at WELCOME
        self._news_started = False
        self._who_requested_in: ConnectionProgress | None = None  # the connection that sent WHO
        self._enabled: list[bool | None] = []  # of the actions, as the footer shows them
        self._people_changed = False  # since the list was displayed
        self._shown_names: list[str] = []
        self._next_people = 0.0  # when it may be displayed again
        self.conversation = Conversation(
            member_name, password, last_seen, jitter=random, context=CONTEXT
        )
        self.user_input = UserInput(self.conversation)
        self._saver = MembershipSaver(self.conversation, address, groups_file)
        self.commands: dict[str, Callable[[str], None]] = {
            "?": lambda _: self.action_help(),
            "/help": lambda _: self.action_help(),
            "/leave": lambda _: self.action_leave_group(),
            "/name": self._rename_to,
            "/nick": self._rename_to,
            "/who": lambda _: self._list_members(),
            "/groups": lambda _: self.action_show_groups(),
            "/reconnect": lambda _: self.action_reconnect(),
        }

    def compose(self) -> ComposeResult:
        """Create the parts of the screen."""
        yield PlainText(id="title")
        with Vertical(id="waiting"):
            yield PlainText(id="waiting-text")
        with Horizontal(id="chat"):
            yield MessageLog(id="messages")
            yield OptionList(id="people", markup=False, compact=True)
        yield PlainText(id="banner")
        yield PlainText(id="status")
        commands = sorted({*self.commands, *COMMANDS})
        yield MessageInput(self.enter, self.roster.completions, commands, id="input")
        yield Footer()

    def on_mount(self) -> None:
        """Connect to the server, and start the updates of the screen."""
        self.message_log.can_focus = False  # the keys that scroll it work everywhere
        self.message_log.highlight_names(self.roster.own_names)
        self.query_one(MessageInput).focus()
        self.refresh_screen()
        self.set_interval(TICK, self.take_turn)
        self.run_worker(self._connect())

    async def _connect(self) -> None:
        """Look up the address, which may take seconds, and connect."""
        try:
            infos = await asyncio.to_thread(resolve, self.address)
        except (ClientError, OSError) as error:
            self.leave(explain(error))
            return
        self._connection = ServerConnection(infos, self.conversation, self.refresh_screen)
        self.take_turn()

    def take_turn(self) -> None:
        """Do everything that can be done now without waiting."""
        if self._connection and self.is_whole:
            self._send_waiting()
            self._connection.turn()

    def on_unmount(self) -> None:
        """Send QUIT, and save the number of the last event, however the screen ends."""
        if self._connection:
            self.conversation.quit(monotonic())
            self._connection.flush()
            self.conversation.end(0, "")
            self._saver.save_if_due()
            self._connection.close()

    # -- Events --------------------------------------------------------------------------------

    def refresh_screen(self) -> None:
        """Display all changes, and leave the screen if the conversation is over."""
        if not self.is_whole:
            return
        conversation = self.conversation
        if conversation.state is State.HERE:
            self._note_welcome()
        items = conversation.take_items()
        self._add_items(items)
        if any(not isinstance(item, Event) or item.verb != "MSG" for item in items):
            self._people_changed = True
        if self._people_changed and monotonic() >= self._next_people:
            self._people_changed, self._next_people = False, monotonic() + TICK
            self._show_people()
        self._show_state()
        if self._connection and (failure := self._saver.save_if_due()):
            self.add_note(failure)
        if conversation.state is State.OVER and not conversation.was_here:
            self.leave(conversation.reason)
        elif conversation.state is State.OVER and conversation.bye_code == "left":
            self.leave(f"You left {conversation.group}.")

    def _note_welcome(self) -> None:
        """Request the list of members, once in each connection."""
        progress = self.conversation.progress
        if self._who_requested_in is progress:
            return
        self._who_requested_in = progress
        self.roster.status.clear()
        if self._old_up_to is None:
            last_seen, welcome_seq = self._last_seen, progress.welcome_seq
            is_known = last_seen is not None and last_seen <= welcome_seq
            self._old_up_to = last_seen if is_known else welcome_seq
        self.conversation.request("WHO")

    def _add_items(self, items: Iterable[Item]) -> None:
        """Add items to the log. The unread mark precedes the first one that is news."""
        old: list[LogLine] = []
        news: list[LogLine] = []
        has_new_event = False
        for item in items:
            is_event = isinstance(item, Event)
            is_old = isinstance(item, Event) and item.seq <= (self._old_up_to or 0)
            has_new_event = has_new_event or (is_event and not is_old)
            if line := self._line_of(item):
                (old if is_old else news).append(line)
        self.message_log.add(old, is_news=False)
        if has_new_event and not self._news_started:
            self._news_started = True
            # To a newcomer, everything before is old, and there is nothing to mark
            if self._last_seen is not None and self._old_up_to == self._last_seen:
                self.message_log.start_unread()
        self.message_log.add(news)

    def _line_of(self, item: Item) -> LogLine | None:
        """Take over the changes of an item; return the line to display, if any."""
        self.roster.follow(item)
        if self.conversation.name not in self.roster.own_names:
            self.roster.own_names.append(self.conversation.name)
            self.message_log.highlight_names(self.roster.own_names)
        if isinstance(item, MemberStatus):
            return None
        if not isinstance(item, Event):
            return LogLine(LineKind.NOTE, item.text)
        time = local_time(item.time)
        if item.verb == "MSG":
            is_own = item.name in self.roster.own_names
            text = item.text.removeprefix("/me ")
            is_action = text != item.text
            return LogLine(LineKind.MESSAGE, text, item.name, time, is_own, is_action)
        return LogLine(LineKind.NOTE, item.describe(), time=time)

    def add_note(self, text: str) -> None:
        """Add a note of the window itself to the log."""
        self.message_log.add([LogLine(LineKind.NOTE, text)])

    # -- Display -------------------------------------------------------------------------------

    def _show_people(self) -> None:
        def label(name: str) -> Option:
            if self.roster.status[name] == "here":
                return Option(plain_content(("● ", "$here"), (name, "bold")))
            return Option(plain_content((f"○ {name} (away)", "$quiet")))

        names = self.roster.sorted_names()
        self._shown_names = names[:MAX_SHOWN]
        options = [label(name) for name in self._shown_names]
        if more := len(names) - len(options):
            options.append(Option(plain_content((f"and {more:,} more", "$quiet")), disabled=True))
        self.query_one("#people", OptionList).set_options(options)

    def _show_state(self) -> None:
        conversation = self.conversation
        was_here = conversation.was_here
        state = conversation.state if self._connection else State.CONNECTING
        advice = chat_state.advice(conversation, state, self.address, monotonic())
        group = conversation.group or self.address
        words = chat_state.describe(state, self.roster.here)
        title = f"  {conversation.name}  {words}"
        self.query_one("#title", PlainText).set_text((group, "bold"), title)
        self.query_one("#waiting").display = not was_here
        self.query_one("#chat").display = was_here
        is_out = was_here and conversation.state is not State.HERE
        self.query_one("#banner", PlainText).set_text(advice if is_out else "")
        if not was_here:
            self.query_one("#waiting-text", PlainText).set_text(advice)
        self._show_status()
        enabled = [self.check_action(action, ()) for action in chat_state.ACTIONS]
        if enabled != self._enabled:
            self._enabled = enabled
            self.refresh_bindings()

    def _show_status(self) -> None:
        below, waiting = self.message_log.lines_below, len(self.to_send)
        text = " "
        if waiting:
            text = f"{waiting:,} lines wait to be sent; press Escape to stop"
        elif below:
            text = f"{below:,} lines below; press Ctrl+End to see the newest"
        self.query_one("#status", PlainText).set_text(text)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether an action does something now. Textual calls this for the footer."""
        return chat_state.is_enabled(action, self.conversation, bool(self.to_send))

    def set_watched(self, is_watched: bool) -> None:
        """Take note whether the terminal has the focus."""
        self.message_log.set_watched(is_watched)

    # -- Input ---------------------------------------------------------------------------------

    def enter(self, line: str) -> bool:
        """Take a line; return whether it was accepted. If not, a note in the log says why."""
        line = line.replace("\t", " ")
        command, _, argument = line.partition(" ")
        text = line.removeprefix("/")
        if not line:
            return False
        is_over = self.conversation.state is State.OVER
        if is_over and command not in OFFLINE_COMMANDS:
            self.add_note("not sent: you are not connected; /reconnect connects again")
            return False
        if command in self.commands and (line.startswith("/") or line == command):
            self.commands[command](argument.strip())
            return True
        if command == "/me" and argument.strip():
            text = line
        elif line.startswith("/") and not line.startswith("//"):
            self.user_input.enter(line, monotonic())
            text = ""
        if wire.is_text(text):
            self.to_send.append(text)
        elif text:
            self.user_input.say(text)  # it explains why it does not send the text
            self.refresh_screen()
            return False
        self.message_log.clear_mark()
        self.message_log.jump_to_end()
        self.take_turn()
        return True

    def _rename_to(self, name: str) -> None:
        if name:
            self.user_input.rename(name)
            self.take_turn()
        else:
            self.action_rename()

    def _list_members(self) -> None:
        for name, status in sorted(self.roster.status.items()):
            self.add_note(f"{name} {status}")

    def _send_waiting(self) -> None:
        while self.to_send and not self.user_input.should_pause:
            if self.conversation.state is State.OVER:
                break
            self.user_input.say(self.to_send.popleft())

    def on_message_input_pasted(self, message: MessageInput.Pasted) -> None:
        """Send pasted lines, after a confirmation."""
        lines = [line.replace("\t", " ") for line in message.lines]
        valid = [line for line in lines if wire.is_text(line)]
        question = f"You pasted {len(lines):,} lines. Each will be a message."
        if invalid := len(lines) - len(valid):
            question += (
                f" {invalid:,} of them cannot be sent: longer than {wire.MAX_TEXT} bytes, "
                "or with characters that messages must not contain."
            )

        def answered(answer: str | None) -> None:
            if answer is not None:
                self.to_send += valid
                self.take_turn()

        self.app.push_screen(ConfirmDialog(question, "Send", "Discard"), answered)

    def on_message_log_name_clicked(self, message: MessageLog.NameClicked) -> None:
        """Insert the author of a message into the field."""
        self.query_one(MessageInput).insert_name(message.name)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Insert a member of the list into the field."""
        self.query_one(MessageInput).insert_name(self._shown_names[event.option_index])

    async def on_key(self, event: Key) -> None:
        """Pass what the user types elsewhere on to the field for messages."""
        field = self.query_one(MessageInput)
        is_typed = event.is_printable and event.key not in ("space", "question_mark")
        if is_typed and self.focused is not field:
            event.stop()
            self.set_focus(field)
            field.insert_text_at_cursor(event.character or "")

    # -- Keys ----------------------------------------------------------------------------------

    def action_help(self) -> None:
        """Show all keys and commands."""
        self.app.push_screen(HelpDialog())

    def action_redraw(self) -> None:
        """Draw the whole screen again, for a terminal that another program has written to."""
        self.refresh(layout=True)

    def action_rename(self) -> None:
        """Ask for another name for the user."""

        def answered(answer: str | None) -> None:
            if answer is not None:
                self.user_input.rename(answer.strip())
                self.take_turn()

        self.app.push_screen(
            TextDialog("Your new name", "Rename", self.conversation.name), answered
        )

    def action_leave_group(self) -> None:
        """Leave the group, after a confirmation."""

        def answered(answer: str | None) -> None:
            if answer is not None:
                self.conversation.request("LEAVE")
                self.take_turn()

        question = f"Leave {self.conversation.group}? You will no longer be a member."
        self.app.push_screen(ConfirmDialog(question, "Leave", "Stay"), answered)

    def action_disconnect(self) -> None:
        """Quit, and stay a member."""
        self.conversation.quit(monotonic())
        self.take_turn()

    def action_reconnect(self) -> None:
        """Connect again, now."""
        old = self.conversation
        if old.state is State.OVER and self._connection:
            new = Conversation(old.name, self._password, old.last_seen, jitter=random)
            new.was_here, new.group = True, old.group
            self.conversation = self._connection.conversation = self._saver.conversation = new
            self.user_input = UserInput(new)
        else:
            old.retry_at = 0
        self.take_turn()

    def action_show_groups(self) -> None:
        """Leave the screen for the list of groups."""
        self.leave("")

    def action_cancel(self) -> None:
        """Drop the messages that wait, or stop waiting for the owner."""
        if self.to_send:
            self.add_note(f"{len(self.to_send):,} lines were not sent")
            self.to_send.clear()
            self._show_state()
        elif not self.conversation.was_here:
            is_asking = self.conversation.state is State.ASKING
            self.leave("You stopped waiting." if is_asking else "")
