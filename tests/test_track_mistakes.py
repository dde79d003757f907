"""Typical mistakes in the model solutions of the track: each can still be made, and of a few of them
the verdict names the cause. `python tests/track_mistakes.py` tries them all.
"""

import ast
import subprocess

import pytest
import track_mistakes
from conftest import need

from harness.verdicts.sentences import CAUSES

MISTAKES = {one.name: one for one in track_mistakes.MISTAKES}
SAMPLE = "stdout is not flushed", "no rest kept", "one buffer for all", "SIGPIPE"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_can_be_made(name):
    one = MISTAKES[name]
    text = track_mistakes.made(one)
    assert one.causes <= set(CAUSES)
    if one.solution.endswith(".py"):
        ast.parse(text)
    else:
        need("cc")
        command = ["cc", "-std=gnu11", "-fsyntax-only", "-x", "c", "-"]
        subprocess.run(command, input=text, text=True, check=True)


@pytest.mark.long
@pytest.mark.parametrize("name", SAMPLE)
def test_the_cause_of_a_mistake_is_named(name):
    outcome = track_mistakes.judged(MISTAKES[name])
    assert track_mistakes.is_right(MISTAKES[name], outcome), outcome
