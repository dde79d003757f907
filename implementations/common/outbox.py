"""The Outbox of one client: what is still to be sent to it, in order, and how fast it reads.

It is bounded in bytes. See outboxes.py for the part that sends.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import partial
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection

READING_BYTES = 64 * 1024  # a client that took as many in the last READING_WINDOW keeps reading
READING_WINDOW = 2.0  # seconds; half of what is promised, since the kernel frees buffers in lumps
MERGE_WITHIN = 0.1  # seconds


class OutboxState(Enum):
    """How far the end of a connection has come, from the sending side."""

    OPEN = "open"  # takes lines and events
    FAILED = "failed"  # the socket takes nothing any more; BYE has not been queued
    ENDING = "ending"  # BYE is queued: nothing comes after it
    ENDED = "ended"  # BYE is sent, and our side of the connection is shut down


OPEN, FAILED, ENDING, ENDED = (
    OutboxState  # short names, since Python 3.11 takes 150 ns for long ones
)


class Recent:
    """A sum over the last `window` seconds."""

    def __init__(self, window: float) -> None:
        self.window = window
        self.parts: deque[tuple[float, float]] = deque()  # (when, amount), the oldest first

    def add(self, amount: float, now: float) -> None:
        """Adds an amount. What comes within MERGE_WITHIN is counted as one."""
        if self.parts and now - self.parts[-1][0] < MERGE_WITHIN:
            when, before = self.parts.pop()
            self.parts.append((when, before + amount))
        else:
            self.parts.append((now, amount))

    def total(self, now: float) -> float:
        """Returns the sum of what was added in the last `window` seconds."""
        while self.parts and self.parts[0][0] < now - self.window:
            self.parts.popleft()
        return sum(amount for _, amount in self.parts)


class Pace:
    """How fast a slow client reads. Times are in seconds."""

    def __init__(self, now: float) -> None:
        self.last_progress_at = now  # when it took anything
        self.last_empty_at = now  # when it had taken everything
        self.reads = Recent(READING_WINDOW)  # bytes

    def start(self, now: float) -> None:
        """From now on something waits for it."""
        self.last_progress_at = self.last_empty_at = now
        self.reads = Recent(READING_WINDOW)

    def took(self, sent: int, is_empty: bool, now: float) -> None:
        """It took `sent` bytes; `is_empty`: nothing waits for it any more."""
        self.last_progress_at = now
        self.reads.add(sent, now)
        if is_empty:
            self.last_empty_at = now

    def keeps_reading(self, now: float) -> bool:
        """Whether it took READING_BYTES, or everything, within the last READING_WINDOW."""
        has_caught_up = now - self.last_empty_at <= READING_WINDOW
        return has_caught_up or self.reads.total(now) >= READING_BYTES


class HistoryTransfer:
    """A HISTORY that is being sent from the transcript file. Positions are offsets in bytes."""

    def __init__(self, start: int, end: int) -> None:
        self.position = start  # of the next byte
        self.chunk_end = start  # of the chunk under way, which ends where a line ends
        self.end = end
        self.lines_after: list[bytes] = []  # the client's own lines that come after it

    def is_inside_chunk(self) -> bool:
        """Whether other lines would tear a line of the history."""
        return self.position < self.chunk_end

    def end_early(self) -> None:
        """Sends no more than the chunk under way, and of the lines after it only the last."""
        self.end = self.chunk_end
        self.lines_after = self.lines_after[-1:]


class Outbox:
    """What is still to be sent to one client."""

    def __init__(self, client: Connection, sock: socket.socket, now: float) -> None:
        self.client, self.sock = client, sock
        self.descriptor = sock.fileno()
        # Never waits: the descriptor is non-blocking.
        self.send: Callable[[bytes], int] = partial(os.write, self.descriptor)
        self.state = OPEN
        self.chunks: deque[bytes] = deque()
        self.history: HistoryTransfer | None = None
        self.queued_bytes = 0  # in chunks, and in the lines after the history
        self.reply_bytes: int | None = None  # until the open request is finished; None: none is
        self.receives_events = False
        self.events_queued = 0  # how many of this turn's Events are in chunks already
        self.is_slow = False  # the kernel did not take everything: we wait until it can
        self.pace = Pace(now)  # while it is slow
        self.bye_at = inf  # when BYE was queued
        self.ended_at = inf  # when BYE had been sent
        self.reader_done = False  # nobody reads from the client: the sender closes the socket

    def put(self, data: bytes) -> None:
        """Queues lines of its own, behind a history that is under way: answers are in order."""
        if self.state is OPEN:
            (self.history.lines_after if self.history else self.chunks).append(data)
            self.queued_bytes += len(data)

    def put_events(self, data: bytes) -> None:
        """Queues events. They do not wait for a history."""
        if data and self.state is not FAILED:
            self.chunks.append(data)
            self.queued_bytes += len(data)

    def end_early(self) -> None:
        """Drops what would only delay the BYE, which is queued as the last line."""
        if self.history:
            self.history.end_early()
            after = sum(map(len, self.history.lines_after))
            self.queued_bytes = sum(map(len, self.chunks)) + after

    def drop_all(self) -> None:
        """Drops everything that is queued."""
        self.chunks.clear()
        self.history, self.queued_bytes = None, 0

    def is_inside_history(self) -> bool:
        """Whether a line of the history has been sent in part."""
        return self.history is not None and self.history.is_inside_chunk()

    def note_sent(self, sent: int, now: float) -> None:
        """The kernel took `sent` bytes."""
        if sent and self.is_slow:
            self.pace.took(sent, not self.chunks and not self.history, now)

    def needs_backpressure(self, limit: int, now: float) -> bool:
        """Whether the server is to read from nobody until this client has caught up.

        limit: of the bytes that may be queued. The answer to its own request does not count.
        """
        others = self.queued_bytes - (self.reply_bytes or 0)
        return others > limit // 2 and self.pace.keeps_reading(now)

    def is_full(self, limit: int) -> bool:
        """Whether more than `limit` bytes are queued, without the answer to its own request."""
        return self.queued_bytes - (self.reply_bytes or 0) > limit

    def is_too_slow(self, limit: int, slow_after: float, now: float) -> bool:
        """Whether the client is to be disconnected, since it does not read.

        limit: of the bytes that may be queued. slow_after: seconds without reading, which count
        from the BYE if it has been queued.
        """
        quiet_since = min(self.pace.last_progress_at, self.bye_at)
        is_silent = self.is_slow and now - quiet_since >= slow_after
        return is_silent or (self.queued_bytes > limit and not self.pace.keeps_reading(now))

    def finish_when_sent(self) -> None:
        """The client's request is finished when all that is queued now has been sent."""
        self.reply_bytes = self.queued_bytes
