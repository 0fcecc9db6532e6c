"""Sending the chunks of a file: over one connection, and over more where that pays.

On a path with a long round trip a connection is bounded by how fast it may begin (TCP's slow start doubles what is on
its way once per round trip) and by how much the kernel lets be on its way (a send buffer of 4 MiB, as Linux comes, is
40 MB/s at 100 ms). Several connections add up. On a short path they mostly cost; where they may pay, they are tried.

All of them take chunks from one heap, so that a slow one has fewer. The connection that has begun the upload stays for
the whole of it; what another one has not got confirmed when it is lost goes back on the heap.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial

from ftpc.connection import Connection
from ftpc.errors import ChangedError, FtpcError, RefusedError
from ftpc.files import LocalSource
from ftpc.pool import Pool
from ftpc.progress import Phase
from ftpc.transfer.flight import Cargo, Flight, confirming
from ftpc.transfer.growth import Starter, grow
from ftpc.transfer.retry import is_temporary
from ftpc.transfer.tasks import errors_of_a_group
from ftpc.upload_job import UploadJob
from ftpd.payload.send import open_outlet
from ftpd.wire.digests import Tree, chunk_count, size_of_chunk
from ftpd.wire.errors import ErrorCode, FtpdError
from ftpd.wire.limits import MIN_CHUNK
from ftpd.wire.messages import encode_request
from ftpd.wire.replies import Stored
from ftpd.wire.requests import Chunk, Commit, Join

_KEPT = {ErrorCode.NO_SPACE, ErrorCode.BUSY}
"""Refusals of `commit` after which the server still has the upload: it can be gone on with later."""

MISHEARD = {
    ErrorCode.BAD_REQUEST,
    ErrorCode.UNKNOWN_COMMAND,
    ErrorCode.BAD_RANGE,
    ErrorCode.UNKNOWN_UPLOAD,
    ErrorCode.INCOMPLETE,
}
"""Refusals of what we have not said: a header was damaged on its way, as bytes of a chunk can be."""

LONG_REPLY = 10
"""How many times the usual patience a reply may take for which the server reads or syncs a large file."""


class Shipment:
    """A file that is being sent to an open upload."""

    def __init__(self, source: LocalSource, job: UploadJob, cargo: Cargo) -> None:
        self.is_far = False
        """Whether the path is a long one."""
        self._source = source
        self._job = job
        self._cargo = cargo
        self._noting = threading.Lock()
        self._lease: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def tree(self) -> Tree:
        """Leaves and root, when all leaves are known."""
        return tree_known(self._source, self._job)

    def load(self, indexes: Iterable[int], count: int) -> None:
        """Say which chunks are to be sent, of how many."""
        self._cargo.load(indexes, count)

    @asynccontextmanager
    async def more_connections(self, connection: Connection, pool: Pool | None) -> AsyncIterator[None]:
        """Open more connections than this one during the block: at once on a long path, else if it is seen to pay."""
        self.is_far = connection.channel.is_far
        guests: list[asyncio.Task[None]] = []

        def start(enough: asyncio.Event | None) -> None:
            assert pool is not None
            guests.append(group.create_task(self._join(pool, enough)))

        with errors_of_a_group():
            async with asyncio.TaskGroup() as group:
                if pool is not None and self.is_far:
                    for _ in range(1, min(pool.streams, chunk_count(self._source.size, MIN_CHUNK))):
                        start(None)
                elif pool is not None and pool.streams > 1:
                    guests.append(group.create_task(self._grow(pool, start)))
                yield
                for guest in guests:
                    guest.cancel()

    async def _grow(self, pool: Pool, start: Starter) -> None:
        await self._lease  # nobody can join without it
        await grow(self._cargo.item, pool, start)

    async def send(self, connection: Connection) -> None:
        """Send all chunks over one connection, and wait until they are confirmed."""
        while not self._cargo.is_confirmed:
            flight = Flight(connection, self._cargo)
            async with confirming(flight, connection):
                await self._send_left(connection, flight)
            await self._cargo.more()
            if not self._cargo.is_confirmed:
                self._source.check_unchanged()

    def let_join(self, lease: str) -> None:
        """Let other connections join the upload, which is open now."""
        self._lease.set_result(lease)

    async def send_and_commit(self, connection: Connection) -> Stored | None:
        """Send chunks, as do the other connections, and commit behind the last one without waiting for confirmations.

        Returns None if the server has all chunks, but was asked to commit before that.
        """
        while not self._cargo.is_confirmed:
            flight = Flight(connection, self._cargo)
            async with confirming(flight, connection):
                await self._send_left(connection, flight)
                while not self._cargo.is_announced:
                    await self._cargo.change()
                    await self._send_left(connection, flight)
                await check_versions(self._source, self._job)
                await connection.send(_commit_of(self._job.upload or "", self.tree, wait=True))
                self._cargo.last_phase = Phase.COMMITTING
            try:
                async with connection.patience(LONG_REPLY):
                    return await connection.read_reply(Stored)
            except RefusedError as exc:
                if exc.code not in {ErrorCode.INCOMPLETE, ErrorCode.INTEGRITY}:
                    with dropping(self._job):
                        raise
            self._cargo.last_phase = None
            await self._cargo.more()
            self._source.check_unchanged()
        return None

    async def _join(self, pool: Pool, enough: asyncio.Event | None) -> None:
        """Bring chunks over another connection, until all are there or it is lost; or it is enough: then it is a trial.

        Raises:
            FtpcError: something that is not about this connection.
        """
        is_trial = enough is not None
        try:
            async with pool.lend_beside() as connection:
                if is_trial:
                    await connection.greet()
                    is_trial = False
                lease = await self._lease
                if self._cargo.has_left and not (enough is not None and enough.is_set()):
                    await connection.send(Join(upload=self._job.upload or "", lease=lease))
                    await self._bring(connection, enough)
        except FtpcError as exc:
            is_ours = isinstance(exc, RefusedError) and exc.code in {ErrorCode.LEASE_LOST, ErrorCode.UNKNOWN_UPLOAD}
            if not is_trial and not is_ours and not is_temporary(exc):
                raise

    async def _bring(self, connection: Connection, enough: asyncio.Event | None) -> None:
        is_joining = True
        while is_joining or not (self._cargo.is_confirmed or (enough is not None and enough.is_set())):
            flight = Flight(connection, self._cargo, enough, is_joining=is_joining)
            async with confirming(flight, connection):
                await self._send_left(connection, flight)
            is_joining = False
            await self._cargo.more()

    async def _send_left(self, connection: Connection, flight: Flight) -> None:
        """Send chunks as long as there are. One thread reads, hashes and sends all that may be in flight."""
        with closing(open_outlet(connection.channel)) as outlet:

            def send_some() -> None:
                while (index := flight.take()) is not None:
                    chunk_size = self._job.chunk_size
                    size = size_of_chunk(self._source.size, chunk_size, index)
                    announce = partial(self._announce, flight, index, size)
                    self._source.send_chunk(outlet, index * chunk_size, size, announce)

            while not flight.is_over:
                await flight.room()
                with connection.errors(), self._changes():
                    await self._source.workers.send(send_some, outlet.stop)

    def _announce(self, flight: Flight, index: int, size: int, leaf: bytes) -> bytes:
        with self._noting:
            self._job.note(index, leaf)
        chunk = Chunk(upload=self._job.upload or "", index=index, size=size, digest=leaf.hex())
        flight.announce(chunk)
        return encode_request(chunk)

    @contextmanager
    def _changes(self) -> Iterator[None]:
        """Let the finding that a file became shorter out as ours."""
        try:
            yield
        except FtpdError as exc:
            raise ChangedError(f"{self._source.path}: {exc.message}; nothing was stored") from exc


def tree_known(source: LocalSource, job: UploadJob) -> Tree:
    """Give the tree of a file all leaves of which are known."""
    leaves = (job.leaves[index] for index in range(chunk_count(source.size, job.chunk_size)))
    return Tree(source.size, job.chunk_size, b"".join(leaves))


async def is_same(source: LocalSource, job: UploadJob, index: int) -> bool:
    """Compare a chunk of the file, as it is now, with what was announced of it."""
    offset = index * job.chunk_size
    leaf = await source.leaf(offset, size_of_chunk(source.size, job.chunk_size, index))
    return job.leaves.get(index) == leaf


async def check_versions(source: LocalSource, job: UploadJob) -> None:
    """See to it that all chunks are of one version of the file. They are read again only if there is a doubt.

    Raises:
        ChangedError: they are not.
    """
    source.check_unchanged()
    if source.is_touched():
        for index in job.leaves:
            if not await is_same(source, job, index):
                raise source.changed()


async def commit(connection: Connection, upload: str, tree: Tree) -> Stored:
    """Have an upload published, all chunks of which are confirmed."""
    request = _commit_of(upload, tree)
    async with connection.patience(LONG_REPLY):
        try:
            return await connection.ask(request, Stored)
        except RefusedError as exc:
            if exc.code != ErrorCode.INTEGRITY:
                raise
            return await connection.ask(request, Stored)  # of all that may be damaged this is mended soonest


def _commit_of(upload: str, tree: Tree, *, wait: bool = False) -> Commit:
    return Commit(upload=upload, chunks=tree.leaf_count, root=tree.root, wait=wait)


@contextmanager
def dropping(job: UploadJob) -> Iterator[None]:
    """Take note that the server has dropped an upload, or has something else, when it refuses to publish it."""
    try:
        yield
    except RefusedError as exc:
        if exc.code not in _KEPT | MISHEARD:
            job.upload = None
        raise
