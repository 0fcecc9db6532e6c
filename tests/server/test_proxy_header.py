"""The header of a proxy, byte by byte: all of it is taken, nothing behind it, and nothing else is believed."""

import re
import socket
import struct
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftpd.proxy import MOST_V1, MOST_V2, Origin, ProxyError, missing, parse

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def line(*words: str) -> bytes:
    """Make a header of version 1."""
    return " ".join(("PROXY", *words)).encode() + b"\r\n"


def binary(addresses: bytes, family: int = 0x11, command: int = 0x21, rest: bytes = b"") -> bytes:
    """Make a header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses + rest)) + addresses + rest


def addresses(source: str, target: str, ports: tuple[int, int]) -> bytes:
    """Make the addresses of version 2."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return socket.inet_pton(family, source) + socket.inet_pton(family, target) + struct.pack("!HH", *ports)


def read(data: bytes) -> tuple[Origin | None, bytes] | None:
    """Read as the server does, never more than what is missing; give what was said and what follows, None if cut."""
    header = b""
    while count := missing(header):
        piece = data[len(header) : len(header) + count]
        if not piece:
            return None
        header += piece
        assert len(header) <= 16 + MOST_V2
    return parse(header), data[len(header) :]


V4, V6 = ("192.0.2.7", "198.51.100.1"), ("2001:db8::7", "2001:db8::1")
GOOD = {
    line("TCP4", *V4, "56324", "443"): Origin("192.0.2.7", 56324),
    line("TCP4", "1.1.1.1", "1.1.1.1", "0", "0"): Origin("1.1.1.1", 0),
    line("TCP6", *V6, "65535", "1"): Origin("2001:db8::7", 65535),
    line("TCP6", "ffff:f:f:f:f:f:f:ffff", "ffff:f:f:f:f:f:f:ffff", "65535", "65535"): Origin(
        "ffff:f:f:f:f:f:f:ffff", 65535
    ),
    line("TCP6", "::ffff:192.0.2.77", "::ffff:192.0.2.1", "5", "6"): Origin("192.0.2.77", 5),
    line("UNKNOWN"): None,
    line("UNKNOWN", "ffff::1", "x", "99999", "99999"): None,
    b"PROXY UNKNOWN " + b"x" * (MOST_V1 - 16) + b"\r\n": None,
    binary(addresses(*V4, (56324, 443))): Origin("192.0.2.7", 56324),
    binary(addresses(*V4, (1, 2)), rest=b"\x04\0\x03abc"): Origin("192.0.2.7", 1),
    binary(addresses(*V4, (1, 2)), rest=bytes(MOST_V2 - 12)): Origin("192.0.2.7", 1),
    binary(addresses(*V6, (56324, 443)), 0x21): Origin("2001:db8::7", 56324),
    binary(addresses("::ffff:192.0.2.77", "::1", (5, 6)), 0x21): Origin("192.0.2.77", 5),
    binary(b"", 0, 0x20): None,
    binary(addresses(*V4, (1, 2)), command=0x20): None,
    binary(b"", 0): None,
    binary(bytes(216), 0x31): None,
}


@pytest.mark.parametrize("header", GOOD)
def test_good_header(header: bytes) -> None:
    """What a proxy says is understood, and not a byte behind it is taken, whatever that is; a part is not enough."""
    for rest in (b"", b"\r\n", b"\x16\x03\x01", header):
        assert (GOOD[header], rest) == read(header + rest)
    assert all(read(header[:size]) is None for size in range(len(header)))


