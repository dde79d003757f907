"""The explorer: the search on toy programs whose every order is known, and real servers under it."""

import itertools
import os
import random
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.driving import deadlines
from harness.driving.server import ROOT
from harness.explore import exploration, schedules
from harness.explore.exploration import Explored
from harness.explore.schedules import Order, Point, Schedule, Step, preemptions
from harness.explore.search import Prefix, Priorities, Tree, chance
from harness.explore.workloads import PEOPLE, TABLE
from harness.teaching import exhibits
from tests.conftest import need

STRANGERS = ROOT / "tests/strangers"

# -- The search, on toy programs

# A toy program: for each actor its steps. A step is (the process it is in, the file it touches).
STEPS = st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from("xy-")), min_size=1, max_size=3)
PROGRAMS = st.lists(STEPS, min_size=2, max_size=3)


def step_of(actor, number, step):
    process, file = step
    return Step(actor, "E.recv" if file == "-" else "B.lock.wait", file, process)


def play(program, choose):
    """Run a toy program as the controller would. Return (points, the state at the end): for each
    thing, the actors that touched it, in order.
    """
    done, points, state, last = dict.fromkeys(program, 0), [], {}, ""
    while names := [name for name in program if done[name] < len(program[name])]:
        steps = [step_of(name, done[name], program[name][done[name]]) for name in names]
        number = choose(len(points), names, last)
        points.append(Point(tuple(steps), number))
        last = names[number]
        for thing in steps[number].touches:
            state[thing] = (*state.get(thing, ()), (last, done[last]))
        done[last] += 1
    return points, tuple(sorted(state.items()))


def by_tree(program, bound):
    tree, states = Tree(bound), set()
    while (prefix := tree.next()) is not None:
        points, state = play(program, Prefix(prefix))
        assert preemptions(points) <= bound
        tree.add(prefix, points)
        states.add(state)
    return tree, states


def by_force(program, bound):
    """The states of all orders with at most so many preemptions."""
    names = [name for name in program for _ in program[name]]
    states = set()
    for order in set(itertools.permutations(names)):
        points, state = play(program, Prefix(order))
        if preemptions(points) <= bound:
            states.add(state)
    return states


@given(PROGRAMS, st.integers(0, 3))
def test_the_search_reaches_each_state_that_any_order_within_the_bound_reaches(program, bound):
    program = dict(zip("abc", program, strict=False))
    tree, states = by_tree(program, bound)
    assert states == by_force(program, bound)
    assert not tree.waiting


def test_orders_that_come_to_the_same_are_tried_once():
    apart = {"a": [("p", "-")] * 3, "b": [("q", "-")] * 3}
    tree, states = by_tree(apart, 9)
    assert len(states) == 1 and tree.tried <= 10, "20 orders, all the same"
    together = {"a": [("p", "-")] * 3, "b": [("p", "-")] * 3}
    tree, states = by_tree(together, 9)
    assert len(states) == tree.tried == 20


def depth_first(program, bound, has_sleep_sets):
    """Plain depth-first search. Return (how many runs it takes, the states at their ends); with
    sleep sets (Godefroid, LNCS 1032), the runs that these end early count, too.
    """
    runs, states = 0, set()

    def go(order, sleeping):
        nonlocal runs
        points, state = play(program, Prefix(order))
        # What the program would do after `order` does not count.
        done = points[: len(order)]
        costs = preemptions(done)
        if len(points) == len(order):
            runs += 1
            states.add(state)
            return
        enabled, last, is_end = points[len(order)].enabled, order[-1:], True
        names = [step.actor for step in enabled]
        sleeping = dict(sleeping)
        for step in sorted(enabled, key=lambda step: (step.actor,) != last):
            stops = bool(last) and last[0] in names and step.actor != last[0]
            if step.actor in sleeping or costs + stops > bound:
                continue
            is_end, touched = False, set(step.touches)
            go(
                (*order, step.actor),
                {who: one for who, one in sleeping.items() if not touched & set(one.touches)},
            )
            if has_sleep_sets:
                sleeping[step.actor] = step
        runs += is_end

    go((), {})
    return runs, states


