"""Reading payload in the thread that uses it: the same bytes, whoever reads them and however they come."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from ftpd.payload import direct
from ftpd.payload.channel import Channel
from ftpd.payload.direct import PEEK_SIZE, READ_SIZE, Stretch
from ftpd.payload.receive import PayloadReader
from ftpd.payload.workers import Workers
from ftpd.wire.limits import KIB, MIB
from tests.payload.conftest import PATIENCE_S, Ends, frame
from tests.payload.helpers import next_frame, some_bytes


@pytest.fixture(autouse=True)
async def _limit() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE_S):
        yield


async def begin(channel: Channel, size: int) -> PayloadReader:
    """Read a header, and begin with its payload."""
    length = await channel.read_length()
    assert length is not None
    await channel.read_exactly(length)
    return await channel.receive(size, directly=True)


async def next_stretch(payload: PayloadReader) -> Stretch:
    """Give the next bytes."""
    first = await payload.next()
    assert first is not None
    return Stretch(first, payload)


async def use(stretch: Stretch, workers: Workers) -> bytes:
    """Take in a thread what a stretch gives there."""
    return await workers.disk(lambda: b"".join(bytes(piece) for piece in stretch))


async def rest_of(payload: PayloadReader, workers: Workers) -> bytes:
    """Take all that is left of a payload, and close it."""
    data = bytearray()
    while (first := await payload.next()) is not None:
        data += await use(Stretch(first, payload), workers)
    payload.close()
    return bytes(data)


async def send(ends: Ends, *pieces: bytes) -> None:
    """Send what the kernel need not have room for."""
    for piece in pieces:
        ends.writer.write(piece)
        await ends.writer.drain()


@pytest.mark.parametrize("size", [1, 300 * KIB, READ_SIZE + 1, 3 * READ_SIZE])
async def test_a_payload_arrives_whole_and_the_next_frame_after_it(ends: Ends, workers: Workers, size: int) -> None:
    """A payload is the same through the thread, through the loop (TLS) and mixed, and the next frame is untouched."""
    data = some_bytes(size)
    sending = asyncio.create_task(send(ends, frame(b"header", data) + frame(b"next", b"xyz")))
    assert data == await rest_of(await begin(ends.channel, size), workers)
    assert (b"next", b"xyz") == await next_frame(ends.channel, 3)
    await sending


async def test_a_thread_does_not_wait_for_a_slow_peer(ends: Ends, workers: Workers) -> None:
    """What is not there yet is waited for by the event loop; the thread comes back with what there is."""
    data = some_bytes(2 * MIB)
    await send(ends, frame(b"header", data[:MIB]))
    payload = await begin(ends.channel, len(data))
    taken = b""
    while len(taken) < MIB:
        taken += await use(await next_stretch(payload), workers)
    assert data[:MIB] == taken
    await send(ends, data[MIB:])
    assert data[MIB:] == await rest_of(payload, workers)


async def test_others_have_their_turn(ends: Ends, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread gives up after `TURN_BYTES` although there is more, and nothing is lost by that."""
    monkeypatch.setattr(direct, "TURN_BYTES", READ_SIZE)
    data = some_bytes(8 * READ_SIZE)
    sending = asyncio.create_task(send(ends, frame(b"header", data)))
    payload = await begin(ends.channel, len(data))
    stretch = await next_stretch(payload)
    there = len(stretch.first)
    taken = await use(stretch, workers)
    assert len(taken) <= there + READ_SIZE
    assert data == taken + await rest_of(payload, workers)
    await sending


@pytest.mark.parametrize("place", [400 * KIB, 3 * MIB])
async def test_a_connection_cut_inside_a_payload_is_an_error(ends: Ends, workers: Workers, place: int) -> None:
    """What came before the cut is given out, then a `ConnectionError`, also when a thread met the end."""
    data = some_bytes(place)
    await send(ends, frame(b"header", data))
    ends.writer.close()
    payload = await begin(ends.channel, 4 * MIB)
    taken = bytearray()

    async def take() -> None:
        while True:
            taken.extend(await use(await next_stretch(payload), workers))

    with pytest.raises(ConnectionError):
        await take()
    payload.close()
    assert data.startswith(bytes(taken))
    assert ends.is_encrypted or data == taken


