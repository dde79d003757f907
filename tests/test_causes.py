"""The cause that a verdict names rests on what was seen: on servers with one bug each, and by
itself.
"""

import json
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
from test_history import START, record

from harness.driving.record import CheckFailed, Entry, Record
from harness.teaching import exhibits
from harness.verdicts import causes
from harness.verdicts.causes import Sight
from harness.verdicts.model import FAILED, PASSED
from harness.verdicts.sentences import CAUSES

COMMON = "implementations/common/"
FORK, PTHREAD, LOOP = (f"implementations/{name}.py" for name in ("fork", "pthread", "nonblocking"))
RAISES = '\n            if b"WHO" in data:\n                raise ValueError("no list")'

# What a student did: the design, the edits (file, old, new), the check, the sentence, words of its
# cause.
MUTANTS = {
    "no line is taken out of the buffer": (
        "nonblocking",
        [(COMMON + "wire.py", "lines = self.cut(whole) if newline else []", "lines = []")],
        "takes-requests",
        "takes-no-requests",
        "finds no request in what it receives",
    ),
    "a child raises": (
        "fork",
        [
            (
                FORK,
                "            if not data:\n                return\n            if not over:",
                "            if not data:\n                return"
                + RAISES
                + "\n            if not over:",
            )
        ],
        "who",
        "exception-in-a-child",
        "ValueError: no list",
    ),
    "a thread raises": (
        "pthread",
        [
            (
                PTHREAD,
                "                return self.drop(client)\n",
                "                return self.drop(client)" + RAISES + "\n",
            )
        ],
        "who",
        "exception-in-a-thread",
        "ValueError: no list",
    ),
    "the loop raises": (
        "nonblocking",
        [
            (
                COMMON + "readers.py",
                "            client.eof = True\n            self.pause_reading(client)\n",
                "            client.eof = True\n            self.pause_reading(client)"
                + RAISES.replace("\n    ", "\n")
                + "\n",
            )
        ],
        "who",
        "died",
        "ValueError: no list",
    ),
    "the hash is slow": (
        "pthread",
        [
            (
                COMMON + "passwords.py",
                "        return HASHER.hash(password)",
                "        end = __import__('time').monotonic() + 100\n        while "
                "__import__('time').monotonic() < end:\n"
                "            HASHER.hash(password)",
            )
        ],
        "a-new-member-comes-in",
        "welcome-slow",
        "hash of the password takes too long",
    ),
    "the hash never comes": (
        "pthread",
        [
            (
                COMMON + "passwords.py",
                "        return HASHER.hash(password)",
                "        __import__('time').sleep(100)",
            )
        ],
        "everyone-hears-everything",
        "no-welcome",
        "neither WELCOME nor REJECTED",
    ),
    "no answer to a wrong password": (
        "nonblocking",
        [
            (
                COMMON + "joining.py",
                "        join.reject_at = join.since + self.room.rules.reject_after\n",
                "",
            )
        ],
        "near-misses-of-a-password",
        "silent",
        "No answer came within",
    ),
    "a lock taken twice by its holder": (
        "pthread",
        [
            (
                PTHREAD,
                "            sleep(ACCEPT_PAUSE)\n        with self.lock:\n",
                "            sleep(ACCEPT_PAUSE)\n        with self.lock, self.lock:\n",
            )
        ],
        "greets",
        "waits-for-a-lock",
        "acquire a lock that it holds already",
    ),
    "a new lock at each call": (  # it guards nothing; which of its races shows first is chance
        "pthread",
        [
            (
                PTHREAD,
                "        with self.lock:\n"
                "            if batch[0][0] is not self.owner:  # the owner's orders wait for nobody\n"
                "                self.line.wait_in_turn()\n            self.turn_bytes",
                "        with threading.Lock():\n            self.turn_bytes",
            )
        ],
        "one-order",
        ("not-greeted", "torn", "one-number-twice", "answer-of-another"),
        "two threads",
    ),
    "the socket is closed before it is forgotten": (
        "pthread",
        [
            (
                PTHREAD,
                "        if client is not self.owner:  # the end",
                "        client is self.owner or client.sock.close()\n        if client is not "
                "self.owner:  # the end",
            )
        ],
        "coming-and-going",
        "descriptor-reused",
        "number of a closed descriptor",
    ),
    "a descriptor is closed twice": (
        "nonblocking",
        [
            (
                COMMON + "outboxes.py",
                "            outbox.sock.close()\n",
                "            os.close(outbox.sock.fileno())\n            self.closed = "
                "[*getattr(self, 'closed', []), outbox.sock]\n"
                "            if len(self.closed) > 3:\n                "
                "self.closed.pop(0).close()\n",
            )
        ],
        "coming-and-going",
        "died",
        "closed it a second time",
    ),
    "one's own IN before WELCOME": (
        "nonblocking",
        [
            (
                COMMON + "room.py",
                '            self.emit(Welcome(welcoming, f"WELCOME {self.group.seq} '
                '{welcoming.name}"))\n',
                "            self.send(welcoming, data.decode().rstrip())\n"
                "            self.group.seq += 1\n            self.emit(Events(data))\n"
                '            welcome = f"WELCOME {self.group.seq - 1} {welcoming.name}"\n'
                "            self.emit(Welcome(welcoming, welcome))\n            return True\n",
            )
        ],
        "long-lines",
        "in-before-welcome",
        "own IN came before its WELCOME",
    ),
    "PONG before an earlier SAY": (
        "nonblocking",
        [
            (
                COMMON + "room.py",
                "                    self.commit_messages()\n                    self.dispatch",
                "                    type(request) is requests.Ping or self.commit_messages()\n    "
                "                self.dispatch",
            )
        ],
        "long-lines",
        "late",
        "PONG overtook",
    ),
    "a too high number in END HISTORY": (
        "nonblocking",
        [(COMMON + "room.py", 'f"END HISTORY {newest}"', 'f"END HISTORY {newest + 1}"')],
        "history-meanwhile",
        ("end-of-history", "history-differs"),  # by what comes while the answer is on its way
        "END HISTORY",
    ),
    "two members with one name": (
        "nonblocking",
        [
            (
                COMMON + "room.py",
                "        if (new != old and taken) or (is_alike and (new != old or not new.isascii())):",
                "        if False:",
            ),
            (
                COMMON + "room.py",
                "        del self.here[old]\n",
                "        self.here.pop(old, None)\n",
            ),
            (
                COMMON + "group.py",
                "            if member is None:\n                raise",
                "            if member is None:\n                return\n                raise",
            ),
        ],
        "cross-traffic",
        "two-with-one-name",
        "same name at the same time",
    ),
    "a missing notify": (
        "pthread",
        [(PTHREAD, "            self.line.wake_first()\n", "")],
        "a-burst",
        "stuck",
        "notify that is missing",
    ),
    "two clients are not served at once": (
        "pthread",
        [
            (
                PTHREAD,
                "                    self.start(client.address, self.read_from, client)\n",
                "                    self.deliver(self.room.connected(client))\n                   "
                " self.lock.release()\n"
                "                    self.read_from(client)\n                    "
                "self.lock.acquire()\n                    return\n",
            )
        ],
        "greets",
        "one-after-the-other",
        "one client after the other",
    ),
    "the clock is looked at only when nothing comes": (
        "nonblocking",
        [
            (
                LOOP,
                "            if self.is_tick_due():\n",
                "            if self.is_tick_due() and not self.deliveries:\n",
            )
        ],
        "strangers-have-no-long-stay",
        "clock-only-when-idle",
        "looks at its clock only when nothing comes",
    ),
    "Ctrl-C reaches the children": (
        "fork",
        [
            (
                COMMON + "children.py",
                "signal.pthread_sigmask(signal.SIG_BLOCK, blocked)",
                "signal.signal(signal.SIGINT, signal.SIG_DFL)",
            )
        ],
        "sigint-ends-in-order",
        "ctrl-c-reached-the-children",
        "the children included",
    ),
    "Ctrl-C at the terminal reaches the children": (
        "fork",
        [
            (
                COMMON + "children.py",
                "signal.pthread_sigmask(signal.SIG_BLOCK, blocked)",
                "signal.signal(signal.SIGINT, signal.default_int_handler)",
            )
        ],
        "ctrl-c-at-the-terminal",
        "ctrl-c-reached-the-children",
        "the children included",
    ),
    "sockets are not closed after BYE": (
        "nonblocking",
        [
            (
                COMMON + "outboxes.py",
                "            self.closing.pop(outbox, None)\n            outbox.sock.close()\n",
                "            self.closing.pop(outbox, None)\n",
            ),
            (
                COMMON + "outboxes.py",
                "            shutdown_socket(outbox.sock, socket.SHUT_WR)\n",
                "            pass\n",
            ),
        ],
        "all-is-given-back",
        "no-end-of-file",
        "connection stays open",
    ),
}


