"""The pure core, by tables and by properties: the wire, the Session, the Room. No socket, no
process, no clock.
"""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from implementations.common import deliveries, lookalikes, requests, storage, wire
from implementations.common import session as sessions
from implementations.common.client_state import Client, State, refusal
from implementations.common.errors import DamagedError
from implementations.common.requests import Malformed, Say
from implementations.common.room import Room, Rules
from implementations.common.session import NEW_MEMBER, NOBODY, OwnerSession, Session

NOON = "2026-11-22T12:00:00.000Z"
PHC = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"


@pytest.fixture(autouse=True, scope="module")
def cheap_passwords():
    """The core is under test here, not argon2: hashing is a pure function, so a quick one stands in
    for it.
    """
    patch = pytest.MonkeyPatch()
    patch.setattr(sessions, "hash_password", lambda password: f"{PHC}{password.encode().hex()}")
    patch.setattr(
        sessions, "verify_password", lambda password, phc: phc == f"{PHC}{password.encode().hex()}"
    )
    yield
    patch.undo()


def cut(data, places):
    """`data` in pieces, cut at each of `places`."""
    places = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in zip(places, places[1:])]


# -- The wire --------------------------------------------------------------------------------------

STREAMS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [
                b"\n",
                b"\r\n",
                b"\r",
                b"SAY hi\n",
                b"x" * 511 + b"\n",
                b"x" * 512 + b"\n",
                b"x" * 700,
                "SAY olá\n".encode(),
                b"\xff\n",
                b"\x1b[2J\n",
                b"\n\n",
            ]
        ),
    ),
    max_size=12,
).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 3000), max_size=20))
@example(b"x" * 512, [511])
@example(b"x" * 511 + b"\n" + b"y\n", [511, 512])
def test_any_cut_of_any_stream_gives_the_same_lines(data, places):
    whole, pieces = wire.Lines(), wire.Lines()
    expected = whole.feed(data)
    got = [line for piece in cut(data, places) for line in pieces.feed(piece)]
    assert got == expected and [type(line) for line in got] == [type(line) for line in expected]


@pytest.mark.parametrize(
    "data, lines",
    [
        (b"SAY hi\nWHO\n", ["SAY hi", "WHO"]),
        (b"SAY hi\r\n", ["SAY hi"]),
        (b"\n\n", ["", "", ""][:2]),
        (b"half", []),
        (b"x" * 511 + b"\n", ["x" * 511]),
        (b"x" * 510 + b"\r\n", ["x" * 510]),
        (b"x" * 511 + b"\r\n" + b"next\n", [wire.Fault("too-long"), "next"]),
        (b"x" * 512, [wire.Fault("too-long")]),
        (b"x" * 5000 + b"\nnext\n", [wire.Fault("too-long"), "next"]),
        (b"\xff\nnext\n", [wire.Fault("bad-utf8"), "next"]),
        (b"\xed\xa0\x80\n", [wire.Fault("bad-utf8")]),
        (b"a\tb\n", [wire.Fault("bad-text")]),
        ("\u202eevil\n".encode(), [wire.Fault("bad-text")]),
        ("\ufdd0\n".encode(), [wire.Fault("bad-text")]),
        (b"a\rb\n", [wire.Fault("bad-text")]),
        ("olá \U0001f600 \u2028\n".encode(), ["olá \U0001f600 \u2028"]),
    ],
)
def test_lines(data, lines):
    got = wire.Lines().feed(data)
    assert got == lines and [type(line) for line in got] == [type(line) for line in lines]


@pytest.mark.parametrize(
    "name, key",
    [
        ("ana", "ana"),
        ("Ana", "ana"),
        ("a.b_c-9", "a.b_c-9"),
        ("9", "9"),
        ("x" * 32, "x" * 32),
        ("João", "joão"),
        ("ÁGUA", "água"),
        ("ａｎａ", "ana"),
        ("Анна", "анна"),
        ("中文", "中文"),
        ("e\u0301va", "éva"),
        ("weiß", "weiß"),
        ("WEISS", "weiss"),
    ],
)
def test_names(name, key):
    assert wire.fold(wire.clean_name(name)) == key


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 33,
        "-ana",
        ".ana",
        "_ana",
        "a b",
        "a:b",
        "ana!",
        "аna",
        "ana\u0661б",
        "ao\u200b",
        "ﬁx",
        "\u0301a",
        "中" * 22,
        "é-é é",
        "*",
        "a\u202eb",
        "😀",
        "a\n",
    ],
)
def test_no_names(name):
    assert wire.clean_name(name) is None


