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

PIECE = 256 * 1024          # bytes of history, or of waiting chunks, that go out in one send at most
SENDS = 4                   # of history in one turn, as long as the kernel takes it: a piece seldom ends where its buffer does
WIDER = 8                   # times: the kernel's send buffer while a long history goes out, so that we seldom come back to fill it
STEADY = 64 * 1024          # who took so much, or all there was, in the last WITHIN seconds keeps reading
WITHIN = 2.0                # (half of what is promised: the kernel makes room in lumps)
TICK = 0.1                  # seconds between two looks for who is too slow
LINGER = 1.0                # seconds after BYE in which a client's input is discarded, so that a reset does not eat the BYE


class Outbox:
    """What one client is still to be sent."""

    def __init__(self, client, sock, now):
        self.client, self.sock = client, sock
        self.descriptor = sock.fileno()
        self.send = partial(os.write, self.descriptor)      # never waits: the descriptor is non-blocking
        self.chunks = deque()
        self.waiting = 0            # bytes in chunks and behind
        self.hears = False          # gets the events, too
        self.mark = 0               # how many of this turn's events are in chunks already
        self.history = None         # [offset, end of the piece under way, end], in the transcript
        self.behind = []            # his own lines that come after the history
        self.unfinished = None      # bytes to be sent before his request is finished; None: none is open
        self.ended_at = None        # when BYE was put here: nothing comes after it
        self.quiet_at = None        # when BYE was sent
        self.reader_gone = False    # his reader is at its end: who sends the last byte closes the socket
        self.dead = False           # the socket takes no more
        self.lags = False           # the kernel did not take all: we wait until it takes more
        self.empty_at = self.took_at = now      # when a laggard last had all there was; last took anything
        self.took = deque()         # (when, bytes) of the last two seconds, for a laggard

    def put(self, data):
        """His own lines; behind a history that is under way, since requests are answered in order."""
        if not self.dead and self.ended_at is None:
            (self.behind if self.history else self.chunks).append(data)
            self.waiting += len(data)

    def hear(self, data):
        """Events; they do not wait for a history."""
        if data and not self.dead:
            self.chunks.append(data)
            self.waiting += len(data)

    def is_within_piece(self):
        return self.history is not None and self.history[0] < self.history[1]

    def keeps_reading(self, now):
        while self.took and self.took[0][0] < now - WITHIN:
            self.took.popleft()
        return now - self.empty_at <= WITHIN or sum(size for _, size in self.took) >= STEADY

    def crowds(self, limit, now):
        """Whether the others are to wait for him."""
        return self.waiting - (self.unfinished or 0) > limit // 2 and self.keeps_reading(now)

    def is_lost(self, limit, slow_after, now):
        """Whether he is too slow to stay."""
        quiet_since = self.took_at if self.ended_at is None else min(self.took_at, self.ended_at)
        return self.waiting > limit and not self.keeps_reading(now) or self.lags and now - quiet_since >= slow_after

    def open_request(self):
        """His request is finished when all that waits now is sent."""
        self.unfinished = self.waiting


