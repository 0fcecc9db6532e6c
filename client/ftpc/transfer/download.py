"""Downloads: bytes go to their sink as they come, and count only when their digests are right."""

from typing import Protocol

from ftpc.connection import Connection
from ftpc.errors import IntegrityError, ProtocolError
from ftpc.progress import Item, Progress
from ftpd.wire.digests import Buffer, Digest, Tree, TreeHasher, chunk_count
from ftpd.wire.limits import DIGEST_SIZE, MAX_STREAM_CHUNKS, MIN_CHUNK
from ftpd.wire.messages import Content, Get, Trailer


class Sink(Protocol):
    """Where the bytes of a download go."""

    async def write(self, offset: int, data: Buffer, digest: Digest) -> None:
        """Take bytes and feed them to `digest`; `data` may be reused afterwards."""


async def download(connection: Connection, request: Get, sink: Sink, item: Item, progress: Progress) -> Content:
    """Fetch a file or a range of it. When this returns, what went to the sink is verified.

    Raises:
        IntegrityError: what arrived is not what the server sent, or not what it has stored.
        FtpcError: the server refused it, the connection is lost, the sink can not be written to.
    """
    content = await connection.ask(request, Content)
    _check(content, request)
    leaves = await connection.read_bytes(content.leaves * DIGEST_SIZE) if content.leaves else b""
    if leaves and Tree(content.length, content.chunk_size, leaves).root != content.root:
        raise IntegrityError(f"{request.filename}: the digests that the server sent do not fit together")
    item.total = content.length
    progress.update(item)
    tree = await _receive(connection, content, sink, item, progress)
    expected = content.root if leaves else (await connection.read_reply(Trailer)).root
    if tree.root != expected:
        raise IntegrityError(f"{request.filename}: {_where(tree, leaves)}; nothing was kept")
    return content


async def _receive(connection: Connection, content: Content, sink: Sink, item: Item, progress: Progress) -> Tree:
    hasher = TreeHasher(content.chunk_size)
    payload = await connection.receive(content.length)
    try:
        while True:
            with connection.errors():
                data = await payload.next()
            if data is None:
                return hasher.finish()
            try:
                await sink.write(item.done, data, hasher)
            except BaseException:
                connection.is_usable = False  # the rest of the payload is still to come
                raise
            item.done += len(data)
            progress.update(item)
    finally:
        payload.close()


def _check(content: Content, request: Get) -> None:
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
        raise ProtocolError(f"{request.filename}: the server's description of the file contradicts itself")


def _where(tree: Tree, leaves: bytes) -> str:
    """Say which chunks are wrong, as far as that is known."""
    if not leaves:
        return "what arrived is not what the server sent"
    expected = Tree(tree.size, tree.chunk_size, leaves)
    wrong = [index for index in range(tree.leaf_count) if tree.leaf(index) != expected.leaf(index)]
    places = ", ".join(f"bytes {i * tree.chunk_size} to {min((i + 1) * tree.chunk_size, tree.size)}" for i in wrong[:4])
    return f"{len(wrong)} of {tree.leaf_count} chunks arrived damaged or are damaged on the server ({places})"
