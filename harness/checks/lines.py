"""What checks do with lines: compare events without the parts that vary, read answers up to a
fence, wait until the server has read.
"""

import time
from itertools import zip_longest

from harness.driving.client import READ_WITHIN, Silence
from harness.driving.history import ERR_LINE, EVENT_LINE, normalized
from harness.driving.messages import few, joined, msg
from harness.driving.processes import waiting_in_pipe
from harness.driving.record import CheckFailed, difference, same
from harness.driving.record import shown as as_text


def hears(client, *expected, sentence=None):
    """Reads the next lines, which must be `expected` (events as normalized() writes them). Raises
    CheckFailed, also if too few come.
    """
    came, silent = [], None
    try:
        while len(came) < len(expected) and came[-1:] != ["the end of the connection"]:
            came.append(client.line() or msg("the end of the connection"))
    except Silence as silence:
        silent = silence.silent
    whole = came[:-1] if came[-1:] == ["the end of the connection"] else came
    if normalized(whole) != list(expected)[: len(whole)]:
        silent = None  # what came was wrong already
    elif silent is not None:
        sentence = sentence or "silent"
    elif whole != came:
        sentence = sentence or "cut-off"
    try:
        same(normalized(came), list(expected), sentence)
    except CheckFailed as problem:
        problem.who, problem.silent = client.who, silent
        raise


def hears_the_end(client, *expected, sentence=None):
    """Reads up to the end of the connection, which must come right after the lines `expected`.
    Raises CheckFailed.
    """
    start = len(client.lines)
    try:
        came = normalized(client.rest())
    except Silence as silence:
        came = normalized(client.lines[start:])
        short = came == list(expected)[: len(came)]  # what came was right, and more was due
        raise CheckFailed(
            as_text([*expected, msg("and then the end of the connection")]),
            joined(came, msg("and the connection stays open")),
            "no-end-of-file"
            if came == list(expected)
            else sentence or ("silent" if short else None),
            who=client.who,
            silent=silence.silent if short else None,
        ) from None
    same(came, list(expected), sentence)


def same_lines(came, expected, sentence=None):
    """Like same(), for many lines: CheckFailed shows the first line that differs, and its
    neighbours.
    """
    for place, (one, other) in enumerate(zip_longest(came, expected)):
        if one != other:
            start, end = max(0, place - 1), place + 2
            raise CheckFailed(
                msg(
                    "{count} lines, of which line {number} and the next are\n{lines}",
                    count=len(expected),
                    number=start + 1,
                    lines=as_text(expected[start:end]),
                ),
                msg(
                    "{count} lines came, of which line {number} and the next are\n{lines}",
                    count=len(came),
                    number=start + 1,
                    lines=difference(came[start:end], expected[start:end]),
                ),
                sentence,
            )


def answers(client, *lines):
    """Sends these lines (str or bytes) at once, and returns the lines that come before the answer
    to a fence.
    """
    client.send_bytes(
        b"".join(
            (line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")) + b"\n"
            for line in lines
        )
    )
    return client.fence()


def refused(client, line, *codes, sentence=None):
    """Sends a line; the only answer must be one ERR with one of these codes. Raises CheckFailed."""
    came = answers(client, line)
    if len(came) != 1 or not (match := ERR_LINE.fullmatch(came[0])) or match[1] not in codes:
        raise CheckFailed(
            msg(
                "{errors}, and nothing else, as the answer to {line}",
                errors=errors(codes),
                line=shown(line),
            ),
            msg("{who} received\n{lines}", who=client.who, lines=few(came))
            if came
            else msg("{who} received nothing before the next PONG", who=client.who),
            sentence,
        )


def errors(codes):
    """Returns the permitted ERR answers as a text for people."""
    *others, last = (f"`ERR {code} ...`" for code in codes)
    return msg("{others} or {last}", others=", ".join(others), last=last) if others else last


def each_refused(client, *refusals, sentence=None):
    """Sends the lines of these (line, code) together. Each must be answered by its one ERR.

    Raises CheckFailed, which shows the first line with another answer, or the first answer too
    many.
    """
    came = normalized(answers(client, *(line for line, _ in refusals)))
    for place, (line, code) in enumerate(refusals):
        answer = came[place] if place < len(came) else msg("nothing")
        if answer != f"ERR {code}":
            raise CheckFailed(
                msg("`ERR {code} ...` as the answer to {line}", code=code, line=shown(line)),
                msg("{who} received\n{lines}", who=client.who, lines=answer),
                sentence,
            )
    same(came[len(refusals) :], [], sentence)


def shown(line):
    """A line that was sent, for people: escapes replace characters that cannot be seen, and of a
    long line only the beginning and the length are shown.
    """
    text = repr(line)[1:] if isinstance(line, bytes) else ascii(line)
    if len(text) < 100:
        return text
    if isinstance(line, bytes):
        return msg("{beginning}... ({count} bytes)", beginning=text[:40], count=len(line))
    return msg("{beginning}... ({count} characters)", beginning=text[:40], count=len(line))


def history(client, since=0):
    """Returns the answer to HISTORY while no other client sends: (event lines, the number in END
    HISTORY).
    """
    client.fence()
    client.send(f"HISTORY {since}")
    start = len(client.lines)
    newest = int(client.expect(r"END HISTORY (\d+)")[1])
    return [line for line in client.lines[start:-1] if EVENT_LINE.fullmatch(line)], newest


def orders_taken(running):
    """Waits until the server has read what its owner has typed, as far as the kernel shows; it
    never fails.
    """
    end = time.monotonic() + READ_WITHIN
    while waiting_in_pipe(running.process.stdin) and time.monotonic() < end:
        time.sleep(0.0005)
