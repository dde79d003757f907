"""One way to write, for all three servers: what a turn decided is joined, and sent once.

The events of a turn become one bytes object, which every member's outbox shares, and a flush sends
each outbox with one non-blocking send. Only slow clients are watched for being writable.

A client that does not read is disconnected when its outbox is full, or after --slow-after seconds.
One that keeps reading is not: while more than half of its outbox is full, `backpressure` tells the
server to read from nobody. But nobody waits longer than MAX_WAIT in any WAIT_WINDOW. After that, no
full outbox is excused, and `rationing` takes the place of backpressure: a client that has sent much
is read again a little later, so that those that talk much, and not all, wait for the slow ones.
Outboxes belong to the one thread that flushes them.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from . import deliveries
from .deliveries import Delivery
from .outbox import ENDED, ENDING, FAILED, OPEN, HistoryTransfer, Outbox, Recent
from .requests import event_bytes
from .trace import sequence, traced

if TYPE_CHECKING:
    from .client_state import Client
    from .connection import Connection
    from .console import OwnerOutbox
    from .files import Transcript
    from .requests import Request

CHUNK = 256 * 1024  # bytes of history, or of queued chunks, in one send at most
HISTORY_SENDS = 4  # in one flush, as long as the kernel takes all: a chunk seldom fits its buffer
# While a long history is sent, the kernel's send buffer is so many times as large: so the client
# has enough to read until we come back.
HISTORY_SNDBUF_FACTOR = 8
MAX_WAIT, WAIT_WINDOW = 2.0, 60.0  # seconds of backpressure, for all slow clients together
RATION = 64 * 1024  # bytes of events that a client may cause in a second while there is rationing
CHECK_EVERY = 0.1  # seconds between two searches for clients that are too slow
LINGER = 1.0  # seconds after BYE in which input is discarded: a reset would destroy the BYE


class Outboxes:
    """The outboxes of all clients."""

    def __init__(
        self,
        transcript: Transcript,
        console: OwnerOutbox,
        limit: int,
        slow_after: float,
        sndbuf: int,
    ) -> None:
        """limit, sndbuf: bytes that may wait in an outbox, and in the kernel's buffer behind it.

        slow_after: seconds without reading before a client is disconnected.
        """
        self.transcript, self.console = transcript, console
        self.limit, self.slow_after, self.sndbuf = limit, slow_after, sndbuf
        self.receivers: dict[int, Outbox] = {}  # descriptor: outbox of a client that is HERE
        self.slow_outboxes: dict[Outbox, None] = {}  # the kernel did not take all of these
        self.selector = selectors.DefaultSelector()  # of these; it can be waited for itself
        self.to_flush: dict[Outbox, None] = {}  # in this or the next flush
        self.closing: dict[Outbox, None] = {}  # their BYE is queued
        self.finished: list[Connection] = []  # their request is finished
        self.next_check = 0.0
        self.backpressure = False  # the server is to read from nobody
        self.rationing = False  # it is to obey pause_after()
        self.waited = Recent(WAIT_WINDOW)  # seconds of backpressure
        self.flushed_at = 0.0
        self.send_all = traced(
            "send", self.send_events, lambda events, _: sequence(b"".join(events))
        )
        self.send_one = traced("send", self.send_queued, lambda outbox, _: outbox.client.address)
        self.put_by_kind: dict[type[Delivery], Callable[[Outbox, Any, int, float], None]] = {
            deliveries.Line: self.put_line,
            deliveries.Note: self.put_note,
            deliveries.Welcome: self.put_welcome,
            deliveries.HistoryRange: self.put_history,
            deliveries.Done: self.put_done,
            deliveries.End: self.put_end,
            deliveries.ReaderDone: self.put_reader_done,
        }

    def fileno(self) -> int:
        """A descriptor that is readable when a slow client can be sent to."""
        return self.selector.fileno()

    def is_busy(self) -> bool:
        """Whether a BYE, or anything for the owner, is still to be sent."""
        return bool(self.closing) or bool(self.console.chunks)

    # -- Deliveries in, sends out --------------------------------------------------------------

    def flush(self, turn: Iterable[Delivery], now: float) -> list[Connection]:
        """Queues the deliveries of a turn and sends once to each client that gets any.

        Returns the clients whose request is finished.
        """
        events: list[bytes] = []
        for delivery in turn:
            if isinstance(delivery, deliveries.Events):
                events.append(delivery.data)
            elif isinstance(delivery, deliveries.ToClient):
                outbox = outbox_of(delivery.client)
                if outbox.receives_events:
                    outbox.put_events(b"".join(events[outbox.events_queued :]))
                    outbox.events_queued = len(events)
                self.to_flush[outbox] = None
                self.put_by_kind[type(delivery)](outbox, delivery, len(events), now)
        if events:
            self.send_all(events, now)
        if self.console.report_dropped():
            self.to_flush[self.console] = None
        if now >= self.next_check:
            self.check_slow(now)
        self.flush_queued(now)
        self.protect_slow_clients(now)
        finished, self.finished = self.finished, []
        return finished

    def protect_slow_clients(self, now: float) -> None:
        """Sets backpressure or rationing while a client that keeps reading is far behind."""
        if self.backpressure:
            self.waited.add(now - self.flushed_at, now)
        self.flushed_at = now
        is_behind = any(outbox.needs_backpressure(self.limit, now) for outbox in self.slow_outboxes)
        self.rationing = is_behind and self.is_patience_over(now)
        self.backpressure = is_behind and not self.rationing

    def pause_after(self, client: Connection, requests: Iterable[Request]) -> float:
        """Returns for how many seconds not to read a client that has sent these requests."""
        return event_bytes(requests) / RATION if self.rationing and not client.is_owner else 0.0

    def is_patience_over(self, now: float) -> bool:
        """Whether the others have waited MAX_WAIT for slow clients in the last WAIT_WINDOW."""
        return self.waited.total(now) >= MAX_WAIT

    def must_disconnect(self, outbox: Outbox, now: float) -> bool:
        """Whether the client is to be disconnected, since it does not read, or not fast enough."""
        return outbox.is_too_slow(self.limit, self.slow_after, now) or (
            outbox.is_full(self.limit) and self.is_patience_over(now)
        )

    def send_events(self, events: list[bytes], now: float) -> None:
        """Sends a turn's events to every client that receives them."""
        chunk = b"".join(events)
        self.console.put_events(b"".join(events[self.console.events_queued :]))
        self.to_flush[self.console] = None
        others = {outbox.descriptor for outbox in (*self.to_flush, *self.slow_outboxes)}
        for descriptor in list(self.receivers):
            if descriptor in others:  # something else is queued for it, or was a moment ago
                outbox = self.receivers[descriptor]
                queued = outbox.events_queued
                outbox.put_events(b"".join(events[queued:]) if queued else chunk)
                self.to_flush[outbox] = None
                continue
            # The common case, kept short: with many members the server spends its time here.
            # (What is changed here, forked children have to copy.)
            try:
                sent = os.write(descriptor, chunk)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.fail(self.receivers[descriptor])
                continue
            if sent < len(chunk):
                outbox = self.receivers[descriptor]
                outbox.put_events(chunk[sent:])
                self.mark_slow(outbox, now)

    def flush_queued(self, now: float) -> None:
        """Sends what is queued: to all that the turn has changed, and to slow clients that read."""
        ready: set[Outbox] = set()
        if self.slow_outboxes:
            ready = {key.data for key, _ in self.selector.select(0)}
        to_flush, self.to_flush = self.to_flush, {}
        for outbox in to_flush | dict.fromkeys(ready):
            outbox.events_queued = 0
            if not outbox.is_slow or outbox in ready:
                self.send_one(outbox, now)
            self.after_send(outbox, now)

    # -- Each kind of delivery -----------------------------------------------------------------

    def put_line(self, outbox: Outbox, line: deliveries.Line, *_: object) -> None:
        """Queues lines of the client's own."""
        outbox.put(f"{line.text}\n".encode())

    def put_note(self, outbox: Outbox, note: deliveries.Note, *_: object) -> None:
        """Queues a note for the owner."""
        self.console.put_note(f"{note.text}\n".encode())

    def put_welcome(
        self, outbox: Outbox, welcome: deliveries.Welcome, events_queued: int, _: float
    ) -> None:
        """Queues WELCOME; from here on the client receives the events."""
        outbox.put(f"{welcome.text}\n".encode())
        if outbox.state is not FAILED:
            outbox.receives_events, outbox.events_queued = True, events_queued
            self.receivers[outbox.descriptor] = outbox

    def put_history(self, outbox: Outbox, history: deliveries.HistoryRange, *_: object) -> None:
        """Starts to send a range of the transcript."""
        start = self.transcript.offset_after(history.since)
        end = self.transcript.offset_after(history.until)
        if outbox.state is not FAILED:
            outbox.history = HistoryTransfer(start, end)

    def put_done(self, outbox: Outbox, *_: object) -> None:
        """The client's request is finished when all that is queued has been sent."""
        outbox.finish_when_sent()

    def put_end(self, outbox: Outbox, _: deliveries.End, _events: int, now: float) -> None:
        """BYE is queued; the connection ends when it has been sent."""
        outbox.end_early()
        self.stop_events(outbox)
        outbox.state = ENDING
        outbox.bye_at = now
        outbox.reply_bytes = 0  # a Session that waits for an answer need not wait any longer
        self.closing[outbox] = None

    def put_reader_done(self, outbox: Outbox, *_: object) -> None:
        """Nobody reads from the client any more."""
        outbox.reader_done = True

    # -- One outbox ----------------------------------------------------------------------------

    def send_queued(self, outbox: Outbox, now: float) -> None:
        """Sends what is queued: chunks first, unless they would tear a line of the history."""
        try:
            for _ in range(HISTORY_SENDS):
                if outbox.is_inside_history() or (not outbox.chunks and outbox.history):
                    self.send_history(outbox, now)
            if outbox.chunks and not outbox.is_inside_history():
                self.send_chunks(outbox, now)
        except BlockingIOError:
            pass
        except OSError:
            self.fail(outbox)

    def after_send(self, outbox: Outbox, now: float) -> None:
        """Does what follows from what has been sent, and from what has not."""
        if outbox.reply_bytes is not None and outbox.reply_bytes <= 0 and not outbox.history:
            outbox.reply_bytes = None
            self.finished.append(outbox.client)
        if outbox.chunks or outbox.history:
            self.mark_slow(outbox, now)
            if self.must_disconnect(outbox, now):
                self.disconnect(outbox)
        else:
            self.unmark_slow(outbox)
            if outbox.state in (ENDING, ENDED):
                self.close_sending(outbox, now)

    def send_chunks(self, outbox: Outbox, now: float) -> None:
        """Sends queued chunks, joined, by one send."""
        data = outbox.chunks.popleft()
        if outbox.chunks:
            parts, size = [data], len(data)
            while outbox.chunks and size < CHUNK:
                parts.append(outbox.chunks.popleft())
                size += len(parts[-1])
            data = b"".join(parts)
        try:
            sent = outbox.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            outbox.chunks.appendleft(data[sent:])
        outbox.queued_bytes -= sent
        if outbox.reply_bytes is not None:
            outbox.reply_bytes -= sent
        outbox.note_sent(sent, now)

    def send_history(self, outbox: Outbox, now: float) -> None:
        """Sends a part of the history from the file, which needs no memory of ours."""
        history = outbox.history
        assert history is not None
        if not history.is_inside_chunk():
            # The next chunk ends where a line ends, so that events can be sent after it.
            history.chunk_end = history.end
            if history.end - history.position > CHUNK:
                history.chunk_end = self.transcript.line_start(history.position + CHUNK)
                self.set_sndbuf(outbox, HISTORY_SNDBUF_FACTOR * self.sndbuf)
        sent = 0
        if history.is_inside_chunk():
            size = history.chunk_end - history.position
            sent = os.sendfile(outbox.descriptor, self.transcript.fd, history.position, size)
            history.position += sent
        outbox.note_sent(sent, now)
        if history.position == history.end:
            outbox.history = None
            self.set_sndbuf(outbox, self.sndbuf)
            outbox.chunks.extend(history.lines_after)
            if outbox.reply_bytes is not None:
                outbox.reply_bytes = outbox.queued_bytes

    def set_sndbuf(self, outbox: Outbox, size: int) -> None:
        """Sets the size of the kernel's send buffer, in bytes."""
        outbox.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def mark_slow(self, outbox: Outbox, now: float) -> None:
        """The kernel did not take everything: from now on wait until it can take more."""
        if not outbox.is_slow:
            outbox.is_slow = True
            outbox.pace.start(now)
            self.slow_outboxes[outbox] = None
            self.selector.register(outbox.sock, selectors.EVENT_WRITE, outbox)

    def unmark_slow(self, outbox: Outbox) -> None:
        """Nothing is queued for the client any more."""
        if outbox.is_slow:
            outbox.is_slow = False
            del self.slow_outboxes[outbox]
            self.selector.unregister(outbox.sock)

    # -- The end of a connection ---------------------------------------------------------------

    def disconnect(self, outbox: Outbox) -> None:
        """Disconnects a client.

        shutdown(), and not close(), wakes the thread or process that reads from the client; it
        then sees the end of the connection, and cleans up as always.
        """
        self.fail(outbox)
        shutdown_socket(outbox.sock, socket.SHUT_RDWR)
        self.to_flush[outbox] = None  # if nobody reads any more, the next flush closes the socket

    def stop_events(self, outbox: Outbox) -> None:
        """The client receives no more events."""
        if outbox.receives_events:  # once only: its descriptor can be another client's later
            outbox.receives_events = False
            self.receivers.pop(outbox.descriptor, None)

    def fail(self, outbox: Outbox) -> None:
        """The socket takes nothing any more: drops what is queued."""
        self.unmark_slow(outbox)
        self.stop_events(outbox)
        if outbox.state is OPEN:
            outbox.state = FAILED
        outbox.drop_all()
        if outbox.reply_bytes is not None:
            outbox.reply_bytes = None
            self.finished.append(outbox.client)

    def close_sending(self, outbox: Outbox, now: float) -> None:
        """BYE is sent. Reader and sender both end; the later one of them closes the socket."""
        if outbox.reader_done:
            self.closing.pop(outbox, None)
            outbox.sock.close()
        elif outbox.state is ENDING:
            outbox.state = ENDED
            outbox.ended_at = now
            shutdown_socket(outbox.sock, socket.SHUT_WR)

    def check_slow(self, now: float) -> None:
        """Disconnects clients that are too slow, or that stay connected after their BYE."""
        self.next_check = now + CHECK_EVERY
        for outbox in list(self.slow_outboxes):
            if self.must_disconnect(outbox, now):
                self.disconnect(outbox)
        for outbox in list(self.closing):
            if now - outbox.ended_at >= LINGER:
                shutdown_socket(outbox.sock, socket.SHUT_RDWR)


def outbox_of(client: Client) -> Outbox:
    """Returns the outbox of a client of this server."""
    return cast("Connection", client).outbox


def shutdown_socket(sock: socket.socket, how: int) -> None:
    """Shuts down one or both directions of a connection that may have ended already."""
    try:
        sock.shutdown(how)
    except OSError:
        pass
