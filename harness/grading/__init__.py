"""Grades the submissions of a class: each in a cell, from which it can reach neither the judge nor
another submission.
"""
