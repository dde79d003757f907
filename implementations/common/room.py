"""The Room decides what a request causes, has that kept, applies it, and says what is to be delivered to whom.

Shared by all clients, and pure: bytes come in as requests, times as arguments; `keep` and `erase`, its way to the files, are
lent to it. A start is nothing but apply() over the kept events. A delivery is (kind, client, value):

    line     value: text for this client alone          event    value: bytes for everyone who is here (client: None)
    note     value: text for the owner, who did not ask for it
    welcome  value: text; from here on he hears events   range    value: (s, H): the events after s up to H, off the file
    end      nothing after this; the conversation is over
    done     his request is finished: the next may be read
    close    (the servers add it) his reader is at its end: once all is sent, the socket may be closed
    check    value: what his password is to be checked against (see session.py)
    save     value: the new text of the member file; what became of it is told by saved()
"""
from collections import deque
from dataclasses import dataclass

from . import wire
from .storage import DamagedError, Member, members_text, parse_event, read_members

MAX_JOIN_REQUESTS, MAX_REJECTIONS, MAX_ERRORS = 32, 3, 10
UNFINISHED = object()        # what a request's handler returns when the request is not finished yet

ERROR_TEXTS = {"too-long": f"a line has at most {wire.MAX_LINE} bytes", "bad-utf8": "a line is UTF-8",
         "bad-text": "control characters may not stand in a line", "unknown": "no such verb",
         "not-joined": "JOIN first, or wait to be let in", "already-joined": "you have asked already",
         "bad-arguments": "not what this verb takes", "bad-name": "a name is 1 to 32 letters, digits, or . _ -",
         "name-taken": "somebody has that name", "not-saved": "the server could not write it down"}
# Requests that only a member who is here may make, as verbs of the wire and of the Room alike.
MEMBERS_ONLY = {"SAY", "NAME", "WHO", "HISTORY", "LEAVE"}


class Client:
    """What the Room knows of one connection. Equal only to itself."""

    def __init__(self, address, now):
        self.address = address
        self.name = None            # of the member who speaks here, once welcomed
        self.joining = None         # the name of a JOIN that is neither welcomed nor rejected
        self.joined_at = now        # when that JOIN came; before any, when he was accepted
        self.checking = None        # what his password is being checked against
        self.phc = None             # the hash he asks to join with
        self.awaiting_owner = False           # the owner considers his request
        self.reject_at = None
        self.errors = self.rejections = 0
        self.join_time_left = None    # seconds until BYE timeout, while that clock stands still
        self.last_heard_at = now
        self.is_answered = True     # no request is open
        self.pinged_at = now - 1
        self.over = False           # BYE was said: nothing more of him is handled


@dataclass
class Change:
    """Something that takes effect when the member file holds it."""
    verb: str                       # admit or unban
    key: str
    client: Client = None
    orderer: Client = None          # the owner, if he waits for it
    member: Member = None


@dataclass
class Rules:
    """How this group is run: times in seconds."""
    admit: str = "ask"
    join_within: float = 20
    ping_after: float = 60
    idle_after: float = 90
    reject_after: float = 1
    hashes: int = 1
    max_here: int = 1024
    max_strangers: int = 256


