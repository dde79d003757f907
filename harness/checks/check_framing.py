"""Framing: lines out of a stream of bytes. TCP keeps the order of bytes, and nothing else."""
from conftest import OPEN
from harness.record import same
from harness.verdicts.plugin import check


@check(points=2, lab=0)
def check_greets(server, connect):
    """Everyone who connects is greeted with HELLO, the version, and the group's name."""
    running = server(group="os-lab")
    for name in ("ana", "ben"):
        client = connect(running, name)
        client.greeted()
        same(client.lines, ["HELLO grupo/1 os-lab"])


@check(points=2, lab=0)
def check_answers_ping(server, connect, rng):
    """A PING is answered by a PONG with the same token."""
    ana = connect(server(), "ana")
    ana.greeted()
    for _ in range(3):
        token = f"t{rng.randrange(10 ** 9)}"
        ana.send(f"PING {token}")
        same(ana.line(), f"PONG {token}")


@check(points=2, lab=0)
def check_a_line_in_pieces(server, enter, rng):
    """A line that comes byte by byte is one line."""
    ana = enter(server(*OPEN), "ana")
    text = f"héllo {rng.randrange(10 ** 6)} ☃"
    for byte in f"SAY {text}\n".encode():
        ana.send_bytes(bytes([byte]))
    same(ana.line().split(" ", 3)[3:], [f"ana {text}"])
