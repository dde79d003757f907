"""Ways to disturb a server from outside so that a race shows: the program itself is not changed.

The first run of a hunt is undisturbed. After it come, in an order drawn from the seed, the shim of jitter.c, which delays sends and
locks at random; for Python, threads that take turns as often as can be; one CPU for all; SIGSTOP and SIGCONT in bursts.
"""
import contextlib
import functools
import os
import random
import re
import shutil
import signal
import struct
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from harness import detectors
from harness.compiled import NotCompiled, compiled

HERE = Path(__file__).parent
SWITCH_INTERVAL = "1e-6"            # seconds; Python's own is 5e-3
STOPPED = 0.0005, 0.004             # seconds that a process is stopped, and goes on: between these
FEWER = ", so that fewer races show"
# Programs that may well start Python; to others the variables mean nothing.
STARTERS = re.compile(r"(ba|da|z|fi)?sh|env|make|uv|poetry|pipenv|nice|timeout|stdbuf|setsid|coverage")
PYTHON = re.compile(r"(python|pypy)[\d.]*t?")


@dataclass
class Disturbance:
    """`words` tell it, `env` and `preexec` start the server under it, during(server) goes on while it runs."""
    words: str
    env: dict = field(default_factory=dict)
    preexec: Callable = None
    stops: float = 0                # seed of the bursts of SIGSTOP; 0: none

    @property
    def lacks(self):
        """What of it could not be done: texts."""
        return [part.strip() for part in re.findall(rf"[^,]*\(.*?\){FEWER}", self.words)]

    @contextlib.contextmanager
    def during(self, server):
        if not self.stops:
            yield
            return
        done = threading.Event()
        thread = threading.Thread(target=stop_and_go, args=(server, self.stops, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def disturbances(rng, count, command):
    """So many of them, chosen by `rng`; the first is none. `command` is the server's command line."""
    return [Disturbance("undisturbed"), *(make(rng, command) for make in in_turn(rng, kinds(command), count - 1))][:count]


def in_turn(rng, choices, count):
    """So many of them: each once before any comes again, in an order of chance."""
    found = []
    while len(found) < count:
        found += rng.sample(choices, len(choices))
    return found[:count]


def kinds(command):
    """What may be done to this program: functions (rng, command) -> Disturbance."""
    if is_python(command):
        return [jittered, hurried, hurried_on_one_cpu, stopped]
    return [jittered, jittered_on_one_cpu, one_cpu, stopped]


def jittered(rng, command):
    env, words = shim(rng, command)
    return Disturbance(words, env)


def jittered_on_one_cpu(rng, command):
    env, words = shim(rng, command)
    return Disturbance(f"{words}, on one CPU", env, on_one_cpu(rng))


def one_cpu(rng, command):
    return Disturbance("on one CPU", {}, on_one_cpu(rng))


def hurried(rng, command):
    env, words = short_turns(command)
    more, others = shim(rng, command)
    return Disturbance(f"{words}, {others}", {**env, **more})


def hurried_on_one_cpu(rng, command):
    env, words = short_turns(command)
    return Disturbance(f"{words}, on one CPU", env, on_one_cpu(rng))


def stopped(rng, command):
    env, words = short_turns(command) if is_python(command) else ({}, "")
    return Disturbance("stopped and continued in bursts" + (words and f", {words}"), env, stops=rng.getrandbits(32) + 1)


# -- How -----------------------------------------------------------------------------------------------------------------------------


def on_one_cpu(rng):
    """For preexec: runs between fork and exec in a process that had threads, so it does one system call and no more."""
    return functools.partial(os.sched_setaffinity, 0, frozenset([rng.choice(sorted(os.sched_getaffinity(0)))]))


def shim(rng, command):
    """(environment, words) for a program whose sends and locks are delayed at random. Without a compiler, or where the program
    could not load it: nothing, and words that say so."""
    seed = rng.getrandbits(32)
    if why := why_no_shim(command):
        return {}, f"sends and locks not delayed ({why}){FEWER}"
    found = {"LD_PRELOAD": joined(compiled_shim(), os.environ.get("LD_PRELOAD")), "GRUPO_JITTER": str(seed),
             # else a program built with -fsanitize=address refuses to start because something was loaded before its library
             "ASAN_OPTIONS": joined("verify_asan_link_order=0", os.environ.get("ASAN_OPTIONS"))}
    return found, "sends and locks delayed at random"


def compiled_shim():
    return str(compiled(HERE / "jitter.c", "-shared", "-fPIC", "-pthread", "-ldl"))


@functools.cache
def no_compiler():
    try:
        compiled_shim()
    except (NotCompiled, OSError) as why:
        return str(why).split("\n")[0]
    return ""


def why_no_shim(command):
    """One line, or ''. A library can be loaded into what has the same loader as we: not into static programs, nor other C libraries'."""
    loader = loader_of(program_of(command))
    if loader == "":
        return "the program is static"
    if loader is not None and loader != loader_of(sys.executable):
        return f"the program has a loader of its own, {loader}"
    return no_compiler()


def short_turns(command):
    """(environment, words) for a Python whose threads take turns as often as can be."""
    flags = "".join(arg for arg in options_of_python(command) if not arg.startswith("--"))
    if ignored := sorted(set("IES") & set(flags)):
        return {}, f"Python's switch interval as it is (python -{ignored[0]} takes none from outside){FEWER}"
    return ({"PYTHONPATH": joined(str(HERE / "hurry"), os.environ.get("PYTHONPATH")), "GRUPO_SWITCH_INTERVAL": SWITCH_INTERVAL},
            "Python's threads made to take turns often")


def joined(first, more):
    return f"{first}:{more}" if more else first


def stop_and_go(server, seed, done):
    """The body of a thread: stops one of the server's processes for a moment, again and again, until `done`."""
    rng = random.Random(seed)
    while not done.wait(rng.uniform(*STOPPED)) and server.process.poll() is None:
        pids = detectors.pids(server.pid) or [server.pid]       # none: it has ended meanwhile
        pid = rng.choice([server.pid, rng.choice(pids)])
        try:
            os.kill(pid, signal.SIGSTOP)
            done.wait(rng.uniform(*STOPPED))
        except OSError:
            pass                        # ended meanwhile
        finally:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)


# -- What kind of program ----------------------------------------------------------------------------------------------------------


def program_of(command):
    """The path of the file that is run, None if there is none."""
    return shutil.which(command[0]) or (command[0] if os.path.isfile(command[0]) else None)


def head_of(path):
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except (OSError, TypeError):
        return b""


def loader_of(path):
    """The loader that a native program asks for; '' if it is static, None if it is no native program (a script, say)."""
    head = head_of(path)
    if head[:4] != b"\x7fELF" or head[4] != 2:
        return None
    start, = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    for place in range(start, start + size * count, size):
        if place + 56 <= len(head) and struct.unpack_from("<I", head, place)[0] == 3:       # PT_INTERP
            offset, = struct.unpack_from("<Q", head, place + 8)
            length, = struct.unpack_from("<Q", head, place + 32)
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(length).rstrip(b"\0").decode("utf-8", "replace")
    return ""


def is_python(command):
    """Whether the command runs Python, or may well do so."""
    first = head_of(program_of(command)).split(b"\n")[0].decode("utf-8", "replace")
    name = os.path.basename(command[0])
    return bool(PYTHON.fullmatch(name) or STARTERS.fullmatch(name) or first.startswith("#!") and re.search(r"python|pypy|sh\b|env", first))


def options_of_python(command):
    """python -u -m x: ['-u']. Those before the script or the module, if the program is Python itself."""
    found = []
    if PYTHON.fullmatch(os.path.basename(command[0])):
        for arg in command[1:]:
            if not arg.startswith("-") or arg[1:2] in ("m", "c"):
                break
            found.append(arg)
            if arg.endswith(("W", "X")):
                break
    return found
