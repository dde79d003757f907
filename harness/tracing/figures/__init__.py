"""Pictures of what servers do: functions from runs (harness/tracing/runs.py) to a Figure.

A notebook shows a Figure, and a page includes it.

    from harness import figures, runs
    three = runs.run_all("one-expensive-request")
    figures.swimlanes(three)                                    # the last line of a cell shows it
    figures.swimlanes(three, guess="pthread").save("a.png")

    function        its question                                    it takes
    swimlanes       which clients wait, and for what                runs of one workload
    journeys        where do the microseconds go                    runs
    deliveries      what is lost, twice, out of order, late; when   runs
    lock_board      which lock, what it guards, which lanes wait    runs with a lock
    loop_turns      is the loop healthy                             runs with a loop or a hub
    fill            where bytes wait for a client that does not     runs of a-member-who-stops-
                    read; how full are pipes                        reading; runs of fork
    deadlock        which lane holds a lock, which wants it         one run that got stuck
    scale           what does one more client cost                  rows of runs.scale()
    interleavings   which orders go wrong, which are impossible     schedules that were tried

Every Figure has .figure (matplotlib's), .caption, .alt (its content in words), .table() (its data)
and .facts (the numbers in its answer). `guess` marks a learner's prediction on the drawing. A
function raises ValueError if it cannot draw its input; its caption says what is missing in a run.
"""

from harness.tracing.figures.base import Figure, Table
from harness.tracing.figures.buffers import fill
from harness.tracing.figures.costs import scale
from harness.tracing.figures.journeys import journeys
from harness.tracing.figures.locks import deadlock, lock_board
from harness.tracing.figures.loops import loop_turns
from harness.tracing.figures.schedules import interleavings
from harness.tracing.figures.swimlanes import swimlanes
from harness.tracing.figures.verdicts import deliveries

__all__ = [
    "Figure",
    "Table",
    "deadlock",
    "deliveries",
    "fill",
    "interleavings",
    "journeys",
    "lock_board",
    "loop_turns",
    "scale",
    "swimlanes",
]
