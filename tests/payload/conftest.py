"""Both ends of a connection, plain and over TLS: one payload path has to serve both."""

import asyncio
import contextlib
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ftpd.payload import receive
from ftpd.payload.buffers import buffers
from ftpd.payload.channel import Channel, ChannelProtocol
from ftpd.payload.tls_transport import TlsTransport, negotiate
from ftpd.payload.workers import Workers

PATIENCE_S = 20.0
"""How long anything may take before a test counts as hung. Nothing takes nearly that long."""

PEER_LIMIT = 4 * 1024 * 1024
"""Bytes that asyncio reads ahead for the foreign peer; with its default large transfers take seconds."""


class Ends(NamedTuple):
    """A connection: our end, and a foreign peer made of asyncio's own streams."""

    channel: Channel
    protocol: ChannelProtocol
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def is_encrypted(self) -> bool:
        """Whether this connection uses TLS."""
        return self.channel.is_encrypted


class Contexts(NamedTuple):
    """TLS for the two ends."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Threads for one test."""
    pools = Workers()
    yield pools
    pools.close()


@pytest.fixture(autouse=True)
def _nobody_else() -> Iterator[None]:
    """Start without the transfers of a test that failed or gave one up: they would count for the size of buffers."""
    receive._running.clear()
    buffers._used = buffers.waiting = 0
    yield
    assert min(buffers.used, buffers.waiting) >= 0, "more was given back than was taken"


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """A certificate that the client trusts, made on the spot."""
    folder: Path = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run(
            [*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=PATIENCE_S
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    return Contexts(server, ssl.create_default_context(cafile=str(certificate)))


@pytest.fixture(params=["plain", "tls"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    """A connection of each kind over loopback."""
    contexts: Contexts | None = request.getfixturevalue("contexts") if request.param == "tls" else None
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Channel] = loop.create_future()
    protocols: list[ChannelProtocol] = []

    def make_protocol() -> ChannelProtocol:
        protocols.append(ChannelProtocol(accepted.set_result))
        return protocols[-1]

    async def accept(listener: socket.socket) -> None:
        sock, _ = await loop.sock_accept(listener)
        if contexts:
            TlsTransport(sock, await negotiate(sock, contexts.server), make_protocol())
        else:
            await loop.connect_accepted_socket(make_protocol, sock)

    async with asyncio.timeout(PATIENCE_S):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            accepting = loop.create_task(accept(listener))
            host, port = listener.getsockname()
            reader, writer = await asyncio.open_connection(
                host, port, limit=PEER_LIMIT, ssl=contexts and contexts.client
            )
            await accepting
            channel = await accepted
    yield Ends(channel, protocols[0], reader, writer)
    channel.abort()
    if not writer.transport.is_closing():
        writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def frame(header: bytes, payload: bytes = b"") -> bytes:
    """Encode a frame as a stranger does."""
    return struct.pack("<i", len(header)) + header + payload
