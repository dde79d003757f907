"""Chooses the cause of a failure from the evidence of that failure.

    look(problem, record, server)           while the server still runs: notes what can be seen
    find(problem, check, entries, server)   afterwards: (id of the sentence, cause, page); pure, but
                                            for what the server object tells

The evidence, in this order: how the server ended; an exception on its stderr; a rule that the whole
record breaks and that explains this failure; what the client concerned sent and heard, up to the
last line, and what the server's threads waited for then. If nothing fits, the cause says so.
"""

import os
import platform
import re
import resource
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from harness.driving import history, processes
from harness.driving.messages import Message, msg, of_text
from harness.driving.record import CheckFailed, Entry, Record
from harness.verdicts import locks
from harness.verdicts.sentences import CAUSES

# Sentences on a step that only prepares what a check is about. All checks that need this step fail
# in the same way, so the smallest of them is to be shown first.
SETUP = set(
    [
        "no-such-command",
        "ends-at-once",
        "never-listens",
        "unflushed",
        "forks-without-end",
        "first-line",
        "listens-elsewhere",
        "floods",
        "takes-no-requests",
        "no-hello",
        "nothing-is-sent",
        "one-after-the-other",
        "join-unanswered",
        "no-welcome",
        "welcome-slow",
        "join-refused",
        "in-before-welcome",
        "before-welcome",
        "no-own-in",
        "accept-refused",
        "accepted-not-welcomed",
        "late",
        "waits-for-a-lock",
        "descriptor-reused",
        "nobody-reads",
        "exception",
        "exception-in-a-thread",
        "exception-in-a-child",
        "a-child-died",
    ]
)
# Sentences that say what is seen, not why.
VAGUE = {
    None,
    *["silent", "cut-off", "stuck", "put-out", "ghost", "does-not-read", "console-silent"],
}
UNANSWERED = {"silent", "stuck", "does-not-read"}
# Checks that are about waiting: silence is the very mistake that the check's own sentence explains.
# In all other checks a silence is reported as such, unless the CheckFailed names a sentence.
ABOUT_SILENCE = set(
    [
        "a-line-in-pieces",
        "lines-in-one-segment",
        "a-character-in-pieces",
        "a-carriage-return-is-dropped",
        "much-at-once",
        "half-close-is-answered",
        "others-are-served-meanwhile",
        "one-line-at-a-time",
        "half-a-line-holds-up-nobody",
        "a-reader-who-stops-holds-up-nobody",
        "a-reader-who-stops-costs-little",
        "a-slow-reader-gets-all",
        "a-flooder",
        "guessing-passwords",
        "a-wrong-line-releases-all",
        "the-owner-does-not-read",
        "a-burst",
        "signals-are-survived",
        "without-a-terminal",
        "out-of-descriptors",
        "beyond-descriptor-1024",
        "the-others-hear-who-goes",
        "a-name-is-free-again",
        "quit-ends-the-connection",
        "the-silent-are-dropped",
        "strangers-have-no-long-stay",
        "a-request-ends-with-its-connection",
        "answers-ping",
        "takes-requests",
        "quit-says-bye",
        "an-unfinished-line-is-dropped",
        "leave-is-for-good",
        "takeover",
        "the-end-of-input-is-no-order",
        "ctrl-d-is-no-order",
        "at-a-terminal",
        "too-long",
        "ten-errors",
        "three-rejections",
        "ban",
        "ban-of-anyone",
        "the-owner-rejects",
        "killed-and-nothing-is-lost",
    ]
)
# And checks that are about the end of a connection.
ABOUT_THE_END = set(
    [
        "empty-lines-are-ignored",
        "512-bytes-are-not-too-long",
        "too-long",
        "ten-errors",
        "half-close-is-answered",
        "quit-says-bye",
        "an-unfinished-line-is-dropped",
        "control-characters",
        "not-utf8",
        "noise",
        "a-wrong-line-releases-all",
        "connects-at-once",
        "the-end-of-input-is-no-order",
        "ctrl-d-is-no-order",
        "without-a-terminal",
        "the-silent-are-dropped",
        "strangers-have-no-long-stay",
        "three-rejections",
        "a-reader-who-stops-costs-little",
        "a-burst",
        "a-slow-reader-gets-all",
        "out-of-descriptors",
        "beyond-descriptor-1024",
        "takeover",
        "takeover-is-no-event",
        "logins-at-once",
        "ban",
    ]
)
# And checks that are about this code of BYE: that BYE is the very mistake that the check's own
# sentence explains.
ABOUT_BYE = {
    "full": {"room-for-strangers", "room-for-members", "out-of-descriptors-again"},
    "protocol": {"errors-are-counted-until-welcome"},
    "closed": {"sighup-that-was-ignored", "the-owner-is-gone", "in-the-background"},
}
# Checks whose own sentence explains an end of the server with one of these statuses.
ABOUT_AN_END = {
    "the-end-of-input-is-no-order": {0},
    "without-a-terminal": {0},
    "ctrl-d-is-no-order": {0},
    "the-owner-is-gone": {0, -signal.SIGPIPE},
    "sighup-that-was-ignored": {0, -signal.SIGHUP},
}
# Rules over the whole record that, if broken, explain a failure that a check noticed otherwise.
DIAGNOSES = [
    (history.what_was_said_is_heard, {"late"}),
    (history.each_is_greeted_once, {"greeted-twice", "descriptor-reused"}),
    (history.only_members_hear, {"in-before-welcome"}),
    (history.a_name_has_one_holder, {"two-with-one-name"}),
    (history.who_acts_is_here, {"two-with-one-name"}),
    (history.nobody_is_put_out, {"descriptor-reused"}),
    (history.a_history_ends_at_the_newest, {"end-of-history"}),
]
NEVER_CAME = "it did not happen", "it did not come"  # what a check says that waited in vain
LISTENS = 0.3  # seconds of quiet after which nothing more is expected of what is late
ANSWERS = 2.0  # seconds that a newcomer is given to be greeted, when somebody else was not answered
BUSY = 0.5  # cores that a server uses that computes


