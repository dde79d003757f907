"""Membership: a name and a password make a member; a client that is no member receives nothing and
does nothing.
"""

import contextlib
import re
import time

import psutil
from conftest import OPEN

from harness.checks.lines import answers, each_refused, hears, hears_the_end, refused
from harness.driving import deadlines, processes
from harness.driving.client import Silence, taken
from harness.driving.deadlines import wait_until
from harness.driving.history import normalized, seqs
from harness.driving.messages import few, msg
from harness.driving.record import CheckFailed, same
from harness.driving.server import ANSWERED
from harness.verdicts.plugin import Inconclusive, NotRun, check

REJECT_AFTER = 1  # seconds after its JOIN, before which no REJECTED comes


def rejected(client, password, why, sentence=None):
    """Reads the answer to a JOIN that must be rejected. Raises CheckFailed."""
    try:
        hears(client, "PENDING", "REJECTED refused", sentence=sentence)
    except CheckFailed as problem:
        problem.expected = msg(
            "PENDING, then REJECTED refused for {who}: {why}; the password was {password!r}",
            who=client.who,
            why=why,
            password=password,
        )
        raise


def send_join(connect, running, who, name, password):
    """Returns a client that has sent a JOIN and has read no answer yet."""
    client = connect(running, who)
    client.greeted()
    client.send(f"JOIN {name} {password}")
    return client


@check(points=3, lab=1, rules="5-1 6-2 6-3 6-14 9.2-4 9.5-1 9.5-13 12-6")
def check_a_new_member_comes_in(server, connect, rng):
    """Under --admit all a client with a new name joins: it receives PENDING, WELCOME with the
    number of the newest event, then its own IN."""
    running = server(*OPEN)
    for number, name in enumerate((f"ana{rng.randrange(1000)}", f"b.{rng.randrange(1000)}_x-")):
        client = connect(running, name)
        client.greeted()
        client.send(f"JOIN {name} secret {rng.randrange(10**6)}")
        hears(client, "PENDING", f"WELCOME {1 + number} {name}", f"IN n TIME {name}")
        same(client.fence(), [])


@check(points=2, lab=1, rules="6-4 9.5-11 9.5-18 10-13")
def check_a_wrong_password_is_rejected(server, connect, enter, rng):
    """A wrong password is rejected, not sooner than a second after its JOIN, and does not affect
    the member who is here."""
    running = server(*OPEN)
    password = f"secret{rng.randrange(10**6)}"
    ana = enter(running, "ana", password)
    began = time.monotonic()
    eve = send_join(connect, running, "eve", "ana", "guess")
    rejected(eve, "guess", msg("it is not ana's"))
    if (after := time.monotonic() - began) < 0.9 * REJECT_AFTER:
        raise CheckFailed(
            msg(
                "REJECTED no sooner than {reject_after} s after its JOIN", reject_after=REJECT_AFTER
            ),
            msg("it came after {after:.2f} s", after=after),
            "rejected-too-soon",
        )
    eve.send(f"JOIN ana {password}")
    eve.welcomed()
    hears_the_end(ana, "BYE replaced")


@check(points=1, lab=1, rules="4-6 8-8 9.5-10 9.5-11 9.5-12 9.5-19 10-10")
def check_three_rejections(server, connect, accepted, ask, pace):
    """The third REJECTED of a connection, for any reasons, is followed by BYE refused. Two are not,
    and neither are three of two connections."""
    running = server()
    ana = accepted(running, "ana")
    same(running.order("ban banned"), ["ok"])
    mal = ask(running, "mal")
    same(running.order("reject mal"), ["ok"])
    hears(mal, "REJECTED refused")
    third = [*["PENDING", "REJECTED refused"] * 2, "BYE refused"]  # mal has been rejected once
    at_once = pace.join < 0.5  # else they would wait too long for each other's checks

    def guess(client, *tries):
        client.greeted()
        client.send(*(f"JOIN {one}" for one in tries))
        return client

    guess(mal, "Banned guess", "ana guess", "ana secret-of-ana")
    if not at_once:
        hears_the_end(mal, *third)
    eve = guess(connect(running, "eve"), *["ana guess"] * 4)
    if not at_once:
        hears_the_end(eve, *third[:2], *third)
    cat = guess(connect(running, "cat"), "ana guess", "banned guess", "ana secret-of-ana")
    if at_once:
        hears_the_end(mal, *third), hears_the_end(eve, *third[:2], *third)
    hears(cat, *third[:4])
    cat.welcomed()
    hears_the_end(ana, "IN n TIME ana", "BANNED n TIME banned", "BYE replaced")


@check(points=3, lab=1, rules="3-9 5-1 7-14 9.5-11")
def check_near_misses_of_a_password(server, connect, enter, rng):
    """Only the exact password is right: not a prefix, not a longer one, not another case, not an
    added space."""
    running = server(*OPEN)
    right = f"Secret {rng.randrange(10**6)}x"
    long = "".join(
        rng.choices("abcdefgh", k=127)
    )  # some hash functions look at the first 72 bytes only
    enter(running, "ana", right), enter(running, "ben", long + "1")
    tries = [
        ("ana", near)
        for near in (
            right[:-1],
            right[0],
            right + "x",
            right.lower(),
            right + " ",
            " " + right,
            right.replace(" ", "  "),
        )
    ]
    tries.append(("ben", long + "2"))
    eves = [(send_join(connect, running, "eve", name, near), name, near) for name, near in tries]
    for eve, name, near in eves:
        rejected(
            eve,
            near,
            msg(
                "the password of {name} is {password!r}",
                name=name,
                password=right if name == "ana" else long + "1",
            ),
            "only-the-beginning-is-compared" if name == "ben" else None,
        )
    late = connect(running, "late")  # the others may have been strangers for too long
    late.greeted()
    refused(late, "JOIN ana ", "bad-arguments")
    refused(late, "JOIN ana", "bad-arguments")


