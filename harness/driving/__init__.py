"""Starts any server by its command line, plays its clients and owner, and records what happens."""
