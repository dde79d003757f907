"""Servers that others wrote, from lab_guide/protocol.md alone: every check that binds a student's server passes on them."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import need

from harness.server import ROOT

STRANGERS = Path(__file__).parent / "strangers"


def build_c(name, tmp_path):
    """The command of a stranger in C. Its first comment names the libraries; a warning is an error."""
    need("cc")
    program = tmp_path / name
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program, STRANGERS / f"{name}.c", "-lcrypt", "-lm"], check=True)
    return [program]


def of_node(name, tmp_path):
    need("node")
    return [shutil.which("node"), STRANGERS / f"{name}.mjs"]


def of_python(name, tmp_path):
    return [sys.executable, STRANGERS / f"{name}.py"]


@pytest.mark.parametrize("name, make", [("epoll", build_c), ("pthread", build_c), ("node", of_node), ("aio", of_python)])
def test_every_check_that_binds_passes(name, make, tmp_path):
    found = tmp_path / "found.json"
    done = subprocess.run([sys.executable, "-m", "harness", "check", "--json", found, "--", *make(name, tmp_path)], cwd=ROOT, capture_output=True, text=True)
    report = json.loads(found.read_text())
    wrong = [(verdict["check"], verdict["verdict"], verdict["why"] or verdict["failure"]) for verdict in report["verdicts"]
             if verdict["binds"] and verdict["verdict"] != "passed"]
    assert not wrong and done.returncode == 0 and report["score"] == report["most"] > 50, (wrong, done.stdout[-3000:])
