"""What carries the project on: the pinned versions, the picture of the layers, the changelog, the
workflow.
"""

import ast
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import need

import requirements
from lab_guide.site import layers

ROOT = Path(__file__).resolve().parents[1]


def pins(name):
    """{package: version} of a list of requirements. Of a package with several versions, all, as a
    set.
    """
    found = {}
    for package, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / name).read_text(), re.M):
        found.setdefault(package.lower().replace("_", "-"), set()).add(version)
    return found


def test_the_lock_has_all_requirements():
    wanted, locked = pins("requirements.txt"), pins("requirements.lock")
    assert len(wanted) > 10
    behind = {package for package, versions in wanted.items() if locked.get(package) != versions}
    assert not behind, f"requirements.lock is behind requirements.txt: run `make lock`. {behind}"


def test_the_lock_names_its_command_and_no_registry():
    text = (ROOT / "requirements.lock").read_text()
    assert "make lock" in text.split("\n", 3)[1]
    assert "://" not in text


def test_the_picture_of_the_layers_is_up_to_date():
    assert layers.draw() == layers.PICTURE.read_text(), "run: python -m lab_guide.site.layers"


def test_the_picture_shows_only_arrows_that_do_not_follow_from_others():
    assert layers.reduced({("a", "b"), ("b", "c"), ("a", "c")}) == {("a", "b"), ("b", "c")}
    found = layers.arrows()
    assert (("harness", "teaching"), ("harness", "driving")) in found - layers.reduced(found)


def test_the_changelog_keeps_its_form():
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert titles[0] == "[Unreleased]"
    assert titles[1:] and all(
        re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title) for title in titles[1:]
    )


# -- set-up: make and pip ---------------------------------------------------------------------------


