"""The prediction and the exercises of notebook 04."""

import sys
from pathlib import Path

from harness.driving.messages import msg
from harness.teaching.notebook import Question, Wrong, code_of, exercise, folder, run

TORN_LINES = Question(usual=100, most=400)

HELLO = 'os.write(writing, b"hello from the child\\n")'
LATER = f"{HELLO}; __import__('time').sleep(0.3); {HELLO}"  # a reader of one piece misses this
SECONDS = 5  # for a program that ends by itself in milliseconds
LINE = 100_000  # bytes


@exercise
def check_pipe(path):
    """The program in this file reads all that its child writes, and ends."""
    code = code_of(path)
    if code.count(HELLO) != 1:
        raise Wrong(msg("Keep the line `{line}` as it is.", line=HELLO))
    for program, hellos in (code, 1), (code.replace(HELLO, LATER), 2):
        changed = folder() / "pipe.py"
        changed.write_text(program, encoding="utf-8")
        printed = ended(run(sys.executable, changed, seconds=SECONDS)).split("\n")
        if printed != ["hello from the child"] * hellos + ["that was all"]:
            raise Wrong(
                msg(
                    "When the child writes {count}, the program prints {printed}.",
                    count=msg("one line") if hellos == 1 else msg("two lines"),
                    printed=repr(printed[-2:]),
                )
            )


@exercise
def check_writers(path):
    """Four writers share one pipe in this program, and no line is torn."""
    code_of(path)
    printed = ended(run(sys.executable, Path(path).resolve(), LINE, seconds=2 * SECONDS))
    words = printed.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        raise Wrong(msg("The program ended with: {line}", line=printed.split("\n")[-1]))
    lines, torn = map(int, words)
    if torn:
        raise Wrong(msg("{torn} of {lines} lines are torn.", torn=torn, lines=lines))
    if lines != 400:
        raise Wrong(msg("All 400 lines must arrive, but {lines} did.", lines=lines))


def ended(printed):
    """Return what a program printed, without the last line's end. Raise Wrong if it was killed."""
    if "(it did not end within" in printed:
        raise Wrong(msg("The program did not end by itself: one of its processes waits forever."))
    return printed.strip()
