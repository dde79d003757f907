"""The owner: orders on the server's standard input, each answered by its lines and then by `ok` or
`error: why`.
"""

import contextlib
import fcntl
import re
import struct
import termios
import time

from conftest import OPEN

from harness.checks.lines import (
    READ_WITHIN,
    answers,
    hears,
    hears_the_end,
    orders_taken,
    refused,
    shown,
)
from harness.checks.scenarios import ends_in_time, rests
from harness.driving import deadlines
from harness.driving.client import taken
from harness.driving.deadlines import wait_until
from harness.driving.history import normalized
from harness.driving.messages import joined, msg
from harness.driving.record import CheckFailed, same
from harness.driving.server import NotStarted
from harness.driving.timing import EARLY, as_they_come
from harness.verdicts.plugin import check


def ordered(running, order):
    """The lines of an answer; `error` without its reason."""
    return ["error" if line.startswith("error: ") else line for line in running.order(order)]


def ends(running, clients, code, began):
    """The server was asked to end at `began`: all clients must receive BYE, and it must end in
    time, with status 0.
    """
    for client in clients:
        try:
            hears_the_end(client, f"BYE {code}", sentence="all-hear-the-end")
        except CheckFailed:  # one that reads nothing may have been disconnected before
            if not client.ended or normalized(client.lines[-2:]) != [
                "OUT n TIME stuck",
                f"BYE {code}",
            ]:
                raise
    same(f"status {ends_in_time(running, began)}", "status 0", "status-of-the-end")


UNASKED = re.compile(r"\* |# |<|\S+ asks to join from ")


def types(running, data, *expected):
    """Types these bytes, which are several orders: their answers, all together, must be these
    lines, with `error` in place of `error: why`.
    """
    begins = len(running.stdout)
    running.type_bytes(data)
    came = lambda: [
        "error" if line.startswith("error: ") else line
        for line in running.stdout[begins:]
        if not UNASKED.match(line)
    ]
    with contextlib.suppress(CheckFailed):
        wait_until(lambda: len(came()) >= len(expected))
    same(came(), list(expected))


def typed(running, data):
    """Types these bytes and waits until the server has read them, as far as the kernel shows it.
    Never fails.
    """
    running.type_bytes(data)
    end = time.monotonic() + READ_WITHIN
    while (
        struct.unpack("i", fcntl.ioctl(running.process.stdin, termios.FIONREAD, b"\0" * 4))[0]
        and time.monotonic() < end
    ):
        time.sleep(0.0005)


@check(points=2, lab=1, rules="9.5-13 9.5-25 11-25 11-28")
def check_the_owner_is_told(server, ask, connect, rng):
    """Under --admit ask the owner sees the name and address of each client that asks to join;
    `members` shows it too."""
    running = server()
    name = f"Ana{rng.randrange(1000)}"
    ana = ask(running, name)
    host, port = ana.socket.getsockname()
    same(
        [line for line in running.stdout if "asks" in line],
        [f"{name} asks to join from {host}:{port}"],
    )
    same(running.order("members"), [f"member {name} asks from {host}:{port}", "ok"])
    eve = connect(running, "eve")
    eve.greeted()
    eve.send("JOIN eve secret-of-eve")
    hears(eve, "PENDING")
    if ordered(running, "accept eve") == ["error"]:  # the console has not shown the request yet
        running.expect(r"eve asks to join from \S+")
        same(running.order("accept eve"), ["ok"])
    lines = [line for line in running.stdout if not line.startswith(("* ", "# ", "<"))]
    came = [line.partition(" from ")[0] for line in lines[-2:]]
    same(came, ["eve asks to join", "ok"], "accepted-before-shown")


@check(points=2, lab=1, rules="11-9 11-17 11-27")
def check_members(server, ask, accepted):
    """`members` shows each member, here or away, each banned name, and each client that asks to
    join."""
    running = server()
    ana, ben = accepted(running, "ana"), accepted(running, "ben")
    ben.close()
    ana.expect(r"OUT .*")
    same(running.order("ban mallory"), ["ok"])
    eve = ask(running, "eve")
    *lines, ok = running.order("members")
    same(
        [*sorted(lines), ok],
        [
            "member ana here",
            "member ben away",
            "member eve asks from {}:{}".format(*eve.socket.getsockname()),
            "member mallory banned",
            "ok",
        ],
    )