def test_the_search_prunes_as_sleep_sets_do_and_unlike_them_loses_nothing():
    rng = random.Random(1)

    def steps():
        return [(rng.choice("pqr"), rng.choice("xyzw----")) for _ in range(rng.randrange(3, 6))]

    ours, plain, asleep = [0, 0], [0, 0], [0, 0]
    for _ in range(12):
        program = {"a": steps(), "b": steps()}
        tree, states = by_tree(program, 2)
        for total, (runs, reached) in (
            (ours, (tree.tried, states)),
            (plain, depth_first(program, 2, has_sleep_sets=False)),
            (asleep, depth_first(program, 2, has_sleep_sets=True)),
        ):
            total[0] += runs
            total[1] += len(reached)
    assert ours[1] == plain[1] > asleep[1], "sleep sets lose orders with a bound"
    assert ours[0] < 0.7 * plain[0]
    assert ours[0] / ours[1] < 1.1 * asleep[0] / asleep[1]


@pytest.mark.parametrize(
    ("event", "what"), [("B.write", ""), ("B.keep", "4-4"), ("B.lock.wait", "flock:number")]
)
def test_steps_of_two_processes_on_what_they_share_are_tried_in_both_orders(event, what):
    touched = [set(Step(name, event, what, name).touches) for name in ("ana", "ben")]
    assert set.intersection(*touched)


def test_of_actors_that_do_the_same_only_the_first_begins():
    steps = [("p", "-")] * 2
    program = {"a": steps, "b": steps, "c": steps}
    every, states = by_tree(program, 9)
    assert every.tried == len(states) == 90
    tree, starts = Tree(9, ("a", "b", "c")), set()
    while (prefix := tree.next()) is not None:
        points, _ = play(program, Prefix(prefix))
        tree.add(prefix, points)
        starts.add(tuple(dict.fromkeys(point.step.actor for point in points)))
    assert tree.tried == 90 / 6 and starts == {("a", "b", "c")}


def test_few_preemptions_and_early_ones_come_first():
    program = {"a": [("p", "-")] * 3, "b": [("p", "-")] * 3}
    tree, counts = Tree(3), []
    while (prefix := tree.next()) is not None:
        points, _ = play(program, Prefix(prefix))
        counts.append(preemptions(points))
        tree.add(prefix, points)
    assert counts[0] == 0 and counts[-1] == 3
    half = len(counts) // 2
    assert sum(counts[:half]) < sum(counts[half:])


def test_random_priorities_find_a_bug_as_often_as_is_promised():
    """A bug of depth 2: b's step comes between a's second and third one."""
    program = {"a": [("p", "-")] * 4, "b": [("p", "-")]}
    rng, found, runs = random.Random(1), 0, 400
    for _ in range(runs):
        points, _ = play(program, Priorities(rng, 5, 2))
        order = [point.step.actor for point in points]
        found += order == ["a", "a", "b", "a", "a"]
    assert found / runs >= 0.8 * chance(1, 2, 5, 2)
    assert 0.99 < chance(1000, 3, 10, 2) < 1 and chance(0, 3, 10, 2) == 0


@given(PROGRAMS, st.randoms(use_true_random=False))
def test_the_mark_of_an_order_tells_what_it_leads_to(program, rng):
    program = dict(zip("abc", program, strict=False))

    def any_order():
        points, state = play(program, lambda place, names, last: rng.randrange(len(names)))
        order = Order()
        for point in points:
            order = order.after(point.step)
        return order.sum, state

    (one, state), (other, other_state) = any_order(), any_order()
    assert (one == other) == (state == other_state)


# -- Files


