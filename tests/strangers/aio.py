#!/usr/bin/env python3
"""A Grupo server (grupo/1) in one file: Python 3.11, asyncio and the standard library.

The law: everything that is shared belongs to one thread, the event loop's. Each connection has one
task that reads a line, does it, and only then reads the next. Between two `await`s nobody else
runs, so no lock is needed; after an `await` the world may have changed, so look again. Other
threads hash passwords, read orders and write answers; they touch nothing but their own bytes. What
the group knows is what reading its journal from top to bottom says: first an event is written
there, then it is applied, then it is sent.
"""

import asyncio
import errno
import fcntl
import hashlib
import hmac
import ipaddress
import os
import queue
import re
import select
import signal
import socket
import sys
import threading
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice

LINE = 512  # bytes of a line, its LF among them
JOIN_WITHIN, PING_AFTER, IDLE_AFTER, SLOW_AFTER, REJECT_AFTER = 20, 60, 90, 10, 1  # seconds
OUTBOX, SNDBUF = 1 << 20, 1 << 16  # bytes that may wait for one client, here and in the kernel
KEEPS_READING, HOLD = 128 << 10, 2  # bytes, seconds: a client that takes so much keeps reading
PATIENCE, PATIENT_AGAIN = 2, 60  # seconds: the talkers wait no longer than this in so long
RATION = 64 << 10  # bytes that a talker may cause in a second when the patience is over
MAX_HERE, MAX_STRANGERS, MAX_ASKING = 1024, 256, 32
HASHERS = min(2, max(1, (os.cpu_count() or 1) - 1))
OWNER_BOX = 64 << 10  # bytes buffered for an owner who does not read

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
BAD_TEXT = re.compile(  # what is not one of these; the common ones first, for speed
    "[^ -~\xa0-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd"
    + "".join(f"{chr(plane)}-{chr(plane + 0xFFFD)}" for plane in range(0x10000, 0x110000, 0x10000))
    + "]"
)
REQUESTS = {  # what a good line of each verb looks like; in bytes, for so are its lengths
    "JOIN": rb"JOIN ([^ ]+) (.{1,128})",
    "SAY": rb"SAY (.{1,400})",
    "NAME": rb"NAME ([^ ]+)",
    "WHO": rb"WHO",
    "HISTORY": rb"HISTORY ([0-9]{1,16})",
    "LEAVE": rb"LEAVE",
    "QUIT": rb"QUIT",
    "PING": rb"PING ([!-~]{1,64})",
    "PONG": rb"PONG ([!-~]{1,64})",
}
ERRORS = {
    "too-long": "a line has at most 512 bytes",
    "bad-utf8": "a line is UTF-8",
    "bad-text": "no control characters",
    "unknown": "there is no such verb",
    "not-joined": "ask to enter first, with JOIN",
    "already-joined": "you have joined, or are asking to",
    "bad-arguments": "the verb wants other words after it",
    "bad-name": "a name is 1 to 32 of A-Z a-z 0-9 . _ - and begins with a letter or a digit",
    "name-taken": "that name is held",
    "not-saved": "the disk does not take it; try again later",
}


class NotSaved(Exception):
    """The journal could not be written: what was to happen did not."""


class Refused(Exception):
    """An order of the owner's that was not done, and why."""


def good_group(name):
    return not BAD_TEXT.search(name) and name == name.strip(" ") and 0 < len(name.encode()) <= 64


def scrypt(password, salt):
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1)


