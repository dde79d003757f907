"""How a connection ends, and whether and when the client connects again. Pure.

The codes of BYE are those of protocol.md, section 8.
"""

from dataclasses import dataclass

MAX_PAUSE = 30  # seconds between two attempts

# After these codes the client reconnects. "" is the end of a connection without a BYE.
RECONNECT_AFTER = {
    "slow": "this client read too slowly",
    "idle": "the server received nothing from this client",
    "timeout": "joining took too long",
    "full": "the server is full",
    "closed": "the server was closed",
    "": "the connection ended",
}


@dataclass(frozen=True)
class Ending:
    """The end of a conversation."""

    exit_status: int  # 0: as the user wanted
    reason: str  # for the user; "" if there is nothing to say


# After these codes, and after any code that it does not know, the client does not reconnect.
FINAL = {
    "quit": Ending(0, ""),
    "left": Ending(0, "you are no longer a member"),
    "banned": Ending(1, "the owner banned you"),
    "deleted": Ending(1, "the owner deleted the group"),
    "replaced": Ending(1, "you connected from another client"),
    "refused": Ending(1, "the server refused you after three rejected requests"),
    "protocol": Ending(1, "the server reported a protocol error of this client"),
}


def ending_after(code: str) -> Ending:
    """Return the end that `code`, which is not in RECONNECT_AFTER, means."""
    return FINAL.get(code, Ending(1, f"the server said BYE {code}"))


class Backoff:
    """Pauses between attempts: 1, 2, 4 ... 30 s, each multiplied by a factor from 0.75 to 1.25.

    The factor keeps many clients from returning to a restarted server at the same moment.
    """

    def __init__(self) -> None:
        """Start with the shortest pause."""
        self._failures = 0

    def next_pause(self, jitter: float) -> float:
        """Return the pause, in seconds, after one more failure. `jitter` lies between 0 and 1."""
        pause = min(MAX_PAUSE, 2.0 ** min(self._failures, 5)) * (0.75 + jitter / 2)
        self._failures += 1
        return pause

    def reset(self) -> None:
        """Start again with the shortest pause: an attempt succeeded."""
        self._failures = 0
