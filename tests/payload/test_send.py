"""Sending: the same bytes and the same digest whether the kernel sends a file or we copy it."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

import pytest

from ftpd.payload.files import FileSource
from ftpd.payload.send import WINDOW, Outlet, open_outlet, send_payload
from ftpd.payload.workers import Workers
from ftpd.wire.digests import Buffer, Digest, TreeHasher, chunk_size_for, tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MIB
from tests.payload.conftest import PATIENCE_S, Ends
from tests.payload.helpers import eventually, some_bytes


class CopiedSource(FileSource):
    """A file that the kernel can not send by itself, as with an object store."""

    def file(self) -> FileIO | None:
        """Give none."""
        return None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to send."""
    return tmp_path / "file"


@pytest.fixture(params=[FileSource, CopiedSource], ids=["sendfile", "copy"])
def source(request: pytest.FixtureRequest, path: Path, workers: Workers) -> Iterator[FileSource]:
    """The file, in each of the ways it can be sent (over TLS both are copied)."""
    path.touch()
    with FileIO(path, "rb") as file:
        yield request.param(file, workers)


def fill(path: Path, data: bytes) -> None:
    """Make a file."""
    path.write_bytes(data)


def make_sparse(path: Path, size: int) -> None:
    """Make a file that is one hole: it uses no space."""
    path.touch()
    os.truncate(path, size)


SIZES = [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 5]


@pytest.mark.parametrize("has_digest", [True, False], ids=["hashing", "plain"])
@pytest.mark.parametrize("size", SIZES)
async def test_a_file_is_sent_whole(
    ends: Ends,
    path: Path,
    source: FileSource,
    size: int,
    has_digest: bool,  # noqa: FBT001 (a column)
) -> None:
    """The peer gets the file's bytes, between those written before and after it, and the digest is right."""
    data = some_bytes(size)
    fill(path, data)
    hasher = TreeHasher(chunk_size_for(size)) if has_digest else None
    async with asyncio.timeout(PATIENCE_S):
        reading = asyncio.create_task(ends.reader.readexactly(size + 8))
        ends.channel.write(b"<<<<")
        await send_payload(ends.channel, source, 0, size, hasher)
        ends.channel.write(b">>>>")
        await ends.channel.drain()
        assert b"<<<<" + data + b">>>>" == await reading
    assert hasher is None or tree_of(data) == hasher.finish()


@pytest.mark.parametrize(("offset", "size"), [(1, 1), (WINDOW - 1, 2), (3, WINDOW + 7), (WINDOW, MIB), (7, 0)])
async def test_a_range_is_sent(ends: Ends, path: Path, source: FileSource, offset: int, size: int) -> None:
    """Exactly the bytes of the range are sent and fed to the digest."""
    data = some_bytes(WINDOW + 2 * MIB)
    fill(path, data)
    expected, hasher = data[offset : offset + size], TreeHasher(chunk_size_for(size))
    async with asyncio.timeout(PATIENCE_S):
        reading = asyncio.create_task(ends.reader.readexactly(size))
        await send_payload(ends.channel, source, offset, size, hasher)
        assert expected == await reading
    assert tree_of(expected) == hasher.finish()


@pytest.mark.parametrize("has_digest", [True, False], ids=["hashing", "plain"])
async def test_a_file_that_shrinks_is_noticed(
    ends: Ends,
    path: Path,
    source: FileSource,
    has_digest: bool,  # noqa: FBT001 (a column)
) -> None:
    """A file that is cut while it is sent is `changed`: the frame is not filled up with anything else."""
    size = 64 * MIB
    make_sparse(path, size)
    hasher = TreeHasher(chunk_size_for(size)) if has_digest else None
    async with asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(send_payload(ends.channel, source, 0, size, hasher))
        first = await ends.reader.read(1)
        os.truncate(path, 10)
        reading = asyncio.create_task(ends.reader.read())
        with pytest.raises(FtpdError) as caught:
            await sending
        ends.channel.abort()
        with contextlib.suppress(ConnectionError):
            assert len(first + await reading) < size
    assert ErrorCode.CHANGED is caught.value.code


async def test_a_lost_peer_is_a_connection_error(ends: Ends, path: Path, source: FileSource) -> None:
    """A peer that goes away while a file is sent is a `ConnectionError`."""
    make_sparse(path, 64 * MIB)
    async with asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(send_payload(ends.channel, source, 0, 64 * MIB))
        await ends.reader.read(MIB)
        ends.writer.transport.abort()
        with pytest.raises(ConnectionError):
            await sending


async def test_a_closed_channel_is_a_connection_error(ends: Ends, path: Path, source: FileSource) -> None:
    """Sending on a connection that was closed is a `ConnectionError`."""
    fill(path, some_bytes(3 * WINDOW))
    ends.channel.abort()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionError):
            await send_payload(ends.channel, source, 0, 3 * WINDOW)


class SlowSource(FileSource):
    """A file on a disk that takes as long as the test says."""

    def __init__(self, file: FileIO, workers: Workers) -> None:
        super().__init__(file, workers)
        self.go_on = threading.Event()
        self.at_work = 0

    async def load(self, offset: int, size: int, digest: Digest | None, *, copy: bool) -> Buffer | None:
        """Wait in a thread, then load."""
        if offset:
            await self.workers.disk(self._wait)
        return await super().load(offset, size, digest, copy=copy)

    async def feed(self, offset: int, size: int, take: Callable[[memoryview], bool], most: int) -> int:
        """Wait in a thread, then read."""
        await self.workers.disk(self._wait)
        return await super().feed(offset, size, take, most)

    def _wait(self) -> None:
        self.at_work += 1
        self.go_on.wait(PATIENCE_S)
        self.at_work -= 1


