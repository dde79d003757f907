"""The crowd records all that was sent and heard; and what disturbs a server from outside changes
nothing of what it does.
"""

import itertools
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading

import pytest
from conftest import lacks, need

from harness.driving import deadlines
from harness.driving.client import WireClient
from harness.driving.crowd import SMALL_MSS, Crowd, Script
from harness.driving.messages import msg
from harness.driving.record import CheckFailed, Record
from harness.driving.server import ROOT
from harness.teaching import exhibits
from harness.verdicts import disturb

NATIVE = ["/bin/true"]
PYTHON = [sys.executable, "-m", "server"]


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=300) as listener:
        yield listener


def of(record, who):
    return [(entry.what, entry.text) for entry in record.entries if entry.who == who]


def test_a_failure_shows_few_of_many_long_lines(listener):
    """A hundred lines of 450 characters hide what went wrong; the record holds them all."""
    with WireClient(listener.getsockname()) as client:
        served, _ = listener.accept()
        with served:
            served.sendall(b"".join(b"MSG %d " % n + b"x" * 440 + b"\n" for n in range(97)))
            with pytest.raises(CheckFailed) as failure:
                client.expect("PONG .*", deadline=0.5)
    shown = str(failure.value.actual).split("\n")
    assert len(shown) <= 10 and max(map(len, shown)) < 120
    assert shown[1].startswith("MSG 0 x") and shown[-1].startswith("MSG 96 x")
    assert "... (90 more lines)" in shown
    assert sum(entry.what == "hears" for entry in client.record.entries) == 97


def test_hundreds_are_connected_at_once_and_each_hears_his_own(tmp_path):
    from harness.driving.server import Server

    names = [f"c{number}" for number in range(200)]
    with Server("nonblocking", directory=tmp_path / "g", args=("--admit", "all")) as running:
        record = Record()
        with Crowd(running.address, record) as crowd:
            crowd.connect(names)
            crowd.play(
                {
                    name: Script([f"PING {name}-{number}" for number in range(5)], turn=2)
                    for name in names
                }
            )
            for name in names:
                assert [line for line in crowd[name].lines if line.startswith(f"PONG {name}")] == [
                    f"PONG {name}-{number}" for number in range(5)
                ]
        first = {
            who: next(
                place
                for place, entry in enumerate(record.entries)
                if entry.who == who and entry.what == "sends"
            )
            for who in names
        }
        heard = min(place for place, entry in enumerate(record.entries) if entry.what == "hears")
        assert (
            max(first.values()) < heard
        )  # the barrier: nothing was read before the last had begun


@pytest.mark.parametrize(
    "how, entries",
    [
        (lambda sock: sock.close(), [("torn", "PO"), ("ended", "")]),
        (
            lambda sock: (
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
                sock.close(),
            ),
            [("reset", "")],
        ),
    ],
)
def test_lines_ends_resets_and_torn_last_lines_are_recorded(listener, how, entries):
    record = Record()
    with Crowd(listener.getsockname(), record) as crowd:
        crowd.connect(["ana"])
        sock, _ = listener.accept()
        crowd.start({"ana": Script(["SAY hé"], then="shuts")})
        assert sock.makefile("rb").readline() == "SAY hé\n".encode()
        sock.sendall(b"HELLO grupo/1 g\nMSG \xff\nPO")
        crowd.until(lambda: len(crowd["ana"].lines) == 2 and crowd["ana"].rest)
        how(sock)
        crowd.until(lambda: crowd["ana"].is_done)
    told = of(record, "ana")
    assert told[:5] == [
        ("connects", ""),
        ("sends", "SAY hé\n"),
        ("shuts", ""),
        ("hears", "HELLO grupo/1 g"),
        ("hears", "MSG \udcff"),
    ]
    assert told[-1] == entries[-1] and (len(entries) == 1 or told[5:] == entries)


def test_nobody_waits_for_ever(listener, monkeypatch):
    monkeypatch.setattr(deadlines, "DEADLINE", 0.2)
    with Crowd(listener.getsockname(), Record()) as crowd:
        crowd.connect(["ana"])
        with pytest.raises(CheckFailed, match="ana waits for PONG fence-") as found:
            crowd.play({"ana": Script(["WHO"])})
    assert found.value.sentence == "stuck"


