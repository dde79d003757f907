"""What comes in: a folder or an archive with the submissions of a class, as a school's system or a
teacher made it.

Recognized are the bulk downloads of Canvas, Moodle and Gradescope by their names, git clones, and
else a folder or an archive for each student:

- Canvas: files `lastfirst_[LATE_]USERID_ATTACHMENT_NAME`
- Moodle: folders or files `Full Name_PARTICIPANT_assignsubmission_file_[NAME]`
- Gradescope: folders `submission_ID`, and submission_metadata.yml that names the submitters
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.driving.messages import Message, msg
from harness.grading.archives import (
    MOST_DOWNLOAD,
    Entry,
    RefusedError,
    entries_of_archive,
    entries_of_folder,
    files_of,
    head,
    is_archive,
    is_left_by_a_program,
    is_other_archive,
    parts,
    without_suffix,
)
from harness.grading.clones import files_of_clone, is_clone
from harness.verdicts.model import UsageError

CANVAS = re.compile(r"([^_]+)_(LATE_)?(\d+)_(?:\d+_(.+)|(?:text|link)\.html)")
CANVAS_AGAIN = re.compile(r"(.+)-\d+(\.\w+)")  # it numbers a name that was handed in before
MOODLE = re.compile(r"(.+?)_(\d+)_assignsubmission_(?:file|onlinetext)_?(.*)")
METADATA = "submission_metadata.yml"  # Gradescope's
LARGEST_METADATA = 256 << 20
WORK = {"implementations", "server.c"}  # what one submission has at its top

# (the files of a submission, notes on how they were found, when they were handed in if known)
Found = tuple[dict[str, bytes], list[Message], datetime | None]


@dataclass
class Handed:
    """One submission as it came in, before it is known who handed it in."""

    name: str  # as the download has it
    # for each student: what may name them, the most certain first: (column of the roster or "any",
    # text)
    who: list[list[tuple[str, str]]]
    read: Callable[[datetime | None], Found]  # takes the due time; raises RefusedError, OSError
    is_marked_late: bool = False  # by the system that it comes from, which does not say how much
    is_loose: bool = False  # a single file that is no archive: perhaps no submission


@dataclass
class Top:
    """A file or folder at the top of a download."""

    name: str
    is_folder: bool
    entries: Callable[[], list[Entry]]  # of a file: itself. Raises RefusedError, OSError
    clone: Path | None = None


def submissions_in(place: Path, others: Iterable[Path] = ()) -> list[Handed]:
    """All submissions in a folder or an archive, by name. Raises UsageError.

    others: files and folders that are none, wherever they are, such as the roster.
    """
    known = {path.resolve() for path in others}
    try:
        if place.is_dir():
            tops = tops_of_folder(place)
        elif not place.exists():
            raise UsageError(msg("{folder}: no such folder", folder=place))
        elif is_archive(place.name):
            tops = tops_of_entries(entries_of_archive(place.name, place, MOST_DOWNLOAD))
        else:
            raise UsageError(msg("{path} is neither a folder nor a zip or tar archive", path=place))
        if WORK & {top.name for top in tops}:
            raise UsageError(
                msg(
                    "{folder} is one submission: name the folder that holds those of all students",
                    folder=place,
                )
            )
        tops = [top for top in tops if (place / top.name).resolve() not in known]
        return sorted(grouped(tops), key=lambda handed: handed.name)
    except RefusedError as why:
        raise UsageError(msg("{path}: {why}", path=place, why=why.args[0])) from None
    except OSError as error:
        raise UsageError(f"{error.filename or place}: {error.strerror}") from None


def tops_of_folder(place: Path) -> list[Top]:
    """What is at the top of a folder, or of the only folder in it."""
    inner = [path for path in place.iterdir() if not is_left_by_a_program(path.name)]
    if len(inner) == 1 and is_only_around(inner[0]):
        return tops_of_folder(inner[0])
    return [
        Top(
            path.name,
            is_folder := path.is_dir() and not path.is_symlink(),
            lambda path=path: entries_of_folder(path) if path.is_dir() else [entry_of(path)],
            path if is_folder and is_clone(path) else None,
        )
        for path in inner
        if not path.name.startswith(".")
    ]


def is_only_around(path: Path) -> bool:
    """Whether this is a folder around those of the students, and not a student's."""
    return (
        path.is_dir()
        and not path.is_symlink()
        and not is_clone(path)
        and not MOODLE.fullmatch(path.name)
        and WORK.isdisjoint(inner.name for inner in path.iterdir())
        and any(inner.is_dir() or is_archive(inner.name) for inner in path.iterdir())
    )


def entry_of(path: Path) -> Entry:
    """A file as an Entry. Raises OSError."""
    kind = "link" if path.is_symlink() else "file" if path.is_file() else "device"
    return Entry(path.name, kind, path.lstat().st_size, lambda most: head(str(path), most))