async def test_a_descriptor_is_not_kept(ends: Ends, workers: Workers) -> None:
    """The thread's own descriptor of the socket is closed with the payload."""
    await send(ends, frame(b"header", bytes(MIB)))
    payload = await begin(ends.channel, 2 * MIB)
    sock = payload.sock
    assert sock is not None
    await use(await next_stretch(payload), workers)
    payload.close()
    assert sock.fileno() == -1


SIZE = 2 * MIB
FIRST, SECOND = some_bytes(SIZE, b"first"), some_bytes(SIZE, b"second")


async def follow(stretch: Stretch, workers: Workers, accept: Callable[[bytes], int | None]) -> tuple[bytes, bool]:
    """Take all of a stretch and go on with the next frame, in one turn of a thread."""

    def work() -> tuple[bytes, bool]:
        data = b"".join(bytes(piece) for piece in stretch)
        return data, stretch.follow(accept)

    return await workers.disk(work)


@pytest.fixture
async def stretch(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> Stretch:
    """The beginning of a frame, from a connection that a thread may read from; a frame may take its time."""
    monkeypatch.setattr(direct, "TURN_WAIT_MS", PATIENCE_S * 1000)
    ends.writer.write(frame(b"header", FIRST))
    return await next_stretch(await begin(ends.channel, SIZE))


async def test_a_thread_goes_on_with_the_next_frame(ends: Ends, stretch: Stretch, workers: Workers) -> None:
    """If the next header is accepted, what the stretch gives next is its payload."""
    seen = []

    def accept(header: bytes) -> int:
        seen.append(header)
        return SIZE

    sending = asyncio.create_task(send(ends, frame(b"second", SECOND) + frame(b"last")))
    assert (FIRST, True) == await follow(stretch, workers, accept)
    assert (b"second", SECOND) == (seen[0], await use(stretch, workers))
    stretch._payload.close()
    assert (b"last", b"") == await next_frame(ends.channel, 0)
    await sending


@pytest.mark.parametrize("cut", [0, 3, 4, 9], ids=["nothing", "part of the length", "the length", "part of the header"])
async def test_a_frame_that_is_not_accepted_stays(
    ends: Ends, stretch: Stretch, workers: Workers, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """A header that is refused, or not all there, is left to whoever reads the next frame."""
    second = frame(b"second", b"xyz")
    if cut == 0:
        monkeypatch.setattr(stretch._patience, "left_ms", 0)
    ends.writer.write(second[:cut])
    data = b""
    while len(data) < SIZE:
        data += await use(stretch, workers)
    assert (b"", False) == await follow(stretch, workers, lambda _: 3)
    ends.writer.write(second[cut:])
    assert (b"", False) == await follow(stretch, workers, lambda _: None)
    stretch._payload.close()
    assert (FIRST, b"second", b"xyz") == (data, *await next_frame(ends.channel, 3))


@pytest.mark.parametrize("length", [0, -1, 2**31 - 1, PEEK_SIZE])
async def test_a_frame_that_makes_no_sense_stays(ends: Ends, stretch: Stretch, workers: Workers, length: int) -> None:
    """A length out of bounds, or a header that is larger than usual, is left to whoever reads the next frame."""
    ends.writer.write(length.to_bytes(4, "little", signed=True) + bytes(PEEK_SIZE))
    assert (FIRST, False) == await follow(stretch, workers, lambda _: 3)
    stretch._payload.close()
    assert length.to_bytes(4, "little", signed=True) == await ends.channel.read_exactly(4)


async def test_where_the_loop_was_last_it_reads_on(ends: Ends, workers: Workers) -> None:
    """Where the loop has read the last bytes of a payload it reads the next frame as well, and no thread does."""
    await send(ends, frame(b"header", FIRST[:MIB]))
    payload = await begin(ends.channel, SIZE)
    data = b""
    while len(data) < MIB:
        data += await use(await next_stretch(payload), workers)
    giving = asyncio.create_task(payload.next())
    await asyncio.sleep(0)  # from here on the loop reads
    await send(ends, FIRST[MIB:] + frame(b"second"))
    first = await giving
    assert first is not None
    assert payload.sock is None  # or the two would race for what comes next
    rest, goes_on = await follow(Stretch(first, payload), workers, lambda _: 0)
    assert (FIRST, False) == (data + rest, goes_on)
    payload.close()
    assert (b"second", b"") == await next_frame(ends.channel, 0)
