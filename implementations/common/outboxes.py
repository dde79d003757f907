"""One way to write, for all three servers: what a turn decided is joined into one chunk, the same bytes object goes to every
member's outbox, and one flush sends each outbox with one non-blocking send. Only laggards are watched for writing.

An outbox is bounded in bytes. Who does not read is dropped at that bound; who does read is never dropped: while over half of
it waits for him, `crowded` says that the others are not to be read. All this belongs to whoever flushes: one loop, one thread.
"""
import os
import selectors
import socket
from collections import deque
from functools import partial

from .trace import sequence, traced

CHUNK = 256 * 1024          # bytes of history, or of waiting chunks, that go out in one send at most
SENDS_PER_TURN = 4                   # of history in one turn, as long as the kernel takes it: a piece seldom ends where its buffer does
HISTORY_SNDBUF_FACTOR = 8                   # times: the kernel's send buffer while a long history goes out, so that we seldom come back to fill it
READING_BYTES = 64 * 1024          # who took so much, or all there was, in the last WITHIN seconds keeps reading
READING_WINDOW = 2.0                # (half of what is promised: the kernel makes room in lumps)
TICK = 0.1                  # seconds between two looks for who is too slow
LINGER = 1.0                # seconds after BYE in which a client's input is discarded, so that a reset does not eat the BYE


class Outbox:
    """What one client is still to be sent."""

    def __init__(self, client, sock, now):
        self.client, self.sock = client, sock
        self.descriptor = sock.fileno()
        self.send = partial(os.write, self.descriptor)      # never waits: the descriptor is non-blocking
        self.chunks = deque()
        self.queued_bytes = 0            # bytes in chunks and behind
        self.receives_events = False          # gets the events, too
        self.events_put = 0               # how many of this turn's events are in chunks already
        self.history = None         # [offset, end of the piece under way, end], in the transcript
        self.after_history = []            # his own lines that come after the history
        self.reply_bytes = None      # bytes to be sent before his request is finished; None: none is open
        self.bye_at = None        # when BYE was put here: nothing comes after it
        self.sending_closed_at = None        # when BYE was sent
        self.reader_done = False    # his reader is at its end: who sends the last byte closes the socket
        self.failed = False           # the socket takes no more
        self.is_slow = False           # the kernel did not take all: we wait until it takes more
        self.empty_at = self.took_at = now      # when a laggard last had all there was; last took anything
        self.took = deque()         # (when, bytes) of the last two seconds, for a laggard

    def put(self, data):
        """His own lines; behind a history that is under way, since requests are answered in order."""
        if not self.failed and self.bye_at is None:
            (self.after_history if self.history else self.chunks).append(data)
            self.queued_bytes += len(data)

    def put_events(self, data):
        """Events; they do not wait for a history."""
        if data and not self.failed:
            self.chunks.append(data)
            self.queued_bytes += len(data)

    def is_within_piece(self):
        return self.history is not None and self.history[0] < self.history[1]

    def keeps_reading(self, now):
        while self.took and self.took[0][0] < now - READING_WINDOW:
            self.took.popleft()
        return now - self.empty_at <= READING_WINDOW or sum(size for _, size in self.took) >= READING_BYTES

    def needs_backpressure(self, limit, now):
        """Whether the others are to wait for him."""
        return self.queued_bytes - (self.reply_bytes or 0) > limit // 2 and self.keeps_reading(now)

    def is_too_slow(self, limit, slow_after, now):
        """Whether he is too slow to stay."""
        quiet_since = self.took_at if self.bye_at is None else min(self.took_at, self.bye_at)
        return self.queued_bytes > limit and not self.keeps_reading(now) or self.is_slow and now - quiet_since >= slow_after

    def finish_when_sent(self):
        """His request is finished when all that waits now is sent."""
        self.reply_bytes = self.queued_bytes


