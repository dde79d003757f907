"""The harness starts any group-chat server by its command line, plays its clients, and judges it.

Imports point downwards: teaching and bench; checks and tracing; verdicts; driving.
tests/test_purity.py checks that.
"""


def __getattr__(name: str) -> object:
    """Return harness.tracing's figures and runs, for `from harness import figures, runs`.

    Notebooks and their readers type that. Raises AttributeError for other names.
    """
    if name in ("figures", "runs"):
        import importlib

        return importlib.import_module(f"harness.tracing.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
