"""Downloads: bytes go to their sink as they come, and count only when their digests are right."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from ftpc.connection import Connection
from ftpc.download_job import DownloadJob
from ftpc.errors import DamagedError, FtpcError, GarbledError, IntegrityError, RefusedError
from ftpc.pool import Pool
from ftpc.progress import Item, Progress
from ftpc.transfer.compare import read_tree
from ftpc.transfer.convoy import Convoy
from ftpc.transfer.growth import opportunity
from ftpc.transfer.tasks import errors_of_a_group
from ftpd.payload.direct import Stretch
from ftpd.payload.files import FileSink
from ftpd.payload.receive import PayloadReader
from ftpd.wire.digests import Buffer, Digest, Tree, TreeHasher, chunk_count, size_of_chunk
from ftpd.wire.errors import ErrorCode
from ftpd.wire.limits import DIGEST_SIZE, MAX_STREAM_CHUNKS, MIN_CHUNK
from ftpd.wire.replies import Content, Status, Trailer
from ftpd.wire.requests import Get, Stat

TRIES = 4
"""How often a chunk that arrives damaged is fetched before it counts as damaged where it is kept."""


class Sink(Protocol):
    """Where the bytes of a download go."""

    async def write(self, offset: int, data: Buffer, digest: Digest) -> int:
        """Take bytes and feed them to `digest`; `data` may be reused afterwards. Returns how many they were."""


class Shown(NamedTuple):
    """How a download is shown."""

    item: Item
    progress: Progress

    def start(self, done: int, total: int) -> None:
        """Say how many bytes there are."""
        self.item.total = total
        self.set(done)

    def set(self, done: int) -> None:
        """Say how many bytes are here."""
        self.item.done = done
        self.progress.update(self.item)


async def download(connection: Connection, request: Get, sink: Sink, shown: Shown) -> Content:
    """Fetch a file or a range of it from its first byte. When this returns, what went to the sink is verified.

    Raises:
        IntegrityError: what arrived is not what the server sent, or not what it has stored.
        FtpcError: the server refused it, the connection is lost, the sink can not be written to.
    """
    content, expected = await _ask(connection, request)
    shown.start(0, content.length)

    def take(index: int, leaf: bytes) -> bool:
        if expected and leaf != _leaf(expected, index):
            raise _damaged(request.filename, index, content.chunk_size)
        return True

    tree = await _receive(connection, content, sink, 0, shown, take)
    if not expected:
        await _check_trailer(connection, request.filename, tree)
    return content


class _GivenUpError(Exception):
    """A stream was ended because more than one connection may pay."""


class Download:
    """A whole file on its way into a local file. After a break it goes on with what is missing."""

    def __init__(self, name: str, sink: Sink, job: DownloadJob, shown: Shown, pool: Pool | None = None) -> None:
        """With a `pool` it may come over several connections."""
        self._name = name
        self._pays = asyncio.Event()
        """Set when more than one may pay, and another one is there that knows the same file."""
        self._is_given_up = False
        """Whether the stream was given up for that, and it has not gone on since."""
        self._pool = pool
        self._sink = sink
        self._job = job
        self._shown = shown
        self._tries: dict[int, int] = {}

    async def run(self, connection: Connection) -> Content | None:
        """Fetch what is missing. When this returns, all of it is written and verified. Cancelling is safe.

        Returns None if this connection was given up because more than one may pay: then go on over another.

        Raises:
            DamagedError: what arrives is not what the server has announced, again and again.
            FtpcError: as `download` does.
        """
        try:
            return await self._run(connection)
        except _GivenUpError:
            self._is_given_up = True
            return None

    async def _run(self, connection: Connection) -> Content:
        job = self._job
        in_parts = self._pool is not None and (connection.channel.is_far or self._pays.is_set())
        content = await self._go_on(connection, in_parts=in_parts) if job.leaves or in_parts else None
        if content is None:
            content = await self._fetch(connection, None)
        while (missing := job.missing()) is not None:  # what was damaged on its way
            content = await self._fetch(connection, missing)
        if job.root is not None and job.tree.root != job.root:
            job.forget()
            raise DamagedError(f"{self._name}: what is here and what came do not fit together; nothing was kept")
        return content

    async def _go_on(self, connection: Connection, *, in_parts: bool) -> Content | None:
        """Fetch what is missing, if the server can prove that the rest is of the same file.

        In parts, what is missing may be all: then it is known beforehand what it should be, so that it can come over
        several connections.
        """
        job, item = self._job, self._shown.item
        async with connection.patience():
            status = await connection.ask(Stat(filename=self._name, leaves=in_parts), Status)
            tree = await read_tree(connection, status)
        if not job.leaves:
            if tree is None or tree.leaf_count == 1:
                return None
            job.begin(tree.size, tree.chunk_size, tree.root)
        if status.filesize == job.size and status.root == (job.root or status.root):
            job.root = status.root
            item.resumed = item.resumed if self._is_given_up else job.done
            self._is_given_up = False
            self._shown.start(job.done, job.size)
            try:
                return await self._fetch_missing(connection, in_parts=in_parts)
            except RefusedError as exc:
                if exc.code not in {ErrorCode.CHANGED, ErrorCode.BAD_RANGE}:
                    raise
        item.restarted = True
        item.resumed = 0
        job.forget()
        return None

    async def _fetch_missing(self, connection: Connection, *, in_parts: bool) -> Content:
        job = self._job
        # If all is here, what is left is to hear that it is right.
        missing = job.missing() or range(job.count - 1, job.count)
        if not in_parts or self._pool is None or job.root is None:
            return await self._fetch(connection, missing)
        contents: list[Content] = []

        async def take(connection: Connection, index: int) -> bool:
            contents[:] = [await self._take(connection, range(index, index + 1), self._get(range(index, index + 1)))]
            return index in job.leaves

        all_missing = [index for index in range(missing.start, job.count) if index not in job.leaves] or missing
        convoy = Convoy(all_missing, lambda index: self._get(range(index, index + 1)), take)
        await convoy.run(connection, self._pool, self._shown.item)
        return contents[0]

    async def _fetch(self, connection: Connection, chunks: range | None) -> Content:
        """Fetch chunks, or the whole file if nothing is known of it yet."""
        request = Get(filename=self._name) if chunks is None else self._get(chunks)
        await connection.send(request)
        if self._pool is None or self._pool.streams == 1 or self._pays.is_set() or connection.channel.is_far:
            return await self._take(connection, chunks, request)
        with errors_of_a_group():
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(self._pool))
                content = await self._take(connection, chunks, request, self._pays.is_set)
                watching.cancel()
        return content

    async def _watch(self, pool: Pool) -> None:
        """Wait until more than one connection may pay, and make sure that there is another one before this is given up.

        Without a root no part of the file could be proven.
        """
        await opportunity(self._shown.item, pool)
        if self._job.root is None:
            return
        with suppress(FtpcError):
            async with pool.lend_beside() as other, other.patience():
                status = await other.ask(Stat(filename=self._name), Status)
            if status.root == self._job.root:
                self._pays.set()

    async def _take(
        self, connection: Connection, chunks: range | None, request: Get, is_over: Callable[[], bool] = lambda: False
    ) -> Content:
        """Take what was asked for.

        Raises:
            _GivenUpError: as `_receive`.
        """
        job, item = self._job, self._shown.item
        content, expected = await _hear(connection, request)
        if chunks is None:
            job.begin(content.filesize, content.chunk_size, content.root)
            self._shown.start(0, content.length)
        elif (content.filesize, content.chunk_size) != (job.size, job.chunk_size):
            raise GarbledError(f"{self._name}: the server says that it is the same file, and that it is not")
        first = content.offset // content.chunk_size

        def take(index: int, leaf: bytes) -> bool:
            if expected and leaf != _leaf(expected, index):
                self._count(first + index)
                self._shown.set(item.done - size_of_chunk(job.size, job.chunk_size, first + index))
            else:
                job.note(first + index, leaf)
            return not is_over()

        await _receive(connection, content, self._sink, content.offset, self._shown, take)
        if not expected:
            try:
                await _check_trailer(connection, self._name, job.tree)
            except (IntegrityError, RefusedError):
                job.forget()
                raise
        return content

    def _get(self, chunks: range) -> Get:
        job = self._job
        offset = chunks.start * job.chunk_size
        length = None if chunks.stop == job.count else len(chunks) * job.chunk_size
        return Get(filename=self._name, offset=offset, length=length, resume=True, if_root=job.root)

    def _count(self, index: int) -> None:
        tries = self._tries[index] = self._tries.get(index, 0) + 1
        if tries == TRIES:
            raise _damaged(self._name, index, self._job.chunk_size)
        self._shown.item.repaired += 1


async def _ask(connection: Connection, request: Get) -> tuple[Content, bytes]:
    """Ask for bytes; give what is said of them, and the leaves of their chunks if the server knows them."""
    await connection.send(request)
    return await _hear(connection, request)


async def _hear(connection: Connection, request: Get) -> tuple[Content, bytes]:
    async with connection.patience():
        content = await connection.read_reply(Content)
        check_content(content, request)
        leaves = await connection.read_bytes(content.leaves * DIGEST_SIZE) if content.leaves else b""
    is_whole = content.length == content.filesize
    if leaves and is_whole and Tree(content.length, content.chunk_size, leaves).root != content.root:
        connection.is_usable = False  # the payload is still to come
        raise DamagedError(f"{request.filename}: the digests that the server sent do not fit together")
    return content, leaves


async def _receive(
    connection: Connection, content: Content, sink: Sink, place: int, shown: Shown, take: Callable[[int, bytes], bool]
) -> Tree:
    """Write payload to the sink, from `place` on. Each chunk that is complete is given to `take`, with its leaf.

    Raises:
        _GivenUpError: `take` does not want more.
    """
    hasher, taken = TreeHasher(content.chunk_size), 0
    # Decrypting takes about as long as hashing and writing, and is best done where they are. Else the event loop, which
    # has nothing to do but to receive, does so while a thread hashes and writes.
    directly = connection.channel.is_encrypted and isinstance(sink, FileSink)
    payload = await connection.receive(content.length, directly=directly)
    try:
        while True:
            with connection.errors():
                data = await _next(payload, connection)
            if data is None:
                break
            if directly and isinstance(sink, FileSink):
                count = await sink.write(place, Stretch(data, payload), hasher)
            else:
                count = await sink.write(place, data, hasher)
            place += count
            shown.item.moved += count
            shown.set(shown.item.done + count)
            goes_on = True
            for leaf in hasher.leaves_from(taken):
                goes_on = take(taken, leaf)
                taken += 1
            if not goes_on:
                raise _GivenUpError
        tree = hasher.finish()
        take(taken, tree.leaf(taken))
    except BaseException:
        connection.is_usable = False  # the rest is still to come
        raise
    finally:
        payload.close()
    return tree


async def _next(payload: PayloadReader, connection: Connection) -> memoryview | None:
    """Wait for bytes as long as any come."""
    while True:
        missing = payload.missing
        try:
            async with asyncio.timeout(connection.stall_timeout_s):
                return await payload.next()
        except TimeoutError:
            if payload.missing == missing:
                msg = f"nothing moved for {connection.stall_timeout_s:g} s"
                raise ConnectionAbortedError(msg) from None


async def _check_trailer(connection: Connection, name: str, tree: Tree) -> None:
    async with connection.patience():
        trailer = await connection.read_reply(Trailer)
    if trailer.root != tree.root:
        raise DamagedError(f"{name}: what arrived is not what the server sent; nothing was kept")


def check_content(content: Content, request: Get) -> None:
    """Do not believe what can not be: a size from the wire must not become memory or a loop of ours."""
    rest = content.filesize - content.offset
    chunks = chunk_count(content.length, max(content.chunk_size, 1))
    is_sane = (
        content.offset == request.offset
        and content.length == (rest if request.length is None else min(request.length, rest))
        and content.chunk_size >= MIN_CHUNK
        and chunks <= MAX_STREAM_CHUNKS
        and content.leaves == (0 if content.trailer else chunks)
    )
    if not is_sane:
        raise GarbledError(f"{request.filename}: the server's description of the file contradicts itself")


def _leaf(leaves: bytes, index: int) -> bytes:
    return leaves[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE]


def _damaged(name: str, index: int, chunk_size: int) -> DamagedError:
    place = f"bytes {index * chunk_size} to {(index + 1) * chunk_size}"
    return DamagedError(f"{name}: a chunk is damaged, here or on the server ({place}); nothing was kept")
