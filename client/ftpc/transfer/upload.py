"""Uploads: small files in one message, large ones and streams in chunks that are confirmed one by one."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from typing import NamedTuple

from ftpc.connection import Connection
from ftpc.errors import ChangedError, DamagedError, FtpcError, GarbledError, IntegrityError, RefusedError
from ftpc.files import LocalSource, PipeSource
from ftpc.progress import Item, Phase, Progress
from ftpc.transfer.compare import find_identical
from ftpc.transfer.tasks import first_of
from ftpc.upload_job import UploadJob
from ftpd.payload.send import open_outlet
from ftpd.payload.workers import Workers
from ftpd.wire.digests import Tree, chunk_count, hash_leaf, size_of_chunk, tree_of
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import (
    CHUNKS_IN_FLIGHT,
    DIGEST_SIZE,
    MAX_STREAM_CHUNKS,
    MIN_CHUNK,
    SMALL_FILE,
    SMALL_PUT,
    STREAM_CHUNK,
)
from ftpd.wire.messages import (
    Begin,
    Begun,
    Chunk,
    Commit,
    Confirmed,
    IfExists,
    Put,
    Stat,
    Status,
    Stored,
    encode_request,
)

_KEPT = {ErrorCode.NO_SPACE, ErrorCode.BUSY}
"""Refusals of `commit` after which the server still has the upload: it can be gone on with later."""

_MISHEARD = {
    ErrorCode.BAD_REQUEST,
    ErrorCode.UNKNOWN_COMMAND,
    ErrorCode.BAD_RANGE,
    ErrorCode.UNKNOWN_UPLOAD,
    ErrorCode.INCOMPLETE,
}
"""Refusals of what we have not said: a header was damaged on its way, as bytes of a chunk can be."""

LONG_REPLY = 10
"""How many times the usual patience a reply may take for which the server reads or syncs a large file."""


class Plan(NamedTuple):
    """Where an upload goes and what happens there."""

    remote: str
    if_exists: IfExists
    preserve: bool
    """Whether modification time and mode go along."""


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
    begun = await _begin(connection, source, plan, job)
    if begun is None:
        return Stored(filename=plan.remote, filesize=source.size, root=_tree(source, job).root)
    if begun.skipped:
        return Stored(filename=plan.remote, filesize=source.size, skipped=True)
    chunk_size, count = begun.chunk_size, chunk_count(source.size, begun.chunk_size)
    there = {index for first, last in begun.have for index in range(first, min(last + 1, count))}
    if job.has_changed:
        # Whatever is still the same has the same digest. The rest is sent in its place.
        there = {index for index in there if await _is_same(source, job, index)}
        job.has_changed = False
    there &= job.leaves.keys()  # of others nobody here knows what they should be
    item.done = item.resumed = sum(size_of_chunk(source.size, chunk_size, index) for index in there)
    progress.update(item)
    async with _confirming(connection, item, progress, TRIES) as flight:
        missing = [index for index in range(count) if index not in there]
        while missing:
            await _send(connection, source, job, missing, flight)
            missing = [index for index in await flight.damaged() if index < count]
            if missing:
                source.check_unchanged()
    await _check_unchanged(source, job)
    try:
        stored = await _commit(connection, begun, _tree(source, job), item, progress)
    except RefusedError as exc:
        if exc.code not in _KEPT | _MISHEARD:
            job.upload = None  # the server has dropped it, or has something else
        raise
    _check_name(stored, plan)
    return stored


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
    return status.root == _tree(source, job).root


def _tree(source: LocalSource, job: UploadJob) -> Tree:
    leaves = (job.leaves[index] for index in range(chunk_count(source.size, job.chunk_size)))
    return Tree(source.size, job.chunk_size, b"".join(leaves))


async def _is_same(source: LocalSource, job: UploadJob, index: int) -> bool:
    offset = index * job.chunk_size
    leaf = await source.leaf(offset, size_of_chunk(source.size, job.chunk_size, index))
    return job.leaves.get(index) == leaf


async def _check_unchanged(source: LocalSource, job: UploadJob) -> None:
    """See to it that all chunks are of one version of the file. They are read again only if there is a doubt."""
    source.check_unchanged()
    if source.is_touched():
        for index in job.leaves:
            if not await _is_same(source, job, index):
                raise source.changed()


async def _send(
    connection: Connection, source: LocalSource, job: UploadJob, indexes: list[int], flight: "_Flight"
) -> None:
    """Send chunks. One thread reads, hashes and sends as many as may be in flight: nothing has to be handed over."""
    left = deque(indexes)
    with closing(open_outlet(connection.channel)) as outlet:

        def send_some() -> None:
            while left and flight.has_room:
                index = left.popleft()
                size = size_of_chunk(source.size, job.chunk_size, index)
                announce = partial(_announce, job, flight, index, size)
                source.send_chunk(outlet, index * job.chunk_size, size, announce)

        while left:
            await flight.room()
            with connection.errors(), _changes(source):
                await source.workers.send(send_some, outlet.stop)


def _announce(job: UploadJob, flight: "_Flight", index: int, size: int, leaf: bytes) -> bytes:
    job.note(index, leaf)
    chunk = Chunk(upload=job.upload or "", index=index, size=size, digest=leaf.hex())
    flight.announce(chunk)
    return encode_request(chunk)


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
    async with _confirming(connection, item, progress, 1) as flight:
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
    return await _commit(connection, begun, Tree(size, begun.chunk_size, bytes(leaves)), item, progress)


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


_NOTHING = Chunk(upload="", index=0, size=0, digest="")
"""Never sent: waiting for its confirmation tells how the connection ended."""

TRIES = 4
"""How often a chunk that arrives damaged is sent before the way counts as broken."""


class _Flight:
    """Chunks that are announced but not confirmed, at most `CHUNKS_IN_FLIGHT`."""

    def __init__(self, connection: Connection, item: Item, progress: Progress, tries: int) -> None:
        self._connection = connection
        self._limit = tries
        self._item = item
        self._progress = progress
        self._announced: asyncio.Queue[Chunk | None] = asyncio.Queue()
        self._damaged: list[int] = []
        self._tries: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()
        # Each is written by one thread only.
        self._sent = self._answered = 0
        self._answer = asyncio.Event()

    @property
    def has_room(self) -> bool:
        """Whether one more may be announced."""
        return self._sent - self._answered < CHUNKS_IN_FLIGHT

    def announce(self, chunk: Chunk) -> None:
        """Take note that a chunk is going to be sent now. For one thread at a time."""
        self._sent += 1
        self._loop.call_soon_threadsafe(self._announced.put_nowait, chunk)

    async def room(self) -> None:
        """Wait until one more may be announced."""
        while not self.has_room:
            await self._next_answer()

    async def damaged(self) -> list[int]:
        """Wait until all chunks are answered; give those that have to be sent again."""
        while self._answered < self._sent:
            await self._next_answer()
        damaged, self._damaged = self._damaged, []
        return damaged

    def land(self) -> None:
        """Say that no more chunks will be announced."""
        self._announced.put_nowait(None)

    async def confirm(self) -> None:
        """Read the confirmations as they come."""
        while (chunk := await self._announced.get()) is not None:
            if await self._is_confirmed(chunk):
                self._item.done += chunk.size
                self._progress.update(self._item)
            self._answered += 1
            self._answer.set()

    async def _next_answer(self) -> None:
        self._answer.clear()
        await self._answer.wait()

    async def _is_confirmed(self, chunk: Chunk) -> bool:
        try:
            confirmed = (await self._connection.read_reply(Confirmed)).index
        except RefusedError as exc:
            if exc.code != ErrorCode.INTEGRITY or not self._may_try_again(chunk):
                raise
        else:
            if confirmed == chunk.index:
                return True
            if not self._may_try_again(chunk):
                raise GarbledError(f"the server confirms chunk {confirmed}, not {chunk.index}")
            self._damaged.append(confirmed)  # it may have been taken for that one
        self._item.repaired += 1
        self._damaged.append(chunk.index)
        return False

    def _may_try_again(self, chunk: Chunk) -> bool:
        tries = self._tries[chunk.index] = self._tries.get(chunk.index, 1) + 1
        return tries <= self._limit

    async def watch(self) -> None:
        """Notice the end of the connection while nothing is on its way: what is to be sent may be long in coming."""
        await self._connection.channel.ended.wait()
        self._announced.put_nowait(_NOTHING)

    async def watch_for_stall(self) -> None:
        """Give up if for too long neither a chunk is confirmed nor a byte acknowledged."""
        patience_s = self._connection.stall_timeout_s
        before: tuple[int, int | None] = (-1, None)
        channel = self._connection.channel
        while before != (now := (self._item.done, channel.acknowledged)) or self._answered == self._sent:
            before = now
            await asyncio.sleep(patience_s)
        msg = f"nothing moved for {patience_s:g} s"
        with self._connection.errors():
            raise ConnectionAbortedError(msg)


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
        if exc.code in _MISHEARD:
            raise DamagedError(f"{plan.remote}: the server heard something else than was said: {exc.message}") from exc
        raise


@contextmanager
def _changes(source: LocalSource) -> Iterator[None]:
    """Let the finding that a file became shorter out as ours."""
    try:
        yield
    except FtpdError as exc:
        raise ChangedError(f"{source.path}: {exc.message}; nothing was stored") from exc


@asynccontextmanager
async def _confirming(connection: Connection, item: Item, progress: Progress, tries: int) -> AsyncIterator[_Flight]:
    """Read confirmations while the block sends; the first error of either side ends both."""
    flight = _Flight(connection, item, progress, tries)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(flight.confirm())
            watching = [group.create_task(flight.watch()), group.create_task(flight.watch_for_stall())]
            yield flight
            await flight.damaged()  # all are answered
            for task in watching:
                task.cancel()
            flight.land()
    except BaseExceptionGroup as errors:
        connection.is_usable = False
        # The refusal is the cause; that the sending broke off as well is its consequence.
        for kind in (RefusedError, FtpcError, BaseException):
            found, _ = errors.split(kind)
            if found is not None:
                raise first_of(found) from None
        raise


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
    async with connection.patience(LONG_REPLY):
        try:
            stored = await connection.ask(request, Stored)
        except RefusedError as exc:
            if exc.code != ErrorCode.INTEGRITY:
                raise
            stored = await connection.ask(request, Stored)  # of all that may be damaged this is mended soonest
    _compare(stored, tree)
    return stored


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
