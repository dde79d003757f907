"""Install groups of requirements.txt into the environment that runs this:

.venv/bin/python requirements.py servers core

A group is the lines under its heading, such as `# core: the windows`. The user's settings of pip
hold (a mirror, a proxy), except those that send packages elsewhere. The Makefile calls this.
"""

import importlib
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# Each overrides a setting (user, target, prefix, root, python) of the environment or of a pip.conf.
HERE = ["--no-user", "--target=", f"--prefix={sys.prefix}", "--root=/"]
FAILED = """\
Not installed: {names}. pip says why above. It also speaks of a conflict where it found no package:
then look at the network, and at your settings of pip: {python} -m pip config list"""
ELSEWHERE = """\
{problem}
pip reports success, but not all packages are in {prefix}. Perhaps a setting of pip, such as
no-deps or dry-run, leaves some out. Remove it, and run the same command again. All your settings:
{python} -m pip config list"""


def groups(text: str) -> dict[str, list[str]]:
    """Return {group: its requirements, such as `rich==15.0.0`} of the text of requirements.txt."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if heading := re.match(r"# (\w+): ", line):
            names = found[heading[1]] = []
        elif requirement := re.match(r"[\w.-]+==\S+", line):
            names.append(requirement[0])
    return found


def problem_with(requirements: list[str]) -> str:
    """Import each package that these requirements name. Return what failed, or ""."""
    importlib.invalidate_caches()
    modules: dict[str, list[str]] = {}
    for module, packages in packages_distributions().items():
        for package in packages:
            modules.setdefault(re.sub(r"[-_.]+", "-", package).lower(), []).append(module)
    for requirement in requirements:
        name = requirement.partition("==")[0]
        if name not in modules:
            return f"No package {name} was found."
        for module in modules[name]:
            if module.isidentifier() and not module.startswith("_"):
                try:
                    importlib.import_module(module)
                except Exception as error:
                    return f"{module} cannot be imported: {error!r}"
    return ""


def install(names: list[str]) -> None:
    """Have pip install the groups of these names, and check that they are there.

    Raises SystemExit.
    """
    known = groups((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    if unknown := set(names) - set(known):
        sys.exit(f"requirements.txt has no group {unknown.pop()}; it has {', '.join(known)}")
    requirements = [requirement for name in names for requirement in known[name]]
    pip = [sys.executable, "-m", "pip", "--python", sys.executable]
    pip += ["--disable-pip-version-check", "install", *HERE]
    done = subprocess.run([*pip, "-c", ROOT / "requirements.lock", *requirements])
    if done.returncode:
        sys.exit(FAILED.format(names=" ".join(names), python=sys.executable))
    if problem := problem_with(requirements):
        sys.exit(ELSEWHERE.format(problem=problem, prefix=sys.prefix, python=sys.executable))


if __name__ == "__main__":
    try:
        install(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("stopped: the next `make` goes on")
