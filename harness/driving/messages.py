"""Texts for people. Each keeps its template and values, so that reports can translate it.

    msg("{name} heard\\n{lines}", name="ana", lines=["MSG 3 ...", msg("the end of the connection")])

A Message is an ordinary str, its English form. The output of a program under check goes in as a
value, and is never translated.
"""

from collections.abc import Callable, Sequence
from typing import Any


class Message(str):
    """An English text, with its `template` (its id in the catalogue) and `values` (by name).

    A value is a Message, a str, a number, or a list of those, one a line.
    """

    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, values: dict[str, Any]) -> "Message":
        values = {
            name: value if isinstance(value, (str, int, float, list)) else str(value)
            for name, value in values.items()
        }
        self = super().__new__(
            cls, template.format(**{name: in_lines(value) for name, value in values.items()})
        )
        self.template, self.values = template, values
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Message, (self.template, self.values)

    def __deepcopy__(self, _: Any) -> "Message":
        return self

    def map(self, change: Callable[[str], str]) -> "Message":
        """Return this Message with `change` made to each plain str among its values.

        The values of the Messages and lists in it change, too.
        """
        return Message(
            self.template, {name: mapped(value, change) for name, value in self.values.items()}
        )


def msg(template: str, /, **values: Any) -> Message:
    """Return a Message. The template must be a literal: Babel collects the calls of msg()."""
    return Message(template, values)


def template(text: str) -> str:
    """Return the text itself. Babel collects the calls; msg() gets the text later."""
    return text


def joined(*parts: Any) -> Message:
    """Return a Message of lines, one below the other; a part may be a list of lines."""
    lines = [line for part in parts for line in (part if isinstance(part, list) else [part])]
    return Message("{lines}", {"lines": lines})


def listed(parts: Sequence[str], between: str = ", ") -> Message:
    """Return a Message of these parts in one line, with `between` among them."""
    names = [f"part{number}" for number in range(len(parts))]
    return Message(
        between.join(f"{{{name}}}" for name in names), dict(zip(names, parts, strict=True))
    )


MOST_LINES, MOST_CHARACTERS = 8, 120  # that a text of what came shows of many and long lines


def few(lines: Sequence[str]) -> list[str]:
    """Return lines that came for a text: of many the first and the last, of long ones a part.

    The record holds them all.
    """
    shown = [shortened(line, MOST_CHARACTERS) for line in lines]
    if len(shown) > MOST_LINES:
        left_out = len(shown) - MOST_LINES + 1
        shown[3 : 3 + left_out] = [msg("... ({count} more lines)", count=left_out)]
    return shown


def shortened(line: str, most: int) -> str:
    """Return a line; of one with more than `most` characters, its beginning and how many it has."""
    if len(line) <= most:
        return line
    return msg(
        "{beginning} ... ({count} characters in all)", beginning=line[: most // 2], count=len(line)
    )


def both(parts: Sequence[str]) -> str:
    """Return all of these names for a sentence: a, b and c."""
    *others, last = parts
    return msg("{others} and {last}", others=", ".join(others), last=last) if others else last


def in_lines(value: Any) -> Any:
    """Return a list as one text with a line for each item; any other value as it is."""
    return "\n".join(map(str, value)) if isinstance(value, list) else value


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return `value` with `change` made to each str in it that is not a Message."""
    if isinstance(value, Message):
        return value.map(change)
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def of_text(text: str) -> str:
    """Return the template of a text without values."""
    return text.replace("{", "{{").replace("}", "}}")


# -- As JSON --------------------------------------------------------------------------------------


def packed(data: Any) -> Any:
    """Return dicts, lists and tuples as JSON for unpacked().

    A Message becomes {"id": its template, "values": {...}}, and a tuple becomes a list.
    """
    if isinstance(data, Message):
        return {"id": data.template, "values": packed(data.values)}
    if isinstance(data, dict):
        return {name: packed(value) for name, value in data.items()}
    return list(map(packed, data)) if isinstance(data, (list, tuple)) else data


def unpacked(data: Any) -> Any:
    """Return the data that packed() got, with lists in place of tuples."""
    if isinstance(data, dict):
        if data.keys() == {"id", "values"}:
            return Message(data["id"], unpacked(data["values"]))
        return {name: unpacked(value) for name, value in data.items()}
    return list(map(unpacked, data)) if isinstance(data, list) else data


def described(data: Any) -> Any:
    """Return `data` as JSON for every reader, with its texts in English.

    A dict that holds Messages gets one more key, `messages`, with the id and values of each.
    """
    if isinstance(data, dict):
        messages = {name: packed(value) for name, value in data.items() if holds_message(value)}
        return {name: described(value) for name, value in data.items()} | (
            {"messages": messages} if messages else {}
        )
    return list(map(described, data)) if isinstance(data, (list, tuple)) else data


def holds_message(value: Any) -> bool:
    """Return whether the value is a Message, or a list with a Message in it."""
    return isinstance(value, Message) or (
        isinstance(value, (list, tuple)) and any(map(holds_message, value))
    )


def restored(data: dict[str, Any]) -> dict[str, Any]:
    """Return a dict that described() made, with its Messages in place of their texts."""
    texts = {name: value for name, value in data.items() if name != "messages"}
    return texts | unpacked(data.get("messages", {}))
