"""Servers that others wrote, from lab_guide/protocol.md alone (but processes.c, which is epoll.c
made over): every check that binds a student's server passes on them.
"""

import pytest
from conftest import need, rest_in_soak

from harness.teaching import soak


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
