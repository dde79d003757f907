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
from harness.driving.client import WireClient
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
        self.connections = {}  # each belongs to one thread
        self.are_mixed = False  # whether two threads used one connection
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
                        self.connections[connection] = None
                        selector.register(connection, selectors.EVENT_READ)
                    elif not self.hear(key.fileobj):
                        selector.unregister(key.fileobj)
                        del self.connections[key.fileobj]
                        key.fileobj.close()

    def hear(self, connection):
        try:
            packet = connection.recv(4096)
        except ConnectionResetError:
            packet = b""
        if packet:
            event = json.loads(packet)
            with self.changed:
                thread = self.connections[connection] or (event["p"], event["th"])
                self.connections[connection] = thread
                self.are_mixed |= thread != (event["p"], event["th"])
                self.seen.append(event)
                if self.hold(event):
                    self.held[id(event)] = event, connection
                else:
                    with contextlib.suppress(BrokenPipeError):  # it was killed
                        connection.send(b"!")
                self.changed.notify_all()
        return bool(packet)

    def wait_for(self, **wanted):
        """Returns the first event with these values."""
        with self.changed:
            found = lambda: next((e for e in self.seen if wanted.items() <= e.items()), None)
            assert self.changed.wait_for(found, deadlines.DEADLINE), (wanted, self.seen[-20:])
            return found()

    def let_go(self, event, answer=b"!"):
        with self.changed:
            self.held.pop(id(event))[1].send(answer)

    def close(self):
        self.is_closed = True
        self.thread.join()
        for one in *self.connections, self.listener:
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
    assert not one.are_mixed


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
    """Returns {lock: [(begin, end, thread)]} of the holds. A wait for a condition is none."""
    begun, found = {}, {}
    for event in sorted(events, key=lambda event: event["t"]):
        key = event.get("l", event["o"]), event["th"]
        if event["e"] in ("B.lock.hold", "E.cond.wait"):
            assert key not in begun
            begun[key] = event["t"]
        elif event["e"] in ("E.lock.hold", "B.cond.wait"):
            found.setdefault(key[0], []).append((begun.pop(key), event["t"], event["th"]))
    assert not begun
    return found


@pytest.mark.parametrize("lock", ["Lock", "RLock", "Condition", "Semaphore"])
def test_holds_are_exclusive(lock, run):
    out, events = run(COUNT.format(lock=lock))
    assert out == "80\n"
    (spans,) = holds(events).values()
    assert len(spans) >= 80
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
        "import threading, time\ncondition = threading.Condition(threading.Lock())\n"
        "waits, ready = [], []\n"
        "def wait():\n    with condition:\n        waits.append(1)\n"
        "        while not ready: condition.wait()\n"
        "        assert not condition.wait(0.01)\n"
        "thread = threading.Thread(target=wait, name='waiter'); thread.start()\n"
        "while not waits: time.sleep(0.01)\n"
        "with condition: ready.append(1); condition.notify_all()\nthread.join()\n"
    )
    waiter = [event for event in events if event["a"] == "waiter"]
    assert kinds(waiter)[:4] == ["I.begin", "B.lock.wait", "E.lock.wait", "B.lock.hold"]
    waits = [event for event in waiter if event["e"].endswith("cond.wait")]
    assert all(event["l"] == "lock-1" and event["o"] == "cond-1" for event in waits)
    assert [event.get("n") for event in waits[-2:]] == [1, -1]
    woken = [event["e"] for event in waiter[4:8]]
    assert woken == ["B.cond.wait", "B.lock.wait", "E.lock.wait", "E.cond.wait"]
    assert kinds(waiter)[-2:] == ["E.lock.hold", "I.end"]
    (wake,) = [event for event in events if event["e"] == "I.cond.wake"]
    assert (wake["a"], wake["n"]) == ("main", 0)


