"""Ways to disturb a server from outside so that a race shows: the program itself is not changed.

The first run of a hunt is undisturbed. After it every second run is disturbed in the way that shows
most races, and the others are drawn from the seed. For a native program that is the library of
jitter.c, which delays sends, writes and locks at random. For Python it is that library together
with threads that switch as often as possible and locks that wait at random
(switch_interval/sitecustomize.py). The other ways are one CPU for all threads, and SIGSTOP and
SIGCONT in bursts.
"""

import contextlib
import functools
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from harness.driving import processes
from harness.driving.compiled import NotCompiled, compiled
from harness.driving.messages import Message, listed, msg
from harness.driving.programs import (
    ignored_environment,
    is_python,
    joined,
    preloading,
    why_not_loaded,
)

HERE = Path(__file__).parent
SWITCH_INTERVAL = "1e-6"  # seconds; Python's own is 5e-3
STOPPED = 0.0005, 0.004  # seconds that a process is stopped, and goes on: between these
DELAYED = msg("sends and locks delayed at random")
OFTEN = msg("Python threads switched often")


@dataclass
class Disturbance:
    """`parts` name its parts, `env` and `preexec` start the server under it, during(server) goes on
    while it runs.
    """

    parts: list[str]
    lacks: list[str] = field(default_factory=list)  # of these, what could not be done
    env: dict = field(default_factory=dict)
    preexec: Callable = None
    stops: float = 0  # seed of the bursts of SIGSTOP; 0: none
    loads: list = field(
        default_factory=list
    )  # files that the server's process has in its memory if it is so disturbed

    @property
    def words(self) -> Message:
        """The whole of it in a line."""
        return listed(self.parts)

    @property
    def disturbs(self) -> bool:
        """Whether it disturbs the server at all, as far as is known."""
        return bool(self.preexec or self.stops or self.loads)

    def look(self, server) -> None:
        """Call it once the server listens. What its process did not load is no disturbance, and
        `parts` says so.
        """
        maps = maps_of(server)
        for path in [path for path in self.loads if path not in maps]:
            self.loads.remove(path)
            self.lacks.append(not_seen(path))
            self.parts[self.parts.index(OFTEN if path == switch_interval() else DELAYED)] = (
                self.lacks[-1]
            )

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


def disturbances(rng: random.Random, command: list[str]) -> Iterator[Disturbance]:
    """Without end; the first is none. `command` is the server's command line.

    Between two of them the caller may call look() on the first: a way that turns out not to disturb
    this server does not come again.
    """
    yield Disturbance([msg("undisturbed")])
    useful = kinds(command)
    others: list[Callable] = []
    for number in range(1 << 30):
        others = [make for make in others if make in useful] or rng.sample(
            useful[1:], len(useful) - 1
        )
        make = useful[0] if number % 2 == 0 or not others else others.pop()
        one = make(rng, command)
        yield one
        if not one.disturbs and len(useful) > 1:
            useful.remove(make)


def kinds(command: list[str]) -> list[Callable]:
    """What may be done to this program, the strongest first: functions (rng, command) ->
    Disturbance.
    """
    if is_python(command):
        return [hurried, hurried_on_one_cpu, stopped]
    return (
        [stopped, one_cpu]
        if why_no_shim(command)
        else [jittered, jittered_on_one_cpu, one_cpu, stopped]
    )


def jittered(rng, command):
    return made_of([shim(rng, command)])


def jittered_on_one_cpu(rng, command):
    return made_of([shim(rng, command)], [msg("on one CPU")], preexec=on_one_cpu(rng))


def one_cpu(rng, command):
    return made_of([], [msg("on one CPU")], preexec=on_one_cpu(rng))


def hurried(rng, command):
    return made_of([short_turns(rng, command), shim(rng, command)])


def hurried_on_one_cpu(rng, command):
    return made_of([short_turns(rng, command)], [msg("on one CPU")], preexec=on_one_cpu(rng))


def stopped(rng, command):
    return made_of(
        [short_turns(rng, command)] if is_python(command) else [],
        [msg("stopped and continued in bursts")],
        stops=rng.getrandbits(32) + 1,
    )


