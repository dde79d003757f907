"""The exercises of the notebooks: each check accepts the solution, and says in one line what is
wrong with each of several plausible wrong answers. Each prediction refuses what is no answer.
"""

import ast
import importlib
import linecache
import re

import jupytext
import pytest

from harness.teaching import notebook as made_of
from notebooks.execute import sources


def cells(source, tag=None):
    """The code cells of a notebook that have this tag, or no tag at all."""
    code = [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]
    return [cell.source for cell in code if tag in cell.metadata.get("tags", [None])]


# A check cell calls a function of a module beside the notebooks: {call: the exercise's three cells}
CALL = re.compile(r"(\w+)\.(check_\w+)\(.*\)")
EXERCISES = {
    CALL.fullmatch(check)[0].partition("(")[0]: (exercise, solution, check)
    for source in sources()
    for exercise, solution, check in zip(
        *(cells(source, tag) for tag in ("exercise", "solution", "check")), strict=True
    )
    if CALL.fullmatch(check)
}
NOTEBOOKS = [
    pytest.param(source, id=source.stem)
    for source in sources()
    if any(CALL.fullmatch(check) for check in cells(source, "check"))
]
EACH = pytest.mark.parametrize("check", EXERCISES)

# (check, what the learner writes in place of the solution, what the check says)
#   an answer is a text, or replacements (old, new) in the solution
WRONG = [
    ("tour.check_first_member", "def play(server):\n    pass", "Nobody but Ana has joined"),
    (
        "tour.check_first_member",
        [('carla.send("SAY hello, Ana")', "pass")],
        "Carla has said nothing",
    ),
    (
        "tour.check_first_member",
        [('"SAY hello, Ana"', '"hello, Ana"')],
        "The server answered with `ERR ",
    ),
    ("tour.check_first_member", [('"carla"', '"ben"')], "Ana heard ben, but"),
    ("tour.check_first_member", [('"carla"', '"ana"')], "."),
    (
        "tour.check_first_member",
        [("SAY hello, Ana", "SAY hello\\nQUIT"), ("carla.send", "server.say")],
        "`server.say",
    ),
    ("tour.check_first_member", "def play():\n    pass", "positional argument"),
    ("tour.check_first_member", "play = None", "not callable"),
    (
        "wire.check_lines",
        [("    return [line.decode() for line in whole]", "    pass")],
        "must return a list",
    ),
    ("wire.check_lines", [("[line.decode() for line in whole]", "whole")], "must return a list"),
    ("wire.check_lines", [("self.rest + piece", "piece")], "the lines should be"),
    ("wire.check_lines", [("*whole, self.rest =", "whole =")], "the lines should be"),
    (
        "wire.check_lines",
        [
            ("(self.rest + piece).split(b", "(self.rest + piece.decode()).split("),
            ('b""', '""'),
            ("line.decode()", "line"),
        ],
        "a character was decoded",
    ),
    (
        "wire.check_lines",
        [("[line.decode() for line in whole]", "whole[0].decode()")],
        "raises IndexError",
    ),
    (
        "wire.check_lines",
        [(".decode()", '.decode(errors="replace")'), ("whole]", "whole[:1]]")],
        ".",
    ),
    (
        "wire.check_lines",
        "class Lines:\n    rest = b''\n    def feed(self, piece):\n"
        "        *whole, Lines.rest = (Lines.rest + piece).split(b'\\n')\n"
        "        return [line.decode() for line in whole]",
        "one client gets into the line of another",
    ),
    ("loop.check_chat", [("            clients.remove(key.fileobj)\n", "")], "The program ended"),
    ("loop.check_chat", [("            selector.unregister(key.fileobj)\n", "")], "KeyError"),
    ("loop.check_chat", [("            key.fileobj.close()\n", "")], "does not close its socket"),
    (
        "loop.check_chat",
        [
            ("            selector.unregister(key.fileobj)\n", ""),
            ("            key.fileobj.close()\n", ""),
            ("            clients.remove(key.fileobj)\n", ""),
        ],
        "uses 1?[0-9]+% of a core",
    ),
    (
        "loop.check_chat",
        [("            clients.remove(key.fileobj)\n", "            break\n")],
        "core",
    ),
    (
        "loop.check_chat",
        [("            continue\n        for", "            raise SystemExit\n        for")],
        "ended",
    ),
    ("loop.check_chat", [("key.fileobj.close()", "listener.close()")], "does not close its socket"),
    ("loop.check_chat", [("if not data:", "if not data")], "no Python"),
    ("loop.check_chat", [("listener = ", "listener = soket.")], "soket"),
    (
        "locks.check_three",
        [("ben:read carla:read ana:write", "ben:read ana:write carla:read")],
        "count to 2",
    ),
    ("locks.check_three", [("to_1", "to_x"), ("to_2", "to_1"), ("to_x", "to_2")], "not to 1"),
    (
        "locks.check_three",
        [("ana:read ben:read carla:read ana:write", "ana:write ben:read carla:read ana:read")],
        "ana cannot write before",
    ),
    ("locks.check_three", [(" carla:write", "")], "six steps"),
    ("locks.check_three", [("carla:", "Carla:")], "six steps"),
    ("locks.check_three", "to_1 = to_2 = ['ana:read', 'ben:read']", "six steps"),
    ("locks.check_three", "to_1 = to_2 = 1", "six steps"),
    ("pipes.check_pipe", [("os.close(writing)", "os.close(reading)")], "prints"),
    ("pipes.check_pipe", [("os.close(writing)", "os.wait()")], "did not end"),
    ("pipes.check_pipe", [("os.close(writing)", "os.set_blocking(reading, False)")], "prints"),
    (
        "pipes.check_pipe",
        [("flush=True)\n", "flush=True)\n    break\n"), ("os.close(writing)", "pass")],
        "two lines",
    ),
    (
        "pipes.check_pipe",
        [
            ("os.write(writing", "os.close(writing); os.write(writing"),
            ("os.close(writing)   ", "pass"),
        ],
        ".",
    ),
    ("pipes.check_pipe", [("    os._exit(0)", "   os._exit(0)")], "Line 5 of pipe.py is no Python"),
    ("pipes.check_pipe", [("hello from the child", "hello")], "Keep the line"),
    (
        "pipes.check_writers",
        [("            os.read(take, 1)", "            #")],
        "lines are torn|ended with",
    ),
    (
        "pipes.check_writers",
        [('            os.write(give, b"!")\n        os', "        os")],
        "did not end",
    ),
    (
        "pipes.check_writers",
        [
            ("            os.read(take, 1)        # only one process has the byte\n", ""),
            (
                "            rest = line\n",
                '            rest = line\n            os.read(take, 1); os.write(give, b"!")\n',
            ),
            ('            os.write(give, b"!")\n        os', "        os"),
        ],
        "are torn",
    ),
    ("pipes.check_writers", [("range(100)", "range(10)")], "All 400 lines must"),
    ("pipes.check_writers", [("print(lines, torn)", "print('done')")], "ended with: done"),
    ("zombies.check_jobs", [("    reap()\n", "    os.wait()\n")], "ChildProcessError"),
    ("zombies.check_jobs", [("        while os.waitpid", "        if os.waitpid")], "zombies"),
    (
        "zombies.check_jobs",
        [
            (
                "    except ChildProcessError:       # there are no children\n        pass",
                "    finally:\n        pass",
            )
        ],
        "ChildProcessError",
    ),
    (
        "zombies.check_jobs",
        [("    reap()\n", ""), ('    print("started"', '    os.wait()\n    print("started"')],
        "does not start a new job",
    ),
    ("zombies.check_jobs", [("os.WNOHANG", "0")], "does not start a new job"),
    (
        "zombies.check_jobs",
        [("    if os.fork() == 0:\n        time.sleep(float(line))\n        os._exit(0)\n", "")],
        "0 children",
    ),
    (
        "zombies.check_jobs",
        [
            ("    reap()\n    if", "    if"),
            ("        os._exit", "        reap()\n        os._exit"),
        ],
        "zombies",
    ),
]

