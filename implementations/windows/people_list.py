"""The owner's list of people: members, banned people, and people that ask to join."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual.widgets import OptionList
from textual.widgets.option_list import Option

from .owner_console import Person, Status
from .roster import sort_key
from .widgets import plain_content

# Status: mark, style of the mark; in the order of the list
MARKS = {
    Status.ASKS: ("? ", "bold $asks"),
    Status.HERE: ("● ", "$here"),
    Status.AWAY: ("○ ", ""),
    Status.BANNED: ("\N{MULTIPLICATION SIGN} ", "$banned"),
}
STATUS_ORDER = list(MARKS)


class PeopleList(OptionList):
    """People, sorted by status and name. The user may choose one with the keys or the mouse."""

    # One row for each person, also for a long name: its mark stays beside it
    DEFAULT_CSS = "PeopleList { text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, **options: Any) -> None:
        """Create an empty list; the options are those of every widget."""
        super().__init__(markup=False, compact=True, **options)
        self.people: list[Person] | None = None

    def show_people(self, people: Iterable[Person]) -> None:
        """Display these people, and keep the present choice if that person is still there."""
        ordered = sorted(
            people,
            key=lambda person: (STATUS_ORDER.index(person.status), sort_key(person.name)),
        )
        if ordered == self.people:
            return
        present = self._highlighted_person()
        self.people = ordered
        self.set_options(
            Option(
                plain_content(
                    MARKS[person.status], person.name, (f" {person.status.value}", "$quiet")
                )
            )
            for person in ordered
        )
        names = [person.name for person in ordered]
        if present and present.name in names:
            self.highlighted = names.index(present.name)
        else:
            self.highlighted = 0 if ordered else None

    def chosen(self, *statuses: Status) -> Person | None:
        """Return the chosen person if they have one of these statuses."""
        person = self._highlighted_person()
        return person if person and person.status in statuses else None

    def _highlighted_person(self) -> Person | None:
        if self.people and self.highlighted is not None:
            return self.people[self.highlighted]
        return None