@pytest.mark.parametrize("name", ["WEI\u1e9e \u200b", "ÉVA:1", "\ud800", "😀"])
def test_a_name_of_another_server_has_a_key(name):
    assert wire.fold(name) == name.lower()


NAMES_OF_PEOPLE = """
    Ana José João Łukasz Müller weiß Þór Øyvind Nguyễn Aydın Əli Ġorġ Constanţa Ọlá Kaʻiulani
    Ольга Егор Љубица Ђорђе Δήμητρα Արամ ქეთი אברהם نور عليّ हिन्दी বাংলা தமிழ் తెలుగు ಕನ್ನಡ
    ദീപ ਸਿੰਘ ગુજરાત සිංහල สมชาย ສົມ ភា မောင် አበበ 李 𠮷野 佐々木 さくら サクラ 김민준
"""


@pytest.mark.parametrize("name", NAMES_OF_PEOPLE.split())
def test_the_letters_of_peoples_names_are_usual(name):
    assert wire.clean_name(name) and lookalikes.has_usual_letters(wire.clean_name(name))


@pytest.mark.parametrize("name", ["ɑna", "anaː", "ʔana", "anɐ", "ᴀna", "ꞵeta", "ⲁⲛⲁ", "ᏚᎪᏒᎪ"])
def test_letters_that_uts_39_restricts(name):
    assert wire.clean_name(name) == name and not lookalikes.has_usual_letters(name)


@pytest.mark.parametrize(
    "one, other",
    [
        ("jose", "јоѕе"),  # Cyrillic
        ("JOSE", "јоѕе"),
        ("bepa", "Вера"),  # only the capital letter looks like a Latin one
        ("herr", "Негг"),  # so do the capital letter and the small ones, as they are written
        ("ibo", "ІВО"),
        ("nik", "ΝΙΚ"),  # Greek
        ("αν", "av"),
        ("ορ", "ор"),  # Greek and Cyrillic
        ("aydin", "Aydın"),
        ("om", "оm"),  # rn looks like m
        ("corn", "сom"),
        ("şan", "șan"),
        ("علي", "علی"),
    ],
)
def test_names_that_look_alike(one, other):
    assert lookalikes.are_alike(one, other) and lookalikes.are_alike(other, one)


@pytest.mark.parametrize(
    "one, other",
    [
        ("a1", "al"),
        ("O", "0"),
        ("jose", "José"),
        ("weiß", "weiss"),
        ("weiß", "WEISS"),
        ("łukasz", "lukasz"),
        ("ольга", "olga"),
        ("nguyễn", "nguyên"),
        ("ана", "ana"),
    ],
)
def test_names_that_do_not_look_alike(one, other):
    assert not lookalikes.are_alike(one, other)


@given(st.text(max_size=40))
def test_a_clean_name_is_clean(text):
    name = wire.clean_name(text)
    if name is not None:
        assert wire.clean_name(name) == name and wire.clean_name(wire.fold(name)) == wire.fold(
            name
        ) == wire.fold(wire.fold(name))
        assert not re.search(r"[\s:]", name) and len(name) <= 32 and len(name.encode()) <= 64


def test_permitted_is_what_rfc_9839_says():
    """Unicode Assignables, without TAB, CR, LF and the bidi controls: spelt out once more, from the
    RFC's ABNF.
    """
    ranges = [(0x20, 0x7E), (0xA0, 0xD7FF), (0xE000, 0xFDCF), (0xFDF0, 0xFFFD)]
    ranges += [(plane << 16, (plane << 16) + 0xFFFD) for plane in range(1, 17)]
    bidi = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    for code in range(0x110000):
        permitted = any(low <= code <= high for low, high in ranges) and code not in bidi
        assert wire.is_permitted(chr(code)) == permitted, hex(code)