# Of the solution of notebook 07: what gives the task away, and what does it at once.
IN_WORKER = "tasks.put((key.fileobj, line[9:].strip()))"
IN_LOOP = "outcomes.put((key.fileobj, hashed(line[9:].strip()) == KEPT)); wake.send(b'!')"

WRONG += [
    ("side_by_side.check_seconds", [(" and one.begin >= run.span[0]", "")], "before the talk"),
    (
        "side_by_side.check_seconds",
        [("one.begin >=", "one.end is not None and one.end >=")],
        "part of it",
    ),
    ("side_by_side.check_seconds", [("one.kind == kind and ", "")], "all kinds"),
    ("side_by_side.check_seconds", [("one.end - one.begin for", "1 for")], "count the intervals"),
    (
        "side_by_side.check_seconds",
        [("one.end - one.begin for", "1000 * (one.end - one.begin) for")],
        "milliseconds",
    ),
    ("side_by_side.check_seconds", [(" and one.end is not None", "")], "raises TypeError"),
    ("side_by_side.check_seconds", [("== kind", '== "lock.wait"')], "other than `lock.wait`"),
    (
        "side_by_side.check_seconds",
        "def seconds_in(run, kind):\n    return run.span[1] - run.span[0]",
        "but you find 10.0",
    ),
    ("side_by_side.check_seconds", "def seconds_in(run, kind):\n    pass", "must return a number"),
    ("slow_reader.check_outbox", "outbox = 262144", "With 262144 the slow member is disconnected"),
    ("slow_reader.check_outbox", "outbox = 1 << 20", "also with half of that"),
    ("slow_reader.check_outbox", "outbox = 500_000", "no?t? a power of two"),
    ("slow_reader.check_outbox", 'outbox = "512 KiB"', "must be a whole number"),
    ("slow_reader.check_outbox", "outbox = 1 << 60", "far from"),
    (
        "storm.check_server",
        [("threading.Thread(target=work, daemon=True).start()", ""), (IN_WORKER, IN_LOOP)],
        "the loop waits",
    ),
    (
        "storm.check_server",
        [("client, is_right = outcomes", "_, is_right = outcomes")],
        "must be|no answer",
    ),
    (
        "storm.check_server",
        [('b"right\\n" if is_right else b"wrong\\n"', 'b"wrong\\n"')],
        "must be 'right'",
    ),
    ("storm.check_server", [('        wake.send(b"!")', "        pass")], "no answer came"),
    (
        "storm.check_server",
        [("== KEPT))", "== KEPT)"), ("outcomes.put((client", "outcomes.put(client")],
        ".",
    ),
    ("storm.check_server", [("tasks.put((key.fileobj", "tasks.put((listener")], "."),
    ("how_many.check_limit", "limit = 90", "only [0-9]+ members fit"),
    ("how_many.check_limit", "limit = 512", "also with one less"),
    ("how_many.check_limit", "limit = 30", "only [0-9]+ members fit"),
    ("how_many.check_limit", "limit = 30 * 3 + 64", "also with one less"),
    ("how_many.check_limit", "limit = None", "must be a whole number"),
    ("how_many.check_limit", "limit = 10", "from 20 to 1,000"),
    ("verdict.check_order", [("MSG 4", "MSG 3"), ("there", "hi")], "find something else"),
    ("verdict.check_order", [(" ana there", " ana nobody said this")], "find something else"),
    ("verdict.check_order", "ana_hears = None", "must be a list of texts"),
    ("verdict.check_order", [("MSG 4", "MSG four")], "."),
    ("verdict.check_order", "ana_hears = []", "."),
    ("verdict.check_bug", 'the_bug = "a"', "Look at which client"),
    ("verdict.check_bug", 'the_bug = "c"', "Look at which client"),
    ("verdict.check_bug", 'the_bug = "d"', "Look at which client"),
    ("verdict.check_bug", 'the_bug = "B is it"', "one of the letters"),
]


