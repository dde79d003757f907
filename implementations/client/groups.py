"""The groups file: one JSON line for each group that this user belongs to, replaced whole, never touched where it stands.

Every change reads the file again under a lock and changes one entry, so that clients at work at the same time lose nothing.
"""
import contextlib
import fcntl
import json
import os
from typing import NamedTuple

import platformdirs

GROUPS = os.path.join(platformdirs.user_data_dir("grupo"), "groups")    # where they are kept unless a user says otherwise


class Trouble(Exception):
    """The groups file cannot be used; the text is one line for the user: which file, which line, what to do."""


class Group(NamedTuple):
    address: str        # HOST:PORT; with the name, what tells entries apart
    name: str           # of the member
    group: str
    last: int           # seq of the newest event seen


TYPES = {field: Group.__annotations__[field] for field in Group._fields}


class Groups:
    def __init__(self, path):
        self.path = os.path.realpath(path)      # a link stays a link when the file behind it is replaced

    def read(self):
        """The list of Groups; [] if there is no file yet. Raises Trouble if it is damaged, OSError if it cannot be read."""
        try:
            with open(self.path, "rb") as file:
                return [self.parse(line, number) for number, line in enumerate(file, 1)]
        except FileNotFoundError:
            return []

    def parse(self, line, number):
        try:
            entry = json.loads(line)
            if {field: type(value) for field, value in entry.items()} == TYPES and entry["last"] >= 0:
                return Group(**entry)
        except (ValueError, AttributeError, RecursionError):
            pass
        raise Trouble(f"{self.path}: line {number} is no group; repair it, or move the file away")

    def keep(self, group, formerly=None):
        """Adds `group`, or replaces the entry with its address and name, or the entry `formerly`. Raises like read()."""
        self.replace({key_of(group), key_of(formerly or group)}, [group])

    def forget(self, group):
        """Removes its entry, if there is one. Raises like read()."""
        self.replace({key_of(group)}, [])

    def replace(self, keys, groups):
        with self.lock():
            others = [group for group in self.read() if key_of(group) not in keys]
            with open(self.path + ".new", "w", encoding="ascii", opener=private) as file:
                file.writelines(json.dumps(group._asdict()) + "\n" for group in others + groups)
                file.flush()
                os.fsync(file.fileno())
            os.replace(self.path + ".new", self.path)

    @contextlib.contextmanager
    def lock(self):
        """Held for one change. A file of its own: the groups file itself is another one after each change."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path + ".lock", "w", opener=private) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def key_of(group):
    return group.address, group.name.casefold()


def private(path, flags):
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
