"""The notebooks: each runs from top to bottom and leaves nothing behind; what is committed is what
the sources say; JupyterLab shows them.
"""

import ast
import base64
import itertools
import json
import os
import re
import subprocess
import sys

import jupytext
import nbformat
import psutil
import pytest

from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT
from harness.teaching import notebook as made_of
from notebooks.execute import execute, sources
from notebooks.open import for_learners
from tests.conftest import browser

SOURCES = sources()
PORTUGUESE = sources("pt-BR")
MARK = "GRUPO_NOTEBOOK_TEST"  # in the environment of all that a notebook starts
EACH = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
ALL = pytest.mark.parametrize(
    "source", [*SOURCES, *PORTUGUESE], ids=lambda source: str(source)[-30:]
)
TRANSLATED = pytest.mark.parametrize("source", PORTUGUESE, ids=lambda source: source.stem)


def number_of(source):
    """What execute.py calls it."""
    number = source.name.partition("_")[0]
    return number if source in SOURCES else f"pt-BR/{number}"


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def figures(notebook):
    """The figures of a notebook: (what it shows in words, PNG bytes; none of a table)."""
    pages = [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    return [
        (
            re.search(r' (?:alt|aria-label)="([^"]*)"', page)[1],
            [
                base64.b64decode(data)
                for data in re.findall(r'="data:image/png;base64,([^"]*)', page)
            ],
        )
        for page in pages
        if "<figure" in page
    ]


def text_of(cell):
    return "".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for output in cell.get("outputs", [])
    )


