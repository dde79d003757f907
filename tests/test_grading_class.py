"""Grading a class: what comes in, who it is of, what lateness costs, and what is judged again."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import need

from harness.driving.server import ROOT
from harness.grading import intake
from harness.grading.archives import MOST_ENTRIES, RefusedError, entries_of_archive, files_of
from harness.grading.downloads import METADATA, submissions_in
from harness.grading.model import End, Student, grade_from
from harness.grading.results import Results
from harness.grading.roster import read_late, read_roster, read_time, students_in
from harness.teaching import starter
from harness.verdicts.model import UsageError

SERVER = "implementations/pthread.py"  # in which lab 3 has something to write


# -- Archives --------------------------------------------------------------------------------------


def zipped(files, kind=zipfile.ZIP_DEFLATED):
    """A zip archive of {name: bytes}, or of [(name or ZipInfo, bytes)]."""
    data = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(data, "w", kind) as archive:
        warnings.simplefilter("ignore")  # a name that occurs twice
        for name, text in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, text)
    return data.getvalue()


def special(name, mode):
    """A member of a zip archive that is no plain file."""
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def tarred(*members, mode="w:gz", **more):
    """A tar archive of (name, bytes) or (name, type)."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode, **more) as archive:
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, str):
                info.size = len(what)
                archive.addfile(info, io.BytesIO(what.encode()))
            else:
                info.type, info.linkname = what, "/etc/passwd"
                archive.addfile(info)
    return data.getvalue()


def read(name, data):
    return files_of(entries_of_archive(name, data))[0]


