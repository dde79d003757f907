"""What the members and the owner do at the same time while schedules are explored.

Each workload is a row of a table. In its lines, {k} is the number of the schedule, so that each
schedule on one server has names of its own.
"""

from dataclasses import dataclass

from harness.driving.messages import Message, msg

PEOPLE = "ana", "ben", "carl", "dora", "eve"


@dataclass(frozen=True)
class Workload:
    """`sends` are pairs: a name, and the line that it sends at the same time as the others. The row
    of `*` stands for as many clients as are asked for. A client that sends JOIN is a stranger, the
    others are members. `{ana}` in a line is the name that ana has now, `{who}` the sender's label.
    """

    name: str
    title: Message
    sends: tuple[tuple[str, str], ...]

    def alike(self, clients: int) -> tuple[str, ...]:
        """Return those of so many clients that do the same."""
        fixed = [who for who, _ in self.sends]
        return tuple(who for who, _ in self.rows(clients) if who not in fixed)

    def rows(self, clients: int) -> list[tuple[str, str]]:
        """Return a name and a line for each of so many clients, and for the owner."""
        fixed = [row for row in self.sends if row[0] in PEOPLE]
        others = [line for who, line in self.sends if who == "*"]
        free = [label for label in PEOPLE[:clients] if label not in dict(fixed)]
        rows = fixed + [(label, line) for label in free for line in others]
        return rows[:clients] + [row for row in self.sends if row[0] == "owner"]


TABLE = (
    Workload(
        "one-name",
        msg("members take the same new name"),
        (("*", "NAME zoe{k}"),),
    ),
    Workload(
        "crossing-names",
        msg("members take the name that another one gives up"),
        (("ana", "NAME x{k}"), ("ben", "NAME {ana}"), ("*", "NAME {ben}")),
    ),
    Workload(
        "one-join",
        msg("strangers join with the same new name"),
        (("*", "JOIN zoe{k} secret"),),
    ),
    Workload(
        "join-and-name",
        msg("a member takes the name with which strangers join"),
        (("ana", "NAME zoe{k}"), ("*", "JOIN zoe{k} secret")),
    ),
    Workload(
        "say-and-leave",
        msg("a member talks while others leave"),
        (("ana", "SAY {k}"), ("*", "LEAVE")),
    ),
    Workload(
        "ban-while-joining",
        msg("the owner bans a name while a client joins with it"),
        (("*", "JOIN zoe{k} secret"), ("owner", "ban zoe{k}")),
    ),
    Workload(
        "leave-and-takeover",
        msg("a member leaves while another connection takes it over"),
        (("ana", "LEAVE"), ("*", "JOIN {ana} secret")),
    ),
    Workload(
        "ban-and-takeover",
        msg("the owner bans a member while another connection takes it over"),
        (("ana", "SAY {k}"), ("*", "JOIN {ana} secret"), ("owner", "ban {ana}")),
    ),
    Workload(
        "say",
        msg("members talk"),
        (("*", "SAY {k}"),),
    ),
    Workload(
        "history",
        msg("a member asks for the history while others talk"),
        (("ana", "HISTORY 0"), ("*", "SAY {k}")),
    ),
    Workload(
        "who-and-name",
        msg("a member asks for the members while others change their names"),
        (("ana", "WHO"), ("*", "NAME {who}{k}")),
    ),
    Workload(
        "ban-and-say",
        msg("the owner bans a member while it and others talk"),
        (("*", "SAY {k}"), ("owner", "ban {ana}")),
    ),
    Workload(
        "close",
        msg("the owner closes the group while members talk"),
        (("*", "SAY {k}"), ("owner", "close")),
    ),
)
