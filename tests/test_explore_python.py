"""Gates in Python programs that know nothing of them: what a controller is shown, and that the
programs work as before.
"""

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from harness.driving import deadlines
from harness.driving.server import ROOT, Server
from tests.conftest import OPEN

GATES = ROOT / "harness" / "explore" / "python"


class Controller:
    """Accepts at DIR/gates, keeps all events, and lets each thread go on at once, unless hold(event)
    says that it stays.
    """

    def __init__(self, folder):
        self.folder, self.hold = folder, lambda event: False
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(os.path.join(folder, "gates"))
        self.listener.listen(128)
        self.changed = threading.Condition()
        self.seen, self.held, self.is_closed = [], {}, False  # guarded by self.changed
        self.connections = set()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def environment(self, **more):
        return {**os.environ, "PYTHONPATH": str(GATES), "GRUPO_GATES": self.folder, **more}

    def serve(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self.listener, selectors.EVENT_READ)
            while not self.is_closed:
                for key, _ in selector.select(0.05):
                    if key.fileobj is self.listener:
                        connection = self.listener.accept()[0]
                        self.connections.add(connection)
                        selector.register(connection, selectors.EVENT_READ)
                    elif not self.hear(key.fileobj):
                        selector.unregister(key.fileobj)
                        self.connections.discard(key.fileobj)
                        key.fileobj.close()

    def hear(self, connection):
        try:
            packet = connection.recv(4096)
        except ConnectionResetError:
            packet = b""
        if packet:
            event = json.loads(packet)
            with self.changed:
                self.seen.append(event)
                if self.hold(event):
                    self.held[id(event)] = event, connection
                else:
                    connection.send(b"!")
                self.changed.notify_all()
        return bool(packet)

    def wait_for(self, **wanted):
        """Returns the first event with these values."""
        with self.changed:
            found = lambda: next((e for e in self.seen if wanted.items() <= e.items()), None)
            assert self.changed.wait_for(found, deadlines.DEADLINE), (wanted, self.seen[-20:])
            return found()

    def let_go(self, event):
        with self.changed:
            self.held.pop(id(event))[1].send(b"!")

    def close(self):
        self.is_closed = True
        self.thread.join()
        for connection in self.connections, self.listener:
            for one in connection if isinstance(connection, set) else [connection]:
                one.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.folder, "gates"))


@pytest.fixture
def controller():
    folder = tempfile.mkdtemp(prefix="g")  # short enough for a socket's name
    one = Controller(folder)
    yield one
    one.close()
    shutil.rmtree(folder)


