"""Each exhibit, a server of ours with one bug, is caught by the check that it names, in the
words of tests/told/NAME.txt.

GRUPO_RECORD=1 writes those files again: read the difference before you commit it.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.driving.server import DESIGNS, ROOT
from harness.teaching import exhibits
from harness.verdicts import language, sentences
from harness.verdicts.model import FAILED

ALL = exhibits.all_exhibits()
TOLD = Path(__file__).parent / "told"
TRIES = 5  # a race may hide in one run; `make soak` counts how often


def wording(verdict):
    """What the student reads, without what differs from run to run."""
    failure = verdict.failure
    expected = (
        "" if failure.sentence == "died" else f"expected: {failure.expected}\n"
    )  # it may die at any moment
    text = f"{verdict.title}\n{expected}cause: {failure.cause}\nread: {failure.page}\n"
    # A broken connection shows as the one or the other: chance decides.
    text = re.sub(
        r"(BrokenPipe|ConnectionReset)Error: .*", "BrokenPipeError or ConnectionResetError", text
    )
    return re.sub(r"\b[a-z]N(#N)?\b", "WHO", re.sub(r"\d+(\.\d+)?", "N", text))


@pytest.mark.long
@pytest.mark.parametrize("exhibit", ALL, ids=lambda exhibit: exhibit.name)
def test_is_caught_and_told_as_recorded(exhibit, tmp_path):
    exhibits.build(exhibit, tmp_path / "tree")
    said = []
    for attempt in range(TRIES):
        verdicts = exhibits.judge(
            exhibit, tmp_path / "tree", [exhibit.check], seed=f"{exhibit.name}{attempt}"
        )
        said += [
            (
                verdict.check,
                verdict.verdict,
                verdict.failure.sentence if verdict.failure else verdict.why,
            )
            for verdict in verdicts.values()
        ]
        if exhibits.catches(exhibit, verdicts):
            break
    else:
        pytest.fail(
            f"{exhibit.name} escaped {exhibit.check}, which should say {exhibit.sentences}; it "
            f"was: {said}"
        )
    failed = min(
        (verdict for verdict in verdicts.values() if verdict.verdict == FAILED),
        key=lambda verdict: verdict.check,
    )
    if isinstance(exhibit.sentence, list):
        return  # where it shows, and so its wording, is chance
    told = wording(failed)
    file = TOLD / f"{exhibit.name}.txt"
    if os.environ.get("GRUPO_RECORD"):
        file.write_text(told, encoding="utf-8")
    assert told == file.read_text(encoding="utf-8")


def test_there_are_forty_over_all_designs_each_told_apart():
    assert len(ALL) >= 40
    assert {exhibit.design for exhibit in ALL} == set(DESIGNS)
    assert len({(exhibit.file, exhibit.old, exhibit.new) for exhibit in ALL}) == len(ALL)
    assert all(
        sentences.explain(sentence, exhibit.check)[0] and exhibit.symptom
        for exhibit in ALL
        for sentence in exhibit.sentences
    )
    assert {path.stem for path in TOLD.glob("*.txt")} == {
        exhibit.name for exhibit in ALL if isinstance(exhibit.sentence, str)
    }


def test_an_exhibit_whose_old_text_is_gone_is_broken(tmp_path):
    for old in ("no such text is there", "def "):
        with pytest.raises(exhibits.Broken, match="not once"):
            exhibits.build(replace(ALL[0], old=old), tmp_path / str(len(old)))


@pytest.mark.parametrize(
    "spoken, place", [("en", "lab_guide/exhibits.md"), ("pt-BR", "lab_guide/pt-BR/exhibits.md")]
)
def test_the_page_about_them_is_current(spoken, place):
    language.use(spoken)
    try:
        assert Path(ROOT, place).read_text(encoding="utf-8") == exhibits.page(ALL)
    finally:
        language.use("en")
