"""Saves in the groups file which events of a group the user has seen."""

from time import monotonic

from .connection_state import State
from .conversation import Conversation
from .display import explain
from .errors import ClientError
from .groups import GroupsFile, Membership

SAVE_INTERVAL = 3  # seconds; after kill -9, the events of this time are displayed again


class MembershipSaver:
    """Keeps the groups file up to date for one conversation."""

    def __init__(self, conversation: Conversation, address: str, groups_file: GroupsFile) -> None:
        """Save `conversation` under `address`, the server's HOST:PORT."""
        self.conversation, self.address, self.groups_file = conversation, address, groups_file
        self._saved: Membership | None = None  # the entry in the file
        self._next_save = 0.0
        self._failed = False  # the user knows that saving does not work

    def save_if_due(self) -> str:
        """Save after WELCOME, then every few seconds if something changed, and at the end.

        Call this after the events were displayed, so everything that is saved was seen.

        Returns:
            "", or a line for the user that says why saving failed. It is returned only once.
        """
        if not self.conversation.was_here:
            return ""
        try:
            self._save()
        except (ClientError, OSError) as error:
            if not self._failed:
                self._failed = True
                return f"not saved: {explain(error)}"
        return ""

    def _save(self) -> None:
        conversation = self.conversation
        is_over = conversation.state is State.OVER
        last_seen = conversation.last_seen or 0
        present = Membership(self.address, conversation.name, conversation.group, last_seen)
        if is_over and conversation.bye_code in ("left", "deleted"):
            self.groups_file.remove(self._saved or present)
        elif present != self._saved and (is_over or monotonic() >= self._next_save):
            self._next_save = monotonic() + SAVE_INTERVAL
            self.groups_file.save(present, formerly=self._saved)
            self._saved = present
