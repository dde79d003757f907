"""Framing: lines out of a stream of bytes. TCP keeps the order of bytes, and nothing else."""

import contextlib
import re
import select
import time

from conftest import OPEN

from harness.checks.lines import (
    answers,
    each_refused,
    hears,
    hears_the_end,
    history,
    refused,
    same_lines,
    shown,
)
from harness.driving import deadlines
from harness.driving.client import Silence, taken
from harness.driving.history import normalized, seqs
from harness.driving.messages import msg
from harness.driving.processes import queues
from harness.driving.record import CheckFailed, same
from harness.verdicts.plugin import Inconclusive, check

# Characters that no line may hold: both ends of each range that `text-char` leaves out, and more.
NOT_TEXT = (
    "\0",
    "\r",
    "\x01",
    "\x08",
    "\t",
    "\x0b",
    "\x0c",
    "\x0e",
    "\x1b[2J",
    "\x1c",
    "\x1e",
    "\x1f",
    "\x7f",
    "\x80",
    "\x85",
    "\x9b",
    "\x9f",
    "\u202a",
    "\u202e",
    "\u2066",
    "\u2069",
    "\ufdd0",
    "\ufdef",
    "\ufffe",
    "\uffff",
    "\U0001fffe",
    "\U0001ffff",
    "\U0008ffff",
    "\U0010fffe",
    "\U0010ffff",
)


@check(points=2, lab=0, rules="6-1 12-4")
def check_greets(server, connect, rng):
    """Every client that connects receives HELLO, the version, and the group's name."""
    group = f"os lab {rng.randrange(10**6)}"
    running = server(group=group)
    for name in ("ana", "ben"):
        client = connect(running, name)
        same(client.line() if not client.lines else client.lines[0], f"HELLO grupo/1 {group}")


@check(points=1, lab=0, rules="3-6")
def check_takes_requests(server, connect):
    """The server finds the request in what it received: it answers each client's first PING by one
    line after HELLO."""
    running = server()
    for name in ("ana", "ben"):
        client = connect(running, name)
        client.greeted()
        client.send("PING first")
        if not (came := client.line()).startswith("PONG "):
            same(
                came or "the end of the connection",
                "PONG first",
                "more-than-hello" if came else "cut-off",
            )


@check(points=2, lab=0, rules="3-3 4-1 5-8 6-8 10-7")
def check_answers_ping(server, connect, rng):
    """The server answers a PING by a PONG with the same token."""
    ana = connect(server(), "ana")
    ana.greeted()
    for token in (f"Token-{rng.randrange(10**9)}", "~", "!" * 64):
        ana.send(f"PING {token}")
        hears(ana, f"PONG {token}")


@check(points=2, lab=0, rules="3-1 3-6")
def check_a_line_in_pieces(server, connect, rng):
    """A line that arrives byte by byte is one line."""
    ana = connect(server(), "ana")
    ana.greeted()
    token = f"piece-{rng.randrange(10**6)}"
    for byte in f"PING {token}\n".encode():
        ana.send_bytes(bytes([byte]))
        taken(ana)
    hears(ana, f"PONG {token}")
    same(ana.fence(), [])


@check(points=2, lab=0, rules="3-6 9.1-1 9.1-2")
def check_lines_in_one_segment(server, connect, rng):
    """Several lines that arrive together are handled one by one, and the beginning of the next line
    is not lost."""
    ana = connect(server(), "ana")
    ana.greeted()
    tokens = [f"{letter}{rng.randrange(10**6)}" for letter in "abcde"]
    sent = "".join(f"PING {token}\n" for token in tokens)
    ana.send_bytes(sent[:-7].encode())  # the last line's end comes later
    taken(ana)
    ana.send_bytes(sent[-7:].encode())
    hears(ana, *(f"PONG {token}" for token in tokens))
    same(ana.fence(), [])
    ana.send(
        *(f"PING {token}" for token in tokens)
    )  # and nothing after them that could push them on
    hears(ana, *(f"PONG {token}" for token in tokens))


def send_in_turns(pieces, reads=True):
    """Sends the pieces of several clients in turn: the first piece of each, then the second ones.

    pieces: [(client, [bytes, ...])]. reads: whether to wait until the server has read each one; a
    server that leaves one unread for a while is not waited for again. Returns whether it read all.
    """
    for turn in range(max(len(parts) for _, parts in pieces)):
        for client, parts in pieces:
            if turn < len(parts):
                client.send_bytes(parts[turn])
                reads = reads and taken(client)
    return reads


