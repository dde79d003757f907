"""The client in a terminal or in a script: one event is one line. Everything runs in one thread."""

import os
import selectors
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import partial
from time import monotonic

from ..common.encoding import foreign_encoding, without_mark
from .arguments import AddressInfo
from .connection import TICK, Connection
from .connection_state import State
from .conversation import Conversation
from .display import local_time
from .groups import GroupsFile
from .items import Event, Item, MemberStatus
from .lenient_lines import LenientLines
from .membership_saver import MembershipSaver
from .user_input import UserInput

STDIN, STDOUT = 0, 1
INPUT_SIZE = 4096  # bytes


def item_line(item: Item, time: str = "") -> str:
    """Return the line for an item; `time` goes before an event.

    A message, another event, and the client's own words begin with "<", "*" and "--". A name has no
    space and no such characters, so no text can imitate another form.
    """
    if isinstance(item, Event):
        is_message = item.verb == "MSG"
        return f"{time} <{item.name}> {item.text}" if is_message else f"{time} * {item.describe()}"
    if isinstance(item, MemberStatus):
        return f"-- {item.name} {item.status}"
    return f"-- {item.text}"


class Console:
    """Drives one Conversation from stdin and prints it on stdout."""

    def __init__(
        self,
        address: str,
        infos: Sequence[AddressInfo],
        conversation: Conversation,
        groups_file: GroupsFile,
    ) -> None:
        """Prepare a console.

        Args:
            address: the server's HOST:PORT, as the groups file has it.
            infos: the result of resolve() for that address.
            conversation: which is not started yet.
            groups_file: where the client remembers the group.
        """
        self.conversation = conversation
        self.user_input = UserInput(conversation)
        self.connection = Connection(infos, conversation)
        self.saver = MembershipSaver(conversation, address, groups_file)
        self._stdin_open = not conversation.leave_only
        self._typed = LenientLines()
        self._nothing_read = True  # of stdin
        self._date = date.today()  # of the line that was printed last
        self._signal_read, self._signal_write = os.pipe()
        self._interrupted = False

    def run(self) -> int:
        """Run until the conversation is over; return the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os.write(self._signal_write, b"!"))
        conversation = self.conversation
        if conversation.leave_only:
            conversation.quit_when_confirmed(monotonic())
        while conversation.state is not State.OVER:
            self.connection.connect_if_due()
            self._wait()
            self.connection.flush()
            self._print_items(conversation.take_items())
            if failure := self.saver.save_if_due():
                print(f"-- {failure}", file=sys.stderr, flush=True)
        return self._finish()

    def _finish(self) -> int:
        """Print why the conversation is over; return the exit status."""
        conversation = self.conversation
        self.connection.close()
        if conversation.reason:
            stream = sys.stderr if conversation.exit_status else sys.stdout
            print(f"-- {conversation.reason}", file=stream, flush=True)
        return conversation.exit_status

    def _wait(self) -> None:
        """Wait for input from the network, the user or a signal, and handle it."""
        # PollSelector, because stdin may be a regular file, which epoll and kqueue refuse, and a
        # descriptor may be 1024 or more, which select refuses
        with selectors.PollSelector() as selector:
            for source, events, handler in self._sources():
                selector.register(source, events, handler)
            for key, _ in selector.select(TICK):
                key.data()

    def _sources(self) -> Iterator[tuple[int, int, Callable[[], None]]]:
        """Yield the sources to wait for: descriptor, selector events, handler."""
        yield self._signal_read, selectors.EVENT_READ, self._interrupt
        for sock, events in self.connection.waits_for():
            yield sock.fileno(), events, partial(self.connection.on_ready, sock)
        if self._stdin_open and not self.user_input.should_pause:
            yield STDIN, selectors.EVENT_READ, self._read_stdin

    def _interrupt(self) -> None:
        os.read(self._signal_read, 1)
        self._quit()

    def _quit(self) -> None:
        """Quit at the first Ctrl-C; at the second one, do not wait for the server's answer."""
        if self._interrupted:
            self.conversation.end(0, "")
        self._interrupted = True
        self.conversation.quit(monotonic())

    def _read_stdin(self) -> None:
        try:
            data = os.read(STDIN, INPUT_SIZE)
        except OSError:  # the terminal is gone
            data = b""
        if self._nothing_read and (encoding := foreign_encoding(data)):
            self.conversation.end(1, f"the input is {encoding}: save it as UTF-8")
        text = without_mark(data) if self._nothing_read else data
        self._nothing_read = False
        # The last line of a script may lack its LF
        for line in self._typed.feed(text if data else b"\n"):
            self.user_input.enter(line, monotonic())
        if not data:
            self._stdin_open = False
            self.conversation.quit_after_input(monotonic())

    def _print_items(self, items: Iterable[Item]) -> None:
        for item in items:
            time = ""
            if isinstance(item, Event):
                moment = local_time(item.time)
                if moment.date() != self._date:
                    self._date = moment.date()
                    print(f"-- {self._date}")
                time = f"{moment:%H:%M}"
            print(item_line(item, time))
        sys.stdout.flush()