@pytest.fixture(autouse=True)
def a_learner(monkeypatch, tmp_path):
    """A learner who guesses and solves, in a folder of their own."""
    monkeypatch.delenv(made_of.USUAL, raising=False)
    monkeypatch.chdir(tmp_path)


def run_cell(source, names):
    """Runs a cell as a notebook's kernel does; returns the value of a last expression."""
    magic = re.match(r"%%writefile (\S+)\n", source)
    if magic:
        with open(magic[1], "w") as file:
            file.write(source[magic.end() :] + "\n")
        return None
    name = f"<cell {hash(source)}>"
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    return last and eval(compile(ast.Expression(last.value), name, "eval"), names)


def checked(check, answer):
    """What a check says to an answer to its exercise."""
    module = check.partition(".")[0]
    names = {"__name__": "__main__", module: importlib.import_module(f"notebooks.checks.{module}")}
    run_cell(answer, names)
    return run_cell(EXERCISES[check][2], names)


def changed(check, answer):
    """The answer as a cell: the text itself, or the solution with these replacements."""
    if isinstance(answer, str):
        return answer
    solution = EXERCISES[check][1]
    for old, new in answer:
        assert old in solution, old
        solution = solution.replace(old, new)
    return solution


@EACH
def test_the_solution_is_right(check):
    notice = checked(check, EXERCISES[check][1])
    assert notice.good, notice