PLAIN = {
    "a.zip": zipped({"x/server.c": b"1"}),
    "stored.zip": zipped({"x/server.c": b"1"}, zipfile.ZIP_STORED),
    "from windows.zip": zipped({"x\\server.c": b"1"}),
    "a.tar": tarred(("./x/server.c", "1"), ("x/", tarfile.DIRTYPE), mode="w"),
    "A.TAR.GZ": tarred(("x/server.c", "1")),
    "a.tgz": tarred(("x/server.c", "1")),
    "a.tar.bz2": tarred(("x/server.c", "1"), mode="w:bz2"),
    "a.txz": tarred(("x/server.c", "1"), mode="w:xz"),
    "mac.zip": zipped({"x/server.c": b"1", "__MACOSX/x/._server.c": b"", "x/.DS_Store": b""}),
    "with an environment.tar": tarred(
        ("x/server.c", "1"), ("x/.venv/bin/python", tarfile.SYMTYPE), mode="w"
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_an_archive_of_any_kind_is_read(name):
    assert read(name, PLAIN[name]) == {"x/server.c": b"1"}


REFUSED = {
    "dotted.zip": (zipped({"../server.c": b""}), "leads out"),
    "inside.zip": (zipped({"a/../../server.c": b""}), "leads out"),
    "windows.zip": (zipped({"a\\..\\..\\b": b""}), "leads out"),
    "absolute.zip": (zipped({"/etc/cron.d/x": b""}), "absolute"),
    "drive.zip": (zipped({"C:/x": b""}), "absolute"),
    "link.zip": (zipped([(special("l", 0o120777), b"/etc/passwd")]), "is a link"),
    "fifo.zip": (zipped([(special("f", 0o010644), b"")]), "neither a file"),
    "twice.zip": (zipped([("a", b"1"), ("a", b"2")]), "twice"),
    "both.zip": (zipped([("a", b"1"), ("a/b", b"2")]), "twice"),
    "bomb.zip": (zipped({"zeros": bytes(70 << 20)}), "unpack to"),
    "many.zip": (zipped({str(one): b"" for one in range(MOST_ENTRIES + 1)}), "more than"),
    "deep.zip": (zipped({"a/" * 60 + "b": b""}), "too long"),
    "control.zip": (zipped({"a\x1b[2Jb": b""}), "control character"),
    "empty.zip": (b"", "cannot be read"),
    "cut.zip": (PLAIN["a.zip"][:-9], "cannot be read"),
    "no.zip": (b"I forgot my homework", "cannot be read"),
    "dotted.tar": (tarred(("../x", "1"), mode="w"), "leads out"),
    "absolute.tgz": (tarred(("/x", "1")), "absolute"),
    "link.tgz": (tarred(("l", tarfile.SYMTYPE)), "is a link"),
    "hard link.tgz": (tarred(("l", tarfile.LNKTYPE)), "is a link"),
    "fifo.tgz": (tarred(("f", tarfile.FIFOTYPE)), "neither a file"),
    "device.tgz": (tarred(("d", tarfile.CHRTYPE)), "neither a file"),
    "bomb.tgz": (gzip.compress(bytes(80 << 20)), "more than"),
    "bomb.tar.bz2": (bz2.compress(bytes(80 << 20)), "more than"),
    "bomb.tar.xz": (lzma.compress(bytes(80 << 20)), "more than"),
    "header.tgz": (
        tarred(("x", "1"), format=tarfile.PAX_FORMAT, pax_headers={"c": "0" * (80 << 20)}),
        "more than",
    ),
    "cut.tgz": (PLAIN["a.tgz"][:-20], "cannot be read"),
    "no.tar": (b"x" * 2000, "cannot be read"),
    "empty.tar": (b"", "cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_submission_may_hold_is_refused(name):
    data, why = REFUSED[name]
    with pytest.raises(RefusedError, match=why):
        read(name, data)


def test_names_that_old_programs_wrote_are_read():
    assert read("a.zip", zipped({"relatório.txt": b""})) == {"relatório.txt": b""}
    latin = tarred(("relat\udcf3rio.txt", ""), mode="w", encoding="utf-8", errors="surrogateescape")
    assert read("a.tar", latin) == {"relatório.txt": b""}


def test_a_large_file_is_left_out_with_a_note():
    files, notes = files_of(entries_of_archive("a.zip", zipped({"v.mp4": os.urandom(2 << 20)})))
    assert files == {} and "v.mp4" in notes[0]


# -- A copy over a fresh starting folder -----------------------------------------------------------


def laid(files, lab=3, language=""):
    """(the Work, the folder that is judged) of a submission with these files."""
    kept = {}

    class Handed:
        name = "ana"
        is_marked_late = False

        @staticmethod
        def read(due):
            return dict(files), [], None

    work = intake.work_of(Handed, None, language, intake.starters(lab), kept.__setitem__)
    return work, intake.unpacked(kept[work.digest]) if work.digest else None


def solved(lab=3, language="python"):
    """{file: bytes} of a folder in which the lab is done."""
    begun = starter.read(lab, language)
    return {place: path.read_bytes() for place, path in begun.files().items()}


@pytest.mark.parametrize("top", ["", "lab3/", "ana/grupo lab 3/"])
def test_only_what_was_written_is_enough_at_any_depth(top):
    fresh = starter.contents(starter.read(3))
    work, folder = laid({f"{top}{SERVER}": b"# mine"})
    assert folder == {name: text.encode() for name, text in fresh.items()} | {SERVER: b"# mine"}
    assert work.language == "python" and not work.refused


def test_a_file_at_the_wrong_depth_is_found_if_its_name_is_unique():
    _, right = laid({SERVER: b"# mine"})
    assert laid({"pthread.py": b"# mine"})[1] == right
    assert laid({"report.txt": b"", "old/pthread.py": b"# mine"})[1][SERVER] == b"# mine"
    work, folder = laid({"a/pthread.py": b"1", "b/pthread.py": b"2"})
    assert folder is None and "several files pthread.py" in work.refused
    work, folder = laid({f"a/{SERVER}": b"1", f"b/{SERVER}": b"2"})
    assert folder is None and "several copies" in work.refused


def test_byte_order_marks_and_line_ends_of_windows_make_no_other_submission():
    plain, _ = laid({SERVER: b"a = 1\nb = 2\n"})
    windows, _ = laid({SERVER: b"\xef\xbb\xbfa = 1\r\nb = 2\r\n"})
    assert plain.digest == windows.digest
    other, folder = laid({SERVER: b"a", "data.bin": b"\r\n"})
    assert folder["data.bin"] == b"\r\n" and other.digest != plain.digest


def test_the_same_work_is_the_same_submission_whatever_is_around_it():
    plain, _ = laid({SERVER: b"# mine"})
    whole = {SERVER: b"# mine", "Makefile": b"GRUPO := /home/ana", "README.md": b"# Lab 3"}
    assert laid({f"lab3/{name}": text for name, text in whole.items()})[0].digest == plain.digest


def test_an_archive_in_the_submission_is_unpacked_if_there_is_but_one():
    inner = zipped({f"lab3/{SERVER}": b"# mine"})
    assert laid({"lab3.zip": inner, "report.pdf": b""})[1][SERVER] == b"# mine"
    assert "several archives" in laid({"a.zip": inner, "b.zip": inner})[0].refused
    assert "no zip or tar" in laid({"lab3.rar": b""})[0].refused
    assert "cannot be read" in laid({"lab3.zip": b""})[0].refused


def test_what_cannot_be_decided_is_said():
    assert laid({})[0].is_empty
    assert "none of the lab's files (implementations/pthread.py, server.c)" in (
        laid({"report.pdf": b""})[0].refused
    )
    both = {SERVER: b"1", "server.c": b"2"}
    assert "name the language" in laid(both)[0].refused
    assert laid(both, language="c")[0].language == "c"
    assert laid(both, language="python")[0].language == "python"


def test_a_lab_without_a_starting_folder_is_not_graded():
    with pytest.raises(UsageError, match="lab 7"):
        intake.starters(7)


# -- Downloads -------------------------------------------------------------------------------------

ROSTER = students_in(
    "login,name,sis_id,email,moodle_id,github,id\n"
    'ana,"Souza, Ana Júlia",1001,ana@x.edu,Participant 71,ana-gh,901\n'
    "ben,Ben O'Neil,1002,ben@x.edu,72,ben-gh,902\n"
    "zoë,Zoë Åkesson,1003,zoe@x.edu,73,zoe,903\n"
)
WORK = {SERVER: b"# mine"}


def put_files(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def matched(place, students=ROSTER):
    """({login: digest or why refused}, [what is nobody's]) of what is there."""
    found = intake.with_roster(submissions_in(place), students)
    works = intake.works_of(found, None, 3, lambda digest, data: None)
    return (
        {login: work.digest or work.refused or "empty" for login, work in works.items()},
        [name for name, _ in found.unmatched],
    )


MINE = laid(WORK)[0].digest

DOWNLOADS = {
    "canvas": (
        {
            "souzaanajúlia_901_5551_pthread-2.py": b"# mine",
            "oneilben_LATE_902_5552_lab3.zip": zipped(WORK),
            "åkessonzoë_999_5553_pthread.py": b"# mine",  # a user id that the roster lacks
            "doejane_800_5554_pthread.py": b"# mine",
        },
        ["doejane_800"],
    ),
    "moodle": (
        {
            f"Ana Júlia Souza_71_assignsubmission_file_/{SERVER}": b"# mine",
            "Ben O'Neil_72_assignsubmission_file_pthread.py": b"# mine",
            "Zoe Akesson_5_assignsubmission_file/lab3.tar.gz": tarred((SERVER, "# mine")),
            "Jane Doe_80_assignsubmission_file_/pthread.py": b"# mine",
        },
        ["Jane Doe_80"],
    ),
    "gradescope": (
        {
            f"assignment_1_export/submission_1/{SERVER}": b"# mine",
            f"assignment_1_export/submission_3/{SERVER}": b"# mine",
            f"assignment_1_export/{METADATA}": b"""---
submission_1:
  :submitters:
  - :name: Ana Souza
    :sid: '1001'
    :email: ana@x.edu
  - :name: Ben
    :email: BEN@x.edu
  :created_at: 2026-11-30 18:00:00.123456789 Z
submission_3:
  :submitters:
  - :name: "Akesson Zo\xc3\xab"
  :created_at: 2026-11-30 18:00:00 Z
""",
        },
        [],
    ),
    "plain": (
        {
            f"ana/{SERVER}": b"# mine",
            "Ben@x.edu.zip": zipped(WORK),
            f"zoë/lab 3/{SERVER}": b"# mine",
            "notes.txt": b"",
        },
        ["notes.txt"],
    ),
    "classroom": (
        {f"lab-3-{name}/{SERVER}": b"# mine" for name in ("ana-gh", "ben-gh", "zoe", "doe")},
        ["lab-3-doe"],
    ),
}


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("system", DOWNLOADS)
def test_the_downloads_of_school_systems_are_recognized(system, form, tmp_path):
    files, nobodys = DOWNLOADS[system]
    place = tmp_path / "download"
    if form == "folder":
        put_files(place, files)
    else:
        place = tmp_path / "download.zip"
        place.write_bytes(zipped(files))
    assert matched(place) == (dict.fromkeys(("ana", "ben", "zoë"), MINE), nobodys)


def test_gradescope_says_when_and_canvas_says_that_it_is_late(tmp_path):
    put_files(tmp_path / "g", DOWNLOADS["gradescope"][0])
    put_files(tmp_path / "c", DOWNLOADS["canvas"][0])
    times = {one.read(None)[2] for one in submissions_in(tmp_path / "g")}
    assert read_time("2026-11-30 18:00:00+00:00") in times
    assert {one.name for one in submissions_in(tmp_path / "c") if one.is_marked_late} == {
        "oneilben_902"
    }


def test_a_folder_around_all_and_a_tar_archive_of_all(tmp_path):
    files = {f"hand-ins/{name}/{SERVER}": "# mine" for name in ("ana", "ben")}
    (tmp_path / "all.tar.gz").write_bytes(tarred(*files.items()))
    put_files(tmp_path / "all", {name: text.encode() for name, text in files.items()})
    for name in "all.tar.gz", "all":
        assert matched(tmp_path / name) == ({"ana": MINE, "ben": MINE}, [])


def test_two_submissions_of_one_student_are_not_chosen_from(tmp_path):
    put_files(tmp_path, {f"ana/{SERVER}": b"1", "ana.zip": zipped(WORK), f"ben/{SERVER}": b"2"})
    works, _ = matched(tmp_path)
    assert "several submissions" in works["ana"] and len(works["ben"]) == 64


def test_a_submission_that_may_be_of_two_is_nobodys(tmp_path):
    students = students_in("login,name\na1,Ana Souza\na2,Ana Souza\n")
    put_files(tmp_path, {f"Ana Souza/{SERVER}": b"1"})
    assert matched(tmp_path, students) == ({}, ["Ana Souza"])


def test_partners_share_a_submission(tmp_path):
    students = students_in("login,partners\nana,ben\nben,\nzoë,\neva,zoë\n")
    put_files(
        tmp_path, {f"ana/{SERVER}": b"# mine", f"zoë/{SERVER}": b"1", f"eva/{SERVER}": b"2"}
    )
    works, _ = matched(tmp_path, students)
    assert works["ana"] == works["ben"] == MINE
    assert "different" in works["zoë"] and "different" in works["eva"]


def test_one_students_odd_folder_is_nobody_elses_trouble(tmp_path):
    put_files(tmp_path, {f"ana/{SERVER}": b"# mine", "ben/x": b""})
    os.symlink("/etc/passwd", tmp_path / "ben" / "link")
    os.mkfifo(tmp_path / "zoë")
    works, _ = matched(tmp_path)
    assert works["ana"] == MINE
    assert "link is a link" in works["ben"] and "neither a file" in works["zoë"]


def test_bad_paths_in_the_archive_of_all_are_that_students_matter(tmp_path):
    bad = [(f"ana/{SERVER}", b"# mine"), ("ben/../../x", b""), ("zoë", b"")]
    (tmp_path / "all.zip").write_bytes(zipped([*bad, (special("zoë/l", 0o120777), b"")]))
    works, _ = matched(tmp_path / "all.zip")
    assert works["ana"] == MINE and "leads out" in works["ben"] and "link" in works["zoë"]


@pytest.mark.parametrize(
    "place, why",
    [("none", "no such folder"), ("file.txt", "neither a folder"), ("one", "is one submission")],
)
def test_what_is_no_folder_of_submissions_is_said_in_a_line(place, why, tmp_path):
    put_files(tmp_path, {"file.txt": b"", f"one/{SERVER}": b"", "one/Makefile": b""})
    with pytest.raises(UsageError, match=why):
        submissions_in(tmp_path / place)
