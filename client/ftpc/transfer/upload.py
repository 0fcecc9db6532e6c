"""Uploads: small files in one message, large ones and streams in chunks that are confirmed one by one."""

from contextlib import suppress

from ftpc.connection import Connection
from ftpc.errors import DamagedError, IntegrityError, RefusedError
from ftpc.files import LocalSource
from ftpc.progress import Item, Phase, Progress
from ftpc.transfer.compare import ask_for_tree, compare
from ftpc.transfer.flight import Cargo
from ftpc.transfer.plan import Plan
from ftpc.transfer.replies import check_begun, check_name, check_root, integrity, misheard
from ftpc.transfer.shipment import (
    LONG_REPLY,
    Shipment,
    check_versions,
    commit,
    dropping,
    is_same,
    tree_known,
)
from ftpc.upload_job import UploadJob
from ftpd.wire.digests import chunk_count, size_of_chunk, tree_of
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import SMALL_FILE, SMALL_PUT
from ftpd.wire.replies import Begun, Done, Status, Stored
from ftpd.wire.requests import Abort, Begin, Put, Stat
from ftpd.wire.terms import IfExists

QUICK = 2**30
"""Bytes that are compared in seconds. To compare more takes so long that a round trip of a long path is nothing."""


async def find_same(
    connection: Connection, source: LocalSource, plan: Plan, job: UploadJob, item: Item, progress: Progress
) -> Stored | None:
    """Give what the server has under the name, if it is the same. On a long path `upload_file` asks, and opens at once.

    It may take longer than the server waits for a request: then `upload_file` needs another connection. Cancelling is
    safe.

    Raises:
        FtpcError: as `upload_file`.
    """
    opens_at_once = connection.channel.is_far and source.size <= QUICK
    if opens_at_once or not _may_be_there(connection, source, plan, job):
        return None
    await ask_for_tree(connection, plan.remote)
    return await _compare(connection, source, plan, job, item, progress)


async def drop(connection: Connection, remote: str, size: int, upload: str) -> None:
    """Have the server drop what it has of an upload. It belongs to the connection that has taken it up.

    Raises:
        FtpcError: it has none such, or can not be told.
    """
    # Whatever has the name by now is no reason to refuse: nothing is going to be stored.
    await connection.ask(Begin(filename=remote, filesize=size, upload=upload, if_exists=IfExists.RENAME), Begun)
    await connection.ask(Abort(upload=upload), Done)


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
        with integrity(), misheard(plan):
            if source.size > SMALL_PUT:
                return await _chunked(connection, source, plan, job, item, progress)
            same = None
            if _may_be_there(connection, source, plan, job):
                await ask_for_tree(connection, plan.remote)
                same = await _compare(connection, source, plan, job, item, progress)
            if same is not None:
                return same
            stored = await _put(connection, source, plan)
            item.moved += 0 if stored.skipped else source.size
            return stored
    except IntegrityError:
        source.check_unchanged()  # which would explain it
        raise


def _may_be_there(connection: Connection, source: LocalSource, plan: Plan, job: UploadJob) -> bool:
    """Tell whether it is worth asking if the server has the file already.

    On a long path a small one is there before an answer could be.
    """
    is_quick = source.size <= SMALL_FILE and connection.channel.is_far
    return plan.if_exists is IfExists.OVERWRITE and job.upload is None and not job.is_needed and not is_quick


async def _compare(
    connection: Connection, source: LocalSource, plan: Plan, job: UploadJob, item: Item, progress: Progress
) -> Stored | None:
    """Give what is there, if it is the same. If it is not, no later try looks again: that may take very long."""
    found = await compare(connection, source, item, progress, preserve=plan.preserve)
    if found is None:
        job.is_needed = True
        return None
    return Stored(filename=plan.remote, filesize=found.filesize, root=found.root, skipped=True)


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
    check_root(stored, tree)
    check_name(stored, plan)
    return stored


async def _chunked(
    connection: Connection, source: LocalSource, plan: Plan, job: UploadJob, item: Item, progress: Progress
) -> Stored:
    shipment = Shipment(source, job, Cargo(item, progress))
    async with shipment.more_connections(connection, plan.pool):
        begun = await _open(connection, source, plan, job, (item, progress))
        if isinstance(begun, Stored):
            return begun
        there = await _find_there(source, job, begun)
        item.done = item.resumed = sum(size_of_chunk(source.size, begun.chunk_size, index) for index in there)
        progress.update(item)
        count = chunk_count(source.size, begun.chunk_size)
        shipment.load((index for index in range(count) if index not in there), count)
        stored = None
        if begun.lease is not None:
            shipment.let_join(begun.lease)
        if shipment.is_far and begun.lease is not None:
            stored = await shipment.send_and_commit(connection)
        if stored is None:
            await shipment.send(connection)
            await check_versions(source, job)
            item.phase = Phase.COMMITTING
            progress.update(item)
            with dropping(job):
                stored = await commit(connection, begun.upload, shipment.tree)
    check_root(stored, shipment.tree)
    check_name(stored, plan)
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


async def _open(
    connection: Connection, source: LocalSource, plan: Plan, job: UploadJob, view: tuple[Item, Progress]
) -> Begun | Stored:
    """Open the upload, unless the server has the file already."""
    if not _may_be_there(connection, source, plan, job):
        return await _begin(connection, source, plan, job)
    # Both at once: on a long path a round trip costs more than an upload that is dropped again.
    await ask_for_tree(connection, plan.remote)
    await connection.send(_request_to_begin(source, plan, job))
    same = await _compare(connection, source, plan, job, *view)
    if same is None:
        return await _read_begun(connection, source, plan, job)
    with suppress(RefusedError):
        begun = await _read_begun(connection, source, plan, job)
        if isinstance(begun, Begun):
            await connection.ask(Abort(upload=begun.upload), Done)
    return same


async def _begin(connection: Connection, source: LocalSource, plan: Plan, job: UploadJob) -> Begun | Stored:
    """Open the upload, or go on with the one that the job knows of if the server still has it.

    Gives what is stored if that one has been published, and only the reply that said so was lost.
    """
    await connection.send(_request_to_begin(source, plan, job))
    try:
        return await _read_begun(connection, source, plan, job)
    except RefusedError as exc:
        if job.upload is None or exc.code != ErrorCode.UNKNOWN_UPLOAD:
            raise
    if await _is_published(connection, source, plan, job):
        return Stored(filename=plan.remote, filesize=source.size, root=tree_known(source, job).root)
    job.upload = None
    await connection.send(_request_to_begin(source, plan, job))
    return await _read_begun(connection, source, plan, job)


def _request_to_begin(source: LocalSource, plan: Plan, job: UploadJob) -> Begin:
    mtime, mtime_ns, mode = _metadata(source, plan)
    return Begin(
        filename=plan.remote,
        filesize=source.size,
        upload=job.upload,
        if_exists=plan.if_exists,
        mtime=mtime,
        mtime_ns=mtime_ns,
        mode=mode,
    )


async def _read_begun(connection: Connection, source: LocalSource, plan: Plan, job: UploadJob) -> Begun | Stored:
    async with connection.patience(LONG_REPLY):
        begun = await connection.read_reply(Begun)
    if begun.skipped:
        return Stored(filename=plan.remote, filesize=source.size, skipped=True)
    check_begun(begun, connection, source.size)
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


def _metadata(source: LocalSource, plan: Plan) -> tuple[int | None, int, int | None]:
    if not plan.preserve:
        return None, 0, None
    mtime, mtime_ns = divmod(source.mtime_ns, 1_000_000_000)
    return mtime, mtime_ns, source.mode