@pytest.fixture
def program(controller, tmp_path):
    """program(text, *flags) starts a program under the controller."""
    started = []

    def start(text, *flags, python=sys.executable, **environment):
        path = tmp_path / "program.py"
        path.write_text(text)
        started.append(
            subprocess.Popen(
                [python, *flags, path],
                env=controller.environment(**environment),
                cwd=tmp_path,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)
        one.communicate()


@pytest.fixture
def run(program, controller):
    """run(text, ...) -> (what the program printed, its events); it must end well."""

    def run(text, *flags, status=0, **environment):
        process = program(text, *flags, **environment)
        out, err = process.communicate(timeout=deadlines.DEADLINE)
        assert process.returncode == status, err
        return out, controller.seen

    return run


def kinds(events, *without):
    return [event["e"] for event in events if event["e"] not in without]


def test_a_lock(run):
    _, events = run("import threading\nlock = threading.Lock()\nwith lock:\n    pass\n")
    assert kinds(events)[:4] == ["B.lock.wait", "E.lock.wait", "B.lock.hold", "E.lock.hold"]
    assert {event["a"] for event in events} == {"main"}
    assert [event["at"] for event in events[:4]] == ["program.py:3"] * 4
    print(events)


# -- Locks and conditions --------------------------------------------------------------------------

COUNT = """
import threading
lock, number = threading.{lock}(), 0
def work():
    global number
    for _ in range(20):
        with lock:
            before = number
            number = before + 1
threads = [threading.Thread(target=work, name=f"worker{{n}}") for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(number)
"""


def holds(events):
    """Returns {lock: [(begin, end, thread)]} of the holds."""
    begun, found = {}, {}
    for event in sorted(events, key=lambda event: event["t"]):
        key = event["o"], event["th"]
        if event["e"] == "B.lock.hold":
            assert key not in begun
            begun[key] = event["t"]
        elif event["e"] == "E.lock.hold":
            found.setdefault(event["o"], []).append((begun.pop(key), event["t"], event["th"]))
    assert not begun
    return found


@pytest.mark.parametrize("lock", ["Lock", "RLock", "Condition", "Semaphore"])
def test_holds_are_exclusive(lock, run):
    out, events = run(COUNT.format(lock=lock))
    assert out == "80\n"
    (spans,) = holds(events).values()
    assert len(spans) == {"Semaphore": 160}.get(lock, 80)  # a semaphore is taken, and given back
    for (_, end, _), (begin, _, _) in zip(sorted(spans), sorted(spans)[1:]):
        assert end < begin
    names = {event["a"] for event in events if event["e"] == "B.lock.hold"}
    assert names == {"worker0", "worker1", "worker2", "worker3"}


def test_a_recursive_lock_is_taken_once(run):
    _, events = run(
        "import threading\nlock = threading.RLock()\n"
        "with lock:\n    with lock:\n        lock.acquire(); lock.release()\n"
        "try:\n    lock.release()\nexcept RuntimeError: pass\n"
    )
    assert kinds(events) == ["B.lock.wait", "E.lock.wait", "B.lock.hold", "E.lock.hold"]


def test_locks_that_are_not_waited_for(run):
    _, events = run(
        "import threading\nlock = threading.Lock()\n"
        "assert lock.acquire(False) and not lock.acquire(blocking=False)\n"
        "assert not lock.acquire(timeout=0.01)\nlock.release()\n"
    )
    shown = [(event["e"], event.get("n")) for event in events]
    assert shown == [
        ("B.lock.hold", None),
        ("E.lock.wait", -1),
        ("B.lock.wait", None),
        ("E.lock.wait", -1),
        ("E.lock.hold", None),
    ]


def test_a_condition_gives_its_lock_up(run):
    _, events = run(
        "import threading\ncondition, ready = threading.Condition(threading.Lock()), []\n"
        "def wait():\n    with condition:\n"
        "        while not ready: condition.wait()\n"
        "        assert not condition.wait(0.01)\n"
        "thread = threading.Thread(target=wait, name='waiter'); thread.start()\n"
        "with condition: ready.append(1); condition.notify_all()\nthread.join()\n"
    )
    waiter = [event for event in events if event["a"] == "waiter"]
    assert kinds(waiter)[:4] == ["I.begin", "B.lock.wait", "E.lock.wait", "B.lock.hold"]
    waits = [event for event in waiter if event["e"].endswith("cond.wait")]
    assert all(event["l"] == "lock-1" and event["o"] == "cond-1" for event in waits)
    assert [event.get("n") for event in waits[-2:]] == [1, -1]
    assert kinds(waiter)[-2:] == ["E.lock.hold", "I.end"]
    (wake,) = [event for event in events if event["e"] == "I.cond.wake"]
    assert (wake["a"], wake["n"]) == ("main", 0)


def test_one_that_waits_wakes_only_when_it_is_let_go(program, controller):
    controller.hold = lambda event: event["e"] == "I.cond.wake"
    process = program(
        "import threading\ndone = threading.Event()\n"
        "thread = threading.Thread(target=lambda: (done.wait(), print('woken')))\n"
        "thread.start()\nprint('set', flush=True)\ndone.set()\nthread.join()\n"
    )
    event = controller.wait_for(e="I.cond.wake")
    controller.wait_for(e="B.cond.wait")
    assert not [e for e in controller.seen if e["e"] == "E.cond.wait"]
    controller.let_go(event)
    assert process.communicate()[0] == "set\nwoken\n"


def test_queues(run):
    out, events = run(
        "import threading, queue\nsimple, full = queue.SimpleQueue(), queue.Queue(1)\n"
        "def work():\n    for _ in range(3): full.put(simple.get())\n"
        "thread = threading.Thread(target=work); thread.start()\n"
        "for n in range(3): simple.put(n)\n"
        "print([full.get() for _ in range(3)])\nthread.join()\n"
        "try: simple.get_nowait()\nexcept queue.Empty: pass\n"
    )
    assert out == "[0, 1, 2]\n"
    assert kinds(events).count("I.queue.put") == 3
    gets = [event for event in events if event["e"] == "E.queue.get"]
    assert [event["n"] for event in gets] == [1, 1, 1, -1]
    assert "B.lock.hold" in kinds(events), "of queue.Queue"


def test_locks_of_the_library_are_not_shown(run):
    _, events = run(
        "import logging, threading, decimal, tempfile, _thread\nfrom threading import Lock\n"
        "logging.basicConfig(filename='log')\n"
        "def work():\n    import wave\n    logging.error('hello')\n    tempfile.gettempdir()\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "with Lock(): pass\nwith _thread.allocate_lock(): pass\n"
    )
    thread = [event for event in events if event["a"] != "main"]
    assert kinds(thread) == ["I.begin", "I.end"]
    assert [event["o"] for event in events if event["e"] == "B.lock.hold"] == ["lock-1", "lock-2"]


# -- Threads and processes -------------------------------------------------------------------------


def test_threads_begin_and_end(run):
    out, events = run(
        "import threading, _thread, time\n"
        "class Own(threading.Thread):\n    def run(self): print(self.name, 'run' in vars(self))\n"
        "Own(name='own').start()\n"
        "_thread.start_new_thread(print, ('low',))\n"
        "other = threading.Thread(target=print, args=(1,)); other.run = lambda: print('set')\n"
        "other.start(); other.join(); time.sleep(0.05)\n"
        "threading.Thread(target=time.sleep, args=(0.05,), daemon=True).start()\n"
    )
    assert sorted(out.split("\n")) == ["", "low", "own False", "set"]
    begun = [event["o"] for event in events if event["e"] == "I.begin"]
    assert begun[:2] == ["own", "thread-1"] and len(begun) == 4
    ended = [event["o"] for event in events if event["e"] == "I.end"]
    assert {"own", "thread-1"} <= set(ended)
    assert kinds(events).count("I.thread") == 4
    join = next(event for event in events if event["e"] == "B.join")
    assert join["o"] in {str(event["th"]) for event in events if event["e"] == "I.begin"}
    sleeps = [event["n"] for event in events if event["e"] == "B.sleep"]
    assert sleeps == [50, 50]


def test_the_end_of_the_first_thread_waits_for_the_others(run):
    _, events = run(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(0.05,)).start()\n"
    )
    main = [event for event in events if event["a"] == "main"]
    assert kinds(main) == ["I.thread", "B.join", "E.join"]
    assert main[1]["o"] == "all threads"


