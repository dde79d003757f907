"""The requests of one member that the server has not confirmed yet. Pure."""

from collections import deque
from dataclasses import dataclass

MAX_UNCONFIRMED = 100  # requests; from here on, the user's input should pause


@dataclass(frozen=True)
class Request:
    """One request, for example SAY with a text, or WHO without an argument."""

    verb: str
    argument: str = ""

    def line(self) -> str:
        """Return the request as it is sent, without its LF."""
        return f"{self.verb} {self.argument}" if self.argument else self.verb


class UnconfirmedRequests:
    """A queue in two parts: requests that were sent, then requests that were not.

    A request leaves when the server confirms or refuses it. A message (SAY) stays when the
    connection ends. After the next one, the history shows which messages the server received.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.sent: deque[Request] = deque()  # in the order in which the server answers them
        self.unsent: deque[Request] = deque()  # typed before the history was complete

    def __len__(self) -> int:
        """Return the number of requests, sent or not."""
        return len(self.sent) + len(self.unsent)

    @property
    def is_full(self) -> bool:
        """Whether the user's input should pause."""
        return len(self) >= MAX_UNCONFIRMED

    @property
    def oldest(self) -> Request | None:
        """The first request, sent or not; None if there is none."""
        return next(iter(self.sent or self.unsent), None)

    @property
    def messages(self) -> int:
        """The number of messages among the requests."""
        return len(self.texts())

    def texts(self) -> list[str]:
        """Return the texts of the messages among the requests, the oldest first."""
        return [request.argument for request in (*self.sent, *self.unsent) if request.verb == "SAY"]

    def confirm(self, verb: str, argument: str | None = None) -> None:
        """Remove the first request with this verb and, unless it is None, this argument."""
        for request in self.sent:
            if request.verb == verb and argument in (None, request.argument):
                self.sent.remove(request)
                break

    def keep_messages(self) -> list[Request]:
        """Drop the requests that were sent, except messages; return the dropped ones."""
        dropped = [request for request in self.sent if request.verb != "SAY"]
        self.sent = deque(request for request in self.sent if request.verb == "SAY")
        return dropped

    def clear(self) -> None:
        """Drop all requests."""
        self.sent.clear()
        self.unsent.clear()
