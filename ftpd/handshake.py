"""The first moments of an encrypted connection: who speaks something else is told so, who is silent is cut."""

import asyncio
import contextlib
import logging
import socket
import ssl

from ftpd.payload.channel import ChannelProtocol
from ftpd.payload.tcp import shown
from ftpd.payload.tls import Cipher
from ftpd.payload.tls_transport import TlsTransport, negotiate
from ftpd.reports import report_login
from ftpd.tls import HANDSHAKE_S
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import KIB
from ftpd.wire.messages import encode_refusal

_TLS_HANDSHAKE = b"\x16"
"""The first byte of every TLS connection (RFC 8446 section 5.1). A plain frame of 22 bytes starts with it too, and ends
in a failed handshake instead of an explanation."""

MOST_READS = 64
"""How often whoever does not speak TLS is read from before he is cut."""

log = logging.getLogger(__name__)


async def shake_hands(sock: socket.socket, tls: ssl.SSLContext, protocol: ChannelProtocol) -> None:
    """Begin an encrypted conversation on an accepted socket, within `HANDSHAKE_S`. Takes the socket. Never raises."""
    try:
        peer = shown(protocol.origin or sock.getpeername())
        async with asyncio.timeout(HANDSHAKE_S):
            if await _speaks_tls(sock):
                TlsTransport(sock, await _negotiate(sock, tls, peer), protocol)
            else:
                await _explain(sock)
    except (OSError, TimeoutError) as exc:  # SSLError is an OSError
        log.debug("no handshake: %s", str(exc) or "it took too long", extra={"outcome": "lost"})
    finally:
        sock.close()


async def _negotiate(sock: socket.socket, tls: ssl.SSLContext, peer: str) -> Cipher:
    try:
        return await negotiate(sock, tls)
    except ssl.SSLCertVerificationError as exc:
        report_login(peer, f"unauthorized: {exc.verify_message}")
        raise


async def _speaks_tls(sock: socket.socket) -> bool:
    """Wait for the first byte and look at it, without taking it."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
    with contextlib.suppress(BlockingIOError):
        return sock.recv(1, socket.MSG_PEEK) in {_TLS_HANDSHAKE, b""}
    return False


async def _explain(sock: socket.socket) -> None:
    """Say that TLS is needed. What has come is read, or the answer would be lost to a reset."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, encode_refusal(ErrorCode.TLS_REQUIRED, "use TLS: ftpds:// instead of ftpd://"))
    sock.shutdown(socket.SHUT_WR)
    for _ in range(MOST_READS):
        if not await loop.sock_recv(sock, 64 * KIB):
            break