@given(st.text())
def test_harmless_text_holds_nothing_that_a_terminal_obeys(text):
    assert wire.is_permitted(wire.harmless(text))


def test_stamp():
    assert wire.stamp(1795353688.1239) == "2026-11-22T13:21:28.123Z" and wire.TIME.fullmatch(
        wire.stamp(0)
    )


# -- The Session -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, request_",
    [
        ("SAY hi", Say(["hi"])),
        ("SAY  two spaces ", Say([" two spaces "])),
        ("SAY " + "é" * 200, Say(["é" * 200])),
        ("SAY", Malformed("bad-arguments", "SAY")),
        ("SAY ", Malformed("bad-arguments", "SAY")),
        ("SAY " + "é" * 201, Malformed("bad-arguments", "SAY")),
        ("say hi", Malformed("unknown")),
        (" SAY hi", Malformed("unknown")),
        ("SAYhi", Malformed("unknown")),
        ("WHO", requests.Who()),
        ("WHO ", Malformed("bad-arguments", "WHO")),
        ("WHO me", Malformed("bad-arguments", "WHO")),
        ("HISTORY 0", requests.History(0)),
        ("HISTORY", Malformed("bad-arguments", "HISTORY")),
        ("HISTORY -1", Malformed("bad-arguments", "HISTORY")),
        ("HISTORY 12345678901234567", Malformed("bad-arguments", "HISTORY")),
        ("HISTORY ٣", Malformed("bad-arguments", "HISTORY")),
        ("NAME Ana", requests.Rename("Ana")),
        ("NAME -a", Malformed("bad-name", "NAME")),
        ("NAME a b", Malformed("bad-arguments", "NAME")),
        ("NAME", Malformed("bad-arguments", "NAME")),
        ("PING x", requests.Ping("x")),
        ("PING", Malformed("bad-arguments", "PING")),
        ("PING x y", Malformed("bad-arguments", "PING")),
        ("PING " + "x" * 65, Malformed("bad-arguments", "PING")),
        ("PONG x", requests.Pong("x")),
        ("LEAVE", requests.Leave()),
        ("QUIT", requests.Quit()),
        ("QUIT now", Malformed("bad-arguments", "QUIT")),
        ("JOIN ana pw", requests.Join("ana")),
        ("JOIN ana  pw", requests.Join("ana")),
        ("JOIN ana", Malformed("bad-arguments", "JOIN")),
        ("JOIN ana ", Malformed("bad-arguments", "JOIN")),
        ("JOIN -a pw", Malformed("bad-name", "JOIN")),
        ("JOIN ana " + "p" * 129, Malformed("bad-arguments", "JOIN")),
    ],
)
def test_requests(line, request_):
    assert Session().receive(line.encode() + b"\n") == [request_]


def test_a_session_waits_until_a_request_is_finished():
    session = Session()
    assert session.receive(b"SAY a\nSAY b\nWHO\nSAY c\nPING x\n") == [
        Say(["a"]),
        Say(["b"]),
        requests.Who(),
    ]
    assert session.awaiting_reply and session.receive(b"SAY d\n") == []
    assert session.request_done() == [Say(["c"]), requests.Ping("x")]
    assert session.request_done() == [Say(["d"])] and not session.awaiting_reply


def test_the_password_goes_no_further_than_the_session():
    session = Session()
    assert session.receive(b"JOIN ana secret\n") == [requests.Join("ana")]
    [accepted] = session.check_password(NEW_MEMBER)
    assert (
        accepted.new_hash.startswith("$argon2id$")
        and "secret" not in accepted.new_hash
        and session.password == ""
    )
    for password, against, outcome in [
        ("secret", accepted.new_hash, requests.PasswordOk()),
        ("wrong", accepted.new_hash, requests.PasswordRefused()),
        ("secret", NOBODY, requests.PasswordRefused()),
    ]:
        session = Session()
        session.receive(f"JOIN ana {password}\n".encode())
        assert session.check_password(against) == [outcome]


