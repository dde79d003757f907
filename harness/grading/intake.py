"""From what came in to what is judged: its students, and a copy of it over a starting folder.

The starting folder is fresh, so handing in only the files that were written is enough.

Nothing is guessed silently: what cannot be decided becomes a finding about that one student.
"""

import gzip
import hashlib
import io
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from harness.driving.messages import Message, msg
from harness.grading.archives import (
    RefusedError,
    entries_of_archive,
    files_of,
    is_archive,
    is_other_archive,
)
from harness.grading.downloads import Handed
from harness.grading.model import Student
from harness.grading.roster import due_of, folded
from harness.teaching import starter
from harness.teaching.starter import Starter

TEXTS = ".py", ".c", ".h"  # their line ends and byte order marks are made the usual
# What a starting folder has, and no judge takes: the compiled program, and files that name where
# the student keeps Grupo. Without them the same work is the same bytes.
NEVER_RUN = {"server", "Makefile", "README.md"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass
class Work:
    """What one student, or several partners, handed in."""

    handed: str  # its name in the download; '' of a student without one
    language: str = ""
    digest: str = ""  # of the folder that is judged; '' if there is none
    refused: Message | str = ""  # why it cannot be judged: needs a look
    is_empty: bool = False
    submitted: datetime | None = None
    is_marked_late: bool = False
    notes: list[Message] = field(default_factory=list)


# -- The students ---------------------------------------------------------------------------------


@dataclass
class Matched:
    """The students of each submission. `unmatched`: [(a submission, why it is nobody's)]."""

    students: list[Student]
    by_login: dict[str, list[Handed]]
    unmatched: list[tuple[str, Message]]


def without_roster(handed: list[Handed]) -> Matched:
    """Each submission's own name is its student's login."""
    found: dict[str, Student] = {}
    by_login: dict[str, list[Handed]] = {}
    unmatched = [
        (one.name, msg("it is neither a folder nor an archive")) for one in handed if one.is_loose
    ]
    for one in [one for one in handed if not one.is_loose]:
        for names in one.who:
            known = dict(names)
            login = known.get("any") or known.get("email", "").partition("@")[0]
            login = (login or known.get("name") or one.name).replace("/", "_").strip(". ") or "_"
            found.setdefault(
                login,
                Student(
                    login,
                    known.get("name", ""),
                    sis_id=known.get("sis_id", ""),
                    email=known.get("email", ""),
                    moodle_id=known.get("moodle_id", ""),
                    more={"canvas_id": known["canvas_id"]} if "canvas_id" in known else {},
                ),
            )
            by_login.setdefault(login, []).append(one)
    return Matched([found[login] for login in sorted(found)], by_login, unmatched)


def with_roster(handed: list[Handed], students: list[Student]) -> Matched:
    """Finds the students of each submission in the roster."""
    known = Known(students, [text for one in handed for who in one.who for _, text in who])
    found = Matched(students, {}, [])
    for one in handed:
        for names in one.who:
            matches = known.matches(names)
            if len(matches) == 1:
                found.by_login.setdefault(matches[0].login, []).append(one)
                continue
            why = (
                msg("it may be of {logins}", logins=", ".join(one.login for one in matches))
                if matches
                else msg("nobody in the roster is {name}", name=names[-1][1])
            )
            found.unmatched.append((one.name, why))
    return found


class Known:
    """The students of a roster, by everything that may name them."""

    def __init__(self, students: list[Student], names: list[str]) -> None:
        self.by: dict[str, dict[str, list[Student]]] = {}
        for student in students:
            for column, text in (
                ("login", student.login),
                ("sis_id", student.sis_id),
                ("email", student.email),
                ("email", student.email.partition("@")[0]),
                ("github", student.github),
                ("moodle_id", student.moodle_id),
                ("canvas_id", student.more.get("canvas_id", "")),
                *(("name", name) for name in spellings(student.name)),
            ):
                here = self.by.setdefault(column, {}).setdefault(self.key(column, text), [])
                if text and student not in here:
                    here.append(student)
        self.prefix = self.common_prefix(names)

    @staticmethod
    def key(column: str, text: str) -> str:
        """`text` for comparing it in this column."""
        return folded(text) if column == "name" else text.strip().casefold()

    def common_prefix(self, names: list[str]) -> str:
        """What GitHub Classroom puts before the GitHub login in each repository's name."""
        prefixes = Counter(
            name[: -len(github)]
            for name in map(str.casefold, names)
            for github in self.by.get("github", {})
            if github and name.endswith(f"-{github}")
        )
        return prefixes.most_common(1)[0][0] if prefixes else ""

    def matches(self, names: list[tuple[str, str]]) -> list[Student]:
        """The students whom the first of these names that anybody has may mean."""
        for column, text in names:
            columns = [column] if column != "any" else ANY
            for one in columns:
                if found := self.by.get(one, {}).get(self.key(one, text)):
                    return found
            begins = self.prefix and text.casefold().startswith(self.prefix)
            if column == "any" and begins:
                github = text.casefold().removeprefix(self.prefix)
                if found := self.by.get("github", {}).get(github):
                    return found
        return []


ANY = "login", "sis_id", "email", "github", "moodle_id", "canvas_id", "name"


def spellings(name: str) -> set[str]:
    """A name as systems order it: `Ana da Silva`, `Silva, Ana da`, and Canvas's `silvaanada`."""
    words = name.replace(",", " ").split()
    return {" ".join(words[at:] + words[:at]) for at in range(len(words))}


def works_of(
    matched: Matched, due: datetime | None, lab: int, keep: Callable[[str, bytes], None]
) -> dict[str, Work]:
    """{login: what is judged for this student} of all students with a submission.

    keep: is called with the digest and the archive of each folder to judge. Raises UsageError.
    """
    begun = starters(lab)
    read: dict[tuple[int, datetime | None, str], Work] = {}
    found: dict[str, Work] = {}
    for student in matched.students:
        own = matched.by_login.get(student.login, [])
        if len(own) > 1:
            names = ", ".join(one.name for one in own)
            why = msg("several submissions are this student's: {names}. Keep one", names=names)
            found[student.login] = Work(names, refused=why)
        elif own:
            until = due_of(student, due) if due else None
            key = id(own[0]), until, student.language
            if key not in read:
                read[key] = work_of(own[0], until, student.language, begun, keep)
            found[student.login] = read[key]
    share(matched.students, found)
    return found


def share(students: list[Student], found: dict[str, Work]) -> None:
    """Gives partners the submission of the one who handed it in."""
    own = dict(found)
    for student in students:
        group = [login for login in (student.login, *student.partners) if login in own]
        different = {own[login].digest or own[login].handed for login in group}
        if len(different) > 1:
            names = ", ".join(sorted(own[login].handed for login in group))
            found[student.login] = Work(
                names, refused=msg("partners handed in different submissions: {names}", names=names)
            )
        elif student.login not in own and group:
            found[student.login] = own[group[0]]


# -- A copy over a fresh starting folder -----------------------------------------------------------


def starters(lab: int) -> list[Starter]:
    """The lab's starting folders, in each language that it has. Raises UsageError."""
    there = [
        language
        for language in starter.LANGUAGES
        if lab == 7 or (starter.MANIFESTS / f"{lab}-{language}.toml").exists()
    ]
    return [starter.read(lab, language) for language in there]


def work_of(
    handed: Handed,
    due: datetime | None,
    language: str,
    begun: list[Starter],
    keep: Callable[[str, bytes], None],
) -> Work:
    """What is judged of a submission; what is wrong with it is said in the Work."""
    work = Work(handed.name, is_marked_late=handed.is_marked_late)
    try:
        files, notes, work.submitted = handed.read(due)
        work.notes += notes
        files = without_archive(files, work.notes)
        if not files:
            work.is_empty = True
            return work
        one, files = in_a_language(files, [one for one in begun if language in ("", one.language)])
        work.language = one.language
        folder = laid_over(files, one, work.notes)
        work.digest = digest_of(folder)
        keep(work.digest, packed(folder))
    except RefusedError as why:
        work.refused = why.args[0]
    except OSError as error:
        work.refused = msg("it cannot be read: {why}", why=error.strerror or str(error))
    return work


def without_archive(files: dict[str, bytes], notes: list[Message]) -> dict[str, bytes]:
    """The files, with those of an archive among them in its place. Raises RefusedError."""
    archives = [path for path in files if is_archive(path)]
    others = [path for path in files if is_other_archive(path)]
    if any(path.endswith(TEXTS) for path in files) or not archives + others:
        return files
    if len(archives) + len(others) > 1:
        raise RefusedError(
            msg("it holds several archives: {names}", names=", ".join(sorted(archives + others)))
        )
    if others:
        raise RefusedError(msg("{name} is no zip or tar archive", name=others[0]))
    inner, found = files_of(entries_of_archive(archives[0], files[archives[0]]))
    notes += found
    return inner


def in_a_language(
    files: dict[str, bytes], begun: list[Starter]
) -> tuple[Starter, dict[str, bytes]]:
    """The starting folder that these files belong to, and they at their places in it.

    Raises RefusedError.
    """
    found = [(one, placed) for one in begun if (placed := at_their_places(files, one))]
    if len(found) > 1:
        raise RefusedError(
            msg("it holds a server in Python and one in C: name the language in the roster")
        )
    if not found:
        names = sorted({place for one in begun for place in written(one)})
        raise RefusedError(
            msg(
                "it holds none of the lab's files ({names}), but {others}",
                names=", ".join(names),
                others=", ".join(sorted(files)[:5]),
            )
        )
    return found[0]


def written(begun: Starter) -> list[str]:
    """The files in which the lab has something to write."""
    return list(dict.fromkeys(one.file for one in begun.empty))


def at_their_places(files: dict[str, bytes], begun: Starter) -> dict[str, bytes]:
    """The files with their paths as in the starting folder; {} if none of them belongs there.

    A folder around all is taken off. A file in which the lab has something to write is found at any
    depth. Raises RefusedError if there are several.
    """
    places = set(begun.files())
    known = places if begun.language == "c" else places | set(written(begun))
    tops = {
        path[: len(path) - len(place)]
        for path in files
        for place in known
        if path == place or path.endswith(f"/{place}")
    }
    if tops and "" not in tops:
        if len(tops) > 1:
            raise RefusedError(
                msg("it holds several copies of the work: {names}", names=", ".join(sorted(tops)))
            )
        top = tops.pop()
        files = {path.removeprefix(top): data for path, data in files.items()}
    found = dict(files)
    for place in written(begun):
        name = place.rpartition("/")[2]
        if place not in files:
            others = [path for path in files if path.rpartition("/")[2] == name]
            if len(others) > 1:
                raise RefusedError(
                    msg(
                        "it holds several files {name}: {names}", name=name, names=", ".join(others)
                    )
                )
            if others:
                found[place] = found.pop(others[0])
    return found if places & found.keys() else {}


def laid_over(files: Mapping[str, bytes], begun: Starter, notes: list[Message]) -> dict[str, bytes]:
    """A fresh starting folder with these files in it, as {path: bytes}."""
    fresh = {place: text.encode() for place, text in starter.contents(begun).items()}
    given = {path: usual(path, data) for path, data in files.items() if path not in NEVER_RUN}
    if missing := [place for place in written(begun) if place not in given]:
        notes.append(msg("as at the start of the lab: {names}", names=", ".join(missing)))
    return fresh | given


def usual(path: str, data: bytes) -> bytes:
    """A program's text without a byte order mark, and with LF at the ends of its lines."""
    if not path.endswith(TEXTS) or b"\0" in data:
        return data
    return data.removeprefix(BYTE_ORDER_MARK).replace(b"\r\n", b"\n")


def digest_of(folder: Mapping[str, bytes]) -> str:
    """The digest of these files: the same for the same paths and bytes."""
    digest = hashlib.sha256()
    for path, data in sorted(folder.items()):
        for part in path.encode(errors="backslashreplace"), data:
            digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


def packed(folder: Mapping[str, bytes]) -> bytes:
    """A tar.gz of these files, the same bytes for the same files."""
    data = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=data, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, text in sorted(folder.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(text), 0o644
            archive.addfile(member, io.BytesIO(text))
    return data.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of which packed() made an archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}
