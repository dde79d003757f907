"""A server under test: a real process in a session of its own.

The harness knows it only by its command line, its console, its sockets and its processes. Whatever
a test does, `close` ends every process of that session, and reports those that should have ended
before.
"""

import collections
import contextlib
import ipaddress
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from harness.driving import cells, deadlines, processes
from harness.driving.client import plain
from harness.driving.messages import Message, both, joined, msg
from harness.driving.record import CheckFailed, Record

DESIGNS = ("nonblocking", "pthread", "fork")
# GRUPO_TREE: run the servers of another tree.
ROOT = Path(os.environ.get("GRUPO_TREE") or Path(__file__).resolve().parents[2])
MOST_OUTPUT = 1 << 25  # bytes on stdout or stderr; a server that writes more is killed
LINE_COSTS = 100  # bytes that the harness needs for each line, beside its own
LOOKS = 0.1  # seconds between two counts of the server's processes
TAIL = 20, 500  # of stderr, a failure shows so many lines, and so many characters of each

LISTENING = re.compile(r"listening on (\[[^]]+\]|[^\s:]+):(\d+)")
UNASKED = re.compile(
    r"\S+ asks to join from \S+|\* \S+ (came|went|left)|<\S+> .*|# \d+ lines not shown"
)
ANSWERED = re.compile(r"ok|error: .+|type the group's name to delete it")
CLOSED = object()  # stdin=CLOSED: descriptor 0 is not open at all
# The variables that a server under check gets. Programs need these to run; the others could show
# that a check is under way, or hold a secret.
INHERITED = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|TERM|TZ|LANG|LANGUAGE|LC_[A-Z]+|TMPDIR|LD_LIBRARY_PATH"
    "|PYTHONPATH|VIRTUAL_ENV|JAVA_HOME|CLASSPATH|GOPATH|NODE_PATH|ASAN_OPTIONS|TSAN_OPTIONS"
)


def plain_environment() -> dict[str, str]:
    """Return the part of our environment that a server under check gets, or its cell's own."""
    if (own := cells.current().environment) is not None:
        return dict(own)
    return {name: value for name, value in os.environ.items() if INHERITED.fullmatch(name)}


def command_of(design_or_command: str | Sequence[Any]) -> list[str]:
    """Return the command line of one of our designs by its name; a list is taken as it is."""
    if isinstance(design_or_command, str):
        return [sys.executable, "-m", "implementations." + design_or_command]
    return [str(part) for part in design_or_command]


def command_line(
    command: str | Sequence[Any], host: str, port: int, directory: str | Path, *args: Any
) -> list[str]:
    """Return the command line that starts a server: `command`, --host, --port, --dir, `args`."""
    options = ["--host", host, "--port", str(port), "--dir", str(directory)]
    return [*command_of(command), *options, *map(str, args)]


def start_refused(
    command: str | Sequence[Any],
    *,
    directory: str | Path,
    args: Iterable[Any] = (),
    port: int = 0,
    deadline: float | None = None,
    **popen: Any,
) -> tuple[int, str, str]:
    """Run a server that must refuse to start; return (exit status, stdout, stderr).

    Bytes that are not UTF-8 become surrogates. `popen` are further arguments of subprocess.Popen.
    Raises CheckFailed if the server still runs after `deadline` seconds (by default DEADLINE).
    """
    line = command_line(command, "127.0.0.1", port, directory, *args)
    env = popen.pop("env", None) or inherited_environment()
    launch = launched(line, popen.pop("cwd", ROOT), env, directory)
    popen = {"stdin": subprocess.DEVNULL, **popen}
    process = cells.Process(launch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen)
    try:
        wrote = process.communicate(timeout=deadlines.DEADLINE if deadline is None else deadline)
    except subprocess.TimeoutExpired:
        process.program.end()
        out, err = map(as_text, process.communicate())
        raise CheckFailed(
            msg("the server to end at once, with one line that says why"),
            msg("it kept running; it wrote\n{output}", output=out + err),
            "goes-on",
        ) from None
    return process.wait(), *map(as_text, wrote)


def inherited_environment() -> dict[str, str]:
    """Return our environment, or that of the cell in which programs are started."""
    return dict(os.environ) if cells.current().environment is None else plain_environment()


