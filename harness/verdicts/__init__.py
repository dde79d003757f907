"""The engine of `python -m harness check`: the plugin that makes tests into checks, what they found, and how that is told."""
