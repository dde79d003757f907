"""The language of what students read: nothing lacks a translation, what a server wrote is
untouched, and what programs read stays English.
"""

import ast
import copy
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile

import pytest

from harness.driving.messages import (
    Message,
    both,
    described,
    joined,
    listed,
    msg,
    of_text,
    packed,
    restored,
    unpacked,
)
from harness.driving.record import difference
from harness.driving.server import ROOT, end_of
from harness.teaching import exhibits
from harness.verdicts import language, plugin
from harness.verdicts.formats import FORMATS
from harness.verdicts.model import VERDICTS, Report, verdict_from
from harness.verdicts.sentences import CAUSES

pytestmark = pytest.mark.xdist_group("test_language")  # one worker makes once what they all look at
CATALOGUE = [message for message in language.read() if message.id]
# What a translation leaves as it is: the protocol's words, errors and signals, flags, what systems
# and their calls are called.
SAME = re.compile(
    r"(?<![\w-])(?:[A-Z][A-Z_]{2,}\w*|--[a-z-]+|\w+\(\)|waitpid|recv|accept|stdout|stderr|kill "
    r"-9|poll|epoll|select|flock|bind|listen)"
    r"(?!\w)"
)
ALSO = {"accept", "listen", "select", "FAILED", "IMPOSSIBLE", "WRONG"}  # words of English, too


@pytest.fixture
def portuguese():
    language.use("pt-BR")
    yield
    language.use("en")


def test_every_text_has_a_translation_and_no_other_is_kept():
    known = {message.id: message.string for message in CATALOGUE}
    wanted = language.messages()
    assert [text for text in wanted if not known.get(text)] == [], (
        "translate these: python -m harness.verdicts.language puts them into the catalogue"
    )
    assert set(known) == set(wanted)
    assert not any(message.fuzzy for message in CATALOGUE)


def test_the_sources_are_read_whole():
    texts = set(language.messages())
    assert (
        {of_text(cause) for cause, _ in CAUSES.values()} <= texts
        and set(VERDICTS) <= texts
        and set(plugin.STAGES) <= texts
    )
    for one in (
        "OUT of {who}, received by {name}",
        "a line like `{plain}` for {who}",
        "{who} {why} received only:\n{lines}",
        "a hidden check",
        "The server {end}. Its last lines on stderr:",
        "expected:",
        "run {runs}, {disturbed}",
    ):
        assert one in texts, one


# The files in which students' texts are.
SOURCES = [
    "harness/driving/[!ct]*.py",
    "harness/driving/c[!a]*.py",
    "harness/driving/terminals.py",
    "harness/checks/*.py",
    "harness/verdicts/[!l]*.py",
    "harness/verdicts/locks.py",
    "harness/verdicts/formats/*.py",
    *(f"harness/teaching/{name}.py" for name in ("starter", "lab", "hunt", "exhibits")),
]
# Phrases that are no student's: the protocol's, what clients say, patterns, HTML, lines for
# instructors (command.py, exhibits.py), for our own tests, and faults.
NO_STUDENTS = re.compile(
    r"(MSG|SAY|JOIN|member|eve asks|<|body \{|import|it is me|ban a b|.*asks to join from|.*type "
    r"the group's name"
    r"|error: not deleted|somebody else's secret|points is a table|hidden is a list"
    r"|there is no check|.*points and hidden go by check|.*is no number|the file that harness"
    r"|is none of|.*its old text occurs|: there is no such exhibit|: the check itself ended "
    r"with|failed in a run of all"
    r"|exhibits are caught by|; not often enough"
    r"|no verdict of|SIGTERM ended it|processes outlived the server|stderr holds a "
    r"traceback|Traceback \(|.*Exception in thread"
    r"|Bad file desc|File too large|.*Broken pipe|Too many open|.*changed size|filedescriptor "
    r"out|Resource temp|Interrupted system"
    r"|no-such-command ends|silent cut-off|a-line-in-pieces lines|empty-lines-are-ignored 512"
    r"|no such verb|ban of a new name|silent while it asks|rename os lab 2|\\S\+ |The server "
    r"\(ended|a file of checks could not)",
    re.DOTALL,
)


def test_no_phrase_of_the_sources_escapes():
    """However it is built into a text: three words in a row stand in the catalogue, or are known to
    be no student's.
    """
    texts = "\n".join(language.messages())
    escaped = []
    for path in (path for pattern in SOURCES for path in sorted(ROOT.glob(pattern))):
        tree = ast.parse(path.read_text())
        docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        helps = {
            part
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name in ("arguments", "judging")
            for part in ast.walk(node)
        }
        for node in set(ast.walk(tree)) - docstrings - helps:
            phrase = (
                node.value.strip()
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
                else ""
            )
            if (
                re.search(r"[a-z]+,? [a-z]+,? [a-z]", phrase)
                and not NO_STUDENTS.match(phrase)
                and phrase not in texts
            ):
                escaped.append(f"{path.name}: {phrase}")
    assert escaped == []


