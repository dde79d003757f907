"""What carries the project on: the pinned versions, the picture of the layers, the changelog, the
workflow.
"""

import ast
import re
from pathlib import Path

import pytest
import yaml

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
