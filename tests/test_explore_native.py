"""The library that has a program in C report its steps, under a controller of the tests' own."""

import collections
import contextlib
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import lacks, need

from harness.driving import compiled
from harness.driving.client import WireClient
from harness.driving.deadlines import DEADLINE, wait_until
from harness.driving.programs import preloading
from harness.driving.server import Server
from harness.explore import native
from harness.teaching import soak

FLAGS = "-g", "-O1", "-Wall", "-Werror", "-pthread"
GO_ON, AGAIN, HOLD = b"!", b"a", b""


@pytest.fixture(autouse=True)
def compiler():
    need("cc")


def environment(gates):
    """The variables that bring a program under the controller in this folder."""
    return {**preloading(native.gates_library()), "GRUPO_GATES": str(gates)}


class Gates:
    """A controller that notes each event, and answers it as answer(event) says: HOLD for not yet."""

    def __init__(self, folder, answer=lambda event: GO_ON):
        self.folder, self.answer = folder, answer
        self.events, self.held, self.faults = [], [], []
        self.connections = 0
        self.answering = threading.Lock()  # guards `answer` and `held`
        folder.mkdir()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(folder / "gates"))
        self.listener.listen(4096)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while not self.ends.is_set():
            for key, _ in self.selector.select(0.02):
                if key.fileobj is self.listener:
                    self.selector.register(self.listener.accept()[0], selectors.EVENT_READ)
                    self.connections += 1
                else:
                    self.take(key.fileobj)

    def take(self, connection):
        try:
            packet = connection.recv(4096)
        except OSError:
            packet = b""
        if not packet:
            self.selector.unregister(connection)
            connection.close()
            return
        try:
            event = json.loads(packet)
        except ValueError:
            self.faults.append(packet)
            event = {}
        with self.answering:
            self.events.append(event)
            answer = self.answer(event)
            if answer == HOLD:
                self.held.append((event["a"], connection))
            else:
                with contextlib.suppress(OSError):
                    connection.send(answer)

    def let_go(self, actor=None):
        """Lets this actor go on, once it is held; without one all, from now on."""
        if actor is None:
            with self.answering:
                self.answer = lambda event: GO_ON
                while self.held:
                    self.held.pop()[1].send(GO_ON)
            return
        wait_until(lambda: actor in dict(self.held))
        with self.answering:
            self.held.remove((actor, connection := dict(self.held)[actor]))
            connection.send(GO_ON)

    def close(self):
        self.ends.set()
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        assert not self.faults

    def of(self, *names, **fields):
        """The events of these names, with these fields."""
        return [
            event
            for event in list(self.events)
            if (not names or event["e"] in names)
            and all(event.get(key) == value for key, value in fields.items())
        ]

    def env(self):
        return {**os.environ, **environment(self.folder)}


