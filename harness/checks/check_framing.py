"""Framing: lines out of a stream of bytes. TCP keeps the order of bytes, and nothing else."""
from conftest import OPEN
from harness.lines import answers, hears, hears_the_end, refused, same_lines, taken, told
from harness.record import Unmet, same
from harness.verdicts.plugin import check
from harness.wire import Silence


@check(points=2, lab=0)
def check_greets(server, connect, rng):
    """Everyone who connects is greeted with HELLO, the version, and the group's name."""
    group = f"os lab {rng.randrange(10 ** 6)}"
    running = server(group=group)
    for name in ("ana", "ben"):
        client = connect(running, name)
        same(client.line() if not client.lines else client.lines[0], f"HELLO grupo/1 {group}")


@check(points=1, lab=0)
def check_takes_requests(server, connect):
    """A request is taken out of what arrived: the first PING of each client is answered, by one line after HELLO."""
    running = server()
    for name in ("ana", "ben"):
        client = connect(running, name)
        client.greeted()
        client.send("PING first")
        if not (came := client.line()).startswith("PONG "):
            same(came or "the end of the connection", "PONG first", "more-than-hello" if came else "cut-off")


@check(points=2, lab=0)
def check_answers_ping(server, connect, rng):
    """A PING is answered by a PONG with the same token."""
    ana = connect(server(), "ana")
    ana.greeted()
    for token in (f"Token-{rng.randrange(10 ** 9)}", "~", "!" * 64):
        ana.send(f"PING {token}")
        hears(ana, f"PONG {token}")


@check(points=2, lab=0)
def check_a_line_in_pieces(server, connect, rng):
    """A line that comes byte by byte is one line."""
    ana = connect(server(), "ana")
    ana.greeted()
    token = f"piece-{rng.randrange(10 ** 6)}"
    for byte in f"PING {token}\n".encode():
        ana.send_bytes(bytes([byte]))
        taken(ana)
    hears(ana, f"PONG {token}")
    same(ana.fence(), [])


@check(points=2, lab=0)
def check_lines_in_one_segment(server, connect, rng):
    """Lines that come together are so many lines, and the beginning of the next one is not lost."""
    ana = connect(server(), "ana")
    ana.greeted()
    tokens = [f"{letter}{rng.randrange(10 ** 6)}" for letter in "abcde"]
    sent = "".join(f"PING {token}\n" for token in tokens)
    ana.send_bytes(sent[:-7].encode())              # the last line's end comes later
    taken(ana)
    ana.send_bytes(sent[-7:].encode())
    hears(ana, *(f"PONG {token}" for token in tokens))
    same(ana.fence(), [])
    ana.send(*(f"PING {token}" for token in tokens))    # and nothing after them that could push them on
    hears(ana, *(f"PONG {token}" for token in tokens))


@check(points=1, lab=1)
def check_a_character_in_pieces(server, enter, rng):
    """A character whose bytes come one by one is one character."""
    ana = enter(server(*OPEN), "ana")
    text = "é☃😀" + "".join(rng.sample("ñüßøæłđθ", 3))
    ana.send_bytes(b"SAY ")
    for byte in text.encode():
        ana.send_bytes(bytes([byte]))
        taken(ana)
    ana.send_bytes(b"\n")
    hears(ana, f"MSG n TIME ana {text}")


@check(points=1, lab=0)
def check_a_carriage_return_is_dropped(server, connect):
    """A CR before the LF is no part of the line, also if they come apart."""
    ana = connect(server(), "ana")
    ana.greeted()
    ana.send_bytes(b"PING one\r\nPING two\r")
    taken(ana)
    ana.send_bytes(b"\n")
    hears(ana, "PONG one", "PONG two")
    same(ana.fence(), [])


@check(points=1, lab=0)
def check_empty_lines_are_ignored(server, connect):
    """An empty line has no answer, and ends nothing."""
    ana = connect(server(), "ana")
    ana.greeted()
    ana.send_bytes(b"\n\r\n\n" * 5 + b"PING after\n")
    hears(ana, "PONG after")
    ana.send_bytes(b"\n")
    same(ana.fence(), [])


@check(points=2, lab=1)
def check_long_lines(server, enter, rng):
    """Lines of any length up to the limit come through whole, wherever one buffer ends and the next begins."""
    ana = enter(server(*OPEN), "ana")
    lengths = [*range(120, 132), *range(250, 262), 395, 396, 397, 398, 399, 400, *(rng.randrange(1, 401) for _ in range(90))]
    rng.shuffle(lengths)
    texts = [f"{number} ".ljust(length, rng.choice("abcdefg"))[:length] for number, length in enumerate(lengths)]
    came = answers(ana, *["SAY " + text for text in texts])
    same_lines(told(came), [f"MSG n TIME ana {text}" for text in texts])


@check(points=1, lab=0)
def check_much_at_once(server, connect):
    """200 kB of lines at one stroke are all read, though nothing comes after them."""
    ana = connect(server(), "ana")
    ana.greeted()
    ana.send(*["PONG " + "x" * 60] * 3000, "PING end")
    hears(ana, "PONG end")


