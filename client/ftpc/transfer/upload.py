"""Uploads: small files in one message, large ones and streams in chunks that are confirmed one by one."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ftpc.connection import Connection
from ftpc.errors import DamagedError, GarbledError, IntegrityError, RefusedError
from ftpc.files import LocalSource, PipeSource
from ftpc.progress import Item, Phase, Progress
from ftpc.transfer.compare import find_identical
from ftpc.transfer.flight import Cargo, Flight, confirming
from ftpc.transfer.shipment import (
    LONG_REPLY,
    MISHEARD,
    Shipment,
    check_versions,
    commit,
    dropping,
    is_same,
    tree_known,
)
from ftpc.transfer.streams import Streams
from ftpc.upload_job import UploadJob
from ftpd.payload.workers import Workers
from ftpd.wire.digests import Tree, chunk_count, hash_leaf, size_of_chunk, tree_of
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import DIGEST_SIZE, MAX_STREAM_CHUNKS, MIN_CHUNK, SMALL_FILE, SMALL_PUT, STREAM_CHUNK
from ftpd.wire.messages import Begin, Begun, Chunk, IfExists, Put, Stat, Status, Stored


class Plan(NamedTuple):
    """Where an upload goes and what happens there."""

    remote: str
    if_exists: IfExists
    preserve: bool
    """Whether modification time and mode go along."""
    streams: Streams | None = None
    """How to get more connections for it."""


async def upload_file(
    connection: Connection, source: LocalSource, plan: Plan, job: UploadJob, item: Item, progress: Progress
) -> Stored:
    """Send a local file, or what the server does not have of it yet. Cancelling is safe: `job` knows how to go on.

    What the server has under that name already, byte by byte, is not sent again: then the reply says `skipped`, and
    has a root.

    Raises:
        ChangedError: the file changed while it was being sent.
        IntegrityError: what the server has is not what was sent.
        FtpcError: the server refused it, the connection is lost, the file can not be read.
    """
    try:
        with _integrity(), _misheard(plan):
            if plan.if_exists is IfExists.OVERWRITE and source.size > SMALL_FILE and job.upload is None:
                preserve = plan.preserve
                same = await find_identical(connection, source, plan.remote, item, progress, preserve=preserve)
                if same is not None:
                    return same
            if source.size <= SMALL_PUT:
                return await _put(connection, source, plan)
            return await _chunked(connection, source, plan, job, item, progress)
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
    async with connection.patience():
        stored = await connection.read_reply(Stored)
    _compare(stored, tree)
    _check_name(stored, plan)
    return stored


async def _chunked(
    connection: Connection, source: LocalSource, plan: Plan, job: UploadJob, item: Item, progress: Progress
) -> Stored:
    shipment = Shipment(source, job, Cargo(item, progress))
    async with shipment.more_connections(connection, plan.streams):
        begun = await _begin(connection, source, plan, job)
        if begun is None:
            return Stored(filename=plan.remote, filesize=source.size, root=shipment.tree.root)
        if begun.skipped:
            return Stored(filename=plan.remote, filesize=source.size, skipped=True)
        there = await _find_there(source, job, begun)
        item.done = item.resumed = sum(size_of_chunk(source.size, begun.chunk_size, index) for index in there)
        progress.update(item)
        count = chunk_count(source.size, begun.chunk_size)
        shipment.load((index for index in range(count) if index not in there), count)
        stored = None
        if shipment.is_far and begun.lease is not None:
            stored = await shipment.send_and_commit(connection, begun.lease)
        if stored is None:
            await shipment.send(connection)
            await check_versions(source, job)
            item.phase = Phase.COMMITTING
            progress.update(item)
            with dropping(job):
                stored = await commit(connection, begun.upload, shipment.tree)
    _compare(stored, shipment.tree)
    _check_name(stored, plan)
    return stored


async def _find_there(source: LocalSource, job: UploadJob, begun: Begun) -> set[int]:
    """Find the chunks that need not be sent."""
    count = chunk_count(source.size, begun.chunk_size)
    there = {index for first, last in begun.have for index in range(first, min(last + 1, count))}
    if job.has_changed:
        # Whatever is still the same has the same digest. The rest is sent in its place.
        there = {index for index in there if await is_same(source, job, index)}
        job.has_changed = False
    return there & job.leaves.keys()  # of others nobody here knows what they should be


async def _begin(connection: Connection, source: LocalSource, plan: Plan, job: UploadJob) -> Begun | None:
    """Open the upload, or go on with the one that the job knows of if the server still has it.

    Gives None if that one has been published, and only the reply that said so was lost.
    """
    mtime, mtime_ns, mode = _metadata(source, plan)
    request = Begin(
        filename=plan.remote,
        filesize=source.size,
        upload=job.upload,
        if_exists=plan.if_exists,
        mtime=mtime,
        mtime_ns=mtime_ns,
        mode=mode,
    )
    try:
        async with connection.patience(LONG_REPLY):
            begun = await connection.ask(request, Begun)
    except RefusedError as exc:
        if job.upload is None or exc.code != ErrorCode.UNKNOWN_UPLOAD:
            raise
        if await _is_published(connection, source, plan, job):
            return None
        job.upload = request.upload = None
        async with connection.patience():
            begun = await connection.ask(request, Begun)
    if begun.skipped:
        return begun
    _check(begun, connection, source.size)
    if begun.filename not in {plan.remote, ""}:
        connection.is_usable = False  # which drops what it has begun
        raise DamagedError(f"{plan.remote}: the server has understood {begun.filename}")
    if begun.upload != job.upload or begun.chunk_size != job.chunk_size:
        job.begin(begun.upload, begun.chunk_size)
    return begun


async def _is_published(connection: Connection, source: LocalSource, plan: Plan, job: UploadJob) -> bool:
    if job.has_changed or len(job.leaves) < chunk_count(source.size, job.chunk_size):
        return False
    try:
        async with connection.patience():
            status = await connection.ask(Stat(filename=plan.remote), Status)
    except RefusedError:
        return False
    return status.root == tree_known(source, job).root


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
    flight = Flight(connection, Cargo(item, progress, tries=1))
    async with confirming(flight, connection):
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
                await flight.room()
                chunk = Chunk(upload=begun.upload, index=index, size=count, digest=leaf.hex())
                flight.announce(chunk)
                await connection.send(chunk)
                with connection.errors():
                    connection.channel.write(data[:count])
                    await connection.channel.drain()
        finally:
            await _stop(filling)
    item.total = size
    item.phase = Phase.COMMITTING
    progress.update(item)
    tree = Tree(size, begun.chunk_size, bytes(leaves))
    stored = await commit(connection, begun.upload, tree)
    _compare(stored, tree)
    _check_name(stored, plan)
    return stored


def _check(begun: Begun, connection: Connection, size: int | None) -> None:
    """Do not believe what can not be: a chunk size from the wire must not become memory or a loop of ours."""
    sane = begun.chunk_size == STREAM_CHUNK if size is None else begun.chunk_size >= MIN_CHUNK
    end = 0
    for first, last in begun.have if sane else ():
        sane = sane and end <= first <= last < chunk_count(size or 0, begun.chunk_size)
        end = last + 1
    if not sane or chunk_count(size or 0, begun.chunk_size) > MAX_STREAM_CHUNKS:
        connection.is_usable = False
        raise GarbledError(f"the server wants chunks of {begun.chunk_size} bytes, or has some, which makes no sense")


@contextmanager
def _integrity() -> Iterator[None]:
    """Let the server's finding that bytes are damaged out as ours."""
    try:
        yield
    except RefusedError as exc:
        if exc.code == ErrorCode.INTEGRITY:
            raise DamagedError(exc.message) from exc
        raise


