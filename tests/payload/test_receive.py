"""Receiving: every byte of a payload arrives once and in order, however it is cut, in bounded memory."""

import asyncio
import contextlib
import socket
import struct

import pytest

from ftpd.payload import receive
from ftpd.payload.buffers import BUFFER_SIZES, LEAST, buffers
from ftpd.payload.channel import READ_SIZE, SHORT_READ, STREAM_LIMIT, Channel
from ftpd.payload.receive import BUFFERS, PIECE, PayloadReader
from ftpd.wire.errors import BadFrameError
from ftpd.wire.limits import KIB, LENGTH_SIZE, MIB
from tests.payload.conftest import PATIENCE_S, Ends, frame
from tests.payload.helpers import all_of, eventually, next_frame, some_bytes

SIZES = [
    0,
    1,
    LENGTH_SIZE,
    4 * KIB,
    *(STREAM_LIMIT + step for step in (-1, 0, 1)),
    *(2 * STREAM_LIMIT + step for step in (-1, 0, 1)),
    *(READ_SIZE + step for step in (-1, 0, 1)),
    2 * READ_SIZE + 1,
    *(BUFFER_SIZES[0] + step for step in (-1, 0, 1)),
    BUFFERS * BUFFER_SIZES[0],
    BUFFERS * BUFFER_SIZES[0] + 1,
    5 * MIB + 3,
]


@pytest.mark.parametrize("size", SIZES)
async def test_a_payload_arrives_whole_and_the_next_frame_after_it(ends: Ends, size: int) -> None:
    """A payload of any size is read whole, and what was sent in one piece with it is the next frame."""
    data = some_bytes(size)
    async with asyncio.timeout(PATIENCE_S):
        ends.writer.write(frame(b"first", data) + frame(b"second", b"xyz"))
        assert (b"first", data) == await next_frame(ends.channel, size)
        assert (b"second", b"xyz") == await next_frame(ends.channel, 3)
        ends.writer.close()
        assert await ends.channel.read_length() is None


async def test_a_payload_that_comes_after_its_reader_arrives_whole(ends: Ends) -> None:
    """Nothing depends on whether bytes arrive before or after somebody waits for them."""
    data = some_bytes(3 * MIB)
    async with asyncio.timeout(PATIENCE_S):
        reading = asyncio.create_task(next_frame(ends.channel, len(data)))
        for start in range(0, len(data), 300_000):
            ends.writer.write((frame(b"header") if not start else b"") + data[start : start + 300_000])
            await ends.writer.drain()
        assert (b"header", data) == await reading


async def test_frames_may_come_byte_by_byte(ends: Ends) -> None:
    """Every byte may come in a packet of its own, in length, header and payload."""
    stream = frame(b"header", b"payload") + frame(b"next", b"")
    async with asyncio.timeout(PATIENCE_S):
        reading = asyncio.create_task(next_frame(ends.channel, 7))
        for place in range(len(stream)):
            ends.writer.write(stream[place : place + 1])
            await ends.writer.drain()
            if place == LENGTH_SIZE + len(b"header"):  # the first byte of the payload has been taken alone
                await eventually(lambda: ends.protocol.payload and ends.protocol.payload.missing == 6, "one byte")
            await asyncio.sleep(0)
        assert (b"header", b"payload") == await reading
        assert (b"next", b"") == await next_frame(ends.channel, 0)


async def test_frames_may_be_pipelined(ends: Ends) -> None:
    """A hundred frames with payloads of all kinds of sizes, sent without a pause, come out one by one."""
    sizes = [(number * number * 37) % 40_000 * (1 + 9 * (number % 10 == 0)) for number in range(100)]
    stream = b"".join(frame(b"%d" % size, some_bytes(size, b"%d" % size)) for size in sizes)
    async with asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(send(ends, stream))
        for size in sizes:
            assert (b"%d" % size, some_bytes(size, b"%d" % size)) == await next_frame(ends.channel, size)
        await sending


async def send(ends: Ends, data: bytes) -> None:
    """Send what may be more than fits in the kernel.

    In pieces: over TLS asyncio does not count a first large one as waiting to be sent.
    """
    for start in range(0, len(data), 256 * KIB):
        ends.writer.write(data[start : start + 256 * KIB])
        await ends.writer.drain()