class Journal:
    """The file of the group: the events as they were sent, and between them lines that nobody is
    sent, which begin with a small letter: `member NAME SALT DIGEST` (a new one) and `unban NAME`.
    """

    def __init__(self, directory):
        os.makedirs(directory, 0o700, exist_ok=True)
        self.path = os.path.join(directory, "journal")
        self.lock = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go when we die
        except BlockingIOError:
            sys.exit("grupo: another server holds this directory")
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self.size = 0
        self.starts = array("Q")  # starts[n] is where event n + 1 begins in the file

    def replay(self, apply):
        """Tell `apply` every line of the file. What a crash left half written at its end is left
        out.
        """
        with open(self.file, "rb", closefd=False) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    if line.endswith(b"\n"):
                        self.index(line)
                        apply(line[:-1].decode())
                    elif number == 1:
                        raise ValueError("this was never a journal")
                except (ValueError, KeyError):
                    sys.exit(f"grupo: {self.path!r} is damaged in line {number}")

    def index(self, line):
        if not line[:1].islower():
            self.starts.append(self.size)
        self.size += len(line)

    def append(self, *lines):
        """Write lines whole, or raise NotSaved and leave the file as it was."""
        lines = [line.encode() + b"\n" for line in lines]
        data, done = b"".join(lines), 0
        try:
            while done < len(data):
                done += os.pwrite(self.file, data[done:], self.size + done)
        except OSError as error:
            self.cut()
            raise NotSaved("the disk does not take it") from error
        for line in lines:
            self.index(line)

    def cut(self):
        """Cut off what follows the last whole line."""
        with suppress(OSError):
            os.ftruncate(self.file, self.size)

    def seq(self):
        return len(self.starts)

    def events(self, after, last):
        """The lines of the events after number `after`, up to number `last`."""
        position = self.starts[after] if after < last else self.size
        while after < last:
            chunk = os.pread(self.file, 1 << 16, position)
            chunk = chunk[: chunk.rindex(b"\n") + 1]
            position += len(chunk)
            for line in chunk.splitlines(keepends=True):
                if not line[:1].islower() and after < last:
                    after += 1
                    yield line


class Member:
    def __init__(self, name, salt, digest):
        self.name, self.salt, self.digest = name, bytes.fromhex(salt), bytes.fromhex(digest)
        self.client = None  # the member's connection, while it is here


