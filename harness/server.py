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

DESIGNS = ("nonblocking", "pthread", "fork")
ROOT = Path(os.environ.get("GRUPO_TREE") or Path(__file__).resolve().parents[1])    # GRUPO_TREE: try another tree's servers
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
    """Run a server that must refuse to start: (status, stdout, stderr) of its end, AssertionError if it goes on."""
    line = [*command_of(command), "--host", "127.0.0.1", "--port", "0", "--dir", str(directory), *map(str, args)]
    popen = {"stdin": subprocess.DEVNULL, "cwd": ROOT, **popen}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **popen)
    try:
        out, err = process.communicate(timeout=wire.DEADLINE if deadline is None else deadline)
    except subprocess.TimeoutExpired:
        _end_session(process.pid)
        out, err = process.communicate()
        raise AssertionError(f"the server started where it should have refused; it wrote {out!r} {err!r}") from None
    return process.returncode, out, err


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


class Server:
    """Start a server and wait for its first line, `listening on HOST:PORT`. Use it with `with`.

    `command` is a design's name or a list; `args` are added after --host, --port and --dir. `stdin` is what subprocess
    takes, or CLOSED; only with the default, a pipe, can orders be typed. `preexec` runs in the new process before the server.
    """

    def __init__(self, command, *, directory, args=(), group=None, host="127.0.0.1", port=0, stdin=subprocess.PIPE,
                 preexec=None, env=None, cwd=None, deadline=None):
        self.design = command if isinstance(command, str) else None
        self.directory = Path(directory)
        self.start = dict(command=command, directory=directory, args=tuple(args), group=group, host=host, port=port, stdin=stdin,
                          preexec=preexec, env=env, cwd=cwd, deadline=deadline)
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
        self.process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL if stdin is CLOSED else stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=cwd or ROOT, env={**os.environ, **env} if env else None, start_new_session=True,
            preexec_fn=before if preexec or stdin is CLOSED else None)
        self.pid = self.process.pid
        self._threads = [threading.Thread(target=self._listen, args=args, daemon=True)
                         for args in ((self.process.stdout, self._out), (self.process.stderr, self.stderr.append))]
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
        rest = b""
        while True:
            if stream is self.process.stdout:
                self._may_read.wait()
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
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

    def _out(self, line):
        self.stdout.append(line)
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
        first = self.stdout[0] if self.stdout else None
        match = LISTENING.fullmatch(first or "")
        if not match:
            self.process.poll()
            raise AssertionError(f"the server's first line should be 'listening on HOST:PORT', it was {first!r}; "
                                 f"status {self.process.returncode}, stderr {self.stderr[-20:]}; command {self.command}")
        self.address = (match[1].strip("[]"), int(match[2]))
        self.port = self.address[1]

    def pause_reading(self):
        """The owner stops reading his terminal (what is under way may still be read)."""
        self._may_read.clear()

    def go_on_reading(self):
        self._may_read.set()

    # -- the console

    def order(self, text, deadline=None):
        """Type an order; return the lines of its answer, the last being `ok`, `error: why` or delete's question."""
        with self._heard:
            self._answers.clear()
            self._helping = text == "help"
        self.type(text)
        with self._heard:
            done = lambda: any(ANSWERED.fullmatch(line) for line in self._answers)
            if not self._heard.wait_for(done, wire.DEADLINE if deadline is None else deadline):
                raise TimeoutError(f"the order {text!r} was not answered; heard {list(self._answers)}, {self!r}")
            answer = []
            while not answer or not ANSWERED.fullmatch(answer[-1]):
                answer.append(self._answers.popleft())
            return answer

    def type(self, text):
        """Type a line and wait for nothing."""
        self.type_bytes(text.encode() + b"\n")

    def type_bytes(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def expect(self, regex, deadline=None):
        """Wait for an unasked console line that fully matches, passing over those before it; return the match."""
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
                    raise TimeoutError(f"the console never showed /{regex}/, only {passed[-12:]}; {self!r}")

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
        self.process.send_signal(signum)
        return self.wait()

    def wait(self, deadline=None):
        """Wait for an orderly end that something else caused (`close`, a terminal's Ctrl-C); return the exit status."""
        self._may_read.set()
        try:
            status = self.process.wait(wire.DEADLINE if deadline is None else deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end: {self!r}") from None
        if self._stopped is None and self._killed is None:
            self._stopped = status
            self.leftovers += session_of(self.pid)
        return status

    def kill(self):
        """SIGKILL the main process, and it alone."""
        self._killed = time.monotonic()
        self.process.kill()
        self.process.wait()

    def orphans_gone(self):
        """After `kill`: wait until no process of the session lives; AssertionError if one outlives it by ORPHANS seconds."""
        end = (self._killed or time.monotonic()) + ORPHANS
        while found := session_of(self.pid):
            if time.monotonic() > end:
                self.leftovers += found
                raise AssertionError(f"{ORPHANS:g} s after its kill -9 the server's processes still live: {found}")
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
