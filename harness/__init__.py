"""The harness: starts any group-chat server by its command line, drives many clients against it, and judges what it does.

Imports point downwards: teaching and bench; checks and tracing; verdicts; driving. tests/test_purity.py holds that.
"""


def __getattr__(name):
    """`from harness import figures, runs`, which notebooks and their readers type: both are in harness.tracing."""
    if name in ("figures", "runs"):
        import importlib
        return importlib.import_module(f"harness.tracing.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
