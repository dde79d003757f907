"""Install groups of requirements.txt into the environment that runs this:

.venv/bin/python requirements.py core figures

A group is what stands under its heading, such as `# core: the servers`. The user's settings of pip
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
ELSEWHERE = """\
{problem}
pip reports success, but the group {group} is not complete in {prefix}. Perhaps a setting of pip
leaves packages out: {python} -m pip config list
To do without your settings, set PIP_CONFIG_FILE=/dev/null and run the same command again."""


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


def install(group: str, requirements: list[str]) -> None:
    """Have pip install a group, and check that it is there. Raises SystemExit."""
    pip = [sys.executable, "-m", "pip", "--python", sys.executable]
    pip += ["--disable-pip-version-check", "install", *HERE]
    done = subprocess.run([*pip, "-c", ROOT / "requirements.lock", *requirements])
    if done.returncode:
        sys.exit(f"The group {group} is not installed: pip says why above.")
    if problem := problem_with(requirements):
        sys.exit(
            ELSEWHERE.format(problem=problem, group=group, prefix=sys.prefix, python=sys.executable)
        )


def main(names: list[str]) -> None:
    """Install the groups of these names. Raises SystemExit."""
    known = groups((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    for name in names:
        if name not in known:
            sys.exit(f"requirements.txt has no group {name}; it has {', '.join(known)}")
        install(name, known[name])


if __name__ == "__main__":
    main(sys.argv[1:])
