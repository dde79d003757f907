"""Plays dialogues by the thousand; shrinks one that goes wrong to the shortest that still does.

A server is started for some dialogues, not for each: starting it and hashing passwords is what
takes time. Each dialogue uses names of its own there, or members that are here already.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from harness.driving.record import Entry, Record
from harness.driving.server import NotStarted, Server
from harness.model import notation
from harness.model.generate import FEW_STRANGERS, PEOPLE, Author
from harness.model.group import Rules, Standing
from harness.model.lines import Difference
from harness.model.play import Act, Dialogue, Play
from harness.model.search import Unclear

NAMES = re.compile(rf"\b({'|'.join(PEOPLE)})", re.IGNORECASE)
ADMIT = "all", "ask", "none", "all", "ask", "none", "none", "none"
ON_ONE_SERVER = 15  # dialogues, then a new one is started
SHRINKING = 40.0  # seconds that it may take to find a shorter dialogue
CONFIRMING = 40.0  # more seconds, in which the tries on new servers begin
LAB_OF_TIMERS = 6  # from this lab on, silence and strangers that stay are asked
CONFIRMATIONS = 6  # tries of the shortest on new servers; it must go wrong twice
# Limits with which servers are started: the flag, its name in Rules, and the value. QUICK ones
# save time, and each second server has others, or its own.
QUICK = (("--reject-after", "reject_after", 0.1),)
SMALL = (*QUICK, ("--max-here", "max_here", 2))
FEW = (*QUICK, ("--max-strangers", "max_strangers", FEW_STRANGERS))
LIMITS = QUICK, QUICK, QUICK, SMALL, FEW, ()
QUIET = (
    ("--ping-after", "ping_after", 0.7),
    ("--idle-after", "idle_after", 2.5),
    ("--join-within", "join_within", 2.0),
)

Start = Callable[[tuple[str, ...], Record], Server]  # starts a server with these flags


class Stage:
    """One server on which dialogues are played, each with names of its own."""

    def __init__(
        self,
        server: Server,
        rules: Rules,
        flags: tuple[str, ...],
        patience: float,
        has_owner: bool,
    ):
        self.play, self.rules = Play(server, rules, patience, has_owner), rules
        self.flags = flags
        self.number = 0
        self.suffix = dict.fromkeys(PEOPLE, "")
        self.acts: list[Act] = []  # that were played here, in order, with their own names

    def close(self) -> None:
        """End the clients and the server."""
        self.play.close()
        self.play.server.end()

    def perform(self, dialogue: Dialogue) -> None:
        """Play one dialogue. Members that are here already need not join again."""
        self.number += 1
        members = {act.who for act in dialogue.opening if act.who in PEOPLE}
        for label in PEOPLE:
            if not (label in members and self.is_resting(label)):
                self.suffix[label] = str(self.number) if self.number > 1 else ""
        opening = [act for act in dialogue.opening if not self.is_resting_for(act)]
        self.leave(members)
        for act in [*opening, *dialogue.acts]:
            self.acts.append(self.named(act))
        self.play.play(self.acts[len(self.acts) - len(opening) - len(dialogue.acts) :])

    def is_resting_for(self, act: Act) -> bool:
        """Return whether this act of an opening is not needed: its member is here."""
        who = act.who if act.who in PEOPLE else act.text.partition(" ")[2]
        return who in PEOPLE and self.is_resting(who)

    def is_resting(self, label: str) -> bool:
        """Return whether this person is here as a member of their own name."""
        play, name = self.play, label + self.suffix[label]
        one = play.group.connections.get(play.current.get(name, ""))
        return (
            play.is_open(name)
            and one is not None
            and one.standing is Standing.HERE
            and one.key == name
            and not play.rest.get(play.current[name])
        )

    def leave(self, members: set[str]) -> None:
        """Close what is left of earlier dialogues, but for the members that stay."""
        stay = {label + self.suffix[label] for label in members}
        left = [
            label for label in self.play.current if label not in stay and self.play.is_open(label)
        ]
        self.play.play([Act(label, "closes" if self.play.has_owner else "shuts") for label in left])

    def named(self, act: Act) -> Act:
        """Return this act with the names that its people have on this server."""

        def name(found: re.Match[str]) -> str:
            return found[0] + self.suffix[found[1].lower()]

        who = act.who if act.who in ("owner", "server") else NAMES.sub(name, act.who)
        return replace(
            act, who=who, text=NAMES.sub(name, act.text) if len(act.text) < 400 else act.text
        )


@dataclass
class Found:
    """A dialogue whose answers the page does not allow, and how often a new server repeated it."""

    acts: list[Act]
    difference: Difference
    entries: list[Entry]
    flags: tuple[str, ...]
    times: int = 0

    @property
    def dialogue(self) -> str:
        """Return it in the notation of the page."""
        return notation.dialogue(self.entries, self.flags, self.difference)


class Tally:
    """What was tried so far. `unclear` dialogues could not be judged; `lost` are differences that
    did not show again on a new server; for the `unconfirmed` there was no time left.
    """

    def __init__(self) -> None:
        self.dialogues = self.acts = self.unclear = self.unconfirmed = 0
        self.lost: list[Difference] = []


class Fuzz:
    """Plays dialogues with the servers that `start` starts, until one goes wrong or time is over.

    `until` is a time of time.monotonic(). `patience` is how long an answer may take before it
    counts as missing, until that is confirmed. `quiet`: dialogues in which time passes. `report`
    is called after each dialogue, and when a shorter one was found. `requests`: all that a server
    knows which is not finished: it admits everyone, and takes no orders and no limits.
    """

    def __init__(
        self,
        start: Start,
        seed: str,
        until: float,
        *,
        lab: int = 8,
        patience: float = 2.0,
        quiet: bool = False,
        requests: tuple[str, ...] = (),
        report: "Callable[[Fuzz], None]" = lambda fuzz: None,
    ):
        self.start, self.until = start, until
        self.lab, self.patience, self.quiet, self.report = lab, patience, quiet, report
        self.author = Author(random.Random(seed), lab, requests)
        self.has_owner = not requests
        self.has_flags = lab > 0 and not requests
        self.tally = Tally()
        self.shortest: Found | None = None
        self.stopped = False
        self.refused: set[object] = set()  # limits that the server does not accept

    def has_time(self) -> bool:
        """Return whether another dialogue may begin."""
        return time.monotonic() < self.until and not self.stopped

    def run(self) -> Found | None:
        """Return the shortest dialogue that goes wrong, confirmed twice, or None."""
        while self.has_time():
            if found := self.on_one_server():
                return found
        return None

    def on_one_server(self) -> Found | None:
        """Play some dialogues on one server."""
        author = self.author
        author.admit = author.draw("admit", ADMIT) if self.has_flags else "all"
        # Where nobody new is admitted, each dialogue needs a server that admitted some before.
        most = 1 if self.quiet or author.admit == "none" else ON_ONE_SERVER
        stage = self.stage("all" if author.admit == "none" else author.admit)
        if stage is None:
            return None
        try:
            while self.has_time() and stage.number < most:
                dialogue = author.quiet_dialogue() if self.quiet else author.dialogue()
                try:
                    stage.perform(dialogue)
                except Unclear:
                    self.tally.unclear += 1
                    return None
                except Difference as difference:
                    stage.close()
                    alone = [*dialogue.opening, *dialogue.acts]
                    return self.followed_up(stage, alone, difference)
                self.tally.dialogues += 1
                self.tally.acts += len(dialogue.acts)
                self.report(self)
        finally:
            stage.close()
        return None

    def stage(self, admit: str) -> "Stage | None":
        """Start a server, with limits if it accepts them; None if it does not and must."""
        wanted = (QUIET,) if self.quiet else (self.author.draw("limits", LIMITS), QUICK, ())
        for tried in wanted if self.has_flags else ((),):
            if tried in self.refused:
                continue
            values: dict[str, Any] = {name: value for _, name, value in tried}
            rules = Rules(admit, **values)
            flags = [part for flag, _, value in tried for part in (flag, str(value))]
            flags = [*(("--admit", admit) if self.lab else ()), *flags]
            try:
                server = self.start(tuple(flags), Record())
                return Stage(server, rules, tuple(flags), self.patience, self.has_owner)
            except NotStarted as problem:
                if problem.status != 2 or not tried:
                    raise
                self.refused.add(tried)
        self.stopped = True
        return None

    # -- What goes wrong

    def followed_up(self, stage: "Stage", alone: list[Act], difference: Difference) -> Found | None:
        """Try the dialogue alone, or else all that its server heard; shrink, and confirm.

        The same mistake may show in another way on a server that heard less before.
        """
        self.end = time.monotonic() + SHRINKING
        for acts in (alone, alone, stage.acts):
            if found := self.fails(acts, stage, None, self.patience):
                found = self.shrunk(found, stage)
                break
        else:
            self.lost(difference)
            return None
        for _ in range(CONFIRMATIONS):
            if self.stopped or time.monotonic() > self.end + CONFIRMING:
                self.tally.unconfirmed += 1
                self.shortest = None
                return None
            if again := self.fails(found.acts, stage, found.difference.kind, None):
                found.times += 1
                found.entries, found.difference = again.entries, again.difference
            if found.times == 2:
                return found
        self.lost(found.difference)
        return None

    def lost(self, difference: Difference) -> None:
        """Note a difference that did not show again often enough."""
        self.tally.lost.append(difference)
        self.shortest = None

    def fails(
        self, acts: list[Act], stage: "Stage", kind: object, patience: float | None
    ) -> Found | None:
        """Play these acts on a new server; return what went wrong if it is of this kind. None: of
        any kind.
        """
        server = self.start(stage.flags, Record())
        play = Play(server, stage.rules, patience, stage.play.has_owner)
        try:
            play.play(acts)
        except Difference as difference:
            if kind in (None, difference.kind):
                found = Found(acts, difference, list(play.record.entries), stage.flags)
                if self.shortest is None or len(acts) < len(self.shortest.acts):
                    self.shortest = found
                    self.report(self)
                return found
        except Unclear:
            pass
        finally:
            play.close()
            play.server.end()
        return None

    def shrunk(self, found: Found, stage: "Stage") -> Found:
        """Drop acts by chunks, then simplify each, while the same kind of difference shows."""
        size = len(found.acts) // 2 or 1
        while size:
            place = 0
            while place < len(found.acts):
                fewer = found.acts[:place] + found.acts[place + size :]
                if smaller := self.still_fails(fewer, stage, found):
                    found = smaller
                else:
                    place += size
            size //= 2
        changed = True
        while changed:
            changed = False
            for acts in simpler(found.acts):
                if smaller := self.still_fails(acts, stage, found):
                    found, changed = smaller, True
                    break
        return found

    def still_fails(self, acts: list[Act], stage: "Stage", found: Found) -> Found | None:
        """Return what goes wrong with fewer or simpler acts, if it does, and there is time."""
        if not acts or self.stopped or time.monotonic() > self.end:
            return None
        return self.fails(acts, stage, found.difference.kind, self.patience)


def simpler(acts: list[Act]) -> Iterator[list[Act]]:
    """Yield these acts with one of them simpler: in one piece, with fewer lines, waited for."""
    for place, act in enumerate(acts):
        before, after = acts[:place], acts[place + 1 :]
        if act.what == "piece" and after and after[0].who == act.who and after[0].what == "sends":
            yield [*before, replace(after[0], text=act.text + after[0].text), *after[1:]]
        lines = act.text.splitlines(keepends=True) if act.what == "sends" else []
        for number in range(len(lines)) if len(lines) > 1 else ():
            text = "".join(lines[:number] + lines[number + 1 :])
            yield [*before, replace(act, text=text), *after]
        if act.more and act.what != "awaits":
            yield [*before, replace(act, more=False), *after]
