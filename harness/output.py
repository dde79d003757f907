"""What a program of the harness prints, and the files that it promises.

A letter that stdout or stderr cannot encode is escaped. If one of them can take no more, because
the reader has closed the pipe (`| head`) or the disk is full, the program ends as after Ctrl-C, so
it cleans up. If it promised files, it goes on without that stream instead.
"""

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

CLOSED = 128 + signal.SIGPIPE  # as a shell shows the end of a program that the closed pipe ended
FULL = 2  # as of all else that a command cannot do
NOBODY_READS = errno.EPIPE, errno.EIO  # the pipe or the terminal was closed
DISK = errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS  # no fault of the program


class OutputLost(KeyboardInterrupt):
    """Stdout or stderr can take no more. What ends a command after Ctrl-C ends it after this."""


class NotWrittenError(OSError):
    """A file could not be written; it has the file's name."""


class Output(io.FileIO):
    """Stdout or stderr, unbuffered.

    A write that fails is the last: from then on all goes to /dev/null.
    """

    has_promised = False  # files, so the program goes on without its stdout
    status = 0  # the exit status for a stream that was lost

    def write(self, data) -> int | None:
        """As of io.FileIO. Raises OutputLost, unless the program has promised files."""
        try:
            return super().write(data)
        except OSError as error:
            self.lose(error)
            if not Output.has_promised:
                raise OutputLost from None
            return memoryview(data).nbytes

    def lose(self, error: OSError) -> None:
        """Keep the exit status for this, and tell of a full disk on stderr, while that works."""
        is_closed = error.errno in NOBODY_READS
        if not (is_closed and Output.has_promised):
            Output.status = CLOSED if is_closed else FULL
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.fileno())
        os.close(nothing)
        if not is_closed and self.fileno() == 1:
            print(f"stdout: {error.strerror}", file=sys.stderr, flush=True)


def promise_files() -> None:
    """Have the program go on if its stdout or stderr is lost: files are to come of it."""
    Output.has_promised = True


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a program, and end with the status that main() returns, or with that of a lost stream."""
    use_own_streams()
    status = None
    try:
        try:
            status = main()
        finally:
            sys.stdout.flush()  # what does not fit is to be known before the status is
    except OutputLost:
        pass
    sys.exit(status or Output.status if Output.has_promised else Output.status or status)


def use_own_streams() -> None:
    """Replace sys.stdout and sys.stderr; open /dev/null in the place of a closed descriptor."""
    for descriptor in 0, 1, 2:  # else a file or a socket would get its number
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for descriptor, name in (1, "stdout"), (2, "stderr"):
        old = getattr(sys, name)
        new = io.TextIOWrapper(
            io.BufferedWriter(Output(descriptor, "w", closefd=False)),
            encoding=old.encoding if old else "utf-8",
            errors="backslashreplace",
            line_buffering=old is None or old.line_buffering or old.write_through,
        )
        setattr(sys, name, new)


def put(path: str | Path, data: str | bytes) -> None:
    """Write a file whole or not at all; a device or a pipe as it comes.

    Raises NotWrittenError.
    """
    place = written_first(path)
    try:
        if isinstance(data, str):
            data = data.encode(errors="backslashreplace")
        Path(place).write_bytes(data)
        if place != path:
            os.replace(place, os.path.realpath(path))
    except OSError as error:
        if place != path:
            with contextlib.suppress(OSError):
                os.unlink(place)
        raise NotWrittenError(error.errno, error.strerror, str(path)) from None


def put_all(files: Iterable[tuple[str, Callable[[], str | bytes]]]) -> None:
    """Write what each function returns to its path, as put() does.

    Raises the first NotWrittenError, when all others are written.
    """
    first = None
    for path, make in files:
        try:
            put(path, make())
        except NotWrittenError as error:
            first = first or error
    if first:
        raise first


def written_first(path: str | Path) -> str | Path:
    """Return where put() writes: a device or a pipe itself, else a new file beside the one meant.

    Of a link, that is beside the file that it leads to.
    """
    real = os.path.realpath(path)
    is_stream = os.path.abspath(path).startswith("/dev/")  # /dev/stdout may lead to a file
    if is_stream or (os.path.exists(real) and not os.path.isfile(real)):
        return path
    return f"{real}.{os.getpid()}.part"
