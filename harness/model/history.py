"""Judges what many clients did at once: is there an order of their requests that explains what
each of them heard?

The numbers of the events give most of that order, so a record of thousands of lines is read nearly
straight through. Where the model finds no order, the rules of harness/driving/history.py say what
kind of mistake it is.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from harness.driving import history
from harness.driving.messages import msg
from harness.driving.record import CheckFailed, Entry
from harness.model.explain import Explanation
from harness.model.group import Group, Rules
from harness.model.lines import Difference
from harness.model.search import Unclear
from harness.model.steps import StepReader

FLAG = re.compile(r"--([a-z-]+)[ =](\S+)")


def judge(entries: Iterable[Entry]) -> None:
    """Raise CheckFailed if no order of the requests explains what was heard.

    `entries` begin with the server's start, or earlier; else it is taken for a new group, in which
    everybody may join.
    """
    entries = list(entries)
    starts = [
        place for place, one in enumerate(entries) if one.who == "server" and one.what == "starts"
    ]
    entries = entries[starts[-1] if starts else 0 :]
    rules, title = started_with(entries)
    ends = [place for place, one in enumerate(entries) if one[1:3] == ("server", "signal")]
    entries = entries[: ends[0] if ends else None]
    step = StepReader().step(entries, {}, settled=False)
    step.blind |= set(step.sent)  # what came after the last line that a client read is not known
    try:
        Explanation(Group(rules, title)).explain(step)
    except Unclear:
        history.judge(entries)
    except Difference as wrong:
        history.judge(entries)
        raise CheckFailed(
            msg("an order of all requests that explains what every client received"),
            msg(
                "there is none; the first impossible line: {who} received {came}, and section "
                "{section} of protocol.md allows: {allowed}",
                who=wrong.who,
                came=wrong.came or msg("nothing"),
                section=wrong.section,
                allowed=wrong.allowed or msg("nothing"),
            ),
            "no-order",
            [one for one in entries if one.who == wrong.who and one.text == wrong.came][-1:],
            who=wrong.who,
        ) from None


def started_with(entries: list[Entry]) -> tuple[Rules, str]:
    """Return the flags of the server, and the group's name."""
    flags = dict(FLAG.findall(entries[0].text)) if entries and entries[0].what == "starts" else {}
    known = {name.replace("-", "_"): value for name, value in flags.items()}
    rules = Rules(known.get("admit", "ask" if flags else "all"))
    kinds = {"join_within": float, "ping_after": float, "idle_after": float, "reject_after": float}
    changes: dict[str, Any] = {
        name: kind(known[name])
        for name, kind in (kinds | {"max_here": int, "max_strangers": int}).items()
        if name in known
    }
    hello = next((one.text for one in entries if one.text.startswith("HELLO grupo/1 ")), "")
    title = hello.removeprefix("HELLO grupo/1 ")
    return replace(rules, **changes), title
