"""Pictures of what servers do: functions from runs (harness/runs.py) to a Figure, which a notebook shows and a page takes in.

    from harness import figures, runs
    three = runs.run_all("one-expensive-request")
    figures.swimlanes(three)                                    # the last line of a cell shows it
    figures.swimlanes(three, guess="pthread").save("a.png")

Every Figure has .figure (matplotlib's), .caption, .alt (what it shows, in words), .table() (its data) and .facts (the numbers in its answer).
`guess` marks what a learner predicted on the drawing. A function raises ValueError for what it cannot draw; what is missing in a run it says.
"""
from harness.figures.base import Figure, Table
from harness.figures.journeys import journeys
from harness.figures.swimlanes import swimlanes

__all__ = ["Figure", "Table", "journeys", "swimlanes"]
