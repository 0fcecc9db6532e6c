"""Uploads of streams of unknown length: in chunks as well, but what is sent can not be read again."""

import asyncio

from ftpc.connection import Connection
from ftpc.files import PipeSource
from ftpc.progress import Item, Phase, Progress
from ftpc.transfer.flight import Cargo, Flight, confirming
from ftpc.transfer.plan import Plan
from ftpc.transfer.replies import check_begun, check_name, check_root, integrity
from ftpc.transfer.shipment import commit
from ftpd.payload.workers import Workers
from ftpd.wire.digests import Tree, hash_leaf
from ftpd.wire.limits import DIGEST_SIZE
from ftpd.wire.replies import Begun, Stored
from ftpd.wire.requests import Begin, Chunk


async def upload_stream(
    connection: Connection, source: PipeSource, plan: Plan, item: Item, progress: Progress, workers: Workers
) -> Stored:
    """Send a stream of unknown length. Cancelling is safe: the server drops what it has.

    Raises:
        FtpcError: as `upload_file` does.
    """
    with integrity():
        return await _streamed(connection, source, plan, item, progress, workers)


async def _streamed(
    connection: Connection, source: PipeSource, plan: Plan, item: Item, progress: Progress, workers: Workers
) -> Stored:
    begun = await connection.ask(Begin(filename=plan.remote, if_exists=plan.if_exists), Begun)
    if begun.skipped:
        return Stored(filename=plan.remote, filesize=0, skipped=True)
    check_begun(begun, connection, None)
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
    check_root(stored, tree)
    check_name(stored, plan)
    return stored


async def _stop(task: asyncio.Task[bytes] | asyncio.Task[int] | None) -> None:
    """Cancel a task that works ahead, and wait until it has let go of its buffer and file."""
    if task is not None:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # looked at: what is being raised already says more