@contextmanager
def _misheard(plan: Plan) -> Iterator[None]:
    """Let refusals of what we have not said out as damage: saying it again may help."""
    try:
        yield
    except RefusedError as exc:
        if exc.code in MISHEARD:
            raise DamagedError(f"{plan.remote}: the server heard something else than was said: {exc.message}") from exc
        raise


async def _stop(task: asyncio.Task[bytes] | asyncio.Task[int] | None) -> None:
    """Cancel a task that works ahead, and wait until it has let go of its buffer and file."""
    if task is not None:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # looked at: what is being raised already says more


def _compare(stored: Stored, tree: Tree) -> None:
    if not stored.skipped and stored.root != tree.root:
        raise DamagedError(f"{stored.filename}: the server stored something else (root {stored.root}, not {tree.root})")


def _check_name(stored: Stored, plan: Plan) -> None:
    if stored.filename != plan.remote and plan.if_exists is not IfExists.RENAME:
        raise DamagedError(f"{plan.remote}: the server has stored it as {stored.filename}")


def _metadata(source: LocalSource, plan: Plan) -> tuple[int | None, int, int | None]:
    if not plan.preserve:
        return None, 0, None
    mtime, mtime_ns = divmod(source.mtime_ns, 1_000_000_000)
    return mtime, mtime_ns, source.mode
