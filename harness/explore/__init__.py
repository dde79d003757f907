"""Explores the orders in which the threads and processes of a server can take their steps."""