@check(points=2, lab=1, rules="6-4 6-18 8-4 9.5-12 11-14")
def check_ban(server, connect, enter):
    """A banned member receives BANNED and BYE banned, and cannot join again. The others receive
    BANNED and no OUT."""
    running = server(*OPEN)
    ana, eve = enter(running, "ana"), enter(running, "eve")
    ana.fence()
    same(running.order("ban EVE"), ["ok"])
    hears_the_end(eve, "BANNED n TIME eve", "BYE banned")
    hears(ana, "BANNED n TIME eve")
    refused(ana, "NAME Eve", "name-taken")
    again = connect(running, "again")
    again.greeted()
    again.send("JOIN Eve secret-of-eve")
    hears(again, "PENDING", "REJECTED refused")
    same(normalized(ana.fence()), [])


@check(points=1, lab=1, rules="6-18 11-14")
def check_ban_of_anyone(server, ask, accepted):
    """The owner can ban a member who is away, a client that asks to join, and an unknown name.
    Every member receives the event, and the client that asks is rejected."""
    running = server()
    ana, ben = accepted(running, "ana"), accepted(running, "ben")
    ben.close()
    ana.expect(r"OUT .*")
    eve = ask(running, "eve")
    for name in ("ben", "eve", "nobody"):
        same(running.order(f"ban {name}"), ["ok"])
    same(
        normalized(ana.fence()), ["BANNED n TIME ben", "BANNED n TIME eve", "BANNED n TIME nobody"]
    )
    hears(eve, "REJECTED refused")
    same(ordered(running, "ban Nobody"), ["error"])
    *lines, ok = running.order("members")
    same(
        sorted(lines),
        ["member ana here", "member ben banned", "member eve banned", "member nobody banned"],
    )


@check(points=1, lab=1, rules="8-4 11-8 11-15")
def check_unban(server, connect, enter):
    """`unban` frees the name: the next client that joins with it is a new member, with its own
    password."""
    running = server(*OPEN)
    eve = enter(running, "eve")
    same(running.order("ban eve"), ["ok"])
    same(eve.rest()[-1:], ["BYE banned"])
    same(running.order("unban EVE"), ["ok"])
    same(running.order("members"), ["ok"])
    same(ordered(running, "unban eve"), ["error"])
    enter(running, "eve", "another secret")


@check(points=1, lab=1, rules="6-19 11-16")
def check_rename_the_group(server, connect, enter, rng):
    """`rename` changes the group's name: every member receives GROUP, and new clients receive the
    new name in HELLO."""
    running = server(*OPEN, group="before")
    ana = enter(running, "ana")
    new = f"Operating  systems, {rng.randrange(10**6)} ñ"
    for _ in range(2):  # the same name again is an event, too
        same(running.order(f"rename {new}"), ["ok"])
        same(normalized(ana.fence()), [f"GROUP n TIME {new}"])
    same(connect(running, "ben").greeted(), new)


@check(points=1, lab=1, rules="3-11 3-12 10-1 10-5 11-16 12-4")
def check_names_of_groups(server, connect, enter):
    """A group's name has 1 to 64 bytes of text, and no space at either end. `rename` to any other
    name is an error."""
    first = "g" * 64
    running = server(*OPEN, group=first)
    ana = enter(running, "ana")
    same(ana.group, first)
    ana.fence()
    for wrong in (
        "g" * 65,
        "ñ" * 32 + "g",
        "g ",
        " g",
        " ",
        "",
        "g" * 64 + " ",
        "a\tb",
        "a\rb",
        "a\x85b",
        "a\u202eb",
        "a\u2069b",
        "a\ufdd0b",
        "\U0001ffff",
    ):
        if ordered(running, f"rename {wrong}") != ["error"]:
            raise CheckFailed(
                msg(
                    "`error: why` as the answer to the order {order}",
                    order=shown(f"rename {wrong}"),
                ),
                msg("the order was done"),
            )
    for right in (
        "ñ" * 32,
        "x",
        "a  b",
        "\xa0a\u2028b\u3000",
        "\u2065\u206a\ue000\ufffd\U0010fffd",
        first[1:],
    ):
        same(running.order(f"rename {right}"), ["ok"])
        same(normalized(ana.fence()), [f"GROUP n TIME {right}"])
        same(connect(running, "new").greeted(), right)