def cut(line, *places):
    """The pieces of these bytes, cut at these places."""
    return [line[start:end] for start, end in zip((0, *places), (*places, len(line)))]


@check(points=2, lab=0, rules="3-6 3-7")
def check_halves_of_several_clients(server, connect, rng):
    """Pieces of lines belong to the client that sent them, also when pieces from other clients
    arrive in between."""
    running = server()
    clients = [connect(running, name) for name in ("ana", "ben", "eva", "leo")]
    for client in clients:
        client.greeted()
    for _ in range(3):
        tokens = {client: f"{client.name}-{rng.randrange(10**9)}" for client in clients}
        rng.shuffle(clients)
        lines = {client: f"PING {token}-1\nPING {token}-2\n" for client, token in tokens.items()}
        send_in_turns(
            [
                (client, cut(lines[client].encode(), *sorted(rng.sample(range(1, 30), 3))))
                for client in clients
            ]
        )
        for client in clients:
            hears(client, f"PONG {tokens[client]}-1", f"PONG {tokens[client]}-2")
    for client in clients[:2]:  # half a line ends with its client
        client.send_bytes(b"PING of-one-that-left-")
        client.half_close()
        hears_the_end(client, "BYE quit", sentence="an-unfinished-line-is-dropped")
        client.close()
    for name in ("cat", "dan"):
        hears_its_own(connect(running, name), name)
    for client in clients[2:]:
        hears_its_own(client, client.name)


def hears_its_own(client, token):
    """Sends PING, which must be answered by its PONG and by nothing else."""
    client.greeted()
    client.send(f"PING {token}")
    hears(client, f"PONG {token}")
    same(client.fence(), [])


@check(points=1, lab=1, rules="3-1 3-6")
def check_a_character_in_pieces(server, enter, rng):
    """A character whose bytes arrive one by one is one character."""
    ana = enter(server(*OPEN), "ana")
    text = "é☃😀" + "".join(rng.sample("ñüßøæłđθ", 3))
    ana.send_bytes(b"SAY ")
    for byte in text.encode():
        ana.send_bytes(bytes([byte]))
        taken(ana)
    ana.send_bytes(b"\n")
    hears(ana, f"MSG n TIME ana {text}")


@check(points=1, lab=0, rules="3-2")
def check_a_carriage_return_is_dropped(server, connect):
    """A CR before the LF is not part of the line, also if the two arrive separately."""
    ana = connect(server(), "ana")
    ana.greeted()
    ana.send_bytes(b"PING one\r\nPING two\r")
    taken(ana)
    ana.send_bytes(b"\n")
    hears(ana, "PONG one", "PONG two")
    same(ana.fence(), [])


