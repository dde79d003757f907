"""The client in a terminal: the line that the user types is edited below what is printed."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import deque
from collections.abc import Sequence
from time import monotonic

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.patch_stdout import patch_stdout

from ..common.wire import harmless
from .arguments import AddressInfo
from .connection import TICK
from .connection_state import State
from .console import Console
from .conversation import Conversation
from .groups import GroupsFile
from .items import Refusal
from .loop_connection import LoopConnection
from .user_input import COMMANDS

PROMPT = "> "


class EditingConsole(Console):
    """A Console whose user edits a line and recalls earlier ones; what arrives never mixes with it.

    A line disappears with Enter. It appears again, once, when the server has confirmed it.
    """

    def __init__(
        self,
        address: str,
        infos: Sequence[AddressInfo],
        conversation: Conversation,
        groups_file: GroupsFile,
    ) -> None:
        """Prepare a console; see Console."""
        super().__init__(address, infos, conversation, groups_file)
        self._infos = infos
        output = Vt100_Output.from_pty(sys.stdout)
        output.enable_cpr = False  # not every terminal says where its cursor is
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            erase_when_done=True,
            output=output,
            completer=WordCompleter(list(COMMANDS), sentence=True),
            complete_while_typing=False,
        )
        # One prompt lasts for all lines: between two of them, the terminal would edit and echo
        self._session.default_buffer.accept_handler = self._accept
        self._waiting: deque[str] = deque()  # lines that are typed, while many are unconfirmed

    def run(self) -> int:
        """Run until the conversation is over; return the exit status."""
        with patch_stdout():
            asyncio.run(self._run())
        return self._finish()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._quit)
        connection = self.connection = LoopConnection(self._infos, self.conversation, self._turned)
        typing = asyncio.create_task(self._type())
        while self.conversation.state is not State.OVER:
            self._send()
            connection.turn()
            await asyncio.sleep(TICK)
        if self._session.app.is_running:
            draft = self._session.default_buffer.text
            self._session.app.exit(exception=EOFError)
            if draft:
                print(harmless(f"-- not sent: {draft}"))
        await typing

    def _turned(self) -> None:
        """Print what arrived, and give back a message that the server refused."""
        items = self.conversation.take_items()
        self._print_items(items)
        if failure := self.saver.save_if_due():
            print(f"-- {failure}")
        buffer = self._session.default_buffer
        for item in items:
            if isinstance(item, Refusal) and item.verb == "SAY" and not buffer.text:
                buffer.text = item.argument
                buffer.cursor_position = len(item.argument)

    async def _type(self) -> None:
        """Let the user edit lines until the conversation takes no more."""
        while self.conversation.accepts_input:
            try:
                await self._session.prompt_async()
            except KeyboardInterrupt:
                self._quit()
            except EOFError:
                self.conversation.quit_after_input(monotonic())

    def _accept(self, buffer: Buffer) -> bool:
        """Take a line, or pasted ones; return whether the user should correct it."""
        lines = buffer.text.split("\n")
        if len(lines) > 1 or self._waiting or self.user_input.should_pause:
            self._waiting += lines
        else:
            self.user_input.enter(lines[0], monotonic())
        asyncio.get_running_loop().call_soon(self._send)
        return bool(self.user_input.refused)

    def _send(self) -> None:
        """Enter the lines that wait, as far as possible now, and send."""
        while self._waiting and not self.user_input.should_pause:
            self.user_input.enter(self._waiting.popleft(), monotonic())
        self.connection.flush()
        self._turned()
