"""The core is pure, the servers know nothing of the harness, and no file knows the machine it was
written on.
"""

import ast
import platform
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import lacks, need

from lab_guide.site import side_by_side

ROOT = Path(__file__).resolve().parents[1]
IMPURE = {"socket", "os", "threading", "select", "selectors", "time", "subprocess"}


def imports(module):
    """The names that a module of ours imports, absolute, whether or not they are modules."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    package.split(".")[: len(package.split(".")) - node.level + 1]
                    + ([base] if base else [])
                )
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def is_ours(name):
    path = ROOT.joinpath(*name.split("."))
    return name.startswith("implementations") and (
        path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
    )


def reached_from(module):
    """Everything that importing a module of ours imports, through modules of ours: {name: how it is
    reached}.
    """
    reached, todo = {module: module}, [module]
    while todo:
        current = todo.pop()
        for name in sorted(imports(current)):
            if name not in reached:
                reached[name] = f"{reached[current]} -> {name}"
                if is_ours(name):
                    todo.append(name)
    return reached


@pytest.mark.parametrize("module", ["session", "room", "wire"])
def test_the_core_is_pure(module):
    reached = reached_from(f"implementations.common.{module}")
    assert len(reached) > 1, "this test sees no imports at all"
    guilty = [how for name, how in reached.items() if name.split(".")[0] in IMPURE]
    assert not guilty, f"bytes, lines and now come in as arguments; this reaches outside: {guilty}"


def test_the_forking_server_has_no_threading():
    """Its mere presence would copy half a megabyte in each child: it works at every fork."""
    script = (
        "import sys, implementations.fork; from implementations.common import passwords; "
        "passwords.release_hash_memory(); sys.exit('threading' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0


def test_no_import_opens_a_file_as_a_closed_stdin(design):
    """The server would take its bytes for the owner's orders. libffi, for one, keeps a file."""
    script = f"import os, implementations.{design}; os.close(0)"
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, script],
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    assert done.returncode == 1 and b"Bad file descriptor" in done.stderr


HASHES = """
import psutil
from implementations.common import passwords
passwords.release_hash_memory()
before = psutil.Process().memory_info().rss
for _ in range(3):
    passwords.HASHER.hash("secret")
print((psutil.Process().memory_info().rss - before) >> 20)
"""


def test_a_hash_gives_its_memory_back():
    """Its 19 MiB, where glibc would keep them for the next one."""
    if platform.libc_ver()[0] != "glibc":
        lacks("this C library is not glibc")
    assert int(subprocess.check_output([sys.executable, "-c", HASHES], cwd=ROOT)) < 5


def test_the_servers_stand_side_by_side():
    """What all three do has one name, one place and, unless the designs differ in it, one
    docstring.
    """
    servers = {design: side_by_side.methods(design) for design in side_by_side.DESIGNS}
    shared = [
        name for name in servers["nonblocking"] if all(name in found for found in servers.values())
    ]
    assert shared == [
        "__init__",
        "serve",
        "accept",
        "read_from",
        "hand_over",
        "flush",
        "check_password",
        "save_members",
        "drop",
    ]
    for design, found in servers.items():
        assert [name for name in found if name in shared] == shared == list(found)[: len(shared)], (
            design
        )
    for name in "accept", "flush", "drop":
        assert len({found[name][0] for found in servers.values()}) == 1, name
    page = side_by_side.table()
    assert (
        all(f'<h2 id="{name}">' in page for found in servers.values() for name in found)
        and "<mark>" in page
    )


def tracked(*suffixes):
    """The files of the project, and those about to be: what git knows or would add."""
    need("git")
    if not (ROOT / ".git").exists():
        lacks("this is no clone, so that git does not know which files are the project's")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes)]


def test_the_servers_never_import_the_harness():
    ours = [path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("implementations/**/*.py")]
    assert ours
    for path in ours:
        module = ".".join(path.parts).removesuffix(".__init__")
        guilty = {name for name in imports(module) if name.split(".")[0] in ("harness", "tests")}
        assert not guilty, f"{module} imports {guilty}"


# Each package of the harness, and the packages that it may import.
LAYERS = {
    "driving": set(),
    "model": {"driving"},
    "verdicts": {"driving"},
    "explore": {"driving", "model", "verdicts"},
    "checks": {"driving", "explore", "model", "verdicts"},
    "tracing": {"driving", "verdicts"},
    "bench": {"driving"},
    "teaching": {"driving", "explore", "model", "verdicts", "tracing"},
    "grading": {"driving", "explore", "verdicts", "teaching"},
}
KNOW_NO_SERVER = "driving", "model", "verdicts", "explore", "checks"


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_of_the_harness_point_downwards(layer):
    paths = sorted(ROOT.glob(f"harness/{layer}/**/*.py"))
    assert paths
    for path in paths:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        used = {name.split(".")[1] for name in imports(module) if name.startswith("harness.")} - {
            "arguments",
            "output",
        }
        assert used <= LAYERS[layer] | {layer}, (
            f"{module} imports {sorted(used - LAYERS[layer] - {layer})}"
        )
        if layer in KNOW_NO_SERVER:
            assert not any(name.split(".")[0] == "implementations" for name in imports(module)), (
                f"{module} imports our servers"
            )


def test_the_layers_are_all_of_the_harness():
    packages = {path.name for path in ROOT.glob("harness/*/") if any(path.glob("*.py"))}
    assert packages == set(LAYERS)
    order = list(LAYERS)
    assert all(
        order.index(lower) < order.index(layer)
        for layer, below in LAYERS.items()
        for lower in below
    ), "a circle"


def test_no_file_names_a_path_of_this_machine():
    root = pwd.getpwuid(0).pw_dir
    here = {str(ROOT), str(Path.home())} - {"/", root}
    machine = re.compile(
        "|".join(
            [re.escape(path) + r"\b" for path in sorted(here)]
            + [
                r"(?<![\w.])/(?:home|Users)/\w+",
                rf"(?<![\w.]){re.escape(root)}/",
                r"(?<![\w./])/\w+/(?:main|shared)\b",
                r"(?<![\w.])/tmp/\w/",
            ]
        ).encode()
    )
    for path in tracked():
        found = machine.search(path.read_bytes())
        assert not found, f"{path.relative_to(ROOT)} names {found[0].decode()}"