def test_no_text_is_marked_inside_an_f_string():
    """Babel reads an f-string as one token, and would not find it there."""
    for path in ROOT.glob("harness/**/*.py"):
        for string in (
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.JoinedStr)
        ):
            marked = [
                node
                for node in ast.walk(string)
                if isinstance(node, ast.Call)
                and getattr(node.func, "id", "") in language.KEYWORDS
                and isinstance(node.args[0], ast.Constant)
            ]
            assert not marked, f"{path.name}, line {string.lineno}"


def differs(message):
    """What a translation must have in common with its text, and has not."""
    text, translation = message.id, message.string
    alike = [
        ("holes", sorted(language.holes(text)), sorted(language.holes(translation))),
        ("code", *(sorted(re.findall("`[^`]*`", each)) for each in (text, translation))),
        ("lines", text.count("\n"), translation.count("\n")),
        ("space at the end", text.endswith(" "), translation.endswith(" ")),
    ]
    found = [name for name, ours, theirs in alike if ours != theirs]
    lost = set(SAME.findall(text)) - ALSO - set(SAME.findall(translation))
    return [*found, *sorted(lost)]


def test_a_translation_has_the_same_holes_and_the_same_words_of_the_protocol():
    assert {message.id: wrong for message in CATALOGUE if (wrong := differs(message))} == {}


def test_a_message_is_rendered_in_either_language(portuguese):
    """Its values may be texts or numbers: the translation formats them alike."""
    for message in CATALOGUE:
        if language.holes(message.id):
            is_rendered_in_either(message)


def is_rendered_in_either(message):
    values = {
        name: 17 if re.search(rf"{{{name}:", message.id) else f"w{place}"
        for place, name in enumerate(language.holes(message.id))
    }
    made = Message(message.id, values)
    assert made == message.id.format(**values) and language.say(made) == message.string.format(
        **values
    )
    assert unpacked(json.loads(json.dumps(packed(made)))) == made and language.say(
        unpacked(packed(made))
    ) == language.say(made)


@pytest.mark.parametrize(
    "lines",
    [
        ["MSG 3 TIME ana I received nothing", "OUT 4 TIME ben"],
        ["ERR unknown expected PING", "^"],
        ["BYE quit"],
        ["Traceback (most recent call last):", "  nothing", "x"],
        ["ana received nothing"],
        ["process 1 is busy", "", "passed"],
        ["{who} {}", "%s {0}"],
    ],
)
def test_what_a_server_wrote_stays_as_it_is(lines, portuguese):
    """Even where it is one of our own texts."""
    wrote = "\n".join(lines)
    assert (
        language.say(msg("{who} received\n{lines}", who="ana", lines=lines))
        == f"ana recebeu\n{wrote}"
    )
    died = joined(
        msg("{who} received {line}", who="ana", line=lines[0]),
        msg("The server {end}. Its last lines on stderr:", end=end_of(1)),
        lines,
    )
    assert (
        language.say(died)
        == f"ana recebeu {lines[0]}\nO servidor terminou com status 1. Suas últimas linhas em "
        f"stderr:\n{wrote}"
    )
    assert language.say(difference(lines, [*lines, "BYE quit"])) == f"{wrote}\n^ não veio mais nada"


def test_several_texts_in_a_row(portuguese):
    ways = [
        msg("on one CPU"),
        msg(
            "sends and locks not delayed ({why}), so this check finds fewer races",
            why=msg("the program is static"),
        ),
    ]
    assert language.say(msg("run {runs}, {disturbed}", runs=2, disturbed=listed(ways))) == (
        "execução 2, numa só CPU, envios e travas não atrasados (o programa é estático), e por "
        "isso esta verificação encontra menos condições de corrida"
    )
    assert (
        language.say(listed([msg("on one CPU"), msg("undisturbed")], "; "))
        == "numa só CPU; sem perturbação"
    )
    assert (
        language.say(both(["ana", "ben", "carla"])) == "ana, ben e carla" and both(["ana"]) == "ana"
    )


def test_a_message_keeps_what_it_was_made_of():
    made = msg("{who} received\n{lines}", who="ana\x1b", lines=["a\x1b", msg("nothing")])
    assert made.map(lambda text: text.replace("\x1b", "ESC")) == "anaESC received\naESC\nnothing"
    assert pickle.loads(pickle.dumps(made)) == made and copy.deepcopy(made).values == made.values
    found = json.loads(json.dumps(described({"came": made, "plain": "x", "steps": [made, "y"]})))
    assert found["came"] == made and found["messages"]["came"]["id"] == made.template
    again = restored(found)
    assert (
        again == {"came": made, "plain": "x", "steps": [made, "y"]}
        and again["steps"][0].template == made.template
    )


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "pt_BR.UTF-8"}, "pt-BR"),
        ({"LANG": "pt_PT"}, "pt-BR"),
        ({"LANG": "pt"}, "pt-BR"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "pt_BR.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "pt_BR.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "pt_BR"}, "pt-BR"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "pt_BR", "LC_MESSAGES": "en_US"}, "pt-BR"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "pt_BR:en"}, "pt-BR"),
        ({"LANG": "pt_BR.UTF-8", "LANGUAGE": "en:pt"}, "en"),
        ({"LANG": "pt_BR.UTF-8", "LANGUAGE": "de:fr"}, "pt-BR"),
        ({"LANG": "C", "LANGUAGE": "pt_BR"}, "en"),
        ({"LANG": "POSIX", "LANGUAGE": "pt_BR"}, "en"),
        ({"LANG": "ptolemaic"}, "en"),
        ({"LC_ALL": "", "LANG": "pt_BR"}, "pt-BR"),
    ],
)
def test_the_locale_chooses(environment, expected):
    assert language.language_of(environment) == expected