@pytest.mark.long
@pytest.mark.timeout(900)  # three tries, each of which waits in vain; more on a busy machine
@pytest.mark.parametrize("what", MUTANTS)
def test_a_bug_is_told_by_its_own_cause(what, tmp_path):
    design, edits, check, sentence, words = MUTANTS[what]
    exhibit = exhibits.Exhibit(what, 0, design, "", "", "", "", check, sentence)
    exhibits.build(
        replace(exhibit, file=edits[0][0], old=edits[0][1], new=edits[0][2]), tmp_path / "tree"
    )
    for file, old, new in edits[1:]:
        exhibits.plant(replace(exhibit, file=file, old=old, new=new), tmp_path / "tree")
    for seed in "567":
        verdict = exhibits.judge(exhibit, tmp_path / "tree", [check], seed=seed)[check]
        if verdict.verdict == FAILED:  # else the machine was too busy to judge
            break
    assert verdict.verdict == FAILED, verdict
    may_be = sentence if isinstance(sentence, tuple) else (sentence,)
    assert verdict.failure.sentence in may_be, verdict.failure
    assert words in verdict.failure.cause, verdict.failure


@pytest.mark.long
def test_greets_passes_where_only_the_fence_fails(tmp_path):
    design, [(file, old, new)], *_ = MUTANTS["no line is taken out of the buffer"]
    exhibit = exhibits.Exhibit("greets only", 0, design, file, old, new, "", "greets", "")
    exhibits.build(exhibit, tmp_path / "tree")
    assert exhibits.judge(exhibit, tmp_path / "tree", ["greets"])["greets"].verdict == PASSED