class Group:
    """The members, bans, requests and connections. Keys are names in small letters."""

    def __init__(self, journal, admit):
        self.journal, self.admit = journal, admit
        self.name, self.members, self.banned = (
            None,
            {},
            {},
        )  # these three are what the journal tells
        self.asking = {}  # key -> the client that waits for the owner's answer
        self.joining = set()  # keys of new names whose password is being hashed
        self.clients = set()
        self.owed = []  # names of members that left while the journal could not be written
        self.holders = set()  # clients that hold the talkers up
        self.road = asyncio.Event()  # clear while the talkers wait for the holders
        self.road.set()
        self.waited, self.waited_until = 0, 0  # how long they did so, and up to when
        self.stopped = asyncio.Event()
        self.hashers = ThreadPoolExecutor(HASHERS)
        self.console = Console(self)
        journal.replay(self.apply)
        if self.name is None and journal.size:
            sys.exit(f"grupo: {journal.path!r} is damaged: the group has no name")

    # --- what happens

    def apply(self, line):
        """Change the group as a line of the journal says. Raises ValueError or KeyError if it makes
        no sense.
        """
        if BAD_TEXT.search(line):
            raise ValueError("not a line that we wrote")
        verb, rest = line.split(" ", 1)
        if verb == "member":
            name, salt, digest = rest.split(" ")
            self.members[name.lower()] = Member(name, salt, digest)
            return
        if verb == "unban":
            del self.banned[rest.lower()]
            return
        seq, _, what = rest.split(" ", 2)
        if int(seq) != self.journal.seq():
            raise ValueError("an event is missing")
        if verb == "GROUP":
            self.name = what
        elif verb == "RENAMED":
            old, new = what.split(" ")
            member = self.members.pop(old.lower())
            member.name = new
            self.members[new.lower()] = member
        elif verb == "LEFT":
            del self.members[what.lower()]
        elif verb == "BANNED":
            self.members.pop(what.lower(), None)
            self.banned[what.lower()] = what
        elif verb not in ("MSG", "IN", "OUT") or what.split(" ")[0].lower() not in self.members:
            raise ValueError("no such event")

    def record(self, *lines):
        self.journal.append(*lines)
        for line in lines:
            self.apply(line)

    def happen(self, verb, what, *before):
        """Write an event down, behind the lines `before`. Returns its line, which the caller sends
        at once.
        """
        self.pay_outs()
        return self.write_event(verb, what, *before)

    def write_event(self, verb, what, *before):
        now = datetime.now(UTC).isoformat(timespec="milliseconds")[:23] + "Z"
        line = f"{verb} {self.journal.seq() + 1} {now} {what}"
        self.record(*before, line)
        return line

    def tell(self, line):
        for client in self.clients:
            if client.member:
                client.send(line)

    def pay_outs(self):
        while self.owed:
            line = self.write_event("OUT", self.owed[0])
            del self.owed[0]
            self.tell(line)

    def went(self, member):
        """The member's connection has ended. An OUT cannot be refused: it is sent once it can be
        written.
        """
        member.client = None
        self.owed.append(member.name)
        if len(self.owed) == 1:
            self.try_outs()

    def try_outs(self):
        try:
            self.pay_outs()
        except NotSaved:
            asyncio.get_running_loop().call_later(1, self.try_outs)

    # --- joining the group

    def count(self, here):
        return sum(not client.over and bool(client.member) == here for client in self.clients)

    def held(self, key):
        return key in self.members or key in self.banned or key in self.asking

    async def join(self, client, name, password):
        """Every JOIN costs one hash, whatever its name: the time it takes tells nothing."""
        key = name.lower()
        member = self.members.get(key)
        new = self.admit != "none" and not self.held(key) and key not in self.joining
        salt = member.salt if member else os.urandom(16)
        if new:
            self.joining.add(key)
        try:
            digest = await asyncio.get_running_loop().run_in_executor(
                self.hashers, scrypt, password, salt
            )
        finally:
            if new:
                self.joining.discard(key)
        if client.writer.is_closing():
            return  # the connection broke meanwhile
        right = (
            member
            and self.members.get(key) is member
            and hmac.compare_digest(digest, member.digest)
        )
        new = new and not self.held(key)
        record = f"member {name} {salt.hex()} {digest.hex()}"
        if right:
            self.enter(client, member.name)
        elif new and self.admit == "all":
            self.enter(client, name, record)
        elif new and len(self.asking) < MAX_ASKING:
            client.asks, self.asking[key] = (name, record), client
            client.look_at_clock()
            self.console.show(f"{name} asks to join from {client.address}")
        else:
            await asyncio.sleep(client.join_at + REJECT_AFTER - asyncio.get_running_loop().time())
            client.reject()

    def enter(self, client, name, *record):
        """Let the client in; `record` makes it a member if it is none yet."""
        member = self.members.get(name.lower())
        old = member and member.client
        event = None
        if old:
            old.member = None
            old.end("replaced")
        elif self.count(here=True) >= MAX_HERE:
            self.record(*record)
            client.end("full")
            return
        else:
            event = self.happen("IN", name, *record)
            member = self.members[name.lower()]
        client.leave_the_queue()
        client.send(f"WELCOME {self.journal.seq() - bool(event)} {member.name}")
        client.member, member.client = member, client
        client.look_at_clock()
        if event:
            self.tell(event)

    def hold(self, client, yes):
        """Let the talkers wait for a client, or no longer. They wait for PATIENCE, for all clients
        together; after that only PATIENT_AGAIN without a wait gives them new patience.
        """
        now, waited = time.monotonic(), not self.road.is_set()
        if waited:
            self.waited += now - self.waited_until
        elif now >= self.waited_until + PATIENT_AGAIN:
            self.waited = 0
        (self.holders.add if yes else self.holders.discard)(client)
        waits = self.holders and self.waited < PATIENCE
        (self.road.clear if waits else self.road.set)()
        if waited or waits:
            self.waited_until = now

    def stop(self, code):
        """The end: to all the same BYE, and no OUT."""
        for client in self.clients:
            client.member = None
            client.end(code)
        self.owed.clear()
        self.hashers.shutdown(wait=False, cancel_futures=True)
        self.stopped.set()