EXHIBIT = exhibits.read(exhibits.EXHIBITS / "recv-treated-as-a-line.toml")
LOCALE = "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"


TAKEN = "O servidor tratou cada recv como uma linha."  # the cause of that


def check(folder, *options, **locale):
    """What a check of the exhibit shows and writes: (terminal, page, JUnit, what --json tells)."""
    files = [part for form in ("html", "json", "junit") for part in (f"--{form}", folder / form)]
    environment = {name: value for name, value in os.environ.items() if name not in LOCALE}
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "harness",
            "check",
            "--seed",
            "x",
            "--only",
            EXHIBIT.check,
            *files,
            *options,
            "--",
            *EXHIBIT.command,
        ],
        cwd=folder / "tree",
        env={**environment, "PYTHONPATH": str(ROOT), **locale},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    return (
        ended.stdout,
        (folder / "html").read_text(),
        (folder / "junit").read_text(),
        json.loads((folder / "json").read_text()),
    )


def english_of(text):
    """Those of the English texts that stand in it, if they are more than a word."""
    return [
        message.id
        for message in CATALOGUE
        if " " in message.id
        and not language.holes(message.id)
        and message.id != message.string
        and message.id in text
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    exhibits.build(EXHIBIT, folder / "tree")
    return {
        "en": check(folder, "--lang", "en", LANG="pt_BR.UTF-8"),
        "flag": check(folder, "--lang", "pt-BR", LANG="C"),
        "locale": check(folder, LANG="pt_BR.UTF-8"),
    }


@pytest.mark.long
def test_a_check_in_portuguese(runs):
    for run in "flag", "locale":
        shown, page, junit, _ = runs[run]
        for text in shown, page, junit:
            assert "Uma linha que chega byte a byte é uma só linha." in text and TAKEN in text
            assert english_of(text) == []
        assert re.search(r"^ +falhou  enquadramento: ", shown, re.M)
        assert re.search(
            r"^      esperado: PONG piece-\d+\n      mas:      (ERR (unknown|bad-arguments)|PONG "
            r"\S+)$",
            shown,
            re.M,
        )  # as its pieces came
        assert (
            re.search(r"^ +3\. ana envia, em \d+ pedaços, PING piece-\d+$", shown, re.M)
            and "\nfalhou: 1; 0 de 2 pontos em " in shown
        )
        assert (
            "<html lang=pt-BR>" in page
            and "<h3>O que foi feito</h3>" in page
            and "<th scope=col>segundos" in page
        )
        assert 'classname="grupo.framing.a-line-in-pieces"' in junit
        assert not re.search(r"\b(expected|cause|but|again|points|seconds)\b[:<]", shown + page)
    assert english_of(runs["en"][0])


def test_json_is_english_in_any_language(runs):
    def told(found):
        """Without what differs from run to run."""
        found = {**found, "started": "", "folder": "", "seconds": 0, "pace": {}, "notes": []}
        found["messages"] = {**found["messages"], "notes": []}
        folder = re.escape(tempfile.gettempdir())
        text = re.sub(rf"{folder}/[\w/-]+|--port \d+|127\.0\.0\.1:\d+", "", json.dumps(found))
        return re.sub(r'"(at|seconds)": [\d.]+|\[\d+\.\d+, ', "", text)

    assert told(runs["en"][3]) == told(runs["flag"][3]) == told(runs["locale"][3])


def test_every_form_tells_it_and_no_key_is_translated(runs, portuguese):
    found = runs["en"][3]
    fields = {
        name: value
        for name, value in found.items()
        if name not in ("schema", "score", "most", "graded")
    }
    report = Report(
        **{**restored(fields), "verdicts": [verdict_from(one) for one in found["verdicts"]]}
    )
    for name in set(FORMATS) - {"json", "canvas"}:
        written = FORMATS[name](report)
        told = written if name in ("html", "junit") else written.encode().decode("unicode_escape")
        assert TAKEN in told and english_of(told) == [], name
    assert json.loads(FORMATS["autolab"](report).splitlines()[0])["stages"] == ["framing"]
    assert json.loads(FORMATS["gradescope"](report))["tests"][0]["status"] == "failed"
    language.use("en")
    assert english_of(FORMATS["gradescope"](report))