def test_one_that_waits_wakes_only_when_it_is_let_go(program, controller):
    stops = ["B.lock.wait", "I.cond.wake"]
    controller.hold = lambda event: event["e"] in stops
    process = program(
        "import threading\ndone = threading.Event()\n"
        "thread = threading.Thread(target=lambda: (done.wait(), print('woken')), name='waiter')\n"
        "thread.start()\nprint('set', flush=True)\ndone.set()\nthread.join()\n"
    )
    taken = {name: controller.wait_for(a=name, e="B.lock.wait") for name in ("waiter", "main")}
    controller.let_go(taken["waiter"])
    controller.wait_for(e="B.cond.wait")
    controller.let_go(taken["main"])
    event = controller.wait_for(e="I.cond.wake")
    stops.clear()
    assert not [e for e in controller.seen if e["e"] == "E.cond.wait"]
    controller.let_go(event)
    assert process.communicate()[0] == "set\nwoken\n"


TIMED = """
import queue, select, socket, threading, time
began = time.monotonic()
listener = socket.create_server(("127.0.0.1", 0))
listener.settimeout(0.01)
condition, full = threading.Condition(), queue.SimpleQueue()
try:
    {wait}
except (TimeoutError, queue.Empty) as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    "wait, kind, n",
    [
        ("listener.accept()", "accept", -1),
        ("print(select.select([listener], [], [], 0.01)[0])", "wait", 0),
        ("with condition: print(condition.wait(0.01))", "cond.wait", -1),
        ("full.get(timeout=0.01)", "queue.get", -1),
    ],
)
def test_a_controller_can_stop_time(wait, kind, n, program, controller):
    """What ran into its time-out begins again, until time passes."""
    process = program(TIMED.format(wait=wait))
    answers, controller.hold = [], lambda event: event["e"] == f"E.{kind}"
    for turn in range(3):
        deadlines.wait_until(lambda: len(controller.held) == 1)
        ((event, _),) = controller.held.values()
        assert event["n"] == n
        answers.append(event["t"])
        controller.let_go(event, b"a" if turn < 2 else b"!")
    assert process.communicate()[0] in ("TimeoutError\n", "Empty\n", "[]\n", "False\n")
    assert len(set(answers)) == 3
    assert kinds(controller.seen).count(f"B.{kind}") == 1


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


@pytest.mark.long
def test_locks_of_the_library_are_not_shown(run):
    _, events = run(
        "import logging, threading, decimal, _thread\nfrom threading import Lock\n"
        "logging.basicConfig(filename='log')\n"
        "def work():\n    import wave\n    logging.error('hello')\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "with Lock(): pass\nwith _thread.allocate_lock(): pass\n"
    )
    thread = [event for event in events if event["a"] != "main"]
    assert kinds(thread) == ["I.begin", "I.end"]
    assert [event["o"] for event in events if event["e"] == "B.lock.hold"] == ["lock-1", "lock-2"]


# -- Threads and processes -------------------------------------------------------------------------


def test_threads_begin_and_end(run):
    out, events = run(
        "import os, threading, _thread, time\n"
        "def say(*words): os.write(1, repr(words).encode() + b'\\n')\n"
        "class Own(threading.Thread):\n    def run(self): say(self.name, 'run' in vars(self))\n"
        "Own(name='own').start()\n"
        "_thread.start_new_thread(say, ('low',))\n"
        "other = threading.Thread(target=print, args=(1,)); other.run = lambda: say('set')\n"
        "other.start(); other.join(); time.sleep(0.05)\n"
        "threading.Thread(target=time.sleep, args=(0.05,)).start()\n"
    )
    assert sorted(out.split("\n")) == ["", "('low',)", "('own', False)", "('set',)"]
    begun = [event["o"] for event in events if event["e"] == "I.begin"]
    assert {"own", "thread-1"} <= set(begun) and len(begun) == 4
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


@pytest.mark.long
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


# -- Sockets, pipes, files -------------------------------------------------------------------------

PAIR = """
import os, select, selectors, socket, threading
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
print("%s:%d" % client.getsockname(), flush=True)
class Own(socket.socket): pass
"""


def of_client(out, events, thread="main"):
    """Returns the events that are about the client whose address is the first line of `out`."""
    address = out.split("\n")[0]
    return [
        (event["e"], event.get("n"))
        for event in events
        if event["o"] == address and event["a"] in (thread, address)
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    "code, shown",
    [
        ("peer.recv(9)", [("recv", 3)]),
        ("peer.recv_into(bytearray(9))", [("recv", 3)]),
        ("peer.recvfrom(9)", [("recv", 3)]),
        ("peer.recvmsg(9)", [("recv", 3)]),
        ("os.read(peer.fileno(), 9)", [("recv", 3)]),
        ("peer.makefile('rb').readline()", [("recv", 3)]),
        ("Own(fileno=peer.detach()).recv(9)", [("recv", 3)]),
        ("peer.send(b'12')", [("send", 2)]),
        ("peer.sendall(b'12')", [("send", 2)]),
        ("peer.sendmsg([b'1', b'2'])", [("send", 2)]),
        ("os.write(peer.fileno(), b'12')", [("send", 2)]),
        ("f = peer.makefile('w'); f.write('12'); f.flush()", [("send", 2)]),
        ("f = peer.makefile('rw'); print('12', file=f); f.readline(); f.close()", None),
        ("f = peer.makefile('wb', 0); f.write(b'12')", [("send", 2)]),
        ("f = peer.makefile('wb', 2); f.write(b'123')", [("send", 3)]),
        ("peer.setblocking(0); peer.recv(9)\ntry: peer.recv(9)\nexcept OSError: pass", None),
        ("try: peer.sendall('text')\nexcept TypeError: pass", []),
    ],
)
def test_sockets(code, shown, run):
    out, events = run(
        PAIR + "client.sendall(b'12\\n')\nthreading.current_thread()\n"
        "peer, _ = listener.accept()\n" + code + "\nprint('done')\n"
    )
    assert out.split("\n")[1] == "done"
    found = of_client(out, events)
    if shown is None:
        assert len(found) == 4
        shown = {"makefile": [("recv", 3), ("send", 3)], "setblocki": [("recv", 3), ("recv", -1)]}
        shown = shown["makefile" if "makefile" in code else "setblocki"]
    assert found == [pair for kind, n in shown for pair in ((f"B.{kind}", None), (f"E.{kind}", n))]
    accepts = [event for event in events if event["e"].endswith("accept")]
    assert [(event["o"], event.get("n")) for event in accepts] == [("listener", None)] * 2


@pytest.mark.long
@pytest.mark.parametrize(
    "code",
    [
        "select.select([client], [], [], 0.01)",
        "p = select.poll(); p.register(client, select.POLLIN); p.poll(10)",
        "p = select.epoll(); p.register(client); p.poll(0.01); p.close()",
        "s = selectors.DefaultSelector(); s.register(client, 1); s.select(0.01)",
        "s = selectors.SelectSelector(); s.register(client, 1); s.select(0.01)",
        "s = selectors.PollSelector(); s.register(client, 1); s.select(0.01)",
    ],
)
def test_waits(code, run):
    _, events = run(PAIR + code)
    assert [(event["e"], event["n"]) for event in events if event["e"][2:] == "wait"] in (
        [("B.wait", 10), ("E.wait", 0)],
        [("B.wait", 10), ("E.wait", 1)],  # of epoll: a client can send
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "code, shown",
    [
        ("os.write(w, b'ab'); os.read(r, 9)", ["pipe.write", "pipe.read"]),
        (
            "f, g = os.fdopen(r), os.fdopen(w, 'w', 1)\ng.write('a\\n'); f.readline()",
            ["pipe.write", "pipe.read"],
        ),
        (
            "f, g = open(r, 'rb', 0), open(w, 'wb', 0)\ng.write(b'a\\n'); f.read(9)",
            ["pipe.write", "pipe.read"],
        ),
        (
            "with open(w, 'w') as g: g.write('a')\nwith open(r) as f: assert f.read() == 'a'",
            ["pipe.write", "pipe.read", "pipe.read"],
        ),
        (
            "a, b = socket.socketpair()\na.sendall(b'a'); b.recv(9)",
            ["pipe.write", "pipe.read"],
        ),
    ],
)
def test_pipes(code, shown, run):
    _, events = run("import os, socket\nr, w = os.pipe()\n" + code)
    assert kinds(events) == [word + one for one in shown for word in ("B.", "E.")]
    assert len({event["o"] for event in events}) == 1
    assert all(event["n"] > 0 for event in events if event["e"] == "E.pipe.write" and event["n"])


@pytest.mark.long
@pytest.mark.parametrize(
    "code, shown",
    [
        ("with open('a.txt', 'w') as f: f.write('a' * 9); f.write('b')", ["a.txt"]),
        (
            "with open('a.txt', 'a') as f: print('a', file=f, flush=True); f.write('b')",
            ["a.txt"] * 2,
        ),
        ("open('a.txt', 'w').write('a')", ["a.txt"]),
        ("with open('a.txt', 'wb', 0) as f: f.write(b'a'); os.fsync(f)", ["a.txt"] * 2),
        ("pathlib.Path('a.txt').write_text('a' * 100000)", ["a.txt"]),
        ("f = open('a.txt', 'w+'); f.write('ab'); f.seek(0); assert f.read() == 'ab'", ["a.txt"]),
        ("f = os.open('a.txt', os.O_WRONLY | os.O_CREAT); os.write(f, b'1')", ["a.txt"]),
        ("open('a', 'w'); os.rename('a', 'b'); os.remove('b')", ["a", "b"]),
        ("print('a'); open('program.py').read()", []),
        ("try: open('a', 'wq')\nexcept ValueError: open('b', 'x').close()", []),
        ("try: open('none/a', 'w')\nexcept FileNotFoundError: pass", []),
    ],
)
def test_files(code, shown, run):
    _, events = run("import os, pathlib\n" + code)
    assert [event["o"] for event in events] == [one for name in shown for one in (name, name)]
    assert kinds(events) == ["B.keep", "E.keep"] * len(shown)


def test_standard_input(program, controller):
    process = program("import sys\nfor line in sys.stdin: print(line.strip())\nprint(input())\n")
    out, _ = process.communicate("one\ntwo\n")
    assert out.split("\n")[:2] == ["one", "two"] and process.returncode == 1  # EOFError
    assert {(event["e"], event["o"]) for event in controller.seen} == {
        ("B.recv", "console"),
        ("E.recv", "console"),
    }


# -- Whole servers ---------------------------------------------------------------------------------

ECHO = """
import os, socket, sys, threading
names, lock = set(), threading.Lock()
def serve(sock):
    with sock, sock.makefile("rw") as lines:
        for line in lines:
            name = line.strip()
            with lock:
                is_free = name not in names
                names.add(name)
            print("ok" if is_free else "taken", file=lines, flush=True)