def cut(ends: Ends, how: str) -> None:
    """End the connection from the peer's side."""
    if how == "reset":
        sock: socket.socket = ends.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ends.writer.transport.abort()
    else:
        ends.writer.close()


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("place", [1, LENGTH_SIZE - 1, LENGTH_SIZE, LENGTH_SIZE + 1, LENGTH_SIZE + 5])
async def test_a_connection_cut_inside_a_header_is_an_error(ends: Ends, place: int, how: str) -> None:
    """A connection that ends inside a length or a header is a `ConnectionError`, never a short header."""
    ends.writer.write(frame(b"header")[:place])
    await ends.writer.drain()
    cut(ends, how)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionError):
            await next_frame(ends.channel, 0)


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("is_reading", [True, False], ids=["reading", "buffered"])
@pytest.mark.parametrize("place", [0, 1, STREAM_LIMIT, BUFFER_SIZES[0], BUFFER_SIZES[0] + MIB - 1])
async def test_a_connection_cut_inside_a_payload_is_an_error(
    ends: Ends,
    place: int,
    is_reading: bool,  # noqa: FBT001 (a column)
    how: str,
) -> None:
    """A connection that ends inside a payload is a `ConnectionError`, before its last byte is given out."""
    size, data = BUFFER_SIZES[0] + MIB, some_bytes(place)
    async with asyncio.timeout(PATIENCE_S):
        ends.writer.write(frame(b"header"))
        assert await ends.channel.read_length() == 6
        assert await ends.channel.read_exactly(6) == b"header"
        sending = asyncio.create_task(send(ends, data))
        if is_reading:
            receiving = asyncio.create_task(receive_all(ends.channel, size))
            await sending
            cut(ends, how)
            with pytest.raises(ConnectionError):
                await receiving
            return
        if place <= STREAM_LIMIT:  # all of it fits where nobody has to read
            await sending
            cut(ends, how)
            await eventually(lambda: has_seen_the_end(ends), "the cut is seen")
        else:
            sending.add_done_callback(lambda _: cut(ends, how))
        with pytest.raises(ConnectionError):
            await receive_all(ends.channel, size)
        await sending


def has_seen_the_end(ends: Ends) -> bool:
    """Tell whether our end has noticed that nothing more will come."""
    return ends.channel.reader.exception() is not None or "eof" in repr(ends.channel.reader)


async def receive_all(channel: Channel, size: int) -> bytes:
    """Read a payload."""
    return await all_of(await channel.receive(size))


async def test_an_end_between_frames_is_no_error(ends: Ends) -> None:
    """A peer that closes after a whole frame has ended the conversation."""
    ends.writer.write(frame(b"header", b"abc"))
    ends.writer.close()
    async with asyncio.timeout(PATIENCE_S):
        assert (b"header", b"abc") == await next_frame(ends.channel, 3)
        assert await ends.channel.read_length() is None
        assert await ends.channel.read_length() is None


@pytest.mark.parametrize("length", [0, -1, -(2**31), 101, 2**31 - 1])
async def test_a_length_out_of_bounds_is_refused(ends: Ends, length: int) -> None:
    """A length that is not within 1 and the limit is refused, with nothing behind it read."""
    ends.writer.write(struct.pack("<i", length) + b"x" * 1000)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(BadFrameError):
            await ends.channel.read_length(100)


async def test_a_slow_reader_pauses_the_sender(ends: Ends) -> None:
    """While nobody takes bytes at most `BUFFERS` buffers fill, the sender has to wait, and nothing is lost."""
    data = some_bytes(32 * MIB)
    async with asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(send(ends, data + frame(b"next")))
        payload = await ends.channel.receive(len(data))
        await eventually(lambda: len(data) - payload.missing == BUFFERS * BUFFER_SIZES[0], "the buffers are full")
        for _ in range(100):  # more would arrive here if reading went on
            await asyncio.sleep(0)
        assert BUFFERS * BUFFER_SIZES[0] == len(data) - payload.missing
        assert not sending.done()
        taken = bytearray()
        while (piece := await payload.next()) is not None:
            assert len(data) - payload.missing - len(taken) <= BUFFERS * BUFFER_SIZES[0]
            taken += piece
        payload.close()
        assert data == bytes(taken)
        assert (b"next", b"") == await next_frame(ends.channel, 0)
        await sending