def test_a_schedule_survives_its_file():
    schedule = Schedule("one-name", 3, ("ana", "write", "ben#2"), ("E.recv ana", "", "B.keep 4-4"))
    again = schedules.parse(schedule.text())
    assert (again.workload, again.members, again.actors) == ("one-name", 3, schedule.actors)
    assert "E.recv ana" in schedule.text()
    assert schedules.parse(replace(schedule, times=7).text()).times == 7 and again.times == 1


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "line 1"),
        ("grupo schedule 2\none-name 2\nana\n", "line 1"),
        ("grupo schedule 1\n", "line 2"),
        ("grupo schedule 1\none-name two\nana\n", "line 2"),
        ("grupo schedule 1\none-name 0\nana\n", "line 2"),
        ("grupo schedule 1\none-name 2 9999\nana\n", "line 2"),
        ("grupo schedule 1\none-name 2\nana\n\nben\n", "line 4"),
    ],
)
def test_what_is_no_schedule_is_refused_in_one_line(text, where):
    with pytest.raises(schedules.Wrong, match=where):
        schedules.parse(text)


@pytest.mark.parametrize("clients", range(1, len(PEOPLE) + 1))
@pytest.mark.parametrize("workload", TABLE, ids=lambda one: one.name)
def test_each_workload_fits_each_number_of_clients(workload, clients):
    rows = workload.rows(clients)
    people = [who for who, _ in rows if who != "owner"]
    assert people == sorted(set(people), key=PEOPLE.index) and len(people) == clients


# -- Real servers


def explore(*words, **options):
    run = subprocess.run(
        [sys.executable, "-m", "harness", "explore", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        **options,
    )
    assert "Traceback" not in run.stderr
    return run.returncode, run.stdout, run.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--members", 9, "--", "pthread"], "--members"),
        (["--preemptions", 12, "--", "pthread"], "--preemptions"),
        ([], "name the server"),
        (["--replay", "/none", "--", "pthread"], "/none"),
        (["--resume", "x", "--", "pthread"], "--workload"),
        (["--save", "/none/x", "--", "pthread"], "/none/x"),
        (["--save", "/tmp", "--", "pthread"], "/tmp"),
    ],
)
def test_a_misuse_is_one_line(words, says):
    status, out, err = explore(*words)
    assert status == 2 and err.count("\n") == 1 and says in err, err


def test_an_exploration_goes_on_from_its_file_and_spoils_no_other(tmp_path):
    file = tmp_path / "left"
    of = Explored.nothing(TABLE[0], 2, 2)
    assert exploration.load(file, of) is None
    points = play({"a": [("p", "-")] * 3, "b": [("p", "-")] * 3}, Prefix(()))[0]
    of.tree.next()
    of.tree.add((), points)
    file.write_text(exploration.text(of))
    assert exploration.load(file, of) == of.tree and of.tree.waiting
    for text in ("{}", "no", file.read_text().replace('"bound": 2', '"bound": 3')):
        file.write_text(text)
        with pytest.raises(schedules.Wrong):
            exploration.load(file, of)
    words = "--workload", TABLE[0].name, "--resume", file, "--", "pthread"
    status, _, err = explore(*words)
    assert status == 2 and str(file) in err and file.read_text() == text


TEAM = """
import pathlib, sys
from harness.explore.exploration import Workers
team = Workers(None, pathlib.Path("nowhere"), 3)
print(*(process.pid for process in team.processes), flush=True)
sys.stdin.read()
"""


def test_the_workers_end_with_the_main_process_even_if_it_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", TEAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as main:
        workers = [psutil.Process(int(pid)) for pid in main.stdout.readline().split()]
        main.kill()
    _, living = psutil.wait_procs(workers, deadlines.DEADLINE)
    for worker in living:
        worker.kill()
    assert len(workers) == 3 and not living


def test_the_workloads_are_listed():
    status, out, _ = explore("--list")
    assert status == 0 and all(one.name in out for one in TABLE)