def threaded(sock):
    threading.Thread(target=serve, args=(sock,), daemon=True).start()
def forked(sock):
    with sock:
        if not os.fork():
            serve(sock)
            os._exit(0)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    {design}(listener.accept()[0])
"""


def ask(port, *names, answer=None):
    """Returns the answers to each name, on one connection, and its address."""
    with socket.create_connection(("127.0.0.1", port), timeout=deadlines.DEADLINE) as sock:
        with sock.makefile("rw") as lines:
            answers = []
            for name in names:
                print(name, file=lines, flush=True)
                answers.append(lines.readline().strip())
            return answers, "%s:%d" % sock.getsockname()


@pytest.mark.parametrize("design", ["threaded", "forked"])
def test_a_server_for_one_client_at_a_time(design, program, controller):
    process = program(ECHO.format(design=design))
    port = int(process.stdout.readline())
    seen = [ask(port, "ana", "ana") for _ in range(3)]
    assert [answers for answers, _ in seen] == [
        ["ok" if design == "forked" or not turn else "taken", "taken"] for turn in range(3)
    ]
    for _, address in seen:
        controller.wait_for(a=address, e="E.recv", n=0)
        with controller.changed:
            events = [event for event in controller.seen if event["a"] == address]
        assert kinds(events)[:8] == [
            *("B.recv", "E.recv"),
            *("B.lock.wait", "E.lock.wait", "B.lock.hold", "E.lock.hold"),
            *("B.send", "E.send"),
        ]
        begins = [event["o"] for event in events if event["e"][0] == "B"]
        assert set(begins) == {address, "lock-1"}
        assert [event["at"] for event in events[:4]] == ["program.py:6"] * 2 + ["program.py:8"] * 2
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate()[1]


def test_the_order_is_the_controllers(program, controller):
    """Two ask for one name: the one that is let go first has it."""
    process = program(ECHO.format(design="threaded"))
    port = int(process.stdout.readline())
    for first in 0, 1:
        controller.hold = lambda event: event["e"] == "B.lock.wait"
        answers, found = {}, {}

        def client(number):
            found[number] = ask(port, f"name{first}")[0]

        with controller.changed:
            controller.seen.clear()
        clients = [threading.Thread(target=client, args=(number,)) for number in (0, 1)]
        waits = []
        for one in clients:  # in turn: so it is known which is whose
            one.start()
            with controller.changed:
                assert controller.changed.wait_for(
                    lambda: len(controller.held) > len(waits), deadlines.DEADLINE
                )
                waits.append([e for e, _ in controller.held.values() if e not in waits][0])
        controller.hold = lambda event: False
        controller.let_go(waits[first])
        clients[first].join()
        controller.let_go(waits[1 - first])
        clients[1 - first].join()
        assert found == {first: ["ok"], 1 - first: ["taken"]}, answers


LINES = """
import socket, threading
names = set()
def serve(sock):
    with sock:
        while name := sock.recv(100):
            if name not in names:
                names.add(name)
                sock.sendall(b"ok")
            else:
                sock.sendall(b"taken")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def both_take_one_name(program, controller, **options):
    """Two clients, each held before the line that takes the name. Returns the answers."""
    process = program(LINES, GRUPO_GATES_LINES="1", **options)
    port = int(process.stdout.readline())
    controller.hold = lambda event: event["e"] == "I.line" and event["at"] == "program.py:8"
    clients = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(2)]
    for sock in clients:
        sock.sendall(b"ana")
        controller.wait_for(a="%s:%d" % sock.getsockname(), e="I.line", at="program.py:8")
    for event, _ in list(controller.held.values()):
        controller.let_go(event)
    answers = [sock.recv(9) for sock in clients]
    for sock in clients:
        sock.close()
    assert {event["a"] for event in controller.seen if event["e"] == "I.line"} == {
        event["a"] for event in controller.seen if event["e"] == "E.recv"
    }, "only threads that serve clients"
    return answers


