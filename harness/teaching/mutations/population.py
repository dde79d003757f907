"""All mutants of the project, and samples of them."""

import ast
import functools
import random
from dataclasses import dataclass
from pathlib import Path

from harness.driving.server import DESIGNS, ROOT
from harness.driving.text_files import read_text
from harness.teaching import mutations
from harness.teaching.mutations.edit import KINDS, Edit
from harness.teaching.soak import PROMISES, STRANGERS

# What is in these is no behaviour of a server
FREE = {"__init__.py", "trace.py", "stderr.py", "thread_name.py"}


@dataclass(frozen=True)
class Mutant:
    """One of them. design: what it runs as; of a stranger, what that one is."""

    id: str
    file: str  # relative to the project
    text: str  # of the file, without the mutation
    edit: Edit
    design: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.edit.line(self.text)}"

    @property
    def diff(self) -> str:
        return mutations.diff(self.file, self.text, self.edit)


def sources() -> list[str]:
    """Return the files that are mutated, relative to the project."""
    servers = ROOT / "implementations"
    ours = [servers / f"{design}.py" for design in DESIGNS]
    shared = [path for path in sorted(servers.glob("common/*.py")) if path.name not in FREE]
    return [
        str(path.relative_to(ROOT)) for path in (*ours, *shared, *sorted(STRANGERS.glob("*.c")))
    ]


def all_mutants() -> list[Mutant]:
    """Return all mutants, by file and place."""
    found = []
    for file in sources():
        text = read_text(ROOT / file)
        designs = designs_of(file)
        found += [
            Mutant(
                name, file, text, edit, designs[int(name.rpartition(":")[2][:8], 16) % len(designs)]
            )
            for name, edit in mutations.edits(file, text).items()
        ]
    return found


def designs_of(file: str) -> list[str]:
    """Return the designs that a file belongs to; of what several share, each mutant runs as one."""
    path = ROOT / file
    if path.suffix == ".c":
        return [PROMISES[path.stem]]
    return [design for design in DESIGNS if path in imported(ROOT / f"implementations/{design}.py")]


@functools.cache
def imported(path: Path) -> set[Path]:
    """Return a source and all sources beside and below it that it needs."""
    found, waiting = set(), [path]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(read_text(path))):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                folder = path.parent.joinpath(*(node.module or "").split("."))
                names = [
                    folder.with_suffix(".py"),
                    *(folder / f"{one.name}.py" for one in node.names),
                ]
                waiting += [name for name in names if name.is_file()]
    return found


def sample(mutants: list[Mutant], count: int, seed: str) -> list[Mutant]:
    """Return so many mutants: one of each kind in turn, and in each kind of one file after another.

    A larger sample of the same seed begins with the smaller one.
    """
    waiting: dict[str, dict[str, list[Mutant]]] = {kind: {} for kind in KINDS}
    for mutant in random.Random(seed).sample(mutants, len(mutants)):
        waiting[mutant.edit.kind].setdefault(mutant.file, []).append(mutant)
    chosen: list[Mutant] = []
    while len(chosen) < count and any(waiting.values()):
        for files in filter(None, waiting.values()):
            file = next(iter(files))
            rest = files.pop(file)
            chosen.append(rest.pop())
            if rest:
                files[file] = rest  # behind the others
    return chosen[:count]
