"""Four processes write lines into one pipe: does each line stay whole?

A write of at most PIPE_BUF bytes goes into a pipe in one piece, even if other processes write at
the same time (POSIX write(); POSIX requires a PIPE_BUF of at least 512, and Linux has 4096). The
kernel may split a longer write, and bytes of another process may then appear in the middle. Usually
this does not happen, so tests seldom find the bug.

    python -m lab_guide.races.torn SIZE...
"""

import os
import sys

from harness.output import run

LINES = 100  # per writer


def write_lines(pipe: int, line: bytes):
    """Writes `line` to the descriptor `pipe`, LINES times. A short write is continued."""
    for _ in range(LINES):
        rest = line
        while rest:
            rest = rest[os.write(pipe, rest) :]


def torn(size: int) -> tuple[int, int]:
    """Lets four processes write lines of `size` bytes into one pipe.

    Returns (number of lines that came, number of them that differ from what their writer wrote).
    """
    reading, writing = os.pipe()
    children = []
    for letter in b"abcd":
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            write_lines(writing, bytes([letter]) * (size - 1) + b"\n")
            os._exit(0)
        children.append(pid)
    os.close(writing)  # must stay: if this end is open, the reads below never reach the end
    pieces = list(iter(lambda: os.read(reading, 1 << 20), b""))
    os.close(reading)
    for pid in children:
        os.waitpid(pid, 0)
    lines = b"".join(pieces).split(b"\n")[:-1]
    return len(lines), sum(len(line) != size - 1 or len(set(line)) > 1 for line in lines)


def main():
    for size in map(int, sys.argv[1:]):
        lines, broken = torn(size)
        print(f"{size} bytes: {lines} lines came, {broken} torn")


if __name__ == "__main__":
    run(main)
