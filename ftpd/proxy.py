"""The PROXY protocol: a proxy says in the first bytes of a connection for whom it speaks, in the clear, before TLS.

Versions 1 and 2 of proxy-protocol.txt, which comes with HAProxy. From everybody but the proxies that the server was
told of such bytes are a mistake like any other: whoever is believed here can say that he is somebody else.
"""

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from ftpd.wire.limits import KIB

HEADER_S = 5.0
"""How long a header may take: it is sent at once, but a lost packet is sent again after seconds (section 4)."""

MOST_V1 = 107
"""The longest header of version 1, with its end (section 2.1)."""

MOST_V2 = 4 * KIB
"""What may follow the first 16 bytes of version 2: addresses, 216 bytes at the most, and what else a proxy likes to
tell, which is skipped."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESSES = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}
"""Bytes of both addresses with their ports (section 2.2)."""

_SHORTEST = len(b"PROXY UNKNOWN\r\n")


class Origin(NamedTuple):
    """Where somebody comes from."""

    host: str
    port: int


class ProxyError(Exception):
    """What a proxy has sent is no header."""


def is_proxy(host: str, proxies: Sequence[Network]) -> bool:
    """Tell whether an address is that of a proxy."""
    return bool(proxies) and any(ipaddress.ip_address(host) in network for network in proxies)


async def receive_header(sock: socket.socket) -> Origin | None:
    """Take a header from a socket, and not a byte of what follows; None where it speaks for nobody but itself.

    Raises:
        ProxyError: it is no header.
        OSError: the connection is lost.
    """
    loop, header = asyncio.get_running_loop(), b""
    while count := missing(header):
        received = await loop.sock_recv(sock, count)
        if not received:
            msg = "the connection ended inside the header of a proxy"
            raise ConnectionResetError(msg)
        header += received
    return parse(header)


def missing(header: bytes) -> int:
    """Tell how many bytes a header that begins like this has still, at the least; 0 when it is complete.

    Raises:
        ProxyError: no header begins like this, or it is too long.
    """
    if header[:1] == _SIGNATURE[:1]:
        return _missing_v2(header)
    if not (b"PROXY ".startswith(header[:6]) and b"\n" not in header[:-1] and len(header) <= MOST_V1):
        raise ProxyError("it does not begin as the PROXY protocol does")
    if len(header) < _SHORTEST:
        return _SHORTEST - len(header)
    if header.endswith(b"\n"):
        return 0
    count = 1 if header.endswith(b"\r") else 2
    if len(header) + count > MOST_V1:
        raise ProxyError(f"its first line has more than {MOST_V1} bytes")
    return count


def parse(header: bytes) -> Origin | None:
    """Read a header that is complete. Raises as `missing` does."""
    try:
        return _parse_v2(header) if header.startswith(_SIGNATURE) else _parse_v1(header)
    except ValueError as exc:
        raise ProxyError("its addresses are none") from exc


def _missing_v2(header: bytes) -> int:
    if not _SIGNATURE.startswith(header[: len(_SIGNATURE)]):
        raise ProxyError("it does not begin as the PROXY protocol does")
    if len(header) < _HEAD.size:
        return _HEAD.size - len(header)
    length: int = _HEAD.unpack_from(header)[3]
    if length > MOST_V2:
        raise ProxyError(f"it has {length} bytes, and {MOST_V2} are the limit")
    return _HEAD.size + length - len(header)


def _parse_v1(header: bytes) -> Origin | None:
    words = header.removesuffix(b"\r\n").split(b" ")
    if not header.endswith(b"\r\n") or len(words) < 2:
        raise ProxyError("its first line has no end")
    if words[1] == b"UNKNOWN":  # what follows is to be ignored
        return None
    if words[1] not in {b"TCP4", b"TCP6"} or len(words) != 6:
        raise ProxyError("its first line is not PROXY, TCP4 or TCP6, two addresses and two ports")
    kind = ipaddress.IPv4Address if words[1] == b"TCP4" else ipaddress.IPv6Address
    source, _ = (kind(_text(word)) for word in words[2:4])
    port, _ = (_port(_text(word)) for word in words[4:])
    return _origin(source, port)


def _parse_v2(header: bytes) -> Origin | None:
    _, command, family, length = _HEAD.unpack_from(header)
    if command == _LOCAL:  # the proxy itself, to see whether we are alive
        return None
    if command != _PROXY or length < _ADDRESSES.get(family, MOST_V2 + 1):
        raise ProxyError("it is of a version, for a protocol or with an address that is not known")
    body = header[_HEAD.size :]
    if family == _TCP4:
        return _origin(ipaddress.IPv4Address(body[:4]), int.from_bytes(body[8:10], "big"))
    if family == _TCP6:
        return _origin(ipaddress.IPv6Address(body[:16]), int.from_bytes(body[32:34], "big"))
    return None


def _origin(host: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> Origin:
    """Name somebody. He has one address, also where a proxy that listens for both kinds says it as IPv6."""
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return Origin(str(mapped or host), port)


def _text(word: bytes) -> str:
    text = word.decode("ascii")
    if "%" in text:  # an address with its interface
        raise ProxyError("its addresses are none")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or str(int(text)) != text or int(text) > 65_535:
        raise ProxyError("its ports are none")
    return int(text)
