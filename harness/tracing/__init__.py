"""Runs of a workload with their traces, schedules that are forced on a server, and pictures of both."""
