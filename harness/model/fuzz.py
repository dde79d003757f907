"""Plays dialogues by the thousand, and shrinks one that goes wrong to the shortest that still does."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.driving.record import Record
from harness.driving.server import Server
from harness.model.explain import Difference, Unclear
from harness.model.generate import PEOPLE, Author
from harness.model.group import Rules, Standing
from harness.model.play import Act, Dialogue, Play

NAMES = re.compile(rf"\b({'|'.join(PEOPLE)})", re.IGNORECASE)
ON_ONE_SERVER = 30  # dialogues, then a new one is started

Start = Callable[[tuple[str, ...], Record], Server]  # starts a server with these flags


class Stage:
    """One server on which dialogues are played, each with names of its own."""

    def __init__(self, start: Start, rules: Rules, flags: tuple[str, ...]):
        self.play = Play(start(flags, Record()), rules)
        self.number = 0
        self.suffix = dict.fromkeys(PEOPLE, "")
        self.acts: list[Act] = []  # that were played here, in order, with their own names

    def close(self) -> None:
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
        self.play.play([Act(label, "closes") for label in left])

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
    """A dialogue whose answers the page does not allow."""

    dialogue: Dialogue
    difference: Difference
    record: Record
    times: int = 0  # how often it was confirmed on a new server


class Fuzz:
    """Plays dialogues with servers of one command until one goes wrong, or the time is over."""

    def __init__(
        self, start: Start, author: Author, rules: Rules, flags: tuple[str, ...], until: float
    ):
        self.start, self.author, self.rules, self.flags, self.until = (
            start,
            author,
            rules,
            flags,
            until,
        )
        self.played = self.unclear = self.acts = 0
        self.unconfirmed: list[Difference] = []
        self.shortest: Found | None = None
        self.began, self.found_at = time.monotonic(), 0.0

    def has_time(self) -> bool:
        return time.monotonic() < self.until

    def run(self) -> Found | None:
        """Return the shortest dialogue found that goes wrong, or None."""
        stage: Stage | None = None
        try:
            while self.has_time():
                if stage is None or stage.number >= ON_ONE_SERVER:
                    if stage:
                        stage.close()
                    stage = Stage(self.start, self.rules, self.flags)
                dialogue = self.author.dialogue()
                try:
                    stage.perform(dialogue)
                    self.played += 1
                    self.acts += len(dialogue.acts)
                except Unclear:
                    self.unclear += 1
                    stage.close()
                    stage = None
                except Difference as difference:
                    acts, stage_acts = [*dialogue.opening, *dialogue.acts], stage.acts
                    record = stage.play.record
                    stage.close()
                    stage = None
                    if found := self.confirmed(acts, stage_acts, difference, record):
                        return found
                    self.unconfirmed.append(difference)
        finally:
            if stage:
                stage.close()
        return None

    def confirmed(
        self, acts: list[Act], longer: list[Act], difference: Difference, record: Record
    ) -> Found | None:
        """Shrink: first the dialogue alone, or else all that was played on its server."""
        for tried in (acts, longer):
            if found := self.fails(tried, difference.kind):
                self.shortest, self.found_at = found, time.monotonic() - self.began
                return self.shrunk(found)
        return None

    def fails(self, acts: list[Act], kind: object) -> Found | None:
        """Play these acts on a new server; return what went wrong if it is of this kind."""
        play = Play(self.start(self.flags, Record()), self.rules)
        try:
            play.play(acts)
        except Difference as difference:
            if difference.kind == kind:
                return Found(Dialogue([], acts), difference, play.record)
        except Unclear:
            pass
        finally:
            play.close()
            play.server.end()
        return None

    def shrunk(self, found: Found) -> Found:
        """Drop acts by chunks, then lines of acts, as long as the same kind of difference shows."""
        size = max(1, len(found.dialogue.acts) // 2)
        while size and time.monotonic() < self.until + 60:
            place = 0
            while place < len(found.dialogue.acts):
                acts = found.dialogue.acts[:place] + found.dialogue.acts[place + size :]
                if acts and (smaller := self.fails(acts, found.difference.kind)):
                    self.shortest = found = smaller
                else:
                    place += size
            size //= 2
        for place, act in enumerate(found.dialogue.acts):
            lines = act.text.splitlines(keepends=True) if act.what == "sends" else []
            number = 0
            while len(lines) > 1 and number < len(lines):
                fewer = lines[:number] + lines[number + 1 :]
                acts = list(found.dialogue.acts)
                acts[place] = replace(act, text="".join(fewer))
                if smaller := self.fails(acts, found.difference.kind):
                    self.shortest, found, lines = smaller, smaller, fewer
                else:
                    number += 1
        return found
