"""Uploads: small files in one message, large ones and streams in chunks that are confirmed one by one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from ftpc.connection import Connection
from ftpc.errors import ChangedError, FtpcError, IntegrityError, ProtocolError, RefusedError
from ftpc.files import LocalSource, PipeSource
from ftpc.progress import Item, Phase, Progress
from ftpd.payload.send import send_payload
from ftpd.payload.workers import Workers
from ftpd.wire.digests import Tree, chunk_count, hash_leaf, tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import CHUNKS_IN_FLIGHT, DIGEST_SIZE, MAX_STREAM_CHUNKS, MIN_CHUNK, SMALL_PUT, STREAM_CHUNK
from ftpd.wire.messages import Begin, Begun, Chunk, Commit, Confirmed, IfExists, Put, Stored


class Plan(NamedTuple):
    """Where an upload goes and what happens there."""

    remote: str
    if_exists: IfExists
    preserve: bool
    """Whether modification time and mode go along."""


async def upload_file(
    connection: Connection, source: LocalSource, plan: Plan, item: Item, progress: Progress
) -> Stored:
    """Send a local file. Cancelling is safe: the server drops what it has.

    Raises:
        ChangedError: the file changed while it was being sent.
        IntegrityError: what the server has is not what was sent.
        FtpcError: the server refused it, the connection is lost, the file can not be read.
    """
    try:
        with _integrity():
            if source.size <= SMALL_PUT:
                return await _put(connection, source, plan)
            return await _chunked(connection, source, plan, item, progress)
    except IntegrityError:
        source.check_unchanged()  # which would explain it
        raise


async def _put(connection: Connection, source: LocalSource, plan: Plan) -> Stored:
    data = memoryview(await source.read_all())
    tree = tree_of(data)
    source.check_unchanged()
    mtime, mtime_ns, mode = _metadata(source, plan)
    request = Put(
        filename=plan.remote,
        filesize=len(data),
        blake3=tree.leaf(0).hex(),  # of a file of one chunk, leaf and plain digest are the same
        if_exists=plan.if_exists,
        mtime=mtime,
        mtime_ns=mtime_ns,
        mode=mode,
    )
    await connection.send(request, data)
    stored = await connection.read_reply(Stored)
    _compare(stored, tree)
    return stored


async def _chunked(connection: Connection, source: LocalSource, plan: Plan, item: Item, progress: Progress) -> Stored:
    mtime, mtime_ns, mode = _metadata(source, plan)
    request = Begin(
        filename=plan.remote,
        filesize=source.size,
        if_exists=plan.if_exists,
        mtime=mtime,
        mtime_ns=mtime_ns,
        mode=mode,
    )
    begun = await connection.ask(request, Begun)
    if begun.skipped:
        return Stored(filename=plan.remote, filesize=source.size, skipped=True)
    _check(begun, connection, source.size)
    count = chunk_count(source.size, begun.chunk_size)
    leaves = bytearray()
    async with _confirming(connection, item, progress) as flight:
        hashing: asyncio.Task[bytes] | None = None
        try:
            for index in range(count):
                offset = index * begun.chunk_size
                size = min(begun.chunk_size, source.size - offset)
                leaf = await (hashing or source.leaf(offset, size))
                hashing = None
                if index + 1 < count:
                    rest = source.size - offset - size
                    hashing = asyncio.create_task(source.leaf(offset + size, min(begun.chunk_size, rest)))
                leaves += leaf
                await flight.announce(Chunk(upload=begun.upload, index=index, size=size, digest=leaf.hex()))
                with connection.errors(), _changes(source):
                    await send_payload(connection.channel, source, offset, size)
        finally:
            await _stop(hashing)
    source.check_unchanged()
    return await _commit(connection, begun, Tree(source.size, begun.chunk_size, bytes(leaves)), item, progress)


async def upload_stream(
    connection: Connection, source: PipeSource, plan: Plan, item: Item, progress: Progress, workers: Workers
) -> Stored:
    """Send a stream of unknown length. Cancelling is safe: the server drops what it has.

    Raises:
        FtpcError: as `upload_file` does.
    """
    with _integrity():
        return await _streamed(connection, source, plan, item, progress, workers)


async def _streamed(
    connection: Connection, source: PipeSource, plan: Plan, item: Item, progress: Progress, workers: Workers
) -> Stored:
    begun = await connection.ask(Begin(filename=plan.remote, if_exists=plan.if_exists), Begun)
    if begun.skipped:
        return Stored(filename=plan.remote, filesize=0, skipped=True)
    _check(begun, connection, None)
    leaves = bytearray()
    size = 0
    # One fills while the other is on its way.
    buffers = [memoryview(bytearray(begun.chunk_size)) for _ in range(2)]
    async with _confirming(connection, item, progress) as flight:
        filling: asyncio.Task[int] | None = asyncio.create_task(source.fill(buffers[0]))
        try:
            while filling is not None:
                index, data = len(leaves) // DIGEST_SIZE, buffers[0]
                count = await filling
                buffers.reverse()
                filling = asyncio.create_task(source.fill(buffers[0])) if count == begun.chunk_size else None
                if not count and index:
                    break
                leaf = await workers.disk(hash_leaf, data[:count])
                leaves += leaf
                size += count
                await flight.announce(Chunk(upload=begun.upload, index=index, size=count, digest=leaf.hex()))
                with connection.errors():
                    connection.channel.write(data[:count])
                    await connection.channel.drain()
        finally:
            await _stop(filling)
    item.total = size
    return await _commit(connection, begun, Tree(size, begun.chunk_size, bytes(leaves)), item, progress)


def _check(begun: Begun, connection: Connection, size: int | None) -> None:
    """Do not believe what can not be: a chunk size from the wire must not become memory or a loop of ours."""
    sane = begun.chunk_size == STREAM_CHUNK if size is None else begun.chunk_size >= MIN_CHUNK
    if not sane or chunk_count(size or 0, begun.chunk_size) > MAX_STREAM_CHUNKS:
        connection.is_usable = False
        raise ProtocolError(f"the server wants chunks of {begun.chunk_size} bytes, which makes no sense")


_NOTHING = Chunk(upload="", index=0, size=0, digest="")
"""Never sent: waiting for its confirmation tells how the connection ended."""


class _Flight:
    """Chunks that are announced but not confirmed, at most `CHUNKS_IN_FLIGHT`."""

    def __init__(self, connection: Connection, item: Item, progress: Progress) -> None:
        self._connection = connection
        self._item = item
        self._progress = progress
        self._room = asyncio.Semaphore(CHUNKS_IN_FLIGHT)
        self._announced: asyncio.Queue[Chunk | None] = asyncio.Queue()

    async def announce(self, chunk: Chunk) -> None:
        """Send the header of a chunk; its bytes follow. Waits while too many are unconfirmed."""
        await self._room.acquire()
        self._announced.put_nowait(chunk)
        await self._connection.send(chunk)

    def land(self) -> None:
        """Say that no more chunks will be announced."""
        self._announced.put_nowait(None)

    async def confirm(self) -> None:
        """Read the confirmations as they come."""
        while (chunk := await self._announced.get()) is not None:
            await self._connection.read_reply(Confirmed)
            self._room.release()
            self._item.done += chunk.size
            self._progress.update(self._item)

    async def watch(self) -> None:
        """Notice the end of the connection while nothing is on its way: what is to be sent may be long in coming."""
        await self._connection.channel.ended.wait()
        self._announced.put_nowait(_NOTHING)


@contextmanager
def _integrity() -> Iterator[None]:
    """Let the server's finding that bytes are damaged out as ours."""
    try:
        yield
    except RefusedError as exc:
        if exc.code == ErrorCode.INTEGRITY:
            raise IntegrityError(exc.message) from exc
        raise


