"""The owner's orders: each is answered by its lines, and then by `ok` or `error: WHY`. Pure.

The part of the Room that obeys the owner. No order waits for a client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import requests, wire
from .client_state import Client
from .deliveries import Done
from .member_file import Unbanning

if TYPE_CHECKING:
    from .room import Room

HELP = (
    "accept NAME, reject NAME: decide on a request to join",
    "ban NAME: disconnect the member and keep the name out; unban NAME: the name is free again",
    "rename GROUP: change the group's name",
    "members: list members, banned names and requests to join",
    "close: end the server; the group stays",
    "delete: end the server and delete the group with its transcript",
)


class OwnerOrders:
    """The handlers of the orders. One that returns False is answered later."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.deleting: Client | None = None  # the owner, once they have confirmed `delete`

    def reply(self, owner: Client, error: str = "") -> None:
        """Sends the last line of an answer."""
        self.room.send(owner, f"error: {error}" if error else "ok")

    # -- Requests to join ----------------------------------------------------------------------

    def accept(self, owner: Client, order: requests.Accept) -> bool:
        """Makes a new member of a client that asks to join."""
        client = self.room.joining.asking_as(order.name)
        if client:
            self.room.joining.admit(client, owner)
            return False
        self.reply(owner, f"{order.name} does not ask to join")
        return True

    def reject(self, owner: Client, order: requests.Reject) -> None:
        """Rejects a request to join."""
        client = self.room.joining.asking_as(order.name)
        if not client:
            return self.reply(owner, f"{order.name} does not ask to join")
        self.room.joining.schedule_rejection(client)
        self.reply(owner)

    # -- Members -------------------------------------------------------------------------------

    def ban(self, owner: Client, order: requests.Ban) -> None:
        """Removes the member, if there is one, and keeps the name out."""
        room = self.room
        key = wire.fold(order.name)
        member = room.group.members.get(key)
        if member and member.standing == "banned":
            return self.reply(owner, f"{member.name} is banned already")
        if not room.commit("BANNED", [member.name if member else order.name]):
            return self.reply(owner, "not saved")
        if key in room.here:
            room.end_connection(room.here[key], "banned", announce=False)
        client = room.joining.asking_as(order.name)
        if client:
            room.joining.schedule_rejection(client)
        room.member_file.dirty = True
        self.reply(owner)

    def unban(self, owner: Client, order: requests.Unban) -> bool:
        """Frees a banned name."""
        key = wire.fold(order.name)
        member = self.room.group.members.get(key)
        if member and member.standing == "banned":
            self.room.member_file.save_change(Unbanning(key, owner))
            return False
        self.reply(owner, f"{order.name} is not banned")
        return True

    def list_members(self, owner: Client, _: requests.ListMembers) -> None:
        """Lists members, banned names and requests to join."""
        room = self.room
        for key, member in room.group.members.items():
            here = "here" if key in room.here else "away"
            standing = "banned" if member.standing == "banned" else here
            room.send(owner, f"member {member.name} {standing}")
        for client in room.joining.join_requests.values():
            if client.join and room.joining.asking_as(client.join.name):
                room.send(owner, f"member {client.join.name} asks from {client.address}")
        self.reply(owner)

    # -- The group -----------------------------------------------------------------------------

    def rename_group(self, owner: Client, order: requests.RenameGroup) -> None:
        """Changes the group's name."""
        self.reply(owner, "" if self.room.commit("GROUP", [order.group]) else "not saved")

    def close(self, owner: Client, _: requests.Close) -> None:
        """Ends the server."""
        self.reply(owner)
        self.room.shut_down("closed")

    def delete(self, owner: Client, _: requests.Delete) -> None:
        """Asks for confirmation."""
        self.room.send(owner, "type the group's name to delete it")

    def confirm_delete(self, owner: Client, confirmation: requests.ConfirmDelete) -> bool:
        """Deletes the group, if the line is its name."""
        line = confirmation.line
        if line != self.room.group.name or isinstance(line, wire.Fault):
            self.reply(owner, "not deleted")
            return True
        self.deleting = owner
        # Nothing may be written after the files have gone: a writing that runs ends first.
        if not self.room.member_file.is_being_saved():
            self.erase_now()
        return False

    def erase_now(self) -> None:
        """Removes the group's files, and ends the server if that succeeds."""
        owner = self.deleting
        assert owner is not None
        try:
            self.room.erase()
        except OSError as error:
            self.deleting = None
            self.reply(owner, f"not deleted: {error.strerror}")
        else:
            self.reply(owner)
            self.room.shut_down("deleted")
        self.room.emit(Done(owner))

    # -- Others --------------------------------------------------------------------------------

    def help(self, owner: Client, _: requests.Help) -> None:
        """Lists the orders."""
        for line in HELP:
            self.room.send(owner, f"# {line}")
        self.reply(owner)

    def bad_order(self, owner: Client, order: requests.BadOrder) -> None:
        """Answers a line that is no order."""
        self.reply(owner, order.why)
