"""A server under test: a real process in a session of its own, known only by its command line, console and processes.

Whatever the test does, `close` ends every process of that session, and complains of those that should have ended before.
"""

import collections
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from harness import wire
from harness.record import Record, Unmet

DESIGNS = ("nonblocking", "pthread", "fork")
ROOT = Path(os.environ.get("GRUPO_TREE") or Path(__file__).resolve().parents[1])    # GRUPO_TREE: try another tree's servers
MOST_OUTPUT = 1 << 25       # bytes that a server may write to one of its two outputs; more is a flood, and ends it
ORPHANS = 2.0       # seconds that processes may outlive a killed server

LISTENING = re.compile(r"listening on (\[[^]]+\]|[^\s:]+):(\d+)")
UNASKED = re.compile(r"\S+ asks to join from \S+|\* \S+ (came|went|left)|<\S+> .*|# \d+ lines not shown")
ANSWERED = re.compile(r"ok|error: .+|type the group's name to delete it")
CLOSED = object()   # stdin=CLOSED: descriptor 0 is not open at all


def command_of(design_or_command):
    """The command line of one of our designs by name, or a list taken as it is."""
    if isinstance(design_or_command, str):
        return [sys.executable, "-m", "implementations." + design_or_command]
    return [str(part) for part in design_or_command]


def start_refused(command, *, directory, args=(), deadline=None, **popen):
    """Run a server that must refuse to start: (status, stdout, stderr) of its end. Raises Unmet if it goes on."""
    line = [*command_of(command), "--host", "127.0.0.1", "--port", "0", "--dir", str(directory), *map(str, args)]
    popen = {"stdin": subprocess.DEVNULL, "cwd": ROOT, **popen}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **popen)
    try:
        out, err = process.communicate(timeout=wire.DEADLINE if deadline is None else deadline)
    except subprocess.TimeoutExpired:
        _end_session(process.pid)
        out, err = process.communicate()
        raise Unmet("the server to end at once, with one line that says why", f"it went on; it wrote\n{out}{err}", "goes-on") from None
    return process.returncode, out, err


def end_of(status):
    """How a process ended, in words, of subprocess's return code."""
    if status is None:
        return "is still running"
    return f"ended with status {status}" if status >= 0 else f"was ended by signal {-status} ({signal.Signals(-status).name})"