@pytest.mark.parametrize("is_stuck", [True, False], ids=["peer-stuck", "peer-reads"])
async def test_cancelling_waits_for_the_thread(
    ends: Ends,
    path: Path,
    workers: Workers,
    is_stuck: bool,  # noqa: FBT001 (a column)
) -> None:
    """When a cancelled `send_payload` returns no thread uses the file any more, so that it can be closed.

    Cancelled where it waits for the peer, and where it waits for the disk.
    """
    fill(path, some_bytes(3 * WINDOW))
    if is_stuck:  # hardly more than a window fits into the kernel's smallest buffers
        ends.writer.transport.pause_reading()  # type: ignore[attr-defined] # typed as one that only writes
        ends.channel.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        ends.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with FileIO(path, "rb") as file:
        source = SlowSource(file, workers)
        loads_ahead = not (is_stuck and ends.is_encrypted)
        if not loads_ahead:
            source.go_on.set()
        async with asyncio.timeout(PATIENCE_S):
            sending = asyncio.create_task(send_payload(ends.channel, source, 0, 3 * WINDOW))
            if loads_ahead:
                await eventually(lambda: source.at_work, "the thread works")
            else:  # what is encrypted by the thread is read when it can be sent
                await eventually(ends.channel.writer.transport.get_write_buffer_size, "the peer is stuck")
            if not is_stuck and not ends.is_encrypted:
                await ends.reader.readexactly(WINDOW)
            sending.cancel()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not (loads_ahead and sending.done())
            source.go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await sending
        assert 0 == source.at_work


async def test_the_next_window_is_loaded_while_one_is_sent(ends: Ends, path: Path, source: FileSource) -> None:
    """While a slow peer takes one window the next is read and hashed, and no more than that."""
    size = 16 * WINDOW
    make_sparse(path, size)
    hasher = TreeHasher(chunk_size_for(size))
    async with asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(send_payload(ends.channel, source, 0, size, hasher))
        got = 0
        while got < size:
            data = await ends.reader.read(MIB)
            assert data
            got += len(data)
        await sending
    assert size == hasher.size


async def through(outlet: Outlet, workers: Workers, work: Callable[[], None]) -> None:
    """Send from a thread."""
    with contextlib.closing(outlet):
        await workers.send(work, outlet.stop)


@pytest.mark.parametrize("size", [0, 1, 5 * MIB])
async def test_a_thread_sends(ends: Ends, path: Path, workers: Workers, size: int) -> None:
    """What a thread sends arrives whole and in order, and the event loop can send after it."""
    fill(path, b"?" + some_bytes(size) + b"?")
    outlet = open_outlet(ends.channel)

    def work() -> None:
        outlet.send(b"<<<<")
        with path.open("rb") as file:
            outlet.send_file(file.fileno(), 1, size)
        outlet.send(b">>")

    async with asyncio.timeout(PATIENCE_S):
        reading = asyncio.create_task(ends.reader.readexactly(size + 8))
        await through(outlet, workers, work)
        ends.channel.write(b">>")
        await ends.channel.drain()
        assert b"<<<<" + some_bytes(size) + b">>>>" == await reading


async def test_a_thread_notices_a_file_that_shrinks(ends: Ends, path: Path, workers: Workers) -> None:
    """A range that is not there any more is `changed`."""
    fill(path, b"short")
    outlet = open_outlet(ends.channel)
    with path.open("rb") as file, pytest.raises(FtpdError) as caught:
        await through(outlet, workers, lambda: outlet.send_file(file.fileno(), 0, 6))
    assert caught.value.code is ErrorCode.CHANGED


async def test_a_thread_notices_a_lost_peer(ends: Ends, workers: Workers) -> None:
    """Sending to somebody who is gone is a `ConnectionError`, however much the kernel would have taken."""
    outlet = open_outlet(ends.channel)

    def work() -> None:
        while True:
            outlet.send(bytes(MIB))

    ends.writer.transport.abort()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionError):
            await through(outlet, workers, work)


async def test_a_thread_that_waits_is_called_back(ends: Ends, workers: Workers) -> None:
    """Cancelling ends a thread whose peer takes nothing, and the event loop has been free meanwhile."""
    outlet, sent = open_outlet(ends.channel), 0

    def work() -> None:
        nonlocal sent
        while True:
            outlet.send(bytes(MIB))
            sent += 1

    async with asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(through(outlet, workers, work))
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)  # long enough for another MiB if there were room
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert 0 < sent == before


async def test_a_thread_whose_peer_goes_on_reading_is_called_back(ends: Ends, workers: Workers) -> None:
    """Cancelling also ends a thread that never has to wait for long."""
    outlet, begun = open_outlet(ends.channel), asyncio.Event()

    async def take() -> None:
        while await ends.reader.read(MIB):
            begun.set()

    def work() -> None:
        while True:
            outlet.send(bytes(MIB))

    async with asyncio.timeout(PATIENCE_S):
        taking = asyncio.create_task(take())
        sending = asyncio.create_task(through(outlet, workers, work))
        await begun.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        taking.cancel()
        await asyncio.wait((taking,))