@check(points=1, lab=1, rules="3-11 7-14 10-1 10-6")
def check_passwords_are_text(server, connect, enter):
    """A password is 1 to 128 bytes of any text, with spaces at either end too. A password of 129
    bytes is refused with ERR bad-arguments."""
    running = server(*OPEN)
    longest = f"  \xa0\u2028\u2065\u206a\ue000\ufffd\U0010fffd{'ñ' * 52} "
    for name, password in ("ana", " "), ("ben", longest):
        enter(running, name, password)
        connect(running, "again").join(name, password)
    eve = connect(running, "eve")
    eve.greeted()
    long = "p" * 129, "ñ" * 64 + "p", " " * 129, "p" * 400
    lines = *(f"JOIN eve {password}" for password in long), f"JOIN ana {long[0]}"
    each_refused(eve, *((line, "bad-arguments") for line in lines))


@check(points=3, lab=1, rules="4-1 4-2 4-7 7-8 9.1-7")
def check_nothing_before_welcome(server, connect, enter, rng):
    """Before WELCOME a client receives nothing about the group and can do nothing in it, not even
    right after a rejected JOIN."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    eve, mal = connect(running, "eve"), send_join(connect, running, "mal", "ana", "guess")
    mal.send("SAY ghost", "WHO")
    for line in ("SAY ghost", "NAME ghost", "WHO", "HISTORY 0", "LEAVE"):
        refused(eve, line, "not-joined")
    same(normalized(answers(ana, f"SAY private {rng.random()}"))[1:], [], "heard-of-a-stranger")
    same(eve.fence(), [], "stranger-hears")
    rejected(mal, "guess", msg("it is not ana's"), "a-wrong-password-is-rejected")
    same(normalized(mal.fence()), ["ERR not-joined"] * 2)
    same(normalized(ana.fence()), [], "heard-of-a-stranger")


@check(points=2, lab=1, rules="7-3 7-4 7-5 7-14 7-19")
def check_the_first_error_that_applies(server, connect, ask, accepted):
    """If a line has several errors, the answer is the first error in the order of section 7, for
    every kind of client."""
    running = server()
    ana, asking = accepted(running, "ana"), ask(running, "asking")
    eve, mal = connect(running, "eve"), connect(running, "mal")
    ana.fence(), eve.greeted(), mal.greeted()
    anyone = [
        (b"say \xff\t", "bad-utf8"),
        (b"say \t\xff", "bad-utf8"),
        ("say \t", "bad-text"),
        (" SAY", "unknown"),
        ("PING \t x", "bad-text"),
    ]
    each_refused(
        eve,
        *anyone,
        (b"SAY \xff", "bad-utf8"),
        ("SAY", "not-joined"),
        ("NAME ? ?", "not-joined"),
        ("HISTORY x", "not-joined"),
    )
    each_refused(
        mal,
        ("NAME a\tb", "bad-text"),
        ("LEAVE now", "not-joined"),
        ("SAY " + "a" * 401, "not-joined"),
        ("JOIN ?", "bad-arguments"),
        ("JOIN ? ", "bad-arguments"),
        ("JOIN ? " + "p" * 129, "bad-arguments"),
        ("JOIN  x", "bad-arguments"),
        ("QUIT now", "bad-arguments"),
        ("JOIN ? p", "bad-name"),
    )
    each_refused(
        asking,
        ("JOIN", "already-joined"),
        ("JOIN ? p", "already-joined"),
        ("JOIN x \t", "bad-text"),
        ("WHO is there", "not-joined"),
    )
    each_refused(
        ana,
        *anyone,
        (b"JOIN ana \xff", "bad-utf8"),
        ("JOIN a \t", "bad-text"),
        ("JOIN", "already-joined"),
        ("JOIN ? ?", "already-joined"),
        ("JOIN x " + "p" * 129, "already-joined"),
        ("NAME asking ", "bad-arguments"),
        ("NAME ? ?", "bad-arguments"),
        ("NAME ?", "bad-name"),
        ("NAME asking", "name-taken"),
    )
    eve = connect(running, "eve")
    for client in (eve, asking):
        client.greeted()
        client.send_bytes(b"say \xff\t" + b"x" * 600 + b"\n")
        hears_the_end(client, "ERR too-long", "BYE protocol")


@check(points=1, lab=1, rules="4-3 5-8 7-9 7-20 7-21 10-11")
def check_errors_are_counted_until_welcome(server, connect, ask):
    """Ten errors before WELCOME end a connection, whatever their codes, also while the owner
    considers the request. After WELCOME errors are not counted."""
    running = server()
    seven = [
        (b"\xff", "bad-utf8"),
        ("\t", "bad-text"),
        ("HOLA", "unknown"),
        ("WHO", "not-joined"),
        ("SAY", "not-joined"),
        ("PING", "bad-arguments"),
        ("JOIN x", "bad-arguments"),
    ]
    ana, eve, mal = (connect(running, name) for name in ("ana", "eve", "mal"))
    for client in (ana, eve, mal):
        client.greeted()
        each_refused(client, *seven)
        client.send("JOIN ? x" if client is mal else f"JOIN {client.name} secret", "PING on")
    hears(mal, "ERR bad-name", "PONG on")
    mal.send("HOLA", "SAY hi", "PING after")
    hears_the_end(mal, "ERR unknown", "ERR not-joined", "BYE protocol")
    for _ in (ana, eve):
        running.expect(r"(ana|eve) asks to join from \S+:\d+")
    for client in (ana, eve):
        hears(client, "PENDING", "PONG on")
        each_refused(client, ("JOIN x y", "already-joined"), ("SAY hi", "not-joined"))
    eve.send("JOIN eve secret", "PING after")
    hears_the_end(eve, "ERR already-joined", "BYE protocol")
    waits_no_more(running, "eve")
    same(running.order("accept ana"), ["ok"])
    ana.welcomed()
    ana.fence()
    three = ("HOLA", "unknown"), ("SAY", "bad-arguments"), ("JOIN a b", "already-joined")
    each_refused(ana, *three * 5)
    same(normalized(answers(ana, "SAY still here")), ["MSG n TIME ana still here"])


@check(points=1, lab=1, rules="7-11 9.5-1 9.5-5 10-1 10-3")
def check_bad_names(server, connect, rng):
    """A name begins with a letter or digit and has at most 32 characters. Of ASCII it may contain
    only letters, digits, dot, _ and -."""
    running = server(*OPEN)
    bad = [
        "-ana",
        ".ana",
        "_ana",
        "ana/b",
        "ana:b",
        "ana,b",
        "<ana>",
        "*",
        "../ana",
        "ana@b",
        "$ana",
        "a\\b",
        "😀",
        "a" * 33,
        "a" * 65,
        "a" * 400,
    ]
    for half in bad[:8], bad[8:]:  # the tenth error would end the connection
        eve = connect(running, "eve")
        eve.greeted()
        for name in half:
            refused(eve, f"JOIN {name} secret", "bad-name")
    good = [rng.choice("AZaz09") + "".join(rng.choices("azAZ09._-", k=5)), "7", "Z" * 32]
    eve.join("x", "secret")
    eve.fence()
    same(
        normalized(answers(eve, *(f"NAME {name}" for name in good))),
        [f"RENAMED n TIME {old} {new}" for old, new in zip(["x", *good], good)],
        "good-names",
    )


@check(points=1, lab=1, rules="3-11 7-11 9.5-4 9.5-5 10-3")
def check_names_beyond_ascii(server, connect, enter):
    """A name beyond ASCII is refused with ERR bad-name, or it is accepted, and then it is compared
    without case like any other."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    no_names = "ñ" * 33, "文" * 22, "a\xa0b", "a\u200bb", "a\u2028b", "\ue000", "½", "a×b", "😀"
    lines = [f"NAME {name}" for name in no_names]
    each_refused(ana, *((line, "bad-name") for line in lines), sentence="no-such-names")
    now = "ana"
    for name, others in (
        ("João", ["joão", "JOÃO"]),
        ("Жук", ["жук", "ЖУК"]),
        ("ñ" * 32, ["Ñ" * 32]),
        ("文" * 21, []),
    ):
        came = normalized(answers(ana, f"NAME {name}"))
        if came == ["ERR bad-name"]:
            for other in others:
                refused(ana, f"NAME {other}", "bad-name")
            continue
        same(came, [f"RENAMED n TIME {now} {name}"])
        now = name
        ben.fence()
        for other in others:
            refused(ben, f"NAME {other}", "name-taken", sentence="names-beyond-ascii")
    if now != "ana":
        same(normalized(answers(ana, "NAME João")), [f"RENAMED n TIME {now} João"])
        again = connect(running, "again")
        again.greeted()
        again.send("JOIN JOÃO secret-of-ana")
        hears(again, "PENDING")
        same(re.sub(r"\d+", "n", again.line()), "WELCOME n João", "names-beyond-ascii")
        hears_the_end(ana, "BYE replaced")


