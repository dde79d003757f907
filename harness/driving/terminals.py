"""Plays a person at a terminal through pexpect: a member with a client, or the owner of a server.

The terminal's echo is off, so that it shows only what the program writes. pexpect's own waits are
off, too: they cost 50 ms for each line typed, and 100 ms for each end.
"""

import contextlib
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pexpect
import psutil

from harness.driving import cells, deadlines
from harness.driving.client import plain
from harness.driving.messages import joined, msg
from harness.driving.processes import family, is_zombie, reached_by
from harness.driving.record import CheckFailed, Record
from harness.driving.server import ROOT, end_of

WIDE = 24, 4096  # lines and columns: programs that fold lines to the width fold none of ours


class _Child(pexpect.spawn):
    """The process that a launch starts, on a new terminal."""

    def __init__(self, launch: cells.Launch, **options: Any):
        self.launch = launch
        super().__init__(
            launch.argv[0],
            launch.argv[1:],
            cwd=launch.cwd,
            env=launch.env,
            preexec_fn=launch.preexec,
            **options,
        )

    def _spawnpty(self, args: list[str], **options: Any) -> Any:
        return super()._spawnpty(args, pass_fds=self.launch.pass_fds, **options)


class TerminalClient:
    """A program on a terminal of its own. Use it with `with`, or close() it.

    `lines` is every line that the program has written. `reached` are its children that the last
    Ctrl-C reached. `done` says that ends() saw the end that it expected.
    """

    def __init__(
        self,
        person: str,
        command: Sequence[str],
        *,
        program: str = "server",
        cwd: str | Path = ROOT,
        record: Record | None = None,
        on_line: Callable[[str, str], None] | None = None,
        deadline: float | None = None,
        dimensions: tuple[int, int] = WIDE,
        env: Mapping[str, str] | None = None,
        launch: cells.Launch | None = None,
    ):
        """Start `command` on a new terminal with `dimensions` (lines, columns).

        `person` types, and `program` writes, in `record`. `on_line(mark, line)` is called for each
        line typed (">") and shown ("|"). `deadline` is in seconds, by default deadlines.DEADLINE.
        `env` is the whole environment, by default ours. `launch` starts a program under check, in
        place of `cwd` and `env`. Raises OSError or pexpect.ExceptionPexpect if there is no such
        command, or cells.CellError.
        """
        self.who, self.program, self.deadline = person, program, deadline
        self.on_line = on_line or (lambda mark, line: None)
        self.record = record or Record()
        self.lines: list[str] = []
        self.seen = 0  # sees() has looked at so many of them
        self.done = False
        self.reached: list[psutil.Process] = []
        self.record.add(program, "starts", " ".join(command))
        launch = launch or cells.DIRECT.started(command, cwd=cwd, env=env, terminal=True)
        self.child = _Child(
            launch,
            dimensions=dimensions,
            echo=False,
            encoding="utf-8",
            codec_errors="backslashreplace",
        )
        self.started = launch.find(self.child.pid)
        self.child.delaybeforesend = self.child.delayafterread = None
        self.child.ptyproc.delayafterclose = 0

    def __enter__(self) -> "TerminalClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id of the program, which is also the id of its session."""
        return self.started.pid

    def wait_ends(self) -> float:
        """Return the time.monotonic() at which a wait that begins now is too long."""
        return time.monotonic() + (deadlines.DEADLINE if self.deadline is None else self.deadline)

    def types(self, *lines: str) -> None:
        """Type these lines, and wait for nothing."""
        for line in lines:
            self.on_line(">", line)
            self.record.add(self.who, "types", line + "\n")
            # If the program has ended, the wait for its answer reports that.
            with contextlib.suppress(OSError):
                self.child.sendline(line)

    def presses(self, key: str) -> None:
        """Press Ctrl and this letter: "c" or "d"."""
        if key == "c":
            self.reached = reached_by(family(self.pid)[1:], signal.SIGINT)
        self.record.add(self.who, "types", f"Ctrl-{key.upper()}")
        self.child.sendcontrol(key)

    def read(self, seconds: float = 0.0) -> bool:
        """Wait at most so many seconds for the next line, and keep it. False: there is none yet."""
        # pexpect may know the end while there are still lines in its buffer.
        if self.child.closed or (self.child.flag_eof and not self.child.buffer):
            return False
        end = self.child.expect(["\r\n", pexpect.EOF, pexpect.TIMEOUT], timeout=seconds)
        if end == 2 or (end == 1 and not self.child.before):
            return False
        self.lines.append(self.child.before)
        self.record.add(self.program, "shows", self.lines[-1])
        self.on_line("|", self.lines[-1])
        return True

    def sees(self, *patterns: str) -> list[re.Match[str]]:
        """Wait until each pattern has matched a whole line, in any order; return the matches.

        The next call looks only at the lines after the last match. Raises CheckFailed.
        """
        matches: dict[str, re.Match[str]] = {}
        end = self.wait_ends()
        position = first = self.seen
        while len(matches) < len(patterns):
            if position == len(self.lines) and not self.read(max(0.0, end - time.monotonic())):
                missing = next(pattern for pattern in patterns if pattern not in matches)
                raise self.not_seen(missing, self.lines[first:])
            for pattern in patterns:
                if pattern not in matches and (
                    match := re.fullmatch(pattern, self.lines[position])
                ):
                    matches[pattern] = match
                    self.seen = position + 1
                    break
            position += 1
        return [matches[pattern] for pattern in patterns]

    def not_seen(self, pattern: str, shown: list[str]) -> CheckFailed:
        """Return the CheckFailed of a pattern that matched none of these lines."""
        if not self.child.flag_eof and self.child.buffer:
            shown = [*shown, self.child.buffer]
        return CheckFailed(
            msg("a line like `{plain}` on {who}'s terminal", plain=plain(pattern), who=self.who),
            joined(
                msg("the program ended") if self.child.flag_eof else msg("it did not come in time"),
                [msg("the terminal showed only:"), *shown] if shown else [],
            ),
            "silent",
        )

    def ends(self, status: int) -> None:
        """Wait for the end of the program, which must have this exit status. Raises CheckFailed."""
        end = self.wait_ends()
        # The end of its output is no sign: a process that it left behind may hold the terminal.
        while not self.has_ended():
            if time.monotonic() > end:
                raise CheckFailed(
                    msg("{who}'s program to end", who=self.who),
                    msg("it kept running"),
                    "does-not-end",
                )
            self.read(0.05)
        while self.read():
            pass
        if self.reap() != status:
            raise CheckFailed(
                msg("{who}'s program to end with status {status}", who=self.who, status=status),
                msg("it {end}", end=end_of(self.reap())),
                "no-handler" if self.reap() < 0 else "exit-status",
            )
        self.done = True

    def has_ended(self) -> bool:
        """Return whether the program has ended."""
        if self.child.terminated:
            return True
        return is_zombie(psutil.Process(self.child.pid))

    def reap(self) -> int:
        """Wait for the program, and return its exit status as subprocess does."""
        if not self.child.terminated:
            self.child.wait()
        status = self.child.exitstatus
        return self.started.status(status if status is not None else -self.child.signalstatus)

    def living(self) -> list[psutil.Process]:
        """Return the processes that still run on this terminal."""
        return self.started.processes()

    def close(self) -> None:
        """Kill each process that is left, and close the terminal."""
        self.started.end()
        self.reap()
        self.child.close()