def session_of(sid):
    """The living (not zombie) processes of a session."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == sid and (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            pass                        # ended meanwhile
    return found


def _end_session(sid):
    end = time.monotonic() + 5          # killing races with forking: look again until nobody is left
    while (found := session_of(sid)) and time.monotonic() < end:
        for process in found:
            try:
                process.kill()
            except psutil.Error:
                pass
        time.sleep(0.01)


class NotStarted(Unmet):
    """The server does not listen; `status` is its exit status, None if it runs."""


class Server:
    """Start a server and wait for its first line, `listening on HOST:PORT`. Use it with `with`.

    `command` is a design's name or a list; `args` are added after --host, --port and --dir. `stdin` is what subprocess
    takes, or CLOSED; only with the default, a pipe, can orders be typed. `preexec` runs in the new process before the server.
    All that it writes and is told is added to `record`. Raises NotStarted, or OSError if there is no such command.
    """

    def __init__(self, command, *, directory, args=(), group=None, host="127.0.0.1", port=0, stdin=subprocess.PIPE,
                 preexec=None, env=None, cwd=None, deadline=None, record=None):
        self.design = command if isinstance(command, str) else None
        self.directory = Path(directory)
        self.start = dict(command=command, directory=directory, args=tuple(args), group=group, host=host, port=port, stdin=stdin,
                          preexec=preexec, env=env, cwd=cwd, deadline=deadline, record=record)
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

        self.flooded = False            # it wrote more than MOST_OUTPUT
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
        self.record.add("server", "starts", " ".join(line))
        self.process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL if stdin is CLOSED else stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=cwd or ROOT, env={**os.environ, **env} if env else None, start_new_session=True,
            preexec_fn=before if preexec or stdin is CLOSED else None)
        self.pid = self.process.pid
        self._threads = [threading.Thread(target=self._listen, args=args, daemon=True)
                         for args in ((self.process.stdout, self._out), (self.process.stderr, self._err))]
        for thread in self._threads:
            thread.start()
        try:
            self._wait_listening(wire.DEADLINE if deadline is None else deadline)
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

    def _listen(self, stream, take):
        """The body of the two reader threads."""
        rest, size = b"", 0
        while True:
            if stream is self.process.stdout:
                self._may_read.wait()
            chunk = os.read(stream.fileno(), 65536)
            size += len(chunk)
            if size > MOST_OUTPUT and not self.flooded:
                self.flooded = True
                self.process.kill()     # its other processes go as after any end
            if not chunk or self.flooded:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            with self._heard:
                for line in lines:
                    take(line.decode("utf-8", "surrogateescape"))
                self._heard.notify_all()
        with self._heard:
            if rest:
                take(rest.decode("utf-8", "surrogateescape"))
            self._heard.notify_all()

    def _err(self, line):
        self.stderr.append(line)
        self.record.add("server", "warns", line)

    def _out(self, line):
        self.stdout.append(line)
        self.record.add("server", "shows", line)
        if len(self.stdout) == 1 and LISTENING.fullmatch(line):
            return
        if UNASKED.fullmatch(line) or (line.startswith("# ") and not self._helping):
            self._unasked.append(line)
        else:
            self._answers.append(line)
            if ANSWERED.fullmatch(line):
                self._helping = False

    def _wait_listening(self, deadline):
        with self._heard:
            end = time.monotonic() + deadline
            while not self.stdout and self.process.poll() is None and time.monotonic() < end:
                self._heard.wait(0.05)
        if self.process.poll() is not None:
            for thread in self._threads:        # what it wrote last says why; but its daemons may keep the pipes open
                thread.join(0.5)
        first = self.stdout[0] if self.stdout else None
        match = LISTENING.fullmatch(first or "")
        if not match:
            what, sentence = ((f"it wrote more than {MOST_OUTPUT >> 20} MB", "floods") if self.flooded else
                              (f"it wrote {first!r}", "first-line") if self.stdout else
                              (f"it wrote nothing for {deadline:g} s", "never-listens") if self.process.poll() is None else
                              (f"it {end_of(self.process.poll())}", "ends-at-once"))
            problem = NotStarted("the server's first line on stdout to be `listening on HOST:PORT`", "\n".join([what, *self.stderr]), sentence)
            problem.status = self.process.poll()
            raise problem
        self.address = (match[1].strip("[]"), int(match[2]))
        self.port = self.address[1]

    def pause_reading(self):
        """The owner stops reading his terminal (what is under way may still be read)."""
        self._may_read.clear()

    def go_on_reading(self):
        self._may_read.set()

    # -- the console

    def order(self, text, deadline=None):
        """Type an order; return the lines of its answer, the last being `ok`, `error: why` or delete's question. Raises Unmet."""
        with self._heard:
            self._answers.clear()
            self._helping = text == "help"
        self.type(text)
        with self._heard:
            done = lambda: any(ANSWERED.fullmatch(line) for line in self._answers)
            if not self._heard.wait_for(done, wire.DEADLINE if deadline is None else deadline):
                raise Unmet(f"an answer to the order `{text}`, its last line `ok` or `error: why`",
                            "\n".join(["the console showed:", *self._answers] if self._answers else ["the console showed nothing"]),
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
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def expect(self, regex, deadline=None):
        """Wait for an unasked console line that fully matches, passing over those before it; return the match. Raises Unmet."""
        end = time.monotonic() + (wire.DEADLINE if deadline is None else deadline)
        passed = []
        with self._heard:
            while True:
                while self._unasked:
                    passed.append(self._unasked.popleft())
                    match = re.fullmatch(regex, passed[-1])
                    if match:
                        return match
                if not self._heard.wait(max(0, end - time.monotonic())) and time.monotonic() > end:
                    raise Unmet(f"a line like `{wire.plain(regex)}` on the console",
                                "\n".join(["it showed only:", *passed] if passed else ["it showed nothing"]), "console-silent")

    # -- its processes

    def family(self):
        """The server's process and all its descendants, as psutil processes."""
        try:
            main = psutil.Process(self.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def holdings(self):
        """(processes, threads, descriptors) of the whole family: what must be back to the base line when clients have gone."""
        processes = threads = descriptors = 0
        for process in self.family():
            processes += 1              # a zombie, too
            try:
                threads += process.num_threads()
                descriptors += process.num_fds()
            except psutil.Error:
                pass                    # it ended while we counted
        return processes, threads, descriptors

    def cpu(self):
        """CPU seconds of the family so far, ended and reaped children included."""
        total = 0.0
        for process in self.family():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            if process.pid == self.pid:
                total += times.children_user + times.children_system
        return total

    # -- its end

    def stop(self, signum=signal.SIGTERM):
        """Ask it to end by a signal and return its exit status; what then still lives is a leftover."""
        self.record.add("server", "signal", signal.Signals(signum).name)
        self.process.send_signal(signum)
        return self.wait()

    def wait(self, deadline=None):
        """Wait for an orderly end that something else caused (`close`, a terminal's Ctrl-C); return the exit status."""
        self._may_read.set()
        try:
            status = self.process.wait(wire.DEADLINE if deadline is None else deadline)
        except subprocess.TimeoutExpired:
            raise Unmet("the server to end", "it went on running", "does-not-end") from None
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
        """After `kill`: wait until no process of the session lives; AssertionError if one outlives it by ORPHANS seconds."""
        end = (self._killed or time.monotonic()) + ORPHANS
        while found := session_of(self.pid):
            if time.monotonic() > end:
                self.leftovers += found
                raise Unmet(f"no process of the server {ORPHANS:g} s after its main process was killed", f"there live {found}", "orphans")
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
            self.process.wait(wire.DEADLINE)
        except subprocess.TimeoutExpired:
            pass
        for thread in self._threads:
            thread.join(2)
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