class Outboxes:
    def __init__(self, transcript, console, limit, slow_after, sndbuf):
        self.transcript, self.console, self.limit, self.slow_after, self.sndbuf = transcript, console, limit, slow_after, sndbuf
        self.slow_outboxes = {}          # those of whom the kernel did not take all: itself
        self.selector = selectors.DefaultSelector()     # its own descriptor is readable when one of them can be sent to
        self.receivers = {}           # descriptor: outbox, of everyone who gets the events
        self.to_flush = {}           # those to be looked at in this flush
        self.closing = {}            # those whose BYE is on its way
        self.finished = []          # clients whose request is finished
        self.next_tick = 0
        self.send_all = traced("send", self.send_events, lambda events, _: sequence(b"".join(events)))
        self.send_one = traced("send", self.send_queued, lambda outbox, _: outbox.client.address)
        self.backpressure = False        # somebody who keeps reading has over half of his outbox waiting

    def fileno(self):
        return self.selector.fileno()

    def is_busy(self):
        """Whether a BYE is still on its way, or anything to the owner."""
        return bool(self.closing) or bool(self.console.chunks)

    # -- Deliveries in, sends out --------------------------------------------------------------------------------------------

    def flush(self, deliveries, now):
        """Puts a turn's deliveries into the outboxes and sends each once. Returns the clients whose request is finished."""
        events = []
        for kind, client, value in deliveries:
            if kind == "event":
                events.append(value)
                continue
            outbox = client.outbox
            if outbox.receives_events:
                outbox.put_events(b"".join(events[outbox.events_put:]))
                outbox.events_put = len(events)
            self.to_flush[outbox] = outbox
            PUT[kind](self, outbox, value, len(events), now)
        if events:
            self.send_all(events, now)
        if self.console.report_dropped():
            self.to_flush[self.console] = self.console
        if now >= self.next_tick:
            self.tick(now)
        ready = {key.data for key, _ in self.selector.select(0)} if self.slow_outboxes else set()
        to_flush, self.to_flush = self.to_flush, {}
        for outbox in to_flush | dict.fromkeys(ready):
            outbox.events_put = 0
            if not outbox.is_slow or outbox in ready:
                self.send_one(outbox, now)
            self.update_state(outbox, now)
        self.backpressure = any(outbox.needs_backpressure(self.limit, now) for outbox in self.slow_outboxes)
        finished, self.finished = self.finished, []
        return finished

    def send_events(self, events, now):
        chunk = b"".join(events)
        self.console.put_events(b"".join(events[self.console.events_put:]))
        self.to_flush[self.console] = self.console
        others = {outbox.descriptor for outbox in self.to_flush} | {outbox.descriptor for outbox in self.slow_outboxes}
        for descriptor in list(self.receivers):
            if descriptor in others:                    # something waits for him, or did until now
                outbox = self.receivers[descriptor]
                outbox.put_events(b"".join(events[outbox.events_put:]) if outbox.events_put else chunk)
                self.to_flush[outbox] = outbox
                continue
            # The common case, kept short: a full room spends its time here. (What is touched here, forked children have copies of.)
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

    def put_line(self, outbox, text, *_):
        outbox.put(f"{text}\n".encode())

    def put_note(self, outbox, text, *_):
        outbox.put_note(f"{text}\n".encode())

    def put_welcome(self, outbox, text, events_put, _now):
        outbox.put(f"{text}\n".encode())
        if not outbox.failed:
            outbox.receives_events, outbox.events_put = True, events_put
            self.receivers[outbox.descriptor] = outbox

    def put_range(self, outbox, since_until, *_):
        start, end = map(self.transcript.after, since_until)
        if not outbox.failed:
            outbox.history = [start, start, end]

    def put_done(self, outbox, *_):
        outbox.finish_when_sent()

    def put_end(self, outbox, _value, _mark, now):
        if outbox.history:             # the piece under way stays whole; all the rest would only delay the BYE
            outbox.history[2] = outbox.history[1]
            outbox.after_history = outbox.after_history[-1:]
            outbox.queued_bytes = sum(map(len, outbox.chunks)) + sum(map(len, outbox.after_history))
        self.stop_events(outbox)
        outbox.bye_at = now
        outbox.reply_bytes = 0          # whoever waits for an answer is to wait no longer
        self.closing[outbox] = outbox

    def put_close(self, outbox, *_):
        outbox.reader_done = True

    # -- One outbox -----------------------------------------------------------------------------------------------------------

    def send_queued(self, outbox, now):
        """One send of what waits: chunks first, unless that would cut a line of the history in two."""
        try:
            for _ in range(SENDS_PER_TURN):
                if outbox.is_within_piece() or not outbox.chunks and outbox.history:
                    self.send_history(outbox, now)
            if outbox.chunks and not outbox.is_within_piece():
                self.send_chunks(outbox, now)
        except BlockingIOError:
            pass
        except OSError:
            self.fail(outbox)

    def update_state(self, outbox, now):
        """What follows from what is sent, and from what is not."""
        if outbox.reply_bytes is not None and outbox.reply_bytes <= 0 and not outbox.history:
            outbox.reply_bytes = None
            self.finished.append(outbox.client)
        if outbox.chunks or outbox.history:
            self.mark_slow(outbox, now)
            if outbox.is_too_slow(self.limit, self.slow_after, now):
                self.disconnect(outbox)
        else:
            self.unmark_slow(outbox)
            if outbox.bye_at is not None:
                self.close_sending(outbox, now)

    def send_chunks(self, outbox, now):
        data = outbox.chunks.popleft()
        if outbox.chunks:
            more = [data]
            size = len(data)
            while outbox.chunks and size < CHUNK:
                more.append(outbox.chunks.popleft())
                size += len(more[-1])
            data = b"".join(more)
        try:
            sent = outbox.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            outbox.chunks.appendleft(data[sent:])
        outbox.queued_bytes -= sent
        if outbox.reply_bytes is not None:
            outbox.reply_bytes -= sent
        self.note_taken(outbox, sent, now)

    def send_history(self, outbox, now):
        offset, piece, end = outbox.history
        if offset == piece:         # the next piece ends where a line ends: events may be sent after it
            piece = end
            if end - offset > CHUNK:
                piece = self.transcript.line_start(offset + CHUNK)
                outbox.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, HISTORY_SNDBUF_FACTOR * self.sndbuf)
        outbox.history = [offset, piece, end]
        if offset < piece:
            sent = os.sendfile(outbox.sock.fileno(), self.transcript.fd, offset, piece - offset)
            outbox.history[0] += sent
            self.note_taken(outbox, sent, now)
        if outbox.history[0] == end:
            outbox.history = None
            outbox.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.sndbuf)
            outbox.chunks.extend(outbox.after_history)
            outbox.after_history = []
            if outbox.reply_bytes is not None:
                outbox.reply_bytes = outbox.queued_bytes

    def note_taken(self, outbox, sent, now):
        if sent and outbox.is_slow:
            outbox.took_at = now
            if outbox.took and now - outbox.took[-1][0] < TICK:
                outbox.took[-1] = outbox.took[-1][0], outbox.took[-1][1] + sent
            else:
                outbox.took.append((now, sent))
            if not outbox.chunks and not outbox.history:
                outbox.empty_at = now

    def mark_slow(self, outbox, now):
        if not outbox.is_slow:
            outbox.is_slow = True
            outbox.took_at = outbox.empty_at = now
            self.slow_outboxes[outbox] = outbox
            self.selector.register(outbox.sock, selectors.EVENT_WRITE, outbox)

    def unmark_slow(self, outbox):
        if outbox.is_slow:
            outbox.is_slow = False
            outbox.took.clear()
            del self.slow_outboxes[outbox]
            self.selector.unregister(outbox.sock)

    def disconnect(self, outbox):
        """Evicts a client: shutdown, not close, wakes whoever reads from him, and end of file does all the clean-up."""
        self.fail(outbox)
        shut(outbox.sock, socket.SHUT_RDWR)
        self.to_flush[outbox] = outbox     # if his reader is at its end already, the next flush closes the socket

    def stop_events(self, outbox):
        """He gets no more events. (Once only: his descriptor may be another's by then.)"""
        if outbox.receives_events:
            outbox.receives_events = False
            self.receivers.pop(outbox.descriptor, None)

    def fail(self, outbox):
        """The socket takes no more: nothing waits for him, and he waits for nothing."""
        self.unmark_slow(outbox)
        self.stop_events(outbox)
        outbox.failed, outbox.history = True, None
        outbox.chunks.clear()
        outbox.after_history, outbox.queued_bytes = [], 0
        if outbox.reply_bytes is not None:
            outbox.reply_bytes = None
            self.finished.append(outbox.client)

    def close_sending(self, outbox, now):
        """BYE is sent. The last of reader and writer closes the socket."""
        if outbox.reader_done:
            self.closing.pop(outbox, None)
            outbox.sock.close()
        elif outbox.sending_closed_at is None:
            outbox.sending_closed_at = now
            shut(outbox.sock, socket.SHUT_WR)

    # -- Time passes ----------------------------------------------------------------------------------------------------------

    def tick(self, now):
        """Knocks over who is too slow, and who lingers after BYE."""
        self.next_tick = now + TICK
        for outbox in list(self.slow_outboxes):
            if outbox.is_too_slow(self.limit, self.slow_after, now):
                self.disconnect(outbox)
        for outbox in list(self.closing):
            if outbox.sending_closed_at is not None and now - outbox.sending_closed_at >= LINGER:
                shut(outbox.sock, socket.SHUT_RDWR)


def shut(sock, how):
    try:
        sock.shutdown(how)
    except OSError:         # he was faster
        pass


PUT = {"line": Outboxes.put_line, "welcome": Outboxes.put_welcome, "range": Outboxes.put_range,
       "note": Outboxes.put_note, "done": Outboxes.put_done, "end": Outboxes.put_end, "close": Outboxes.put_close}