@check(points=2, lab=1, rules="6-3 9.5-2 9.5-3 9.6-4")
def check_names_without_case(server, connect, enter):
    """Names are compared without case, and shown as they were first written."""
    running = server(*OPEN)
    ana = enter(running, "Ana")
    again = connect(running, "again")
    again.greeted()
    again.send("JOIN aNA secret-of-Ana")
    hears(again, "PENDING", "WELCOME 2 Ana")
    hears_the_end(ana, "BYE replaced")
    same(sorted(answers(again, "WHO")), ["END WHO", "MEMBER Ana here"])


@check(points=2, lab=1, rules="6-24 8-7 9.2-4 9.6-1 9.6-2 9.6-3 9.6-4")
def check_takeover(server, connect, enter, rng):
    """A member that joins again takes over: the old connection receives BYE replaced and can do
    nothing more, and the others receive no event."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    again = connect(running, "again")
    same(f"WELCOME {again.join('ana', 'secret-of-ana')}", "WELCOME 3")
    hears_the_end(ana, "BYE replaced")
    try:
        ana.send("SAY ghost")
    except ConnectionError:
        pass
    text = f"from here {rng.random()}"
    same(
        normalized(answers(again, f"SAY {text}")),
        [f"MSG n TIME ana {text}"],
        "takeover-is-no-event",
    )
    same(normalized(ben.fence()), [f"MSG n TIME ana {text}"], "takeover-is-no-event")
    same(sorted(answers(ben, "WHO")), ["END WHO", "MEMBER ana here", "MEMBER ben here"])


@check(points=1, lab=2, rules="8-4 9.6-3")
def check_an_ended_connection_does_nothing(server, connect, enter, rng):
    """After a takeover, a ban or a LEAVE, the old connection changes nothing: not by its half line,
    not by what it sends afterwards, not by its end, even if the name is in use again."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    for name in ("taken", "banned", "left"):
        old = enter(running, name)
        ana.fence()
        if name != "left":
            old.send_bytes(b"SAY gho")
            taken(old)
        if name == "taken":
            new, bye, event, comes = connect(running, "new"), "replaced", [], []
            new.join(name, f"secret-of-{name}")
        elif name == "banned":
            same(running.order(f"ban {name}"), ["ok"])
            same(running.order(f"unban {name}"), ["ok"])
            bye, event, comes = "banned", [f"BANNED n TIME {name}"], [f"IN n TIME {name}"]
        else:
            old.send_bytes(b"LEAVE\nSAY gho")
            bye, event, comes = "left", [f"LEFT n TIME {name}"], [f"IN n TIME {name}"]
        old.expect(f"BYE {bye}")
        if name != "taken":  # the name is free, and somebody else takes it
            new = enter(running, name, "another secret")
        with contextlib.suppress(OSError):  # the server may have closed meanwhile
            ghosts = "SAY ghost", "NAME ghost", "LEAVE", f"JOIN {name} secret-of-{name}", "QUIT"
            old.send_bytes("\n".join(["st", *ghosts, ""]).encode())
        same(normalized(old.rest()), [], "an-ended-connection-hears-nothing")
        port = port_of(old)
        old.close()
        gone(running, port)
        text = f"it is me {rng.random()}"
        new.send(f"SAY {text}")
        new.expect(rf"MSG \d+ \S+ {name} {re.escape(text)}")
        same(normalized(ana.fence()), [*event, *comes, f"MSG n TIME {name} {text}"])
    here = ["ana", "banned", "left", "taken"]
    same(sorted(answers(ana, "WHO")), ["END WHO", *(f"MEMBER {name} here" for name in here)])
    same(sorted(running.order("members")), [*(f"member {name} here" for name in here), "ok"])


