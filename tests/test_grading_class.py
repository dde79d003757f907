"""Grading a class: what comes in, whose it is, what lateness costs, and what is judged again."""

import bz2
import contextlib
import csv
import gzip
import importlib.util
import io
import json
import lzma
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import warnings
import zipfile
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from conftest import lacks, need
from sixty import make as make_sixty

from harness import __main__
from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT
from harness.grading import intake
from harness.grading.archives import MOST_ENTRIES, RefusedError, entries_of_archive, files_of
from harness.grading.downloads import METADATA, submissions_in
from harness.grading.judge import Outcome
from harness.grading.model import End, Student, grade_from
from harness.grading.results import Results
from harness.grading.roster import read_late, read_roster, read_time, students_in
from harness.grading.run import LIMIT, Run, Terms
from harness.teaching import starter
from harness.verdicts import pool
from harness.verdicts.model import UsageError
from harness.verdicts.rubric import Rubric

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
    whole = {SERVER: b"# mine", "Makefile": b"GRUPO := ../grupo", "README.md": b"# Lab 3"}
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
    put_files(tmp_path, {f"ana/{SERVER}": b"# mine", f"zoë/{SERVER}": b"1", f"eva/{SERVER}": b"2"})
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


def test_an_archive_of_archives_and_files_that_are_no_submissions(tmp_path):
    inner = zipped(WORK)
    (tmp_path / "all.zip").write_bytes(zipped({"ana.zip": inner, "ben/lab3.zip": inner}))
    assert matched(tmp_path / "all.zip") == ({"ana": MINE, "ben": MINE}, [])
    put_files(tmp_path / "class", {"ana.zip": inner, "roster.csv": b"", "results/ana/x": b""})
    place = tmp_path / "class"
    handed = submissions_in(place, [place / "results"])
    found = intake.without_roster(handed)
    assert [one.login for one in found.students] == ["ana"]
    assert [name for name, _ in found.unmatched] == ["roster.csv"]


@pytest.mark.parametrize(
    "place, why",
    [("none", "no such folder"), ("file.txt", "neither a folder"), ("one", "is one submission")],
)
def test_what_is_no_folder_of_submissions_is_said_in_a_line(place, why, tmp_path):
    put_files(tmp_path, {"file.txt": b"", f"one/{SERVER}": b"", "one/Makefile": b""})
    with pytest.raises(UsageError, match=why):
        submissions_in(tmp_path / place)


# -- The roster ------------------------------------------------------------------------------------


def test_a_roster_is_read_as_schools_export_it(tmp_path):
    files = {
        "plain": "login,name,sis_id\nana,Ana Júlia,7\n",
        "semicolons, a mark, Portuguese": "\ufeffUsuário;Nome completo;Matrícula\r\n"
        "ana;Ana Júlia;7\r\n;;\r\n",
        "tabs, accents decomposed": "Login\tFull Name\tStudent ID\nana\tAna Ju\u0301lia\t7\n",
        "Canvas": "Student,ID,SIS User ID,SIS Login ID,Section\n    Points Possible,,,,\n"
        '"Ana Júlia",5,7,ana,\n"Student, Test",9,,,\n',
        "first and last": "First name,Surname,Username,ID number\nAna,Júlia,ana,7\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        (student,) = read_roster(tmp_path / name)
        assert (student.login, student.name, student.sis_id) == ("ana", "Ana Júlia", "7"), name


def test_a_roster_keeps_what_nobody_knows_and_makes_partners_mutual():
    ana, ben, eva = students_in(
        "login,extension,language,partners,seat\nana,2.5,Py,BEN,A7\nben,2026-12-01,C,,\neva,,,,\n"
    )
    assert ana.more == {"seat": "A7"} and ana.extension == 2.5 and ana.language == "python"
    assert ben.extension == read_time("2026-12-01 23:59:59") and ben.language == "c"
    assert (ana.partners, ben.partners, eva.partners) == (["ben"], ["ana"], [])


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "none of them is `login`"),
        ("name\nAna\n", "none of them is `login`: name"),
        ("login\n", "no student"),
        ("login\nana\n\nANA\n", "line 4 has the login ANA, which line 2 has"),
        ("login,name\n,Ana\n", "line 2 has no login"),
        ("login\nana,7\n", "line 2 has more cells"),
        ("login,login\na,b\n", "two columns"),
        ("login\n../ana\n", "line 2: '../ana' cannot be a login"),
        ("login,language\nana,rust\n", "line 2: the language is python or c"),
        ("login,extension\nana,soon\n", "line 2: soon is no time"),
        ("login,partners\nana,ben\n", "ben, a partner of ana"),
        ('login,name\nana,"A\n', "line 2"),
    ],
)
def test_what_is_wrong_with_a_roster_is_said_in_a_line(text, why, tmp_path):
    (tmp_path / "roster.csv").write_text(text)
    with pytest.raises(UsageError, match=f"roster.csv: .*{why}") as error:
        read_roster(tmp_path / "roster.csv")
    assert "\n" not in str(error.value)


