"""The state of a member's conversation in words, and the actions that it permits. Pure."""

from __future__ import annotations

from ..client.connection_state import State
from ..client.conversation import Conversation

# The advice after the reason for an end, by the code of BYE
NEXT_STEPS = {
    "banned": "Only the owner can let you join again.",
    "replaced": "Only one connection can use a name.",
    "left": "You may ask to join again.",
    "deleted": "You cannot reconnect.",
}
NO_ANSWER_AFTER = 0.75  # seconds; with the next turn of the window, less than one second
# Actions of the screen that are not always possible
ACTIONS = "rename", "disconnect", "reconnect", "leave_group", "show_groups", "next_group", "cancel"


def describe(state: State, here: int) -> str:
    """Return a state in a few words; `here` is the number of members that are here."""
    words = {
        State.CONNECTING: "connecting",
        State.ASKING: "waiting for the owner",
        State.HERE: f"in, {here} here",
    }
    return words.get(state, "disconnected")


def advice(conversation: Conversation, state: State, address: str, now: float) -> str:
    """Return the state, the reason for it, and the user's next steps.

    Args:
        conversation: the conversation.
        state: its state, or CONNECTING while the address is looked up.
        address: the server's HOST:PORT.
        now: the time of time.monotonic(), in seconds.
    """
    if state is State.CONNECTING:
        return f"Connecting to {address} ..."
    if state is State.ASKING and not conversation.was_here:
        return (
            f"You asked to join {conversation.group} as {conversation.name}.\n\n"
            "Waiting for the owner to accept you.\nPress Escape to cancel."
        )
    if state is State.ASKING:
        return "Reconnecting ..."
    if state is State.DISCONNECTED:
        seconds = max(0, round(conversation.retry_at - now))
        reason = f"Disconnected: {conversation.reason}."
        return f"{reason} Retrying in {seconds} s; F5 retries now."
    reason = conversation.reason or "you quit"
    next_step = NEXT_STEPS.get(conversation.bye_code, "F5 reconnects.")
    return f"Disconnected: {reason}. {next_step} F6 shows your groups."


def status(*, silence: float, waiting: int, below: int, unread: str) -> str:
    """Return the line above the field for messages; "" if there is nothing to say.

    Args:
        silence: for how many seconds the server has owed an answer.
        waiting: lines that wait to be sent.
        below: lines below the visible ones.
        unread: how many of them are new, in words.
    """
    if silence >= NO_ANSWER_AFTER:
        return f"no answer for {max(1, silence):.0f} s"
    if waiting:
        return f"{waiting:,} lines wait to be sent; press Escape to stop"
    if below:
        new = f" ({unread})" if unread else ""
        return f"{below:,} lines below{new}; press Ctrl+End to see the newest"
    return ""


def is_enabled(action: str, conversation: Conversation, has_waiting_lines: bool) -> bool:
    """Return whether an action does something now."""
    state, was_here = conversation.state, conversation.was_here
    enabled = {
        "rename": state is State.HERE,
        "leave_group": state is State.HERE,
        "disconnect": was_here and state is not State.OVER,
        "reconnect": was_here and state in (State.DISCONNECTED, State.OVER),
        "show_groups": was_here,
        "cancel": not was_here or has_waiting_lines,
    }
    return enabled.get(action, True)
