"""The conversation: everyone who is here hears the same events in the same order, each once, and
can read them again.
"""

import datetime
import re

from conftest import OPEN

from harness.checks.lines import answers, hears, hears_the_end, history, refused, same_lines
from harness.driving.client import taken
from harness.driving.history import EVENT_LINE, normalized, seqs
from harness.driving.messages import msg
from harness.driving.record import CheckFailed, same
from harness.driving.record import shown as as_text
from harness.verdicts.plugin import check

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@check(points=3, lab=1, rules="3-3 5-2 6-12 6-13 9.2-1 9.2-3")
def check_everyone_hears_everything(server, enter, rng):
    """Every member receives each message, its sender too, once and in the same order."""
    running = server(*OPEN)
    everyone = [enter(running, name) for name in ("ana", "ben", "eva")]
    for one in everyone:
        one.fence()
    said = []
    for _ in range(2):
        for one in everyone:
            said.append(f"MSG n TIME {one.name} hello {rng.randrange(10**9)}")
            one.send(said[-1].replace(f"MSG n TIME {one.name}", "SAY"))
            one.fence()
    for one in everyone:
        one.fence()
        heard = [line for line in one.lines if line.startswith("MSG ")]
        same(heard, list(dict.fromkeys(heard)), "heard-twice")
        if not any(f" {one.name} " in line for line in heard):
            same(normalized(heard), said, "no-echo")
        same(normalized(heard), said)
        same(
            heard,
            [line for line in everyone[0].lines if line.startswith("MSG ")],
            "not-the-same-line",
        )


@check(points=2, lab=1, rules="3-9 3-11 3-12 5-2 6-13 10-4")
def check_text_as_it_was_said(server, enter, rng):
    """The server delivers a text exactly as it was sent: spaces, quotes, escapes and letters of any
    script stay as they are."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    texts = [
        "x",
        " ",
        "  two  spaces  ",
        "a" * 400,
        "ñ" * 200,
        "😀" * 100,
        "BYE quit",
        "END HISTORY 3",
        "%s%n %d",
        r"\n \x1b {} $HOME `id`",
        "'\"",
        "0",
        "ok",
        "\u2028",
        "e\u0301",
        "\ue000\ufffd\U0010fffd",
        "ana: hi",
        "a,b;c|d",
        f"{rng.random()}",
        "~\xa0",
        "\xa0a\u3000",
        "\ufeff",
        "\u2029\u202f\u2065\u206a",
        "\ud7ff\uf8ff\ufdcf\ufdf0",
        "\U00010000\U0001fffd\U000e0001",
    ]
    expected = [f"MSG n TIME ana {text}" for text in texts]
    same_lines(normalized(answers(ana, *(f"SAY {text}" for text in texts))), expected)
    same_lines(normalized(ben.fence()), expected)


@check(points=2, lab=1, rules="6-3 6-20 6-21 9.2-3")
def check_events_are_numbered(server, enter):
    """After WELCOME s come the events s+1, s+2 and so on, without a gap. Their times are correct,
    in UTC and with milliseconds."""
    running = server(*OPEN, env={"TZ": "America/Sao_Paulo"})
    ana = enter(running, "ana")
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=60)
    ben = enter(running, "ben")
    answers(ana, "SAY one", "NAME Anita", "SAY two")
    ben.send("QUIT")
    ben.rest()
    ana.expect(r"OUT .*")
    answers(ana, "SAY three")
    for one, s in (ana, 1), (ben, 2):
        same(
            next(line for line in one.lines if line.startswith("WELCOME")),
            f"WELCOME {s} {one.name}",
        )
        numbers = seqs(one.lines)
        same(
            [msg("event {number}", number=number) for number in numbers],
            [msg("event {number}", number=s + place) for place in range(1, 1 + len(numbers))],
        )
        for line in filter(EVENT_LINE.fullmatch, one.lines):
            time = line.split(" ")[2]
            if not re.fullmatch(TIME, time, re.ASCII):
                raise CheckFailed(
                    msg("a time such as 2026-11-22T13:21:28.123Z"), line, "form-of-time"
                )
            if (
                abs(
                    (
                        datetime.datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%f%z") - before
                    ).total_seconds()
                )
                > 3000
            ):
                raise CheckFailed(
                    msg("the time of day in UTC, about {time}", time=f"{before:%Y-%m-%dT%H:%M}"),
                    line,
                    "time-is-not-utc",
                )


@check(points=2, lab=2, rules="5-8 9.1-4 9.4-1")
def check_ping_comes_after_events(server, enter):
    """PONG comes after every event that was handled before its PING, whichever client caused the
    event."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    for number in range(40):
        ana.send(f"SAY {number}")
        hears(ana, f"MSG n TIME ana {number}")
        same(normalized(ben.fence()), [f"MSG n TIME ana {number}"])