class Client:
    """One connection. A stranger has no `member`; a client that waits for the owner `asks`; a
    client that is here has a member.
    """

    def __init__(self, group, reader, writer, address):
        self.group, self.reader, self.writer = group, reader, writer
        self.address = (
            f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        )
        self.loop = asyncio.get_running_loop()
        self.member = self.asks = None
        self.over = False  # BYE was sent, or the client was dropped: nothing more is done for it
        self.errors = self.rejections = 0
        self.sent = 0  # bytes, those that still wait included
        self.answered = 0  # the same, up to the last long answer
        self.watcher = None  # the task that watches the client while something is buffered
        self.stalled = False  # it read too little in its time: nobody waits for it any more
        self.heard = self.join_at = self.loop.time()
        self.deadline = self.heard + JOIN_WITHIN
        self.busy = self.pinged = (
            False  # busy: a request of the client is being done, so nothing is read from it
        )
        self.alarm = self.loop.call_at(self.deadline, self.look_at_clock)
        writer.transport.set_write_buffer_limits(
            OUTBOX // 8
        )  # drain() waits while more than this waits
        group.clients.add(self)
        self.task = asyncio.create_task(self.run())

    async def run(self):
        try:
            if self.group.count(here=False) > MAX_STRANGERS:
                self.end("full")
            else:
                self.send(f"HELLO grupo/1 {self.group.name}")
            while not self.over:
                line = (await self.reader.readuntil())[:-1].removesuffix(b"\r")
                if line:
                    self.busy = True
                    await self.request(line)
                    if self.over:
                        break  # its OUT comes at once, before anything that others do
                    await self.breathe()
                    self.busy, self.heard = False, self.loop.time()
                    if self.pinged:
                        self.pinged = False
                        self.look_at_clock()
        except asyncio.LimitOverrunError:
            self.error("too-long")
            self.end("protocol")
        except asyncio.CancelledError:
            pass  # end() was called by somebody else
        except (OSError, EOFError, RuntimeError, MemoryError):
            self.end("quit")  # it closed, or broke off; or there is no thread or memory for it
        finally:
            if self.member:
                self.group.went(self.member)
                self.member = None
            await self.part()

    async def part(self):
        """Send what is buffered, and BYE; closing at once might destroy it on its way."""
        try:
            self.writer.transport.set_write_buffer_limits(0)
            await self.writer.drain()
            async with asyncio.timeout(1):
                while await self.reader.read(1 << 16):
                    pass
        except OSError:
            pass  # TimeoutError is one, too
        finally:
            self.writer.transport.abort()
            self.group.clients.discard(self)

    def end(self, code):
        """BYE. Stop the client's task; if it was here, its task sends OUT to the others."""
        if self.over:
            return
        self.send(f"BYE {code}")
        self.over = True
        self.leave_the_queue()
        self.alarm.cancel()
        self.group.hold(self, False)
        with suppress(OSError):
            self.writer.write_eof()
        if asyncio.current_task() is not self.task:
            self.task.cancel()

    def drop(self):
        self.writer.transport.abort()
        self.end("slow")

    # --- what goes to the client

    def send(self, line):
        self.send_bytes(line.encode() + b"\n")

    def send_bytes(self, data):
        if self.over or self.writer.is_closing():
            return
        self.sent += len(data)
        self.writer.write(data)
        waiting = self.waiting()
        if min(waiting, self.sent - self.answered) > OUTBOX:  # answers do not count
            self.drop()
        elif waiting:
            if waiting > OUTBOX // 2 and not self.stalled:
                self.group.hold(self, True)
            if not self.watcher:
                self.watcher = asyncio.create_task(self.watch())

    def waiting(self):
        return self.writer.transport.get_write_buffer_size()

    async def watch(self):
        """Runs while something is buffered: must the talkers wait for the client, and must it go?"""
        taken, moved = self.sent - self.waiting(), self.loop.time()
        window = None  # when these HOLD seconds began, and the bytes taken by then
        while waiting := self.waiting():
            now, before, taken = self.loop.time(), taken, self.sent - waiting
            if taken != before:
                moved = now
            elif now - moved >= SLOW_AFTER:
                self.drop()
                break
            if window is None and waiting > OUTBOX // 2:
                window = now, taken
            elif window and now - window[0] >= HOLD:
                self.stalled = taken - window[1] < KEEPS_READING
                window = now, taken
            self.group.hold(self, waiting > OUTBOX // 2 and not self.stalled and not self.over)
            await asyncio.sleep(0.05)
        self.stalled, self.watcher = False, None
        self.group.hold(self, False)

    async def breathe(self):
        """Let the others run, and wait until the client has taken most of its answers."""
        await asyncio.sleep(0)
        await self.writer.drain()

    async def answer(self, lines):
        """A long answer, piece by piece; events may come between the pieces."""
        lines = iter(lines)
        while piece := b"".join(islice(lines, 100)):
            self.answered = self.sent + len(piece)
            self.send_bytes(piece)
            await self.breathe()

    def error(self, code):
        self.send(f"ERR {code} {ERRORS[code]}")
        if not self.member:
            self.errors += 1
            if self.errors == 10:
                self.end("protocol")

    # --- time

    def look_at_clock(self):
        """Ask the silent whether they live, end those whose time is up, and set the next alarm."""
        if self.over:
            return
        now = self.loop.time()
        if self.busy:
            due = now + 0.1
        elif not (self.member or self.asks):
            due = self.deadline
            if due <= now:
                return self.end("timeout")
        else:
            due = self.heard + (IDLE_AFTER if self.pinged else PING_AFTER)
            if due <= now and self.pinged:
                return self.end("idle")
            if due <= now:
                self.pinged = True
                self.send("PING are-you-there")
                due = self.heard + IDLE_AFTER
        self.alarm.cancel()
        self.alarm = self.loop.call_at(due, self.look_at_clock)

    # --- joining

    def leave_the_queue(self):
        """End the request to join."""
        if self.asks and self.group.asking.get(self.asks[0].lower()) is self:
            del self.group.asking[self.asks[0].lower()]
        self.asks = None

    def stay_outside(self):
        """The JOIN is over. The time it took is not counted against the client."""
        self.deadline += self.loop.time() - self.join_at
        self.asks = None
        self.look_at_clock()

    def reject(self):
        if self.over:
            return
        self.stay_outside()
        self.send("REJECTED refused")
        self.rejections += 1
        if self.rejections == 3:
            self.end("refused")

    # --- requests

    async def request(self, line):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return self.error("bad-utf8")
        if BAD_TEXT.search(text):
            return self.error("bad-text")
        verb = text.split(" ", 1)[0]
        if verb not in REQUESTS:
            return self.error("unknown")
        if not self.member and verb not in ("JOIN", "PING", "PONG", "QUIT"):
            return self.error("not-joined")
        if verb == "JOIN" and (self.member or self.asks):
            return self.error("already-joined")
        match = re.fullmatch(REQUESTS[verb], line)
        if not match:
            return self.error("bad-arguments")
        fields = [field.decode() for field in match.groups()]
        if verb in ("JOIN", "NAME") and not NAME.fullmatch(fields[0]):
            return self.error("bad-name")
        try:
            await getattr(self, "do_" + verb.lower())(*fields)
        except NotSaved:
            self.error("not-saved")

    async def do_join(self, name, password):
        self.send("PENDING")
        self.join_at = self.loop.time()
        try:
            await self.group.join(self, name, password)
        except NotSaved:
            self.stay_outside()
            raise

    async def do_say(self, text):
        await self.wait_for_road()
        await self.talk("MSG", f"{self.member.name} {text}")

    async def do_name(self, name):
        await self.wait_for_road()
        key = name.lower()  # a JOIN holds a new name while its password is being hashed, too
        if key != self.member.name.lower() and (self.group.held(key) or key in self.group.joining):
            return self.error("name-taken")
        await self.talk("RENAMED", f"{self.member.name} {name}")

    async def wait_for_road(self):
        while not self.group.road.is_set():
            await self.group.road.wait()

    async def talk(self, verb, what):
        """Tell all; and pause, if a slow reader is behind although the talkers have waited."""
        line = self.group.happen(verb, what)
        self.group.tell(line)
        if self.group.holders and self.group.road.is_set():
            await asyncio.sleep(len(line) / RATION)

    async def do_who(self):
        members = [
            f"MEMBER {member.name} {'here' if member.client else 'away'}\n".encode()
            for member in self.group.members.values()
        ]
        await self.answer(members)
        self.send("END WHO")

    async def do_history(self, since):
        last = self.group.journal.seq()
        await self.answer(self.group.journal.events(int(since), last))
        self.send(f"END HISTORY {last}")

    async def do_ping(self, token):
        self.send(f"PONG {token}")

    async def do_pong(self, token):
        pass

    async def do_leave(self):
        self.group.tell(self.group.happen("LEFT", self.member.name))
        self.member = None
        self.end("left")

    async def do_quit(self):
        self.end("quit")


class Console:
    """The owner's. Standard input and output may be anything, also things that block: so each has a
    thread.
    """

    def __init__(self, group):
        self.group = group
        self.rest = b""  # the beginning of a line
        self.consent = False  # the next line says whether the group is deleted
        self.lines = queue.SimpleQueue()
        self.queued = self.written = (
            0  # bytes; the one is the loop's, the other the writing thread's
        )
        self.hidden = 0
        self.taken = threading.Semaphore(0)

    def start(self):
        self.loop = asyncio.get_running_loop()
        self.writer = threading.Thread(target=self.write_lines, daemon=True)
        self.writer.start()
        threading.Thread(target=self.read_orders, daemon=True).start()

    def finish(self):
        """Give the last answers a moment to get out."""
        self.lines.put(None)
        self.writer.join(0.3)

    def write_lines(self):
        while data := self.lines.get():
            size = len(data)
            with suppress(OSError):  # there may be no reader
                while data:
                    select.select([], [1], [])
                    data = data[os.write(1, data) :]
            self.written += size

    def read_orders(self):
        with suppress(OSError, RuntimeError):  # no terminal any more, or the loop has ended
            while True:
                select.select([0], [], [])
                try:
                    data = os.read(0, 4096)
                except OSError as error:
                    if error.errno != errno.EIO:
                        raise
                    os.tcgetpgrp(0)  # an error if the terminal is gone
                    time.sleep(0.1)  # in the background of our terminal there are no orders
                    continue
                if not data:
                    return
                self.loop.call_soon_threadsafe(self.take, data)
                self.taken.acquire()
                while self.queued - self.written > 4 * OWNER_BOX:
                    time.sleep(0.1)  # an owner who does not read answers is not heard

    def put(self, *lines):
        if self.hidden and self.queued - self.written <= OWNER_BOX:
            lines = (f"# {self.hidden} lines not shown", *lines)
            self.hidden = 0
        data = "".join(line + "\n" for line in lines).encode()
        self.queued += len(data)
        self.lines.put(data)

    def show(self, line):
        """A line that was not asked for: it is let go if too much waits already."""
        if self.queued - self.written > OWNER_BOX:
            self.hidden += 1
        else:
            self.put(line)

    def take(self, data):
        *lines, rest = (self.rest + data).split(b"\n")
        self.rest = rest[:LINE]  # enough to see that it is too long
        for line in lines:
            if not self.group.stopped.is_set():
                self.take_line(line)
        self.taken.release()

    def take_line(self, line):
        try:
            if len(line) >= LINE and not self.consent:
                raise Refused("the line is too long")
            text = line.removesuffix(b"\r").decode(errors="surrogateescape")
            if self.consent:
                self.consent = False
                self.delete(text)
            elif text == "delete":
                self.consent = True
                self.put("type the group's name to delete it")
                return
            elif text:
                self.put(*self.obey(text), "ok")
                return
            else:
                return
            self.put("ok")
        except (Refused, NotSaved) as why:
            self.put(f"error: {why}")

    def obey(self, text):
        """Do an order; returns the lines that come before its ok."""
        order, _, rest = text.partition(" ")
        if order in ("accept", "reject", "ban", "unban"):
            if not NAME.fullmatch(rest):
                raise Refused("a good name is wanted")
            getattr(self, order)(rest)
        elif order == "rename":
            if not good_group(rest):
                raise Refused(
                    "a group's name has 1 to 64 bytes, no space at its ends, no control characters"
                )
            self.group.tell(self.group.happen("GROUP", rest))
        elif text == "members":
            return self.members()
        elif text == "close":
            self.group.stop("closed")
        elif text == "help":
            return [
                "# accept NAME, reject NAME, ban NAME, unban NAME, rename GROUP, members, close, "
                "delete"
            ]
        else:
            raise Refused("no such order; try help")
        return []

    def asker(self, name):
        client = self.group.asking.get(name.lower())
        if not client:
            raise Refused("nobody asks with this name")
        return client

    def accept(self, name):
        client = self.asker(name)
        self.group.enter(client, *client.asks)

    def reject(self, name):
        client = self.asker(name)
        del self.group.asking[name.lower()]
        self.loop.call_at(client.join_at + REJECT_AFTER, client.reject)

    def ban(self, name):
        key = name.lower()
        if key in self.group.banned:
            raise Refused("this name is banned already")
        member, asker = self.group.members.get(key), self.group.asking.get(key)
        name = member.name if member else asker.asks[0] if asker else name
        self.group.tell(self.group.happen("BANNED", name))
        if member and member.client:
            client, client.member = member.client, None
            client.end("banned")
        if asker:
            self.reject(name)

    def unban(self, name):
        if name.lower() not in self.group.banned:
            raise Refused("this name is not banned")
        self.group.record(f"unban {name}")

    def members(self):
        lines = [
            f"member {member.name} {'here' if member.client else 'away'}"
            for member in self.group.members.values()
        ]
        lines += [f"member {name} banned" for name in self.group.banned.values()]
        lines += [
            f"member {client.asks[0]} asks from {client.address}"
            for client in self.group.asking.values()
        ]
        return lines

    def delete(self, consent):
        if consent != self.group.name:
            raise Refused("not deleted")
        try:
            os.unlink(self.group.journal.path)  # the lock stays: another server may wait to have it
        except OSError:
            raise Refused("the journal cannot be removed") from None
        self.group.stop("deleted")


async def accept_clients(group, listener):
    spare = open(os.devnull)
    while True:
        try:
            connection, address = await asyncio.get_running_loop().sock_accept(listener)
            Client(group, *await asyncio.open_connection(sock=connection, limit=LINE - 1), address)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                spare.close()  # make room for one, to close it: else its client would wait forever
                with suppress(OSError):
                    listener.accept()[0].close()
                with suppress(OSError):
                    spare = open(os.devnull)
            await asyncio.sleep(0.01)  # whatever is wrong: do not spin


def open_listener(host, port):
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SNDBUF)  # accepted sockets inherit it
    listener.bind(address)
    listener.listen(256)
    listener.setblocking(False)
    return listener


