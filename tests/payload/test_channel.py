"""A connection's beginning and end, as either side sees it."""

import asyncio
import contextlib
import re
import socket
import sys
from pathlib import Path

import pytest

from ftpd.payload import channel, tcp
from ftpd.payload.buffers import buffers
from ftpd.payload.channel import Channel, ChannelProtocol, connect
from ftpd.payload.send import WINDOW
from ftpd.wire.limits import MIB
from tests.payload.conftest import PATIENCE_S, Ends, frame
from tests.payload.helpers import eventually, next_frame, some_bytes


async def test_a_refusal_reaches_a_peer_that_goes_on_sending(ends: Ends) -> None:
    """The farewell is read by a peer who has sent megabytes that nobody wanted: no reset destroys it."""
    async with asyncio.timeout(PATIENCE_S):
        ends.writer.write(bytes(8 * MIB))
        refusing = asyncio.create_task(ends.channel.refuse(b"farewell"))
        assert b"farewell" == await ends.reader.readexactly(8)
        with contextlib.suppress(ConnectionError):
            await ends.writer.drain()
        ends.writer.close()
        await refusing


async def test_what_is_thrown_away_is_not_in_memory(ends: Ends) -> None:
    """What comes after a refusal does not count as waiting: it would slow down everybody else for nothing."""
    async with asyncio.timeout(PATIENCE_S):
        refusing = asyncio.create_task(ends.channel.refuse(b"farewell"))
        assert b"farewell" == await ends.reader.readexactly(8)
        ends.writer.write(bytes(8 * MIB))
        await ends.writer.drain()
        await eventually(lambda: ends.protocol.fed > 4 * MIB, "most of it has come")
        assert buffers.waiting < 2 * MIB
        ends.writer.close()
        await refusing


async def test_a_dropped_payload_takes_no_more_memory(ends: Ends) -> None:
    """What still comes of a payload that was given up is thrown away while the refusal is on its way, not collected."""
    async with asyncio.timeout(PATIENCE_S):
        ends.writer.write(bytes(48 * MIB))
        payload = await ends.channel.receive(64 * MIB)
        await eventually(lambda: payload.missing <= 48 * MIB, "the buffers are full")
        ends.channel.drop(payload)
        refusing = asyncio.create_task(ends.channel.refuse(b"farewell"))
        assert b"farewell" == await ends.reader.readexactly(8)
        with contextlib.suppress(ConnectionError):
            await ends.writer.drain()
        ends.writer.close()
        await refusing
    assert payload.missing == 48 * MIB
    assert not payload._ready


async def test_closing_sends_what_is_queued(ends: Ends) -> None:
    """What was written before `close` arrives, then the end."""
    data = some_bytes(3 * MIB)
    async with asyncio.timeout(PATIENCE_S):
        reading = asyncio.create_task(ends.reader.read())
        ends.channel.write(data)
        await ends.channel.close(PATIENCE_S)
        assert data == await reading


async def test_closing_does_not_wait_for_ever(ends: Ends) -> None:
    """`close` gives up on a peer that does not read."""
    async with asyncio.timeout(PATIENCE_S):
        ends.channel.write(bytes(64 * MIB))
        await ends.channel.close(0.01)
    ends.channel.abort()


async def test_draining_waits_for_a_slow_peer(ends: Ends) -> None:
    """`drain` holds a sender up when the peer does not read, and is a `ConnectionError` when the peer is gone."""
    window, written = bytes(WINDOW), 0

    async def send() -> None:
        nonlocal written
        while written < 64:  # more than any kernel buffers
            ends.channel.write(window)
            await ends.channel.drain()
            written += 1

    async with asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(send())
        before = -1
        while before != written:
            before = written
            for _ in range(200):
                await asyncio.sleep(0)
        assert not sending.done()
        ends.writer.transport.abort()
        with pytest.raises(ConnectionError):
            await sending


async def test_both_directions_at_once(ends: Ends) -> None:
    """A payload that comes in and bytes that go out do not disturb each other."""
    upward, downward = some_bytes(6 * MIB, b"up"), some_bytes(6 * MIB, b"down")

    async def send() -> None:
        ends.channel.write(downward)
        await ends.channel.drain()

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send())
        reading = tasks.create_task(ends.reader.readexactly(len(downward)))
        receiving = tasks.create_task(next_frame(ends.channel, len(upward)))
        ends.writer.write(frame(b"header", upward))
        await ends.writer.drain()
        await sending
    assert (downward, (b"header", upward)) == (reading.result(), receiving.result())


async def test_the_peer_is_named(ends: Ends) -> None:
    """A channel knows the other side's address."""
    host, port = ends.writer.get_extra_info("sockname")
    assert f"{host}:{port}" == ends.channel.peer


async def test_encryption_is_known(ends: Ends) -> None:
    """A channel tells whether the kernel may see the bytes."""
    assert (ends.writer.get_extra_info("ssl_object") is not None) == ends.channel.is_encrypted


async def accept_one() -> tuple[asyncio.Server, asyncio.Future[Channel], int]:
    """Listen for one connection."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Channel] = loop.create_future()
    server = await loop.create_server(lambda: ChannelProtocol(accepted.set_result), "127.0.0.1", 0)
    return server, accepted, server.sockets[0].getsockname()[1]


async def test_both_ends_are_channels() -> None:
    """`connect` gives the same kind of channel that a server has: frames and payload go both ways."""
    server, accepted, port = await accept_one()
    data = some_bytes(3 * MIB)
    async with asyncio.timeout(PATIENCE_S):
        client = await connect("127.0.0.1", port)
        ours = await accepted
        for sender, receiver in ((client, ours), (ours, client)):
            sender.write(frame(b"header", data))
            _, found = await asyncio.gather(sender.drain(), next_frame(receiver, len(data)))
            assert (b"header", data) == found
        await client.close()
        assert await ours.read_length() is None
        await ours.close()
    server.close()
    await server.wait_closed()


async def test_nobody_to_talk_to() -> None:
    """`connect` to a port that nobody listens on is an `OSError`."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match=re.escape(str(unused.getsockname()[1]))):
            await connect("127.0.0.1", unused.getsockname()[1])


async def test_an_accepted_connection_does_not_wait_for_acknowledgements() -> None:
    """A connection that was accepted by hand has Nagle's algorithm off: asyncio would not do that."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Channel] = loop.create_future()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        sock, _ = listener.accept()
        sock.setblocking(False)
        await loop.connect_accepted_socket(lambda: ChannelProtocol(accepted.set_result), sock)
        channel = await accepted
        try:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            channel.abort()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets each socket choose")
@pytest.mark.parametrize("is_far", [True, False])
async def test_congestion_control_fits_the_path(monkeypatch: pytest.MonkeyPatch, *, is_far: bool) -> None:
    """A connection knows its round trip from the start; a long one has BBR if that may be chosen, loopback has Reno."""
    if is_far:
        monkeypatch.setattr(tcp, "LONG_S", 0.0)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        connection = await channel.connect("127.0.0.1", server.sockets[0].getsockname()[1])
        sock = connection.writer.get_extra_info("socket")
        found = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
        assert 0 < (connection.rtt_s or 0) < 1
        assert is_far is connection.is_far
        connection.abort()
    settings = Path("/proc/sys/net/ipv4")
    allowed = (settings / "tcp_allowed_congestion_control").read_text().split()
    wanted = "bbr" if is_far else "reno"
    assert found in {wanted, (settings / "tcp_congestion_control").read_text().strip()}
    assert found == wanted or wanted not in allowed