# What undoes a JOIN while its password is being checked, and the event that shows it. Each happens
# twice:
# while the password of that JOIN alone is being checked, and while that JOIN may have to wait.
UNDONE = {
    "ban": r"BANNED (\d+) \S+ {}",
    "NAME": r"RENAMED (\d+) \S+ {} .+",
    "LEAVE": r"LEFT (\d+) \S+ {}",
    "ban of a new name": r"BANNED (\d+) \S+ {}",
}
ALONE, AMONG_MANY = ("ben", "cat", "dan", "fay"), ("bob", "carl", "dora", "fred")


@check(points=1, lab=1, rules="6-6 9.2-3 9.5-16")
def check_changes_while_a_password_is_checked(server, connect, accepted, pace, rng):
    """A JOIN is rejected if its member is banned, changes the name or leaves while the password is
    being checked. Another JOIN succeeds, and receives no event from before its WELCOME."""
    running = server()
    ana, eva = accepted(running, "ana"), accepted(running, "eva")
    members, clients = {name: accepted(running, name) for name in AMONG_MANY[:3]}, []
    for one in (eva, members["bob"]):
        one.send("QUIT")
        one.rest()
    for way, name in zip(UNDONE, ALONE):
        other = name if way != "ban of a new name" else "other"
        members[other] = accepted(running, other)  # so the JOIN before this one has been checked
        clients += joins(connect, running, [name])
        ana.fence()  # by then a server that is idle has begun to check it
        undo(way, running, name, members)
    busy = ["ana"] * (8 if pace.join < 0.2 else 1)
    clients += joins(connect, running, [*AMONG_MANY, "eva"], busy)
    for way, name in zip(UNDONE, AMONG_MANY):
        undo(way, running, name, members)
    finish(clients, ana, rng, pace)
    *undone, eva = clients
    for way, client in zip([*UNDONE] * 2, undone):
        came_in_too_late(way, client, ana)
    welcome = [*eva.lines, "nothing"][2]
    same(welcome.split(" ")[::2], ["WELCOME", "eva"])
    ana.send("SAY at last")
    ana.fence(), eva.fence()
    since, numbers = int(welcome.split(" ")[1]), seqs(eva.lines)
    same(
        [f"event {number}" for number in numbers],
        [f"event {since + place}" for place in range(1, 1 + len(numbers))],
        "before-welcome",
    )
    who, listed = answers(ana, "WHO"), running.order("members")
    same(
        sorted(line for line in listed if line.endswith((" here", " away"))),
        sorted(line.lower() for line in who if line.startswith("MEMBER ")),
        "who-and-members-differ",
    )
    banned = [f"member {name} banned" for name in ("ben", "bob", "fay", "fred")]
    barred = "member ben ", "member bob ", "member fay ", "member fred "
    same(sorted(line for line in listed if line.startswith(barred)), banned)


def joins(connect, running, names, busy=()):
    """Clients that have all sent their JOIN, and have heard PENDING. Before theirs come JOINs with
    a wrong password, with the names `busy`.
    """
    clients = [connect(running, name) for name in (*busy, *names)]
    for client in clients:
        client.greeted()
    for number, client in enumerate(clients):
        password = "guess" if number < len(busy) else f"secret-of-{client.name}"
        client.send(f"JOIN {client.name} {password}", "PING checked")
    for client in clients:
        hears(client, "PENDING")
    return clients[len(busy) :]