def test_a_roster_in_another_encoding_or_none_at_all(tmp_path):
    (tmp_path / "excel.csv").write_bytes("login;nome\nana;João\n".encode("cp1252"))
    for name, why in ("excel.csv", "line 2 is not UTF-8"), ("none.csv", "No such file"):
        with pytest.raises(UsageError, match=why):
            read_roster(tmp_path / name)


@pytest.mark.parametrize(
    "rule, hours, points",
    [
        ("10%/day", 0, 0),
        ("10%/day", 0.1, 5),
        ("10%/day", 24, 5),
        ("10%/day", 24.1, 10),
        ("10% per day, grace 15 min", 0.25, 0),
        ("10%/day, grace 15 min", 0.26, 5),
        ("10%/day, cap 25%", 1000, 12.5),
        ("2 points/hour, cap 7", 3, 6),
        ("2 points per hour , CAP 7 points", 30, 7),
        ("100%/week", 1, 50),
        ("3/day", 10000, 50),
    ],
)
def test_lateness_costs_what_the_rule_says(rule, hours, points):
    assert read_late(rule).deduction(timedelta(hours=hours), 50) == points


@pytest.mark.parametrize("rule", ["", "10%", "-1%/day", "10%/day,", "10%/day, cap 1, cap 2", "x"])
def test_a_rule_that_is_none_is_refused(rule):
    with pytest.raises(UsageError, match="is no rule: write it as 10%/day"):
        read_late(rule)


# -- Git clones ------------------------------------------------------------------------------------


def git(folder, *words, **env):
    subprocess.run(
        ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@x", *words],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **env},
        check=True,
        capture_output=True,
    )


def clone(folder, *commits):
    """A repository with a commit for each (time, text of the server)."""
    need("git")
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    for at, text in commits:
        put_files(folder, {SERVER: text})
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "x", GIT_COMMITTER_DATE=at, GIT_AUTHOR_DATE=at)


def test_of_a_clone_the_last_commit_before_the_due_time_is_taken(tmp_path):
    times = [f"2026-11-{day}T12:00:00+00:00" for day in (10, 20, 28)]
    clone(tmp_path / "lab3-ana", *zip(times, (b"1", b"2", b"3")))
    (tmp_path / "lab3-ana" / SERVER).write_bytes(b"not committed")
    (one,) = submissions_in(tmp_path)
    for due, text in (None, b"3"), ("2026-11-20 12:00+00:00", b"2"), ("2026-11-19", b"1"):
        files, notes, _ = one.read(read_time(due) if due else None)
        assert files == {SERVER: text}
    assert "commits after it: 2" in notes[-1]
    files, _, submitted = one.read(read_time("2026-01-01"))
    assert files == {SERVER: b"3"} and submitted == read_time(times[2])  # late