def tops_of_entries(entries: Iterable[Entry]) -> list[Top]:
    """What is at the top of an archive, or of the only folder in it."""
    found: dict[str, list[Entry]] = {}
    refused: dict[str, RefusedError] = {}
    for entry in entries:
        first, _, rest = entry.path.removeprefix("./").partition("/")
        if is_left_by_a_program(entry.path) or (first.startswith(".") and first != ".."):
            continue
        try:
            parts(entry.path)
        except RefusedError as why:  # the matter of that one student
            refused.setdefault(first, why)
        found.setdefault(first, []).append(replace(entry, path=rest or first))
    if len(found) == 1 and not refused:
        (first, inner), *_ = found.items()
        names = {entry.path.partition("/")[0] for entry in inner}
        is_around = all("/" in entry.path or is_archive(entry.path) for entry in inner) or (
            METADATA in names or any(CANVAS.fullmatch(name) for name in names)
        )
        if is_around and WORK.isdisjoint(names) and not MOODLE.fullmatch(first):
            return tops_of_entries(inner)

    def reads(first: str) -> Callable[[], list[Entry]]:
        def read() -> list[Entry]:
            if first in refused:
                raise refused[first]
            return found[first]

        return read

    return [
        Top(first, not (len(inner) == 1 and inner[0].path == first), reads(first))
        for first, inner in found.items()
    ]


def grouped(tops: list[Top]) -> list[Handed]:
    """Those at the top that belong together, as submissions. Raises RefusedError, UsageError."""
    if metadata := next((top for top in tops if top.name == METADATA), None):
        return of_gradescope(tops, about_submissions(metadata))
    moodle = {top.name: found for top in tops if (found := MOODLE.fullmatch(top.name))}
    canvas = {
        top.name: found
        for top in tops
        if not top.is_folder and (found := CANVAS.fullmatch(top.name))
    }
    rest = [top for top in tops if top.name not in moodle and top.name not in canvas]
    return [
        *together(tops, moodle, lambda found: (found[1], found[2]), named_by_moodle),
        *together(tops, canvas, lambda found: (found[1], found[3]), named_by_canvas),
        *map(plain, rest),
    ]


def together(
    tops: list[Top],
    matches: dict[str, re.Match[str]],
    key: Callable[[re.Match[str]], tuple[str, ...]],
    named: Callable[[list[tuple[Top, re.Match[str]]]], Handed],
) -> list[Handed]:
    """One submission for all at the top whose names say the same student."""
    groups: dict[tuple[str, ...], list[tuple[Top, re.Match[str]]]] = {}
    for top in tops:
        if found := matches.get(top.name):
            groups.setdefault(key(found), []).append((top, found))
    return [named(group) for group in groups.values()]


def named_by_moodle(group: list[tuple[Top, re.Match[str]]]) -> Handed:
    """A submission in a download of Moodle."""
    name, participant, _ = group[0][1].groups()

    def entries() -> list[Entry]:
        return [
            entry if top.is_folder else replace(entry, path=found[3] or "text")
            for top, found in group
            for entry in top.entries()
        ]

    return Handed(
        f"{name}_{participant}",
        [[("moodle_id", participant), ("name", name)]],
        lambda due: (*files_of(entries()), None),
    )


def named_by_canvas(group: list[tuple[Top, re.Match[str]]]) -> Handed:
    """A submission in a download of Canvas."""
    name, _, user, _ = group[0][1].groups()
    names = {found[4] or "text.html" for _, found in group}

    def first_name(name: str) -> str:
        again = CANVAS_AGAIN.fullmatch(name)
        first = again[1] + again[2] if again else name
        return name if first in names else first

    def entries() -> list[Entry]:
        return [
            replace(entry, path=first_name(found[4] or "text.html"))
            for top, found in group
            for entry in top.entries()
        ]

    return Handed(
        f"{name}_{user}",
        [[("canvas_id", user), ("name", name)]],
        lambda due: (*files_of(entries()), None),
        is_marked_late=any(found[2] for _, found in group),
    )


def about_submissions(metadata: Top) -> dict[str, Any]:
    """What Gradescope's submission_metadata.yml says. Raises UsageError, RefusedError."""
    import yaml  # only Gradescope's download needs it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = metadata.entries()[0].read(LARGEST_METADATA)
        found = yaml.load(text, loader)
    except yaml.YAMLError as error:
        why = str(error).replace("\n", " ")
        raise UsageError(msg("{path}: {why}", path=METADATA, why=why)) from None
    if not isinstance(found, dict):
        raise UsageError(msg("{path} names no submissions", path=METADATA))
    return found


def of_gradescope(tops: list[Top], about: dict[str, Any]) -> list[Handed]:
    """The submissions in an export of Gradescope."""
    handed = []
    for top in tops:
        if top.name == METADATA:
            continue
        said = about.get(top.name)
        said = said if isinstance(said, dict) else {}
        time = said.get(":created_at")
        who = [
            [
                (column, str(submitter[key]))
                for column, key in (("email", ":email"), ("sis_id", ":sid"), ("name", ":name"))
                if submitter.get(key)
            ]
            for submitter in said.get(":submitters") or []
            if isinstance(submitter, dict)
        ]
        submitted = time.astimezone() if isinstance(time, datetime) else None
        handed.append(
            Handed(
                top.name,
                [names for names in who if names] or [[("any", top.name)]],
                lambda due, top=top, submitted=submitted: (*files_of(top.entries()), submitted),
            )
        )
    return handed


def plain(top: Top) -> Handed:
    """A student's folder, archive or clone."""
    is_packed = is_archive(top.name) or is_other_archive(top.name)
    name = without_suffix(top.name) if is_packed and not top.is_folder else top.name
    who = [[("any", name)]]
    if top.clone:
        return Handed(top.name, who, lambda due: files_of_clone(top.clone, due))
    if is_loose := not top.is_folder and not is_packed:
        who = [[("any", Path(name).stem)]]
    read = lambda due: (*files_of(top.entries()), None)
    return Handed(top.name, who, read, is_loose=is_loose)
