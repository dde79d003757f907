"""What the notebooks ask: a module per notebook, with its predictions and the checks of its
exercises.

A check takes a learner's answer and returns a Notice: right, or one line that says what is wrong.
tests/test_answers.py tries each on the notebook's solution and on plausible wrong answers.
"""