@pytest.mark.parametrize(
    "line, order",
    [
        ("accept ana", requests.Accept("ana")),
        ("rename a b", requests.RenameGroup("a b")),
        ("close", requests.Close()),
        ("delete", requests.Delete()),
        ("close now", requests.BadOrder("close takes no argument")),
        ("frob", requests.BadOrder("no such order: type help")),
    ],
)
def test_orders(line, order):
    assert OwnerSession().receive(line.encode() + b"\n") == [order]


def test_orders_from_a_file_are_utf_8_with_or_without_a_byte_order_mark():
    text = "members\n\ufeffmembers\n"
    known, unknown = requests.ListMembers(), requests.BadOrder("no such order: type help")
    session = OwnerSession()
    assert session.receive(text.encode("utf-8-sig")) == [known]
    assert session.request_done() == [unknown], "only the first character of a file is a mark"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        named = requests.BadOrder(f"the orders are {encoding.upper()[:6]}: save them as UTF-8")
        assert OwnerSession().receive("members\n".encode(encoding))[0] == named


def test_the_line_after_delete_is_the_consent_even_if_it_is_an_order_or_empty():
    for line in "grupo", "close", "", "x" * 600:
        session = OwnerSession()
        session.receive(b"delete\n" + line.encode() + b"\nmembers\n")
        assert session.request_done() == [
            requests.ConfirmDelete("too-long" if len(line) > 511 else line)
        ]
        assert session.request_done() == [requests.ListMembers()]


@given(STREAMS, st.lists(st.sampled_from(["done", NEW_MEMBER, NOBODY, PHC]), max_size=8))
def test_sessions_never_raise(data, replies):
    for session in Session(), OwnerSession():
        ready = session.receive(data)
        for reply in replies:
            if session.awaiting_reply and reply == "done":
                ready = session.request_done()
            elif session.awaiting_reply and ready and isinstance(ready[-1], requests.Join):
                ready = session.check_password(reply)
            assert all("\n" not in repr(request).replace("\\n", "\n") for request in ready)


def test_messages_wait_for_the_request_before_them():
    session = Session()
    assert session.receive(b"WHO\n") == [requests.Who()]
    assert session.receive(b"SAY one\nSAY two\n") == []
    assert session.request_done() == [Say(["one"]), Say(["two"])]
    assert session.receive(b"SAY three\n") == [Say(["three"])]
    assert session.receive(b"SAY four\nSAY five\n") == [Say(["four", "five"])]


def one_message_each(ready):
    """These requests, with a Say of its own for each message: a pipe may bring several together."""
    return [
        one
        for request in ready
        for one in (
            [Say([text]) for text in request.texts] if isinstance(request, Say) else [request]
        )
    ]


@given(STREAMS)
@example(
    "JOIN João a password\nNAME João\nHISTORY 12\nPING x\nPONG x\nSAY a  b "
    "\nSAY\nsay\nWHO\nLEAVE\nQUIT\n".encode()
)
def test_what_goes_through_a_pipe_comes_out_as_it_was(data):
    session = Session()
    ready = session.receive(data)
    while ready:
        encoded = requests.encode(ready)
        assert one_message_each(requests.Decoder().receive(encoded)) == one_message_each(ready)
        assert max(map(len, encoded.split(b"\n"))) < wire.MAX_LINE
        if isinstance(ready[-1], requests.Join):
            for outcome in session.check_password(NEW_MEMBER), session.check_password(NOBODY):
                assert requests.Decoder().receive(requests.encode(outcome)) == outcome
        ready = session.request_done()
    assert requests.count([Say(["a", "b"]), requests.Who()]) == 3


@pytest.mark.parametrize(
    "state, join, say, ping",
    [
        (State.STRANGER, "", "not-joined", ""),
        (State.CHECKED, "already-joined", "not-joined", ""),
        (State.ASKING, "already-joined", "not-joined", ""),
        (State.HERE, "already-joined", "", ""),
    ],
)
def test_what_each_state_permits(state, join, say, ping):
    kinds = (
        (requests.Join, join),
        (Say, say),
        (requests.Leave, say),
        (requests.Ping, ping),
        (requests.Quit, ping),
    )
    assert all(refusal(state, kind) == code for kind, code in kinds)
    assert all(
        refusal(state, kind) for kind in (requests.Accept, requests.Close, requests.ConfirmDelete)
    )


# -- The Room --------------------------------------------------------------------------------------


