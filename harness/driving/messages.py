"""Texts for people, each kept as a template and its values: so a record is English, and a reader sees their own language.

    msg("{who} heard\\n{lines}", who="ana", lines=["MSG 3 ...", msg("the end of the connection")])

A Message is an ordinary str, its English form. What a program under check wrote goes in as a value, and is never translated.
"""
from collections.abc import Callable, Sequence
from typing import Any


class Message(str):
    """An English text, and what it was made of: `template` (its id in the catalogue) and `values` (by the names in it).

    A value is a Message, a str, a number, or a list of those, which stands for lines.
    """
    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, values: dict[str, Any]) -> "Message":
        values = {name: value if isinstance(value, (str, int, float, list)) else str(value) for name, value in values.items()}
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


def template(text: str) -> str:
    """The text itself: Babel finds the calls, and msg() gets it later."""
    return text


def joined(*parts: Any) -> Message:
    """A Message of lines, one below the other; a part may be a list of lines."""
    return Message("{lines}", {"lines": [line for part in parts for line in (part if isinstance(part, list) else [part])]})


def listed(parts: Sequence[str], between: str = ", ") -> Message:
    """A Message of several in one line, with `between` among them."""
    return Message(between.join(f"{{part{number}}}" for number in range(len(parts))), {f"part{number}": part for number, part in enumerate(parts)})


def both(parts: Sequence[str]) -> str:
    """All of these names in a sentence: a, b and c."""
    *others, last = parts
    return msg("{others} and {last}", others=", ".join(others), last=last) if others else last


def in_lines(value: Any) -> Any:
    return "\n".join(map(str, value)) if isinstance(value, list) else value


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with `change` made to each str of it that no Message of ours is."""
    if isinstance(value, Message):
        return value.map(change)
    if isinstance(value, list):
        return [mapped(one, change) for one in value]
    return change(value) if isinstance(value, str) else value


def of_text(text: str) -> str:
    """The template of a text without values."""
    return text.replace("{", "{{").replace("}", "}}")


# -- As JSON ---------------------------------------------------------------------------------------------------------------------------


def packed(thing: Any) -> Any:
    """`thing` (dicts, lists, tuples) as JSON that unpacked() takes: a Message is {"id": its template, "values": {...}}."""
    if isinstance(thing, Message):
        return {"id": thing.template, "values": packed(thing.values)}
    if isinstance(thing, dict):
        return {name: packed(value) for name, value in thing.items()}
    return list(map(packed, thing)) if isinstance(thing, (list, tuple)) else thing


def unpacked(thing: Any) -> Any:
    """What packed() was given, though JSON lay between; tuples are lists."""
    if isinstance(thing, dict):
        if thing.keys() == {"id", "values"}:
            return Message(thing["id"], unpacked(thing["values"]))
        return {name: unpacked(value) for name, value in thing.items()}
    return list(map(unpacked, thing)) if isinstance(thing, list) else thing


def described(thing: Any) -> Any:
    """`thing` as JSON for every reader: texts in English; beside them, under `messages`, the id and values of those that are Messages."""
    if isinstance(thing, dict):
        messages = {name: packed(value) for name, value in thing.items() if holds_message(value)}
        return {name: described(value) for name, value in thing.items()} | ({"messages": messages} if messages else {})
    return list(map(described, thing)) if isinstance(thing, (list, tuple)) else thing


def holds_message(value: Any) -> bool:
    """Whether it is a Message, or a list with one in it."""
    return isinstance(value, Message) or isinstance(value, (list, tuple)) and any(map(holds_message, value))


def restored(found: dict[str, Any]) -> dict[str, Any]:
    """A dict that described() made, with its Messages in place of their texts."""
    return {name: value for name, value in found.items() if name != "messages"} | unpacked(found.get("messages", {}))