async def flooded(ends: Ends) -> int:
    """Flood a connection on which nothing is read, and give how much is held of it when the sender has to wait."""
    async with asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(send(ends, bytes(32 * MIB)))
        held = ends.channel.reader._buffer  # type: ignore[attr-defined] # what is to be bounded
        await eventually(lambda: len(held) > 2 * STREAM_LIMIT, "the stream is full")
        for _ in range(100):
            await asyncio.sleep(0)
        assert not sending.done()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        return len(held)


async def test_an_idle_connection_buffers_little(ends: Ends) -> None:
    """A peer that floods a connection on which nothing is read has to wait; what is held stays small."""
    assert await flooded(ends) <= 2 * STREAM_LIMIT + READ_SIZE


async def test_an_idle_connection_buffers_less_when_memory_is_short(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the budget is spent, little is read at once where it is not known what it is."""
    monkeypatch.setattr(buffers, "budget", -1)
    assert await flooded(ends) <= 2 * STREAM_LIMIT + SHORT_READ


async def test_what_lies_in_streams_is_counted(ends: Ends) -> None:
    """What has arrived counts until whoever was given it reads again, or the connection is gone."""
    before = buffers.waiting
    async with asyncio.timeout(PATIENCE_S):
        ends.writer.write(frame(b"header", b"abc") + frame(b"next"))
        await eventually(lambda: buffers.waiting == before + 21, "it has arrived")
        assert await ends.channel.read_length() == 6
        assert buffers.waiting == before + 21
        assert await ends.channel.read_exactly(6) == b"header"
        assert buffers.waiting == before + 17
        assert b"abc" == await all_of(await ends.channel.receive(3))
        assert buffers.waiting == before + 8
        arrived = await ends.channel.read_arrived()
        ends.channel.return_(arrived[4:])
        assert b"next" == await ends.channel.read_exactly(4)
        assert buffers.waiting == before + 4
        ends.channel.abort()
        await eventually(lambda: buffers.waiting == before, "nothing is left of it")


async def test_buffers_are_used_again(ends: Ends) -> None:
    """A finished transfer gives its buffers back, so that the next one needs no new memory; few are kept."""
    data = some_bytes(5 * MIB)
    async with asyncio.timeout(PATIENCE_S):
        kept = 0
        for _ in range(2):
            kept = buffers.kept
            sending = asyncio.create_task(send(ends, frame(b"header", data)))
            assert (b"header", data) == await next_frame(ends.channel, len(data))
            await sending
        assert 0 < kept == buffers.kept <= buffers.budget // 2
        assert 0 == buffers.used


async def test_many_transfers_have_smaller_buffers(ends: Ends) -> None:
    """The more transfers, the smaller their buffers; large ones again when the others are over."""
    transport = ends.channel.writer.transport
    assert isinstance(transport, asyncio.Transport)
    share = buffers.budget // BUFFERS
    crowd: list[PayloadReader] = []
    for size in BUFFER_SIZES:
        crowd += [PayloadReader(transport, 2**30) for _ in range(share // size - len(crowd))]
        assert size == len(crowd[-1].get_buffer())
    assert receive.is_crowded()
    for payload in crowd:
        payload.close()
    assert not receive.is_crowded()
    alone = PayloadReader(transport, 2**30)
    assert BUFFER_SIZES[0] == len(alone.get_buffer())
    alone.close()


async def test_all_buffers_are_within_the_budget(ends: Ends) -> None:
    """Any number of transfers have at most the budget, and each `LEAST`, whoever came first."""
    transport = ends.channel.writer.transport
    assert isinstance(transport, asyncio.Transport)
    count = 2 * buffers.budget // PIECE
    crowd = [PayloadReader(transport, 2**30) for _ in range(count)]
    for payload in crowd:
        while not payload._paused:
            payload.buffer_updated(len(payload.get_buffer()))
    assert buffers.budget - PIECE < buffers.used <= buffers.budget + count * LEAST
    assert buffers.are_short
    for payload in crowd:
        payload.close()
    assert 0 == buffers.used
    assert buffers.kept <= buffers.budget // 2


@pytest.mark.parametrize("size", [1, 4096, 512 * KIB, MIB, 5 * MIB, 64 * MIB])
async def test_small_payloads_have_small_buffers(ends: Ends, size: int) -> None:
    """A payload takes no buffer of which it could not fill half, if there is a smaller one."""
    transport = ends.channel.writer.transport
    assert isinstance(transport, asyncio.Transport)
    payload = PayloadReader(transport, size)
    payload.get_buffer()
    assert payload._buffer is not None
    assert len(payload._buffer) < 2 * size or len(payload._buffer) == PIECE
    payload.close()


async def test_a_slow_sender_is_seen_to_move(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for bytes gets what there is after a while, though no buffer is full; the rest follows."""
    monkeypatch.setattr(receive, "FLUSH_S", 0.01)
    async with asyncio.timeout(PATIENCE_S):
        ends.writer.write(b"slo")
        payload = await ends.channel.receive(len(b"slowly"))
        assert b"slo" == bytes(await payload.next() or b"")
        ends.writer.write(b"wly")
        assert b"wly" == bytes(await payload.next() or b"")
        assert await payload.next() is None
        payload.close()


async def test_who_sends_nothing_holds_nothing(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffer in which nothing has arrived for a while is given back, and what comes after that is whole."""
    monkeypatch.setattr(receive, "FLUSH_S", 0.01)
    data = some_bytes(3 * MIB)
    async with asyncio.timeout(PATIENCE_S):
        ends.writer.write(data[:MIB])
        payload = await ends.channel.receive(len(data))
        taken = b""
        while len(taken) < MIB:
            taken += bytes(await payload.next() or b"")
        receiving = asyncio.create_task(all_of(payload))
        payload.get_buffer()
        await eventually(lambda: not buffers.used, "the buffer is given back")
        ends.writer.write(data[MIB:])
        assert data == taken + await receiving


async def test_kept_buffers_give_way(ends: Ends) -> None:
    """Small buffers that a crowd has left behind do not keep large ones from being kept."""
    transport = ends.channel.writer.transport
    assert isinstance(transport, asyncio.Transport)
    for count, size in ((buffers.budget // 2 // PIECE, 1), (1, 64 * MIB)):
        crowd = [PayloadReader(transport, size) for _ in range(count)]
        for payload in crowd:
            payload.get_buffer()
        for payload in crowd:
            payload.close()
    assert buffers._unused[BUFFER_SIZES[0]]
    assert buffers.kept <= buffers.budget // 2


async def test_cancelling_loses_nothing(ends: Ends) -> None:
    """A `next` that is cancelled, again and again, has taken nothing: the payload is whole in the end."""
    data, taken = some_bytes(5 * MIB), bytearray()
    async with asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(send(ends, data))
        payload = await ends.channel.receive(len(data))
        cancelled = 0
        while len(taken) < len(data):
            reading = asyncio.create_task(payload.next())
            await asyncio.sleep(0)
            reading.cancel()
            try:
                piece = await reading
            except asyncio.CancelledError:
                cancelled += 1
                await asyncio.sleep(0)
            else:
                assert piece is not None
                taken += piece
        assert await payload.next() is None
        payload.close()
        await sending
    assert data == bytes(taken)
    assert cancelled > 0


async def test_cancelling_in_the_moment_of_arrival_loses_nothing(ends: Ends) -> None:
    """A `next` that is cancelled after its bytes have come, and before it runs, leaves them for the next call."""
    payload = PayloadReader(ends.writer.transport, 3)  # type: ignore[arg-type] # streams do not tell its type
    reading = asyncio.create_task(payload.next())
    await asyncio.sleep(0)
    payload.get_buffer()[:3] = b"abc"
    payload.buffer_updated(3)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert b"abc" == await all_of(payload)
