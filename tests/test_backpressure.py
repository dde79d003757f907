"""How long others wait for a slow client: a budget, then rations; the owner never; in turn."""

import socket
import threading
from types import SimpleNamespace

import pytest

from harness.driving.deadlines import wait_until
from implementations.common import outboxes
from implementations.common.outbox import Outbox
from implementations.common.readers import STRANGERS, Readers
from implementations.common.requests import Say
from implementations.common.waiting_line import WaitingLine

LIMIT = 1 << 20
READ_AT_ONCE = 8 * 1024  # bytes; ten times a second this is enough


class Client:
    """As much of a Connection as an event loop reads: one end of a pair of sockets."""

    is_watched = eof = over = False

    def __init__(self, is_owner=False, is_stranger=False):
        self.is_stranger = is_stranger
        self.source, self.other = socket.socketpair()
        self.is_owner, self.recv = is_owner, self.source.recv
        self.session = SimpleNamespace(awaiting_reply=False, unparsed=False, receive=self.receive)
        self.other.send(b"x")

    def receive(self, data):
        return [Say([data.decode()])]

    def close(self):
        self.source.close()
        self.other.close()


@pytest.fixture
def clients():
    both = Client(), Client(is_owner=True)
    yield both
    for client in both:
        client.close()


def reads(readers):
    """The clients that are read in one turn of a loop."""
    readers.wait(0)
    read_from = lambda client: readers.receive(client, 100)
    return [client for client, _ in readers.read_ready(read_from, 100)]


def test_the_owner_is_read_during_backpressure_and_nobody_else_is(clients):
    member, owner = clients
    readers = Readers(lambda *_: 0)
    for client in clients:
        readers.resume_reading(client)
    readers.pause_all(True)
    assert reads(readers) == [owner]
    owner.other.send(b"x")
    assert reads(readers) == [owner]
    readers.pause_all(False)
    assert reads(readers) == [member]


def test_orders_that_were_read_already_are_handled_during_backpressure(clients):
    member, owner = clients
    readers = Readers(lambda *_: 0)
    readers.pause_all(True)
    for client in clients:
        readers.resume_reading(client, has_lines=True)
    assert reads(readers) == [owner]
    readers.pause_all(False)
    assert reads(readers) == [member]


def test_many_strangers_cost_the_members_little_and_each_has_its_turn():
    strangers = [Client(is_stranger=True) for _ in range(3 * STRANGERS)]
    member = Client()
    readers = Readers(lambda *_: 0)
    for client in (*strangers, member):
        readers.resume_reading(client)
    turns = [reads(readers)]
    for _ in range(2):
        member.other.send(b"x")
        turns.append(reads(readers))
    assert all(member in turn and len(turn) == STRANGERS + 1 for turn in turns)
    assert {client for turn in turns for client in turn} == {*strangers, member}
    for client in (*strangers, member):
        client.close()


def test_strangers_are_not_read_during_backpressure():
    stranger = Client(is_stranger=True)
    readers = Readers(lambda *_: 0)
    readers.resume_reading(stranger)
    readers.wait(0)  # it is in line
    readers.pause_all(True)
    assert reads(readers) == []
    readers.pause_all(False)
    assert reads(readers) == [stranger]
    stranger.close()


def test_a_client_is_read_again_when_its_ration_permits(clients):
    member, owner = clients
    pauses = {member: 1000.0, owner: 0.0}
    readers = Readers(lambda client, _: pauses[client])
    for client in clients:
        readers.resume_reading(client)
    assert sorted(map(clients.index, reads(readers))) == [0, 1]
    for client in clients:
        client.other.send(b"x")
    readers.resume_reading(member, has_lines=True)  # its request is finished, and yet it waits
    assert reads(readers) == [owner]
    until, has_lines = readers.rationed[member]
    assert has_lines
    readers.end_rations(until - 1)
    assert reads(readers) == []
    readers.end_rations(until)
    assert reads(readers) == [member]


@pytest.fixture
def behind():
    """Outboxes in which one client keeps reading and is far behind; and its Outbox."""
    ours, theirs = socket.socketpair()
    console = SimpleNamespace(chunks=[])
    group = outboxes.Outboxes(None, console, LIMIT, 10.0, 65536)
    outbox = Outbox(None, ours, 0.0)
    outbox.put_events(b"x" * (LIMIT // 2 + 1))
    group.mark_slow(outbox, 0.0)
    yield group, outbox
    group.selector.close()
    ours.close()
    theirs.close()


def passes(group, outbox, began, ended):
    """Time passes, and the client keeps reading. Returns the seconds of backpressure."""
    seconds = 0.0
    for step in range(round(10 * began), round(10 * ended)):
        now = step / 10
        outbox.pace.took(READ_AT_ONCE, False, now)
        group.protect_slow_clients(now)
        seconds += 0.1 * group.backpressure
        assert group.backpressure != group.rationing
    return seconds


def test_the_others_wait_two_seconds_in_any_sixty(behind):
    assert passes(*behind, 0, 30) == pytest.approx(2, abs=0.3)
    assert passes(*behind, 30, 58) == 0
    assert passes(*behind, 58, 118) == pytest.approx(2, abs=0.3)


def test_a_full_outbox_is_excused_only_while_there_is_patience(behind):
    group, outbox = behind
    outbox.put_events(b"x" * LIMIT)
    passes(group, outbox, 0, 1)
    assert not group.must_disconnect(outbox, 1.0)
    passes(group, outbox, 1, 5)
    assert group.must_disconnect(outbox, 5.0)


def test_the_answer_to_its_own_request_does_not_fill_an_outbox(behind):
    group, outbox = behind
    outbox.put(b"x" * LIMIT)
    outbox.finish_when_sent()
    group.waited.add(outboxes.MAX_WAIT, 5.0)  # others have used it up
    outbox.pace.took(LIMIT, True, 5.0)
    assert not group.must_disconnect(outbox, 5.0)


def test_rations_are_in_bytes_of_events_and_not_for_the_owner(behind):
    group, outbox = behind
    member, owner = SimpleNamespace(is_owner=False), SimpleNamespace(is_owner=True)
    one, hundred = [Say(["hello"])], [Say(["hello"] * 100)]
    assert group.pause_after(member, hundred) == 0
    passes(group, outbox, 0, 5)
    assert 0 < group.pause_after(member, one) < 0.005
    assert group.pause_after(member, hundred) == pytest.approx(100 * group.pause_after(member, one))
    assert group.pause_after(owner, hundred) == 0


def test_threads_go_on_in_the_order_in_which_they_came():
    lock, crowded, came = threading.Lock(), [True], []
    line = WaitingLine(lock, lambda: crowded[0])

    def go(number):
        with lock:
            line.wait_in_turn()
            came.append(number)

    threads = []
    for number in range(6):
        if number == 5:  # nothing is crowded any more, but the others were here first
            crowded[0] = False
        threads.append(threading.Thread(target=go, args=(number,), daemon=True))
        threads[-1].start()
        wait_until(lambda: len(line.waiting) == len(threads), what="the thread in the line")
    with lock:
        line.wake_first()
    for thread in threads:
        thread.join(10)
    assert came == list(range(6)) and not line.waiting