def undo(way, running, name, members):
    """What makes a JOIN with this name fail if it happens before the end of the check."""
    if way.startswith("ban"):
        same(running.order(f"ban {name}"), ["ok"])
    else:
        with contextlib.suppress(ConnectionError):  # it was taken over already
            members[name].send("LEAVE" if way == "LEAVE" else f"NAME {name}-2", "PING undone")
            wait_until(lambda: has_heard(members[name], "PONG undone"))


def has_heard(client, line):
    """Whether this line has come, or the end of the connection; looks for a moment only."""
    with contextlib.suppress(Silence):
        while not client.ended and line not in client.lines:
            client.line(0.005)
    return client.ended or line in client.lines


def finish(clients, talker, rng, pace):
    """One talks until the JOINs of all these are finished."""
    end = time.monotonic() + deadlines.DEADLINE + 2 * len(clients) * pace.join
    while waiting := [client for client in clients if not has_heard(client, "PONG checked")]:
        talker.send(f"SAY meanwhile {rng.randrange(10**6)}")
        talker.fence()
        if time.monotonic() > end:
            late, skip = waiting[0], f" {talker.name} meanwhile "
            heard = [line for line in late.lines if skip not in line]
            raise CheckFailed(
                msg("an answer to the JOIN of {who}", who=late.who),
                msg("{who} received only\n{lines}", who=late.who, lines=few(heard)),
            )


def came_in_too_late(way, client, witness):
    """Raises CheckFailed if this client was welcomed after an event that undoes its JOIN, as the
    witness heard it.
    """
    for welcome in [line for line in client.lines if line.startswith("WELCOME ")]:
        for line in witness.lines:
            match = re.fullmatch(UNDONE[way].format(client.name), line)
            if match and int(match[1]) <= int(welcome.split(" ")[1]):
                shown = (witness.who, line), (client.who, welcome)
                raise CheckFailed(
                    msg(
                        "no WELCOME for {who}, because this event came before it\n{line}",
                        who=client.who,
                        line=line,
                    ),
                    msg("{who} received\n{welcome}", who=client.who, welcome=welcome),
                    evidence=[
                        entry
                        for entry in witness.record.entries
                        if entry.what == "hears" and (entry.who, entry.text) in shown
                    ],
                )


TRIES = 5  # at most: a server may begin to check a password a moment after PENDING


@check(points=1, lab=1, rules="7-12 9.5-7")
def check_a_join_holds_its_name(server, connect, enter):
    """While the password of a JOIN with a new name is being checked, NAME cannot take that name,
    and the JOIN gets it."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    name, refusals, losses = "ana", 0, 0
    while refusals < 2:
        new = f"eve{refusals + losses}"
        eve = connect(running, new)
        eve.greeted()
        eve.send(f"JOIN {new} secret")
        hears(eve, "PENDING")
        ana.fence()  # by then a server that is idle has begun to check it
        heard = normalized(answers(ana, f"NAME {new}"))
        came = "\n".join(line for line in heard if not line.startswith("IN "))
        if came == "ERR name-taken":
            eve.welcomed()
            refusals += 1
            continue
        same(came, f"RENAMED n TIME {name} {new}")
        name, losses = new, losses + 1
        hears(eve, "REJECTED refused", sentence="a-new-name-at-once")
        if losses > TRIES // 2:
            raise CheckFailed(
                msg(
                    "`ERR name-taken ...` as the answer to NAME, while a JOIN with the "
                    "same name is being checked"
                ),
                msg(
                    "ana got the name {losses} times of {losses2}, right after PENDING "
                    "had answered the JOIN; the JOIN was then REJECTED",
                    losses=losses,
                    losses2=losses + refusals,
                ),
            )


@check(points=2, lab=1, rules="5-7 6-23 9.5-10")
def check_a_name_is_free_again(server, connect, enter):
    """A member that disconnected, in whatever way, can join again at once."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    for go in (lambda: ana.close(), lambda: ana.reset(), lambda: ana.send("QUIT")):
        go()
        ana = connect(running, "ana")
        ana.join("ana", "secret-of-ana")
    ana.fence()
    same(normalized(answers(ana, "SAY back")), ["MSG n TIME ana back"])
    ana.fence()