# -- The choice by itself: what was sent and heard, what the processes showed, and then the cause --

ONE = """
    server! starts
    ana! connects
"""
SILENT = {  # the record, the waiting client, the sight of the server, the check: the sentence
    "no HELLO": (ONE, "ana", Sight(), "greets", "no-hello"),
    "no HELLO, and lines are read": (
        ONE,
        "ana",
        Sight(greets=False, mute=True, waits=["accept", "ready", "read", "lock"]),
        "greets",
        "nothing-is-sent",
    ),
    "no HELLO, lines are read, and one thread does it all": (
        ONE,
        "ana",
        Sight(greets=False, mute=True, waits=["ready"]),
        "greets",
        "no-hello",
    ),
    "no HELLO, lines are read, and a thread computes": (
        ONE,
        "ana",
        Sight(greets=False, mute=True, waits=["accept", "runs"]),
        "greets",
        "no-hello",
    ),
    "no HELLO for the second": (
        START + "eve! connects",
        "eve",
        Sight(greets=False),
        "greets",
        "one-after-the-other",
    ),
    "no HELLO, and all wait for locks": (
        START + "eve! connects",
        "eve",
        Sight(greets=False, waits=["lock", "read"]),
        "greets",
        "waits-for-a-lock",
    ),
    "no PONG until the clock of strangers ends it": (
        ONE + "ana< HELLO grupo/1 g\nana> PING x\nana< BYE timeout\nana! ended",
        "ana",
        Sight(greets=False),
        "takes-requests",
        "takes-no-requests",
    ),
    "no PENDING": (
        ONE + "ana< HELLO grupo/1 g\nana> JOIN ana x",
        "ana",
        Sight(),
        "who",
        "join-unanswered",
    ),
    "no WELCOME": (
        ONE + "ana< HELLO grupo/1 g\nana> JOIN ana x\nana< PENDING",
        "ana",
        Sight(),
        "near-misses-of-a-password",
        "no-welcome",
    ),
    "no WELCOME, and it computes": (
        ONE + "ana< HELLO grupo/1 g\nana> JOIN ana x\nana< PENDING",
        "ana",
        Sight(cores=0.9),
        "who",
        "welcome-slow",
    ),
    "no WELCOME after accept": (
        ONE + "ana< HELLO grupo/1 g\nana> JOIN ana x\nana< PENDING\nowner! types accept ana\n",
        "ana",
        Sight(),
        "members",
        "accepted-not-welcomed",
    ),
    "no IN": (
        ONE + "ana< HELLO grupo/1 g\nana> JOIN ana x\nana< PENDING\nana< WELCOME 1 ana",
        "ana",
        Sight(),
        "who",
        "no-own-in",
    ),
    "no answer to a JOIN of a member": (
        START + "eve! connects\neve< HELLO grupo/1 g\neve> JOIN ana y\neve< PENDING",
        "eve",
        Sight(),
        "near-misses-of-a-password",
        "silent",
    ),
    "no PONG for a stranger": (
        ONE + "ana< HELLO grupo/1 g\nana> PING x",
        "ana",
        Sight(),
        "takes-requests",
        "takes-no-requests",
    ),
    "nothing reads it": (
        ONE + "ana< HELLO grupo/1 g\nana> PING x",
        "ana",
        Sight(greets=True, unread={"ana": 7}),
        "who",
        "nobody-reads",
    ),
    "nothing reads it any more": (
        START + "ana> PING x",
        "ana",
        Sight(greets=True, unread={"ana": 7}),
        "who",
        "does-not-read",
    ),
    "no end after BYE": (
        START + "ana> QUIT\nana< BYE quit",
        "ana",
        Sight(),
        "all-is-given-back",
        "no-end-of-file",
    ),
    "no descriptor is left": (
        START + "ana> PING x",
        "ana",
        Sight(full=True),
        "who",
        "no-descriptors-left",
    ),
    "blocked in a send": (
        START + "ana> PING x",
        "ana",
        Sight(greets=False, waits=["send", "accept"]),
        "who",
        "blocked-in-send",
    ),
    "nothing of all this": (START + "ana> WHO", "ana", Sight(), "who", "silent"),
    "what the check is about": (
        START + "ana> PING x",
        "ana",
        Sight(),
        "a-reader-who-stops-holds-up-nobody",
        "a-reader-who-stops-holds-up-nobody",
    ),
}


