"""Once this is imported, the harness's modules are compiled from their sources, and no bytecode of theirs is read or written.

Python takes a file in `__pycache__` for a module's bytecode if the time and size in it fit the source. A program under check
that can write there could decide the next verdict. (One that can write the sources can do so anyway: see lab_guide/instructor.md.)
"""
import importlib.machinery
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1] / "harness") + "/"
cached = importlib.machinery.SourceFileLoader.get_code


def get_code(loader, name):
    """SourceFileLoader.get_code, which for our own modules neither reads nor writes bytecode."""
    path = loader.get_filename(name)
    return loader.source_to_code(loader.get_data(path), path) if path.startswith(ROOT) else cached(loader, name)


importlib.machinery.SourceFileLoader.get_code = get_code
