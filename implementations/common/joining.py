"""How a stranger joins: JOIN, the check of the password, the owner's decision, WELCOME. Pure.

The part of the Room that knows who wants to join. It runs where the Room runs.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from . import lookalikes, requests, wire
from .client_state import ASKING, CHECKED, HERE, STRANGER, Client, PendingJoin
from .deliveries import CheckPassword, Done, Line, Welcome
from .member_file import Admission
from .session import NEW_MEMBER, NOBODY
from .storage import Member

if TYPE_CHECKING:
    from .room import Room

MAX_JOIN_REQUESTS = 32  # that the owner can have to decide at once
MAX_REJECTIONS = 3  # of one connection


class Joining:
    """The clients that want to join."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.join_requests: dict[str, Client] = {}  # key of the name that it reserves: client
        self.check_queue: deque[Client] = deque()  # wait until their password can be checked
        self.running_checks = 0

    # -- The password --------------------------------------------------------------------------

    def join_requested(self, client: Client, request: requests.Join) -> bool:
        """JOIN: the answer comes when the password has been checked."""
        key = wire.fold(request.name)
        # A group can have members with names that are refused today.
        if key not in self.room.group.members and not lookalikes.has_usual_letters(request.name):
            self.room.send_error(client, "bad-name")
            return True
        self.room.send(client, "PENDING")
        client.join = PendingJoin(request.name, key, self.room.now)
        client.state = CHECKED
        self.check_queue.append(client)
        self.start_next_check()
        return False

    def start_next_check(self) -> None:
        """Starts checks first come, first served; a flood of guesses has to share --hashes."""
        room = self.room
        while room.open and self.check_queue and self.running_checks < room.rules.hashes:
            client = self.check_queue.popleft()
            if client.join is None:  # disconnected meanwhile
                continue
            self.running_checks += 1
            client.join.checked_against = self.choose_check(client, client.join.key)
            room.emit(CheckPassword(client, client.join.checked_against))

    def choose_check(self, client: Client, key: str) -> str:
        """Returns what to check the password against. A new name is reserved from here on."""
        member = self.room.group.members.get(key)
        if member and member.standing == "member":
            return member.phc
        admit = self.room.rules.admit
        full = admit == "ask" and len(self.join_requests) >= MAX_JOIN_REQUESTS
        if member or key in self.join_requests or full or admit == "none":
            return NOBODY
        if self.looks_like_another(pending(client).name):
            return NOBODY
        self.join_requests[key] = client
        return NEW_MEMBER

    def password_ok(self, client: Client, request: requests.PasswordOk) -> bool:
        """The password is right, or this is the hash of a new member's."""
        join = pending(client)
        against = self.check_finished(client)
        member = self.room.group.members.get(join.key)
        if against != NEW_MEMBER:
            # During the check the member can have been banned, or have taken another name.
            if not member or member.phc != against:
                return self.schedule_rejection(client)
            if not self.welcome(client, member):
                self.join_failed(client)
            return True
        if member:
            return self.schedule_rejection(client)
        join.new_hash = request.new_hash
        if self.room.rules.admit == "all":
            self.admit(client, None)
            return False
        client.state = ASKING
        self.room.notify_owner(f"{join.name} asks to join from {client.address}")
        return True

    def password_refused(self, client: Client, _: requests.PasswordRefused) -> bool:
        """The password is wrong, or the name is not available."""
        self.check_finished(client)
        return self.schedule_rejection(client)

    def check_finished(self, client: Client) -> str:
        """Starts the next check. Returns what the password was checked against."""
        join = pending(client)
        against, join.checked_against = join.checked_against, ""
        self.running_checks -= 1
        self.start_next_check()
        return against

    # -- Yes -----------------------------------------------------------------------------------

    def admit(self, client: Client, owner: Client | None) -> None:
        """Makes a new member; `owner` is the client that ordered it. WELCOME follows the saving."""
        join = pending(client)
        member = Member(join.name, "member", join.new_hash)
        self.room.member_file.save_change(Admission(join.key, member, client, owner))

    def welcome(self, client: Client, member: Member) -> bool:
        """Lets a member in, or ends its connection if the room is full.

        Returns False if nothing happened, since the IN could not be written.
        """
        room = self.room
        key = wire.fold(member.name)
        before = room.here.get(key)
        if before is None and len(room.here) >= room.rules.max_here:
            room.end_connection(client, "full")
            return True
        client.name = member.name
        if before:  # a takeover makes no event
            del room.here[key]
            room.end_connection(before, "replaced", announce=False)
            room.emit(Welcome(client, f"WELCOME {room.group.seq} {member.name}"))
        elif not room.commit("IN", [member.name], welcoming=client):
            client.name = ""
            return False
        client.state, client.join = HERE, None
        room.here[key] = client
        room.strangers.pop(client, None)
        self.join_requests.pop(key, None)
        return True

    # -- No ------------------------------------------------------------------------------------

    def schedule_rejection(self, client: Client) -> bool:
        """Decides on REJECTED. It is sent --reject-after seconds after the JOIN, not sooner."""
        join = pending(client)
        join.reject_at = join.since + self.room.rules.reject_after
        return False

    def reject_now(self, client: Client) -> None:
        """Sends REJECTED; the third one ends the connection."""
        self.room.emit(Line(client, "REJECTED refused"))
        client.rejections += 1
        was_checked = client.state is CHECKED  # else its JOIN was finished when it was asking
        self.clear_join(client)
        if client.rejections == MAX_REJECTIONS:
            self.room.end_connection(client, "refused")
        elif was_checked:
            self.room.emit(Done(client))

    def join_failed(self, client: Client) -> None:
        """The JOIN had no effect at all, since something could not be written."""
        self.clear_join(client)
        self.room.send_error(client, "not-saved")

    def clear_join(self, client: Client) -> None:
        """Makes the client a stranger again; the clock of --join-within stood still meanwhile."""
        join = pending(client)
        self.release_name(client)
        client.stranger_since += self.room.now - join.since
        client.state, client.join = STRANGER, None

    def connection_ended(self, client: Client) -> None:
        """Forgets the JOIN of a client whose connection is over."""
        self.release_name(client)
        join, client.join = client.join, None
        if join and join.checked_against:
            self.running_checks -= 1
            self.start_next_check()

    def looks_like_another(self, name: str, own: str = "") -> bool:
        """Whether a member, a ban or a request holds a name that looks like this one.

        own: the key of the member that asks; its present name does not count.
        """
        members = self.room.group.members
        others = [member.name for key, member in members.items() if key != own]
        others += [pending(client).name for client in self.join_requests.values()]
        return any(lookalikes.are_alike(name, other) for other in others)

    def release_name(self, client: Client) -> None:
        """Frees the name that the client's JOIN reserves, if it does."""
        join = client.join
        if join and self.join_requests.get(join.key) is client:
            del self.join_requests[join.key]

    def asking_as(self, name: str) -> Client | None:
        """Returns the client whose JOIN with this name the owner is to decide, or None."""
        client = self.join_requests.get(wire.fold(name))
        if client and client.state is ASKING and pending(client).reject_at is None:
            return client
        return None


def pending(client: Client) -> PendingJoin:
    """Returns the JOIN of a client that is CHECKED or ASKING."""
    assert client.join is not None
    return client.join
