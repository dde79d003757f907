"""The Wireshark dissector tells what went over the wire: every line, whole, wherever TCP cut it,
and its fields.
"""

import struct
from collections import Counter

import pytest

from harness.driving.capture import CannotCapture, Capture, fields, tshark
from tests.conftest import OPEN, lacks, need

# A conversation as bytes, each chunk with its sender, and what a dissector must say of its
# lines.
pytestmark = pytest.mark.xdist_group(
    "test_wireshark"
)  # one worker makes once what they all look at
TIME = "2026-11-22T13:21:28.123Z"
TALK = [
    ("O", "HELLO grupo/1 os lab\n"),
    ("I", "JOIN ana secret of ana\r\n"),
    ("O", "PENDING\n"),
    ("O", f"WELCOME 1 ana\nIN 2 {TIME} ana\n"),
    ("I", "SAY  olá, João\n\nSAY two\nNAME Zoë\n"),
    ("O", f"MSG 3 {TIME} ana  olá, João\nMSG 4 {TIME} ana two\nRENAMED 5 {TIME} ana Zoë\n"),
    ("I", "HISTORY 4\nWHO\nPING a-token\n"),
    ("O", f"RENAMED 5 {TIME} ana Zoë\nEND HISTORY 5\nMEMBER Zoë here\nEND WHO\nPONG a-token\n"),
    ("I", "say it\n"),
    ("O", "ERR unknown no such verb\n"),
    ("I", "QUIT\n"),
    ("O", "BYE quit\n"),
]


@pytest.fixture
def design():
    """What is on the wire does not depend on it."""
    return "nonblocking"


def lines_of(talk, side):
    return [
        line.removesuffix("\r")
        for line in "".join(text for who, text in talk if who == side).split("\n")
        if line.removesuffix("\r")
    ]


def captured(path, *connections, port=7000):
    """Writes a capture file. Each connection is chunks, (I or O, bytes), each a TCP segment: I to
    the server, O from it; its client's port is 40000, 40001, ...
    """
    with open(path, "wb") as file:
        file.write(
            struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
        )  # 101: packets begin with their IP header
        for client, chunks in enumerate(connections, 40000):
            at = {"I": 1, "O": 1}
            for side, data in chunks:
                ends, other = ((client, port), "O") if side == "I" else ((port, client), "I")
                tcp = struct.pack(
                    "!HHIIBBHHH", *ends, at[side], at[other], 5 << 4, 0x18, 65535, 0, 0
                )
                ip = struct.pack(
                    "!BBHHHBBH4s4s",
                    0x45,
                    0,
                    40 + len(data),
                    0,
                    0,
                    64,
                    6,
                    0,
                    *[bytes([127, 0, 0, 1])] * 2,
                )
                file.write(
                    struct.pack("=IIII", 0, 0, 40 + len(data), 40 + len(data)) + ip + tcp + data
                )
                at[side] += len(data)


def lines_seen(path, port=7000, **more):
    """(lines to the server, lines from it), as the dissector has them."""
    packets = fields(path, "tcp.dstport", "grupo.line", **more)
    return tuple(
        [line for (to,), lines in packets for line in lines if (to == str(port)) == inbound]
        for inbound in (True, False)
    )


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    need("tshark")
    path = tmp_path_factory.mktemp("wire") / "talk.pcap"
    captured(path, [(side, text.encode()) for side, text in TALK])
    return path


def test_every_line_and_its_verb(talk):
    assert lines_seen(talk) == (lines_of(TALK, "I"), lines_of(TALK, "O"))
    verbs = [verb for packet in fields(talk, "grupo.verb") for verb in packet[0]]
    assert Counter(verbs) == Counter(
        [
            "HELLO",
            "JOIN",
            "PENDING",
            "WELCOME",
            "IN",
            "SAY",
            "SAY",
            "NAME",
            "MSG",
            "MSG",
            "RENAMED",
            "HISTORY",
            "WHO",
            "PING",
            "RENAMED",
            "END HISTORY",
            "MEMBER",
            "END WHO",
            "PONG",
            "ERR",
            "QUIT",
            "BYE",
        ]
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "only, names, values",
    [
        ('grupo.verb == "JOIN"', ("grupo.name", "grupo.password"), ["ana", "secret of ana"]),
        ('grupo.verb == "HELLO"', ("grupo.version", "grupo.group"), ["grupo/1", "os lab"]),
        ('grupo.verb == "WELCOME"', ("grupo.seq", "grupo.name"), [["1", "2"], ["ana", "ana"]]),
        ('grupo.text contains "João"', ("grupo.text",), [[" olá, João", "two"]]),
        (
            "grupo.seq > 2 && grupo.seq < 5",
            ("grupo.name", "grupo.new"),
            [["ana", "ana", "ana"], "Zoë"],
        ),
        ("grupo.since == 4", ("grupo.since",), ["4"]),
        ('grupo.verb == "MEMBER"', ("grupo.standing", "grupo.token"), ["here", "a-token"]),
        ("grupo.refused", ("grupo.code", "grupo.words"), ["unknown", "no such verb"]),
        ("grupo.unknown", ("grupo.line",), ["say it"]),
        ('grupo.verb == "BYE"', ("grupo.code",), ["quit"]),
        (f'grupo.time == "{TIME}" && grupo.verb == "END HISTORY"', ("grupo.seq",), [["5", "5"]]),
    ],
)
def test_what_a_filter_finds(talk, only, names, values):
    expected = [[value] if isinstance(value, str) else value for value in values]
    assert expected in fields(talk, *names, only=only)