@check(points=1, lab=1, rules="11-2 11-3 11-4")
def check_orders_at_the_limit(server):
    """An order of 512 bytes with its LF is a line. A longer one is skipped to its end and answered
    once, and the next order is done."""
    running = server()
    running.order("members")
    before = len(running.stdout)
    for piece in (
        b"x" * 511,
        b"\nban a1\n",
        b"x" * 512,
        b"\nban a2\n",
        b"x" * 300,
        b"x" * 300,
        b" ban a3\nban a4\n" + b"x" * 5000 + b"\nban a5\nrename \xff\n",
        b"ban a6\rban a7\nban a8\r",
        b"\nmembers\n",
    ):
        running.type_bytes(piece)
        orders_taken(running)
    expected = [*["error", "ok"] * 4, "error", "error", "ok"]
    members = [f"member a{number} banned" for number in (1, 2, 4, 5, 8)]
    answered = lambda: [line for line in running.stdout[before:] if line[:2] not in ("# ", "* ")]
    with contextlib.suppress(CheckFailed):
        wait_until(lambda: len(answered()) >= len(expected) + len(members) + 1)
    came = ["error" if line.startswith("error: ") else line for line in answered()]
    same(came[: len(expected)] + sorted(came[len(expected) :]), [*expected, *members, "ok"])


@check(points=2, lab=1, rules="11-3 11-5 11-6 11-7 11-9 11-10 11-11 11-12")
def check_wrong_orders(server, enter):
    """An order that is unknown, malformed or cannot be done is answered by one line `error: why`,
    and changes nothing.
    """
    running = server(*OPEN)
    ana = enter(running, "ana")
    for order in (
        "dance",
        "BAN ana",
        "ban",
        "ban -x",
        "ban a b",
        "accept",
        "accept ana",
        "accept nobody",
        "reject nobody",
        "unban ana",
        "unban",
        "rename",
        "rename " + "x" * 65,
        "members all",
        " members",
        "delete it",
        "x" * 511,
        "x" * 3000,
    ):
        if (came := running.order(order)) and (len(came) > 1 or not came[0].startswith("error: ")):
            raise CheckFailed(
                msg("one line `error: why` as the answer to the order {order!r}", order=order[:60]),
                "\n".join(came),
            )
    running.type_bytes(b"\n\r\n")  # and empty lines are no orders
    same(running.order("members"), ["member ana here", "ok"])
    same(normalized(ana.fence()), [], "wrong-orders-do-nothing")


REJECT_AFTER = 1  # seconds: the default of --reject-after
MOST_JOIN = 0.15  # seconds of a JOIN that leave room for three of them before that


@check(points=1, lab=1, rules="9.5-18 9.5-20 10-14 10-19")
def check_a_no_is_held_back(server, connect, ask, pace):
    """No REJECTED comes sooner than --reject-after after its JOIN, for any reason. Until then the
    server answers the client's other requests."""
    reject_after, flag = REJECT_AFTER, ()
    if pace.join > MOST_JOIN:  # else it would be over before all this is done
        reject_after = round(REJECT_AFTER + 6 * pace.join, 1)
        flag = "--reject-after", str(reject_after)
    running = server(*flag)
    same(running.order("ban mal"), ["ok"])
    first = ask(running, "eve")
    clients, asked_at, no = {}, {}, {}
    for name, order in ("ida", "reject IDA"), ("leo", "ban leo"):
        asked_at[name] = time.monotonic()
        clients[name] = ask(running, name)
        same(running.order(order), ["ok"])
    for who, name in ("mal", "MAL"), ("second", "Eve"):  # banned before; asked for by another
        clients[who] = connect(running, who)
        clients[who].greeted()
        asked_at[who] = time.monotonic()
        clients[who].send(f"JOIN {name} secret")
        clients[who].expect("PENDING")
    same(
        [line for line in running.order("members") if " asks " in line and " eve " not in line], []
    )
    for order in "accept ida", "reject ida", "accept leo", "reject leo":
        same(ordered(running, order), ["error"])
    began = time.monotonic()
    behind = began + reject_after + 2 * deadlines.DEADLINE
    for now, client, line in as_they_come(
        clients.values(), lambda: len(no) == len(clients) or time.monotonic() > behind
    ):
        if line == "REJECTED refused":
            no[client.name] = line
            if (after := now - asked_at[client.name]) < reject_after - EARLY:
                raise CheckFailed(
                    msg(
                        "REJECTED no sooner than {reject_after:g} s after the JOIN of {who}",
                        reject_after=reject_after,
                        who=client.who,
                    ),
                    msg("it came after {after:.2f} s", after=after),
                    "rejected-too-soon",
                    proven=True,
                )
    same(sorted(no), sorted(clients))
    same(first.fence(), [])
    for client in clients.values():
        same(client.fence(), [])


