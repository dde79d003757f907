"""Opens the notebooks in JupyterLab, for a learner: a copy in my-notebooks/, without the solutions, which he may fill in as he likes.

    python notebooks/open.py            # or: make notebooks
"""
import os
import sys
from pathlib import Path

import jupytext

HERE = Path(__file__).parent
MINE = HERE.parent / "my-notebooks"
NOT_FOR_LEARNERS = {"solution", "test"}     # tags of cells


def for_learners(notebook):
    """The notebook without solutions, and without what only tests need."""
    notebook.cells = [cell for cell in notebook.cells if not NOT_FOR_LEARNERS & set(cell.metadata.get("tags", []))]
    notebook.metadata.pop("jupytext", None)     # no file beside it
    return notebook


def main():
    MINE.mkdir(exist_ok=True)
    for source in sorted(HERE.glob("[0-9][0-9]_*.md")):
        mine = MINE / f"{source.stem}.ipynb"
        if not mine.exists():                   # what is there may be a learner's work
            jupytext.write(for_learners(jupytext.read(source)), mine)
    print(f"The notebooks are in {MINE.name}/; delete a file there to have it anew. Ctrl-C twice ends JupyterLab.", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", f"--notebook-dir={HERE.parent}", *(["--allow-root"] if os.geteuid() == 0 else []),
                              *sys.argv[1:], str(MINE / "00_tour.ipynb")])


if __name__ == "__main__":
    main()