def test_a_client_that_goes_unseen_in_a_server_of_processes_is_about_pipes():
    for count, sentence in (1, "ghost"), (3, "ghost-of-a-process"):
        server = Fake(Sight(processes=count))
        assert found(START, "coming-and-going", server, sentence="ghost").sentence == sentence


class Fake(SimpleNamespace):
    """What find() asks of a server."""

    def __init__(self, sight=None, status=None, stderr=(), excessive=None):
        super().__init__(
            sight=sight,
            stderr=list(stderr),
            process=SimpleNamespace(poll=lambda: status),
            excessive=lambda: excessive,
            died=lambda: status is not None,
        )


def found(text, check="who", server=None, warns=(), **problem):
    """The cause of a problem at the end of this record."""
    entries = record(text)
    entries += [Entry(len(entries) / 1000, "server", "warns", line) for line in warns]
    if server and server.sight:
        server.sight.at = len(entries)
    return causes.find(
        CheckFailed(
            "this", problem.pop("actual", "that"), problem.pop("sentence", None), **problem
        ),
        check,
        entries,
        server,
    )


@pytest.mark.parametrize("what", SILENT)
def test_a_silence_is_told_by_what_came_before_it(what):
    text, who, sight, check, sentence = SILENT[what]
    cause = found(text, check, Fake(sight), sentence="silent", who=who, silent=5)
    assert cause.sentence == sentence
    told_as_silence = cause.text.startswith("No answer came within 5 s.")
    assert told_as_silence or sentence in (check, "no-end-of-file")
    assert "password has to be compared" not in cause.text