def test_processes(run):
    out, events = run(
        "import os, time\nr, w = os.pipe()\n"
        "if not (pid := os.fork()):\n    os.write(w, b'abc')\n    os._exit(3)\n"
        "print(os.read(r, 10), os.waitpid(pid, 0)[1] >> 8, flush=True)\n"
        "if not os.fork():\n    if not os.fork(): os._exit(0)\n    os.wait(); os._exit(0)\n"
        "os.wait()\n"
    )
    assert out == "b'abc' 3\n"
    child = [event for event in events if event["a"] == "child-1"]
    first = next(event for event in events if event["e"] == "E.fork")
    assert [event for event in child if event["p"] == first["n"]][0]["e"] == "I.begin"
    assert kinds(event for event in child if event["p"] == first["n"]) == [
        "I.begin",
        "B.pipe.write",
        "E.pipe.write",
    ]
    read = next(event for event in events if event["e"] == "E.pipe.read")
    assert (read["o"], read["n"]) == (child[1]["o"], 3)
    assert read["o"].startswith("pipe:[")
    assert {event["a"] for event in events} == {"main", "child-1", "child-2"}
    assert "B.join" in kinds(events)


def test_multiprocessing_shows_each_message_once(run):
    out, events = run(
        "import multiprocessing as m\n"
        "def work(end, lock, queue, semaphore):\n"
        "    with lock: end.send(end.recv() + 1)\n"
        "    semaphore.acquire(); queue.put('done'); queue.close(); queue.join_thread()\n"
        "if __name__ == '__main__':\n"
        "    m.set_start_method('fork')\n"
        "    ours, theirs = m.Pipe(); lock, queue = m.Lock(), m.Queue()\n"
        "    semaphore = m.Semaphore(0)\n"
        "    process = m.Process(target=work, args=(theirs, lock, queue, semaphore))\n"
        "    process.start(); ours.send(1); print(ours.recv())\n"
        "    semaphore.release(); print(queue.get()); process.join()\n"
    )
    assert out == "2\ndone\n"
    child = [event for event in events if event["a"] == "child-1"]
    shown = kinds(child)
    assert shown[0] == "I.begin"
    assert shown.count("B.pipe.read") == 1
    pipe = next(event["o"] for event in child if event["e"] == "B.pipe.read")
    sent = [event for event in events if event["o"] == pipe and event["e"] == "B.pipe.write"]
    assert [event["a"] for event in sent] == ["main", "child-1"]
    assert "B.sem.wait" in shown and "I.sem.post" in kinds(events)
    assert len([event for event in events if event["e"] == "E.pipe.read"]) == 3
    assert [event["o"] for event in child if event["e"] == "B.lock.hold"][0] == "shared-lock-1"


def test_concurrent_futures(run):
    out, events = run(
        "from concurrent.futures import ThreadPoolExecutor, ProcessPoolExecutor, wait\n"
        "import os, multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    with ThreadPoolExecutor(2) as pool: print(sum(pool.map(abs, range(-5, 0))))\n"
        "    with ProcessPoolExecutor(2, multiprocessing.get_context('fork')) as pool:\n"
        "        print(sum(pool.map(abs, range(-5, 0))))\n"
    )
    assert out == "15\n15\n"
    assert "B.queue.get" in kinds(events) and "E.fork" in kinds(events)
