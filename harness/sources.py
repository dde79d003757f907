"""Once this is imported, the harness's modules are compiled from their sources.

No bytecode of theirs is read or written: Python takes a file in `__pycache__` for a module's
bytecode if the time and size in it fit the source, so a program under check that can write there
could decide the next verdict. (One that can write the sources can do so anyway: see
lab_guide/instructor.md.) All other modules are imported as before.
"""

import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

ROOT = f"{Path(__file__).resolve().parent}/"


class FromSource(SourceFileLoader):
    """Loads a module from its source, always."""

    def get_code(self, name):
        """The module's code, compiled now."""
        path = self.get_filename(name)
        return self.source_to_code(self.get_data(path), path)


def finder(folder):
    """For sys.path_hooks: what finds the modules in a folder of the harness.

    Raises ImportError for another folder.
    """
    if not f"{folder}/".startswith(ROOT):
        raise ImportError
    return FileFinder(folder, (FromSource, SOURCE_SUFFIXES))


sys.path_hooks.insert(0, finder)
for known in [folder for folder in sys.path_importer_cache if f"{folder}/".startswith(ROOT)]:
    del sys.path_importer_cache[known]