@check(points=2, lab=1, rules="5-3 6-16")
def check_a_new_name(server, connect, enter, rng):
    """After NAME, a member's messages carry the new name. The password stays the same, and the old
    name is free."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    new = f"eva{rng.randrange(1000)}"
    expected = [f"RENAMED n TIME ana {new}", f"MSG n TIME {new} it is me"]
    same(normalized(answers(ana, f"NAME {new}", "SAY it is me")), expected)
    same(normalized(ben.fence()), expected)
    same(sorted(answers(ben, "WHO")), sorted([f"MEMBER {new} here", "MEMBER ben here", "END WHO"]))
    same(normalized(answers(ben, "NAME ana")), ["RENAMED n TIME ben ana"], "old-name-is-free")
    same(normalized(ana.fence()), ["RENAMED n TIME ben ana"])
    newcomer = connect(running, "newcomer")
    newcomer.greeted()
    newcomer.send("JOIN ben another secret")  # somebody else takes the old name
    hears(newcomer, "PENDING", "WELCOME 6 ben", "IN n TIME ben", sentence="old-name-is-free")
    same(normalized(ben.fence()), ["IN n TIME ben"], "old-name-is-free")
    newcomer.send("QUIT")
    newcomer.expect("BYE quit")
    same(normalized(ana.fence()), ["IN n TIME ben", "OUT n TIME ben"], "old-name-is-free")
    same(normalized(ben.fence()), ["OUT n TIME ben"], "old-name-is-free")
    here = [f"MEMBER {new} here", "MEMBER ana here", "MEMBER ben away"]
    same(sorted(answers(ben, "WHO")), sorted([*here, "END WHO"]), "old-name-is-free")
    connect(running, "again").join(new, "secret-of-ana")
    same(ana.rest()[-1:], ["BYE replaced"])


@check(points=1, lab=1, rules="7-12 9.5-2 9.5-3 9.5-6 9.5-8 9.5-9")
def check_a_taken_name(server, ask, accepted):
    """NAME is refused for a name that a member, a ban or a request holds, in upper or lower case. A
    member may change the case of their own name."""
    running = server()
    ana, away = accepted(running, "ana"), accepted(running, "away")
    away.close()
    ana.expect(r"OUT .*")
    ask(running, "asking")
    same(running.order("ban banned"), ["ok"])
    same(normalized(ana.fence()), ["BANNED n TIME banned"])
    for name in ("away", "AWAY", "asking", "Banned"):
        refused(ana, f"NAME {name}", "name-taken")
    same(
        normalized(answers(ana, "NAME Ana", "NAME Ana")),
        ["RENAMED n TIME ana Ana", "RENAMED n TIME Ana Ana"],
    )


@check(points=1, lab=1, rules="5-4 5-7 6-5 6-6")
def check_who(server, enter):
    """The answer to WHO lists every member, with here or away, and then END WHO."""
    running = server(*OPEN)
    ana, ben, eva = (enter(running, name) for name in ("ana", "ben", "eva"))
    ben.send("QUIT")
    eva.send("LEAVE")
    ben.rest(), eva.rest()
    ana.fence()
    came = answers(ana, "WHO")
    same(sorted(came[:-1]) + came[-1:], ["MEMBER ana here", "MEMBER ben away", "END WHO"])


def after(listing, event):
    """What WHO lists, {name: "here" or "away"}, after one more event line."""
    match = EVENT_LINE.fullmatch(event)
    verb, (name, *new) = match[1], match[4].split(" ")
    if verb in ("IN", "OUT"):
        return {**listing, name: "here" if verb == "IN" else "away"}
    if verb == "RENAMED":
        return {new[0] if one == name else one: where for one, where in listing.items()}
    if verb in ("LEFT", "BANNED"):
        return {one: where for one, where in listing.items() if one != name}
    return listing


def as_lines(listing):
    return sorted(f"MEMBER {name} {where}" for name, where in listing.items())


@check(points=1, lab=3, rules="6-5")
def check_who_is_of_one_moment(server, enter):
    """The answer to WHO is the list at one moment between the request and END WHO, even while
    members join and leave."""
    running = server(*OPEN)
    ana, *others = (enter(running, name) for name in ("ana", "ben", "eva", "leo"))
    ana.fence()
    listing = dict.fromkeys(("ana", "ben", "eva", "leo"), "here")
    for number in range(30):
        ana.send("WHO")
        for other in others:  # a list that mixes two moments has a name twice, or lacks it
            names = [f"NAME {other.name}{(number + turn) % 3}" for turn in range(4)]
            other.send(*names, "SAY and on")
        ana.send("WHO")
        for _ in range(2):
            possible, came = [listing], []
            while (line := ana.line()) != "END WHO":
                if EVENT_LINE.fullmatch(line):
                    possible.append(after(possible[-1], line))
                elif not line or not line.startswith("MEMBER "):
                    raise CheckFailed(
                        msg("MEMBER lines, events, and END WHO"),
                        msg("{who} received {line}", who=ana.who, line=line or msg("the end")),
                    )
                else:
                    came.append(line)
            listing = possible[-1]
            if sorted(came) not in map(as_lines, possible):
                first, last = (as_text(as_lines(possible[place])) for place in (0, -1))
                raise CheckFailed(
                    msg(
                        "a list that was correct at some moment between WHO and END "
                        "WHO; the first was\n"
                        "{first}\n"
                        "and the last was\n"
                        "{last}",
                        first=first,
                        last=last,
                    ),
                    as_text(came),
                )
        for line in filter(EVENT_LINE.fullmatch, ana.fence()):
            listing = after(listing, line)
        for other in others:
            other.fence()


@check(points=1, lab=5, rules="6-22 8-14")
def check_out_does_not_wait(server, enter):
    """When a member disconnects, the others receive OUT at once, even if that member has not read
    everything yet. The member can still read up to BYE."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana", rcvbuf=4096), enter(running, "ben")
    ana.fence()
    for _ in range(10):  # 210 kB: less than half of --outbox, more than the kernel takes of most
        answers(ben, *["SAY " + "x" * 390] * 50)
    ana.send("QUIT")
    hears(ben, "OUT n TIME ana", sentence="out-does-not-wait")
    last = next(line for line in reversed(ben.lines) if line.startswith("MSG"))
    same(ana.rest()[-2:], [last, "BYE quit"])