class World:
    """A Room with everything around it played by the simplest means: the transcript is a list, and
    time does not pass.
    """

    def __init__(self, **rules):
        self.kept, self.saved_text, self.unsaved, self.full = [], "", [], False
        self.room = Room(Rules(**{"reject_after": 0, "hashes": 100, **rules}), self.keep)
        self.room.create_group("grupo", 0, NOON)
        self.saved_text = storage.members_text(1, {})
        self.owner = self.room.owner = Client("console", 0)
        self.owner.state = State.OWNER
        self.sessions = {}
        self.heard = {}  # client: what it was sent, events included
        self.hearing = []
        self.orders = OwnerSession()
        self.hold_saves = False
        self.now = 0

    def keep(self, data):
        if self.full:
            raise OSError(28, "No space left on device")
        self.kept += data.decode().splitlines()

    def connect(self):
        client = Client("127.0.0.1:1", self.now)
        self.sessions[client], self.heard[client] = Session(), []
        self.deliver(self.room.connected(client))
        return client

    def send(self, client, text):
        self.handle(client, self.sessions[client].receive(text.encode() + b"\n"))

    def order(self, text):
        self.heard[self.owner] = []
        self.handle(self.owner, OwnerSession().receive(text.encode() + b"\n"))
        return self.heard[self.owner]

    def handle(self, client, requests):
        self.deliver(self.room.handle([(client, requests)], self.now, NOON))

    def tick(self, now, is_reading=True):
        self.now = now
        self.deliver(self.room.tick(now, NOON, is_reading))

    def deliver(self, turn):
        for delivery in turn:
            match delivery:
                case deliveries.Events(data):
                    for member in self.hearing:
                        self.heard[member] += data.decode().splitlines()
                case (
                    deliveries.Line(client, text)
                    | deliveries.Note(client, text)
                    | deliveries.Welcome(client, text)
                ):
                    self.heard.setdefault(client, []).extend(text.split("\n"))
                    self.hearing += [client] * isinstance(delivery, deliveries.Welcome)
                case deliveries.End(client) if client in self.hearing:
                    self.hearing.remove(client)
                case deliveries.CheckPassword(client, against):
                    self.handle(client, self.sessions[client].check_password(against))
                case deliveries.Done(client) if client is not self.owner:
                    self.room.requests_finished([client], self.now)
                    self.handle(client, self.sessions[client].request_done())
                case deliveries.SaveMembers(text):
                    self.unsaved.append(text)
        if not self.hold_saves:
            self.finish_saves()

    def finish_saves(self):
        while self.unsaved:
            text = self.unsaved.pop(0)
            if not self.full:
                self.saved_text = text
            self.deliver(
                self.room.saved("No space left on device" if self.full else "", self.now, NOON)
            )

    def member(self, name):
        client = self.connect()
        self.send(client, f"JOIN {name} pw-{name.lower()}")
        return client

    def restarted(self):
        room = Room(Rules(), self.keep)
        room.group.restore(self.saved_text, list(self.kept))
        return room


def lasting(room):
    group = room.group
    return (
        group.seq,
        group.name,
        {key: (member.name, member.standing, member.phc) for key, member in group.members.items()},
    )


def test_join_talk_leave():
    world = World(admit="all")
    ana, ben = world.member("ana"), world.member("ben")
    world.send(ana, "SAY hi")
    world.send(ben, "NAME Bob")
    world.send(ben, "LEAVE")
    events = [
        f"IN 3 {NOON} ben",
        f"MSG 4 {NOON} ana hi",
        f"RENAMED 5 {NOON} ben Bob",
        f"LEFT 6 {NOON} Bob",
    ]
    assert world.heard[ana] == [
        "HELLO grupo/1 grupo",
        "PENDING",
        "WELCOME 1 ana",
        f"IN 2 {NOON} ana",
        *events,
    ]
    assert world.heard[ben] == [
        "HELLO grupo/1 grupo",
        "PENDING",
        "WELCOME 2 ben",
        *events,
        "BYE left",
    ]
    assert lasting(world.restarted()) == lasting(world.room)


