"""The prediction and the exercise of notebook 01, and what it captures."""

from harness.driving.capture import CannotCapture as CannotCapture  # for the notebook
from harness.driving.capture import Capture
from harness.driving.messages import msg
from harness.teaching.notebook import Question, Wrong, exercise, serve

WHOLE_PIECES = Question(usual=20, most=2000)  # pieces that end where a line ends

STREAM = "SAY hello\nSAY olá, João\nQUIT\n".encode()
WANTED = ["SAY hello", "SAY olá, João", "QUIT"]


def captured():
    """Ana sends a line byte by byte. Return (of each packet to the server its number, its bytes and
    the lines that end in it; the passwords of the packets with JOIN). Raise CannotCapture.
    """
    with serve("fork") as server, Capture(server.port) as capture:
        ana, ben = server.enter("ana", "ben")
        for byte in b"SAY one byte at a time\n":
            ana.send_bytes(bytes([byte]))
        ana.fence()
        ben.send("PING the-end")
        ben.expect("PONG the-end")
        capture.until(b"PONG the-end")
        to_server = f"tcp.dstport == {server.port} && tcp.len > 0"
        return (
            capture.fields("frame.number", "tcp.len", "grupo.line", only=to_server),
            capture.fields("grupo.password", only='grupo.verb == "JOIN"'),
        )


@exercise
def check_lines(Lines):
    """`Lines().feed(piece)` returns the lines that each piece of a stream completes."""
    for at in range(1, len(STREAM)):
        fed(Lines, [STREAM[:at], STREAM[at:]])
    fed(Lines, [STREAM[at : at + 1] for at in range(len(STREAM))])
    one, other = Lines(), Lines()
    one.feed(b"SAY from one cli")
    if other.feed(b"SAY from another\n") != ["SAY from another"]:
        raise Wrong(msg("Half a line of one client gets into the line of another client."))
    if Lines().feed(b"WHO\nPING 1\nWHO") != ["WHO", "PING 1"]:
        raise Wrong(msg("A piece with two lines and a half must return the two lines."))


def fed(Lines, pieces):
    """Feed the whole stream in these pieces. Raise Wrong."""
    lines, got = Lines(), []
    shown = " + ".join(map(repr, pieces if len(pieces) < 3 else [*pieces[:3], ...]))
    for number, piece in enumerate(pieces):
        try:
            found = lines.feed(piece)
        except UnicodeDecodeError:
            raise Wrong(
                msg(
                    "Cut into {pieces}: a character was decoded before all of its bytes had come.",
                    pieces=shown,
                )
            ) from None
        if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
            raise Wrong(
                msg(
                    "`feed` must return a list of texts, also when no line is complete. For "
                    "{piece} it returned {found}.",
                    piece=repr(piece),
                    found=repr(found),
                )
            )
        got += found
        expected = b"".join(pieces[: number + 1]).decode(errors="ignore").split("\n")[:-1]
        if got != expected:
            raise Wrong(
                msg(
                    "Cut into {pieces}: after piece {number} the lines should be {expected}, but "
                    "they are {got}.",
                    pieces=shown,
                    number=number + 1,
                    expected=repr(expected),
                    got=repr(got),
                )
            )