def launched(
    line: Sequence[str],
    cwd: str | Path,
    env: Mapping[str, str],
    directory: str | Path,
    writable: Iterable[str | Path] = (),
    **options: bool,
) -> cells.Launch:
    """Return what starts a server with this command line, whose group is in `directory`.

    It may write there, and in the folders `writable`. `options` are those of Cell.started().
    Raises OSError if there is no such command.
    """
    return cells.current().started(
        line,
        cwd=cwd,
        env=env,
        readable=cells.loaded(env),
        writable=[cells.there(Path(directory).absolute().parent), *map(cells.there, writable)],
        **options,
    )


def as_text(data: bytes) -> str:
    """Return a program's output as text; bytes that are not UTF-8 become surrogates."""
    return data.decode("utf-8", "surrogateescape")


def end_of(status: int | None) -> Message:
    """Return in words how a process ended; `status` is subprocess's return code."""
    if status is None:
        return msg("is still running")
    if status >= 0:
        return msg("ended with status {status}", status=status)
    return msg(
        "was ended by signal {number} ({name})", number=-status, name=signal.Signals(-status).name
    )


def tail(lines: Sequence[str]) -> list[str]:
    """Return the last of these lines, each shortened to a readable length."""
    most, width = TAIL
    omitted = len(lines) - most
    return [
        *([msg("({count} more lines)", count=omitted)] if omitted > 0 else []),
        *(clipped(line, width) for line in lines[-most:]),
    ]


def clipped(text: str, width: int) -> str:
    """Return a text shortened to `width` characters; of a Message, shorten the values in it."""
    if len(text) <= width:
        return text
    if isinstance(text, Message):
        return text.map(lambda value: clipped(value, width))
    return msg("{beginning}... ({count} characters)", beginning=text[:width], count=len(text))


def is_at(named: tuple[str, int], listening: Iterable[tuple[str, int]]) -> bool:
    """Return whether an address is one of those at which a program listens."""
    try:
        host = ipaddress.ip_address(named[0])
        places = [(ipaddress.ip_address(at), port) for at, port in listening]
    except ValueError:  # a name, or an address with a zone
        return False
    for at, port in places:
        at = getattr(at, "ipv4_mapped", None) or at
        if port == named[1] and (at == host or (at.is_unspecified and host.is_loopback)):
            return True
    return False


class NotStarted(CheckFailed):
    """The server does not listen. `status` is its exit status; None while it runs."""

    status: int | None = None


class _Output:
    """One of the server's two outputs, split into lines; `take` is called for each line."""

    def __init__(self, take: Callable[[str], None]):
        self.take = take
        self.parts: list[bytes] = []  # of a line without an end
        self.size = 0  # bytes that it cost the harness so far

    def add(self, chunk: bytes) -> list[str]:
        """Add the bytes of one read, b"" for the end; return the lines that are now complete."""
        *lines, rest = chunk.split(b"\n")
        self.size += len(chunk) + LINE_COSTS * len(lines)
        if lines:
            lines[0] = b"".join(self.parts) + lines[0]
            self.parts.clear()
        self.parts.append(rest)
        if not chunk:
            lines = [b"".join(self.parts)] if any(self.parts) else []
        return list(map(as_text, lines))


