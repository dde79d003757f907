"""Servers that others wrote, from lab_guide/protocol.md alone (but processes.c, which is epoll.c
made over): every check that binds a student's server passes on them.
"""

import sys

import pytest
from conftest import need, rest_in_soak

from harness.teaching import soak
from harness.teaching.exhibits import checked


@pytest.mark.long
@pytest.mark.timeout(900)  # the checks start hundreds of servers, and a JVM starts slowly
@pytest.mark.parametrize("name", rest_in_soak(soak.strangers(), ("Nio", "epoll", "node")))
def test_every_check_that_binds_passes(name, tmp_path):
    try:
        command = soak.stranger(name, tmp_path)
    except soak.Missing as missing:
        need(str(missing))
    verdicts = soak.judged(name, command, tmp_path)
    assert not soak.wrong(verdicts) and sum(verdict.score for verdict in verdicts.values()) > 100


LETS_NEWCOMERS_WAIT = """
import runpy, sys, time
sys.path.insert(0, {root!r})
from implementations.common import acceptor
acceptor.Acceptor.refuse_one = lambda self: time.sleep(0.01)
runpy.run_module("implementations.nonblocking", run_name="__main__", alter_sys=True)
"""


@pytest.mark.soak
def test_without_descriptors_newcomers_may_wait(tmp_path):
    server = tmp_path / "server.py"
    server.write_text(LETS_NEWCOMERS_WAIT.format(root=str(soak.ROOT)))
    verdicts = checked(
        [sys.executable, server], tmp_path, "--only", "out-of-descriptors-again", "--deadline", "20"
    )
    assert not soak.wrong(verdicts)