MALFORMED = [
    "",
    " ",
    "-x",
    "a b",
    "a/b",
    "x" * 33,
    b"\xff",
    b"e\0ve",
    b"e\tve",
    b"e\x1b[2Jve",
    "\x85".encode(),
    "\u202eeve".encode(),
    b"\xed\xa0\x80",
]


@check(points=2, lab=1, rules="10-5 11-4 11-6 11-7 11-8 11-10 11-11 11-12 11-13 11-14 11-15")
def check_orders_with_all_arguments(server, connect, ask, accepted):
    """Each order refuses every invalid argument by one line `error: why`, and accepts every valid
    one, in upper or lower case."""
    running = server(group="before")
    ana, ben = accepted(running, "ana"), accepted(running, "ben")
    ben.close()
    ana.expect(r"OUT .*")
    same(running.order("ban mal"), ["ok"])
    eve, ida = ask(running, "eve"), ask(running, "ida")
    ana.fence()
    begins = len(running.stdout)
    standing = sorted(running.order("members"))
    wrong = {
        "accept": ["ana", "ben", "mal", "nobody"],
        "reject": ["ana", "ben", "mal", "nobody"],
        "ban": ["mal", "MAL"],
        "unban": ["ana", "ben", "eve", "nobody"],
        "rename": [" x", "x ", "x" * 65, "ñ" * 33],
    }
    orders = [[word, argument] for word, arguments in wrong.items() for argument in arguments]
    orders += [
        [word, argument]
        for word in ("accept", "reject", "ban", "unban")
        for argument in (*MALFORMED, "eve ", " eve", "eve eve")
    ]
    orders += [
        ["rename", argument]
        for argument in MALFORMED
        if argument not in ("-x", "a b", "a/b", "x" * 33)
    ]
    orders += [
        [word, argument]
        for word in ("members", "close", "delete", "help")
        for argument in ("", "x", "before")
    ]
    orders += [[b"\0"], [b"members\0"], [b"\xff"], [b"members", b"\0"]]
    orders += [
        [word]
        for word in (
            "accept",
            "reject",
            "ban",
            "unban",
            "rename",
            "Accept",
            "MEMBERS",
            "CLOSE",
            "Delete",
            "Help",
            " close",
            "clos",
            "closed",
            "deleteit",
        )
    ]
    for order in orders:
        line = b" ".join(part if isinstance(part, bytes) else part.encode() for part in order)
        answer = given(running, line)
        if answer != ["error"]:
            running.told_to_end = answer[-1:] == ["ok"]
            raise CheckFailed(
                msg("one line `error: why` as the answer to the order {order}", order=shown(line)),
                joined(answer),
                "wrong-orders",
            )
    for line in (
        b"accept eve".ljust(512),
        b"accept eve" + b" " * 501 + b"\r",
        b"accept \xc3",
    ):  # too long by one byte, twice; half a character
        same(given(running, line), ["error"])
    same(sorted(running.order("members")), standing, "wrong-orders-do-nothing")
    for client in ana, eve, ida:
        same(normalized(client.fence()), [], "wrong-orders-do-nothing")
    same(connect(running, "stranger").greeted(), "before", "wrong-orders-do-nothing")
    longest = "x" * 62 + "ñ"  # 64 bytes
    for line in (
        "accept EVE",
        "reject Ida",
        "ban NEW-NAME",
        "unban Mal",
        "ban BEN",
        f"rename {longest}",
        "rename a  b",
    ):
        same(given(running, line.encode() + b"\r"), ["ok"])
    eve.welcomed()
    same(
        normalized(ana.fence()),
        [
            "IN n TIME eve",
            "BANNED n TIME NEW-NAME",
            "BANNED n TIME ben",
            f"GROUP n TIME {longest}",
            "GROUP n TIME a  b",
        ],
    )
    hears(ida, "REJECTED refused")
    lines = [
        answer
        for answer in running.stdout[begins:]
        if not re.match(r"\* |# |<|member |\S+ asks to join from ", answer)
    ]
    expected = ["ok", *["error"] * (len(orders) + 3), *["ok"] * 8]
    same([line.partition(":")[0] for line in lines], expected)