class Cause(NamedTuple):
    """`sentence`: its id in the catalogue; `text`: the likely cause; `page`: where to read more."""

    sentence: str
    text: str
    page: str


class Raised(NamedTuple):
    """An exception as stderr shows it.

    `kind`: the sentence on it; `last`: its last line; `where`: file, line and source, if shown.
    """

    kind: str
    last: str
    where: str


@dataclass
class Sight:
    """What the operating system showed of the server when a check failed, before its end."""

    waits: list = field(
        default_factory=list
    )  # for each thread, one of the values of CALLS, `runs`, or `other`
    processes: int = 0
    died: list = field(default_factory=list)  # signals that ended children nobody has waited for
    unread: dict = field(
        default_factory=dict
    )  # client: bytes it sent that the server has not taken from its socket
    stopped: bool = False  # a signal has stopped a process
    full: bool = False  # a process has as many descriptors as it may have
    cores: float = 0.0  # that it would use now, had it as many as it wants
    at: float = float("inf")  # when that was, on the clock of the record
    ended: bool = False  # it had ended, though nobody had asked it to
    greets: bool | None = None  # whether a newcomer was served; None: not asked
    mute: bool = False  # its line was read, and it heard nothing


CALLS = {
    "x86_64": {
        202: "lock",
        449: "lock",
        43: "accept",
        288: "accept",
        7: "ready",
        271: "ready",
        23: "ready",
        270: "ready",
        232: "ready",
        281: "ready",
        441: "ready",
        44: "send",
        1: "write",
        20: "write",
        46: "send",
        0: "read",
        45: "read",
        47: "read",
        61: "wait",
        247: "wait",
        35: "sleep",
        230: "sleep",
        34: "pause",
        130: "pause",
    },
    "aarch64": {
        98: "lock",
        449: "lock",
        202: "accept",
        242: "accept",
        73: "ready",
        72: "ready",
        22: "ready",
        441: "ready",
        206: "send",
        64: "write",
        66: "write",
        211: "send",
        63: "read",
        207: "read",
        212: "read",
        260: "wait",
        95: "wait",
        101: "sleep",
        115: "sleep",
        133: "pause",
    },
}


# -- At the moment of the failure ----------------------------------------------------------------


