"""The child processes of the fork server: how one starts, its two pipes, and how it ends.

One pipe goes up from the child to the hub, the other goes down from the hub to the child.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from functools import cached_property, partial

from . import trace
from .trace import traced

OVER = "over"  # a reply: the client's conversation is over. Others: see BaseServer.resume()
MOST_REPLIES = 4096  # bytes; more than the replies that can wait in a pipe at once


class Child:
    """A child process, as the hub sees it: its pid, and the hub's ends of the two pipes."""

    def __init__(self, name: str, life: Callable[..., None], *arguments: object) -> None:
        """Forks a child that runs life(*arguments, hub) and exits. Raises OSError.

        name: of the child, in traces.
        """
        self.name = name
        self.up, up_end = os.pipe()
        try:
            down_end, self.down = os.pipe()
            try:
                self.pid = os.fork()
            except OSError:
                close(down_end, self.down)
                raise
        except OSError:
            close(self.up, up_end)
            raise
        if self.pid == 0:
            live(life, *arguments, Hub(up_end, down_end))
        close(up_end, down_end)  # important: else the hub would never see the end of the child

    # What the hub creates between two forks is copied for the first child: so these come later.

    @cached_property
    def read(self) -> Callable[[int], bytes]:
        """read(size) returns bytes that the child has written; b"" at its end."""
        read: Callable[[int], bytes] = traced("pipe.read", partial(os.read, self.up), self.name)
        return read

    @cached_property
    def write(self) -> Callable[[bytes], int]:
        """write(data) writes to the child. Raises BrokenPipeError if it was killed."""
        write: Callable[[bytes], int] = traced(
            "pipe.write", partial(os.write, self.down), self.name
        )
        return write

    def reply(self, word: str) -> None:
        """Writes one line to the child."""
        try:
            self.write(f"{word}\n".encode())
        except BrokenPipeError:  # the child was killed: its pipe to the hub will end
            pass

    def reap(self) -> int:
        """Closes the hub's ends of the pipes, waits for the child's end, returns its status.

        The child does not keep the hub waiting: its own ends of the pipes are closed already.
        """
        close(self.up, self.down)
        return os.waitpid(self.pid, 0)[1]

    def kill(self) -> int:
        """Ends the child at once, even if it is stopped. Returns what reap() does."""
        os.kill(self.pid, signal.SIGKILL)
        return self.reap()


class Hub:
    """The hub, as a child sees it: the child's ends of the two pipes."""

    def __init__(self, up: int, down: int) -> None:
        self.up, self.down = up, down
        self.watched: socket.socket | None = None  # see is_readable()

    def keep_only(self, name: str, *descriptors: int) -> None:
        """Begins the child's own life: keeps these descriptors and the pipes, and closes the rest.

        A pipe ends when its last copy is closed, so no child may keep that of another. `name` is
        for traces.
        """
        close_all_but(*descriptors, self.up, self.down)
        trace.set_actor(name)
        self.read = traced("pipe.read", partial(os.read, self.down), "hub")
        self.write_up = traced("pipe.write", partial(os.write, self.up), "hub")
        self.poll = select.poll()
        self.poll.register(self.down, 0)  # hangs up when the hub is gone
        self.wait = traced("wait", self.poll.poll)

    def is_readable(self, sock: socket.socket) -> bool:
        """Waits until `sock` is readable. Returns False when the hub is gone."""
        if sock is not self.watched:
            self.watched = sock
            self.poll.register(sock, select.POLLIN)
        return self.down not in dict(self.wait())

    def write(self, data: bytes) -> None:
        """Writes all of it up to the hub. Raises BrokenPipeError if the hub is gone."""
        while data:
            data = data[self.write_up(data) :]

    def read_reply(self) -> str:
        """Waits for the hub's reply to a request: DONE, OVER, or what to check a password against.

        OVER, which may come right behind another one, goes first; so does the end of the hub.
        """
        replies = self.read(MOST_REPLIES).decode().split("\n")
        return OVER if OVER in replies or replies == [""] else str(replies[0])


def live(life: Callable[..., None], *arguments: object) -> None:
    """Runs in a new child, and never returns: it does not go back into the hub's code."""
    status = 1
    try:
        # Ctrl-C reaches the whole process group, but the hub decides when a child ends.
        blocked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        gc.freeze()  # a collection would copy the hub's objects
        life(*arguments)
        status = 0
    except BrokenPipeError:  # the hub is gone
        pass
    except Exception:  # os._exit would hide it
        sys.excepthook(*sys.exc_info())
    finally:
        trace.end()
        os._exit(status)  # not sys.exit: nothing of the hub's may be cleaned up here


def close(*descriptors: int) -> None:
    """Closes descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def close_all_but(*kept: int) -> None:
    """Closes what a child inherited: the listener, its siblings' pipes and sockets, the lock.

    Standard descriptors stay open.
    """
    lowest = 3
    for descriptor in sorted(kept):
        os.closerange(lowest, descriptor)
        lowest = descriptor + 1
    os.closerange(lowest, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
