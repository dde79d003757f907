"""The screen of one group for a member: waiting to be admitted, in the group, disconnected."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from random import random
from time import monotonic
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Key
from textual.message import Message
from textual.widgets import Footer, OptionList
from textual.widgets.option_list import Option

from ..client.arguments import check_name, resolve
from ..client.connection import TICK
from ..client.connection_state import ConnectionProgress, State
from ..client.conversation import Conversation
from ..client.display import explain, local_time
from ..client.errors import ClientError
from ..client.groups import GroupsFile
from ..client.items import Event, Item, MemberStatus, Refusal
from ..client.loop_connection import LoopConnection
from ..client.membership_saver import MembershipSaver
from ..client.user_input import COMMANDS, UserInput
from ..common import wire
from . import chat_state
from .help_dialog import HelpDialog
from .log_lines import LineKind, LogLine
from .message_input import MessageInput
from .message_log import MessageLog, unread_words
from .roster import Roster
from .widgets import ConfirmDialog, LogScreen, PlainText, TextDialog, error_of, plain_content

CONTEXT = 100  # events before the first new one that are displayed again
COUNTED_FROM = 350  # bytes of a message; from here on, their number is displayed
MAX_PENDING = 4  # unconfirmed messages that are displayed
OFFLINE_COMMANDS = "?", "/help", "/groups", "/reconnect"  # the others need a connection
MAX_SHOWN = 300  # members in the list; a longer list takes long to lay out at each change


class Novelty(Enum):
    """When an event happened."""

    OLD = "seen in an earlier visit"
    MISSED = "while the user was away"
    LIVE = "while the user is here"


class ChatScreen(LogScreen):
    """Displays a Conversation, and passes on the user's input.

    Attributes:
        conversation: the core; a new one after a reconnection by hand.
        to_send: messages that wait until earlier ones are confirmed.
        wrong_field: of the form that led here: "address" or "password"; "" if none is known.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        # No letter with Ctrl: in other programs those edit a line, or end a program
        Binding("f1", "help", "Keys", priority=True),
        Binding("question_mark", "help", show=False),
        Binding("f2", "rename", "Rename", priority=True),
        Binding("f5", "reconnect", "Reconnect", priority=True),
        Binding("f6", "show_groups", "Groups", priority=True),
        Binding("f7", "next_group", "Next group", priority=True),
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
    ChatScreen #pending {
        max-height: 5; padding: 0 1; color: $text-muted; text-style: italic;
    }
    ChatScreen #status { height: 1; padding: 0 1; color: $text-muted; }
    ChatScreen #input { height: 1; background: $boost; padding: 0 1; }
    ChatScreen.-wide #people { width: 28; }
    ChatScreen.-narrow #people, ChatScreen.-low Footer { display: none; }
    ChatScreen.-low #title, ChatScreen.-low #status { display: none; }
    ChatScreen.-low #waiting PlainText { border: none; padding: 0; }
    """

    @dataclass
    class FrontWanted(Message):
        """The user wants to see another group, or the list of groups."""

        is_next: bool  # the next group

    @dataclass
    class TitleChanged(Message):
        """The terminal should have another title."""

        title: str

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
        self.wrong_field = ""
        self._password = password
        self._asked_at = self._pending_since = 0.0  # since when the server owes an answer
        self._terminal_title = ""
        self._is_terminal_watched = True
        self.news_of_others: Callable[[], str] = lambda: ""  # in other groups of this window
        self._asked_name = ""  # in the dialog; the server has not answered yet
        self._next_bell = 0.0  # when a mention may ring again
        self._connection: LoopConnection | None = None  # None until the address is known
        self._old_up_to = 0  # events up to this one are no news; set at each WELCOME
        self._shown_up_to = last_seen  # the newest event that was displayed, now or before
        self._may_mark = False  # since this WELCOME there was no missed line yet
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
        yield PlainText(id="pending")
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
            self.conversation.end(1, explain(error))
            self.refresh_screen()
            return
        self._connection = LoopConnection(infos, self.conversation, self.refresh_screen)
        self.take_turn()

    def take_turn(self) -> None:
        """Do everything that can be done now without waiting."""
        if self._connection and self.is_whole:
            self._send_waiting()
            self._connection.turn()

    @property
    def is_front(self) -> bool:
        """Whether no other group, nor their list, is above this screen."""
        return next(one for one in reversed(self.app.screen_stack) if not one.is_modal) is self

    def on_screen_resume(self) -> None:
        """Take note that the user sees the lines again."""
        self.set_watched(self._is_terminal_watched)
        self.refresh_screen()

    def on_screen_suspend(self) -> None:
        """Take note that the user sees another group, or a dialog."""
        if not self.is_front:
            self.message_log.set_watched(False)

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
        if not self.is_front:  # the end is shown when the user comes back
            return
        if conversation.state is State.OVER and not conversation.was_here:
            was_rejected = conversation.progress.got_answer and not conversation.bye_code
            self.wrong_field = "password" if was_rejected else "address"
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
        seen, welcome_seq = self._shown_up_to, progress.welcome_seq
        # To a newcomer, and in a group that was created again, everything before is old
        self._may_mark = seen is not None and seen <= welcome_seq
        self._old_up_to = seen if seen is not None and self._may_mark else welcome_seq
        self.conversation.request("WHO")

    def _add_items(self, items: Iterable[Item]) -> None:
        """Add items to the log. The unread mark precedes the first line that the user missed."""
        for novelty, group in groupby(items, self._novelty_of):
            lines = [line for item in group if (line := self._line_of(item))]
            is_missed = novelty is Novelty.MISSED
            if is_missed and self._may_mark and lines:
                self._may_mark = False
                self.message_log.start_unread()
            elif novelty is Novelty.LIVE:
                self._alert(lines)
            self.message_log.add(lines, novelty is not Novelty.OLD, is_missed)

    def _novelty_of(self, item: Item) -> Novelty:
        """Return whether an event is old, or happened while the user was away."""
        welcome_seq = self.conversation.progress.welcome_seq
        if not isinstance(item, Event) or item.seq > welcome_seq:
            return Novelty.LIVE
        is_own = item.name in self.roster.own_names
        return Novelty.OLD if item.seq <= self._old_up_to or is_own else Novelty.MISSED

    def _alert(self, lines: Iterable[LogLine]) -> None:
        """Ring the bell if a line names the user; at most once a second, however many do."""
        if any(map(self.message_log.mentions_user, lines)) and monotonic() >= self._next_bell:
            self._next_bell = monotonic() + 1
            self.app.bell()

    def _line_of(self, item: Item) -> LogLine | None:
        """Take over the changes of an item; return the line to display, if any."""
        self.roster.follow(item)
        if self.conversation.name not in self.roster.own_names:
            self.roster.own_names.append(self.conversation.name)
            self.message_log.highlight_names(self.roster.own_names)
        if isinstance(item, MemberStatus):
            return None
        if not isinstance(item, Event):
            if isinstance(item, Refusal):
                self._on_refusal(item)
            return LogLine(LineKind.NOTE, item.text)
        self._shown_up_to = item.seq
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
        others = self.news_of_others()
        title = f"  {conversation.name}  {words}" + (f"   F7: {others}" if others else "")
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
        size = wire.size(self.query_one(MessageInput).value)
        counter = f"{size} of {wire.MAX_TEXT} bytes" if size >= COUNTED_FROM else ""
        unread = unread_words(*self.message_log.unseen)
        words = chat_state.status(
            silence=self._silence(),
            waiting=len(self.to_send),
            below=self.message_log.lines_below,
            unread=unread,
        )
        style = "bold" if size > wire.MAX_TEXT else ""
        gap = "   " if words and counter else ""
        self.query_one("#status", PlainText).set_text(words + gap, (counter, style), " ")
        self._show_pending()
        group = self.conversation.group or self.address
        title = f"{unread} - {group}" if unread else group
        if self.is_front and title != self._terminal_title:
            self._terminal_title = title
            self.post_message(self.TitleChanged(title))

    def _silence(self) -> float:
        """Return for how many seconds the server has owed an answer, and sent nothing."""
        conversation, now = self.conversation, monotonic()
        owes = conversation.requests.sent or conversation.progress.pinged
        if conversation.state is not State.HERE or not owes:
            self._asked_at = now
        return now - max(self._asked_at, conversation.progress.heard_at)

    def _show_pending(self) -> None:
        """Show, in grey, the messages that the server has not confirmed for a moment."""
        texts = [*self.conversation.requests.texts(), *self.to_send]
        if not texts:
            self._pending_since = monotonic()
        shown = texts[-MAX_PENDING:] if monotonic() - self._pending_since > TICK else []
        lines = [f"{self.conversation.name}: {text}" for text in shown]
        if more := len(texts) - len(shown) if shown else 0:
            lines.insert(0, f"and {more:,} more")
        self.query_one("#pending", PlainText).set_text("\n".join(lines))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether an action does something now. Textual calls this for the footer."""
        if action == "next_group":
            return bool(self.news_of_others())
        return chat_state.is_enabled(action, self.conversation, bool(self.to_send))

    def set_watched(self, is_watched: bool) -> None:
        """Take note whether the terminal has the focus."""
        self._is_terminal_watched = is_watched
        self.message_log.set_watched(is_watched and self.is_front)

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

    def on_input_changed(self) -> None:
        """Count the bytes, and find out in time whether the server still answers."""
        self.conversation.ping_if_silent(monotonic())
        self._show_status()

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

    def action_rename(self, name: str = "", error: str = "") -> None:
        """Ask for another name for the user.

        Args:
            name: what the field displays; "" for the present name.
            error: why that name is not possible.
        """

        def answered(answer: str | None) -> None:
            if answer is not None:
                self._asked_name = answer.strip()
                self.user_input.rename(self._asked_name)
                self.take_turn()

        name = name or self.conversation.name
        dialog = TextDialog("Your new name", "Rename", name, error_of(check_name), error)
        self.app.push_screen(dialog, answered)

    def _on_refusal(self, refusal: Refusal) -> None:
        """Give back what the server refused: ask for the name again, or refill the field."""
        if refusal.verb == "NAME" and refusal.argument == self._asked_name:
            self._asked_name = ""
            self.action_rename(refusal.argument, refusal.reason)
        elif refusal.verb == "SAY" and not (field := self.query_one(MessageInput)).value:
            field.value = refusal.argument
            field.cursor_position = len(refusal.argument)

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
        """Show the list of groups; this one goes on, unless it is over."""
        if self.conversation.state is State.OVER:
            self.leave("")
        else:
            self.post_message(self.FrontWanted(is_next=False))

    def action_next_group(self) -> None:
        """Show the next group that is open in this window."""
        self.post_message(self.FrontWanted(is_next=True))

    def action_cancel(self) -> None:
        """Drop the messages that wait, or stop waiting for the owner."""
        if self.to_send:
            self.add_note(f"{len(self.to_send):,} lines were not sent")
            self.to_send.clear()
            self._show_state()
        elif not self.conversation.was_here:
            is_asking = self.conversation.state is State.ASKING
            self.leave("You stopped waiting." if is_asking else "")