def test_a_line_cut_anywhere_is_whole_again(tmp_path):
    """Segments of every size, from one byte; and two for each chunk, cut at every place."""
    need("tshark")
    whole = [(side, text.encode()) for side, text in TALK]
    longest = max(len(data) for _, data in whole)
    cuts = [
        [(side, data[at : at + size]) for side, data in whole for at in range(0, len(data), size)]
        for size in range(1, longest)
    ]
    cuts += [
        [(side, part) for side, data in whole for part in (data[:at], data[at:]) if part]
        for at in range(1, longest)
    ]
    captured(tmp_path / "cut.pcap", *cuts)
    seen = {}
    for (source,), (to,), lines in fields(
        tmp_path / "cut.pcap", "tcp.srcport", "tcp.dstport", "grupo.line"
    ):
        seen.setdefault((source, to), []).extend(lines)
    assert seen == {
        ends: lines
        for client in range(40000, 40000 + len(cuts))
        for ends, lines in (
            ((str(client), "7000"), lines_of(TALK, "I")),
            (("7000", str(client)), lines_of(TALK, "O")),
        )
    }


def test_what_is_no_line_of_the_protocol_is_said(tmp_path):
    need("tshark")
    bad = [
        "SAY",
        "SAY ",
        "WHOx",
        "WHO x",
        "HISTORY -1",
        "HISTORY 12345678901234567",
        "JOIN ana",
        "lower case",
        " SAY",
        "END",
        "WELCOME one ana",
        "IN 5",
        "SAYhi",
    ]
    captured(
        tmp_path / "bad.pcap",
        [("I", line.encode() + b"\n") for line in bad]
        + [
            ("I", b"SAY " + b"x" * 600 + b"\n"),
            ("I", b"SAY \x1b[2J\xc2\x9b\xe2\x80\xae\xff ol\xc3\xa1\xed\xa0\x80 \xc3\n"),
        ],
    )
    assert [
        line
        for packet in fields(tmp_path / "bad.pcap", "grupo.line", only="grupo.unknown")
        for line in packet[0]
    ] == bad
    assert len(fields(tmp_path / "bad.pcap", "grupo.line", only="grupo.too_long")) == 1
    listed = tshark(tmp_path / "bad.pcap")
    assert r"SAY \x1b[2J\xc2\x9b\xe2\x80\xae\xff olá\xed\xa0\x80 \xc3" in listed
    assert "\x1b" not in tshark(tmp_path / "bad.pcap", "-V")


def test_a_password_is_not_in_the_list_of_packets(talk):
    listed = tshark(talk)
    assert "JOIN ana ***" in listed and "secret of ana" not in listed


def test_a_server_is_known_by_its_hello_on_any_port(tmp_path):
    need("tshark")
    whole = [(side, text.encode()) for side, text in TALK]
    captured(tmp_path / "other.pcap", whole, port=7123)
    assert lines_seen(tmp_path / "other.pcap", port=7123) == (
        lines_of(TALK, "I"),
        lines_of(TALK, "O"),
    )
    captured(tmp_path / "none.pcap", whole[1:], port=7123)
    assert not fields(tmp_path / "none.pcap", "grupo.line")
    assert lines_seen(tmp_path / "none.pcap", port=7123, more=("-d", "tcp.port==7123,grupo"))[
        0
    ] == lines_of(TALK, "I")


# -- What our own servers really send --------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("design", ["nonblocking", "pthread", "fork"])
def test_traffic_of_our_servers(server, enter, connect, design, tmp_path):
    running = server(*OPEN)
    try:
        capture = Capture(running.port, tmp_path / "talk.pcapng")
    except CannotCapture as why:
        lacks(str(why))
    ana, ben = enter(running, "ana"), enter(running, "ben")
    for byte in "SAY a byte at a time, olá\n".encode():
        ana.send_bytes(bytes([byte]))
    ben.expect("MSG .* a byte at a time, olá")
    ben.send("SAY three", "SAY at", "SAY once", "HISTORY 0", "NAME zoe", "WHO", "nonsense")
    ben.fence(), ana.fence()
    ana.send("LEAVE")
    ana.rest()
    ben.expect("LEFT .*")
    ben.send("PING the-last")
    ben.expect("PONG the-last")
    capture.until(b"PONG the-last")
    for client in ana, ben:
        pieces = [entry.text for entry in client.record.entries if entry.what == "sends"]
        sent = "".join(pieces).encode("utf-8", "surrogateescape").decode().split("\n")[:-1]
        only = f"grupo && tcp.port == {client.socket.getsockname()[1]}"
        assert lines_seen(capture.path, port=running.port, only=only) == (sent, client.lines)
    assert fields(capture.path, "grupo.line", only="grupo.unknown")[0][0][-1] == "nonsense"
    seqs = [
        int(seq)
        for packet in fields(capture.path, "grupo.seq", only='grupo.verb == "MSG"')
        for seq in packet[0]
    ]
    assert {3, 4, 5, 6, 7} <= set(seqs)
