"""Shows a dialogue that was played, in the notation of lab_guide/protocol.md, section 2.

The lines that the harness sends only to wait (fences, `members`) are left out.
"""

import re
from collections.abc import Iterable

from harness.driving.record import Entry
from harness.model.explain import TIME, Difference

FENCE = re.compile(r"P[IO]NG f\d+")
LONG = re.compile(r"(.)\1{15,}")
ADDRESS = re.compile(r"(127\.0\.0\.1|\[::1\]):\d+")


def varying(line: str) -> str:
    """Return a line that was received, with words in capitals for what varies."""
    line = re.sub(rf"^([A-Z]+ \d+) {TIME}", r"\1 TIME", line)
    line = re.sub(r"^(ERR \S+) .*", r"\1 WORDS", line)
    line = re.sub(r"^PING .*", "PING TOKEN", line)
    line = re.sub(r"^(error: ).*", r"\1WORDS", line)
    return shortened(visible(ADDRESS.sub("ADDRESS", line)))


def visible(line: str) -> str:
    """Return a line without anything that a terminal might obey."""
    return "".join(
        sign
        if sign.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in sign.encode("utf-8", "surrogateescape"))
        for sign in line
    )


def shortened(line: str) -> str:
    """Return a line with `{a*600}` for 600 times the letter a."""
    return LONG.sub(lambda found: f"{{{found[1]}*{len(found[0])}}}", line)


def as_bytes(text: str) -> str:
    """Return what a client sent: bytes beyond printable ASCII as \\xff."""
    data = text.encode("utf-8", "surrogateescape")
    shown = "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in data)
    return shortened(shown.removesuffix(" ") + "\\x20" if shown.endswith(" ") else shown)


def label(who: str) -> str:
    """Return a client's name in the margin: its connections, one after the other, share it."""
    return who.partition("#")[0]


def dialogue(entries: Iterable[Entry], flags: Iterable[str], wrong: Difference) -> str:
    """Return the block of a dialogue that went wrong.

    It ends with what the page requires, and so it is a test that a correct server passes.
    """
    lines = list(shown(list(entries), wrong))
    options = " ".join(flag.removeprefix("--").replace(" ", "=", 1) for flag in paired(flags))
    return "\n".join([f"```dialogue {options}".rstrip(), *lines, "```"])


def paired(flags: Iterable[str]) -> list[str]:
    """Return `--admit all` as one text."""
    return re.findall(r"--\S+ [^-]\S*", " ".join(flags))


def shown(entries: list[Entry], wrong: Difference) -> Iterable[str]:
    """Yield the lines of the block."""
    end = end_of(entries, wrong)
    greeted: set[str] = set()
    unfinished: dict[str, str] = {}
    helping = 0  # answers that are still due to the harness's own `members`
    for place, (_, who, what, text) in enumerate(entries):
        name = label(who)
        if what == "sends":
            text = unfinished.pop(who, "") + text
            *complete, rest = text.split("\n")
            for line in complete:
                if not FENCE.fullmatch(line):
                    yield f"{name}> {as_bytes(line)}"
            if rest:
                yield f"{name}>+ {as_bytes(rest)}"
        elif what == "hears":
            if place in end:
                yield from (f"{name}< {one}" for one in required(wrong))
                continue
            if who not in greeted:
                greeted.add(who)
                if text.startswith("HELLO "):
                    continue
            if not FENCE.fullmatch(text) and not (end and place > max(end) and who == wrong.who):
                yield f"{name}< {varying(text)}"
        elif what == "shuts":
            yield f"{name}>|"
        elif what in ("ended", "reset") and place not in end:
            yield f"{name}|"
        elif what in ("resets", "closes") and place < last_act(entries):
            yield f"{name}>x {what}"
        elif who == "owner" and text != "members\n":
            yield f"owner> {as_bytes(text.removesuffix(chr(10)))}"
            helping = 1
        elif (
            who == "server"
            and what == "shows"
            and helping
            and not text.startswith(("* ", "<", "# "))
        ):
            yield f"owner< {varying(text)}"
            helping = 0
        elif who == "server" and what == "signal":
            yield f"server| {'killed' if text == 'SIGKILL' else 'restart'}"
    if not end and wrong.who not in ("owner", "server"):
        yield from (f"{label(wrong.who)}< {one}" for one in required(wrong))


def required(wrong: Difference) -> list[str]:
    """Return the lines that must come, of those that may the first."""
    first = wrong.allowed[0] if wrong.allowed else ""
    return [varying(line) for line in first.split("\n") if line]


def last_act(entries: list[Entry]) -> int:
    """Return the place of the last thing that a client or the owner sent: then all are closed."""
    return max(
        (place for place, one in enumerate(entries) if one.what in ("sends", "types")), default=0
    )


def end_of(entries: list[Entry], wrong: Difference) -> set[int]:
    """Return the place of the first wrong line, if a line came."""
    for place in range(len(entries) - 1, -1, -1):
        if entries[place].who == wrong.who and entries[place].text == wrong.came and wrong.came:
            return {place}
    return set()