@pytest.mark.long
@pytest.mark.parametrize("design", ["pthread", "fork"])
def test_all_schedules_of_a_right_server_are_explored_without_a_violation(design):
    status, out, err = explore(
        *("--workload", "one-name", "--preemptions", 0, "--seconds", 20, "--", design)
    )
    assert status == 0, out + err
    assert "all " in out and "no violation" in out


BAD = {
    "while True: pass": "does not start",
    "import os, time\nprint('listening on 127.0.0.1:1', flush=True)\n"
    "for _ in range(100):\n    if os.fork() == 0:\n        time.sleep(60)\ntime.sleep(60)": "before",
    "import os, sys\nos.execve(sys.executable, [sys.executable, '-m', 'implementations.pthread',"
    " *sys.argv[1:]], {'PATH': '/usr/bin'})": "never came to a gate",
}


@pytest.mark.long
@pytest.mark.parametrize("script", BAD, ids=["spins", "forks", "ignores"])
def test_what_cannot_be_explored_is_said_in_a_line_and_leaves_nothing(script, tmp_path):
    file = tmp_path / "server.py"
    file.write_text(script)
    status, out, err = explore("--workload", "one-name", "--", sys.executable, file)
    assert status == 3 and out.startswith("cannot be explored: ") and BAD[script] in out, out + err
    left = psutil.process_iter(["cmdline"])
    assert not [one for one in left if str(file) in " ".join(one.info["cmdline"] or ())]