def look(problem: CheckFailed, record: Record, server) -> Sight | None:
    """Notes as `server.sight` what can be seen now, and adds to the record what still comes.

    Returns it. The first look counts; of a server that has been ended there is nothing to see.
    """
    if server.sight is not None or server.closed:
        return server.sight
    family, turns = processes.family(server.pid), processes.turns(processes.family(server.pid))
    sight = Sight(
        processes=len(family),
        waits=[waits for process in family for waits in waiting(process)],
        died=[number for process in processes.zombies(family) if (number := ended_by(process.pid))],
    )
    sight.full = any(map(is_full, family))
    sight.stopped = any(map(is_stopped, family))
    sight.unread = {
        client.who: count
        for client in record.clients
        if (count := processes.unread_of(client.socket))
    }
    began = time.monotonic()
    listen(record.clients)
    sight.at = record.clock()
    sight.cores = sum(
        processes.shares(
            [turns, processes.turns(processes.family(server.pid))], time.monotonic() - began
        ).values()
    )
    sight.ended = server.died() if hasattr(server, "died") else server.process.poll() is not None
    if problem.sentence in UNANSWERED and not sight.ended and server.address:
        sight.greets, sight.mute = served(server.address)
    server.sight = sight
    return sight


def waiting(process) -> list:
    """What each thread of a process waits for."""
    numbers, found = CALLS.get(platform.machine(), {}), []
    with suppress(*processes.GONE):
        for thread in os.listdir(f"/proc/{process.pid}/task"):
            with (
                suppress(*processes.GONE),
                processes.as_owner(process.pid),
                open(f"/proc/{process.pid}/task/{thread}/syscall") as file,
            ):
                number = file.read().split(" ")[0].strip()
                found.append("runs" if number == "running" else numbers.get(int(number), "other"))
    return found


def ended_by(pid: int) -> int:
    """The signal that ended this zombie; 0 if it ended by itself."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat") as file:
        return int(file.read().split(" ")[-1]) & 0x7F
    return 0


def is_full(process) -> bool:
    """Whether a process has no descriptor left."""
    with suppress(*processes.GONE, ValueError):
        return process.num_fds() >= processes.limit(process.pid, resource.RLIMIT_NOFILE)[0] - 1
    return False


def is_stopped(process) -> bool:
    """Whether a signal (SIGTTIN, SIGSTOP) has stopped it."""
    with suppress(*processes.GONE):
        return process.status() == psutil.STATUS_STOPPED
    return False


def listen(clients: Sequence) -> None:
    """Reads what still comes to these clients: a late line differs from one that is lost."""
    end = time.monotonic() + 4 * LISTENS
    for client in [
        client for client in clients if client.socket.fileno() >= 0 and not client.ended
    ]:
        with suppress(CheckFailed, OSError):
            quiet = (
                LISTENS if client is clients[-1] or time.monotonic() < end - 3 * LISTENS else 0.01
            )
            while client.line(quiet) and time.monotonic() < end:
                pass


def served(address) -> tuple[bool, bool]:
    """Whether a newcomer hears HELLO, and PONG as the answer to its PING; and whether the server
    read that PING, and it heard nothing at all.
    """
    heard, was_read, end = b"", False, time.monotonic() + ANSWERS
    with suppress(OSError), socket.create_connection(address, ANSWERS) as newcomer:
        newcomer.sendall(b"PING probe\n")
        with suppress(TimeoutError):
            while b"PONG probe\n" not in heard and time.monotonic() < end:
                newcomer.settimeout(max(0.01, end - time.monotonic()))
                if not (chunk := newcomer.recv(4096)):
                    break
                heard += chunk
        was_read = not processes.unread(address[1], newcomer.getsockname()[1])
    return heard.startswith(b"HELLO ") and b"PONG probe\n" in heard, was_read and not heard


# -- Afterwards ----------------------------------------------------------------------------------


def find(problem: CheckFailed, check: str, entries: Sequence[Entry], server=None) -> Cause:
    """The cause of this failure.

    `check`: its id; `entries`: the record of this run; `server`: a harness.server.Server, ended or
    not, or None.
    """
    check = check.partition("[")[0]
    if sight := getattr(server, "sight", None):  # what came later, taking the check down did
        entries = [entry for entry in entries if entry.at <= sight.at]
    return (
        of_the_end(server, problem, check, entries)
        or of_an_exception(problem, check, entries, server)
        or of_the_record(problem, entries)
        or of_the_clock(problem, entries)
        or of_the_owner(problem, check, entries)
        or of_what_was_heard(problem, check, entries, server)
        or of_the_check(problem, check)
    )


def cause(sentence: str, check: str = "", text: str | None = None) -> Cause:
    """The entry of the catalogue, under its id; `text`: what is to be said instead."""
    known_words, page = CAUSES.get(sentence) or CAUSES.get(check) or CAUSES["unknown-cause"]
    return Cause(sentence, Message(of_text(known_words), {}) if text is None else text, page)


def words(sentence: str) -> Message:
    """The cause that the catalogue has for this sentence."""
    return Message(of_text(CAUSES[sentence][0]), {})


def of_the_check(problem, check) -> Cause:
    """The sentence that was named; the check's own if none was."""
    if problem.sentence == "silent" and check not in ABOUT_SILENCE:
        return cause("silent", text=no_answer(words("silent"), problem.silent))
    if problem.sentence == "cut-off" and check not in ABOUT_THE_END:
        return cause("cut-off")
    general = problem.sentence in ("silent", "cut-off", None)
    return cause(check if general and check in CAUSES else problem.sentence or check, check)


