"""Mutants: what each kind of mutation makes of a small source, how they are drawn and judged, and
how a run goes on where it stopped.
"""

import functools
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter

import psutil
import pytest
from conftest import lacks, need

from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT
from harness.teaching import mutants, mutations
from harness.teaching.mutations import judge as judging
from harness.teaching.mutations import population
from harness.teaching.mutations.edit import KINDS
from harness.verdicts.model import UsageError

all_mutants = functools.cache(population.all_mutants)


def mutated(kind, text, name="sample.py"):
    """The sources that mutations of this kind make of a source, as sets of changed lines."""
    text = textwrap.dedent(text).lstrip("\n")
    found = []
    for edit in mutations.edits(name, text).values():
        if edit.kind == kind:
            changed = mutations.diff(name, text, edit).splitlines()[3:]
            found.append([line[0] + line[1:].strip() for line in changed if line[0] in "+-"])
    return found


PYTHON = '''
LIMIT = 4 * 8

def keep(self, line: str = "", strict=False) -> int:
    """Docstring."""
    if not line:
        return 0
    try:
        self.write(line)
        self.count = self.count + 1
    except OSError:
        raise
    with self.lock:
        self.seen = line
        self.tell(line)
    while len(line) < LIMIT and self.open:
        line += "x"
    trace.note("kept")
    return self.count
'''


@pytest.mark.parametrize(
    "kind, change",
    [
        ("statement-dropped", ["-self.write(line)", "+pass"]),
        ("statement-dropped", ['-line += "x"', "+pass"]),
        ("condition-negated", ["-if not line:", "+if (line):"]),
        (
            "condition-negated",
            [
                "-while len(line) < LIMIT and self.open:",
                "+while len(line) < LIMIT and not (self.open):",
            ],
        ),
        (
            "off-by-one",
            [
                "-while len(line) < LIMIT and self.open:",
                "+while len(line) <= LIMIT and self.open:",
            ],
        ),
        ("off-by-one", ["-LIMIT = 4 * 8", "+LIMIT = (4 * 8 + 1)"]),
        ("off-by-one", ["-self.count = self.count + 1", "+self.count = self.count + 2"]),
        ("wrong-constant", ["-LIMIT = 4 * 8", "+LIMIT = (2 * 4 * 8)"]),
        (
            "wrong-constant",
            [
                '-def keep(self, line: str = "", strict=False) -> int:',
                '+def keep(self, line: str = "", strict=True) -> int:',
            ],
        ),
        ("wrong-constant", ['-line += "x"', '+line += "xx"']),
        (
            "statements-swapped",
            ["+self.count = self.count + 1", "-self.count = self.count + 1"],
        ),
        ("moved-out-of-lock", ["-self.tell(line)", "+self.tell(line)"]),
        ("moved-out-of-lock", ["+self.seen = line", "-self.seen = line"]),
        ("lock-dropped", ["-with self.lock:", "+if True:"]),
        ("error-branch-dropped", ["-except OSError:", "+except ():"]),
        ("error-branch-dropped", ["-if not line:", "-return 0", "+pass"]),
    ],
)
def test_python(kind, change):
    assert change in mutated(kind, PYTHON)


C = """
enum { LIMIT = 32 };
static bool keep(struct state *s, const char *line)
{
    int n = strlen(line);
    if (n < 0 || n > LIMIT)
        return false;
    pthread_mutex_lock(&s->lock);
    s->seen = line;
    tell(s, "kept", 2);
    pthread_mutex_unlock(&s->lock);
    s->long_ago = s->open ? 0 : 1;   /* a comment; with "words" */
    return true;
}
"""


@pytest.mark.parametrize(
    "kind, change",
    [
        ("statement-dropped", ["-s->seen = line;", "+;"]),
        ("condition-negated", ["-if (n < 0 || n > LIMIT)", "+if (!(n < 0 || n > LIMIT))"]),
        ("condition-negated", ["-if (n < 0 || n > LIMIT)", "+if (n < 0 || !(n > LIMIT))"]),
        ("off-by-one", ["-if (n < 0 || n > LIMIT)", "+if (n < 0 || n >= LIMIT)"]),
        ("off-by-one", ["-enum { LIMIT = 32 };", "+enum { LIMIT = 33 };"]),
        ("wrong-constant", ["-enum { LIMIT = 32 };", "+enum { LIMIT = (2 * 32) };"]),
        ("wrong-constant", ["-return true;", "+return false;"]),
        ("wrong-constant", ['-tell(s, "kept", 2);', '+tell(s, "keptx", 2);']),
        ("statements-swapped", ['+tell(s, "kept", 2);', '-tell(s, "kept", 2);']),
        (
            "moved-out-of-lock",
            ["+pthread_mutex_unlock(&s->lock);", "-pthread_mutex_unlock(&s->lock);"],
        ),
        ("lock-dropped", ["-pthread_mutex_lock(&s->lock);", "+;"]),
        ("error-branch-dropped", ["-if (n < 0 || n > LIMIT)", "-return false;", "+;"]),
    ],
)
def test_c(kind, change):
    assert change in mutated(kind, C, "sample.c")


