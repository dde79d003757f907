"""The owner: orders on the server's standard input, each answered by its lines and then by `ok` or `error: why`."""
import contextlib

from conftest import OPEN
from harness.doings import rests
from harness.lines import answers, hears, hears_the_end, orders_taken, refused, shown, told
from harness.record import Unmet, same
from harness.verdicts.plugin import check
from harness.wire import wait_until


def ordered(running, order):
    """The lines of an answer; `error` without its reason."""
    return ["error" if line.startswith("error: ") else line for line in running.order(order)]


def ends(running, clients, code):
    """The server was told to end: all hear it, and it ends with status 0."""
    for client in clients:
        hears_the_end(client, f"BYE {code}", sentence="all-hear-the-end")
    same(f"status {running.wait()}", "status 0", "status-of-the-end")


@check(points=2, lab=1)
def check_the_owner_is_told(server, ask, rng):
    """Under --admit ask the owner is told who asks, and from where; `members` shows it too."""
    running = server()
    name = f"Ana{rng.randrange(1000)}"
    ana = ask(running, name)
    host, port = ana.socket.getsockname()
    same([line for line in running.stdout if "asks" in line], [f"{name} asks to join from {host}:{port}"])
    same(running.order("members"), [f"member {name} asks from {host}:{port}", "ok"])


@check(points=2, lab=1)
def check_members(server, ask, accepted):
    """`members` shows who is a member, here or away, who is banned, and who asks."""
    running = server()
    ana, ben = accepted(running, "ana"), accepted(running, "ben")
    ben.close()
    ana.expect(r"OUT .*")
    same(running.order("ban mallory"), ["ok"])
    eve = ask(running, "eve")
    *lines, ok = running.order("members")
    same([*sorted(lines), ok], ["member ana here", "member ben away", "member eve asks from {}:{}".format(*eve.socket.getsockname()),
                                "member mallory banned", "ok"])


@check(points=2, lab=1)
def check_ban(server, connect, enter):
    """Whom the owner bans hears BANNED and BYE banned, the others hear BANNED and no OUT, and he does not come in again."""
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
    same(told(ana.fence()), [])


@check(points=1, lab=1)
def check_ban_of_anyone(server, ask, accepted):
    """One who is away, one who asks and one whom nobody knows can be banned; everybody hears it, and who asked is rejected."""
    running = server()
    ana, ben = accepted(running, "ana"), accepted(running, "ben")
    ben.close()
    ana.expect(r"OUT .*")
    eve = ask(running, "eve")
    for name in ("ben", "eve", "nobody"):
        same(running.order(f"ban {name}"), ["ok"])
    same(told(ana.fence()), ["BANNED n TIME ben", "BANNED n TIME eve", "BANNED n TIME nobody"])
    hears(eve, "REJECTED refused")
    same(ordered(running, "ban Nobody"), ["error"])
    *lines, ok = running.order("members")
    same(sorted(lines), ["member ana here", "member ben banned", "member eve banned", "member nobody banned"])


@check(points=1, lab=1)
def check_unban(server, connect, enter):
    """`unban` frees the name: whoever comes with it next is new, and brings a password of his own."""
    running = server(*OPEN)
    eve = enter(running, "eve")
    same(running.order("ban eve"), ["ok"])
    same(eve.rest()[-1:], ["BYE banned"])
    same(running.order("unban EVE"), ["ok"])
    same(running.order("members"), ["ok"])
    same(ordered(running, "unban eve"), ["error"])
    enter(running, "eve", "another secret")


@check(points=1, lab=1)
def check_rename_the_group(server, connect, enter, rng):
    """`rename` gives the group another name: everybody hears GROUP, and who connects then is greeted with it."""
    running = server(*OPEN, group="before")
    ana = enter(running, "ana")
    new = f"Operating  systems, {rng.randrange(10 ** 6)} ñ"
    same(running.order(f"rename {new}"), ["ok"])
    same(told(ana.fence()), [f"GROUP n TIME {new}"])
    same(connect(running, "ben").greeted(), new)


@check(points=1, lab=1)
def check_names_of_groups(server, connect, enter):
    """A group's name has 1 to 64 bytes of text, and no space at either end; `rename` to another is
    an error."""
    first = "g" * 64
    running = server(*OPEN, group=first)
    ana = enter(running, "ana")
    same(ana.group, first)
    ana.fence()
    for wrong in ("g" * 65, "ñ" * 32 + "g", "g ", " g", " ", "", "g" * 64 + " ", "a\tb", "a\rb",
                  "a\x85b", "a\u202eb", "a\u2069b", "a\ufdd0b", "\U0001ffff"):
        if ordered(running, f"rename {wrong}") != ["error"]:
            raise Unmet(f"`error: why` as the answer to the order {shown(f'rename {wrong}')}",
                        "the order was done")
    for right in ("ñ" * 32, "x", "a  b", "\xa0a\u2028b\u3000",
                  "\u2065\u206a\ue000\ufffd\U0010fffd", first[1:]):
        same(running.order(f"rename {right}"), ["ok"])
        same(told(ana.fence()), [f"GROUP n TIME {right}"])
        same(connect(running, "new").greeted(), right)


