"""The cause that a verdict names rests on what was seen: servers with one bug each, and the choice by itself, on records made by hand."""
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
from test_checkers import START, record

from harness import exhibits
from harness.record import Entry, Unmet
from harness.verdicts import causes
from harness.verdicts.causes import Sight
from harness.verdicts.model import FAILED, PASSED
from harness.verdicts.sentences import CAUSES

COMMON = "implementations/common/"
FORK, PTHREAD, LOOP = (f"implementations/{name}.py" for name in ("fork", "pthread", "nonblocking"))
RAISES = '\n            if b"WHO" in data:\n                raise ValueError("no list")'

# What a student did: the design, the edits (file, old, new), the check, the sentence, words of the cause.
MUTANTS = {
    "no line is taken out of the buffer": (
        "nonblocking", [(COMMON + "wire.py", "lines = self.cut(whole) if newline else []", "lines = []")],
        "takes-requests", "takes-no-requests", "takes no request out of what arrived"),
    "a child raises": (
        "fork", [(FORK, "            if not data:\n                return\n            if not client.over:",
                  "            if not data:\n                return" + RAISES + "\n            if not client.over:")],
        "who", "exception-in-a-child", "ValueError: no list"),
    "a thread raises": (
        "pthread", [(PTHREAD, "                return self.drop(client)\n",
                     "                return self.drop(client)" + RAISES + "\n")],
        "who", "exception-in-a-thread", "ValueError: no list"),
    "the loop raises": (
        "nonblocking", [(LOOP, "        if not data:\n            self.drop(client)\n",
                         "        if not data:\n            self.drop(client)" + RAISES.replace("\n    ", "\n") + "\n")],
        "who", "died", "ValueError: no list"),
    "the hash is slow": (
        "pthread", [(COMMON + "passwords.py", "        return HASHER.hash(password)",
                     "        end = __import__('time').monotonic() + 100\n        while __import__('time').monotonic() < end:\n"
                     "            HASHER.hash(password)")],
        "a-new-member-comes-in", "welcome-slow", "hash of the password takes too long"),
    "the hash never comes": (
        "pthread", [(COMMON + "passwords.py", "        return HASHER.hash(password)", "        __import__('time').sleep(100)")],
        "everyone-hears-everything", "no-welcome", "neither WELCOME nor REJECTED"),
    "no answer to a wrong password": (
        "nonblocking", [(COMMON + "room.py", "        client.reject_at = client.joined_at + self.rules.reject_after\n", "")],
        "near-misses-of-a-password", "silent", "No answer came within"),
    "a lock taken twice by its holder": (
        "pthread", [(PTHREAD, "        arrival = self.door.accept()\n        with self.lock:\n",
                     "        arrival = self.door.accept()\n        with self.lock, self.lock:\n")],
        "greets", "waits-for-a-lock", "take a lock that it holds already"),
    "the socket is closed before it is forgotten": (
        "pthread", [(PTHREAD, "        if client is not self.owner:            # the end",
                     "        client is self.owner or client.sock.close()\n        if client is not self.owner:            # the end")],
        "coming-and-going", "descriptor-reused", "number of a closed descriptor"),
    "a descriptor is closed twice": (
        "nonblocking", [(COMMON + "outboxes.py", "            box.sock.close()\n",
                         "            os.close(box.sock.fileno())\n            self.closed = [*getattr(self, 'closed', []), box.sock]\n"
                         "            if len(self.closed) > 3:\n                self.closed.pop(0).close()\n")],
        "coming-and-going", "died", "closed it a second time"),
    "one's own IN before WELCOME": (
        "nonblocking", [(COMMON + "room.py", '            self.tell("welcome", welcoming, f"WELCOME {self.seq} {welcoming.name}")\n',
                         '            self.tell("line", welcoming, data.decode().rstrip())\n'
                         '            self.seq += 1\n            self.tell("event", None, data)\n'
                         '            self.tell("welcome", welcoming, f"WELCOME {self.seq - 1} {welcoming.name}")\n            return True\n')],
        "long-lines", "in-before-welcome", "own IN came before its WELCOME"),
    "PONG before an earlier SAY": (
        "nonblocking", [(COMMON + "room.py", "                    self.settle()\n                    if HANDLERS",
                         "                    verb == 'ping' or self.settle()\n                    if HANDLERS")],
        "long-lines", "late", "PONG overtook"),
    "a too high number in END HISTORY": (
        "nonblocking", [(COMMON + "room.py", 'f"END HISTORY {self.seq}"', 'f"END HISTORY {self.seq + 1}"')],
        "history-meanwhile", "end-of-history", "not the next number"),
    "two members with one name": (
        "nonblocking", [(COMMON + "room.py", "        if new != old and (new in self.members or new in self.requests):",
                         "        if False:"),
                        (COMMON + "room.py", "        del self.here[old]\n", "        self.here.pop(old, None)\n"),
                        (COMMON + "room.py", "                raise Damaged(f\"members: lacks {old}, who took",
                         "                return\n                raise Damaged(f\"members: lacks {old}, who took")],
        "cross-traffic", "two-with-one-name", "same member at the same time"),
    "a missing notify": (
        "pthread", [(PTHREAD, "            self.may_talk.notify_all()\n", "")],
        "a-burst", "stuck", "notify that is missing"),
    "two clients are not served at once": (
        "pthread", [(PTHREAD, "                    self.start(self.read_from, client)\n",
                     "                    self.deliver(self.room.arrive(client))\n                    self.lock.release()\n"
                     "                    self.read_from(client)\n                    self.lock.acquire()\n                    return\n")],
        "greets", "one-after-the-other", "one client after the other"),
    "the clock is looked at only when nothing comes": (
        "nonblocking", [(LOOP, "            if self.is_tick_due():\n", "            if self.is_tick_due() and not self.deliveries:\n")],
        "strangers-have-no-long-stay", "clock-only-when-idle", "looks at its clock only when nothing comes"),
    "Ctrl-C reaches the children": (
        "fork", [(FORK, "signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))",
                  "signal.signal(signal.SIGINT, signal.SIG_DFL)")],
        "sigint-ends-in-order", "ctrl-c-reached-the-children", "the children included"),
    "Ctrl-C at the terminal reaches the children": (
        "fork", [(FORK, "signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))",
                  "signal.signal(signal.SIGINT, signal.default_int_handler)")],
        "ctrl-c-at-the-terminal", "ctrl-c-reached-the-children", "the children included"),
    "sockets are not closed after BYE": (
        "nonblocking", [(COMMON + "outboxes.py", "            self.ending.pop(box, None)\n            box.sock.close()\n",
                         "            self.ending.pop(box, None)\n"),
                        (COMMON + "outboxes.py", "            shut(box.sock, socket.SHUT_WR)\n", "            pass\n")],
        "all-is-given-back", "no-end-of-file", "connection stays open"),
}


@pytest.mark.long
@pytest.mark.parametrize("what", MUTANTS)
def test_a_bug_is_told_by_its_own_cause(what, tmp_path):
    design, edits, check, sentence, words = MUTANTS[what]
    exhibit = exhibits.Exhibit(what, 0, design, "", "", "", "", check, sentence)
    exhibits.build(replace(exhibit, file=edits[0][0], old=edits[0][1], new=edits[0][2]), tmp_path / "tree")
    for file, old, new in edits[1:]:
        exhibits.plant(replace(exhibit, file=file, old=old, new=new), tmp_path / "tree")
    verdict = exhibits.judge(exhibit, tmp_path / "tree", [check], seed="5")[check]
    assert verdict.verdict == FAILED, verdict
    assert (verdict.failure.sentence, words in verdict.failure.cause) == (sentence, True), verdict.failure
