"""Start: what must be before anything else can be judged."""
from harness.verdicts.plugin import check


@check(points=2, lab=0)
def check_starts(server, connect):
    """The server starts, its first line on stdout says where it listens, listening on ADDRESS:PORT, and it listens there."""
    connect(server(), "ana")