@check(points=3, lab=1, rules="5-5 6-7 6-19 9.3-1 9.3-4")
def check_history_is_what_was_heard(server, enter, rng):
    """HISTORY 0 returns every event from the first, each exactly as it was sent, also to a member
    that joined later."""
    running = server(*OPEN, group="os lab")
    ana = enter(running, "ana")
    for number in range(3):
        ben = enter(running, "ben")
        answers(ana, f"SAY {rng.random()}", f"NAME ana{number}")
        ben.send("QUIT" if number < 2 else "LEAVE")
        ben.rest()
        ana.expect(r"(OUT|LEFT) .*")
    answers(ana, *(f"SAY {number} " + "x" * rng.randrange(390) for number in range(40)))
    heard = [line for line in ana.lines if EVENT_LINE.fullmatch(line)]
    came, newest = history(ana)
    same(normalized(came[:1]), ["GROUP n TIME os lab"])
    same_lines(came[1:], heard)
    same(f"END HISTORY {newest}", f"END HISTORY {seqs(heard)[-1]}", "end-of-history")
    same_lines(history(enter(running, "eva"))[0][:-1], came)


@check(points=2, lab=1, rules="5-5 6-7 9.1-5 9.3-1 9.3-2 9.3-3 9.3-6 10-8")
def check_history_from_any_event(server, enter):
    """HISTORY s returns the events after event s, or none if there are none. It does not change the
    live events."""
    ana = enter(server(*OPEN), "ana")
    looks_like_events = "MSG 7 2026-11-22T13:21:28.123Z ana 12 END HISTORY 3 b " * 8
    texts = [f"{number} " + "x" * (number * 37 % 390) for number in range(12)]
    texts += [looks_like_events[number : number + 400] for number in range(8)]
    answers(ana, *(f"SAY {text}" for text in texts))
    events, newest = history(ana)
    for since in (*range(newest + 1), newest + 1, 10**9, 10**16 - 1, "0000000000000003"):
        same_lines(
            answers(ana, f"HISTORY {since}"), [*events[int(since) :], f"END HISTORY {newest}"]
        )
    same(
        normalized(answers(ana, "HISTORY 20", "SAY live"))[-2:],
        [f"END HISTORY {newest}", "MSG n TIME ana live"],
    )