def no_answer(why, seconds):
    """The cause of a silence of so many seconds."""
    return (
        msg("No answer came within {seconds:.3g} s. {why}", seconds=seconds, why=why)
        if seconds
        else why
    )


# -- The server ended, or raised an exception ----------------------------------------------------

BY_SIGNAL = {
    signal.SIGPIPE: "died-of-sigpipe",
    **dict.fromkeys(
        (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL),
        "died-of-memory",
    ),
}


def of_the_end(server, problem, check, entries):
    """The server was ended for excess, or ended although nobody asked it to."""
    if server is None or hasattr(problem, "status"):  # (NotStarted has sentences of its own)
        return None
    if server.excessive():
        return cause(server.excessive())
    sight = server.sight
    if not server.died() or (sight and sight.greets is not None and not sight.ended):
        return None  # it lived, or ended only after we had asked it
    status = server.process.poll()
    if status in ABOUT_AN_END.get(check, ()):
        return cause(check)
    if raised := exception_in(server.stderr):
        # what the server before it had left
        left = was_restarted(entries) and check in CAUSES and not has_served(entries)
        gone = check == "the-owner-is-gone" and known(raised) == "a-reset-in-a-broadcast"
        if left or gone:
            return cause(check, text=with_exception(words(check), raised.last, raised.where))
        return cause(
            "died",
            text=with_exception(
                words(known(raised) or "died-of-an-exception"), raised.last, raised.where
            ),
        )
    if status is not None and status < 0:
        return cause("died", text=words(BY_SIGNAL.get(-status, "died-of-a-signal")))
    if status == 0:
        return cause("died", text=words("died-by-itself"))
    last_words = known(Raised("", next(reversed(server.stderr), ""), ""))
    return cause("died", text=words(last_words or "died"))


def of_an_exception(problem, check, entries, server):
    """A thread or child raised an exception, or was ended by a signal."""
    sight = getattr(server, "sight", None) or Sight()
    at_terminal = server is not None and not hasattr(server, "process")  # stderr is stdout there
    wrote = {"warns", "shows"} if at_terminal else {"warns"}
    raised = exception_in([entry.text for entry in since_start(entries) if entry.what in wrote])
    if raised and problem.sentence == "traceback":
        return cause(
            "traceback", text=with_exception(words("traceback"), raised.last, raised.where)
        )
    if problem.sentence not in VAGUE or problem.evidence:
        return None
    if (
        raised
        and "KeyboardInterrupt" not in raised.last
        and not (problem.sentence is None and known(raised) == "a-reset-in-a-broadcast")
    ):  # as any end
        several = raised.kind == "exception" and sight.processes > 1
        kind = "exception-in-a-child" if several else raised.kind
        if was_restarted(entries) and check in CAUSES:
            kind = check
        return cause(
            kind, text=with_exception(words(known(raised) or kind), raised.last, raised.where)
        )
    if sight.died:
        name = signal.Signals(sight.died[0]).name
        return cause("a-child-died", text=with_signal(words("a-child-died"), name))
    return None