@check(points=1, lab=0)
def check_too_long(server, connect):
    """A line may have 512 bytes with its LF; whoever sends more gets ERR too-long and the end, and nobody else is hurt."""
    running = server()
    ana, ben, eve = connect(running, "ana"), connect(running, "ben"), connect(running, "eve")
    refused(ana, "PING " + "a" * 506, "bad-arguments", sentence="512-bytes-are-not-too-long")
    for client, data in ((ben, b"PING " + b"b" * 507 + b"\n"), (eve, b"x" * 1_000_000)):
        client.greeted()
        try:
            client.send_bytes(data)
        except ConnectionError:
            pass                        # the server would not hear it out, which is its right; what it said is still to be read
        try:
            came = told(client.rest())
        except Silence:
            raise Unmet("`ERR too-long ...`, `BYE protocol`, and the end of the connection, of a line of more than 512 bytes",
                        f"{client.who} sent {len(data):,} bytes in one line, and the connection goes on; {client.who} heard\n"
                        + ("\n".join(client.lines[1:]) or "nothing")) from None
        if not client.was_reset:        # a reset may have swept away what was on its way
            same(came, ["ERR too-long", "BYE protocol"])
    same(ana.fence(), [])


@check(points=1, lab=1)
def check_not_utf8(server, enter):
    """A line that is not UTF-8 is refused with ERR bad-utf8, and the conversation goes on."""
    ana = enter(server(*OPEN), "ana")
    for bad in (b"\xff", b"abc \x80", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ol\xe1"):
        refused(ana, b"SAY " + bad, "bad-utf8")
    same(told(answers(ana, "SAY olá")), ["MSG n TIME ana olá"])


@check(points=1, lab=1)
def check_control_characters(server, enter):
    """Control characters, and those that turn the direction of writing, are refused with ERR bad-text."""
    ana = enter(server(*OPEN), "ana")
    for bad in ("\0", "\t", "\a", "\x1b[2J", "\x7f", "\x85", "\x9b", "a\rb", "\u202e", "\u2066", "\ufdd0", "\ufffe"):
        refused(ana, f"SAY a{bad}b", "bad-text", sentence="line-ends-at-nul" if bad == "\0" else None)


@check(points=1, lab=0)
def check_unknown_verbs(server, connect, rng):
    """What is no verb is answered by ERR unknown: verbs are upper case, at the very beginning, and whole."""
    ana = connect(server(), "ana")
    ana.greeted()
    word = "".join(rng.choices("ABCDEFGHIKLMNOP", k=6))
    for line in (f"X{word} {word}", "ping x", "Ping x", " PING x", "PINGx", "MSG 1 x", "quit"):
        refused(ana, line, "unknown")


@check(points=2, lab=1)
def check_wrong_arguments(server, enter):
    """A known verb with fields that are missing, empty, too long or too many is answered by ERR bad-arguments, and does nothing."""
    ana = enter(server(*OPEN), "ana")
    for line in ("SAY", "SAY ", "SAY " + "a" * 401, "SAY " + "ñ" * 201, "NAME", "NAME ", "NAME two words", "WHO is there", "HISTORY", "HISTORY ",
                 "HISTORY -1", "HISTORY +1", "HISTORY 1.0", "HISTORY 0x1", "HISTORY 1 2", "HISTORY " + "1" * 17, "HISTORY ten", "PING", "PING ",
                 "PING two words", "PING " + "t" * 65, "PING ñ", "LEAVE now", "QUIT now"):
        refused(ana, line, "bad-arguments")
    same(told(answers(ana, "SAY " + "ñ" * 200)), ["MSG n TIME ana " + "ñ" * 200])


@check(points=1, lab=0)
def check_ten_errors(server, connect, rng):
    """Who makes ten errors before WELCOME gets BYE protocol after the tenth, and not before."""
    ana = connect(server(), "ana")
    ana.greeted()
    ana.send(*(f"NO-{rng.randrange(1000)}" for _ in range(9)))
    same(told(ana.fence()), ["ERR unknown"] * 9)
    ana.send("NO-10")
    hears_the_end(ana, "ERR unknown", "BYE protocol")


@check(points=1, lab=0)
def check_half_close_is_answered(server, connect, rng):
    """Who has ended his sending still gets the answers, then BYE quit and the end."""
    ana = connect(server(), "ana")
    ana.greeted()
    tokens = [f"t{rng.randrange(10 ** 6)}" for _ in range(20)]
    ana.send(*(f"PING {token}" for token in tokens))
    ana.half_close()
    hears_the_end(ana, *(f"PONG {token}" for token in tokens), "BYE quit")


@check(points=1, lab=0)
def check_quit_says_bye(server, connect):
    """QUIT is answered by BYE quit and the end of the connection; what stands after it is not read."""
    running = server()
    ana, ben = connect(running, "ana"), connect(running, "ben")
    for client, lines in ((ana, ["QUIT"]), (ben, ["PING before", "QUIT", "PING after", "PING after"])):
        client.greeted()
        client.send(*lines)
        hears_the_end(client, *["PONG before"] * (client is ben), "BYE quit")
        if client.was_reset:
            raise Unmet("an orderly end after BYE quit", "the connection was reset", "reset-after-bye")


@check(points=1, lab=0)
def check_an_unfinished_line_is_dropped(server, connect):
    """A last line without its LF is no line."""
    ana = connect(server(), "ana")
    ana.greeted()
    ana.send_bytes(b"PING whole\nPING half")
    ana.half_close()
    hears_the_end(ana, "PONG whole", "BYE quit")