def write_wheel(folder, name, text, *needs):
    """A package of one module."""
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": text,
        f"{about}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
            + [f"Requires-Dist: {need}" for need in needs]
        ),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record += f"{path},sha256={digest.rstrip('=')},\n"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{about}/RECORD": f"{record}{about}/RECORD,,\n"}.items():
            wheel.writestr(path, text)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """make(target, **environment) in a folder that has our Makefile, two groups of one package
    each, and a mirror of them in the user's pip.conf.
    """
    need("make")
    folder = tmp_path_factory.mktemp("small")
    for name in "Makefile", "setup.mk", "requirements.py":
        shutil.copy(ROOT / name, folder)
    (folder / "requirements.txt").write_text(
        "# servers: one\nfirst==1.0\n# core: none\n# more: two\nsecond==1.0\n"
    )
    (folder / "requirements.lock").write_text("first==1.0\nsecond==1.0\nthird==1.0\n")
    mirror = folder / "mirror"
    mirror.mkdir()
    for name, text, *needs in ("first", ""), ("second", "import third", "third"), ("third", ""):
        write_wheel(mirror, name, text, *needs)
    conf = folder / "home" / ".config" / "pip" / "pip.conf"
    conf.parent.mkdir(parents=True)

    def make(target, settings="", **environment):
        conf.write_text(f"[global]\nno-index = true\nfind-links = {mirror}\n{settings}")
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "PYTHON", "MAKE", "XDG_"))
        }
        return subprocess.run(
            ["make", f"PYTHON={sys.executable}", target],
            cwd=folder,
            env={**ours, "HOME": str(folder / "home"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    make.folder = folder
    return make


@pytest.mark.long
@pytest.mark.xdist_group("set-up")
def test_packages_arrive_whatever_pips_settings_are(small, tmp_path):
    """The mirror is used: nothing else has these packages. PYTHONPATH has one of them already."""
    write_wheel(tmp_path, "first", "")
    with zipfile.ZipFile(tmp_path / "first-1.0-py3-none-any.whl") as wheel:
        wheel.extractall(tmp_path / "path")
    elsewhere = {name: str(tmp_path / name) for name in ("target", "prefix", "root")}
    done = small(
        ".venv/ready",
        PIP_USER="1",
        PIP_REQUIRE_VIRTUALENV="1",
        PYTHONHOME="/nowhere",
        PYTHONPATH=str(tmp_path / "path"),
        PYTHONSAFEPATH="1",
        **{f"PIP_{name.upper()}": path for name, path in elsewhere.items()},
    )
    assert done.returncode == 0 and (small.folder / ".venv" / "ready").exists(), done.stdout
    assert "Successfully installed first" in done.stdout, "what pip does is shown"
    assert list(small.folder.glob(".venv/lib/*/site-packages/first.py"))

    settings = "".join(f"{name} = {path}\n" for name, path in elsewhere.items())
    done = small("install-more", f"user = true\n{settings}require-virtualenv = true\n")
    assert done.returncode == 0 and (small.folder / ".venv" / "ready-more").exists(), done.stdout
    assert list(small.folder.glob(".venv/lib/*/site-packages/third.py"))
    assert not any(Path(path).exists() for path in elsewhere.values())


@pytest.mark.long
@pytest.mark.xdist_group("set-up")
def test_what_cannot_be_imported_is_not_ready(small):
    """And the user reads what to do."""
    assert small(".venv/ready").returncode == 0
    (small.folder / ".venv" / "ready-more").unlink(missing_ok=True)
    for path in small.folder.glob(".venv/lib/*/site-packages/*"):
        if path.name.startswith(("second", "third")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = small("install-more", "no-deps = true\n")
    assert done.returncode and not (small.folder / ".venv" / "ready-more").exists()
    assert "second cannot be imported" in done.stdout and "pip config list" in done.stdout
    assert "Traceback" not in done.stdout
    assert small("install-more").returncode == 0


@pytest.mark.long
@pytest.mark.xdist_group("set-up")
@pytest.mark.parametrize("kind", ["upgraded", "removed"])
def test_after_an_upgrade_of_python_the_environment_is_made_again(small, kind):
    venv = small.folder / ".venv"
    assert small(".venv/ready").returncode == 0
    if kind == "upgraded":  # the packages are in the folder of another version
        packages = next(venv.glob("lib/*/site-packages"))
        packages.parent.rename(packages.parent.with_name("python3.10"))
    else:
        (venv / "bin" / "python").unlink()
        (venv / "bin" / "python").symlink_to("/usr/bin/python3.10-that-was-removed")
    done = small(".venv/ready")
    assert done.returncode == 0, done.stdout
    assert subprocess.run([venv / "bin" / "python", "-c", "import first, pip"]).returncode == 0


@pytest.mark.long
@pytest.mark.xdist_group("set-up")
def test_without_a_network_the_last_line_says_where_to_look(small):
    (small.folder / ".venv" / "ready-more").unlink(missing_ok=True)
    for path in small.folder.glob(".venv/lib/*/site-packages/second*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = small("install-more", PIP_FIND_LINKS="/nowhere")
    assert done.returncode and "look at the network" in done.stdout, done.stdout


def test_each_package_is_in_one_group():
    found = requirements.groups((ROOT / "requirements.txt").read_text())
    listed = [requirement for group in found.values() for requirement in group]
    assert list(found)[:2] == ["servers", "core"] and len(listed) == len(set(listed))
    assert len(listed) == sum(map(len, pins("requirements.txt").values()))


def test_make_installs_groups_that_there_are():
    found = requirements.groups((ROOT / "requirements.txt").read_text())
    named = re.findall(r"\$\(call with,([a-z ]+)\)", (ROOT / "Makefile").read_text())
    with_its_own_list = {"cluster"}
    assert set(found) - {"servers", "core"} == set(" ".join(named).split()) - with_its_own_list


FOREIGN = """
import os
os.write(1, b"a foreign plugin was loaded\\n")
"""


def test_no_foreign_plugin_reaches_the_tests(tmp_path):
    """And ours are there without the search for plugins: `-n` and `timeout` are theirs."""
    about = tmp_path / "foreign-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pytest11]\nforeign = foreign\n")
    (tmp_path / "foreign.py").write_text(FOREIGN)
    for switch in {}, {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-n", "1", "-k", "keeps_its_form", __file__],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(tmp_path), **switch},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 passed" in done.stdout and "foreign" not in done.stdout


def test_make_keeps_settings_of_other_programs_out(tmp_path):
    """Here the environment's Python only shows what it is given."""
    need("make")
    for name in "Makefile", "setup.mk", "requirements.txt", "requirements.lock", "requirements.py":
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nenv\n")
    python.chmod(0o755)
    foreign = {"PYTEST_ADDOPTS": "-x", "PYTEST_PLUGINS": "none", "PYTEST_DEBUG": "1"}
    foreign |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": "/x", "PYTHONHOME": "/y"}
    for group in "", "-tests":
        (tmp_path / ".venv" / f"ready{group}").touch()
    shown = subprocess.run(
        ["make", "ready"], cwd=tmp_path, env={**os.environ, **foreign}, capture_output=True
    ).stdout.decode()
    assert "PATH=" in shown and not any(f"{name}=" in shown for name in foreign)


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/**/*.yml")), ids=lambda path: path.name)
def test_a_file_for_github_is_yaml(path):
    assert yaml.safe_load(path.read_text())


def test_the_workflow_calls_what_there_is():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"]
    lines = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert {line.split()[-1] for line in lines if line.startswith("make")} <= set(targets)
    assert all((ROOT / line).is_file() for line in lines if not line.startswith("make"))
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]


@pytest.mark.parametrize("page", ["lab_guide/architecture.md", "lab_guide/pt-BR/architecture.md"])
def test_the_code_is_where_the_guide_says(page):
    """Each row of its table of questions names a function or class, and the file that has it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ \| `([\w.]+)` \w+ `([\w/]+\.py)` \|$", text, re.M)
    assert len(rows) >= 10
    for name, file in rows:
        body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for part in name.split("."):
            found = [node for node in body if getattr(node, "name", None) == part]
            assert found, f"{page}: {file} has no {name}"
            body = found[0].body