# What the last line of an exception says, and the sentence whose cause it then is.
BY_EXCEPTION = [
    (r"Bad file descriptor|EBADF", "descriptor-reused"),
    (
        r"Broken pipe|BrokenPipe|Connection reset|ConnectionReset|EPIPE|ECONNRESET",
        "a-reset-in-a-broadcast",
    ),
    (r"Too many open files|EMFILE", "no-descriptors-left"),
    (r"File too large|No space left|EFBIG|ENOSPC", "a-full-disk"),
    (r"filedescriptor out of range in select", "beyond-descriptor-1024"),
    (r"changed size during iteration|ConcurrentModificationException", "coming-and-going"),
    (r"Resource temporarily unavailable|BlockingIOError|EAGAIN", "would-block"),
    (r"UnicodeDecodeError|MalformedInput", "decode-error"),
    (r"Interrupted system call|InterruptedError|EINTR", "signals-are-survived"),
]


def known(raised: Raised) -> str | None:
    """The id of the sentence that explains this exception, if its last line says enough."""
    return next(
        (sentence for pattern, sentence in BY_EXCEPTION if re.search(pattern, raised.last)), None
    )


def with_exception(why, last, where):
    """A cause, and under it the exception."""
    if where:
        return msg(
            "{why}\nThe exception: {last}\nRaised at: {where}", why=why, last=last, where=where
        )
    return msg("{why}\nThe exception: {last}", why=why, last=last)


def with_signal(why, name):
    """A cause, and the signal."""
    return msg("{why} The signal: {name}.", why=why, name=name)


LIBRARY = re.compile(r"/lib/python|/site-packages/|^<")
FRAME = re.compile(r'\s+File "(.+)", line (\d+), in (\S+)')


def exception_in(stderr: Sequence[str]) -> Raised | None:
    """The last exception of a Python, Java, Go or Node program among these lines."""
    found = None
    for place, line in enumerate(stderr):
        if line.lstrip().startswith("Traceback (most recent call last)"):
            found = raised_at(stderr, place)
        elif match := re.match(
            r'(?:Exception in thread "(.+?)" )(\S+(?:Exception|Error)\b.*)', line
        ):
            at = next(
                (
                    other.strip()
                    for other in stderr[place + 1 : place + 3]
                    if other.strip().startswith("at ")
                ),
                "",
            )
            found = Raised("exception-in-a-thread", match[2], at.removeprefix("at "))
        elif line.startswith(("panic: ", "fatal error: ")) or line.startswith(
            ("Uncaught ", "thread '")
        ):
            found = Raised("exception", line, "")
    return found


def raised_at(stderr, place):
    """The Raised of a traceback of Python that begins at this line."""
    in_thread = place > 0 and stderr[place - 1].startswith("Exception in thread ")
    where, last = "", stderr[place].strip()
    for number in range(place + 1, len(stderr)):
        if frame := FRAME.match(stderr[number]):
            if not (where and LIBRARY.search(frame[1])):  # the last line of the server's own
                source = next(iter(stderr[number + 1 :]), "")
                where = f"{os.path.basename(frame[1])}, line {frame[2]}, in {frame[3]}"
                where += "" if FRAME.match(source) else f": {source.strip()}"
        elif not stderr[number].startswith(" "):
            last = stderr[number]
            break
    return Raised("exception-in-a-thread" if in_thread else "exception", last, where)


def was_restarted(entries) -> bool:
    return sum(entry.what == "starts" for entry in entries) > 1


def has_served(entries) -> bool:
    """Whether the server, since its last start, has welcomed a client and answered its PING."""
    heard = [entry.text for entry in since_start(entries) if entry.what == "hears"]
    return any(line.startswith("WELCOME ") for line in heard) and any(
        line.startswith("PONG ") for line in heard
    )


# -- The record ----------------------------------------------------------------------------------


def since_start(entries: Sequence[Entry]) -> list:
    """The entries since the server was last started."""
    last = max((place for place, entry in enumerate(entries) if entry.what == "starts"), default=0)
    return list(entries[last:])


def of_the_record(problem, entries):
    """A rule that the whole record breaks, and that explains what the check saw."""
    if problem.evidence:  # judged from the record already
        return None
    for checker, sentences in DIAGNOSES:
        try:
            checker(since_start(entries))
        except CheckFailed as other:
            if other.sentence in sentences and (
                other.sentence == "late"
                or problem.sentence in VAGUE | {"before-welcome", "in-before-welcome"}
            ):
                return cause(other.sentence)
    return None


