"""Starts any server by its command line, plays its clients and its owner, and records what happened."""