def given(running, line):
    """The answer to an order that may be any bytes; `error` without its reason."""
    return ["error" if answer.startswith("error: ") else answer for answer in running.order(line)]


PERMITTED = re.compile(
    r"listening on \S+:\d+|\S+ asks to join from \S+:\d+|\* .*|<.*|# .*|ok|error: .+|type the "
    r"group's name to delete it"
    r"|member \S+ (here|away|banned|asks from \S+:\d+)"
)


@check(points=1, lab=1, rules="11-24 11-26 11-27")
def check_nothing_else_on_standard_output(server, connect, ask):
    """Standard output has only the lines of section 11, each whole, whatever clients do, also while
    the server ends."""
    running = server()
    clients = {}
    for name in "ana", "ben", "eva", "leo", "ida":
        clients[name] = ask(running, name)
        same(running.order(f"accept {name}"), ["ok"])
        clients[name].welcomed()
    ana, ben, eva, leo, ida = clients.values()
    answers(
        ana,
        "SAY to all",
        "NAME anita",
        "WHO",
        "HISTORY 0",
        "no such verb",
        "SAY",
        b"SAY \xff",
        b"SAY \0",
        "NAME ben",
        "JOIN x y",
        "PONG x",
        "",
    )
    ben.send("QUIT")
    eva.send("LEAVE")
    for client in ben, eva:
        client.rest()
    leo.reset()
    ida.half_close()
    ida.rest()
    strangers = [connect(running, "stranger") for _ in range(4)]
    for stranger, line in zip(
        strangers, (b"JOIN anita wrong\n", b"HISTORY 0\n", b"x" * 600 + b"\n", b"half a line")
    ):
        stranger.greeted()
        stranger.send_bytes(line)
    taken(strangers[3])
    strangers[3].reset()
    hears(strangers[0], "PENDING", "REJECTED refused", sentence="a-wrong-password-is-rejected")
    strangers[1].fence()
    strangers[2].rest()
    ask(running, "tom")
    for order in "ban tom", "ban ben", "unban ben", "rename other", "members", "help", "dance":
        running.order(order)
    ana.fence()
    running.told_to_end, began = True, time.monotonic()
    running.order("close")
    ends(running, [ana], "closed", began)
    running.end()  # to the end of what it writes
    same([line for line in running.stdout if not PERMITTED.fullmatch(line)], [])


@check(points=1, lab=1, rules="11-20")
def check_help(server):
    """The server answers `help` by lines that begin with `# `, then `ok`."""
    *lines, ok = server().order("help")
    same(ok, "ok")
    same([line for line in lines if not line.startswith("# ")], [])


@check(points=1, lab=1, rules="3-2 11-2 11-9 11-23")
def check_orders_in_one_segment(server):
    """Orders that arrive together are done one after the other, and an order that arrives in pieces
    is one order."""
    running = server(group="one")
    running.type_bytes(b"rename two\r\nban eve\nunban eve\nban eve\nrename three\nmem")
    answered = lambda: [line for line in running.stdout[1:] if not line.startswith(("# ", "* "))]
    with contextlib.suppress(CheckFailed):
        wait_until(lambda: len(answered()) >= 5)
    same(answered(), ["ok"] * 5)
    running.type_bytes(b"bers\n")
    with contextlib.suppress(CheckFailed):
        wait_until(lambda: len(answered()) >= 7)
    same(answered(), ["ok"] * 5 + ["member eve banned", "ok"])
    order = b"unban eve\r\n"
    for place in range(1, len(order)):  # cut anywhere, also between CR and LF
        typed(running, order[:place])
        types(running, order[place:] + b"ban eve\n", "ok", "ok")