class Outboxes:
    def __init__(self, transcript, console, limit, slow_after, sndbuf):
        self.transcript, self.console, self.limit, self.slow_after, self.sndbuf = transcript, console, limit, slow_after, sndbuf
        self.laggards = {}          # those of whom the kernel did not take all: itself
        self.selector = selectors.DefaultSelector()     # its own descriptor is readable when one of them can be sent to
        self.hearing = {}           # descriptor: outbox, of everyone who gets the events
        self.touched = {}           # those to be looked at in this flush
        self.ending = {}            # those whose BYE is on its way
        self.finished = []          # clients whose request is finished
        self.next_tick = 0
        self.send_all = traced("send", self.send_events, lambda events, _: sequence(b"".join(events)))
        self.send_one = traced("send", self.push, lambda box, _: box.client.address)
        self.crowded = False        # somebody who keeps reading has over half of his outbox waiting

    def fileno(self):
        return self.selector.fileno()

    def is_busy(self):
        """Whether a BYE is still on its way, or anything to the owner."""
        return bool(self.ending) or bool(self.console.chunks)

    # -- Deliveries in, sends out --------------------------------------------------------------------------------------------

    def flush(self, deliveries, now):
        """Puts a turn's deliveries into the outboxes and sends each once. Returns the clients whose request is finished."""
        events = []
        for kind, client, value in deliveries:
            if kind == "event":
                events.append(value)
                continue
            box = client.outbox
            if box.hears:
                box.hear(b"".join(events[box.mark:]))
                box.mark = len(events)
            self.touched[box] = box
            PUT[kind](self, box, value, len(events), now)
        if events:
            self.send_all(events, now)
        if self.console.own_up():
            self.touched[self.console] = self.console
        if now >= self.next_tick:
            self.tick(now)
        ready = {key.data for key, _ in self.selector.select(0)} if self.laggards else set()
        touched, self.touched = self.touched, {}
        for box in touched | dict.fromkeys(ready):
            box.mark = 0
            if not box.lags or box in ready:
                self.send_one(box, now)
            self.look_at(box, now)
        self.crowded = any(box.crowds(self.limit, now) for box in self.laggards)
        finished, self.finished = self.finished, []
        return finished

    def send_events(self, events, now):
        chunk = b"".join(events)
        self.console.hear(b"".join(events[self.console.mark:]))
        self.touched[self.console] = self.console
        others = {box.descriptor for box in self.touched} | {box.descriptor for box in self.laggards}
        for descriptor in list(self.hearing):
            if descriptor in others:                    # something waits for him, or did until now
                box = self.hearing[descriptor]
                box.hear(b"".join(events[box.mark:]) if box.mark else chunk)
                self.touched[box] = box
                continue
            # The common case, kept short: a full room spends its time here. (What is touched here, forked children have copies of.)
            try:
                sent = os.write(descriptor, chunk)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.die(self.hearing[descriptor])
                continue
            if sent < len(chunk):
                box = self.hearing[descriptor]
                box.hear(chunk[sent:])
                self.watch(box, now)

    def put_line(self, box, text, *_):
        box.put(f"{text}\n".encode())

    def put_note(self, box, text, *_):
        box.note(f"{text}\n".encode())

    def put_welcome(self, box, text, mark, _now):
        box.put(f"{text}\n".encode())
        if not box.dead:
            box.hears, box.mark = True, mark
            self.hearing[box.descriptor] = box

    def put_range(self, box, since_until, *_):
        start, end = map(self.transcript.after, since_until)
        if not box.dead:
            box.history = [start, start, end]

    def put_done(self, box, *_):
        box.open_request()

    def put_end(self, box, _value, _mark, now):
        if box.history:             # the piece under way stays whole; all the rest would only delay the BYE
            box.history[2] = box.history[1]
            box.behind = box.behind[-1:]
            box.waiting = sum(map(len, box.chunks)) + sum(map(len, box.behind))
        self.forget(box)
        box.ended_at = now
        box.unfinished = 0          # whoever waits for an answer is to wait no longer
        self.ending[box] = box

    def put_close(self, box, *_):
        box.reader_gone = True

    # -- One outbox -----------------------------------------------------------------------------------------------------------

    def push(self, box, now):
        """One send of what waits: chunks first, unless that would cut a line of the history in two."""
        try:
            for _ in range(SENDS):
                if box.is_within_piece() or not box.chunks and box.history:
                    self.send_history(box, now)
            if box.chunks and not box.is_within_piece():
                self.send_chunks(box, now)
        except BlockingIOError:
            pass
        except OSError:
            self.die(box)

    def look_at(self, box, now):
        """What follows from what is sent, and from what is not."""
        if box.unfinished is not None and box.unfinished <= 0 and not box.history:
            box.unfinished = None
            self.finished.append(box.client)
        if box.chunks or box.history:
            self.watch(box, now)
            if box.is_lost(self.limit, self.slow_after, now):
                self.evict(box)
        else:
            self.unwatch(box)
            if box.ended_at is not None:
                self.part(box, now)

    def send_chunks(self, box, now):
        data = box.chunks.popleft()
        if box.chunks:
            more = [data]
            size = len(data)
            while box.chunks and size < PIECE:
                more.append(box.chunks.popleft())
                size += len(more[-1])
            data = b"".join(more)
        try:
            sent = box.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            box.chunks.appendleft(data[sent:])
        box.waiting -= sent
        if box.unfinished is not None:
            box.unfinished -= sent
        self.note_taken(box, sent, now)

    def send_history(self, box, now):
        offset, piece, end = box.history
        if offset == piece:         # the next piece ends where a line ends: events may be sent after it
            piece = end
            if end - offset > PIECE:
                piece = self.transcript.line_start(offset + PIECE)
                box.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WIDER * self.sndbuf)
        box.history = [offset, piece, end]
        if offset < piece:
            sent = os.sendfile(box.sock.fileno(), self.transcript.fd, offset, piece - offset)
            box.history[0] += sent
            self.note_taken(box, sent, now)
        if box.history[0] == end:
            box.history = None
            box.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.sndbuf)
            box.chunks.extend(box.behind)
            box.behind = []
            if box.unfinished is not None:
                box.unfinished = box.waiting

    def note_taken(self, box, sent, now):
        if sent and box.lags:
            box.took_at = now
            if box.took and now - box.took[-1][0] < TICK:
                box.took[-1] = box.took[-1][0], box.took[-1][1] + sent
            else:
                box.took.append((now, sent))
            if not box.chunks and not box.history:
                box.empty_at = now

    def watch(self, box, now):
        if not box.lags:
            box.lags = True
            box.took_at = box.empty_at = now
            self.laggards[box] = box
            self.selector.register(box.sock, selectors.EVENT_WRITE, box)

    def unwatch(self, box):
        if box.lags:
            box.lags = False
            box.took.clear()
            del self.laggards[box]
            self.selector.unregister(box.sock)

    def evict(self, box):
        """Evicts a client: shutdown, not close, wakes whoever reads from him, and end of file does all the clean-up."""
        self.die(box)
        shut(box.sock, socket.SHUT_RDWR)
        self.touched[box] = box     # if his reader is at its end already, the next flush closes the socket

    def forget(self, box):
        """He gets no more events. (Once only: his descriptor may be another's by then.)"""
        if box.hears:
            box.hears = False
            self.hearing.pop(box.descriptor, None)

    def die(self, box):
        """The socket takes no more: nothing waits for him, and he waits for nothing."""
        self.unwatch(box)
        self.forget(box)
        box.dead, box.history = True, None
        box.chunks.clear()
        box.behind, box.waiting = [], 0
        if box.unfinished is not None:
            box.unfinished = None
            self.finished.append(box.client)

    def part(self, box, now):
        """BYE is sent. The last of reader and writer closes the socket."""
        if box.reader_gone:
            self.ending.pop(box, None)
            box.sock.close()
        elif box.quiet_at is None:
            box.quiet_at = now
            shut(box.sock, socket.SHUT_WR)

    # -- Time passes ----------------------------------------------------------------------------------------------------------

    def tick(self, now):
        """Knocks over who is too slow, and who lingers after BYE."""
        self.next_tick = now + TICK
        for box in list(self.laggards):
            if box.is_lost(self.limit, self.slow_after, now):
                self.evict(box)
        for box in list(self.ending):
            if box.quiet_at is not None and now - box.quiet_at >= LINGER:
                shut(box.sock, socket.SHUT_RDWR)


def shut(sock, how):
    try:
        sock.shutdown(how)
    except OSError:         # he was faster
        pass


PUT = {"line": Outboxes.put_line, "welcome": Outboxes.put_welcome, "range": Outboxes.put_range,
       "note": Outboxes.put_note, "done": Outboxes.put_done, "end": Outboxes.put_end, "close": Outboxes.put_close}
