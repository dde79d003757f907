"""One mutation, and the kinds of them."""

import re
from dataclasses import dataclass

STATEMENT_DROPPED = "statement-dropped"
CONDITION_NEGATED = "condition-negated"
OFF_BY_ONE = "off-by-one"
STATEMENTS_SWAPPED = "statements-swapped"
MOVED_OUT_OF_LOCK = "moved-out-of-lock"
LOCK_DROPPED = "lock-dropped"
ERROR_BRANCH_DROPPED = "error-branch-dropped"
WRONG_CONSTANT = "wrong-constant"
KINDS = (
    STATEMENT_DROPPED,
    CONDITION_NEGATED,
    OFF_BY_ONE,
    STATEMENTS_SWAPPED,
    MOVED_OUT_OF_LOCK,
    LOCK_DROPPED,
    ERROR_BRANCH_DROPPED,
    WRONG_CONSTANT,
)
LONGEST = 12  # lines of source that one mutation touches, so that its diff is read at a glance


@dataclass(frozen=True)
class Edit:
    """One mutation: the characters from `start` up to `end` become `new`."""

    kind: str
    start: int
    end: int
    new: str
    where: str = ""  # the function, such as Room.rename; "" outside of all

    def apply(self, text: str) -> str:
        """Return the source with the mutation."""
        return text[: self.start] + self.new + text[self.end :]

    def line(self, text: str) -> int:
        """Return the number of its first line, from 1."""
        return text.count("\n", 0, self.start) + 1


def next_number(text: str) -> str:
    """Return the number that follows this one, or this expression, as source."""
    return (
        str(int(text) + 1) if text == "0" or re.fullmatch("[1-9][0-9]*", text) else f"({text} + 1)"
    )