@check(points=2, lab=1, rules="3-7 4-7")
def check_a_newcomer_hears_nothing_of_the_old(server, connect, enter, rng):
    """A client that connects right after another one disconnected is a stranger, even if the server
    gives it the same descriptor."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    for go in ("reset", "close", "reset"):
        ben = enter(running, "ben")
        getattr(ben, go)()
        ana.expect(r"OUT .*")
        cat = connect(running, "cat")
        cat.greeted()
        ana.send(f"SAY {rng.random()}")
        ana.fence()
        same(cat.fence(), [])
        refused(cat, "SAY as whom?", "not-joined")
        same(normalized(ana.fence()), [])
    for go in ("reset", "close"):  # a stranger's errors and half a line end with its connection
        old = connect(running, "old")
        old.greeted()
        same(normalized(answers(old, *["NO-VERB"] * 9)), ["ERR unknown"] * 9)
        old.send_bytes(b"PING of-the-")
        taken(old)
        port = port_of(old)
        getattr(old, go)()
        gone(running, port)
        cat = connect(running, "cat")
        cat.greeted()
        same(
            normalized(answers(cat, "NO-VERB", "PING one")),
            ["ERR unknown", "PONG one"],
            "left-behind",
        )


def port_of(client):
    return client.socket.getsockname()[1]


def gone(running, port):
    """Waits until the server has closed its side of a connection that the client at this port has
    closed. Never fails."""

    def held():
        family = running.family()
        states = psutil.CONN_ESTABLISHED, psutil.CONN_CLOSE_WAIT, psutil.CONN_FIN_WAIT2
        return any(
            other.port == port for state in states for _, other in processes.sockets(family, state)
        )

    with contextlib.suppress(CheckFailed):
        wait_until(lambda: not held(), 3)


@check(points=2, lab=1, rules="4-3 4-7 6-2 7-8 7-9 9.1-9 11-8 11-12 12-6")
def check_the_owner_accepts(server, ask, connect, rng):
    """Under --admit ask the server asks the owner. Until the owner accepts, the client receives
    nothing and can do nothing; then it receives WELCOME."""
    running = server()
    name = f"ana{rng.randrange(1000)}"
    ana, ben = ask(running, name), ask(running, "ben")
    same(
        normalized(answers(ben, "SAY may I?", "WHO", "JOIN ben secret-of-ben")),
        ["ERR not-joined", "ERR not-joined", "ERR already-joined"],
        "while-the-owner-considers",
    )
    same(running.order(f"accept {name.upper()}"), ["ok"])
    ana.welcomed()
    same(normalized(ana.fence()), [f"IN n TIME {name}"])
    same(normalized(answers(ana, "SAY private")), [f"MSG n TIME {name} private"])
    same(ben.fence(), [], "while-the-owner-considers")
    cat = connect(running, "cat")
    cat.greeted()
    cat.send("JOIN cat secret-of-cat", "SAY at once")
    hears(cat, "PENDING", "ERR not-joined", sentence="while-the-owner-considers")
    same(running.order("accept ben"), ["ok"])
    ben.welcomed()
    same(normalized(ben.fence()), ["IN n TIME ben"])


@check(points=1, lab=1, rules="6-4 11-13")
def check_the_owner_rejects(server, ask):
    """A client that the owner rejects receives REJECTED, is not a member, and may ask again."""
    running = server()
    eve = ask(running, "eve")
    same(running.order("reject eve"), ["ok"])
    hears(eve, "REJECTED refused")
    same(running.order("members"), ["ok"])
    eve.send("JOIN eve another")
    hears(eve, "PENDING")
    running.expect(r"eve asks to join from \S+")
    same(running.order("accept eve"), ["ok"])
    eve.welcomed()


@check(points=1, lab=1, rules="6-4 9.5-2 9.5-14 9.5-22")
def check_one_request_per_name(server, ask, connect):
    """While the owner considers a name, the next client that asks for it, in upper or lower case,
    is rejected. The first request remains."""
    running = server()
    ana = ask(running, "ana")
    rejected(
        send_join(connect, running, "eve", "ANA", "another"),
        "another",
        msg("the owner is considering ana"),
    )
    same(running.order("accept ana"), ["ok"])
    ana.welcomed()
    connect(running, "again").join("ana", "secret-of-ana")
    same(ana.rest()[-1:], ["BYE replaced"])


@check(points=1, lab=1, rules="9.5-23")
def check_a_request_ends_with_its_connection(server, ask):
    """A request ends when its client disconnects before the owner decides, and another client may
    ask for the name."""
    running = server()
    for go in ("close", "reset"):
        eve = ask(running, "eve")
        getattr(eve, go)()
        waits_no_more(running, "eve")
    same([line.partition(":")[0] for line in running.order("accept eve")], ["error"])
    for number in range(6):
        accepted_as_it_goes(running, ask(running, f"bea-{number}"), number)
    eve = ask(running, "eve")
    same(running.order("accept eve"), ["ok"])
    eve.welcomed()


def accepted_as_it_goes(running, client, number):
    """The server finds the order `accept` and the end of the client's connection at once: it saves
    a new member that has gone, or the order comes too late.
    """
    answered = lambda: sum(bool(ANSWERED.fullmatch(line)) for line in running.stdout)
    before, family = answered(), running.family()
    for process in family:
        process.suspend()
    go = (client.reset, client.close, client.half_close)[number % 3]
    deeds = [go, lambda: running.type(f"accept {client.name}")]
    for deed in deeds if number < 3 else reversed(deeds):
        deed()
    for process in family:
        process.resume()
    wait_until(lambda: answered() > before, what=msg("an answer to `accept`"))
    shown = re.compile(rf"member {client.name} (asks|here)\b.*")
    try:
        wait_until(
            lambda: not any(shown.fullmatch(line) for line in running.order("members")),
            what=msg("the end of {name}, which has disconnected", name=client.name),
        )
    except CheckFailed as problem:
        problem.sentence = "accepted-as-it-goes"
        raise


@check(points=1, lab=1, rules="6-4 9.5-15 9.5-24 10-9")
def check_most_requests(server, connect, ask, accepted, pace):
    """32 names can wait for the owner. One more is rejected, and there is room again when one of
    the 32 no longer waits."""
    if 40 * pace.join > 60:  # a client that is silent for so long is sent PING, or disconnected
        raise Inconclusive(
            msg("each JOIN takes {join:.1f} s here, and this check makes 40", join=pace.join)
        )
    running = server()
    ana = accepted(running, "ana")
    asking = [connect(running, f"a{number}") for number in range(1, 33)]
    for client in asking:
        client.greeted()
        client.send(f"JOIN {client.name} secret")
    for _ in asking:
        running.expect(r"\S+ asks to join from \S+:\d+")
    eve = send_join(connect, running, "eve", "eve", "secret")
    hears(eve, "PENDING")
    asked = lambda: any(line.startswith("eve asks ") for line in running.stdout)

    def decided():
        with contextlib.suppress(Silence):
            eve.line(0.01)
        return asked() or len(eve.lines) > 2 or eve.ended

    wait_until(decided, what=msg("REJECTED for eve, because 32 names already wait for the owner"))
    if asked():
        raise CheckFailed(
            msg("REJECTED for eve, because 32 names already wait for the owner"),
            msg("the server also asked the owner about eve"),
            proven=True,
        )
    same(eve.lines[2:], ["REJECTED refused"])
    shown = sum(" asks from " in line for line in running.order("members"))
    same(f"member NAME asks from ADDRESS: {shown} lines", "member NAME asks from ADDRESS: 32 lines")
    connect(running, "again").join("ana", "secret-of-ana")
    hears_the_end(ana, "IN n TIME ana", "BYE replaced")
    same(running.order("accept a7"), ["ok"])
    asking[6].welcomed()
    asking[31].send("QUIT")
    hears_the_end(asking[31], "PENDING", "BYE quit")
    waits_no_more(running, "a32")
    eve.send("JOIN eve secret")
    hears(eve, "PENDING")
    running.expect(r"eve asks to join from \S+:\d+")
    ask(running, "mal")


def waits_no_more(running, name):
    """Orders `members` until this name asks no more; the server notices an end in its own time."""
    end = time.monotonic() + deadlines.DEADLINE
    while any(line.startswith(f"member {name} asks") for line in running.order("members")):
        if time.monotonic() > end:
            raise CheckFailed(
                msg("the request of {name} to end with its connection", name=name),
                msg("`members` still shows that {name} asks to join", name=name),
            )


@check(points=3, lab=1, rules="6-24 8-7 9.6-1 9.6-2 10-22")
def check_logins_at_once(server, connect, enter):
    """Many clients that join at once as the same member take over from each other: one remains, and
    the others receive BYE replaced."""
    running = server(*OPEN)
    ben, ana = enter(running, "ben"), enter(running, "ana")
    ana.send("QUIT")
    ben.expect(r"OUT .*")
    many = [connect(running, "ana") for _ in range(12)]
    for one in many:
        one.greeted()
    for one in many:
        one.send("JOIN ana secret-of-ana")
    for one in many:
        one.welcomed()
    left = [one for one in many if is_still_in(one)]
    if len(left) != 1:
        raise CheckFailed(
            msg("one of the 12 connections to remain"),
            msg(
                "{count} remain: {names}",
                count=len(left),
                names=", ".join(one.who for one in left) or msg("none"),
            ),
        )
    for one in many:
        if one not in left and not one.was_reset:
            same(one.lines[-1], "BYE replaced")
    same(normalized(ben.fence()), ["IN n TIME ana"], "takeover-is-no-event")
    same(normalized(answers(left[0], "SAY one"))[-1:], ["MSG n TIME ana one"])
    same(normalized(ben.fence()), ["MSG n TIME ana one"])


def is_still_in(client):
    """Whether a PING is answered, and not by the end."""
    try:
        client.send("PING in")
    except ConnectionError:
        pass
    while (line := client.line()) not in ("", "PONG in"):
        pass
    return bool(line)


@check(points=2, lab=1, rules="9.5-7 9.5-14")
def check_a_new_name_at_once(server, connect):
    """When many clients ask at once for the same new name, each with another password, exactly one
    gets it, and the server keeps that one's password."""
    running = server(*OPEN)
    many = [connect(running, f"eve{number}") for number in range(8)]
    for one in many:
        one.greeted()
    for number, one in enumerate(many):
        one.send(f"JOIN eve secret-{number}")
    outcomes = []
    for one in many:
        hears(one, "PENDING")
        outcomes.append(one.line().split(" ")[0])
    same(sorted(outcomes), ["REJECTED"] * 7 + ["WELCOME"])
    winner = outcomes.index("WELCOME")
    many[winner].send("QUIT")
    same(many[winner].rest()[-1:], ["BYE quit"])
    connect(running, "again").join("eve", f"secret-{winner}")