class Server:
    """Starts a server, and waits for its first line, `listening on HOST:PORT`.

    Use it with `with`, or close() it. `address` and `port` are where it listens. `stdout` and
    `stderr` hold every line that it wrote. `leftovers` are processes that outlived an end that
    should have been complete. `reached` are its children that the last signal to the whole group
    reached. `flooded` and `forked` say that it was killed for too much output or too many
    processes.
    """

    most_processes = 2000  # a server that has more forks without end, and is killed

    def __init__(
        self,
        command: str | Sequence[Any],
        *,
        directory: str | Path,
        args: Iterable[Any] = (),
        group: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        stdin: Any = subprocess.PIPE,
        preexec: Callable[[], None] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        deadline: float | None = None,
        record: Record | None = None,
        inherits: bool = True,
        writable: Iterable[str | Path] = (),
    ):
        """Start `command`, the name of a design or a list, and wait until it listens.

        `args` come after --host, --port, --dir and --group. `stdin` is a value for subprocess, or
        CLOSED; only the default, a pipe, takes orders. `preexec` runs in the new process before
        the server. `deadline`: seconds until it must listen, by default DEADLINE. `record` gets
        all its lines and orders. With `inherits` it has our environment, else only that of
        plain_environment(); `env` is added. In a cell it may write in `writable`, too. Raises
        NotStarted, CellError, or OSError if there is no such command.
        """
        args = tuple(args)
        self.start = dict(
            command=command,
            directory=directory,
            args=args,
            group=group,
            host=host,
            port=port,
            stdin=stdin,
            preexec=preexec,
            env=env,
            cwd=cwd,
            deadline=deadline,
            record=record,
            inherits=inherits,
            writable=tuple(writable),
        )
        self.design = command if isinstance(command, str) else None
        self.directory = Path(directory)
        self.record = record or Record()
        grouped = args if group is None else ("--group", group, *args)
        self.command = command_line(command, host, port, directory, *grouped)
        self._reset()
        self._launch()
        try:
            self._wait_listening(deadlines.DEADLINE if deadline is None else deadline)
        except BaseException:
            self.end()
            raise

    def _reset(self) -> None:
        """Set the attributes that say what this run of the server has done so far."""
        self.input_file: str | None = None  # with stdin=CLOSED: see file_at_0()
        self.flooded = False
        self.forked = False
        self.reached: list[psutil.Process] = []
        self.sight: Any = None  # harness/verdicts/causes.py: what it saw when a check failed
        self.unfinished = b""  # of stdout: the beginning of a line without an end
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self.leftovers: list[psutil.Process] = []
        self._unasked: collections.deque[str] = collections.deque()
        self._answers: collections.deque[str] = collections.deque()
        self._answered = 0  # orders, since its start
        # The order under way is `help`: lines that begin with `# ` are its answer.
        self._helping = False
        # Guards `unfinished`, `stdout`, `stderr`, and the three above.
        self._heard = threading.Condition()
        self._may_read = threading.Event()
        self._may_read.set()
        self._killed: float | None = None  # when
        self._stopped: int | None = None  # its exit status
        self._closed = False
        self._over = False  # no process of its session is left

    def _launch(self) -> None:
        """Start the process, and the thread that reads its output."""
        stdin, extra = self.start["stdin"], self.start["env"] or {}
        base = inherited_environment() if self.start["inherits"] else plain_environment()
        line = " ".join(self.command)
        unusual = {
            CLOSED: msg("{command} (stdin: closed)", command=line),
            subprocess.DEVNULL: msg("{command} (stdin: /dev/null)", command=line),
        }
        self.record.add("server", "starts", unusual.get(stdin, line))
        self.process = cells.Process(
            launched(
                self.command,
                self.start["cwd"] or ROOT,
                {**base, **extra},
                self.directory,
                self.start["writable"],
                closed=stdin is CLOSED,
            ),
            stdin=subprocess.DEVNULL if stdin is CLOSED else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec=self.start["preexec"],
        )
        self.program = self.process.program
        self.pid = self.program.pid
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.end()  # the test's own failure is the one to report

    def __repr__(self) -> str:
        status, stderr = self.process.poll(), self.stderr[-3:]
        return f"<Server {' '.join(self.command)} pid {self.pid} status {status} stderr {stderr}>"

    # -- Its output

    def _watch(self) -> None:
        """Read what the server writes, in a thread of its own, up to the end of both outputs.

        Kill the server if its output or the number of its processes grows without end.
        """
        out, err = self.process.stdout.fileno(), self.process.stderr.fileno()
        outputs = {out: _Output(self._out), err: _Output(self._err)}
        open_pipes, next_count, poll = {out, err}, 0.0, select.poll()
        while open_pipes and not (self.flooded or self.forked):
            for pipe in open_pipes:
                if pipe == err or self._may_read.is_set():
                    poll.register(pipe, select.POLLIN)
            ready = poll.poll(1000 * LOOKS)
            if self._over and not ready:
                break  # a process outside the session holds the pipe
            for pipe, _ in ready:
                poll.unregister(pipe)
                chunk, output = os.read(pipe, 65536), outputs[pipe]
                if not chunk:
                    open_pipes.remove(pipe)
                with self._heard:
                    for line in output.add(chunk):
                        output.take(line)
                    if pipe == out:
                        self.unfinished = output.parts[0][:1000] if chunk else b""
                    self._heard.notify_all()
            if time.monotonic() > next_count:
                next_count = time.monotonic() + LOOKS
                self.forked = len(self.program.pids()) > self.most_processes
            self.flooded = max(output.size for output in outputs.values()) > MOST_OUTPUT
        if self.flooded or self.forked:
            cells.end_group(self.pid)
        with self._heard:
            self._heard.notify_all()

    def _err(self, line: str) -> None:
        self.stderr.append(line)
        self.record.add("server", "warns", line)

    def _out(self, line: str) -> None:
        self.stdout.append(line)
        self.record.add("server", "shows", line)
        if len(self.stdout) == 1 and LISTENING.fullmatch(line):
            if self.start["stdin"] is CLOSED:
                # Now, in this thread: it cannot be killed for its output in the meantime.
                self.input_file = self.file_at_0()
            return
        if UNASKED.fullmatch(line) or (line.startswith("# ") and not self._helping):
            self._unasked.append(line)
        else:
            self._answers.append(line)
            if ANSWERED.fullmatch(line):
                self._helping = False
                self._answered += 1

    def _runs(self) -> bool:
        return self.process.poll() is None and not (self.flooded or self.forked)

    def _wait_listening(self, deadline: float) -> None:
        """Wait for the first line, at most `deadline` seconds. Raises NotStarted."""
        with self._heard:
            end = time.monotonic() + deadline
            while not self.stdout and self._runs() and time.monotonic() < end:
                self._heard.wait(0.05)
        if not self._runs():
            self._watcher.join(1)  # for the rest of its output
        first = self.stdout[0] if self.stdout else as_text(self.unfinished)
        match = LISTENING.fullmatch(self.stdout[0]) if self.stdout else None
        if not match:
            raise self._not_listening(first, deadline)
        self.address = (match[1].strip("[]"), int(match[2]))
        self.port = self.address[1]
        if cells.current() is not cells.DIRECT and processes.shares_network(self.pid):
            self._must_be_own()

    def _must_be_own(self) -> None:
        """Raise NotStarted if a server in a cell names an address that is another's.

        Else it could send us to a right server, on any machine.
        """
        holders = processes.sockets(self.program.processes(), psutil.CONN_LISTEN)
        addresses = [address for address, _ in holders]
        if self.process.poll() is not None or is_at(self.address, addresses):
            return
        where = processes.listening(self.program.processes())
        host, port = self.address
        raise NotStarted(
            msg(
                "the server to accept connections at {address}:{address2}, as its first line says",
                address=host,
                address2=port,
            ),
            msg("it listens at {addresses}", addresses=both(where))
            if where
            else msg("it listens nowhere"),
            "listens-elsewhere",
        )

    def _not_listening(self, first: str, deadline: float) -> NotStarted:
        """Return the NotStarted of a server that wrote `first` in place of its first line."""
        did, sentence = self._did_instead(first, deadline)
        problem = NotStarted(
            msg("the server's first line on stdout to be `listening on HOST:PORT`"),
            joined(did, [msg("on stderr it wrote:"), *tail(self.stderr)] if self.stderr else []),
            sentence,
        )
        problem.status = self.process.poll()
        return problem

    def _did_instead(self, first: str, deadline: float) -> tuple[Message, str]:
        """Return what the server did in place of listening, and the id of the sentence on it."""
        status, wrote = self.process.poll(), clipped(repr(first), TAIL[1])
        if self.excessive():
            return self.excess(), self.excessive()
        if status is not None:
            end = end_of(status)
            if first:
                did = msg("it {end}; on stdout it wrote {wrote}", end=end, wrote=wrote)
                return did, "ends-at-once"
            return msg("it {end}", end=end), "ends-at-once"
        if self.stdout:
            return msg("it wrote {wrote}", wrote=wrote), "first-line"
        if first:
            did = msg(
                "it wrote {wrote}, and no end of that line for {seconds:g} s",
                wrote=wrote,
                seconds=deadline,
            )
            return did, "first-line"
        if addresses := processes.listening(self.living()):
            did = msg(
                "it wrote nothing for {seconds:g} s, although it listens at {addresses}",
                seconds=deadline,
                addresses=both(addresses),
            )
            return did, "unflushed"
        return msg("it wrote nothing for {seconds:g} s", seconds=deadline), "never-listens"

    def excessive(self) -> str | None:
        """Return the id of the sentence on the excess for which it was killed, or None."""
        return "floods" if self.flooded else "forks-without-end" if self.forked else None

    def excess(self) -> Message:
        """Return in words the excess for which it was killed."""
        if self.flooded:
            return msg("it wrote more than {megabytes} MB", megabytes=MOST_OUTPUT >> 20)
        return msg("it had more than {count} processes", count=self.most_processes)

    def pause_reading(self) -> None:
        """Stop reading the server's stdout. One read that has begun may still end."""
        self._may_read.clear()

    def go_on_reading(self) -> None:
        """Read the server's stdout again."""
        self._may_read.set()

    # -- Its console

    def order(self, text: str | bytes, deadline: float | None = None) -> list[str]:
        """Type an order, and return the lines of its answer.

        The last line is `ok`, `error: why` or delete's question. `deadline` is in seconds, by
        default DEADLINE. Raises CheckFailed.
        """
        with self._heard:
            self._answers.clear()
            self._helping = text == "help"
        data = text if isinstance(text, bytes) else text.encode()
        self.type_bytes(data + b"\n")
        with self._heard:
            if not self._heard.wait_for(
                lambda: any(ANSWERED.fullmatch(line) for line in self._answers),
                deadlines.DEADLINE if deadline is None else deadline,
            ):
                raise CheckFailed(
                    msg(
                        "an answer to the order `{text}`, its last line `ok` or `error: why`",
                        text=data.decode("utf-8", "backslashreplace"),
                    ),
                    joined(msg("the console showed:"), list(self._answers))
                    if self._answers
                    else msg("the console showed nothing"),
                    "order-unanswered",
                )
            answer: list[str] = []
            while not answer or not ANSWERED.fullmatch(answer[-1]):
                answer.append(self._answers.popleft())
            return answer

    def answers(self, count: int, deadline: float | None = None) -> bool:
        """Wait until the console has answered so many orders since the start.

        `deadline` is in seconds, by default DEADLINE. Returns whether it has.
        """
        with self._heard:
            return self._heard.wait_for(
                lambda: self._answered >= count or not self._runs(),
                deadlines.DEADLINE if deadline is None else deadline,
            )

    def type(self, text: str) -> None:
        """Type a line, and wait for nothing. Raises CheckFailed if its stdin is closed."""
        self.type_bytes(text.encode() + b"\n")

    def type_bytes(self, data: bytes) -> None:
        """Type these bytes, and wait for nothing. Raises CheckFailed if the server closed its
        stdin.
        """
        self.record.add("owner", "types", data)
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            raise CheckFailed(
                msg("the server to read the owner's orders"),
                msg("it has closed its standard input"),
                "order-unanswered",
            ) from None

    def expect(self, regex: str, deadline: float | None = None) -> re.Match[str]:
        """Wait for a console line that answers no order and matches as a whole; return the match.

        The lines before it are passed over. `deadline` is in seconds, by default DEADLINE. Raises
        CheckFailed.
        """
        end = time.monotonic() + (deadlines.DEADLINE if deadline is None else deadline)
        passed: list[str] = []
        with self._heard:
            while True:
                while self._unasked:
                    passed.append(self._unasked.popleft())
                    match = re.fullmatch(regex, passed[-1])
                    if match:
                        return match
                if not self._heard.wait(max(0, end - time.monotonic())) and time.monotonic() > end:
                    raise CheckFailed(
                        msg("a line like `{plain}` on the console", plain=plain(regex)),
                        joined(msg("it showed only:"), passed)
                        if passed
                        else msg("it showed nothing"),
                        "console-silent",
                    )

    # -- Its processes

    def living(self) -> list[psutil.Process]:
        """Return all the server's processes that are no zombies, whatever their parents are."""
        return self.program.processes()

    def family(self) -> list[psutil.Process]:
        """Return the server's process and all its descendants."""
        return processes.family(self.pid)

    def holdings(self) -> processes.Holdings:
        """Return what the family holds, and must give back once its clients have gone."""
        return processes.holdings(self.family())

    def cpu(self) -> float:
        """Return the CPU seconds of the family so far, ended children included."""
        return processes.cpu(self.family())

    def file_at_0(self) -> str | None:
        """With stdin=CLOSED: return the path of the file that the runtime opened as descriptor 0.

        None if there is none. The JVM opens its lib/modules there before the program begins, and
        the program cannot know. A file in the group's own folder does not count: the server itself
        opened that one.
        """
        own = self.directory.resolve()
        for path in map(processes.file_at_0, self.family()):
            if path and not Path(path).is_relative_to(own):
                return path
        return None

    # -- Its end

    @property
    def closed(self) -> bool:
        """Whether end() or close() ended it."""
        return self._closed

    def send_signal(self, signum: int, group: bool = False) -> None:
        """Send the server a signal. `group`: send it to the process group, as a terminal does."""
        self.record.add("server", "signal", signal.Signals(signum).name)
        if group:
            self.reached = processes.reached_by(self.family()[1:], signum)
            os.killpg(self.pid, signum)
        else:
            self.process.send_signal(signum)

    def stop(self, signum: int = signal.SIGTERM, group: bool = False) -> int:
        """Send the signal as send_signal() does, and return the exit status as wait() does.
        Raises CheckFailed.
        """
        self.send_signal(signum, group)
        return self.wait()

    def wait(self, deadline: float | None = None) -> int:
        """Wait for an orderly end, for any reason, and return the exit status.

        Processes that still live then go to `leftovers`. `deadline` is in seconds, by default
        DEADLINE. Raises CheckFailed.
        """
        self._may_read.set()
        try:
            status = self.process.wait(deadlines.DEADLINE if deadline is None else deadline)
        except subprocess.TimeoutExpired:
            raise CheckFailed(
                msg("the server to end"), msg("it kept running"), "does-not-end"
            ) from None
        self.record.add("server", "exits", end_of(status))
        if self._stopped is None and self._killed is None:
            self._stopped = status
            self.leftovers += self.living()
        return status

    def kill(self) -> None:
        """Send SIGKILL to the main process alone, and wait for its end."""
        self._killed = time.monotonic()
        self.record.add("server", "signal", "SIGKILL")
        self.process.kill()
        self.process.wait()

    def orphans_gone(self) -> None:
        """After kill(): wait until no process of the session lives. Raises CheckFailed if one does.

        A server promises this for 2 s on an idle machine; here it has half of DEADLINE.
        """
        seconds = deadlines.DEADLINE / 2
        end = (self._killed or time.monotonic()) + seconds
        while left := self.living():
            if time.monotonic() > end:
                self.leftovers += left
                raise CheckFailed(
                    msg(
                        "no process of the server {seconds:g} s after its main process was killed",
                        seconds=seconds,
                    ),
                    msg("still running: {processes}", processes=left),
                    "orphans",
                )
            time.sleep(0.01)

    def restart(self, **changes: Any) -> "Server":
        """Close the server, and start it again in this object; return the object.

        The arguments are the same except for `changes`. Raises what close() and the constructor
        raise.
        """
        self.close()
        self.__init__(**{**self.start, **changes})
        return self

    def end(self) -> None:
        """Kill what is left of the server, and report nothing."""
        self._closed = True
        self._may_read.set()
        self.program.end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(deadlines.DEADLINE)
        self._over = True
        self._watcher.join(10)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with contextlib.suppress(OSError):  # an order that the server did not read
                    stream.close()

    def close(self) -> None:
        """Stop the server if it still runs, and kill what is left of it.

        Raises AssertionError for a bad exit status, processes left over, or a traceback.
        """
        if self._closed:
            return
        complaints = []
        try:
            if self.process.poll() is None:
                status = self.stop()
                if status != 0:
                    complaints.append(f"SIGTERM ended it with status {status}")
            elif self._killed is not None and not self.leftovers:
                self.orphans_gone()
            elif self._stopped is None:
                self.wait()
        except AssertionError as problem:
            complaints.append(str(problem))
        if self.leftovers:
            complaints.append(f"processes outlived the server: {self.leftovers}")
        self.end()
        if any("Traceback" in line for line in self.stderr):
            complaints.append("stderr holds a traceback:\n" + "\n".join(self.stderr[-60:]))
        if complaints:
            raise AssertionError("; ".join(complaints) + f" (server: {' '.join(self.command)})")
