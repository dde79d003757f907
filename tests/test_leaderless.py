"""What is seen of threads: a program whose first thread has ended is still there, stacks count."""

import signal
import subprocess

import psutil
import pytest
from conftest import need

from harness.driving import processes
from harness.driving.deadlines import wait_until

LEADERLESS = r"""
#include <pthread.h>
#include <unistd.h>
static void *stay(void *nothing) { for (;;) pause(); return nothing; }
int main(void) {
    pthread_t thread;
    alarm(60);
    pthread_create(&thread, 0, stay, 0);
    pthread_exit(0);
}
"""


@pytest.fixture
def leaderless(tmp_path):
    """The process of such a program, in a session of its own."""
    need("gcc")
    (tmp_path / "program.c").write_text(LEADERLESS)
    subprocess.run(
        ["gcc", "-pthread", "-o", tmp_path / "program", tmp_path / "program.c"], check=True
    )
    process = subprocess.Popen([tmp_path / "program"], start_new_session=True)
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    yield process
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_it_is_seen_until_it_ends(leaderless):
    assert [one.pid for one in processes.session(leaderless.pid)] == [leaderless.pid]
    assert processes.zombies(processes.family(leaderless.pid)) == []
    # Nobody waits for it yet.
    psutil.Process(leaderless.pid).kill()
    wait_until(lambda: processes.zombies(processes.family(leaderless.pid)))
    assert processes.session(leaderless.pid) == []


def test_stacks_in_one_mapping_are_counted_by_their_guards():
    """As with glibc 2.42: a guard is no mapping of its own."""
    guard, page, stack = [processes.GUARD_BIT], [1 << 63], [1 << 63] * 16
    assert processes.guarded([*guard, *stack, *guard, *guard, *stack, *page], 16) == 2
    assert processes.guarded([*stack, *guard, *stack[1:], *guard], 16) == 0
