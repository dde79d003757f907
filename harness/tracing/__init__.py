"""Runs of a workload with their traces, and pictures of both."""
