"""A student's kit: it works by itself, and it holds no solution, no exhibit and no page for
teachers.
"""

import functools
import io
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import need

from harness.driving.server import ROOT
from harness.teaching import kit, starter

# What they look at is made once.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("kit")]
LABS = [
    pytest.param(
        int(path.stem[0]),
        path.stem[2:],
        id=path.stem,
    )
    for path in sorted(starter.MANIFESTS.glob("*-*.toml"))
]
TELLING = 14  # letters and digits of a line that does not occur by chance
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@functools.cache
def files_of(lab, language):
    with zipfile.ZipFile(io.BytesIO(kit.kit(lab, language))) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


@functools.cache
def solution_of(lab, language):
    return solution(starter.read(lab, language))


def solution(begun):
    """The lines of the functions that the lab empties that are nowhere else in our code."""
    lines = set()
    for one in begun.empty:
        ours = begun.files()[one.file].read_text()
        lines |= set(
            map(str.strip, starter.body_of(ours, one.function, begun.language).split("\n"))
        )
    around = "\n".join([*starter.contents(begun).values(), *harness_texts()])
    return {
        line for line in lines if len(re.findall(r"\w", line)) >= TELLING and line not in around
    }


@functools.cache
def harness_texts():
    return [path.read_text() for path in Path(ROOT, "harness").rglob("*.py")]


@pytest.mark.parametrize("lab, language", LABS)
def test_it_has_no_solution_and_no_exhibit(lab, language):
    files = {path: data.decode() for path, data in files_of(lab, language).items()}
    begun = starter.read(lab, language)
    for written_in in starter.LANGUAGES:
        for line in solution_of(lab, written_in):
            assert not [path for path, text in files.items() if line in text], line
    # The starting folder is a whole server: it has the parts of later labs about the same design.
    folder = (*begun.files(), begun.source or "server.c")
    for later in {*range(lab + 1, 9)} - {7}:
        for line in solution_of(later, language):
            assert all(path.endswith(folder) for path, text in files.items() if line in text), line
    whole = "\n".join(files.values())
    assert "lab_guide/exhibits/" not in "\n".join(files)
    for path in Path(ROOT, "lab_guide", "exhibits").glob("*.toml"):
        exhibit = tomllib.loads(path.read_text())
        assert exhibit["symptom"] not in whole, path.stem


def test_there_are_lines_to_look_for():
    assert all(len(solution_of(lab, "python")) for lab in (0, 1, 2, 3, 5, 6, 8))
    assert all(len(solution_of(lab, "c")) for lab in (0, 1, 2, 4, 5, 6, 8))


@pytest.mark.parametrize("lab, language", LABS)
def test_its_links_lead_somewhere(lab, language):
    files = files_of(lab, language)
    [top] = {path.partition("/")[0] for path in files}
    folder = f"lab{lab}" + "-c" * (language == "c")
    assert top == f"grupo-{folder}"
    for page in f"lab{lab}", f"pt-BR/lab{lab}", "protocol":
        assert f"{top}/lab_guide/{page}.md" in files
    assert not [path for path in files if re.search("instructor|grading|exam|hunt", path)]
    for path, data in files.items():
        for link in LINK.findall(data.decode()) if path.endswith(".md") else ():
            to = os.path.normpath(os.path.join(os.path.dirname(path), link))
            assert to in files or any(one.startswith(to + "/") for one in files), (path, link)
    assert str(ROOT).encode() not in b"".join(files.values())


def test_its_bytes_are_the_same():
    assert kit.kit(0, "python") == kit.kit(0, "python")


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """unpacked(lab, language): a kit in a folder with a space in its name, with the packages of
    these tests.
    """
    need("make")
    for name in "MAKEFLAGS", "MAKELEVEL", "PYTHONPATH":  # these tests may themselves be run by make
        monkeypatch.delenv(name, raising=False)

    def unpack(lab, language):
        folder = tmp_path / "my kits"
        with zipfile.ZipFile(io.BytesIO(kit.kit(lab, language))) as packed:
            packed.extractall(folder)
        [folder] = folder.iterdir()
        (folder / ".venv").mkdir()
        for name in "bin", "lib", "pyvenv.cfg":
            (folder / ".venv" / name).symlink_to(Path(sys.prefix, name))
        (folder / ".venv" / "ready").touch()
        return folder

    return unpack


def run(*command, cwd, **env):
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=240
    )


def verdicts(grupo, folder, lab, *only):
    found = grupo / "found.json"
    command = [
        grupo / ".venv" / "bin" / "python",
        "-m",
        "harness",
        "lab",
        folder,
        "--lab",
        str(lab),
    ]
    if grupo == ROOT:
        command[0], found = sys.executable, folder / "found.json"
    more = ["--deadline", "3", "--json", found, *(["--only", *only] if only else [])]
    run(*command, *more, cwd=grupo)
    return {one["check"]: one["verdict"] for one in json.loads(found.read_text())["verdicts"]}


@pytest.mark.parametrize("lab, language", [(0, "python"), (3, "c")])
def test_it_works_by_itself(unpacked, lab, language, tmp_path):
    grupo = unpacked(lab, language)
    folder = grupo / ("lab0" if language == "python" else "lab3-c")
    for place in grupo, folder:
        done = run("make", "check", "ONLY=greets", cwd=place, LANG="C.UTF-8")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 of 1 checks passed" in done.stdout
    done = run("make", "report", "ONLY=greets", cwd=folder, LANG="pt_BR.UTF-8")
    assert "passou" in done.stdout and (folder / "report.html").exists()
    only = ["greets", "a-line-in-pieces", "answers-ping"]
    starter.write(starter.read(lab, language), tmp_path / "plain")
    assert verdicts(grupo, folder, lab, *only) == verdicts(ROOT, tmp_path / "plain", lab, *only)


def test_it_gives_the_verdicts_of_grupo(unpacked, tmp_path):
    grupo = unpacked(0, "python")
    starter.write(starter.read(0), tmp_path / "plain")
    found = verdicts(grupo, grupo / "lab0", 0)
    assert found == verdicts(ROOT, tmp_path / "plain", 0) and "failed" in found.values()


def test_a_new_starting_folder_comes_from_the_kit(unpacked, tmp_path):
    grupo = unpacked(0, "python")
    python = grupo / ".venv" / "bin" / "python"
    done = run(python, "-m", "harness", "starter", "0", tmp_path / "new", cwd=grupo)
    assert done.returncode == 0, done.stderr
    for place in starter.read(0).files():
        assert (tmp_path / "new" / place).read_bytes() == (grupo / "lab0" / place).read_bytes()
    done = run(python, "-m", "harness", "starter", "3", tmp_path / "other", cwd=grupo)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    done = run(python, "-m", "harness", "hunt", "deal", tmp_path / "hunt", cwd=grupo)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_lab_7_has_no_kit(tmp_path):
    done = run(sys.executable, "-m", "harness", "kit", "7", "--out", tmp_path / "kit.zip", cwd=ROOT)
    assert done.returncode == 2 and "hunt deal" in done.stderr and not any(tmp_path.iterdir())