def test_lines_make_an_unlocked_check_visible(program, controller):
    assert both_take_one_name(program, controller) == [b"ok", b"ok"]


@pytest.mark.long
@pytest.mark.parametrize("server", ["aio", "nonblocking", "pthread", "fork"])
def test_a_whole_conversation(server, controller, tmp_path):
    command = [sys.executable, ROOT / "tests/strangers/aio.py"] if server == "aio" else server
    running = Server(
        command, args=OPEN[:2], directory=tmp_path / "grupo", env=controller.environment(), cwd=ROOT
    )
    try:
        ana, ben = (WireClient(running.address) for _ in range(2))
        ana.join("ana", "secret99"), ben.join("ben", "secret99")
        for turn in range(10):
            ana.send(f"SAY {turn}")
            ben.send(f"NAME ben{turn}")
        ana.fence(), ben.fence()
        assert len([line for line in ben.lines if line.startswith("MSG")]) == 10
        address = "%s:%d" % ana.socket.getsockname()
        ana.close(), ben.close()
    finally:
        running.close()
    received = {event["a"] for event in controller.seen if address in event["o"]}
    assert received & {address, "main"}
    assert "secret99" not in json.dumps(controller.seen)


# -- Robust ----------------------------------------------------------------------------------------

INTERRUPTED = """
import signal, sys, threading, time
def stop(number, frame): raise TimeoutError("asked to stop")
signal.signal(signal.SIGUSR1, stop)
lock = threading.Lock()
for turn in range(2):
    try:
        with lock: print("has it", flush=True)
    except (KeyboardInterrupt, TimeoutError) as error:
        print(repr(error), flush=True)
print(lock.acquire(timeout=1), flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "number, error",
    [(signal.SIGINT, "KeyboardInterrupt()"), (signal.SIGUSR1, "TimeoutError('asked to stop')")],
)
@pytest.mark.parametrize("where", ["B.lock.wait", "E.lock.wait", "B.lock.hold", "E.lock.hold"])
def test_a_signal_at_a_gate(where, number, error, program, controller):
    controller.hold = lambda event: event["e"] == where
    process = program(INTERRUPTED)
    event = controller.wait_for(e=where)
    process.send_signal(number)
    status, none = Path(f"/proc/{process.pid}/status"), f"SigPnd:\t{0:016x}\nShdPnd:\t{0:016x}"
    deadlines.wait_until(lambda: none in status.read_text())
    controller.hold = lambda event: False
    controller.let_go(event)
    out, err = process.communicate()
    first = ["has it", error] if where == "E.lock.hold" else [error]
    assert out.split("\n") == [*first, "has it", "True", ""], err
    assert len([e for e in controller.seen if e is event]) == 1
    last = {**controller.seen[-1], "o": "lock-1", "t": 1 << 62, "e": "E.lock.hold"}
    holds([*controller.seen, last])  # the program ends with the lock


def test_a_signals_handler_runs_at_a_gate(program, controller):
    """It runs at once, as usual, and what it does is no event."""
    controller.hold = lambda event: event["e"] == "B.sleep"
    process = program(
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'asked\\n'), lock.acquire()))\n"
        "import threading\nlock = threading.Lock()\ntime.sleep(0)\n"
    )
    event = controller.wait_for(e="B.sleep")
    status = Path(f"/proc/{process.pid}/status")
    deadlines.wait_until(lambda: "State:\tS" in status.read_text())  # it waits for permission
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked\n"
    controller.let_go(event)
    process.communicate()
    assert kinds(controller.seen) == ["B.sleep", "E.sleep"]


CLOSES = """
import os, threading, time
lock = threading.Lock()
def use():
    with lock: pass
