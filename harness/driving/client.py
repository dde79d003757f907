"""A client of grupo/1 on one socket. It blocks, each wait has a deadline, and it keeps every line.

No wait here is a fixed sleep. `fence` sends PING and reads up to its PONG, which a server sends
only after each event that it handled before that PING. `wait_until` polls a condition.
"""

import contextlib
import itertools
import re
import socket
import struct
import time

from harness.driving import deadlines
from harness.driving.messages import few, msg
from harness.driving.processes import unread_of
from harness.driving.record import CheckFailed, Record

MOST_LINES = 1 << 19  # that a client hears; more is a flood
MOST_BYTES = 1 << 18  # of a line without an end; more is a flood

READ_WITHIN = 1.0  # seconds within which the server should read a piece before the next one follows

_tokens = itertools.count(1)


class Silence(CheckFailed):
    """No line came before the deadline."""


class CutOff(CheckFailed, ConnectionError):
    """The server did not accept a connection, or closed it before the client could send."""


def plain(regex: str) -> str:
    r"""Return a regular expression in a form for readers: \d+ is N, \S+ is WORD, .+ is WORDS."""
    for form, word in (
        (r"(\d+)", "N"),
        (r"\d+", "N"),
        (r"(\S+)", "WORD"),
        (r"\S+", "WORD"),
        (r".+", "WORDS"),
        (r".*", "WORDS"),
    ):
        regex = regex.replace(form, word)
    return re.sub(r"\\(.)", r"\1", regex)