@check(points=1, lab=1, rules="9.5-16 9.5-17")
def check_renamed_meanwhile(server, connect, enter):
    """A member is renamed while its second JOIN is checked: a change of case admits it, another
    name does not."""
    running = server(*OPEN)
    enter(running, "ana")
    running.restart(args=("--admit", "none"))  # so that the old name, free again, lets nobody in
    ana = enter(running, "ana")
    for new in ("ANA", "Ana"):
        again, answer = join_and_rename(connect, running, ana, new)
        if not answer.startswith("WELCOME "):
            raise CheckFailed(
                msg(
                    "WELCOME for {who}, because NAME {new} changed only the case of the name",
                    who=again.who,
                    new=new,
                ),
                msg("{who} received {line}", who=again.who, line=answer or msg("the end")),
            )
        same(ana.rest()[-1:], ["BYE replaced"])
        ana = again
    for _ in range(5):  # the check may end before the name changes: then once more
        again, answer = join_and_rename(connect, running, ana, "eva")
        if answer == "REJECTED refused":
            ana.expect(r"RENAMED \d+ \S+ (?i:ana) eva")
            break
        if any(line.startswith("RENAMED ") for line in ana.rest()):
            raise CheckFailed(
                msg(
                    "REJECTED refused for {who}, because its JOIN said ana, and that "
                    "member is called eva now",
                    who=again.who,
                ),
                msg("{who} received {line}", who=again.who, line=answer or msg("the end")),
            )
        ana = again