BAD = [
    line("TCP4", *V4, "56324"),
    line("TCP4", *V4, "56324", "443", "1"),
    line("TCP4", *V4, "65536", "443"),
    line("TCP4", *V4, "056324", "443"),
    line("TCP4", *V4, "-1", "443"),
    line("TCP4", *V4, "+1", "443"),
    line("TCP4", *V4, "1", "٣"),
    line("TCP4", *V4, "", "443"),
    line("TCP4", *V6, "1", "2"),
    line("TCP6", *V4, "1", "2"),
    line("TCP4", "192.0.2.07", V4[1], "1", "2"),
    line("TCP4", "192.0.2", V4[1], "1", "2"),
    line("TCP4", V4[0], "example", "1", "2"),
    line("TCP6", "fe80::1%lo", V6[1], "1", "2"),
    line("TCP4 ", *V4, "1", "2"),
    line("tcp4", *V4, "1", "2"),
    line("UDP4", *V4, "1", "2"),
    line("UNKNOWNS"),
    line("TCP4", *V4, "1", "2").replace(b"\r\n", b"\n"),
    line("TCP4", *V4, "1", "2").replace(b" ", b"\t"),
    b"PROXY UNKNOWN " + b"x" * (MOST_V1 - 15) + b"\r\n",
    b"PROXY UNKNOWN\n\r\n",
    b"PROXY\r\n" + bytes(20),
    b"proxy UNKNOWN\r\n",
    b"\x16\x03\x01\x02\0",
    b"\x18\0\0\0" + b'{"cmd": "ping", "id": 1}',
    binary(addresses(*V4, (1, 2))[:11]),
    binary(addresses(*V6, (1, 2))[:35], 0x21),
    binary(bytes(215), 0x31),
    binary(addresses(*V4, (1, 2)), 0x12),
    binary(addresses(*V4, (1, 2)), 0x41),
    binary(addresses(*V4, (1, 2)), command=0x22),
    binary(addresses(*V4, (1, 2)), command=0x11),
    binary(b"", 0, 0x01),
    binary(addresses(*V4, (1, 2)), rest=bytes(MOST_V2 - 11)),
    b"\r\n\r\n\0\r\nQUIT\r" + bytes(4),
]


@pytest.mark.parametrize("header", BAD)
def test_bad_header(header: bytes) -> None:
    """What is not exactly a header is refused, and never understood as something similar."""
    with pytest.raises(ProxyError):
        read(header + bytes(200))


PIECES = [
    *GOOD,
    *BAD,
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b" ",
    b"\r",
    b"\n",
    b"\r\n",
    SIGNATURE,
    b"\x21\x11\0\x0c",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Take headers and parts of them, and spoil them in up to four places."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(data)


V1_LINE = re.compile(rb"PROXY TCP[46] ([0-9a-fA-F.:]+) [0-9a-fA-F.:]+ (0|[1-9][0-9]{0,4}) (?:0|[1-9][0-9]{0,4})\r\n")


def origin_by_another(data: bytes) -> tuple[str, int] | None:
    """Read a header in another way, without any checks but for its form: an oracle for what has been understood."""
    if found := V1_LINE.match(data):
        family = socket.AF_INET6 if b":" in found[1] else socket.AF_INET
        host, port = socket.inet_pton(family, found[1].decode()), int(found[2])
    elif data.startswith(SIGNATURE + b"\x21\x11"):
        host, port = struct.unpack_from("!4s4xH", data, 16)
    elif data.startswith(SIGNATURE + b"\x21\x21"):
        host, port = struct.unpack_from("!16s16xH", data, 16)
    else:
        return None
    host = host.removeprefix(bytes(10) + b"\xff\xff") if len(host) == 16 else host
    return socket.inet_ntop(socket.AF_INET if len(host) == 4 else socket.AF_INET6, host), port


@pytest.mark.parametrize("count", [300, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_fuzz(count: int, tell: Callable[[str], None]) -> None:
    """Whatever comes is refused, cut short or understood; what is understood is what another reader finds there."""
    understood = 0

    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(mutated() | st.binary(max_size=300))
    def check(data: bytes) -> None:
        nonlocal understood
        try:
            found = read(data)
        except ProxyError:
            return
        if found is not None and found[0] is not None:
            understood += 1
            assert found[0] == origin_by_another(data)

    check()
    assert understood
    tell(f"{count} mutated headers of proxies: {understood} understood, none a surprise")