class WireClient:
    """A connection to the server, open from the constructor to close() or the end of its `with`.

    `lines` is every line heard so far, PINGs included. `torn` is a last line that the end of the
    connection cut off. `ended` says that end of file or a reset was read, and `was_reset` which.
    """

    def __init__(
        self,
        address: tuple[str, int],
        rcvbuf: int | None = None,
        name: str = "",
        *,
        mss: int | None = None,
        pong: bool = True,
        record: Record | None = None,
    ):
        """Connect to `address`, a (host, port), and add everything that happens to `record`.

        `name` is the client's name in messages and in the record. `rcvbuf` bytes make the receive
        buffer small, for a client that reads slowly. `mss` bytes make the segments small, and with
        them the server's send buffer for this client. With `pong=False` the caller answers the
        server's PINGs. Raises CutOff, or OSError if this process has no more sockets.
        """
        self.record = record or Record()
        self.record.clients.append(self)
        self.name = name
        self.who = self.record.name(name)
        self.lines: list[str] = []
        self.torn = b""
        self.ended = False
        self.was_reset = False
        self.pong = pong
        self.group: str | None = None  # the name in HELLO
        self._buffer = b""  # received, and not yet returned by line()
        host, port = address
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            if rcvbuf is not None:  # before connect, which offers the window to the server
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            if mss is not None:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.settimeout(deadlines.DEADLINE)
            self.record.add(self.who, "connects")
            self.socket.connect((host, port))
            self.record.connected(self.who, self.socket)
        except (ConnectionError, TimeoutError) as error:
            self.socket.close()
            expected = msg("the server to accept {who}'s connection", who=self.who)
            raise CutOff(expected, str(error), "unreachable") from None
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> "WireClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<WireClient {self.name or '(no name)'}, last heard {self.lines[-3:]}>"

    # -- Sending

    def send(self, *lines: str) -> None:
        """Send these lines in one call, an LF after each. Raises what send_bytes() raises."""
        self.send_bytes("".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape"))

    def send_bytes(self, data: bytes) -> None:
        """Send these bytes unchanged. Raises CutOff if the server closed the connection.

        Raises CheckFailed if the server does not read all of them before the deadline.
        """
        self.socket.settimeout(deadlines.DEADLINE)
        self.record.add(self.who, "sends", data)
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise CheckFailed(
                msg(
                    "the server to read the {count} bytes that {who} sends",
                    count=len(data),
                    who=self.who,
                ),
                msg("it did not read all of them in {seconds:g} s", seconds=deadlines.DEADLINE),
                "does-not-read",
                who=self.who,
                silent=deadlines.DEADLINE,
            ) from None
        except OSError as error:
            raise self.cut_off(error) from None

    def cut_off(self, error: OSError) -> CutOff:
        """Return the CutOff of a client that could not send because of `error`."""
        return CutOff(
            msg("{who}'s connection to be open", who=self.who),
            msg("{who} could not send: {strerror}", who=self.who, strerror=error.strerror),
            "cut-off",
            who=self.who,
        )

    # -- Receiving

    def line(self, deadline: float | None = None) -> str:
        """Return the next line without its LF, or "" at end of file.

        PINGs are answered and not returned, unless `pong` is False. `deadline`: seconds, by default
        deadlines.DEADLINE. Raises Silence if no line comes in time, and CheckFailed for a flood.
        """
        seconds = deadlines.DEADLINE if deadline is None else deadline
        end = time.monotonic() + seconds
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                # An empty line is not returned: it would look like end of file.
                if text := self._heard(line.decode("utf-8", "surrogateescape")):
                    return text
                continue
            if self.ended:
                return ""
            if len(line) > MOST_BYTES:
                raise CheckFailed(
                    msg("lines of at most 512 bytes"),
                    msg(
                        "{who} received {count} bytes without the end of a line",
                        who=self.who,
                        count=len(line),
                    ),
                    "endless-line",
                )
            left = max(0.0, end - time.monotonic())
            if not self._receive(left) and not left:
                raise self._silence(seconds)

    def _heard(self, text: str) -> str:
        """Keep a line, and return it; "" if it is a PING that this client answers."""
        self.lines.append(text)
        self.record.add(self.who, "hears", text)
        if len(self.lines) > MOST_LINES:
            raise CheckFailed(
                msg("the server to stop sending"),
                msg(
                    "{who} received more than {most_lines} lines; the last is\n{text}",
                    who=self.who,
                    most_lines=MOST_LINES,
                    text=text,
                ),
                "endless",
            )
        if self.group is None and text.startswith("HELLO grupo/1 "):
            self.group = text[14:]
        if self.pong and text.startswith("PING "):
            with contextlib.suppress(ConnectionError):  # the lines that came before are still due
                self.send("PONG" + text[4:])
            return ""
        return text

    def _silence(self, seconds: float) -> Silence:
        return Silence(
            msg("a line for {who}", who=self.who),
            msg(
                "{who} received nothing more for {seconds:.3g} s; before that:\n{lines}",
                who=self.who,
                seconds=seconds,
                lines=self.lines[-5:] or msg("nothing at all"),
            ),
            "silent",
            who=self.who,
            silent=seconds,
        )

    def _receive(self, seconds: float) -> bool:
        """Read once, for at most so many seconds. Return whether anything came."""
        self.socket.settimeout(seconds)
        try:
            chunk = self.socket.recv(65536)
        except (TimeoutError, BlockingIOError):
            return False
        except ConnectionError:
            chunk, self.was_reset = b"", True
        if not chunk:
            self.ended, self.torn, self._buffer = True, self._buffer, b""
            if self.torn:
                self.record.add(self.who, "torn", self.torn)
            self.record.add(self.who, "reset" if self.was_reset else "ended")
        self._buffer += chunk
        return True

    def expect(self, regex: str, deadline: float | None = None) -> re.Match[str]:
        """Read until a line matches `regex` as a whole, and return the match.

        The lines before it stay in `lines`. `deadline` is in seconds, for each line. Raises
        CheckFailed.
        """
        start = len(self.lines)
        while True:
            try:
                text = self.line(deadline)
            except Silence as silence:
                seconds, sentence = silence.silent, "silent"
                why = msg("waited for {seconds:.3g} s, and", seconds=seconds)
            else:
                match = re.fullmatch(regex, text)
                if match:
                    return match
                if text:
                    continue
                why = (
                    msg("was disconnected, and")
                    if self.was_reset
                    else msg("saw the end of the connection, and")
                )
                seconds, sentence = None, "cut-off"
            heard = self.lines[start:]
            raise CheckFailed(
                msg("a line like `{plain}` for {who}", plain=plain(regex), who=self.who),
                msg("{who} {why} received only:\n{lines}", who=self.who, why=why, lines=few(heard))
                if heard
                else msg("{who} {why} received nothing", who=self.who, why=why),
                sentence,
                who=self.who,
                silent=seconds,
            )

    def fence(self) -> list[str]:
        """Send PING with a new token; return the lines that came before its PONG. Raises
        CheckFailed.
        """
        token = f"fence-{next(_tokens)}"
        start = len(self.lines)
        self.send("PING " + token)
        self.expect(re.escape("PONG " + token))
        return [
            line for line in self.lines[start:-1] if not (self.pong and line.startswith("PING "))
        ]

    def greeted(self) -> str:
        """Read HELLO, unless it was read, and return the group's name. Raises CheckFailed."""
        if self.group is None:
            self.expect(r"HELLO grupo/1 .+")
        return self.group

    def join(self, name: str, password: str) -> int:
        """Join the group: HELLO, JOIN, PENDING, WELCOME. Return s, the newest event's number.

        Raises CheckFailed if another line comes.
        """
        self.greeted()
        self.name = self.name or name
        self.send(f"JOIN {name} {password}")
        return self.welcomed()

    def welcomed(self) -> int:
        """Read up to WELCOME, and return its s. Only HELLO and PENDING may come before it.

        Raises CheckFailed if another line comes.
        """
        self.greeted()
        while True:
            text = self.line()
            match = re.fullmatch(r"WELCOME (\d+) (.+)", text)
            if match:
                return int(match[1])
            if text != "PENDING":
                raise CheckFailed(
                    msg("PENDING, then WELCOME for {who} after its JOIN", who=self.who),
                    msg("{who} received {line}", who=self.who, line=text or msg("the end")),
                    self.instead_of_welcome(text),
                    who=self.who,
                )

    def instead_of_welcome(self, text: str) -> str | None:
        """Return the id of the sentence about a line that came where WELCOME was due."""
        if not text or text.startswith("BYE "):
            return "cut-off"
        if re.fullmatch(rf"IN \d+ \S+ {re.escape(self.name)}", text, re.IGNORECASE):
            return "in-before-welcome"
        if re.match(r"(MSG|IN|OUT|RENAMED|LEFT|BANNED|GROUP) \d+ ", text):
            return "before-welcome"
        return "join-refused" if text.startswith(("REJECTED ", "ERR ")) else None

    def rest(self) -> list[str]:
        """Return all lines up to end of file. Raises Silence."""
        return list(iter(self.line, ""))

    # -- Closing

    def half_close(self) -> None:
        """Close the sending side; the client can still read. Raises CutOff."""
        self.record.add(self.who, "shuts")
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self.cut_off(error) from None

    def reset(self) -> None:
        """Close with a TCP reset, as the kernel of a crashed machine may."""
        self.record.add(self.who, "resets")
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close the connection, unless it is closed."""
        if self.socket.fileno() >= 0:
            self.record.add(self.who, "closes")
            self.socket.close()


def taken(client: WireClient) -> bool:
    """Wait until the server has read what this client sent, so that it reads the next piece alone.

    Return whether it has, as far as the kernel shows; it never fails.
    """
    end = time.monotonic() + READ_WITHIN
    while is_waiting := unread_of(client.socket):
        if time.monotonic() > end:
            break
        time.sleep(0.0005)
    return not is_waiting