def test_a_clone_runs_nothing_of_its_own(tmp_path):
    ana = tmp_path / "class" / "ana"
    clone(ana, ("2026-11-10T12:00:00+00:00", b"1"))
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $0 >> {ran}\ncat\n")
    program.chmod(0o755)
    put_files(ana, {".gitattributes": b"* filter=x diff=x\n"})
    git(ana, "add", "-A")
    git(ana, "commit", "-qm", "x")
    for name in "filter.x.smudge", "filter.x.process", "core.fsmonitor", "core.pager", "log.x":
        git(ana, "config", name, str(program))
    git(ana, "config", "remote.o.url", f"ext::{program}")
    git(ana, "config", "remote.o.promisor", "true")
    git(ana, "config", "extensions.partialClone", "o")
    ran.unlink(missing_ok=True)
    blob = subprocess.check_output(
        ["git", "-C", ana, "rev-parse", f"HEAD:{SERVER}"], text=True
    ).strip()
    (one,) = submissions_in(ana.parent)
    assert one.read(None)[0][SERVER] == b"1"
    (ana / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(RefusedError, match="git cannot read it"):
        one.read(None)
    assert not ran.exists()


def test_a_link_in_a_clone_and_a_broken_clone_are_findings(tmp_path):
    clone(tmp_path / "ana", ("2026-11-10T12:00:00+00:00", b"1"))
    os.symlink("/etc/passwd", tmp_path / "ana" / "l")
    git(tmp_path / "ana", "add", "-A")
    git(tmp_path / "ana", "commit", "-qm", "x")
    put_files(tmp_path / "ben", {".git/HEAD": b"?", SERVER: b"1"})
    works, _ = matched(tmp_path)
    assert "l is a link" in works["ana"] and "git cannot read it" in works["ben"]


# -- What is judged, and what is not judged again --------------------------------------------------

VERDICT = {"check": "starts", "verdict": "passed", "binds": True, "failure": None, "why": ""}


def outcome(points=10.0, verdict="passed", **more):
    """An Outcome as the judge gives it."""
    report = {
        "graded": verdict != "inconclusive",
        "score": points,
        "most": 10.0,
        "student": "",
        "verdicts": [{**VERDICT, "verdict": verdict}],
    }
    return Outcome(**{"end": "judged", "report": report, "html": "page", "tier": "A", **more})


class Engine:
    """Says of each submission what `answers` has for its digest, the next each time; 10 points if
    nothing. Stops as a killed run does before the job of this number.
    """

    room = 1

    def __init__(self, answers=(), stop_at=None):
        self.answers = {digest: list(more) for digest, more in dict(answers).items()}
        self.judged, self.lonely, self.stop_at = [], [], stop_at

    def run(self, jobs):
        for digest, job in jobs:
            if len(self.judged) == self.stop_at:
                raise KeyboardInterrupt
            self.judged.append(digest)
            yield digest, self.answer(job)

    def alone(self, job):
        digest = intake.digest_of(intake.unpacked(job.folder))
        self.lonely.append(digest)
        return self.answer(job)

    def answer(self, job):
        more = self.answers.get(intake.digest_of(intake.unpacked(job.folder)))
        return more.pop(0) if more else outcome()


class Shown:
    """Keeps what the teacher is shown."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)

    def started(self):
        pass

    def ended(self, names, grade, is_settled):
        pass


@pytest.fixture
def graded(tmp_path):
    """graded({login: text of the server}, engine) -> ({login: Grade}, lines shown): a run over a
    class, in the same folder of results each time.
    """

    def graded(texts, engine, students=None, again=False, **terms):
        place = Path(tempfile.mkdtemp(dir=tmp_path))
        put_files(place, {f"{login}/{SERVER}": text for login, text in texts.items()})
        roster = students or [Student(login) for login in texts]
        found = intake.with_roster(submissions_in(place), roster)
        shown = Shown()
        values = dict(lab=3, begun=intake.starters(3), rubric=Rubric(), rubric_digest="r")
        values |= dict(checks="c", tier="A", deadline=10.0, seed="", workers=1, lang="en")
        values |= dict(due=None, late=None)
        with Results(tmp_path / "results") as results:
            works = intake.works_of(found, None, 3, results.keep)
            run = Run(Terms(**{**values, **terms}), results, shown)
            run.plan(roster, works, again, bool(found.unmatched))
            try:
                run.judge(engine)
            except KeyboardInterrupt:
                pass
            known = {one.login: results.grade(one.login, with_report=True) for one in roster}
        return known, shown.lines

    return graded


def digest(text):
    """The digest of a submission with this text."""
    return laid({SERVER: text})[0].digest


A, B, C = (digest(text) for text in (b"a", b"b", b"c"))


def test_what_is_judged_is_not_judged_again_and_the_same_only_once(graded):
    texts = {"ana": b"a", "ben": b"b", "eva": b"a"}
    first, second = Engine({B: [outcome(7.0)]}), Engine()
    known, _ = graded(texts, first)
    assert sorted(first.judged) == sorted([A, B])
    assert [known[login].points for login in texts] == [10, 7, 10]
    assert known["eva"].report["student"] == "eva"
    assert graded(texts, second) == (known, []) and second.judged == []
    third = Engine()
    graded({**texts, "ben": b"c", "leo": b"a"}, third)
    assert third.judged == [C]


@pytest.mark.parametrize("change", [{"checks": "d"}, {"rubric_digest": "s"}, {"tier": "B"}])
def test_other_terms_are_another_grade(graded, change):
    graded({"ana": b"a"}, Engine())
    engine = Engine({A: [outcome(9.0, tier=change.get("tier", "A"))]})
    known, lines = graded({"ana": b"a"}, engine, **change)
    assert engine.judged == [A] and known["ana"].points == 9
    assert lines[0].startswith("ana: 10 of 10 -> 9 of 10 (") and "another" in lines[0] + " another"


def test_a_run_that_was_killed_goes_on_where_it_was(graded):
    texts = {f"s{number}": str(number).encode() for number in range(5)}
    first, second = Engine(stop_at=3), Engine()
    known, _ = graded(texts, first)
    assert [grade is None for grade in known.values()].count(True) == 2
    known, _ = graded(texts, second)
    assert len(second.judged) == 2 and not set(first.judged) & set(second.judged)
    assert all(grade.points == 10 for grade in known.values())


def test_what_could_not_be_judged_is_tried_again_alone_and_then_needs_a_look(graded):
    unsure, fault = outcome(5.0, "inconclusive"), Outcome("fault", why="it broke", tier="A")
    engine = Engine({A: [unsure, outcome()], B: [fault, unsure, unsure], C: [fault] * 9})
    known, _ = graded({"ana": b"a", "ben": b"b", "cem": b"c", "eva": b"d"}, engine)
    assert len(engine.judged) == 4 and engine.lonely == [A, B, C, B, C]
    assert known["ana"].points == 10 and known["ana"].attempts == 2
    for login, why in ("ben", "could not be judged: starts"), ("cem", "it broke"):
        assert known[login].end == End.LOOK and known[login].final is None
        assert known[login].why == why
    again = Engine()
    graded({"ana": b"a", "ben": b"b", "cem": b"c", "eva": b"d"}, again)
    assert again.judged == again.lonely == []


def test_a_run_that_was_killed_before_it_tried_again_does_that_first(graded):
    engine = Engine({A: [outcome(5.0, "inconclusive")]}, stop_at=1)
    known, _ = graded({"ana": b"a", "ben": b"b"}, engine)
    assert known["ana"].end == End.LOOK and known["ana"].attempts == 1
    engine = Engine()
    known, _ = graded({"ana": b"a", "ben": b"b"}, engine)
    assert engine.judged == [B] and engine.lonely == [A]
    assert known["ana"].points == 10


def test_a_submission_that_took_all_of_its_time_is_not_tried_again(graded):
    engine = Engine({A: [Outcome("fault", why="too long", seconds=LIMIT * 10.0)]})
    known, _ = graded({"ana": b"a"}, engine)
    assert engine.lonely == [] and known["ana"].why == "too long"


def test_a_regrade_says_whose_verdict_changed_and_why(graded):
    texts = {"ana": b"a", "ben": b"b"}
    graded(texts, Engine())
    cause = {"cause": "a race"}
    failed = outcome(4.0, "failed")
    failed.report["verdicts"][0]["failure"] = cause
    engine = Engine({B: [failed]})
    known, lines = graded(texts, engine, again=True)
    assert sorted(engine.judged) == sorted([A, B])
    assert lines == [
        "ben: 10 of 10 -> 4 of 10 (judged again)",
        "  starts: passed -> failed: a race",
    ]


def test_a_regrade_that_needs_two_tries_tells_of_the_last(graded):
    graded({"ana": b"a"}, Engine())
    _, lines = graded({"ana": b"a"}, Engine({A: [outcome(5.0, "inconclusive")]}), again=True)
    assert lines == []


def test_nobody_loses_a_grade_for_want_of_a_submission_now(graded):
    roster = [Student("ana"), Student("ben")]
    graded({"ana": b"a", "ben": b"b"}, Engine(), roster)
    known, lines = graded({"ben": b"b"}, Engine(), roster)
    assert known["ana"].points == 10 and lines == [
        "ana: no submission now. The grade of the earlier one stays"
    ]


def test_nothing_handed_in_is_0_only_if_that_is_sure(graded):
    roster = [Student("ana"), Student("ben", extension=read_time("2099-01-01"))]
    known, _ = graded({}, Engine(), roster, due=read_time("2026-01-01"))
    assert [(one.end, one.final) for one in known.values()] == [
        (End.NOTHING, 0),
        (End.NOTHING, None),
    ]
    known, _ = graded({"somebody": b"a"}, Engine(), roster)
    assert [one.final for one in known.values()] == [None, None]


def test_a_half_written_grade_is_judged_again(graded, tmp_path):
    graded({"ana": b"a"}, Engine())
    path = tmp_path / "results" / "ana" / "grade.json"
    whole = path.read_text()
    for text in "", whole[:-20], "[]", '{"end": 1}':
        path.write_text(text)
        engine = Engine()
        graded({"ana": b"a"}, engine)
        assert engine.judged == [A]
    assert grade_from(json.loads(path.read_text())) == grade_from(json.loads(whole))


def test_names_of_all_kinds_have_a_folder_of_their_own(tmp_path):
    names = ["ana", "José Ñandú", "o'neil", 'a"b', "a b", "..", ".hidden", "%2E", "-rf", "a@x.edu"]
    with Results(tmp_path / "r") as results:
        places = [results.place(name) for name in names]
        assert len(set(places)) == len(names)
        assert all(place.parent == results.folder and place.name[0] != "." for place in places)
        for place in places:
            place.mkdir()


def test_the_second_grader_in_a_folder_is_refused(tmp_path):
    with Results(tmp_path / "r"):
        with pytest.raises(UsageError, match="another run grades into"):
            Results(tmp_path / "r")
    with Results(tmp_path / "r"):
        pass


# -- Sixty students, and what may happen meanwhile -------------------------------------------------

SIXTY = Path(__file__).with_name("sixty.py")


@pytest.fixture
def orphans_are_ours():
    """What the test started is a descendant of this process, whatever its parents do; in the end
    nothing of it is left.
    """
    pool.adopt()
    before = {child.pid for child in psutil.Process().children()}

    def left():
        found = [one for one in psutil.Process().children(recursive=True) if one.pid not in before]
        for one in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(one.pid, os.WNOHANG)
        return [one for one in found if one.is_running()]

    yield
    try:
        wait_until(lambda: not left(), 20, "no process to be left")
    finally:
        pool.end_descendants(of=lambda child: child.pid not in before)


@pytest.fixture
def sixty(tmp_path, orphans_are_ours):
    """sixty(out, *arguments) starts `grade` over the class of sixty."""
    make_sixty(tmp_path / "submissions")

    def start(out, *arguments):
        return subprocess.Popen(
            [sys.executable, SIXTY, "grade", tmp_path / "submissions", "--lab", "0"]
            + ["--roster", tmp_path / "roster.csv", "--out", tmp_path / out]
            + ["--deadline", "4", "--lang", "en", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def ended(process):
    """(exit status, all that it printed)."""
    told, _ = process.communicate(timeout=800)
    return process.returncode, told


def ends(folder):
    """{login: how the student ended} of a folder of results."""
    found = [grade_from(json.loads(path.read_text())) for path in folder.glob("*/grade.json")]
    return {one.login: (one.end, one.points, one.possible, one.why) for one in found}


@contextlib.contextmanager
def cluster():
    """(address of the scheduler, function that kills a worker)."""
    process = subprocess.Popen(
        [sys.executable, SIXTY, "cluster"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    address = process.stdout.readline().strip()

    def workers():
        return [
            one
            for one in psutil.Process(process.pid).children()
            if "dask_worker" in " ".join(one.cmdline())
        ]

    def kill_a_worker(number):
        found = wait_until(workers, what="a worker")
        with contextlib.suppress(psutil.NoSuchProcess):
            found[number % len(found)].kill()

    try:
        yield address, kill_a_worker
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@pytest.mark.long
@pytest.mark.soak  # it takes many minutes
@pytest.mark.timeout(900)
def test_the_sixty_end_alike_however_often_something_is_killed(sixty, tmp_path):
    if importlib.util.find_spec("distributed") is None:
        lacks("Dask is not installed (make install-cluster)")
    status, told = ended(sixty("embedded", "--jobs", "2"))
    assert status == 3, told
    whole = ends(tmp_path / "embedded")
    assert len(whole) == 64
    table = (tmp_path / "embedded" / "grades.csv").read_bytes()
    with cluster() as (address, kill_a_worker):
        status, told = ended(sixty("cluster", "--scheduler", address))
        assert status == 3, told
        assert ends(tmp_path / "cluster") == whole
        for number in range(10):
            if number % 2 == 0:
                driver = sixty("killed", "--scheduler", address)
            before = len(ends(tmp_path / "killed"))
            is_further = lambda: len(ends(tmp_path / "killed")) > before
            wait_until(lambda: is_further() or driver.poll() is not None, 120, "one more grade")
            kill_a_worker(number)
            if number % 2:
                driver.kill()
                driver.communicate()
        status, told = ended(sixty("killed", "--scheduler", address))
        assert status == 3, told
    assert ends(tmp_path / "killed") == whole
    for name in "cluster", "killed":
        assert (tmp_path / name / "grades.csv").read_bytes() == table


# -- A class of 14, as it was graded by hand -------------------------------------------------------


def fourteen(folder):
    """The submissions of lab 3 of which the documented recipe lost five."""
    right_in_c = (ROOT / "tests/strangers/threads.c").read_text()
    found = tomllib.loads((ROOT / "lab_guide/exhibits/delivery-outside-the-lock.toml").read_text())
    right = (ROOT / SERVER).read_text()
    files = {
        f"right/{SERVER}": right,
        "right-c/server.c": right_in_c,
        f"race/{SERVER}": right.replace(found["old"], found["new"]),
        **{f"untouched/{name}": text for name, text in starter.contents(starter.read(3)).items()},
        "fault/server.c": at_start(right_in_c, "*(volatile int *)0 = 1;"),
        f"daemon/{SERVER}": "import subprocess\nsubprocess.Popen(['sleep', '1000'], "
        f"start_new_session=True)\n{right}",
        f"spins/{SERVER}": f"while True:\n    pass\n{right}",
        "no-compile/server.c": right_in_c.replace("int main(", "int main[", 1),
        f"syntax/{SERVER}": right.replace("def ", "dfe ", 1),
        "alone/pthread.py": right,
    }
    put_files(folder, {name: text.encode() for name, text in files.items()})
    (folder / "empty").mkdir()
    (folder / "packed.zip").write_bytes(zipped({f"lab3/{SERVER}": right.encode()}))
    (folder / "linked").mkdir()
    os.symlink("/etc/passwd", folder / "linked" / "server.c")
    logins = [*dict.fromkeys(name.partition("/")[0] for name in files)]
    logins += ["empty", "packed", "linked", "absent"]
    folder.with_name("roster.csv").write_text("\n".join(["login", *logins]) + "\n")


def at_start(text, statement):
    """A program in C whose main() begins with a statement."""
    lines = text.split("\n")
    start, _ = starter.c_span(text, "main")
    return "\n".join([*lines[:start], statement, *lines[start:]])


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_class_of_14_is_graded_with_one_command(tmp_path, orphans_are_ours):
    fourteen(tmp_path / "submissions")
    status, told = ended(
        subprocess.Popen(
            [sys.executable, SIXTY, "grade", tmp_path / "submissions", "--lab", "3"]
            + ["--roster", tmp_path / "roster.csv", "--out", tmp_path / "results", "--lang", "en"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    )
    assert status == 3, told
    found = ends(tmp_path / "results")
    assert len(found) == 14
    right = found["right"][1]
    assert [found[login][:2] for login in ("right", "alone", "packed")] == [(End.GRADED, right)] * 3
    assert right == found["right"][2] and found["right-c"][1] == found["right-c"][2]
    for login in "race", "untouched":
        assert found[login][0] == End.GRADED and found[login][1] < right, (login, found[login])
    assert [found[login][:2] for login in ("fault", "spins")] == [(End.GRADED, 0)] * 2
    for login, why in (
        ("no-compile", "does not compile"),
        ("syntax", "line"),
        ("empty", "is empty"),
    ):
        assert found[login][:2] == (End.NOT_BUILT, 0) and why in found[login][3]
    for login, why in ("daemon", "left processes behind"), ("linked", "is a link"):
        assert found[login][:2] == (End.LOOK, None) and why in found[login][3]
    assert found["absent"][:2] == (End.NOTHING, 0)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results" / "grades.csv").read_text())))
    assert len(rows) == 14


# -- The command -----------------------------------------------------------------------------------


@pytest.fixture
def grade(tmp_path, capsys):
    """grade(*arguments) -> (exit status, stdout, stderr) of `grade --sandbox none`, here."""

    def grade(*arguments):
        argv = ["grade", "--lang", "en", "--sandbox", "none", "--out", tmp_path / "results"]
        try:
            status = __main__.main([*map(str, argv), *map(str, arguments)])
        except SystemExit as misuse:
            status = misuse.code
        told, said = capsys.readouterr()
        return status, told, said

    return grade


@pytest.mark.parametrize(
    "arguments, why",
    [
        (["--lab", "3"], "name the folder of submissions"),
        (["none", "--lab", "3"], "no such folder"),
        (["class", "--lab", "7"], "lab 7"),
        (["class", "--lab", "3", "--late", "10%/day"], "--late needs --due"),
        (["class", "--lab", "3", "--late", "10%", "--due", "2026-11-30"], "is no rule"),
        (["class", "--lab", "3", "--due", "tomorrow"], "tomorrow is no time"),
        (["class", "--lab", "3", "--only", "anna"], r"anna is no student \(close: ana"),
        (["class", "--lab", "3", "--roster", "none.csv"], "none.csv: No such file"),
        (["class", "--lab", "3", "--rubric", "none.toml"], "none.toml: No such file"),
        (["class", "--lab", "3", "--require-tier", "B"], "below tier B"),
        (["class", "--lab", "3", "--jobs", "2", "--scheduler", "tcp://x:1"], "--jobs is of this"),
        (["class", "--lab", "3", "--worksheet", "none.csv"], "none.csv"),
    ],
)
def test_a_misuse_is_one_line_and_judges_nothing(arguments, why, grade, tmp_path, monkeypatch):
    put_files(tmp_path / "class", {"ana/x.pdf": b"", "ben/x.pdf": b""})
    monkeypatch.chdir(tmp_path)
    status, _, said = grade(*arguments)
    assert status == 2 and re.search(why, said) and said.count("\n") == 1, said
    assert not list((tmp_path / "results").glob("*/grade.json"))


def test_what_is_nobodys_and_who_lacks_a_submission_comes_first(grade, tmp_path):
    put_files(tmp_path / "class", {"ana/x.pdf": b"", "who?/x.pdf": b"", "\x1b[2J/x": b""})
    (tmp_path / "class" / "ben").mkdir()
    (tmp_path / "roster.csv").write_text("login\nana\nben\ncem\n")
    status, told, _ = grade(tmp_path / "class", "--lab", "3", "--roster", tmp_path / "roster.csv")
    assert status == 3
    lines = told.splitlines()
    assert lines[1:5] == [
        "Submissions that are nobody's: 2",
        "  <U+001B>[2J: nobody in the roster is <U+001B>[2J",
        "  who?: nobody in the roster is who?",
        "Students without a submission: 1: cem",
    ]
    assert "  ana: ana: it holds none of the lab's files" in told
    found = ends(tmp_path / "results")
    assert found["ben"][:2] == (End.NOT_BUILT, 0) and found["cem"][:2] == (End.NOTHING, None)
    assert (tmp_path / "results" / "class.html").exists()


def test_the_second_of_two_commands_in_a_folder_is_refused(grade, tmp_path):
    put_files(tmp_path / "class", {"ana/x.pdf": b""})
    with Results(tmp_path / "results"):
        status, _, said = grade(tmp_path / "class", "--lab", "3")
    assert status == 2 and "another run grades into" in said


def test_lateness_counts_by_the_roster_and_survives_the_next_run(grade, tmp_path):
    put_files(tmp_path / "class", {"ana/x.pdf": b"", "ben/x.pdf": b""})
    (tmp_path / "roster.csv").write_text(
        "login,submitted,extension\nana,2026-11-30 20:00,\nben,2026-11-30 20:00,1\n"
    )
    for rule, cost in ("2 points/hour", 4), ("2 points/hour", 4), ("1 point/day", 1):
        grade(
            tmp_path / "class", "--lab", "3", "--roster", tmp_path / "roster.csv",
            "--due", "2026-11-30 18:00", "--late", rule,
        )  # fmt: skip
        ana, ben = (
            grade_from(json.loads((tmp_path / "results" / login / "grade.json").read_text()))
            for login in ("ana", "ben")
        )
        assert (ana.deducted, ben.deducted) == (cost, 0) and ana.late == 0.09
        assert "0 d 2 h 0 min late" in ana.reasons[0]


@pytest.mark.long
def test_ctrl_c_keeps_what_is_graded_and_leaves_nothing_running(sixty, tmp_path):
    process = sixty("results", "--jobs", "2")
    wait_until(lambda: len(ends(tmp_path / "results")) > 14, 120, "the first grade by a judge")
    process.send_signal(signal.SIGINT)
    status, told = ended(process)
    assert status == 130 and "the same command goes on" in told.splitlines()[-1]
    assert not (tmp_path / "results" / "grades.csv").exists()
