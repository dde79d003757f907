"""Open the notebooks in JupyterLab for a learner: a copy without the solutions, in my-notebooks/.

Those in Portuguese are in my-notebooks/pt-BR/.

python notebooks/open.py            # or: make notebooks
"""

import os
import sys
from pathlib import Path

import jupytext

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from harness import output
from harness.verdicts import language
from notebooks.execute import sources

MINE = HERE.parent / "my-notebooks"
NOT_FOR_LEARNERS = {"solution", "test"}  # tags of cells that a learner does not get


def for_learners(notebook):
    """Return the notebook without the solutions and without the cells that only tests need."""
    notebook.cells = [
        cell for cell in notebook.cells if not NOT_FOR_LEARNERS & set(cell.metadata.get("tags", []))
    ]
    notebook.metadata.pop("jupytext", None)  # a copy has no paired .md file
    return notebook


def main():
    for source in [*sources(), *sources("pt-BR")]:
        mine = MINE / source.relative_to(HERE).with_suffix(".ipynb")
        mine.parent.mkdir(parents=True, exist_ok=True)
        if not mine.exists():  # an existing file may be the learner's own work
            jupytext.write(for_learners(jupytext.read(source)), mine)
    language.choose(None)
    folder = "" if language.in_use == "en" else language.in_use
    print(
        f"The notebooks are in {MINE.name}/. To get a fresh copy of one, delete its file there. "
        "Press Ctrl-C twice to stop JupyterLab.",
        flush=True,
    )
    os.execv(
        sys.executable,
        [
            sys.executable,
            "-m",
            "jupyterlab",
            f"--notebook-dir={HERE.parent}",
            *(["--allow-root"] if os.geteuid() == 0 else []),
            *sys.argv[1:],
            str(MINE / folder / "00_tour.ipynb"),
        ],
    )


if __name__ == "__main__":
    output.run(main)