def test_a_name_that_looks_like_a_held_name_is_held():
    world = World(admit="all")
    jose, ben = world.member("jose"), world.member("ben")
    other = world.member("јоѕе")
    world.tick(1)
    assert world.heard[other][-1] == "REJECTED refused"
    world.send(ben, "NAME Јоѕе")
    assert world.heard[ben][-1].startswith("ERR name-taken ")
    world.order("ban aydin")
    world.send(ben, "NAME Aydın")
    assert world.heard[ben][-1].startswith("ERR name-taken ")
    world.order("unban aydin")
    world.send(ben, "NAME Aydın")
    world.send(ben, "NAME aydin")  # its own name does not count
    world.send(jose, "NAME јоѕе")
    assert world.kept[-3:] == [
        f"RENAMED 5 {NOON} ben Aydın",
        f"RENAMED 6 {NOON} Aydın aydin",
        f"RENAMED 7 {NOON} jose јоѕе",
    ]
    late = world.member("JOSE")
    world.tick(2)
    assert world.heard[late][-1] == "REJECTED refused"
    assert list(world.room.group.members) == ["aydin", "јоѕе"]


def test_a_name_that_looks_like_one_that_waits_for_the_owner_is_held():
    world = World()
    jose, other = world.member("jose"), world.member("јоѕе")
    assert world.order("accept јоѕе") == ["error: јоѕе does not ask to join"]
    world.order("accept jose")
    world.tick(1)
    assert world.heard[jose][-1] == f"IN 2 {NOON} jose"
    assert world.heard[other][-1] == "REJECTED refused"


def test_a_new_name_has_usual_letters():
    world = World(admit="all")
    ana = world.member("ana")
    world.send(ana, "NAME ɑnn")
    assert world.heard[ana][-1].startswith("ERR bad-name ")
    eve = world.member("ɑnn")
    assert world.heard[eve][-1].startswith("ERR bad-name ") and "PENDING" not in world.heard[eve]
    world.send(eve, "JOIN eve pw")
    assert world.heard[eve][-1] == f"IN 3 {NOON} eve"


def test_a_group_keeps_members_whose_names_are_refused_today():
    world = World(admit="all")
    names = "jose", "јоѕе", "ɑnn"
    for name in names:
        world.room.group.members[name] = storage.Member(
            name, "member", f"{PHC}{f'pw-{name}'.encode().hex()}"
        )
    world.saved_text = storage.members_text(1, world.room.group.members)
    assert lasting(world.restarted()) == lasting(world.room)
    for name in names:
        client = world.member(name)
        assert world.heard[client][-1].endswith(f" {NOON} {name}")
        world.send(client, f"NAME {name.upper()}")
    assert [line.split(" ", 3)[3] for line in world.kept if line.startswith("RENAMED")] == [
        "jose JOSE",
        "ɑnn ⱭNN",
    ]


def test_takeover_makes_no_event():
    world = World(admit="all")
    old, new = world.member("ana"), world.member("ANA")
    assert world.heard[old][-1] == "BYE replaced" and world.heard[new][-1] == "WELCOME 2 ana"
    world.send(old, "SAY ghost")
    world.send(new, "SAY me")
    assert world.kept[-1] == f"MSG 3 {NOON} ana me"


def test_when_nothing_can_be_written_nothing_happens():
    world = World(admit="all")
    ana, ben = world.member("ana"), world.member("ben")
    before = lasting(world.room)
    world.full = True
    for line in "SAY lost", "NAME other", "LEAVE":
        world.send(ana, line)
        assert world.heard[ana][-1] == "ERR not-saved the server could not write it down"
    assert world.order("rename other")[-1] == world.order("ban ben")[-1] == "error: not saved"
    carla = world.member("carla")
    assert world.heard[carla][-1].startswith("ERR not-saved")
    world.send(ben, "QUIT")
    assert lasting(world.room) == before and world.room.pending_outs == ["ben"]
    world.full = False
    world.tick(2)
    assert world.heard[ana][-1] == f"OUT 4 {NOON} ben"
    world.send(carla, "JOIN carla pw")
    assert world.heard[carla][-1] == f"IN 5 {NOON} carla"