class Room:
    def __init__(self, rules, append, erase=lambda: None):
        """`append(bytes)` writes to the transcript, whole or not at all (OSError); `erase()` removes the group's files."""
        self.rules, self.append, self.erase = rules, append, erase
        # What the kept events make: the same after a restart.
        self.seq, self.group = 0, ""
        self.members = {}           # key: Member
        # What ends with the process: nobody is here when a server starts.
        self.open = True
        self.owner = None
        self.clients = {}           # every connection that has not ended: itself
        self.strangers = {}         # those of them who are not here yet
        self.here = {}              # key: Client
        self.join_requests = {}          # key: Client, whose request to be a member holds that name
        self.check_queue = deque()        # clients that wait for their turn to have a password checked
        self.running_checks = 0             # checks under way
        self.changes, self.saving = [], None
        self.members_dirty = False          # the member file lags behind the transcript, which a start would make good
        self.save_at = 0            # when that is worth a writing
        self.ticked_at = 0
        self.next_timeout_check = 0            # when members who are here are next looked at
        self.delete_ordered_by = None         # the owner, once he has ordered and confirmed `delete`: the member file is written no more
        self.uncommitted = []              # messages decided and not yet kept
        self.pending_outs = []              # names whose OUT could not be written yet
        self.last_write_error = None         # the last error in writing, so that the owner is told once
        self.now, self.time = 0, ""
        self.deliveries = []

    # -- A start: the member file as of some event, and then the events after it ---------------------------------------

    def restore(self, members, events):
        """`members`: the text of the member file ('' if there is none); `events`: all kept lines, in order.

        Raises Damaged. The state is that of the moment when the last of these events was applied.
        """
        saved, self.members = read_members(members) if members else (0, {})
        for line in events:
            verb, seq, _, rest = parse_event(line)
            if seq != self.seq + 1:
                raise DamagedError(f"transcript: event {self.seq + 1} is missing before {line[:60]!r}")
            if (verb == "GROUP") < (seq == 1):
                raise DamagedError("transcript: event 1 is not a GROUP")
            if seq > saved or verb == "GROUP":
                self.apply(verb, rest)
            self.seq = seq
        if saved > self.seq:
            raise DamagedError(f"members: written at event {saved}, but the transcript ends at {self.seq}")

    def create_group(self, group, now, time):
        """The first event of a new group. Raises OSError if it cannot be written."""
        self.now, self.time = now, time
        line = self.format_events([("GROUP", group)])
        self.append(line.encode())
        self.seq, self.group = 1, group

    def apply(self, verb, rest):
        """What an event changes for ever. IN, OUT and MSG change nothing: who is here ends with the process."""
        if verb == "GROUP":
            self.group = rest
        elif verb == "BANNED":
            self.members[wire.fold(rest)] = Member(rest, "banned", "")
        elif verb == "LEFT":
            self.members.pop(wire.fold(rest), None)
        elif verb == "RENAMED":
            old, new = rest.split(" ")
            member = self.members.pop(wire.fold(old), None)
            if member is None:
                raise DamagedError(f"members: lacks {old}, who took the name {new} in the transcript")
            self.members[wire.fold(new)] = Member(new, "member", member.phc)
        elif verb == "IN" and wire.fold(rest) not in self.members:
            raise DamagedError(f"members: lacks {rest}, who came in according to the transcript")

    # -- A turn: requests in, deliveries out -----------------------------------------------------------------------------

    def handle(self, batch, now, time):
        """Handles a batch of (client, his requests) in order, and returns the deliveries they cause, in order.

        now: seconds on a clock that never jumps; time: the same moment as the wire writes it. Never raises.
        """
        self.process(batch, now, time)
        self.commit_messages()
        return self.take_deliveries()

    def process(self, batch, now, time):
        """The same, but the last messages wait for settle(), and all deliveries for take()."""
        self.now, self.time = now, time
        for client, requests in batch:
            for verb, argument in requests:
                if client.over:
                    break
                client.last_heard_at = now
                if verb != "say":
                    client.is_answered = False
                    self.commit_messages()
                    if HANDLERS[verb](self, client, argument) is not UNFINISHED:
                        self.emit("done", client)
                elif client.name:
                    self.uncommitted.append((client, argument))
                else:
                    self.send_error(client, "not-joined")

    def requests_finished(self, clients, now):
        """These have taken the answer to their last request: from now on silence counts again."""
        for client in clients:
            client.is_answered, client.last_heard_at = True, now

    def commit_messages(self):
        """A run of messages, whoever said them, is kept by one write and told by one delivery."""
        if self.uncommitted:
            said, self.uncommitted = self.uncommitted, []
            if not self.commit([("MSG", f"{client.name} {text}") for client, text in said]):
                for client, _ in said:
                    self.send_error(client, "not-saved")

    def commit(self, events, welcoming=None):
        """Decided events are written, then applied, then told; if they cannot be written, nothing happens and it is False.

        Those whose OUT could not be written before come first.
        """
        return self.commit_pending_outs() and self.write_events(events, welcoming)

    def commit_pending_outs(self):
        if self.pending_outs and not self.write_events([("OUT", name) for name in self.pending_outs]):
            return False
        self.pending_outs = []
        return True

    def write_events(self, events, welcoming=None):
        data = self.format_events(events).encode()
        try:
            self.append(data)
        except OSError as error:
            self.report_write_error("transcript", error.strerror)
            return False
        self.last_write_error = None
        if welcoming:
            self.emit("welcome", welcoming, f"WELCOME {self.seq} {welcoming.name}")
        self.seq += len(events)
        for verb, rest in events:
            if verb != "MSG":
                self.apply(verb, rest)
        self.emit("event", None, data)
        return True

    def format_events(self, events):
        return "".join([f"{verb} {seq} {self.time} {rest}\n" for seq, (verb, rest) in enumerate(events, self.seq + 1)])

    def emit(self, kind, client, value=None):
        self.deliveries.append((kind, client, value))

    def take_deliveries(self):
        deliveries, self.deliveries = self.deliveries, []
        return deliveries

    def send_error(self, client, code):
        self.emit("line", client, f"ERR {code} {ERROR_TEXTS[code]}")
        if client.name is None:
            client.errors += 1
        if code == "too-long" or client.errors == MAX_ERRORS:
            self.end_connection(client, "protocol")

    def end_connection(self, client, code, left=False):
        """BYE. Unless he left for good, those who remain hear that he is gone."""
        self.emit("line", client, f"BYE {code}")
        self.emit("end", client)
        client.over = True
        self.clients.pop(client, None)
        self.strangers.pop(client, None)
        key = wire.fold(client.joining) if client.joining else None
        if self.join_requests.get(key) is client:
            del self.join_requests[key]
        if client.checking:
            self.running_checks -= 1
            self.start_next_check()
        if client.name and self.here.get(wire.fold(client.name)) is client:
            del self.here[wire.fold(client.name)]
            if not left and self.open and not self.commit([("OUT", client.name)]):
                self.pending_outs.append(client.name)

    # -- Coming: accepted, JOIN, the password, the owner, WELCOME ---------------------------------------------------------

    def is_full(self, coming=0):
        return not self.open or len(self.strangers) + coming >= self.rules.max_strangers

    def connected(self, client):
        """A connection was accepted."""
        self.clients[client] = self.strangers[client] = client
        self.emit("line", client, f"HELLO {wire.VERSION} {self.group}")
        return self.take_deliveries()

    def join_requested(self, client, name):
        if client.name or client.joining:
            return self.send_error(client, "already-joined")
        self.emit("line", client, "PENDING")
        client.join_time_left = self.join_deadline(client) - self.now     # what the server takes is not held against him
        client.joining, client.joined_at = name, self.now
        self.check_queue.append(client)
        self.start_next_check()
        return UNFINISHED

    def start_next_check(self):
        """Turns to have a password checked, first come first served, so that a storm of guesses fills only its share."""
        while self.open and self.check_queue and self.running_checks < self.rules.hashes:
            client = self.check_queue.popleft()
            if client.over:
                continue
            self.running_checks += 1
            client.checking = self.choose_check(client, wire.fold(client.joining))
            self.emit("check", client, client.checking)

    def choose_check(self, client, key):
        member = self.members.get(key)
        if member and member.standing == "member":
            return member.phc
        full = self.rules.admit == "ask" and len(self.join_requests) >= MAX_JOIN_REQUESTS
        if member or key in self.join_requests or full or self.rules.admit == "none":
            return "dummy"          # takes as long, and lets nobody in
        self.join_requests[key] = client
        return "new"

    def password_ok(self, client, argument):
        """The password is right, or (a new member) here is its hash."""
        what = self.check_finished(client)
        name, _, client.phc = argument.partition(" ")
        key = wire.fold(client.joining)
        member = self.members.get(key)
        if what != "new":           # between check and enter he may have been banned, or have changed his name or password
            if not member or member.phc != what:
                return self.schedule_rejection(client)
            return None if self.welcome(client, member) else self.join_failed(client)
        if member:
            return self.schedule_rejection(client)
        if self.rules.admit == "all":
            return self.change(Change("admit", key, client, None, Member(client.joining, "member", client.phc)))
        client.awaiting_owner = True
        self.notify_owner(f"{client.joining} asks to join from {client.address}")

    def password_refused(self, client, _):
        self.check_finished(client)
        return self.schedule_rejection(client)

    def check_finished(self, client):
        what, client.checking = client.checking, None
        self.running_checks -= 1
        self.start_next_check()
        return what

    def schedule_rejection(self, client):
        client.reject_at = client.joined_at + self.rules.reject_after
        return UNFINISHED

    def reject_now(self, client):
        self.emit("line", client, "REJECTED refused")
        client.rejections += 1
        waited = not client.awaiting_owner        # to whom the owner considered, his JOIN was finished already
        self.clear_join(client)
        if client.rejections == MAX_REJECTIONS:
            self.end_connection(client, "refused")
        elif waited:
            self.emit("done", client)

    def clear_join(self, client):
        """He is a stranger again, and the clock of --join-within runs on."""
        key = wire.fold(client.joining)
        if self.join_requests.get(key) is client:
            del self.join_requests[key]
        client.joined_at = self.now + client.join_time_left - self.rules.join_within
        client.joining = client.phc = client.reject_at = None
        client.awaiting_owner = False

    def welcome(self, client, member):
        """Lets him in, unless it is full; whether that could be written down."""
        key = wire.fold(member.name)
        before = self.here.get(key)
        if before is None and len(self.here) >= self.rules.max_here:
            self.end_connection(client, "full")
            return True
        client.name = member.name
        if before:                  # takeover makes no event
            del self.here[key]
            self.end_connection(before, "replaced", left=True)
            self.emit("welcome", client, f"WELCOME {self.seq} {member.name}")
        elif not self.commit([("IN", member.name)], welcoming=client):
            client.name = None
            return False
        self.here[key] = client
        self.strangers.pop(client, None)
        self.join_requests.pop(key, None)
        client.joining = client.phc = None
        client.awaiting_owner = False
        return True

    def join_failed(self, client):
        """His JOIN failed whole, since something could not be written down."""
        self.clear_join(client)
        self.send_error(client, "not-saved")

    # -- The member file: what waits until it is written -------------------------------------------------------------------

    def change(self, change):
        self.changes.append(change)
        self.save()
        return UNFINISHED

    def save(self):
        """Has the member file written, one writing at a time; what comes meanwhile goes into the next."""
        if self.saving is None and self.delete_ordered_by is None and (self.changes or self.members_dirty):
            self.saving, self.changes, self.members_dirty = self.changes, [], False
            members = dict(self.members)
            for change in self.saving:
                if change.verb == "admit":
                    members.setdefault(change.key, change.member)
                elif change.verb == "unban":
                    members.pop(change.key, None)
            self.emit("save", None, members_text(self.seq, members))

    def saved(self, why, now, time):
        """The member file was written (why is ''), or could not be. Returns deliveries, like handle()."""
        self.now, self.time = now, time
        self.commit_messages()
        changes, self.saving = self.saving, None
        if why:
            self.report_write_error("members", why)
            self.members_dirty = True
        else:
            self.last_write_error = None
        for change in changes:
            done = not why and SAVED[change.verb](self, change)
            if not done:
                self.unsaved(change)
            if change.orderer and not change.orderer.over:
                self.emit("line", change.orderer, "ok" if done else "error: not saved")
                self.emit("done", change.orderer)
        if self.delete_ordered_by:
            self.erase_now()
        elif self.changes:
            self.save()
        return self.take_deliveries()

    def unsaved(self, change):
        client = change.client
        if client and not client.over and not client.awaiting_owner:      # whom the owner accepted asks on
            self.join_failed(client)
            if not client.over:
                self.emit("done", client)

    def admit_saved(self, change):
        """Whether it took effect whole: if his IN cannot be written, he is no member."""
        client, key = change.client, change.key
        if key in self.members:     # banned while the file was written
            if not client.over:
                self.schedule_rejection(client)
            return True
        self.members[key] = change.member
        if not client.over:
            asked = client.awaiting_owner
            if not self.welcome(client, change.member):
                del self.members[key]
                self.members_dirty = True
                return False
            if not asked and not client.over:
                self.emit("done", client)
        return True

    def unban_saved(self, change):
        self.members.pop(change.key, None)
        return True

    # -- A member's requests ---------------------------------------------------------------------------------------------

    def err(self, client, argument):
        """The Session refused the line itself; who he is goes before what he wrote."""
        code, _, verb = argument.partition(" ")
        if verb in MEMBERS_ONLY and not client.name:
            code = "not-joined"
        elif verb == "JOIN" and (client.name or client.joining):
            code = "already-joined"
        self.send_error(client, code)

    def rename_member(self, client, name):
        if not client.name:
            return self.send_error(client, "not-joined")
        old, new = wire.fold(client.name), wire.fold(name)
        if new != old and (new in self.members or new in self.join_requests):
            return self.send_error(client, "name-taken")
        if not self.commit([("RENAMED", f"{client.name} {name}")]):
            return self.send_error(client, "not-saved")
        del self.here[old]
        self.here[new], client.name = client, name
        self.members_dirty = True

    def who(self, client, _):
        if not client.name:
            return self.send_error(client, "not-joined")
        lines = [f"MEMBER {member.name} {'here' if key in self.here else 'away'}"
                 for key, member in self.members.items() if member.standing == "member"]
        self.emit("line", client, "\n".join(lines + ["END WHO"]))

    def history(self, client, since):
        if not client.name:
            return self.send_error(client, "not-joined")
        if int(since) < self.seq:
            self.emit("range", client, (int(since), self.seq))
        self.emit("line", client, f"END HISTORY {self.seq}")

    def leave(self, client, _):
        if not client.name:
            return self.send_error(client, "not-joined")
        if not self.commit([("LEFT", client.name)]):
            return self.send_error(client, "not-saved")
        self.end_connection(client, "left", left=True)
        self.members_dirty = True

    def quit(self, client, _):
        self.end_connection(client, "quit")

    def ping(self, client, token):
        self.emit("line", client, f"PONG {token}")

    def pong(self, client, token):
        pass

    # -- The owner's orders: each answered by its lines and then by `ok` or `error: why` -----------------------------------

    def reply_to_order(self, client, error=None):
        self.emit("line", client, f"error: {error}" if error else "ok")

    def notify_owner(self, text):
        if self.owner:
            self.emit("note", self.owner, text)

    def report_write_error(self, what, why):
        if (what, why) != self.last_write_error:
            self.last_write_error = what, why
            self.notify_owner(f"# {what} not saved: {why}")

    def accept(self, owner, name):
        client = self.find_join_request(name)
        if not client:
            return self.reply_to_order(owner, f"{name} does not ask to join")
        return self.change(Change("admit", wire.fold(name), client, owner, Member(client.joining, "member", client.phc)))

    def find_join_request(self, name):
        client = self.join_requests.get(wire.fold(name))
        return client if client and client.awaiting_owner and client.reject_at is None else None

    def reject(self, owner, name):
        client = self.find_join_request(name)
        if not client:
            return self.reply_to_order(owner, f"{name} does not ask to join")
        self.schedule_rejection(client)
        self.reply_to_order(owner)

    def ban(self, owner, name):
        key = wire.fold(name)
        member = self.members.get(key)
        if member and member.standing == "banned":
            return self.reply_to_order(owner, f"{member.name} is banned already")
        if not self.commit([("BANNED", member.name if member else name)]):
            return self.reply_to_order(owner, "not saved")
        if key in self.here:
            self.end_connection(self.here[key], "banned", left=True)
        client = self.find_join_request(name)
        if client:
            self.schedule_rejection(client)
        self.members_dirty = True
        self.reply_to_order(owner)

    def unban(self, owner, name):
        member = self.members.get(wire.fold(name))
        if not member or member.standing != "banned":
            return self.reply_to_order(owner, f"{name} is not banned")
        return self.change(Change("unban", wire.fold(name), orderer=owner))

    def rename_group(self, owner, group):
        self.reply_to_order(owner, None if self.commit([("GROUP", group)]) else "not saved")

    def list_members(self, owner, _):
        for key, member in self.members.items():
            standing = "banned" if member.standing == "banned" else "here" if key in self.here else "away"
            self.emit("line", owner, f"member {member.name} {standing}")
        for client in self.join_requests.values():
            if self.find_join_request(client.joining):
                self.emit("line", owner, f"member {client.joining} asks from {client.address}")
        self.reply_to_order(owner)

    def close(self, owner, _):
        self.reply_to_order(owner)
        self.shut_down("closed")

    def delete(self, owner, _):
        self.emit("line", owner, "type the group's name to delete it")

    def confirm_delete(self, owner, line):
        if line != self.group or isinstance(line, wire.Fault):
            return self.reply_to_order(owner, "not deleted")
        self.delete_ordered_by = owner
        if self.saving is None:     # else when that is done: nothing may be written after the files are gone
            self.erase_now()
        return UNFINISHED

    def erase_now(self):
        owner = self.delete_ordered_by
        try:
            self.erase()
        except OSError as error:
            self.delete_ordered_by = None
            self.reply_to_order(owner, f"not deleted: {error.strerror}")
        else:
            self.reply_to_order(owner)
            self.shut_down("deleted")
        self.emit("done", owner)

    def help(self, owner, _):
        for line in ("accept NAME, reject NAME: who asks to join", "ban NAME: put out and kept out; unban NAME: may ask again", "rename GROUP: the group's name",
                     "members: who is here, away, banned, or asks to join", "close: end the server; the group stays",
                     "delete: end it and remove all that was said"):
            self.emit("line", owner, f"# {line}")
        self.reply_to_order(owner)

    def wrong(self, owner, why):
        self.reply_to_order(owner, why)

    def shut_down(self, code):
        """The conversation ends for everyone. A close makes no event."""
        self.open = False
        for client in list(self.clients):
            self.end_connection(client, code)

    def stop(self, now):
        """SIGTERM and its like: as if the owner had typed `close`."""
        if self.open:
            self.now = now
            self.commit_messages()
            self.shut_down("closed")
        return self.take_deliveries()

    # -- Time passes -------------------------------------------------------------------------------------------------------

    def join_deadline(self, client):
        return client.joined_at + self.rules.join_within

    def tick(self, now, time, is_reading=True):
        """To be called a few times a second: answers that were held back, and the silent. Not `listening`: nobody is being read."""
        if not is_reading:                       # what was not read is not silence
            for client in self.clients:
                client.last_heard_at = min(now, client.last_heard_at + now - self.ticked_at)
        self.now = self.ticked_at = now
        self.time = time
        self.commit_messages()
        rules = self.rules
        if now >= self.next_timeout_check:                 # a second more or less is nothing to the silent
            self.next_timeout_check = now + min(1, rules.ping_after / 10)
            self.check_timeouts(self.clients, now, rules)
        else:
            self.check_timeouts(self.strangers, now, rules)
        self.commit_pending_outs()
        if self.members_dirty and now >= self.save_at:
            self.save_at = now + 1
            self.save()
        return self.take_deliveries()

    def check_timeouts(self, clients, now, rules):
        for client in list(clients):
            if client.reject_at is not None and now >= client.reject_at:
                self.reject_now(client)
            elif client.name or client.awaiting_owner:
                if client.is_answered and now - client.last_heard_at >= rules.ping_after:
                    if now - client.last_heard_at >= rules.idle_after:
                        self.end_connection(client, "idle")
                    elif client.pinged_at < client.last_heard_at:
                        client.pinged_at = now
                        self.emit("line", client, "PING x")
            elif not client.joining and now >= self.join_deadline(client):
                self.end_connection(client, "timeout")


HANDLERS = {"knock": Room.join_requested, "enter": Room.password_ok, "refuse": Room.password_refused, "name": Room.rename_member, "who": Room.who,
            "history": Room.history, "leave": Room.leave, "quit": Room.quit, "ping": Room.ping, "pong": Room.pong,
            "err": Room.err, "accept": Room.accept, "reject": Room.reject, "ban": Room.ban,
            "unban": Room.unban, "rename": Room.rename_group, "members": Room.list_members, "close": Room.close,
            "delete": Room.delete, "consent": Room.confirm_delete, "help": Room.help, "wrong": Room.wrong}
SAVED = {"admit": Room.admit_saved, "unban": Room.unban_saved}