def test_small_segments_keep_the_servers_buffer_small(listener):
    sizes = []
    for mss in None, SMALL_MSS:
        with Crowd(listener.getsockname(), Record()) as crowd:
            crowd.connect(["ana"], rcvbuf=4096, mss=mss)
            with listener.accept()[0] as sock:
                sock.setblocking(False)
                taken = 0
                with pytest.raises(BlockingIOError):
                    while True:
                        taken += sock.send(b"x" * 400)
                sizes.append(taken)
    assert sizes[1] < sizes[0] and sizes[1] < 200_000, sizes


# -- Disturbances ----------------------------------------------------------------------------------


def environment(env):
    return {**os.environ, **env}


def drawn(count, command, seed=1):
    return list(itertools.islice(disturb.disturbances(random.Random(seed), command), count))


@pytest.mark.parametrize(
    "command, strongest",
    [(NATIVE, disturb.DELAYED), (PYTHON, f"{disturb.OFTEN}, {disturb.DELAYED}")],
)
def test_the_first_run_is_undisturbed_and_every_second_one_after_it_the_strongest(
    command, strongest
):
    for seed in range(5):
        found = drawn(10, command, seed)
        assert not found[0].disturbs and all(one.disturbs for one in found[1:])
        assert {one.words for one in found[1::2]} == {strongest}
        assert (
            strongest not in {one.words for one in found[2::2]}
            and len({one.words for one in found[2:8:2]}) >= 2
        )


def test_the_same_seed_disturbs_in_the_same_way():
    for command in NATIVE, PYTHON:
        found = drawn(5, command)
        assert found[0].words == "undisturbed" and not found[0].env and not found[0].preexec
        again = drawn(5, command)
        assert [(one.words, one.env, one.stops) for one in found] == [
            (one.words, one.env, one.stops) for one in again
        ]


def test_a_way_that_turns_out_not_to_disturb_does_not_come_again():
    ways = disturb.disturbances(random.Random(1), NATIVE)
    assert next(ways).words == "undisturbed"
    first = next(ways)
    assert first.disturbs
    first.loads.clear()
    assert all(one.disturbs and one.words != disturb.DELAYED for one in itertools.islice(ways, 9))


JITTERED = """
import errno, os, socket, threading, time
began = time.monotonic()
near, far = socket.socketpair()
read, write = os.pipe()
for _ in range(300):
    near.send(b"abc"), near.sendmsg([b"d", b"e"]), os.write(write, b"fg"), os.writev(write, [b"h"])
    assert far.recv(9) in (b"abcde", b"abc") and os.read(read, 9) in (b"fgh", b"fg")
    far.setblocking(False)
    try:
        while True:
            far.recv(99)
    except BlockingIOError:
        far.setblocking(True)
for bad in range(100):
    try:
        os.write(99, b"x")
    except OSError as error:
        assert error.errno == errno.EBADF
if os.fork() == 0:
    near.send(b"child")
    os._exit(0)
os.wait()
assert far.recv(9) == b"child"
with open(os.devnull, "w") as file:
    for _ in range(20000):
        os.write(file.fileno(), b"x")
print("ok", time.monotonic() - began < 30)
"""


def test_the_shim_changes_no_result_and_no_errno_and_does_not_halt_a_program():
    need("cc")
    env, words, _ = disturb.shim(random.Random(1), PYTHON)
    assert words == "sends and locks delayed at random"
    ended = subprocess.run(
        [sys.executable, "-c", JITTERED],
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr) == ("ok True\n", "")


LOCKING = """
#include <pthread.h>
#include <stdio.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t other = PTHREAD_RWLOCK_INITIALIZER;
static long count;
static void *work(void *none)
{
    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&lock); pthread_rwlock_wrlock(&other); count++; pthread_rwlock_unlock(&other); pthread_mutex_unlock(&lock);
    }
    return none;
}
int main(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, work, 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    printf("%ld\\n", count);
    return pthread_mutex_trylock(&lock);
}
"""