def test_without_evidence_no_cause_is_claimed():
    assert found(
        "server! starts", "near-misses-of-a-password", sentence="silent", silent=5
    ).text.startswith("No answer came within 5 s. No cause known.")
    assert (
        "No cause known"
        in found(
            START + "ana! ended", "near-misses-of-a-password", sentence="cut-off", who="ana"
        ).text
    )
    assert (
        "No cause known"
        in found(START, "cross-traffic", Fake(Sight(greets=False)), sentence="stuck").text
    )


def test_the_checks_own_sentence_stays_where_something_wrong_came():
    assert found(START, "text-as-it-was-said").sentence == "text-as-it-was-said"
    assert (
        found(START, "nothing-before-welcome", sentence="stranger-hears").sentence
        == "stranger-hears"
    )
    assert found(START, "without-a-terminal[closed]").sentence == "without-a-terminal"


PYTHON = [
    "Traceback (most recent call last):",
    '  File "/srv/x/server.py", line 7, in serve',
    "    handle(line)",
    "    ^^^^^^^^^^^^",
    '  File "/srv/x/server.py", line 3, in handle',
    "    raise ValueError(1)",
    "ValueError: 1",
]


@pytest.mark.parametrize(
    "stderr, sight, sentence, words",
    [
        (
            ["Exception in thread Thread-3 (serve):", *PYTHON],
            Sight(),
            "exception-in-a-thread",
            "ValueError: 1\nRaised at: server.py, line 3, in handle: raise ValueError(1)",
        ),
        (PYTHON, Sight(processes=1), "exception", "ValueError: 1"),
        (PYTHON, Sight(processes=3), "exception-in-a-child", "ValueError: 1"),
        (
            [*PYTHON[:-1], "OSError: [Errno 9] Bad file descriptor"],
            Sight(),
            "exception",
            CAUSES["descriptor-reused"][0] + "\nThe exception: OSError",
        ),
        (
            [*PYTHON[:-1], "RuntimeError: dictionary changed size during iteration"],
            Sight(),
            "exception",
            CAUSES["coming-and-going"][0],
        ),
        (
            [
                'Exception in thread "client-3" java.lang.NullPointerException: no list',
                "\tat Server.handle(Server.java:41)",
            ],
            Sight(),
            "exception-in-a-thread",
            "java.lang.NullPointerException: no list\nRaised at: Server.handle(Server.java:41)",
        ),
        (["hello", "world"], Sight(), "silent", "No cause known"),
    ],
)
def test_an_exception_on_stderr_is_quoted(stderr, sight, sentence, words):
    cause = found(
        START + "ana> WHO", "who", Fake(sight), stderr, sentence="silent", who="ana", silent=5
    )
    assert cause.sentence == sentence and words in cause.text


def test_an_exception_of_the_end_of_a_connection_does_not_explain_what_was_wrong():
    lines = [*PYTHON[:-1], "ConnectionResetError: [Errno 104] Connection reset by peer"]
    assert (
        found(START, "text-as-it-was-said", Fake(Sight()), lines).sentence == "text-as-it-was-said"
    )


def test_what_is_written_after_the_check_failed_is_no_evidence():
    entries = [*record(START), *(Entry(99, "server", "warns", line) for line in PYTHON)]
    assert (
        causes.find(
            CheckFailed("this", "that", "silent", who="ana", silent=5),
            "who",
            entries,
            Fake(Sight(at=1)),
        ).sentence
        == "silent"
    )


def test_a_child_that_a_signal_ended():
    cause = found(
        START + "ana! ended",
        "who",
        Fake(Sight(died=[signal.SIGSEGV])),
        sentence="cut-off",
        who="ana",
    )
    assert cause.sentence == "a-child-died" and "SIGSEGV" in cause.text


@pytest.mark.parametrize(
    "status, stderr, words",
    [
        (-signal.SIGPIPE, [], "SIGPIPE ended the server"),
        (-signal.SIGSEGV, [], "memory error"),
        (-signal.SIGUSR1, [], "does not handle"),
        (0, [], "main returned"),
        (1, PYTHON, "ValueError: 1"),
        (3, ["oops"], "middle of the conversation"),
        (1, ["server: Interrupted system call"], "EINTR"),
    ],
)
def test_a_server_that_ended_is_told_by_how_it_ended(status, stderr, words):
    cause = found(START, "who", Fake(Sight(), status, stderr))
    assert cause.sentence == "died" and words in cause.text