def of_the_clock(problem, entries):
    """A limit that took effect only after the last client had fallen silent."""
    sent = max((place for place, entry in enumerate(entries) if entry.what == "sends"), default=0)
    late = any(
        entry.what == "hears" and entry.text in ("BYE timeout", "BYE idle")
        for entry in entries[sent + 1 :]
    )
    waited = problem.sentence is None and problem.actual.startswith(NEVER_CAME)
    return cause("clock-only-when-idle") if waited and late else None


def of_the_owner(problem, check, entries):
    """`accept`, where it only prepares what the check is about, was refused."""
    typed = next((entry.text.strip() for entry in reversed(entries) if entry.what == "types"), "")
    refused = problem.actual.startswith("error: ") and problem.expected == "ok"
    if (
        refused
        and typed.startswith("accept ")
        and problem.sentence is None
        and check not in ("the-owner-accepts", "one-request-per-name")
    ):
        return cause("accept-refused")
    return None


def of_what_was_heard(problem, check, entries, server):
    """By the last line that the client concerned heard: a step that prepares, or its end."""
    sight = getattr(server, "sight", None) or Sight()
    if problem.sentence == "stuck":
        return of_a_crowd(problem, entries, sight, server)
    if problem.sentence == "ghost" and sight.processes > 1:
        return cause("ghost-of-a-process")
    side = history.History(since_start(entries)).connections.get(problem.who)
    if side is None:
        return None
    if problem.sentence == "join-refused":
        if halves_were_mixed(entries):
            return cause("halves-of-several-clients")
        return cause("join-refused") if is_first_join(side, entries) else cause(check, check)
    if problem.sentence not in ("silent", "cut-off", "does-not-read"):
        return None
    if problem.sentence == "cut-off":
        if side.bye and check in ABOUT_BYE.get(side.bye.line.removeprefix("BYE "), ()):
            return cause(check)
        return cause("said-bye") if side.bye and check not in ABOUT_THE_END else None
    if sight.stopped and check == "in-the-background":
        return cause(check)
    sentence = of_a_silence(side, entries, sight, check)
    if sentence == "no-end-of-file":
        return cause(sentence)
    if sentence == "waits-for-a-lock":
        why = of_the_trace(server, words(sentence)) or words(sentence)
        return cause(sentence, text=no_answer(why, problem.silent))
    return sentence and cause(sentence, text=no_answer(words(sentence), problem.silent))


def of_a_silence(side, entries, sight, check):
    """The id of the sentence on a client that waits in vain; None if there is nothing better."""
    if sight.full and check not in (
        "out-of-descriptors",
        "beyond-descriptor-1024",
        "all-is-given-back",
    ):
        return "no-descriptors-left"
    heard = side.heard
    if side.bye and side.bye.line in ("BYE timeout", "BYE idle") and side.over is not None:
        heard = [said for said in heard if said.place < side.bye.place]  # it waited for so long
    elif side.bye:
        return "no-end-of-file"
    if is_locked(sight) and (not heard or check not in ABOUT_SILENCE):
        return "waits-for-a-lock"
    if not heard:
        others = [
            other
            for other in sides(entries)
            if other is not side
            and other.heard
            and other.connected < side.connected
            and other.ended is None
        ]
        if rests_in_parts(sight):
            return "nothing-is-sent"
        return "one-after-the-other" if others and not sight.greets else "no-hello"
    if is_joining(side) and is_first_join(side, entries):
        last = next(said.line for said in reversed(heard) if not said.line.startswith("PING "))
        if last == "PENDING":
            accepted = any(
                entry.what == "types" and entry.text.startswith("accept ") for entry in entries
            )
            return (
                "accepted-not-welcomed"
                if accepted
                else "welcome-slow"
                if sight.cores > BUSY
                else "no-welcome"
            )
        if last.startswith("WELCOME "):
            return "no-own-in" if side.sent[-1].line.startswith("JOIN ") else None
        return "join-unanswered" if last.startswith("HELLO ") else None
    if (
        side.welcome
        and side.welcome is heard[-1]
        and not any(said.place > side.welcome.place for said in side.sent)
    ):
        return "no-own-in"
    if check in ABOUT_SILENCE and check not in ("takes-requests", "answers-ping"):
        return None
    if sight.unread.get(side.who) and sight.greets:
        return "nobody-reads" if len(heard) < 2 else "does-not-read"
    if [said.line.split(" ")[0] for said in heard if said.line] == ["HELLO"] and all(
        said.line.startswith("PING ") for said in side.sent if said.line
    ):
        return "takes-no-requests"
    if "send" in sight.waits and not sight.greets:
        return "blocked-in-send"
    return None


