"""The part of the owner's window that shows the server's processes and their use of resources."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical

from .log_lines import LineKind, LogLine
from .message_log import MessageLog
from .processes import Snapshot, take_snapshot, tree_rows
from .widgets import PlainText, rows_that_fit

SNAPSHOT_INTERVAL = 1.0  # seconds, ...
SNAPSHOT_SHARE = 10  # ... or so many times the duration of a snapshot, if that is longer
RATE_SAMPLES = 31  # at 10 a second: the rate of the last 3 seconds


class RateMeter:
    """The rate of a counter over the last samples."""

    def __init__(self, samples: int = RATE_SAMPLES) -> None:
        """Keep so many samples."""
        self._samples = deque([(time.monotonic(), 0)], maxlen=samples)

    def add(self, count: int) -> None:
        """Take the present value of the counter."""
        self._samples.append((time.monotonic(), count))

    @property
    def per_second(self) -> float:
        """The increase per second."""
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else 0.0


class ProcessPanel(Vertical):
    """Totals, and the tree of processes and threads, taken about once a second."""

    DEFAULT_CSS = """
    ProcessPanel { background: $surface; }
    ProcessPanel #totals { height: auto; color: $text; text-style: bold; padding: 0 1; }
    ProcessPanel #tree { height: 1fr; padding: 0 0 0 1; }
    ProcessPanel #tree > .message-log--note { text-style: none; }
    """

    def __init__(self, find_pid: Callable[[], int | None], **options: Any) -> None:
        """Create a panel for one server.

        Args:
            find_pid: returns the server's pid; None while it does not run.
            options: as for every widget.
        """
        super().__init__(**options)
        self.snapshot = Snapshot((), time.monotonic())
        self._find_pid = find_pid
        self._cpu = 0.0  # cores in use

    def compose(self) -> ComposeResult:
        """Create the totals and the tree."""
        yield PlainText(" ", id="totals")
        yield MessageLog(wraps=False, id="tree")

    def on_mount(self) -> None:
        """Start to take snapshots."""
        self.run_worker(self._take_snapshots())

    @property
    def process_tree(self) -> MessageLog:
        """The tree of processes and threads."""
        return self.query_one("#tree", MessageLog)

    def show_totals(self, message_rate: float | None) -> None:
        """Display the totals.

        message_rate: messages per second; None if the console has not printed any.
        """
        snapshot = self.snapshot
        figures = [f"{snapshot.memory / 1e6:.1f} MB", f"{self._cpu:.0%} CPU"]
        if message_rate is None:
            figures.append("no messages on the console")
        else:
            figures.append(plural(round(message_rate), "message/s", "messages/s"))
        figures += [
            plural(len(snapshot.processes), "process", "processes"),
            plural(snapshot.threads, "thread", "threads"),
            f"{snapshot.descriptors:,} descriptors (fd)",
        ]
        totals = self.query_one("#totals", PlainText)
        width = self.content_size.width - totals.gutter.width
        totals.set_text("\n".join(map("  ".join, rows_that_fit(figures, width, 2, len))))

    async def _take_snapshots(self) -> None:
        """Take snapshots, but so rarely that they use little of the CPU themselves."""
        while True:
            duration = 0.0
            if pid := self._find_pid():
                start = time.monotonic()
                snapshot = await asyncio.to_thread(take_snapshot, pid)
                duration = time.monotonic() - start
                # The tree of a server that has ended stays as it was before
                if self._find_pid() and not snapshot.has_ended:
                    self._show_snapshot(snapshot)
            await asyncio.sleep(max(SNAPSHOT_INTERVAL, SNAPSHOT_SHARE * duration))

    def _show_snapshot(self, snapshot: Snapshot) -> None:
        before, self.snapshot = self.snapshot, snapshot
        if before.processes and snapshot.time > before.time:
            used = max(0.0, snapshot.cpu_seconds - before.cpu_seconds)
            self._cpu = used / (snapshot.time - before.time)
        lines = [
            LogLine(LineKind.PLAIN if row.is_process else LineKind.NOTE, row.text)
            for row in tree_rows(snapshot)
        ]
        if lines != self.process_tree.lines:
            self.process_tree.replace_all(lines)


def plural(count: int, one: str, many: str) -> str:
    """Return a number with the word for it."""
    return f"{count:,} {one if count == 1 else many}"