def test_a_name_banned_while_its_member_file_was_written_stays_out():
    world = World(admit="all", reject_after=5)
    world.hold_saves = True
    ben = world.member("ben")
    world.order("ban ben")
    world.hold_saves = False
    world.finish_saves()
    world.tick(4.9)
    assert "REJECTED refused" not in world.heard[ben]  # not sooner than --reject-after
    world.tick(5)
    assert (
        "REJECTED refused" in world.heard[ben]
        and world.room.group.members["ben"].standing == "banned"
    )
    assert lasting(world.restarted()) == lasting(world.room)


@pytest.mark.parametrize("clock, line", [(19.9, "HELLO grupo/1 grupo"), (20, "BYE timeout")])
def test_a_silent_stranger(clock, line):
    world = World()
    stranger = world.connect()
    world.tick(clock)
    assert world.heard[stranger][-1] == line


def test_the_strangers_clock_stands_while_the_owner_considers():
    world = World(ping_after=1000, idle_after=1000)
    ana = world.connect()
    world.tick(15)
    world.send(ana, "JOIN ana pw")
    world.tick(500)
    world.order("reject ana")
    world.tick(501)
    assert world.heard[ana][-1] == "REJECTED refused"
    world.tick(505)
    assert not ana.over
    world.tick(506)
    assert world.heard[ana][-1] == "BYE timeout"


def test_the_silent_are_pinged_once_and_then_dropped():
    world = World(admit="all")
    ana = world.member("ana")
    world.tick(60)
    world.tick(61)
    assert sum(line.startswith("PING") for line in world.heard[ana]) == 1
    world.send(ana, "PONG x")
    world.tick(120)
    assert not ana.over
    world.tick(121)
    world.tick(151)
    assert world.heard[ana][-1] == "BYE idle" and world.kept[-1].startswith("OUT")


def test_who_is_not_read_is_not_silent():
    world = World(admit="all")
    ana = world.member("ana")
    world.tick(50)
    for now in range(51, 140):
        world.tick(now, is_reading=False)
    assert not any(line.startswith("PING") for line in world.heard[ana])
    world.tick(149)
    assert world.heard[ana][-1] == "PING x", "fifty seconds before, ten after"


def test_a_join_whose_event_cannot_be_written_fails_whole():
    world = World(admit="ask")
    ana = world.member("ana")
    world.hold_saves = True
    assert world.order("accept ana") == []
    world.unsaved.clear()
    world.full = True  # the member file was written, the transcript cannot be
    world.deliver(world.room.saved("", world.now, NOON))
    assert world.heard[world.owner][-1] == "error: not saved"
    assert not any(line.startswith(("WELCOME", "REJECTED")) for line in world.heard[ana]), (
        "its request still waits"
    )
    world.full, world.hold_saves = False, False
    assert not world.room.group.members and world.order("accept ana")[-1] == "ok"
    assert any(line.startswith("WELCOME") for line in world.heard[ana])


DAMAGE = [
    ("", [f"MSG 1 {NOON} ana hi"], "event 1"),
    ("", [f"GROUP 1 {NOON} g", f"MSG 3 {NOON} a hi"], "event 2 is missing"),
    ("", [f"GROUP 1 {NOON} g", f"IN 2 {NOON} ana"], "members: lacks ana"),
    ("", ["noise"], "not an event"),
    ("noise\n", [], "members"),
    ("# grupo 1 seq 9\n", [f"GROUP 1 {NOON} g"], "ends at 1"),
    ("# grupo 1 seq 1", [f"GROUP 1 {NOON} g"], "cut"),
    ("# grupo 1 seq 1\nana:member:clear\n", [f"GROUP 1 {NOON} g"], "line 2"),
    (f"# grupo 1 seq 1\nana:member:{PHC}\nANA:member:{PHC}\n", [f"GROUP 1 {NOON} g"], "line 3"),
    ("# grupo 1 seq 1\n", [f"GROUP 1 {NOON} g", f"RENAMED 2 {NOON} a b"], "lacks a"),
]


@pytest.mark.parametrize("members, events, why", DAMAGE)
def test_damage_is_named(members, events, why):
    with pytest.raises(DamagedError, match=why):
        Room(Rules(), None).group.restore(members, events)