@check(points=1, lab=0, rules="3-1 7-6")
def check_only_a_line_feed_ends_a_line(server, connect):
    """Only an LF ends a line. A CR without an LF right after it is an invalid character, and no
    other character ends a line."""
    running = server()
    ana, ben = connect(running, "ana"), connect(running, "ben")
    lone = [
        ["PING one\rPING two\n"],
        ["PING one\r", "PING two\n"],
        ["PING one\r", "\r\n"],
        ["\rPING one\n"],
        ["\r", "\r\n"],
    ]
    others = [
        [f"PING one{other}PING two\n"]
        for other in ("\0", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
    ]
    for client, lines in (ana, lone), (ben, others):
        client.greeted()
        for pieces in lines:
            send_in_turns([(client, [piece.encode() for piece in pieces])])
            came = normalized(client.fence())
            if len(came) != 1 or came[0] not in ("ERR bad-text", "ERR bad-arguments"):
                raise CheckFailed(
                    msg(
                        "one `ERR bad-text ...` or `ERR bad-arguments ...` as the answer to {line}",
                        line=shown("".join(pieces)),
                    ),
                    msg("{who} received\n{lines}", who=client.who, lines=came)
                    if came
                    else msg("{who} received nothing before the next PONG", who=client.who),
                )
    send_in_turns([(ana, [b"PING one\r", b"\n\r", b"\nPING two\r\n"])])
    hears(ana, "PONG one", "PONG two")
    same(ana.fence(), [])


@check(points=1, lab=0, rules="3-5")
def check_empty_lines_are_ignored(server, connect):
    """An empty line gets no answer, and does not end the connection."""
    ana = connect(server(), "ana")
    ana.greeted()
    ana.send_bytes(b"\n\r\n\n" * 5 + b"PING after\n")
    hears(ana, "PONG after")
    ana.send_bytes(b"\n")
    same(ana.fence(), [])


@check(points=2, lab=1, rules="3-6 3-13 10-4")
def check_long_lines(server, enter, rng):
    """Lines of any length up to the limit arrive whole, wherever a buffer ends."""
    ana = enter(server(*OPEN), "ana")
    lengths = [
        *range(120, 132),
        *range(250, 262),
        395,
        396,
        397,
        398,
        399,
        400,
        *(rng.randrange(1, 401) for _ in range(90)),
    ]
    rng.shuffle(lengths)
    texts = [
        f"{number} ".ljust(length, rng.choice("abcdefg"))[:length]
        for number, length in enumerate(lengths)
    ]
    came = answers(ana, *["SAY " + text for text in texts])
    same_lines(normalized(came), [f"MSG n TIME ana {text}" for text in texts])
    name, other = "Z" * 32, "z" * 31 + "9"  # the longest lines that there are
    text = rng.choice("abcdefg") * 399 + "!"
    longest = answers(ana, f"NAME {name}", f"SAY {text}", f"NAME {other}", f"SAY {text}")
    same_lines(
        normalized(longest),
        [
            f"RENAMED n TIME ana {name}",
            f"MSG n TIME {name} {text}",
            f"RENAMED n TIME {name} {other}",
            f"MSG n TIME {other} {text}",
        ],
        "longest-lines",
    )
    same_lines(history(ana, seqs(longest)[0] - 1)[0], longest, "longest-lines")


def unread_by_server(client):
    """Bytes that this client has sent and the server has not read, as far as can be seen."""
    (_, mine, *_), (_, theirs, *_) = client.socket.getsockname(), client.socket.getpeername()
    return queues(theirs, mine)[1] + queues(mine, theirs)[0]


@check(points=1, lab=0, rules="3-6 5-9 9.1-2")
def check_much_at_once(server, connect):
    """The server handles all lines of 200 kB that arrive at once, even if nothing follows them."""
    ana = connect(server(), "ana")
    ana.greeted()
    ana.send(*["PONG " + "x" * 60] * 3000, "PING end")
    left, at, came = unread_by_server(ana), time.monotonic(), None
    while came is None:  # as long as the server goes on reading
        try:
            came = ana.line(0.2)
        except Silence:
            if time.monotonic() - at > deadlines.DEADLINE:
                hears(ana, "PONG end")
        if (now_left := unread_by_server(ana)) < left:
            left, at = now_left, time.monotonic()
    if came == "BYE timeout" and time.monotonic() - at < 5:
        raise Inconclusive(
            msg("the server needs more time for 200 kB than a stranger may stay"), again=False
        )
    same(came or "the end of the connection", "PONG end")


@check(points=1, lab=0, rules="3-4 7-4 8-12 10-2")
def check_too_long(server, connect):
    """A line has at most 512 bytes with its LF. A client that sends more receives ERR too-long and
    the end of the connection; other clients are not affected."""
    running = server()
    ana, ben, eve = connect(running, "ana"), connect(running, "ben"), connect(running, "eve")
    refused(ana, "PING " + "a" * 506, "bad-arguments", sentence="512-bytes-are-not-too-long")
    for client, data in ((ben, b"PING " + b"b" * 507 + b"\n"), (eve, b"x" * 1_000_000)):
        client.greeted()
        try:
            client.send_bytes(data)
        except ConnectionError:
            # the server would not hear it out, which is its right; what it said is still to be read
            pass
        try:
            came = normalized(client.rest())
        except Silence:
            raise CheckFailed(
                msg(
                    "`ERR too-long ...`, `BYE protocol`, and the end of the connection, "
                    "after a line of more than 512 bytes"
                ),
                msg(
                    "{who} sent {count:,} bytes in one line, and the connection stays "
                    "open; {who} received\n"
                    "{lines}",
                    who=client.who,
                    count=len(data),
                    lines=client.lines[1:] or msg("nothing"),
                ),
            ) from None
        if not client.was_reset:  # a reset may have swept away what was on its way
            same(came, ["ERR too-long", "BYE protocol"])
    same(ana.fence(), [])


LONGEST = b"PING " + b"a" * 506 + b"\n"  # 512 bytes, so a line, wrong as it is
WITH_CR = b"PING " + b"a" * 505 + b"\r\n"  # the same
TOO_LONG = b"PING " + b"a" * 507 + b"\n"
CR_TOO_LONG = b"PING " + b"a" * 506 + b"\r\n"
AFTER = b"PING after\nNO-VERB\nQUIT\nPING after\n"  # nothing of this is to be handled
# Ways to send a line that is too long: its pieces, and what the lines before it are answered by.
TOO_LONG_WAYS = [
    ([b"PING before\n" + TOO_LONG + AFTER], ["PONG before"]),
    ([LONGEST[:511], LONGEST[511:] + TOO_LONG[:99], TOO_LONG[99:] + AFTER], ["ERR bad-arguments"]),
    *(
        (pieces, [])
        for pieces in (
            [TOO_LONG + AFTER],
            cut(TOO_LONG + AFTER, 511),
            cut(TOO_LONG + AFTER, 512),
            cut(CR_TOO_LONG + AFTER, 511),
            cut(CR_TOO_LONG + AFTER, 512),
            cut(TOO_LONG, 510, 511, 512),
            cut(b"b" * 700 + b"\n" + AFTER, *range(100, 701, 100)),
            [b"b" * 500] * 200,
        )
    ),
]


@check(points=2, lab=0, rules="3-4 10-1 10-2")
def check_the_longest_line_in_pieces(server, connect):
    """A line of 512 bytes with its LF is not too long, wherever it is cut and whatever comes before
    and after it."""
    running = server()
    ways = [
        [cut(LONGEST, place) for place in (1, 256, 500, 509, 510, 511)],
        [
            cut(WITH_CR, 510),
            cut(WITH_CR, 511),
            cut(WITH_CR, 510, 511),
            cut(LONGEST, 508, 509, 510, 511),
            cut(LONGEST, 100, 200, 300, 400, 500),
        ],
        [
            [LONGEST + LONGEST + WITH_CR],
            [
                b"\r\n" * 300 + LONGEST[:511],
                LONGEST[511:] + LONGEST[:511],
                LONGEST[511:] + b"PING a",
                b"fter\n",
            ],
            [b"PING before\n" + LONGEST[:511], LONGEST[511:]],
        ],
    ]
    for name, lines in zip(("ana", "ben", "eva"), ways):
        client = connect(running, name)
        client.greeted()
        for pieces in lines:
            send_in_turns([(client, pieces)])
            start = len(client.lines)
            expected = [
                "ERR bad-arguments" if len(line) > 300 else line.replace("PING", "PONG")
                for line in b"".join(pieces).decode().splitlines()
                if line
            ]
            try:
                same(normalized(client.fence()), expected)
            except CheckFailed as problem:
                if "ERR too-long" in normalized(client.lines[start:]):
                    problem.sentence = "512-bytes-are-not-too-long"
                problem.actual = msg(
                    "{who} sent {pieces}, and received\n{came}",
                    who=name,
                    pieces=piece_sizes(pieces),
                    came=problem.actual,
                )
                raise


def piece_sizes(pieces):
    """How many bytes were sent at a time, for people."""
    sizes = [str(len(piece)) for piece in pieces]
    some = sizes if len(sizes) < 10 else [*sizes[:3], "...", sizes[-1]]
    return msg("{sizes} bytes", sizes=" + ".join(some))


@check(points=2, lab=0, rules="3-4 7-4 10-2")
def check_too_long_in_pieces(server, connect):
    """A line of more than 512 bytes is too long, wherever it is cut. The server handles nothing
    after it, and other clients are not affected."""
    running = server()
    for number, (pieces, before) in enumerate(TOO_LONG_WAYS):
        ana, ben, eve = (connect(running, name) for name in ("ana", "ben", "eve"))
        ana.greeted(), ben.greeted(), eve.greeted()
        reads = send_in_turns([(ana, [b"PING an"]), (ben, [b"b" * 400])])
        with contextlib.suppress(ConnectionError):  # the server closed sooner; its lines remain
            for place, piece in enumerate(pieces):
                if place < 10 or not select.select([eve.socket], [], [], 0)[0]:  # else it knows
                    reads = send_in_turns([(eve, [piece])], reads)
        send_in_turns([(ana, [b"other\n"]), (ben, [b"b" * 111 + b"\n"])])
        try:
            came = normalized(eve.rest())
        except Silence:
            raise CheckFailed(
                msg(
                    "`ERR too-long ...`, `BYE protocol`, and the end of the connection, "
                    "after a line of more than 512 bytes"
                ),
                msg(
                    "eve sent {pieces}, and the connection stays open; eve received\n{lines}",
                    pieces=piece_sizes(pieces),
                    lines=eve.lines[1:] or msg("nothing"),
                ),
            ) from None
        expected = [*before, "ERR too-long", "BYE protocol"]
        same(came, expected[: len(came)] if eve.was_reset else expected)  # a reset discards lines
        eve.close()
        hears_its_own(connect(running, "new"), f"new-{number}")
        hears(ana, "PONG another"), hears(ben, "ERR unknown")
        same(normalized(ana.fence() + ben.fence()), [])


@check(points=1, lab=1, rules="3-6 7-4 9.1-8")
def check_halves_of_members_and_strangers(server, connect, enter):
    """Pieces that members and strangers send in turn stay separate: messages, a JOIN, a line that
    is too long."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    eve, mal = connect(running, "eve"), connect(running, "mal")
    ana.fence(), ben.fence(), eve.greeted(), mal.greeted()
    send_in_turns(
        [
            (ana, cut("SAY it is olá\nSAY again\n".encode(), 2, 13, 14, 20)),
            (ben, cut(b"SAY it is ben\r\nPING b\n", 7, 14, 15)),
            (eve, cut(b"PING eve\nJOIN eve secret-of-eve\nSAY it is eve\n", 3, 15, 38)),
            (mal, cut(b"x" * 600 + b"\nJOIN mal secret\nSAY ghost\n", 200, 400, 605)),
        ]
    )
    hears(eve, "PONG eve", "PENDING")
    eve.welcomed()
    hears_the_end(mal, "ERR too-long", "BYE protocol")
    hears(eve, "IN n TIME eve")
    for one in (eve, ana, ben):
        one.fence()
    said = [
        [line for line in normalized(one.lines) if line.startswith("MSG ")] for one in (ana, ben)
    ]
    same(said[0], said[1], "not-the-same-line")
    same(
        sorted(said[0]),
        [
            "MSG n TIME ana again",
            "MSG n TIME ana it is olá",
            "MSG n TIME ben it is ben",
            "MSG n TIME eve it is eve",
        ],
    )
    answered = [
        line for line in eve.lines + ana.lines + ben.lines if re.match("ERR |PONG (?!fence)", line)
    ]
    same(answered, ["PONG eve", "PONG b"])
    ben.send_bytes(b"x" * 600 + b"\nSAY ghost\nNAME ghost\nLEAVE\n")
    hears_the_end(ben, "ERR too-long", "BYE protocol")
    hears(ana, "OUT n TIME ben")
    same(
        sorted(answers(ana, "WHO")),
        ["END WHO", "MEMBER ana here", "MEMBER ben away", "MEMBER eve here"],
    )


@check(points=1, lab=1, rules="7-5")
def check_not_utf8(server, enter):
    """A line that is not UTF-8 is refused with ERR bad-utf8, and the conversation continues."""
    ana = enter(server(*OPEN), "ana")
    for bad in (
        b"\xff",
        b"abc \x80",
        b"\xc3",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"ol\xe1",
    ):
        refused(ana, b"SAY " + bad, "bad-utf8")
    same(normalized(answers(ana, "SAY olá")), ["MSG n TIME ana olá"])


@check(points=1, lab=1, rules="3-12 7-6")
def check_control_characters(server, enter):
    """Control characters, and characters that change the direction of writing, are refused with ERR
    bad-text."""
    ana = enter(server(*OPEN), "ana")
    for bad in (
        "\0",
        "\t",
        "\a",
        "\x1b[2J",
        "\x7f",
        "\x85",
        "\x9b",
        "a\rb",
        "\u202e",
        "\u2066",
        "\ufdd0",
        "\ufffe",
    ):
        refused(
            ana, f"SAY a{bad}b", "bad-text", sentence="line-ends-at-nul" if bad == "\0" else None
        )
    lines = [*(f"SAY a{bad}b" for bad in NOT_TEXT), "SAY \u202e", "SAY a\r\r"]
    each_refused(ana, *((line, "bad-text") for line in lines))


@check(points=2, lab=1, rules="3-12 7-2 7-6")
def check_text_in_every_field(server, connect, enter, rng):
    """Characters that no text may contain are refused with ERR bad-text in every field: in a name,
    a password, a token, a number and a verb, too."""
    running = server(*OPEN)
    ana, eve = enter(running, "ana"), connect(running, "eve")
    eve.greeted()
    fields = (
        "NAME a{}b",
        "JOIN a{}b secret",
        "JOIN eve a{}b",
        "JOIN eve {}",
        "PING a{}b",
        "PONG a{}b",
        "HISTORY 1{}",
        "WHO{}",
        "{}",
    )
    kinds = NOT_TEXT[2:12], NOT_TEXT[12:17], NOT_TEXT[17:21], NOT_TEXT[21:]  # a CR may end a line
    some = [rng.choice(kind) for kind in kinds]
    for client, choice in (ana, ["\t", "\x85", *some]), (eve, ["\u2028\u202e"]):
        lines = [field.format(bad) for field in fields for bad in choice]
        each_refused(client, *((line, "bad-text") for line in lines))
    same(normalized(answers(ana, "SAY as before")), ["MSG n TIME ana as before"])


@check(points=1, lab=0, rules="3-8 7-7 16-2")
def check_unknown_verbs(server, connect, rng):
    """A line that does not begin with a verb, whole and in upper case, is refused with ERR
    unknown."""
    ana = connect(server(), "ana")
    ana.greeted()
    word = "".join(rng.choices("ABCDEFGHIKLMNOP", k=6))
    for line in (f"X{word} {word}", "ping x", "Ping x", " PING x", "PINGx", "MSG 1 x", "quit"):
        refused(ana, line, "unknown")


@check(points=1, lab=1, rules="3-10 6-10 7-1")
def check_errors_repeat_nothing(server, connect, enter, rng):
    """The words of an ERR never repeat what the client sent. An ERR is a line like any other: text,
    at most 512 bytes."""
    running = server(*OPEN)
    ana, eve = enter(running, "ana"), connect(running, "eve")
    eve.greeted()
    word = "".join(rng.choices("bcdfghjkmnpqrstvwxz", k=8))
    enter(running, word)
    ana.expect(rf"IN \d+ \S+ {word}")
    for client, lines in (
        (
            ana,
            [
                f"{word.upper()} it",
                f"SAY {word}\t",
                f"SAY {word * 51}",
                f"NAME -{word}",
                f"NAME {word} {word}",
                f"WHO {word}",
                f"HISTORY {word}",
                f"PING {word} {word}",
                f"JOIN {word} {word}",
                f"NAME {word.upper()}",
                f"LEAVE {word}",
                f"PONG {word} {word}",
                f"{word}\x1b[2J",
            ],
        ),
        (
            eve,
            [
                f"{word} it",
                f"SAY {word}",
                f"JOIN {word}",
                f"JOIN /{word} x",
                f"JOIN {word} {word}\x1b[2J",
                f"JOIN {word} {word * 17}",
            ],
        ),
    ):
        for line in lines:
            client.send(line)
            came = client.line()
            same(normalized([came])[0].split(" ")[0], "ERR")
            code, _, words = came[4:].partition(" ")
            if word in came.lower():
                raise CheckFailed(
                    msg(
                        "words that do not repeat what the client sent, as the answer to {line}",
                        line=shown(line),
                    ),
                    came,
                )
            if not 1 <= len(words.encode()) <= 400 or any(bad in words for bad in NOT_TEXT):
                raise CheckFailed(
                    msg(
                        "`ERR {code}` and 1 to 400 bytes of text, as the answer to {line}",
                        code=code,
                        line=shown(line),
                    ),
                    ascii(came),
                    "form-of-err",
                )


@check(points=2, lab=1, rules="3-9 7-2 7-10 7-15 7-16 7-17 7-18 7-19 10-1 10-4 10-7 10-8")
def check_wrong_arguments(server, enter):
    """A known verb with fields that are missing, empty, too long or too many is refused with ERR
    bad-arguments, and changes nothing."""
    ana = enter(server(*OPEN), "ana")
    for line in (
        "SAY",
        "SAY ",
        "SAY " + "a" * 401,
        "SAY " + "ñ" * 201,
        "NAME",
        "NAME ",
        "NAME two words",
        "WHO is there",
        "HISTORY",
        "HISTORY ",
        "HISTORY -1",
        "HISTORY +1",
        "HISTORY 1.0",
        "HISTORY 0x1",
        "HISTORY 1 2",
        "HISTORY " + "1" * 17,
        "HISTORY ten",
        "PING",
        "PING ",
        "PING two words",
        "PING " + "t" * 65,
        "PING ñ",
        "LEAVE now",
        "QUIT now",
    ):
        refused(ana, line, "bad-arguments")
    more = (
        "SAY " + "文" * 134,
        "SAY " + "😀" * 100 + "a",
        "SAY " + "a" * 507,
        "NAME ben ",
        "NAME  ben",
        "WHO ",
        "LEAVE ",
        "QUIT ",
        "HISTORY  1",
        "HISTORY 1 ",
        "HISTORY 1_0",
        "HISTORY ١",
        "HISTORY １",
        "HISTORY " + "0" * 17,
        "PING  x",
        "PING x ",
        "PONG",
        "PONG ",
        "PONG two words",
        "PONG " + "t" * 65,
        "PONG ñ",
    )
    each_refused(ana, *((line, "bad-arguments") for line in more))
    for text in ("ñ" * 200, "文" * 133 + "a", "😀" * 100):
        same(normalized(answers(ana, f"SAY {text}")), [f"MSG n TIME ana {text}"])


@check(points=1, lab=0, rules="7-20 8-12 10-11")
def check_ten_errors(server, connect, rng):
    """A client that makes ten errors before WELCOME receives BYE protocol after the tenth, and not
    before."""
    ana = connect(server(), "ana")
    ana.greeted()
    ana.send(*(f"NO-{rng.randrange(1000)}" for _ in range(7)), "PING", "PING two words")
    same(normalized(ana.fence()), ["ERR unknown"] * 7 + ["ERR bad-arguments"] * 2)
    ana.send("NO-10")
    hears_the_end(ana, "ERR unknown", "BYE protocol")


@check(points=1, lab=0, rules="5-12 8-2 9.1-1")
def check_half_close_is_answered(server, connect, rng):
    """A client that has ended its sending direction still receives the answers, then BYE quit and
    the end of the connection."""
    ana = connect(server(), "ana")
    ana.greeted()
    tokens = [f"t{rng.randrange(10**6)}" for _ in range(20)]
    ana.send(*(f"PING {token}" for token in tokens))
    ana.half_close()
    hears_the_end(ana, *(f"PONG {token}" for token in tokens), "BYE quit")


@check(points=1, lab=0, rules="4-5 5-7 6-11 8-2 9.1-6")
def check_quit_says_bye(server, connect):
    """The server answers QUIT by BYE quit and the end of the connection. It does not handle lines
    after QUIT."""
    running = server()
    ana, ben = connect(running, "ana"), connect(running, "ben")
    for client, lines in (
        (ana, ["QUIT"]),
        (ben, ["PING before", "QUIT", "PING after", "PING after"]),
    ):
        client.greeted()
        client.send(*lines)
        hears_the_end(client, *["PONG before"] * (client is ben), "BYE quit")
        if client.was_reset:
            raise CheckFailed(
                msg("an orderly end of the connection after BYE quit"),
                msg("the server reset the connection"),
                "reset-after-bye",
            )


@check(points=1, lab=0, rules="3-7 5-12")
def check_an_unfinished_line_is_dropped(server, connect):
    """The server drops an unfinished last line, one without its LF."""
    ana = connect(server(), "ana")
    ana.greeted()
    ana.send_bytes(b"PING whole\nPING half")
    ana.half_close()
    hears_the_end(ana, "PONG whole", "BYE quit")