@check(points=1, lab=1, rules="8-6 11-19 11-21 11-27 12-10")
def check_delete_needs_consent(server, enter, connect):
    """`delete` asks for the group's name, and only that name confirms it. Then every client
    receives BYE deleted, and the next start begins a new group."""
    running = server(*OPEN, group="os lab")
    ana = enter(running, "ana")
    for consent in (
        "yes",
        "",
        "OS LAB",
        "os lab ",
        " os lab",
        "os  lab",
        "os la",
        "close",
        "delete",
        "x" * 600,
        b"\xff",
        b"os lab\0",
        b"os lab\0\r",
    ):
        same(running.order("delete"), ["type the group's name to delete it"])
        answer = running.order(consent)
        running.told_to_end = answer == [
            "ok"
        ]  # if it deleted the group, the answer is the failure, not that the server ended
        same(answer, ["error: not deleted"])
    same(running.order("rename os lab 2"), ["ok"])
    types(
        running,
        b"delete\nos lab\nban nobody\n",
        "type the group's name to delete it",
        "error",
        "ok",
    )  # no longer its name; and an order again
    same(
        normalized(answers(ana, "SAY still here"))[-3:],
        ["GROUP n TIME os lab 2", "BANNED n TIME nobody", "MSG n TIME ana still here"],
    )
    began = time.monotonic()
    running.told_to_end = True
    running.type_bytes(b"delete\r\nos lab 2\r\nclose\n")
    ends(running, [ana], "deleted", began)
    try:
        running.restart(group="another")
    except NotStarted as problem:
        problem.sentence = "no-start-after-delete"
        raise
    same(connect(running, "ben").greeted(), "another")
    same(running.order("members"), ["ok"])


@check(points=1, lab=1, rules="8-5 11-18 12-10")
def check_close(server, ask, accepted, connect):
    """`close` ends the server: members, clients that ask to join and strangers receive BYE closed,
    and the server exits with status 0."""
    running = server()
    ana, eve, stranger = accepted(running, "ana"), ask(running, "eve"), connect(running, "stranger")
    stranger.greeted()
    ana.fence()
    running.told_to_end, began = True, time.monotonic()
    same(running.order("close"), ["ok"])
    ends(running, [ana, eve, stranger], "closed", began)


@check(points=1, lab=1, rules="11-2 11-22 11-29")
def check_the_end_of_input_is_no_order(server, enter, connect, tmp_path):
    """When standard input ends, the server continues to serve. An unfinished last line is not an
    order, and does not confirm one."""
    for number, typed in enumerate((b"members\nban ana", b"delete\nos lab", b"delete\n")):
        running = server(*OPEN, group="os lab", directory=tmp_path / f"group-{number}")
        ana = enter(running, "ana")
        running.type_bytes(typed)
        running.process.stdin.close()
        question = (
            ["type the group's name to delete it"]
            if typed.startswith(b"delete")
            else ["member ana here", "ok"]
        )
        answered = lambda: [line for line in running.stdout[1:] if not UNASKED.match(line)]
        with contextlib.suppress(CheckFailed):
            wait_until(lambda: len(answered()) >= len(question))
        same(normalized(answers(ana, "SAY still here")), ["MSG n TIME ana still here"])
        same(answered()[: len(question)], question)
    running.restart(group="another")
    same(connect(running, "ben").greeted(), "os lab")


@check(points=2, lab=1, rules="11-1 11-30")
def check_at_a_terminal(terminal, connect):
    """At a terminal, the owner sees the same lines as at a pipe: requests to join and answers,
    without a prompt and without an echo."""
    console = terminal()
    eve = connect(console, "eve")
    eve.greeted()
    eve.send("JOIN eve secret-of-eve")
    [asks] = console.sees(r"eve asks to join from (\S+)")
    console.types("members", "dance", "accept eve")
    (
        console.sees("member eve asks from .*"),
        console.sees("ok"),
        console.sees("error: .*"),
        console.sees("ok"),
    )
    eve.welcomed()
    console.types("unban nobody")
    console.sees("error: .*")  # and so all that came before it is read
    host, port, *_ = console.address
    same(
        [
            "error: why" if line.startswith("error: ") else line
            for line in console.lines
            if not line.startswith(("* ", "# ", "<"))
        ],
        [
            f"listening on {host}:{port}",
            asks[0],
            f"member eve asks from {asks[1]}",
            "ok",
            "error: why",
            "ok",
            "error: why",
        ],
    )


@check(points=1, lab=2, rules="11-29")
def check_ctrl_d_is_no_order(terminal, enter):
    """Ctrl-D ends the owner's input at a terminal, and is not an order: the server continues to
    serve, and uses no CPU while idle."""
    console = terminal(*OPEN)
    console.types("members")
    console.sees("ok")
    console.presses("d")
    ana = enter(console, "ana")
    same(normalized(answers(ana, "SAY still here")), ["MSG n TIME ana still here"])
    rests(console)
    enter(console, "ben").fence()