@check(points=1, lab=1)
def check_orders_at_the_limit(server):
    """An order of 512 bytes with its LF is a line; a longer one is skipped to its end and answered
    once, and the next order is done."""
    running = server()
    running.order("members")
    before = len(running.stdout)
    for piece in (b"x" * 511, b"\nban a1\n", b"x" * 512, b"\nban a2\n", b"x" * 300, b"x" * 300,
                  b" ban a3\nban a4\n" + b"x" * 5000 + b"\nban a5\nrename \xff\n",
                  b"ban a6\rban a7\nban a8\r", b"\nmembers\n"):
        running.type_bytes(piece)
        orders_taken(running)
    expected = [*["error", "ok"] * 4, "error", "error", "ok"]
    members = [f"member a{number} banned" for number in (1, 2, 4, 5, 8)]
    answered = lambda: [line for line in running.stdout[before:] if line[:2] not in ("# ", "* ")]
    with contextlib.suppress(Unmet):
        wait_until(lambda: len(answered()) >= len(expected) + len(members) + 1)
    came = ["error" if line.startswith("error: ") else line for line in answered()]
    same(came[:len(expected)] + sorted(came[len(expected):]), [*expected, *members, "ok"])


@check(points=2, lab=1)
def check_wrong_orders(server, enter):
    """An order that is unknown, malformed or cannot be done is answered by one line `error: why`, and changes nothing."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    for order in ("dance", "BAN ana", "ban", "ban -x", "ban a b", "accept", "accept ana", "accept nobody", "reject nobody", "unban ana", "unban",
                  "rename", "rename " + "x" * 65, "members all", " members", "delete it", "x" * 511, "x" * 3000):
        if (came := running.order(order)) and (len(came) > 1 or not came[0].startswith("error: ")):
            raise Unmet(f"one line `error: why` as the answer to the order {order[:60]!r}", "\n".join(came))
    running.type_bytes(b"\n\r\n")               # and empty lines are no orders
    same(running.order("members"), ["member ana here", "ok"])
    same(told(ana.fence()), [], "wrong-orders-do-nothing")


@check(points=1, lab=1)
def check_help(server):
    """`help` is answered by lines that begin with `# `, then `ok`."""
    *lines, ok = server().order("help")
    same(ok, "ok")
    same([line for line in lines if not line.startswith("# ")], [])


@check(points=1, lab=1)
def check_orders_in_one_segment(server):
    """Orders that come together are done one after the other, and one that comes in pieces is one."""
    running = server(group="one")
    running.type_bytes(b"rename two\r\nban eve\nunban eve\nban eve\nrename three\nmem")
    answered = lambda: [line for line in running.stdout[1:] if not line.startswith(("# ", "* "))]
    with contextlib.suppress(Unmet):
        wait_until(lambda: len(answered()) >= 5)
    same(answered(), ["ok"] * 5)
    running.type_bytes(b"bers\n")
    with contextlib.suppress(Unmet):
        wait_until(lambda: len(answered()) >= 7)
    same(answered(), ["ok"] * 5 + ["member eve banned", "ok"])


@check(points=1, lab=1)
def check_delete_needs_consent(server, enter, connect):
    """`delete` asks for the group's name, and only that is consent; then all hear BYE deleted, and the group begins anew."""
    running = server(*OPEN, group="os lab")
    ana = enter(running, "ana")
    for consent in ("yes", "", "OS LAB", "close"):
        same(running.order("delete"), ["type the group's name to delete it"])
        answer = running.order(consent)
        running.told_to_end = answer == ["ok"]          # taken for consent: that is to be told, not that it ended
        same(answer, ["error: not deleted"])
    same(told(answers(ana, "SAY still here")), ["MSG n TIME ana still here"])
    same(running.order("delete"), ["type the group's name to delete it"])
    running.told_to_end = True
    same(running.order("os lab"), ["ok"])
    ends(running, [ana], "deleted")
    running.restart(group="another")
    same(connect(running, "ben").greeted(), "another")
    same(running.order("members"), ["ok"])


@check(points=1, lab=1)
def check_close(server, ask, accepted, connect):
    """`close` ends the server: BYE closed to members, askers and strangers alike, then the end with status 0."""
    running = server()
    ana = accepted(running, "ana")
    ana.fence()
    eve, stranger = ask(running, "eve"), connect(running, "stranger")
    stranger.greeted()
    running.told_to_end = True
    same(running.order("close"), ["ok"])
    ends(running, [ana, eve, stranger], "closed")


@check(points=1, lab=1)
def check_the_end_of_input_is_no_order(server, enter):
    """When standard input ends, the server serves on."""
    running = server(*OPEN)
    running.order("members")
    running.process.stdin.close()
    ana = enter(running, "ana")
    same(told(answers(ana, "SAY still here")), ["MSG n TIME ana still here"])


@check(points=2, lab=1)
def check_at_a_terminal(terminal, connect):
    """An owner who sits at a terminal is shown the same as anyone: who asks, the lines of answers, and no prompt and no echo beside."""
    console = terminal()
    eve = connect(console, "eve")
    eve.greeted()
    eve.send("JOIN eve secret-of-eve")
    [asks] = console.sees(r"eve asks to join from (\S+)")
    console.types("members", "dance", "accept eve")
    console.sees("member eve asks from .*"), console.sees("ok"), console.sees("error: .*"), console.sees("ok")
    eve.welcomed()
    console.types("unban nobody")
    console.sees("error: .*")           # and so all that came before it is read
    host, port, *_ = console.address
    same(["error: why" if line.startswith("error: ") else line for line in console.lines if not line.startswith(("* ", "# ", "<"))],
         [f"listening on {host}:{port}", asks[0], f"member eve asks from {asks[1]}", "ok", "error: why", "ok", "error: why"])


@check(points=1, lab=2)
def check_ctrl_d_is_no_order(terminal, enter):
    """Ctrl-D ends the input of an owner at a terminal, and is no order: the server serves on, and rests."""
    console = terminal(*OPEN)
    console.types("members")
    console.sees("ok")
    console.presses("d")
    ana = enter(console, "ana")
    same(told(answers(ana, "SAY still here")), ["MSG n TIME ana still here"])
    rests(console)
    enter(console, "ben").fence()
