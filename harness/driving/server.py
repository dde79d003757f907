"""A server under test: a real process in a session of its own, known only by its command line, console and processes.

Whatever the test does, `close` ends every process of that session, and complains of those that should have ended before.
"""

import collections
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from harness.driving import processes, deadlines
from harness.driving.client import plain
from harness.driving.messages import Message, both, joined, msg
from harness.driving.processes import session as session_of
from harness.driving.record import Record, Unmet

DESIGNS = ("nonblocking", "pthread", "fork")
ROOT = Path(os.environ.get("GRUPO_TREE") or Path(__file__).resolve().parents[2])    # GRUPO_TREE: try another tree's servers
MOST_OUTPUT = 1 << 25       # bytes that a server may write to one of its two outputs; more is a flood, and ends it
LINE_COSTS = 100            # bytes that a line costs us, beside its own
LOOKS = 0.1                 # seconds between two looks at how many there are
TAIL = 20, 500              # of what it wrote to stderr a failure shows so many lines, and of each so many characters

LISTENING = re.compile(r"listening on (\[[^]]+\]|[^\s:]+):(\d+)")
UNASKED = re.compile(r"\S+ asks to join from \S+|\* \S+ (came|went|left)|<\S+> .*|# \d+ lines not shown")
ANSWERED = re.compile(r"ok|error: .+|type the group's name to delete it")
CLOSED = object()   # stdin=CLOSED: descriptor 0 is not open at all
# All that a server under check sees of our environment: what programs need to run, and nothing that tells of the check or of a token.
INHERITED = re.compile("PATH|HOME|USER|LOGNAME|SHELL|TERM|TZ|LANG|LANGUAGE|LC_[A-Z]+|TMPDIR|LD_LIBRARY_PATH|PYTHONPATH|VIRTUAL_ENV|JAVA_HOME|CLASSPATH|GOPATH|NODE_PATH")


def plain_environment() -> dict[str, str]:
    """What a program that is not ours is given of our environment."""
    return {name: value for name, value in os.environ.items() if INHERITED.fullmatch(name)}


def command_of(design_or_command):
    """The command line of one of our designs by name, or a list taken as it is."""
    if isinstance(design_or_command, str):
        return [sys.executable, "-m", "implementations." + design_or_command]
    return [str(part) for part in design_or_command]


def start_refused(command, *, directory, args=(), port=0, deadline=None, **popen):
    """Run a server that must refuse to start: (status, stdout, stderr) of its end, where bytes that are not UTF-8
    are surrogates. Raises Unmet if it goes on."""
    line = [*command_of(command), "--host", "127.0.0.1", "--port", str(port), "--dir", str(directory), *map(str, args)]
    popen = {"stdin": subprocess.DEVNULL, "cwd": ROOT, **popen}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **popen)
    try:
        wrote = process.communicate(timeout=deadlines.DEADLINE if deadline is None else deadline)
    except subprocess.TimeoutExpired:
        _end_session(process.pid)
        out, err = map(as_text, process.communicate())
        raise Unmet(msg("the server to end at once, with one line that says why"), msg("it went on; it wrote\n{output}", output=out + err), "goes-on") from None
    return process.returncode, *map(as_text, wrote)


def as_text(data):
    """What a program wrote, as text: bytes that are not UTF-8 become surrogates."""
    return data.decode("utf-8", "surrogateescape")


def end_of(status):
    """How a process ended, in words, of subprocess's return code."""
    if status is None:
        return msg("is still running")
    if status >= 0:
        return msg("ended with status {status}", status=status)
    return msg("was ended by signal {number} ({name})", number=-status, name=signal.Signals(-status).name)


def tail(lines):
    """The last of these lines, none too long, for people."""
    most, width = TAIL
    return [*([msg("({count} lines more)", count=len(lines) - most)] if len(lines) > most else []), *(clipped(line, width) for line in lines[-most:])]


def clipped(text, width):
    """A text that is too long, shortened; of a Message, what it holds of others."""
    if len(text) <= width:
        return text
    if isinstance(text, Message):
        return text.map(lambda value: clipped(value, width))
    return msg("{beginning}... ({count} characters)", beginning=text[:width], count=len(text))


def _end_session(sid):
    end = time.monotonic() + 5          # killing races with forking: look again until nobody is left
    while (found := session_of(sid)) and time.monotonic() < end:
        _end_group(sid)
        for process in found:           # who made himself another group
            try:
                process.kill()
            except psutil.Error:
                pass
        time.sleep(0.01)


