"""Four processes write lines into one pipe: do the lines stay whole?

A write of at most PIPE_BUF bytes goes into a pipe in one piece, whoever else writes (512 is the least that POSIX allows; Linux has 4096). What is
longer may be cut, and something of another's may stand in the gap: it usually does not, which is worse.

    python -m lab_guide.races.torn SIZE...
"""
import os
import sys

LINES = 100                 # of each writer


def write_lines(pipe, line):
    for _ in range(LINES):
        rest = line
        while rest:
            rest = rest[os.write(pipe, rest):]


def torn(size):
    """(how many lines of `size` bytes came, how many of them were not as their writer wrote them)."""
    reading, writing = os.pipe()
    children = []
    for letter in b"abcd":
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            write_lines(writing, bytes([letter]) * (size - 1) + b"\n")
            os._exit(0)
        children.append(pid)
    os.close(writing)       # important: else the end of the pipe would never come
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
    main()