def made_of(ways, others=(), **how):
    """The Disturbance of these ways, each (environment, words, files that are loaded): without
    files it could not be done.
    """
    return Disturbance(
        [*(words for _, words, _ in ways), *others],
        [words for _, words, loads in ways if not loads],
        {name: value for env, _, _ in ways for name, value in env.items()},
        loads=[path for *_, loads in ways for path in loads],
        **how,
    )


# -- How -------------------------------------------------------------------------------------------


def on_one_cpu(rng):
    """For preexec: runs between fork and exec in a process that had threads, so it does one system
    call and no more.
    """
    return functools.partial(
        os.sched_setaffinity, 0, frozenset([rng.choice(sorted(os.sched_getaffinity(0)))])
    )


def shim(rng, command):
    """(environment, words, files that are loaded) for a program whose sends and locks are delayed
    at random. Without a compiler, or where the program could not load it: nothing, and words that
    say so.
    """
    seed = rng.getrandbits(32)
    if why := why_no_shim(command):
        return (
            {},
            msg("sends and locks not delayed ({why}), so this check finds fewer races", why=why),
            [],
        )
    library = compiled_shim()
    found = {**preloading(Path(library)), "GRUPO_JITTER": str(seed)}
    if is_python(command):
        found["GRUPO_JITTER_NO_SEMAPHORES"] = "1"
    return found, DELAYED, [os.path.realpath(library)]


def not_seen(path):
    """What there is to say of a file that the server's process did not load."""
    if path == switch_interval():
        return msg(
            "Python's switch interval not changed (the server's process did not read the "
            "file that changes it), so this check finds fewer races"
        )
    return msg(
        "sends and locks not delayed (the server's process did not load the library that "
        "delays them), so this check finds fewer races"
    )


def switch_interval():
    """The file that Python runs at its start, and that maps itself into memory."""
    return os.path.realpath(HERE / "switch_interval" / "sitecustomize.py")


def maps_of(server):
    """What the processes that listen at the server's address have mapped into memory; of its first
    process, if none does.
    """
    family, found = server.family(), []
    for process in family if len(family) > 1 else ():  # of one alone it is clear
        with contextlib.suppress(*processes.GONE), processes.as_owner(process.pid):
            if any(
                one.status == psutil.CONN_LISTEN and one.laddr[1] == server.port
                for one in process.net_connections("tcp")
            ):
                found.append(process.pid)
    text = ""
    for pid in found or [server.pid]:
        with (
            contextlib.suppress(OSError),
            processes.as_owner(pid),
            open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file,
        ):
            text += file.read()
    return text


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
    """One line, or ''."""
    return why_not_loaded(command) or no_compiler()


def short_turns(rng, command):
    """(environment, words, files that are loaded) for a Python with threads that switch as often as
    possible, and locks that wait at random.
    """
    seed = rng.getrandbits(32)
    if flag := ignored_environment(command):
        return (
            {},
            msg(
                "Python's switch interval not changed (python -{flag} ignores the "
                "environment), so this check finds fewer races",
                flag=flag,
            ),
            [],
        )
    return (
        {
            "PYTHONPATH": joined(str(HERE / "switch_interval"), os.environ.get("PYTHONPATH")),
            "GRUPO_SWITCH_INTERVAL": SWITCH_INTERVAL,
            "GRUPO_LOCK_DELAYS": str(seed),
        },
        OFTEN,
        [switch_interval()],
    )


def stop_and_go(server, seed, done):
    """The body of a thread: stops one of the server's processes for a moment, again and again,
    until `done`.
    """
    rng = random.Random(seed)
    while not done.wait(rng.uniform(*STOPPED)) and server.process.poll() is None:
        pids = server.program.pids() or [server.pid]  # none: it has ended meanwhile
        pid = rng.choice([server.pid, rng.choice(pids)])
        try:
            os.kill(pid, signal.SIGSTOP)
            done.wait(rng.uniform(*STOPPED))
        except OSError:
            pass  # ended meanwhile
        finally:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)