def test_a_server_that_was_ended_for_excess():
    assert found(START, "who", Fake(excessive="floods", status=-9)).sentence == "floods"


def test_nothing_moves():
    assert (
        "notify that is missing"
        in found(
            START,
            "cross-traffic",
            Fake(Sight(greets=True, waits=["lock", "accept"])),
            sentence="stuck",
        ).text
    )
    assert (
        "its threads wait for locks"
        in found(
            START,
            "cross-traffic",
            Fake(Sight(greets=False, waits=["lock", "lock"])),
            sentence="stuck",
        ).text
    )


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("ana> SAY hi / PING x\nana< PONG x\nana< MSG {4} ana hi", "late"),
        ("ben! ended\neve! connects\neve< MSG {4} ana hi", "descriptor-reused"),
        ("eve! connects\neve< BYE quit", "descriptor-reused"),
        (
            "eve! connects\neve< HELLO grupo/1 g\neve> JOIN eve x\neve< PENDING\neve< IN {4} eve",
            "in-before-welcome",
        ),
        ("ben< HELLO grupo/1 g", "greeted-twice"),
        (
            "ana> HISTORY 0\nana< GROUP {1} g\nana< IN {2} ana\nana< IN {3} ben\nana< END HISTORY 4",
            "end-of-history",
        ),
        ("ben> NAME ana\nana< RENAMED {4} ben ana", "two-with-one-name"),
    ],
)
def test_a_rule_that_the_whole_record_breaks_explains_what_a_check_saw(text, sentence):
    assert found(START + text, "long-lines").sentence == sentence


def test_late_is_told_in_any_check_and_the_rest_only_where_nothing_better_is_known():
    late = "ana> SAY hi / PING x\nana< PONG x\nana< MSG {4} ana hi"
    assert found(START + late, "everyone-hears-everything", sentence="no-echo").sentence == "late"
    assert (
        found(
            START + "ben< HELLO grupo/1 g", "everyone-hears-everything", sentence="no-echo"
        ).sentence
        == "no-echo"
    )


@pytest.mark.parametrize(
    "waits, words", [("client", "acquires it again"), ("write", "the thread `write` waits")]
)
def test_a_trace_tells_who_holds_the_lock(waits, words, tmp_path):
    events = [("client", "B.lock.hold"), (waits, "B.lock.wait")]
    lines = [
        {"t": 1, "p": 7, "th": len(who), "a": who, "e": kind, "o": "room"} for who, kind in events
    ]
    (tmp_path / "1.jsonl").write_text('{"schema": 1}\n' + "\n".join(map(json.dumps, lines)) + "\n")
    server = Fake(Sight(greets=False, waits=["lock"]))
    server.record = Record()
    server.command = ["server", "--trace", str(tmp_path)]
    assert words in found(START, "cross-traffic", server, sentence="stuck").text


def test_a_bye_that_nothing_called_for():
    bye = START + "ana< BYE slow\nana! ended"
    assert found(bye, "who", sentence="cut-off", who="ana").sentence == "said-bye"
    assert found(bye, "a-slow-reader-gets-all", sentence="cut-off", who="ana").sentence == (
        "a-slow-reader-gets-all"
    )


@pytest.mark.parametrize(
    "code, check, sentence",
    [
        ("full", "room-for-members", "room-for-members"),
        ("full", "room-for-strangers", "room-for-strangers"),
        ("protocol", "errors-are-counted-until-welcome", "errors-are-counted-until-welcome"),
        ("slow", "room-for-members", "said-bye"),
    ],
)
def test_a_bye_whose_code_a_check_is_about_is_told_by_the_check(code, check, sentence):
    bye = START + f"ana< BYE {code}\nana! ended"
    assert found(bye, check, sentence="cut-off", who="ana").sentence == sentence


