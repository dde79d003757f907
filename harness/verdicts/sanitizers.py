"""The sanitizers of C compilers: how a server is compiled with one, how it runs, and what the first
report says.

Each check has a folder into which the sanitizer's own code writes, so a line that the server logs
is never taken for a report.
"""

import ctypes
import re
from pathlib import Path

from harness.driving.messages import Message, msg, of_text
from harness.verdicts.sentences import CAUSES

# By the name that the compiler's -fsanitize takes: the variable with its options, and options. The
# first report ends the program. What it still holds at its end is no mistake in these servers.
SANITIZERS = {
    "address": ("ASAN_OPTIONS", "detect_leaks=0:quarantine_size_mb=16"),
    "thread": ("TSAN_OPTIONS", "halt_on_error=1:report_thread_leaks=0"),
}
MOST = 1 << 20  # characters of a report that are read
FILE = "sanitizer"  # its reports are FILE.PID
HEADER = re.compile(r"(?:ERROR|WARNING): (\w+Sanitizer: .*)")
END = re.compile(r"^(?:SUMMARY: |=+$)", re.M)
FRAME = re.compile(r" +#\d+ (?:0x[0-9a-f]+ in )?(\S+) (\S.*?):(\d+)(?::\d+)?(?: \(.*\))?$")
# The lines that say what was done, and what in them tells a learner nothing.
ABOUT = re.compile(
    r" *((previous )?(atomic )?(read|write) of size|"
    r"freed by|previously allocated|location is|the signal|hint:)",
    re.IGNORECASE,
)
NOISE = re.compile(r" at 0x[0-9a-f]+| \(.*| here|:$")
NOT_OWN = "..", "/usr/"  # the beginnings of paths of the system's sources
MOST_FRAMES = 3  # functions of the server's own that are shown for each paragraph
NO_RANDOM_ADDRESSES = 0x0040000  # ADDR_NO_RANDOMIZE of personality(2)


def flags(kind: str) -> list[str]:
    """Return the arguments of the compiler. `kind` is one of SANITIZERS."""
    return [f"-fsanitize={kind}", "-fno-omit-frame-pointer", "-O1"]


def environment(kind: str, folder: Path) -> dict[str, str]:
    """Return the variables with which a server writes its reports into this folder."""
    name, options = SANITIZERS[kind]
    return {name: f"{options}:log_path={folder / FILE}"}


def fix_addresses() -> None:
    """Have the programs that this process starts load at fixed addresses, where that is allowed.

    Older thread sanitizers do not start where the kernel chooses among too many addresses:
    https://github.com/google/sanitizers/issues/1716
    """
    ctypes.CDLL(None).personality(NO_RANDOM_ADDRESSES)


def first_report(folder: Path) -> Message | None:
    """Return the first report in this folder: its kind, and the lines of the source that it names.

    None if there is none.
    """
    reports = [path for path in folder.glob(f"{FILE}.*") if path.is_file()]
    for path in sorted(reports, key=lambda path: path.stat().st_mtime_ns):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(MOST)
        if header := HEADER.search(text):
            end = END.search(text, header.end())
            lines = text[header.end() : end.start() if end else None].splitlines()
            kind = re.split(r" on (?:unknown )?address | \(", header[1])[0]
            return msg("{report}\n{lines}", report=kind, lines=paragraphs(lines))
    return None


def paragraphs(lines: list[str]) -> list[str]:
    """Return the lines of a report that say what was done, each with where in the source."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        frame = FRAME.match(line)
        if not frame and line.strip():
            found.append((NOISE.sub("", line).strip() if ABOUT.match(line) else "", []))
        elif frame and found and not frame[2].startswith(NOT_OWN):
            found[-1][1].append(f"{Path(frame[2]).name}:{frame[3]} ({frame[1]})")
    return [
        f"{what}: {', '.join(places[:MOST_FRAMES])}" if places else what
        for what, places in found
        if what
    ]


def cause_of(kind: str, report: Message) -> tuple[str, Message, str]:
    """Return the sentence's id, the cause with the report below it, and the page to read."""
    sentence = f"{kind}-sanitizer"
    why, page = CAUSES[sentence]
    return sentence, msg("{why}\n{report}", why=Message(of_text(why), {}), report=report), page
