"""Texts for people, each kept as a template and its values: so a record is English, and a reader sees their own language.

    msg("{who} heard\\n{lines}", who="ana", lines=["MSG 3 ...", msg("the end of the connection")])

A Message is an ordinary str, its English form. What a program under check wrote goes in as a value, and is never translated.
"""
from collections.abc import Callable
from typing import Any


class Message(str):
    """An English text, and what it was made of: `template` (its id in the catalogue) and `values` (by the names in it).

    A value is a Message, a str, a number, or a list of those, which stands for lines.
    """
    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, values: dict[str, Any]) -> "Message":
        self = super().__new__(cls, template.format(**{name: in_lines(value) for name, value in values.items()}))
        self.template, self.values = template, values
        return self

    def __reduce__(self):
        return Message, (self.template, self.values)

    def __deepcopy__(self, _):
        return self

    def map(self, change: Callable[[str], str]) -> "Message":
        """This Message with `change` made to each str among its values that is no Message, however deep."""
        return Message(self.template, {name: mapped(value, change) for name, value in self.values.items()})


def msg(template: str, /, **values: Any) -> Message:
    """A Message. Babel finds the calls of this function: the template is a literal."""
    return Message(template, values)


def joined(*parts: Any) -> Message:
    """A Message of lines, one below the other; a part may be a list of lines."""
    return Message("{lines}", {"lines": [line for part in parts for line in (part if isinstance(part, list) else [part])]})


def in_lines(value: Any) -> Any:
    return "\n".join(map(str, value)) if isinstance(value, list) else value


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with `change` made to each str of it that no Message of ours is."""
    if isinstance(value, Message):
        return value.map(change)
    if isinstance(value, list):
        return [mapped(one, change) for one in value]
    return change(value) if isinstance(value, str) else value
