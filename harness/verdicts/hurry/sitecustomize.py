"""Python runs this at its start, since this folder is on PYTHONPATH: threads are to take turns as often as can be.

A sitecustomize that would have been run without this one is run after it.
"""
import importlib.machinery
import importlib.util
import os
import sys

if os.environ.get("GRUPO_SWITCH_INTERVAL"):
    sys.setswitchinterval(float(os.environ["GRUPO_SWITCH_INTERVAL"]))
    sys.setswitchinterval = lambda seconds: None        # and it stays so, whatever the program thinks best
sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder or ".") != os.path.dirname(os.path.realpath(__file__))]
if other := importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path):
    sys.modules["sitecustomize"] = importlib.util.module_from_spec(other)
    other.loader.exec_module(sys.modules["sitecustomize"])