@pytest.mark.parametrize("flags", [(), ("-fsanitize=address",), ("-fsanitize=thread",)])
def test_the_shim_can_be_loaded_into_programs_of_any_kind(tmp_path, flags):
    need("cc")
    source, program = tmp_path / "locking.c", tmp_path / "locking"
    source.write_text(LOCKING)
    if subprocess.run(
        ["cc", "-pthread", *flags, "-o", program, source], capture_output=True
    ).returncode:
        lacks(f"this compiler has no {flags}")
    if subprocess.run([program], capture_output=True, timeout=60).returncode:
        lacks("such a program does not run here, even undisturbed")
    env, _, _ = disturb.shim(random.Random(1), [str(program)])
    ended = subprocess.run(
        [program], env=environment(env), capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (0, "40000\n"), ended.stderr


def test_a_static_program_is_left_alone_and_the_words_say_so(tmp_path):
    need("cc")
    source, program = tmp_path / "nothing.c", tmp_path / "nothing"
    source.write_text("int main(void) { return 0; }\n")
    if subprocess.run(["cc", "-static", "-o", program, source], capture_output=True).returncode:
        lacks("no static C library")
    env, words, _ = disturb.shim(random.Random(1), [str(program)])
    assert env == {} and "the program is static" in words


def test_without_a_compiler_the_words_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(disturb, "HERE", tmp_path)
    (tmp_path / "jitter.c").write_text("/* never compiled before */")
    monkeypatch.setenv("PATH", str(tmp_path))
    disturb.no_compiler.cache_clear()
    try:
        env, words, _ = disturb.shim(random.Random(1), ["./server"])
    finally:
        disturb.no_compiler.cache_clear()
    assert env == {} and "no C compiler found" in words
    way = disturb.made_of([(env, words, [])], [msg("on one CPU")])
    assert (
        way.lacks == [words]
        and way.words == f"{words}, on one CPU"
        and not disturb.one_cpu(random.Random(1), ["./server"]).lacks
    )


def test_the_library_and_the_file_are_seen_in_the_servers_memory_or_the_words_say_so(tmp_path):
    need("cc")
    from harness.driving.server import Server

    way = disturb.hurried(random.Random(1), PYTHON)
    command = [sys.executable, "-m", "implementations.pthread"]
    with Server(command, directory=tmp_path / "g", env=way.env) as running:
        way.look(running)
        assert way.disturbs and not way.lacks and len(way.loads) == 2
    with Server(
        ["env", "-u", "LD_PRELOAD", *command], directory=tmp_path / "h", env=way.env
    ) as running:
        way.look(running)
        assert way.disturbs and way.lacks == [disturb.not_seen(disturb.compiled_shim())]
    with Server(
        ["sh", "-c", '"$@" & wait', "sh", "env", "-u", "PYTHONPATH", *command],
        directory=tmp_path / "i",
        env=way.env,
    ) as running:
        way.look(running)
        assert not way.disturbs and set(way.lacks) == {
            disturb.not_seen(disturb.compiled_shim()),
            disturb.not_seen(disturb.switch_interval()),
        }
        running.end()


LOCKS = """
import queue, threading
lock, again = threading.Lock(), threading.RLock()
assert isinstance(lock, threading.Lock) and not lock.locked() and lock.acquire(timeout=1) and lock.locked()
assert not lock.acquire(False) and not lock.acquire(blocking=False)
lock.release()
full, count = threading.Condition(lock), 0
items = queue.Queue(3)
def work():
    global count
    for _ in range(300):
        with again, again, lock:
            count += 1
            full.notify()
        items.put(1)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for _ in range(1200): items.get()
with full:
    full.wait_for(lambda: count == 1200)
for thread in threads: thread.join()
try:
    lock.release()
except RuntimeError:
    print(count, type(lock).__module__)
"""


def test_the_locks_that_wait_are_locks_all_the_same():
    env, _, _ = disturb.short_turns(random.Random(1), [sys.executable])
    ended = subprocess.run(
        [sys.executable, "-c", LOCKS],
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr) == ("1200 sitecustomize\n", "")


SEMAPHORES = """
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>
static sem_t lock;
static pthread_spinlock_t other;
static long count;
static void *work(void *none)
{
    for (int i = 0; i < 2000; i++) {
        sem_wait(&lock); pthread_spin_lock(&other); count++; pthread_spin_unlock(&other); sem_post(&lock);
    }
    return none;
}
int main(void)
{
    pthread_t threads[4];
    sem_init(&lock, 0, 1);
    pthread_spin_init(&other, 0);
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, work, 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    int file = open("kept", O_RDWR | O_CREAT, 0600);
    int good = flock(file, LOCK_EX) == 0 && pwrite(file, "abc", 3, 0) == 3 && flock(file, LOCK_UN) == 0 && lseek(file, 0, SEEK_END) == 3;
    printf("%ld %d\\n", count, good);
    return sem_trywait(&lock);
}
"""


def test_semaphores_spin_locks_and_locks_of_files_stay_what_they_are(tmp_path):
    need("cc")
    source, program = tmp_path / "locking.c", tmp_path / "locking"
    source.write_text(SEMAPHORES)
    subprocess.run(["cc", "-pthread", "-o", program, source], check=True)
    env, _, _ = disturb.shim(random.Random(1), [str(program)])
    ended = subprocess.run(
        [program], env=environment(env), capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout) == (0, "8000 1\n"), ended.stderr


def interval(env, *flags):
    """What sys.getswitchinterval() is in a Python started so, and what a sitecustomize of one's own
    printed.
    """
    ended = subprocess.run(
        [sys.executable, *flags, "-c", "import sys; print(sys.getswitchinterval())"],
        env=environment(env),
        capture_output=True,
        text=True,
    )
    assert ended.stderr == ""
    return ended.stdout.split()


def test_python_takes_turns_often_and_runs_another_sitecustomize_too(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('mine')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    env, words, _ = disturb.short_turns(random.Random(1), [sys.executable, "-m", "server"])
    assert interval(env) == ["mine", "1e-06"] and "often" in words
    assert interval({"PYTHONPATH": env["PYTHONPATH"]}) == ["mine", "0.005"]


@pytest.mark.parametrize("flag", ["-I", "-E", "-uE"])
def test_a_python_that_hears_nothing_from_outside_is_said_to(flag):
    env, words, _ = disturb.short_turns(random.Random(1), [sys.executable, flag, "-m", "server"])
    assert env == {} and re.search(r"ignores the environment", words)


def test_a_server_that_was_stopped_in_bursts_goes_on(tmp_path):
    from harness.driving.server import Server

    with Server("fork", directory=tmp_path / "g", args=("--admit", "all")) as running:
        with disturb.Disturbance("", stops=1).during(running), WireClient(running.address) as ana:
            ana.join("ana", "secret")
            for _ in range(20):
                ana.fence()
        assert not [thread for thread in threading.enumerate() if "stop_and_go" in thread.name]
        with WireClient(running.address) as ben:
            ben.join("ben", "secret")


TAKEN = """        err(c, "name-taken somebody has this name, or it is not to be had");
        return;
    }
"""


@pytest.mark.long
def test_a_name_checked_and_taken_in_two_sections_under_one_lock_is_found_in_c(tmp_path):
    need("cc")
    text = (ROOT / "tests" / "strangers" / "threads.c").read_text(encoding="utf-8")
    assert text.count(TAKEN) == 1
    text = text.replace(
        TAKEN,
        TAKEN
        + "    leave_room();\n    enter_room();\n    if (c->state == OVER)\n        return;\n",
    )
    (tmp_path / "threads.c").write_text(text, encoding="utf-8")
    program = tmp_path / "threads"
    subprocess.run(
        ["cc", "-O2", "-pthread", tmp_path / "threads.c", "-lcrypt", "-lm", "-o", program],
        check=True,
    )
    verdicts = exhibits.checked(
        [str(program)], tmp_path, "--deadline", "5", "--only", "a-name-for-one"
    )
    assert verdicts["a-name-for-one"].failure.sentence == "two-with-one-name"