def test_a_part_of_a_condition_goes_on_behind_its_brackets():
    found = mutated("condition-negated", "bool f(void) { return a && !b->c[3][0] && d; }", "s.c")
    assert "+bool f(void) { return a && !(!b->c[3][0]) && d; }" in [lines[1] for lines in found]


@pytest.mark.parametrize(
    "text",
    [
        "static const struct point origin = (struct point){ 0, 1 };\nint f(void) { return 2; }\n",
        "void f(int n)\n{\n    switch (n) {\n    case 1: return;\n    default: g(n ? 1 : 2);\n    }\n}\n",
        "#define LOOP(x) do { \\\n    x; } while (0)\nint f(void)\n{\n    for (;;)\n        LOOP(g());\n}\n",
        "int f(void)\n{\nagain:\n    do { n++; } while (n < 3);\n    if (n) ; else goto again;\n    return '{';\n}\n",
        "",
        "/* no code; only a comment { */\n",
    ],
)
def test_any_c_is_mutated_inside_its_functions(text):
    found = mutations.edits("s.c", text)
    assert all(
        sorted(edit.apply(text).replace(" ", "")) != sorted(text.replace(" ", ""))
        or edit.kind in ("statements-swapped", "moved-out-of-lock")
        for edit in found.values()
    )
    assert all(mutations.diff("s.c", text, edit) for edit in found.values())


@pytest.mark.parametrize(
    "text",
    [
        "def f(n):\n    match n:\n        case 1:\n            g(n)\n        case _:\n            h(n)\n",
        "def f(self):\n    with self.lock: a(); b()\n",
        "def f(self):\n    with (\n        self.lock,\n        other as x,\n    ):\n        a()\n        b()\n",
        "async def f(é, *, ß=1):\n    async with a: await é(ß); return 'é' if é else f'{é}{ß!r:>{ß}}'\n",
        "class A:\n    x: int = 3\n    @property\n    def f(self): return self.x\n",
        "if a:\n    pass\nelif b:\n    x = 1\n",
        "",
    ],
)
def test_any_python_stays_python(text):
    for edit in mutations.edits("s.py", text).values():
        compile(edit.apply(text), "s.py", "exec")


def test_what_is_no_behaviour_is_left_alone():
    changed = " ".join(line for kind in KINDS for lines in mutated(kind, PYTHON) for line in lines)
    assert "Docstring" not in changed and "trace" not in changed
    silent = """
        def __repr__(self):
            return "x" if self.open else "y"
        def f(self, a: Literal["one"]) -> Literal["two"]:
            self.wait = traced("wait", self.poll)
            first = 1
            return first
    """
    made = {line for kind in KINDS for lines in mutated(kind, silent) for line in lines}
    assert {line for line in made if line.startswith("-")} == {
        '-self.wait = traced("wait", self.poll)',
        "-first = 1",
        "-return first",
    }
    assert not any('"waitx"' in line for line in made)


def test_statements_that_plainly_commute_are_not_swapped():
    assert not mutated("statements-swapped", "def f(self):\n    self.a = 1\n    self.b = 2\n")
    assert mutated("statements-swapped", "def f(self):\n    self.a = 1\n    self.b = self.a\n")
    assert not mutated("statements-swapped", "void f(void)\n{\n    a = 1;\n    b = 2;\n}\n", "s.c")
    assert mutated("statements-swapped", "void f(void)\n{\n    a = 1;\n    b = a;\n}\n", "s.c")


@pytest.mark.parametrize("name, text", [("sample.py", PYTHON), ("sample.c", C)])
def test_ids_survive_edits_elsewhere(name, text):
    before = mutations.edits(name, text)
    comment = "# new\n" if name.endswith(".py") else "/* new */\n"
    assert list(mutations.edits(name, comment + text)) == list(before)
    changed = mutations.edits(name, text.replace("tell(", "say("))
    assert 0 < len(set(before) - set(changed)) < len(before)


