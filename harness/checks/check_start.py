"""Start: what must be before anything else can be judged."""

from harness.verdicts.plugin import check


@check(points=2, lab=0, rules="11-23 12-1 12-3 12-9")
def check_starts(server, connect):
    """The server starts, prints its address as the first line on stdout, listening on ADDRESS:PORT,
    and listens there."""
    connect(server(), "ana")
