"""What notebook 08 measures, its predictions and its exercise."""

import resource
from statistics import median
from time import perf_counter

from harness.driving.messages import msg
from harness.driving.record import CheckFailed
from harness.teaching.notebook import Listeners, Question, Wrong, exercise, folder, serve
from harness.tracing import runs

DESIGNS = ("nonblocking", "pthread", "fork")
MEGABYTES = Question(usual=100, most=1e6)
FITS = Question(usual=60, most=1000)  # members

WANTED = 30  # members, in the exercise


def memory(server):
    """Return the bytes of all the server's processes. A page that n processes share counts 1/n."""
    return sum(process.memory_full_info().pss for process in server.family())


def grow(which, steps):
    """Return a row for each step: what the server holds with so many members.

    Its latency is the median time that a line takes from Ana to Zoe, the last to join. The members
    are in the member file already, with hashes that are cheap to check.
    """
    place, rows = folder(), []
    names = runs.write_members(place / "group", max(steps))
    with serve(which, into=place) as server, Listeners(server) as others:
        ana = server.enter("ana")
        for members in steps:
            others.enter(names[len(others) : members - 2])
            zoe = server.enter(f"zoe{members}")
            ana.fence()
            took = []
            for _ in range(9):
                said = perf_counter()
                ana.send("SAY hello")
                zoe.expect("MSG .* hello")
                took.append(perf_counter() - said)
            others.listen()
            processes, threads, _ = server.holdings()
            row = {"design": which, "clients": members, "latency": median(took)}
            row |= {"memory": memory(server), "processes": processes, "threads": threads}
            rows.append(row)
            zoe.send("QUIT")
            zoe.rest()
    return rows


def fits(which, descriptors, most=1000):
    """Return how many members fit into a server with so many descriptors in each process.

    Also what the next client hears, and whether the members can still talk. It stops at `most`.
    """
    place = folder()
    names = runs.write_members(place / "group", most)
    with serve(which, into=place) as server:
        for process in server.family():
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
        for count, name in enumerate(names):
            try:
                server.enter(name)
            except (CheckFailed, OSError):
                heard = server.clients.pop().lines
                return count, heard, still_talk(server.clients)
    return most, [], True


def still_talk(members):
    """Whether the first member hears what the last one says."""
    if not members:
        return False
    members[-1].send("SAY are you all there?")
    try:
        members[0].expect("MSG .* are you all there\\?")
    except CheckFailed:
        return False
    return True


@exercise
def check_limit(descriptors):
    """The smallest limit with which WANTED members fit into fork."""
    if not isinstance(descriptors, int) or isinstance(descriptors, bool):
        raise Wrong(msg("`limit` must be a whole number, not {value}.", value=repr(descriptors)))
    if not 20 <= descriptors <= 1000:
        raise Wrong(msg("A limit from 20 to 1,000 is wanted, not {value}.", value=descriptors))
    count, *_ = fits("fork", descriptors, WANTED)
    if count < WANTED:
        raise Wrong(
            msg(
                "With {limit} descriptors only {count} members fit into fork.",
                limit=descriptors,
                count=count,
            )
        )
    count, *_ = fits("fork", descriptors - 1, WANTED)
    if count >= WANTED:
        raise Wrong(
            msg(
                "{count} members fit with {limit} descriptors, but also with one less.",
                count=WANTED,
                limit=descriptors,
            )
        )