use()
os.closerange(3, 5000)
own = [os.open("own", os.O_RDWR | os.O_CREAT) for _ in range({own})]
use()
thread = threading.Thread(target=use); thread.start(); thread.join()
print(os.fstat(own[0]).st_size, flush=True)
"""


@pytest.mark.parametrize("own", [1, 900])
def test_closing_all_descriptors(own, run):
    """The numbers may be the program's own afterwards. Nothing is written there."""
    out, events = run(CLOSES.format(own=own))
    assert out == "0\n"
    assert kinds(events).count("B.lock.hold") == 3
    assert len({event["th"] for event in events}) == 2


def test_connections_have_high_descriptors_that_no_child_inherits(run):
    out, _ = run(
        "import os, threading, subprocess, sys\n"
        "lock = threading.Lock()\nwith lock: pass\n"
        "print([n for n in os.listdir('/proc/self/fd') if 5 < int(n) < 100])\n"
        "if not os.fork():\n"
        "    print(len([n for n in os.listdir('/proc/self/fd') if int(n) > 100]), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "subprocess.run(['ls', '-l', '/proc/self/fd'], close_fds=False)\n"
    )
    lines = out.split("\n")
    assert lines[:2] == ["[]", "1"], "the child has its own alone"
    assert "socket" not in out