def test_mutants_of_ours_compile_and_each_belongs_to_a_design():
    found = all_mutants()
    assert len({mutant.id for mutant in found}) == len(found) > 5000
    assert {mutant.edit.kind for mutant in found} == set(KINDS)
    designs = {mutant.file: set() for mutant in found}
    for mutant in found:
        designs[mutant.file].add(mutant.design)
    for mutant in population.sample(found, 300, "a"):
        if mutant.file.endswith(".py"):
            compile(mutant.edit.apply(mutant.text), mutant.file, "exec")
    assert designs["implementations/common/children.py"] == {"fork"}
    assert designs["implementations/common/waiting_line.py"] == {"pthread"}
    assert designs["implementations/common/room.py"] == {"nonblocking", "pthread", "fork"}
    assert designs["tests/strangers/threads.c"] == {"pthread"}
    assert "implementations/common/trace.py" not in designs


def test_a_sample_has_all_kinds_and_grows_at_its_end():
    found = all_mutants()
    small, large = population.sample(found, 40, "a"), population.sample(found, 400, "a")
    assert large[:40] == small and len({mutant.id for mutant in large}) == 400
    assert set(Counter(mutant.edit.kind for mutant in small).values()) == {5}
    assert len({mutant.file for mutant in large}) > 30
    assert population.sample(found, 40, "b") != small
    assert len(population.sample(small, 400, "a")) == 40


# -- Results and equivalents -----------------------------------------------------------------------


def mutant_of(text="int main(void)\n{\n    f();\n}\n", kind="statement-dropped"):
    [(name, edit)] = [
        (name, edit) for name, edit in mutations.edits("s.c", text).items() if edit.kind == kind
    ]
    return population.Mutant(name, "s.c", text, edit, "pthread")