@pytest.mark.long
@pytest.mark.parametrize("language", ["python", "c"])
def test_a_temporary_folder_may_have_a_path_too_long_for_the_name_of_a_socket(language, tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    command = in_c(tmp_path) if language == "c" else (sys.executable, STRANGERS / "aio.py")
    words = "--workload", "say", "--preemptions", 0, "--seconds", 2, "--", *command
    status, out, err = explore(*words, env={**os.environ, "TMPDIR": str(folder)})
    assert status == 0 and "no violation" in out, out + err


def ours_but(folder, text):
    """The command line of our pthread server with a class Server of its own."""
    file = folder / "server.py"
    file.write_text(
        f"import os, sys, threading\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"from implementations import pthread\n"
        f"from implementations.common.base_server import run\n{text}\nrun('pthread', Server)\n"
    )
    return sys.executable, file


def in_c(folder, *changes):
    """The command line of threads.c with these texts in place of others."""
    need("cc")
    text = (STRANGERS / "threads.c").read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    source, program = folder / "server.c", folder / "server"
    source.write_text(text)
    flags = "-O1", "-g", "-pthread", source, "-o", program, "-lcrypt", "-lm"
    subprocess.run(["cc", *flags], check=True)
    return (program,)


DIES = """
class Server(pthread.Server):
    handled = 0
    def hand_over(self, batch):
        self.handled += 1
        if self.handled > 37:
            os._exit(3)
        super().hand_over(batch)
"""


@pytest.mark.long
def test_a_server_that_dies_after_some_requests_is_confirmed_and_replayed(tmp_path):
    """Each workload's schedule has its own file; it says how often a server is taken through it."""
    command = ours_but(tmp_path, DIES)
    which = "one-name", "who-and-name"
    words = [word for name in which for word in ("--workload", name)]
    status, out, err = explore(*words, "--save", tmp_path / "dies.txt", "--", *command)
    assert status == 1 and out.count("ended with status 3") == 2, out + err
    for name in which:
        file = tmp_path / f"dies-{name}.txt"
        assert schedules.parse(file.read_text()).times > 1 and str(file) in out
    status, out, err = explore("--replay", file, "--", *command)
    assert status == 1 and "ended with status 3" in out, out + err


@pytest.mark.long
def test_at_a_full_disk_what_was_found_is_said_and_the_file_is_named(tmp_path):
    words = "--workload", "one-name", "--save", "/dev/full", "--", *ours_but(tmp_path, DIES)
    status, out, err = explore(*words)
    assert status == 2 and "ended with status 3" in out
    assert err == "harness: /dev/full: No space left on device\n"


@pytest.mark.long
def test_a_server_that_spins_after_its_start_is_said_soon(tmp_path):
    spins = "static void *spins(void *unused) { for (volatile int i = 0;; i++); return unused; }"
    place = "/* ---- the start ---- */"
    starts = "    start(postman);\n"
    command = in_c(tmp_path, (place, f"{spins}\n{place}"), (starts, f"{starts}    start(spins);\n"))
    status, out, _ = explore("--workload", "one-name", "--", *command)
    assert status == 3 and "does not come to rest within 6 s: it spins" in out, out


# A writer looks whether there is output, and then waits: what comes in between wakes nobody.
LOST_WAKE_UP = """
class Server(pthread.Server):
    filled = threading.Condition()
    ticks = False
    def write(self):
        while True:
            if not self.has_output():
                with self.filled:
                    self.filled.wait()
            self.flush()
    def tick(self):
        self.ticks = True
        return super().tick()
    def deliver(self, deliveries):
        super(pthread.Server, self).deliver(deliveries)
        if not self.ticks:
            with self.filled:
                self.filled.notify()
        self.ticks = False
"""
SAYS = """    if (keep(line, "", "MSG", "%s %s", c->person->name, text)) {
        tell(line);
        ration(c, strlen(line));
"""
LOST_WAKE_UP_IN_C = (
    (
        SAYS,
        """    if (keep(line, "", "MSG", "%s %s", c->person->name, text)) {
        put(&talk, line, strlen(line));
        pthread_cond_signal(&said);
""",
    ),
    (
        "/* An OUT cannot be refused",
        """
static Box talk;
static pthread_cond_t said = PTHREAD_COND_INITIALIZER;

static void *teller(void *unused)
{
    for (;;) {
        enter_room();
        while (waiting(&talk) > 0) {
            char line[LINE + 1] = "", *start = talk.data + talk.start;
            size_t n = (char *)memchr(start, '\\n', waiting(&talk)) + 1 - start;
            memcpy(line, start, n);
            drop(&talk, n);
            tell(line);
        }
        leave_room();
        if (waiting(&talk) == 0) {
            enter_room();
            pthread_cond_wait(&said, &room);
            leave_room();
        }
    }
    return unused;
}

/* An OUT cannot be refused""",
    ),
    ("    start(postman);\n", "    start(postman);\n    start(teller);\n"),
)


@pytest.mark.long
@pytest.mark.parametrize("language", ["python", "c"])
def test_a_lost_wake_up_is_found_before_another_message_heals_it(language, tmp_path):
    if language == "python":
        command = ours_but(tmp_path, LOST_WAKE_UP)
    else:
        command = in_c(tmp_path, *LOST_WAKE_UP_IN_C)
    file = tmp_path / "schedule"
    words = "--workload", "say", "--seconds", 300, "--save", file, "--", *command
    status, out, err = explore(*words)
    assert status == 1 and "received: nothing" in out, out + err
    status, again, err = explore("--replay", file, "--", *command)
    assert status == 1 and "received: nothing" in again, again + err


RACES = {
    "no-lock": "one-name",
    "lock-per-client": "one-name",
    "lock-released-between-check-and-use": "one-name",
    "deadlock-two-locks": "say-and-leave",
    "two-threads-write-one-socket": "history",
}


@pytest.mark.long
@pytest.mark.parametrize("name", RACES)
def test_a_race_is_found_and_its_schedule_replays(name, tmp_path):
    [exhibit] = [one for one in exhibits.all_exhibits() if one.name == name]
    tree, file = tmp_path / "tree", tmp_path / "schedule"
    exhibits.build(exhibit, tree)
    words = ("--in", tree, "--", sys.executable, "-m", f"implementations.{exhibit.design}")
    status, out, err = explore("--workload", RACES[name], "--seconds", 300, "--save", file, *words)
    assert status == 1, out + err
    assert "replay" in out
    status, again, err = explore("--replay", file, *words)
    assert status == 1 and "took another way" not in again, again + err
