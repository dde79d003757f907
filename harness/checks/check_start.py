"""Start: what must be before anything else can be judged."""
from harness.verdicts.plugin import check


@check(points=2, lab=0)
def check_starts(server):
    """The server starts, and its first line on stdout says where it listens: listening on ADDRESS:PORT."""
    server()
