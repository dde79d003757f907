"""The probe uses a tier only if it stops real attacks, and says what is missing otherwise."""

import contextlib
import os
import sys

import pytest
from conftest import lacks

from harness.driving.processes import dies_with_us
from harness.grading import cell, judge, probe, supervisor
from harness.verdicts.model import UsageError

OPEN_CELL = """
import sys
from harness.driving import cells
from harness.grading import probe, uid
uid.UidCell = lambda *_: cells.DIRECT
sys.argv[1:1] = ["", "0"]
probe.main()
"""


@contextlib.contextmanager
def open_cell(argv, env):
    """A tier that stops nothing: its cell is a plain process."""
    yield supervisor.Start([sys.executable, "-P", "-c", OPEN_CELL], env, preexec=dies_with_us())


def test_a_tier_that_stops_nothing_is_not_used(monkeypatch):
    monkeypatch.setitem(judge.CELLS, "A", open_cell)
    why = str(probe.why_not("A"))
    for attack in "the harness", "another submission", "a service of the machine", "a datagram":
        assert attack in why, why
    assert "writing a result" in why and "killing a process" in why


def test_a_tier_whose_judge_does_not_answer_is_not_used(monkeypatch):
    def broken(argv, env):
        return contextlib.nullcontext(
            supervisor.Start([sys.executable, "-c", "raise SystemExit('no such cell')"], env)
        )

    monkeypatch.setitem(judge.CELLS, "A", broken)
    assert "no such cell" in str(probe.why_not("A"))


def test_the_best_tier_that_works_is_chosen():
    if not cell.is_here():
        lacks("bubblewrap")
    assert probe.choose() == probe.Found("A")
    assert probe.choose("bubblewrap", "A").tier == "A"
    assert probe.choose("none").tier == "none"


@pytest.mark.parametrize("sandbox, required", [("auto", "A"), ("bubblewrap", None), ("auto", "B")])
def test_what_is_required_and_not_there_ends_it(monkeypatch, sandbox, required):
    monkeypatch.setattr(probe, "why_not", lambda tier: f"no {tier} today")
    with pytest.raises(UsageError, match="no A today"):
        probe.choose(sandbox, required)


def test_without_a_tier_it_is_practice(monkeypatch):
    monkeypatch.setattr(probe, "why_not", lambda tier: f"no {tier} today")
    found = probe.choose()
    assert found.tier == "none" and "tier A: no A today" in str(found.text())


def test_none_is_below_every_tier():
    with pytest.raises(UsageError, match="below tier B"):
        probe.choose("none", "B")


def test_without_bubblewrap_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cell.shutil, "which", lambda *_, **__: None)
    assert "Debian, Ubuntu: bubblewrap" in str(probe.why_not("A"))


def test_a_user_is_told_that_tier_b_needs_root(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert "only root" in str(probe.why_not("B"))


def test_a_python_that_is_root_s_alone_is_named(monkeypatch, tmp_path):
    if os.getuid():
        lacks("root")
    (tmp_path / "python").write_text("")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert str(tmp_path / "python") in str(probe.why_not("B"))


@pytest.mark.parametrize(
    "path, value, word",
    [
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
        ("/proc/sys/user/max_user_namespaces", "0", "max_user_namespaces=10000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
    ],
)
def test_it_says_what_to_switch_on(monkeypatch, path, value, word):
    monkeypatch.setattr(probe, "content", lambda one: value if one == path else "")
    assert word in "".join(map(str, probe.hints("A")))
