"""Importing this has Python compile the harness's modules from their sources, every time.

No bytecode of theirs is read or written. Otherwise Python takes a file in `__pycache__` for a
module's bytecode if the time and size in it fit the source. A program under check that can write
there could decide the next verdict. (One that can write the sources can do so anyway: see
lab_guide/instructor.md.) All other modules are imported as usual.
"""

import sys
import types
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

ROOT = f"{Path(__file__).resolve().parent}/"


class FromSource(SourceFileLoader):
    """Loads a module from its source, never from bytecode."""

    def get_code(self, name: str) -> types.CodeType:
        """Return the module's code, compiled now. Raises OSError or SyntaxError."""
        path = self.get_filename(name)
        return self.source_to_code(self.get_data(path), path)


def finder(folder: str) -> FileFinder:
    """Return the finder of the modules in a folder of the harness; a hook for sys.path_hooks.

    Raises ImportError for any other folder.
    """
    if not f"{folder}/".startswith(ROOT):
        raise ImportError
    return FileFinder(folder, (FromSource, SOURCE_SUFFIXES))


sys.path_hooks.insert(0, finder)
for known in [folder for folder in sys.path_importer_cache if f"{folder}/".startswith(ROOT)]:
    del sys.path_importer_cache[known]