@pytest.mark.parametrize("where", ["B.lock.wait", "E.lock.hold"])
def test_without_the_controller_all_gates_are_open(where, program, controller):
    controller.hold = lambda event: event["e"] == where
    process = program(COUNT.format(lock="Lock"))
    controller.wait_for(e=where)
    controller.close()
    assert process.communicate(timeout=deadlines.DEADLINE) == ("80\n", "")
    controller.thread = threading.Thread()  # close() is called again
    controller.thread.start()


@pytest.mark.parametrize("what", ["no folder", "no socket", "a file", "nobody listens", "unset"])
def test_without_a_controller_nothing_happens(what, tmp_path):
    folder = tempfile.mkdtemp(prefix="g")
    if what == "a file":
        Path(folder, "gates").touch()
    elif what == "nobody listens":
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.bind(folder + "/gates")
    program = (
        "import threading, sys\nlock = threading.Lock()\nwith lock: print(1)\n"
        "print([name for name in sys.modules if 'grupo' in name], sys.path)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(GATES), "GRUPO_GATES": folder}
    if what == "unset":
        del environment["GRUPO_GATES"]
    elif what == "no folder":
        environment["GRUPO_GATES"] += "/none"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    shutil.rmtree(folder)
    assert (done.stderr, done.stdout[:4]) == ("", "1\n[]")
    assert str(GATES) not in done.stdout


def test_the_programs_own_sitecustomize_runs(run, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/sitecustomize.py").write_text(
        "import threading\nlock = threading.Lock()\nname = __name__\n"
    )
    out, events = run(
        "import sitecustomize as own\nprint(own.name, own.__file__)\nwith own.lock: pass\n",
        PYTHONPATH=f"{GATES}:{tmp_path / 'own'}",
    )
    assert out == f"sitecustomize {tmp_path / 'own/sitecustomize.py'}\n"
    assert "B.lock.hold" in kinds(events)


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_an_isolated_interpreter_has_no_gates(flag, run):
    out, events = run("import threading\nwith threading.Lock(): print(1)\n", flag)
    assert (out, events) == ("1\n", [])


def test_the_end_of_the_interpreter(run, tmp_path):
    """Objects that are finalized last still use what is wrapped."""
    out, _ = run(
        "import os, socket, sys, threading, time\n"
        "class Last:\n"
        "    def __init__(self, name):\n"
        "        self.name, self.write, self.sleep = name, os.write, time.sleep\n"
        "        self.lock, self.lock2 = threading.RLock(), threading.Lock()\n"
        "        self.condition, self.file = threading.Condition(), open(name, 'w')\n"
        "        self.me = self\n"
        "    def __del__(self):\n"
        "        with self.lock, self.lock2: self.write(1, self.name)\n"
        "        with self.condition: pass\n"
        "        self.sleep(0); self.file.write('end'); self.write(1, b' done\\n')\n"
        "one, local = Last(b'one'), threading.local()\n"
        "sys.two, local.three = Last(b'two'), Last(b'three')\n"
    )
    assert sorted(out.split("\n")) == ["", "one done", "three done", "two done"]
    assert [(tmp_path / name).read_text() for name in ("one", "two", "three")] == ["end"] * 3


def test_daemon_threads_at_the_end_of_the_interpreter(run):
    run(
        "import threading, time\nlock = threading.Lock()\n"
        "def forever():\n"
        "    while True:\n        with lock: time.sleep(0)\n"
        "for _ in range(3): threading.Thread(target=forever, daemon=True).start()\n"
        "for _ in range(9):\n    with lock: pass\n"
    )
