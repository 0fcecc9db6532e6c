"""Downloads: bytes go to their sink as they come, and count only when their digests are right."""

import asyncio
from typing import Protocol

from ftpc.connection import Connection
from ftpc.errors import DamagedError, GarbledError
from ftpc.progress import Item, Progress
from ftpd.payload.receive import PayloadReader
from ftpd.wire.digests import Buffer, Digest, Tree, TreeHasher, chunk_count
from ftpd.wire.limits import DIGEST_SIZE, MAX_STREAM_CHUNKS, MIN_CHUNK
from ftpd.wire.messages import Content, Get, Stat, Status, Trailer


class Sink(Protocol):
    """Where the bytes of a download go."""

    async def write(self, offset: int, data: Buffer, digest: Digest) -> int:
        """Take bytes and feed them to `digest`; `data` may be reused afterwards. Returns how many they were."""


class Fetch:
    """A download under way: what was announced of the file, and which chunks of it are here and verified."""

    def __init__(self, request: Get) -> None:
        self.request = request
        self.content: Content | None = None
        self.expected = b""
        """The leaves that the server has announced, if it knows them: without them a break ends in a fresh start."""
        self.verified = bytearray()
        """Those of the chunks that are here."""

    @property
    def place(self) -> int:
        """Where to go on."""
        return len(self.verified) // DIGEST_SIZE * self.content.chunk_size if self.content else 0

    def expected_leaf(self, index: int) -> bytes:
        """Give what a chunk should be."""
        return self.expected[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE]


async def download(connection: Connection, fetch: Fetch, sink: Sink, item: Item, progress: Progress) -> Content:
    """Fetch a file, a range of it, or what is missing of it. When this returns, what went to the sink is verified.

    Cancelling is safe: `fetch` knows how to go on.

    Raises:
        DamagedError: what arrived is not what the server sent, or not what it has stored.
        FtpcError: the server refused it, the connection is lost, the sink can not be written to.
    """
    if fetch.verified and not await _is_same(connection, fetch):
        fetch.verified.clear()
        item.restarted = True
    if fetch.content is not None and fetch.verified and len(fetch.verified) == len(fetch.expected):
        return fetch.content  # only the end of the last message was lost
    if not fetch.verified:
        is_unproven = fetch.content is not None and not fetch.expected and item.done > 0
        item.restarted = item.restarted or is_unproven
        return await _fetch_all(connection, fetch, sink, item, progress)
    return await _fetch_rest(connection, fetch, sink, item, progress)


async def _is_same(connection: Connection, fetch: Fetch) -> bool:
    """Ask whether the file is still the one whose chunks are here."""
    known = fetch.content
    assert known is not None
    async with connection.patience():
        status = await connection.ask(Stat(filename=fetch.request.filename), Status)
    return (status.root, status.filesize) == (known.root, known.filesize)


async def _fetch_all(connection: Connection, fetch: Fetch, sink: Sink, item: Item, progress: Progress) -> Content:
    request = fetch.request
    async with connection.patience():
        content = await connection.ask(request, Content)
        check_content(content, request)
        leaves = await connection.read_bytes(content.leaves * DIGEST_SIZE) if content.leaves else b""
    if leaves and Tree(content.length, content.chunk_size, leaves).root != content.root:
        raise DamagedError(f"{request.filename}: the digests that the server sent do not fit together")
    fetch.content, fetch.expected = content, leaves
    item.total, item.done = content.length, 0
    progress.update(item)
    tree = await _receive(connection, content, fetch, sink, item, progress)
    expected = content.root if leaves else await _trailer(connection)
    if tree.root != expected:
        raise DamagedError(f"{request.filename}: {_where(tree, leaves)}; nothing was kept")
    return content


async def _fetch_rest(connection: Connection, fetch: Fetch, sink: Sink, item: Item, progress: Progress) -> Content:
    known, place = fetch.content, fetch.place
    assert known is not None
    request = Get(filename=fetch.request.filename, offset=place)
    async with connection.patience():
        content = await connection.ask(request, Content)
    check_content(content, request)
    item.done = item.resumed = place
    progress.update(item)
    await _receive(connection, content, fetch, sink, item, progress)
    await _trailer(connection)  # of the rest alone; each of its chunks has been compared already
    if Tree(known.filesize, known.chunk_size, bytes(fetch.verified)).root != known.root:
        raise DamagedError(f"{request.filename}: it changed while it was fetched; nothing was kept")
    return known


async def _trailer(connection: Connection) -> str:
    async with connection.patience():
        return (await connection.read_reply(Trailer)).root


async def _receive(
    connection: Connection, content: Content, fetch: Fetch, sink: Sink, item: Item, progress: Progress
) -> Tree:
    known = fetch.content or content
    hasher, first = TreeHasher(known.chunk_size), len(fetch.verified) // DIGEST_SIZE
    payload = await connection.receive(content.length)
    try:
        while True:
            with connection.errors():
                data = await _next(payload, connection)
            if data is None:
                tree = hasher.finish()
                _take(fetch, first, tree.leaves)
                return tree
            try:
                item.done += await sink.write(item.done, data, hasher)
                _take(fetch, first, hasher.complete)
            except BaseException:
                connection.is_usable = False  # the rest of the payload is still to come
                raise
            progress.update(item)
    finally:
        payload.close()


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


def _take(fetch: Fetch, first: int, leaves: bytes) -> None:
    """Compare chunks that have become complete with what they should be."""
    if not fetch.expected:
        return
    known = len(fetch.verified) // DIGEST_SIZE
    for index in range(known, first + len(leaves) // DIGEST_SIZE):
        leaf = leaves[(index - first) * DIGEST_SIZE : (index - first + 1) * DIGEST_SIZE]
        if leaf != fetch.expected_leaf(index):
            chunk_size = fetch.content.chunk_size if fetch.content else 0
            place = f"bytes {index * chunk_size} to {(index + 1) * chunk_size}"
            name = fetch.request.filename
            raise DamagedError(f"{name}: a chunk is damaged, here or on the server ({place}); nothing was kept")
        fetch.verified += leaf


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


def _where(tree: Tree, leaves: bytes) -> str:
    """Say which chunks are wrong, as far as that is known."""
    if not leaves:
        return "what arrived is not what the server sent"
    expected = Tree(tree.size, tree.chunk_size, leaves)
    wrong = [index for index in range(tree.leaf_count) if tree.leaf(index) != expected.leaf(index)]
    places = ", ".join(f"bytes {i * tree.chunk_size} to {min((i + 1) * tree.chunk_size, tree.size)}" for i in wrong[:4])
    return f"{len(wrong)} of {tree.leaf_count} chunks arrived damaged or are damaged on the server ({places})"
