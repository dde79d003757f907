"""Which of our modules a module needs, read from the sources without running them."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from harness.driving.server import ROOT

PACKAGES = "harness", "implementations", "lab_guide"


def path_of(name: str) -> Path | None:
    """Return the file of a module by its dotted name, or None if it is none of ours."""
    if name.partition(".")[0] not in PACKAGES:
        return None
    path = ROOT.joinpath(*name.split("."))
    found = path.with_suffix(".py"), path / "__init__.py"
    return next((one for one in found if one.is_file()), None)


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    """Return the dotted names that a module imports, absolute, also those inside its functions.

    Of `from A import B`, these are A and A.B: whether B is a module is not looked at.
    """
    package = path.relative_to(ROOT).parent.parts
    return tuple(names_in(ast.parse(path.read_text(encoding="utf-8")), package))


def names_in(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Yield the dotted names that are imported in this part of a module of `package`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += (node.module,) if node.module else ()
            yield ".".join(base)
            yield from (".".join((*base, alias.name)) for alias in node.names)


@functools.cache
def needed(names: tuple[str, ...]) -> list[Path]:
    """Return the files of these modules and of all that they import of ours, sorted."""
    found: dict[str, Path] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name and name not in found and (path := path_of(name)):
            found[name] = path
            todo += [name.rpartition(".")[0], *imported(path)]
    return sorted(set(found.values()))
