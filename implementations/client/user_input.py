"""The user's input: each line is a message or a command. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ..common import wire
from .connection_state import State
from .conversation import MAX_OUTGOING, Conversation

HELP = (
    "type a message to send it to everyone; type //x to send /x",
    "/me TEXT: say that you do something, as <you> /me TEXT",
    "/name NEW or /nick NEW: change your name",
    "/who: list the members, and which of them are here",
    "/leave: leave the group; you will no longer be a member",
    "/quit: disconnect, and stay a member",
)


class UserInput:
    """The keyboard of one Conversation."""

    def __init__(self, conversation: Conversation) -> None:
        """Pass the input on to `conversation`."""
        self.conversation = conversation
        self.refused = ""  # the last line, if it was not valid
        self._awaits_consent = False  # the last line was /leave: the next one confirms it

    @property
    def should_pause(self) -> bool:
        """Whether too much is unconfirmed or not sent, so the user's next lines should wait."""
        conversation = self.conversation
        return conversation.requests.is_full or len(conversation.outgoing) >= MAX_OUTGOING

    def enter(self, line: str, now: float) -> None:
        """Take a line without its LF, or a wire.Fault from LenientLines.

        If the line is not valid, nothing is sent, and a note says why. Then `refused` is the line.
        """
        self.refused = ""
        if not self.conversation.accepts_input:
            return
        if isinstance(line, wire.Fault):
            self.conversation.note(f"not sent: longer than {wire.MAX_TEXT} bytes")
            return
        line = line.replace("\t", " ")
        command, _, argument = line.partition(" ")
        if self._awaits_consent:
            self._consent(line)
        elif not line.startswith("/") or line.startswith("//"):
            self.say(line.removeprefix("/"))
        elif command in COMMANDS:
            COMMANDS[command](self, argument.strip(), now)
        else:
            self.refused = line
            self.conversation.note(f"unknown command: {command}; /help lists the commands")

    def say(self, text: str) -> None:
        """Send a message to the group, or add a note that says why it cannot be sent."""
        conversation = self.conversation
        if text and not wire.is_text(text):
            self.refused = text if not text.startswith("/") else f"/{text}"
        if not wire.is_permitted(text):
            conversation.note("not sent: it contains a character that messages must not contain")
        elif wire.size(text) > wire.MAX_TEXT:
            conversation.note(f"not sent: {wire.size(text)} bytes; the limit is {wire.MAX_TEXT}")
        elif text:
            conversation.request("SAY", text)
            is_away = conversation.state in (State.ASKING, State.DISCONNECTED)
            if is_away and not conversation.is_script:
                conversation.note("this message will be sent when you are in the group")

    def rename(self, name: str) -> None:
        """Ask for another name, or add a note that says why it is not valid."""
        if wire.clean_name(name) is None:
            self.conversation.note("/name NEW: a name is 1 to 32 letters, digits, or . _ -")
        else:
            self.conversation.request("NAME", name)

    def _name(self, argument: str, now: float) -> None:
        self.rename(argument)

    def _me(self, argument: str, now: float) -> None:
        """Send the line as it is: each client decides how it shows it, as in XMPP (XEP-0245)."""
        if argument:
            self.say(f"/me {argument}")
        else:
            self.conversation.note("/me TEXT: say that you do something")

    def _who(self, argument: str, now: float) -> None:
        self.conversation.request("WHO")

    def _leave(self, argument: str, now: float) -> None:
        self._awaits_consent = True
        self.conversation.note("you will no longer be a member; type yes to leave")

    def _consent(self, line: str) -> None:
        self._awaits_consent = False
        if line.strip() == "yes":
            self.conversation.request("LEAVE")
        else:
            self.conversation.note("you did not leave")

    def _quit(self, argument: str, now: float) -> None:
        self.conversation.quit_after_input(now)

    def _help(self, argument: str, now: float) -> None:
        for line in HELP:
            self.conversation.note(line)


COMMANDS: dict[str, Callable[[UserInput, str, float], None]] = {
    "/me": UserInput._me,
    "/name": UserInput._name,
    "/nick": UserInput._name,
    "/who": UserInput._who,
    "/leave": UserInput._leave,
    "/quit": UserInput._quit,
    "/help": UserInput._help,
}