@check(points=2, lab=1, rules="5-6 5-10 5-11 6-17 8-3 9.1-6")
def check_leave_is_for_good(server, enter):
    """LEAVE ends the membership: every member receives LEFT, the one that leaves too, and then that
    one receives BYE left. No OUT follows, and the name is free."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    ben.send("LEAVE", "SAY ghost")
    hears_the_end(ben, "LEFT n TIME ben", "BYE left")
    hears(ana, "LEFT n TIME ben")
    same(answers(ana, "WHO"), ["MEMBER ana here", "END WHO"])
    ben = enter(running, "ben", "another secret")
    ben.fence()
    same(normalized(ana.fence()), ["IN n TIME ben"], "no-out-after-left")


@check(points=2, lab=1, rules="6-14 6-15 8-2")
def check_the_others_hear_who_goes(server, enter):
    """When a member disconnects, by QUIT, end of file or a reset, the members who remain receive
    OUT, once."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.fence()
    for go in ("quit", "half_close", "close", "reset"):
        eva = enter(running, "eva")
        hears(ana, "IN n TIME eva"), hears(ben, "IN n TIME eva")
        if go == "quit":
            eva.send("QUIT")
        else:
            getattr(eva, go)()
        if go in ("quit", "half_close"):
            hears_the_end(eva, "BYE quit")
        hears(ana, "OUT n TIME eva"), hears(ben, "OUT n TIME eva")
        same(ana.fence() + ben.fence(), [])


@check(points=2, lab=2, rules="3-1 9.1-4")
def check_one_line_at_a_time(server, enter):
    """A line is delivered at once, even if no other line follows it."""
    running = server(*OPEN)
    ana, ben = enter(running, "ana"), enter(running, "ben")
    ana.expect(r"IN \d+ \S+ ben")
    for number in range(60):
        one = (ana, ben)[number % 2]
        one.send(f"SAY {number}")
        hears(ana, f"MSG n TIME {one.name} {number}"), hears(ben, f"MSG n TIME {one.name} {number}")


@check(points=2, lab=2, rules="9.2-9")
def check_others_are_served_meanwhile(server, connect, enter):
    """No client waits for a client that sends nothing or half a line, in whatever order they
    connected."""
    running = server(*OPEN)
    silent, halfway, last = (connect(running, name) for name in ("silent", "halfway", "last"))
    halfway.send_bytes(b"JOIN half")
    taken(halfway)
    last.join("last", "secret")
    last.fence()
    halfway.send_bytes(b"way secret\n")
    halfway.welcomed()
    halfway.send_bytes(b"SAY half")
    taken(halfway)
    silent.join("silent", "secret")
    silent.fence(), last.fence()
    halfway.send_bytes(b" a line\n")
    for one in (halfway, last, silent):
        one.expect(r"MSG \d+ \S+ halfway half a line")
