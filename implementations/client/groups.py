"""The groups file: a user's groups, for the next start of the client.

The file has one JSON object per line and is always replaced as a whole. Every change takes a lock,
reads the file again and changes one entry, so clients that run at the same time lose nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import platformdirs

from ..common import wire
from .errors import GroupsFileError


@dataclass(frozen=True, order=True)
class Membership:
    """One entry of the groups file. The field names are the keys in the file."""

    address: str  # of the server, HOST:PORT; with the name, it identifies the entry
    name: str  # of the member
    group: str  # the group's name
    last: int  # the number of the newest event seen

    @property
    def key(self) -> tuple[str, str]:
        """The address and the folded name: they identify the entry."""
        return self.address, wire.fold(self.name)


FIELD_TYPES = {"address": str, "name": str, "group": str, "last": int}


class GroupsFile:
    """The memberships of one user. All methods raise GroupsFileError if the file is damaged.

    They raise OSError if it cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        """Use the file at `path`, which need not exist; if it is None, the user's own.

        If it is a link, it stays one. Raises GroupsFileError if the user's own is not known, or if
        it is no regular file: each change replaces it, and root could replace /dev/null.
        """
        self.path = os.path.realpath(default_path() if path is None else path)
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise GroupsFileError(f"{self.path}: not a regular file; name another with --groups")

    def read(self) -> list[Membership]:
        """Return the entries; an empty list if there is no file yet."""
        try:
            with open(self.path, "rb") as file:
                return [self._parse(line, number) for number, line in enumerate(file, 1)]
        except FileNotFoundError:
            return []

    def find(self, address: str, name: str) -> Membership | None:
        """Return the entry of this server address and this name; None if there is none."""
        key = Membership(address, name, "", 0).key
        return next((entry for entry in self.read() if entry.key == key), None)

    def save(self, membership: Membership, formerly: Membership | None = None) -> None:
        """Add an entry, or replace the one with the same key, or the entry `formerly`."""
        self._replace({membership.key, (formerly or membership).key}, [membership])

    def remove(self, membership: Membership) -> None:
        """Remove the entry with the same key, if there is one."""
        self._replace({membership.key}, [])

    def _parse(self, line: bytes, number: int) -> Membership:
        try:
            entry = json.loads(line)
            types = {field: type(value) for field, value in entry.items()}
            if types == FIELD_TYPES and entry["last"] >= 0:
                return Membership(**entry)
        except (ValueError, AttributeError, RecursionError):
            pass
        remedy = "repair it, or move the file away"
        raise GroupsFileError(f"{self.path}: line {number} is not a valid entry; {remedy}")

    def _replace(self, keys: set[tuple[str, str]], memberships: list[Membership]) -> None:
        """Remove the entries with these keys, and add these memberships."""
        with self._lock():
            others = [entry for entry in self.read() if entry.key not in keys]
            new = self.path + ".new"
            with open(new, "w", encoding="ascii", opener=open_private) as file:
                file.writelines(json.dumps(asdict(entry)) + "\n" for entry in others + memberships)
                file.flush()
                os.fsync(file.fileno())  # a crash leaves the old file or the new one, both whole
            os.replace(new, self.path)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep other clients from changing the file.

        The lock is on a file of its own, because each change replaces the groups file.
        """
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path + ".lock", "w", opener=open_private) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def default_path() -> str:
    """Return the path of the user's own groups file. Raises GroupsFileError."""
    try:
        return os.path.join(platformdirs.user_data_dir("grupo"), "groups")
    except RuntimeError:  # no HOME, and no home folder in the password database
        raise GroupsFileError(
            "your home folder is not known: name a groups file with --groups FILE, or set HOME"
        ) from None


def open_private(path: str, flags: int) -> int:
    """Open a file that only its owner may read; for open(opener=...). Returns a descriptor.

    It is never behind a link: in a folder of many users, somebody else may have put one there.
    """
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
