"""Receiving: every byte of a payload arrives once and in order, however it is cut, in bounded memory."""

import asyncio
import contextlib
import socket
import struct

import pytest

from ftpd.payload import receive
from ftpd.payload.channel import STREAM_LIMIT, Channel
from ftpd.payload.receive import BUFFER_BUDGET, BUFFER_SIZES, BUFFERS, PayloadReader
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
    4 * STREAM_LIMIT + 1,
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


async def test_an_idle_connection_buffers_little(ends: Ends) -> None:
    """A peer that floods a connection on which nothing is read has to wait; what is held stays small."""
    async with asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(send(ends, bytes(32 * MIB)))
        held = ends.channel.reader._buffer  # type: ignore[attr-defined] # what is to be bounded
        await eventually(lambda: len(held) > 2 * STREAM_LIMIT, "the stream is full")
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(held) <= 4 * STREAM_LIMIT
        assert not sending.done()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


def kept() -> set[int]:
    """Tell the buffers that nobody uses."""
    assert sum(len(buffer) for buffers in receive._pool.values() for buffer in buffers) <= BUFFER_BUDGET // 2
    return {id(buffer) for buffers in receive._pool.values() for buffer in buffers}


async def test_buffers_are_used_again(ends: Ends) -> None:
    """A finished transfer gives its buffers back, so that the next one needs no new memory; few are kept."""
    data = some_bytes(5 * MIB)
    async with asyncio.timeout(PATIENCE_S):
        before = set[int]()
        for _ in range(2):
            before = kept()
            sending = asyncio.create_task(send(ends, frame(b"header", data)))
            assert (b"header", data) == await next_frame(ends.channel, len(data))
            await sending
        assert before == kept()
        assert 1 <= len(before)


async def test_many_transfers_have_smaller_buffers(ends: Ends) -> None:
    """The more transfers, the smaller their buffers; large ones again when the others are over."""
    transport = ends.channel.writer.transport
    assert isinstance(transport, asyncio.Transport)
    share = BUFFER_BUDGET // BUFFERS
    crowd = [PayloadReader(transport, 2**30) for _ in range(2 * share // BUFFER_SIZES[-1])]
    for size in BUFFER_SIZES:
        assert size == len(crowd[share // size - 1].get_buffer())
    assert receive.is_crowded()
    for payload in crowd:
        payload.close()
    assert not receive.is_crowded()
    alone = PayloadReader(transport, 2**30)
    assert BUFFER_SIZES[0] == len(alone.get_buffer())
    alone.close()


@pytest.mark.parametrize("size", [1, 4096, 512 * KIB, MIB, 5 * MIB, 64 * MIB])
async def test_small_payloads_have_small_buffers(ends: Ends, size: int) -> None:
    """A payload takes no buffer of which it could not fill half, if there is a smaller one."""
    transport = ends.channel.writer.transport
    assert isinstance(transport, asyncio.Transport)
    payload = PayloadReader(transport, size)
    payload.get_buffer()
    assert payload._buffer is not None
    assert len(payload._buffer) < 2 * size or len(payload._buffer) == BUFFER_SIZES[-1]
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


async def test_kept_buffers_give_way(ends: Ends) -> None:
    """Small buffers that a crowd has left behind do not keep large ones from being kept."""
    transport = ends.channel.writer.transport
    assert isinstance(transport, asyncio.Transport)
    for count, size in ((300, 1), (1, 64 * MIB)):
        crowd = [PayloadReader(transport, size) for _ in range(count)]
        for payload in crowd:
            payload.get_buffer()
        for payload in crowd:
            payload.close()
    assert receive._pool[BUFFER_SIZES[0]]
    assert kept()


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