@contextmanager
def _changes(source: LocalSource) -> Iterator[None]:
    """Let the finding that a file became shorter out as ours."""
    try:
        yield
    except FtpdError as exc:
        raise ChangedError(f"{source.path}: {exc.message}; nothing was stored") from exc


@asynccontextmanager
async def _confirming(connection: Connection, item: Item, progress: Progress) -> AsyncIterator[_Flight]:
    """Read confirmations while the block sends; the first error of either side ends both."""
    flight = _Flight(connection, item, progress)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(flight.confirm())
            watching = group.create_task(flight.watch())
            yield flight
            watching.cancel()
            flight.land()
    except BaseExceptionGroup as errors:
        connection.is_usable = False
        # The refusal is the cause; that the sending broke off as well is its consequence.
        for kind in (RefusedError, FtpcError, BaseException):
            found, _ = errors.split(kind)
            if found is not None:
                raise _first(found) from None
        raise


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _stop(task: asyncio.Task[bytes] | asyncio.Task[int] | None) -> None:
    """Cancel a task that works ahead, and wait until it has let go of its buffer and file."""
    if task is not None:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # looked at: what is being raised already says more


async def _commit(connection: Connection, begun: Begun, tree: Tree, item: Item, progress: Progress) -> Stored:
    item.phase = Phase.COMMITTING
    progress.update(item)
    request = Commit(upload=begun.upload, chunks=tree.leaf_count, root=tree.root)
    stored = await connection.ask(request, Stored)
    _compare(stored, tree)
    return stored


def _compare(stored: Stored, tree: Tree) -> None:
    if not stored.skipped and stored.root != tree.root:
        raise IntegrityError(
            f"{stored.filename}: the server stored something else (root {stored.root}, not {tree.root})"
        )


def _metadata(source: LocalSource, plan: Plan) -> tuple[int | None, int, int | None]:
    if not plan.preserve:
        return None, 0, None
    mtime, mtime_ns = divmod(source.mtime_ns, 1_000_000_000)
    return mtime, mtime_ns, source.mode
