"""An application that handles each key after the one before it, whatever that one started.

Textual hands letters to the field with the focus, but runs bindings (Backspace, Ctrl+A, Enter) only
when the key has passed the queues of all widgets around the field. Keys that arrive together, as
through a slow ssh, would then overtake each other: "ab", Backspace, "c" could become "ab". And
letters after Enter would go to the field that Enter is about to leave.
"""

from __future__ import annotations

from collections import deque

from textual._callback import invoke
from textual._dispatch_key import dispatch_key
from textual.app import App
from textual.dom import DOMNode
from textual.events import Event, Key, Paste
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widgets import Input

FENCE_TIMEOUT = 0.5  # seconds; a fence is lost with the widget that holds it
STARTS_MORE = "enter", "tab", "shift+tab"  # in a field, these keys concern more than the field


class KeyFence(Message):
    """Passes all queues from a widget to the application, behind everything a key has started."""

    def __init__(self, number: int) -> None:
        """Prepare a fence with a number of its own."""
        super().__init__()
        self.number = number


class OrderedKeysApp(App[None]):
    """Runs the handlers and bindings of one key or paste to their end before the next one."""

    def __init__(self, ansi_color: bool = False) -> None:
        """Prepare the application; `ansi_color` is that of every application."""
        super().__init__(ansi_color=ansi_color)
        self._keys: deque[Key | Paste] = deque()  # that wait for their turn
        self._fence: int | None = None  # number of the fence that they wait for
        self._fences = 0
        self._fenced_screen: Screen[object] | None = None  # the screen when that was sent
        self._ready_screen: Screen[object] | None = None  # it has the focus where it wants it

    async def on_event(self, event: Event) -> None:
        """Handle keys and pastes here, and leave all other events to Textual."""
        if isinstance(event, Key | Paste) and not event.is_forwarded:
            self.app_focus = True
            self._keys.append(event)
            if self._fence is None:
                await self._handle_keys()
        else:
            await super().on_event(event)

    async def _handle_keys(self) -> None:
        """Handle keys until one of them starts something that has to end first."""
        while self._keys and self._fence is None:
            if self.screen is not self._ready_screen:  # its focus is not set yet
                self._start_fence(self.screen)
                return
            event = self._keys.popleft()
            target = self.focused or self.screen
            if isinstance(event, Paste):
                await self._pass_up(event, target)
            elif not await self._press(event, target):
                self._start_fence(target)

    async def _press(self, key: Key, target: DOMNode) -> bool:
        """Run the handlers and the binding of a key; return whether its effect is complete."""
        if await self._check_bindings(key.key, priority=True):
            return False
        is_edit = (
            isinstance(target, Input)
            and key.key in target._bindings.key_to_bindings
            and key.key not in STARTS_MORE
        )
        if await self._pass_up(key, target):
            return isinstance(target, Input)
        if not await self._check_bindings(key.key):
            await dispatch_key(self, key)
        return is_edit

    async def _pass_up(self, event: Key | Paste, target: DOMNode) -> bool:
        """Run the handlers of a widget and of those around it; return whether one stopped that."""
        event._set_forwarded()
        for node in target.ancestors_with_self:
            if isinstance(node, App) or event._stop_propagation:
                break
            with node._context():
                for _, handler in node._get_dispatch_methods(event.handler_name, event):
                    await invoke(handler, event)
        return event._stop_propagation

    def _start_fence(self, pump: MessagePump) -> None:
        """Hold the keys until everything is done that `pump` and those around it have to do."""
        self._fences += 1
        fence = KeyFence(self._fences)
        self._fence, self._fenced_screen = fence.number, self.screen
        pump.post_message(fence)
        self.set_timer(FENCE_TIMEOUT, lambda: self.on_key_fence(fence))

    async def on_key_fence(self, fence: KeyFence) -> None:
        """Go on with the keys."""
        if fence.number == self._fence:
            self._fence = None
            self._ready_screen = self._fenced_screen
            await self._handle_keys()