@pytest.fixture
def gates(tmp_path):
    """gates(answer) -> a controller that is closed at the end."""
    made = []

    def make(**how):
        made.append(Gates(tmp_path / f"gates{len(made)}", **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


# A result, and what it left in errno.
HEAD = """
#define _GNU_SOURCE
#define SHOW(call) \\
    do { \\
        errno = 0; \\
        long result = call; \\
        printf("%ld %d\\n", result, errno); \\
    } while (0)
"""


@pytest.fixture
def built(tmp_path):
    """built(source, *flags) -> the path of the program, compiled with -g."""

    def build(text, *flags):
        source = tmp_path / "program.c"
        source.write_text(HEAD + text)
        program = tmp_path / "program"
        subprocess.run(["cc", *FLAGS, "-o", program, source, *flags], check=True)
        return program

    return build


def ran(program, gates, *args, **options):
    """(exit status, stdout) of a program at these gates."""
    done = subprocess.run(
        [program, *args],
        env=gates.env(),
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE,
        **options,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@contextlib.contextmanager
def started(program, gates, *args, **options):
    """A program at these gates, which is killed at the end if it still runs."""
    process = subprocess.Popen([program, *args], env=gates.env(), stdout=subprocess.PIPE, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def check_order(events):
    """Fails unless each thread's waits and holds follow each other, and holds are exclusive."""
    events = sorted(events, key=lambda event: event["t"])
    last, holders = {}, {}
    for event in events:
        me, name, about = (event["p"], event["th"]), event["e"], event["o"]
        before = last.get(me)
        if before and before["e"] == "B.lock.wait":
            assert (name, about) == ("E.lock.wait", before["o"]), (before, event)
        if before and before["e"] == "E.lock.wait" and before["n"] == 1:
            holds = {"B.lock.hold": about, "E.cond.wait": event.get("l")}  # again, after a wait
            assert holds.get(name) == before["o"], (before, event)
        last[me] = event
        lock = event["p"], event.get("l", about)
        have = holders.setdefault(lock, {})
        if name in ("B.lock.hold", "E.cond.wait"):
            shared = event.get("n") == 1 and name == "B.lock.hold"
            assert not have or (shared and all(have.values())), (have, event)
            have[me] = shared
        elif name in ("E.lock.hold", "B.cond.wait"):
            assert have.pop(me, None) is not None, event
    return holders


def names_of(gates, **fields):
    return [event["e"] for event in gates.of(**fields)]


# -- Locks and threads -----------------------------------------------------------------------------

LOCKS = """
#include <pthread.h>
#include <semaphore.h>
#include <threads.h>
#include <stdio.h>
#include <errno.h>
#include <time.h>
static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER, twice;
static pthread_rwlock_t both = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_barrier_t together;
static sem_t items;
static mtx_t c11;
static cnd_t c11_changed;
static int ready, total;

static void *work(void *number)
{
    pthread_barrier_wait(&together);
    for (int i = 0; i < 20; i++) {
        pthread_mutex_lock(&plain);
        total++;
        pthread_mutex_unlock(&plain);
        pthread_mutex_lock(&twice);
        pthread_mutex_lock(&twice);
        pthread_mutex_unlock(&twice);
        pthread_mutex_unlock(&twice);
        if (i % 4 == 0) pthread_rwlock_wrlock(&both); else pthread_rwlock_rdlock(&both);
        pthread_rwlock_unlock(&both);
        pthread_spin_lock(&spin);
        pthread_spin_unlock(&spin);
        mtx_lock(&c11);
        mtx_unlock(&c11);
        sem_post(&items);
    }
    pthread_mutex_lock(&plain);
    while (!ready)
        pthread_cond_wait(&changed, &plain);
    pthread_mutex_unlock(&plain);
    mtx_lock(&c11);
    cnd_signal(&c11_changed);
    mtx_unlock(&c11);
    return number;
}

int main(void)
{
    pthread_t threads[4];
    pthread_mutexattr_t kind;
    struct timespec soon, never = { 1 };
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&twice, &kind);
    pthread_spin_init(&spin, 0);
    pthread_barrier_init(&together, NULL, 4);
    sem_init(&items, 0, 0);
    mtx_init(&c11, mtx_timed);
    cnd_init(&c11_changed);
    for (long i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < 80; i++)
        sem_wait(&items);
    SHOW(sem_trywait(&items));
    SHOW(sem_timedwait(&items, &never));
    pthread_mutex_lock(&plain);
    printf("%d\\n", pthread_cond_timedwait(&changed, &plain, &never) == ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &soon);
    soon.tv_nsec += 1000000;
    soon.tv_sec += soon.tv_nsec / 1000000000;
    soon.tv_nsec %= 1000000000;
    printf("%d\\n", pthread_cond_clockwait(&changed, &plain, CLOCK_MONOTONIC, &soon) == ETIMEDOUT);
    SHOW(mtx_trylock(&c11));
    SHOW(mtx_trylock(&c11));
    mtx_unlock(&c11);
    ready = 1;
    pthread_cond_broadcast(&changed);
    printf("%d %d\\n", pthread_mutex_trylock(&plain) == EBUSY,
           pthread_mutex_timedlock(&plain, &never) == ETIMEDOUT);
    pthread_mutex_unlock(&plain);
    for (long i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        printf("%ld\\n", (long)result);
    }
    printf("%d\\n", total);
    return 3;
}
"""


def test_locks_conditions_and_semaphores(gates, built):
    program, one = built(LOCKS), gates()
    plain = subprocess.run([program], capture_output=True, text=True)
    assert ran(program, one) == (plain.returncode, plain.stdout) == (3, plain.stdout)
    check_order(one.events)
    assert len(one.of("I.begin")) == len(one.of("I.end")) == len(one.of("I.thread")) == 4
    assert [event["o"] for event in one.of("I.thread")] == [f"thread-{n}" for n in (1, 2, 3, 4)]
    for thread in range(1, 5):
        mine = names_of(one, a=f"thread-{thread}")
        assert (mine[0], mine[-1]) == ("I.begin", "I.end")
    assert len(one.of("I.sem.post")) == 80 and len(one.of("E.sem.wait", n=1)) >= 80
    assert [event["o"] for event in one.of("B.join")] == [f"thread-{n}" for n in (1, 2, 3, 4)]
    assert len(one.of("E.cond.wait", n=-1)) == 2 == len(one.of("B.cond.wait", n=1))
    assert one.of("I.cond.wake", n=0) and one.of("I.cond.wake", n=1)
    assert {event["o"] for event in one.of("B.lock.hold")} == {
        "plain",
        "twice",
        "both",
        "spin",
        "c11",
    }
    assert {event["o"] for event in one.of("B.cond.wait", l="plain")} == {"changed"}
    assert len(one.of("B.lock.hold", o="twice")) == 80, "the inner of two holds is none"
    assert one.of("E.lock.wait", n=-1) and one.of("B.lock.wait", n=1)


def test_a_thread_that_is_held_does_not_go_on(gates, built):
    program = built(LOCKS)
    one = gates(answer=lambda event: HOLD if event["e"] == "B.lock.wait" else GO_ON)
    with started(program, one) as process:
        wait_until(lambda: len(one.held) == 4)  # main waits for a semaphore
        assert not one.of("B.lock.hold") and process.poll() is None
        one.let_go()
        assert process.wait(DEADLINE) == 3
    check_order(one.events)


WAKES = """
#include <pthread.h>
#include <stdio.h>
#include <string.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static int items, least;
static void *take(void *has_if)
{
    pthread_mutex_lock(&lock);
    if (has_if && items == 0)
        pthread_cond_wait(&filled, &lock); /* wrong: a condition may be over when it is seen */
    while (!has_if && items == 0)
        pthread_cond_wait(&filled, &lock);
    if (--items < least)
        least = items;
    pthread_mutex_unlock(&lock);
    return NULL;
}
static void *give(void *unused)
{
    pthread_mutex_lock(&lock);
    items++;
    pthread_cond_signal(&filled);
    pthread_mutex_unlock(&lock);
    return NULL;
}
int main(int argc, char **argv)
{
    pthread_t threads[4];
    void *has_if = argc > 1 ? argv : NULL;
    pthread_create(&threads[0], NULL, take, has_if);
    pthread_create(&threads[1], NULL, give, NULL);
    pthread_create(&threads[2], NULL, take, has_if);
    pthread_join(threads[1], NULL);
    pthread_join(threads[2], NULL);
    pthread_create(&threads[3], NULL, give, NULL);
    pthread_join(threads[3], NULL);
    pthread_join(threads[0], NULL);
    printf("%d\\n", least);
    return 0;
}
"""


@pytest.mark.parametrize("flags", [(), ("if",)])
def test_another_thread_comes_between_a_signal_and_the_one_that_it_wakes(flags, gates, built):
    """thread-1 waits; thread-2 gives; thread-3 takes it before thread-1 has the lock again. One
    with `if` then takes what is not there.
    """
    held = {"thread-2": "B.lock.wait", "thread-3": "B.lock.wait"}

    def answer(event):
        is_woken = event["e"] == "B.lock.wait" and one.of("I.cond.wake")
        return HOLD if held.get(event["a"]) == event["e"] or is_woken else GO_ON

    one = gates(answer=answer)
    with started(built(WAKES), one, *flags) as process:
        wait_until(lambda: one.of("B.cond.wait", a="thread-1"))
        one.let_go("thread-2")
        wait_until(lambda: one.of("I.end", a="thread-2"))
        one.let_go("thread-3")
        wait_until(lambda: one.of("I.end", a="thread-3"))
        one.let_go("thread-1")
        wait_until(lambda: len(one.of("B.cond.wait", "I.end", a="thread-1")) == 2)
        one.let_go()
        assert process.wait(DEADLINE) == 0
        assert process.stdout.read() == (b"-1\n" if flags else b"0\n")
    check_order(one.events)


WAITS = """
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>
static void handle(int number) {}
int main(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
    int pipes[2];
    fd_set set;
    struct timespec soon;
    struct timeval little = { 0, 20000 };
    if (pipe(pipes)) return 1;
    FD_ZERO(&set);
    FD_SET(pipes[0], &set);
    int ready = select(pipes[0] + 1, &set, NULL, NULL, &little);
    printf("%d %d\\n", ready, FD_ISSET(pipes[0], &set) != 0);
    printf("%d\\n", poll(&(struct pollfd){ pipes[0], POLLIN, 0 }, 1, 20));
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20000000;
    soon.tv_sec += soon.tv_nsec / 1000000000;
    soon.tv_nsec %= 1000000000;
    pthread_mutex_lock(&lock);
    printf("%d\\n", pthread_cond_timedwait(&changed, &lock, &soon) == ETIMEDOUT);
    pthread_mutex_unlock(&lock);
    sigset_t alarms;
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarms, NULL);
    printf("%d\\n", sigtimedwait(&alarms, NULL, &(struct timespec){ 0, 20000000 }) < 0 && errno == EAGAIN);
    ualarm(20000, 0);
    int number;
    printf("%d ", sigwait(&alarms, &number));
    printf("%d\\n", number == SIGALRM);
    sem_t never;
    sem_init(&never, 0, 0);
    struct sigaction action = { .sa_handler = handle };
    sigaction(SIGALRM, &action, NULL);
    sigprocmask(SIG_UNBLOCK, &alarms, NULL);
    ualarm(20000, 0);
    printf("%d ", sem_wait(&never));
    printf("%d\\n", errno == EINTR);
    return 0;
}
"""


def test_a_controller_stops_time(gates, built):
    """Each wait that times out is begun again twice, with the whole of its time."""
    seen = {}

    def answer(event):
        ends = ("E.wait", 0), ("E.cond.wait", -1), ("E.sem.wait", -1)
        timed_out = (event["e"], event.get("n")) in ends
        count = seen[event["at"]] = seen.get(event.get("at"), 0) + timed_out if timed_out else 0
        return AGAIN if timed_out and count < 3 else GO_ON

    one = gates(answer=answer)
    assert ran(built(WAITS), one) == (0, "0 0\n0\n1\n1\n0 1\n-1 1\n")
    assert len(one.of("B.wait")) == 4 and len(one.of("E.wait", n=0)) == 9
    assert len(one.of("B.cond.wait")) == 1 and len(one.of("E.cond.wait", n=-1)) == 3
    times = [event["t"] for event in one.of("E.cond.wait")]
    assert times[-1] - times[0] > 15e6  # nanoseconds: each time it really waited again


ENDS = """
#include <pthread.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int waiting;

static void unlock(void *unused) { pthread_mutex_unlock(&lock); }

static void *exits(void *unused) { pthread_exit(NULL); }

static void *is_cancelled(void *unused)
{
    pthread_mutex_lock(&lock);
    waiting = 1;
    pthread_cleanup_push(unlock, NULL);
    for (;;)
        pthread_cond_wait(&changed, &lock);
    pthread_cleanup_pop(1);
    return NULL;
}

static void *reads(void *fd)
{
    char byte;
    return (void *)(long)read(*(int *)fd, &byte, 1);
}

int main(void)
{
    pthread_t threads[3];
    int pipes[2], is_waiting = 0;
    void *result;
    if (pipe(pipes)) return 1;
    pthread_create(&threads[0], NULL, exits, NULL);
    pthread_create(&threads[1], NULL, is_cancelled, NULL);
    pthread_create(&threads[2], NULL, reads, &pipes[0]);
    while (!is_waiting) {
        pthread_mutex_lock(&lock);
        is_waiting = waiting;
        pthread_mutex_unlock(&lock);
    }
    pthread_cancel(threads[1]);
    pthread_cancel(threads[2]);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], &result);
        if ((result == PTHREAD_CANCELED) != (i > 0)) return 2;
    }
    return 0;
}
"""


def test_threads_that_exit_and_that_are_cancelled(gates, built):
    one = gates()
    assert ran(built(ENDS), one) == (0, "")
    holders = check_order(one.events)
    assert not any(holders.values())
    for thread in range(1, 4):
        assert names_of(one, a=f"thread-{thread}")[-1] == "I.end"
    assert names_of(one, a="thread-2")[-3:] == ["E.cond.wait", "E.lock.hold", "I.end"]


# -- Processes, descriptors, signals ---------------------------------------------------------------

FORKS = """
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
static int up[2], back[2];

static void close_all(const char *how)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (!strcmp(how, "loop"))
        for (int fd = 3; fd < (int)limit.rlim_cur; fd++)
            fd == up[1] ? 0 : close(fd);
    else if (!strcmp(how, "range")) {
        close_range(3, up[1] - 1, 0);
        close_range(up[1] + 1, ~0U, 0);
    } else if (!strcmp(how, "from"))
        closefrom(up[1] + 1);
    else if (!strcmp(how, "behind"))
        syscall(436 /* close_range */, up[1] + 1, ~0U, 0);
}

static void *idle(void *unused)
{
    char byte;
    while (read(back[0], &byte, 1) > 0)
        ;
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    char line[8];
    if (pipe(up) || pipe(back)) return 1;
    pthread_create(&thread, NULL, idle, NULL);
    if (write(back[1], "x", 1) != 1) return 1;
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0) {
            pid_t grandchild;
            close_all(argv[1]);
            if (write(up[1], "one", 3) != 3) _exit(7);
            close_all(argv[1]);
            if ((grandchild = fork()) == 0)
                _exit(write(up[1], "two", 3) == 3 ? 0 : 8);
            int status;
            _exit(waitpid(grandchild, &status, 0) == grandchild ? WEXITSTATUS(status) : 9);
        }
        int status;
        if (read(up[0], line, 6) <= 0 || waitpid(child, &status, 0) != child || status) return 2;
    }
    close(back[1]);
    pthread_join(thread, NULL);
    return 0;
}
"""


@pytest.mark.parametrize("how", ["nothing", "loop", "range", "from", "behind"])
def test_children_are_actors_of_their_own_and_close_what_they_like(how, gates, built):
    one = gates()
    assert ran(built(FORKS), one, how) == (0, "")
    forks = one.of("E.fork")
    children = {event["n"] for event in forks}
    assert len(forks) == 4 == len(children)
    for child in children:
        mine = one.of(p=child)
        assert mine[0]["e"] == "I.begin" and mine[0]["a"] in ("child-1", "child-2")
        assert [event["n"] for event in mine if event["e"] == "E.pipe.write"] == [3]
    joined = {event["o"] for event in one.of("B.join", e="B.join")} - {"thread-1"}
    assert joined == set(map(str, children))
    pipes = {event["o"] for event in one.of("B.pipe.write", "B.pipe.read")}
    assert len(pipes) == 2 and all(re.fullmatch(r"pipe:\[\d+\]", name) for name in pipes)


def test_the_end_of_a_process_is_seen_while_its_child_lives(gates, built):
    """The child has no copy of its parent's gate."""
    one = gates()
    program = built(
        """
        #include <unistd.h>
        int main(void)
        {
            char byte;
            if (fork() == 0)
                _exit(read(0, &byte, 1));
            return write(1, "x", 1) != 1;
        }
        """
    )
    with started(program, one, stdin=subprocess.PIPE) as process:
        assert process.wait(DEADLINE) == 0
        wait_until(lambda: one.of("B.recv", o="console"))
        open_still = lambda: len(one.selector.get_map()) - 1
        wait_until(lambda: open_still() == 1)
        process.stdin.close()
        wait_until(lambda: open_still() == 0)


def test_a_gate_has_no_number_that_the_program_could_get(gates, built):
    """A program that opens files until it has no descriptor left, with the limits of most systems
    and with others, gets the same numbers as without gates.
    """
    program = built(
        """
        #include <fcntl.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/resource.h>
        #include <unistd.h>
        int main(int argc, char **argv)
        {
            struct rlimit limit = { atoi(argv[1]), atoi(argv[2]) };
            int pipes[2], last = -1, fd, count = 0;
            setrlimit(RLIMIT_NOFILE, &limit);
            if (pipe(pipes) || write(pipes[1], "x", 1) != 1) return 1;
            while ((fd = open("/dev/null", O_RDONLY)) >= 0)
                last = fd, count++;
            getrlimit(RLIMIT_NOFILE, &limit);
            printf("%d %d %ld\\n", last, count, (long)limit.rlim_cur);
            return write(pipes[1], "x", 1) != 1;
        }
        """
    )
    for limits in (("64", "512"), ("64", "64")):
        one = gates()
        plain = subprocess.run([program, *limits], capture_output=True, text=True).stdout
        status, printed = ran(program, one, *limits)
        assert status == 0 and len(one.of("E.pipe.write", n=1)) == 2
        if limits[0] != limits[1]:
            assert printed == plain
        else:
            assert printed.split()[:1] == plain.split()[:1] and one.connections == 1


SHARED = """
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static struct { pthread_mutex_t lock; sem_t turns; int total; } *all;

static void work(sem_t *named)
{
    int file = open("locked", O_CREAT | O_RDWR, 0600);
    for (int i = 0; i < 10; i++) {
        pthread_mutex_lock(&all->lock);
        all->total++;
        pthread_mutex_unlock(&all->lock);
        flock(file, LOCK_EX);
        flock(file, LOCK_UN);
        lockf(file, F_LOCK, 0);
        lockf(file, F_ULOCK, 0);
        fcntl(file, F_SETLKW, &(struct flock){ .l_type = F_WRLCK });
        fcntl(file, F_SETLK, &(struct flock){ .l_type = F_UNLCK });
    }
    flock(file, LOCK_EX);
    lockf(file, F_LOCK, 0);
    close(file);
    FILE *stream = fopen("locked", "r+");
    flock(fileno(stream), LOCK_EX);
    fclose(stream);
    sem_post(&all->turns);
    sem_post(named);
}

int main(void)
{
    pthread_mutexattr_t shared;
    char name[32];
    snprintf(name, sizeof name, "/grupo-%d", getpid());
    sem_t *named = sem_open(name, O_CREAT, 0600, 0);
    sem_unlink(name);
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutex_init(&all->lock, &shared);
    sem_init(&all->turns, 1, 0);
    for (int i = 0; i < 3; i++)
        if (fork() == 0) {
            work(named);
            _exit(0);
        }
    for (int i = 0; i < 3; i++) {
        sem_wait(&all->turns);
        sem_wait(named);
        wait(NULL);
    }
    printf("%d\\n", all->total);
    return 0;
}
"""


def test_what_processes_share_has_one_name_in_all_of_them(gates, built, tmp_path):
    one = gates()
    assert ran(built(SHARED), one, cwd=tmp_path) == (0, "30\n")
    names = {event["o"] for event in one.of("B.lock.hold")}
    assert names == {"shared-lock-1", "flock:locked", "fcntl:locked"}
    for event in one.events:
        if "lock" in event["e"]:
            event["p"] = 0  # one lock for all
    holders = check_order(one.events)
    assert not any(holders.values())
    posts = collections.Counter(event["o"] for event in one.of("I.sem.post"))
    [named] = {*posts} - {"shared-sem-1"}
    assert posts == {"shared-sem-1": 3, named: 3} and named.startswith("/grupo-")


def test_programs_that_it_starts_are_controlled_too(gates, built):
    program = built(
        """
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>
        int main(int argc, char **argv)
        {
            char line[16] = "";
            if (argc > 1) return write(1, argv[1], 1) != 1;
            snprintf(line, sizeof line, "exec %s 2", argv[0]);
            FILE *child = popen("echo 1", "r");
            if (!fgets(line, sizeof line, child) || strcmp(line, "1\\n") || pclose(child)) return 1;
            if (system("exit 3") != 3 << 8) return 2;
            if (daemon(1, 1)) return 3;
            execl(argv[0], argv[0], "x", NULL);
            return 4;
        }
        """
    )
    one = gates()
    assert ran(program, one) == (0, "x")
    [write] = wait_until(lambda: one.of("E.pipe.write", o="stdout", n=1))
    assert write["a"] == "main" and write["at"].startswith("program+")


@pytest.mark.long
def test_a_program_in_cpp(gates, tmp_path):
    need("c++")
    source, program = tmp_path / "program.cpp", tmp_path / "program"
    source.write_text(
        """
        #include <chrono>
        #include <condition_variable>
        #include <iostream>
        #include <mutex>
        #include <shared_mutex>
        #include <stdexcept>
        #include <thread>
        #include <vector>
        std::mutex guard;
        std::shared_mutex readers;
        std::condition_variable changed;
        int total;
        struct Last { ~Last() { std::lock_guard<std::mutex> hold(guard); total++; } };
        thread_local Last last;
        int main()
        {
            std::vector<std::thread> threads;
            for (int i = 0; i < 4; i++)
                threads.emplace_back([] {
                    (void)&last;
                    std::shared_lock<std::shared_mutex> reading(readers);
                    std::unique_lock<std::mutex> hold(guard);
                    changed.wait_for(hold, std::chrono::milliseconds(1), [] { return false; });
                    try { total++; throw std::runtime_error("x"); } catch (std::exception &) { total++; }
                    changed.notify_all();
                });
            for (auto &thread : threads) thread.join();
            std::cout << total << std::endl;
        }
        """
    )
    subprocess.run(["c++", *FLAGS, "-o", program, source], check=True)
    one = gates()
    assert ran(program, one) == (0, "12\n")
    check_order(one.events)
    assert {event["o"] for event in one.of("B.lock.hold")} == {"guard", "readers"}
    assert [event["e"] for event in one.events][-1] != "I.begin" and len(one.of("I.end")) == 4


@pytest.mark.long
@pytest.mark.parametrize("sanitizer", ["address", "thread", "undefined"])
def test_a_program_with_a_sanitizer(sanitizer, gates, built, tmp_path):
    try:
        program = built(LOCKS, f"-fsanitize={sanitizer}")
    except subprocess.CalledProcessError:
        lacks(f"the C compiler has no -fsanitize={sanitizer}")
    one = gates()
    assert ran(program, one)[0] == 3
    check_order(one.events)
    assert one.of("B.lock.hold", o="plain")


SIGNALS = """
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
static int pipes[2];
static volatile sig_atomic_t count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void handle(int number)
{
    int kept = errno;
    count++;
    if (write(pipes[1], "x", 1) < 0)
        _exit(9);
    errno = kept;
}

static void *work(void *unused)
{
    for (int i = 0; i < 300; i++) {
        pthread_mutex_lock(&lock);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

int main(void)
{
    struct sigaction action = { .sa_handler = handle };
    struct itimerval often = { { 0, 500 }, { 0, 500 } }, never = { { 0 } };
    pthread_t threads[3];
    if (pipe(pipes)) return 1;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    while (count < 20)
        errno = 0;
    setitimer(ITIMER_REAL, &never, NULL);
    return 0;
}
"""


def test_signal_handlers_may_call_anything(gates, built):
    one = gates()
    assert ran(built(SIGNALS), one) == (0, "")
    assert len(one.of("E.pipe.write", n=1)) >= 20


ALL_AT_ONCE = """
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int pipes[2];

static void handle(int number)
{
    int kept = errno;
    char byte;
    if (write(pipes[1], "x", 1) < 0 || read(pipes[0], &byte, 1) < 0)
        _exit(9);
    errno = kept;
}

static void *nothing(void *unused)
{
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void *work(void *unused)
{
    char byte;
    int status;
    for (int i = 0; i < 30; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, NULL)) abort();
        pid_t child = fork();
        if (child == 0) {
            if (i % 3 == 0) pthread_create(&thread, NULL, nothing, NULL);
            _exit(write(pipes[1], "y", 1) != 1);
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        if (status || read(pipes[0], &byte, 1) != 1) abort();
        pthread_join(thread, NULL);
        pthread_setname_np(pthread_self(), "maker");
    }
    return NULL;
}

int main(void)
{
    struct sigaction action = { .sa_handler = handle, .sa_flags = SA_RESTART };
    struct itimerval often = { { 0, 900 }, { 0, 900 } };
    pthread_t threads[4];
    if (pipe(pipes)) return 1;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
"""


def test_threads_forks_and_signals_at_once(gates, built):
    one = gates()
    assert ran(built(ALL_AT_ONCE), one) == (0, "")
    assert len(one.of("E.fork")) == 120
    assert one.of("E.pipe.write", a="maker") and one.of("E.pipe.write", a="child-120")


def test_when_the_controller_goes_all_gates_are_open(gates, built):
    program = built(LOCKS)
    one = gates(answer=lambda event: HOLD if event["e"] == "B.lock.wait" else GO_ON)
    with started(program, one) as process:
        wait_until(lambda: len(one.held) == 4)
        one.close()
        one.close = lambda: None
        assert process.wait(DEADLINE) == 3


def test_in_a_folder_with_a_space_in_its_name(gates, built, tmp_path, monkeypatch):
    (tmp_path / "my course" / ".venv").mkdir(parents=True)
    monkeypatch.setattr(compiled, "ROOT", tmp_path / "my course")
    monkeypatch.setattr(compiled.tempfile, "gettempdir", lambda: str(tmp_path))
    one = gates()
    assert ran(built(FILES), one, cwd=tmp_path)[0] == 0
    assert one.of("B.keep") and list(tmp_path.glob("grupo-compiled-*/gates-*"))


def test_without_a_controller_nothing_happens(built, tmp_path):
    program = built(LOCKS)
    for folder in (tmp_path / "nothing", Path("/nowhere" * 30)):
        env = {**os.environ, **environment(folder)}
        done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=DEADLINE)
        assert done.returncode == 3 and not done.stderr


@pytest.mark.long
def test_thousands_of_threads(gates, built):
    program = built(
        """
        #include <pthread.h>
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        static pthread_barrier_t together;
        static int total;
        static void *work(void *unused)
        {
            pthread_barrier_wait(&together);
            pthread_mutex_lock(&lock);
            total++;
            pthread_mutex_unlock(&lock);
            return NULL;
        }
        int main(void)
        {
            static pthread_t threads[2000];
            pthread_attr_t small;
            pthread_attr_init(&small);
            pthread_attr_setstacksize(&small, 16384);
            pthread_barrier_init(&together, NULL, 2000);
            for (int i = 0; i < 2000; i++)
                if (pthread_create(&threads[i], &small, work, NULL)) return 1;
            for (int i = 0; i < 2000; i++)
                pthread_join(threads[i], NULL);
            return total != 2000;
        }
        """
    )
    one = gates()
    assert ran(program, one) == (0, "")
    check_order(one.events)
    assert one.connections == 2001 and len(one.of("I.end")) == 2000


# -- What is written and read ----------------------------------------------------------------------

FILES = """
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
int main(void)
{
    char line[64], *more = NULL;
    size_t size = 0;
    int pair[2], pipes[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || pipe(pipes)) return 1;
    int file = open("jour\\"nal", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    struct iovec pieces[2] = { { "one\\n", 4 }, { "two\\n", 4 } };
    SHOW(writev(pair[0], pieces, 2));
    FILE *in = fdopen(pair[1], "r"), *out = fdopen(pipes[1], "w"), *back = fdopen(pipes[0], "r");
    printf("%s", fgets(line, sizeof line, in));
    printf("%zd %s", getline(&more, &size, in), more);
    fprintf(out, "%s %d\\n", "three", 3);
    fputs("four\\n", out);
    fflush(out);
    printf("%s", fgets(line, sizeof line, back));
    printf("%s", fgets(line, sizeof line, back));
    SHOW(write(file, "x", 1));
    SHOW(fsync(file));
    SHOW(rename("jour\\"nal", "journal"));
    SHOW(read(999, line, 1));
    SHOW(recv(file, line, 1, 0));
    SHOW(recv(pair[0], line, 1, MSG_DONTWAIT));
    SHOW(close(pair[0]));
    SHOW(close(pair[0]));
    dprintf(1, "%d\\n", 5);
    return 0;
}
"""


def test_pipes_sockets_and_files_also_by_way_of_stdio(gates, built, tmp_path):
    program, one = built(FILES), gates()
    plain = subprocess.run([program], capture_output=True, text=True, cwd=tmp_path)
    for flags in ((), ("-D_FORTIFY_SOURCE=2", "-O2")):
        program = built(FILES, *flags)
        del one.events[:]
        assert ran(program, one, cwd=tmp_path) == (0, plain.stdout)
        pair, pipe = dict.fromkeys(event["o"] for event in one.of("B.pipe.read")), one.of("B.keep")
        assert len(pair) == 2  # both ends of a pair, and of a pipe, have one name
        assert {event["o"] for event in one.of("B.pipe.write")} == {*pair, "stdout"}
        assert [event["o"] for event in pipe] == ["jour?nal", "jour?nal", "journal"]
        assert [event["n"] for event in one.of("E.pipe.write", o=next(iter(pair)))] == [8]


QUEUES = """
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>
static mtx_t lock;
static cnd_t changed;
static int go;

static int work(void *exits)
{
    mtx_lock(&lock);
    while (!go)
        cnd_wait(&changed, &lock);
    mtx_unlock(&lock);
    if (exits)
        thrd_exit(5);
    return 7;
}

int main(void)
{
    thrd_t threads[2];
    int results[2];
    mtx_init(&lock, mtx_plain);
    cnd_init(&changed);
    for (int i = 0; i < 2; i++)
        thrd_create(&threads[i], work, i ? &lock : NULL);
    thrd_sleep(&(struct timespec){ 0, 3000000 }, NULL);
    mtx_lock(&lock);
    go = 1;
    cnd_broadcast(&changed);
    mtx_unlock(&lock);
    for (int i = 0; i < 2; i++)
        thrd_join(threads[i], &results[i]);
    printf("%d %d\\n", results[0], results[1]);

    int queue = msgget(IPC_PRIVATE, 0600), set = semget(IPC_PRIVATE, 1, 0600);
    struct { long type; char text[8]; } message = { 1, "hello" };
    if (fork() == 0) {
        msgsnd(queue, &message, 8, 0);
        semop(set, &(struct sembuf){ 0, 1, 0 }, 1);
        _exit(0);
    }
    printf("%zd ", msgrcv(queue, &message, 8, 0, 0));
    printf("%d\\n", semop(set, &(struct sembuf){ 0, -1, 0 }, 1));
    wait(NULL);
    msgctl(queue, IPC_RMID, NULL);
    semctl(set, 0, IPC_RMID);

    char text[16], name[32], *memory;
    size_t size;
    struct timespec soon;
    struct mq_attr attributes = { .mq_maxmsg = 2, .mq_msgsize = sizeof text };
    snprintf(name, sizeof name, "/grupo-%d", getpid());
    mqd_t posix = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
    mq_unlink(name);
    printf("%d ", mq_send(posix, "abc", 3, 0));
    printf("%zd\\n", mq_receive(posix, text, sizeof text, NULL));
    clock_gettime(CLOCK_REALTIME, &soon);
    printf("%zd ", mq_timedreceive(posix, text, sizeof text, NULL, &soon));
    printf("%d\\n", errno == ETIMEDOUT);
    eventfd_t value;
    int counter = eventfd(0, 0);
    eventfd_write(counter, 3);
    eventfd_read(counter, &value);
    FILE *stream = open_memstream(&memory, &size);
    errno = 0;
    fprintf(stream, "%d", (int)value);
    fclose(stream);
    printf("%s %d\\n", memory, errno);
    return 0;
}
"""


def test_threads_of_c11_and_queues(gates, built):
    program, one = built(QUEUES, "-lrt"), gates()
    plain = subprocess.run([program], capture_output=True, text=True)
    assert ran(program, one) == (0, plain.stdout)
    check_order(one.events)
    assert len(one.of("I.end")) == 2 == len(one.of("I.cond.wake", "I.sem.post"))
    assert len(one.of("I.queue.put")) == 2 and len(one.of("E.queue.get")) == 3
    assert [event["n"] for event in one.of("B.sleep")] == [3]


def test_places_become_source_lines(gates, built):
    program, one = built(LOCKS), gates()
    ran(program, one)
    [event] = one.of("I.cond.wake", n=0)
    line = next(
        number
        for number, text in enumerate(Path(program.parent, "program.c").read_text().split("\n"), 1)
        if "pthread_cond_broadcast(" in text
    )
    need("addr2line")
    assert native.source_of(event["at"], program) == f"program.c:{line}"
    assert native.source_of("nothing+0x10", program) is None
    assert native.source_of("server.py:12", program) is None
    subprocess.run(["strip", program], check=True)
    assert native.source_of(event["at"], program) is None


# -- Whole servers ---------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("name", ["threads", "epoll", "processes"])
def test_a_server_of_others_runs_whole(name, gates, tmp_path):
    one = gates()
    command = soak.stranger(name, tmp_path)
    env = environment(one.folder)
    with Server(command, directory=tmp_path / "group", args=["--admit", "all"], env=env) as server:
        ana, ben = (WireClient(server.address, name=name) for name in ("ana", "ben"))
        for client in (ana, ben):
            client.join(client.name, "secret")
            client.fence()
        ana.send("SAY hello")
        ben.expect(r"MSG \d+ \S+ ana hello")
        ben.send("LEAVE")
        ana.expect(r"LEFT \d+ \S+ ben")
        ana.fence()
        addresses = {"%s:%d" % client.socket.getsockname()[:2] for client in (ana, ben)}
        for client in (ana, ben):
            client.close()
    check_order(one.events)
    assert {event["o"] for event in one.of("B.recv")} - {"console"} == addresses
    serving = {event["a"] for event in one.of("B.recv") if event["o"] != "console"}
    assert serving == ({"main"} if name == "epoll" else addresses)
    assert {event["o"] for event in one.of("E.accept")} == {"listener"}
    assert any(event["o"] == "journal" and event["n"] > 0 for event in one.of("E.keep"))
    pids = {event["p"] for event in one.events}
    assert len(pids) == (3 if name == "processes" else 1)
    assert {event["n"] for event in one.of("E.fork")} < pids
    if name == "threads":
        assert one.of("B.lock.hold") and one.of("B.recv", a="console", o="console")


@pytest.mark.parametrize("design", ["pthread", "fork"])
def test_a_python_is_left_alone(design, gates, tmp_path):
    one = gates()
    env = {**environment(one.folder), "PYTHONPATH": ""}
    with Server(design, directory=tmp_path / "group", args=["--admit", "all"], env=env) as server:
        with WireClient(server.address, name="ana") as ana:
            ana.join("ana", "secret")
            ana.fence()
    assert not one.of("B.lock.wait") and not one.events


# -- Accesses to memory ----------------------------------------------------------------------------

ACCESSES = """
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
static int counter;
static atomic_int sure;
static __thread int own;
static const int constant[] = { 3, 4 };
static void *work(void *step)
{
    int local[4] = { 0 };
    for (int i = 0; i < 4; i++) {
        local[i] = constant[i & 1] + own++;
        counter += *(int *)step;
        atomic_fetch_add(&sure, local[i] > 0);
    }
    return NULL;
}
int main(void)
{
    pthread_t threads[2];
    static int step = 1;
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, work, &step);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    printf("%d %d %d\\n", counter > 3, sure, atomic_load(&sure));
    return 0;
}
"""


def test_accesses_to_shared_memory(gates, built, tmp_path):
    source, part = tmp_path / "part.c", tmp_path / "part.o"
    source.write_text(ACCESSES)
    made = subprocess.run(
        ["cc", *FLAGS, "-fsanitize=thread", "-c", source, "-o", part], capture_output=True
    )
    if made.returncode:
        lacks("the C compiler has no -fsanitize=thread")
    program = tmp_path / "program"
    subprocess.run(
        ["cc", "-pthread", "-o", program, part, native.access_object(), "-ldl"], check=True
    )
    assert subprocess.run([program], capture_output=True, text=True).stdout == "1 8 8\n"
    one = gates()
    assert ran(program, one) == (0, "1 8 8\n")
    in_threads = [event for event in one.of("I.access") if event["a"] != "main"]
    assert collections.Counter((event["o"], event["n"]) for event in in_threads) == {
        (name, writes): 8
        for name, writes in (("counter", 0), ("counter", 1), ("sure", 1), ("step", 0))
    }


# -- What cannot be explored -----------------------------------------------------------------------


def test_what_cannot_be_explored_is_recognised(tmp_path, built):
    program = built("int main(void) { return 0; }")
    assert native.why_not([str(program)]) is None
    assert native.why_not([sys.executable, "server.py"]) is None
    assert native.why_not(["sh", "-c", str(program)]) is None
    assert native.why_not(["./program", "x"], tmp_path) is None
    assert "no such program" in native.why_not(["./program", "x"])
    assert "no such program" in native.why_not([str(tmp_path / "nothing")])
    assert "ignores the environment" in native.why_not(["python3", "-I", "server.py"])
    for name, first, expected in (
        ("a", "#!/usr/bin/env -S perl -w", "a script for perl"),
        ("b", "#!/usr/bin/node", "a script for node"),
        ("c", "#!/usr/bin/env python3", None),
        ("d", "#! /bin/sh -e", None),
    ):
        (tmp_path / name).write_text(first + "\n")
        (tmp_path / name).chmod(0o755)
        why = native.why_not([str(tmp_path / name)])
        assert why is None if expected is None else expected in why, (name, why)
    (tmp_path / "a").chmod(0o644)
    assert "may not be executed" in native.why_not([str(tmp_path / "a")])
    static = tmp_path / "static"
    if subprocess.run(
        ["cc", "-static", "-o", static, program.with_suffix(".c")], capture_output=True
    ).returncode:
        lacks("no static C library")
    assert native.why_not([str(static)]) == "the program is static"


def test_without_a_compiler_only_python_can_be_explored(tmp_path, built, monkeypatch):
    program = built("int main(void) { return 0; }")
    monkeypatch.setattr(native, "HERE", tmp_path)
    (tmp_path / "gates.c").write_text("/* never compiled before */")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C compiler found" in native.why_not([str(program)])
    assert native.why_not([sys.executable, "server.py"]) is None


def test_programs_with_other_rights_and_of_32_bits(tmp_path, built):
    program = built("int main(void) { return 0; }")
    data = bytearray(program.read_bytes())
    data[4] = 1
    small = tmp_path / "small"
    small.write_bytes(data)
    small.chmod(0o755)
    assert native.why_not([str(small)]) == "the program is for processors of 32 bits"
    program.chmod(0o4755)
    assert native.why_not([str(program)]) is None  # its owner is this user
    if os.geteuid():
        lacks("needs root, to give a program away")
    os.chown(program, 60001, 60001)
    program.chmod(0o4755)
    assert "setuid" in native.why_not([str(program)])


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "runtime"), [("goroutines", "Go"), ("node", "Node"), ("Nio", "Java")]
)
def test_programs_that_schedule_themselves(name, runtime, tmp_path):
    try:
        command = soak.stranger(name, tmp_path)
    except soak.Missing as missing:
        need(str(missing))
    assert runtime in native.why_not(command)
