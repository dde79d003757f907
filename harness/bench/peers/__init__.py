"""The same server written in other ways, for the bench.

Each speaks just enough of grupo/1 to be measured, and keeps no files.
"""
