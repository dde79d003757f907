"""What is in a folder, a zip or a tar archive that somebody else made: only regular files, and only
so much.

Nothing is unpacked to disk: files are read into memory, one by one, within limits. Python's own
`extractall(filter="data")` repairs names that nobody should repair, and has no limits.
"""

import bz2
import contextlib
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.driving.messages import Message, msg

MOST_ENTRIES = 5000  # files and folders of one submission
MOST_BYTES = 64 << 20  # of one submission, unpacked
MOST_ARCHIVE = 64 << 20  # bytes of an archive in a submission
MOST_RATIO = 200  # unpacked to packed, of what is larger than FAIR bytes
FAIR = 4 << 20
MOST_DOWNLOAD = 1 << 20  # entries of the download of a whole class
LONGEST_PATH, DEEPEST = 400, 20
LARGEST_FILE = 1 << 20  # larger than any program one writes (harness.teaching.lab)
SUFFIXES = ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"
OTHER_SUFFIXES = ".rar", ".7z", ".gz", ".bz2", ".xz", ".zst", ".tar.zst"  # nothing here reads them
# Folders and files that programs leave, and nobody hands in on purpose.
LEFT_BY_PROGRAMS = (
    {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", ".git", ".hg", ".svn", "__pycache__"}
    | {".mypy_cache", ".ruff_cache", ".pytest_cache", ".venv", "venv", "node_modules"}
    | {".idea", ".vscode"}
)


class RefusedError(Exception):
    """A submission holds something that no submission may hold, or cannot be read. The argument is
    a Message for the teacher and the student.
    """


@dataclass(frozen=True)
class Entry:
    """One thing in a folder or an archive. `path` is as it came; parts() makes it safe."""

    path: str
    kind: str  # "file", "link" (hard or symbolic), or "device": anything else; folders are left out
    size: int  # bytes, as its header says
    read: Callable[[int], bytes]  # at most so many bytes of it

    def inside(self, folder: str) -> "Entry | None":
        """This entry as `folder` has it; None if it is not in there."""
        begin = f"{folder}/"
        return (
            Entry(self.path.removeprefix(begin), self.kind, self.size, self.read)
            if self.path.startswith(begin)
            else None
        )


def parts(path: str) -> tuple[str, ...]:
    """The parts of a relative path. Raises RefusedError at an absolute one, `..`, and what no
    editor makes.
    """
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        raise RefusedError(msg("it holds the absolute path {path}", path=path))
    found = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in found:
        raise RefusedError(msg("it holds the path {path}, which leads out of it", path=path))
    if len(path) > LONGEST_PATH or len(found) > DEEPEST:
        raise RefusedError(msg("it holds a path that is too long: {path}...", path=path[:80]))
    if not found or re.search(r"[\x00-\x1f\x7f]", path):
        raise RefusedError(msg("it holds a path with a control character: {path}", path=path))
    return found


def is_left_by_a_program(path: str) -> bool:
    """Whether this is in LEFT_BY_PROGRAMS, or in a folder of it."""
    names = path.split("/")
    return not LEFT_BY_PROGRAMS.isdisjoint(names) or names[-1].startswith("._")


def is_archive(name: str) -> bool:
    """Whether its name says that entries_of_archive() can read it."""
    return name.lower().endswith(SUFFIXES)


def is_other_archive(name: str) -> bool:
    """Whether its name is that of an archive of another kind."""
    return name.lower().endswith(OTHER_SUFFIXES) and not is_archive(name)


def without_suffix(name: str) -> str:
    """The name of an archive without `.zip`, `.tar.gz`, ..."""
    endings = sorted((*SUFFIXES, *OTHER_SUFFIXES), key=len, reverse=True)
    end = next((end for end in endings if name.lower().endswith(end)), "")
    return name[: len(name) - len(end)] or name


def files_of(entries: Iterable[Entry]) -> tuple[dict[str, bytes], list[Message]]:
    """({path: its bytes} of all that somebody wrote, notes on files that are left out).

    Raises RefusedError at links, devices, absolute and dotted paths, paths that occur twice, and
    at more than MOST_ENTRIES or MOST_BYTES.
    """
    found: dict[str, bytes] = {}
    notes: list[Message] = []
    total = 0
    for number, entry in enumerate(entries):
        if number >= MOST_ENTRIES:
            raise RefusedError(msg("it holds more than {most} files", most=MOST_ENTRIES))
        if is_left_by_a_program(entry.path):
            continue
        path = "/".join(parts(entry.path))
        if entry.kind == "link":
            raise RefusedError(
                msg("{path} is a link: put a copy of the file there instead", path=path)
            )
        if entry.kind != "file":
            raise RefusedError(msg("{path} is neither a file nor a folder", path=path))
        if path in found:
            raise RefusedError(msg("it holds {path} twice", path=path))
        if total + entry.size > MOST_BYTES:
            raise RefusedError(msg("it holds more than {most} MB", most=MOST_BYTES >> 20))
        is_large = entry.size > LARGEST_FILE and not (is_archive(path) or is_other_archive(path))
        data = b"" if is_large else entry.read(MOST_BYTES - total + 1)
        total += entry.size if is_large else len(data)
        if total > MOST_BYTES:
            raise RefusedError(msg("it holds more than {most} MB", most=MOST_BYTES >> 20))
        if is_large:
            notes.append(msg("{path} is left out: it is larger than any program", path=path))
        else:
            found[path] = data
    must_be_no_folder_and_file(found)
    return found, notes


def must_be_no_folder_and_file(found: Iterable[str]) -> None:
    """Raises RefusedError if one path is also a folder of another."""
    names = set(found)
    for path in names:
        folder = path
        while "/" in folder:
            folder = folder.rpartition("/")[0]
            if folder in names:
                raise RefusedError(msg("it holds {path} twice", path=folder))


# -- A folder --------------------------------------------------------------------------------------


def entries_of_folder(folder: Path, most: int = MOST_ENTRIES) -> list[Entry]:
    """The entries of a folder and of the folders in it. No link is followed. Raises OSError,
    RefusedError.
    """
    found: list[Entry] = []
    waiting = [""]
    while waiting:
        place = waiting.pop()
        with os.scandir(folder / place) as here:
            for one in here:
                path = f"{place}/{one.name}".lstrip("/")
                if is_left_by_a_program(path):
                    continue
                path_shown = os.fsencode(path).decode(errors="backslashreplace")
                if one.is_dir(follow_symlinks=False):
                    if path.count("/") > DEEPEST:
                        raise RefusedError(
                            msg("it holds a path that is too long: {path}...", path=path[:80])
                        )
                    waiting.append(path)
                    continue
                about = one.stat(follow_symlinks=False)
                kind = (
                    "link"
                    if one.is_symlink()
                    else "file"
                    if stat.S_ISREG(about.st_mode)
                    else "device"
                )
                found.append(
                    Entry(path_shown, kind, about.st_size, lambda most, at=one.path: head(at, most))
                )
                if len(found) > most:
                    raise RefusedError(msg("it holds more than {most} files", most=most))
    return sorted(found, key=lambda entry: entry.path)


def head(path: str, most: int) -> bytes:
    """At most so many bytes of a regular file. Raises OSError, RefusedError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RefusedError(msg("{path} is neither a file nor a folder", path=path))
        return file.read(most)


# -- An archive ------------------------------------------------------------------------------------


def entries_of_archive(name: str, data: bytes | Path, most: int = MOST_ENTRIES) -> list[Entry]:
    """The entries of an archive. Raises RefusedError, OSError.

    data: all of it; or where the download of a whole class lies, which the teacher's system made.
    """
    try:
        if name.lower().endswith(".zip"):
            return entries_of_zip(data, most)
        return entries_of_tar(data, most)
    except RefusedError:
        raise
    except UNREADABLE as error:
        raise RefusedError(
            msg("{name} cannot be read: {why}", name=name, why=str(error) or "it is damaged")
        ) from None


# What zipfile, tarfile and the decompressors raise at a damaged or strange archive.
UNREADABLE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    OverflowError,
    IndexError,
)


def entries_of_zip(data: bytes | Path, most: int) -> list[Entry]:
    """As of entries_of_archive()."""
    if isinstance(data, bytes) and data.count(b"PK\x01\x02") > most:
        raise RefusedError(msg("it holds more than {most} files", most=most))
    archive = zipfile.ZipFile(io.BytesIO(data) if isinstance(data, bytes) else data)
    packed = sum(info.compress_size for info in archive.infolist())
    unpacked = sum(info.file_size for info in archive.infolist())
    if isinstance(data, bytes) and unpacked > max(FAIR, MOST_RATIO * packed):
        raise RefusedError(
            msg("{packed} bytes of it unpack to {unpacked}", packed=packed, unpacked=unpacked)
        )
    found = []
    for info in archive.infolist():
        if info.is_dir():
            continue
        mode = info.external_attr >> 16
        kind = (
            "link"
            if stat.S_ISLNK(mode)
            else "file"
            if stat.S_IFMT(mode) in (0, stat.S_IFREG)
            else "device"
        )
        path = zip_path(info)
        found.append(
            Entry(path, kind, info.file_size, lambda most, info=info: zip_head(archive, info, most))
        )
        if len(found) > most:
            raise RefusedError(msg("it holds more than {most} files", most=most))
    return found


def zip_path(info: zipfile.ZipInfo) -> str:
    """A member's path. Old programs on Windows write backslashes, and those on macOS UTF-8 without
    saying so.
    """
    path = info.filename
    if not info.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            path = path.encode("cp437").decode()
    return path.replace("\\", "/")


def zip_head(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """At most so many bytes of a member. Raises RefusedError."""
    if info.flag_bits & 1:
        raise RefusedError(msg("it is encrypted: hand it in without a password"))
    try:
        with archive.open(info) as file:
            return file.read(most)
    except UNREADABLE as error:
        raise RefusedError(
            msg("{name} cannot be read: {why}", name=info.filename, why=str(error) or "damaged")
        ) from None


def entries_of_tar(data: bytes | Path, most: int) -> list[Entry]:
    """As of entries_of_archive()."""
    if isinstance(data, bytes):
        archive = tarfile.open(fileobj=io.BytesIO(decompressed(data)), mode="r:")
    else:
        archive = tarfile.open(data)
    found = []
    for number, member in enumerate(archive):
        if number >= most:
            raise RefusedError(msg("it holds more than {most} files", most=most))
        if member.isdir():
            continue
        kind = (
            "link"
            if member.issym() or member.islnk()
            else "file"
            if member.isreg() and not member.issparse()
            else "device"
        )
        found.append(
            Entry(
                tar_path(member.name),
                kind,
                member.size,
                lambda most, member=member: tar_head(archive, member, most),
            )
        )
    return found


def tar_head(archive: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    """At most so many bytes of a member. Raises RefusedError."""
    try:
        return archive.extractfile(member).read(most)
    except UNREADABLE as error:
        raise RefusedError(
            msg("{name} cannot be read: {why}", name=tar_path(member.name), why=str(error))
        ) from None


def tar_path(name: str) -> str:
    """A member's path. One that is no UTF-8 is taken for Latin-1, as old programs write it."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return name.encode(errors="surrogateescape").decode("latin-1")


def decompressed(data: bytes) -> bytes:
    """A tar archive that may be compressed, without that. Raises RefusedError."""
    kinds = {
        b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
        b"BZh": bz2.BZ2Decompressor,
        b"\xfd7zXZ": lambda: lzma.LZMADecompressor(memlimit=256 << 20),
    }
    make = next((make for begin, make in kinds.items() if data.startswith(begin)), None)
    if make is None:
        return data
    out: list[bytes] = []
    left = MOST_BYTES + (1 << 20)  # the headers of a tar, too
    rest = data
    while rest.strip(b"\0"):  # a file may be several streams, one after the other
        stream = make()
        out.append(stream.decompress(rest, left))
        left -= len(out[-1])
        if left <= 0:
            raise RefusedError(msg("it holds more than {most} MB", most=MOST_BYTES >> 20))
        if not stream.eof:
            raise EOFError("it ends too early")
        rest = stream.unused_data
    whole = b"".join(out)
    if len(whole) > max(FAIR, MOST_RATIO * len(data)):
        raise RefusedError(
            msg("{packed} bytes of it unpack to {unpacked}", packed=len(data), unpacked=len(whole))
        )
    return whole