def _end_group(pid):
    """Kills the whole group at one stroke: who forks without end cannot outrun it."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass                            # nobody is left


class NotStarted(Unmet):
    """The server does not listen; `status` is its exit status, None if it runs."""


class Server:
    """Start a server and wait for its first line, `listening on HOST:PORT`. Use it with `with`.

    `command` is a design's name or a list; `args` are added after --host, --port and --dir. `stdin` is what subprocess
    takes, or CLOSED; only with the default, a pipe, can orders be typed. `preexec` runs in the new process before the server.
    `inherits`: it has our environment, else only what plain_environment() leaves of it; `env` is added to that.
    All that it writes and is told is added to `record`. Raises NotStarted, or OSError if there is no such command.
    """

    most_processes = 2000       # that it may have; more is a fork without end, and ends it

    def __init__(self, command, *, directory, args=(), group=None, host="127.0.0.1", port=0, stdin=subprocess.PIPE,
                 preexec=None, env=None, cwd=None, deadline=None, record=None, inherits=True):
        self.design = command if isinstance(command, str) else None
        self.directory = Path(directory)
        self.start = dict(command=command, directory=directory, args=tuple(args), group=group, host=host, port=port, stdin=stdin,
                          preexec=preexec, env=env, cwd=cwd, deadline=deadline, record=record, inherits=inherits)
        self.record = record or Record()
        line = [*command_of(command), "--host", host, "--port", str(port), "--dir", str(directory)]
        if group is not None:
            line += ["--group", group]
        line += [str(arg) for arg in args]
        self.command = line

        def before():
            if stdin is CLOSED:
                os.close(0)
            if preexec:
                preexec()

        self.input_file = None          # stdin=CLOSED: see file_at_0()
        self.flooded = False            # it wrote more than MOST_OUTPUT, and was ended for it
        self.forked = False             # it had more than most_processes, likewise
        self.reached = []               # its children that the last signal to its whole group reached
        self.sight = None               # harness/verdicts/causes.py: what was seen of it when a check failed
        self.unfinished = b""           # of stdout: what was written, and no end of a line yet
        self.stdout = []                # every line written so far
        self.stderr = []
        self.leftovers = []             # what outlived an end that should have been complete
        self._unasked = collections.deque()
        self._answers = collections.deque()
        self._helping = False           # the order under way is `help`: `# ` lines are its answer, else they are unasked
        self._heard = threading.Condition()     # guards the five above
        self._may_read = threading.Event()
        self._may_read.set()
        self._killed = self._stopped = None
        self._closed = False
        self._over = False              # nobody of its session is left
        given = {CLOSED: msg("{command} (stdin: closed)", command=" ".join(line)), subprocess.DEVNULL: msg("{command} (stdin: /dev/null)", command=" ".join(line))}
        self.record.add("server", "starts", given.get(stdin, " ".join(line)))
        self.process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL if stdin is CLOSED else stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=cwd or ROOT, env={**(os.environ if inherits else plain_environment()), **(env or {})}, start_new_session=True,
            preexec_fn=before if preexec or stdin is CLOSED else None)
        self.pid = self.process.pid
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        try:
            self._wait_listening(deadlines.DEADLINE if deadline is None else deadline)
        except BaseException:
            self.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self.end()                  # the test's own failure is the story

    def __repr__(self):
        return f"<Server {' '.join(self.command)} pid {self.pid} status {self.process.poll()} stderr {self.stderr[-3:]}>"

    # -- what it writes

    def _watch(self):
        """The body of the thread that reads what the server writes, and sees to it that neither that nor its processes grow without end."""
        out, err = self.process.stdout.fileno(), self.process.stderr.fileno()
        pipes = {out: (self._out, []), err: (self._err, [])}        # how to take a line, and the parts of one that has no end yet
        size, looks, poll = {out: 0, err: 0}, 0.0, select.poll()
        while pipes and not (self.flooded or self.forked):
            for pipe in out, err:
                if pipe in pipes and (pipe == err or self._may_read.is_set()):
                    poll.register(pipe, select.POLLIN)
            ready = poll.poll(1000 * LOOKS)
            if self._over and not ready:
                break                   # somebody who outlives it holds the pipe
            for pipe, _ in ready:
                poll.unregister(pipe)
                take, parts = pipes[pipe]
                chunk = os.read(pipe, 65536)
                *lines, rest = chunk.split(b"\n")
                size[pipe] += len(chunk) + LINE_COSTS * len(lines)
                if lines:
                    lines[0] = b"".join(parts) + lines[0]
                    parts.clear()
                parts.append(rest)
                if not chunk:
                    lines = [b"".join(parts)] if any(parts) else []
                    del pipes[pipe]
                with self._heard:
                    if pipe == out:
                        self.unfinished = parts[0][:1000] if chunk else b""
                    for line in lines:
                        take(line.decode("utf-8", "surrogateescape"))
                    self._heard.notify_all()
            if time.monotonic() > looks:
                looks = time.monotonic() + LOOKS
                self.forked = len(processes.pids(self.pid)) > self.most_processes
            self.flooded = max(size.values()) > MOST_OUTPUT
        if self.flooded or self.forked:
            _end_group(self.pid)
        with self._heard:
            self._heard.notify_all()

    def _err(self, line):
        self.stderr.append(line)
        self.record.add("server", "warns", line)

    def _out(self, line):
        self.stdout.append(line)
        self.record.add("server", "shows", line)
        if len(self.stdout) == 1 and LISTENING.fullmatch(line):
            if self.start["stdin"] is CLOSED:       # (now: while we read its first line it cannot have ended for writing too many)
                self.input_file = self.file_at_0()
            return
        if UNASKED.fullmatch(line) or (line.startswith("# ") and not self._helping):
            self._unasked.append(line)
        else:
            self._answers.append(line)
            if ANSWERED.fullmatch(line):
                self._helping = False

    def _wait_listening(self, deadline):
        going = lambda: self.process.poll() is None and not (self.flooded or self.forked)
        with self._heard:
            end = time.monotonic() + deadline
            while not self.stdout and going() and time.monotonic() < end:
                self._heard.wait(0.05)
        if not going():
            self._watcher.join(1)       # it reads what there is to read
        first = self.stdout[0] if self.stdout else self.unfinished.decode("utf-8", "surrogateescape")
        match = LISTENING.fullmatch(self.stdout[0]) if self.stdout else None
        if not match:
            raise self._not_listening(first, deadline)
        self.address = (match[1].strip("[]"), int(match[2]))
        self.port = self.address[1]

    def _not_listening(self, first, deadline):
        """NotStarted, with what the server did in place of its first line."""
        status, wrote = self.process.poll(), clipped(repr(first), TAIL[1])
        if self.excessive():
            what, sentence = self.excess(), self.excessive()
        elif status is not None:
            what, sentence = msg("it {end}", end=end_of(status)), "ends-at-once"
            if first:
                what = msg("it {end}; on stdout it wrote {wrote}", end=end_of(status), wrote=wrote)
        elif self.stdout:
            what, sentence = msg("it wrote {wrote}", wrote=wrote), "first-line"
        elif first:
            what, sentence = msg("it wrote {wrote}, and for {seconds:g} s no end of that line", wrote=wrote, seconds=deadline), "first-line"
        elif found := processes.listening(session_of(self.pid)):
            what = msg("it wrote nothing for {seconds:g} s, though it listens at {addresses}", seconds=deadline, addresses=both(found))
            sentence = "unflushed"
        else:
            what, sentence = msg("it wrote nothing for {seconds:g} s", seconds=deadline), "never-listens"
        problem = NotStarted(msg("the server's first line on stdout to be `listening on HOST:PORT`"),
                             joined(what, [msg("on stderr it wrote:"), *tail(self.stderr)] if self.stderr else []), sentence)
        problem.status = status
        return problem

    def excessive(self):
        """The id of the sentence on what it was ended for, if it was."""
        return "floods" if self.flooded else "forks-without-end" if self.forked else None

    def excess(self):
        if self.flooded:
            return msg("it wrote more than {megabytes} MB", megabytes=MOST_OUTPUT >> 20)
        return msg("it had more than {count} processes", count=self.most_processes)

    def pause_reading(self):
        """The owner stops reading his terminal (what is under way may still be read)."""
        self._may_read.clear()

    def go_on_reading(self):
        self._may_read.set()

    # -- the console

    def order(self, text, deadline=None):
        """Type an order (str, or bytes that may be no text); return the lines of its answer, the last being `ok`, `error: why` or
        delete's question. Raises Unmet."""
        with self._heard:
            self._answers.clear()
            self._helping = text == "help"
        data = text if isinstance(text, bytes) else text.encode()
        self.type_bytes(data + b"\n")
        text = data.decode("utf-8", "backslashreplace")
        with self._heard:
            done = lambda: any(ANSWERED.fullmatch(line) for line in self._answers)
            if not self._heard.wait_for(done, deadlines.DEADLINE if deadline is None else deadline):
                raise Unmet(msg("an answer to the order `{text}`, its last line `ok` or `error: why`", text=text),
                            joined(msg("the console showed:"), list(self._answers)) if self._answers else msg("the console showed nothing"),
                            "order-unanswered")
            answer = []
            while not answer or not ANSWERED.fullmatch(answer[-1]):
                answer.append(self._answers.popleft())
            return answer

    def type(self, text):
        """Type a line and wait for nothing."""
        self.type_bytes(text.encode() + b"\n")

    def type_bytes(self, data):
        self.record.add("owner", "types", data)
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Unmet(msg("the server to read the owner's orders"), msg("it has closed its standard input"), "order-unanswered") from None

    def expect(self, regex, deadline=None):
        """Wait for an unasked console line that fully matches, passing over those before it; return the match. Raises Unmet."""
        end = time.monotonic() + (deadlines.DEADLINE if deadline is None else deadline)
        passed = []
        with self._heard:
            while True:
                while self._unasked:
                    passed.append(self._unasked.popleft())
                    match = re.fullmatch(regex, passed[-1])
                    if match:
                        return match
                if not self._heard.wait(max(0, end - time.monotonic())) and time.monotonic() > end:
                    raise Unmet(msg("a line like `{plain}` on the console", plain=plain(regex)),
                                joined(msg("it showed only:"), passed) if passed else msg("it showed nothing"), "console-silent")

    # -- its processes

    def family(self):
        """The server's process and all its descendants, as psutil processes."""
        return processes.family(self.pid)

    def holdings(self):
        """(processes, threads, descriptors) of the whole family: what must be back to the base line when clients have gone."""
        return processes.holdings(self.family())

    def cpu(self):
        """CPU seconds of the family so far, ended and reaped children included."""
        return processes.cpu(self.family())

    def file_at_0(self):
        """With stdin=CLOSED: the file that the server's runtime has opened as descriptor 0, a path, or None.

        The JVM does so before the program begins (its lib/modules), and the program cannot know. A file of the
        group's own folder does not count: the server itself opened that one.
        """
        found = filter(None, map(processes.file_at_0, self.family()))
        return next((path for path in found if not Path(path).is_relative_to(self.directory.resolve())), None)

    # -- its end

    @property
    def closed(self):
        """Whether it was ended by end() or close()."""
        return self._closed

    def send_signal(self, signum, group=False):
        """Send it a signal; `group`: to its whole process group, as a terminal does."""
        self.record.add("server", "signal", signal.Signals(signum).name)
        if group:
            self.reached = processes.reached_by(self.family()[1:], signum)
            os.killpg(self.pid, signum)
        else:
            self.process.send_signal(signum)

    def stop(self, signum=signal.SIGTERM):
        """Ask it to end by a signal and return its exit status; what then still lives is a leftover."""
        self.send_signal(signum)
        return self.wait()

    def wait(self, deadline=None):
        """Wait for an orderly end that something else caused (`close`, a terminal's Ctrl-C); return the exit status."""
        self._may_read.set()
        try:
            status = self.process.wait(deadlines.DEADLINE if deadline is None else deadline)
        except subprocess.TimeoutExpired:
            raise Unmet(msg("the server to end"), msg("it went on running"), "does-not-end") from None
        self.record.add("server", "exits", end_of(status))
        if self._stopped is None and self._killed is None:
            self._stopped = status
            self.leftovers += session_of(self.pid)
        return status

    def kill(self):
        """SIGKILL the main process, and it alone."""
        self._killed = time.monotonic()
        self.record.add("server", "signal", "SIGKILL")
        self.process.kill()
        self.process.wait()

    def orphans_gone(self):
        """After `kill`: wait until no process of the session lives; AssertionError if one outlives it. (The 2 s that are promised are an idle machine's.)"""
        seconds = deadlines.DEADLINE / 2
        end = (self._killed or time.monotonic()) + seconds
        while found := session_of(self.pid):
            if time.monotonic() > end:
                self.leftovers += found
                raise Unmet(msg("no process of the server {seconds:g} s after its main process was killed", seconds=seconds), msg("there live {found}", found=found), "orphans")
            time.sleep(0.01)

    def restart(self, **changes):
        """End it if it still runs, with all of close's complaints; start it again, this object, same arguments but for `changes`."""
        self.close()
        self.__init__(**{**self.start, **changes})
        return self

    def end(self):
        """End whatever is left, and complain of nothing."""
        self._closed = True
        self._may_read.set()
        _end_session(self.pid)
        try:
            self.process.wait(deadlines.DEADLINE)
        except subprocess.TimeoutExpired:
            pass
        self._over = True
        self._watcher.join(10)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                try:
                    stream.close()
                except OSError:
                    pass                # an unread order

    def close(self):
        """End it in order if it still runs, end what is left of it, and raise AssertionError if anything was amiss."""
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
