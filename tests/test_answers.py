"""The exercises of the notebooks: each check accepts the solution, and says in one line what is
wrong with each of several plausible wrong answers. Each prediction refuses what is no answer.
"""

import ast
import linecache
import re

import jupytext
import pytest

from harness.teaching import notebook as made_of
from notebooks.checks import loop, tour, wire
from notebooks.execute import sources

CHECKS = {"00": tour, "01": wire, "02": loop}
SOURCES = {
    number: source for source in sources() if (number := source.name.partition("_")[0]) in CHECKS
}

# (notebook, what the learner writes in place of the solution, what the check says)
#   an answer is a text, or replacements (old, new) in the solution
WRONG = [
    ("00", "def play(server):\n    pass", "Nobody but Ana has joined"),
    ("00", [('carla.send("SAY hello, Ana")', "pass")], "Carla has said nothing"),
    ("00", [('"SAY hello, Ana"', '"hello, Ana"')], "The server answered with `ERR "),
    ("00", [('"carla"', '"ben"')], "Ana heard ben, but"),
    ("00", [('"carla"', '"ana"')], "."),
    ("00", [("SAY hello, Ana", "SAY hello\\nQUIT"), ("carla.send", "server.say")], "`server.say"),
    ("00", "def play():\n    pass", "positional argument"),
    ("00", "play = None", "not callable"),
    ("01", [("    return [line.decode() for line in whole]", "    pass")], "must return a list"),
    ("01", [("[line.decode() for line in whole]", "whole")], "must return a list"),
    ("01", [("self.rest + piece", "piece")], "the lines should be"),
    ("01", [("*whole, self.rest =", "whole =")], "the lines should be"),
    (
        "01",
        [
            ("(self.rest + piece).split(b", "(self.rest + piece.decode()).split("),
            ('b""', '""'),
            ("line.decode()", "line"),
        ],
        "a character was decoded",
    ),
    ("01", [("[line.decode() for line in whole]", "whole[0].decode()")], "raises IndexError"),
    ("01", [(".decode()", '.decode(errors="replace")'), ("whole]", "whole[:1]]")], "."),
    (
        "01",
        "class Lines:\n    rest = b''\n    def feed(self, piece):\n"
        "        *whole, Lines.rest = (Lines.rest + piece).split(b'\\n')\n"
        "        return [line.decode() for line in whole]",
        "one client gets into the line of another",
    ),
    ("02", [("            clients.remove(key.fileobj)\n", "")], "The program ended"),
    ("02", [("            selector.unregister(key.fileobj)\n", "")], "KeyError"),
    ("02", [("            key.fileobj.close()\n", "")], "does not close its socket"),
    (
        "02",
        [
            ("            selector.unregister(key.fileobj)\n", ""),
            ("            key.fileobj.close()\n", ""),
            ("            clients.remove(key.fileobj)\n", ""),
        ],
        "uses 1?[0-9]+% of a core",
    ),
    ("02", [("            clients.remove(key.fileobj)\n", "            break\n")], "core"),
    (
        "02",
        [("            continue\n        for", "            raise SystemExit\n        for")],
        "ended",
    ),
    ("02", [("key.fileobj.close()", "listener.close()")], "does not close its socket"),
    ("02", [("if not data:", "if not data")], "no Python"),
    ("02", [("listener = ", "listener = soket.")], "soket"),
]


@pytest.fixture(autouse=True)
def a_learner(monkeypatch, tmp_path):
    """A learner who guesses and solves, in a folder of their own."""
    monkeypatch.delenv(made_of.USUAL, raising=False)
    monkeypatch.chdir(tmp_path)


def cells(number, tag):
    notebook = jupytext.read(SOURCES[number])
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell.source for cell in code if tag in cell.metadata.get("tags", [None])]


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


def checked(number, answer):
    """What the check of a notebook says to an answer to its exercise."""
    checks = CHECKS[number]
    names = {"__name__": "__main__", checks.__name__.rpartition(".")[2]: checks}
    run_cell(answer, names)
    [check] = cells(number, "check")
    return run_cell(check, names)


def changed(number, answer):
    """The answer as a cell: the text itself, or the solution with these replacements."""
    if isinstance(answer, str):
        return answer
    [solution] = cells(number, "solution")
    for old, new in answer:
        assert old in solution, old
        solution = solution.replace(old, new)
    return solution


@pytest.mark.parametrize("number", CHECKS)
def test_the_solution_is_right(number):
    [solution] = cells(number, "solution")
    notice = checked(number, solution)
    assert notice.good, notice


@pytest.mark.parametrize("number", CHECKS)
def test_what_is_there_at_the_start_is_wrong(number):
    [exercise] = cells(number, "exercise")
    assert checked(number, exercise).good is False


@pytest.mark.long
@pytest.mark.parametrize("number, answer, why", WRONG)
def test_a_wrong_answer_is_refused_in_one_line(number, answer, why):
    notice = checked(number, changed(number, answer))
    assert notice.good is False
    assert re.search(why, notice.text), notice.text
    assert "\n" not in notice.text


def test_each_check_refuses_at_least_three():
    assert all(sum(one == number for one, *_ in WRONG) >= 3 for number in CHECKS)


@pytest.mark.parametrize("number", CHECKS)
def test_nothing_is_computed_before_the_guess(number):
    """In the cell of a picture, whatever runs is below `if guess.made:`, or a definition."""
    pictures = [one for one in cells(number, None) if "reveal(" in one]
    assert pictures
    for source in pictures:
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.If):
                assert ast.unparse(statement.test).endswith(".made") and not statement.orelse
            elif not isinstance(statement, (ast.FunctionDef, ast.Import, ast.ImportFrom)):
                calls = [one for one in ast.walk(statement) if isinstance(one, ast.Call)]
                assert not calls or ast.unparse(calls[0].func) == "reveal", ast.unparse(statement)


@pytest.mark.parametrize("number", CHECKS)
def test_no_usual_answer_is_shown(number):
    """It is in the module of checks, and fits the question."""
    for source in cells(number, "predict"):
        asked = re.search(r"predict\(\.\.\., (\w+)\.(\w+)\)", source)
        assert CHECKS[number].__name__.endswith(f".{asked[1]}")
        question = getattr(CHECKS[number], asked[2])
        assert question.objection(question.usual) is None


@pytest.mark.parametrize("value", ["banana", "10", True, -1, float("nan"), 401, [10], None])
def test_a_guess_that_is_no_answer_is_refused(value):
    guess = made_of.predict(value, made_of.Question(usual=100, most=400))
    assert not guess.made
    assert repr(guess).startswith(f"{value!r} is no answer here: put a number from 0 to 400")
    assert "Guess first" in repr(made_of.reveal(guess, lambda guess: pytest.fail("it is drawn")))


def test_a_guess_of_a_design_is_one_of_the_three():
    wrong = made_of.predict("banana", usual="pthread")
    assert 'put one of "nonblocking", "pthread", "fork" in its place' in repr(wrong)
    assert made_of.predict("fork", usual="pthread").value == "fork"
