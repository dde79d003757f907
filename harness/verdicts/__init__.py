"""The engine of `python -m harness check`: the plugin that makes tests into checks, their verdicts,
and the forms in which people read them.
"""