def join_and_rename(connect, running, member, new):
    """(a second connection of ana, what it heard after PENDING, while the first sent NAME)"""
    again = send_join(connect, running, "again", "ana", "secret-of-ana")
    hears(again, "PENDING")
    member.send(f"NAME {new}")
    return again, again.line()


@check(points=1, lab=1, rules="6-2 6-4 9.5-10 9.5-13 12-6")
def check_only_members_under_none(server, connect, enter):
    """Under --admit none members can join, and nobody else."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    ana.close()
    running.restart(args=("--admit", "none"))
    eve = send_join(connect, running, "eve", "eve", "secret")
    enter(running, "ana")
    rejected(eve, "secret", msg("no new name is admitted"))
    same(running.order("members"), ["member ana here", "ok"])


@check(points=1, lab=1, rules="4-4 7-9")
def check_two_joins(server, enter):
    """A member cannot join again on the same connection: the answer is ERR already-joined."""
    ana = enter(server(*OPEN), "ana")
    for line in ("JOIN ana secret-of-ana", "JOIN eve secret-of-eve"):
        refused(ana, line, "already-joined")
    same(normalized(answers(ana, "SAY hi")), ["MSG n TIME ana hi"])


def turned_away(connect, running, who, why):
    """Connects one more client, which must hear BYE full in place of HELLO."""
    late = connect(running, who)
    late.rest()
    if late.lines != ["BYE full"]:
        raise CheckFailed(
            msg(
                "BYE full and the end of the connection instead of HELLO for {who}: {why}",
                who=who,
                why=why,
            ),
            msg("{who} received\n{lines}", who=who, lines=few(late.lines))
            if late.lines
            else msg("{who} received nothing", who=who),
        )


@check(points=1, lab=1, rules="8-13 9.7-1 9.7-4 10-13 10-24")
def check_room_for_strangers(server, connect, ask, enter):
    """At most --max-strangers connections can be before WELCOME. One more receives BYE full, until
    there is room again."""
    try:
        running = server("--max-strangers", "3")
    except NotRun:  # then it behaves as with the default
        return room_by_default(server, connect, enter)
    ana, ben, eve = connect(running, "ana"), connect(running, "ben"), connect(running, "eve")
    for client in (ana, ben, eve):
        client.greeted()
    turned_away(connect, running, "late", msg("there are three strangers already"))
    ana.send("QUIT")
    hears_the_end(ana, "BYE quit")
    ana = ask(running, "ana")
    turned_away(connect, running, "late", msg("one of the three strangers waits for the owner"))
    same(running.order("accept ana"), ["ok"])
    ana.welcomed()
    cat = connect(running, "cat")
    cat.greeted()
    turned_away(connect, running, "late", msg("there are three strangers, and a member"))
    eve.reset()
    wait_until(
        lambda: is_greeted(connect, running),
        what=msg("HELLO for a newcomer, because one of the three strangers has disconnected"),
    )
    ana.fence(), ben.fence(), cat.fence()


def is_greeted(connect, running):
    """Whether a newcomer hears HELLO, and not BYE full or the end."""
    newcomer = connect(running, "newcomer")
    if not newcomer.lines:
        newcomer.line()
    return newcomer.lines and newcomer.lines[0].startswith("HELLO ")


def room_by_default(server, connect, enter):
    """Without the flag there is room for 256 strangers, if the machine has it, and for no more."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    strangers = [connect(running, f"stranger-{number}") for number in range(1, 258)]
    firsts = [(stranger.lines or [stranger.line()])[0] for stranger in strangers]
    if all(first.startswith("HELLO ") for first in firsts):
        for stranger in strangers:
            try:
                stranger.fence()
            except (CheckFailed, ConnectionError):
                raise Inconclusive(
                    msg(
                        "a stranger was disconnected before the last of 257 "
                        "received HELLO: its --join-within may have passed"
                    )
                ) from None
        raise CheckFailed(
            msg("BYE full instead of HELLO for the 257th stranger"),
            msg("it received HELLO, and the 256 before it are still connected"),
            proven=True,
        )
    ana.fence()


@check(points=1, lab=1, rules="8-13 9.7-2 9.7-4 10-23")
def check_room_for_members(server, connect, enter, ask):
    """At most --max-here members can be here. One more receives BYE full instead of WELCOME. A
    takeover needs no room."""
    running = server(*OPEN, "--max-here", "2")
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    cat = send_join(connect, running, "cat", "cat", "secret-of-cat")
    hears_the_end(cat, "PENDING", "BYE full")
    same(
        sorted(answers(ana, "WHO")),
        ["END WHO", "MEMBER ana here", "MEMBER ben here", "MEMBER cat away"],
    )
    again = send_join(connect, running, "again", "ana", "secret-of-ana")
    hears(again, "PENDING", "WELCOME 3 ana", sentence="room-for-members")
    hears_the_end(ana, "BYE replaced")
    ben.send("QUIT")
    same(ben.rest()[-1:], ["BYE quit"])
    cat = enter(running, "cat")
    hears_the_end(send_join(connect, running, "ben", "ben", "secret-of-ben"), "PENDING", "BYE full")
    cat.send("LEAVE")
    hears_the_end(cat, "LEFT n TIME cat", "BYE left")
    enter(running, "ben").fence()
    running.restart(args=("--max-here", "1"))
    enter(running, "ana")
    eve = ask(running, "eve")
    same(running.order("accept eve"), ["ok"])
    hears_the_end(eve, "BYE full")
    same(
        sorted(running.order("members")),
        ["member ana here", "member ben away", "member eve away", "ok"],
    )