def with_mark(value):
    """The processes that have this mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            pass
    return found


@pytest.fixture
def marked(monkeypatch, request):
    """Marks what is started from here on, and at the end finds that nothing of it is left."""
    mark = f"{os.getpid()}-{request.node.name}"
    monkeypatch.setenv(MARK, mark)
    yield
    monkeypatch.delenv(MARK)
    wait_until(lambda: not with_mark(mark), what="the end of all that the notebook started")


# -- What is committed -----------------------------------------------------------------------------


def test_there_are_eleven():
    numbers = [source.name.partition("_")[0] for source in SOURCES]
    assert numbers == ["00", "01", "02", "03", "04", "04b", *(f"{one:02}" for one in range(5, 10))]


@ALL
def test_both_files_say_the_same(source):
    """What is committed with outputs is what the source says, and was run from top to bottom."""
    ours, shown = jupytext.read(source), nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(shown)
    tell = lambda notebook: [
        (cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells
    ]
    assert tell(shown) == tell(ours), (
        f"python notebooks/execute.py {number_of(source)} makes the second file of the first"
    )
    code = [cell for cell in shown.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert len(figures(shown)) >= len(tagged(shown, "predict"))


@ALL
def test_nothing_of_the_machine_where_they_ran_is_in_them(source):
    text = source.with_suffix(".ipynb").read_text()
    assert not re.search(r"/(work|home|tmp/wt|Users)/", re.sub(r"base64,[^\\\"]*", "", text))


@ALL
def test_its_form(source):
    """A first cell that runs something whole; guesses, exercises and checks; and links that lead
    somewhere.
    """
    notebook = jupytext.read(source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not code[0].metadata.get("tags") and len(code[0].source.splitlines()) > 3
    for tag in "predict", "exercise", "solution", "check", "test":
        assert tagged(notebook, tag), tag
    assert (
        len(tagged(notebook, "exercise"))
        == len(tagged(notebook, "solution"))
        == len(tagged(notebook, "check"))
    )
    for cell in tagged(notebook, "predict"):
        assert "predict(..., " in cell.source
    for link in re.findall(
        r"\]\(([^)#:]+)\)",
        "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"),
    ):
        assert (source.parent / link).resolve().exists(), link


def test_a_learner_gets_no_solutions():
    for source in SOURCES:
        learners = for_learners(jupytext.read(source))
        assert (
            tagged(learners, "exercise")
            and not tagged(learners, "solution")
            and not tagged(learners, "test")
        )


# -- In Portuguese ---------------------------------------------------------------------------------


def without_texts(source):
    """A cell's code without its comments and its choice of the language, and with empty texts."""
    tree = ast.parse(re.sub(r"\A%%writefile \S+\n", "", source))
    chooses = "from harness.verdicts import language", "language.use('pt-BR')"
    tree.body = [one for one in tree.body if ast.unparse(one) not in chooses]
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            node.values = [one for one in node.values if isinstance(one, ast.FormattedValue)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            node.value = ""
    return ast.dump(tree)


def cells_of(source, suffix=".md"):
    """The cells of a notebook in Portuguese, each with the same one in English."""
    pair = [
        jupytext.read(path.with_suffix(suffix)).cells
        for path in (source, source.parent.parent / source.name)
    ]
    return list(zip(*pair, strict=True))


@TRANSLATED
def test_the_code_is_the_same_in_both_languages(source):
    """So are the kinds of cells and their tags, what is folded, and the links and code in texts."""
    for ours, english in cells_of(source):
        assert ours.cell_type == english.cell_type
        assert ours.metadata.get("tags") == english.metadata.get("tags")
        if ours.cell_type == "code":
            assert without_texts(ours.source) == without_texts(english.source)
            continue
        for part in r"^#+ ", r"<details>", r"^\| ", r"^- ", r"^\d\. ":
            found = [len(re.findall(part, one.source, re.MULTILINE)) for one in (ours, english)]
            assert found[0] == found[1], (part, english.source)
        links = [re.findall(r"\]\((?:\.\./)*([^)]+)\)", one.source) for one in (ours, english)]
        assert links[0] == links[1], "the same pages"


@TRANSLATED
def test_the_outputs_are_alike_in_both_languages(source):
    """Each cell shows the same kinds of things; pictures and notices are in Portuguese."""

    def kinds(cell):
        found = [
            (one.output_type, sorted(one.get("data", {})), one.get("name"))
            for one in cell.get("outputs", [])
        ]
        return [kind for kind, _ in itertools.groupby(found)]  # one text may come in pieces

    for ours, english in cells_of(source, ".ipynb"):
        assert kinds(ours) == kinds(english), ours.source
        for output in ours.get("outputs", []):
            page = re.sub(r"<style.*?</style>", "", output.get("data", {}).get("text/html", ""))
            words = " ".join(re.findall(r">([^<>]+)<", page))
            assert not re.search(
                r"(?<![-\w])(the|your|with|after|waits|guess|right)(?![-\w])", words
            ), words


# -- What they are made of -------------------------------------------------------------------------


def test_there_is_no_picture_without_a_guess(monkeypatch):
    monkeypatch.delenv(made_of.USUAL, raising=False)
    drawn, question = [], made_of.Question(usual=3)
    assert (
        "Guess first" in repr(made_of.reveal(made_of.predict(..., question), drawn.append))
        and not drawn
    )
    assert made_of.reveal(made_of.predict(5, question), lambda guess: guess) == 5
    assert "'many' is no answer here: put a number" in repr(made_of.predict("many", question))
    monkeypatch.setenv(made_of.USUAL, "1")
    assert made_of.reveal(made_of.predict(..., question), lambda guess: guess) == 3


def test_a_check_says_what_is_amiss(monkeypatch):
    monkeypatch.delenv(made_of.USUAL, raising=False)
    wrong = made_of.check(False, "<that> is amiss")
    assert repr(wrong) == "✘ <that> is amiss" and "&lt;that&gt;" in wrong._repr_html_()
    assert repr(made_of.check(True, "")).startswith("✔")
    monkeypatch.setenv(made_of.USUAL, "1")
    with pytest.raises(AssertionError, match="amiss"):
        made_of.check(False, "that is amiss")


def test_a_program_that_does_not_end_is_ended():
    printed = made_of.program(
        "import os\nprint(os.getpid(), flush=True)\nos.fork()\nwhile True: pass", seconds=1
    )
    assert "it did not end within 1 s and was killed" in printed
    wait_until(lambda: not psutil.pid_exists(int(printed.split()[0])))


@pytest.mark.parametrize("end", ["exit", "kill -9"])
def test_with_the_kernel_its_servers_end(end, marked):
    """However it ends: a server that was left open by its cell does not outlive it."""
    code = "from harness.teaching.notebook import serve\nserver = serve('fork')\nserver.enter('ana')\nprint(server.pid, flush=True)\ninput()"
    kernel = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(kernel.stdout.readline())
    if end == "exit":
        kernel.stdin.write("\n")
        kernel.stdin.close()
    else:
        kernel.kill()
    kernel.wait()
    kernel.stdout.close()
    wait_until(lambda: not psutil.pid_exists(pid))


# -- Running them ----------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(600)
@EACH
def test_it_runs_from_top_to_bottom(source, marked):
    """All cells, the assertions in those that are tagged `test` and `check` among them."""
    notebook = execute(jupytext.read(source))
    assert len(figures(notebook)) >= len(tagged(notebook, "predict"))
    for alt, pictures in figures(notebook):
        assert len(alt) > 40
        assert all(png.startswith(b"\x89PNG") and len(png) > 5000 for png in pictures)
    assert not [
        cell.source
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_one_in_portuguese_runs_from_top_to_bottom(marked):
    """The code of the others is the same as in English."""
    [source] = [one for one in PORTUGUESE if one.name.startswith("05")]
    notebook = execute(jupytext.read(source))
    assert all("palpite" in text_of(cell) for cell in tagged(notebook, "predict"))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("source", [SOURCES[3]], ids=lambda source: source.stem)
def test_a_learner_who_runs_all_at_once(source, marked):
    """No error, no picture before the guess, and no exercise that is done already."""
    notebook = execute(for_learners(jupytext.read(source)), guessed=False)
    for cell in tagged(notebook, "predict"):
        assert "No guess yet" in text_of(cell)
    assert sum("Guess first" in text_of(cell) for cell in notebook.cells) == len(
        tagged(notebook, "predict")
    )
    for cell in tagged(notebook, "check"):
        assert "✘" in text_of(cell)


# -- In the browser --------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path, marked):
    """(URL, token) of a JupyterLab that has a folder with the first notebook, without its outputs."""
    jupytext.write(jupytext.read(SOURCES[0]), tmp_path / "tour.ipynb")
    settings = tmp_path / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(
        '{"windowingMode": "none"}'
    )  # all cells are on the page, seen or not
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GRUPO_USUAL_GUESSES": "1",
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
    }
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--port=0",
                "--ip=127.0.0.1",
                "--allow-root",
                "--expose-app-in-browser",
                f"--notebook-dir={tmp_path}",
            ],
            env=environment,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until(
                lambda: (
                    list((tmp_path / "runtime").glob("jpserver-*.json"))
                    or process.poll() is not None
                ),
                60,
                "JupyterLab's start",
            )
            found = json.loads(next((tmp_path / "runtime").glob("jpserver-*.json")).read_text())
            yield found["url"], found["token"]
        finally:
            process.terminate()  # it ends its kernels
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_jupyterlab_shows_the_pictures(lab):
    from playwright.sync_api import sync_playwright

    url, token = lab
    outside = []
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        page = chromium.new_page()
        inside = url, url.replace("http", "ws"), "data:", "blob:"
        page.on(
            "request", lambda request: request.url.startswith(inside) or outside.append(request.url)
        )
        page.goto(f"{url}lab/tree/tour.ipynb?token={token}")
        page.wait_for_function(
            "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === "
            "'idle'",
            timeout=60_000,
        )
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(
            """() => {
            const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells].filter(cell => cell.type === 'code');
            const failed = cells.some(cell => cell.outputs.toJSON().some(output => output.output_type === 'error'));
            return failed || cells.every(cell => cell.executionCount);
        }""",
            timeout=240_000,
        )
        page.wait_for_selector("figure svg", timeout=60_000)
        pictures = page.eval_on_selector_all(
            "figure svg.wide, figure svg.narrow",
            "all => all.map(one => [one.getAttribute('aria-label'), one.getBoundingClientRect().width,"
            " one.querySelectorAll('text').length])",
        )
        errors = page.eval_on_selector_all(
            ".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']",
            "all => all.map(one => one.innerText)",
        )
        right = page.get_by_text("That is right.").count()
        chromium.close()
    assert not errors
    seen = [(alt, texts) for alt, width, texts in pictures if width]
    assert len(pictures) == 2 and len(seen) == 1, "one of both drawings, by the room there is"
    assert "fork" in seen[0][0] and seen[0][1] > 10, "texts that can be selected"
    assert right == 1 and not outside