async def serve(options):
    try:
        group = Group(Journal(options["dir"]), options["admit"])
        listener = open_listener(options["host"], options["port"])
    except (OSError, UnicodeError) as error:  # UnicodeError: of a host that can be none
        sys.exit(f"grupo: cannot start: {error}")
    group.journal.cut()
    try:
        if group.name is None:
            group.happen("GROUP", options["group"])
    except NotSaved as why:
        sys.exit(f"grupo: cannot start: {why}")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, group.stop, "closed")
    host, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        os.write(2, b"grupo: warning: this is no loopback address, and passwords travel in clear\n")
    group.console.start()
    group.console.put(
        f"listening on [{host}]:{port}" if ":" in host else f"listening on {host}:{port}"
    )
    accepting = asyncio.create_task(accept_clients(group, listener))
    await group.stopped.wait()
    loop.remove_reader(listener)  # at once: cancel() alone does so a turn of the loop later
    accepting.cancel()
    listener.close()
    if group.clients:
        await asyncio.wait([client.task for client in group.clients], timeout=0.8)
    group.console.finish()


def wrong(why):
    os.write(2, f"grupo: {why}; flags: --host --port --group --dir --admit ask|all|none\n".encode())
    sys.exit(2)


def read_options(arguments):
    options = {
        "host": "127.0.0.1",
        "port": "7000",
        "group": "grupo",
        "dir": "./grupo",
        "admit": "ask",
    }
    arguments = iter(arguments)
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if not flag.startswith("--") or flag[2:] not in options:
            wrong("there is an argument that this server does not have")
        options[flag[2:]] = value if equals else next(arguments, "")
        if not options[flag[2:]]:
            wrong(f"{flag} wants a value")
    if not re.fullmatch("[0-9]{1,5}", options["port"]) or int(options["port"]) > 65535:
        wrong("--port is a number up to 65535")
    if options["admit"] not in ("ask", "all", "none"):
        wrong("--admit is ask, all or none")
    options["group"] = os.fsencode(options["group"]).decode(errors="surrogateescape")
    if not good_group(options["group"]):
        wrong("--group is 1 to 64 bytes of UTF-8 without a space at its ends")
    return options


def main():
    while os.open(os.devnull, os.O_RDWR) <= 2:
        pass  # if 0, 1 or 2 was closed, no file of ours may get its number
    os.umask(0o077)
    signal.signal(
        signal.SIGTTIN, signal.SIG_IGN
    )  # reading in the background fails, and does not stop us
    asyncio.run(serve(read_options(sys.argv[1:])))


if __name__ == "__main__":
    main()
