"""Run notebooks from top to bottom and save their outputs: NN_name.md becomes NN_name.ipynb.

python notebooks/execute.py [NN ...]        # without numbers: all notebooks, in both languages
python notebooks/execute.py pt-BR/NN        # one in Portuguese
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from harness.output import promise_files, put, run
from harness.teaching.notebook import USUAL


def sources(folder=""):
    """Return the paths of the notebooks' sources, in order: those in English, or in "pt-BR"."""
    return sorted((HERE / folder).glob("[0-9][0-9]*_*.md"))


def execute(notebook, guessed=True):
    """Run all cells of a notebook and return it. Raise CellExecutionError if a cell fails.

    `guessed`: if true, use the common guess where the learner has made none; if false, show the
    notebook as it is for a learner before any guess. The files that its cells write are removed.
    """
    os.environ[USUAL] = "1" if guessed else ""
    with tempfile.TemporaryDirectory() as place:
        NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=240,
            resources={"metadata": {"path": place}},
            extra_arguments=["--log-level=ERROR"],
        ).execute(env={**os.environ, "PYTHONPATH": str(HERE.parent)})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same in every run
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            for shown in [output, *([output.data] if "data" in output else [])]:
                for key, text in shown.items():
                    if isinstance(text, str):  # show no paths of this machine
                        shown[key] = text.replace(sys.executable, "python").replace(
                            str(HERE.parent), "grupo"
                        )
    return notebook


def main():
    chosen = sys.argv[1:]
    promise_files()
    for source in [*sources(), *sources("pt-BR")]:
        name = str(source.relative_to(HERE))
        if not chosen or name.partition("_")[0] in chosen:
            began = time.monotonic()
            try:
                notebook = execute(jupytext.read(source))
            except CellExecutionError as error:
                sys.exit(f"{name}: {error}")
            put(source.with_suffix(".ipynb"), jupytext.writes(notebook, "ipynb") + "\n")
            print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    run(main)
