"""Opens folders and files that only this user can have put anything into.

In a folder that somebody else can write to, `transcript` may be a link to another file of the user:
then the server would write the members' text there. So such a folder is refused.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat

from .errors import StartupError
from .stderr import warn

ACL = "system.posix_acl_access"  # the attribute in which Linux keeps an access control list


def open_folder(path: str) -> int:
    """Returns the descriptor of a folder, which is made with mode 0700 if there is none.

    Files are opened relative to this descriptor. So another folder that is put at the path after
    this check changes nothing.

    Raises OSError, or StartupError if another user owns the folder or can write to it.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except FileExistsError:
        raise StartupError(
            f"{path}: not a folder, or a link to nothing; choose another, or move it away"
        ) from None
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    about = os.fstat(folder)
    is_ours, is_shared = about.st_uid == os.geteuid(), can_others_write(folder)
    if not is_ours or is_shared:
        # Shared folders of virtual machines, FAT and some network file systems show the same owner
        # and mode for everything: also for a file that we have just made with mode 0600.
        owner, mode = seen_of_new_file(folder)
        if about.st_uid != owner:
            raise StartupError(
                f"{path}: this folder belongs to another user (uid {about.st_uid}); choose another"
                " folder, or start the server as that user"
            )
        if is_shared and not mode & 0o077:
            raise StartupError(
                f"{path}: other users can write to this folder; choose another, or take their"
                " permission away: chmod go-w"
            )
        warn(
            f"{path}: its file system keeps no owners or no permissions, so other users may be able"
            " to read and change the group's files"
        )
    return folder


def can_others_write(folder: int) -> bool:
    """Whether the mode of a folder lets other users write to it."""
    about = os.fstat(folder)
    if about.st_mode & stat.S_IWOTH:
        return True
    if not about.st_mode & stat.S_IWGRP:  # with an ACL, this bit is set if any entry may write
        return False
    return not is_own_group(about.st_gid) or has_acl(folder)


def is_own_group(number: int) -> bool:
    """Whether a group has only this user in it, as most Linux distributions make one for each user.

    There, new folders are writable by the group (umask 002). The group is known by its name, as in
    pam_umask(8): a list of all users of a network cannot be had.
    """
    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    is_primary = user.pw_gid == number and group.gr_name == user.pw_name
    return is_primary and set(group.gr_mem) <= {user.pw_name}


def has_acl(folder: int) -> bool:
    """Whether further users or groups are named in the permissions of a folder (Linux, acl(5))."""
    try:
        return bool(os.getxattr(folder, ACL))
    except (OSError, AttributeError):  # it has none; the file system or macOS knows no such thing
        return False


def seen_of_new_file(folder: int) -> tuple[int, int]:
    """Returns the owner and the mode that the system shows of a file that was made with mode 0600.

    If none can be made: what it should show.
    """
    name = f"probe.{os.getpid()}"
    try:
        file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError:
        return os.geteuid(), 0o600
    about = os.fstat(file)
    os.close(file)
    os.unlink(name, dir_fd=folder)
    return about.st_uid, stat.S_IMODE(about.st_mode)


def open_file(folder: int, path: str, flags: int) -> int:
    """Opens the file at `path`, in a folder of open_folder(), with mode 0600.

    A file that was there before gets this mode, too: `cp` gives a copy that is put back another
    one, and other users could read it.

    Raises OSError, or StartupError if it is a link, no regular file, or another user's.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    flags |= os.O_NONBLOCK  # else the opening of a FIFO waits for its other side
    try:
        file = os.open(os.path.basename(path), flags, 0o600, dir_fd=folder)
    except OSError as error:
        error.filename = path
        if error.errno == errno.ELOOP:
            raise StartupError(f"{path}: a link, which is not followed; move it away") from None
        raise
    about = os.fstat(file)
    if not stat.S_ISREG(about.st_mode):
        raise StartupError(f"{path}: not a regular file; move it away")
    if about.st_uid != os.fstat(folder).st_uid:
        raise StartupError(f"{path}: belongs to another user (uid {about.st_uid}); move it away")
    if about.st_mode & 0o077:
        with contextlib.suppress(OSError):  # a file system without modes: open_folder() warned
            os.fchmod(file, 0o600)
    return file