def test_a_result_that_was_not_written_whole_is_cut_off(tmp_path):
    mutant, file = mutant_of(), tmp_path / "results"
    mutants.Results(str(file)).add({"id": mutant.id, "outcome": "survived", "minutes": 0})
    whole = file.read_text()
    file.write_text(whole + whole[: len(whole) // 2])
    results = mutants.Results(str(file))
    assert results.is_final(mutant, 0) and not results.is_final(mutant, 5)
    results.add({"id": mutant.id, "outcome": "caught by fuzz"})
    assert results.is_final(mutant, 5)
    assert [json.loads(line)["outcome"] for line in file.read_text().splitlines()] == [
        "survived",
        "caught by fuzz",
    ]


def test_results_of_other_checks_count_for_nothing(tmp_path, monkeypatch):
    mutant, file = mutant_of(), tmp_path / "results"
    mutants.Results(str(file)).add({"id": mutant.id, "outcome": "caught by check"})
    assert mutants.Results(str(file)).is_final(mutant, 0)
    monkeypatch.setattr(mutants, "version_of_checks", lambda: "another")
    assert not mutants.Results(str(file)).is_final(mutant, 0)


def test_a_file_of_something_else_is_no_file_of_results(tmp_path):
    (tmp_path / "results").write_text("hello\n")
    with pytest.raises(UsageError, match="results, line 1: not a result"):
        mutants.Results(str(tmp_path / "results"))


def test_each_equivalent_mutant_has_a_reason(tmp_path, monkeypatch):
    assert all(mutants.equivalents().values())
    monkeypatch.setattr(mutants, "EQUIVALENT", tmp_path / "equivalent.toml")
    mutants.EQUIVALENT.write_text('"a:b:1" = "why"\n"a:b:2" = " "\n')
    with pytest.raises(UsageError, match="a:b:2 has no reason"):
        mutants.equivalents()
    mutants.EQUIVALENT.write_text('"a:b:1" = ')
    with pytest.raises(UsageError, match=r"equivalent\.toml: "):
        mutants.equivalents()


def test_an_equivalent_mutant_that_is_gone_is_named():
    assert mutants.gone(["s.c:off-by-one:0", mutant_of().id], [mutant_of()]) == ["s.c:off-by-one:0"]


# -- What is certain -------------------------------------------------------------------------------


class Told(judging.Judge):
    """A judge whose runs of the checks have these outcomes: what failed, and what is unclear."""

    def verdicts(self, mutant, command, folder, only):
        failed, unclear = self.outcomes.pop(0)
        self.asked.append(only)
        return failed, "why", unclear

    def found(self, *outcomes):
        self.outcomes, self.asked = list(outcomes), []
        found = self.check(mutant_of(), [], "")
        assert not self.outcomes
        return found


PASSED, LATE, EARLY = ("", []), ("faults: late", []), ("framing: early", [])


def test_a_failure_is_certain_if_no_clock_is_in_it_or_if_it_repeats():
    judge = Told(0, [])
    assert judge.found(EARLY)["by"] == "framing: early"
    assert judge.found(LATE, PASSED, LATE)["by"] == "faults: late"
    assert judge.asked == [[], ["faults: late"], ["faults: late"]]
    assert judge.found(LATE, PASSED, PASSED, PASSED, EARLY)["by"] == "framing: early"
    never = [LATE, PASSED, PASSED, PASSED]
    assert judge.found(*never, *never) == {"unsure": ["faults: late"]}
    assert judge.found(*never, PASSED) == {"unsure": []}


def test_what_is_inconclusive_is_tried_once_more():
    judge = Told(0, [])
    unclear = ("", ["crowd: slow", "files: slow"])
    assert judge.found(unclear, PASSED) == {"unsure": []}
    assert judge.asked == [[], ["crowd: slow", "files: slow"]]
    assert judge.found(unclear, ("", ["crowd: slow"])) == {"unsure": ["crowd: slow"]}
    assert judge.found(unclear, EARLY)["by"] == "framing: early"
    assert judge.found(PASSED) == {"unsure": []}


# -- Whole runs ------------------------------------------------------------------------------------


def command(*words, **options):
    """`harness mutants`, where this system gives the namespaces that it needs."""
    for tool in "unshare", "prlimit", "cc":
        need(tool)
    try:
        judging.isolation()
    except UsageError as why:
        lacks(str(why))
    return [sys.executable, "-m", "harness", "mutants", "--lang", "en", "--workers", "1", *words]


def run(*words):
    return subprocess.run(
        command(*words), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def ids(*texts, file="tests/strangers/threads.c"):
    """The ids of the first mutants with these texts in them."""
    ours = [mutant for mutant in all_mutants() if mutant.file == file]
    return [
        next(mutant.id for mutant in ours if text in mutant.edit.apply(mutant.text))
        for text in texts
    ]


def records(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


HARMLESS = "STACK = 257 << 10"


@pytest.mark.long
def test_one_mutant_is_caught_and_another_survives(tmp_path):
    caught, survives = ids('end(c, "quitx")', HARMLESS)
    file = tmp_path / "results"
    done = run("--results", str(file), caught, survives)
    assert {record["id"]: record["outcome"] for record in records(file)} == {
        caught: "caught by check",
        survives: "survived",
    }, done.stdout + done.stderr
    assert "caught by check: " in done.stdout and "+    " + HARMLESS in done.stdout
    assert "1 of 2 mutants that are not equivalent were caught (50.0%)." in done.stdout
    assert done.returncode == 1
    again = run("--results", str(file), caught, survives)
    assert again.stdout.strip() == done.stdout.split("\n\n", 1)[1].strip()
    assert len(records(file)) == 2


@pytest.mark.long
def test_a_run_that_was_interrupted_goes_on_where_it_stopped(tmp_path):
    chosen = ids('end(c, "quitx")', 'end(c, "protocolx")')
    file = tmp_path / "results"
    with subprocess.Popen(
        command("--results", str(file), *chosen),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        running.stdout.readline()  # the first result
        below = wait_until(lambda: psutil.Process(running.pid).children(recursive=True))
        running.send_signal(signal.SIGINT)
        assert " 1 of 1 " in f" {running.stdout.read()}".replace("\n", " ")
    assert running.returncode == 130
    assert not [process for process in below if process.is_running()]
    assert not list(tmp_path.glob("grupo-mutant-*"))
    [first] = records(file)
    done = run("--results", str(file), *chosen)
    assert done.stdout.startswith("    1 / 1  caught by check: ") and done.returncode == 0
    assert records(file)[0] == first
    assert {record["id"] for record in records(file)} == set(chosen)


def test_misuse_ends_with_one_line(tmp_path):
    for words, says in [
        (["no-such-mutant"], "mutants: no mutant has no-such-mutant in its id\n"),
        (["--results", f"{tmp_path}/no/results", "pthread.py"], "mutants: "),
    ]:
        done = run(*words)
        assert done.returncode == 2 and done.stderr.startswith(says)
        assert done.stderr.count("\n") == 1 and not done.stdout
