"""One client of grupo/1 on one socket, for checks: blocking, every wait under a deadline, everything heard kept.

No wait here is a fixed sleep: `fence` sends PING and reads to its PONG, which a server sends only after every event
handled before that PING; `wait_until` polls a condition.
"""

import itertools
import re
import socket
import struct
import time

from harness.driving import deadlines
from harness.driving.messages import msg
from harness.driving.record import Record, Unmet

MOST_LINES = 1 << 19        # that a client hears; more is a flood
MOST_BYTES = 1 << 18        # of a line without an end, likewise

_tokens = itertools.count(1)


class Silence(Unmet):
    """Nothing came in time."""


class CutOff(Unmet, ConnectionError):
    """The server did not take a connection, or had ended the one on which a client was to send."""


def plain(regex):
    """A regular expression as a reader would write the line: \\d+ is a number, \\S+ a word, .+ words."""
    for form, word in ((r"(\d+)", "N"), (r"\d+", "N"), (r"(\S+)", "WORD"), (r"\S+", "WORD"), (r".+", "WORDS"), (r".*", "WORDS")):
        regex = regex.replace(form, word)
    return re.sub(r"\\(.)", r"\1", regex)


class WireClient:
    """A socket to the server. `lines` is everything heard so far; `torn` is a last line that end of file cut off."""

    def __init__(self, address, rcvbuf=None, name="", *, mss=None, pong=True, record=None):
        """Connect. `rcvbuf` makes the receive buffer small (a reader that lags), `mss` the segments, and so the server's send buffer
        for this client; `pong=False` leaves the server's PINGs to you.

        All that happens is added to `record`. Raises CutOff, or OSError if this side has no more sockets.
        """
        self.record = record or Record()
        self.record.clients.append(self)
        self.name = name                # how messages of this class call the client
        self.who = self.record.name(name)
        self.lines = []                 # all lines heard, PINGs included, in order
        self.torn = b""
        self.ended = False              # end of file (or a reset) was read
        self.was_reset = False
        self.pong = pong
        self.group = None               # as HELLO said
        self._read = b""                # heard, not yet given out
        host, port = address
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            if rcvbuf is not None:      # must be set before connect, else the window is already offered
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
            raise CutOff(msg("the server to take the connection of {who}", who=self.who), str(error), "unreachable") from None
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"<WireClient {self.name or '(no name)'}, last heard {self.lines[-3:]}>"

    # -- speaking

    def send(self, *lines):
        """Send lines (str, LF is added), all in one segment if the kernel likes."""
        self.send_bytes("".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape"))

    def send_bytes(self, data):
        """Send these bytes as they are. Raises Unmet, which is CutOff if the server has closed the connection."""
        self.socket.settimeout(deadlines.DEADLINE)
        self.record.add(self.who, "sends", data)
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise Unmet(msg("the server to read the {count} bytes that {who} sends", count=len(data), who=self.who),
                        msg("it did not take them all in {deadline:g} s", deadline=deadlines.DEADLINE), "does-not-read", who=self.who,
                        silent=deadlines.DEADLINE) from None
        except OSError as error:
            raise self.cut_off(error) from None

    def cut_off(self, error):
        """What there is to say when this side could no longer send."""
        return CutOff(msg("the connection of {who} to be open", who=self.who), msg("{who} could not send: {strerror}", who=self.who, strerror=error.strerror),
                      "cut-off", who=self.who)

    # -- hearing

    def line(self, deadline=None):
        """The next line without its LF, or '' at end of file. Raises Silence if none comes."""
        seconds = deadlines.DEADLINE if deadline is None else deadline
        end = time.monotonic() + seconds
        while True:
            line, newline, rest = self._read.partition(b"\n")
            if newline:
                self._read = rest
                text = line.decode("utf-8", "surrogateescape")
                self.lines.append(text)
                self.record.add(self.who, "hears", text)
                if len(self.lines) > MOST_LINES:
                    raise Unmet(msg("an end of what the server sends"), msg("{who} heard more than {most_lines} lines, the last one\n{text}", who=self.who, most_lines=MOST_LINES, text=text), "endless")
                if self.group is None and text.startswith("HELLO grupo/1 "):
                    self.group = text[14:]
                if self.pong and text.startswith("PING "):
                    try:
                        self.send("PONG" + text[4:])
                    except ConnectionError:
                        pass            # what is left to read is still worth reading
                    continue
                if text:                # an empty line would look like end of file
                    return text
                continue
            if self.ended:
                return ""
            if len(line) > MOST_BYTES:
                raise Unmet(msg("lines of at most 512 bytes"), msg("{who} heard {count} bytes and no end of the line", who=self.who, count=len(line)), "endless-line")
            left = end - time.monotonic()
            if left <= 0:
                raise Silence(msg("a line for {who}", who=self.who), msg("{who} heard nothing more for {seconds:.3g} s; before that:\n{lines}", who=self.who,
                                                                             seconds=seconds, lines=self.lines[-5:] or msg("nothing at all")), "silent", who=self.who, silent=seconds)
            self._receive(left)

    def _receive(self, seconds):
        self.socket.settimeout(seconds)
        try:
            chunk = self.socket.recv(65536)
        except TimeoutError:
            return                      # the caller's deadline speaks
        except ConnectionError:
            chunk, self.was_reset = b"", True
        if not chunk:
            self.ended, self.torn, self._read = True, self._read, b""
            if self.torn:
                self.record.add(self.who, "torn", self.torn)
            self.record.add(self.who, "reset" if self.was_reset else "ended")
        self._read += chunk

    def expect(self, regex, deadline=None):
        """Read until a line fully matches; return the match. Lines passed over stay in `lines`. Raises Unmet."""
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
                why = msg("was cut off, and") if self.was_reset else msg("saw the end of the connection, and")
                seconds, sentence = None, "cut-off"
            heard = self.lines[start:]
            raise Unmet(msg("a line like `{plain}` for {who}", plain=plain(regex), who=self.who),
                        msg("{who} {why} heard only:\n{lines}", who=self.who, why=why, lines=heard) if heard else
                        msg("{who} {why} heard nothing", who=self.who, why=why), sentence,
                        who=self.who, silent=seconds)

    def fence(self):
        """PING with a fresh token; return the lines that came before its PONG."""
        token = f"fence-{next(_tokens)}"
        start = len(self.lines)
        self.send("PING " + token)
        self.expect(re.escape("PONG " + token))
        return [line for line in self.lines[start:-1] if not (self.pong and line.startswith("PING "))]

    def greeted(self):
        """Read HELLO, if it was not read, and return the group's name."""
        if self.group is None:
            self.expect(r"HELLO grupo/1 .+")
        return self.group

    def join(self, name, password):
        """HELLO, JOIN, PENDING, WELCOME: return s, the newest event's seq. Anything else is an AssertionError."""
        self.greeted()
        self.name = self.name or name
        self.send(f"JOIN {name} {password}")
        return self.welcomed()

    def welcomed(self):
        """Read to WELCOME, HELLO and PENDING may come before it, and return its s."""
        self.greeted()
        while True:
            text = self.line()
            match = re.fullmatch(r"WELCOME (\d+) (.+)", text)
            if match:
                return int(match[1])
            if text != "PENDING":
                raise Unmet(msg("PENDING, then WELCOME for {who}, who asked to join", who=self.who), msg("{who} heard {line}", who=self.who, line=text or msg("the end")),
                            self.instead_of_welcome(text), who=self.who)

    def instead_of_welcome(self, text):
        """The id of the sentence about a line that came where WELCOME was due."""
        if not text or text.startswith("BYE "):
            return "cut-off"
        if re.fullmatch(rf"IN \d+ \S+ {re.escape(self.name)}", text, re.IGNORECASE):
            return "in-before-welcome"
        if re.match(r"(MSG|IN|OUT|RENAMED|LEFT|BANNED|GROUP) \d+ ", text):
            return "before-welcome"
        return "join-refused" if text.startswith(("REJECTED ", "ERR ")) else None

    def rest(self):
        """All lines to end of file."""
        return list(iter(self.line, ""))

    # -- ending

    def half_close(self):
        """No more will be sent; the reading side stays open."""
        self.record.add(self.who, "shuts")
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self.cut_off(error) from None

    def reset(self):
        """End with a TCP reset, as a crashed machine's kernel may."""
        self.record.add(self.who, "resets")
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        if self.socket.fileno() >= 0:
            self.record.add(self.who, "closes")
            self.socket.close()
