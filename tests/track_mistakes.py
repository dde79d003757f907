"""Makes typical mistakes of students in the model solutions of the track "build", and shows which
verdict and cause each gets at the stage where it is made.

    python tests/track_mistakes.py [NAME...]      those whose name contains one of these words

The exit status is 1 if fewer than 19 of 20 get a right cause. Each takes from seconds to a minute.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SOLUTIONS = HERE / "build"
WANTED = 19 / 20
PATIENCE = 5  # seconds of --deadline: many a mistake shows by what does not come


# What a lock that is missing, or released too early, does to events.
UNLOCKED = {
    *("one-order", "order-differs", "one-number-twice", "before-welcome", "not-ones-own-in"),
    *("coming-and-going", "every-order-of-threads", "died-of-memory"),
}


class Mistake(NamedTuple):
    """A small edit of the solution of a stage, and the sentences that name its cause."""

    name: str
    solution: str  # its file in tests/build; the number is the stage
    edits: tuple[tuple[str, str], ...]  # (old, new): `old` occurs there exactly once
    causes: set[str]  # ids of the catalogue (harness/verdicts/sentences.py)
    words: str = ""  # that the cause must hold, where many causes have the same id


MISTAKES = [
    Mistake(
        "stdout is not flushed",
        "0.py",
        ((", flush=True", ""),),
        {"unflushed"},
    ),
    Mistake(
        "prints to stdout",
        "1.py",
        (("    listener = socket", '    print("starting")\n    listener = socket'),),
        {"first-line"},
    ),
    Mistake(
        "no rest kept",
        "1.py",
        (("(self.rest + data).split", "data.split"),),
        {"a-line-in-pieces", "lines-in-one-segment"},
    ),
    Mistake(
        "a recv is a line",
        "1.py",
        (("for line in client.lines(data):", "for line in [data.strip()]:"),),
        {"a-line-in-pieces", "lines-in-one-segment"},
    ),
    Mistake(
        "one buffer for all",
        "2.py",
        (
            (
                '        *lines, self.rest = (self.rest + data).split(b"\\n")\n'
                "        if len(self.rest) >= MAX_LINE:",
                '        *lines, Client.shared = (Client.shared + data).split(b"\\n")\n'
                "        if len(self.rest) >= MAX_LINE:",
            ),
            ("class Client:\n", 'class Client:\n    shared = b""\n\n'),
        ),
        {"halves-of-several-clients"},
    ),
    Mistake(
        "forgotten partial send",
        "2.py",
        (
            (
                "del client.outbox[: client.sock.send(client.outbox)]",
                "client.sock.send(client.outbox)\n                client.outbox.clear()",
            ),
        ),
        {"a-slow-reader-gets-all", "torn"},
    ),
    Mistake(
        "blocking send in the loop",
        "2.c",
        (("    fcntl(fd, F_SETFL, O_NONBLOCK);\n", ""),),
        {"blocked-in-send", "a-reader-who-stops-holds-up-nobody"},
    ),
    Mistake(
        "blocking read in the loop",
        "2.py",
        (
            ("        sock.setblocking(False)\n", ""),
            ("recv(65536)", "recv(65536, socket.MSG_WAITALL)"),
        ),
        {"others-are-served-meanwhile", "takes-no-requests", "silent", "one-after-the-other"},
    ),
    Mistake(
        "waits for nothing",
        "2.py",
        (("self.selector.select()", "self.selector.select(0)"),),
        {"idle-costs-nothing"},
    ),
    Mistake(
        "always watches for writing",
        "2.py",
        (("selectors.EVENT_WRITE if client.outbox else 0", "selectors.EVENT_WRITE"),),
        {"idle-costs-nothing"},
    ),
    Mistake(
        "SIGPIPE",
        "2.c",
        ((", MSG_NOSIGNAL", ", 0"),),
        {"died"},
        "SIGPIPE",
    ),
    Mistake(
        "no lock in one place",
        "3.c",
        (
            (
                "        pthread_mutex_lock(&lock);\n        if (len > 0)\n            feed(c, data, len);\n"
                '        else\n            bye(c, "quit");\n        pthread_mutex_unlock(&lock);\n',
                "        if (len > 0)\n            feed(c, data, len);\n"
                '        else\n            bye(c, "quit");\n',
            ),
        ),
        UNLOCKED,
    ),
    Mistake(
        "lock per client",
        "3.c",
        (
            (
                "    bool over;           /*",
                "    pthread_mutex_t lock;\n    bool over;           /*",
            ),
            ("        pthread_mutex_lock(&lock);", "        pthread_mutex_lock(&c->lock);"),
            ("        pthread_mutex_unlock(&lock);", "        pthread_mutex_unlock(&c->lock);"),
            (
                "            c->fd = fd;",
                "            c->fd = fd, pthread_mutex_init(&c->lock, NULL);",
            ),
            ("static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;\n", ""),
        ),
        UNLOCKED,
    ),
    Mistake(
        "delivers outside the lock",
        "3.c",
        (
            ("    seq++;\n", "    long mine = ++seq;\n    pthread_mutex_unlock(&lock);\n"),
            ("verb, seq, time", "verb, mine, time"),
            (
                "now.tv_nsec / 1000000, fields);\n",
                "now.tv_nsec / 1000000, fields);\n    pthread_mutex_lock(&lock);\n",
            ),
        ),
        UNLOCKED,
    ),
    Mistake(
        "lock taken twice",
        "3.c",
        (
            (
                "    char fields[MAX_LINE];\n",
                "    char fields[MAX_LINE];\n    pthread_mutex_lock(&lock);\n",
            ),
            (
                '    event("MSG", fields);\n',
                '    event("MSG", fields);\n    pthread_mutex_unlock(&lock);\n',
            ),
        ),
        {"waits-for-a-lock", "stuck"},
    ),
    Mistake(
        "closes from another thread",
        "3.c",
        (
            (
                "            return; /* it has gone: its own thread sees that, too */",
                "        {\n            close(c->fd);\n            return;\n        }",
            ),
        ),
        {"descriptor-reused", "coming-and-going", "all-is-given-back", "a-burst"},
    ),
    Mistake(
        "child keeps the listener",
        "4.c",
        (("    close(listener);\n    for", "    (void)listener;\n    for"),),
        {"children-hold-the-listener"},
    ),
    Mistake(
        "child keeps the pipes of others",
        "4.c",
        (("        close_all_but_mine(listener);\n", "        close(listener);\n"),),
        {"no-end-of-file", "children-hold-pipes", "orphans"},
    ),
    Mistake(
        "parent keeps the pipe's ends",
        "4.c",
        (("    close(up[1]);\n    close(down[0]);\n", ""),),
        {"ghost-of-a-process", "no-zombies", "all-is-given-back"},
    ),
    Mistake(
        "zombie",
        "4.c",
        (("    waitpid(c->pid, NULL, 0);\n", ""),),
        {"no-zombies"},
    ),
    Mistake(
        "WNOHANG once",
        "4.c",
        (
            ("    waitpid(c->pid, NULL, 0);\n", ""),
            ("    c->pid = fork();\n", "    waitpid(-1, NULL, WNOHANG);\n    c->pid = fork();\n"),
        ),
        {"no-zombies", "no-zombies-after-a-burst"},
    ),
    Mistake(
        "no _exit in the child",
        "4.c",
        (("        _exit(0); /* not exit", "        return; /* not exit"),),
        {"processes-stay", "no-more-processes-than-clients", "a-process-each"},
    ),
    Mistake(
        "EINTR",
        "4.c",
        (
            (
                "        if (poll(waits, 2 * watched + 1, -1) < 0)\n            continue; /* a signal */",
                '        if (poll(waits, 2 * watched + 1, -1) < 0) {\n            perror("poll");\n'
                "            exit(1);\n        }",
            ),
            (
                "    signal(SIGPIPE, SIG_IGN);\n",
                "    signal(SIGPIPE, SIG_IGN);\n    struct sigaction noted = {.sa_handler = note};\n"
                "    sigaction(SIGCHLD, &noted, NULL);\n",
            ),
            (
                "int main(",
                "static void note(int number)\n{\n    (void)number;\n}\n\nint main(",
            ),
        ),
        {"died"},
        "EINTR",
    ),
]


class Outcome(NamedTuple):
    """What the checks of the stage said: the failure to begin with, and all sentences."""

    check: str
    sentence: str
    cause: str
    sentences: set[str]


def made(mistake: Mistake) -> str:
    """Return the solution with the mistake in it."""
    text = (SOLUTIONS / mistake.solution).read_text(encoding="utf-8")
    for old, new in mistake.edits:
        if text.count(old) != 1:
            raise SystemExit(f"{mistake.name}: {mistake.solution} has {text.count(old)} of {old!r}")
        text = text.replace(old, new)
    return text


def judged(mistake: Mistake) -> Outcome:
    """Return what the checks of its stage say of a mistake."""
    number, _, suffix = mistake.solution.partition(".")
    name = {"3": "threads", "4": "processes"}.get(number, "server")
    with tempfile.TemporaryDirectory(prefix="grupo-mistake-") as scratch:
        found = Path(scratch, "found.json")
        Path(scratch, f"{name}.{suffix}").write_text(made(mistake), encoding="utf-8")
        words = ["--stage", number, "--file", name, "--deadline", PATIENCE, "--json", found]
        command = [
            sys.executable,
            "-m",
            "harness",
            "lab",
            scratch,
            *map(str, words),
            "--lang",
            "en",
        ]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if not found.exists():
            raise SystemExit(f"{mistake.name}: {done.stdout}{done.stderr}")
        report = json.loads(found.read_text(encoding="utf-8"))
    begin = done.stdout.rpartition("begin with `")[2].partition("`")[0]
    failures = {
        one["check"]: one["failure"] for one in report["verdicts"] if one["failure"] is not None
    }
    first = failures.get(begin)
    return Outcome(
        begin if first else report["refused"] or "-",
        first["sentence"] if first else "-",
        first["cause"] if first else "-",
        {failure["sentence"] for failure in failures.values()},
    )


def is_right(mistake: Mistake, outcome: Outcome) -> bool:
    """Whether the failure that a student is told to begin with names the mistake."""
    return outcome.sentence in mistake.causes and mistake.words in outcome.cause


def main() -> int:
    """Judge the mistakes that are named, or all; show a table."""
    chosen = [
        one
        for one in MISTAKES
        if not sys.argv[1:] or any(word.lower() in one.name.lower() for word in sys.argv[1:])
    ]
    screen = Console()
    table = Table("stage", "mistake", "begin with", "sentence", "cause")
    right = 0
    for one in chosen:
        with screen.status(one.name):
            outcome = judged(one)
        is_good = is_right(one, outcome)
        right += is_good
        sign = "" if is_good else "WRONG: "
        table.add_row(
            one.solution, one.name, outcome.check, sign + outcome.sentence, outcome.cause[:200]
        )
        screen.print(f"{one.name}: {sign}{outcome.sentence} ({outcome.check})", highlight=False)
    screen.print(table)
    screen.print(f"{right} of {len(chosen)} with a right cause")
    return int(right < WANTED * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
