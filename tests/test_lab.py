"""What `harness lab` does before a check: it reads and compiles a learner's files, and follows no
link out of the folder.
"""

import os
import time
from dataclasses import replace

import psutil
import pytest
from conftest import need

from harness.teaching import lab, starter
from harness.verdicts.model import UsageError

HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'


@pytest.fixture
def folder(tmp_path):
    """An empty folder for a server in C."""
    need("cc")
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def built(folder, text):
    """Compiles this text as server.c."""
    (folder / "server.c").write_text(text)
    lab.build_c(folder)
    assert os.access(folder / "server", os.X_OK)


def refused(folder, text, *words):
    """Such a server.c is refused, in words that hold these; no program is left, and no process."""
    with pytest.raises(UsageError) as why:
        built(folder, text)
    assert all(word in str(why.value) for word in words), why.value
    assert "\n" not in str(why.value) and sorted(os.listdir(folder)) == sorted(
        {"server.c", *os.listdir(folder)} - {"server", ".server.new"}
    )
    assert not [
        child
        for child in psutil.Process().children(recursive=True)
        if child.name() in ("cc", "cc1", "as", "ld")
    ]


def test_it_compiles_with_headers_of_the_folder(folder):
    (folder / "my own.h").write_text("#define WORD 1\n")
    (folder / "more").mkdir()
    (folder / "more/$1.h").write_text("#define OTHER 2\n")
    built(
        folder,
        f'#include "my own.h"\n#include "more/$1.h"\n#include <pthread.h>\n#include '
        f"<crypt.h>\n{HELLO}int sum = WORD + OTHER;\n",
    )
    assert set(os.listdir(folder)) == {"server.c", "server", "my own.h", "more"}


def test_the_first_error_is_in_the_message(folder, capsys):
    refused(
        folder,
        "int main(void) { return 0 }\n",
        "server.c does not compile: server.c:1:",
        "expected",
        "Fix the first error",
    )
    assert "expected" in capsys.readouterr().err
    refused(folder, "int f(void); int main(void) { return f(); }\n", "undefined reference")


def test_a_missing_library_is_named():
    told = "/usr/bin/ld: cannot find -lcrypt: No such file\ncollect2: error: ld returned 1\n"
    assert lab.first_error(told) == "/usr/bin/ld: cannot find -lcrypt: No such file"


def test_an_included_fifo_leaves_no_compiler_running(folder, monkeypatch):
    monkeypatch.setattr(lab, "PATIENCE", 2)
    os.mkfifo(folder / "pipe.h")
    began = time.monotonic()
    refused(folder, f'#include "pipe.h"\n{HELLO}', "did not end within 2 s", "include")
    assert time.monotonic() - began < 30


def test_a_compiler_that_takes_too_much_is_ended(folder, monkeypatch):
    monkeypatch.setattr(lab, "LIMITS", {**lab.LIMITS, lab.resource.RLIMIT_FSIZE: 1 << 20})
    refused(folder, f"{HELLO}char big[4 << 20] = {{1}};\n", "does not compile")


def test_endless_messages_are_cut(folder, capsys):
    refused(folder, f"#warning {'x' * 20_000}\n" * 100 + "#error no\n", "does not compile")
    assert len(capsys.readouterr().err) <= lab.MOST + 1


@pytest.mark.parametrize(
    "how",
    [
        "a file",
        "an absolute path",
        "a header that is a link",
        "a folder that is a link",
        "a dotted path",
    ],
)
def test_nothing_from_outside_is_compiled(folder, tmp_path, how):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "server.c").write_text(HELLO)
    if how == "a file":
        (folder / "server.c").symlink_to(outside / "server.c")
        with pytest.raises(UsageError, match=r"server\.c is a link that leads out of"):
            lab.build_c(folder)
        return
    if how == "a header that is a link":
        (folder / "mine.h").symlink_to(outside / "server.c")
    elif how == "a folder that is a link":
        (folder / "more").symlink_to(outside)
    name = {
        "an absolute path": outside / "server.c",
        "a header that is a link": "mine.h",
        "a folder that is a link": "more/server.c",
        "a dotted path": "../outside/server.c",
    }[how]
    refused(
        folder,
        f'#pragma GCC system_header\n#include "{name}"\n',
        "server.c includes",
        f"which is not in {folder}",
    )


def test_a_link_inside_the_folder_is_allowed(folder):
    (folder / "mine.c").write_text(HELLO)
    (folder / "server.c").symlink_to("mine.c")
    lab.build_c(folder)


@pytest.mark.parametrize("name", ["server", ".server.new"])
def test_the_program_replaces_a_link_and_not_its_target(folder, tmp_path, name):
    (tmp_path / "precious").write_text("precious")
    (folder / name).symlink_to(tmp_path / "precious")
    built(folder, HELLO)
    assert (tmp_path / "precious").read_text() == "precious" and not (
        folder / "server"
    ).is_symlink()


def test_a_folder_where_the_program_is_to_be(folder):
    (folder / "server").mkdir()
    (folder / "server/x").touch()
    with pytest.raises(UsageError, match="/server: "):
        built(folder, HELLO)


# -- In Python -------------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path):
    """(a lab in Python, its starting folder)"""
    lab_0 = starter.read(0)
    starter.write(lab_0, tmp_path / "mine")
    return lab_0, tmp_path / "mine"


@pytest.mark.parametrize(
    "place", ["implementations/nonblocking.py", "implementations/common", "implementations"]
)
def test_no_link_out_of_the_folder_is_followed(begun, tmp_path, place):
    lab_0, folder = begun
    lab.inspect_python(lab_0, folder)
    (folder / place).rename(tmp_path / "elsewhere")
    (folder / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"is a link that leads out of .*: put a copy"):
        lab.inspect_python(lab_0, folder)


def test_a_file_may_name_its_encoding(begun):
    lab_0, folder = begun
    lab_0 = replace(lab_0, empty=[])
    place = folder / "implementations/common/acceptor.py"
    good = place.read_bytes()
    place.write_bytes("# -*- coding: iso-8859-1 -*-\n# João\n".encode("iso-8859-1") + good)
    lab.inspect_python(lab_0, folder)
    for bad, words in (
        (b"# -*- coding: iso-8859-1 -*-\n\xe3 = = 1\n", r"acceptor\.py, line 2: "),
        (b"# \xe3\nx = '\xe3'\n", r"acceptor\.py: .*Save it as UTF-8"),
        (b"# coding: nonsense\n", r"acceptor\.py: unknown encoding: nonsense"),
        (b"x\0", r"acceptor\.py: "),
    ):
        place.write_bytes(bad)
        with pytest.raises(UsageError, match=words):
            lab.inspect_python(lab_0, folder)
