"""A program on a terminal of its own, through pexpect: a member and his client, or the owner and his server.

The kernel's echo is off, so that what is shown is what the program shows. pexpect's own waits are off: they cost 50 ms for each line typed,
100 ms for each end.
"""
import contextlib
import re
import signal
import time

import pexpect
import psutil

from harness.driving import deadlines
from harness.driving.client import plain
from harness.driving.messages import joined, msg
from harness.driving.processes import family, reached_by
from harness.driving.record import Record, Unmet
from harness.driving.server import ROOT, end_of, session_of

WIDE = 24, 4096         # lines and columns of a terminal: programs that fold lines to its width would fold no line of ours


class TerminalClient:
    """Starts `command`, whose terminal shows and takes lines. Use it with `with`, or close() it.

    `program` is who shows in the record, `person` who types; `env` is all of its environment (None: ours); told(mark, line), if given, is called for each line typed (">") and shown ("|").
    Raises OSError or pexpect.ExceptionPexpect if there is no such command.
    """

    def __init__(self, person, command, *, program="server", cwd=ROOT, record=None, told=None, deadline=None, dimensions=WIDE, env=None):
        self.who, self.program, self.told, self.deadline = person, program, told or (lambda mark, line: None), deadline
        self.record = record or Record()
        self.lines = []             # all that was shown so far
        self.seen = 0               # so many of them have been looked at by sees()
        self.done = False           # it ended as it should
        self.reached = []           # the program's children that the last Ctrl-C reached
        self.record.add(program, "starts", " ".join(command))
        self.child = pexpect.spawn(command[0], command[1:], cwd=cwd, dimensions=dimensions, echo=False, encoding="utf-8", codec_errors="backslashreplace",
                                   env=env)
        self.child.delaybeforesend = self.child.delayafterread = None
        self.child.ptyproc.delayafterclose = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        return self.child.pid

    def behind(self):
        """When it is too late for what is waited for now."""
        return time.monotonic() + (deadlines.DEADLINE if self.deadline is None else self.deadline)

    def types(self, *lines):
        """Types lines, and waits for nothing."""
        for line in lines:
            self.told(">", line)
            self.record.add(self.who, "types", line + "\n")
            with contextlib.suppress(OSError):      # the program has ended: whoever waits for its answer will say so
                self.child.sendline(line)

    def presses(self, key):
        """Ctrl and this letter: "c", "d"."""
        if key == "c":
            self.reached = reached_by(family(self.pid)[1:], signal.SIGINT)
        self.record.add(self.who, "types", f"Ctrl-{key.upper()}")
        self.child.sendcontrol(key)

    def read(self, seconds=0.0):
        """Waits at most so long for the next line, and keeps it. False: there is none (yet)."""
        if self.child.closed or self.child.flag_eof and not self.child.buffer:      # (the end may be known while there are lines to take)
            return False
        end = self.child.expect(["\r\n", pexpect.EOF, pexpect.TIMEOUT], timeout=seconds)
        if end == 2 or end == 1 and not self.child.before:
            return False
        self.lines.append(self.child.before)
        self.record.add(self.program, "shows", self.lines[-1])
        self.told("|", self.lines[-1])
        return True

    def sees(self, *patterns):
        """Waits until each pattern matched a line, in whatever order; returns the matches. The next call looks behind them. Raises Unmet."""
        found, behind = {}, self.behind()
        position = first = self.seen
        while len(found) < len(patterns):
            if position == len(self.lines) and not self.read(max(0.0, behind - time.monotonic())):
                missing = next(pattern for pattern in patterns if pattern not in found)
                shown = [*self.lines[first:], *filter(None, [not self.child.flag_eof and self.child.buffer])]
                raise Unmet(msg("a line like `{plain}` on {who}'s terminal", plain=plain(missing), who=self.who), joined(
                    msg("the program ended") if self.child.flag_eof else msg("it did not come in time"),
                    [msg("there was shown only:"), *shown] if shown else []),
                    "silent")
            for pattern in patterns:
                if pattern not in found and (match := re.fullmatch(pattern, self.lines[position])):
                    found[pattern] = match
                    self.seen = position + 1
                    break
            position += 1
        return [found[pattern] for pattern in patterns]

    def ends(self, status):
        """Waits for the end of the program, which must have this exit status. Raises Unmet."""
        behind = self.behind()
        while not self.has_ended():         # (not the end of what it shows: a process that it left behind may hold the terminal)
            if time.monotonic() > behind:
                raise Unmet(msg("{who}'s program to end", who=self.who), msg("it went on running"), "does-not-end")
            self.read(0.05)
        while self.read():
            pass
        if self.reap() != status:
            raise Unmet(msg("{who}'s program to end with status {status}", who=self.who, status=status), msg("it {end}", end=end_of(self.reap())),
                        "no-handler" if self.child.signalstatus else "exit-status")
        self.done = True

    def has_ended(self):
        return self.child.terminated or psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE

    def reap(self):
        """How it ended, as subprocess's return code."""
        if not self.child.terminated:
            self.child.wait()
        return self.child.exitstatus if self.child.exitstatus is not None else -self.child.signalstatus

    def living(self):
        """The processes that this terminal still has."""
        return session_of(self.pid)

    def close(self):
        """Ends whatever is left."""
        while found := self.living():           # killing races with forking: look again until nobody is left
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self.reap()
        self.child.close()