NAMES = st.sampled_from(["ana", "Ana", "ben", "carla", "João"])
DEEDS = st.one_of(
    st.tuples(st.just("connect")),
    st.tuples(
        st.just("send"),
        st.integers(0, 6),
        st.one_of(
            NAMES.map("JOIN {} pw".format),
            NAMES.map("JOIN {} wrong".format),
            NAMES.map("NAME {}".format),
            st.text(max_size=8).map("SAY x{}".format),
            st.sampled_from(["WHO", "HISTORY 0", "LEAVE", "QUIT", "PING x", "", "SAY", "JOIN"]),
        ),
    ),
    st.tuples(
        st.just("order"),
        st.one_of(
            NAMES.flatmap(
                lambda name: st.sampled_from(
                    [f"{verb} {name}" for verb in ("accept", "reject", "ban", "unban", "rename")]
                )
            ),
            st.sampled_from(["members", "help", "frob"]),
        ),
    ),
    st.tuples(st.just("gone"), st.integers(0, 6)),
    st.tuples(st.just("tick"), st.integers(1, 30)),
    st.tuples(st.just("full"), st.booleans()),
    st.tuples(st.just("hold"), st.booleans()),
)


@settings(max_examples=200)
@given(st.sampled_from(["ask", "all", "none"]), st.lists(DEEDS, max_size=40))
def test_whatever_happens_the_kept_events_make_the_same_room_again(admit, deeds):
    """...and every member heard exactly the kept events after its WELCOME's seq, in order, while it
    was here.
    """
    world = World(admit=admit)
    clients = [world.connect()]
    for deed, *rest in deeds:
        if deed == "connect":
            clients.append(world.connect())
        elif deed == "send":
            world.send(clients[rest[0] % len(clients)], rest[1])
        elif deed == "order":
            answer = world.order(rest[0])
            answers = sum(line == "ok" or line.startswith("error: ") for line in answer)
            assert answers == 1 or (answers == 0 and world.hold_saves), answer
        elif deed == "gone":
            world.handle(clients[rest[0] % len(clients)], [requests.Quit()])
        elif deed == "tick":
            world.tick(world.now + rest[0])
        elif deed == "full":
            world.full = rest[0]
        elif deed == "hold":
            world.hold_saves = rest[0]
            world.deliver([])
    world.full = world.hold_saves = False
    world.tick(world.now + 5)
    world.tick(world.now + 5)
    assert lasting(world.restarted()) == lasting(world.room)
    assert [int(line.split()[1]) for line in world.kept] == list(range(1, world.room.group.seq + 1))
    for client in clients:
        welcomes = [
            place for place, line in enumerate(world.heard[client]) if line.startswith("WELCOME")
        ]
        if welcomes:
            since = int(world.heard[client][welcomes[0]].split()[1])
            events = [
                line
                for line in world.heard[client][welcomes[0] :]
                if line.split()[0] in storage.EVENTS
            ]
            assert events == world.kept[since : since + len(events)]
            assert client.over or since + len(events) == world.room.group.seq


EVENTS = st.one_of(
    *[st.tuples(st.just(verb), NAMES) for verb in ("IN", "OUT", "LEFT", "BANNED")],
    st.tuples(st.just("RENAMED"), st.just("ana João")),
    st.tuples(
        st.just("MSG"),
        st.tuples(NAMES, st.text(min_size=1, max_size=100).filter(wire.is_text)).map(" ".join),
    ),
    st.tuples(st.just("GROUP"), st.text(min_size=1, max_size=16).filter(wire.is_group)),
)


@given(st.integers(1, 10**16 - 2), EVENTS)
def test_any_line_of_our_making_fits_and_reads_back_as_itself(seq, event):
    line = storage.format_events(event[0], seq + 1, NOON, [event[1]]).encode()
    assert len(line) <= wire.MAX_LINE
    [text] = wire.Lines().feed(line)
    assert storage.parse_event(text) == (event[0], seq + 1, NOON, event[1])


def test_the_longest_line_is_512_bytes():
    longest = "\u0905" * 21 + "x " + "x" * 400
    assert len(storage.format_events("MSG", 10**16 - 1, NOON, [longest]).encode()) == wire.MAX_LINE
