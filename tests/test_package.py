"""Autograders for other systems: in the layout that each system documents, without the system.

Whatever happens, there is a result, and it holds a grade only if the grading came to its end.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import need

from harness.driving.server import ROOT
from harness.grading import package, probe
from harness.teaching import starter

pytestmark = pytest.mark.long

LAB = 0
MOST = 100 << 20  # bytes that systems take


def packed(system, rubric=None, minutes=10):
    return package.archive(
        package.PACKAGES[system](package.Package(system, LAB, "", rubric, 5, minutes))
    )


def unpack(data, folder):
    """As `unzip` does, with the programs' rights."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            place = Path(archive.extract(entry, folder))
            place.chmod(entry.external_attr >> 16)
    return folder


def with_packages(grupo):
    """What setup.sh installs is there: the packages of these tests."""
    (grupo / ".venv").mkdir()
    for name in "bin", "lib", "pyvenv.cfg":
        (grupo / ".venv" / name).symlink_to(Path(sys.prefix, name))
    (grupo / ".venv" / "ready").touch()


def solved(folder):
    """A submission: only the file that was written."""
    begun = starter.read(LAB)
    for one in begun.empty:
        (folder / one.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / one.file).write_bytes((begun.files()[one.file]).read_bytes())


def run(*command, **more):
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        [*map(str, command)],
        env={**env, **more.pop("env", {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        **more,
    )


@pytest.fixture
def open_folder():
    """A folder that all users may enter, as those of a container: pytest's are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def gradescope(open_folder):
    """/autograder as Gradescope has it, elsewhere: gradescope() runs it and returns the result."""
    need("bash")
    root = open_folder / "autograder"
    (root / "submission").mkdir(parents=True)
    unpack(packed("gradescope"), root / "source")

    def grade(venv=sys.prefix):
        env = {"GRUPO_AUTOGRADER": str(root), "GRUPO_VENV": venv}
        done = run("bash", root / "source" / "run_autograder", env=env)
        assert done.returncode == 0, done.stdout
        found = json.loads((root / "results" / "results.json").read_text())
        return found, done.stdout

    grade.root = root
    return grade


def test_gradescope_sets_up_and_finds_its_scripts(gradescope):
    need("make")
    source = gradescope.root / "source"
    with_packages(source / "grupo")
    for name in "setup.sh", "run_autograder":
        assert (source / name).read_bytes().startswith(b"#!") and os.access(source / name, os.X_OK)
    python = {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    if all(map(shutil.which, ("bwrap", "gcc"))):  # else it asks apt for them
        done = run(
            "bash", source / "setup.sh", env={"GRUPO_AUTOGRADER": str(gradescope.root), **python}
        )
        assert done.returncode == 0, done.stdout
    assert len(packed("gradescope")) < MOST and packed("gradescope") == packed("gradescope")


@pytest.mark.parametrize("what", ["nothing", "a folder", "a link", "no folder at all"])
def test_a_strange_submission_has_a_result(gradescope, what):
    folder = gradescope.root / "submission"
    if what == "a folder":
        (folder / "empty").mkdir()
    elif what == "a link":
        (folder / "server.c").symlink_to("/etc/passwd")
    elif what == "no folder at all":
        folder.rmdir()
    found, log = gradescope()
    assert found["output"] and "Traceback" not in log
    assert found.get("score", 0) == 0


@pytest.mark.parametrize("what", ["its code", "its time", "its packages", "its python"])
def test_a_grader_that_fails_leaves_a_result_without_a_grade(gradescope, what):
    source = gradescope.root / "source"
    solved(gradescope.root / "submission")
    if what == "its code":
        (source / "grupo" / "harness" / "grading" / "judge.py").write_text("x = (")
    elif what == "its time":
        (source / "seconds").write_text("0.01")
    elif what == "its packages":
        (source / "grupo" / "setup.mk").unlink()
    else:
        (source / "grupo" / "harness" / "verdicts" / "model.py").unlink()
    found, _ = gradescope("/nowhere" if what == "its packages" else sys.prefix)
    assert "score" not in found and "The checks give no grade" in found["output"]
    assert not any("score" in test for test in found["tests"])


def test_a_submission_is_graded(gradescope):
    """In a cell if there is one here; without, the checks are shown, and no points are given."""
    solved(gradescope.root / "submission")
    found, log = gradescope()
    assert {test["status"] for test in found["tests"]} == {"passed"}, log
    is_confined = probe.choose().tier != probe.NONE
    assert all(("score" in test) == is_confined for test in found["tests"]), log
    options = gradescope.root / "source" / "options"
    options.write_text(options.read_text() + "--sandbox=none\n")
    found, log = gradescope()
    assert "score" not in found and "practice" in found["output"]


def test_autolab_reads_the_last_line(tmp_path):
    need("make")
    unpack(packed("autolab", b"[points]\nstarts = 7\n"), tmp_path / "lab")
    solved(tmp_path / "work")
    place = tmp_path / "instance"
    place.mkdir()
    (place / "Makefile").write_bytes((tmp_path / "lab" / "autograde-Makefile").read_bytes())
    (place / "autograde.tar").write_bytes((tmp_path / "lab" / "autograde.tar").read_bytes())
    with tarfile.open(place / "handin.zip", "w:gz") as archive:  # whatever the student packs
        archive.add(tmp_path / "work", "work")
    done = run("make", cwd=place, env={"GRUPO_VENV": sys.prefix})
    last = json.loads(done.stdout.strip().split("\n")[-1])
    assert done.returncode == 0 and {"start", "framing"} <= set(last["scores"]), done.stdout
    assert (place / "autograder" / "rubric.toml").exists()


def test_autolab_has_a_last_line_whatever_happens(tmp_path):
    need("make")
    unpack(packed("autolab"), tmp_path)
    (tmp_path / "autograde-Makefile").rename(tmp_path / "Makefile")
    (tmp_path / "handin.zip").write_bytes(b"PK no archive")
    done = run("make", cwd=tmp_path, env={"GRUPO_VENV": sys.prefix})
    last = json.loads(done.stdout.strip().split("\n")[-1])
    assert done.returncode == 0 and not any(last["scores"].values()), done.stdout


def test_prairielearn_has_a_question(tmp_path):
    need("bash")
    [question] = unpack(packed("prairielearn"), tmp_path / "questions").iterdir()
    info = json.loads((question / "info.json").read_text())
    assert info["gradingMethod"] == "External" and len(info["uuid"]) == 36
    options = info["externalGradingOptions"]
    assert options["enabled"] and options["timeout"] <= 600
    assert options["entrypoint"] == "/grade/tests/run.sh" and os.access(
        question / "tests/run.sh", os.X_OK
    )
    assert 'file-names="wire.py"' in (question / "question.html").read_text()
    grade = tmp_path / "grade"
    (grade / "student").mkdir(parents=True)
    (question / "tests").rename(grade / "tests")
    done = run(
        "bash",
        grade / "tests" / "run.sh",
        env={"GRUPO_GRADE": str(grade), "GRUPO_VENV": sys.prefix},
    )
    found = json.loads((grade / "results" / "results.json").read_text())
    assert done.returncode == 0 and found["gradable"] in (True, False), done.stdout


def test_a_package_of_a_wrong_rubric_is_refused(tmp_path):
    (tmp_path / "rubric.toml").write_text("[points]\nno-such-check = 1\n")
    command = [sys.executable, "-m", "harness", "package", "gradescope", "0"]
    more = ["--rubric", tmp_path / "rubric.toml", "--out", tmp_path / "autograder.zip"]
    done = run(*command, *more, cwd=ROOT)
    assert done.returncode == 2 and done.stdout.startswith("package: ")
    assert not (tmp_path / "autograder.zip").exists()


def test_it_holds_only_what_grades_this_lab():
    with zipfile.ZipFile(io.BytesIO(packed("gradescope"))) as archive:
        names = archive.namelist()
    assert not [
        name for name in names if "guide/exhibits" in name or "exam" in name or ".git" in name
    ]
    assert {"grupo/lab_guide/starters/0-python.toml", "grupo/lab_guide/starters/0-c.toml"} <= set(
        names
    )
    assert not [name for name in names if "starters/1-" in name]


# -- Classroom 50 ----------------------------------------------------------------------------------

WORKFLOW = ROOT / ".github" / "workflows" / "grade.yml"


@pytest.fixture(scope="module")
def jobs():
    return yaml.safe_load(WORKFLOW.read_text())["jobs"]


def test_the_job_that_runs_a_students_program_may_write_nothing(jobs):
    assert yaml.safe_load(WORKFLOW.read_text())["permissions"] == {"contents": "read"}
    assert "permissions" not in jobs["check"]
    assert not [step for step in jobs["publish"]["steps"] if "harness" in step.get("run", "")]
    for job in jobs.values():  # an input in a script would be a part of the program
        assert not [step["run"] for step in job["steps"] if "${{" in step.get("run", "")]


def test_the_workflow_makes_a_result(jobs, tmp_path):
    """Its own scripts, run one after the other as GitHub does, without sudo and apt."""
    for tool in "git", "jq", "bash":
        need(tool)
    solved(tmp_path / "work")
    git = [
        "git",
        "-C",
        tmp_path / "work",
        "-c",
        "user.name=ana",
        "-c",
        "user.email=ana@example.org",
    ]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "Lab 0"]):
        assert run(*git, *command).returncode == 0
    (tmp_path / "grupo").symlink_to(ROOT)
    (tmp_path / "programs").mkdir()
    sudo = tmp_path / "programs" / "sudo"
    sudo.write_text(
        '#!/bin/sh\ncase "$1" in --preserve-env=*) shift ;; *) exit 0 ;; esac\nexec "$@"\n'
    )
    sudo.chmod(0o755)
    env = {
        "PATH": f"{tmp_path / 'programs'}:{os.environ['PATH']}",
        "CLASSROOM": "os-lab",
        "ASSIGNMENT": "lab0",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "school/os-lab-lab0-ana",
        "GITHUB_SHA": "0123456789abcdef",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_ENV": str(tmp_path / "env"),
        "LAB": "0",
        "RUBRIC": "",
        "LANGUAGE": "",
        "OWNER": "",
    }
    for step in jobs["check"]["steps"]:
        script = step.get("run", "")
        if script and "make -C grupo" not in script:
            done = run("bash", "-e", "-c", script, cwd=tmp_path, env=env)
            assert done.returncode == 0, done.stdout
            if (tmp_path / "env").exists():
                lines = (tmp_path / "env").read_text().splitlines()
                env.update(line.split("=", 1) for line in lines)
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["schema"] == "classroom50/result/v1" and found["owner"] == "ana"
    assert found["assignment_type"] == "individual" and len(found["tests"]) > 10
    assert found["submission"] == env["SUBMISSION_TAG"] and found["submission"].startswith(
        "submit/20"
    )
    assert (
        found["datetime"] == env["SUBMITTED"] and "<html" in (tmp_path / "report.html").read_text()
    )