@pytest.mark.long
@EACH
def test_what_is_there_at_the_start_is_wrong(check):
    assert checked(check, EXERCISES[check][0]).good is False


@pytest.mark.long
@pytest.mark.parametrize("check, answer, why", WRONG)
def test_a_wrong_answer_is_refused_in_one_line(check, answer, why):
    notice = checked(check, changed(check, answer))
    assert notice.good is False
    assert re.search(why, notice.text), notice.text
    assert "\n" not in notice.text


@pytest.mark.parametrize("check", ["loop.check_chat", "pipes.check_writers", "zombies.check_jobs"])
def test_a_program_that_is_not_there(check):
    assert "run the cell that writes it" in checked(check, "pass").text


@EACH
def test_each_check_refuses_at_least_three(check):
    assert sum(one == check for one, *_ in WRONG) >= 3


@pytest.mark.parametrize("source", NOTEBOOKS)
def test_nothing_is_computed_before_the_guess(source):
    """In the cell of a picture, whatever runs is below `if guess.made:`, or a definition."""
    pictures = [one for one in cells(source) if "reveal(" in one and "import sys" not in one]
    assert pictures
    for picture in pictures:
        for statement in ast.parse(picture).body:
            if isinstance(statement, ast.If):
                assert ast.unparse(statement.test).endswith(".made") and not statement.orelse
            elif not isinstance(statement, (ast.FunctionDef, ast.Import, ast.ImportFrom)):
                calls = [one for one in ast.walk(statement) if isinstance(one, ast.Call)]
                assert not calls or ast.unparse(calls[0].func) == "reveal", ast.unparse(statement)


@pytest.mark.parametrize("source", NOTEBOOKS)
def test_no_usual_answer_is_shown(source):
    """It is in the module of checks, and fits the question."""
    for cell in cells(source, "predict"):
        module, name = re.search(r"predict\(\.\.\., (\w+)\.(\w+)\)", cell).groups()
        question = getattr(importlib.import_module(f"notebooks.checks.{module}"), name)
        assert question.objection(question.usual) is None


@pytest.mark.parametrize("source", NOTEBOOKS)
def test_it_ends_with_questions(source):
    """Four or five, with folded answers, and something to change."""
    text = "".join(
        cell.source for cell in jupytext.read(source).cells if cell.cell_type == "markdown"
    )
    folded = re.findall(r"<details><summary>(.*?)</summary>\n\n(.+?)\n\n</details>", text, re.S)
    assert len(folded) in (4, 5) and text.count("<details") == len(folded)
    assert "## Change one number" in text


@pytest.mark.parametrize("value", ["banana", "10", True, -1, float("nan"), 401, [10], None])
def test_a_guess_that_is_no_answer_is_refused(value):
    guess = made_of.predict(value, made_of.Question(usual=100, most=400))
    assert not guess.made
    assert repr(guess).startswith(f"{value!r} is no answer here: put a number from 0 to 400")
    assert "Guess first" in repr(made_of.reveal(guess, lambda guess: pytest.fail("it is drawn")))


def test_a_guess_may_be_one_of_several_texts():
    question = made_of.Question(usual="pthread", among=("pthread", "fork"))
    wrong = made_of.predict("banana", question)
    assert 'put one of "pthread", "fork" in its place' in repr(wrong)
    assert made_of.predict("fork", question).value == "fork"
