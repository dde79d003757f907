"""The state of a member's connection: its name, and the progress of one connection. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from .lenient_lines import LenientLines
from .resequencer import Resequencer

JOIN_TIMEOUT = 20  # seconds from the attempt to connect to PENDING, the first answer to JOIN
PING_AFTER = 60  # seconds of silence before the client sends PING
PROBE_AFTER = 2  # seconds of silence before it sends PING while the user types
DEAD_AFTER = 90  # seconds of silence before the client gives up the connection


class State(Enum):
    """The states of a conversation. protocol.md, section 4, describes those of the server."""

    DISCONNECTED = "disconnected"  # no connection; the client will connect at `retry_at`
    CONNECTING = "connecting"  # until PENDING, the answer to JOIN
    ASKING = "asking"  # the server has not decided about JOIN yet
    HERE = "here"  # after WELCOME
    OVER = "over"  # the end: no further connection


CONNECTED = State.CONNECTING, State.ASKING, State.HERE


@dataclass
class ConnectionProgress:
    """The progress of one connection. The next connection starts with a new object."""

    started_at: float  # when the attempt to connect began, in seconds
    heard_at: float  # when the last bytes arrived, in seconds
    pinged: bool = False  # the client has sent PING since then
    got_hello: bool = False
    got_answer: bool = False  # to JOIN: PENDING
    welcome_seq: int = 0  # the number in WELCOME: later events happened while the member was here
    caught_up: bool = False  # the history is complete: requests may be sent
    asked_again: bool = False  # HISTORY was requested a second time
    expected_bye: str = ""  # the code that a BYE, or an end without one, will have
    bye_deadline: float = 0  # for `expected_bye`, in seconds
    lines: LenientLines = field(default_factory=LenientLines)
    resequencer: Resequencer = field(default_factory=lambda: Resequencer(0))

    def is_dead(self, now: float) -> bool:
        """Return whether the server has not answered, or has been silent, for too long."""
        if not self.got_answer:  # other bytes do not count: a server may send them without end
            return now - self.started_at >= JOIN_TIMEOUT
        return now - self.heard_at >= DEAD_AFTER

    def should_ping(self, now: float) -> bool:
        """Return whether the server has been silent so long that it needs a PING."""
        return not self.pinged and now - self.heard_at >= PING_AFTER