@pytest.mark.parametrize(
    "check, status, sentence",
    [
        ("the-owner-is-gone", -signal.SIGPIPE, "the-owner-is-gone"),
        ("who", -signal.SIGPIPE, "died"),
        ("sighup-that-was-ignored", 0, "sighup-that-was-ignored"),
        ("sighup-that-was-ignored", -signal.SIGSEGV, "died"),
    ],
)
def test_an_end_that_a_check_is_about_is_told_by_the_check(check, status, sentence):
    assert found(START, check, Fake(status=status)).sentence == sentence


def test_a_pipe_to_the_owner_that_broke_is_not_told_as_a_client_that_went():
    broken = ["Traceback (most recent call last):", "BrokenPipeError: [Errno 32] Broken pipe"]
    cause = found(START, "the-owner-is-gone", Fake(status=1, stderr=broken))
    assert cause.sentence == "the-owner-is-gone" and "Broken pipe" in cause.text


def test_a_process_that_is_stopped_in_the_background():
    silent = {"sentence": "silent", "who": "eve"}
    stopped = Fake(Sight(greets=False, stopped=True))
    text = START + "eve! connects"
    assert found(text, "in-the-background", stopped, **silent).sentence == "in-the-background"
    assert found(text, "who", stopped, **silent).sentence == "one-after-the-other"


def test_an_exception_is_found_at_a_terminal_too():
    """Its stderr and its stdout are one there."""
    terminal = Fake()
    del terminal.process
    text = START + "server! shows Traceback (most recent call last):\nserver! shows ValueError: 1"
    for server, sentence in (terminal, "exception"), (Fake(), "at-a-terminal"):
        assert found(text, "at-a-terminal", server).sentence == sentence


def test_a_server_that_fails_on_what_it_left_behind_is_told_by_the_check():
    again = START + "server! signal SIGKILL\nserver! starts again\nana#2! connects"
    cause = found(
        "server! starts" + again, "killed-and-nothing-is-lost", Fake(status=1, stderr=PYTHON)
    )
    assert cause.sentence == "killed-and-nothing-is-lost" and "ValueError: 1" in cause.text


def test_a_server_that_takes_the_end_of_input_for_an_order():
    server = Fake(status=0)
    assert (
        found(START, "the-end-of-input-is-no-order", server).sentence
        == "the-end-of-input-is-no-order"
    )


def test_a_join_that_is_refused_is_a_step_unless_somebody_had_the_name():
    fresh = (
        "eve! connects\neve< HELLO grupo/1 g\neve> JOIN eve x\neve< PENDING\neve< REJECTED refused"
    )
    assert (
        found(START + fresh, "who", sentence="join-refused", who="eve").sentence == "join-refused"
    )
    assert (
        found(
            START + fresh.replace("JOIN eve", "JOIN ana"),
            "takeover",
            sentence="join-refused",
            who="eve",
        ).sentence
        == "takeover"
    )


def test_a_join_that_is_refused_after_another_ones_half_line_is_about_shared_buffers():
    entries = record(
        START + "eve! connects\neve< HELLO grupo/1 g\nana> JO\neve> JOIN eve x\neve< ERR unknown"
    )
    for half, sentence in ("JO", "halves-of-several-clients"), ("PING 1\n", "join-refused"):
        heard = [one._replace(text=half) if one.text.strip() == "JO" else one for one in entries]
        problem = CheckFailed("this", "that", "join-refused", who="eve")
        assert causes.find(problem, "others-are-served-meanwhile", heard).sentence == sentence


def test_every_sentence_that_may_be_chosen_is_in_the_catalogue():
    named = (
        {sentence for _, sentences in causes.DIAGNOSES for sentence in sentences}
        | set(causes.BY_SIGNAL.values())
        | causes.SETUP
        | {sentence for _, sentence in causes.BY_EXCEPTION}
    )
    about = causes.ABOUT_SILENCE | causes.ABOUT_THE_END | set(causes.ABOUT_AN_END)
    about |= set().union(*causes.ABOUT_BYE.values())
    assert named | (causes.VAGUE - {None}) | about <= set(CAUSES)


def test_causes_are_in_plain_english():
    for sentence, (text, _) in CAUSES.items():
        words = set(text.lower().replace(",", " ").replace(".", " ").split())
        assert not words & {"he", "him", "his", "she", "her", "hers", "whoever", "whom"}, sentence
        assert not text.startswith("Who "), sentence
