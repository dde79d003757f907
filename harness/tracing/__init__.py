"""Runs of a workload with their traces, forced schedules, and pictures of both."""