def of_a_crowd(problem, entries, sight, server):
    """Nothing moves any more: by what the threads wait for, and whether newcomers are served."""
    if getattr(problem, "unread", None) and sight.greets:
        return cause("nobody-reads")
    if sight.greets:
        return cause("stuck", text=words("lost-wake-up"))
    if trace := of_the_trace(server, words("stuck")):
        return cause("stuck", text=trace)
    if is_locked(sight):
        return cause("stuck", text=words("stuck"))
    crowd = [side for side in sides(entries) if side.ended is None]
    if sight.waits.count("lock") >= max(len(crowd), 3) and not {"runs", "send"} & set(sight.waits):
        return cause("stuck", text=words("all-wait-for-a-wake-up"))
    return cause("stuck", text=words("stuck-unknown"))


def sides(entries):
    """Every ConnectionHistory since the server was last started."""
    return history.History(since_start(entries)).connections.values()


def of_the_trace(server, why) -> str | None:
    """The cause `why`, and which thread or process held which lock, if the server traced itself
    (--trace DIR).
    """
    spans = locks.of_server(server)
    holds = [span for span in spans if span.what == "holds" and span.seconds is None]
    for wait in (span for span in spans if span.what == "waits" and span.seconds is None):
        if holder := next((hold for hold in holds if hold.lock == wait.lock), None):
            if holder.who == wait.who:
                return taken_again(why, wait.who, wait.lock)
            return held(why, holder.who, wait.lock, wait.who)
    return None


def taken_again(why, actor, lock):
    """A cause, and in the trace a lock that its holder takes again."""
    return msg(
        "{why}\nIn the trace, {actor} holds the lock `{lock}` and acquires it again.",
        why=why,
        actor=actor,
        lock=lock,
    )


def held(why, holder, lock, actor):
    """A cause, and in the trace a lock that another one holds."""
    return msg(
        "{why}\nIn the trace, {holder} holds the lock `{lock}`, and {actor} waits for it.",
        why=why,
        holder=holder,
        lock=lock,
        actor=actor,
    )


def is_locked(sight: Sight) -> bool:
    """Whether a thread waits for a lock, and none is left that would wait for clients or run."""
    return (
        sight.greets is False
        and "lock" in sight.waits
        and not {"accept", "ready", "runs", "send"} & set(sight.waits)
        and sight.waits[0] != "read"  # the first thread: a worker that rests waits for a lock, too
    )


def rests_in_parts(sight: Sight) -> bool:
    """Whether lines are read and nothing is sent, while several threads or processes all wait."""
    works = {"runs", "send", "write"} & set(sight.waits)
    return sight.mute and len(sight.waits) > 1 and not works


def halves_were_mixed(entries) -> bool:
    """Whether a client sent something while another one's line had begun and not ended."""
    begun: set[str] = set()
    for entry in since_start(entries):
        if entry.what == "sends" and entry.text:
            if begun - {entry.who}:
                return True
            begun = set() if entry.text.endswith("\n") else {entry.who}
    return False


def is_joining(side) -> bool:
    """Whether the client's JOIN is what it waits for."""
    joins = side.sends("JOIN")
    return bool(joins) and not [said for said in side.sent if said.place > joins[-1].place]


def is_first_join(side, entries) -> bool:
    """Whether nobody had asked with this name before: then the JOIN is a step on the way."""

    def name(said):
        return history.fold([*said.line.split(" "), ""][1])

    joins = side.sends("JOIN")
    sides = history.History(entries).connections.values()
    asked = [name(said) for other in sides for said in other.sends("JOIN") + other.sends("NAME")]
    return bool(joins) and asked.count(name(joins[-1])) == 1
