"""When the member file is written, and what takes effect only after that. Pure.

The part of the Room that decides on the file; the servers write it (see SaveMembers). One writing
runs at a time, and takes all changes that are waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .client_state import CHECKED, Client
from .deliveries import Done, Line, SaveMembers
from .storage import Member, members_text

if TYPE_CHECKING:
    from .room import Room

SAVE_EVERY = 1.0  # seconds between two writings that no client waits for


@dataclass(slots=True)
class Change:
    """A change to the members that takes effect when the member file holds it."""

    key: str  # the folded name

    def edit(self, members: dict[str, Member]) -> None:
        """Makes the change in the members that are to be written."""
        raise NotImplementedError

    def take_effect(self, room: Room) -> bool:
        """It is saved. Returns whether it took effect."""
        raise NotImplementedError

    def fail(self, room: Room) -> None:
        """It had no effect."""

    def orderer(self) -> Client | None:
        """Returns the owner, if the change answers an order."""
        raise NotImplementedError


@dataclass(slots=True)
class Admission(Change):
    """A client becomes a member and comes in."""

    member: Member
    client: Client
    owner: Client | None

    def edit(self, members: dict[str, Member]) -> None:
        """Makes the change in the members that are to be written."""
        members.setdefault(self.key, self.member)

    def take_effect(self, room: Room) -> bool:
        """It is saved. Returns False if the IN could not be written: then it has no effect."""
        client, members = self.client, room.group.members
        if self.key in members:  # banned while the file was written
            if client.join:
                room.joining.schedule_rejection(client)
            return True
        members[self.key] = self.member
        if client.over:
            return True
        was_checked = client.state is CHECKED
        if not room.joining.welcome(client, self.member):
            del members[self.key]
            room.member_file.dirty = True
            return False
        if was_checked and not client.over:
            room.emit(Done(client))
        return True

    def fail(self, room: Room) -> None:
        """It had no effect: a client that the owner accepted is still asking."""
        client = self.client
        if client.state is CHECKED:
            room.joining.join_failed(client)
            if not client.over:
                room.emit(Done(client))

    def orderer(self) -> Client | None:
        """Returns the owner, if the change answers an order."""
        return self.owner


@dataclass(slots=True)
class Unbanning(Change):
    """A banned name is free again."""

    owner: Client

    def edit(self, members: dict[str, Member]) -> None:
        """Makes the change in the members that are to be written."""
        members.pop(self.key, None)

    def take_effect(self, room: Room) -> bool:
        """It is saved."""
        room.group.members.pop(self.key, None)
        return True

    def orderer(self) -> Client | None:
        """Returns the owner, because the owner gave the order."""
        return self.owner


class MemberFile:
    """What the member file still lacks."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.waiting: list[Change] = []  # for the next writing
        self.being_saved: list[Change] | None = None  # by the writing that runs
        self.dirty = False  # events changed the members; a restart would apply them again
        self.next_save_at = 0.0  # when to write it for these events' sake

    def is_being_saved(self) -> bool:
        """Whether a writing runs."""
        return self.being_saved is not None

    def save_change(self, change: Change) -> None:
        """Takes a change into the next writing, which starts at once if none runs."""
        self.waiting.append(change)
        self.save()

    def save(self) -> None:
        """Starts a writing, if there is reason to and none runs."""
        if self.is_being_saved() or self.room.orders.deleting:
            return
        if self.waiting or self.dirty:
            self.being_saved, self.waiting, self.dirty = self.waiting, [], False
            members = dict(self.room.group.members)
            for change in self.being_saved:
                change.edit(members)
            self.room.emit(SaveMembers(members_text(self.room.group.seq, members)))

    def save_if_due(self, now: float) -> None:
        """Starts a writing for the events that changed the members, once a second at most."""
        if self.dirty and now >= self.next_save_at:
            self.next_save_at = now + SAVE_EVERY
            self.save()

    def saved(self, why: str) -> None:
        """The writing has ended: `why` is "" or the reason why it failed."""
        room = self.room
        changes, self.being_saved = self.being_saved or [], None
        if why:
            room.report_write_error("members", why)
            self.dirty = True
        else:
            room.last_write_error = None
        for change in changes:
            done = not why and change.take_effect(room)
            if not done:
                change.fail(room)
            if owner := change.orderer():
                room.emit(Line(owner, "ok" if done else "error: not saved"))
                room.emit(Done(owner))
        if room.orders.deleting:
            room.orders.erase_now()
        elif self.waiting:
            self.save()
